//! `vssd serve`: a virtual SSD on a socket, recorded.

mod control;
mod desk;
mod front;
mod live;
mod metrics;
mod observer;
pub(crate) mod payload;
mod plan;
mod recorded;
mod sockets;
mod stats;
mod steer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use tempfile::TempDir;
use traces::{MonotonicClock, Tap};
use vssd::counters::CountingTap;
use vssd::front::ServeError;
use vssd::lanes::Lanes;
use vssd::media::{Layered, Parallel, Snapshot};
use vssd::profile::{BUILT_IN, Profile};
use vssd::worker::StopHandle;
use vssd::{Controller, ControllerConfig, FileStore, Media, OptionalCommand};

use crate::Answer;
use crate::device::size;
use crate::disk::{Disk, parse_bytes};
use crate::media::{DISK, MediaArguments, Opened};
use crate::stop;
use control::StatePlace;
use desk::Desk;
use front::{Front, Server};
use live::LiveArguments;
use metrics::Metrics;
use observer::Observer;
pub(crate) use plan::Label;
use plan::RecordArguments;
use recorded::Recorded;
use sockets::{SocketArguments, Sockets};

/// Where `--help` lists what the drive is.
const DRIVE: &str = "The drive";
/// The guest memory in the options that are printed, MiB.
const GUEST_MIB: u32 = 4096;

/// Serve a virtual SSD to QEMU or to a driver, and record it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: serve an image of 64 GiB, made if need be, and record what the guest does.
  vssd serve disk.img --create 64G --vfio-user /tmp/vssd.sock --record day.vtr

What to add to QEMU's command line is printed once the socket is there. One guest
at a time attaches; each session is recorded into a file of its own: day.vtr,
day-2.vtr, and so on. SIGINT or SIGTERM ends it, with the recording complete.")]
pub(crate) struct ServeArguments {
    /// The disk: an image, raw or qcow2; a drive; ram:SIZE; or null:SIZE.
    disk: Disk,
    /// Be a virtio disk on this socket, for QEMU 7.2 or later and its like.
    #[arg(long, value_name = "SOCKET")]
    vhost_user: Option<PathBuf>,
    #[command(flatten)]
    drive: DriveArguments,
    #[command(flatten)]
    sockets: SocketArguments,
}

impl ServeArguments {
    /// What the disk is to be, on which sockets.
    fn fronts(&self) -> Result<Vec<Front>> {
        let Some(socket) = &self.vhost_user else {
            return Ok(vec![Front::Nvme]);
        };
        let virtio = Front::Virtio(socket.clone());
        if self.drive.vfio_user.is_none() {
            return Ok(vec![virtio]);
        }
        if !matches!(self.disk, Disk::Image(_)) || !self.drive.read_only {
            bail!(
                "two guests that write one disk destroy it: give --vfio-user or --vhost-user, or \
                 both with --read-only for an image"
            );
        }
        let for_one = [
            ("--record", self.drive.recording.record.is_some()),
            ("--control", self.drive.live.control.is_some()),
            ("--metrics", self.drive.live.metrics.is_some()),
        ];
        if let Some((option, _)) = for_one.iter().find(|(_, given)| *given) {
            bail!("{option} is for one guest: give --vfio-user or --vhost-user, and not both");
        }
        Ok(vec![Front::Nvme, virtio])
    }
}

