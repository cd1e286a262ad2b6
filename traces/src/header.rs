//! What a trace says about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::payload::PayloadInfo;

/// The self-description at the start of a trace: which device, which clock,
/// when, by which program.
///
/// It is stored as JSON. Keys that this version does not know are kept in
/// [`Header::extra`] and written out again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The device that was observed.
    #[serde(default)]
    pub device: DeviceIdentity,
    /// Its namespaces.
    #[serde(default)]
    pub namespaces: Vec<NamespaceInfo>,
    /// How many I/O queue pairs it offers (not how many the host created).
    #[serde(default)]
    pub io_queues: u32,
    /// The largest transfer of one command, bytes; none where it has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mdts_bytes: Option<u64>,
    /// The clock of all times in the trace.
    #[serde(default)]
    pub clock: ClockInfo,
    /// When the recording started.
    #[serde(default)]
    pub start: Start,
    /// What the trace holds of what was written; none where that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadInfo>,
    /// The program that wrote the trace, with its version: "vssd 0.1.0".
    #[serde(default)]
    pub tool: String,
    /// Whatever the user wants to say of the trace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Keys of later versions.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// Which device it was (`NVMe Base 2.1 §5.1.13.2.1`, Identify Controller).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceIdentity {
    /// Serial number, without padding.
    #[serde(default)]
    pub serial: String,
    /// Model number, without padding.
    #[serde(default)]
    pub model: String,
    /// Firmware revision, without padding.
    #[serde(default)]
    pub firmware: String,
    /// Its PCI identity; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci: Option<PciIdentity>,
}

/// The identity in the PCI configuration space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciIdentity {
    /// Vendor.
    #[serde(default)]
    pub vendor: u16,
    /// Device.
    #[serde(default)]
    pub device: u16,
    /// Subsystem vendor.
    #[serde(default)]
    pub subsystem_vendor: u16,
    /// Subsystem.
    #[serde(default)]
    pub subsystem: u16,
}

/// A namespace of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceInfo {
    /// Its identifier, from 1.
    pub id: u32,
    /// Its size, blocks (NSZE).
    pub blocks: u64,
    /// Bytes a block, without metadata.
    pub block_bytes: u32,
}

/// The clock that times are read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockInfo {
    /// Its kind: "monotonic" is the machine's, "virtual" a simulation's,
    /// anything else what the recording program names it.
    pub kind: String,
    /// Times are multiples of this, nanoseconds.
    pub resolution_ns: u64,
}

impl Default for ClockInfo {
    fn default() -> Self {
        Self {
            kind: "monotonic".to_owned(),
            resolution_ns: 1,
        }
    }
}

/// When a recording started, on two clocks, so that times in the trace can be
/// told as times of day: `unix_ns + (t - clock_ns)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Nanoseconds since 1970-01-01 00:00 UTC; 0 where not known.
    #[serde(default)]
    pub unix_ns: u64,
    /// The trace's clock at the same moment, nanoseconds.
    #[serde(default)]
    pub clock_ns: u64,
}

impl NamespaceInfo {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        // `u64::from` is not const; the cast widens.
        self.blocks.saturating_mul(self.block_bytes as u64)
    }
}

impl Header {
    /// The namespace with this identifier.
    #[must_use]
    pub fn namespace(&self, id: nvme::NamespaceId) -> Option<&NamespaceInfo> {
        self.namespaces.iter().find(|ns| ns.id == id.0)
    }

    /// Bytes a block of the namespace `id`; 512 where the trace does not name
    /// it.
    #[must_use]
    pub fn block_bytes(&self, id: nvme::NamespaceId) -> u32 {
        self.namespace(id).map_or(512, |ns| ns.block_bytes)
    }
}
