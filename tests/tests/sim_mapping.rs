//! Traces replayed to devices of another shape: splitting, wrapping, scaling,
//! block sizes, namespaces, queues.

use nvme::{DsmRange, Lba, NvmOpcode, ReadWriteCdw12};
use replayer::{Mapping, Pace, ReplayError, ReplayOptions, SkipReason};
use traces::{Header, NamespaceInfo, Record};
use vssd::ControllerConfig;
use vssd_tests::sim::replay::{Replayed, options, replay};
use vssd_tests::sim::trace::{Io, Seen, records};
use vssd_tests::sim::{Device, DeviceOptions};

const MIB: u64 = 1 << 20;

/// A device of `bytes` bytes in blocks of `block_bytes` bytes.
fn device(bytes: u64, block_bytes: u32) -> Device {
    Device::new(DeviceOptions {
        bytes,
        config: ControllerConfig {
            block_bytes,
            ..ControllerConfig::default()
        },
        latency_ns: 1_000..=20_000,
        ..DeviceOptions::default()
    })
    .unwrap()
}

/// What a recording on a device of `bytes` bytes says of itself.
fn header(bytes: u64, block_bytes: u32) -> Header {
    Header {
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: bytes / u64::from(block_bytes),
            block_bytes,
        }],
        ..Header::default()
    }
}

fn mapped(mapping: Mapping) -> ReplayOptions {
    let mut options = options();
    options.mapping = mapping;
    options.pace = Pace::Max;
    options
}

/// Opcode, address and length of commands.
fn extents(seen: &[Seen]) -> Vec<(NvmOpcode, u64, u32)> {
    seen.iter()
        .map(|seen| {
            let [low, high, cdw12, ..] = seen.cdw10_15;
            let lba = u64::from(high) << 32 | u64::from(low);
            (seen.opcode, lba, ReadWriteCdw12::from_bits(cdw12).blocks())
        })
        .collect()
}

fn replayed(device: &Device, header: &Header, trace: &[Record], mapping: Mapping) -> Replayed {
    let replayed = replay(device, header, trace, mapped(mapping)).unwrap();
    assert!(replayed.report.is_success(), "{}", replayed.report);
    replayed
}

#[test]
fn commands_above_the_limit_of_transfers_are_split_and_count_once() {
    // 1 MiB is the device's limit: 2048 blocks.
    let trace = records(&[
        Io::blocks(NvmOpcode::READ, 100, 5_000),
        Io::blocks(NvmOpcode::WRITE, 0, 65_536),
        // No data moves: there is nothing to split.
        Io::blocks(NvmOpcode::WRITE_ZEROES, 7, 65_536),
    ]);
    let device = device(64 * MIB, 512);
    let replayed = replayed(&device, &device.header(), &trace, Mapping::Identity);
    let mut expected = vec![
        (NvmOpcode::READ, 100, 2048),
        (NvmOpcode::READ, 2148, 2048),
        (NvmOpcode::READ, 4196, 904),
    ];
    expected.extend((0..32).map(|part| (NvmOpcode::WRITE, part * 2048, 2048)));
    expected.push((NvmOpcode::WRITE_ZEROES, 7, 65_536));
    assert_eq!(extents(&replayed.seen), expected);
    let report = &replayed.report;
    assert_eq!((report.commands.succeeded, report.sent), (3, 36));
    assert_eq!(report.read_bytes, 5_000 * 512);
    assert_eq!(report.written_bytes, 65_536 * 512);
    let write = report.opcodes.iter().find(|opcode| opcode.name == "Write");
    assert_eq!(write.unwrap().commands, 1);
    assert_eq!(write.unwrap().bytes, 65_536 * 512);
}

#[test]
fn a_command_is_split_even_where_its_queue_has_a_single_place() {
    let trace = records(&[
        Io::blocks(NvmOpcode::READ, 0, 65_536),
        Io::blocks(NvmOpcode::WRITE, 0, 8),
    ]);
    let device = device(64 * MIB, 512);
    let mut options = mapped(Mapping::Identity);
    options.depth = Some(1);
    let replayed = replay(&device, &device.header(), &trace, options).unwrap();
    assert!(replayed.report.is_success(), "{}", replayed.report);
    assert_eq!(replayed.report.sent, 33);
    assert_eq!(replayed.seen[32].opcode, NvmOpcode::WRITE, "in order");
}