/// What a virtual SSD is to be.
#[derive(Debug, Args)]
pub(crate) struct DriveArguments {
    /// Be an NVMe drive on this socket; by default one in a directory of its own.
    #[arg(long, value_name = "SOCKET")]
    vfio_user: Option<PathBuf>,
    /// Create the image, sparse, where it does not exist.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = DISK)]
    create: Option<u64>,
    /// Refuse writes.
    #[arg(long, help_heading = DISK)]
    read_only: bool,
    /// What drive it is: a profile of your own, or a built-in one (`vssd profile`
    /// lists them). The options below go before what it says.
    #[arg(long, value_name = "FILE|NAME", default_value = "qemu", help_heading = DRIVE)]
    profile: PathBuf,
    /// Serial number; by default the profile's, or one that follows from the
    /// disk's path.
    #[arg(long, value_name = "TEXT", help_heading = DRIVE)]
    serial: Option<String>,
    /// Model number; by default the profile's.
    #[arg(long, value_name = "TEXT", help_heading = DRIVE)]
    model: Option<String>,
    /// Bytes of a logical block, 512 or 4096; by default the profile's.
    #[arg(long, value_name = "BYTES", help_heading = DRIVE)]
    block_size: Option<u32>,
    /// Keep what the drive remembers beside its data (namespaces, formats, saved
    /// features, counters) in this file; by default the disk's path with .vssd
    /// behind it.
    #[arg(long, value_name = "FILE", help_heading = DRIVE)]
    state: Option<PathBuf>,
    /// Remember nothing, and start as a new drive.
    #[arg(long, conflicts_with = "state", help_heading = DRIVE)]
    no_state: bool,
    #[command(flatten)]
    media: MediaArguments,
    #[command(flatten)]
    recording: RecordArguments,
    #[command(flatten)]
    live: LiveArguments,
}

impl DriveArguments {
    /// A drive with nothing special about it, for demonstrations.
    pub(crate) fn plain(socket: PathBuf, record: Option<PathBuf>) -> Self {
        Self {
            create: None,
            vfio_user: Some(socket),
            recording: RecordArguments::over(record),
            serial: None,
            profile: BUILT_IN[0].name.into(),
            model: None,
            block_size: None,
            read_only: false,
            state: None,
            no_state: true,
            media: MediaArguments::default(),
            live: LiveArguments::default(),
        }
    }

    /// The disk that changes when `disk` is written: its overlay, if it has one.
    pub(crate) fn changed(&self, disk: &Disk) -> Disk {
        match disk {
            Disk::Image(path) => Disk::Image(self.media.changed(path).to_owned()),
            other => other.clone(),
        }
    }

    /// Where the drive on `disk` keeps what it remembers.
    fn state_file(&self, disk: &Disk) -> Option<PathBuf> {
        match self.changed(disk) {
            _ if self.no_state => None,
            _ if self.state.is_some() => self.state.clone(),
            // An image that nobody writes is as it was.
            Disk::Image(path) if !self.read_only => Some(state_beside(&path)),
            Disk::Image(_) | Disk::Ram(_) | Disk::Null(_) => None,
        }
    }

    /// Has the drive take on what it remembers, and remember what changes.
    fn remember<M: Media, T: Tap>(
        &self,
        controller: &mut Controller<M, T, MonotonicClock>,
        disk: &Disk,
    ) -> Result<()> {
        let Some(path) = self.state_file(disk) else {
            return Ok(());
        };
        if let Some(state) = FileStore::load(&path)? {
            let formatted = state.block_bytes(1);
            if let (Some(wanted), Some(there)) = (self.block_size, formatted)
                && wanted != there
            {
                bail!(
                    "namespace 1 is formatted with blocks of {there} bytes, as {} remembers: \
                     format it (`vssd device format`), or give --no-state for a new drive",
                    path.display()
                );
            }
            controller
                .restore(state)
                .with_context(|| format!("cannot use {}", path.display()))?;
        }
        controller.set_store(Box::new(FileStore::new(&path)));
        Ok(())
    }

