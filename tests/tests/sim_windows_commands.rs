//! The commands that the NVMe driver of Windows, stornvme.sys, sends on its own
//! and for the programs above it, on the whole controller in virtual time.
//!
//! Which commands those are is Microsoft's to say: its documents "StorNVMe
//! command set support" and "NVMe feature and extended capability support" list
//! them. What they carry is not told there: the fields are chosen here, as the
//! specification allows them. No trace of a real driver is behind these tests.

use driver::transport::Transport;
use nvme::{
    AdminOpcode, Cns, CommandEffects, Cqe, DSM_RANGES_MAX, DsmAttributes, DsmRange, FeatureId,
    FirmwareCommitCdw10, FormatCdw10, HmbDescriptor, HostMemoryBufferCdw11, HostThermalManagement,
    LogPageId, NSID_ALL, NamespaceId, NamespaceIdDescriptor, NumberOfQueues, NvmOpcode,
    SanitizeCdw10, SanitizeStatus, Sqe, Status, TelemetryHeader,
};
use vssd::{Activation, ControllerConfig, firmware_image};
use vssd_tests::sim::polled::Polled;
use vssd_tests::sim::{Device, DeviceOptions};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Blocks of the page of data.
const BLOCKS: u32 = 8;

fn enabled(config: ControllerConfig) -> Result<Polled> {
    let device = Device::new(DeviceOptions {
        config,
        ..DeviceOptions::default()
    })?;
    let mut host = Polled::attach(&device)?;
    host.enable()?;
    Ok(host)
}

fn quick() -> ControllerConfig {
    let mut config = ControllerConfig {
        format_ns: 1_000_000,
        sanitize_ns: 1_000_000,
        hmb_preferred_bytes: 64 << 10,
        ..ControllerConfig::default()
    };
    config.services.self_test.short_ns = 1_000_000;
    config
}

fn admin(opcode: AdminOpcode, nsid: u32, cdw10: u32, cdw11: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(nsid));
    sqe.cdw10.set(cdw10);
    sqe.cdw11.set(cdw11);
    sqe
}

fn succeed(host: &mut Polled, queue: usize, sqe: Sqe) -> Result<Cqe> {
    let cqe = host.execute(queue, sqe)?;
    assert_eq!(cqe.status(), Status::SUCCESS, "{sqe:?}");
    Ok(cqe)
}

fn set(host: &mut Polled, feature: FeatureId, cdw11: u32) -> Result<u32> {
    let sqe = admin(AdminOpcode::SET_FEATURES, 0, feature.0.into(), cdw11);
    Ok(succeed(host, 0, sqe)?.result.get())
}

fn get(host: &mut Polled, feature: FeatureId, cdw11: u32) -> Result<u32> {
    let sqe = admin(AdminOpcode::GET_FEATURES, 0, feature.0.into(), cdw11);
    Ok(succeed(host, 0, sqe)?.result.get())
}

fn log_page(page: LogPageId, parameter: u32, bytes: u32, offset: u32) -> Sqe {
    let cdw10 = (bytes / 4 - 1) << 16 | parameter << 8 | u32::from(page.0);
    let mut sqe = admin(AdminOpcode::GET_LOG_PAGE, NSID_ALL.0, cdw10, 0);
    sqe.cdw12.set(offset);
    sqe
}

/// The page of data at the start of the namespace, through the pair of queues 1.
fn transfer(host: &mut Polled, opcode: NvmOpcode) -> Result {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
    sqe.cdw12.set(BLOCKS - 1);
    succeed(host, 1, sqe)?;
    Ok(())
}

fn with_data(config: ControllerConfig) -> Result<Polled> {
    let mut host = enabled(config)?;
    host.create_queues(1)?;
    host.data.fill(0, 4096, 0x5a)?;
    transfer(&mut host, NvmOpcode::WRITE)?;
    Ok(host)
}

