//! What all formats of lines have in common.

use std::collections::VecDeque;

use super::{Import, ImportClock, ImportOptions, Names};
use crate::{FormatError, Io, Item, Notes, Stream};

/// Makes sense of the lines of one format.
pub(crate) trait Line: Send {
    /// What `line` amounts to goes to `out`.
    ///
    /// # Errors
    /// What is wrong with it; the caller says where it stands.
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), String>;

    /// The file is at its end: what was held back goes to `out`.
    fn finish(&mut self, out: &mut Out) {
        let _ = out;
    }

    /// The clock, as far as the lines so far tell.
    fn clock(&self) -> ImportClock;
}

/// Where lines put what they amount to.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) items: VecDeque<Item>,
    pub(crate) devices: Names,
    pub(crate) notes: Notes,
}

impl Out {
    /// A request.
    pub(crate) fn io(&mut self, io: Io) {
        self.items.push_back(Item::Io(io));
    }
}

/// Reads files of lines, one after the other.
#[derive(Debug)]
pub(crate) struct Lines<L> {
    parser: L,
    streams: VecDeque<Stream>,
    line: Vec<u8>,
    out: Out,
    salvage: bool,
    finished: bool,
}

impl<L: Line> Lines<L> {
    pub(crate) fn new(streams: Vec<Stream>, options: &ImportOptions, parser: L) -> Self {
        Self {
            parser,
            streams: streams.into(),
            line: Vec::new(),
            out: Out::default(),
            salvage: options.salvage,
            finished: false,
        }
    }

    /// Reads one line; false at the end of all files.
    fn step(&mut self) -> Result<bool, FormatError> {
        let Some(stream) = self.streams.front_mut() else {
            return Ok(false);
        };
        if !stream.line(&mut self.line)? {
            self.streams.pop_front();
            return Ok(!self.streams.is_empty());
        }
        let parsed = match std::str::from_utf8(&self.line) {
            Ok(line) if line.trim().is_empty() => Ok(()),
            Ok(line) => self.parser.line(line, &mut self.out),
            Err(_) => Err("it is not text".to_owned()),
        };
        let Err(problem) = parsed else {
            return Ok(true);
        };
        // Whoever wrote it was stopped in the middle of its last line.
        if stream.is_cut() {
            self.out
                .notes
                .count("last lines were cut off, and left out");
        } else if self.salvage {
            self.out
                .notes
                .count("lines could not be read, and were left out");
        } else {
            let shown: String = String::from_utf8_lossy(&self.line)
                .chars()
                .take(80)
                .collect();
            return Err(stream.malformed(format!("{problem}: {shown:?}")));
        }
        Ok(true)
    }
}

impl<L: Line> Import for Lines<L> {
    fn next(&mut self) -> Result<Option<Item>, FormatError> {
        loop {
            if let Some(item) = self.out.items.pop_front() {
                return Ok(Some(item));
            }
            if self.finished {
                return Ok(None);
            }
            if !self.step()? {
                self.parser.finish(&mut self.out);
                self.finished = true;
            }
        }
    }

    fn devices(&self) -> &[String] {
        self.out.devices.as_slice()
    }

    fn clock(&self) -> ImportClock {
        self.parser.clock()
    }

    fn notes(&self) -> &Notes {
        &self.out.notes
    }
}
