//! Where a replay stands, so that it can go on another time.
//!
//! Queues wait for places of their own: where one is held up, commands of others
//! that come after its own are sent. What was done is all up to some command, and
//! stretches after it:
//!
//! ```text
//!   order of the trace   0 . . . . . . . . . . . . . . . . . .
//!   done                 ###########  ##  ####
//!                        `commands'^  `-beyond-'
//! ```

use std::iter;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::extents::ExtentSet;

/// Which commands are done, counted in the order of submission.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// So many from the first on.
    pub commands: u64,
    /// Stretches after those: the first of each, and the one that follows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beyond: Vec<Range<u64>>,
}

impl Reached {
    /// The first `read` commands, but for those that are `left`, in any order.
    pub(crate) fn all_but(read: u64, mut left: Vec<u64>) -> Self {
        left.sort_unstable();
        let starts = iter::once(0).chain(left.iter().map(|order| order.saturating_add(1)));
        let ends = left.iter().copied().chain(iter::once(read));
        Self::of(starts.zip(ends).map(|(start, end)| start..end))
    }

    /// All of `stretches`, which may be in any order, overlap and be empty.
    fn of(stretches: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut done = ExtentSet::holding_at_most(usize::MAX);
        for stretch in stretches {
            done.add(stretch.start, stretch.end);
        }
        let mut done = done.iter().map(|(start, end)| start..end).peekable();
        let first = done.next_if(|stretch| stretch.start == 0);
        Self {
            commands: first.map_or(0, |stretch| stretch.end),
            beyond: done.collect(),
        }
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let lengths = self.stretches().map(|it| it.end.saturating_sub(it.start));
        lengths.fold(0, u64::saturating_add)
    }

    pub(crate) fn stretches(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        iter::once(0..self.commands).chain(self.beyond.iter().cloned())
    }

    /// The place among all of what stands at `order` among those that are not
    /// done.
    fn place_of(&self, order: u64) -> u64 {
        let before = |place: u64, done: Range<u64>| {
            if done.start <= place {
                place.saturating_add(done.end.saturating_sub(done.start))
            } else {
                place
            }
        };
        self.stretches().fold(order, before)
    }
}

/// A place in a replay: what was done before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Whole passes.
    pub passes: u64,
    /// Commands since those, among those that pass the filter; they may reach
    /// into passes to come.
    pub reached: Reached,
}

impl Position {
    /// After so many whole passes.
    #[must_use]
    pub fn after_passes(passes: u64) -> Self {
        Self {
            passes,
            reached: Reached::default(),
        }
    }

    /// The place to which a replay got that began here and `reached` so many of
    /// the commands that were left, where a pass has `pass_commands`.
    #[must_use]
    pub fn after(&self, reached: &Reached, pass_commands: u64) -> Self {
        let before = &self.reached;
        // What was done before lies between: that is done, too.
        let placed = |done: Range<u64>| {
            let last = done.end.checked_sub(1).filter(|last| *last >= done.start);
            last.map(|last| before.place_of(done.start)..before.place_of(last).saturating_add(1))
        };
        let now = reached.stretches().filter_map(placed);
        let mut all = Reached::of(before.stretches().chain(now));
        let pass = pass_commands.max(1);
        let passes = all.commands / pass;
        let gone = passes.saturating_mul(pass);
        all.commands -= gone;
        for stretch in &mut all.beyond {
            *stretch = stretch.start.saturating_sub(gone)..stretch.end.saturating_sub(gone);
        }
        Self {
            passes: self.passes.saturating_add(passes),
            reached: all,
        }
    }

    /// How many commands were done before.
    #[must_use]
    pub fn commands(&self, pass_commands: u64) -> u64 {
        let whole = self.passes.saturating_mul(pass_commands);
        whole.saturating_add(self.reached.count())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_stands_between_what_is_done() {
        let reached = Reached::all_but(10, vec![7, 3, 4]);
        assert_eq!(reached.commands, 3);
        assert_eq!(reached.beyond, [5..7, 8..10]);
        assert_eq!(reached.count(), 7);
        assert_eq!(Reached::all_but(5, vec![]).commands, 5);
        assert_eq!(Reached::all_but(4, vec![0, 2]).beyond, [1..2, 3..4]);
    }

    #[test]
    fn a_place_is_told_in_whole_passes_and_the_rest() {
        let start = Position::default();
        let at = start.after(&Reached::all_but(27, vec![22, 24]), 10);
        assert_eq!((at.passes, at.reached.commands), (2, 2));
        assert_eq!(at.reached.beyond, [3..4, 5..7]);
        assert_eq!(at.commands(10), 25);
        // Those that were left, and one more.
        let at = at.after(&Reached::all_but(3, vec![]), 10);
        assert_eq!((at.passes, at.reached), (2, Reached::all_but(8, vec![])));
    }

    proptest! {
        /// Against a list of every command.
        #[test]
        fn replay_after_replay_does_each_command_once(
            replays in prop::collection::vec(
                (1_u64..40, prop::collection::vec(0_u64..40, 0..10)),
                1..8,
            ),
            pass in 1_u64..30,
        ) {
            let mut position = Position::default();
            let mut done = BTreeSet::new();
            for (read, left) in replays {
                let to_do: Vec<u64> = (0..).filter(|it| !done.contains(it)).take(40).collect();
                for order in (0..read).filter(|order| !left.contains(order)) {
                    done.insert(to_do[usize::try_from(order).unwrap()]);
                }
                let left = left.into_iter().filter(|order| *order < read).collect();
                position = position.after(&Reached::all_but(read, left), pass);
                let base = position.passes * pass;
                let told: BTreeSet<u64> = (0..base)
                    .chain(position.reached.stretches().flatten().map(|it| base + it))
                    .collect();
                prop_assert_eq!(&told, &done);
                prop_assert!(position.reached.commands < pass);
            }
        }
    }
}
