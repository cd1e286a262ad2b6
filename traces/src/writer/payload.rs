//! Writing what commands wrote.

use std::io::Write;

use super::{Effort, Writer};
use crate::error::TraceError;
use crate::payload::{PayloadBuffer, PayloadTotals, is_whole};
use crate::totals::Counts;
use crate::{CommandRecord, Digester, Header, Payload, PayloadContent, PayloadKind, PayloadPlace};

/// The levels of zstd: for recording, and for keeping.
const LEVEL_FAST: i32 = 1;
const LEVEL_PACKED: i32 = 12;

/// The open block of payload, and what makes its content.
#[derive(Debug)]
pub(super) struct PayloadWriter {
    kind: PayloadKind,
    buffer: PayloadBuffer,
    digester: Digester,
}

impl PayloadWriter {
    /// Of a trace with this header; none where that says that there is none.
    pub(super) fn of(header: &Header, effort: Effort) -> Option<Self> {
        let info = header.payload.as_ref()?;
        let level = match effort {
            Effort::Fast => LEVEL_FAST,
            Effort::Packed => LEVEL_PACKED,
        };
        Some(Self {
            kind: info.kind,
            buffer: PayloadBuffer::new(level),
            digester: Digester::default(),
        })
    }

    pub(super) fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Adds whole blocks of data, as the kind of the trace wants them.
    fn data(&mut self, place: &PayloadPlace, data: &[u8]) {
        match self.kind {
            PayloadKind::Hash => {
                let block = place.block_bytes.max(1) as usize;
                let digester = &mut self.digester;
                let digests = data.chunks(block).map(|it| digester.digest(it));
                let digests: Vec<_> = digests.collect();
                self.buffer.hashes(place, &digests);
            }
            PayloadKind::Data | PayloadKind::Other => self.buffer.data(place, data),
        }
    }
}

impl<W: Write> Writer<W> {
    /// Adds blocks that a command writes: all of them, or those from
    /// [`PayloadPlace::first_block`] on, in their order. Where
    /// [`Header::payload`] names no payload, nothing is added; where it names
    /// hashes, the data are hashed. Data that are not whole blocks are left out.
    /// It does not matter whether the command is added before or after.
    ///
    /// # Errors
    /// As [`Writer::command`].
    pub fn payload(&mut self, place: PayloadPlace, data: &[u8]) -> Result<(), TraceError> {
        if !is_whole(data.len(), place.block_bytes) {
            return Ok(());
        }
        let (mut place, mut rest) = (place, data);
        while !rest.is_empty() {
            let Some(payload) = &mut self.payload else {
                return Ok(());
            };
            let room = match payload.kind {
                PayloadKind::Hash => rest.len(),
                _ => payload.buffer.room(place.block_bytes).min(rest.len()),
            };
            let (now, later) = rest.split_at(room);
            payload.data(&place, now);
            let blocks = now.len() / place.block_bytes.max(1) as usize;
            place.first_block += u32::try_from(blocks).unwrap_or(u32::MAX);
            rest = later;
            if payload.buffer.is_full() {
                self.flush_payload()?;
            }
        }
        Ok(())
    }

    /// Adds what `command` wrote. Hashes stay hashes; data become hashes where
    /// the trace is one of those.
    ///
    /// # Errors
    /// As [`Writer::command`].
    pub fn payload_of(
        &mut self,
        command: &CommandRecord,
        payload: &Payload,
    ) -> Result<(), TraceError> {
        let place = PayloadPlace {
            sequence: command.sequence,
            submit_ns: self.options.resolution.floor(command.submit_ns),
            block_bytes: payload.block_bytes(),
            first_block: 0,
        };
        match payload.content() {
            PayloadContent::Data(data) => self.payload(place, data),
            PayloadContent::Hashes(digests) => {
                let Some(open) = &mut self.payload else {
                    return Ok(());
                };
                open.buffer.hashes(&place, digests);
                if open.buffer.is_full() {
                    self.flush_payload()?;
                }
                Ok(())
            }
        }
    }

    /// Says that the payload of so many commands was lost, the first of which
    /// has the sequence number of `place`.
    ///
    /// # Errors
    /// As [`Writer::command`].
    pub fn payload_lost(&mut self, place: PayloadPlace, commands: u64) -> Result<(), TraceError> {
        let Some(open) = &mut self.payload else {
            return Ok(());
        };
        open.buffer.lost(place.sequence, place.submit_ns, commands);
        if open.buffer.is_full() {
            self.flush_payload()?;
        }
        Ok(())
    }

    /// Closes the open block of payload, full or not, and writes it.
    pub(super) fn flush_payload(&mut self) -> Result<(), TraceError> {
        let Some(open) = &mut self.payload else {
            return Ok(());
        };
        if open.pending() == 0 {
            return Ok(());
        }
        let mut totals = PayloadTotals::default();
        let header = self.staged.add(|bytes| {
            let (header, encoded) = open.buffer.encode(bytes);
            totals = encoded;
            (header, Counts::default())
        });
        open.buffer.clear();
        self.write_staged()?;
        totals.stored_bytes = header.stored_bytes();
        self.counter.add_payload(&totals);
        Ok(())
    }
}
