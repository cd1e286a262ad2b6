//! Namespace Management and Namespace Attachment (`NVMe Base 2.1 §5.1.20`,
//! `§5.1.21`, `§8.1.15`).

use nvme::{
    AdminOpcode, AsyncEvent, ControllerList, IdentifyNamespace, NSID_ALL, NamespaceCreation,
    NamespaceId, NamespaceManagementCdw10, NamespaceManagementCdw11, Sqe, Status,
    ZONED_COMMAND_SET,
};
use traces::{Clock, Tap};
use zerocopy::IntoBytes;

use super::Answer;
use super::identify::CONTROLLER_ID;
use crate::command::data_pointer;
use crate::config::BlockFormat;
use crate::device::Device;
use crate::job::{Format, Job, Purpose};
use crate::memory::Access;
use crate::namespace::{FormatSettings, Formatting, NewNamespace, protection};
use crate::reservation::CommandClass;
use crate::{Controller, Media, Ticket};

/// Bytes of a controller list, and of what a namespace is created from.
const LIST_BYTES: u64 = 4096;

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Namespace Management: creates at once; deletes when what the namespaces
    /// hold is gone.
    pub(super) fn manage_namespaces(&mut self, sqe: &Sqe, ticket: Ticket) {
        let select = NamespaceManagementCdw10::from_bits(sqe.cdw10.get()).sel();
        if select == NamespaceManagementCdw10::DELETE {
            match self.device.start_deletion(sqe) {
                Ok(erase) => self.begin(Job::Format(erase), 0, ticket),
                Err(status) => self.device.finish(ticket, status, 0),
            }
        } else {
            let answer = self.device.create_namespace(sqe, select);
            self.device.answer(ticket, answer);
        }
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    fn create_namespace(&mut self, sqe: &Sqe, select: u8) -> Answer {
        let data = data_pointer(sqe)?;
        if select != NamespaceManagementCdw10::CREATE {
            return Err(Status::INVALID_FIELD.dnr());
        }
        if let Some(status) = self.sanitize.status() {
            return Err(status);
        }
        let zoned = match NamespaceManagementCdw11::from_bits(sqe.cdw11.get()).csi() {
            0 => false,
            ZONED_COMMAND_SET if self.config.zoned.is_some() => true,
            _ => return Err(Status::COMMAND_SET_NOT_SUPPORTED.dnr()),
        };
        let mut wanted = NamespaceCreation::default();
        data.walk(&self.memory, LIST_BYTES, Access::Read, &mut self.segments)?
            .read(wanted.as_mut_bytes());
        // 0 leaves the choice to the controller.
        let group = wanted.endgid.get();
        if group != 0 && group != self.config.endurance_group() {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let format = self
            .config
            .formats
            .get(usize::from(format_index(wanted.flbas)));
        let format = *format.ok_or(Status::INVALID_FORMAT.dnr())?;
        let settings = FormatSettings {
            index: format_index(wanted.flbas),
            extended: wanted.flbas & IdentifyNamespace::FLBAS_METADATA_EXTENDED != 0,
            protection: wanted.dps & IdentifyNamespace::DPS_TYPE_MASK,
            protection_first: wanted.dps & IdentifyNamespace::DPS_FIRST != 0,
        };
        check_settings(settings, format)?;
        if wanted.nsze.get() != wanted.ncap.get() {
            return Err(Status::THIN_PROVISIONING_NOT_SUPPORTED.dnr());
        }
        let nsid = self.namespaces.create(NewNamespace {
            blocks: wanted.nsze.get(),
            settings,
            zoned,
        })?;
        self.namespace_changes(sqe.cdw10.get(), nsid, wanted.nsze.get());
        self.changed = true;
        Ok(nsid.0)
    }

    /// Checks a deletion, and keeps commands off what it will delete.
    fn start_deletion(&mut self, sqe: &Sqe) -> Result<Format, Status> {
        data_pointer(sqe)?;
        if let Some(status) = self.sanitize.status() {
            return Err(status);
        }
        let nsid = sqe.nsid();
        let doomed: Vec<_> = self
            .namespaces
            .iter()
            .map(|namespace| namespace.nsid)
            .filter(|&there| nsid == NSID_ALL || there == nsid)
            .collect();
        if doomed.is_empty() && nsid != NSID_ALL {
            return Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr());
        }
        let now_ns = self.clock.now_ns();
        self.occupy(&doomed, now_ns)?;
        Ok(Format::new(doomed, Purpose::Delete, now_ns))
    }

    /// Keeps commands off namespaces until `until_ns`, where nothing speaks
    /// against it.
    pub(super) fn occupy(&mut self, list: &[NamespaceId], until_ns: u64) -> Result<(), Status> {
        for namespace in list.iter().filter_map(|&nsid| self.namespaces.get(nsid)) {
            if namespace.formatting.is_some() {
                return Err(Status::FORMAT_IN_PROGRESS);
            }
            if namespace.read_only {
                return Err(Status::NAMESPACE_WRITE_PROTECTED.dnr());
            }
            if !namespace.reservations.is_clear() {
                let host = self.features.reservation_host();
                let class = CommandClass::of_admin(AdminOpcode::FORMAT_NVM);
                namespace.reservations.permits(&host, class)?;
            }
        }
        let since_ns = self.clock.now_ns();
        for &nsid in list {
            if let Some(namespace) = self.namespaces.get_mut(nsid) {
                namespace.formatting = Some(Formatting { since_ns, until_ns });
                namespace.classify();
            }
        }
        Ok(())
    }

    /// Removes namespaces that hold nothing any more.
    pub(crate) fn delete_namespaces(&mut self, doomed: &[NamespaceId]) {
        for &nsid in doomed {
            let attached = self.namespaces.active(nsid).is_some();
            self.namespaces.delete(nsid);
            self.features.forget(nsid);
            self.namespace_changes(NamespaceManagementCdw10::DELETE.into(), nsid, 0);
            if attached {
                self.note_namespace(nsid);
            }
        }
        self.changed = true;
    }

    /// Namespace Attachment: attaches to or detaches from this controller, which
    /// is the only one.
    pub(super) fn attach_namespace(&mut self, sqe: &Sqe) -> Answer {
        let data = data_pointer(sqe)?;
        let attach = match NamespaceManagementCdw10::from_bits(sqe.cdw10.get()).sel() {
            NamespaceManagementCdw10::ATTACH => true,
            NamespaceManagementCdw10::DETACH => false,
            _ => return Err(Status::INVALID_FIELD.dnr()),
        };
        let mut list = ControllerList::default();
        data.walk(&self.memory, LIST_BYTES, Access::Read, &mut self.segments)?
            .read(list.as_mut_bytes());
        // This controller, and no other (`NVMe Base 2.1 §4.6.1`).
        if list.count.get() != 1 || list.iter().next() != Some(CONTROLLER_ID) {
            return Err(Status::CONTROLLER_LIST_INVALID.dnr());
        }
        let nsid = sqe.nsid();
        let zones_enabled = self.namespaces.zones_enabled;
        let namespace = self
            .namespaces
            .get_mut(nsid)
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        if attach && namespace.zones.is_some() && !zones_enabled {
            return Err(Status::COMMAND_SET_NOT_ENABLED.dnr());
        }
        match (attach, namespace.attached) {
            (true, true) => return Err(Status::NAMESPACE_ALREADY_ATTACHED.dnr()),
            (false, false) => return Err(Status::NAMESPACE_NOT_ATTACHED.dnr()),
            _ => namespace.attached = attach,
        }
        namespace.classify();
        self.note_namespace(nsid);
        Ok(0)
    }

    /// A namespace came, went or changed: the host is told, once, until it reads
    /// the log page (`NVMe Base 2.1 §5.1.12.1.5`).
    pub(crate) fn note_namespace(&mut self, nsid: NamespaceId) {
        self.changed = true;
        self.changed_namespaces.note(nsid);
        if self.features.wanted_events().namespace_attribute() {
            self.events.raise(AsyncEvent::NAMESPACE_ATTRIBUTE_CHANGED);
        }
    }
}

