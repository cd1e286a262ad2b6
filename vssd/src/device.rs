//! The device behind the registers: everything of a controller but its medium.
//!
//! It stands apart so that a medium can hand tickets back while it is borrowed:
//! the sink of [`crate::Media::poll`] is a device.

mod apart;

use std::collections::VecDeque;

use nvme::{AsyncEvent, QueueId, Sqe, Status};
use traces::{Clock, CommandRecord, Completion, Event, EventRecord, Tap};

pub(crate) use self::apart::Role;
use crate::admin::events::AsyncEvents;
use crate::admin::features::Features;
use crate::admin::lba_status::LbaStatus;
use crate::admin::logs::ErrorLog;
use crate::admin::namespaces::ChangedNamespaces;
use crate::admin::services::firmware::ResetKind;
use crate::admin::services::{Reason, Services};
use crate::cmb::Cmb;
use crate::health::Health;
use crate::job::{Job, Waiting};
use crate::lifecycle::Lifecycle;
use crate::media::{Extent, MediaError, MediaInfo, Outcome};
use crate::memory::{Bounces, SegmentBuffer};
use crate::namespace::Namespaces;
use crate::queue::{Coalescing, Queues, Reply};
use crate::registers::RegisterFile;
use crate::reservation::Notices;
use crate::sanitize::Sanitize;
use crate::sequence::Sequence;
use crate::special::First;
use crate::ticket::{Ticket, TicketPool};
use crate::transfer::pieces_max;
use crate::vitals::Vitals;
use crate::{ControllerConfig, DmaTable, Doorbells, Interrupts};

/// A completion whose queue is not mapped just now.
#[derive(Debug)]
struct Stalled {
    ticket: Ticket,
    status: Status,
    dwords: u64,
}

/// Everything of a controller but its medium.
pub(crate) struct Device<T, C> {
    pub(crate) config: ControllerConfig,
    pub(crate) namespaces: Namespaces,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) registers: RegisterFile,
    pub(crate) memory: DmaTable,
    pub(crate) doorbells: Doorbells,
    pub(crate) cmb: Cmb,
    pub(crate) interrupts: Box<dyn Interrupts + Send>,
    pub(crate) queues: Queues,
    pub(crate) coalescing: Coalescing,
    pub(crate) features: Features,
    pub(crate) events: AsyncEvents,
    pub(crate) changed_namespaces: ChangedNamespaces,
    pub(crate) errors: ErrorLog,
    pub(crate) health: Health,
    pub(crate) vitals: Vitals,
    pub(crate) lba_status: LbaStatus,
    pub(crate) services: Services,
    /// Deletions of submission queues that wait for commands in flight.
    pub(crate) closing: Vec<(QueueId, Ticket)>,
    stalled: Vec<Stalled>,
    /// The first commands of fused pairs whose second has not come.
    pub(crate) fused: Vec<First>,
    /// Pairs that wait to be alone on the medium, or are: no other I/O command is
    /// fetched until they have ended.
    pub(crate) pairs: usize,
    /// Memory that commands of several steps move data through.
    pub(crate) bounces: Bounces,
    /// Such commands that wait for memory.
    pub(crate) backlog: VecDeque<(Job, usize, Ticket)>,
    /// Such commands whose step the medium has done.
    pub(crate) stepped: VecDeque<(Ticket, Outcome)>,
    /// Such commands that wait for the clock.
    pub(crate) waiting: Vec<Waiting>,
    /// What the host has not read of reservations.
    pub(crate) notices: Notices,
    pub(crate) sanitize: Sanitize,
    /// Whether a job does the work of a sanitize operation.
    pub(crate) sanitizing: bool,
    /// Whether something has changed that is to be saved.
    pub(crate) changed: bool,
    pub(crate) segments: SegmentBuffer,
    pub(crate) extents: Vec<Extent>,
    pub(crate) tickets: TicketPool,
    /// Commands that the medium has, or that wait to be posted.
    in_flight: usize,
    /// Set by the flush of a shutdown.
    pub(crate) flushed: bool,
    /// How the last flush of the drive's own ended.
    pub(crate) flush_outcome: Outcome,
    /// Which part of the drive this is.
    pub(crate) role: Role,
    /// Commands that wait until the drive is whole.
    pub(crate) strays: Vec<(Sqe, Ticket)>,
    /// Commands of a lane that failed, for the error log.
    failures: Vec<(CommandRecord, Status)>,
    /// The numbers of commands.
    pub(crate) sequence: Sequence,
    /// When the drive was powered on, nanoseconds of the clock.
    pub(crate) powered_ns: u64,
    pub(crate) tap: T,
    pub(crate) clock: C,
}