#[test]
fn a_target_that_is_too_small_is_refused_before_anything_is_sent() {
    let trace = records(&[
        Io::blocks(NvmOpcode::READ, 0, 8),
        Io::blocks(NvmOpcode::READ, 200_000, 8),
    ]);
    let small = device(64 * MIB, 512);
    let header = header(1024 * MIB, 512);
    let refused = replay(&small, &header, &trace, mapped(Mapping::Identity)).unwrap_err();
    let text = refused.to_string();
    assert!(
        matches!(
            refused.downcast_ref::<ReplayError>(),
            Some(ReplayError::BeyondEnd {
                last: 200_007,
                has: 131_072,
                ..
            })
        ),
        "{text}"
    );
    assert!(text.contains("LBA 200007"), "{text}");
    assert!(text.contains("--map wrap or --map scale"), "{text}");
    let sent = small.take_records();
    let io =
        |record: &&Record| matches!(record, Record::Command { command, .. } if !command.is_admin());
    assert_eq!(sent.iter().filter(io).count(), 0);

    // The last block is the last block.
    let fits = records(&[Io::blocks(NvmOpcode::READ, 131_064, 8)]);
    replayed(&small, &header, &fits, Mapping::Identity);
}

#[test]
fn ranges_that_reach_too_far_are_refused_too() {
    let trace = records(&[Io::deallocate(vec![DsmRange::new(Lba(131_064), 9)])]);
    let small = device(64 * MIB, 512);
    let refused = replay(
        &small,
        &header(1024 * MIB, 512),
        &trace,
        mapped(Mapping::Identity),
    );
    assert!(refused.unwrap_err().to_string().contains("LBA 131072"));
}

#[test]
fn wrap_goes_on_at_the_start_and_splits_what_crosses_the_end() {
    let trace = records(&[
        Io::blocks(NvmOpcode::READ, 131_072 + 16, 8),
        Io::blocks(NvmOpcode::WRITE, 3 * 131_072 - 3, 8),
        Io::deallocate(vec![
            DsmRange::new(Lba(131_070), 4),
            DsmRange::new(Lba(10), 4),
        ]),
    ]);
    let small = device(64 * MIB, 512);
    let header = header(1024 * MIB, 512);
    let replayed = replayed(&small, &header, &trace, Mapping::Wrap);
    assert_eq!(
        extents(&replayed.seen[..3]),
        [
            (NvmOpcode::READ, 16, 8),
            (NvmOpcode::WRITE, 131_069, 3),
            (NvmOpcode::WRITE, 0, 5),
        ]
    );
    let ranges = vec![
        DsmRange::new(Lba(131_070), 2),
        DsmRange::new(Lba(0), 2),
        DsmRange::new(Lba(10), 4),
    ];
    assert_eq!(replayed.seen[3].ranges, ranges);
    assert_eq!(replayed.seen[3].cdw10_15[0], 2, "three ranges, zero-based");
}

#[test]
fn a_list_of_ranges_that_grows_over_256_goes_out_as_two_commands() {
    // Each of them crosses the end, and becomes two.
    let crossing = DsmRange::new(Lba(131_071), 2);
    let trace = records(&[Io::deallocate(vec![crossing; 200])]);
    let small = device(64 * MIB, 512);
    let replayed = replayed(&small, &header(1024 * MIB, 512), &trace, Mapping::Wrap);
    let counts: Vec<usize> = replayed.seen.iter().map(|seen| seen.ranges.len()).collect();
    assert_eq!(counts, [256, 144]);
    assert_eq!(replayed.report.commands.succeeded, 1);
}

#[test]
fn scale_uses_all_of_the_target_and_keeps_runs_together() {
    let last = 1024 * MIB / 512;
    let trace = records(&[
        Io::blocks(NvmOpcode::READ, 0, 8),
        Io::blocks(NvmOpcode::READ, last / 2, 8),
        Io::blocks(NvmOpcode::READ, last / 2 + 8, 8),
        Io::blocks(NvmOpcode::READ, last - 8, 8),
    ]);
    let small = device(64 * MIB, 512);
    let replayed = replayed(&small, &header(1024 * MIB, 512), &trace, Mapping::Scale);
    let middle = 64 * MIB / 512 / 2;
    let lbas: Vec<u64> = extents(&replayed.seen).iter().map(|it| it.1).collect();
    assert_eq!(lbas, [0, middle, middle + 8, 64 * MIB / 512 - 8]);
}