/// The index of the LBA format that FLBAS names.
pub(super) const fn format_index(flbas: u8) -> u8 {
    flbas & 0xf | (flbas >> 5 & 0b11) << 4
}

/// Checks that protection, where it is asked for, is one that the format has
/// room for (`NVM Command Set 1.1 §4.1.5.1`).
pub(super) fn check_settings(settings: FormatSettings, format: BlockFormat) -> Result<(), Status> {
    if settings.protection != 0 && protection(format, settings).is_none() {
        return Err(Status::INVALID_FORMAT.dnr());
    }
    Ok(())
}

/// The namespaces that have changed since the host read of them.
#[derive(Debug, Default)]
pub(crate) struct ChangedNamespaces {
    list: Vec<NamespaceId>,
    /// More than the log page can tell.
    overflow: bool,
}

impl ChangedNamespaces {
    /// The most that the log page can name.
    const MAX: usize = 1024;

    fn note(&mut self, nsid: NamespaceId) {
        if self.list.contains(&nsid) {
            return;
        }
        if self.list.len() >= Self::MAX {
            self.overflow = true;
        } else {
            self.list.push(nsid);
            self.list.sort_unstable();
        }
    }

    /// The log page's identifiers.
    pub(super) fn identifiers(&self) -> Vec<NamespaceId> {
        if self.overflow {
            vec![NSID_ALL]
        } else {
            self.list.clone()
        }
    }

    /// The host has read them.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.overflow = false;
    }
}
