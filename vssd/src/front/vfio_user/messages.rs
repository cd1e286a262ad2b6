//! Interrupts that are messages, MSI and MSI-X: how each vector is signalled,
//! and what waits to be.
//!
//! A vector that is raised while it has no eventfd, or is masked, is pending
//! and is signalled as soon as it can be (`PCI Express Base 5.0 §6.1.4`). That
//! holds while the client takes all eventfds away and sets them anew, too,
//! which QEMU does to enable one more vector: an interrupt that falls between
//! would else be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Interrupts;
use crate::front::Event;

/// Whether vectors beyond those that the client set up come as others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// They wait until they are set up: MSI-X.
    Wait,
    /// They are taken modulo the number of those that are: MSI, of which a host
    /// may grant fewer messages than the function asks for.
    Wrap,
}

#[derive(Debug, Default)]
struct Vector {
    event: Option<Event>,
    masked: bool,
}

/// The vectors of one type.
#[derive(Debug)]
pub(super) struct Messages {
    vectors: Vec<Vector>,
    beyond: Beyond,
    /// Whether the function may send messages: they are writes to memory.
    allowed: bool,
    /// Vectors that the guest masks, bit by bit, in the capability of MSI.
    mask_bits: u32,
    /// Shared with the [`Lines`] that the controller holds.
    pending: Arc<[AtomicBool]>,
}

impl Messages {
    /// So many vectors, with no eventfds.
    pub(super) fn new(vectors: u16, beyond: Beyond) -> Self {
        let count = usize::from(vectors);
        Self {
            vectors: std::iter::repeat_with(Vector::default)
                .take(count)
                .collect(),
            beyond,
            allowed: true,
            mask_bits: 0,
            pending: std::iter::repeat_with(AtomicBool::default)
                .take(count)
                .collect(),
        }
    }

