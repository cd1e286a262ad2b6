//! A process `vssd serve`, and what it says.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use qemu::Drive;
use rustix::process::{Pid, Signal, kill_process};

use super::program::vssd_program;
use super::time::{pause, until};

/// How long the program may take to start and to end.
const PROMPTLY: Duration = Duration::from_secs(20);

/// How long guests ask a server that is stopped.
const PILE_UP: Duration = Duration::from_millis(400);

/// What a thread of a server has used so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// How often it slept and was woken.
    pub wakes: u64,
    /// How long it ran on a processor, nanoseconds.
    pub ran_ns: u64,
}

/// A virtual SSD to be served.
#[derive(Debug)]
pub struct Serve {
    program: OsString,
    arguments: Vec<OsString>,
    socket: PathBuf,
    virtio: bool,
}

impl Serve {
    /// The drive on `disk`, a path or `ram:SIZE`, at a socket `name`.sock in `dir`.
    #[must_use]
    pub fn new(disk: impl Into<OsString>, dir: &Path, name: &str) -> Self {
        Self::over("--vfio-user", disk, dir, name)
    }

    /// The same, as a virtio disk.
    #[must_use]
    pub fn virtio(disk: impl Into<OsString>, dir: &Path, name: &str) -> Self {
        Self {
            virtio: true,
            ..Self::over("--vhost-user", disk, dir, name)
        }
    }

    fn over(front: &str, disk: impl Into<OsString>, dir: &Path, name: &str) -> Self {
        let socket = dir.join(format!("{name}.sock"));
        let arguments = vec![
            "serve".into(),
            disk.into(),
            front.into(),
            socket.clone().into(),
        ];
        Self {
            program: vssd_program().into(),
            arguments,
            socket,
            virtio: false,
        }
    }

    /// Records into `trace`.
    #[must_use]
    pub fn record(self, trace: &Path) -> Self {
        self.with("--record", trace)
    }

    /// Serves with so many threads: all the time, where there are several.
    #[must_use]
    pub fn workers(self, count: u16) -> Self {
        if count == 1 {
            return self;
        }
        self.with("--workers", count.to_string())
            .with("--poll", "busy")
    }

    /// Adds an option and its value.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<OsString>) -> Self {
        self.arguments.extend([option.into(), value.into()]);
        self
    }

    /// Adds an option that has no value.
    #[must_use]
    pub fn flag(mut self, option: &str) -> Self {
        self.arguments.push(option.into());
        self
    }

    /// Starts the program by way of another one, to which its command line is given.
    #[must_use]
    pub fn by_way_of(mut self, wrapper: &[&str]) -> Self {
        let Some((first, rest)) = wrapper.split_first() else {
            return self;
        };
        let mut arguments: Vec<OsString> = rest.iter().map(OsString::from).collect();
        arguments.push(self.program);
        arguments.append(&mut self.arguments);
        self.program = first.into();
        self.arguments = arguments;
        self
    }

    /// Starts it; a guest can attach when this returns.
    ///
    /// # Panics
    ///
    /// Where it does not start; the message holds what it said.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Server {
        self.try_start()
            .unwrap_or_else(|log| panic!("vssd did not start:\n{log}"))
    }

    /// Starts it; a guest can attach when this returns.
    ///
    /// # Errors
    ///
    /// What it said, where it ended instead.
    ///
    /// # Panics
    ///
    /// Where it neither starts nor ends.
    #[track_caller]
    pub fn try_start(self) -> Result<Server, String> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", self.program.display()));
        let said = child.stdout.take().map(listen).expect("it was piped");
        let log = child.stderr.take().map(listen).expect("it was piped");
        let mut server = Server {
            child,
            socket: self.socket,
            virtio: self.virtio,
            said,
            log,
        };
        let ready = until(PROMPTLY, "socket of vssd", || {
            let listens = server
                .said()
                .iter()
                .any(|line| line.contains("vfio-user-pci") || line.contains("vhost-user-blk"));
            if listens && server.socket.exists() {
                return Some(true);
            }
            server.ended().map(|_status| false)
        });
        if ready {
            Ok(server)
        } else {
            Err(server.story())
        }
    }
}

type Lines = Arc<Mutex<Vec<String>>>;

/// Keeps the lines that come through `pipe`.
fn listen(pipe: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            kept.lock().expect("nothing panics with it").push(line);
        }
    });
    lines
}

/// A running `vssd serve`. Dropping it ends it with SIGKILL.
#[derive(Debug)]
pub struct Server {
    child: Child,
    socket: PathBuf,
    virtio: bool,
    said: Lines,
    log: Lines,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How the command line of `vssd` calls it.
    #[must_use]
    pub fn device(&self) -> String {
        format!("vfio-user:{}", self.socket.display())
    }

