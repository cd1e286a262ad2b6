//! Commands that are more than one request to the medium, and namespaces that
//! are not plain.

use nvme::{
    AdminOpcode, ControllerList, CopyRange, FormatCdw10, IdentifyNamespace, Lba, NSID_ALL,
    NamespaceCreation, NamespaceId, NvmOpcode, SanitizeCdw10, SanitizeLog, SanitizeStatus, Sqe,
    Status,
};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::{MIB, payload, ram};
use crate::ControllerConfig;
use crate::host::{Held, Host, Pair, dsm, io};
use crate::media::Ram;
use crate::{Media, MediaError};

/// Index of the format with 512 bytes and 8 of metadata.
const FORMAT_512_8: u32 = 2;

fn admin(opcode: AdminOpcode, nsid: u32, cdw10: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(nsid));
    sqe.cdw10 = U32::new(cdw10);
    sqe
}

/// Executes an admin command with `data` for it.
fn with_data<M: Media>(host: &mut Host<M>, mut sqe: Sqe, data: &[u8]) -> (Status, u32) {
    let page = host.pages(1);
    host.write(page, data);
    sqe.prp1 = page.into();
    let cqe = host.admin(sqe);
    (cqe.status(), cqe.result.get())
}

fn create(host: &mut Host<Ram>, blocks: u64, flbas: u8) -> (Status, u32) {
    let wanted = NamespaceCreation {
        nsze: U64::new(blocks),
        ncap: U64::new(blocks),
        flbas,
        ..NamespaceCreation::default()
    };
    let sqe = admin(AdminOpcode::NAMESPACE_MANAGEMENT, 0, 0);
    with_data(host, sqe, wanted.as_bytes())
}

fn attach(host: &mut Host<Ram>, nsid: u32, select: u32) -> Status {
    let sqe = admin(AdminOpcode::NAMESPACE_ATTACHMENT, nsid, select);
    with_data(host, sqe, ControllerList::new(&[1]).as_bytes()).0
}

fn delete<M: Media>(host: &mut Host<M>, nsid: u32) -> Status {
    host.admin_status(admin(AdminOpcode::NAMESPACE_MANAGEMENT, nsid, 1))
}

/// Formats, while the clock runs.
fn format<M: Media>(host: &mut Host<M>, nsid: u32, cdw10: u32) -> Status {
    let mut queue = host.admin;
    host.put(&mut queue, admin(AdminOpcode::FORMAT_NVM, nsid, cdw10));
    host.ring(&queue);
    host.controller.poll(16);
    host.clock.advance(1_000_000_000);
    host.settle();
    let cqe = host.reap(&mut queue).expect("the format completes");
    host.admin = queue;
    cqe.status()
}

fn identify(host: &mut Host<Ram>, nsid: u32) -> IdentifyNamespace {
    let page = host.pages(1);
    let mut sqe = admin(AdminOpcode::IDENTIFY, nsid, 0);
    sqe.prp1 = page.into();
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    IdentifyNamespace::read_from_bytes(&host.read(page, 4096)).unwrap()
}

fn on(nsid: u32, sqe: Sqe) -> Sqe {
    Sqe {
        namespace_id: U32::new(nsid),
        ..sqe
    }
}

#[test]
fn namespaces_are_created_attached_used_detached_and_deleted() {
    let (mut host, mut pair) = Host::ready(ram());
    let full = create(&mut host, 8, 0);
    assert!(full.0.same_code(Status::NAMESPACE_INSUFFICIENT_CAPACITY));
    assert_eq!(delete(&mut host, 1), Status::SUCCESS);
    assert_eq!(create(&mut host, 1000, 0), (Status::SUCCESS, 1));
    assert_eq!(create(&mut host, 2000, 1), (Status::SUCCESS, 2));
    let page = host.pages(2);
    let read = on(2, io(NvmOpcode::READ, 0, 1, page, 0));
    let inactive = host.status(&mut pair, read);
    assert!(inactive.same_code(Status::INVALID_NAMESPACE_OR_FORMAT));
    assert_eq!(attach(&mut host, 2, 0), Status::SUCCESS);
    assert!(attach(&mut host, 2, 0).same_code(Status::NAMESPACE_ALREADY_ATTACHED));
    host.write(page, &[7; 4096]);
    let write = on(2, io(NvmOpcode::WRITE, 1999, 1, page, 0));
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let beyond = on(2, io(NvmOpcode::WRITE, 2000, 1, page, 0));
    let status = host.status(&mut pair, beyond);
    assert!(status.same_code(Status::LBA_OUT_OF_RANGE));
    assert_eq!(attach(&mut host, 2, 1), Status::SUCCESS);
    assert!(attach(&mut host, 2, 1).same_code(Status::NAMESPACE_NOT_ATTACHED));
    assert_eq!(delete(&mut host, 2), Status::SUCCESS);
    let gone = delete(&mut host, 2);
    assert!(gone.same_code(Status::INVALID_NAMESPACE_OR_FORMAT));
    // Its successor finds nothing of what it held.
    assert_eq!(create(&mut host, 2000, 1), (Status::SUCCESS, 2));
    assert_eq!(attach(&mut host, 2, 0), Status::SUCCESS);
    let read = on(2, io(NvmOpcode::READ, 1999, 1, page, 0));
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(page, 4096), [0; 4096]);
}

