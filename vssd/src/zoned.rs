//! A namespace of zones: what may be written where, and which zones are open
//! (`ZNS Command Set 1.1 §2.1`).
//!
//! ```text
//!   zone 0             zone 1             zone 2
//!   |####data####|..:  |##|..........:    |............:
//!   ^            ^  ^     ^
//!   ZSLBA       WP  |     WP               . unwritten, reads as zeroes
//!                   ZSLBA + capacity       : beyond the capacity
//! ```
//!
//! [`Zones`] is the table and nothing else: it does no I/O, knows no clock, and
//! holds no data of the zones. A command asks it first ([`Zones::begin_write`],
//! [`Zones::append`], [`Zones::read`]) and then goes to the medium, and tells it
//! of a write that the medium refused ([`Zones::fail_write`]). The commands of
//! the NVM command set do in zones what follows:
//!
//! - **Write**, **Write Zeroes**, **Write Uncorrectable** and the destination of
//!   **Copy** are writes: [`Zones::begin_write`].
//! - **Read**, **Compare**, **Verify** and the source of **Copy** are reads:
//!   [`Zones::read`].
//! - **Dataset Management** with Deallocate is allowed. It moves no write
//!   pointer and changes no state; blocks of zones that are read only or offline
//!   are left out: [`Zones::deallocate`].
//! - **Format NVM** and **Sanitize** make every zone empty: [`Zones::format`].
//!
//! Nothing allocates per write or read. Zone descriptor extensions, changed
//! zones and the answers of Zone Management Send do, within bounds that
//! [`ZonedGeometry::check`] has set.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod changes;
mod geometry;
mod manage;
mod read;
mod report;
mod saved;
mod state;
#[cfg(test)]
mod tests;
mod write;

pub use changes::Injury;
pub use geometry::{ZONES_MAX, ZonedError, ZonedGeometry, Zrwa};
pub use manage::Select;
pub use read::{ReadRun, ReadRuns};
pub use report::{Report, ReportRequest};
pub use saved::{SavedExtension, SavedRun, SavedZones};
pub use write::{Accepted, WriteFailure};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nvme::{Lba, Status, ZoneState};

use changes::Changes;
use state::{ZoneEvent, step};

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// The first block.
    pub slba: Lba,
    /// The number of blocks, at least 1.
    pub blocks: u64,
}

/// A zone: 16 bytes, so that millions fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Zone {
    /// The write pointer, from the first block of the zone on. In a state that
    /// has no write pointer: how much of the zone holds data.
    written: u64,
    /// How often the zone was emptied: a write that was accepted before says
    /// nothing about the zone after.
    generation: u32,
    state: ZoneState,
    /// A zone random write area belongs to the zone.
    zrwa: bool,
}

impl Zone {
    const EMPTY: Self = Self {
        written: 0,
        generation: 0,
        state: ZoneState::Empty,
        zrwa: false,
    };
}

/// How many zones are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts([u32; ZoneState::ALL.len()]);

impl Counts {
    const fn slot(state: ZoneState) -> usize {
        match state {
            ZoneState::Empty => 0,
            ZoneState::ImplicitlyOpened => 1,
            ZoneState::ExplicitlyOpened => 2,
            ZoneState::Closed => 3,
            ZoneState::ReadOnly => 4,
            ZoneState::Full => 5,
            ZoneState::Offline => 6,
        }
    }

    fn of(&self, state: ZoneState) -> u32 {
        self.0.get(Self::slot(state)).copied().unwrap_or(0)
    }

    fn open(&self) -> u32 {
        self.of(ZoneState::ImplicitlyOpened)
            .saturating_add(self.of(ZoneState::ExplicitlyOpened))
    }

    fn active(&self) -> u32 {
        self.open().saturating_add(self.of(ZoneState::Closed))
    }

    fn moved(&mut self, from: ZoneState, to: ZoneState) {
        if let Some(count) = self.0.get_mut(Self::slot(from)) {
            *count = count.saturating_sub(1);
        }
        self.add(to, 1);
    }

