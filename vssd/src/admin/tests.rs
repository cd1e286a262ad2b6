mod features;
mod queues;

use nvme::{
    AbortCdw10, AdminOpcode, AsyncEvent, CommandId, ErrorLogEntry, FeatureId, FeaturesCdw10,
    GetLogPageCdw10, IdentifyController, IdentifyNamespace, LogPageId, NSID_ALL, NamespaceId,
    NvmOpcode, SmartLog, Sqe, Status,
};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use crate::host::{Held, Host, PAGE, io};
use crate::media::Ram;
use crate::{ControllerConfig, Media};

const MIB: u64 = 1 << 20;

fn host() -> Host<Ram> {
    Host::enabled(Ram::new(16 * MIB).unwrap())
}

fn command(opcode: AdminOpcode, cdw10: u32, cdw11: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
    sqe.cdw10 = U32::new(cdw10);
    sqe.cdw11 = U32::new(cdw11);
    sqe
}

/// Executes `sqe` with a page for its data, and returns that.
fn data<M: Media>(host: &mut Host<M>, mut sqe: Sqe) -> Result<Vec<u8>, Status> {
    let page = host.pages(1);
    host.write(page, &[0xa5; 4096]);
    sqe.prp1 = page.into();
    match host.admin_status(sqe) {
        Status::SUCCESS => Ok(host.read(page, 4096)),
        status => Err(status),
    }
}

fn identify<M: Media>(host: &mut Host<M>, cns: u8, nsid: u32) -> Result<Vec<u8>, Status> {
    let sqe = Sqe {
        namespace_id: nsid.into(),
        ..command(AdminOpcode::IDENTIFY, cns.into(), 0)
    };
    data(host, sqe)
}

fn log(page: LogPageId, bytes: u32) -> Sqe {
    let dwords = bytes / 4 - 1;
    let numdl = u16::try_from(dwords & 0xffff).unwrap();
    let cdw10 = GetLogPageCdw10::new().with_lid(page.0).with_numdl(numdl);
    let mut sqe = command(AdminOpcode::GET_LOG_PAGE, cdw10.into_bits(), dwords >> 16);
    sqe.namespace_id = NSID_ALL.0.into();
    sqe
}

fn smart<M: Media>(host: &mut Host<M>) -> SmartLog {
    let page = data(host, log(LogPageId::SMART, 512)).unwrap();
    SmartLog::read_from_bytes(&page[..512]).unwrap()
}

fn errors<M: Media>(host: &mut Host<M>) -> Vec<ErrorLogEntry> {
    let page = data(host, log(LogPageId::ERROR_INFORMATION, 4096)).unwrap();
    page.chunks(64)
        .map(|entry| ErrorLogEntry::read_from_bytes(entry).unwrap())
        .take_while(|entry| entry.error_count.get() != 0)
        .collect()
}

fn set(feature: FeatureId, cdw11: u32) -> Sqe {
    command(AdminOpcode::SET_FEATURES, feature.0.into(), cdw11)
}

fn get(feature: FeatureId, select: u8) -> Sqe {
    let cdw10 = FeaturesCdw10::new().with_fid(feature.0).with_sel(select);
    command(AdminOpcode::GET_FEATURES, cdw10.into_bits(), 0)
}

fn event_request() -> Sqe {
    command(AdminOpcode::ASYNC_EVENT_REQUEST, 0, 0)
}

/// Submits an admin command that does not complete at once.
fn park<M: Media>(host: &mut Host<M>, sqe: Sqe) -> CommandId {
    let mut admin = host.admin;
    let cid = host.put(&mut admin, sqe);
    host.ring(&admin);
    host.admin = admin;
    host.controller.poll(64);
    cid
}

/// Takes the next admin completion, if there is one.
fn next<M: Media>(host: &mut Host<M>) -> Option<nvme::Cqe> {
    let mut admin = host.admin;
    let cqe = host.reap(&mut admin);
    host.admin = admin;
    cqe
}

