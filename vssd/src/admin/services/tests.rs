use nvme::{
    AdminOpcode as A, AsyncEvent, FeatureId, FirmwareSlotLog, GetLogPageCdw10, IdentifyController,
    LockdownCdw10, LogPageId, NSID_ALL, NamespaceId, PersistentEventHeader,
    PersistentEventLogHeader, PersistentEventType, Registers, SelfTestLog, Sqe, Status,
    TelemetryHeader, offset,
};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::ServicesConfig;
use super::firmware::{Activation, FirmwareConfig, image};
use crate::host::Host;
use crate::media::Ram;
use crate::{ControllerConfig, Media};

type Toy = Host<Ram>;

fn with(services: ServicesConfig) -> Toy {
    let config = ControllerConfig {
        firmware: "FW1".to_owned(),
        services,
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, Ram::new(16 << 20).unwrap());
    host.enable();
    host
}

fn host() -> Toy {
    with(ServicesConfig::default())
}

fn command(opcode: A, nsid: u32, dwords: [u32; 4]) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(nsid));
    let [cdw10, cdw11, cdw12, cdw13] = dwords.map(U32::new);
    (sqe.cdw10, sqe.cdw11, sqe.cdw12, sqe.cdw13) = (cdw10, cdw11, cdw12, cdw13);
    sqe
}

/// Executes `sqe` with a page of data, and returns that and dword 0.
fn receive<M: Media>(host: &mut Host<M>, mut sqe: Sqe) -> Result<(u32, Vec<u8>), Status> {
    let page = host.pages(1);
    sqe.prp1 = page.into();
    let cqe = host.admin(sqe);
    match cqe.status() {
        Status::SUCCESS => Ok((cqe.result.get(), host.read(page, 4096))),
        status => Err(status),
    }
}

fn log(host: &mut Toy, page: LogPageId, lsp: u8, bytes: u32) -> Result<Vec<u8>, Status> {
    let cdw10 = GetLogPageCdw10::new()
        .with_lid(page.0)
        .with_lsp(lsp)
        .with_numdl(u16::try_from(bytes / 4 - 1).unwrap());
    let sqe = command(A::GET_LOG_PAGE, NSID_ALL.0, [cdw10.into_bits(), 0, 0, 0]);
    receive(host, sqe).map(|(_, data)| data)
}

/// Expects each command to be refused with a status, for good or not.
fn refused(host: &mut Toy, cases: &[(Sqe, Status)]) {
    for (index, (sqe, expected)) in cases.iter().enumerate() {
        let status = host.admin_status(*sqe);
        assert!(status.same_code(*expected), "case {index}: {status}");
    }
}

fn download(host: &mut Toy, offset: u32, data: &[u8]) -> Status {
    let pages = u64::try_from(data.len()).unwrap().div_ceil(4096);
    assert!(pages <= 2);
    let at = host.pages(pages);
    host.write(at, data);
    let dwords = u32::try_from(data.len() / 4).unwrap() - 1;
    let mut sqe = command(A::FIRMWARE_DOWNLOAD, 0, [dwords, offset / 4, 0, 0]);
    sqe.prp1 = at.into();
    sqe.prp2 = (at + 4096).into();
    host.admin_status(sqe)
}

fn commit(host: &mut Toy, slot: u32, action: u32) -> Status {
    host.admin_status(command(
        A::FIRMWARE_COMMIT,
        0,
        [slot | action << 3, 0, 0, 0],
    ))
}

/// An image of three pages, less its head.
fn firmware(revision: &str, activation: Activation, ms: u32) -> Vec<u8> {
    image(revision, activation, ms, &[0x5a; 3 * 4096 - 64]).unwrap()
}

fn load(host: &mut Toy, image: &[u8]) {
    // Last piece first: the order is the host's choice.
    assert_eq!(download(host, 8192, &image[8192..]), Status::SUCCESS);
    assert_eq!(download(host, 0, &image[..8192]), Status::SUCCESS);
}

fn revision(host: &mut Toy) -> String {
    let (_, page) = receive(host, command(A::IDENTIFY, 0, [1, 0, 0, 0])).unwrap();
    let controller = IdentifyController::read_from_bytes(&page).unwrap();
    String::from_utf8(controller.fr.to_vec())
        .unwrap()
        .trim()
        .to_owned()
}

