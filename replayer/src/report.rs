//! What a replay came to.

mod table;
pub(crate) mod text;

use nvme::{NamespaceId, NvmOpcode};
use serde::Serialize;
use traces::Latency;

use crate::series::Series;
use crate::{Mapping, Reached, SkipReason, TimerJitter, TraceFacts};

/// What a replay came to: serialises for machines, and is displayed as a table
/// for people.
///
/// A recorded command counts once, however many commands it took to replay it;
/// its latency is from the first submission to the last completion.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// The pace, as [`crate::Pace`] displays it.
    pub pace: String,
    /// The most commands a second; none where there was no limit.
    pub iops_max: Option<u32>,
    /// The mapping of addresses.
    pub mapping: Mapping,
    /// Commands, by what became of them.
    pub commands: CommandCounts,
    /// Commands sent for the recorded ones: more, where some had to be split.
    pub sent: u64,
    /// The recorded commands that were replayed, by opcode, those with the
    /// most first.
    pub opcodes: Vec<OpcodeReport>,
    /// Commands that failed, by opcode and status, those with the most first.
    pub errors: Vec<ErrorReport>,
    /// Recorded commands that were not replayed, and why, those with the most
    /// first.
    pub skipped: Vec<SkippedReport>,
    /// How far submissions were behind schedule; none where there was none
    /// (pace `max`), or nothing was sent.
    pub pacing: Option<Pacing>,
    /// Waits of commands that were due for a place in their queue; none at
    /// pace `max`, which does nothing else.
    pub stalls: Option<Stalls>,
    /// How many commands were in flight.
    pub depth: DepthReport,
    /// How much longer the replay took than the trace at this pace,
    /// nanoseconds; none where recorded times do not count.
    pub drift_ns: Option<i64>,
    /// How late the machine itself wakes up, measured before the replay; none
    /// where it was not.
    pub timer: Option<TimerJitter>,
    /// What came of the verification; none where there was none.
    pub verified: Option<VerifiedReport>,
    /// The replay over time.
    pub series: Series,
    /// Commands of the trace, from its start or from where the replay began,
    /// that are dealt with if it is to go on later; none where it is complete.
    /// Those that were sent and never completed are not among them.
    pub resume_at: Option<Reached>,
    /// The queues.
    pub queues: Vec<QueueReport>,
    /// From the first submission to the last completion of what was replayed,
    /// when it was recorded, nanoseconds.
    pub recorded_ns: u64,
    /// From start to last completion of the replay, nanoseconds.
    pub replayed_ns: u64,
    /// Bytes read, as sent to the device.
    pub read_bytes: u64,
    /// Bytes written, as sent to the device.
    pub written_bytes: u64,
    /// What else there is to know, in sentences.
    pub notes: Vec<String>,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The trace was replayed to its end.
    Complete,
    /// It was stopped before.
    Stopped,
    /// It could not go on: why, and the way out.
    Failed(String),
}

/// Recorded commands, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CommandCounts {
    /// In the trace, as far as it was read: the sum of all others but
    /// [`CommandCounts::widened`].
    pub recorded: u64,
    /// Replayed with success.
    pub succeeded: u64,
    /// Replayed, failed, and had failed with the same status when they were
    /// recorded.
    pub failed_alike: u64,
    /// Replayed and failed otherwise.
    pub failed: u64,
    /// Sent, and never completed: the device was reset or lost.
    pub lost: u64,
    /// Sent in part or not at all, as the replay ended before.
    pub unfinished: u64,
    /// Not replayed; see [`Report::skipped`].
    pub skipped: u64,
    /// Of those that are replayed, the ones that cover more than was
    /// recorded, as the target's blocks are larger.
    pub widened: u64,
}

/// The replayed commands of one opcode.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OpcodeReport {
    /// The recorded opcode.
    pub opcode: u8,
    /// Its name, or its number in hexadecimal.
    pub name: String,
    /// How many completed.
    pub commands: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Bytes that they moved, zeroed or deallocated on the target.
    pub bytes: u64,
    /// Their latency when they were recorded; none where the trace has none.
    pub recorded: Option<Latency>,
    /// Their latency now.
    pub replayed: Option<Latency>,
    /// Quantiles of the recorded latency, to draw: quantile and nanoseconds.
    pub recorded_curve: Vec<(f64, u64)>,
    /// And of the latency now.
    pub replayed_curve: Vec<(f64, u64)>,
    /// By size, the smallest first.
    pub sizes: Vec<SizeReport>,
}

