//! `vssd`: record a virtual machine's SSD, replay it on a real one, test
//! drivers without either.
//!
//! Results go to standard output (`--json` for machines), logs to standard
//! error, progress bars to a terminal only. The exit status is 0 for success, 1
//! where the answer is no, 2 for an error.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the one program that talks to people"
)]

mod arguments;
mod chart;
mod ctl;
mod demo;
mod device;
mod disk;
mod generate;
mod ioworker;
mod live;
mod media;
mod monitor;
mod profile;
mod recording;
mod replay;
mod serve;
mod stop;
mod terminal;
mod top;
mod trace;
mod vm;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// What a command answers: yes, or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Everything asked for was done, and is well.
    Yes,
    /// It was done, and the answer is no: a command failed on the device, a
    /// verification found a difference.
    No,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    terminal::start_logging(arguments.verbose);
    match run(arguments) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => {
            eprintln!("vssd: {}", terminal::describe(&error));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    // Not where a socket is written to: its other end may go without an end to us.
    if matches!(
        arguments.command,
        Command::Trace(_) | Command::Profile(_) | Command::Generate(_)
    ) {
        stop::when_nobody_reads()?;
    }
    match arguments.command {
        Command::Serve(serve) => serve::run(&serve),
        Command::Vm(vm) => vm::run(&vm),
        Command::Ctl(ctl) => ctl::run(&ctl),
        Command::Top(top) => top::run(&top),
        Command::Replay(replay) => replay::run(&replay),
        Command::Ioworker(ioworker) => ioworker::run(&ioworker),
        Command::Trace(trace) => trace::run(&trace),
        Command::Device(device) => device::run(&device),
        Command::Disk(disk) => disk::run(&disk),
        Command::Profile(profile) => profile::run(&profile),
        Command::Demo(demo) => demo::run(&demo),
        Command::Generate(generate) => generate::run(&generate),
    }
}
