use super::*;

mod geometry;
mod host;
mod model;
mod random;
mod saved;

use nvme::{
    ChangedZoneList, IdentifyZonedNamespace, ZoneDescriptor, ZoneListHeader, ZoneReceiveCdw13,
    ZoneReporting, ZoneSendCdw13,
};
use zerocopy::FromBytes;

const ZRWA: Zrwa = Zrwa {
    blocks: 4,
    granularity: 2,
    resources: 2,
    explicit_flush: true,
};

/// Six zones of 16 blocks, 12 of which can be written.
const GEOMETRY: ZonedGeometry = ZonedGeometry {
    zone_blocks: 16,
    capacity_blocks: 12,
    zones: 6,
    active_max: Some(4),
    open_max: Some(2),
    extension_bytes: 64,
    zrwa: Some(ZRWA),
    read_across: false,
};

fn zones() -> Zones {
    Zones::new(GEOMETRY).unwrap()
}

fn zone(index: u64) -> Lba {
    Lba(index * GEOMETRY.zone_blocks)
}

fn one(index: u64) -> Select {
    Select::Zone(zone(index))
}

/// The header's number of zones and the descriptors of a report.
fn descriptors(zones: &Zones, request: ReportRequest) -> (u64, Vec<(ZoneDescriptor, Vec<u8>)>) {
    let extension_bytes = match request.extended {
        true => zones.geometry().extension_bytes as usize,
        false => 0,
    };
    let mut bytes = vec![0xee; usize::try_from(request.bytes).unwrap()];
    zones.report(request).unwrap().fill(&mut bytes);
    let (header, mut rest) = ZoneListHeader::read_from_prefix(&bytes).unwrap();
    let mut list = Vec::new();
    while rest.len() >= 64 + extension_bytes {
        let (descriptor, after) = ZoneDescriptor::read_from_prefix(rest).unwrap();
        if descriptor.zt == 0 {
            break;
        }
        let (extension, after) = after.split_at(extension_bytes);
        list.push((descriptor, extension.to_vec()));
        rest = after;
    }
    (header.zones.get(), list)
}

fn request(slba: Lba, reporting: ZoneReporting) -> ReportRequest {
    ReportRequest {
        slba,
        reporting,
        extended: false,
        partial: false,
        bytes: 4096,
    }
}

#[test]
fn a_zone_is_written_in_order_until_it_is_full() {
    let mut zones = zones();
    assert_eq!(zones.begin_write(zone(1), 5).unwrap().slba, zone(1));
    assert_eq!(zones.state(zone(1)), Some(ZoneState::ImplicitlyOpened));
    assert_eq!(zones.write_pointer(zone(1)), Some(Lba(21)));
    let wrong = [
        (Lba(20), 1, Status::ZONE_INVALID_WRITE),
        (Lba(22), 1, Status::ZONE_INVALID_WRITE),
        (Lba(21), 8, Status::ZONE_BOUNDARY_ERROR),
        (Lba(21), 0, Status::INVALID_FIELD),
        (Lba(96), 1, Status::LBA_OUT_OF_RANGE),
        (Lba(u64::MAX), 2, Status::LBA_OUT_OF_RANGE),
        (Lba(95), u64::MAX, Status::LBA_OUT_OF_RANGE),
    ];
    for (slba, blocks, status) in wrong {
        assert_eq!(zones.begin_write(slba, blocks), Err(status.dnr()));
    }
    assert_eq!(zones.append(zone(1), 7).unwrap().slba, Lba(21));
    assert_eq!(zones.state(zone(1)), Some(ZoneState::Full));
    assert_eq!(zones.write_pointer(zone(1)), None);
    assert_eq!(zones.append(zone(1), 1), Err(Status::ZONE_IS_FULL.dnr()));
    assert_eq!(zones.append(Lba(17), 1), Err(Status::INVALID_FIELD.dnr()));
    // A write from the first block on needs an open resource, yet holds none.
    zones.begin_write(zone(2), 12).unwrap();
    assert_eq!(zones.counts.active(), 0);
}

