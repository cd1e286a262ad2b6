//! Everything that nvme-cli can ask of a drive without changing it: Identify, logs,
//! features, registers.

use serde_json::Value;

use crate::SERIAL;
use crate::verdict::{Case, Check, Drive, Reply, When};

pub(crate) const INVALID_OPCODE: u16 = 0x01;
pub(crate) const INVALID_FIELD: u16 = 0x02;
const INVALID_LOG_PAGE: u16 = 0x109;

const fn row(name: &'static str, run: &'static str, when: When, check: Check) -> Case {
    Case {
        name,
        run,
        when,
        check,
    }
}

/// A structure of Identify that a bit of the drive's announces.
const fn identify(
    name: &'static str,
    run: &'static str,
    what: &'static str,
    offered: fn(&Drive) -> bool,
    check: Check,
) -> Case {
    row(
        name,
        run,
        When::Offered(what, offered, &[INVALID_FIELD]),
        check,
    )
}

/// A log that the log of supported log pages announces.
const fn log(
    name: &'static str,
    run: &'static str,
    what: &'static str,
    offered: fn(&Drive) -> bool,
) -> Case {
    row(
        name,
        run,
        When::Offered(what, offered, &[INVALID_LOG_PAGE]),
        some_answer,
    )
}

/// Compares a value with the one that is due.
pub(crate) fn same(what: &str, found: &Value, due: impl Into<Value>) -> Result<String, String> {
    let due = due.into();
    if *found == due {
        Ok(format!("{what} = {found}"))
    } else {
        Err(format!("{what} is {found}, not {due}"))
    }
}

/// Something was printed.
#[expect(clippy::unnecessary_wraps, reason = "all checks have one form")]
pub(crate) fn done(_: &Reply, _: &Drive) -> Result<String, String> {
    Ok("success".to_owned())
}

/// An answer in JSON that holds something.
fn some_answer(reply: &Reply, _: &Drive) -> Result<String, String> {
    let json = reply.json();
    let full = match &json {
        Value::Object(map) => !map.is_empty(),
        Value::Array(all) => !all.is_empty(),
        _ => false,
    };
    if full {
        Ok("an answer in JSON".to_owned())
    } else {
        Err("no answer in JSON".to_owned())
    }
}

fn says(reply: &Reply, word: &str) -> Result<String, String> {
    if reply.text.contains(word) {
        Ok(format!("says {word:?}"))
    } else {
        Err(format!("does not say {word:?}"))
    }
}

