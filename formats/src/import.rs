//! Reading the formats of other tools.

pub(crate) mod binary;
pub(crate) mod blkparse;
pub(crate) mod blkreplay;
pub(crate) mod blktrace;
pub(crate) mod btrecord;
pub(crate) mod columns;
pub(crate) mod commands;
pub(crate) mod csv_traces;
pub(crate) mod etw;
pub(crate) mod fields;
pub(crate) mod fio;
pub(crate) mod jesd219;
pub(crate) mod lines;
pub(crate) mod merged;
pub(crate) mod msr;
pub(crate) mod named;
pub(crate) mod number;
pub(crate) mod oracle;
pub(crate) mod pairs;
pub(crate) mod parquet;
pub(crate) mod pending;
pub(crate) mod qemu;
pub(crate) mod rwbs;
pub(crate) mod simulators;
pub(crate) mod spdk;
pub(crate) mod splitter;
pub(crate) mod trace_points;
pub(crate) mod vscsi;
pub(crate) mod vtracer;

use traces::Header;

use crate::{FormatError, Item, Notes};

/// How a foreign trace is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Whether what cannot be read is left out and counted, where it would be
    /// an error otherwise.
    pub salvage: bool,
    /// Bytes a block, of formats in blocks that do not say: 512 by default.
    pub block_bytes: u32,
    /// Which column is what, of formats that leave this to the user.
    pub columns: Option<String>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            salvage: false,
            block_bytes: 512,
            columns: None,
        }
    }
}

/// Reads a foreign trace, a request after the other, in constant memory.
///
/// Items come about in the order of their submission: an [`Assembler`] puts
/// right what is within a quarter of a million items.
///
/// [`Assembler`]: crate::Assembler
pub trait Import {
    /// The next item; none at the end.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] where the file is not as the format has it,
    /// [`FormatError::Io`] where it cannot be read.
    fn next(&mut self) -> Result<Option<Item>, FormatError>;

    /// The names of the devices so far, which [`Io::device`] counts; a format
    /// that knows none has one without a name. The device of a whole command
    /// is one less than its namespace; one that is not known has no name yet.
    ///
    /// [`Io::device`]: crate::Io::device
    fn devices(&self) -> &[String];

    /// Its clock.
    fn clock(&self) -> ImportClock;

    /// What was left out or could not be expressed so far.
    fn notes(&self) -> &Notes;

    /// The header of the `.vtr` trace that the file was written from, where it
    /// holds all of that trace: its items, with their sequence numbers, are to
    /// come back as they were.
    fn original(&self) -> Option<&Header> {
        None
    }
}

/// The clock of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportClock {
    /// Times are multiples of this, nanoseconds.
    pub resolution_ns: u64,
    /// Whether times are counted from 1970-01-01 UTC.
    pub unix: bool,
}

/// Names seen so far, each with its index.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: Vec<String>,
    /// Where names are put together.
    text: String,
    index: std::collections::HashMap<String, u32>,
}

impl Names {
    /// How many are told apart at most: as many as namespaces are worth having.
    const MAX: usize = 1 << 16;

    /// The index of `name`, a new one where it was not seen before.
    pub(crate) fn index(&mut self, name: &str) -> Result<u32, String> {
        if let Some(index) = self.index.get(name) {
            return Ok(*index);
        }
        if self.names.len() >= Self::MAX {
            let max = Self::MAX;
            return Err(format!("more than {max} devices: is the column right?"));
        }
        let index = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), index);
        Ok(index)
    }

    /// As [`Names::index`], of a name that is made up of parts.
    pub(crate) fn index_of(&mut self, name: std::fmt::Arguments<'_>) -> Result<u32, String> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        // Writing to memory does not fail.
        let _ = std::fmt::Write::write_fmt(&mut text, name);
        let index = self.index(&text);
        self.text = text;
        index
    }

    /// Namespaces that can keep their numbers.
    const PLACED: u32 = 1 << 10;

    /// A namespace named `name`: `nsid`, or where that has a name already, the
    /// next that is free. What is beyond the first thousand keeps its number,
    /// without a name.
    pub(crate) fn place(&mut self, nsid: u32, name: String) -> u32 {
        let len = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        if nsid == 0 || nsid > Self::PLACED || len >= Self::PLACED {
            return nsid;
        }
        let index = |nsid: u32| usize::try_from(nsid - 1).unwrap_or(usize::MAX);
        let taken = self
            .names
            .get(index(nsid))
            .is_some_and(|name| !name.is_empty());
        let nsid = if taken { len + 1 } else { nsid };
        if nsid > len {
            self.names.resize(index(nsid) + 1, String::new());
        }
        if let Some(slot) = self.names.get_mut(index(nsid)) {
            *slot = name;
        }
        nsid
    }

    pub(crate) fn as_slice(&self) -> &[String] {
        &self.names
    }
}
