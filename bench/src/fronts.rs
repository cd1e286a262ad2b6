//! The fronts, side by side with a peer's on the same two cores: each row is
//! measured in turns, and its ratios are the medians of the turns' ratios. All rows
//! have a turn before any has the next, so that a machine that becomes slower or
//! faster does so for all of them.

mod cases;
mod guest;
mod idle;
mod nvme;
mod peer;
mod table;
mod virtio;
mod work;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use traces::Reader;

use self::cases::{Case, Front, Medium};
use self::peer::StorageDaemon;
use crate::server::{Cores, Server};
use crate::{FrontsArguments, median};

/// Size of every disk.
const DISK_BYTES: u64 = 256 << 20;

/// A row of the table.
#[derive(Debug, Serialize)]
struct Row {
    case: String,
    depth: u16,
    /// Requests a second; without a recording, with one, of the peer.
    plain: f64,
    recording: f64,
    peer: Option<f64>,
    /// Of a request, while recording, microseconds.
    mean_us: f64,
    recording_to_plain: f64,
    recording_to_peer: Option<f64>,
    /// What another set of programs did on such a machine on another day; only a
    /// hint, as the machine moves.
    elsewhere: Option<f64>,
}

impl Row {
    /// What the turns of `case` came to.
    fn of(case: &Case, turns: &[Turn]) -> Self {
        let of = |value: fn(&Turn) -> f64| median(turns.iter().map(value).collect());
        let with_peer = |value: fn(&Turn) -> Option<f64>| {
            let values: Vec<f64> = turns.iter().filter_map(value).collect();
            (!values.is_empty()).then(|| median(values))
        };
        let recording = of(|turn| turn.recording);
        Self {
            case: case.to_string(),
            depth: case.work.depth,
            plain: of(|turn| turn.plain),
            recording,
            peer: with_peer(|turn| turn.peer),
            mean_us: case.work.mean_us(recording),
            recording_to_plain: of(|turn| turn.recording / turn.plain),
            recording_to_peer: with_peer(|turn| turn.peer.map(|peer| turn.recording / peer)),
            elsewhere: case.elsewhere,
        }
    }
}

/// What one turn measured.
#[derive(Clone, Copy, Debug)]
struct Turn {
    plain: f64,
    recording: f64,
    peer: Option<f64>,
}

