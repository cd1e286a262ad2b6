//! A controller whose queues several threads serve.
//!
//! ```text
//!   owner's thread          Controller: registers, admin queue, some I/O queues
//!                            |    ^                             ^
//!            queues, a handle|    |queues, counts, commands     | front, worker
//!            on the medium   v    |that are more than requests
//!   other threads           Lane  Lane  ...: I/O queues, and nothing else
//!
//!
//!            much to do               at rest
//!    Home -------------> Leaving ---------------> Out
//!     ^                     |                      |
//!     +---- not at rest ----+                      |
//!     +---- an admin command, a register, a map,  -+
//!           a command that is not simple, little
//!           to do, or too much on one thread
//! ```
//!
//! Nothing is shared on the way of a command: a lane owns its queues, its handle
//! on the medium, its part of the observer and a copy of the table of guest
//! memory. What concerns more than one queue happens at home: all lanes hand back
//! what they have, at the end of their turn, and the controller is as if it had
//! never been apart; commands in flight are not waited for. So one thread sees
//! one controller, and there is one implementation of everything.
//!
//! Queues are lent while the owner's thread has more to do than it can, and come
//! home when one thread is enough: who is not used takes no time. A lane spins,
//! as it is there for load alone.

mod function;
mod meter;
mod plan;
mod post;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use traces::{Branch, Clock};

use self::meter::Meter;
use self::post::{Doorman, Lane, Post};
use crate::Controller;
use crate::media::Parallel;
use crate::queue::Lendable;
use crate::worker::StopHandle;

/// When queues are spread over threads, and when they come home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanePolicy {
    /// Over how long it is measured how busy threads are, nanoseconds.
    pub window_ns: u64,
    /// How busy the owner's thread is, per mille, where queues are spread.
    pub spread_at: u64,
    /// How busy all threads are together, per mille of one, where one is enough.
    pub gather_at: u64,
    /// How busy a lane is, per mille, that comes home by itself.
    pub return_at: u64,
    /// How long queues stay home after they came there, nanoseconds; more where
    /// they had been away for a short time only.
    pub settle_ns: u64,
    /// Whether queues without commands are spread, too.
    pub all: bool,
    /// How many turns pass between two looks at the clock.
    pub turns_a_look: u32,
}

impl Default for LanePolicy {
    fn default() -> Self {
        Self {
            window_ns: 5_000_000,
            spread_at: 800,
            gather_at: 600,
            return_at: 50,
            settle_ns: 5_000_000,
            all: false,
            turns_a_look: 64,
        }
    }
}

impl LanePolicy {
    /// Queues are always spread, where that can be.
    pub const ALWAYS: Self = Self {
        window_ns: 1_000_000,
        spread_at: 0,
        gather_at: 0,
        return_at: 0,
        settle_ns: 1_000_000,
        all: true,
        turns_a_look: 64,
    };

    /// The longest that queues stay home, nanoseconds.
    const SETTLE_NS_MAX: u64 = 1_000_000_000;
    /// How long queues on their way may take to come to rest, nanoseconds.
    const REST_NS_MAX: u64 = 20_000_000;
    /// Who comes home after less time than this stays longer, nanoseconds.
    const SHORT_NS: u64 = 100_000_000;
    /// How much busier one thread may be than another, per mille.
    const UNEVEN: u64 = 300;
    /// How long queues are where they are at least, nanoseconds.
    const STAY_NS: u64 = 500_000_000;
}

/// Where the queues are.
#[derive(Debug)]
enum State {
    /// All are served by the owner.
    Home {
        /// Until when that stays so.
        until_ns: u64,
    },
    /// Some are paused until nothing of them is in flight.
    Leaving {
        since_ns: u64,
        lanes: Vec<Vec<Lendable>>,
    },
    /// Some are served by lanes.
    Out { since_ns: u64 },
}

/// A controller whose queues several threads serve; see the [module](self).
///
/// It is driven as a [`Controller`] is, from one thread, which is the first of
/// those that serve.
pub struct Lanes<M: Parallel, T: Branch, C: Clock + Clone> {
    controller: Controller<M, T, C>,
    posts: Vec<Post<M, T, C>>,
    /// Lanes that are home, each for the post of the same number.
    resting: Vec<Option<Lane<M, T, C>>>,
    state: State,
    policy: LanePolicy,
    /// How long queues stay home the next time.
    settle_ns: u64,
    meter: Meter,
    turns: u32,
    /// Whether a lane came home by itself.
    returned: Arc<AtomicBool>,
}

