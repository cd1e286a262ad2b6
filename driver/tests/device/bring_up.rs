//! A controller comes up, says who it is, goes down, and comes up again.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::common::{PATIENCE, Server, bring_up, drain, run, succeed};
use driver::{Command, ControllerOptions, DriverError, QueueOptions};
use nvme::{
    AdminOpcode, Cns, FeatureId, IdentifyController, IdentifyNamespace, Lba, LogPageId, NSID_ALL,
    NamespaceId, Registers, SmartLog, Sqe, Status, ZeroBased, offset,
};
use vssd::ControllerConfig;
use zerocopy::FromBytes;

const N1: NamespaceId = NamespaceId(1);

#[test]
fn a_device_says_what_it_was_made_to_be() {
    let config = ControllerConfig {
        serial: "SN-42".to_owned(),
        model: "A model with spaces".to_owned(),
        mdts: 5,
        queue_pairs_max: 12,
        queue_entries_max: 300,
        block_bytes: 4096,
        ..ControllerConfig::default()
    };
    let server = Server::start(config, 64 << 20);
    let mut device = server.connect();
    let info = device.info().clone();
    assert_eq!(info.serial, "SN-42");
    assert_eq!(info.model, "A model with spaces");
    assert_eq!(info.mdts_bytes, Some(128 << 10));
    assert_eq!(info.queue_pairs_max, 12);
    assert_eq!(info.depth_max, 299);
    let namespace = info.namespace(N1).unwrap();
    assert_eq!(info.namespaces, [namespace]);
    assert_eq!((namespace.blocks, namespace.block_bytes), (16384, 4096));
    assert_eq!(namespace.bytes(), 64 << 20);

    let identify: IdentifyController = device.identify(Cns::CONTROLLER, NamespaceId(0)).unwrap();
    assert_eq!(identify.cntrltype, IdentifyController::TYPE_IO);
    let identify: IdentifyNamespace = device.identify(Cns::NAMESPACE, N1).unwrap();
    assert_eq!(identify.nsze.get(), 16384);
    device.shutdown().unwrap();
}

#[test]
fn logs_and_features_are_read_and_set() {
    let server = Server::small();
    let mut device = server.connect();
    let log = device
        .get_log_page(LogPageId::SMART, NSID_ALL, 0, 512)
        .unwrap();
    let smart = SmartLog::read_from_bytes(&log).unwrap();
    assert!(smart.temperature() > 0);
    // Read in two parts, it is the same page.
    let start = device
        .get_log_page(LogPageId::COMMAND_EFFECTS, NSID_ALL, 0, 4096)
        .unwrap();
    let end = device
        .get_log_page(LogPageId::COMMAND_EFFECTS, NSID_ALL, 1024, 512)
        .unwrap();
    assert_eq!(start[1024..1536], end);
    let error = device
        .get_log_page(LogPageId::SMART, NSID_ALL, 0, 511)
        .unwrap_err();
    assert!(matches!(error, DriverError::Invalid { .. }), "{error}");

    let cache = FeatureId::VOLATILE_WRITE_CACHE;
    device.set_features(cache, NamespaceId(0), 0).unwrap();
    assert_eq!(device.get_features(cache, NamespaceId(0)).unwrap() & 1, 0);
    device.set_features(cache, NamespaceId(0), 1).unwrap();
    assert_eq!(device.get_features(cache, NamespaceId(0)).unwrap() & 1, 1);
}

#[test]
fn an_admin_command_that_fails_says_so_and_the_next_one_works() {
    let server = Server::small();
    let mut device = server.connect();
    let error = device
        .admin_raw(Sqe::new(0xff, NamespaceId(0)), None)
        .unwrap_err();
    let DriverError::CommandFailed { status, .. } = &error else {
        panic!("{error}");
    };
    assert!(status.same_code(Status::INVALID_OPCODE), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("vfio-user:") && text.contains("0xff"),
        "{text}"
    );
    device
        .get_features(FeatureId::ARBITRATION, NamespaceId(0))
        .unwrap();
}

#[test]
fn a_command_that_never_completes_times_out_and_a_reset_gets_over_it() {
    let server = Server::small();
    let mut device = server.connect();
    let event = Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0));
    let timeout = Duration::from_millis(100);
    let error = device.admin_raw_within(event, None, timeout).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, DriverError::CommandTimeout { .. }),
        "{text}"
    );
    assert!(
        text.contains("Async Event Request") && text.contains("100ms"),
        "{text}"
    );
    // Others are not held up.
    device
        .get_features(FeatureId::ARBITRATION, NamespaceId(0))
        .unwrap();
    device.reset().unwrap();
    let mut pair = device.create_queue_pair(QueueOptions::default()).unwrap();
    succeed(&mut pair, Command::flush(N1));
}

#[test]
fn an_event_request_is_kept_and_does_not_get_in_the_way() {
    let server = Server::small();
    let mut device = server.connect();
    device.request_event().unwrap();
    assert_eq!(device.take_event().unwrap(), None);
    device
        .get_features(FeatureId::ARBITRATION, NamespaceId(0))
        .unwrap();
    assert_eq!(device.take_event().unwrap(), None);
    device.shutdown().unwrap();
}

