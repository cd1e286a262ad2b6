//! Numbers in text, with errors that say which field they are in.

/// `text` as a number without a sign, decimal.
pub(crate) fn integer(text: &str, field: &str) -> Result<u64, String> {
    let text = text.trim();
    // A sign would be taken otherwise.
    Some(text)
        .filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|it| it.parse().ok())
        .ok_or_else(|| format!("the {field} is {text:?}, but must be a number without a sign"))
}

/// `text` as a number without a sign, decimal, or hexadecimal after `0x`; a
/// fraction of nothing but zeroes may follow, as spreadsheets write it.
pub(crate) fn integer_or_hex(text: &str, field: &str) -> Result<u64, String> {
    let text = text.trim();
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let Some(hex) = hex else {
        let whole = match text.split_once('.') {
            Some((whole, zeroes)) if zeroes.bytes().all(|it| it == b'0') => whole,
            _ => text,
        };
        return integer(whole, field);
    };
    Some(hex)
        .filter(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|it| u64::from_str_radix(it, 16).ok())
        .ok_or_else(|| format!("the {field} is {text:?}, but must be a hexadecimal number"))
}

/// `text` as a number of units of `unit_ns`, with a decimal fraction where there
/// is one, in nanoseconds; what is less is dropped.
pub(crate) fn time(text: &str, unit_ns: u64, field: &str) -> Result<u64, String> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = match whole {
        "" if !fraction.is_empty() => 0,
        whole => times(integer(whole, field)?, unit_ns, field)?,
    };
    let part = scaled(
        billionths_after_point(fraction).ok_or_else(|| {
            format!("the {field} is {text:?}, but must be a number such as 12.345")
        })?,
        unit_ns,
    );
    whole
        .checked_add(part)
        .ok_or_else(|| format!("the {field} is {text:?}, which is too large"))
}

/// The digits after a decimal point, in billionths; those after the ninth are
/// dropped.
fn billionths_after_point(digits: &str) -> Option<u64> {
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    let mut digits = digits
        .bytes()
        .map(|digit| u64::from(digit.saturating_sub(b'0')));
    let sum = (0..9).fold(0, |sum, _| sum * 10 + digits.next().unwrap_or(0));
    all.then_some(sum)
}

/// Billionths of a unit of `unit_ns`, in nanoseconds.
fn scaled(billionths: u64, unit_ns: u64) -> u64 {
    let ns = u128::from(billionths) * u128::from(unit_ns) / 1_000_000_000;
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// `text` as a number of units, with a decimal fraction where there is one, in
/// billionths of the unit: "12.5" is 12,500,000,000. Digits after the ninth are
/// dropped.
pub(crate) fn billionths(text: &str, field: &str) -> Result<u64, String> {
    let text = text.trim();
    let wrong = || format!("the {field} is {text:?}, but must be a number such as 12.345");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return Err(wrong());
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| wrong())?
    };
    let fraction = billionths_after_point(fraction).ok_or_else(wrong)?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|whole| whole.checked_add(fraction))
        .ok_or_else(|| format!("the {field} is {text:?}, which is too large"))
}

/// `count` times `unit`, where that fits.
pub(crate) fn times(count: u64, unit: u64, field: &str) -> Result<u64, String> {
    count
        .checked_mul(unit)
        .ok_or_else(|| format!("the {field} is {count}, which is too large"))
}

#[cfg(test)]
mod tests {
    use super::{billionths, integer, integer_or_hex, time};

    #[test]
    fn fractions_are_exact() {
        assert_eq!(billionths("12.5", "time"), Ok(12_500_000_000));
        assert_eq!(billionths("0.000000001", "time"), Ok(1));
        assert_eq!(billionths(".5", "time"), Ok(500_000_000));
        assert_eq!(billionths("7", "time"), Ok(7_000_000_000));
        assert_eq!(billionths("1.23456789099", "time"), Ok(1_234_567_890));
        for wrong in ["", ".", "-1", "1e3", "1.2.3", "99999999999999"] {
            assert_eq!(billionths(wrong, "time").ok(), None, "{wrong}");
        }
    }

    #[test]
    fn times_keep_their_digits_however_large() {
        // Milliseconds and nanoseconds since 1970, with a fraction.
        assert_eq!(
            time("1577808144360.767001", 1_000_000, "time"),
            Ok(1_577_808_144_360_767_001)
        );
        assert_eq!(
            time("1577808144360767123.9", 1, "time"),
            Ok(1_577_808_144_360_767_123)
        );
        assert_eq!(time("7", 1_000, "time"), Ok(7_000));
        assert_eq!(time(" .5 ", 1_000_000_000, "time"), Ok(500_000_000));
        assert_eq!(time("5.", 1_000, "time"), Ok(5_000));
        for wrong in [
            "",
            ".",
            "-1",
            "+1.5",
            "1.-5",
            "1e3",
            "18446744073709551615.0",
        ] {
            assert_eq!(time(wrong, 1_000, "time").ok(), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_have_no_sign() {
        for wrong in ["+5", "-5", "", " ", "1_0", "5.0"] {
            assert_eq!(integer(wrong, "offset").ok(), None, "{wrong}");
        }
        assert_eq!(integer_or_hex("0x1000", "offset"), Ok(4096));
        assert_eq!(integer_or_hex("4096.0", "offset"), Ok(4096));
        for wrong in ["0x", "0x+1", "0x1g", "4096.5", ".0"] {
            let found = integer_or_hex(wrong, "offset").ok();
            assert_eq!(found, None, "{wrong}");
        }
    }
}
