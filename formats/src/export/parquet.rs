//! Parquet, for those who ask questions of traces in SQL or data frames; see
//! [`crate::parquet`] for the columns.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Int64Builder, ListBuilder, StringDictionaryBuilder, StructBuilder,
    UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field};
use nvme::{DsmRange, NamespaceId};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use traces::{CommandRecord, Header, Record};

use super::{Carries, Export, operation_name, write_error};
use crate::parquet::{
    BATCH_ROWS, GROUP_ROWS, HEADER, MARKS, MARKS_MAX, Mark, VERSION, range_fields, schema,
};
use crate::{FormatError, Notes, Operation};

/// All of it: whole commands.
pub(crate) const CARRIES: Carries = Carries {
    resolution_ns: 1,
    operations: &Operation::ALL,
    latency: true,
    queue: true,
    device: true,
    fua: true,
    status: true,
};

/// Columns that grow, or hardly repeat: a dictionary is of no use to them.
const GROWING: [&str; 3] = ["sequence", "submit_ns", "complete_ns"];
const SCATTERED: [&str; 4] = ["slba", "offset_bytes", "cdw10", "cdw11"];

/// Starts to write one.
pub(crate) fn create(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    let writer =
        ArrowWriter::try_new(file, schema(true), Some(properties(header)?)).map_err(failed)?;
    Ok(Box::new(Parquet {
        writer,
        header: header.clone(),
        columns: Columns::default(),
        waiting: 0,
        rows: 0,
        marks: Vec::new(),
        names: HashMap::new(),
        notes: Notes::default(),
    }))
}

