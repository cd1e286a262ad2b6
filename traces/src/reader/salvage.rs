//! What is whole in a damaged trace.
//!
//! ```text
//!   scan      every place where a block or an index may start, by its magic
//!   behead    payloads without a header, by the index's copy of it
//!   holes     what is left of the file
//!   losses    what stood there, by headers, or by the numbers that are missing
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::scan::Scan;
use super::sequences::Missing;
use super::{Reader, count, parse_trailer, read_error, read_header};
use crate::block::BlockInfo;
use crate::error::TraceError;
use crate::format::{HEADER_FIXED_BYTES, HEADER_JSON_MAX, MAGIC, MAJOR, MINOR, TRAILER_BYTES};
use crate::source::Source;
use crate::totals::{End, Totals};
use crate::{Gap, Header, Writer, WriterOptions};

/// What was found in a trace that was opened by [`Reader::salvage`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Salvage {
    /// Whole blocks.
    pub blocks: u64,
    /// Records in them.
    pub records: u64,
    /// Whether the header is whole; else nothing is known of the device but what
    /// the index tells.
    pub has_header: bool,
    /// Whether the index is.
    pub has_index: bool,
    /// The places in the file where nothing is whole, in their order.
    pub holes: Vec<Hole>,
}

/// A place in a file where nothing is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hole {
    /// Where it starts, bytes from the start of the file.
    pub offset: u64,
    /// Its length; 0 where something was cut out.
    pub bytes: u64,
    /// What is wrong there.
    pub problem: String,
    /// How many commands were lost there; none where nothing tells. By headers
    /// of blocks where there are some, else by the sequence numbers that are
    /// missing: commands that were open when the recording ended count then too.
    pub commands: Option<u64>,
}

impl Salvage {
    /// Bytes in which nothing is whole.
    #[must_use]
    pub fn bad_bytes(&self) -> u64 {
        self.holes.iter().map(|hole| hole.bytes).sum()
    }

    /// Commands that were lost as far as that is known.
    #[must_use]
    pub fn lost_commands(&self) -> u64 {
        let known = self.holes.iter().filter_map(|hole| hole.commands);
        known.fold(0, u64::saturating_add)
    }
}

/// The most holes that are listed for people.
const HOLES_SHOWN: usize = 20;

impl fmt::Display for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blocks, records) = (count(self.blocks, "block"), count(self.records, "record"));
        write!(f, "{blocks}, {records} are whole")?;
        if self.holes.is_empty() {
            write!(f, "; nothing is damaged")?;
            if !self.has_index {
                write!(f, ", but the end is missing: what was behind is not known")?;
            }
            return Ok(());
        }
        let (bytes, lost) = (self.bad_bytes(), self.lost_commands());
        let more = if self.holes.iter().any(|hole| hole.commands.is_none()) {
            "at least "
        } else {
            ""
        };
        write!(f, "; {} are not", count(bytes, "byte"))?;
        write!(f, ", with {more}{}:", count(lost, "command"))?;
        for hole in self.holes.iter().take(HOLES_SHOWN) {
            write!(f, "\n  {hole}")?;
        }
        if self.holes.len() > HOLES_SHOWN {
            write!(f, "\n  and {} more places", self.holes.len() - HOLES_SHOWN)?;
        }
        Ok(())
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offset,
            bytes,
            problem,
            commands,
        } = self;
        match bytes {
            0 | 1 => write!(f, "byte {offset}: {problem}")?,
            _ => write!(f, "bytes {offset} to {}: {problem}", offset + bytes - 1)?,
        }
        match commands {
            Some(0) => write!(f, "; no command"),
            Some(commands) => write!(f, "; {}", count(*commands, "command")),
            None => write!(f, "; nobody knows how many commands"),
        }
    }
}

/// What a salvaged trace has beside its file.
#[derive(Debug)]
pub(super) struct Salvaged {
    report: Salvage,
    /// Blocks whose header is not in the file.
    headless: BTreeSet<u64>,
    /// Blocks of gaps, which are not in the file: they count as behind it.
    patches: Vec<u8>,
    patches_at: u64,
}

