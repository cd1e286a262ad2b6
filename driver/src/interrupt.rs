//! Interrupts, for tests that look whether they come.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::DriverError;
use crate::transport::Transport;

/// An MSI-X vector of a device, and the event that it signals. The driver itself
/// polls and needs none; a queue pair whose
/// [`crate::QueueOptions::interrupt`] is the vector signals it all the same.
///
/// Dropping it leaves the vector to an event that nobody looks at; see
/// [`Interrupt::detach`].
#[derive(Debug)]
pub struct Interrupt {
    vector: u16,
    event: OwnedFd,
}

impl Interrupt {
    /// Has the device's `vector` signal a new event.
    ///
    /// # Errors
    ///
    /// [`DriverError::Transport`] where there is no such vector, or the system
    /// gives no event.
    pub fn attach<T: Transport + ?Sized>(
        transport: &mut T,
        vector: u16,
    ) -> Result<Self, DriverError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let event = event.map_err(|errno| failed(transport.name(), errno))?;
        transport.set_interrupt(vector, Some(event.as_fd()))?;
        Ok(Self { vector, event })
    }

    /// The vector.
    #[must_use]
    pub const fn vector(&self) -> u16 {
        self.vector
    }

    /// Waits until the vector has signalled, at most `timeout`; returns how
    /// often it has since the last call, 0 where it has not. No time at all
    /// only looks.
    ///
    /// # Errors
    ///
    /// [`DriverError::Transport`] where the system does not let it wait.
    pub fn wait(&self, timeout: Duration) -> Result<u64, DriverError> {
        let limit = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&self.event, PollFlags::IN)];
        let name = "an interrupt";
        match poll(&mut fds, limit.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(0),
            Ok(_) => {}
            Err(errno) => return Err(failed(name, errno)),
        }
        let mut count = [0; 8];
        match rustix::io::read(&self.event, &mut count) {
            Ok(_) => Ok(u64::from_ne_bytes(count)),
            Err(Errno::AGAIN) => Ok(0),
            Err(errno) => Err(failed(name, errno)),
        }
    }

    /// Masks the vector: it signals nobody from here on.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::set_interrupt`].
    pub fn mask<T: Transport + ?Sized>(&self, transport: &mut T) -> Result<(), DriverError> {
        transport.set_interrupt(self.vector, None)
    }

    /// Ends [`Interrupt::mask`]. What was masked may come now, or never.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::set_interrupt`].
    pub fn unmask<T: Transport + ?Sized>(&self, transport: &mut T) -> Result<(), DriverError> {
        transport.set_interrupt(self.vector, Some(self.event.as_fd()))
    }

    /// Takes the vector from its event.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::set_interrupt`].
    pub fn detach<T: Transport + ?Sized>(self, transport: &mut T) -> Result<(), DriverError> {
        self.mask(transport)
    }
}

fn failed(name: &str, errno: Errno) -> DriverError {
    DriverError::transport(name, "waiting for an interrupt", errno)
}
