//! How busy a thread is that never sleeps.

/// Tells the time with work from the time without, at the price of a look at the
/// clock where the one becomes the other.
#[derive(Debug)]
pub(super) struct Meter {
    since_ns: u64,
    /// Time without work, but for the pause that goes on.
    idle_ns: u64,
    /// Since when there has been no work; none while there is.
    idle_since_ns: Option<u64>,
}

impl Meter {
    /// Begins at the time `now_ns`.
    pub(super) const fn new(now_ns: u64) -> Self {
        Self {
            since_ns: now_ns,
            idle_ns: 0,
            idle_since_ns: None,
        }
    }

    /// A turn has done so much.
    #[inline]
    pub(super) fn turn(&mut self, done: u32, now_ns: impl FnOnce() -> u64) {
        match (done, self.idle_since_ns) {
            (0, None) => self.idle_since_ns = Some(now_ns()),
            (1.., Some(since_ns)) => {
                self.idle_ns += now_ns().saturating_sub(since_ns);
                self.idle_since_ns = None;
            }
            _ => {}
        }
    }

    /// How long it has measured.
    pub(super) const fn elapsed_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since_ns)
    }

    /// The share of that with work, per mille.
    pub(super) fn busy(&self, now_ns: u64) -> u64 {
        let pause = self.idle_since_ns.map_or(0, |at| now_ns.saturating_sub(at));
        let elapsed_ns = self.elapsed_ns(now_ns).max(1);
        let idle_ns = (self.idle_ns + pause).min(elapsed_ns);
        1000 - idle_ns * 1000 / elapsed_ns
    }

    /// Begins anew at the time `now_ns`.
    pub(super) fn restart(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
        self.idle_ns = 0;
        self.idle_since_ns = self.idle_since_ns.map(|_| now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_what_lies_between_turns_without_work_and_the_next_with() {
        let mut meter = Meter::new(1000);
        let turn = |meter: &mut Meter, done, at| meter.turn(done, || at);
        turn(&mut meter, 5, 1100);
        turn(&mut meter, 0, 1200);
        turn(&mut meter, 0, 1300);
        turn(&mut meter, 1, 1500);
        assert_eq!((meter.elapsed_ns(2000), meter.busy(2000)), (1000, 700));
        turn(&mut meter, 0, 2000);
        assert_eq!(meter.busy(3000), 350);
        meter.restart(3000);
        assert_eq!(meter.busy(4000), 0);
        turn(&mut meter, 1, 4000);
        assert_eq!(meter.busy(5000), 500);
    }
}