impl<M, T, C> Lanes<M, T, C>
where
    M: Parallel + Send + 'static,
    T: Branch + Send + 'static,
    C: Clock + Clone + Send + 'static,
{
    /// `controller`, served by the thread that polls it alone.
    pub fn alone(controller: Controller<M, T, C>) -> Self {
        let now_ns = controller.clock().now_ns();
        Self {
            controller,
            posts: Vec::new(),
            resting: Vec::new(),
            state: State::Home { until_ns: 0 },
            policy: LanePolicy::default(),
            settle_ns: 0,
            meter: Meter::new(now_ns),
            turns: 0,
            returned: Arc::default(),
        }
    }

    /// Has `threads` threads more serve queues, as `policy` says. `owner` is the
    /// handle of the worker that polls; `begin` is called first on each thread,
    /// with its number from 1.
    ///
    /// # Errors
    ///
    /// What the system says, where it does not start a thread.
    pub fn with_threads(
        mut self,
        threads: usize,
        policy: LanePolicy,
        owner: &StopHandle,
        begin: &Arc<dyn Fn(usize) + Send + Sync>,
    ) -> std::io::Result<Self> {
        for number in 1..=threads {
            let doorman = Doorman {
                returned: Arc::clone(&self.returned),
                owner: owner.clone(),
            };
            let begin = Arc::clone(begin);
            let begin = Box::new(move || begin(number));
            let name = format!("worker-{number}");
            self.posts.push(Post::start(name, policy, doorman, begin)?);
            self.resting.push(None);
        }
        self.policy = policy;
        self.settle_ns = policy.settle_ns;
        Ok(self)
    }

    /// The controller, to ask it what does not concern queues.
    pub const fn controller(&self) -> &Controller<M, T, C> {
        &self.controller
    }

    /// The controller, whole: all queues are home, and no lane has a part of the
    /// observer or a handle on the medium any more.
    pub fn home(&mut self) -> &mut Controller<M, T, C> {
        if !self.posts.is_empty() {
            self.gather();
            self.resting.fill_with(|| None);
            self.controller.drop_spares();
        }
        &mut self.controller
    }

    /// Whether lanes serve queues just now.
    pub const fn are_out(&self) -> bool {
        matches!(self.state, State::Out { .. })
    }

    /// Whether lanes are to come home now, or one has.
    #[inline]
    fn are_wanted(&mut self) -> bool {
        self.returned.load(Ordering::Relaxed) || self.controller.wants_home()
    }

    /// Has queues leave, where there is more to do than one thread can.
    fn consider(&mut self, now_ns: u64) {
        let busy = self.meter.busy(now_ns);
        self.meter.restart(now_ns);
        let loads = self.controller.loads();
        if busy < self.policy.spread_at || !self.controller.is_steady() {
            return;
        }
        let lanes = plan::spread(loads, self.posts.len() + 1, self.policy.all);
        if lanes.iter().all(Vec::is_empty) {
            return;
        }
        for &what in lanes.iter().flatten() {
            self.controller.pause(what, true);
        }
        self.state = State::Leaving {
            since_ns: now_ns,
            lanes,
        };
    }

    /// Sends the lanes off, once nothing of their queues is in flight.
    fn depart(&mut self, now_ns: u64) {
        let State::Leaving { since_ns, lanes } = &self.state else {
            return;
        };
        let all = lanes.iter().flatten();
        let rests = all.clone().all(|&what| self.controller.is_at_rest(what));
        let is_late = now_ns.saturating_sub(*since_ns) > LanePolicy::REST_NS_MAX;
        if !rests && !is_late {
            return;
        }
        if !rests || !self.controller.is_steady() || self.controller.wants_home() {
            return self.gather();
        }
        let lanes = lanes.clone();
        match self.send(&lanes) {
            Ok(true) => {
                self.state = State::Out { since_ns: now_ns };
                self.meter.restart(now_ns);
            }
            Ok(false) => self.stay(),
            Err(error) => {
                log::warn!("one thread goes on alone: {error}");
                self.stay();
            }
        }
    }

    /// Does without lanes for long.
    fn stay(&mut self) {
        self.settle_ns = LanePolicy::SETTLE_NS_MAX;
        self.gather();
    }

    /// Lends queues to the lanes, and sends these off. False where they cannot be.
    fn send(&mut self, lanes: &[Vec<Lendable>]) -> std::io::Result<bool> {
        for (resting, queues) in self.resting.iter_mut().zip(lanes) {
            if queues.is_empty() {
                continue;
            }
            let lane = match resting {
                Some(lane) => lane,
                None => resting.insert(Box::new(self.controller.lane()?)),
            };
            if !self.controller.brief(lane) {
                return Ok(false);
            }
        }
        let count = lanes.iter().filter(|queues| !queues.is_empty()).count();
        self.controller.keep_spares(count)?;
        for ((post, resting), queues) in self.posts.iter_mut().zip(&mut self.resting).zip(lanes) {
            let Some(mut lane) = resting.take_if(|_| !queues.is_empty()) else {
                continue;
            };
            for &what in queues {
                self.controller.lend(what, &mut lane);
            }
            post.send(lane);
        }
        Ok(true)
    }

    /// Has lanes come home where there is little to do, or much for one of them.
    fn look_at_lanes(&mut self, now_ns: u64, since_ns: u64) {
        let own = self.meter.busy(now_ns);
        self.meter.restart(now_ns);
        let others = self.posts.iter().filter(|post| post.out).map(Post::busy);
        let (least, most, total) = others.fold((own, own, own), |(least, most, total), busy| {
            (least.min(busy), most.max(busy), total + busy)
        });
        let stayed = now_ns.saturating_sub(since_ns) >= LanePolicy::STAY_NS;
        let is_uneven = most > 900 && most - least > LanePolicy::UNEVEN;
        if total < self.policy.gather_at || stayed && !self.policy.all && is_uneven {
            self.gather();
        }
    }

    /// Looks after where the queues are, after a turn that has done so much.
    #[inline]
    fn attend(&mut self, done: u32) {
        if self.posts.is_empty() {
            return;
        }
        let clock = self.controller.clock();
        self.meter.turn(done, || clock.now_ns());
        if matches!(self.state, State::Leaving { .. }) {
            let now_ns = self.controller.clock().now_ns();
            return self.depart(now_ns);
        }
        self.turns = self.turns.wrapping_add(1);
        if !self.turns.is_multiple_of(self.policy.turns_a_look) {
            return;
        }
        let now_ns = self.controller.clock().now_ns();
        if self.meter.elapsed_ns(now_ns) < self.policy.window_ns {
            return;
        }
        match self.state {
            State::Home { until_ns } if now_ns >= until_ns => self.consider(now_ns),
            State::Out { since_ns } => self.look_at_lanes(now_ns, since_ns),
            State::Home { .. } | State::Leaving { .. } => {}
        }
    }
}

