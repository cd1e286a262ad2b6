//! Where in the text a field stands, and what an error of the parser is about.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::error::{Place, ProfileError};

/// A field in a text.
struct Found {
    /// Its name, from the top.
    path: String,
    /// Its value's place.
    value: Range<usize>,
}

/// The line that the byte `offset` of `text` is in, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    before.filter(|byte| *byte == b'\n').count() + 1
}

/// The line of `field`, such as `power.state[1].entry_us`, or of the nearest
/// thing around it; none where the text has nothing of it.
pub(super) fn line(text: &str, field: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut table = table.get_ref();
    let mut offset = None;
    for step in field.split('.') {
        let (name, index) = match step.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else {
            break;
        };
        offset = Some(key.span().start);
        let value = match (index, value.get_ref()) {
            (Some(index), DeValue::Array(array)) => match array.get(index) {
                Some(value) => value,
                None => break,
            },
            _ => value,
        };
        // The item itself where there are several under one key.
        if index.is_some() {
            offset = Some(value.span().start);
        }
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    offset.map(|offset| line_of(text, offset))
}

/// The innermost field whose key or value is at `offset`.
fn find(table: &DeTable<'_>, offset: usize, above: &str) -> Option<Found> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        let path = if above.is_empty() {
            name.to_string()
        } else {
            format!("{above}.{name}")
        };
        let within = find_in(value.get_ref(), offset, &path);
        let here = key.span().contains(&offset) || value.span().contains(&offset);
        within.or_else(|| {
            here.then(|| Found {
                path,
                value: value.span(),
            })
        })
    })
}

fn find_in(value: &DeValue<'_>, offset: usize, path: &str) -> Option<Found> {
    match value {
        DeValue::Table(table) => find(table, offset, path),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, item)| {
            let path = format!("{path}[{index}]");
            let within = find_in(item.get_ref(), offset, &path);
            within.or_else(|| {
                item.span().contains(&offset).then(|| Found {
                    path,
                    value: item.span(),
                })
            })
        }),
        _ => None,
    }
}

/// What the parser's `error` about `text` is about.
pub(super) fn describe(name: &str, text: &str, error: &toml::de::Error) -> ProfileError {
    let offset = error.span().map(|span| span.start);
    let place = Place {
        name: name.to_owned(),
        line: offset.map(|offset| line_of(text, offset)),
    };
    let message = error.message();
    let found = offset.and_then(|offset| {
        let table = DeTable::parse(text).ok()?;
        find(table.get_ref(), offset, "")
    });
    let Some(Found { path, value }) = found else {
        return ProfileError::Syntax {
            place,
            message: message.replace('\n', ", "),
        };
    };
    let expected = message.split_once(", expected ").map(|(_, what)| what);
    if message.starts_with("unknown field") {
        return ProfileError::Unknown {
            place,
            field: path,
            instead: expected.unwrap_or("another one").to_owned(),
        };
    }
    match expected {
        Some(expected) if message.starts_with("invalid ") => ProfileError::Field {
            place,
            field: path,
            value: shortened(text.get(value).unwrap_or_default()),
            range: in_words(expected),
        },
        _ => ProfileError::Syntax {
            place,
            message: format!("{path}: {}", message.replace('\n', ", ")),
        },
    }
}

/// The start of a value, on one line.
fn shortened(value: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let first = value.lines().next().unwrap_or_default();
    let mut short: String = first.chars().take(CHARACTERS_MAX).collect();
    if short.len() < value.len() {
        short.push_str("...");
    }
    short
}

/// What the parser expects, in the words of somebody who writes TOML.
fn in_words(expected: &str) -> String {
    let number = |max: u64| format!("a whole number from 0 to {max}");
    match expected {
        "u8" => number(u8::MAX.into()),
        "u16" => number(u16::MAX.into()),
        "u32" => number(u32::MAX.into()),
        // TOML's numbers end there.
        "u64" => number(i64::MAX.unsigned_abs()),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a string, in quotes".to_owned(),
        "a sequence" => "an array of tables, each under [[its name]]".to_owned(),
        other if other.starts_with("struct ") => "a table, under [its name]".to_owned(),
        other => other.to_owned(),
    }
}
