//! The address of a PCI function.

use std::fmt;
use std::str::FromStr;

/// Where a PCI function is: domain, bus, device and function, as the kernel
/// and `lspci` write them.
///
/// ```
/// use driver::pci::PciAddress;
///
/// let address: PciAddress = "01:00.0".parse().unwrap();
/// assert_eq!(address.to_string(), "0000:01:00.0");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Wider than 16 bits behind some host bridges (Intel VMD), so that the
    /// kernel writes five digits or more there.
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// A text that is not the address of a PCI function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no PCI address: write it as 0000:01:00.0, as `vssd device list` does")]
pub struct BadAddress(String);

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!(
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.device, self.function
        );
        f.pad(&text)
    }
}

impl FromStr for PciAddress {
    type Err = BadAddress;

    /// Takes `0000:01:00.0`, and `01:00.0` for one in domain 0.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        parse(text).ok_or_else(|| BadAddress(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<PciAddress> {
    let (place, function) = text.rsplit_once('.')?;
    let (place, device) = place.rsplit_once(':')?;
    let (domain, bus) = match place.rsplit_once(':') {
        Some((domain, bus)) => (hex(domain, 4..=8)?, bus),
        None => (0, place),
    };
    let device = u8::try_from(hex(device, 2..=2)?).ok()?;
    let function = u8::try_from(hex(function, 1..=1)?).ok()?;
    (device < 32 && function < 8).then_some(PciAddress {
        domain,
        bus: u8::try_from(hex(bus, 2..=2)?).ok()?,
        device,
        function,
    })
}

/// A number of so many hexadecimal digits, and nothing else: no sign.
fn hex(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain || !digits.contains(&text.len()) {
        return None;
    }
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::PciAddress;

    #[test]
    fn an_address_is_read_as_people_write_it() {
        for (text, canonical) in [
            ("0000:01:00.0", "0000:01:00.0"),
            ("01:00.0", "0000:01:00.0"),
            ("00A1:fF:1F.7", "00a1:ff:1f.7"),
            ("10000:e1:00.0", "10000:e1:00.0"),
        ] {
            let address: PciAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "01:00",
            "1:00.0",
            "01:0.0",
            "01:00.8",
            "01:20.0",
            "+1:00.0",
            "01:00.0 ",
            "000:01:00.0",
            ":01:00.0",
            "0000:0000:01:00.0",
            "../01:00.0",
            "000000001:01:00.0",
            "nvme0",
            "01:00.00",
        ] {
            assert!(text.parse::<PciAddress>().is_err(), "{text}");
        }
    }
}
