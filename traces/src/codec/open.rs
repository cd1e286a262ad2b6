//! A block while it is being filled.

use nvme::DsmRange;

use super::{Mark, RangeTable};
use crate::CommandRecord;
use crate::format::BlockHeader;
use crate::row::{Rare, Row};

/// What a block holds while it is being filled, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenBlock {
    pub(crate) rows: Vec<Row>,
    pub(crate) beside: Beside,
}

/// What a block holds beside its rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    /// The rare dwords of the commands with these indices, in their order.
    rares: Vec<(u32, Rare)>,
    pub(crate) ranges: RangeTable,
    pub(crate) marks: Vec<Mark>,
}

impl Beside {
    fn is_empty(&self) -> bool {
        self.rares.is_empty() && self.ranges.is_empty() && self.marks.is_empty()
    }

    fn clear(&mut self) {
        self.rares.clear();
        self.ranges.clear();
        self.marks.clear();
    }
}

impl OpenBlock {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.beside.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.beside.clear();
    }

    /// Adds what the next row has beside its fields.
    pub(crate) fn add_beside(&mut self, rare: Option<Rare>, ranges: &[DsmRange]) {
        // Both are below 2^17.
        let small = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let index = small(self.rows.len());
        if let Some(rare) = rare {
            self.beside.rares.push((index, rare));
        }
        if !ranges.is_empty() {
            self.beside.ranges.claim(index, small(ranges.len()));
            self.beside.ranges.extend(ranges.iter().copied());
        }
    }

    /// All of it, to be encoded; `rows` instead of its own, where it has none.
    pub(crate) fn full<'a>(&'a self, rows: Option<&'a [Row]>) -> FullBlock<'a> {
        debug_assert!(rows.is_none() || self.is_empty(), "rows would be lost");
        FullBlock {
            rows: rows.unwrap_or(&self.rows),
            beside: &self.beside,
        }
    }
}

/// What becomes a block of a trace, in the order of arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FullBlock<'a> {
    pub(crate) rows: &'a [Row],
    pub(crate) beside: &'a Beside,
}

impl FullBlock<'_> {
    /// Whether a command uses one of the rare dwords.
    pub(super) fn has_rare(&self) -> bool {
        !self.beside.rares.is_empty()
    }

    /// The ranges of the commands that have any.
    pub(super) fn ranges(&self) -> &RangeTable {
        &self.beside.ranges
    }

    /// The command with this index of arrival.
    pub(super) fn command(&self, index: u32) -> CommandRecord {
        let mut command = self.rows[index as usize].record();
        let rares = &self.beside.rares;
        let rare = rares.binary_search_by_key(&index, |(of, _)| *of);
        if let Some((_, rare)) = rare.ok().and_then(|at| rares.get(at)) {
            rare.restore(&mut command);
        }
        command
    }

    /// The rows' indices in the order of their sequence numbers, equal ones in
    /// the order of arrival, into `order`.
    pub(super) fn sort(&self, order: &mut Vec<u32>) {
        let rows = self.rows;
        // A block has at most 2^16 commands.
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let (mut min, mut max, mut last, mut is_sorted) = (u64::MAX, 0, 0, true);
        for row in rows {
            is_sorted &= last <= row.sequence;
            last = row.sequence;
            min = min.min(last);
            max = max.max(last);
        }
        order.clear();
        if is_sorted {
            order.extend(0..count);
        } else if !self.sort_by_slots(min, max, order) {
            order.clear();
            order.extend(0..count);
            order.sort_by_key(|&index| rows[index as usize].sequence);
        }
    }

    /// Sorts in linear time where the numbers are nearly dense, which those of
    /// a recording are. False where they are not, or where one occurs twice.
    fn sort_by_slots(&self, min: u64, max: u64, order: &mut Vec<u32>) -> bool {
        const FREE: u32 = u32::MAX;
        let slots = usize::try_from(max - min).map_or(usize::MAX, |span| span.saturating_add(1));
        if slots > self.rows.len() * 4 {
            return false;
        }
        order.resize(slots, FREE);
        for (index, row) in (0_u32..).zip(self.rows) {
            let slot = usize::try_from(row.sequence - min).ok();
            match slot.and_then(|slot| order.get_mut(slot)) {
                Some(slot) if *slot == FREE => *slot = index,
                _ => return false,
            }
        }
        if slots > self.rows.len() {
            order.retain(|&index| index != FREE);
        }
        true
    }

    /// Appends the marks in the order of their places.
    pub(super) fn encode_marks(&self, out: &mut Vec<u8>) {
        let mut marks: Vec<&Mark> = self.beside.marks.iter().collect();
        marks.sort_by_key(|mark| mark.place());
        for mark in marks {
            mark.encode(out);
        }
    }

    /// The header without the fields of the payload and of the commands'
    /// extremes but for the marks' share.
    pub(super) fn header(&self) -> BlockHeader {
        let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let mut header = BlockHeader {
            commands: len(self.rows.len()),
            marks: len(self.beside.marks.len()),
            ranges: len(self.beside.ranges.len()),
            min_sequence: u64::MAX,
            min_submit_ns: u64::MAX,
            min_lba: u64::MAX,
            ..BlockHeader::default()
        };
        for mark in &self.beside.marks {
            header.min_sequence = header.min_sequence.min(mark.place());
            header.max_sequence = header.max_sequence.max(mark.place());
            header.min_submit_ns = header.min_submit_ns.min(mark.at_ns());
            header.max_submit_ns = header.max_submit_ns.max(mark.at_ns());
        }
        header
    }
}
