//! Commands in flight: what submissions start and completions end.

use driver::{Command, Completed, QueuePair, SubmitReason};
use nvme::{Lba, NvmOpcode, QueueId, Status};
use traces::Tap;

use crate::ReplayError;
use crate::books::{Books, Outcome};
use crate::buffers::{Buffers, RangePage};
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
}

impl Jobs {
    /// Room for `max` jobs.
    pub(crate) fn new(max: usize) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        Self {
            jobs: (0..max).map(|_| None).collect(),
            free: (0..max).rev().collect(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.jobs.len() - self.free.len()
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
        let (index, _) = unpack(user);
        self.slot(index)
            .and_then(|job| job.as_ref())
            .map_or_else(|| "a command".to_owned(), Job::name)
    }
}

/// What comes back with a completion: the job, and the page of its ranges.
fn pack(job: u32, page: Option<RangePage>) -> u64 {
    let page = page.map_or(0, |page| u64::from(page.0) + 1);
    page << 32 | u64::from(job)
}

fn unpack(user: u64) -> (u32, Option<RangePage>) {
    let job = u32::try_from(user & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let page = (user >> 32).checked_sub(1);
    let page = page.and_then(|page| u16::try_from(page).ok());
    (job, page.map(RangePage))
}

impl Core {
    /// When `waiting` is due; none where it waits for what is not over.
    pub(crate) fn due_ns(&self, waiting: &Waiting) -> Option<u64> {
        match (waiting.after, &self.think) {
            (Some(after), Some(think)) => think.due_ns(after),
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
        })
    }

    /// Sends the next piece of `plan` to `pair`, which has a place for it.
    /// Returns false where nothing was left to send.
    pub(crate) fn send<P: Tap>(
        &mut self,
        pair: &mut QueuePair<P>,
        plan: &mut Plan,
        job: u32,
        now_ns: u64,
    ) -> Result<bool, ReplayError> {
        let queue = pair.id();
        let Some(piece) = plan.next_piece() else {
            return Ok(false);
        };
        let mut page = None;
        let command = match piece {
            Piece::Bare(sqe) => Command::raw(sqe, None),
            Piece::Moving { sqe, data, bytes } => {
                // Widens.
                let moved = bytes as u64;
                let data = match data {
                    Data::Write => {
                        self.books.written_bytes += moved;
                        self.buffers.for_write(sqe.slba(), bytes)?
                    }
                    Data::Read | Data::None => {
                        self.books.read_bytes += moved;
                        self.buffers.for_read(bytes)?
                    }
                };
                Command::raw(sqe, Some(data))
            }
            Piece::Ranges { sqe, ranges } => {
                let Some((taken, data)) = self.buffers.put_ranges(ranges)? else {
                    return Ok(false);
                };
                page = Some(taken);
                Command::raw(sqe, Some(data))
            }
        };
        match pair.submit(command, pack(job, page), now_ns) {
            Ok(_) => {
                self.books.sent += 1;
                self.cap.charge(now_ns);
                Ok(true)
            }
            Err(error) => Err(match error.reason {
                SubmitReason::Closed => ReplayError::QueueClosed { queue },
                _ => ReplayError::Driver {
                    operation: "submitting a command",
                    source: error.into(),
                },
            }),
        }
    }

    /// A piece is over.
    pub(crate) fn completed(&mut self, queue: QueueId, done: &Completed) {
        let (index, page) = unpack(done.user);
        if let Some(page) = page {
            self.buffers.free_range_page(page);
        }
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
}
