use nvme::{
    AdminOpcode, NamespaceId, NvmOpcode, RegisteredController, ReservationAcquireCdw10,
    ReservationAcquireData, ReservationNotificationMask, ReservationRegisterCdw10,
    ReservationRegisterData, ReservationReleaseCdw10, ReservationReleaseData,
    ReservationReportCdw11, ReservationType, Status,
};
use zerocopy::little_endian::U64;

use super::{
    CommandClass, HostId, Notice, NoticeKind, Notices, Outcome, REGISTRANTS_MAX, Reservations,
};

type Action = Result<Outcome, Status>;

const A: HostId = host(1);
const B: HostId = host(2);
const C: HostId = host(3);
const CONFLICT: Status = Status::RESERVATION_CONFLICT.dnr();
const INVALID: Status = Status::INVALID_FIELD.dnr();

const WE: ReservationType = ReservationType::WriteExclusive;
const EA: ReservationType = ReservationType::ExclusiveAccess;
const WE_RO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;
const EA_RO: ReservationType = ReservationType::ExclusiveAccessRegistrantsOnly;
const WE_AR: ReservationType = ReservationType::WriteExclusiveAllRegistrants;
const EA_AR: ReservationType = ReservationType::ExclusiveAccessAllRegistrants;

const fn host(number: u8) -> HostId {
    HostId {
        id: [number; 16],
        extended: true,
    }
}

fn register(to: &mut Reservations, host: &HostId, action: u8, keys: (u64, u64)) -> Action {
    let dword = ReservationRegisterCdw10::new().with_rrega(action);
    register_as(to, host, dword, keys)
}

fn register_as(
    to: &mut Reservations,
    host: &HostId,
    dword: ReservationRegisterCdw10,
    (current, new): (u64, u64),
) -> Action {
    let data = ReservationRegisterData {
        crkey: U64::new(current),
        nrkey: U64::new(new),
    };
    to.register(host, dword, data)
}

fn acquire(to: &mut Reservations, host: &HostId, key: u64, kind: ReservationType) -> Action {
    preempt(to, host, (key, 0), (0, kind))
}

/// Reservation Acquire with keys `(current, to preempt)` and `(action, type)`.
fn preempt(
    to: &mut Reservations,
    host: &HostId,
    (current, other): (u64, u64),
    (action, kind): (u8, ReservationType),
) -> Action {
    let dword = ReservationAcquireCdw10::new()
        .with_racqa(action)
        .with_rtype(kind.into_bits());
    let data = ReservationAcquireData {
        crkey: U64::new(current),
        prkey: U64::new(other),
    };
    to.acquire(host, dword, data)
}

fn release(to: &mut Reservations, host: &HostId, key: u64, action: u8, rtype: u8) -> Action {
    let dword = ReservationReleaseCdw10::new()
        .with_rrela(action)
        .with_rtype(rtype);
    let crkey = U64::new(key);
    to.release(host, dword, ReservationReleaseData { crkey })
}

/// A is registered with key 10, B with key 20, and A has acquired `kind`.
fn held(kind: ReservationType) -> Reservations {
    let mut it = registered();
    acquire(&mut it, &A, 10, kind).unwrap();
    it
}

fn registered() -> Reservations {
    let mut it = Reservations::default();
    register(&mut it, &A, 0, (0, 10)).unwrap();
    register(&mut it, &B, 0, (0, 20)).unwrap();
    it
}

fn notice(host: HostId, kind: NoticeKind) -> Notice {
    Notice { host, kind }
}

#[test]
fn commands_are_permitted_as_the_table_of_the_specification_has_it() {
    use CommandClass::{Other, Read, Write};
    // For each type: reads and writes of the holder (A), of another registrant
    // (B) and of a host that is not registered (C).
    let table = [
        (WE, [true, true], [true, false], [true, false]),
        (EA, [true, true], [false, false], [false, false]),
        (WE_RO, [true, true], [true, true], [true, false]),
        (EA_RO, [true, true], [true, true], [false, false]),
        (WE_AR, [true, true], [true, true], [true, false]),
        (EA_AR, [true, true], [true, true], [false, false]),
    ];
    for (kind, holder, registrant, other) in table {
        let it = held(kind);
        for (host, [reads, writes]) in [(A, holder), (B, registrant), (C, other)] {
            for (class, permitted) in [(Read, reads), (Write, writes), (Other, true)] {
                let expected = if permitted { Ok(()) } else { Err(CONFLICT) };
                assert_eq!(
                    it.permits(&host, class),
                    expected,
                    "{kind:?} {host:?} {class:?}"
                );
            }
        }
    }
    // Registrations alone reserve nothing.
    let it = registered();
    assert!(it.is_clear());
    assert_eq!(it.permits(&C, Write), Ok(()));
}

