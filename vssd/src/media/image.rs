//! Opening a disk image: made where it is wanted, locked, measured.

use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::lock::{self, Locked};
use super::{MediaError, RawFileOptions};
use crate::VssdError;

/// How often a lock is tried again, every 10 ms.
const LOCK_TRIES: u32 = 20;

/// An image that is open and locked.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// The path, to print.
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) read_only: bool,
    /// Whether it is a block device.
    pub(super) is_device: bool,
}

impl Image {
    /// Opens (or makes) the file, or opens the block device, at `path`.
    pub(super) fn open(path: &Path, options: RawFileOptions) -> Result<Self, VssdError> {
        let failed = |action: &'static str| {
            move |source: io::Error| VssdError::File {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let is_device = std::fs::metadata(path).is_ok_and(|at| at.file_type().is_block_device());
        if is_device && !options.read_only {
            refuse_used(path).map_err(failed("write to the drive"))?;
        }
        let mut open = OpenOptions::new();
        open.read(true)
            .write(!options.read_only)
            .create(options.create.is_some() && !options.read_only && !is_device)
            .truncate(false);
        if is_device && !options.read_only {
            // The kernel refuses what is mounted, or part of something else.
            open.custom_flags(libc::O_EXCL);
        }
        let opened = open.open(path);
        let opened = opened.map_err(|error| unwritable(error, !options.read_only));
        let file = opened.map_err(failed("open the disk image"))?;
        Self::lock(&file, path, !options.read_only)?;
        let metadata = file.metadata().map_err(failed("look at the disk image"))?;
        if !metadata.is_file() && !metadata.file_type().is_block_device() {
            let source = io::Error::other("it is neither a regular file nor a block device");
            return Err(failed("use as a disk image")(source));
        }
        let there = size(&file).map_err(failed("find the size of"))?;
        let bytes = match options.create {
            Some(bytes) if there == 0 && metadata.is_file() => {
                set_size(&file, bytes).map_err(failed("set the size of the disk image"))?;
                bytes
            }
            Some(bytes) if there != bytes => {
                return Err(VssdError::Exists {
                    path: path.to_owned(),
                    bytes: there,
                    wanted: bytes,
                });
            }
            _ => there,
        };
        Ok(Self {
            file,
            path: path.to_owned(),
            name: path.display().to_string(),
            bytes,
            read_only: options.read_only,
            is_device,
        })
    }

    /// Locks `file`, as QEMU would.
    pub(super) fn lock(file: &File, path: &Path, written: bool) -> Result<(), VssdError> {
        // A process that is about to start another shares its locks with that
        // for a moment, even with one that it gives back just then.
        let mut locked = lock::lock(file.as_fd(), written);
        for _ in 0..LOCK_TRIES {
            if !matches!(locked, Locked::InUse) {
                break;
            }
            wait_a_moment();
            locked = lock::lock(file.as_fd(), written);
        }
        match locked {
            Locked::Yes => Ok(()),
            Locked::InUse => Err(VssdError::InUse {
                path: path.to_owned(),
                by: lock::holder(file),
            }),
            Locked::Unsupported(error) => {
                log::warn!(
                    "{}: cannot be locked ({error}): see to it that nobody else writes to it",
                    path.display()
                );
                Ok(())
            }
        }
    }

    /// Makes the image `bytes` bytes large, where somebody else has not done so; a
    /// drive is as large as the kernel says.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), VssdError> {
        let refused = |source| VssdError::not_grown(&self.name, bytes, source);
        let there = size(&self.file).map_err(refused)?;
        let why = match there.cmp(&bytes) {
            Ordering::Equal => None,
            Ordering::Greater => Some(format!("it has {there} by now: give that size")),
            Ordering::Less if self.is_device => Some(format!(
                "it is a drive of {there}: grow it first (lvextend, for one), and give the size \
                 that it has then"
            )),
            Ordering::Less if self.read_only => Some(format!(
                "it has {there}, and is served read-only: grow the file, or serve it without \
                 --read-only"
            )),
            // What is new becomes durable with the guest's next flush, as what is
            // written there does.
            Ordering::Less => {
                set_size(&self.file, bytes).map_err(refused)?;
                None
            }
        };
        match why {
            Some(why) => Err(refused(io::Error::other(why))),
            None => {
                self.bytes = bytes;
                Ok(())
            }
        }
    }

    /// The same image, and its lock, which is held until both are gone.
    pub(super) fn another(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            path: self.path.clone(),
            name: self.name.clone(),
            ..*self
        })
    }

    /// The same file, opened once more: with failures of writing that it sees for
    /// itself, and with `flags`.
    pub(super) fn reopen(&self, flags: i32) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(!self.read_only)
            .custom_flags(flags)
            .open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// How large a file or a block device is, bytes.
fn size(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Sets the size of a file.
fn set_size(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => io::Error::new(
            error.kind(),
            format!(
                "{error}; this file system has no file of {bytes} bytes (ext4 none of 16 TiB): \
                 name a qcow2 image (NAME.qcow2), or use XFS"
            ),
        ),
        _ => error,
    })
}

fn wait_a_moment() {
    let moment = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    // One that is cut short only has the lock tried earlier.
    let _ = rustix::thread::nanosleep(&moment);
}

/// Refuses to write to a drive with partitions, or that others hold.
fn refuse_used(path: &Path) -> io::Result<()> {
    let device = std::fs::metadata(path)?.rdev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let about = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let holders = std::fs::read_dir(about.join("holders"))
        .into_iter()
        .flatten();
    if let Some(holder) = holders.flatten().next() {
        let name = holder.file_name();
        return Err(io::Error::other(format!(
            "{} is made of it; take that apart first, or serve it read-only",
            name.to_string_lossy()
        )));
    }
    let parts = std::fs::read_dir(&about).into_iter().flatten().flatten();
    if let Some(part) = parts
        .into_iter()
        .find(|at| at.path().join("partition").exists())
    {
        let name = part.file_name();
        return Err(io::Error::other(format!(
            "it has partitions ({}); remove them first (wipefs), or serve it read-only",
            name.to_string_lossy()
        )));
    }
    Ok(())
}

/// Why an image could not be opened, and what else can be done, where it was to be
/// `written`.
pub(super) fn unwritable(error: io::Error, written: bool) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if written => {
            io::Error::new(
                error.kind(),
                format!(
                    "{error}; to only read it, give --read-only, and to keep changes elsewhere, \
                     --overlay FILE"
                ),
            )
        }
        _ => error,
    }
}

/// What the host is told of `error`.
pub(super) fn media_error(error: &io::Error, reading: bool) -> MediaError {
    match error.kind() {
        _ if reading => MediaError::Read,
        // A limit on the size of files (ulimit -f) is a full disk, too.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            MediaError::NoSpace
        }
        _ => MediaError::Write,
    }
}

#[cfg(test)]
pub(super) mod tests;