    /// These arguments, with a label on the recording.
    pub(crate) fn labelled(mut self, name: &str, value: &str) -> Self {
        self.recording.label.push(Label {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    /// What the drive is made to be: the profile, and the options before it.
    fn config(&self, disk: &Disk) -> Result<ControllerConfig> {
        let mut profile = Profile::named(&self.profile)?;
        let identity = &mut profile.identity;
        let serial = self.serial.clone().or(identity.serial.take());
        identity.serial = Some(serial.unwrap_or_else(|| serial_of(disk)));
        if let Some(model) = &self.model {
            identity.model.clone_from(model);
        }
        if let Some(bytes) = self.block_size {
            profile.capacity.block_bytes = bytes;
        }
        profile.to_config().with_context(|| {
            format!(
                "--serial, --model and --block-size do not go with the profile {}",
                self.profile.display()
            )
        })
    }

    /// Where the state of this drive goes when a snapshot is taken.
    fn state_place(&self) -> StatePlace {
        if self.no_state || self.state.is_some() {
            StatePlace::Fixed
        } else {
            StatePlace::Beside
        }
    }
}

/// Where the drive on the image at `path` keeps what it remembers, unless told
/// otherwise.
fn state_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".vssd");
    name.into()
}

/// A serial number that is the same at every start and another for every disk: a
/// guest refuses a second drive of the same name.
fn serial_of(disk: &Disk) -> String {
    let hash = match disk {
        Disk::Ram(_) | Disk::Null(_) => std::process::id(),
        Disk::Image(path) => {
            let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
            crc32fast::hash(whole.as_os_str().as_encoded_bytes())
        }
    };
    format!("VSSD{hash:08X}")
}

/// Runs `vssd serve`.
pub(crate) fn run(arguments: &ServeArguments) -> Result<Answer> {
    let mut all = Vec::new();
    let sockets = arguments.sockets.understand()?;
    for front in arguments.fronts()? {
        all.push(Serving::start_as(
            front,
            &arguments.disk,
            &arguments.drive,
            sockets.clone(),
        )?);
    }
    let stoppers: Vec<_> = all.iter().map(Serving::stopper).collect();
    stop::on_signal(1, move |_| stoppers.iter().for_each(|stop| stop()))?;
    // Who reads that it serves may end it with a signal, too.
    for serving in &all {
        println!("{}", serving.qemu_options()?);
    }
    for serving in all {
        serving.finish()?;
    }
    Ok(Answer::Yes)
}

/// A virtual SSD that a thread serves.
pub(crate) struct Serving {
    front: Front,
    socket: PathBuf,
    bytes: u64,
    stop: StopHandle,
    thread: JoinHandle<Result<(), ServeError>>,
    desk: Arc<Desk>,
    /// Who answers those that look at the drive.
    control: Option<rpc::Server>,
    metrics: Option<Metrics>,
    /// The directory of a socket that has no name of its own.
    _directory: Option<TempDir>,
}

impl Serving {
    /// Opens `disk` and serves it as an NVMe drive. The socket is there when this
    /// returns.
    pub(crate) fn start(disk: &Disk, arguments: &DriveArguments) -> Result<Self> {
        Self::start_as(Front::Nvme, disk, arguments, Sockets::default())
    }

    fn start_as(
        front: Front,
        disk: &Disk,
        arguments: &DriveArguments,
        sockets: Sockets,
    ) -> Result<Self> {
        let media = &arguments.media;
        match media.open(disk, arguments.create, arguments.read_only)? {
            Opened::Ram(media) => Self::start_on(media, front, arguments, disk, sockets),
            Opened::Null(media) => Self::start_on(media, front, arguments, disk, sockets),
            Opened::Uring(media) => {
                Self::start_on(Layered::new(*media), front, arguments, disk, sockets)
            }
            Opened::Sync(media) => {
                Self::start_on(Layered::new(media), front, arguments, disk, sockets)
            }
            Opened::Qcow2(media) => {
                Self::start_on(Layered::new(media), front, arguments, disk, sockets)
            }
        }
    }

