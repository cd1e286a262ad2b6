use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use memmap2::{MmapOptions, MmapRaw};
use nvme::{NamespaceId, PAGE_BYTES};
use proptest::prelude::*;
use zerocopy::FromZeros as _;

use super::*;
use crate::Protection;

const SQ: u64 = 0x10_0000;
const CQ: u64 = 0x20_0000;
const ID: QueueId = QueueId(1);

fn memory() -> (OwnedFd, DmaTable) {
    let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, 64 * PAGE_BYTES).unwrap();
    let mut table = DmaTable::new();
    let rw = Protection::READ_WRITE;
    let half = 32 * PAGE_BYTES;
    table.map(SQ, half, file.as_fd(), 0, rw).unwrap();
    table.map(CQ, half, file.as_fd(), half, rw).unwrap();
    (file, table)
}

fn queues(entries: u16) -> Queues {
    let mut queues = Queues::new(2);
    let spec = |base| QueueSpec {
        id: ID,
        base,
        list: None,
        entries,
    };
    queues.create_completion(spec(CQ), Some(1)).unwrap();
    queues
        .create_submission(spec(SQ), ID, Priority::Medium)
        .unwrap();
    queues
}

fn offset(kind: DoorbellKind) -> u32 {
    nvme::Doorbell { queue: ID, kind }.offset(0)
}

#[test]
fn rings_have_no_end() {
    assert_eq!((next(0, 2), next(1, 2), next(4094, 4096)), (1, 0, 4095));
    assert_eq!(distance(0, 0, 8), 0);
    assert_eq!(distance(6, 2, 8), 4);
    assert_eq!(distance(2, 6, 8), 4);
    assert_eq!(distance(1, 0, 4096), 4095);
}

#[test]
fn every_identifier_is_told_from_every_other() {
    let mut in_use = InUse::new();
    for cid in (0..=u16::MAX).map(CommandId) {
        assert!(!in_use.contains(cid));
        in_use.set(cid, true);
        in_use.set(cid, true);
    }
    assert_eq!(in_use.count, 65_536);
    for cid in (0..=u16::MAX).map(CommandId) {
        assert!(in_use.contains(cid) || in_use.count == 0);
        in_use.set(cid, false);
        in_use.set(cid, false);
    }
    assert_eq!(in_use.count, 0);
}

proptest! {
    /// Whatever a guest writes to its head doorbell, the controller never posts
    /// into an entry that the guest has not consumed.
    #[test]
    fn room_is_never_promised_twice(
        entries in 2_u16..9,
        heads in proptest::collection::vec((0_u32..12, 1_u8..4), 1..60),
    ) {
        let (_file, table) = memory();
        let doorbells = Doorbells::new().unwrap();
        let mut queues = queues(entries);
        let mut posted = 0_u32;
        let mut consumed = 0_u32;
        let mut reserved = 0_u32;
        let n = u32::from(entries);
        for (head, reserve) in heads {
            doorbells.store(offset(DoorbellKind::CompletionHead), head);
            // How far a legal head moves on.
            if head < n {
                let step = (head + n - consumed % n) % n;
                if consumed + step <= posted {
                    consumed += step;
                }
            }
            for _ in 0..reserve {
                let room = queues.reserve(ID, &table, &doorbells);
                prop_assert_eq!(room, posted - consumed + reserved < n - 1);
                reserved += u32::from(room);
            }
            if reserved > 0 {
                let reply = Reply { queue: ID, cid: CommandId(0), status: Status::SUCCESS, result: 0 };
                prop_assert!(queues.post(&table, ID, &reply));
                reserved -= 1;
                posted += 1;
            }
        }
    }
}

/// The guest of the stress test: another thread, with its own mapping.
struct Guest {
    memory: MmapRaw,
    doorbells: MmapRaw,
    /// Where the shadow doorbells are in memory, if they are used.
    shadow: Option<usize>,
}

impl Guest {
    /// A word of guest memory, `at` bytes from its start.
    #[expect(unsafe_code, reason = "the guest's view of memory that it shares")]
    fn word(&self, at: usize) -> &std::sync::atomic::AtomicU32 {
        let word = self.memory.as_mut_ptr().wrapping_add(at).cast();
        // SAFETY: inside the mapping, aligned, and only reached as atomics.
        unsafe { std::sync::atomic::AtomicU32::from_ptr(word) }
    }

