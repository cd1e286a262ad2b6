//! A QEMU process that cannot outlive us.
#![expect(
    unsafe_code,
    reason = "pre_exec is the one place between fork and exec where a process can ask to be \
              ended with its parent"
)]

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};

/// A started process, which another thread waits for.
#[derive(Debug)]
pub(crate) struct Process {
    /// Names this process for ever, unlike its number.
    handle: OwnedFd,
    id: u32,
}

/// What a started process says.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

impl Process {
    /// Starts `command`; `ended` is called once, when it has ended.
    ///
    /// The kernel ends a process with the *thread* that started it. So that thread is
    /// one that does nothing else and stays until the end.
    pub(crate) fn start(
        mut command: Command,
        ended: impl FnOnce(io::Result<ExitStatus>) + Send + 'static,
    ) -> io::Result<(Self, Pipes)> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on a terminal is for us alone: QEMU would take it as an order to
            // pull the guest's plug.
            .process_group(0);
        let us = getpid();
        // SAFETY: the closure makes two system calls and neither allocates nor locks,
        // which is what may be done between fork and exec.
        unsafe { command.pre_exec(move || die_with(us)) };

        let (tell, told) = mpsc::channel();
        thread::Builder::new()
            .name("qemu-keeper".to_owned())
            .spawn(move || {
                let started = command
                    .spawn()
                    .and_then(|mut child| match Self::adopt(&mut child) {
                        Ok(adopted) => Ok((child, adopted)),
                        Err(e) => {
                            let _ended = child.kill();
                            let _reaped = child.wait();
                            Err(e)
                        }
                    });
                match started {
                    Ok((mut child, adopted)) => {
                        let _gone = tell.send(Ok(adopted));
                        ended(child.wait());
                    }
                    Err(e) => {
                        let _gone = tell.send(Err(e));
                    }
                }
            })?;
        told.recv().map_err(io::Error::other)?
    }

    fn adopt(child: &mut Child) -> io::Result<(Self, Pipes)> {
        let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let process = Self {
            handle,
            id: child.id(),
        };
        let pipes = Pipes {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        };
        Ok((process, pipes))
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Sends SIGKILL. To a process that has ended already, that does nothing.
    pub(crate) fn kill(&self) {
        let _ended = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

/// In the child: asks to be killed when the parent ends.
fn die_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the request.
    if getppid() == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
