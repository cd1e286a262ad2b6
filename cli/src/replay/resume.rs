//! `--resume FILE`: where a replay ended, so that it can go on.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use replayer::Position;
use serde::{Deserialize, Serialize};

use super::Choices;

/// How to be able to go on.
pub(super) const HINT: &str = "add --resume FILE";

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u32,
    /// The traces, in order.
    traces: Vec<Identity>,
    /// How they are put together, and what is left out.
    selection: String,
    /// What was done.
    position: Position,
}

/// Which file it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    path: PathBuf,
    bytes: u64,
    /// CRC-32 of its first and last 64 KiB.
    crc32: u32,
}

const VERSION: u32 = 1;
const ENDS_BYTES: u64 = 64 << 10;

impl Identity {
    fn of(path: &Path) -> Result<Self> {
        let read = || {
            let mut file = File::open(path)?;
            let bytes = file.metadata()?.len();
            let mut ends = Vec::new();
            (&mut file).take(ENDS_BYTES).read_to_end(&mut ends)?;
            file.seek(SeekFrom::Start(bytes.saturating_sub(ENDS_BYTES)))?;
            file.take(ENDS_BYTES).read_to_end(&mut ends)?;
            Ok::<_, std::io::Error>((bytes, crc32fast::hash(&ends)))
        };
        let (bytes, crc32) = read().with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            crc32,
        })
    }

    /// Whether it is the same trace, wherever it is now.
    const fn is(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.crc32 == other.crc32
    }
}

/// The file, and what it said.
#[derive(Debug)]
pub(super) struct Resume {
    path: PathBuf,
    state: State,
}

impl Resume {
    /// Reads the file; where there is none, nothing was done.
    pub(super) fn open(path: &Path, traces: &[PathBuf], choices: &Choices) -> Result<Self> {
        let now = State {
            version: VERSION,
            traces: traces
                .iter()
                .map(|path| Identity::of(path))
                .collect::<Result<_>>()?,
            selection: format!("{:?} {:?}", choices.order, choices.filter),
            position: Position::default(),
        };
        let name = path.display();
        let state = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => now,
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
            Ok(bytes) => {
                let then: State = serde_json::from_slice(&bytes)
                    .with_context(|| format!("{name} is not the state of a replay"))?;
                check(&now, &then, path)?;
                State {
                    position: then.position,
                    ..now
                }
            }
        };
        let Position { passes, commands } = state.position;
        if passes > 0 || commands > 0 {
            log::info!("{name}: going on after {passes} passes and {commands} commands");
        }
        Ok(Self {
            path: path.to_owned(),
            state,
        })
    }

    /// What was done before.
    pub(super) const fn position(&self) -> Position {
        self.state.position
    }

    /// The replay is complete: the file goes.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    /// The replay has ended at this place, which is written down.
    pub(super) fn note(&self, position: Position) -> Result<()> {
        let name = self.path.display();
        let state = State {
            position,
            ..self.state.clone()
        };
        // Whole or not at all: an interrupted write must not lose the place.
        let parent = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        let directory = parent.unwrap_or_else(|| Path::new("."));
        let write = || {
            let file = tempfile::NamedTempFile::new_in(directory)?;
            serde_json::to_writer_pretty(&file, &state)?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            Ok::<_, anyhow::Error>(())
        };
        write().with_context(|| format!("cannot write {name}"))?;
        log::info!(
            "{name}: {} passes and {} commands are done; the same command goes on from there",
            position.passes,
            position.commands
        );
        Ok(())
    }
}

fn check(now: &State, then: &State, path: &Path) -> Result<()> {
    let name = path.display();
    if then.version != VERSION {
        bail!("{name} is of another version of vssd: remove it to start from the beginning");
    }
    let same = now.traces.len() == then.traces.len()
        && now.traces.iter().zip(&then.traces).all(|(a, b)| a.is(b));
    if !same {
        let traces: Vec<String> = then
            .traces
            .iter()
            .map(|trace| trace.path.display().to_string())
            .collect();
        bail!(
            "{name} is of a replay of other traces ({}): choose another file, or remove it to \
             start from the beginning",
            traces.join(", ")
        );
    }
    if now.selection != then.selection {
        bail!(
            "{name} is of a replay with other filters, or another --merge: repeat them, or remove \
             it to start from the beginning"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use replayer::Pace;

    use super::*;

    #[test]
    fn a_place_is_found_again_for_the_same_traces_and_filters() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a.vtr"), vec![7; 300_000]).unwrap();
        fs::write(at("b.vtr"), vec![8; 300_000]).unwrap();
        let (state, traces) = (at("state"), [at("a.vtr")]);
        let choices = Choices::at(Pace::Recorded);
        let first = Resume::open(&state, &traces, &choices).unwrap();
        assert_eq!(first.position(), Position::default());
        let position = Position {
            passes: 2,
            commands: 17,
        };
        first.note(position).unwrap();
        let again = Resume::open(&state, &traces, &choices).unwrap();
        assert_eq!(again.position(), position);

        let other = Resume::open(&state, &[at("b.vtr")], &choices).unwrap_err();
        assert!(other.to_string().contains("other traces"), "{other}");
        let mut filtered = choices.clone();
        filtered.filter.lbas = Some(0..=5);
        let other = Resume::open(&state, &traces, &filtered).unwrap_err();
        assert!(other.to_string().contains("other filters"), "{other}");

        again.remove().unwrap();
        assert!(!state.exists(), "a replay that is complete leaves nothing");
        again.remove().unwrap();
    }
}
