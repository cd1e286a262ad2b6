//! A drive that becomes larger while a host uses it.

use std::path::Path;

use nvme::{
    AdminOpcode, IdentifyController, IdentifyNamespace, NamespaceId, NvmOpcode, Sqe, Status,
};
use zerocopy::FromBytes as _;
use zerocopy::little_endian::U64;

use super::kept::{self, admin, drive, zoned};
use super::{MIB, event_request, flush, ram};
use crate::host::{Host, Pair, io};
use crate::media::{Ram, RawFile, RawFileOptions};
use crate::{ControllerConfig, FileStore, Media, VssdError};

const ONE: NamespaceId = NamespaceId(1);
/// Bytes of a block.
const BLOCK: u64 = 512;

fn identified<M: Media>(host: &mut Host<M>, cns: u32) -> Vec<u8> {
    let page = host.pages(1);
    let mut sqe = admin(AdminOpcode::IDENTIFY, 1 - cns, cns, 0);
    sqe.prp1 = U64::new(page);
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    host.read(page, 4096)
}

/// The size of namespace 1 that Identify tells, bytes.
fn size<M: Media>(host: &mut Host<M>) -> u64 {
    let namespace = IdentifyNamespace::read_from_bytes(&identified(host, 0)).unwrap();
    assert_eq!(namespace.nsze, namespace.ncap);
    namespace.nsze.get() * BLOCK
}

/// The capacity that Identify tells, and how much of it no namespace has.
fn capacity<M: Media>(host: &mut Host<M>) -> (u128, u128) {
    let controller = IdentifyController::read_from_bytes(&identified(host, 1)).unwrap();
    let number = u128::from_le_bytes;
    (number(controller.tnvmcap), number(controller.unvmcap))
}

fn write<M: Media>(host: &mut Host<M>, pair: &mut Pair, lba: u64, byte: u8) -> Status {
    let page = host.pages(1);
    host.write(page, &[byte; 512]);
    host.status(pair, io(NvmOpcode::WRITE, lba, 1, page, 0))
}

fn read<M: Media>(host: &mut Host<M>, pair: &mut Pair, lba: u64) -> [u8; 512] {
    let page = host.pages(1);
    host.write(page, &[0xee; 512]);
    let read = io(NvmOpcode::READ, lba, 1, page, 0);
    assert_eq!(host.status(pair, read), Status::SUCCESS);
    host.read(page, 512).try_into().unwrap()
}

/// As `truncate` does.
fn resize_image(directory: &Path, bytes: u64) {
    let mut options = std::fs::File::options();
    let image = options.write(true).open(directory.join("image"));
    image.unwrap().set_len(bytes).unwrap();
}

/// The drive in `directory`, as it was left.
fn again(directory: &Path, config: ControllerConfig) -> Host<RawFile> {
    let image = directory.join("image");
    let image = RawFile::open(&image, RawFileOptions::default()).unwrap();
    let state = FileStore::load(&directory.join("state")).unwrap();
    let mut host = Host::prepared(config, image, |controller| {
        controller.restore(state.unwrap()).unwrap();
    });
    host.enable();
    host
}