/// The bytes of the page that are as they were written.
fn kept(host: &mut Polled) -> Result<usize> {
    host.data.fill(0, 4096, 0xff)?;
    transfer(host, NvmOpcode::READ)?;
    let page: [u8; 4096] = host.data.get(0)?;
    Ok(page.iter().filter(|byte| **byte == 0x5a).count())
}

/// "StorNVMe command set support": Set Features and Get Features are sent by
/// the driver itself. Which ones is not told, but for host controlled thermal
/// management; the others follow from the specification.
#[test]
fn features_that_are_a_dword_are_set_and_read_back() -> Result {
    let mut host = enabled(quick())?;
    let queues = NumberOfQueues::new().with_nsq(3).with_ncq(3).into_bits();
    assert_eq!(set(&mut host, FeatureId::NUMBER_OF_QUEUES, queues)?, queues);
    let thermal = HostThermalManagement::new().with_tmt1(320).with_tmt2(340);
    for (feature, value) in [
        (FeatureId::HOST_THERMAL_MANAGEMENT, thermal.into_bits()),
        (FeatureId::ARBITRATION, 3),
        (FeatureId::POWER_MANAGEMENT, 1),
        (FeatureId::TEMPERATURE_THRESHOLD, 350),
        (FeatureId::VOLATILE_WRITE_CACHE, 0),
        (FeatureId::INTERRUPT_COALESCING, 0x0104),
        (FeatureId::ASYNC_EVENT_CONFIG, 0x011f),
    ] {
        assert_ne!(get(&mut host, feature, 0)?, value, "{feature}: no change");
        set(&mut host, feature, value)?;
        assert_eq!(get(&mut host, feature, 0)?, value, "{feature}");
    }
    Ok(())
}

/// "NVMe feature and extended capability support": autonomous transitions are
/// disabled unless somebody asks for them. The timestamp and the host
/// identifier follow from the specification.
#[test]
fn features_that_have_data_are_set_and_read_back() -> Result {
    let mut host = enabled(quick())?;
    host.data.fill(0, 256, 0)?;
    set(&mut host, FeatureId::APST, 0)?;
    assert_eq!(get(&mut host, FeatureId::APST, 0)?, 0);

    // Milliseconds in 48 bits; the time goes on from there.
    let then = 0x0123_4567_89ab_u64;
    host.data.put(0, &then)?;
    set(&mut host, FeatureId::TIMESTAMP, 0)?;
    host.data.fill(0, 8, 0)?;
    get(&mut host, FeatureId::TIMESTAMP, 0)?;
    let now = host.data.get::<u64>(0)? & 0xffff_ffff_ffff;
    assert!((then..then + 1_000).contains(&now), "{now:#x}");

    // 128 bits, as the bit says.
    let identifier = [0xc3_u8; 16];
    host.data.put(0, &identifier)?;
    set(&mut host, FeatureId::HOST_IDENTIFIER, 1)?;
    host.data.fill(0, 16, 0)?;
    get(&mut host, FeatureId::HOST_IDENTIFIER, 1)?;
    assert_eq!(host.data.get::<[u8; 16]>(0)?, identifier);
    Ok(())
}

/// "NVMe feature and extended capability support": Host Memory Buffer. It is
/// given, taken back before sleep, and given again.
#[test]
fn a_host_memory_buffer_is_given_and_taken_back() -> Result {
    let mut host = enabled(quick())?;
    let memory = host.path.allocate_dma(64 << 10)?;
    let descriptor = HmbDescriptor {
        badd: memory.iova().into(),
        bsize: 16.into(),
        reserved12: [0; 4],
    };
    let list = host.data.iova();
    let enable = HostMemoryBufferCdw11::new().with_ehm(true).into_bits();
    for _ in 0..2 {
        host.data.put(0, &descriptor)?;
        let feature = FeatureId::HOST_MEMORY_BUFFER;
        let mut sqe = admin(AdminOpcode::SET_FEATURES, 0, feature.0.into(), enable);
        sqe.cdw12.set(16);
        sqe.cdw13.set(u32::try_from(list & 0xffff_ffff)?);
        sqe.cdw14.set(u32::try_from(list >> 32)?);
        sqe.cdw15.set(1);
        succeed(&mut host, 0, sqe)?;
        assert_eq!(get(&mut host, feature, 0)?, enable);
        set(&mut host, feature, 0)?;
        assert_eq!(get(&mut host, feature, 0)?, 0);
    }
    Ok(())
}

