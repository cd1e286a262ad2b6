//! CSV of ours: what was written here comes back as it was; see [`crate::csv`]
//! for the columns, which are found by their names.

use std::collections::VecDeque;

use nvme::{CommandId, DSM_RANGES_MAX, DsmRange, Lba, NamespaceId, QueueId, Status};
use traces::{CommandRecord, Completion, Gap, Header};

use super::lines::{Line, Lines, Out};
use super::number::integer;
use super::splitter::{Columns, Splitter};
use super::{Import, ImportClock, ImportOptions};
use crate::csv::record;
use crate::parquet::Mark;
use crate::{FormatError, Item, Notes, Stream};

/// The columns that there must be: all that a command is made of.
const WANTED: [&str; 20] = [
    "sequence",
    "submit_ns",
    "complete_ns",
    "queue",
    "cid",
    "opcode",
    "nsid",
    "flags",
    "cdw2",
    "cdw3",
    "cdw10",
    "cdw11",
    "cdw12",
    "cdw13",
    "cdw14",
    "cdw15",
    "status",
    "result",
    "ranges",
    "note",
];

/// Whether `text` starts as such a file does.
pub(crate) fn recognize(text: &str) -> bool {
    let head = text.lines().next().unwrap_or_default();
    Layout::of(head).is_ok()
}

/// Opens `streams`, of which the first is such a file.
pub(crate) fn open(
    streams: Vec<Stream>,
    options: &ImportOptions,
) -> Result<Box<dyn Import>, FormatError> {
    let alone = streams.len() == 1;
    let mut commands = Commands {
        lines: Lines::new(streams, options, Parser::default()),
        first: VecDeque::new(),
        original: None,
    };
    // The header stands before the first.
    let first = commands.lines.next()?;
    commands.first.extend(first);
    let json = &commands.lines.parser().json;
    if alone && !json.is_empty() {
        match serde_json::from_str(json) {
            Ok(header) => commands.original = Some(header),
            Err(_) => {
                let what = "headers could not be read, and were left out";
                commands.lines.count(what);
            }
        }
    }
    Ok(Box::new(commands))
}

#[derive(Debug)]
struct Commands {
    lines: Lines<Parser>,
    first: VecDeque<Item>,
    original: Option<Header>,
}

impl Import for Commands {
    fn next(&mut self) -> Result<Option<Item>, FormatError> {
        match self.first.pop_front() {
            Some(first) => Ok(Some(first)),
            None => self.lines.next(),
        }
    }

    fn devices(&self) -> &[String] {
        self.lines.devices()
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: self
                .original
                .as_ref()
                .map_or(1, |it| it.clock.resolution_ns),
            unix: false,
        }
    }

    fn notes(&self) -> &Notes {
        self.lines.notes()
    }

    fn original(&self) -> Option<&Header> {
        self.original.as_ref()
    }
}

/// The longest header that is read, bytes.
const HEADER_MAX: usize = 1 << 26;

#[derive(Debug, Default)]
struct Parser {
    /// The header, as far as its rows came.
    json: String,
}

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    splitter: Splitter,
    /// None before the first line.
    layout: Option<Layout>,
}

/// Where the columns stand.
#[derive(Clone, Debug)]
struct Layout {
    /// None where all rows are commands.
    record: Option<usize>,
    wanted: [usize; WANTED.len()],
}

impl Layout {
    fn of(head: &str) -> Result<Self, String> {
        let mut splitter = Splitter::default();
        let head = splitter.split(head);
        let find = |name: &str| head.iter().position(|it| it == name);
        let mut wanted = [0; WANTED.len()];
        for (place, name) in wanted.iter_mut().zip(WANTED) {
            *place = find(name).ok_or_else(|| format!("the first line has no column {name}"))?;
        }
        Ok(Self {
            record: find("record"),
            wanted,
        })
    }
}

/// A row, field by field in the order of [`WANTED`].
struct Row<'a> {
    columns: Columns<'a>,
    places: std::slice::Iter<'a, usize>,
    names: std::array::IntoIter<&'static str, { WANTED.len() }>,
}

impl<'a> Row<'a> {
    /// The next field, and its name.
    fn next(&mut self) -> Result<(&'static str, &'a str), String> {
        let name = self.names.next().unwrap_or_default();
        let place = self.places.next();
        let field = place.and_then(|place| self.columns.get(*place));
        Ok((name, field.ok_or_else(|| format!("there is no {name}"))?))
    }

