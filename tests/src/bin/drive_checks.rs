//! Drives a real drive by VFIO, inside of a guest, and checks what comes of it.
//!
//! `drive_checks ADDRESS CHECK…`: each check brings the drive up, prints what it
//! saw, and leaves the drive shut down. **What is on the second namespace is
//! lost.** The first thing that is not as it should be ends the program.
#![expect(clippy::print_stdout, reason = "a program that tells what it does")]

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use driver::pci::{Aspm, PciConfig, PowerState};
use driver::transport::Transport as _;
use driver::transport::vfio::{Interface, Vfio};
use driver::{
    Command, Completed, Controller, ControllerOptions, DmaBuffer, DriverError, Interrupt,
    NamespaceInfo, QueueOptions, QueuePair, Recovery,
};
use nvme::{
    CopyCdw12, CopyRange, DsmAttributes, DsmRange, FormatCdw10, Lba, NamespaceId, NvmOpcode, Sqe,
    Status, ZeroBased,
};
use traces::{Clock as _, MonotonicClock};

type Drive = Controller<Vfio, MonotonicClock>;

const PATIENCE: Duration = Duration::from_secs(60);
const SCRATCH: NamespaceId = NamespaceId(2);

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().context("give a PCI address")?;
    for check in words {
        let clock = MonotonicClock::start();
        let mut drive = open(&address, clock)?;
        match check.as_str() {
            "interface" => println!("opened by {:?}", drive.transport().interface()),
            "commands" => commands(&mut drive, clock)?,
            "format" => format(&mut drive)?,
            "queues" => queues(&mut drive, clock)?,
            "interrupts" => interrupts(&mut drive, clock)?,
            "config" => config(&mut drive, clock)?,
            "reset" => reset_under_load(&mut drive, clock)?,
            "timeout" => timeout(&mut drive, clock)?,
            "unplug" => return unplug(drive, clock),
            other => bail!("no check {other}"),
        }
        drive.shutdown()?;
        println!("ok {check}");
    }
    Ok(())
}

/// By the interface that `VSSD_VFIO` names, or any.
fn open(address: &str, clock: MonotonicClock) -> Result<Drive> {
    let interface = match std::env::var("VSSD_VFIO").as_deref() {
        Ok("group") => Interface::Group,
        Ok("iommufd") => Interface::Iommufd,
        _ => Interface::Any,
    };
    let transport = Vfio::open_by(address.parse()?, interface)?;
    Ok(Controller::initialise(
        transport,
        ControllerOptions::default(),
        clock,
    )?)
}

fn namespace(drive: &Drive, nsid: NamespaceId) -> Result<NamespaceInfo> {
    drive.info().namespace(nsid).context("no such namespace")
}

/// Polls until nothing is in flight.
fn drain(
    pair: &mut QueuePair,
    clock: MonotonicClock,
    mut sink: impl FnMut(Completed),
) -> Result<()> {
    let until_ns = clock.now_ns() + u64::try_from(PATIENCE.as_nanos())?;
    while pair.in_flight() > 0 {
        if pair.poll(&clock, 64, &mut sink)? == 0 {
            std::thread::yield_now();
        }
        ensure!(clock.now_ns() < until_ns, "{pair:?} hangs");
    }
    Ok(())
}

fn run(pair: &mut QueuePair, clock: MonotonicClock, command: Command<'_>) -> Result<Status> {
    let told = format!("{command:?}");
    if let Err(error) = pair.submit(command, 0, clock.now_ns()) {
        bail!("{told}: {}", error.reason);
    }
    let mut status = None;
    drain(pair, clock, |done| status = Some(done.status))?;
    status.context("it was never over")
}

fn succeed(pair: &mut QueuePair, clock: MonotonicClock, command: Command<'_>) -> Result<()> {
    let told = format!("{command:?}");
    let status = run(pair, clock, command)?;
    ensure!(status.is_success(), "{told}: {status}");
    Ok(())
}

fn is_filled(buffer: &DmaBuffer, bytes: usize, value: u8) -> Result<bool> {
    let mut data = vec![0; bytes];
    buffer.read_at(0, &mut data)?;
    Ok(data.iter().all(|byte| *byte == value))
}

