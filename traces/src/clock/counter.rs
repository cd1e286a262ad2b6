//! The system's monotonic clock, read at the price of the processor's counter.
//!
//! ```text
//!   system clock   |--------------|--------------|----    read every 100 us
//!   counter        |..............|..............|....    tells what passed since
//! ```
//!
//! To ask the system takes longer than to read the counter, and a device asks for
//! each command. How fast the counter runs is seen from the
//! system's clock, over and over, so that the two do not part; where they have
//! parted by a microsecond (the thread came to a processor whose counter stands
//! elsewhere, the machine slept), the counter is left alone until its rate is
//! known anew. Each thread has readings of its own.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Instant;

/// How long a reading of the system's clock counts, nanoseconds.
const SPAN_NS: u64 = 100_000;
/// The rate is known after this long, nanoseconds: a reading is good to some tens
/// of them.
const RATE_AFTER_NS: u64 = 10_000_000;
/// It is measured over this long from then on, nanoseconds.
const RATE_OVER_NS: u64 = 1_000_000_000;
/// A reading of both counts where it took fewer ticks: it is wrong by half of
/// them at most.
const TICKS_A_READING: u64 = 5_000;
/// A reading that took fewer is as good as any: nobody else ran meanwhile.
const TICKS_A_GOOD_READING: u64 = 400;
/// Tries to get such a reading.
const READINGS: u32 = 4;
/// By how much the two may part between two readings, nanoseconds.
const PARTED_NS: u64 = 1_000;
/// The rate is nanoseconds a tick times two to this.
const RATE_BITS: u32 = 32;

/// Nanoseconds since the process first asked, which do not go back for one thread.
#[inline]
pub(super) fn now_ns() -> u64 {
    READING.with(Reading::now_ns)
}

thread_local! {
    static READING: Reading = const { Reading::new() };
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
struct Moment {
    ticks: u64,
    ns: u64,
}

/// What a thread has read.
struct Reading {
    last: Cell<Moment>,
    /// Ticks for which that counts; 0 while the rate is not known.
    span: Cell<u64>,
    rate: Cell<u64>,
    /// Since when the rate is measured; none before the first reading.
    since: Cell<Option<Moment>>,
    /// What was answered last.
    answered_ns: Cell<u64>,
}

impl Reading {
    const fn new() -> Self {
        Self {
            last: Cell::new(Moment { ticks: 0, ns: 0 }),
            span: Cell::new(0),
            rate: Cell::new(0),
            since: Cell::new(None),
            answered_ns: Cell::new(0),
        }
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        let Some(ticks) = ticks() else {
            return system_ns();
        };
        let last = self.last.get();
        // A counter that stands before the last reading has passed by very much.
        let passed = ticks.wrapping_sub(last.ticks);
        let ns = if passed < self.span.get() {
            last.ns + self.scale(passed)
        } else {
            self.read()
        };
        let ns = ns.max(self.answered_ns.get());
        self.answered_ns.set(ns);
        ns
    }

    /// Nanoseconds that so many ticks take, fewer than a span has.
    #[inline]
    fn scale(&self, ticks: u64) -> u64 {
        (ticks * self.rate.get()) >> RATE_BITS
    }

    /// Asks the system, and goes on from there.
    #[cold]
    fn read(&self) -> u64 {
        let mut best = (TICKS_A_READING, None);
        for _ in 0..READINGS {
            let (Some(before), ns, Some(after)) = (ticks(), system_ns(), ticks()) else {
                break;
            };
            let took = after.wrapping_sub(before);
            if took < best.0 {
                let ticks = before.wrapping_add(took / 2);
                best = (took, Some(Moment { ticks, ns }));
            }
            if took < TICKS_A_GOOD_READING {
                break;
            }
        }
        if let Some(moment) = best.1 {
            self.note(moment);
        }
        system_ns()
    }

    /// Takes a reading of both, and what it tells of the rate.
    fn note(&self, now: Moment) {
        let parted = self.span.get() > 0 && self.has_parted(now);
        self.last.set(now);
        let since = self.since.get().filter(|_| !parted);
        let rate = since.and_then(|since| Some((rate(since, now)?, now.ns - since.ns)));
        if let Some((rate, over_ns)) = rate {
            self.rate.set(rate);
            self.span.set((SPAN_NS << RATE_BITS) / rate);
            if over_ns >= RATE_OVER_NS {
                self.since.set(Some(now));
            }
        } else if parted {
            self.span.set(0);
        }
        if since.is_none() {
            self.since.set(Some(now));
        }
    }

    /// Whether the counter does not say what the system says.
    fn has_parted(&self, now: Moment) -> bool {
        let last = self.last.get();
        let passed = u128::from(now.ticks.wrapping_sub(last.ticks));
        let told = (passed * u128::from(self.rate.get())) >> RATE_BITS;
        let passed_ns = now.ns.saturating_sub(last.ns);
        // The clocks of a machine may differ by a thousandth while it sets its own.
        told.abs_diff(passed_ns.into()) > u128::from(PARTED_NS + passed_ns / 1_000)
    }
}

/// Nanoseconds a tick, times a power of two; none where it is too early to tell,
/// or the counter has not run.
fn rate(since: Moment, now: Moment) -> Option<u64> {
    let ns = now.ns.checked_sub(since.ns)?;
    if ns < RATE_AFTER_NS {
        return None;
    }
    let ticks = u128::from(now.ticks.wrapping_sub(since.ticks));
    let rate = (u128::from(ns) << RATE_BITS).checked_div(ticks)?;
    // Between 16 GHz and 50 MHz: a span of ticks times the rate has 64 bits.
    u64::try_from(rate)
        .ok()
        .filter(|rate| (1 << (RATE_BITS - 4)..20 << RATE_BITS).contains(rate))
}

/// What the system says.
#[expect(clippy::disallowed_methods, reason = "this is the real clock")]
fn system_ns() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = Instant::now().saturating_duration_since(*ORIGIN);
    since
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(since.subsec_nanos()))
}

