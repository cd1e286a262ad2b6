//! What a virtual SSD is, as a file: identity, limits and capabilities.
//!
//! ```text
//!   file.toml, built-in --parse--> Profile --to_config--> ControllerConfig
//!   a drive's Identify  --Drive::profile--^    |
//!                                           to_toml --> file.toml
//! ```
//!
//! A profile says what differs from the built-in `qemu`, which is what
//! [`ControllerConfig::default`] is: what it leaves out is as there. Whatever it
//! says is checked, and refused with the file, the line, the name of the field,
//! its value and its range. The built-in profiles are the manual of the format.

mod check;
mod convert;
mod drive;
mod error;
mod locate;

#[cfg(test)]
mod tests;

use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::drive::{Drive, DriveProfile};
pub use self::error::{Place, ProfileError};

use crate::{BlockFormat, ControllerConfig, OptionalCommand, PowerState, ZonedConfig};

/// The longest file that is read, bytes: the longest profile with a comment on
/// every line has a tenth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A profile that comes with this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// It, as TOML with comments.
    pub toml: &'static str,
}

/// The profiles that come with this crate, the default one first.
pub const BUILT_IN: [BuiltIn; 3] = [
    BuiltIn {
        name: "qemu",
        summary: "QEMU's identity, and everything that the virtual SSD can do: the default",
        toml: include_str!("../profiles/qemu.toml"),
    },
    BuiltIn {
        name: "datacenter",
        summary: "a data-centre drive: many queues and namespaces, metadata, no power saving",
        toml: include_str!("../profiles/datacenter.toml"),
    },
    BuiltIn {
        name: "client",
        summary: "a client drive: one namespace, few queues, APST, a host memory buffer",
        toml: include_str!("../profiles/client.toml"),
    },
];

/// What a drive is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Serial number; none where whoever serves the drive chooses one.
    pub serial: Option<String>,
    /// Model number.
    pub model: String,
    /// NVMe qualified name; none for one that is made of the UUID.
    pub nqn: Option<String>,
    /// UUID, such as `6f1b2c3d-0000-8000-8000-000000000001`; none for one that is
    /// made of the serial number.
    pub uuid: Option<String>,
}

/// The PCI identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pci {
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
    /// IEEE OUI, such as `52:54:00`.
    pub oui: String,
}

/// Firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Firmware {
    /// Revision; none for vssd's own version.
    pub revision: Option<String>,
    /// Slots.
    pub slots: u8,
    /// Whether slot 1 cannot be written.
    pub first_slot_read_only: bool,
    /// Size and alignment of the pieces of a download, bytes.
    pub granularity_bytes: u32,
    /// The largest image, bytes.
    pub image_bytes_max: u32,
    /// The longest time that an activation without a reset may take,
    /// milliseconds.
    pub activation_ms_max: u32,
}

/// How much a drive takes at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest transfer of a command, bytes.
    pub transfer_bytes_max: u64,
    /// I/O queue pairs.
    pub queue_pairs_max: u16,
    /// Entries of an I/O queue.
    pub queue_entries_max: u16,
    /// Namespaces.
    pub namespaces_max: u32,
}

/// Memory that the drive and the host lend each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Host memory that the drive would like, bytes; 0 where it takes none.
    pub host_bytes_preferred: u64,
    /// Size of the controller memory buffer, bytes; 0 where there is none.
    pub controller_bytes: u64,
}

/// Of what blocks a new drive is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capacity {
    /// Size of a block, bytes; one of the formats, without metadata.
    pub block_bytes: u32,
    /// What can be written to it before it counts as worn, terabytes; 0 for one
    /// that does not wear.
    pub terabytes_written: u32,
}

/// Power.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Power {
    /// The power states, the one of the highest power first.
    pub state: Vec<PowerState>,
}

/// Temperatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thermal {
    /// What counts as too warm, kelvin.
    pub warning_kelvin: u16,
    /// What counts as critical, kelvin.
    pub critical_kelvin: u16,
    /// The temperature of a drive that does nothing, kelvin.
    pub ambient_kelvin: u16,
    /// How much warmer it gets at full load, kelvin.
    pub load_kelvin: u16,
    /// The lowest temperature that a host can have the drive kept at, kelvin.
    pub management_kelvin_min: u16,
    /// The highest, kelvin.
    pub management_kelvin_max: u16,
}

/// What is offered, and what is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Features {
    /// Autonomous Power State Transition.
    pub apst: bool,
    /// Host Controlled Thermal Management.
    pub thermal_management: bool,
    /// I/O queues have to be contiguous (CAP.CQR).
    pub contiguous_queues_required: bool,
    /// Commands that the drive does without.
    pub withheld: Vec<OptionalCommand>,
}

/// How long things take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Times {
    /// Granularity of the Keep Alive Timer, milliseconds; 0 where there is none.
    pub keep_alive_ms: u32,
    /// How long a Format NVM takes at least, milliseconds.
    pub format_ms: u64,
    /// How long a sanitize operation takes at least, milliseconds.
    pub sanitize_ms: u64,
    /// How long a short self-test takes, milliseconds.
    pub self_test_short_ms: u64,
    /// How long an extended self-test takes, milliseconds.
    pub self_test_extended_ms: u64,
}

