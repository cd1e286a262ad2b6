//! The queues that a command names.

use nvme::{
    AbortCdw10, AdminOpcode, CancelCdw10, CreateQueueCdw10, CreateSqCdw11, NvmOpcode, QueueId,
};

use crate::CommandRecord;

/// Gives every I/O queue that `command` names the number that `other` has for
/// it: the queue that it came from, and those in admin commands that create and
/// delete queues and abort commands. A completion queue gets the number that
/// the submission queue of its number gets, so that pairs stay pairs. The admin
/// queue keeps its 0.
pub(super) fn renumber(command: &mut CommandRecord, mut other: impl FnMut(u16) -> u16) {
    let mut number = |queue: u16| if queue == 0 { 0 } else { other(queue) };
    let [cdw10, cdw11, ..] = &mut command.cdw10_15;
    if !command.queue.is_admin() {
        command.queue = QueueId(number(command.queue.0));
        if NvmOpcode(command.opcode) == NvmOpcode::CANCEL {
            let cancel = CancelCdw10::from_bits(*cdw10);
            *cdw10 = cancel.with_sqid(number(cancel.sqid())).into_bits();
        }
        return;
    }
    let opcode = AdminOpcode(command.opcode);
    match opcode {
        AdminOpcode::CREATE_SQ
        | AdminOpcode::CREATE_CQ
        | AdminOpcode::DELETE_SQ
        | AdminOpcode::DELETE_CQ => {
            let queue = CreateQueueCdw10::from_bits(*cdw10);
            *cdw10 = queue.with_qid(number(queue.qid())).into_bits();
        }
        AdminOpcode::ABORT => {
            let abort = AbortCdw10::from_bits(*cdw10);
            *cdw10 = abort.with_sqid(number(abort.sqid())).into_bits();
        }
        _ => {}
    }
    if opcode == AdminOpcode::CREATE_SQ {
        let queue = CreateSqCdw11::from_bits(*cdw11);
        *cdw11 = queue.with_cqid(number(queue.cqid())).into_bits();
    }
}
