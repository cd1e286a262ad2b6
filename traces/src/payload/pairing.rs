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
    /// What was read and not asked for yet: of each command its parts, each with
    /// the number of its first block. Where several threads recorded, parts may
    /// come in any order.
    held: BTreeMap<u64, Vec<(u64, Payload)>>,
    held_bytes: usize,
}

/// What it takes to hold a part, bytes.
fn weight((_, part): &(u64, Payload)) -> usize {
    part.weight() + size_of::<(u64, Payload)>()
}

/// All of what a command wrote; none where parts are missing or do not go
/// together.
fn join(mut parts: Vec<(u64, Payload)>) -> Option<Payload> {
    parts.sort_by_key(|(first, _)| *first);
    let mut parts = parts.into_iter();
    let (0, mut all) = parts.next()? else {
        return None;
    };
    for (first, part) in parts {
        // Widens.
        let bytes = (all.weight() + part.weight()) as u64;
        if all.blocks() != first || bytes > COMMAND_BYTES_MAX || !all.join(part) {
            return None;
        }
    }
    Some(all)
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
        while let Some(first) = self.held.first_entry()
            && *first.key() < sequence
        {
            let parts = first.remove();
            self.held_bytes -= parts.iter().map(weight).sum::<usize>();
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
                    let part = (first, part);
                    self.held_bytes += weight(&part);
                    self.held.entry(of).or_default().push(part);
                }
            }
            if self.held_bytes > HELD_BYTES_MAX {
                let flaw = Flaw::damaged("payload stands far from its commands");
                return Err(flaw.at(reader.name(), info.offset()));
            }
        }
        let Some(parts) = self.held.remove(&sequence) else {
            return Ok(None);
        };
        self.held_bytes -= parts.iter().map(weight).sum::<usize>();
        Ok(join(parts))
    }
}

fn first_of(reader: &Reader, index: usize) -> u64 {
    let info = reader.index().get(index);
    info.map_or(u64::MAX, |info| info.min_sequence())
}
