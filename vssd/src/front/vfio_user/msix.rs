//! The MSI-X table, as whoever reads the BAR sees it.
//!
//! It is kept for that, and decides nothing: a virtual machine monitor has its
//! own copy, acts on it before it calls us, and says by
//! `VFIO_USER_DEVICE_SET_IRQS` what a vector is to do.

/// Size of an entry of the MSI-X table, bytes.
const ENTRY_BYTES: usize = 16;
/// Where the word with the mask bit stands in an entry.
const ENTRY_CONTROL: usize = 12;

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
}

impl Table {
    /// A table of so many vectors.
    pub(super) fn new(vectors: u16) -> Self {
        let mut table = Self {
            bytes: vec![0; usize::from(vectors).saturating_mul(ENTRY_BYTES)],
        };
        table.reset();
        table
    }

    /// As at power-on: every entry is masked.
    pub(super) fn reset(&mut self) {
        for entry in self.bytes.chunks_exact_mut(ENTRY_BYTES) {
            entry.fill(0);
            if let Some(control) = entry.get_mut(ENTRY_CONTROL) {
                *control = 1;
            }
        }
    }

    /// Reads it; zeroes beyond it.
    pub(super) fn read(&self, offset: usize, to: &mut [u8]) {
        to.fill(0);
        let from = self.bytes.get(offset..).unwrap_or_default();
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }

    /// Writes it; of the control word only the mask bit exists.
    pub(super) fn write(&mut self, offset: usize, from: &[u8]) {
        let cells = self.bytes.iter_mut().enumerate().skip(offset);
        for ((at, cell), new) in cells.zip(from) {
            *cell = match at % ENTRY_BYTES {
                ENTRY_CONTROL => new & 1,
                at if at > ENTRY_CONTROL => 0,
                _ => *new,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_keeps_addresses_and_mask_bits() {
        let mut table = Table::new(2);
        let mut entry = [0; 16];
        table.read(16, &mut entry);
        assert_eq!(entry, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        table.write(16, &[0xfe; 16]);
        table.write(30, &[0xff; 16]);
        table.read(16, &mut entry);
        assert_eq!(&entry[..12], &[0xfe; 12]);
        assert_eq!(&entry[12..], &[0; 4]);
        table.read(32, &mut entry);
        assert_eq!(entry, [0; 16]);
    }
}
