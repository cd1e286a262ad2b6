//! A medium and an observer that several threads have a part of.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nvme::DsmRange;
use traces::{Branch, CommandRecord, EventRecord, Tap};

use crate::media::{Media, MediaInfo, Outcome, Parallel, Request, Sink, Submission};
use crate::{MediaError, Ticket};

const BYTES: usize = 1 << 20;

/// Memory behind a lock, that answers some polls later.
#[derive(Debug)]
pub(super) struct Store {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Polls until an answer; never for the highest number.
    delay: Arc<AtomicU32>,
    held: VecDeque<(Ticket, Outcome, u32)>,
    log: Shared,
}

impl Store {
    pub(super) fn new(delay: u32) -> Self {
        Self {
            bytes: Arc::new(Mutex::new(vec![0; BYTES])),
            delay: Arc::new(delay.into()),
            held: VecDeque::new(),
            log: Shared::default(),
        }
    }

    /// An observer, to be told of what is done here.
    pub(super) fn log(&self) -> Shared {
        self.log.clone()
    }

    /// Answers so many polls later from now on.
    pub(super) fn answer_after(&self, polls: u32) {
        self.delay.store(polls, Ordering::Relaxed);
    }

    fn execute(&self, request: &Request<'_>) -> Outcome {
        let mut bytes = self.bytes.lock().unwrap();
        let from = |offset: u64| usize::try_from(offset).unwrap();
        match request {
            Request::Read { offset, to } => to.write(&bytes[from(*offset)..][..to.bytes()]),
            Request::Write {
                offset,
                from: data,
                durable: _,
            } => data.read(&mut bytes[from(*offset)..][..data.bytes()]),
            Request::WriteZeroes { extent, .. } => {
                bytes[from(extent.offset)..][..from(extent.bytes)].fill(0);
            }
            Request::Flush => {}
            _ => return Err(MediaError::Write),
        }
        Ok(())
    }
}

impl Media for Store {
    fn name(&self) -> &str {
        "store"
    }

    fn info(&self) -> MediaInfo {
        MediaInfo {
            bytes: BYTES as u64,
            read_only: false,
            volatile_cache: true,
        }
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission {
        let outcome = self.execute(&request);
        match self.delay.load(Ordering::Relaxed) {
            0 => Submission::Done(ticket, outcome),
            polls => {
                self.held.push_back((ticket, outcome, polls));
                Submission::Pending
            }
        }
    }

    fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        let mut done = 0;
        for (_, _, polls) in &mut self.held {
            if *polls != u32::MAX {
                *polls = polls.saturating_sub(1);
            }
        }
        while done < budget && self.held.front().is_some_and(|(_, _, polls)| *polls == 0) {
            let (ticket, outcome, _) = self.held.pop_front().unwrap();
            sink(ticket, outcome);
            done += 1;
        }
        done
    }

    fn pending(&self) -> usize {
        self.held.len()
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        for (ticket, outcome, _) in self.held.drain(..) {
            sink(ticket, outcome);
        }
    }
}

impl Parallel for Store {
    fn another(&self) -> std::io::Result<Self> {
        Ok(Self {
            bytes: Arc::clone(&self.bytes),
            delay: Arc::clone(&self.delay),
            held: VecDeque::new(),
            log: self.log.clone(),
        })
    }
}

/// Keeps all commands.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    commands: Arc<Mutex<Vec<CommandRecord>>>,
    fetched: Arc<AtomicUsize>,
}

impl Shared {
    /// Takes what has ended so far.
    pub(super) fn take(&self) -> Vec<CommandRecord> {
        std::mem::take(&mut self.commands.lock().unwrap())
    }

    /// How many I/O commands were fetched.
    pub(super) fn fetched(&self) -> usize {
        self.fetched.load(Ordering::Relaxed)
    }
}

impl Tap for Shared {
    fn fetched(&mut self, record: &CommandRecord) {
        if !record.is_admin() {
            self.fetched.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn command(&mut self, record: &CommandRecord, _ranges: &[DsmRange]) {
        self.commands.lock().unwrap().push(*record);
    }

    fn event(&mut self, _record: &EventRecord) {}
}

impl Branch for Shared {
    fn branch(&mut self) -> Self {
        self.clone()
    }
}
