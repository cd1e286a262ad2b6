//! Blocks that may not be read again: Get LBA Status, its log page and its
//! event (`NVM Command Set 1.1 §4.2.1`, `§4.1.4.5`).
//!
//! The blocks are those that Write Uncorrectable marked, until they are written.
//! The controller keeps track of all of them, so that a scan finds no others.

use nvme::{
    AsyncEvent, GetLbaStatusCdw13, LbaStatusDescriptor, LbaStatusElement, LbaStatusHeader,
    LbaStatusInterval, LbaStatusLog, LbaStatusRange, Sqe, Status,
};
use traces::{Clock, Tap};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::Answer;
use crate::command::data_pointer;
use crate::device::Device;
use crate::memory::Access;
use crate::namespace::Namespace;

/// The most ranges of a namespace that the log page names; of one that has more,
/// it says that all of it should be examined.
const RANGES_MAX: usize = 1024;
/// How many ranges "examine all" is.
const EXAMINE_ALL: u32 = u32::MAX;
/// The unit of the intervals of the feature.
const UNIT_NS: u64 = 100_000_000;

/// What the host has to be told of blocks that were lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LbaStatus {
    /// Goes up whenever blocks were lost.
    generation: u16,
    /// Blocks were lost since the last alert.
    pending: bool,
    /// When the last alert was.
    alerted_ns: Option<u64>,
}

impl LbaStatus {
    /// Blocks of a namespace cannot be read any more.
    pub(crate) const fn lost(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.pending = true;
    }

    /// When the next alert is due; none where nothing was lost since the last.
    pub(crate) fn deadline_ns(&self, interval: LbaStatusInterval) -> Option<u64> {
        let interval_ns = u64::from(interval.lsiri()).saturating_mul(UNIT_NS);
        self.pending.then(|| {
            self.alerted_ns
                .map_or(0, |at_ns| at_ns.saturating_add(interval_ns))
        })
    }

