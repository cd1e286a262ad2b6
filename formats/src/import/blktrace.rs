//! blktrace's binary files, versions 7 and 8, of either byte order.
//!
//! A request is taken where it is issued to the device (D), not where it was
//! queued (Q), and paired with its completion (C). The files of several
//! processors are merged by time; the base of their names will do for all of
//! them (`sda` for `sda.blktrace.0`, `sda.blktrace.1`, ...). A processor's
//! requests are a queue's: processor 0 is queue 1.

mod event;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use self::event::{Action, Event, Events, Notice};
use super::pairs::Pairs;
use super::{Import, ImportClock, ImportOptions, Names};
use crate::format::Head;
use crate::{FormatError, Input, Io, Item, Notes, Operation, Stream};

/// Whether this is one, or the base of the names of several.
pub(crate) fn recognize(head: &Head<'_>) -> bool {
    event::is_start(head.bytes)
}

/// The files that `path` is the base of the names of, by processor.
pub(crate) fn files_of(path: &Path) -> Vec<PathBuf> {
    if path.exists() {
        return Vec::new();
    }
    let numbered = (0..4096_u32).map(|cpu| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".blktrace.{cpu}"));
        PathBuf::from(name)
    });
    numbered.take_while(|file| file.is_file()).collect()
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let mut files = Vec::new();
    for path in input.paths() {
        let of_base = files_of(path);
        if of_base.is_empty() {
            files.push(path.clone());
        } else {
            files.extend(of_base);
        }
    }
    let mut sources = Vec::new();
    for file in &files {
        let mut events = Events::new(Stream::open(file)?, options.salvage);
        let next = events.next()?;
        sources.push(Source { events, next });
    }
    Ok(Box::new(Blktrace {
        sources,
        ready: VecDeque::new(),
        pairs: Pairs::default(),
        devices: Names::default(),
        latest: None,
        unix_minus_ns: None,
        started: false,
        queued: 0,
        notes: Notes::default(),
        ended: false,
    }))
}

#[derive(Debug)]
struct Source {
    events: Events,
    next: Option<Event>,
}

#[derive(Debug)]
struct Blktrace {
    sources: Vec<Source>,
    ready: VecDeque<Item>,
    pairs: Pairs,
    devices: Names,
    /// The device of the last event, and its index.
    latest: Option<(u32, u32)>,
    /// What is added to a time for one since 1970, where the trace says so
    /// before its first request.
    unix_minus_ns: Option<u64>,
    started: bool,
    /// Requests that were queued.
    queued: u64,
    notes: Notes,
    ended: bool,
}

impl Blktrace {
    /// The next event of all files, by time.
    fn event(&mut self) -> Result<Option<Event>, FormatError> {
        let earliest = self
            .sources
            .iter_mut()
            .filter(|source| source.next.is_some())
            .min_by_key(|source| {
                source
                    .next
                    .as_ref()
                    .map(|event| (event.time_ns, event.sequence))
            });
        let Some(source) = earliest else {
            return Ok(None);
        };
        let event = source.next.take();
        source.next = source.events.next()?;
        Ok(event)
    }

    fn take(&mut self, event: &Event) -> Result<(), FormatError> {
        match event.action {
            Action::Notice(Notice::Start { unix_ns }) => {
                if !self.started {
                    self.unix_minus_ns = Some(unix_ns.saturating_sub(event.time_ns));
                }
            }
            Action::Queue => self.queued += 1,
            Action::Notice(Notice::Other) | Action::Other => {}
            Action::Issue | Action::Complete | Action::Requeue => {
                let Some(operation) = event.operation() else {
                    self.notes
                        .count("commands that are neither reads nor writes were left out");
                    return Ok(());
                };
                self.request(event, operation)?;
            }
        }
        Ok(())
    }

    /// The index of the device with this number.
    fn device(&mut self, number: u32) -> Result<u32, FormatError> {
        if let Some((_, index)) = self.latest.filter(|it| it.0 == number) {
            return Ok(index);
        }
        let (major, minor) = (number >> 20, number & 0xf_ffff);
        let index = self
            .devices
            .index_of(format_args!("{major},{minor}"))
            .map_err(|problem| FormatError::Refused { problem })?;
        self.latest = Some((number, index));
        Ok(index)
    }

    fn request(&mut self, event: &Event, operation: Operation) -> Result<(), FormatError> {
        let device = self.device(event.device)?;
        let time_ns = event
            .time_ns
            .saturating_add(self.unix_minus_ns.unwrap_or(0));
        let mut io = Io::new(time_ns, operation, event.sector.saturating_mul(512), 0);
        io.device = device;
        if operation == Operation::Flush {
            io.offset_bytes = 0;
        } else {
            io.length_bytes = event.bytes.into();
        }
        match event.action {
            Action::Complete => {
                let failed = event.error != 0;
                if !self.pairs.complete(&io, failed, &mut self.ready) {
                    self.notes
                        .count("completions without an issue were left out");
                }
            }
            Action::Requeue => {
                self.pairs.requeue(&io, &mut self.ready);
            }
            _ => {
                self.started = true;
                io.fua = event.is_fua();
                io.queue = u16::try_from(event.cpu.saturating_add(1)).unwrap_or(u16::MAX);
                if event.flushes_before() {
                    let mut flush = Io::new(time_ns, Operation::Flush, 0, 0);
                    (flush.device, flush.queue) = (io.device, io.queue);
                    self.ready.push_back(Item::Io(flush));
                }
                self.pairs.issue(io, &mut self.ready);
            }
        }
        Ok(())
    }
}

impl Import for Blktrace {
    fn next(&mut self) -> Result<Option<Item>, FormatError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            if self.ended {
                return Ok(None);
            }
            match self.event()? {
                Some(event) => self.take(&event)?,
                None => {
                    self.ended = true;
                    self.pairs.finish(&mut self.ready);
                    if !self.started {
                        // A stacked device hands on what it is given.
                        let what = "requests were queued and never issued, as by a stacked \
                                    device: trace the devices below";
                        self.notes.add(what, self.queued);
                    }
                    for source in &self.sources {
                        self.notes.extend(source.events.notes());
                    }
                }
            }
        }
    }

    fn devices(&self) -> &[String] {
        self.devices.as_slice()
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: self.unix_minus_ns.is_some(),
        }
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }
}
