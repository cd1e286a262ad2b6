//! The controller: what a front and a worker drive.

mod bus;
mod handles;
mod hold;
mod lend;
mod operator;

use std::os::fd::BorrowedFd;

use self::handles::Handles;
use self::hold::Hold;
use nvme::{NamespaceId, NvmOpcode, QueueId, Sqe, Status};
use traces::{Clock, Event, Tap};
use zerocopy::FromZeros as _;

use crate::admin::services::firmware::ResetKind;
use crate::arbitration::Weighted;
use crate::cmb::Cmb;
use crate::command::{Command, is_directed, is_simple};
use crate::device::{Device, Parts, Role};
use crate::lifecycle::Change;
use crate::media::Submission;
use crate::namespace::Namespace;
use crate::registers::AMS_WEIGHTED;
use crate::ticket::Ticket;
use crate::{
    ControllerConfig, DmaTable, Doorbells, Interrupts, MapError, Media, Protection, StateStore,
    VssdError,
};

/// How many commands of one queue are fetched before the next has its turn.
/// Where the host sets no limit.
pub(crate) const BURST: u32 = 64;

/// What a namespace is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceSummary {
    /// Which it is.
    pub nsid: NamespaceId,
    /// Blocks.
    pub blocks: u64,
    /// Size of a block's data, bytes.
    pub block_bytes: u32,
}

impl NamespaceSummary {
    const fn of(namespace: &Namespace) -> Self {
        Self {
            nsid: namespace.nsid,
            blocks: namespace.blocks,
            block_bytes: namespace.block_bytes,
        }
    }
}

/// One NVMe function, whose namespaces are parts of `M`, observed by `T`, in the time of
/// `C`.
pub struct Controller<M: Media, T: Tap, C: Clock> {
    pub(crate) device: Device<T, C>,
    pub(crate) media: M,
    /// Which I/O submission queue has the first turn at the next poll.
    turn: usize,
    /// Where the state is saved.
    pub(crate) store: Option<Box<dyn StateStore>>,
    /// Whether the last attempt to save the state failed.
    pub(crate) is_unsaved: bool,
    /// Whose turn it is under weighted round robin.
    pub(crate) weighted: Weighted,
    /// Whether the medium is to stand still.
    hold: Hold,
    /// Further handles on the medium, which other threads have used.
    handles: Handles<M>,
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// A controller as it is after power-on: disabled, with no guest memory and
    /// nobody listening to its interrupts.
    ///
    /// # Errors
    ///
    /// [`VssdError::Config`] and [`VssdError::MediaSize`] where `config` is not legal
    /// or does not fit `media`; [`VssdError::Doorbells`] where the system gives no
    /// memory.
    pub fn new(config: ControllerConfig, media: M, tap: T, clock: C) -> Result<Self, VssdError> {
        config.check()?;
        let info = media.info();
        if info.bytes == 0 || !info.bytes.is_multiple_of(u64::from(config.block_bytes)) {
            return Err(VssdError::MediaSize {
                media: media.name().to_owned(),
                bytes: info.bytes,
                block_bytes: config.block_bytes,
            });
        }
        let parts = Parts {
            doorbells: Doorbells::new().map_err(|source| VssdError::Doorbells { source })?,
            media: info,
            cmb: Cmb::new(config.cmb_bytes).map_err(|source| VssdError::Cmb {
                bytes: config.cmb_bytes,
                source,
            })?,
            tap,
            clock,
        };
        Ok(Self {
            device: Device::new(config, parts),
            media,
            turn: 0,
            store: None,
            is_unsaved: false,
            weighted: Weighted::default(),
            hold: Hold::Going,
            handles: Handles::default(),
        })
    }