#[test]
fn small_blocks_go_to_the_large_ones_that_hold_them() {
    let trace = records(&[
        Io::blocks(NvmOpcode::READ, 16, 24),
        Io::blocks(NvmOpcode::WRITE, 17, 8),
        Io::blocks(NvmOpcode::WRITE, 16, 1),
        Io::deallocate(vec![DsmRange::new(Lba(9), 23)]),
        Io::deallocate(vec![DsmRange::new(Lba(9), 7)]),
    ]);
    let large = device(64 * MIB, 4096);
    let replayed = replayed(&large, &header(64 * MIB, 512), &trace, Mapping::Identity);
    assert_eq!(
        extents(&replayed.seen[..3]),
        [
            (NvmOpcode::READ, 2, 3),
            (NvmOpcode::WRITE, 2, 2),
            (NvmOpcode::WRITE, 2, 1),
        ]
    );
    // What was not deallocated is not deallocated now.
    assert_eq!(replayed.seen[3].ranges, [DsmRange::new(Lba(2), 2)]);
    let counts = replayed.report.commands;
    assert_eq!((counts.widened, counts.skipped), (2, 1));
    let [skipped] = replayed.report.skipped.as_slice() else {
        panic!("{:?}", replayed.report.skipped);
    };
    assert_eq!(skipped.reason, SkipReason::Unaligned);
    let text = replayed.report.to_string();
    assert!(text.contains("widened to whole blocks"), "{text}");
}

#[test]
fn an_offset_moves_everything_and_is_refused_where_it_moves_too_far() {
    let trace = records(&[
        Io::blocks(NvmOpcode::READ, 100, 8),
        Io::deallocate(vec![DsmRange::new(Lba(131_000), 8)]),
    ]);
    let device = device(64 * MIB, 512);
    let header = device.header();
    let moved = replayed(&device, &header, &trace, Mapping::Offset(64));
    assert_eq!(extents(&moved.seen[..1]), [(NvmOpcode::READ, 164, 8)]);
    assert_eq!(moved.seen[1].ranges, [DsmRange::new(Lba(131_064), 8)]);
    let moved = replayed(&device, &header, &trace, Mapping::Offset(-100));
    assert_eq!(extents(&moved.seen[..1]), [(NvmOpcode::READ, 0, 8)]);
    for (offset, told) in [(65, "165 to 131072"), (-101, "-1 to 130906")] {
        let refused = replay(&device, &header, &trace, mapped(Mapping::Offset(offset)));
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(told), "{text}");
    }
}

#[test]
fn what_is_touched_is_packed_onto_a_smaller_drive() {
    const FAR: u64 = 1 << 30;
    let trace = records(&[
        Io::blocks(NvmOpcode::WRITE, FAR + 8, 8),
        Io::blocks(NvmOpcode::READ, FAR + 12, 8),
        Io::blocks(NvmOpcode::READ, 100, 50),
        Io::blocks(NvmOpcode::READ, FAR - 200, 8),
        Io::deallocate(vec![
            DsmRange::new(Lba(FAR), 8),
            DsmRange::new(Lba(120), 30),
        ]),
    ]);
    let small = device(MIB, 512);
    let big = header(1 << 41, 512);
    let packed = replayed(&small, &big, &trace, Mapping::Compact);
    // 100..150 to 0, then FAR - 200..FAR - 192, then FAR..FAR + 20.
    assert_eq!(
        extents(&packed.seen[..4]),
        [
            (NvmOpcode::WRITE, 66, 8),
            (NvmOpcode::READ, 70, 8),
            (NvmOpcode::READ, 0, 50),
            (NvmOpcode::READ, 50, 8),
        ]
    );
    let ranges = [DsmRange::new(Lba(58), 8), DsmRange::new(Lba(20), 30)];
    assert_eq!(packed.seen[4].ranges, ranges);

    let much = records(&[Io::blocks(NvmOpcode::READ, 7, 2049)]);
    let refused = replay(&small, &big, &much, mapped(Mapping::Compact)).unwrap_err();
    assert!(matches!(
        refused.downcast_ref::<ReplayError>(),
        Some(ReplayError::TooMuch {
            needs: 1_049_088,
            has: 1_048_576,
            ..
        })
    ));
}

