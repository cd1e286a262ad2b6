//! What the machine's own clock is worth.

use serde::Serialize;
use traces::Clock;

const SAMPLES: usize = 100;
/// Each wait is so long: 20 ms in all.
const WAIT_NS: u64 = 200_000;

/// How late the machine itself wakes up, with nothing to do but to wait:
/// what a pacing error is to be judged by. Nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TimerJitter {
    /// The median.
    pub p50_ns: u64,
    /// 99 in 100 were at most so late.
    pub p99_ns: u64,
    /// The latest.
    pub max_ns: u64,
}

impl TimerJitter {
    /// Waits a hundred times for 200 us.
    #[must_use]
    pub fn measure(clock: &impl Clock) -> Self {
        let mut late_ns = [0_u64; SAMPLES];
        for late_ns in &mut late_ns {
            let due_ns = clock.now_ns().saturating_add(WAIT_NS);
            clock.wait_until(due_ns);
            *late_ns = clock.now_ns().saturating_sub(due_ns);
        }
        late_ns.sort_unstable();
        let [.., below, max_ns] = late_ns;
        let p50_ns = late_ns.get(SAMPLES / 2).copied().unwrap_or(max_ns);
        Self {
            p50_ns,
            p99_ns: below,
            max_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Wakes up later each time.
    struct Tired(Cell<u64>, Cell<u64>);

    impl Clock for Tired {
        fn now_ns(&self) -> u64 {
            self.0.get()
        }

        fn wait_until(&self, deadline_ns: u64) {
            self.1.set(self.1.get() + 1);
            self.0.set(deadline_ns + self.1.get());
        }
    }

    #[test]
    fn it_is_how_late_waits_end() {
        let jitter = TimerJitter::measure(&Tired(Cell::new(5), Cell::new(0)));
        let (p50, p99, max) = (jitter.p50_ns, jitter.p99_ns, jitter.max_ns);
        assert_eq!((p50, p99, max), (51, 99, 100));
    }
}
