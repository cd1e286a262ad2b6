//! `docs/nvme-coverage.md`, made of what a controller answers: whatever the
//! specification names is sent to a drive that offers all it can, and what the
//! drive says of itself has to agree with what it does.
//!
//! `UPDATE_DOCS=1` writes the page anew.

mod gates;
mod sources;

use std::fmt::Write;

use nvme::{
    AdminOpcode, Cap, Cns, FeatureEffects, FeatureId, IdentifyController, LogPageId, NvmOpcode,
    Registers, Sqe, Status, offset,
};
use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use self::gates::{Facts, Gate};
use self::sources::Sources;
use super::kept::{admin, ready, zoned};
use crate::ControllerConfig;
use crate::host::{Host, Pair};
use crate::media::Ram;

/// A line of a table.
struct Row {
    name: String,
    id: String,
    section: &'static str,
    /// Why it is not there, where it is not.
    missing: Option<String>,
}

/// A drive that offers everything it can.
fn everything(zones_first: bool) -> ControllerConfig {
    let mut config = ControllerConfig {
        hmb_preferred_bytes: 1 << 20,
        cmb_bytes: 1 << 16,
        ..zoned()
    };
    if let Some(zoned) = &mut config.zoned {
        zoned.first_namespace = zones_first;
    }
    config
}

fn drive(zones_first: bool) -> (Host<Ram>, Pair) {
    ready(Host::new(everything(zones_first), super::ram()))
}

/// What the drive says of itself.
struct Said {
    facts: Facts,
    effects: Vec<u8>,
    pages: Vec<u8>,
    features: Vec<u8>,
}

fn log(host: &mut Host<Ram>, page: LogPageId, bytes: u32) -> (Status, Vec<u8>) {
    let at = host.pages(1);
    let cdw10 = u32::from(page.0) | (bytes / 4 - 1) << 16;
    let mut sqe = admin(AdminOpcode::GET_LOG_PAGE, 0, cdw10, 0);
    sqe.prp1 = U64::new(at);
    let status = host.admin_status(sqe);
    (status, host.read(at, bytes as usize))
}

fn identify(host: &mut Host<Ram>, cns: Cns, nsid: u32) -> (Status, Vec<u8>) {
    let at = host.pages(1);
    let mut sqe = admin(AdminOpcode::IDENTIFY, nsid, cns.0.into(), 0);
    sqe.prp1 = U64::new(at);
    let status = host.admin_status(sqe);
    (status, host.read(at, 4096))
}

fn said() -> Said {
    let (mut host, _) = drive(false);
    let (status, controller) = identify(&mut host, Cns::CONTROLLER, 0);
    assert_eq!(status, Status::SUCCESS);
    let cap = Cap::from_bits(host.controller.read64(offset::CAP));
    let mut page = |page, bytes| {
        let (status, data) = log(&mut host, page, bytes);
        assert_eq!(status, Status::SUCCESS, "{page}");
        data
    };
    Said {
        facts: Facts {
            controller: IdentifyController::read_from_bytes(&controller).unwrap(),
            cap,
        },
        effects: page(LogPageId::COMMAND_EFFECTS, 4096),
        pages: page(LogPageId::SUPPORTED, 1024),
        features: page(LogPageId::FEATURE_EFFECTS, 1024),
    }
}

/// Bit 0 of the dword at `index`: "supported", in all three pages.
fn is_listed(page: &[u8], index: usize) -> bool {
    page[4 * index] & 1 != 0
}

/// Why something is not there; and that its capability bit says the same.
fn state(
    name: &str,
    there: bool,
    gate: Option<Gate>,
    facts: &Facts,
    answer: &str,
) -> Option<String> {
    if let Some(gate) = gate {
        let open = (gate.is_open)(facts);
        assert_eq!(open, there, "{name}: {} says otherwise", gate.clear);
        return (!there).then(|| gate.clear.to_owned());
    }
    (!there).then(|| answer.to_owned())
}

/// Sends an admin opcode to a fresh drive. Whether the drive knows it.
fn knows_admin(opcode: AdminOpcode) -> bool {
    let (mut host, _) = drive(false);
    let sqe = admin(opcode, 1, 0, 0);
    let mut pair = host.admin;
    host.put(&mut pair, sqe);
    host.ring(&pair);
    // An event request waits; everything else is answered, in time.
    for _ in 0..100 {
        host.controller.poll(64);
        host.clock.advance(100_000_000);
    }
    match host.peek(&pair) {
        Some(cqe) => !cqe.status().same_code(Status::INVALID_OPCODE),
        None => opcode == AdminOpcode::ASYNC_EVENT_REQUEST,
    }
}

