use zerocopy::IntoBytes as _;

use super::*;

fn text(page: LogPageId, log: &[u8]) -> String {
    report(page, log, "vfio-user:s").unwrap().to_text()
}

fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|at| at == *line), "{line:?}: {text}");
    }
}

#[test]
fn smart_has_the_form_of_nvme_cli() {
    let mut log = SmartLog {
        composite_temperature: 308_u16.to_le_bytes(),
        available_spare: 100,
        ..SmartLog::default()
    };
    log.data_units_read[1] = 1;
    log.temperature_sensors[1].set(310);
    let text = text(LogPageId::SMART, log.as_bytes());
    has(
        &text,
        &[
            "Smart Log for NVME device:vfio-user:s namespace-id:ffffffff",
            "critical_warning                        : 0",
            "temperature                             : 35 °C (308 K)",
            "available_spare                         : 100%",
            "Data Units Read                         : 256",
            "Temperature Sensor 2                    : 37 °C (310 K)",
        ],
    );
    assert!(!text.contains("Temperature Sensor 1 "), "{text}");
}

#[test]
fn a_log_cut_short_is_not_decoded() {
    assert!(report(LogPageId::SMART, &[0; 511], "d").is_none());
    assert!(report(LogPageId(0xc0), &[0; 512], "d").is_none());
}

#[test]
fn only_error_entries_that_are_there_are_shown() {
    let mut entries = [ErrorLogEntry::default(); 3];
    entries[0].error_count.set(9);
    entries[0]
        .status_phase
        .set(Status::LBA_OUT_OF_RANGE.dnr().field() << 1 | 1);
    let text = text(LogPageId::ERROR_INFORMATION, entries.as_bytes());
    has(
        &text,
        &[
            "Error Log Entries for device:vfio-user:s entries:1",
            " Entry[ 0]",
            "error_count     : 9",
            "status_field    : 0x4080 (LBA Out of Range (080h), do not retry)",
            "phase_tag       : 0x1",
        ],
    );
}

#[test]
fn effects_and_supported_pages_are_tables() {
    let mut log = [0_u8; 4096];
    log[0x06 * 4] = 1;
    log[1024 + 4] = 3;
    let shown = text(LogPageId::COMMAND_EFFECTS, &log);
    assert!(shown.contains("ACS6   [Identify]"), "{shown}");
    assert!(shown.contains("IOCS1   [Write]"), "{shown}");
    assert!(shown.contains("00000003  CSUPP LBCC"), "{shown}");
    let mut log = [0_u8; 1024];
    log[2 * 4] = 1;
    has(
        &text(LogPageId::SUPPORTED, &log),
        &["LID 0x2 (SMART / Health Information), supports 0x1"],
    );
}

#[test]
fn self_tests_that_were_are_listed() {
    let mut log = SelfTestLog::default();
    for entry in &mut log.results {
        entry.status = 0xf;
    }
    log.operation = 1;
    log.completion = 42;
    log.results[0].status = 0x27;
    log.results[0].segment = 3;
    log.results[0].valid = SelfTestEntry::LBA_VALID;
    log.results[0].failing_lba.set(0x80);
    let text = text(LogPageId::SELF_TEST, log.as_bytes());
    has(
        &text,
        &[
            "Current operation  : 0x1",
            "Current Completion : 42%",
            "  Operation Result             : 0x7 Operation completed with one or more failed segments",
            "  Self Test Code               : 2 Extended device self-test operation",
            "  Segment Number               : 0x3",
            "  Failing LBA                  : 0x80",
        ],
    );
    assert!(!text.contains("Result[1]"), "{text}");
}

#[test]
fn sanitize_says_what_it_cannot_estimate() {
    let mut log = SanitizeLog::default();
    log.progress.set(u16::MAX);
    log.status.set(0x101);
    log.overwrite_s.set(u32::MAX);
    log.block_erase_s.set(7);
    let text = text(LogPageId::SANITIZE_STATUS, log.as_bytes());
    assert!(text.contains("(SPROG)   : 65535"), "{text}");
    assert!(text.contains("(SSTAT)   : 0x101 (sanitized)"), "{text}");
    assert!(
        text.contains("4294967295 (No time period reported)"),
        "{text}"
    );
    assert!(
        text.contains("Estimated Time For Block Erase                   : 7"),
        "{text}"
    );
}

#[test]
fn firmware_slots_in_use_have_their_revision() {
    let mut log = FirmwareSlotLog {
        active: 1,
        ..FirmwareSlotLog::default()
    };
    log.revisions[0] = *b"1.0     ";
    let report = report(LogPageId::FIRMWARE_SLOT, log.as_bytes(), "d").unwrap();
    has(
        &report.to_text(),
        &["afi  : 0x1", "frs1 : 0x2020202020302e31 (1.0     )"],
    );
    assert_eq!(report.to_json(), json!({"afi": 1, "frs1": "1.0"}));
}

#[test]
fn lost_blocks_are_told_range_by_range_and_a_page_cut_short_is_not() {
    let mut log = vec![64, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 2, 0];
    log.extend([1, 0, 0, 0, 2, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0]);
    log.extend([10, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    log.extend([100, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let told = text(LogPageId::LBA_STATUS, &log);
    has(
        &told,
        &[
            "LBA Status Log Page Length           (LSLPLEN) : 64",
            "Estimate of Unrecoverable Blocks      (ESTULB) : 6",
            "LBA Status Generation Counter           (LSGC) : 2",
        ],
    );
    assert!(told.contains("slba 0xa, blocks 5"), "{told}");
    assert!(told.contains("slba 0x64, blocks 1"), "{told}");
    assert!(report(LogPageId::LBA_STATUS, &log[..60], "s").is_none());
    log[20..24].fill(0xff);
    let whole = text(LogPageId::LBA_STATUS, &log);
    assert!(whole.contains("all of the namespace"), "{whole}");
}

#[test]
fn groups_with_events_are_listed() {
    let log = [1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 9, 0];
    let told = text(LogPageId::ENDURANCE_GROUP_AGGREGATE, &log);
    has(&told, &["Number of Entries : 1", "[   0]:0x7"]);
    assert!(!told.contains("0x9"), "{told}");
}
