//! What observes a drive: a recording that comes and goes, and counters.

use nvme::DsmRange;
use recorder::Window;
use traces::{Branch, CommandRecord, EventRecord, PayloadPlace, Tap};
use vssd::counters::CountingTap;

/// The tap of a drive that is served.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// The recording that goes on.
    pub(crate) recording: Option<Window>,
    /// The counters, where somebody may ask for them.
    pub(crate) counters: Option<CountingTap>,
}

impl Observer {
    /// Whether the counters want to know the namespaces.
    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        self.counters.as_ref().is_some_and(CountingTap::is_stale)
    }
}

impl Branch for Observer {
    fn branch(&mut self) -> Self {
        Self {
            recording: self.recording.branch(),
            counters: self.counters.branch(),
        }
    }
}

impl Tap for Observer {
    #[inline]
    fn fetched(&mut self, record: &CommandRecord) {
        self.counters.fetched(record);
    }

    #[inline]
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        self.recording.command(record, ranges);
        self.counters.command(record, ranges);
    }

    fn event(&mut self, record: &EventRecord) {
        self.recording.event(record);
    }

    #[inline]
    fn wants_payload(&self) -> bool {
        self.recording.wants_payload()
    }

    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        self.recording.payload(place, bytes, copy);
    }
}
