//! Looking through a damaged trace for all that is whole.

use std::collections::{BTreeMap, HashMap};

use super::sequences::Sequences;
use super::{Reader, parse_index_anywhere, parse_trailer};
use crate::block::{Block, BlockInfo};
use crate::codec::Mark;
use crate::error::{Flaw, TraceError};
use crate::format::{
    BLOCK_HEADER_BYTES, BLOCK_MAGIC, BlockHeader, INDEX_BYTES_MAX, INDEX_FIXED_BYTES, INDEX_MAGIC,
    TRAILER_BYTES,
};
use crate::totals::{Counter, Totals};

/// How many bytes are searched at a time.
const WINDOW_BYTES: u64 = 1 << 16;
/// Payloads that turn out to be no good are read up to so many times the length
/// of the file: a file made of false headers must not take for ever.
const PATIENCE: u64 = 8;
const PATIENCE_BYTES: u64 = 1 << 26;

/// A block's header as it stands in the file: what blocks are told apart by.
type HeaderBytes = [u8; BLOCK_HEADER_BYTES];

/// A block that is known of by its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) header: BlockHeader,
    /// Where it should be.
    pub(super) at: u64,
}

/// What was found so far.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    reader: &'a Reader,
    len: u64,
    from: u64,
    window: Vec<u8>,
    window_at: u64,
    patience: u64,
    /// Whole blocks: their starts, and their ends.
    pub(super) blocks: BTreeMap<u64, (u64, BlockHeader)>,
    /// Those of them whose header is not in the file, but in the index.
    pub(super) headless: Vec<u64>,
    /// The same, by their headers.
    found: HashMap<HeaderBytes, u64>,
    /// Headers of all blocks, whole or not, in the order of discovery, and where
    /// they stand.
    seen: Vec<Known>,
    /// The index, where it starts and ends, the trailer included.
    pub(super) index: Option<(Vec<BlockInfo>, Totals, u64, u64)>,
    /// What is wrong, and where.
    pub(super) problems: BTreeMap<u64, String>,
    pub(super) sequences: Sequences,
    /// The gaps that the blocks tell of: places, and how many were lost.
    pub(super) gaps: Vec<(u64, u64)>,
    pub(super) counter: Counter,
    pub(super) records: u64,
}

impl<'a> Scan<'a> {
    /// Looks through the file of `reader`, of length `len`, from `from` on.
    pub(super) fn of(reader: &'a Reader, len: u64, from: u64) -> Result<Self, TraceError> {
        let mut scan = Self {
            reader,
            len,
            from,
            window: Vec::new(),
            window_at: 0,
            patience: len.saturating_mul(PATIENCE).saturating_add(PATIENCE_BYTES),
            blocks: BTreeMap::new(),
            headless: Vec::new(),
            found: HashMap::new(),
            seen: Vec::new(),
            index: None,
            problems: BTreeMap::new(),
            sequences: Sequences::default(),
            gaps: Vec::new(),
            counter: Counter::default(),
            records: 0,
        };
        let mut at = from;
        while let Some((found, is_block)) = scan.next_magic(at)? {
            let end = if is_block {
                scan.block(found)?
            } else {
                scan.index(found)?
            };
            at = end.unwrap_or(found + 1);
        }
        scan.behead()?;
        Ok(scan)
    }

    /// The next place from `from` on where a block (true) or an index may start.
    fn next_magic(&mut self, mut from: u64) -> Result<Option<(u64, bool)>, TraceError> {
        while self.len.saturating_sub(from) >= BLOCK_MAGIC.len() as u64 {
            let skip = from
                .checked_sub(self.window_at)
                .and_then(|skip| usize::try_from(skip).ok());
            let rest = skip.and_then(|skip| self.window.get(skip..)).unwrap_or(&[]);
            if let Some(found) = rest
                .windows(BLOCK_MAGIC.len())
                .position(|it| it == BLOCK_MAGIC || it == INDEX_MAGIC)
            {
                let is_block = rest
                    .get(found..)
                    .is_some_and(|it| it.starts_with(&BLOCK_MAGIC));
                // Widens.
                return Ok(Some((from + found as u64, is_block)));
            }
            if !rest.is_empty() && from + rest.len() as u64 >= self.len {
                break;
            }
            // A magic may lie across the end of the window.
            from += rest.len().saturating_sub(BLOCK_MAGIC.len() - 1) as u64;
            let bytes = WINDOW_BYTES.min(self.len - from);
            let mut window = std::mem::take(&mut self.window);
            window.resize(usize::try_from(bytes).unwrap_or(0), 0);
            self.reader.read(&mut window, from)?;
            (self.window, self.window_at) = (window, from);
        }
        Ok(None)
    }