impl<M: Parallel, T: Branch, C: Clock + Clone> Lanes<M, T, C> {
    /// Takes all queues back.
    fn gather(&mut self) {
        let now_ns = self.controller.clock().now_ns();
        let since_ns = match &self.state {
            State::Home { .. } => return,
            State::Leaving { since_ns, lanes } => {
                for &what in lanes.iter().flatten() {
                    self.controller.pause(what, false);
                }
                *since_ns
            }
            State::Out { since_ns } => {
                let since_ns = *since_ns;
                self.receive();
                since_ns
            }
        };
        // Who is called home again and again had better stay.
        self.settle_ns = if now_ns.saturating_sub(since_ns) < LanePolicy::SHORT_NS {
            (self.settle_ns * 2).min(LanePolicy::SETTLE_NS_MAX)
        } else {
            self.policy.settle_ns
        };
        self.state = State::Home {
            until_ns: now_ns.saturating_add(self.settle_ns),
        };
        self.meter.restart(now_ns);
    }

    fn receive(&mut self) {
        self.posts.iter().for_each(Post::recall);
        for (post, resting) in self.posts.iter_mut().zip(&mut self.resting) {
            while post.out {
                let Some(mut lane) = post.receive() else {
                    // Lanes may wait for what this thread has asked of the medium.
                    self.controller.poll_handles();
                    continue;
                };
                self.controller.take_back(&mut lane);
                *resting = Some(lane);
            }
        }
        self.returned.store(false, Ordering::Relaxed);
        self.controller.become_whole();
    }
}

/// All queues come home, so that the controller ends as a whole.
impl<M: Parallel, T: Branch, C: Clock + Clone> Drop for Lanes<M, T, C> {
    fn drop(&mut self) {
        self.gather();
    }
}

impl<M: Parallel, T: Branch, C: Clock + Clone> std::fmt::Debug for Lanes<M, T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes")
            .field("controller", &self.controller)
            .field("threads", &self.posts.len())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
