//! What a drive keeps over restarts: everything but the data.
//!
//! ```text
//!   Controller --- state() ---> State --- StateStore::save ---> a file
//!              <-- restore() --                          <--- read back
//! ```
//!
//! Something is saved when a command has changed it, when a guest detaches, and
//! when the controller ends. Counters that change with every command are saved
//! at the latter two only.

mod file;

use std::io;

use nvme::NamespaceId;
use rangemap::RangeSet;
use serde::{Deserialize, Serialize};
use traces::{Clock, Tap};

pub use self::file::{FileStore, StateFileError};
use crate::admin::features::SavedFeatures;
use crate::admin::services::SavedServices;
use crate::config::BlockFormat;
use crate::health::Health;
use crate::media::Extent;
use crate::namespace::{FormatSettings, Namespace, WriteProtection};
use crate::reservation::Reservations;
use crate::sanitize::Sanitize;
use crate::zoned::{SavedZones, Zones};
use crate::{Controller, Media, VssdError};

/// The version of [`State`] that this program writes.
const VERSION: u32 = 1;

/// A namespace, as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedNamespace {
    nsid: u32,
    offset: u64,
    bytes: u64,
    blocks: u64,
    format: BlockFormat,
    settings: FormatSettings,
    attached: bool,
    uuid: [u8; 16],
    write_protection: WriteProtection,
    uncorrectable: RangeSet<u64>,
    reservations: Reservations,
    zones: Option<SavedZones>,
}

/// Everything that a drive keeps over restarts, but the data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Size of the medium, bytes.
    bytes: u64,
    /// Whether the drive was shut down before it lost power.
    clean: bool,
    namespaces: Vec<SavedNamespace>,
    features: SavedFeatures,
    health: Health,
    errors: u64,
    sanitize: Sanitize,
    services: SavedServices,
}

impl State {
    /// The size of a block of namespace `nsid`, bytes; none where there is no
    /// such namespace.
    #[must_use]
    pub fn block_bytes(&self, nsid: u32) -> Option<u32> {
        let namespace = self.namespaces.iter().find(|saved| saved.nsid == nsid)?;
        Some(namespace.format.block_bytes)
    }
}

/// Where a [`State`] goes.
pub trait StateStore: Send {
    /// Replaces what was saved before by `state`, as a whole or not at all.
    ///
    /// # Errors
    ///
    /// What the system says; what was saved before is there still.
    fn save(&mut self, state: &State) -> io::Result<()>;
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Takes on what a drive on the same medium has saved. To be called before
    /// anybody attaches.
    ///
    /// # Errors
    ///
    /// [`VssdError::State`] where it is not of such a drive.
    pub fn restore(&mut self, state: State) -> Result<(), VssdError> {
        let wrong = |what: String| VssdError::State { what };
        if state.version != VERSION {
            return Err(wrong(format!(
                "it has version {}, and this program knows {VERSION}",
                state.version
            )));
        }
        let device = &mut self.device;
        let there = device.namespaces.media().bytes;
        device.namespaces.clear();
        for saved in state.namespaces {
            let nsid = NamespaceId(saved.nsid);
            let end = saved.offset.checked_add(saved.bytes);
            if end.is_none_or(|end| end > there) || !device.namespaces.is_valid(nsid) {
                return Err(wrong(format!(
                    "its namespace {} reaches beyond the medium, which has {there} bytes",
                    saved.nsid
                )));
            }
            let extent = Extent {
                offset: saved.offset,
                bytes: saved.bytes,
            };
            let mut namespace = device.namespaces.blank(nsid, extent);
            fill(&mut namespace, saved)?;
            device.namespaces.put(namespace);
        }
        // An image that has grown makes room for the one who has all of it.
        device.namespaces.take_growth(state.bytes);
        device.features.restore(&state.features);
        device.health = state.health;
        if !state.clean {
            device.health.unsafe_shutdowns = device.health.unsafe_shutdowns.saturating_add(1);
        }
        device.vitals.resume(&device.health);
        device.errors.resume(state.errors);
        device.sanitize = state.sanitize;
        device.services.restore(state.services);
        device.namespaces.gated = device.sanitize.status().is_some();
        Ok(())
    }

