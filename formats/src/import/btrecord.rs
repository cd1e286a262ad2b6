//! btrecord's files, which btreplay reads: a head of four u64 (version, start,
//! counts that are not to be trusted), then bunches of { u64 packets, u64 time
//! in ns } and their packets of 24 bytes { u64 sector, u64 bytes, u32 whether it
//! reads, 4 unused }.

use super::binary::{u32_at, u64_at};
use super::merged::{Merged, Source};
use super::number::times;
use super::{Import, ImportClock, ImportOptions};
use crate::{Filled, FormatError, Input, Io, Item, Notes, Operation, Stream};

const VERSION: u64 = 0x10000;
const HEAD_BYTES: usize = 32;
/// Packets that a bunch has at most; btrecord stops at 512.
const PACKETS_MAX: u64 = 1 << 20;

/// Whether `bytes` starts as such a file does.
pub(crate) fn recognize(bytes: &[u8]) -> bool {
    bytes.len() >= HEAD_BYTES && u64_at(bytes, 0) == VERSION
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let mut files = Vec::new();
    for mut stream in input.streams()? {
        let mut head = [0; HEAD_BYTES];
        if stream.fill(&mut head)? != Filled::Whole || !recognize(&head) {
            return Err(stream.malformed("it does not start as a file of btrecord's"));
        }
        files.push(File {
            stream: Some(stream),
            left: 0,
            at_ns: 0,
            salvage: options.salvage,
        });
    }
    Ok(Box::new(Btrecord {
        files: Merged::new(files),
        notes: Notes::default(),
    }))
}

/// One file: those of several processors are merged by the times of bunches.
#[derive(Debug)]
struct File {
    /// None where nothing more is read of it.
    stream: Option<Stream>,
    /// Packets of the bunch that are still to come.
    left: u64,
    at_ns: u64,
    salvage: bool,
}

impl File {
    /// The next packet or head of a bunch; none at the end of a file.
    fn step(stream: &mut Stream, left: &mut u64, at_ns: &mut u64) -> Result<Step, FormatError> {
        let mut bytes = [0; 24];
        let wanted = if *left > 0 { 24 } else { 16 };
        let buffer = bytes.get_mut(..wanted).unwrap_or_default();
        match stream.fill(buffer)? {
            Filled::Whole => {}
            Filled::End if *left == 0 => return Ok(Step::End),
            Filled::End | Filled::Cut(_) => return Ok(Step::Cut),
        }
        if *left == 0 {
            *left = u64_at(&bytes, 0);
            *at_ns = u64_at(&bytes, 8);
            if *left > PACKETS_MAX {
                let problem = format!("a bunch claims {left} packets");
                *left = 0;
                return Err(stream.malformed(problem));
            }
            return Ok(Step::Head);
        }
        *left -= 1;
        let sector =
            times(u64_at(&bytes, 0), 512, "sector").map_err(|problem| stream.malformed(problem))?;
        let operation = if u32_at(&bytes, 16) == 1 {
            Operation::Read
        } else {
            Operation::Write
        };
        Ok(Step::Packet(Io::new(
            *at_ns,
            operation,
            sector,
            u64_at(&bytes, 8),
        )))
    }
}

enum Step {
    Head,
    Packet(Io),
    End,
    Cut,
}

impl Source for File {
    type Shared = Notes;

    fn item(&mut self, notes: &mut Notes) -> Result<Option<Item>, FormatError> {
        while let Some(stream) = &mut self.stream {
            match Self::step(stream, &mut self.left, &mut self.at_ns) {
                Ok(Step::Packet(io)) => return Ok(Some(Item::Io(io))),
                Ok(Step::Head) => {}
                Ok(Step::End) => self.stream = None,
                Ok(Step::Cut) => {
                    notes.count("last bunches were cut off, and left out");
                    self.stream = None;
                }
                Err(FormatError::Malformed { .. }) if self.salvage => {
                    notes.count("files were left out from a damaged bunch on");
                    self.stream = None;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

#[derive(Debug)]
struct Btrecord {
    files: Merged<File>,
    notes: Notes,
}

impl Import for Btrecord {
    fn next(&mut self) -> Result<Option<Item>, FormatError> {
        self.files.next(&mut self.notes)
    }

    fn devices(&self) -> &[String] {
        &[]
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: false,
        }
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }
}
