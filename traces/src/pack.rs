//! From a recording to a trace for keeping.

use std::io::Write;

use crate::error::TraceError;
use crate::totals::{End, Totals};
use crate::{Reader, Writer};

/// Copies every record of `reader` to `writer`, in submission order, and
/// finishes it; `writer` is one with [`crate::Effort::Packed`] and the header
/// of `reader`. How the recording ended is kept. `progress` is told how many
/// records were copied, now and then and at the end.
///
/// # Errors
/// [`TraceError::Damaged`] where a block of `reader` is, [`TraceError::Io`]
/// where either end fails. What is in the writer then is a part.
pub fn pack<W: Write>(
    reader: &Reader,
    mut writer: Writer<W>,
    mut progress: impl FnMut(u64),
) -> Result<(W, Totals), TraceError> {
    const TELL_EVERY: u64 = 1 << 14;
    let mut copied = 0_u64;
    reader.with_records(|records| {
        for record in records.with_payload() {
            writer.record(&record?)?;
            copied += 1;
            if copied.is_multiple_of(TELL_EVERY) {
                progress(copied);
            }
        }
        progress(copied);
        Ok::<_, TraceError>(())
    })?;
    let end: End = reader.totals().end.clone();
    writer.finish_as(end)
}
