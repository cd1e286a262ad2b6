//! Sanitize operations: what state the drive is in, and what is still to do
//! (`NVMe Base 2.1 §8.1.24`).
//!
//! ```text
//!                    start                      last step done
//!   Idle, Completed -------> InProgress ------------------------> Completed
//!      ^    ^                   ^   |                             (start again)
//!      |    |                   |   | the medium failed
//!      |    | exit              |   v
//!      |    +---(unrestricted)-- Failed
//!      |                        |
//!      +------------------------+ start
//! ```
//!
//! An operation goes on over resets and power cycles: what is saved says how
//! far it was, and it is taken up there.

use nvme::{SanitizeCdw10, SanitizeLog, SanitizeState, SanitizeStatus, Status};
use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32};

/// What to do to the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Deallocate everything.
    BlockErase,
    /// Change the key: the data is gone at once.
    CryptoErase,
    /// Write a pattern over everything.
    Overwrite {
        /// The pattern of the first pass.
        pattern: u32,
        /// How many passes, 1 to 16.
        passes: u8,
        /// Each pass writes the inverse of the one before.
        invert: bool,
    },
}

/// How the last operation went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// There never was one.
    #[default]
    Never,
    /// It goes on.
    InProgress,
    /// It succeeded.
    Completed,
    /// It failed.
    Failed,
}

/// What happens to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A Sanitize command starts an operation.
    Start,
    /// Everything is erased.
    Erased,
    /// The medium failed.
    MediaFailed,
    /// A Sanitize command leaves the failure.
    ExitFailure,
}

impl State {
    /// The state after `change`; none where it is not allowed.
    pub(crate) const fn step(self, change: Change) -> Option<Self> {
        match (self, change) {
            (Self::Never | Self::Completed | Self::Failed, Change::Start) => Some(Self::InProgress),
            (Self::InProgress, Change::Erased) => Some(Self::Completed),
            (Self::InProgress, Change::MediaFailed) => Some(Self::Failed),
            (Self::Failed, Change::ExitFailure) => Some(Self::Completed),
            // Nothing has failed, so there is nothing to leave.
            (Self::Never | Self::Completed, Change::ExitFailure) => Some(self),
            _ => None,
        }
    }
}

/// The state of sanitization of the NVM subsystem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sanitize {
    pub(crate) state: State,
    /// CDW10 of the command that started the last operation.
    pub(crate) cdw10: u32,
    /// What it does.
    pub(crate) action: Option<Action>,
    /// Whether blocks keep what the operation left in them.
    pub(crate) keep_allocated: bool,
    /// Whether a failure may be left without another operation.
    pub(crate) unrestricted: bool,
    /// Whether no block was written since the drive was made or sanitized.
    pub(crate) erased: bool,
    /// Overwrite passes that are done.
    pub(crate) passes_done: u8,
    /// Bytes of the medium that this pass has done.
    pub(crate) done_bytes: u64,
}

impl Sanitize {
    /// Whether there is work to do.
    #[inline]
    pub(crate) const fn is_due(&self) -> bool {
        matches!(self.state, State::InProgress)
    }

    /// Whether commands are refused for it.
    pub(crate) const fn status(&self) -> Option<Status> {
        match self.state {
            State::InProgress => Some(Status::SANITIZE_IN_PROGRESS),
            State::Failed => Some(Status::SANITIZE_FAILED),
            State::Never | State::Completed => None,
        }
    }

