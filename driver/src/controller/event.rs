//! Asynchronous events, always asked for.

use std::time::Duration;

use nvme::{AdminOpcode, AsyncEvent, NamespaceId, Sqe};
use traces::Clock;

use super::Controller;
use crate::transport::Transport;
use crate::{Command, DriverError};

/// Marks Asynchronous Event Requests among the admin commands in flight.
pub(super) const USER_EVENT: u64 = 0;

impl<T: Transport, C: Clock> Controller<T, C> {
    /// Keeps as many Asynchronous Event Requests with the device as it takes
    /// (AERL) and the admin queue has room for (`NVMe Base 2.1 §5.1.2`), from
    /// now on and after resets. What the device reports comes out of
    /// [`Controller::take_event`], which asks again at once. A class that was
    /// reported is masked until its log page is read.
    ///
    /// # Errors
    ///
    /// [`DriverError::Submit`] where the admin queue is full.
    pub fn listen(&mut self) -> Result<(), DriverError> {
        // Commands must have room beside them.
        let room = (self.options.admin_depth / 2).max(1);
        let wanted = self.info.event_requests_max.min(room);
        self.listening = true;
        while self.requests < wanted {
            self.request_event()?;
        }
        Ok(())
    }

    /// Issues one Asynchronous Event Request: the device keeps it until it has
    /// something to say. See [`Controller::listen`].
    ///
    /// # Errors
    ///
    /// [`DriverError::Submit`] where the admin queue is full.
    pub fn request_event(&mut self) -> Result<(), DriverError> {
        let sqe = Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0));
        let now_ns = self.device.clock.now_ns();
        self.admin
            .submit(Command::raw(sqe, None), USER_EVENT, now_ns)?;
        self.admin.ring();
        self.requests += 1;
        Ok(())
    }

    /// The next asynchronous event that the device reported: dword 0 of its
    /// completion, which [`AsyncEvent::from_dword0`] reads. Does not wait.
    ///
    /// # Errors
    ///
    /// [`DriverError::UnknownCompletion`], and [`DriverError::Submit`] where it
    /// cannot be asked again.
    pub fn take_event(&mut self) -> Result<Option<u32>, DriverError> {
        self.poll_admin()?;
        Ok(self.events.pop_front())
    }

    /// Waits for the next event, at most `timeout`; none where there is none
    /// by then, or its class is reserved.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::take_event`], and [`DriverError::DeviceGone`].
    pub fn wait_event(&mut self, timeout: Duration) -> Result<Option<AsyncEvent>, DriverError> {
        let start_ns = self.device.clock.now_ns();
        loop {
            if let Some(dword0) = self.take_event()? {
                return Ok(AsyncEvent::from_dword0(dword0));
            }
            self.device.check_link()?;
            if self.device.pause(start_ns) >= timeout {
                return Ok(None);
            }
        }
    }
}
