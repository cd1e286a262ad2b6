//! `cargo xtask`: what a newcomer and a maintainer run.
//!
//! - `demo` records a real guest's boot and replays it, in one command;
//! - `test` runs every test, installing what the tests need;
//! - `lint` is everything that is checked without running;
//! - `fuzz` looks for inputs that break the drive;
//! - `bench` measures;
//! - `dist` makes an archive to install elsewhere.

mod dist;
mod fuzz;
mod lint;
mod run;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Tasks of the vssd project")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Record a Linux guest's boot on a virtual SSD, replay it, draw both.
    Demo {
        /// Arguments for `vssd demo`, such as `--no-vm`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the tests, those with real guests among them.
    Test {
        /// Run the slow tests as well: more kernels, more firmware (sets VSSD_SLOW).
        #[arg(long, conflicts_with = "no_vm")]
        all: bool,
        /// Leave out the tests that boot guests.
        #[arg(long)]
        no_vm: bool,
    },
    /// Check lints, licences and documentation.
    Lint,
    /// Feed the drive inputs that are meant to break it.
    Fuzz {
        /// One target of sqe, transfer, controller, vfio_user, vhost_user, profile,
        /// vtr, import; without, all of them.
        target: Option<String>,
        /// How long each target runs, seconds; 60 where nothing is said.
        #[arg(long, conflicts_with = "runs")]
        seconds: Option<u64>,
        /// How many inputs each target is to run.
        #[arg(long)]
        runs: Option<u64>,
    },
    /// Measure, side by side in one run, and print ratios.
    Bench {
        /// Arguments for the benchmark: `fronts`, `record`, `driver`, `codec` or
        /// `replay`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make an archive of the program, static, with man pages, completions and the
    /// systemd unit.
    Dist(dist::DistArguments),
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Demo { arguments } => run::demo(&arguments),
        Task::Test { all, no_vm } => test::run(all, no_vm),
        Task::Lint => lint::run(),
        Task::Fuzz {
            target,
            seconds,
            runs,
        } => fuzz::run(target.as_deref(), seconds, runs),
        Task::Bench { arguments } => run::bench(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
    }
}
