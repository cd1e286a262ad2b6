//! Encoding while recording: one pass, a few nanoseconds a column.
//!
//! Commands are gathered in order of sequence into tiles of 128, small enough
//! for the first-level cache, and each column of a tile is packed at once.

mod rows;

use self::rows::{Rows, SHARED, WORDS, words};
use super::BlockBuffer;
use super::bitpack::{GROUP, encode_group, extremes, width};
use super::column::{Codec, Column, FIELD_COLUMNS, fields, write_column, write_constant};
use super::transform::{Applied, StreamEnds, Transform};
use crate::CommandRecord;
use crate::format::{BlockHeader, zigzag};

/// What encoding needs again for each block, so that it allocates for the
/// first only.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    order: Vec<u32>,
    columns: Vec<ColumnWriter>,
    tile: Tile,
}

/// The columns of a tile that differ from command to command in most, and one
/// that was gathered.
#[derive(Debug)]
struct Tile {
    sequence: [u64; GROUP],
    submit: [u64; GROUP],
    latency: [u64; GROUP],
    cid: [u64; GROUP],
    lba: [u64; GROUP],
    /// How the LBAs follow on those before.
    stream: [u64; GROUP],
    other: [u64; GROUP],
}

impl Default for Tile {
    fn default() -> Self {
        let zeroes = [0; GROUP];
        Self {
            sequence: zeroes,
            submit: zeroes,
            latency: zeroes,
            cid: zeroes,
            lba: zeroes,
            stream: zeroes,
            other: zeroes,
        }
    }
}

/// A column on its way: nothing is written while all its values are the same.
#[derive(Debug, Default)]
struct ColumnWriter {
    bytes: Vec<u8>,
    /// The value so far, and how many groups of it, while it is constant.
    constant: Option<(u64, usize)>,
}

impl ColumnWriter {
    fn clear(&mut self) {
        self.bytes.clear();
        self.constant = None;
    }

    /// Adds a group.
    fn group(&mut self, values: &[u64]) {
        self.group_between(values, extremes(values));
    }

    /// Adds a group, the smallest and the largest of which are known; its values
    /// are not looked at where these are the same.
    #[inline]
    fn group_between(&mut self, values: &[u64], (min, max): (u64, u64)) {
        match &mut self.constant {
            Some((value, groups)) if min == max && min == *value => *groups += 1,
            None if min == max && self.bytes.is_empty() => self.constant = Some((min, 1)),
            _ => {
                self.end_constant();
                encode_group(values, min, max, &mut self.bytes);
            }
        }
    }

    /// Writes the groups that were all of one value, where there are any.
    fn end_constant(&mut self) {
        if let Some((value, groups)) = self.constant.take() {
            for _ in 0..groups {
                encode_group(&[], value, value, &mut self.bytes);
            }
        }
    }
}

fn ends_after_start(command: &CommandRecord) -> bool {
    let completion = command.completion.as_ref();
    completion.is_none_or(|completion| completion.complete_ns >= command.submit_ns)
}