/// What a device is made of beside its configuration.
pub(crate) struct Parts<T, C> {
    pub(crate) doorbells: Doorbells,
    pub(crate) cmb: Cmb,
    pub(crate) media: MediaInfo,
    pub(crate) tap: T,
    pub(crate) clock: C,
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// A device as it is after power-on. `config` was checked, and fits the
    /// medium.
    pub(crate) fn new(config: ControllerConfig, parts: Parts<T, C>) -> Self {
        let Parts {
            doorbells,
            cmb,
            media,
            tap,
            clock,
        } = parts;
        let transfer_pages = 1_usize << config.mdts;
        Self {
            namespaces: Namespaces::of_a_new_drive(&config, media),
            lifecycle: Lifecycle::Disabled,
            registers: RegisterFile::default(),
            memory: DmaTable::new(),
            doorbells,
            cmb,
            interrupts: Box::new(()),
            queues: Queues::new(config.queue_pairs_max),
            coalescing: Coalescing::default(),
            features: Features::new(&config),
            events: AsyncEvents::new(),
            changed_namespaces: ChangedNamespaces::default(),
            errors: ErrorLog::new(),
            health: Health::default(),
            vitals: Vitals::new(&config, clock.now_ns()),
            lba_status: LbaStatus::default(),
            services: Services::new(&config.firmware),
            closing: Vec::new(),
            stalled: Vec::new(),
            fused: Vec::new(),
            pairs: 0,
            bounces: Bounces::default(),
            backlog: VecDeque::new(),
            stepped: VecDeque::new(),
            waiting: Vec::new(),
            notices: Notices::default(),
            sanitize: Sanitize::default(),
            sanitizing: false,
            changed: false,
            segments: SegmentBuffer::with_capacity(pieces_max(transfer_pages)),
            // Each range has data and, maybe, metadata.
            extents: Vec::with_capacity(2 * nvme::DSM_RANGES_MAX),
            tickets: TicketPool::default(),
            in_flight: 0,
            flushed: false,
            flush_outcome: Ok(()),
            role: Role::Whole,
            strays: Vec::new(),
            failures: Vec::new(),
            sequence: Sequence::default(),
            powered_ns: clock.now_ns(),
            tap,
            clock,
            config,
        }
    }

    /// The time, where somebody observes; else 0.
    #[inline]
    pub(crate) fn observed_ns(&self) -> u64 {
        if T::ENABLED { self.clock.now_ns() } else { 0 }
    }

    /// Fetches the next command of a queue, seen at `now_ns`, into `sqe`.
    #[inline]
    pub(crate) fn fetch(&mut self, queue: QueueId, now_ns: u64, sqe: &mut Sqe) -> Option<Ticket> {
        let memory = (&self.memory, &self.doorbells);
        let completion = self.queues.fetch(queue, memory, sqe)?;
        Some(self.issue((queue, completion), now_ns, sqe))
    }

    /// The ticket of the next command, which came from the first of `queues` and
    /// completes to the second.
    // As `Window::read_sqe`: the words of the command go on in registers.
    #[inline(always)]
    pub(crate) fn issue(&mut self, queues: (QueueId, QueueId), now_ns: u64, sqe: &Sqe) -> Ticket {
        let place = (self.sequence.take(), now_ns);
        let ticket = self.tickets.issue(place, queues, sqe);
        self.tap.fetched(ticket.record());
        ticket
    }

    /// Notes that the medium has the command `cid` of `queue` now.
    pub(crate) fn pend(&mut self, queue: QueueId, cid: nvme::CommandId) {
        self.in_flight += 1;
        self.queues.set_in_flight(queue, cid, true);
    }

    /// Whether nothing is in flight but one pair and what waits behind it.
    pub(crate) fn has_only_a_pair(&self) -> bool {
        // Both commands of it are in flight.
        self.in_flight <= self.backlog.len().saturating_add(2)
    }