#[test]
fn wrong_creations_and_attachments_are_refused() {
    let mut host = Host::enabled(ram());
    delete(&mut host, NSID_ALL.0);
    let refused = |(status, _): (Status, u32), expected: Status| {
        assert!(status.same_code(expected), "{status}");
    };
    refused(create(&mut host, 0, 0), Status::INVALID_FIELD);
    refused(create(&mut host, 8, 15), Status::INVALID_FORMAT);
    let thin = NamespaceCreation {
        nsze: U64::new(16),
        ncap: U64::new(8),
        ..NamespaceCreation::default()
    };
    let sqe = admin(AdminOpcode::NAMESPACE_MANAGEMENT, 0, 0);
    let status = with_data(&mut host, sqe, thin.as_bytes());
    refused(status, Status::THIN_PROVISIONING_NOT_SUPPORTED);
    let mut other_set = sqe;
    other_set.cdw11 = U32::new(1 << 24);
    let status = with_data(&mut host, other_set, thin.as_bytes());
    refused(status, Status::COMMAND_SET_NOT_SUPPORTED);
    let select = admin(AdminOpcode::NAMESPACE_MANAGEMENT, 0, 2);
    refused((host.admin_status(select), 0), Status::INVALID_FIELD);
    create(&mut host, 8, 0);
    for list in [&[][..], &[2], &[1, 2]] {
        let sqe = admin(AdminOpcode::NAMESPACE_ATTACHMENT, 1, 0);
        let status = with_data(&mut host, sqe, ControllerList::new(list).as_bytes());
        refused(status, Status::CONTROLLER_LIST_INVALID);
    }
    refused(
        (attach(&mut host, 9, 0), 0),
        Status::INVALID_NAMESPACE_OR_FORMAT,
    );
    refused((attach(&mut host, 1, 2), 0), Status::INVALID_FIELD);
}

#[test]
fn a_format_changes_block_size_and_metadata_and_erases() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(2);
    host.write(page, &[9; 4096]);
    let write = io(NvmOpcode::WRITE, 0, 1, page, 0);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    assert_eq!(format(&mut host, 1, 1), Status::SUCCESS);
    let identity = identify(&mut host, 1);
    assert_eq!(identity.block_bytes(), Some(4096));
    assert_eq!(identity.nsze.get(), 16 * MIB / 4096);
    let read = io(NvmOpcode::READ, 0, 1, page, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(page, 4096), [0; 4096]);
    for (cdw10, status) in [
        (15, Status::INVALID_FORMAT),
        // Protection without metadata.
        (1 << 5, Status::INVALID_FORMAT),
        (3 << 9, Status::INVALID_FIELD),
    ] {
        let got = format(&mut host, 1, cdw10);
        assert!(got.same_code(status), "{cdw10:#x}: {got}");
    }
    let missing = format(&mut host, 2, 0);
    assert!(missing.same_code(Status::INVALID_NAMESPACE_OR_FORMAT));
}

