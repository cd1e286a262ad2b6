//! Everything by which nvme-cli changes a drive: data, reservations, namespaces,
//! firmware, resets. The order matters: later rows find what earlier ones left.

use crate::cases::{INVALID_FIELD, INVALID_OPCODE, done, same};
use crate::verdict::{Case, Check, Drive, Reply, When};

const fn row(name: &'static str, run: &'static str, when: When, check: Check) -> Case {
    Case {
        name,
        run,
        when,
        check,
    }
}

/// A command that a bit of the drive's announces, and that is unknown without it.
const fn command(
    name: &'static str,
    run: &'static str,
    what: &'static str,
    offered: fn(&Drive) -> bool,
    check: Check,
) -> Case {
    row(
        name,
        run,
        When::Offered(what, offered, &[INVALID_OPCODE]),
        check,
    )
}

/// Command Prohibited by Command and Feature Lockdown.
const PROHIBITED: u16 = 0x23;

/// The last word that was printed is this one.
fn ends_with(reply: &Reply, word: &str) -> Result<String, String> {
    let last = reply.text.split_whitespace().last().unwrap_or_default();
    same("the end", &last.into(), word)
}

/// The command lines compare what they read with what it is to be.
fn alike(reply: &Reply, _: &Drive) -> Result<String, String> {
    ends_with(reply, "alike")
}

pub(crate) const DATA: &[Case] = &[
    row(
        "write",
        "head -c 4096 /dev/urandom >/tmp/data; nvme write /dev/nvme0n1 -s 64 -c 7 -z 4096 -d /tmp/data",
        When::Always,
        done,
    ),
    row("flush", "nvme flush /dev/nvme0 -n 1", When::Always, done),
    row(
        "read",
        "nvme read /dev/nvme0n1 -s 64 -c 7 -z 4096 -d /tmp/back && cmp /tmp/data /tmp/back && echo alike",
        When::Always,
        alike,
    ),
    command(
        "compare",
        "nvme compare /dev/nvme0n1 -s 64 -c 7 -z 4096 -d /tmp/data",
        "ONCS bit 0",
        |drive| drive.bit("oncs", 0),
        done,
    ),
    row(
        "compare (of other data)",
        "nvme compare /dev/nvme0n1 -s 72 -c 7 -z 4096 -d /tmp/data 2>&1 | grep -o '(0x[0-9a-f]*)' | tr -d '()' | tail -n1",
        When::Always,
        |reply, drive| {
            let status = reply.text.trim().trim_start_matches("0x");
            let status = u16::from_str_radix(status, 16).unwrap_or_default() & 0x7ff;
            let due = if drive.bit("oncs", 0) {
                0x285
            } else {
                INVALID_OPCODE
            };
            same("status", &status.into(), due)
        },
    ),
    command(
        "verify",
        "nvme verify /dev/nvme0n1 -s 64 -c 7",
        "ONCS bit 7",
        |drive| drive.bit("oncs", 7),
        done,
    ),
    command(
        "copy",
        "nvme copy /dev/nvme0n1 --sdlba=128 --slbs=64 --blocks=7 --format=0 && \
         nvme read /dev/nvme0n1 -s 128 -c 7 -z 4096 -d /tmp/back && cmp /tmp/data /tmp/back && echo alike",
        "ONCS bit 8",
        |drive| drive.bit("oncs", 8),
        alike,
    ),
    command(
        "write-zeroes",
        "nvme write-zeroes /dev/nvme0n1 -s 64 -c 3 && nvme read /dev/nvme0n1 -s 64 -c 7 -z 4096 -d /tmp/back && \
         { head -c 2048 /dev/zero; tail -c 2048 /tmp/data; } | cmp - /tmp/back && echo alike",
        "ONCS bit 3",
        |drive| drive.bit("oncs", 3),
        alike,
    ),
    command(
        "dsm",
        "nvme dsm /dev/nvme0n1 --ad --slbs=64 --blocks=8 && nvme read /dev/nvme0n1 -s 64 -c 7 -z 4096 -d /tmp/back && \
         head -c 4096 /dev/zero | cmp - /tmp/back && echo alike",
        "ONCS bit 2",
        |drive| drive.bit("oncs", 2),
        alike,
    ),
    command(
        "write-uncor",
        "nvme write-uncor /dev/nvme0n1 -s 200 -c 0 && \
         nvme read /dev/nvme0n1 -s 200 -c 0 -z 512 -d /tmp/back 2>&1 | grep -o '(0x[0-9a-f]*)' >/tmp/status; \
         s=$(tr -d '()' </tmp/status); [ $((s & 0x7ff)) = $((0x281)) ] && \
         nvme write /dev/nvme0n1 -s 200 -c 0 -z 512 -d /tmp/data && echo alike",
        "ONCS bit 1",
        |drive| drive.bit("oncs", 1),
        alike,
    ),
    command(
        "get-lba-status",
        "nvme get-lba-status /dev/nvme0n1 -n 1 -s 0 -m 16 -a 0x11 -l 8 -o json",
        "OACS bit 9",
        |drive| drive.bit("oacs", 9),
        done,
    ),
    row(
        "io-passthru",
        "nvme write /dev/nvme0n1 -s 300 -c 0 -z 512 -d /tmp/data >/dev/null 2>&1; \
         nvme io-passthru /dev/nvme0n1 -O 0x02 -n 1 -r -l 512 --cdw10=300 -b 2>/dev/null >/tmp/back; \
         cmp -n 512 /tmp/data /tmp/back && echo alike",
        When::Always,
        alike,
    ),
    row(
        "admin-passthru",
        "nvme admin-passthru /dev/nvme0 -O 0x06 -r -l 4096 --cdw10=1 -b 2>/dev/null | head -c 13 | tail -c 9",
        When::Always,
        |reply, _| same("serial", &reply.text.trim().into(), crate::SERIAL),
    ),
    row(
        "set-feature (temperature threshold)",
        "nvme set-feature /dev/nvme0 -f 4 -V 340 && nvme get-feature /dev/nvme0 -f 4 | grep -c 'Current value:0x00000154'",
        When::Always,
        |reply, _| ends_with(reply, "1"),
    ),
];

