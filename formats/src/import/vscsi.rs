//! CloudPhysics' vscsi traces: rows without a head, version 1 of 32 bytes,
//! version 2 of 40 with a response time. Times are microseconds, addresses
//! blocks of 512 bytes, lengths bytes.

use super::binary::{Row, Rows, u16_at, u32_at, u64_at};
use super::number::times;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Notes, Operation};

/// Row lengths, by version.
const ROWS: [usize; 2] = [32, 40];

/// Whether `bytes` starts as such a file does: its first two rows, if there
/// are two, are of one version.
pub(crate) fn recognize(bytes: &[u8]) -> bool {
    version(bytes).is_some()
}

fn version(bytes: &[u8]) -> Option<usize> {
    (1..=2).find(|version| {
        let length = ROWS[version - 1];
        let rows: Vec<&[u8]> = bytes.chunks_exact(length).take(2).collect();
        !rows.is_empty() && rows.iter().all(|row| is_row(row, *version))
    })
}

fn is_row(row: &[u8], version: usize) -> bool {
    let (command, of_row) = if version == 1 {
        (u16_at(row, 12), u16_at(row, 14))
    } else {
        (u16_at(row, 0), u16_at(row, 2))
    };
    usize::from(of_row >> 8) == version && operation(command).is_some()
}

/// SCSI's commands for reads and writes.
fn operation(command: u16) -> Option<Operation> {
    match command {
        0x08 | 0x28 | 0xa8 | 0x88 => Some(Operation::Read),
        0x0a | 0x2a | 0xaa | 0x8a => Some(Operation::Write),
        0x35 | 0x91 => Some(Operation::Flush),
        0x42 => Some(Operation::Discard),
        0x41 | 0x93 => Some(Operation::WriteZeroes),
        _ => None,
    }
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let mut streams = input.streams()?;
    let mut head = Vec::new();
    if let Some(first) = streams.first_mut() {
        head = first.head()?;
    }
    match version(&head) {
        Some(1) => Ok(Box::new(Rows::<_, 32>::new(streams, options, &Version1))),
        Some(_) => Ok(Box::new(Rows::<_, 40>::new(streams, options, &Version2))),
        None if head.is_empty() => Ok(Box::new(Rows::<_, 32>::new(streams, options, &Version1))),
        None => Err(FormatError::Refused {
            problem: format!(
                "{} has no row of vscsi, version 1 or 2, at its start",
                input.name()
            ),
        }),
    }
}

const CLOCK: ImportClock = ImportClock {
    resolution_ns: 1_000,
    unix: false,
};

fn io(
    command: u16,
    [time_us, block, bytes]: [u64; 3],
    notes: &mut Notes,
) -> Result<Option<Io>, String> {
    let Some(operation) = operation(command) else {
        notes.count("commands that are neither reads nor writes were left out");
        return Ok(None);
    };
    let at_ns = times(time_us, 1_000, "time")?;
    let io = if operation == Operation::Flush {
        Io::new(at_ns, operation, 0, 0)
    } else {
        Io::new(at_ns, operation, times(block, 512, "block")?, bytes)
    };
    Ok(Some(io))
}

#[derive(Clone, Debug)]
struct Version1;

impl Row<32> for Version1 {
    fn row(&mut self, row: &[u8; 32], notes: &mut Notes) -> Result<Option<Io>, String> {
        if u16_at(row, 14) >> 8 != 1 {
            return Err("the row is not of version 1".to_owned());
        }
        let numbers = [u64_at(row, 24), u64_at(row, 16), u32_at(row, 4).into()];
        io(u16_at(row, 12), numbers, notes)
    }

    fn clock(&self) -> ImportClock {
        CLOCK
    }
}

#[derive(Clone, Debug)]
struct Version2;

impl Row<40> for Version2 {
    fn row(&mut self, row: &[u8; 40], notes: &mut Notes) -> Result<Option<Io>, String> {
        if u16_at(row, 2) >> 8 != 2 {
            return Err("the row is not of version 2".to_owned());
        }
        let numbers = [u64_at(row, 24), u64_at(row, 16), u32_at(row, 8).into()];
        let Some(mut io) = io(u16_at(row, 0), numbers, notes)? else {
            return Ok(None);
        };
        io.latency_ns = Some(times(u64_at(row, 32), 1_000, "response time")?);
        Ok(Some(io))
    }

    fn clock(&self) -> ImportClock {
        CLOCK
    }
}