#[test]
fn every_command_has_the_class_of_the_specification() {
    use CommandClass::{Other, Read, Write};
    for (opcode, class) in [
        (NvmOpcode::READ, Read),
        (NvmOpcode::COMPARE, Read),
        (NvmOpcode::VERIFY, Read),
        (NvmOpcode::WRITE, Write),
        (NvmOpcode::WRITE_ZEROES, Write),
        (NvmOpcode::WRITE_UNCORRECTABLE, Write),
        (NvmOpcode::DATASET_MANAGEMENT, Write),
        (NvmOpcode::FLUSH, Write),
        (NvmOpcode::COPY, Write),
        (NvmOpcode::RESERVATION_REGISTER, Other),
        (NvmOpcode::RESERVATION_REPORT, Other),
        (NvmOpcode::RESERVATION_ACQUIRE, Other),
        (NvmOpcode::RESERVATION_RELEASE, Other),
    ] {
        assert_eq!(CommandClass::of_io(opcode), class, "{opcode}");
    }
    for (opcode, class) in [
        (AdminOpcode::SECURITY_RECEIVE, Read),
        (AdminOpcode::SECURITY_SEND, Write),
        (AdminOpcode::FORMAT_NVM, Write),
        (AdminOpcode::SANITIZE, Write),
        (AdminOpcode::NAMESPACE_ATTACHMENT, Write),
        (AdminOpcode::NAMESPACE_MANAGEMENT, Write),
        (AdminOpcode::IDENTIFY, Other),
        (AdminOpcode::GET_LOG_PAGE, Other),
    ] {
        assert_eq!(CommandClass::of_admin(opcode), class, "{opcode}");
    }
}

#[test]
fn registering_minds_keys() {
    // Action, ignore the existing key, (current, new) key, host, and what
    // comes of it; A has key 10, B has key 20, C has none.
    /// Action, whether keys are ignored, current and other key, who asks, and what comes
    /// of it.
    type Case = (u8, bool, (u64, u64), HostId, Result<(), Status>);
    let table: [Case; 19] = [
        (0, false, (0, 30), C, Ok(())),
        (0, false, (77, 10), A, Ok(())),
        (0, false, (10, 11), A, Err(CONFLICT)),
        (0, true, (10, 11), A, Err(CONFLICT)),
        (0, false, (0, 0), C, Err(INVALID)),
        (1, false, (10, 0), A, Ok(())),
        (1, false, (11, 0), A, Err(CONFLICT)),
        (1, true, (11, 0), A, Ok(())),
        (1, false, (0, 0), C, Err(CONFLICT)),
        (1, true, (0, 0), C, Err(CONFLICT)),
        (2, false, (10, 11), A, Ok(())),
        (2, false, (11, 12), A, Err(CONFLICT)),
        (2, true, (99, 12), A, Ok(())),
        (2, false, (0, 30), C, Err(CONFLICT)),
        (2, true, (0, 30), C, Ok(())),
        (2, false, (10, 0), A, Err(INVALID)),
        (3, false, (10, 11), A, Err(INVALID)),
        (7, false, (10, 11), A, Err(INVALID)),
        (0, false, (0, 20), C, Ok(())),
    ];
    for (action, iekey, keys, host, expected) in table {
        let before = held(WE);
        let mut it = before.clone();
        let dword = ReservationRegisterCdw10::new()
            .with_rrega(action)
            .with_iekey(iekey);
        let result = register_as(&mut it, &host, dword, keys);
        let row = format!("{action} {iekey} {keys:?} {host:?}");
        assert_eq!(result.map(|_| ()), expected, "{row}");
        assert_eq!(
            it.is_registrant(&host),
            action != 1 && expected.is_ok() || host == A && expected.is_err(),
            "{row}"
        );
        if expected.is_err() {
            assert_eq!(it, before, "{row}: what fails changes nothing");
        } else {
            assert_eq!(it.generation, before.generation + 1, "{row}");
        }
    }
}

