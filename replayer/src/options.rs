//! How a replay is to be done.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use nvme::NamespaceId;

use crate::{Mapping, Pace};

/// How a replay is to be done. The defaults replay at the recorded pace onto a
/// device of the same size, and write nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplayOptions {
    /// When commands are sent.
    pub pace: Pace,
    /// The most commands to send in a second, whatever the pace; none for no
    /// limit. They go out in the order of the trace then.
    pub iops_max: Option<NonZeroU32>,
    /// Where they go.
    pub mapping: Mapping,
    /// The word without which a trace that changes data is refused.
    pub allow_write: Option<AllowWrite>,
    /// The depth of each queue; none for what each recorded queue had in
    /// flight at most. Never more than the device allows. At
    /// [`Pace::Closed`], which needs it, the depth of all queues together.
    pub depth: Option<u16>,
    /// The most queue pairs to use; none for as many as were recorded. Never
    /// more than the device has.
    pub queues: Option<u16>,
    /// The namespace that everything goes to; none for the one with the
    /// recorded identifier or, where the target has a single one, that.
    pub namespace: Option<NamespaceId>,
    /// The namespace that commands of a recorded one go to; others go where
    /// [`ReplayOptions::namespace`] says.
    pub namespaces: BTreeMap<NamespaceId, NamespaceId>,
    /// How long the replay goes on at most, whatever is left of the trace; none
    /// for to its end.
    pub duration: Option<Duration>,
    /// Whether the first command that fails ends the replay.
    pub stop_on_error: bool,
    /// How long a command may take before the replay gives up.
    pub timeout: Duration,
    /// What the data of writes is made from.
    pub seed: u64,
    /// How much of that data can be compressed away, percent.
    pub compressibility: u8,
    /// What writes carry.
    pub data: DataSource,
    /// How many blocks of the data that is made are written more than once,
    /// percent; none for a pattern that has no block of its own for each.
    pub dedup: Option<u8>,
    /// Whether what is read is held against what the replay wrote before.
    /// That looks at all data, and takes memory for each block.
    pub verify: bool,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            pace: Pace::Recorded,
            iops_max: None,
            mapping: Mapping::Identity,
            allow_write: None,
            depth: None,
            queues: None,
            namespace: None,
            namespaces: BTreeMap::new(),
            duration: None,
            stop_on_error: false,
            timeout: Duration::from_secs(30),
            seed: 0,
            compressibility: 0,
            data: DataSource::default(),
            dedup: None,
            verify: false,
        }
    }
}

/// What writes carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataSource {
    /// What was recorded, where the trace has it: the data, or data made to the
    /// hashes. The records have to come with payload
    /// ([`crate::Playlist::with_payload`]). Of other writes, the pattern.
    #[default]
    Recorded,
    /// A pattern, whatever the trace has.
    Pattern,
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
