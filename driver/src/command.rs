//! Commands, before they have an identifier and an address.

use nvme::DsmRange;
use nvme::{
    DSM_RANGES_MAX, DsmAttributes, Lba, NamespaceId, NvmOpcode, ReadWriteCdw12, Sqe, ZeroBased,
};

use crate::{DmaSlice, DriverError};

/// A command to submit: its dwords, and where its data stands.
///
/// The driver fills in the command identifier, and the data pointer where
/// there is data; everything else in the entry goes to the device as it is.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    pub(crate) sqe: Sqe,
    pub(crate) data: Option<DmaSlice<'a>>,
}

impl<'a> Command<'a> {
    /// Any entry. Without `data`, the data pointer goes out as it stands in
    /// `sqe`.
    #[must_use]
    pub const fn raw(sqe: Sqe, data: Option<DmaSlice<'a>>) -> Self {
        Self { sqe, data }
    }

    /// Read (`NVM Command Set 1.1 §3.3.4`) of `blocks` blocks from `lba` on.
    /// `data` must be as long as the blocks: the device takes the length from
    /// the block count, and finds no address for what `data` does not cover.
    #[must_use]
    pub fn read(nsid: NamespaceId, lba: Lba, blocks: ZeroBased<u16>, data: DmaSlice<'a>) -> Self {
        Self::blocks(NvmOpcode::READ, nsid, lba, blocks).with_data(data)
    }

    /// Write (`NVM Command Set 1.1 §3.3.6`); see [`Command::read`] and
    /// [`Command::fua`].
    #[must_use]
    pub fn write(nsid: NamespaceId, lba: Lba, blocks: ZeroBased<u16>, data: DmaSlice<'a>) -> Self {
        Self::blocks(NvmOpcode::WRITE, nsid, lba, blocks).with_data(data)
    }

    /// Compare (`NVM Command Set 1.1 §3.3.1`): fails with
    /// [`nvme::Status::COMPARE_FAILURE`] where the media differs from `data`.
    #[must_use]
    pub fn compare(
        nsid: NamespaceId,
        lba: Lba,
        blocks: ZeroBased<u16>,
        data: DmaSlice<'a>,
    ) -> Self {
        Self::blocks(NvmOpcode::COMPARE, nsid, lba, blocks).with_data(data)
    }

    /// Write Zeroes (`NVM Command Set 1.1 §3.3.8`); see
    /// [`Command::deallocate`].
    #[must_use]
    pub fn write_zeroes(nsid: NamespaceId, lba: Lba, blocks: ZeroBased<u16>) -> Self {
        Self::blocks(NvmOpcode::WRITE_ZEROES, nsid, lba, blocks)
    }

    /// Verify (`NVM Command Set 1.1 §3.3.5`): a read whose data stays in the
    /// device.
    #[must_use]
    pub fn verify(nsid: NamespaceId, lba: Lba, blocks: ZeroBased<u16>) -> Self {
        Self::blocks(NvmOpcode::VERIFY, nsid, lba, blocks)
    }

    /// Write Uncorrectable (`NVM Command Set 1.1 §3.3.7`): the blocks cannot be
    /// read until they are written again.
    #[must_use]
    pub fn write_uncorrectable(nsid: NamespaceId, lba: Lba, blocks: ZeroBased<u16>) -> Self {
        Self::blocks(NvmOpcode::WRITE_UNCORRECTABLE, nsid, lba, blocks)
    }

    /// Flush (`NVMe Base 2.1 §7.2`) of a namespace, or of all with
    /// [`nvme::NSID_ALL`].
    #[must_use]
    pub fn flush(nsid: NamespaceId) -> Self {
        Self::raw(Sqe::new(NvmOpcode::FLUSH.0, nsid), None)
    }