/// Encodes `block`, all of whose times are multiples of `scale` nanoseconds,
/// into `out` (payload only) and returns its header, complete but for length and
/// checksum of the payload.
pub(crate) fn encode(
    block: &BlockBuffer,
    scale: u64,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> BlockHeader {
    let mut header = block.header();
    let Scratch {
        order,
        columns,
        tile,
    } = scratch;
    block.sort(order);
    columns.resize_with(FIELD_COLUMNS, ColumnWriter::default);
    columns.iter_mut().for_each(ColumnWriter::clear);

    let all = Rows {
        commands: &block.commands,
        order,
    };
    let bases = Bases::of(all, scale);
    let mut state = State::new(&bases);
    for group in order.chunks(GROUP) {
        let rows = Rows {
            order: group,
            ..all
        };
        let differs = state.put(rows, tile, &mut header);
        state.group(tile, group.len(), columns);
        group_shared(rows, &differs, &mut tile.other, columns);
    }

    let is_stream = state.is_stream.unwrap_or(false);
    write_columns(columns, &bases, is_stream, out);
    if !block.ranges.is_empty() {
        write_ranges(block, order, out);
    }
    out.push(0);
    block.encode_marks(out);
    header
}

/// Adds a tile's group to each of the columns that have one value in most.
fn group_shared(
    rows: Rows<'_>,
    differs: &[u64; WORDS],
    gathered: &mut [u64; GROUP],
    columns: &mut [ColumnWriter],
) {
    let Some(words) = rows.iter().next().map(words) else {
        return;
    };
    for shared in &SHARED {
        let writer = &mut columns[shared.column.index()];
        if shared.of(differs) == 0 {
            let value = shared.of(&words);
            writer.group_between(&[], (value, value));
        } else {
            (shared.gather)(rows, gathered);
            writer.group(&gathered[..rows.order.len()]);
        }
    }
}

/// What the first value of a column is told from.
struct Bases {
    sequence: u64,
    submit: u64,
    lba: u64,
    /// Whether submission times never fall from one command to the next.
    rises: bool,
    /// What times are multiples of, nanoseconds.
    scale: u64,
}

/// How times are told.
#[derive(Clone, Copy)]
enum Times {
    /// Those of submission may fall.
    Any,
    Rising,
    /// Divided by what all are multiples of.
    RisingHundreds,
    RisingThousands,
}

impl Bases {
    fn of(rows: Rows<'_>, scale: u64) -> Self {
        let first = rows.iter().next();
        let rises = rows.iter().is_sorted_by_key(|command| command.submit_ns);
        // One that ends before it starts is no multiple mod 2^64.
        let may_scale = scale == 1 || rows.iter().all(ends_after_start);
        Self {
            rises,
            scale: if may_scale { scale } else { 1 },
            sequence: first.map_or(0, |first| first.sequence.wrapping_sub(1)),
            submit: first.map_or(0, |first| first.submit_ns),
            lba: first.map_or(0, |first| fields(first)[Column::Lba.index()]),
        }
    }

    fn times(&self) -> Times {
        match (self.rises, self.scale) {
            (false, _) => Times::Any,
            (true, 100) => Times::RisingHundreds,
            (true, 1_000) => Times::RisingThousands,
            (true, _) => Times::Rising,
        }
    }

    /// The transforms of the columns of submission and latency.
    fn of_times(&self) -> [Applied; 2] {
        let scale = match self.times() {
            Times::Any | Times::Rising => 1,
            Times::RisingHundreds | Times::RisingThousands => self.scale,
        };
        let transform = if self.rises {
            Transform::Rise
        } else {
            Transform::Delta
        };
        let submit = Applied::new(transform, self.submit);
        [submit, Applied::NONE].map(|applied| Applied { scale, ..applied })
    }
}

/// What the transforms remember from one command to the next.
struct State {
    sequence: u64,
    submit: u64,
    times: Times,
    ends: StreamEnds,
    /// Whether LBAs are told from those before: where the first tile is smaller
    /// so.
    is_stream: Option<bool>,
}

impl State {
    fn new(bases: &Bases) -> Self {
        Self {
            sequence: bases.sequence,
            submit: bases.submit,
            times: bases.times(),
            ends: StreamEnds::new(bases.lba),
            is_stream: None,
        }
    }

    /// Adds the tile's group of `len` rows to each of the columns that differ in
    /// most.
    fn group(&mut self, tile: &Tile, len: usize, columns: &mut [ColumnWriter]) {
        let width = |values: &[u64; GROUP]| {
            let (min, max) = extremes(&values[..len]);
            width(min, max)
        };
        let is_stream = *self
            .is_stream
            .get_or_insert_with(|| width(&tile.stream) < width(&tile.lba));
        let lba = if is_stream { &tile.stream } else { &tile.lba };
        for (column, values) in [
            (Column::Sequence, &tile.sequence),
            (Column::Submit, &tile.submit),
            (Column::Latency, &tile.latency),
            (Column::Cid, &tile.cid),
            (Column::Lba, lba),
        ] {
            columns[column.index()].group(&values[..len]);
        }
    }

    /// Puts the columns that differ in most into the tile, and gives back in what
    /// the [`words`] of its commands differ.
    fn put(&mut self, rows: Rows<'_>, tile: &mut Tile, header: &mut BlockHeader) -> [u64; WORDS] {
        let mut differs = [0; WORDS];
        let Some(first) = rows.iter().next().map(words) else {
            return differs;
        };
        for (row, command) in rows.iter().enumerate() {
            let words = words(command);
            for ((differs, word), first) in differs.iter_mut().zip(words).zip(first) {
                *differs |= word ^ first;
            }
            self.put_row(row, command, tile);
            see(header, command);
        }
        differs
    }

    #[inline]
    fn put_row(&mut self, row: usize, command: &CommandRecord, tile: &mut Tile) {
        let values = fields(command);
        let of = |column: Column| values[column.index()];
        let lba = of(Column::Lba);
        tile.lba[row] = lba;
        if self.is_stream != Some(false) {
            let (queue, opcode) = (of(Column::Queue), of(Column::Opcode));
            tile.stream[row] = self.ends.encode(queue, opcode, lba, of(Column::Blocks));
        }
        tile.cid[row] = of(Column::Cid);
        tile.sequence[row] = command.sequence.wrapping_sub(self.sequence);
        let since = command.submit_ns.wrapping_sub(self.submit);
        let latency = of(Column::Latency);
        (tile.submit[row], tile.latency[row]) = match self.times {
            Times::Any => (zigzag(since), latency),
            Times::Rising => (since, latency),
            // Divisions by constants cost a multiplication each.
            Times::RisingHundreds => (since / 100, latency / 100),
            Times::RisingThousands => (since / 1_000, latency / 1_000),
        };
        self.sequence = command.sequence;
        self.submit = command.submit_ns;
    }
}

/// Widens the header's extremes to cover `command`.
#[inline]
pub(super) fn see(header: &mut BlockHeader, command: &CommandRecord) {
    header.min_sequence = header.min_sequence.min(command.sequence);
    header.max_sequence = header.max_sequence.max(command.sequence);
    header.min_submit_ns = header.min_submit_ns.min(command.submit_ns);
    header.max_submit_ns = header.max_submit_ns.max(command.submit_ns);
    if let Some(completion) = &command.completion {
        header.last_complete_ns = header.last_complete_ns.max(completion.complete_ns);
    }
    if let Some((lba, blocks)) = command.lba_range() {
        let last = lba.0.saturating_add(u64::from(blocks) - 1);
        header.min_lba = header.min_lba.min(lba.0);
        header.max_lba = header.max_lba.max(last);
    }
}

fn write_columns(columns: &[ColumnWriter], bases: &Bases, is_stream: bool, out: &mut Vec<u8>) {
    let [submit, latency] = bases.of_times();
    for (column, writer) in Column::ALL.into_iter().zip(columns) {
        let transform = match column {
            Column::Sequence => Applied::new(Transform::Rise, bases.sequence),
            Column::Submit => submit,
            Column::Latency => latency,
            Column::Lba if is_stream => Applied::new(Transform::StreamEnd, bases.lba),
            _ => Applied::NONE,
        };
        match writer.constant {
            // A column that is not there is all zeroes.
            Some((0, _)) if transform.is_none() => {}
            Some((value, _)) => write_constant(column, transform, value, out),
            None if writer.bytes.is_empty() => {}
            None => write_column(column, transform, Codec::Bitpack, &writer.bytes, out),
        }
    }
}

/// The columns of the ranges, rare enough to be gathered whole.
fn write_ranges(block: &BlockBuffer, order: &[u32], out: &mut Vec<u8>) {
    let of = || order.iter().map(|&index| block.ranges_of(index));
    let columns: [(Column, Vec<u64>); 4] = [
        // Widens.
        (Column::RangeCount, of().map(|r| r.len() as u64).collect()),
        (
            Column::RangeContext,
            of().flatten().map(|r| r.context.get().into()).collect(),
        ),
        (
            Column::RangeBlocks,
            of().flatten().map(|r| r.blocks.get().into()).collect(),
        ),
        (
            Column::RangeLba,
            of().flatten().map(|r| r.slba.get()).collect(),
        ),
    ];
    for (column, values) in columns {
        let mut writer = ColumnWriter::default();
        values.chunks(GROUP).for_each(|group| writer.group(group));
        match writer.constant {
            Some((0, _)) => {}
            Some((value, _)) => write_constant(column, Applied::NONE, value, out),
            None => write_column(column, Applied::NONE, Codec::Bitpack, &writer.bytes, out),
        }
    }
}
