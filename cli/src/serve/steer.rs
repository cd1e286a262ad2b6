//! What a worker does between two commands, as it is asked from outside.
//!
//! ```text
//!   close --> waits for commands in flight --> end_closing
//!   Hold ---> the medium comes to rest ------> shared --> GoOn, in another image
//!                                                   \--> Release, or too late
//! ```

use std::path::Path;
use std::sync::mpsc::Sender;

use nvme::AdminOpcode;
use vssd::FileStore;
use vssd::front::Function as _;
use vssd::media::{Parallel, Qcow2, Snapshot};

use super::desk::{Ask, Closed, DiskState, Refused};
use super::recorded::Recorded;
use crate::live::{Resized, ResizedNamespace};

/// How long a recording that is closed waits for commands in flight, nanoseconds.
const CLOSING_NS_MAX: u64 = 5_000_000_000;
/// How long a medium may take to come to rest, nanoseconds.
const DRAINING_NS_MAX: u64 = 10_000_000_000;
/// How long it stands still for somebody who does not come back, nanoseconds.
const STILL_NS_MAX: u64 = 30_000_000_000;

/// A recording that is being closed: who waits for that, and until when.
pub(super) struct Closing {
    reply: Sender<Closed>,
    pub(super) until_ns: u64,
}

/// A medium that is to stand still, or does.
pub(super) struct Holding {
    /// Who waits for it; none once it does.
    reply: Option<Sender<Result<(), Refused>>>,
    pub(super) until_ns: u64,
}

