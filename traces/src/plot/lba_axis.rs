//! The axis of addresses.
//!
//! Disks are large and accesses cluster. A picture of a boot from a 128 GiB
//! disk that touches 30 GiB would be nearly empty if it showed the disk from
//! end to end. So large stretches that no command touches are cut out, and the
//! axis says how much it cut, and where.

use super::axis::{Axis, Tick};
use super::coverage::Coverage;
use super::num::float;
use super::units;

/// An untouched stretch between two touched ones is cut where it is more than
/// this part of what the axis shows.
const CUT_INSIDE: f64 = 0.1;
/// The like for the stretches before the first and behind the last.
const CUT_ENDS: f64 = 0.2;
/// How many stretches are cut at most, besides those at the ends.
const CUTS_MAX: usize = 6;
/// What is left beside a touched stretch, as a part of what is shown.
const PADDING: f64 = 0.01;
/// The least that is left there, bytes: labels have megabytes, not blocks.
const PADDING_BYTES: f64 = 32.0 * 1024.0 * 1024.0;
/// The least part of the axis that a piece gets.
const PIECE_MIN: f64 = 0.045;

/// A piece of the axis: bytes, and places from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    /// First byte.
    pub(super) from: f64,
    /// The byte past the last.
    pub(super) to: f64,
    /// The place of the first byte.
    pub(super) bottom: f64,
    /// The place of the one past the last.
    pub(super) top: f64,
}

/// A stretch that was cut out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cut {
    /// The place of the cut's lower edge, 0 to 1.
    pub(super) bottom: f64,
    /// The place of its upper edge.
    pub(super) top: f64,
    /// What was cut out.
    pub(super) bytes: f64,
}

/// What the axis is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct LbaView {
    /// The block size, bytes.
    pub(super) block_bytes: f64,
    /// The size of the namespace, bytes, where it is known.
    pub(super) capacity_bytes: Option<f64>,
    /// Cut nothing out.
    pub(super) whole: bool,
    /// The height in pixels.
    pub(super) height: f64,
    /// The height of a cut in pixels.
    pub(super) cut_height: f64,
    /// The distance of labels in pixels.
    pub(super) label_height: f64,
}

/// The axis of addresses, in bytes.
#[derive(Clone, Debug)]
pub(super) struct LbaAxis {
    /// The axis.
    pub(super) axis: Axis,
    /// What was cut out of it, between its ends.
    pub(super) cuts: Vec<Cut>,
    /// What it shows, bytes.
    pub(super) shown: f64,
    /// From 0 to the end of the namespace, or of what was touched, bytes.
    pub(super) domain: f64,
}

impl LbaAxis {
    /// The axis that shows what `coverage` touches.
    pub(super) fn new(coverage: &Coverage, view: &LbaView) -> Self {
        // Commands beyond the end of the namespace are marked at the upper
        // edge; the axis is not stretched to the end of all addresses for them.
        let limit = view.capacity_bytes.unwrap_or(f64::INFINITY);
        let runs: Vec<(f64, f64)> = coverage
            .runs()
            .into_iter()
            .map(|(from, to)| (float(from) * view.block_bytes, float(to) * view.block_bytes))
            .filter(|run| run.0 < limit)
            .map(|(from, to)| (from, to.min(limit)))
            .collect();
        let touched_end = runs.last().map_or(0.0, |run| run.1);
        let domain = view.capacity_bytes.unwrap_or(touched_end);
        let domain = domain.max(view.block_bytes);
        let pieces = if view.whole || runs.is_empty() {
            vec![(0.0, domain)]
        } else {
            cut(&runs, domain)
        };
        let segments = lay_out(&pieces, view);
        let cuts = segments
            .windows(2)
            .filter_map(|pair| match pair {
                [below, above] => Some(Cut {
                    bottom: below.top,
                    top: above.bottom,
                    bytes: above.from - below.to,
                }),
                _ => None,
            })
            .collect();
        let ticks = ticks(&segments, view);
        Self {
            cuts,
            shown: pieces.iter().map(|(from, to)| to - from).sum(),
            domain,
            axis: Axis::pieces(segments, ticks),
        }
    }

