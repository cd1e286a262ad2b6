//! Encoding while recording: one pass, a few nanoseconds a column.
//!
//! Commands are gathered in order of sequence into tiles of 128, small enough
//! for the first-level cache, and each column of a tile is packed at once.

use super::BlockBuffer;
use super::bitpack::{GROUP, encode_group, extremes};
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
    lba_ends: ColumnWriter,
    tile: Tile,
}

#[derive(Debug)]
struct Tile {
    columns: [[u64; GROUP]; FIELD_COLUMNS],
    lba_ends: [u64; GROUP],
}

impl Default for Tile {
    fn default() -> Self {
        Self {
            columns: [[0; GROUP]; FIELD_COLUMNS],
            lba_ends: [0; GROUP],
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

    /// Adds a group; the first of a block has `first` set.
    #[inline]
    fn group(&mut self, values: &[u64], first: bool) {
        let (min, max) = extremes(values);
        if min == max && first {
            self.constant = Some((min, 1));
            return;
        }
        if let Some((value, groups)) = self.constant {
            if min == max && min == value {
                self.constant = Some((value, groups + 1));
                return;
            }
            for _ in 0..groups {
                encode_group(&[], value, value, &mut self.bytes);
            }
            self.constant = None;
        }
        encode_group(values, min, max, &mut self.bytes);
    }

    /// Adds a group of `len` zeroes; as [`ColumnWriter::group`] would.
    #[inline]
    fn zeroes(&mut self, len: usize, first: bool) {
        match &mut self.constant {
            Some((0, groups)) if !first => *groups += 1,
            _ => self.group(&[0; GROUP][..len], first),
        }
    }
}

/// The columns before this one are those of a plain read or write that went
/// well; the others are 0 then.
const PLAIN_COLUMNS: usize = Column::Cdw13.index();

/// Whether every column from [`PLAIN_COLUMNS`] on is 0.
#[inline]
fn is_plain(command: &CommandRecord) -> bool {
    let [_, _, _, cdw13, cdw14, cdw15] = command.cdw10_15;
    let [cdw2, cdw3] = command.cdw2_3;
    let ended = command
        .completion
        .is_some_and(|completion| completion.status.field() == 0 && completion.result == 0);
    ended && cdw13 | cdw14 | cdw15 | cdw2 | cdw3 == 0
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
        lba_ends,
        tile,
    } = scratch;
    block.sort(order);
    columns.resize_with(FIELD_COLUMNS, ColumnWriter::default);
    columns.iter_mut().for_each(ColumnWriter::clear);
    lba_ends.clear();

    let first = order.first().map(|&index| &block.commands[index as usize]);
    let rises = order.is_sorted_by_key(|&index| block.commands[index as usize].submit_ns);
    // One that ends before it starts is no multiple mod 2^64.
    let may_scale = scale == 1 || block.commands.iter().all(ends_after_start);
    let bases = Bases::of(first, rises, if may_scale { scale } else { 1 });
    let mut state = State {
        sequence: bases.sequence,
        submit: bases.submit,
        times: bases.times(),
        ends: StreamEnds::new(bases.lba),
    };
    for (number, group) in order.chunks(GROUP).enumerate() {
        let commands = || group.iter().map(|&index| &block.commands[index as usize]);
        let plain = commands().all(is_plain);
        for (row, command) in commands().enumerate() {
            if plain {
                state.put::<PLAIN_COLUMNS>(command, row, tile);
            } else {
                state.put::<FIELD_COLUMNS>(command, row, tile);
            }
            see(&mut header, command);
        }
        for (column, (writer, values)) in columns.iter_mut().zip(&tile.columns).enumerate() {
            if plain && column >= PLAIN_COLUMNS {
                writer.zeroes(group.len(), number == 0);
            } else {
                writer.group(&values[..group.len()], number == 0);
            }
        }
        lba_ends.group(&tile.lba_ends[..group.len()], number == 0);
    }

    write_columns(columns, lba_ends, &bases, out);
    if !block.ranges.is_empty() {
        write_ranges(block, order, out);
    }
    out.push(0);
    block.encode_marks(out);
    header
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
    fn of(first: Option<&CommandRecord>, rises: bool, scale: u64) -> Self {
        Self {
            rises,
            scale,
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
}

impl State {
    /// Puts the first `LIVE` columns of `command` into the tile.
    #[inline]
    fn put<const LIVE: usize>(&mut self, command: &CommandRecord, row: usize, tile: &mut Tile) {
        let mut values = fields(command);
        let queue = values[Column::Queue.index()];
        let opcode = values[Column::Opcode.index()];
        let lba = values[Column::Lba.index()];
        let nlb = values[Column::Blocks.index()];
        tile.lba_ends[row] = self.ends.encode(queue, opcode, lba, nlb);
        values[Column::Sequence.index()] = command.sequence.wrapping_sub(self.sequence);
        let since = command.submit_ns.wrapping_sub(self.submit);
        let latency = values[Column::Latency.index()];
        (
            values[Column::Submit.index()],
            values[Column::Latency.index()],
        ) = match self.times {
            Times::Any => (zigzag(since), latency),
            Times::Rising => (since, latency),
            // Divisions by constants cost a multiplication each.
            Times::RisingHundreds => (since / 100, latency / 100),
            Times::RisingThousands => (since / 1_000, latency / 1_000),
        };
        self.sequence = command.sequence;
        self.submit = command.submit_ns;
        for (column, value) in tile.columns.iter_mut().zip(values).take(LIVE) {
            column[row] = value;
        }
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

fn write_columns(
    columns: &[ColumnWriter],
    lba_ends: &ColumnWriter,
    bases: &Bases,
    out: &mut Vec<u8>,
) {
    let [submit, latency] = bases.of_times();
    for (column, writer) in Column::ALL.into_iter().zip(columns) {
        let (transform, writer) = match column {
            Column::Sequence => (Applied::new(Transform::Rise, bases.sequence), writer),
            Column::Submit => (submit, writer),
            Column::Latency => (latency, writer),
            Column::Lba if lba_ends.bytes.len() < writer.bytes.len() => {
                (Applied::new(Transform::StreamEnd, bases.lba), lba_ends)
            }
            _ => (Applied::NONE, writer),
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
        for (number, group) in values.chunks(GROUP).enumerate() {
            writer.group(group, number == 0);
        }
        match writer.constant {
            Some((0, _)) => {}
            Some((value, _)) => write_constant(column, Applied::NONE, value, out),
            None => write_column(column, Applied::NONE, Codec::Bitpack, &writer.bytes, out),
        }
    }
}
