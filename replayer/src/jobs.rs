//! Commands in flight: what submissions start and completions end.

use driver::{Command, Completed, QueuePair, SubmitError, SubmitReason};
use nvme::{Lba, NvmOpcode, QueueId, Status};
use traces::{Payload, Tap};

use crate::ReplayError;
use crate::books::{Books, Outcome};
use crate::buffers::{Buffers, RangePage};
use crate::check::Checks;
use crate::content::Content;
use crate::lanes::Waiting;
use crate::pace::Cap;
use crate::plan::{Data, Piece, Plan};
use crate::think::Think;

/// What submissions and completions change, whatever their queue.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) books: Books,
    pub(crate) buffers: Buffers,
    pub(crate) jobs: Jobs,
    pub(crate) cap: Cap,
    /// What waits for what, at a pace where commands do.
    pub(crate) think: Option<Think>,
    /// What is known of the data, where that is verified.
    pub(crate) checks: Option<Checks>,
    /// What writes carry; none where all carry the pattern.
    pub(crate) content: Option<Content>,
    pub(crate) stop_on_error: bool,
    /// The first command that failed, where that ends the replay.
    pub(crate) failure: Option<ReplayError>,
}

/// A recorded command of which something was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    opcode: u8,
    lba: Option<Lba>,
    recorded_latency_ns: Option<u64>,
    recorded_status: Option<Status>,
    submit_ns: u64,
    /// Pieces that are not complete, sent or not.
    pieces: u64,
    bytes: u64,
    status: Status,
    lost: bool,
    /// Who waits for its end.
    node: Option<u32>,
    /// Its place in the order of the replay.
    order: u64,
}

impl Job {
    /// The command and its address, for messages.
    fn name(&self) -> String {
        name(self.opcode, self.lba)
    }
}

fn name(opcode: u8, lba: Option<Lba>) -> String {
    let opcode = NvmOpcode(opcode);
    match lba {
        Some(lba) => format!("{opcode} of {lba}"),
        None => opcode.to_string(),
    }
}

/// The jobs; room for all of them is made at the start.
#[derive(Debug)]
pub(crate) struct Jobs {
    jobs: Vec<Option<Job>>,
    free: Vec<u32>,
    /// The order of those that ended without being completed.
    lost: Vec<u64>,
}

impl Jobs {
    /// Room for `max` jobs.
    pub(crate) fn new(max: usize) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        Self {
            jobs: (0..max).map(|_| None).collect(),
            free: (0..max).rev().collect(),
            lost: Vec::new(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.jobs.len() - self.free.len()
    }

    /// The order of those that were sent, in part at least, and not completed.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = u64> + '_ {
        let open = self.jobs.iter().flatten().map(|job| job.order);
        open.chain(self.lost.iter().copied())
    }

    fn slot(&mut self, index: u32) -> Option<&mut Option<Job>> {
        // Widens.
        self.jobs.get_mut(index as usize)
    }

    fn start(&mut self, job: Job) -> Option<u32> {
        let index = self.free.pop()?;
        *self.slot(index)? = Some(job);
        Some(index)
    }

    /// The name of the command that came with `user`.
    pub(crate) fn name_of(&mut self, user: u64) -> String {
        self.slot(Token::unpack(user).job)
            .and_then(|job| job.as_ref())
            .map_or_else(|| "a command".to_owned(), Job::name)
    }
}

/// What comes back with a completion: the job, and what to give back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Token {
    job: u32,
    /// The page of its ranges.
    page: Option<RangePage>,
    /// Its slot among those that are verified.
    slot: Option<u16>,
}

impl Token {
    const PAGE_SHIFT: u32 = 32;
    const SLOT_SHIFT: u32 = 48;

    fn pack(self) -> u64 {
        // Page and slot are below u16::MAX: a queue has fewer entries.
        let page = self.page.map_or(0, |page| u64::from(page.0) + 1);
        let slot = self.slot.map_or(0, |slot| u64::from(slot) + 1);
        slot << Self::SLOT_SHIFT | page << Self::PAGE_SHIFT | u64::from(self.job)
    }

