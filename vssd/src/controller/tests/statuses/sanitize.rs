//! What is allowed beside a sanitize operation, and after one that failed
//! (`NVMe Base 2.1 §5.1`, `§8.1.24`).

use nvme::{
    AdminOpcode, AsyncEvent, ErrorLogEntry, FeatureId, FormatCdw10, LogPageId, NamespaceId,
    NvmOpcode, SanitizeCdw10, Sqe, Status,
};
use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use super::super::kept::admin;
use super::super::ram;
use super::{admin_answer, answer, begin, every_io, expect, sanitize};
use crate::host::{Held, Host, io};
use crate::{Media, MediaError};

/// The commands that are allowed, but for Get Log Page, Set Features and
/// Sanitize.
const ALLOWED: [AdminOpcode; 10] = [
    AdminOpcode::DELETE_SQ,
    AdminOpcode::CREATE_SQ,
    AdminOpcode::DELETE_CQ,
    AdminOpcode::CREATE_CQ,
    AdminOpcode::IDENTIFY,
    AdminOpcode::ABORT,
    AdminOpcode::GET_FEATURES,
    AdminOpcode::KEEP_ALIVE,
    AdminOpcode::NVME_MI_SEND,
    AdminOpcode::NVME_MI_RECEIVE,
];
/// The log pages that are.
const PAGES: [LogPageId; 5] = [
    LogPageId::ERROR_INFORMATION,
    LogPageId::SMART,
    LogPageId::CHANGED_NAMESPACES,
    LogPageId::RESERVATION_NOTIFICATION,
    LogPageId::SANITIZE_STATUS,
];

fn log(page: LogPageId, at: u64) -> Sqe {
    let mut sqe = admin(
        AdminOpcode::GET_LOG_PAGE,
        0,
        u32::from(page.0) | 127 << 16,
        0,
    );
    sqe.prp1 = U64::new(at);
    sqe
}

/// Sends every admin command, with every log page and feature: all that is not
/// allowed is answered with `refusal`.
fn only_what_is_allowed<M: Media>(host: &mut Host<M>, refusal: Status) {
    let page = host.pages(1);
    for code in 0..=u8::MAX {
        let opcode = AdminOpcode(code);
        let looked_at_elsewhere = [
            AdminOpcode::GET_LOG_PAGE,
            AdminOpcode::SET_FEATURES,
            AdminOpcode::SANITIZE,
            AdminOpcode::ASYNC_EVENT_REQUEST,
        ];
        if looked_at_elsewhere.contains(&opcode) {
            continue;
        }
        let mut sqe = admin(opcode, 1, 1, 0);
        sqe.prp1 = U64::new(page);
        let refused = admin_answer(host, sqe).same_code(refusal);
        assert_eq!(!refused, ALLOWED.contains(&opcode), "{opcode}");
    }
    for code in 0..=u8::MAX {
        let id = LogPageId(code);
        let status = admin_answer(host, log(id, page));
        let expected = if PAGES.contains(&id) {
            Status::SUCCESS
        } else {
            refusal
        };
        assert!(status.same_code(expected), "{id}: {status}");
        let feature = FeatureId(code);
        let mut set = admin(AdminOpcode::SET_FEATURES, 1, code.into(), 0);
        set.prp1 = U64::new(page);
        let refused = admin_answer(host, set).same_code(refusal);
        let protects = feature == FeatureId::NAMESPACE_WRITE_PROTECTION;
        assert_eq!(refused, protects, "{feature}");
    }
}

#[test]
fn every_command_meets_a_sanitize_operation_in_progress() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    assert_eq!(admin_answer(&mut host, sanitize()), Status::SUCCESS);
    for sqe in every_io(page) {
        let status = answer(&mut host, &mut pair, sqe);
        expect(status, Status::SANITIZE_IN_PROGRESS, sqe);
        assert!(!status.is_dnr(), "{sqe:?}");
    }
    only_what_is_allowed(&mut host, Status::SANITIZE_IN_PROGRESS);
    let again = admin_answer(&mut host, sanitize());
    assert!(again.same_code(Status::SANITIZE_IN_PROGRESS), "{again}");
    // Event requests wait as ever.
    begin(
        &mut host,
        Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0)),
    );
    assert!(host.peek(&host.admin).is_none());
}

