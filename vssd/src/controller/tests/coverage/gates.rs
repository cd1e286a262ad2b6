//! Where the specification describes what, and which capability says whether a
//! controller has it.

use nvme::{
    AdminOpcode, AsyncEvent, Cap, Cns, FeatureId, IdentifyController, LogPageId, NvmOpcode, Status,
    StatusCodeType, offset,
};

/// What capabilities are read from.
pub(super) struct Facts {
    pub(super) controller: IdentifyController,
    pub(super) cap: Cap,
}

/// A capability.
#[derive(Clone, Copy)]
pub(super) struct Gate {
    /// How it says no.
    pub(super) clear: &'static str,
    /// Whether it says yes.
    pub(super) is_open: fn(&Facts) -> bool,
}

/// A bit of a field of Identify Controller.
macro_rules! bit {
    ($text:literal, $field:ident, $bit:literal) => {
        Some(Gate {
            clear: concat!($text, " bit ", $bit, " is clear"),
            is_open: |facts| u64::from(facts.controller.$field) >> $bit & 1 != 0,
        })
    };
}

/// A field of Identify Controller that is not 0.
macro_rules! nonzero {
    ($text:literal, $field:ident) => {
        Some(Gate {
            clear: concat!($text, " is 0"),
            is_open: |facts| u64::from(facts.controller.$field) != 0,
        })
    };
}

/// A field of the Controller Capabilities.
macro_rules! cap {
    ($text:literal, $field:ident) => {
        Some(Gate {
            clear: concat!("CAP.", $text, " is clear"),
            is_open: |facts| u8::from(facts.cap.$field()) != 0,
        })
    };
}

