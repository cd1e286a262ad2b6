//! The thread that makes a file durable.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::super::bell::Bell;

/// A thread that calls `fdatasync`, one at a time, so that who asks for it can
/// go on.
#[derive(Debug)]
pub(super) struct Syncer {
    /// None once the thread is told to end.
    begin: Option<SyncSender<()>>,
    end: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
    running: bool,
    bell: Bell,
}

impl AsFd for Syncer {
    /// Readable once a sync has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Syncer {
    /// Starts the thread for `file`.
    pub(super) fn start(file: File) -> io::Result<Self> {
        let (begin, begins) = sync_channel::<()>(1);
        let (ends, end) = sync_channel(1);
        let bell = Bell::new()?;
        let rope = bell.clone();
        let thread = std::thread::Builder::new()
            .name("vssd-flush".to_owned())
            .spawn(move || {
                while begins.recv().is_ok() && ends.send(file.sync_data()).is_ok() {
                    rope.ring();
                }
            })?;
        Ok(Self {
            begin: Some(begin),
            end,
            thread: Some(thread),
            running: false,
            bell,
        })
    }

    /// Begins a sync of everything that was written by now; whether it did: not
    /// while one goes on.
    pub(super) fn begin(&mut self) -> bool {
        if self.running {
            return false;
        }
        self.running = self
            .begin
            .as_ref()
            .is_some_and(|begin| begin.try_send(()).is_ok());
        self.running
    }

    /// How the sync that was begun ended; none while it goes on.
    pub(super) fn ended(&mut self) -> Option<io::Result<()>> {
        if !self.running {
            return None;
        }
        self.bell.hear();
        let result = self.end.try_recv().ok()?;
        self.running = false;
        Some(result)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // The thread ends with its channel.
        self.begin = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by itself.
            drop(thread.join());
        }
    }
}