    /// The function was reset: nothing is pending. Eventfds stay, for the client
    /// does not set them again.
    pub(super) fn reset(&self) {
        for pending in self.pending.iter() {
            pending.store(false, Ordering::Relaxed);
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

    /// Lets messages out, or holds them back.
    pub(super) fn allow(&mut self, allowed: bool) {
        self.allowed = allowed;
        self.deliver();
    }

    /// Takes over which vectors the guest masks.
    pub(super) fn set_mask_bits(&mut self, bits: u32) {
        self.mask_bits = bits;
        self.deliver();
    }

    /// The event to signal for the vector, unless it is held back.
    fn open(&self, index: usize) -> Option<&Event> {
        let vector = self.vectors.get(index)?;
        let bit = u32::try_from(index)
            .ok()
            .and_then(|at| 1_u32.checked_shl(at));
        let masked = vector.masked || bit.is_some_and(|bit| self.mask_bits & bit != 0);
        vector.event.as_ref().filter(|_| self.allowed && !masked)
    }

    /// Raises the vector, on the client's word.
    pub(super) fn trigger(&self, vector: usize) {
        raise(self.open(vector), self.pending.get(vector));
    }

    /// Signals what is pending and no longer held up.
    pub(super) fn deliver(&self) {
        for (index, pending) in self.pending.iter().enumerate() {
            if let Some(event) = self.open(index)
                && pending.swap(false, Ordering::Relaxed)
            {
                event.signal();
            }
        }
    }

    /// The vectors as they are now, for the controller to raise. It needs new
    /// ones after every change.
    pub(super) fn lines(&self) -> Box<dyn Interrupts + Send> {
        let granted = self.vectors.iter().rposition(|it| it.event.is_some());
        Box::new(Lines {
            open: (0..self.len())
                .map(|index| self.open(index).cloned())
                .collect(),
            modulus: match self.beyond {
                Beyond::Wait => usize::MAX,
                Beyond::Wrap => granted.map_or(1, |last| last.saturating_add(1)),
            },
            pending: Arc::clone(&self.pending),
        })
    }

    /// The pending bits, eight vectors each.
    pub(super) fn pending(&self) -> impl Iterator<Item = u8> {
        self.pending.chunks(8).map(|bits| {
            bits.iter().rev().fold(0, |byte: u8, bit| {
                byte << 1 | u8::from(bit.load(Ordering::Relaxed))
            })
        })
    }
}

/// The vectors at one moment, in the hands of the controller: no lock is
/// needed, as the front hands over new ones instead of changing these.
#[derive(Clone, Debug)]
struct Lines {
    open: Vec<Option<Event>>,
    modulus: usize,
    pending: Arc<[AtomicBool]>,
}

impl Interrupts for Lines {
    fn notify(&mut self, vector: u16) {
        let vector = usize::from(vector);
        let vector = vector.checked_rem(self.modulus).unwrap_or(vector);
        let open = self.open.get(vector).and_then(Option::as_ref);
        raise(open, self.pending.get(vector));
    }

    fn branch(&self) -> Option<Box<dyn Interrupts + Send>> {
        Some(Box::new(self.clone()))
    }
}

/// Signals the event, or else remembers to. Other threads do this with lines as
/// they were, until the controller has new ones; what they remember is delivered
/// after that.
fn raise(open: Option<&Event>, pending: Option<&AtomicBool>) {
    match (open, pending) {
        (Some(event), _) => event.signal(),
        (None, Some(pending)) => pending.store(true, Ordering::Relaxed),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::EventfdFlags;

    use super::*;
    use crate::front::event::tests::{event, take};

    fn messages(vectors: u16) -> Messages {
        Messages::new(vectors, Beyond::Wait)
    }

    fn pending(messages: &Messages) -> Vec<u8> {
        messages.pending().collect()
    }

    #[test]
    fn what_comes_before_its_eventfd_waits_for_it() {
        let mut msix = messages(12);
        msix.lines().notify(9);
        msix.lines().notify(9);
        msix.lines().notify(700);
        assert_eq!(pending(&msix), [0, 2]);
        let (fd, nine) = event(EventfdFlags::NONBLOCK);
        msix.set(9, vec![nine]);
        assert_eq!((take(&fd), pending(&msix)), (1, vec![0, 0]));
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
        let mut msix = messages(2);
        let (fd, one) = event(EventfdFlags::NONBLOCK);
        msix.set(1, vec![one]);
        msix.mask(1, true);
        msix.lines().notify(1);
        assert_eq!((take(&fd), pending(&msix)), (0, vec![2]));
        msix.mask(1, false);
        assert_eq!((take(&fd), pending(&msix)), (1, vec![0]));
        msix.mask(1, true);
        msix.trigger(1);
        msix.reset();
        msix.mask(1, false);
        assert_eq!(take(&fd), 0);
        msix.trigger(1);
        assert_eq!(take(&fd), 1);
    }

    #[test]
    fn the_guest_masks_messages_one_by_one() {
        let mut msi = Messages::new(32, Beyond::Wrap);
        let events: Vec<_> = (0..32).map(|_| event(EventfdFlags::NONBLOCK)).collect();
        let (fds, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        msi.set(0, events);
        for (vector, fd) in (0..32).zip(&fds) {
            msi.set_mask_bits(1 << vector);
            msi.lines().notify(vector);
            let mut bits = [0; 4];
            bits[usize::from(vector / 8)] = 1 << (vector % 8);
            assert_eq!((take(fd), pending(&msi)), (0, bits.to_vec()));
            msi.set_mask_bits(!(1 << vector));
            assert_eq!((take(fd), pending(&msi)), (1, vec![0; 4]));
        }
    }

    #[test]
    fn what_may_not_be_sent_waits_until_it_may() {
        let mut msix = messages(1);
        let (fd, zero) = event(EventfdFlags::NONBLOCK);
        msix.set(0, vec![zero]);
        msix.allow(false);
        msix.lines().notify(0);
        msix.trigger(0);
        assert_eq!((take(&fd), pending(&msix)), (0, vec![1]));
        msix.allow(true);
        assert_eq!((take(&fd), pending(&msix)), (1, vec![0]));
    }

    #[test]
    fn vectors_beyond_the_messages_that_were_granted_wrap() {
        let mut msi = Messages::new(32, Beyond::Wrap);
        let events: Vec<_> = (0..4).map(|_| event(EventfdFlags::NONBLOCK)).collect();
        let (fds, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        // One message: everything is vector 0.
        msi.set(0, vec![events[0].clone()]);
        for vector in [0, 1, 31, 64, u16::MAX] {
            msi.lines().notify(vector);
        }
        assert_eq!((take(&fds[0]), pending(&msi)), (5, vec![0; 4]));
        // Four.
        msi.set(0, events);
        for vector in 0..10 {
            msi.lines().notify(vector);
        }
        let counts: Vec<_> = fds.iter().map(take).collect();
        assert_eq!(counts, [3, 3, 2, 2]);
        // None yet: they wait at the one that there will be at least.
        msi.unset(0, 32);
        msi.lines().notify(17);
        assert_eq!(pending(&msi)[0], 1);
    }
}
