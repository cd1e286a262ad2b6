//! Where commands are observed.

use nvme::DsmRange;

use crate::payload::PayloadPlace;
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

    /// Whether it wants to know what is written. Where it does not, callers
    /// need not call [`Tap::payload`].
    fn wants_payload(&self) -> bool {
        false
    }

    /// A Write or a Zone Append is about to be submitted to the medium
    /// (device side) or to the device (host side), with `bytes` bytes of data,
    /// which are whole blocks. `copy` fills what it is given with the data that
    /// follow, so often as the tap calls it. Called before
    /// [`Tap::command`] of the same command, where it is called at all.
    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        let _ = (place, bytes, copy);
    }
}

/// An observer that several threads have a part of.
pub trait Branch: Tap + Sized {
    /// Another part, for another thread: what it is told is told to the whole.
    fn branch(&mut self) -> Self;
}

impl Branch for () {
    fn branch(&mut self) -> Self {}
}

impl<T: Branch> Branch for Option<T> {
    fn branch(&mut self) -> Self {
        self.as_mut().map(T::branch)
    }
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

    fn wants_payload(&self) -> bool {
        (**self).wants_payload()
    }

    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        (**self).payload(place, bytes, copy);
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

    fn wants_payload(&self) -> bool {
        self.as_ref().is_some_and(T::wants_payload)
    }

    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        if let Some(tap) = self {
            tap.payload(place, bytes, copy);
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
            payload: None,
        });
    }

    fn event(&mut self, record: &EventRecord) {
        self.push(Record::Event(*record));
    }
}
