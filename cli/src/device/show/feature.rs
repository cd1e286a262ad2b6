//! Features.

use nvme::{
    ApstEntry, ApstTable, ArbitrationConfig, AsyncEventConfig, BootPartitionWriteProtection,
    EnduranceGroupEventConfig, ErrorRecovery, FeatureCapabilities, FeatureId, FeatureSelect,
    HostBehavior, HostMemoryBufferCdw11, HostThermalManagement, InterruptCoalescing,
    LbaStatusInterval, NumberOfQueues, PowerManagement, ReservationNotificationMask,
    TemperatureThreshold, Timestamp, VectorConfig, WriteProtectionConfig,
};
use serde_json::json;
use zerocopy::FromBytes;

use crate::device::report::{Report, digits};

/// How many bytes the data structure of a feature has; 0 where it is a dword.
pub(in crate::device) fn data_bytes(feature: FeatureId) -> usize {
    match feature {
        FeatureId::APST => size_of::<ApstTable>(),
        FeatureId::TIMESTAMP => size_of::<Timestamp>(),
        FeatureId::HOST_BEHAVIOR | FeatureId::PREDICTABLE_LATENCY_CONFIG => 512,
        FeatureId::HOST_MEMORY_BUFFER
        | FeatureId::LBA_RANGE_TYPE
        | FeatureId::PERFORMANCE_CHARACTERISTICS
        | FeatureId::ENHANCED_CONTROLLER_METADATA
        | FeatureId::CONTROLLER_METADATA
        | FeatureId::NAMESPACE_METADATA => 4096,
        FeatureId::HOST_IDENTIFIER => 16,
        FeatureId::NAMESPACE_ADMIN_LABEL => 256,
        _ => 0,
    }
}

/// The value of a feature, as its dword and its data tell it.
pub(in crate::device) fn report(
    feature: FeatureId,
    select: FeatureSelect,
    dword: u32,
    data: &[u8],
) -> Report {
    let which = match select {
        FeatureSelect::Current | FeatureSelect::Reserved => "Current",
        FeatureSelect::Default => "Default",
        FeatureSelect::Saved => "Saved",
        FeatureSelect::SupportedCapabilities => "Supported capabilities",
    };
    let title = format!(
        "get-feature:{:#04x} ({feature}), {which} value:{dword:#010x}",
        feature.0
    );
    let mut report = Report::new(title, 44);
    if select == FeatureSelect::SupportedCapabilities {
        capabilities(&mut report, dword);
    } else {
        fields(&mut report, feature, dword);
        structure(&mut report, feature, data);
    }
    report
}

/// The report as JSON, with the dword that its title tells people.
pub(in crate::device) fn to_json(
    report: &Report,
    feature: FeatureId,
    dword: u32,
) -> serde_json::Value {
    json!({
        "feature": feature.0,
        "name": feature.to_string(),
        "value": dword,
        "fields": report.to_json(),
    })
}

fn capabilities(report: &mut Report, dword: u32) {
    let can = FeatureCapabilities::from_bits(dword);
    report
        .flag("  Feature is saveable", can.saveable())
        .flag("  Feature is namespace specific", can.namespace_specific())
        .flag("  Feature is changeable", can.changeable());
}

