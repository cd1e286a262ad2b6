//! The worker: one thread that takes turns between a controller and its front.
//!
//! ```text
//!        +------------------------------------------------+
//!        v                                                |
//!   controller.poll -- work done ------------------------>+
//!        | nothing                                        |
//!        v                                                |
//!   idle shorter than `busy_ns` -- spin ----------------->+
//!        | longer                                         |
//!        v                                                |
//!   ppoll on socket, stop and the medium, a quarter of    |
//!   the idle time, at most `sleep_ns_max`                 |
//!   (`long_sleep_ns_max` after long pauses), and not past |
//!   a deadline ------------------------------------------>+
//!        (without end while the controller is disabled or shut down,
//!        and where the front is told of each command)
//! ```
//!
//! While the medium has requests, the worker spins as before, and then sleeps
//! until the medium tells that one has ended; a medium that cannot tell is
//! looked at all the time.
//!
//! A doorbell in mapped memory wakes nobody, so that somebody must look. While
//! there is work, the worker looks all the time. Once there is none it sleeps
//! for a part of the time that it has been idle: a command finds it asleep for
//! a fraction of the pause that came before it, and never longer than the cap,
//! while an idle drive costs a wake-up per cap. While the controller is
//! disabled or shut down no doorbell counts, and only the socket can bring news.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nvme::{Cc, Csts, ShutdownStatus, offset};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::front::Function;

/// How many commands and completions a turn of the controller has.
const BUDGET: u32 = 64;
/// How long requests on the socket may wait while the controller is busy.
const SERVICE_BUSY_NS: u64 = 50_000;
/// How long they may wait while it is not, but may be again at any moment.
const SERVICE_SPIN_NS: u64 = 10_000;

/// Ends a worker, or has it do something between two commands, from anywhere:
/// another thread, or a signal handler. Clones are of the same worker.
#[derive(Clone, Debug)]
pub struct StopHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    /// Somebody waits to be looked after.
    nudged: AtomicBool,
    /// Wakes a worker that sleeps.
    wake: OwnedFd,
}

impl StopHandle {
    /// A handle that has not been used.
    ///
    /// # Errors
    ///
    /// What the system says, where it gives no descriptor.
    pub fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            shared: Arc::new(Shared {
                stopped: AtomicBool::new(false),
                nudged: AtomicBool::new(false),
                wake,
            }),
        })
    }

    /// Ends the worker, soon. Safe to call from a signal handler.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the worker call [`Function::nudged`] soon, even where it sleeps or
    /// waits for a client. Nudges that come before it does count as one. Safe to
    /// call from a signal handler.
    pub fn nudge(&self) {
        self.shared.nudged.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // It fails only when full, and then it wakes already.
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
    }

    /// Whether there was a nudge since the last call. Without one it costs a
    /// load.
    pub(crate) fn take_nudge(&self) -> bool {
        self.shared.nudged.load(Ordering::Relaxed)
            && self.shared.nudged.swap(false, Ordering::Acquire)
    }

    /// The worker is awake: has it sleep again, until the next wake-up. Flags are
    /// to be looked at afterwards, as they are set before.
    pub(crate) fn woken(&self) {
        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
    }

    /// Whether it was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }
}

impl AsFd for StopHandle {
    /// Readable once the handle was used, until the worker has woken.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }
}

/// When a worker sleeps. The default has the first command after a short pause
/// wait for a quarter of a millisecond on average, and after one of sixteen
/// seconds for eight: a drive that nobody uses wakes 63 times a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdlePolicy {
    /// How long to look for work without a pause after the last, nanoseconds.
    pub busy_ns: u64,
    /// The longest sleep of an enabled controller after a short pause, nanoseconds.
    pub sleep_ns_max: u64,
    /// The longest sleep after a long pause, nanoseconds: a sleep may take a
    /// thousandth of the pause.
    pub long_sleep_ns_max: u64,
}

impl Default for IdlePolicy {
    fn default() -> Self {
        Self {
            busy_ns: 50_000,
            sleep_ns_max: 500_000,
            long_sleep_ns_max: 16_000_000,
        }
    }
}

impl IdlePolicy {
    /// Never sleep: the lowest latency, for a whole core.
    pub const BUSY: Self = Self {
        busy_ns: u64::MAX,
        sleep_ns_max: 0,
        long_sleep_ns_max: 0,
    };

    /// Sleep as soon as nothing is there to do: the fewest cycles, for a wake-up
    /// in each command's latency. The caps are for what nobody tells of.
    pub const INTERRUPT: Self = Self {
        busy_ns: 0,
        sleep_ns_max: 500_000,
        long_sleep_ns_max: 2_000_000,
    };

    /// How long to sleep after so long a pause.
    fn sleep_ns(self, idle_ns: u64) -> u64 {
        let short = (idle_ns / 4).min(self.sleep_ns_max);
        short.max(idle_ns / 1_000).min(self.long_sleep_ns_max)
    }
}

/// A front with a client, as the worker sees it. The descriptor is that of its
/// socket.
pub(crate) trait Attachment: AsFd {
    /// How an attachment ends.
    type Error;

    /// What to wait for on the socket.
    fn events(&self) -> PollFlags;

    /// Something else to wait for, after which there is something to handle.
    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// How the worker may sleep, asked before each sleep.
    fn rest(&mut self, function: &mut dyn Function) -> Rest {
        Rest::of(function)
    }

