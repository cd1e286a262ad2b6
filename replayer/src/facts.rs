//! What has to be known of a trace before it is replayed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use nvme::{DsmRange, NamespaceId, NvmOpcode, QueueId, Status};
use traces::{CommandRecord, Event, Header, NamespaceInfo, Record};

/// What has to be known of a trace before it is replayed: which queues it
/// used and how deep, how far its addresses reach, how much it moves at once.
///
/// It is found by reading the trace once; memory stays bounded whatever the
/// trace's length.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TraceFacts {
    /// Records of commands, admin commands too.
    pub commands: u64,
    /// The recorded I/O submission queues.
    pub queues: BTreeMap<QueueId, QueueFacts>,
    /// The namespaces that I/O commands name.
    pub namespaces: BTreeMap<NamespaceId, NamespaceFacts>,
    /// I/O commands by opcode.
    pub opcodes: BTreeMap<u8, u64>,
    /// The longest data of a Read, Write or Compare, bytes.
    pub transfer_bytes_max: u64,
    /// Commands that the recording lost.
    pub lost: u64,
}

/// What is known of a recorded queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueFacts {
    /// How many commands it carried.
    pub commands: u64,
    /// The most commands that were in flight at a time; 0 where the trace
    /// does not tell (it has no times of completion).
    pub depth: u32,
}

/// What is known of a recorded namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceFacts {
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Its size, blocks; at least as far as its commands reach.
    pub blocks: u64,
    /// One past the last block that a command touches; none where none does.
    pub end: Option<u64>,
}

impl NamespaceFacts {
    fn of(header: Option<&NamespaceInfo>, block_bytes: u32) -> Self {
        Self {
            block_bytes,
            blocks: header.map_or(0, |namespace| namespace.blocks),
            end: None,
        }
    }

    fn touch(&mut self, lba: u64, blocks: u64) {
        let end = lba.saturating_add(blocks);
        self.end = self.end.max(Some(end));
        self.blocks = self.blocks.max(end);
    }
}

impl TraceFacts {
    /// Reads `records`, in submission order, to their end.
    ///
    /// # Errors
    ///
    /// The first of the records' own.
    pub fn scan<E>(
        header: &Header,
        records: impl IntoIterator<Item = Result<Record, E>>,
    ) -> Result<Self, E> {
        let mut scan = Scan {
            header,
            facts: Self::default(),
            in_flight: BTreeMap::new(),
        };
        for record in records {
            match record? {
                Record::Command { command, ranges } => scan.command(&command, &ranges),
                Record::Event(event) => scan.event(event.event),
                Record::Gap(gap) => scan.facts.lost = scan.facts.lost.saturating_add(gap.lost),
            }
        }
        Ok(scan.facts)
    }

    /// I/O commands.
    #[must_use]
    pub fn io_commands(&self) -> u64 {
        self.opcodes.values().sum()
    }

    /// How many commands change data: Write, Write Zeroes and Dataset
    /// Management.
    #[must_use]
    pub fn writes(&self) -> u64 {
        [
            NvmOpcode::WRITE,
            NvmOpcode::WRITE_ZEROES,
            NvmOpcode::DATASET_MANAGEMENT,
        ]
        .iter()
        .filter_map(|opcode| self.opcodes.get(&opcode.0))
        .sum()
    }
}

struct Scan<'h> {
    header: &'h Header,
    facts: TraceFacts,
    /// The times at which the commands in flight of each queue complete.
    in_flight: BTreeMap<QueueId, BinaryHeap<Reverse<u64>>>,
}

/// No queue is deeper (`NVMe Base 2.1 §3.1.4.1`, CAP.MQES).
const DEPTH_MAX: usize = 1 << 16;

