//! What can go wrong, and the way out of it.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Any failure of the kit or of a guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KitError {
    /// A file or directory could not be read, written or moved.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no place to keep the kit in.
    #[error("no cache directory: set VSSD_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    /// A program that the kit is built with does not start.
    #[error("cannot run {program} ({source}): {hint}")]
    Tool {
        /// Name or path of the program.
        program: String,
        /// The system's answer.
        source: io::Error,
        /// How to get it.
        hint: &'static str,
    },
    /// A program that the kit is built with reported a failure.
    #[error("{purpose}: {program} ended with {status}: {stderr}")]
    ToolFailed {
        /// What it ran for.
        purpose: String,
        /// Name or path of the program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last words.
        stderr: String,
    },
    /// What a kernel is built with is not there.
    #[error(
        "a kernel with iommufd is built from its sources, and for that this machine lacks \
         {missing}: apt-get install {missing}"
    )]
    NoCompiler {
        /// The packages that are missing.
        missing: String,
    },
    /// apt's sources name no Debian mirror.
    #[error(
        "apt's sources on this machine name no Debian mirror to take packages from: \
         set VSSD_MIRROR to the URI of one, as it would stand in sources.list"
    )]
    NoMirror,
    /// There are no Debian packages for this machine.
    #[error(
        "the kit provides programs for x86-64 and arm64, not for {arch}: \
         install QEMU 10.1 or later and e2fsprogs, then set VSSD_QEMU"
    )]
    Architecture {
        /// The architecture in question.
        arch: &'static str,
    },
    /// The QEMU that `VSSD_QEMU` or the options name will not do.
    #[error("{} is no QEMU 10.1 or later with vfio-user-pci: {reason}", path.display())]
    UnfitQemu {
        /// The program.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// Something that an unpacked package should hold is not in it.
    #[error(
        "{what} is missing among the unpacked packages, expected at {}: \
         the mirror may be of another Debian release than 13; see VSSD_MIRROR",
        path.display()
    )]
    Incomplete {
        /// What it is.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// QEMU takes its options as text, and this path is not.
    #[error("{} cannot be passed to QEMU: a path must be valid UTF-8", path.display())]
    PathNotText {
        /// The path.
        path: PathBuf,
    },
    /// The launch asks for something that cannot be.
    #[error("this guest cannot be launched: {reason}")]
    Launch {
        /// What is wrong, and what to set instead.
        reason: String,
    },
    /// KVM was demanded and is not to be had.
    #[error("KVM does not work here ({reason}): set VSSD_ACCEL=tcg, or choose Accel::Auto")]
    NoKvm {
        /// What the probe saw.
        reason: String,
    },
    /// QEMU ended, or the guest within it, before the job was done.
    #[error(
        "QEMU ended ({status}) before its guest had reported the end of the job\n\
         QEMU said:\n{stderr}\nthe guest's console ended with:\n{serial}\nit was run as:\n{command}"
    )]
    Died {
        /// How the process ended.
        status: ExitStatus,
        /// The last lines of its stderr.
        stderr: String,
        /// The last lines of the guest's console.
        serial: String,
        /// The command line, to paste.
        command: String,
    },
    /// The guest's init could not do its part.
    #[error("the guest gave up: {message}\nits console ended with:\n{serial}")]
    Guest {
        /// What init said.
        message: String,
        /// The last lines of the guest's console.
        serial: String,
    },
    /// Nothing happened for too long. The guest still runs.
    #[error(
        "no {what} within {timeout:?}\nthe job's last line: {last_line}\n\
         the guest's console ended with:\n{serial}"
    )]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        timeout: Duration,
        /// The last line of the job's output.
        last_line: String,
        /// The last lines of the guest's console.
        serial: String,
    },
    /// QEMU's control socket did not do what it was asked.
    #[error("QEMU did not take the command {command}: {reason}")]
    Control {
        /// The QMP command.
        command: &'static str,
        /// What happened instead.
        reason: String,
    },
}

impl KitError {
    /// For `map_err`: an I/O error with what was tried, and on what.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}
