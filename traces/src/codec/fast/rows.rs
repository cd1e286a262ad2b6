//! The commands of a tile, and the columns of which it has one value in most.

use crate::CommandRecord;
use crate::codec::bitpack::GROUP;
use crate::codec::column::{Column, fields};

/// The commands of a tile, in order.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) commands: &'a [CommandRecord],
    pub(super) order: &'a [u32],
}

impl<'a> Rows<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = &'a CommandRecord> {
        let commands = self.commands;
        self.order.iter().map(|&index| &commands[index as usize])
    }
}

/// The field of each command that column number `INDEX` has.
fn gather<const INDEX: usize>(rows: Rows<'_>, to: &mut [u64; GROUP]) {
    for (to, command) in to.iter_mut().zip(rows.iter()) {
        *to = fields(command)[INDEX];
    }
}

/// The words that the columns of [`SHARED`] are put in, so that what differs is
/// found a word a time; only a column that differs is gathered.
pub(super) const WORDS: usize = 5;

/// The fields of `command` in their words.
#[inline]
pub(super) fn words(command: &CommandRecord) -> [u64; WORDS] {
    let values = fields(command);
    let mut words = [0; WORDS];
    for shared in &SHARED {
        words[shared.word] |= values[shared.column.index()] << shared.shift;
    }
    words
}

/// A column of which a tile has one value in most: where it is in [`words`], and
/// how to gather it.
pub(super) struct Shared {
    pub(super) column: Column,
    word: usize,
    shift: u32,
    pub(super) gather: fn(Rows<'_>, &mut [u64; GROUP]),
}

/// These columns. In their words they do not overlap.
pub(super) const SHARED: [Shared; 14] = [
    shared::<{ Column::Queue.index() }>(0, 0),
    shared::<{ Column::Opcode.index() }>(0, 16),
    shared::<{ Column::Flags.index() }>(0, 24),
    shared::<{ Column::Nsid.index() }>(0, 32),
    shared::<{ Column::Blocks.index() }>(1, 0),
    shared::<{ Column::Control.index() }>(1, 16),
    shared::<{ Column::Cdw13.index() }>(1, 32),
    shared::<{ Column::Cdw14.index() }>(2, 0),
    shared::<{ Column::Cdw15.index() }>(2, 32),
    shared::<{ Column::Cdw2.index() }>(3, 0),
    shared::<{ Column::Cdw3.index() }>(3, 32),
    shared::<{ Column::Status.index() }>(4, 0),
    shared::<{ Column::Open.index() }>(4, 16),
    shared::<{ Column::Result.index() }>(4, 32),
];

const fn shared<const INDEX: usize>(word: usize, shift: u32) -> Shared {
    Shared {
        column: Column::ALL[INDEX],
        word,
        shift,
        gather: gather::<INDEX>,
    }
}

impl Shared {
    /// Its part of `words`.
    pub(super) fn of(&self, words: &[u64; WORDS]) -> u64 {
        words[self.word] >> self.shift & self.column.widest()
    }
}
