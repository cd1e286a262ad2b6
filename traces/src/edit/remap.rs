//! Commands moved: other addresses, blocks of another size, other namespaces
//! and queues.

use std::collections::BTreeMap;

use nvme::{DsmRange, Lba, NamespaceId, ReadWriteCdw12};

use super::{Edit, queues};
use crate::{CommandRecord, Header, Payload, Reader, Record, TraceError};

/// The most blocks of one command (`NVM Command Set 1.1 §3.3.4`).
const BLOCKS_MAX: u64 = 1 << 16;

/// Where addresses go.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Address {
    /// Where they were.
    #[default]
    Same,
    /// So many blocks further up.
    Up(u64),
    /// So many blocks further down; what would be below 0 starts at 0.
    Down(u64),
    /// Around the end of a device of so many blocks: a command that would
    /// reach beyond ends there.
    Wrap(u64),
    /// What is touched, moved together.
    Compact(Extents),
}

/// How commands are moved. The defaults change nothing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Remap {
    /// Where addresses go, in blocks of the trace.
    pub address: Address,
    /// Bytes a block of the trace that is written; none for as they are.
    /// Commands that do not start and end with a larger block are widened.
    pub block_bytes: Option<u32>,
    /// Namespaces by their identifiers, and what they become.
    pub namespaces: BTreeMap<u32, u32>,
    /// I/O queues by their numbers, and what they become.
    pub queues: BTreeMap<u16, u16>,
    /// How many I/O queues are left: numbers above start again from 1.
    pub fold_queues: Option<u16>,
    /// Bytes a block of each namespace of the trace that is read.
    pub from_block_bytes: BTreeMap<u32, u32>,
    /// Commands that were widened to whole blocks so far.
    pub widened: u64,
    /// Commands that were split, as they are longer than 65,536 blocks.
    pub split: u64,
    /// Commands whose payload was dropped, as it does not fit what they became:
    /// they were widened, or there are only hashes of blocks of another size.
    pub dropped: u64,
}

impl Remap {
    /// Nothing changed yet, of a trace with this header.
    #[must_use]
    pub fn of(header: &Header) -> Self {
        let namespaces = header.namespaces.iter();
        Self {
            from_block_bytes: namespaces.map(|it| (it.id, it.block_bytes)).collect(),
            ..Self::default()
        }
    }

    /// First block and number of blocks, moved.
    fn moved(&self, namespace: u32, lba: u64, blocks: u64) -> (u64, u64) {
        match &self.address {
            Address::Same => (lba, blocks),
            Address::Up(by) => (lba.saturating_add(*by), blocks),
            Address::Down(by) => (lba.saturating_sub(*by), blocks),
            Address::Wrap(size) => {
                let size = (*size).max(1);
                let blocks = blocks.min(size);
                ((lba % size).min(size - blocks), blocks)
            }
            Address::Compact(extents) => (extents.compact(namespace, lba), blocks),
        }
    }

    /// First block and number of blocks, in blocks of the other size; and
    /// whether that is wider.
    fn resized(&self, namespace: u32, (lba, blocks): (u64, u64)) -> (u64, u64, bool) {
        let from = u64::from(*self.from_block_bytes.get(&namespace).unwrap_or(&512)).max(1);
        let to = self.block_bytes.map_or(from, u64::from).max(1);
        if from == to || blocks == 0 {
            return (lba, blocks, false);
        }
        let bytes = |blocks: u64| u128::from(blocks) * u128::from(from);
        let (start, end) = (bytes(lba), bytes(lba) + bytes(blocks));
        let to = u128::from(to);
        let (first, last) = (start / to, end.div_ceil(to));
        let wider = start % to != 0 || end % to != 0;
        let narrow = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        (narrow(first), narrow(last - first), wider)
    }

