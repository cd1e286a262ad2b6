//! `vssd trace remap`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use traces::edit::{Address, Extents, Remap};

use super::open;
use super::rewrite::{Output, pair};
use crate::terminal;

/// Move a trace: other addresses, block size, namespaces or queues.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vssd trace remap day.vtr small.vtr --compact
  vssd trace remap day.vtr native.vtr --block-size 4096
  vssd trace remap day.vtr other.vtr --namespace 1=2 --fold-queues 4")]
pub(crate) struct RemapArguments {
    /// The trace.
    file: PathBuf,
    #[command(flatten)]
    output: Output,
    /// Move addresses up by so many blocks of the trace, or down by -N.
    #[arg(long, value_name = "BLOCKS", allow_hyphen_values = true,
        conflicts_with_all = ["wrap", "compact"])]
    offset: Option<i64>,
    /// Put addresses around the end of a device of so many blocks.
    #[arg(long, value_name = "BLOCKS", conflicts_with = "compact",
        value_parser = clap::value_parser!(u64).range(1..))]
    wrap: Option<u64>,
    /// Move what is touched together, so that it fits a smaller device.
    #[arg(long)]
    compact: bool,
    /// Bytes a block of the trace that is written; commands that do not fit
    /// larger blocks are widened.
    #[arg(long, value_name = "BYTES", value_parser = block_size)]
    block_size: Option<u32>,
    /// Namespaces to renumber.
    #[arg(long = "namespace", value_name = "FROM=TO", value_delimiter = ',',
        value_parser = |text: &str| pair::<u32>(text, "="))]
    namespaces: Vec<(u32, u32)>,
    /// I/O queues to renumber.
    #[arg(long = "queue", value_name = "FROM=TO", value_delimiter = ',',
        value_parser = |text: &str| pair::<u16>(text, "="))]
    queues: Vec<(u16, u16)>,
    /// Spread the commands over so many queues.
    #[arg(long, value_name = "QUEUES", value_parser = clap::value_parser!(u16).range(1..))]
    fold_queues: Option<u16>,
}

fn block_size(text: &str) -> Result<u32, String> {
    let bytes: u32 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if bytes.is_power_of_two() && (512..=65_536).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("a block has 512 to 65536 bytes, a power of two".to_owned())
    }
}

/// Runs `vssd trace remap`.
pub(crate) fn run(arguments: &RemapArguments) -> Result<()> {
    let reader = open(&arguments.file)?;
    let mut remap = Remap::of(reader.header());
    remap.address = match (arguments.offset, arguments.wrap) {
        (Some(offset), _) if offset < 0 => Address::Down(offset.unsigned_abs()),
        (Some(offset), _) => Address::Up(offset.unsigned_abs()),
        (_, Some(blocks)) => Address::Wrap(blocks),
        _ if arguments.compact => {
            let bar = terminal::progress(reader.totals().commands, "commands");
            bar.set_message("looking");
            let extents = Extents::scan(&reader, |done| bar.set_position(done))?;
            bar.finish_and_clear();
            Address::Compact(extents)
        }
        _ => Address::Same,
    };
    remap.block_bytes = arguments.block_size;
    remap.namespaces = arguments.namespaces.iter().copied().collect();
    remap.queues = arguments.queues.iter().copied().collect();
    remap.fold_queues = arguments.fold_queues;
    let history = format!("remap of {}", arguments.file.display());
    let records = reader.records().with_payload();
    let output = &arguments.output;
    output.rewrite((&arguments.file, &reader), records, &mut remap, &history)?;
    if remap.widened > 0 {
        log::warn!(
            "commands that were widened to whole blocks: {}",
            remap.widened
        );
    }
    if remap.dropped > 0 {
        log::warn!(
            "commands whose payload was dropped, as it does not fit other blocks: {}",
            remap.dropped
        );
    }
    if remap.split > 0 {
        log::warn!(
            "commands that were split, as they are too long: {}",
            remap.split
        );
    }
    Ok(())
}
