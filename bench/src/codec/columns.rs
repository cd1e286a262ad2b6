//! The five columns that every tool has a use for, kept by others' means.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;

use anyhow::{Result, anyhow};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress};
use traces::Record;

use super::{processor_time, rate};
use crate::median;

/// Microsecond, opcode, LBA, blocks and queue of each command.
pub(super) struct Columns {
    us: Vec<u64>,
    opcodes: Vec<u16>,
    lbas: Vec<u64>,
    blocks: Vec<u32>,
    queues: Vec<u16>,
}

/// Those of the commands of `records`.
pub(super) fn of(records: &[Record]) -> Columns {
    let mut columns = Columns {
        us: Vec::new(),
        opcodes: Vec::new(),
        lbas: Vec::new(),
        blocks: Vec::new(),
        queues: Vec::new(),
    };
    for record in records {
        let Record::Command { command, .. } = record else {
            continue;
        };
        let [low, high, nlb, ..] = command.cdw10_15;
        columns.us.push(command.submit_ns / 1_000);
        columns.opcodes.push(u16::from(command.opcode));
        columns.lbas.push(u64::from(high) << 32 | u64::from(low));
        columns.blocks.push((nlb & 0xffff) + 1);
        columns.queues.push(command.queue.0);
    }
    columns
}

impl Columns {
    /// Bytes, and how fast they are written and read.
    pub(super) fn pcodec(&self, runs: usize) -> Result<(usize, [Option<f64>; 2])> {
        let config = ChunkConfig::default().with_compression_level(12);
        let (mut writes, mut reads, mut bytes) = (Vec::new(), Vec::new(), 0);
        for _ in 0..runs {
            let start = processor_time();
            let us = simple_compress(&self.us, &config)?;
            let opcodes = simple_compress(&self.opcodes, &config)?;
            let lbas = simple_compress(&self.lbas, &config)?;
            let blocks = simple_compress(&self.blocks, &config)?;
            let queues = simple_compress(&self.queues, &config)?;
            writes.push(rate(self.us.len(), start));
            bytes = [&us, &opcodes, &lbas, &blocks, &queues]
                .map(Vec::len)
                .iter()
                .sum();
            let start = processor_time();
            let back = black_box(simple_decompress::<u64>(&us)?);
            black_box(simple_decompress::<u16>(&opcodes)?);
            black_box(simple_decompress::<u64>(&lbas)?);
            black_box(simple_decompress::<u32>(&blocks)?);
            black_box(simple_decompress::<u16>(&queues)?);
            reads.push(rate(self.us.len(), start));
            if back != self.us {
                return Err(anyhow!("pcodec gives other times back"));
            }
        }
        Ok((bytes, [Some(median(writes)), Some(median(reads))]))
    }

    /// Bytes as text, as zip files keep it.
    pub(super) fn zipped(&self) -> Result<usize> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        let mut line = String::new();
        for (row, us) in self.us.iter().enumerate() {
            line.clear();
            writeln!(
                line,
                "{us} {} {} {} {}",
                self.opcodes[row], self.lbas[row], self.blocks[row], self.queues[row]
            )?;
            encoder.write_all(line.as_bytes())?;
        }
        Ok(encoder.finish()?.len())
    }
}
