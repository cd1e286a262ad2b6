//! Sizes, times and percentages, as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use nvme::NamespaceId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::options::Region;

/// A size or a place: blocks, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// So many blocks.
    Blocks(u64),
    /// So many bytes, a multiple of the block size.
    Bytes(u64),
}

impl Size {
    /// In blocks; none where it is not a whole number of them.
    #[must_use]
    pub const fn blocks(self, block_bytes: u32) -> Option<u64> {
        match self {
            Self::Blocks(blocks) => Some(blocks),
            Self::Bytes(bytes) if block_bytes > 0 && bytes.is_multiple_of(block_bytes as u64) => {
                Some(bytes / block_bytes as u64)
            }
            Self::Bytes(_) => None,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks(blocks) => write!(f, "{blocks} blocks"),
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(blocks) = text.parse() {
            return Ok(Self::Blocks(blocks));
        }
        let bytes = parse_size::Config::new().with_binary().parse_size(text);
        bytes.map(Self::Bytes).map_err(|_| {
            format!("\"{text}\" is no size: write blocks (8) or bytes with a unit (4KiB)")
        })
    }
}

/// A number, or text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, or a string with a unit")]
enum Written {
    Whole(u64),
    Real(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Whole(blocks) => Ok(Self::Blocks(blocks)),
            Written::Real(number) => Err(D::Error::custom(format!("{number} is no size"))),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl Default for Region {
    fn default() -> Self {
        Self {
            start: Size::Blocks(0),
            end: None,
        }
    }
}

impl FromStr for Region {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((start, end)) = text.split_once("..") else {
            return Err(format!(
                "\"{text}\" is no region: write START..END, such as 0..1GiB"
            ));
        };
        let place = |text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some),
        };
        Ok(Self {
            start: place(start)?.unwrap_or(Size::Blocks(0)),
            end: place(end)?,
        })
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// `"1..8"`, both included.
pub(super) fn range<'de, D: Deserializer<'de>>(from: D) -> Result<(Size, Size), D::Error> {
    let text = String::deserialize(from)?;
    parse_range(&text).map_err(D::Error::custom)
}

fn parse_range(text: &str) -> Result<(Size, Size), String> {
    match text.split_once("..") {
        Some((first, last)) => Ok((first.parse()?, last.parse()?)),
        None => Err(format!("\"{text}\" is no range of sizes")),
    }
}

/// A time: seconds, or a number with `ms`, `s`, `min` or `h`.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "\"{text}\": the units of time are us, ms, s, min and h"
            ));
        }
    };
    let number: Result<f64, _> = number.trim().parse();
    number
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * factor).ok())
        .ok_or_else(|| format!("\"{text}\" is no time: write seconds, or a unit such as 500ms"))
}

pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = match Written::deserialize(from)? {
        Written::Whole(seconds) => seconds.to_string(),
        Written::Real(seconds) => seconds.to_string(),
        Written::Text(text) => text,
    };
    parse_duration(&text).map_err(D::Error::custom)
}

pub(super) fn duration_option<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

pub(super) fn namespace<'de, D: Deserializer<'de>>(from: D) -> Result<NamespaceId, D::Error> {
    u32::deserialize(from).map(NamespaceId)
}

pub(super) fn percentage<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a percentage, true or false")]
    enum Percentage {
        All(bool),
        Part(u8),
    }
    Ok(match Percentage::deserialize(from)? {
        Percentage::All(all) => u8::from(all) * 100,
        Percentage::Part(part) => part,
    })
}
