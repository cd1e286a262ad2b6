//! Numbers in text, with errors that say which field they are in.

/// `text` as a number without a sign, decimal.
pub(crate) fn integer(text: &str, field: &str) -> Result<u64, String> {
    let text = text.trim();
    text.parse()
        .map_err(|_| format!("the {field} is {text:?}, but must be a number without a sign"))
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
    let fraction: u64 = format!("{fraction:0<9.9}").parse().map_err(|_| wrong())?;
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
    use super::billionths;

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
}
