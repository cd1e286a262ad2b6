//! Getting rid of commands that take too long.

use std::time::Duration;

use nvme::QueueId;
use traces::{Clock, Tap};

use super::Controller;
use crate::transport::Transport;
use crate::{CmdLogEntry, Completed, DriverError, QueuePair, Tag};

/// A command that takes longer than it may.
#[derive(Clone, Debug)]
pub struct LateCommand {
    /// The queue.
    pub queue: QueueId,
    /// The command.
    pub tag: Tag,
    /// What the caller gave along.
    pub user: u64,
    /// How long it has been in flight.
    pub age: Duration,
    /// Its entry in the command log, where that still has it.
    pub entry: Option<CmdLogEntry>,
}

impl std::fmt::Display for LateCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            queue, tag, age, ..
        } = self;
        match &self.entry {
            None => write!(f, "{queue}: {} is in flight for {age:?}", tag.cid()),
            Some(entry) => {
                let sqe = &entry.sqe;
                write!(
                    f,
                    "{queue}: {} {} of {} is in flight for {age:?} (cdw10 to 12: {:08x} {:08x} {:08x})",
                    entry.name(),
                    tag.cid(),
                    sqe.nsid(),
                    sqe.cdw10.get(),
                    sqe.cdw11.get(),
                    sqe.cdw12.get(),
                )
            }
        }
    }
}

/// What it took to be rid of late commands, from the mildest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recovery {
    /// Nothing: none was late, or they completed by themselves meanwhile.
    Completed,
    /// Abort commands.
    Aborted,
    /// A reset of the controller: all queue pairs are closed.
    ControllerReset,
    /// A reset of the PCI function: all queue pairs are closed.
    FunctionReset,
}

impl<T: Tap> QueuePair<T> {
    /// The commands in flight for `timeout` or longer at `now_ns`, each with
    /// what the command log knows of it. See [`Controller::recover`].
    #[must_use]
    pub fn late(&self, now_ns: u64, timeout: Duration) -> Vec<LateCommand> {
        self.expired(now_ns, timeout)
            .map(|(tag, user, age)| LateCommand {
                queue: self.id(),
                tag,
                user,
                age,
                entry: self.logged(tag),
            })
            .collect()
    }
}

impl<T: Transport, C: Clock> Controller<T, C> {
    /// Gets rid of the commands of `pair` that are in flight for `timeout` or
    /// longer: by Abort (`NVMe Base 2.1 §5.1.1`), one after the other; where
    /// they are still there `patience` later, by a reset of the controller; and
    /// where that fails, by one of the function. All that is over goes to
    /// `sink`, what is lost to a reset, too. [`QueuePair::late`] tells before
    /// which commands are meant.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::reset_function`], where nothing helps.
    pub fn recover<O: Tap>(
        &mut self,
        pair: &mut QueuePair<O>,
        timeout: Duration,
        patience: Duration,
        mut sink: impl FnMut(Completed),
    ) -> Result<Recovery, DriverError> {
        pair.poll(&self.device.clock, usize::MAX, &mut sink)?;
        let now_ns = self.device.clock.now_ns();
        let late: Vec<Tag> = pair.expired(now_ns, timeout).map(|(tag, ..)| tag).collect();
        if late.is_empty() {
            return Ok(Recovery::Completed);
        }
        if self.abort_all(pair, &late, patience, &mut sink)? {
            return Ok(Recovery::Aborted);
        }
        let recovery = match self.reset() {
            Ok(()) => Recovery::ControllerReset,
            Err(_) => {
                self.reset_function()?;
                Recovery::FunctionReset
            }
        };
        pair.poll(&self.device.clock, usize::MAX, &mut sink)?;
        Ok(recovery)
    }

    /// Aborts commands and waits for them; whether all are over.
    fn abort_all<O: Tap>(
        &mut self,
        pair: &mut QueuePair<O>,
        late: &[Tag],
        patience: Duration,
        sink: &mut impl FnMut(Completed),
    ) -> Result<bool, DriverError> {
        let start_ns = self.device.clock.now_ns();
        let mut left: Vec<Tag> = late.to_vec();
        for tag in late {
            let aborted = self.abort_within(pair.id(), *tag, patience);
            match aborted {
                Ok(_) => {}
                // Not even Abort is answered: there is nothing to wait for.
                Err(DriverError::CommandTimeout { .. } | DriverError::Fatal { .. }) => {
                    return Ok(false);
                }
                // It may have completed meanwhile.
                Err(DriverError::CommandFailed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            pair.poll(&self.device.clock, usize::MAX, |done| {
                left.retain(|tag| *tag != done.tag);
                sink(done);
            })?;
            if left.is_empty() {
                return Ok(true);
            }
            self.device.check_link()?;
            if self.device.pause(start_ns) >= patience {
                return Ok(false);
            }
        }
    }
}
