//! A command of the log, and how it is shown.

use std::fmt;

use nvme::{AdminOpcode, NvmOpcode, QueueId, ReadWriteCdw12, Sqe, Status};

/// A command, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmdLogEntry {
    /// The queue pair that it was submitted to.
    pub queue: QueueId,
    /// Which of the queue pair's commands it is, from 0.
    pub number: u64,
    /// The entry that went to the device.
    pub sqe: Sqe,
    /// When it was submitted, nanoseconds of the caller's clock.
    pub submit_ns: u64,
    /// How it ended; none while it is in flight, or where it was lost.
    pub completion: Option<LoggedCompletion>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedCompletion {
    /// Its status.
    pub status: Status,
    /// Dword 0 of the completion.
    pub result: u32,
    /// When the completion was seen, nanoseconds of the caller's clock.
    pub complete_ns: u64,
}

impl LoggedCompletion {
    /// Both words come from narrower values, which they hold whole.
    pub(super) fn of_words(status: u64, result: u64, complete_ns: u64) -> Self {
        Self {
            status: Status::from_field(u16::try_from(status).unwrap_or(u16::MAX)),
            result: u32::try_from(result).unwrap_or(u32::MAX),
            complete_ns,
        }
    }
}

impl CmdLogEntry {
    /// The command's name in the specification.
    #[must_use]
    pub fn name(&self) -> String {
        if self.queue.is_admin() {
            AdminOpcode(self.sqe.opcode).to_string()
        } else {
            NvmOpcode(self.sqe.opcode).to_string()
        }
    }

    /// Whether CDW10 to CDW12 are a range of logical blocks.
    fn has_blocks(&self) -> bool {
        let opcode = NvmOpcode(self.sqe.opcode);
        !self.queue.is_admin()
            && matches!(
                opcode,
                NvmOpcode::READ
                    | NvmOpcode::WRITE
                    | NvmOpcode::COMPARE
                    | NvmOpcode::WRITE_ZEROES
                    | NvmOpcode::WRITE_UNCORRECTABLE
                    | NvmOpcode::VERIFY
            )
    }
}

/// One line: when, where, what, and how it ended after how long.
impl fmt::Display for CmdLogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NS_PER_S: u64 = 1_000_000_000;
        let sqe = &self.sqe;
        write!(
            f,
            "{}.{:09} {} {} {} nsid {}",
            self.submit_ns / NS_PER_S,
            self.submit_ns % NS_PER_S,
            self.queue,
            sqe.cid(),
            self.name(),
            sqe.nsid().0,
        )?;
        if self.has_blocks() {
            let cdw12 = ReadWriteCdw12::from_bits(sqe.cdw12.get());
            write!(f, " lba {} blocks {}", sqe.slba().0, cdw12.blocks())?;
        } else {
            write!(
                f,
                " cdw10 {:#010x} cdw11 {:#010x} cdw12 {:#010x}",
                sqe.cdw10.get(),
                sqe.cdw11.get(),
                sqe.cdw12.get()
            )?;
        }
        match &self.completion {
            None => f.write_str(": not completed"),
            Some(completion) => {
                let took_ns = completion.complete_ns.saturating_sub(self.submit_ns);
                write!(
                    f,
                    ": {} after {}.{:03} us, result {:#x}",
                    completion.status,
                    took_ns / 1000,
                    took_ns % 1000,
                    completion.result
                )
            }
        }
    }
}
