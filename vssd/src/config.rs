//! What a controller is made to be.

use crate::VssdError;

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
    /// Size of a logical block, 512 or 4096 bytes.
    pub block_bytes: u32,
    /// Size of the controller memory buffer, bytes: a power of two from 4 KiB to
    /// 1 GiB, or 0 for none.
    pub cmb_bytes: u64,
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
            block_bytes: 512,
            cmb_bytes: 0,
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
        Ok(())
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

fn number<N: PartialOrd + std::fmt::Display>(
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
