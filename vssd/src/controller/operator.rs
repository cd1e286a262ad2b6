//! What the operator of a drive does to it, without the guest's asking: as if
//! by another controller of the subsystem, or by wear.

use nvme::{Lba, NamespaceId, Status};
use traces::{Clock, Tap};

use crate::namespace::{FormatSettings, NewNamespace};
use crate::zoned::Injury;
use crate::{Controller, Media};

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Adds a namespace of `blocks` blocks in the LBA format `format` (an index
    /// of [`crate::ControllerConfig::formats`]), attached, and tells the host.
    ///
    /// # Errors
    ///
    /// The status that a host would get for it (`NVMe Base 2.1 §5.1.21`).
    pub fn add_namespace(&mut self, blocks: u64, format: u8) -> Result<NamespaceId, Status> {
        let nsid = self.device.namespaces.create(NewNamespace {
            blocks,
            settings: FormatSettings {
                index: format,
                ..FormatSettings::default()
            },
            zoned: false,
        })?;
        if let Some(namespace) = self.device.namespaces.get_mut(nsid) {
            namespace.attached = true;
            namespace.classify();
        }
        self.device.note_namespace(nsid);
        Ok(nsid)
    }

    /// Takes a namespace away, as if it were pulled out, and tells the host.
    /// What it held is left on the medium.
    ///
    /// # Errors
    ///
    /// Invalid Namespace or Format where there is none, Format In Progress while
    /// it is being formatted.
    pub fn remove_namespace(&mut self, nsid: NamespaceId) -> Result<(), Status> {
        let namespace = self
            .device
            .namespaces
            .get(nsid)
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        if namespace.formatting.is_some() {
            return Err(Status::FORMAT_IN_PROGRESS);
        }
        self.device.delete_namespaces(&[nsid]);
        Ok(())
    }

    /// Makes a namespace smaller, or larger as far as the space behind it is
    /// free, and tells the host. Blocks that both sizes have stay as they are.
    ///
    /// # Errors
    ///
    /// Invalid Namespace or Format where there is none, or one whose metadata
    /// would have to move; Namespace Insufficient Capacity; Invalid Field for no
    /// blocks.
    pub fn resize_namespace(&mut self, nsid: NamespaceId, blocks: u64) -> Result<(), Status> {
        self.device.namespaces.resize(nsid, blocks)?;
        self.device.note_namespace(nsid);
        Ok(())
    }

    /// Has the zone at `zone` fail, as worn zones do, and tells the host.
    ///
    /// # Errors
    ///
    /// Invalid Namespace or Format where `nsid` is no zoned namespace, and what
    /// the zone says.
    pub fn injure_zone(
        &mut self,
        nsid: NamespaceId,
        zone: Lba,
        injury: Injury,
    ) -> Result<(), Status> {
        self.device
            .namespaces
            .get_mut(nsid)
            .and_then(|namespace| namespace.zones.as_mut())
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?
            .inject(zone, injury)?;
        self.device.note_zones();
        self.device.changed = true;
        Ok(())
    }
}
