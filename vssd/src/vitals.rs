//! What a drive feels of its work: how warm it is, how busy, and how worn.
//!
//! ```text
//!   Controller::poll --every 64th--> Device::look --+--> busy time
//!                                     (the clock)   +--> temperature --> warnings, events
//!                                                   +--> wear ---------> warnings, events
//! ```
//!
//! Nothing of it is on the way of a command: a look compares the counters of
//! [`Health`] with those of the look before. What the time between two looks was
//! like follows from that, so that a drive in virtual time is warm to the same
//! millikelvin in every run.

use nvme::{AsyncEvent, HostThermalManagement, SmartLog};
use traces::{Clock, Tap};

use crate::ControllerConfig;
use crate::device::Device;
use crate::health::Health;

/// Polls from one look at the clock to the next.
const POLLS_PER_LOOK: u8 = 64;
/// The shortest stretch of time that is felt, nanoseconds: shorter ones would be
/// lost in the rounding.
const STRETCH_NS: u64 = 10_000_000;
/// The most of a stretch that counts as busy where a command was served in it,
/// but none is outstanding at both of its ends, nanoseconds.
const BUSY_NS_MAX: u64 = 100_000_000;
/// The time constant of warming up and of cooling down, nanoseconds.
const WARM_UP_NS: u64 = 30_000_000_000;
/// What a drive is capable of at full load, in bytes and commands in a second.
const FULL_BYTES: u64 = 3_500_000_000;
const FULL_COMMANDS: u64 = 700_000;
/// Parts of full load.
const PPM: u64 = 1_000_000;

/// What was felt so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    polls: u8,
    /// When the last stretch ended, nanoseconds of the clock.
    since_ns: u64,
    /// The work that was done by then.
    done: Work,
    /// Whether a command was outstanding then.
    outstanding: bool,
    /// The temperature, millionths of a kelvin.
    micro_kelvin: u64,
    /// The level of host controlled thermal management, 0 to 2.
    throttle: usize,
    /// The critical warnings that were there at the last look.
    warnings: u8,
    /// Those of the endurance group that the host wants to be told of.
    group_warnings: u8,
    /// Whether the endurance group has an event that the host has not read of.
    pub(crate) group_event: bool,
}

/// What a drive did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) bytes: u64,
    pub(crate) commands: u64,
}

impl Work {
    /// How much of full load it takes to go from `before` to here in `ns`
    /// nanoseconds, parts of a million.
    fn load_ppm(self, before: Self, ns: u64) -> u64 {
        const SECOND_NS: u128 = 1_000_000_000;
        let part = |done: u64, full: u64| {
            let whole = u128::from(full).saturating_mul(u128::from(ns.max(1)));
            u128::from(done)
                .saturating_mul(SECOND_NS)
                .saturating_mul(PPM.into())
                / whole
        };
        let bytes = part(self.bytes.saturating_sub(before.bytes), FULL_BYTES);
        let commands = part(self.commands.saturating_sub(before.commands), FULL_COMMANDS);
        u64::try_from(bytes.max(commands)).unwrap_or(PPM).min(PPM)
    }
}

impl Vitals {
    /// Those of a drive that has done nothing, at `now_ns`.
    pub(crate) fn new(config: &ControllerConfig, now_ns: u64) -> Self {
        Self {
            polls: 0,
            since_ns: now_ns,
            done: Work::default(),
            outstanding: false,
            micro_kelvin: u64::from(config.ambient_kelvin).saturating_mul(PPM),
            throttle: 0,
            warnings: 0,
            group_warnings: 0,
            group_event: false,
        }
    }

    /// Goes on from the counters of a drive that was used before.
    pub(crate) fn resume(&mut self, health: &Health) {
        self.done = health.work();
    }

    /// The composite temperature, kelvin.
    pub(crate) fn kelvin(&self) -> u16 {
        let rounded = self.micro_kelvin.saturating_add(PPM / 2) / PPM;
        u16::try_from(rounded).unwrap_or(u16::MAX)
    }

    /// Whether it is time to look at the clock.
    #[inline]
    const fn is_due(&mut self) -> bool {
        self.polls = self.polls.wrapping_add(1);
        self.polls.is_multiple_of(POLLS_PER_LOOK)
    }

    /// The stretch from the last look to `now_ns` is over: what it was like goes
    /// into `health`. `limits` are the temperatures that the host set.
    fn pass(
        &mut self,
        config: &ControllerConfig,
        limits: HostThermalManagement,
        health: &mut Health,
        now_ns: u64,
        outstanding: bool,
    ) {
        let ns = now_ns.saturating_sub(self.since_ns);
        if ns < STRETCH_NS {
            return;
        }
        let done = health.work();
        let busy_ns = if outstanding && self.outstanding {
            ns
        } else if outstanding || done != self.done {
            ns.min(BUSY_NS_MAX)
        } else {
            0
        };
        health.busy_ns = health.busy_ns.saturating_add(busy_ns);
        self.count_temperature(config, health, ns);
        self.warm(config, done.load_ppm(self.done, ns), ns);
        self.throttle(limits, health);
        self.since_ns = now_ns;
        self.done = done;
        self.outstanding = outstanding;
    }

