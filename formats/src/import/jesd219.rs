//! JESD219A's client master trace: lines of one leading character, then `Write
//! LBA blocks`, `Trims LBA blocks` or `Flush`; blocks of 512 bytes. It has no
//! times, so that all commands have the same: replay it without (`--pace max`,
//! or a closed loop).

use super::lines::{Line, Lines, Out};
use super::number::{integer, times};
use super::splitter::exactly;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// Whether `text` starts as such a file does: its first ten lines are commands.
pub(crate) fn recognize(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).take(10);
    let parses = |line: &str| parse(line).is_ok();
    lines.next().is_some_and(parses) && lines.all(parses)
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    Ok(Box::new(Lines::new(input.streams()?, options, Master)))
}

fn parse(line: &str) -> Result<Io, String> {
    let mut characters = line.chars();
    characters.next();
    let fields = characters.as_str().split_ascii_whitespace();
    let operation = match fields.clone().next() {
        Some("Write") => Operation::Write,
        Some("Trims" | "Trim") => Operation::Discard,
        Some("Flush") => return Ok(Io::new(0, Operation::Flush, 0, 0)),
        _ => return Err("it is no Write, Trims or Flush".to_owned()),
    };
    let [_, lba, blocks] = exactly(fields)?;
    let offset = times(integer(lba, "LBA")?, 512, "LBA")?;
    Ok(Io::new(
        0,
        operation,
        offset,
        times(integer(blocks, "length")?, 512, "length")?,
    ))
}

#[derive(Debug)]
struct Master;

impl Line for Master {
    type File = ();

    fn line(&mut self, (): &mut (), line: &str, out: &mut Out) -> Result<(), String> {
        let io = parse(line)?;
        out.notes.count("commands have no time in this format");
        out.io(io);
        Ok(())
    }

    fn time(&self, (): &mut (), _: &str) -> Option<u64> {
        // Files come one after the other.
        None
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: false,
        }
    }
}
