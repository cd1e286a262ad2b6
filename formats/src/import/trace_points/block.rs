//! `block_rq_issue` and `block_rq_complete`.
//!
//! ```text
//!   block_rq_issue: 259,0 WS 4096 () 498455480 + 8 [comm]
//!   block_rq_issue: 259,0 WS 4096 () 498455480 + 8 none,0,0 [comm]
//!   block_rq_complete: 259,0 WS () 498455480 + 8 [0]
//! ```

use crate::import::lines::Out;
use crate::import::number::{integer, times};
use crate::import::pairs::Pairs;
use crate::import::rwbs::Letters;
use crate::{Io, Operation};

/// Bytes of a sector, whatever the device.
const SECTOR: u64 = 512;

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Issue,
    Complete,
    Requeue,
}

/// Requests under way.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pairs: Pairs,
}

impl Requests {
    /// Takes in an event, of which the kernel prints `body`.
    pub(super) fn event(
        &mut self,
        event: Event,
        time_ns: u64,
        body: &str,
        out: &mut Out,
    ) -> Result<(), String> {
        let Some(request) = Request::of(body)? else {
            out.notes.count(
                "requests of a kind that no trace holds, such as those to zones, were left out",
            );
            return Ok(());
        };
        let device = out.devices.index(request.device)?;
        let io = request.io(time_ns, device)?;
        match event {
            Event::Issue => {
                if request.preflush && request.operation != Operation::Flush {
                    let mut flush = Io::new(time_ns, Operation::Flush, 0, 0);
                    flush.device = device;
                    out.io(flush);
                }
                let open = self.pairs.issue(io, &mut out.items);
                out.notes.add(NEVER_COMPLETED, open);
            }
            Event::Complete => {
                if !self
                    .pairs
                    .complete(&io, request.tail != "0", &mut out.items)
                {
                    out.notes.count(
                        "completions of requests that were issued before the trace were left out",
                    );
                }
            }
            // It will be issued once more.
            Event::Requeue => {
                if self.pairs.requeue(&io, &mut out.items) {
                    out.notes.count(
                        "requests that the device could not take at once count from when it did",
                    );
                }
            }
        }
        Ok(())
    }

    /// All that never completed.
    pub(super) fn finish(&mut self, out: &mut Out) {
        let open = self.pairs.finish(&mut out.items);
        out.notes.add(NEVER_COMPLETED, open);
    }
}

const NEVER_COMPLETED: &str = "commands have no completion in the trace";

#[derive(Debug)]
struct Request<'a> {
    /// Major and minor number.
    device: &'a str,
    operation: Operation,
    preflush: bool,
    fua: bool,
    sector: u64,
    sectors: u64,
    /// What stands in brackets at the end: a process, or an error.
    tail: &'a str,
}

impl<'a> Request<'a> {
    /// The request that `body` is of; none where traces have none such.
    fn of(body: &'a str) -> Result<Option<Self>, String> {
        let wrong = || "it is no request such as 259,0 WS 4096 () 8 + 8 [comm]".to_owned();
        let (front, rest) = body.split_once(" (").ok_or_else(wrong)?;
        // Commands of old kernels stand in the parentheses.
        let (_, rest) = rest.split_once(") ").ok_or_else(wrong)?;
        let mut words = front.split_whitespace();
        let (device, rwbs) = (words.next(), words.next());
        let (Some(device), Some(rwbs)) = (device, rwbs) else {
            return Err(wrong());
        };
        let (range, tail) = rest.split_once(" [").ok_or_else(wrong)?;
        let mut words = range.split_whitespace();
        let (sector, plus, sectors) = (words.next(), words.next(), words.next());
        let (Some(sector), Some("+"), Some(sectors)) = (sector, plus, sectors) else {
            return Err(wrong());
        };
        let sectors = integer(sectors, "number of sectors")?;
        let Some(letters) = Letters::of(rwbs, sectors) else {
            return Ok(None);
        };
        Ok(Some(Self {
            device,
            operation: letters.operation,
            preflush: letters.preflush,
            fua: letters.fua,
            sector: integer(sector, "sector")?,
            sectors,
            tail: tail.strip_suffix(']').ok_or_else(wrong)?,
        }))
    }

    fn io(&self, submit_ns: u64, device: u32) -> Result<Io, String> {
        let mut io = if self.operation == Operation::Flush {
            // Its sector means nothing; old kernels print the largest number.
            Io::new(submit_ns, self.operation, 0, 0)
        } else {
            Io::new(
                submit_ns,
                self.operation,
                times(self.sector, SECTOR, "sector")?,
                times(self.sectors, SECTOR, "number of sectors")?,
            )
        };
        io.device = device;
        io.fua = self.fua;
        Ok(io)
    }
}
