//! What a command does, as far as a picture tells commands apart.

use nvme::{DsmAttributes, NvmOpcode};
use plotters::style::RGBColor;

use crate::CommandRecord;

/// What an I/O command does, as far as a picture tells commands apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Dataset Management with the Deallocate attribute: discard, trim.
    Discard,
    /// Write Zeroes.
    WriteZeroes,
    /// Flush.
    Flush,
    /// Everything else: Compare, Verify, vendor commands …
    Other,
}

impl Operation {
    /// How many there are.
    pub(super) const COUNT: usize = 6;

    /// All of them, in the order of legends.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Read,
        Self::Write,
        Self::Discard,
        Self::WriteZeroes,
        Self::Flush,
        Self::Other,
    ];

    /// The operation of an I/O command; none for an admin command.
    #[must_use]
    pub fn of(command: &CommandRecord) -> Option<Self> {
        Some(match command.nvm_opcode()? {
            NvmOpcode::READ => Self::Read,
            NvmOpcode::WRITE => Self::Write,
            NvmOpcode::WRITE_ZEROES => Self::WriteZeroes,
            NvmOpcode::FLUSH => Self::Flush,
            NvmOpcode::DATASET_MANAGEMENT => {
                let [_, cdw11, ..] = command.cdw10_15;
                if DsmAttributes::from_bits(cdw11).ad() {
                    Self::Discard
                } else {
                    Self::Other
                }
            }
            _ => Self::Other,
        })
    }

    /// The name in legends.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Discard => "discard",
            Self::WriteZeroes => "write zeroes",
            Self::Flush => "flush",
            Self::Other => "other",
        }
    }

    /// The place in [`Operation::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The colour: from the palette of Okabe and Ito, which stays apart for
    /// colour-blind readers.
    pub(super) const fn colour(self) -> RGBColor {
        match self {
            Self::Read => RGBColor(0, 114, 178),
            Self::Write => RGBColor(213, 94, 0),
            Self::Discard => RGBColor(0, 158, 115),
            Self::WriteZeroes => RGBColor(204, 121, 167),
            Self::Flush => RGBColor(50, 50, 50),
            Self::Other => RGBColor(140, 140, 140),
        }
    }
}