/// The fields of a feature's dword.
fn fields(report: &mut Report, feature: FeatureId, dword: u32) {
    match feature {
        FeatureId::ARBITRATION => {
            let value = ArbitrationConfig::from_bits(dword);
            report
                .dec("  Arbitration Burst (AB)", value.ab())
                .dec("  Low Priority Weight (LPW)", u16::from(value.lpw()) + 1)
                .dec("  Medium Priority Weight (MPW)", u16::from(value.mpw()) + 1)
                .dec("  High Priority Weight (HPW)", u16::from(value.hpw()) + 1);
        }
        FeatureId::POWER_MANAGEMENT => {
            let value = PowerManagement::from_bits(dword);
            report
                .dec("  Power State (PS)", value.ps())
                .dec("  Workload Hint (WH)", value.wh());
        }
        FeatureId::TEMPERATURE_THRESHOLD => temperature(report, dword),
        FeatureId::ERROR_RECOVERY => {
            let value = ErrorRecovery::from_bits(dword);
            report
                .flag(
                    "  Deallocated or Unwritten Block Error (DULBE)",
                    value.dulbe(),
                )
                .row(
                    "  Time Limited Error Recovery (TLER)",
                    format!("{} ms", u32::from(value.tler()) * 100),
                    value.tler(),
                );
        }
        FeatureId::NUMBER_OF_QUEUES => {
            let value = NumberOfQueues::from_bits(dword);
            report
                .dec(
                    "  Number of IO Completion Queues (NCQA)",
                    u32::from(value.ncq()) + 1,
                )
                .dec(
                    "  Number of IO Submission Queues (NSQA)",
                    u32::from(value.nsq()) + 1,
                );
        }
        FeatureId::INTERRUPT_COALESCING => {
            let value = InterruptCoalescing::from_bits(dword);
            report
                .row(
                    "  Aggregation Time (TIME)",
                    format!("{} us", u32::from(value.time()) * 100),
                    value.time(),
                )
                .dec("  Aggregation Threshold (THR)", u16::from(value.thr()) + 1);
        }
        FeatureId::INTERRUPT_VECTOR_CONFIG => {
            let value = VectorConfig::from_bits(dword);
            report
                .flag("  Coalescing Disable (CD)", value.cd())
                .dec("  Interrupt Vector (IV)", value.iv());
        }
        _ => more_fields(report, feature, dword),
    }
}

/// The fields of the features that are not about queues, power and media.
fn more_fields(report: &mut Report, feature: FeatureId, dword: u32) {
    match feature {
        FeatureId::ASYNC_EVENT_CONFIG => events(report, dword),
        FeatureId::HOST_MEMORY_BUFFER => {
            let value = HostMemoryBufferCdw11::from_bits(dword);
            report.flag("  Enable Host Memory (EHM)", value.ehm());
        }
        FeatureId::KEEP_ALIVE => {
            report.row("  Keep Alive Timeout (KATO)", format!("{dword} ms"), dword);
        }
        FeatureId::HOST_THERMAL_MANAGEMENT => {
            let value = HostThermalManagement::from_bits(dword);
            report
                .dec("  Thermal Management Temperature 1 (TMT1), K", value.tmt1())
                .dec("  Thermal Management Temperature 2 (TMT2), K", value.tmt2());
        }
        FeatureId::LBA_STATUS_INTERVAL => {
            let value = LbaStatusInterval::from_bits(dword);
            report
                .dec("  Poll Interval (LSIPI), 100 ms", value.lsipi())
                .dec("  Report Interval (LSIRI), 100 ms", value.lsiri());
        }
        FeatureId::ENDURANCE_GROUP_EVENT_CONFIG => {
            let value = EnduranceGroupEventConfig::from_bits(dword);
            report
                .dec("  Endurance Group Identifier (ENDGID)", value.endgid())
                .hex("  Endurance Group Critical Warnings", value.egcw());
        }
        FeatureId::RESERVATION_NOTIFICATION_MASK => {
            let value = ReservationNotificationMask::from_bits(dword);
            report
                .flag("  Mask Registration Preempted (REGPRE)", value.regpre())
                .flag("  Mask Reservation Released (RESREL)", value.resrel())
                .flag("  Mask Reservation Preempted (RESPRE)", value.respre());
        }
        FeatureId::NAMESPACE_WRITE_PROTECTION => {
            let value = WriteProtectionConfig::from_bits(dword);
            report.row(
                "  Write Protection State (WPS)",
                protection(value.wps()),
                value.wps(),
            );
        }
        FeatureId::BOOT_PARTITION_WRITE_PROTECTION => {
            let value = BootPartitionWriteProtection::from_bits(dword);
            report
                .dec("  Boot Partition 0 State (BP0WPS)", value.bp0wps())
                .dec("  Boot Partition 1 State (BP1WPS)", value.bp1wps());
        }
        _ => one_field(report, feature, dword),
    }
}

