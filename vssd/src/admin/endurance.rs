//! The endurance group: there is one, and all of the medium is in it
//! (`NVMe Base 2.1 §3.2.3`).

use nvme::{EnduranceGroupAggregateLog, Status};
use traces::{Clock, Tap};
use zerocopy::IntoBytes;

use crate::device::Device;
use crate::health::Condition;

/// The identifier of the endurance group.
pub(crate) const ENDURANCE_GROUP: u16 = 1;

impl<T: Tap, C: Clock> Device<T, C> {
    /// What the logs tell beside counters.
    pub(super) fn condition(&self) -> Condition {
        Condition {
            warnings: self.warnings(),
            group_warnings: self.group_warnings(),
            kelvin: self.vitals.kelvin(),
            on_ns: self.clock.now_ns().saturating_sub(self.powered_ns),
            errors: self.errors.count(),
            endurance_bytes: self.config.endurance_bytes,
        }
    }

    /// The Endurance Group Information page of group `lsi`; the group has no
    /// event any more, where the host does not retain it.
    pub(super) fn endurance_log(&mut self, lsi: u16, retain: bool) -> Result<Vec<u8>, Status> {
        if lsi != ENDURANCE_GROUP {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let bytes = self.namespaces.media().bytes;
        let unallocated = self.namespaces.unallocated();
        let log = self.health.group_log(&self.condition(), bytes, unallocated);
        if !retain {
            self.vitals.group_event = false;
        }
        Ok(log.as_bytes().to_vec())
    }

    /// The Endurance Group Event Aggregate page
    /// (`NVMe Base 2.1 §5.1.12.1.15`): the group, where it has an event.
    pub(super) fn endurance_events_log(&self) -> Vec<u8> {
        let groups: &[u16] = if self.vitals.group_event {
            &[ENDURANCE_GROUP]
        } else {
            &[]
        };
        let head = EnduranceGroupAggregateLog {
            count: u64::try_from(groups.len()).unwrap_or(0).into(),
        };
        let mut page = head.as_bytes().to_vec();
        page.extend(groups.iter().flat_map(|group| group.to_le_bytes()));
        page
    }
}
