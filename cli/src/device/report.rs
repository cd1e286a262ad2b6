//! What a device says, as a list of named values: one description for the text
//! that people read and compare, and for JSON.

use serde_json::{Map, Value};

use super::number::slug;

/// Named values, in order, with lists of more.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The line above the values; none where it is empty.
    title: String,
    /// How wide names are, so that the colons stand below each other.
    width: usize,
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    Row {
        name: String,
        text: String,
        value: Value,
    },
    /// A list of lines: the text of each, and its JSON.
    Lines(String, Vec<(String, Value)>),
    /// A list of reports, one below the other.
    List(String, Vec<Report>),
}

impl Report {
    pub(super) fn new(title: impl Into<String>, width: usize) -> Self {
        Self {
            title: title.into(),
            width,
            items: Vec::new(),
        }
    }

    /// A value whose text is not its JSON.
    pub(super) fn row(
        &mut self,
        name: impl Into<String>,
        text: impl Into<String>,
        value: impl Into<Value>,
    ) -> &mut Self {
        self.items.push(Item::Row {
            name: name.into(),
            text: text.into(),
            value: value.into(),
        });
        self
    }

    /// A number, decimal.
    pub(super) fn dec(&mut self, name: impl Into<String>, value: impl Into<u64>) -> &mut Self {
        let value = value.into();
        self.row(name, value.to_string(), value)
    }

    /// A number, hexadecimal in text.
    pub(super) fn hex(&mut self, name: impl Into<String>, value: impl Into<u64>) -> &mut Self {
        let value = value.into();
        self.row(name, hex(value), value)
    }

    /// A 16-byte number. Above 64 bits JSON has it as a string, as most
    /// readers cannot hold it.
    pub(super) fn wide(&mut self, name: impl Into<String>, value: [u8; 16]) -> &mut Self {
        let value = u128::from_le_bytes(value);
        let json = u64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from);
        self.row(name, value.to_string(), json)
    }

    /// A text.
    pub(super) fn text(&mut self, name: impl Into<String>, text: impl Into<String>) -> &mut Self {
        let text = text.into();
        self.row(name, text.clone(), text)
    }

    /// Whether something is so.
    pub(super) fn flag(&mut self, name: impl Into<String>, value: bool) -> &mut Self {
        self.row(name, u8::from(value).to_string(), value)
    }

    /// A list that has a line of text for each entry.
    pub(super) fn lines(
        &mut self,
        name: impl Into<String>,
        lines: Vec<(String, Value)>,
    ) -> &mut Self {
        self.items.push(Item::Lines(name.into(), lines));
        self
    }

    /// A list of reports.
    pub(super) fn list(&mut self, name: impl Into<String>, list: Vec<Self>) -> &mut Self {
        self.items.push(Item::List(name.into(), list));
        self
    }

    /// The report as text, each line ended.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.title.is_empty() {
            text.push_str(&self.title);
            text.push('\n');
        }
        for item in &self.items {
            match item {
                Item::Row {
                    name, text: value, ..
                } => {
                    let line = format!("{name:<width$}: {value}", width = self.width);
                    text.push_str(line.trim_end());
                    text.push('\n');
                }
                Item::Lines(_, lines) => {
                    for (line, _) in lines {
                        text.push_str(line.trim_end());
                        text.push('\n');
                    }
                }
                Item::List(_, list) => text.extend(list.iter().map(Self::to_text)),
            }
        }
        text
    }

    /// The report as a JSON object.
    pub(super) fn to_json(&self) -> Value {
        let mut object = Map::new();
        for item in &self.items {
            let (name, value) = match item {
                Item::Row { name, value, .. } => (name, value.clone()),
                Item::Lines(name, lines) => {
                    (name, lines.iter().map(|(_, json)| json.clone()).collect())
                }
                Item::List(name, list) => (name, list.iter().map(Self::to_json).collect()),
            };
            object.insert(key(name), value);
        }
        Value::Object(object)
    }

    /// Prints the report on standard output.
    pub(super) fn print(&self, json: bool) {
        if json {
            println!("{:#}", self.to_json());
        } else {
            print!("{}", self.to_text());
        }
    }
}

/// The name of a value as JSON has it: `Data Units Read` is `data_units_read`.
fn key(name: &str) -> String {
    slug(name).replace('-', "_")
}

/// A number as C's `%#x` has it: 0 without a prefix.
pub(super) fn hex(value: u64) -> String {
    match value {
        0 => "0".into(),
        value => format!("{value:#x}"),
    }
}

/// Sixteen bytes as a UUID is written (`RFC 9562 §4`).
pub(super) fn uuid(bytes: &[u8; 16]) -> String {
    let digits = digits(bytes);
    let mut text = String::with_capacity(36);
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

/// Bytes as hexadecimal digits.
pub(super) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An ASCII field as it goes to terminals: what is not printable becomes a
/// question mark, the padding stays.
pub(super) fn ascii(field: &[u8]) -> String {
    field
        .iter()
        .map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            0 => ' ',
            _ => '?',
        })
        .collect()
}

/// A hex dump: offset, 16 bytes, and the ASCII among them.
pub(super) fn dump(bytes: &[u8]) -> String {
    let mut text = format!("{:7}", "");
    text.extend((0..16).map(|column| format!("{column:3x}")));
    text.push('\n');
    for (at, line) in (0..).step_by(16).zip(bytes.chunks(16)) {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: String = line
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            })
            .collect();
        text.push_str(&format!("{at:04x}:   {:<47} \"{shown}\"\n", hex.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Report, dump, hex};

    #[test]
    fn one_description_makes_text_and_json() {
        let mut inner = Report::new(" Entry[0]", 4);
        inner.dec("a", 7_u8);
        let mut report = Report::new("Title:", 6);
        report
            .hex("vid", 0x1b36_u16)
            .hex("none", 0_u8)
            .text("  Some Name (SN)", "x  ")
            .wide("cap", u128::MAX.to_le_bytes())
            .flag("on", true)
            .lines("lbaf", vec![("lbaf 0".into(), json!({"ds": 9}))])
            .list("entries", vec![inner]);
        assert_eq!(
            report.to_text(),
            "Title:\nvid   : 0x1b36\nnone  : 0\n  Some Name (SN): x\n\
             cap   : 340282366920938463463374607431768211455\non    : 1\nlbaf 0\n\
             \u{20}Entry[0]\na   : 7\n"
        );
        assert_eq!(
            report.to_json(),
            json!({
                "vid": 0x1b36, "none": 0, "some_name_sn": "x  ",
                "cap": "340282366920938463463374607431768211455", "on": true,
                "lbaf": [{"ds": 9}], "entries": [{"a": 7}],
            })
        );
    }

    #[test]
    fn a_dump_shows_what_is_printable() {
        assert_eq!(hex(255), "0xff");
        let text = dump(b"abc\0\x1b[31m");
        let line = text.lines().nth(1).unwrap();
        assert!(
            line.starts_with("0000:   61 62 63 00 1b 5b 33 31 6d "),
            "{line}"
        );
        assert!(line.ends_with("\"abc..[31m\""), "{line}");
    }
}