#[test]
fn a_host_has_to_say_who_it_is_and_there_are_not_too_many() {
    let mut it = Reservations::default();
    let nobody = host(0);
    let unset = Err(Status::HOST_ID_NOT_INITIALIZED.dnr());
    assert_eq!(register(&mut it, &nobody, 0, (0, 1)), unset);
    assert_eq!(acquire(&mut it, &nobody, 0, WE), unset);
    assert_eq!(release(&mut it, &nobody, 0, 0, 1), unset);
    for number in 0..REGISTRANTS_MAX {
        let mut of = host(0xff);
        of.id[..8].copy_from_slice(&number.to_le_bytes());
        register(&mut it, &of, 0, (0, 1)).unwrap();
    }
    let full = Err(Status::INSUFFICIENT_RESOURCES.dnr());
    assert_eq!(register(&mut it, &A, 0, (0, 1)), full);
}

#[test]
fn persistence_is_changed_with_a_registration_and_decides_over_a_power_loss() {
    let mut it = held(WE);
    let dword = ReservationRegisterCdw10::new();
    let reserved = register_as(&mut it, &A, dword.with_cptpl(1), (0, 10));
    assert_eq!(reserved, Err(INVALID));
    let failed = register_as(&mut it, &A, dword.with_cptpl(3), (0, 11));
    assert_eq!(failed, Err(CONFLICT));
    assert!(!it.ptpl());
    register_as(&mut it, &A, dword.with_cptpl(3), (0, 10)).unwrap();
    assert!(it.ptpl());
    let before = it.clone();
    it.power_lost();
    assert_eq!(it, before);
    register_as(&mut it, &A, dword.with_cptpl(2), (0, 10)).unwrap();
    it.power_lost();
    assert_eq!(it, Reservations::default());
}

#[test]
fn acquiring_is_for_registrants_where_nobody_holds() {
    for kind in ReservationType::ALL {
        let mut it = registered();
        assert_eq!(acquire(&mut it, &C, 0, kind), Err(CONFLICT));
        assert_eq!(acquire(&mut it, &A, 11, kind), Err(CONFLICT));
        assert!(it.is_clear());
        let generation = it.generation;
        acquire(&mut it, &A, 10, kind).unwrap();
        assert_eq!(it.kind(), Some(kind));
        assert!(it.is_holder(&A));
        assert_eq!(it.is_holder(&B), kind.is_held_by_all());
        // Again, it succeeds; another type or another host does not.
        acquire(&mut it, &A, 10, kind).unwrap();
        assert_eq!(it.generation, generation, "acquiring does not count");
        for other in ReservationType::ALL.into_iter().filter(|it| *it != kind) {
            assert_eq!(acquire(&mut it, &A, 10, other), Err(CONFLICT));
        }
        let by_other = acquire(&mut it, &B, 20, kind).map(|_| ());
        assert_eq!(by_other.is_ok(), kind.is_held_by_all());
    }
    let mut it = registered();
    let dword = ReservationAcquireCdw10::new();
    let data = ReservationAcquireData {
        crkey: U64::new(10),
        ..ReservationAcquireData::default()
    };
    for dword in [
        dword.with_rtype(0),
        dword.with_rtype(7),
        dword.with_rtype(1).with_racqa(3),
        dword.with_rtype(1).with_iekey(true),
    ] {
        assert_eq!(it.acquire(&A, dword, data), Err(INVALID), "{dword:?}");
    }
}

#[test]
fn releasing_is_for_the_holder_and_tells_who_had_a_part_in_it() {
    for kind in ReservationType::ALL {
        let rtype = kind.into_bits();
        let mut it = held(kind);
        let before = it.clone();
        assert_eq!(release(&mut it, &C, 0, 0, rtype), Err(CONFLICT));
        assert_eq!(release(&mut it, &A, 11, 0, rtype), Err(CONFLICT));
        assert_eq!(release(&mut it, &A, 10, 0, rtype % 6 + 1), Err(INVALID));
        assert_eq!(release(&mut it, &A, 10, 2, rtype), Err(INVALID));
        assert_eq!(it, before);
        if !kind.is_held_by_all() {
            assert_eq!(release(&mut it, &B, 20, 0, rtype), Ok(Outcome::default()));
            assert_eq!(it, before, "who does not hold releases nothing");
        }
        let outcome = release(&mut it, &A, 10, 0, rtype).unwrap();
        assert!(it.is_clear() && it.is_registrant(&A));
        let told = [notice(B, NoticeKind::ReservationReleased)];
        let expected: &[Notice] = if kind.is_for_holder_only() {
            &[]
        } else {
            &told
        };
        assert_eq!(outcome.notices, expected, "{kind:?}");
        // There is none any more: it succeeds.
        assert_eq!(release(&mut it, &A, 10, 0, rtype), Ok(Outcome::default()));
    }
    let dword = ReservationReleaseCdw10::new().with_iekey(true);
    let data = ReservationReleaseData {
        crkey: U64::new(10),
    };
    assert_eq!(
        held(WE).release(&A, dword.with_rtype(1), data),
        Err(INVALID)
    );
}

