//! Shell completions and man pages, from the definitions of the arguments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
            mend_all(directory)
                .with_context(|| format!("cannot mend man pages in {}", directory.display()))?;
        }
    }
    Ok(Answer::Yes)
}

/// Mends the pages of vssd in `directory`.
fn mend_all(directory: &Path) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if path.extension().is_some_and(|end| end == "1") && name.starts_with("vssd") {
            let page = fs::read_to_string(&path)?;
            fs::write(&path, mend(&name, &page))?;
        }
    }
    Ok(())
}

/// The page `name` with what the library has no words for: a heading that says what
/// comes, command lines that are not filled, the version at the foot of each page.
fn mend(name: &str, page: &str) -> String {
    let mut mended = String::with_capacity(page.len() + 100);
    let mut lines = page.lines().peekable();
    let mut as_it_is = false;
    let mut is_extra = false;
    while let Some(line) = lines.next() {
        let is_code = is_extra && line.starts_with("  ");
        if is_code != as_it_is {
            mended.push_str(if is_code { ".nf\n" } else { ".fi\n" });
            as_it_is = is_code;
        }
        if line.starts_with(".TH ") {
            let version = env!("CARGO_PKG_VERSION");
            mended.push_str(&format!(".TH {name} 1 \"\" \"vssd {version}\" vssd\n"));
            continue;
        }
        if line.starts_with(".SH ") {
            is_extra = line == ".SH EXTRA";
        }
        match lines.peek() {
            Some(next) if line == ".SH EXTRA" && next.starts_with("Example") => {
                mended.push_str(".SH EXAMPLES");
            }
            _ if line == ".SH EXTRA" => mended.push_str(".SH NOTES"),
            _ => mended.push_str(line),
        }
        mended.push('\n');
    }
    if as_it_is {
        mended.push_str(".fi\n");
    }
    mended
}
