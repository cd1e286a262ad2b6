//! A naive model of zones: every number is counted anew each time.

use super::*;

pub(super) type Answer = Result<(), Status>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Is {
    Empty,
    Implicit,
    Explicit,
    Closed,
    Full,
    ReadOnly,
    Offline,
}

const OPEN: [Is; 2] = [Is::Implicit, Is::Explicit];
const ACTIVE: [Is; 3] = [Is::Implicit, Is::Explicit, Is::Closed];
const NORMAL: [Is; 5] = [Is::Empty, Is::Implicit, Is::Explicit, Is::Closed, Is::Full];

#[derive(Clone, Debug)]
pub(super) struct ModelZone {
    pub(super) is: Is,
    pub(super) wp: u64,
    pub(super) window: bool,
    pub(super) extension: Option<Vec<u8>>,
    /// How far data may reach, where there is no write pointer any more.
    data: u64,
    pub(super) resets: u64,
}

pub(super) struct Model {
    pub(super) geometry: ZonedGeometry,
    pub(super) zones: Vec<ModelZone>,
    /// Implicitly opened zones, in the order of their opening.
    opened: Vec<usize>,
    /// What was accepted, to which zone, after how many resets.
    pub(super) writes: Vec<(Accepted, usize, u64)>,
}

impl Model {
    pub(super) fn new(geometry: ZonedGeometry) -> Self {
        let empty = ModelZone {
            is: Is::Empty,
            wp: 0,
            window: false,
            extension: None,
            data: 0,
            resets: 0,
        };
        Self {
            geometry,
            zones: vec![empty; geometry.zones as usize],
            opened: vec![],
            writes: vec![],
        }
    }

    fn number(&self, which: &[Is]) -> usize {
        let selected = self.zones.iter().filter(|zone| which.contains(&zone.is));
        selected.count()
    }

    pub(super) fn windows(&self) -> usize {
        self.zones.iter().filter(|zone| zone.window).count()
    }

    fn window_blocks(&self, z: usize) -> u64 {
        match self.zones[z].window {
            true => u64::from(self.geometry.zrwa.unwrap().blocks),
            false => 0,
        }
    }

    /// How far data may reach in a zone.
    pub(super) fn reach(&self, z: usize) -> u64 {
        let zone = &self.zones[z];
        if zone.is == Is::Empty {
            0
        } else if ACTIVE.contains(&zone.is) {
            (zone.wp + self.window_blocks(z)).min(self.geometry.capacity_blocks)
        } else {
            zone.data
        }
    }

    pub(super) fn put(&mut self, z: usize, is: Is) {
        let data = self.reach(z);
        self.opened
            .retain(|other| *other != z || is == Is::Implicit);
        if is == Is::Implicit && !self.opened.contains(&z) {
            self.opened.push(z);
        }
        let zone = &mut self.zones[z];
        zone.data = data;
        zone.window &= ACTIVE.contains(&is);
        if matches!(is, Is::Empty | Is::Offline) {
            zone.extension = None;
        }
        if is == Is::Empty {
            zone.resets += u64::from(zone.is != Is::Empty);
            zone.wp = 0;
            zone.data = 0;
        }
        zone.is = is;
    }

    fn room(&mut self, z: usize, is: Is) -> Answer {
        let limit = |max: Option<u32>| max.map_or(usize::MAX, |max| max as usize);
        let now = self.zones[z].is;
        let activates = !ACTIVE.contains(&now);
        if activates && self.number(&ACTIVE) >= limit(self.geometry.active_max) {
            return Err(Status::TOO_MANY_ACTIVE_ZONES.dnr());
        }
        let opens = is != Is::Closed && !OPEN.contains(&now);
        if opens && self.number(&OPEN) >= limit(self.geometry.open_max) {
            if self.opened.is_empty() {
                return Err(Status::TOO_MANY_OPEN_ZONES.dnr());
            }
            self.put(self.opened[0], Is::Closed);
        }
        Ok(())
    }

