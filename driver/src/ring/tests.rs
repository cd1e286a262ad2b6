use nvme::{CommandId, NamespaceId, Status};
use zerocopy::IntoBytes;

use super::*;
use crate::transport::memory::DmaArena;

/// The controller's end of a completion queue, as simple as can be.
struct Device {
    tail: u32,
    phase: bool,
    /// What the head doorbell said last.
    head: u32,
    entries: u32,
}

impl Device {
    fn room(&self) -> u32 {
        (self.head + self.entries - self.tail - 1) % self.entries
    }

    fn post(&mut self, memory: &DmaBuffer, start: usize, cid: u16) {
        assert!(self.room() > 0, "the host did not say in time what it read");
        let mut cqe = Cqe::default();
        cqe.command_id.set(cid);
        cqe.result.set(u32::from(cid) * 3);
        cqe.set_status(Status::SUCCESS, self.phase);
        let offset = start + self.tail as usize * CQE_BYTES;
        let bytes: [u8; CQE_BYTES] = zerocopy::transmute!(cqe);
        let [low, high]: [[u8; 8]; 2] = zerocopy::transmute!(bytes);
        memory.store_words(offset, [low, high].map(u64::from_le_bytes));
        self.tail = (self.tail + 1) % self.entries;
        self.phase ^= self.tail == 0;
    }
}

fn memory(bytes: usize) -> Arc<DmaBuffer> {
    let buffer = DmaArena::new().allocate(bytes, |_| Ok(())).unwrap();
    Arc::new(buffer)
}

fn laps(entries: u32, in_flight_max: u32) {
    let start = 4096;
    let memory = memory(3 * 4096);
    let place = RingPlace { start, entries };
    let mut ring = CompletionRing::new(Arc::clone(&memory), place, in_flight_max);
    let mut device = Device {
        tail: 0,
        phase: true,
        head: 0,
        entries,
    };
    let mut next = 0_u16;
    let mut expected = 0_u16;
    for round in 0..20 * entries {
        // As many at a time as can be in flight, and fewer.
        let burst = round % in_flight_max + 1;
        for _ in 0..burst {
            device.post(&memory, start, next);
            next = next.wrapping_add(1);
        }
        for _ in 0..burst {
            let cqe = ring.pop().unwrap();
            assert_eq!(cqe.cid(), CommandId(expected));
            assert_eq!(cqe.result.get(), u32::from(expected) * 3);
            expected = expected.wrapping_add(1);
            if let Some(head) = ring.report() {
                device.head = head;
            }
        }
        assert!(ring.pop().is_none(), "an entry of the lap before");
    }
}

#[test]
fn completions_come_once_and_in_order_over_many_laps() {
    for (entries, in_flight_max) in [(2, 1), (3, 1), (3, 2), (8, 7), (9, 4), (17, 8), (255, 127)] {
        laps(entries, in_flight_max);
    }
}

#[test]
fn the_device_is_told_as_rarely_as_it_can_be() {
    let memory = memory(4096);
    let place = RingPlace {
        start: 0,
        entries: 65,
    };
    let mut ring = CompletionRing::new(Arc::clone(&memory), place, 32);
    let mut device = Device {
        tail: 0,
        phase: true,
        head: 0,
        entries: 65,
    };
    let mut reports = 0;
    for cid in 0..3300 {
        device.post(&memory, 0, cid);
        assert!(ring.pop().is_some());
        if let Some(head) = ring.report() {
            device.head = head;
            reports += 1;
        }
    }
    assert_eq!(reports, 100, "one in 33");
}

#[test]
fn entries_stand_in_the_ring_as_they_are_and_wrap() {
    let memory = memory(4096);
    let place = RingPlace {
        start: 64,
        entries: 3,
    };
    let mut ring = SubmissionRing::new(Arc::clone(&memory), place);
    for number in 0_u32..7 {
        let mut sqe = Sqe::new(2, NamespaceId(number));
        sqe.prp2.set(u64::from(number) << 40 | 0x1122_3344);
        let index = number as usize % 3;
        assert_eq!(ring.tail() as usize, index);
        ring.push(&sqe);
        let mut stored = [0; SQE_BYTES];
        memory.read_at(64 + index * SQE_BYTES, &mut stored).unwrap();
        assert_eq!(stored, sqe.as_bytes());
    }
    assert_eq!(ring.tail(), 1);
}
