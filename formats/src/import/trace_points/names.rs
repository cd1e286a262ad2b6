//! What Linux calls opcodes in its trace points.

use nvme::{AdminOpcode, NvmOpcode};

use crate::import::fields::number;

/// What stands before the name of a fabrics command's type.
const FABRICS: &str = "nvme_fabrics_";

const NVM: &[(&str, NvmOpcode)] = &[
    ("flush", NvmOpcode::FLUSH),
    ("write", NvmOpcode::WRITE),
    ("read", NvmOpcode::READ),
    ("write_uncor", NvmOpcode::WRITE_UNCORRECTABLE),
    ("compare", NvmOpcode::COMPARE),
    ("write_zeroes", NvmOpcode::WRITE_ZEROES),
    ("dsm", NvmOpcode::DATASET_MANAGEMENT),
    ("verify", NvmOpcode::VERIFY),
    ("resv_register", NvmOpcode::RESERVATION_REGISTER),
    ("resv_report", NvmOpcode::RESERVATION_REPORT),
    ("resv_acquire", NvmOpcode::RESERVATION_ACQUIRE),
    ("io_mgmt_recv", NvmOpcode::IO_MANAGEMENT_RECEIVE),
    ("resv_release", NvmOpcode::RESERVATION_RELEASE),
    ("copy", NvmOpcode::COPY),
    ("io_mgmt_send", NvmOpcode::IO_MANAGEMENT_SEND),
    ("zone_mgmt_send", NvmOpcode::ZONE_MANAGEMENT_SEND),
    ("zone_mgmt_recv", NvmOpcode::ZONE_MANAGEMENT_RECEIVE),
    ("zone_append", NvmOpcode::ZONE_APPEND),
];

const ADMIN: &[(&str, AdminOpcode)] = &[
    ("delete_sq", AdminOpcode::DELETE_SQ),
    ("create_sq", AdminOpcode::CREATE_SQ),
    ("get_log_page", AdminOpcode::GET_LOG_PAGE),
    ("delete_cq", AdminOpcode::DELETE_CQ),
    ("create_cq", AdminOpcode::CREATE_CQ),
    ("identify", AdminOpcode::IDENTIFY),
    ("abort_cmd", AdminOpcode::ABORT),
    ("set_features", AdminOpcode::SET_FEATURES),
    ("get_features", AdminOpcode::GET_FEATURES),
    ("async_event", AdminOpcode::ASYNC_EVENT_REQUEST),
    ("ns_mgmt", AdminOpcode::NAMESPACE_MANAGEMENT),
    ("activate_fw", AdminOpcode::FIRMWARE_COMMIT),
    ("download_fw", AdminOpcode::FIRMWARE_DOWNLOAD),
    ("dev_self_test", AdminOpcode::DEVICE_SELF_TEST),
    ("ns_attach", AdminOpcode::NAMESPACE_ATTACHMENT),
    ("keep_alive", AdminOpcode::KEEP_ALIVE),
    ("directive_send", AdminOpcode::DIRECTIVE_SEND),
    ("directive_recv", AdminOpcode::DIRECTIVE_RECEIVE),
    ("virtual_mgmt", AdminOpcode::VIRTUALIZATION_MANAGEMENT),
    ("nvme_mi_send", AdminOpcode::NVME_MI_SEND),
    ("nvme_mi_recv", AdminOpcode::NVME_MI_RECEIVE),
    ("dbbuf", AdminOpcode::DOORBELL_BUFFER_CONFIG),
    ("format_nvm", AdminOpcode::FORMAT_NVM),
    ("security_send", AdminOpcode::SECURITY_SEND),
    ("security_recv", AdminOpcode::SECURITY_RECEIVE),
    ("sanitize_nvm", AdminOpcode::SANITIZE),
    ("get_lba_status", AdminOpcode::GET_LBA_STATUS),
    // Where the vendors' opcodes start.
    ("vendor_start", AdminOpcode(0xc0)),
];

/// The opcode that the kernel prints as `name`, or as a number where it knows
/// none.
pub(super) fn opcode(admin: bool, name: &str) -> Result<u8, String> {
    if name.starts_with(FABRICS) {
        return Ok(AdminOpcode::FABRICS.0);
    }
    let nvm = name.strip_prefix("nvme_cmd_").filter(|_| !admin);
    let found = match nvm {
        Some(name) => NVM.iter().find(|it| it.0 == name).map(|it| it.1.0),
        None => name
            .strip_prefix("nvme_admin_")
            .filter(|_| admin)
            .and_then(|name| ADMIN.iter().find(|it| it.0 == name))
            .map(|it| it.1.0),
    };
    match found {
        Some(opcode) => Ok(opcode),
        None => number(name, "the opcode"),
    }
}
