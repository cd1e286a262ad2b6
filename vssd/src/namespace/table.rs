//! The namespaces of a subsystem, and the capacity that they share.

use nvme::{NamespaceId, Status};
use rangemap::RangeSet;

use super::{FormatSettings, GRANULE, Namespace, WriteProtection};
use crate::ControllerConfig;
use crate::config::{BlockFormat, ZonedConfig};
use crate::media::{Extent, MediaInfo};
use crate::reservation::Reservations;

/// What a namespace is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Blocks.
    pub(crate) blocks: u64,
    pub(crate) settings: FormatSettings,
    /// Of zones.
    pub(crate) zoned: bool,
}

/// All namespaces.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    /// Namespace `n` at index `n - 1`.
    list: Vec<Option<Box<Namespace>>>,
    formats: Vec<BlockFormat>,
    media: MediaInfo,
    transfer_bytes_max: u64,
    /// The UUID of namespace 1, from which those of the others follow.
    uuid: [u8; 16],
    /// Whether something keeps commands off all namespaces, such as a sanitize
    /// operation.
    pub(crate) gated: bool,
    /// Whether the host has enabled the command set of zoned namespaces, which
    /// are not there for it otherwise.
    pub(crate) zones_enabled: bool,
    zoned: Option<ZonedConfig>,
}

impl Namespaces {
    /// No namespaces yet, and room for as many as `config` allows.
    pub(crate) fn new(config: &ControllerConfig, media: MediaInfo) -> Self {
        let count = usize::try_from(config.namespaces_max).unwrap_or(usize::MAX);
        let mut list = Vec::new();
        list.resize_with(count, || None);
        Self {
            list,
            formats: config.formats.clone(),
            media,
            transfer_bytes_max: nvme::PAGE_BYTES
                .checked_shl(u32::from(config.mdts))
                .unwrap_or(u64::MAX),
            uuid: config.uuid(),
            gated: false,
            zones_enabled: false,
            zoned: config.zoned,
        }
    }

    /// The namespaces of a drive that nobody has used yet: one, which has the
    /// whole medium.
    pub(crate) fn of_a_new_drive(config: &ControllerConfig, media: MediaInfo) -> Self {
        let mut namespaces = Self::new(config, media);
        let settings = FormatSettings {
            index: config.first_format().unwrap_or(0),
            ..FormatSettings::default()
        };
        let whole = Extent {
            offset: 0,
            bytes: media.bytes,
        };
        let mut first = namespaces.blank(NamespaceId(1), whole);
        if let Some(&format) = namespaces.formats.get(usize::from(settings.index)) {
            first.attached = true;
            first.set_format(format, settings);
            if let Some(zoned) = config.zoned.filter(|zoned| zoned.first_namespace) {
                first.set_zones(&zoned);
            }
            namespaces.put(first);
        }
        namespaces
    }

    /// How many there can be.
    pub(crate) fn max(&self) -> u32 {
        u32::try_from(self.list.len()).unwrap_or(u32::MAX)
    }

    /// The largest data transfer of a command, bytes.
    pub(crate) const fn transfer_bytes_max(&self) -> u64 {
        self.transfer_bytes_max
    }

    /// The medium.
    pub(crate) const fn media(&self) -> MediaInfo {
        self.media
    }

    /// The medium has grown.
    pub(crate) const fn set_media(&mut self, media: MediaInfo) {
        self.media = media;
    }

    /// The LBA formats.
    pub(crate) fn formats(&self) -> &[BlockFormat] {
        &self.formats
    }

    #[inline]
    fn index(nsid: NamespaceId) -> usize {
        usize::try_from(nsid.0.wrapping_sub(1)).unwrap_or(usize::MAX)
    }

    /// The namespace `nsid`, attached or not.
    #[inline]
    pub(crate) fn get(&self, nsid: NamespaceId) -> Option<&Namespace> {
        self.list.get(Self::index(nsid))?.as_deref()
    }

    /// The namespace `nsid`, attached or not. After a change of what it is,
    /// [`Namespace::classify`].
    #[inline]
    pub(crate) fn get_mut(&mut self, nsid: NamespaceId) -> Option<&mut Namespace> {
        self.list.get_mut(Self::index(nsid))?.as_deref_mut()
    }