    #[expect(unsafe_code, reason = "the guest's view of the doorbells")]
    fn doorbell(&self, kind: DoorbellKind) -> &std::sync::atomic::AtomicU32 {
        let at = usize::try_from(offset(kind)).unwrap();
        if let Some(shadow) = self.shadow {
            return self.word(shadow + at);
        }
        let word = self.doorbells.as_mut_ptr().wrapping_add(at).cast();
        // SAFETY: as in `word`.
        unsafe { std::sync::atomic::AtomicU32::from_ptr(word) }
    }
}

/// A guest on another thread sees whole completions for whole commands: without
/// acquire on the tail, the controller would fetch an entry before it is there;
/// without release on the phase, the guest would see one before it is.
#[test]
fn entries_are_whole_when_they_are_seen() {
    stress(false);
}

/// The same with the doorbells in guest memory, which are never rung: acquire on
/// the shadow tail does what it does on the register's.
#[test]
fn entries_are_whole_when_the_shadow_doorbell_tells_of_them() {
    stress(true);
}

fn stress(shadowed: bool) {
    const ENTRIES: u16 = 16;
    const COMMANDS: u32 = 200_000;
    let (file, table) = memory();
    let doorbells = Doorbells::new().unwrap();
    let mut queues = queues(ENTRIES);
    let shadow = 16 * 4096;
    if shadowed {
        let at = SQ + 16 * PAGE_BYTES;
        let shadow = Shadow::new(at, at + PAGE_BYTES, &table).unwrap();
        queues.set_shadow(shadow, &table);
    }
    let guest = Guest {
        shadow: shadowed.then_some(shadow),
        memory: MmapOptions::new().map_raw(&file).unwrap(),
        doorbells: MmapOptions::new()
            .offset(doorbells.file_offset())
            .len(4096)
            .map_raw(&doorbells.fd())
            .unwrap(),
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run_guest(&guest, ENTRIES, COMMANDS));
        while !running.is_finished() {
            if queues.waiting(ID, &table, &doorbells) == 0 {
                std::thread::yield_now();
                continue;
            }
            let mut sqe = Sqe::new_zeroed();
            while let Some(completion) = queues.fetch(ID, (&table, &doorbells), &mut sqe) {
                let number = sqe.nsid();
                assert_eq!(sqe.cdw15.get(), !number.0, "a torn command");
                let reply = Reply {
                    queue: ID,
                    cid: sqe.cid(),
                    status: Status::SUCCESS,
                    result: sqe.cdw15.get().into(),
                };
                assert!(queues.post(&table, completion, &reply));
            }
        }
    });
}

fn run_guest(guest: &Guest, entries: u16, commands: u32) {
    let cq = 32 * 4096;
    let (mut tail, mut head, mut phase) = (0_u16, 0_u16, 1_u32);
    let (mut sent, mut seen) = (0_u32, 0_u32);
    while seen < commands {
        while sent < commands && sent - seen < u32::from(entries) - 1 {
            let mut sqe = Sqe::new(2, NamespaceId(sent));
            sqe.command_id = u16::try_from(sent % 65_536).unwrap().into();
            sqe.cdw15 = (!sent).into();
            let words: [u32; 16] = zerocopy::transmute!(sqe);
            for (index, word) in words.into_iter().enumerate() {
                let at = usize::from(tail) * SQE_BYTES + index * 4;
                guest.word(at).store(word, Ordering::Relaxed);
            }
            tail = next(tail, entries);
            sent += 1;
            let doorbell = guest.doorbell(DoorbellKind::SubmissionTail);
            doorbell.store(tail.into(), Ordering::Release);
        }
        let at = cq + usize::from(head) * CQE_BYTES;
        let last = guest.word(at + 12).load(Ordering::Acquire);
        if last >> 16 & 1 != phase {
            std::thread::yield_now();
            continue;
        }
        assert_eq!(last & 0xffff, seen % 65_536);
        let result = guest.word(at).load(Ordering::Relaxed);
        assert_eq!(result, !seen, "a torn completion");
        seen += 1;
        head = next(head, entries);
        phase ^= u32::from(head == 0);
        let doorbell = guest.doorbell(DoorbellKind::CompletionHead);
        doorbell.store(head.into(), Ordering::Release);
    }
}