    /// A sleep has ended.
    fn woke(&mut self, _function: &mut dyn Function) {}

    /// The function was nudged: it may be another than the client knows.
    fn nudged(&mut self, _function: &mut dyn Function) {}

    /// Handles what the client wants; returns how many requests that were. It
    /// does not wait.
    fn service(&mut self, function: &mut dyn Function) -> Result<usize, Self::Error>;
}

/// How a worker may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Not at all: there is work.
    No,
    /// For a while: nobody tells of commands.
    Look,
    /// Without end: a descriptor tells of all that there can be.
    Told,
}

impl Rest {
    /// The rest of a worker whose commands come by doorbells in mapped memory.
    pub(crate) fn of(function: &mut dyn Function) -> Self {
        if takes_commands(function) {
            Self::Look
        } else {
            Self::Told
        }
    }
}

/// How a worker's drive ended.
#[derive(Debug)]
pub(crate) enum Ended<E> {
    /// The stop handle was used.
    Stopped,
    /// The client is gone, or has been thrown out.
    Detached(E),
}

/// Has short sleeps of this thread end on time: the kernel lets them overrun by
/// 50 us otherwise. Where it cannot, commands after a pause wait longer.
pub(crate) fn sharpen_timers() {
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// Takes turns between `function` and `front` until either the client or the
/// handle ends it.
pub(crate) fn drive<F: Attachment>(
    function: &mut dyn Function,
    front: &mut F,
    stop: &StopHandle,
    policy: IdlePolicy,
) -> Ended<F::Error> {
    let mut worked_ns = function.now_ns();
    let mut serviced_ns = worked_ns;
    // Whether to look at the socket now, whatever the time.
    let mut due = true;
    loop {
        if stop.is_stopped() {
            return Ended::Stopped;
        }
        if stop.take_nudge() {
            function.nudged();
            front.nudged(function);
        }
        let done = function.poll(BUDGET);
        let now_ns = function.now_ns();
        if done > 0 {
            worked_ns = now_ns;
        }
        let patience_ns = if done > 0 {
            SERVICE_BUSY_NS
        } else {
            SERVICE_SPIN_NS
        };
        if due || now_ns.saturating_sub(serviced_ns) >= patience_ns {
            serviced_ns = now_ns;
            match front.service(function) {
                Ok(requests) => due = requests > 0,
                Err(error) => return Ended::Detached(error),
            }
            if due {
                // A register access is often followed by a doorbell.
                worked_ns = now_ns;
            }
        }
        let idle_ns = now_ns.saturating_sub(worked_ns);
        let is_busy = !function.idle();
        let spins = is_busy && (function.wake().is_none() || policy == IdlePolicy::BUSY);
        if due || done > 0 || idle_ns < policy.busy_ns || spins {
            std::hint::spin_loop();
            continue;
        }
        let look_ns = match front.rest(function) {
            Rest::No => {
                worked_ns = now_ns;
                continue;
            }
            Rest::Told if !is_busy => None,
            // The medium tells of what it has; of a queue without room for a
            // completion, say, nobody does.
            Rest::Look | Rest::Told => Some(policy.sleep_ns(idle_ns)),
        };
        let timer_ns = function
            .next_deadline_ns()
            .map(|at_ns| at_ns.saturating_sub(now_ns));
        let sleep_ns = look_ns.into_iter().chain(timer_ns).min();
        due = sleep(front, function, stop, sleep_ns);
        front.woke(function);
        // Where nothing is there, it was asked just now, however late it woke.
        serviced_ns = function.now_ns();
    }
}

/// Whether a doorbell would bring a command: the controller is enabled, and has
/// not been shut down (`NVMe Base 2.1 §3.6`). If not, only a register access can
/// change that.
fn takes_commands(function: &mut dyn Function) -> bool {
    let shutdown = Csts::from_bits(function.read32(offset::CSTS)).shst();
    Cc::from_bits(function.read32(offset::CC)).en() && shutdown != ShutdownStatus::Complete
}

/// Waits for the socket, the handle, the medium, or the time to pass; whether the
/// front has something to handle.
fn sleep<F: Attachment>(
    front: &F,
    function: &dyn Function,
    stop: &StopHandle,
    sleep_ns: Option<u64>,
) -> bool {
    let timeout = sleep_ns.and_then(|ns| Timespec::try_from(Duration::from_nanos(ns)).ok());
    // The handle stands for what there is not to wait for.
    let wake = front.wake().unwrap_or(stop.as_fd());
    let medium = function.wake().unwrap_or(stop.as_fd());
    let mut fds = [
        PollFd::new(front, front.events()),
        PollFd::new(stop, PollFlags::IN),
        PollFd::from_borrowed_fd(wake, PollFlags::IN),
        PollFd::from_borrowed_fd(medium, PollFlags::IN),
    ];
    // An interrupted sleep is as good as one that has ended; any other error
    // shows at the socket.
    let ready = poll(&mut fds, timeout.as_ref()).unwrap_or(1) > 0;
    let [socket, handle, wake, _] = fds;
    let of_front = !socket.revents().is_empty();
    if !handle.revents().is_empty() {
        stop.woken();
        return ready && of_front;
    }
    ready && (of_front || !wake.revents().is_empty())
}

#[cfg(test)]
mod tests;
