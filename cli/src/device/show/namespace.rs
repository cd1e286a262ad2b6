//! The Identify Namespace structures.

use nvme::{IdentifyNamespace, IdentifyNvmNamespace, IndependentNamespace, LbaFormat, NamespaceId};
use serde_json::{Value, json};

use crate::device::report::{Report, digits, hex};

/// Identify Namespace, field by field, with the LBA formats that there are.
pub(in crate::device) fn report(nsid: NamespaceId, id: &IdentifyNamespace) -> Report {
    let mut report = Report::new(format!("NVME Identify Namespace {}:", nsid.0), 8);
    report
        .hex("nsze", id.nsze.get())
        .hex("ncap", id.ncap.get())
        .hex("nuse", id.nuse.get())
        .hex("nsfeat", id.nsfeat)
        .dec("nlbaf", id.nlbaf)
        .hex("flbas", id.flbas)
        .hex("mc", id.mc)
        .hex("dpc", id.dpc)
        .hex("dps", id.dps)
        .hex("nmic", id.nmic)
        .hex("rescap", id.rescap)
        .hex("fpi", id.fpi)
        .dec("dlfeat", id.dlfeat)
        .dec("nawun", id.nawun.get())
        .dec("nawupf", id.nawupf.get())
        .dec("nacwu", id.nacwu.get())
        .dec("nabsn", id.nabsn.get())
        .dec("nabo", id.nabo.get())
        .dec("nabspf", id.nabspf.get())
        .dec("noiob", id.noiob.get())
        .wide("nvmcap", id.nvmcap)
        .dec("npwg", id.npwg.get())
        .dec("npwa", id.npwa.get())
        .dec("npdg", id.npdg.get())
        .dec("npda", id.npda.get())
        .dec("nows", id.nows.get())
        .dec("mssrl", id.mssrl.get())
        .dec("mcl", id.mcl.get())
        .dec("msrc", id.msrc)
        .dec("kpios", id.kpios)
        .dec("nulbaf", id.nulbaf)
        .dec("kpiodaag", id.kpiodaag.get())
        .dec("anagrpid", id.anagrpid.get())
        .dec("nsattr", id.nsattr)
        .dec("nvmsetid", id.nvmsetid.get())
        .dec("endgid", id.endgid.get())
        .text("nguid", digits(&id.nguid))
        .text("eui64", digits(&id.eui64));
    let in_use = format_in_use(id.flbas);
    let formats = id.lbaf.iter().take(formats(id)).enumerate();
    let formats = formats.map(|(number, format)| lba_format(number, *format, number == in_use));
    report.lines("lbafs", formats.collect());
    report
}

/// How many LBA formats the structure holds.
pub(in crate::device) fn formats(id: &IdentifyNamespace) -> usize {
    usize::from(id.nlbaf)
        .saturating_add(usize::from(id.nulbaf))
        .saturating_add(1)
}

/// The number of the format in use.
pub(in crate::device) fn format_in_use(flbas: u8) -> usize {
    // FLBAS is three parts; the one in the middle is about metadata.
    (0..64)
        .find(|index| {
            let metadata = IdentifyNamespace::FLBAS_METADATA_EXTENDED;
            IdentifyNamespace::flbas_of(*index) == flbas & 0x7f & !metadata
        })
        .map_or(0, usize::from)
}

/// An LBA format on a line.
pub(in crate::device) fn lba_format(
    number: usize,
    format: LbaFormat,
    in_use: bool,
) -> (String, Value) {
    let metadata = format.ms.get();
    let mark = if in_use { "(in use)" } else { "" };
    let line = format!(
        "lbaf {number:2} : ms:{metadata:<3} lbads:{:<2} rp:{} {mark}",
        format.lbads,
        hex(format.rp.into())
    );
    let json = json!({ "ms": metadata, "ds": format.lbads, "rp": format.rp });
    (line, json)
}

/// Identify Namespace of the NVM command set.
pub(in crate::device) fn nvm(
    nsid: NamespaceId,
    id: &IdentifyNvmNamespace,
    formats: usize,
) -> Report {
    let title = format!("NVMe NVM Identify Namespace {}:", nsid.0);
    let mut report = Report::new(title, 8);
    report
        .hex("lbstm", id.lbstm.get())
        .hex("pic", id.pic)
        .hex("pifa", id.pifa);
    let formats = (0..formats).filter_map(|index| Some((index, id.format(index)?)));
    let formats = formats.map(|(index, format)| {
        let (pif, sts, qpif) = (format.pif(), format.sts(), format.qpif());
        let line = format!("elbaf {index:2} : qpif:{qpif} pif:{pif} sts:{sts}");
        (line, json!({"qpif": qpif, "pif": pif, "sts": sts}))
    });
    report
        .lines("elbafs", formats.collect())
        .dec("npdgl", id.npdgl.get())
        .dec("nprg", id.nprg.get())
        .dec("npra", id.npra.get())
        .dec("nors", id.nors.get())
        .dec("npdal", id.npdal.get())
        .dec("lbapss", id.lbapss.get())
        .dec("tlbaag", id.tlbaag.get());
    report
}

/// I/O command set independent Identify Namespace.
pub(in crate::device) fn independent(nsid: NamespaceId, id: &IndependentNamespace) -> Report {
    let title = format!(
        "NVME Identify Command Set Independent Namespace {}:",
        nsid.0
    );
    let mut report = Report::new(title, 8);
    report
        .hex("nsfeat", id.nsfeat)
        .hex("nmic", id.nmic)
        .hex("rescap", id.rescap)
        .hex("fpi", id.fpi)
        .dec("anagrpid", id.anagrpid.get())
        .dec("nsattr", id.nsattr)
        .dec("nvmsetid", id.nvmsetid.get())
        .dec("endgid", id.endgid.get())
        .hex("nstat", id.nstat)
        .dec("kpios", id.kpios)
        .dec("maxkt", id.maxkt.get())
        .dec("rgrpid", id.rgrpid.get());
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_in_use_is_marked() {
        let mut id = IdentifyNamespace::default();
        id.nsze.set(0x1000);
        id.nlbaf = 17;
        id.lbaf[0].lbads = 9;
        id.lbaf[17].lbads = 12;
        id.lbaf[17].ms.set(8);
        id.flbas = IdentifyNamespace::flbas_of(17) | IdentifyNamespace::FLBAS_METADATA_EXTENDED;
        let report = report(NamespaceId(1), &id);
        let text = report.to_text();
        for line in [
            "NVME Identify Namespace 1:",
            "nsze    : 0x1000",
            "flbas   : 0x31",
            "nguid   : 00000000000000000000000000000000",
            "lbaf  0 : ms:0   lbads:9  rp:0",
            "lbaf 17 : ms:8   lbads:12 rp:0 (in use)",
        ] {
            assert!(text.lines().any(|at| at == line), "{line}: {text}");
        }
        assert_eq!(report.to_json()["lbafs"][17]["ds"], 12);
    }
}
