//! From a tap to a trace file, without holding up the data path.
//!
//! ```text
//!   data path                      writer thread
//!   RingTap --- ring of rows ----> traces::Writer ---> FILE.vtr
//!   (no lock, no allocation,       (encodes whole blocks where they
//!    no system call a command)      stand in the ring, writes them)
//! ```
//!
//! A [`Recorder`] starts the thread and hands out the [`RingTap`] for the data
//! path and a [`RecorderHandle`] for whoever stops the recording.
//!
//! The recording never lies. A full ring makes the tap wait, or, where
//! [`OnFull::Drop`] is chosen, count what it drops, and a gap with the exact
//! number is written. What commands write, where the header says that this is
//! recorded, goes through a ring of its own, for one copy of the data on the
//! data path; the writer thread hashes or compresses it. A failed write (a full disk) ends the recording at the
//! last whole block, with one line in the log and the reason in the handle;
//! the tap is silent from then on, and the guest goes on.
//!
//! This crate does not decide what is recorded (the tap's owner does) and does
//! not know the file's format (`traces` does). One recording has one tap, of
//! which other threads may have [branches](traces::Branch), each with a ring of
//! its own.

mod beside;
mod error;
mod feed;
mod output;
mod payload;
mod tap;
mod thread;
mod window;

pub use error::RecorderError;
pub use output::Output;
pub use tap::RingTap;
pub use window::{Window, WindowCount};

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use traces::{Header, Resolution, Totals, Writer, WriterOptions};

use crate::tap::{Shared, Sizes};
use crate::thread::Drain;

/// How a recording is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderOptions {
    /// How the trace is written.
    pub writer: WriterOptions,
    /// Room between tap and writer, in commands, of 64 bytes each. At least 256;
    /// the default is 65,536, 4 MiB: half of it holds what two million commands a
    /// second make until the writer looks again. Four times the commands of a block
    /// or more, or blocks are not encoded where they stand.
    pub ring_rows: usize,
    /// Room for what is written between tap and writer, bytes, where the
    /// header says that it is recorded ([`Header::payload`]); at least 513 KiB.
    /// The default is 32 MiB: what hashes and compresses is slower than guests
    /// write at their best.
    pub payload_bytes: usize,
    /// What to do where that room is full.
    pub on_full: OnFull,
    /// After this long, a block is written even where it is not full: what a
    /// crash can cost.
    pub block_open_max: Duration,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            // Smaller blocks than a trace to keep has, for the cache's sake, too.
            writer: WriterOptions::default().block_commands(4096),
            ring_rows: 1 << 16,
            payload_bytes: 32 << 20,
            on_full: OnFull::Wait,
            block_open_max: Duration::from_secs(1),
        }
    }
}

impl RecorderOptions {
    /// These options, with leave to overwrite a file or without it.
    #[must_use]
    pub const fn overwrite(mut self, overwrite: bool) -> Self {
        self.writer.overwrite = overwrite;
        self
    }

    /// These options, with times kept as exactly as this.
    #[must_use]
    pub const fn resolution(mut self, resolution: Resolution) -> Self {
        self.writer.resolution = resolution;
        self
    }

    /// These options, with this much room between tap and writer.
    #[must_use]
    pub const fn ring_rows(mut self, ring_rows: usize) -> Self {
        self.ring_rows = ring_rows;
        self
    }

    /// These options, with this much room for what is written between tap and
    /// writer.
    #[must_use]
    pub const fn payload_bytes(mut self, payload_bytes: usize) -> Self {
        self.payload_bytes = payload_bytes;
        self
    }

    /// These options, with this to be done where that room is full.
    #[must_use]
    pub const fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }
}

/// What the tap does where the writer does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// Wait for room: nothing is lost, the data path is held up.
    #[default]
    Wait,
    /// Drop commands, and write a gap with their exact number; drop what
    /// commands wrote, and write how many lost it. Events are never dropped.
    Drop,
}

/// What a recording came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingSummary {
    /// The file, as it was named.
    pub path: String,
    /// What it holds.
    pub totals: Totals,
    /// Its length, bytes.
    pub bytes: u64,
}

/// Starts recordings.
#[derive(Debug)]
pub struct Recorder;

impl Recorder {
    /// Creates the trace `path` and starts recording into it.
    ///
    /// # Errors
    /// [`RecorderError::Trace`] where the file cannot be created (it is there
    /// already, for one), [`RecorderError::Thread`] where no thread can be
    /// started.
    pub fn start(
        path: impl AsRef<Path>,
        header: &Header,
        options: RecorderOptions,
    ) -> Result<(RecorderHandle, RingTap), RecorderError> {
        let path = path.as_ref();
        let writer: Writer<File> = Writer::create(path, header, options.writer)?;
        Self::run((writer, header), path.display().to_string(), options)
    }

    /// As [`Recorder::start`], into anything; errors call it `name`.
    ///
    /// # Errors
    /// As [`Recorder::start`].
    pub fn start_on<O: Output + 'static>(
        output: O,
        name: &str,
        header: &Header,
        options: RecorderOptions,
    ) -> Result<(RecorderHandle, RingTap), RecorderError> {
        let writer = Writer::named(output, name.to_owned(), header, options.writer)?;
        Self::run((writer, header), name.to_owned(), options)
    }

    fn run<O: Output + 'static>(
        (writer, header): (Writer<O>, &Header),
        path: String,
        options: RecorderOptions,
    ) -> Result<(RecorderHandle, RingTap), RecorderError> {
        let (feed, way) = tap::way(Sizes {
            rows: options.ring_rows,
            payload_bytes: header.payload.as_ref().map(|_| options.payload_bytes),
        });
        let shared = Arc::new(Shared::default());
        let drain = Drain::new(
            writer,
            path,
            feed,
            Arc::clone(&shared),
            options.block_open_max,
        );
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || drain.run())
            .map_err(|source| RecorderError::Thread { source })?;
        let tap = RingTap::new(
            way,
            Arc::clone(&shared),
            thread.thread().clone(),
            options.on_full,
        );
        let thread = Some(thread);
        Ok((RecorderHandle { shared, thread }, tap))
    }
}

/// How far a recording has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Commands that the writer has taken from the tap.
    pub commands: u64,
    /// Commands in gaps: those that were dropped.
    pub lost: u64,
    /// Bytes of the file that are whole blocks.
    pub bytes: u64,
}

/// Holds a recording; dropping it stops the recording.
#[derive(Debug)]
pub struct RecorderHandle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<RecordingSummary, RecorderError>>>,
}

impl RecorderHandle {
    /// Stops the recording: writes what the tap has given so far and the
    /// index, and waits until the disk has it. What the tap is given later is
    /// not recorded.
    ///
    /// # Errors
    /// [`RecorderError::Ended`] where the recording had ended before its time
    /// (the trace is good up to there); [`RecorderError::Died`] where the
    /// writer thread panicked.
    pub fn stop(mut self) -> Result<RecordingSummary, RecorderError> {
        self.join().unwrap_or(Err(RecorderError::Died))
    }

    /// Whether the recording still runs: false once it failed.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        !self.shared.is_closed()
    }

    /// Why the recording ended before its time; none while it has not.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.shared.failure()
    }

    /// How far the recording has got, as of some tens of milliseconds ago.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    fn join(&mut self) -> Option<Result<RecordingSummary, RecorderError>> {
        let thread = self.thread.take()?;
        self.shared.close();
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for RecorderHandle {
    fn drop(&mut self) {
        // A failure has been logged by the thread.
        let _ = self.join();
    }
}
