//! A controller whose every session is recorded into a file of its own, and that
//! is steered from outside while it works.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use nvme::Registers;
use recorder::{
    Recorder, RecorderError, RecorderOptions, RecordingSummary, RingTap, Window, WindowCount,
};
use traces::{Clock as _, DeviceIdentity, Header, MonotonicClock, NamespaceInfo, Start};
use vssd::front::{CmbFile, DoorbellFile, Function};
use vssd::lanes::Lanes;
use vssd::media::{Parallel, Snapshot};
use vssd::{BlockDevice, DmaTable, Interrupts, MapError, PciIdentity, Protection, Rings};

use super::Label;
use super::desk::{Client, Desk, Running};
use super::observer::Observer;
use super::payload::PayloadChoice;
use super::plan::{Existing, RecordPlan};
use super::steer::{Closing, Holding};
use crate::terminal;

/// A controller that is recorded, and that does what it is asked from outside.
pub(crate) struct Recorded<M: Snapshot + Parallel> {
    pub(super) drive: Lanes<M, Observer, MonotonicClock>,
    plan: Option<RecordPlan>,
    /// Whether the guest sees a limit to the size of a transfer.
    transfers_are_limited: bool,
    sessions: usize,
    pub(super) desk: Arc<Desk>,
    pub(super) closing: Option<Closing>,
    pub(super) holding: Option<Holding>,
    /// Whether there is something to look after at each turn.
    pub(super) is_busy: bool,
    /// Whether somebody is at the socket.
    pub(super) has_client: bool,
}

impl<M: Snapshot + Parallel + Send + 'static> Recorded<M> {
    /// `drive`, recorded as `plan` says; not at all where there is none.
    pub(crate) fn new(
        drive: Lanes<M, Observer, MonotonicClock>,
        plan: Option<RecordPlan>,
        transfers_are_limited: bool,
        desk: Arc<Desk>,
    ) -> Self {
        let recorded = Self {
            drive,
            plan,
            transfers_are_limited,
            sessions: 0,
            desk,
            closing: None,
            holding: None,
            is_busy: false,
            has_client: false,
        };
        let controller = recorded.drive.controller();
        let config = controller.config();
        let mut shown = recorded.desk.shown();
        shown.disk = controller.media().name().to_owned();
        shown.model.clone_from(&config.model);
        shown.serial.clone_from(&config.serial);
        drop(shown);
        recorded
    }

    fn start(&mut self) {
        let Some(plan) = &self.plan else { return };
        if self.drive.controller().tap().recording.is_some() {
            log::info!("this session goes into the recording that was started by `vssd ctl`");
            return;
        }
        let (path, number) = plan.next_after(self.sessions);
        self.sessions = number;
        let header = self.header(&plan.labels, plan.payload);
        let options = RecorderOptions::default()
            .overwrite(plan.existing == Existing::Overwrite)
            .resolution(plan.resolution);
        match Recorder::start(&path, &header, options) {
            Ok((handle, tap)) => {
                log::info!("recording into {}", path.display());
                let start = header.start;
                let given = self.open(tap);
                *self.desk.running() = Some(Running {
                    handle,
                    path,
                    given,
                    since_unix_ns: start.unix_ns,
                    since_ns: start.clock_ns,
                    of_session: true,
                });
            }
            // The guest has its drive all the same.
            Err(error) => log::error!("this session is not recorded: {error}"),
        }
    }

    /// Records what is fetched from now on.
    pub(super) fn open(&mut self, tap: RingTap) -> WindowCount {
        let controller = self.drive.home();
        let window = Window::open(tap, controller.next_sequence());
        let given = window.count();
        controller.tap_mut().recording = Some(window);
        given
    }

    pub(super) fn header(&self, labels: &[Label], payload: PayloadChoice) -> Header {
        let controller = self.drive.controller();
        let config = controller.config();
        let pci = config.pci;
        Header {
            device: DeviceIdentity {
                serial: config.serial.clone(),
                model: config.model.clone(),
                firmware: config.firmware.clone(),
                pci: Some(traces::PciIdentity {
                    vendor: pci.vendor,
                    device: pci.device,
                    subsystem_vendor: pci.subsystem_vendor,
                    subsystem: pci.subsystem,
                }),
            },
            namespaces: controller
                .namespaces()
                .map(|namespace| NamespaceInfo {
                    id: namespace.nsid.0,
                    blocks: namespace.blocks,
                    block_bytes: namespace.block_bytes,
                })
                .collect(),
            io_queues: u32::from(config.queue_pairs_max),
            mdts_bytes: nvme::PAGE_BYTES
                .checked_shl(u32::from(config.mdts))
                .filter(|_| self.transfers_are_limited),
            start: Start {
                unix_ns: terminal::unix_ns(),
                clock_ns: controller.clock().now_ns(),
            },
            payload: payload.info(),
            tool: terminal::TOOL.to_owned(),
            labels: labels
                .iter()
                .map(|label| (label.name.clone(), label.value.clone()))
                .collect(),
            ..Header::default()
        }
    }

    /// Ends the recording of a session. One that was started from outside goes on.
    fn stop(&mut self) {
        if self.closing.is_some() {
            // Who closes it waits for it.
            self.end_closing();
            return;
        }
        let running = {
            let mut running = self.desk.running();
            running.take_if(|running| running.of_session)
        };
        let Some(running) = running else { return };
        self.drive.home().tap_mut().recording = None;
        tell_end(running.handle.stop());
    }
}

