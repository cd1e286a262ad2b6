//! The bits of Identify Controller, by field (`NVMe Base 2.1 §5.1.13.2.1`).

use super::IdentifyController;

impl IdentifyController {
    /// CMIC: more than one NVM subsystem port.
    pub const CMIC_MULTI_PORT: u8 = 1 << 0;
    /// CMIC: more than one controller.
    pub const CMIC_MULTI_CONTROLLER: u8 = 1 << 1;
    /// CMIC: the controller is of an SR-IOV virtual function.
    pub const CMIC_SRIOV: u8 = 1 << 2;
    /// CMIC: asymmetric namespace access reporting.
    pub const CMIC_ANA: u8 = 1 << 3;
    /// OAES: attached namespace attribute notices.
    pub const OAES_NAMESPACE_ATTRIBUTE: u32 = 1 << 8;
    /// OAES: firmware activation notices.
    pub const OAES_FIRMWARE_ACTIVATION: u32 = 1 << 9;
    /// OAES: asymmetric namespace access change notices.
    pub const OAES_ANA: u32 = 1 << 11;
    /// OAES: predictable latency event aggregate log change notices.
    pub const OAES_PREDICTABLE_LATENCY: u32 = 1 << 12;
    /// OAES: LBA status information alert notices.
    pub const OAES_LBA_STATUS: u32 = 1 << 13;
    /// OAES: endurance group event aggregate log page change notices.
    pub const OAES_ENDURANCE_GROUP: u32 = 1 << 14;
    /// OAES: normal NVM subsystem shutdown.
    pub const OAES_SUBSYSTEM_SHUTDOWN: u32 = 1 << 15;
    /// OAES: temperature threshold hysteresis recovery.
    pub const OAES_TEMPERATURE_HYSTERESIS: u32 = 1 << 16;
    /// OAES: reachability groups change notices.
    pub const OAES_REACHABILITY: u32 = 1 << 17;
    /// OAES: allocated namespace attribute notices.
    pub const OAES_ALLOCATED_NAMESPACE: u32 = 1 << 19;
    /// OAES: zone descriptor changed notices.
    pub const OAES_ZONE_DESCRIPTOR: u32 = 1 << 27;
    /// OAES: discovery log page change notifications.
    pub const OAES_DISCOVERY: u32 = 1 << 31;
    /// CTRATT: 128-bit host identifiers.
    pub const CTRATT_HOST_ID_128: u32 = 1 << 0;
    /// CTRATT: non-operational power state permissive mode.
    pub const CTRATT_NON_OPERATIONAL_POWER: u32 = 1 << 1;
    /// CTRATT: NVM sets.
    pub const CTRATT_NVM_SETS: u32 = 1 << 2;
    /// CTRATT: read recovery levels.
    pub const CTRATT_READ_RECOVERY_LEVELS: u32 = 1 << 3;
    /// CTRATT: endurance groups.
    pub const CTRATT_ENDURANCE_GROUPS: u32 = 1 << 4;
    /// CTRATT: predictable latency mode.
    pub const CTRATT_PREDICTABLE_LATENCY: u32 = 1 << 5;
    /// CTRATT: traffic based keep alive.
    pub const CTRATT_TRAFFIC_KEEP_ALIVE: u32 = 1 << 6;
    /// CTRATT: namespace granularity.
    pub const CTRATT_NAMESPACE_GRANULARITY: u32 = 1 << 7;
    /// CTRATT: submission queue associations.
    pub const CTRATT_SQ_ASSOCIATIONS: u32 = 1 << 8;
    /// CTRATT: a UUID list.
    pub const CTRATT_UUID_LIST: u32 = 1 << 9;
    /// CTRATT: multi-domain subsystem.
    pub const CTRATT_MULTI_DOMAIN: u32 = 1 << 10;
    /// CTRATT: fixed capacity management.
    pub const CTRATT_FIXED_CAPACITY: u32 = 1 << 11;
    /// CTRATT: variable capacity management.
    pub const CTRATT_VARIABLE_CAPACITY: u32 = 1 << 12;
    /// CTRATT: Delete Endurance Group.
    pub const CTRATT_DELETE_ENDURANCE_GROUP: u32 = 1 << 13;
    /// CTRATT: Delete NVM Set.
    pub const CTRATT_DELETE_NVM_SET: u32 = 1 << 14;
    /// CTRATT: extended LBA formats.
    pub const CTRATT_EXTENDED_LBA_FORMATS: u32 = 1 << 15;
    /// CTRATT: MDTS and the size limits exclude metadata.
    pub const CTRATT_MDTS_EXCLUDES_METADATA: u32 = 1 << 16;
    /// CTRATT: host memory buffer restrictions while non-operational.
    pub const CTRATT_HMB_RESTRICTIONS: u32 = 1 << 17;
    /// CTRATT: reservations need a host identifier that was set.
    pub const CTRATT_RESERVATION_HOST_ID: u32 = 1 << 18;
    /// CTRATT: flexible data placement.
    pub const CTRATT_FDP: u32 = 1 << 19;
    /// BPCAP: boot partition write protection by Set Features.
    pub const BPCAP_SET_FEATURES: u8 = 1 << 2;
    /// BPCAP 01:00: what write protection by RPMB is supported; 2 where it is.
    pub const BPCAP_RPMB_MASK: u8 = 0b11;
    /// PLSI: emergency power fail mode.
    pub const PLSI_EMERGENCY_POWER_FAIL: u8 = 1 << 0;
    /// PLSI: forced quiescence mode.
    pub const PLSI_FORCED_QUIESCENCE: u8 = 1 << 1;
    /// CRCAP: reachability reporting.
    pub const CRCAP_REACHABILITY: u8 = 1 << 0;
    /// CRCAP: the reachability group of a namespace does not change.
    pub const CRCAP_GROUP_ID_FIXED: u8 = 1 << 1;
    /// NVMSR: part of an NVMe storage device.
    pub const NVMSR_STORAGE_DEVICE: u8 = 1 << 0;
    /// NVMSR: part of an NVMe enclosure.
    pub const NVMSR_ENCLOSURE: u8 = 1 << 1;
    /// VWCI: bits 06:00, the remaining write cycles, are valid.
    pub const VWCI_REMAINING_VALID: u8 = 1 << 7;
    /// VWCI 06:00: write cycles of the VPD that remain.
    pub const VWCI_REMAINING_MASK: u8 = 0x7f;
    /// MEC: a management endpoint on SMBus.
    pub const MEC_SMBUS: u8 = 1 << 0;
    /// MEC: a management endpoint on PCIe.
    pub const MEC_PCIE: u8 = 1 << 1;
    /// OACS: Security Send and Receive.
    pub const OACS_SECURITY: u16 = 1 << 0;
    /// OACS: Format NVM.
    pub const OACS_FORMAT: u16 = 1 << 1;
    /// OACS: Firmware Commit and Image Download.
    pub const OACS_FIRMWARE: u16 = 1 << 2;
    /// OACS: Namespace Management and Attachment.
    pub const OACS_NAMESPACE_MANAGEMENT: u16 = 1 << 3;
    /// OACS: Device Self-test.
    pub const OACS_SELF_TEST: u16 = 1 << 4;
    /// OACS: directives.
    pub const OACS_DIRECTIVES: u16 = 1 << 5;
    /// OACS: NVMe-MI Send and Receive.
    pub const OACS_NVME_MI: u16 = 1 << 6;
    /// OACS: Virtualization Management.
    pub const OACS_VIRTUALIZATION: u16 = 1 << 7;
    /// OACS: Doorbell Buffer Config.
    pub const OACS_DOORBELL_BUFFER: u16 = 1 << 8;
    /// OACS: Get LBA Status.
    pub const OACS_GET_LBA_STATUS: u16 = 1 << 9;
    /// OACS: command and feature lockdown.
    pub const OACS_LOCKDOWN: u16 = 1 << 10;
    /// OACS: host managed live migration.
    pub const OACS_HOST_MANAGED_LIVE_MIGRATION: u16 = 1 << 11;
    /// FRMW: slot 1 is read-only.
    pub const FRMW_SLOT1_READ_ONLY: u8 = 1 << 0;
    /// FRMW: activation without a reset.
    pub const FRMW_ACTIVATE_WITHOUT_RESET: u8 = 1 << 4;
    /// FRMW: overlapping image updates are detected.
    pub const FRMW_OVERLAP_DETECTION: u8 = 1 << 5;
    /// FRMW: one slot, which is read-only.
    pub const FRMW_ONE_READ_ONLY_SLOT: u8 = 1 << 1 | 1;
    /// FRMW 03:01: the number of slots.
    pub const FRMW_SLOTS_MASK: u8 = 0b111 << 1;
    /// LPA: SMART / Health Information takes a namespace.
    pub const LPA_SMART_PER_NAMESPACE: u8 = 1 << 0;
    /// LPA: Commands Supported and Effects.
    pub const LPA_COMMAND_EFFECTS: u8 = 1 << 1;
    /// LPA: Get Log Page takes NUMDU and an offset.
    pub const LPA_EXTENDED: u8 = 1 << 2;
    /// LPA: telemetry log pages and notices.
    pub const LPA_TELEMETRY: u8 = 1 << 3;
    /// LPA: Persistent Event log.
    pub const LPA_PERSISTENT_EVENT: u8 = 1 << 4;
    /// LPA: the log pages about supported pages, features and NVMe-MI commands.
    pub const LPA_SUPPORTED_PAGES: u8 = 1 << 5;
    /// LPA: telemetry data area 4.
    pub const LPA_TELEMETRY_AREA_4: u8 = 1 << 6;
    /// APSTA: autonomous power state transitions.
    pub const APSTA_SUPPORTED: u8 = 1 << 0;
    /// DSTO: one self-test at a time in the NVM subsystem.
    pub const DSTO_ONE_PER_SUBSYSTEM: u8 = 1 << 0;
    /// DSTO: host-initiated refresh.
    pub const DSTO_HOST_REFRESH: u8 = 1 << 1;
    /// HCTMA: host controlled thermal management.
    pub const HCTMA_SUPPORTED: u16 = 1 << 0;
    /// SANICAP: crypto erase.
    pub const SANICAP_CRYPTO_ERASE: u32 = 1 << 0;
    /// SANICAP: block erase.
    pub const SANICAP_BLOCK_ERASE: u32 = 1 << 1;
    /// SANICAP: overwrite.
    pub const SANICAP_OVERWRITE: u32 = 1 << 2;
    /// SANICAP: media verification.
    pub const SANICAP_VERIFICATION: u32 = 1 << 3;
    /// SANICAP: No-Deallocate After Sanitize is inhibited.
    pub const SANICAP_NO_DEALLOCATE_INHIBITED: u32 = 1 << 29;
    /// SANICAP 31:30: whether No-Deallocate modifies the media; 1 it does
    /// not, 2 it does.
    pub const SANICAP_NODMMAS_MASK: u32 = 0b11 << 30;
    /// SANICAP: No-Deallocate does not modify the media.
    pub const SANICAP_NODMMAS_NOT_MODIFIED: u32 = 0b01 << 30;
    /// SANICAP: No-Deallocate modifies the media.
    pub const SANICAP_NODMMAS_MODIFIED: u32 = 0b10 << 30;
    /// ANACAP: the optimized state is reported.
    pub const ANACAP_OPTIMIZED: u8 = 1 << 0;
    /// ANACAP: the non-optimized state is reported.
    pub const ANACAP_NON_OPTIMIZED: u8 = 1 << 1;
    /// ANACAP: the inaccessible state is reported.
    pub const ANACAP_INACCESSIBLE: u8 = 1 << 2;
    /// ANACAP: the persistent loss state is reported.
    pub const ANACAP_PERSISTENT_LOSS: u8 = 1 << 3;
    /// ANACAP: the change state is reported.
    pub const ANACAP_CHANGE: u8 = 1 << 4;
    /// ANACAP: the ANA group of a namespace does not change.
    pub const ANACAP_GROUP_ID_FIXED: u8 = 1 << 6;
    /// ANACAP: Namespace Management takes an ANA group.
    pub const ANACAP_GROUP_ID_MANAGEMENT: u8 = 1 << 7;
    /// KPIOC: key per I/O.
    pub const KPIOC_SUPPORTED: u8 = 1 << 0;
    /// KPIOC: key per I/O applies to all namespaces.
    pub const KPIOC_ALL_NAMESPACES: u8 = 1 << 1;
    /// TRATTR: host memory changes are tracked.
    pub const TRATTR_HOST_MEMORY: u8 = 1 << 0;
    /// TRATTR: user data changes are tracked.
    pub const TRATTR_USER_DATA: u8 = 1 << 1;
    /// TRATTR: the length of memory ranges is limited.
    pub const TRATTR_RANGE_LENGTH_LIMIT: u8 = 1 << 2;
    /// ONCS: Compare.
    pub const ONCS_COMPARE: u16 = 1 << 0;
    /// ONCS: Write Uncorrectable.
    pub const ONCS_WRITE_UNCORRECTABLE: u16 = 1 << 1;
    /// ONCS: Dataset Management.
    pub const ONCS_DSM: u16 = 1 << 2;
    /// ONCS: Write Zeroes.
    pub const ONCS_WRITE_ZEROES: u16 = 1 << 3;
    /// ONCS: the Save and Select fields of Features.
    pub const ONCS_SAVE_SELECT: u16 = 1 << 4;
    /// ONCS: reservations.
    pub const ONCS_RESERVATIONS: u16 = 1 << 5;
    /// ONCS: the Timestamp feature.
    pub const ONCS_TIMESTAMP: u16 = 1 << 6;
    /// ONCS: Verify.
    pub const ONCS_VERIFY: u16 = 1 << 7;
    /// ONCS: Copy.
    pub const ONCS_COPY: u16 = 1 << 8;
    /// ONCS: a Copy to one destination is atomic.
    pub const ONCS_COPY_SINGLE_ATOMICITY: u16 = 1 << 9;
    /// ONCS: every copy is a fast one.
    pub const ONCS_ALL_FAST_COPY: u16 = 1 << 10;
    /// ONCS: a limit of its own for Write Zeroes that deallocates.
    pub const ONCS_WRITE_ZEROES_DEALLOCATE_LIMIT: u16 = 1 << 11;
    /// ONCS: Write Zeroes takes the Namespace Zeroes bit.
    pub const ONCS_NAMESPACE_ZEROES: u16 = 1 << 12;
    /// FUSES: fused Compare and Write.
    pub const FUSES_COMPARE_AND_WRITE: u16 = 1 << 0;
    /// FNA: a format applies to all namespaces.
    pub const FNA_FORMAT_ALL: u8 = 1 << 0;
    /// FNA: a secure erase applies to all namespaces.
    pub const FNA_SECURE_ERASE_ALL: u8 = 1 << 1;
    /// FNA: cryptographic erase.
    pub const FNA_CRYPTO_ERASE: u8 = 1 << 2;
    /// FNA: Format NVM does not take the broadcast namespace identifier.
    pub const FNA_NO_BROADCAST: u8 = 1 << 3;
    /// VWC: a volatile write cache is present.
    pub const VWC_PRESENT: u8 = 1 << 0;
    /// VWC: Flush does not take the broadcast namespace identifier.
    pub const VWC_FLUSH_NOT_ALL: u8 = 0b10 << 1;
    /// VWC: Flush takes the broadcast namespace identifier.
    pub const VWC_FLUSH_ALL: u8 = 0b11 << 1;
    /// NWPC: no write protect, and write protect.
    pub const NWPC_WRITE_PROTECT: u8 = 1 << 0;
    /// NWPC: write protect until power cycle.
    pub const NWPC_UNTIL_POWER_CYCLE: u8 = 1 << 1;
    /// NWPC: permanent write protect.
    pub const NWPC_PERMANENT: u8 = 1 << 2;
    /// SGLS: keyed SGL data blocks.
    pub const SGLS_KEYED: u32 = 1 << 2;
    /// SGLS: bit bucket descriptors.
    pub const SGLS_BIT_BUCKET: u32 = 1 << 16;
    /// SGLS: the metadata pointer may be any byte address.
    pub const SGLS_MPTR_BYTE_ALIGNED: u32 = 1 << 17;
    /// SGLS: an SGL may be longer than the data.
    pub const SGLS_OVERSIZE: u32 = 1 << 18;
    /// SGLS: the metadata pointer may be an SGL.
    pub const SGLS_MPTR_SGL: u32 = 1 << 19;
    /// SGLS: the address field may be an offset.
    pub const SGLS_OFFSET: u32 = 1 << 20;
    /// SGLS: transport SGL data blocks.
    pub const SGLS_TRANSPORT: u32 = 1 << 21;
    /// SGLS 01:00: whether SGLs are supported.
    pub const SGLS_SUPPORT_MASK: u32 = 0b11;
    /// SGLS: SGLs of any alignment.
    pub const SGLS_SUPPORTED: u32 = 0b01;
    /// SGLS: SGLs whose data blocks are aligned to and multiples of dwords.
    pub const SGLS_SUPPORTED_DWORD: u32 = 0b10;
    /// SGLS 15:08: the number of descriptors above which performance drops.
    pub const SGLS_THRESHOLD_MASK: u32 = 0xff << 8;
    /// RPMBS 02:00: the number of RPMB units.
    pub const RPMBS_UNITS_MASK: u32 = 0b111;
    /// RPMBS 05:03: the authentication method; 0 is HMAC SHA-256.
    pub const RPMBS_METHOD_MASK: u32 = 0b111 << 3;
    /// RPMBS 23:16: the size of a unit, 128 KiB, zero-based.
    pub const RPMBS_SIZE_MASK: u32 = 0xff << 16;
    /// RPMBS 31:24: the most that one command accesses, 512 bytes, zero-based.
    pub const RPMBS_ACCESS_MASK: u32 = 0xff << 24;
    /// SQES: 64-byte entries, no more and no less.
    pub const SQES_64: u8 = 0x66;
    /// CQES: 16-byte entries, no more and no less.
    pub const CQES_16: u8 = 0x44;
    /// CNTRLTYPE: an I/O controller.
    pub const TYPE_IO: u8 = 1;
    /// CNTRLTYPE: a discovery controller.
    pub const TYPE_DISCOVERY: u8 = 2;
    /// CNTRLTYPE: an administrative controller.
    pub const TYPE_ADMIN: u8 = 3;

    /// FRMW for `slots` firmware slots, none of them read-only.
    #[must_use]
    pub const fn frmw_slots(slots: u8) -> u8 {
        slots << 1 & Self::FRMW_SLOTS_MASK
    }

    /// The number of firmware slots.
    #[must_use]
    pub const fn firmware_slots(&self) -> u8 {
        (self.frmw & Self::FRMW_SLOTS_MASK) >> 1
    }

    /// The granularity of Firmware Image Download in bytes; none where FWUG
    /// does not tell.
    #[must_use]
    pub const fn firmware_granularity_bytes(&self) -> Option<u32> {
        match self.fwug {
            0 => None,
            // "No restriction": the command counts dwords.
            0xff => Some(4),
            fwug => Some(fwug as u32 * 4096),
        }
    }

    /// The largest transfer in bytes where the controller's minimum page is
    /// 2^(12 + `mpsmin`) bytes; none where there is no limit.
    #[must_use]
    pub const fn mdts_bytes(&self, mpsmin: u8) -> Option<u64> {
        match self.mdts {
            0 => None,
            mdts => 4096_u64.checked_shl(mdts as u32 + mpsmin as u32),
        }
    }
}
