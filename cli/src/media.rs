//! What a DISK argument is opened as.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use vssd::VssdError;
use vssd::media::{Null, Qcow2, Ram, RawFile, RawFileOptions, Uring};

use crate::disk::Disk;

/// How a raw image is read and written: many requests at a time, through io_uring,
/// or one after the other.
//
// The variants have no text of their own, as `--help` would be twice as long with
// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Aio {
    #[default]
    Uring,
    Sync,
}

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormat {
    Raw,
    Qcow2,
}

/// Where `--help` lists how a disk is opened.
pub(crate) const DISK: &str = "The disk";

/// How a disk is opened.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = DISK)]
pub(crate) struct MediaArguments {
    /// How a raw image is read and written: many requests at a time (uring), or
    /// one after the other (sync).
    #[arg(long, value_enum, value_name = "HOW", default_value = "uring")]
    aio: Aio,
    /// Go past the host's page cache with a raw image or a drive (O_DIRECT).
    #[arg(long)]
    direct: bool,
    /// What the image is, raw or qcow2; by default what it says itself.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<ImageFormat>,
    /// Leave the image as it is, and keep what changes in this qcow2 file, made
    /// where there is none. `vssd disk commit` brings the changes into the image;
    /// to drop them, delete the file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["create", "read_only"])]
    overlay: Option<PathBuf>,
    /// Let the guest write to a real drive, if that is what the disk is.
    #[arg(long)]
    allow_write: bool,
}

/// A disk that is open.
#[derive(Debug)]
pub(crate) enum Opened {
    Ram(Ram),
    Null(Null),
    Uring(Box<Uring>),
    Sync(RawFile),
    Qcow2(Qcow2),
}

impl MediaArguments {
    /// The file that the drive on the image at `path` changes.
    pub(crate) fn changed<'p>(&'p self, path: &'p Path) -> &'p Path {
        self.overlay.as_deref().unwrap_or(path)
    }