/// Section and capability.
type Place = (&'static str, Option<Gate>);

pub(super) fn admin(opcode: AdminOpcode) -> Place {
    let migration = bit!("OACS", oacs, 11);
    match opcode {
        AdminOpcode::DELETE_SQ => ("Base 5.2.4", None),
        AdminOpcode::CREATE_SQ => ("Base 5.2.2", None),
        AdminOpcode::GET_LOG_PAGE => ("Base 5.1.12", None),
        AdminOpcode::DELETE_CQ => ("Base 5.2.3", None),
        AdminOpcode::CREATE_CQ => ("Base 5.2.1", None),
        AdminOpcode::IDENTIFY => ("Base 5.1.13", None),
        AdminOpcode::ABORT => ("Base 5.1.1", None),
        AdminOpcode::SET_FEATURES => ("Base 5.1.25", None),
        AdminOpcode::GET_FEATURES => ("Base 5.1.11", None),
        AdminOpcode::ASYNC_EVENT_REQUEST => ("Base 5.1.2", None),
        AdminOpcode::NAMESPACE_MANAGEMENT => ("Base 5.1.21", bit!("OACS", oacs, 3)),
        AdminOpcode::FIRMWARE_COMMIT => ("Base 5.1.8", bit!("OACS", oacs, 2)),
        AdminOpcode::FIRMWARE_DOWNLOAD => ("Base 5.1.9", bit!("OACS", oacs, 2)),
        AdminOpcode::DEVICE_SELF_TEST => ("Base 5.1.5", bit!("OACS", oacs, 4)),
        AdminOpcode::NAMESPACE_ATTACHMENT => ("Base 5.1.20", bit!("OACS", oacs, 3)),
        AdminOpcode::KEEP_ALIVE => ("Base 5.1.14", nonzero!("KAS", kas)),
        AdminOpcode::DIRECTIVE_SEND => ("Base 5.1.7", bit!("OACS", oacs, 5)),
        AdminOpcode::DIRECTIVE_RECEIVE => ("Base 5.1.6", bit!("OACS", oacs, 5)),
        AdminOpcode::VIRTUALIZATION_MANAGEMENT => ("Base 5.2.6", bit!("OACS", oacs, 7)),
        AdminOpcode::NVME_MI_SEND => ("Base 5.1.19", bit!("OACS", oacs, 6)),
        AdminOpcode::NVME_MI_RECEIVE => ("Base 5.1.18", bit!("OACS", oacs, 6)),
        AdminOpcode::CAPACITY_MANAGEMENT => ("Base 5.1.3", bit!("CTRATT", ctratt, 11)),
        AdminOpcode::LOCKDOWN => ("Base 5.1.15", bit!("OACS", oacs, 10)),
        AdminOpcode::TRACK_SEND => ("Base 5.1.27", migration),
        AdminOpcode::TRACK_RECEIVE => ("Base 5.1.26", migration),
        AdminOpcode::MIGRATION_SEND => ("Base 5.1.17", migration),
        AdminOpcode::MIGRATION_RECEIVE => ("Base 5.1.16", migration),
        AdminOpcode::CONTROLLER_DATA_QUEUE => ("Base 5.1.4", migration),
        AdminOpcode::DOORBELL_BUFFER_CONFIG => ("Base 5.2.5", bit!("OACS", oacs, 8)),
        AdminOpcode::FABRICS => ("Base 6", None),
        AdminOpcode::FORMAT_NVM => ("Base 5.1.10", bit!("OACS", oacs, 1)),
        AdminOpcode::SECURITY_SEND => ("Base 5.1.24", bit!("OACS", oacs, 0)),
        AdminOpcode::SECURITY_RECEIVE => ("Base 5.1.23", bit!("OACS", oacs, 0)),
        AdminOpcode::SANITIZE => ("Base 5.1.22", nonzero!("SANICAP", sanicap)),
        AdminOpcode::GET_LBA_STATUS => ("NVM 4.2.1", bit!("OACS", oacs, 9)),
        // What is left is for the message-based transports.
        _ => ("Base 5.3", None),
    }
}

pub(super) fn io(opcode: NvmOpcode) -> Place {
    let reservations = bit!("ONCS", oncs, 5);
    let placement = bit!("CTRATT", ctratt, 19);
    match opcode {
        NvmOpcode::FLUSH => ("Base 7.2", None),
        NvmOpcode::WRITE => ("NVM 3.3.6", None),
        NvmOpcode::READ => ("NVM 3.3.4", None),
        NvmOpcode::WRITE_UNCORRECTABLE => ("NVM 3.3.7", bit!("ONCS", oncs, 1)),
        NvmOpcode::COMPARE => ("NVM 3.3.1", bit!("ONCS", oncs, 0)),
        NvmOpcode::WRITE_ZEROES => ("NVM 3.3.8", bit!("ONCS", oncs, 3)),
        NvmOpcode::DATASET_MANAGEMENT => ("NVM 3.3.3", bit!("ONCS", oncs, 2)),
        NvmOpcode::VERIFY => ("NVM 3.3.5", bit!("ONCS", oncs, 7)),
        NvmOpcode::RESERVATION_ACQUIRE => ("Base 7.5", reservations),
        NvmOpcode::RESERVATION_REGISTER => ("Base 7.6", reservations),
        NvmOpcode::RESERVATION_RELEASE => ("Base 7.7", reservations),
        NvmOpcode::RESERVATION_REPORT => ("Base 7.8", reservations),
        NvmOpcode::IO_MANAGEMENT_RECEIVE => ("Base 7.3", placement),
        NvmOpcode::IO_MANAGEMENT_SEND => ("Base 7.4", placement),
        NvmOpcode::CANCEL => ("Base 7.1", None),
        NvmOpcode::COPY => ("NVM 3.3.2", bit!("ONCS", oncs, 8)),
        NvmOpcode::ZONE_APPEND => ("ZNS 3.4.1", None),
        NvmOpcode::ZONE_MANAGEMENT_RECEIVE => ("ZNS 3.4.2", None),
        NvmOpcode::ZONE_MANAGEMENT_SEND => ("ZNS 3.4.3", None),
        _ => ("Base 7", None),
    }
}

pub(super) fn feature(feature: FeatureId) -> Place {
    let latency = bit!("CTRATT", ctratt, 5);
    let placement = bit!("CTRATT", ctratt, 19);
    match feature {
        FeatureId::ARBITRATION => ("Base 5.1.25.1.1", None),
        FeatureId::POWER_MANAGEMENT => ("Base 5.1.25.1.2", None),
        FeatureId::TEMPERATURE_THRESHOLD => ("Base 5.1.25.1.3", None),
        FeatureId::VOLATILE_WRITE_CACHE => ("Base 5.1.25.1.4", bit!("VWC", vwc, 0)),
        FeatureId::ASYNC_EVENT_CONFIG => ("Base 5.1.25.1.5", None),
        FeatureId::APST => ("Base 5.1.25.1.6", bit!("APSTA", apsta, 0)),
        FeatureId::TIMESTAMP => ("Base 5.1.25.1.7", bit!("ONCS", oncs, 6)),
        FeatureId::KEEP_ALIVE => ("Base 5.1.25.1.8", nonzero!("KAS", kas)),
        FeatureId::HOST_THERMAL_MANAGEMENT => ("Base 5.1.25.1.9", bit!("HCTMA", hctma, 0)),
        FeatureId::NON_OPERATIONAL_POWER => ("Base 5.1.25.1.10", bit!("CTRATT", ctratt, 1)),
        FeatureId::READ_RECOVERY_LEVEL => ("Base 5.1.25.1.11", bit!("CTRATT", ctratt, 3)),
        FeatureId::PREDICTABLE_LATENCY_CONFIG => ("Base 5.1.25.1.12", latency),
        FeatureId::PREDICTABLE_LATENCY_WINDOW => ("Base 5.1.25.1.13", latency),
        FeatureId::HOST_BEHAVIOR => ("Base 5.1.25.1.14", None),
        FeatureId::SANITIZE_CONFIG => ("Base 5.1.25.1.15", nonzero!("SANICAP", sanicap)),
        FeatureId::ENDURANCE_GROUP_EVENT_CONFIG => ("Base 5.1.25.1.16", bit!("CTRATT", ctratt, 4)),
        FeatureId::COMMAND_SET_PROFILE => ("Base 5.1.25.1.17", None),
        FeatureId::SPINUP_CONTROL => ("Base 5.1.25.1.18", None),
        FeatureId::FDP | FeatureId::FDP_EVENTS => ("Base 5.1.25.1", placement),
        FeatureId::CONTROLLER_DATA_QUEUE => ("Base 5.1.25.1", bit!("OACS", oacs, 11)),
        FeatureId::HOST_IDENTIFIER => ("Base 5.1.25.1.28", None),
        FeatureId::RESERVATION_NOTIFICATION_MASK => ("Base 5.1.25.1.29", bit!("ONCS", oncs, 5)),
        FeatureId::RESERVATION_PERSISTENCE => ("Base 5.1.25.1.30", bit!("ONCS", oncs, 5)),
        FeatureId::NAMESPACE_WRITE_PROTECTION => ("Base 5.1.25.1.31", bit!("NWPC", nwpc, 0)),
        FeatureId::BOOT_PARTITION_WRITE_PROTECTION => ("Base 5.1.25.1", bit!("BPCAP", bpcap, 2)),
        FeatureId::NUMBER_OF_QUEUES => ("Base 5.1.25.2.1", None),
        FeatureId::INTERRUPT_COALESCING => ("Base 5.1.25.2.2", None),
        FeatureId::INTERRUPT_VECTOR_CONFIG => ("Base 5.1.25.2.3", None),
        FeatureId::HOST_MEMORY_BUFFER => ("Base 5.1.25.2.4", nonzero!("HMPRE", hmpre)),
        FeatureId::LBA_STATUS_INTERVAL => ("NVM 4.1.3", bit!("OACS", oacs, 9)),
        FeatureId::LBA_RANGE_TYPE
        | FeatureId::ERROR_RECOVERY
        | FeatureId::WRITE_ATOMICITY
        | FeatureId::PERFORMANCE_CHARACTERISTICS => ("NVM 4.1.3", None),
        FeatureId::KEY_VALUE_CONFIG => ("Key Value 4.1.3", None),
        _ => ("Base 5.1.25.1", None),
    }
}

pub(super) fn log_page(page: LogPageId) -> Place {
    let endurance = bit!("CTRATT", ctratt, 4);
    let latency = bit!("CTRATT", ctratt, 5);
    let placement = bit!("CTRATT", ctratt, 19);
    let telemetry = bit!("LPA", lpa, 3);
    match page {
        LogPageId::SUPPORTED => ("Base 5.1.12.1.1", bit!("LPA", lpa, 5)),
        LogPageId::ERROR_INFORMATION => ("Base 5.1.12.1.2", None),
        LogPageId::SMART => ("Base 5.1.12.1.3", None),
        LogPageId::FIRMWARE_SLOT => ("Base 5.1.12.1.4", None),
        LogPageId::CHANGED_NAMESPACES => ("Base 5.1.12.1.5", bit!("OAES", oaes, 8)),
        LogPageId::COMMAND_EFFECTS => ("Base 5.1.12.1.6", bit!("LPA", lpa, 1)),
        LogPageId::SELF_TEST => ("Base 5.1.12.1.7", bit!("OACS", oacs, 4)),
        LogPageId::TELEMETRY_HOST => ("Base 5.1.12.1.8", telemetry),
        LogPageId::TELEMETRY_CONTROLLER => ("Base 5.1.12.1.9", telemetry),
        LogPageId::ENDURANCE_GROUP => ("Base 5.1.12.1.10", endurance),
        LogPageId::PREDICTABLE_LATENCY => ("Base 5.1.12.1.11", latency),
        LogPageId::PREDICTABLE_LATENCY_AGGREGATE => ("Base 5.1.12.1.12", latency),
        LogPageId::ANA => ("Base 5.1.12.1.13", bit!("CMIC", cmic, 3)),
        LogPageId::PERSISTENT_EVENT => ("Base 5.1.12.1.14", bit!("LPA", lpa, 4)),
        LogPageId::LBA_STATUS => ("NVM 4.1.4", bit!("OACS", oacs, 9)),
        LogPageId::ENDURANCE_GROUP_AGGREGATE => ("Base 5.1.12.1.15", endurance),
        LogPageId::MEDIA_UNIT_STATUS => ("Base 5.1.12.1", bit!("CTRATT", ctratt, 11)),
        LogPageId::CAPACITY_CONFIGURATIONS => ("Base 5.1.12.1", bit!("CTRATT", ctratt, 11)),
        LogPageId::FEATURE_EFFECTS => ("Base 5.1.12.1.18", bit!("LPA", lpa, 5)),
        LogPageId::NVME_MI_EFFECTS => ("Base 5.1.12.1.19", bit!("OACS", oacs, 6)),
        LogPageId::LOCKDOWN => ("Base 5.1.12.1.20", bit!("OACS", oacs, 10)),
        LogPageId::BOOT_PARTITION => ("Base 5.1.12.1.21", cap!("BPS", bps)),
        LogPageId::REACHABILITY_GROUPS | LogPageId::REACHABILITY_ASSOCIATIONS => {
            ("Base 5.1.12.1", bit!("CRCAP", crcap, 0))
        }
        LogPageId::CHANGED_ALLOCATED_NAMESPACES => ("Base 5.1.12.1", bit!("OAES", oaes, 19)),
        LogPageId::FDP_CONFIGURATIONS
        | LogPageId::RECLAIM_UNIT_HANDLE_USAGE
        | LogPageId::FDP_STATISTICS
        | LogPageId::FDP_EVENTS => ("Base 5.1.12.1", placement),
        LogPageId::RESERVATION_NOTIFICATION => ("Base 5.1.12.1.32", bit!("ONCS", oncs, 5)),
        LogPageId::SANITIZE_STATUS => ("Base 5.1.12.1.33", nonzero!("SANICAP", sanicap)),
        LogPageId::CHANGED_ZONES => ("ZNS 4.1.4", bit!("OAES", oaes, 27)),
        LogPageId::PHY_EYE_MEASUREMENT => ("PCIe", None),
        LogPageId::DISCOVERY
        | LogPageId::HOST_DISCOVERY
        | LogPageId::AVE_DISCOVERY
        | LogPageId::PULL_MODEL_DDC_REQUEST => ("Base 5.1.12.3", None),
        _ => ("Base 5.1.12.1", None),
    }
}

pub(super) fn structure(cns: Cns) -> Place {
    let virtualization = bit!("OACS", oacs, 7);
    match cns {
        Cns::CONTROLLER => ("Base 5.1.13.2.1", None),
        Cns::ACTIVE_NAMESPACES => ("Base 5.1.13.2.2", None),
        Cns::NAMESPACE_DESCRIPTORS => ("Base 5.1.13.2.3", None),
        Cns::NVM_SETS => ("Base 5.1.13.2.4", bit!("CTRATT", ctratt, 2)),
        Cns::INDEPENDENT_NAMESPACE => ("Base 5.1.13.2.8", None),
        Cns::PRIMARY_CONTROLLER => ("Base 5.1.13.2.13", virtualization),
        Cns::SECONDARY_CONTROLLERS => ("Base 5.1.13.2.14", virtualization),
        Cns::UUID_LIST => ("Base 5.1.13.2.16", bit!("CTRATT", ctratt, 9)),
        Cns::DOMAINS => ("Base 5.1.13.2.17", bit!("CTRATT", ctratt, 10)),
        Cns::ENDURANCE_GROUPS => ("Base 5.1.13.2.18", bit!("CTRATT", ctratt, 4)),
        Cns::IO_COMMAND_SETS => ("Base 5.1.13.2.20", None),
        Cns::CONTROLLER_STATE_FORMATS => ("Base 5.1.13.2", bit!("OACS", oacs, 11)),
        Cns::NAMESPACE | Cns::NAMESPACE_FORMAT => ("NVM 4.1.5", None),
        Cns::NAMESPACE_GRANULARITY => ("NVM 4.1.5", bit!("CTRATT", ctratt, 7)),
        _ => ("Base 5.1.13.2", None),
    }
}

/// Name, offset, section, capability.
pub(super) const PROPERTIES: &[(&str, u32, &str, Option<Gate>)] = &[
    ("CAP", offset::CAP, "Base 3.1.4.1", None),
    ("VS", offset::VS, "Base 3.1.4.2", None),
    ("INTMS", offset::INTMS, "Base 3.1.4.3", None),
    ("INTMC", offset::INTMC, "Base 3.1.4.4", None),
    ("CC", offset::CC, "Base 3.1.4.5", None),
    ("CSTS", offset::CSTS, "Base 3.1.4.6", None),
    ("NSSR", offset::NSSR, "Base 3.1.4.7", cap!("NSSRS", nssrs)),
    ("AQA", offset::AQA, "Base 3.1.4.8", None),
    ("ASQ", offset::ASQ, "Base 3.1.4.9", None),
    ("ACQ", offset::ACQ, "Base 3.1.4.10", None),
    (
        "CMBLOC",
        offset::CMBLOC,
        "Base 3.1.4.11",
        cap!("CMBS", cmbs),
    ),
    ("CMBSZ", offset::CMBSZ, "Base 3.1.4.12", cap!("CMBS", cmbs)),
    ("BPINFO", offset::BPINFO, "Base 3.1.4.13", cap!("BPS", bps)),
    ("BPRSEL", offset::BPRSEL, "Base 3.1.4.14", cap!("BPS", bps)),
    ("BPMBL", offset::BPMBL, "Base 3.1.4.15", cap!("BPS", bps)),
    (
        "CMBMSC",
        offset::CMBMSC,
        "Base 3.1.4.16",
        cap!("CMBS", cmbs),
    ),
    (
        "CMBSTS",
        offset::CMBSTS,
        "Base 3.1.4.17",
        cap!("CMBS", cmbs),
    ),
    ("CMBEBS", offset::CMBEBS, "Base 3.1.4.18", None),
    ("CMBSWTP", offset::CMBSWTP, "Base 3.1.4.19", None),
    ("NSSD", offset::NSSD, "Base 3.1.4.20", cap!("NSSS", nsss)),
    ("CRTO", offset::CRTO, "Base 3.1.4.21", cap!("CRMS", crms)),
    (
        "PMRCAP",
        offset::PMRCAP,
        "Base 3.1.4.22",
        cap!("PMRS", pmrs),
    ),
    (
        "PMRCTL",
        offset::PMRCTL,
        "Base 3.1.4.23",
        cap!("PMRS", pmrs),
    ),
    (
        "PMRSTS",
        offset::PMRSTS,
        "Base 3.1.4.24",
        cap!("PMRS", pmrs),
    ),
    (
        "PMREBS",
        offset::PMREBS,
        "Base 3.1.4.25",
        cap!("PMRS", pmrs),
    ),
    (
        "PMRSWTP",
        offset::PMRSWTP,
        "Base 3.1.4.26",
        cap!("PMRS", pmrs),
    ),
    (
        "PMRMSCL",
        offset::PMRMSCL,
        "Base 3.1.4.27",
        cap!("PMRS", pmrs),
    ),
    (
        "PMRMSCU",
        offset::PMRMSCU,
        "Base 3.1.4.28",
        cap!("PMRS", pmrs),
    ),
];

pub(super) fn status(status: Status) -> &'static str {
    match status.code_type() {
        StatusCodeType::Generic => "Base 4.2.3.1",
        StatusCodeType::CommandSpecific if (0xb6..=0xbf).contains(&status.code()) => "ZNS 4",
        StatusCodeType::CommandSpecific => "Base 4.2.3.2",
        StatusCodeType::MediaAndDataIntegrity => "Base 4.2.3.3",
        _ => "Base 4.2.3.4",
    }
}

