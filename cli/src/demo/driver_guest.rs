//! The guest of `vssd demo --no-vm`: our driver, with a bit of everything.

use std::path::Path;

use anyhow::{Result, ensure};
use driver::ioworker::{IoSize, Ioworker, IoworkerOptions, Region, Size};
use driver::{Command, Controller, QueueOptions};
use nvme::{DsmAttributes, DsmRange, Lba, ZeroBased};
use traces::{Clock, MonotonicClock};

use crate::device::Device;
use crate::disk::Disk;
use crate::serve::{DriveArguments, Serving};

const DISK_BYTES: u64 = 256 << 20;

/// Works on a virtual SSD in memory, which records it into `trace`.
pub(super) fn record(trace: &Path, socket: &Path, clock: MonotonicClock) -> Result<()> {
    let drive = DriveArguments::plain(socket.to_owned(), Some(trace.to_owned()))
        .labelled("guest", "the driver of vssd");
    let serving = Serving::start(&Disk::Ram(DISK_BYTES), &drive)?;
    let mut controller = Device::VfioUser(serving.socket().to_owned()).open(clock)?;
    for (what, options) in phases() {
        let report = Ioworker::create(&mut controller, options)?.run(&clock)?;
        ensure!(
            report.errors() == 0,
            "{what}: {} commands failed",
            report.errors()
        );
        println!("  {what}: {:.0} IOPS", report.iops());
    }
    tidy(&mut controller, &clock)?;
    controller.shutdown()?;
    drop(controller);
    serving.stop()
}

fn phases() -> [(&'static str, IoworkerOptions); 3] {
    let plain = || IoworkerOptions {
        qdepth: 1,
        ..IoworkerOptions::default()
    };
    [
        (
            "128 KiB sequential writes, depth 8",
            IoworkerOptions {
                io_size: IoSize::One(Size::Bytes(128 << 10)),
                lba_random: 0,
                read_percentage: Some(0),
                qdepth: 8,
                io_count: Some(1000),
                ..plain()
            },
        ),
        (
            "4 KiB random reads and writes, depth 32, verified",
            IoworkerOptions {
                read_percentage: Some(70),
                qdepth: 32,
                verify: true,
                region: Region {
                    start: Size::Blocks(0),
                    end: Some(Size::Blocks(64 << 11)),
                },
                io_count: Some(20_000),
                ..plain()
            },
        ),
        (
            "4 KiB random reads, depth 1",
            IoworkerOptions {
                io_count: Some(5_000),
                ..plain()
            },
        ),
    ]
}

/// A flush, a discard of two ranges, and zeroes.
fn tidy<T: driver::transport::Transport, C: Clock>(
    controller: &mut Controller<T, C>,
    clock: &C,
) -> Result<()> {
    let nsid = nvme::NamespaceId(1);
    let mut queue = controller.create_queue_pair(QueueOptions::default())?;
    let mut ranges = controller.allocate_dma(4096)?;
    let discarded = [
        DsmRange::new(Lba(2048), 4096),
        DsmRange::new(Lba(65_536), 1024),
    ];
    ranges.put(0, &discarded)?;
    let discard = Command::dataset_management(
        nsid,
        DsmAttributes::new().with_ad(true),
        ranges.slice(0, size_of_val(&discarded))?,
    )?;
    let commands = [
        Command::flush(nsid),
        discard,
        Command::write_zeroes(nsid, Lba(0), ZeroBased(127)),
        Command::flush(nsid),
    ];
    for command in commands {
        queue
            .submit(command, 0, clock.now_ns())
            .map_err(|error| anyhow::anyhow!("cannot submit: {error}"))?;
        while queue.in_flight() > 0 {
            let mut status = nvme::Status::SUCCESS;
            queue.poll(clock, 1, |done| status = done.status)?;
            ensure!(status.is_success(), "a command failed: {status}");
        }
    }
    println!("  flush, discard, zeroes");
    Ok(())
}
