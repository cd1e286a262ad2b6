//! Times, counted in buckets that grow with them.
//!
//! Buckets are linear within each power of two: sixteen of them, so that what is
//! told of a time is at most 1/16 (6.25%) above it. Times below 16 ns are exact;
//! those beyond 2^40 ns (18 minutes) are counted with the longest.

/// Buckets to a power of two, as a power of two.
const SUB_BITS: u32 = 4;
const SUBS: u64 = 1 << SUB_BITS;
/// Times have at most this many bits.
const BITS: u32 = 40;
/// How many buckets there are.
pub const BUCKETS: usize = ((BITS - SUB_BITS + 1) << SUB_BITS) as usize;
const NS_MAX: u64 = (1 << BITS) - 1;

/// The bucket of a time.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a bucket's number is below BUCKETS"
)]
pub(super) const fn bucket(ns: u64) -> usize {
    let ns = if ns < NS_MAX { ns } else { NS_MAX };
    // Below SUBS both terms are those of the first power of two: the time itself.
    let shift = (ns | SUBS).ilog2() - SUB_BITS;
    (((shift as u64) << SUB_BITS) + (ns >> shift)) as usize
}

/// The longest time in a bucket.
const fn longest_ns(bucket: u64) -> u64 {
    if bucket < 2 * SUBS {
        return bucket;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let first = SUBS + (bucket & (SUBS - 1));
    ((first + 1) << shift) - 1
}

/// How often which times were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket; what is missing at the end is 0.
    counts: Vec<u64>,
}

impl Histogram {
    pub(super) fn of(counts: impl Iterator<Item = u64>) -> Self {
        Self {
            counts: counts.collect(),
        }
    }

    /// The buckets that are not empty, in the order of their times: the longest
    /// time of each, nanoseconds, and how many there were.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let numbered = (0..).map(longest_ns).zip(&self.counts);
        numbered.filter_map(|(ns, &count)| (count > 0).then_some((ns, count)))
    }

    /// Adds `count` times of `ns` nanoseconds.
    pub fn record(&mut self, ns: u64, count: u64) {
        let bucket = bucket(ns);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] = self.counts[bucket].saturating_add(count);
    }

    /// Adds what `other` has.
    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (to, more) in self.counts.iter_mut().zip(&other.counts) {
            *to = to.saturating_add(*more);
        }
    }

    /// What came since `earlier`, which is of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        Self::of(
            self.counts
                .iter()
                .zip(before)
                .map(|(now, then)| now.saturating_sub(then)),
        )
    }

    /// How many times there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time that the share `quantile`, of 0 to 1, does not exceed, or at most
    /// 6.25% more, nanoseconds; none where there are no times.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count is a count, and not exact beyond 2^53"
    )]
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let count = self.count();
        let wanted = ((count as f64 * quantile).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        self.buckets().find_map(|(ns, count)| {
            seen += count;
            (seen >= wanted).then_some(ns)
        })
    }

    /// How many times do not exceed `ns` nanoseconds; exact where `ns` is one less
    /// than a power of two.
    #[must_use]
    pub fn count_up_to(&self, ns: u64) -> u64 {
        self.buckets()
            .take_while(|&(longest_ns, _)| longest_ns <= ns)
            .map(|(_, count)| count)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_sixteenth_too_long(ns in 0..=NS_MAX, shift in 0..40_u32) {
            let ns = ns >> shift;
            let longest = longest_ns(bucket(ns) as u64);
            prop_assert!(longest >= ns);
            prop_assert!((longest - ns) * 16 <= ns, "{ns} is told as {longest}");
        }

        #[test]
        fn quantiles_agree_with_the_sorted_times(
            mut times in prop::collection::vec(0..10_000_000_u64, 1..300),
            quantile in 0.0..=1.0_f64,
        ) {
            let mut histogram = Histogram::default();
            times.iter().for_each(|&ns| histogram.record(ns, 1));
            times.sort_unstable();
            let count = times.len();
            // The first of the sorted times that so large a share does not exceed.
            let reaches = |&index: &usize| (index + 1) as f64 >= count as f64 * quantile;
            let index = (0..count).find(reaches).unwrap_or(count - 1);
            let told = histogram.quantile_ns(quantile).unwrap();
            prop_assert!(told >= times[index] && (told - times[index]) * 16 <= times[index]);
        }
    }

    #[test]
    fn buckets_follow_each_other_to_the_last() {
        for index in 0..BUCKETS as u64 {
            let longest = longest_ns(index);
            assert_eq!(bucket(longest) as u64, index);
            if index + 1 < BUCKETS as u64 {
                assert_eq!(bucket(longest + 1) as u64, index + 1);
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_difference_is_what_came_since() {
        let mut earlier = Histogram::default();
        earlier.record(100, 3);
        let mut later = earlier.clone();
        later.record(100, 1);
        later.record(5000, 2);
        let since = later.since(&earlier);
        assert_eq!(since.count(), 3);
        assert_eq!((since.count_up_to(127), since.count_up_to(8191)), (1, 3));
        let mut sum = earlier.clone();
        sum.add(&since);
        assert_eq!(sum.count(), later.count());
        assert_eq!(Histogram::default().quantile_ns(0.5), None);
    }
}