fn slots(host: &mut Toy) -> FirmwareSlotLog {
    let page = log(host, LogPageId::FIRMWARE_SLOT, 0, 512).unwrap();
    FirmwareSlotLog::read_from_bytes(&page[..512]).unwrap()
}

fn controller_reset(host: &mut Toy) {
    host.controller.write32(offset::CC, 0);
    host.enable();
}

#[test]
fn firmware_is_downloaded_in_any_order_and_runs_after_a_reset() {
    let mut host = host();
    load(&mut host, &firmware("FW2", Activation::ControllerReset, 0));
    assert_eq!(commit(&mut host, 2, 1), Status::SUCCESS);
    assert_eq!(revision(&mut host), "FW1");
    let before = slots(&mut host);
    assert_eq!(
        (before.active, &before.revisions[1]),
        (1 | 2 << 4, b"FW2     ")
    );
    controller_reset(&mut host);
    assert_eq!(revision(&mut host), "FW2");
    assert_eq!(slots(&mut host).active, 2);
    // And back to the slot that cannot be written.
    assert_eq!(commit(&mut host, 1, 2), Status::SUCCESS);
    controller_reset(&mut host);
    assert_eq!(revision(&mut host), "FW1");
}

#[test]
fn firmware_that_needs_a_greater_reset_waits_for_it() {
    let cases = [
        (
            Activation::ConventionalReset,
            1,
            Status::FIRMWARE_NEEDS_CONVENTIONAL_RESET,
        ),
        (
            Activation::SubsystemReset,
            2,
            Status::FIRMWARE_NEEDS_SUBSYSTEM_RESET,
        ),
        (
            Activation::SubsystemReset,
            3,
            Status::FIRMWARE_NEEDS_SUBSYSTEM_RESET,
        ),
        (Activation::ControllerReset, 3, Status::FIRMWARE_NEEDS_RESET),
    ];
    for (activation, action, expected) in cases {
        let mut host = host();
        load(&mut host, &firmware("FW2", activation, 0));
        assert_eq!(commit(&mut host, 2, 0), Status::SUCCESS);
        let status = commit(&mut host, 2, if action == 1 { 2 } else { action });
        assert!(status.same_code(expected), "{activation:?}: {status}");
        controller_reset(&mut host);
        let runs = activation == Activation::ControllerReset;
        assert_eq!(revision(&mut host) == "FW2", runs, "{activation:?}");
        // A power cycle is enough for all of them.
        host.controller.connected();
        host.enable();
        assert_eq!(revision(&mut host), "FW2", "{activation:?}");
    }
}

#[test]
fn an_activation_without_reset_pauses_the_controller_and_says_so() {
    let mut host = host();
    let config = command(
        A::SET_FEATURES,
        0,
        [FeatureId::ASYNC_EVENT_CONFIG.0.into(), 1 << 9, 0, 0],
    );
    assert_eq!(host.admin_status(config), Status::SUCCESS);
    let mut admin = host.admin;
    let request = Sqe::new(A::ASYNC_EVENT_REQUEST.0, NamespaceId(0));
    let cid = host.put(&mut admin, request);
    host.ring(&admin);
    host.admin = admin;
    host.controller.poll(8);
    load(&mut host, &firmware("FW2", Activation::Immediate, 500));
    assert_eq!(commit(&mut host, 3, 3), Status::SUCCESS);
    let mut admin = host.admin;
    let event = host.reap(&mut admin).expect("the event");
    host.admin = admin;
    assert_eq!(event.cid(), cid);
    assert_eq!(
        event.result.get(),
        AsyncEvent::FIRMWARE_ACTIVATION_STARTING.dword0()
    );
    assert!(host.csts().pp());
    host.clock.advance(501_000_000);
    host.controller.poll(8);
    assert!(!host.csts().pp());
    assert_eq!(revision(&mut host), "FW2");
    assert_eq!(slots(&mut host).active, 3);
}

