//! What the services learn of formats, sanitize operations and namespaces.

use nvme::{
    AsyncEvent, ChangeNamespaceEvent, FormatCompletionEvent, FormatStartEvent, IdentifyController,
    NamespaceId, PersistentEventType, SanitizeCompletionEvent, SanitizeStartEvent, SelfTestResult,
    Sqe, Status,
};
use traces::{Clock, Tap};
use zerocopy::IntoBytes;

use crate::device::Device;

impl<T: Tap, C: Clock> Device<T, C> {
    fn abort_self_test(&mut self, reason: SelfTestResult) {
        let hours = self.power_on_hours();
        self.services.self_test.abort(reason, hours);
    }

    /// A format starts.
    pub(in crate::admin) fn format_starts(&mut self, sqe: &Sqe) {
        let event = FormatStartEvent {
            namespace_id: sqe.nsid().0.into(),
            fna: IdentifyController::FNA_CRYPTO_ERASE,
            cdw10: sqe.cdw10,
            ..FormatStartEvent::default()
        };
        self.enter_persistent(PersistentEventType::FORMAT_START, event.as_bytes());
        self.abort_self_test(SelfTestResult::AbortedByFormat);
    }

    /// A format of a namespace ended.
    pub(in crate::admin) fn format_ended(&mut self, nsid: NamespaceId, failed: bool) {
        let status = if failed {
            Status::INTERNAL_ERROR
        } else {
            Status::SUCCESS
        };
        let event = FormatCompletionEvent {
            namespace_id: nsid.0.into(),
            status: u8::from(failed),
            // The phase tag is bit 0.
            status_field: (u32::from(status.field()) << 1).into(),
            ..FormatCompletionEvent::default()
        };
        self.enter_persistent(PersistentEventType::FORMAT_COMPLETION, event.as_bytes());
        self.services.directives.forget(nsid.0);
    }

    /// A sanitize operation starts.
    pub(in crate::admin) fn sanitize_starts(&mut self, sqe: &Sqe, sanicap: u32) {
        let event = SanitizeStartEvent {
            sanicap: sanicap.into(),
            cdw10: sqe.cdw10,
            cdw11: sqe.cdw11,
        };
        self.enter_persistent(PersistentEventType::SANITIZE_START, event.as_bytes());
        self.abort_self_test(SelfTestResult::AbortedBySanitize);
        // Of the operation before nothing is told any more, and streams are
        // released (`NVMe Base 2.1 §8.1.24`).
        self.events.withdraw(AsyncEvent::SANITIZE_COMPLETED);
        for namespace in self.namespaces.iter() {
            self.services.directives.forget(namespace.nsid.0);
        }
    }

    /// A sanitize operation ended.
    pub(in crate::admin) fn sanitize_ended(&mut self) {
        let log = self.sanitize_log();
        let word = |at: usize| {
            let bytes = log.get(at..).and_then(<[u8]>::first_chunk::<2>);
            bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes))
        };
        let event = SanitizeCompletionEvent {
            progress: word(0).into(),
            status: word(2).into(),
            ..SanitizeCompletionEvent::default()
        };
        self.enter_persistent(PersistentEventType::SANITIZE_COMPLETION, event.as_bytes());
    }

    /// A namespace was created (`cdw10` selects that), or is to be deleted.
    pub(in crate::admin) fn namespace_changes(
        &mut self,
        cdw10: u32,
        nsid: NamespaceId,
        blocks: u64,
    ) {
        let event = ChangeNamespaceEvent {
            cdw10: cdw10.into(),
            nsze: blocks.into(),
            ncap: blocks.into(),
            namespace_id: nsid.0.into(),
            ..ChangeNamespaceEvent::default()
        };
        self.enter_persistent(PersistentEventType::CHANGE_NAMESPACE, event.as_bytes());
        if cdw10 != 0 {
            self.services.directives.forget(nsid.0);
            let tested = self.services.self_test.namespace();
            if tested == Some(nsid.0) {
                self.abort_self_test(SelfTestResult::AbortedByNamespaceRemoval);
            }
        }
    }
}
