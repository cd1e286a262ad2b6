//! The status field of a completion.

use core::fmt;

/// The type of a status code: status field 10:08 (`NVMe Base 2.1 §4.2.3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusCodeType {
    /// Generic command status.
    Generic,
    /// Command specific status.
    CommandSpecific,
    /// Media and data integrity errors.
    MediaAndDataIntegrity,
    /// Path related status.
    Path,
    /// Vendor specific.
    Vendor,
    /// A reserved value.
    Reserved,
}

/// The status field of a completion queue entry, 15 bits, without the phase
/// tag (`NVMe Base 2.1 §4.2.3`).
///
/// A status is a value of the protocol, not an error of this program. Bits:
/// 07:00 status code, 10:08 type, 12:11 command retry delay, 13 more, 14 do not
/// retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Status(u16);

const MORE: u16 = 1 << 13;
const DNR: u16 = 1 << 14;
const CODE_AND_TYPE: u16 = 0x07ff;
const FIELD: u16 = 0x7fff;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The specification's name of type and code; none where it has
            /// none here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 & CODE_AND_TYPE {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// The command completed without error.
    SUCCESS = 0x000, "Successful Completion";
    /// A reserved or unsupported opcode.
    INVALID_OPCODE = 0x001, "Invalid Command Opcode";
    /// A reserved or unsupported value in a defined field.
    INVALID_FIELD = 0x002, "Invalid Field in Command";
    /// The command identifier is in use.
    COMMAND_ID_CONFLICT = 0x003, "Command ID Conflict";
    /// Data could not be moved between host and controller.
    DATA_TRANSFER_ERROR = 0x004, "Data Transfer Error";
    /// Power is being lost.
    ABORTED_POWER_LOSS = 0x005, "Commands Aborted due to Power Loss Notification";
    /// The controller failed inside.
    INTERNAL_ERROR = 0x006, "Internal Error";
    /// An Abort command asked for it.
    ABORT_REQUESTED = 0x007, "Command Abort Requested";
    /// The submission queue was deleted.
    ABORTED_SQ_DELETION = 0x008, "Command Aborted due to SQ Deletion";
    /// The other command of a fused pair failed.
    ABORTED_FAILED_FUSED = 0x009, "Command Aborted due to Failed Fused Command";
    /// The other command of a fused pair is missing.
    ABORTED_MISSING_FUSED = 0x00a, "Command Aborted due to Missing Fused Command";
    /// No such namespace, or not in a usable format.
    INVALID_NAMESPACE_OR_FORMAT = 0x00b, "Invalid Namespace or Format";
    /// Commands out of order.
    COMMAND_SEQUENCE_ERROR = 0x00c, "Command Sequence Error";
    /// A bad SGL segment descriptor.
    INVALID_SGL_SEGMENT = 0x00d, "Invalid SGL Segment Descriptor";
    /// A bad number of SGL descriptors.
    INVALID_NUMBER_OF_SGL = 0x00e, "Invalid Number of SGL Descriptors";
    /// The SGL is too short for the data.
    DATA_SGL_LENGTH_INVALID = 0x00f, "Data SGL Length Invalid";
    /// The SGL does not fit the metadata.
    METADATA_SGL_LENGTH_INVALID = 0x010, "Metadata SGL Length Invalid";
    /// The SGL descriptor type is not supported.
    SGL_TYPE_INVALID = 0x011, "SGL Descriptor Type Invalid";
    /// The controller memory buffer is used in a way that it does not allow.
    INVALID_USE_OF_CMB = 0x012, "Invalid Use of Controller Memory Buffer";
    /// A PRP entry has a forbidden offset.
    PRP_OFFSET_INVALID = 0x013, "PRP Offset Invalid";
    /// The write is larger than the atomic write unit allows.
    ATOMIC_WRITE_UNIT_EXCEEDED = 0x014, "Atomic Write Unit Exceeded";
    /// The host may not do this.
    OPERATION_DENIED = 0x015, "Operation Denied";
    /// An SGL offset that the controller does not take.
    SGL_OFFSET_INVALID = 0x016, "SGL Offset Invalid";
    /// Hosts use host identifiers of different sizes.
    HOST_ID_INCONSISTENT_FORMAT = 0x018, "Host Identifier Inconsistent Format";
    /// The keep alive timer ran out.
    KEEP_ALIVE_EXPIRED = 0x019, "Keep Alive Timer Expired";
    /// The keep alive timeout is not valid.
    KEEP_ALIVE_INVALID = 0x01a, "Keep Alive Timeout Invalid";
    /// A command aborted by Abort or Cancel beside the one named.
    ABORTED_PREEMPT = 0x01b, "Command Aborted due to Preempt and Abort";
    /// Sanitize failed.
    SANITIZE_FAILED = 0x01c, "Sanitize Failed";
    /// Sanitize is in progress.
    SANITIZE_IN_PROGRESS = 0x01d, "Sanitize In Progress";
    /// The SGL data block does not have the granularity asked for.
    SGL_GRANULARITY_INVALID = 0x01e, "SGL Data Block Granularity Invalid";
    /// The command may not be submitted to a queue in the CMB.
    NOT_SUPPORTED_IN_CMB_QUEUE = 0x01f, "Command Not Supported for Queue in CMB";
    /// The namespace is write protected.
    NAMESPACE_WRITE_PROTECTED = 0x020, "Namespace is Write Protected";
    /// The command was interrupted; retry.
    COMMAND_INTERRUPTED = 0x021, "Command Interrupted";
    /// A transient error of the transport.
    TRANSIENT_TRANSPORT_ERROR = 0x022, "Transient Transport Error";
    /// A Lockdown command prohibits it.
    PROHIBITED_BY_LOCKDOWN = 0x023, "Command Prohibited by Command and Feature Lockdown";
    /// The media that the admin command needs is not ready.
    ADMIN_MEDIA_NOT_READY = 0x024, "Admin Command Media Not Ready";
    /// The key tag is not valid.
    INVALID_KEY_TAG = 0x025, "Invalid Key Tag";
    /// The host has not enabled dispersed namespaces.
    DISPERSED_NAMESPACE_NOT_ENABLED = 0x026, "Host Dispersed Namespace Support Not Enabled";
    /// The host has not set its identifier.
    HOST_ID_NOT_INITIALIZED = 0x027, "Host Identifier Not Initialized";
    /// The key is not the right one.
    INCORRECT_KEY = 0x028, "Incorrect Key";
    /// Flexible data placement is disabled.
    FDP_DISABLED = 0x029, "FDP Disabled";
    /// The placement handle list is not valid.
    INVALID_PLACEMENT_HANDLE_LIST = 0x02a, "Invalid Placement Handle List";
    /// The LBA range exceeds the namespace.
    LBA_OUT_OF_RANGE = 0x080, "LBA Out of Range";
    /// The capacity of the namespace was exceeded.
    CAPACITY_EXCEEDED = 0x081, "Capacity Exceeded";
    /// The namespace is not ready.
    NAMESPACE_NOT_READY = 0x082, "Namespace Not Ready";
    /// A reservation forbids it.
    RESERVATION_CONFLICT = 0x083, "Reservation Conflict";
    /// A format is in progress.
    FORMAT_IN_PROGRESS = 0x084, "Format In Progress";

    /// The completion queue does not exist.
    COMPLETION_QUEUE_INVALID = 0x100, "Completion Queue Invalid";
    /// The queue identifier is out of range or in use.
    INVALID_QUEUE_ID = 0x101, "Invalid Queue Identifier";
    /// The queue size is 0 or above CAP.MQES.
    INVALID_QUEUE_SIZE = 0x102, "Invalid Queue Size";
    /// Too many Aborts are outstanding.
    ABORT_LIMIT_EXCEEDED = 0x103, "Abort Command Limit Exceeded";
    /// The command to abort is missing.
    ABORT_COMMAND_MISSING = 0x104, "Abort Command Missing";
    /// Too many Asynchronous Event Requests are outstanding.
    ASYNC_EVENT_LIMIT_EXCEEDED = 0x105, "Asynchronous Event Request Limit Exceeded";
    /// No such firmware slot.
    INVALID_FIRMWARE_SLOT = 0x106, "Invalid Firmware Slot";
    /// The firmware image is not valid.
    INVALID_FIRMWARE_IMAGE = 0x107, "Invalid Firmware Image";
    /// The interrupt vector does not exist.
    INVALID_INTERRUPT_VECTOR = 0x108, "Invalid Interrupt Vector";
    /// The log page is not supported.
    INVALID_LOG_PAGE = 0x109, "Invalid Log Page";
    /// The format is not supported.
    INVALID_FORMAT = 0x10a, "Invalid Format";
    /// The firmware takes effect at the next conventional reset.
    FIRMWARE_NEEDS_CONVENTIONAL_RESET = 0x10b, "Firmware Activation Requires Conventional Reset";
    /// The queue still has submission queues on it.
    INVALID_QUEUE_DELETION = 0x10c, "Invalid Queue Deletion";
    /// The feature cannot be saved.
    FEATURE_NOT_SAVEABLE = 0x10d, "Feature Identifier Not Saveable";
    /// The feature cannot be changed.
    FEATURE_NOT_CHANGEABLE = 0x10e, "Feature Not Changeable";
    /// The feature is not per namespace.
    FEATURE_NOT_NAMESPACE_SPECIFIC = 0x10f, "Feature Not Namespace Specific";
    /// The firmware takes effect at the next NVM subsystem reset.
    FIRMWARE_NEEDS_SUBSYSTEM_RESET = 0x110, "Firmware Activation Requires NVM Subsystem Reset";
    /// The firmware takes effect at the next controller level reset.
    FIRMWARE_NEEDS_RESET = 0x111, "Firmware Activation Requires Controller Level Reset";
    /// Activation would take longer than MTFA allows.
    FIRMWARE_NEEDS_MAX_TIME = 0x112, "Firmware Activation Requires Maximum Time Violation";
    /// The image may not be activated.
    FIRMWARE_ACTIVATION_PROHIBITED = 0x113, "Firmware Activation Prohibited";
    /// Ranges of the command overlap.
    OVERLAPPING_RANGE = 0x114, "Overlapping Range";
    /// Too little capacity is left for the namespace.
    NAMESPACE_INSUFFICIENT_CAPACITY = 0x115, "Namespace Insufficient Capacity";
    /// No namespace identifier is left.
    NAMESPACE_ID_UNAVAILABLE = 0x116, "Namespace Identifier Unavailable";
    /// The namespace is attached to the controller already.
    NAMESPACE_ALREADY_ATTACHED = 0x118, "Namespace Already Attached";
    /// The namespace is private and attached elsewhere.
    NAMESPACE_IS_PRIVATE = 0x119, "Namespace Is Private";
    /// The namespace is not attached.
    NAMESPACE_NOT_ATTACHED = 0x11a, "Namespace Not Attached";
    /// Thin provisioning is not supported.
    THIN_PROVISIONING_NOT_SUPPORTED = 0x11b, "Thin Provisioning Not Supported";
    /// The controller list is not valid.
    CONTROLLER_LIST_INVALID = 0x11c, "Controller List Invalid";
    /// A device self-test is running.
    SELF_TEST_IN_PROGRESS = 0x11d, "Device Self-test In Progress";
    /// The boot partition may not be written.
    BOOT_PARTITION_WRITE_PROHIBITED = 0x11e, "Boot Partition Write Prohibited";
    /// No such controller.
    INVALID_CONTROLLER_ID = 0x11f, "Invalid Controller Identifier";
    /// The secondary controller is not in the right state.
    INVALID_SECONDARY_STATE = 0x120, "Invalid Secondary Controller State";
    /// The number of controller resources is not valid.
    INVALID_CONTROLLER_RESOURCES = 0x121, "Invalid Number of Controller Resources";
    /// No such resource.
    INVALID_RESOURCE_ID = 0x122, "Invalid Resource Identifier";
    /// Sanitize is prohibited while the PMR is enabled.
    SANITIZE_PROHIBITED_BY_PMR = 0x123, "Sanitize Prohibited While Persistent Memory Region is Enabled";
    /// No such ANA group.
    ANA_GROUP_ID_INVALID = 0x124, "ANA Group Identifier Invalid";
    /// The namespace could not be attached to its ANA group.
    ANA_ATTACH_FAILED = 0x125, "ANA Attach Failed";
    /// Too little capacity is left.
    INSUFFICIENT_CAPACITY = 0x126, "Insufficient Capacity";
    /// Too many namespaces are attached.
    NAMESPACE_ATTACHMENT_LIMIT = 0x127, "Namespace Attachment Limit Exceeded";
    /// The command cannot be prohibited.
    LOCKDOWN_NOT_SUPPORTED = 0x128, "Prohibition of Command Execution Not Supported";
    /// The I/O command set is not supported.
    COMMAND_SET_NOT_SUPPORTED = 0x129, "I/O Command Set Not Supported";
    /// The I/O command set is not enabled.
    COMMAND_SET_NOT_ENABLED = 0x12a, "I/O Command Set Not Enabled";
    /// The combination of I/O command sets is refused.
    COMMAND_SET_COMBINATION_REJECTED = 0x12b, "I/O Command Set Combination Rejected";
    /// The I/O command set is not valid.
    INVALID_COMMAND_SET = 0x12c, "Invalid I/O Command Set";
    /// No identifier is left.
    IDENTIFIER_UNAVAILABLE = 0x12d, "Identifier Unavailable";
    /// The namespace is dispersed.
    NAMESPACE_IS_DISPERSED = 0x12e, "Namespace Is Dispersed";
    /// The discovery information is not valid.
    INVALID_DISCOVERY_INFORMATION = 0x12f, "Invalid Discovery Information";
    /// The zoning data structure is locked.
    ZONING_DATA_LOCKED = 0x130, "Zoning Data Structure Locked";
    /// The zoning data structure does not exist.
    ZONING_DATA_NOT_FOUND = 0x131, "Zoning Data Structure Not Found";
    /// Too few discovery resources.
    INSUFFICIENT_DISCOVERY_RESOURCES = 0x132, "Insufficient Discovery Resources";
    /// The function asked for is disabled.
    FUNCTION_DISABLED = 0x133, "Requested Function Disabled";
    /// The originator of the zone group is not valid.
    ZONE_GROUP_ORIGINATOR_INVALID = 0x134, "ZoneGroup Originator Invalid";
    /// The host is not valid.
    INVALID_HOST = 0x135, "Invalid Host";
    /// The NVM subsystem is not valid.
    INVALID_SUBSYSTEM = 0x136, "Invalid NVM Subsystem";
    /// The controller data queue does not exist.
    INVALID_CONTROLLER_DATA_QUEUE = 0x137, "Invalid Controller Data Queue";
    /// Too few resources.
    NOT_ENOUGH_RESOURCES = 0x138, "Not Enough Resources";
    /// The controller is suspended.
    CONTROLLER_SUSPENDED = 0x139, "Controller Suspended";
    /// The controller is not suspended.
    CONTROLLER_NOT_SUSPENDED = 0x13a, "Controller Not Suspended";
    /// The controller data queue is full.
    CONTROLLER_DATA_QUEUE_FULL = 0x13b, "Controller Data Queue Full";
    /// Attributes contradict each other (Dataset Management).
    CONFLICTING_ATTRIBUTES = 0x180, "Conflicting Attributes";
    /// The protection information is not valid.
    INVALID_PROTECTION_INFORMATION = 0x181, "Invalid Protection Information";
    /// A write to a read-only range.
    WRITE_TO_READ_ONLY_RANGE = 0x182, "Attempted Write to Read Only Range";
    /// A size limit of the command was exceeded.
    COMMAND_SIZE_LIMIT_EXCEEDED = 0x183, "Command Size Limit Exceeded";
    /// A namespace or its format does not fit the command.
    INCOMPATIBLE_NAMESPACE_OR_FORMAT = 0x185, "Incompatible Namespace or Format";
    /// A fast copy is not possible.
    FAST_COPY_NOT_POSSIBLE = 0x186, "Fast Copy Not Possible";
    /// Source and destination overlap.
    OVERLAPPING_IO_RANGE = 0x187, "Overlapping I/O Range";
    /// The namespace is not reachable.
    NAMESPACE_NOT_REACHABLE = 0x188, "Namespace Not Reachable";
    /// Too few resources.
    INSUFFICIENT_RESOURCES = 0x189, "Insufficient Resources";
    /// The zoned operation asked for is not valid.
    INVALID_ZONE_OPERATION = 0x1b6, "Invalid Zone Operation Request";
    /// No zone random write area resource is left.
    ZRWA_RESOURCES_UNAVAILABLE = 0x1b7, "ZRWA Resources Unavailable";
    /// The command crosses the end of a zone.
    ZONE_BOUNDARY_ERROR = 0x1b8, "Zoned Boundary Error";
    /// The zone is full.
    ZONE_IS_FULL = 0x1b9, "Zone Is Full";
    /// The zone is read only.
    ZONE_IS_READ_ONLY = 0x1ba, "Zone Is Read Only";
    /// The zone is offline.
    ZONE_IS_OFFLINE = 0x1bb, "Zone Is Offline";
    /// The write is not at the zone's write pointer.
    ZONE_INVALID_WRITE = 0x1bc, "Zone Invalid Write";
    /// Too many zones are active.
    TOO_MANY_ACTIVE_ZONES = 0x1bd, "Too Many Active Zones";
    /// Too many zones are open.
    TOO_MANY_OPEN_ZONES = 0x1be, "Too Many Open Zones";
    /// The zone cannot go to that state.
    INVALID_ZONE_STATE_TRANSITION = 0x1bf, "Invalid Zone State Transition";

    /// Data could not be written to the media.
    WRITE_FAULT = 0x280, "Write Fault";
    /// Data could not be read from the media.
    UNRECOVERED_READ_ERROR = 0x281, "Unrecovered Read Error";
    /// End-to-end guard check.
    GUARD_CHECK = 0x282, "End-to-end Guard Check Error";
    /// End-to-end application tag check.
    APPLICATION_TAG_CHECK = 0x283, "End-to-end Application Tag Check Error";
    /// End-to-end reference tag check.
    REFERENCE_TAG_CHECK = 0x284, "End-to-end Reference Tag Check Error";
    /// Compare found a difference.
    COMPARE_FAILURE = 0x285, "Compare Failure";
    /// Access denied.
    ACCESS_DENIED = 0x286, "Access Denied";
    /// A read of a deallocated or unwritten block that reports errors.
    DEALLOCATED_OR_UNWRITTEN = 0x287, "Deallocated or Unwritten Logical Block";
    /// End-to-end storage tag check.
    STORAGE_TAG_CHECK = 0x288, "End-to-end Storage Tag Check Error";

    /// The controller failed inside, on this path.
    INTERNAL_PATH_ERROR = 0x300, "Internal Path Error";
    /// The path lost the namespace for good.
    ANA_PERSISTENT_LOSS = 0x301, "Asymmetric Access Persistent Loss";
    /// The namespace is not accessible on this path.
    ANA_INACCESSIBLE = 0x302, "Asymmetric Access Inaccessible";
    /// The path is changing.
    ANA_TRANSITION = 0x303, "Asymmetric Access Transition";
    /// The controller found a fault of the path.
    CONTROLLER_PATHING_ERROR = 0x360, "Controller Pathing Error";
    /// The host found a fault of the path.
    HOST_PATHING_ERROR = 0x370, "Host Pathing Error";
    /// The host aborted the command.
    ABORTED_BY_HOST = 0x371, "Command Aborted By Host";
}