#[test]
fn commands_meet_a_format_in_progress_and_its_progress_is_told() {
    let (mut host, mut pair) = Host::ready(ram());
    let mut queue = host.admin;
    host.put(&mut queue, admin(AdminOpcode::FORMAT_NVM, NSID_ALL.0, 0));
    host.ring(&queue);
    host.controller.poll(16);
    host.admin = queue;
    host.clock
        .advance(ControllerConfig::default().format_ns / 2);
    let page = host.pages(1);
    host.put(&mut pair, io(NvmOpcode::READ, 0, 1, page, 0));
    host.ring(&pair);
    let mut sqe = admin(AdminOpcode::IDENTIFY, 1, 0);
    sqe.prp1 = page.into();
    let mut queue = host.admin;
    host.put(&mut queue, sqe);
    host.ring(&queue);
    host.controller.poll(16);
    let status = host.reap(&mut pair).unwrap().status();
    assert!(status.same_code(Status::FORMAT_IN_PROGRESS));
    assert_eq!(host.reap(&mut queue).unwrap().status(), Status::SUCCESS);
    let identity = IdentifyNamespace::read_from_bytes(&host.read(page, 4096)).unwrap();
    assert_eq!(identity.fpi, IdentifyNamespace::FPI_SUPPORTED | 50);
    host.clock.advance(1_000_000_000);
    host.settle();
    assert_eq!(host.reap(&mut queue).unwrap().status(), Status::SUCCESS);
}

/// A host whose namespace has eight bytes of metadata, interleaved or not.
fn with_metadata(extended: bool) -> (Host<Ram>, Pair) {
    let (mut host, pair) = Host::ready(ram());
    let cdw10 = FORMAT_512_8 | u32::from(extended) << 4;
    assert_eq!(format(&mut host, 1, cdw10), Status::SUCCESS);
    let blocks = identify(&mut host, 1).nsze.get();
    assert_eq!(blocks, 16 * MIB / 520);
    (host, pair)
}

#[test]
fn metadata_goes_and_comes_apart_from_the_data() {
    let (mut host, mut pair) = with_metadata(false);
    let (data, metadata) = (host.pages(1), host.pages(1));
    host.write(data, &[0x11; 1024]);
    host.write(metadata, b"metadata of two!");
    let mut sqe = io(NvmOpcode::WRITE, 5, 2, data, 0);
    sqe.mptr = U64::new(metadata);
    assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    sqe.opcode = NvmOpcode::COMPARE.0;
    assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    host.write(metadata, b"metadata of tow!");
    let status = host.status(&mut pair, sqe);
    assert!(status.same_code(Status::COMPARE_FAILURE));
    host.write(data, &[0; 1024]);
    host.write(metadata, &[0; 16]);
    sqe.opcode = NvmOpcode::READ.0;
    assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    assert_eq!(host.read(data, 1024), [0x11; 1024]);
    assert_eq!(host.read(metadata, 16), b"metadata of two!");
    // Deallocated blocks have neither.
    host.write(data, nvme::DsmRange::new(Lba(5), 1).as_bytes());
    assert_eq!(host.status(&mut pair, dsm(1, data)), Status::SUCCESS);
    assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    assert_eq!(host.read(metadata, 16), b"\0\0\0\0\0\0\0\0 of two!");
    let mut lost = sqe;
    lost.mptr = U64::new(0xdead_0000);
    let status = host.status(&mut pair, lost);
    assert!(status.same_code(Status::DATA_TRANSFER_ERROR));
}

#[test]
fn metadata_at_the_end_of_each_block_is_taken_off_and_put_back() {
    let (mut host, mut pair) = with_metadata(true);
    let data = host.pages(1);
    let mut blocks = vec![0x22; 1040];
    blocks[512..520].copy_from_slice(b"tag of 0");
    blocks[1032..].copy_from_slice(b"tag of 1");
    host.write(data, &blocks);
    host.controller.tap_mut().written = Some(Vec::new());
    let mut sqe = io(NvmOpcode::WRITE, 100, 2, data, 0);
    assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    // An observer sees the data alone.
    let shown = (payload::last(&host), 512, vec![0x22; 1024]);
    assert_eq!(payload::written(&mut host), [shown]);
    sqe.opcode = NvmOpcode::COMPARE.0;
    assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    host.write(data, &[0; 2048]);
    sqe.opcode = NvmOpcode::READ.0;
    assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    assert_eq!(host.read(data, 1040), blocks);
    assert_eq!(host.read(data + 1040, 8), [0; 8]);
}

