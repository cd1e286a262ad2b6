//! What stands on the command line of a replay.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nvme::{NamespaceId, NvmOpcode};

use crate::device::Device;

/// A trace or a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Trace(PathBuf),
    Device(Device),
}

impl Item {
    pub(super) fn trace(&self) -> Option<&Path> {
        match self {
            Self::Trace(path) => Some(path),
            Self::Device(_) => None,
        }
    }

    pub(super) const fn device(&self) -> Option<&Device> {
        match self {
            Self::Device(device) => Some(device),
            Self::Trace(_) => None,
        }
    }
}

impl FromStr for Item {
    type Err = String;

    /// What reads as a device is one; a trace of such a name is `./NAME`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(device) => Ok(Self::Device(device)),
            Err(error) if text.starts_with("vfio-user:") => Err(error),
            Err(_) => Ok(Self::Trace(text.into())),
        }
    }
}

/// A kind of command, by its opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(pub(super) u8);

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let opcode = match lower.as_str() {
            "read" => NvmOpcode::READ,
            "write" => NvmOpcode::WRITE,
            "flush" => NvmOpcode::FLUSH,
            "trim" | "dsm" => NvmOpcode::DATASET_MANAGEMENT,
            "zeroes" | "write-zeroes" => NvmOpcode::WRITE_ZEROES,
            "compare" => NvmOpcode::COMPARE,
            "verify" => NvmOpcode::VERIFY,
            other => {
                let digits = other.strip_prefix("0x");
                let opcode = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                return opcode.map(Self).ok_or_else(|| {
                    "write read, write, flush, trim, zeroes, compare, verify, or an opcode such \
                     as 0x0c"
                        .to_owned()
                });
            }
        };
        Ok(Self(opcode.0))
    }
}

/// Recorded blocks, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LbaRange(pub(super) RangeInclusive<u64>);

impl FromStr for LbaRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = || {
            let (first, last) = text.split_once("..")?;
            let first = if first.is_empty() { "0" } else { first };
            let first: u64 = first.trim().parse().ok()?;
            let last: u64 = match last.trim() {
                "" => u64::MAX,
                last => last.parse().ok()?,
            };
            (first <= last).then_some(Self(first..=last))
        };
        range().ok_or_else(|| "write FIRST..LAST, two block numbers, such as 0..2047".to_owned())
    }
}

/// A recorded namespace, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamespacePair {
    pub(super) from: NamespaceId,
    pub(super) to: NamespaceId,
}

impl FromStr for NamespacePair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse().ok().filter(|id| *id > 0);
        let pair = || {
            let (from, to) = text.split_once('=')?;
            Some((number(from)?, number(to)?))
        };
        let (from, to) = pair().ok_or("write FROM=TO, two namespaces, such as 1=2")?;
        Ok(Self {
            from: NamespaceId(from),
            to: NamespaceId(to),
        })
    }
}

/// What writes carry: what was recorded, or data that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum DataName {
    Recorded,
    Pattern,
}

/// A share in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(pub(super) u8);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse();
        match number {
            Ok(share) if share <= 100 => Ok(Self(share)),
            _ => Err("write a share from 0% to 100%".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_as_a_device_is_one() {
        let item = |text: &str| text.parse::<Item>();
        assert_eq!(item("day.vtr"), Ok(Item::Trace("day.vtr".into())));
        assert!(matches!(item("0000:01:00.0"), Ok(Item::Device(_))));
        assert!(matches!(item("vfio-user:/tmp/a.sock"), Ok(Item::Device(_))));
        assert!(matches!(item("./01:00.0"), Ok(Item::Trace(_))));
        item("vfio-user:").unwrap_err();
    }

    #[test]
    fn kinds_ranges_pairs_and_shares_are_read() {
        assert_eq!("Trim".parse(), Ok(Kind(9)));
        assert_eq!("0x0C".parse(), Ok(Kind(0x0c)));
        "fsync".parse::<Kind>().unwrap_err();
        assert_eq!("5..9".parse(), Ok(LbaRange(5..=9)));
        assert_eq!("5..".parse(), Ok(LbaRange(5..=u64::MAX)));
        assert_eq!("..9".parse(), Ok(LbaRange(0..=9)));
        for text in ["9..5", "5", "a..b"] {
            text.parse::<LbaRange>().unwrap_err();
        }
        let pair: NamespacePair = "1=2".parse().unwrap();
        assert_eq!((pair.from, pair.to), (NamespaceId(1), NamespaceId(2)));
        "0=2".parse::<NamespacePair>().unwrap_err();
        assert_eq!("50%".parse(), Ok(Share(50)));
        "101".parse::<Share>().unwrap_err();
    }
}
