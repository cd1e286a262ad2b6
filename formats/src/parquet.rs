//! Parquet files of ours: a row a command, in the order of their sequence.
//!
//! | column | type | |
//! |---|---|---|
//! | `sequence` | `UINT64` | place in the order of fetching |
//! | `submit_ns` | `INT64` | when it was submitted, of the trace's clock |
//! | `complete_ns` | `INT64` | when it completed; null where it never did |
//! | `queue` | `UINT16` | submission queue; 0 is the admin queue |
//! | `cid` | `UINT16` | command identifier |
//! | `opcode` | `UINT8` | opcode, of the queue's command set |
//! | `operation` | `STRING` | its name: `read`, `write_zeroes`, `identify` |
//! | `nsid` | `UINT32` | namespace |
//! | `slba`, `blocks` | `UINT64`, `UINT32` | range; null where it has none |
//! | `offset_bytes`, `length_bytes` | `UINT64` | the same in bytes |
//! | `fua` | `BOOLEAN` | force unit access |
//! | `flags` | `UINT8` | second byte of the submission queue entry |
//! | `cdw2`, `cdw3`, `cdw10` ... `cdw15` | `UINT32` | command dwords |
//! | `status` | `UINT16` | status field, 0 for success; null as above |
//! | `result` | `UINT32` | dword 0 of the completion; null as above |
//! | `ranges` | list of `attributes`, `blocks`, `slba` | of Dataset Management |
//!
//! Key-value metadata of the file has the trace's header as JSON
//! (`vssd.header`), and its controller events and gaps with the rows before
//! which they stand (`vssd.marks`).

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use traces::{Event, EventRecord, Gap};

/// Key of the header.
pub(crate) const HEADER: &str = "vssd.header";
/// Key of events and gaps.
pub(crate) const MARKS: &str = "vssd.marks";
/// Key of the version of this layout.
pub(crate) const VERSION: (&str, &str) = ("vssd.version", "1");
/// Rows a group: what a reader takes at once.
pub(crate) const GROUP_ROWS: usize = 128 << 10;
/// Rows on their way between memory and a group.
pub(crate) const BATCH_ROWS: usize = 8 << 10;
/// Events and gaps that are kept at most: they stand in the file's footer.
pub(crate) const MARKS_MAX: usize = 1 << 16;

/// The fields of a range.
pub(crate) fn range_fields() -> Fields {
    Fields::from(vec![
        Field::new("attributes", DataType::UInt32, false),
        Field::new("blocks", DataType::UInt32, false),
        Field::new("slba", DataType::UInt64, false),
    ])
}

/// All columns, in order; `operation` as it is written or, where that is not
/// `written`, as it is read.
pub(crate) fn schema(written: bool) -> SchemaRef {
    let of = |name: &str, kind: DataType| Field::new(name, kind, false);
    let or_null = |name: &str, kind: DataType| Field::new(name, kind, true);
    let operation = if written {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    } else {
        DataType::Utf8
    };
    let range = of("item", DataType::Struct(range_fields()));
    let mut fields = vec![
        of("sequence", DataType::UInt64),
        of("submit_ns", DataType::Int64),
        or_null("complete_ns", DataType::Int64),
        of("queue", DataType::UInt16),
        of("cid", DataType::UInt16),
        of("opcode", DataType::UInt8),
        of("operation", operation),
        of("nsid", DataType::UInt32),
        or_null("slba", DataType::UInt64),
        or_null("blocks", DataType::UInt32),
        or_null("offset_bytes", DataType::UInt64),
        or_null("length_bytes", DataType::UInt64),
        of("fua", DataType::Boolean),
        of("flags", DataType::UInt8),
    ];
    fields.extend(DWORDS.map(|name| of(name, DataType::UInt32)));
    fields.extend([
        or_null("status", DataType::UInt16),
        or_null("result", DataType::UInt32),
        of("ranges", DataType::List(Arc::new(range))),
    ]);
    Arc::new(Schema::new(fields))
}

/// The columns of command dwords.
pub(crate) const DWORDS: [&str; 8] = [
    "cdw2", "cdw3", "cdw10", "cdw11", "cdw12", "cdw13", "cdw14", "cdw15",
];

/// An event or a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The row before which it stands.
    pub(crate) row: u64,
    /// When, nanoseconds.
    pub(crate) at_ns: u64,
    /// What happened to the controller; none for a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<String>,
    /// The sequence number of the command after the event.
    #[serde(default)]
    pub(crate) sequence: u64,
    /// How many commands were lost in a gap.
    #[serde(default)]
    pub(crate) lost: u64,
}

/// What events are called.
const EVENTS: &[(Event, &str)] = &[
    (Event::Connect, "connect"),
    (Event::Disconnect, "disconnect"),
    (Event::Enable, "enable"),
    (Event::Reset, "reset"),
    (Event::FunctionReset, "function_reset"),
    (Event::ShutdownNormal, "shutdown_normal"),
    (Event::ShutdownAbrupt, "shutdown_abrupt"),
    (Event::FatalStatus, "fatal_status"),
];

impl Mark {
    /// `record` before the row `row`; none where it has no name here.
    pub(crate) fn event(row: u64, record: &EventRecord) -> Option<Self> {
        let name = EVENTS.iter().find(|it| it.0 == record.event)?.1;
        Some(Self {
            row,
            at_ns: record.at_ns,
            event: Some(name.to_owned()),
            sequence: record.sequence,
            lost: 0,
        })
    }

    /// `gap` before the row `row`.
    pub(crate) fn gap(row: u64, gap: &Gap) -> Self {
        Self {
            row,
            at_ns: gap.at_ns,
            event: None,
            sequence: 0,
            lost: gap.lost,
        }
    }

    /// It, as an item again; none where its event is not known.
    pub(crate) fn item(&self) -> Option<crate::Item> {
        let Some(name) = &self.event else {
            return Some(crate::Item::Gap(Gap {
                at_ns: self.at_ns,
                lost: self.lost,
            }));
        };
        let event = EVENTS.iter().find(|it| it.1 == name)?.0;
        Some(crate::Item::Event(EventRecord {
            at_ns: self.at_ns,
            sequence: self.sequence,
            event,
        }))
    }
}
