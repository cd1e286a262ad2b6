//! The configuration space of a PCI function: capabilities, power states, the
//! link.
//!
//! [`PciConfig`] reads and writes it by any transport that has one. What the
//! kernel reserves to itself (VFIO keeps MSI-X and the BARs) stays as it is,
//! without an error.

use crate::DriverError;
use crate::transport::Transport;

/// The command register (`PCI Express Base 5.0 §7.5.1.1.3`).
pub(crate) const COMMAND: u16 = 0x04;
/// Its Memory Space Enable.
const MEMORY_SPACE: u8 = 1 << 1;
/// Memory Space Enable, Bus Master Enable, without which a device may not touch
/// memory, and Interrupt Disable: nobody waits for the pin, and one that stays
/// asserted costs whoever has to look (a hypervisor, with every access).
const COMMAND_ON: u16 = 1 << 1 | 1 << 2 | 1 << 10;
/// The status register, whose bit 4 tells of capabilities.
const STATUS: u16 = 0x06;
const STATUS_CAPABILITIES: u8 = 1 << 4;
/// Where the first capability is.
const CAPABILITIES: u16 = 0x34;
/// Where the first extended capability is.
const EXTENDED_CAPABILITIES: u16 = 0x100;

/// The identifier of the power management capability.
pub const CAPABILITY_POWER: u8 = 0x01;
/// The identifier of the MSI-X capability.
pub const CAPABILITY_MSIX: u8 = 0x11;
/// The identifier of the PCI Express capability.
pub const CAPABILITY_EXPRESS: u8 = 0x10;

/// Power Management Control/Status, from its capability's start
/// (`PCI Express Base 5.0 §7.5.2.2`).
pub(crate) const POWER_CONTROL: u16 = 4;
const POWER_STATE: u8 = 0b11;
/// Link Control and Link Status, from the PCI Express capability's start
/// (`PCI Express Base 5.0 §7.5.3.7`, `§7.5.3.8`).
const LINK_CONTROL: u16 = 0x10;
const LINK_STATUS: u16 = 0x12;
const LINK_ASPM: u8 = 0b11;

/// Capabilities of four bytes at least in 256 bytes, extended ones in 4096.
const CAPABILITIES_MAX: usize = 48;
const EXTENDED_CAPABILITIES_MAX: usize = 480;

/// Whether a function with this low byte of its command register answers for
/// its memory.
pub(crate) const fn decodes_memory(command: u8) -> bool {
    command & MEMORY_SPACE != 0
}

/// Whether a function with this low byte of its power control is in D0.
pub(crate) const fn is_powered(power: u8) -> bool {
    power & POWER_STATE == 0
}

/// The power state of a function (`PCI Express Base 5.0 §5.3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// Works.
    D0,
    /// Sleeps lightly; few functions have it.
    D1,
    /// Sleeps; few functions have it.
    D2,
    /// Is off but for its configuration space.
    D3Hot,
}

impl PowerState {
    const fn from_bits(bits: u8) -> Self {
        match bits & POWER_STATE {
            0 => Self::D0,
            1 => Self::D1,
            2 => Self::D2,
            _ => Self::D3Hot,
        }
    }

    const fn into_bits(self) -> u8 {
        match self {
            Self::D0 => 0,
            Self::D1 => 1,
            Self::D2 => 2,
            Self::D3Hot => 3,
        }
    }
}

/// How a link saves power while it is idle
/// (`PCI Express Base 5.0 §7.5.3.7`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspm {
    /// Not at all.
    Off,
    /// L0s.
    L0s,
    /// L1.
    L1,
    /// Both.
    L0sAndL1,
}

impl Aspm {
    const fn from_bits(bits: u8) -> Self {
        match bits & LINK_ASPM {
            0 => Self::Off,
            1 => Self::L0s,
            2 => Self::L1,
            _ => Self::L0sAndL1,
        }
    }

    const fn into_bits(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::L0s => 1,
            Self::L1 => 2,
            Self::L0sAndL1 => 3,
        }
    }
}

/// A link as it was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciLink {
    /// The generation: 1 for 2.5 GT/s, 4 for 16 GT/s.
    pub generation: u8,
    /// How many lanes.
    pub lanes: u8,
}

/// The configuration space of the function behind a transport.
#[derive(Debug)]
pub struct PciConfig<'a, T: Transport + ?Sized>(&'a mut T);

impl<'a, T: Transport + ?Sized> PciConfig<'a, T> {
    /// That of the function behind `transport`.
    pub const fn of(transport: &'a mut T) -> Self {
        Self(transport)
    }

    /// Reads `to.len()` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`DriverError::Transport`] where there is no such space.
    pub fn read(&mut self, offset: u16, to: &mut [u8]) -> Result<(), DriverError> {
        self.0.config_read(offset, to)
    }

    /// Writes `from` at `offset`.
    ///
    /// # Errors
    ///
    /// [`DriverError::Transport`] where there is no such space.
    pub fn write(&mut self, offset: u16, from: &[u8]) -> Result<(), DriverError> {
        self.0.config_write(offset, from)
    }

    fn byte(&mut self, offset: u16) -> Result<u8, DriverError> {
        let mut byte = [0];
        self.read(offset, &mut byte)?;
        Ok(byte[0])
    }