impl Salvaged {
    pub(super) fn is_headless(&self, offset: u64) -> bool {
        self.headless.contains(&offset)
    }

    /// Reads what is not in the file; false where it is.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> bool {
        let start = offset
            .checked_sub(self.patches_at)
            .and_then(|start| usize::try_from(start).ok());
        let from = start.and_then(|start| self.patches.get(start..));
        match from.and_then(|from| from.get(..buffer.len())) {
            Some(from) => {
                buffer.copy_from_slice(from);
                true
            }
            None => false,
        }
    }
}

impl Reader {
    /// Opens what is whole in the file `path`, wherever it is damaged: every
    /// whole block, with a gap where commands were lost and it is known how many.
    /// Reads all of the file. Blocks of such gaps are in [`Reader::index`] too,
    /// behind the end of the file.
    ///
    /// # Errors
    /// [`TraceError::Io`], [`TraceError::TooNew`], or [`TraceError::NotATrace`]
    /// where neither the header nor any block is whole.
    pub fn salvage(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        let (source, name) = Source::open(path.as_ref())?;
        Self::salvage_source(source, name)
    }

    /// As [`Reader::salvage`], of a trace in memory.
    ///
    /// # Errors
    /// As [`Reader::salvage`].
    pub fn salvage_bytes(bytes: Vec<u8>) -> Result<Self, TraceError> {
        Self::salvage_source(Source::Bytes(bytes), "the trace".to_owned())
    }

    /// What was found where it was opened by [`Reader::salvage`].
    #[must_use]
    pub fn salvaged(&self) -> Option<&Salvage> {
        self.salvaged.as_ref().map(|salvaged| &salvaged.report)
    }

    fn salvage_source(source: Source, name: String) -> Result<Self, TraceError> {
        let len = source.len().map_err(|error| read_error(&name, error))?;
        let whole = read_header(&source, &name, len);
        let (header, version, from) = match whole {
            Ok(whole) => whole,
            Err(error @ TraceError::Io { .. }) => return Err(error),
            Err(error @ TraceError::TooNew { .. }) if is_header(&source, len) => {
                return Err(error);
            }
            Err(_) => (Header::default(), (MAJOR, MINOR), 0),
        };
        let mut reader = Self {
            source,
            name,
            header,
            version,
            index: Vec::new(),
            totals: Totals::default(),
            recovery: None,
            salvaged: None,
        };
        let scan = Scan::of(&reader, len, from)?;
        if from == 0 && scan.blocks.is_empty() && scan.index.is_none() {
            return Err(TraceError::NotATrace {
                path: reader.name,
                problem: "no part of one is in it".to_owned(),
            });
        }
        let mut holes = holes(&reader, &scan, len, from)?;
        let gaps = losses(&scan, &mut holes);
        let patches = patches(&gaps)?;
        let mut counter = scan.counter.clone();
        let blocks = scan.blocks.iter();
        let mut index: Vec<BlockInfo> = blocks
            .map(|(&offset, &(_, header))| BlockInfo { offset, header })
            .collect();
        let report = Salvage {
            // Widens.
            blocks: index.len() as u64,
            records: scan.records,
            has_header: from != 0,
            has_index: scan.index.is_some(),
            holes: holes.into_values().collect(),
        };
        let headless = scan.headless.iter().copied().collect();
        let totals = scan.index.map(|(_, totals, ..)| totals);
        let patch = Self::from_bytes(patches.clone())?;
        for (at, info) in patch.index.iter().enumerate() {
            patch.block(at)?.count(&mut counter);
            let offset = len.saturating_add(info.offset);
            index.push(BlockInfo { offset, ..*info });
        }
        if let Some(totals) = &totals {
            reader.describe(totals);
        }
        reader.index = index;
        reader.totals = counter.totals(totals.map_or(End::Cut, |totals| totals.end));
        reader.salvaged = Some(Box::new(Salvaged {
            report,
            headless,
            patches,
            patches_at: len,
        }));
        Ok(reader)
    }
}

