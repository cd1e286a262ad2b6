//! What kind of work a trace is: how local, how bursty, how deep.
//!
//! One pass in submission order, in constant memory. What would take memory for
//! each block that is touched (reuse, working set, overlap) is told from a
//! sample of pages, chosen by a hash of their address (SHARDS: Waldspurger et
//! al., FAST 2015), whose rate is told beside it.

mod arrival;
mod content;
mod reuse;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

pub use arrival::{Arrival, Burst, Depth, Idle};
pub use content::Content;
pub(crate) use content::Gatherer as ContentGatherer;
pub use reuse::{Overlap, Reuse};
pub use streams::Sequentiality;

use crate::{CommandRecord, Reader, Record, Records, TraceError};
use nvme::{DsmRange, NvmOpcode};

/// What kind of work a trace is. Bytes are of data; times nanoseconds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// I/O commands.
    pub commands: u64,
    /// From the first submission to the last.
    pub span_ns: u64,
    /// Reads, writes and all others, with their bytes, by opcode name.
    pub mix: BTreeMap<String, Volume>,
    /// How many reads and writes there are of each length in bytes.
    pub sizes: BTreeMap<u64, u64>,
    /// How many reads and writes go on where another ended.
    pub sequentiality: Sequentiality,
    /// How soon data are touched again; none where nothing is touched.
    pub reuse: Option<Reuse>,
    /// When commands come.
    pub arrival: Arrival,
    /// What wears a drive.
    pub wear: Wear,
    /// What is written; none where the trace does not tell.
    pub content: Option<Content>,
    /// By queue.
    pub queues: BTreeMap<u16, Volume>,
    /// By namespace.
    pub namespaces: BTreeMap<u32, Volume>,
}

/// Commands and their data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Volume {
    /// Commands.
    pub commands: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// What a drive that writes in pages of 4 KiB and erases in large blocks pays
/// for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Wear {
    /// Writes.
    pub writes: u64,
    /// Of these, shorter than 4 KiB.
    pub below_page: u64,
    /// Of these, not starting or not ending with a page of 4 KiB.
    pub unaligned: u64,
    /// Of these, of up to 16 KiB, and not where another write ended.
    pub small_random: u64,
    /// Of these, with force unit access.
    pub fua: u64,
    /// Flushes.
    pub flushes: u64,
    /// Bytes deallocated.
    pub discarded_bytes: u64,
}

/// Bytes a page.
const PAGE_BYTES: u64 = 4096;
/// Different lengths that are told apart.
const SIZES_MAX: usize = 4096;

impl Stats {
    /// Reads all of `reader`. `progress` is told how many records were read,
    /// now and then and at the end.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn of(reader: &Reader, mut progress: impl FnMut(u64)) -> Result<Self, TraceError> {
        let mut gatherer = Gatherer::new();
        reader.with_records(|records| gatherer.add_all(reader, records, &mut progress))?;
        Ok(gatherer.finish())
    }
}

#[derive(Debug)]
struct Gatherer {
    mix: BTreeMap<u8, Volume>,
    sizes: BTreeMap<u64, u64>,
    queues: BTreeMap<u16, Volume>,
    namespaces: BTreeMap<u32, Volume>,
    wear: Wear,
    streams: streams::Streams,
    reuse: reuse::Sampler,
    arrival: arrival::Gatherer,
    content: content::Gatherer,
}

impl Gatherer {
    fn new() -> Self {
        Self {
            mix: BTreeMap::new(),
            sizes: BTreeMap::new(),
            queues: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            wear: Wear::default(),
            streams: streams::Streams::default(),
            reuse: reuse::Sampler::new(),
            arrival: arrival::Gatherer::default(),
            content: content::Gatherer::default(),
        }
    }

    fn add_all(
        &mut self,
        reader: &Reader,
        records: Records<'_>,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), TraceError> {
        let mut read = 0_u64;
        for record in records.with_payload() {
            if let Record::Command {
                command,
                ranges,
                payload,
            } = record?
                && !command.is_admin()
            {
                let block = u64::from(reader.header().block_bytes(command.nsid));
                self.add(&command, &ranges, block);
                self.content.add(&command, payload.as_deref());
            }
            read += 1;
            if read.is_multiple_of(1 << 14) {
                progress(read);
            }
        }
        progress(read);
        Ok(())
    }

    fn add(&mut self, command: &CommandRecord, ranges: &[DsmRange], block_bytes: u64) {
        let opcode = NvmOpcode(command.opcode);
        let bytes = u64::from(command.data_blocks()) * block_bytes;
        let reads = opcode == NvmOpcode::READ;
        let writes = opcode == NvmOpcode::WRITE || opcode == NvmOpcode::ZONE_APPEND;
        let volume = Volume {
            commands: 1,
            read_bytes: if reads { bytes } else { 0 },
            written_bytes: if writes { bytes } else { 0 },
        };
        self.mix.entry(command.opcode).or_default().add(volume);
        self.queues.entry(command.queue.0).or_default().add(volume);
        self.namespaces
            .entry(command.nsid.0)
            .or_default()
            .add(volume);
        self.arrival.add(command);
        self.wear.flushes += u64::from(opcode == NvmOpcode::FLUSH);
        let touched = command.touched(ranges);
        if opcode == NvmOpcode::DATASET_MANAGEMENT {
            let blocks = touched.extents().map(|(_, blocks)| blocks).sum::<u64>();
            let discarded = &mut self.wear.discarded_bytes;
            *discarded = discarded.saturating_add(blocks.saturating_mul(block_bytes));
        }
        let Some((lba, _)) = touched.extents().next().filter(|_| reads || writes) else {
            return;
        };
        if self.sizes.len() < SIZES_MAX || self.sizes.contains_key(&bytes) {
            *self.sizes.entry(bytes).or_default() += 1;
        }
        let start = lba.0.saturating_mul(block_bytes);
        let end = start.saturating_add(bytes);
        let follows = self.streams.add((command.nsid.0, writes), start, end);
        self.reuse.add(command.nsid.0, start, end, writes);
        if writes {
            let wear = &mut self.wear;
            wear.writes += 1;
            wear.below_page += u64::from(bytes < PAGE_BYTES);
            let aligned = start.is_multiple_of(PAGE_BYTES) && end.is_multiple_of(PAGE_BYTES);
            wear.unaligned += u64::from(!aligned);
            wear.small_random += u64::from(bytes <= 4 * PAGE_BYTES && !follows);
            wear.fua += u64::from(command.fua());
        }
    }

    fn finish(self) -> Stats {
        let (arrival, span_ns) = self.arrival.finish();
        let mix: BTreeMap<String, Volume> = self
            .mix
            .into_iter()
            .map(|(opcode, volume)| (NvmOpcode(opcode).to_string(), volume))
            .collect();
        Stats {
            commands: mix.values().map(|volume| volume.commands).sum(),
            span_ns,
            mix,
            sizes: self.sizes,
            sequentiality: self.streams.finish(),
            reuse: self.reuse.finish(),
            arrival,
            wear: self.wear,
            content: self.content.finish(),
            queues: self.queues,
            namespaces: self.namespaces,
        }
    }
}

impl Volume {
    fn add(&mut self, other: Self) {
        self.commands += other.commands;
        self.read_bytes = self.read_bytes.saturating_add(other.read_bytes);
        self.written_bytes = self.written_bytes.saturating_add(other.written_bytes);
    }
}
