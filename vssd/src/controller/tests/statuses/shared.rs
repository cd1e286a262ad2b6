//! What namespaces answer that have protection information, or a reservation of
//! another host.

use super::*;

/// Format 2, 512 bytes and 8 of metadata, with protection of type 1.
const PROTECTED: u32 = 2 | 1 << 5;
const PRACT: u32 = 1 << 29;
const GUARD: u32 = 1 << 28;
const APPLICATION: u32 = 1 << 27;
const REFERENCE: u32 = 1 << 26;

/// A host whose namespace has protection information, apart from the data.
fn protected() -> (Host<Ram>, Pair, u64, u64) {
    let config = ControllerConfig {
        format_ns: 0,
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, ram());
    host.enable();
    let pair = host.create_pair(1, 64);
    let format = admin(AdminOpcode::FORMAT_NVM, 1, PROTECTED, 0);
    assert_eq!(host.admin_status(format), Status::SUCCESS);
    let (data, metadata) = (host.pages(1), host.pages(1));
    (host, pair, data, metadata)
}

fn checked(opcode: NvmOpcode, lba: u32, prinfo: u32, data: u64, metadata: u64) -> Sqe {
    let mut sqe = io(opcode, lba.into(), 1, data, 0);
    sqe.cdw12 |= U32::new(prinfo);
    sqe.cdw14 = U32::new(lba);
    sqe.mptr = U64::new(metadata);
    sqe
}

#[test]
fn what_reads_checks_protection_information() {
    let (mut host, mut pair, data, metadata) = protected();
    let good = checked(NvmOpcode::WRITE, 10, PRACT, data, 0);
    assert_eq!(host.status(&mut pair, good), Status::SUCCESS);
    let read = checked(NvmOpcode::READ, 10, 0, data, metadata);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    let tuple = host.read(metadata, 8);
    // Stored as it is told, as nothing is checked: one of another guard, and
    // one of another address.
    let mut damaged = tuple.clone();
    damaged[0] ^= 1;
    damaged[7] = 20;
    for (lba, info) in [(20, &damaged), (30, &tuple)] {
        host.write(metadata, info);
        let write = checked(NvmOpcode::WRITE, lba, 0, data, metadata);
        assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    }
    for opcode in [NvmOpcode::READ, NvmOpcode::COMPARE, NvmOpcode::VERIFY] {
        for (lba, checks, expected) in [
            (20, GUARD, Status::GUARD_CHECK),
            (20, REFERENCE, Status::SUCCESS),
            (30, GUARD, Status::SUCCESS),
            (30, REFERENCE, Status::REFERENCE_TAG_CHECK),
            (10, APPLICATION, Status::APPLICATION_TAG_CHECK),
        ] {
            host.write(metadata, if lba == 20 { &damaged } else { &tuple });
            let mut sqe = checked(opcode, lba, checks, data, metadata);
            // The application tag is 0; all of its bits count.
            sqe.cdw15 = U32::new(u32::from(u16::MAX) << 16 | 1);
            expect(host.status(&mut pair, sqe), expected, sqe);
        }
    }
}

#[test]
fn transfers_with_protection_information_mind_their_fields() {
    let (mut host, mut pair, data, metadata) = protected();
    for opcode in TRANSFERS {
        let beyond = checked(opcode, 40_000, 0, data, metadata);
        let status = host.status(&mut pair, beyond);
        expect(status, Status::LBA_OUT_OF_RANGE, beyond);
    }
    // Protection of type 1 counts from the address on.
    for opcode in [
        NvmOpcode::READ,
        NvmOpcode::WRITE,
        NvmOpcode::COMPARE,
        NvmOpcode::VERIFY,
    ] {
        let mut other = checked(opcode, 10, REFERENCE, data, metadata);
        other.cdw14 = U32::new(11);
        let status = host.status(&mut pair, other);
        expect(status, Status::INVALID_PROTECTION_INFORMATION, other);
    }
    // Data or metadata that are nowhere.
    for opcode in [NvmOpcode::READ, NvmOpcode::WRITE, NvmOpcode::COMPARE] {
        for (data, metadata) in [(data, 0xdead_0000), (0xdead_0000, metadata)] {
            let lost = checked(opcode, 10, 0, data, metadata);
            let status = host.status(&mut pair, lost);
            expect(status, Status::DATA_TRANSFER_ERROR, lost);
        }
    }
}

/// Tells the controller which host it has.
fn introduce(host: &mut Host<Ram>, page: u64, id: u8) {
    host.write(page, &[id; 16]);
    let feature = u32::from(FeatureId::HOST_IDENTIFIER.0);
    let mut sqe = admin(AdminOpcode::SET_FEATURES, 0, feature, 1);
    sqe.prp1 = U64::new(page);
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
}