#[test]
fn firmware_that_is_none_is_refused() {
    let good = firmware("FW2", Activation::ControllerReset, 0);
    let bad = Status::INVALID_FIRMWARE_IMAGE;
    let broken: [fn(&mut Vec<u8>); 4] = [
        |image| image[0] = b'x',
        |image| image[9000] ^= 1,
        |image| image[7] = 9,
        |image| image[16] ^= 4,
    ];
    for (index, change) in broken.into_iter().enumerate() {
        let mut host = host();
        let mut image = good.clone();
        change(&mut image);
        load(&mut host, &image);
        assert!(commit(&mut host, 2, 1).same_code(bad), "case {index}");
    }
    let mut host = host();
    // Nothing was downloaded; a hole; boot partitions; slots that are not.
    assert!(commit(&mut host, 2, 0).same_code(bad));
    assert!(commit(&mut host, 2, 2).same_code(bad));
    assert_eq!(download(&mut host, 8192, &good[8192..]), Status::SUCCESS);
    assert!(commit(&mut host, 2, 0).same_code(bad));
    for action in 4..8 {
        assert!(commit(&mut host, 2, action).same_code(Status::INVALID_FIELD));
    }
    load(&mut host, &good);
    for slot in [1, 4, 7] {
        let status = commit(&mut host, slot, 0);
        assert!(status.same_code(Status::INVALID_FIRMWARE_SLOT), "{slot}");
    }
    // Pieces that overlap, that are not aligned, that are beyond all images.
    let overlap = download(&mut host, 4096, &good[4096..8192]);
    assert!(overlap.same_code(Status::OVERLAPPING_RANGE), "{overlap}");
    assert!(commit(&mut host, 2, 0).same_code(Status::OVERLAPPING_RANGE));
    for (at, bytes) in [(512, 4096), (0, 512), (64 << 20, 4096)] {
        let status = download(&mut host, at, &good[..bytes]);
        assert!(status.same_code(Status::INVALID_FIELD), "{at} {bytes}");
    }
    // What takes too long, and what is prohibited.
    load(&mut host, &firmware("SLOW", Activation::Immediate, 10_001));
    assert!(commit(&mut host, 2, 3).same_code(Status::FIRMWARE_NEEDS_MAX_TIME));
    load(&mut host, &firmware("OLD", Activation::Prohibited, 0));
    assert!(commit(&mut host, 3, 1).same_code(Status::FIRMWARE_ACTIVATION_PROHIBITED));
    assert_eq!(revision(&mut host), "FW1");
}

fn self_tests(host: &mut Toy) -> SelfTestLog {
    let page = log(host, LogPageId::SELF_TEST, 0, 564).unwrap();
    SelfTestLog::read_from_bytes(&page[..564]).unwrap()
}

#[test]
fn a_self_test_takes_its_time_and_leaves_a_result() {
    let mut host = host();
    let start = |code| command(A::DEVICE_SELF_TEST, NSID_ALL.0, [code, 0, 0, 0]);
    assert_eq!(self_tests(&mut host).results[0].status, 0x0f);
    assert_eq!(host.admin_status(start(1)), Status::SUCCESS);
    let busy = Status::SELF_TEST_IN_PROGRESS;
    refused(
        &mut host,
        &[
            (start(2), busy),
            (start(0xe), Status::INVALID_FIELD),
            (start(0), Status::INVALID_FIELD),
            (
                command(A::DEVICE_SELF_TEST, 9, [1, 0, 0, 0]),
                Status::INVALID_NAMESPACE_OR_FORMAT,
            ),
        ],
    );
    host.clock.advance(15_000_000_000);
    for _ in 0..100 {
        host.controller.poll(8);
    }
    let half = self_tests(&mut host);
    assert_eq!((half.operation, half.completion), (1, 50));
    host.clock.advance(15_000_000_000);
    for _ in 0..100 {
        host.controller.poll(8);
    }
    let done = self_tests(&mut host);
    assert_eq!((done.operation, done.results[0].status), (0, 0x10));
    // A reset ends the short one; the extended one goes on, until it is
    // aborted.
    assert_eq!(host.admin_status(start(1)), Status::SUCCESS);
    controller_reset(&mut host);
    assert_eq!(self_tests(&mut host).results[0].status, 0x12);
    assert_eq!(host.admin_status(start(2)), Status::SUCCESS);
    controller_reset(&mut host);
    assert_eq!(self_tests(&mut host).operation, 2);
    assert_eq!(host.admin_status(start(0xf)), Status::SUCCESS);
    let log = self_tests(&mut host);
    let results: Vec<_> = log.results[..4].iter().map(|entry| entry.status).collect();
    assert_eq!(results, [0x21, 0x12, 0x10, 0x0f]);
}

