//! Parquet: what was written here comes back as it was; what others wrote is
//! read by the names of its columns.

mod foreign;
mod ours;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use traces::Header;

use super::merged::{Merged, Source};
use super::{Import, ImportClock, ImportOptions, Names};
use crate::parquet::{BATCH_ROWS, HEADER, MARKS, Mark, VERSION, schema};
use crate::{FormatError, Input, Item, Notes};

/// Whether a file starts so.
pub(crate) fn recognize(head: &[u8]) -> bool {
    head.starts_with(b"PAR1")
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let mut files = Vec::new();
    for path in input.paths() {
        files.push(Opened::open(path, options)?);
    }
    let original = match files.as_slice() {
        [] => {
            let problem = "there is no file to read: name one".to_owned();
            return Err(FormatError::Refused { problem });
        }
        [alone] => alone.header.clone(),
        _ => None,
    };
    Ok(Box::new(Parquet {
        files: Merged::new(files),
        original,
        shared: Shared {
            devices: Names::default(),
            notes: Notes::default(),
            salvage: options.salvage,
        },
    }))
}

/// Makes items of the rows of one file.
trait Rows {
    /// Appends the items of `batch`, whose first row has the number `row`.
    ///
    /// # Errors
    /// The number of the row that has a problem, and the problem.
    fn items(
        &mut self,
        batch: &RecordBatch,
        row: u64,
        into: &mut Sink<'_>,
    ) -> Result<(), (u64, String)>;

    /// Appends what stands after the last row.
    fn finish(&mut self, items: &mut Vec<Item>) {
        let _ = items;
    }

    fn clock(&self) -> ImportClock;
}

/// Where rows put what they amount to.
struct Sink<'a> {
    items: Vec<Item>,
    devices: &'a mut Names,
    notes: &'a mut Notes,
    salvage: bool,
}

/// A file that is being read.
struct Opened {
    name: String,
    reader: ParquetRecordBatchReader,
    rows: Box<dyn Rows + Send>,
    /// Where it is one of ours.
    header: Option<Header>,
    /// Rows read so far.
    row: u64,
    finished: bool,
    /// Items of the rows read so far that were not given out.
    items: std::vec::IntoIter<Item>,
}

impl Opened {
    fn open(path: &Path, options: &ImportOptions) -> Result<Self, FormatError> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            let problem =
                "Parquet is read from its end: name a file, not standard input".to_owned();
            return Err(FormatError::Refused { problem });
        }
        let file = File::open(path).map_err(|error| FormatError::io("open", &name, error))?;
        guarded(&name, || Self::new(&name, file, options))?
    }

    fn new(name: &str, file: File, options: &ImportOptions) -> Result<Self, FormatError> {
        // Types of Parquet's own, whatever library wrote it.
        let reading = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let damaged = |error| malformed(name, "the footer", &error);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, reading)
            .map_err(damaged)?;
        let metadata = builder.metadata().file_metadata();
        let values = metadata.key_value_metadata();
        let value = |key: &str| {
            let found = values.into_iter().flatten().find(|it| it.key == key)?;
            found.value.clone()
        };
        let ours = value(VERSION.0).is_some_and(|it| it == VERSION.1)
            && ours::fits(builder.schema(), &schema(false));
        let header: Option<Header> = value(HEADER)
            .filter(|_| ours)
            .and_then(|json| serde_json::from_str(&json).ok());
        let (rows, columns): (Box<dyn Rows + Send>, _) = match &header {
            Some(header) => {
                let marks: Option<Vec<Mark>> =
                    value(MARKS).and_then(|json| serde_json::from_str(&json).ok());
                let rows = ours::Commands::new(header, marks.unwrap_or_default());
                (Box::new(rows), None)
            }
            None => {
                let rows = foreign::Requests::new(name, builder.schema(), options)?;
                let columns = rows.columns();
                (Box::new(rows), Some(columns))
            }
        };
        let mask = match columns {
            Some(columns) => ProjectionMask::roots(builder.parquet_schema(), columns),
            None => ProjectionMask::all(),
        };
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(damaged)?;
        Ok(Self {
            name: name.to_owned(),
            reader,
            rows,
            header,
            row: 0,
            finished: false,
            items: Vec::new().into_iter(),
        })
    }

    /// The items of the next rows; none at the end.
    fn next(&mut self, shared: &mut Shared) -> Result<Option<Vec<Item>>, FormatError> {
        if self.finished {
            return Ok(None);
        }
        let place = format!("row {}", self.row);
        let read = guarded(&self.name, || {
            self.reader
                .next()
                .transpose()
                .map_err(|error| malformed(&self.name, &place, &error))
        });
        let batch = match read.and_then(|it| it) {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                self.finished = true;
                let mut items = Vec::new();
                self.rows.finish(&mut items);
                return Ok(Some(items));
            }
            Err(_) if shared.salvage => {
                shared
                    .notes
                    .count("files were damaged, and left out from there on");
                self.finished = true;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut into = Sink {
            items: Vec::with_capacity(batch.num_rows()),
            devices: &mut shared.devices,
            notes: &mut shared.notes,
            salvage: shared.salvage,
        };
        let converted = self.rows.items(&batch, self.row, &mut into);
        converted
            .map_err(|(row, problem)| malformed(&self.name, &format!("row {row}"), &problem))?;
        // Widens.
        self.row += batch.num_rows() as u64;
        Ok(Some(into.items))
    }
}

fn malformed(name: &str, place: &str, problem: &dyn std::fmt::Display) -> FormatError {
    FormatError::Malformed {
        path: name.to_owned(),
        place: place.to_owned(),
        problem: problem.to_string(),
    }
}

/// Runs the decoder, which is not ours and not held to our rules: should it
/// panic on a damaged file, that is an error like any other.
fn guarded<T>(name: &str, decode: impl FnOnce() -> T) -> Result<T, FormatError> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|_| {
        let problem = "it is damaged in a way that the decoder does not expect";
        malformed(name, "the data", &problem)
    })
}

/// What all files share.
struct Shared {
    devices: Names,
    notes: Notes,
    salvage: bool,
}

impl Source for Opened {
    type Shared = Shared;

    fn item(&mut self, shared: &mut Shared) -> Result<Option<Item>, FormatError> {
        loop {
            if let Some(item) = self.items.next() {
                return Ok(Some(item));
            }
            match self.next(shared)? {
                Some(items) => self.items = items.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

struct Parquet {
    /// Merged by the times of their rows.
    files: Merged<Opened>,
    original: Option<Header>,
    shared: Shared,
}

impl Import for Parquet {
    fn next(&mut self) -> Result<Option<Item>, FormatError> {
        self.files.next(&mut self.shared)
    }

    fn devices(&self) -> &[String] {
        self.shared.devices.as_slice()
    }

    fn clock(&self) -> ImportClock {
        let clocks = self.files.sources().map(|file| file.rows.clock());
        let finest = clocks.reduce(|one, other| ImportClock {
            resolution_ns: one.resolution_ns.min(other.resolution_ns),
            unix: one.unix && other.unix,
        });
        finest.unwrap_or(ImportClock {
            resolution_ns: 1,
            unix: false,
        })
    }

    fn notes(&self) -> &Notes {
        &self.shared.notes
    }

    fn original(&self) -> Option<&Header> {
        self.original.as_ref()
    }
}
