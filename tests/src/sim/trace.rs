//! Records, made and compared.

use std::collections::BTreeMap;

use nvme::{
    CommandId, DsmAttributes, DsmRange, Lba, NamespaceId, NvmOpcode, QueueId, ReadWriteCdw12, Sqe,
    Status,
};
use traces::{CommandRecord, Completion, Record};

/// A command of namespace 1, to be recorded.
#[derive(Clone, Debug)]
pub struct Io {
    /// The queue.
    pub queue: u16,
    /// When it was submitted, nanoseconds.
    pub at_ns: u64,
    /// How long it took, nanoseconds; none where it never completed.
    pub latency_ns: Option<u64>,
    /// How it ended.
    pub status: Status,
    /// The entry, without a command identifier.
    pub sqe: Sqe,
    /// The ranges of a Dataset Management command.
    pub ranges: Vec<DsmRange>,
}

impl Io {
    /// A command of `opcode` with nothing else in it, on queue 1, at time 0,
    /// that completed at once.
    #[must_use]
    pub fn new(opcode: NvmOpcode) -> Self {
        Self {
            queue: 1,
            at_ns: 0,
            latency_ns: Some(0),
            status: Status::SUCCESS,
            sqe: Sqe::new(opcode.0, NamespaceId(1)),
            ranges: Vec::new(),
        }
    }

    /// A command of `opcode` on `blocks` blocks (1 to 65,536) from `lba` on.
    #[must_use]
    pub fn blocks(opcode: NvmOpcode, lba: u64, blocks: u32) -> Self {
        let mut io = Self::new(opcode);
        io.sqe.set_slba(Lba(lba));
        let nlb = u16::try_from(blocks.saturating_sub(1)).unwrap_or(u16::MAX);
        let cdw12 = ReadWriteCdw12::new().with_nlb(nlb);
        io.sqe.cdw12.set(cdw12.into_bits());
        io
    }

    /// A Dataset Management command that deallocates `ranges` (1 to 256).
    #[must_use]
    pub fn deallocate(ranges: Vec<DsmRange>) -> Self {
        let mut io = Self::new(NvmOpcode::DATASET_MANAGEMENT);
        let last = u32::try_from(ranges.len().saturating_sub(1)).unwrap_or(u32::MAX);
        io.sqe.cdw10.set(last);
        io.sqe
            .cdw11
            .set(DsmAttributes::new().with_ad(true).into_bits());
        io.ranges = ranges;
        io
    }

    /// This command, submitted to `queue` at `at_ns`.
    #[must_use]
    pub const fn at(mut self, queue: u16, at_ns: u64) -> Self {
        self.queue = queue;
        self.at_ns = at_ns;
        self
    }

    /// Its record, as the command number `sequence`.
    #[must_use]
    pub fn record(&self, sequence: u64) -> Record {
        let queue = QueueId(self.queue);
        let mut command = CommandRecord::fetched(sequence, self.at_ns, queue, &self.sqe);
        // Unique enough: no queue here has as many commands in flight.
        command.cid = CommandId(u16::try_from(sequence % 60_000).unwrap_or(0));
        command.completion = self.latency_ns.map(|latency_ns| Completion {
            complete_ns: self.at_ns.saturating_add(latency_ns),
            status: self.status,
            result: 0,
        });
        Record::Command {
            command,
            ranges: self.ranges.clone(),
            payload: None,
        }
    }
}

/// The records of `commands`, numbered in their order.
#[must_use]
pub fn records(commands: &[Io]) -> Vec<Record> {
    (0..)
        .zip(commands)
        .map(|(sequence, io)| io.record(sequence))
        .collect()
}

/// An I/O command as a device saw it: everything that a host decides on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at_ns: u64,
    /// The queue.
    pub queue: QueueId,
    /// The opcode.
    pub opcode: NvmOpcode,
    /// The namespace.
    pub nsid: NamespaceId,
    /// Command dwords 10 to 15: address, length, flags, hints.
    pub cdw10_15: [u32; 6],
    /// The ranges of a Dataset Management command.
    pub ranges: Vec<DsmRange>,
}

/// The I/O commands in `records`, in the order in which they were fetched.
#[must_use]
pub fn seen(records: &[Record]) -> Vec<Seen> {
    let mut commands: Vec<(u64, Seen)> = records
        .iter()
        .filter_map(|record| match record {
            Record::Command {
                command, ranges, ..
            } => Some((command, ranges)),
            Record::Event(_) | Record::Gap(_) => None,
        })
        .filter_map(|(command, ranges)| {
            let seen = Seen {
                at_ns: command.submit_ns,
                queue: command.queue,
                opcode: command.nvm_opcode()?,
                nsid: command.nsid,
                cdw10_15: command.cdw10_15,
                ranges: ranges.clone(),
            };
            Some((command.sequence, seen))
        })
        .collect();
    commands.sort_by_key(|(sequence, _)| *sequence);
    commands.into_iter().map(|(_, seen)| seen).collect()
}

/// The commands of each queue, in order.
#[must_use]
pub fn by_queue(commands: &[Seen]) -> BTreeMap<QueueId, Vec<Seen>> {
    let mut queues: BTreeMap<QueueId, Vec<Seen>> = BTreeMap::new();
    for command in commands {
        queues
            .entry(command.queue)
            .or_default()
            .push(command.clone());
    }
    queues
}

/// The commands without their times.
#[must_use]
pub fn untimed(mut commands: Vec<Seen>) -> Vec<Seen> {
    for command in &mut commands {
        command.at_ns = 0;
    }
    commands
}

/// The times between one command and the next, nanoseconds.
#[must_use]
pub fn gaps_ns(commands: &[Seen]) -> Vec<u64> {
    commands
        .windows(2)
        .map(|pair| match pair {
            [before, after] => after.at_ns - before.at_ns,
            _ => 0,
        })
        .collect()
}