#[test]
fn uncorrectable_blocks_fail_until_they_are_written() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    let status = |host: &mut Host<Ram>, pair: &mut Pair, opcode, lba, blocks| {
        host.status(pair, io(opcode, lba, blocks, page, 0))
    };
    let opcode = NvmOpcode::WRITE_UNCORRECTABLE;
    assert_eq!(status(&mut host, &mut pair, opcode, 4, 4), Status::SUCCESS);
    for opcode in [NvmOpcode::READ, NvmOpcode::COMPARE, NvmOpcode::VERIFY] {
        let failed = status(&mut host, &mut pair, opcode, 3, 2);
        assert!(failed.same_code(Status::UNRECOVERED_READ_ERROR), "{opcode}");
        assert!(!failed.is_dnr());
    }
    assert_eq!(
        status(&mut host, &mut pair, NvmOpcode::READ, 0, 4),
        Status::SUCCESS
    );
    assert_eq!(
        status(&mut host, &mut pair, NvmOpcode::WRITE, 4, 2),
        Status::SUCCESS
    );
    assert_eq!(
        status(&mut host, &mut pair, NvmOpcode::READ, 4, 2),
        Status::SUCCESS
    );
    assert!(!status(&mut host, &mut pair, NvmOpcode::READ, 6, 1).is_success());
    let zeroes = status(&mut host, &mut pair, NvmOpcode::WRITE_ZEROES, 6, 2);
    assert_eq!(zeroes, Status::SUCCESS);
    assert_eq!(
        status(&mut host, &mut pair, NvmOpcode::READ, 0, 8),
        Status::SUCCESS
    );
}

fn copy(ranges: &[CopyRange], to: u64, page: u64) -> Sqe {
    let mut sqe = Sqe::new(NvmOpcode::COPY.0, NamespaceId(1));
    sqe.set_slba(Lba(to));
    sqe.cdw12 = U32::new(u32::try_from(ranges.len() - 1).unwrap());
    sqe.prp1 = U64::new(page);
    sqe
}

#[test]
fn ranges_are_copied_one_behind_the_other() {
    let (mut host, mut pair) = Host::ready(ram());
    let (data, list) = (host.pages(2), host.pages(1));
    host.write(data, &[1; 4096]);
    host.status(&mut pair, io(NvmOpcode::WRITE, 0, 8, data, 0));
    host.write(data, &[2; 4096]);
    host.status(&mut pair, io(NvmOpcode::WRITE, 1000, 8, data, 0));
    let ranges = [
        CopyRange::new(Lba(1000), 3).unwrap(),
        CopyRange::new(Lba(0), 1).unwrap(),
    ];
    host.write(list, ranges.as_bytes());
    let sqe = copy(&ranges, 2000, list);
    assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    host.status(&mut pair, io(NvmOpcode::READ, 2000, 5, data, 0));
    let read = host.read(data, 5 * 512);
    assert_eq!(read[..1536], [2; 1536]);
    assert_eq!(read[1536..2048], [1; 512]);
    assert_eq!(read[2048..], [0; 512]);
}

#[test]
fn copies_that_are_wrong_are_refused_before_anything_is_copied() {
    let (mut host, mut pair) = Host::ready(ram());
    let list = host.pages(2);
    let blocks = 16 * MIB / 512;
    let one = |lba, blocks| [CopyRange::new(Lba(lba), blocks).unwrap()];
    for (ranges, to, status) in [
        (one(blocks, 1), 0, Status::LBA_OUT_OF_RANGE),
        (one(u64::MAX, 1), 0, Status::LBA_OUT_OF_RANGE),
        (one(0, 1), blocks, Status::LBA_OUT_OF_RANGE),
        (one(0, 8), 4, Status::OVERLAPPING_IO_RANGE),
        (one(0, 65_536), 70_000, Status::COMMAND_SIZE_LIMIT_EXCEEDED),
    ] {
        host.write(list, ranges.as_bytes());
        let got = host.status(&mut pair, copy(&ranges, to, list));
        assert!(got.same_code(status), "{ranges:?} to {to}: {got}");
    }
    let mut many = copy(&one(0, 1), 100, list);
    many.cdw12 = U32::new(255);
    let got = host.status(&mut pair, many);
    assert!(got.same_code(Status::COMMAND_SIZE_LIMIT_EXCEEDED));
    // Formats that the host has not enabled, and those that there are not.
    for format in 2..16 {
        let mut sqe = copy(&one(0, 1), 100, list);
        sqe.cdw12 = U32::new(format << 8);
        let got = host.status(&mut pair, sqe);
        assert!(got.same_code(Status::INVALID_FIELD), "{format}");
    }
    let lost = host.status(&mut pair, copy(&one(0, 1), 100, 0xdead_0000));
    assert!(lost.same_code(Status::DATA_TRANSFER_ERROR));
}

