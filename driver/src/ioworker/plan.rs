//! What was asked for, checked against itself and the namespace, as tables.

use std::fmt::Display;
use std::ops::Range;

use fastrand::Rng;
use nvme::{Lba, ZeroBased};

use super::address::Addresses;
use super::chance::Weighted;
use super::options::{IoSize, IoworkerOptions, Op, Step};
use super::rate::Rate;
use crate::{DriverError, NamespaceInfo};

/// The most blocks that a command can have: a 16-bit field, from 1.
const BLOCKS_MAX: u64 = 1 << 16;
/// Hundredths of the region that have a chance of their own.
const PARTS: usize = 100;
/// What the chances of the parts sum to.
const PARTS_SUM: u64 = 10_000;

/// An error that names the field that is wrong.
pub(super) fn refuse<R>(field: &str, why: impl Display) -> Result<R, DriverError> {
    Err(DriverError::Invalid {
        what: format!("{field}: {why}"),
    })
}

/// One command to issue.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// What it does.
    pub op: Op,
    /// Its first block.
    pub lba: Lba,
    /// How many blocks it has.
    pub blocks: ZeroBased<u16>,
}

/// Everything that a command follows from.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// For each of 100, the kind of command.
    ops: [Op; 100],
    sizes: Sizes,
    pub(super) addresses: Addresses,
    pub(super) rate: Option<Rate>,
    /// The end, after so many commands.
    pub(super) count: Option<u64>,
    /// Commands at given times, in place of all else.
    pub(super) sequence: Vec<Step>,
    /// The longest command.
    pub(super) blocks_max: u32,
    /// The kinds that there are.
    pub(super) used: Vec<Op>,
}

#[derive(Clone, Debug)]
enum Sizes {
    Range(u32, u32),
    List(Vec<u32>),
    Weights(Vec<u32>, Weighted),
}

impl Plan {
    pub(super) fn new(
        options: &IoworkerOptions,
        namespace: NamespaceInfo,
    ) -> Result<Self, DriverError> {
        check(options)?;
        let sizes = Sizes::new(&options.io_size, namespace.block_bytes)?;
        let (ops, mut used) = kinds(options)?;
        let (smallest, mut blocks_max) = sizes.bounds();
        let sequence = sequence(options, namespace)?;
        if !sequence.is_empty() {
            used = sequence.iter().map(|step| step.1).collect();
            blocks_max = sequence.iter().map(|step| step.4).max().unwrap_or(1);
        }
        used.sort_unstable();
        used.dedup();
        if let (true, Some(op)) = (options.verify, used.iter().find(|op| !verifiable(**op))) {
            let name = op.name();
            return refuse(
                "verify",
                format!("{name} has no data of its own to go by: leave one out"),
            );
        }
        let addresses = Addresses::new(options, namespace, smallest, blocks_max)?;
        let rate = match options.iops.as_ref().map(Rate::new) {
            None => None,
            Some(Ok(rate)) => Some(rate),
            Some(Err(why)) => return refuse("iops", why),
        };
        let count = match (options.io_count, options.passes) {
            (_, Some(passes)) => {
                Some(passes.saturating_mul(addresses.blocks().div_ceil(u64::from(blocks_max))))
            }
            (count, None) => count,
        };
        Ok(Self {
            ops,
            sizes,
            addresses,
            rate,
            count,
            sequence,
            blocks_max,
            used,
        })
    }

    /// All blocks that may be touched.
    pub(super) fn extent(&self) -> Range<u64> {
        let ends = self.sequence.iter().map(|step| {
            let Step(_, _, _, lba, blocks) = *step;
            (lba, lba.saturating_add(u64::from(blocks)))
        });
        let start = self.addresses.start();
        let region = start..start + self.addresses.blocks();
        ends.map(|(lba, end)| lba..end)
            .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            .unwrap_or(region)
    }

    /// The next command, where they are not given.
    #[inline]
    pub(super) fn draw(&mut self, rng: &mut Rng) -> Io {
        let op = match self.ops.get(rng.usize(0..100)) {
            Some(op) => *op,
            None => Op::Read,
        };
        let wanted = self.sizes.draw(rng);
        let (lba, blocks) = self.addresses.next(wanted, rng);
        Io {
            op,
            lba,
            blocks: ZeroBased::<u16>::of(blocks).unwrap_or(ZeroBased(0)),
        }
    }
}