/// What the processor's counter says; none where it has none that runs on at one
/// rate.
#[inline]
fn ticks() -> Option<u64> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    return tsc::is_steady().then(tsc::read);
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    return None;
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod tsc {
    #![expect(unsafe_code, reason = "the counter is read by an instruction")]

    use std::arch::x86_64::{__cpuid, _rdtsc};
    use std::sync::LazyLock;

    /// Leaf and bit of CPUID: the counter runs at one rate, whatever the processor
    /// does.
    const POWER: u32 = 0x8000_0007;
    const INVARIANT_TSC: u32 = 1 << 8;
    /// The leaf that tells how many such there are.
    const LEAVES: u32 = 0x8000_0000;

    static IS_STEADY: LazyLock<bool> =
        LazyLock::new(|| __cpuid(LEAVES).eax >= POWER && __cpuid(POWER).edx & INVARIANT_TSC != 0);

    #[inline]
    pub(super) fn is_steady() -> bool {
        *IS_STEADY
    }

    #[inline]
    pub(super) fn read() -> u64 {
        // SAFETY: every processor of this architecture has the instruction, and
        // Linux lets every process use it.
        unsafe { _rdtsc() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Moment, PARTED_NS, Reading, SPAN_NS, now_ns, system_ns};

    /// What the system says before and after bounds it, but for the error of a
    /// reading.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the clock is what is tested")]
    fn it_says_what_the_system_says() {
        const ERROR_NS: u64 = 100;
        // Where each of several readings was disturbed.
        const ERROR_NS_MAX: u64 = 3_000;
        let (mut asked, mut wrong, end_ns) = (0_u64, 0_u64, system_ns() + 200_000_000);
        let mut last = 0;
        while last < end_ns {
            let before = system_ns();
            let told = now_ns();
            let after = system_ns();
            let error_ns = before.saturating_sub(told).max(told.saturating_sub(after));
            assert!(error_ns <= ERROR_NS_MAX, "{before} {told} {after}");
            assert!(told >= last, "it goes back: {last} {told}");
            last = told;
            asked += 1;
            wrong += u64::from(error_ns > ERROR_NS);
            if asked.is_multiple_of(100_000) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        assert!(
            wrong * 20 < asked,
            "{wrong} of {asked} by more than {ERROR_NS} ns"
        );
    }

    /// A counter of 2 GHz that is seen every 90 us.
    fn run(reading: &Reading, from: Moment, ns: u64) -> Moment {
        let mut now = from;
        while now.ns < from.ns + ns {
            now.ns += SPAN_NS * 9 / 10;
            now.ticks += SPAN_NS * 9 / 10 * 2;
            reading.note(now);
        }
        now
    }

    #[test]
    fn the_rate_is_seen_from_the_system_and_lost_where_the_counter_jumps() {
        let reading = Reading::new();
        let start = Moment { ticks: 7, ns: 3 };
        let early = run(&reading, start, 9_000_000);
        assert_eq!(reading.span.get(), 0, "too early to tell");
        let mut now = run(&reading, early, 5_000_000_000);
        assert_eq!(reading.span.get(), 2 * SPAN_NS);
        assert_eq!(reading.scale(2_000), 1_000);
        // Less than that is how exactly a reading is made.
        now.ticks += PARTED_NS;
        now = run(&reading, now, SPAN_NS);
        assert!(reading.span.get() > 0);
        // Another processor's counter, or the machine has slept.
        for jump in [10_000, 0_u64.wrapping_sub(1_000_000_000)] {
            now.ticks = now.ticks.wrapping_add(jump);
            now = run(&reading, now, 1);
            assert_eq!(reading.span.get(), 0, "it jumped by {jump}");
            now = run(&reading, now, 20_000_000);
            assert!(reading.span.get() > 0, "the rate is known again");
            assert_eq!(reading.scale(2_000), 1_000);
        }
    }
}