#[test]
fn identify_tells_what_the_drive_is() {
    let config = ControllerConfig {
        serial: "S123".to_owned(),
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, Ram::new(16 * MIB).unwrap());
    host.enable();
    let page = identify(&mut host, 1, 0).unwrap();
    let controller = IdentifyController::read_from_bytes(&page).unwrap();
    assert_eq!(&controller.sn, b"S123                ");
    assert_eq!(
        (controller.vid.get(), controller.ssvid.get()),
        (0x1b36, 0x1af4)
    );
    assert_eq!(controller.mdts_bytes(0), Some(MIB));
    assert_eq!(
        (controller.nn.get(), controller.ver.get()),
        (256, 0x0002_0100)
    );
    assert_eq!((controller.sqes, controller.cqes), (0x66, 0x44));
    assert_eq!(controller.vwc & 1, 1);
    assert_eq!(controller.sgls.get() & 0b11, 1);
    assert!(
        controller
            .subnqn
            .starts_with(b"nqn.2014-08.org.nvmexpress:uuid:")
    );
    let page = identify(&mut host, 0, 1).unwrap();
    let namespace = IdentifyNamespace::read_from_bytes(&page).unwrap();
    assert_eq!(namespace.nsze.get(), 32_768);
    assert_eq!(
        (namespace.ncap, namespace.nuse),
        (namespace.nsze, namespace.nsze)
    );
    assert_eq!(namespace.block_bytes(), Some(512));
    assert_eq!(namespace.dlfeat, 0b1001);
}

#[test]
fn only_the_one_namespace_is_active() {
    let mut host = host();
    let first = |page: Vec<u8>| u32::from_le_bytes([page[0], page[1], page[2], page[3]]);
    assert_eq!(identify(&mut host, 2, 0).map(first), Ok(1));
    assert_eq!(identify(&mut host, 2, 1).map(first), Ok(0));
    assert_eq!(identify(&mut host, 7, 0).map(first), Ok(1));
    let bad = Status::INVALID_NAMESPACE_OR_FORMAT;
    for (cns, nsid) in [
        (0, 0),
        (0, 257),
        (2, NSID_ALL.0),
        (2, NSID_ALL.0 - 1),
        (3, 2),
        (5, 257),
        (8, 0),
    ] {
        let status = identify(&mut host, cns, nsid).unwrap_err();
        assert!(status.same_code(bad), "CNS {cns}, namespace {nsid}");
    }
    // One that could be, and is not attached, is all zero.
    for cns in [0, 5, 8, 0x11] {
        assert_eq!(identify(&mut host, cns, 2), Ok(vec![0; 4096]), "CNS {cns}");
    }
    // The controller list, from a controller on.
    assert_eq!(identify(&mut host, 0x13, 0).map(first), Ok(1 << 16 | 1));
    // What is not supported.
    for cns in [4, 9, 0x14, 0x17, 0x18, 0xff] {
        let status = identify(&mut host, cns, 1).unwrap_err();
        assert!(status.same_code(Status::INVALID_FIELD), "CNS {cns}");
    }
}

#[test]
fn the_namespace_names_itself_in_four_ways() {
    let mut host = host();
    let page = identify(&mut host, 3, 1).unwrap();
    let mut kinds = Vec::new();
    let mut at = 0;
    while page[at] != 0 {
        kinds.push((page[at], page[at + 1]));
        at += 4 + usize::from(page[at + 1]);
    }
    assert_eq!(kinds, [(1, 8), (2, 16), (3, 16), (4, 1)]);
    assert_eq!(page[12 + 4..12 + 20], page[32 + 4..32 + 20]);
    // Ready, as the independent structure says.
    assert_eq!(identify(&mut host, 8, 1).unwrap()[14], 1);
}

#[test]
fn data_that_crosses_a_page_goes_to_both() {
    let mut host = host();
    let pages = host.pages(3);
    let mut sqe = command(AdminOpcode::IDENTIFY, 1, 0);
    sqe.prp1 = (pages + 0x800).into();
    sqe.prp2 = (pages + 2 * PAGE).into();
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    let whole = identify(&mut host, 1, 0).unwrap();
    assert_eq!(host.read(pages + 0x800, 2048), whole[..2048]);
    assert_eq!(host.read(pages + 2 * PAGE, 2048), whole[2048..]);
    assert_eq!(host.read(pages + PAGE, 4096), [0; 4096]);
    sqe.prp1 = 0xdead_0000_0000.into();
    let status = host.admin_status(sqe);
    assert!(status.same_code(Status::DATA_TRANSFER_ERROR));
}

