//! What a controller is made to be.

use nvme::GuardFormat;
use serde::{Deserialize, Serialize};

use crate::admin::services::ServicesConfig;
use crate::zoned::{ZonedGeometry, Zrwa};
use crate::{OptionalCommand, VssdError};

/// The PCI identity of a controller, for its configuration space and its
/// Identify Controller structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciIdentity {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Subsystem vendor.
    pub subsystem_vendor: u16,
    /// Subsystem.
    pub subsystem: u16,
    /// Revision.
    pub revision: u8,
    /// IEEE OUI, the first byte that of the lowest order.
    pub oui: [u8; 3],
}

impl PciIdentity {
    /// QEMU's NVMe device: no driver applies quirks to it that are meant for
    /// somebody's real drive.
    pub const QEMU: Self = Self {
        vendor: 0x1b36,
        device: 0x0010,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
        revision: 2,
        oui: [0x00, 0x54, 0x52],
    };
}

/// An LBA format (`NVM Command Set 1.1 §4.1.5.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockFormat {
    /// Size of a block's data, bytes: 512 or 4096.
    pub block_bytes: u32,
    /// Size of a block's metadata, bytes, 0 to 4096.
    #[serde(default)]
    pub metadata_bytes: u16,
    /// Relative performance: 0 best to 3 degraded.
    #[serde(default)]
    pub performance: u8,
    /// Bits of the guard of protection information: 16, 32 or 64. Those of 32
    /// and 64 bits are for blocks of 4096 bytes with 16 of metadata or more.
    #[serde(default = "guard_bits")]
    pub guard_bits: u8,
    /// Bits of the storage tag.
    #[serde(default)]
    pub storage_tag_bits: u8,
}

const fn guard_bits() -> u8 {
    16
}

impl BlockFormat {
    /// A format without metadata.
    #[must_use]
    pub const fn plain(block_bytes: u32) -> Self {
        Self {
            block_bytes,
            metadata_bytes: 0,
            performance: 0,
            guard_bits: 16,
            storage_tag_bits: 0,
        }
    }

    const fn with_metadata(block_bytes: u32, metadata_bytes: u16) -> Self {
        Self {
            block_bytes,
            metadata_bytes,
            performance: 1,
            guard_bits: 16,
            storage_tag_bits: 0,
        }
    }

    /// The format of the protection information; none where there is no such.
    pub(crate) const fn guard(self) -> Option<GuardFormat> {
        match self.guard_bits {
            16 => Some(GuardFormat::Guard16),
            32 => Some(GuardFormat::Guard32),
            64 => Some(GuardFormat::Guard64),
            _ => None,
        }
    }

    /// Whether there can be such a format.
    pub(crate) fn is_legal(self) -> bool {
        let Some(guard) = self.guard() else {
            return false;
        };
        let (least, most) = guard.storage_tag_bits();
        let tag = u32::from(self.storage_tag_bits);
        matches!(self.block_bytes, 512 | 4096)
            && self.metadata_bytes <= 4096
            && (self.guard_bits == 16 || self.block_bytes == 4096)
            && (least..=most).contains(&tag)
    }

    /// Bytes of the medium that a block takes.
    fn stride(self) -> u64 {
        u64::from(self.block_bytes).saturating_add(u64::from(self.metadata_bytes))
    }

    /// How many blocks `bytes` bytes have room for.
    pub(crate) fn blocks_in(self, bytes: u64) -> u64 {
        bytes.checked_div(self.stride()).unwrap_or(0)
    }

    /// The bytes that `blocks` blocks take; none where that is no number.
    pub(crate) fn bytes_of(self, blocks: u64) -> Option<u64> {
        blocks.checked_mul(self.stride())
    }
}

/// How namespaces of zones are laid out (`ZNS Command Set 1.1 §2.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZonedConfig {
    /// Size of a zone, bytes; a multiple of 4096, and a power of two for Linux.
    pub zone_bytes: u64,
    /// How much of a zone can be written, bytes.
    pub capacity_bytes: u64,
    /// How many zones may be active; none for no limit.
    #[serde(default)]
    pub active_max: Option<u32>,
    /// How many zones may be open; none for no limit.
    #[serde(default)]
    pub open_max: Option<u32>,
    /// Bytes of a zone's descriptor extension, a multiple of 64.
    #[serde(default)]
    pub extension_bytes: u32,
    /// Zone random write areas; none where there are none.
    #[serde(default)]
    pub zrwa: Option<Zrwa>,
    /// Whether a read may cross from a zone into the next.
    #[serde(default)]
    pub read_across: bool,
    /// Whether the namespace that a new drive has is one of zones.
    #[serde(default)]
    pub first_namespace: bool,
}

