//! Counts by time.

use super::num::{cell, float};
use super::operation::Operation;
use super::units;

/// The least width of a bin, nanoseconds.
const BIN_NS_MIN: f64 = 1e3;

/// What happened in one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bin {
    /// Commands by operation.
    pub(super) commands: [u64; Operation::COUNT],
    /// Bytes read.
    pub(super) read_bytes: u64,
    /// Bytes written.
    pub(super) written_bytes: u64,
}

/// Counts of commands and bytes, by bins of time of a round width.
#[derive(Clone, Debug)]
pub(super) struct Bins {
    bin_ns: f64,
    bins: Vec<Bin>,
}

impl Bins {
    /// At most about `bins_max` bins over `span_ns` nanoseconds.
    pub(super) fn new(span_ns: f64, bins_max: u32) -> Self {
        let bin_ns = units::round_up(span_ns / f64::from(bins_max.max(1))).max(BIN_NS_MIN);
        // The width is rounded up, so there are no more of them than asked for.
        let count = cell(
            span_ns / bin_ns / f64::from(bins_max.max(1)),
            bins_max as usize,
        ) + 1;
        Self {
            bin_ns,
            bins: vec![Bin::default(); count],
        }
    }

    /// Counts a command at `at_ns` from the start, of `bytes` bytes.
    pub(super) fn add(&mut self, operation: Operation, at_ns: u64, bytes: u64) {
        let span = self.bin_ns * float(self.bins.len() as u64);
        let at = cell(float(at_ns) / span, self.bins.len());
        let Some(bin) = self.bins.get_mut(at) else {
            return;
        };
        if let Some(count) = bin.commands.get_mut(operation.index()) {
            *count += 1;
        }
        match operation {
            Operation::Read => bin.read_bytes = bin.read_bytes.saturating_add(bytes),
            Operation::Write => bin.written_bytes = bin.written_bytes.saturating_add(bytes),
            _ => {}
        }
    }

    /// The width of a bin, nanoseconds.
    pub(super) const fn bin_ns(&self) -> f64 {
        self.bin_ns
    }

    /// The bins in order, each with its first and last instant, nanoseconds.
    pub(super) fn iter(&self) -> impl Iterator<Item = (f64, f64, &Bin)> {
        self.bins.iter().enumerate().map(|(index, bin)| {
            let from = float(index as u64) * self.bin_ns;
            (from, from + self.bin_ns, bin)
        })
    }

    /// The outline of `rate` over time, as steps, a second.
    pub(super) fn steps(&self, rate: impl Fn(&Bin) -> u64) -> Vec<(f64, f64)> {
        self.iter()
            .flat_map(|(from, to, bin)| {
                let rate = self.per_second(rate(bin));
                [(from, rate), (to, rate)]
            })
            .collect()
    }

    /// The outline of `rate`, in pieces that leave out where it stays zero.
    pub(super) fn strokes(&self, rate: impl Fn(&Bin) -> u64) -> Vec<Vec<(f64, f64)>> {
        let mut strokes: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut last_to = None;
        for (from, to, bin) in self.iter().filter(|(_, _, bin)| rate(bin) > 0) {
            let rate = self.per_second(rate(bin));
            let from_zero = last_to.is_none_or(|last: f64| from - last > self.bin_ns / 2.0);
            match strokes.last_mut() {
                Some(stroke) if !from_zero => stroke.extend([(from, rate), (to, rate)]),
                last => {
                    if let (Some(stroke), Some(end)) = (last, last_to) {
                        stroke.push((end, 0.0));
                    }
                    strokes.push(vec![(from, 0.0), (from, rate), (to, rate)]);
                }
            }
            last_to = Some(to);
        }
        if let (Some(stroke), Some(end)) = (strokes.last_mut(), last_to) {
            stroke.push((end, 0.0));
        }
        strokes
    }

    /// The largest `rate`, a second.
    pub(super) fn peak(&self, rate: impl Fn(&Bin) -> u64) -> f64 {
        self.per_second(self.bins.iter().map(rate).max().unwrap_or(0))
    }

    /// A count in one bin as a count a second.
    pub(super) fn per_second(&self, count: u64) -> f64 {
        float(count) * 1e9 / self.bin_ns
    }
}

impl Bin {
    /// All commands.
    pub(super) fn total(&self) -> u64 {
        self.commands.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_round_and_hold_every_command() {
        let mut bins = Bins::new(62e9, 360);
        assert!((bins.bin_ns() - 200e6).abs() < 1.0);
        for at_ns in [0, 199_999_999, 200_000_001, 62_000_000_000, u64::MAX] {
            bins.add(Operation::Read, at_ns, 4096);
        }
        let counts: Vec<u64> = bins.iter().map(|(_, _, bin)| bin.total()).collect();
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(counts[..3], [2, 1, 0]);
        assert!((bins.peak(Bin::total) - 10.0).abs() < 1e-9);
        assert_eq!(
            bins.iter().map(|(_, _, bin)| bin.read_bytes).sum::<u64>(),
            5 * 4096
        );
    }

    #[test]
    fn an_instant_is_one_bin() {
        let mut bins = Bins::new(0.0, 100);
        bins.add(Operation::Write, 0, u64::MAX);
        bins.add(Operation::Write, 5, u64::MAX);
        assert_eq!(bins.iter().count(), 1);
    }
}
