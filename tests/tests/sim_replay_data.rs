//! What a replay writes, and whether it reads that again.

use driver::{Command, QueueOptions};
use nvme::{DsmRange, Lba, NamespaceId, NvmOpcode, ZeroBased};
use replayer::{End, Pace, ReplayOptions};
use traces::{Clock as _, Record};
use vssd_tests::sim::replay::{options, replay};
use vssd_tests::sim::trace::{Io, records};
use vssd_tests::sim::{Device, DeviceOptions};

fn device() -> Device {
    Device::new(DeviceOptions {
        latency_ns: 1_000..=30_000,
        ..DeviceOptions::default()
    })
    .unwrap()
}

fn at(io: Io, index: u64) -> Io {
    io.at(1 + u16::try_from(index % 3).unwrap(), index * 100_000)
}

/// The bytes of the first 1,024 blocks, as the device has them.
fn first_blocks(device: &Device) -> Vec<u8> {
    const BYTES: usize = 1_024 * 512;
    let mut controller = device.bring_up().unwrap();
    let buffer = controller.allocate_dma(BYTES).unwrap();
    let mut pair = controller
        .create_queue_pair(QueueOptions::default())
        .unwrap();
    let data = buffer.slice(0, BYTES).unwrap();
    let read = Command::read(NamespaceId(1), Lba(0), ZeroBased(1_023), data);
    let clock = device.clock();
    pair.submit(read, 0, clock.now_ns()).unwrap();
    pair.ring();
    let mut status = None;
    while status.is_none() {
        clock.advance(1_000);
        pair.poll(&clock, 1, |done| status = Some(done.status))
            .unwrap();
    }
    assert!(status.unwrap().is_success());
    let mut bytes = vec![0; BYTES];
    buffer.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn as_much_of_what_is_written_is_zeroes_as_can_be_compressed_away() {
    let commands: Vec<Io> = (0..16)
        .map(|index| at(Io::blocks(NvmOpcode::WRITE, index * 64, 64), index))
        .collect();
    let trace = records(&commands);
    for (compressibility, zeroes) in [
        (0, 0..4_096),
        (50, 262_144..268_000),
        (100, 524_288..524_289),
    ] {
        let device = device();
        let mut options = options();
        options.compressibility = compressibility;
        replay(&device, &device.header(), &trace, options).unwrap();
        let bytes = first_blocks(&device);
        let count = bytes.iter().filter(|byte| **byte == 0).count();
        assert!(
            zeroes.contains(&count),
            "{compressibility} %: {count} zeroes"
        );
    }
}

/// Writes, then changes some of that, then reads it all.
fn workload() -> Vec<Record> {
    let mut commands = Vec::new();
    for index in 0..64 {
        commands.push(Io::blocks(NvmOpcode::WRITE, index * 16, 16));
    }
    commands.push(Io::blocks(NvmOpcode::WRITE, 8, 100));
    commands.push(Io::blocks(NvmOpcode::WRITE_ZEROES, 300, 50));
    commands.push(Io::deallocate(vec![
        DsmRange::new(Lba(500), 20),
        DsmRange::new(Lba(600), 4),
    ]));
    for index in 0..64 {
        commands.push(Io::blocks(NvmOpcode::READ, index * 32, 32));
    }
    let placed = (0..).zip(commands).map(|(index, io)| at(io, index));
    records(&placed.collect::<Vec<_>>())
}

fn verifying() -> ReplayOptions {
    let mut options = options();
    options.verify = true;
    options
}

#[test]
fn what_was_written_is_read_again_and_the_rest_is_not_judged() {
    for pace in [Pace::Recorded, Pace::Scaled(1.5)] {
        let device = device();
        let mut options = verifying();
        options.pace = pace;
        let replayed = replay(&device, &device.header(), &workload(), options).unwrap();
        let report = &replayed.report;
        assert!(report.is_success(), "{report}");
        let verified = report.verified.as_ref().unwrap();
        assert_eq!(verified.wrong_blocks, 0, "{report}");
        // 1,024 blocks were written, of the 2,048 that are read.
        assert_eq!(verified.right_blocks, 1_024, "{report}");
        assert_eq!(verified.skipped_blocks, 1_024, "{report}");
    }
}

#[test]
fn commands_that_overlap_are_not_taken_for_mistakes() {
    // All at once, on a few blocks: nobody knows which write comes last.
    let commands: Vec<Io> = (0..600_u64)
        .map(|index| {
            let opcode = [NvmOpcode::WRITE, NvmOpcode::READ, NvmOpcode::WRITE_ZEROES];
            let opcode = opcode[usize::try_from(index * 7 % 3).unwrap()];
            at(Io::blocks(opcode, index * 5 % 64, 8), index)
        })
        .collect();
    let device = device();
    let mut options = verifying();
    options.pace = Pace::Max;
    options.depth = Some(16);
    let replayed = replay(&device, &device.header(), &records(&commands), options).unwrap();
    assert!(replayed.report.is_success(), "{}", replayed.report);
}

#[test]
fn a_block_that_is_not_what_was_written_is_told_and_fails_the_replay() {
    let trace = records(&[
        at(Io::blocks(NvmOpcode::WRITE, 0, 8), 0),
        at(Io::blocks(NvmOpcode::WRITE, 100, 8), 1),
        at(Io::blocks(NvmOpcode::READ, 0, 8), 20),
        at(Io::blocks(NvmOpcode::READ, 100, 8), 21),
    ]);
    // The device says that the second write is done, and it is not.
    for stop in [false, true] {
        let device = Device::new(DeviceOptions {
            lost_writes: Some(100 * 512..=100 * 512),
            ..DeviceOptions::default()
        })
        .unwrap();
        let mut options = verifying();
        options.stop_on_error = stop;
        let replayed = replay(&device, &device.header(), &trace, options).unwrap();
        let report = &replayed.report;
        assert!(!report.is_success(), "{report}");
        let verified = report.verified.as_ref().unwrap();
        assert_eq!(verified.wrong_blocks, 8, "{report}");
        assert!(
            verified.mismatches[0].contains("LBA 100 is wrong"),
            "{report}"
        );
        assert!(report.to_string().contains("8 wrong"), "{report}");
        assert_eq!(matches!(report.end, End::Failed(_)), stop);
    }
}
