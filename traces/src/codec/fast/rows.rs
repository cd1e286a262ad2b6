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

/// The columns of which a tile has one value in most, as groups of a word.
///
/// What differs is found for all of them at once, a word a time; only a column
/// that differs is gathered.
pub(super) const WORDS: usize = 5;

/// The fields of `command` in their words.
#[inline]
pub(super) fn words(command: &CommandRecord) -> [u64; WORDS] {
    let [_, _, cdw12, cdw13, cdw14, cdw15] = command.cdw10_15.map(u64::from);
    let [cdw2, cdw3] = command.cdw2_3.map(u64::from);
    let head = u64::from(command.queue.0)
        | u64::from(command.opcode) << 16
        | u64::from(command.flags) << 24
        | u64::from(command.nsid.0) << 32;
    let end = match &command.completion {
        Some(completion) => {
            u64::from(completion.status.field()) | u64::from(completion.result) << 32
        }
        None => OPEN,
    };
    [
        head,
        cdw12 | cdw13 << 32,
        cdw14 | cdw15 << 32,
        cdw2 | cdw3 << 32,
        end,
    ]
}

/// In the last word, where there is no completion; a status has 15 bits.
const OPEN: u64 = 1 << 16;

/// Where a column is in [`words`], and how to gather it.
pub(super) struct Shared {
    pub(super) column: Column,
    word: usize,
    shift: u32,
    mask: u64,
    pub(super) gather: fn(Rows<'_>, &mut [u64; GROUP]),
}

/// The columns that are in [`words`].
pub(super) const SHARED: [Shared; 14] = [
    shared::<{ Column::Queue.index() }>(0, 0, 0xffff),
    shared::<{ Column::Opcode.index() }>(0, 16, 0xff),
    shared::<{ Column::Flags.index() }>(0, 24, 0xff),
    shared::<{ Column::Nsid.index() }>(0, 32, DWORD),
    shared::<{ Column::Blocks.index() }>(1, 0, 0xffff),
    shared::<{ Column::Control.index() }>(1, 16, 0xffff),
    shared::<{ Column::Cdw13.index() }>(1, 32, DWORD),
    shared::<{ Column::Cdw14.index() }>(2, 0, DWORD),
    shared::<{ Column::Cdw15.index() }>(2, 32, DWORD),
    shared::<{ Column::Cdw2.index() }>(3, 0, DWORD),
    shared::<{ Column::Cdw3.index() }>(3, 32, DWORD),
    shared::<{ Column::Status.index() }>(4, 0, 0xffff),
    shared::<{ Column::Open.index() }>(4, 16, 1),
    shared::<{ Column::Result.index() }>(4, 32, DWORD),
];
const DWORD: u64 = 0xffff_ffff;

const fn shared<const INDEX: usize>(word: usize, shift: u32, mask: u64) -> Shared {
    Shared {
        column: Column::ALL[INDEX],
        word,
        shift,
        mask,
        gather: gather::<INDEX>,
    }
}

impl Shared {
    /// Its part of `words`.
    pub(super) fn of(&self, words: &[u64; WORDS]) -> u64 {
        words[self.word] >> self.shift & self.mask
    }
}
