//! Linux trace points: `nvme_setup_cmd` and `nvme_complete_rq`, which have
//! whole NVMe commands, or `block_rq_issue` and `block_rq_complete`, as text
//! of ftrace (`trace` and `trace_pipe` in tracefs), `trace-cmd report` or
//! `perf script`.
//!
//! ```text
//!   comm-pid [cpu] flags sec.usec: nvme_setup_cmd: nvme0: ...      ftrace, trace-cmd
//!   comm pid [cpu] sec.usec: nvme:nvme_setup_cmd: nvme0: ...       perf
//! ```
//!
//! A file with both has each request twice: the NVMe commands say more, and
//! the others are counted. The kernel does not print the ranges of Dataset
//! Management commands; they are kept without.

mod block;
mod dwords;
mod names;
mod nvme;

use std::path::Path;

use super::lines::{Line, Lines, Out};
use super::number::billionths;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Stream};

/// What is read, and by which part.
const EVENTS: &[(&str, Kind)] = &[
    ("nvme_setup_cmd", Kind::Nvme(nvme::Event::Setup)),
    ("nvme_complete_rq", Kind::Nvme(nvme::Event::Complete)),
    // Linux 4.16.
    ("nvme_setup_nvm_cmd", Kind::Nvme(nvme::Event::Setup)),
    ("nvme_setup_admin_cmd", Kind::Nvme(nvme::Event::SetupAdmin)),
    ("block_rq_issue", Kind::Block(block::Event::Issue)),
    ("block_rq_complete", Kind::Block(block::Event::Complete)),
    ("block_rq_requeue", Kind::Block(block::Event::Requeue)),
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Nvme(nvme::Event),
    Block(block::Event),
}

/// Whether there is such an event among the first lines.
pub(crate) fn recognize(head: &str) -> bool {
    head.lines()
        .any(|line| matches!(Event::of(line), Some(Ok(_))))
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let parser = TracePoints {
        whole: has_nvme(input)?,
        ..TracePoints::default()
    };
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

/// Whether there are NVMe events in `input`. What can be read only once is
/// taken to have them, until there is a block event first.
fn has_nvme(input: &Input) -> Result<Option<bool>, FormatError> {
    let mut line = Vec::new();
    for path in input.paths() {
        if path == Path::new("-") || !path.is_file() {
            return Ok(None);
        }
        let mut stream = Stream::open(path)?;
        // A line that is too long is told when it is its turn.
        while stream.line(&mut line).unwrap_or(false) {
            let event = std::str::from_utf8(&line).ok().and_then(Event::of);
            if let Some(Ok(Event {
                kind: Kind::Nvme(_),
                ..
            })) = event
            {
                return Ok(Some(true));
            }
        }
    }
    Ok(Some(false))
}

#[derive(Debug, Default)]
struct TracePoints {
    /// Whether it is NVMe events that are read; not known before the first
    /// event of what can be read only once.
    whole: Option<bool>,
    /// Whether a time had nanoseconds.
    fine: bool,
    nvme: nvme::Commands,
    block: block::Requests,
}

impl Line for TracePoints {
    type File = ();

    fn line(&mut self, (): &mut (), line: &str, out: &mut Out) -> Result<(), String> {
        if let Some(lost) = lost(line) {
            out.notes.add("events were lost by the tracer", lost);
            return Ok(());
        }
        let Some(event) = Event::of(line) else {
            if !line.starts_with('#') && !line.starts_with("cpus=") {
                out.notes.count("lines of other events were left out");
            }
            return Ok(());
        };
        let event = event?;
        self.fine |= event.fine;
        match event.kind {
            Kind::Nvme(kind) if *self.whole.get_or_insert(true) => {
                self.nvme.event(kind, event.time_ns, event.body, out)
            }
            Kind::Block(kind) if !*self.whole.get_or_insert(false) => {
                self.block.event(kind, event.time_ns, event.body, out)
            }
            Kind::Block(_) => {
                out.notes
                    .count("block events were left out, for there are NVMe events");
                Ok(())
            }
            Kind::Nvme(_) => {
                out.notes
                    .count("NVMe events were left out, for there are block events before them");
                Ok(())
            }
        }
    }

    fn time(&self, (): &mut (), line: &str) -> Option<u64> {
        Some(Event::of(line)?.ok()?.time_ns)
    }

    fn finish(&mut self, out: &mut Out) {
        self.nvme.finish(out);
        self.block.finish(out);
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: if self.fine { 1 } else { 1_000 },
            unix: false,
        }
    }
}