    fn unpack(user: u64) -> Self {
        let part = |shift: u32| {
            let part = (user >> shift) & u64::from(u16::MAX);
            let part = part.checked_sub(1);
            part.and_then(|part| u16::try_from(part).ok())
        };
        Self {
            job: u32::try_from(user & u64::from(u32::MAX)).unwrap_or(u32::MAX),
            page: part(Self::PAGE_SHIFT).map(RangePage),
            slot: part(Self::SLOT_SHIFT),
        }
    }
}

impl Core {
    /// When `waiting` is due; none where it waits for what is not over.
    pub(crate) fn due_ns(&self, waiting: &Waiting) -> Option<u64> {
        match (waiting.after, &self.think) {
            // What was begun does not wait any more.
            (Some(after), Some(think)) if waiting.job.is_none() => think.due_ns(after),
            _ => Some(waiting.due_ns),
        }
    }

    /// Starts the job of `waiting`, of which nothing was sent. None where there
    /// is no room, which there is for every place in the queues.
    pub(crate) fn start(&mut self, waiting: &Waiting, now_ns: u64) -> Option<u32> {
        if let (Some(after), Some(think)) = (waiting.after, &mut self.think) {
            think.forget(after);
        }
        self.books.depth.add(now_ns);
        let plan = &waiting.plan;
        self.jobs.start(Job {
            opcode: plan.opcode,
            lba: plan.lba,
            recorded_latency_ns: plan.recorded_latency_ns,
            recorded_status: plan.recorded_status,
            submit_ns: now_ns,
            pieces: plan.pieces(),
            bytes: plan.bytes(),
            status: Status::SUCCESS,
            lost: false,
            node: waiting.node,
            order: waiting.order,
        })
    }

    /// Has `plan` write what was recorded, where it is to.
    pub(crate) fn pay(&mut self, plan: &mut Plan, payload: Option<Box<Payload>>) {
        let wanted = payload.filter(|_| self.content.as_ref().is_some_and(|it| it.pays));
        let is_paid = plan.pay(wanted);
        if plan.writes() {
            let count = if is_paid {
                &mut self.books.paid_writes
            } else {
                &mut self.books.unpaid_writes
            };
            *count += 1;
        }
    }

    /// Whether there is memory for what `plan` sends next to this lane.
    pub(crate) fn has_memory(&self, lane: usize, plan: &Plan) -> bool {
        let content = self.content.as_ref();
        (!plan.has_ranges() || self.buffers.has_range_page())
            && content.is_none_or(|content| content.has_room(plan))
            && self
                .checks
                .as_ref()
                .is_none_or(|checks| checks.has_slot(lane))
    }

    /// Sends the next piece of `plan` to `pair`, the queue pair of this lane,
    /// which has a place for it. Returns false where nothing was left to send.
    pub(crate) fn send<P: Tap>(
        &mut self,
        (lane, pair): (usize, &mut QueuePair<P>),
        plan: &mut Plan,
        job: u32,
        now_ns: u64,
    ) -> Result<bool, ReplayError> {
        let queue = pair.id();
        let block_bytes = plan.block_bytes();
        let Some(piece) = plan.next_piece() else {
            return Ok(false);
        };
        let mut token = Token {
            job,
            ..Token::default()
        };
        let checks = self.checks.as_mut();
        let command = match piece {
            Piece::Bare(sqe) => {
                if let Some(checks) = checks {
                    let begun = checks.begin(lane, pair, (&sqe, 0))?;
                    token.slot = begun.map(|(slot, _)| slot);
                }
                Command::raw(sqe, None)
            }
            Piece::Moving {
                sqe,
                data,
                bytes,
                payload,
            } => {
                self.books.moved(data == Data::Write, bytes);
                let begun = match checks {
                    Some(checks) => checks.begin(lane, pair, (&sqe, bytes))?,
                    None => None,
                };
                let own = match &mut self.content {
                    Some(content) if data == Data::Write => {
                        content.data(payload, (block_bytes, bytes))?
                    }
                    _ => None,
                };
                // There is content only where nothing is verified.
                let data = match begun.or(own) {
                    Some((slot, data)) => {
                        token.slot = Some(slot);
                        data
                    }
                    None if data == Data::Write => self.buffers.for_write(sqe.slba(), bytes)?,
                    None => self.buffers.for_read(bytes)?,
                };
                Command::raw(sqe, Some(data))
            }
            Piece::Ranges { sqe, ranges } => {
                let Some((taken, data)) = self.buffers.put_ranges(ranges)? else {
                    return Ok(false);
                };
                token.page = Some(taken);
                token.slot = checks.and_then(|checks| checks.begin_ranges(lane, pair, ranges));
                Command::raw(sqe, Some(data))
            }
        };
        match pair.submit(command, token.pack(), now_ns) {
            Ok(_) => {
                self.books.sent += 1;
                self.cap.charge(now_ns);
                Ok(true)
            }
            Err(error) => {
                let error = refused(queue, error);
                self.take_back(lane, token);
                Err(error)
            }
        }
    }

