//! `name=value` and `name value` in lines, as kernels and QEMU print them.

/// The value after `name` and `equals` in `text`, up to what ends it; `name`
/// is a whole word.
pub(crate) fn field<'a>(text: &'a str, name: &str, equals: char) -> Option<&'a str> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find(name) {
        let start = from + at;
        let end = start + name.len();
        let before = text.get(..start)?.chars().next_back();
        let value = text.get(end..)?.strip_prefix(equals);
        if let Some(value) = value.filter(|_| before.is_none_or(|it| " ,(\t".contains(it))) {
            let end = value.find([' ', ',', ')', '\t']).unwrap_or(value.len());
            return value.get(..end);
        }
        from = end;
    }
    None
}

/// `text` as a number, hexadecimal after `0x`; what follows a colon explains
/// it.
pub(crate) fn number<T: TryFrom<u64>>(text: &str, name: &str) -> Result<T, String> {
    let digits = text.split(':').next().unwrap_or_default().trim();
    let value = match digits.strip_prefix("0x") {
        // A sign would be taken otherwise.
        Some(hex) if hex.bytes().all(|it| it.is_ascii_hexdigit()) => u64::from_str_radix(hex, 16),
        None if digits.bytes().all(|it| it.is_ascii_digit()) => digits.parse(),
        _ => "".parse(),
    };
    value
        .ok()
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| format!("{name} is {text:?}, which is no number that fits"))
}

/// Fields of one line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) text: &'a str,
    /// What stands between a name and its value.
    pub(crate) equals: char,
}

impl<'a> Fields<'a> {
    /// The words of `name`, where it is there.
    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        field(self.text, name, self.equals)
    }

    /// The number `name`.
    pub(crate) fn get<T: TryFrom<u64>>(self, name: &str) -> Result<T, String> {
        let text = self
            .text(name)
            .ok_or_else(|| format!("there is no {name}"))?;
        number(text, name)
    }

    /// The number by the first of `names` that is there.
    pub(crate) fn any<T: TryFrom<u64>>(self, names: &[&str]) -> Result<T, String> {
        let found = names.iter().find(|name| self.text(name).is_some());
        self.get(found.or(names.first()).copied().unwrap_or_default())
    }

    /// The number `name`; 0 where it is not there, or is none.
    pub(crate) fn or_zero(self, name: &str) -> u32 {
        self.get(name).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, field, number};

    #[test]
    fn names_are_whole_words() {
        let text = "disk=nvme0n1, qid=4, cmdid=25169, cid=7 (slba=1, zsa=4:reset zone)";
        assert_eq!(field(text, "cid", '='), Some("7"));
        assert_eq!(field(text, "id", '='), None);
        assert_eq!(field(text, "slba", '='), Some("1"));
        let fields = Fields { text, equals: '=' };
        assert_eq!(fields.get::<u16>("cmdid"), Ok(25_169));
        assert_eq!(fields.get::<u8>("zsa"), Ok(4));
        assert_eq!(fields.get::<u8>("cmdid").ok(), None);
        assert_eq!(number::<u16>("0x4000", "ctrl"), Ok(0x4000));
        for wrong in ["", "0x", "-1", "+1", "0x+1", "1_0", "65536"] {
            let found = number::<u16>(wrong, "it").ok();
            assert_eq!(found, None, "{wrong}");
        }
    }
}
