//! The Persistent Event log.

use nvme::{
    ChangeNamespaceEvent, FirmwareCommitEvent, FormatCompletionEvent, FormatStartEvent,
    PersistentEventHeader, PersistentEventLogHeader, PersistentEventType, PowerOnController,
    SanitizeCompletionEvent, SanitizeStartEvent, SetFeatureLayout, SmartLog, ThermalExcursionEvent,
    Timestamp, TimestampChangeEvent,
};
use zerocopy::FromBytes;

use crate::device::report::{Report, ascii, digits};

/// The log: its head, and the events in it. A log that was cut short shows the
/// events that are whole.
pub(super) fn report(log: &[u8]) -> Option<Report> {
    let (head, mut rest) = PersistentEventLogHeader::read_from_prefix(log).ok()?;
    let mut report = Report::new("Persistent Event Log:", 28);
    report
        .dec("Total Number of Events", head.events.get())
        .dec("Total Log Length", head.bytes.get())
        .dec("Log Revision", head.revision)
        .dec("Timestamp", milliseconds(head.timestamp.get()))
        .wide("Power On Hours", head.power_on_hours)
        .dec("Power Cycle Count", head.power_cycles.get())
        .hex("PCI Vendor ID", head.vid.get())
        .text("Serial Number", ascii(&head.sn).trim_end())
        .text("Model Number", ascii(&head.mn).trim_end())
        .dec("Generation Number", head.generation.get());
    let mut events = Vec::new();
    while let Some((event, after)) = event(events.len(), rest) {
        events.push(event);
        rest = after;
    }
    report.list("events", events);
    Some(report)
}

/// Milliseconds of a timestamp, without its attributes.
fn milliseconds(timestamp: u64) -> u64 {
    let mut timestamp: Timestamp = zerocopy::transmute!(timestamp.to_le_bytes());
    timestamp.attributes = 0;
    timestamp.ms()
}

/// The event at the start of `log`, and what is behind it.
fn event(number: usize, log: &[u8]) -> Option<(Report, &[u8])> {
    let (head, _) = PersistentEventHeader::read_from_prefix(log).ok()?;
    if head.event_type == 0 {
        return None;
    }
    // The length does not count itself and the two bytes before it.
    let start = usize::from(head.header_length) + 3;
    let (_, body) = log.split_at_checked(start)?;
    let (body, after) = body.split_at_checked(usize::from(head.event_length.get()))?;
    let (_, data) = body.split_at_checked(usize::from(head.vendor_length.get()))?;
    let kind = PersistentEventType(head.event_type);
    let mut report = Report::new(format!("Event Number: {number}"), 28);
    report
        .row("Event Type", format!("{:#x} ({kind})", kind.0), kind.0)
        .dec("Event Type Revision", head.revision)
        .hex("Controller Identifier", head.cntlid.get())
        .dec("Event Timestamp", milliseconds(head.timestamp.get()));
    details(&mut report, kind, data);
    Some((report, after))
}

fn read<V: FromBytes>(data: &[u8]) -> Option<V> {
    V::read_from_prefix(data).ok().map(|(value, _)| value)
}

/// What the event itself says; its bytes where this program cannot read them.
fn details(report: &mut Report, kind: PersistentEventType, data: &[u8]) {
    if known(report, kind, data).is_none() && !data.is_empty() {
        report.text("Data", digits(data));
    }
}

fn known(report: &mut Report, kind: PersistentEventType, data: &[u8]) -> Option<()> {
    match kind {
        PersistentEventType::SMART_SNAPSHOT => {
            let log: SmartLog = read(data)?;
            report
                .hex("Critical Warning", log.critical_warning)
                .dec("Temperature, K", log.temperature())
                .dec("Percentage Used", log.percentage_used)
                .wide("Media Errors", log.media_errors);
        }
        PersistentEventType::POWER_ON_OR_RESET => power_on(report, data)?,
        PersistentEventType::SET_FEATURE => {
            let layout = SetFeatureLayout::from_bits(u32::from_le_bytes(*data.first_chunk()?));
            let dwords = data.get(4..)?.as_chunks::<4>().0.iter();
            for (number, dword) in (10..).zip(dwords.take(layout.dwords().into())) {
                let name = format!("Command Dword {number}");
                report.hex(name, u32::from_le_bytes(*dword));
            }
        }
        PersistentEventType::FIRMWARE_COMMIT => {
            let event: FirmwareCommitEvent = read(data)?;
            report
                .text(
                    "Old Firmware Revision",
                    ascii(&event.old_revision).trim_end(),
                )
                .text(
                    "New Firmware Revision",
                    ascii(&event.new_revision).trim_end(),
                )
                .dec("Firmware Commit Action", event.action)
                .dec("Firmware Slot", event.slot)
                .hex("Status Code Type", event.status_code_type)
                .hex("Status Code", event.status_code);
        }
        PersistentEventType::TIMESTAMP_CHANGE => {
            let event: TimestampChangeEvent = read(data)?;
            report
                .dec("Previous Timestamp", milliseconds(event.previous.get()))
                .dec("Milliseconds Since Reset", event.since_reset_ms.get());
        }
        PersistentEventType::CHANGE_NAMESPACE => {
            let event: ChangeNamespaceEvent = read(data)?;
            report
                .hex("Namespace Management CDW10", event.cdw10.get())
                .hex("Namespace Size", event.nsze.get())
                .hex("Namespace Capacity", event.ncap.get())
                .hex("Formatted LBA Size", event.flbas)
                .hex("Namespace ID", event.namespace_id.get());
        }
        _ => return erasure(report, kind, data),
    }
    Some(())
}

