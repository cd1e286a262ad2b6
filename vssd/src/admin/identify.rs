//! Identify: what a drive says it is.

use nvme::{
    Cns, IDENTIFY_BYTES, IdentifyCdw10, IdentifyCdw11, IdentifyController, IdentifyNamespace,
    IndependentNamespace, LbaFormat, NSID_ALL, NamespaceId, NamespaceIdDescriptor, NamespaceIdType,
    PAGE_BYTES, PowerStateDescriptor, Sqe, Status, Vs, ascii_field,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::events::REQUESTS_MAX;
use super::logs::ERRORS_MAX;
use crate::ControllerConfig;
use crate::command::{NSID, Namespace};
use crate::health::{CRITICAL_K, WARNING_K};
use crate::media::MediaInfo;

/// The version that the controller complies with: what every guest knows.
pub(crate) const VERSION: Vs = Vs::new().with_mjr(1).with_mnr(4);

/// The controller's identifier in its subsystem.
const CONTROLLER_ID: u16 = 1;
/// Aborts that may be outstanding. They complete at once, so the number only
/// has to be one that hosts are content with.
const ABORTS_MAX: u8 = 4;
/// How long a shutdown may take, us: that of a flush of a large file.
const SHUTDOWN_US: u32 = 10_000_000;

/// A page of Identify data.
pub(crate) type Page = [u8; IDENTIFY_BYTES];

/// What Identify answers from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'c> {
    pub(crate) config: &'c ControllerConfig,
    pub(crate) namespace: &'c Namespace,
    pub(crate) media: MediaInfo,
}

