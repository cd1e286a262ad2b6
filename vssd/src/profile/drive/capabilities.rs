//! What a drive can do and the virtual SSD cannot, and the other way round.

use nvme::{
    AdminOpcode, Cns, IdentifyCdw10, IdentifyController, IdentifyNamespace, NamespaceId, Sqe,
};
use zerocopy::FromBytes as _;

use super::Drive;
use crate::ControllerConfig;
use crate::admin::identify::Identity;
use crate::media::MediaInfo;
use crate::namespace::Namespaces;

/// A capability: its name, and whether Identify tells of it.
type Capability = (
    &'static str,
    fn(&IdentifyController, &IdentifyNamespace) -> bool,
);

/// Those that one bit tells of, by the field that it is in.
macro_rules! capabilities {
    ($($field:ident { $($bit:ident: $name:literal,)* })*) => {
        &[$($((
            $name,
            |controller, _| controller.$field.into_bits() & IdentifyController::$bit != 0,
        ),)*)*]
    };
}

/// A field of bits, of any width.
trait IntoBits {
    type Bits;
    fn into_bits(self) -> Self::Bits;
}

impl IntoBits for u8 {
    type Bits = Self;
    fn into_bits(self) -> Self {
        self
    }
}

impl IntoBits for zerocopy::little_endian::U16 {
    type Bits = u16;
    fn into_bits(self) -> u16 {
        self.get()
    }
}

impl IntoBits for zerocopy::little_endian::U32 {
    type Bits = u32;
    fn into_bits(self) -> u32 {
        self.get()
    }
}

const CONTROLLER: &[Capability] = capabilities! {
    cmic {
        CMIC_MULTI_PORT: "more than one port",
        CMIC_MULTI_CONTROLLER: "more than one controller",
        CMIC_SRIOV: "virtual functions (SR-IOV)",
        CMIC_ANA: "asymmetric namespace access",
    }
    ctratt {
        CTRATT_NVM_SETS: "NVM sets",
        CTRATT_READ_RECOVERY_LEVELS: "read recovery levels",
        CTRATT_ENDURANCE_GROUPS: "endurance groups",
        CTRATT_PREDICTABLE_LATENCY: "predictable latency mode",
        CTRATT_SQ_ASSOCIATIONS: "submission queue associations",
        CTRATT_UUID_LIST: "a list of UUIDs",
        CTRATT_FIXED_CAPACITY: "fixed capacity management",
        CTRATT_VARIABLE_CAPACITY: "variable capacity management",
        CTRATT_EXTENDED_LBA_FORMATS: "more than 16 LBA formats",
        CTRATT_FDP: "flexible data placement",
    }
    oacs {
        OACS_SECURITY: "Security Send and Security Receive",
        OACS_FORMAT: "Format NVM",
        OACS_FIRMWARE: "Firmware Image Download and Firmware Commit",
        OACS_NAMESPACE_MANAGEMENT: "Namespace Management",
        OACS_SELF_TEST: "Device Self-test",
        OACS_DIRECTIVES: "Directives",
        OACS_NVME_MI: "NVMe-MI Send and NVMe-MI Receive",
        OACS_VIRTUALIZATION: "Virtualization Management",
        OACS_DOORBELL_BUFFER: "Doorbell Buffer Config",
        OACS_GET_LBA_STATUS: "Get LBA Status",
        OACS_LOCKDOWN: "Lockdown",
        OACS_HOST_MANAGED_LIVE_MIGRATION: "host managed live migration",
    }
    frmw {
        FRMW_ACTIVATE_WITHOUT_RESET: "activation of firmware without a reset",
    }
    lpa {
        LPA_SMART_PER_NAMESPACE: "SMART per namespace",
        LPA_TELEMETRY: "telemetry",
        LPA_PERSISTENT_EVENT: "the Persistent Event log",
        LPA_TELEMETRY_AREA_4: "area 4 of telemetry",
    }
    sanicap {
        SANICAP_CRYPTO_ERASE: "sanitize by crypto erase",
        SANICAP_BLOCK_ERASE: "sanitize by block erase",
        SANICAP_OVERWRITE: "sanitize by overwrite",
        SANICAP_VERIFICATION: "verification of media after sanitize",
    }
    oncs {
        ONCS_COMPARE: "Compare",
        ONCS_WRITE_UNCORRECTABLE: "Write Uncorrectable",
        ONCS_DSM: "Dataset Management",
        ONCS_WRITE_ZEROES: "Write Zeroes",
        ONCS_RESERVATIONS: "reservations",
        ONCS_TIMESTAMP: "the Timestamp feature",
        ONCS_VERIFY: "Verify",
        ONCS_COPY: "Copy",
    }
    fuses {
        FUSES_COMPARE_AND_WRITE: "fused Compare and Write",
    }
    fna {
        FNA_CRYPTO_ERASE: "crypto erase by Format NVM",
    }
    nwpc {
        NWPC_WRITE_PROTECT: "namespace write protection",
    }
    sgls {
        SGLS_SUPPORT_MASK: "scatter gather lists",
    }
    kpioc {
        KPIOC_SUPPORTED: "a key per I/O",
    }
    bpcap {
        BPCAP_RPMB_MASK: "boot partitions with write protection",
    }
    rpmbs {
        RPMBS_UNITS_MASK: "replay protected memory blocks",
    }
};