    /// A piece was not submitted after all.
    #[cold]
    fn take_back(&mut self, lane: usize, token: Token) {
        match (token.slot, &mut self.checks, &mut self.content) {
            (Some(slot), Some(checks), _) => checks.take_back(lane, slot),
            (Some(slot), None, Some(content)) => content.free(slot),
            _ => {}
        }
    }

    /// A piece of a command on this lane is over.
    pub(crate) fn completed(&mut self, (lane, queue): (usize, QueueId), done: &Completed) {
        let token = Token::unpack(done.user);
        if let Some(page) = token.page {
            self.buffers.free_range_page(page);
        }
        if let (Some(slot), None, Some(content)) = (token.slot, &self.checks, &mut self.content) {
            content.free(slot);
        }
        if let (Some(slot), Some(checks)) = (token.slot, &mut self.checks) {
            let ended = checks.end(lane, slot, done);
            self.looked_at(ended, queue);
        }
        let index = token.job;
        let Some(slot) = self.jobs.slot(index) else {
            return;
        };
        let Some(job) = slot else {
            return;
        };
        job.pieces = job.pieces.saturating_sub(1);
        job.lost |= done.lost;
        if job.status.is_success() {
            job.status = done.status;
        }
        if job.pieces > 0 {
            return;
        }
        let job = *job;
        *slot = None;
        self.jobs.free.push(index);
        if job.lost {
            self.jobs.lost.push(job.order);
        }
        if let (Some(node), Some(think)) = (job.node, &mut self.think) {
            think.done(node, done.complete_ns);
        }
        self.books.depth.remove(done.complete_ns);
        self.books.last_complete_ns = done.complete_ns;
        self.books.finish(&Outcome {
            opcode: job.opcode,
            recorded_latency_ns: job.recorded_latency_ns,
            recorded_status: job.recorded_status,
            latency_ns: done.complete_ns.saturating_sub(job.submit_ns),
            bytes: job.bytes,
            status: job.status,
            lost: job.lost,
        });
        let failed = !job.lost && !job.status.is_success();
        if failed && self.stop_on_error && self.failure.is_none() {
            self.failure = Some(ReplayError::CommandFailed {
                command: job.name(),
                queue,
                status: job.status,
            });
        }
    }
    /// What was read was held against what was written.
    fn looked_at(&mut self, ended: Result<bool, ReplayError>, queue: QueueId) {
        let failure = match ended {
            Ok(true) if self.stop_on_error => Some(ReplayError::WrongData { queue }),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        if self.failure.is_none() {
            self.failure = failure;
        }
    }
}

/// Why a command was not submitted.
#[cold]
fn refused(queue: QueueId, error: SubmitError<'_>) -> ReplayError {
    match error.reason {
        SubmitReason::Closed => ReplayError::QueueClosed { queue },
        _ => ReplayError::Driver {
            operation: "submitting a command",
            source: error.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        for page in [None, Some(RangePage(0)), Some(RangePage(255))] {
            for slot in [None, Some(0), Some(65_534)] {
                let job = 0xffff_fffe;
                let token = Token { job, page, slot };
                assert_eq!(Token::unpack(token.pack()), token);
            }
        }
    }
}
