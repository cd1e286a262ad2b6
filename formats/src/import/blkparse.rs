//! blkparse's text: `maj,min cpu seq sec.ns pid action RWBS sector + sectors
//! [command]`.
//!
//! As with blktrace's own files, requests are taken where they are issued (D)
//! and paired with their completions (C).

use super::lines::{Line, Lines, Out};
use super::number::{billionths, integer, times};
use super::pairs::Pairs;
use super::rwbs::Letters;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// Whether `text` starts as such a file does.
pub(crate) fn recognize(text: &str) -> bool {
    text.lines()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| Fields::of(line).is_some_and(|it| it.action.len() <= 2))
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let parser = Blkparse {
        pairs: Pairs::default(),
    };
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

#[derive(Debug)]
struct Blkparse {
    pairs: Pairs,
}

struct Fields<'a> {
    device: &'a str,
    cpu: &'a str,
    time: &'a str,
    action: &'a str,
    /// What stands after the action.
    rest: std::str::SplitAsciiWhitespace<'a>,
}

impl<'a> Fields<'a> {
    /// None of a line that is not an event: a message, the summary at the end.
    fn of(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let device = fields.next()?;
        let (major, minor) = device.split_once(',')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let (cpu, sequence, time) = (fields.next()?, fields.next()?, fields.next()?);
        let pid = fields.next()?;
        let action = fields.next()?;
        let seconds = time.split_once('.')?;
        [major, minor, cpu, sequence, seconds.0, seconds.1, pid]
            .iter()
            .all(|it| digits(it))
            .then_some(Self {
                device,
                cpu,
                time,
                action,
                rest: fields,
            })
    }
}

impl Line for Blkparse {
    type File = ();

    fn line(&mut self, (): &mut (), line: &str, out: &mut Out) -> Result<(), String> {
        let Some(fields) = Fields::of(line) else {
            if line.contains(',') && line.as_bytes().first().is_some_and(u8::is_ascii_digit) {
                return Err("it is no event".to_owned());
            }
            // The summary at the end, and messages.
            return Ok(());
        };
        if !matches!(fields.action, "D" | "C" | "R") {
            return Ok(());
        }
        let mut rest = fields.rest.clone();
        let Some(letter) = rest.next() else {
            return Err("the letters of the operation are missing".to_owned());
        };
        let (sector, sectors) = match (rest.next(), rest.next(), rest.next()) {
            (Some(sector), Some("+"), Some(sectors)) => {
                (integer(sector, "sector")?, integer(sectors, "length")?)
            }
            _ => (0, 0),
        };
        let letters = Letters::of(letter, sectors)
            .filter(|it| sectors > 0 || it.operation == Operation::Flush);
        let Some(Letters {
            operation,
            preflush,
            fua,
        }) = letters
        else {
            out.notes
                .count("commands that are neither reads nor writes were left out");
            return Ok(());
        };
        let time_ns = billionths(fields.time, "time")?;
        let mut io = Io::new(time_ns, operation, 0, 0);
        if operation != Operation::Flush {
            io.offset_bytes = times(sector, 512, "sector")?;
            io.length_bytes = times(sectors, 512, "length")?;
        }
        io.device = out.devices.index(fields.device)?;
        match fields.action {
            "C" => {
                let error = fields
                    .rest
                    .last()
                    .map_or("", |it| it.trim_matches(['[', ']']));
                let failed = error.parse().is_ok_and(|error: i64| error != 0);
                if !self.pairs.complete(&io, failed, &mut out.items) {
                    out.notes
                        .count("completions without an issue were left out");
                }
            }
            "R" => {
                self.pairs.requeue(&io, &mut out.items);
            }
            _ => {
                let cpu = integer(fields.cpu, "processor")?;
                io.queue = u16::try_from(cpu.saturating_add(1)).unwrap_or(u16::MAX);
                io.fua = fua;
                if preflush && operation != Operation::Flush {
                    let mut flush = Io::new(time_ns, Operation::Flush, 0, 0);
                    (flush.device, flush.queue) = (io.device, io.queue);
                    out.io(flush);
                }
                self.pairs.issue(io, &mut out.items);
            }
        }
        Ok(())
    }

    fn time(&self, (): &mut (), line: &str) -> Option<u64> {
        billionths(Fields::of(line)?.time, "").ok()
    }

    fn finish(&mut self, out: &mut Out) {
        self.pairs.finish(&mut out.items);
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: false,
        }
    }
}
