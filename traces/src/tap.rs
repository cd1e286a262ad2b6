//! Where commands are observed.

use nvme::DsmRange;

use crate::{CommandRecord, EventRecord, Record};

/// An observer of a device's (or a driver's) commands.
///
/// It is called on the data path: an implementation must not allocate, lock or
/// do I/O in the common case. The disconnected tap is `()`.
pub trait Tap {
    /// Whether anything is observed at all. Where it is false, callers need
    /// not read the clock.
    const ENABLED: bool = true;

    /// A command was fetched; [`Tap::command`] follows once it has ended.
    fn fetched(&mut self, _record: &CommandRecord) {}

    /// A command ended, or never will (see [`CommandRecord::completion`]).
    /// Called once for each fetched command, in the order of completion.
    /// `ranges` are those of a Dataset Management command, else empty.
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]);

    /// Something happened to the controller.
    fn event(&mut self, record: &EventRecord);
}

/// The disconnected tap.
impl Tap for () {
    const ENABLED: bool = false;

    fn command(&mut self, _record: &CommandRecord, _ranges: &[DsmRange]) {}

    fn event(&mut self, _record: &EventRecord) {}
}

impl<T: Tap> Tap for &mut T {
    const ENABLED: bool = T::ENABLED;

    fn fetched(&mut self, record: &CommandRecord) {
        (**self).fetched(record);
    }

    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        (**self).command(record, ranges);
    }

    fn event(&mut self, record: &EventRecord) {
        (**self).event(record);
    }
}

/// A tap that comes and goes: nothing is observed while there is none.
impl<T: Tap> Tap for Option<T> {
    const ENABLED: bool = T::ENABLED;

    fn fetched(&mut self, record: &CommandRecord) {
        if let Some(tap) = self {
            tap.fetched(record);
        }
    }

    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        if let Some(tap) = self {
            tap.command(record, ranges);
        }
    }

    fn event(&mut self, record: &EventRecord) {
        if let Some(tap) = self {
            tap.event(record);
        }
    }
}

/// Keeps everything in memory, in the order of completion: for tests and
/// simulations.
impl Tap for Vec<Record> {
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        self.push(Record::Command {
            command: *record,
            ranges: ranges.to_vec(),
        });
    }

    fn event(&mut self, record: &EventRecord) {
        self.push(Record::Event(*record));
    }
}
