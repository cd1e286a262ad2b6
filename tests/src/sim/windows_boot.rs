//! A real trace: the first minute of Windows 10, as pynvme's tracer saw it.
//!
//! The file is not part of the project: it is found beside a checkout, or
//! where `VSSD_TEST_DATA` says, and tests that want it do without where it is
//! not.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nvme::{DsmRange, Lba, NvmOpcode};

use traces::{Header, NamespaceInfo, Writer, WriterOptions};

use super::trace::{Io, records};

const NAME: &str = "win10_boot.trace.png";

/// The trace, as it was parsed.
#[derive(Clone, Debug)]
pub struct WindowsBoot {
    /// Its commands, in the order of their times.
    pub commands: Vec<Io>,
    /// Its lines; several are one command where they are ranges of one
    /// Dataset Management command.
    pub lines: usize,
}

/// Where the file is: in the directory `VSSD_TEST_DATA`, or in `shared/data`
/// beside the checkout or above it.
#[must_use]
pub fn find() -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("VSSD_TEST_DATA") {
        return Some(Path::new(&directory).join(NAME)).filter(|path| path.is_file());
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("shared/data").join(NAME))
        .find(|path| path.is_file())
}

/// Reads the trace at `path`: a picture with an archive behind it, whose
/// members are the lines of one queue in a segment of five minutes.
///
/// # Errors
///
/// Where it cannot be read, or a line is not one.
pub fn read(path: &Path) -> Result<WindowsBoot> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut archive = zip::ZipArchive::new(file)?;
    let mut commands = Vec::new();
    let mut lines = 0;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index)?;
        let name = member.name()?.into_owned();
        let mut text = String::new();
        member.read_to_string(&mut text)?;
        let (segment, queue) = place(&name).with_context(|| format!("the member {name}"))?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            lines += 1;
            let io = parse(line, segment, queue).with_context(|| format!("{name}: {line:?}"))?;
            push(&mut commands, io);
        }
    }
    // Stable: commands of one queue at one time keep their order.
    commands.sort_by_key(|io| io.at_ns);
    Ok(WindowsBoot { commands, lines })
}

/// Writes the trace at `path` as one of ours, of a drive of `blocks` blocks of 512
/// bytes.
///
/// # Errors
///
/// Where it cannot be read or written.
pub fn convert(path: &Path, to: &Path, blocks: u64) -> Result<WindowsBoot> {
    let boot = read(path)?;
    let header = Header {
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks,
            block_bytes: 512,
        }],
        ..Header::default()
    };
    let mut writer = Writer::create(to, &header, WriterOptions::default())?;
    for record in records(&boot.commands) {
        writer.record(&record)?;
    }
    writer.finish()?;
    Ok(boot)
}

/// `…/<segment>/<queue>`.
fn place(name: &str) -> Result<(u64, u16)> {
    let mut parts = name.rsplit('/');
    let mut next = || parts.next().context("it has no segment and queue");
    let queue = next()?.parse()?;
    let segment = next()?.parse()?;
    Ok((segment, queue))
}

/// `<microseconds in the segment> <operation> <LBA> <blocks>`.
fn parse(line: &str, segment: u64, queue: u16) -> Result<Io> {
    const SEGMENT_NS: u64 = 300_000_000_000;
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [us, operation, lba, blocks] = fields.as_slice() else {
        bail!("it should have four fields");
    };
    let at_ns = segment * SEGMENT_NS + us.parse::<u64>()? * 1_000;
    let (lba, blocks): (u64, u32) = (lba.parse()?, blocks.parse()?);
    let io = match *operation {
        "read" => Io::blocks(NvmOpcode::READ, lba, blocks),
        "write" => Io::blocks(NvmOpcode::WRITE, lba, blocks),
        "write_zeroes" => Io::blocks(NvmOpcode::WRITE_ZEROES, lba, blocks),
        "flush" => Io::new(NvmOpcode::FLUSH),
        "trims" => Io::deallocate(vec![DsmRange::new(Lba(lba), blocks)]),
        other => bail!("the operation {other:?} is not known"),
    };
    // The tracer knows submissions only.
    let io = Io {
        latency_ns: None,
        ..io
    };
    Ok(io.at(queue, at_ns))
}

/// Adds `io`; a range at the time and on the queue of the one before belongs
/// to the same command.
fn push(commands: &mut Vec<Io>, io: Io) {
    if let Some(last) = commands.last_mut()
        && !io.ranges.is_empty()
        && !last.ranges.is_empty()
        && last.ranges.len() < nvme::DSM_RANGES_MAX
        && (last.queue, last.at_ns) == (io.queue, io.at_ns)
    {
        last.ranges.extend(io.ranges);
        let number = u32::try_from(last.ranges.len() - 1).unwrap_or(u32::MAX);
        last.sqe.cdw10.set(number);
        return;
    }
    commands.push(io);
}
