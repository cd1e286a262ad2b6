//! A guest that runs.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::MutexGuard,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    channel::{Channel, Heard},
    outcome::JobOutcome,
    process::Process,
};
use crate::{KitError, quote};

/// How much of the console an error quotes, in lines.
const SERIAL_LINES: usize = 40;
/// How long a killed process may take to end, and a control socket to answer.
const PROMPTLY: Duration = Duration::from_secs(10);
/// As good as for ever.
const LONG: Duration = Duration::from_secs(1 << 30);

/// The files of one guest, removed with it.
#[derive(Debug)]
pub(crate) struct Place {
    dir: tempfile::TempDir,
    serial: PathBuf,
}

impl Place {
    pub(crate) fn new(serial_log: Option<PathBuf>) -> Result<Self, KitError> {
        let dir = tempfile::Builder::new()
            .prefix("vssd-guest-")
            .tempdir()
            .map_err(KitError::io("create a directory in", std::env::temp_dir()))?;
        let serial = serial_log.unwrap_or_else(|| dir.path().join("console.log"));
        Ok(Self { dir, serial })
    }

    pub(crate) fn job(&self) -> PathBuf {
        self.dir.path().join("job")
    }

    pub(crate) fn vars(&self) -> PathBuf {
        self.dir.path().join("uefi-vars.fd")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.dir.path().join("qmp.sock")
    }

    pub(crate) fn serial(&self) -> &Path {
        &self.serial
    }
}

/// A running guest. Dropping it ends it at once; so does the end of this process,
/// however that comes.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    channel: Channel,
    place: Place,
    command: String,
    lines_seen: usize,
}

impl Guest {
    pub(crate) fn start(qemu: &Path, args: Vec<String>, place: Place) -> Result<Self, KitError> {
        let program = qemu.to_string_lossy();
        let words = std::iter::once(&*program).chain(args.iter().map(String::as_str));
        let line = quote::command_line(words);
        let mut command = Command::new(qemu);
        command.args(&args);
        let channel = Channel::default();
        let teller = channel.clone();
        let (process, pipes) = Process::start(command, move |status| {
            // A status that cannot be had counts as any other failure.
            teller.ended(status.unwrap_or_default());
        })
        .map_err(|source| KitError::Tool {
            program: program.into_owned(),
            source,
            hint: "is the cache directory mounted noexec?",
        })?;
        pipes.stdout.into_iter().for_each(|p| channel.listen(p));
        pipes.stderr.into_iter().for_each(|p| channel.listen(p));
        Ok(Self {
            process,
            channel,
            place,
            command: line,
            lines_seen: 0,
        })
    }

    /// The command line that it runs by, quoted for a shell.
    #[must_use]
    pub fn command_line(&self) -> &str {
        &self.command
    }

    /// QEMU's process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The file that holds the guest's console.
    #[must_use]
    pub fn serial_log(&self) -> &Path {
        self.place.serial()
    }

    /// Waits for a line of the job's output that contains `pattern`, beyond those
    /// that earlier calls have gone through, and returns it.
    ///
    /// # Errors
    ///
    /// [`KitError::Timeout`] where none comes; [`KitError::Guest`] and [`KitError::Died`]
    /// where none can come any more.
    pub fn wait_for_line(&mut self, pattern: &str, timeout: Duration) -> Result<String, KitError> {
        let mut next = self.lines_seen;
        let heard = self.channel.wait(timeout, |heard| {
            while heard.output.get(next).is_some_and(|l| !l.contains(pattern)) {
                next += 1;
            }
            heard.output.len() > next || heard.over()
        });
        let found = heard.output.get(next).cloned();
        match found {
            Some(line) => {
                drop(heard);
                self.lines_seen = next + 1;
                Ok(line)
            }
            None if heard.over() => Err(match JobOutcome::from_reports(&heard.control) {
                Some(Err(message)) => self.gave_up(message),
                _ => self.died(&heard),
            }),
            None => Err(self.late(&heard, format!("line with {pattern:?}"), timeout)),
        }
    }

