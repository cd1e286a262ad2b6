//! Times and addresses, multiplied.

use std::fmt;
use std::str::FromStr;

use nvme::DsmRange;

use super::Edit;
use crate::{CommandRecord, Header, Record};

/// A positive decimal factor, exact: `2`, `0.5`, `1.25x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    /// Millionths.
    millionths: u64,
}

impl Factor {
    /// No change.
    pub const ONE: Self = Self {
        millionths: 1_000_000,
    };

    /// `value` times this, rounded down; the largest number where it is too
    /// large.
    #[must_use]
    pub fn of(self, value: u64) -> u64 {
        let product = u128::from(value) * u128::from(self.millionths) / 1_000_000;
        u64::try_from(product).unwrap_or(u64::MAX)
    }

    /// `value` divided by this, rounded down; the largest number where it is
    /// too large.
    #[must_use]
    pub fn divide(self, value: u64) -> u64 {
        let quotient = u128::from(value) * 1_000_000 / u128::from(self.millionths.max(1));
        u64::try_from(quotient).unwrap_or(u64::MAX)
    }
}

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no factor: write a number above 0 with up to six decimals, as 2x or 0.5x"
            )
        };
        let number = text.strip_suffix('x').unwrap_or(text);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 6 || number.is_empty() {
            return Err(wrong());
        }
        let whole: u64 = format!("0{whole}").parse().map_err(|_| wrong())?;
        let fraction: u64 = format!("{fraction:0<6}").parse().map_err(|_| wrong())?;
        whole
            .checked_mul(1_000_000)
            .and_then(|millionths| millionths.checked_add(fraction))
            .filter(|millionths| *millionths > 0)
            .map(|millionths| Self { millionths })
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.millionths / 1_000_000, self.millionths % 1_000_000);
        let fraction = format!("{fraction:06}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            write!(f, "{whole}x")
        } else {
            write!(f, "{whole}.{fraction}x")
        }
    }
}

/// Multiplies the speed of a trace, or its addresses.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// How much faster commands follow each other. How long each took stays.
    pub speed: Factor,
    /// What starting LBAs are multiplied by. Lengths stay; a start stays as
    /// aligned as it was, up to 8 blocks.
    pub lba: Factor,
    /// The trace's start on its clock, ns: [`crate::Start::clock_ns`].
    pub origin_ns: u64,
}

impl Scale {
    fn time(&self, ns: u64) -> u64 {
        let since = ns.saturating_sub(self.origin_ns);
        self.origin_ns.saturating_add(self.speed.divide(since))
    }

    fn address(&self, lba: u64) -> u64 {
        if self.lba == Factor::ONE {
            return lba;
        }
        let alignment = 1_u64 << lba.trailing_zeros().min(3);
        self.lba.of(lba) / alignment * alignment
    }

    fn command(&self, command: &mut CommandRecord, ranges: &mut [DsmRange]) {
        let submit_ns = self.time(command.submit_ns);
        if let Some(completion) = &mut command.completion {
            let latency_ns = completion.complete_ns.saturating_sub(command.submit_ns);
            completion.complete_ns = submit_ns.saturating_add(latency_ns);
        }
        command.submit_ns = submit_ns;
        if let Some(lba) = command.slba() {
            let within = command.within_zone();
            command.move_to(nvme::Lba(self.address(lba.0)), within);
        }
        for range in ranges {
            range.slba.set(self.address(range.lba().0));
        }
    }
}

impl Edit for Scale {
    fn header(&self, header: &mut Header) {
        for namespace in &mut header.namespaces {
            namespace.blocks = self.lba.of(namespace.blocks).max(1);
        }
    }

    fn edit(&mut self, mut record: Record, out: &mut Vec<Record>) {
        match &mut record {
            Record::Command {
                command, ranges, ..
            } => self.command(command, ranges),
            Record::Event(event) => event.at_ns = self.time(event.at_ns),
            Record::Gap(gap) => gap.at_ns = self.time(gap.at_ns),
        }
        out.push(record);
    }
}
