//! `vssd trace convert` and `vssd trace formats`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use formats::{AssemblerOptions, FORMATS, Format, ImportOptions, Input, Notes};
use indicatif::ProgressBar;
use traces::{Effort, Header, Reader, WriterOptions};

use super::rewrite::Part;
use super::{open, salvage};
use crate::device::size;
use crate::terminal::{self, TOOL};

/// What `.vtr` is called where formats are named.
const VTR: &str = "vtr";
/// How a `.vtr` file starts.
const VTR_MAGIC: &[u8] = b"\x89VTR";

/// Convert traces of other tools to .vtr and back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vssd trace convert win10_boot.trace.png boot.vtr
  vssd trace convert usr_0.csv.gz usr.vtr --device usr.0
  vssd trace convert day.vtr day.csv --to msr
  vssd trace convert damaged.vtr whole.vtr --salvage
  vssd trace convert log.csv log.vtr --from csv --columns time=us:1,op=2,offset=bytes:3,length=bytes:4

What a format has no words for is counted and told; times that a format does not have are
not made up. `vssd trace formats` lists what is read and written.")]
pub(crate) struct ConvertArguments {
    /// The trace: a file, several that belong together, a directory, or - for
    /// standard input; gzip and Zstandard are taken off.
    #[arg(required = true, value_name = "IN")]
    inputs: Vec<PathBuf>,
    /// The file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The format that is read; by default, by its content.
    #[arg(long, value_name = "FORMAT")]
    from: Option<String>,
    /// The format that is written; by default, by the ending of OUT.
    #[arg(long, value_name = "FORMAT")]
    to: Option<String>,
    /// Keep these of the trace's devices only, as namespaces 1, 2, ...
    #[arg(long = "device", value_name = "NAME", value_delimiter = ',')]
    devices: Vec<String>,
    /// Leave out what repeats the request before within 100 us: stacked
    /// devices record each request twice.
    #[arg(long)]
    dedupe: bool,
    /// Bytes a block of the trace that is written.
    #[arg(long, value_name = "BYTES", default_value = "512",
        value_parser = clap::value_parser!(u32).range(512..=65_536))]
    block_size: u32,
    /// Which column is what, for --from csv.
    #[arg(long, value_name = "COLUMNS")]
    columns: Option<String>,
    /// Leave out what cannot be read, and say how much that was; of a .vtr trace,
    /// keep every block that is whole.
    #[arg(long)]
    salvage: bool,
    /// Write .vtr as a recording is written: faster, and larger.
    #[arg(long)]
    fast: bool,
    /// Overwrite OUT where it exists.
    #[arg(long)]
    overwrite: bool,
}

/// List the formats that are read and written.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd trace formats")]
pub(crate) struct FormatsArguments {}

/// Runs `vssd trace formats`.
pub(crate) fn list(_: &FormatsArguments) -> Result<()> {
    let mut out = io::stdout().lock();
    let width = FORMATS.iter().map(|it| it.name.len()).max().unwrap_or(0);
    writeln!(out, "{:width$}  reads  writes  what", "name")?;
    writeln!(
        out,
        "{VTR:width$}  yes    yes     vssd's own: nothing is lost"
    )?;
    for format in FORMATS {
        let yes = |it: bool| if it { "yes" } else { "" };
        writeln!(
            out,
            "{:width$}  {:5}  {:6}  {}",
            format.name,
            yes(format.is_read()),
            yes(format.is_written()),
            format.title
        )?;
    }
    Ok(())
}

/// Runs `vssd trace convert`.
pub(crate) fn run(arguments: &ConvertArguments) -> Result<()> {
    let output = &arguments.output;
    for input in &arguments.inputs {
        if input == output {
            bail!(
                "{} would be read and written: name another OUT",
                input.display()
            );
        }
    }
    if output.exists() && !arguments.overwrite {
        bail!(
            "{} is there already: choose another name, or add --overwrite",
            output.display()
        );
    }
    let to = target(arguments)?;
    if to.is_none() && is_vtr(arguments)? {
        let file = only(arguments)?;
        let options = WriterOptions::default().overwrite(arguments.overwrite);
        return super::pack::pack(&opened(arguments, file)?, file, output, options);
    }
    // What is there is replaced by a whole file, or not at all.
    let part = Part::beside(output);
    let (said, notes) = convert(arguments, to, &part.0)?;
    fs::rename(&part.0, output)
        .with_context(|| format!("cannot name the result {}", output.display()))?;
    println!("{}: {said}", output.display());
    for (what, count) in notes.iter() {
        log::warn!("{what}: {count}");
    }
    Ok(())
}

/// Writes `part`; returns what is to be said of it, and what was lost.
fn convert(
    arguments: &ConvertArguments,
    to: Option<&Format>,
    part: &Path,
) -> Result<(String, Notes)> {
    let Some(format) = to else {
        return import(arguments, part);
    };
    if is_vtr(arguments)? {
        return export(&opened(arguments, only(arguments)?)?, format, part);
    }
    // Sizes and numbers are known at the end only.
    let between = Part(part.with_extension("between.vtr"));
    let (_, mut notes) = import(arguments, &between.0)?;
    let (said, more) = export(&Reader::open(&between.0)?, format, part)?;
    notes.extend(&more);
    Ok((said, notes))
}

