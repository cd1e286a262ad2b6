//! From a recorded command to the commands that replay it.

use std::collections::BTreeMap;

use driver::ControllerInfo;
use nvme::{
    DSM_RANGES_MAX, DsmAttributes, DsmRange, IdentifyController, Lba, NamespaceId, NvmOpcode,
    ReadWriteCdw12, Sqe, Status,
};
use serde::Serialize;
use traces::{CommandRecord, Payload};

use crate::mapping::{AddressMap, Extent, Misplaced};

/// Why a recorded command is not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkipReason {
    /// Admin commands belong to the driver of the recorded device.
    Admin,
    /// What it does to data, or what data it carries, is not in the trace.
    NotReplayable,
    /// The target does not have the command.
    NotOnTarget,
    /// What it deallocates has no whole block of the target.
    Unaligned,
    /// It reaches beyond the end of the target.
    BeyondEnd,
    /// It names a namespace that neither trace nor target describes.
    NoNamespace,
    /// A Dataset Management command without ranges.
    NoRanges,
    /// Of a queue that was not in the trace when its facts were taken.
    NoQueue,
}

impl SkipReason {
    /// The reason as a clause.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Admin => "admin commands are not replayed",
            Self::NotReplayable => "its data is not in the trace",
            Self::NotOnTarget => "the device does not have the command",
            Self::Unaligned => "not a whole block of the device",
            Self::BeyondEnd => "beyond the end of the device",
            Self::NoNamespace => "of a namespace that the trace does not describe",
            Self::NoRanges => "without ranges",
            Self::NoQueue => "of a queue that the facts of the trace do not name",
        }
    }
}

impl From<Misplaced> for SkipReason {
    fn from(misplaced: Misplaced) -> Self {
        match misplaced {
            Misplaced::BeyondEnd => Self::BeyondEnd,
        }
    }
}

/// Turns recorded commands into [`Plan`]s for one target.
#[derive(Clone, Debug)]
pub(crate) struct Planner {
    /// By recorded namespace.
    namespaces: BTreeMap<NamespaceId, AddressMap>,
    oncs: u16,
    transfer_bytes_max: u64,
}

/// One recorded command as one or more commands for the target.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The recorded opcode.
    pub(crate) opcode: u8,
    /// The recorded address, for messages.
    pub(crate) lba: Option<Lba>,
    /// How long it took when it was recorded.
    pub(crate) recorded_latency_ns: Option<u64>,
    /// How it ended when it was recorded.
    pub(crate) recorded_status: Option<Status>,
    /// Whether it covers more than was recorded, as the target's blocks are
    /// larger.
    pub(crate) is_widened: bool,
    /// Every command of the plan, but for address and length.
    sqe: Sqe,
    data: Data,
    work: Work,
    block_bytes: u64,
    piece_blocks_max: u64,
    /// What it wrote, where that is to be written again.
    payload: Option<Box<Payload>>,
    /// Bytes of its pieces that are out.
    sent_bytes: usize,
}

/// What moves between host and device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    None,
    Read,
    Write,
}

#[derive(Clone, Debug)]
enum Work {
    Done,
    /// A command without an address.
    Plain,
    Blocks {
        now: Extent,
        then: Option<Extent>,
    },
    Ranges {
        ranges: Vec<DsmRange>,
        sent: usize,
    },
}

