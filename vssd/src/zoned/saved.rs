//! What persists of zones.

use nvme::{ChangedZoneList, ZoneState};
use serde::{Deserialize, Serialize};

use super::state::ZoneEvent;
use super::{Zone, ZonedError, ZonedGeometry, Zones};

/// The state of zones, as it persists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedZones {
    /// What the zones are like.
    pub geometry: ZonedGeometry,
    /// The zones that are not empty, in order.
    pub runs: Vec<SavedRun>,
    /// The zone descriptor extensions, in order.
    pub extensions: Vec<SavedExtension>,
    /// The zones that changed since the host last read of it, in order; none
    /// where they are too many.
    pub changed: Option<Vec<u32>>,
}

/// Neighbouring zones that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRun {
    /// The first zone.
    pub first: u32,
    /// The number of zones.
    pub zones: u32,
    /// The number of their state: ZS.
    pub state: u8,
    /// The blocks written in each.
    pub written: u64,
    /// Whether each has a random write area.
    pub zrwa: bool,
}

/// The descriptor extension of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedExtension {
    /// The zone.
    pub zone: u32,
    /// The extension.
    pub bytes: Vec<u8>,
}

impl Zones {
    /// What persists.
    #[must_use]
    pub fn save(&self) -> SavedZones {
        let mut runs: Vec<SavedRun> = Vec::new();
        for (index, zone) in (0..).zip(&self.zones) {
            if zone.state == ZoneState::Empty {
                continue;
            }
            let one = SavedRun {
                first: index,
                zones: 1,
                state: zone.state as u8,
                written: zone.written,
                zrwa: zone.zrwa,
            };
            match runs.last_mut() {
                Some(run) if run.goes_on_with(&one) => run.zones = run.zones.saturating_add(1),
                _ => runs.push(one),
            }
        }
        let extensions = self.extensions.iter().map(|(zone, bytes)| SavedExtension {
            zone: *zone,
            bytes: bytes.to_vec(),
        });
        SavedZones {
            geometry: self.geometry,
            runs,
            extensions: extensions.collect(),
            changed: self.changes.list(),
        }
    }

    /// The zones of `saved`, as they were; [`Zones::power_cycle`] makes of them
    /// what a loss of power does.
    ///
    /// # Errors
    ///
    /// `saved` is damaged: it says what no zones can be like.
    pub fn restore(saved: &SavedZones) -> Result<Self, ZonedError> {
        let mut zones = Self::new(saved.geometry)?;
        let mut next = 0;
        for run in &saved.runs {
            let end = run.first.checked_add(run.zones);
            let end = end.filter(|end| run.first >= next && *end <= saved.geometry.zones);
            let end = end.ok_or(ZonedError::Saved("zones that are not there, or twice"))?;
            let zone = run.zone(&saved.geometry)?;
            for index in run.first..end {
                zones.place(index, zone);
            }
            next = end;
        }
        zones.check_limits()?;
        for extension in &saved.extensions {
            let described = extension.zone < saved.geometry.zones
                && zones.at(extension.zone).state != ZoneState::Empty
                && extension.bytes.len() == saved.geometry.extension_bytes as usize;
            if !described {
                return Err(ZonedError::Saved("a descriptor extension that no zone has"));
            }
            let bytes = extension.bytes.as_slice().into();
            zones.extensions.insert(extension.zone, bytes);
        }
        zones.restore_changes(saved.changed.as_deref());
        Ok(zones)
    }

    /// What a loss of power, or an NVM Subsystem Reset, leaves: no zone is open,
    /// and one that was opened but never written is empty again. Random write
    /// areas persist with what is in them.
    pub fn power_cycle(&mut self) {
        for index in 0..self.geometry.zones {
            // No state refuses it.
            let _ = self.apply(index, ZoneEvent::PowerOn);
            let zone = self.at(index);
            let bare = zone.written == 0 && !zone.zrwa && !self.extensions.contains_key(&index);
            if zone.state == ZoneState::Closed && bare {
                let _ = self.apply(index, ZoneEvent::Reset);
            }
        }
    }

    /// Puts a zone into the table, which has an empty one at its place.
    fn place(&mut self, index: u32, zone: Zone) {
        self.counts.moved(ZoneState::Empty, zone.state);
        self.zrwas = self.zrwas.saturating_add(u32::from(zone.zrwa));
        if zone.state == ZoneState::ImplicitlyOpened && self.geometry.open_max.is_some() {
            self.opened.push_back(index);
        }
        if matches!(zone.state, ZoneState::ReadOnly | ZoneState::Offline) {
            self.injured.insert(index);
        }
        if let Some(slot) = self.at_mut(index) {
            *slot = zone;
        }
    }

    fn check_limits(&self) -> Result<(), ZonedError> {
        let zrwas_max = self.geometry.zrwa.map_or(0, |zrwa| zrwa.resources);
        let within = self.counts.active() <= self.geometry.active_max.unwrap_or(u32::MAX)
            && self.counts.open() <= self.geometry.open_max.unwrap_or(u32::MAX)
            && self.zrwas <= zrwas_max;
        if within {
            Ok(())
        } else {
            Err(ZonedError::Saved("more zones in use than there may be"))
        }
    }

    fn restore_changes(&mut self, changed: Option<&[u32]>) {
        match changed {
            Some(zones) => {
                for index in zones.iter().take(ChangedZoneList::ZONES_MAX) {
                    if *index < self.geometry.zones {
                        self.changed(*index);
                    }
                }
            }
            None => self.changes.overflow(),
        }
    }
}

impl SavedRun {
    fn goes_on_with(&self, one: &Self) -> bool {
        self.first.checked_add(self.zones) == Some(one.first)
            && self.state == one.state
            && self.written == one.written
            && self.zrwa == one.zrwa
    }

    /// The zone that this is a run of.
    fn zone(&self, geometry: &ZonedGeometry) -> Result<Zone, ZonedError> {
        let state = ZoneState::from_number(self.state);
        let state = state.ok_or(ZonedError::Saved("a state that does not exist"))?;
        let granularity = geometry.zrwa.map_or(1, |zrwa| u64::from(zrwa.granularity));
        let full = self.written >= geometry.capacity_blocks;
        let beyond = self.written > geometry.capacity_blocks;
        let possible = match state {
            ZoneState::Empty => false,
            _ if state.is_active() => {
                !full && (!self.zrwa || self.written.is_multiple_of(granularity))
            }
            _ => !beyond && !self.zrwa,
        };
        if !possible {
            return Err(ZonedError::Saved("a zone that cannot be"));
        }
        Ok(Zone {
            written: self.written,
            generation: 0,
            state,
            zrwa: self.zrwa,
        })
    }
}
