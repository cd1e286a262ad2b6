//! From a profile to a configuration, and back.
//!
//! Both ways name every field of both, with no `..`: a field that is added to
//! either does not compile until it is here.

use super::error::Refused;
use super::{
    Capacity, Features, Firmware, Identity, Limits, Memory, Pci, Power, Profile, Thermal, Times,
    check,
};
use crate::{ControllerConfig, FirmwareConfig, PciIdentity, SelfTestConfig, ServicesConfig};

const NS_PER_MS: u64 = 1_000_000;
/// Bytes of a terabyte.
const TERABYTE: u64 = 1_000_000_000_000;

/// What a controller with this profile is made to be.
#[expect(
    clippy::too_many_lines,
    reason = "every field is named once, and that is all"
)]
pub(super) fn to_config(profile: &Profile) -> Result<ControllerConfig, Refused> {
    check::units(profile)?;
    let Profile {
        identity,
        pci,
        firmware,
        limits,
        memory: Memory {
            host_bytes_preferred,
            controller_bytes,
        },
        capacity: Capacity {
            block_bytes,
            terabytes_written,
        },
        features:
            Features {
                apst,
                thermal_management,
                contiguous_queues_required,
                withheld,
            },
        thermal,
        times,
        power: Power { state },
        zoned,
        format,
    } = profile;
    let Identity {
        serial,
        model,
        nqn,
        uuid,
    } = identity;
    let Limits {
        transfer_bytes_max,
        queue_pairs_max,
        queue_entries_max,
        namespaces_max,
    } = limits;
    let Thermal {
        warning_kelvin,
        critical_kelvin,
        ambient_kelvin,
        load_kelvin,
        management_kelvin_min,
        management_kelvin_max,
    } = thermal;
    let Times {
        keep_alive_ms,
        format_ms,
        sanitize_ms,
        self_test_short_ms,
        self_test_extended_ms,
    } = times;
    let default = ControllerConfig::default();
    let config = ControllerConfig {
        serial: serial.clone().unwrap_or(default.serial),
        model: model.clone(),
        firmware: firmware.revision.clone().unwrap_or(default.firmware),
        pci: pci_identity(pci)?,
        nqn: nqn.clone(),
        uuid: uuid.as_deref().map(parse_uuid).transpose()?,
        mdts: check::mdts(*transfer_bytes_max)?,
        queue_pairs_max: *queue_pairs_max,
        queue_entries_max: *queue_entries_max,
        contiguous_queues_required: *contiguous_queues_required,
        block_bytes: *block_bytes,
        cmb_bytes: *controller_bytes,
        formats: format.clone(),
        namespaces_max: *namespaces_max,
        zoned: *zoned,
        power_states: state.clone(),
        apst: *apst,
        warning_kelvin: *warning_kelvin,
        critical_kelvin: *critical_kelvin,
        ambient_kelvin: *ambient_kelvin,
        load_kelvin: *load_kelvin,
        endurance_bytes: u64::from(*terabytes_written).saturating_mul(TERABYTE),
        thermal_management: thermal_management
            .then_some((*management_kelvin_min, *management_kelvin_max)),
        hmb_preferred_bytes: *host_bytes_preferred,
        keep_alive_ms: *keep_alive_ms,
        format_ns: format_ms.saturating_mul(NS_PER_MS),
        sanitize_ns: sanitize_ms.saturating_mul(NS_PER_MS),
        withheld: withheld.clone(),
        services: ServicesConfig {
            firmware: firmware_config(firmware)?,
            self_test: SelfTestConfig {
                short_ns: self_test_short_ms.saturating_mul(NS_PER_MS),
                extended_ns: self_test_extended_ms.saturating_mul(NS_PER_MS),
            },
        },
    };
    config.check().map_err(check::renamed)?;
    Ok(config)
}