/// "StorNVMe command set support": Get Log Page, for `IOCTL_STORAGE_QUERY_PROPERTY`
/// as well; vendor specific commands are let through where CSUPP says so.
#[test]
fn log_pages_have_what_they_are_asked_for() -> Result {
    let mut host = enabled(quick())?;
    host.data.fill(0, 4096, 0xff)?;
    succeed(&mut host, 0, log_page(LogPageId::SMART, 0, 512, 0))?;
    let kelvin = host.data.get::<[u8; 2]>(1)?;
    assert!((273..343).contains(&u16::from_le_bytes(kelvin)));
    // Not one byte more than was asked for.
    assert_eq!(host.data.get::<u8>(512)?, 0xff);

    succeed(&mut host, 0, log_page(LogPageId::FIRMWARE_SLOT, 0, 512, 0))?;
    assert_eq!(host.data.get::<u8>(0)?, 1, "slot 1 runs");
    succeed(
        &mut host,
        0,
        log_page(LogPageId::ERROR_INFORMATION, 0, 64, 0),
    )?;
    assert_eq!(host.data.get::<u64>(0)?, 0, "no error yet");

    succeed(
        &mut host,
        0,
        log_page(LogPageId::COMMAND_EFFECTS, 0, 4096, 0),
    )?;
    let of = |host: &Polled, at: u8| -> Result<bool> {
        let bits: u32 = host.data.get(4 * usize::from(at))?;
        Ok(CommandEffects::from_bits(bits).csupp())
    };
    assert!(of(&host, AdminOpcode::IDENTIFY.0)?);
    assert!(of(&host, AdminOpcode::FORMAT_NVM.0)?);
    assert!(!of(&host, 0xc0)?, "vendor specific");

    // From an offset: the same bytes as in the whole.
    let whole: [u8; 64] = host.data.get(1024)?;
    succeed(
        &mut host,
        0,
        log_page(LogPageId::COMMAND_EFFECTS, 0, 64, 1024),
    )?;
    assert_eq!(host.data.get::<[u8; 64]>(0)?, whole);
    assert!(whole.iter().any(|byte| *byte != 0));
    Ok(())
}

/// "NVMe feature and extended capability support": telemetry, of the host by
/// `IOCTL_STORAGE_GET_DEVICE_INTERNAL_LOG`: made with the first read, which has
/// the head, and read in pieces then.
#[test]
fn telemetry_is_made_and_read_in_pieces() -> Result {
    let mut host = enabled(quick())?;
    let create = TelemetryHeader::LSP_CREATE.into();
    succeed(
        &mut host,
        0,
        log_page(LogPageId::TELEMETRY_HOST, create, 512, 0),
    )?;
    let head: TelemetryHeader = host.data.get(0)?;
    assert_eq!(head.lid, LogPageId::TELEMETRY_HOST.0);
    assert!(head.area1_last.get() > 0);
    for block in 0..=u32::from(head.area1_last.get()) {
        let sqe = log_page(LogPageId::TELEMETRY_HOST, 0, 512, 512 * block);
        succeed(&mut host, 0, sqe)?;
        let again: TelemetryHeader = host.data.get(0)?;
        assert_eq!(again == head, block == 0, "block {block}");
    }
    Ok(())
}

