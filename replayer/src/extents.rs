//! What a trace touches, in bounded memory.

use std::collections::BTreeMap;

/// Extents that are kept apart, at most twice as many for a while.
const EXTENTS_MAX: usize = 1 << 16;

/// Byte ranges that do not overlap. Where there are too many, those with the
/// least between them become one.
#[derive(Clone, Debug)]
pub(crate) struct ExtentSet {
    /// End by start.
    extents: BTreeMap<u64, u64>,
    extents_max: usize,
}

impl Default for ExtentSet {
    fn default() -> Self {
        Self::holding_at_most(EXTENTS_MAX)
    }
}

impl ExtentSet {
    pub(crate) const fn holding_at_most(extents_max: usize) -> Self {
        Self {
            extents: BTreeMap::new(),
            extents_max,
        }
    }

    /// Adds the bytes from `start` to before `end`.
    pub(crate) fn add(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        // All that overlap or touch, from the last that starts before the end.
        while let Some((&from, &to)) = self.extents.range(..=end).next_back() {
            if to < start {
                break;
            }
            if from <= start && end <= to {
                return;
            }
            self.extents.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        self.extents.insert(start, end);
        if self.extents.len() >= self.extents_max.saturating_mul(2).max(2) {
            self.merge_nearest();
        }
    }

    /// The extents in the order of their addresses: start and end.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.extents.iter().map(|(&start, &end)| (start, end))
    }

    /// Merges neighbours across the smallest gaps, down to the limit.
    fn merge_nearest(&mut self) {
        let all: Vec<(u64, u64)> = self.iter().collect();
        let gap = |pair: &[(u64, u64)]| match pair {
            [(_, end), (start, _)] => start.saturating_sub(*end),
            _ => u64::MAX,
        };
        let mut gaps: Vec<u64> = all.windows(2).map(gap).collect();
        let merges = all.len().saturating_sub(self.extents_max.max(1));
        let Some(last) = merges.checked_sub(1) else {
            return;
        };
        let (_, &mut widest, _) = gaps.select_nth_unstable(last);
        self.extents.clear();
        let mut left = merges;
        let mut current: Option<(u64, u64)> = None;
        for (start, end) in all {
            current = match current {
                Some((from, to)) if left > 0 && start - to <= widest => {
                    left -= 1;
                    Some((from, end))
                }
                Some((from, to)) => {
                    self.extents.insert(from, to);
                    Some((start, end))
                }
                None => Some((start, end)),
            };
        }
        self.extents.extend(current);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_overlaps_or_touches_is_one() {
        let mut set = ExtentSet::default();
        for (start, end) in [(10, 20), (30, 40), (50, 60), (20, 25), (5, 5), (32, 35)] {
            set.add(start, end);
        }
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [(10, 25), (30, 40), (50, 60)]
        );
        set.add(25, 55);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(10, 60)]);
    }

    #[test]
    fn the_nearest_are_merged_where_there_are_too_many() {
        let mut set = ExtentSet::holding_at_most(2);
        for (start, end) in [(0, 10), (100, 110), (111, 120), (1_000, 1_001)] {
            set.add(start, end);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [(0, 120), (1_000, 1_001)]);
    }

    proptest! {
        #[test]
        fn nothing_that_was_added_is_lost(
            added in prop::collection::vec((0_u64..10_000, 1_u64..50), 1..200),
            limit in 1_usize..20,
        ) {
            let mut set = ExtentSet::holding_at_most(limit);
            for (start, bytes) in &added {
                set.add(*start, start + bytes);
            }
            let extents: Vec<_> = set.iter().collect();
            prop_assert!(extents.len() <= 2 * limit);
            prop_assert!(extents.windows(2).all(|pair| pair[0].1 < pair[1].0));
            for (start, bytes) in added {
                let end = start + bytes;
                prop_assert!(extents.iter().any(|(from, to)| *from <= start && end <= *to));
            }
        }
    }
}