    fn zone_of(&self, lba: u64, blocks: u64) -> Result<(usize, u64), Status> {
        if blocks == 0 {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let all = u128::from(self.geometry.zone_blocks) * u128::from(self.geometry.zones);
        if u128::from(lba) + u128::from(blocks) > all {
            return Err(Status::LBA_OUT_OF_RANGE.dnr());
        }
        let z = usize::try_from(lba / self.geometry.zone_blocks).unwrap();
        Ok((z, lba % self.geometry.zone_blocks))
    }

    fn writable(&self, z: usize) -> Answer {
        match self.zones[z].is {
            Is::Full => Err(Status::ZONE_IS_FULL.dnr()),
            Is::ReadOnly => Err(Status::ZONE_IS_READ_ONLY.dnr()),
            Is::Offline => Err(Status::ZONE_IS_OFFLINE.dnr()),
            _ => Ok(()),
        }
    }

    fn opened_by_write(&mut self, z: usize) -> Answer {
        self.room(z, Is::Implicit)?;
        if self.zones[z].is != Is::Explicit {
            self.put(z, Is::Implicit);
        }
        Ok(())
    }

    fn filled(&mut self, z: usize) {
        if self.zones[z].wp == self.geometry.capacity_blocks {
            self.put(z, Is::Full);
        }
    }

    pub(super) fn write(&mut self, lba: u64, blocks: u64) -> Answer {
        let (z, offset) = self.zone_of(lba, blocks)?;
        self.writable(z)?;
        let wp = self.zones[z].wp;
        let window = self.window_blocks(z);
        let fits = match self.zones[z].window {
            true => offset >= wp && offset + blocks <= wp + 2 * window,
            false => offset == wp,
        };
        if !fits {
            return Err(Status::ZONE_INVALID_WRITE.dnr());
        }
        if offset + blocks > self.geometry.capacity_blocks {
            return Err(Status::ZONE_BOUNDARY_ERROR.dnr());
        }
        self.opened_by_write(z)?;
        if self.zones[z].window {
            while offset + blocks > self.zones[z].wp + window {
                self.zones[z].wp += u64::from(self.geometry.zrwa.unwrap().granularity);
            }
        } else {
            self.zones[z].wp += blocks;
        }
        self.filled(z);
        Ok(())
    }

    pub(super) fn append(&mut self, z: usize, blocks: u64) -> Result<u64, Status> {
        if z >= self.zones.len() {
            return Err(Status::LBA_OUT_OF_RANGE.dnr());
        }
        self.writable(z)?;
        if self.zones[z].window {
            return Err(Status::INVALID_ZONE_OPERATION.dnr());
        }
        let end = u128::from(self.zones[z].wp) + u128::from(blocks);
        if end > u128::from(self.geometry.capacity_blocks) {
            return Err(Status::ZONE_BOUNDARY_ERROR.dnr());
        }
        let lba = self.geometry.zone_blocks * z as u64 + self.zones[z].wp;
        self.write(lba, blocks).map(|()| lba)
    }

    pub(super) fn fail(&mut self, accepted: &Accepted, z: usize, resets: u64) -> WriteFailure {
        let offset = accepted.slba.0 % self.geometry.zone_blocks;
        let zone = &mut self.zones[z];
        if zone.resets != resets || matches!(zone.is, Is::Empty | Is::Offline) {
            return WriteFailure::Past;
        }
        if ACTIVE.contains(&zone.is) {
            if zone.window && offset >= zone.wp {
                return WriteFailure::Writable;
            }
            if !zone.window && offset + accepted.blocks == zone.wp {
                zone.wp = offset;
                return WriteFailure::Writable;
            }
        }
        self.put(z, Is::ReadOnly);
        WriteFailure::ReadOnly
    }

    fn give_window(&self, z: usize) -> Answer {
        let Some(zrwa) = self.geometry.zrwa else {
            return Err(Status::INVALID_ZONE_OPERATION.dnr());
        };
        let granularity = u64::from(zrwa.granularity);
        let unaligned = !self.zones[z].wp.is_multiple_of(granularity);
        if unaligned || self.windows() >= zrwa.resources as usize {
            return Err(Status::ZRWA_RESOURCES_UNAVAILABLE.dnr());
        }
        Ok(())
    }

    fn open(&mut self, z: usize, window: bool) -> Answer {
        self.wants(z, &NORMAL[..4])?;
        if window && !self.zones[z].window {
            self.give_window(z)?;
        }
        self.room(z, Is::Explicit)?;
        self.put(z, Is::Explicit);
        self.zones[z].window |= window;
        Ok(())
    }

    fn describe(&mut self, z: usize, window: bool) -> Answer {
        self.wants(z, &[Is::Empty])?;
        if window {
            self.give_window(z)?;
        }
        self.room(z, Is::Closed)?;
        self.put(z, Is::Closed);
        self.zones[z].window = window;
        self.zones[z].extension = Some(vec![0xa5; 64]);
        Ok(())
    }

    fn flush(&mut self, lba: u64) -> Answer {
        let (z, offset) = self.zone_of(lba, 1)?;
        let Some(zrwa) = self.geometry.zrwa else {
            return Err(Status::INVALID_ZONE_OPERATION.dnr());
        };
        let wp = self.zones[z].wp;
        if !self.zones[z].window {
            return Err(Status::INVALID_FIELD.dnr());
        }
        if !(wp..self.reach(z)).contains(&offset) {
            return Err(Status::ZONE_BOUNDARY_ERROR.dnr());
        }
        if !(offset + 1 - wp).is_multiple_of(u64::from(zrwa.granularity)) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        self.opened_by_write(z)?;
        self.zones[z].wp = offset + 1;
        self.filled(z);
        Ok(())
    }

    fn wants(&self, z: usize, allowed: &[Is]) -> Answer {
        match allowed.contains(&self.zones[z].is) {
            true => Ok(()),
            false => Err(Status::INVALID_ZONE_STATE_TRANSITION.dnr()),
        }
    }

    fn send_one(&mut self, action: u32, z: usize, window: bool) -> Answer {
        let (allowed, to): (&[Is], Is) = match action {
            1 => (&ACTIVE, Is::Closed),
            2 => (&NORMAL, Is::Full),
            3 => return self.open(z, window),
            4 => (&NORMAL, Is::Empty),
            5 => (&[Is::ReadOnly, Is::Offline], Is::Offline),
            _ => return self.describe(z, window),
        };
        self.wants(z, allowed)?;
        if self.zones[z].is != to {
            self.put(z, to);
        }
        Ok(())
    }

    fn send_all(&mut self, action: u32, window: bool) -> Answer {
        let selected: &[Is] = match action {
            1 => &OPEN,
            2 => &ACTIVE,
            3 if !window => &[Is::Closed],
            4 => &NORMAL[1..],
            5 => &[Is::ReadOnly],
            _ => return Err(Status::INVALID_FIELD.dnr()),
        };
        let max = self
            .geometry
            .open_max
            .map_or(usize::MAX, |max| max as usize);
        if action == 3 && self.number(&[Is::Closed, Is::Explicit]) > max {
            return Err(Status::TOO_MANY_OPEN_ZONES.dnr());
        }
        let zones: Vec<usize> = (0..self.zones.len())
            .filter(|z| selected.contains(&self.zones[*z].is))
            .collect();
        for z in zones {
            self.send_one(action, z, false)?;
        }
        Ok(())
    }

    pub(super) fn send(&mut self, cdw13: u32, lba: u64) -> Answer {
        let action = cdw13 & 0xff;
        let window = cdw13 & 0x200 != 0;
        if !matches!(action, 1..=5 | 0x10 | 0x11) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        if cdw13 & 0x100 != 0 {
            return self.send_all(action, window);
        }
        if action == 0x11 {
            return self.flush(lba);
        }
        let (z, offset) = self.zone_of(lba, 1)?;
        if offset != 0 {
            return Err(Status::INVALID_FIELD.dnr());
        }
        self.send_one(action, z, window)
    }

    pub(super) fn power_cycle(&mut self) {
        for z in 0..self.zones.len() {
            if OPEN.contains(&self.zones[z].is) {
                self.put(z, Is::Closed);
            }
            let zone = &self.zones[z];
            let bare = zone.wp == 0 && !zone.window && zone.extension.is_none();
            if zone.is == Is::Closed && bare {
                self.put(z, Is::Empty);
            }
        }
    }

    pub(super) fn restart(&mut self) {
        self.opened.sort_unstable();
        self.writes.clear();
        self.zones.iter_mut().for_each(|zone| zone.resets = 0);
    }

    /// Each block of a read: whether it may hold data.
    pub(super) fn read(&self, lba: u64, blocks: u64) -> Result<Vec<bool>, Status> {
        let (_, offset) = self.zone_of(lba, blocks)?;
        let zone_blocks = self.geometry.zone_blocks;
        if offset + blocks > zone_blocks && !self.geometry.read_across {
            return Err(Status::ZONE_BOUNDARY_ERROR.dnr());
        }
        let block = |lba: u64| {
            let z = usize::try_from(lba / zone_blocks).unwrap();
            match self.zones[z].is {
                Is::Offline => Err(Status::ZONE_IS_OFFLINE.dnr()),
                _ => Ok(lba % zone_blocks < self.reach(z)),
            }
        };
        (lba..lba + blocks).map(block).collect()
    }
}
