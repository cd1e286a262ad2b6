//! CSV with all that a trace holds; see [`crate::csv`] for the columns.

use std::collections::HashMap;
use std::io::{self, Write};

use nvme::DsmRange;
use traces::{CommandRecord, EventRecord, Gap, Header, Record};

use super::{Carries, Export, operation_name, write_error};
use crate::csv::{COLUMNS, NOTE, record};
use crate::parquet::Mark;
use crate::{FormatError, Notes, Operation};

/// All of it: whole commands.
pub(crate) const CARRIES: Carries = Carries {
    resolution_ns: 1,
    operations: &Operation::ALL,
    latency: true,
    queue: true,
    device: true,
    fua: true,
    status: true,
};

/// Bytes of a note at most, about: lines are read up to 64 KiB.
const NOTE_BYTES: usize = 16 << 10;

/// Starts to write one.
pub(crate) fn create(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    let mut csv = Csv {
        file,
        header: header.clone(),
        names: HashMap::new(),
        line: Vec::new(),
        notes: Notes::default(),
    };
    csv.head().map_err(write_error)?;
    Ok(Box::new(csv))
}

struct Csv {
    file: Box<dyn Write + Send>,
    header: Header,
    /// What opcodes are called, of the admin queue or others.
    names: HashMap<(bool, u8), String>,
    line: Vec<u8>,
    notes: Notes,
}

impl Csv {
    fn head(&mut self) -> io::Result<()> {
        writeln!(self.file, "{},{NOTE}", COLUMNS.join(","))?;
        let json = serde_json::to_string(&self.header)?;
        let mut rest = json.as_str();
        while !rest.is_empty() {
            let mut end = rest.len().min(NOTE_BYTES);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (part, after) = rest.split_at(end);
            self.other(record::TRACE, None, part)?;
            rest = after;
        }
        Ok(())
    }

    /// A row that is no command: what it is, sequence and time, and its note.
    fn other(&mut self, what: &str, at: Option<(u64, u64)>, note: &str) -> io::Result<()> {
        self.line.clear();
        match at {
            Some((sequence, at_ns)) => write!(self.line, "{what},{sequence},{at_ns}")?,
            None => write!(self.line, "{what},,")?,
        }
        // What stands between the time and the note is empty.
        self.line.resize(self.line.len() + COLUMNS.len() - 2, b',');
        writeln!(self.line, "\"{}\"", note.replace('"', "\"\""))?;
        self.file.write_all(&self.line)
    }

    fn command(&mut self, command: &CommandRecord, ranges: &[DsmRange]) -> io::Result<()> {
        let name = self
            .names
            .entry((command.is_admin(), command.opcode))
            .or_insert_with(|| operation_name(command));
        let line = &mut self.line;
        line.clear();
        let (sequence, submit_ns) = (command.sequence, command.submit_ns);
        write!(line, "{},{sequence},{submit_ns},", record::COMMAND)?;
        if let Some(completion) = command.completion {
            write!(line, "{}", completion.complete_ns)?;
        }
        let (queue, cid, opcode) = (command.queue.0, command.cid.0, command.opcode);
        write!(line, ",{queue},{cid},{opcode},{name},{},", command.nsid.0)?;
        match command.lba_range() {
            Some((lba, blocks)) => {
                write!(line, "{},{blocks},", lba.0)?;
                let block_bytes = u64::from(self.header.block_bytes(command.nsid));
                // Empty where it does not fit.
                if let Some(offset) = lba.0.checked_mul(block_bytes) {
                    write!(line, "{offset}")?;
                }
                line.push(b',');
                if let Some(length) = u64::from(blocks).checked_mul(block_bytes) {
                    write!(line, "{length}")?;
                }
            }
            None => line.extend_from_slice(b",,,"),
        }
        write!(line, ",{},{}", u8::from(command.fua()), command.flags)?;
        for dword in command.cdw2_3.iter().chain(&command.cdw10_15) {
            write!(line, ",{dword}")?;
        }
        match command.completion {
            Some(it) => write!(line, ",{},{},", it.status.field(), it.result)?,
            None => line.extend_from_slice(b",,,"),
        }
        for (number, range) in ranges.iter().enumerate() {
            let blank = if number > 0 { " " } else { "" };
            let (attributes, blocks) = (range.context.get(), range.blocks.get());
            write!(line, "{blank}{attributes}:{blocks}:{}", range.slba.get())?;
        }
        line.extend_from_slice(b",\n");
        self.file.write_all(line)
    }

    fn event(&mut self, event: &EventRecord) -> io::Result<()> {
        let Some(name) = Mark::event(0, event).and_then(|mark| mark.event) else {
            self.notes.count("controller events were left out");
            return Ok(());
        };
        self.other(record::EVENT, Some((event.sequence, event.at_ns)), &name)
    }

    fn gap(&mut self, gap: &Gap) -> io::Result<()> {
        self.other(record::GAP, Some((0, gap.at_ns)), &gap.lost.to_string())
    }
}

impl Export for Csv {
    fn record(&mut self, record: &Record) -> Result<(), FormatError> {
        match record {
            Record::Command {
                command, ranges, ..
            } => self.command(command, ranges),
            Record::Event(event) => self.event(event),
            Record::Gap(gap) => self.gap(gap),
        }
        .map_err(write_error)
    }

    fn finish(mut self: Box<Self>) -> Result<Notes, FormatError> {
        self.file.flush().map_err(write_error)?;
        Ok(self.notes)
    }
}
