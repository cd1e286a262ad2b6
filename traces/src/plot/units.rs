//! Numbers as people write them.

use super::num::float;

const NS_PER_US: f64 = 1e3;
const NS_PER_MS: f64 = 1e6;
const NS_PER_S: f64 = 1e9;
const NS_PER_MIN: f64 = 60e9;
const NS_PER_H: f64 = 3600e9;

/// `value` with at most `decimals` decimals, and none that are zero.
pub(super) fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Three significant digits, or all that stand before the point.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    trimmed(value, decimals)
}

/// The unit that suits `bytes`: its name and size.
pub(super) fn byte_unit(bytes: f64) -> (&'static str, f64) {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = 1.0;
    for unit in UNITS {
        if bytes < size * 1024.0 {
            return (unit, size);
        }
        size *= 1024.0;
    }
    ("ZiB", size)
}

/// A number of bytes: `512 B`, `1.5 GiB`.
pub(super) fn bytes(value: f64) -> String {
    let (unit, size) = byte_unit(value);
    format!("{} {unit}", three_digits(value / size))
}

/// The unit for addresses up to `most` bytes that are `step` bytes apart: its
/// name and size. The largest in which a label has few decimals.
pub(super) fn address_unit(most: f64, step: f64) -> (&'static str, f64) {
    let unit = byte_unit(most);
    if step * 4.0 < unit.1 {
        byte_unit(unit.1 / 2.0)
    } else {
        unit
    }
}

/// An address in bytes, exact to the third decimal: `99.125 GiB`.
pub(super) fn address(value: f64, (unit, size): (&str, f64)) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    format!("{} {unit}", trimmed(value / size, 3))
}

/// A count with its thousands apart: `50,129`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rounded number with its prefix: `1.5k`, `20M`.
pub(super) fn rounded(value: f64) -> String {
    match value.abs() {
        v if v >= 1e9 => format!("{}G", three_digits(value / 1e9)),
        v if v >= 1e6 => format!("{}M", three_digits(value / 1e6)),
        v if v >= 1e3 => format!("{}k", three_digits(value / 1e3)),
        _ => three_digits(value),
    }
}

/// The unit that suits a duration of `ns`: its name and size in nanoseconds.
pub(super) fn time_unit(ns: f64) -> (&'static str, f64) {
    match ns {
        v if v < NS_PER_US => ("ns", 1.0),
        v if v < NS_PER_MS => ("µs", NS_PER_US),
        v if v < NS_PER_S => ("ms", NS_PER_MS),
        v if v < 10.0 * NS_PER_MIN => ("s", NS_PER_S),
        v if v < 10.0 * NS_PER_H => ("min", NS_PER_MIN),
        v if v < 240.0 * NS_PER_H => ("h", NS_PER_H),
        _ => ("d", 24.0 * NS_PER_H),
    }
}

/// A duration in nanoseconds: `12.3 µs`, `62.1 s`.
pub(super) fn duration(ns: f64) -> String {
    let (unit, size) = time_unit(ns.abs());
    format!("{} {unit}", three_digits(ns / size))
}

/// A duration in nanoseconds.
pub(super) fn duration_ns(ns: u64) -> String {
    duration(float(ns))
}

/// The least of 1, 2, 5 times a power of ten that is not below `value`.
pub(super) fn round_up(value: f64) -> f64 {
    round_up_to(value, &[1.0, 2.0, 5.0])
}

/// The like, with 2.5 allowed: for the steps of an axis.
pub(super) fn round_step(value: f64) -> f64 {
    round_up_to(value, &[1.0, 2.0, 2.5, 5.0])
}

fn round_up_to(value: f64, factors: &[f64]) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return 1.0;
    }
    let decade = 10_f64.powf(value.log10().floor());
    for factor in factors {
        if decade * factor >= value * (1.0 - 1e-9) {
            return decade * factor;
        }
    }
    decade * 10.0
}

/// The largest of 1, 2, 5 times a power of ten that is not above `value`.
pub(super) fn round_down(value: f64) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return 1.0;
    }
    let decade = 10_f64.powf(value.log10().floor());
    for factor in [5.0, 2.0] {
        if decade * factor <= value * (1.0 + 1e-9) {
            return decade * factor;
        }
    }
    decade
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(50_129), "50,129");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(1.5 * 1024.0 * 1024.0 * 1024.0), "1.5 GiB");
        assert_eq!(bytes(float(u64::MAX)), "16 EiB");
        let gib = f64::from(1 << 30);
        let unit = address_unit(128.0 * gib, gib);
        assert_eq!(address(99.125 * gib, unit), "99.125 GiB");
        assert_eq!(address(0.0, unit), "0");
        assert_eq!(address(gib, address_unit(gib, gib / 128.0)), "1024 MiB");
        assert_eq!(duration(0.0), "0 ns");
        assert_eq!(duration(12_345.0), "12.3 µs");
        assert_eq!(duration(-2e6), "-2 ms");
        assert_eq!(duration(62.06e9), "62.1 s");
        assert_eq!(duration(7200e9), "120 min");
        assert_eq!(rounded(1500.0), "1.5k");
        assert_eq!(rounded(0.25), "0.25");
    }

    #[test]
    fn rounding_keeps_what_is_round() {
        for round in [1.0, 2.0, 5.0, 10.0, 200.0, 0.05] {
            assert!((round_up(round) - round).abs() < 1e-9 * round, "{round}");
            assert!((round_down(round) - round).abs() < 1e-9 * round, "{round}");
        }
        assert_eq!(round_up(2.1).to_string(), "5");
        assert_eq!(round_down(4.9).to_string(), "2");
        assert_eq!(round_up(f64::NAN).to_string(), "1");
    }
}
