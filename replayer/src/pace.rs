//! When commands are due.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// How fast a trace is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Pace {
    /// As it was recorded.
    #[default]
    Recorded,
    /// This many times faster: 2.0 takes half the time, 0.5 twice the time.
    /// Above 0 and finite; what is not counts as 1.
    Scaled(f64),
    /// Recorded times do not count: as fast as the queues' depths allow.
    Max,
    /// Recorded times do not count: [`crate::ReplayOptions::depth`] commands
    /// are in flight, over all queues, from the first to the last.
    Closed,
    /// Each command waits for the completion that it waited for when it was
    /// recorded, and then for as long as its host took then.
    Think,
}

impl Pace {
    /// Whether commands have a time at which they are due.
    pub(crate) const fn has_deadlines(self) -> bool {
        match self {
            Self::Recorded | Self::Scaled(_) | Self::Think => true,
            Self::Max | Self::Closed => false,
        }
    }
}

/// A text that is no pace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a pace: say `recorded`, `max`, `closed`, `think`, or how many times faster, \
     as in `2x` or `0.5x`"
)]
pub struct PaceError {
    text: String,
}

/// Factors beyond these are slips of the finger.
const FACTORS: std::ops::RangeInclusive<f64> = 0.000_1..=10_000.0;

impl FromStr for Pace {
    type Err = PaceError;

    fn from_str(text: &str) -> Result<Self, PaceError> {
        let error = || PaceError {
            text: text.to_owned(),
        };
        let lower = text.trim().to_ascii_lowercase();
        match lower.as_str() {
            "recorded" => return Ok(Self::Recorded),
            "max" => return Ok(Self::Max),
            "closed" => return Ok(Self::Closed),
            "think" => return Ok(Self::Think),
            _ => {}
        }
        let number = lower.strip_suffix(['x', '×']).ok_or_else(error)?;
        match number.trim_end().parse::<f64>() {
            Ok(factor) if FACTORS.contains(&factor) => Ok(Self::Scaled(factor)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded => f.write_str("recorded"),
            Self::Scaled(factor) => write!(f, "{factor}x"),
            Self::Max => f.write_str("max"),
            Self::Closed => f.write_str("closed"),
            Self::Think => f.write_str("think"),
        }
    }
}

/// Turns recorded times into deadlines.
///
/// Deadlines are absolute: each follows from the start of the replay and the
/// command's own recorded time, so that lateness never adds up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    start_ns: u64,
    /// The recorded time that the start stands for.
    origin_ns: u64,
    /// The latest deadline so far.
    latest_ns: u64,
}

impl Schedule {
    /// A schedule on which a command recorded at `origin_ns` is due at
    /// `start_ns`.
    pub(crate) const fn new(pace: Pace, start_ns: u64, origin_ns: u64) -> Self {
        Self {
            pace,
            start_ns,
            origin_ns,
            latest_ns: start_ns,
        }
    }

    /// When the command that was recorded at `recorded_ns` is due, on the
    /// replay's clock. Commands stay in order: a recorded time that goes back
    /// counts as the one before.
    pub(crate) fn deadline_ns(&mut self, recorded_ns: u64) -> u64 {
        let offset_ns = recorded_ns.saturating_sub(self.origin_ns);
        let offset_ns = match self.pace {
            Pace::Recorded | Pace::Think => offset_ns,
            Pace::Scaled(factor) => divide(offset_ns, factor),
            Pace::Max | Pace::Closed => 0,
        };
        self.latest_ns = self.latest_ns.max(self.start_ns.saturating_add(offset_ns));
        self.latest_ns
    }
}

/// Never more than so many commands a second: each goes out at least so long
/// after the one before. What was missed is not caught up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cap {
    interval_ns: u64,
    next_ns: u64,
}

impl Cap {
    /// No more than `iops` a second; none is no limit.
    pub(crate) fn new(iops: Option<NonZeroU32>) -> Self {
        const SECOND_NS: u64 = 1_000_000_000;
        Self {
            interval_ns: iops.map_or(0, |iops| SECOND_NS.div_ceil(u64::from(iops.get()))),
            next_ns: 0,
        }
    }

    pub(crate) const fn is_on(self) -> bool {
        self.interval_ns > 0
    }

    /// When the next may go.
    pub(crate) const fn next_ns(self) -> u64 {
        self.next_ns
    }

    /// One goes at `now_ns`.
    pub(crate) const fn charge(&mut self, now_ns: u64) {
        if self.is_on() {
            self.next_ns = now_ns.saturating_add(self.interval_ns);
        }
    }
}

/// `ns / factor`, to the nearest nanosecond.
pub(crate) fn divide(ns: u64, factor: f64) -> u64 {
    let factor = if factor.is_finite() && factor > 0.0 {
        factor
    } else {
        1.0
    };
    let seconds = Duration::from_nanos(ns).as_secs_f64() / factor;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_nanos()).ok())
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paces_read_as_they_are_written() {
        for (text, pace) in [
            ("recorded", Pace::Recorded),
            (" MAX ", Pace::Max),
            ("2x", Pace::Scaled(2.0)),
            ("0.5X", Pace::Scaled(0.5)),
            ("10×", Pace::Scaled(10.0)),
            ("closed", Pace::Closed),
            ("Think", Pace::Think),
        ] {
            assert_eq!(text.parse(), Ok(pace), "{text}");
            assert_eq!(pace.to_string().parse(), Ok(pace), "{text}");
        }
    }

    #[test]
    fn what_is_no_pace_is_refused_with_the_way_out() {
        for text in [
            "", "fast", "2", "x", "0x", "-1x", "nanx", "infx", "1e9x", "2xx",
        ] {
            let error = text.parse::<Pace>().unwrap_err().to_string();
            assert!(error.contains("`recorded`, `max`"), "{text}: {error}");
            assert!(error.contains(&format!("{text:?}")), "{text}: {error}");
        }
    }

    #[test]
    fn deadlines_are_exact_after_an_hour_and_never_go_back() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let mut recorded = Schedule::new(Pace::Recorded, 7, 1_000);
        assert_eq!(recorded.deadline_ns(1_000), 7);
        assert_eq!(recorded.deadline_ns(1_000 + HOUR_NS + 1), 7 + HOUR_NS + 1);
        assert_eq!(recorded.deadline_ns(2_000), 7 + HOUR_NS + 1);
        let mut twice = Schedule::new(Pace::Scaled(2.0), 0, 0);
        assert_eq!(twice.deadline_ns(HOUR_NS + 2), HOUR_NS / 2 + 1);
        let mut third = Schedule::new(Pace::Scaled(3.0), 0, 0);
        assert_eq!(third.deadline_ns(HOUR_NS + 3), HOUR_NS / 3 + 1);
        let mut slow = Schedule::new(Pace::Scaled(0.0001), 0, 0);
        assert_eq!(slow.deadline_ns(u64::MAX), u64::MAX);
        let mut max = Schedule::new(Pace::Max, 5, 0);
        assert_eq!(max.deadline_ns(HOUR_NS), 5);
    }
}
