//! What a device says about itself.

use std::time::Duration;

use nvme::{IdentifyController, IdentifyNamespace, NamespaceId, Vs};

/// A namespace that can be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its identifier.
    pub nsid: NamespaceId,
    /// Its size, blocks.
    pub blocks: u64,
    /// The size of a block, bytes.
    pub block_bytes: u32,
    /// Metadata of a block, bytes; this driver moves none.
    pub metadata_bytes: u16,
}

impl NamespaceInfo {
    /// Its size, bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_bytes as u64)
    }

    /// The namespace of this identify data; none where it is not active or has
    /// no format that can be used.
    pub(super) fn of(nsid: NamespaceId, identify: &IdentifyNamespace) -> Option<Self> {
        let blocks = identify.nsze.get();
        let format = identify.format()?;
        let block_bytes = identify.block_bytes()?;
        (blocks > 0).then_some(Self {
            nsid,
            blocks,
            block_bytes,
            metadata_bytes: format.ms.get(),
        })
    }
}

/// What a device says about itself, read when it was brought up.
#[derive(Clone, Debug)]
pub struct ControllerInfo {
    /// Model number, trimmed.
    pub model: String,
    /// Serial number, trimmed.
    pub serial: String,
    /// Firmware revision, trimmed.
    pub firmware: String,
    /// PCI vendor.
    pub vendor_id: u16,
    /// The specification's version (VS).
    pub version: Vs,
    /// The longest transfer that the device takes, bytes (MDTS); none for no
    /// limit.
    pub mdts_bytes: Option<usize>,
    /// How many I/O queue pairs there can be.
    pub queue_pairs_max: u16,
    /// The largest depth of an I/O queue pair, commands.
    pub depth_max: u16,
    /// Whether it has a volatile write cache, which Flush makes durable.
    pub volatile_write_cache: bool,
    /// Optional NVM commands: bits [`IdentifyController::ONCS_COMPARE`] and
    /// following.
    pub oncs: u16,
    /// How many Asynchronous Event Requests it keeps (AERL).
    pub event_requests_max: u16,
    /// How long a shutdown may take.
    pub shutdown_timeout: Duration,
    /// The active namespaces, in the order of their identifiers.
    pub namespaces: Vec<NamespaceInfo>,
}

impl Default for ControllerInfo {
    fn default() -> Self {
        Self {
            model: String::new(),
            serial: String::new(),
            firmware: String::new(),
            vendor_id: 0,
            version: Vs::new(),
            mdts_bytes: None,
            queue_pairs_max: 0,
            depth_max: 0,
            volatile_write_cache: false,
            oncs: 0,
            event_requests_max: 1,
            shutdown_timeout: SHUTDOWN_MIN,
            namespaces: Vec::new(),
        }
    }
}

/// A shutdown is given this long even where RTD3E promises less, or nothing:
/// what it costs to be too hasty is data.
const SHUTDOWN_MIN: Duration = Duration::from_secs(10);
/// And no longer than this.
const SHUTDOWN_MAX: Duration = Duration::from_secs(120);

impl ControllerInfo {
    /// What `identify` says; queues and namespaces are filled in by the
    /// caller.
    pub(super) fn of(identify: &IdentifyController, mpsmin: u8) -> Self {
        let rtd3e = Duration::from_micros(u64::from(identify.rtd3e.get()));
        Self {
            model: text(&identify.mn),
            serial: text(&identify.sn),
            firmware: text(&identify.fr),
            vendor_id: identify.vid.get(),
            version: Vs::from_bits(identify.ver.get()),
            mdts_bytes: identify
                .mdts_bytes(mpsmin)
                .and_then(|bytes| usize::try_from(bytes).ok())
                .filter(|bytes| *bytes > 0),
            volatile_write_cache: identify.vwc & IdentifyController::VWC_PRESENT != 0,
            oncs: identify.oncs.get(),
            event_requests_max: u16::from(identify.aerl) + 1,
            shutdown_timeout: rtd3e.clamp(SHUTDOWN_MIN, SHUTDOWN_MAX),
            ..Self::default()
        }
    }

    /// The namespace with this identifier, if it is active.
    #[must_use]
    pub fn namespace(&self, nsid: NamespaceId) -> Option<NamespaceInfo> {
        self.namespaces
            .iter()
            .find(|namespace| namespace.nsid == nsid)
            .copied()
    }
}

/// An ASCII field without its padding; what is not printable ASCII becomes a
/// question mark, as it goes to terminals.
fn text(field: &[u8]) -> String {
    let printable = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        0 => ' ',
        _ => '?',
    };
    let text: String = field.iter().map(printable).collect();
    text.trim().to_owned()
}