    /// What the drive keeps over restarts, as it is now.
    pub fn state(&self) -> State {
        let device = &self.device;
        let formats = device.namespaces.formats();
        State {
            version: VERSION,
            bytes: device.namespaces.media().bytes,
            clean: !device.lifecycle.is_ready(),
            namespaces: device
                .namespaces
                .iter()
                .map(|namespace| saved(namespace, formats))
                .collect(),
            features: device.features.saved(),
            health: device.health,
            errors: device.errors.count(),
            sanitize: device.sanitize.clone(),
            services: device.services.saved(),
        }
    }

    /// Has the state saved in `store` from now on, whenever it has changed.
    pub fn set_store(&mut self, store: Box<dyn StateStore>) {
        self.store = Some(store);
        self.save();
    }

    /// Saves the state, where there is a store.
    pub(crate) fn save(&mut self) {
        self.device.changed = false;
        if self.store.is_none() {
            return;
        }
        let state = self.state();
        let saved = self
            .store
            .as_mut()
            .map_or(Ok(()), |store| store.save(&state));
        // A disk that is full is told of once, however often it is tried again.
        let told = std::mem::replace(&mut self.is_unsaved, saved.is_err());
        if let Err(error) = saved
            && !told
        {
            log::error!(
                "the state of the drive (namespaces, features, counters) cannot be saved: {error}; \
                 it goes on, and forgets at its end what has changed since"
            );
        }
    }
}

fn saved(namespace: &Namespace, formats: &[BlockFormat]) -> SavedNamespace {
    let format = formats.get(usize::from(namespace.settings.index));
    SavedNamespace {
        nsid: namespace.nsid.0,
        offset: namespace.extent.offset,
        bytes: namespace.extent.bytes,
        blocks: namespace.blocks,
        format: format.copied().unwrap_or(BlockFormat::plain(512)),
        settings: namespace.settings,
        attached: namespace.attached,
        uuid: namespace.uuid,
        write_protection: namespace.write_protection,
        uncorrectable: namespace.uncorrectable.clone(),
        reservations: namespace.reservations.clone(),
        zones: namespace.zones.as_ref().map(Zones::save),
    }
}

/// Makes `namespace` what was saved.
fn fill(namespace: &mut Namespace, saved: SavedNamespace) -> Result<(), VssdError> {
    let wrong = |what: String| VssdError::State { what };
    let legal = saved
        .format
        .bytes_of(saved.blocks)
        .is_some_and(|bytes| bytes <= saved.bytes);
    if !legal || !saved.format.is_legal() {
        return Err(wrong(format!(
            "its namespace {} has no legal format",
            saved.nsid
        )));
    }
    namespace.set_format(saved.format, saved.settings);
    namespace.blocks = saved.blocks;
    namespace.attached = saved.attached;
    namespace.uuid = saved.uuid;
    // A restart is a power cycle.
    namespace.write_protection = match saved.write_protection {
        WriteProtection::UntilPowerCycle => WriteProtection::None,
        kept => kept,
    };
    namespace.uncorrectable = saved.uncorrectable;
    namespace.reservations = saved.reservations;
    namespace.reservations.power_lost();
    if let Some(zones) = &saved.zones {
        let mut zones = Zones::restore(zones).map_err(|error| {
            wrong(format!(
                "the zones of its namespace {}: {error}",
                saved.nsid
            ))
        })?;
        zones.power_cycle();
        if zones.geometry().blocks() != namespace.blocks {
            return Err(wrong(format!(
                "its namespace {} has {} blocks, and zones of {}",
                saved.nsid,
                namespace.blocks,
                zones.geometry().blocks()
            )));
        }
        namespace.zones = Some(zones);
    }
    namespace.classify();
    Ok(())
}