#[test]
fn a_drive_grows_and_the_host_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut host = drive(directory.path(), ControllerConfig::default());
    let mut pair = host.create_pair(1, 64);
    let wanted = admin(AdminOpcode::SET_FEATURES, 0, 0x0b, 1 << 8);
    assert_eq!(host.admin_status(wanted), Status::SUCCESS);
    let (old, new) = (16 * MIB / BLOCK, 40 * MIB / BLOCK);
    assert_eq!(size(&mut host), 16 * MIB);
    assert_eq!(write(&mut host, &mut pair, old - 1, 5), Status::SUCCESS);
    let beyond = write(&mut host, &mut pair, old, 5);
    assert!(beyond.same_code(Status::LBA_OUT_OF_RANGE));
    // What is in flight goes on.
    let cid = host.put(&mut pair, flush());
    host.ring(&pair);
    host.controller.poll(64);
    let grown = host.controller.grow(40 * MIB).unwrap().unwrap();
    assert_eq!((grown.nsid, grown.blocks), (ONE, new));
    host.settle();
    assert_eq!(host.reap(&mut pair).unwrap().cid(), cid);
    let event = host.admin(event_request());
    assert_eq!(event.result.get(), 0x04_00_02);
    let page = host.pages(1);
    let mut log = admin(AdminOpcode::GET_LOG_PAGE, 0, 0x04 | 1023 << 16, 0);
    log.prp1 = U64::new(page);
    assert_eq!(host.admin_status(log), Status::SUCCESS);
    assert_eq!(host.read(page, 8), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(size(&mut host), 40 * MIB);
    assert_eq!(capacity(&mut host), (u128::from(40 * MIB), 0));
    assert_eq!(read(&mut host, &mut pair, old - 1), [5; 512]);
    assert_eq!(read(&mut host, &mut pair, old), [0; 512]);
    assert_eq!(write(&mut host, &mut pair, new - 1, 6), Status::SUCCESS);
    let beyond = write(&mut host, &mut pair, new, 6);
    assert!(beyond.same_code(Status::LBA_OUT_OF_RANGE));
    // As large as it is, it is not told of again.
    assert_eq!(host.controller.grow(40 * MIB).unwrap().unwrap(), grown);
    let mut admin_queue = host.admin;
    let parked = host.put(&mut admin_queue, event_request());
    host.ring(&admin_queue);
    host.settle();
    assert!(host.peek(&admin_queue).is_none(), "{parked:?}");
    drop(host);

    let mut host = again(directory.path(), ControllerConfig::default());
    let mut pair = host.create_pair(1, 64);
    assert_eq!(size(&mut host), 40 * MIB);
    assert_eq!(read(&mut host, &mut pair, old - 1), [5; 512]);
    assert_eq!(read(&mut host, &mut pair, new - 1), [6; 512]);
}

fn refused(host: &mut Host<Ram>, bytes: u64) -> String {
    let before = size(host);
    let error = host.controller.grow(bytes).unwrap_err();
    assert!(matches!(error, VssdError::Grow { .. }), "{error}");
    assert_eq!((size(host), capacity(host).0), (before, before.into()));
    error.to_string()
}

#[test]
fn a_drive_is_not_made_smaller_nor_of_parts_of_blocks() {
    let (mut host, _) = Host::ready(ram());
    let error = refused(&mut host, 8 * MIB);
    assert!(
        error.contains("has 16777216") && error.contains("lost"),
        "{error}"
    );
    let error = refused(&mut host, 17 * MIB + 100);
    assert!(error.contains("a multiple"), "{error}");
    // Of what no namespace can use there may be some.
    let grown = host.controller.grow(17 * MIB + BLOCK).unwrap().unwrap();
    assert_eq!(grown.blocks, 17 * MIB / BLOCK);
    let grown = host.controller.grow(18 * MIB).unwrap().unwrap();
    assert_eq!(grown.blocks, 18 * MIB / BLOCK);
}

#[test]
fn what_no_namespace_grows_by_is_space_for_others() {
    let (mut host, mut pair) = Host::ready(ram());
    let half = 8 * MIB / BLOCK;
    host.controller.resize_namespace(ONE, half).unwrap();
    assert_eq!(host.controller.grow(20 * MIB).unwrap(), None);
    assert_eq!(size(&mut host), 8 * MIB);
    host.controller.add_namespace(half, 0).unwrap();
    assert_eq!(host.controller.grow(24 * MIB).unwrap(), None);
    assert_eq!(size(&mut host), 8 * MIB);
    assert_eq!(
        capacity(&mut host),
        (u128::from(24 * MIB), u128::from(8 * MIB))
    );
    let third = host.controller.add_namespace(half, 0).unwrap();
    let page = host.pages(1);
    let last = Sqe {
        namespace_id: third.0.into(),
        ..io(NvmOpcode::WRITE, half - 1, 1, page, 0)
    };
    assert_eq!(host.status(&mut pair, last), Status::SUCCESS);
    assert_eq!(capacity(&mut host).1, 0);
}