/// The profile of `config`.
#[expect(
    clippy::too_many_lines,
    reason = "every field is named once, and that is all"
)]
pub(super) fn of_config(config: &ControllerConfig) -> Profile {
    let ControllerConfig {
        serial,
        model,
        firmware,
        pci,
        nqn,
        uuid,
        mdts,
        queue_pairs_max,
        queue_entries_max,
        contiguous_queues_required,
        block_bytes,
        cmb_bytes,
        formats,
        namespaces_max,
        zoned,
        power_states,
        apst,
        warning_kelvin,
        critical_kelvin,
        ambient_kelvin,
        load_kelvin,
        endurance_bytes,
        thermal_management,
        hmb_preferred_bytes,
        keep_alive_ms,
        format_ns,
        sanitize_ns,
        withheld,
        services:
            ServicesConfig {
                firmware: slots,
                self_test:
                    SelfTestConfig {
                        short_ns,
                        extended_ns,
                    },
            },
    } = config;
    // Where it is not offered, the range is that of drives that offer it.
    let (management_kelvin_min, management_kelvin_max) =
        thermal_management.unwrap_or((MANAGEMENT_KELVIN_MIN, MANAGEMENT_KELVIN_MAX));
    Profile {
        identity: Identity {
            serial: Some(serial.clone()),
            model: model.clone(),
            nqn: nqn.clone(),
            uuid: uuid.map(print_uuid),
        },
        pci: of_pci_identity(*pci),
        firmware: of_firmware_config(firmware, slots),
        limits: Limits {
            transfer_bytes_max: nvme::PAGE_BYTES.checked_shl((*mdts).into()).unwrap_or(0),
            queue_pairs_max: *queue_pairs_max,
            queue_entries_max: *queue_entries_max,
            namespaces_max: *namespaces_max,
        },
        memory: Memory {
            host_bytes_preferred: *hmb_preferred_bytes,
            controller_bytes: *cmb_bytes,
        },
        capacity: Capacity {
            block_bytes: *block_bytes,
            terabytes_written: u32::try_from(endurance_bytes / TERABYTE).unwrap_or(u32::MAX),
        },
        features: Features {
            apst: *apst,
            thermal_management: thermal_management.is_some(),
            contiguous_queues_required: *contiguous_queues_required,
            withheld: withheld.clone(),
        },
        thermal: Thermal {
            warning_kelvin: *warning_kelvin,
            critical_kelvin: *critical_kelvin,
            ambient_kelvin: *ambient_kelvin,
            load_kelvin: *load_kelvin,
            management_kelvin_min,
            management_kelvin_max,
        },
        times: Times {
            keep_alive_ms: *keep_alive_ms,
            format_ms: format_ns / NS_PER_MS,
            sanitize_ms: sanitize_ns / NS_PER_MS,
            self_test_short_ms: short_ns / NS_PER_MS,
            self_test_extended_ms: extended_ns / NS_PER_MS,
        },
        power: Power {
            state: power_states.clone(),
        },
        zoned: *zoned,
        format: formats.clone(),
    }
}

/// 40 and 80 degrees Celsius.
const MANAGEMENT_KELVIN_MIN: u16 = 313;
const MANAGEMENT_KELVIN_MAX: u16 = 353;

/// What stands for "pieces of any size" in a configuration (FWUG), and how a
/// profile says it: a download counts dwords.
const ANY_GRANULARITY: u8 = 255;
const DWORD_BYTES: u32 = 4;
/// The unit of granularities, bytes, and that of activation times.
const GRANULARITY_UNIT: u32 = 4096;
const ACTIVATION_UNIT_MS: u32 = 100;