impl<M: Snapshot + Parallel + Send + 'static> Recorded<M> {
    /// Does what was asked since the last time.
    pub(super) fn look_at_desk(&mut self) {
        for ask in self.desk.take_asks() {
            // Whoever has gone does not want the answer.
            match ask {
                Ask::Header(labels, payload, reply) => {
                    drop(reply.send(self.header(&labels, payload)));
                }
                Ask::Open(tap, reply) => {
                    let opened = if self.drive.controller().tap().recording.is_some() {
                        Err("a recording has begun meanwhile: see `record status`".to_owned())
                    } else {
                        Ok(self.open(tap))
                    };
                    drop(reply.send(opened));
                }
                Ask::Close(reply) => self.close(reply),
                Ask::Disk(reply) => drop(reply.send(self.disk())),
                Ask::Hold(reply) => {
                    self.drive.home().hold();
                    self.holding = Some(Holding {
                        reply: Some(reply),
                        until_ns: self.now_ns().saturating_add(DRAINING_NS_MAX),
                    });
                    self.come_to_rest();
                }
                Ask::GoOn(top, store, reply) => {
                    drop(reply.send(self.go_on_in(*top, store.as_deref())));
                }
                Ask::Release => self.release(),
                Ask::Grow(bytes, reply) => drop(reply.send(self.grow(bytes))),
            }
        }
        self.attend();
    }

    fn disk(&self) -> DiskState {
        let controller = self.drive.controller();
        let info = controller.media().info();
        DiskState {
            image: controller.media().base(),
            bytes: info.bytes,
            read_only: info.read_only,
            serial: controller.config().serial.clone(),
        }
    }

    /// Has the drive, and the namespace that has all of it, be `bytes` bytes large. What
    /// goes on goes on; the medium is one again meanwhile.
    fn grow(&mut self, bytes: u64) -> Result<Resized, Refused> {
        let controller = self.drive.home();
        let before_bytes = controller.media().info().bytes;
        let grown = controller.grow(bytes);
        let namespace = grown.map_err(|error| error.to_string())?;
        let disk = controller.media().name().to_owned();
        log::info!("{disk} has {bytes} bytes now");
        Ok(Resized {
            disk,
            before_bytes,
            bytes,
            namespace: namespace.map(|namespace| ResizedNamespace {
                nsid: namespace.nsid.0,
                blocks: namespace.blocks,
                block_bytes: namespace.block_bytes,
            }),
        })
    }

    /// Has the recording take no command that is fetched later.
    fn close(&mut self, reply: Sender<Closed>) {
        let controller = self.drive.home();
        let next = controller.next_sequence();
        match &mut controller.tap_mut().recording {
            Some(window) => window.close(next),
            None => {
                // Whoever has gone does not want the answer.
                let _ = reply.send(Closed::default());
                return;
            }
        }
        self.closing = Some(Closing {
            reply,
            until_ns: self.now_ns().saturating_add(CLOSING_NS_MAX),
        });
    }

    /// Looks after what goes on over several turns.
    #[cold]
    pub(super) fn attend(&mut self) {
        let now_ns = self.now_ns();
        if self.closing.is_some() {
            // So that nothing of it is with anybody else.
            self.drive.home();
        }
        let waits = self.closing.as_ref();
        if waits.is_some_and(|closing| now_ns >= closing.until_ns || self.waits_for_events_only()) {
            self.end_closing();
        }
        self.attend_hold(now_ns);
        self.is_busy = self.closing.is_some() || self.holding.is_some();
    }

    /// Whether no command is waited for but Asynchronous Event Requests, which
    /// may never end.
    fn waits_for_events_only(&self) -> bool {
        let controller = self.drive.controller();
        let Some(window) = &controller.tap().recording else {
            return true;
        };
        let outstanding = window.outstanding();
        outstanding == 0 || {
            let parked = controller.waiting_commands().filter(|(record, _)| {
                record.is_admin()
                    && AdminOpcode(record.opcode) == AdminOpcode::ASYNC_EVENT_REQUEST
                    && window.has(record.sequence)
            });
            u64::try_from(parked.count()).is_ok_and(|parked| parked >= outstanding)
        }
    }

    /// Ends the recording that is being closed: what has not ended stands in it
    /// as that.
    pub(super) fn end_closing(&mut self) {
        let Some(closing) = self.closing.take() else {
            return;
        };
        let mut closed = Closed::default();
        let controller = self.drive.home();
        if let Some(window) = controller.tap_mut().recording.take() {
            let outstanding = window.outstanding();
            let (mut tap, missing) = window.end(controller.waiting_commands());
            tap.miss(missing, self.now_ns());
            closed = Closed {
                unfinished: outstanding.saturating_sub(missing),
            };
        }
        // Whoever has gone does not want the answer.
        let _ = closing.reply.send(closed);
    }

    /// Has the medium stand still where there is no client, and so nobody else who
    /// polls: nobody is kept waiting either.
    pub(super) fn come_to_rest(&mut self) {
        while let Some(holding) = &self.holding
            && !self.has_client
            && self.drive.controller().stillness().is_none()
            && self.now_ns() < holding.until_ns
        {
            if self.drive.poll(u32::MAX) == 0 {
                std::thread::yield_now();
            }
        }
    }

    fn attend_hold(&mut self, now_ns: u64) {
        let Some(holding) = &mut self.holding else {
            return;
        };
        let is_late = now_ns >= holding.until_ns;
        let Some(reply) = holding.reply.take() else {
            if is_late {
                log::warn!("the snapshot was not gone on with: the drive goes on as before");
                self.release();
            }
            return;
        };
        let held = match self.drive.controller().stillness() {
            None if !is_late => {
                holding.reply = Some(reply);
                return;
            }
            None => Err(format!(
                "the medium did not come to rest within {} seconds: try again when it has less to \
                 do",
                DRAINING_NS_MAX / 1_000_000_000
            )),
            Some(Err(_)) => Err(
                "what was written cannot be made durable: the server's log says why; a snapshot \
                 of this would be worth nothing"
                    .to_owned(),
            ),
            Some(Ok(())) => {
                let shared = self.drive.controller().media().share();
                shared.map_err(|error| format!("the lock on the image cannot be changed: {error}"))
            }
        };
        holding.until_ns = now_ns.saturating_add(STILL_NS_MAX);
        if held.is_err() {
            self.drive.home().release();
            self.holding = None;
        }
        drop(reply.send(held));
    }

    /// Goes on as before.
    fn release(&mut self) {
        if self.holding.take().is_none() {
            return;
        }
        let controller = self.drive.home();
        if let Err(error) = controller.media().unshare() {
            log::warn!(
                "{}: cannot be locked again as before ({error}): see to it that nobody relies on \
                 it as it is",
                controller.media().name()
            );
        }
        controller.release();
    }

    /// Puts `top` onto the image, which stands still; hands back the medium as it
    /// was. None where it does not stand still any more.
    fn go_on_in(&mut self, top: Qcow2, store: Option<&Path>) -> Option<Box<dyn Send>> {
        // Who asked waits longer than this, and does not wait in vain.
        let in_time = self.holding.as_ref()?.until_ns > self.now_ns();
        if !in_time || self.drive.controller().stillness() != Some(Ok(())) {
            return None;
        }
        let controller = self.drive.home();
        let below = controller.media_mut().go_on_in(top);
        self.holding = None;
        controller.release();
        if let Some(store) = store {
            controller.set_store(Box::new(FileStore::new(store)));
        }
        self.desk.shown().disk = controller.media().name().to_owned();
        Some(below)
    }

    /// Tells the counters what namespaces there are.
    #[cold]
    pub(super) fn describe(&mut self) {
        let controller = self.drive.home();
        let namespaces: Vec<_> = controller
            .namespaces()
            .map(|namespace| (namespace.nsid, namespace.block_bytes))
            .collect();
        if let Some(counters) = &mut controller.tap_mut().counters {
            counters.describe(namespaces.into_iter());
        }
    }
}