/// Every command of the NVM command set that QEMU's drive has.
fn commands(drive: &mut Drive, clock: MonotonicClock) -> Result<()> {
    for nsid in [NamespaceId(1), SCRATCH] {
        let info = namespace(drive, nsid)?;
        let block = usize::try_from(info.block_bytes)?;
        let mut pair = drive.create_queue_pair(QueueOptions::default())?;
        let id = pair.id();
        let bytes = 8 * block;
        let mut data = drive.allocate_dma(bytes)?;
        let mut list = drive.allocate_dma(4096)?;
        let eight = ZeroBased::<u16>::of(8).context("eight")?;
        // The end of the namespace, which nothing else uses.
        let lba = Lba(info.blocks - 64);
        let other = Lba(info.blocks - 32);

        data.fill(0, bytes, 0x5a)?;
        let write = Command::write(nsid, lba, eight, data.slice(0, bytes)?);
        succeed(&mut pair, clock, write.fua())?;
        succeed(&mut pair, clock, Command::flush(nsid))?;
        let compare = Command::compare(nsid, lba, eight, data.slice(0, bytes)?);
        succeed(&mut pair, clock, compare)?;
        data.fill(0, 1, 0)?;
        let compare = Command::compare(nsid, lba, eight, data.slice(0, bytes)?);
        let status = run(&mut pair, clock, compare)?;
        ensure!(
            status.same_code(Status::COMPARE_FAILURE),
            "compare: {status}"
        );
        succeed(&mut pair, clock, Command::verify(nsid, lba, eight))?;

        let range = CopyRange::new(lba, 8).context("a range")?;
        list.put(0, &range)?;
        let mut sqe = Sqe::new(NvmOpcode::COPY.0, nsid);
        sqe.set_slba(other);
        sqe.cdw12.set(CopyCdw12::new().into_bits());
        let copy = Command::raw(sqe, Some(list.slice(0, size_of::<CopyRange>())?));
        succeed(&mut pair, clock, copy)?;
        data.fill(0, bytes, 0)?;
        let read = Command::read(nsid, other, eight, data.slice(0, bytes)?);
        succeed(&mut pair, clock, read)?;
        ensure!(is_filled(&data, bytes, 0x5a)?, "the copy differs");

        succeed(&mut pair, clock, Command::write_zeroes(nsid, other, eight))?;
        let read = Command::read(nsid, other, eight, data.slice(0, bytes)?);
        succeed(&mut pair, clock, read)?;
        ensure!(is_filled(&data, bytes, 0)?, "the blocks are not zeroed");

        let range = DsmRange::new(lba, 8);
        list.put(0, &range)?;
        let deallocate = DsmAttributes::new().with_ad(true);
        let ranges = list.slice(0, size_of::<DsmRange>())?;
        let trim = Command::dataset_management(nsid, deallocate, ranges)?;
        succeed(&mut pair, clock, trim)?;

        let past = Command::read(nsid, Lba(info.blocks), eight, data.slice(0, bytes)?);
        let status = run(&mut pair, clock, past)?;
        ensure!(
            status.same_code(Status::LBA_OUT_OF_RANGE),
            "past the end: {status}"
        );
        drive.delete_queue_pair(id)?;
        println!("commands on {nsid}: blocks of {block} bytes");
    }
    Ok(())
}

/// Formats the second namespace with blocks of 512 bytes, and back.
fn format(drive: &mut Drive) -> Result<()> {
    for (format, bytes) in [(0, 512), (4, 4096)] {
        let cdw10 = FormatCdw10::new().with_lbafl(format);
        drive.format(SCRATCH, cdw10, PATIENCE)?;
        let info = namespace(drive, SCRATCH)?;
        ensure!(info.block_bytes == bytes, "{info:?}");
        println!("formatted: {} blocks of {bytes} bytes", info.blocks);
    }
    Ok(())
}

