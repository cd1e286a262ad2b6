//! Opcodes. They are open sets: a value without a name is kept as it is.

use crate::open_enum::open_enum;

open_enum! {
    /// An admin command (`NVMe Base 2.1 §3.1.3.4`, Opcodes for Admin Commands).
    AdminOpcode, "{:#04x}" {
        /// Delete I/O Submission Queue.
        DELETE_SQ = 0x00, "Delete SQ";
        /// Create I/O Submission Queue.
        CREATE_SQ = 0x01, "Create SQ";
        /// Get Log Page.
        GET_LOG_PAGE = 0x02, "Get Log Page";
        /// Delete I/O Completion Queue.
        DELETE_CQ = 0x04, "Delete CQ";
        /// Create I/O Completion Queue.
        CREATE_CQ = 0x05, "Create CQ";
        /// Identify.
        IDENTIFY = 0x06, "Identify";
        /// Abort.
        ABORT = 0x08, "Abort";
        /// Set Features.
        SET_FEATURES = 0x09, "Set Features";
        /// Get Features.
        GET_FEATURES = 0x0a, "Get Features";
        /// Asynchronous Event Request.
        ASYNC_EVENT_REQUEST = 0x0c, "Async Event Request";
        /// Namespace Management.
        NAMESPACE_MANAGEMENT = 0x0d, "Namespace Management";
        /// Firmware Commit.
        FIRMWARE_COMMIT = 0x10, "Firmware Commit";
        /// Firmware Image Download.
        FIRMWARE_DOWNLOAD = 0x11, "Firmware Download";
        /// Device Self-test.
        DEVICE_SELF_TEST = 0x14, "Device Self-test";
        /// Namespace Attachment.
        NAMESPACE_ATTACHMENT = 0x15, "Namespace Attachment";
        /// Keep Alive.
        KEEP_ALIVE = 0x18, "Keep Alive";
        /// Directive Send.
        DIRECTIVE_SEND = 0x19, "Directive Send";
        /// Directive Receive.
        DIRECTIVE_RECEIVE = 0x1a, "Directive Receive";
        /// Virtualization Management.
        VIRTUALIZATION_MANAGEMENT = 0x1c, "Virtualization Management";
        /// NVMe-MI Send.
        NVME_MI_SEND = 0x1d, "NVMe-MI Send";
        /// NVMe-MI Receive.
        NVME_MI_RECEIVE = 0x1e, "NVMe-MI Receive";
        /// Capacity Management.
        CAPACITY_MANAGEMENT = 0x20, "Capacity Management";
        /// Lockdown.
        LOCKDOWN = 0x24, "Lockdown";
        /// Track Send.
        TRACK_SEND = 0x3d, "Track Send";
        /// Track Receive.
        TRACK_RECEIVE = 0x3e, "Track Receive";
        /// Migration Send.
        MIGRATION_SEND = 0x41, "Migration Send";
        /// Migration Receive.
        MIGRATION_RECEIVE = 0x42, "Migration Receive";
        /// Controller Data Queue.
        CONTROLLER_DATA_QUEUE = 0x45, "Controller Data Queue";
        /// Doorbell Buffer Config.
        DOORBELL_BUFFER_CONFIG = 0x7c, "Doorbell Buffer Config";
        /// Fabrics Commands.
        FABRICS = 0x7f, "Fabrics";
        /// Format NVM.
        FORMAT_NVM = 0x80, "Format NVM";
        /// Security Send.
        SECURITY_SEND = 0x81, "Security Send";
        /// Security Receive.
        SECURITY_RECEIVE = 0x82, "Security Receive";
        /// Sanitize.
        SANITIZE = 0x84, "Sanitize";
        /// Get LBA Status.
        GET_LBA_STATUS = 0x86, "Get LBA Status";
    }
}

open_enum! {
    /// A command of the NVM command set (`NVM Command Set 1.1 §3`), and of the
    /// zoned one, which has no opcode with another meaning.
    NvmOpcode, "{:#04x}" {
        /// Flush.
        FLUSH = 0x00, "Flush";
        /// Write.
        WRITE = 0x01, "Write";
        /// Read.
        READ = 0x02, "Read";
        /// Write Uncorrectable.
        WRITE_UNCORRECTABLE = 0x04, "Write Uncorrectable";
        /// Compare.
        COMPARE = 0x05, "Compare";
        /// Write Zeroes.
        WRITE_ZEROES = 0x08, "Write Zeroes";
        /// Dataset Management.
        DATASET_MANAGEMENT = 0x09, "Dataset Management";
        /// Verify.
        VERIFY = 0x0c, "Verify";
        /// Reservation Register.
        RESERVATION_REGISTER = 0x0d, "Reservation Register";
        /// Reservation Report.
        RESERVATION_REPORT = 0x0e, "Reservation Report";
        /// Reservation Acquire.
        RESERVATION_ACQUIRE = 0x11, "Reservation Acquire";
        /// I/O Management Receive.
        IO_MANAGEMENT_RECEIVE = 0x12, "I/O Management Receive";
        /// Reservation Release.
        RESERVATION_RELEASE = 0x15, "Reservation Release";
        /// Cancel.
        CANCEL = 0x18, "Cancel";
        /// Copy.
        COPY = 0x19, "Copy";
        /// I/O Management Send.
        IO_MANAGEMENT_SEND = 0x1d, "I/O Management Send";
        /// Zone Management Send (zoned namespaces).
        ZONE_MANAGEMENT_SEND = 0x79, "Zone Management Send";
        /// Zone Management Receive (zoned namespaces).
        ZONE_MANAGEMENT_RECEIVE = 0x7a, "Zone Management Receive";
        /// Zone Append (zoned namespaces).
        ZONE_APPEND = 0x7d, "Zone Append";
    }
}

impl NvmOpcode {
    /// Whether CDW10 and CDW11 hold a starting LBA and CDW12 15:00 a
    /// zero-based number of blocks.
    #[must_use]
    pub const fn has_lba_range(self) -> bool {
        matches!(
            self,
            Self::READ
                | Self::WRITE
                | Self::COMPARE
                | Self::WRITE_ZEROES
                | Self::WRITE_UNCORRECTABLE
                | Self::VERIFY
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opcode_is_shown_by_its_name_or_in_hexadecimal() {
        assert_eq!(NvmOpcode::WRITE_ZEROES.to_string(), "Write Zeroes");
        assert_eq!(NvmOpcode(0x0a).to_string(), "0x0a");
        assert_eq!(AdminOpcode(0xff).to_string(), "0xff");
        assert_eq!(NvmOpcode::from_name("read"), Some(NvmOpcode::READ));
    }
}
