//! DISK and SIZE arguments.

use std::path::PathBuf;
use std::str::FromStr;

use parse_size::Config;

/// Where a virtual SSD keeps its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Memory, gone when the program ends.
    Ram(u64),
    /// A raw image.
    Raw(PathBuf),
}

impl FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("ram:") {
            Some(size) => parse_bytes(size).map(Self::Ram),
            None if text.is_empty() => {
                Err("give the path of a raw image, or `ram:SIZE` such as ram:1GiB".into())
            }
            None => Ok(Self::Raw(text.into())),
        }
    }
}

/// A size in bytes: `512M`, `8GiB`, `1.5T`; K, M, G and T are powers of 1024,
/// as in qemu-img.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| format!("{error}: write a size such as 512M or 8GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_memory_or_a_file() {
        assert_eq!("ram:1G".parse(), Ok(Disk::Ram(1 << 30)));
        assert_eq!("ram:512MiB".parse(), Ok(Disk::Ram(512 << 20)));
        assert_eq!("a.img".parse(), Ok(Disk::Raw("a.img".into())));
        assert!("ram:many".parse::<Disk>().unwrap_err().contains("512M"));
        assert!("".parse::<Disk>().unwrap_err().contains("raw image"));
    }
}