/// The replayed commands of one opcode up to a size.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SizeReport {
    /// They are as large as this or smaller, and larger than the class before;
    /// none for all that are larger.
    pub bytes_max: Option<u64>,
    /// How many completed.
    pub commands: u64,
    /// Their latency when they were recorded; none where the trace has none.
    pub recorded: Option<Latency>,
    /// Their latency now.
    pub replayed: Option<Latency>,
}

/// What was read, held against what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifiedReport {
    /// Blocks that were right.
    pub right_blocks: u64,
    /// Blocks of which nothing was certain: nobody wrote them, or a command
    /// was changing them.
    pub skipped_blocks: u64,
    /// Blocks that were wrong.
    pub wrong_blocks: u64,
    /// The first of them in words: what was expected, by whom, and what was
    /// found.
    pub mismatches: Vec<String>,
}

/// How many recorded commands were in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DepthReport {
    /// The mean when they were recorded; none where the trace does not tell.
    pub recorded_mean: Option<f64>,
    /// The most when they were recorded.
    pub recorded_max: Option<u32>,
    /// The mean of the replay.
    pub mean: f64,
    /// The most of the replay.
    pub max: u64,
}

/// Commands of one opcode that failed with one status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ErrorReport {
    /// The opcode's name.
    pub name: String,
    /// Status code and type, status field 10:00.
    pub code: u16,
    /// What the status is called.
    pub status: String,
    /// How many.
    pub commands: u64,
}

/// Commands of one opcode that were not replayed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SkippedReport {
    /// The opcode's name, or its number in hexadecimal.
    pub name: String,
    /// Why.
    pub reason: SkipReason,
    /// How many.
    pub commands: u64,
}

/// Actual minus scheduled submission, nanoseconds. Nothing is submitted early,
/// so none is below 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pacing {
    /// The median.
    pub p50_ns: u64,
    /// 99 in 100 were at most so late.
    pub p99_ns: u64,
    /// 999 in 1,000 were at most so late.
    pub p999_ns: u64,
    /// The latest.
    pub max_ns: u64,
}

/// Waits for a place in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stalls {
    /// How often a command that was due found its queue full.
    pub count: u64,
    /// How long queues were full with commands due, nanoseconds, summed over
    /// queues.
    pub total_ns: u64,
}

/// A queue of the replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueReport {
    /// Its identifier on the target.
    pub queue: u16,
    /// The recorded queues that it stands for.
    pub recorded: Vec<u16>,
    /// How many commands could be in flight.
    pub depth: usize,
    /// How many recorded commands it took.
    pub commands: u64,
}

impl Report {
    /// Whether the answer is yes: the whole trace was replayed, and no command
    /// failed that had not failed in the same way when it was recorded.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let CommandCounts {
            failed,
            lost,
            unfinished,
            ..
        } = self.commands;
        let wrong = self.verified.as_ref().map_or(0, |it| it.wrong_blocks);
        self.end == End::Complete && failed + lost + unfinished + wrong == 0
    }

    /// How many recorded commands were replayed a second; none where it took
    /// no time.
    #[must_use]
    pub fn commands_per_second(&self) -> Option<u64> {
        let done = self.commands.succeeded + self.commands.failed + self.commands.failed_alike;
        let rate = u128::from(done) * 1_000_000_000 / u128::from(self.replayed_ns.max(1));
        u64::try_from(rate).ok().filter(|_| self.replayed_ns > 0)
    }

    /// Adds what `facts` tell beside the numbers, and the namespaces that were
    /// replayed to another, as pairs of recorded and target.
    pub(crate) fn note(
        &mut self,
        facts: &TraceFacts,
        namespaces: impl Iterator<Item = (NamespaceId, NamespaceId)>,
    ) {
        for (recorded, target) in namespaces {
            if recorded != target {
                self.notes.push(format!(
                    "Recorded {recorded} was replayed to {target} of the device."
                ));
            }
        }
        if self.queues.len() < facts.queues.len() {
            self.notes.push(format!(
                "The {} recorded queues were folded onto {}.",
                facts.queues.len(),
                self.queues.len()
            ));
        }
        if let Some(compares) = facts.opcodes.get(&NvmOpcode::COMPARE.0) {
            self.notes.push(format!(
                "Compare ({compares}) was replayed as Read: the data to compare with is not in \
                 the trace."
            ));
        }
        if facts.lost > 0 {
            self.notes.push(format!(
                "The recording lost {} commands, which are not in the trace.",
                facts.lost
            ));
        }
    }
}
