//! What is read, held against what was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use driver::ioworker::{Io, Op, Verdict, Verifier, fill_random};
use driver::transport::Transport;
use driver::verify::VerifyTable;
use driver::{Completed, Controller, DmaBuffer, DmaSlice, QueuePair};
use nvme::{DSM_RANGES_MAX, DsmRange, NamespaceId, NvmOpcode, Sqe, ZeroBased};
use traces::{Clock, Tap};

use crate::facts::TraceFacts;
use crate::lanes::Lane;
use crate::mapping::AddressMap;
use crate::report::VerifiedReport;
use crate::{ReplayError, ReplayOptions};

const PAGE: usize = 4096;
/// Writes start at so many different pages of the pattern.
const PATTERN_PAGES: usize = 16;
/// The most memory for the data of commands in flight.
const DATA_BYTES_MAX: usize = 256 << 20;

/// The verification of a replay: a table of what was written, which all queues
/// share, and memory of its own for each command in flight.
#[derive(Debug)]
pub(crate) struct Checks {
    lanes: Vec<LaneCheck>,
    data: DmaBuffer,
    stride: usize,
}

/// Of one queue.
#[derive(Debug)]
struct LaneCheck {
    verifier: Verifier,
    free: Vec<u16>,
    slots: Vec<Slot>,
    /// The number of its first slot among those of all queues.
    first: usize,
}

/// A command in flight.
#[derive(Debug, Default)]
struct Slot {
    io: Option<Io>,
    /// Of a Dataset Management command; room for all of them is kept.
    ranges: Vec<DsmRange>,
    number: u64,
}

const FAILED: &str = "verifying data";

impl Checks {
    /// A table for all that the trace touches of the one namespace that it
    /// goes to, and memory for commands of up to `transfer` bytes.
    pub(crate) fn new<T: Transport, C: Clock, P: Tap>(
        controller: &mut Controller<T, C>,
        facts: &TraceFacts,
        maps: &BTreeMap<NamespaceId, AddressMap>,
        lanes: &[Lane<P>],
        (transfer, options): (usize, &ReplayOptions),
    ) -> Result<Self, ReplayError> {
        let mut target = None;
        for (recorded, map) in maps {
            let reach = facts.namespaces.get(recorded);
            let reach = reach.and_then(|facts| facts.start.zip(facts.end));
            let (first, end) = reach.map_or((0, 1), |(start, end)| map.reach(start, end));
            target = match target {
                None => Some((map.target(), first, end)),
                Some((namespace, from, to)) if namespace.nsid == map.nsid() => {
                    Some((namespace, first.min(from), end.max(to)))
                }
                Some(_) => return Err(ReplayError::VerifyMany),
            };
        }
        let (namespace, first, end) = target.ok_or(ReplayError::NoNamespace)?;
        let table = VerifyTable::of_controller(controller, namespace.nsid, first..end);
        let table = Arc::new(table.map_err(ReplayError::driver(FAILED))?);

        let block_bytes = namespace.block_bytes as usize;
        let stride = transfer.max(PAGE).next_multiple_of(PAGE);
        let slots_max = (DATA_BYTES_MAX / stride / lanes.len().max(1)).max(1);
        let blocks_max = u32::try_from(stride / block_bytes.max(1)).unwrap_or(u32::MAX);
        let mut pattern = vec![0; stride + PATTERN_PAGES * PAGE];
        let share = 100_usize.saturating_sub(options.compressibility.into());
        let mut random = fastrand::Rng::with_seed(options.seed);
        fill_random(&mut pattern, share, &mut random);

        let mut checks = Vec::with_capacity(lanes.len());
        let mut slots_all = 0;
        for lane in lanes {
            let slots = lane.pair.depth().min(slots_max);
            let depth = u16::try_from(slots).unwrap_or(u16::MAX);
            let log = lane.pair.cmdlog().clone();
            let sizes = (block_bytes, blocks_max);
            let verifier = Verifier::new(&table, log, pattern.clone(), sizes, depth);
            checks.push(LaneCheck {
                verifier: verifier.map_err(ReplayError::driver(FAILED))?,
                free: (0..depth).rev().collect(),
                slots: (0..depth).map(|_| Slot::default()).collect(),
                first: slots_all,
            });
            slots_all += usize::from(depth);
        }
        let data = controller.allocate_dma(slots_all.saturating_mul(stride));
        Ok(Self {
            lanes: checks,
            data: data.map_err(ReplayError::driver("allocating memory for data"))?,
            stride,
        })
    }

