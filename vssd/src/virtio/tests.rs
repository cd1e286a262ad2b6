//! Virtqueues with a driver that stands in the same thread: what it gets, what
//! an observer sees, and what becomes of one that breaks the rules.

pub(crate) mod driver;
mod hostile;
mod served_again;

use nvme::{DsmRange, Lba, NvmOpcode, QueueId, Status};
use traces::CommandRecord;

use self::driver::{Driver, Piece, Request, SIZE};
use super::layout::{BlockStatus, Range, kind};
use crate::MediaError;
use crate::host::Held;
use crate::media::Ram;

const OK: u8 = BlockStatus::Ok as u8;
const IO_ERROR: u8 = BlockStatus::IoError as u8;
const UNSUPPORTED: u8 = BlockStatus::Unsupported as u8;

fn ram() -> Driver<Ram> {
    Driver::new(Ram::new(1 << 20).unwrap())
}

/// What a trace says of a command on blocks.
fn on_blocks(record: &CommandRecord) -> (NvmOpcode, u64, u32) {
    let (lba, blocks) = record.lba_range().unwrap();
    (NvmOpcode(record.opcode), lba.0, blocks)
}

#[test]
fn data_comes_back_however_its_request_is_cut() {
    let pattern: Vec<u8> = (0..4096_u32).map(|n| (n % 251) as u8).collect();
    // Sizes of the pieces that hold the header, and of those that hold the data.
    let cuts: [(&[u32], &[u32]); 4] = [
        (&[16], &[4096]),
        (&[16], &[1000, 3000, 96]),
        (&[1, 7, 8], &[4095, 1]),
        (&[15, 1], &[512; 8]),
    ];
    for (number, (header, data)) in (0_u64..).zip(cuts) {
        for indirect in [false, true] {
            let mut driver = ram();
            let sector = 8 * number;
            let write = driver.cut(kind::OUT, sector, (header, data), indirect);
            driver.fill(&write, &pattern);
            driver.controller.tap_mut().written = Some(Vec::new());
            assert_eq!(driver.run(&write), (OK, 1), "{number}");
            // However it is cut, an observer sees the same.
            let shown = driver.controller.tap_mut().written.take().unwrap();
            assert_eq!(shown.len(), 1);
            assert_eq!((shown[0].0.block_bytes, &shown[0].1), (512, &pattern));
            let read = driver.cut(kind::IN, sector, (header, data), indirect);
            assert_eq!(driver.run(&read), (OK, 4097), "{number}");
            assert_eq!(driver.data(&read), pattern, "{number}");
            // The status may be the last byte of the last piece of data.
            let joined = driver.joined(sector, 4096);
            assert_eq!(driver.run(&joined), (OK, 4097));
            assert_eq!(driver.data(&joined), pattern);
        }
    }
}

