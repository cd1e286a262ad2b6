//! Files in, archive out.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// How hard zstd tries. A static program of 30 MB takes it some ten seconds.
const LEVEL: i32 = 19;

/// A file of the archive.
#[derive(Debug)]
pub(super) struct Entry {
    path: String,
    mode: u32,
    data: Vec<u8>,
}

impl Entry {
    /// What is to be at `path`, from the directory that is installed into.
    pub(super) fn new(path: &str, mode: u32, data: Vec<u8>) -> Self {
        Self {
            path: path.to_owned(),
            mode,
            data,
        }
    }

    /// The file at `source`, to be at `path`.
    pub(super) fn read(path: &str, mode: u32, source: &Path) -> Result<Self> {
        let data = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        Ok(Self::new(path, mode, data))
    }

    /// The file at `source`, which keeps its name, to be in `directory`.
    pub(super) fn of_tree(directory: &str, source: &Path) -> Result<Self> {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        Self::read(&format!("{directory}/{name}"), 0o644, source)
    }

    /// Where it is to be.
    #[cfg(test)]
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// Writes `entries`, all below the directory `top` and with the time `date`, to
/// `archive`; how many bytes that are.
pub(super) fn write(archive: &Path, top: &str, entries: Vec<Entry>, date: u64) -> Result<u64> {
    put(archive, top, entries, date).with_context(|| format!("cannot write {}", archive.display()))
}

fn put(archive: &Path, top: &str, mut entries: Vec<Entry>, date: u64) -> Result<u64> {
    entries.sort_by(|one, two| one.path.cmp(&two.path));
    let packed = zstd::Encoder::new(File::create(archive)?, LEVEL)?;
    let mut builder = tar::Builder::new(packed);
    for entry in entries {
        // Neither the builder's name nor its umask are anybody's business.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(entry.mode);
        header.set_mtime(date);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(u64::try_from(entry.data.len())?);
        builder.append_data(
            &mut header,
            format!("{top}/{}", entry.path),
            entry.data.as_slice(),
        )?;
    }
    let mut file = builder.into_inner()?.finish()?;
    file.flush()?;
    Ok(file.stream_position()?)
}
