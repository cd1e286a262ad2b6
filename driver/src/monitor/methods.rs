//! What clients ask for, and the answers.

use std::ops::Deref;

use nvme::Cqe;
use rpc::{Methods, Refusal};
use serde_json::{Value, json};
use traces::Start;
use zerocopy::IntoBytes;

use super::{Monitor, State, Totals};
use crate::{CmdLogEntry, LoggedCompletion};

/// The most commands that `get_cmdlog` tells.
const COMMANDS_MAX: usize = 128;
/// Clients know that more are in flight than this, not how many.
const OUTSTANDING_MAX: u64 = 100;
const NS_PER_S: u64 = 1_000_000_000;

/// A monitor, and what tells the time of the controllers' clock, nanoseconds.
pub(super) struct Timed<M, F> {
    pub(super) monitor: M,
    pub(super) now_ns: F,
}

impl<M: Deref<Target = Monitor>, F: Fn() -> u64> Methods for Timed<M, F> {
    fn call(&self, method: &str, params: &Value) -> Result<Value, Refusal> {
        self.monitor.call(method, params, (self.now_ns)())
    }
}

impl Monitor {
    /// The answer to a request, or to a batch of them; none where none is
    /// wanted, as for a notification. `now_ns` is the time of the controllers'
    /// clock.
    #[must_use]
    pub fn answer(&self, request: &Value, now_ns: u64) -> Option<Value> {
        let methods = Timed {
            monitor: self,
            now_ns: || now_ns,
        };
        rpc::answer(&methods, request)
    }

    fn call(&self, method: &str, params: &Value, now_ns: u64) -> Result<Value, Refusal> {
        match method {
            "list_all_qpair" => Ok(self.with(|state| list(state))),
            "get_iostat" => Ok(self.with(|state| rates(state, now_ns))),
            "get_cmdlog" => self.commands(params),
            _ => Err(Refusal::new(
                Refusal::METHOD_NOT_FOUND,
                format!(
                    "there is no method {method}: call list_all_qpair, get_iostat or get_cmdlog"
                ),
            )),
        }
    }

    fn commands(&self, params: &Value) -> Result<Value, Refusal> {
        let handle = match params {
            Value::Array(list) if list.len() == 1 => list.first().and_then(Value::as_u64),
            Value::Object(named) => named.get("qpair").and_then(Value::as_u64),
            _ => None,
        };
        let handle = handle.ok_or_else(|| {
            let message = "get_cmdlog takes one parameter, qpair of list_all_qpair";
            Refusal::new(Refusal::INVALID_PARAMS, message)
        })?;
        let log = self.with(|state| {
            let queue = state.queues.iter().find(|queue| queue.handle == handle)?;
            Some(queue.log.clone())
        });
        let log = log.ok_or_else(|| {
            let message = format!("there is no queue pair {handle}: ask list_all_qpair again");
            Refusal::new(Refusal::INVALID_PARAMS, message)
        })?;
        let mut lines = Vec::new();
        for (index, entry) in log.latest(COMMANDS_MAX).iter().enumerate() {
            lines.push(Value::String(command(entry, index + 1, &self.start)));
            lines.push(Value::String(match &entry.completion {
                None => "not completed\n...\n".to_owned(),
                Some(ended) => completion(entry, ended, &self.start),
            }));
        }
        Ok(Value::Array(lines))
    }
}

fn list(state: &State) -> Value {
    let queues = state.queues.iter().map(|queue| {
        let in_flight = queue.log.submitted().saturating_sub(queue.log.completed());
        json!({
            "ctrlr": queue.controller,
            "qid": u32::from(queue.log.queue().0) + 1,
            "outstanding": in_flight.min(OUTSTANDING_MAX),
            "qpair": queue.handle,
            "model": queue.model,
        })
    });
    queues.collect()
}

fn rates(state: &mut State, now_ns: u64) -> Value {
    let mut totals = state.gone;
    for queue in &state.queues {
        totals.add(queue.totals());
    }
    let Totals { commands, blocks } = state.counted;
    let elapsed_ns = now_ns.saturating_sub(state.asked_ns).max(1);
    let per_second = |count: u64| {
        let rate = u128::from(count) * u128::from(NS_PER_S) / u128::from(elapsed_ns);
        u64::try_from(rate).unwrap_or(u64::MAX)
    };
    let rates = json!([
        per_second(totals.blocks.saturating_sub(blocks)),
        per_second(totals.commands.saturating_sub(commands)),
    ]);
    state.asked_ns = now_ns;
    state.counted = totals;
    rates
}

/// Dwords, four on a line.
fn dwords(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|line| {
        let dwords = line.chunks_exact(4).map(|dword| {
            let mut value = [0; 4];
            value.copy_from_slice(dword);
            format!("{:#010x}", u32::from_le_bytes(value))
        });
        dwords.collect::<Vec<_>>().join(", ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn command(entry: &CmdLogEntry, number: usize, start: &Start) -> String {
    let when = time_of_day(entry.submit_ns, start);
    let name = entry.name();
    let dwords = dwords(entry.sqe.as_bytes());
    format!("{when} [cmd{number:03}: {name}]\n{dwords}")
}

fn completion(entry: &CmdLogEntry, ended: &LoggedCompletion, start: &Start) -> String {
    let when = time_of_day(ended.complete_ns, start);
    let mut cqe = Cqe::default();
    cqe.result.set(ended.result);
    cqe.sq_id.set(entry.queue.0);
    cqe.command_id.set(entry.sqe.cid().0);
    cqe.set_status(ended.status, false);
    let dwords = dwords(cqe.as_bytes());
    format!("{when}: [cpl: {}]\n{dwords}\n", ended.status)
}

/// Date and time of this machine's zone, to the microsecond.
fn time_of_day(clock_ns: u64, start: &Start) -> String {
    let since = i128::from(clock_ns) - i128::from(start.clock_ns);
    let unix_ns = i128::from(start.unix_ns) + since;
    let Ok(time) = jiff::Timestamp::from_nanosecond(unix_ns) else {
        return clock_ns.to_string();
    };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()
}
