//! The rows of the table.

use std::fmt;
use std::time::Duration;

use super::work::Work;

/// How a client attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// An NVMe drive; the client is our driver.
    VfioUser,
    /// A virtio disk; the client is libblkio.
    VhostUser,
}

impl Front {
    /// The option of `vssd serve`.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::VfioUser => "--vfio-user",
            Self::VhostUser => "--vhost-user",
        }
    }
}

/// What is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// A raw file in memory, through the kernel.
    Raw,
    /// The server's memory.
    Ram,
    /// Nothing.
    Null,
}

/// What a row measures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) front: Front,
    pub(super) medium: Medium,
    pub(super) work: Work,
    /// IOPS of SPDK's target with SPDK's client on such a machine.
    pub(super) elsewhere: Option<f64>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let medium = match self.medium {
            Medium::Raw => "raw file",
            Medium::Ram => "RAM",
            Medium::Null => "null",
        };
        let front = self.front.option().trim_start_matches('-');
        write!(f, "{front} {medium}, {}", self.work)
    }
}

const DEPTHS: [u16; 3] = [1, 32, 128];
const QUEUES: [u16; 5] = [1, 2, 4, 8, 16];
/// What SPDK did, at these depths, thousands a second.
const SPDK_VHOST_RAM: [f64; 3] = [462.0, 909.0, 897.0];
const SPDK_VHOST_NULL: [f64; 3] = [789.0, 2420.0, 2610.0];
const SPDK_NVME_RAM: [f64; 3] = [469.0, 754.0, 755.0];
const SPDK_NVME_RAM_WRITE: [f64; 3] = [477.0, 762.0, 547.0];
const SPDK_NVME_NULL: [f64; 3] = [672.0, 1790.0, 2080.0];
const SPDK_NVME_RAM_128K: f64 = 30.8;

/// All rows; each measurement takes `seconds`.
pub(super) fn all(seconds: u64) -> Vec<Case> {
    use Front::{VfioUser, VhostUser};
    use Medium::{Null, Ram, Raw};
    const SMALL: usize = 4 << 10;
    let small = |front, medium, writes, elsewhere: Option<[f64; 3]>| {
        DEPTHS
            .into_iter()
            .enumerate()
            .map(move |(number, depth)| Case {
                front,
                medium,
                work: Work {
                    writes,
                    bytes: SMALL,
                    queues: 1,
                    depth,
                    time: Duration::from_secs(seconds),
                },
                elsewhere: elsewhere.and_then(|all| Some(all.get(number)? * 1e3)),
            })
    };
    let mut cases = Vec::new();
    cases.extend(small(VhostUser, Raw, false, None));
    cases.extend(small(VhostUser, Raw, true, None));
    cases.extend(small(VhostUser, Null, false, Some(SPDK_VHOST_NULL)));
    cases.extend(small(VhostUser, Ram, false, Some(SPDK_VHOST_RAM)));
    cases.extend(small(VhostUser, Ram, true, None));
    cases.extend(small(VfioUser, Null, false, Some(SPDK_NVME_NULL)));
    cases.extend(small(VfioUser, Ram, false, Some(SPDK_NVME_RAM)));
    cases.extend(small(VfioUser, Ram, true, Some(SPDK_NVME_RAM_WRITE)));
    cases.push(Case {
        front: VfioUser,
        medium: Ram,
        work: Work {
            writes: false,
            bytes: 128 << 10,
            queues: 1,
            depth: 32,
            time: Duration::from_secs(seconds),
        },
        elsewhere: Some(SPDK_NVME_RAM_128K * 1e3),
    });
    for front in [VhostUser, VfioUser] {
        cases.extend(QUEUES.into_iter().map(|queues| Case {
            front,
            medium: Null,
            work: Work {
                writes: false,
                bytes: SMALL,
                queues,
                depth: 32,
                time: Duration::from_secs(seconds),
            },
            elsewhere: None,
        }));
    }
    cases
}
