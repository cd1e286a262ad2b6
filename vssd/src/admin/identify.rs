//! Identify: what a drive says it is.

mod namespace;

pub(crate) use self::namespace::{COPY_BLOCKS_MAX, COPY_RANGES_LAST};

use nvme::{
    Cns, CommandSetCombinations, ControllerList, EnduranceGroupList, IDENTIFY_BYTES, IdentifyCdw10,
    IdentifyCdw11, IdentifyController, IdentifyNvmController, IdentifyZonedController, NSID_ALL,
    NamespaceGranularity, NamespaceGranularityList, NamespaceId, NamespaceList,
    PowerStateDescriptor, Sqe, Status, Vs, ZONED_COMMAND_SET, ascii_field,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::endurance::ENDURANCE_GROUP;
use super::events::REQUESTS_MAX;
use super::logs::ERRORS_MAX;
use super::services::PELS;
use crate::ControllerConfig;
use crate::config::PowerState;
use crate::namespace::{GRANULE, Namespaces};
use crate::special::FUSED_BLOCKS_MAX;

/// The version that the controller complies with.
pub(crate) const VERSION: Vs = Vs::new().with_mjr(2).with_mnr(1);

/// The controller's identifier in its subsystem.
pub(crate) const CONTROLLER_ID: u16 = 1;
/// Aborts that may be outstanding. They complete at once, so the number only
/// has to be one that hosts are content with.
const ABORTS_MAX: u8 = 4;
/// How long a shutdown may take, us: that of a flush of a large file.
const SHUTDOWN_US: u32 = 10_000_000;
/// The I/O command sets.
const CSI_NVM: u8 = 0;

/// What sanitize operations there are.
pub(super) const SANICAP: u32 = IdentifyController::SANICAP_CRYPTO_ERASE
    | IdentifyController::SANICAP_BLOCK_ERASE
    | IdentifyController::SANICAP_OVERWRITE
    | IdentifyController::SANICAP_NODMMAS_NOT_MODIFIED;

/// A page of Identify data.
pub(crate) type Page = [u8; IDENTIFY_BYTES];

/// What Identify answers from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'c> {
    pub(crate) config: &'c ControllerConfig,
    pub(crate) namespaces: &'c Namespaces,
    /// The firmware revision that is active.
    pub(crate) firmware: [u8; 8],
    pub(crate) now_ns: u64,
    /// Whether Doorbell Buffer Config is offered.
    pub(crate) shadow_doorbells: bool,
}

