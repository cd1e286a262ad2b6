//! What is read is held against what was written: what is wrong is found, and
//! nothing else.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use driver::Controller;
use driver::ioworker::{Ioworker, IoworkerOptions, IoworkerReport, Op, Step, extent, run_together};
use driver::transport::Transport as _;
use driver::verify::{BlockState, Content, Expected, VerifyTable};
use nvme::{Lba, NamespaceId};
use traces::{MonotonicClock, VirtualClock};
use vssd::ControllerConfig;
use vssd::media::{RawFile, RawFileOptions};

use crate::common::{Device, PATIENCE, Server};
use crate::in_process::{InProcess, bring_up};

const BLOCK: usize = 512;

fn parse(text: &str) -> IoworkerOptions {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A device in this thread, and what is known of its first blocks.
struct Bench {
    controller: Controller<InProcess, VirtualClock>,
    clock: VirtualClock,
    table: Arc<VerifyTable>,
}

impl Bench {
    fn new() -> Self {
        let (mut controller, clock) = bring_up();
        let table = VerifyTable::of_controller(&mut controller, NamespaceId(1), 0..8192);
        Self {
            table: Arc::new(table.unwrap()),
            controller,
            clock,
        }
    }

    fn worker(&mut self, mut options: IoworkerOptions) -> Ioworker {
        options.verify_table = Some(Arc::clone(&self.table));
        Ioworker::create(&mut self.controller, options).unwrap()
    }

    fn work(&mut self, options: IoworkerOptions) -> IoworkerReport {
        let mut worker = self.worker(options);
        let queue = worker.queue();
        while worker.step(&self.clock).unwrap() {
            self.controller.transport_mut().relax();
            self.clock.advance(1000);
        }
        let report = worker.finish().1;
        self.controller.delete_queue_pair(queue).unwrap();
        report
    }

    /// One command after the other.
    fn issue(&mut self, commands: &[(Op, u64, u32)], verify: bool) -> IoworkerReport {
        let step = |&(op, lba, blocks): &_| Step(0, op, 1, lba, blocks);
        self.work(IoworkerOptions {
            io_sequence: commands.iter().map(step).collect(),
            qdepth: 1,
            verify,
            ..IoworkerOptions::default()
        })
    }

    fn states(&self, blocks: Range<u64>) -> Vec<BlockState> {
        blocks.map(|lba| self.table.state(Lba(lba))).collect()
    }
}

#[test]
fn each_kind_of_change_says_what_is_read_then() {
    let mut bench = Bench::new();
    let before = bench.issue(&[(Op::Read, 0, 8)], true);
    assert_eq!((before.verified_blocks, before.skipped_blocks), (0, 8));
    let changes = [
        (Op::Write, 0, 10),
        (Op::WriteZeroes, 2, 2),
        (Op::Trim, 4, 2),
        (Op::WriteUncorrectable, 6, 2),
        (Op::Read, 0, 6),
        (Op::Read, 5, 4),
        (Op::Verify, 6, 1),
        (Op::Flush, 0, 1),
    ];
    let report = bench.issue(&changes, true);
    let mut states = vec![BlockState::Written; 2];
    states.extend([BlockState::Zeroed; 2]);
    states.extend([BlockState::Deallocated; 2]);
    states.extend([BlockState::Uncorrectable; 2]);
    states.extend([BlockState::Written; 2]);
    states.push(BlockState::Unknown);
    assert_eq!(bench.states(0..11), states);
    // Of the read that failed, the two blocks because of which it did.
    assert_eq!(
        (report.verified_blocks, report.skipped_blocks),
        (6 + 2 + 1, 2)
    );
    assert_eq!((report.errors(), report.expected_errors), (0, 2));
    assert_eq!(report.mismatched_blocks, 0);
    assert_eq!(report.statuses.values().sum::<u64>(), 2);
    // Written again, it can be read again.
    let report = bench.issue(&[(Op::Write, 6, 2), (Op::Read, 0, 10)], true);
    assert_eq!((report.verified_blocks, report.errors()), (10, 0));
}

#[test]
fn what_the_device_changed_by_itself_is_found_whatever_it_was() {
    let mut bench = Bench::new();
    let changes = [
        (Op::Write, 0, 4),
        (Op::WriteZeroes, 1, 1),
        (Op::WriteUncorrectable, 2, 1),
        (Op::Write, 8, 1),
        (Op::Trim, 8, 1),
    ];
    bench.issue(&changes, true);
    // A write that nobody told the table of.
    bench.issue(&[(Op::Write, 0, 3), (Op::Write, 8, 1)], false);
    let report = bench.issue(&[(Op::Read, 0, 4), (Op::Read, 8, 1)], true);
    assert_eq!((report.verified_blocks, report.mismatched_blocks), (1, 4));
    assert_eq!(report.errors(), 2, "a read with wrong data has failed");
    let found: Vec<_> = report
        .mismatches
        .iter()
        .map(|m| (m.lba, m.expected, m.writer.number))
        .collect();
    assert!(matches!(found[0], (Lba(0), Expected::Written { .. }, 0)));
    assert!(matches!(found[1], (Lba(1), Expected::Zeroes, 1)));
    assert!(matches!(found[2], (Lba(2), Expected::ReadError, 2)));
    assert!(matches!(
        found[3],
        (Lba(8), Expected::WrittenOrFilled { value: 0, .. }, 3)
    ));
    assert_eq!(report.mismatches[0].found.content, Content::Other);
}

#[test]
fn the_writer_is_told_when_its_log_has_forgotten_it() {
    let mut bench = Bench::new();
    let fill = "verify = true\nread_percentage = 0\nlba_random = 0\nio_size = 1\nqdepth = 8\nregion = \"0..8000\"\npasses = 1";
    bench.work(parse(fill));
    bench.issue(
        &[(Op::WriteZeroes, 5, 1), (Op::WriteZeroes, 7777, 1)],
        false,
    );
    let report = bench.issue(&[(Op::Read, 5, 1), (Op::Read, 7777, 1)], true);
    let [old, new] = &report.mismatches[..] else {
        panic!("{:?}", report.mismatches)
    };
    assert_eq!((new.lba, new.writer.number), (Lba(7777), 7777));
    let entry = new.writer.entry.as_ref().unwrap();
    assert_eq!((entry.sqe.slba(), entry.number), (Lba(7777), 7777));
    assert_eq!(new.writer.cid, Some(entry.sqe.cid()));
    assert_eq!(new.found.content, Content::Filled(0));
    assert_eq!((old.lba, old.writer.number), (Lba(5), 5));
    assert!(old.writer.entry.is_none());
    assert!(old.writer.cid.is_some());
    assert!(old.writer.submitted.unwrap() < new.writer.submitted.unwrap());
    let text = old.to_string();
    assert!(text.starts_with("LBA 5 is wrong: CRC32C 0x"), "{text}");
    assert!(text.contains("by command 5 of queue 1, cid "), "{text}");
}

#[test]
fn a_write_that_was_lost_leaves_its_blocks_unknown() {
    let mut bench = Bench::new();
    bench.issue(&[(Op::Write, 0, 16)], true);
    assert_eq!(bench.states(0..16), [BlockState::Written; 16]);
    let write = IoworkerOptions {
        io_sequence: vec![Step(0, Op::Write, 1, 4, 8)],
        verify: true,
        ..IoworkerOptions::default()
    };
    let mut worker = bench.worker(write);
    worker.step(&bench.clock).unwrap();
    assert_eq!(bench.table.state(Lba(4)), BlockState::Changing);
    bench.controller.reset().unwrap();
    while worker.step(&bench.clock).unwrap() {}
    let lost = worker.finish().1;
    assert_eq!(lost.errors(), 1);
    let mut states = [BlockState::Written; 16];
    states[4..12].fill(BlockState::Unknown);
    assert_eq!(bench.states(0..16), states);
    let report = bench.issue(&[(Op::Read, 0, 16)], true);
    assert_eq!((report.verified_blocks, report.skipped_blocks), (8, 8));
    assert_eq!(report.errors(), 0);
}

#[test]
fn what_one_phase_wrote_the_next_verifies() {
    let mut bench = Bench::new();
    let fill = "verify = true\nread_percentage = 0\nlba_random = 0\nio_size = \"64KiB\"\nregion = \"0..2MiB\"\npasses = 1";
    bench.work(parse(fill));
    let read =
        "verify = true\nlba_random = 0\nio_size = \"16KiB\"\nregion = \"0..2MiB\"\npasses = 1";
    let report = bench.work(parse(read));
    assert_eq!((report.verified_blocks, report.skipped_blocks), (4096, 0));
    // With a table of its own, it knows nothing.
    let mut alone = Ioworker::create(&mut bench.controller, parse(read)).unwrap();
    while alone.step(&bench.clock).unwrap() {
        bench.controller.transport_mut().relax();
    }
    let report = alone.finish().1;
    assert_eq!((report.verified_blocks, report.skipped_blocks), (0, 4096));
}

#[test]
fn a_table_that_cannot_be_is_refused() {
    let (mut controller, _clock) = bring_up();
    let mut namespace = controller.info().namespaces[0];
    assert_eq!(VerifyTable::BYTES_A_BLOCK, 24);
    namespace.blocks = 1 << 50;
    let error = VerifyTable::new(namespace, 0..1 << 50, Some(0)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("24 bytes for each"), "{text}");
    assert!(text.contains("choose a smaller region"), "{text}");
    // Memory is only taken where something is written.
    let table = VerifyTable::new(namespace, 7..50_000_000, None).unwrap();
    assert_eq!(table.blocks(), 7..50_000_000);
    for blocks in [8..8, 0..namespace.blocks + 1] {
        VerifyTable::new(namespace, blocks, None).unwrap_err();
    }
    let table = VerifyTable::of_controller(&mut controller, NamespaceId(1), 8..64).unwrap();
    let options = IoworkerOptions {
        verify_table: Some(Arc::new(table)),
        ..parse("verify = true\nregion = \"0..64\"\nio_count = 1")
    };
    let error = Ioworker::create(&mut controller, options).unwrap_err();
    assert!(error.to_string().starts_with("verify: "), "{error}");
    let options = parse("io_sequence = [[0, \"read\", 1, 9, 4], [5, \"write\", 1, 3, 2]]");
    assert_eq!(
        extent(&options, controller.info().namespaces[0]).unwrap(),
        3..13
    );
}

/// Workers in threads, on one table.
fn together(device: &mut Device, table: &Arc<VerifyTable>, jobs: &[&str]) -> Vec<IoworkerReport> {
    let mut workers = Vec::new();
    for (seed, job) in (1..).zip(jobs) {
        let options = IoworkerOptions {
            verify: true,
            verify_table: Some(Arc::clone(table)),
            seed,
            ..parse(job)
        };
        workers.push(Ioworker::create(device, options).unwrap());
    }
    let results = run_together(workers, &MonotonicClock::start());
    results.into_iter().map(Result::unwrap).collect()
}

fn table_of(device: &mut Device, blocks: Range<u64>) -> Arc<VerifyTable> {
    Arc::new(VerifyTable::of_controller(device, NamespaceId(1), blocks).unwrap())
}

#[test]
fn commands_that_overlap_are_no_false_alarm() {
    let server = Server::small();
    let mut device = server.connect();
    let table = table_of(&mut device, 0..512);
    let mix = "region = \"0..512\"\nio_size = \"1..8\"\nio_count = 8000\nop_percentage = \
        { read = 40, write = 40, write_zeroes = 5, trim = 5, write_uncorrectable = 5, verify = 5 }";
    let busy = format!("{mix}\nqdepth = 64\nskew = {{ zipf = 1.0 }}");
    let calm = format!("{mix}\nqdepth = 2");
    let reports = together(&mut device, &table, &[&busy, &busy, &busy, &calm]);
    let sweep = "region = \"0..512\"\nlba_random = 0\nio_size = 1\npasses = 1";
    let last = together(&mut device, &table, &[sweep]).remove(0);
    for report in reports.iter().chain([&last]) {
        assert_eq!(report.mismatches, []);
        assert_eq!((report.errors(), report.mismatched_blocks), (0, 0));
    }
    let verified: u64 = reports.iter().map(|report| report.verified_blocks).sum();
    let skipped: u64 = reports.iter().map(|report| report.skipped_blocks).sum();
    assert!(verified > 100 && skipped > 100, "{verified}, {skipped}");
    assert!(last.verified_blocks > 0, "nothing is certain at the end");
    assert!((0..512).all(|lba| table.state(Lba(lba)) != BlockState::Changing));
}

/// A device whose medium is a file, which others can change.
struct OnFile {
    server: Server,
    file: File,
    _directory: tempfile::TempDir,
}

impl OnFile {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let options = RawFileOptions {
            create: Some(16 << 20),
            ..RawFileOptions::default()
        };
        let media = RawFile::open(&path, options).unwrap();
        let server = Server::start_on(ControllerConfig::default(), move || media);
        let file = OpenOptions::new().read(true).write(true).open(path);
        Self {
            server,
            file: file.unwrap(),
            _directory: directory,
        }
    }

    fn block(&self, lba: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        self.file
            .read_exact_at(&mut block, lba * BLOCK as u64)
            .unwrap();
        block
    }

    fn put(&self, lba: u64, block: &[u8; BLOCK]) {
        self.file.write_all_at(block, lba * BLOCK as u64).unwrap();
    }
}

