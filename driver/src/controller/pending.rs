//! Admin commands that nobody waits for.

use std::collections::BTreeMap;

use nvme::Sqe;
use traces::Clock;

use super::Controller;
use super::event::USER_EVENT;
use crate::transport::Transport;
use crate::{Command, Completed, DmaSlice, DriverError, Tag};

/// Called with the completion of an admin command.
pub(super) type Callback = Box<dyn FnOnce(Completed) + Send>;

/// Callbacks, by the names of their commands.
#[derive(Default)]
pub(super) struct Pending(BTreeMap<u64, Callback>);

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({})", self.0.len())
    }
}

impl Pending {
    /// Whether `done` has a callback, which was called then.
    fn call(&mut self, done: Completed) -> bool {
        let callback = self.0.remove(&done.user);
        callback.map(|callback| callback(done)).is_some()
    }
}

impl<T: Transport, C: Clock> Controller<T, C> {
    /// Issues any admin command and returns at once; `callback` is called with
    /// its completion by a later [`Controller::poll_admin`], or by any call
    /// that waits for another admin command. A command that is lost to a reset
    /// completes as such. The data's buffer must be kept until then.
    ///
    /// # Errors
    ///
    /// [`DriverError::Submit`] where the admin queue is full.
    pub fn admin_submit(
        &mut self,
        sqe: Sqe,
        data: Option<DmaSlice<'_>>,
        callback: impl FnOnce(Completed) + Send + 'static,
    ) -> Result<Tag, DriverError> {
        let user = self.next_user;
        self.next_user += 1;
        let now_ns = self.device.clock.now_ns();
        let tag = self.admin.submit(Command::raw(sqe, data), user, now_ns)?;
        self.admin.ring();
        self.pending.0.insert(user, Box::new(callback));
        Ok(tag)
    }

    /// Reaps what is complete of the admin queue, events and callbacks, and
    /// returns how many commands that were. Does not wait.
    ///
    /// # Errors
    ///
    /// [`DriverError::UnknownCompletion`].
    pub fn poll_admin(&mut self) -> Result<usize, DriverError> {
        self.reap(None).map(|(reaped, _)| reaped)
    }

    /// As [`Controller::poll_admin`]; returns the completion of `user`, too.
    pub(super) fn reap(
        &mut self,
        user: Option<u64>,
    ) -> Result<(usize, Option<Completed>), DriverError> {
        let mut mine = None;
        let (events, pending) = (&mut self.events, &mut self.pending);
        let requests = &mut self.requests;
        let reaped = self.admin.poll(&self.device.clock, 64, |done| {
            if done.user == USER_EVENT {
                *requests = requests.saturating_sub(1);
                if done.status.is_success() {
                    events.push_back(done.result);
                }
            } else if Some(done.user) == user {
                mine = Some(done);
            } else {
                // One that timed out has nobody who waits for it.
                pending.call(done);
            }
        })?;
        if self.listening && !self.admin.is_closed() && reaped > 0 {
            self.listen()?;
        }
        Ok((reaped, mine))
    }
}
