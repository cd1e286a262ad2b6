//! The ranges of a profile's own units and forms. What a controller cannot be
//! is for [`ControllerConfig::check`]; its names become the profile's here.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::Profile;
use super::error::Refused;
use crate::{BlockFormat, ControllerConfig, PowerState, VssdError, ZonedConfig};

/// The units of a Keep Alive Timer and how many of them there can be
/// (`NVMe Base 2.1 §5.1.13.2.1`, KAS).
const KEEP_ALIVE_UNIT_MS: u32 = 100;
const KEEP_ALIVE_MS_MAX: u32 = KEEP_ALIVE_UNIT_MS * u16::MAX as u32;
/// The pages of a host memory buffer (HMPRE).
const HOST_MEMORY_MAX: u64 = nvme::PAGE_BYTES * u32::MAX as u64;
/// The most milliwatts of a power state in units of 10 mW, and of 0.1 mW.
const POWER_MW_MAX: u32 = 10 * u16::MAX as u32;
const EXACT_MW_MAX: u32 = u16::MAX as u32 / 10;
/// Relative performance takes 5 bits.
const RANK_MAX: u8 = 31;
/// A short self-test takes two minutes at most, an extended one as many as 16
/// bits can tell.
const SHORT_MS_MAX: u64 = 120_000;
const EXTENDED_MS_MAX: u64 = 60_000 * u16::MAX as u64;
/// A day, in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// Checks what only a profile can get wrong.
pub(super) fn units(profile: &Profile) -> Result<(), Refused> {
    let times = &profile.times;
    number("times.format_ms", times.format_ms, 0..=DAY_MS)?;
    number("times.sanitize_ms", times.sanitize_ms, 0..=DAY_MS)?;
    let (short_ms, extended_ms) = (times.self_test_short_ms, times.self_test_extended_ms);
    number("times.self_test_short_ms", short_ms, 1..=SHORT_MS_MAX)?;
    number(
        "times.self_test_extended_ms",
        extended_ms,
        1..=EXTENDED_MS_MAX,
    )?;
    let keep_alive_ms = times.keep_alive_ms;
    if keep_alive_ms > KEEP_ALIVE_MS_MAX || !keep_alive_ms.is_multiple_of(KEEP_ALIVE_UNIT_MS) {
        return Err(Refused::new(
            "times.keep_alive_ms",
            keep_alive_ms,
            format!("a multiple of {KEEP_ALIVE_UNIT_MS} up to {KEEP_ALIVE_MS_MAX}, 0 for none"),
        ));
    }
    let host_bytes = profile.memory.host_bytes_preferred;
    if host_bytes > HOST_MEMORY_MAX || !host_bytes.is_multiple_of(nvme::PAGE_BYTES) {
        let range = format!(
            "a multiple of {} up to {HOST_MEMORY_MAX}, 0 for none",
            nvme::PAGE_BYTES
        );
        return Err(Refused::new(
            "memory.host_bytes_preferred",
            host_bytes,
            range,
        ));
    }
    let terabytes = profile.capacity.terabytes_written;
    number("capacity.terabytes_written", terabytes, 0..=10_000_000)?;
    let thermal = &profile.thermal;
    let min = thermal.management_kelvin_min;
    let max = thermal.management_kelvin_max;
    number("thermal.management_kelvin_min", min, 1..=u16::MAX)?;
    number("thermal.management_kelvin_max", max, min..=u16::MAX)?;
    if let Some(zones) = &profile.zoned {
        zoned(zones)?;
    }
    for (index, state) in profile.power.state.iter().enumerate() {
        power_state(state).map_err(|refused| Refused {
            field: format!("power.state[{index}].{}", refused.field),
            ..refused
        })?;
    }
    for (index, format) in profile.format.iter().enumerate() {
        block_format(*format).map_err(|refused| Refused {
            field: format!("format[{index}]{}", refused.field),
            ..refused
        })?;
    }
    Ok(())
}

