//! `--resume FILE`: where a replay ended on each device, so that it can go on.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context as _, Result, bail};
use replayer::Position;
use serde::{Deserialize, Serialize};

use super::Choices;
use crate::device::Device;

/// How to be able to go on.
pub(super) const HINT: &str = "add --resume FILE";
/// What to do where there is nothing to go on with.
pub(super) const ANEW: &str =
    "give more --loops, or remove the file of --resume to start from the beginning";

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u32,
    /// The traces, in order.
    traces: Vec<Identity>,
    /// How they are put together, and what is left out.
    selection: String,
    /// In the order of the command line.
    devices: Vec<Place>,
}

/// What was done on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    device: String,
    /// Its serial number; none where it was never brought up.
    serial: Option<String>,
    position: Position,
}

/// What every version has.
#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

/// Which file it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    path: PathBuf,
    bytes: u64,
    /// CRC-32 of its first and last 64 KiB.
    crc32: u32,
}

const VERSION: u32 = 2;
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

impl Place {
    /// Nothing was done.
    fn of(device: &Device) -> Self {
        let device = match device {
            // The directory may be another one the next time.
            Device::VfioUser(path) => {
                Device::VfioUser(absolute(path).unwrap_or_else(|_| path.clone()))
            }
            pci @ Device::Pci(_) => pci.clone(),
        };
        Self {
            device: device.to_string(),
            serial: None,
            position: Position::default(),
        }
    }
}