/// "StorNVMe command set support": Identify. That a disk keeps its name follows
/// from its namespace's descriptors, of which the UUID is one.
#[test]
fn the_namespace_is_described_by_its_uuid() -> Result {
    let uuid = [0xa5; 16];
    let mut host = enabled(ControllerConfig {
        uuid: Some(uuid),
        ..quick()
    })?;
    let cns = Cns::NAMESPACE_DESCRIPTORS.0.into();
    succeed(&mut host, 0, admin(AdminOpcode::IDENTIFY, 1, cns, 0))?;
    let page: [u8; 4096] = host.data.get(0)?;
    let head = size_of::<NamespaceIdDescriptor>();
    let (mut rest, mut found) = (&page[..], None);
    while rest[0] != 0 {
        let bytes = usize::from(rest[1]);
        if rest[0] == nvme::NamespaceIdType::Uuid as u8 {
            found = Some(rest[head..head + bytes].to_vec());
        }
        rest = &rest[head + bytes..];
    }
    assert_eq!(found.as_deref(), Some(&uuid[..]));
    Ok(())
}

/// "StorNVMe command set support": of Dataset Management, only the deallocation,
/// for SCSIOP_UNMAP. As many ranges as a command can have.
#[test]
fn a_trim_of_256_ranges_takes_what_they_name_and_no_more() -> Result {
    let mut host = with_data(quick())?;
    let ranges = u32::try_from(DSM_RANGES_MAX)?;
    for at in 0..ranges {
        // The first and the last are a quarter of the page of data each, the
        // others are single blocks far behind it.
        let (blocks, slba) = match at {
            0 => (BLOCKS / 4, 0),
            255 => (BLOCKS / 4, u64::from(BLOCKS / 4)),
            _ => (1, u64::from(1024 + 2 * at)),
        };
        let range = DsmRange {
            context: 0.into(),
            blocks: blocks.into(),
            slba: slba.into(),
        };
        host.data
            .put(size_of::<DsmRange>() * usize::try_from(at)?, &range)?;
    }
    let mut sqe = Sqe::new(NvmOpcode::DATASET_MANAGEMENT.0, NamespaceId(1));
    sqe.cdw10.set(ranges - 1);
    sqe.cdw11
        .set(DsmAttributes::new().with_ad(true).into_bits());
    succeed(&mut host, 1, sqe)?;
    assert_eq!(kept(&mut host)?, 2048);
    let first: [u8; 2048] = host.data.get(0)?;
    assert!(first.iter().all(|byte| *byte == 0));
    Ok(())
}

/// "StorNVMe command set support": Format NVM, for `IOCTL_STORAGE_REINITIALIZE_MEDIA`
/// with a cryptographic erase only.
#[test]
fn a_cryptographic_format_leaves_nothing() -> Result {
    const CRYPTOGRAPHIC: u8 = 2;
    let mut host = with_data(quick())?;
    assert_eq!(kept(&mut host)?, 4096);
    let cdw10 = FormatCdw10::new().with_ses(CRYPTOGRAPHIC).into_bits();
    succeed(&mut host, 0, admin(AdminOpcode::FORMAT_NVM, 1, cdw10, 0))?;
    assert_eq!(kept(&mut host)?, 0);
    Ok(())
}

/// "StorNVMe command set support": Sanitize. It goes on behind the command; the
/// log tells when it is done.
#[test]
fn a_sanitize_goes_on_behind_its_command_and_leaves_nothing() -> Result {
    let mut host = with_data(quick())?;
    let cdw10 = SanitizeCdw10::new().with_sanact(SanitizeCdw10::BLOCK_ERASE);
    let sqe = admin(AdminOpcode::SANITIZE, 0, cdw10.into_bits(), 0);
    succeed(&mut host, 0, sqe)?;
    let mut seen = Vec::new();
    for _ in 0..1_000 {
        succeed(
            &mut host,
            0,
            log_page(LogPageId::SANITIZE_STATUS, 0, 512, 0),
        )?;
        let status = SanitizeStatus::from_bits(host.data.get::<u16>(2)?).status();
        seen.push(status);
        if status != SanitizeStatus::IN_PROGRESS {
            break;
        }
        host.pause();
    }
    assert_eq!(seen.first(), Some(&SanitizeStatus::IN_PROGRESS));
    assert_eq!(seen.last(), Some(&SanitizeStatus::SUCCEEDED));
    assert_eq!(kept(&mut host)?, 0);
    Ok(())
}