/// Lines of the table of events, by the name of their constant.
macro_rules! events {
    ($($name:literal, $constant:ident, $gate:expr;)*) => {
        /// Name, constant, event, section, capability.
        pub(super) const EVENTS: &[(&str, &str, AsyncEvent, &str, Option<Gate>)] = &[
            $(($name, stringify!($constant), AsyncEvent::$constant, "Base 5.1.2", $gate),)*
        ];
    };
}

events! {
    "Write to Invalid Doorbell Register", INVALID_DOORBELL_REGISTER, None;
    "Invalid Doorbell Write Value", INVALID_DOORBELL_VALUE, None;
    "Diagnostic Failure", DIAGNOSTIC_FAILURE, None;
    "Persistent Internal Error", PERSISTENT_INTERNAL_ERROR, None;
    "Transient Internal Error", TRANSIENT_INTERNAL_ERROR, None;
    "Firmware Image Load Error", FIRMWARE_IMAGE_LOAD_ERROR, None;
    "NVM Subsystem Reliability", RELIABILITY, None;
    "Temperature Threshold", TEMPERATURE_THRESHOLD, None;
    "Spare Below Threshold", SPARE_BELOW_THRESHOLD, None;
    "Attached Namespace Attribute Changed", NAMESPACE_ATTRIBUTE_CHANGED, bit!("OAES", oaes, 8);
    "Firmware Activation Starting", FIRMWARE_ACTIVATION_STARTING, bit!("OAES", oaes, 9);
    "Telemetry Log Changed", TELEMETRY_CHANGED, bit!("LPA", lpa, 3);
    "Asymmetric Namespace Access Change", ANA_CHANGED, bit!("OAES", oaes, 11);
    "Predictable Latency Event Aggregate Log Change", PREDICTABLE_LATENCY_AGGREGATE_CHANGED,
        bit!("OAES", oaes, 12);
    "LBA Status Information Alert", LBA_STATUS_ALERT, bit!("OAES", oaes, 13);
    "Endurance Group Event Aggregate Log Page Change", ENDURANCE_GROUP_AGGREGATE_CHANGED,
        bit!("OAES", oaes, 14);
    "Reachability Group Change", REACHABILITY_GROUP_CHANGED, bit!("OAES", oaes, 17);
    "Reachability Association Change", REACHABILITY_ASSOCIATION_CHANGED, bit!("OAES", oaes, 17);
    "Allocated Namespace Attribute Changed", ALLOCATED_NAMESPACE_CHANGED, bit!("OAES", oaes, 19);
    "Zone Descriptor Changed", ZONE_DESCRIPTOR_CHANGED, bit!("OAES", oaes, 27);
    "Discovery Log Page Change", DISCOVERY_CHANGED, bit!("OAES", oaes, 31);
    "Normal NVM Subsystem Shutdown", NORMAL_SUBSYSTEM_SHUTDOWN, bit!("OAES", oaes, 15);
    "Temperature Threshold Hysteresis Recovery", TEMPERATURE_HYSTERESIS_RECOVERY,
        bit!("OAES", oaes, 16);
    "Reservation Log Page Available", RESERVATION_LOG_AVAILABLE, bit!("ONCS", oncs, 5);
    "Sanitize Operation Completed", SANITIZE_COMPLETED, nonzero!("SANICAP", sanicap);
    "Sanitize Operation Completed With Unexpected Deallocation",
        SANITIZE_COMPLETED_UNEXPECTED_DEALLOCATION, None;
    "Sanitize Operation Entered Media Verification State", SANITIZE_MEDIA_VERIFICATION,
        bit!("SANICAP", sanicap, 3);
}

