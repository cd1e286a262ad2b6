//! Identify Controller.

use nvme::{IdentifyController, IdentifyNvmController, PowerStateDescriptor};
use serde_json::{Value, json};

use crate::device::report::{Report, ascii, digits, uuid};

/// Identify Controller, field by field, with the power states that there are.
pub(in crate::device) fn report(id: &IdentifyController) -> Report {
    let mut report = Report::new("NVME Identify Controller:", 10);
    identity(&mut report, id);
    admin(&mut report, id);
    io(&mut report, id);
    let states = usize::from(id.npss).saturating_add(1);
    let states = id.psd.iter().take(states).enumerate();
    report.lines("psds", states.map(power_state).collect());
    report
}

/// Bytes 0 to 255: who it is.
fn identity(report: &mut Report, id: &IdentifyController) {
    report
        .hex("vid", id.vid.get())
        .hex("ssvid", id.ssvid.get())
        .text("sn", ascii(&id.sn))
        .text("mn", ascii(&id.mn))
        .text("fr", ascii(&id.fr))
        .dec("rab", id.rab)
        .row(
            "ieee",
            oui(id.ieee),
            u32::from_le_bytes([id.ieee[0], id.ieee[1], id.ieee[2], 0]),
        )
        .hex("cmic", id.cmic)
        .dec("mdts", id.mdts)
        .hex("cntlid", id.cntlid.get())
        .hex("ver", id.ver.get())
        .hex("rtd3r", id.rtd3r.get())
        .hex("rtd3e", id.rtd3e.get())
        .hex("oaes", id.oaes.get())
        .hex("ctratt", id.ctratt.get())
        .hex("rrls", id.rrls.get())
        .hex("bpcap", id.bpcap)
        .hex("nssl", id.nssl.get())
        .dec("plsi", id.plsi)
        .dec("cntrltype", id.cntrltype)
        .text("fguid", uuid(&id.fguid))
        .dec("crdt1", id.crdt[0].get())
        .dec("crdt2", id.crdt[1].get())
        .dec("crdt3", id.crdt[2].get())
        .dec("crcap", id.crcap)
        .dec("nvmsr", id.nvmsr)
        .dec("vwci", id.vwci)
        .dec("mec", id.mec);
}

/// Bytes 256 to 511: its admin command set.
fn admin(report: &mut Report, id: &IdentifyController) {
    report
        .hex("oacs", id.oacs.get())
        .dec("acl", id.acl)
        .dec("aerl", id.aerl)
        .hex("frmw", id.frmw)
        .hex("lpa", id.lpa)
        .dec("elpe", id.elpe)
        .dec("npss", id.npss)
        .hex("avscc", id.avscc)
        .hex("apsta", id.apsta)
        .dec("wctemp", id.wctemp.get())
        .dec("cctemp", id.cctemp.get())
        .dec("mtfa", id.mtfa.get())
        .dec("hmpre", id.hmpre.get())
        .dec("hmmin", id.hmmin.get())
        .wide("tnvmcap", id.tnvmcap)
        .wide("unvmcap", id.unvmcap)
        .hex("rpmbs", id.rpmbs.get())
        .dec("edstt", id.edstt.get())
        .dec("dsto", id.dsto)
        .dec("fwug", id.fwug)
        .dec("kas", id.kas.get())
        .hex("hctma", id.hctma.get())
        .dec("mntmt", id.mntmt.get())
        .dec("mxtmt", id.mxtmt.get())
        .hex("sanicap", id.sanicap.get())
        .dec("hmminds", id.hmminds.get())
        .dec("hmmaxd", id.hmmaxd.get())
        .dec("nsetidmax", id.nsetidmax.get())
        .dec("endgidmax", id.endgidmax.get())
        .dec("anatt", id.anatt)
        .dec("anacap", id.anacap)
        .dec("anagrpmax", id.anagrpmax.get())
        .dec("nanagrpid", id.nanagrpid.get())
        .dec("pels", id.pels.get())
        .dec("domainid", id.domain_id.get())
        .dec("kpioc", id.kpioc)
        .dec("mptfawr", id.mptfawr.get())
        .wide("megcap", id.megcap)
        .hex("tmpthha", id.tmpthha)
        .dec("cqt", id.cqt.get());
}