/// "NVMe feature and extended capability support": slot 1 is read-only, images
/// go to others, and are activated without a reset (`IOCTL_STORAGE_FIRMWARE_DOWNLOAD`,
/// `IOCTL_STORAGE_FIRMWARE_ACTIVATE`).
#[test]
fn firmware_comes_in_pieces_and_runs_without_a_reset() -> Result {
    const PIECE: usize = 4096;
    let mut host = enabled(quick())?;
    // The granularity that the controller reports holds for the last piece too.
    let make = |payload: &[u8]| firmware_image("2.0", Activation::Immediate, 0, payload);
    let head = make(&[]).ok_or("too long")?.len();
    let image = make(&vec![7; 3 * PIECE - head]).ok_or("too long")?;
    assert_eq!(image.len(), 3 * PIECE);
    for (at, piece) in image.chunks(PIECE).enumerate() {
        for (to, byte) in piece.iter().enumerate() {
            host.data.put(to, byte)?;
        }
        let dwords = u32::try_from(piece.len() / 4)?;
        let offset = u32::try_from(at * PIECE / 4)?;
        let sqe = admin(AdminOpcode::FIRMWARE_DOWNLOAD, 0, dwords - 1, offset);
        succeed(&mut host, 0, sqe)?;
    }
    let commit = |slot, action| {
        let cdw10 = FirmwareCommitCdw10::new().with_fs(slot).with_ca(action);
        admin(AdminOpcode::FIRMWARE_COMMIT, 0, cdw10.into_bits(), 0)
    };
    let refused = host.execute(0, commit(1, FirmwareCommitCdw10::REPLACE))?;
    let expected = Status::INVALID_FIRMWARE_SLOT;
    assert!(refused.status().same_code(expected), "{}", refused.status());
    succeed(&mut host, 0, commit(2, FirmwareCommitCdw10::REPLACE))?;
    succeed(&mut host, 0, commit(2, FirmwareCommitCdw10::ACTIVATE_NOW))?;
    succeed(&mut host, 0, log_page(LogPageId::FIRMWARE_SLOT, 0, 512, 0))?;
    assert_eq!(host.data.get::<u8>(0)? & 7, 2, "slot 2 runs");
    let cns = Cns::CONTROLLER.0.into();
    succeed(&mut host, 0, admin(AdminOpcode::IDENTIFY, 0, cns, 0))?;
    assert_eq!(&host.data.get::<[u8; 8]>(64)?, b"2.0     ");
    Ok(())
}

/// "NVMe feature and extended capability support": Device Self-test, by
/// `IOCTL_STORAGE_PROTOCOL_COMMAND`.
#[test]
fn a_self_test_runs_and_reports() -> Result {
    const SHORT: u32 = 1;
    let mut host = enabled(quick())?;
    let sqe = admin(AdminOpcode::DEVICE_SELF_TEST, NSID_ALL.0, SHORT, 0);
    succeed(&mut host, 0, sqe)?;
    let mut running = 0;
    for _ in 0..1_000 {
        succeed(&mut host, 0, log_page(LogPageId::SELF_TEST, 0, 564, 0))?;
        if host.data.get::<u8>(0)? & 0xf == 0 {
            break;
        }
        running += 1;
        host.pause();
    }
    assert!(running > 0, "it takes its time");
    // The newest result: a short test that passed.
    assert_eq!(host.data.get::<u8>(4)?, 0x10);
    Ok(())
}