    /// Dataset Management (`NVM Command Set 1.1 §3.3.3`). `ranges` holds 1 to
    /// 256 [`DsmRange`]s and nothing else; write them with
    /// [`crate::DmaBuffer::put`].
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where `ranges` is not that long.
    pub fn dataset_management(
        nsid: NamespaceId,
        attributes: DsmAttributes,
        ranges: DmaSlice<'a>,
    ) -> Result<Self, DriverError> {
        let count = ranges.len() / size_of::<DsmRange>();
        let number = u16::try_from(count).ok().and_then(ZeroBased::<u8>::of);
        let (Some(number), true) = (number, ranges.len().is_multiple_of(size_of::<DsmRange>()))
        else {
            return Err(DriverError::Invalid {
                what: format!(
                    "Dataset Management takes 1 to {DSM_RANGES_MAX} ranges of {} bytes, not {} bytes",
                    size_of::<DsmRange>(),
                    ranges.len()
                ),
            });
        };
        let mut sqe = Sqe::new(NvmOpcode::DATASET_MANAGEMENT.0, nsid);
        sqe.cdw10.set(u32::from(number.0));
        sqe.cdw11.set(attributes.into_bits());
        Ok(Self::raw(sqe, Some(ranges)))
    }

    /// The command with force unit access: it completes when its blocks are on
    /// the media (Read, Write, Compare, Write Zeroes).
    #[must_use]
    pub fn fua(self) -> Self {
        self.cdw12(|cdw12| cdw12.with_fua(true))
    }

    /// The command with the Deallocate bit (Write Zeroes).
    #[must_use]
    pub fn deallocate(self) -> Self {
        self.cdw12(|cdw12| cdw12.with_deac(true))
    }

    /// The entry, before the driver fills it in.
    #[must_use]
    pub const fn sqe(&self) -> &Sqe {
        &self.sqe
    }

    /// Where its data stands.
    #[must_use]
    pub const fn data(&self) -> Option<DmaSlice<'a>> {
        self.data
    }

    fn blocks(opcode: NvmOpcode, nsid: NamespaceId, lba: Lba, blocks: ZeroBased<u16>) -> Self {
        let mut sqe = Sqe::new(opcode.0, nsid);
        sqe.set_slba(lba);
        sqe.cdw12
            .set(ReadWriteCdw12::new().with_nlb(blocks.0).into_bits());
        Self::raw(sqe, None)
    }

    const fn with_data(mut self, data: DmaSlice<'a>) -> Self {
        self.data = Some(data);
        self
    }

    fn cdw12(mut self, change: impl FnOnce(ReadWriteCdw12) -> ReadWriteCdw12) -> Self {
        let cdw12 = change(ReadWriteCdw12::from_bits(self.sqe.cdw12.get()));
        self.sqe.cdw12.set(cdw12.into_bits());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::memory::DmaArena;

    const N7: NamespaceId = NamespaceId(7);

    /// Opcode, namespace, CDW10 to CDW12.
    fn dwords(command: &Command<'_>) -> (u8, u32, [u32; 3]) {
        let sqe = command.sqe();
        let cdw10_12 = [sqe.cdw10.get(), sqe.cdw11.get(), sqe.cdw12.get()];
        (sqe.opcode, sqe.nsid().0, cdw10_12)
    }

    #[test]
    fn commands_are_what_the_specification_says() {
        let buffer = DmaArena::new().allocate(4096, |_| Ok(())).unwrap();
        let data = buffer.slice(0, 512).unwrap();
        let lba = Lba(0x12_3456_789a);
        let (low, high) = (0x3456_789a, 0x12);
        let read = Command::read(N7, lba, ZeroBased(7), data);
        assert_eq!(dwords(&read), (0x02, 7, [low, high, 7]));
        let write = Command::write(N7, lba, ZeroBased(0xffff), data);
        assert_eq!(dwords(&write), (0x01, 7, [low, high, 0xffff]));
        assert_eq!(dwords(&write.fua()), (0x01, 7, [low, high, 0x4000_ffff]));
        let compare = Command::compare(N7, lba, ZeroBased(0), data);
        assert_eq!(dwords(&compare), (0x05, 7, [low, high, 0]));
        let zeroes = Command::write_zeroes(N7, lba, ZeroBased(1));
        assert_eq!(dwords(&zeroes), (0x08, 7, [low, high, 1]));
        let both = zeroes.deallocate().fua();
        assert_eq!(dwords(&both), (0x08, 7, [low, high, 0x4200_0001]));
        assert_eq!(dwords(&Command::flush(N7)), (0x00, 7, [0; 3]));
        let attributes = DsmAttributes::new().with_ad(true);
        let ranges = buffer.slice(0, 48).unwrap();
        let trim = Command::dataset_management(N7, attributes, ranges).unwrap();
        assert_eq!(dwords(&trim), (0x09, 7, [2, 4, 0]));
        assert!(trim.data().is_some() && zeroes.data().is_none());
    }
}