    /// Takes the block at `at`; its end, where it is whole.
    fn block(&mut self, at: u64) -> Result<Option<u64>, TraceError> {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        if self.len - at < bytes.len() as u64 {
            self.problem(at, "the file ends in the middle of a block");
            return Ok(None);
        }
        self.reader.read(&mut bytes, at)?;
        let header = match BlockHeader::decode(&bytes) {
            Ok(header) => header,
            Err(Flaw::Damaged(problem)) => {
                self.problem(at, &problem);
                return Ok(None);
            }
            Err(Flaw::TooNew(what)) => {
                self.problem(at, &format!("a block needs a newer reader ({what})"));
                return Ok(None);
            }
        };
        self.seen.push(Known { header, at });
        self.payload(&header, at, false)
    }

    /// Takes the block with this header at `at`, where its header may be gone;
    /// its end, where it is whole.
    fn payload(
        &mut self,
        header: &BlockHeader,
        at: u64,
        headless: bool,
    ) -> Result<Option<u64>, TraceError> {
        let bytes = header.encode();
        let end = at.saturating_add(header.stored_bytes());
        if end > self.len {
            self.problem(at, "the file ends in the middle of a block");
            return Ok(None);
        }
        let before = self.blocks.range(..end).next_back();
        if before.is_some_and(|(_, (until, _))| *until > at) {
            return Ok(None);
        }
        if self.patience < header.stored_bytes() {
            self.problem(at, "there are too many false blocks to look at each");
            return Ok(None);
        }
        let info = BlockInfo {
            offset: at,
            header: *header,
        };
        let read = self.reader.read_whole(&info, headless);
        match read {
            Ok(_) if self.found.contains_key(&bytes) => {
                self.problem(at, "a block stands here for the second time");
                Ok(Some(end))
            }
            Ok(block) => {
                self.accept(&info, &block);
                if headless {
                    self.headless.push(at);
                }
                Ok(Some(end))
            }
            Err(error @ TraceError::Io { .. }) => Err(error),
            Err(_) if self.found.contains_key(&bytes) => {
                // The copy of a header in a damaged index.
                self.patience -= header.stored_bytes();
                Ok(None)
            }
            Err(error) => {
                self.patience -= header.stored_bytes();
                match error {
                    TraceError::Damaged { problem, .. } => self.problem(at, &problem),
                    TraceError::TooNew { what, .. } => {
                        self.problem(at, &format!("a block needs a newer reader ({what})"));
                    }
                    other => self.problem(at, &other.to_string()),
                }
                Ok(None)
            }
        }
    }

    fn accept(&mut self, info: &BlockInfo, block: &Block) {
        let end = info.offset.saturating_add(info.stored_bytes());
        self.blocks.insert(info.offset, (end, info.header));
        self.found.insert(info.header.encode(), info.offset);
        self.sequences.add(block.commands());
        for mark in &block.buffer.marks {
            if let Mark::Gap { place, gap } = mark {
                self.gaps.push((*place, gap.lost));
            }
        }
        block.count(&mut self.counter);
        self.counter.add_payload(&block.payload);
        self.records += u64::from(info.commands()) + u64::from(info.marks());
    }

    /// Takes the index at `at`; its end, where it is whole.
    fn index(&mut self, at: u64) -> Result<Option<u64>, TraceError> {
        // Widens, here and below.
        let fixed_bytes = INDEX_FIXED_BYTES as u64;
        let mut fixed = [0; INDEX_FIXED_BYTES];
        if self.len - at < fixed_bytes {
            return Ok(None);
        }
        self.reader.read(&mut fixed, at)?;
        let body = fixed.last_chunk().map_or(0, |len| u64::from_le_bytes(*len));
        let bytes = body.saturating_add(fixed_bytes);
        let fits = bytes <= (self.len - at).min(INDEX_BYTES_MAX as u64);
        if !fits || self.patience < bytes {
            self.problem(at, "the index is damaged");
            return Ok(None);
        }
        let mut index = vec![0; usize::try_from(bytes).unwrap_or(0)];
        self.reader.read(&mut index, at)?;
        let (index, totals) = match parse_index_anywhere(&index) {
            Ok(whole) => whole,
            Err(flaw) => {
                self.patience -= bytes;
                self.problem(
                    at,
                    &match flaw {
                        Flaw::Damaged(problem) => problem,
                        Flaw::TooNew(what) => format!("the index needs a newer reader ({what})"),
                    },
                );
                return Ok(None);
            }
        };
        let mut end = at + bytes;
        let mut trailer = [0; TRAILER_BYTES];
        if self.len - end >= trailer.len() as u64 {
            self.reader.read(&mut trailer, end)?;
            if parse_trailer(&trailer).is_ok() {
                end += trailer.len() as u64;
            }
        }
        self.index = Some((index, totals, at, end));
        Ok(Some(end))
    }

