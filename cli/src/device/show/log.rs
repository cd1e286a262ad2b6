//! Log pages.

use nvme::{
    AdminOpcode, CommandEffects, EnduranceGroupLog, ErrorLogEntry, FeatureEffects, FeatureId,
    FirmwareSlotLog, LogPageId, NvmOpcode, ReservationNotificationLog, SanitizeLog, SanitizeState,
    SanitizeStatus, SelfTestEntry, SelfTestLog, SelfTestOperation, SelfTestResult, SelfTestStatus,
    SmartLog, Status, SupportedLogPage, TelemetryHeader,
};
use serde_json::{Value, json};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::{health, persistent_event};
use crate::device::report::{Report, ascii, hex};

/// Width of the names in the SMART and endurance group logs.
const HEALTH: usize = 40;

/// The page as a report; none where this program cannot read it.
pub(in crate::device) fn report(page: LogPageId, log: &[u8], device: &str) -> Option<Report> {
    Some(match page {
        LogPageId::SUPPORTED => supported(log),
        LogPageId::ERROR_INFORMATION => errors(log, device),
        LogPageId::SMART => smart(&read(log)?, device),
        LogPageId::FIRMWARE_SLOT => firmware(&read(log)?, device),
        LogPageId::CHANGED_NAMESPACES | LogPageId::CHANGED_ALLOCATED_NAMESPACES => {
            changed(page, log)
        }
        LogPageId::COMMAND_EFFECTS => effects(log),
        LogPageId::SELF_TEST => self_test(&read(log)?, device),
        LogPageId::TELEMETRY_HOST | LogPageId::TELEMETRY_CONTROLLER => telemetry(&read(log)?),
        LogPageId::ENDURANCE_GROUP => endurance_group(&read(log)?, device),
        LogPageId::ENDURANCE_GROUP_AGGREGATE => health::endurance_events(log)?,
        LogPageId::LBA_STATUS => health::lba_status(log)?,
        LogPageId::PERSISTENT_EVENT => persistent_event::report(log)?,
        LogPageId::FEATURE_EFFECTS => feature_effects(log),
        LogPageId::RESERVATION_NOTIFICATION => reservation(&read(log)?, device),
        LogPageId::SANITIZE_STATUS => sanitize(&read(log)?),
        _ => return None,
    })
}

fn read<V: FromBytes>(log: &[u8]) -> Option<V> {
    V::read_from_prefix(log).ok().map(|(value, _)| value)
}

/// The dwords of a table.
fn dwords(log: &[u8]) -> impl Iterator<Item = u32> {
    log.as_chunks::<4>()
        .0
        .iter()
        .map(|dword| u32::from_le_bytes(*dword))
}

fn supported(log: &[u8]) -> Report {
    let mut report = Report::new("Support Log Pages Details:", 0);
    let entries = (0..=u8::MAX).zip(dwords(log)).filter_map(|(number, bits)| {
        let entry = SupportedLogPage::from_bits(bits);
        let page = LogPageId(number);
        entry.lsupp().then(|| {
            let line = format!(
                "LID {} ({page}), supports {}",
                hex(number.into()),
                hex(bits.into())
            );
            (
                line,
                json!({"lid": number, "name": page.to_string(), "support": bits}),
            )
        })
    });
    report.lines("pages", entries.collect());
    report
}

fn errors(log: &[u8], device: &str) -> Report {
    let entries = log
        .as_chunks::<{ size_of::<ErrorLogEntry>() }>()
        .0
        .iter()
        .filter_map(|entry| read::<ErrorLogEntry>(entry))
        .filter(|entry| entry.error_count.get() != 0)
        .enumerate()
        .map(|(number, entry)| error(number, &entry))
        .collect::<Vec<_>>();
    let title = format!(
        "Error Log Entries for device:{device} entries:{}",
        entries.len()
    );
    let mut report = Report::new(title, 0);
    report.list("errors", entries);
    report
}

