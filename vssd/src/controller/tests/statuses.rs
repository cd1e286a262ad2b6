//! The status tables of the commands, as far as no other test has them: what
//! each command answers where something is in its way.

mod sanitize;
mod shared;
mod zones;

use nvme::{
    AdminOpcode, CopyRange, DsmRange, FeatureId, HostBehavior, Lba, NSID_ALL, NamespaceId,
    NvmOpcode, SanitizeCdw10, Sqe, Status,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::kept::admin;
use super::{MIB, ram};
use crate::host::{Host, Pair, dsm, io};
use crate::media::Ram;
use crate::{ControllerConfig, Media};

/// Blocks of the namespace.
const BLOCKS: u64 = 16 * MIB / 512;
/// The opcodes of the NVM command set that name blocks of a namespace.
const TRANSFERS: [NvmOpcode; 6] = [
    NvmOpcode::READ,
    NvmOpcode::WRITE,
    NvmOpcode::COMPARE,
    NvmOpcode::WRITE_ZEROES,
    NvmOpcode::WRITE_UNCORRECTABLE,
    NvmOpcode::VERIFY,
];
const RESERVATIONS: [NvmOpcode; 4] = [
    NvmOpcode::RESERVATION_REGISTER,
    NvmOpcode::RESERVATION_REPORT,
    NvmOpcode::RESERVATION_ACQUIRE,
    NvmOpcode::RESERVATION_RELEASE,
];

/// Executes a command while others may be in progress that do not end.
fn answer<M: Media>(host: &mut Host<M>, pair: &mut Pair, sqe: Sqe) -> Status {
    host.put(pair, sqe);
    host.ring(pair);
    for _ in 0..64 {
        host.controller.poll(64);
        if let Some(cqe) = host.reap(pair) {
            return cqe.status();
        }
    }
    panic!("no answer to {sqe:?}");
}

fn admin_answer<M: Media>(host: &mut Host<M>, sqe: Sqe) -> Status {
    let mut pair = host.admin;
    let status = answer(host, &mut pair, sqe);
    host.admin = pair;
    status
}

/// Submits an admin command that takes its time.
fn begin<M: Media>(host: &mut Host<M>, sqe: Sqe) {
    let mut pair = host.admin;
    host.put(&mut pair, sqe);
    host.ring(&pair);
    host.controller.poll(16);
    host.admin = pair;
}

fn sanitize() -> Sqe {
    let erase = SanitizeCdw10::new().with_sanact(SanitizeCdw10::BLOCK_ERASE);
    admin(AdminOpcode::SANITIZE, 0, erase.into_bits(), 0)
}

fn copy(page: u64, to: u64) -> Sqe {
    let mut sqe = Sqe::new(NvmOpcode::COPY.0, NamespaceId(1));
    sqe.set_slba(Lba(to));
    sqe.prp1 = U64::new(page);
    sqe
}

fn on(nsid: NamespaceId, sqe: Sqe) -> Sqe {
    Sqe {
        namespace_id: U32::new(nsid.0),
        ..sqe
    }
}

/// Every I/O command on a namespace, well-formed, with its data at `page`.
fn every_io(page: u64) -> Vec<Sqe> {
    let mut all: Vec<_> = TRANSFERS.map(|opcode| io(opcode, 0, 1, page, 0)).into();
    all.push(Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1)));
    all.push(dsm(1, page));
    all.push(copy(page, 100));
    all.extend(RESERVATIONS.map(|opcode| io(opcode, 0, 1, page, 0)));
    all
}

#[track_caller]
fn expect(status: Status, expected: Status, what: Sqe) {
    let name = NvmOpcode(what.opcode);
    assert!(status.same_code(expected), "{name}: {status} {what:?}");
}

#[test]
fn every_io_command_minds_its_namespace() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    for sqe in every_io(page) {
        for nsid in [NamespaceId(0), NamespaceId(2), NSID_ALL] {
            // Flush alone is for all namespaces where it says so.
            if sqe.opcode == NvmOpcode::FLUSH.0 && nsid == NSID_ALL {
                continue;
            }
            let sqe = on(nsid, sqe);
            let status = host.status(&mut pair, sqe);
            expect(status, Status::INVALID_NAMESPACE_OR_FORMAT, sqe);
            assert!(status.is_dnr(), "{sqe:?}");
        }
    }
}