/// Opens a `.vtr` trace, or what is whole of it.
fn opened(arguments: &ConvertArguments, file: &Path) -> Result<Reader> {
    if arguments.salvage {
        salvage(file)
    } else {
        open(file)
    }
}

fn only(arguments: &ConvertArguments) -> Result<&Path> {
    let [file] = arguments.inputs.as_slice() else {
        bail!("one .vtr trace is converted at a time: `vssd trace merge` makes one of several");
    };
    Ok(file)
}

/// The format to write; none for `.vtr`.
fn target(arguments: &ConvertArguments) -> Result<Option<&'static Format>> {
    if let Some(name) = &arguments.to {
        return if name == VTR {
            Ok(None)
        } else {
            Ok(Some(formats::find(name)?))
        };
    }
    let output = arguments.output.display();
    let ending = arguments.output.extension().and_then(|it| it.to_str());
    let ending = ending.unwrap_or_default().to_ascii_lowercase();
    if ending == VTR {
        return Ok(None);
    }
    let fitting: Vec<&Format> = FORMATS
        .iter()
        .filter(|it| it.is_written() && it.extensions.contains(&ending.as_str()))
        .collect();
    match fitting.as_slice() {
        [format] => Ok(Some(format)),
        [] => bail!("{output} could be anything: name its format with --to"),
        several => {
            // The one that is called so holds all of a trace.
            if let Some(format) = several.iter().find(|it| it.name == ending) {
                return Ok(Some(format));
            }
            let names: Vec<&str> = several.iter().map(|it| it.name).collect();
            bail!(
                "{output} could be {}: say which with --to",
                names.join(" or ")
            );
        }
    }
}

/// Whether it is a `.vtr` trace that is read.
fn is_vtr(arguments: &ConvertArguments) -> Result<bool> {
    match &arguments.from {
        Some(name) => Ok(name == VTR),
        None => {
            let Some(path) = arguments.inputs.first().filter(|it| it.is_file()) else {
                return Ok(false);
            };
            let mut magic = Vec::new();
            File::open(path)
                .and_then(|file| file.take(4).read_to_end(&mut magic))
                .with_context(|| format!("cannot read {}", path.display()))?;
            let named = path.extension().is_some_and(|it| it == VTR);
            // Its first bytes may be what is damaged.
            Ok(magic == VTR_MAGIC || (arguments.salvage && named))
        }
    }
}

fn import(arguments: &ConvertArguments, output: &Path) -> Result<(String, Notes)> {
    let input = Input::new(arguments.inputs.clone());
    let format = match &arguments.from {
        Some(name) => formats::find(name)?,
        None => formats::detect(&input)?,
    };
    let mut options = ImportOptions::default();
    options.salvage = arguments.salvage;
    options.block_bytes = arguments.block_size;
    options.columns.clone_from(&arguments.columns);
    let mut opened = format.open(&input, &options)?;

    let mut assembling = AssemblerOptions::default();
    assembling.block_bytes = arguments.block_size;
    assembling.dedupe = arguments.dedupe;
    assembling.devices = (!arguments.devices.is_empty()).then(|| arguments.devices.clone());
    let effort = if arguments.fast {
        Effort::Fast
    } else {
        Effort::Packed
    };
    let header = Header {
        tool: TOOL.to_owned(),
        labels: [(
            "source".to_owned(),
            format!("{} ({})", input.name(), format.name),
        )]
        .into(),
        ..Header::default()
    };
    let bar = counting("reading");
    let (_, summary) = formats::import(
        &mut *opened,
        create(output)?,
        header,
        assembling,
        WriterOptions::default().effort(effort),
        |read| bar.set_position(read),
    )?;
    bar.finish_and_clear();
    let bytes = fs::metadata(output)
        .context("cannot look at what was written")?
        .len();
    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    let each = bytes as f64 / summary.totals.commands.max(1) as f64;
    let mut said = format!(
        "{} commands of {} ({}), {}, {each:.2} bytes a command",
        summary.totals.commands,
        input.name(),
        format.name,
        size(bytes),
    );
    for (name, namespace) in summary.devices.iter().zip(1_u32..) {
        said += &format!("\n  namespace {namespace}: {name}");
    }
    Ok((said, summary.notes))
}

fn export(reader: &Reader, format: &Format, output: &Path) -> Result<(String, Notes)> {
    let sink = Box::new(BufWriter::new(create(output)?));
    let bar = terminal::progress(reader.totals().commands, "commands");
    bar.set_message("writing");
    let notes = formats::export(reader, format, sink, |done| bar.set_position(done))?;
    if reader.has_payload() {
        log::warn!(
            "what was written is left out: {} has no place for it",
            format.title
        );
    }
    bar.finish_and_clear();
    let bytes = fs::metadata(output)
        .context("cannot look at what was written")?
        .len();
    Ok((format!("{}, {}", format.title, size(bytes)), notes))
}

fn create(path: &Path) -> Result<File> {
    // Whether it may be overwritten was asked before.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// A count of what is done, where nobody knows of how much.
fn counting(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what.to_owned());
    if let Ok(style) =
        indicatif::ProgressStyle::with_template("{msg:>12} {human_pos} requests  {per_sec}")
    {
        bar.set_style(style);
    }
    bar
}