#[test]
fn telemetry_is_made_when_the_host_asks() {
    let mut host = host();
    let page = LogPageId::TELEMETRY_HOST;
    let head = |data: &[u8]| TelemetryHeader::read_from_bytes(&data[..512]).unwrap();
    let none = head(&log(&mut host, page, 0, 512).unwrap());
    assert_eq!(
        (none.area3_last.get(), none.host_generation_or_scope),
        (0, 0)
    );
    let data = log(&mut host, page, 1, 4096).unwrap();
    let made = head(&data);
    assert_eq!((made.lid, made.host_generation_or_scope), (7, 1));
    assert!(made.area1_last.get() >= 1);
    assert!(made.area2_last > made.area1_last && made.area3_last > made.area2_last);
    let end = data[512..].iter().position(|&byte| byte == 0).unwrap();
    let area: serde_json::Value = serde_json::from_slice(&data[512..512 + end]).unwrap();
    assert_eq!(area["firmware"], "FW1");
    let again = head(&log(&mut host, page, 0, 512).unwrap());
    assert_eq!(again, made);
    assert_eq!(
        head(&log(&mut host, page, 1, 512).unwrap()).host_generation_or_scope,
        2
    );
    let status = log(&mut host, page, 0, 256).unwrap_err();
    assert!(status.same_code(Status::INVALID_FIELD));
}

#[test]
fn the_persistent_events_are_read_within_a_context() {
    let mut host = host();
    let page = LogPageId::PERSISTENT_EVENT;
    let out_of_order = Status::COMMAND_SEQUENCE_ERROR;
    assert!(
        log(&mut host, page, 0, 512)
            .unwrap_err()
            .same_code(out_of_order)
    );
    assert_eq!(commit(&mut host, 2, 0).code(), 7);
    let data = log(&mut host, page, 1, 4096).unwrap();
    let head = PersistentEventLogHeader::read_from_bytes(&data[..512]).unwrap();
    assert_eq!((head.lid, head.generation.get()), (0x0d, 1));
    let mut kinds = Vec::new();
    let mut at = 512;
    for _ in 0..head.events.get() {
        let event = PersistentEventHeader::read_from_bytes(&data[at..at + 24]).unwrap();
        kinds.push(PersistentEventType(event.event_type));
        at += 24 + usize::from(event.event_length.get());
    }
    assert_eq!(head.bytes.get(), u64::try_from(at).unwrap());
    assert_eq!(
        kinds[..3],
        [
            PersistentEventType::FIRMWARE_COMMIT,
            PersistentEventType::SMART_SNAPSHOT,
            PersistentEventType::POWER_ON_OR_RESET,
        ]
    );
    assert!(
        log(&mut host, page, 1, 512)
            .unwrap_err()
            .same_code(out_of_order)
    );
    assert_eq!(log(&mut host, page, 0, 512).unwrap()[..512], data[..512]);
    log(&mut host, page, 2, 512).unwrap();
    assert!(
        log(&mut host, page, 0, 512)
            .unwrap_err()
            .same_code(out_of_order)
    );
}