/// Expects an admin command to be refused for good.
fn refused(host: &mut Host<Ram>, sqe: Sqe, expected: Status) {
    let status = host.admin_status(sqe);
    assert!(status.same_code(expected), "{status} {sqe:?}");
    assert!(status.is_dnr());
}

#[test]
fn unknown_commands_and_sgls_are_refused() {
    let mut host = host();
    for opcode in [0x03, 0x1c, 0x20, 0x7f, 0x85, 0xc0, 0xff] {
        let status = host.admin_status(Sqe::new(opcode, NamespaceId(0)));
        assert!(status.same_code(Status::INVALID_OPCODE), "{opcode:#x}");
        assert!(status.is_dnr());
    }
    for opcode in [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x0c] {
        for flags in [0x40, 1] {
            let status = host.admin_status(Sqe {
                flags,
                ..Sqe::new(opcode, NamespaceId(0))
            });
            assert!(status.same_code(Status::INVALID_FIELD), "{opcode:#x}");
        }
    }
}

#[test]
fn smart_counts_what_was_done() {
    let (mut host, mut pair) = Host::ready(Ram::new(16 * MIB).unwrap());
    let page = host.pages(2);
    // 1016 blocks written, 8 read, 8 compared; one read fails.
    for lba in 0..127 {
        host.run(&mut pair, io(NvmOpcode::WRITE, lba * 8, 8, page, 0));
    }
    host.run(&mut pair, io(NvmOpcode::READ, 0, 8, page, 0));
    host.run(&mut pair, io(NvmOpcode::COMPARE, 0, 8, page, 0));
    host.run(&mut pair, io(NvmOpcode::READ, 1 << 40, 8, page, 0));
    host.clock.advance(2 * 3_600_000_000_000);
    // A copy reads and writes: eight times 128 blocks, another 1024 written.
    let range = nvme::CopyRange::new(nvme::Lba(0), 128).unwrap();
    let list = [range; 8];
    host.write(page, list.as_bytes());
    let mut copy = Sqe::new(NvmOpcode::COPY.0, NamespaceId(1));
    copy.prp1.set(page);
    copy.set_slba(nvme::Lba(4096));
    copy.cdw12.set(7);
    assert_eq!(host.status(&mut pair, copy), Status::SUCCESS);
    let log = smart(&mut host);
    let number = |bytes: [u8; 16]| u128::from_le_bytes(bytes);
    assert_eq!((number(log.host_reads), number(log.host_writes)), (3, 128));
    assert_eq!(number(log.data_units_written), 3);
    assert_eq!(number(log.data_units_read), 1);
    assert_eq!(number(log.power_cycles), 1);
    assert_eq!(number(log.unsafe_shutdowns), 0);
    assert_eq!(number(log.power_on_hours), 2);
    assert_eq!(number(log.error_log_entries), 1);
    assert_eq!((log.temperature(), log.critical_warning), (303, 0));
    assert_eq!(log.available_spare, 100);
}

#[test]
fn the_error_log_has_the_newest_first() {
    let mut host = host();
    assert!(errors(&mut host).is_empty());
    for opcode in 0x20..0x20 + 70 {
        let status = host.admin_status(Sqe::new(opcode, NamespaceId(opcode.into())));
        // There is more to know of it in the log.
        assert_ne!(status.field() & 1 << 13, 0);
    }
    let log = errors(&mut host);
    assert_eq!(log.len(), 64);
    let counts: Vec<_> = log.iter().map(|entry| entry.error_count.get()).collect();
    assert_eq!(counts, (7..=70).rev().collect::<Vec<_>>());
    assert_eq!(log[0].opcode, 0x20 + 69);
    assert_eq!(log[0].namespace_id.get(), 0x20 + 69);
    let status = Status::from_field(log[0].status_phase.get() >> 1);
    assert!(status.same_code(Status::INVALID_OPCODE));
}

