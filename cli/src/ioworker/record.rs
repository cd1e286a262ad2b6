//! `--record FILE`: the load, as the driver sees it, as a trace.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use driver::ControllerInfo;
use nvme::DsmRange;
use recorder::{Recorder, RecorderHandle, RecorderOptions, RingTap};
use traces::{CommandRecord, EventRecord, MonotonicClock, PayloadPlace, Tap};

use crate::recording;
use crate::serve::payload::PayloadChoice;

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
        let mut header = recording::header(info, clock);
        header.labels.insert("job".to_owned(), job.to_owned());
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
