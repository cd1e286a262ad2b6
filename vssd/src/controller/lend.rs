//! Lending queues to lanes, which other threads serve; see [`crate::lanes`].

use std::io;

use nvme::QueueId;
use traces::{Branch, Clock, Tap};

use super::{Controller, Handles, Hold};
use crate::Media;
use crate::device::Role;
use crate::media::Parallel;
use crate::queue::{Lendable, Load};
use crate::registers::AMS_WEIGHTED;

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Whether commands are for the most part requests to the medium, and
    /// nothing goes on that concerns all queues.
    pub(crate) fn is_steady(&self) -> bool {
        let device = &self.device;
        let nvme = device.lifecycle.is_ready()
            && device.registers.cc.ams() != AMS_WEIGHTED
            && !device.services.firmware.is_activating();
        let virtio = device.queues.rings.are_active() && !device.lifecycle.is_ready();
        let mut active = device
            .namespaces
            .iter()
            .filter(|namespace| device.namespaces.is_active(namespace));
        (nvme || virtio)
            && self.hold == Hold::Going
            && !self.handles.are_busy()
            && device.has_nothing_special()
            && device.memory.is_reachable()
            && active.all(|namespace| device.namespaces.plain(namespace.nsid).is_some())
    }

    /// Whether lanes have to come home: for an admin command, for one that is more
    /// than a request to the medium, or because the controller does not serve any
    /// more.
    #[inline]
    pub(crate) fn wants_home(&mut self) -> bool {
        let device = &mut self.device;
        if device.wants_home() {
            return true;
        }
        if !device.lifecycle.is_ready() {
            return device.queues.has_lent();
        }
        let (memory, doorbells) = (&device.memory, &device.doorbells);
        device.queues.waiting(QueueId::ADMIN, memory, doorbells) > 0
    }

    /// What can be lent, with what there was to do for it since this was asked
    /// last.
    pub(crate) fn loads(&mut self) -> Vec<Load> {
        self.device.queues.loads()
    }

    /// Fetches nothing for `what` any more, or again.
    pub(crate) fn pause(&mut self, what: Lendable, paused: bool) {
        self.device.queues.pause(what, paused);
    }

    /// Whether nothing of it is in flight.
    pub(crate) fn is_at_rest(&self, what: Lendable) -> bool {
        self.device.queues.is_at_rest(what)
    }

    /// Has `lane` serve `what`, which is paused and at rest.
    pub(crate) fn lend(&mut self, what: Lendable, lane: &mut Self) {
        if let Some(lent) = self.device.queues.lend(what) {
            lane.device.queues.put(lent);
            self.device.role = Role::Apart;
        }
    }

    /// Takes back all that `lane` has, and goes on with it.
    pub(crate) fn take_back(&mut self, lane: &mut Self) {
        self.device.take_back(&mut lane.device);
        if lane.media.pending() > 0 {
            let spare = self.handles.take_idle();
            debug_assert!(spare.is_some(), "one is kept for each lane");
            if let Some(spare) = spare {
                self.handles.put(std::mem::replace(&mut lane.media, spare));
            }
        }
    }

    /// All lanes are home: counts alone again, and does what waited for that.
    pub(crate) fn become_whole(&mut self) {
        self.device.role = Role::Whole;
        self.device.sequence.gather();
        for (sqe, ticket) in std::mem::take(&mut self.device.strays) {
            self.io(&sqe, ticket);
        }
    }

    /// Does what there is to do for the queues of a lane, at most about `budget`
    /// commands and completions; returns how many there were.
    pub(crate) fn poll_lane(&mut self, budget: u32) -> u32 {
        let mut done = self.device.retry_stalled();
        done += self.poll_media(budget);
        let left = budget.saturating_sub(done);
        done += if self.device.queues.rings.are_active() {
            self.serve_rings(left)
        } else {
            self.serve_io(left)
        };
        self.device.raise_interrupts();
        done
    }

    /// Drops handles on the medium that have nothing to do.
    pub(crate) fn drop_spares(&mut self) {
        self.handles.drop_idle();
    }
}

impl<M: Parallel, T: Branch, C: Clock + Clone> Controller<M, T, C> {
    /// A lane that has nothing yet.
    ///
    /// # Errors
    ///
    /// What the system says, where it does not give what a further handle on the
    /// medium needs.
    pub(crate) fn lane(&mut self) -> io::Result<Self> {
        let media = match self.handles.take_idle() {
            Some(handle) => handle,
            None => self.media.another()?,
        };
        Ok(Self {
            device: self.device.lane()?,
            media,
            turn: 0,
            store: None,
            is_unsaved: false,
            weighted: Default::default(),
            hold: Hold::Going,
            handles: Handles::default(),
        })
    }

    /// Goes on with what the medium has.
    pub(crate) fn poll_handles(&mut self) {
        self.poll_media(u32::MAX);
    }

    /// Goes on until the medium has nothing, where its handle must not stand still.
    pub(crate) fn settle(&mut self) {
        while self.media.must_settle() && self.media.pending() > 0 {
            if self.poll_media(u32::MAX) == 0 {
                std::thread::yield_now();
            }
        }
        self.device.raise_interrupts();
    }

    /// Keeps `count` handles on the medium that have nothing to do.
    ///
    /// # Errors
    ///
    /// As [`Controller::lane`].
    pub(crate) fn keep_spares(&mut self, count: usize) -> io::Result<()> {
        for _ in self.handles.idle()..count {
            let handle = self.media.another()?;
            self.handles.put(handle);
        }
        Ok(())
    }

    /// Has `lane` know what this controller does. False where its interrupts
    /// cannot come from several threads.
    pub(crate) fn brief(&mut self, lane: &mut Self) -> bool {
        self.device.brief(&mut lane.device)
    }
}