#[test]
fn log_pages_are_given_in_parts() {
    let mut host = host();
    let whole = data(&mut host, log(LogPageId::COMMAND_EFFECTS, 4096)).unwrap();
    let mut part = log(LogPageId::COMMAND_EFFECTS, 64);
    part.cdw12 = U32::new(1024);
    let seen = data(&mut host, part).unwrap();
    assert_eq!(seen[..64], whole[1024..1088]);
    assert_eq!(seen[64..], [0xa5; 4032]);
    // Flush and Write: supported, and the second changes blocks.
    assert_eq!(whole[1024..1032], [1, 0, 0, 0, 3, 0, 0, 0]);
    // An offset beyond the page, one that is not aligned, an index.
    for (cdw12, cdw13, cdw14) in [(4100, 0, 0), (2, 0, 0), (0, 1, 0), (0, 0, 1 << 23)] {
        let sqe = Sqe {
            cdw12: U32::new(cdw12),
            cdw13: U32::new(cdw13),
            cdw14: U32::new(cdw14),
            ..log(LogPageId::COMMAND_EFFECTS, 64)
        };
        let status = data(&mut host, sqe).unwrap_err();
        assert!(status.same_code(Status::INVALID_FIELD));
    }
    // NUMDU counts: 65,537 dwords and more are beyond one page.
    let pages = host.pages(66);
    let list = host.pages(1);
    let entries: Vec<u8> = (1..66)
        .flat_map(|at| (pages + at * PAGE).to_le_bytes())
        .collect();
    host.write(list, &entries);
    host.write(pages, &vec![0xa5; 66 * 4096]);
    let mut sqe = log(LogPageId::COMMAND_EFFECTS, 65 * 4096);
    sqe.prp1 = pages.into();
    sqe.prp2 = list.into();
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    assert_eq!(host.read(pages, 4096), whole);
    assert_eq!(host.read(pages + PAGE, 64 * 4096), vec![0; 64 * 4096]);
    assert_eq!(host.read(pages + 65 * PAGE, 4096), [0xa5; 4096]);
    let status = data(&mut host, log(LogPageId::SMART, 2 << 20)).unwrap_err();
    assert!(status.same_code(Status::INVALID_FIELD));
}

#[test]
fn each_log_page_that_is_listed_is_there() {
    let mut host = host();
    let listed = data(&mut host, log(LogPageId::SUPPORTED, 1024)).unwrap();
    for id in 0..=255_u8 {
        let supported = listed[usize::from(id) * 4] & 1 != 0;
        let answer = data(&mut host, log(LogPageId(id), 16));
        match answer {
            Ok(_) => assert!(supported, "{id:#x}"),
            // Some pages want whole blocks, or a context.
            Err(status) => {
                let unknown = status.same_code(Status::INVALID_LOG_PAGE);
                assert_eq!(unknown, !supported, "{id:#x}: {status}");
            }
        }
    }
    let slot = data(&mut host, log(LogPageId::FIRMWARE_SLOT, 512)).unwrap();
    assert_eq!((slot[0], slot[8]), (1, b'0'));
}

#[test]
fn event_requests_wait_without_taking_room_and_their_number_is_limited() {
    let mut host = host();
    // Eight entries have room for seven, and eight requests wait.
    let mut parked = Vec::new();
    for _ in 0..8 {
        parked.push(park(&mut host, event_request()));
        assert!(next(&mut host).is_none());
    }
    assert!(host.controller.idle());
    let status = host.admin_status(event_request());
    assert!(status.same_code(Status::ASYNC_EVENT_LIMIT_EXCEEDED));
    identify(&mut host, 1, 0).unwrap();
    // A temperature threshold below what the drive has: the event that hosts
    // use to see whether events work.
    assert_eq!(
        host.admin_status(set(FeatureId::ASYNC_EVENT_CONFIG, 0b10)),
        Status::SUCCESS
    );
    let low = set(FeatureId::TEMPERATURE_THRESHOLD, 300);
    assert_eq!(host.admin_status(low), Status::SUCCESS);
    let cqe = next(&mut host).expect("the event");
    assert_eq!(cqe.cid(), parked[0]);
    assert_eq!(cqe.result.get(), AsyncEvent::TEMPERATURE_THRESHOLD.dword0());
    assert_eq!(smart_warning_and_retain(&mut host), 0b10);
    // Masked until the page is read without "retain".
    for expected in [false, true] {
        host.admin(set(FeatureId::TEMPERATURE_THRESHOLD, 350));
        host.admin(set(FeatureId::TEMPERATURE_THRESHOLD, 300));
        host.settle();
        assert_eq!(next(&mut host).is_some(), expected);
        if !expected {
            smart(&mut host);
            host.settle();
            // The one that was held back comes now.
            assert_eq!(next(&mut host).expect("the event").cid(), parked[1]);
            smart(&mut host);
        }
    }
}

