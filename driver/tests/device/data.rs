//! What is written is what is read, by every command and at every length.

use crate::common::{Device, Server, run, succeed};
use driver::ioworker::{IoSize, Ioworker, IoworkerOptions, Region, Size};
use driver::{Command, DmaBuffer, DriverError, QueueOptions, QueuePair, SubmitReason};
use nvme::{
    DsmAttributes, DsmRange, Lba, NSID_ALL, NamespaceId, NvmOpcode, Sqe, Status, ZeroBased,
};
use traces::MonotonicClock;
use vssd::ControllerConfig;

const N1: NamespaceId = NamespaceId(1);
const BLOCK: usize = 512;

fn blocks(count: usize) -> ZeroBased<u16> {
    ZeroBased::<u16>::of(u32::try_from(count).unwrap()).unwrap()
}

fn device(mdts: u8, bytes: u64) -> (Server, Device, QueuePair) {
    let config = ControllerConfig {
        mdts,
        ..ControllerConfig::default()
    };
    let server = Server::start(config, bytes);
    let mut device = server.connect();
    let pair = device.create_queue_pair(QueueOptions::default()).unwrap();
    (server, device, pair)
}

/// Writes `data` at `lba` from `offset` of the buffer.
fn write(pair: &mut QueuePair, buffer: &mut DmaBuffer, offset: usize, lba: u64, data: &[u8]) {
    buffer.write_at(offset, data).unwrap();
    let slice = buffer.slice(offset, data.len()).unwrap();
    let count = blocks(data.len() / BLOCK);
    succeed(pair, Command::write(N1, Lba(lba), count, slice));
}

/// Reads `bytes` bytes at `lba` to `offset` of the buffer, and sees that
/// nothing around them is touched.
fn read(
    pair: &mut QueuePair,
    buffer: &mut DmaBuffer,
    offset: usize,
    lba: u64,
    bytes: usize,
) -> Vec<u8> {
    buffer.fill(0, buffer.len(), 0x5a).unwrap();
    let slice = buffer.slice(offset, bytes).unwrap();
    succeed(
        pair,
        Command::read(N1, Lba(lba), blocks(bytes / BLOCK), slice),
    );
    let mut all = vec![0; buffer.len()];
    buffer.read_at(0, &mut all).unwrap();
    assert!(all[..offset].iter().all(|byte| *byte == 0x5a));
    assert!(all[offset + bytes..].iter().all(|byte| *byte == 0x5a));
    all[offset..offset + bytes].to_vec()
}

#[test]
fn any_length_up_to_mdts_at_any_offset_survives() {
    let (_server, mut device, mut pair) = device(5, 16 << 20);
    let mdts = device.info().mdts_bytes.unwrap();
    assert_eq!((mdts, pair.transfer_bytes_max()), (128 << 10, 128 << 10));
    let mut buffer = device.allocate_dma(mdts + 3 * 4096).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    for bytes in [512, 4096, 4608, 8192, 8704, 12288, 65536, mdts - 512, mdts] {
        for offset in [0, 4, 508, 512, 2048, 4092, 4096, 5000] {
            let lba = rng.u64(0..1000);
            let mut data = vec![0; bytes];
            rng.fill(&mut data);
            write(&mut pair, &mut buffer, offset, lba, &data);
            let other = (offset + 4 * rng.usize(0..1000)) % 8192;
            assert!(
                read(&mut pair, &mut buffer, other, lba, bytes) == data,
                "{bytes} bytes written from {offset}, read to {other}"
            );
        }
    }
}

#[test]
fn chained_lists_carry_megabytes() {
    // MDTS 10 is 4 MiB: lists of three pages.
    let (_server, mut device, mut pair) = device(10, 32 << 20);
    let bytes = 4 << 20;
    assert_eq!(pair.transfer_bytes_max(), bytes);
    let mut buffer = device.allocate_dma(bytes + 8192).unwrap();
    let mut data = vec![0; bytes];
    fastrand::Rng::with_seed(2).fill(&mut data);
    for offset in [0, 4092] {
        write(&mut pair, &mut buffer, offset, 77, &data);
        assert!(read(&mut pair, &mut buffer, 4096, 77, bytes) == data);
    }
}

