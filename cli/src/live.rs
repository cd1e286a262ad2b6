//! What a drive that is being served says of itself: the answers of the
//! `--control` socket, for who gives and who shows them.

use serde::{Deserialize, Serialize};

/// The numbers of a drive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// When they were taken: nanoseconds of the drive's clock, which began with
    /// the server.
    pub(crate) at_ns: u64,
    /// The image that is written to, or what the disk is else.
    pub(crate) disk: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    /// Who uses it.
    pub(crate) client: Option<ClientStats>,
    /// Those that had commands.
    pub(crate) queues: Vec<QueueStats>,
    pub(crate) recording: RecordStatus,
}

/// Who uses a drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientStats {
    /// The process.
    pub(crate) name: String,
    /// Since when, nanoseconds since 1970.
    pub(crate) since_unix_ns: u64,
}

/// The numbers of a queue; 0 is the admin queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueStats {
    pub(crate) queue: u16,
    /// Commands that have not ended, and the most there were at a time.
    pub(crate) depth: u64,
    pub(crate) depth_max: u64,
    /// By kind of command.
    pub(crate) opcodes: Vec<OpcodeStats>,
    /// The last commands that ended, the newest first, as `vssd trace show` shows
    /// them.
    pub(crate) last: Vec<String>,
}

/// The numbers of one kind of commands, since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpcodeStats {
    pub(crate) opcode: String,
    /// Those that ended, those of them that failed, and those without an end: the
    /// guest reset the drive, or left.
    pub(crate) commands: u64,
    pub(crate) errors: u64,
    pub(crate) abandoned: u64,
    /// Data of those that succeeded.
    pub(crate) bytes: u64,
    pub(crate) latency_ns: Latency,
    /// Times, as pairs of the longest time of a bucket, in nanoseconds, and how
    /// many there were; a bucket's times differ by up to 6.25%.
    pub(crate) latency_buckets: Vec<(u64, u64)>,
}

/// From fetching to completion, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) sum: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// The recording that goes on, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordStatus {
    /// Whether every command is recorded. Not where one has failed: then there
    /// are a file and an error.
    pub(crate) recording: bool,
    pub(crate) file: Option<String>,
    /// Commands that it was given, and how many of them wait to be written.
    pub(crate) commands: u64,
    pub(crate) lag_commands: u64,
    /// Commands that were lost, which the trace says too.
    pub(crate) lost: u64,
    /// The file, as far as it is whole.
    pub(crate) bytes: u64,
    /// Since when, nanoseconds since 1970, and for how long.
    pub(crate) since_unix_ns: u64,
    pub(crate) duration_ns: u64,
    /// Why it ended before its time.
    pub(crate) error: Option<String>,
}

/// What a recording that was stopped has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) file: String,
    pub(crate) commands: u64,
    /// Those that had not ended, which stand in it without a completion.
    pub(crate) unfinished: u64,
    /// Those that are missing: it has a gap of so many.
    pub(crate) lost: u64,
    pub(crate) bytes: u64,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapped {
    /// What stays as it is.
    pub(crate) snapshot: String,
    /// Where the drive goes on.
    pub(crate) file: String,
    pub(crate) bytes: u64,
    /// The drive's serial number, for when it is served again.
    pub(crate) serial: String,
    /// How long the drive stood still.
    pub(crate) paused_ns: u64,
}

/// A drive that has grown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resized {
    /// The image that is written to, or what the disk is else.
    pub(crate) disk: String,
    /// Its size before, and now.
    pub(crate) before_bytes: u64,
    pub(crate) bytes: u64,
    /// The namespace that has all of the drive, and grew with it; none where what is new
    /// is space for another.
    pub(crate) namespace: Option<ResizedNamespace>,
}

/// A namespace, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResizedNamespace {
    pub(crate) nsid: u32,
    pub(crate) blocks: u64,
    pub(crate) block_bytes: u32,
}
