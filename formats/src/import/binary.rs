//! What all formats of rows of one length have in common.

use std::collections::VecDeque;

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

/// Reads files of rows, one after the other.
#[derive(Debug)]
pub(crate) struct Rows<R, const N: usize> {
    parser: R,
    streams: VecDeque<Stream>,
    devices: Names,
    notes: Notes,
    salvage: bool,
}

impl<R: Row<N>, const N: usize> Rows<R, N> {
    pub(crate) fn new(streams: Vec<Stream>, options: &ImportOptions, parser: R) -> Self {
        Self {
            parser,
            streams: streams.into(),
            devices: Names::default(),
            notes: Notes::default(),
            salvage: options.salvage,
        }
    }
}

impl<R: Row<N>, const N: usize> Import for Rows<R, N> {
    fn next(&mut self) -> Result<Option<Item>, FormatError> {
        while let Some(stream) = self.streams.front_mut() {
            let mut row = [0; N];
            match stream.fill(&mut row)? {
                Filled::Whole => match self.parser.row(&row, &mut self.notes) {
                    Ok(Some(io)) => return Ok(Some(Item::Io(io))),
                    Ok(None) => {}
                    Err(_) if self.salvage => self
                        .notes
                        .count("rows could not be read, and were left out"),
                    Err(problem) => return Err(stream.malformed(problem)),
                },
                Filled::End => drop(self.streams.pop_front()),
                Filled::Cut(_) => {
                    self.notes.count("last rows were cut off, and left out");
                    self.streams.pop_front();
                }
            }
        }
        Ok(None)
    }

    fn devices(&self) -> &[String] {
        self.devices.as_slice()
    }

    fn clock(&self) -> ImportClock {
        self.parser.clock()
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