/// The features whose dword has a single field at its low end.
fn one_field(report: &mut Report, feature: FeatureId, dword: u32) {
    let name = match feature {
        FeatureId::VOLATILE_WRITE_CACHE => "  Volatile Write Cache Enable (WCE)",
        FeatureId::WRITE_ATOMICITY => "  Disable Normal (DN)",
        FeatureId::APST => "  APST Enable (APSTE)",
        FeatureId::NON_OPERATIONAL_POWER => "  Permissive Mode Enable (NOPPME)",
        FeatureId::READ_RECOVERY_LEVEL => "  Read Recovery Level (RRL)",
        FeatureId::PREDICTABLE_LATENCY_CONFIG => "  Predictable Latency Enable (PLE)",
        FeatureId::PREDICTABLE_LATENCY_WINDOW => "  Window Select (WSEL)",
        FeatureId::SANITIZE_CONFIG => "  No-Deallocate Response Mode (NODRM)",
        FeatureId::COMMAND_SET_PROFILE => "  I/O Command Set Combination (IOCSCI)",
        FeatureId::SPINUP_CONTROL => "  Spinup Enable (SUE)",
        FeatureId::SOFTWARE_PROGRESS_MARKER => "  Pre-boot Software Load Count (PBSLC)",
        FeatureId::RESERVATION_PERSISTENCE => "  Persist Through Power Loss (PTPL)",
        _ => return,
    };
    report.dec(name, dword);
}

fn temperature(report: &mut Report, dword: u32) {
    let value = TemperatureThreshold::from_bits(dword);
    let kelvin = value.tmpth();
    report
        .row(
            "  Temperature Threshold (TMPTH)",
            format!("{} °C ({kelvin} K)", i32::from(kelvin) - 273),
            kelvin,
        )
        .dec("  Threshold Type Select (THSEL)", value.thsel())
        .dec("  Threshold Temperature Select (TMPSEL)", value.tmpsel());
}

fn events(report: &mut Report, dword: u32) {
    let value = AsyncEventConfig::from_bits(dword);
    report
        .flag("  Discovery Log Page Change", value.discovery())
        .flag("  Zone Descriptor Changed Notices", value.zone_descriptor())
        .flag(
            "  Allocated Namespace Attribute Notices",
            value.allocated_namespace(),
        )
        .flag(
            "  Reachability Group Change Notices",
            value.reachability_group(),
        )
        .flag(
            "  Reachability Association Change Notices",
            value.reachability_association(),
        )
        .flag(
            "  Temperature Threshold Hysteresis Recovery",
            value.temperature_hysteresis(),
        )
        .flag(
            "  Normal NVM Subsystem Shutdown",
            value.subsystem_shutdown(),
        )
        .flag(
            "  Endurance Group Event Aggregate Log Change",
            value.endurance_group(),
        )
        .flag("  LBA Status Information Notices", value.lba_status())
        .flag(
            "  Predictable Latency Aggregate Log Change",
            value.predictable_latency(),
        )
        .flag(
            "  Asymmetric Namespace Access Change Notices",
            value.ana_change(),
        )
        .flag("  Telemetry Log Notices", value.telemetry())
        .flag("  Firmware Activation Notices", value.firmware_activation())
        .flag("  Namespace Attribute Notices", value.namespace_attribute())
        .hex(
            "  SMART / Health Critical Warnings",
            value.critical_warnings(),
        );
}

