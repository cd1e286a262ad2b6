//! Reads and deallocation: which blocks hold data.

use nvme::{Lba, Status, ZoneState};

use super::{BlockRange, Zones};

/// A part of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRun {
    /// The blocks.
    pub range: BlockRange,
    /// Whether they may hold data. If not, they read as deallocated blocks:
    /// zeroes, whatever the medium says.
    pub data: bool,
}

/// The parts of a read, in order; neighbours differ in whether they hold data.
#[derive(Clone, Debug)]
pub struct ReadRuns<'z> {
    zones: &'z Zones,
    next: u64,
    end: u64,
}

impl Zones {
    /// Accepts a read, and says which of its blocks hold data.
    ///
    /// # Errors
    ///
    /// What the host is told.
    pub fn read(&self, slba: Lba, blocks: u64) -> Result<ReadRuns<'_>, Status> {
        let (index, offset) = self.locate(slba, blocks)?;
        let end = slba.0.saturating_add(blocks);
        let crosses = offset.saturating_add(blocks) > self.geometry.zone_blocks;
        if crosses && !self.geometry.read_across {
            return Err(Status::ZONE_BOUNDARY_ERROR.dnr());
        }
        let last = self.index_of(Lba(end.saturating_sub(1)))?;
        let offline = |index: &u32| self.at(*index).state == ZoneState::Offline;
        if self.injured.range(index..=last).any(offline) {
            return Err(Status::ZONE_IS_OFFLINE.dnr());
        }
        Ok(ReadRuns {
            zones: self,
            next: slba.0,
            end,
        })
    }

    /// Dataset Management with Deallocate: hands the ranges to discard to
    /// `sink`. Blocks of read only and of offline zones are left out, no write
    /// pointer moves. A range of no blocks is none.
    ///
    /// # Errors
    ///
    /// The blocks do not lie in the namespace.
    pub fn deallocate(
        &self,
        slba: Lba,
        blocks: u64,
        mut sink: impl FnMut(BlockRange),
    ) -> Result<(), Status> {
        if blocks == 0 && slba.0 <= self.geometry.blocks() {
            return Ok(());
        }
        let (first, _) = self.locate(slba, blocks)?;
        let end = slba.0.saturating_add(blocks);
        let last = self.index_of(Lba(end.saturating_sub(1)))?;
        let mut next = slba.0;
        let mut emit = |from: u64, to: u64| {
            if let Some(blocks) = to.checked_sub(from).filter(|blocks| *blocks > 0) {
                sink(BlockRange {
                    slba: Lba(from),
                    blocks,
                });
            }
        };
        for index in self.injured.range(first..=last) {
            let start = self.start(*index);
            emit(next, start);
            next = start.saturating_add(self.geometry.zone_blocks);
        }
        emit(next, end);
        Ok(())
    }
}

impl ReadRuns<'_> {
    /// Whether the whole read is of blocks that hold data: it can go to the
    /// medium as it is.
    #[must_use]
    pub fn all_data(&self) -> bool {
        let mut runs = self.clone();
        let first = runs.next();
        first.is_some_and(|run| run.data) && runs.next().is_none()
    }

    /// Up to where the blocks from `lba` on are all data, or all not; within a
    /// zone.
    fn run_at(&self, lba: u64) -> Option<(bool, u64)> {
        let index = self.zones.index_of(Lba(lba)).ok()?;
        let start = self.zones.start(index);
        let readable = self.zones.readable(self.zones.at(index));
        let data_end = start.saturating_add(readable);
        if lba < data_end {
            Some((true, data_end.min(self.end)))
        } else {
            let zone_end = start.saturating_add(self.zones.geometry.zone_blocks);
            Some((false, zone_end.min(self.end)))
        }
    }
}

impl Iterator for ReadRuns<'_> {
    type Item = ReadRun;

    fn next(&mut self) -> Option<ReadRun> {
        let slba = self.next;
        if slba >= self.end {
            return None;
        }
        let (data, mut end) = self.run_at(slba)?;
        // Across the boundary of a zone, what is alike is one run.
        while end < self.end {
            match self.run_at(end) {
                Some((alike, further)) if alike == data && further > end => end = further,
                _ => break,
            }
        }
        self.next = end;
        Some(ReadRun {
            range: BlockRange {
                slba: Lba(slba),
                blocks: end.saturating_sub(slba),
            },
            data,
        })
    }
}
