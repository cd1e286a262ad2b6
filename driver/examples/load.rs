//! Loads a device: `load SOCKET [DEPTH [SECONDS [READ% [IO_BYTES]]]]`.
//!
//! Pin it and the device to a core each for figures that mean something.

use std::io::Write;
use std::time::Duration;

use driver::ioworker::{IoSize, Ioworker, IoworkerOptions, Size};
use driver::transport::vfio_user::VfioUser;
use driver::{Controller, ControllerOptions};
use traces::MonotonicClock;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which socket?")?;
    let mut number = |default: u32| -> Result<u32, std::num::ParseIntError> {
        arguments.next().map_or(Ok(default), |text| text.parse())
    };
    let options = IoworkerOptions {
        qdepth: u16::try_from(number(32)?)?,
        time: Some(Duration::from_secs(u64::from(number(3)?))),
        read_percentage: Some(u8::try_from(number(100)?)?),
        io_size: IoSize::One(Size::Bytes(u64::from(number(4096)?))),
        ..IoworkerOptions::default()
    };
    let clock = MonotonicClock::start();
    let transport = VfioUser::connect(path.as_ref())?;
    let mut controller = Controller::initialise(transport, ControllerOptions::default(), clock)?;
    let report = Ioworker::create(&mut controller, options)?.run(&clock)?;
    let mut latency = report.reads.latency_ns.clone();
    latency.add(&report.writes.latency_ns)?;
    writeln!(
        std::io::stdout(),
        "{:.0} IOPS, {:.2} GB/s, mean {:.0} ns, p50 {} ns, p99 {} ns, max {} ns, {} errors",
        report.iops(),
        report.bytes_per_second() / 1e9,
        latency.mean(),
        latency.value_at_quantile(0.5),
        latency.value_at_quantile(0.99),
        latency.max(),
        report.errors()
    )?;
    controller.shutdown()?;
    Ok(())
}
