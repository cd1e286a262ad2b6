use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;

use nvme::Registers;
use traces::{Clock, MonotonicClock};

use super::*;
use crate::front::{CmbFile, DoorbellFile, Listener, Options};
use crate::{BlockDevice, DmaTable, Interrupts, MapError, PciIdentity, Protection, Rings};

/// A function of a few knobs that counts how often it is polled.
struct Dial {
    clock: MonotonicClock,
    enabled: bool,
    idle: bool,
    deadline_ns: Option<u64>,
    /// What the medium tells by.
    wake: Option<Arc<OwnedFd>>,
    shutdown: ShutdownStatus,
    /// What each poll returns.
    work: u32,
    polls: Arc<AtomicU64>,
    nudges: Arc<AtomicU64>,
}

impl Dial {
    fn new(enabled: bool, idle: bool, work: u32) -> Self {
        Self {
            clock: MonotonicClock::start(),
            enabled,
            idle,
            deadline_ns: None,
            wake: None,
            shutdown: ShutdownStatus::Normal,
            work,
            polls: Arc::default(),
            nudges: Arc::default(),
        }
    }
}

impl Registers for Dial {
    fn read32(&mut self, offset: u32) -> u32 {
        match offset {
            offset::CC => Cc::new().with_en(self.enabled).into(),
            offset::CSTS => Csts::new().with_shst(self.shutdown).into(),
            _ => 0,
        }
    }

    fn write32(&mut self, _offset: u32, _value: u32) {}
}

impl Function for Dial {
    fn poll(&mut self, _budget: u32) -> u32 {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.work
    }

    fn idle(&self) -> bool {
        self.idle
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(AsFd::as_fd)
    }

    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn dma_map(
        &mut self,
        _iova: u64,
        _len: u64,
        _fd: BorrowedFd<'_>,
        _file_offset: u64,
        _protection: Protection,
    ) -> Result<(), MapError> {
        Ok(())
    }

    fn dma_unmap(&mut self, _iova: u64, _len: u64) -> u64 {
        0
    }

    fn dma_unmap_all(&mut self) {}

    fn doorbells(&self) -> DoorbellFile<'_> {
        unreachable!("no client asks for them here")
    }

    fn cmb(&self) -> Option<CmbFile<'_>> {
        None
    }

    fn set_bus_master(&mut self, _enabled: bool) {}

    fn interrupt_pending(&mut self) -> bool {
        false
    }

    fn serial_number(&self) -> u64 {
        0
    }

    fn set_interrupts(&mut self, _interrupts: Box<dyn Interrupts + Send>) {}

    fn connected(&mut self) {}

    fn disconnected(&mut self) {}

    fn function_reset(&mut self) {}

    fn identity(&self) -> PciIdentity {
        PciIdentity::QEMU
    }

    fn vectors(&self) -> u16 {
        1
    }

    fn rings(&mut self) -> (&mut Rings, &DmaTable) {
        unreachable!("no client has any here")
    }

    fn block_device(&self) -> Option<BlockDevice> {
        None
    }

    fn set_write_cache(&mut self, _enabled: bool) {}

    fn nudged(&mut self) {
        self.nudges.fetch_add(1, Ordering::Relaxed);
    }
}

/// A front whose requests are bytes; the end of the stream is its end. It counts how
/// often it is told of a nudge.
struct Bytes(UnixStream, Arc<AtomicU64>);

impl Bytes {
    fn new(stream: UnixStream) -> Self {
        Self(stream, Arc::default())
    }
}

impl AsFd for Bytes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Attachment for Bytes {
    type Error = &'static str;

    fn events(&self) -> PollFlags {
        PollFlags::IN
    }

    fn nudged(&mut self, _function: &mut dyn Function) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    fn service(&mut self, _function: &mut dyn Function) -> Result<usize, Self::Error> {
        match rustix::io::read(&self.0, &mut [0; 16]) {
            Ok(0) => Err("the end"),
            Ok(bytes) => Ok(bytes),
            Err(_) => Ok(0),
        }
    }
}

/// Drives it for a tenth of a second; how often it was polled.
#[expect(clippy::disallowed_methods, reason = "the worker runs in real time")]
fn polls_in_a_tenth_of_a_second(mut dial: Dial) -> u64 {
    let (_client, front) = UnixStream::pair().unwrap();
    front.set_nonblocking(true).unwrap();
    let stop = StopHandle::new().unwrap();
    let handle = stop.clone();
    let polls = Arc::clone(&dial.polls);
    let worker = std::thread::spawn(move || {
        sharpen_timers();
        let policy = IdlePolicy {
            busy_ns: 0,
            ..IdlePolicy::default()
        };
        let ended = drive(&mut dial, &mut Bytes::new(front), &handle, policy);
        assert!(matches!(ended, Ended::Stopped));
    });
    std::thread::sleep(Duration::from_millis(100));
    stop.stop();
    worker.join().unwrap();
    polls.load(Ordering::Relaxed)
}

#[test]
fn sleep_grows_with_the_pause_up_to_the_cap() {
    let policy = IdlePolicy::default();
    assert_eq!(policy.sleep_ns(0), 0);
    assert_eq!(policy.sleep_ns(100_000), 25_000);
    assert_eq!(policy.sleep_ns(500_000_000), policy.sleep_ns_max);
    assert_eq!(policy.sleep_ns(1_000_000_000), 1_000_000);
    assert_eq!(policy.sleep_ns(20_000_000_000), policy.long_sleep_ns_max);
    assert_eq!(IdlePolicy::BUSY.sleep_ns(10_000_000_000), 0);
}