#[test]
fn an_implicitly_opened_zone_makes_room_and_an_explicitly_opened_one_does_not() {
    let mut zones = zones();
    for index in [3, 1, 0] {
        zones.begin_write(zone(index), 1).unwrap();
    }
    // The one that was opened first.
    assert_eq!(zones.state(zone(3)), Some(ZoneState::Closed));
    assert_eq!(zones.state(zone(1)), Some(ZoneState::ImplicitlyOpened));
    zones.open(one(0), false).unwrap();
    zones.open(one(1), false).unwrap();
    let too_many_open = Err(Status::TOO_MANY_OPEN_ZONES.dnr());
    assert_eq!(zones.open(one(3), false), too_many_open);
    assert_eq!(zones.open(Select::All, false), too_many_open);
    assert_eq!(
        zones.begin_write(zone(2), 1).unwrap_err(),
        Status::TOO_MANY_OPEN_ZONES.dnr()
    );
    zones.close(Select::All).unwrap();
    assert_eq!(zones.count(ZoneState::Closed), 3);
    zones.set_extension(zone(5), &[1; 64], false).unwrap();
    let too_many_active = Err(Status::TOO_MANY_ACTIVE_ZONES.dnr());
    assert_eq!(zones.begin_write(zone(2), 1).map(|_| ()), too_many_active);
    assert_eq!(zones.open(one(2), false), too_many_active);
    assert_eq!(
        zones.set_extension(zone(2), &[1; 64], false),
        too_many_active
    );
    zones.finish(one(5)).unwrap();
    zones.begin_write(zone(2), 1).unwrap();
}

#[test]
fn a_random_write_area_takes_writes_in_any_order_and_moves() {
    let mut zones = zones();
    zones.open(one(0), true).unwrap();
    for (slba, blocks) in [(2, 2), (0, 1), (2, 2), (0, 4)] {
        zones.begin_write(Lba(slba), blocks).unwrap();
    }
    assert_eq!(zones.write_pointer(Lba(0)), Some(Lba(0)));
    // Block 4 is one beyond the window of four: two blocks are committed.
    zones.begin_write(Lba(4), 1).unwrap();
    assert_eq!(zones.write_pointer(Lba(0)), Some(Lba(2)));
    let invalid = Err(Status::ZONE_INVALID_WRITE.dnr());
    assert_eq!(zones.begin_write(Lba(1), 1), invalid);
    assert_eq!(zones.begin_write(Lba(9), 2), invalid);
    assert_eq!(
        zones.append(Lba(0), 1),
        Err(Status::INVALID_ZONE_OPERATION.dnr())
    );
    assert_eq!(zones.flush_zrwa(Lba(2)), Err(Status::INVALID_FIELD.dnr()));
    assert_eq!(
        zones.flush_zrwa(Lba(6)),
        Err(Status::ZONE_BOUNDARY_ERROR.dnr())
    );
    zones.flush_zrwa(Lba(5)).unwrap();
    assert_eq!(zones.write_pointer(Lba(0)), Some(Lba(6)));
    // The window's blocks are the medium's to answer, those beyond are not.
    let runs: Vec<_> = zones
        .read(Lba(0), 16)
        .unwrap()
        .map(|run| (run.range.blocks, run.data))
        .collect();
    assert_eq!(runs, [(10, true), (6, false)]);

    zones.open(one(1), true).unwrap();
    let none_left = Err(Status::ZRWA_RESOURCES_UNAVAILABLE.dnr());
    assert_eq!(zones.set_extension(zone(2), &[0; 64], true), none_left);
    zones.begin_write(Lba(8), 4).unwrap();
    assert_eq!(zones.write_pointer(Lba(0)), Some(Lba(8)));
    zones.flush_zrwa(Lba(11)).unwrap();
    assert_eq!(zones.state(Lba(0)), Some(ZoneState::Full));
    zones.set_extension(zone(2), &[0; 64], true).unwrap();
    assert_eq!(zones.zrwas, 2);
}

