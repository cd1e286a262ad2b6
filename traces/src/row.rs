//! A command as it is on its way to a trace.

use nvme::{CommandId, NamespaceId, QueueId, Status};

use crate::{CommandRecord, Completion};

/// A [`CommandRecord`] without its [`Rare`] dwords, which few commands use, in one
/// line of a processor's cache.
///
/// A recorder hands these on as they are ([`Writer::rows`](crate::Writer::rows)).
/// The small fields stand in words, so that what differs from one command to the
/// next is found a word at a time.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Row {
    pub(crate) sequence: u64,
    pub(crate) submit_ns: u64,
    /// 0 where it did not complete, as are status and result.
    pub(crate) complete_ns: u64,
    /// Dwords 10 (low) and 11 (high).
    pub(crate) lba: u64,
    /// From the lowest bit on: queue 16, opcode 8, flags 8, namespace 32.
    pub(crate) target: u64,
    /// Dwords 12 (low) and 13 (high).
    pub(crate) parameters: u64,
    /// From the lowest bit on: status 16, 16 of nothing, result 32.
    pub(crate) outcome: u64,
    pub(crate) cid: u16,
    /// It did not complete.
    pub(crate) is_open: bool,
}

const _: () = assert!(size_of::<Row>() == 64, "a row is a cache line");

/// A word of two halves.
#[inline]
const fn word(low: u32, high: u32) -> u64 {
    // Widens.
    (high as u64) << 32 | low as u64
}

/// The words of a row that are the same in most rows.
pub(crate) const WORDS: usize = 3;

impl Row {
    /// `record`, with `sequence` for its own, without its rare dwords.
    // Field by field, from where they stand to where they go: a copy on the way
    // would be read before what was written to it had reached the cache.
    #[inline]
    #[must_use]
    pub fn of(record: &CommandRecord, sequence: u64) -> Self {
        let [cdw10, cdw11, cdw12, cdw13, ..] = record.cdw10_15;
        let (complete_ns, outcome, is_open) = match &record.completion {
            Some(completion) => {
                let status = u32::from(completion.status.field());
                let outcome = word(status, completion.result);
                (completion.complete_ns, outcome, false)
            }
            None => (0, 0, true),
        };
        let command = u32::from(record.queue.0)
            | u32::from(record.opcode) << 16
            | u32::from(record.flags) << 24;
        Self {
            sequence,
            submit_ns: record.submit_ns,
            complete_ns,
            lba: word(cdw10, cdw11),
            target: word(command, record.nsid.0),
            parameters: word(cdw12, cdw13),
            outcome,
            cid: record.cid.0,
            is_open,
        }
    }

    /// The command, with zeroes for its rare dwords.
    #[must_use]
    pub fn record(&self) -> CommandRecord {
        let [_, _, _, flags, nsid @ ..] = self.target.to_le_bytes();
        let [status_0, status_1, _, _, result @ ..] = self.outcome.to_le_bytes();
        let [cdw10, cdw11, cdw12, cdw13] = [
            self.lba,
            self.lba >> 32,
            self.parameters,
            self.parameters >> 32,
        ]
        .map(low);
        let completion = Completion {
            complete_ns: self.complete_ns,
            status: Status::from_field(u16::from_le_bytes([status_0, status_1])),
            result: u32::from_le_bytes(result),
        };
        CommandRecord {
            sequence: self.sequence,
            submit_ns: self.submit_ns,
            completion: (!self.is_open).then_some(completion),
            queue: self.queue(),
            cid: CommandId(self.cid),
            opcode: self.opcode(),
            flags,
            nsid: NamespaceId(u32::from_le_bytes(nsid)),
            cdw2_3: [0; 2],
            cdw10_15: [cdw10, cdw11, cdw12, cdw13, 0, 0],
        }
    }

    /// The submission queue.
    pub(crate) fn queue(&self) -> QueueId {
        let [low, high, ..] = self.target.to_le_bytes();
        QueueId(u16::from_le_bytes([low, high]))
    }

    /// The opcode.
    pub(crate) fn opcode(&self) -> u8 {
        let [_, _, opcode, ..] = self.target.to_le_bytes();
        opcode
    }

    /// Whether it is of the admin queue, and the opcode.
    #[inline]
    pub(crate) fn kind(&self) -> (bool, u8) {
        (self.queue().is_admin(), self.opcode())
    }

    /// The words in which a command seldom differs from the one before.
    #[inline]
    pub(crate) fn words(&self) -> [u64; WORDS] {
        let is_open = u64::from(self.is_open) << 16;
        [self.target, self.parameters, self.outcome | is_open]
    }

    /// From submission to completion, nanoseconds mod 2^64; 0 where it did not
    /// complete.
    #[inline]
    pub(crate) fn latency_ns(&self) -> u64 {
        if self.is_open {
            0
        } else {
            self.complete_ns.wrapping_sub(self.submit_ns)
        }
    }

    /// Whether it did not complete before it was submitted.
    pub(crate) fn ends_after_start(&self) -> bool {
        self.is_open || self.complete_ns >= self.submit_ns
    }

    /// Its times as far as `floor` keeps them.
    #[inline]
    pub(crate) fn cut_times(&mut self, floor: impl Fn(u64) -> u64) {
        self.submit_ns = floor(self.submit_ns);
        // That of an open one is 0 and stays it.
        self.complete_ns = floor(self.complete_ns);
    }
}

/// The low half of a word.
fn low(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The dwords that commands seldom use.
#[derive(Clone, Copy, Debug)]
pub struct Rare {
    pub(crate) cdw2_3: [u32; 2],
    pub(crate) cdw14_15: [u32; 2],
}

impl Rare {
    /// Those of a command, where it uses any.
    #[inline]
    #[must_use]
    pub fn of(record: &CommandRecord) -> Option<Self> {
        let [.., cdw14, cdw15] = record.cdw10_15;
        let [cdw2, cdw3] = record.cdw2_3;
        ((cdw2 | cdw3 | cdw14 | cdw15) != 0).then_some(Self {
            cdw2_3: record.cdw2_3,
            cdw14_15: [cdw14, cdw15],
        })
    }

    /// Puts them into `record`.
    pub fn restore(&self, record: &mut CommandRecord) {
        let [cdw10, cdw11, cdw12, cdw13, ..] = record.cdw10_15;
        let [cdw14, cdw15] = self.cdw14_15;
        record.cdw2_3 = self.cdw2_3;
        record.cdw10_15 = [cdw10, cdw11, cdw12, cdw13, cdw14, cdw15];
    }
}
