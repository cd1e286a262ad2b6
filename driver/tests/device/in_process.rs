//! The seam for simulations: driver and device in one thread, in virtual time.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use driver::ioworker::{Ioworker, IoworkerOptions, Region, Size};
use driver::transport::memory::DmaArena;
use driver::transport::{Doorbells, Fault, Transport};
use driver::{
    Command, Completed, Controller, ControllerOptions, DmaBuffer, DriverError, QueueOptions,
};
use nvme::offset::CSTS;
use nvme::{AdminOpcode, Csts, FeatureId, NamespaceId, Registers, Sqe};
use traces::{Clock, VirtualClock};
use vssd::media::Ram;
use vssd::{ControllerConfig, DOORBELLS_BYTES, Protection};

type Vssd = vssd::Controller<Ram, (), VirtualClock>;

/// A device in this thread; it runs when the driver waits.
pub(crate) struct InProcess {
    device: Rc<RefCell<Vssd>>,
    clock: VirtualClock,
    arena: DmaArena,
    frozen: bool,
    /// What CSTS reads as, whatever the device says.
    status: Option<Csts>,
}

impl Registers for InProcess {
    fn read32(&mut self, offset: u32) -> u32 {
        match self.status {
            Some(status) if offset == CSTS => status.into_bits(),
            _ => self.device.borrow_mut().read32(offset),
        }
    }

    fn write32(&mut self, offset: u32, value: u32) {
        self.device.borrow_mut().write32(offset, value);
    }
}

impl Transport for InProcess {
    fn name(&self) -> &str {
        "in-process"
    }

    fn allocate_dma(&mut self, bytes: usize) -> Result<DmaBuffer, DriverError> {
        let device = &self.device;
        self.arena.allocate(bytes, |region| {
            let len = u64::try_from(region.len()).unwrap();
            let access = Protection {
                read: true,
                write: true,
            };
            device
                .borrow_mut()
                .dma_map(region.iova(), len, region.fd(), 0, access)
                .map_err(|error| DriverError::transport("in-process", "mapping", error))
        })
    }

    fn doorbells(&self) -> Doorbells {
        let device = self.device.borrow();
        let bytes = usize::try_from(DOORBELLS_BYTES).unwrap();
        let doorbells = device.doorbells();
        Doorbells::map(doorbells.fd(), doorbells.file_offset(), bytes).unwrap()
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        self.device.borrow_mut().function_reset();
        Ok(())
    }

    fn fault(&self) -> Option<Fault> {
        None
    }

    fn relax(&mut self) {
        if !self.frozen {
            self.device.borrow_mut().poll(1);
        }
        self.clock.advance(700);
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.device.borrow_mut().disconnected();
    }
}

pub(crate) fn bring_up() -> (Controller<InProcess, VirtualClock>, VirtualClock) {
    bring_up_as(ControllerConfig::default())
}

/// A device that is made to be `config`, all of whose queues are asked for.
pub(crate) fn bring_up_as(
    config: ControllerConfig,
) -> (Controller<InProcess, VirtualClock>, VirtualClock) {
    let clock = VirtualClock::new();
    let media = Ram::new(16 << 20).unwrap();
    let device = vssd::Controller::new(config, media, (), clock.clone()).unwrap();
    let transport = InProcess {
        device: Rc::new(RefCell::new(device)),
        clock: clock.clone(),
        arena: DmaArena::new(),
        frozen: false,
        status: None,
    };
    let options = ControllerOptions {
        queue_pairs: u16::MAX,
        admin_depth: 200,
        ..ControllerOptions::default()
    };
    let controller = Controller::initialise(transport, options, clock.clone()).unwrap();
    (controller, clock)
}

/// Works in virtual time; what was measured, and when it was over.
fn work(seed: u64) -> (String, u64) {
    let (mut controller, clock) = bring_up();
    let options = IoworkerOptions {
        qdepth: 24,
        read_percentage: Some(60),
        io_count: Some(3000),
        region: Region {
            start: Size::Blocks(0),
            end: Some(Size::Blocks(2048)),
        },
        verify: true,
        seed,
        ..IoworkerOptions::default()
    };
    let mut worker = Ioworker::create(&mut controller, options).unwrap();
    while worker.step(&clock).unwrap() {
        controller.transport_mut().relax();
    }
    let (_, report) = worker.finish();
    assert_eq!(report.errors(), 0);
    assert!(report.verified_blocks > 0);
    controller.shutdown().unwrap();
    (format!("{report:?}"), clock.now_ns())
}