#[test]
fn a_disabled_controller_is_not_looked_at() {
    let polls = polls_in_a_tenth_of_a_second(Dial::new(false, true, 0));
    assert!(polls < 10, "{polls} polls");
    let mut dial = Dial::new(true, true, 0);
    dial.shutdown = ShutdownStatus::Complete;
    let shut_down = polls_in_a_tenth_of_a_second(dial);
    assert!(shut_down < 10, "{shut_down} polls");
}

#[test]
fn an_idle_controller_is_looked_at_now_and_then() {
    let idle = polls_in_a_tenth_of_a_second(Dial::new(true, true, 0));
    // 200 by the cap and some at first, fewer where others use the processor; a
    // worker that spins has a million, and one that sleeps without end has two.
    assert!((5..10_000).contains(&idle), "{idle} polls");
}

#[test]
fn a_controller_with_commands_in_flight_is_looked_at_all_the_time() {
    let pending = polls_in_a_tenth_of_a_second(Dial::new(true, false, 0));
    let idle = polls_in_a_tenth_of_a_second(Dial::new(true, true, 0));
    assert!(pending > 10 * idle, "{pending} and {idle} polls");
}

#[test]
fn a_medium_that_tells_is_waited_for() {
    let told = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    let mut dial = Dial::new(true, false, 0);
    dial.wake = Some(Arc::clone(&told));
    let asleep = polls_in_a_tenth_of_a_second(dial);
    let idle = polls_in_a_tenth_of_a_second(Dial::new(true, true, 0));
    assert!(asleep < 10 * idle, "{asleep} and {idle} polls");
    // Whoever is told and does not look is told all the time.
    rustix::io::write(&told, &1_u64.to_ne_bytes()).unwrap();
    let mut dial = Dial::new(true, false, 0);
    dial.wake = Some(told);
    let awake = polls_in_a_tenth_of_a_second(dial);
    assert!(awake > 10 * idle, "{awake} and {idle} polls");
}

#[test]
fn the_socket_has_its_turn_while_the_controller_is_busy() {
    let (mut client, front) = UnixStream::pair().unwrap();
    front.set_nonblocking(true).unwrap();
    let stop = StopHandle::new().unwrap();
    let worker = std::thread::spawn(move || {
        let mut dial = Dial::new(true, false, 1);
        drive(&mut dial, &mut Bytes::new(front), &stop, IdlePolicy::BUSY)
    });
    client.write_all(&[0; 100]).unwrap();
    drop(client);
    assert!(matches!(worker.join().unwrap(), Ended::Detached("the end")));
}

#[test]
fn the_end_of_the_client_wakes_a_worker_that_sleeps_without_end() {
    let (client, front) = UnixStream::pair().unwrap();
    front.set_nonblocking(true).unwrap();
    let stop = StopHandle::new().unwrap();
    let worker = std::thread::spawn(move || {
        let mut dial = Dial::new(false, true, 0);
        drive(
            &mut dial,
            &mut Bytes::new(front),
            &stop,
            IdlePolicy::default(),
        )
    });
    drop(client);
    assert!(matches!(worker.join().unwrap(), Ended::Detached("the end")));
}

/// Waits until `counter` says `expected`, and fails after ten seconds.
#[expect(clippy::disallowed_methods, reason = "the worker runs in real time")]
fn wait_for(counter: &AtomicU64, expected: u64) {
    for _ in 0..10_000 {
        if counter.load(Ordering::Relaxed) == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{} and not {expected}", counter.load(Ordering::Relaxed));
}

#[test]
fn a_nudge_reaches_a_worker_that_sleeps_without_end_and_lets_it_sleep_again() {
    let (_client, front) = UnixStream::pair().unwrap();
    front.set_nonblocking(true).unwrap();
    let stop = StopHandle::new().unwrap();
    let mut dial = Dial::new(false, true, 0);
    let (polls, nudges) = (Arc::clone(&dial.polls), Arc::clone(&dial.nudges));
    let handle = stop.clone();
    let mut front = Bytes::new(front);
    let told = Arc::clone(&front.1);
    let worker = std::thread::spawn(move || {
        let policy = IdlePolicy {
            busy_ns: 0,
            ..IdlePolicy::default()
        };
        drive(&mut dial, &mut front, &handle, policy)
    });
    for number in 1..=100 {
        stop.nudge();
        wait_for(&nudges, number);
    }
    let polled = polls.load(Ordering::Relaxed);
    assert!(polled < 1_000, "{polled} polls for 100 nudges");
    stop.stop();
    assert!(matches!(worker.join().unwrap(), Ended::Stopped));
    assert_eq!(nudges.load(Ordering::Relaxed), 100);
    assert_eq!(told.load(Ordering::Relaxed), 100);
}

#[test]
fn a_nudge_reaches_a_worker_that_waits_for_a_client_and_so_does_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut listener = Listener::bind(&path, Options::default()).unwrap();
    let stop = StopHandle::new().unwrap();
    let mut dial = Dial::new(false, true, 0);
    let nudges = Arc::clone(&dial.nudges);
    let handle = stop.clone();
    let worker = std::thread::spawn(move || {
        listener.serve_each(&mut dial, &handle, |_, _| panic!("nobody comes"))
    });
    for number in 1..=100 {
        stop.nudge();
        wait_for(&nudges, number);
    }
    // The wake-up of a nudge may take that of the end with it.
    stop.nudge();
    stop.stop();
    worker.join().unwrap().unwrap();
}
