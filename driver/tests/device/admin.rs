//! Admin commands by name, and raw ones, on a vssd.

use std::time::Duration;

use driver::{
    Data, DriverError, FeatureQuery, FeatureSetting, IdentifyRequest, LogRequest, QueueOptions,
};
use nvme::{
    AdminOpcode, Cns, FeatureId, FeatureSelect, IdentifyController, LogPageId, NSID_ALL,
    NamespaceId, NvmOpcode, ReadWriteCdw12, Sqe, Status, TemperatureThreshold,
};
use zerocopy::FromBytes as _;

use crate::common::{PATIENCE, Server};

const N0: NamespaceId = NamespaceId(0);
const N1: NamespaceId = NamespaceId(1);
/// An opcode that no controller has.
const NO_OPCODE: AdminOpcode = AdminOpcode(0x7e);

/// The status of a command that failed.
fn status<V: std::fmt::Debug>(result: Result<V, DriverError>) -> Status {
    match result.unwrap_err() {
        DriverError::CommandFailed { status, .. } => status,
        error => panic!("{error}"),
    }
}

#[test]
fn identify_gives_any_structure() {
    let server = Server::small();
    let mut device = server.connect();
    let page = device
        .identify_page(IdentifyRequest::new(Cns::CONTROLLER, N0))
        .unwrap();
    let whole = IdentifyController::read_from_bytes(&page).unwrap();
    assert_eq!(whole, device.identify_controller().unwrap());
    assert_eq!(whole.cntrltype, IdentifyController::TYPE_IO);
    let absent = IdentifyRequest::new(Cns::NAMESPACE, NamespaceId(0x7777_7777));
    assert!(status(device.identify_page(absent)).same_code(Status::INVALID_NAMESPACE_OR_FORMAT));
    // The page for small data is good after a failure.
    let again = device.identify_page(IdentifyRequest::new(Cns::CONTROLLER, N0));
    assert_eq!(again.unwrap(), page);
}

#[test]
fn log_pages_come_whole_and_in_parts() {
    let server = Server::small();
    let mut device = server.connect();
    let effects = LogPageId::COMMAND_EFFECTS;
    let whole = device.read_log(LogRequest::new(effects, 4096)).unwrap();
    let identify = usize::from(AdminOpcode::IDENTIFY.0) * 4;
    assert_eq!(whole[identify] & 1, 1, "Identify is supported");
    let part = LogRequest {
        offset: identify as u64,
        ..LogRequest::new(effects, 4)
    };
    assert_eq!(device.read_log(part).unwrap(), whole[identify..][..4]);
    let odd = device.read_log(LogRequest::new(effects, 6)).unwrap_err();
    assert!(odd.to_string().contains("dwords"), "{odd}");
    let smart = device.smart_log(NSID_ALL).unwrap();
    assert!(smart.temperature() > 273);
    let absent = LogRequest::new(LogPageId(0xef), 512);
    assert!(status(device.read_log(absent)).same_code(Status::INVALID_LOG_PAGE));
}

#[test]
fn features_have_values_capabilities_and_data() {
    let server = Server::small();
    let mut device = server.connect();
    let feature = FeatureId::TEMPERATURE_THRESHOLD;
    let default = device
        .get_feature(FeatureQuery {
            select: FeatureSelect::Default,
            ..FeatureQuery::new(feature)
        })
        .unwrap();
    let wanted = TemperatureThreshold::new().with_tmpth(333);
    device
        .set_feature(FeatureSetting::new(feature, wanted.into()))
        .unwrap();
    let now = device.get_feature(FeatureQuery::new(feature)).unwrap();
    assert_eq!(now.dword0, 333);
    assert_ne!(now.dword0, default.dword0);
    assert!(device.feature_capabilities(feature).unwrap().changeable());
    // One with a data structure.
    let timestamp = nvme::Timestamp::new(1_700_000_000_000, 0);
    let setting = FeatureSetting {
        data: zerocopy::IntoBytes::as_bytes(&timestamp),
        ..FeatureSetting::new(FeatureId::TIMESTAMP, 0)
    };
    device.set_feature(setting).unwrap();
    let query = FeatureQuery {
        bytes: 8,
        ..FeatureQuery::new(FeatureId::TIMESTAMP)
    };
    let data = device.get_feature(query).unwrap().data;
    let read = nvme::Timestamp::read_from_bytes(&data).unwrap();
    assert!((1_700_000_000_000..1_700_000_060_000).contains(&read.ms()));
}

#[test]
fn raw_commands_move_data_of_many_pages_both_ways() {
    let server = Server::small();
    let mut device = server.connect();
    let blocks = 64_u16;
    let bytes = usize::from(blocks) * 512;
    let pattern: Vec<u8> = (0..=250).cycle().take(bytes).collect();
    let cdw12 = ReadWriteCdw12::new().with_nlb(blocks - 1);
    let mut write = Sqe::new(NvmOpcode::WRITE.0, N1);
    write.set_slba(nvme::Lba(8));
    write.cdw12.set(cdw12.into());
    let write = device.io_data(write, Data::ToDevice(&pattern), PATIENCE);
    assert!(write.unwrap().data.is_empty());
    let mut read = Sqe::new(NvmOpcode::READ.0, N1);
    read.set_slba(nvme::Lba(8));
    read.cdw12.set(cdw12.into());
    let got = device.io_data(read, Data::FromDevice(bytes), PATIENCE);
    assert_eq!(got.unwrap().data, pattern);
    let mut beyond = Sqe::new(NvmOpcode::READ.0, N1);
    beyond.set_slba(nvme::Lba(1 << 40));
    let failed = device.io_data(beyond, Data::FromDevice(512), PATIENCE);
    assert!(status(failed).same_code(Status::LBA_OUT_OF_RANGE));
    // No queue pair is left behind: as many as ever can be made.
    let count = device.info().queue_pairs_max;
    for _ in 0..count {
        device.create_queue_pair(QueueOptions::default()).unwrap();
    }
}

#[test]
fn a_command_that_the_device_lacks_fails_by_its_status() {
    let server = Server::small();
    let mut device = server.connect();
    let sqe = Sqe::new(NO_OPCODE.0, N0);
    let failed = device.admin_data(sqe, Data::None, Duration::from_secs(5));
    assert!(status(failed).same_code(Status::INVALID_OPCODE));
    device.check().unwrap();
}

#[test]
fn a_firmware_image_that_is_no_number_of_dwords_stays_here() {
    let server = Server::small();
    let mut device = server.connect();
    let error = device
        .firmware_download(&[0; 7], PATIENCE, |_| panic!("nothing goes out"))
        .unwrap_err();
    assert!(error.to_string().contains("7 bytes"), "{error}");
}

#[test]
fn a_subsystem_reset_brings_the_controller_back_or_says_why_not() {
    let server = Server::small();
    let mut device = server.connect();
    let has = device.cap().nssrs();
    match device.reset_subsystem() {
        Ok(()) => assert!(has),
        Err(error) => {
            assert!(!has);
            assert!(error.to_string().contains("NSSRS"), "{error}");
        }
    }
    device.smart_log(NSID_ALL).unwrap();
}