    /// Does what there is to do, at most about `budget` commands and
    /// completions, and returns how many there were: 0 says that the guest
    /// wants nothing just now. Queues take turns. Every interrupt that is due
    /// is raised before it returns.
    pub fn poll(&mut self, budget: u32) -> u32 {
        if self.hold != Hold::Going {
            return self.poll_held(budget);
        }
        let mut done = self.device.retry_stalled();
        done += self.poll_media(budget);
        done += self.advance_jobs();
        done += self.tick_services();
        self.device.feel();
        if self.device.lifecycle.is_ready() && !self.device.services.firmware.is_activating() {
            if self.device.role == Role::Whole {
                done += self.serve(QueueId::ADMIN, BURST.min(budget));
            }
            let left = budget.saturating_sub(done);
            done += if self.device.registers.cc.ams() == AMS_WEIGHTED {
                self.serve_weighted(left)
            } else {
                self.serve_io(left)
            };
            self.device.note_bad_doorbells();
            self.device.finish_deletions();
            done += self.device.deliver_events();
        } else if self.device.queues.rings.are_active() {
            done += self.serve_rings(budget.saturating_sub(done));
        }
        self.device.raise_interrupts();
        if self.device.changed {
            self.save();
        }
        done
    }

    /// Takes what the medium has done. Returns how much.
    #[inline]
    fn poll_media(&mut self, budget: u32) -> u32 {
        if self.media.pending() == 0 && !self.handles.are_busy() {
            return 0;
        }
        let device = &mut self.device;
        let mut sink = |ticket, outcome| device.finish_media(ticket, outcome);
        let mut done = self.media.poll(budget, &mut sink);
        if self.handles.are_busy() {
            done += self.handles.poll(budget, &mut sink);
        }
        self.finish_shutdown();
        done
    }

    /// Gives each I/O submission queue its turns. Returns how many commands were
    /// fetched.
    #[inline]
    fn serve_io(&mut self, budget: u32) -> u32 {
        let Some(burst) = self.device.features.burst() else {
            return self.serve_round(budget, BURST);
        };
        let mut done = 0;
        loop {
            let round = self.serve_round(budget.saturating_sub(done), burst);
            done += round;
            // A round that fetches nothing is the last.
            if round == 0 {
                return done;
            }
        }
    }

    /// Gives each I/O submission queue a turn. Returns how many commands were
    /// fetched.
    #[inline]
    fn serve_round(&mut self, budget: u32, burst: u32) -> u32 {
        let queues = self.device.queues.live();
        let mut done = 0;
        for _ in 0..queues {
            let left = budget.saturating_sub(done);
            if left == 0 {
                break;
            }
            if self.turn >= queues {
                self.turn = 0;
            }
            if let Some(queue) = self.device.queues.live_at(self.turn) {
                done += self.serve(queue, left.min(burst));
            }
            self.turn += 1;
        }
        done
    }

    /// Fetches and executes at most `budget` commands of a queue. Returns how
    /// many.
    #[inline]
    pub(crate) fn serve(&mut self, queue: QueueId, budget: u32) -> u32 {
        let device = &mut self.device;
        let waiting = device
            .queues
            .waiting(queue, &device.memory, &device.doorbells);
        if waiting == 0 || self.device.pairs > 0 && !queue.is_admin() {
            return 0;
        }
        let now_ns = self.device.observed_ns();
        let budget = budget.min(u32::from(waiting));
        let mut done = 0;
        let mut sqe = Sqe::new_zeroed();
        while done < budget {
            let Some(ticket) = self.device.fetch(queue, now_ns, &mut sqe) else {
                break;
            };
            done += 1;
            if M::FORESEES && !queue.is_admin() {
                self.foresee(queue);
            }
            if self.device.queues.is_in_flight(queue, ticket.cid()) {
                let status = Status::COMMAND_ID_CONFLICT.dnr();
                self.device.finish(ticket, status, 0);
            } else if queue.is_admin() {
                self.admin(&sqe, ticket);
            } else {
                self.io(&sqe, ticket);
                if self.device.pairs > 0 || !self.device.strays.is_empty() {
                    break;
                }
            }
        }
        self.device.queues.acknowledge(queue, &self.device.memory);
        done
    }

    /// Tells the medium what the next command of `queue` reads or writes.
    #[inline]
    fn foresee(&mut self, queue: QueueId) {
        let (device, mut sqe) = (&mut self.device, Sqe::new_zeroed());
        if !device.queues.peek(queue, &device.memory, &mut sqe) {
            return;
        }
        let opcode = NvmOpcode(sqe.opcode);
        if opcode != NvmOpcode::READ && opcode != NvmOpcode::WRITE {
            return;
        }
        let namespace = device.namespaces.plain(sqe.nsid());
        if let Some(Ok(extent)) = namespace.map(|namespace| namespace.transfer(&sqe)) {
            self.media.foresee(extent, opcode == NvmOpcode::WRITE);
        }
    }