    /// Opens `disk`; an image is made if `create` says how large.
    pub(crate) fn open(&self, disk: &Disk, create: Option<u64>, read_only: bool) -> Result<Opened> {
        let path = match disk {
            Disk::Ram(_) | Disk::Null(_) if self.overlay.is_some() => {
                bail!("--overlay is for images: there is nothing below ram: and null: to keep")
            }
            Disk::Ram(bytes) => return Ok(Opened::Ram(Ram::new(*bytes)?)),
            Disk::Null(bytes) => return Ok(Opened::Null(Null::new(*bytes))),
            Disk::Image(path) => path,
        };
        if create.is_none() && !path.exists() {
            bail!(
                "{} does not exist: name an image, or give --create SIZE to make one",
                path.display()
            );
        }
        // A limit on the size of files is an error to the guest, not our end.
        let noted = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGXFSZ, noted)
            .context("cannot wait for signals")?;
        if let Some(overlay) = &self.overlay {
            let raw = self.format == Some(ImageFormat::Raw);
            return Ok(Opened::Qcow2(Qcow2::open_overlay(overlay, path, raw)?));
        }
        if self.is_qcow2(path)? {
            return self.open_qcow2(path, create, read_only);
        }
        self.open_raw(path, create, read_only)
    }

    fn is_qcow2(&self, path: &Path) -> Result<bool> {
        match self.format {
            Some(format) => Ok(format == ImageFormat::Qcow2),
            None if !path.exists() => Ok(is_named_qcow2(path)),
            None => Qcow2::is_one(path).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn open_qcow2(&self, path: &Path, create: Option<u64>, read_only: bool) -> Result<Opened> {
        if let Some(bytes) = create.filter(|_| !path.exists()) {
            Qcow2::create(path, bytes)?;
        }
        // A guest that was given a raw image can write the header of a qcow2 image
        // that builds on any file of the host. So where nothing but the content
        // says that it is one, it may build on nothing.
        let backing = self.format.is_some() || is_named_qcow2(path);
        let image = Qcow2::open(path, read_only, backing)?;
        let there = vssd::Media::info(&image).bytes;
        if let Some(wanted) = create.filter(|&wanted| wanted != there) {
            let (path, bytes) = (path.to_owned(), there);
            return Err(VssdError::Exists {
                path,
                bytes,
                wanted,
            }
            .into());
        }
        Ok(Opened::Qcow2(image))
    }

    fn open_raw(&self, path: &Path, create: Option<u64>, read_only: bool) -> Result<Opened> {
        let is_drive = std::fs::metadata(path).is_ok_and(|at| at.file_type().is_block_device());
        if is_drive && !read_only && !self.allow_write {
            bail!(
                "{} is a drive, and a guest may destroy what is on it: give --allow-write if it \
                 may, or --read-only, or --overlay FILE to leave it as it is",
                path.display()
            );
        }
        let options = RawFileOptions { create, read_only };
        if self.direct && self.aio == Aio::Sync {
            bail!("--direct is for --aio uring: leave one of them out");
        }
        if self.aio == Aio::Uring {
            let opened = if self.direct {
                Uring::open_direct(path, options)
            } else {
                Uring::open(path, options)
            };
            match opened {
                Err(VssdError::Uring { source }) => log::warn!(
                    "io_uring is not to be had ({source}): {} is read and written one request at \
                     a time, as with --aio sync",
                    path.display()
                ),
                opened => return Ok(Opened::Uring(Box::new(opened?))),
            }
        }
        Ok(Opened::Sync(RawFile::open(path, options)?))
    }
}

/// Whether the name of the file says that it is a qcow2 image.
fn is_named_qcow2(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("qcow2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn open(arguments: &MediaArguments, path: &Path, create: Option<u64>) -> Result<Opened> {
        arguments.open(&Disk::Image(path.to_owned()), create, false)
    }

    #[test]
    fn an_image_is_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let [raw, qcow2] = ["a.img", "a.qcow2"].map(|name| dir.path().join(name));
        let plain = MediaArguments::default();
        let error = open(&plain, &raw, None).unwrap_err().to_string();
        assert!(error.contains("--create"), "{error}");
        assert!(matches!(
            open(&plain, &raw, Some(MIB)).unwrap(),
            Opened::Uring(_)
        ));
        let sync = MediaArguments {
            aio: Aio::Sync,
            ..MediaArguments::default()
        };
        assert!(matches!(open(&sync, &raw, None).unwrap(), Opened::Sync(_)));
        for create in [Some(MIB), None] {
            let opened = open(&plain, &qcow2, create).unwrap();
            assert!(matches!(opened, Opened::Qcow2(_)));
        }
        let error = open(&plain, &qcow2, Some(2 * MIB)).unwrap_err().to_string();
        assert!(error.contains("not 2097152"), "{error}");
        // By content, whatever its name; but not where that is overruled.
        let other = dir.path().join("b.img");
        std::fs::rename(&qcow2, &other).unwrap();
        assert!(matches!(
            open(&plain, &other, None).unwrap(),
            Opened::Qcow2(_)
        ));
        let forced = MediaArguments {
            format: Some(ImageFormat::Raw),
            ..MediaArguments::default()
        };
        assert!(matches!(
            open(&forced, &other, None).unwrap(),
            Opened::Uring(_)
        ));
    }

    /// What a guest could write into a raw image to read a file of the host.
    #[test]
    fn a_raw_image_that_became_a_qcow2_image_builds_on_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let [secret, overlay] = ["secret", "disk.img"].map(|name| dir.path().join(name));
        std::fs::File::create(&secret)
            .unwrap()
            .set_len(MIB)
            .unwrap();
        let arguments = MediaArguments {
            overlay: Some(overlay.clone()),
            ..MediaArguments::default()
        };
        drop(open(&arguments, &secret, None).unwrap());
        let error = open(&MediaArguments::default(), &overlay, None).unwrap_err();
        assert!(error.to_string().contains("--format qcow2"), "{error}");
        let known = MediaArguments {
            format: Some(ImageFormat::Qcow2),
            ..MediaArguments::default()
        };
        open(&known, &overlay, None).unwrap();
    }

    #[test]
    fn memory_has_no_overlay() {
        let arguments = MediaArguments {
            overlay: Some("changes.qcow2".into()),
            ..MediaArguments::default()
        };
        let error = arguments.open(&Disk::Ram(MIB), None, false).unwrap_err();
        assert!(error.to_string().contains("for images"), "{error}");
        assert_eq!(
            arguments.changed(Path::new("base.img")),
            Path::new("changes.qcow2")
        );
    }
}