/// Puts a fused pair, and returns how both ended.
fn fused(host: &mut Host<Ram>, pair: &mut Pair, compare: Sqe, write: Sqe) -> (Status, Status) {
    host.put(
        pair,
        Sqe {
            flags: 1,
            ..compare
        },
    );
    host.put(pair, Sqe { flags: 2, ..write });
    host.ring(pair);
    host.settle();
    let first = host.reap(pair).unwrap().status();
    (first, host.reap(pair).unwrap().status())
}

#[test]
fn compare_and_write_is_one_operation() {
    let (mut host, mut pair) = Host::ready(ram());
    let (old, new) = (host.pages(1), host.pages(1));
    host.write(new, &[5; 4096]);
    let compare = io(NvmOpcode::COMPARE, 8, 2, old, 0);
    let write = io(NvmOpcode::WRITE, 8, 2, new, 0);
    let done = fused(&mut host, &mut pair, compare, write);
    assert_eq!(done, (Status::SUCCESS, Status::SUCCESS));
    let (first, second) = fused(&mut host, &mut pair, compare, write);
    assert!(first.same_code(Status::COMPARE_FAILURE));
    assert!(second.same_code(Status::ABORTED_FAILED_FUSED));
    // Of different blocks; too many of them.
    let other = io(NvmOpcode::WRITE, 9, 2, new, 0);
    let (first, second) = fused(&mut host, &mut pair, compare, other);
    assert!(first.same_code(Status::INVALID_FIELD));
    assert!(second.same_code(Status::ABORTED_FAILED_FUSED));
    let many = |opcode| io(opcode, 0, 17, old, new);
    let (first, _) = fused(
        &mut host,
        &mut pair,
        many(NvmOpcode::COMPARE),
        many(NvmOpcode::WRITE),
    );
    assert!(first.same_code(Status::ATOMIC_WRITE_UNIT_EXCEEDED));
}

#[test]
fn halves_of_fused_pairs_are_aborted() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    let read = io(NvmOpcode::READ, 0, 1, page, 0);
    let half = |opcode, flags| Sqe {
        flags,
        ..io(opcode, 0, 1, page, 0)
    };
    host.put(&mut pair, half(NvmOpcode::COMPARE, 1));
    host.put(&mut pair, read);
    host.put(&mut pair, half(NvmOpcode::WRITE, 2));
    host.ring(&pair);
    host.settle();
    let ends: Vec<_> = std::iter::from_fn(|| host.reap(&mut pair))
        .map(|cqe| cqe.status())
        .collect();
    let [first, second, third] = ends[..] else {
        panic!("{ends:?}");
    };
    assert!(first.same_code(Status::ABORTED_MISSING_FUSED));
    assert_eq!(second, Status::SUCCESS);
    assert!(third.same_code(Status::ABORTED_MISSING_FUSED));
    // One that waits for its second half does not outlive a reset.
    host.put(&mut pair, half(NvmOpcode::COMPARE, 1));
    host.ring(&pair);
    host.settle();
    assert!(host.peek(&pair).is_none());
    host.controller.function_reset();
}

fn sanitize_log<M: Media>(host: &mut Host<M>) -> SanitizeLog {
    let page = host.pages(1);
    let mut sqe = admin(AdminOpcode::GET_LOG_PAGE, NSID_ALL.0, 0x81 | 127 << 16);
    sqe.prp1 = page.into();
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    SanitizeLog::read_from_bytes(&host.read(page, 512)).unwrap()
}

