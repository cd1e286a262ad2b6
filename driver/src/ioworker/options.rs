//! What to do, as people write it down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nvme::{NamespaceId, NvmOpcode};
use serde::{Deserialize, Serialize};

use super::units::{self, Size};
use crate::verify::VerifyTable;

/// A command that a load generator issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Write Zeroes.
    WriteZeroes,
    /// Flush; its address and length mean nothing.
    Flush,
    /// Dataset Management with the Deallocate attribute and one range.
    #[serde(alias = "dsm", alias = "deallocate")]
    Trim,
    /// Compare, with the data that a write would have had.
    Compare,
    /// Verify.
    Verify,
    /// Write Uncorrectable: the blocks cannot be read until they are written.
    WriteUncorrectable,
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::Write,
        Self::WriteZeroes,
        Self::Flush,
        Self::Trim,
        Self::Compare,
        Self::Verify,
        Self::WriteUncorrectable,
    ];

    /// As it stands in job files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteZeroes => "write_zeroes",
            Self::Flush => "flush",
            Self::Trim => "trim",
            Self::Compare => "compare",
            Self::Verify => "verify",
            Self::WriteUncorrectable => "write_uncorrectable",
        }
    }

    /// Its opcode.
    #[must_use]
    pub const fn opcode(self) -> NvmOpcode {
        match self {
            Self::Read => NvmOpcode::READ,
            Self::Write => NvmOpcode::WRITE,
            Self::WriteZeroes => NvmOpcode::WRITE_ZEROES,
            Self::Flush => NvmOpcode::FLUSH,
            Self::Trim => NvmOpcode::DATASET_MANAGEMENT,
            Self::Compare => NvmOpcode::COMPARE,
            Self::Verify => NvmOpcode::VERIFY,
            Self::WriteUncorrectable => NvmOpcode::WRITE_UNCORRECTABLE,
        }
    }

    /// Whether it changes what the device holds.
    #[must_use]
    pub const fn changes_data(self) -> bool {
        matches!(
            self,
            Self::Write | Self::WriteZeroes | Self::Trim | Self::WriteUncorrectable
        )
    }

    /// Whether its blocks cross between host and device.
    #[must_use]
    pub const fn moves_blocks(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::Compare)
    }
}

/// How long commands are. A bare number is blocks, a number with a unit bytes
/// (`"4KiB"`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "a size (8 or \"4KiB\"), a range (\"1..8\"), a list of sizes or a table of size = weight"
)]
pub enum IoSize {
    /// All alike.
    One(Size),
    /// From one to the other, both included, each number of blocks as likely:
    /// `"1..8"`, `"4KiB..64KiB"`.
    Range(#[serde(deserialize_with = "units::range")] (Size, Size)),
    /// One of these, each as likely.
    List(Vec<Size>),
    /// One of these, as likely as its weight says.
    Weights(BTreeMap<Size, u32>),
}

/// The part of the namespace that may be touched; the end is not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first block, or byte.
    pub start: Size,
    /// Just after the last; none for all that there is.
    pub end: Option<Size>,
}

/// Addresses that are not equally likely.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Skew {
    /// The place of rank k from the region's start is as likely as
    /// 1 / k to this power; above 0.
    Zipf(f64),
    /// This share of the region, at its start, gets all but this share of the
    /// commands, and so on inside of it: 0.2 is the rule of 80 to 20.
    Pareto(f64),
}

/// Commands a second.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "commands a second, or a list of [second, commands a second]"
)]
pub enum Iops {
    /// The same all the time.
    Fixed(f64),
    /// Straight lines between points of second and rate; the last rate stays.
    Ramp(Vec<(f64, f64)>),
}

/// One command of an [`IoworkerOptions::io_sequence`]: microseconds from the
/// start, command, namespace, first block, number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Step(
    /// Microseconds from the start.
    pub u64,
    /// The command.
    pub Op,
    /// The namespace.
    pub u32,
    /// The first block.
    pub u64,
    /// How many blocks, from 1.
    pub u32,
);