#[test]
fn every_io_command_meets_a_format_in_progress() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    begin(&mut host, admin(AdminOpcode::FORMAT_NVM, 1, 0, 0));
    for sqe in every_io(page) {
        let status = answer(&mut host, &mut pair, sqe);
        expect(status, Status::FORMAT_IN_PROGRESS, sqe);
        // It can be tried again.
        assert!(!status.is_dnr(), "{sqe:?}");
    }
    for sqe in [
        admin(AdminOpcode::FORMAT_NVM, 1, 0, 0),
        admin(AdminOpcode::NAMESPACE_MANAGEMENT, 1, 1, 0),
        sanitize(),
    ] {
        let status = admin_answer(&mut host, sqe);
        assert!(status.same_code(Status::FORMAT_IN_PROGRESS), "{sqe:?}");
    }
}

#[test]
fn what_writes_minds_write_protection_and_nothing_else_does() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    host.write(page, DsmRange::new(Lba(0), 0).as_bytes());
    let feature = u32::from(FeatureId::NAMESPACE_WRITE_PROTECTION.0);
    let protect = admin(AdminOpcode::SET_FEATURES, 1, feature, 1);
    assert_eq!(host.admin_status(protect), Status::SUCCESS);
    host.write(page, CopyRange::new(Lba(0), 1).unwrap().as_bytes());
    for sqe in [
        io(NvmOpcode::WRITE, 0, 1, page, 0),
        io(NvmOpcode::WRITE_ZEROES, 0, 1, 0, 0),
        io(NvmOpcode::WRITE_UNCORRECTABLE, 0, 1, 0, 0),
        dsm(1, page),
        copy(page, 100),
    ] {
        let status = host.status(&mut pair, sqe);
        expect(status, Status::NAMESPACE_WRITE_PROTECTED, sqe);
        assert!(status.is_dnr(), "{sqe:?}");
    }
    for sqe in [
        io(NvmOpcode::READ, 0, 1, page, 0),
        io(NvmOpcode::COMPARE, 0, 1, page, 0),
        io(NvmOpcode::VERIFY, 0, 1, 0, 0),
        Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1)),
    ] {
        assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS, "{sqe:?}");
    }
    for sqe in [
        sanitize(),
        admin(AdminOpcode::NAMESPACE_MANAGEMENT, 1, 1, 0),
    ] {
        let status = host.admin_status(sqe);
        assert!(status.same_code(Status::NAMESPACE_WRITE_PROTECTED));
    }
}

#[test]
fn every_command_with_data_minds_offsets_and_memory() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(2);
    let odd = page + 2;
    for sqe in [
        io(NvmOpcode::READ, 0, 1, odd, 0),
        io(NvmOpcode::WRITE, 0, 1, odd, 0),
        io(NvmOpcode::COMPARE, 0, 1, odd, 0),
        // The second page starts at its start.
        io(NvmOpcode::READ, 0, 16, page, page + 8),
        io(NvmOpcode::WRITE, 0, 16, page, page + 8),
        io(NvmOpcode::COMPARE, 0, 16, page, page + 8),
        dsm(1, odd),
        copy(odd, 100),
        io(NvmOpcode::RESERVATION_REGISTER, 0, 1, odd, 0),
        io(NvmOpcode::RESERVATION_REPORT, 0, 1, odd, 0),
        io(NvmOpcode::RESERVATION_ACQUIRE, 0, 1, odd, 0),
        io(NvmOpcode::RESERVATION_RELEASE, 0, 1, odd, 0),
    ] {
        expect(host.status(&mut pair, sqe), Status::PRP_OFFSET_INVALID, sqe);
    }
    let log = u32::from(nvme::LogPageId::SMART.0) | 127 << 16;
    let timestamp = u32::from(FeatureId::TIMESTAMP.0);
    for (sqe, nsid) in [
        (admin(AdminOpcode::IDENTIFY, 0, 1, 0), 0),
        (admin(AdminOpcode::GET_LOG_PAGE, 0, log, 0), 0),
        (admin(AdminOpcode::GET_FEATURES, 0, timestamp, 0), 0),
        (admin(AdminOpcode::SET_FEATURES, 0, timestamp, 0), 0),
        (admin(AdminOpcode::NAMESPACE_MANAGEMENT, 0, 0, 0), 0),
        (admin(AdminOpcode::NAMESPACE_ATTACHMENT, 0, 0, 0), 1),
        (admin(AdminOpcode::FIRMWARE_DOWNLOAD, 0, 1023, 0), 0),
    ] {
        let mut sqe = on(NamespaceId(nsid), sqe);
        let name = AdminOpcode(sqe.opcode);
        for (at, expected) in [
            (odd, Status::PRP_OFFSET_INVALID),
            (0xdead_0000, Status::DATA_TRANSFER_ERROR),
        ] {
            sqe.prp1 = U64::new(at);
            let status = host.admin_status(sqe);
            assert!(status.same_code(expected), "{name}: {status}");
        }
    }
}