#[test]
fn a_sanitize_operation_erases_everything_and_survives_a_reset() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    host.write(page, &[3; 4096]);
    host.status(&mut pair, io(NvmOpcode::WRITE, 77, 8, page, 0));
    let erase = SanitizeCdw10::new().with_sanact(SanitizeCdw10::BLOCK_ERASE);
    let mut queue = host.admin;
    host.put(
        &mut queue,
        admin(AdminOpcode::SANITIZE, 0, erase.into_bits()),
    );
    host.ring(&queue);
    host.controller.poll(16);
    assert_eq!(host.reap(&mut queue).unwrap().status(), Status::SUCCESS);
    host.put(&mut pair, io(NvmOpcode::READ, 77, 8, page, 0));
    host.ring(&pair);
    host.controller.poll(16);
    let status = host.reap(&mut pair).unwrap().status();
    assert!(status.same_code(Status::SANITIZE_IN_PROGRESS));
    host.controller.function_reset();
    host.enable();
    for _ in 0..200 {
        host.clock
            .advance(ControllerConfig::default().sanitize_ns / 64);
        host.controller.poll(16);
    }
    let log = sanitize_log(&mut host);
    let status = SanitizeStatus::from_bits(log.status.get());
    assert_eq!(status.status(), SanitizeStatus::SUCCEEDED);
    assert!(status.global_data_erased());
    assert_eq!(log.cdw10.get(), erase.into_bits());
    let mut pair = host.create_pair(1, 64);
    assert_eq!(
        host.status(&mut pair, io(NvmOpcode::READ, 77, 8, page, 0)),
        Status::SUCCESS
    );
    assert_eq!(host.read(page, 4096), [0; 4096]);
}

#[test]
fn an_overwrite_leaves_its_pattern_where_it_may() {
    let (mut host, mut pair) = Host::ready(ram());
    let overwrite = SanitizeCdw10::new()
        .with_sanact(SanitizeCdw10::OVERWRITE)
        .with_owpass(2)
        .with_oipbp(true)
        .with_ndas(true);
    let mut sqe = admin(AdminOpcode::SANITIZE, 0, overwrite.into_bits());
    sqe.cdw11 = U32::new(0x1234_5678);
    let mut queue = host.admin;
    host.put(&mut queue, sqe);
    host.ring(&queue);
    for _ in 0..100 {
        host.controller.poll(16);
        host.clock.advance(1_000_000_000);
    }
    assert_eq!(host.reap(&mut queue).unwrap().status(), Status::SUCCESS);
    host.admin = queue;
    let page = host.pages(1);
    assert_eq!(
        host.status(&mut pair, io(NvmOpcode::READ, 1000, 8, page, 0)),
        Status::SUCCESS
    );
    assert_eq!(host.read(page, 4), 0x1234_5678_u32.to_le_bytes());
    let passes = SanitizeStatus::from_bits(sanitize_log(&mut host).status.get()).passes();
    assert_eq!(passes, 2);
}

#[test]
fn a_medium_that_fails_a_sanitize_operation_leaves_the_drive_in_failure() {
    let mut host = Host::enabled(Held {
        error: Some(MediaError::Write),
        release: usize::MAX,
        ..Held::default()
    });
    let erase = |exit| SanitizeCdw10::new().with_sanact(exit).with_ause(true);
    let sqe = |action| admin(AdminOpcode::SANITIZE, 0, erase(action).into_bits());
    let started = host.admin_status(sqe(SanitizeCdw10::CRYPTO_ERASE));
    assert_eq!(started, Status::SUCCESS);
    for _ in 0..100 {
        host.controller.poll(16);
    }
    let status = SanitizeStatus::from_bits(sanitize_log(&mut host).status.get());
    assert_eq!(status.status(), SanitizeStatus::FAILED);
    let refused = host.admin_status(admin(
        AdminOpcode::FORMAT_NVM,
        1,
        FormatCdw10::new().into_bits(),
    ));
    assert!(refused.same_code(Status::SANITIZE_FAILED));
    let left = host.admin_status(sqe(SanitizeCdw10::EXIT_FAILURE));
    assert_eq!(left, Status::SUCCESS);
}

