//! What all commands have in common that make a trace of a trace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use traces::edit::{self, Edit};
use traces::{Effort, Header, Reader, Record, Totals, TraceError, Writer, WriterOptions};

use crate::device::size;
use crate::terminal;

/// Where the result goes.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// The file to write.
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Write as a recording is written: faster, and larger.
    #[arg(long)]
    fast: bool,
    /// Overwrite OUT where it exists.
    #[arg(long)]
    overwrite: bool,
}

impl Output {
    /// Writes a trace by `make` beside OUT and puts it there once it is whole;
    /// says what it is. `inputs` are read meanwhile.
    pub(crate) fn write(
        &self,
        inputs: &[&Path],
        make: impl FnOnce(&New<'_>) -> Result<Totals>,
    ) -> Result<()> {
        let output = self.output.display();
        if inputs.contains(&self.output.as_path()) {
            bail!("{output} would be read and written: name another OUT");
        }
        if self.output.exists() && !self.overwrite {
            bail!("{output} is there already: choose another name, or add --overwrite");
        }
        let part = Part::beside(&self.output);
        let new = New {
            path: &part.0,
            options: WriterOptions::default()
                .overwrite(true)
                .effort(if self.fast {
                    Effort::Fast
                } else {
                    Effort::Packed
                }),
        };
        let totals = make(&new)?;
        fs::rename(&part.0, &self.output)
            .with_context(|| format!("cannot name the result {output}"))?;
        let bytes = fs::metadata(&self.output)
            .context("cannot look at what was written")?
            .len();
        println!("{output}: {} commands, {}", totals.commands, size(bytes));
        Ok(())
    }

    /// Writes what `edit` makes of `records`, which are some or all of those of
    /// the trace `file`, open in `reader`; `history` says how.
    pub(crate) fn rewrite(
        &self,
        (file, reader): (&Path, &Reader),
        records: impl Iterator<Item = Result<Record, TraceError>>,
        edit: &mut dyn Edit,
        history: &str,
    ) -> Result<()> {
        self.write(&[file], |new| {
            let mut header = reader.header().clone();
            edit.header(&mut header);
            let writer = new.writer(&mut header, history)?;
            let bar = terminal::progress(reader.totals().commands, "commands");
            bar.set_message("writing");
            let (_, totals) =
                edit::rewrite(reader, records, edit, writer, |done| bar.set_position(done))?;
            bar.finish_and_clear();
            Ok(totals)
        })
    }
}

/// A trace that is not there yet.
pub(crate) struct New<'a> {
    path: &'a Path,
    options: WriterOptions,
}

impl New<'_> {
    /// Starts it, with `header`, to whose label "history" goes `how`.
    pub(crate) fn writer(
        &self,
        header: &mut Header,
        how: &str,
    ) -> Result<Writer<File>, TraceError> {
        let history = header.labels.entry("history".to_owned()).or_default();
        if !history.is_empty() {
            history.push_str("; ");
        }
        history.push_str(how);
        Writer::create(self.path, header, self.options)
    }
}

/// A file that is not whole yet, removed where it never will be.
pub(crate) struct Part(pub(crate) PathBuf);

impl Part {
    /// One for `output`.
    pub(crate) fn beside(output: &Path) -> Self {
        let mut name = output.as_os_str().to_owned();
        name.push(".part");
        Self(name.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone already where all went well.
        let _ = fs::remove_file(&self.0);
    }
}

/// `text` as two values on either side of `separator`.
pub(crate) fn pair<T: std::str::FromStr>(text: &str, separator: &str) -> Result<(T, T), String> {
    let wrong = || format!("{text:?} is not A{separator}B");
    let (one, other) = text.split_once(separator).ok_or_else(wrong)?;
    let parse = |text: &str| text.trim().parse().map_err(|_| wrong());
    Ok((parse(one)?, parse(other)?))
}
