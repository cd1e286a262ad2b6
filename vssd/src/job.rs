//! Commands of several steps.
//!
//! ```text
//!   special -> begin --> step --> Media(op) --> media ... done --+
//!                         ^                                      |
//!                         +--------------------------------------+
//!                         |
//!                         +----> WaitUntil(time) ... passed -----+
//!                         v
//!                       Done -> the completion
//! ```
//!
//! A command that a single request to the medium cannot execute (a copy, a
//! read with metadata, a format) is a [`Job`]. It travels inside the command's
//! ticket, so that whoever has the ticket has the job; between two steps it
//! belongs to the medium or to the clock. Data goes through a buffer of our
//! own, and the guest's memory is walked anew in the step that touches it.

mod compare_write;
mod copy;
mod format;
mod sanitize;
mod transfer;

use std::ops::Range;

use nvme::Status;
use traces::{Clock, CommandRecord, Tap};

pub(crate) use self::compare_write::CompareWrite;
pub(crate) use self::copy::{Copy, Source};
pub(crate) use self::format::{Format, Purpose};
use self::sanitize::CHUNK_BYTES as SANITIZE_CHUNK;
pub(crate) use self::sanitize::SanitizeJob;
pub(crate) use self::transfer::Transfer;
use crate::device::Device;
use crate::media::{Extent, Outcome, Request, Submission};
use crate::memory::{Access, BounceId};
use crate::{Controller, Media, Ticket};

/// What the medium is to do for a job. Parts are parts of the job's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Read {
        offset: u64,
        part: Range<usize>,
    },
    Write {
        offset: u64,
        part: Range<usize>,
        durable: bool,
    },
    WriteZeroes {
        extent: Extent,
        deallocate: bool,
        durable: bool,
    },
    Discard(Extent),
    Flush,
}

/// What a job wants next.
#[derive(Debug)]
pub(crate) enum Step {
    /// The medium is to do this.
    Media(Op),
    /// Nothing, until the clock says so, nanoseconds.
    WaitUntil(u64),
    /// It is done; the completion's dwords 0 and 1.
    Done(Result<u64, Status>),
}

/// A command of several steps, or a background operation.
#[derive(Debug)]
pub(crate) enum Job {
    Transfer(Transfer),
    Copy(Box<Copy>),
    CompareWrite(Box<CompareWrite>),
    Format(Format),
    Sanitize(SanitizeJob),
}

/// A job under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) job: Job,
    /// Where its data goes through.
    pub(crate) buffer: BounceId,
}

impl Running {
    /// Takes the next step of the command of `record`, after the medium answered
    /// the last with `outcome`.
    fn step<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        record: &CommandRecord,
        outcome: Outcome,
    ) -> Step {
        let buffer = &self.buffer;
        match &mut self.job {
            Job::Transfer(job) => job.step(device, (buffer, record), outcome),
            Job::Copy(job) => job.step(device, outcome),
            Job::CompareWrite(job) => job.step(device, (buffer, record), outcome),
            Job::Format(job) => job.step(device, outcome),
            Job::Sanitize(job) => job.step(device, buffer, outcome),
        }
    }
}

