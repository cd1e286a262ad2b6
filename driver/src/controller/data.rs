//! Commands with data of any size, admin and I/O, one at a time.

use std::time::Duration;

use nvme::{AdminOpcode, NvmOpcode, Sqe};
use traces::Clock;

use super::{Controller, QueueOptions};
use crate::transport::Transport;
use crate::{Command, Completed, DmaBuffer, DriverError, QueuePair};

const PAGE: usize = 4096;
/// Names the one command on a queue pair of its own.
const USER_IO: u64 = 1;

/// The data of a command that is issued alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// None.
    None,
    /// So many bytes from the device; memory is zeroed before.
    FromDevice(usize),
    /// These bytes to the device.
    ToDevice(&'a [u8]),
}

impl Data<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::FromDevice(bytes) => *bytes,
            Self::ToDevice(bytes) => bytes.len(),
        }
    }
}

/// How a command that was issued alone succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Dword 0 of the completion.
    pub dword0: u32,
    /// What came with [`Data::FromDevice`]; empty otherwise.
    pub data: Vec<u8>,
}

impl<T: Transport, C: Clock> Controller<T, C> {
    /// Issues any admin command with data of any size up to the longest
    /// transfer, and waits up to `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`], and of memory.
    pub fn admin_data(
        &mut self,
        sqe: Sqe,
        data: Data<'_>,
        timeout: Duration,
    ) -> Result<Answered, DriverError> {
        self.with_buffer(data, |controller, buffer| {
            controller.execute(command(sqe, buffer, data.len())?, timeout)
        })
    }

    /// Issues any I/O command alone, on a queue pair made for it, with data of
    /// any size up to the longest transfer, and waits up to `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::create_queue_pair`] and
    /// [`Controller::admin_raw`].
    pub fn io_data(
        &mut self,
        sqe: Sqe,
        data: Data<'_>,
        timeout: Duration,
    ) -> Result<Answered, DriverError> {
        let options = QueueOptions {
            depth: 1,
            ..QueueOptions::default()
        };
        let mut pair = self.create_queue_pair(options)?;
        let queue = pair.id();
        let result = self.with_buffer(data, |controller, buffer| {
            let command = command(sqe, buffer, data.len())?;
            controller.execute_on(&mut pair, command, timeout)
        });
        if pair.in_flight() == 0 {
            self.delete_queue_pair(queue)?;
        }
        result
    }

    /// The longest transfer that one command of this driver makes, bytes.
    #[must_use]
    pub fn transfer_bytes_max(&self) -> usize {
        let limit = super::TRANSFER_BYTES_DEFAULT;
        self.info.mdts_bytes.unwrap_or(limit).min(limit)
    }

    /// Runs `issue` with a buffer for `data`, which has the data in it, and
    /// takes out what the device wrote.
    fn with_buffer(
        &mut self,
        data: Data<'_>,
        issue: impl FnOnce(&mut Self, Option<&DmaBuffer>) -> Result<u32, DriverError>,
    ) -> Result<Answered, DriverError> {
        let bytes = data.len();
        if bytes == 0 {
            let dword0 = issue(self, None)?;
            return Ok(Answered {
                dword0,
                data: Vec::new(),
            });
        }
        let mut buffer = self.buffer(bytes)?;
        if let Data::ToDevice(from) = data {
            buffer.write_at(0, from)?;
        }
        let issued = issue(self, Some(&buffer));
        let answered = match issued {
            Ok(dword0) => {
                let mut answered = Answered {
                    dword0,
                    data: Vec::new(),
                };
                if let Data::FromDevice(bytes) = data {
                    answered.data = vec![0; bytes];
                    buffer.read_at(0, &mut answered.data)?;
                }
                Ok(answered)
            }
            Err(error @ (DriverError::CommandFailed { .. } | DriverError::Submit { .. })) => {
                Err(error)
            }
            Err(error) => {
                // The device may still write to it.
                self.stranded.push(buffer);
                return Err(error);
            }
        };
        if buffer.len() == PAGE {
            self.scratch = Some(buffer);
        }
        answered
    }

    /// Zeroed memory of at least `bytes` bytes; the page that is kept for
    /// small ones where it will do.
    fn buffer(&mut self, bytes: usize) -> Result<DmaBuffer, DriverError> {
        if bytes <= PAGE
            && let Some(mut page) = self.scratch.take()
        {
            page.fill(0, PAGE, 0)?;
            return Ok(page);
        }
        self.allocate_dma(bytes)
    }

    /// Runs one command alone on `pair`.
    fn execute_on(
        &mut self,
        pair: &mut QueuePair,
        command: Command<'_>,
        timeout: Duration,
    ) -> Result<u32, DriverError> {
        let name = NvmOpcode(command.sqe().opcode).to_string();
        let start_ns = self.device.clock.now_ns();
        pair.submit(command, USER_IO, start_ns)?;
        loop {
            let mut mine: Option<Completed> = None;
            pair.poll(&self.device.clock, 1, |done| mine = Some(done))?;
            if let Some(done) = mine {
                return answer(self.device.name(), name, &done);
            }
            self.device.check_link()?;
            if self.device.pause(start_ns) >= timeout {
                self.device.status()?;
                return Err(DriverError::CommandTimeout {
                    device: self.device.name(),
                    command: name,
                    timeout,
                });
            }
        }
    }

    /// Issues an admin command without data that may take `timeout`.
    pub(super) fn admin_plain(&mut self, sqe: Sqe, timeout: Duration) -> Result<u32, DriverError> {
        Ok(self.admin_data(sqe, Data::None, timeout)?.dword0)
    }

    /// How long an admin command may take that has no time-out of its own.
    pub(super) const fn admin_timeout(&self) -> Duration {
        self.options.admin_timeout
    }
}

/// What the completion of the command `name` says.
pub(super) fn answer(device: String, name: String, done: &Completed) -> Result<u32, DriverError> {
    if done.lost {
        return Err(DriverError::CommandLost {
            device,
            command: name,
        });
    }
    if !done.status.is_success() {
        return Err(DriverError::CommandFailed {
            device,
            command: name,
            status: done.status,
        });
    }
    Ok(done.result)
}

/// The command with the first `bytes` bytes of `buffer` as data.
fn command(sqe: Sqe, buffer: Option<&DmaBuffer>, bytes: usize) -> Result<Command<'_>, DriverError> {
    let data = buffer.map(|buffer| buffer.slice(0, bytes)).transpose()?;
    Ok(Command::raw(sqe, data))
}

/// An entry with an admin opcode for a namespace.
pub(super) fn admin_sqe(opcode: AdminOpcode, nsid: nvme::NamespaceId) -> Sqe {
    Sqe::new(opcode.0, nsid)
}
