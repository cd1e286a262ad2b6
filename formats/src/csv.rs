//! CSV files of ours: a row a command, in the order of their sequence, with all
//! that a trace holds.
//!
//! | column | |
//! |---|---|
//! | `record` | `command`, or `trace`, `event`, `gap`: see below |
//! | `sequence` | place in the order of fetching |
//! | `submit_ns` | when it was submitted, of the trace's clock |
//! | `complete_ns` | when it completed; empty where it never did |
//! | `queue` | submission queue; 0 is the admin queue |
//! | `cid` | command identifier |
//! | `opcode` | opcode, of the queue's command set |
//! | `operation` | its name: `read`, `write_zeroes`, `identify` |
//! | `nsid` | namespace |
//! | `slba`, `blocks` | range; empty where it has none |
//! | `offset_bytes`, `length_bytes` | the same in bytes |
//! | `fua` | force unit access: 0 or 1 |
//! | `flags` | second byte of the submission queue entry |
//! | `cdw2`, `cdw3`, `cdw10` ... `cdw15` | command dwords |
//! | `status` | status field, 0 for success; empty as above |
//! | `result` | dword 0 of the completion; empty as above |
//! | `ranges` | of Dataset Management: `attributes:blocks:slba`, by blanks |
//! | `note` | of other records |
//!
//! All numbers are decimal. The first rows are of the record `trace`: their
//! notes, one after the other, are the trace's header as JSON. An `event` has
//! its name for a note, a `gap` the number of commands that were lost.
//! `operation`, the range and `fua` are for people: the dwords say it all.

/// The columns, in order.
pub(crate) const COLUMNS: [&str; 26] = [
    "record",
    "sequence",
    "submit_ns",
    "complete_ns",
    "queue",
    "cid",
    "opcode",
    "operation",
    "nsid",
    "slba",
    "blocks",
    "offset_bytes",
    "length_bytes",
    "fua",
    "flags",
    "cdw2",
    "cdw3",
    "cdw10",
    "cdw11",
    "cdw12",
    "cdw13",
    "cdw14",
    "cdw15",
    "status",
    "result",
    "ranges",
];
/// The last column.
pub(crate) const NOTE: &str = "note";

/// Values of `record`.
pub(crate) mod record {
    pub(crate) const COMMAND: &str = "command";
    pub(crate) const TRACE: &str = "trace";
    pub(crate) const EVENT: &str = "event";
    pub(crate) const GAP: &str = "gap";
}