    /// The number in the next field.
    fn number<T: TryFrom<u64>>(&mut self) -> Result<T, String> {
        let (name, text) = self.next()?;
        number(text, name)
    }

    /// The number in the next field; none where that is empty.
    fn or_none<T: TryFrom<u64>>(&mut self) -> Result<Option<T>, String> {
        let (name, text) = self.next()?;
        if text.is_empty() {
            return Ok(None);
        }
        number(text, name).map(Some)
    }
}

fn number<T: TryFrom<u64>>(text: &str, name: &str) -> Result<T, String> {
    T::try_from(integer(text, name)?)
        .map_err(|_| format!("the {name} is {text}, which is too large"))
}

impl Line for Parser {
    type File = File;

    fn line(&mut self, file: &mut File, line: &str, out: &mut Out) -> Result<(), String> {
        let Some(layout) = &file.layout else {
            file.layout = Some(Layout::of(line)?);
            return Ok(());
        };
        let columns = file.splitter.split(line);
        let what = match layout.record {
            Some(place) => columns.get(place).unwrap_or_default(),
            None => record::COMMAND,
        };
        let mut row = Row {
            columns,
            places: layout.wanted.iter(),
            names: WANTED.into_iter(),
        };
        match what {
            record::COMMAND => out.items.push_back(command(&mut row)?),
            record::TRACE => {
                let note = note(columns, layout)?;
                if self.json.len() + note.len() > HEADER_MAX {
                    return Err("the header is too long".to_owned());
                }
                self.json += note;
            }
            record::EVENT | record::GAP => {
                let note = note(columns, layout)?;
                let sequence = row.number()?;
                let at_ns = row.number()?;
                out.items.push_back(other(what, sequence, at_ns, note)?);
            }
            what => return Err(format!("the record is {what:?}, which is not known")),
        }
        Ok(())
    }

    fn time(&self, file: &mut File, line: &str) -> Option<u64> {
        let place = *file.layout.as_ref()?.wanted.get(1)?;
        integer(file.splitter.split(line).get(place)?, "").ok()
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: false,
        }
    }
}

fn note<'a>(columns: Columns<'a>, layout: &Layout) -> Result<&'a str, String> {
    let place = layout.wanted.last();
    let note = place.and_then(|place| columns.get(*place));
    note.ok_or_else(|| "there is no note".to_owned())
}

/// An event or a gap.
fn other(what: &str, sequence: u64, at_ns: u64, note: &str) -> Result<Item, String> {
    if what == record::GAP {
        let lost = integer(note, "number of lost commands")?;
        return Ok(Item::Gap(Gap { at_ns, lost }));
    }
    let mark = Mark {
        row: 0,
        at_ns,
        event: Some(note.to_owned()),
        sequence,
        lost: 0,
    };
    mark.item()
        .ok_or_else(|| format!("the event {note:?} is not known"))
}

fn command(row: &mut Row<'_>) -> Result<Item, String> {
    let sequence = row.number()?;
    let submit_ns = row.number()?;
    let complete_ns: Option<u64> = row.or_none()?;
    let mut command = CommandRecord {
        sequence,
        submit_ns,
        completion: None,
        queue: QueueId(row.number()?),
        cid: CommandId(row.number()?),
        opcode: row.number()?,
        nsid: NamespaceId(row.number()?),
        flags: row.number()?,
        cdw2_3: [0; 2],
        cdw10_15: [0; 6],
    };
    for dword in command.cdw2_3.iter_mut().chain(&mut command.cdw10_15) {
        *dword = row.number()?;
    }
    let status: Option<u16> = row.or_none()?;
    let result: Option<u32> = row.or_none()?;
    command.completion = complete_ns.map(|complete_ns| Completion {
        complete_ns,
        status: Status::from_field(status.unwrap_or(0)),
        result: result.unwrap_or(0),
    });
    let (_, text) = row.next()?;
    let mut ranges = Vec::new();
    for range in text.split_ascii_whitespace() {
        if ranges.len() == DSM_RANGES_MAX {
            return Err("there are more ranges than a command has".to_owned());
        }
        ranges.push(dsm_range(range)?);
    }
    Ok(Item::Command { command, ranges })
}

fn dsm_range(text: &str) -> Result<DsmRange, String> {
    let [attributes, blocks, slba] = super::splitter::exactly(text.split(':'))?;
    let slba = Lba(integer(slba, "LBA of a range")?);
    let mut range = DsmRange::new(slba, number(blocks, "length of a range")?);
    range
        .context
        .set(number(attributes, "attributes of a range")?);
    Ok(range)
}
