use nvme::{
    AdminOpcode, AsyncEvent, EnduranceGroupLog, LogPageId, NamespaceId, NvmOpcode, SmartLog, Sqe,
    Status,
};
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use crate::ControllerConfig;
use crate::host::{Host, Pair, io};
use crate::media::Ram;

const MIB: u64 = 1 << 20;
const SECOND_NS: u64 = 1_000_000_000;

fn drive(change: impl FnOnce(&mut ControllerConfig)) -> (Host<Ram>, Pair) {
    let mut config = ControllerConfig::default();
    change(&mut config);
    let mut host = Host::new(config, Ram::new(16 * MIB).unwrap());
    host.enable();
    let pair = host.create_pair(1, 64);
    (host, pair)
}

fn admin(opcode: AdminOpcode, cdw10: u32, cdw11: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
    sqe.cdw10 = U32::new(cdw10);
    sqe.cdw11 = U32::new(cdw11);
    sqe
}

fn set(host: &mut Host<Ram>, feature: u32, cdw11: u32) {
    let sqe = admin(AdminOpcode::SET_FEATURES, feature, cdw11);
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
}

/// A log page of a group, with the log specific identifier `lsi`.
fn log(host: &mut Host<Ram>, page: LogPageId, lsi: u32) -> Result<Vec<u8>, Status> {
    let at = host.pages(1);
    let mut sqe = admin(
        AdminOpcode::GET_LOG_PAGE,
        u32::from(page.0) | 127 << 16,
        lsi << 16,
    );
    sqe.prp1 = U64::new(at);
    match host.admin_status(sqe) {
        Status::SUCCESS => Ok(host.read(at, 512)),
        status => Err(status),
    }
}

fn smart(host: &mut Host<Ram>) -> SmartLog {
    SmartLog::read_from_bytes(&log(host, LogPageId::SMART, 0).unwrap()).unwrap()
}

fn group(host: &mut Host<Ram>) -> EnduranceGroupLog {
    let page = log(host, LogPageId::ENDURANCE_GROUP, 1).unwrap();
    EnduranceGroupLog::read_from_bytes(&page).unwrap()
}

fn event(host: &mut Host<Ram>) -> u32 {
    host.admin(admin(AdminOpcode::ASYNC_EVENT_REQUEST, 0, 0))
        .result
        .get()
}

/// Writes a mebibyte, `times` times.
fn write(host: &mut Host<Ram>, pair: &mut Pair, times: u64) {
    let list = host.pages(1);
    let first = host.pages(1);
    let entries: Vec<u8> = (0..255).flat_map(|_| first.to_le_bytes()).collect();
    host.write(list, &entries);
    for _ in 0..times {
        let sqe = io(NvmOpcode::WRITE, 0, 2048, first, list);
        assert_eq!(host.status(pair, sqe), Status::SUCCESS);
    }
}

/// Lets `seconds` pass, with looks at the clock each tenth of one.
fn pass(host: &mut Host<Ram>, seconds: u64) {
    for _ in 0..10 * seconds {
        host.clock.advance(SECOND_NS / 10);
        host.controller.device.look();
    }
}

/// Has `seconds` of full load pass.
fn work(host: &mut Host<Ram>, pair: &mut Pair, seconds: u64) {
    // All of the medium, and no data.
    let verify = io(NvmOpcode::VERIFY, 0, 32_768, 0, 0);
    for _ in 0..10 * seconds {
        // A tenth of what a full load has in a second.
        for _ in 0..21 {
            assert_eq!(host.status(pair, verify), Status::SUCCESS);
        }
        host.clock.advance(SECOND_NS / 10);
        host.controller.device.look();
    }
}

#[test]
fn a_drive_is_as_warm_as_its_work_and_tells_of_what_is_too_warm() {
    let (mut host, mut pair) = drive(|_| {});
    assert_eq!(smart(&mut host).temperature(), 303);
    // The temperature threshold is 330 kelvin; warnings of it are events.
    set(&mut host, 0x04, 330);
    set(&mut host, 0x0b, SmartLog::WARNING_TEMPERATURE.into());
    // Light thermal management from 320 kelvin on, heavy from 335.
    set(&mut host, 0x10, 320 << 16 | 335);
    pass(&mut host, 60);
    assert_eq!(smart(&mut host).temperature(), 303);
    work(&mut host, &mut pair, 30);
    let log = smart(&mut host);
    // 1 - 1/e of the way from 303 to 341.
    assert!(
        (325..=328).contains(&log.temperature()),
        "{}",
        log.temperature()
    );
    assert_eq!(log.critical_warning, 0);
    assert_eq!(log.thermal_management.map(U32::get)[..2], [1, 0]);
    work(&mut host, &mut pair, 120);
    let log = smart(&mut host);
    assert!(
        (339..=341).contains(&log.temperature()),
        "{}",
        log.temperature()
    );
    assert_eq!(log.critical_warning, SmartLog::WARNING_TEMPERATURE);
    let [light, heavy, light_s, heavy_s] = log.thermal_management.map(U32::get);
    assert_eq!((light, heavy), (1, 1));
    assert!((30..=50).contains(&light_s), "{light_s}");
    assert!((70..=110).contains(&heavy_s), "{heavy_s}");
    assert_eq!(event(&mut host), AsyncEvent::TEMPERATURE_THRESHOLD.dword0());
    // 150 seconds of work are two whole minutes.
    assert_eq!(u128::from_le_bytes(log.busy_minutes), 2);
    pass(&mut host, 300);
    let log = smart(&mut host);
    assert_eq!(log.temperature(), 303);
    assert_eq!(log.critical_warning, 0);
    assert_eq!(u128::from_le_bytes(log.busy_minutes), 2);
}

