//! blkreplay's `.load`: prose, then `start ; sector ; sectors ; R or W ; delay ;
//! duration`, times in seconds with nine digits, sectors of 512 bytes. Often in
//! gzip. A duration above 0 is the latency.

use super::lines::{Line, Lines, Out};
use super::number::{billionths, integer, times};
use super::splitter::exactly;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// Whether one of the first lines of `text` is a request of it.
pub(crate) fn recognize(text: &str) -> bool {
    text.lines()
        .take(200)
        .any(|line| Fields::of(line).is_some_and(|it| it.io().is_ok()))
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let parser = Load { begun: false };
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

struct Fields<'a>([&'a str; 6]);

impl<'a> Fields<'a> {
    fn of(line: &'a str) -> Option<Self> {
        exactly(line.split(';')).ok().map(Self)
    }

    fn io(&self) -> Result<Io, String> {
        let [start, sector, sectors, kind, _, duration] = self.0;
        let operation = match kind {
            "R" | "r" => Operation::Read,
            "W" | "w" => Operation::Write,
            other => return Err(format!("the operation is {other:?}, but must be R or W")),
        };
        let mut io = Io::new(
            billionths(start, "start")?,
            operation,
            times(integer(sector, "sector")?, 512, "sector")?,
            times(integer(sectors, "length")?, 512, "length")?,
        );
        io.latency_ns = Some(billionths(duration, "duration")?).filter(|ns| *ns > 0);
        Ok(io)
    }
}

#[derive(Debug)]
struct Load {
    /// Whether a request was seen in any file.
    begun: bool,
}

impl Line for Load {
    /// Whether a request was seen: prose stands before.
    type File = bool;

    fn line(&mut self, begun: &mut bool, line: &str, out: &mut Out) -> Result<(), String> {
        let parsed = Fields::of(line)
            .ok_or_else(|| "it has not six fields".to_owned())
            .and_then(|fields| fields.io());
        match parsed {
            Ok(io) => {
                (self.begun, *begun) = (true, true);
                out.io(io);
                Ok(())
            }
            Err(_) if !*begun => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    fn time(&self, _: &mut bool, line: &str) -> Option<u64> {
        let fields = Fields::of(line)?;
        billionths(fields.0.first()?, "").ok()
    }

    fn finish(&mut self, out: &mut Out) {
        if !self.begun {
            out.notes.count("files had no request of blkreplay in them");
        }
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: false,
        }
    }
}