/// How many events `line` says were lost.
fn lost(line: &str) -> Option<u64> {
    // ftrace: "CPU:2 [LOST 123 EVENTS]", trace-cmd: "CPU:2 [123 EVENTS DROPPED]".
    let (_, inside) = line
        .trim_start()
        .strip_prefix("CPU:")
        .and_then(|rest| rest.split_once('['))?;
    if !inside.contains("EVENTS") {
        return None;
    }
    let mut words = inside.split([' ', ']']);
    Some(words.find_map(|word| word.parse().ok()).unwrap_or(1))
}

/// A line that is an event.
#[derive(Debug)]
struct Event<'a> {
    kind: Kind,
    time_ns: u64,
    /// Whether the time has more digits than microseconds.
    fine: bool,
    /// What the event says.
    body: &'a str,
}

impl<'a> Event<'a> {
    /// The event that `line` is; none where it is none of those that are read,
    /// an error where its time is none.
    fn of(line: &'a str) -> Option<Result<Self, String>> {
        // The name of a process may look like anything: an event's name stands
        // after a time.
        for (name, kind) in EVENTS {
            for (at, _) in line.match_indices(name) {
                let body = line
                    .get(at + name.len()..)
                    .and_then(|it| it.strip_prefix(':'));
                let (Some(before), Some(body)) = (line.get(..at), body) else {
                    continue;
                };
                let Some(time) = time_before(before) else {
                    continue;
                };
                return Some(Self::new(*kind, time, body.trim()));
            }
        }
        None
    }

    fn new(kind: Kind, time: &str, body: &'a str) -> Result<Self, String> {
        let Some((_, fraction)) = time.split_once('.') else {
            return Err(format!(
                "the time {time} is in ticks of an unknown clock: trace with trace_clock mono"
            ));
        };
        Ok(Self {
            kind,
            time_ns: billionths(time, "time")?,
            fine: fraction.len() > 6,
            body,
        })
    }
}

/// The time at the end of `before`, which stands before an event's name.
fn time_before(before: &str) -> Option<&str> {
    // perf names the event's system, and may say for how many events it
    // stands: "12.345678:          1 nvme:".
    let system = before
        .strip_suffix("nvme:")
        .or_else(|| before.strip_suffix("block:"));
    let before = match system {
        Some(before) => before
            .trim_end()
            .trim_end_matches(|it: char| it.is_ascii_digit()),
        None => before,
    };
    let time = before
        .trim_end()
        .strip_suffix(':')?
        .split_whitespace()
        .next_back()?;
    time.starts_with(|it: char| it.is_ascii_digit())
        .then_some(time)
}

#[cfg(test)]
mod tests {
    use super::{Event, lost};

    #[test]
    fn an_event_stands_after_a_time() {
        let at = |line: &str| {
            Event::of(line).map(|it| it.map(|it| (it.time_ns, it.fine, it.body.to_owned())))
        };
        let ok = |ns, fine| Some(Ok((ns, fine, "nvme0: qid=1".to_owned())));
        for line in [
            "          <...>-1234    [002] d..1.    12.345678: nvme_setup_cmd: nvme0: qid=1",
            " nvme_setup_cmd: 1-1234 (   99) [002] d..1.    12.345678: nvme_setup_cmd: nvme0: qid=1",
            "   fio-77 [000]    12.345678: nvme_setup_cmd:       nvme0: qid=1",
            "   fio    77 [000]    12.345678:       nvme:nvme_setup_cmd: nvme0: qid=1",
            "   fio    77/78 [000]    12.345678:     1 nvme:nvme_setup_cmd: nvme0: qid=1",
        ] {
            assert_eq!(at(line), ok(12_345_678_000, false), "{line}");
        }
        assert_eq!(
            at("   fio-77 [000] 12.345678901: nvme_setup_cmd: nvme0: qid=1"),
            ok(12_345_678_901, true)
        );
        assert!(matches!(
            at(" x-1 [000] ..... 77777: nvme_setup_cmd: nvme0: qid=1"),
            Some(Err(_))
        ));
        assert_eq!(at("# nvme_setup_cmd: is an event"), None);
        assert_eq!(at("   fio-77 [000] 12.345678: sched_switch: a"), None);
    }

    #[test]
    fn lost_events_are_counted() {
        assert_eq!(lost("CPU:2 [LOST 123 EVENTS]"), Some(123));
        assert_eq!(lost("CPU:0 [7 EVENTS DROPPED]"), Some(7));
        assert_eq!(lost("CPU:0 [EVENTS DROPPED]"), Some(1));
        assert_eq!(lost(" fio-7 [000] 1.000000: x: CPU:0"), None);
    }
}