/// Whether it can be in work that is verified: a Compare would need the data
/// that the block happens to hold.
const fn verifiable(op: Op) -> bool {
    !matches!(op, Op::Compare)
}

/// What contradicts itself, without a look at the namespace.
fn check(options: &IoworkerOptions) -> Result<(), DriverError> {
    let given = |is: bool, field: &'static str| is.then_some(field);
    if !options.io_sequence.is_empty() {
        let chosen = [
            given(!options.op_percentage.is_empty(), "op_percentage"),
            given(options.read_percentage.is_some(), "read_percentage"),
            given(!options.distribution.is_empty(), "distribution"),
            given(options.skew.is_some(), "skew"),
            given(options.iops.is_some(), "iops"),
            given(options.passes.is_some(), "passes"),
            given(options.lba_step.is_some(), "lba_step"),
            given(options.lba_start.is_some(), "lba_start"),
        ];
        if let Some(field) = chosen.into_iter().flatten().next() {
            return refuse(
                field,
                "io_sequence says what is issued and when: leave one out",
            );
        }
    }
    if options.read_percentage.is_some() && !options.op_percentage.is_empty() {
        return refuse(
            "read_percentage",
            "op_percentage has it already: leave one out",
        );
    }
    if options.read_percentage.is_some_and(|reads| reads > 100) {
        return refuse("read_percentage", "100 is all");
    }
    if options.lba_random > 100 {
        return refuse("lba_random", "100 is all");
    }
    if options.lba_random == 0 {
        let random_only = [
            given(!options.distribution.is_empty(), "distribution"),
            given(options.skew.is_some(), "skew"),
            given(options.lba_align.is_some(), "lba_align"),
        ];
        if let Some(field) = random_only.into_iter().flatten().next() {
            return refuse(field, "it is about random addresses, and lba_random is 0");
        }
    }
    if options.lba_random == 100 && options.lba_step.is_some() {
        return refuse(
            "lba_step",
            "it is about sequential addresses: set lba_random below 100",
        );
    }
    if options.lba_step == Some(0) && options.passes.is_some() {
        return refuse("passes", "a step of 0 goes nowhere");
    }
    if !options.distribution.is_empty() && options.skew.is_some() {
        return refuse("skew", "distribution has it already: leave one out");
    }
    check_end(options)
}

/// Whether it ends, and in one way.
fn check_end(options: &IoworkerOptions) -> Result<(), DriverError> {
    if options.passes.is_some() {
        let clashes = options.lba_random != 0
            || options.lba_step.is_some()
            || !matches!(options.io_size, IoSize::One(_));
        if clashes {
            return refuse(
                "passes",
                "it takes lba_random = 0, one io_size and no lba_step",
            );
        }
        if options.io_count.is_some() {
            return refuse("io_count", "passes says it already: leave one out");
        }
    }
    if options.qprio > 3 {
        return refuse(
            "qprio",
            "choose 0 (urgent), 1 (high), 2 (medium) or 3 (low)",
        );
    }
    if options.qdepth == 0 {
        return refuse("qdepth", "at least one command is in flight");
    }
    let ends = options.time.is_some() || options.io_count.is_some() || options.passes.is_some();
    if !ends && options.io_sequence.is_empty() {
        return refuse("time", "it never ends: give time, io_count or passes");
    }
    Ok(())
}

/// For each of 100 commands its kind, and the kinds.
fn kinds(options: &IoworkerOptions) -> Result<([Op; 100], Vec<Op>), DriverError> {
    let mut ops = [Op::Read; 100];
    if options.op_percentage.is_empty() {
        let reads = usize::from(options.read_percentage.unwrap_or(100));
        for op in ops.iter_mut().skip(reads) {
            *op = Op::Write;
        }
    } else {
        let sum: u32 = options
            .op_percentage
            .values()
            .map(|share| u32::from(*share))
            .sum();
        if sum != 100 {
            return refuse(
                "op_percentage",
                format!("the percentages sum to {sum}, not 100"),
            );
        }
        let shares = options.op_percentage.iter();
        let all = shares.flat_map(|(op, share)| std::iter::repeat_n(*op, usize::from(*share)));
        for (place, op) in ops.iter_mut().zip(all) {
            *place = op;
        }
    }
    Ok((ops, ops.to_vec()))
}