    /// Executes an I/O command: at once where it is a request to the medium as
    /// it is, else by [`Controller::special`].
    #[inline]
    fn io(&mut self, sqe: &Sqe, ticket: Ticket) {
        let device = &mut self.device;
        if device.role != Role::Whole && !device.is_plain(sqe) {
            return device.stray(sqe, ticket);
        }
        let opcode = NvmOpcode(sqe.opcode);
        if is_directed(sqe)
            && let Err(status) = device.direct_write(sqe)
        {
            return device.finish(ticket, status, 0);
        }
        // Flush, Write and Read, which are the lowest opcodes, are never withheld.
        if opcode.0 > NvmOpcode::READ.0 && device.config.withholds_io(opcode) {
            let status = Status::INVALID_OPCODE.dnr();
            return device.finish(ticket, status, 0);
        }
        let simple = is_simple(opcode) && sqe.fuse() == 0 && device.fused.is_empty();
        match device.namespaces.plain(sqe.nsid()) {
            Some(namespace) if simple => {
                let command = namespace.decode(sqe);
                self.run(command, ticket);
            }
            _ => self.special(sqe, ticket),
        }
    }

    /// Asks the medium for what a decoded command wants.
    #[inline]
    pub(crate) fn run(&mut self, command: Result<Command, Status>, mut ticket: Ticket) {
        let (queue, cid) = (ticket.queue(), ticket.cid());
        let device = &mut self.device;
        match command.and_then(|command| device.request(command, &mut ticket)) {
            Ok(Some(request)) => match self.media.submit(ticket, request) {
                Submission::Done(ticket, outcome) => self.device.finish_io(ticket, outcome),
                Submission::Pending => self.device.pend(queue, cid),
            },
            Ok(None) => self.device.finish_io(ticket, Ok(())),
            Err(status) => self.device.finish(ticket, status, 0),
        }
    }

    /// Whether nothing is in flight: no command was fetched that is not
    /// completed (parked Asynchronous Event Requests do not count), and no
    /// shutdown is going on. A doorbell may have been rung since the last poll
    /// even so.
    pub fn idle(&self) -> bool {
        !self.device.is_busy() && !self.device.lifecycle.is_stopping() && !self.is_coming_to_rest()
    }