fn error(number: usize, entry: &ErrorLogEntry) -> Report {
    let status = Status::from_field(entry.status_phase.get() >> 1);
    let line = ".................";
    let mut report = Report::new(format!("{line}\n Entry[{number:2}]\n{line}"), 16);
    report
        .dec("error_count", entry.error_count.get())
        .dec("sqid", entry.sq_id.get())
        .hex("cmdid", entry.command_id.get())
        .row(
            "status_field",
            format!("{} ({status})", hex(status.field().into())),
            status.field(),
        )
        .hex("phase_tag", entry.status_phase.get() & 1)
        .hex("parm_err_loc", entry.parameter_location.get())
        .hex("lba", entry.lba.get())
        .hex("nsid", entry.namespace_id.get())
        .dec("vs", entry.vendor)
        .hex("trtype", entry.transport_type)
        .dec("csi", entry.command_set)
        .hex("opcode", entry.opcode)
        .hex("cs", entry.command_specific.get())
        .hex("trtype_spec_info", entry.transport_specific.get())
        .dec("log_page_version", entry.version);
    report
}

/// SMART / Health Information.
pub(in crate::device) fn smart(log: &SmartLog, device: &str) -> Report {
    let title = format!("Smart Log for NVME device:{device} namespace-id:ffffffff");
    let mut report = Report::new(title, HEALTH);
    report.hex("critical_warning", log.critical_warning);
    temperature(&mut report, "temperature", log.temperature());
    percent(&mut report, "available_spare", log.available_spare);
    percent(
        &mut report,
        "available_spare_threshold",
        log.available_spare_threshold,
    );
    percent(&mut report, "percentage_used", log.percentage_used);
    report
        .hex(
            "endurance group critical warning summary",
            log.endurance_group_warning,
        )
        .wide("Data Units Read", log.data_units_read)
        .wide("Data Units Written", log.data_units_written)
        .wide("host_read_commands", log.host_reads)
        .wide("host_write_commands", log.host_writes)
        .wide("controller_busy_time", log.busy_minutes)
        .wide("power_cycles", log.power_cycles)
        .wide("power_on_hours", log.power_on_hours)
        .wide("unsafe_shutdowns", log.unsafe_shutdowns)
        .wide("media_errors", log.media_errors)
        .wide("num_err_log_entries", log.error_log_entries)
        .dec(
            "Warning Temperature Time",
            log.warning_temperature_minutes.get(),
        )
        .dec(
            "Critical Composite Temperature Time",
            log.critical_temperature_minutes.get(),
        );
    for (number, sensor) in (1..).zip(&log.temperature_sensors) {
        if sensor.get() != 0 {
            let name = format!("Temperature Sensor {number}");
            temperature(&mut report, &name, sensor.get());
        }
    }
    let [count1, count2, time1, time2] = log.thermal_management.map(U32::get);
    report
        .dec("Thermal Management T1 Trans Count", count1)
        .dec("Thermal Management T2 Trans Count", count2)
        .dec("Thermal Management T1 Total Time", time1)
        .dec("Thermal Management T2 Total Time", time2);
    report
}

/// A temperature: degrees Celsius for people, kelvin for programs.
fn temperature(report: &mut Report, name: &str, kelvin: u16) {
    let celsius = i32::from(kelvin) - 273;
    report.row(name, format!("{celsius} °C ({kelvin} K)"), kelvin);
}

fn percent(report: &mut Report, name: &str, value: u8) {
    report.row(name, format!("{value}%"), value);
}

/// Firmware Slot Information.
pub(in crate::device) fn firmware(log: &FirmwareSlotLog, device: &str) -> Report {
    let mut report = Report::new(format!("Firmware Log for device:{device}"), 5);
    report.hex("afi", log.active);
    for (number, revision) in (1..).zip(&log.revisions) {
        if *revision != [0; 8] {
            let text = ascii(revision);
            let value = u64::from_le_bytes(*revision);
            report.row(
                format!("frs{number}"),
                format!("{value:#016x} ({text})"),
                text.trim_end(),
            );
        }
    }
    report
}

