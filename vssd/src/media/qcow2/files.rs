//! Opening and making the files of an image: itself, what it builds on, and what
//! that builds on.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use imago::file::File;
use imago::format::Format;
use imago::format::gate::ImplicitOpenGate;
use imago::qcow2::Qcow2 as Driver;
use imago::raw::Raw;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder,
    StorageOpenOptions,
};

use super::super::image::{Image, unwritable};
use super::header;

/// How many images may build on each other.
const DEPTH_MAX: u32 = 32;

/// Opens what an image builds on: read-only, locked, and not without end.
#[derive(Debug)]
pub(super) struct Gate {
    depth: u32,
    allowed: bool,
}

impl Gate {
    /// Lets an image build on others, or not.
    pub(super) const fn new(allowed: bool) -> Self {
        Self { depth: 0, allowed }
    }
}

impl ImplicitOpenGate<File> for Gate {
    fn open_format<F: FormatDriverBuilder<File>>(
        &mut self,
        builder: F,
    ) -> io::Result<FormatAccess<File>> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX {
            return Err(io::Error::other(format!(
                "more than {DEPTH_MAX} images build on each other, or one on itself: join them \
                 with `qemu-img convert`"
            )));
        }
        if F::FORMAT == Format::Qcow2
            && let Some(path) = builder.get_image_path()
        {
            header::look_at(&std::fs::File::open(path)?)?;
        }
        let gate = Self { depth, ..*self };
        Ok(FormatAccess::new(builder.open(gate)?))
    }

    fn open_storage(&mut self, options: StorageOpenOptions) -> io::Result<File> {
        let path = options.get_filename().map(Path::to_owned);
        let path = path.ok_or_else(|| io::Error::other("a file without a name"))?;
        if !self.allowed {
            return Err(io::Error::other(format!(
                "it builds on {}, and that it is a qcow2 image is a guess: give --format qcow2 \
                 where you know where it is from",
                path.display()
            )));
        }
        storage(&path, false).map(|(file, _)| file)
    }
}

/// Opens and locks a file.
pub(super) fn storage(path: &Path, write: bool) -> io::Result<(File, std::fs::File)> {
    let opened = OpenOptions::new().read(true).write(write).open(path);
    let file = opened.map_err(|error| unwritable(error, write))?;
    Image::lock(&file, path, write).map_err(io::Error::other)?;
    let other = file.try_clone()?;
    let options = StorageOpenOptions::new().write(write).filename(path);
    Ok((File::from_open_file(file, options)?, other))
}

/// Opens the image at `path`, and what it builds on; and hands out the file that
/// has the lock on it.
pub(super) fn open(
    path: &Path,
    write: bool,
    gate: Gate,
) -> io::Result<(Driver<File>, std::fs::File)> {
    let (file, other) = storage(path, write)?;
    let summary = header::look_at(&other)?;
    if !summary.is_qcow2 {
        return Err(io::Error::other(
            "it is not a qcow2 image: use --format raw",
        ));
    }
    let image = Driver::<File>::builder(file).write(write).open(gate)?;
    Ok((image, other))
}

/// Opens a raw image to write to it.
pub(super) fn open_raw(path: &Path) -> io::Result<FormatAccess<File>> {
    let (file, _) = storage(path, true)?;
    let raw = Raw::builder(file).write(true);
    Ok(FormatAccess::new(
        raw.open(DenyImplicitOpenGate::default())?,
    ))
}

/// Makes an image of `bytes` bytes at `path`, where there is nothing yet, that
/// builds on `base`, if there is one.
pub(super) fn create(path: &Path, bytes: u64, base: Option<(&Path, bool)>) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let made = fill(path, file, bytes, base);
    if made.is_err() {
        // It was made just now, and is of no use.
        let _ = std::fs::remove_file(path);
    }
    made
}

fn fill(
    path: &Path,
    file: std::fs::File,
    bytes: u64,
    base: Option<(&Path, bool)>,
) -> io::Result<()> {
    let other = file.try_clone()?;
    let options = StorageOpenOptions::new().write(true).filename(path);
    let mut builder = Driver::<File>::create_builder(File::from_open_file(file, options)?);
    if let Some((base, is_qcow2)) = base {
        let name = name_for(path, base)?;
        let name = name
            .into_os_string()
            .into_string()
            .map_err(|_| io::Error::other("the name of the base image is not UTF-8"))?;
        let format = if is_qcow2 { "qcow2" } else { "raw" };
        builder = builder.backing(name, format.to_owned());
    }
    builder.size(bytes).create()?;
    other.sync_all()
}

/// What the image at `path` calls `base`: by its name where both are in one
/// directory, so that they can be moved together.
fn name_for(path: &Path, base: &Path) -> io::Result<PathBuf> {
    let base = base.canonicalize()?;
    let path = path.canonicalize()?;
    match base.file_name() {
        Some(name) if base.parent() == path.parent() => Ok(name.into()),
        _ => Ok(base),
    }
}
