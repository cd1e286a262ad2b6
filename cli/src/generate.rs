//! Shell completions and man pages, from the definitions of the arguments.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _, Subcommand};
use clap_complete::Shell;

use crate::Answer;
use crate::arguments::Arguments;

/// Print shell completions, write man pages.
#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write a man page for every command.
    Man {
        /// The directory to write into.
        directory: PathBuf,
    },
}

/// Runs `vssd generate`.
pub(crate) fn run(arguments: &GenerateArguments) -> Result<Answer> {
    let mut command = Arguments::command();
    match &arguments.what {
        What::Completions { shell } => {
            clap_complete::generate(*shell, &mut command, "vssd", &mut io::stdout());
        }
        What::Man { directory } => {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
            clap_mangen::generate_to(command, directory)
                .with_context(|| format!("cannot write man pages to {}", directory.display()))?;
        }
    }
    Ok(Answer::Yes)
}