/// What to do. The default reads 4 KiB at random, 64 at a time, until it is
/// told when to stop.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IoworkerOptions {
    /// The namespace.
    #[serde(deserialize_with = "units::namespace")]
    pub nsid: NamespaceId,
    /// How long commands are.
    pub io_size: IoSize,
    /// Where the first command goes; without it, sequential work begins at
    /// the region's start.
    pub lba_start: Option<u64>,
    /// From one sequential command's first block to the next one's; may be
    /// negative. By default each begins where the last one ended.
    pub lba_step: Option<i64>,
    /// Random addresses are multiples of so much. By default the size of the
    /// commands where they are all alike, and one block otherwise.
    pub lba_align: Option<Size>,
    /// How many of 100 commands go to a random address; the others follow the
    /// one before. `true` is 100.
    #[serde(deserialize_with = "units::percentage")]
    pub lba_random: u8,
    /// What may be touched.
    pub region: Region,
    /// Reads among 100 commands; the others **write**. 100 by default.
    pub read_percentage: Option<u8>,
    /// How many of 100 commands are of each kind.
    pub op_percentage: BTreeMap<Op, u8>,
    /// How many of 10,000 random addresses lie in each hundredth of the
    /// region. All alike where it is empty.
    pub distribution: Vec<u32>,
    /// Random addresses that are not equally likely.
    pub skew: Option<Skew>,
    /// Commands a second; as many as the device takes by default.
    pub iops: Option<Iops>,
    /// The end, after so many commands.
    pub io_count: Option<u64>,
    /// The end, when so much time has passed.
    #[serde(deserialize_with = "units::duration_option")]
    pub time: Option<Duration>,
    /// The end, when the region was gone through so often.
    pub passes: Option<u64>,
    /// Commands in flight.
    pub qdepth: u16,
    /// The submission queue's priority: 0 urgent to 3 low. It counts where the
    /// controller arbitrates by weighted round robin.
    pub qprio: u8,
    /// The pattern of written data: 0 all bits like `pvalue`'s lowest, 8, 16
    /// and 32 a byte, word or dword over and over, 0xbeef random.
    pub ptype: u32,
    /// The value of the pattern; for 0xbeef, the percentage of the data that
    /// is random and not zero: 100 cannot be compressed.
    pub pvalue: u32,
    /// Commands at given times, in place of all that chooses commands.
    pub io_sequence: Vec<Step>,
    /// Whether every block that is written is stamped with its address and a
    /// token, and looked at when it is read again; see [`crate::verify`].
    pub verify: bool,
    /// What is known of the blocks, to be shared by all workers that touch
    /// them, now and later. Without it, a worker that verifies has a table of
    /// its own, and nobody else may change its blocks.
    #[serde(skip)]
    pub verify_table: Option<Arc<VerifyTable>>,
    /// Where addresses and kinds come from: the same seed, the same work.
    pub seed: u64,
    /// How many of the last commands the report tells of.
    pub cmdlog: u16,
    /// How long a command may take.
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
}

impl Default for IoworkerOptions {
    fn default() -> Self {
        Self {
            nsid: NamespaceId(1),
            io_size: IoSize::One(Size::Bytes(4096)),
            lba_start: None,
            lba_step: None,
            lba_align: None,
            lba_random: 100,
            region: Region::default(),
            read_percentage: None,
            op_percentage: BTreeMap::new(),
            distribution: Vec::new(),
            skew: None,
            iops: None,
            io_count: None,
            time: None,
            passes: None,
            qdepth: 64,
            qprio: 0,
            ptype: super::pattern::RANDOM,
            pvalue: 100,
            io_sequence: Vec::new(),
            verify: false,
            verify_table: None,
            seed: 1,
            cmdlog: 16,
            timeout: Duration::from_secs(30),
        }
    }
}

impl IoworkerOptions {
    /// Whether the work changes what the device holds.
    #[must_use]
    pub fn changes_data(&self) -> bool {
        if !self.io_sequence.is_empty() {
            return self.io_sequence.iter().any(|step| step.1.changes_data());
        }
        if self.op_percentage.is_empty() {
            return self.read_percentage.is_some_and(|reads| reads < 100);
        }
        let ops = self.op_percentage.iter();
        ops.filter(|(_, share)| **share > 0)
            .any(|(op, _)| op.changes_data())
    }
}