pub(crate) const RESERVATIONS: &[Case] = &[
    command(
        "resv-register",
        // A host has to have told its identifier before.
        "printf %016d 7 >/tmp/hostid; nvme set-feature /dev/nvme0 -f 0x81 --value=1 -l 16 -d /tmp/hostid && \
         nvme resv-register /dev/nvme0n1 --nrkey=0x1234 --rrega=0",
        "ONCS bit 5",
        |drive| drive.bit("oncs", 5),
        done,
    ),
    command(
        "resv-acquire",
        "nvme resv-acquire /dev/nvme0n1 --crkey=0x1234 --rtype=1 --racqa=0",
        "ONCS bit 5",
        |drive| drive.bit("oncs", 5),
        done,
    ),
    command(
        "resv-report",
        "nvme resv-report /dev/nvme0n1 -e -o json",
        "ONCS bit 5",
        |drive| drive.bit("oncs", 5),
        |reply, _| same("rtype", &reply.json()["rtype"], 1),
    ),
    command(
        "resv-release",
        "nvme resv-release /dev/nvme0n1 --crkey=0x1234 --rtype=1 --rrela=0 && \
         nvme resv-register /dev/nvme0n1 --crkey=0x1234 --rrega=1",
        "ONCS bit 5",
        |drive| drive.bit("oncs", 5),
        done,
    ),
];

