//! What survives a restart, what an operator does, and zoned namespaces.

use std::path::Path;

use nvme::{
    AdminOpcode, Cc, Lba, NamespaceId, NvmOpcode, Registers, Sqe, Status, ZoneDescriptor,
    ZoneReceiveCdw13, ZoneSendCdw13, offset,
};
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use super::{MIB, ram};
use crate::host::{Host, Pair, io};
use crate::media::{Ram, RawFile, RawFileOptions};
use crate::state::FileStore;
use crate::zoned::Injury;
use crate::{ControllerConfig, Media, ZonedConfig};

pub(super) fn drive(directory: &Path, config: ControllerConfig) -> Host<RawFile> {
    let options = RawFileOptions {
        create: Some(16 * MIB),
        read_only: false,
    };
    let media = RawFile::open(&directory.join("image"), options).unwrap();
    let mut host = Host::prepared(config, media, |controller| {
        let path = directory.join("state");
        if let Some(state) = FileStore::load(&path).unwrap() {
            controller.restore(state).unwrap();
        }
        controller.set_store(Box::new(FileStore::new(&path)));
    });
    host.enable();
    host
}

pub(super) fn admin(opcode: AdminOpcode, nsid: u32, cdw10: u32, cdw11: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(nsid));
    sqe.cdw10 = U32::new(cdw10);
    sqe.cdw11 = U32::new(cdw11);
    sqe
}

const SAVE: u32 = 1 << 31;

#[test]
fn namespaces_features_and_damage_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = ControllerConfig {
        format_ns: 0,
        ..ControllerConfig::default()
    };
    let mut host = drive(directory.path(), config.clone());
    let set = admin(AdminOpcode::SET_FEATURES, 0, 0x01 | SAVE, 0x0303);
    assert_eq!(host.admin_status(set), Status::SUCCESS);
    let fleeting = admin(AdminOpcode::SET_FEATURES, 0, 0x0a, 1);
    assert_eq!(host.admin_status(fleeting), Status::SUCCESS);
    let format = admin(AdminOpcode::FORMAT_NVM, 1, 1, 0);
    assert_eq!(host.admin_status(format), Status::SUCCESS);
    let mut pair = host.create_pair(1, 64);
    let page = host.pages(1);
    host.write(page, &[6; 4096]);
    let write = io(NvmOpcode::WRITE, 3, 1, page, 0);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let damage = io(NvmOpcode::WRITE_UNCORRECTABLE, 4, 1, 0, 0);
    assert_eq!(host.status(&mut pair, damage), Status::SUCCESS);
    drop(host);

    let mut host = drive(directory.path(), config);
    let get = |fid| admin(AdminOpcode::GET_FEATURES, 0, fid, 0);
    assert_eq!(host.admin(get(0x01)).result.get(), 0x0303);
    assert_eq!(host.admin(get(0x0a)).result.get(), 0);
    let mut pair = host.create_pair(1, 64);
    let page = host.pages(1);
    let read = io(NvmOpcode::READ, 3, 1, page, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(page, 4096), [6; 4096]);
    let read = io(NvmOpcode::READ, 4, 1, page, 0);
    let status = host.status(&mut pair, read);
    assert!(status.same_code(Status::UNRECOVERED_READ_ERROR));
}

/// A new drive has one namespace; this one has another.
#[test]
fn a_namespace_that_was_removed_stays_away_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let start = || drive(directory.path(), ControllerConfig::default());
    let mut host = start();
    let half = 8 * MIB / 512;
    host.controller
        .resize_namespace(NamespaceId(1), half)
        .unwrap();
    let two = host.controller.add_namespace(half, 0).unwrap();
    host.controller.remove_namespace(NamespaceId(1)).unwrap();
    drop(host);
    let host = start();
    let there: Vec<_> = host.controller.namespaces().map(|it| it.nsid).collect();
    assert_eq!(there, [two]);
}

