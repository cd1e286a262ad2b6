//! Blocks on their way to the sink.

use std::io::{self, Write};

use crate::format::{BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_MAX, BlockHeader};
use crate::totals::Counts;

/// Blocks that are written together.
#[derive(Debug, Default)]
pub(super) struct Staged {
    bytes: Vec<u8>,
    blocks: Vec<(BlockHeader, Counts)>,
}

impl Staged {
    /// How many bytes they are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a block, whose payload `encode` appends, and gives its header back, with
    /// length and checksum of the payload.
    pub(super) fn add(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> (BlockHeader, Counts),
    ) -> BlockHeader {
        let start = self.bytes.len();
        self.bytes.resize(start + BLOCK_HEADER_BYTES, 0);
        let (mut header, counts) = encode(&mut self.bytes);
        let block = self.bytes.get_mut(start..).unwrap_or_default();
        if let Some((front, payload)) = block.split_first_chunk_mut() {
            header.payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            debug_assert!(header.payload_bytes <= BLOCK_PAYLOAD_MAX, "limits add up");
            header.payload_crc = crc32fast::hash(payload);
            *front = header.encode();
        }
        self.blocks.push((header, counts));
        header
    }

    /// Writes them to `sink`, and tells `whole` of each that is whole there, be it
    /// that a later one is not. None is left.
    pub(super) fn write(
        &mut self,
        sink: &mut impl Write,
        mut whole: impl FnMut(BlockHeader, &Counts),
    ) -> io::Result<()> {
        let (written, outcome) = write_some(sink, &self.bytes);
        // Widens.
        let (mut end, written) = (0, written as u64);
        for (header, counts) in self.blocks.drain(..) {
            end += header.stored_bytes();
            if end <= written {
                whole(header, &counts);
            }
        }
        self.bytes.clear();
        outcome
    }
}

/// Writes all of `bytes`, or as much as can be. Gives back how many were written.
fn write_some(sink: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut rest = bytes;
    let outcome = loop {
        if rest.is_empty() {
            break Ok(());
        }
        match sink.write(rest) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(some) => rest = rest.get(some..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    (bytes.len() - rest.len(), outcome)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use nvme::{CommandId, NamespaceId, NvmOpcode, QueueId};

    use crate::{CommandRecord, Header, Reader, Row, Writer, WriterOptions};

    /// A disk with so much space, which writes a little at a time and is interrupted
    /// in between.
    struct Small {
        bytes: Vec<u8>,
        space: usize,
        turn: usize,
    }

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turn += 1;
            if self.turn.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let some = bytes.len().min(1000).min(self.space - self.bytes.len());
            if some == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn row(sequence: u64) -> Row {
        let record = CommandRecord {
            sequence,
            submit_ns: 1_000 * sequence,
            completion: None,
            queue: QueueId(1),
            cid: CommandId(0),
            opcode: NvmOpcode::READ.0,
            flags: 0,
            nsid: NamespaceId(1),
            cdw2_3: [0; 2],
            cdw10_15: [
                u32::try_from(sequence * 7919 % 100_003).unwrap(),
                0,
                7,
                0,
                0,
                0,
            ],
        };
        Row::of(&record, sequence)
    }

    /// Each block that fits is kept, though several are written at once.
    #[test]
    fn a_disk_that_fills_up_keeps_what_is_whole() {
        const BLOCK: u32 = 100;
        let rows: Vec<Row> = (0..10 * u64::from(BLOCK)).map(row).collect();
        let (mut counts, mut last) = (Vec::new(), 0);
        for space in (500..10_000).step_by(97) {
            let disk = Small {
                bytes: Vec::new(),
                space,
                turn: 0,
            };
            let options = WriterOptions::default().block_commands(BLOCK);
            let mut writer = Writer::new(disk, &Header::default(), options).unwrap();
            let is_full = writer.rows(&rows).is_err();
            let (whole, totals) = (writer.whole_bytes(), writer.totals());
            let mut bytes = std::mem::take(&mut writer.sink_mut().bytes);
            assert!(whole <= bytes.len() as u64);
            bytes.truncate(usize::try_from(whole).unwrap());
            let reader = Reader::from_bytes(bytes).unwrap();
            assert_eq!(reader.totals().commands, totals.commands);
            assert_eq!(totals.commands % u64::from(BLOCK), 0);
            assert_eq!(is_full, totals.commands < rows.len() as u64);
            assert!(totals.commands >= last, "more space, fewer commands");
            last = totals.commands;
            counts.push(last);
        }
        counts.dedup();
        let all: Vec<u64> = (0..=10).map(|blocks| blocks * u64::from(BLOCK)).collect();
        assert_eq!(counts, all, "one block more at a time");
    }
}
