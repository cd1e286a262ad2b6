//! `vssd device selftest`.

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use nvme::{NSID_ALL, NamespaceId, SelfTestOperation, SelfTestResult, SelfTestStatus};
use traces::{Clock as _, MonotonicClock};

use super::sanitize::LOOK_NS;
use super::{Device, Opened, number, show, with};
use crate::{Answer, terminal};

/// Have a device test itself.
#[derive(Debug, Subcommand)]
pub(super) enum SelfTestCommand {
    Start(StartArguments),
    Abort(AbortArguments),
    Log(LogArguments),
}

/// Start a self-test, and wait for its result.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd device selftest start vfio-user:/tmp/vssd.sock short

The exit status is 1 where the test found a fault. A short test ends with the reset of
the controller that every `vssd device` command makes: only an extended one can go on
with --detach.")]
pub(super) struct StartArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// Which test.
    #[arg(value_enum)]
    test: Test,
    /// The namespace to test; by default all, 0 for the controller alone.
    #[arg(long, value_name = "N", default_value = "0xffffffff", value_parser = number::parse::<u32>)]
    nsid: u32,
    /// Do not wait for its end.
    #[arg(long)]
    detach: bool,
}

/// Abort the self-test that is running.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd device selftest abort vfio-user:/tmp/vssd.sock")]
pub(super) struct AbortArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
}

/// Show how far a self-test is, and the results of those before.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd device selftest log vfio-user:/tmp/vssd.sock --json")]
pub(super) struct LogArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Test {
    /// A few minutes at most.
    Short,
    /// As long as Identify Controller's EDSTT says.
    Extended,
}

/// Runs `vssd device selftest`.
pub(super) fn run(command: &SelfTestCommand) -> Result<Answer> {
    match command {
        SelfTestCommand::Start(arguments) => start(arguments),
        SelfTestCommand::Abort(arguments) => {
            let (operation, nsid) = (SelfTestOperation::Abort, NSID_ALL);
            with(&arguments.device, |device| {
                Ok(device.device_self_test(operation, nsid)?)
            })?;
            println!("{}: the self-test is aborted", arguments.device);
            Ok(Answer::Yes)
        }
        SelfTestCommand::Log(arguments) => {
            let log = with(&arguments.device, |device| Ok(device.self_test_log()?))?;
            show::log::self_test(&log, &arguments.device.to_string()).print(arguments.json);
            Ok(Answer::Yes)
        }
    }
}

fn start(arguments: &StartArguments) -> Result<Answer> {
    let operation = match arguments.test {
        Test::Short => SelfTestOperation::Short,
        Test::Extended => SelfTestOperation::Extended,
    };
    if arguments.detach && arguments.test == Test::Short {
        bail!("a short self-test ends with this command's reset: leave out --detach");
    }
    let device = &arguments.device;
    let status = with(device, |opened| {
        opened.device_self_test(operation, NamespaceId(arguments.nsid))?;
        match arguments.detach {
            true => Ok(None),
            false => wait(opened).map(Some),
        }
    })?;
    let Some(status) = status else {
        println!("{device}: the self-test is running: see `vssd device selftest log {device}`");
        return Ok(Answer::Yes);
    };
    println!("{device}: {}", show::log::self_test_result(status.result()));
    match SelfTestResult::from_code(status.result()) {
        Some(SelfTestResult::Passed) => Ok(Answer::Yes),
        _ => Ok(Answer::No),
    }
}

/// Waits while a self-test is running; how it ended.
fn wait(device: &mut Opened) -> Result<SelfTestStatus> {
    let clock = MonotonicClock::start();
    let bar = terminal::percent("self-test");
    loop {
        let log = device.self_test_log()?;
        if SelfTestOperation::from_code(log.operation) == Some(SelfTestOperation::None) {
            bar.finish_and_clear();
            let [newest, ..] = log.results;
            return Ok(SelfTestStatus::from_bits(newest.status));
        }
        bar.set_position(u64::from(log.completion & 0x7f));
        clock.wait_until(clock.now_ns().saturating_add(LOOK_NS));
    }
}
