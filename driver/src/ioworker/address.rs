//! Where the next command goes.

use fastrand::Rng;
use nvme::Lba;

use super::chance::{Pareto, Weighted, Zipf};
use super::options::{IoSize, IoworkerOptions, Skew};
use super::plan::{parts, refuse};
use super::units::Size;
use crate::{DriverError, NamespaceInfo};

/// Walks over a region.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    start: u64,
    /// Just after the last block.
    end: u64,
    /// The first block that is a multiple of `align`.
    base: u64,
    align: u64,
    random: u8,
    step: Option<i64>,
    picker: Picker,
    next: u64,
    /// The next command goes to `next` whatever chance says.
    at_start: bool,
}

#[derive(Clone, Debug)]
enum Picker {
    Even,
    Parts(Weighted),
    Zipf(Zipf),
    Pareto(Pareto),
}

impl Picker {
    fn new(options: &IoworkerOptions, places: u64) -> Result<Self, DriverError> {
        Ok(match options.skew {
            None if options.distribution.is_empty() => Picker::Even,
            None => Picker::Parts(parts(&options.distribution)?),
            Some(Skew::Zipf(power)) if power.is_finite() && power > 0.0 => {
                Picker::Zipf(Zipf::new(places, power))
            }
            Some(Skew::Zipf(power)) => {
                return refuse("skew", format!("zipf = {power}: choose above 0"));
            }
            Some(Skew::Pareto(share)) if share > 0.0 && share < 1.0 => {
                Picker::Pareto(Pareto::new(share))
            }
            Some(Skew::Pareto(share)) => {
                return refuse("skew", format!("pareto = {share}: choose between 0 and 1"));
            }
        })
    }
}

impl Addresses {
    pub(super) fn new(
        options: &IoworkerOptions,
        namespace: NamespaceInfo,
        smallest: u32,
        largest: u32,
    ) -> Result<Self, DriverError> {
        let (start, end) = region(options, namespace)?;
        let align = match (options.lba_align, &options.io_size) {
            (Some(align), _) => align
                .blocks(namespace.block_bytes)
                .filter(|blocks| *blocks > 0),
            (None, IoSize::One(_)) => Some(u64::from(smallest)),
            (None, _) => Some(1),
        };
        let Some(align) = align else {
            return refuse(
                "lba_align",
                format!("choose a multiple of {} bytes", namespace.block_bytes),
            );
        };
        let aligned = start
            .checked_next_multiple_of(align)
            .filter(|base| *base < end);
        let base = if options.lba_random == 0 {
            Some(start)
        } else {
            aligned
        };
        let fits = |base: u64| end - base >= u64::from(largest);
        let Some(base) = base.filter(|base| fits(*base)) else {
            return refuse(
                "region",
                format!("{start}..{end}: a command of {largest} blocks does not fit"),
            );
        };
        let first = options.lba_start.unwrap_or(start);
        if !(start..end).contains(&first) {
            return refuse(
                "lba_start",
                format!("{first} is not in the region {start}..{end}"),
            );
        }
        let region = end - start;
        if options
            .lba_step
            .is_some_and(|step| step.unsigned_abs() >= region)
        {
            return refuse(
                "lba_step",
                format!("it leaves the region of {region} blocks"),
            );
        }
        let places = (end - base - u64::from(smallest)) / align + 1;
        let picker = Picker::new(options, places)?;
        Ok(Self {
            start,
            end,
            base,
            align,
            random: options.lba_random,
            step: options.lba_step,
            picker,
            next: first,
            at_start: options.lba_start.is_some(),
        })
    }

    /// The first block of the region.
    pub(super) const fn start(&self) -> u64 {
        self.start
    }

    /// The region's blocks.
    pub(super) const fn blocks(&self) -> u64 {
        self.end - self.start
    }

    /// Where a command of `blocks` blocks goes; a sequential one is cut off at
    /// the region's end.
    #[inline]
    pub(super) fn next(&mut self, blocks: u32, rng: &mut Rng) -> (Lba, u32) {
        let is_random = !self.at_start
            && (self.random == 100 || (self.random > 0 && rng.u8(0..100) < self.random));
        self.at_start = false;
        let lba = if is_random {
            self.random(blocks, rng)
        } else {
            self.next
        };
        let left = self.end - lba;
        let blocks = u32::try_from(left).map_or(blocks, |left| left.min(blocks));
        self.next = self.follow(lba, blocks);
        (Lba(lba), blocks)
    }

    /// The first block of the one after.
    fn follow(&self, lba: u64, blocks: u32) -> u64 {
        let next = match self.step {
            None => lba.checked_add(u64::from(blocks)),
            Some(step) => lba.checked_add_signed(step),
        };
        match next {
            Some(next) if (self.start..self.end).contains(&next) => next,
            // Backwards, it goes on at the end.
            _ if self.step.is_some_and(|step| step < 0) => self.end - u64::from(blocks),
            _ => self.start,
        }
    }

    #[inline]
    fn random(&self, blocks: u32, rng: &mut Rng) -> u64 {
        let places = (self.end - self.base).saturating_sub(u64::from(blocks)) / self.align + 1;
        let place = match &self.picker {
            Picker::Even => rng.u64(0..places),
            Picker::Parts(weights) => {
                let part = weights.draw(rng) as u64;
                let first = hundredths(places, part);
                // A part of a small region may have no place of its own.
                let last = hundredths(places, part + 1).max(first + 1);
                rng.u64(first..last)
            }
            // Fewer places than ranks where this command is a long one.
            Picker::Zipf(zipf) => zipf.draw(rng),
            Picker::Pareto(pareto) => share(places, pareto.draw(rng)),
        };
        self.base + place.min(places - 1) * self.align
    }
}

/// `part` hundredths of `places`.
fn hundredths(places: u64, part: u64) -> u64 {
    let place = u128::from(places) * u128::from(part) / 100;
    u64::try_from(place).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is from 0 to 1, and its last bits do not count"
)]
fn share(places: u64, share: f64) -> u64 {
    (places as f64 * share) as u64
}

/// The first block of the region, and the one after its last.
fn region(options: &IoworkerOptions, namespace: NamespaceInfo) -> Result<(u64, u64), DriverError> {
    let place = |size: Size| match size.blocks(namespace.block_bytes) {
        Some(block) => Ok(block),
        None => refuse(
            "region",
            format!(
                "{size}: choose a multiple of {} bytes",
                namespace.block_bytes
            ),
        ),
    };
    let start = place(options.region.start)?;
    let end = options
        .region
        .end
        .map_or(Ok(namespace.blocks), place)?
        .min(namespace.blocks);
    if start >= end {
        return refuse(
            "region",
            format!(
                "{start}..{end} has no blocks: the namespace has {}",
                namespace.blocks
            ),
        );
    }
    Ok((start, end))
}
