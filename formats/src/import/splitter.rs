//! Takes lines of columns apart, without memory of its own for each.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// Takes the lines of one file apart.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// A blank stands for any number of blanks and tabs.
    separator: u8,
    reader: Reader,
    /// The fields, one after the other.
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    count: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new(b',')
    }
}

impl Splitter {
    /// One for fields that `separator` stands between.
    pub(crate) fn new(separator: u8) -> Self {
        Self {
            separator,
            reader: ReaderBuilder::new().delimiter(separator).build(),
            text: Vec::new(),
            ends: Vec::new(),
            count: 0,
        }
    }

    /// The fields of `line`, without the quotes and blanks around them.
    pub(crate) fn split(&mut self, line: &str) -> Columns<'_> {
        self.count = 0;
        if self.separator == b' ' {
            self.text.clear();
            self.ends.clear();
            for field in line.split_ascii_whitespace() {
                let field = field.trim_matches('"');
                self.text.extend_from_slice(field.as_bytes());
                self.ends.push(self.text.len());
            }
            self.count = self.ends.len();
        } else {
            self.quoted(line.as_bytes());
        }
        let text = self
            .ends
            .get(self.count.wrapping_sub(1))
            .and_then(|end| self.text.get(..*end))
            .and_then(|text| std::str::from_utf8(text).ok());
        Columns {
            text: text.unwrap_or_default(),
            ends: self.ends.get(..self.count).unwrap_or_default(),
        }
    }

    fn quoted(&mut self, line: &[u8]) {
        // No field is longer than the line, and each but the last has a
        // separator after it.
        let room = line.len() + 1;
        if self.text.len() < room {
            self.text.resize(room, 0);
            self.ends.resize(room, 0);
        }
        self.reader.reset();
        let (mut read, mut written) = (0, 0);
        loop {
            let (result, taken, given, ended) = self.reader.read_record(
                // After the line, its end.
                line.get(read..).unwrap_or_default(),
                self.text.get_mut(written..).unwrap_or_default(),
                self.ends.get_mut(self.count..).unwrap_or_default(),
            );
            read += taken;
            written += given;
            self.count += ended;
            if result != ReadRecordResult::InputEmpty {
                break;
            }
        }
    }
}

/// The fields of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Columns<'a> {
    /// How many there are.
    pub(crate) fn len(self) -> usize {
        self.ends.len()
    }

    /// The one with this index.
    pub(crate) fn get(self, index: usize) -> Option<&'a str> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..end).map(str::trim)
    }

    /// All of them.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a str> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

/// The fields of a line, which are to be `N`, without the blanks around them.
pub(crate) fn exactly<'a, const N: usize>(
    fields: impl Iterator<Item = &'a str>,
) -> Result<[&'a str; N], String> {
    let (found, count) = first(fields);
    if count == N {
        Ok(found)
    } else {
        Err(format!("{count} fields, where {N} belong"))
    }
}

/// The first `N` fields of a line, which may have more, without the blanks
/// around them.
pub(crate) fn at_least<'a, const N: usize>(
    fields: impl Iterator<Item = &'a str>,
) -> Result<[&'a str; N], String> {
    let (found, count) = first(fields);
    if count >= N {
        Ok(found)
    } else {
        Err(format!("{count} fields, where {N} or more belong"))
    }
}

fn first<'a, const N: usize>(fields: impl Iterator<Item = &'a str>) -> ([&'a str; N], usize) {
    let mut found = [""; N];
    let mut count = 0;
    for field in fields {
        if let Some(slot) = found.get_mut(count) {
            *slot = field.trim();
        }
        count += 1;
    }
    (found, count)
}

#[cfg(test)]
mod tests {
    use super::{Splitter, exactly};

    #[test]
    fn quotes_hold_fields_together() {
        let of = |separator, line: &str| -> Vec<String> {
            let mut splitter = Splitter::new(separator);
            // Nothing of one line is left in the next.
            splitter.split("a,\"b c,d");
            splitter.split(line).iter().map(str::to_owned).collect()
        };
        assert_eq!(
            of(b',', "1, 2 ,\"a, \"\"b\"\"\",,"),
            ["1", "2", "a, \"b\"", "", ""]
        );
        assert_eq!(of(b';', "é;\"1,5\""), ["é", "1,5"]);
        assert_eq!(of(b' ', "  1 \t\"x\"  2"), ["1", "x", "2"]);
        assert_eq!(of(b',', "\"open, to the end"), ["open, to the end"]);
        assert_eq!(of(b',', "").len(), 0);
        assert_eq!(of(b' ', "").len(), 0);
        let long = "x,".repeat(5_000);
        assert_eq!(of(b',', &long).len(), 5_001);
        assert_eq!(exactly("1; 2".split(';')), Ok(["1", "2"]));
        let missing = exactly::<3>("1; 2".split(';'));
        assert_eq!(missing.unwrap_err(), "2 fields, where 3 belong");
    }
}
