//! Several traces as one, once or over and over.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use nvme::QueueId;
use traces::{Header, NamespaceInfo, Reader, Record, Records, TraceError};

use crate::{Filter, Position};

/// How several traces become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// One after the other: each begins where the one before ended.
    #[default]
    InTurn,
    /// All at once, by the times since the start of each. The queues of one
    /// are not those of another.
    Merged,
}

/// Traces that cannot be replayed together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaylistError {
    /// They say different things of a namespace.
    #[error(
        "namespace {nsid} has blocks of {one} bytes in one of the traces and of {other} in \
         another: replay them one by one"
    )]
    Blocks {
        /// The namespace.
        nsid: u32,
        /// Bytes of a block.
        one: u32,
        /// Bytes of a block elsewhere.
        other: u32,
    },
}

/// Traces that are replayed as one.
///
/// ```text
///   Reader --Records--> filter, shift in time --\
///   Reader --Records--> filter, shift in time ---+--> pass, pass, pass ...
/// ```
#[derive(Debug)]
pub struct Playlist<'t> {
    parts: Vec<Part<'t>>,
    order: Order,
    filter: Filter,
    header: Header,
    /// Whether what is played has what was written.
    pays: bool,
}

#[derive(Debug)]
struct Part<'t> {
    reader: &'t Reader,
    /// When the recording started.
    start_ns: u64,
    /// What passes the filter is in this time.
    from_ns: u64,
    span_ns: u64,
}

impl<'t> Playlist<'t> {
    /// What passes `filter` of these traces.
    ///
    /// # Errors
    ///
    /// [`PlaylistError`].
    pub fn new(readers: &'t [Reader], order: Order, filter: Filter) -> Result<Self, PlaylistError> {
        let header = header_of(readers)?;
        let part = |reader: &'t Reader| {
            let blocks = reader.index().iter();
            let (mut start_ns, mut end_ns) = (u64::MAX, 0);
            for block in blocks {
                start_ns = start_ns.min(block.min_submit_ns());
                end_ns = end_ns
                    .max(block.max_submit_ns())
                    .max(block.last_complete_ns());
            }
            let first_ns = start_ns.min(end_ns);
            // The time from which `vssd trace show` counts.
            let start_ns = reader.header().start.clock_ns.min(first_ns);
            let (from_ns, to_ns) = filter.window_ns(start_ns, end_ns);
            let from_ns = from_ns.max(first_ns);
            Part {
                reader,
                start_ns,
                from_ns,
                span_ns: to_ns.saturating_sub(from_ns),
            }
        };
        Ok(Self {
            parts: readers.iter().map(part).collect(),
            order,
            filter,
            header,
            pays: false,
        })
    }

    /// The same, with what was written as far as the traces have it
    /// ([`Records::with_payload`]); but not in [`Playlist::once`], for facts do
    /// not need it.
    #[must_use]
    pub const fn with_payload(mut self) -> Self {
        self.pays = true;
        self
    }

    /// Whether any of the traces has something of what was written.
    #[must_use]
    pub fn has_payload(&self) -> bool {
        self.parts.iter().any(|part| part.reader.has_payload())
    }

    /// What the traces say of themselves; of several, what they have in common.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// All traces once, in submission order.
    #[must_use]
    pub fn once(&self) -> Play<'_, 't> {
        self.started(Some(1), Position::default(), false)
    }

    /// All traces so many times, or without an end, from a place on.
    #[must_use]
    pub fn play(&self, passes: Option<u64>, from: Position) -> Play<'_, 't> {
        self.started(passes, from, self.pays)
    }

    fn started(&self, passes: Option<u64>, from: Position, pays: bool) -> Play<'_, 't> {
        let mut play = Play {
            list: self,
            tracks: Vec::new(),
            next_part: 0,
            queues: BTreeMap::new(),
            base_ns: 0,
            left: passes.map(|passes| passes.saturating_sub(from.passes)),
            at: 0,
            done: from.reached.stretches().collect(),
            is_empty: true,
            pays,
        };
        if play.left != Some(0) {
            play.begin();
        }
        play
    }
}

fn header_of(readers: &[Reader]) -> Result<Header, PlaylistError> {
    let mut headers = readers.iter().map(Reader::header);
    let mut header = headers.next().cloned().unwrap_or_default();
    for other in headers {
        header.io_queues = header.io_queues.saturating_add(other.io_queues);
        let payload = header.payload.take().max(other.payload.clone());
        header.payload = payload;
        for namespace in &other.namespaces {
            add_namespace(&mut header.namespaces, *namespace)?;
        }
    }
    Ok(header)
}

fn add_namespace(
    namespaces: &mut Vec<NamespaceInfo>,
    namespace: NamespaceInfo,
) -> Result<(), PlaylistError> {
    let known = namespaces.iter_mut().find(|known| known.id == namespace.id);
    match known {
        None => namespaces.push(namespace),
        Some(known) if known.block_bytes == namespace.block_bytes => {
            known.blocks = known.blocks.max(namespace.blocks);
        }
        Some(known) => {
            return Err(PlaylistError::Blocks {
                nsid: namespace.id,
                one: known.block_bytes,
                other: namespace.block_bytes,
            });
        }
    }
    Ok(())
}