/// A command to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'p> {
    /// The entry as it is.
    Bare(Sqe),
    /// With `bytes` bytes of data, from or to the host.
    Moving {
        sqe: Sqe,
        data: Data,
        bytes: usize,
        /// What it wrote, and where in it the piece starts, bytes.
        payload: Option<(&'p Payload, usize)>,
    },
    /// With these ranges as its data.
    Ranges { sqe: Sqe, ranges: &'p [DsmRange] },
}

/// CDW13 07:00 of Read and Write: hints on how the data is used
/// (`NVM Command Set 1.1 §3.3.4`).
const HINTS: u32 = 0xff;
/// A block of the target, should its size not fit this machine's numbers.
const PAGE_BYTES: usize = 4096;
/// NLB has 16 bits.
const BLOCKS_MAX: u64 = 1 << 16;

impl Planner {
    pub(crate) fn new(
        namespaces: BTreeMap<NamespaceId, AddressMap>,
        info: &ControllerInfo,
        transfer_bytes_max: usize,
    ) -> Self {
        Self {
            namespaces,
            oncs: info.oncs,
            // Widens.
            transfer_bytes_max: transfer_bytes_max as u64,
        }
    }

    /// How to replay `command`, whose Dataset Management ranges are `ranges`.
    pub(crate) fn plan(
        &self,
        command: &CommandRecord,
        ranges: &[DsmRange],
    ) -> Result<Plan, SkipReason> {
        let opcode = command.nvm_opcode().ok_or(SkipReason::Admin)?;
        let (send, data) = self.counterpart(opcode)?;
        let map = self.address_map(command.nsid)?;
        let mut sqe = Sqe::new(send.0, map.nsid());
        let mut is_widened = false;
        let work = match opcode {
            NvmOpcode::FLUSH => Work::Plain,
            NvmOpcode::DATASET_MANAGEMENT => {
                sqe.cdw11.set(attributes(command));
                Work::Ranges {
                    ranges: map_ranges(map, ranges)?,
                    sent: 0,
                }
            }
            _ => {
                let (lba, blocks) = command.lba_range().ok_or(SkipReason::NotReplayable)?;
                let extents = map.place(lba, u64::from(blocks))?;
                is_widened = !map.is_whole(lba, u64::from(blocks));
                sqe.cdw12.set(flags(command, send));
                if data != Data::None {
                    let [_, _, _, cdw13, ..] = command.cdw10_15;
                    sqe.cdw13.set(cdw13 & HINTS);
                }
                Work::Blocks {
                    now: extents.first,
                    then: extents.second,
                }
            }
        };
        let block_bytes = map.target_block();
        let piece_blocks_max = match data {
            Data::None => BLOCKS_MAX,
            _ => (self.transfer_bytes_max / block_bytes).clamp(1, BLOCKS_MAX),
        };
        Ok(Plan {
            opcode: command.opcode,
            lba: command.lba_range().map(|(lba, _)| lba),
            recorded_latency_ns: command.latency_ns(),
            recorded_status: command.completion.map(|completion| completion.status),
            is_widened,
            sqe,
            data,
            work,
            block_bytes,
            piece_blocks_max,
            payload: None,
            sent_bytes: 0,
        })
    }

    /// The opcode to send for a recorded one, and which way its data moves.
    fn counterpart(&self, opcode: NvmOpcode) -> Result<(NvmOpcode, Data), SkipReason> {
        let (send, data, needs) = match opcode {
            NvmOpcode::FLUSH => (opcode, Data::None, 0),
            NvmOpcode::WRITE => (opcode, Data::Write, 0),
            // What it was compared with is not in the trace: a Read moves as
            // much data and touches the same blocks.
            NvmOpcode::READ | NvmOpcode::COMPARE => (NvmOpcode::READ, Data::Read, 0),
            NvmOpcode::WRITE_ZEROES => (opcode, Data::None, IdentifyController::ONCS_WRITE_ZEROES),
            NvmOpcode::VERIFY => (opcode, Data::None, IdentifyController::ONCS_VERIFY),
            NvmOpcode::DATASET_MANAGEMENT => (opcode, Data::None, IdentifyController::ONCS_DSM),
            _ => return Err(SkipReason::NotReplayable),
        };
        if self.oncs & needs == needs {
            Ok((send, data))
        } else {
            Err(SkipReason::NotOnTarget)
        }
    }

    /// The map of `nsid`; that of the first namespace for "all".
    fn address_map(&self, nsid: NamespaceId) -> Result<&AddressMap, SkipReason> {
        let map = if nsid == nvme::NSID_ALL {
            self.namespaces.values().next()
        } else {
            self.namespaces.get(&nsid)
        };
        map.ok_or(SkipReason::NoNamespace)
    }
}

/// CDW11 of a Dataset Management command, without reserved bits.
fn attributes(command: &CommandRecord) -> u32 {
    let [_, cdw11, ..] = command.cdw10_15;
    let recorded = DsmAttributes::from_bits(cdw11);
    DsmAttributes::new()
        .with_idr(recorded.idr())
        .with_idw(recorded.idw())
        .with_ad(recorded.ad())
        .into_bits()
}

/// CDW12 of a command that is sent as `send`, but for its length. Protection
/// information and directives stay behind: the target is not set up for them.
fn flags(command: &CommandRecord, send: NvmOpcode) -> u32 {
    let [_, _, cdw12, ..] = command.cdw10_15;
    let recorded = ReadWriteCdw12::from_bits(cdw12);
    ReadWriteCdw12::new()
        .with_fua(recorded.fua())
        .with_limited_retry(recorded.limited_retry())
        .with_deac(recorded.deac() && send == NvmOpcode::WRITE_ZEROES)
        .into_bits()
}

fn map_ranges(map: &AddressMap, ranges: &[DsmRange]) -> Result<Vec<DsmRange>, SkipReason> {
    if ranges.is_empty() {
        return Err(SkipReason::NoRanges);
    }
    let mut mapped = Vec::with_capacity(ranges.len());
    for range in ranges {
        let Some(extents) = map.place_inside(range.lba(), u64::from(range.blocks.get()))? else {
            continue;
        };
        for extent in std::iter::once(extents.first).chain(extents.second) {
            push_extent(&mut mapped, range, extent);
        }
    }
    if mapped.is_empty() {
        return Err(SkipReason::Unaligned);
    }
    Ok(mapped)
}

/// Pushes `extent` with the attributes of `range`, in parts where its length
/// does not fit the field.
fn push_extent(ranges: &mut Vec<DsmRange>, range: &DsmRange, extent: Extent) {
    let Extent { mut lba, blocks } = extent;
    let mut left = blocks;
    loop {
        let part = u32::try_from(left).unwrap_or(u32::MAX);
        ranges.push(DsmRange {
            context: range.context,
            ..DsmRange::new(lba, part)
        });
        lba.0 = lba.0.saturating_add(u64::from(part));
        left -= u64::from(part);
        if left == 0 {
            return;
        }
    }
}

impl Plan {
    /// Has it write `payload`, if that is what it covers, and no more. Returns
    /// whether it does.
    pub(crate) fn pay(&mut self, payload: Option<Box<Payload>>) -> bool {
        self.payload = payload.filter(|payload| {
            let bytes = payload.blocks() * u64::from(payload.block_bytes());
            self.data == Data::Write && !self.is_widened && bytes == self.bytes()
        });
        self.payload.is_some()
    }

    /// Whether it moves data to the device.
    pub(crate) fn writes(&self) -> bool {
        self.data == Data::Write
    }

    /// Whether it writes what was recorded.
    pub(crate) const fn is_paid(&self) -> bool {
        self.payload.is_some()
    }

    /// Bytes of a block of the target.
    pub(crate) fn block_bytes(&self) -> usize {
        usize::try_from(self.block_bytes).unwrap_or(PAGE_BYTES)
    }

    /// How many pieces are left.
    pub(crate) fn pieces(&self) -> u64 {
        let of = |extent: Extent| extent.blocks.div_ceil(self.piece_blocks_max);
        match &self.work {
            Work::Done => 0,
            Work::Plain => 1,
            Work::Blocks { now, then } => of(*now) + then.map_or(0, of),
            // Widens.
            Work::Ranges { ranges, sent } => (ranges.len() - sent).div_ceil(DSM_RANGES_MAX) as u64,
        }
    }

    /// How many bytes of the target its pieces cover.
    pub(crate) fn bytes(&self) -> u64 {
        let blocks = match &self.work {
            Work::Done | Work::Plain => 0,
            Work::Blocks { now, then } => now.blocks + then.map_or(0, |then| then.blocks),
            Work::Ranges { ranges, .. } => ranges
                .iter()
                .map(|range| u64::from(range.blocks.get()))
                .sum(),
        };
        blocks.saturating_mul(self.block_bytes)
    }

    /// Whether its pieces need memory for ranges.
    pub(crate) const fn has_ranges(&self) -> bool {
        matches!(self.work, Work::Ranges { .. })
    }

    /// The next piece; none where all are out.
    pub(crate) fn next_piece(&mut self) -> Option<Piece<'_>> {
        let mut sqe = self.sqe;
        if matches!(self.work, Work::Plain) {
            self.work = Work::Done;
            return Some(Piece::Bare(sqe));
        }
        match &mut self.work {
            Work::Done | Work::Plain => None,
            Work::Blocks { now, then } => {
                if now.blocks == 0 {
                    *now = then.take().filter(|then| then.blocks > 0)?;
                }
                let blocks = now.blocks.min(self.piece_blocks_max);
                sqe.set_slba(now.lba);
                now.lba.0 += blocks;
                now.blocks -= blocks;
                // At most 65,536 blocks, so that neither conversion fails.
                let nlb = u16::try_from(blocks.saturating_sub(1)).unwrap_or(u16::MAX);
                let cdw12 = ReadWriteCdw12::from_bits(sqe.cdw12.get()).with_nlb(nlb);
                sqe.cdw12.set(cdw12.into_bits());
                if self.data == Data::None {
                    return Some(Piece::Bare(sqe));
                }
                let bytes = usize::try_from(blocks * self.block_bytes).unwrap_or(usize::MAX);
                let offset = self.sent_bytes;
                self.sent_bytes = offset.saturating_add(bytes);
                Some(Piece::Moving {
                    sqe,
                    data: self.data,
                    bytes,
                    payload: self.payload.as_deref().map(|payload| (payload, offset)),
                })
            }
            Work::Ranges { ranges, sent } => {
                let left = ranges.get(*sent..)?;
                let ranges = left.get(..DSM_RANGES_MAX).unwrap_or(left);
                let last = u8::try_from(ranges.len().checked_sub(1)?).unwrap_or(u8::MAX);
                *sent += ranges.len();
                sqe.cdw10.set(u32::from(last));
                Some(Piece::Ranges { sqe, ranges })
            }
        }
    }
}

#[cfg(test)]
mod tests;