    /// A controller level reset.
    pub(crate) const fn reset(&mut self) {
        self.pending = false;
        self.alerted_ns = None;
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// When the host is to be told of lost blocks; none where it is not.
    pub(crate) fn lost_blocks_deadline_ns(&self) -> Option<u64> {
        let due = self.lba_status.deadline_ns(self.features.lba_status())?;
        self.features.wanted_events().lba_status().then_some(due)
    }

    /// Tells the host of lost blocks, no more often than it wants.
    pub(crate) fn alert_of_lost_blocks(&mut self, now_ns: u64) {
        if self
            .lost_blocks_deadline_ns()
            .is_some_and(|due_ns| now_ns >= due_ns)
        {
            self.lba_status.pending = false;
            self.lba_status.alerted_ns = Some(now_ns);
            self.events.raise(AsyncEvent::LBA_STATUS_ALERT);
        }
    }

    /// Get LBA Status (`NVM Command Set 1.1 §4.2.1`).
    pub(super) fn get_lba_status(&mut self, sqe: &Sqe) -> Answer {
        let data = data_pointer(sqe)?;
        let cdw13 = GetLbaStatusCdw13::from_bits(sqe.cdw13.get());
        // Which blocks are allocated only the medium knows.
        if !matches!(
            cdw13.atype(),
            GetLbaStatusCdw13::SCAN_UNTRACKED | GetLbaStatusCdw13::TRACKED
        ) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let namespace = self
            .namespaces
            .active(sqe.nsid())
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        if namespace.formatting.is_some() {
            return Err(Status::FORMAT_IN_PROGRESS);
        }
        let first = sqe.slba().0;
        if first >= namespace.blocks {
            return Err(Status::LBA_OUT_OF_RANGE.dnr());
        }
        let blocks = match cdw13.rl() {
            0 => namespace.blocks.saturating_sub(first),
            blocks => blocks.into(),
        };
        namespace.extent(first, blocks)?;
        // The number of dwords is zero-based.
        let room = u64::from(sqe.cdw12.get())
            .saturating_add(1)
            .saturating_mul(4)
            .min(self.namespaces.transfer_bytes_max());
        let mut list = descriptors(namespace, first, first.saturating_add(blocks), room);
        list.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        let bytes = u64::try_from(list.len()).unwrap_or(0);
        data.walk(&self.memory, bytes, Access::Write, &mut self.segments)?
            .write(&list);
        Ok(0)
    }

    /// The LBA Status Information page (`NVM Command Set 1.1 §4.1.4.5`).
    pub(super) fn lba_status_log(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let (mut elements, mut estimate) = (0_u32, 0_u64);
        for namespace in self.namespaces.iter() {
            let active = self.namespaces.is_active(namespace);
            if !active || namespace.uncorrectable.is_empty() {
                continue;
            }
            elements = elements.saturating_add(1);
            append_element(&mut body, &mut estimate, namespace);
        }
        let bytes = body.len().saturating_add(size_of::<LbaStatusLog>());
        let head = LbaStatusLog {
            bytes: U32::new(u32::try_from(bytes).unwrap_or(u32::MAX)),
            elements: U32::new(elements),
            estimate: U32::new(u32::try_from(estimate).unwrap_or(u32::MAX)),
            generation: U16::new(self.lba_status.generation),
            ..LbaStatusLog::default()
        };
        [head.as_bytes(), &body].concat()
    }
}

/// Appends what the log page says of a namespace, and counts its blocks.
fn append_element(body: &mut Vec<u8>, estimate: &mut u64, namespace: &Namespace) {
    let mut ranges = Vec::new();
    for range in namespace.uncorrectable.iter().take(RANGES_MAX + 1) {
        let blocks = range.end.saturating_sub(range.start);
        *estimate = estimate.saturating_add(blocks);
        // What is longer than a range can be is another one.
        let (mut at, mut left) = (range.start, blocks);
        while left > 0 && ranges.len() <= RANGES_MAX {
            let count = u32::try_from(left).unwrap_or(u32::MAX);
            ranges.push(LbaStatusRange {
                slba: U64::new(at),
                blocks: U32::new(count),
                ..LbaStatusRange::default()
            });
            at = at.saturating_add(count.into());
            left = left.saturating_sub(count.into());
        }
    }
    let whole = ranges.len() > RANGES_MAX;
    if whole {
        ranges.clear();
    }
    let count = u32::try_from(ranges.len()).unwrap_or(EXAMINE_ALL);
    let element = LbaStatusElement {
        namespace_id: U32::new(namespace.nsid.0),
        ranges: U32::new(if whole { EXAMINE_ALL } else { count }),
        action: GetLbaStatusCdw13::TRACKED,
        ..LbaStatusElement::default()
    };
    body.extend_from_slice(element.as_bytes());
    body.extend_from_slice(ranges.as_bytes());
}

/// The descriptors of the blocks from `first` to `end`, with their head, as far
/// as there is `room` for them, bytes.
fn descriptors(namespace: &Namespace, first: u64, end: u64, room: u64) -> Vec<u8> {
    const CUT: u8 = 1;
    const COMPLETE: u8 = 2;
    let head_bytes = size_of::<LbaStatusHeader>();
    let most = usize::try_from(room)
        .unwrap_or(usize::MAX)
        .saturating_sub(head_bytes)
        / size_of::<LbaStatusDescriptor>();
    let mut list = Vec::new();
    let mut condition = COMPLETE;
    'ranges: for range in namespace.uncorrectable.overlapping(&(first..end)) {
        let (mut at, range_end) = (range.start.max(first), range.end.min(end));
        while at < range_end {
            if list.len() >= most {
                condition = CUT;
                break 'ranges;
            }
            let count = u32::try_from(range_end.saturating_sub(at)).unwrap_or(u32::MAX);
            list.push(LbaStatusDescriptor {
                slba: U64::new(at),
                blocks: U32::new(count),
                ..LbaStatusDescriptor::default()
            });
            at = at.saturating_add(count.into());
        }
    }
    let head = LbaStatusHeader {
        descriptors: U32::new(u32::try_from(list.len()).unwrap_or(u32::MAX)),
        condition,
        ..LbaStatusHeader::default()
    };
    [head.as_bytes(), list.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
