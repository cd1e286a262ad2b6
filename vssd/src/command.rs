//! From a submission queue entry to an I/O command that is known to be legal.
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

use nvme::{
    DSM_RANGES_MAX, DsmAttributes, NamespaceId, NvmOpcode, Psdt, ReadWriteCdw12, Sqe, Status,
};

use crate::media::Extent;
use crate::namespace::Namespace;
use crate::transfer::DataPointer;

/// An I/O command, decoded and checked: every range lies inside the namespace,
/// every transfer is within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Read {
        extent: Extent,
        data: DataPointer,
    },
    Write {
        extent: Extent,
        data: DataPointer,
        fua: bool,
    },
    Compare {
        extent: Extent,
        data: DataPointer,
    },
    WriteZeroes {
        extent: Extent,
        deallocate: bool,
        fua: bool,
    },
    Verify {
        extent: Extent,
    },
    /// The ranges are in guest memory yet, and are checked when they are read.
    DatasetManagement {
        nsid: NamespaceId,
        ranges: usize,
        data: DataPointer,
        deallocate: bool,
    },
    /// The extents that the device has gathered.
    Deallocate,
    Flush,
}

/// The data pointer of a command that has one: PRPs, or an SGL
/// (`NVMe Base 2.1 §4.1.1`).
#[inline]
pub(crate) fn data_pointer(sqe: &Sqe) -> Result<DataPointer, Status> {
    DataPointer::of(sqe)
}

/// That a command stands alone, and is not one of a fused pair.
#[inline]
pub(crate) fn not_fused(sqe: &Sqe) -> Result<(), Status> {
    if sqe.fuse() == 0 {
        Ok(())
    } else {
        Err(Status::INVALID_FIELD.dnr())
    }
}

/// That a command describes its data with PRPs: admin commands do, where the
/// controller is a PCI function (`NVMe Base 2.1 §4.1.1`).
pub(crate) fn prps_only(sqe: &Sqe) -> Result<(), Status> {
    if sqe.psdt() == Psdt::Prp {
        Ok(())
    } else {
        Err(Status::INVALID_FIELD.dnr())
    }
}

/// Whether the commands of that opcode are requests to the medium as they are,
/// on a namespace that has nothing special about it.
#[inline]
pub(crate) const fn is_simple(opcode: NvmOpcode) -> bool {
    matches!(
        opcode,
        NvmOpcode::READ
            | NvmOpcode::WRITE
            | NvmOpcode::COMPARE
            | NvmOpcode::WRITE_ZEROES
            | NvmOpcode::VERIFY
            | NvmOpcode::DATASET_MANAGEMENT
            | NvmOpcode::FLUSH
    )
}

/// Whether a write names a directive (`NVMe Base 2.1 §8.1.8`).
#[inline]
pub(crate) fn is_directed(sqe: &Sqe) -> bool {
    NvmOpcode(sqe.opcode) == NvmOpcode::WRITE
        && ReadWriteCdw12::from_bits(sqe.cdw12.get()).dtype() != 0
}

impl Namespace {
    /// Decodes a command for which [`is_simple`] holds.
    #[inline]
    pub(crate) fn decode(&self, sqe: &Sqe) -> Result<Command, Status> {
        self.decode_with(sqe, data_pointer(sqe)?)
    }

    /// Decodes such a command whose data has been gathered.
    #[inline]
    pub(crate) fn decode_gathered(&self, sqe: &Sqe) -> Result<Command, Status> {
        self.decode_with(sqe, DataPointer::Gathered)
    }

    #[inline]
    fn decode_with(&self, sqe: &Sqe, data: DataPointer) -> Result<Command, Status> {
        let opcode = NvmOpcode(sqe.opcode);
        if self.read_only
            && matches!(
                opcode,
                NvmOpcode::WRITE | NvmOpcode::WRITE_ZEROES | NvmOpcode::DATASET_MANAGEMENT
            )
        {
            return Err(Status::NAMESPACE_WRITE_PROTECTED.dnr());
        }
        match opcode {
            NvmOpcode::FLUSH => Ok(Command::Flush),
            NvmOpcode::DATASET_MANAGEMENT => Ok(dataset_management(sqe, data)),
            _ => self.with_blocks(opcode, sqe, data),
        }
    }

    /// What a command reads or writes that has an address and a number of blocks.
    #[inline]
    pub(crate) fn transfer(&self, sqe: &Sqe) -> Result<Extent, Status> {
        let cdw12 = ReadWriteCdw12::from_bits(sqe.cdw12.get());
        self.extent(sqe.slba().0, u64::from(cdw12.blocks()))
    }

    fn with_blocks(
        &self,
        opcode: NvmOpcode,
        sqe: &Sqe,
        data: DataPointer,
    ) -> Result<Command, Status> {
        let cdw12 = ReadWriteCdw12::from_bits(sqe.cdw12.get());
        let extent = self.transfer(sqe)?;
        let fua = cdw12.fua();
        let transfers = matches!(
            opcode,
            NvmOpcode::READ | NvmOpcode::WRITE | NvmOpcode::COMPARE
        );
        // A virtio guest knows of no such limit.
        if transfers && extent.bytes > self.transfer_bytes_max && data != DataPointer::Gathered {
            return Err(Status::INVALID_FIELD.dnr());
        }
        Ok(match opcode {
            NvmOpcode::READ => Command::Read { extent, data },
            NvmOpcode::WRITE => Command::Write { extent, data, fua },
            NvmOpcode::COMPARE => Command::Compare { extent, data },
            NvmOpcode::WRITE_ZEROES => Command::WriteZeroes {
                extent,
                deallocate: cdw12.deac(),
                fua,
            },
            _ => Command::Verify { extent },
        })
    }
}

fn dataset_management(sqe: &Sqe, data: DataPointer) -> Command {
    // Number of ranges, zero-based, in the lowest byte (NVM Command Set 1.1
    // §3.3.3).
    let [count, ..] = sqe.cdw10.get().to_le_bytes();
    let ranges = usize::from(count).saturating_add(1).min(DSM_RANGES_MAX);
    Command::DatasetManagement {
        nsid: sqe.nsid(),
        ranges,
        data,
        deallocate: DsmAttributes::from_bits(sqe.cdw11.get()).ad(),
    }
}
