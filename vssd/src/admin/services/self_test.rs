//! Device self-test: it takes its time, reads the medium stretch by stretch, and
//! remembers how the last ones ended.

use std::collections::VecDeque;
use std::ops::Range;

use nvme::{SelfTestEntry, SelfTestLog, SelfTestOperation, SelfTestResult, SelfTestStatus, Status};
use serde::{Deserialize, Serialize};

/// Results that the log has room for.
const RESULTS: usize = 20;
/// A test reads the medium in so many stretches.
const STRETCHES: u32 = 1000;

/// How long self-tests take. A drive tells minutes (EDSTT),
/// whatever these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfTestConfig {
    /// The short one, ns; the specification allows two minutes.
    pub short_ns: u64,
    /// The extended one, ns.
    pub extended_ns: u64,
}

impl Default for SelfTestConfig {
    fn default() -> Self {
        Self {
            short_ns: 30_000_000_000,
            extended_ns: 120_000_000_000,
        }
    }
}

impl SelfTestConfig {
    /// Extended Device Self-test Time of Identify Controller: minutes, rounded
    /// up.
    pub(crate) fn edstt(&self) -> u16 {
        let minutes = self.extended_ns.div_ceil(60_000_000_000);
        u16::try_from(minutes).unwrap_or(u16::MAX)
    }
}

/// A part of what a test covers, in thousandths of the namespaces that it is on.
pub(crate) type Stretch = Range<u32>;

/// A test that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    extended: bool,
    /// Zero where only the controller is tested, all ones for every namespace.
    nsid: u32,
    /// How long it ran before it was interrupted, ns.
    ran_ns: u64,
    /// Since when it runs; none while the drive is without power.
    #[serde(skip)]
    since_ns: Option<u64>,
    /// What of the medium was handed out to be read.
    read: u32,
    /// What of the medium was read.
    verified: u32,
    takes_ns: u64,
}

impl Running {
    fn ran_ns(&self, now_ns: u64) -> u64 {
        let now = self
            .since_ns
            .map_or(0, |since| now_ns.saturating_sub(since));
        self.ran_ns.saturating_add(now)
    }

    /// Thousandths that should have been done by now.
    fn due(&self, now_ns: u64) -> u32 {
        let done = u128::from(self.ran_ns(now_ns)).saturating_mul(STRETCHES.into());
        let thousandths = done.checked_div(self.takes_ns.into());
        let thousandths = thousandths.unwrap_or(STRETCHES.into());
        u32::try_from(thousandths).map_or(STRETCHES, |done| done.min(STRETCHES))
    }

    const fn operation(&self) -> SelfTestOperation {
        if self.extended {
            SelfTestOperation::Extended
        } else {
            SelfTestOperation::Short
        }
    }
}

/// A result, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    extended: bool,
    result: u8,
    hours: u64,
    /// Namespace, block and status of what failed.
    failure: Option<(Option<(u32, u64)>, u16)>,
}

/// What a failed stretch of a test is told as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The namespace and the first block that could not be read, where they are
    /// known.
    pub(crate) place: Option<(u32, u64)>,
    /// Why.
    pub(crate) status: Status,
}

/// The self-tests of a drive: one at a time (DSTO). They survive a power cycle.
///
/// ```text
///            short, extended
///   Idle ----------------------> Running --- time is over, all is read
///    ^                            |  ^  |                           |
///    |   abort, failure, format,  |  +--+ extended: resets, power   |
///    +-- sanitize; short: reset --+                                 |
///    +--------------------------------------------------------------+
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SelfTest {
    running: Option<Running>,
    /// The newest first.
    results: VecDeque<Kept>,
}

impl SelfTest {
    /// Device Self-test (`NVMe Base 2.1 §5.1.5`). `nsid` was checked.
    pub(crate) fn command(
        &mut self,
        config: &SelfTestConfig,
        code: u8,
        nsid: u32,
        now_ns: u64,
        hours: u64,
    ) -> Result<(), Status> {
        let extended = match SelfTestOperation::from_code(code) {
            Some(SelfTestOperation::Short) => false,
            Some(SelfTestOperation::Extended) => true,
            Some(SelfTestOperation::Abort) => {
                self.end(SelfTestResult::AbortedByCommand, None, hours);
                return Ok(());
            }
            _ => return Err(Status::INVALID_FIELD.dnr()),
        };
        if self.running.is_some() {
            return Err(Status::SELF_TEST_IN_PROGRESS.dnr());
        }
        self.running = Some(Running {
            extended,
            nsid,
            ran_ns: 0,
            since_ns: Some(now_ns),
            read: 0,
            verified: 0,
            takes_ns: if extended {
                config.extended_ns
            } else {
                config.short_ns
            },
        });
        Ok(())
    }

