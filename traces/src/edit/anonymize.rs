//! A trace that does not tell whose it is.

use std::collections::BTreeMap;

use nvme::{DsmRange, Lba, NvmOpcode};

use super::Edit;
use crate::{CommandRecord, DeviceIdentity, Header, Record};

/// Takes out who and where: the device's serial number and model, labels, the
/// time of day, reservation keys and other admin data, what was written, and the
/// places of data.
///
/// Addresses are permuted in extents by a key, so that equal addresses stay
/// equal and neighbours within an extent stay neighbours, while the layout of
/// the disk (where its partitions and files start) is gone. Of commands that
/// have their addresses elsewhere (copies, zones, a vendor's), and of admin
/// commands, only the opcode is left. Times, lengths, order and outcomes stay
/// as they were: they tell what kind of program ran, and who has the same trace
/// finds it again. The permutation is no cipher.
#[derive(Clone, Debug)]
pub struct Anonymize {
    seed: u64,
    /// Blocks an extent.
    extent_blocks: u64,
    /// The size of each namespace, in whole extents.
    extents: BTreeMap<u32, u64>,
}

impl Anonymize {
    /// Of a trace with this `header`, by the key `seed`, in extents of so many
    /// blocks, at least 1.
    #[must_use]
    pub fn new(header: &Header, seed: u64, extent_blocks: u64) -> Self {
        let extent_blocks = extent_blocks.max(1);
        let namespaces = header.namespaces.iter();
        Self {
            seed,
            extent_blocks,
            extents: namespaces
                .map(|it| (it.id, it.blocks / extent_blocks))
                .collect(),
        }
    }

    /// Where the block `lba` goes. What is behind the last whole extent, or of
    /// a namespace of unknown size, stays.
    fn place(&self, namespace: u32, lba: u64) -> u64 {
        let count = self.extents.get(&namespace).copied().unwrap_or(0);
        let (extent, within) = (lba / self.extent_blocks, lba % self.extent_blocks);
        if extent >= count {
            return lba;
        }
        let key = self.seed ^ u64::from(namespace).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        permute(extent, count, key) * self.extent_blocks + within
    }

    /// Where so many blocks from `lba` on go: as one piece, by the place of the
    /// first, moved down where the namespace ends.
    fn moved(&self, namespace: u32, lba: u64, blocks: u64) -> u64 {
        let count = self.extents.get(&namespace).copied().unwrap_or(0);
        let place = self.place(namespace, lba);
        let end = count * self.extent_blocks;
        if place.saturating_add(blocks) > end && place < end {
            end.saturating_sub(blocks)
        } else {
            place
        }
    }

    fn command(&self, command: &mut CommandRecord, ranges: &mut [DsmRange]) {
        let namespace = command.nsid.0;
        if command.is_admin() {
            // Host identifiers, times of day and the like stand in these.
            command.cdw2_3 = [0; 2];
            command.cdw10_15.fill(0);
            if let Some(completion) = &mut command.completion {
                completion.result = 0;
            }
            return;
        }
        // Reference tags are addresses, as a rule; other fields may be anything.
        command.cdw2_3 = [0; 2];
        if let Some((lba, blocks)) = command.lba_range() {
            command.set_lba(Lba(self.moved(namespace, lba.0, blocks.into())));
            command.cdw10_15[4..].fill(0);
        } else if command.nvm_opcode() == Some(NvmOpcode::DATASET_MANAGEMENT) {
            command.cdw10_15[2..].fill(0);
        } else {
            // Copies, zones and commands of a vendor's have addresses where
            // they like.
            command.cdw10_15.fill(0);
            if let Some(completion) = &mut command.completion {
                completion.result = 0;
            }
        }
        for range in ranges {
            let blocks = range.blocks.get();
            let place = self.moved(namespace, range.lba().0, blocks.into());
            range.slba.set(place);
        }
    }
}

impl Edit for Anonymize {
    fn header(&self, header: &mut Header) {
        header.device = DeviceIdentity::default();
        header.labels.clear();
        header.extra.clear();
        // What was written tells the most of all.
        header.payload = None;
        header.tool.clear();
        header.start.unix_ns = 0;
    }

    fn edit(&mut self, mut record: Record, out: &mut Vec<Record>) {
        if let Record::Command {
            command,
            ranges,
            payload,
        } = &mut record
        {
            *payload = None;
            self.command(command, ranges);
        }
        out.push(record);
    }
}

/// Where `index` of `count` goes, by `key`: a permutation. Four rounds of a
/// Feistel network on the next even number of bits, walked until it is below
/// `count`.
pub(super) fn permute(index: u64, count: u64, key: u64) -> u64 {
    let bits = (u64::BITS - count.saturating_sub(1).leading_zeros())
        .div_ceil(2)
        .max(1);
    let mask = (1_u64 << bits) - 1;
    let mut value = index;
    loop {
        let (mut left, mut right) = (value >> bits, value & mask);
        for round in 0..4_u64 {
            let mixed = mix(right
                ^ key
                    .rotate_left(16)
                    .wrapping_add(round.wrapping_mul(key | 1)));
            (left, right) = (right, left ^ (mixed & mask));
        }
        value = left << bits | right;
        if value < count {
            return value;
        }
    }
}

/// Every bit of the result depends on every bit of `value` (SplitMix64).
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
