//! What commands waited for when they were recorded.
//!
//! ```text
//!   recorded    a |-------|                 a completes, its host thinks, c goes
//!                 b  |----------------|
//!                            c |---|
//!                         |<-->|
//!   replayed    a |-----------|             however long a takes now
//!                 b  |------|
//!                                c |---|
//!                             |<-->|
//! ```
//!
//! Each recorded queue is a stream of its own: of its commands that were read
//! before, the one that completed last before a command was submitted is the
//! one that it waited for. A command before which none completed has its time
//! from the start.
//!
//! Memory is that of the commands in flight, when they were recorded or now,
//! and of those that are read ahead: not of the trace.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Commands in flight when recorded that a stream keeps apart: no queue is
/// deeper (`NVMe Base 2.1 §3.1.4.1`, CAP.MQES).
const IN_FLIGHT_MAX: usize = 1 << 16;

/// What a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct After {
    node: u32,
    /// And then for so long.
    think_ns: u64,
}

/// The commands that others may wait for.
#[derive(Debug, Default)]
pub(crate) struct Think {
    streams: Vec<Stream>,
    nodes: Vec<Node>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Stream {
    /// What was in flight when recorded, by its time of completion.
    in_flight: BinaryHeap<Reverse<(u64, u32)>>,
    /// The last to complete before the command that was read last.
    latest: Option<(u64, u32)>,
}

/// A command, for as long as anybody may want to know of its end.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    done_ns: Option<u64>,
    /// The command itself, its stream, and those that wait for it.
    holders: u32,
}

impl Think {
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            streams: (0..streams).map(|_| Stream::default()).collect(),
            ..Self::default()
        }
    }

    /// The next command of `stream`, in the order of submission: its node, and
    /// what it waits for.
    pub(crate) fn read(
        &mut self,
        stream: usize,
        submit_ns: u64,
        complete_ns: Option<u64>,
    ) -> (u32, Option<After>) {
        let node = self.hold_new();
        let Some(mut state) = self.streams.get_mut(stream).map(std::mem::take) else {
            return (node, None);
        };
        while let Some(Reverse((at_ns, done))) = state.in_flight.peek().copied() {
            if at_ns > submit_ns {
                break;
            }
            state.in_flight.pop();
            if let Some((_, before)) = state.latest.replace((at_ns, done)) {
                self.release(before);
            }
        }
        let after = state.latest.map(|(at_ns, node)| {
            self.hold(node);
            After {
                node,
                think_ns: submit_ns.saturating_sub(at_ns),
            }
        });
        if let Some(complete_ns) = complete_ns
            && state.in_flight.len() < IN_FLIGHT_MAX
        {
            self.hold(node);
            state.in_flight.push(Reverse((complete_ns, node)));
        }
        if let Some(place) = self.streams.get_mut(stream) {
            *place = state;
        }
        (node, after)
    }

    /// When a command that waits for this is due; none while nobody knows.
    pub(crate) fn due_ns(&self, after: After) -> Option<u64> {
        let done_ns = self.node(after.node)?.done_ns?;
        Some(done_ns.saturating_add(after.think_ns))
    }

    /// A command that waits for this waits no more.
    pub(crate) fn forget(&mut self, after: After) {
        self.release(after.node);
    }

    /// The command of `node` is over.
    pub(crate) fn done(&mut self, node: u32, at_ns: u64) {
        // Widens, here and below.
        if let Some(state) = self.nodes.get_mut(node as usize) {
            state.done_ns = Some(at_ns);
        }
        self.release(node);
    }

    fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(node as usize)
    }

    fn hold_new(&mut self) -> u32 {
        let new = Node {
            done_ns: None,
            holders: 1,
        };
        if let Some(node) = self.free.pop() {
            if let Some(place) = self.nodes.get_mut(node as usize) {
                *place = new;
            }
            return node;
        }
        self.nodes.push(new);
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    fn hold(&mut self, node: u32) {
        if let Some(state) = self.nodes.get_mut(node as usize) {
            state.holders += 1;
        }
    }

    fn release(&mut self, node: u32) {
        let Some(state) = self.nodes.get_mut(node as usize) else {
            return;
        };
        state.holders = state.holders.saturating_sub(1);
        if state.holders == 0 {
            self.free.push(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_waits_for_the_last_that_completed_before_it() {
        let mut think = Think::new(2);
        let (a, after) = think.read(0, 0, Some(100));
        assert_eq!(after, None, "nothing was before it");
        let (b, after) = think.read(0, 10, Some(50));
        assert_eq!(after, None, "nothing was complete");
        let (_, after) = think.read(1, 200, None);
        assert_eq!(after, None, "another queue is another stream");
        let (_, after) = think.read(0, 120, None);
        let after = after.unwrap();
        assert_eq!((after.node, after.think_ns), (a, 20));
        think.done(b, 1_000);
        assert_eq!(think.due_ns(after), None, "the other one does not count");
        think.done(a, 2_000);
        assert_eq!(think.due_ns(after), Some(2_020));
    }

    #[test]
    fn memory_is_that_of_what_is_in_flight() {
        let mut think = Think::new(1);
        for at_ns in 0..10_000 {
            let (node, after) = think.read(0, at_ns * 10, Some(at_ns * 10 + 35));
            if let Some(after) = after {
                think.forget(after);
            }
            think.done(node, at_ns);
        }
        assert!(think.nodes.len() < 10, "{}", think.nodes.len());
    }
}