    /// Whether a test runs.
    pub(crate) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The namespace that is tested: 0 for none, all ones for each.
    pub(crate) fn namespace(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.nsid)
    }

    /// What is to be read now, so that the reading keeps pace with time. A short
    /// test reads each tenth stretch only. The answer is [`SelfTest::verified`]
    /// or [`SelfTest::failed`]; until then nothing else is handed out.
    pub(crate) fn next(&mut self, now_ns: u64) -> Option<Stretch> {
        let running = self.running.as_mut()?;
        if running.read != running.verified {
            return None;
        }
        let step = if running.extended { 1 } else { 10 };
        let start = running.verified;
        if start >= STRETCHES || start >= running.due(now_ns) {
            return None;
        }
        running.read = start.saturating_add(step).min(STRETCHES);
        Some(start..start.saturating_add(1))
    }

    /// What [`SelfTest::next`] handed out was read.
    pub(crate) fn verified(&mut self) {
        if let Some(running) = &mut self.running {
            running.verified = running.read;
        }
    }

    /// What [`SelfTest::next`] handed out could not be read: the test ends.
    pub(crate) fn failed(&mut self, failure: Failure, hours: u64) {
        self.end(SelfTestResult::SegmentFailed, Some(failure), hours);
    }

    /// Ends a test whose time is over and whose reading is done; whether it did.
    pub(crate) fn poll(&mut self, now_ns: u64, hours: u64) -> bool {
        let over = self.running.as_ref().is_some_and(|running| {
            running.due(now_ns) >= STRETCHES && running.verified >= STRETCHES
        });
        if over {
            self.end(SelfTestResult::Passed, None, hours);
        }
        over
    }

    /// Ends the test that runs, if there is one, for `reason`: a format, a
    /// sanitize operation, or the removal of its namespace.
    pub(crate) fn abort(&mut self, reason: SelfTestResult, hours: u64) {
        self.end(reason, None, hours);
    }

    /// A controller level reset: the short test is aborted, the extended one
    /// goes on (`NVMe Base 2.1 §8.1.7`).
    pub(crate) fn reset(&mut self, now_ns: u64, hours: u64) {
        match &mut self.running {
            Some(running) if running.extended => {
                running.ran_ns = running.ran_ns(now_ns);
                running.since_ns = Some(now_ns);
                // What was handed out is not answered any more.
                running.read = running.verified;
            }
            _ => self.end(SelfTestResult::AbortedByReset, None, hours),
        }
    }

    fn end(&mut self, result: SelfTestResult, failure: Option<Failure>, hours: u64) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.results.truncate(RESULTS - 1);
        self.results.push_front(Kept {
            extended: running.extended,
            result: result as u8,
            hours,
            failure: failure.map(|failure| (failure.place, failure.status.field())),
        });
    }

    /// The log page (`NVMe Base 2.1 §5.1.12.1.7`).
    pub(crate) fn log(&self, now_ns: u64) -> SelfTestLog {
        let unused = SelfTestEntry {
            status: SelfTestStatus::new()
                .with_result(SelfTestResult::Unused as u8)
                .into_bits(),
            ..SelfTestEntry::default()
        };
        let mut log = SelfTestLog {
            results: [unused; RESULTS],
            ..SelfTestLog::default()
        };
        if let Some(running) = &self.running {
            log.operation = running.operation() as u8;
            let percent = running.due(now_ns).min(running.verified) / (STRETCHES / 100);
            log.completion = u8::try_from(percent).unwrap_or(100).min(99);
        }
        for (entry, kept) in log.results.iter_mut().zip(&self.results) {
            *entry = entry_of(kept);
        }
        log
    }
}

fn entry_of(kept: &Kept) -> SelfTestEntry {
    let code = if kept.extended {
        SelfTestOperation::Extended
    } else {
        SelfTestOperation::Short
    };
    let status = SelfTestStatus::new()
        .with_code(code as u8)
        .with_result(kept.result);
    let mut entry = SelfTestEntry {
        status: status.into_bits(),
        power_on_hours: kept.hours.into(),
        ..SelfTestEntry::default()
    };
    if let Some((place, status)) = kept.failure {
        let status = Status::from_field(status);
        // The second segment is the reading of the medium.
        entry.segment = 2;
        entry.valid = SelfTestEntry::TYPE_VALID | SelfTestEntry::CODE_VALID;
        if let Some((nsid, lba)) = place {
            entry.valid |= SelfTestEntry::NSID_VALID | SelfTestEntry::LBA_VALID;
            entry.namespace_id = nsid.into();
            entry.failing_lba = lba.into();
        }
        let [_, code_type] = status.field().to_le_bytes();
        entry.status_code_type = code_type & 0b111;
        entry.status_code = status.code();
    }
    entry
}
