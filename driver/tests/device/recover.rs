//! Commands that take too long, events, and admin commands that nobody waits for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{PATIENCE, Server, bring_up, drain, succeed};
use driver::pci::config::CAPABILITY_MSIX;
use driver::pci::{Aspm, PciConfig, PowerState};
use driver::{
    Command, Controller, ControllerOptions, DriverError, Interrupt, QueueOptions, Recovery,
};
use nvme::{
    AdminOpcode, AsyncEvent, FeatureId, Lba, NSID_ALL, NamespaceId, Registers as _,
    ShutdownNotification, Sqe, Status, ZeroBased,
};
use traces::{Clock, MonotonicClock};
use vssd::media::{Media, MediaInfo, Ram, Request, Sink, Submission};
use vssd::{ControllerConfig, Ticket};

const N1: NamespaceId = NamespaceId(1);
/// Reads from here on are never answered.
const STUCK: u64 = 8 << 20;

/// A medium that keeps some reads.
struct Sticky {
    ram: Ram,
    held: Vec<Ticket>,
    /// Whether it can give them up.
    gives_up: bool,
}

impl Media for Sticky {
    fn name(&self) -> &str {
        "sticky"
    }

    fn info(&self) -> MediaInfo {
        self.ram.info()
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission {
        match request {
            Request::Read { offset, .. } if offset >= STUCK => {
                self.held.push(ticket);
                Submission::Pending
            }
            request => self.ram.submit(ticket, request),
        }
    }

    fn pending(&self) -> usize {
        self.held.len()
    }

    fn cancel(&mut self, wanted: &mut dyn FnMut(&Ticket) -> bool) -> Option<Ticket> {
        let index = self.held.iter().position(wanted);
        index
            .filter(|_| self.gives_up)
            .map(|index| self.held.remove(index))
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        for ticket in self.held.drain(..) {
            sink(ticket, Ok(()));
        }
    }
}

fn sticky(gives_up: bool) -> Server {
    Server::start_on(ControllerConfig::default(), move || Sticky {
        ram: Ram::new(16 << 20).unwrap(),
        held: Vec::new(),
        gives_up,
    })
}

fn recovers(gives_up: bool) {
    let server = sticky(gives_up);
    let mut device = server.connect();
    let clock = MonotonicClock::start();
    let options = QueueOptions {
        depth: 8,
        ..QueueOptions::default()
    };
    let mut pair = device.create_queue_pair(options).unwrap();
    let data = device.allocate_dma(4096).unwrap();
    let slice = || data.slice(0, 4096).unwrap();
    let limit = Duration::from_millis(20);
    let unused = device.recover(&mut pair, limit, limit, |_| {}).unwrap();
    assert_eq!(unused, Recovery::Completed);
    for (user, lba) in [(1, STUCK / 512), (2, 0), (3, STUCK / 512 + 8)] {
        let read = Command::read(N1, Lba(lba), ZeroBased(7), slice());
        pair.submit(read, user, clock.now_ns()).unwrap();
    }
    let until_ns = clock.now_ns() + 40_000_000;
    let mut answered = Vec::new();
    while clock.now_ns() < until_ns {
        pair.poll(&clock, 8, |done| answered.push(done.user))
            .unwrap();
    }
    assert_eq!(answered, [2]);

    let late = pair.late(clock.now_ns(), limit);
    assert_eq!(late.len(), 2);
    assert!(late.iter().all(|late| late.age >= limit));
    let text = late[0].to_string();
    assert!(text.contains("Read") && text.contains("00004000"), "{text}");

    let mut over = Vec::new();
    let patience = Duration::from_millis(200);
    let recovery = device
        .recover(&mut pair, limit, patience, |done| over.push(done))
        .unwrap();
    over.sort_by_key(|done| done.user);
    assert_eq!(
        over.iter().map(|done| done.user).collect::<Vec<_>>(),
        [1, 3]
    );
    if gives_up {
        assert_eq!(recovery, Recovery::Aborted);
        for done in &over {
            assert!(
                done.status.same_code(Status::ABORT_REQUESTED),
                "{}",
                done.status
            );
        }
        // The queue goes on.
        succeed(&mut pair, Command::read(N1, Lba(0), ZeroBased(7), slice()));
    } else {
        assert_eq!(recovery, Recovery::ControllerReset);
        assert!(over.iter().all(|done| done.lost));
        assert!(pair.is_closed());
        let mut pair = device.create_queue_pair(options).unwrap();
        succeed(&mut pair, Command::read(N1, Lba(0), ZeroBased(7), slice()));
    }
}

#[test]
fn what_takes_too_long_is_aborted() {
    recovers(true);
}

#[test]
fn what_cannot_be_aborted_ends_with_a_reset() {
    recovers(false);
}

/// More often than there are requests, and over resets: it is always asked again.
#[test]
fn events_keep_coming() {
    let server = Server::small();
    let mut device = server.connect();
    device.listen().unwrap();
    let limit = device.info().event_requests_max;
    for round in 0..u32::from(limit) * 3 {
        if round == u32::from(limit) * 2 {
            device.reset().unwrap();
        }
        // Temperature, among the critical warnings.
        let warnings = 1 << 1;
        device
            .set_features(FeatureId::ASYNC_EVENT_CONFIG, NamespaceId(0), warnings)
            .unwrap();
        // A temperature above a threshold of nothing.
        let kelvin = 1;
        device
            .set_features(FeatureId::TEMPERATURE_THRESHOLD, NamespaceId(0), kelvin)
            .unwrap();
        // It is masked until its log is read.
        let event = device.wait_event(PATIENCE).unwrap();
        assert_eq!(
            event,
            Some(AsyncEvent::TEMPERATURE_THRESHOLD),
            "round {round}"
        );
        device
            .set_features(FeatureId::TEMPERATURE_THRESHOLD, NamespaceId(0), 500)
            .unwrap();
        device.smart_log(NSID_ALL).unwrap();
    }
}

#[test]
fn admin_commands_call_back() {
    let server = Server::small();
    let mut device = server.connect();
    let page = device.allocate_dma(4096).unwrap();
    let mut identify = Sqe::new(AdminOpcode::IDENTIFY.0, NamespaceId(0));
    identify.cdw10.set(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for number in 0..8 {
        let seen = Arc::clone(&seen);
        let wrong = Sqe::new(0x7f, NamespaceId(0));
        let sqe = if number % 2 == 0 { identify } else { wrong };
        let data = (number % 2 == 0).then(|| page.slice(0, 4096).unwrap());
        device
            .admin_submit(sqe, data, move |done| {
                seen.lock()
                    .unwrap()
                    .push((number, done.status.is_success()));
            })
            .unwrap();
    }
    // One that is waited for reaps the others', too.
    device.identify_controller().unwrap();
    wait(&mut device, &seen, 8);
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort_unstable();
    let wanted: Vec<_> = (0..8).map(|number| (number, number % 2 == 0)).collect();
    assert_eq!(seen, wanted);
    let mut serial = [0; 20];
    page.read_at(4, &mut serial).unwrap();
    assert_eq!(serial.trim_ascii_end(), device.info().serial.as_bytes());
}

fn wait<T: driver::transport::Transport, C: Clock, V>(
    device: &mut Controller<T, C>,
    seen: &Mutex<Vec<V>>,
    count: usize,
) {
    let clock = MonotonicClock::start();
    while seen.lock().unwrap().len() < count {
        device.poll_admin().unwrap();
        assert!(clock.now_ns() < 20_000_000_000, "they never complete");
    }
}

/// A command that the device never answers is told as lost by the reset.
#[test]
fn admin_commands_that_are_lost_call_back_too() {
    let server = Server::small();
    let mut device = server.connect();
    let lost = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&lost);
    // An event request is not answered as long as there is nothing to tell.
    let request = Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0));
    device
        .admin_submit(request, None, move |done| {
            counter.fetch_add(u32::from(done.lost), Ordering::Relaxed);
        })
        .unwrap();
    device.poll_admin().unwrap();
    assert_eq!(lost.load(Ordering::Relaxed), 0);
    device.reset().unwrap();
    assert_eq!(lost.load(Ordering::Relaxed), 1);
    let mut pair = device.create_queue_pair(QueueOptions::default()).unwrap();
    succeed(&mut pair, Command::flush(N1));
    drain(&mut pair, |_| {});
}