    fn command(
        &mut self,
        mut command: CommandRecord,
        ranges: Vec<DsmRange>,
        payload: Option<Box<Payload>>,
        out: &mut Vec<Record>,
    ) {
        let namespace = command.nsid.0;
        self.renumber(&mut command);
        let Some(slba) = command.slba() else {
            let ranges = self.ranges(namespace, &ranges);
            out.push(Record::Command {
                command,
                ranges,
                payload: None,
            });
            return;
        };
        let blocks = u64::from(command.data_blocks());
        if blocks == 0 {
            // A zone, or what a Copy writes to: how long is not known.
            let (lba, _) = self.moved(namespace, slba.0, 1);
            let (lba, ..) = self.resized(namespace, (lba, 1));
            command.move_to(Lba(lba), None);
            let ranges = self.ranges(namespace, &ranges);
            out.push(Record::Command {
                command,
                ranges,
                payload: None,
            });
            return;
        }
        let (zone, (lba, blocks, wider)) = match command.within_zone() {
            Some(within) => {
                let (zone, _) = self.moved(namespace, slba.0, 1);
                let (zone, ..) = self.resized(namespace, (zone, 1));
                (Some(zone), self.resized(namespace, (within, blocks)))
            }
            None => {
                let moved = self.moved(namespace, slba.0, blocks);
                (None, self.resized(namespace, moved))
            }
        };
        self.widened += u64::from(wider);
        self.split += u64::from(blocks > BLOCKS_MAX);
        let block_bytes = self.block_bytes;
        let had_payload = payload.is_some();
        let fitting = payload.and_then(|it| match block_bytes {
            Some(block_bytes) => it.resized(block_bytes),
            None => Some(*it),
        });
        let fitting = fitting.filter(|it| !wider && it.blocks() == blocks);
        self.dropped += u64::from(had_payload && fitting.is_none());
        Self::parts((command, fitting.as_ref()), zone, (lba, blocks), out);
    }

    /// Hands on `command` with these blocks, in as many parts as it takes. In a
    /// `zone`, all parts name its start, and the blocks count from there.
    fn parts(
        (command, payload): (CommandRecord, Option<&Payload>),
        zone: Option<u64>,
        (mut lba, mut blocks): (u64, u64),
        out: &mut Vec<Record>,
    ) {
        let mut done = 0;
        while blocks > 0 {
            let part = blocks.min(BLOCKS_MAX);
            let of_part = payload.and_then(|it| it.part(done..done + part));
            done += part;
            let mut command = command;
            match zone {
                Some(zone) => command.move_to(Lba(zone), Some(lba)),
                None => command.set_lba(Lba(lba)),
            }
            // Where a Zone Append has its length too.
            let cdw12 = ReadWriteCdw12::from_bits(command.cdw10_15[2])
                // At most 65,535.
                .with_nlb(u16::try_from(part - 1).unwrap_or(u16::MAX));
            command.cdw10_15[2] = cdw12.into_bits();
            out.push(Record::Command {
                command,
                ranges: Vec::new(),
                payload: of_part.map(Box::new),
            });
            lba = lba.saturating_add(part);
            blocks -= part;
        }
    }

    fn ranges(&mut self, namespace: u32, ranges: &[DsmRange]) -> Vec<DsmRange> {
        let moved = ranges.iter().map(|range| {
            let moved = self.moved(namespace, range.lba().0, range.blocks.get().into());
            let (lba, blocks, wider) = self.resized(namespace, moved);
            let mut range = *range;
            range.slba.set(lba);
            range.blocks.set(u32::try_from(blocks).unwrap_or(u32::MAX));
            (range, wider)
        });
        let (ranges, wider): (Vec<_>, Vec<bool>) = moved.unzip();
        self.widened += u64::from(wider.contains(&true));
        ranges
    }

    fn renumber(&self, command: &mut CommandRecord) {
        if let Some(id) = self.namespaces.get(&command.nsid.0) {
            command.nsid = NamespaceId(*id);
        }
        queues::renumber(command, |queue| {
            let queue = self.queues.get(&queue).copied().unwrap_or(queue);
            match self.fold_queues.filter(|count| *count > 0) {
                Some(count) => queue.saturating_sub(1) % count + 1,
                None => queue,
            }
        });
    }
}

impl Edit for Remap {
    fn header(&self, header: &mut Header) {
        for namespace in &mut header.namespaces {
            let id = namespace.id;
            namespace.blocks = match &self.address {
                Address::Same | Address::Down(_) => namespace.blocks,
                Address::Up(by) => namespace.blocks.saturating_add(*by),
                Address::Wrap(size) => *size,
                Address::Compact(extents) => extents.blocks(id),
            };
            let whole = (0, namespace.blocks);
            let (_, blocks, _) = self.resized(id, whole);
            namespace.blocks = blocks;
            if let Some(bytes) = self.block_bytes {
                namespace.block_bytes = bytes;
            }
            if let Some(other) = self.namespaces.get(&id) {
                namespace.id = *other;
            }
        }
        header.namespaces.sort_by_key(|namespace| namespace.id);
        if let Some(count) = self.fold_queues {
            header.io_queues = header.io_queues.min(count.into());
        }
    }