impl Identity<'_> {
    /// The data structure that `sqe` asks for (`NVMe Base 2.1 §5.1.13`).
    pub(crate) fn answer(&self, sqe: &Sqe) -> Result<Page, Status> {
        let cdw10 = IdentifyCdw10::from_bits(sqe.cdw10.get());
        let cdw11 = IdentifyCdw11::from_bits(sqe.cdw11.get());
        let csi = cdw11.csi();
        let nsid = sqe.nsid();
        let cns = Cns(cdw10.cns());
        let takes_csi = matches!(
            cns,
            Cns::IO_NAMESPACE
                | Cns::IO_CONTROLLER
                | Cns::IO_ACTIVE_NAMESPACES
                | Cns::IO_ALLOCATED_NAMESPACES
                | Cns::IO_ALLOCATED_NAMESPACE
        );
        let zoned = csi == ZONED_COMMAND_SET && self.config.zoned.is_some();
        if takes_csi && csi != CSI_NVM && !zoned {
            return Err(Status::INVALID_FIELD.dnr());
        }
        match cns {
            Cns::CONTROLLER => Ok(page(&[self.controller().as_bytes()])),
            Cns::NAMESPACE => self.namespace(nsid),
            Cns::ALLOCATED_NAMESPACE => self.allocated_namespace(nsid),
            Cns::ACTIVE_NAMESPACES => self.list(nsid, true, None),
            Cns::IO_ACTIVE_NAMESPACES => self.list(nsid, true, Some(csi)),
            Cns::ALLOCATED_NAMESPACES => self.list(nsid, false, None),
            Cns::IO_ALLOCATED_NAMESPACES => self.list(nsid, false, Some(csi)),
            Cns::NAMESPACE_DESCRIPTORS => self.descriptors(nsid),
            Cns::IO_NAMESPACE if zoned => self.zoned_namespace(nsid, true),
            Cns::IO_NAMESPACE => self.nvm_namespace(nsid, true),
            Cns::IO_ALLOCATED_NAMESPACE if zoned => self.zoned_namespace(nsid, false),
            Cns::IO_ALLOCATED_NAMESPACE => self.nvm_namespace(nsid, false),
            // Appends are as large as MDTS lets them.
            Cns::IO_CONTROLLER if zoned => {
                Ok(page(&[IdentifyZonedController::default().as_bytes()]))
            }
            Cns::IO_CONTROLLER => Ok(page(&[self.nvm_controller().as_bytes()])),
            Cns::INDEPENDENT_NAMESPACE => self.independent(nsid, true),
            Cns::INDEPENDENT_ALLOCATED_NAMESPACE => self.independent(nsid, false),
            Cns::NAMESPACE_CONTROLLERS => {
                let namespace = self.namespaces.get(nsid).ok_or(NO_NAMESPACE)?;
                let attached = namespace.attached.then_some(CONTROLLER_ID);
                Ok(controllers(attached, cdw10.cntid()))
            }
            Cns::CONTROLLERS => Ok(controllers(Some(CONTROLLER_ID), cdw10.cntid())),
            Cns::ENDURANCE_GROUPS if self.config.endurance_group() != 0 => {
                Ok(endurance_groups(cdw11.cnssid()))
            }
            Cns::NAMESPACE_GRANULARITY => Ok(page(&[granularity().as_bytes()])),
            Cns::IO_COMMAND_SETS => {
                // FFFFh stands for the controller that is asked.
                if !matches!(cdw10.cntid(), 0 | CONTROLLER_ID | u16::MAX) {
                    return Err(Status::INVALID_FIELD.dnr());
                }
                let sets = match self.config.zoned {
                    Some(_) => CommandSetCombinations::NVM | CommandSetCombinations::ZONED,
                    None => CommandSetCombinations::NVM,
                };
                Ok(page(&[&sets.to_le_bytes()]))
            }
            _ => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "a field a line, in the order of the specification"
    )]
    fn controller(&self) -> IdentifyController {
        let config = self.config;
        let media = self.namespaces.media();
        let mut psd = [PowerStateDescriptor::default(); 32];
        for (descriptor, state) in psd.iter_mut().zip(&config.power_states) {
            *descriptor = power_state(*state);
        }
        let cache = if media.volatile_cache {
            IdentifyController::VWC_PRESENT | IdentifyController::VWC_FLUSH_ALL
        } else {
            IdentifyController::VWC_FLUSH_ALL
        };
        let (mntmt, mxtmt) = config.thermal_management.unwrap_or_default();
        let hmb = u32::try_from(config.hmb_preferred_bytes / nvme::PAGE_BYTES).unwrap_or(u32::MAX);
        let blocks_max = nvme::PAGE_BYTES
            .checked_shl(u32::from(config.mdts))
            .unwrap_or(0)
            / 4096;
        let mut controller = IdentifyController {
            vid: U16::new(config.pci.vendor),
            ssvid: U16::new(config.pci.subsystem_vendor),
            sn: ascii_field(&config.serial),
            mn: ascii_field(&config.model),
            fr: self.firmware,
            rab: 6,
            ieee: config.pci.oui,
            mdts: config.mdts,
            cntlid: U16::new(CONTROLLER_ID),
            ver: U32::new(VERSION.into_bits()),
            rtd3r: U32::new(1_000_000),
            rtd3e: U32::new(SHUTDOWN_US),
            oaes: U32::new(
                IdentifyController::OAES_NAMESPACE_ATTRIBUTE
                    | IdentifyController::OAES_LBA_STATUS
                    | IdentifyController::OAES_ENDURANCE_GROUP
                    | IdentifyController::OAES_FIRMWARE_ACTIVATION
                    | flag(
                        config.zoned.is_some(),
                        IdentifyController::OAES_ZONE_DESCRIPTOR,
                    ),
            ),
            ctratt: U32::new(
                IdentifyController::CTRATT_HOST_ID_128
                    | IdentifyController::CTRATT_ENDURANCE_GROUPS
                    | IdentifyController::CTRATT_NAMESPACE_GRANULARITY
                    | IdentifyController::CTRATT_EXTENDED_LBA_FORMATS
                    | IdentifyController::CTRATT_RESERVATION_HOST_ID
                    | flag(
                        config.apst,
                        IdentifyController::CTRATT_NON_OPERATIONAL_POWER,
                    ),
            ),
            cntrltype: IdentifyController::TYPE_IO,
            nvmsr: IdentifyController::NVMSR_STORAGE_DEVICE,
            oacs: U16::new(
                IdentifyController::OACS_SECURITY
                    | IdentifyController::OACS_FORMAT
                    | IdentifyController::OACS_FIRMWARE
                    | IdentifyController::OACS_NAMESPACE_MANAGEMENT
                    | IdentifyController::OACS_SELF_TEST
                    | IdentifyController::OACS_DIRECTIVES
                    | IdentifyController::OACS_NVME_MI
                    | IdentifyController::OACS_LOCKDOWN
                    | IdentifyController::OACS_GET_LBA_STATUS
                    | if self.shadow_doorbells {
                        IdentifyController::OACS_DOORBELL_BUFFER
                    } else {
                        0
                    },
            ),
            acl: ABORTS_MAX - 1,
            aerl: zero_based(REQUESTS_MAX),
            frmw: config.services.firmware.frmw(),
            lpa: IdentifyController::LPA_COMMAND_EFFECTS
                | IdentifyController::LPA_EXTENDED
                | IdentifyController::LPA_TELEMETRY
                | IdentifyController::LPA_PERSISTENT_EVENT
                | IdentifyController::LPA_SUPPORTED_PAGES,
            elpe: zero_based(ERRORS_MAX),
            npss: zero_based(config.power_states.len()),
            apsta: u8::from(config.apst),
            mtfa: U16::new(config.services.firmware.activation_max),
            mec: IdentifyController::MEC_PCIE,
            edstt: U16::new(config.services.self_test.edstt()),
            dsto: IdentifyController::DSTO_ONE_PER_SUBSYSTEM,
            fwug: config.services.firmware.granularity,
            pels: U32::new(PELS),
            wctemp: U16::new(config.warning_kelvin),
            cctemp: U16::new(config.critical_kelvin),
            hmpre: U32::new(hmb),
            tnvmcap: u128::from(media.bytes).to_le_bytes(),
            unvmcap: u128::from(self.namespaces.unallocated()).to_le_bytes(),
            kas: U16::new(u16::try_from(config.keep_alive_ms / 100).unwrap_or(u16::MAX)),
            hctma: U16::new(u16::from(config.thermal_management.is_some())),
            mntmt: U16::new(mntmt),
            mxtmt: U16::new(mxtmt),
            sanicap: U32::new(SANICAP),
            endgidmax: U16::new(ENDURANCE_GROUP),
            sqes: IdentifyController::SQES_64,
            cqes: IdentifyController::CQES_16,
            nn: U32::new(self.namespaces.max()),
            mnan: U32::new(self.namespaces.max()),
            oncs: U16::new(
                IdentifyController::ONCS_COMPARE
                    | IdentifyController::ONCS_WRITE_UNCORRECTABLE
                    | IdentifyController::ONCS_DSM
                    | IdentifyController::ONCS_WRITE_ZEROES
                    | IdentifyController::ONCS_SAVE_SELECT
                    | IdentifyController::ONCS_TIMESTAMP
                    | IdentifyController::ONCS_RESERVATIONS
                    | IdentifyController::ONCS_VERIFY
                    | IdentifyController::ONCS_COPY,
            ),
            fuses: U16::new(IdentifyController::FUSES_COMPARE_AND_WRITE),
            fna: IdentifyController::FNA_CRYPTO_ERASE,
            vwc: cache,
            // A command is executed by one thread, from its first block to its
            // last; a loss of power may part it at any block.
            awun: U16::new(u16::try_from(blocks_max.saturating_sub(1)).unwrap_or(u16::MAX)),
            awupf: U16::new(0),
            nwpc: IdentifyController::NWPC_WRITE_PROTECT
                | IdentifyController::NWPC_UNTIL_POWER_CYCLE
                | IdentifyController::NWPC_PERMANENT,
            acwu: U16::new(u16::try_from(FUSED_BLOCKS_MAX - 1).unwrap_or(0)),
            cdfs: U16::new(0b1111),
            sgls: U32::new(
                IdentifyController::SGLS_SUPPORTED
                    | IdentifyController::SGLS_BIT_BUCKET
                    | IdentifyController::SGLS_MPTR_BYTE_ALIGNED
                    | IdentifyController::SGLS_OVERSIZE
                    | IdentifyController::SGLS_MPTR_SGL,
            ),
            subnqn: nqn(config),
            psd,
            ..IdentifyController::default()
        };
        config.withhold(&mut controller);
        controller
    }

    /// Identify Controller of the NVM command set: no limits beyond those that
    /// Identify Controller tells (`NVM Command Set 1.1 §4.1.5.4`).
    fn nvm_controller(&self) -> IdentifyNvmController {
        IdentifyNvmController {
            dmrl: u8::MAX,
            ver: U32::new(Vs::new().with_mjr(1).with_mnr(1).into_bits()),
            ..IdentifyNvmController::default()
        }
    }

    /// The namespaces behind `nsid`: those that are attached, or all.
    fn list(
        &self,
        nsid: NamespaceId,
        attached_only: bool,
        command_set: Option<u8>,
    ) -> Result<Page, Status> {
        if nsid.0 >= NSID_ALL.0 - 1 {
            return Err(NO_NAMESPACE);
        }
        let mut list = NamespaceList::default();
        let behind = self.namespaces.iter().filter(|namespace| {
            namespace.nsid > nsid
                && (self.namespaces.is_active(namespace) || !attached_only)
                && command_set.is_none_or(|set| set == namespace.command_set())
        });
        for (slot, namespace) in list.ids.iter_mut().zip(behind) {
            *slot = U32::new(namespace.nsid.0);
        }
        Ok(page(&[list.as_bytes()]))
    }
}