    /// The namespace `nsid`, where its commands are requests to the medium as
    /// they are.
    #[inline]
    pub(crate) fn plain(&self, nsid: NamespaceId) -> Option<&Namespace> {
        self.get(nsid)
            .filter(|namespace| namespace.plain && !self.gated)
    }

    /// The attached namespace `nsid`.
    pub(crate) fn active(&self, nsid: NamespaceId) -> Option<&Namespace> {
        self.get(nsid).filter(|namespace| self.is_active(namespace))
    }

    /// Whether the host can use a namespace.
    pub(crate) const fn is_active(&self, namespace: &Namespace) -> bool {
        namespace.attached && (namespace.zones.is_none() || self.zones_enabled)
    }

    /// Power was off and is on again.
    pub(crate) fn power_cycle(&mut self) {
        for namespace in self.iter_mut() {
            if namespace.write_protection == WriteProtection::UntilPowerCycle {
                namespace.write_protection = WriteProtection::None;
            }
            namespace.reservations.power_lost();
            if let Some(zones) = &mut namespace.zones {
                zones.power_cycle();
            }
            namespace.classify();
        }
    }

    /// Whether there can be a namespace `nsid`.
    pub(crate) fn is_valid(&self, nsid: NamespaceId) -> bool {
        Self::index(nsid) < self.list.len()
    }