    fn edit(&mut self, record: Record, out: &mut Vec<Record>) {
        match record {
            Record::Command {
                command,
                ranges,
                payload,
            } => self.command(command, ranges, payload, out),
            other => out.push(other),
        }
    }
}

/// Which parts of each namespace a trace touches, in granules of some blocks.
#[derive(Clone, Debug, Default)]
pub struct Extents {
    namespaces: BTreeMap<u32, Granules>,
}

#[derive(Clone, Debug)]
struct Granules {
    /// Blocks a granule are 1 << shift.
    shift: u32,
    /// Runs of touched granules: the first, and one past the last.
    runs: BTreeMap<u64, u64>,
    /// After the scan: the first of each run, and the granules before it.
    before: BTreeMap<u64, u64>,
    total: u64,
}

impl Granules {
    /// The most runs that are kept apart; beyond, granules grow.
    const RUNS_MAX: usize = 1 << 18;
    /// Granules start with 2^11 blocks, 1 MiB of 512 bytes each.
    const SHIFT: u32 = 11;

    fn new() -> Self {
        Self {
            shift: Self::SHIFT,
            runs: BTreeMap::new(),
            before: BTreeMap::new(),
            total: 0,
        }
    }

    fn touch(&mut self, lba: u64, blocks: u64) {
        if blocks == 0 {
            return;
        }
        let first = lba >> self.shift;
        let last = lba.saturating_add(blocks - 1) >> self.shift;
        self.add(first, last.saturating_add(1));
        while self.runs.len() > Self::RUNS_MAX {
            self.coarsen();
        }
    }

    /// Adds the run from `first` up to `end`, joined with those that it meets.
    fn add(&mut self, mut first: u64, mut end: u64) {
        if let Some((&at, &until)) = self.runs.range(..=first).next_back()
            && until >= first
        {
            if until >= end {
                return;
            }
            first = at;
        }
        while let Some((&at, &until)) = self.runs.range(first..=end).next() {
            end = end.max(until);
            self.runs.remove(&at);
        }
        self.runs.insert(first, end);
    }

    fn coarsen(&mut self) {
        self.shift += 1;
        for (first, end) in std::mem::take(&mut self.runs) {
            self.add(first >> 1, end.div_ceil(2));
        }
    }

    fn count(&mut self) {
        self.total = 0;
        for (first, end) in &self.runs {
            self.before.insert(*first, self.total);
            self.total += end - first;
        }
    }

    fn compact(&self, lba: u64) -> u64 {
        let granule = lba >> self.shift;
        let run = self.before.range(..=granule).next_back();
        let (first, before) = run.map_or((granule, 0), |(first, before)| (*first, *before));
        let within = lba & ((1 << self.shift) - 1);
        (before + (granule - first)) << self.shift | within
    }
}

impl Extents {
    /// Reads all of `reader` for what it touches, in bounded memory: where it
    /// is more than a quarter of a million pieces, neighbours count as one.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn scan(reader: &Reader, mut progress: impl FnMut(u64)) -> Result<Self, TraceError> {
        let mut extents = Self::default();
        let mut read = 0;
        let blocks = reader.index().iter().enumerate();
        for (index, _) in blocks.filter(|(_, info)| !info.is_payload()) {
            let block = reader.block(index)?;
            for (index, command) in block.commands().iter().enumerate() {
                let mut touch = |lba: Lba, blocks: u64| {
                    extents
                        .namespaces
                        .entry(command.nsid.0)
                        .or_insert_with(Granules::new)
                        .touch(lba.0, blocks);
                };
                // A Zone Append moves with the start of its zone.
                if let Some(zone) = command.slba() {
                    touch(zone, 1);
                }
                for (lba, blocks) in command.touched(block.ranges(index)).extents() {
                    touch(lba, blocks);
                }
            }
            // Widens.
            read += block.commands().len() as u64;
            progress(read);
        }
        for granules in extents.namespaces.values_mut() {
            granules.count();
        }
        Ok(extents)
    }

    /// Blocks of `namespace` that are touched, in whole granules: the size of
    /// a device that has room for them.
    #[must_use]
    pub fn blocks(&self, namespace: u32) -> u64 {
        let granules = self.namespaces.get(&namespace);
        granules.map_or(0, |granules| granules.total << granules.shift)
    }

    fn compact(&self, namespace: u32, lba: u64) -> u64 {
        let granules = self.namespaces.get(&namespace);
        granules.map_or(lba, |granules| granules.compact(lba))
    }
}
