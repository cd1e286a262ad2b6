//! What crosses to the writer beside the rows.

use nvme::{DSM_RANGES_MAX, DsmRange, Lba};
use traces::{EventRecord, Gap, Rare};

/// Ranges that fit an entry.
const RANGES_AN_ENTRY: usize = 3;
/// The most entries that belong to a command: its rare dwords, its ranges.
pub(crate) const ENTRIES_A_COMMAND_MAX: usize = 1 + DSM_RANGES_MAX.div_ceil(RANGES_AN_ENTRY);

/// What stands between two rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside {
    /// How many rows of the tap came before it.
    pub(crate) place: u64,
    pub(crate) what: What,
}

/// What that is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// Dwords of the command in the next row.
    Rare(Rare),
    /// Further ranges of the command in the next row: so many of these.
    Ranges(u8, [DsmRange; RANGES_AN_ENTRY]),
    /// An event.
    Event(EventRecord),
    /// Lost commands.
    Gap(Gap),
}

const _: () = assert!(size_of::<Beside>() == 64, "an entry is a cache line long");

/// How many entries a command has.
pub(crate) fn entries(has_rare: bool, ranges: usize) -> usize {
    usize::from(has_rare) + ranges.div_ceil(RANGES_AN_ENTRY)
}

/// The entries of a command.
pub(crate) fn of_command(
    rare: Option<Rare>,
    ranges: &[DsmRange],
) -> impl Iterator<Item = What> + '_ {
    let ranges = ranges.chunks(RANGES_AN_ENTRY).map(|chunk| {
        let mut entry = [DsmRange::new(Lba(0), 0); RANGES_AN_ENTRY];
        let mut count = 0;
        for (to, from) in entry.iter_mut().zip(chunk) {
            *to = *from;
            count += 1;
        }
        What::Ranges(count, entry)
    });
    rare.map(What::Rare).into_iter().chain(ranges)
}