fn knows_io(opcode: NvmOpcode) -> bool {
    [false, true].into_iter().any(|zones_first| {
        let (mut host, mut pair) = drive(zones_first);
        let sqe = Sqe::new(opcode.0, nvme::NamespaceId(1));
        let status = host.status(&mut pair, sqe);
        !status.same_code(Status::INVALID_OPCODE)
    })
}

fn admin_commands(said: &Said) -> Vec<Row> {
    let mut rows = Vec::new();
    for code in 0..=u8::MAX {
        let opcode = AdminOpcode(code);
        let there = knows_admin(opcode);
        let listed = is_listed(&said.effects, code.into());
        assert_eq!(there, listed, "{opcode}: Commands Supported and Effects");
        let Some(name) = opcode.name() else {
            assert!(!there, "{opcode} has no name");
            continue;
        };
        let (section, gate) = gates::admin(opcode);
        let answer = "answers Invalid Command Opcode";
        rows.push(Row {
            name: name.to_owned(),
            id: format!("{code:02X}h"),
            section,
            missing: state(name, there, gate, &said.facts, answer),
        });
    }
    rows
}

fn io_commands(said: &Said, zoned: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for code in 0..=u8::MAX {
        let opcode = NvmOpcode(code);
        if crate::special::is_zoned(opcode) != zoned {
            continue;
        }
        let there = knows_io(opcode);
        let listed = is_listed(&said.effects, 256 + usize::from(code));
        assert_eq!(there, listed, "{opcode}: Commands Supported and Effects");
        let Some(name) = opcode.name() else {
            assert!(!there, "{opcode} has no name");
            continue;
        };
        let (section, gate) = gates::io(opcode);
        let answer = "answers Invalid Command Opcode";
        rows.push(Row {
            name: name.to_owned(),
            id: format!("{code:02X}h"),
            section,
            missing: state(name, there, gate, &said.facts, answer),
        });
    }
    rows
}

fn features(said: &Said) -> Vec<Row> {
    const CAPABILITIES: u32 = 3 << 8;
    let (mut host, _) = drive(false);
    let mut rows = Vec::new();
    for code in 0..=u8::MAX {
        let feature = FeatureId(code);
        let cdw10 = u32::from(code) | CAPABILITIES;
        let status = host.admin_status(admin(AdminOpcode::GET_FEATURES, 0, cdw10, 0));
        let there = status == Status::SUCCESS;
        assert!(there || status.same_code(Status::INVALID_FIELD), "{status}");
        let at = 4 * usize::from(code);
        let entry = said.features[at..at + 4].try_into().unwrap();
        let effects = FeatureEffects::from_bits(u32::from_le_bytes(entry));
        assert_eq!(there, effects.fsupp(), "{feature}: effects page");
        let Some(name) = feature.name() else {
            assert!(!there, "{feature} has no name");
            continue;
        };
        let (section, gate) = gates::feature(feature);
        let answer = "answers Invalid Field in Command";
        rows.push(Row {
            name: name.to_owned(),
            id: format!("{code:02X}h"),
            section,
            missing: state(name, there, gate, &said.facts, answer),
        });
    }
    rows
}

fn log_pages(said: &Said) -> Vec<Row> {
    let mut rows = Vec::new();
    for code in 0..=u8::MAX {
        let page = LogPageId(code);
        let (mut host, _) = drive(true);
        let at = host.pages(1);
        // A page of zones is a namespace's.
        let nsid = u32::from(page == LogPageId::CHANGED_ZONES);
        let mut sqe = admin(
            AdminOpcode::GET_LOG_PAGE,
            nsid,
            u32::from(code) | 127 << 16,
            0,
        );
        sqe.prp1 = U64::new(at);
        let there = !host.admin_status(sqe).same_code(Status::INVALID_LOG_PAGE);
        let listed = is_listed(&said.pages, code.into());
        assert_eq!(there, listed, "{page}: Supported Log Pages");
        let Some(name) = page.name() else {
            assert!(!there, "{page} has no name");
            continue;
        };
        let (section, gate) = gates::log_page(page);
        rows.push(Row {
            name: name.to_owned(),
            id: format!("{code:02X}h"),
            section,
            missing: state(name, there, gate, &said.facts, "answers Invalid Log Page"),
        });
    }
    rows
}

fn structures(said: &Said) -> Vec<Row> {
    let mut rows = Vec::new();
    for code in 0..=u8::MAX {
        let cns = Cns(code);
        let (mut host, _) = drive(false);
        let (status, _) = identify(&mut host, cns, 1);
        let there = status == Status::SUCCESS;
        assert!(
            there || status.same_code(Status::INVALID_FIELD),
            "{cns}: {status}"
        );
        let Some(name) = cns.name() else {
            assert!(!there, "{cns} has no name");
            continue;
        };
        let (section, gate) = gates::structure(cns);
        let answer = "answers Invalid Field in Command";
        rows.push(Row {
            name: name.to_owned(),
            id: format!("{code:02X}h"),
            section,
            missing: state(name, there, gate, &said.facts, answer),
        });
    }
    rows
}

