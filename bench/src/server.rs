//! The server under measurement: a process of its own, on a core of its own.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of a benchmark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// For the server.
    pub(crate) server: usize,
    /// For the client.
    pub(crate) client: usize,
}

impl Cores {
    /// Two different cores of those that this process may use.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot ask which cores may be used")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        match (cores.next(), cores.next()) {
            (Some(server), Some(client)) => Ok(Self { server, client }),
            _ => bail!("this benchmark needs two cores: allow this process another one"),
        }
    }

    /// Lets this thread, and whatever it starts, run on either.
    pub(crate) fn release(self) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(self.server);
        set.set(self.client);
        sched_setaffinity(None, &set).context("cannot run on both cores")
    }
}

/// Runs this thread, and whatever it starts, on `core` only.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core} only"))
}

/// A server that is killed when dropped: `vssd serve`, or a peer of it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts `vssd serve DISK` with `arguments`, on `cores.server`, and waits
    /// until it listens. The calling thread is on `cores.client` afterwards.
    pub(crate) fn start(
        vssd: &Path,
        disk: &str,
        arguments: &[&str],
        socket: PathBuf,
        cores: Cores,
    ) -> Result<Self> {
        let mut command = Command::new(vssd);
        command
            .args(["serve", disk, "--vfio-user"])
            .arg(&socket)
            .args(arguments);
        Self::spawn(command, socket, cores)
    }

    /// The same with a command of the caller's, which makes `socket`.
    pub(crate) fn spawn(command: Command, socket: PathBuf, cores: Cores) -> Result<Self> {
        pin(cores.server)?;
        let server = Self::spawn_here(command, socket);
        pin(cores.client)?;
        server
    }

    /// The same on the cores of the calling thread, which stays on them.
    pub(crate) fn spawn_here(mut command: Command, socket: PathBuf) -> Result<Self> {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut server = Self { child, socket };
        server.await_socket()?;
        Ok(server)
    }

    #[expect(clippy::disallowed_methods, reason = "another process is waited for")]
    fn await_socket(&mut self) -> Result<()> {
        for _ in 0..500 {
            if self.socket.exists() {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut said = String::new();
        let _ = self.child.kill();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut said)?;
        }
        bail!("the server does not listen; it said: {}", said.trim())
    }

    /// Its process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What those of its threads whose names suit have used of processors so far.
    pub(crate) fn cpu_seconds(&self, suits: impl Fn(&str) -> bool) -> Result<f64> {
        let tasks = format!("/proc/{}/task", self.id());
        let mut total = 0.0;
        for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            let task = task?.path();
            let name = fs::read_to_string(task.join("comm"))?;
            if suits(name.trim_end()) {
                let text = fs::read_to_string(task.join("schedstat"))?;
                let on_cpu_ns = text.split_whitespace().next().unwrap_or("0");
                total += on_cpu_ns.parse::<f64>()? / 1e9;
            }
        }
        Ok(total)
    }

    /// The socket that it listens on.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends it as a user would, and waits.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
