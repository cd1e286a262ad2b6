//! A thread that serves the queues of a lane.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use traces::{Branch, Clock, Tap};

use super::LanePolicy;
use super::meter::Meter;
use crate::media::Parallel;
use crate::worker::StopHandle;
use crate::{Controller, Media};

/// How many commands and completions a turn has.
const BUDGET: u32 = 64;
/// How long to wait for a lane before something else is done.
const MOMENT: Duration = Duration::from_micros(20);

/// A lane: a controller that has nothing but queues which were lent to it.
pub(super) type Lane<M, T, C> = Box<Controller<M, T, C>>;

/// What both ends of a post see.
#[derive(Debug, Default)]
struct Shared {
    /// Whether the lane is to come home.
    recalled: AtomicBool,
    /// How busy the lane was since it was sent, per mille, as of a while ago.
    busy: AtomicU64,
}

/// The owner's end of a thread to which a lane is sent.
pub(super) struct Post<M: Media, T: Tap, C: Clock> {
    shared: Arc<Shared>,
    /// None once it is closed.
    there: Option<Sender<Lane<M, T, C>>>,
    back: Receiver<Lane<M, T, C>>,
    thread: Option<JoinHandle<()>>,
    /// Whether the lane is with the thread.
    pub(super) out: bool,
}

/// What a thread needs to tell that its lane has come home by itself.
#[derive(Clone, Debug)]
pub(super) struct Doorman {
    pub(super) returned: Arc<AtomicBool>,
    pub(super) owner: StopHandle,
}

impl<M, T, C> Post<M, T, C>
where
    M: Parallel + Send + 'static,
    T: Branch + Send + 'static,
    C: Clock + Clone + Send + 'static,
{
    /// Starts the thread; `begin` is what it does first.
    pub(super) fn start(
        name: String,
        policy: LanePolicy,
        doorman: Doorman,
        begin: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (there, inbox) = channel::<Lane<M, T, C>>();
        let (outbox, back) = channel();
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            begin();
            while let Ok(mut lane) = inbox.recv() {
                serve(&mut lane, &seen, policy);
                lane.settle();
                let by_itself = !seen.recalled.load(Ordering::Relaxed);
                if outbox.send(lane).is_err() {
                    return;
                }
                if by_itself {
                    doorman.returned.store(true, Ordering::Release);
                    doorman.owner.nudge();
                }
            }
        })?;
        Ok(Self {
            shared,
            there: Some(there),
            back,
            thread: Some(thread),
            out: false,
        })
    }
}

impl<M: Media, T: Tap, C: Clock> Post<M, T, C> {
    /// Sends a lane to the thread.
    pub(super) fn send(&mut self, lane: Lane<M, T, C>) {
        self.shared.recalled.store(false, Ordering::Relaxed);
        self.shared.busy.store(1000, Ordering::Relaxed);
        let sent = self.there.as_ref().map(|there| there.send(lane));
        assert!(matches!(sent, Some(Ok(()))), "a lane's thread has ended");
        self.out = true;
    }

    /// Has the lane come home at the end of its turn.
    pub(super) fn recall(&self) {
        self.shared.recalled.store(true, Ordering::Relaxed);
    }

    /// Waits a moment for the lane; none where it has not come by then.
    pub(super) fn receive(&mut self) -> Option<Lane<M, T, C>> {
        let lane = self.back.recv_timeout(MOMENT);
        let has_ended = matches!(lane, Err(RecvTimeoutError::Disconnected));
        assert!(!has_ended, "a lane's thread has ended");
        self.out = lane.is_err();
        lane.ok()
    }

    /// How busy the lane is, per mille.
    pub(super) fn busy(&self) -> u64 {
        self.shared.busy.load(Ordering::Relaxed)
    }
}

impl<M: Media, T: Tap, C: Clock> Drop for Post<M, T, C> {
    fn drop(&mut self) {
        self.there = None;
        if let Some(thread) = self.thread.take() {
            // Whatever it died of was told by itself.
            let _ = thread.join();
        }
    }
}

/// Serves a lane until it is to come home or wants to.
fn serve<M: Media, T: Tap, C: Clock>(
    lane: &mut Controller<M, T, C>,
    shared: &Shared,
    policy: LanePolicy,
) {
    let mut meter = Meter::new(lane.clock().now_ns());
    let mut turns = 0_u32;
    while !shared.recalled.load(Ordering::Relaxed) {
        let done = lane.poll_lane(BUDGET);
        if lane.device.wants_home() {
            return;
        }
        meter.turn(done, || lane.clock().now_ns());
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(policy.turns_a_look) {
            let now_ns = lane.clock().now_ns();
            if meter.elapsed_ns(now_ns) >= policy.window_ns {
                let busy = meter.busy(now_ns);
                if busy < policy.return_at {
                    return;
                }
                shared.busy.store(busy, Ordering::Relaxed);
                meter.restart(now_ns);
            }
        }
        if done == 0 {
            std::hint::spin_loop();
        }
    }
}