#[test]
fn completions_signal_their_vector_unless_it_is_masked() {
    let server = Server::small();
    let mut device = server.connect();
    let interrupt = Interrupt::attach(device.transport_mut(), 3).unwrap();
    let mut pair = device
        .create_queue_pair(QueueOptions {
            interrupt: Some(3),
            ..QueueOptions::default()
        })
        .unwrap();
    let moment = Duration::from_millis(50);
    assert_eq!(interrupt.wait(moment).unwrap(), 0);
    succeed(&mut pair, Command::flush(N1));
    assert!(interrupt.wait(PATIENCE).unwrap() > 0);
    assert_eq!(interrupt.wait(Duration::ZERO).unwrap(), 0);
    interrupt.mask(device.transport_mut()).unwrap();
    succeed(&mut pair, Command::flush(N1));
    assert_eq!(interrupt.wait(moment).unwrap(), 0);
    interrupt.unmask(device.transport_mut()).unwrap();
    succeed(&mut pair, Command::flush(N1));
    assert!(interrupt.wait(PATIENCE).unwrap() > 0);
    interrupt.detach(device.transport_mut()).unwrap();
    Interrupt::attach(device.transport_mut(), u16::MAX).unwrap_err();
}

#[test]
fn either_shutdown_is_carried_out() {
    for notification in [ShutdownNotification::Normal, ShutdownNotification::Abrupt] {
        let server = Server::small();
        let mut device = server.connect();
        device.notify_shutdown(notification).unwrap();
        let csts = device.transport_mut().read32(nvme::offset::CSTS);
        let status = nvme::Csts::from_bits(csts).shst();
        assert_eq!(status, nvme::ShutdownStatus::Complete);
        device.reset().unwrap();
    }
}