#[test]
fn cancel_aborts_what_the_medium_has_not_begun() {
    let (mut host, mut pair) = Host::ready(Held::default());
    let page = host.pages(1);
    let victims: Vec<_> = (0..3)
        .map(|lba| host.put(&mut pair, io(NvmOpcode::READ, lba, 1, page, 0)))
        .collect();
    host.ring(&pair);
    host.controller.poll(16);
    let mut cancel = Sqe::new(NvmOpcode::CANCEL.0, NamespaceId(1));
    cancel.cdw10 = U32::new(u32::from(victims[1].0) << 16 | 1);
    host.put(&mut pair, cancel);
    host.ring(&pair);
    host.controller.poll(16);
    let aborted = host.reap(&mut pair).unwrap();
    assert_eq!(aborted.cid(), victims[1]);
    assert!(aborted.status().same_code(Status::ABORT_REQUESTED));
    assert_eq!(host.reap(&mut pair).unwrap().result.get(), 1);
    // All of the namespace's; and what is none.
    cancel.cdw10 = U32::new(u32::from(u16::MAX) << 16 | 1);
    cancel.cdw11 = U32::new(1);
    host.put(&mut pair, cancel);
    cancel.cdw11 = U32::new(2);
    host.put(&mut pair, cancel);
    host.ring(&pair);
    host.controller.poll(16);
    let ends: Vec<_> = std::iter::from_fn(|| host.reap(&mut pair)).collect();
    assert_eq!(ends.len(), 4);
    assert_eq!(ends[2].result.get(), 2);
    assert!(ends[3].status().same_code(Status::INVALID_FIELD));
}

#[test]
fn write_protection_is_set_and_kept() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    let protect = |host: &mut Host<Ram>, state| {
        let mut sqe = admin(AdminOpcode::SET_FEATURES, 1, 0x84);
        sqe.cdw11 = U32::new(state);
        host.admin_status(sqe)
    };
    let write = io(NvmOpcode::WRITE, 0, 1, page, 0);
    assert_eq!(protect(&mut host, 1), Status::SUCCESS);
    let status = host.status(&mut pair, write);
    assert!(status.same_code(Status::NAMESPACE_WRITE_PROTECTED));
    assert!(format(&mut host, 1, 0).same_code(Status::NAMESPACE_WRITE_PROTECTED));
    assert_eq!(identify(&mut host, 1).nsattr & 1, 1);
    assert_eq!(protect(&mut host, 0), Status::SUCCESS);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    assert_eq!(protect(&mut host, 3), Status::SUCCESS);
    let kept = protect(&mut host, 0);
    assert!(kept.same_code(Status::FEATURE_NOT_CHANGEABLE));
    let beyond = protect(&mut host, 4);
    assert!(!beyond.is_success());
}

/// A host whose namespace has blocks of 512 bytes and 8 of protection
/// information of type 1, apart from the data.
fn protected() -> (Host<Ram>, Pair, u64, u64) {
    let (mut host, pair) = Host::ready(ram());
    assert_eq!(format(&mut host, 1, FORMAT_512_8 | 1 << 5), Status::SUCCESS);
    assert_eq!(identify(&mut host, 1).dps, 1);
    let (data, metadata) = (host.pages(1), host.pages(1));
    (host, pair, data, metadata)
}

const PRACT: u32 = 1 << 29;
/// Guard and reference tag.
const CHECKS: u32 = 1 << 28 | 1 << 26;

fn protected_io(opcode: NvmOpcode, lba: u64, prinfo: u32, data: u64, metadata: u64) -> Sqe {
    let mut sqe = io(opcode, lba, 2, data, 0);
    sqe.cdw12 |= U32::new(prinfo);
    sqe.cdw14 = U32::new(u32::try_from(lba).unwrap());
    sqe.mptr = U64::new(metadata);
    sqe
}

#[test]
fn protection_information_is_made_checked_and_taken_away() {
    let (mut host, mut pair, data, metadata) = protected();
    host.write(data, &[0x5a; 1024]);
    let write = protected_io(NvmOpcode::WRITE, 10, PRACT, data, 0xdead_0000);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    // Without PRACT, it comes to the host: the CRC of 512 bytes of 5Ah, no
    // application tag, and the address.
    let read = protected_io(NvmOpcode::READ, 10, CHECKS, data, metadata);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    let info = host.read(metadata, 16);
    assert_eq!(info[2..8], [0, 0, 0, 0, 0, 10]);
    assert_eq!(info[10..16], [0, 0, 0, 0, 0, 11]);
    assert_eq!(info[..2], info[8..10]);
    assert_ne!(info[..2], [0, 0]);
    // It can be written as it came, and not at another place, nor damaged.
    let same = protected_io(NvmOpcode::WRITE, 10, CHECKS, data, metadata);
    assert_eq!(host.status(&mut pair, same), Status::SUCCESS);
    let elsewhere = protected_io(NvmOpcode::WRITE, 20, CHECKS, data, metadata);
    let status = host.status(&mut pair, elsewhere);
    assert!(status.same_code(Status::REFERENCE_TAG_CHECK), "{status}");
    host.write(data + 700, &[0]);
    let status = host.status(&mut pair, same);
    assert!(status.same_code(Status::GUARD_CHECK), "{status}");
    let mut other_tag = read;
    other_tag.cdw14 = U32::new(11);
    let status = host.status(&mut pair, other_tag);
    assert!(status.same_code(Status::INVALID_PROTECTION_INFORMATION));
}

