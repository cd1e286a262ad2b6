//! A whole conversion.

use std::io::Write;

use traces::{ClockInfo, End, Header, Reader, Start, Totals, Writer, WriterOptions};

use crate::{Assembled, Assembler, AssemblerOptions, Format, FormatError, Import, Item, Notes};

/// How often progress is told, items.
const TELL_EVERY: u64 = 1 << 14;

/// What an import amounted to.
#[derive(Clone, Debug)]
pub struct ImportSummary {
    /// What was written.
    pub totals: Totals,
    /// What could not be expressed or was left out.
    pub notes: Notes,
    /// The devices found, in the order of their namespaces.
    pub devices: Vec<String>,
}

/// Writes all that `import` has to `sink` as a `.vtr` trace; `header` says by
/// which tool, and gets the clock, the start, the namespaces and the queues.
/// `progress` is told how many items were read, now and then and at the end.
///
/// # Errors
/// What `import` says, [`FormatError::Refused`] where it has no device of a
/// name that is asked for, and [`FormatError::Trace`] where `sink` fails.
pub fn import<W: Write>(
    import: &mut dyn Import,
    sink: W,
    mut header: Header,
    options: AssemblerOptions,
    writing: WriterOptions,
    mut progress: impl FnMut(u64),
) -> Result<(W, ImportSummary), FormatError> {
    if let Some(original) = import.original().cloned()
        && options.devices.is_none()
        && !options.dedupe
    {
        return copy(import, sink, &original, writing, progress);
    }
    let rebase = options.rebase;
    let wanted = options.devices.clone();
    let mut assembler = Assembler::new(options);
    let mut read = 0;
    let first = next(import, &mut assembler, &mut read, &mut progress)?;
    let clock = import.clock();
    header.clock = ClockInfo {
        resolution_ns: clock.resolution_ns.max(1),
        ..header.clock
    };
    let origin_ns = assembler.origin_ns().unwrap_or(0);
    header.start = Start {
        unix_ns: if clock.unix { origin_ns } else { 0 },
        clock_ns: if rebase { 0 } else { origin_ns },
    };
    let mut writer = Writer::new(sink, &header, writing)?;
    let mut command = first;
    while let Some(Assembled {
        command: it,
        ranges,
    }) = command
    {
        writer.command(&it, &ranges)?;
        command = next(import, &mut assembler, &mut read, &mut progress)?;
    }
    progress(read);
    let devices = import.devices();
    let strange = wanted.iter().flatten().find(|it| !devices.contains(it));
    if let Some(name) = strange {
        let problem = format!(
            "the trace has no device {name:?}: it has {}",
            if devices.is_empty() {
                "one, without a name".to_owned()
            } else {
                devices.join(", ")
            }
        );
        return Err(FormatError::Refused { problem });
    }
    writer.describe(assembler.namespaces(), assembler.queues());
    let (sink, totals) = writer.finish_as(End::Clean)?;
    let mut notes = import.notes().clone();
    notes.extend(assembler.notes());
    let summary = ImportSummary {
        totals,
        notes,
        devices: wanted.unwrap_or_else(|| import.devices().to_vec()),
    };
    Ok((sink, summary))
}

/// Writes all that `import` has as it is: it was a `.vtr` trace with `header`.
fn copy<W: Write>(
    import: &mut dyn Import,
    sink: W,
    header: &Header,
    writing: WriterOptions,
    mut progress: impl FnMut(u64),
) -> Result<(W, ImportSummary), FormatError> {
    let mut writer = Writer::new(sink, header, writing)?;
    let mut read = 0_u64;
    let mut notes = Notes::default();
    while let Some(item) = import.next()? {
        match item {
            Item::Command { command, ranges } => writer.command(&command, &ranges)?,
            Item::Event(event) => writer.event(&event)?,
            Item::Gap(gap) => writer.gap(&gap)?,
            Item::Io(_) => notes.count("requests that are no commands were left out"),
        }
        read += 1;
        if read.is_multiple_of(TELL_EVERY) {
            progress(read);
        }
    }
    progress(read);
    let (sink, totals) = writer.finish_as(End::Clean)?;
    notes.extend(import.notes());
    let summary = ImportSummary {
        totals,
        notes,
        devices: import.devices().to_vec(),
    };
    Ok((sink, summary))
}

fn next(
    import: &mut dyn Import,
    assembler: &mut Assembler,
    read: &mut u64,
    progress: &mut impl FnMut(u64),
) -> Result<Option<Assembled>, FormatError> {
    loop {
        if let Some(command) = assembler.pop(false) {
            return Ok(Some(command));
        }
        let Some(item) = import.next()? else {
            return Ok(assembler.pop(true));
        };
        assembler.learn(import.devices());
        assembler.push(item);
        *read += 1;
        if read.is_multiple_of(TELL_EVERY) {
            progress(*read);
        }
    }
}

/// Writes all of `reader` to `sink` in `format`, and returns what could not be
/// expressed. `progress` is told how many records were written, now and then
/// and at the end.
///
/// # Errors
/// [`FormatError::OneWay`], [`FormatError::Trace`] where the trace is damaged,
/// [`FormatError::Io`] where `sink` fails.
pub fn export(
    reader: &Reader,
    format: &Format,
    sink: Box<dyn Write + Send>,
    mut progress: impl FnMut(u64),
) -> Result<Notes, FormatError> {
    let mut export = format.create(sink, reader.header())?;
    let mut written = 0_u64;
    reader.with_records(|records| {
        for record in records {
            export.record(&record?)?;
            written += 1;
            if written.is_multiple_of(TELL_EVERY) {
                progress(written);
            }
        }
        progress(written);
        Ok::<_, FormatError>(())
    })?;
    export.finish()
}