fn reserve(page: u64, opcode: NvmOpcode, cdw10: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
    sqe.cdw10 = U32::new(cdw10);
    sqe.prp1 = U64::new(page);
    sqe
}

/// A host that finds the first of two namespaces reserved by another, with
/// exclusive access.
fn reserved() -> (Host<Ram>, Pair, u64) {
    let (mut host, mut pair) = two_namespaces();
    let page = host.pages(1);
    introduce(&mut host, page, 1);
    let register = NvmOpcode::RESERVATION_REGISTER;
    let acquire = NvmOpcode::RESERVATION_ACQUIRE;
    for (opcode, cdw10, keys) in [(register, 3 << 30, [0, 7_u64]), (acquire, 2 << 8, [7, 0])] {
        host.write(page, keys.as_bytes());
        let sqe = reserve(page, opcode, cdw10);
        assert_eq!(host.status(&mut pair, sqe), Status::SUCCESS);
    }
    host.controller.function_reset();
    host.enable();
    introduce(&mut host, page, 2);
    let pair = host.create_pair(1, 64);
    (host, pair, page)
}

#[test]
fn every_command_minds_a_reservation() {
    let (mut host, mut pair, page) = reserved();
    host.write(page, &[0; 4096]);
    for sqe in every_io(page) {
        if RESERVATIONS.contains(&NvmOpcode(sqe.opcode)) {
            continue;
        }
        let status = host.status(&mut pair, sqe);
        expect(status, Status::RESERVATION_CONFLICT, sqe);
    }
    // Who is no registrant can neither acquire nor release.
    for (opcode, cdw10) in [
        (NvmOpcode::RESERVATION_ACQUIRE, 2 << 8),
        (NvmOpcode::RESERVATION_RELEASE, 2 << 8),
    ] {
        let sqe = reserve(page, opcode, cdw10);
        expect(
            host.status(&mut pair, sqe),
            Status::RESERVATION_CONFLICT,
            sqe,
        );
    }
    host.write(page, nvme::ControllerList::new(&[1]).as_bytes());
    for (opcode, nsid, cdw10) in [
        (AdminOpcode::FORMAT_NVM, 1, 0),
        (AdminOpcode::NAMESPACE_MANAGEMENT, 1, 1),
        (AdminOpcode::NAMESPACE_MANAGEMENT, NSID_ALL.0, 1),
        (AdminOpcode::NAMESPACE_ATTACHMENT, 1, 1),
        (AdminOpcode::SECURITY_SEND, 1, 0),
        (AdminOpcode::SECURITY_RECEIVE, 1, 0),
        (AdminOpcode::SANITIZE, 0, 2),
    ] {
        let mut sqe = admin(opcode, nsid, cdw10, 0);
        sqe.prp1 = U64::new(page);
        let status = host.admin_status(sqe);
        assert!(
            status.same_code(Status::RESERVATION_CONFLICT),
            "{opcode}: {status}"
        );
    }
    // The other namespace is nobody's.
    let read = on(NamespaceId(2), io(NvmOpcode::READ, 0, 1, page, 0));
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
}

#[test]
fn a_copy_minds_a_reservation_of_its_source() {
    let (mut host, mut pair, page) = reserved();
    let behavior = HostBehavior {
        cdfe: (1 << 2 | 1 << 3).into(),
        ..HostBehavior::default()
    };
    host.write(page, behavior.as_bytes());
    let feature = u32::from(FeatureId::HOST_BEHAVIOR.0);
    let mut set = admin(AdminOpcode::SET_FEATURES, 0, feature, 0);
    set.prp1 = U64::new(page);
    assert_eq!(host.admin_status(set), Status::SUCCESS);
    // The second namespace, with blocks of the same size as the first.
    let format = admin(AdminOpcode::FORMAT_NVM, 2, 0, 0);
    let mut queue = host.admin;
    host.put(&mut queue, format);
    host.ring(&queue);
    host.controller.poll(16);
    host.clock.advance(1_000_000_000);
    host.settle();
    assert_eq!(host.reap(&mut queue).unwrap().status(), Status::SUCCESS);
    host.admin = queue;
    let mut range = CopyRange::new(Lba(0), 1).unwrap().as_bytes().to_vec();
    range[..4].copy_from_slice(&1_u32.to_le_bytes());
    host.write(page, &range);
    let mut sqe = on(NamespaceId(2), copy(page, 100));
    sqe.cdw12 = U32::new(2 << 8);
    expect(
        host.status(&mut pair, sqe),
        Status::RESERVATION_CONFLICT,
        sqe,
    );
}