/// Checks namespaces of zones, as far as one field is at fault.
fn zoned(zones: &ZonedConfig) -> Result<(), Refused> {
    /// Units of a zone descriptor extension (`ZNS Command Set 1.1 §4.1.5.2.1`,
    /// ZDES), and how many of them there can be.
    const EXTENSION_UNIT: u32 = 64;
    const EXTENSION_MAX: u32 = EXTENSION_UNIT * u8::MAX as u32;
    let whole = |field: &str, bytes: u64, max: u64| {
        if (nvme::PAGE_BYTES..=max).contains(&bytes) && bytes.is_multiple_of(nvme::PAGE_BYTES) {
            return Ok(());
        }
        let unit = nvme::PAGE_BYTES;
        let range = format!("a multiple of {unit} from {unit} to {max}");
        Err(Refused::new(field, bytes, range))
    };
    // A file has room for no more.
    whole("zoned.zone_bytes", zones.zone_bytes, 1 << 62)?;
    whole(
        "zoned.capacity_bytes",
        zones.capacity_bytes,
        zones.zone_bytes,
    )?;
    let active_max = zones.active_max.unwrap_or(u32::MAX);
    number("zoned.active_max", active_max, 1..=u32::MAX)?;
    let open_max = zones.open_max.unwrap_or(active_max);
    number("zoned.open_max", open_max, 1..=active_max)?;
    let extension = zones.extension_bytes;
    if extension > EXTENSION_MAX || !extension.is_multiple_of(EXTENSION_UNIT) {
        let range = format!("a multiple of {EXTENSION_UNIT} up to {EXTENSION_MAX}");
        return Err(Refused::new("zoned.extension_bytes", extension, range));
    }
    Ok(())
}

/// Checks a power state against what Identify Controller can tell of one.
pub(super) fn power_state(state: &PowerState) -> Result<(), Refused> {
    let mw = state.power_mw_max;
    if mw > POWER_MW_MAX || mw > EXACT_MW_MAX && !mw.is_multiple_of(10) {
        let range = format!("up to {EXACT_MW_MAX}, or a multiple of 10 up to {POWER_MW_MAX}");
        return Err(Refused::new("power_mw_max", mw, range));
    }
    number("power_mw_idle", state.power_mw_idle, 0..=EXACT_MW_MAX)?;
    number("rank", state.rank, 0..=RANK_MAX)
}

/// Checks an LBA format by itself.
pub(super) fn block_format(format: BlockFormat) -> Result<(), Refused> {
    number(".performance", format.performance, 0..=3)?;
    let alone = ControllerConfig {
        formats: vec![BlockFormat::plain(512), format],
        block_bytes: 512,
        ..ControllerConfig::default()
    };
    match alone.check() {
        Err(VssdError::Config { value, range, .. }) => Err(Refused::new("", value, range)),
        _ => Ok(()),
    }
}

/// Checks the bytes of a transfer; the power of two of pages that they are.
pub(super) fn mdts(transfer_bytes_max: u64) -> Result<u8, Refused> {
    let pages = transfer_bytes_max / nvme::PAGE_BYTES;
    let whole = transfer_bytes_max.is_power_of_two() && (2..=1 << 13).contains(&pages);
    match u8::try_from(pages.trailing_zeros()) {
        Ok(mdts) if whole => Ok(mdts),
        _ => Err(Refused::new(
            "limits.transfer_bytes_max",
            transfer_bytes_max,
            "a power of two from 8192 to 33554432",
        )),
    }
}

/// A refusal of [`ControllerConfig::check`], with the profile's name of the
/// field.
pub(super) fn renamed(error: VssdError) -> Refused {
    let VssdError::Config {
        field,
        value,
        range,
    } = error
    else {
        return Refused::new("the profile", error, "such that a controller can be made");
    };
    let name = match field {
        "serial" => "identity.serial",
        "model" => "identity.model",
        "nqn" => "identity.nqn",
        "firmware" => "firmware.revision",
        "mdts" => "limits.transfer_bytes_max",
        "queue_pairs_max" => "limits.queue_pairs_max",
        "queue_entries_max" => "limits.queue_entries_max",
        "namespaces_max" => "limits.namespaces_max",
        "block_bytes" => "capacity.block_bytes",
        "cmb_bytes" => "memory.controller_bytes",
        "formats" => "format",
        "zoned" => "zoned",
        "critical_kelvin" => "thermal.critical_kelvin",
        "ambient_kelvin" => "thermal.ambient_kelvin",
        "load_kelvin" => "thermal.load_kelvin",
        "number of power_states" => "power.state",
        "first of the power_states" => "power.state[0].non_operational",
        other => other,
    };
    let value = match field {
        "number of power_states" => format!("{value} of them"),
        "first of the power_states" => "true".to_owned(),
        _ => value,
    };
    let range = match field {
        "number of power_states" => format!("{range} of them"),
        "first of the power_states" => "false: a drive starts in an operational state".to_owned(),
        _ => range,
    };
    Refused::new(name, value, range)
}

pub(super) fn number<N: PartialOrd + Display>(
    field: &str,
    value: N,
    range: RangeInclusive<N>,
) -> Result<(), Refused> {
    if range.contains(&value) {
        return Ok(());
    }
    let range = format!("{} to {}", range.start(), range.end());
    Err(Refused::new(field, value, range))
}