/// What a driver test looks at in configuration space, and what it changes there.
#[test]
fn configuration_space_is_within_reach() {
    let server = Server::small();
    let mut device = server.connect();
    let mut config = PciConfig::of(device.transport_mut());
    assert_eq!(config.identity().unwrap(), (0x1b36, 0x0010));
    assert!(config.capability(CAPABILITY_MSIX).unwrap().is_some());
    assert_eq!(config.capability(0x7f).unwrap(), None);
    // Advanced Error Reporting.
    assert!(config.extended_capability(1).unwrap().is_some());
    config.set_aspm(Aspm::L1).unwrap();
    assert_eq!(config.aspm().unwrap(), Aspm::L1);
    assert_eq!(config.power_state().unwrap(), PowerState::D0);
    config.set_power_state(PowerState::D3Hot).unwrap();
    assert_eq!(config.power_state().unwrap(), PowerState::D3Hot);
    device.check().unwrap_err();
    let mut config = PciConfig::of(device.transport_mut());
    config.set_power_state(PowerState::D0).unwrap();
    device.reset().unwrap();
    let mut pair = device.create_queue_pair(QueueOptions::default()).unwrap();
    succeed(&mut pair, Command::flush(N1));
}

/// CC is what the caller wants, and weighted round robin where the device has it.
#[test]
fn the_configuration_is_the_callers() {
    let server = Server::small();
    for (options, wanted) in [
        (ControllerOptions::default(), 0),
        (
            ControllerOptions {
                weighted_round_robin: true,
                ..ControllerOptions::default()
            },
            1,
        ),
    ] {
        let mut device = server.connect_with(options);
        let cc = device.transport_mut().read32(nvme::offset::CC);
        let cc = nvme::Cc::from_bits(cc);
        assert!(cc.en());
        assert_eq!(cc.ams(), wanted);
        let options = QueueOptions {
            priority: 2,
            ..QueueOptions::default()
        };
        let mut pair = device.create_queue_pair(options).unwrap();
        succeed(&mut pair, Command::flush(N1));
    }
    // An entry size that there is not.
    let odd = nvme::Cc::new().with_iosqes(7).with_iocqes(4);
    let options = ControllerOptions {
        configuration: Some(odd),
        ..ControllerOptions::default()
    };
    let error = bring_up(server.path(), options).unwrap_err();
    assert!(matches!(error, DriverError::Fatal { .. }), "{error}");
}