/// The subsystem's NVMe qualified name.
pub(crate) fn nqn(config: &ControllerConfig) -> [u8; 256] {
    let text = config.nqn.clone().unwrap_or_else(|| {
        let hex = format!("{:032x}", u128::from_be_bytes(config.uuid()));
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

/// No namespace has that identifier, or none can have it.
const NO_NAMESPACE: Status = Status::INVALID_NAMESPACE_OR_FORMAT.dnr();

/// `bits`, where `set`.
const fn flag(set: bool, bits: u32) -> u32 {
    if set { bits } else { 0 }
}

fn power_state(state: PowerState) -> PowerStateDescriptor {
    const NON_OPERATIONAL: u8 = 1 << 1;
    const SCALE_100_UW: u8 = 1 << 0;
    const IDLE_SCALE_100_UW: u8 = 1 << 6;
    // Centiwatts where they are exact, else units of 100 microwatts.
    let mw = state.power_mw_max;
    let (max_power, scale) = if mw.is_multiple_of(10) {
        (mw / 10, 0)
    } else {
        (mw.saturating_mul(10), SCALE_100_UW)
    };
    let idle = state.power_mw_idle.saturating_mul(10);
    let non_operational = if state.non_operational {
        NON_OPERATIONAL
    } else {
        0
    };
    PowerStateDescriptor {
        max_power: U16::new(u16::try_from(max_power).unwrap_or(u16::MAX)),
        flags: scale | non_operational,
        entry_latency_us: U32::new(state.entry_us),
        exit_latency_us: U32::new(state.exit_us),
        read_throughput: state.rank,
        read_latency: state.rank,
        write_throughput: state.rank,
        write_latency: state.rank,
        idle_power: U16::new(u16::try_from(idle).unwrap_or(0)),
        idle_power_scale: if idle > 0 { IDLE_SCALE_100_UW } else { 0 },
        ..PowerStateDescriptor::default()
    }
}

/// The endurance groups from identifier `first` on.
fn endurance_groups(first: u16) -> Page {
    let mut list = EnduranceGroupList::default();
    if first <= ENDURANCE_GROUP
        && let Some(slot) = list.ids.first_mut()
    {
        *slot = U16::new(ENDURANCE_GROUP);
        list.count = U16::new(1);
    }
    page(&[list.as_bytes()])
}

/// Any size that is a whole number of granules is one without loss.
fn granularity() -> NamespaceGranularityList {
    let mut list = NamespaceGranularityList::default();
    if let Some(first) = list.descriptors.first_mut() {
        *first = NamespaceGranularity {
            nszegran: U64::new(GRANULE),
            ncapgran: U64::new(GRANULE),
        };
    }
    list
}

/// The controllers from identifier `first` on.
fn controllers(there: Option<u16>, first: u16) -> Page {
    let ids: Vec<u16> = there.into_iter().filter(|id| *id >= first).collect();
    page(&[ControllerList::new(&ids).as_bytes()])
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
