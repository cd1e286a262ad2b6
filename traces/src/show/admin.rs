//! The fields of admin commands that matter, by name.

use std::fmt::Write;

use nvme::{
    AbortCdw10, AdminOpcode, Cns, CreateCqCdw11, CreateQueueCdw10, CreateSqCdw11, FeatureId,
    FeatureSelect, FeaturesCdw10, FormatCdw10, GetLogPageCdw10, GetLogPageCdw11, IdentifyCdw10,
    LogPageId, NumberOfQueues, ZeroBased,
};

use super::dwords;
use crate::CommandRecord;

/// What `command`, from the admin queue, asks for.
pub(super) fn detail(command: &CommandRecord) -> String {
    let [cdw10, cdw11, ..] = command.cdw10_15;
    match AdminOpcode(command.opcode) {
        AdminOpcode::IDENTIFY => identify(cdw10),
        AdminOpcode::CREATE_SQ => {
            let queue = CreateQueueCdw10::from_bits(cdw10);
            let cq = CreateSqCdw11::from_bits(cdw11).cqid();
            let entries = ZeroBased(queue.qsize()).count();
            format!("SQ {} on CQ {cq}, {entries} entries", queue.qid())
        }
        AdminOpcode::CREATE_CQ => create_cq(cdw10, cdw11),
        AdminOpcode::DELETE_SQ => format!("SQ {}", CreateQueueCdw10::from_bits(cdw10).qid()),
        AdminOpcode::DELETE_CQ => format!("CQ {}", CreateQueueCdw10::from_bits(cdw10).qid()),
        AdminOpcode::GET_LOG_PAGE => get_log_page(command),
        AdminOpcode::SET_FEATURES => set_features(command),
        AdminOpcode::GET_FEATURES => get_features(command),
        AdminOpcode::ABORT => {
            let abort = AbortCdw10::from_bits(cdw10);
            format!("cid {} of SQ {}", abort.cid(), abort.sqid())
        }
        AdminOpcode::FORMAT_NVM => {
            let format = FormatCdw10::from_bits(cdw10);
            let lbaf = format.lbafu() << 4 | format.lbafl();
            format!("LBA format {lbaf}, secure erase {}", format.ses())
        }
        AdminOpcode::ASYNC_EVENT_REQUEST | AdminOpcode::KEEP_ALIVE => String::new(),
        _ => dwords(command),
    }
}

fn identify(cdw10: u32) -> String {
    let identify = IdentifyCdw10::from_bits(cdw10);
    let name = match Cns(identify.cns()) {
        Cns::NAMESPACE => "namespace",
        Cns::CONTROLLER => "controller",
        Cns::ACTIVE_NAMESPACES => "active namespaces",
        Cns::NAMESPACE_DESCRIPTORS => "namespace descriptors",
        Cns::IO_NAMESPACE => "namespace, of its command set",
        Cns::IO_CONTROLLER => "controller, of a command set",
        Cns::IO_ACTIVE_NAMESPACES => "active namespaces, of a command set",
        Cns::INDEPENDENT_NAMESPACE => "namespace, of any command set",
        Cns::ALLOCATED_NAMESPACES => "allocated namespaces",
        Cns::ALLOCATED_NAMESPACE => "allocated namespace",
        Cns::NAMESPACE_CONTROLLERS => "controllers of a namespace",
        Cns::CONTROLLERS => "controllers",
        Cns::IO_COMMAND_SETS => "command sets",
        _ => "",
    };
    let space = if name.is_empty() { "" } else { ", " };
    format!("CNS {:02x}h{space}{name}", identify.cns())
}

fn create_cq(cdw10: u32, cdw11: u32) -> String {
    let queue = CreateQueueCdw10::from_bits(cdw10);
    let cq = CreateCqCdw11::from_bits(cdw11);
    let entries = ZeroBased(queue.qsize()).count();
    let interrupt = if cq.ien() {
        format!("vector {}", cq.iv())
    } else {
        "no interrupt".to_owned()
    };
    format!("CQ {}, {entries} entries, {interrupt}", queue.qid())
}

fn get_log_page(command: &CommandRecord) -> String {
    let [cdw10, cdw11, cdw12, cdw13, ..] = command.cdw10_15;
    let low = GetLogPageCdw10::from_bits(cdw10);
    let dwords =
        u64::from(GetLogPageCdw11::from_bits(cdw11).numdu()) << 16 | u64::from(low.numdl());
    let offset = u64::from(cdw13) << 32 | u64::from(cdw12);
    let mut text = format!("{}, {} bytes", LogPageId(low.lid()), (dwords + 1) * 4);
    if offset != 0 {
        let _ = write!(text, " from {offset}");
    }
    if low.rae() {
        text.push_str(", retain event");
    }
    text
}

fn set_features(command: &CommandRecord) -> String {
    let [cdw10, cdw11, ..] = command.cdw10_15;
    let features = FeaturesCdw10::from_bits(cdw10);
    let save = if features.sv() { ", save" } else { "" };
    match FeatureId(features.fid()) {
        FeatureId::NUMBER_OF_QUEUES => {
            let asked = queues(cdw11);
            let got = command.completion.map(|completion| completion.result);
            let got = got.map_or(String::new(), |got| format!(", got {}", queues(got)));
            format!("Number of Queues {asked}{got}{save}")
        }
        feature => format!("{feature} {cdw11:#x}{save}"),
    }
}

/// A pair of counts as in the Number of Queues feature.
fn queues(dword: u32) -> String {
    let queues = NumberOfQueues::from_bits(dword);
    let submission = ZeroBased(queues.nsq()).count();
    let completion = ZeroBased(queues.ncq()).count();
    format!("{submission} SQ {completion} CQ")
}

fn get_features(command: &CommandRecord) -> String {
    let cdw10 = command.cdw10_15[0];
    let feature = FeatureId(FeaturesCdw10::from_bits(cdw10).fid());
    let select = match FeatureSelect::from_cdw10(cdw10) {
        FeatureSelect::Current => "",
        FeatureSelect::Default => ", default",
        FeatureSelect::Saved => ", saved",
        FeatureSelect::SupportedCapabilities => ", capabilities",
        FeatureSelect::Reserved => ", reserved selection",
    };
    let got = command.completion.map(|completion| completion.result);
    let got = got.map_or(String::new(), |got| format!(" = {got:#x}"));
    format!("{feature}{select}{got}")
}
