//! What all formats of rows of one length have in common.

use super::merged::{Merged, Source};
use super::{Import, ImportClock, ImportOptions, Names};
use crate::{Filled, FormatError, Io, Item, Notes, Stream};

/// Makes sense of the rows of one format.
pub(crate) trait Row<const N: usize>: Send {
    /// What a row amounts to; none where it is nothing to replay.
    ///
    /// # Errors
    /// What is wrong with it; the caller says where it stands.
    fn row(&mut self, row: &[u8; N], notes: &mut Notes) -> Result<Option<Io>, String>;

    /// The clock.
    fn clock(&self) -> ImportClock;
}

/// One file of rows.
#[derive(Debug)]
struct File<R, const N: usize> {
    parser: R,
    stream: Stream,
    salvage: bool,
}

impl<R: Row<N>, const N: usize> Source for File<R, N> {
    type Shared = Notes;

    fn item(&mut self, notes: &mut Notes) -> Result<Option<Item>, FormatError> {
        let mut row = [0; N];
        loop {
            match self.stream.fill(&mut row)? {
                Filled::Whole => match self.parser.row(&row, notes) {
                    Ok(Some(io)) => return Ok(Some(Item::Io(io))),
                    Ok(None) => {}
                    Err(_) if self.salvage => {
                        notes.count("rows could not be read, and were left out");
                    }
                    Err(problem) => return Err(self.stream.malformed(problem)),
                },
                Filled::End => return Ok(None),
                Filled::Cut(_) => {
                    notes.count("last rows were cut off, and left out");
                    return Ok(None);
                }
            }
        }
    }
}

/// Reads files of rows, merged by their times.
#[derive(Debug)]
pub(crate) struct Rows<R, const N: usize> {
    files: Merged<File<R, N>>,
    clock: ImportClock,
    devices: Names,
    notes: Notes,
}

impl<R: Row<N> + Clone, const N: usize> Rows<R, N> {
    pub(crate) fn new(streams: Vec<Stream>, options: &ImportOptions, parser: &R) -> Self {
        let salvage = options.salvage;
        Self {
            files: Merged::new(streams.into_iter().map(|stream| File {
                parser: parser.clone(),
                stream,
                salvage,
            })),
            clock: parser.clock(),
            devices: Names::default(),
            notes: Notes::default(),
        }
    }
}

impl<R: Row<N>, const N: usize> Import for Rows<R, N> {
    fn next(&mut self) -> Result<Option<Item>, FormatError> {
        self.files.next(&mut self.notes)
    }

    fn devices(&self) -> &[String] {
        self.devices.as_slice()
    }

    fn clock(&self) -> ImportClock {
        self.clock
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }
}

/// A little-endian number at `at` of a row.
pub(crate) fn u16_at(row: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(chunk(row, at))
}

/// A little-endian number at `at` of a row.
pub(crate) fn u32_at(row: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(chunk(row, at))
}

/// A little-endian number at `at` of a row.
pub(crate) fn u64_at(row: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(chunk(row, at))
}

fn chunk<const N: usize>(row: &[u8], at: usize) -> [u8; N] {
    row.get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .unwrap_or([0; N])
}