    /// It, as a drive of a guest.
    #[must_use]
    pub fn drive(&self) -> Drive {
        let socket = self.socket.clone();
        if self.virtio {
            Drive::VhostUser { socket }
        } else {
            Drive::VfioUser { socket }
        }
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asserts that so many threads have served.
    ///
    /// # Panics
    ///
    /// Where it has fewer, or one of them has had nothing to do.
    pub fn had_workers(&self, count: u16) {
        let worked =
            |thread: &Thread| thread.name.starts_with("worker") && thread.ran_ns > 100_000_000;
        let served = self.threads().into_iter().filter(worked).count();
        assert_eq!(served, usize::from(count), "threads that served");
    }

    /// Its threads, and what each has used so far.
    ///
    /// # Panics
    ///
    /// Where it does not run, or the kernel does not count.
    #[must_use]
    pub fn threads(&self) -> Vec<Thread> {
        let threads = format!("/proc/{}/task", self.id());
        let tasks = fs::read_dir(&threads).unwrap_or_else(|e| panic!("{threads}: {e}"));
        let first = |text: &str| {
            let word = text.split_whitespace().next();
            word.and_then(|word| word.parse().ok())
        };
        let used = |task: fs::DirEntry| {
            let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let status = read("status");
            let sleeps = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            Thread {
                name: read("comm"),
                wakes: sleeps.and_then(first).expect("the kernel counts them"),
                ran_ns: first(&read("schedstat")).unwrap_or(0),
            }
        };
        tasks.flatten().map(used).collect()
    }

    /// What it printed so far.
    ///
    /// # Panics
    ///
    /// Never: nothing panics while it holds the lock.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("nothing panics with it").clone()
    }

    /// What it logged so far.
    ///
    /// # Panics
    ///
    /// Never: nothing panics while it holds the lock.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("nothing panics with it").clone()
    }

    /// The lines of the log that name a warning or an error.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut lines = self.log();
        lines.retain(|line| line.starts_with("warning: ") || line.starts_with("error: "));
        lines
    }

    /// Waits until `count` lines of the log contain `pattern`.
    ///
    /// # Panics
    ///
    /// Where there are fewer after a while.
    #[track_caller]
    pub fn wait_for_log(&self, pattern: &str, count: usize) {
        let what = format!("{count} lines with {pattern:?} in {:#?}", self.log());
        until(PROMPTLY, &what, || {
            let found = self
                .log()
                .iter()
                .filter(|line| line.contains(pattern))
                .count();
            (found >= count).then_some(())
        });
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    ///
    /// Where the system does not say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for")
    }

    /// Whether it runs, as it always should.
    ///
    /// # Panics
    ///
    /// Where it does not; the message holds what it said.
    #[track_caller]
    pub fn is_well(&mut self) {
        if let Some(status) = self.ended() {
            panic!("vssd ended with {status}:\n{}", self.story());
        }
    }

    /// Ends it with SIGKILL, `later` after it had a lot to do at once: it was stopped
    /// for a moment, in which its guests went on asking.
    ///
    /// # Panics
    ///
    /// Where it was not running.
    #[track_caller]
    pub fn kill_at_work(mut self, later: Duration) {
        self.is_well();
        let id = Pid::from_child(&self.child);
        kill_process(id, Signal::STOP).expect("a child can be signalled");
        pause(PILE_UP);
        kill_process(id, Signal::CONT).expect("a child can be signalled");
        pause(later);
        self.kill();
    }

    /// Ends it with SIGKILL.
    ///
    /// # Panics
    ///
    /// Where it was not running.
    #[track_caller]
    pub fn kill(mut self) {
        self.is_well();
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Ends it with SIGTERM, which must be a success, and returns its log.
    ///
    /// # Panics
    ///
    /// Where it was not running, or does not end well.
    #[track_caller]
    pub fn terminate(mut self) -> Vec<String> {
        self.is_well();
        let id = Pid::from_child(&self.child);
        kill_process(id, Signal::TERM).expect("a child can be signalled");
        let status = until(PROMPTLY, "end of vssd after SIGTERM", || self.ended());
        assert!(
            status.success(),
            "vssd ended with {status}:\n{}",
            self.story()
        );
        self.log()
    }

    /// Everything that it said, for a message.
    #[must_use]
    pub fn story(&self) -> String {
        let mut lines = self.said();
        lines.extend(self.log());
        lines.join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ended_meanwhile = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}