impl ZonedConfig {
    /// The zones of a namespace with `blocks` blocks of a format.
    pub(crate) fn geometry(&self, blocks: u64, block_bytes: u32) -> Option<ZonedGeometry> {
        let in_blocks = |bytes: u64| bytes.checked_div(u64::from(block_bytes));
        let zone_blocks = in_blocks(self.zone_bytes)?;
        let zones = u32::try_from(blocks.checked_div(zone_blocks)?).ok()?;
        let geometry = ZonedGeometry {
            zone_blocks,
            capacity_blocks: in_blocks(self.capacity_bytes)?,
            zones,
            active_max: self.active_max,
            open_max: self.open_max,
            extension_bytes: self.extension_bytes,
            zrwa: self.zrwa,
            read_across: self.read_across,
        };
        geometry.check().is_ok().then_some(geometry)
    }
}

/// A power state (`NVMe Base 2.1 §5.1.13.2.1`, `§8.1.17`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerState {
    /// Maximum power, milliwatts.
    pub power_mw_max: u32,
    /// Power when idle, milliwatts; 0 is not told.
    pub power_mw_idle: u32,
    /// Time to enter it, microseconds.
    pub entry_us: u32,
    /// Time to leave it, microseconds.
    pub exit_us: u32,
    /// No I/O commands are processed in it.
    pub non_operational: bool,
    /// Relative throughput and latency, 0 best.
    pub rank: u8,
}

impl PowerState {
    const fn operational(power_mw_max: u32, rank: u8) -> Self {
        Self {
            power_mw_max,
            power_mw_idle: 0,
            entry_us: 0,
            exit_us: 0,
            non_operational: false,
            rank,
        }
    }

    const fn resting(power_mw_max: u32, entry_us: u32, exit_us: u32, rank: u8) -> Self {
        Self {
            power_mw_max,
            power_mw_idle: power_mw_max,
            entry_us,
            exit_us,
            non_operational: true,
            rank,
        }
    }
}

