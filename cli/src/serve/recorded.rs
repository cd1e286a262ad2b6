//! A controller whose every session is recorded into a file of its own.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use anyhow::{Result, bail};
use nvme::Registers;
use recorder::{Recorder, RecorderHandle, RecorderOptions, RingTap};
use traces::{
    Clock as _, DeviceIdentity, Header, MonotonicClock, NamespaceInfo, Resolution, Start,
};
use vssd::front::{CmbFile, DoorbellFile, Function};
use vssd::{
    BlockDevice, Controller, DmaTable, Interrupts, MapError, Media, PciIdentity, Protection, Rings,
};

use super::Label;
use super::payload::PayloadChoice;
use crate::terminal;

/// Where recordings go.
#[derive(Clone, Debug)]
pub(crate) struct RecordPlan {
    /// The first session's file; later ones get a number.
    pub(crate) path: PathBuf,
    /// Whether files may be overwritten.
    pub(crate) overwrite: bool,
    /// How exactly times are kept.
    pub(crate) resolution: Resolution,
    /// How much of what is written is recorded.
    pub(crate) payload: PayloadChoice,
    /// What the user says of the recording.
    pub(crate) labels: Vec<Label>,
    /// Whether the guest sees a limit to the size of a transfer.
    pub(crate) transfers_are_limited: bool,
}

impl RecordPlan {
    /// The file of session `number`, from 1: `day.vtr`, `day-2.vtr`, ...
    fn path_of(&self, number: u32) -> PathBuf {
        if number <= 1 {
            return self.path.clone();
        }
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let name = match self.path.extension() {
            Some(extension) => format!("{stem}-{number}.{}", extension.to_string_lossy()),
            None => format!("{stem}-{number}"),
        };
        self.path.with_file_name(name)
    }

    /// Says early what would otherwise be found when a guest attaches.
    pub(crate) fn check(&self) -> Result<()> {
        if self.path.exists() && !self.overwrite {
            bail!(
                "{} exists: name another file, or give --overwrite",
                self.path.display()
            );
        }
        let parent = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        if let Some(parent) = parent
            && !parent.is_dir()
        {
            bail!("{} is not a directory: create it first", parent.display());
        }
        Ok(())
    }
}

/// A controller, and the recording of the session that goes on.
pub(crate) struct Recorded<M: Media> {
    controller: Controller<M, Option<RingTap>, MonotonicClock>,
    plan: Option<RecordPlan>,
    sessions: u32,
    running: Option<RecorderHandle>,
}

impl<M: Media> Recorded<M> {
    /// `controller`, recorded as `plan` says; not at all where there is none.
    pub(crate) const fn new(
        controller: Controller<M, Option<RingTap>, MonotonicClock>,
        plan: Option<RecordPlan>,
    ) -> Self {
        Self {
            controller,
            plan,
            sessions: 0,
            running: None,
        }
    }

    fn start(&mut self) {
        let Some(plan) = &self.plan else { return };
        self.sessions += 1;
        let path = plan.path_of(self.sessions);
        let header = self.header(plan);
        let options = RecorderOptions::default()
            .overwrite(plan.overwrite)
            .resolution(plan.resolution);
        match Recorder::start(&path, &header, options) {
            Ok((handle, tap)) => {
                log::info!("recording into {}", path.display());
                self.running = Some(handle);
                *self.controller.tap_mut() = Some(tap);
            }
            // The guest has its drive all the same.
            Err(error) => log::error!("this session is not recorded: {error}"),
        }
    }

    fn header(&self, plan: &RecordPlan) -> Header {
        let config = self.controller.config();
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
            namespaces: self
                .controller
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
                .filter(|_| plan.transfers_are_limited),
            start: Start {
                unix_ns: terminal::unix_ns(),
                clock_ns: self.controller.clock().now_ns(),
            },
            payload: plan.payload.info(),
            tool: terminal::TOOL.to_owned(),
            labels: plan
                .labels
                .iter()
                .map(|label| (label.name.clone(), label.value.clone()))
                .collect(),
            ..Header::default()
        }
    }

    fn stop(&mut self) {
        *self.controller.tap_mut() = None;
        let Some(handle) = self.running.take() else {
            return;
        };
        match handle.stop() {
            Ok(summary) => log::info!(
                "recorded {} commands into {} ({})",
                summary.totals.commands,
                summary.path,
                crate::device::size(summary.bytes)
            ),
            Err(error) => log::error!("{error}"),
        }
    }
}

