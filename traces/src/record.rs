//! The unit of a trace.

use crate::payload::Payload;
use nvme::{
    AdminOpcode, CommandId, DsmRange, Lba, NamespaceId, NvmOpcode, QueueId, ReadWriteCdw12, Sqe,
    Status,
};
use zerocopy::little_endian::{U16, U32};

/// One thing that happened, in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A command that the device fetched.
    Command {
        /// The command and how it ended.
        command: CommandRecord,
        /// The ranges of a Dataset Management command, as the host gave them;
        /// empty for every other.
        ranges: Vec<DsmRange>,
        /// What it wrote, where the trace has that and it was asked for
        /// ([`crate::Records::with_payload`]).
        payload: Option<Box<Payload>>,
    },
    /// Something that happened to the controller.
    Event(EventRecord),
    /// Commands that were lost.
    Gap(Gap),
}

impl Record {
    /// When it was submitted or happened, or when the first of what was lost
    /// was lost, nanoseconds of the tap's clock.
    #[must_use]
    pub const fn at_ns(&self) -> u64 {
        match self {
            Self::Command { command, .. } => command.submit_ns,
            Self::Event(event) => event.at_ns,
            Self::Gap(gap) => gap.at_ns,
        }
    }
}

/// A command that the device fetched: everything in its submission queue entry
/// but the addresses, which mean nothing outside the guest, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRecord {
    /// Place in the order of fetching, from 0, over all queues of the
    /// recording. Records reach a tap in the order of completion.
    pub sequence: u64,
    /// When the device saw the command (device side) or when it was submitted
    /// (host side), nanoseconds of the tap's clock.
    pub submit_ns: u64,
    /// How it ended; none where it never did (a reset, a lost connection, the
    /// end of the recording).
    pub completion: Option<Completion>,
    /// The submission queue; 0 is the admin queue.
    pub queue: QueueId,
    /// The command identifier.
    pub cid: CommandId,
    /// The opcode; an [`AdminOpcode`] on queue 0, else an [`NvmOpcode`].
    pub opcode: u8,
    /// Fused operation and data pointer type: the second byte of the entry.
    pub flags: u8,
    /// The namespace.
    pub nsid: NamespaceId,
    /// Command dwords 2 and 3.
    pub cdw2_3: [u32; 2],
    /// Command dwords 10 to 15.
    pub cdw10_15: [u32; 6],
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// When the completion was posted (device side) or seen (host side),
    /// nanoseconds of the tap's clock.
    pub complete_ns: u64,
    /// The status.
    pub status: Status,
    /// Dword 0 of the completion.
    pub result: u32,
}

impl CommandRecord {
    /// The record of `sqe`, fetched from `queue` at `submit_ns`, not complete.
    #[must_use]
    pub fn fetched(sequence: u64, submit_ns: u64, queue: QueueId, sqe: &Sqe) -> Self {
        Self {
            sequence,
            submit_ns,
            completion: None,
            queue,
            cid: sqe.cid(),
            opcode: sqe.opcode,
            flags: sqe.flags,
            nsid: sqe.nsid(),
            cdw2_3: [sqe.cdw2.get(), sqe.cdw3.get()],
            cdw10_15: [
                sqe.cdw10.get(),
                sqe.cdw11.get(),
                sqe.cdw12.get(),
                sqe.cdw13.get(),
                sqe.cdw14.get(),
                sqe.cdw15.get(),
            ],
        }
    }

    /// The submission queue entry again, with data pointers of 0.
    #[must_use]
    pub fn sqe(&self) -> Sqe {
        let [cdw2, cdw3] = self.cdw2_3.map(U32::new);
        let [cdw10, cdw11, cdw12, cdw13, cdw14, cdw15] = self.cdw10_15.map(U32::new);
        Sqe {
            flags: self.flags,
            command_id: U16::new(self.cid.0),
            cdw2,
            cdw3,
            cdw10,
            cdw11,
            cdw12,
            cdw13,
            cdw14,
            cdw15,
            ..Sqe::new(self.opcode, self.nsid)
        }
    }

    /// Whether it came from the admin queue.
    #[must_use]
    pub const fn is_admin(&self) -> bool {
        self.queue.is_admin()
    }

    /// The opcode of an I/O command; none for an admin command.
    #[must_use]
    pub const fn nvm_opcode(&self) -> Option<NvmOpcode> {
        if self.is_admin() {
            None
        } else {
            Some(NvmOpcode(self.opcode))
        }
    }

    /// Starting LBA and number of blocks; none where the command has none.
    #[must_use]
    pub fn lba_range(&self) -> Option<(Lba, u32)> {
        if !self.nvm_opcode()?.has_lba_range() {
            return None;
        }
        let [low, high, cdw12, ..] = self.cdw10_15;
        let lba = Lba(u64::from(high) << 32 | u64::from(low));
        Some((lba, ReadWriteCdw12::from_bits(cdw12).blocks()))
    }

    /// Sets the starting LBA, of a command that has one.
    pub fn set_lba(&mut self, lba: Lba) {
        let mut sqe = self.sqe();
        sqe.set_slba(lba);
        self.cdw10_15[0] = sqe.cdw10.get();
        self.cdw10_15[1] = sqe.cdw11.get();
    }

    /// Whether it writes data that a trace may hold.
    #[must_use]
    pub fn may_have_payload(&self) -> bool {
        matches!(
            self.nvm_opcode(),
            Some(NvmOpcode::WRITE | NvmOpcode::ZONE_APPEND)
        )
    }

    /// Whether the force unit access bit is set.
    #[must_use]
    pub fn fua(&self) -> bool {
        self.lba_range().is_some() && ReadWriteCdw12::from_bits(self.cdw10_15[2]).fua()
    }

    /// From submission to completion, nanoseconds.
    #[must_use]
    pub fn latency_ns(&self) -> Option<u64> {
        let completion = self.completion?;
        Some(completion.complete_ns.saturating_sub(self.submit_ns))
    }

    /// The command's name, or its opcode in hexadecimal.
    #[must_use]
    pub fn opcode_name(&self) -> String {
        match self.nvm_opcode() {
            Some(opcode) => opcode.to_string(),
            None => AdminOpcode(self.opcode).to_string(),
        }
    }
}

/// Something that happened to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// When, nanoseconds of the tap's clock.
    pub at_ns: u64,
    /// The sequence number that the next fetched command will get.
    pub sequence: u64,
    /// What.
    pub event: Event,
}

/// What can happen to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A guest or a driver attached.
    Connect,
    /// It went away.
    Disconnect,
    /// CC.EN became 1 and the controller ready.
    Enable,
    /// CC.EN became 0: a controller reset.
    Reset,
    /// A reset of the PCI function (FLR, or the transport's like).
    FunctionReset,
    /// CC.SHN announced a normal shutdown.
    ShutdownNormal,
    /// CC.SHN announced an abrupt shutdown.
    ShutdownAbrupt,
    /// CSTS.CFS became 1.
    FatalStatus,
}

/// Commands that were lost, because the recording was told to drop rather than
/// to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the first of them was lost, nanoseconds of the tap's clock.
    pub at_ns: u64,
    /// How many; exact.
    pub lost: u64,
}