const NAMESPACE: &[Capability] = &[
    ("thin provisioning", |_, namespace| {
        namespace.nsfeat & IdentifyNamespace::NSFEAT_THIN != 0
    }),
    ("errors for deallocated blocks (DULBE)", |_, namespace| {
        namespace.nsfeat & IdentifyNamespace::NSFEAT_DEALLOCATED_ERROR != 0
    }),
    ("protection information", |_, namespace| namespace.dpc != 0),
    ("an optimal I/O boundary", |_, namespace| {
        namespace.noiob.get() != 0
    }),
];

/// What only `drive` can do, and what only a virtual SSD with `config` can.
pub(super) fn compare(
    drive: &Drive<'_>,
    config: &ControllerConfig,
) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut only_drive, mut only_vssd) = (Vec::new(), Vec::new());
    let Some((controller, namespace)) = virtual_drive(config) else {
        return (only_drive, only_vssd);
    };
    for (name, tells) in CONTROLLER.iter().chain(NAMESPACE) {
        match (
            tells(drive.controller, drive.namespace),
            tells(&controller, &namespace),
        ) {
            (true, false) => only_drive.push(*name),
            (false, true) => only_vssd.push(*name),
            _ => {}
        }
    }
    (only_drive, only_vssd)
}

/// What a virtual SSD with `config` says of itself.
fn virtual_drive(config: &ControllerConfig) -> Option<(IdentifyController, IdentifyNamespace)> {
    let media = MediaInfo {
        bytes: 1 << 30,
        read_only: false,
        volatile_cache: true,
    };
    let namespaces = Namespaces::of_a_new_drive(config, media);
    let identity = Identity {
        config,
        namespaces: &namespaces,
        firmware: nvme::ascii_field(&config.firmware),
        now_ns: 0,
        shadow_doorbells: true,
    };
    let ask = |cns: Cns, nsid: u32| {
        let mut sqe = Sqe::new(AdminOpcode::IDENTIFY.0, NamespaceId(nsid));
        sqe.cdw10
            .set(IdentifyCdw10::new().with_cns(cns.0).into_bits());
        identity.answer(&sqe).ok()
    };
    let controller = ask(Cns::CONTROLLER, 0)?;
    let namespace = ask(Cns::NAMESPACE, 1)?;
    Some((
        IdentifyController::read_from_bytes(&controller).ok()?,
        IdentifyNamespace::read_from_bytes(&namespace).ok()?,
    ))
}
