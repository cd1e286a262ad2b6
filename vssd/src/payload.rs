//! What is written, shown to an observer that wants to see it.
//!
//! The data are taken when the command is submitted to the medium, before the
//! medium reads them. A guest that changes a buffer while the drive has it may
//! therefore have written something else: what, no drive says either.

use traces::{CommandRecord, PayloadPlace, Tap};

use crate::memory::Segments;
use crate::namespace::Namespaces;

/// Shows `tap` the data of the write of `record`.
#[inline(never)]
pub(crate) fn show<T: Tap>(
    tap: &mut T,
    namespaces: &Namespaces,
    record: &CommandRecord,
    from: &Segments<'_>,
) {
    let Some(place) = place(namespaces, record) else {
        return;
    };
    let mut cursor = from.cursor();
    tap.payload(&place, from.bytes(), &mut |to| {
        cursor.read(to);
    });
}

/// As [`show`], of data that are the drive's own already.
pub(crate) fn show_own<T: Tap>(
    tap: &mut T,
    namespaces: &Namespaces,
    record: &CommandRecord,
    data: &[u8],
) {
    let Some(place) = place(namespaces, record) else {
        return;
    };
    let mut rest = data;
    tap.payload(&place, data.len(), &mut |to| {
        if let Some((now, later)) = rest.split_at_checked(to.len()) {
            to.copy_from_slice(now);
            rest = later;
        }
    });
}

fn place(namespaces: &Namespaces, record: &CommandRecord) -> Option<PayloadPlace> {
    let namespace = namespaces.get(record.nsid)?;
    Some(PayloadPlace {
        sequence: record.sequence,
        submit_ns: record.submit_ns,
        block_bytes: namespace.block_bytes,
        first_block: 0,
    })
}