#[test]
fn write_uncorrectable_and_dataset_management_mind_the_end() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    for (lba, blocks) in [(BLOCKS, 1), (BLOCKS - 1, 2), (u64::MAX, 1)] {
        let sqe = io(NvmOpcode::WRITE_UNCORRECTABLE, lba, blocks, 0, 0);
        expect(host.status(&mut pair, sqe), Status::LBA_OUT_OF_RANGE, sqe);
        host.write(page, DsmRange::new(Lba(lba), blocks).as_bytes());
        // A hint that deallocates nothing minds them, too.
        for attributes in [0b100, 0b001, 0b010] {
            let mut sqe = dsm(1, page);
            sqe.cdw11 = U32::new(attributes);
            expect(host.status(&mut pair, sqe), Status::LBA_OUT_OF_RANGE, sqe);
        }
    }
    // The bad block at the end was not marked by the command that failed.
    let read = io(NvmOpcode::READ, BLOCKS - 1, 1, page, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
}

/// A drive with a second namespace, of blocks of 4096 bytes.
fn two_namespaces() -> (Host<Ram>, Pair) {
    let (mut host, pair) = Host::ready(ram());
    let half = 8 * MIB / 512;
    host.controller
        .resize_namespace(NamespaceId(1), half)
        .unwrap();
    let second = host.controller.add_namespace(512, 1).unwrap();
    assert_eq!(second, NamespaceId(2));
    (host, pair)
}

#[test]
fn copies_between_namespaces_mind_both() {
    let (mut host, mut pair) = two_namespaces();
    let page = host.pages(1);
    let behavior = HostBehavior {
        cdfe: (1 << 2 | 1 << 3).into(),
        ..HostBehavior::default()
    };
    host.write(page, behavior.as_bytes());
    let feature = u32::from(FeatureId::HOST_BEHAVIOR.0);
    let mut set = admin(AdminOpcode::SET_FEATURES, 0, feature, 0);
    set.prp1 = U64::new(page);
    assert_eq!(host.admin_status(set), Status::SUCCESS);
    let mut from = |host: &mut Host<Ram>, nsid: u32| {
        let mut range = CopyRange::new(Lba(0), 1).unwrap().as_bytes().to_vec();
        // The source's namespace is the first dword.
        range[..4].copy_from_slice(&nsid.to_le_bytes());
        host.write(page, &range);
        let mut sqe = copy(page, 100);
        sqe.cdw12 = U32::new(2 << 8);
        (host.status(&mut pair, sqe), sqe)
    };
    for (nsid, expected) in [
        (1, Status::SUCCESS),
        (2, Status::INCOMPATIBLE_NAMESPACE_OR_FORMAT),
        (3, Status::INVALID_NAMESPACE_OR_FORMAT),
        (0, Status::INVALID_NAMESPACE_OR_FORMAT),
        (NSID_ALL.0, Status::INVALID_NAMESPACE_OR_FORMAT),
    ] {
        let (status, sqe) = from(&mut host, nsid);
        expect(status, expected, sqe);
    }
}