    /// Notes that a command is in flight no more: [`Device::pend`] backwards.
    fn unpend(&mut self, ticket: &Ticket) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.queues
            .set_in_flight(ticket.queue(), ticket.cid(), false);
    }

    /// Completes a command that a medium had, or notes that its job can go on.
    pub(crate) fn finish_media(&mut self, ticket: Ticket, outcome: Outcome) {
        if ticket.has_job() {
            self.stepped.push_back((ticket, outcome));
            return;
        }
        if ticket.is_self_test() {
            return self.finish_self_test_read(ticket, outcome);
        }
        if ticket.completion().is_none() {
            self.flushed = true;
            self.flush_outcome = outcome;
            ticket.settle();
            return;
        }
        self.unpend(&ticket);
        self.finish_io(ticket, outcome);
    }

    /// Completes a command that was aside for a while.
    pub(crate) fn finish_pending(&mut self, ticket: Ticket, status: Status, dwords: u64) {
        if !ticket.queue().is_admin() {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        self.queues
            .set_in_flight(ticket.queue(), ticket.cid(), false);
        self.finish(ticket, status, dwords);
    }

    /// Whether a command of several steps can go on, or may soon.
    #[inline]
    pub(crate) fn has_jobs(&self) -> bool {
        !self.stepped.is_empty()
            || !self.waiting.is_empty()
            || !self.backlog.is_empty()
            || (self.sanitize.is_due() && !self.sanitizing)
    }

    /// Ends a job: completes its command, if it has one.
    pub(crate) fn finish_job(&mut self, job: Job, ticket: Ticket, result: Result<u64, Status>) {
        if matches!(job, Job::CompareWrite(_)) {
            self.pairs = self.pairs.saturating_sub(1);
        }
        drop(job);
        if ticket.completion().is_none() {
            ticket.settle();
            return;
        }
        self.unpend(&ticket);
        match result {
            Ok(dwords) => {
                self.count(ticket.record());
                self.finish(ticket, Status::SUCCESS, dwords);
            }
            Err(status) => self.finish(ticket, status, 0),
        }
    }

    /// Counts a failure of the medium; what the host is told of it.
    pub(crate) fn media_failed(&mut self, error: MediaError) -> Status {
        if matches!(error, MediaError::Read | MediaError::Write) {
            self.health.count_media_error();
            self.trigger_telemetry(Reason::MediaError);
        }
        error.status()
    }

    /// Counts a command that succeeded.
    #[inline]
    fn count(&mut self, record: &CommandRecord) {
        if let Some(namespace) = self.namespaces.get(record.nsid) {
            self.health.count(record, namespace.block_bytes);
        }
    }

    /// Completes an I/O command with what the medium said.
    #[inline]
    pub(crate) fn finish_io(&mut self, ticket: Ticket, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.count(ticket.record());
                self.finish(ticket, Status::SUCCESS, 0);
            }
            Err(error) => {
                let status = self.media_failed(error);
                self.finish(ticket, status, 0);
            }
        }
    }

    /// Completes a command: posts its completion, and tells the observer.
    #[inline]
    pub(crate) fn finish(&mut self, ticket: Ticket, status: Status, dwords: u64) {
        let status = if status.is_success() {
            status
        } else {
            self.enter_error(&ticket, status)
        };
        if let Some(ticket) = self.post(ticket, status, dwords) {
            self.in_flight += 1;
            self.stalled.push(Stalled {
                ticket,
                status,
                dwords,
            });
        }
    }

    /// Enters a failure into the error log, where it is one that the host does
    /// not know of. Returns the status to complete with.
    #[cold]
    fn enter_error(&mut self, ticket: &Ticket, status: Status) -> Status {
        let expected = [Status::ABORT_REQUESTED, Status::COMPARE_FAILURE];
        if expected.iter().any(|known| known.same_code(status)) {
            return status;
        }
        if let Some(completion) = ticket.completion() {
            self.queues.hurry(completion);
        }
        self.note_failure(ticket.record(), status);
        status.more()
    }

    /// Posts a completion and tells the observer; hands the ticket back where
    /// the queue is not mapped.
    #[inline]
    fn post(&mut self, ticket: Ticket, status: Status, dwords: u64) -> Option<Ticket> {
        let reply = Reply {
            queue: ticket.queue(),
            cid: ticket.cid(),
            status,
            result: dwords,
        };
        let completion = ticket.completion()?;
        if !self.queues.post(&self.memory, completion, &reply) {
            return Some(ticket);
        }
        let mut settled = ticket.settle();
        if T::ENABLED {
            settled.complete(Completion {
                complete_ns: self.clock.now_ns(),
                status,
                result: low(dwords),
            });
            self.tap.command(settled.record(), settled.ranges());
        }
        self.tickets.give(settled);
        None
    }

    /// Posts what waited for its queue to be mapped. Returns how much.
    pub(crate) fn retry_stalled(&mut self) -> u32 {
        if self.stalled.is_empty() {
            return 0;
        }
        let mut posted = 0;
        for stalled in std::mem::take(&mut self.stalled) {
            let Stalled {
                ticket,
                status,
                dwords,
            } = stalled;
            match self.post(ticket, status, dwords) {
                Some(ticket) => self.stalled.push(Stalled {
                    ticket,
                    status,
                    dwords,
                }),
                None => {
                    self.in_flight = self.in_flight.saturating_sub(1);
                    posted += 1;
                }
            }
        }
        posted
    }

    /// Ends a command that will never complete, and tells the observer.
    pub(crate) fn abandon(&mut self, mut ticket: Ticket) {
        if let Some(running) = ticket.take_job() {
            self.abandon_job(running.job);
            self.bounces.give(running.buffer);
        }
        let real = ticket.completion().is_some();
        let settled = ticket.settle();
        if T::ENABLED && real {
            self.tap.command(settled.record(), settled.ranges());
        }
        self.tickets.give(settled);
    }

    /// Ends what a job has beside its command.
    fn abandon_job(&mut self, job: Job) {
        match job {
            Job::CompareWrite(mut pair) => {
                self.pairs = self.pairs.saturating_sub(1);
                if let Some(first) = pair.take_first() {
                    self.abandon(first);
                }
            }
            Job::Format(format) => self.end_format(&format.namespaces, None),
            // It goes on from where it was.
            Job::Sanitize(_) => self.sanitizing = false,
            Job::Transfer(_) | Job::Copy(_) => {}
        }
    }

    /// Abandons everything that the medium does not have, and removes all
    /// queues. What belongs to a controller reset is as after power-on then.
    pub(crate) fn reset(&mut self) {
        for stalled in std::mem::take(&mut self.stalled) {
            self.abandon(stalled.ticket);
        }
        for (_, ticket) in std::mem::take(&mut self.closing) {
            self.abandon(ticket);
        }
        for (_, ticket) in std::mem::take(&mut self.strays) {
            self.abandon(ticket);
        }
        for first in std::mem::take(&mut self.fused) {
            self.abandon(first.ticket);
        }
        for (job, _, ticket) in std::mem::take(&mut self.backlog) {
            self.abandon_job(job);
            self.abandon(ticket);
        }
        for (ticket, _) in std::mem::take(&mut self.stepped) {
            self.abandon(ticket);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.abandon(waiting.ticket);
        }
        while let Some(ticket) = self.events.take_any() {
            self.abandon(ticket);
        }
        (self.in_flight, self.pairs) = (0, 0);
        self.flushed = false;
        self.events.reset();
        self.notices.reset();
        self.reset_services(ResetKind::Controller);
        self.features.reset();
        self.lba_status.reset();
        self.settle_warnings();
        self.queues.clear();
        self.coalescing.reset();
        self.coalescing.configure(self.features.coalescing());
        self.registers.intms = 0;
        self.doorbells.reset_all();
    }

    /// The tickets of what has begun and is not with the medium.
    pub(crate) fn waiting_tickets(&self) -> impl Iterator<Item = &Ticket> {
        let stalled = self.stalled.iter().map(|stalled| &stalled.ticket);
        stalled
            .chain(self.closing.iter().map(|(_, ticket)| ticket))
            .chain(self.strays.iter().map(|(_, ticket)| ticket))
            .chain(self.fused.iter().map(|first| &first.ticket))
            .chain(self.backlog.iter().map(|(_, _, ticket)| ticket))
            .chain(self.stepped.iter().map(|(ticket, _)| ticket))
            .chain(self.waiting.iter().map(|waiting| &waiting.ticket))
            .chain(self.events.requests())
    }

    /// Whether a command is in flight.
    pub(crate) const fn is_busy(&self) -> bool {
        self.in_flight > 0 || !self.closing.is_empty()
    }

    /// Tells the observer that something happened to the controller.
    pub(crate) fn event(&mut self, event: Event) {
        if T::ENABLED {
            self.tap.event(&EventRecord {
                at_ns: self.clock.now_ns(),
                sequence: self.sequence.next(),
                event,
            });
        }
    }

    /// Notes doorbells that were written with values out of range.
    pub(crate) fn note_bad_doorbells(&mut self) {
        if self.queues.take_bad_doorbells() > 0 {
            self.errors.enter_event();
            self.events.raise(AsyncEvent::INVALID_DOORBELL_VALUE);
        }
    }

    /// Raises the interrupts that are due, one for each completion queue, or
    /// has them wait for more, where the host wants that.
    #[inline]
    pub(crate) fn raise_interrupts(&mut self) {
        if self.coalescing.is_active() {
            self.raise_coalesced();
            return;
        }
        while let Some(due) = self.queues.take_due() {
            self.notify(due.vector);
        }
    }

    /// The clock is read only where there is an interrupt or one waits.
    fn raise_coalesced(&mut self) {
        if !self.queues.is_due() && self.coalescing.deadline_ns().is_none() {
            return;
        }
        let now_ns = self.clock.now_ns();
        while let Some(due) = self.queues.take_due() {
            let may_wait = self.features.coalesces(due.vector);
            if self.coalescing.is_due(due, may_wait, now_ns) {
                self.notify(due.vector);
            }
        }
        while let Some(vector) = self.coalescing.take_overdue(now_ns) {
            self.notify(vector);
        }
    }

    fn notify(&mut self, vector: u16) {
        if !crate::queue::is_masked(self.registers.intms, vector) {
            self.interrupts.notify(vector);
        }
    }
}

/// The lower half.
const fn low(dwords: u64) -> u32 {
    let [a, b, c, d, ..] = dwords.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