fn protection(state: u8) -> String {
    use nvme::WriteProtectionState as State;
    let words = match State::from_code(state) {
        Some(State::None) => "No Write Protect",
        Some(State::Protected) => "Write Protect",
        Some(State::UntilPowerCycle) => "Write Protect Until Power Cycle",
        Some(State::Permanent) => "Permanent Write Protect",
        None => "Reserved",
    };
    format!("{state} ({words})")
}

/// The data structure of a feature.
fn structure(report: &mut Report, feature: FeatureId, data: &[u8]) {
    let known = match feature {
        FeatureId::TIMESTAMP => Timestamp::read_from_prefix(data).ok().map(|(value, _)| {
            report
                .dec("  Timestamp, ms", value.ms())
                .hex("  Timestamp Attributes", value.attributes);
        }),
        FeatureId::APST => ApstTable::read_from_prefix(data).ok().map(|(table, _)| {
            let entries = table
                .entries
                .iter()
                .map(|bits| ApstEntry::from_bits(bits.get()));
            let lines = entries.enumerate().filter(|(_, entry)| entry.itpt() != 0);
            let lines = lines.map(|(state, entry)| {
                let (to, ms) = (entry.itps(), entry.itpt());
                let line = format!("  Entry[{state:2}]: after {ms} ms to power state {to}");
                (line, json!({"ps": state, "itps": to, "itpt_ms": ms}))
            });
            report.lines("apst", lines.collect());
        }),
        FeatureId::HOST_BEHAVIOR => HostBehavior::read_from_prefix(data).ok().map(|(value, _)| {
            report
                .dec("  Advanced Command Retry Enable (ACRE)", value.acre)
                .dec("  Extended Telemetry Data Area 4 (ETDAS)", value.etdas)
                .dec("  LBA Format Extension Enable (LBAFEE)", value.lbafee)
                .dec("  Host Dispersed Namespace Support (HDISNS)", value.hdisns)
                .hex("  Copy Descriptor Formats Enable (CDFE)", value.cdfe.get());
        }),
        FeatureId::HOST_IDENTIFIER => {
            report.text("  Host Identifier (HOSTID)", digits(data));
            Some(())
        }
        _ => None,
    };
    if known.is_none() && data.iter().any(|byte| *byte != 0) {
        report.text("  Data", digits(data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(feature: FeatureId, dword: u32, data: &[u8]) -> String {
        report(feature, FeatureSelect::Current, dword, data).to_text()
    }

    #[test]
    fn a_feature_is_told_as_nvme_cli_tells_it_and_field_by_field() {
        let text = text(FeatureId::TEMPERATURE_THRESHOLD, 343, &[]);
        let first = "get-feature:0x04 (Temperature Threshold), Current value:0x00000157\n";
        assert!(text.starts_with(first), "{text}");
        assert!(
            text.contains("(TMPTH)             : 70 °C (343 K)\n"),
            "{text}"
        );
        let all = report(
            FeatureId(0xc0),
            FeatureSelect::SupportedCapabilities,
            0b101,
            &[],
        );
        let json = to_json(&all, FeatureId(0xc0), 5);
        assert_eq!(json["fields"]["feature_is_changeable"], true);
        assert_eq!(json["fields"]["feature_is_namespace_specific"], false);
    }

    #[test]
    fn features_with_data_are_read_from_it() {
        let time = text(FeatureId::TIMESTAMP, 0, &[5, 0, 0, 0, 0, 0, 2, 0]);
        assert!(
            time.contains("Timestamp, ms                             : 5\n"),
            "{time}"
        );
        let mut table = [0; 256];
        table[0..4].copy_from_slice(&[0x18, 0x64, 0, 0]);
        let apst = text(FeatureId::APST, 1, &table);
        assert!(
            apst.contains("Entry[ 0]: after 100 ms to power state 3\n"),
            "{apst}"
        );
        let other = text(FeatureId(0xc1), 0, &[0xab]);
        assert!(other.contains(": ab\n"), "{other}");
    }
}