fn changed(page: LogPageId, log: &[u8]) -> Report {
    let mut report = Report::new(format!("{page}:"), 0);
    let list = dwords(log).take_while(|nsid| *nsid != 0);
    let lines = list.map(|nsid| match nsid {
        u32::MAX => (
            "more namespaces changed than the list holds".into(),
            json!(nsid),
        ),
        nsid => (format!("[{nsid:4}]:{}", hex(nsid.into())), json!(nsid)),
    });
    report.lines("namespaces", lines.collect());
    report
}

fn effects(log: &[u8]) -> Report {
    let all: Vec<u32> = dwords(log).collect();
    let (admin, io) = all.split_at(all.len().min(256));
    let mut report = Report::new("", 0);
    let admin = (0..=u8::MAX)
        .zip(admin)
        .map(|(opcode, bits)| (opcode, AdminOpcode(opcode).to_string(), *bits));
    let io = (0..=u8::MAX)
        .zip(io)
        .map(|(opcode, bits)| (opcode, NvmOpcode(opcode).to_string(), *bits));
    report
        .lines(
            "admin_cmd_set",
            effect_lines("Admin Command Set", "ACS", admin),
        )
        .lines("io_cmd_set", effect_lines("NVM Command Set", "IOCS", io));
    report
}

fn effect_lines(
    title: &str,
    table: &str,
    entries: impl Iterator<Item = (u8, String, u32)>,
) -> Vec<(String, Value)> {
    let mut lines: Vec<_> = entries
        .filter(|(_, _, bits)| CommandEffects::from_bits(*bits).csupp())
        .map(|(opcode, name, bits)| {
            let label = format!("{table}{opcode:<3} [{name}]");
            let line = format!("{label:<48} {bits:08x}  {}", effect(bits));
            (
                line,
                json!({"opcode": opcode, "name": name, "effects": bits}),
            )
        })
        .collect();
    if let Some((first, _)) = lines.first_mut() {
        first.insert_str(0, &format!("{title}\n"));
    }
    lines
}

/// The effects of a command by the specification's abbreviations.
fn effect(bits: u32) -> String {
    let effects = CommandEffects::from_bits(bits);
    let named = [
        (effects.csupp(), "CSUPP"),
        (effects.lbcc(), "LBCC"),
        (effects.ncc(), "NCC"),
        (effects.nic(), "NIC"),
        (effects.ccc(), "CCC"),
        (effects.uuid_selection(), "USS"),
    ];
    let names: Vec<_> = named
        .into_iter()
        .filter_map(|(is, name)| is.then_some(name))
        .collect();
    names.join(" ")
}

/// Device Self-test.
pub(in crate::device) fn self_test(log: &SelfTestLog, device: &str) -> Report {
    let title = format!("Device Self Test Log for NVME device:{device}");
    let mut report = Report::new(title, 19);
    report.hex("Current operation", log.operation & 0xf).row(
        "Current Completion",
        format!("{}%", log.completion & 0x7f),
        log.completion & 0x7f,
    );
    let results = log.results.iter().enumerate();
    let results = results.filter(|(_, entry)| {
        let code = SelfTestStatus::from_bits(entry.status).result();
        SelfTestResult::from_code(code) != Some(SelfTestResult::Unused)
    });
    report.list("results", results.map(self_test_entry).collect());
    report
}