    fn add(&mut self, state: ZoneState, zones: u32) {
        if let Some(count) = self.0.get_mut(Self::slot(state)) {
            *count = count.saturating_add(zones);
        }
    }
}

/// The zones of a namespace.
#[derive(Clone, Debug)]
pub struct Zones {
    geometry: ZonedGeometry,
    zones: Vec<Zone>,
    counts: Counts,
    /// Zone random write areas that belong to a zone.
    zrwas: u32,
    /// Implicitly opened zones, the one opened first at the front: the next to
    /// be closed to make room. Kept only where there is a limit to open zones.
    opened: VecDeque<u32>,
    extensions: BTreeMap<u32, Box<[u8]>>,
    /// Zones that are read only or offline.
    injured: BTreeSet<u32>,
    changes: Changes,
}

impl Zones {
    /// Zones that are all empty.
    ///
    /// # Errors
    ///
    /// The geometry is not one that a namespace can have.
    pub fn new(geometry: ZonedGeometry) -> Result<Self, ZonedError> {
        geometry.check()?;
        let mut counts = Counts::default();
        counts.add(ZoneState::Empty, geometry.zones);
        let opened = geometry.open_max.map_or(0, |max| max.min(geometry.zones));
        Ok(Self {
            zones: vec![Zone::EMPTY; geometry.zones as usize],
            counts,
            zrwas: 0,
            opened: VecDeque::with_capacity(opened as usize),
            extensions: BTreeMap::new(),
            injured: BTreeSet::new(),
            changes: Changes::default(),
            geometry,
        })
    }

    /// What the zones are like.
    #[must_use]
    pub fn geometry(&self) -> &ZonedGeometry {
        &self.geometry
    }

    /// The state of the zone that `lba` is in; none beyond the namespace.
    #[must_use]
    pub fn state(&self, lba: Lba) -> Option<ZoneState> {
        Some(self.at(self.index_of(lba).ok()?).state)
    }

    /// The write pointer of the zone that `lba` is in; none beyond the
    /// namespace, and where the state has none.
    #[must_use]
    pub fn write_pointer(&self, lba: Lba) -> Option<Lba> {
        let index = self.index_of(lba).ok()?;
        let zone = self.at(index);
        zone.state
            .has_write_pointer()
            .then(|| Lba(self.start(index).saturating_add(zone.written)))
    }

    /// The number of zones in `state`.
    #[must_use]
    pub fn count(&self, state: ZoneState) -> u32 {
        self.counts.of(state)
    }

    /// Makes every zone empty, as Format NVM and Sanitize do; the data are the
    /// caller's to erase. Zones that were read only or offline can be used
    /// again: what ailed them was made up in the first place.
    pub fn format(&mut self) {
        for index in 0..self.geometry.zones {
            // No state refuses it.
            let _ = self.apply(index, ZoneEvent::Format);
        }
        self.changes = Changes::default();
    }

    /// Takes `event` to a zone, and keeps the books.
    fn apply(&mut self, index: u32, event: ZoneEvent) -> Result<(), Status> {
        let from = self.at(index).state;
        let to = step(from, event)?;
        if to == from {
            return Ok(());
        }
        if !to.is_active() {
            self.release_zrwa(index, to);
        }
        self.counts.moved(from, to);
        if self.geometry.open_max.is_some() {
            match (from, to) {
                (_, ZoneState::ImplicitlyOpened) => self.opened.push_back(index),
                (ZoneState::ImplicitlyOpened, _) => self.opened.retain(|zone| *zone != index),
                _ => {}
            }
        }
        if matches!(to, ZoneState::ReadOnly | ZoneState::Offline) {
            self.injured.insert(index);
        } else {
            self.injured.remove(&index);
        }
        if matches!(to, ZoneState::Empty | ZoneState::Offline) {
            self.extensions.remove(&index);
        }
        if let Some(zone) = self.at_mut(index) {
            zone.state = to;
            if to == ZoneState::Empty {
                zone.written = 0;
                zone.generation = zone.generation.wrapping_add(1);
            }
        }
        Ok(())
    }