/// Logs how a recording ended.
pub(crate) fn tell_end(ended: Result<RecordingSummary, RecorderError>) {
    match ended {
        Ok(summary) => log::info!(
            "recorded {} commands into {} ({})",
            summary.totals.commands,
            summary.path,
            crate::device::size(summary.bytes)
        ),
        Err(error) => log::error!("{error}"),
    }
}

impl<M: Snapshot + Parallel + Send + 'static> Registers for Recorded<M> {
    fn read32(&mut self, offset: u32) -> u32 {
        self.drive.read32(offset)
    }

    fn write32(&mut self, offset: u32, value: u32) {
        self.drive.write32(offset, value);
    }

    fn read64(&mut self, offset: u32) -> u64 {
        self.drive.read64(offset)
    }

    fn write64(&mut self, offset: u32, value: u64) {
        self.drive.write64(offset, value);
    }
}

/// As the controller, but for [`Function::connected`] and
/// [`Function::disconnected`], where a recording starts and ends.
impl<M: Snapshot + Parallel + Send + 'static> Function for Recorded<M> {
    #[inline]
    fn poll(&mut self, budget: u32) -> u32 {
        if self.drive.controller().tap().is_stale() {
            self.describe();
        }
        let done = self.drive.poll(budget);
        if self.is_busy {
            self.attend();
        }
        done
    }

    fn idle(&self) -> bool {
        self.drive.idle()
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.drive.wake()
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        let closing = self.closing.as_ref().map(|closing| closing.until_ns);
        let holding = self.holding.as_ref().map(|holding| holding.until_ns);
        let own = closing.into_iter().chain(holding);
        own.chain(self.drive.next_deadline_ns()).min()
    }

    fn now_ns(&self) -> u64 {
        self.drive.controller().clock().now_ns()
    }

    fn dma_map(
        &mut self,
        iova: u64,
        len: u64,
        fd: BorrowedFd<'_>,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        self.drive.dma_map(iova, len, fd, file_offset, protection)
    }

    fn dma_unmap(&mut self, iova: u64, len: u64) -> u64 {
        self.drive.dma_unmap(iova, len)
    }

    fn dma_unmap_all(&mut self) {
        self.drive.dma_unmap_all();
    }

    fn doorbells(&self) -> DoorbellFile<'_> {
        Function::doorbells(&self.drive)
    }

    fn cmb(&self) -> Option<CmbFile<'_>> {
        self.drive.cmb()
    }

    fn set_bus_master(&mut self, enabled: bool) {
        self.drive.set_bus_master(enabled);
    }

    fn interrupt_pending(&mut self) -> bool {
        self.drive.interrupt_pending()
    }

    fn set_interrupts(&mut self, interrupts: Box<dyn Interrupts + Send>) {
        self.drive.set_interrupts(interrupts);
    }

    fn connected(&mut self) {
        self.start();
        self.drive.connected();
    }

    fn disconnected(&mut self) {
        self.drive.disconnected();
        self.stop();
    }

    fn function_reset(&mut self) {
        self.drive.function_reset();
    }

    fn identity(&self) -> PciIdentity {
        Function::identity(&self.drive)
    }

    fn serial_number(&self) -> u64 {
        Function::serial_number(&self.drive)
    }

    fn vectors(&self) -> u16 {
        Function::vectors(&self.drive)
    }

    fn rings(&mut self) -> (&mut Rings, &DmaTable) {
        self.drive.rings()
    }

    fn listen(&mut self) -> bool {
        self.drive.listen()
    }

    fn look(&mut self) {
        self.drive.look();
    }

    fn block_device(&self) -> Option<BlockDevice> {
        self.drive.block_device()
    }

    fn set_write_cache(&mut self, enabled: bool) {
        self.drive.set_write_cache(enabled);
    }

    fn nudged(&mut self) {
        self.look_at_desk();
    }

    fn met(&mut self, client: Option<&str>) {
        self.has_client = client.is_some();
        if self.holding.is_some() {
            self.come_to_rest();
            self.attend();
        }
        self.desk.shown().client = client.map(|name| Client {
            name: name.to_owned(),
            since_unix_ns: terminal::unix_ns(),
        });
    }
}