fn properties(said: &Said, sources: &Sources) -> Vec<Row> {
    let (mut host, _) = drive(false);
    gates::PROPERTIES
        .iter()
        .map(|&(name, at, section, gate)| {
            let there = sources.name("offset", name);
            if !there {
                assert_eq!(host.controller.read32(at), 0, "{name}");
            }
            Row {
                name: name.to_owned(),
                id: format!("{at:X}h"),
                section,
                missing: state(name, there, gate, &said.facts, "reads as 0"),
            }
        })
        .collect()
}

fn statuses(sources: &Sources) -> Vec<Row> {
    Status::NAMED
        .iter()
        .map(|&(status, constant)| {
            let there = sources.name("Status", constant);
            let field = status.field();
            Row {
                name: status.name().unwrap_or_default().to_owned(),
                id: format!("{:X}h/{:02X}h", field >> 8, field & 0xff),
                section: gates::status(status),
                missing: (!there).then(|| "nothing that is offered answers it".to_owned()),
            }
        })
        .collect()
}

fn events(said: &Said, sources: &Sources) -> Vec<Row> {
    gates::EVENTS
        .iter()
        .map(|&(name, constant, event, section, gate)| {
            let there = sources.name("AsyncEvent", constant);
            let answer = "no event request is answered with it";
            Row {
                name: name.to_owned(),
                id: format!("{}h/{:02X}h", event.kind as u8, event.information),
                section,
                missing: state(name, there, gate, &said.facts, answer),
            }
        })
        .collect()
}

/// The PCI capabilities, as a walk along the two lists of the configuration
/// space finds them.
fn capabilities() -> Vec<Row> {
    let space = crate::front::vfio_user::configuration_at_power_on();
    let word = |at: usize| u32::from_le_bytes(space[at..at + 4].try_into().unwrap());
    let mut found = Vec::new();
    let mut at = usize::from(space[0x34]);
    while at != 0 {
        found.push((false, u16::from(space[at])));
        at = usize::from(space[at + 1]);
    }
    let mut at = 0x100;
    while at != 0 {
        let head = word(at);
        found.push((true, u16::try_from(head & 0xffff).unwrap()));
        at = usize::try_from(head >> 20).unwrap();
    }
    let named = |id: &(bool, u16)| gates::PCI.iter().any(|(_, known, _)| known == id);
    assert!(found.iter().all(named), "{found:x?}");
    gates::PCI
        .iter()
        .map(|&(name, (extended, id), section)| Row {
            name: name.to_owned(),
            id: if extended {
                format!("extended {id:04X}h")
            } else {
                format!("{id:02X}h")
            },
            section,
            missing: (!found.contains(&(extended, id)))
                .then(|| "not in the list of capabilities".to_owned()),
        })
        .collect()
}

fn table(page: &mut String, heading: &str, rows: &[Row]) {
    writeln!(page, "\n## {heading}\n").unwrap();
    writeln!(page, "| name | identifier | section | state |").unwrap();
    writeln!(page, "|---|---|---|---|").unwrap();
    for row in rows {
        let state = match &row.missing {
            None => "done".to_owned(),
            Some(why) => format!("not offered ({why})"),
        };
        writeln!(
            page,
            "| {} | {} | {} | {state} |",
            row.name, row.id, row.section
        )
        .unwrap();
    }
}

#[test]
fn the_coverage_page_says_what_the_controller_does() {
    let said = said();
    let sources = Sources::read();
    let mut page = String::from(
        "# What of NVMe the virtual SSD has\n\n\
         NVMe Base 2.1, NVM Command Set 1.1, Zoned Namespace Command Set 1.1 and NVMe over PCIe \
         Transport 1.1, of a drive that has every option of its configuration switched on. A test \
         makes these tables of what such a drive answers.\n",
    );
    let tables = [
        ("Admin commands", admin_commands(&said)),
        ("I/O commands", io_commands(&said, false)),
        ("I/O commands of zones", io_commands(&said, true)),
        ("Features", features(&said)),
        ("Log pages", log_pages(&said)),
        ("Identify data structures", structures(&said)),
        ("Properties", properties(&said, &sources)),
        ("Status codes", statuses(&sources)),
        ("Asynchronous events", events(&said, &sources)),
        ("PCI capabilities", capabilities()),
    ];
    for (heading, rows) in &tables {
        table(&mut page, heading, rows);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/nvme-coverage.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let differs = page
        .lines()
        .zip(kept.lines())
        .find(|(made, kept)| made != kept);
    assert!(
        page == kept,
        "docs/nvme-coverage.md is out of date, first at {differs:?}: run this test with UPDATE_DOCS=1"
    );
}
