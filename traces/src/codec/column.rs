//! The columns of a block.

use super::transform::Applied;
use crate::CommandRecord;
use crate::format::{BlockHeader, put_varint};

/// A column of the commands of a block. The numbers are those in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Column {
    /// `sequence`.
    Sequence = 1,
    /// `submit_ns`.
    Submit = 2,
    /// `complete_ns - submit_ns` mod 2^64; 0 without a completion.
    Latency = 3,
    /// `queue`.
    Queue = 4,
    /// `cid`.
    Cid = 5,
    /// `opcode`.
    Opcode = 6,
    /// `flags`.
    Flags = 7,
    /// `nsid`.
    Nsid = 8,
    /// Dwords 10 (low) and 11 (high).
    Lba = 9,
    /// Dword 12, low half.
    Blocks = 10,
    /// Dword 12, high half.
    Control = 11,
    /// Dword 13.
    Cdw13 = 12,
    /// Dword 14.
    Cdw14 = 13,
    /// Dword 15.
    Cdw15 = 14,
    /// Dword 2.
    Cdw2 = 15,
    /// Dword 3.
    Cdw3 = 16,
    /// The status field; 0 without a completion.
    Status = 17,
    /// Dword 0 of the completion; 0 without one.
    Result = 18,
    /// 1 where the command never completed, else 0.
    Open = 19,
    /// How many Dataset Management ranges the command has.
    RangeCount = 20,
    /// Of each range: context attributes.
    RangeContext = 21,
    /// Of each range: length, blocks.
    RangeBlocks = 22,
    /// Of each range: starting LBA.
    RangeLba = 23,
}

/// Columns with a value a command, but for the number of ranges.
pub(crate) const FIELD_COLUMNS: usize = 19;
/// All columns.
pub(crate) const COLUMNS: usize = 23;
/// Columns from this number on may be skipped by who does not know them.
pub(crate) const SKIPPABLE_FROM: u8 = 128;

impl Column {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; COLUMNS] = [
        Self::Sequence,
        Self::Submit,
        Self::Latency,
        Self::Queue,
        Self::Cid,
        Self::Opcode,
        Self::Flags,
        Self::Nsid,
        Self::Lba,
        Self::Blocks,
        Self::Control,
        Self::Cdw13,
        Self::Cdw14,
        Self::Cdw15,
        Self::Cdw2,
        Self::Cdw3,
        Self::Status,
        Self::Result,
        Self::Open,
        Self::RangeCount,
        Self::RangeContext,
        Self::RangeBlocks,
        Self::RangeLba,
    ];

    /// The number in the file.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// Its place in [`Column::ALL`] and in arrays of columns.
    pub(crate) const fn index(self) -> usize {
        self as usize - 1
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// How many numbers it has in a block with this header.
    pub(crate) fn count(self, header: &BlockHeader) -> usize {
        let count = if self.is_of_ranges() {
            header.ranges
        } else {
            header.commands
        };
        count as usize
    }

    /// The widest value that it may have: all bits of its field.
    pub(crate) const fn widest(self) -> u64 {
        match self {
            Self::Sequence | Self::Submit | Self::Latency | Self::Lba | Self::RangeLba => u64::MAX,
            Self::Queue | Self::Cid | Self::Blocks | Self::Control => 0xffff,
            Self::Opcode | Self::Flags => 0xff,
            Self::Status => 0x7fff,
            Self::Open => 1,
            _ => 0xffff_ffff,
        }
    }

    /// Whether it has a value a range rather than a value a command.
    pub(crate) const fn is_of_ranges(self) -> bool {
        matches!(
            self,
            Self::RangeContext | Self::RangeBlocks | Self::RangeLba
        )
    }
}

/// The fields of `command` in the order of [`Column::ALL`].
#[inline]
pub(crate) fn fields(command: &CommandRecord) -> [u64; FIELD_COLUMNS] {
    let [cdw10, cdw11, cdw12, cdw13, cdw14, cdw15] = command.cdw10_15.map(u64::from);
    let [cdw2, cdw3] = command.cdw2_3.map(u64::from);
    let (latency, status, result, open) = match command.completion {
        Some(completion) => (
            completion.complete_ns.wrapping_sub(command.submit_ns),
            u64::from(completion.status.field()),
            u64::from(completion.result),
            0,
        ),
        None => (0, 0, 0, 1),
    };
    [
        command.sequence,
        command.submit_ns,
        latency,
        u64::from(command.queue.0),
        u64::from(command.cid.0),
        u64::from(command.opcode),
        u64::from(command.flags),
        u64::from(command.nsid.0),
        cdw11 << 32 | cdw10,
        cdw12 & 0xffff,
        cdw12 >> 16,
        cdw13,
        cdw14,
        cdw15,
        cdw2,
        cdw3,
        status,
        result,
        open,
    ]
}

/// How a column's numbers stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    /// All are the same varint.
    Constant = 0,
    /// Frame of reference and bit packing.
    Bitpack = 1,
    /// Lengths modelled, the rest plain.
    Modelled = 2,
}

impl Codec {
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Constant,
            1 => Self::Bitpack,
            2 => Self::Modelled,
            _ => return None,
        })
    }
}

/// Appends a column: number, transform and its parameters, codec, length,
/// bytes.
pub(crate) fn write_column(
    column: Column,
    transform: Applied,
    codec: Codec,
    bytes: &[u8],
    out: &mut Vec<u8>,
) {
    out.push(column.number());
    transform.write(out);
    out.push(codec.number());
    // Widens.
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a column whose numbers are all `value`.
pub(crate) fn write_constant(column: Column, transform: Applied, value: u64, out: &mut Vec<u8>) {
    let mut bytes = Vec::with_capacity(10);
    put_varint(&mut bytes, value);
    write_column(column, transform, Codec::Constant, &bytes, out);
}
