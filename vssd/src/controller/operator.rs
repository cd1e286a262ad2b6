//! What the operator of a drive does to it, without the guest's asking: as if
//! by another controller of the subsystem, or by wear.

use nvme::{Lba, NamespaceId, Status};
use traces::{Clock, Tap};

use crate::controller::NamespaceSummary;
use crate::device::Device;
use crate::namespace::{FormatSettings, Namespace, NewNamespace};
use crate::zoned::Injury;
use crate::{Controller, Media, VssdError};

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

    /// Makes the medium `bytes` bytes large, and with it the namespace that has all
    /// of it, which is returned, and of which the host is told. Where there is none,
    /// or one that cannot be resized, what is new is space for other namespaces.
    /// What is in flight goes on.
    ///
    /// # Errors
    ///
    /// [`VssdError::Grow`], where `bytes` is less than there is, or no whole blocks;
    /// where a format or a sanitize operation goes on; and what the medium says.
    pub fn grow(&mut self, bytes: u64) -> Result<Option<NamespaceSummary>, VssdError> {
        if let Some(why) = self.device.keeps_from_growing(bytes) {
            let source = std::io::Error::other(why);
            return Err(VssdError::not_grown(self.media.name(), bytes, source));
        }
        self.media.grow(bytes)?;
        self.handles.grow(bytes)?;
        let namespaces = &mut self.device.namespaces;
        let before = namespaces.media().bytes;
        namespaces.set_media(self.media.info());
        self.device.changed = true;
        let nsid = namespaces.take_growth(before);
        if let Some(nsid) = nsid.filter(|_| before < bytes) {
            self.device.note_namespace(nsid);
        }
        let namespace = nsid.and_then(|nsid| self.device.namespaces.get(nsid));
        Ok(namespace.map(NamespaceSummary::of))
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

impl<T: Tap, C: Clock> Device<T, C> {
    /// Why the medium is not to be `bytes` bytes large; none where it may.
    fn keeps_from_growing(&self, bytes: u64) -> Option<String> {
        let there = self.namespaces.media().bytes;
        let block_bytes = self.config.block_bytes;
        if bytes < there {
            return Some(format!(
                "it has {there}, and is not made smaller: what stands at its end would be lost; \
                 copy what is to stay to a smaller image"
            ));
        }
        if !bytes.is_multiple_of(u64::from(block_bytes)) {
            return Some(format!(
                "it is made of blocks of {block_bytes}: give a multiple of that"
            ));
        }
        let is_formatted = |namespace: &Namespace| namespace.formatting.is_some();
        if self.sanitize.is_due() || self.namespaces.iter().any(is_formatted) {
            return Some("it is being erased: try again when that has ended".to_owned());
        }
        None
    }
}