impl<M: Media> Registers for Recorded<M> {
    fn read32(&mut self, offset: u32) -> u32 {
        self.controller.read32(offset)
    }

    fn write32(&mut self, offset: u32, value: u32) {
        self.controller.write32(offset, value);
    }

    fn read64(&mut self, offset: u32) -> u64 {
        self.controller.read64(offset)
    }

    fn write64(&mut self, offset: u32, value: u64) {
        self.controller.write64(offset, value);
    }
}

/// As the controller, but for [`Function::connected`] and
/// [`Function::disconnected`], where a recording starts and ends.
impl<M: Media> Function for Recorded<M> {
    fn poll(&mut self, budget: u32) -> u32 {
        self.controller.poll(budget)
    }

    fn idle(&self) -> bool {
        self.controller.idle()
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        self.controller.next_deadline_ns()
    }

    fn now_ns(&self) -> u64 {
        self.controller.clock().now_ns()
    }

    fn dma_map(
        &mut self,
        iova: u64,
        len: u64,
        fd: BorrowedFd<'_>,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        self.controller
            .dma_map(iova, len, fd, file_offset, protection)
    }

    fn dma_unmap(&mut self, iova: u64, len: u64) -> u64 {
        self.controller.dma_unmap(iova, len)
    }

    fn dma_unmap_all(&mut self) {
        self.controller.dma_unmap_all();
    }

    fn doorbells(&self) -> DoorbellFile<'_> {
        Function::doorbells(&self.controller)
    }

    fn cmb(&self) -> Option<CmbFile<'_>> {
        self.controller.cmb()
    }

    fn set_bus_master(&mut self, enabled: bool) {
        self.controller.set_bus_master(enabled);
    }

    fn interrupt_pending(&mut self) -> bool {
        self.controller.interrupt_pending()
    }

    fn set_interrupts(&mut self, interrupts: Box<dyn Interrupts + Send>) {
        self.controller.set_interrupts(interrupts);
    }

    fn connected(&mut self) {
        self.start();
        self.controller.connected();
    }

    fn disconnected(&mut self) {
        self.controller.disconnected();
        self.stop();
    }

    fn function_reset(&mut self) {
        self.controller.function_reset();
    }

    fn identity(&self) -> PciIdentity {
        Function::identity(&self.controller)
    }

    fn serial_number(&self) -> u64 {
        Function::serial_number(&self.controller)
    }

    fn vectors(&self) -> u16 {
        Function::vectors(&self.controller)
    }

    fn rings(&mut self) -> (&mut Rings, &DmaTable) {
        self.controller.rings()
    }

    fn block_device(&self) -> Option<BlockDevice> {
        self.controller.block_device()
    }

    fn set_write_cache(&mut self, enabled: bool) {
        self.controller.set_write_cache(enabled);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plan(path: &Path) -> RecordPlan {
        RecordPlan {
            path: path.to_owned(),
            overwrite: false,
            resolution: Resolution::default(),
            payload: PayloadChoice::None,
            labels: Vec::new(),
            transfers_are_limited: true,
        }
    }

    #[test]
    fn later_sessions_get_a_number() {
        let named = plan(Path::new("out/day.vtr"));
        assert_eq!(named.path_of(1), Path::new("out/day.vtr"));
        assert_eq!(named.path_of(2), Path::new("out/day-2.vtr"));
        assert_eq!(plan(Path::new("day")).path_of(3), Path::new("day-3"));
    }

    #[test]
    fn a_file_that_exists_is_not_overwritten_unasked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut named = plan(file.path());
        let error = named.check().unwrap_err().to_string();
        assert!(error.contains("--overwrite"), "{error}");
        named.overwrite = true;
        named.check().unwrap();
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = plan(Path::new("/nonexistent/day.vtr")).check().unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
    }
}
