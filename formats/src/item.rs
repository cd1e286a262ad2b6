//! What formats are read into and written from.

use nvme::{DsmRange, NvmOpcode};
use traces::{CommandRecord, EventRecord, Gap};

/// One thing that an importer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A request as block layers know it, in bytes.
    Io(Io),
    /// An NVMe command, of a format that has them whole. Its sequence number
    /// is given later; its namespace, queue and identifier are kept.
    Command {
        /// The command and how it ended.
        command: CommandRecord,
        /// The ranges of a Dataset Management command, else empty.
        ranges: Vec<DsmRange>,
    },
    /// Something that happened to the controller, of a format that has it.
    Event(EventRecord),
    /// Commands that were lost, of a format that says where.
    Gap(Gap),
}

impl Item {
    /// When it was submitted or happened, nanoseconds of the format's clock.
    #[must_use]
    pub fn submit_ns(&self) -> u64 {
        match self {
            Self::Io(io) => io.submit_ns,
            Self::Command { command, .. } => command.submit_ns,
            Self::Event(event) => event.at_ns,
            Self::Gap(gap) => gap.at_ns,
        }
    }
}

/// A request as block layers know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// When it was submitted, nanoseconds of the format's clock.
    pub submit_ns: u64,
    /// How long it took, nanoseconds; none where the format does not say.
    pub latency_ns: Option<u64>,
    /// What it did.
    pub operation: Operation,
    /// Where, bytes. Of a discard of several ranges, that of the first.
    pub offset_bytes: u64,
    /// How much, bytes. Of a discard of several ranges, that of the first.
    pub length_bytes: u64,
    /// All further ranges of a discard.
    pub more: Vec<ByteRange>,
    /// Whether it was to be on the medium before it completed.
    pub fua: bool,
    /// Whether it failed; the status is then Internal Error.
    pub failed: bool,
    /// The queue, from 1; 1 where the format knows none.
    pub queue: u16,
    /// Which device, as an index into [`Import::devices`].
    ///
    /// [`Import::devices`]: crate::Import::devices
    pub device: u32,
}

/// What a request did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Read.
    #[default]
    Read,
    /// Write.
    Write,
    /// Flush the volatile write cache.
    Flush,
    /// Discard, trim, unmap, deallocate.
    Discard,
    /// Write zeroes.
    WriteZeroes,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Discard,
        Self::WriteZeroes,
    ];

    /// The NVMe command for it.
    #[must_use]
    pub const fn opcode(self) -> NvmOpcode {
        match self {
            Self::Read => NvmOpcode::READ,
            Self::Write => NvmOpcode::WRITE,
            Self::Flush => NvmOpcode::FLUSH,
            Self::Discard => NvmOpcode::DATASET_MANAGEMENT,
            Self::WriteZeroes => NvmOpcode::WRITE_ZEROES,
        }
    }

    /// What an NVMe command is to a block layer; none for those which only
    /// NVMe has.
    #[must_use]
    pub fn of(opcode: NvmOpcode) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.opcode() == opcode)
    }
}

/// A stretch of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteRange {
    /// Where it starts, bytes.
    pub offset_bytes: u64,
    /// How long it is, bytes.
    pub length_bytes: u64,
}

impl Io {
    /// A request of one stretch on queue 1 of the first device.
    #[must_use]
    pub fn new(submit_ns: u64, operation: Operation, offset_bytes: u64, length_bytes: u64) -> Self {
        Self {
            submit_ns,
            operation,
            offset_bytes,
            length_bytes,
            queue: 1,
            ..Self::default()
        }
    }

    /// All its stretches: one but for a flush, which has none, and a discard of
    /// several.
    pub fn stretches(&self) -> impl Iterator<Item = ByteRange> + '_ {
        let first = ByteRange {
            offset_bytes: self.offset_bytes,
            length_bytes: self.length_bytes,
        };
        let first = (self.operation != Operation::Flush).then_some(first);
        first.into_iter().chain(self.more.iter().copied())
    }
}