    /// When the controller has to be polled at the latest, by its own clock,
    /// though nobody asks anything of it: an interrupt waits, for one.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let jobs = self.device.waiting.iter().map(|waiting| waiting.until_ns);
        jobs.chain(self.device.coalescing.deadline_ns())
            .chain(self.device.lost_blocks_deadline_ns())
            .min()
    }

    /// What becomes readable when the medium has done something of what it has:
    /// then is the time to poll. None where it has nothing, or does not tell.
    pub fn wake(&self) -> Option<BorrowedFd<'_>> {
        // One descriptor cannot tell for several.
        let alone = self.media.pending() > 0 && !self.handles.are_busy();
        self.media.wake().filter(|_| alone)
    }

    /// Maps guest memory; see [`DmaTable::map`]. Live queues go on.
    ///
    /// # Errors
    ///
    /// [`MapError`], and nothing is changed then.
    pub fn dma_map(
        &mut self,
        iova: u64,
        len: u64,
        fd: BorrowedFd<'_>,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        self.device
            .memory
            .map(iova, len, fd, file_offset, protection)
    }

    /// Unmaps guest memory, once no transfer in flight holds it; see
    /// [`DmaTable::unmap`]. Returns how many bytes were unmapped. Queues in
    /// that memory stand still until it is mapped again.
    pub fn dma_unmap(&mut self, iova: u64, len: u64) -> u64 {
        self.let_go();
        self.device.memory.unmap(iova, len)
    }

    /// Unmaps all guest memory, once no transfer in flight holds it.
    pub fn dma_unmap_all(&mut self) {
        self.let_go();
        self.device.memory.clear();
    }

    /// Waits until the medium holds no guest memory.
    pub(crate) fn let_go(&mut self) {
        if self.media_pending() > 0 {
            let device = &mut self.device;
            let mut sink = |ticket, outcome| device.finish_media(ticket, outcome);
            self.media.let_go(&mut sink);
            self.handles.let_go(&mut sink);
        }
    }

    /// Guest memory, as it is mapped.
    pub const fn memory(&self) -> &DmaTable {
        &self.device.memory
    }

    /// The doorbell page, for a front to hand to its client.
    pub const fn doorbells(&self) -> &Doorbells {
        &self.device.doorbells
    }

    /// Where interrupts go from now on; `Box::new(())` for nowhere.
    pub fn set_interrupts(&mut self, interrupts: Box<dyn Interrupts + Send>) {
        self.device.interrupts = interrupts;
    }

    /// A guest attached. The drive is as after power-on.
    pub fn connected(&mut self) {
        self.change(Change::Reset);
        self.device.registers = crate::registers::RegisterFile::default();
        self.device.power_on_cmb();
        let health = &mut self.device.health;
        health.power_cycles = health.power_cycles.saturating_add(1);
        self.device.namespaces.power_cycle();
        self.device.changed = true;
        self.device.reset_services(ResetKind::Subsystem);
        self.device.event(Event::Connect);
    }

    /// The guest went away: commands in flight are abandoned, queues and guest
    /// memory are gone, registers have their reset values, and nobody listens
    /// to interrupts.
    pub fn disconnected(&mut self) {
        if self.device.lifecycle.is_ready() {
            let health = &mut self.device.health;
            health.unsafe_shutdowns = health.unsafe_shutdowns.saturating_add(1);
        }
        self.change(Change::Reset);
        self.device.registers = crate::registers::RegisterFile::default();
        self.device.memory.clear();
        self.device.interrupts = Box::new(());
        self.device.event(Event::Disconnect);
        self.save();
    }

    /// The PCI function was reset: commands in flight are abandoned, queues are
    /// gone, and registers have their reset values. Guest memory stays mapped.
    pub fn function_reset(&mut self) {
        self.change(Change::Reset);
        self.device.registers = crate::registers::RegisterFile::default();
        self.device.event(Event::FunctionReset);
    }

    /// The NVM subsystem was reset (`NVMe Base 2.1 §3.7.1`): as a function reset,
    /// and CSTS.NSSRO tells of it until the host clears that.
    pub fn subsystem_reset(&mut self) {
        self.change(Change::Reset);
        self.device.registers = crate::registers::RegisterFile::default();
        self.device.registers.nssro = true;
        self.device.reset_services(ResetKind::Subsystem);
        self.device.event(Event::Reset);
    }

    /// The namespaces that a host can use, in the order of their identifiers.
    pub fn namespaces(&self) -> impl Iterator<Item = NamespaceSummary> {
        let namespaces = self.device.namespaces.iter();
        namespaces
            .filter(|namespace| namespace.attached)
            .map(NamespaceSummary::of)
    }

    /// What the controller was made to be.
    pub const fn config(&self) -> &ControllerConfig {
        &self.device.config
    }

    /// The medium.
    pub const fn media(&self) -> &M {
        &self.media
    }

    /// The medium, to ask it things.
    pub const fn media_mut(&mut self) -> &mut M {
        &mut self.media
    }

    /// The observer.
    pub const fn tap(&self) -> &T {
        &self.device.tap
    }

    /// The observer, to ask it things.
    pub const fn tap_mut(&mut self) -> &mut T {
        &mut self.device.tap
    }

    /// Puts another observer in the place of the present one, which is handed
    /// back: a recording ends and another begins. Commands are numbered from 0
    /// again, so it is best done while no guest is attached.
    pub fn replace_tap(&mut self, tap: T) -> T {
        self.device.sequence.restart();
        std::mem::replace(&mut self.device.tap, tap)
    }

    /// The clock.
    pub const fn clock(&self) -> &C {
        &self.device.clock
    }
}

/// A controller that ends abandons what is in flight, and tells the observer.
impl<M: Media, T: Tap, C: Clock> Drop for Controller<M, T, C> {
    fn drop(&mut self) {
        if self.device.role == Role::Lane {
            // The rest of the drive goes on.
            return;
        }
        self.change(Change::Reset);
        self.save();
    }
}

impl<M: Media, T: Tap, C: Clock> std::fmt::Debug for Controller<M, T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("media", &self.media.name())
            .field("lifecycle", &self.device.lifecycle)
            .field("memory", &self.device.memory)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
