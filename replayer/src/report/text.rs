//! Numbers as people read them.

/// A time in the unit in which people read it.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} us", scaled(ns, 1_000)),
        1_000_000..1_000_000_000 => format!("{} ms", scaled(ns, 1_000_000)),
        _ => format!("{} s", scaled(ns, 1_000_000_000)),
    }
}

/// A size in the unit in which people read it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    for (name, unit) in UNITS {
        if bytes >= unit {
            return format!("{} {name}", scaled(bytes, unit));
        }
    }
    format!("{bytes} B")
}

/// `value / unit` with three digits or more: 1.23, 12.3, 123, 1234.
fn scaled(value: u64, unit: u64) -> String {
    let hundredths = u128::from(value) * 100 / u128::from(unit.max(1));
    let (whole, part) = (hundredths / 100, hundredths % 100);
    match whole {
        0..10 => format!("{whole}.{part:02}"),
        10..100 => format!("{whole}.{}", part / 10),
        _ => whole.to_string(),
    }
}

/// A number with thin groups: 50,129.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