/// Writes or reads block 9, with its metadata at `metadata`.
fn with<M: Media>(host: &mut Host<M>, opcode: NvmOpcode, metadata: u64) {
    let mut pair = host.create_pair(2, 8);
    let mut sqe = io(opcode, 9, 1, host.pages(1), 0);
    sqe.mptr = U64::new(metadata);
    assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    let mut delete = admin(AdminOpcode::DELETE_SQ, 0, 2, 0);
    assert_eq!(host.admin_status(delete), Status::SUCCESS);
    delete.opcode = AdminOpcode::DELETE_CQ.0;
    assert_eq!(host.admin_status(delete), Status::SUCCESS);
}

/// Its metadata stands behind its data, and would have to move.
#[test]
fn a_namespace_with_metadata_or_zones_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let config = ControllerConfig {
        format_ns: 0,
        ..ControllerConfig::default()
    };
    let mut host = drive(directory.path(), config.clone());
    // Blocks of 512 bytes with 8 of metadata.
    let format = admin(AdminOpcode::FORMAT_NVM, 1, 2, 0);
    assert_eq!(host.admin_status(format), Status::SUCCESS);
    let metadata = host.pages(1);
    host.write(metadata, b"metadata");
    with(&mut host, NvmOpcode::WRITE, metadata);
    let before = size(&mut host);
    assert_eq!(host.controller.grow(24 * MIB).unwrap(), None);
    drop(host);
    for mib in [24, 32] {
        // Nor does it move where the image grows while nobody serves it.
        resize_image(directory.path(), mib * MIB);
        let mut host = again(directory.path(), config.clone());
        assert_eq!(size(&mut host), before);
        assert_eq!(capacity(&mut host).0, u128::from(mib * MIB));
        let metadata = host.pages(1);
        with(&mut host, NvmOpcode::READ, metadata);
        assert_eq!(host.read(metadata, 8), b"metadata");
    }
    let (mut host, _) = kept::ready(Host::new(zoned(), ram()));
    assert_eq!(host.controller.grow(24 * MIB).unwrap(), None);
    let free = u128::from(8 * MIB);
    assert_eq!(capacity(&mut host), (u128::from(24 * MIB), free));
}

#[test]
fn an_image_that_grew_while_nobody_served_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    drop(drive(directory.path(), ControllerConfig::default()));
    resize_image(directory.path(), 24 * MIB);
    let mut host = again(directory.path(), ControllerConfig::default());
    assert_eq!(size(&mut host), 24 * MIB);
}

#[test]
fn a_drive_does_not_grow_while_it_is_erased() {
    let config = ControllerConfig {
        format_ns: 1_000_000,
        sanitize_ns: 1_000_000,
        ..ControllerConfig::default()
    };
    for opcode in [AdminOpcode::FORMAT_NVM, AdminOpcode::SANITIZE] {
        let mut host = Host::new(config.clone(), ram());
        host.enable();
        let mut admin_queue = host.admin;
        // The first format; a block erase.
        let cdw10 = if opcode == AdminOpcode::SANITIZE {
            2
        } else {
            0
        };
        host.put(&mut admin_queue, admin(opcode, 1, cdw10, 0));
        host.ring(&admin_queue);
        for _ in 0..100 {
            host.controller.poll(64);
        }
        let error = host.controller.grow(24 * MIB).unwrap_err().to_string();
        assert!(error.contains("try again"), "{error}");
        assert_eq!(host.controller.media().info().bytes, 16 * MIB);
        for _ in 0..1000 {
            host.clock.advance(1_000_000);
            host.controller.poll(64);
        }
        assert!(host.controller.grow(24 * MIB).unwrap().is_some());
    }
}
