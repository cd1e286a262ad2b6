//! Servers that lack something, or lie.

use std::os::fd::{AsFd, OwnedFd};

use driver::ioworker::{Ioworker, IoworkerOptions, Region, Size};
use driver::transport::Transport;
use driver::transport::vfio_user::VfioUser;
use driver::{Command, Controller, ControllerOptions, DriverError, QueueOptions};
use nvme::NamespaceId;
use rustix::event::{EventfdFlags, eventfd};
use traces::{Clock, MonotonicClock};

use crate::common::{PATIENCE, Server, bring_up, succeed};
use crate::proxy::{Proxy, Trick};

#[test]
fn doorbells_that_cannot_be_mapped_are_carried() {
    let server = Server::small();
    let mapped = VfioUser::connect(server.path()).unwrap();
    assert!(mapped.doorbells().is_mapped());
    drop(mapped);
    let proxy = Proxy::start(server.socket(), Trick::NoMapping);
    let transport = VfioUser::connect(proxy.path()).unwrap();
    assert!(!transport.doorbells().is_mapped());
    let options = ControllerOptions::default();
    let mut device = Controller::initialise(transport, options, MonotonicClock::start()).unwrap();
    let options = IoworkerOptions {
        qdepth: 16,
        read_percentage: Some(50),
        io_count: Some(2000),
        region: Region {
            start: Size::Blocks(0),
            end: Some(Size::Blocks(1024)),
        },
        verify: true,
        ..IoworkerOptions::default()
    };
    let worker = Ioworker::create(&mut device, options).unwrap();
    let thread = std::thread::spawn(move || worker.run(&MonotonicClock::start()).unwrap());
    // Registers and doorbells share the socket.
    while !thread.is_finished() {
        device.check().unwrap();
    }
    let report = thread.join().unwrap();
    assert_eq!(report.errors(), 0);
    assert_eq!(report.reads.commands + report.writes.commands, 2000);
    device.shutdown().unwrap();
    drop(device);
    assert!(proxy.join().replies > 200);
}

/// Brings a device up and uses it, as far as that goes.
fn use_it(proxy: &Proxy) -> Result<(), DriverError> {
    let mut device = bring_up(proxy.path(), ControllerOptions::default())?;
    let mut pair = device.create_queue_pair(QueueOptions::default())?;
    pair.check_device()?;
    succeed(&mut pair, Command::flush(NamespaceId(1)));
    device.reset()?;
    device.shutdown()
}

/// How many replies it takes to use a device.
fn replies(server: &Server) -> u32 {
    let proxy = Proxy::start(server.socket(), Trick::EndBefore(u32::MAX));
    use_it(&proxy).unwrap();
    proxy.join().replies
}

#[test]
fn the_device_is_switched_on_at_first_and_after_a_function_reset() {
    let server = Server::small();
    let proxy = Proxy::start(server.socket(), Trick::EndBefore(u32::MAX));
    let mut device = bring_up(proxy.path(), ControllerOptions::default()).unwrap();
    device.reset().unwrap();
    device.reset_function().unwrap();
    drop(device);
    assert_eq!(proxy.join().switched_on, 2);
}

#[test]
fn a_connection_that_ends_at_any_point_is_an_error() {
    let server = Server::small();
    let count = replies(&server);
    assert!(count > 20);
    for number in 0..count {
        let proxy = Proxy::start(server.socket(), Trick::EndBefore(number));
        let clock = MonotonicClock::start();
        let error = use_it(&proxy).unwrap_err();
        assert!(
            error.to_string().contains("vfio-user:"),
            "{number}: {error}"
        );
        assert!(clock.now_ns() < u64::try_from(PATIENCE.as_nanos()).unwrap());
        proxy.join();
    }
}

#[test]
fn replies_that_make_no_sense_are_errors_or_do_no_harm() {
    let server = Server::small();
    let count = replies(&server);
    for number in 0..count {
        for trick in [
            Trick::Half(number),
            Trick::Refuse(number),
            Trick::Ones(number),
        ] {
            let proxy = Proxy::start(server.socket(), trick);
            let used = use_it(&proxy);
            // Some replies have nothing in them that could be wrong.
            if let (Trick::Refuse(_), Ok(())) = (trick, &used) {
                panic!("reply {number} was refused and nobody said so");
            }
            if let Err(error) = used {
                assert!(!error.to_string().is_empty());
            }
            proxy.join();
        }
    }
}

#[test]
fn completions_signal_a_vector_where_that_is_asked_for() {
    let server = Server::small();
    let mut device = server.connect();
    assert_eq!(device.transport().interrupts(), 65);
    let signal = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
    device
        .transport_mut()
        .set_interrupt(3, Some(signal.as_fd()))
        .unwrap();
    let options = QueueOptions {
        interrupt: Some(3),
        ..QueueOptions::default()
    };
    let mut pair = device.create_queue_pair(options).unwrap();
    let mut quiet = device.create_queue_pair(QueueOptions::default()).unwrap();
    succeed(&mut quiet, Command::flush(NamespaceId(1)));
    assert_eq!(signals(&signal), None);
    succeed(&mut pair, Command::flush(NamespaceId(1)));
    assert_eq!(signals(&signal), Some(1));
    device.transport_mut().set_interrupt(3, None).unwrap();
    succeed(&mut pair, Command::flush(NamespaceId(1)));
    assert_eq!(signals(&signal), None);
    let error = device
        .transport_mut()
        .set_interrupt(65, Some(signal.as_fd()))
        .unwrap_err();
    assert!(matches!(error, DriverError::Transport { .. }), "{error}");
}

/// How often it was signalled since it was last asked.
fn signals(eventfd: &OwnedFd) -> Option<u64> {
    // The completion is seen before the interrupt is raised.
    let clock = MonotonicClock::start();
    clock.wait_until(50_000_000);
    let mut count = [0; 8];
    rustix::io::read(eventfd, &mut count).ok()?;
    Some(u64::from_ne_bytes(count))
}
