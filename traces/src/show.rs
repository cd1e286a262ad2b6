//! A record as a line of text.
//!
//! Lines have fixed columns, so that they page, sort and grep well:
//!
//! ```text
//!          time  queue   cid  command              nsid              LBA  blocks  flags    latency  status
//!   0.000123456      1    17  Read                    1          2097152       8            20.1us  ok
//!   0.000150201      1    18  Write                   1             2048      64  FUA      110.0us  ok
//!   0.000151000      0     3  Create SQ               0                -       -            15.3us  ok  SQ 3 on CQ 3, 1024 entries
//! ```

mod admin;

use std::fmt::Write;

use nvme::{DsmAttributes, DsmRange, NvmOpcode, ReadWriteCdw12};

use crate::summary::event_name;
use crate::{CommandRecord, Record};

/// What stands above the columns of [`line()`].
#[must_use]
pub fn heading() -> String {
    columns(
        "time",
        "queue",
        "cid",
        "command",
        ["nsid", "LBA", "blocks"],
        ["flags", "latency", "status"],
    )
}

/// `record` as a line, without a line end. Times are told in seconds since
/// `origin_ns` of the trace's clock ([`crate::Start::clock_ns`], or the first
/// record's time).
#[must_use]
pub fn line(record: &Record, origin_ns: u64) -> String {
    match record {
        Record::Command {
            command, ranges, ..
        } => command_line(command, ranges, origin_ns),
        Record::Event(event) => format!(
            "{}  --- {} ---",
            time(event.at_ns, origin_ns),
            event_name(event.event)
        ),
        Record::Gap(gap) => format!(
            "{}  --- {} commands were lost here ---",
            time(gap.at_ns, origin_ns),
            gap.lost
        ),
    }
}

fn command_line(command: &CommandRecord, ranges: &[DsmRange], origin_ns: u64) -> String {
    let (lba, blocks) = match command.lba_range() {
        Some((lba, blocks)) => (lba.0.to_string(), blocks.to_string()),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let status = match command.completion {
        Some(completion) if completion.status.field() == 0 => "ok".to_owned(),
        Some(completion) => completion.status.to_string(),
        None => "never completed".to_owned(),
    };
    let nsid = match command.nsid {
        nvme::NSID_ALL => "all".to_owned(),
        nsid => nsid.0.to_string(),
    };
    let mut line = columns(
        &time(command.submit_ns, origin_ns),
        &command.queue.0.to_string(),
        &command.cid.0.to_string(),
        &command.opcode_name(),
        [&nsid, &lba, &blocks],
        [
            &flags(command),
            &command.latency_ns().map_or("-".to_owned(), duration),
            &status,
        ],
    );
    let detail = detail(command, ranges);
    if !detail.is_empty() {
        line.push_str("  ");
        line.push_str(&detail);
    }
    line
}

fn columns(
    time: &str,
    queue: &str,
    cid: &str,
    command: &str,
    [nsid, lba, blocks]: [&str; 3],
    [flags, latency, status]: [&str; 3],
) -> String {
    format!(
        "{time:>16}  {queue:>5}  {cid:>5}  {command:<22}  {nsid:>4}  {lba:>15}  {blocks:>6}  \
         {flags:<5}  {latency:>9}  {status}"
    )
}

/// Seconds since `origin_ns`, nine digits after the point.
fn time(at_ns: u64, origin_ns: u64) -> String {
    let (sign, ns) = if at_ns < origin_ns {
        ("-", origin_ns - at_ns)
    } else {
        ("", at_ns - origin_ns)
    };
    let text = format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    format!("{text:>16}")
}

/// A duration in the unit that leaves one to three digits before the point.
fn duration(ns: u64) -> String {
    let (unit_ns, unit) = match ns {
        0..1_000 => return format!("{ns}ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let tenths = ns / (unit_ns / 10);
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

/// FUA, L(imited retry), D(eallocate), or a fused command's place.
fn flags(command: &CommandRecord) -> String {
    let mut flags = String::new();
    if command.lba_range().is_some() {
        let cdw12 = ReadWriteCdw12::from_bits(command.cdw10_15[2]);
        for (set, name) in [
            (cdw12.fua(), "FUA"),
            (cdw12.limited_retry(), "LR"),
            (cdw12.deac(), "DEAC"),
        ] {
            if set {
                if !flags.is_empty() {
                    flags.push(',');
                }
                flags.push_str(name);
            }
        }
    }
    match command.sqe().fuse() {
        0 => {}
        fuse => {
            let _ = write!(
                flags,
                "{}fuse{fuse}",
                if flags.is_empty() { "" } else { "," }
            );
        }
    }
    flags
}

/// What the columns have no room for.
fn detail(command: &CommandRecord, ranges: &[DsmRange]) -> String {
    match command.nvm_opcode() {
        None => admin::detail(command),
        Some(NvmOpcode::DATASET_MANAGEMENT) => dataset(command, ranges),
        Some(opcode) if opcode == NvmOpcode::FLUSH || opcode.has_lba_range() => String::new(),
        Some(_) => dwords(command),
    }
}

/// Ranges that are shown of a Dataset Management command.
const RANGES_SHOWN: usize = 4;

fn dataset(command: &CommandRecord, ranges: &[DsmRange]) -> String {
    let attributes = DsmAttributes::from_bits(command.cdw10_15[1]);
    let mut text = String::new();
    for (set, name) in [
        (attributes.ad(), "deallocate"),
        (attributes.idw(), "integral for write"),
        (attributes.idr(), "integral for read"),
    ] {
        if set {
            text.push_str(name);
            text.push(' ');
        }
    }
    for (number, range) in ranges.iter().take(RANGES_SHOWN).enumerate() {
        let separator = if number == 0 { "" } else { ", " };
        let _ = write!(text, "{separator}{}+{}", range.lba().0, range.blocks.get());
    }
    if ranges.len() > RANGES_SHOWN {
        let _ = write!(text, ", and {} more ranges", ranges.len() - RANGES_SHOWN);
    }
    text
}

/// All command dwords that are not 0, in hexadecimal.
fn dwords(command: &CommandRecord) -> String {
    let [cdw2, cdw3] = command.cdw2_3;
    let numbers = [2, 3, 10, 11, 12, 13, 14, 15];
    let values = [cdw2, cdw3].into_iter().chain(command.cdw10_15);
    let mut text = String::new();
    for (number, value) in numbers.into_iter().zip(values) {
        if value != 0 {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}cdw{number}={value:#x}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
