//! The ranges of the Dataset Management commands of a block.

use nvme::DsmRange;

/// Which ranges belong to which command of a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeTable {
    /// The commands that have any, in their order.
    ranged: Vec<Ranged>,
    all: Vec<DsmRange>,
}

#[derive(Clone, Copy, Debug)]
struct Ranged {
    /// Index of the command.
    command: u32,
    /// Index of its first range.
    first: u32,
    /// How many it has.
    count: u32,
}

impl RangeTable {
    /// Says that the command with this index, which is larger than those before,
    /// has `count` ranges after those of the commands before.
    pub(crate) fn claim(&mut self, command: u32, count: u32) {
        let first = self.claimed();
        self.ranged.push(Ranged {
            command,
            first,
            count,
        });
    }

    /// How many ranges commands are said to have, whether they are there or not.
    pub(crate) fn claimed(&self) -> u32 {
        let last = self.ranged.last();
        last.map_or(0, |last| last.first.saturating_add(last.count))
    }

    /// Adds ranges behind those that are there.
    pub(crate) fn extend(&mut self, ranges: impl IntoIterator<Item = DsmRange>) {
        self.all.extend(ranges);
    }

    /// Makes room for exactly so many.
    pub(crate) fn reserve_exact(&mut self, ranges: usize) {
        self.all.reserve_exact(ranges);
    }

    pub(crate) fn clear(&mut self) {
        self.ranged.clear();
        self.all.clear();
    }

    /// How many ranges there are of all commands together.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those of the command with this index.
    pub(crate) fn of(&self, command: u32) -> &[DsmRange] {
        let found = self
            .ranged
            .binary_search_by_key(&command, |ranged| ranged.command);
        let Some(ranged) = found.ok().and_then(|at| self.ranged.get(at)) else {
            return &[];
        };
        let first = ranged.first as usize;
        self.all
            .get(first..first + ranged.count as usize)
            .unwrap_or(&[])
    }
}
