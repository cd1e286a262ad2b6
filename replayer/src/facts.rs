//! What has to be known of a trace before it is replayed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use nvme::{DsmRange, NamespaceId, NvmOpcode, QueueId, Status};
use traces::{CommandRecord, Event, Header, NamespaceInfo, Record};

use crate::extents::ExtentSet;

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
    /// I/O commands whose time of completion is known.
    pub timed: u64,
    /// The most I/O commands that were in flight at a time, over all queues; 0
    /// where the trace does not tell.
    pub depth: u32,
    /// The time that I/O commands spent in flight, summed, nanoseconds.
    pub in_flight_ns: u128,
    /// The first submission of an I/O command, nanoseconds of the trace's
    /// clock.
    pub first_ns: u64,
    /// The last submission of one.
    pub last_submit_ns: u64,
    /// The last submission or completion of one.
    pub last_ns: u64,
    /// Whether the trace has something of what was written.
    pub has_payload: bool,
    /// What is touched, by namespace, where that was asked for.
    pub(crate) extents: BTreeMap<NamespaceId, ExtentSet>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceFacts {
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Its size, blocks; at least as far as its commands reach.
    pub blocks: u64,
    /// The first block that a command touches; none where none does.
    pub start: Option<u64>,
    /// One past the last block that a command touches; none where none does.
    pub end: Option<u64>,
    /// What is changed of it.
    pub writes: WriteFacts,
}

/// What a trace changes of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteFacts {
    /// Commands that write, zero or deallocate.
    pub commands: u64,
    /// Blocks that they write, zero or deallocate, each as often as it is.
    pub blocks: u64,
    /// The first of them.
    pub start: Option<u64>,
    /// One past the last of them.
    pub end: Option<u64>,
}

impl WriteFacts {
    fn add(&mut self, lba: u64, blocks: u64) {
        let end = lba.saturating_add(blocks);
        self.blocks = self.blocks.saturating_add(blocks);
        self.start = Some(self.start.map_or(lba, |start| start.min(lba)));
        self.end = self.end.max(Some(end));
    }
}

impl NamespaceFacts {
    fn of(header: Option<&NamespaceInfo>, block_bytes: u32) -> Self {
        Self {
            block_bytes,
            blocks: header.map_or(0, |namespace| namespace.blocks),
            ..Self::default()
        }
    }

    fn touch(&mut self, lba: u64, blocks: u64) {
        let end = lba.saturating_add(blocks);
        self.start = Some(self.start.map_or(lba, |start| start.min(lba)));
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
        Self::read(header, records, false)
    }

    /// As [`TraceFacts::scan`], and finds what is touched, which
    /// [`crate::Mapping::Compact`] needs. That is known exactly up to 65,536
    /// extents; where there are more, the nearest count as one.
    ///
    /// # Errors
    ///
    /// The first of the records' own.
    pub fn scan_extents<E>(
        header: &Header,
        records: impl IntoIterator<Item = Result<Record, E>>,
    ) -> Result<Self, E> {
        Self::read(header, records, true)
    }

    fn read<E>(
        header: &Header,
        records: impl IntoIterator<Item = Result<Record, E>>,
        wants_extents: bool,
    ) -> Result<Self, E> {
        let mut scan = Scan {
            header,
            facts: Self {
                first_ns: u64::MAX,
                has_payload: header.payload.is_some(),
                ..Self::default()
            },
            wants_extents,
            in_flight: BTreeMap::new(),
            all_in_flight: BinaryHeap::new(),
        };
        for record in records {
            match record? {
                Record::Command {
                    command, ranges, ..
                } => scan.command(&command, &ranges),
                Record::Event(event) => scan.event(event.event),
                Record::Gap(gap) => scan.facts.lost = scan.facts.lost.saturating_add(gap.lost),
            }
        }
        let facts = &mut scan.facts;
        facts.first_ns = facts.first_ns.min(facts.last_ns);
        Ok(scan.facts)
    }