#[test]
fn clearing_is_for_registrants_and_ends_everything() {
    let mut it = held(EA);
    assert_eq!(release(&mut it, &C, 0, 1, 0), Err(CONFLICT));
    let generation = it.generation;
    let outcome = release(&mut it, &B, 20, 1, 0).unwrap();
    let told = vec![notice(A, NoticeKind::ReservationPreempted)];
    assert_eq!(outcome.notices, told);
    assert!(it.is_clear() && !it.is_registrant(&A) && !it.is_registrant(&B));
    assert_eq!(it.generation, generation + 1);
}

#[test]
fn a_reservation_ends_with_the_registration_of_its_last_holder() {
    for kind in ReservationType::ALL {
        let mut it = held(kind);
        let outcome = register(&mut it, &A, 1, (10, 0)).unwrap();
        assert_eq!(it.is_clear(), !kind.is_held_by_all(), "{kind:?}");
        let told = matches!(kind, WE_RO | EA_RO);
        let released = notice(B, NoticeKind::ReservationReleased);
        assert_eq!(outcome.notices.contains(&released), told, "{kind:?}");
        register(&mut it, &B, 1, (20, 0)).unwrap();
        assert!(it.is_clear());
    }
}

#[test]
fn preempting_the_holder_takes_the_reservation_over() {
    for (kind, abort) in [(WE, false), (EA, true), (WE_RO, false), (EA_RO, true)] {
        let mut it = held(kind);
        register(&mut it, &C, 0, (0, 10)).unwrap();
        let generation = it.generation;
        let action = 1 + u8::from(abort);
        let outcome = preempt(&mut it, &B, (20, 10), (action, EA_AR)).unwrap();
        assert!(!it.is_registrant(&A) && !it.is_registrant(&C) && it.is_holder(&B));
        assert_eq!(it.kind(), Some(EA_AR));
        assert_eq!(it.generation, generation + 1);
        let preempted = NoticeKind::RegistrationPreempted;
        assert_eq!(
            outcome.notices,
            [notice(A, preempted), notice(C, preempted)]
        );
        let aborted: &[HostId] = if abort { &[A, C] } else { &[] };
        assert_eq!(outcome.abort, aborted);
    }
    // Who stays registered learns that the type is another one.
    let mut it = held(WE);
    register(&mut it, &C, 0, (0, 30)).unwrap();
    let outcome = preempt(&mut it, &B, (20, 10), (1, EA)).unwrap();
    let released = notice(C, NoticeKind::ReservationReleased);
    assert!(outcome.notices.contains(&released));
    // The holder may preempt itself, and stays.
    let outcome = preempt(&mut it, &B, (20, 20), (2, WE)).unwrap();
    assert!(it.is_holder(&B) && it.is_registrant(&C));
    assert_eq!((it.kind(), outcome.abort), (Some(WE), Vec::new()));
}

#[test]
fn preempting_others_only_unregisters_them() {
    for kind in [WE, EA_RO, WE_AR] {
        let mut it = held(kind);
        let outcome = preempt(&mut it, &A, (10, 20), (2, EA)).unwrap();
        assert!(it.is_holder(&A) && !it.is_registrant(&B));
        assert_eq!(it.kind(), Some(kind));
        assert_eq!(
            outcome.notices,
            [notice(B, NoticeKind::RegistrationPreempted)]
        );
        assert_eq!(outcome.abort, [B]);
        // Nobody has that key any more.
        let again = preempt(&mut it, &A, (10, 20), (1, EA));
        assert_eq!(again, Err(CONFLICT));
    }
    // Without a reservation, too; none comes of it.
    let mut it = registered();
    preempt(&mut it, &A, (10, 20), (1, EA)).unwrap();
    assert!(it.is_clear() && !it.is_registrant(&B));
}

#[test]
fn key_0_preempts_all_registrants_that_hold_and_nobody_else() {
    for kind in [WE_AR, EA_AR] {
        let mut it = held(kind);
        register(&mut it, &C, 0, (0, 30)).unwrap();
        let outcome = preempt(&mut it, &B, (20, 0), (1, WE)).unwrap();
        assert_eq!(outcome.notices.len(), 2);
        assert!(it.is_holder(&B) && !it.is_registrant(&A) && !it.is_registrant(&C));
        assert_eq!(it.kind(), Some(WE));
    }
    for kind in [WE, EA, WE_RO, EA_RO] {
        let mut it = held(kind);
        let before = it.clone();
        assert_eq!(preempt(&mut it, &B, (20, 0), (1, kind)), Err(INVALID));
        assert_eq!(preempt(&mut it, &B, (21, 10), (1, kind)), Err(CONFLICT));
        assert_eq!(preempt(&mut it, &C, (0, 10), (1, kind)), Err(CONFLICT));
        assert_eq!(it, before);
    }
}