    /// All that are allocated, in the order of their identifiers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.list.iter().flatten().map(|namespace| &**namespace)
    }

    /// All that are allocated, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Namespace> {
        self.list
            .iter_mut()
            .flatten()
            .map(|namespace| &mut **namespace)
    }

    /// Capacity that no namespace has, bytes.
    pub(crate) fn unallocated(&self) -> u64 {
        let used = self.iter().fold(0_u64, |sum, namespace| {
            sum.saturating_add(namespace.extent.bytes)
        });
        self.media.bytes.saturating_sub(used)
    }

    /// Creates a namespace under the lowest identifier that is free, not
    /// attached.
    ///
    /// # Errors
    ///
    /// The status codes of Namespace Management (`NVMe Base 2.1 §5.1.21`).
    pub(crate) fn create(&mut self, request: Request) -> Result<NamespaceId, Status> {
        let format = *self
            .formats
            .get(usize::from(request.settings.index))
            .ok_or(Status::INVALID_FORMAT.dnr())?;
        if request.blocks == 0 {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let free = self
            .list
            .iter()
            .position(Option::is_none)
            .and_then(|index| u32::try_from(index).ok())
            .ok_or(Status::NAMESPACE_ID_UNAVAILABLE.dnr())?;
        let bytes = format
            .bytes_of(request.blocks)
            .and_then(|bytes| bytes.checked_next_multiple_of(GRANULE))
            .ok_or(Status::NAMESPACE_INSUFFICIENT_CAPACITY.dnr())?;
        let extent = self
            .find(bytes)
            .ok_or(Status::NAMESPACE_INSUFFICIENT_CAPACITY.dnr())?;
        let nsid = NamespaceId(free.saturating_add(1));
        let mut namespace = self.blank(nsid, extent);
        namespace.set_format(format, request.settings);
        namespace.blocks = request.blocks;
        if request.zoned {
            let made = self.zoned.is_some_and(|zoned| namespace.set_zones(&zoned));
            // A part of a zone is none, and zones have no protection.
            if !made || namespace.blocks != request.blocks || namespace.protection.is_some() {
                return Err(Status::INVALID_FIELD.dnr());
            }
        }
        self.put(namespace);
        Ok(nsid)
    }

    /// Puts a namespace in its place, where there was none.
    pub(crate) fn put(&mut self, mut namespace: Namespace) {
        namespace.classify();
        if let Some(slot) = self.list.get_mut(Self::index(namespace.nsid)) {
            *slot = Some(Box::new(namespace));
        }
    }

    /// A namespace that is like nothing yet.
    pub(crate) fn blank(&self, nsid: NamespaceId, extent: Extent) -> Namespace {
        Namespace {
            nsid,
            plain: false,
            read_only: false,
            block_bytes: 512,
            blocks: 0,
            transfer_bytes_max: self.transfer_bytes_max,
            extent,
            metadata_bytes: 0,
            settings: FormatSettings::default(),
            protection: None,
            attached: false,
            uuid: self.uuid_of(nsid),
            write_protection: WriteProtection::None,
            media_read_only: self.media.read_only,
            uncorrectable: RangeSet::new(),
            formatting: None,
            reservations: Reservations::default(),
            zones: None,
        }
    }

    /// The UUID of a namespace: the subsystem's, with the identifier worked
    /// into its last four bytes, which leaves that of namespace 1 as it is.
    fn uuid_of(&self, nsid: NamespaceId) -> [u8; 16] {
        let bits = u128::from_be_bytes(self.uuid);
        (bits ^ u128::from(nsid.0.wrapping_sub(1))).to_be_bytes()
    }

    /// Gives a namespace another size, in place.
    ///
    /// # Errors
    ///
    /// Invalid Namespace or Format, Invalid Field, Namespace Insufficient
    /// Capacity.
    pub(crate) fn resize(&mut self, nsid: NamespaceId, blocks: u64) -> Result<(), Status> {
        let missing = Status::INVALID_NAMESPACE_OR_FORMAT.dnr();
        let namespace = self.get(nsid).ok_or(missing)?;
        if namespace.metadata_bytes > 0 || namespace.zones.is_some() {
            return Err(missing);
        }
        if blocks == 0 {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let start = namespace.extent.offset;
        let behind = self
            .iter()
            .map(|other| other.extent.offset)
            .filter(|&offset| offset > start)
            .fold(self.media.bytes, u64::min);
        let bytes = blocks
            .checked_mul(u64::from(namespace.block_bytes))
            .and_then(|bytes| bytes.checked_next_multiple_of(GRANULE))
            .filter(|&bytes| bytes <= behind.saturating_sub(start))
            .ok_or(Status::NAMESPACE_INSUFFICIENT_CAPACITY.dnr())?;
        if let Some(namespace) = self.get_mut(nsid) {
            namespace.extent.bytes = bytes;
            namespace.blocks = blocks;
            namespace.uncorrectable.remove(blocks..u64::MAX);
            namespace.classify();
        }
        Ok(())
    }

    /// Has the namespace that had all of a medium of `before` bytes, if one had and can
    /// be resized, have all of it as it is now. Which one that is.
    pub(crate) fn take_growth(&mut self, before: u64) -> Option<NamespaceId> {
        // Less than a granule is no space for another.
        let has_all =
            |namespace: &&Namespace| before.saturating_sub(namespace.extent.bytes) < GRANULE;
        let whole = self.iter().find(has_all)?;
        let (nsid, there) = (whole.nsid, whole.blocks);
        let block_bytes = u64::from(whole.block_bytes);
        let bytes = self.media.bytes.saturating_sub(self.media.bytes % GRANULE);
        let blocks = bytes.checked_div(block_bytes)?;
        if blocks > there {
            self.resize(nsid, blocks).ok()?;
        }
        Some(nsid)
    }

    /// Removes all.
    pub(crate) fn clear(&mut self) {
        self.list.fill_with(|| None);
    }

    /// Removes a namespace; its part of the medium is returned.
    pub(crate) fn delete(&mut self, nsid: NamespaceId) -> Option<Extent> {
        let namespace = self.list.get_mut(Self::index(nsid))?.take()?;
        Some(namespace.extent)
    }

    /// The smallest free piece of the medium that has room for `bytes`.
    fn find(&self, bytes: u64) -> Option<Extent> {
        let mut used: Vec<Extent> = self.iter().map(|namespace| namespace.extent).collect();
        used.sort_by_key(|extent| extent.offset);
        let end = Extent {
            offset: self.media.bytes,
            bytes: 0,
        };
        let mut at = 0_u64;
        let mut best: Option<Extent> = None;
        for extent in used.into_iter().chain([end]) {
            let hole = extent.offset.saturating_sub(at);
            if hole >= bytes && best.is_none_or(|best| hole < best.bytes) {
                best = Some(Extent {
                    offset: at,
                    bytes: hole,
                });
            }
            at = extent.offset.saturating_add(extent.bytes);
        }
        best.map(|hole| Extent {
            offset: hole.offset,
            bytes,
        })
    }
}