#[test]
fn states_of_other_drives_and_other_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(drive(directory.path(), ControllerConfig::default()));
    let state = directory.path().join("state");
    let small = Ram::new(MIB).unwrap();
    Host::prepared(ControllerConfig::default(), small, |controller| {
        let saved = FileStore::load(&state).unwrap().unwrap();
        let error = controller.restore(saved).unwrap_err().to_string();
        assert!(error.contains("move the state away"), "{error}");
    });
    std::fs::write(&state, "{\"version\": 1").unwrap();
    let error = FileStore::load(&state).unwrap_err().to_string();
    assert!(error.contains("move it away"), "{error}");
    assert!(
        FileStore::load(&directory.path().join("none"))
            .unwrap()
            .is_none()
    );
}

#[test]
fn an_operator_adds_resizes_and_removes_namespaces_and_the_host_is_told() {
    let (mut host, mut pair) = Host::ready(ram());
    let wanted = admin(AdminOpcode::SET_FEATURES, 0, 0x0b, 1 << 8);
    assert_eq!(host.admin_status(wanted), Status::SUCCESS);
    let half = 8 * MIB / 512;
    let one = NamespaceId(1);
    host.controller.resize_namespace(one, half).unwrap();
    let two = host.controller.add_namespace(half, 0).unwrap();
    assert_eq!(two, NamespaceId(2));
    let full = host.controller.resize_namespace(one, half + 8).unwrap_err();
    assert!(full.same_code(Status::NAMESPACE_INSUFFICIENT_CAPACITY));
    let event = host.admin(Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0)));
    assert_eq!(event.result.get(), 0x04_00_02);
    let page = host.pages(1);
    let mut log = admin(AdminOpcode::GET_LOG_PAGE, 0, 0x04 | 1023 << 16, 0);
    log.prp1 = U64::new(page);
    assert_eq!(host.admin_status(log), Status::SUCCESS);
    assert_eq!(host.read(page, 12), [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    // Read, it is empty.
    assert_eq!(host.admin_status(log), Status::SUCCESS);
    assert_eq!(host.read(page, 4), [0; 4]);
    host.controller.remove_namespace(two).unwrap();
    let mut read = io(NvmOpcode::READ, 0, 1, page, 0);
    read.namespace_id = U32::new(2);
    let gone = host.status(&mut pair, read);
    assert!(gone.same_code(Status::INVALID_NAMESPACE_OR_FORMAT));
    assert!(host.controller.remove_namespace(two).is_err());
}

/// A drive of 16 zones of 1 MiB, of which 768 KiB can be written.
pub(super) fn zoned() -> ControllerConfig {
    ControllerConfig {
        zoned: Some(ZonedConfig {
            zone_bytes: MIB,
            capacity_bytes: 3 * MIB / 4,
            active_max: Some(4),
            open_max: Some(3),
            extension_bytes: 0,
            zrwa: None,
            read_across: false,
            first_namespace: true,
        }),
        ..ControllerConfig::default()
    }
}

const ZONE: u64 = MIB / 512;

pub(super) fn ready<M: Media>(mut host: Host<M>) -> (Host<M>, Pair) {
    host.tell_admin_queues();
    let cc = Host::<M>::cc().with_css(6);
    host.controller.write32(offset::CC, cc.into_bits());
    assert!(host.csts().rdy());
    let pair = host.create_pair(1, 64);
    (host, pair)
}

fn zone_state<M: Media>(host: &mut Host<M>, pair: &mut Pair, lba: u64) -> (u8, u64) {
    let page = host.pages(1);
    let mut sqe = Sqe::new(NvmOpcode::ZONE_MANAGEMENT_RECEIVE.0, NamespaceId(1));
    sqe.set_slba(Lba(lba));
    sqe.cdw12 = U32::new(1023);
    sqe.cdw13 = U32::new(ZoneReceiveCdw13::new().into_bits());
    sqe.prp1 = U64::new(page);
    assert_eq!(host.status(pair, sqe), Status::SUCCESS);
    let bytes = host.read(page + 64, 64);
    let descriptor = ZoneDescriptor::read_from_bytes(&bytes).unwrap();
    (descriptor.zs >> 4, descriptor.wp.get())
}

fn reset(lba: u64) -> Sqe {
    let mut sqe = Sqe::new(NvmOpcode::ZONE_MANAGEMENT_SEND.0, NamespaceId(1));
    sqe.set_slba(Lba(lba));
    sqe.cdw13 = U32::new(ZoneSendCdw13::new().with_zsa(4).into_bits());
    sqe
}

#[test]
fn zones_are_written_in_order_appended_to_and_reset() {
    let (mut host, mut pair) = ready(Host::new(zoned(), ram()));
    let page = host.pages(1);
    host.write(page, &[8; 4096]);
    let write = |lba| io(NvmOpcode::WRITE, lba, 8, page, 0);
    assert_eq!(host.status(&mut pair, write(ZONE)), Status::SUCCESS);
    let again = host.status(&mut pair, write(ZONE));
    assert!(again.same_code(Status::ZONE_INVALID_WRITE));
    let append = io(NvmOpcode::ZONE_APPEND, ZONE, 8, page, 0);
    let cqe = host.run(&mut pair, append);
    assert_eq!(
        (cqe.status(), cqe.result.get()),
        (Status::SUCCESS, 2048 + 8)
    );
    assert_eq!(zone_state(&mut host, &mut pair, ZONE), (2, ZONE + 16));
    host.write(page, &[0; 4096]);
    let read = io(NvmOpcode::READ, ZONE + 8, 8, page, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(page, 4096), [8; 4096]);
    let across = io(NvmOpcode::READ, 2 * ZONE - 4, 8, page, 0);
    let status = host.status(&mut pair, across);
    assert!(status.same_code(Status::ZONE_BOUNDARY_ERROR));
    assert_eq!(host.status(&mut pair, reset(ZONE)), Status::SUCCESS);
    assert_eq!(zone_state(&mut host, &mut pair, ZONE), (1, ZONE));
    let read = io(NvmOpcode::READ, ZONE, 8, page, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(page, 4096), [0; 4096]);
}

#[test]
fn a_host_that_does_not_ask_for_zones_sees_none() {
    let mut host = Host::new(zoned(), ram());
    host.enable();
    let mut pair = host.create_pair(1, 64);
    let page = host.pages(1);
    let read = io(NvmOpcode::READ, 0, 8, page, 0);
    let status = host.status(&mut pair, read);
    assert!(status.same_code(Status::INVALID_NAMESPACE_OR_FORMAT));
    let mut list = admin(AdminOpcode::IDENTIFY, 0, 2, 0);
    list.prp1 = U64::new(page);
    assert_eq!(host.admin_status(list), Status::SUCCESS);
    assert_eq!(host.read(page, 4), [0; 4]);
}

#[test]
fn zones_survive_a_restart_and_injuries_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let mut host = drive(directory.path(), zoned());
        host.controller.write32(offset::CC, Cc::new().into_bits());
        ready(host)
    };
    let (mut host, mut pair) = start();
    let page = host.pages(1);
    let write = io(NvmOpcode::WRITE, 0, 8, page, 0);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    drop(host);
    let (mut host, mut pair) = start();
    // Open zones are closed by a loss of power.
    assert_eq!(zone_state(&mut host, &mut pair, 0), (4, 8));
    let wanted = admin(AdminOpcode::SET_FEATURES, 0, 0x0b, 1 << 27);
    assert_eq!(host.admin_status(wanted), Status::SUCCESS);
    let zone = Lba(0);
    host.controller
        .injure_zone(NamespaceId(1), zone, Injury::Offline)
        .unwrap();
    let event = host.admin(Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0)));
    assert_eq!(event.result.get(), 0xbf_ef_02);
    let page = host.pages(1);
    let read = io(NvmOpcode::READ, 0, 8, page, 0);
    let status = host.status(&mut pair, read);
    assert!(status.same_code(Status::ZONE_IS_OFFLINE));
}

#[test]
fn what_was_written_wears_a_drive_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let config = ControllerConfig {
        endurance_bytes: 40_960,
        ..ControllerConfig::default()
    };
    for written in 1..=3 {
        let mut host = drive(directory.path(), config.clone());
        let mut pair = host.create_pair(1, 64);
        let page = host.pages(1);
        let write = io(NvmOpcode::WRITE, 0, 8, page, 0);
        assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
        let mut log = admin(AdminOpcode::GET_LOG_PAGE, 0, 0x09 | 127 << 16, 1 << 16);
        log.prp1 = U64::new(page);
        assert_eq!(host.admin_status(log), Status::SUCCESS);
        // Each block of 4096 bytes is a tenth of what can be written.
        assert_eq!(host.read(page, 6)[5], 10 * written);
        host.controller.disconnected();
    }
}