pub(crate) const IDENTIFY: &[Case] = &[
    row("list", "nvme list -o json", When::Always, |reply, _| {
        let drive = &reply.json()["Devices"][0];
        same("SerialNumber", &drive["SerialNumber"], SERIAL)?;
        same("PhysicalSize", &drive["PhysicalSize"], crate::BYTES)
    }),
    row(
        "list-subsys",
        "nvme list-subsys -o json",
        When::Always,
        |reply, drive| {
            let subsystem = &reply.json()[0]["Subsystems"][0];
            same("State", &subsystem["Paths"][0]["State"], "live")?;
            same("NQN", &subsystem["NQN"], drive.controller["subnqn"].clone())
        },
    ),
    row(
        "show-topology",
        "nvme show-topology",
        When::Always,
        |reply, _| says(reply, "live"),
    ),
    row(
        "id-ctrl",
        "nvme id-ctrl /dev/nvme0 -o json",
        When::Always,
        |reply, _| {
            let serial = reply.json()["sn"].as_str().unwrap_or_default().to_owned();
            same("sn", &serial.trim_end().into(), SERIAL)
        },
    ),
    row(
        "id-ns",
        "nvme id-ns /dev/nvme0n1 -o json",
        When::Always,
        |reply, _| same("nsze", &reply.json()["nsze"], crate::BYTES / 512),
    ),
    row(
        "get-ns-id",
        "nvme get-ns-id /dev/nvme0n1",
        When::Always,
        |reply, _| says(reply, "namespace-id:1"),
    ),
    row(
        "id-ns-lba-format",
        "nvme id-ns-lba-format /dev/nvme0 -i 0 -o json",
        When::Optional(&[INVALID_FIELD]),
        some_answer,
    ),
    identify(
        "id-ns-granularity",
        "nvme id-ns-granularity /dev/nvme0 -o json",
        "CTRATT bit 7",
        |drive| drive.bit("ctratt", 7),
        some_answer,
    ),
    row(
        "list-ns",
        "nvme list-ns /dev/nvme0 -o json",
        When::Always,
        |reply, _| same("nsid", &reply.json()["nsid_list"][0]["nsid"], 1),
    ),
    identify(
        "list-ns -a",
        "nvme list-ns /dev/nvme0 -a -o json",
        "OACS bit 3",
        |drive| drive.bit("oacs", 3),
        |reply, _| same("nsid", &reply.json()["nsid_list"][0]["nsid"], 1),
    ),
    row(
        "list-ctrl",
        "nvme list-ctrl /dev/nvme0 -o json",
        When::Always,
        |reply, drive| {
            let id = drive.field("cntlid");
            same("ctrl_id", &reply.json()["ctrl_list"][0]["ctrl_id"], id)
        },
    ),
    row(
        "list-ctrl -n 1",
        "nvme list-ctrl /dev/nvme0 -n 1 -o json",
        When::Optional(&[INVALID_FIELD]),
        |reply, drive| {
            let id = drive.field("cntlid");
            same("ctrl_id", &reply.json()["ctrl_list"][0]["ctrl_id"], id)
        },
    ),
    row(
        "nvm-id-ctrl",
        "nvme nvm-id-ctrl /dev/nvme0 -o json",
        When::Always,
        some_answer,
    ),
    row(
        "nvm-id-ns",
        "nvme nvm-id-ns /dev/nvme0n1 -o json",
        When::Always,
        some_answer,
    ),
    row(
        "nvm-id-ns-lba-format",
        "nvme nvm-id-ns-lba-format /dev/nvme0 -i 0 -o json",
        When::Optional(&[INVALID_FIELD]),
        some_answer,
    ),
    row(
        "ns-descs",
        "nvme ns-descs /dev/nvme0n1 -o json",
        When::Always,
        |reply, drive| {
            let json = reply.json();
            let all = json["ns-descs"].as_array().cloned().unwrap_or_default();
            let nguid = all.iter().find(|entry| entry["Type"] == "nguid");
            let nguid = nguid.map_or(Value::Null, |entry| entry["nguid"].clone());
            same("nguid", &nguid, drive.namespace["nguid"].clone())
        },
    ),
    row(
        "cmdset-ind-id-ns",
        "nvme cmdset-ind-id-ns /dev/nvme0n1 -o json",
        When::Always,
        |reply, _| same("nstat", &reply.json()["nstat"], 1),
    ),
    identify(
        "id-nvmset",
        "nvme id-nvmset /dev/nvme0 -o json",
        "CTRATT bit 2",
        |drive| drive.bit("ctratt", 2),
        some_answer,
    ),
    identify(
        "id-uuid",
        "nvme id-uuid /dev/nvme0 -o json",
        "CTRATT bit 9",
        |drive| drive.bit("ctratt", 9),
        some_answer,
    ),
    identify(
        "id-iocs",
        "nvme id-iocs /dev/nvme0 -o json",
        "CAP bit 43",
        |drive| drive.cap >> 43 & 1 == 1,
        some_answer,
    ),
    identify(
        "id-domain",
        "nvme id-domain /dev/nvme0 -o json",
        "CTRATT bit 13",
        |drive| drive.bit("ctratt", 13),
        some_answer,
    ),
    identify(
        "list-endgrp",
        "nvme list-endgrp /dev/nvme0 -o json",
        "CTRATT bit 4",
        |drive| drive.bit("ctratt", 4),
        some_answer,
    ),
    identify(
        "primary-ctrl-caps",
        "nvme primary-ctrl-caps /dev/nvme0 -o json",
        "OACS bit 7",
        |drive| drive.bit("oacs", 7),
        |reply, drive| same("cntlid", &reply.json()["cntlid"], drive.field("cntlid")),
    ),
    identify(
        "list-secondary",
        "nvme list-secondary /dev/nvme0 -o json",
        "OACS bit 7",
        |drive| drive.bit("oacs", 7),
        some_answer,
    ),
    row(
        "show-regs",
        "nvme show-regs /dev/nvme0 -o json",
        When::Always,
        |reply, drive| {
            let csts = reply.json()["csts"].as_u64().unwrap_or_default();
            same("csts & 3", &(csts & 3).into(), 1)?;
            same("cap", &reply.json()["cap"], drive.cap)
        },
    ),
    row(
        "get-reg",
        "nvme get-reg /dev/nvme0 -O 0x8",
        When::Always,
        done,
    ),
    // Property commands are those of fabrics: a drive on PCIe has registers instead.
    row(
        "get-property",
        "nvme get-property /dev/nvme0 -O 0x14",
        When::Offered("not on PCIe", |_| false, &[INVALID_OPCODE]),
        done,
    ),
    row(
        "set-property",
        "nvme set-property /dev/nvme0 -O 0x14 -V 0x460001",
        When::Offered("not on PCIe", |_| false, &[INVALID_OPCODE]),
        done,
    ),
    row(
        "show-hostnqn",
        "nvme show-hostnqn",
        When::Always,
        |reply, _| says(reply, "nqn.2014-08.org.nvmexpress:"),
    ),
];

