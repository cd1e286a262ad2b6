//! `--record FILE`: the load, as the driver sees it, as a trace.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use driver::ControllerInfo;
use nvme::DsmRange;
use recorder::{Recorder, RecorderHandle, RecorderOptions, RingTap};
use traces::{
    Clock as _, CommandRecord, DeviceIdentity, EventRecord, Header, MonotonicClock, NamespaceInfo,
    PayloadPlace, Start, Tap,
};

use crate::serve::payload::PayloadChoice;
use crate::terminal;

/// Where the load is recorded.
#[derive(Clone, Debug)]
pub(super) struct RecordPlan {
    pub(super) path: PathBuf,
    /// Whether the file may be overwritten.
    pub(super) overwrite: bool,
    /// How much of what is written is recorded.
    pub(super) payload: PayloadChoice,
}

impl RecordPlan {
    /// Starts the recording of the job of this name.
    pub(super) fn start(
        &self,
        info: &ControllerInfo,
        job: &str,
        clock: MonotonicClock,
    ) -> Result<(RecorderHandle, SharedTap)> {
        let mut header = header(info, job, clock);
        header.payload = self.payload.info();
        let options = RecorderOptions::default().overwrite(self.overwrite);
        let (handle, tap) = Recorder::start(&self.path, &header, options)?;
        Ok((handle, SharedTap(Arc::new(Mutex::new(tap)))))
    }
}

/// The tap of a recording, for workers in threads of their own: they take
/// turns.
#[derive(Clone, Debug)]
pub(super) struct SharedTap(Arc<Mutex<RingTap>>);

impl Tap for SharedTap {
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        let mut tap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tap.command(record, ranges);
    }

    fn event(&mut self, record: &EventRecord) {
        let mut tap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tap.event(record);
    }

    fn wants_payload(&self) -> bool {
        let tap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tap.wants_payload()
    }

    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        let mut tap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tap.payload(place, bytes, copy);
    }
}

fn header(info: &ControllerInfo, job: &str, clock: MonotonicClock) -> Header {
    let namespaces = info.namespaces.iter().map(|namespace| NamespaceInfo {
        id: namespace.nsid.0,
        blocks: namespace.blocks,
        block_bytes: namespace.block_bytes,
    });
    Header {
        device: DeviceIdentity {
            serial: info.serial.clone(),
            model: info.model.clone(),
            firmware: info.firmware.clone(),
            pci: None,
        },
        namespaces: namespaces.collect(),
        io_queues: u32::from(info.queue_pairs_max),
        mdts_bytes: info.mdts_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        start: Start {
            unix_ns: terminal::unix_ns(),
            clock_ns: clock.now_ns(),
        },
        tool: terminal::TOOL.to_owned(),
        labels: [("job".to_owned(), job.to_owned())].into(),
        ..Header::default()
    }
}
