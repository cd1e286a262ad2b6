//! End-to-end data protection: what stands with every block to tell whether it
//! is whole, and whether it is the one that was meant
//! (`NVM Command Set 1.1 §5.3`).
//!
//! ```text
//!   | data of a block                 | metadata          |
//!   |                                 | ... | PI          |   last bytes
//!   |<--------- guarded by the CRC ---------->|
//!   |                                 | PI          | ... |   first bytes
//!   |<-- guarded by the CRC -------->|
//!
//!   PI: | guard | application tag | storage tag, reference tag |
//! ```
//!
//! Nothing here moves data. Data and metadata are slices of whole blocks, each
//! one behind the other.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

use crc::{CRC_16_T10_DIF, CRC_32_ISCSI, CRC_64_NVME, Crc, Table};
use nvme::{
    GuardFormat, Lba, Prinfo, ProtectionInfo, ProtectionTag, ProtectionType, Sqe, Status,
    TagCheckCdw15,
};

/// Sixteen bytes a step: a guard is computed over every byte that is moved.
static CRC_16: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_T10_DIF);
/// CRC-32C, which the catalogue has under the name of iSCSI.
static CRC_32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
static CRC_64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_NVME);

/// The application tag that switches checks off.
const APPLICATION_ESCAPE: u16 = 0xffff;

/// How the blocks of a namespace are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockProtection {
    /// The type; anything but [`ProtectionType::None`].
    pub(crate) kind: ProtectionType,
    /// The format of the protection information.
    pub(crate) format: GuardFormat,
    /// Bits of the storage tag (STS).
    pub(crate) storage_tag_bits: u32,
    /// Which bits of the storage tag are compared (LBSTM).
    pub(crate) storage_tag_mask: u64,
    /// Whether it stands in the first bytes of the metadata, not the last.
    pub(crate) first: bool,
    /// Bytes of data of a block.
    pub(crate) block_bytes: usize,
    /// Bytes of metadata of a block.
    pub(crate) metadata_bytes: usize,
}

/// The tags of a command's first block: those to make, or those to expect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags {
    /// LBST or ELBST.
    pub(crate) storage: u64,
    /// ILBRT or EILBRT.
    pub(crate) reference: u64,
    /// LBAT or ELBAT.
    pub(crate) application: u16,
    /// LBATM or ELBATM: which of its bits are compared.
    pub(crate) application_mask: u16,
}

/// What is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    /// The guard, the application tag, the reference tag.
    pub(crate) prinfo: Prinfo,
    /// The storage tag (STC).
    pub(crate) storage: bool,
}

/// A block that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The block, counted from the first of the command.
    pub(crate) block: u64,
    /// Which check it failed.
    pub(crate) status: Status,
}

impl BlockProtection {
    /// Whether there can be such blocks: the metadata has room, and the storage
    /// tag a size that the format allows.
    pub(crate) const fn is_legal(&self) -> bool {
        let (least, most) = self.format.storage_tag_bits();
        !matches!(self.kind, ProtectionType::None)
            && self.block_bytes > 0
            && self.metadata_bytes >= self.format.bytes()
            && self.storage_tag_bits >= least
            && self.storage_tag_bits <= most
    }

    /// The tags of a command.
    pub(crate) fn tags(&self, sqe: &Sqe) -> Tags {
        let tag = ProtectionTag::of(sqe, self.format);
        let application = TagCheckCdw15::from_bits(sqe.cdw15.get());
        Tags {
            storage: tag.storage(self.format, self.storage_tag_bits),
            reference: tag.reference(self.format, self.storage_tag_bits),
            application: application.application(),
            application_mask: application.mask(),
        }
    }

    /// Checks that a command asks for what its type has: a reference tag that is
    /// checked is the first LBA for type 1, and is not checked for type 3.
    /// Invalid Protection Information, where it does not.
    pub(crate) fn check_command(
        &self,
        prinfo: Prinfo,
        lba: Lba,
        tags: &Tags,
    ) -> Result<(), Status> {
        let legal = match self.kind {
            _ if !prinfo.reference() => true,
            ProtectionType::Type1 => lba.0 & self.reference_mask() == tags.reference,
            ProtectionType::Type3 => false,
            ProtectionType::None | ProtectionType::Type2 => true,
        };
        if legal {
            Ok(())
        } else {
            Err(Status::INVALID_PROTECTION_INFORMATION.dnr())
        }
    }

    /// Whether the metadata of a command crosses to or from the host: not where
    /// it is nothing but protection information, and the controller makes that
    /// and takes it away.
    pub(crate) const fn moves_metadata(&self, prinfo: Prinfo) -> bool {
        !(prinfo.pract() && self.metadata_bytes == self.format.bytes())
    }

    /// Makes the protection information of every block of `data`, in its place
    /// in `metadata`; the rest of the metadata stays as it is.
    pub(crate) fn generate(&self, data: &[u8], metadata: &mut [u8], tags: &Tags) {
        let blocks = self.blocks(data);
        let metadata = metadata.chunks_exact_mut(self.metadata_bytes.max(1));
        for (index, (block, metadata)) in (0_u64..).zip(blocks.zip(metadata)) {
            let pi = ProtectionInfo {
                guard: self.guard(block, metadata),
                application: tags.application,
                tag: ProtectionTag::new(
                    self.format,
                    self.storage_tag_bits,
                    tags.storage,
                    self.reference(tags, index),
                ),
            };
            let written = metadata
                .get_mut(self.place())
                .is_some_and(|place| pi.encode(self.format, place));
            debug_assert!(written, "the metadata has no room");
        }
    }