#[test]
fn a_reservation_binds_the_next_host_until_it_preempts_it() {
    let mut it = Reservations::default();
    let persist = ReservationRegisterCdw10::new().with_cptpl(3);
    register_as(&mut it, &A, persist, (0, 10)).unwrap();
    acquire(&mut it, &A, 10, EA).unwrap();

    // The process ends; power comes back, and another host with it.
    let saved = serde_json::to_string(&it).unwrap();
    let mut it: Reservations = serde_json::from_str(&saved).unwrap();
    it.power_lost();
    assert_eq!(it.permits(&B, CommandClass::Read), Err(CONFLICT));

    // It learns whose the reservation is, and which key to preempt.
    let extended = ReservationReportCdw11::new().with_eds(true);
    let report = it.report(&B, 1, extended).unwrap();
    assert_eq!(report.len(), 64 + 64);
    assert_eq!((report[4], &report[5..7], report[9]), (2, &[1, 0][..], 1));
    let entry = &report[64..];
    assert_eq!(entry[..3], [0xff, 0xff, RegisteredController::HOLDER]);
    assert_eq!(entry[8..16], 10_u64.to_le_bytes());
    assert_eq!(entry[16..32], A.id);

    register(&mut it, &B, 0, (0, 20)).unwrap();
    preempt(&mut it, &B, (20, 10), (2, EA)).unwrap();
    assert_eq!(it.permits(&B, CommandClass::Write), Ok(()));
    // The former host comes back.
    assert_eq!(it.permits(&A, CommandClass::Read), Err(CONFLICT));

    let broken = saved.replace("\"kind\":2", "\"kind\":9");
    assert_ne!(broken, saved);
    serde_json::from_str::<Reservations>(&broken).unwrap_err();
}

#[test]
fn a_report_has_the_structure_for_the_size_of_the_host_identifier() {
    let short = HostId {
        id: [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        extended: false,
    };
    let mut it = Reservations::default();
    register(&mut it, &short, 0, (0, 70)).unwrap();
    let plain = ReservationReportCdw11::new();
    let report = it.report(&short, 3, plain).unwrap();
    assert_eq!(report.len(), 24 + 24);
    assert_eq!((report[0], report[4], report[9]), (1, 0, 0));
    let entry = &report[24..];
    assert_eq!(entry[..3], [3, 0, 0]);
    assert_eq!(entry[8..16], 7_u64.to_le_bytes());
    assert_eq!(entry[16..24], 70_u64.to_le_bytes());
    let inconsistent = Err(Status::HOST_ID_INCONSISTENT_FORMAT.dnr());
    assert_eq!(it.report(&short, 3, plain.with_eds(true)), inconsistent);
    assert_eq!(it.report(&A, 3, plain), inconsistent);
}

#[test]
fn notifications_are_read_in_order_and_counted_where_they_are_lost() {
    let mut notices = Notices::default();
    let (one, none) = (NamespaceId(1), ReservationNotificationMask::new());
    assert_eq!(notices.read().kind, 0);
    for (kind, mask) in [
        (NoticeKind::RegistrationPreempted, none.with_regpre(true)),
        (NoticeKind::ReservationReleased, none.with_resrel(true)),
        (NoticeKind::ReservationPreempted, none.with_respre(true)),
    ] {
        assert!(!notices.post(one, kind, mask));
        assert!(notices.post(one, kind, none));
    }
    for (count, left) in [(1, 2), (2, 1), (3, 0)] {
        let page = notices.read();
        assert_eq!(page.count.get(), count);
        assert_eq!(u64::from(page.kind), count);
        assert_eq!((page.available, page.namespace_id.get()), (left, 1));
    }
    assert_eq!(notices.read().count.get(), 0);
    // Past what can wait, they are lost, and counted.
    for _ in 0..300 {
        notices.post(one, NoticeKind::ReservationReleased, none);
    }
    assert_eq!(notices.read().available, u8::MAX);
    while notices.read().count.get() != 0 {}
    assert!(notices.post(one, NoticeKind::ReservationReleased, none));
    assert_eq!(notices.read().count.get(), 304);
}
