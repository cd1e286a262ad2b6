//! Weighted round robin with urgent priority class.

use nvme::QueueId;
use traces::{Clock, Tap};

use crate::controller::BURST;
use crate::queue::Priority;
use crate::{Controller, Media};

/// Whose turn it is (`NVMe Base 2.1 §3.4.4.2`).
///
/// ```text
///   admin  >  urgent  >  high, medium, low by weight
/// ```
///
/// In a round, each of the weighted classes has as many commands as its weight
/// says; one that has no commands gives up the rest of its share. Within a
/// class, queues take turns of a burst.
#[derive(Debug, Default)]
pub(crate) struct Weighted {
    /// Which queue of each class is next.
    turns: [usize; Priority::COUNT],
    /// What is left of each weighted class's share of this round.
    shares: [u32; Priority::WEIGHTED.len()],
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Fetches and executes commands of I/O queues by their priority. Returns
    /// how many.
    pub(crate) fn serve_weighted(&mut self, budget: u32) -> u32 {
        let mut done = 0;
        while done < budget {
            let left = budget - done;
            let mut fetched = self.serve_class(Priority::Urgent, left);
            if fetched == 0 {
                fetched = self.serve_shares(left);
            }
            if fetched == 0 {
                // Nobody had a share left, or nothing to fetch with it. A round
                // begins; one that fetches nothing at its start is the last.
                self.weighted.shares = self.device.features.weights();
                fetched = self.serve_shares(left);
            }
            if fetched == 0 {
                break;
            }
            done += fetched;
        }
        done
    }

    /// One burst of the first weighted class that has a share left and
    /// something to fetch.
    fn serve_shares(&mut self, left: u32) -> u32 {
        for (index, class) in Priority::WEIGHTED.into_iter().enumerate() {
            let share = self.weighted.shares[index];
            if share == 0 {
                continue;
            }
            let fetched = self.serve_class(class, left.min(share));
            self.weighted.shares[index] = if fetched == 0 { 0 } else { share - fetched };
            if fetched > 0 {
                return fetched;
            }
        }
        0
    }

    /// One burst of the first queue of a class that has commands.
    fn serve_class(&mut self, class: Priority, left: u32) -> u32 {
        let burst = self.device.features.burst().unwrap_or(BURST).min(left);
        for _ in 0..self.device.queues.of_priority(class).len() {
            let Some(queue) = self.take_turn(class) else {
                return 0;
            };
            let fetched = self.serve(queue, burst);
            if fetched > 0 {
                return fetched;
            }
        }
        0
    }

    fn take_turn(&mut self, class: Priority) -> Option<QueueId> {
        let queues = self.device.queues.of_priority(class);
        let turn = &mut self.weighted.turns[class.index()];
        if *turn >= queues.len() {
            *turn = 0;
        }
        let queue = queues.get(*turn).copied();
        *turn += 1;
        queue
    }
}
