//! The commands that real hosts send, in their order.

use super::*;

/// 64 zones of 1 MiB in blocks of 512 bytes.
const DRIVE: ZonedGeometry = ZonedGeometry {
    zone_blocks: 2048,
    capacity_blocks: 1900,
    zones: 64,
    active_max: Some(14),
    open_max: Some(14),
    extension_bytes: 0,
    zrwa: None,
    read_across: false,
};

const CLOSE: u32 = 0x1;
const FINISH: u32 = 0x2;
const OPEN: u32 = 0x3;
const RESET: u32 = 0x4;
const RESET_ALL: u32 = 0x104;

fn send(zones: &mut Zones, zslba: u64, cdw13: u32) -> Result<Vec<BlockRange>, Status> {
    let mut ranges = Vec::new();
    let cdw13 = ZoneSendCdw13::from_bits(cdw13);
    zones.manage(Lba(zslba), cdw13, &[], |range| ranges.push(range))?;
    Ok(ranges)
}

/// Linux asks for partial reports of all zones, in pieces of its buffer.
fn linux_report(zones: &Zones) -> Vec<ZoneDescriptor> {
    let mut all = Vec::new();
    let mut slba = 0;
    while slba < DRIVE.blocks() {
        let cdw13 = ZoneReceiveCdw13::new().with_partial(true);
        let request = ReportRequest::decode(Lba(slba), 1536 / 4 - 1, cdw13).unwrap();
        let (number, list) = descriptors(zones, request);
        assert_eq!(number, list.len() as u64);
        assert!(number > 0);
        slba += number * DRIVE.zone_blocks;
        all.extend(list.into_iter().map(|(descriptor, _)| descriptor));
    }
    all
}

#[test]
fn linux_sees_every_zone_and_makes_a_file_system() {
    let mut zones = Zones::new(DRIVE).unwrap();
    // What an earlier user left.
    for index in 0..3 {
        zones.begin_write(Lba(index * 2048), 8).unwrap();
    }
    let report = linux_report(&zones);
    assert_eq!(report.len(), 64);
    let usual = |zone: &ZoneDescriptor| zone.zt == 2 && zone.zcap.get() == 1900;
    assert!(report.iter().all(usual));
    // mkfs.f2fs and mkzonefs: everything is reset, at once or zone by zone.
    let discard = send(&mut zones, 0, RESET_ALL).unwrap();
    assert_eq!((discard.len(), discard[0].blocks), (1, 3 * 2048));
    for zone in linux_report(&zones) {
        assert_eq!(zone.wp, zone.zslba);
        assert_eq!(send(&mut zones, zone.zslba.get(), RESET), Ok(vec![]));
    }
    // The super block, and six logs that are written side by side.
    zones.begin_write(Lba(0), 8).unwrap();
    for round in 0..10 {
        for log in 1..7 {
            let slba = Lba(log * 2048 + round * 128);
            zones.begin_write(slba, 128).unwrap();
        }
    }
    assert_eq!(linux_report(&zones)[6].wp.get(), 6 * 2048 + 1280);
    assert_eq!(zones.count(ZoneState::ImplicitlyOpened), 7);
    // Garbage collection empties one, and the others are finished.
    assert_eq!(send(&mut zones, 3 * 2048, RESET).unwrap().len(), 1);
    for log in [1, 2, 4, 5, 6] {
        send(&mut zones, log * 2048, FINISH).unwrap();
    }
    assert_eq!(zones.count(ZoneState::Full), 5);
    assert!(zones.read(Lba(2048), 1280).unwrap().all_data());
    assert!(!zones.read(Lba(2048), 1900).unwrap().all_data());
}

#[test]
fn zonefs_opens_a_zone_explicitly_while_its_file_is_open() {
    let mut zones = Zones::new(DRIVE).unwrap();
    for file in 0..14 {
        send(&mut zones, file * 2048, OPEN).unwrap();
    }
    let too_many = Err(Status::TOO_MANY_ACTIVE_ZONES.dnr());
    assert_eq!(send(&mut zones, 14 * 2048, OPEN), too_many);
    zones.append(Lba(0), 64).unwrap();
    send(&mut zones, 0, CLOSE).unwrap();
    // A file that was opened and closed without a write gives its zone back.
    send(&mut zones, 2048, CLOSE).unwrap();
    assert_eq!(send(&mut zones, 2048, RESET), Ok(vec![]));
    send(&mut zones, 14 * 2048, OPEN).unwrap();
    assert_eq!(zones.count(ZoneState::ExplicitlyOpened), 13);
}

#[test]
fn fio_fills_a_drive_through_a_few_open_zones_and_starts_again() {
    let mut zones = Zones::new(DRIVE).unwrap();
    for pass in 0..2 {
        for group in 0..8 {
            // Eight jobs, each in a zone of its own, in blocks of 128 KiB.
            for block in 0..8 {
                for job in 0..8 {
                    let zslba = (group * 8 + job) * 2048;
                    if pass == 1 && block == 0 {
                        send(&mut zones, zslba, RESET).unwrap();
                    }
                    let blocks = 256.min(1900 - block * 256);
                    let accepted = zones.append(Lba(zslba), blocks).unwrap();
                    assert_eq!(accepted.slba.0, zslba + block * 256);
                }
            }
        }
        assert_eq!(zones.count(ZoneState::Full), 64);
        let full = Err(Status::ZONE_IS_FULL.dnr());
        assert_eq!(zones.begin_write(Lba(0), 1), full);
    }
    assert_eq!(zones.save().runs.len(), 1);
}