    /// Waits until the job is done and the guest has switched itself off.
    ///
    /// A job that fails is an outcome too, with its exit code.
    ///
    /// # Errors
    ///
    /// [`KitError::Timeout`] where it takes longer, and the guest runs on;
    /// [`KitError::Guest`] where the job could not be run; [`KitError::Died`] where QEMU
    /// ended before the job.
    pub fn wait(&mut self, timeout: Duration) -> Result<JobOutcome, KitError> {
        let mut heard = self.channel.wait(timeout, Heard::over);
        if !heard.over() {
            return Err(self.late(&heard, "end of the job".to_owned(), timeout));
        }
        match JobOutcome::from_reports(&heard.control) {
            Some(Ok(mut outcome)) => {
                outcome.lines = std::mem::take(&mut heard.output);
                outcome.truncated = heard.truncated;
                Ok(outcome)
            }
            Some(Err(message)) => Err(self.gave_up(message)),
            None => Err(self.died(&heard)),
        }
    }

    /// Waits until QEMU has ended, for a virtual machine that runs no job. `None` if
    /// it has not after `timeout`; without one, waits for ever.
    ///
    /// # Errors
    ///
    /// [`KitError::Died`] where it did not end well.
    pub fn wait_exit(&mut self, timeout: Option<Duration>) -> Result<Option<ExitStatus>, KitError> {
        let heard = self.channel.wait(timeout.unwrap_or(LONG), Heard::over);
        match heard.status {
            Some(status) if heard.over() && status.success() => Ok(Some(status)),
            Some(_) if heard.over() => Err(self.died(&heard)),
            _ => Ok(None),
        }
    }

    /// Ends QEMU with SIGKILL, as a power cut would end the guest.
    pub fn kill(&mut self) {
        self.process.kill();
        drop(self.channel.wait(PROMPTLY, Heard::over));
    }

    /// Presses the power button: a guest that listens to it shuts down.
    ///
    /// # Errors
    ///
    /// [`KitError::Control`] where QEMU does not answer.
    pub fn press_power_button(&self) -> Result<(), KitError> {
        self.control("system_powerdown").map(drop)
    }

    /// Runs a command of QEMU's machine protocol (QMP) that needs no arguments, such
    /// as `query-status`, and returns the answer, a line of JSON.
    ///
    /// # Errors
    ///
    /// [`KitError::Control`] where QEMU does not answer, or answers with an error.
    pub fn control(&self, command: &'static str) -> Result<String, KitError> {
        self.control_with(command, &json!({}))
    }

    /// As [`Guest::control`], with the command's arguments, a JSON object.
    ///
    /// # Errors
    ///
    /// Those of [`Guest::control`].
    pub fn control_with(
        &self,
        command: &'static str,
        arguments: &Value,
    ) -> Result<String, KitError> {
        let refused = |reason: String| KitError::Control { command, reason };
        let talk = || -> std::io::Result<String> {
            let mut socket = UnixStream::connect(self.place.control())?;
            socket.set_read_timeout(Some(PROMPTLY))?;
            let mut answers = BufReader::new(socket.try_clone()?).lines();
            let mut answer = || loop {
                let line = answers.next().unwrap_or_else(|| {
                    Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
                })?;
                // Events come in between.
                if !line.starts_with(r#"{"timestamp"#) {
                    return Ok(line);
                }
            };
            let _greeting: String = answer()?;
            writeln!(socket, r#"{{"execute":"qmp_capabilities"}}"#)?;
            let _agreed: String = answer()?;
            let request = json!({ "execute": command, "arguments": arguments });
            writeln!(socket, "{request}")?;
            answer()
        };
        let answer = talk().map_err(|e| refused(e.to_string()))?;
        if answer.starts_with(r#"{"return""#) {
            Ok(answer)
        } else {
            Err(refused(answer))
        }
    }

    fn died(&self, heard: &MutexGuard<'_, Heard>) -> KitError {
        let chatter: Vec<&str> = heard.chatter.iter().map(String::as_str).collect();
        KitError::Died {
            status: heard.status.unwrap_or_default(),
            stderr: or_nothing(chatter.join("\n")),
            serial: self.serial_tail(),
            command: self.command.clone(),
        }
    }

    fn gave_up(&self, message: String) -> KitError {
        KitError::Guest {
            message,
            serial: self.serial_tail(),
        }
    }

    fn late(&self, heard: &MutexGuard<'_, Heard>, what: String, timeout: Duration) -> KitError {
        KitError::Timeout {
            what,
            timeout,
            last_line: or_nothing(heard.output.last().cloned().unwrap_or_default()),
            serial: self.serial_tail(),
        }
    }

    fn serial_tail(&self) -> String {
        let bytes = fs::read(self.place.serial()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(SERIAL_LINES)..);
        or_nothing(tail.unwrap_or(&[]).join("\n"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

fn or_nothing(text: String) -> String {
    if text.is_empty() {
        "(nothing)".to_owned()
    } else {
        text
    }
}
