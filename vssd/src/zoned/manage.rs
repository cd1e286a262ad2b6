//! Zone Management Send (`ZNS Command Set 1.1 §3.4`).

use nvme::{Lba, Status, ZoneSendAction, ZoneSendCdw13, ZoneState};

use super::state::{ZoneEvent, step};
use super::{BlockRange, Zones};

/// Which zones an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The zone that starts at this LBA.
    Zone(Lba),
    /// Every zone in a state that the action is for.
    All,
}

impl Zones {
    /// Does what a Zone Management Send command says. `extension` is its data,
    /// [`super::ZonedGeometry::extension_bytes`] of them, for the one action
    /// that has data. Ranges that a reset leaves to be discarded go to `sink`,
    /// neighbouring zones as one.
    ///
    /// The zones are empty whatever becomes of the discard: their blocks read
    /// as zeroes until they are written. Only a random write area shows what the
    /// medium has kept.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn manage(
        &mut self,
        slba: Lba,
        cdw13: ZoneSendCdw13,
        extension: &[u8],
        sink: impl FnMut(BlockRange),
    ) -> Result<(), Status> {
        let action = ZoneSendAction::from_number(cdw13.zsa());
        let action = action.ok_or(Status::INVALID_FIELD.dnr())?;
        let select = if cdw13.select_all() {
            Select::All
        } else {
            Select::Zone(slba)
        };
        let zrwa = cdw13.zrwa_allocation();
        match (action, select) {
            (ZoneSendAction::Close, _) => self.close(select),
            (ZoneSendAction::Finish, _) => self.finish(select),
            (ZoneSendAction::Open, _) => self.open(select, zrwa),
            (ZoneSendAction::Reset, _) => self.reset(select, sink),
            (ZoneSendAction::Offline, _) => self.take_offline(select),
            (ZoneSendAction::SetExtension, Select::Zone(zslba)) => {
                self.set_extension(zslba, extension, zrwa)
            }
            (ZoneSendAction::FlushZrwa, Select::Zone(lba)) => self.flush_zrwa(lba),
            (ZoneSendAction::SetExtension | ZoneSendAction::FlushZrwa, Select::All) => {
                Err(Status::INVALID_FIELD.dnr())
            }
        }
    }

    /// Close Zone; all: every zone that is open.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn close(&mut self, select: Select) -> Result<(), Status> {
        self.each(select, ZoneEvent::Close, ZoneState::is_open)
    }

    /// Finish Zone; all: every zone that is active.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn finish(&mut self, select: Select) -> Result<(), Status> {
        self.each(select, ZoneEvent::Finish, ZoneState::is_active)
    }

    /// Offline Zone; all: every zone that is read only.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn take_offline(&mut self, select: Select) -> Result<(), Status> {
        self.each(select, ZoneEvent::TakeOffline, |state| {
            state == ZoneState::ReadOnly
        })
    }

    /// Open Zone, with a random write area if `zrwa`; all: every zone that is
    /// closed, or none where there is no room for all.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn open(&mut self, select: Select, zrwa: bool) -> Result<(), Status> {
        let zslba = match select {
            Select::Zone(zslba) => zslba,
            // Whose write pointer would have to be aligned is not said.
            Select::All if zrwa => return Err(Status::INVALID_FIELD.dnr()),
            Select::All => return self.open_all(),
        };
        let index = self.index_at(zslba)?;
        step(self.at(index).state, ZoneEvent::Open)?;
        let allocates = zrwa && !self.at(index).zrwa;
        if allocates {
            self.check_zrwa(index)?;
        }
        self.activate(index, ZoneEvent::Open)?;
        if allocates {
            self.take_zrwa(index);
        }
        Ok(())
    }

    /// Reset Zone; all: every zone that is active or full. Ranges to discard go
    /// to `sink`.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn reset(
        &mut self,
        select: Select,
        mut sink: impl FnMut(BlockRange),
    ) -> Result<(), Status> {
        let zone_blocks = self.geometry.zone_blocks;
        let (first, last) = match select {
            Select::Zone(zslba) => {
                let index = self.index_at(zslba)?;
                step(self.at(index).state, ZoneEvent::Reset)?;
                (index, index)
            }
            Select::All => (0, self.geometry.zones.saturating_sub(1)),
        };
        let mut pending: Option<BlockRange> = None;
        for index in first..=last {
            let zone = self.at(index);
            if !zone.state.is_active() && zone.state != ZoneState::Full {
                continue;
            }
            let has_data = self.readable(zone) > 0;
            self.apply(index, ZoneEvent::Reset)?;
            if !has_data {
                continue;
            }
            let start = self.start(index);
            match &mut pending {
                Some(range) if range.slba.0.saturating_add(range.blocks) == start => {
                    range.blocks = range.blocks.saturating_add(zone_blocks);
                }
                _ => {
                    let range = BlockRange {
                        slba: Lba(start),
                        blocks: zone_blocks,
                    };
                    if let Some(done) = pending.replace(range) {
                        sink(done);
                    }
                }
            }
        }
        if let Some(range) = pending {
            sink(range);
        }
        Ok(())
    }

    /// Set Zone Descriptor Extension, with a random write area if `zrwa`: the
    /// zone, which is empty, becomes closed.
    ///
    /// # Errors
    ///
    /// What the host is told; nothing has changed then.
    pub fn set_extension(
        &mut self,
        zslba: Lba,
        extension: &[u8],
        zrwa: bool,
    ) -> Result<(), Status> {
        let bytes = self.geometry.extension_bytes;
        if bytes == 0 || extension.len() != bytes as usize {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let index = self.index_at(zslba)?;
        step(self.at(index).state, ZoneEvent::Describe)?;
        if zrwa {
            self.check_zrwa(index)?;
        }
        self.activate(index, ZoneEvent::Describe)?;
        self.extensions.insert(index, extension.into());
        if zrwa {
            self.take_zrwa(index);
        }
        Ok(())
    }

    /// Takes an event that needs no resources to the zone selected, or to every
    /// zone in a state that is `selected`.
    fn each(
        &mut self,
        select: Select,
        event: ZoneEvent,
        selected: impl Fn(ZoneState) -> bool,
    ) -> Result<(), Status> {
        match select {
            Select::Zone(zslba) => self.apply(self.index_at(zslba)?, event),
            Select::All => {
                for index in 0..self.geometry.zones {
                    if selected(self.at(index).state) {
                        self.apply(index, event)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn open_all(&mut self) -> Result<(), Status> {
        let wanted = self
            .count(ZoneState::Closed)
            .saturating_add(self.count(ZoneState::ExplicitlyOpened));
        if self.geometry.open_max.is_some_and(|max| wanted > max) {
            return Err(Status::TOO_MANY_OPEN_ZONES.dnr());
        }
        // What is closed on the way, to make room, was not selected.
        let closed: Vec<u32> = (0..self.geometry.zones)
            .filter(|index| self.at(*index).state == ZoneState::Closed)
            .collect();
        for index in closed {
            self.activate(index, ZoneEvent::Open)?;
        }
        Ok(())
    }

    /// Whether a random write area can be given to a zone: where its write
    /// pointer is a multiple of the granularity, and one is left.
    fn check_zrwa(&self, index: u32) -> Result<(), Status> {
        let zrwa = self.geometry.zrwa;
        let zrwa = zrwa.ok_or(Status::INVALID_ZONE_OPERATION.dnr())?;
        let aligned = self
            .at(index)
            .written
            .is_multiple_of(u64::from(zrwa.granularity));
        if aligned && self.zrwas < zrwa.resources {
            Ok(())
        } else {
            Err(Status::ZRWA_RESOURCES_UNAVAILABLE.dnr())
        }
    }

    fn take_zrwa(&mut self, index: u32) {
        if let Some(zone) = self.at_mut(index) {
            zone.zrwa = true;
            self.zrwas = self.zrwas.saturating_add(1);
        }
    }
}