/// A profile; see the module. A field of it is named in errors as in the file:
/// `limits.queue_pairs_max`, `power.state[1].entry_us`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// What the drive is called.
    pub identity: Identity,
    /// The PCI identity.
    pub pci: Pci,
    /// Firmware.
    pub firmware: Firmware,
    /// How much it takes at once.
    pub limits: Limits,
    /// Memory that drive and host lend each other.
    pub memory: Memory,
    /// Of what blocks it is made.
    pub capacity: Capacity,
    /// What is offered, and what is not.
    pub features: Features,
    /// Temperatures.
    pub thermal: Thermal,
    /// How long things take.
    pub times: Times,
    /// Power.
    pub power: Power,
    /// Namespaces of zones; none where there are none.
    pub zoned: Option<ZonedConfig>,
    /// The LBA formats.
    pub format: Vec<BlockFormat>,
}

impl Default for Profile {
    /// The profile of [`ControllerConfig::default`], for a drive that is given
    /// its serial number by whoever serves it.
    fn default() -> Self {
        let mut profile = Self::of_config(&ControllerConfig::default());
        profile.identity.serial = None;
        profile.firmware.revision = None;
        profile
    }
}

/// A section that a profile leaves out is as in the default one.
macro_rules! default_sections {
    ($($section:ident: $type:ident,)*) => {
        $(impl Default for $type {
            fn default() -> Self {
                Profile::default().$section
            }
        })*
    };
}

default_sections! {
    identity: Identity,
    pci: Pci,
    firmware: Firmware,
    limits: Limits,
    memory: Memory,
    capacity: Capacity,
    features: Features,
    thermal: Thermal,
    times: Times,
    power: Power,
}

impl Profile {
    /// The built-in profile of that name.
    #[must_use]
    pub fn built_in(name: &str) -> Option<&'static BuiltIn> {
        BUILT_IN.iter().find(|built_in| built_in.name == name)
    }

    /// The built-in profile of that name, or else the file.
    ///
    /// # Errors
    ///
    /// [`ProfileError`], where there is neither, or it cannot be used.
    pub fn named(name_or_path: &Path) -> Result<Self, ProfileError> {
        match name_or_path.to_str().and_then(Self::built_in) {
            Some(built_in) => Self::parse(built_in.name, built_in.toml),
            None => Self::load(name_or_path),
        }
    }

    /// The profile in the file at `path`.
    ///
    /// # Errors
    ///
    /// [`ProfileError`], where it cannot be read or used.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let failed = |source| ProfileError::Read {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            return Err(ProfileError::TooLong {
                path: path.to_owned(),
                bytes_max: FILE_BYTES_MAX,
            });
        }
        Self::parse_bytes(&path.display().to_string(), &bytes)
    }

    /// The profile in `bytes`, which should be UTF-8; errors call it `name`.
    ///
    /// # Errors
    ///
    /// [`ProfileError`], where it cannot be used.
    pub fn parse_bytes(name: &str, bytes: &[u8]) -> Result<Self, ProfileError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(name, text),
            Err(error) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let newlines = before.iter().filter(|byte| **byte == b'\n').count();
                Err(ProfileError::Syntax {
                    place: Place {
                        name: name.to_owned(),
                        line: Some(newlines + 1),
                    },
                    message: "this is not UTF-8 text".to_owned(),
                })
            }
        }
    }

    /// The profile in `text`; errors call it `name`. What this returns has been
    /// checked.
    ///
    /// # Errors
    ///
    /// [`ProfileError`], where it cannot be used.
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let profile: Self =
            toml::from_str(text).map_err(|error| locate::describe(name, text, &error))?;
        convert::to_config(&profile).map_err(|refused| {
            let line = locate::line(text, &refused.field);
            refused.at(name, line)
        })?;
        Ok(profile)
    }

    /// What a controller with this profile is made to be. Without a serial
    /// number it has that of [`ControllerConfig::default`].
    ///
    /// # Errors
    ///
    /// [`ProfileError::Field`], where a field is out of its range.
    pub fn to_config(&self) -> Result<ControllerConfig, ProfileError> {
        convert::to_config(self).map_err(|refused| refused.at("the profile", None))
    }

    /// The profile of `config`. Times are cut to whole milliseconds.
    #[must_use]
    pub fn of_config(config: &ControllerConfig) -> Self {
        convert::of_config(config)
    }

    /// The profile as TOML, without comments; [`Profile::parse`] makes the same
    /// profile of it.
    ///
    /// # Errors
    ///
    /// Those of [`Profile::to_config`].
    pub fn to_toml(&self) -> Result<String, ProfileError> {
        self.to_config()?;
        let plain = toml::to_string(self).map_err(|error| ProfileError::Syntax {
            place: Place {
                name: "the profile".to_owned(),
                line: None,
            },
            message: error.to_string(),
        })?;
        Ok(with_hexadecimal_pci(&plain))
    }
}

/// `toml` with the numbers of its section `pci` as people write them.
fn with_hexadecimal_pci(toml: &str) -> String {
    let mut in_pci = false;
    let lines = toml.lines().map(|line| {
        if line.starts_with('[') {
            in_pci = line == "[pci]";
        }
        match line.split_once(" = ") {
            Some((name, value)) if in_pci => match value.parse::<u16>() {
                Ok(number) if name == "revision" => format!("{name} = {number:#04x}\n"),
                Ok(number) => format!("{name} = {number:#06x}\n"),
                Err(_) => format!("{line}\n"),
            },
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}