fn firmware_config(firmware: &Firmware) -> Result<FirmwareConfig, Refused> {
    let Firmware {
        revision: _,
        slots,
        first_slot_read_only,
        granularity_bytes,
        image_bytes_max,
        activation_ms_max,
    } = firmware;
    let granularity = match *granularity_bytes {
        DWORD_BYTES => Some(ANY_GRANULARITY),
        bytes if bytes.is_multiple_of(GRANULARITY_UNIT) => u8::try_from(bytes / GRANULARITY_UNIT)
            .ok()
            .filter(|units| (1..ANY_GRANULARITY).contains(units)),
        _ => None,
    };
    let granularity = granularity.ok_or_else(|| {
        Refused::new(
            "firmware.granularity_bytes",
            granularity_bytes,
            "a multiple of 4096 from 4096 to 1040384, or 4 for pieces of any size",
        )
    })?;
    let units = activation_ms_max / ACTIVATION_UNIT_MS;
    let activation_max = u16::try_from(units)
        .ok()
        .filter(|_| activation_ms_max.is_multiple_of(ACTIVATION_UNIT_MS))
        .ok_or_else(|| {
            Refused::new(
                "firmware.activation_ms_max",
                activation_ms_max,
                "a multiple of 100 up to 6553500",
            )
        })?;
    Ok(FirmwareConfig {
        slots: *slots,
        first_read_only: *first_slot_read_only,
        granularity,
        activation_max,
        image_bytes_max: *image_bytes_max,
    })
}

fn of_firmware_config(revision: &str, config: &FirmwareConfig) -> Firmware {
    let FirmwareConfig {
        slots,
        first_read_only,
        granularity,
        activation_max,
        image_bytes_max,
    } = config;
    Firmware {
        revision: Some(revision.to_owned()),
        slots: *slots,
        first_slot_read_only: *first_read_only,
        granularity_bytes: match *granularity {
            ANY_GRANULARITY => DWORD_BYTES,
            units => u32::from(units).saturating_mul(GRANULARITY_UNIT),
        },
        image_bytes_max: *image_bytes_max,
        activation_ms_max: u32::from(*activation_max).saturating_mul(ACTIVATION_UNIT_MS),
    }
}

fn pci_identity(pci: &Pci) -> Result<PciIdentity, Refused> {
    let Pci {
        vendor,
        device,
        subsystem_vendor,
        subsystem,
        revision,
        oui,
    } = pci;
    Ok(PciIdentity {
        vendor: *vendor,
        device: *device,
        subsystem_vendor: *subsystem_vendor,
        subsystem: *subsystem,
        revision: *revision,
        oui: parse_oui(oui)?,
    })
}

fn of_pci_identity(pci: PciIdentity) -> Pci {
    let PciIdentity {
        vendor,
        device,
        subsystem_vendor,
        subsystem,
        revision,
        oui,
    } = pci;
    Pci {
        vendor,
        device,
        subsystem_vendor,
        subsystem,
        revision,
        oui: print_oui(oui),
    }
}

/// An OUI as people write it, the byte of the highest order first.
pub(super) fn print_oui([low, middle, high]: [u8; 3]) -> String {
    format!("{high:02x}:{middle:02x}:{low:02x}")
}

fn parse_oui(text: &str) -> Result<[u8; 3], Refused> {
    let mut bytes = text.split([':', '-']).map(parse_byte);
    match (bytes.next(), bytes.next(), bytes.next(), bytes.next()) {
        (Some(Some(high)), Some(Some(middle)), Some(Some(low)), None) => Ok([low, middle, high]),
        _ => Err(Refused::new(
            "pci.oui",
            format!("{text:?}"),
            "three bytes in hexadecimal, such as \"52:54:00\"",
        )),
    }
}

fn parse_byte(digits: &str) -> Option<u8> {
    let hexadecimal = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hexadecimal.then(|| u8::from_str_radix(digits, 16).ok())?
}

/// A UUID as RFC 9562 §4 writes it.
pub(super) fn print_uuid(uuid: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(uuid));
    let mut text = String::new();
    for (index, digit) in hex.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

fn parse_uuid(text: &str) -> Result<[u8; 16], Refused> {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let digits = text.replace('-', "");
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u128::from_str_radix(&digits, 16) {
        Ok(uuid) if hexadecimal && lengths == [8, 4, 4, 4, 12] => Ok(uuid.to_be_bytes()),
        _ => Err(Refused::new(
            "identity.uuid",
            format!("{text:?}"),
            "a UUID, such as \"6f1b2c3d-0000-8000-8000-000000000001\"",
        )),
    }
}