    fn word(&mut self, offset: u16) -> Result<u16, DriverError> {
        let mut bytes = [0; 2];
        self.read(offset, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    /// Vendor and device identifier (`PCI Express Base 5.0 §7.5.1.1`).
    ///
    /// # Errors
    ///
    /// Those of [`PciConfig::read`].
    pub fn identity(&mut self) -> Result<(u16, u16), DriverError> {
        Ok((self.word(0)?, self.word(2)?))
    }

    /// Where the capability `id` is; none where the function has none.
    ///
    /// # Errors
    ///
    /// Those of [`PciConfig::read`].
    pub fn capability(&mut self, id: u8) -> Result<Option<u16>, DriverError> {
        if self.byte(STATUS)? & STATUS_CAPABILITIES == 0 {
            return Ok(None);
        }
        let mut at = u16::from(self.byte(CAPABILITIES)? & !3);
        // A chain that goes in circles ends, too.
        for _ in 0..CAPABILITIES_MAX {
            if at < 0x40 {
                break;
            }
            if self.byte(at)? == id {
                return Ok(Some(at));
            }
            at = u16::from(self.byte(at + 1)? & !3);
        }
        Ok(None)
    }

    /// Where the extended capability `id` is; none where the function has none.
    ///
    /// # Errors
    ///
    /// Those of [`PciConfig::read`].
    pub fn extended_capability(&mut self, id: u16) -> Result<Option<u16>, DriverError> {
        let mut at = EXTENDED_CAPABILITIES;
        for _ in 0..EXTENDED_CAPABILITIES_MAX {
            let mut head = [0; 4];
            // A space of 256 bytes has none.
            if self.read(at, &mut head).is_err() && at == EXTENDED_CAPABILITIES {
                break;
            }
            let head = u32::from_le_bytes(head);
            let [low, middle, high, top] = head.to_le_bytes();
            if u16::from_le_bytes([low, middle]) == id {
                return Ok(Some(at));
            }
            at = u16::from(top) << 4 | u16::from(high >> 4);
            if at < EXTENDED_CAPABILITIES {
                break;
            }
        }
        Ok(None)
    }

    /// Lets the function answer for its memory, access ours, and keeps it from
    /// asserting its interrupt pin.
    ///
    /// # Errors
    ///
    /// Those of [`PciConfig::read`].
    pub fn switch_on(&mut self) -> Result<(), DriverError> {
        let command = self.word(COMMAND)? | COMMAND_ON;
        self.write(COMMAND, &command.to_le_bytes())
    }

    /// The power state that the function is in.
    ///
    /// # Errors
    ///
    /// Those of [`PciConfig::read`]; [`DriverError::Transport`] where the
    /// function has no power management.
    pub fn power_state(&mut self) -> Result<PowerState, DriverError> {
        let at = self.power_control()?;
        self.byte(at).map(PowerState::from_bits)
    }

    /// Puts the function into a power state. In D3hot its registers read as
    /// all ones, and its queues do not run: [`crate::Controller::reset`] brings
    /// the controller back once it is in D0 again.
    ///
    /// # Errors
    ///
    /// Those of [`PciConfig::power_state`].
    pub fn set_power_state(&mut self, state: PowerState) -> Result<(), DriverError> {
        let at = self.power_control()?;
        let byte = self.byte(at)? & !POWER_STATE | state.into_bits();
        self.write(at, &[byte])
    }

    /// How the link saves power.
    ///
    /// # Errors
    ///
    /// Those of [`PciConfig::read`]; [`DriverError::Transport`] where the
    /// function is not on PCI Express.
    pub fn aspm(&mut self) -> Result<Aspm, DriverError> {
        let at = self.express()? + LINK_CONTROL;
        self.byte(at).map(Aspm::from_bits)
    }

    /// Sets how the link saves power. The other end of the link has a setting
    /// of its own, which is the system's.
    ///
    /// # Errors
    ///
    /// Those of [`PciConfig::aspm`].
    pub fn set_aspm(&mut self, aspm: Aspm) -> Result<(), DriverError> {
        let at = self.express()? + LINK_CONTROL;
        let byte = self.byte(at)? & !LINK_ASPM | aspm.into_bits();
        self.write(at, &[byte])
    }

    /// The link as it was agreed on.
    ///
    /// # Errors
    ///
    /// Those of [`PciConfig::aspm`].
    pub fn link(&mut self) -> Result<PciLink, DriverError> {
        let at = self.express()? + LINK_STATUS;
        let [low, high] = self.word(at)?.to_le_bytes();
        Ok(PciLink {
            generation: low & 0xf,
            lanes: (low >> 4) | (high & 0b11) << 4,
        })
    }

    /// Where the power state is set.
    fn power_control(&mut self) -> Result<u16, DriverError> {
        Ok(self.needed(CAPABILITY_POWER, "power management")? + POWER_CONTROL)
    }

    fn express(&mut self) -> Result<u16, DriverError> {
        self.needed(CAPABILITY_EXPRESS, "PCI Express link")
    }

    fn needed(&mut self, id: u8, what: &str) -> Result<u16, DriverError> {
        match self.capability(id)? {
            Some(at) => Ok(at),
            None => Err(DriverError::transport(
                self.0.name(),
                "looking for a PCI capability",
                format!("it has no {what}"),
            )),
        }
    }
}
