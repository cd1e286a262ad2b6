//! Traces made from traces: cut, merged, scaled, moved, made anonymous.
//!
//! ```text
//!   Reader --records--> Edit --records--> Rewriter --numbered anew--> Writer
//! ```
//!
//! Everything streams: memory does not grow with the trace. Commands keep their
//! order, and get new sequence numbers, as a missing number would tell of a
//! command that was lost.

mod anonymize;
mod cut;
mod merge;
mod queues;
mod remap;
mod scale;
#[cfg(test)]
mod tests;

use std::io::Write;

pub use anonymize::Anonymize;
pub use cut::Cut;
pub use merge::{MergeOptions, merge};
pub use remap::{Address, Extents, Remap};
pub use scale::{Factor, Scale};

use crate::{End, Header, Reader, Record, Totals, TraceError, Writer};

/// What is done with each record of a trace.
pub trait Edit {
    /// Changes the header of the trace that is written.
    fn header(&self, header: &mut Header) {
        let _ = header;
    }

    /// Hands on to `out` what `record` becomes: itself, changed or in parts, or
    /// nothing.
    fn edit(&mut self, record: Record, out: &mut Vec<Record>);

    /// Whether nothing that follows is wanted.
    fn is_over(&self) -> bool {
        false
    }
}

/// Writes records of other traces, numbered anew.
#[derive(Debug)]
pub struct Rewriter<W> {
    writer: Writer<W>,
    sequence: u64,
}

impl<W: Write> Rewriter<W> {
    /// Writes to `writer`, in which nothing is yet.
    #[must_use]
    pub fn new(writer: Writer<W>) -> Self {
        Self {
            writer,
            sequence: 0,
        }
    }

    /// Adds `record` as the next.
    ///
    /// # Errors
    /// As [`Writer::record`].
    pub fn record(&mut self, mut record: Record) -> Result<(), TraceError> {
        match &mut record {
            Record::Command { command, .. } => {
                command.sequence = self.sequence;
                self.sequence += 1;
            }
            Record::Event(event) => event.sequence = self.sequence,
            // Stands where the writer is.
            Record::Gap(_) => {}
        }
        self.writer.record(&record)
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// As [`Writer::finish_as`].
    pub fn finish(self, end: End) -> Result<(W, Totals), TraceError> {
        self.writer.finish_as(end)
    }
}

/// Writes what `edit` makes of `records`, which are some or all of `reader`'s,
/// to `writer`, whose header is that of `reader` changed by [`Edit::header`].
/// `progress` is told how many records were read, now and then and at the end.
///
/// # Errors
/// [`TraceError::Damaged`] where a block of `reader` is, [`TraceError::Io`]
/// where either end fails. What is in the writer then is a part.
pub fn rewrite<W: Write>(
    reader: &Reader,
    records: impl Iterator<Item = Result<Record, TraceError>>,
    edit: &mut dyn Edit,
    writer: Writer<W>,
    mut progress: impl FnMut(u64),
) -> Result<(W, Totals), TraceError> {
    const TELL_EVERY: u64 = 1 << 14;
    let mut rewriter = Rewriter::new(writer);
    let mut out = Vec::new();
    let mut read = 0_u64;
    for record in records {
        edit.edit(record?, &mut out);
        for record in out.drain(..) {
            rewriter.record(record)?;
        }
        read += 1;
        if read.is_multiple_of(TELL_EVERY) {
            progress(read);
        }
        if edit.is_over() {
            break;
        }
    }
    progress(read);
    rewriter.finish(reader.totals().end.clone())
}