/// What a controller is made to be. [`ControllerConfig::default`] is a drive
/// that every known guest is happy with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerConfig {
    /// Serial number: 1 to 20 printable ASCII characters.
    pub serial: String,
    /// Model number: 1 to 40 printable ASCII characters.
    pub model: String,
    /// Firmware revision: 1 to 8 printable ASCII characters.
    pub firmware: String,
    /// PCI identity.
    pub pci: PciIdentity,
    /// NVMe qualified name of the subsystem, at most 223 bytes; none for one
    /// that is made of [`ControllerConfig::uuid`].
    pub nqn: Option<String>,
    /// The namespace's UUID, from which its NGUID and EUI-64 are made too; none
    /// for one that is made of the serial number, and thus the same at every
    /// start.
    pub uuid: Option<[u8; 16]>,
    /// Maximum data transfer size: 2^MDTS pages of 4096 bytes, 1 to 13; 8 is
    /// 1 MiB.
    pub mdts: u8,
    /// I/O queue pairs, 1 to 511. The function has one more interrupt vector.
    pub queue_pairs_max: u16,
    /// Entries of an I/O queue, 2 to 4096.
    pub queue_entries_max: u16,
    /// Whether I/O queues have to be contiguous in the guest's addresses
    /// (CAP.CQR). Guests make no others, where they have the choice.
    pub contiguous_queues_required: bool,
    /// Size of a logical block of the namespaces that a new drive has, 512 or
    /// 4096 bytes.
    pub block_bytes: u32,
    /// Size of the controller memory buffer, bytes: a power of two from 4 KiB to
    /// 1 GiB, or 0 for none.
    pub cmb_bytes: u64,
    /// The LBA formats that namespaces can have, 1 to 16; one of them is
    /// [`ControllerConfig::block_bytes`] without metadata.
    pub formats: Vec<BlockFormat>,
    /// How many namespaces there can be, 1 to 1024.
    pub namespaces_max: u32,
    /// How namespaces of zones are laid out; none where there are none.
    pub zoned: Option<ZonedConfig>,
    /// Power states, 1 to 32, the one of the highest power first.
    pub power_states: Vec<PowerState>,
    /// Autonomous Power State Transition is offered.
    pub apst: bool,
    /// Temperature that counts as too warm, kelvin.
    pub warning_kelvin: u16,
    /// Temperature that counts as critical, kelvin.
    pub critical_kelvin: u16,
    /// Temperature of a drive that does nothing, kelvin.
    pub ambient_kelvin: u16,
    /// How much warmer a drive gets at full load, kelvin.
    pub load_kelvin: u16,
    /// What can be written to the medium before it counts as worn, bytes; 0
    /// where it does not wear.
    pub endurance_bytes: u64,
    /// Lowest and highest temperature of host controlled thermal management,
    /// kelvin; none where it is not offered.
    pub thermal_management: Option<(u16, u16)>,
    /// How much host memory the controller would like, bytes; 0 where it takes
    /// none.
    pub hmb_preferred_bytes: u64,
    /// Granularity of the Keep Alive Timer, milliseconds; 0 where there is none.
    pub keep_alive_ms: u32,
    /// How long a Format NVM takes at least, nanoseconds of the clock.
    pub format_ns: u64,
    /// How long a sanitize operation takes at least, nanoseconds of the clock.
    pub sanitize_ns: u64,
    /// What the drive does without, of all that the virtual SSD can do.
    pub withheld: Vec<OptionalCommand>,
    /// Firmware and self-tests.
    pub services: ServicesConfig,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            serial: "VSSD0001".to_owned(),
            model: "vssd virtual NVMe SSD".to_owned(),
            firmware: env!("CARGO_PKG_VERSION").to_owned(),
            pci: PciIdentity::QEMU,
            nqn: None,
            uuid: None,
            mdts: 8,
            queue_pairs_max: 64,
            queue_entries_max: 1024,
            contiguous_queues_required: true,
            block_bytes: 512,
            cmb_bytes: 0,
            formats: vec![
                BlockFormat::plain(512),
                BlockFormat::plain(4096),
                BlockFormat::with_metadata(512, 8),
                BlockFormat::with_metadata(512, 16),
                BlockFormat::with_metadata(4096, 8),
                BlockFormat {
                    guard_bits: 64,
                    ..BlockFormat::with_metadata(4096, 16)
                },
                BlockFormat::with_metadata(4096, 64),
            ],
            namespaces_max: 256,
            zoned: None,
            power_states: vec![
                PowerState::operational(25_000, 0),
                PowerState::operational(18_000, 1),
                PowerState::operational(12_000, 2),
                PowerState::resting(1_500, 2_000, 2_000, 3),
                PowerState::resting(50, 10_000, 50_000, 4),
            ],
            apst: true,
            warning_kelvin: 343,
            critical_kelvin: 353,
            ambient_kelvin: 303,
            load_kelvin: 38,
            endurance_bytes: 600_000_000_000_000,
            thermal_management: Some((313, 353)),
            hmb_preferred_bytes: 0,
            keep_alive_ms: 100,
            format_ns: 20_000_000,
            sanitize_ns: 500_000_000,
            withheld: Vec::new(),
            services: ServicesConfig::default(),
        }
    }
}