#[test]
fn a_shutdown_closes_everything_and_a_reset_brings_it_back() {
    let server = Server::small();
    let mut device = server.connect();
    let mut pair = device.create_queue_pair(QueueOptions::default()).unwrap();
    succeed(&mut pair, Command::flush(N1));
    device.shutdown().unwrap();
    pair.submit(Command::flush(N1), 0, 0).unwrap_err();
    assert!(pair.is_closed());
    device
        .get_features(FeatureId::ARBITRATION, NamespaceId(0))
        .unwrap_err();
    device.reset().unwrap();
    let mut pair = device.create_queue_pair(QueueOptions::default()).unwrap();
    succeed(&mut pair, Command::flush(N1));
}

#[test]
fn resets_of_both_kinds_give_back_what_was_in_flight() {
    let server = Server::small();
    let mut device = server.connect();
    let buffer = device.allocate_dma(64 * 4096).unwrap();
    for kind in 0..6 {
        let mut pair = device.create_queue_pair(QueueOptions::default()).unwrap();
        for user in 0..64 {
            let data = buffer
                .slice(usize::try_from(user).unwrap() * 4096, 4096)
                .unwrap();
            let read = Command::read(N1, Lba(user * 8), ZeroBased(7), data);
            pair.submit(read, user, 0).unwrap();
        }
        // The device may be anywhere in the middle of them, or has not heard
        // of them.
        if kind % 3 != 0 {
            pair.ring();
        }
        if kind < 3 {
            device.reset().unwrap();
        } else {
            device.reset_function().unwrap();
        }
        assert!(pair.is_closed());
        let mut seen = [0; 64];
        drain(&mut pair, |done| {
            assert!(done.lost || done.status.is_success(), "{}", done.status);
            if done.lost {
                assert_eq!(done.status, Status::ABORTED_SQ_DELETION);
            }
            seen[usize::try_from(done.user).unwrap()] += 1;
        });
        assert_eq!(seen, [1; 64], "each once");
    }
}

#[test]
fn an_enabled_controller_is_taken_over() {
    let server = Server::small();
    let mut device = server.connect();
    // The connection goes on with another driver, which finds CC.EN set.
    let cc = device.transport_mut().read32(offset::CC);
    assert_eq!(cc & 1, 1);
    device.reset().unwrap();
    drop(device);
    let mut device = server.connect();
    let mut pair = device.create_queue_pair(QueueOptions::default()).unwrap();
    succeed(&mut pair, Command::flush(N1));
}

#[test]
fn one_client_after_the_other_is_served() {
    let server = Server::small();
    for round in 0_u8..30 {
        let mut device = bring_up(&server.socket(), ControllerOptions::default()).unwrap();
        let mut pair = device.create_queue_pair(QueueOptions::default()).unwrap();
        let mut buffer = device.allocate_dma(4096).unwrap();
        let whole = |buffer| Command::read(N1, Lba(3), ZeroBased(0), buffer);
        succeed(&mut pair, whole(buffer.slice(0, 512).unwrap()));
        assert_eq!(buffer.get::<u8>(17).unwrap(), round);
        buffer.fill(0, 512, round + 1).unwrap();
        let data = buffer.slice(0, 512).unwrap();
        succeed(&mut pair, Command::write(N1, Lba(3), ZeroBased(0), data));
        if round % 2 == 0 {
            device.shutdown().unwrap();
        }
    }
}

#[test]
fn where_nobody_listens_the_way_out_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("cntrl");
    let error = |path: &std::path::Path| {
        bring_up(path, ControllerOptions::default())
            .unwrap_err()
            .to_string()
    };
    let text = error(&socket);
    assert!(
        text.contains("no vssd listens") && text.contains("vssd serve"),
        "{text}"
    );
    assert_eq!(
        error(directory.path()),
        text,
        "a directory means the socket in it"
    );
    // What a server that died leaves behind.
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(error(&socket), text);
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let text = error(&file);
    assert!(text.contains("not a socket"), "{text}");
}

#[test]
fn a_server_that_speaks_something_else_is_an_error_soon() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cntrl");
    let listener = UnixListener::bind(&path).unwrap();
    for reply in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &[],
        &[0; 64],
        &[0xff; 64],
    ] {
        let server = std::thread::scope(|scope| {
            let client = scope.spawn(|| bring_up(&path, ControllerOptions::default()).unwrap_err());
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(reply).unwrap();
            drop(stream);
            client.join().unwrap().to_string()
        });
        assert!(server.starts_with("vfio-user:"), "{server}");
    }
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_forever() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cntrl");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = bring_up(&path, ControllerOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("one at a time"), "{text}");
    assert!(PATIENCE > Duration::from_secs(5));
}

#[test]
fn queue_depths_that_cannot_be_are_refused() {
    let server = Server::small();
    let mut device = server.connect();
    let depth_max = device.info().depth_max;
    for depth in [0, depth_max + 1] {
        let options = QueueOptions {
            depth,
            ..QueueOptions::default()
        };
        let error = device.create_queue_pair(options).unwrap_err();
        assert!(matches!(error, DriverError::QueueDepth { .. }), "{error}");
    }
    let error = device.delete_queue_pair(nvme::QueueId(3)).unwrap_err();
    assert!(matches!(error, DriverError::NoSuchQueue { .. }), "{error}");
    let mut pair = device.create_queue_pair(QueueOptions::default()).unwrap();
    let done = run(&mut pair, Command::raw(Sqe::new(0x7f, N1), None));
    assert!(done.status.same_code(Status::INVALID_OPCODE));
}