    /// Whether anything of the namespace is left out.
    pub(super) fn is_partial(&self) -> bool {
        self.shown < self.domain * 0.995
    }
}

/// The pieces of `0..domain` that remain when the largest stretches between
/// `runs` are cut out.
fn cut(runs: &[(f64, f64)], domain: f64) -> Vec<(f64, f64)> {
    let first = runs.first().map_or(0.0, |run| run.0);
    let last = runs.last().map_or(domain, |run| run.1);
    let mut from = 0.0;
    let mut to = domain;
    let mut inside: Vec<(f64, f64)> = runs
        .windows(2)
        .filter_map(|pair| match pair {
            [below, above] => Some((below.1, above.0)),
            _ => None,
        })
        .collect();
    inside.sort_by(|a, b| (b.1 - b.0).total_cmp(&(a.1 - a.0)));
    let mut shown = domain;
    let mut cuts: Vec<(f64, f64)> = Vec::new();
    // One cut shrinks what is shown, and may so make the next one worth it.
    loop {
        let largest = inside
            .get(cuts.len())
            .copied()
            .filter(|gap| cuts.len() < CUTS_MAX && gap.1 - gap.0 > CUT_INSIDE * shown);
        if first > from && first - from > CUT_ENDS * shown {
            shown -= first - from;
            from = first;
        } else if last < to && to - last > CUT_ENDS * shown {
            shown -= to - last;
            to = last;
        } else if let Some(gap) = largest {
            shown -= gap.1 - gap.0;
            cuts.push(gap);
        } else {
            break;
        }
    }
    cuts.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Far out, addresses are so large that a block is lost in rounding.
    let pad = (shown * PADDING)
        .max(PADDING_BYTES.min(domain / 64.0))
        .max(to * 1e-9);
    let mut pieces = Vec::new();
    let mut start = (from - pad).max(0.0);
    for gap in cuts {
        let pad = pad.min((gap.1 - gap.0) / 4.0);
        pieces.push((start, gap.0 + pad));
        start = gap.1 - pad;
    }
    pieces.push((start, (to + pad).min(domain)));
    pieces
}

/// Shares the height out among `pieces`, by length, with a least height each.
fn lay_out(pieces: &[(f64, f64)], view: &LbaView) -> Vec<Segment> {
    let total: f64 = pieces.iter().map(|(from, to)| to - from).sum();
    let shares: Vec<f64> = pieces
        .iter()
        .map(|(from, to)| ((to - from) / total).max(PIECE_MIN))
        .collect();
    let sum: f64 = shares.iter().sum();
    let cuts = float(pieces.len().saturating_sub(1) as u64);
    let cut_height = view.cut_height / view.height;
    let room = 1.0 - cuts * cut_height;
    let mut bottom = 0.0;
    pieces
        .iter()
        .zip(shares)
        .map(|(&(from, to), share)| {
            let top = bottom + share / sum * room;
            let segment = Segment {
                from,
                to,
                bottom,
                top,
            };
            bottom = top + cut_height;
            segment
        })
        .collect()
}

/// Round addresses in each piece, none nearer to another than a label's height.
fn ticks(segments: &[Segment], view: &LbaView) -> Vec<Tick> {
    let mut ticks: Vec<Tick> = Vec::new();
    let mut last_place = f64::NEG_INFINITY;
    let most = segments.last().map_or(0.0, |segment| segment.to);
    let mut coarsest: f64 = 1.0;
    for segment in segments {
        let height = (segment.top - segment.bottom) * view.height;
        let bytes_per_label = (segment.to - segment.from) / height * view.label_height * 1.7;
        let mut step = bytes_per_label.max(1.0).log2().ceil().exp2();
        // A short piece may hold no address as round as that: try finer ones.
        coarsest = coarsest.max(step);
        let mut found = Vec::new();
        while found.is_empty() && step >= 1.0 {
            found = multiples(segment, step);
            step /= 2.0;
        }
        for value in found {
            let inside = (value - segment.from) / (segment.to - segment.from);
            let place = (segment.bottom + inside * (segment.top - segment.bottom)) * view.height;
            if place - last_place >= view.label_height {
                last_place = place;
                ticks.push(Tick {
                    value,
                    label: String::new(),
                });
            }
        }
    }
    let unit = units::address_unit(most, coarsest);
    for tick in &mut ticks {
        tick.label = units::address(tick.value, unit);
    }
    ticks
}