#[test]
fn what_is_above_the_limit_is_refused_on_this_side_and_by_the_device() {
    let (_server, mut device, mut pair) = device(2, 16 << 20);
    let buffer = device.allocate_dma(32 << 10).unwrap();
    let slice = buffer.slice(0, (16 << 10) + 512).unwrap();
    let error = pair
        .submit(Command::read(N1, Lba(0), blocks(33), slice), 0, 0)
        .unwrap_err();
    assert!(matches!(error.reason, SubmitReason::TooLong { .. }));
    // The device looks at the number of blocks.
    let slice = buffer.slice(0, 16 << 10).unwrap();
    let done = run(&mut pair, Command::read(N1, Lba(0), blocks(33), slice));
    assert!(
        done.status.same_code(Status::INVALID_FIELD),
        "{}",
        done.status
    );
    succeed(&mut pair, Command::read(N1, Lba(0), blocks(32), slice));
}

#[test]
fn compare_tells_same_from_different() {
    let (_server, mut device, mut pair) = device(8, 16 << 20);
    let mut buffer = device.allocate_dma(16384).unwrap();
    write(&mut pair, &mut buffer, 0, 40, &[7; 8192]);
    let same = Command::compare(N1, Lba(40), blocks(16), buffer.slice(0, 8192).unwrap());
    succeed(&mut pair, same);
    buffer.write_at(8191, &[8]).unwrap();
    let other = Command::compare(N1, Lba(40), blocks(16), buffer.slice(0, 8192).unwrap());
    let done = run(&mut pair, other);
    assert!(
        done.status.same_code(Status::COMPARE_FAILURE),
        "{}",
        done.status
    );
}

#[test]
fn zeroes_and_discards_hit_their_ranges_and_no_others() {
    let (_server, mut device, mut pair) = device(8, 16 << 20);
    let mut buffer = device.allocate_dma(1 << 20).unwrap();
    let total = 2048_u64;
    let mut model = vec![0xee_u8; usize::try_from(total).unwrap() * BLOCK];
    let ones = model.clone();
    write(&mut pair, &mut buffer, 0, 0, &ones[..model.len() / 2]);
    write(
        &mut pair,
        &mut buffer,
        0,
        total / 2,
        &ones[model.len() / 2..],
    );
    let mut clear = |lba: u64, count: u64| {
        let (lba, count) = (
            usize::try_from(lba).unwrap(),
            usize::try_from(count).unwrap(),
        );
        model[lba * BLOCK..(lba + count) * BLOCK].fill(0);
    };
    succeed(&mut pair, Command::write_zeroes(N1, Lba(5), blocks(3)));
    clear(5, 3);
    let zeroes = Command::write_zeroes(N1, Lba(100), blocks(64));
    succeed(&mut pair, zeroes.deallocate().fua());
    clear(100, 64);

    let mut page = device.allocate_dma(4096).unwrap();
    let ranges: Vec<DsmRange> = (0..256)
        .map(|index| DsmRange::new(Lba(512 + 4 * index), 1 + u32::from(index % 3 == 0)))
        .collect();
    for range in &ranges {
        clear(range.lba().0, u64::from(range.blocks.get()));
    }
    page.put(0, ranges.as_slice()).unwrap();
    let trim = |bytes| {
        let attributes = DsmAttributes::new().with_ad(true);
        Command::dataset_management(N1, attributes, page.slice(0, bytes).unwrap())
    };
    succeed(&mut pair, trim(4096).unwrap());
    for bytes in [0, 15, 24] {
        let error = trim(bytes).unwrap_err();
        assert!(matches!(error, DriverError::Invalid { .. }), "{error}");
    }
    succeed(&mut pair, Command::flush(N1));
    succeed(&mut pair, Command::flush(NSID_ALL));

    let half = model.len() / 2;
    assert!(read(&mut pair, &mut buffer, 0, 0, half) == model[..half]);
    assert!(read(&mut pair, &mut buffer, 0, total / 2, half) == model[half..]);
}

