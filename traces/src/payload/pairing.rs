//! From blocks of payload to the commands that wrote it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{COMMAND_BYTES_MAX, Payload};
use crate::Reader;
use crate::error::{Flaw, TraceError};

/// The most payload that waits for its commands, bytes: that of a recording
/// waits for a few commands only.
const HELD_BYTES_MAX: usize = 1 << 29;

/// Finds the payload of commands that are asked for in the order of their
/// sequence numbers.
#[derive(Debug)]
pub(crate) struct Payloads {
    /// Indices of blocks of payload, the one that is needed first last.
    waiting: Vec<usize>,
    /// What was read and not asked for yet. None for what is not whole.
    held: BTreeMap<u64, Option<Payload>>,
    held_bytes: usize,
}

impl Payloads {
    /// Of all of `reader`.
    pub(crate) fn of(reader: &Reader) -> Self {
        let blocks = reader.index().iter().enumerate();
        let mut waiting: Vec<usize> = blocks
            .filter(|(_, block)| block.is_payload())
            .map(|(index, _)| index)
            .collect();
        waiting.sort_by_key(|&index| Reverse((first_of(reader, index), index)));
        Self {
            waiting,
            held: BTreeMap::new(),
            held_bytes: 0,
        }
    }

    /// What the command of this number wrote; none where the trace does not
    /// have all of it. What belongs to commands before it is let go of.
    pub(crate) fn take(
        &mut self,
        reader: &Reader,
        sequence: u64,
    ) -> Result<Option<Payload>, TraceError> {
        while let Some(mut first) = self.held.first_entry()
            && *first.key() < sequence
        {
            self.held_bytes -= first.get_mut().take().map_or(0, |it| it.weight());
            first.remove();
        }
        while let Some(&index) = self.waiting.last() {
            let Some(info) = reader.index().get(index) else {
                break;
            };
            if info.min_sequence() > sequence {
                break;
            }
            self.waiting.pop();
            // All of its commands are past.
            if info.max_sequence() < sequence {
                continue;
            }
            for (of, first, part) in reader.payload_block(info)?.parts {
                if of >= sequence {
                    self.hold(of, first, part);
                }
            }
            if self.held_bytes > HELD_BYTES_MAX {
                let flaw = Flaw::damaged("payload stands far from its commands");
                return Err(flaw.at(reader.name(), info.offset()));
            }
        }
        let found = self.held.remove(&sequence).flatten();
        self.held_bytes -= found.as_ref().map_or(0, Payload::weight);
        Ok(found)
    }

    /// Keeps a part, which must go on where the one before ended.
    fn hold(&mut self, sequence: u64, first: u64, part: Payload) {
        let weight = part.weight();
        let held = self.held.entry(sequence);
        let held = held.or_insert_with(|| Some(part.emptied()));
        let Some(all) = held else { return };
        let before = all.weight();
        // Widens.
        let is_next = all.blocks() == first && (before + weight) as u64 <= COMMAND_BYTES_MAX;
        if is_next && all.join(part) {
            self.held_bytes += weight;
        } else {
            *held = None;
            self.held_bytes -= before;
        }
    }
}

fn first_of(reader: &Reader, index: usize) -> u64 {
    let info = reader.index().get(index);
    info.map_or(u64::MAX, |info| info.min_sequence())
}