    /// Gives a zone's random write area back, because the zone is active no
    /// more. What was written into it stays written.
    fn release_zrwa(&mut self, index: u32, to: ZoneState) {
        let zone = self.at(index);
        if !zone.zrwa {
            return;
        }
        self.zrwas = self.zrwas.saturating_sub(1);
        let readable = self.readable(zone);
        if let Some(zone) = self.at_mut(index) {
            zone.zrwa = false;
            if to != ZoneState::Empty {
                zone.written = readable;
            }
        }
    }

    /// Takes `event`, which opens or activates a zone, to it, if there are the
    /// resources; an implicitly opened zone is closed if that makes room.
    fn activate(&mut self, index: u32, event: ZoneEvent) -> Result<(), Status> {
        let from = self.at(index).state;
        let to = step(from, event)?;
        let active_max = self.geometry.active_max.unwrap_or(u32::MAX);
        if to.is_active() && !from.is_active() && self.counts.active() >= active_max {
            return Err(Status::TOO_MANY_ACTIVE_ZONES.dnr());
        }
        let open_max = self.geometry.open_max.unwrap_or(u32::MAX);
        if to.is_open() && !from.is_open() && self.counts.open() >= open_max {
            let oldest = self.opened.front().copied();
            let oldest = oldest.ok_or(Status::TOO_MANY_OPEN_ZONES.dnr())?;
            self.apply(oldest, ZoneEvent::MakeRoom)?;
        }
        self.apply(index, event)
    }

    /// The number of blocks of `zone`, from its first one on, that may hold
    /// data: up to the write pointer, or to the end of the random write area.
    fn readable(&self, zone: Zone) -> u64 {
        match self.geometry.zrwa {
            Some(zrwa) if zone.zrwa => zone
                .written
                .saturating_add(u64::from(zrwa.blocks))
                .min(self.geometry.capacity_blocks),
            _ => zone.written,
        }
    }

    fn at(&self, index: u32) -> Zone {
        // Every index comes from `index_of` or a loop over the zones.
        self.zones
            .get(index as usize)
            .copied()
            .unwrap_or(Zone::EMPTY)
    }

    fn at_mut(&mut self, index: u32) -> Option<&mut Zone> {
        self.zones.get_mut(index as usize)
    }

    /// The first block of a zone.
    fn start(&self, index: u32) -> u64 {
        // Cannot overflow for a zone that is there: the geometry was checked.
        u64::from(index).saturating_mul(self.geometry.zone_blocks)
    }

    /// The zone that `lba` is in.
    fn index_of(&self, lba: Lba) -> Result<u32, Status> {
        lba.0
            .checked_div(self.geometry.zone_blocks)
            .and_then(|index| u32::try_from(index).ok())
            .filter(|index| *index < self.geometry.zones)
            .ok_or(Status::LBA_OUT_OF_RANGE.dnr())
    }

    /// The zone whose first block `zslba` is.
    fn index_at(&self, zslba: Lba) -> Result<u32, Status> {
        let index = self.index_of(zslba)?;
        if self.start(index) == zslba.0 {
            Ok(index)
        } else {
            Err(Status::INVALID_FIELD.dnr())
        }
    }

    /// The zone and the offset in it of `blocks` blocks from `slba` on, all of
    /// which lie in the namespace, though not all in that zone.
    fn locate(&self, slba: Lba, blocks: u64) -> Result<(u32, u64), Status> {
        if blocks == 0 {
            return Err(Status::INVALID_FIELD.dnr());
        }
        match slba.0.checked_add(blocks) {
            Some(end) if end <= self.geometry.blocks() => {}
            _ => return Err(Status::LBA_OUT_OF_RANGE.dnr()),
        }
        let index = self.index_of(slba)?;
        Ok((index, slba.0.saturating_sub(self.start(index))))
    }
}