#[test]
fn a_copy_of_bad_blocks_fails_and_leaves_the_destination() {
    let (mut host, mut pair) = Host::ready(ram());
    let (page, data) = (host.pages(1), host.pages(1));
    host.write(data, &[4; 512]);
    let write = io(NvmOpcode::WRITE, 100, 1, data, 0);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let damage = io(NvmOpcode::WRITE_UNCORRECTABLE, 0, 1, 0, 0);
    assert_eq!(host.status(&mut pair, damage), Status::SUCCESS);
    host.write(page, CopyRange::new(Lba(0), 1).unwrap().as_bytes());
    let sqe = copy(page, 100);
    let status = host.status(&mut pair, sqe);
    expect(status, Status::UNRECOVERED_READ_ERROR, sqe);
    let read = io(NvmOpcode::READ, 100, 1, data, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(data, 512), [4; 512]);
}

#[test]
fn namespaces_run_out_of_identifiers() {
    let config = ControllerConfig {
        namespaces_max: 1,
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, ram());
    host.enable();
    let page = host.pages(1);
    let wanted = nvme::NamespaceCreation {
        nsze: U64::new(8),
        ncap: U64::new(8),
        ..nvme::NamespaceCreation::default()
    };
    host.write(page, wanted.as_bytes());
    let mut sqe = admin(AdminOpcode::NAMESPACE_MANAGEMENT, 0, 0, 0);
    sqe.prp1 = U64::new(page);
    let status = host.admin_status(sqe);
    assert!(
        status.same_code(Status::NAMESPACE_ID_UNAVAILABLE),
        "{status}"
    );
}

#[test]
fn admin_commands_of_a_namespace_mind_it() {
    let mut host = Host::enabled(ram());
    let page = host.pages(1);
    let smart = u32::from(nvme::LogPageId::SMART.0) | 127 << 16;
    let protection = u32::from(FeatureId::NAMESPACE_WRITE_PROTECTION.0);
    let recovery = u32::from(FeatureId::ERROR_RECOVERY.0);
    let cases = [
        (AdminOpcode::GET_LOG_PAGE, smart, &[2, 300][..]),
        (AdminOpcode::GET_FEATURES, recovery, &[0, 2, NSID_ALL.0]),
        (AdminOpcode::SET_FEATURES, recovery, &[0, 2]),
        (AdminOpcode::SET_FEATURES, protection, &[0, 2]),
        (AdminOpcode::DEVICE_SELF_TEST, 1, &[2, 300]),
        (AdminOpcode::DIRECTIVE_SEND, 0, &[0, 2]),
        (AdminOpcode::DIRECTIVE_RECEIVE, 0, &[0, 2]),
        (AdminOpcode::FORMAT_NVM, 0, &[0, 2, 300]),
        (AdminOpcode::NAMESPACE_MANAGEMENT, 1, &[0, 2, 300]),
    ];
    for (opcode, cdw10, nsids) in cases {
        for &nsid in nsids {
            let mut sqe = admin(opcode, nsid, cdw10, 0);
            sqe.prp1 = U64::new(page);
            let status = host.admin_status(sqe);
            assert!(
                status.same_code(Status::INVALID_NAMESPACE_OR_FORMAT),
                "{opcode} of {nsid}: {status}"
            );
        }
    }
}

#[test]
fn a_namespace_that_is_not_attached_is_identified_as_allocated_alone() {
    let mut host = Host::enabled(ram());
    let page = host.pages(1);
    host.write(page, nvme::ControllerList::new(&[1]).as_bytes());
    let mut detach = admin(AdminOpcode::NAMESPACE_ATTACHMENT, 1, 1, 0);
    detach.prp1 = U64::new(page);
    assert_eq!(host.admin_status(detach), Status::SUCCESS);
    for (cns, there) in [
        (nvme::Cns::INDEPENDENT_NAMESPACE, false),
        (nvme::Cns::INDEPENDENT_ALLOCATED_NAMESPACE, true),
        (nvme::Cns::NAMESPACE, false),
        (nvme::Cns::ALLOCATED_NAMESPACE, true),
    ] {
        let mut sqe = admin(AdminOpcode::IDENTIFY, 1, cns.0.into(), 0);
        sqe.prp1 = U64::new(page);
        assert_eq!(host.admin_status(sqe), Status::SUCCESS, "{cns}");
        let found = host.read(page, 4096) != [0; 4096];
        assert_eq!(found, there, "{cns}");
        sqe.namespace_id = U32::new(300);
        let status = host.admin_status(sqe);
        assert!(status.same_code(Status::INVALID_NAMESPACE_OR_FORMAT));
    }
}
