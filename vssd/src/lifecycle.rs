//! What a controller is up to: CC.EN, CSTS.RDY, CSTS.SHST and CSTS.CFS as one
//! state machine.

use nvme::{Csts, ShutdownStatus};

/// The state of a controller (`NVMe Base 2.1 §3.5`, `§3.6`, `§3.7.2`).
///
/// ```text
///   Failed <--------------------+----- Fault --- Ready
///                               | EnableRefused
///                               |
///   Disabled -------------------+---------- Enable -----> Ready
///      | Shutdown               |             ^             | Shutdown
///      v                        |             |             v
///   Stopping(off) --------------+-------------+      Stopping(on)
///      | Flushed                |             |             | Flushed
///      v                        |             |             v
///   Stopped(off) ---------------+-------------+      Stopped(on)
///
///   any state ---- Disable, Reset ----> Disabled
/// ```
///
/// `on` and `off` say whether CSTS.RDY is 1. What has no arrow leaves the state
/// as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// CC.EN is 0.
    Disabled,
    /// Commands are processed.
    Ready,
    /// A shutdown is going on: writes are being made durable.
    Stopping {
        /// CSTS.RDY.
        ready: bool,
    },
    /// A shutdown is complete.
    Stopped {
        /// CSTS.RDY.
        ready: bool,
    },
    /// A fatal error: only a reset helps.
    Failed,
}

/// What happens to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// CC.EN became 1, and everything it needs is in order.
    Enable,
    /// CC.EN became 1, but the configuration is not one.
    EnableRefused,
    /// CC.EN became 0.
    Disable,
    /// CC.SHN announced a shutdown.
    Shutdown,
    /// The writes of a shutdown are durable.
    Flushed,
    /// The function was reset, or the guest went away.
    Reset,
    /// The controller cannot go on: its Keep Alive timer expired.
    Fault,
}

/// What a change obliges the controller to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing.
    None,
    /// Make the admin queues.
    Start,
    /// Give up what is in flight, and the queues.
    Reset,
    /// Make writes durable, then tell [`Change::Flushed`].
    Flush,
    /// Tell the observer of the fatal error.
    Alarm,
}

impl Lifecycle {
    /// The state after `change`, and what is to be done.
    pub(crate) const fn step(self, change: Change) -> (Self, Duty) {
        match (self, change) {
            (
                Self::Disabled | Self::Stopping { ready: false } | Self::Stopped { ready: false },
                Change::Enable,
            ) => (Self::Ready, Duty::Start),
            (
                Self::Disabled | Self::Stopping { ready: false } | Self::Stopped { ready: false },
                Change::EnableRefused,
            ) => (Self::Failed, Duty::Alarm),
            (Self::Ready, Change::Fault) => (Self::Failed, Duty::Alarm),
            (_, Change::Disable | Change::Reset) => (Self::Disabled, Duty::Reset),
            (Self::Disabled, Change::Shutdown) => (Self::Stopping { ready: false }, Duty::Flush),
            (Self::Ready, Change::Shutdown) => (Self::Stopping { ready: true }, Duty::Flush),
            (Self::Stopping { ready }, Change::Flushed) => (Self::Stopped { ready }, Duty::None),
            (state, _) => (state, Duty::None),
        }
    }

    /// Whether commands are fetched.
    pub(crate) const fn is_ready(self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Whether a shutdown is going on.
    pub(crate) const fn is_stopping(self) -> bool {
        matches!(self, Self::Stopping { .. })
    }

    /// The CSTS property (`NVMe Base 2.1 §3.1.4.6`).
    pub(crate) const fn csts(self) -> Csts {
        let csts = Csts::new();
        match self {
            Self::Disabled => csts,
            Self::Ready => csts.with_rdy(true),
            Self::Stopping { ready } => csts.with_rdy(ready).with_shst(ShutdownStatus::Occurring),
            Self::Stopped { ready } => csts.with_rdy(ready).with_shst(ShutdownStatus::Complete),
            Self::Failed => csts.with_cfs(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOPPING: Lifecycle = Lifecycle::Stopping { ready: true };
    const STOPPED: Lifecycle = Lifecycle::Stopped { ready: true };
    const STOPPING_OFF: Lifecycle = Lifecycle::Stopping { ready: false };
    const STOPPED_OFF: Lifecycle = Lifecycle::Stopped { ready: false };

    #[test]
    fn every_state_answers_every_change() {
        use Change as C;
        use Duty as D;
        use Lifecycle::{Disabled, Failed, Ready};
        const CHANGES: [Change; 7] = [
            C::Enable,
            C::EnableRefused,
            C::Disable,
            C::Shutdown,
            C::Flushed,
            C::Reset,
            C::Fault,
        ];
        let reset = (Disabled, D::Reset);
        let alarm = (Failed, D::Alarm);
        let start = (Ready, D::Start);
        let stays = |state| (state, D::None);
        // In the order of CHANGES.
        let same = |state: Lifecycle| [state; 7].map(stays);
        let with = |state, changes: [(usize, (Lifecycle, Duty)); 3]| {
            let mut row = same(state);
            for (change, expected) in changes {
                row[change] = expected;
            }
            row
        };
        // What differs from staying as it is, by the index in CHANGES; every
        // state is left by Disable (2) and Reset (5).
        let table = [
            (
                Disabled,
                with(
                    Disabled,
                    [(0, start), (1, alarm), (3, (STOPPING_OFF, D::Flush))],
                ),
            ),
            (
                Ready,
                with(Ready, [(3, (STOPPING, D::Flush)), (6, alarm), (6, alarm)]),
            ),
            (STOPPING, with(STOPPING, [(4, stays(STOPPED)); 3])),
            (STOPPED, same(STOPPED)),
            (
                STOPPING_OFF,
                with(
                    STOPPING_OFF,
                    [(0, start), (1, alarm), (4, stays(STOPPED_OFF))],
                ),
            ),
            (
                STOPPED_OFF,
                with(STOPPED_OFF, [(0, start), (1, alarm), (1, alarm)]),
            ),
            (Failed, same(Failed)),
        ];
        for (state, expected) in table {
            for (change, expected) in CHANGES.into_iter().zip(expected) {
                let leaves = matches!(change, C::Disable | C::Reset);
                let expected = if leaves { reset } else { expected };
                assert_eq!(state.step(change), expected, "{state:?}, {change:?}");
            }
        }
    }

    #[test]
    fn csts_tells_the_state() {
        let bits = |state: Lifecycle| state.csts().into_bits();
        assert_eq!(bits(Lifecycle::Disabled), 0b0000);
        assert_eq!(bits(Lifecycle::Ready), 0b0001);
        assert_eq!(bits(Lifecycle::Failed), 0b0010);
        assert_eq!(bits(STOPPING), 0b0101);
        assert_eq!(bits(STOPPED), 0b1001);
        assert_eq!(bits(STOPPED_OFF), 0b1000);
    }
}
