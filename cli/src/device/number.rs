//! Numbers and names on the command line.

use std::time::Duration;

/// A number, decimal or hexadecimal with 0x.
pub(super) fn parse<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let number = number.map_err(|_| format!("{text} is no number: write 12 or 0xc"))?;
    N::try_from(number).map_err(|_| format!("{text} is too large here"))
}

/// Seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    parse(text).map(Duration::from_secs)
}

/// Finds one of `named` by its number, its name, or so much of its name that it
/// is no other's.
pub(super) fn find(
    text: &str,
    what: &str,
    named: impl Iterator<Item = (u8, &'static str)> + Clone,
) -> Result<u8, String> {
    if let Ok(number) = parse(text) {
        return Ok(number);
    }
    let wanted = slug(text);
    let names = || named.clone().map(|(number, name)| (number, slug(name)));
    let ways: [fn(&str, &str) -> bool; 3] = [
        |name, wanted| name == wanted,
        |name, wanted| name.starts_with(wanted),
        |name, wanted| name.contains(wanted),
    ];
    for way in ways {
        let found: Vec<_> = names().filter(|(_, name)| way(name, &wanted)).collect();
        match found.as_slice() {
            [] => {}
            [(number, _)] => return Ok(*number),
            several => {
                let names: Vec<_> = several.iter().map(|(_, name)| name.as_str()).collect();
                return Err(format!(
                    "{text} is one of {}: write more of it",
                    names.join(", ")
                ));
            }
        }
    }
    let names: Vec<_> = names().map(|(_, name)| name).collect();
    Err(format!(
        "there is no {what} {text}: write its number, or one of {}",
        names.join(", ")
    ))
}

/// A name in lower case with hyphens.
pub(super) fn slug(name: &str) -> String {
    let words = name.split(|at: char| !at.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use nvme::LogPageId;

    use super::{find, parse};

    fn page(text: &str) -> Result<u8, String> {
        let named = LogPageId::NAMED.iter();
        find(
            text,
            "log page",
            named.filter_map(|page| Some((page.0, page.name()?))),
        )
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(parse::<u8>("0xff"), Ok(255));
        assert_eq!(parse::<u32>("12"), Ok(12));
        assert!(parse::<u8>("256").unwrap_err().contains("too large"));
        assert!(parse::<u8>("0xzz").unwrap_err().contains("no number"));
    }

    #[test]
    fn names_may_be_cut_while_they_are_one() {
        assert_eq!(page("smart"), Ok(0x02));
        assert_eq!(page("self-test"), Ok(0x06));
        assert_eq!(page("0x81"), Ok(0x81));
        assert_eq!(page("Error Information"), Ok(0x01));
        assert!(
            page("telemetry")
                .unwrap_err()
                .contains("telemetry-host-initiated")
        );
        assert!(page("nonsense").unwrap_err().contains("sanitize-status"));
    }
}