impl Status {
    /// The status with this 15-bit field; a 16th bit is dropped.
    #[must_use]
    pub const fn from_field(field: u16) -> Self {
        Self(field & FIELD)
    }

    /// The 15-bit field.
    #[must_use]
    pub const fn field(self) -> u16 {
        self.0
    }

    /// Whether type and code are both 0.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 & CODE_AND_TYPE == 0
    }

    /// The status code, without its type.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// The type of the status code.
    #[must_use]
    pub const fn code_type(self) -> StatusCodeType {
        match (self.0 >> 8) & 0b111 {
            0 => StatusCodeType::Generic,
            1 => StatusCodeType::CommandSpecific,
            2 => StatusCodeType::MediaAndDataIntegrity,
            3 => StatusCodeType::Path,
            7 => StatusCodeType::Vendor,
            _ => StatusCodeType::Reserved,
        }
    }

    /// This status with "do not retry" set.
    #[must_use]
    pub const fn dnr(self) -> Self {
        Self(self.0 | DNR)
    }

    /// This status with "more" set: the Error Information log has an entry.
    #[must_use]
    pub const fn more(self) -> Self {
        Self(self.0 | MORE)
    }

    /// Whether "do not retry" is set.
    #[must_use]
    pub const fn is_dnr(self) -> bool {
        self.0 & DNR != 0
    }

    /// Whether type and code equal those of `other`, whatever the other bits.
    #[must_use]
    pub const fn same_code(self, other: Self) -> bool {
        self.0 & CODE_AND_TYPE == other.0 & CODE_AND_TYPE
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0 & CODE_AND_TYPE;
        match self.name() {
            Some(name) => write!(f, "{name} ({code:03x}h)")?,
            None => write!(f, "status {code:03x}h")?,
        }
        if self.is_dnr() {
            f.write_str(", do not retry")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_keeps_its_parts_apart() {
        let status = Status::INVALID_QUEUE_ID.dnr();
        assert_eq!(status.code(), 0x01);
        assert_eq!(status.code_type(), StatusCodeType::CommandSpecific);
        assert!(status.is_dnr());
        assert!(!status.is_success());
        assert!(status.same_code(Status::INVALID_QUEUE_ID));
        assert_eq!(
            status.to_string(),
            "Invalid Queue Identifier (101h), do not retry"
        );
    }
}
