//! How a replay is to be done.

use std::time::Duration;

use nvme::NamespaceId;

use crate::{Mapping, Pace};

/// How a replay is to be done. The defaults replay at the recorded pace onto a
/// device of the same size, and write nothing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ReplayOptions {
    /// When commands are sent.
    pub pace: Pace,
    /// Where they go.
    pub mapping: Mapping,
    /// The word without which a trace that changes data is refused.
    pub allow_write: Option<AllowWrite>,
    /// The depth of each queue; none for what each recorded queue had in
    /// flight at most. Never more than the device allows.
    pub depth: Option<u16>,
    /// The most queue pairs to use; none for as many as were recorded. Never
    /// more than the device has.
    pub queues: Option<u16>,
    /// The namespace that everything goes to; none for the one with the
    /// recorded identifier or, where the target has a single one, that.
    pub namespace: Option<NamespaceId>,
    /// Whether the first command that fails ends the replay.
    pub stop_on_error: bool,
    /// How long a command may take before the replay gives up.
    pub timeout: Duration,
    /// What the data of writes is made from.
    pub seed: u64,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            pace: Pace::Recorded,
            mapping: Mapping::Identity,
            allow_write: None,
            depth: None,
            queues: None,
            namespace: None,
            stop_on_error: false,
            timeout: Duration::from_secs(30),
            seed: 0,
        }
    }
}

/// Why a replay may overwrite what is on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllowWrite {
    /// The device is a virtual one: there is nothing to lose that was not put
    /// there for this.
    VirtualDevice,
    /// The user said so, in so many words, for this device.
    UserSaidSo,
}
