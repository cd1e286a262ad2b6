//! MSI-X vectors: how each is signalled, and what waits to be.
//!
//! A client says by `VFIO_USER_DEVICE_SET_IRQS` which eventfd a vector has and
//! whether it is masked; nothing else decides whether a vector is signalled.
//! The table in the BAR and the enable bit in configuration space are kept for
//! whoever reads them: a virtual machine monitor has its own copies, and acts
//! on them before it calls us.
//!
//! A vector that is raised while it has no eventfd, or is masked, is pending
//! and is signalled as soon as it can be: the pending bit array of
//! `PCI Express Base 5.0 §6.1.4`. That holds while the client takes all
//! eventfds away and sets them anew, too, which QEMU does to enable one more
//! vector: an interrupt that falls between would else be lost.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};

use crate::Interrupts;

/// Size of an entry of the MSI-X table, bytes.
const ENTRY_BYTES: usize = 16;
/// Where the word with the mask bit stands in an entry.
const ENTRY_CONTROL: usize = 12;

/// An eventfd of the client.
#[derive(Clone, Debug)]
pub(super) struct Event {
    fd: Arc<OwnedFd>,
    /// Whether a write could block.
    blocking: bool,
}

impl Event {
    /// Takes an eventfd; nothing if it is something else, which could block us
    /// or worse.
    pub(super) fn new(fd: OwnedFd) -> Option<Self> {
        // What is no file, pipe, socket or device has no type. An eventfd is one
        // of those, and the only one of them that can be written.
        let mode = rustix::fs::fstat(&fd).ok()?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::Unknown {
            return None;
        }
        let flags = rustix::fs::fcntl_getfl(&fd).ok()?;
        Some(Self {
            fd: Arc::new(fd),
            blocking: !flags.contains(OFlags::NONBLOCK),
        })
    }

    fn signal(&self) {
        // A counter that is full says what we have to say; a write to it would
        // block. The mode of the file is the client's and is left alone.
        if self.blocking {
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::OUT)];
            if !matches!(poll(&mut fds, Some(&now)), Ok(1)) {
                return;
            }
        }
        // The one error that can be, a full counter, loses nothing.
        let _ = rustix::io::write(&*self.fd, &1_u64.to_ne_bytes());
    }
}

#[derive(Debug, Default)]
struct Vector {
    event: Option<Event>,
    masked: bool,
}

impl Vector {
    /// The event to signal, unless masked.
    fn open(&self) -> Option<&Event> {
        self.event.as_ref().filter(|_| !self.masked)
    }
}

/// The vectors of a function.
#[derive(Debug)]
pub(super) struct Msix {
    vectors: Vec<Vector>,
    /// Shared with the [`Lines`] that the controller holds.
    pending: Arc<[AtomicBool]>,
    table: Vec<u8>,
}

impl Msix {
    /// So many vectors, with no eventfds.
    pub(super) fn new(vectors: u16) -> Self {
        let count = usize::from(vectors);
        let mut msix = Self {
            vectors: std::iter::repeat_with(Vector::default)
                .take(count)
                .collect(),
            pending: std::iter::repeat_with(AtomicBool::default)
                .take(count)
                .collect(),
            table: vec![0; count.saturating_mul(ENTRY_BYTES)],
        };
        msix.reset();
        msix
    }

    /// The function was reset: nothing is pending, and the table is as at
    /// power-on, every entry masked. Eventfds stay, for the client does not set
    /// them again.
    pub(super) fn reset(&mut self) {
        for pending in self.pending.iter() {
            pending.store(false, Ordering::Relaxed);
        }
        for entry in self.table.chunks_exact_mut(ENTRY_BYTES) {
            entry.fill(0);
            if let Some(control) = entry.get_mut(ENTRY_CONTROL) {
                *control = 1;
            }
        }
    }

    /// How many vectors there are.
    pub(super) fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Gives the vectors from `start` on these eventfds.
    pub(super) fn set(&mut self, start: usize, events: Vec<Event>) {
        for (vector, event) in self.vectors.iter_mut().skip(start).zip(events) {
            vector.event = Some(event);
        }
        self.deliver();
    }

    /// Takes away the eventfds of `count` vectors from `start` on.
    pub(super) fn unset(&mut self, start: usize, count: usize) {
        for vector in self.vectors.iter_mut().skip(start).take(count) {
            vector.event = None;
        }
    }

    /// Masks or unmasks the vector.
    pub(super) fn mask(&mut self, vector: usize, masked: bool) {
        if let Some(vector) = self.vectors.get_mut(vector) {
            vector.masked = masked;
        }
        self.deliver();
    }

    /// Raises the vector, on the client's word.
    pub(super) fn trigger(&self, vector: usize) {
        let open = self.vectors.get(vector).and_then(Vector::open);
        raise(open, self.pending.get(vector));
    }

    /// Signals what is pending and no longer held up.
    fn deliver(&self) {
        for (vector, pending) in self.vectors.iter().zip(self.pending.iter()) {
            if let Some(event) = vector.open()
                && pending.swap(false, Ordering::Relaxed)
            {
                event.signal();
            }
        }
    }

    /// The vectors as they are now, for the controller to raise. It needs new
    /// ones after every change.
    pub(super) fn lines(&self) -> Box<dyn Interrupts + Send> {
        Box::new(Lines {
            open: self
                .vectors
                .iter()
                .map(|vector| vector.open().cloned())
                .collect(),
            pending: Arc::clone(&self.pending),
        })
    }