pub(crate) const SERVICES: &[Case] = &[
    command(
        "device-self-test",
        "nvme device-self-test /dev/nvme0 -n 0xffffffff -s 1",
        "OACS bit 4",
        |drive| drive.bit("oacs", 4),
        done,
    ),
    command(
        "device-self-test (abort)",
        "nvme device-self-test /dev/nvme0 -n 0xffffffff -s 0xf",
        "OACS bit 4",
        |drive| drive.bit("oacs", 4),
        done,
    ),
    command(
        "security-recv",
        "nvme security-recv /dev/nvme0 -p 0 -s 0 -x 512 -t 512",
        "OACS bit 0",
        |drive| drive.bit("oacs", 0),
        done,
    ),
    row(
        "security-send",
        // No protocol that security-recv lists takes anything, and this one is not listed.
        "head -c 512 /dev/zero >/tmp/security; nvme security-send /dev/nvme0 -p 0xef -s 0 -t 512 -f /tmp/security",
        When::Judged,
        |reply, drive| {
            let due = if drive.bit("oacs", 0) {
                INVALID_FIELD
            } else {
                INVALID_OPCODE
            };
            same("status", &reply.status().into(), due)
        },
    ),
    command(
        "dir-receive",
        "nvme dir-receive /dev/nvme0 -n 1 -D 0 -O 1 -l 4096 -H",
        "OACS bit 5",
        |drive| drive.bit("oacs", 5),
        done,
    ),
    command(
        "dir-send",
        "nvme dir-send /dev/nvme0 -n 1 -D 0 -O 1 -T 1 -e 0",
        "OACS bit 5",
        |drive| drive.bit("oacs", 5),
        done,
    ),
    command(
        "nvme-mi-recv",
        // NVM Subsystem Health Status Poll.
        "nvme nvme-mi-recv /dev/nvme0 -m 1 -O 1 -l 32 -0 0 -1 0",
        "OACS bit 6",
        |drive| drive.bit("oacs", 6),
        done,
    ),
    command(
        "nvme-mi-send",
        // Configuration Set: Health Status Change clears what was told.
        "nvme nvme-mi-send /dev/nvme0 -m 1 -O 3 -0 2 -1 0",
        "OACS bit 6",
        |drive| drive.bit("oacs", 6),
        done,
    ),
    command(
        "virt-mgmt",
        "nvme virt-mgmt /dev/nvme0 -c 1 -a 1 -r 0 -n 0",
        "OACS bit 7",
        |drive| drive.bit("oacs", 7),
        done,
    ),
    row(
        "lockdown",
        // Sanitize is prohibited, refused, and allowed again.
        "nvme lockdown /dev/nvme0 --ofi=0x84 --ifc=0 --scp=0 --prhbt=1 && { nvme sanitize /dev/nvme0 -a 2; \
         nvme lockdown /dev/nvme0 --ofi=0x84 --ifc=0 --scp=0 --prhbt=0 && echo allowed; }",
        When::Judged,
        |reply, drive| {
            if !drive.bit("oacs", 10) {
                return same("status", &reply.status().into(), INVALID_OPCODE);
            }
            same("status of Sanitize", &reply.status().into(), PROHIBITED)?;
            ends_with(reply, "allowed")
        },
    ),
    command(
        "io-mgmt-recv",
        "nvme io-mgmt-recv /dev/nvme0n1 -n 1 -m 1 -l 64",
        "CTRATT bit 19",
        |drive| drive.bit("ctratt", 19),
        done,
    ),
    command(
        "io-mgmt-send",
        "nvme io-mgmt-send /dev/nvme0n1 -n 1 -m 1 -l 64 -d /tmp/data",
        "CTRATT bit 19",
        |drive| drive.bit("ctratt", 19),
        done,
    ),
    // nvme-cli asks the drive for RPMBS first, and gives up by itself.
    row(
        "rpmb",
        "nvme rpmb /dev/nvme0 --cmd=info",
        When::Judged,
        |reply, drive| {
            let refused = reply.text.contains("No RPMB targets are supported");
            same("refused", &refused.into(), drive.field("rpmbs") & 7 == 0)
        },
    ),
    command(
        "capacity-mgmt",
        "nvme capacity-mgmt /dev/nvme0 -O 0 -i 1",
        "CTRATT bits 11 and 12",
        |drive| drive.bit("ctratt", 11) || drive.bit("ctratt", 12),
        done,
    ),
    command(
        "fw-download",
        "head -c 4096 /dev/zero >/tmp/firmware; nvme fw-download /dev/nvme0 -f /tmp/firmware -x 4096",
        "OACS bit 2",
        |drive| drive.bit("oacs", 2),
        done,
    ),
    // Whether a drive takes an image of zeroes is its own affair; it must know the command.
    row(
        "fw-commit",
        "nvme fw-commit /dev/nvme0 -s 1 -a 2",
        When::Judged,
        |reply, drive| match (reply.status(), drive.bit("oacs", 2)) {
            (Some(INVALID_OPCODE), false) => Ok("not offered (OACS bit 2)".to_owned()),
            (None | Some(0x107 | 0x106 | 0x10b | 0x110 | 0x111 | 0x113), true) => {
                Ok("took it, or refused the image".to_owned())
            }
            (status, _) => Err(format!("status {status:x?}")),
        },
    ),
];

const ZNS: fn(&Drive) -> bool = |drive| drive.has_zns;

pub(crate) const ZONES: &[Case] = &[
    row("zns list", "nvme zns list -o json", When::Always, done),
    row(
        "zns id-ctrl",
        "nvme zns id-ctrl /dev/nvme0 -o json",
        When::Offered("no zoned command set", ZNS, &[INVALID_FIELD]),
        done,
    ),
    row(
        "zns id-ns",
        "nvme zns id-ns /dev/nvme0n1 -o json",
        When::Offered("no zoned namespace 1", |_| false, &[INVALID_FIELD]),
        done,
    ),
    row(
        "zns report-zones",
        "nvme zns report-zones /dev/nvme0n1 -o json",
        When::Offered(
            "no zoned namespace 1",
            |_| false,
            &[INVALID_OPCODE, INVALID_FIELD],
        ),
        done,
    ),
    row(
        "zns reset-zone",
        "nvme zns reset-zone /dev/nvme0n1 -s 0",
        When::Offered("no zoned namespace 1", |_| false, &[INVALID_OPCODE]),
        done,
    ),
];

