//! `vssd trace cut`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use driver::ioworker::parse_duration;
use nvme::{NamespaceId, NvmOpcode, QueueId};
use traces::edit::Cut;

use super::open;
use super::rewrite::{Output, pair};

/// Keep a part of a trace: what meets all conditions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vssd trace cut day.vtr minute.vtr --from 10s --to 70s
  vssd trace cut day.vtr writes.vtr --opcode write,flush --queue 1,2
  vssd trace cut day.vtr boot.vtr --lba 0..2097151 --first 1000")]
pub(crate) struct CutArguments {
    /// The trace.
    file: PathBuf,
    #[command(flatten)]
    output: Output,
    /// From this time since the start of the trace on, such as 10s or 1500ms.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    from: Option<Duration>,
    /// Up to this time since the start of the trace.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    to: Option<Duration>,
    /// Leave out the first so many commands that meet the other conditions.
    #[arg(long, value_name = "COMMANDS", default_value = "0")]
    skip: u64,
    /// Keep so many commands.
    #[arg(long, value_name = "COMMANDS")]
    first: Option<u64>,
    /// Touching one of these blocks, the last included. Copies are kept: a trace
    /// does not tell what they read.
    #[arg(long, value_name = "FIRST..LAST", value_parser = |text: &str| pair::<u64>(text, ".."))]
    lba: Option<(u64, u64)>,
    /// Of these queues; 0 is the admin queue.
    #[arg(long = "queue", value_name = "QUEUE", value_delimiter = ',')]
    queues: Vec<u16>,
    /// These I/O commands, by name: read, write, flush, ... (discard: "dataset
    /// management").
    #[arg(long = "opcode", value_name = "NAME", value_delimiter = ',', value_parser = opcode)]
    opcodes: Vec<NvmOpcode>,
    /// Of these namespaces.
    #[arg(long = "namespace", value_name = "NSID", value_delimiter = ',')]
    namespaces: Vec<u32>,
    /// Without admin commands.
    #[arg(long)]
    no_admin: bool,
}

/// An I/O command by its name, its number, or what people call it.
pub(crate) fn opcode(text: &str) -> Result<NvmOpcode, String> {
    let name = text.trim().replace(['_', '-'], " ");
    let number = name
        .strip_prefix("0x")
        .map(|hex| u8::from_str_radix(hex, 16));
    match (name.to_ascii_lowercase().as_str(), number) {
        ("discard" | "trim" | "deallocate", _) => Ok(NvmOpcode::DATASET_MANAGEMENT),
        (_, Some(Ok(number))) => Ok(NvmOpcode(number)),
        (name, _) => NvmOpcode::from_name(name).ok_or_else(|| {
            format!("{text:?} is no I/O command: write read, write, flush, discard, compare, \"write zeroes\", or a number as 0x02")
        }),
    }
}

/// Runs `vssd trace cut`.
pub(crate) fn run(arguments: &CutArguments) -> Result<()> {
    let reader = open(&arguments.file)?;
    let origin_ns = reader.header().start.clock_ns;
    let time = |since: Duration| {
        let since_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        origin_ns.saturating_add(since_ns)
    };
    let mut cut = Cut::default();
    cut.from_ns = arguments.from.map(time);
    cut.to_ns = arguments.to.map(time);
    cut.skip = arguments.skip;
    cut.first = arguments.first;
    cut.lba = arguments.lba.map(|(first, last)| first..=last);
    cut.queues = arguments.queues.iter().copied().map(QueueId).collect();
    cut.opcodes.clone_from(&arguments.opcodes);
    cut.namespaces = arguments
        .namespaces
        .iter()
        .copied()
        .map(NamespaceId)
        .collect();
    cut.io_only = arguments.no_admin;
    let records = cut.records(&reader).with_payload();
    let history = format!("cut of {}", arguments.file.display());
    let output = &arguments.output;
    output.rewrite((&arguments.file, &reader), records, &mut cut, &history)?;
    if cut.unsure > 0 {
        log::warn!(
            "commands that were kept, as the trace does not tell which blocks they touch: {}",
            cut.unsure
        );
    }
    Ok(())
}