    /// Checks the protection information of every block of `data`.
    ///
    /// # Errors
    ///
    /// The first block that fails a check, and with which status. A block whose
    /// tags have the value that says so is not checked.
    pub(crate) fn check(
        &self,
        data: &[u8],
        metadata: &[u8],
        tags: &Tags,
        checks: Checks,
    ) -> Result<(), Mismatch> {
        let metadata = metadata.chunks_exact(self.metadata_bytes.max(1));
        for (index, (block, metadata)) in (0_u64..).zip(self.blocks(data).zip(metadata)) {
            let place = metadata.get(self.place()).unwrap_or_default();
            let pi = ProtectionInfo::decode(self.format, place).ok_or(Mismatch {
                block: index,
                status: Status::INTERNAL_ERROR,
            })?;
            if self.is_escaped(&pi) {
                continue;
            }
            let prinfo = checks.prinfo;
            let storage = pi.tag.storage(self.format, self.storage_tag_bits);
            let reference = pi.tag.reference(self.format, self.storage_tag_bits);
            let wrong_storage = (storage ^ tags.storage) & self.storage_tag_mask != 0;
            let wrong_application =
                (pi.application ^ tags.application) & tags.application_mask != 0;
            let status = if prinfo.guard() && pi.guard != self.guard(block, metadata) {
                Status::GUARD_CHECK
            } else if prinfo.application() && wrong_application {
                Status::APPLICATION_TAG_CHECK
            } else if checks.storage && wrong_storage {
                Status::STORAGE_TAG_CHECK
            } else if prinfo.reference()
                && self.kind != ProtectionType::Type3
                && reference != self.reference(tags, index)
            {
                Status::REFERENCE_TAG_CHECK
            } else {
                continue;
            };
            return Err(Mismatch {
                block: index,
                status,
            });
        }
        Ok(())
    }

    /// Turns the protection information of every block into how media keep it,
    /// and back: with all bits inverted. Media read as zeroes where nothing is
    /// written, and protection information reads as FFh there, which switches
    /// checks off (`NVM Command Set 1.1 §3.3.3.2.1`).
    pub(crate) fn invert(&self, metadata: &mut [u8]) {
        for metadata in metadata.chunks_exact_mut(self.metadata_bytes.max(1)) {
            for byte in metadata.get_mut(self.place()).unwrap_or_default() {
                *byte = !*byte;
            }
        }
    }

    /// Whether the reference tag of each block is one more than that before.
    pub(crate) const fn counts_reference(&self) -> bool {
        !matches!(self.kind, ProtectionType::Type3)
    }

    fn blocks<'d>(&self, data: &'d [u8]) -> std::slice::ChunksExact<'d, u8> {
        data.chunks_exact(self.block_bytes.max(1))
    }

    /// Where in the metadata of a block its protection information is.
    const fn place(&self) -> std::ops::Range<usize> {
        let bytes = self.format.bytes();
        if self.first {
            0..bytes
        } else {
            self.metadata_bytes.saturating_sub(bytes)..self.metadata_bytes
        }
    }

    /// The CRC of a block: over its data, and over the metadata that stands
    /// before the protection information.
    fn guard(&self, block: &[u8], metadata: &[u8]) -> u64 {
        let before = metadata.get(..self.place().start).unwrap_or_default();
        match self.format {
            GuardFormat::Guard16 => {
                let mut digest = CRC_16.digest();
                digest.update(block);
                digest.update(before);
                digest.finalize().into()
            }
            GuardFormat::Guard32 => {
                let mut digest = CRC_32.digest();
                digest.update(block);
                digest.update(before);
                digest.finalize().into()
            }
            GuardFormat::Guard64 => {
                let mut digest = CRC_64.digest();
                digest.update(block);
                digest.update(before);
                digest.finalize()
            }
        }
    }

    /// The reference tag of a command's block number `index`.
    const fn reference(&self, tags: &Tags, index: u64) -> u64 {
        let reference = match self.kind {
            ProtectionType::Type3 => tags.reference,
            _ => tags.reference.wrapping_add(index),
        };
        reference & self.reference_mask()
    }

    /// The bits of a reference tag.
    const fn reference_mask(&self) -> u64 {
        let bits = self.format.tag_bits().saturating_sub(self.storage_tag_bits);
        match u64::MAX.checked_shr(64_u32.saturating_sub(bits)) {
            Some(mask) => mask,
            None => 0,
        }
    }

    /// Whether the tags of a block say that it is not to be checked.
    fn is_escaped(&self, pi: &ProtectionInfo) -> bool {
        let reference = pi.tag.reference(self.format, self.storage_tag_bits);
        pi.application == APPLICATION_ESCAPE
            && (self.kind != ProtectionType::Type3 || reference == self.reference_mask())
    }
}

#[cfg(test)]
mod tests;