fn properties(header: &Header) -> Result<WriterProperties, FormatError> {
    let json = serde_json::to_string(header).map_err(|error| write_error(error.into()))?;
    let level = ZstdLevel::try_new(3).map_err(failed)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_created_by(concat!("vssd ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![
            KeyValue::new(VERSION.0.to_owned(), VERSION.1.to_owned()),
            KeyValue::new(HEADER.to_owned(), json),
        ]));
    for name in GROWING {
        let path = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    for name in SCATTERED {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    Ok(properties.build())
}

fn failed(error: ParquetError) -> FormatError {
    write_error(std::io::Error::other(error))
}

struct Parquet {
    writer: ArrowWriter<Box<dyn Write + Send>>,
    header: Header,
    columns: Columns,
    /// Rows in `columns`.
    waiting: usize,
    /// Rows so far.
    rows: u64,
    marks: Vec<Mark>,
    /// What opcodes are called, of the admin queue or others.
    names: HashMap<(bool, u8), String>,
    notes: Notes,
}

impl Parquet {
    fn command(&mut self, command: &CommandRecord, ranges: &[DsmRange]) -> Result<(), FormatError> {
        let name = self
            .names
            .entry((command.is_admin(), command.opcode))
            .or_insert_with(|| operation_name(command));
        let block_bytes = self.header.block_bytes(command.nsid);
        if self.columns.add(command, ranges, name, block_bytes) {
            self.notes.count("times of 2^63 ns and more were clipped");
        }
        self.rows += 1;
        self.waiting += 1;
        if self.waiting >= BATCH_ROWS {
            self.write()?;
        }
        Ok(())
    }

    fn mark(&mut self, mark: Option<Mark>) {
        match mark {
            Some(mark) if self.marks.len() < MARKS_MAX => self.marks.push(mark),
            _ => self.notes.count("controller events and gaps were left out"),
        }
    }

    fn write(&mut self) -> Result<(), FormatError> {
        self.waiting = 0;
        let batch = self
            .columns
            .finish()
            .map_err(|error| write_error(std::io::Error::other(error)))?;
        self.writer.write(&batch).map_err(failed)
    }
}

impl Export for Parquet {
    fn record(&mut self, record: &Record) -> Result<(), FormatError> {
        match record {
            Record::Command {
                command, ranges, ..
            } => self.command(command, ranges),
            Record::Event(event) => {
                self.mark(Mark::event(self.rows, event));
                Ok(())
            }
            Record::Gap(gap) => {
                self.mark(Some(Mark::gap(self.rows, gap)));
                Ok(())
            }
        }
    }

    fn finish(mut self: Box<Self>) -> Result<Notes, FormatError> {
        if self.waiting > 0 {
            self.write()?;
        }
        if !self.marks.is_empty() {
            let json =
                serde_json::to_string(&self.marks).map_err(|error| write_error(error.into()))?;
            self.writer
                .append_key_value_metadata(KeyValue::new(MARKS.to_owned(), json));
        }
        let mut file = self.writer.into_inner().map_err(failed)?;
        file.flush().map_err(write_error)?;
        Ok(self.notes)
    }
}

/// The columns of the next batch.
struct Columns {
    sequence: UInt64Builder,
    submit_ns: Int64Builder,
    complete_ns: Int64Builder,
    queue: UInt16Builder,
    cid: UInt16Builder,
    opcode: UInt8Builder,
    operation: StringDictionaryBuilder<Int32Type>,
    nsid: UInt32Builder,
    slba: UInt64Builder,
    blocks: UInt32Builder,
    offset_bytes: UInt64Builder,
    length_bytes: UInt64Builder,
    fua: BooleanBuilder,
    flags: UInt8Builder,
    /// 2, 3, 10 to 15.
    dwords: [UInt32Builder; 8],
    status: UInt16Builder,
    result: UInt32Builder,
    ranges: ListBuilder<StructBuilder>,
}

impl Default for Columns {
    fn default() -> Self {
        let range = Field::new("item", DataType::Struct(range_fields()), false);
        let ranges = StructBuilder::from_fields(range_fields(), 0);
        Self {
            sequence: UInt64Builder::new(),
            submit_ns: Int64Builder::new(),
            complete_ns: Int64Builder::new(),
            queue: UInt16Builder::new(),
            cid: UInt16Builder::new(),
            opcode: UInt8Builder::new(),
            operation: StringDictionaryBuilder::new(),
            nsid: UInt32Builder::new(),
            slba: UInt64Builder::new(),
            blocks: UInt32Builder::new(),
            offset_bytes: UInt64Builder::new(),
            length_bytes: UInt64Builder::new(),
            fua: BooleanBuilder::new(),
            flags: UInt8Builder::new(),
            dwords: std::array::from_fn(|_| UInt32Builder::new()),
            status: UInt16Builder::new(),
            result: UInt32Builder::new(),
            ranges: ListBuilder::new(ranges).with_field(range),
        }
    }
}

impl Columns {
    /// Adds a row. Whether a time had to be clipped.
    fn add(
        &mut self,
        command: &CommandRecord,
        ranges: &[DsmRange],
        name: &str,
        block_bytes: u32,
    ) -> bool {
        let completion = command.completion;
        let complete_ns = completion.map(|it| it.complete_ns);
        let (submit_ns, early) = signed(command.submit_ns);
        let complete = complete_ns.map(signed);
        self.sequence.append_value(command.sequence);
        self.submit_ns.append_value(submit_ns);
        self.complete_ns.append_option(complete.map(|it| it.0));
        self.queue.append_value(command.queue.0);
        self.cid.append_value(command.cid.0);
        self.opcode.append_value(command.opcode);
        self.operation.append_value(name);
        let NamespaceId(nsid) = command.nsid;
        self.nsid.append_value(nsid);
        let range = command.lba_range();
        let bytes = |count: u64| count.checked_mul(block_bytes.into());
        self.slba.append_option(range.map(|it| it.0.0));
        self.blocks.append_option(range.map(|it| it.1));
        self.offset_bytes
            .append_option(range.and_then(|it| bytes(it.0.0)));
        self.length_bytes
            .append_option(range.and_then(|it| bytes(it.1.into())));
        self.fua.append_value(command.fua());
        self.flags.append_value(command.flags);
        let values = command.cdw2_3.iter().chain(&command.cdw10_15);
        for (dword, value) in self.dwords.iter_mut().zip(values) {
            dword.append_value(*value);
        }
        self.status
            .append_option(completion.map(|it| it.status.field()));
        self.result.append_option(completion.map(|it| it.result));
        self.ranges(ranges);
        early || complete.is_some_and(|it| it.1)
    }

    fn ranges(&mut self, ranges: &[DsmRange]) {
        let list = self.ranges.values();
        for range in ranges {
            // As `range_fields` has them.
            for (index, value) in [range.context.get(), range.blocks.get()].iter().enumerate() {
                if let Some(column) = list.field_builder::<UInt32Builder>(index) {
                    column.append_value(*value);
                }
            }
            if let Some(column) = list.field_builder::<UInt64Builder>(2) {
                column.append_value(range.slba.get());
            }
            list.append(true);
        }
        self.ranges.append(true);
    }

    fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.sequence.finish()),
            Arc::new(self.submit_ns.finish()),
            Arc::new(self.complete_ns.finish()),
            Arc::new(self.queue.finish()),
            Arc::new(self.cid.finish()),
            Arc::new(self.opcode.finish()),
            Arc::new(self.operation.finish()),
            Arc::new(self.nsid.finish()),
            Arc::new(self.slba.finish()),
            Arc::new(self.blocks.finish()),
            Arc::new(self.offset_bytes.finish()),
            Arc::new(self.length_bytes.finish()),
            Arc::new(self.fua.finish()),
            Arc::new(self.flags.finish()),
        ];
        for dword in &mut self.dwords {
            columns.push(Arc::new(dword.finish()));
        }
        columns.push(Arc::new(self.status.finish()));
        columns.push(Arc::new(self.result.finish()));
        columns.push(Arc::new(self.ranges.finish()));
        RecordBatch::try_new(schema(true), columns)
    }
}

/// `ns` with a sign, which readers want; and whether it had to be clipped.
fn signed(ns: u64) -> (i64, bool) {
    match i64::try_from(ns) {
        Ok(ns) => (ns, false),
        Err(_) => (i64::MAX, true),
    }
}
