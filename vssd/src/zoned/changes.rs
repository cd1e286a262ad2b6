//! What a controller does to zones by itself, and how the host learns of it.

use std::collections::BTreeSet;

use nvme::{ChangedZoneList, Lba, Status};

use super::Zones;
use super::state::ZoneEvent;

/// What an operator can do to a zone, as a failing medium would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injury {
    /// It can be read only.
    ReadOnly,
    /// Its data are gone.
    Offline,
}

/// Zones that changed since the host last read the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    zones: BTreeSet<u32>,
    /// More zones than the log lists.
    too_many: bool,
    /// The host was not told yet.
    notice: bool,
}

impl Changes {
    /// The zones; none where they are too many.
    pub(super) fn list(&self) -> Option<Vec<u32>> {
        (!self.too_many).then(|| self.zones.iter().copied().collect())
    }

    /// More zones than the log lists have changed.
    pub(super) fn overflow(&mut self) {
        self.too_many = true;
        self.notice = true;
    }
}

impl Zones {
    /// Makes the zone that `lba` is in read only or offline. The host learns of
    /// it by a notice, if it asked for those: see [`Zones::take_notice`].
    ///
    /// # Errors
    ///
    /// The LBA lies beyond the namespace, or an offline zone was to become read
    /// only.
    pub fn inject(&mut self, lba: Lba, injury: Injury) -> Result<(), Status> {
        let index = self.index_of(lba)?;
        let before = self.at(index).state;
        self.apply(
            index,
            match injury {
                Injury::ReadOnly => ZoneEvent::Wear,
                Injury::Offline => ZoneEvent::Die,
            },
        )?;
        if self.at(index).state != before {
            self.changed(index);
        }
        Ok(())
    }

    /// Whether a Zone Descriptor Changed notice
    /// ([`nvme::AsyncEvent::ZONE_DESCRIPTOR_CHANGED`]) is due; it is then taken to be told.
    pub fn take_notice(&mut self) -> bool {
        std::mem::take(&mut self.changes.notice)
    }

    /// The Changed Zone List log page, which a read empties unless it is to
    /// `retain` the event.
    pub fn changed_zones(&mut self, retain: bool) -> ChangedZoneList {
        let mut list = ChangedZoneList::default();
        if self.changes.too_many {
            list.nrzid = ChangedZoneList::TOO_MANY.into();
        } else {
            let starts = self.changes.zones.iter().map(|index| self.start(*index));
            let mut zones: u16 = 0;
            for (slot, start) in list.zones.iter_mut().zip(starts) {
                *slot = start.into();
                zones = zones.saturating_add(1);
            }
            list.nrzid = zones.into();
        }
        if !retain {
            self.changes = Changes::default();
        }
        list
    }

    pub(super) fn changed(&mut self, index: u32) {
        self.changes.notice = true;
        if self.changes.zones.len() < ChangedZoneList::ZONES_MAX {
            self.changes.zones.insert(index);
        } else if !self.changes.zones.contains(&index) {
            self.changes.too_many = true;
        }
    }
}
