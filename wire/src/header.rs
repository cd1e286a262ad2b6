use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The commands of the protocol ("Commands").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum Command {
    /// Agree on a protocol version; the first message on a connection.
    Version = 1,
    /// Give the server access to a range of client memory.
    DmaMap = 2,
    /// Take it back.
    DmaUnmap = 3,
    /// What the device has.
    DeviceGetInfo = 4,
    /// What one of its regions is like.
    DeviceGetRegionInfo = 5,
    /// Descriptors by which a region may be accessed without a message.
    DeviceGetRegionIoFds = 6,
    /// What one of its interrupt types is like.
    DeviceGetIrqInfo = 7,
    /// How interrupts are to be signalled.
    DeviceSetIrqs = 8,
    /// Read from a region.
    RegionRead = 9,
    /// Write to a region.
    RegionWrite = 10,
    /// Read client memory (server to client).
    DmaRead = 11,
    /// Write client memory (server to client).
    DmaWrite = 12,
    /// Reset the device.
    DeviceReset = 13,
    /// Several region writes in one message.
    RegionWriteMulti = 15,
    /// Get, set or probe a device feature.
    DeviceFeature = 16,
    /// Read migration data.
    MigDataRead = 17,
    /// Write migration data.
    MigDataWrite = 18,
}

impl Command {
    /// The command of that number, if it is one of the protocol.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Version,
            2 => Self::DmaMap,
            3 => Self::DmaUnmap,
            4 => Self::DeviceGetInfo,
            5 => Self::DeviceGetRegionInfo,
            6 => Self::DeviceGetRegionIoFds,
            7 => Self::DeviceGetIrqInfo,
            8 => Self::DeviceSetIrqs,
            9 => Self::RegionRead,
            10 => Self::RegionWrite,
            11 => Self::DmaRead,
            12 => Self::DmaWrite,
            13 => Self::DeviceReset,
            15 => Self::RegionWriteMulti,
            16 => Self::DeviceFeature,
            17 => Self::MigDataRead,
            18 => Self::MigDataWrite,
            _ => return None,
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

const TYPE_MASK: u32 = 0xf;
const TYPE_REPLY: u32 = 0x1;
const NO_REPLY: u32 = 0x10;
const ERROR: u32 = 0x20;

/// What stands before every message ("Header").
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// Chosen by the sender of a command, echoed in its reply; of no other
    /// meaning.
    pub id: u16,
    /// The number of the [`Command`].
    pub command: u16,
    /// Size of the message with this header, bytes.
    pub size: u32,
    /// Type and attributes; see the methods.
    pub flags: u32,
    /// In a reply with the error flag: an errno, or zero.
    pub error: u32,
}

impl Header {
    /// The header of a command. The size is filled in when it is sent.
    #[must_use]
    pub const fn request(id: u16, command: Command) -> Self {
        Self {
            id,
            command: command.number(),
            size: 0,
            flags: 0,
            error: 0,
        }
    }

    /// The same command, but no reply is wanted.
    #[must_use]
    pub const fn without_reply(mut self) -> Self {
        self.flags |= NO_REPLY;
        self
    }

    /// The header of the reply to this command. The size is filled in when it
    /// is sent.
    #[must_use]
    pub const fn reply(self) -> Self {
        Self {
            id: self.id,
            command: self.command,
            size: 0,
            flags: TYPE_REPLY,
            error: 0,
        }
    }

    /// The header of the reply that refuses this command for the reason
    /// `errno`.
    #[must_use]
    pub const fn error_reply(self, errno: u32) -> Self {
        Self {
            flags: TYPE_REPLY | ERROR,
            error: errno,
            ..self.reply()
        }
    }

    /// The type field: 0 for a command, 1 for a reply.
    #[must_use]
    pub const fn kind(self) -> u8 {
        // The mask leaves four bits.
        (self.flags & TYPE_MASK).to_le_bytes()[0]
    }

    /// Whether this is a reply.
    #[must_use]
    pub const fn is_reply(self) -> bool {
        self.flags & TYPE_MASK == TYPE_REPLY
    }

    /// Whether the sender of this command wants no reply.
    #[must_use]
    pub const fn no_reply(self) -> bool {
        self.flags & NO_REPLY != 0
    }

    /// Whether this reply refuses the command.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.flags & ERROR != 0
    }

    /// The command, if it is one of the protocol.
    #[must_use]
    pub const fn command(self) -> Option<Command> {
        Command::from_number(self.command)
    }
}