#[test]
fn minutes_that_were_too_warm_are_counted() {
    let (mut host, mut pair) = drive(|config| {
        config.warning_kelvin = 310;
        config.critical_kelvin = 330;
    });
    work(&mut host, &mut pair, 200);
    let log = smart(&mut host);
    // It takes some 6 seconds to 310 kelvin, and some 38 to 330.
    assert_eq!(log.warning_temperature_minutes.get(), 0);
    assert_eq!(log.critical_temperature_minutes.get(), 2);
    pass(&mut host, 60);
    assert!(smart(&mut host).warning_temperature_minutes.get() >= 1);
}

#[test]
fn what_is_written_wears_the_endurance_group_out_and_the_host_is_told() {
    let (mut host, mut pair) = drive(|config| config.endurance_bytes = 4 * MIB);
    assert_eq!(
        log(&mut host, LogPageId::ENDURANCE_GROUP, 2).unwrap_err(),
        Status::INVALID_FIELD.dnr().more()
    );
    // Spare warnings of group 1 are events, and their notices are wanted.
    set(
        &mut host,
        0x18,
        1 | u32::from(SmartLog::WARNING_SPARE) << 16,
    );
    set(
        &mut host,
        0x0b,
        1 << 14 | u32::from(SmartLog::WARNING_SPARE),
    );
    write(&mut host, &mut pair, 2);
    let zeroes = io(NvmOpcode::WRITE_ZEROES, 0, 2048, 0, 0);
    assert_eq!(host.status(&mut pair, zeroes), Status::SUCCESS);
    let at = group(&mut host);
    assert_eq!((at.percentage_used, at.available_spare), (75, 100));
    assert_eq!(u128::from_le_bytes(at.host_writes), 2);
    assert_eq!(u128::from_le_bytes(at.data_units_written), 1);
    assert_eq!(u128::from_le_bytes(at.total_capacity), u128::from(16 * MIB));
    assert_eq!(u128::from_le_bytes(at.unallocated_capacity), 0);
    let none = log(&mut host, LogPageId::ENDURANCE_GROUP_AGGREGATE, 0).unwrap();
    assert_eq!(none[..10], [0; 10]);

    write(&mut host, &mut pair, 5);
    let log_page = smart(&mut host);
    assert_eq!(
        (log_page.percentage_used, log_page.available_spare),
        (200, 0)
    );
    let spare = SmartLog::WARNING_SPARE | SmartLog::WARNING_DEGRADED;
    assert_eq!(log_page.critical_warning, spare);
    assert_eq!(log_page.endurance_group_warning, spare);
    let told = [event(&mut host), event(&mut host)];
    assert!(told.contains(&AsyncEvent::SPARE_BELOW_THRESHOLD.dword0()));
    assert!(told.contains(&AsyncEvent::ENDURANCE_GROUP_AGGREGATE_CHANGED.dword0()));
    let one = log(&mut host, LogPageId::ENDURANCE_GROUP_AGGREGATE, 0).unwrap();
    assert_eq!(one[..10], [1, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    // Whoever has read of the group knows.
    assert_eq!(group(&mut host).critical_warning, spare);
    let none = log(&mut host, LogPageId::ENDURANCE_GROUP_AGGREGATE, 0).unwrap();
    assert_eq!(none[..10], [0; 10]);
}

#[test]
fn groups_that_do_not_exist_have_no_events() {
    let (mut host, _) = drive(|_| {});
    for cdw11 in [0, 2, 1 | 1 << 17] {
        let sqe = admin(AdminOpcode::SET_FEATURES, 0x18, cdw11);
        let status = host.admin_status(sqe);
        assert!(status.same_code(Status::INVALID_FIELD), "{cdw11}: {status}");
    }
    set(&mut host, 0x18, 1 | 1 << 16);
    let get = admin(AdminOpcode::GET_FEATURES, 0x18, 1);
    assert_eq!(host.admin(get).result.get(), 1 | 1 << 16);
}