#[test]
fn a_failed_write_leaves_a_zone_that_tells_the_truth() {
    let mut zones = zones();
    let first = zones.append(zone(0), 2).unwrap();
    let second = zones.append(zone(0), 3).unwrap();
    // The last one can be tried again.
    assert_eq!(zones.fail_write(&second), WriteFailure::Writable);
    assert_eq!(zones.write_pointer(zone(0)), Some(Lba(2)));
    assert_eq!(zones.append(zone(0), 3).unwrap(), second);
    assert!(!zones.take_notice());
    // A hole cannot be mended.
    assert_eq!(zones.fail_write(&first), WriteFailure::ReadOnly);
    assert_eq!(
        zones.begin_write(Lba(5), 1),
        Err(Status::ZONE_IS_READ_ONLY.dnr())
    );
    assert!(zones.take_notice());
    assert!(!zones.take_notice());
    assert_eq!(zones.changed_zones(true).nrzid.get(), 1);
    assert_eq!(zones.changed_zones(false).zones[0].get(), 0);
    assert_eq!(zones.changed_zones(false).nrzid.get(), 0);
    // What was accepted before a reset is nothing to the zone after it.
    let old = zones.append(zone(1), 2).unwrap();
    zones.reset(one(1), |_| {}).unwrap();
    zones.append(zone(1), 2).unwrap();
    assert_eq!(zones.fail_write(&old), WriteFailure::Past);
    assert_eq!(zones.write_pointer(zone(1)), Some(Lba(18)));
    // A zone that is full has no pointer to take back.
    let last = zones.append(zone(1), 10).unwrap();
    assert_eq!(zones.fail_write(&last), WriteFailure::ReadOnly);
    // In a random write area, what is not committed can be written again.
    zones.open(one(2), true).unwrap();
    let inside = zones.begin_write(Lba(33), 1).unwrap();
    assert_eq!(zones.fail_write(&inside), WriteFailure::Writable);
    assert_eq!(zones.state(zone(2)), Some(ZoneState::ExplicitlyOpened));
}

#[test]
fn a_reset_of_all_hands_out_what_is_to_be_discarded() {
    let mut zones = zones();
    for index in [0, 1, 3] {
        zones.begin_write(zone(index), 12).unwrap();
    }
    zones.open(one(5), false).unwrap();
    zones.inject(zone(4), Injury::ReadOnly).unwrap();
    let mut ranges = Vec::new();
    zones
        .reset(Select::All, |range| {
            ranges.push((range.slba.0, range.blocks));
        })
        .unwrap();
    assert_eq!(ranges, [(0, 32), (48, 16)]);
    assert_eq!(zones.count(ZoneState::Empty), 5);
    assert_eq!(
        zones.reset(one(4), |_| {}),
        Err(Status::INVALID_ZONE_STATE_TRANSITION.dnr())
    );
    zones.take_offline(Select::All).unwrap();
    assert_eq!(
        zones.read(zone(4), 1).unwrap_err(),
        Status::ZONE_IS_OFFLINE.dnr()
    );
    zones.format();
    assert_eq!(zones.count(ZoneState::Empty), 6);
    assert_eq!(zones.changed_zones(false).nrzid.get(), 0);
}

#[test]
fn deallocation_spares_what_cannot_be_written() {
    let mut zones = zones();
    zones.inject(zone(1), Injury::ReadOnly).unwrap();
    zones.inject(zone(2), Injury::Offline).unwrap();
    let ranges = |slba, blocks| {
        let mut ranges = Vec::new();
        zones
            .deallocate(Lba(slba), blocks, |range| {
                ranges.push((range.slba.0, range.blocks));
            })
            .map(|()| ranges)
    };
    assert_eq!(ranges(8, 88).unwrap(), [(8, 8), (48, 48)]);
    assert_eq!(ranges(20, 20).unwrap(), []);
    assert_eq!(ranges(20, 0).unwrap(), []);
    assert_eq!(ranges(90, 7), Err(Status::LBA_OUT_OF_RANGE.dnr()));
    assert_eq!(
        ranges(u64::MAX, u64::MAX),
        Err(Status::LBA_OUT_OF_RANGE.dnr())
    );
}

#[test]
fn a_read_crosses_zones_only_where_identify_says_so() {
    let mut zones = zones();
    zones.begin_write(zone(0), 12).unwrap();
    zones.begin_write(zone(1), 3).unwrap();
    assert!(zones.read(Lba(2), 10).unwrap().all_data());
    assert!(!zones.read(Lba(2), 11).unwrap().all_data());
    assert_eq!(
        zones.read(Lba(8), 9).unwrap_err(),
        Status::ZONE_BOUNDARY_ERROR.dnr()
    );
    assert_eq!(
        zones.read(Lba(u64::MAX), 9).unwrap_err(),
        Status::LBA_OUT_OF_RANGE.dnr()
    );
    let across = Zones {
        geometry: ZonedGeometry {
            read_across: true,
            ..GEOMETRY
        },
        ..zones
    };
    let runs: Vec<_> = across
        .read(Lba(10), 86)
        .unwrap()
        .map(|run| (run.range.slba.0, run.range.blocks, run.data))
        .collect();
    assert_eq!(
        runs,
        [
            (10, 2, true),
            (12, 4, false),
            (16, 3, true),
            (19, 77, false)
        ]
    );
}