fn sequence(options: &IoworkerOptions, namespace: NamespaceInfo) -> Result<Vec<Step>, DriverError> {
    let mut before_us = 0;
    for (index, step) in options.io_sequence.iter().enumerate() {
        let Step(at_us, _, nsid, lba, blocks) = *step;
        let wrong = |why: String| refuse("io_sequence", format!("entry {index}: {why}"));
        if at_us < before_us {
            return wrong(format!("{at_us} us comes before {before_us} us"));
        }
        before_us = at_us;
        if nsid != namespace.nsid.0 {
            return wrong(format!(
                "namespace {nsid} is not that of the worker, {}",
                namespace.nsid
            ));
        }
        if blocks == 0 || u64::from(blocks) > BLOCKS_MAX {
            return wrong(format!("{blocks} blocks: choose 1 to {BLOCKS_MAX}"));
        }
        if lba
            .checked_add(u64::from(blocks))
            .is_none_or(|end| end > namespace.blocks)
        {
            return wrong(format!(
                "{blocks} blocks at {lba} end after the namespace's {} blocks",
                namespace.blocks
            ));
        }
    }
    Ok(options.io_sequence.clone())
}

impl Sizes {
    fn new(io_size: &IoSize, block_bytes: u32) -> Result<Self, DriverError> {
        let blocks = |size: &super::Size| {
            let blocks = size
                .blocks(block_bytes)
                .filter(|n| (1..=BLOCKS_MAX).contains(n));
            match blocks.and_then(|blocks| u32::try_from(blocks).ok()) {
                Some(blocks) => Ok(blocks),
                None => refuse(
                    "io_size",
                    format!(
                        "{size}: choose a multiple of {block_bytes} bytes, up to {BLOCKS_MAX} blocks"
                    ),
                ),
            }
        };
        Ok(match io_size {
            IoSize::One(size) => Self::List(vec![blocks(size)?]),
            IoSize::Range((first, last)) => {
                let (first, last) = (blocks(first)?, blocks(last)?);
                if first > last {
                    return refuse("io_size", format!("{first} to {last} blocks is no range"));
                }
                Self::Range(first, last)
            }
            IoSize::List(sizes) if sizes.is_empty() => return refuse("io_size", "it is empty"),
            IoSize::List(sizes) => Self::List(sizes.iter().map(blocks).collect::<Result<_, _>>()?),
            IoSize::Weights(sizes) => {
                let list = sizes.keys().map(blocks).collect::<Result<_, _>>()?;
                match Weighted::new(sizes.values().copied()) {
                    Some(weights) => Self::Weights(list, weights),
                    None => return refuse("io_size", "all weights are 0"),
                }
            }
        })
    }

    /// The smallest and the largest.
    fn bounds(&self) -> (u32, u32) {
        match self {
            Self::Range(first, last) => (*first, *last),
            Self::List(list) | Self::Weights(list, _) => (
                list.iter().copied().min().unwrap_or(1),
                list.iter().copied().max().unwrap_or(1),
            ),
        }
    }

    #[inline]
    fn draw(&self, rng: &mut Rng) -> u32 {
        match self {
            Self::Range(first, last) => rng.u32(*first..=*last),
            Self::List(list) => match list.as_slice() {
                [one] => *one,
                list => list.get(rng.usize(0..list.len())).copied().unwrap_or(1),
            },
            Self::Weights(list, weights) => list.get(weights.draw(rng)).copied().unwrap_or(1),
        }
    }
}

/// The chances of the hundred parts of a region.
pub(super) fn parts(distribution: &[u32]) -> Result<Weighted, DriverError> {
    let sum: u64 = distribution.iter().map(|part| u64::from(*part)).sum();
    let parts = distribution.len();
    if parts != PARTS || sum != PARTS_SUM {
        return refuse(
            "distribution",
            format!("{parts} parts that sum to {sum}: it takes {PARTS} that sum to {PARTS_SUM}"),
        );
    }
    match Weighted::new(distribution.iter().copied()) {
        Some(weights) => Ok(weights),
        None => refuse("distribution", "all parts are 0"),
    }
}
