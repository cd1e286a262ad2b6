//! Locks on disk images, the same that QEMU takes.
#![expect(
    unsafe_code,
    reason = "locks of open file descriptions are to be had by fcntl only"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

/// QEMU's programs say what they do with an image by shared locks on single
/// bytes: byte 100 + n, that they do n; byte 200 + n, that nobody else may.
const DOES: i64 = 100;
const FORBIDS: i64 = 200;
/// Reads, and relies on what it has read.
const READ: i64 = 0;
/// Writes.
const WRITE: i64 = 1;
/// Changes the size.
const RESIZE: i64 = 3;

/// What became of an attempt to lock.
#[derive(Debug)]
pub(super) enum Locked {
    /// It is locked until `file`, and all its duplicates, are closed.
    Yes,
    /// Somebody uses it in a way that does not go with ours.
    InUse,
    /// The file system has no locks.
    Unsupported(io::Error),
}

fn byte(kind: i16, at: i64) -> libc::flock {
    libc::flock {
        l_type: kind,
        l_whence: 0,
        l_start: at,
        l_len: 1,
        l_pid: 0,
    }
}

/// `SEEK_SET`, and the lock types, in the width that the structure has.
const READ_LOCK: i16 = 0;
const WRITE_LOCK: i16 = 1;
const NO_LOCK: i16 = 2;

fn fcntl(file: BorrowedFd<'_>, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the structure is ours, and outlives the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Locks an image that is read, or `written` as well. Others may read along with
/// readers; a writer is alone.
pub(super) fn lock(file: BorrowedFd<'_>, written: bool) -> Locked {
    let does: &[i64] = if written { &[READ, WRITE] } else { &[READ] };
    let forbids = &[WRITE, RESIZE][..];
    // First say it, then look: of two that do so at once, none goes unseen.
    let said = does
        .iter()
        .map(|at| DOES + at)
        .chain(forbids.iter().map(|at| FORBIDS + at));
    for at in said {
        match fcntl(file, libc::F_OFD_SETLK, &mut byte(READ_LOCK, at)) {
            Ok(()) => {}
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EACCES) => Locked::InUse,
                    _ => Locked::Unsupported(error),
                };
            }
        }
    }
    let seen = does
        .iter()
        .map(|at| FORBIDS + at)
        .chain(forbids.iter().map(|at| DOES + at));
    for at in seen {
        let mut other = byte(WRITE_LOCK, at);
        match fcntl(file, libc::F_OFD_GETLK, &mut other) {
            Ok(()) if other.l_type == NO_LOCK => {}
            Ok(()) => return Locked::InUse,
            Err(error) => return Locked::Unsupported(error),
        }
    }
    Locked::Yes
}

/// Says of an image that was locked as written that it is only read from now on:
/// others may read it along, and nobody may write it.
pub(super) fn share(file: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(file, libc::F_OFD_SETLK, &mut byte(NO_LOCK, DOES + WRITE))
}

/// Takes back what [`share`] gave; [`Locked::InUse`] where somebody relies on it.
pub(super) fn unshare(file: BorrowedFd<'_>) -> Locked {
    lock(file, true)
}

/// Names a process that has `file` open, other than through `file` itself, for a
/// message: `process 17 (qemu-img)`. Those of other users are not to be seen.
pub(super) fn holder(file: &File) -> String {
    let somebody = || "another process".to_owned();
    let Ok(metadata) = file.metadata() else {
        return somebody();
    };
    let wanted = (metadata.dev(), metadata.ino());
    let own = std::process::id();
    let mut here = false;
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let files = std::fs::read_dir(process.path().join("fd"));
        let ours = file.as_raw_fd().to_string();
        let has = files.into_iter().flatten().flatten().any(|fd| {
            let is_ours = pid == own && fd.file_name() == ours.as_str();
            let there = std::fs::metadata(fd.path()).map(|at| (at.dev(), at.ino()));
            !is_ours && there.is_ok_and(|there| there == wanted)
        });
        if has && pid != own {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return format!("process {pid} ({})", name.trim_end());
        }
        here |= has;
    }
    if here {
        "this very process".to_owned()
    } else {
        somebody()
    }
}