/// Bytes 512 and following: its I/O command sets, and fabrics.
fn io(report: &mut Report, id: &IdentifyController) {
    report
        .hex("sqes", id.sqes)
        .hex("cqes", id.cqes)
        .dec("maxcmd", id.maxcmd.get())
        .dec("nn", id.nn.get())
        .hex("oncs", id.oncs.get())
        .hex("fuses", id.fuses.get())
        .hex("fna", id.fna)
        .hex("vwc", id.vwc)
        .dec("awun", id.awun.get())
        .dec("awupf", id.awupf.get())
        .dec("icsvscc", id.icsvscc)
        .dec("nwpc", id.nwpc)
        .dec("acwu", id.acwu.get())
        .hex("ocfs", id.cdfs.get())
        .hex("sgls", id.sgls.get())
        .dec("mnan", id.mnan.get())
        .wide("maxdna", id.maxdna)
        .dec("maxcna", id.maxcna.get())
        .dec("oaqd", id.oaqd.get())
        .dec("rhiri", id.rhiri)
        .dec("hirt", id.hirt)
        .dec("cmmrtd", id.cmmrtd.get())
        .dec("nmmrtd", id.nmmrtd.get())
        .dec("minmrtg", id.minmrtg)
        .dec("maxmrtg", id.maxmrtg)
        .dec("trattr", id.trattr)
        .dec("mcudmq", id.mcudmq.get())
        .dec("mnsudmq", id.mnsudmq.get())
        .dec("mcmr", id.mcmr.get())
        .dec("nmcmr", id.nmcmr.get())
        .dec("mcdqpc", id.mcdqpc.get())
        .text("subnqn", ascii(&id.subnqn).trim_end())
        .dec("ioccsz", id.ioccsz.get())
        .dec("iorcsz", id.iorcsz.get())
        .dec("icdoff", id.icdoff.get())
        .dec("fcatt", id.fcatt)
        .dec("msdbd", id.msdbd)
        .dec("ofcs", id.ofcs.get());
}

fn oui([a, b, c]: [u8; 3]) -> String {
    digits(&[c, b, a])
}

/// A power state on a line.
fn power_state((number, state): (usize, &PowerStateDescriptor)) -> (String, Value) {
    let scale = if state.flags & PowerStateDescriptor::FLAGS_MAX_POWER_SCALE == 0 {
        0.01
    } else {
        0.0001
    };
    let watts = f64::from(state.max_power.get()) * scale;
    let is_operational = state.flags & PowerStateDescriptor::FLAGS_NON_OPERATIONAL == 0;
    let (entry, exit) = (state.entry_latency_us.get(), state.exit_latency_us.get());
    let kind = if is_operational {
        "operational"
    } else {
        "non-operational"
    };
    let line = format!(
        "ps {number:4} : mp:{watts:.2}W {kind} enlat:{entry} exlat:{exit} rrt:{} rrl:{} rwt:{} rwl:{}",
        state.read_throughput, state.read_latency, state.write_throughput, state.write_latency
    );
    let finer = state.flags & PowerStateDescriptor::FLAGS_MAX_POWER_SCALE;
    let json = json!({
        "max_power": state.max_power.get(),
        "max_power_scale": finer,
        "non-operational_state": u8::from(!is_operational),
        "entry_lat": entry,
        "exit_lat": exit,
        "read_tput": state.read_throughput,
        "read_lat": state.read_latency,
        "write_tput": state.write_throughput,
        "write_lat": state.write_latency,
        "idle_power": state.idle_power.get(),
        "idle_scale": state.idle_scale(),
        "active_power": state.active_power.get(),
        "active_power_work": state.active_workload(),
        "active_scale": state.active_scale(),
        "emerg_power_fail_recover_time": state.epfrt,
        "emerg_power_fail_recover_scale": state.epfr_scale(),
        "force_quiesce_vault_time": state.fqvt,
        "force_quiesce_vault_scale": state.fqv_scale(),
        "emerg_power_fail_vault_time": state.epfvt,
        "emerg_power_fail_vault_scale": state.epfv_scale(),
    });
    (line, json)
}

/// Identify Controller of the NVM command set.
pub(in crate::device) fn nvm(id: &IdentifyNvmController) -> Report {
    let mut report = Report::new("NVMe Identify Controller NVM:", 7);
    report
        .dec("vsl", id.vsl)
        .dec("wzsl", id.wzsl)
        .dec("wusl", id.wusl)
        .dec("dmrl", id.dmrl)
        .dec("dmrsl", id.dmrsl.get())
        .dec("dmsl", id.dmsl.get())
        .dec("kpiocap", id.kpiocap)
        .dec("wzdsl", id.wzdsl)
        .dec("aocs", id.aocs.get())
        .hex("ver", id.ver.get())
        .dec("lbamqf", id.lbamqf);
    report
}

#[cfg(test)]
mod tests {
    use super::report;

    #[test]
    fn fields_have_the_names_and_forms_that_nvme_cli_gives_them() {
        let mut id = nvme::IdentifyController::default();
        id.vid.set(0x1b36);
        id.sn = nvme::ascii_field("abc");
        id.ieee = [0x00, 0x54, 0x52];
        id.mdts = 7;
        id.tnvmcap[0] = 9;
        id.psd[0].max_power.set(2500);
        let text = report(&id).to_text();
        for line in [
            "NVME Identify Controller:",
            "vid       : 0x1b36",
            "ssvid     : 0",
            "sn        : abc",
            "ieee      : 525400",
            "mdts      : 7",
            "tnvmcap   : 9",
            "ocfs      : 0",
            "ps    0 : mp:25.00W operational enlat:0 exlat:0 rrt:0 rrl:0 rwt:0 rwl:0",
        ] {
            assert!(text.lines().any(|at| at == line), "{line}: {text}");
        }
        let json = report(&id).to_json();
        assert_eq!((&json["vid"], &json["mdts"]), (&0x1b36.into(), &7.into()));
        assert_eq!(json["psds"].as_array().map(Vec::len), Some(1));
    }
}
