//! Changes beside an image that stays as it is.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use imago::file::File;
use imago::qcow2::Qcow2 as Driver;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, ShallowMapping};

use super::files::{self, Gate};
use super::grow::grow;
use super::{Qcow2, header};
use crate::VssdError;

/// How much is copied at a time.
const CHUNK: u64 = 1 << 20;

impl Qcow2 {
    /// Opens the overlay at `path`, to be written, on the image at `base`, which
    /// is only read; makes it if there is none.
    ///
    /// # Errors
    ///
    /// [`VssdError::Qcow2`] where the overlay is one of another image, or the
    /// image is larger than it was, and what [`Qcow2::open`] says.
    pub fn open_overlay(path: &Path, base: &Path, raw: bool) -> Result<Self, VssdError> {
        let bytes = base_bytes(base, raw).map_err(failed(base))?;
        if !path.exists() {
            let is_qcow2 = !raw && is_qcow2(base).map_err(failed(base))?;
            files::create(path, bytes, Some((base, is_qcow2))).map_err(failed(path))?;
        }
        check_base(path, base).map_err(failed(path))?;
        let overlay = Self::open(path, false, true)?;
        // It may have grown since.
        if overlay.bytes < bytes {
            let source = io::Error::other(format!(
                "it is for a base of {} bytes, but {} has {bytes} now: bring that back to its \
                 size, or drop the changes (delete the overlay)",
                overlay.bytes,
                base.display()
            ));
            return Err(failed(path)(source));
        }
        Ok(overlay)
    }

    /// Writes what the overlay at `path` has changed into the image that it
    /// builds on, which grows where the overlay has; the path of that, and how many
    /// bytes were written or zeroed. The overlay stays as it is, so that what was
    /// interrupted is done again.
    ///
    /// # Errors
    ///
    /// [`VssdError::Qcow2`] with what kept it.
    pub fn commit(path: &Path) -> Result<(PathBuf, u64), VssdError> {
        commit(path).map_err(failed(path))
    }
}

pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> VssdError {
    move |source| VssdError::Qcow2 {
        path: path.to_owned(),
        source,
    }
}

/// Whether the file at `path` is a qcow2 image.
pub(super) fn is_qcow2(path: &Path) -> io::Result<bool> {
    let mut magic = [0; 4];
    let file = std::fs::File::open(path)?;
    match std::os::unix::fs::FileExt::read_exact_at(&file, &mut magic, 0) {
        Ok(()) => Ok(magic == header::MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn base_bytes(base: &Path, raw: bool) -> io::Result<u64> {
    if !raw && is_qcow2(base)? {
        let (image, _) = files::open(base, false, Gate::new(true))?;
        return Ok(FormatAccess::new(image).size());
    }
    let options = super::super::RawFileOptions {
        create: None,
        read_only: true,
    };
    let image = super::super::image::Image::open(base, options).map_err(io::Error::other)?;
    Ok(image.bytes)
}

/// What the image at `path` says that it builds on: where, and whether that is a
/// qcow2 image.
fn backing(path: &Path) -> io::Result<Option<(PathBuf, bool)>> {
    let (file, _) = files::storage(path, false)?;
    let image = Driver::<File>::builder(file)
        .backing(None)
        .open(DenyImplicitOpenGate::default())?;
    let Some(name) = image.implicit_backing_file() else {
        return Ok(None);
    };
    let directory = path.parent().unwrap_or(Path::new("."));
    let base = directory.join(name);
    let is_qcow2 = match image.implicit_backing_format().map(String::as_str) {
        Some("qcow2") => true,
        Some("raw" | "file") => false,
        Some(other) => {
            return Err(io::Error::other(format!(
                "its base is of format {other}, which is not known here"
            )));
        }
        None => is_qcow2(&base)?,
    };
    Ok(Some((base, is_qcow2)))
}

/// Checks that the overlay at `path` is one of `base`.
fn check_base(path: &Path, base: &Path) -> io::Result<()> {
    header::look_at(&std::fs::File::open(path)?)?;
    let there = backing(path)?;
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let wanted = identity(std::fs::metadata(base)?);
    match there {
        Some((there, _)) if std::fs::metadata(&there).is_ok_and(|it| identity(it) == wanted) => {
            Ok(())
        }
        Some((there, _)) => Err(io::Error::other(format!(
            "it has the changes to {}, not to {}: name that image, or another overlay",
            there.display(),
            base.display()
        ))),
        None => Err(io::Error::other(
            "it is an image of its own, not an overlay: name another file",
        )),
    }
}

fn commit(path: &Path) -> io::Result<(PathBuf, u64)> {
    header::look_at(&std::fs::File::open(path)?)?;
    let Some((base_path, is_qcow2)) = backing(path)? else {
        return Err(io::Error::other(
            "it builds on nothing: there is nowhere to commit to",
        ));
    };
    let mut base = if is_qcow2 {
        FormatAccess::new(files::open(&base_path, true, Gate::new(true))?.0)
    } else {
        files::open_raw(&base_path)?
    };
    // Its base is open already: only what the overlay has of its own is read.
    let (file, _) = files::storage(path, false)?;
    let overlay = Driver::<File>::builder(file)
        .backing(None)
        .open(DenyImplicitOpenGate::default())?;
    let overlay = FormatAccess::new(overlay);
    let bytes = overlay.size();
    if base.size() > bytes {
        return Err(io::Error::other(format!(
            "it has {bytes} bytes, but its base {} has {}: bring that back to its size",
            base_path.display(),
            base.size()
        )));
    }
    grow(&mut base, bytes).map_err(|error| {
        io::Error::other(format!(
            "it has {bytes} bytes, and its base {} cannot be grown to that: {error}",
            base_path.display()
        ))
    })?;
    let mut buffer = Vec::new();
    let (mut at, mut written) = (0, 0);
    while at < bytes {
        let (mapping, length) = overlay.get_shallow_mapping(at, bytes - at)?;
        let mut length = length;
        match mapping {
            // Nothing of its own.
            ShallowMapping::Indirect { .. }
            | ShallowMapping::Zero {
                explicit: false, ..
            } => {}
            ShallowMapping::Zero { .. } => {
                base.write_zeroes(at, length)?;
                written += length;
            }
            ShallowMapping::Eof { .. } => break,
            _ => {
                length = length.min(CHUNK);
                buffer.resize(usize::try_from(length).unwrap_or(0), 0);
                overlay.read(&mut buffer[..], at)?;
                base.write(&buffer[..], at)?;
                written += length;
            }
        }
        if length == 0 {
            break;
        }
        at += length;
    }
    base.flush()?;
    base.sync()?;
    Ok((base_path, written))
}