    /// Takes the blocks whose headers are destroyed, by the copies of them that
    /// stand in the index, whole or not.
    fn behead(&mut self) -> Result<(), TraceError> {
        let listed = match &self.index {
            Some((index, ..)) => index
                .iter()
                .map(|it| Known {
                    header: it.header,
                    at: it.offset,
                })
                .collect(),
            None => self.hints()?,
        };
        // How far the last block before that was found is from where it was.
        let mut shift = 0_u64;
        let mut again = Vec::new();
        for known in &listed {
            match self.found.get(&known.header.encode()) {
                Some(found) => shift = found.wrapping_sub(known.at),
                None => again.push((*known, shift)),
            }
        }
        shift = 0;
        let mut ahead: HashMap<HeaderBytes, u64> = HashMap::new();
        for known in listed.iter().rev() {
            match self.found.get(&known.header.encode()) {
                Some(found) => shift = found.wrapping_sub(known.at),
                None => {
                    ahead.insert(known.header.encode(), shift);
                }
            }
        }
        for (known, behind) in again {
            let after = ahead.get(&known.header.encode()).copied().unwrap_or(0);
            for shift in [0, behind, after] {
                if self
                    .payload(&known.header, known.at.wrapping_add(shift), true)?
                    .is_some()
                {
                    break;
                }
            }
            // Where it should be, if it is anywhere.
            let at = known.at.wrapping_add(behind).min(self.len);
            self.seen.push(Known { at, ..known });
        }
        Ok(())
    }

    /// What a damaged index tells of blocks: before the copy of a header stands
    /// where the block is.
    fn hints(&self) -> Result<Vec<Known>, TraceError> {
        let mut hints = Vec::new();
        for known in &self.seen {
            let mut before = [0; 8];
            let Some(at) = known.at.checked_sub(before.len() as u64) else {
                continue;
            };
            self.reader.read(&mut before, at)?;
            let hint = u64::from_le_bytes(before);
            if hint.saturating_add(known.header.stored_bytes()) <= at {
                hints.push(Known { at: hint, ..*known });
            }
        }
        Ok(hints)
    }

    /// The blocks that are known of and not whole, each once.
    pub(super) fn lost(&self) -> Vec<Known> {
        let mut told: HashMap<HeaderBytes, usize> = HashMap::new();
        let mut lost: Vec<Known> = Vec::new();
        for known in &self.seen {
            let bytes = known.header.encode();
            if self.found.contains_key(&bytes) {
                continue;
            }
            // What comes later is from the index, and knows better.
            match told.get(&bytes).and_then(|at| lost.get_mut(*at)) {
                Some(there) => *there = *known,
                None => {
                    told.insert(bytes, lost.len());
                    lost.push(*known);
                }
            }
        }
        lost
    }

    /// `at`, or the start of what is whole around it.
    pub(super) fn between(&self, at: u64) -> u64 {
        let block = self.blocks.range(..=at).next_back();
        if let Some((start, _)) = block.filter(|(_, (end, _))| *end > at) {
            return *start;
        }
        match self.index {
            Some((.., start, end)) if (start..end).contains(&at) => start,
            _ => at.max(self.from),
        }
    }

    /// The earliest time in the blocks that are whole.
    pub(super) fn start_ns(&self) -> u64 {
        let times = self.blocks.values().map(|(_, header)| header.min_submit_ns);
        times.min().unwrap_or(0)
    }

    fn problem(&mut self, at: u64, problem: &str) {
        self.problems
            .entry(at)
            .or_insert_with(|| problem.to_owned());
    }
}