#[test]
fn every_command_meets_a_sanitize_operation_that_failed() {
    let (mut host, mut pair) = Host::ready(Held {
        error: Some(MediaError::Write),
        release: usize::MAX,
        ..Held::default()
    });
    let page = host.pages(1);
    assert_eq!(admin_answer(&mut host, sanitize()), Status::SUCCESS);
    for _ in 0..100 {
        host.controller.poll(16);
    }
    for sqe in every_io(page) {
        let status = answer(&mut host, &mut pair, sqe);
        expect(status, Status::SANITIZE_FAILED, sqe);
    }
    only_what_is_allowed(&mut host, Status::SANITIZE_FAILED);
    // What failed restricted is left by another operation alone.
    let exit = SanitizeCdw10::new().with_sanact(SanitizeCdw10::EXIT_FAILURE);
    let exit = admin(AdminOpcode::SANITIZE, 0, exit.into_bits(), 0);
    let status = admin_answer(&mut host, exit);
    assert!(status.same_code(Status::SANITIZE_FAILED), "{status}");
    assert_eq!(admin_answer(&mut host, sanitize()), Status::SUCCESS);
}

#[test]
fn the_error_log_names_no_block_beside_a_sanitize_operation() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    let damage = io(NvmOpcode::WRITE_UNCORRECTABLE, 5, 1, 0, 0);
    assert_eq!(host.status(&mut pair, damage), Status::SUCCESS);
    let read = io(NvmOpcode::READ, 5, 1, page, 0);
    expect(
        host.status(&mut pair, read),
        Status::UNRECOVERED_READ_ERROR,
        read,
    );
    let newest = |host: &mut Host<_>| {
        let status = admin_answer(host, log(LogPageId::ERROR_INFORMATION, page));
        assert_eq!(status, Status::SUCCESS);
        let entry = ErrorLogEntry::read_from_bytes(&host.read(page, 64)).unwrap();
        (entry.error_count.get(), entry.lba.get())
    };
    assert_eq!(newest(&mut host), (1, 5));
    assert_eq!(admin_answer(&mut host, sanitize()), Status::SUCCESS);
    assert_eq!(newest(&mut host), (1, 0));
}

#[test]
fn a_sanitize_operation_takes_the_news_of_the_last_back() {
    let mut host = Host::enabled(Held {
        error: Some(MediaError::Write),
        release: usize::MAX,
        ..Held::default()
    });
    let erase = |action| {
        let cdw10 = SanitizeCdw10::new().with_sanact(action).with_ause(true);
        admin(AdminOpcode::SANITIZE, 0, cdw10.into_bits(), 0)
    };
    let crypto = erase(SanitizeCdw10::CRYPTO_ERASE);
    assert_eq!(admin_answer(&mut host, crypto), Status::SUCCESS);
    for _ in 0..100 {
        host.controller.poll(16);
    }
    // Nobody was told of the failure before the next operation starts.
    host.controller.media_mut().release = 0;
    assert_eq!(admin_answer(&mut host, crypto), Status::SUCCESS);
    begin(
        &mut host,
        Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0)),
    );
    host.controller.poll(16);
    assert!(host.peek(&host.admin).is_none());
    let media = host.controller.media_mut();
    (media.release, media.error) = (usize::MAX, None);
    for _ in 0..200 {
        host.controller.poll(16);
        host.clock.advance(100_000_000);
    }
    let mut admin_pair = host.admin;
    let told = host.reap(&mut admin_pair).unwrap();
    host.admin = admin_pair;
    assert_eq!(told.result.get(), AsyncEvent::SANITIZE_COMPLETED.dword0());
    // A format is allowed again.
    let format = admin(
        AdminOpcode::FORMAT_NVM,
        1,
        FormatCdw10::new().into_bits(),
        0,
    );
    begin(&mut host, format);
    assert!(host.peek(&host.admin).is_none(), "it goes on");
}