#[test]
fn a_report_is_the_same_in_pieces_of_any_size() {
    let mut zones = zones();
    zones.set_extension(zone(1), &[7; 64], true).unwrap();
    zones.begin_write(zone(2), 12).unwrap();
    let wanted = ReportRequest {
        extended: true,
        ..request(Lba(0), ZoneReporting::All)
    };
    let mut whole = vec![0xee; 1024];
    zones.report(wanted).unwrap().fill(&mut whole);
    for size in [1, 4, 60, 100, 512] {
        let mut pieces = vec![0xee; 1024];
        let mut report = zones.report(wanted).unwrap();
        pieces.chunks_mut(size).for_each(|piece| report.fill(piece));
        assert_eq!(pieces, whole, "{size}");
    }
    let (number, list) = descriptors(&zones, wanted);
    assert_eq!((number, list.len()), (6, 6));
    assert_eq!(list[1].0.state(), Some(ZoneState::Closed));
    assert_eq!(u8::from(list[1].0.za), 0x88);
    assert_eq!(list[1].1, [7; 64]);
    assert_eq!(list[2].0.wp.get(), u64::MAX);
    assert_eq!(list[3].1, [0; 64]);
}

#[test]
fn a_report_counts_what_it_lists_or_what_there_is() {
    let mut zones = zones();
    zones.begin_write(zone(4), 1).unwrap();
    let empty = ZoneReporting::In(ZoneState::Empty);
    // Room for the header and two descriptors and a half.
    let small = ReportRequest {
        bytes: 224,
        ..request(Lba(20), empty)
    };
    let (number, list) = descriptors(&zones, small);
    assert_eq!((number, list.len()), (4, 2));
    assert_eq!(list[0].0.zslba.get(), 16);
    let (number, _) = descriptors(
        &zones,
        ReportRequest {
            partial: true,
            ..small
        },
    );
    assert_eq!(number, 2);
    let none = ZoneReporting::In(ZoneState::Offline);
    assert_eq!(descriptors(&zones, request(Lba(0), none)), (0, vec![]));
    // No room for a header is no reason to fail, nor is all the room there is.
    let tiny = ReportRequest::decode(Lba(0), 0, ZoneReceiveCdw13::new()).unwrap();
    zones.report(tiny).unwrap().fill(&mut [0; 4]);
    let huge = ReportRequest::decode(Lba(95), u32::MAX, ZoneReceiveCdw13::new()).unwrap();
    assert_eq!(huge.bytes, 1 << 34);
    zones.report(huge).unwrap().fill(&mut [0; 4096]);
    let refused = |cdw13| ReportRequest::decode(Lba(0), 0, ZoneReceiveCdw13::from_bits(cdw13));
    assert_eq!(refused(0x0002), Err(Status::INVALID_FIELD.dnr()));
    assert_eq!(refused(0x0800), Err(Status::INVALID_FIELD.dnr()));
    let beyond = zones.report(request(Lba(96), ZoneReporting::All));
    assert_eq!(beyond.unwrap_err(), Status::LBA_OUT_OF_RANGE.dnr());
}

#[test]
fn the_log_of_changed_zones_says_when_it_is_not_enough() {
    let mut zones = Zones::new(ZonedGeometry {
        zones: 600,
        ..GEOMETRY
    })
    .unwrap();
    for index in 0..511 {
        zones.inject(zone(index), Injury::ReadOnly).unwrap();
        zones.inject(zone(index), Injury::Offline).unwrap();
    }
    assert_eq!(zones.changed_zones(true).nrzid.get(), 511);
    assert_eq!(zones.changed_zones(true).zones[510].get(), 510 * 16);
    zones.inject(zone(599), Injury::Offline).unwrap();
    assert_eq!(zones.save().changed, None);
    assert_eq!(
        zones.changed_zones(false).nrzid.get(),
        ChangedZoneList::TOO_MANY
    );
    assert_eq!(zones.save().changed, Some(vec![]));
}