#[test]
fn errors_of_commands_are_their_status() {
    let (_server, mut device, mut pair) = device(8, 16 << 20);
    let buffer = device.allocate_dma(4096).unwrap();
    let last = device.info().namespaces[0].blocks - 1;
    let data = buffer.slice(0, 4096).unwrap();
    let one = buffer.slice(0, 512).unwrap();
    succeed(&mut pair, Command::read(N1, Lba(last), blocks(1), one));
    let beyond = run(&mut pair, Command::read(N1, Lba(last), blocks(2), data));
    assert!(beyond.status.same_code(Status::LBA_OUT_OF_RANGE));
    let nowhere = run(
        &mut pair,
        Command::read(NamespaceId(9), Lba(0), blocks(1), one),
    );
    assert!(
        nowhere
            .status
            .same_code(Status::INVALID_NAMESPACE_OR_FORMAT)
    );
    let mut wild = Sqe::new(NvmOpcode::READ.0, N1);
    wild.prp1.set(0xdead_0000);
    let wild = run(&mut pair, Command::raw(wild, None));
    assert!(!wild.status.is_success(), "memory that nobody mapped");
    succeed(&mut pair, Command::write(N1, Lba(0), blocks(1), one).fua());
}

fn ioworker(options: IoworkerOptions) -> driver::ioworker::IoworkerReport {
    let server = Server::start(ControllerConfig::default(), 64 << 20);
    let mut device = server.connect();
    let worker = Ioworker::create(&mut device, options).unwrap();
    let report = worker.run(&MonotonicClock::start()).unwrap();
    assert_eq!(report.errors(), 0);
    report
}

#[test]
fn the_ioworker_does_what_it_is_told_and_verifies() {
    let options = IoworkerOptions {
        qdepth: 32,
        read_percentage: Some(50),
        io_count: Some(20_000),
        region: Region {
            start: Size::Blocks(0),
            end: Some(Size::Blocks(4096)),
        },
        verify: true,
        ..IoworkerOptions::default()
    };
    let report = ioworker(options.clone());
    assert_eq!(report.reads.commands + report.writes.commands, 20_000);
    assert!((8_000..12_000).contains(&report.reads.commands));
    assert!(report.verified_blocks > 8 * 6_000);
    assert_eq!(report.reads.bytes, report.reads.commands * 4096);
    assert_eq!(report.reads.latency_ns.len(), report.reads.commands);
    // The same seed, the same work.
    let again = ioworker(options);
    assert_eq!(again.reads.commands, report.reads.commands);

    let report = ioworker(IoworkerOptions {
        lba_random: 0,
        io_size: IoSize::One(Size::Bytes(128 << 10)),
        qdepth: 4,
        io_count: Some(1000),
        ..IoworkerOptions::default()
    });
    assert_eq!(report.reads.bytes, 1000 * (128 << 10));
}

#[test]
fn the_ioworker_refuses_what_does_not_fit() {
    let server = Server::small();
    let mut device = server.connect();
    let mut refuse = |change: fn(&mut IoworkerOptions)| {
        let mut options = IoworkerOptions {
            io_count: Some(1),
            ..IoworkerOptions::default()
        };
        change(&mut options);
        Ioworker::create(&mut device, options).unwrap_err();
    };
    refuse(|options| options.nsid = NamespaceId(2));
    refuse(|options| options.io_size = IoSize::One(Size::Bytes(1000)));
    refuse(|options| options.io_size = IoSize::One(Size::Bytes(0)));
    refuse(|options| options.io_size = IoSize::One(Size::Bytes(16 << 20)));
    refuse(|options| options.qdepth = 0);
    refuse(|options| options.region.start = Size::Blocks(u64::MAX));
    refuse(|options| options.region.end = Some(Size::Blocks(7)));
    refuse(|options| options.read_percentage = Some(101));
}
