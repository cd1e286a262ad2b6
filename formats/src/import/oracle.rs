//! libCacheSim's oracleGeneral: rows of 24 bytes, often in Zstandard: time in
//! seconds, object, size, and when the object is next asked for. There are no
//! operations: all are taken for reads. Objects are taken for addresses in
//! blocks, as traces of block devices have them.

use super::binary::{Row, Rows, u32_at, u64_at};
use super::number::times;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Notes, Operation};

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let parser = Oracle {
        block_bytes: options.block_bytes.into(),
    };
    Ok(Box::new(Rows::<_, 24>::new(
        input.streams()?,
        options,
        &parser,
    )))
}

#[derive(Clone, Debug)]
struct Oracle {
    block_bytes: u64,
}

impl Row<24> for Oracle {
    fn row(&mut self, row: &[u8; 24], notes: &mut Notes) -> Result<Option<Io>, String> {
        notes.count("requests without an operation were taken for reads");
        let at_ns = times(u32_at(row, 0).into(), 1_000_000_000, "time")?;
        let offset = times(u64_at(row, 4), self.block_bytes, "object")?;
        let length = u32_at(row, 12).into();
        Ok(Some(Io::new(at_ns, Operation::Read, offset, length)))
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1_000_000_000,
            unix: false,
        }
    }
}