/// Whether a header stands at the start whose checksum is right, of whatever
/// version.
fn is_header(source: &Source, len: u64) -> bool {
    let read = |bytes: usize| {
        let mut buffer = vec![0; bytes];
        // Widens.
        let whole = bytes as u64 <= len && source.read_exact_at(&mut buffer, 0).is_ok();
        whole.then_some(buffer)
    };
    let Some(fixed) = read(HEADER_FIXED_BYTES) else {
        return false;
    };
    let json = fixed.last_chunk().map_or(0, |it| u32::from_le_bytes(*it)) as usize;
    if !fixed.starts_with(&MAGIC) || json > HEADER_JSON_MAX {
        return false;
    }
    read(HEADER_FIXED_BYTES + json + 4).is_some_and(|bytes| {
        bytes
            .split_last_chunk()
            .is_some_and(|(covered, crc)| crc32fast::hash(covered).to_le_bytes() == *crc)
    })
}

/// What of the file is in nothing whole, by its places. The header ends at
/// `from`, or is damaged where that is 0.
fn holes(
    reader: &Reader,
    scan: &Scan<'_>,
    len: u64,
    from: u64,
) -> Result<BTreeMap<u64, Hole>, TraceError> {
    let mut whole: Vec<(u64, u64)> = scan
        .blocks
        .iter()
        .map(|(at, (end, _))| (*at, *end))
        .collect();
    whole.push((0, from));
    whole.push((len, len));
    let index = scan.index.as_ref().map(|(.., at, end)| (*at, *end));
    whole.extend(index);
    whole.sort_unstable();
    let mut trailer = [0; TRAILER_BYTES];
    // Widens.
    let trailer_at = len.checked_sub(trailer.len() as u64);
    if let Some(at) = trailer_at {
        reader.read(&mut trailer, at)?;
    }
    let index_at = parse_trailer(&trailer).ok();
    let mut holes = BTreeMap::new();
    let mut next = 0;
    for (at, end) in whole {
        if at > next {
            let problem = scan.problems.range(next..at).next();
            let after_index = index.is_some_and(|(_, end)| end == next);
            let problem = match problem {
                _ if next == 0 => "the header is damaged".to_owned(),
                _ if after_index && at == len => "the trailer is damaged".to_owned(),
                _ if index_at == Some(next) => "the index is damaged".to_owned(),
                Some((_, problem)) => problem.clone(),
                None => "no block starts here".to_owned(),
            };
            let hole = Hole {
                offset: next,
                bytes: at - next,
                problem,
                commands: None,
            };
            holes.insert(next, hole);
        }
        next = next.max(end);
    }
    Ok(holes)
}

/// Says of each hole what was lost there; the gaps that stand for it, with their
/// places.
fn losses(scan: &Scan<'_>, holes: &mut BTreeMap<u64, Hole>) -> Vec<(u64, Gap)> {
    let mut gaps = Vec::new();
    let mut lost_in: BTreeMap<u64, u64> = BTreeMap::new();
    for known in scan.lost() {
        let commands = u64::from(known.header.commands);
        let hole = hole_at(holes, scan.between(known.at));
        if known.header.is_payload()
            && let Some(hole) = holes.get_mut(&hole)
        {
            let (first, last) = (known.header.min_sequence, known.header.max_sequence);
            hole.problem += &format!(" (payload of commands {first} to {last})");
        }
        let sum = lost_in.entry(hole).or_default();
        *sum = sum.saturating_add(commands);
        if commands > 0 {
            let gap = Gap {
                at_ns: known.header.min_submit_ns,
                lost: commands,
            };
            gaps.push((known.header.min_sequence, gap));
        }
    }
    if scan.index.is_some() {
        // It tells of all blocks.
        for (at, hole) in holes {
            hole.commands = Some(lost_in.get(at).copied().unwrap_or(0));
        }
        return gaps;
    }
    let mut untold = Untold::of(scan);
    for (at, hole) in holes {
        let known = lost_in.get(at).copied();
        let before = scan.blocks.range(..*at).next_back();
        let after = scan.blocks.range(*at..).next();
        hole.commands = match (after, &mut untold) {
            (Some((_, (_, after))), Some(untold)) => {
                let known = known.unwrap_or(0);
                let low = before.map_or(0, |(_, (_, before))| before.min_sequence);
                let more = untold.take(low, after.max_sequence, known);
                gaps.extend(more.map(|run| {
                    let gap = Gap {
                        at_ns: run.at_ns.max(scan.start_ns()),
                        lost: run.count,
                    };
                    (run.first, gap)
                }));
                Some(known.saturating_add(more.map_or(0, |run| run.count)))
            }
            _ if hole.problem.starts_with("the index") => Some(known.unwrap_or(0)),
            _ => known,
        };
    }
    gaps
}