#[test]
fn security_says_that_nothing_locks() {
    let mut host = host();
    let ask = |secp: u32, spsp: u32, bytes| {
        command(
            A::SECURITY_RECEIVE,
            0,
            [secp << 24 | spsp << 8, bytes, 0, 0],
        )
    };
    let (_, list) = receive(&mut host, ask(0, 0, 512)).unwrap();
    assert_eq!(list[..10], [0, 0, 0, 0, 0, 0, 0, 2, 0, 1]);
    let (_, discovery) = receive(&mut host, ask(1, 1, 512)).unwrap();
    assert_eq!(discovery[..4], 76_u32.to_be_bytes());
    assert_eq!(discovery[48..52], [0, 1, 0x10, 12]);
    assert_eq!(
        discovery[64..80],
        [0, 2, 0x10, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    let invalid = Status::INVALID_FIELD;
    let send = command(A::SECURITY_SEND, 0, [1 << 24 | 1 << 8, 512, 0, 0]);
    refused(
        &mut host,
        &[
            (ask(2, 0, 512), invalid),
            (ask(1, 7, 512), invalid),
            (send, invalid),
        ],
    );
}

#[test]
fn lockdown_prohibits_until_power_is_cycled() {
    let mut host = host();
    let lock = |scope, id, prohibit| {
        let cdw10 = LockdownCdw10::new()
            .with_scp(scope)
            .with_ofi(id)
            .with_prhbt(prohibit);
        command(A::LOCKDOWN, 0, [cdw10.into_bits(), 0, 0, 0])
    };
    let commit = command(A::FIRMWARE_COMMIT, 0, [0, 0, 0, 0]);
    let set = command(
        A::SET_FEATURES,
        0,
        [FeatureId::VOLATILE_WRITE_CACHE.0.into(), 1, 0, 0],
    );
    assert_eq!(
        host.admin_status(lock(0, A::FIRMWARE_COMMIT.0, true)),
        Status::SUCCESS
    );
    assert_eq!(
        host.admin_status(lock(2, FeatureId::VOLATILE_WRITE_CACHE.0, true)),
        Status::SUCCESS
    );
    let prohibited = Status::PROHIBITED_BY_LOCKDOWN;
    refused(
        &mut host,
        &[
            (commit, prohibited),
            (set, prohibited),
            (lock(0, A::IDENTIFY.0, true), Status::LOCKDOWN_NOT_SUPPORTED),
            (lock(3, 1, true), Status::LOCKDOWN_NOT_SUPPORTED),
            (lock(1, 1, true), Status::INVALID_FIELD),
        ],
    );
    let listed = log(&mut host, LogPageId::LOCKDOWN, 1 << 4, 512).unwrap();
    assert_eq!(listed[3..6], [1, A::FIRMWARE_COMMIT.0, 0]);
    controller_reset(&mut host);
    refused(&mut host, &[(commit, prohibited)]);
    assert_eq!(
        host.admin_status(lock(2, FeatureId::VOLATILE_WRITE_CACHE.0, false)),
        Status::SUCCESS
    );
    assert_eq!(host.admin_status(set), Status::SUCCESS);
    host.controller.connected();
    host.enable();
    refused(&mut host, &[(commit, Status::INVALID_FIRMWARE_IMAGE)]);
}

#[test]
fn streams_are_enabled_allocated_and_given_back() {
    let mut host = host();
    let send = |dtype: u32, oper: u32, spec: u32, cdw12| {
        command(
            A::DIRECTIVE_SEND,
            1,
            [0, oper | dtype << 8 | spec << 16, cdw12, 0],
        )
    };
    let ask = |dtype: u32, oper: u32, cdw12| {
        command(A::DIRECTIVE_RECEIVE, 1, [1023, oper | dtype << 8, cdw12, 0])
    };
    let invalid = Status::INVALID_FIELD;
    refused(
        &mut host,
        &[(ask(1, 1, 0), invalid), (send(1, 2, 0, 0), invalid)],
    );
    let enable = send(0, 1, 0, 1 | 1 << 8);
    assert_eq!(host.admin_status(enable), Status::SUCCESS);
    let (_, parameters) = receive(&mut host, ask(0, 1, 0)).unwrap();
    assert_eq!((parameters[0], parameters[32]), (0b11, 0b11));
    let (got, _) = receive(&mut host, ask(1, 3, 10)).unwrap();
    assert_eq!(got, 10);
    let (_, streams) = receive(&mut host, ask(1, 1, 0)).unwrap();
    assert_eq!((streams[0], streams[2], streams[22]), (64, 54, 10));
    refused(
        &mut host,
        &[
            (ask(1, 3, 1), invalid),
            (send(0, 1, 0, 0), invalid),
            (ask(7, 1, 0), invalid),
            (
                command(A::DIRECTIVE_SEND, 5, [0, 1, 1 | 1 << 8, 0]),
                Status::INVALID_NAMESPACE_OR_FORMAT,
            ),
        ],
    );
    assert_eq!(host.admin_status(send(1, 2, 0, 0)), Status::SUCCESS);
    controller_reset(&mut host);
    let (_, parameters) = receive(&mut host, ask(0, 1, 0)).unwrap();
    assert_eq!(parameters[32], 0b01);
}

#[test]
fn a_write_names_a_stream_that_is_enabled() {
    let mut host = host();
    let mut pair = host.create_pair(1, 8);
    let page = host.pages(1);
    let mut write = crate::host::io(nvme::NvmOpcode::WRITE, 0, 8, page, 0);
    write.cdw12 |= U32::new(1 << 20);
    write.cdw13 = U32::new(9 << 16);
    let status = host.status(&mut pair, write);
    assert!(status.same_code(Status::INVALID_FIELD), "{status}");
    let enable = command(A::DIRECTIVE_SEND, 1, [0, 1, 1 | 1 << 8, 0]);
    assert_eq!(host.admin_status(enable), Status::SUCCESS);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let open = command(A::DIRECTIVE_RECEIVE, 1, [1023, 2 | 1 << 8, 0, 0]);
    let (_, list) = receive(&mut host, open).unwrap();
    assert_eq!(list[..4], [1, 0, 9, 0]);
}

#[test]
fn formats_and_sanitize_operations_end_a_self_test_and_are_told() {
    let mut host = host();
    let start = command(A::DEVICE_SELF_TEST, NSID_ALL.0, [2, 0, 0, 0]);
    for (sqe, result) in [
        (command(A::FORMAT_NVM, 1, [0; 4]), 0x24),
        (command(A::SANITIZE, 0, [2, 0, 0, 0]), 0x29),
    ] {
        assert_eq!(host.admin_status(start), Status::SUCCESS);
        let mut admin = host.admin;
        host.put(&mut admin, sqe);
        host.ring(&admin);
        for _ in 0..200 {
            host.clock.advance(10_000_000);
            host.controller.poll(8);
        }
        let cqe = host.reap(&mut admin).expect("it completes");
        host.admin = admin;
        assert_eq!(cqe.status(), Status::SUCCESS);
        assert_eq!(self_tests(&mut host).results[0].status, result);
    }
    let data = log(&mut host, LogPageId::PERSISTENT_EVENT, 1, 4096).unwrap();
    let kinds: Vec<_> = (0..4)
        .scan(512, |at, _| {
            let kind = data[*at];
            *at += 24 + usize::from(data[*at + 22]);
            Some(PersistentEventType(kind))
        })
        .collect();
    assert_eq!(
        kinds,
        [
            PersistentEventType::SANITIZE_COMPLETION,
            PersistentEventType::SANITIZE_START,
            PersistentEventType::FORMAT_COMPLETION,
            PersistentEventType::FORMAT_START,
        ]
    );
}

#[test]
fn a_stream_is_open_once_it_is_written_to() {
    let mut directives = super::directives::Directives::default();
    let mut enable = command(A::DIRECTIVE_SEND, 1, [0, 1, 1 | 1 << 8, 0]);
    assert!(directives.write(1, 1, 5).is_err());
    directives.send(&enable).unwrap();
    for id in [7, 5, 7, 0] {
        directives.write(1, 1, id).unwrap();
    }
    let status = command(A::DIRECTIVE_RECEIVE, 1, [0, 2 | 1 << 8, 0, 0]);
    assert_eq!(
        directives.receive(&status, 8).unwrap().1,
        [2, 0, 5, 0, 7, 0]
    );
    assert!(directives.write(1, 2, 5).is_err());
    for id in 100..200 {
        directives.write(1, 1, id).unwrap();
    }
    assert_eq!(directives.receive(&status, 8).unwrap().1.len(), 2 * 65);
    enable.cdw12 = U32::new(1 << 8);
    directives.send(&enable).unwrap();
    directives.receive(&status, 8).unwrap_err();
}

#[test]
fn management_commands_are_answered_in_band() {
    let mut host = host();
    let ask =
        |opcode, nmd0, nmd1| command(A::NVME_MI_RECEIVE, 0, [4 | 1 << 11, opcode, nmd0, nmd1]);
    let (response, subsystem) = receive(&mut host, ask(0, 0, 0)).unwrap();
    assert_eq!((response, subsystem[1]), (32 << 8, 2));
    let (response, health) = receive(&mut host, ask(1, 0, 1 << 31)).unwrap();
    assert_eq!(response, 0);
    // Functional, no warning, 30 degrees; the controller became ready.
    assert_eq!(health[..6], [0x28, 0xff, 30, 0, 1, 0]);
    let (_, health) = receive(&mut host, ask(1, 0, 0)).unwrap();
    assert_eq!(health[4..6], [0, 0]);
    let (response, entry) = receive(&mut host, ask(2, 1 << 31 | 1 << 24, 0)).unwrap();
    assert_eq!((response, entry[0]), (1 << 24, 1));
    assert_eq!(receive(&mut host, ask(4, 3, 0)).unwrap().0, 64 << 8);
    // Told in the response: an opcode, a port, a direction.
    for (sqe, expected) in [
        (ask(0x77, 0, 0), 3),
        (ask(3, 2, 0), 3),
        (ask(0, 1 << 24 | 5 << 16, 0), 4),
        (ask(4, 1, 0), 4),
    ] {
        assert_eq!(receive(&mut host, sqe).unwrap().0, expected);
    }
    let wrong = command(A::NVME_MI_RECEIVE, 0, [4 | 2 << 11, 0, 0, 0]);
    refused(&mut host, &[(wrong, Status::INVALID_FIELD)]);
    let effects = log(&mut host, LogPageId::NVME_MI_EFFECTS, 0, 4096).unwrap();
    assert_eq!((effects[0], effects[16], effects[20]), (1, 1, 0));
}

#[test]
fn the_controller_fails_where_the_host_does_not_keep_it_alive() {
    let mut host = host();
    let keep = command(A::KEEP_ALIVE, 0, [0; 4]);
    assert_eq!(host.admin_status(keep), Status::SUCCESS);
    let set = command(
        A::SET_FEATURES,
        0,
        [FeatureId::KEEP_ALIVE.0.into(), 950, 0, 0],
    );
    assert_eq!(host.admin_status(set), Status::SUCCESS);
    host.clock.advance(900_000_000);
    assert_eq!(host.admin_status(keep), Status::SUCCESS);
    host.clock.advance(990_000_000);
    host.controller.poll(8);
    assert!(host.csts().rdy() && !host.csts().cfs());
    host.clock.advance(20_000_000);
    host.controller.poll(8);
    assert!(host.csts().cfs());
    controller_reset(&mut host);
    let page = log(&mut host, LogPageId::TELEMETRY_CONTROLLER, 0, 512).unwrap();
    let head = TelemetryHeader::read_from_bytes(&page[..512]).unwrap();
    assert_eq!((head.controller_available, head.reason[0]), (1, 2));
    // It was read, and not retained.
    let page = log(&mut host, LogPageId::TELEMETRY_CONTROLLER, 0, 512).unwrap();
    assert_eq!(page[382], 0);
}

#[test]
fn what_survives_a_restart_is_taken_on_again() {
    let mut host = with(ServicesConfig {
        firmware: FirmwareConfig {
            first_read_only: false,
            ..FirmwareConfig::default()
        },
        ..ServicesConfig::default()
    });
    load(&mut host, &firmware("FW2", Activation::SubsystemReset, 0));
    assert_eq!(commit(&mut host, 1, 0), Status::SUCCESS);
    commit(&mut host, 1, 2);
    let saved = serde_json::to_string(&host.controller.device.services.saved()).unwrap();
    let mut other = super::Services::new("NEW");
    other.restore(serde_json::from_str(&saved).unwrap());
    assert_eq!(&other.firmware.revision(), b"FW1     ");
    assert!(other.firmware.reset(super::firmware::ResetKind::Subsystem));
    assert_eq!(&other.firmware.revision(), b"FW2     ");
}
