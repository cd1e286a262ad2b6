//! What a medium logs of commands that fail.
//!
//! A disk that is full or broken fails every command of a guest that does not give
//! up. So of each kind of failure, one line is logged at once, and one a minute as
//! long as there are more, with their number.

use std::io;

use traces::{Clock, MonotonicClock};

use super::Extent;

/// How long a kind of failure is not told of again, nanoseconds.
const SILENCE_NS: u64 = 60_000_000_000;
/// How many kinds are told apart: there are few actions, and few errors of each.
const KINDS_MAX: usize = 32;

/// Failures that look the same.
#[derive(Debug)]
struct Kind {
    action: &'static str,
    error: io::ErrorKind,
    /// When it was told of last.
    told_ns: u64,
    /// How many there were since.
    untold: u64,
}

/// What was told of a medium's failures.
#[derive(Debug)]
pub(super) struct Complaints<C: Clock = MonotonicClock> {
    /// The medium, to print.
    name: String,
    clock: C,
    kinds: Vec<Kind>,
}

impl Complaints {
    /// Of the medium called `name`.
    pub(super) fn new(name: &str) -> Self {
        Self::by(MonotonicClock::start(), name)
    }
}

impl<C: Clock> Complaints<C> {
    fn by(clock: C, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            clock,
            kinds: Vec::new(),
        }
    }

    /// Logs that `action` failed for `extent`, unless failures of that kind were told
    /// of just now.
    pub(super) fn tell(&mut self, action: &'static str, extent: Extent, error: &io::Error) {
        if let Some(more) = self.is_due(action, error.kind()) {
            let Extent { bytes, offset } = extent;
            let way_out = way_out(error.kind());
            log::error!(
                "{}: cannot {action} {bytes} bytes at offset {offset}: {error}; {way_out}{more}",
                self.name
            );
        }
    }

    /// Whether a failure is to be told of, and what with: how many were not.
    fn is_due(&mut self, action: &'static str, error: io::ErrorKind) -> Option<String> {
        let now_ns = self.clock.now_ns();
        let known = self
            .kinds
            .iter_mut()
            .find(|kind| kind.action == action && kind.error == error);
        let Some(kind) = known else {
            if self.kinds.len() >= KINDS_MAX {
                return None;
            }
            self.kinds.push(Kind {
                action,
                error,
                told_ns: now_ns,
                untold: 0,
            });
            return Some(String::new());
        };
        if now_ns.saturating_sub(kind.told_ns) < SILENCE_NS {
            kind.untold = kind.untold.saturating_add(1);
            return None;
        }
        kind.told_ns = now_ns;
        let untold = std::mem::take(&mut kind.untold);
        Some(if untold == 0 {
            String::new()
        } else {
            format!(" (and {untold} more like this since it was last told)")
        })
    }
}

impl<C: Clock> Drop for Complaints<C> {
    /// Logs how many failures were not told of.
    fn drop(&mut self) {
        for kind in self.kinds.iter().filter(|kind| kind.untold > 0) {
            let (name, action, error) = (&self.name, kind.action, kind.error);
            let untold = kind.untold;
            log::error!("{name}: cannot {action}: {error}, {untold} more times");
        }
    }
}

/// What a person can do.
const fn way_out(error: io::ErrorKind) -> &'static str {
    match error {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room there, and writes succeed again"
        }
        io::ErrorKind::FileTooLarge => "raise the limit on the size of files (ulimit -f)",
        io::ErrorKind::UnexpectedEof => {
            "it is shorter than it was: bring it back to its size (truncate -s)"
        }
        _ => "see the system's log (dmesg) for why",
    }
}

#[cfg(test)]
mod tests {
    use traces::VirtualClock;

    use super::*;

    #[test]
    fn each_kind_is_told_once_a_minute_with_the_number_of_the_others() {
        let clock = VirtualClock::new();
        let mut told = Complaints::by(clock.clone(), "disk");
        let full = io::ErrorKind::StorageFull;
        let other = io::ErrorKind::Other;
        assert_eq!(told.is_due("write", full), Some(String::new()));
        assert_eq!(told.is_due("write", full), None);
        assert_eq!(told.is_due("write", other), Some(String::new()));
        assert_eq!(told.is_due("read", other), Some(String::new()));
        clock.wait_until(SILENCE_NS - 1);
        assert_eq!(told.is_due("write", full), None);
        clock.wait_until(SILENCE_NS);
        let more = told.is_due("write", full).unwrap();
        assert!(more.contains("2 more"), "{more}");
        assert_eq!(told.is_due("write", full), None);
        clock.wait_until(2 * SILENCE_NS);
        assert_eq!(told.is_due("read", other), Some(String::new()));
        let untold: Vec<_> = told.kinds.iter().map(|kind| kind.untold).collect();
        assert_eq!(untold, [1, 0, 0]);
    }
}
