//! What crosses the ring.

use nvme::{CommandId, DSM_RANGES_MAX, DsmRange, Lba, NamespaceId, QueueId, Status};
use traces::{CommandRecord, Completion, EventRecord, Gap};

/// Ranges that fit a slot.
const RANGES_A_SLOT: usize = 3;
/// The slots of the longest entry: a command, its rare dwords, its ranges.
pub(crate) const SLOTS_AN_ENTRY_MAX: usize = 2 + DSM_RANGES_MAX.div_ceil(RANGES_A_SLOT);

/// A slot of the ring: one cache line. A plain command takes one; what is
/// rarely there follows in further slots, which are pushed together, so that
/// the reader never sees a part of an entry.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) enum Slot {
    /// A command.
    Command(Times, Words),
    /// Follows a command with [`Words::has_rare`].
    Rare(Rare),
    /// Follow a command with [`Words::ranges`].
    Ranges([DsmRange; RANGES_A_SLOT]),
    /// An event.
    Event(EventRecord),
    /// Lost commands.
    Gap(Gap),
}

const _: () = assert!(size_of::<Slot>() == 64, "a slot is a cache line");

/// The fields of a command that take eight bytes. They are apart from the
/// others so that these and the enum's tag pack without a hole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    sequence: u64,
    submit_ns: u64,
    complete_ns: u64,
}

/// The other fields that every command has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    nsid: NamespaceId,
    result: u32,
    queue: QueueId,
    cid: CommandId,
    status: Status,
    /// How many ranges follow.
    ranges: u16,
    opcode: u8,
    flags: u8,
    complete: bool,
    has_rare: bool,
}

/// The dwords that commands seldom use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rare {
    cdw2_3: [u32; 2],
    cdw14_15: [u32; 2],
}

/// The first slot of a command of so many ranges, with `sequence` for its own.
///
/// Field by field, from where they stand to where they go: a copy on the way
/// would be read before what was written to it had reached the cache.
#[inline]
pub(crate) fn first(record: &CommandRecord, sequence: u64, ranges: usize) -> Slot {
    let [cdw10, cdw11, cdw12, cdw13, ..] = record.cdw10_15;
    let (complete_ns, status, result, complete) = match &record.completion {
        Some(completion) => (
            completion.complete_ns,
            completion.status,
            completion.result,
            true,
        ),
        None => (0, Status::SUCCESS, 0, false),
    };
    let times = Times {
        sequence,
        submit_ns: record.submit_ns,
        complete_ns,
    };
    let words = Words {
        cdw10,
        cdw11,
        cdw12,
        cdw13,
        nsid: record.nsid,
        result,
        queue: record.queue,
        cid: record.cid,
        status,
        ranges: u16::try_from(ranges).unwrap_or(u16::MAX),
        opcode: record.opcode,
        flags: record.flags,
        complete,
        has_rare: Rare::is_there(record),
    };
    Slot::Command(times, words)
}

/// The slots that hold `ranges`.
pub(crate) fn range_slots(ranges: &[DsmRange]) -> impl Iterator<Item = Slot> {
    ranges.chunks(RANGES_A_SLOT).map(|chunk| {
        let mut slot = [DsmRange::new(Lba(0), 0); RANGES_A_SLOT];
        for (to, from) in slot.iter_mut().zip(chunk) {
            *to = *from;
        }
        Slot::Ranges(slot)
    })
}

/// How many slots an entry takes.
pub(crate) fn slots(has_rare: bool, ranges: usize) -> usize {
    1 + usize::from(has_rare) + ranges.div_ceil(RANGES_A_SLOT)
}

impl Words {
    /// The command, without its rare dwords.
    #[inline]
    pub(crate) fn command(&self, times: &Times) -> CommandRecord {
        let completion = Completion {
            complete_ns: times.complete_ns,
            status: self.status,
            result: self.result,
        };
        CommandRecord {
            sequence: times.sequence,
            submit_ns: times.submit_ns,
            completion: self.complete.then_some(completion),
            queue: self.queue,
            cid: self.cid,
            opcode: self.opcode,
            flags: self.flags,
            nsid: self.nsid,
            cdw2_3: [0; 2],
            cdw10_15: [self.cdw10, self.cdw11, self.cdw12, self.cdw13, 0, 0],
        }
    }

    /// Whether nothing follows.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        !self.has_rare && self.ranges == 0
    }

    /// Whether [`Slot::Rare`] follows.
    pub(crate) fn has_rare(&self) -> bool {
        self.has_rare
    }

    /// How many ranges follow, in as many [`Slot::Ranges`] as they take.
    pub(crate) fn ranges(&self) -> usize {
        usize::from(self.ranges)
    }
}

impl Rare {
    #[inline]
    fn is_there(record: &CommandRecord) -> bool {
        let [.., cdw14, cdw15] = record.cdw10_15;
        let [cdw2, cdw3] = record.cdw2_3;
        (cdw2 | cdw3 | cdw14 | cdw15) != 0
    }

    /// Those of a command, where it uses any.
    #[inline]
    pub(crate) fn of(record: &CommandRecord) -> Option<Self> {
        let [.., cdw14, cdw15] = record.cdw10_15;
        Self::is_there(record).then_some(Self {
            cdw2_3: record.cdw2_3,
            cdw14_15: [cdw14, cdw15],
        })
    }

    /// Puts the rare dwords into `command`.
    pub(crate) fn restore(&self, command: &mut CommandRecord) {
        let [cdw10, cdw11, cdw12, cdw13, ..] = command.cdw10_15;
        let [cdw14, cdw15] = self.cdw14_15;
        command.cdw2_3 = self.cdw2_3;
        command.cdw10_15 = [cdw10, cdw11, cdw12, cdw13, cdw14, cdw15];
    }
}