impl Scan<'_> {
    fn command(&mut self, command: &CommandRecord, ranges: &[DsmRange]) {
        self.facts.commands += 1;
        if command.is_admin() {
            return;
        }
        *self.facts.opcodes.entry(command.opcode).or_default() += 1;
        self.depth(command);
        let block_bytes = self.header.block_bytes(command.nsid);
        let moves = matches!(
            command.nvm_opcode(),
            Some(NvmOpcode::READ | NvmOpcode::WRITE | NvmOpcode::COMPARE)
        );
        if command.nsid == nvme::NSID_ALL {
            return;
        }
        let header = self.header;
        let namespace = self
            .facts
            .namespaces
            .entry(command.nsid)
            .or_insert_with(|| NamespaceFacts::of(header.namespace(command.nsid), block_bytes));
        // What was out of range when it was recorded touched nothing.
        if is_out_of_range(command) {
            return;
        }
        if let Some((lba, blocks)) = command.lba_range() {
            namespace.touch(lba.0, u64::from(blocks));
            let bytes = u64::from(blocks) * u64::from(block_bytes);
            if moves {
                self.facts.transfer_bytes_max = self.facts.transfer_bytes_max.max(bytes);
            }
        }
        if command.nvm_opcode() == Some(NvmOpcode::DATASET_MANAGEMENT) {
            for range in ranges {
                namespace.touch(range.slba.get(), u64::from(range.blocks.get()));
            }
        }
    }

    fn depth(&mut self, command: &CommandRecord) {
        let queue = self.facts.queues.entry(command.queue).or_default();
        queue.commands += 1;
        // A command that never completed, or took no time, says nothing of how
        // many there were at a time: traces of some sources know submissions
        // only.
        let Some(completion) = command
            .completion
            .filter(|completion| completion.complete_ns > command.submit_ns)
        else {
            return;
        };
        let in_flight = self.in_flight.entry(command.queue).or_default();
        while in_flight
            .peek()
            .is_some_and(|Reverse(complete_ns)| *complete_ns <= command.submit_ns)
        {
            in_flight.pop();
        }
        if in_flight.len() < DEPTH_MAX {
            in_flight.push(Reverse(completion.complete_ns));
        }
        let depth = u32::try_from(in_flight.len()).unwrap_or(u32::MAX);
        queue.depth = queue.depth.max(depth);
    }

    fn event(&mut self, event: Event) {
        if matches!(
            event,
            Event::Reset | Event::FunctionReset | Event::Disconnect | Event::Enable
        ) {
            self.in_flight.clear();
        }
    }
}

fn is_out_of_range(command: &CommandRecord) -> bool {
    command
        .completion
        .is_some_and(|completion| completion.status.same_code(Status::LBA_OUT_OF_RANGE))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use nvme::CommandId;
    use traces::{Completion, Gap};

    use super::*;

    fn command(queue: u16, submit_ns: u64, complete_ns: Option<u64>) -> CommandRecord {
        CommandRecord {
            sequence: 0,
            submit_ns,
            completion: complete_ns.map(|complete_ns| Completion {
                complete_ns,
                status: Status::SUCCESS,
                result: 0,
            }),
            queue: QueueId(queue),
            cid: CommandId(0),
            opcode: NvmOpcode::READ.0,
            flags: 0,
            nsid: NamespaceId(1),
            cdw2_3: [0; 2],
            cdw10_15: [100, 0, 7, 0, 0, 0],
        }
    }

    fn scan(records: Vec<Record>) -> TraceFacts {
        let header = Header {
            namespaces: vec![NamespaceInfo {
                id: 1,
                blocks: 1000,
                block_bytes: 4096,
            }],
            ..Header::default()
        };
        TraceFacts::scan::<Infallible>(&header, records.into_iter().map(Ok)).unwrap()
    }

    fn record(command: CommandRecord) -> Record {
        Record::Command {
            command,
            ranges: Vec::new(),
        }
    }

    #[test]
    fn depth_is_what_was_in_flight_at_a_time() {
        let facts = scan(vec![
            record(command(1, 0, Some(10))),
            record(command(1, 1, Some(30))),
            record(command(2, 2, Some(3))),
            record(command(1, 5, Some(20))),
            record(command(1, 10, Some(40))),
            record(command(1, 11, None)),
            record(command(3, 12, None)),
            record(command(3, 13, Some(13))),
        ]);
        let queue = |commands, depth| QueueFacts { commands, depth };
        assert_eq!(facts.queues[&QueueId(1)], queue(5, 3));
        assert_eq!(facts.queues[&QueueId(2)], queue(1, 1));
        assert_eq!(facts.queues[&QueueId(3)], queue(2, 0));
    }

    #[test]
    fn reach_counts_ranges_and_what_the_header_says() {
        let mut discard = command(1, 0, None);
        discard.opcode = NvmOpcode::DATASET_MANAGEMENT.0;
        let admin = CommandRecord {
            queue: QueueId::ADMIN,
            ..command(1, 0, None)
        };
        let mut refused = command(1, 0, Some(9));
        refused.cdw10_15[1] = 1;
        if let Some(completion) = &mut refused.completion {
            completion.status = Status::LBA_OUT_OF_RANGE.dnr();
        }
        let facts = scan(vec![
            record(admin),
            record(refused),
            record(command(1, 0, None)),
            Record::Gap(Gap { at_ns: 1, lost: 3 }),
            Record::Command {
                command: discard,
                ranges: vec![DsmRange::new(nvme::Lba(2_000), 8)],
            },
        ]);
        let namespace = facts.namespaces[&NamespaceId(1)];
        assert_eq!((namespace.blocks, namespace.end), (2_008, Some(2_008)));
        assert_eq!(namespace.block_bytes, 4096);
        assert_eq!(facts.transfer_bytes_max, 8 * 4096);
        assert_eq!((facts.commands, facts.io_commands()), (4, 3));
        assert_eq!((facts.writes(), facts.lost), (1, 3));
    }
}