fn self_test_entry((number, entry): (usize, &SelfTestEntry)) -> Report {
    let status = SelfTestStatus::from_bits(entry.status);
    let (result, code) = (status.result(), status.code());
    let mut report = Report::new(format!("Self Test Result[{number}]:"), 31);
    report
        .row(
            "  Operation Result",
            format!("{} {}", hex(result.into()), self_test_result(result)),
            result,
        )
        .row(
            "  Self Test Code",
            format!("{code:x} {}", self_test_code(code)),
            code,
        );
    if SelfTestResult::from_code(result) == Some(SelfTestResult::SegmentFailed) {
        report.hex("  Segment Number", entry.segment);
    }
    report
        .hex("  Valid Diagnostic Information", entry.valid)
        .hex("  Power on hours (POH)", entry.power_on_hours.get());
    if entry.valid & SelfTestEntry::NSID_VALID != 0 {
        report.hex("  Namespace Identifier", entry.namespace_id.get());
    }
    if entry.valid & SelfTestEntry::LBA_VALID != 0 {
        report.hex("  Failing LBA", entry.failing_lba.get());
    }
    if entry.valid & SelfTestEntry::TYPE_VALID != 0 {
        report.hex("  Status Code Type", entry.status_code_type);
    }
    if entry.valid & SelfTestEntry::CODE_VALID != 0 {
        report.hex("  Status Code", entry.status_code);
    }
    report
}

/// How a self-test ended, in words.
pub(in crate::device) fn self_test_result(code: u8) -> &'static str {
    match SelfTestResult::from_code(code) {
        Some(SelfTestResult::Passed) => "Operation completed without error",
        Some(SelfTestResult::AbortedByCommand) => {
            "Operation was aborted by a Device Self-test command"
        }
        Some(SelfTestResult::AbortedByReset) => "Operation was aborted by a Controller Level Reset",
        Some(SelfTestResult::AbortedByNamespaceRemoval) => {
            "Operation was aborted due to a removal of a namespace"
        }
        Some(SelfTestResult::AbortedByFormat) => "Operation was aborted by a Format NVM command",
        Some(SelfTestResult::FatalError) => {
            "A fatal error occurred, the operation did not complete"
        }
        Some(SelfTestResult::UnknownSegmentFailed) => {
            "Operation completed with a segment that failed, and it is not known which"
        }
        Some(SelfTestResult::SegmentFailed) => {
            "Operation completed with one or more failed segments"
        }
        Some(SelfTestResult::AbortedUnknown) => "Operation was aborted for an unknown reason",
        Some(SelfTestResult::AbortedBySanitize) => {
            "Operation was aborted due to a sanitize operation"
        }
        Some(SelfTestResult::Unused) | None => "Reserved",
    }
}

fn self_test_code(code: u8) -> &'static str {
    match SelfTestOperation::from_code(code) {
        Some(SelfTestOperation::Short) => "Short device self-test operation",
        Some(SelfTestOperation::Extended) => "Extended device self-test operation",
        Some(SelfTestOperation::HostRefresh) => "Host-Initiated Refresh operation",
        Some(SelfTestOperation::Vendor) => "Vendor specific",
        _ => "Reserved",
    }
}

fn telemetry(log: &TelemetryHeader) -> Report {
    let mut report = Report::new("Telemetry Log:", 24);
    report
        .hex("lid", log.lid)
        .dec("area1_last_block", log.area1_last.get())
        .dec("area2_last_block", log.area2_last.get())
        .dec("area3_last_block", log.area3_last.get())
        .dec("area4_last_block", log.area4_last.get())
        .dec("host_scope", log.host_scope)
        .dec("host_generation_or_scope", log.host_generation_or_scope)
        .dec("controller_available", log.controller_available)
        .dec("controller_generation", log.controller_generation)
        .text("reason", ascii(&log.reason).trim_end());
    report
}

fn endurance_group(log: &EnduranceGroupLog, device: &str) -> Report {
    let title = format!("Endurance Group Log for NVME device:{device}");
    let mut report = Report::new(title, HEALTH);
    report
        .hex("critical_warning", log.critical_warning)
        .hex("endurance_group_features", log.features);
    percent(&mut report, "avl_spare", log.available_spare);
    percent(
        &mut report,
        "avl_spare_threshold",
        log.available_spare_threshold,
    );
    percent(&mut report, "percent_used", log.percentage_used);
    report
        .dec("domain_identifier", log.domain_id.get())
        .wide("endurance_estimate", log.endurance_estimate)
        .wide("data_units_read", log.data_units_read)
        .wide("data_units_written", log.data_units_written)
        .wide("media_units_written", log.media_units_written)
        .wide("host_read_cmds", log.host_reads)
        .wide("host_write_cmds", log.host_writes)
        .wide("media_data_integrity_err", log.media_errors)
        .wide("num_err_info_log_entries", log.error_log_entries)
        .wide("total_end_grp_cap", log.total_capacity)
        .wide("unalloc_end_grp_cap", log.unallocated_capacity);
    report
}

