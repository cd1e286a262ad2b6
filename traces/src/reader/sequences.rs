//! Which sequence numbers are there, and which are not.

use std::collections::BTreeMap;

use crate::CommandRecord;

/// The most runs that are kept: beyond, nothing is told of what is missing.
const RUNS_MAX: usize = 1 << 20;

/// A run of sequence numbers that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The first.
    pub(super) first: u64,
    /// How many.
    pub(super) count: u64,
    /// When the command before was submitted, nanoseconds of the trace's clock.
    pub(super) at_ns: u64,
}

/// The sequence numbers of the commands that were found.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// Runs without a hole: the first; the last, and its submission.
    runs: BTreeMap<u64, (u64, u64)>,
    too_many: bool,
}

impl Sequences {
    /// Adds `commands`, which are sorted by sequence.
    pub(super) fn add(&mut self, commands: &[CommandRecord]) {
        let mut run: Option<(u64, u64, u64)> = None;
        for command in commands {
            let (sequence, at_ns) = (command.sequence, command.submit_ns);
            match &mut run {
                Some((_, last, last_ns)) if last.saturating_add(1) >= sequence => {
                    (*last, *last_ns) = (sequence, at_ns);
                }
                _ => {
                    if let Some(run) = run.replace((sequence, sequence, at_ns)) {
                        self.insert(run);
                    }
                }
            }
        }
        if let Some(run) = run {
            self.insert(run);
        }
    }

    /// Adds a run, joined with those that it meets.
    fn insert(&mut self, (mut first, mut last, mut at_ns): (u64, u64, u64)) {
        if self.too_many {
            return;
        }
        if let Some((&start, &(end, end_ns))) = self.runs.range(..=first).next_back()
            && end.saturating_add(1) >= first
        {
            first = start;
            if end > last {
                (last, at_ns) = (end, end_ns);
            }
        }
        let until = last.saturating_add(1);
        while let Some((&start, &(end, end_ns))) = self.runs.range(first..=until).next() {
            self.runs.remove(&start);
            if end > last {
                (last, at_ns) = (end, end_ns);
            }
        }
        self.runs.insert(first, (last, at_ns));
        if self.runs.len() > RUNS_MAX {
            self.too_many = true;
            self.runs.clear();
        }
    }

    /// The numbers from 0 to the largest that are not there; none where there
    /// are too many runs to tell.
    pub(super) fn missing(&self) -> Option<Vec<Missing>> {
        if self.too_many {
            return None;
        }
        let mut missing = Vec::new();
        let (mut next, mut before_ns) = (0, None);
        for (&first, &(last, at_ns)) in &self.runs {
            if first > next {
                missing.push(Missing {
                    first: next,
                    count: first - next,
                    at_ns: before_ns.unwrap_or(0),
                });
            }
            next = last.saturating_add(1);
            before_ns = Some(at_ns);
        }
        Some(missing)
    }
}

#[cfg(test)]
mod tests {
    use nvme::{NamespaceId, QueueId, Sqe};
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_missing_is_what_was_not_added(blocks in vec(btree_set(0..80_u64, 0..9), 0..9)) {
            let mut sequences = Sequences::default();
            for block in &blocks {
                let sqe = Sqe::new(2, NamespaceId(1));
                let command = |&at: &u64| CommandRecord::fetched(at, at * 10, QueueId(1), &sqe);
                sequences.add(&block.iter().map(command).collect::<Vec<_>>());
            }
            let there: Vec<u64> = (0..80).filter(|it| blocks.iter().any(|b| b.contains(it))).collect();
            let expected: Vec<u64> = (0..there.last().copied().unwrap_or(0))
                .filter(|it| !there.contains(it))
                .collect();
            let missing = sequences.missing().unwrap();
            let found: Vec<u64> =
                missing.iter().flat_map(|it| it.first..it.first + it.count).collect();
            prop_assert_eq!(found, expected);
            for run in missing {
                prop_assert_eq!(run.at_ns, run.first.saturating_sub(1) * 10);
            }
        }
    }
}
