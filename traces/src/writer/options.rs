//! How a trace is written.

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterOptions {
    /// How hard to compress.
    pub effort: Effort,
    /// Commands a block, 1 to 65,536. What is in an unfinished block is lost
    /// in a crash; blocks of under a thousand commands compress badly.
    pub block_commands: u32,
    /// Whether [`super::Writer::create`] may overwrite a file.
    pub overwrite: bool,
    /// How exactly times are kept.
    pub resolution: Resolution,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            effort: Effort::Fast,
            block_commands: 16_384,
            overwrite: false,
            resolution: Resolution::default(),
        }
    }
}

impl WriterOptions {
    /// These options, with this effort.
    #[must_use]
    pub const fn effort(mut self, effort: Effort) -> Self {
        self.effort = effort;
        self
    }

    /// These options, with this many commands a block.
    #[must_use]
    pub const fn block_commands(mut self, block_commands: u32) -> Self {
        self.block_commands = block_commands;
        self
    }

    /// These options, with leave to overwrite a file or without it.
    #[must_use]
    pub const fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// These options, with times kept as exactly as this.
    #[must_use]
    pub const fn resolution(mut self, resolution: Resolution) -> Self {
        self.resolution = resolution;
        self
    }
}

/// How exactly times are kept: what is finer is cut off. Every tenth part saves
/// three bits of each of a command's two times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// To the nanosecond.
    #[default]
    Nanosecond,
    /// To 100 nanoseconds, the ticks of Windows.
    HundredNanoseconds,
    /// To the microsecond.
    Microsecond,
}

impl Resolution {
    /// In nanoseconds.
    #[must_use]
    pub const fn ns(self) -> u64 {
        match self {
            Self::Nanosecond => 1,
            Self::HundredNanoseconds => 100,
            Self::Microsecond => 1_000,
        }
    }

    /// `ns` without what is finer.
    #[inline]
    pub(super) const fn floor(self, ns: u64) -> u64 {
        // Divisions by constants cost a multiplication each.
        match self {
            Self::Nanosecond => ns,
            Self::HundredNanoseconds => ns - ns % 100,
            Self::Microsecond => ns - ns % 1_000,
        }
    }
}

/// How hard to compress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effort {
    /// Tens of nanoseconds a command: for recording.
    #[default]
    Fast,
    /// As small as it gets, at microseconds a command: for keeping.
    Packed,
}
