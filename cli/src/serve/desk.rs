//! What the worker of a drive and those who look at it from outside share.
//!
//! ```text
//!   control, metrics --asks, then a nudge--> Desk <--looks, when nudged-- worker
//!          ^                                                                |
//!          +--------------------------- a reply ----------------------------+
//! ```
//!
//! The worker takes no lock on the way of a command: it looks here when it was
//! nudged, and when a guest comes or goes.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use recorder::{RecorderHandle, RingTap, WindowCount};
use traces::{Clock as _, Header, MonotonicClock};
use vssd::counters::Counters;
use vssd::media::{BaseImage, Qcow2};
use vssd::worker::StopHandle;

use super::Label;
use super::payload::PayloadChoice;
use crate::live::Resized;

/// How long a worker may take for an answer. It has limits of its own for what
/// waits for a medium.
const PATIENCE_NS: u64 = 60_000_000_000;
/// How often who waits looks whether the worker has ended.
const LOOK: Duration = Duration::from_millis(100);

/// What a worker is asked to do between two commands.
pub(crate) enum Ask {
    /// The header of a recording with these labels.
    Header(Vec<Label>, PayloadChoice, Sender<Header>),
    /// Record into this tap from now on, if nothing is being recorded.
    Open(RingTap, Sender<Result<WindowCount, Refused>>),
    /// Record what was fetched so far, and no more.
    Close(Sender<Closed>),
    /// What the medium is.
    Disk(Sender<DiskState>),
    /// Have the medium stand still, for others to read.
    Hold(Sender<Result<(), Refused>>),
    /// Go on in this image, and keep the drive's memory in this file.
    GoOn(Box<Qcow2>, Option<PathBuf>, Sender<Option<Box<dyn Send>>>),
    /// Go on as before.
    Release,
    /// Be so many bytes large.
    Grow(u64, Sender<Result<Resized, Refused>>),
}

/// Why the worker does not do it, for a person.
pub(crate) type Refused = String;

/// How the window of a recording was closed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Closed {
    /// Commands that had not ended.
    pub(crate) unfinished: u64,
}

/// The medium of a drive, as it is now.
#[derive(Clone, Debug)]
pub(crate) struct DiskState {
    /// The image; none where it is memory.
    pub(crate) image: Option<BaseImage>,
    pub(crate) bytes: u64,
    pub(crate) read_only: bool,
    pub(crate) serial: String,
}

/// A recording that goes on.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) handle: RecorderHandle,
    pub(crate) path: PathBuf,
    /// Commands that it was given.
    pub(crate) given: WindowCount,
    /// When it began, nanoseconds since 1970 and of the drive's clock.
    pub(crate) since_unix_ns: u64,
    pub(crate) since_ns: u64,
    /// Whether it is that of a session, which ends with it.
    pub(crate) of_session: bool,
}

/// Who uses the drive.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) since_unix_ns: u64,
}

/// What is known of a drive without asking its worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// The image that is written to, or what it is else.
    pub(crate) disk: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    pub(crate) client: Option<Client>,
}

/// See the module.
pub(crate) struct Desk {
    asks: Mutex<Vec<Ask>>,
    stop: StopHandle,
    running: Mutex<Option<Running>>,
    shown: Mutex<Shown>,
    /// The numbers of the drive, where they are counted.
    pub(crate) counters: Option<Arc<Counters>>,
    /// The drive's clock.
    pub(crate) clock: MonotonicClock,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// A desk for the worker of `stop`.
    pub(crate) fn new(
        stop: StopHandle,
        counters: Option<Arc<Counters>>,
        clock: MonotonicClock,
    ) -> Arc<Self> {
        Arc::new(Self {
            asks: Mutex::default(),
            stop,
            running: Mutex::default(),
            shown: Mutex::default(),
            counters,
            clock,
        })
    }

    /// The recording that goes on.
    pub(crate) fn running(&self) -> MutexGuard<'_, Option<Running>> {
        lock(&self.running)
    }

    /// What is shown of the drive.
    pub(crate) fn shown(&self) -> MutexGuard<'_, Shown> {
        lock(&self.shown)
    }

    /// Nanoseconds of the drive's clock.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Tells the worker something that it does not answer.
    pub(crate) fn tell(&self, ask: Ask) {
        lock(&self.asks).push(ask);
        self.stop.nudge();
    }

    /// Asks the worker, and waits for what it says.
    pub(crate) fn ask<R>(&self, ask: impl FnOnce(Sender<R>) -> Ask) -> Result<R, Refused> {
        let (reply, answer) = channel();
        self.tell(ask(reply));
        let until_ns = self.now_ns().saturating_add(PATIENCE_NS);
        while !self.stop.is_stopped() && self.now_ns() < until_ns {
            match answer.recv_timeout(LOOK) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // It may have come just before the end.
        answer.try_recv().map_err(|_| {
            "the drive does not get to it: it is being stopped, or its medium is stuck; look at \
             the server's log"
                .to_owned()
        })
    }

    /// What the worker is asked, in that order.
    pub(crate) fn take_asks(&self) -> Vec<Ask> {
        std::mem::take(&mut *lock(&self.asks))
    }
}
