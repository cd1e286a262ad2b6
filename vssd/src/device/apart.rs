//! A device of which other threads serve a part.
//!
//! ```text
//!   Whole --- queues lent to lanes ---> Apart      Lane, Lane, ...
//!     ^                                   |          |
//!     +----- all is taken back -----------+----------+
//! ```
//!
//! What a lane knows beside its queues is a copy, and what it counts is added
//! when it is back. So commands that are more than a request to the medium, or
//! that change what the copies say, are not executed while anybody is away: they
//! stray, all come home, and they are executed there.

use nvme::{NvmOpcode, Sqe, Status};
use traces::{Branch, Clock, CommandRecord, Tap};

use super::{Device, Parts};
use crate::admin::services::Reason;
use crate::cmb::Cmb;
use crate::command::{is_directed, is_simple};
use crate::memory::DmaTable;
use crate::ticket::Ticket;

/// Which part of a drive this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// All of it.
    #[default]
    Whole,
    /// What is left of it while lanes serve queues.
    Apart,
    /// Queues that were lent.
    Lane,
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// Whether `sqe` is a request to the medium, and nothing that it does
    /// matters to anybody else.
    #[inline]
    pub(crate) fn is_plain(&self, sqe: &Sqe) -> bool {
        is_simple(NvmOpcode(sqe.opcode))
            && !is_directed(sqe)
            && sqe.fuse() == 0
            && self.namespaces.plain(sqe.nsid()).is_some()
    }

    /// Keeps a command that has to wait until all is one again.
    #[cold]
    pub(crate) fn stray(&mut self, sqe: &Sqe, ticket: Ticket) {
        self.strays.push((*sqe, ticket));
    }

    /// Whether nothing goes on that concerns more than one queue.
    pub(crate) fn has_nothing_special(&self) -> bool {
        !self.has_jobs()
            && self.pairs == 0
            && self.fused.is_empty()
            && self.closing.is_empty()
            && self.sanitize.status().is_none()
    }

    /// Whether somebody has to come home: for a command that strayed, or for
    /// something that the host is to be told.
    #[inline]
    pub(crate) const fn wants_home(&self) -> bool {
        !self.strays.is_empty() || !self.failures.is_empty() || self.queues.has_bad_doorbells()
    }

    /// Notes a failure: in the error log, where this device has it.
    pub(super) fn note_failure(&mut self, record: &CommandRecord, status: Status) {
        if self.role == Role::Lane {
            self.failures.push((*record, status));
        } else {
            self.errors.enter(record, status);
        }
    }

    /// Takes back what `lane` was lent: its queues, its commands that have not
    /// ended, and what it counted.
    pub(crate) fn take_back(&mut self, lane: &mut Self) {
        self.queues.take_back(&mut lane.queues);
        self.in_flight = self.in_flight.saturating_add(lane.in_flight);
        lane.in_flight = 0;
        self.stalled.append(&mut lane.stalled);
        self.strays.append(&mut lane.strays);
        // Nobody waits for the rest of a batch any more.
        let waiting = std::mem::take(&mut lane.coalescing);
        waiting.vectors().for_each(|vector| self.notify(vector));
        for (record, status) in lane.failures.drain(..) {
            self.errors.enter(&record, status);
        }
        let counted = std::mem::take(&mut lane.health);
        if counted.has_media_errors() {
            self.trigger_telemetry(Reason::MediaError);
        }
        self.health.add(&counted);
        // No longer than it is needed: the guest's memory is to be free.
        lane.memory = DmaTable::new();
        lane.interrupts = Box::new(());
    }
}

impl<T: Branch, C: Clock + Clone> Device<T, C> {
    /// A device for a lane of this one, which has nothing yet.
    pub(crate) fn lane(&mut self) -> std::io::Result<Self> {
        let parts = Parts {
            doorbells: self.doorbells.clone(),
            // It is reached by way of the memory.
            cmb: Cmb::new(0)?,
            media: self.namespaces.media(),
            tap: self.tap.branch(),
            clock: self.clock.clone(),
        };
        let mut lane = Self::new(self.config.clone(), parts);
        lane.role = Role::Lane;
        Ok(lane)
    }

    /// Has `lane` know what this device does. False where interrupts cannot come
    /// from several threads.
    pub(crate) fn brief(&mut self, lane: &mut Self) -> bool {
        let Some(interrupts) = self.interrupts.branch() else {
            return false;
        };
        lane.interrupts = interrupts;
        lane.memory = self.memory.snapshot();
        lane.namespaces = self.namespaces.clone();
        lane.features = self.features.clone();
        lane.registers = self.registers;
        lane.coalescing.configure(self.features.coalescing());
        lane.queues.share_shadow(&self.queues);
        lane.sequence = self.sequence.share();
        true
    }
}
