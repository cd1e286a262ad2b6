//! Which thread serves which queues.

use std::cmp::Reverse;

use crate::queue::{Lendable, Load};

/// Spreads queues over `threads` threads, the first of which is the one that has
/// them all now: the busiest queue goes to the least busy thread, then the next.
/// What has had nothing to do stays, unless `all` are to be spread. One list for
/// each of the other threads; all are empty where one thread is enough.
pub(super) fn spread(mut loads: Vec<Load>, threads: usize, all: bool) -> Vec<Vec<Lendable>> {
    let mut lanes = vec![Vec::new(); threads.saturating_sub(1)];
    loads.retain(|load| all || load.commands > 0);
    if loads.len() < 2 {
        return lanes;
    }
    loads.sort_by_key(|load| Reverse(load.commands));
    let mut totals = vec![0_u64; threads];
    for Load { what, commands } in loads {
        let least = totals.iter().enumerate().min_by_key(|(_, total)| **total);
        let thread = least.map_or(0, |(thread, _)| thread);
        if let Some(total) = totals.get_mut(thread) {
            *total += commands.max(1);
        }
        let lane = thread.checked_sub(1).and_then(|lane| lanes.get_mut(lane));
        if let Some(lane) = lane {
            lane.push(what);
        }
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(commands: &[u64]) -> Vec<Load> {
        let loads = commands.iter().zip(0..);
        loads
            .map(|(&commands, index)| Load {
                what: Lendable::Ring(index),
                commands,
            })
            .collect()
    }

    fn rings(lanes: &[Vec<Lendable>]) -> Vec<Vec<u16>> {
        let number = |what: &Lendable| match what {
            Lendable::Ring(index) => *index,
            Lendable::Completion(id) => id.0,
        };
        lanes
            .iter()
            .map(|lane| lane.iter().map(number).collect())
            .collect()
    }

    #[test]
    fn the_busiest_queue_has_a_thread_for_itself() {
        let spread = spread(loads(&[10, 100, 20, 0, 30]), 2, false);
        assert_eq!(rings(&spread), [[4, 2, 0]]);
    }

    #[test]
    fn one_queue_is_not_worth_a_second_thread() {
        assert_eq!(rings(&spread(loads(&[0, 9, 0]), 3, false)), [[0; 0]; 2]);
        assert_eq!(rings(&spread(loads(&[]), 3, true)), [[0; 0]; 2]);
    }

    #[test]
    fn idle_queues_are_spread_only_where_all_are() {
        assert_eq!(rings(&spread(loads(&[0; 4]), 2, false)), [[0; 0]]);
        assert_eq!(rings(&spread(loads(&[0; 4]), 2, true)), [[1, 3]]);
    }
}
