//! Notifications, and the log that a host reads them from.

use std::collections::VecDeque;

use nvme::{NamespaceId, ReservationNotificationLog, ReservationNotificationMask};
use zerocopy::FromZeros;
use zerocopy::little_endian::{U32, U64};

use super::HostId;

/// The most notifications that wait to be read; the field that counts them has
/// a byte.
const WAITING_MAX: usize = 256;

/// What a host is notified of: the type of a Reservation Notification log page
/// (`NVMe Base 2.1 §5.1.12.1.32`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// Another host unregistered it.
    RegistrationPreempted,
    /// A reservation that it had a part in is no more.
    ReservationReleased,
    /// Another host cleared reservation and registrations.
    ReservationPreempted,
}

impl NoticeKind {
    const fn number(self) -> u8 {
        match self {
            Self::RegistrationPreempted => 1,
            Self::ReservationReleased => 2,
            Self::ReservationPreempted => 3,
        }
    }

    const fn is_masked(self, mask: ReservationNotificationMask) -> bool {
        match self {
            Self::RegistrationPreempted => mask.regpre(),
            Self::ReservationReleased => mask.resrel(),
            Self::ReservationPreempted => mask.respre(),
        }
    }
}

/// That a host is to be notified of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The host.
    pub host: HostId,
    /// Of what.
    pub kind: NoticeKind,
}

/// The Reservation Notification log of a controller
/// (`NVMe Base 2.1 §5.1.12.1.32`). It does not outlive a reset.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    waiting: VecDeque<(u64, NoticeKind, NamespaceId)>,
    count: u64,
}

impl Notices {
    /// Adds a notification; one that `mask` masks is none. Whether there is
    /// news, for which [`nvme::AsyncEvent::RESERVATION_LOG_AVAILABLE`] stands.
    ///
    /// A host that does not read loses the newest ones, and sees it by the
    /// count of those that come later.
    pub fn post(
        &mut self,
        namespace: NamespaceId,
        kind: NoticeKind,
        mask: ReservationNotificationMask,
    ) -> bool {
        if kind.is_masked(mask) {
            return false;
        }
        // 0 is no page: the count goes on with 1.
        self.count = self.count.checked_add(1).unwrap_or(1);
        if self.waiting.len() >= WAITING_MAX {
            return false;
        }
        self.waiting.push_back((self.count, kind, namespace));
        true
    }

    /// The oldest page, which is gone then; an empty one where there is none.
    pub fn read(&mut self) -> ReservationNotificationLog {
        let mut page = ReservationNotificationLog::new_zeroed();
        if let Some((count, kind, namespace)) = self.waiting.pop_front() {
            page.count = U64::new(count);
            page.kind = kind.number();
            page.available = u8::try_from(self.waiting.len()).unwrap_or(u8::MAX);
            page.namespace_id = U32::new(namespace.0);
        }
        page
    }

    /// The controller was reset.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}