    /// Reads the table; zeroes beyond it.
    pub(super) fn read_table(&self, offset: usize, to: &mut [u8]) {
        to.fill(0);
        let from = self.table.get(offset..).unwrap_or_default();
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }

    /// Writes the table; of the control word only the mask bit exists.
    pub(super) fn write_table(&mut self, offset: usize, from: &[u8]) {
        let cells = self.table.iter_mut().enumerate().skip(offset);
        for ((at, cell), new) in cells.zip(from) {
            *cell = match at % ENTRY_BYTES {
                ENTRY_CONTROL => new & 1,
                at if at > ENTRY_CONTROL => 0,
                _ => *new,
            };
        }
    }

    /// Reads the pending bits; zeroes beyond them.
    pub(super) fn read_pending(&self, offset: usize, to: &mut [u8]) {
        let bytes = self.pending.chunks(8).skip(offset).map(|bits| {
            bits.iter().rev().fold(0, |byte: u8, bit| {
                byte << 1 | u8::from(bit.load(Ordering::Relaxed))
            })
        });
        for (to, from) in to.iter_mut().zip(bytes.chain(std::iter::repeat(0))) {
            *to = from;
        }
    }
}

/// The vectors at one moment, in the hands of the controller: no lock is
/// needed, as the front hands over new ones instead of changing these.
#[derive(Debug)]
struct Lines {
    open: Vec<Option<Event>>,
    pending: Arc<[AtomicBool]>,
}

impl Interrupts for Lines {
    fn notify(&mut self, vector: u16) {
        let vector = usize::from(vector);
        let open = self.open.get(vector).and_then(Option::as_ref);
        raise(open, self.pending.get(vector));
    }
}

/// Signals the event, or else remembers to. Front and controller share one
/// thread; the flag is atomic only so that it may be shared at all.
fn raise(open: Option<&Event>, pending: Option<&AtomicBool>) {
    match (open, pending) {
        (Some(event), _) => event.signal(),
        (None, Some(pending)) => pending.store(true, Ordering::Relaxed),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn event(flags: EventfdFlags) -> (OwnedFd, Event) {
        let fd = eventfd(0, flags).unwrap();
        let event = Event::new(fd.try_clone().unwrap()).unwrap();
        (fd, event)
    }

    fn take(fd: &OwnedFd) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(fd, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    fn pending(msix: &Msix) -> [u8; 2] {
        let mut bits = [0xff; 2];
        msix.read_pending(0, &mut bits);
        bits
    }

    #[test]
    fn what_comes_before_its_eventfd_waits_for_it() {
        let mut msix = Msix::new(12);
        msix.lines().notify(9);
        msix.lines().notify(9);
        msix.lines().notify(700);
        assert_eq!(pending(&msix), [0, 2]);
        let (fd, nine) = event(EventfdFlags::NONBLOCK);
        msix.set(9, vec![nine]);
        assert_eq!((take(&fd), pending(&msix)), (1, [0, 0]));
        msix.lines().notify(9);
        assert_eq!(take(&fd), 1);
        // Taken away and set anew, as QEMU does: nothing is lost.
        msix.unset(0, 12);
        msix.lines().notify(9);
        assert_eq!(take(&fd), 0);
        let again = Event::new(fd.try_clone().unwrap()).unwrap();
        msix.set(9, vec![again]);
        assert_eq!(take(&fd), 1);
    }

    #[test]
    fn a_masked_vector_waits_until_it_is_unmasked_or_reset() {
        let mut msix = Msix::new(2);
        let (fd, one) = event(EventfdFlags::NONBLOCK);
        msix.set(1, vec![one]);
        msix.mask(1, true);
        msix.lines().notify(1);
        assert_eq!((take(&fd), pending(&msix)), (0, [2, 0]));
        msix.mask(1, false);
        assert_eq!((take(&fd), pending(&msix)), (1, [0, 0]));
        msix.mask(1, true);
        msix.trigger(1);
        msix.reset();
        msix.mask(1, false);
        assert_eq!(take(&fd), 0);
        msix.trigger(1);
        assert_eq!(take(&fd), 1);
    }

    #[test]
    fn a_full_counter_does_not_block() {
        for flags in [EventfdFlags::NONBLOCK, EventfdFlags::empty()] {
            let (fd, event) = event(flags);
            rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
            event.signal();
            assert_eq!(take(&fd), u64::MAX - 1);
            event.signal();
            assert_eq!(take(&fd), 1);
        }
    }

    #[test]
    fn only_an_eventfd_is_one() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(Event::new(reader).is_none());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(Event::new(null.into()).is_none());
        let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC);
        assert!(Event::new(memory.unwrap()).is_none());
    }

    #[test]
    fn the_table_keeps_addresses_and_mask_bits() {
        let mut msix = Msix::new(2);
        let mut entry = [0; 16];
        msix.read_table(16, &mut entry);
        assert_eq!(entry, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        msix.write_table(16, &[0xfe; 16]);
        msix.write_table(30, &[0xff; 16]);
        msix.read_table(16, &mut entry);
        assert_eq!(&entry[..12], &[0xfe; 12]);
        assert_eq!(&entry[12..], &[0; 4]);
        msix.read_table(32, &mut entry);
        assert_eq!(entry, [0; 16]);
    }
}
