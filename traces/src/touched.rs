//! Which blocks a command is about.
//!
//! The only place that knows: what cuts, moves, scales and sums up traces asks
//! here. The LBA span of a block in the index is narrower, for it is part of the
//! format: FORMAT.md names the opcodes that count there, and
//! [`CommandRecord::is_in_span`] says which those are.

use std::ops::RangeInclusive;

use nvme::{DsmRange, Lba, NvmOpcode, ZoneAppendCdw12, ZoneSendCdw13};

use crate::CommandRecord;

/// The blocks that a command touches, as far as its record tells.
#[derive(Clone, Copy, Debug)]
pub struct Touched<'a> {
    own: Option<(Lba, u64)>,
    ranges: &'a [DsmRange],
    anywhere: bool,
}

impl<'a> Touched<'a> {
    /// The extents that are known: first block and number of blocks.
    pub fn extents(&self) -> impl Iterator<Item = (Lba, u64)> + use<'a> {
        let ranges = self.ranges.iter();
        let ranges = ranges.map(|range| (range.lba(), range.blocks.get().into()));
        self.own.into_iter().chain(ranges)
    }

    /// Whether it touches other blocks too, which the record does not name: the
    /// sources of a Copy, all zones.
    #[must_use]
    pub const fn may_be_anywhere(&self) -> bool {
        self.anywhere
    }

    /// Whether one of the extents that are known has a block in `wanted`.
    #[must_use]
    pub fn meets(&self, wanted: &RangeInclusive<u64>) -> bool {
        self.extents().any(|(first, blocks)| {
            let last = blocks
                .checked_sub(1)
                .map(|more| first.0.saturating_add(more));
            last.is_some_and(|last| first.0 <= *wanted.end() && last >= *wanted.start())
        })
    }
}

impl CommandRecord {
    /// The blocks that it touches; `ranges` are those of its record.
    ///
    /// Of a zone its first block counts, as a trace does not tell how long zones
    /// are; of a Zone Append the blocks that it was given. A Copy reads from
    /// anywhere where its record has no ranges.
    #[must_use]
    pub fn touched<'a>(&self, ranges: &'a [DsmRange]) -> Touched<'a> {
        let mut touched = Touched {
            own: None,
            ranges,
            anywhere: false,
        };
        let Some(opcode) = self.nvm_opcode() else {
            touched.ranges = &[];
            return touched;
        };
        match opcode {
            NvmOpcode::COPY => {
                let sources = ranges.iter().map(|range| u64::from(range.blocks.get()));
                touched.own = Some((self.dwords_lba(), sources.sum::<u64>().max(1)));
                touched.anywhere = ranges.is_empty();
            }
            NvmOpcode::ZONE_MANAGEMENT_SEND if self.is_about_all_zones() => {
                touched.anywhere = true;
            }
            NvmOpcode::ZONE_MANAGEMENT_SEND | NvmOpcode::ZONE_MANAGEMENT_RECEIVE => {
                touched.own = Some((self.dwords_lba(), 1));
            }
            NvmOpcode::ZONE_APPEND => {
                let lba = self.assigned_lba().unwrap_or_else(|| self.dwords_lba());
                touched.own = Some((lba, self.append_blocks().into()));
            }
            _ => touched.own = self.lba_range().map(|(lba, blocks)| (lba, blocks.into())),
        }
        touched
    }

    /// The address in command dwords 10 and 11, of whatever command has one
    /// there: the first block of reads and writes, the destination of a Copy,
    /// the zone of zone commands.
    #[must_use]
    pub fn slba(&self) -> Option<Lba> {
        let has = match self.nvm_opcode()? {
            NvmOpcode::ZONE_MANAGEMENT_SEND => !self.is_about_all_zones(),
            NvmOpcode::COPY | NvmOpcode::ZONE_MANAGEMENT_RECEIVE | NvmOpcode::ZONE_APPEND => true,
            opcode => opcode.has_lba_range(),
        };
        has.then(|| self.dwords_lba())
    }

    /// Data that it moves, blocks: those of a Zone Append as those of reads and
    /// writes; 0 where it moves none, or its record does not tell.
    #[must_use]
    pub fn data_blocks(&self) -> u32 {
        if self.nvm_opcode() == Some(NvmOpcode::ZONE_APPEND) {
            self.append_blocks()
        } else {
            self.lba_range().map_or(0, |(_, blocks)| blocks)
        }
    }

    /// Whether the LBA span of a block in the index covers all that it touches,
    /// where the block has no ranges.
    pub(crate) fn is_in_span(admin: bool, opcode: u8) -> bool {
        let elsewhere = [
            NvmOpcode::COPY,
            NvmOpcode::ZONE_MANAGEMENT_SEND,
            NvmOpcode::ZONE_MANAGEMENT_RECEIVE,
            NvmOpcode::ZONE_APPEND,
        ];
        admin || !elsewhere.contains(&NvmOpcode(opcode))
    }

    /// Sets the address that [`CommandRecord::slba`] gives. The blocks that a
    /// Zone Append was given, `within` blocks into its zone, move with it.
    pub(crate) fn move_to(&mut self, lba: Lba, within: Option<u64>) {
        self.set_lba(lba);
        if self.nvm_opcode() == Some(NvmOpcode::ZONE_APPEND)
            && let (Some(completion), Some(within)) = (&mut self.completion, within)
        {
            let [a, b, c, d, ..] = lba.0.wrapping_add(within).to_le_bytes();
            completion.result = u32::from_le_bytes([a, b, c, d]);
        }
    }

    /// How far into its zone a Zone Append wrote, blocks; none where that is not
    /// known, and for every other command.
    pub(crate) fn within_zone(&self) -> Option<u64> {
        let lba = self.assigned_lba()?;
        Some(lba.0.wrapping_sub(self.dwords_lba().0))
    }

    /// Where a Zone Append wrote. Its completion tells in two dwords, of which
    /// the record has the lower one: it is the first such block from the start
    /// of the zone on (`ZNS Command Set 1.1 §3.4.1`).
    fn assigned_lba(&self) -> Option<Lba> {
        if self.nvm_opcode() != Some(NvmOpcode::ZONE_APPEND) {
            return None;
        }
        let completion = self.completion.filter(|it| it.status.is_success())?;
        let zone = self.dwords_lba().0;
        let [a, b, c, d, ..] = zone.to_le_bytes();
        let within = completion
            .result
            .wrapping_sub(u32::from_le_bytes([a, b, c, d]));
        zone.checked_add(within.into()).map(Lba)
    }

    fn append_blocks(&self) -> u32 {
        u32::from(ZoneAppendCdw12::from_bits(self.cdw10_15[2]).nlb()) + 1
    }

    fn is_about_all_zones(&self) -> bool {
        ZoneSendCdw13::from_bits(self.cdw10_15[3]).select_all()
    }

    fn dwords_lba(&self) -> Lba {
        self.sqe().slba()
    }
}

#[cfg(test)]
mod tests;