fn multiples(segment: &Segment, step: f64) -> Vec<f64> {
    let first = (segment.from / step).ceil() * step;
    (0..200_u32)
        .map(|index| first + f64::from(index) * step)
        .take_while(|&value| value <= segment.to)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: f64 = (1 << 30) as f64;
    const BLOCKS_PER_GIB: u64 = (1 << 30) / 512;

    fn view(capacity_gib: f64) -> LbaView {
        LbaView {
            block_bytes: 512.0,
            capacity_bytes: Some(capacity_gib * GIB),
            whole: false,
            height: 500.0,
            cut_height: 20.0,
            label_height: 20.0,
        }
    }

    #[test]
    fn a_disk_touched_all_over_is_shown_from_end_to_end() {
        let mut coverage = Coverage::default();
        coverage.touch(0, 2 * BLOCKS_PER_GIB);
        let axis = LbaAxis::new(&coverage, &view(2.0));
        assert!(axis.cuts.is_empty() && !axis.is_partial());
        assert!((axis.axis.fraction(GIB) - 0.5).abs() < 1e-9);
        let labels: Vec<_> = axis.axis.ticks().iter().map(|t| &*t.label).collect();
        assert_eq!(labels.first(), Some(&"0"));
        assert_eq!(labels.last(), Some(&"2 GiB"));
    }

    #[test]
    fn untouched_stretches_are_cut_out_and_told() {
        let mut coverage = Coverage::default();
        coverage.touch(0, 28 * BLOCKS_PER_GIB);
        coverage.touch(88 * BLOCKS_PER_GIB, 4 * BLOCKS_PER_GIB);
        let axis = LbaAxis::new(&coverage, &view(128.0));
        assert!(axis.is_partial());
        assert_eq!(axis.cuts.len(), 1);
        assert!((axis.cuts[0].bytes / GIB - 60.0).abs() < 2.0, "{axis:?}");
        let touched = axis.axis.fraction(90.0 * GIB);
        assert!(touched > axis.cuts[0].top && touched < 1.0);
    }

    #[test]
    fn the_whole_disk_is_shown_on_demand() {
        let mut coverage = Coverage::default();
        coverage.touch(0, 8);
        let whole = LbaView {
            whole: true,
            ..view(128.0)
        };
        let axis = LbaAxis::new(&coverage, &whole);
        assert!((axis.shown / GIB - 128.0).abs() < 1e-9);
    }

    #[test]
    fn any_coverage_makes_an_axis() {
        let mut coverage = Coverage::default();
        let axis = LbaAxis::new(&coverage, &view(0.0));
        assert!(axis.axis.fraction(GIB).is_finite());
        for start in [u64::MAX, 0, 1 << 63, 7] {
            coverage.touch(start, 1);
            for capacity_bytes in [None, Some(GIB), Some(0.0)] {
                let view = LbaView {
                    capacity_bytes,
                    ..view(1.0)
                };
                let axis = LbaAxis::new(&coverage, &view);
                assert!(!axis.axis.ticks().is_empty(), "{start}: {axis:?}");
            }
        }
    }

    #[test]
    fn one_touched_spot_is_not_blown_up() {
        let mut coverage = Coverage::default();
        coverage.touch(64 * BLOCKS_PER_GIB, 8);
        let axis = LbaAxis::new(&coverage, &view(128.0));
        assert!(axis.shown > GIB / 20.0 && axis.shown < GIB, "{axis:?}");
    }
}
