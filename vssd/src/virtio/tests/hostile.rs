//! Drivers that break the rules.

use proptest::prelude::*;

use super::driver::{BASE, Driver, Piece, SIZE};
use super::{OK, ram};
use crate::front::Function;
use crate::media::Ram;
use crate::virtio::layout::{Descriptor, kind};

const NEXT: u16 = Descriptor::NEXT;
const INDIRECT: u16 = Descriptor::INDIRECT;

/// Breaks a rule on a queue whose descriptors from `at` on are its own.
type Breach = fn(&mut Driver<Ram>);

fn slot(index: u16) -> u64 {
    Driver::<Ram>::place(0).descriptors + 16 * u64::from(index)
}

/// A request of pieces that are laid out already, with any flags.
fn raw(driver: &mut Driver<Ram>, pieces: &[(Piece, u16, u16)]) {
    for (index, (piece, flags, next)) in (0_u16..).zip(pieces) {
        driver.descriptor(slot(index), *piece, *flags, *next);
    }
    driver.offer(0);
}

const BREACHES: [(&str, Breach); 13] = [
    ("a loop", |driver| {
        let header = driver.header(kind::OUT, 0);
        let data = driver.buffer(512, false);
        raw(driver, &[(header, NEXT, 1), (data, NEXT, 1)]);
    }),
    ("a loop in a table", |driver| {
        let header = driver.header(kind::OUT, 0);
        let room = driver.buffer(32, false);
        driver.descriptor(room.address, header, NEXT, 1);
        driver.descriptor(room.address + 16, header, NEXT, 0);
        raw(driver, &[(room, INDIRECT, 0)]);
    }),
    ("a head beyond the table", |driver| driver.offer(SIZE)),
    ("a descriptor beyond the table", |driver| {
        let header = driver.header(kind::OUT, 0);
        raw(driver, &[(header, NEXT, SIZE)]);
    }),
    ("a descriptor beyond an indirect table", |driver| {
        let header = driver.header(kind::OUT, 0);
        let room = driver.buffer(16, false);
        driver.descriptor(room.address, header, NEXT, 1);
        raw(driver, &[(room, INDIRECT, 0)]);
    }),
    ("an empty indirect table", |driver| {
        let room = driver.buffer(16, false);
        raw(driver, &[(Piece { len: 0, ..room }, INDIRECT, 0)]);
    }),
    ("an indirect table of no whole descriptors", |driver| {
        let room = driver.buffer(24, false);
        raw(driver, &[(room, INDIRECT, 0)]);
    }),
    ("an indirect table in one", |driver| {
        let room = driver.buffer(16, false);
        driver.descriptor(room.address, room, INDIRECT, 0);
        raw(driver, &[(room, INDIRECT, 0)]);
    }),
    ("an indirect table in no memory", |driver| {
        raw(driver, &[(Piece::read(u64::MAX - 8, 32), INDIRECT, 0)]);
    }),
    ("no status", |driver| {
        let header = driver.header(kind::FLUSH, 0);
        raw(driver, &[(header, 0, 0)]);
    }),
    ("a status in no memory", |driver| {
        let header = driver.header(kind::FLUSH, 0);
        let status = Piece::write(u64::MAX, u32::MAX);
        raw(driver, &[(header, NEXT, 1), (status, 0, 0)]);
    }),
    ("memory to be read behind memory to be written", |driver| {
        let status = driver.status();
        let header = driver.header(kind::FLUSH, 0);
        raw(driver, &[(status, NEXT, 1), (header, 0, 0)]);
    }),
    ("an index that jumps", |driver| {
        driver.set_available(SIZE + 1);
    }),
];

#[test]
fn a_queue_that_is_spoilt_is_left_alone_and_the_others_go_on() {
    for (what, breach) in BREACHES {
        let mut driver = ram();
        driver.second();
        breach(&mut driver);
        driver.controller.poll(64);
        assert_eq!(driver.used(), [], "{what}");
        assert!(driver.commands().is_empty(), "{what}");
        let request = driver.request(kind::IN, 0, 512);
        driver.offer(request.head);
        driver.controller.poll(64);
        assert_eq!(driver.used(), [], "{what}: it is served no more");
        driver.offer_second_read();
        driver.controller.poll(64);
        assert_eq!(
            driver.commands().len(),
            1,
            "{what}: the other queue goes on"
        );
        assert!(driver.controller.idle(), "{what}");
    }
}

#[test]
fn a_request_that_is_offered_twice_spoils_the_queue_and_runs_once() {
    let mut driver = Driver::new(crate::host::Held::default());
    let read = driver.request(kind::IN, 0, 512);
    driver.offer(read.head);
    driver.offer(read.head);
    driver.controller.poll(64);
    assert_eq!(driver.controller.media_mut().tickets.len(), 1);
    driver.controller.media_mut().release = 2;
    driver.controller.poll(64);
    assert!(driver.controller.idle());
    assert_eq!(driver.commands().len(), 1);
}

#[test]
fn memory_that_goes_away_spoils_what_is_in_it() {
    let mut driver = Driver::new(crate::host::Held::default());
    let read = driver.request(kind::IN, 0, 512);
    driver.offer(read.head);
    driver.controller.poll(64);
    driver.controller.dma_unmap_all();
    driver.controller.poll(64);
    assert!(
        driver.controller.idle(),
        "nothing waits for memory to come back"
    );
    let (rings, memory) = driver.controller.rings();
    assert!(!rings.listen(memory));
}

#[test]
fn a_spoilt_queue_can_be_started_anew() {
    let mut driver = ram();
    driver.offer(SIZE);
    driver.controller.poll(64);
    let (rings, memory) = driver.controller.rings();
    rings.stop(0, memory);
    driver.start(1, None, false);
    let read = driver.request(kind::IN, 0, 512);
    assert_eq!(driver.run(&read), (OK, 513));
}

fn anything() -> impl Strategy<Value = (u64, u32, u16, u16)> {
    let address = prop_oneof![
        4 => BASE..BASE + 0x2_0000,
        1 => Just(BASE + (1 << 22) - 8),
        1 => any::<u64>(),
    ];
    let len = prop_oneof![3 => 0..5000_u32, 1 => any::<u32>()];
    (address, len, 0..8_u16, 0..SIZE + 2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever stands in the rings: it ends, nothing is written outside of what
    /// the guest has, and every command that was observed has ended.
    #[test]
    fn any_descriptors_end(
        table in prop::collection::vec(anything(), usize::from(SIZE)),
        heads in prop::collection::vec(0..SIZE + 1, 1..usize::from(SIZE)),
        headers in prop::collection::vec((0..15_u32, 0..4096_u64), 8),
    ) {
        let mut driver = ram();
        for (kind, sector) in headers {
            driver.header(kind, sector);
        }
        for (index, (address, len, flags, next)) in (0..SIZE).zip(table) {
            let piece = Piece { address, len, write: false };
            driver.descriptor(slot(index), piece, flags, next);
        }
        for head in heads {
            driver.offer(head);
        }
        for _ in 0..4 {
            driver.controller.poll(64);
        }
        prop_assert!(driver.controller.idle());
        for (record, _) in driver.commands() {
            prop_assert!(record.completion.is_some());
        }
    }
}