#[test]
fn packing_keeps_to_whole_blocks_of_the_device() {
    let trace = records(&[
        Io::blocks(NvmOpcode::READ, 1_000_004, 1),
        Io::blocks(NvmOpcode::WRITE, 1_000_007, 2),
        Io::blocks(NvmOpcode::READ, 9, 1),
    ]);
    let small = device(MIB, 4096);
    let packed = replayed(&small, &header(1 << 40, 512), &trace, Mapping::Compact);
    assert_eq!(
        extents(&packed.seen),
        [
            (NvmOpcode::READ, 1, 1),
            (NvmOpcode::WRITE, 1, 2),
            (NvmOpcode::READ, 0, 1),
        ]
    );
    assert_eq!(packed.report.commands.widened, 3);
}

#[test]
fn recorded_namespaces_go_where_they_are_told() {
    let commands = [1, 7].map(|nsid| {
        let mut io = Io::blocks(NvmOpcode::READ, u64::from(nsid), 1);
        io.sqe.namespace_id.set(nsid);
        io
    });
    let device = device(64 * MIB, 512);
    let mut header = header(64 * MIB, 512);
    header.namespaces.push(NamespaceInfo {
        id: 7,
        ..header.namespaces[0]
    });
    let trace = records(&commands);
    let mut options = mapped(Mapping::Identity);
    let to = |nsid| [(nvme::NamespaceId(7), nvme::NamespaceId(nsid))].into();
    options.namespaces = to(1);
    let replayed = replay(&device, &header, &trace, options.clone()).unwrap();
    assert!(replayed.seen.iter().all(|seen| seen.nsid.0 == 1));
    assert_eq!(replayed.report.commands.succeeded, 2);
    options.namespaces = to(2);
    let refused = replay(&device, &header, &trace, options).unwrap_err();
    assert!(
        refused.to_string().contains("namespace 2, but [1]"),
        "{refused}"
    );
}

#[test]
fn large_blocks_go_to_small_ones_in_as_many_pieces_as_it_takes() {
    let trace = records(&[
        Io::blocks(NvmOpcode::READ, 3, 2),
        Io::blocks(NvmOpcode::WRITE_ZEROES, 0, 10_000),
    ]);
    let small = device(64 * MIB, 512);
    let replayed = replayed(&small, &header(64 * MIB, 4096), &trace, Mapping::Identity);
    assert_eq!(
        extents(&replayed.seen),
        [
            (NvmOpcode::READ, 24, 16),
            (NvmOpcode::WRITE_ZEROES, 0, 65_536),
            (NvmOpcode::WRITE_ZEROES, 65_536, 14_464),
        ]
    );
}

#[test]
fn queues_are_folded_where_the_device_has_fewer() {
    let few = Device::new(DeviceOptions {
        config: ControllerConfig {
            queue_pairs_max: 2,
            ..ControllerConfig::default()
        },
        ..DeviceOptions::default()
    })
    .unwrap();
    let commands: Vec<Io> = (0..10_u16)
        .map(|index| Io::blocks(NvmOpcode::READ, u64::from(index), 1).at(3 + index % 5, 0))
        .collect();
    let replayed = replayed(&few, &few.header(), &records(&commands), Mapping::Identity);
    let queues = &replayed.report.queues;
    assert_eq!(queues[0].recorded, [3, 5, 7]);
    assert_eq!(queues[1].recorded, [4, 6]);
    assert_eq!((queues[0].commands, queues[1].commands), (6, 4));
    assert!(
        replayed
            .report
            .notes
            .iter()
            .any(|note| note.contains("5 recorded queues")),
        "{:?}",
        replayed.report.notes
    );
}

#[test]
fn another_namespace_of_the_recording_goes_to_the_only_one() {
    let mut io = Io::blocks(NvmOpcode::READ, 5, 1);
    io.sqe.namespace_id.set(7);
    let device = device(64 * MIB, 512);
    let mut header = header(64 * MIB, 512);
    header.namespaces[0].id = 7;
    let replayed = replayed(&device, &header, &records(&[io]), Mapping::Identity);
    assert_eq!(replayed.seen[0].nsid, nvme::NamespaceId(1));
    assert!(
        replayed
            .report
            .notes
            .iter()
            .any(|note| note.contains("namespace 7"))
    );

    let mut options = mapped(Mapping::Identity);
    options.namespace = Some(nvme::NamespaceId(3));
    let trace = records(&[Io::blocks(NvmOpcode::READ, 5, 1)]);
    let refused = replay(&device, &header, &trace, options)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("namespace 3, but [1]"), "{refused}");
}