/// Reads the SMART log and lets its event stay masked.
fn smart_warning_and_retain(host: &mut Host<Ram>) -> u8 {
    let mut sqe = log(LogPageId::SMART, 512);
    sqe.cdw10 |= U32::new(1 << 15);
    data(host, sqe).unwrap()[0]
}

#[test]
fn abort_aborts_what_waits_and_says_so() {
    let mut host = host();
    let parked = park(&mut host, event_request());
    let abort = |sqid, cid: CommandId| {
        let cdw10 = AbortCdw10::new().with_sqid(sqid).with_cid(cid.0);
        command(AdminOpcode::ABORT, cdw10.into_bits(), 0)
    };
    let id = park(&mut host, abort(0, parked));
    let aborted = next(&mut host).unwrap();
    assert_eq!(aborted.cid(), parked);
    assert!(aborted.status().same_code(Status::ABORT_REQUESTED));
    let answer = next(&mut host).unwrap();
    assert_eq!((answer.cid(), answer.result.get()), (id, 0));
    // Nothing there any more.
    let cqe = host.admin(abort(0, parked));
    assert_eq!((cqe.status(), cqe.result.get()), (Status::SUCCESS, 1));
    let status = host.admin_status(abort(7, parked));
    assert!(status.same_code(Status::INVALID_FIELD));
    assert!(!host.controller.config().serial.is_empty());
}

#[test]
fn abort_takes_back_what_the_medium_has_not_begun() {
    let (mut host, mut pair) = Host::ready(Held::default());
    let flush = Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1));
    let cids = [flush; 3].map(|sqe| host.put(&mut pair, sqe));
    host.ring(&pair);
    host.controller.poll(64);
    let cdw10 = AbortCdw10::new().with_sqid(1).with_cid(cids[1].0);
    let abort = command(AdminOpcode::ABORT, cdw10.into_bits(), 0);
    park(&mut host, abort);
    assert_eq!(next(&mut host).unwrap().result.get(), 0);
    let aborted = host.reap(&mut pair).unwrap();
    assert_eq!(aborted.cid(), cids[1]);
    assert!(aborted.status().same_code(Status::ABORT_REQUESTED));
    // It is gone, so there is nothing left to abort.
    park(&mut host, abort);
    assert_eq!(next(&mut host).unwrap().result.get(), 1);
    host.controller.media_mut().release = 2;
    host.settle();
    let others = [0, 1].map(|_| host.reap(&mut pair).unwrap());
    assert_eq!(others.map(|cqe| cqe.cid()), [cids[0], cids[2]]);
    assert!(others.iter().all(|cqe| cqe.status().is_success()));
}

#[test]
fn an_abort_lets_a_queue_go_that_waited_for_the_command() {
    let (mut host, mut pair) = Host::ready(Held::default());
    let flush = Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1));
    let cid = host.put(&mut pair, flush);
    host.ring(&pair);
    host.controller.poll(64);
    let delete = park(&mut host, command(AdminOpcode::DELETE_SQ, 1, 0));
    assert!(next(&mut host).is_none());
    let cdw10 = AbortCdw10::new().with_sqid(1).with_cid(cid.0);
    host.controller.poll(64);
    park(&mut host, command(AdminOpcode::ABORT, cdw10.into_bits(), 0));
    host.settle();
    assert_eq!(next(&mut host).unwrap().result.get(), 0);
    assert_eq!(next(&mut host).unwrap().cid(), delete);
}

#[test]
fn a_guest_that_leaves_without_a_shutdown_is_counted() {
    let mut host = host();
    let counts = |host: &mut Host<Ram>| {
        let log = smart(host);
        (log.power_cycles[0], log.unsafe_shutdowns[0])
    };
    assert_eq!(counts(&mut host), (1, 0));
    for (shutdown, expected) in [(false, (2, 1)), (true, (3, 1))] {
        if shutdown {
            let cc = Host::<Ram>::cc().with_shn(nvme::ShutdownNotification::Normal);
            nvme::Registers::write32(&mut host.controller, nvme::offset::CC, cc.into_bits());
            host.settle();
        }
        host.controller.disconnected();
        host.controller.connected();
        host.map(crate::host::BASE, crate::host::PAGES * PAGE, 0);
        host.enable();
        assert_eq!(counts(&mut host), expected);
    }
}
