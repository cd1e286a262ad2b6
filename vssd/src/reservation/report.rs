//! Reservation Report.

use nvme::{
    RESERVATION_STATUS_EXTENDED_BYTES, RegisteredController, RegisteredControllerExtended,
    ReservationReportCdw11, ReservationStatus, Status,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::{HostId, Registrant, Reservations};

impl Reservations {
    /// The data structure that Reservation Report of `host`, which is at
    /// `controller`, asks for; the host gets the part of it that it has room
    /// for (`NVMe Base 2.1 §7.8`). Registrants that are at no controller now
    /// are reported, too, so that the host learns which keys to preempt.
    ///
    /// # Errors
    ///
    /// [`Status::HOST_ID_INCONSISTENT_FORMAT`] where the structure is not the
    /// one for identifiers of the host's size.
    pub fn report(
        &self,
        host: &HostId,
        controller: u16,
        dword: ReservationReportCdw11,
    ) -> Result<Vec<u8>, Status> {
        if dword.eds() != host.extended && host.is_set() {
            return Err(Status::HOST_ID_INCONSISTENT_FORMAT.dnr());
        }
        let count = u16::try_from(self.registrants.len()).unwrap_or(u16::MAX);
        let head = ReservationStatus {
            generation: U32::new(self.generation),
            rtype: self.kind().map_or(0, |kind| kind.into_bits()),
            registered: count.to_le_bytes(),
            ptpls: u8::from(self.ptpl),
            ..ReservationStatus::default()
        };
        let mut data = head.as_bytes().to_vec();
        if dword.eds() {
            data.resize(RESERVATION_STATUS_EXTENDED_BYTES, 0);
        }
        for it in &self.registrants {
            let at = if it.host == *host {
                controller
            } else {
                RegisteredController::NO_CONTROLLER
            };
            self.entry(it, at, dword.eds(), &mut data);
        }
        Ok(data)
    }

    fn entry(&self, it: &Registrant, controller: u16, extended: bool, to: &mut Vec<u8>) {
        let (controller_id, rkey) = (U16::new(controller), U64::new(it.key));
        let rcsts = if self.is_holder(&it.host) {
            RegisteredController::HOLDER
        } else {
            0
        };
        if extended {
            let entry = RegisteredControllerExtended {
                controller_id,
                rcsts,
                rkey,
                host_id: it.host.id,
                ..RegisteredControllerExtended::default()
            };
            to.extend_from_slice(entry.as_bytes());
        } else {
            let [a, b, c, d, e, f, g, h, ..] = it.host.id;
            let entry = RegisteredController {
                controller_id,
                rcsts,
                host_id: U64::from_bytes([a, b, c, d, e, f, g, h]),
                rkey,
                ..RegisteredController::default()
            };
            to.extend_from_slice(entry.as_bytes());
        }
    }
}