pub(crate) const LOGS: &[Case] = &[
    row(
        "supported-log-pages",
        "nvme supported-log-pages /dev/nvme0 -o json",
        When::Always,
        |_, drive| {
            let missing = (1..=3).find(|identifier| !drive.log(*identifier));
            missing.map_or(Ok("names logs 1 to 3".to_owned()), |identifier| {
                Err(format!("lacks log {identifier}"))
            })
        },
    ),
    row(
        "get-log (SMART)",
        "nvme get-log /dev/nvme0 -i 2 -l 512 -b | od -An -tu1 -j3 -N1",
        When::Always,
        |reply, _| same("spare", &reply.text.trim().into(), "100"),
    ),
    log(
        "get-log (0xBF, vendor)",
        "nvme get-log /dev/nvme0 -i 0xbf -l 512",
        "log BFh",
        |drive| drive.log(0xbf),
    ),
    row(
        "smart-log",
        "before=$(nvme smart-log /dev/nvme0 -o json | sed -n 's/.*host_read_commands\":\\([0-9]*\\).*/\\1/p'); \
         for i in 1 2 3 4 5; do nvme read /dev/nvme0n1 -s $i -c 0 -z 512 -d /tmp/block >/dev/null 2>&1; done; \
         after=$(nvme smart-log /dev/nvme0 -o json | sed -n 's/.*host_read_commands\":\\([0-9]*\\).*/\\1/p'); \
         echo $((after - before))",
        When::Always,
        |reply, _| same("reads counted", &reply.text.trim().into(), "5"),
    ),
    row(
        "error-log",
        "nvme admin-passthru /dev/nvme0 --opcode=0x7e >/dev/null 2>&1; nvme error-log /dev/nvme0 -e 1 -o json",
        When::Always,
        |reply, _| {
            let status = reply.json()["errors"][0]["status_field"].as_u64();
            same("status", &(status.unwrap_or_default() & 0x7ff).into(), 1)
        },
    ),
    row(
        "fw-log",
        "nvme fw-log /dev/nvme0 -o json",
        When::Always,
        |reply, _| {
            let slot = reply.json()["nvme0"]["Active Firmware Slot (afi)"].clone();
            let active = slot.as_u64().unwrap_or_default() & 7;
            if (1..=7).contains(&active) {
                Ok(format!("slot {active}"))
            } else {
                Err(format!("slot {slot}"))
            }
        },
    ),
    log(
        "changed-ns-list-log",
        "nvme changed-ns-list-log /dev/nvme0 -o json",
        "log 04h",
        |drive| drive.log(4),
    ),
    row(
        "effects-log",
        "nvme effects-log /dev/nvme0",
        When::Offered("log 05h", |drive| drive.log(5), &[INVALID_LOG_PAGE]),
        |reply, _| says(reply, "ACS2"),
    ),
    log(
        "self-test-log",
        "nvme self-test-log /dev/nvme0 -o json",
        "log 06h",
        |drive| drive.log(6),
    ),
    row(
        "telemetry-log",
        "nvme telemetry-log /dev/nvme0 --output-file=/tmp/telemetry -g 1 && od -An -tu1 -N1 /tmp/telemetry",
        When::Judged,
        |reply, drive| {
            // nvme-cli asks the drive for the bit first, and gives up by itself.
            if !drive.bit("lpa", 3) {
                let gave_up = reply.text.contains("No such device or address");
                return same("nvme-cli gave up (LPA bit 3)", &gave_up.into(), true);
            }
            let identifier = reply.text.split_whitespace().last().unwrap_or_default();
            same("log identifier", &identifier.into(), "7")
        },
    ),
    row(
        "telemetry-log -c",
        "nvme telemetry-log /dev/nvme0 --output-file=/tmp/telemetry -c --rae && od -An -tu1 -N1 /tmp/telemetry",
        When::Offered(
            "LPA bit 3",
            |drive| drive.bit("lpa", 3),
            &[INVALID_LOG_PAGE],
        ),
        |reply, _| {
            let identifier = reply.text.split_whitespace().last().unwrap_or_default();
            same("log identifier", &identifier.into(), "8")
        },
    ),
    log(
        "endurance-log",
        "nvme endurance-log /dev/nvme0 -g 1 -o json",
        "log 09h",
        |drive| drive.log(9),
    ),
    log(
        "predictable-lat-log",
        "nvme predictable-lat-log /dev/nvme0 -i 1 -o json",
        "log 0Ah",
        |drive| drive.log(0xa),
    ),
    log(
        "pred-lat-event-agg-log",
        "nvme pred-lat-event-agg-log /dev/nvme0 -e 1 -o json",
        "log 0Bh",
        |drive| drive.log(0xb),
    ),
    log(
        "ana-log",
        "nvme ana-log /dev/nvme0 -o json",
        "log 0Ch",
        |drive| drive.log(0xc),
    ),
    row(
        "persistent-event-log",
        // The header alone: nvme-cli 2.13 looks for the data of a Set Features event past
        // the end of the log, and crashes.
        "nvme persistent-event-log /dev/nvme0 -a 1 >/dev/null && nvme persistent-event-log /dev/nvme0 -a 0 -l 512 -o json && \
         nvme persistent-event-log /dev/nvme0 -a 2 >/tmp/released",
        When::Offered("log 0Dh", |drive| drive.log(0xd), &[INVALID_LOG_PAGE]),
        |reply, _| {
            let log = reply.json();
            same("log identifier", &log["log_id"], 0x0d)?;
            let events = log["total_num_of_events"].as_u64().unwrap_or(0);
            same("has events", &(events > 0).into(), true)
        },
    ),
    log(
        "lba-status-log",
        "nvme lba-status-log /dev/nvme0 -o json",
        "log 0Eh",
        |drive| drive.log(0xe),
    ),
    log(
        "endurance-event-agg-log",
        "nvme endurance-event-agg-log /dev/nvme0 -e 1 -o json",
        "log 0Fh",
        |drive| drive.log(0xf),
    ),
    log(
        "media-unit-stat-log",
        "nvme media-unit-stat-log /dev/nvme0 -d 0 -o json",
        "log 10h",
        |drive| drive.log(0x10),
    ),
    log(
        "supported-cap-config-log",
        "nvme supported-cap-config-log /dev/nvme0 -d 0 -o json",
        "log 11h",
        |drive| drive.log(0x11),
    ),
    log(
        "fid-support-effects-log",
        "nvme fid-support-effects-log /dev/nvme0 -o json",
        "log 12h",
        |drive| drive.log(0x12),
    ),
    log(
        "mi-cmd-support-effects-log",
        "nvme mi-cmd-support-effects-log /dev/nvme0 -o json",
        "log 13h",
        |drive| drive.log(0x13),
    ),
    row(
        "boot-part-log",
        "nvme boot-part-log /dev/nvme0 -f /tmp/boot-part -o json",
        When::Offered("log 15h", |drive| drive.log(0x15), &[INVALID_LOG_PAGE]),
        done,
    ),
    log(
        "phy-rx-eom-log",
        "nvme phy-rx-eom-log /dev/nvme0 -o json",
        "log 19h",
        |drive| drive.log(0x19),
    ),
    log(
        "rotational-media-info-log",
        "nvme rotational-media-info-log /dev/nvme0 -e 1 -o json",
        "log 16h",
        |drive| drive.log(0x16),
    ),
    log(
        "dispersed-ns-participating-nss-log",
        "nvme dispersed-ns-participating-nss-log /dev/nvme0 -n 1 -o json",
        "log 17h",
        |drive| drive.log(0x17),
    ),
    log(
        "mgmt-addr-list-log",
        "nvme mgmt-addr-list-log /dev/nvme0 -o json",
        "log 18h",
        |drive| drive.log(0x18),
    ),
    log(
        "reachability-groups-log",
        "nvme reachability-groups-log /dev/nvme0 -o json",
        "log 1Ah",
        |drive| drive.log(0x1a),
    ),
    log(
        "reachability-associations-log",
        "nvme reachability-associations-log /dev/nvme0 -o json",
        "log 1Bh",
        |drive| drive.log(0x1b),
    ),
    log(
        "changed-alloc-ns-list-log",
        "nvme changed-alloc-ns-list-log /dev/nvme0 -o json",
        "log 1Ch",
        |drive| drive.log(0x1c),
    ),
    row(
        "show-topology",
        "nvme show-topology -o json",
        When::Always,
        |reply, _| same("shows nvme0", &reply.text.contains("nvme0").into(), true),
    ),
    log(
        "resv-notif-log",
        "nvme resv-notif-log /dev/nvme0 -o json",
        "log 80h",
        |drive| drive.log(0x80),
    ),
    log(
        "sanitize-log",
        "nvme sanitize-log /dev/nvme0 -o json",
        "log 81h",
        |drive| drive.log(0x81),
    ),
];