/// One queue pair, two, and so on up to 16, all of them at work at once.
fn queues(drive: &mut Drive, clock: MonotonicClock) -> Result<()> {
    let info = namespace(drive, SCRATCH)?;
    let block = usize::try_from(info.block_bytes)?;
    let one = ZeroBased::<u16>::of(1).context("one")?;
    for count in 1..=16_u8 {
        let mut pairs = Vec::new();
        for number in 0..count {
            let pair = drive.create_queue_pair(QueueOptions {
                depth: 32,
                transfer_bytes_max: Some(block),
                ..QueueOptions::default()
            })?;
            let mut data = drive.allocate_dma(32 * block)?;
            data.fill(0, 32 * block, number + 1)?;
            pairs.push((pair, data, number));
        }
        for round in 0..2 {
            for (pair, data, number) in &mut pairs {
                for index in 0..32_u32 {
                    let lba = Lba(u64::from(*number) * 32 + u64::from(index));
                    let slice = data.slice(index as usize * block, block)?;
                    let command = match round {
                        0 => Command::write(SCRATCH, lba, one, slice),
                        _ => Command::read(SCRATCH, lba, one, slice),
                    };
                    if let Err(error) = pair.submit(command, 0, clock.now_ns()) {
                        bail!("{error}");
                    }
                }
                pair.ring();
            }
            for (pair, data, number) in &mut pairs {
                let mut failed = None;
                drain(pair, clock, |done| {
                    if !done.status.is_success() {
                        failed = Some(done.status);
                    }
                })?;
                ensure!(failed.is_none(), "{pair:?}: {failed:?}");
                let is_own = is_filled(data, 32 * block, *number + 1)?;
                ensure!(is_own, "{pair:?} read another's data");
                if round == 0 {
                    data.fill(0, 32 * block, 0)?;
                }
            }
        }
        for (pair, ..) in &pairs {
            drive.delete_queue_pair(pair.id())?;
        }
    }
    println!("1 to 16 queue pairs");
    Ok(())
}

/// Each queue's completions signal its own vector, and a masked vector signals
/// nobody.
fn interrupts(drive: &mut Drive, clock: MonotonicClock) -> Result<()> {
    let vectors = drive.transport().interrupts();
    ensure!(vectors > 2, "{vectors} vectors");
    let mut queues = Vec::new();
    for vector in 1..=2 {
        let interrupt = Interrupt::attach(drive.transport_mut(), vector)?;
        let pair = drive.create_queue_pair(QueueOptions {
            depth: 8,
            interrupt: Some(vector),
            ..QueueOptions::default()
        })?;
        queues.push((pair, interrupt));
    }
    let short = Duration::from_millis(200);
    for own in 0..queues.len() {
        for (index, (pair, interrupt)) in queues.iter_mut().enumerate() {
            ensure!(interrupt.wait(Duration::ZERO)? == 0, "signalled before");
            if index == own {
                succeed(pair, clock, Command::flush(SCRATCH))?;
            }
        }
        for (index, (_, interrupt)) in queues.iter().enumerate() {
            let count = interrupt.wait(if index == own { PATIENCE } else { short })?;
            ensure!((count > 0) == (index == own), "{interrupt:?}: {count}");
        }
    }
    for (pair, interrupt) in &mut queues {
        interrupt.mask(drive.transport_mut())?;
        succeed(pair, clock, Command::flush(SCRATCH))?;
        ensure!(interrupt.wait(short)? == 0, "a masked vector signals");
        interrupt.unmask(drive.transport_mut())?;
        succeed(pair, clock, Command::flush(SCRATCH))?;
        ensure!(interrupt.wait(PATIENCE)? > 0, "it does not signal again");
    }
    let past = Interrupt::attach(drive.transport_mut(), vectors);
    ensure!(past.is_err(), "a vector past the last");
    println!("{vectors} vectors");
    Ok(())
}

/// Configuration space: identity, link, D3hot and back, function and bus resets.
fn config(drive: &mut Drive, clock: MonotonicClock) -> Result<()> {
    let mut config = PciConfig::of(drive.transport_mut());
    let (vendor, device) = config.identity()?;
    println!("identity {vendor:04x}:{device:04x}");
    println!("link {:?}", config.link()?);
    config.set_aspm(Aspm::Off)?;
    ensure!(config.aspm()? == Aspm::Off, "ASPM stays on");
    ensure!(config.power_state()? == PowerState::D0, "not in D0");
    config.set_power_state(PowerState::D3Hot)?;
    ensure!(config.power_state()? == PowerState::D3Hot, "not in D3hot");
    // Nobody answers, and nothing ends this program.
    let gone = drive.check();
    ensure!(
        matches!(gone, Err(DriverError::DeviceGone { .. })),
        "a drive in D3hot answers: {gone:?}"
    );
    PciConfig::of(drive.transport_mut()).set_power_state(PowerState::D0)?;
    drive.reset()?;
    works(drive, SCRATCH, clock)?;
    drive.reset_function()?;
    works(drive, SCRATCH, clock)?;
    drive.transport_mut().hot_reset()?;
    drive.reset()?;
    works(drive, SCRATCH, clock)?;
    println!("D3hot, function reset, bus reset");
    Ok(())
}