/// Name, whether it is an extended one and its identifier, section.
pub(super) const PCI: &[(&str, (bool, u16), &str)] = &[
    (
        "PCI Power Management Interface",
        (false, 0x01),
        "NVMe over PCIe 1.1 3.8",
    ),
    (
        "Message Signaled Interrupts",
        (false, 0x05),
        "NVMe over PCIe 1.1 3.8",
    ),
    ("PCI Express", (false, 0x10), "NVMe over PCIe 1.1 3.8"),
    ("MSI-X", (false, 0x11), "NVMe over PCIe 1.1 3.8"),
    (
        "Advanced Error Reporting",
        (true, 0x0001),
        "NVMe over PCIe 1.1 3.8",
    ),
    ("Device Serial Number", (true, 0x0003), "PCIe 7.9.3"),
    ("Access Control Services", (true, 0x000d), "PCIe 7.7.8"),
    (
        "Alternative Routing-ID Interpretation",
        (true, 0x000e),
        "PCIe 7.8.7",
    ),
    ("Address Translation Services", (true, 0x000f), "PCIe 10.5"),
    (
        "Single Root I/O Virtualization",
        (true, 0x0010),
        "PCIe 9.3.3",
    ),
    ("Page Request", (true, 0x0013), "PCIe 10.5"),
    ("Resizable BAR", (true, 0x0015), "PCIe 7.8.6"),
    ("TPH Requester", (true, 0x0017), "PCIe 7.9.13"),
    ("Latency Tolerance Reporting", (true, 0x0018), "PCIe 7.8.2"),
    ("Secondary PCI Express", (true, 0x0019), "PCIe 7.7.3"),
    ("Process Address Space ID", (true, 0x001b), "PCIe 7.8.9"),
    ("L1 PM Substates", (true, 0x001e), "PCIe 7.8.3"),
    ("Data Link Feature", (true, 0x0025), "PCIe 7.7.4"),
];