impl Resume {
    /// Reads the file; where there is none, nothing was done.
    pub(super) fn open(
        path: &Path,
        traces: &[PathBuf],
        devices: &[Device],
        choices: &Choices,
    ) -> Result<Self> {
        let now = State {
            version: VERSION,
            traces: traces
                .iter()
                .map(|path| Identity::of(path))
                .collect::<Result<_>>()?,
            selection: format!("{:?} {:?}", choices.order, choices.filter),
            devices: devices.iter().map(Place::of).collect(),
        };
        let name = path.display();
        let state = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => now,
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
            Ok(bytes) => {
                let Version { version } = serde_json::from_slice(&bytes)
                    .with_context(|| format!("{name} is not the state of a replay"))?;
                if version != VERSION {
                    bail!(
                        "{name} is of another version of vssd: remove it to start from the beginning"
                    );
                }
                let then: State = serde_json::from_slice(&bytes)
                    .with_context(|| format!("{name} is not the state of a replay"))?;
                let devices = check(&now, &then, path)?;
                State { devices, ..now }
            }
        };
        Ok(Self {
            path: path.to_owned(),
            state,
        })
    }

    /// What was done before on the device of this number.
    pub(super) fn position(&self, index: usize) -> Position {
        let place = self.state.devices.get(index);
        place
            .map(|place| place.position.clone())
            .unwrap_or_default()
    }

    /// The device of this number says that its serial number is `serial`.
    pub(super) fn meet(&mut self, index: usize, serial: &str) -> Result<()> {
        let Some(place) = self.state.devices.get_mut(index) else {
            return Ok(());
        };
        let before = place.serial.get_or_insert_with(|| serial.to_owned());
        if *before != serial {
            bail!(
                "{} is of a replay to another drive at {}, with the serial number {before}, and \
                 not {serial}: go on with that one, or remove it to start from the beginning",
                self.path.display(),
                place.device
            );
        }
        let Position { passes, reached } = &place.position;
        if place.position != Position::default() {
            let (device, commands) = (&place.device, reached.count());
            log::info!("{device}: going on after {passes} passes and {commands} commands");
        }
        Ok(())
    }

    /// The replay to the devices of these numbers has ended at these places, which
    /// are written down; but where it `is_over` on all devices, the file goes.
    pub(super) fn end(
        &mut self,
        places: Vec<(usize, Position)>,
        is_over: impl Fn(&Position) -> bool,
    ) -> Result<()> {
        for (index, position) in places {
            if let Some(place) = self.state.devices.get_mut(index) {
                place.position = position;
            }
        }
        if self.state.devices.iter().all(|it| is_over(&it.position)) {
            return self.remove();
        }
        self.write()?;
        for place in &self.state.devices {
            let Position { passes, reached } = &place.position;
            let (device, commands) = (&place.device, reached.count());
            log::info!("{device}: {passes} passes and {commands} commands are done");
        }
        let name = self.path.display();
        log::info!("{name}: the same command goes on from there");
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    fn write(&self) -> Result<()> {
        // Whole or not at all: an interrupted write must not lose the place.
        let parent = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        let directory = parent.unwrap_or_else(|| Path::new("."));
        let write = || {
            let file = tempfile::NamedTempFile::new_in(directory)?;
            serde_json::to_writer_pretty(&file, &self.state)?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            Ok::<_, anyhow::Error>(())
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Holds what the file says against what is to be replayed now. Returns where it
/// stood on each device, in the order of the devices now.
fn check(now: &State, then: &State, path: &Path) -> Result<Vec<Place>> {
    let name = path.display();
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
    let mut places = Vec::new();
    for Place { device, .. } in &now.devices {
        places.extend(then.devices.iter().find(|it| it.device == *device).cloned());
    }
    if places.len() != now.devices.len() || places.len() != then.devices.len() {
        let devices: Vec<&str> = then.devices.iter().map(|it| it.device.as_str()).collect();
        bail!(
            "{name} is of a replay to other devices ({}): name all of them and no other, choose \
             another file, or remove it to start from the beginning",
            devices.join(", ")
        );
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use replayer::{Pace, Reached};

    use super::*;

    fn devices<const N: usize>(names: [&str; N]) -> [Device; N] {
        names.map(|name| name.parse().unwrap())
    }

    #[test]
    fn places_are_found_again_for_the_same_traces_filters_and_devices() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a.vtr"), vec![7; 300_000]).unwrap();
        fs::write(at("b.vtr"), vec![8; 300_000]).unwrap();
        let (state, traces) = (at("state"), [at("a.vtr")]);
        let choices = Choices::at(Pace::Recorded);
        let both = devices(["vfio-user:/tmp/a", "0000:01:00.0"]);
        let open = |devices: &[Device]| Resume::open(&state, &traces, devices, &choices);
        let mut first = open(&both).unwrap();
        assert_eq!(first.position(0), Position::default());
        first.meet(0, "A").unwrap();
        first.meet(1, "B").unwrap();
        let place = |passes, commands, beyond: &[std::ops::Range<u64>]| Position {
            passes,
            reached: Reached {
                commands,
                beyond: beyond.to_vec(),
            },
        };
        let [one, other] = [place(2, 17, &[19..25, 30..31]), place(1, 5, &[])];
        let is_over = |place: &Position| place.passes >= 3;
        let ended = vec![(0, one.clone()), (1, other.clone())];
        first.end(ended, is_over).unwrap();

        let [a, b] = &both;
        let mut again = open(&[b.clone(), a.clone()]).unwrap();
        assert_eq!(again.position(0), other, "whatever their order");
        assert_eq!(again.position(1), one);
        again.meet(0, "B").unwrap();
        let swapped = again.meet(1, "B").unwrap_err().to_string();
        assert!(swapped.contains("serial number A"), "{swapped}");

        let third = devices(["0000:02:00.0"]);
        let [c] = &third;
        for other in [
            &both[..1],
            &[a.clone(), c.clone()],
            &[a.clone(), b.clone(), c.clone()],
        ] {
            let refused = open(other).unwrap_err().to_string();
            assert!(
                refused.contains("(vfio-user:/tmp/a, 0000:01:00.0)"),
                "{refused}"
            );
        }
        let other = Resume::open(&state, &[at("b.vtr")], &both, &choices).unwrap_err();
        assert!(other.to_string().contains("other traces"), "{other}");
        let mut filtered = choices.clone();
        filtered.filter.lbas = Some(0..=5);
        let other = Resume::open(&state, &traces, &both, &filtered).unwrap_err();
        assert!(other.to_string().contains("other filters"), "{other}");

        again
            .end(vec![(0, Position::after_passes(3))], is_over)
            .unwrap();
        assert!(state.exists(), "the other device is not there yet");
        let mut last = open(&both).unwrap();
        last.end(vec![(0, Position::after_passes(3))], is_over)
            .unwrap();
        assert!(!state.exists(), "a replay that is complete leaves nothing");
        last.end(vec![], is_over).unwrap();
    }

    #[test]
    fn a_file_of_another_version_is_told_as_that() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let choices = Choices::at(Pace::Recorded);
        let open = || {
            Resume::open(&state, &[], &[], &choices)
                .unwrap_err()
                .to_string()
        };
        fs::write(&state, r#"{"version": 1, "position": 7}"#).unwrap();
        assert!(open().contains("another version"), "{}", open());
        fs::write(&state, "7").unwrap();
        assert!(open().contains("not the state of a replay"), "{}", open());
    }
}
