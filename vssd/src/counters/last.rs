//! The last commands of a queue, to be read while the next ones are written.
//!
//! An entry is a cache line whose first word is its version. The writer makes
//! that odd, writes the others, and makes it even again; a reader takes an entry
//! only where the version is even and the same before and after (a sequence lock
//! of one writer), so that one which is being overwritten is left out rather than
//! told wrongly.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use nvme::{CommandId, NamespaceId, QueueId, Status};
use traces::{CommandRecord, Completion};
use zerocopy::FromZeros;

/// How many commands of a queue are kept; a power of two.
pub const LAST_COMMANDS: usize = 16;
const MASK: u64 = LAST_COMMANDS as u64 - 1;
/// The words of an entry behind its version.
const WORDS: usize = 7;
/// In the last word: there was a completion.
const IS_COMPLETE: u64 = 1 << 16;

#[derive(FromZeros)]
#[repr(C, align(64))]
struct Entry {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// The last commands of a queue. All zeroes are none.
#[derive(FromZeros)]
pub(super) struct LastCommands {
    /// How many there were; written by one thread.
    count: AtomicU64,
    entries: [Entry; LAST_COMMANDS],
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

impl LastCommands {
    /// Keeps a command; by one thread only.
    #[inline]
    pub(super) fn note(&self, record: &CommandRecord) {
        let number = self.count.load(Ordering::Relaxed);
        let entry = &self.entries[(number & MASK) as usize];
        entry.version.store(number * 2 + 1, Ordering::Relaxed);
        // The words below are not seen before the version above.
        fence(Ordering::Release);
        let [cdw10, cdw11, cdw12, cdw13, cdw14, _] = record.cdw10_15;
        let (complete_ns, status, result) = match record.completion {
            Some(ended) => (
                ended.complete_ns,
                u64::from(ended.status.field()) | IS_COMPLETE,
                ended.result,
            ),
            None => (0, 0, 0),
        };
        let head = u32::from(record.opcode) | u32::from(record.flags) << 8;
        let words = [
            record.submit_ns,
            complete_ns,
            pair(head | u32::from(record.cid.0) << 16, record.nsid.0),
            pair(cdw10, cdw11),
            pair(cdw12, cdw13),
            pair(cdw14, result),
            status | record.sequence << 17,
        ];
        for (to, word) in entry.words.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        // Release: who sees the version sees the words.
        entry.version.store(number * 2 + 2, Ordering::Release);
        self.count.store(number + 1, Ordering::Release);
    }

    /// The commands, the newest first.
    pub(super) fn read(&self, queue: QueueId) -> Vec<CommandRecord> {
        let count = self.count.load(Ordering::Acquire);
        let first = count.saturating_sub(LAST_COMMANDS as u64);
        (first..count)
            .rev()
            .filter_map(|number| {
                let index = usize::try_from(number & MASK).ok()?;
                let words = self.entries[index].read(number * 2 + 2)?;
                Some(record(queue, words))
            })
            .collect()
    }
}

impl Entry {
    /// The words of version `expected`; none where another is there, or comes
    /// meanwhile.
    fn read(&self, expected: u64) -> Option<[u64; WORDS]> {
        // Acquire: the words are read after the version.
        let before = self.version.load(Ordering::Acquire);
        let words = self
            .words
            .each_ref()
            .map(|word| word.load(Ordering::Relaxed));
        // The version below is read after the words above.
        fence(Ordering::Acquire);
        let after = self.version.load(Ordering::Relaxed);
        (before == expected && after == expected).then_some(words)
    }
}

fn record(queue: QueueId, words: [u64; WORDS]) -> CommandRecord {
    let [submit_ns, complete_ns, head, low, middle, high, tail] = words;
    let [first, nsid] = halves(head);
    let [opcode, flags, cid_low, cid_high] = first.to_le_bytes();
    let [cdw10, cdw11] = halves(low);
    let [cdw12, cdw13] = halves(middle);
    let [cdw14, result] = halves(high);
    let [status_low, status_high, ..] = tail.to_le_bytes();
    let completion = Completion {
        complete_ns,
        status: Status::from_field(u16::from_le_bytes([status_low, status_high])),
        result,
    };
    CommandRecord {
        sequence: tail >> 17,
        submit_ns,
        completion: (tail & IS_COMPLETE != 0).then_some(completion),
        queue,
        cid: CommandId(u16::from_le_bytes([cid_low, cid_high])),
        opcode,
        flags,
        nsid: NamespaceId(nsid),
        cdw2_3: [0; 2],
        cdw10_15: [cdw10, cdw11, cdw12, cdw13, cdw14, 0],
    }
}