/// The events of formats, sanitize operations and temperature.
fn erasure(report: &mut Report, kind: PersistentEventType, data: &[u8]) -> Option<()> {
    match kind {
        PersistentEventType::FORMAT_START => {
            let event: FormatStartEvent = read(data)?;
            report
                .hex("Namespace Identifier", event.namespace_id.get())
                .hex("Format NVM Attributes", event.fna)
                .hex("Format NVM CDW10", event.cdw10.get());
        }
        PersistentEventType::FORMAT_COMPLETION => {
            let event: FormatCompletionEvent = read(data)?;
            report
                .hex("Namespace Identifier", event.namespace_id.get())
                .hex("Format NVM Status", event.status)
                .hex("Status Field", event.status_field.get());
        }
        PersistentEventType::SANITIZE_START => {
            let event: SanitizeStartEvent = read(data)?;
            report
                .hex("SANICAP", event.sanicap.get())
                .hex("Sanitize CDW10", event.cdw10.get())
                .hex("Sanitize CDW11", event.cdw11.get());
        }
        PersistentEventType::SANITIZE_COMPLETION => {
            let event: SanitizeCompletionEvent = read(data)?;
            report
                .dec("Sanitize Progress", event.progress.get())
                .hex("Sanitize Status", event.status.get());
        }
        PersistentEventType::THERMAL_EXCURSION => {
            let event: ThermalExcursionEvent = read(data)?;
            report
                .dec("Over Temperature", event.over)
                .hex("Threshold", event.threshold);
        }
        _ => return None,
    }
    Some(())
}

fn power_on(report: &mut Report, data: &[u8]) -> Option<()> {
    let (revision, controllers) = data.split_first_chunk::<8>()?;
    report.text("Firmware Revision", ascii(revision).trim_end());
    let controllers = controllers
        .as_chunks::<{ size_of::<PowerOnController>() }>()
        .0
        .iter()
        .filter_map(|bytes| read::<PowerOnController>(bytes))
        .map(|controller| {
            let mut report = Report::new("", 28);
            report
                .hex("  Controller ID", controller.cntlid.get())
                .dec("  Firmware Activation", controller.firmware_activation)
                .dec("  Operation in Progress", controller.in_progress)
                .dec("  Controller Power Cycle", controller.power_cycles.get())
                .dec("  Power on milliseconds", controller.power_on_ms.get())
                .dec(
                    "  Controller Timestamp",
                    milliseconds(controller.timestamp.get()),
                );
            report
        });
    report.list("controllers", controllers.collect());
    Some(())
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;

    fn log(event_length: u16) -> Vec<u8> {
        let mut head = PersistentEventLogHeader::default();
        head.events.set(1);
        let mut event = PersistentEventHeader {
            event_type: PersistentEventType::SANITIZE_START.0,
            header_length: PersistentEventHeader::HEADER_LENGTH,
            ..PersistentEventHeader::default()
        };
        event.vendor_length.set(2);
        event.event_length.set(event_length);
        let mut data = SanitizeStartEvent::default();
        data.cdw10.set(0x204);
        [head.as_bytes(), event.as_bytes(), &[7, 7], data.as_bytes()].concat()
    }

    #[test]
    fn events_are_read_behind_their_vendor_information() {
        let text = report(&log(14)).unwrap().to_text();
        assert!(
            text.contains("Event Type                  : 0x9 (Sanitize Start)"),
            "{text}"
        );
        assert!(
            text.contains("Sanitize CDW10              : 0x204"),
            "{text}"
        );
    }

    #[test]
    fn an_event_that_was_cut_off_ends_the_list() {
        let json = report(&log(u16::MAX)).unwrap().to_json();
        assert_eq!(json["events"].as_array().map(Vec::len), Some(0));
    }
}