const FILL: &str =
    "region = \"0..1024\"\nread_percentage = 0\nlba_random = 0\nio_size = 8\npasses = 1";
const READ: &str = "region = \"0..1024\"\nlba_random = 0\nio_size = 8\npasses = 1";

#[test]
fn a_bit_that_flips_under_a_running_worker_is_found() {
    let disk = OnFile::start();
    let mut device = disk.server.connect();
    let table = table_of(&mut device, 0..1024);
    together(&mut device, &table, &[FILL]);
    let options = IoworkerOptions {
        verify: true,
        verify_table: Some(Arc::clone(&table)),
        time: Some(PATIENCE),
        ..parse("region = \"0..1024\"\nqdepth = 8")
    };
    let worker = Ioworker::create(&mut device, options).unwrap();
    let live = worker.live();
    let thread = std::thread::spawn(move || worker.run(&MonotonicClock::start()).unwrap());
    let reach = |commands: u64| {
        while live.commands() < commands {
            assert!(!thread.is_finished());
            std::thread::yield_now();
        }
    };
    reach(1000);
    let mut block = disk.block(333);
    block[400] ^= 4;
    disk.put(333, &block);
    // Enough that it is read by chance.
    reach(live.commands() + 3000);
    live.stop();
    let report = thread.join().unwrap();
    assert!(report.mismatched_blocks > 0 && report.errors() > 0);
    assert!(report.verified_blocks > 8000);
    for mismatch in &report.mismatches {
        let writer = &mismatch.writer;
        assert_eq!((mismatch.lba, writer.number), (Lba(333), 333 / 8));
        assert_eq!(writer.entry.as_ref().unwrap().sqe.slba(), Lba(328));
        let Expected::Written { crc, token } = mismatch.expected else {
            panic!("{mismatch}")
        };
        assert_ne!(crc, mismatch.found.crc);
        let Content::Stamped {
            lba, token: found, ..
        } = mismatch.found.content
        else {
            panic!("{mismatch}")
        };
        assert_eq!((lba, found), (Lba(333), token), "the stamp is whole");
        assert_eq!(mismatch.reader.queue, nvme::QueueId(2));
    }
}

