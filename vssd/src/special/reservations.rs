//! The reservation commands (`NVMe Base 2.1 §7.5` to `§7.8`).

use nvme::{
    AsyncEvent, FeatureId, NamespaceId, NvmOpcode, ReservationAcquireCdw10, ReservationAcquireData,
    ReservationNotificationMask, ReservationRegisterCdw10, ReservationRegisterData,
    ReservationReleaseCdw10, ReservationReleaseData, ReservationReportCdw11, Sqe, Status,
};
use traces::{Clock, Tap};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::Way;
use crate::admin::identify::CONTROLLER_ID;
use crate::command::data_pointer;
use crate::device::Device;
use crate::memory::Access;
use crate::reservation::Outcome;

impl<T: Tap, C: Clock> Device<T, C> {
    /// Executes a reservation command. Commands of hosts that lose their
    /// registration would be aborted; as one host is attached at a time, they
    /// have none in flight.
    pub(super) fn reserve(&mut self, sqe: &Sqe) -> Result<Way, Status> {
        super::not_fused(sqe)?;
        let nsid = sqe.nsid();
        let host = self.features.reservation_host();
        let cdw10 = sqe.cdw10.get();
        let outcome = match NvmOpcode(sqe.opcode) {
            NvmOpcode::RESERVATION_REGISTER => {
                let data = self.data_of::<ReservationRegisterData>(sqe)?;
                let cdw10 = ReservationRegisterCdw10::from_bits(cdw10);
                self.reservations(nsid)?.register(&host, cdw10, data)?
            }
            NvmOpcode::RESERVATION_ACQUIRE => {
                let data = self.data_of::<ReservationAcquireData>(sqe)?;
                let cdw10 = ReservationAcquireCdw10::from_bits(cdw10);
                self.reservations(nsid)?.acquire(&host, cdw10, data)?
            }
            NvmOpcode::RESERVATION_RELEASE => {
                let data = self.data_of::<ReservationReleaseData>(sqe)?;
                let cdw10 = ReservationReleaseCdw10::from_bits(cdw10);
                self.reservations(nsid)?.release(&host, cdw10, data)?
            }
            _ => return self.report_reservations(sqe),
        };
        if let Some(namespace) = self.namespaces.get_mut(nsid) {
            namespace.classify();
        }
        self.changed = true;
        self.tell(nsid, &outcome);
        Ok(Way::Done(0))
    }

    fn reservations(
        &mut self,
        nsid: NamespaceId,
    ) -> Result<&mut crate::reservation::Reservations, Status> {
        self.namespaces
            .get_mut(nsid)
            .map(|namespace| &mut namespace.reservations)
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())
    }

    /// The data structure that a command brings.
    fn data_of<D: FromZeros + FromBytes + IntoBytes + Immutable>(
        &mut self,
        sqe: &Sqe,
    ) -> Result<D, Status> {
        let mut data = D::new_zeroed();
        let bytes = u64::try_from(size_of::<D>()).unwrap_or(0);
        data_pointer(sqe)?
            .walk(&self.memory, bytes, Access::Read, &mut self.segments)?
            .read(data.as_mut_bytes());
        Ok(data)
    }

    /// Reservation Report: as much of the structure as the host asks for.
    fn report_reservations(&mut self, sqe: &Sqe) -> Result<Way, Status> {
        // NUMD is zero-based.
        let bytes = u64::from(sqe.cdw10.get())
            .saturating_add(1)
            .saturating_mul(4);
        if bytes > self.namespaces.transfer_bytes_max() {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let host = self.features.reservation_host();
        let cdw11 = ReservationReportCdw11::from_bits(sqe.cdw11.get());
        let report = self
            .reservations(sqe.nsid())?
            .report(&host, CONTROLLER_ID, cdw11)?;
        let bytes_in = usize::try_from(bytes).unwrap_or(usize::MAX);
        data_pointer(sqe)?
            .walk(&self.memory, bytes, Access::Write, &mut self.segments)?
            .write(report.get(..bytes_in.min(report.len())).unwrap_or_default());
        Ok(Way::Done(0))
    }

    /// Tells the host that is attached of what happened to its reservations.
    fn tell(&mut self, nsid: NamespaceId, outcome: &Outcome) {
        let host = self.features.reservation_host();
        let feature = FeatureId::RESERVATION_NOTIFICATION_MASK;
        let mask = self.features.namespace_dword(feature, nsid);
        let mask = ReservationNotificationMask::from_bits(mask);
        for notice in &outcome.notices {
            if notice.host == host && self.notices.post(nsid, notice.kind, mask) {
                self.events.raise(AsyncEvent::RESERVATION_LOG_AVAILABLE);
            }
        }
    }
}
