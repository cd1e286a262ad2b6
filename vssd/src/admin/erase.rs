//! Format NVM and Sanitize (`NVMe Base 2.1 §5.1.10`, `§5.1.22`).

use nvme::{AsyncEvent, FormatCdw10, NSID_ALL, NamespaceId, SanitizeCdw10, Sqe, Status};
use traces::{Clock, Tap};

use super::Answer;
use super::identify::SANICAP;
use super::namespaces::check_settings;
use crate::command::data_pointer;
use crate::device::Device;
use crate::job::{Format, Job, Purpose};
use crate::namespace::FormatSettings;
use crate::sanitize::{Change, State};
use crate::{Controller, Media, Ticket};

/// Secure Erase Settings: none, the data, the key.
const ERASES: std::ops::RangeInclusive<u8> = 0..=2;

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Format NVM: the command completes when the format is done.
    pub(super) fn format_nvm(&mut self, sqe: &Sqe, ticket: Ticket) {
        match self.device.start_format(sqe) {
            Ok(format) => self.begin(Job::Format(format), 0, ticket),
            Err(status) => self.device.finish(ticket, status, 0),
        }
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// Checks a Format NVM and marks its namespaces.
    fn start_format(&mut self, sqe: &Sqe) -> Result<Format, Status> {
        data_pointer(sqe)?;
        let fields = FormatCdw10::from_bits(sqe.cdw10.get());
        if let Some(status) = self.sanitize.status() {
            return Err(status);
        }
        let settings = FormatSettings {
            index: fields.lbafl() | fields.lbafu() << 4,
            extended: fields.mset(),
            protection: fields.pi(),
            // The bit says "first".
            protection_first: fields.pil(),
        };
        let format = *self
            .config
            .formats
            .get(usize::from(settings.index))
            .ok_or(Status::INVALID_FORMAT.dnr())?;
        check_settings(settings, format)?;
        if !ERASES.contains(&fields.ses()) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let nsid = sqe.nsid();
        let zoned = |nsid| {
            let namespace = self.namespaces.get(nsid);
            namespace.is_some_and(|namespace| namespace.zones.is_some())
        };
        if settings.protection != 0 && zoned(sqe.nsid()) {
            return Err(Status::INVALID_FORMAT.dnr());
        }
        let chosen: Vec<NamespaceId> = self
            .namespaces
            .iter()
            .filter(|namespace| namespace.nsid == nsid || nsid == NSID_ALL && namespace.attached)
            .map(|namespace| namespace.nsid)
            .collect();
        if chosen.is_empty() {
            return Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr());
        }
        let until_ns = self.clock.now_ns().saturating_add(self.config.format_ns);
        self.occupy(&chosen, until_ns)?;
        self.format_starts(sqe);
        Ok(Format::new(chosen, Purpose::Format(settings), until_ns))
    }

    /// A format has ended: with new settings, or without where it failed.
    pub(crate) fn end_format(
        &mut self,
        namespaces: &[NamespaceId],
        settings: Option<FormatSettings>,
    ) {
        for &nsid in namespaces {
            let Some(namespace) = self.namespaces.get_mut(nsid) else {
                continue;
            };
            namespace.formatting = None;
            let format = settings.and_then(|settings| {
                let format = self.config.formats.get(usize::from(settings.index))?;
                Some((*format, settings))
            });
            if let Some((format, settings)) = format {
                namespace.set_format(format, settings);
                if namespace.zones.is_some()
                    && let Some(zoned) = &self.config.zoned
                {
                    namespace.set_zones(zoned);
                }
            }
            namespace.classify();
            self.format_ended(nsid, settings.is_none());
        }
        self.changed = true;
    }

    /// Sanitize: starts an operation in the background.
    pub(super) fn start_sanitize(&mut self, sqe: &Sqe) -> Answer {
        data_pointer(sqe)?;
        let cdw10 = sqe.cdw10.get();
        let fields = SanitizeCdw10::from_bits(cdw10);
        let media_read_only = self.namespaces.media().read_only;
        let protected = self.namespaces.iter().any(|namespace| namespace.read_only);
        if media_read_only || protected && fields.sanact() != 1 {
            return Err(Status::NAMESPACE_WRITE_PROTECTED.dnr());
        }
        if self
            .namespaces
            .iter()
            .any(|namespace| namespace.formatting.is_some())
        {
            return Err(Status::FORMAT_IN_PROGRESS);
        }
        if self.sanitize.command(cdw10, sqe.cdw11.get())? {
            self.sanitizing = false;
            self.sanitize_starts(sqe, SANICAP);
        }
        self.namespaces.gated = self.sanitize.status().is_some();
        self.changed = true;
        Ok(0)
    }

    /// A sanitize operation has ended.
    pub(crate) fn end_sanitize(&mut self, change: Change) {
        self.sanitizing = false;
        let Some(state) = self.sanitize.state.step(change) else {
            return;
        };
        self.sanitize.state = state;
        if state == State::Completed {
            self.sanitize.erased = true;
            for namespace in self.namespaces.iter_mut() {
                namespace.uncorrectable.clear();
                if let Some(zones) = &mut namespace.zones {
                    zones.format();
                }
                namespace.classify();
            }
        }
        self.namespaces.gated = self.sanitize.status().is_some();
        self.changed = true;
        self.sanitize_ended();
        self.events.raise(AsyncEvent::SANITIZE_COMPLETED);
    }
}