#[test]
fn requests_are_observed_as_nvme_commands() {
    let mut driver = ram();
    let write = driver.request(kind::OUT, 16, 8192);
    driver.run(&write);
    let read = driver.request(kind::IN, 24, 512);
    driver.run(&read);
    let flush = driver.request(kind::FLUSH, 0, 0);
    assert_eq!(driver.run(&flush), (OK, 1));
    let zeroes = driver.ranges(kind::WRITE_ZEROES, &[(17, 3, Range::UNMAP)]);
    assert_eq!(driver.run(&zeroes), (OK, 1));
    let discard = driver.ranges(kind::DISCARD, &[(16, 1, 0), (20, 2, 0)]);
    assert_eq!(driver.run(&discard), (OK, 1));

    let commands = driver.commands();
    let records: Vec<&CommandRecord> = commands.iter().map(|(record, _)| record).collect();
    for (record, request) in records
        .iter()
        .zip([&write, &read, &flush, &zeroes, &discard])
    {
        assert_eq!(record.queue, QueueId(1));
        assert_eq!(record.cid.0, request.head);
        assert_eq!(record.nsid.0, 1);
        assert!(record.completion.unwrap().status.is_success());
    }
    assert_eq!(on_blocks(records[0]), (NvmOpcode::WRITE, 16, 16));
    assert_eq!(on_blocks(records[1]), (NvmOpcode::READ, 24, 1));
    assert_eq!(NvmOpcode(records[2].opcode), NvmOpcode::FLUSH);
    assert_eq!(on_blocks(records[3]), (NvmOpcode::WRITE_ZEROES, 17, 3));
    assert_eq!(NvmOpcode(records[4].opcode), NvmOpcode::DATASET_MANAGEMENT);
    let ranges = [DsmRange::new(Lba(16), 1), DsmRange::new(Lba(20), 2)];
    assert_eq!(commands[4].1, ranges);

    // Zeroed and discarded blocks read as zeroes, and the others stay.
    driver.fill(&write, &[7; 8192]);
    driver.run(&write);
    driver.run(&zeroes);
    driver.run(&discard);
    let all = driver.request(kind::IN, 16, 8192);
    driver.run(&all);
    let data = driver.data(&all);
    let zero = |block: usize| data[block * 512..][..512].iter().all(|&byte| byte == 0);
    let expected: Vec<bool> = (16..32)
        .map(|n| (16..=19).contains(&n) || n == 20 || n == 21)
        .collect();
    let found: Vec<bool> = (0..16).map(zero).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_identity_is_the_serial_number() {
    let mut driver = ram();
    let id = driver.request(kind::GET_ID, 0, 20);
    assert_eq!(driver.run(&id), (OK, 21));
    let serial = &driver.controller.config().serial;
    let mut expected = serial.as_bytes().to_vec();
    expected.resize(20, 0);
    assert_eq!(driver.data(&id), expected);
    assert!(driver.commands().is_empty(), "it is no I/O command");
}

#[test]
fn what_cannot_be_done_is_answered_and_observed_with_its_status() {
    let mut driver = ram();
    let blocks = (1 << 20) / 512;
    let beyond = driver.request(kind::IN, blocks - 1, 1024);
    assert_eq!(driver.run(&beyond).0, IO_ERROR);
    let far = driver.request(kind::OUT, u64::MAX / 1024, 512);
    assert_eq!(driver.run(&far).0, IO_ERROR);
    let nowhere = [
        driver.header(kind::OUT, 0),
        Piece::read(0xdead_0000, 512),
        driver.status(),
    ];
    let nowhere = driver.chain(&nowhere, false);
    assert_eq!(driver.run(&nowhere).0, IO_ERROR);
    let discard = driver.ranges(kind::DISCARD, &[(0, 1, 0), (blocks, 1, 0)]);
    assert_eq!(driver.run(&discard).0, IO_ERROR);

    let statuses: Vec<Status> = driver
        .commands()
        .iter()
        .map(|(record, _)| record.completion.unwrap().status)
        .collect();
    let expected = [
        Status::LBA_OUT_OF_RANGE,
        Status::LBA_OUT_OF_RANGE,
        Status::DATA_TRANSFER_ERROR,
        Status::LBA_OUT_OF_RANGE,
    ];
    assert_eq!(statuses.len(), expected.len());
    for (status, expected) in statuses.into_iter().zip(expected) {
        assert!(status.same_code(expected), "{status:?}, not {expected:?}");
    }
}

#[test]
fn what_no_command_can_say_is_answered_and_not_observed() {
    let mut driver = ram();
    let many = [(0, 1, 0); 257];
    let cases = [
        ("half a block", driver.request(kind::OUT, 0, 100), IO_ERROR),
        ("no data", driver.request(kind::IN, 0, 0), IO_ERROR),
        ("nobody's", driver.request(99, 0, 512), UNSUPPORTED),
        ("a legacy one", driver.request(2, 0, 512), UNSUPPORTED),
        (
            "half a range",
            odd(&mut driver, kind::DISCARD, &[(8, false)]),
            IO_ERROR,
        ),
        (
            "flags",
            driver.ranges(kind::DISCARD, &[(0, 1, 1)]),
            UNSUPPORTED,
        ),
        (
            "many ranges",
            driver.ranges(kind::DISCARD, &many),
            UNSUPPORTED,
        ),
        (
            "an unknown flag",
            driver.ranges(kind::WRITE_ZEROES, &[(0, 1, 2)]),
            UNSUPPORTED,
        ),
        (
            "no zeroes",
            driver.ranges(kind::WRITE_ZEROES, &[(0, 0, 0)]),
            IO_ERROR,
        ),
        (
            "a read with data",
            odd(&mut driver, kind::IN, &[(512, false)]),
            IO_ERROR,
        ),
        (
            "both ways",
            odd(&mut driver, kind::OUT, &[(512, false), (512, true)]),
            IO_ERROR,
        ),
        ("half a header", half_a_header(&mut driver), IO_ERROR),
    ];
    for (what, request, status) in cases {
        assert_eq!(driver.run(&request).0, status, "{what}");
    }
    assert!(driver.commands().is_empty(), "{:?}", driver.commands());
    // The queue goes on.
    let read = driver.request(kind::IN, 0, 512);
    assert_eq!(driver.run(&read), (OK, 513));
}

/// A request with data of such sizes, to be written or not.
fn odd(driver: &mut Driver<Ram>, kind: u32, data: &[(u32, bool)]) -> Request {
    let mut pieces = vec![driver.header(kind, 0)];
    pieces.extend(data.iter().map(|&(len, write)| driver.buffer(len, write)));
    pieces.push(driver.status());
    driver.chain(&pieces, true)
}

fn half_a_header(driver: &mut Driver<Ram>) -> Request {
    let header = driver.header(kind::FLUSH, 0);
    let pieces = [Piece { len: 8, ..header }, driver.status()];
    driver.chain(&pieces, true)
}

#[test]
fn a_read_only_drive_refuses_writes() {
    let mut driver = ram();
    driver.write_protect();
    let requests = [
        driver.request(kind::OUT, 0, 512),
        driver.ranges(kind::DISCARD, &[(0, 1, 0)]),
        driver.ranges(kind::WRITE_ZEROES, &[(0, 1, 0)]),
    ];
    for request in &requests {
        assert_eq!(driver.run(request).0, IO_ERROR);
    }
    let read = driver.request(kind::IN, 0, 512);
    assert_eq!(driver.run(&read).0, OK);
    for (record, _) in &driver.commands()[..3] {
        let status = record.completion.unwrap().status;
        assert!(status.same_code(Status::NAMESPACE_WRITE_PROTECTED));
    }
}

#[test]
fn requests_larger_than_an_nvme_transfer_are_one_command() {
    let mut driver = Driver::new(Ram::new(64 << 20).unwrap());
    let limit = 4096_u32 << driver.controller.config().mdts;
    let size = 2 * limit;
    let read = [
        driver.header(kind::IN, 0),
        Piece::write(driver::BASE, size),
        driver.status(),
    ];
    // All of the driver's memory is too little: the same piece, again and again.
    let piece = Piece::write(driver.buffer(4096, true).address, 4096);
    let count = usize::try_from(size / 4096).unwrap();
    let mut pieces = vec![read[0]];
    pieces.extend(vec![piece; count]);
    pieces.push(read[2]);
    let request = driver.chain(&pieces, true);
    assert_eq!(driver.run(&request), (OK, size + 1));
    assert_eq!(
        on_blocks(&driver.commands()[0].0),
        (NvmOpcode::READ, 0, size / 512)
    );
}

#[test]
fn what_the_medium_fails_is_an_error() {
    let mut driver = Driver::new(Held::default());
    let write = driver.request(kind::OUT, 0, 512);
    driver.offer(write.head);
    driver.controller.poll(64);
    assert_eq!(driver.used(), []);
    assert!(!driver.controller.idle());
    driver.controller.media_mut().error = Some(MediaError::NoSpace);
    driver.controller.media_mut().release = 1;
    driver.controller.poll(64);
    assert_eq!(driver.used(), [(write.head, 1)]);
    assert_eq!(driver.status_of(&write), IO_ERROR);
    assert!(driver.controller.idle());
}

/// Of each request but the first, before the one in front of it is executed.
#[test]
fn the_medium_hears_where_the_next_request_goes() {
    let mut driver = Driver::new(Held::default());
    let requests = [
        driver.request(kind::IN, 8, 512),
        driver.request(kind::OUT, 24, 512),
        driver.request(kind::FLUSH, 0, 0),
        driver.cut(kind::IN, 40, (&[16], &[512, 512]), false),
        // A header in two pieces is not looked for.
        driver.cut(kind::IN, 48, (&[8, 8], &[512]), false),
        // Beyond the end of the drive.
        driver.request(kind::IN, 1 << 40, 512),
    ];
    for request in &requests {
        driver.offer(request.head);
    }
    driver.controller.poll(64);
    let foreseen = driver.controller.media().foreseen.take();
    assert_eq!(foreseen, [(24 * 512, true), (40 * 512, false)]);
}

#[test]
fn every_used_request_is_told_of_where_the_driver_wants_that() {
    for event_idx in [false, true] {
        let mut driver = ram();
        driver.restart(event_idx);
        let read = driver.request(kind::IN, 0, 512);
        driver.run(&read);
        assert_eq!(driver.calls(), 1, "the first is told of");
        // Two in one batch: one call.
        let other = driver.request(kind::IN, 8, 512);
        driver.want_call_after(1);
        driver.offer(read.head);
        driver.offer(other.head);
        driver.controller.poll(64);
        assert_eq!(driver.used().len(), 2);
        assert_eq!(driver.calls(), 1);
        driver.want_no_call(5);
        driver.run(&read);
        assert_eq!(driver.calls(), 0);
        driver.want_call_after(4);
        driver.run(&read);
        assert_eq!(driver.calls(), 1);
    }
}

#[test]
fn a_request_that_comes_while_going_to_sleep_is_seen() {
    for event_idx in [false, true] {
        let mut driver = ram();
        driver.restart(event_idx);
        driver.look();
        let read = driver.request(kind::IN, 0, 512);
        driver.run(&read);
        assert!(!driver.wants_kick(), "nobody kicks while somebody looks");
        assert!(!driver.listen(), "there is nothing to do");
        assert!(driver.wants_kick());
        driver.look();
        driver.offer(read.head);
        assert!(driver.listen(), "there is something to do");
        driver.controller.poll(64);
        assert_eq!(driver.used().len(), 1);
    }
}

#[test]
fn several_queues_take_turns() {
    let mut driver = ram();
    let size = usize::from(SIZE);
    driver.second();
    for _ in 0..size {
        let request = driver.request(kind::IN, 0, 512);
        driver.offer(request.head);
    }
    driver.offer_second_read();
    let budget = u32::from(SIZE) - 2;
    driver.controller.poll(budget);
    driver.controller.poll(budget);
    let queues: Vec<u16> = driver
        .commands()
        .iter()
        .map(|(record, _)| record.queue.0)
        .collect();
    assert_eq!(queues.iter().filter(|&&queue| queue == 1).count(), size);
    assert_eq!(queues.iter().filter(|&&queue| queue == 2).count(), 1);
}
