//! `vssd device sanitize`.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use nvme::{SanitizeCdw10, SanitizeLog, SanitizeStatus};
use traces::{Clock as _, MonotonicClock};

use super::confirm::Word;
use super::{Device, Opened, number, show, with};
use crate::{Answer, terminal};

/// How long to wait between two looks at the progress, nanoseconds.
pub(super) const LOOK_NS: u64 = 200_000_000;

/// Sanitize: erase a whole device for good, or see how far that is.
#[derive(Debug, Subcommand)]
pub(super) enum SanitizeCommand {
    Start(StartArguments),
    Status(StatusArguments),
}

/// Start a sanitize operation, and wait for its end: all data of the device is
/// lost.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd device sanitize start vfio-user:/tmp/vssd.sock block --yes")]
pub(super) struct StartArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// What to do.
    #[arg(value_enum)]
    action: Action,
    /// Overwrite passes, 1 to 16.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=16))]
    passes: u8,
    /// What to overwrite with.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    pattern: u32,
    /// Invert the pattern from pass to pass.
    #[arg(long)]
    invert: bool,
    /// Do not deallocate the blocks after it.
    #[arg(long)]
    no_deallocate: bool,
    /// Allow leaving failure mode without a sanitize that succeeds.
    #[arg(long)]
    unrestricted: bool,
    /// Do not wait for its end.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    word: Word,
}

/// Show how far a sanitize operation is, or how the last one ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd device sanitize status vfio-user:/tmp/vssd.sock --wait")]
pub(super) struct StatusArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// Wait for its end.
    #[arg(long)]
    wait: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Erase the blocks.
    Block,
    /// Overwrite them.
    Overwrite,
    /// Change the key of all data.
    Crypto,
    /// Leave failure mode; nothing is erased.
    ExitFailure,
}

/// Runs `vssd device sanitize`.
pub(super) fn run(command: &SanitizeCommand) -> Result<Answer> {
    match command {
        SanitizeCommand::Start(arguments) => start(arguments),
        SanitizeCommand::Status(arguments) => status(arguments),
    }
}

fn start(arguments: &StartArguments) -> Result<Answer> {
    let device = &arguments.device;
    let starts = arguments.action != Action::ExitFailure;
    if starts {
        let loss = "sanitizes the whole device: all data in all namespaces is lost for good";
        arguments.word.ask(device, loss)?;
    }
    let log = with(device, |opened| {
        let timeout = Duration::from_secs(60);
        opened.sanitize(arguments.cdw10(), arguments.pattern, timeout)?;
        if starts && !arguments.detach {
            return wait(opened).map(Some);
        }
        Ok(None)
    })?;
    match log {
        None if starts => {
            println!(
                "{device}: sanitize is in progress: see `vssd device sanitize status {device}`"
            );
            Ok(Answer::Yes)
        }
        None => Ok(Answer::Yes),
        Some(log) => Ok(tell(device, &log)),
    }
}

impl StartArguments {
    fn cdw10(&self) -> SanitizeCdw10 {
        let action = match self.action {
            Action::Block => SanitizeCdw10::BLOCK_ERASE,
            Action::Overwrite => SanitizeCdw10::OVERWRITE,
            Action::Crypto => SanitizeCdw10::CRYPTO_ERASE,
            Action::ExitFailure => SanitizeCdw10::EXIT_FAILURE,
        };
        let cdw10 = SanitizeCdw10::new()
            .with_sanact(action)
            .with_ause(self.unrestricted)
            .with_ndas(self.no_deallocate);
        if self.action == Action::Overwrite {
            // The field's 0 stands for 16.
            cdw10.with_owpass(self.passes & 0xf).with_oipbp(self.invert)
        } else {
            cdw10
        }
    }
}

fn status(arguments: &StatusArguments) -> Result<Answer> {
    let log = with(&arguments.device, |device| match arguments.wait {
        true => wait(device),
        false => Ok(device.sanitize_log()?),
    })?;
    show::log::sanitize(&log).print(arguments.json);
    Ok(answer(&log))
}

/// Waits while an operation is in progress.
fn wait(device: &mut Opened) -> Result<SanitizeLog> {
    let clock = MonotonicClock::start();
    let bar = terminal::percent("sanitize");
    loop {
        let log = device.sanitize_log()?;
        let status = SanitizeStatus::from_bits(log.status.get());
        if status.status() != SanitizeStatus::IN_PROGRESS {
            bar.finish_and_clear();
            return Ok(log);
        }
        bar.set_position(u64::from(log.progress.get()) * 100 / 65_536);
        clock.wait_until(clock.now_ns().saturating_add(LOOK_NS));
    }
}

fn tell(device: &Device, log: &SanitizeLog) -> Answer {
    let status = SanitizeStatus::from_bits(log.status.get());
    println!("{device}: {}", show::log::sanitize_status(status));
    answer(log)
}

fn answer(log: &SanitizeLog) -> Answer {
    match SanitizeStatus::from_bits(log.status.get()).status() {
        SanitizeStatus::FAILED => Answer::No,
        _ => Answer::Yes,
    }
}