fn feature_effects(log: &[u8]) -> Report {
    let mut report = Report::new("FID Supports Effects Log:", 0);
    let entries = (0..=u8::MAX).zip(dwords(log)).filter_map(|(number, bits)| {
        let feature = FeatureId(number);
        FeatureEffects::from_bits(bits).fsupp().then(|| {
            let line = format!("FID {number:02x} -> Support Effects Log: {bits:08x} ({feature})");
            (
                line,
                json!({"fid": number, "name": feature.to_string(), "effects": bits}),
            )
        })
    });
    report.lines("features", entries.collect());
    report
}

fn reservation(log: &ReservationNotificationLog, device: &str) -> Report {
    let title = format!("NVME Reservation Notification for device:{device}");
    let mut report = Report::new(title, 14);
    report
        .dec("Log Page Count", log.count.get())
        .dec("Type", log.kind)
        .dec("Available", log.available)
        .hex("Namespace", log.namespace_id.get());
    report
}

/// Sanitize Status.
pub(in crate::device) fn sanitize(log: &SanitizeLog) -> Report {
    let status = SanitizeStatus::from_bits(log.status.get());
    let state = SanitizeState::from_bits(log.state);
    let mut report = Report::new("", 49);
    report
        .dec(
            "Sanitize Progress                      (SPROG)",
            log.progress.get(),
        )
        .row(
            "Sanitize Status                        (SSTAT)",
            format!(
                "{} ({})",
                hex(log.status.get().into()),
                sanitize_status(status)
            ),
            log.status.get(),
        )
        .hex(
            "Sanitize Command Dword 10 Information (SCDW10)",
            log.cdw10.get(),
        )
        .hex(
            "Sanitize State Information               (SSI)",
            state.into_bits(),
        );
    let estimates = [
        ("Estimated Time For Overwrite", log.overwrite_s),
        ("Estimated Time For Block Erase", log.block_erase_s),
        ("Estimated Time For Crypto Erase", log.crypto_erase_s),
        (
            "Estimated Time For Overwrite (No-Deallocate)",
            log.overwrite_no_deallocate_s,
        ),
        (
            "Estimated Time For Block Erase (No-Deallocate)",
            log.block_erase_no_deallocate_s,
        ),
        (
            "Estimated Time For Crypto Erase (No-Deallocate)",
            log.crypto_erase_no_deallocate_s,
        ),
        (
            "Estimated Time For Post-Verification Deallocation",
            log.post_verification_s,
        ),
    ];
    for (name, seconds) in estimates {
        let text = match seconds.get() {
            SanitizeLog::NO_ESTIMATE => "4294967295 (No time period reported)".into(),
            seconds => seconds.to_string(),
        };
        report.row(name, text, seconds.get());
    }
    report
}

/// The status of the most recent sanitize operation, in words.
pub(in crate::device) fn sanitize_status(status: SanitizeStatus) -> &'static str {
    match status.status() {
        SanitizeStatus::NEVER => "never sanitized",
        SanitizeStatus::SUCCEEDED => "sanitized",
        SanitizeStatus::IN_PROGRESS => "in progress",
        SanitizeStatus::FAILED => "failed",
        SanitizeStatus::SUCCEEDED_UNEXPECTED_DEALLOCATION => "sanitized, and deallocated",
        _ => "reserved",
    }
}

#[cfg(test)]
mod tests;
