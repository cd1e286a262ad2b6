//! What commands answer in zones.

use nvme::{ZoneReceiveCdw13, ZoneSendCdw13};

use super::super::kept::{ready, zoned};
use super::*;
use crate::zoned::Injury;

/// Blocks of a zone.
const ZONE: u64 = MIB / 512;

#[test]
fn commands_in_zones_mind_their_states() {
    let (mut host, mut pair) = ready(Host::new(zoned(), ram()));
    let page = host.pages(1);
    let offline = Lba(2 * ZONE);
    let read_only = Lba(3 * ZONE);
    let one = NamespaceId(1);
    let broken = [(offline, Injury::Offline), (read_only, Injury::ReadOnly)];
    for (zone, injury) in broken {
        host.controller.injure_zone(one, zone, injury).unwrap();
    }
    let full = io(NvmOpcode::ZONE_MANAGEMENT_SEND, 4 * ZONE, 1, 0, 0);
    let finish = Sqe {
        cdw12: U32::new(0),
        cdw13: U32::new(ZoneSendCdw13::new().with_zsa(2).into_bits()),
        ..full
    };
    assert_eq!(host.status(&mut pair, finish), Status::SUCCESS);
    for opcode in [
        NvmOpcode::WRITE,
        NvmOpcode::WRITE_ZEROES,
        NvmOpcode::WRITE_UNCORRECTABLE,
        NvmOpcode::ZONE_APPEND,
    ] {
        for (lba, blocks, expected) in [
            (offline.0, 1, Status::ZONE_IS_OFFLINE),
            (read_only.0, 1, Status::ZONE_IS_READ_ONLY),
            (4 * ZONE, 1, Status::ZONE_IS_FULL),
            (ZONE, 1537, Status::ZONE_BOUNDARY_ERROR),
            (16 * ZONE, 1, Status::LBA_OUT_OF_RANGE),
        ] {
            let sqe = io(opcode, lba, blocks, page, page);
            expect(host.status(&mut pair, sqe), expected, sqe);
        }
        let sqe = io(opcode, ZONE + 8, 1, page, 0);
        let expected = match opcode {
            // An append names its zone.
            NvmOpcode::ZONE_APPEND => Status::INVALID_FIELD,
            _ => Status::ZONE_INVALID_WRITE,
        };
        expect(host.status(&mut pair, sqe), expected, sqe);
    }
    for opcode in [NvmOpcode::READ, NvmOpcode::COMPARE, NvmOpcode::VERIFY] {
        for (lba, blocks, expected) in [
            (offline.0, 1, Status::ZONE_IS_OFFLINE),
            (2 * ZONE - 1, 2, Status::ZONE_BOUNDARY_ERROR),
            (16 * ZONE, 1, Status::LBA_OUT_OF_RANGE),
        ] {
            let sqe = io(opcode, lba, blocks, page, page);
            expect(host.status(&mut pair, sqe), expected, sqe);
        }
    }
    // A copy into a zone is a write, and one out of it a read.
    host.write(page, CopyRange::new(Lba(0), 1).unwrap().as_bytes());
    for (to, expected) in [
        (offline.0, Status::ZONE_IS_OFFLINE),
        (read_only.0, Status::ZONE_IS_READ_ONLY),
        (ZONE + 8, Status::ZONE_INVALID_WRITE),
    ] {
        let sqe = copy(page, to);
        expect(host.status(&mut pair, sqe), expected, sqe);
    }
    host.write(page, CopyRange::new(offline, 1).unwrap().as_bytes());
    let sqe = copy(page, ZONE);
    expect(host.status(&mut pair, sqe), Status::ZONE_IS_OFFLINE, sqe);
}

#[test]
fn zone_management_minds_its_fields() {
    let (mut host, mut pair) = ready(Host::new(zoned(), ram()));
    let page = host.pages(1);
    let send = |lba, action| Sqe {
        cdw12: U32::new(0),
        cdw13: U32::new(ZoneSendCdw13::new().with_zsa(action).into_bits()),
        ..io(NvmOpcode::ZONE_MANAGEMENT_SEND, lba, 1, page, 0)
    };
    for (sqe, expected) in [
        (send(0, 0), Status::INVALID_FIELD),
        (send(0, 6), Status::INVALID_FIELD),
        (send(1, 4), Status::INVALID_FIELD),
        (send(16 * ZONE, 4), Status::LBA_OUT_OF_RANGE),
        // An empty zone cannot be closed, nor put offline.
        (send(0, 1), Status::INVALID_ZONE_STATE_TRANSITION),
        (send(0, 5), Status::INVALID_ZONE_STATE_TRANSITION),
    ] {
        expect(host.status(&mut pair, sqe), expected, sqe);
    }
    let receive = |lba, action| Sqe {
        cdw12: U32::new(1023),
        cdw13: U32::new(ZoneReceiveCdw13::new().with_zra(action).into_bits()),
        ..io(NvmOpcode::ZONE_MANAGEMENT_RECEIVE, lba, 1, page, 0)
    };
    for (sqe, expected) in [
        (receive(16 * ZONE, 0), Status::LBA_OUT_OF_RANGE),
        (receive(0, 2), Status::INVALID_FIELD),
        // There are no descriptor extensions.
        (receive(0, 1), Status::INVALID_FIELD),
    ] {
        expect(host.status(&mut pair, sqe), expected, sqe);
    }
}

#[test]
fn a_log_of_zones_is_of_a_namespace_that_has_them() {
    let (mut host, _) = ready(Host::new(zoned(), ram()));
    let page = host.pages(1);
    let log = |nsid| Sqe {
        prp1: U64::new(page),
        ..admin(AdminOpcode::GET_LOG_PAGE, nsid, 0xbf | 1023 << 16, 0)
    };
    assert_eq!(host.admin_status(log(1)), Status::SUCCESS);
    for nsid in [0, NSID_ALL.0] {
        let status = host.admin_status(log(nsid));
        assert!(!status.is_success(), "{nsid}: {status}");
    }
}

#[test]
fn a_namespace_of_zones_is_attached_only_where_zones_are_enabled() {
    let mut host = Host::new(zoned(), ram());
    host.enable();
    let page = host.pages(1);
    host.write(page, nvme::ControllerList::new(&[1]).as_bytes());
    let attachment = |select| Sqe {
        prp1: U64::new(page),
        ..admin(AdminOpcode::NAMESPACE_ATTACHMENT, 1, select, 0)
    };
    // It is attached from the start, and the host does not see it.
    assert_eq!(host.admin_status(attachment(1)), Status::SUCCESS);
    let status = host.admin_status(attachment(0));
    assert!(
        status.same_code(Status::COMMAND_SET_NOT_ENABLED),
        "{status}"
    );
    host.controller.function_reset();
    let (mut host, _) = ready(host);
    assert_eq!(host.admin_status(attachment(0)), Status::SUCCESS);
}
