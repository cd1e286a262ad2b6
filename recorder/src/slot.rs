//! What crosses the ring.

use nvme::{DSM_RANGES_MAX, DsmRange, Lba};
use traces::{EventRecord, Gap, Rare, Row};

/// Ranges that fit a slot.
const RANGES_A_SLOT: usize = 3;
/// The slots of the longest entry: a command, its rare dwords, its ranges.
pub(crate) const SLOTS_AN_ENTRY_MAX: usize = 2 + DSM_RANGES_MAX.div_ceil(RANGES_A_SLOT);

/// A slot of the ring: one cache line. A plain command takes one. What is rarely
/// there comes in slots before that of its command, which are pushed together, so
/// that the reader never sees a part of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    /// A command, with what the slots before it say of it.
    Command(Row),
    /// Dwords of the command that follows.
    Rare(Rare),
    /// Further ranges of the command that follows: so many of these.
    Ranges(u8, [DsmRange; RANGES_A_SLOT]),
    /// An event.
    Event(EventRecord),
    /// Lost commands.
    Gap(Gap),
}

const _: () = assert!(size_of::<Slot>() == 64, "a slot is a cache line");
const _: () = assert!(align_of::<Slot>() == 64, "a slot is one cache line");

/// The slots that hold `ranges`.
pub(crate) fn range_slots(ranges: &[DsmRange]) -> impl Iterator<Item = Slot> {
    ranges.chunks(RANGES_A_SLOT).map(|chunk| {
        let mut slot = [DsmRange::new(Lba(0), 0); RANGES_A_SLOT];
        let mut count = 0;
        for (to, from) in slot.iter_mut().zip(chunk) {
            *to = *from;
            count += 1;
        }
        Slot::Ranges(count, slot)
    })
}

/// How many slots an entry takes.
pub(crate) fn slots(has_rare: bool, ranges: usize) -> usize {
    1 + usize::from(has_rare) + ranges.div_ceil(RANGES_A_SLOT)
}
