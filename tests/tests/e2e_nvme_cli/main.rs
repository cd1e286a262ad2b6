//! nvme-cli asks a drive for everything that it can ask for, in one guest.
//!
//! What an answer has to be follows from the specification and from what the drive
//! says of itself in the same run: a command that a bit of Identify or a log announces
//! must work and do what it is for; one that is not announced must be refused, with
//! the status that the specification has for that. So a drive that learns something
//! new is judged by the stricter of the two as soon as it says so.
//!
//! The rows end up as a table in `target/nvme-cli-report.md`. One wrong row is a failure.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

mod cases;
mod changes;
mod features;
mod verdict;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use qemu::{Launch, Root};
use serde_json::Value;
use verdict::{Case, Drive, Reply, Verdict, judge, table};
use vssd_tests::e2e::{Scratch, Serve, Vm, run};

pub(crate) const SERIAL: &str = "NVMECLI-1";
/// What the drive holds.
pub(crate) const BYTES: u64 = 128 << 20;

/// What the drive says of itself, asked for before everything else.
const FACTS: [(&str, &str); 7] = [
    ("version", "nvme version"),
    ("id-ctrl", "nvme id-ctrl /dev/nvme0 -o json"),
    ("id-ns", "nvme id-ns /dev/nvme0n1 -o json"),
    ("logs", "nvme supported-log-pages /dev/nvme0 -o json"),
    ("regs", "nvme show-regs /dev/nvme0 -o json"),
    // The combinations of command sets, as numbers.
    (
        "command sets",
        "nvme admin-passthru /dev/nvme0 -O 6 -r -l 4096 --cdw10=0xffff001c -b 2>/dev/null | od -An -v -tu8 -N64",
    ),
    (
        "features",
        "nvme get-log /dev/nvme0 -i 0x12 -l 1024 -b 2>/dev/null | od -An -v -tu4",
    ),
];

#[test]
fn a_drive_answers_every_subcommand_of_nvme_cli_as_it_says_it_does() {
    let Some(vm) = Vm::take("a_drive_answers_every_subcommand_of_nvme_cli_as_it_says_it_does")
    else {
        return;
    };
    let scratch = Scratch::new();
    let server = Serve::new("ram:128M", scratch.dir(), "drive")
        .with("--serial", SERIAL)
        .start();
    let launch = Launch::job(vm.kit(), script())
        .root(Root::Tools)
        // nvme-cli maps the registers of a controller that a driver has.
        .kernel_arg("iomem=relaxed")
        .drive(server.drive());
    let outcome = run(&vm, launch);
    let log = server.terminate();
    eprintln!("vssd said {log:#?}");

    let replies = replies(&outcome.lines);
    let rows = rows(&replies);
    let text = table(&rows);
    eprintln!("{text}");
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("nvme-cli-report.md");
    let version = &replies["version"].text;
    fs::write(&report, format!("```\n{}\n```\n\n{text}", version.trim()))
        .unwrap_or_else(|e| panic!("cannot write {}: {e}", report.display()));
    let wrong: Vec<_> = rows
        .iter()
        .filter(|(_, _, verdict)| verdict.is_err())
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} rows are wrong: {wrong:#?}",
        wrong.len(),
        rows.len()
    );
}

/// All cases, in the order in which they run; the features come after the first two.
fn all() -> [&'static [Case]; 8] {
    [
        cases::IDENTIFY,
        cases::LOGS,
        changes::DATA,
        changes::RESERVATIONS,
        changes::SERVICES,
        changes::ZONES,
        changes::NAMESPACES,
        changes::RESETS,
    ]
}

/// Runs each case and frames what it prints.
fn script() -> String {
    let mut text = "exec 2>&1\n".to_owned();
    let mut add = |name: &str, run: &str| {
        write!(
            text,
            "cat >/tmp/case <<'END-OF-CASE'\n{run}\nEND-OF-CASE\n\
             echo '<<< {name}'\ntimeout 60 sh /tmp/case >/tmp/out 2>&1; code=$?\n\
             head -c 40000 /tmp/out; echo; echo \">>> $code\"\n"
        )
        .expect("a string takes it all");
    };
    for (name, run) in FACTS {
        add(name, run);
    }
    for identifier in features::identifiers() {
        add(&feature(identifier), &features::command(identifier));
    }
    for case in all().into_iter().flatten() {
        let numbers = "cntlid=$(cat /sys/class/nvme/nvme0/cntlid)\n\
                       sanicap=$(($(nvme id-ctrl /dev/nvme0 | sed -n 's/^sanicap *: *//p') & 3))\n";
        let needs = case.run.contains("$cntlid") || case.run.contains("$sanicap");
        let numbers = if needs { numbers } else { "" };
        add(case.name, &format!("{numbers}{}", case.run));
    }
    text.push_str("exit 0\n");
    text
}

fn feature(identifier: u8) -> String {
    format!("get-feature {identifier:02x}h")
}

/// What each case printed, by its name.
fn replies(lines: &[String]) -> BTreeMap<String, Reply> {
    let mut all = BTreeMap::new();
    let mut open: Option<(String, Reply)> = None;
    for line in lines {
        if let Some(name) = line.strip_prefix("<<< ") {
            open = Some((name.to_owned(), Reply::default()));
        } else if let Some(code) = line.strip_prefix(">>> ") {
            if let Some((name, mut reply)) = open.take() {
                reply.exit = code.parse().expect("an exit status");
                all.insert(name, reply);
            }
        } else if let Some((_, reply)) = &mut open {
            reply.text.push_str(line);
            reply.text.push('\n');
        }
    }
    all
}

/// Judges every reply by the facts.
fn rows(replies: &BTreeMap<String, Reply>) -> Vec<(String, String, Verdict)> {
    let numbers = |name: &str| -> Vec<u64> {
        let words = replies[name].text.split_whitespace();
        words.map_while(|word| word.parse().ok()).collect()
    };
    let effects: Vec<u32> = numbers("features")
        .into_iter()
        .filter_map(|word| u32::try_from(word).ok())
        .collect();
    let drive = Drive {
        controller: replies["id-ctrl"].json(),
        namespace: replies["id-ns"].json(),
        logs: replies["logs"].json(),
        cap: replies["regs"].json()["cap"].as_u64().unwrap_or_default(),
        has_zns: numbers("command sets").iter().any(|set| set >> 2 & 1 == 1),
    };
    assert_ne!(drive.controller, Value::Null, "id-ctrl printed no JSON");
    let none = Reply {
        exit: -1,
        text: "nothing".to_owned(),
    };
    let mut rows = Vec::new();
    for case in all().into_iter().flatten() {
        let reply = replies.get(case.name).unwrap_or(&none);
        rows.push((
            case.name.to_owned(),
            reply.brief(),
            judge(case, reply, &drive),
        ));
    }
    for identifier in features::identifiers() {
        let name = feature(identifier);
        let reply = replies.get(&name).unwrap_or(&none);
        let verdict = features::judge(identifier, reply, &drive, &effects);
        rows.push((name, reply.brief(), verdict));
    }
    rows
}