/// The hole at `at`, where a block was that is lost; a new one of no length
/// where it was cut out.
fn hole_at(holes: &mut BTreeMap<u64, Hole>, at: u64) -> u64 {
    let before = holes.range(..=at).next_back();
    if let Some((start, hole)) = before
        && at <= start.saturating_add(hole.bytes)
    {
        return *start;
    }
    let hole = Hole {
        offset: at,
        bytes: 0,
        problem: "a block was cut out here".to_owned(),
        commands: None,
    };
    holes.insert(at, hole);
    at
}

/// What nobody has told of yet.
struct Untold {
    /// Numbers that are missing, by the first of each run.
    missing: BTreeMap<u64, Missing>,
    /// Gaps of the recording, by their places: how many were lost.
    gaps: BTreeMap<u64, u64>,
}

impl Untold {
    /// Of the blocks that were found; none where too much is missing to tell.
    fn of(scan: &Scan<'_>) -> Option<Self> {
        let missing = scan.sequences.missing()?;
        let mut gaps = BTreeMap::new();
        for (place, lost) in &scan.gaps {
            let sum: &mut u64 = gaps.entry(*place).or_default();
            *sum = sum.saturating_add(*lost);
        }
        Some(Self {
            missing: missing.into_iter().map(|run| (run.first, run)).collect(),
            gaps,
        })
    }

    /// Takes the missing numbers from `low` to `high`. What is left of them
    /// beyond those that gaps tell of and the `known` ones: how many, from the
    /// first on.
    fn take(&mut self, low: u64, high: u64, known: u64) -> Option<Missing> {
        if low > high {
            return None;
        }
        // A run that starts before may end behind.
        let before = self.missing.range(..low).next_back();
        let across = before.filter(|(_, run)| run.first.saturating_add(run.count) > low);
        let start = across.map_or(low, |(first, _)| *first);
        let mut taken: Option<Missing> = None;
        while let Some((&first, run)) = self.missing.range(start..=high).next() {
            match &mut taken {
                Some(taken) => taken.count = taken.count.saturating_add(run.count),
                None => taken = Some(*run),
            }
            self.missing.remove(&first);
        }
        let mut explained = known;
        while let Some((&place, &lost)) = self.gaps.range(low..=high).next() {
            explained = explained.saturating_add(lost);
            self.gaps.remove(&place);
        }
        let taken = taken?;
        let count = taken.count.saturating_sub(explained);
        (count > 0).then_some(Missing { count, ..taken })
    }
}

/// A trace of nothing but these gaps.
fn patches(gaps: &[(u64, Gap)]) -> Result<Vec<u8>, TraceError> {
    let mut gaps = gaps.to_vec();
    gaps.sort_by_key(|(place, gap)| (*place, gap.at_ns));
    let mut writer = Writer::new(Vec::new(), &Header::default(), WriterOptions::default())?;
    for (place, gap) in &gaps {
        writer.reach(*place);
        writer.gap(gap)?;
    }
    Ok(writer.finish()?.0)
}