    /// Goes some of the way to the temperature that the load leads to, and never
    /// beyond it, however long the stretch was.
    fn warm(&mut self, config: &ControllerConfig, load_ppm: u64, ns: u64) {
        let ambient = u64::from(config.ambient_kelvin).saturating_mul(PPM);
        let rise = u64::from(config.load_kelvin).saturating_mul(load_ppm);
        let goal = ambient.saturating_add(rise);
        let way = u128::from(goal.abs_diff(self.micro_kelvin)).saturating_mul(ns.into());
        let step = way / u128::from(WARM_UP_NS.saturating_add(ns));
        let step = u64::try_from(step).unwrap_or(u64::MAX);
        self.micro_kelvin = if goal > self.micro_kelvin {
            self.micro_kelvin.saturating_add(step)
        } else {
            self.micro_kelvin.saturating_sub(step)
        };
    }

    /// Counts a stretch at the temperature and the level that it began with.
    fn count_temperature(&self, config: &ControllerConfig, health: &mut Health, ns: u64) {
        let kelvin = self.kelvin();
        let counter = if kelvin >= config.critical_kelvin {
            Some(&mut health.critical_ns)
        } else if kelvin >= config.warning_kelvin {
            Some(&mut health.warm_ns)
        } else {
            None
        };
        if let Some(counter) = counter {
            *counter = counter.saturating_add(ns);
        }
        if let Some(counter) = self
            .throttle
            .checked_sub(1)
            .and_then(|level| health.throttled_ns.get_mut(level))
        {
            *counter = counter.saturating_add(ns);
        }
    }

    /// Enters or leaves a level of host controlled thermal management
    /// (`NVMe Base 2.1 §5.1.25.1.9`). Commands do not get slower by it.
    fn throttle(&mut self, limits: HostThermalManagement, health: &mut Health) {
        let kelvin = self.kelvin();
        let over = |limit: u16| limit > 0 && kelvin >= limit;
        let level = if over(limits.tmt2()) {
            2
        } else {
            usize::from(over(limits.tmt1()))
        };
        if level > self.throttle
            && let Some(counter) = level
                .checked_sub(1)
                .and_then(|level| health.throttles.get_mut(level))
        {
            *counter = counter.saturating_add(1);
        }
        self.throttle = level;
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// To be called with every poll; looks at the clock now and then.
    #[inline]
    pub(crate) fn feel(&mut self) {
        if self.vitals.is_due() {
            self.look();
        }
    }

    /// Looks at the clock, and at what has become of the drive since.
    #[cold]
    pub(crate) fn look(&mut self) {
        let now_ns = self.clock.now_ns();
        let outstanding = self.is_busy();
        let limits = self.features.thermal_management();
        self.vitals
            .pass(&self.config, limits, &mut self.health, now_ns, outstanding);
        self.heed_warnings();
        self.alert_of_lost_blocks(now_ns);
    }

    /// The critical warnings of the SMART log, as things are.
    pub(crate) fn warnings(&self) -> u8 {
        self.features.warnings(self.vitals.kelvin()) | self.group_warnings()
    }

    /// The critical warnings of the endurance group, bit for bit those of the
    /// SMART log.
    pub(crate) fn group_warnings(&self) -> u8 {
        let read_only = if self.namespaces.media().read_only {
            SmartLog::WARNING_READ_ONLY
        } else {
            0
        };
        self.health.wear(self.config.endurance_bytes).warnings() | read_only
    }

    /// Takes the warnings that there are as told.
    pub(crate) fn settle_warnings(&mut self) {
        self.vitals.warnings = self.warnings();
    }

    /// Tells of critical warnings that were not there before, as far as the host
    /// wants it.
    pub(crate) fn heed_warnings(&mut self) {
        let warnings = self.warnings();
        let wanted = self.features.wanted_events();
        let new = warnings & !self.vitals.warnings & wanted.critical_warnings();
        self.vitals.warnings = warnings;
        for (bit, event) in [
            (SmartLog::WARNING_SPARE, AsyncEvent::SPARE_BELOW_THRESHOLD),
            (
                SmartLog::WARNING_TEMPERATURE,
                AsyncEvent::TEMPERATURE_THRESHOLD,
            ),
            (SmartLog::WARNING_DEGRADED, AsyncEvent::RELIABILITY),
        ] {
            if new & bit != 0 {
                self.events.raise(event);
            }
        }
        // A drive without groups has no feature to want them by.
        let group = self.group_warnings() & self.features.endurance_events();
        if group & !self.vitals.group_warnings != 0 {
            self.vitals.group_event = true;
            if wanted.endurance_group() {
                self.events
                    .raise(AsyncEvent::ENDURANCE_GROUP_AGGREGATE_CHANGED);
            }
        }
        self.vitals.group_warnings = group;
    }
}

#[cfg(test)]
mod tests;