/// Whether a queue pair can be made and used on this namespace.
fn works(drive: &mut Drive, nsid: NamespaceId, clock: MonotonicClock) -> Result<()> {
    let mut pair = drive.create_queue_pair(QueueOptions::default())?;
    succeed(&mut pair, clock, Command::flush(nsid))?;
    let id = pair.id();
    Ok(drive.delete_queue_pair(id)?)
}

/// Fills a queue with reads; returns how many.
fn load(pair: &mut QueuePair, clock: MonotonicClock, data: &DmaBuffer) -> Result<u64> {
    let one = ZeroBased::<u16>::of(1).context("one")?;
    let mut submitted = 0;
    while pair.in_flight() < pair.depth() {
        let read = Command::read(SCRATCH, Lba(submitted), one, data.slice(0, 4096)?);
        if let Err(error) = pair.submit(read, submitted, clock.now_ns()) {
            bail!("{error}");
        }
        submitted += 1;
    }
    pair.ring();
    Ok(submitted)
}

/// Resets of either kind while a queue is full: each command is over once.
fn reset_under_load(drive: &mut Drive, clock: MonotonicClock) -> Result<()> {
    let data = drive.allocate_dma(4096)?;
    let (mut over, mut lost, mut submitted) = (0, 0, 0);
    for round in 0..20 {
        let mut pair = drive.create_queue_pair(QueueOptions::default())?;
        submitted += load(&mut pair, clock, &data)?;
        if round % 2 == 0 {
            drive.reset()?;
        } else {
            drive.reset_function()?;
        }
        drain(&mut pair, clock, |done| {
            over += 1;
            lost += u64::from(done.lost);
        })?;
        works(drive, SCRATCH, clock)?;
    }
    ensure!(over == submitted, "{over} of {submitted} are over");
    println!("20 resets, {submitted} commands, {lost} of them lost");
    Ok(())
}

/// A drive that takes seconds for a command: the command is named, and a reset
/// gets rid of it.
fn timeout(drive: &mut Drive, clock: MonotonicClock) -> Result<()> {
    let nsid = NamespaceId(1);
    let data = drive.allocate_dma(4096)?;
    let mut pair = drive.create_queue_pair(QueueOptions::default())?;
    let one = ZeroBased::<u16>::of(1).context("one")?;
    for lba in 0..16 {
        let read = Command::read(nsid, Lba(lba), one, data.slice(0, 4096)?);
        if let Err(error) = pair.submit(read, lba, clock.now_ns()) {
            bail!("{error}");
        }
    }
    let limit = Duration::from_millis(300);
    let until_ns = clock.now_ns() + 500_000_000;
    while clock.now_ns() < until_ns {
        pair.poll(&clock, 64, |_| {})?;
    }
    let late = pair.late(clock.now_ns(), limit);
    let first = late.first().context("no command is late")?;
    println!("{first}");
    let mut over = 0;
    let patience = Duration::from_millis(500);
    let recovery = drive.recover(&mut pair, limit, patience, |_| over += 1)?;
    ensure!(recovery > Recovery::Completed, "{recovery:?}");
    ensure!(over >= late.len(), "{over} of {} are over", late.len());
    works(drive, nsid, clock)?;
    println!("{over} commands are over by {recovery:?}");
    Ok(())
}

/// Loads the drive until it goes away; what is said then is printed.
fn unplug(mut drive: Drive, clock: MonotonicClock) -> Result<()> {
    let data = drive.allocate_dma(4096)?;
    let mut pair = drive.create_queue_pair(QueueOptions::default())?;
    let until_ns = clock.now_ns() + u64::try_from(PATIENCE.as_nanos())?;
    println!("loading");
    let mut over = 0_u64;
    let error = loop {
        load(&mut pair, clock, &data)?;
        pair.poll(&clock, 64, |_| over += 1)?;
        if let Err(error) = pair.check_device() {
            break error;
        }
        ensure!(clock.now_ns() < until_ns, "nobody unplugs it");
    };
    println!("{error}");
    ensure!(matches!(error, DriverError::DeviceGone { .. }), "{error:?}");
    pair.close();
    drain(&mut pair, clock, |_| over += 1)?;
    drop(drive);
    println!("ok unplug: {over} commands");
    Ok(())
}
