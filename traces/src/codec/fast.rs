//! Encoding while recording: one pass, a few nanoseconds a column.
//!
//! Commands are gathered in order of sequence into tiles of 128, small enough
//! for the first-level cache, and each column of a tile is packed at once.

mod rows;

use self::rows::{InOrder, SHARED, Same};
use super::FullBlock;
use super::bitpack::{GROUP, encode_group, extremes, width};
use super::column::{Codec, Column, FIELD_COLUMNS, fields, write_column, write_constant};
use super::transform::{Applied, StreamEnds, Transform};
use crate::format::{BlockHeader, zigzag};
use crate::row::Row;
use crate::totals::Counts;

/// What encoding needs again for each block, so that it allocates for the
/// first only.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    order: Vec<u32>,
    gathered: Vec<Row>,
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

/// Encodes `block`, all of whose times are multiples of `scale` nanoseconds,
/// into `out` (payload only) and returns its header, complete but for length and
/// checksum of the payload.
pub(crate) fn encode(
    block: FullBlock<'_>,
    scale: u64,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> (BlockHeader, Counts) {
    let mut header = block.header();
    scratch
        .columns
        .resize_with(FIELD_COLUMNS, ColumnWriter::default);
    let told = scratch.tell(block, scale, &mut header);
    let Scratch { order, columns, .. } = scratch;
    let Told {
        bases,
        is_stream,
        is_sorted,
        counts,
    } = told;
    write_columns(columns, &bases, is_stream, out);
    if is_sorted && (block.has_rare() || !block.ranges().is_empty()) {
        block.sort(order);
    }
    if block.has_rare() {
        write_rare(block, order, out);
    }
    if !block.ranges().is_empty() {
        write_ranges(block, order, out);
    }
    out.push(0);
    block.encode_marks(out);
    (header, counts)
}

/// What fell where all was to rise.
enum Fell {
    Sequence,
    /// A time of submission.
    Submit,
}

/// How the rows stand in the columns.
struct Told {
    bases: Bases,
    /// Whether LBAs are told from those before.
    is_stream: bool,
    /// Whether they came in order; where they did not, their order is known.
    is_sorted: bool,
    /// How many there are of each kind.
    counts: Counts,
}

impl Scratch {
    /// Puts all rows into the columns, and widens the header's extremes to cover
    /// them.
    ///
    /// Rows are thought to come in order and their times to rise, as they nearly
    /// always do; where that is seen to be wrong, all is told anew.
    fn tell(&mut self, block: FullBlock<'_>, scale: u64, header: &mut BlockHeader) -> Told {
        let (mut is_sorted, mut rises) = (true, true);
        let scale = scale_of(block.rows, scale);
        loop {
            let order = (!is_sorted).then_some(&self.order[..]);
            let mut rows = InOrder::new(block.rows, order, &mut self.gathered);
            let bases = Bases::of(rows.first(), rises, scale);
            let told = tell(&mut rows, &bases, &mut self.tile, &mut self.columns, header);
            match told {
                Ok((is_stream, counts)) => {
                    return Told {
                        bases,
                        is_stream,
                        is_sorted,
                        counts,
                    };
                }
                Err(Fell::Sequence) => {
                    block.sort(&mut self.order);
                    is_sorted = false;
                }
                Err(Fell::Submit) => rises = false,
            }
        }
    }
}

/// Puts all rows into the columns, and widens the header's extremes to cover them.
/// Gives back whether LBAs are told from those before, and how many rows there are
/// of each kind.
fn tell(
    all: &mut InOrder<'_>,
    bases: &Bases,
    tile: &mut Tile,
    columns: &mut [ColumnWriter],
    header: &mut BlockHeader,
) -> Result<(bool, Counts), Fell> {
    let mut counts = Counts::default();
    columns.iter_mut().for_each(ColumnWriter::clear);
    let mut state = State::new(bases);
    while let Some(rows) = all.tile() {
        let last_complete_ns = state.put(rows, tile)?;
        let lba = state.group(tile, rows.len(), columns);
        let same = Same::of(rows);
        header.last_complete_ns = header.last_complete_ns.max(last_complete_ns);
        see_starts(header, rows, bases.rises);
        see_lba(header, rows, &same, lba);
        group_shared(rows, &same, &mut tile.other, columns);
        count(&mut counts, rows, &same);
    }
    Ok((state.is_stream.unwrap_or(false), counts))
}

/// Adds a tile's group to each of the columns that have one value in most.
fn group_shared(
    rows: &[Row],
    same: &Same,
    gathered: &mut [u64; GROUP],
    columns: &mut [ColumnWriter],
) {
    for shared in &SHARED {
        let writer = &mut columns[shared.column.index()];
        if let Some(value) = same.value(shared) {
            writer.group_between(&[], (value, value));
        } else {
            for (value, row) in gathered.iter_mut().zip(rows) {
                *value = shared.of(&row.words());
            }
            writer.group(&gathered[..rows.len()]);
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

/// What times are divided by that are multiples of `scale`.
fn scale_of(rows: &[Row], scale: u64) -> u64 {
    // One that ends before it starts is no multiple mod 2^64.
    let may_scale = scale == 1 || rows.iter().all(Row::ends_after_start);
    if may_scale { scale } else { 1 }
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
    /// Those of rows of which `first` is the first.
    fn of(first: Option<&Row>, rises: bool, scale: u64) -> Self {
        Self {
            rises,
            scale,
            sequence: first.map_or(0, |first| first.sequence.wrapping_sub(1)),
            submit: first.map_or(0, |first| first.submit_ns),
            lba: first.map_or(0, |first| first.lba),
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
    /// The next sequence number is not smaller.
    at_least: u64,
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
            at_least: 0,
            submit: bases.submit,
            times: bases.times(),
            ends: StreamEnds::new(bases.lba),
            is_stream: None,
        }
    }

    /// Adds the tile's group of `len` rows to each of the columns that differ in
    /// most. Gives back the extremes of the LBAs.
    fn group(&mut self, tile: &Tile, len: usize, columns: &mut [ColumnWriter]) -> (u64, u64) {
        for (column, values) in [
            (Column::Sequence, &tile.sequence),
            (Column::Submit, &tile.submit),
            (Column::Latency, &tile.latency),
            (Column::Cid, &tile.cid),
        ] {
            columns[column.index()].group(&values[..len]);
        }
        let lba = &mut columns[Column::Lba.index()];
        let [plain, stream] = [&tile.lba, &tile.stream].map(|values| &values[..len]);
        let (min, max) = extremes(plain);
        let is_stream = *self.is_stream.get_or_insert_with(|| {
            let (stream_min, stream_max) = extremes(stream);
            width(stream_min, stream_max) < width(min, max)
        });
        if is_stream {
            lba.group(stream);
        } else {
            lba.group_between(plain, (min, max));
        }
        (min, max)
    }

    /// Puts the columns that differ in most into the tile. Loops of little each:
    /// all that one needs stays in registers. Gives back when the last of the
    /// commands completed, nanoseconds; 0 where none did.
    fn put(&mut self, rows: &[Row], tile: &mut Tile) -> Result<u64, Fell> {
        for ((lba, cid), row) in tile.lba.iter_mut().zip(&mut tile.cid).zip(rows) {
            (*lba, *cid) = (row.lba, u64::from(row.cid));
        }
        let (mut is_sorted, mut last) = (true, self.at_least);
        for (sequence, row) in tile.sequence.iter_mut().zip(rows) {
            is_sorted &= last <= row.sequence;
            last = row.sequence;
            *sequence = row.sequence.wrapping_sub(self.sequence);
            self.sequence = row.sequence;
        }
        self.at_least = last;
        if !is_sorted {
            return Err(Fell::Sequence);
        }
        if self.is_stream != Some(false) {
            for (stream, row) in tile.stream.iter_mut().zip(rows) {
                let (queue, opcode) = (u64::from(row.queue().0), u64::from(row.opcode()));
                let nlb = row.parameters & 0xffff;
                *stream = self.ends.encode(queue, opcode, row.lba, nlb);
            }
        }
        match self.times {
            Times::Any => self.put_times(rows, tile, zigzag, |latency| latency),
            Times::Rising => self.put_times(rows, tile, |since| since, |latency| latency),
            // Divisions by constants cost a multiplication each.
            Times::RisingHundreds => self.put_times(rows, tile, |ns| ns / 100, |ns| ns / 100),
            Times::RisingThousands => self.put_times(rows, tile, |ns| ns / 1_000, |ns| ns / 1_000),
        }
    }

    #[inline]
    fn put_times(
        &mut self,
        rows: &[Row],
        tile: &mut Tile,
        since: impl Fn(u64) -> u64,
        latency: impl Fn(u64) -> u64,
    ) -> Result<u64, Fell> {
        let (mut fell, mut last_complete_ns) = (false, 0);
        let times = tile.submit.iter_mut().zip(&mut tile.latency);
        for ((to_submit, to_latency), row) in times.zip(rows) {
            fell |= row.submit_ns < self.submit;
            *to_submit = since(row.submit_ns.wrapping_sub(self.submit));
            self.submit = row.submit_ns;
            *to_latency = latency(row.latency_ns());
            last_complete_ns = row.complete_ns.max(last_complete_ns);
        }
        let may_fall = matches!(self.times, Times::Any);
        if fell && !may_fall {
            Err(Fell::Submit)
        } else {
            Ok(last_complete_ns)
        }
    }
}

/// Widens the header's extremes to cover `row`.
pub(super) fn see(header: &mut BlockHeader, row: &Row) {
    see_start(header, row);
    header.last_complete_ns = header.last_complete_ns.max(row.complete_ns);
    see_blocks(header, row);
}

#[inline]
fn see_start(header: &mut BlockHeader, row: &Row) {
    header.min_sequence = header.min_sequence.min(row.sequence);
    header.max_sequence = header.max_sequence.max(row.sequence);
    header.min_submit_ns = header.min_submit_ns.min(row.submit_ns);
    header.max_submit_ns = header.max_submit_ns.max(row.submit_ns);
}

#[inline]
fn see_blocks(header: &mut BlockHeader, row: &Row) {
    if let Some((lba, blocks)) = row.record().lba_range() {
        let last = lba.0.saturating_add(u64::from(blocks) - 1);
        header.min_lba = header.min_lba.min(lba.0);
        header.max_lba = header.max_lba.max(last);
    }
}

/// As [`see_start`] for all rows of a tile, whose times of submission rise or not.
fn see_starts(header: &mut BlockHeader, rows: &[Row], rises: bool) {
    if rises {
        let ends = rows.first().into_iter().chain(rows.last());
        ends.for_each(|row| see_start(header, row));
    } else {
        rows.iter().for_each(|row| see_start(header, row));
    }
}

/// As [`see_blocks`] for all rows of a tile, whose LBAs have these extremes.
fn see_lba(header: &mut BlockHeader, rows: &[Row], same: &Same, (min, max): (u64, u64)) {
    if !same.is_one_transfer() {
        rows.iter().for_each(|row| see_blocks(header, row));
    } else if let Some(row) = rows.first() {
        // All are of one kind and one length.
        for lba in [min, max] {
            see_blocks(header, &Row { lba, ..*row });
        }
    }
}

/// Counts the kinds of a tile's rows.
fn count(counts: &mut Counts, rows: &[Row], same: &Same) {
    match rows.first() {
        // Widens.
        Some(row) if same.is_one_kind() => counts.add(row.kind(), rows.len() as u64),
        _ => counts.add_each(rows.iter().map(Row::kind)),
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

/// The columns of the rare dwords, gathered whole.
fn write_rare(block: FullBlock<'_>, order: &[u32], out: &mut Vec<u8>) {
    let of = |column: Column| {
        let field = move |&index: &u32| fields(&block.command(index))[column.index()];
        order.iter().map(field).collect()
    };
    let columns = [Column::Cdw14, Column::Cdw15, Column::Cdw2, Column::Cdw3];
    write_whole(columns.map(|column| (column, of(column))), out);
}

/// The columns of the ranges, gathered whole.
fn write_ranges(block: FullBlock<'_>, order: &[u32], out: &mut Vec<u8>) {
    let of = || order.iter().map(|&index| block.ranges().of(index));
    let columns = [
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
    write_whole(columns, out);
}

/// Columns that are there so seldom that they may be gathered whole.
fn write_whole(columns: [(Column, Vec<u64>); 4], out: &mut Vec<u8>) {
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
