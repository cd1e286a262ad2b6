//! The driver and the device, in one process and in virtual time.

use driver::{Command, ControllerOptions, QueueOptions};
use nvme::{DsmAttributes, DsmRange, Lba, Status, ZeroBased};
use traces::Clock;
use vssd_tests::sim::{Device, DeviceOptions};

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

fn blocks(count: u32) -> ZeroBased<u16> {
    ZeroBased::<u16>::of(count).unwrap()
}

/// A device that takes its time.
fn device() -> Device {
    Device::new(DeviceOptions {
        latency_ns: 5_000..=90_000,
        ..DeviceOptions::default()
    })
    .unwrap()
}

#[test]
fn the_driver_brings_the_device_up_and_learns_what_it_is() -> Result {
    let device = device();
    let controller = device.bring_up()?;
    let info = controller.info();
    assert_eq!(info.model, "vssd virtual NVMe SSD");
    assert_eq!(info.mdts_bytes, Some(1 << 20));
    assert_eq!(info.queue_pairs_max, 64);
    assert_eq!(info.namespaces.len(), 1);
    assert_eq!(info.namespaces[0].bytes(), 64 << 20);
    assert_eq!(info.namespaces[0].block_bytes, 512);
    Ok(())
}

#[test]
fn what_is_written_is_read_back_and_what_is_deallocated_is_zero() -> Result {
    let device = device();
    let mut controller = device.bring_up()?;
    let nsid = controller.info().namespaces[0].nsid;
    let mut pair = controller.create_queue_pair(QueueOptions::default())?;
    let mut data = controller.allocate_dma(8192)?;
    let back = controller.allocate_dma(8192)?;
    let mut page = controller.allocate_dma(4096)?;
    let mut random = fastrand::Rng::with_seed(7);
    let mut bytes = vec![0; 8192];
    random.fill(&mut bytes);
    data.write_at(0, &bytes)?;
    page.put(0, &DsmRange::new(Lba(104), 4))?;

    let mut execute = |command: Command<'_>| -> Status {
        let clock = &device.clock();
        pair.submit(command, 0, clock.now_ns()).unwrap();
        let mut status = None;
        while status.is_none() {
            pair.poll(clock, 1, |done| status = Some(done.status))
                .unwrap();
            clock.advance(1_000);
        }
        status.unwrap()
    };
    let at = Lba(100);
    let write = Command::write(nsid, at, blocks(16), data.slice(0, 8192)?);
    assert_eq!(execute(write.fua()), Status::SUCCESS);
    let read = Command::read(nsid, at, blocks(16), back.slice(0, 8192)?);
    assert_eq!(execute(read), Status::SUCCESS);
    let mut read_back = vec![0; 8192];
    back.read_at(0, &mut read_back)?;
    assert!(read_back == bytes, "the data is what was written");

    assert_eq!(execute(Command::flush(nsid)), Status::SUCCESS);
    let ranges = page.slice(0, size_of::<DsmRange>())?;
    let attributes = DsmAttributes::new().with_ad(true);
    let deallocate = Command::dataset_management(nsid, attributes, ranges)?;
    assert_eq!(execute(deallocate), Status::SUCCESS);
    assert_eq!(execute(read), Status::SUCCESS);
    back.read_at(0, &mut read_back)?;
    bytes[4 * 512..8 * 512].fill(0);
    assert!(
        read_back == bytes,
        "four blocks are zero, the others as they were"
    );

    let beyond = Command::read(nsid, Lba(64 << 20), blocks(1), back.slice(0, 512)?);
    assert!(execute(beyond).same_code(Status::LBA_OUT_OF_RANGE));
    Ok(())
}

#[test]
fn a_device_that_is_gone_or_hangs_is_noticed() -> Result {
    let gone = device();
    gone.unplug();
    let error = gone.bring_up().unwrap_err().to_string();
    assert!(error.contains("unplugged"), "{error}");

    let hung = device();
    let mut controller = hung.bring_up()?;
    hung.hang();
    let before_ns = hung.clock().now_ns();
    let error = controller.shutdown().unwrap_err().to_string();
    assert!(error.contains("shut down"), "{error}");
    let waited_ns = hung.clock().now_ns() - before_ns;
    let limit = ControllerOptions::default().admin_timeout;
    assert!(waited_ns >= u64::try_from(limit.as_nanos())?, "{waited_ns}");
    Ok(())
}
