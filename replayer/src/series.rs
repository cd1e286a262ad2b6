//! A replay over time.

use serde::Serialize;

/// The most buckets; where there would be more, they become twice as wide.
const BUCKETS_MAX: usize = 4096;
/// The width to start with.
const BUCKET_NS: u64 = 100_000_000;

/// What happened in each stretch of a replay.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Series {
    /// How long a stretch is, nanoseconds.
    pub bucket_ns: u64,
    /// The stretches from the start on.
    pub buckets: Vec<Bucket>,
    /// The stretch that was used last: its start and its place. It spares a
    /// division for each command.
    #[serde(skip)]
    last: (u64, usize),
}

/// A stretch of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bucket {
    /// Commands that were due.
    pub due: u64,
    /// Commands that were sent.
    pub sent: u64,
    /// Bytes of commands that completed.
    pub bytes: u64,
    /// The most that one of those sent was late, nanoseconds.
    pub late_ns_max: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            bucket_ns: BUCKET_NS,
            // All there will be: nothing is allocated on the way.
            buckets: Vec::with_capacity(BUCKETS_MAX),
            last: (0, 0),
        }
    }
}

impl Series {
    /// A command that was due `due_ns` after the start is sent at `sent_ns`.
    pub(crate) fn sent(&mut self, due_ns: u64, sent_ns: u64) {
        if let Some(bucket) = self.at(due_ns) {
            bucket.due += 1;
        }
        if let Some(bucket) = self.at(sent_ns) {
            bucket.sent += 1;
            bucket.late_ns_max = bucket.late_ns_max.max(sent_ns.saturating_sub(due_ns));
        }
    }

    /// A command of so many bytes completed.
    pub(crate) fn completed(&mut self, at_ns: u64, bytes: u64) {
        if let Some(bucket) = self.at(at_ns) {
            bucket.bytes += bytes;
        }
    }

    fn at(&mut self, ns: u64) -> Option<&mut Bucket> {
        let (start_ns, index) = self.last;
        if ns.wrapping_sub(start_ns) < self.bucket_ns && index < self.buckets.len() {
            return self.buckets.get_mut(index);
        }
        self.find(ns)
    }

    fn find(&mut self, ns: u64) -> Option<&mut Bucket> {
        let mut index = usize::try_from(ns / self.bucket_ns).unwrap_or(usize::MAX);
        while index >= BUCKETS_MAX {
            self.widen();
            index /= 2;
        }
        if index >= self.buckets.len() {
            self.buckets.resize(index + 1, Bucket::default());
        }
        // Widens.
        self.last = (index as u64 * self.bucket_ns, index);
        self.buckets.get_mut(index)
    }

    #[cold]
    fn widen(&mut self) {
        self.bucket_ns = self.bucket_ns.saturating_mul(2);
        self.last = (0, 0);
        let half = self.buckets.len().div_ceil(2);
        for index in 0..half {
            let part = |at: usize| self.buckets.get(at).copied().unwrap_or_default();
            let (one, other) = (part(2 * index), part(2 * index + 1));
            if let Some(bucket) = self.buckets.get_mut(index) {
                *bucket = Bucket {
                    due: one.due + other.due,
                    sent: one.sent + other.sent,
                    bytes: one.bytes + other.bytes,
                    late_ns_max: one.late_ns_max.max(other.late_ns_max),
                };
            }
        }
        self.buckets.truncate(half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_replay_keeps_its_sums_in_wider_buckets() {
        let mut series = Series::default();
        for second in 0..100_000 {
            series.sent(second * 1_000_000_000, second * 1_000_000_000 + second);
            series.completed(second * 1_000_000_000, 10);
        }
        assert!(series.buckets.len() <= BUCKETS_MAX);
        let sum = |of: fn(&Bucket) -> u64| series.buckets.iter().map(of).sum::<u64>();
        assert_eq!((sum(|it| it.due), sum(|it| it.sent)), (100_000, 100_000));
        assert_eq!(sum(|it| it.bytes), 1_000_000);
        assert_eq!(series.buckets.last().unwrap().late_ns_max, 99_999);
        let end_ns = series.bucket_ns * series.buckets.len() as u64;
        assert!((100_000_000_000_000..150_000_000_000_000).contains(&end_ns));
    }
}
