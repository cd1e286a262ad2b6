//! Issues and completions in the order of their times, of formats that tell of
//! them apart.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Io;

/// A request at its issue or at its completion.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// When, nanoseconds.
    pub(crate) at_ns: u64,
    /// Whether this is the completion.
    pub(crate) completed: bool,
    /// The request.
    pub(crate) io: Io,
}

#[derive(Debug)]
struct Due(u64, u64, Io);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    due: BinaryHeap<Reverse<Due>>,
    issued: u64,
}

impl Completions {
    /// The completions up to the issue of `io`, and that.
    pub(crate) fn issue(&mut self, io: &Io, mut sink: impl FnMut(&Moment)) {
        self.until(io.submit_ns, &mut sink);
        sink(&Moment {
            at_ns: io.submit_ns,
            completed: false,
            io: io.clone(),
        });
        if let Some(latency_ns) = io.latency_ns {
            let at_ns = io.submit_ns.saturating_add(latency_ns);
            self.due.push(Reverse(Due(at_ns, self.issued, io.clone())));
        }
        self.issued += 1;
    }

    /// All completions up to `now_ns`.
    pub(crate) fn until(&mut self, now_ns: u64, mut sink: impl FnMut(&Moment)) {
        while let Some(Reverse(Due(at_ns, ..))) = self.due.peek()
            && *at_ns <= now_ns
        {
            if let Some(Reverse(Due(at_ns, _, io))) = self.due.pop() {
                sink(&Moment {
                    at_ns,
                    completed: true,
                    io,
                });
            }
        }
    }
}