/// Measures all rows that are wanted, shows them as they come, and writes them
/// where that is asked for.
pub(crate) fn run(arguments: &FrontsArguments) -> Result<()> {
    let common = &arguments.common;
    let cores = Cores::choose()?;
    let daemon = StorageDaemon::find(arguments.storage_daemon.as_deref())?;
    let bench = Bench {
        arguments,
        cores,
        daemon,
        directory: tempfile::tempdir_in("/dev/shm").context("cannot make a directory in memory")?,
    };
    println!("{}", table::preamble(&bench));
    println!("{}", table::HEAD);
    let mut cases = cases::all(common.seconds);
    cases.retain(|case| case.to_string().contains(&arguments.only));
    let rows = bench.measure(&cases)?;
    let mut guest = Vec::new();
    if "guest".contains(&arguments.only) {
        guest = guest::measure(&common.vssd, bench.directory.path(), cores)?;
        println!("\n{}", table::guest(&guest));
    }
    let idle = idle::measure(&common.vssd, cores)?;
    println!("\n{idle}");
    if let Some(path) = &common.json {
        let all = serde_json::json!({
            "benchmark": "fronts", "rows": rows, "guest": guest, "idle": idle,
        });
        std::fs::write(path, format!("{all:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.markdown {
        let page = table::markdown(&bench, &rows, &guest, &idle);
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What all rows have in common.
#[derive(Debug)]
struct Bench<'a> {
    arguments: &'a FrontsArguments,
    cores: Cores,
    daemon: StorageDaemon,
    /// In memory.
    directory: tempfile::TempDir,
}

impl Bench<'_> {
    /// One turn after the other; shows the rows in the last.
    fn measure(&self, cases: &[Case]) -> Result<Vec<Row>> {
        let turns = self.arguments.common.pairs;
        let mut measured: Vec<Vec<Turn>> = vec![Vec::new(); cases.len()];
        let mut rows = Vec::new();
        let style = ProgressStyle::with_template("{bar:40} {eta} left; {msg}")?;
        // Widens.
        let progress = ProgressBar::new((turns * cases.len()) as u64).with_style(style);
        for number in 1..=turns {
            for (case, measured) in cases.iter().zip(&mut measured) {
                progress.set_message(format!("turn {number}: {case}"));
                measured.push(self.turn(case, number % 2 == 0)?);
                if number == turns {
                    let row = Row::of(case, measured);
                    progress.suspend(|| println!("{}", table::line(&row)));
                    rows.push(row);
                }
                progress.inc(1);
            }
        }
        progress.finish_and_clear();
        Ok(rows)
    }

    /// Each once, in one order or the other.
    fn turn(&self, case: &Case, backwards: bool) -> Result<Turn> {
        let (plain, recording, peer);
        if backwards {
            peer = self.peer(case)?;
            recording = self.ours(case, true)?;
            plain = self.ours(case, false)?;
        } else {
            plain = self.ours(case, false)?;
            recording = self.ours(case, true)?;
            peer = self.peer(case)?;
        }
        Ok(Turn {
            plain,
            recording,
            peer,
        })
    }

    /// The disk, as `vssd serve` takes it; a new file where it is one.
    fn disk(&self, medium: Medium) -> Result<PathBuf> {
        let path = match medium {
            Medium::Raw => self.directory.path().join("disk"),
            Medium::Ram => return Ok(format!("ram:{DISK_BYTES}").into()),
            Medium::Null => return Ok(format!("null:{DISK_BYTES}").into()),
        };
        let file = std::fs::File::create(&path).context("cannot make the disk")?;
        file.set_len(DISK_BYTES).context("cannot make the disk")?;
        Ok(path)
    }

    fn ours(&self, case: &Case, record: bool) -> Result<f64> {
        // A recording goes to a disk, as recordings do.
        let directory = tempfile::tempdir().context("cannot make a directory")?;
        let socket = directory.path().join("bench.sock");
        let trace = directory.path().join("bench.vtr");
        let mut command = Command::new(&self.arguments.common.vssd);
        command.arg("serve").arg(self.disk(case.medium)?);
        command
            .arg("--no-state")
            .arg(case.front.option())
            .arg(&socket);
        if record {
            command.arg("--record").arg(&trace);
        }
        let server = Server::spawn(command, socket, self.cores)?;
        let iops = match case.front {
            Front::VfioUser => nvme::run(server.socket(), DISK_BYTES, case.work)?,
            Front::VhostUser => virtio::run(server.socket(), case.work)?,
        };
        server.stop()?;
        if record {
            is_complete(&trace)?;
        }
        Ok(iops)
    }

    fn peer(&self, case: &Case) -> Result<Option<f64>> {
        let (Front::VhostUser, Medium::Raw | Medium::Null) = (case.front, case.medium) else {
            return Ok(None);
        };
        let socket = self.directory.path().join("peer.sock");
        let disk = self.disk(case.medium)?;
        let command = self.daemon.command(&disk, case, &socket);
        let server = Server::spawn(command, socket, self.cores)?;
        let iops = virtio::run(server.socket(), case.work)?;
        server.stop()?;
        Ok(Some(iops))
    }
}

/// A recording that lost commands would be cheap.
fn is_complete(trace: &Path) -> Result<()> {
    let reader = Reader::open(trace)?;
    anyhow::ensure!(
        reader.recovery().is_none() && reader.totals().lost == 0,
        "the recording is not complete: its cost means nothing"
    );
    Ok(())
}
