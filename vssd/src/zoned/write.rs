//! Writes: where they may go, and what they do to a zone.

use nvme::{Lba, Status, ZoneState};

use super::state::{ZoneEvent, step};
use super::{Zones, Zrwa};

/// A write that was accepted: the write pointer is behind it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The first block; what Zone Append answers.
    pub slba: Lba,
    /// The number of blocks.
    pub blocks: u64,
    /// The generation of the zone.
    generation: u32,
}

/// What became of a zone whose write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFailure {
    /// The blocks can be written again at the same place.
    Writable,
    /// The zone is read only now, and the host is to be told.
    ReadOnly,
    /// Nothing: the zone was emptied, or went offline, meanwhile.
    Past,
}

impl Zones {
    /// Accepts a write of `blocks` blocks at `slba`, opens the zone if need be,
    /// and moves its write pointer. The medium comes after.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn begin_write(&mut self, slba: Lba, blocks: u64) -> Result<Accepted, Status> {
        let (index, offset) = self.locate(slba, blocks)?;
        let zone = self.at(index);
        // The state goes first: a full zone has no write pointer to miss.
        step(zone.state, ZoneEvent::Write)?;
        let end = offset.saturating_add(blocks);
        let zrwa = self.geometry.zrwa.filter(|_| zone.zrwa);
        let in_order = match zrwa {
            // The window, and as much again, a write to which moves the window.
            Some(zrwa) => {
                let reach = u64::from(zrwa.blocks).saturating_mul(2);
                offset >= zone.written && end <= zone.written.saturating_add(reach)
            }
            None => offset == zone.written,
        };
        if !in_order {
            return Err(Status::ZONE_INVALID_WRITE.dnr());
        }
        if end > self.geometry.capacity_blocks {
            return Err(Status::ZONE_BOUNDARY_ERROR.dnr());
        }
        self.activate(index, ZoneEvent::Write)?;
        let written = match zrwa {
            Some(zrwa) => pushed(zone.written, zrwa, end),
            None => end,
        };
        self.move_pointer(index, written)?;
        Ok(Accepted {
            slba,
            blocks,
            generation: zone.generation,
        })
    }

    /// Accepts a Zone Append of `blocks` blocks to the zone that starts at
    /// `zslba`. That it is no larger than ZASL and MDTS allow is the caller's to
    /// check.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn append(&mut self, zslba: Lba, blocks: u64) -> Result<Accepted, Status> {
        let index = self.index_at(zslba)?;
        let zone = self.at(index);
        step(zone.state, ZoneEvent::Write)?;
        if zone.zrwa {
            return Err(Status::INVALID_ZONE_OPERATION.dnr());
        }
        let room = self.geometry.capacity_blocks.saturating_sub(zone.written);
        if blocks > room {
            return Err(Status::ZONE_BOUNDARY_ERROR.dnr());
        }
        self.begin_write(Lba(zslba.0.saturating_add(zone.written)), blocks)
    }

    /// Tells that the medium did not write `accepted`.
    ///
    /// A drive that cannot write blocks has two honest ways on. Where nothing
    /// was accepted behind them and the zone is active yet, the write pointer
    /// goes back: the host sees where the data end, and may try again. Where
    /// more was accepted behind them, or the zone became full with them, there
    /// is a hole that sequential writes cannot mend: the zone becomes read only,
    /// as after any failure of the medium, and is a changed zone. In a random
    /// write area the blocks can be written again as long as they are behind
    /// the write pointer.
    pub fn fail_write(&mut self, accepted: &Accepted) -> WriteFailure {
        let Ok((index, offset)) = self.locate(accepted.slba, accepted.blocks) else {
            return WriteFailure::Past;
        };
        let zone = self.at(index);
        let gone = matches!(zone.state, ZoneState::Empty | ZoneState::Offline);
        if zone.generation != accepted.generation || gone {
            return WriteFailure::Past;
        }
        if zone.state.is_active() {
            if zone.zrwa && offset >= zone.written {
                return WriteFailure::Writable;
            }
            let end = offset.saturating_add(accepted.blocks);
            if !zone.zrwa && end == zone.written {
                if let Some(zone) = self.at_mut(index) {
                    zone.written = offset;
                }
                return WriteFailure::Writable;
            }
        }
        // No state that is left here refuses it.
        if self.apply(index, ZoneEvent::Wear).is_ok() {
            self.changed(index);
        }
        WriteFailure::ReadOnly
    }

    /// Flush Explicit ZRWA Range: moves the write pointer behind `lba`.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn flush_zrwa(&mut self, lba: Lba) -> Result<(), Status> {
        let (index, offset) = self.locate(lba, 1)?;
        let zrwa = self.geometry.zrwa.filter(|zrwa| zrwa.explicit_flush);
        let zrwa = zrwa.ok_or(Status::INVALID_ZONE_OPERATION.dnr())?;
        let zone = self.at(index);
        if !zone.zrwa {
            return Err(Status::INVALID_FIELD.dnr());
        }
        if offset < zone.written || offset >= self.readable(zone) {
            return Err(Status::ZONE_BOUNDARY_ERROR.dnr());
        }
        let written = offset.saturating_add(1);
        let moved = written.saturating_sub(zone.written);
        if !moved.is_multiple_of(u64::from(zrwa.granularity)) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        self.activate(index, ZoneEvent::Write)?;
        self.move_pointer(index, written)
    }

    fn move_pointer(&mut self, index: u32, written: u64) -> Result<(), Status> {
        if let Some(zone) = self.at_mut(index) {
            zone.written = written;
        }
        if written >= self.geometry.capacity_blocks {
            self.apply(index, ZoneEvent::Fill)?;
        }
        Ok(())
    }
}

/// The write pointer of a zone with a random write area once blocks up to `end`
/// are written: as far on as it takes for `end` to lie in the window.
fn pushed(written: u64, zrwa: Zrwa, end: u64) -> u64 {
    let window_end = written.saturating_add(u64::from(zrwa.blocks));
    let beyond = end.saturating_sub(window_end);
    let moved = beyond
        .checked_next_multiple_of(u64::from(zrwa.granularity))
        .unwrap_or(0);
    written.saturating_add(moved)
}
