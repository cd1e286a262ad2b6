//! From what an importer found to the commands of a trace: in order, numbered,
//! in blocks of a namespace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use nvme::{
    CommandId, DSM_RANGES_MAX, DsmAttributes, DsmRange, Lba, NamespaceId, QueueId, ReadWriteCdw12,
    Sqe, Status,
};
use traces::{CommandRecord, Completion, NamespaceInfo};

use crate::{ByteRange, Io, Item, Notes, Operation};

/// Items that are held to be put in order.
const WINDOW: usize = 1 << 18;
/// The most blocks of one read or write (`NVM Command Set 1.1 §3.3.4`).
const BLOCKS_MAX: u64 = 1 << 16;
/// The longest read or write that is believed, bytes.
const TRANSFER_MAX: u64 = 1 << 32;
/// The longest discard that is believed, bytes.
const DISCARD_MAX: u64 = 1 << 50;
/// A request that repeats the one before within this time is its double.
const DOUBLE_NS: u64 = 100_000;

/// How items become commands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AssemblerOptions {
    /// Bytes a block of every namespace.
    pub block_bytes: u32,
    /// Whether a request that repeats the one before within 100 us is left
    /// out: stacked devices record each request twice.
    pub dedupe: bool,
    /// The names of those of the importer's devices that are kept, and become
    /// namespaces 1, 2, ... in this order; none for all, in the order of their
    /// appearance.
    pub devices: Option<Vec<String>>,
    /// Whether times are counted from the first request.
    pub rebase: bool,
}

impl Default for AssemblerOptions {
    fn default() -> Self {
        Self {
            block_bytes: 512,
            dedupe: false,
            devices: None,
            rebase: true,
        }
    }
}

/// A command, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    /// The command.
    pub command: CommandRecord,
    /// Its Dataset Management ranges.
    pub ranges: Vec<DsmRange>,
}

/// Puts items in order and makes commands of them, in constant memory.
#[derive(Debug)]
pub struct Assembler {
    options: AssemblerOptions,
    /// The namespace of each of the importer's devices that has a name; none
    /// for those that are not kept.
    devices: Vec<Option<u32>>,
    /// Items with the order in which they came.
    waiting: BinaryHeap<Reverse<Waiting>>,
    arrived: u64,
    ready: VecDeque<Assembled>,
    /// The time of the first request, which is the trace's 0.
    origin_ns: Option<u64>,
    latest_ns: u64,
    last: Option<Io>,
    next_sequence: u64,
    /// The next command identifier of each queue.
    next_cid: BTreeMap<u16, u16>,
    /// One past the last block that is touched, by namespace.
    ends: BTreeMap<u32, u64>,
    notes: Notes,
}

