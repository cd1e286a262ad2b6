//! What Identify tells of a namespace.

use nvme::{
    ElbaFormat, GuardFormat, IdentifyNamespace, IdentifyNvmNamespace, IndependentNamespace,
    LbaFormat, NSID_ALL, NamespaceId, NamespaceIdDescriptor, NamespaceIdType, NvmOpcode,
    PAGE_BYTES, Status,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::{Identity, NO_NAMESPACE, Page, copy, page};
use crate::config::BlockFormat;
use crate::namespace::Namespace;
use crate::reservation::Reservations;

/// The most blocks of a Copy command, and of one of its ranges.
pub(crate) const COPY_BLOCKS_MAX: u16 = u16::MAX;
/// The most ranges of a Copy command, zero-based.
pub(crate) const COPY_RANGES_LAST: u8 = 127;

impl Identity<'_> {
    /// RESCAP: the types of reservations that there are.
    fn reservations(&self) -> u8 {
        if self.config.withholds_io(NvmOpcode::RESERVATION_REGISTER) {
            0
        } else {
            Reservations::capabilities().into_bits()
        }
    }

    /// Identify Namespace: zeroes for one that is not attached
    /// (`NVMe Base 2.1 §5.1.13.2.2`).
    pub(super) fn namespace(&self, nsid: NamespaceId) -> Result<Page, Status> {
        if nsid == NSID_ALL {
            return Ok(page(&[self.common().as_bytes()]));
        }
        self.valid(nsid)?;
        Ok(match self.namespaces.active(nsid) {
            Some(namespace) => page(&[self.nvm(namespace).as_bytes()]),
            None => page(&[]),
        })
    }

    /// Identify Namespace of one that need not be attached.
    pub(super) fn allocated_namespace(&self, nsid: NamespaceId) -> Result<Page, Status> {
        self.valid(nsid)?;
        Ok(match self.namespaces.get(nsid) {
            Some(namespace) => page(&[self.nvm(namespace).as_bytes()]),
            None => page(&[]),
        })
    }

    fn valid(&self, nsid: NamespaceId) -> Result<(), Status> {
        if self.namespaces.is_valid(nsid) {
            Ok(())
        } else {
            Err(NO_NAMESPACE)
        }
    }

    /// What all namespaces have in common, for the broadcast identifier.
    fn common(&self) -> IdentifyNamespace {
        let formats = self.namespaces.formats();
        let mut lbaf = [LbaFormat::default(); 64];
        for (slot, format) in lbaf.iter_mut().zip(formats) {
            *slot = lba_format(*format);
        }
        let last = formats.len().saturating_sub(1);
        IdentifyNamespace {
            nsfeat: IdentifyNamespace::NSFEAT_OPTPERF,
            nlbaf: u8::try_from(last).unwrap_or(0),
            mc: IdentifyNamespace::MC_EXTENDED | IdentifyNamespace::MC_SEPARATE,
            dpc: IdentifyNamespace::DPC_TYPE1
                | IdentifyNamespace::DPC_TYPE2
                | IdentifyNamespace::DPC_TYPE3
                | IdentifyNamespace::DPC_FIRST
                | IdentifyNamespace::DPC_LAST,
            rescap: self.reservations(),
            fpi: IdentifyNamespace::FPI_SUPPORTED,
            dlfeat: IdentifyNamespace::DLFEAT_READ_ZEROES
                | IdentifyNamespace::DLFEAT_WRITE_ZEROES_DEALLOCATES,
            mssrl: U16::new(COPY_BLOCKS_MAX),
            mcl: U32::new(COPY_BLOCKS_MAX.into()),
            msrc: COPY_RANGES_LAST,
            endgid: U16::new(self.config.endurance_group()),
            lbaf,
            ..IdentifyNamespace::default()
        }
    }

    fn nvm(&self, namespace: &Namespace) -> IdentifyNamespace {
        let settings = namespace.settings;
        // What a page of the host's memory takes, zero-based.
        let page_blocks = PAGE_BYTES
            .checked_div(u64::from(namespace.block_bytes))
            .unwrap_or(1)
            .saturating_sub(1);
        let page_blocks = U16::new(u16::try_from(page_blocks).unwrap_or(0));
        let blocks = U64::new(namespace.blocks);
        let extended = if settings.extended {
            IdentifyNamespace::FLBAS_METADATA_EXTENDED
        } else {
            0
        };
        let first = if settings.protection_first {
            IdentifyNamespace::DPS_FIRST
        } else {
            0
        };
        let (nguid, eui64) = identifiers(namespace);
        let common = self.common();
        IdentifyNamespace {
            nsze: blocks,
            ncap: blocks,
            nuse: blocks,
            flbas: IdentifyNamespace::flbas_of(settings.index) | extended,
            dps: settings.protection | first,
            fpi: common.fpi | namespace.format_remaining(self.now_ns),
            nvmcap: u128::from(namespace.extent.bytes).to_le_bytes(),
            npwg: page_blocks,
            npwa: page_blocks,
            npdg: page_blocks,
            npda: page_blocks,
            nows: page_blocks,
            nsattr: nsattr(namespace),
            nguid,
            eui64,
            ..common
        }
    }

    /// Identify Namespace of the NVM command set
    /// (`NVM Command Set 1.1 §4.1.5.3`).
    pub(super) fn nvm_namespace(
        &self,
        nsid: NamespaceId,
        attached_only: bool,
    ) -> Result<Page, Status> {
        self.valid(nsid)?;
        let there = self
            .namespaces
            .get(nsid)
            .is_some_and(|namespace| namespace.attached || !attached_only);
        if !there {
            return Ok(page(&[]));
        }
        let mut nvm = IdentifyNvmNamespace {
            lbstm: U64::new(u64::MAX),
            ..IdentifyNvmNamespace::default()
        };
        for (slot, format) in nvm.elbaf.iter_mut().zip(self.namespaces.formats()) {
            let extended = ElbaFormat::new()
                .with_sts(format.storage_tag_bits)
                .with_pif(format.guard().map_or(0, GuardFormat::pif));
            *slot = U32::new(extended.into_bits());
        }
        Ok(page(&[nvm.as_bytes()]))
    }

    /// Identify Namespace of the zoned namespace command set; zeroes for one
    /// that is no zoned namespace.
    pub(super) fn zoned_namespace(
        &self,
        nsid: NamespaceId,
        attached_only: bool,
    ) -> Result<Page, Status> {
        self.valid(nsid)?;
        let formats = self.namespaces.formats().len();
        let zones = self
            .namespaces
            .get(nsid)
            .filter(|namespace| self.namespaces.is_active(namespace) || !attached_only)
            .and_then(|namespace| namespace.zones.as_ref());
        Ok(match zones {
            Some(zones) => page(&[zones.geometry().identify(formats).as_bytes()]),
            None => page(&[]),
        })
    }

    /// I/O Command Set Independent Identify Namespace.
    pub(super) fn independent(&self, nsid: NamespaceId, active: bool) -> Result<Page, Status> {
        self.valid(nsid)?;
        let found = if active {
            self.namespaces.active(nsid)
        } else {
            self.namespaces.get(nsid)
        };
        let Some(namespace) = found else {
            return Ok(page(&[]));
        };
        let identity = IndependentNamespace {
            rescap: self.reservations(),
            fpi: IdentifyNamespace::FPI_SUPPORTED | namespace.format_remaining(self.now_ns),
            endgid: U16::new(self.config.endurance_group()),
            nsattr: nsattr(namespace),
            nstat: IndependentNamespace::NSTAT_READY,
            ..IndependentNamespace::default()
        };
        Ok(page(&[identity.as_bytes()]))
    }

    /// The Namespace Identification Descriptor list.
    pub(super) fn descriptors(&self, nsid: NamespaceId) -> Result<Page, Status> {
        let namespace = self.namespaces.active(nsid).ok_or(NO_NAMESPACE)?;
        let header = |kind: NamespaceIdType, nidl| NamespaceIdDescriptor {
            nidt: kind as u8,
            nidl,
            reserved2: [0; 2],
        };
        let (nguid, eui64) = identifiers(namespace);
        Ok(page(&[
            header(NamespaceIdType::Eui64, 8).as_bytes(),
            &eui64,
            header(NamespaceIdType::Nguid, 16).as_bytes(),
            &nguid,
            header(NamespaceIdType::Uuid, 16).as_bytes(),
            &namespace.uuid,
            header(NamespaceIdType::CommandSet, 1).as_bytes(),
            &[namespace.command_set()],
        ]))
    }
}

fn lba_format(format: BlockFormat) -> LbaFormat {
    LbaFormat {
        ms: U16::new(format.metadata_bytes),
        lbads: u8::try_from(format.block_bytes.trailing_zeros()).unwrap_or(9),
        rp: format.performance,
    }
}

const fn nsattr(namespace: &Namespace) -> u8 {
    if namespace.read_only {
        IdentifyNamespace::NSATTR_WRITE_PROTECTED
    } else {
        0
    }
}

/// NGUID and EUI-64: the UUID, and its lower half.
fn identifiers(namespace: &Namespace) -> ([u8; 16], [u8; 8]) {
    let mut eui64 = [0; 8];
    copy(&mut eui64, 0, namespace.uuid.get(8..).unwrap_or_default());
    (namespace.uuid, eui64)
}
