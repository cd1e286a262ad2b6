//! How many commands should have been issued by now.

use super::options::Iops;

/// A rate over time: tokens that come up as time passes.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    /// From the start: second, commands a second from there on or towards the
    /// next point, tokens by then.
    points: Vec<Point>,
    /// The point before now; time only goes on.
    at: usize,
    /// Tokens that were given up: a device that was too slow for a while is
    /// not made to catch up for ever.
    forgiven: u64,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    second: f64,
    rate: f64,
    tokens: f64,
}

/// More than so many seconds' worth of tokens are not saved up.
const SAVED_SECONDS: f64 = 1.0;

impl Rate {
    pub(super) fn new(iops: &Iops) -> Result<Self, String> {
        let written = match iops {
            Iops::Fixed(rate) => vec![(0.0, *rate)],
            Iops::Ramp(points) => points.clone(),
        };
        let mut points: Vec<Point> = Vec::with_capacity(written.len() + 1);
        for (second, rate) in written {
            if !(rate.is_finite() && rate >= 0.0 && second.is_finite() && second >= 0.0) {
                return Err(format!("{rate} a second at {second} s is no rate"));
            }
            let Some(last) = points.last().copied() else {
                points.push(Point {
                    second: 0.0,
                    rate,
                    tokens: 0.0,
                });
                if second > 0.0 {
                    points.push(Point {
                        second,
                        rate,
                        tokens: rate * second,
                    });
                }
                continue;
            };
            let length = second - last.second;
            if length <= 0.0 {
                return Err(format!("{second} s does not come after {} s", last.second));
            }
            let tokens = last.tokens + length * f64::midpoint(last.rate, rate);
            points.push(Point {
                second,
                rate,
                tokens,
            });
        }
        match points.last() {
            None => Err("it has no points: write [[second, commands a second], ...]".into()),
            Some(last) if last.rate <= 0.0 => {
                Err("it ends at 0 commands a second, which never ends".into())
            }
            Some(_) => Ok(Self {
                points,
                at: 0,
                forgiven: 0,
            }),
        }
    }

    /// How many commands may have been issued in all, `elapsed_ns` after the
    /// start, where `issued` were.
    pub(super) fn allowed(&mut self, elapsed_ns: u64, issued: u64) -> u64 {
        let second = seconds(elapsed_ns);
        while self
            .points
            .get(self.at + 1)
            .is_some_and(|next| next.second <= second)
        {
            self.at += 1;
        }
        let (tokens, rate) = self.tokens(second);
        // The first command goes out at once, the next when its time comes.
        let allowed = (whole(tokens) + 1).saturating_sub(self.forgiven);
        let most = issued.saturating_add(whole(rate * SAVED_SECONDS).max(1));
        if allowed > most {
            self.forgiven += allowed - most;
            return most;
        }
        allowed
    }

    fn tokens(&self, second: f64) -> (f64, f64) {
        let Some(from) = self.points.get(self.at) else {
            return (0.0, 0.0);
        };
        let into = second - from.second;
        let slope = self
            .points
            .get(self.at + 1)
            .map_or(0.0, |to| (to.rate - from.rate) / (to.second - from.second));
        let rate = slope.mul_add(into, from.rate);
        (from.tokens + into * f64::midpoint(from.rate, rate), rate)
    }

    /// Nanoseconds from the start until command number `issued` may go: a
    /// guess that is never late, for those that want to sleep.
    pub(super) fn wait_ns(&self, elapsed_ns: u64, issued: u64) -> u64 {
        let (tokens, rate) = self.tokens(seconds(elapsed_ns));
        let due = issued.saturating_add(self.forgiven);
        let missing = real(due) - tokens;
        let highest = self.points.iter().skip(self.at).map(|point| point.rate);
        let highest = highest.fold(rate, f64::max);
        if missing <= 0.0 || highest <= 0.0 {
            return 0;
        }
        whole(missing / highest * 1e9)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a day has fewer than 2^53 nanoseconds"
)]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "nobody issues 2^53 commands")]
const fn real(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded down on purpose; the cast saturates"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_gives_the_area_under_it() {
        let ramp = Iops::Ramp(vec![(0.0, 0.0), (10.0, 1000.0), (20.0, 1000.0)]);
        let mut rate = Rate::new(&ramp).unwrap();
        for (second, tokens) in [(1, 50), (5, 1250), (10, 5000), (15, 10_000), (30, 25_000)] {
            let allowed = rate.allowed(second * 1_000_000_000, tokens);
            assert_eq!(allowed, tokens + 1, "after {second} s");
        }
    }

    #[test]
    fn a_second_is_saved_up_and_no_more() {
        let mut rate = Rate::new(&Iops::Fixed(100.0)).unwrap();
        assert_eq!(rate.allowed(60_000_000_000, 0), 100);
        assert_eq!(rate.allowed(60_000_000_000, 100), 100);
        assert_eq!(rate.allowed(61_000_000_000, 100), 200);
    }

    #[test]
    fn rates_that_cannot_be_are_refused() {
        for ramp in [
            vec![],
            vec![(0.0, f64::NAN)],
            vec![(0.0, -1.0)],
            vec![(0.0, 5.0), (0.0, 6.0)],
            vec![(0.0, 5.0), (1.0, 0.0)],
        ] {
            Rate::new(&Iops::Ramp(ramp)).unwrap_err();
        }
    }
}