impl ControllerConfig {
    /// The namespace's UUID: the one that is set, or one that follows from the
    /// serial number (RFC 9562, version 8).
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid.unwrap_or_else(|| uuid_of(&self.serial))
    }

    /// Interrupt vectors: the admin queue's and one for each I/O queue pair.
    #[must_use]
    pub const fn vectors(&self) -> u16 {
        self.queue_pairs_max.saturating_add(1)
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    ///
    /// [`VssdError::Config`], which names the field, its value and its range.
    pub fn check(&self) -> Result<(), VssdError> {
        text("serial", &self.serial, 20)?;
        text("model", &self.model, 40)?;
        text("firmware", &self.firmware, 8)?;
        if let Some(nqn) = &self.nqn {
            text("nqn", nqn, 223)?;
        }
        number("mdts", self.mdts, 1, 13)?;
        self.services.check()?;
        number("queue_pairs_max", self.queue_pairs_max, 1, 511)?;
        number("queue_entries_max", self.queue_entries_max, 2, 4096)?;
        if !matches!(self.block_bytes, 512 | 4096) {
            return Err(VssdError::Config {
                field: "block_bytes",
                value: self.block_bytes.to_string(),
                range: "512 or 4096".to_owned(),
            });
        }
        let cmb = self.cmb_bytes;
        if cmb != 0 && !(cmb.is_power_of_two() && (4 << 10..=1 << 30).contains(&cmb)) {
            return Err(VssdError::Config {
                field: "cmb_bytes",
                value: cmb.to_string(),
                range: "0, or a power of two from 4096 to 1073741824".to_owned(),
            });
        }
        number("namespaces_max", self.namespaces_max, 1, 1024)?;
        number(
            "critical_kelvin",
            self.critical_kelvin,
            self.warning_kelvin,
            u16::MAX,
        )?;
        number("ambient_kelvin", self.ambient_kelvin, 233, 400)?;
        number("load_kelvin", self.load_kelvin, 0, 200)?;
        if let Some(zoned) = &self.zoned
            && zoned.geometry(zoned.zone_bytes / 512, 512).is_none()
        {
            return Err(VssdError::Config {
                field: "zoned",
                value: format!("{zoned:?}"),
                range: "such that a zone is one: a multiple of 4096 bytes, no smaller than its \
                        capacity, with no more open zones than active ones"
                    .to_owned(),
            });
        }
        let states = self.power_states.len();
        number("number of power_states", states, 1, 32)?;
        if self
            .power_states
            .first()
            .is_some_and(|state| state.non_operational)
        {
            return Err(VssdError::Config {
                field: "first of the power_states",
                value: "non-operational".to_owned(),
                range: "operational".to_owned(),
            });
        }
        self.check_formats()
    }

    fn check_formats(&self) -> Result<(), VssdError> {
        let wrong = |value: String, range: &str| VssdError::Config {
            field: "formats",
            value,
            range: range.to_owned(),
        };
        if self.formats.is_empty() || self.formats.len() > 16 {
            let count = format!("{} of them", self.formats.len());
            return Err(wrong(count, "1 to 16"));
        }
        for format in &self.formats {
            if !format.is_legal() {
                let value = format!(
                    "{}+{} with a guard of {} bits and a storage tag of {}",
                    format.block_bytes,
                    format.metadata_bytes,
                    format.guard_bits,
                    format.storage_tag_bits
                );
                return Err(wrong(
                    value,
                    "512 or 4096 bytes of data, up to 4096 of metadata, a guard of 16 bits (32 or \
                     64 with 4096 bytes of data), and a storage tag that it leaves room for",
                ));
            }
        }
        if self.first_format().is_none() {
            let range = format!(
                "such that {} bytes without metadata is one",
                self.block_bytes
            );
            return Err(wrong("without that".to_owned(), &range));
        }
        Ok(())
    }

    /// The format of the namespaces that a new drive has.
    pub(crate) fn first_format(&self) -> Option<u8> {
        let wanted = |format: &BlockFormat| {
            format.block_bytes == self.block_bytes && format.metadata_bytes == 0
        };
        let index = self.formats.iter().position(wanted)?;
        u8::try_from(index).ok()
    }
}

fn text(field: &'static str, value: &str, max: usize) -> Result<(), VssdError> {
    let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if value.trim().is_empty() || value.len() > max || !printable {
        return Err(VssdError::Config {
            field,
            value: format!("{value:?}"),
            range: format!("1 to {max} printable ASCII characters"),
        });
    }
    Ok(())
}

pub(crate) fn number<N: PartialOrd + std::fmt::Display>(
    field: &'static str,
    value: N,
    min: N,
    max: N,
) -> Result<(), VssdError> {
    if value < min || value > max {
        return Err(VssdError::Config {
            field,
            value: value.to_string(),
            range: format!("{min} to {max}"),
        });
    }
    Ok(())
}

/// A UUID that follows from `serial`: two FNV-1a hashes of it, with the version
/// and variant bits of RFC 9562 §5.8.
fn uuid_of(serial: &str) -> [u8; 16] {
    let hash = |basis: u64| {
        serial.bytes().fold(basis, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    let high = hash(0xcbf2_9ce4_8422_2325);
    let low = hash(high.rotate_left(29) ^ 0x7673_7364_7673_7364);
    let bits = u128::from(high) << 64 | u128::from(low);
    let version = bits & !(0xf << 76) | 0x8 << 76;
    let variant = version & !(0b11 << 62) | 0b10 << 62;
    variant.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_legal_and_each_field_is_checked() {
        ControllerConfig::default().check().unwrap();
        let broken: [fn(&mut ControllerConfig); 11] = [
            |config| config.serial = String::new(),
            |config| config.serial = "x".repeat(21),
            |config| config.model = "Modell ä".to_owned(),
            |config| config.mdts = 0,
            |config| config.queue_pairs_max = 512,
            |config| config.queue_entries_max = 1,
            |config| config.block_bytes = 520,
            |config| config.nqn = Some(String::new()),
            |config| config.cmb_bytes = 2048,
            |config| config.cmb_bytes = 12288,
            |config| config.cmb_bytes = 2 << 30,
        ];
        for change in broken {
            let mut config = ControllerConfig::default();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains("must be"), "{error}");
        }
    }

    #[test]
    fn the_uuid_follows_from_the_serial_number() {
        let one = uuid_of("A1");
        assert_eq!(one, uuid_of("A1"));
        assert_ne!(one, uuid_of("A2"));
        assert_eq!(one[6] >> 4, 8);
        assert_eq!(one[8] >> 6, 0b10);
    }
}