#[test]
fn one_seed_is_one_run_to_the_nanosecond() {
    assert_eq!(work(7), work(7));
    assert_ne!(work(7), work(8));
}

#[test]
fn time_outs_take_virtual_time_only() {
    let (mut controller, clock) = bring_up();
    let event = Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0));
    let before_ns = clock.now_ns();
    let minute = Duration::from_secs(60);
    let error = controller
        .admin_raw_within(event, None, minute)
        .unwrap_err();
    assert!(
        matches!(error, DriverError::CommandTimeout { .. }),
        "{error}"
    );
    let took = Duration::from_nanos(clock.now_ns() - before_ns);
    assert!(
        took >= minute && took < minute + Duration::from_secs(1),
        "{took:?}"
    );
}

#[test]
fn a_completion_that_comes_late_is_not_taken_for_another() {
    let (mut controller, _clock) = bring_up();
    controller.transport_mut().frozen = true;
    let temperature = FeatureId::TEMPERATURE_THRESHOLD;
    let error = controller.get_features(temperature, NamespaceId(0));
    let error = error.unwrap_err();
    assert!(
        matches!(error, DriverError::CommandTimeout { .. }),
        "{error}"
    );
    controller.transport_mut().frozen = false;
    let queues = FeatureId::NUMBER_OF_QUEUES;
    let queues = controller.get_features(queues, NamespaceId(0)).unwrap();
    assert_eq!(queues, 63 << 16 | 63);
}

#[test]
fn a_controller_that_does_not_change_its_state_is_an_error_in_time() {
    let (mut controller, clock) = bring_up();
    let ready = Csts::new().with_rdy(true);
    let allowed = Duration::from_millis(500) * u32::from(controller.cap().to());
    for (status, state) in [(ready, "disabled"), (Csts::new(), "ready")] {
        controller.transport_mut().status = Some(status);
        let before_ns = clock.now_ns();
        let error = controller.reset().unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, DriverError::NotInTime { .. }), "{text}");
        assert!(text.contains(state), "{text}");
        let took = Duration::from_nanos(clock.now_ns() - before_ns);
        assert!(took >= allowed && took < 2 * allowed, "{took:?}");
    }
    controller.transport_mut().status = Some(ready.with_cfs(true));
    let error = controller.check().unwrap_err();
    assert!(matches!(error, DriverError::Fatal { .. }), "{error}");
    controller.transport_mut().status = Some(Csts::from_bits(u32::MAX));
    let error = controller.shutdown().unwrap_err();
    assert!(matches!(error, DriverError::DeviceGone { .. }), "{error}");
    controller.transport_mut().status = None;
    controller.reset().unwrap();
}

#[test]
fn a_queue_pair_outlives_its_controller() {
    let (mut controller, clock) = bring_up();
    let mut pair = controller
        .create_queue_pair(QueueOptions::default())
        .unwrap();
    let device = Rc::clone(&controller.transport().device);
    drop(controller);
    pair.submit(Command::flush(NamespaceId(1)), 1, 0).unwrap();
    pair.ring();
    device.borrow_mut().poll(16);
    let reaped = pair.poll(&clock, 1, |_| {}).unwrap();
    assert_eq!(reaped, 0, "the device has let go of it");
    pair.close();
    let lost = pair.poll(&clock, 1, |done| assert!(done.lost)).unwrap();
    assert_eq!(lost, 1);
}

#[test]
fn a_reset_tells_every_admin_command_that_it_is_lost() {
    const COMMANDS: u64 = 150;
    let (mut controller, _clock) = bring_up();
    let lost = Arc::new(AtomicU64::new(0));
    for _ in 0..COMMANDS {
        let event = Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0));
        let lost = Arc::clone(&lost);
        let tell = move |done: Completed| {
            assert!(done.lost, "{done:?}");
            lost.fetch_add(1, Ordering::Relaxed);
        };
        controller.admin_submit(event, None, tell).unwrap();
    }
    controller.reset().unwrap();
    assert_eq!(lost.load(Ordering::Relaxed), COMMANDS);
}