    /// Whether there is memory for one more command of this queue.
    pub(crate) fn has_slot(&self, lane: usize) -> bool {
        self.lanes
            .get(lane)
            .is_some_and(|lane| !lane.free.is_empty())
    }

    /// A command of `bytes` bytes is about to be submitted: its slot, and its
    /// data, where it has any.
    pub(crate) fn begin<P: Tap>(
        &mut self,
        lane: usize,
        pair: &QueuePair<P>,
        (sqe, bytes): (&Sqe, usize),
    ) -> Result<Option<(u16, DmaSlice<'_>)>, ReplayError> {
        let Some(io) = io_of(sqe) else {
            return Ok(None);
        };
        let Some(check) = self.lanes.get_mut(lane) else {
            return Ok(None);
        };
        let Some(number) = check.free.pop() else {
            return Ok(None);
        };
        let offset = (check.first + usize::from(number)) * self.stride;
        let pattern = usize::try_from(io.lba.0 % PATTERN_PAGES as u64).unwrap_or(0) * PAGE;
        let submitted = pair.cmdlog().submitted();
        let data = (&mut self.data, offset);
        let begun = check.verifier.begin((number, submitted), io, data, pattern);
        begun.map_err(ReplayError::driver(FAILED))?;
        if let Some(slot) = check.slots.get_mut(usize::from(number)) {
            slot.io = Some(io);
        }
        let data = self.data.slice(offset, bytes);
        Ok(Some((number, data.map_err(ReplayError::driver(FAILED))?)))
    }

    /// A Dataset Management command is about to be submitted: its slot.
    pub(crate) fn begin_ranges<P: Tap>(
        &mut self,
        lane: usize,
        pair: &QueuePair<P>,
        ranges: &[DsmRange],
    ) -> Option<u16> {
        let check = self.lanes.get_mut(lane)?;
        let number = check.free.pop()?;
        let slot = check.slots.get_mut(usize::from(number))?;
        check.verifier.begin_ranges(ranges);
        slot.io = None;
        slot.number = pair.cmdlog().submitted();
        slot.ranges.reserve(DSM_RANGES_MAX);
        slot.ranges.clear();
        slot.ranges.extend_from_slice(ranges);
        Some(number)
    }

    /// The command of this slot was not submitted after all.
    #[cold]
    pub(crate) fn take_back(&mut self, lane: usize, number: u16) {
        let Some(check) = self.lanes.get_mut(lane) else {
            return;
        };
        check.free.push(number);
        if let Some(slot) = check.slots.get_mut(usize::from(number)) {
            match slot.io {
                Some(io) => check.verifier.take_back(io),
                None => check.verifier.end_ranges(&slot.ranges, None),
            }
        }
    }

    /// The command of this slot is over. Returns whether its data is wrong.
    pub(crate) fn end(
        &mut self,
        lane: usize,
        number: u16,
        done: &Completed,
    ) -> Result<bool, ReplayError> {
        let Some(check) = self.lanes.get_mut(lane) else {
            return Ok(false);
        };
        check.free.push(number);
        let Some(slot) = check.slots.get_mut(usize::from(number)) else {
            return Ok(false);
        };
        let Some(io) = slot.io else {
            let done = Some((slot.number, done));
            check.verifier.end_ranges(&slot.ranges, done);
            return Ok(false);
        };
        let offset = (check.first + usize::from(number)) * self.stride;
        let verdict = check.verifier.end(number, io, done, (&self.data, offset));
        let verdict = verdict.map_err(ReplayError::driver(FAILED))?;
        Ok(verdict == Verdict::Wrong)
    }

    /// What came of it.
    pub(crate) fn report(&self) -> VerifiedReport {
        let mut report = VerifiedReport::default();
        for check in &self.lanes {
            let verified = &check.verifier.verified;
            report.right_blocks += verified.right;
            report.skipped_blocks += verified.skipped;
            report.wrong_blocks += verified.wrong;
            let mismatches = verified.mismatches.iter();
            report
                .mismatches
                .extend(mismatches.map(ToString::to_string));
        }
        report
    }
}

/// The command, as far as it touches data.
fn io_of(sqe: &Sqe) -> Option<Io> {
    let op = match NvmOpcode(sqe.opcode) {
        NvmOpcode::READ => Op::Read,
        NvmOpcode::WRITE => Op::Write,
        NvmOpcode::WRITE_ZEROES => Op::WriteZeroes,
        NvmOpcode::VERIFY => Op::Verify,
        _ => return None,
    };
    let blocks = nvme::ReadWriteCdw12::from_bits(sqe.cdw12.get()).nlb();
    Some(Io {
        op,
        lba: sqe.slba(),
        blocks: ZeroBased(blocks),
    })
}
