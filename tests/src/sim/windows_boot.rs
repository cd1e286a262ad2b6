//! A real trace: the first minute of Windows 10, as pynvme's tracer saw it.
//!
//! The file is not part of the project: it is found beside a checkout, or
//! where `VSSD_TEST_DATA` says, and tests that want it do without where it is
//! not.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use formats::{AssemblerOptions, ImportOptions, Input};
use traces::{Header, Reader, WriterOptions};

const NAME: &str = "win10_boot.trace.png";

/// Where the file is: in the directory `VSSD_TEST_DATA`, or in `shared/data`
/// beside the checkout or above it.
#[must_use]
pub fn find() -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("VSSD_TEST_DATA") {
        return Some(Path::new(&directory).join(NAME)).filter(|path| path.is_file());
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("shared/data").join(NAME))
        .find(|path| path.is_file())
}

/// Converts the trace at `path` and opens the result.
///
/// # Errors
///
/// Where it cannot be read.
pub fn read(path: &Path) -> Result<Reader> {
    Ok(Reader::from_bytes(convert(path, Vec::new())?.0)?)
}

/// Writes the trace at `path` as one of ours to `sink`; returns how many commands
/// it has.
///
/// # Errors
///
/// Where it cannot be read or written.
pub fn convert<W: Write>(path: &Path, sink: W) -> Result<(W, u64)> {
    let input = Input::new(vec![path.to_owned()]);
    let mut opened = formats::detect(&input)?.open(&input, &ImportOptions::default())?;
    let (sink, summary) = formats::import(
        &mut *opened,
        sink,
        Header::default(),
        AssemblerOptions::default(),
        WriterOptions::default(),
        |_| (),
    )?;
    Ok((sink, summary.totals.commands))
}
