//! Telemetry: what a drive tells its maker when it is asked to, or when it finds
//! that something went wrong.
//!
//! A data area is JSON text, padded with zeroes to whole blocks: the first has
//! the counters, the second the recent admin commands, the third the recent
//! errors.

use std::collections::VecDeque;

use nvme::{LogPageId, Sqe, Status, TelemetryHeader};
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

const BLOCK: usize = TelemetryHeader::BLOCK_BYTES;
/// Recent commands that are kept.
const COMMANDS: usize = 128;

/// An admin command, as telemetry tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    at_ns: u64,
    opcode: u8,
    nsid: u32,
    cdw10: u32,
    cdw11: u32,
}

impl Note {
    pub(crate) fn of(sqe: &Sqe, at_ns: u64) -> Self {
        Self {
            at_ns,
            opcode: sqe.opcode,
            nsid: sqe.nsid().0,
            cdw10: sqe.cdw10.get(),
            cdw11: sqe.cdw11.get(),
        }
    }
}

/// Why controller-initiated data was made: the first byte of the reason
/// identifier; the rest is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A self-test found a failure.
    SelfTestFailed = 1,
    /// The Keep Alive timer expired.
    KeepAliveExpired = 2,
    /// The medium failed a command.
    MediaError = 3,
}

impl Reason {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::SelfTestFailed => b"self-test failed",
            Self::KeepAliveExpired => b"keep alive timer expired",
            Self::MediaError => b"media error",
        }
    }

    fn identifier(self) -> [u8; 128] {
        let mut field = [0; 128];
        let bytes = std::iter::once(self as u8).chain(self.text().iter().copied());
        for (slot, byte) in field.iter_mut().zip(bytes) {
            *slot = byte;
        }
        field
    }
}

/// Data that was made: areas 1 to 3 in whole blocks, and where each ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Capture {
    data: Vec<u8>,
    last: [u16; 3],
    generation: u8,
    /// The first byte of the reason; 0 for what the host asked for.
    reason: u8,
}

impl Capture {
    /// Replaces the data. Each area ends where the next begins; one that would
    /// not fit is left out.
    fn fill(&mut self, areas: &[Vec<u8>]) {
        self.data.clear();
        for (last, area) in self.last.iter_mut().zip(areas) {
            let bytes = area.len().next_multiple_of(BLOCK);
            let end = self.data.len().saturating_add(bytes);
            if u16::try_from(end / BLOCK).is_ok() {
                self.data.extend_from_slice(area);
                self.data.resize(end, 0);
            }
            *last = u16::try_from(self.data.len() / BLOCK).unwrap_or(u16::MAX);
        }
        self.generation = self.generation.wrapping_add(1);
    }
}

/// The telemetry of a drive. Its data survives resets and power cycles.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Telemetry {
    host: Capture,
    controller: Capture,
    available: bool,
    #[serde(skip)]
    commands: VecDeque<Note>,
}

impl Telemetry {
    /// Keeps an admin command in mind.
    pub(crate) fn note(&mut self, note: Note) {
        self.commands.truncate(COMMANDS - 1);
        self.commands.push_front(note);
    }

    /// The recent admin commands, the newest first.
    pub(crate) const fn commands(&self) -> &VecDeque<Note> {
        &self.commands
    }

    /// Makes host-initiated data.
    pub(crate) fn create(&mut self, areas: &[Vec<u8>]) {
        self.host.fill(areas);
    }

    /// Makes controller-initiated data, unless there is some that was not read
    /// yet; whether it did, and the event is to be raised.
    pub(crate) fn trigger(&mut self, reason: Reason, areas: &[Vec<u8>]) -> bool {
        if self.available {
            return false;
        }
        self.controller.fill(areas);
        self.controller.reason = reason as u8;
        self.available = true;
        true
    }

    /// The controller-initiated log was read, and not with "retain".
    pub(crate) const fn clear(&mut self) {
        self.available = false;
    }

    /// Checks where a host reads: whole blocks (`NVMe Base 2.1 §5.1.12.1.8`).
    pub(crate) fn check(offset: u64, bytes: u64) -> Result<(), Status> {
        let block = u64::try_from(BLOCK).unwrap_or(1);
        if offset.is_multiple_of(block) && bytes.is_multiple_of(block) {
            Ok(())
        } else {
            Err(Status::INVALID_FIELD.dnr())
        }
    }

    /// A log page, whole. `ieee` is the vendor that made it.
    pub(crate) fn log(&self, page: LogPageId, ieee: [u8; 3]) -> Vec<u8> {
        /// The scope of the data: the controller.
        const SCOPE: u8 = 1;
        let is_host = page == LogPageId::TELEMETRY_HOST;
        let capture = if is_host {
            &self.host
        } else {
            &self.controller
        };
        let [first, second, third] = capture.last;
        let reason = match capture.reason {
            1 => Some(Reason::SelfTestFailed),
            2 => Some(Reason::KeepAliveExpired),
            3 => Some(Reason::MediaError),
            _ => None,
        };
        let header = TelemetryHeader {
            lid: page.0,
            ieee,
            area1_last: first.into(),
            area2_last: second.into(),
            area3_last: third.into(),
            host_scope: if is_host { SCOPE } else { 0 },
            host_generation_or_scope: if is_host { capture.generation } else { SCOPE },
            controller_available: u8::from(self.available),
            controller_generation: self.controller.generation,
            reason: reason.map_or([0; 128], Reason::identifier),
            ..TelemetryHeader::default()
        };
        let mut log = header.as_bytes().to_vec();
        log.extend_from_slice(&capture.data);
        log
    }
}