impl Identity<'_> {
    /// The data structure that `sqe` asks for (`NVMe Base 2.1 §5.1.13`).
    pub(crate) fn answer(&self, sqe: &Sqe) -> Result<Page, Status> {
        let cdw10 = IdentifyCdw10::from_bits(sqe.cdw10.get());
        let csi = IdentifyCdw11::from_bits(sqe.cdw11.get()).csi();
        let nsid = sqe.nsid();
        let only_nvm = || match csi {
            0 => Ok(()),
            _ => Err(Status::INVALID_FIELD.dnr()),
        };
        match Cns(cdw10.cns()) {
            Cns::CONTROLLER => Ok(page(&[self.controller().as_bytes()])),
            Cns::NAMESPACE => {
                check(nsid)?;
                Ok(page(&[self.namespace().as_bytes()]))
            }
            Cns::ACTIVE_NAMESPACES => active(nsid),
            Cns::NAMESPACE_DESCRIPTORS => {
                check(nsid)?;
                Ok(self.descriptors())
            }
            Cns::IO_NAMESPACE => {
                only_nvm()?;
                check(nsid)?;
                Ok(page(&[]))
            }
            // No limits beyond those that Identify Controller tells.
            Cns::IO_CONTROLLER => {
                only_nvm()?;
                Ok(page(&[]))
            }
            Cns::IO_ACTIVE_NAMESPACES => {
                only_nvm()?;
                active(nsid)
            }
            Cns::INDEPENDENT_NAMESPACE => {
                check(nsid)?;
                Ok(page(&[self.independent().as_bytes()]))
            }
            Cns::NAMESPACE_CONTROLLERS => {
                check(nsid)?;
                Ok(controllers(cdw10.cntid()))
            }
            Cns::CONTROLLERS => Ok(controllers(cdw10.cntid())),
            _ => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    fn controller(&self) -> IdentifyController {
        let config = self.config;
        let mut psd = [PowerStateDescriptor::default(); 32];
        if let Some(first) = psd.first_mut() {
            // 25 W, in centiwatts.
            first.max_power = U16::new(2500);
        }
        let cache = if self.media.volatile_cache {
            IdentifyController::VWC_PRESENT | IdentifyController::VWC_FLUSH_ALL
        } else {
            IdentifyController::VWC_FLUSH_ALL
        };
        IdentifyController {
            vid: U16::new(config.pci.vendor),
            ssvid: U16::new(config.pci.subsystem_vendor),
            sn: ascii_field(&config.serial),
            mn: ascii_field(&config.model),
            fr: ascii_field(&config.firmware),
            rab: 6,
            ieee: config.pci.oui,
            mdts: config.mdts,
            cntlid: U16::new(CONTROLLER_ID),
            ver: U32::new(VERSION.into_bits()),
            rtd3r: U32::new(1_000_000),
            rtd3e: U32::new(SHUTDOWN_US),
            oaes: U32::new(IdentifyController::OAES_NAMESPACE_ATTRIBUTE),
            oacs: U16::new(IdentifyController::OACS_DOORBELL_BUFFER),
            ctratt: U32::new(IdentifyController::CTRATT_HOST_ID_128),
            cntrltype: IdentifyController::TYPE_IO,
            acl: ABORTS_MAX - 1,
            aerl: zero_based(REQUESTS_MAX),
            frmw: IdentifyController::FRMW_ONE_READ_ONLY_SLOT,
            lpa: IdentifyController::LPA_SMART_PER_NAMESPACE
                | IdentifyController::LPA_COMMAND_EFFECTS
                | IdentifyController::LPA_EXTENDED,
            elpe: zero_based(ERRORS_MAX),
            wctemp: U16::new(WARNING_K),
            cctemp: U16::new(CRITICAL_K),
            tnvmcap: u128::from(self.media.bytes).to_le_bytes(),
            sqes: IdentifyController::SQES_64,
            cqes: IdentifyController::CQES_16,
            nn: U32::new(NSID.0),
            oncs: U16::new(
                IdentifyController::ONCS_COMPARE
                    | IdentifyController::ONCS_DSM
                    | IdentifyController::ONCS_WRITE_ZEROES
                    | IdentifyController::ONCS_SAVE_SELECT
                    | IdentifyController::ONCS_TIMESTAMP
                    | IdentifyController::ONCS_VERIFY,
            ),
            vwc: cache,
            subnqn: self.nqn(),
            psd,
            ..IdentifyController::default()
        }
    }

    fn nqn(&self) -> [u8; 256] {
        let text = self.config.nqn.clone().unwrap_or_else(|| {
            let hex = format!("{:032x}", u128::from_be_bytes(self.config.uuid()));
            let part = |range| hex.get(range).unwrap_or_default();
            format!(
                "nqn.2014-08.org.nvmexpress:uuid:{}-{}-{}-{}-{}",
                part(0..8),
                part(8..12),
                part(12..16),
                part(16..20),
                part(20..32)
            )
        });
        let mut field = [0; 256];
        copy(&mut field, 0, text.as_bytes());
        field
    }

    fn namespace(&self) -> IdentifyNamespace {
        let block_bytes = self.namespace.block_bytes;
        let mut lbaf = [LbaFormat::default(); 64];
        if let Some(first) = lbaf.first_mut() {
            first.lbads = u8::try_from(block_bytes.trailing_zeros()).unwrap_or(9);
        }
        // What a page of the host's memory takes, zero-based.
        let page_blocks = PAGE_BYTES / u64::from(block_bytes) - 1;
        let page_blocks = U16::new(u16::try_from(page_blocks).unwrap_or(0));
        let blocks = U64::new(self.namespace.blocks);
        let (nguid, eui64) = self.identifiers();
        IdentifyNamespace {
            nsze: blocks,
            ncap: blocks,
            nuse: blocks,
            nsfeat: IdentifyNamespace::NSFEAT_OPTPERF,
            dlfeat: IdentifyNamespace::DLFEAT_READ_ZEROES
                | IdentifyNamespace::DLFEAT_WRITE_ZEROES_DEALLOCATES,
            nvmcap: u128::from(self.media.bytes).to_le_bytes(),
            npwg: page_blocks,
            npwa: page_blocks,
            npdg: page_blocks,
            npda: page_blocks,
            nows: page_blocks,
            nsattr: self.nsattr(),
            nguid,
            eui64,
            lbaf,
            ..IdentifyNamespace::default()
        }
    }

    const fn nsattr(&self) -> u8 {
        if self.namespace.read_only {
            IdentifyNamespace::NSATTR_WRITE_PROTECTED
        } else {
            0
        }
    }

    /// NGUID and EUI-64: the UUID, and its lower half.
    fn identifiers(&self) -> ([u8; 16], [u8; 8]) {
        let uuid = self.config.uuid();
        let mut eui64 = [0; 8];
        copy(&mut eui64, 0, uuid.get(8..).unwrap_or_default());
        (uuid, eui64)
    }

    fn independent(&self) -> IndependentNamespace {
        IndependentNamespace {
            nsattr: self.nsattr(),
            nstat: IndependentNamespace::NSTAT_READY,
            ..IndependentNamespace::default()
        }
    }

    fn descriptors(&self) -> Page {
        let header = |kind: NamespaceIdType, nidl| NamespaceIdDescriptor {
            nidt: kind as u8,
            nidl,
            reserved2: [0; 2],
        };
        let (nguid, eui64) = self.identifiers();
        page(&[
            header(NamespaceIdType::Eui64, 8).as_bytes(),
            &eui64,
            header(NamespaceIdType::Nguid, 16).as_bytes(),
            &nguid,
            header(NamespaceIdType::Uuid, 16).as_bytes(),
            &self.config.uuid(),
            header(NamespaceIdType::CommandSet, 1).as_bytes(),
            &[0],
        ])
    }
}

/// Only the one namespace there is can be identified.
fn check(nsid: NamespaceId) -> Result<(), Status> {
    if nsid == NSID {
        Ok(())
    } else {
        Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())
    }
}

/// The active namespaces behind `nsid`.
fn active(nsid: NamespaceId) -> Result<Page, Status> {
    if nsid.0 >= NSID_ALL.0 - 1 {
        return Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr());
    }
    if nsid < NSID {
        Ok(page(&[&NSID.0.to_le_bytes()]))
    } else {
        Ok(page(&[]))
    }
}

/// The controllers from identifier `first` on: their number, then themselves.
fn controllers(first: u16) -> Page {
    if first <= CONTROLLER_ID {
        page(&[&1_u16.to_le_bytes(), &CONTROLLER_ID.to_le_bytes()])
    } else {
        page(&[])
    }
}

/// A page that starts with `parts`, one behind the other.
pub(super) fn page(parts: &[&[u8]]) -> Page {
    let mut page = [0; IDENTIFY_BYTES];
    let mut at = 0;
    for part in parts {
        copy(&mut page, at, part);
        at += part.len();
    }
    page
}

/// Copies `part` to `to` from `at` on, as far as there is room.
fn copy(to: &mut [u8], at: usize, part: &[u8]) {
    for (to, from) in to.iter_mut().skip(at).zip(part) {
        *to = *from;
    }
}

fn zero_based(count: usize) -> u8 {
    u8::try_from(count.saturating_sub(1)).unwrap_or(u8::MAX)
}