#[test]
fn blocks_that_changed_places_or_are_old_say_so() {
    let disk = OnFile::start();
    let mut device = disk.server.connect();
    let table = table_of(&mut device, 0..1024);
    together(&mut device, &table, &[FILL]);
    let old = disk.block(40);
    together(&mut device, &table, &[FILL]);
    let (near, far) = (disk.block(7), disk.block(1000));
    disk.put(7, &far);
    disk.put(1000, &near);
    disk.put(40, &old);
    let report = together(&mut device, &table, &[READ]).remove(0);
    assert_eq!(
        (report.verified_blocks, report.mismatched_blocks),
        (1021, 3)
    );
    let seen = |index: usize| {
        let mismatch = &report.mismatches[index];
        let Content::Stamped { lba, writer, .. } = &mismatch.found.content else {
            panic!("{mismatch}")
        };
        let writer = writer.as_ref().unwrap();
        (mismatch.lba.0, lba.0, writer.queue.0, writer.number)
    };
    assert_eq!(seen(0), (7, 1000, 2, 125));
    assert_eq!(seen(1), (40, 40, 1, 5));
    assert_eq!(seen(2), (1000, 7, 2, 0));
    let text = report.mismatches[1].to_string();
    assert!(text.contains(" of LBA 40 (command 5 of queue 1"), "{text}");
    // Another run's data is known for what it is.
    let other = table_of(&mut device, 0..1024);
    let stamped = disk.block(40);
    together(&mut device, &other, &[FILL]);
    disk.put(40, &stamped);
    let report = together(&mut device, &other, &[READ]).remove(0);
    let text = report.mismatches[0].to_string();
    assert!(text.contains(" of LBA 40 (another run)"), "{text}");
}

#[test]
fn a_deallocated_block_may_hold_what_it_held_but_nothing_else() {
    let disk = OnFile::start();
    let mut device = disk.server.connect();
    let table = table_of(&mut device, 0..1024);
    together(&mut device, &table, &[FILL]);
    let kept = disk.block(50);
    let trim = "io_sequence = [[0, \"trim\", 1, 48, 8]]";
    together(&mut device, &table, &[trim]);
    assert_eq!(disk.block(50), [0; BLOCK]);
    // As if the device had not taken the hint for one block.
    disk.put(50, &kept);
    let report = together(&mut device, &table, &[READ]).remove(0);
    assert_eq!(
        (report.verified_blocks, report.mismatched_blocks),
        (1024, 0)
    );
    disk.put(51, &kept);
    let report = together(&mut device, &table, &[READ]).remove(0);
    assert_eq!(report.mismatched_blocks, 1);
    let mismatch = &report.mismatches[0];
    assert_eq!(mismatch.lba, Lba(51));
    assert!(
        matches!(
            mismatch.expected,
            Expected::WrittenOrFilled { value: 0, .. }
        ),
        "{mismatch}"
    );
}
