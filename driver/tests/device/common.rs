//! A vssd in a thread or a process, and what tests do with it.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use driver::transport::vfio_user::VfioUser;
use driver::{Command, Completed, Controller, ControllerOptions, DriverError, QueuePair};
use traces::{Clock, MonotonicClock, Tap};
use vssd::ControllerConfig;
use vssd::front::vfio_user as front;
use vssd::media::{Media, Ram};
use vssd::worker::StopHandle;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A vssd on RAM that serves a socket in a thread of this process.
pub(crate) struct Server {
    directory: tempfile::TempDir,
    stop: StopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(config: ControllerConfig, bytes: u64) -> Self {
        Self::start_on(config, move || Ram::new(bytes).unwrap())
    }

    /// On another medium, which is made in the server's thread.
    pub(crate) fn start_on<M: Media>(
        config: ControllerConfig,
        medium: impl FnOnce() -> M + Send + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cntrl");
        let stop = StopHandle::new().unwrap();
        let mut server = front::Server::bind(&path, front::Options::default()).unwrap();
        let handle = stop.clone();
        let thread = std::thread::spawn(move || {
            let media = medium();
            let clock = MonotonicClock::start();
            let mut controller = vssd::Controller::new(config, media, (), clock).unwrap();
            server.run(&mut controller, &handle).unwrap();
        });
        Self {
            directory,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn small() -> Self {
        Self::start(ControllerConfig::default(), 16 << 20)
    }

    /// The directory of the socket, which is as good as the socket.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("cntrl")
    }

    pub(crate) fn connect(&self) -> Device {
        self.connect_with(ControllerOptions::default())
    }

    pub(crate) fn connect_with(&self, options: ControllerOptions) -> Device {
        bring_up(self.path(), options).unwrap()
    }

    pub(crate) fn stop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the server fails the test that is not failing yet.
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "vssd panicked");
        }
    }
}

pub(crate) type Device = Controller<VfioUser, MonotonicClock>;

pub(crate) fn bring_up(path: &Path, options: ControllerOptions) -> Result<Device, DriverError> {
    let transport = VfioUser::connect(path)?;
    Controller::initialise(transport, options, MonotonicClock::start())
}

/// Polls until nothing is in flight.
pub(crate) fn drain<T: Tap>(pair: &mut QueuePair<T>, mut sink: impl FnMut(Completed)) {
    let clock = MonotonicClock::start();
    let deadline_ns = clock.now_ns() + u64::try_from(PATIENCE.as_nanos()).unwrap();
    while pair.in_flight() > 0 {
        if pair.poll(&clock, usize::MAX, &mut sink).unwrap() == 0 {
            std::thread::yield_now();
        }
        assert!(clock.now_ns() < deadline_ns, "{pair:?} hangs");
    }
}

/// Runs one command alone.
pub(crate) fn run<T: Tap>(pair: &mut QueuePair<T>, command: Command<'_>) -> Completed {
    let tag = pair.submit(command, 4711, 0).unwrap();
    let mut done = None;
    drain(pair, |completed| done = Some(completed));
    let done = done.unwrap();
    assert_eq!((done.tag, done.user, done.lost), (tag, 4711, false));
    done
}

/// Runs one command that must succeed.
pub(crate) fn succeed<T: Tap>(pair: &mut QueuePair<T>, command: Command<'_>) {
    let done = run(pair, command);
    assert!(done.status.is_success(), "{}: {command:?}", done.status);
}