/// The records of a [`Playlist`], pass after pass. Times go on from pass to
/// pass. Ends after the first error.
#[derive(Debug)]
pub struct Play<'p, 't> {
    list: &'p Playlist<'t>,
    /// What is open: all traces where they are merged, else one.
    tracks: Vec<Track<'t>>,
    next_part: usize,
    /// The queue of each queue of each trace, where they are merged.
    queues: BTreeMap<(usize, QueueId), QueueId>,
    /// The time at which the pass, or the next trace of it, starts.
    base_ns: u64,
    /// Passes to go, with this one.
    left: Option<u64>,
    /// Commands since the start of the first pass.
    at: u64,
    /// Those to leave out.
    done: VecDeque<Range<u64>>,
    is_empty: bool,
    pays: bool,
}

#[derive(Debug)]
struct Track<'t> {
    part: usize,
    records: Records<'t>,
    head: Option<Record>,
    base_ns: u64,
}

impl Play<'_, '_> {
    /// Starts a pass.
    fn begin(&mut self) {
        self.tracks.clear();
        self.next_part = 0;
        self.is_empty = true;
        if self.list.order == Order::Merged {
            while self.open_next() {}
            let spans = self.list.parts.iter().map(|part| part.span_ns);
            let span_ns = spans.max().unwrap_or(0);
            self.base_ns = self.base_ns.saturating_add(span_ns);
        }
    }

    /// Opens the next trace, if there is one.
    fn open_next(&mut self) -> bool {
        let Some(part) = self.list.parts.get(self.next_part) else {
            return false;
        };
        let records = part.reader.records_since(part.from_ns);
        self.tracks.push(Track {
            part: self.next_part,
            records: if self.pays {
                records.with_payload()
            } else {
                records
            },
            head: None,
            base_ns: self.base_ns,
        });
        if self.list.order == Order::InTurn {
            self.base_ns = self.base_ns.saturating_add(part.span_ns);
        }
        self.next_part += 1;
        true
    }

    /// The next record of this pass.
    fn next_of_pass(&mut self) -> Result<Option<Record>, TraceError> {
        loop {
            for track in &mut self.tracks {
                track.fill(self.list)?;
            }
            self.tracks.retain(|track| track.head.is_some());
            let first = self.tracks.iter_mut().min_by_key(|track| track.at_ns());
            if let Some(track) = first {
                let part = track.part;
                return Ok(track.head.take().map(|record| self.renamed(part, record)));
            }
            if !self.open_next() {
                return Ok(None);
            }
        }
    }

    /// Whether the next command was done before; it is the one after it then.
    fn was_done(&mut self) -> bool {
        let at = self.at;
        self.at += 1;
        while self.done.front().is_some_and(|done| done.end <= at) {
            self.done.pop_front();
        }
        self.done.front().is_some_and(|done| done.start <= at)
    }

    /// The record with the queue that it has among those of all traces.
    fn renamed(&mut self, part: usize, mut record: Record) -> Record {
        if self.list.order == Order::Merged
            && let Record::Command { command, .. } = &mut record
            && !command.is_admin()
        {
            let next = u16::try_from(self.queues.len() + 1).unwrap_or(u16::MAX);
            let queue = self.queues.entry((part, command.queue));
            command.queue = *queue.or_insert(QueueId(next));
        }
        record
    }
}

impl Track<'_> {
    /// Reads on to the next record that passes.
    fn fill(&mut self, list: &Playlist<'_>) -> Result<(), TraceError> {
        let Some(part) = list.parts.get(self.part) else {
            return Ok(());
        };
        while self.head.is_none() {
            let Some(record) = self.records.next() else {
                return Ok(());
            };
            let record = record?;
            if list.filter.keeps(&record, part.start_ns) {
                self.head = Some(shifted(record, part.from_ns, self.base_ns));
            }
        }
        Ok(())
    }

    fn at_ns(&self) -> u64 {
        match &self.head {
            Some(Record::Command { command, .. }) => command.submit_ns,
            Some(Record::Event(event)) => event.at_ns,
            Some(Record::Gap(gap)) => gap.at_ns,
            None => u64::MAX,
        }
    }
}

/// The record at `to_ns` plus its time since `from_ns`.
fn shifted(mut record: Record, from_ns: u64, to_ns: u64) -> Record {
    let shift = |at_ns: &mut u64| {
        *at_ns = at_ns.saturating_sub(from_ns).saturating_add(to_ns);
    };
    match &mut record {
        Record::Command { command, .. } => {
            shift(&mut command.submit_ns);
            if let Some(completion) = &mut command.completion {
                shift(&mut completion.complete_ns);
            }
        }
        Record::Event(event) => shift(&mut event.at_ns),
        Record::Gap(gap) => shift(&mut gap.at_ns),
    }
    record
}

impl Iterator for Play<'_, '_> {
    type Item = Result<Record, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left != Some(0) {
            match self.next_of_pass() {
                Ok(Some(record)) => {
                    self.is_empty = false;
                    if matches!(record, Record::Command { .. }) && self.was_done() {
                        continue;
                    }
                    return Some(Ok(record));
                }
                // Nothing, over and over, has no end.
                Ok(None) if self.is_empty => self.left = Some(0),
                Ok(None) => {
                    self.left = self.left.map(|left| left - 1);
                    if self.left != Some(0) {
                        self.begin();
                    }
                }
                Err(error) => {
                    self.left = Some(0);
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