    /// Starts an operation, or leaves a failure, as a Sanitize command says.
    /// Whether an operation was started.
    pub(crate) fn command(&mut self, cdw10: u32, pattern: u32) -> Result<bool, Status> {
        let fields = SanitizeCdw10::from_bits(cdw10);
        let action = match fields.sanact() {
            SanitizeCdw10::EXIT_FAILURE => {
                // A restricted operation that failed is left by another only.
                if self.state == State::Failed && !self.unrestricted {
                    return Err(Status::SANITIZE_FAILED.dnr());
                }
                let next = self.state.step(Change::ExitFailure);
                self.state = next.ok_or(Status::SANITIZE_IN_PROGRESS)?;
                return Ok(false);
            }
            SanitizeCdw10::BLOCK_ERASE => Action::BlockErase,
            SanitizeCdw10::OVERWRITE => Action::Overwrite {
                pattern,
                passes: fields.passes(),
                invert: fields.oipbp(),
            },
            SanitizeCdw10::CRYPTO_ERASE => Action::CryptoErase,
            _ => return Err(Status::INVALID_FIELD.dnr()),
        };
        // After a restricted failure, only a restricted operation helps.
        if self.state == State::Failed && !self.unrestricted && fields.ause() {
            return Err(Status::SANITIZE_FAILED.dnr());
        }
        let next = self.state.step(Change::Start);
        *self = Self {
            state: next.ok_or(Status::SANITIZE_IN_PROGRESS)?,
            cdw10,
            action: Some(action),
            keep_allocated: fields.ndas(),
            unrestricted: fields.ause(),
            erased: false,
            passes_done: 0,
            done_bytes: 0,
        };
        Ok(true)
    }

    /// How many times the medium is gone through.
    pub(crate) const fn passes(&self) -> u8 {
        match self.action {
            Some(Action::Overwrite { passes, .. }) => passes,
            _ => 1,
        }
    }

    /// Progress, of 65,536, where the medium has `bytes` bytes.
    pub(crate) fn progress(&self, bytes: u64) -> u16 {
        if self.state != State::InProgress {
            return u16::MAX;
        }
        let total = u128::from(bytes.max(1)).saturating_mul(u128::from(self.passes()));
        let before = u128::from(self.passes_done).saturating_mul(u128::from(bytes));
        let done = before.saturating_add(u128::from(self.done_bytes));
        let share = done
            .saturating_mul(65_536)
            .checked_div(total)
            .unwrap_or_default();
        u16::try_from(share).unwrap_or(u16::MAX)
    }

    /// The log page (`NVMe Base 2.1 §5.1.12.1.33`), where the medium has `bytes`
    /// bytes and an operation takes about `seconds`.
    pub(crate) fn log(&self, bytes: u64, seconds: u32) -> SanitizeLog {
        let status = match self.state {
            State::Never => SanitizeStatus::NEVER,
            State::InProgress => SanitizeStatus::IN_PROGRESS,
            State::Completed => SanitizeStatus::SUCCEEDED,
            State::Failed => SanitizeStatus::FAILED,
        };
        let status = SanitizeStatus::new()
            .with_status(status)
            .with_passes(self.passes_done & 0x1f)
            .with_global_data_erased(self.erased);
        let state = match (self.state, self.unrestricted) {
            (State::Never | State::Completed, _) => 0,
            (State::InProgress, false) => 1,
            (State::Failed, false) => 2,
            (State::InProgress, true) => 3,
            (State::Failed, true) => 4,
        };
        let estimate = U32::new(seconds);
        SanitizeLog {
            progress: U16::new(self.progress(bytes)),
            status: U16::new(status.into_bits()),
            cdw10: U32::new(self.cdw10),
            overwrite_s: U32::new(SanitizeLog::NO_ESTIMATE),
            block_erase_s: estimate,
            crypto_erase_s: estimate,
            overwrite_no_deallocate_s: U32::new(SanitizeLog::NO_ESTIMATE),
            block_erase_no_deallocate_s: estimate,
            crypto_erase_no_deallocate_s: estimate,
            post_verification_s: U32::new(SanitizeLog::NO_ESTIMATE),
            state: SanitizeState::new().with_state(state).into_bits(),
            ..SanitizeLog::default()
        }
    }

    /// The pattern of the pass that goes on.
    pub(crate) fn pattern(&self) -> u32 {
        match self.action {
            Some(Action::Overwrite {
                pattern,
                passes,
                invert,
            }) => {
                // The last pass writes the pattern itself.
                let left = passes.saturating_sub(self.passes_done).saturating_sub(1);
                if invert && !left.is_multiple_of(2) {
                    !pattern
                } else {
                    pattern
                }
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