/// What waits for the clock.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) until_ns: u64,
    pub(crate) ticket: Ticket,
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Begins a job with a buffer of `bytes` bytes, at once or when there is
    /// room for it.
    pub(crate) fn begin(&mut self, job: Job, bytes: usize, mut ticket: Ticket) {
        self.device.pend(ticket.queue(), ticket.cid());
        if !self.may_start(&job) {
            return self.device.backlog.push_back((job, bytes, ticket));
        }
        match self.device.bounces.take(bytes) {
            Some(buffer) => {
                ticket.set_job(Box::new(Running { job, buffer }));
                self.advance(ticket, Ok(()));
            }
            None => self.device.backlog.push_back((job, bytes, ticket)),
        }
    }

    /// Whether nothing that is in flight stands in the way of a job.
    fn may_start(&self, job: &Job) -> bool {
        let alone = matches!(job, Job::CompareWrite(_));
        !alone || self.device.has_only_a_pair()
    }

    /// Goes on with a job after the medium has answered.
    pub(crate) fn advance(&mut self, mut ticket: Ticket, mut outcome: Outcome) {
        while let Some(mut running) = ticket.take_job() {
            match running.step(&mut self.device, ticket.record(), outcome) {
                Step::Done(result) => {
                    let Running { job, buffer } = *running;
                    self.device.bounces.give(buffer);
                    self.device.finish_job(job, ticket, result);
                    return;
                }
                Step::WaitUntil(until_ns) => {
                    ticket.set_job(running);
                    self.device.waiting.push(Waiting { until_ns, ticket });
                    return;
                }
                Step::Media(op) => {
                    let extents;
                    let bounces = &mut self.device.bounces;
                    let request = match op {
                        Op::Read { offset, part } => bounces
                            .segments(&running.buffer, part, Access::Write)
                            .map(|to| Request::Read { offset, to }),
                        Op::Write {
                            offset,
                            part,
                            durable,
                        } => bounces
                            .segments(&running.buffer, part, Access::Read)
                            .map(|from| Request::Write {
                                offset,
                                from,
                                durable,
                            }),
                        Op::WriteZeroes {
                            extent,
                            deallocate,
                            durable,
                        } => Some(Request::WriteZeroes {
                            extent,
                            deallocate,
                            durable,
                        }),
                        Op::Discard(extent) => {
                            extents = [extent];
                            Some(Request::Discard { extents: &extents })
                        }
                        Op::Flush => Some(Request::Flush),
                    };
                    ticket.set_job(running);
                    let Some(request) = request else {
                        debug_assert!(false, "a job asked for more than its buffer");
                        outcome = Err(crate::MediaError::Write);
                        continue;
                    };
                    match self.media.submit(ticket, request) {
                        Submission::Done(back, ended) => (ticket, outcome) = (back, ended),
                        Submission::Pending => return,
                    }
                }
            }
        }
    }

    /// Starts or takes up the work of a sanitize operation.
    fn begin_sanitize(&mut self) {
        let device = &mut self.device;
        let job = SanitizeJob::new(device.clock.now_ns(), device.config.sanitize_ns);
        let mut ticket = Ticket::internal(device.sequence.next(), device.observed_ns());
        match device.bounces.take(SANITIZE_CHUNK) {
            Some(buffer) => {
                let job = Job::Sanitize(job);
                ticket.set_job(Box::new(Running { job, buffer }));
                self.advance(ticket, Ok(()));
            }
            None => {
                // Tried again at the next poll.
                device.sanitizing = false;
                ticket.settle();
            }
        }
    }

    /// Goes on with the jobs that the medium or the clock has handed back, and
    /// begins those that waited for room. Returns how many.
    #[inline]
    pub(crate) fn advance_jobs(&mut self) -> u32 {
        if self.device.has_jobs() {
            self.advance_all()
        } else {
            0
        }
    }

    #[cold]
    fn advance_all(&mut self) -> u32 {
        let mut done = 0;
        if self.device.sanitize.is_due() && !self.device.sanitizing {
            self.device.sanitizing = true;
            self.begin_sanitize();
        }
        while let Some((ticket, outcome)) = self.device.stepped.pop_front() {
            self.advance(ticket, outcome);
            done += 1;
        }
        if !self.device.waiting.is_empty() {
            let now_ns = self.device.clock.now_ns();
            while let Some(index) = {
                let mut waiting = self.device.waiting.iter();
                waiting.position(|waiting| waiting.until_ns <= now_ns)
            } {
                let waiting = self.device.waiting.swap_remove(index);
                self.advance(waiting.ticket, Ok(()));
                done += 1;
            }
        }
        while !self.device.backlog.is_empty() && self.device.bounces.has_room() {
            let Some((job, bytes, mut ticket)) = self.device.backlog.pop_front() else {
                break;
            };
            let room = if self.may_start(&job) {
                self.device.bounces.take(bytes)
            } else {
                None
            };
            let Some(buffer) = room else {
                self.device.backlog.push_front((job, bytes, ticket));
                break;
            };
            ticket.set_job(Box::new(Running { job, buffer }));
            self.advance(ticket, Ok(()));
            done += 1;
        }
        done
    }
}
