//! Which parts of an address space were touched.

const WORDS: usize = 256;
const WORD_BITS: usize = 64;
const BUCKETS: u64 = (WORDS * WORD_BITS) as u64;

/// Which parts of an address space were touched, in a fixed number of buckets
/// whose size grows with the highest address seen: neither the capacity nor
/// the number of commands need be known.
#[derive(Clone, Debug)]
pub(super) struct Coverage {
    /// Blocks per bucket, as a power of two.
    shift: u32,
    touched: Box<[u64; WORDS]>,
    /// First block and the one past the last, exactly.
    span: Option<(u64, u64)>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            shift: 0,
            touched: Box::new([0; WORDS]),
            span: None,
        }
    }
}

impl Coverage {
    /// Notes that `blocks` blocks from `start` were touched. A range that runs
    /// past the end of the address space is cut there.
    pub(super) fn touch(&mut self, start: u64, blocks: u64) {
        let end = start.saturating_add(blocks.max(1));
        let last = end - 1;
        let start = start.min(last);
        while last >> self.shift >= BUCKETS {
            self.double();
        }
        let (first, last) = (start >> self.shift, last >> self.shift);
        let word_of = |bucket: u64| usize::try_from(bucket / WORD_BITS as u64).unwrap_or(WORDS);
        let (first_word, last_word) = (word_of(first), word_of(last));
        let from_first = u64::MAX << (first % WORD_BITS as u64);
        let to_last = u64::MAX >> (WORD_BITS as u64 - 1 - last % WORD_BITS as u64);
        let words = self
            .touched
            .iter_mut()
            .enumerate()
            .take(last_word + 1)
            .skip(first_word);
        for (index, word) in words {
            let mut mask = u64::MAX;
            if index == first_word {
                mask &= from_first;
            }
            if index == last_word {
                mask &= to_last;
            }
            *word |= mask;
        }
        self.span = Some(match self.span {
            None => (start, end),
            Some((from, to)) => (from.min(start), to.max(end)),
        });
    }

    /// Notes everything that `other` notes, as exactly as its buckets tell.
    pub(super) fn join(&mut self, other: &Self) {
        for (start, end) in other.runs() {
            self.touch(start, end - start);
        }
    }

    /// The runs of touched buckets, in rising order: first block and the one
    /// past the last, within the exact span.
    pub(super) fn runs(&self) -> Vec<(u64, u64)> {
        let Some((from, to)) = self.span else {
            return Vec::new();
        };
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for bucket in 0..BUCKETS {
            if !self.is_touched(bucket) {
                continue;
            }
            let start = (bucket << self.shift).max(from);
            let end = (u128::from(bucket + 1) << self.shift).min(u128::from(to));
            let end = u64::try_from(end).unwrap_or(to);
            match runs.last_mut() {
                Some(run) if run.1 == start => run.1 = end,
                _ => runs.push((start, end)),
            }
        }
        runs
    }

    fn is_touched(&self, bucket: u64) -> bool {
        let word = usize::try_from(bucket / WORD_BITS as u64)
            .ok()
            .and_then(|word| self.touched.get(word));
        word.is_some_and(|word| word >> (bucket % WORD_BITS as u64) & 1 == 1)
    }

    fn double(&mut self) {
        let mut folded = [0; WORDS];
        for bucket in (0..BUCKETS).filter(|&bucket| self.is_touched(bucket)) {
            let bucket = bucket / 2;
            let word = usize::try_from(bucket / WORD_BITS as u64)
                .ok()
                .and_then(|word| folded.get_mut(word));
            if let Some(word) = word {
                *word |= 1 << (bucket % WORD_BITS as u64);
            }
        }
        *self.touched = folded;
        self.shift += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_exact_while_the_address_space_is_small() {
        let mut coverage = Coverage::default();
        coverage.touch(10, 5);
        coverage.touch(15, 1);
        coverage.touch(100, 100);
        assert_eq!(coverage.runs(), [(10, 16), (100, 200)]);
    }

    #[test]
    fn buckets_grow_and_keep_what_they_held() {
        let mut coverage = Coverage::default();
        coverage.touch(10, 5);
        coverage.touch(1 << 40, 8);
        let runs = coverage.runs();
        assert_eq!(runs.len(), 2);
        assert_eq!(runs[0].0, 10);
        assert!(runs[0].1 >= 15 && runs[0].1 < 1 << 30, "{runs:?}");
        assert!(runs[1].0 <= 1 << 40);
        assert_eq!(runs[1].1, (1 << 40) + 8);
    }

    #[test]
    fn the_end_of_the_address_space_is_no_edge() {
        let mut coverage = Coverage::default();
        coverage.touch(u64::MAX, 1 << 32);
        coverage.touch(u64::MAX - 1, 0);
        coverage.touch(0, u64::MAX);
        assert_eq!(coverage.runs(), [(0, u64::MAX)]);
    }

    #[test]
    fn a_join_touches_what_either_touched() {
        let mut one = Coverage::default();
        one.touch(0, 8);
        let mut two = Coverage::default();
        two.touch(64, 8);
        one.join(&two);
        assert_eq!(one.runs(), [(0, 8), (64, 72)]);
    }
}