#[derive(Debug)]
struct Waiting {
    key: (u64, u64),
    item: Item,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl Assembler {
    /// An assembler with nothing in it.
    #[must_use]
    pub fn new(options: AssemblerOptions) -> Self {
        Self {
            options,
            devices: Vec::new(),
            waiting: BinaryHeap::new(),
            arrived: 0,
            ready: VecDeque::new(),
            origin_ns: None,
            latest_ns: 0,
            last: None,
            next_sequence: 0,
            next_cid: BTreeMap::new(),
            ends: BTreeMap::new(),
            notes: Notes::default(),
        }
    }

    /// Learns the names of the importer's devices so far.
    pub fn learn(&mut self, devices: &[String]) {
        for name in devices.iter().skip(self.devices.len()) {
            let index = match &self.options.devices {
                None => Some(self.devices.len()),
                Some(kept) => kept.iter().position(|it| it == name),
            };
            let namespace = index.and_then(|index| u32::try_from(index + 1).ok());
            self.devices.push(namespace);
        }
    }

    /// Takes an item in.
    pub fn push(&mut self, item: Item) {
        let key = (item.submit_ns(), self.arrived);
        self.arrived += 1;
        self.waiting.push(Reverse(Waiting { key, item }));
    }

    /// The next command; none where more items are wanted first, which
    /// `at_end` says there are none of.
    pub fn pop(&mut self, at_end: bool) -> Option<Assembled> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if !at_end && self.waiting.len() < WINDOW {
                return None;
            }
            let Reverse(Waiting { item, .. }) = self.waiting.pop()?;
            self.assemble(item);
        }
    }

    /// When the trace starts, nanoseconds of the format's clock; none before
    /// the first command.
    #[must_use]
    pub fn origin_ns(&self) -> Option<u64> {
        self.origin_ns
    }

    /// The namespaces so far, each as large as what was touched of it.
    #[must_use]
    pub fn namespaces(&self) -> Vec<NamespaceInfo> {
        let ends = self.ends.iter();
        ends.map(|(&id, &blocks)| NamespaceInfo {
            id,
            blocks,
            block_bytes: self.options.block_bytes,
        })
        .collect()
    }

    /// How many I/O queues there are so far.
    #[must_use]
    pub fn queues(&self) -> u32 {
        let queues = self.next_cid.keys().filter(|queue| **queue != 0).count();
        u32::try_from(queues).unwrap_or(u32::MAX)
    }

    /// What was changed or left out so far.
    #[must_use]
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    fn assemble(&mut self, item: Item) {
        let submit_ns = item.submit_ns();
        if submit_ns < self.latest_ns {
            self.notes.count(
                "requests stand so late in the file that they are out of order in the trace",
            );
        }
        self.latest_ns = self.latest_ns.max(submit_ns);
        match item {
            Item::Io(io) => self.io(io),
            Item::Command { command, ranges } => self.command(command, ranges),
        }
    }

    fn command(&mut self, mut command: CommandRecord, ranges: Vec<DsmRange>) {
        command.submit_ns = self.time(command.submit_ns);
        if let Some(completion) = &mut command.completion {
            completion.complete_ns = self.time(completion.complete_ns).max(command.submit_ns);
        }
        if let Some((lba, blocks)) = command.lba_range() {
            self.touch(command.nsid.0, lba.0.saturating_add(blocks.into()));
        }
        for range in &ranges {
            let end = range.lba().0.saturating_add(range.blocks.get().into());
            self.touch(command.nsid.0, end);
        }
        self.next_cid.entry(command.queue.0).or_default();
        command.sequence = self.next_sequence;
        self.next_sequence += 1;
        self.ready.push_back(Assembled { command, ranges });
    }

    fn io(&mut self, io: Io) {
        let Some(namespace) = self.namespace(io.device) else {
            self.notes.count("requests of other devices were left out");
            return;
        };
        let longest = io.stretches().map(|it| it.length_bytes).max().unwrap_or(0);
        let believed = match io.operation {
            Operation::Discard => DISCARD_MAX,
            _ => TRANSFER_MAX,
        };
        if longest > believed {
            self.notes
                .count("requests that are longer than any can be were left out");
            return;
        }
        if self.options.dedupe && self.is_double(&io) {
            self.notes
                .count("requests that repeat the one before within 100 us were left out");
            return;
        }
        match io.operation {
            Operation::Flush => {
                self.emit(&io, Sqe::new(io.operation.opcode().0, namespace), vec![]);
            }
            Operation::Discard => self.discard(&io, namespace),
            Operation::Read | Operation::Write | Operation::WriteZeroes => {
                self.transfer(&io, namespace);
            }
        }
        if self.options.dedupe {
            self.last = Some(io);
        }
    }

    fn namespace(&self, device: u32) -> Option<NamespaceId> {
        // A format that knows no devices names none.
        let unnamed = Some(device.saturating_add(1));
        let index = usize::try_from(device).ok()?;
        let namespace = self.devices.get(index).copied().unwrap_or(unnamed);
        namespace.map(NamespaceId)
    }

    fn is_double(&self, io: &Io) -> bool {
        self.last.as_ref().is_some_and(|last| {
            (last.operation, last.offset_bytes, last.length_bytes)
                == (io.operation, io.offset_bytes, io.length_bytes)
                && last.more == io.more
                && io.submit_ns.saturating_sub(last.submit_ns) <= DOUBLE_NS
        })
    }

    /// First and last block, the last exclusive, of `range`.
    fn blocks(&mut self, range: ByteRange) -> (u64, u64) {
        let block = u64::from(self.options.block_bytes.max(1));
        let end = range.offset_bytes.saturating_add(range.length_bytes);
        if !range.offset_bytes.is_multiple_of(block) || !end.is_multiple_of(block) {
            self.notes.count("requests were widened to whole blocks");
        }
        (range.offset_bytes / block, end.div_ceil(block))
    }

    fn transfer(&mut self, io: &Io, namespace: NamespaceId) {
        let (mut first, end) = self.blocks(ByteRange {
            offset_bytes: io.offset_bytes,
            length_bytes: io.length_bytes,
        });
        if first >= end || io.length_bytes == 0 {
            self.notes
                .count("reads and writes of no bytes were left out");
            return;
        }
        if end - first > BLOCKS_MAX {
            self.notes
                .count("requests were split, as they are longer than 65,536 blocks");
        }
        while first < end {
            let blocks = (end - first).min(BLOCKS_MAX);
            let mut sqe = Sqe::new(io.operation.opcode().0, namespace);
            sqe.set_slba(Lba(first));
            let cdw12 = ReadWriteCdw12::new()
                // At most 65,535.
                .with_nlb(u16::try_from(blocks - 1).unwrap_or(u16::MAX))
                .with_fua(io.fua);
            sqe.cdw12.set(cdw12.into_bits());
            first += blocks;
            self.emit(io, sqe, vec![]);
        }
        self.touch(namespace.0, end);
    }

    fn discard(&mut self, io: &Io, namespace: NamespaceId) {
        let mut ranges = Vec::new();
        for stretch in io.stretches() {
            let (mut first, end) = self.blocks(stretch);
            while first < end {
                let blocks = u32::try_from(end - first).unwrap_or(u32::MAX);
                ranges.push(DsmRange::new(Lba(first), blocks));
                first += u64::from(blocks);
            }
            self.touch(namespace.0, end);
        }
        if ranges.is_empty() {
            self.notes.count("discards of no bytes were left out");
        }
        if ranges.len() > DSM_RANGES_MAX {
            self.notes
                .count("discards were split, as they have more than 256 ranges");
        }
        for ranges in ranges.chunks(DSM_RANGES_MAX) {
            let mut sqe = Sqe::new(io.operation.opcode().0, namespace);
            // At most 255.
            sqe.cdw10
                .set(u32::try_from(ranges.len() - 1).unwrap_or(u32::MAX));
            sqe.cdw11
                .set(DsmAttributes::new().with_ad(true).into_bits());
            self.emit(io, sqe, ranges.to_vec());
        }
    }

    fn emit(&mut self, io: &Io, sqe: Sqe, ranges: Vec<DsmRange>) {
        let queue = io.queue.max(1);
        let submit_ns = self.time(io.submit_ns);
        let mut command =
            CommandRecord::fetched(self.next_sequence, submit_ns, QueueId(queue), &sqe);
        self.next_sequence += 1;
        let cid = self.next_cid.entry(queue).or_default();
        command.cid = CommandId(*cid);
        *cid = cid.wrapping_add(1);
        command.completion = io.latency_ns.map(|latency_ns| Completion {
            complete_ns: submit_ns.saturating_add(latency_ns),
            status: if io.failed {
                Status::INTERNAL_ERROR
            } else {
                Status::SUCCESS
            },
            result: 0,
        });
        self.ready.push_back(Assembled { command, ranges });
    }

    /// A time of the format as one of the trace.
    fn time(&mut self, ns: u64) -> u64 {
        let origin_ns = *self.origin_ns.get_or_insert(ns);
        if self.options.rebase {
            ns.saturating_sub(origin_ns)
        } else {
            ns
        }
    }

    fn touch(&mut self, namespace: u32, end: u64) {
        let blocks = self.ends.entry(namespace).or_default();
        *blocks = (*blocks).max(end);
    }
}