    /// The facts of the trace as it is replayed so many times, one after the
    /// other.
    #[must_use]
    pub fn repeated(mut self, times: u64) -> Self {
        let times = times.max(1);
        self.commands = self.commands.saturating_mul(times);
        for commands in self.opcodes.values_mut() {
            *commands = commands.saturating_mul(times);
        }
        for queue in self.queues.values_mut() {
            queue.commands = queue.commands.saturating_mul(times);
        }
        for namespace in self.namespaces.values_mut() {
            let writes = &mut namespace.writes;
            writes.commands = writes.commands.saturating_mul(times);
            writes.blocks = writes.blocks.saturating_mul(times);
        }
        let shift_ns = self.span_ns().saturating_mul(times - 1);
        self.last_submit_ns = self.last_submit_ns.saturating_add(shift_ns);
        self.last_ns = self.last_ns.saturating_add(shift_ns);
        self.timed = self.timed.saturating_mul(times);
        self.in_flight_ns = self.in_flight_ns.saturating_mul(times.into());
        self
    }

    /// From the first submission to the last submission or completion,
    /// nanoseconds.
    #[must_use]
    pub const fn span_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns)
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
        CHANGE_DATA
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
    /// And those of all.
    all_in_flight: BinaryHeap<Reverse<u64>>,
    wants_extents: bool,
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
        self.times(command);
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
        let mut touched = None;
        if self.wants_extents {
            touched = Some(self.facts.extents.entry(command.nsid).or_default());
        }
        let mut touch = |lba: u64, blocks: u64| {
            let byte = |block: u64| block.saturating_mul(u64::from(block_bytes));
            if let Some(touched) = &mut touched {
                touched.add(byte(lba), byte(lba.saturating_add(blocks)));
            }
        };
        let changes = changes_data(command.opcode);
        namespace.writes.commands += u64::from(changes);
        if let Some((lba, blocks)) = command.lba_range() {
            namespace.touch(lba.0, u64::from(blocks));
            touch(lba.0, u64::from(blocks));
            if changes {
                namespace.writes.add(lba.0, u64::from(blocks));
            }
            let bytes = u64::from(blocks) * u64::from(block_bytes);
            if moves {
                self.facts.transfer_bytes_max = self.facts.transfer_bytes_max.max(bytes);
            }
        }
        if command.nvm_opcode() == Some(NvmOpcode::DATASET_MANAGEMENT) {
            for range in ranges {
                let (lba, blocks) = (range.slba.get(), u64::from(range.blocks.get()));
                namespace.touch(lba, blocks);
                namespace.writes.add(lba, blocks);
                touch(lba, blocks);
            }
        }
    }

    fn times(&mut self, command: &CommandRecord) {
        let facts = &mut self.facts;
        let complete_ns = command.completion.map(|completion| completion.complete_ns);
        let end_ns = complete_ns.unwrap_or(0).max(command.submit_ns);
        facts.first_ns = facts.first_ns.min(command.submit_ns);
        facts.last_submit_ns = facts.last_submit_ns.max(command.submit_ns);
        facts.last_ns = facts.last_ns.max(end_ns);
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
        let (from_ns, to_ns) = (command.submit_ns, completion.complete_ns);
        let in_flight = self.in_flight.entry(command.queue).or_default();
        queue.depth = queue.depth.max(depth_with(in_flight, from_ns, to_ns));
        let all = &mut self.all_in_flight;
        let facts = &mut self.facts;
        facts.depth = facts.depth.max(depth_with(all, from_ns, to_ns));
        facts.timed += 1;
        facts.in_flight_ns += u128::from(to_ns - from_ns);
    }

    fn event(&mut self, event: Event) {
        if matches!(
            event,
            Event::Reset | Event::FunctionReset | Event::Disconnect | Event::Enable
        ) {
            self.in_flight.clear();
            self.all_in_flight.clear();
        }
    }
}

/// How many are in flight with one from `from_ns` to `to_ns`.
fn depth_with(in_flight: &mut BinaryHeap<Reverse<u64>>, from_ns: u64, to_ns: u64) -> u32 {
    while in_flight
        .peek()
        .is_some_and(|Reverse(complete_ns)| *complete_ns <= from_ns)
    {
        in_flight.pop();
    }
    if in_flight.len() < DEPTH_MAX {
        in_flight.push(Reverse(to_ns));
    }
    u32::try_from(in_flight.len()).unwrap_or(u32::MAX)
}

/// Commands that change data.
const CHANGE_DATA: [NvmOpcode; 3] = [
    NvmOpcode::WRITE,
    NvmOpcode::WRITE_ZEROES,
    NvmOpcode::DATASET_MANAGEMENT,
];

fn changes_data(opcode: u8) -> bool {
    CHANGE_DATA.contains(&NvmOpcode(opcode))
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
            payload: None,
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
                payload: None,
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