#[test]
fn what_is_not_written_passes_every_check() {
    let (mut host, mut pair, data, metadata) = protected();
    let read = protected_io(NvmOpcode::READ, 500, CHECKS, data, metadata);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(metadata, 16), [0xff; 16]);
    let verify = protected_io(NvmOpcode::VERIFY, 500, CHECKS, 0, 0);
    assert_eq!(host.status(&mut pair, verify), Status::SUCCESS);
    // Zeroes with protection information, and without.
    let zeroes = protected_io(NvmOpcode::WRITE_ZEROES, 500, PRACT, 0, 0);
    assert_eq!(host.status(&mut pair, zeroes), Status::SUCCESS);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(metadata, 8), [0, 0, 0, 0, 0, 0, 1, 0xf4]);
    let zeroes = protected_io(NvmOpcode::WRITE_ZEROES, 500, 0, 0, 0);
    assert_eq!(host.status(&mut pair, zeroes), Status::SUCCESS);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(metadata, 8), [0xff; 8]);
}

#[test]
fn a_former_hosts_reservation_keeps_the_next_one_out() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    let identify_host = |host: &mut Host<Ram>, id: u8| {
        let mut sqe = admin(AdminOpcode::SET_FEATURES, 0, 0x81);
        sqe.cdw11 = U32::new(1);
        assert_eq!(with_data(host, sqe, &[id; 16]).0, Status::SUCCESS);
    };
    let reserve =
        |host: &mut Host<Ram>, pair: &mut Pair, opcode: NvmOpcode, cdw10, keys: [u64; 2]| {
            host.write(page, keys.as_bytes());
            let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
            sqe.cdw10 = U32::new(cdw10);
            sqe.prp1 = U64::new(page);
            host.status(pair, sqe)
        };
    let register = NvmOpcode::RESERVATION_REGISTER;
    // No host without an identifier.
    let unknown = reserve(&mut host, &mut pair, register, 0, [0, 7]);
    assert!(
        unknown.same_code(Status::HOST_ID_NOT_INITIALIZED),
        "{unknown}"
    );
    identify_host(&mut host, 1);
    // Registered, persistently; write exclusive.
    let persistent = 3 << 30;
    let registered = reserve(&mut host, &mut pair, register, persistent, [0, 7]);
    assert_eq!(registered, Status::SUCCESS);
    let acquire = NvmOpcode::RESERVATION_ACQUIRE;
    let acquired = reserve(&mut host, &mut pair, acquire, 1 << 8, [7, 0]);
    assert_eq!(acquired, Status::SUCCESS);
    let write = io(NvmOpcode::WRITE, 0, 1, page, 0);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);

    // Another host attaches: it may read, and neither write nor format.
    host.controller.function_reset();
    host.enable();
    identify_host(&mut host, 2);
    let mut pair = host.create_pair(1, 64);
    let read = io(NvmOpcode::READ, 0, 1, page, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    let status = host.status(&mut pair, write);
    assert!(status.same_code(Status::RESERVATION_CONFLICT));
    assert!(format(&mut host, 1, 0).same_code(Status::RESERVATION_CONFLICT));
    // It preempts, and has the namespace.
    let registered = reserve(&mut host, &mut pair, register, 0, [0, 9]);
    assert_eq!(registered, Status::SUCCESS);
    let preempted = reserve(&mut host, &mut pair, acquire, 1 << 8 | 1, [9, 7]);
    assert_eq!(preempted, Status::SUCCESS);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
}