const MANAGED: fn(&Drive) -> bool = |drive| drive.bit("oacs", 3);

pub(crate) const NAMESPACES: &[Case] = &[
    command(
        "detach-ns",
        "nvme detach-ns /dev/nvme0 -n 1 -c $cntlid",
        "OACS bit 3",
        MANAGED,
        done,
    ),
    command(
        "delete-ns",
        "nvme delete-ns /dev/nvme0 -n 1",
        "OACS bit 3",
        MANAGED,
        done,
    ),
    command(
        "create-ns",
        "nvme create-ns /dev/nvme0 -s 65536 -c 65536 -f 0 -d 0 -m 0",
        "OACS bit 3",
        MANAGED,
        |reply, _| {
            if reply.text.contains("nsid:1") {
                Ok("nsid 1".to_owned())
            } else {
                Err("the lowest free identifier is due".to_owned())
            }
        },
    ),
    command(
        "attach-ns",
        "nvme attach-ns /dev/nvme0 -n 1 -c $cntlid",
        "OACS bit 3",
        MANAGED,
        done,
    ),
    row(
        "ns-rescan",
        "nvme ns-rescan /dev/nvme0; sleep 1; ls /dev/nvme0n1",
        When::Always,
        |reply, _| ends_with(reply, "/dev/nvme0n1"),
    ),
    row(
        "format",
        "head -c 4096 /dev/urandom >/tmp/data; nvme write /dev/nvme0n1 -s 8 -c 7 -z 4096 -d /tmp/data >/dev/null 2>&1; \
         nvme format /dev/nvme0n1 -l 0 -s 1 --force && sleep 1 && nvme read /dev/nvme0n1 -s 8 -c 7 -z 4096 -d /tmp/back && \
         { cmp -s /tmp/data /tmp/back || echo gone; }",
        When::Offered(
            "OACS bit 1",
            |drive| drive.bit("oacs", 1),
            &[INVALID_OPCODE],
        ),
        |reply, _| ends_with(reply, "gone"),
    ),
    row(
        "sanitize",
        "case $sanicap in 1 | 3) a=4 ;; 2) a=2 ;; *) a=3 ;; esac; nvme sanitize /dev/nvme0 -a $a && for i in $(seq 200); do \
         s=$(nvme sanitize-log /dev/nvme0 | sed -n 's/.*(SSTAT) *: *0x\\([0-9a-f]*\\).*/\\1/p'); \
         [ $((0x0$s & 7)) = 2 ] || break; sleep 0.1; done; echo state $((0x0$s & 7))",
        When::Offered(
            "SANICAP bits 0 to 2",
            |drive| drive.field("sanicap") & 7 != 0,
            &[INVALID_OPCODE],
        ),
        |reply, _| ends_with(reply, "1"),
    ),
];

pub(crate) const RESETS: &[Case] = &[
    // AQA can be written while the controller is enabled; the same value changes nothing.
    row(
        "set-reg and get-reg",
        "get() { nvme get-reg /dev/nvme0 -O 0x24 2>&1 | grep -o '[0-9a-f]*$'; }; before=$(get); \
         nvme set-reg /dev/nvme0 -O 0x24 -V 0x$before && [ -n \"$before\" ] && [ $(get) = $before ] && echo alike",
        When::Always,
        alike,
    ),
    row(
        "reset",
        "nvme reset /dev/nvme0 && sleep 1 && cat /sys/class/nvme/nvme0/state",
        When::Always,
        |reply, _| ends_with(reply, "live"),
    ),
    // The kernel refuses by itself where CAP.NSSRS is clear.
    row(
        "subsystem-reset",
        // Linux waits for the link to go down and come back, which a virtual PCI slot does
        // not do: an operator resets the controller that is disabled now.
        "nvme subsystem-reset /dev/nvme0; sleep 3; [ -e /dev/nvme0 ] || { echo 1 >/sys/bus/pci/rescan; sleep 2; }; \
         nvme reset /dev/nvme0; sleep 1; cat /sys/class/nvme/nvme0/state",
        When::Always,
        |reply, drive| {
            let refused =
                reply.text.contains("does not support") || reply.text.contains("not supported");
            same("refused", &refused.into(), drive.cap >> 36 & 1 == 0)?;
            ends_with(reply, "live")
        },
    ),
    row(
        "id-ctrl (after the resets)",
        "nvme id-ctrl /dev/nvme0 -o json",
        When::Always,
        |reply, drive| same("sn", &reply.json()["sn"], drive.controller["sn"].clone()),
    ),
];