    fn start_on<M: Snapshot + Parallel + Send + 'static>(
        media: M,
        front: Front,
        arguments: &DriveArguments,
        disk: &Disk,
        sockets: Sockets,
    ) -> Result<Self> {
        let bytes = media.info().bytes;
        let plan = arguments.recording.plan();
        if let Some(plan) = &plan {
            plan.check()?;
        }
        let clock = MonotonicClock::start();
        let mut config = arguments.config(disk)?;
        if sockets.options.trap_doorbells {
            // Nobody would tell of what is stored in these.
            config.withheld.push(OptionalCommand::DoorbellBuffer);
        }
        let counters = arguments.live.counters(config.queue_pairs_max)?;
        let observer = Observer {
            recording: None,
            counters: counters.clone().map(CountingTap::new),
        };
        let mut controller = Controller::new(config, media, observer, clock)?;
        arguments.remember(&mut controller, disk)?;
        let (socket, directory) = match (&front, &arguments.vfio_user) {
            (Front::Virtio(path), _) | (Front::Nvme, Some(path)) => (path.clone(), None),
            (Front::Nvme, None) => {
                let directory = tempfile::Builder::new()
                    .prefix("vssd-")
                    .tempdir()
                    .context("cannot make a directory for the socket: give --vfio-user SOCKET")?;
                (directory.path().join("nvme.sock"), Some(directory))
            }
        };
        let mut server = Server::bind(&front, &socket, sockets.options, &controller)?;
        let stop = StopHandle::new().context("cannot make an event descriptor")?;
        let handle = stop.clone();
        let desk = Desk::new(stop.clone(), counters, clock);
        let is_limited = front == Front::Nvme;
        let mut drive = Lanes::alone(controller);
        if sockets.more_workers > 0 {
            let of_each = sockets.clone();
            let begin: Arc<dyn Fn(usize) + Send + Sync> = Arc::new(move |at| of_each.pin(at));
            drive = drive
                .with_threads(sockets.more_workers, sockets.lanes, &stop, &begin)
                .context("cannot start a thread")?;
        }
        let mut recorded = Recorded::new(drive, plan, is_limited, Arc::clone(&desk));
        let live = &arguments.live;
        let metrics = live.metrics.map(|at| Metrics::start(at, &desk));
        let metrics = metrics.transpose()?;
        let place = arguments.state_place();
        let control = live.control.as_deref();
        let control = control.map(|path| control::start(path, &desk, place));
        let control = control.transpose()?;
        let thread = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || {
                sockets.pin(0);
                server.run(&mut recorded, &handle)
            })
            .context("cannot start a thread")?;
        Ok(Self {
            front,
            socket,
            bytes,
            stop,
            thread,
            desk,
            control,
            metrics,
            _directory: directory,
        })
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What tells the server to stop.
    pub(crate) fn stopper(&self) -> impl Fn() + Send + 'static {
        let stop = self.stop.clone();
        move || stop.stop()
    }

    /// Whether the server has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Tells the server to stop, and waits until it has.
    pub(crate) fn stop(self) -> Result<()> {
        self.stop.stop();
        self.finish()
    }

    /// Waits until the server has ended; its recording is complete then.
    pub(crate) fn finish(self) -> Result<()> {
        self.thread
            .join()
            .map_err(|_| anyhow!("the worker died: this is a bug in vssd"))??;
        // Nobody begins a recording any more.
        drop((self.control, self.metrics));
        if let Some(running) = self.desk.running().take() {
            recorded::tell_end(running.handle.stop());
        }
        Ok(())
    }

    /// What to add to QEMU's command line.
    fn qemu_options(&self) -> Result<String> {
        let (options, version, more) = match self.front {
            Front::Nvme => {
                let options = qemu::vfio_user_options(&self.socket, GUEST_MIB)?;
                (options, "10.1", "")
            }
            Front::Virtio(_) => {
                let options = qemu::vhost_user_options(&self.socket, GUEST_MIB)?;
                let more = "\nWith ,reconnect-ms=1000 behind the socket (before QEMU 9.2: \
                            ,reconnect=1) the guest goes on after vssd was started again.\n";
                (options, "7.2", more)
            }
        };
        let words: Vec<&str> = options.iter().map(String::as_str).collect();
        // An option and its value to a line.
        let lines: Vec<String> = words
            .chunks(2)
            .map(|pair| qemu::command_line(pair.iter().copied()))
            .collect();
        Ok(format!(
            "A virtual SSD of {} listens on {}.\n\
             Add this to the command line of QEMU {version} or later, for a guest with {GUEST_MIB} MiB:\n\n  {}\n{more}",
            size(self.bytes),
            self.socket.display(),
            lines.join(" \\\n  ")
        ))
    }
}

#[cfg(test)]
mod tests;
