//! What all formats of lines have in common.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt::Debug;

use super::{Import, ImportClock, ImportOptions, Names};
use crate::{FormatError, Io, Item, Notes, Stream};

/// Makes sense of the lines of one format.
pub(crate) trait Line: Send {
    /// What is known of one file, beside what all files of a trace share.
    type File: Debug + Default + Send;

    /// What `line` of `file` amounts to goes to `out`.
    ///
    /// # Errors
    /// What is wrong with it; the caller says where it stands.
    fn line(&mut self, file: &mut Self::File, line: &str, out: &mut Out) -> Result<(), String>;

    /// When `line` of `file` was written, in any unit that all lines have; none
    /// where it does not say: it belongs to the one before. By these, lines of
    /// several files are merged.
    fn time(&self, file: &mut Self::File, line: &str) -> Option<u64>;

    /// The files are at their end: what was held back goes to `out`.
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

/// One file.
#[derive(Debug)]
struct Source<F> {
    stream: Stream,
    file: F,
    /// The line that comes next.
    line: Vec<u8>,
    /// Its time, or that of the one before where it has none.
    time: u64,
}

/// Reads files of lines. Several are merged by the times of their lines, and
/// where these are the same, in the order in which the files were named: files
/// of a device each, or of a processor, become one trace, and those that
/// continue each other come one after the other.
#[derive(Debug)]
pub(crate) struct Lines<L: Line> {
    parser: L,
    sources: Vec<Source<L::File>>,
    /// Time and number of each source that has a line, the earliest first.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    started: bool,
    out: Out,
    salvage: bool,
    finished: bool,
}

impl<L: Line> Lines<L> {
    pub(crate) fn new(streams: Vec<Stream>, options: &ImportOptions, parser: L) -> Self {
        let sources = streams.into_iter().map(|stream| Source {
            stream,
            file: L::File::default(),
            line: Vec::new(),
            time: 0,
        });
        Self {
            parser,
            sources: sources.collect(),
            next: BinaryHeap::new(),
            started: false,
            out: Out::default(),
            salvage: options.salvage,
            finished: false,
        }
    }

    /// What the lines so far made of it.
    pub(crate) fn parser(&self) -> &L {
        &self.parser
    }

    /// One more of `what`, in the notes.
    pub(crate) fn count(&mut self, what: &'static str) {
        self.out.notes.count(what);
    }

    /// Reads the next line of the source `number` that is not blank.
    fn fetch(&mut self, number: usize) -> Result<(), FormatError> {
        let alone = self.sources.len() == 1;
        let Some(source) = self.sources.get_mut(number) else {
            return Ok(());
        };
        while source.stream.line(&mut source.line)? {
            if source.line.trim_ascii().is_empty() {
                continue;
            }
            if !alone
                && let Ok(line) = std::str::from_utf8(&source.line)
                && let Some(time) = self.parser.time(&mut source.file, line)
            {
                source.time = time;
            }
            self.next.push(Reverse((source.time, number)));
            break;
        }
        Ok(())
    }

    /// Takes in one line; false at the end of all files.
    fn step(&mut self) -> Result<bool, FormatError> {
        if !self.started {
            self.started = true;
            for number in 0..self.sources.len() {
                self.fetch(number)?;
            }
        }
        let Some(Reverse((_, number))) = self.next.pop() else {
            return Ok(false);
        };
        self.take(number)?;
        self.fetch(number)?;
        Ok(true)
    }

    /// Takes in the line of the source `number`.
    fn take(&mut self, number: usize) -> Result<(), FormatError> {
        let Some(source) = self.sources.get_mut(number) else {
            return Ok(());
        };
        let parsed = match std::str::from_utf8(&source.line) {
            Ok(line) => self.parser.line(&mut source.file, line, &mut self.out),
            Err(_) => Err("it is not text".to_owned()),
        };
        let Err(problem) = parsed else {
            return Ok(());
        };
        // Whoever wrote it was stopped in the middle of its last line.
        if source.stream.is_cut() {
            self.out
                .notes
                .count("last lines were cut off, and left out");
        } else if self.salvage {
            self.out
                .notes
                .count("lines could not be read, and were left out");
        } else {
            let shown: String = String::from_utf8_lossy(&source.line)
                .chars()
                .take(80)
                .collect();
            return Err(source.stream.malformed(format!("{problem}: {shown:?}")));
        }
        Ok(())
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
