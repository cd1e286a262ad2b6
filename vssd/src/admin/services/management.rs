//! NVMe-MI in band: NVMe-MI Send and NVMe-MI Receive.

use nvme::{NvmeMiEffects, Sqe, Status};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

/// What an NVMe-MI command is (`NVMe-MI 2.0 §5`).
const READ_DATA_STRUCTURE: u8 = 0x00;
const SUBSYSTEM_HEALTH: u8 = 0x01;
const CONTROLLER_HEALTH: u8 = 0x02;
const CONFIGURATION_SET: u8 = 0x03;
const CONFIGURATION_GET: u8 = 0x04;

/// What is supported: opcode, and whether NVMe-MI Send carries it.
const COMMANDS: [(u8, bool); 5] = [
    (READ_DATA_STRUCTURE, false),
    (SUBSYSTEM_HEALTH, false),
    (CONTROLLER_HEALTH, false),
    (CONFIGURATION_SET, true),
    (CONFIGURATION_GET, false),
];

/// The response status of a tunneled command (`NVMe-MI 2.0 §4.1.2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    InvalidOpcode = 0x03,
    InvalidParameter = 0x04,
}

/// What a tunneled command is answered with: dword 0 of the completion, and
/// data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) dword0: u32,
    pub(crate) data: Vec<u8>,
}

impl Reply {
    /// Success, with the three bytes of NVMe management response.
    const fn with(response: u32, data: Vec<u8>) -> Self {
        Self {
            dword0: response << 8,
            data,
        }
    }

    const fn of_data(data: Vec<u8>, bytes: u16) -> Self {
        let [low, high] = bytes.to_le_bytes();
        let response = u32::from_le_bytes([low, high, 0, 0]);
        Self::with(response, data)
    }
}

/// What a drive tells of itself here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    pub(crate) subsystem_vendor: u16,
    pub(crate) subsystem: u16,
    pub(crate) controller: u16,
    /// CSTS, as the register has it.
    pub(crate) csts: u32,
    /// Critical warnings of the SMART log.
    pub(crate) warnings: u8,
    /// Composite temperature, kelvin.
    pub(crate) temperature_k: u16,
    /// Percentage used and available spare.
    pub(crate) used: u8,
    pub(crate) spare: u8,
}

/// The NVMe-MI state of the drive: which changes of its controller's health a
/// management host has not cleared (`NVMe-MI 2.0 §5.6`, Composite Controller
/// Status).
#[derive(Clone, Debug, Default)]
pub(crate) struct Management {
    changed: u16,
    /// What CSTS and warnings were when they were looked at last.
    seen: (u32, u8),
}

/// Composite Controller Status: CSTS bits, 12 critical warnings.
const CCS_WARNING: u16 = 1 << 12;

impl Management {
    /// NVMe-MI Send (`sends`) or NVMe-MI Receive (`NVMe Base 2.1 §5.1.18`,
    /// `§5.1.19`). A message that is not an NVMe-MI command is an error of the
    /// NVMe command; what is wrong with the command is told in dword 0.
    pub(crate) fn command(
        &mut self,
        sqe: &Sqe,
        sends: bool,
        facts: &Facts,
    ) -> Result<Reply, Status> {
        /// Message type 4 is NVMe-MI; there is no integrity check.
        const MESSAGE_TYPE: u8 = 0x04;
        /// NVMe-MI message type 1 is an NVMe-MI command; not a response.
        const MI_COMMAND: u8 = 1 << 3;
        let [message, kind, ..] = sqe.cdw10.get().to_le_bytes();
        if message != MESSAGE_TYPE || kind & !1 != MI_COMMAND {
            return Err(Status::INVALID_FIELD.dnr());
        }
        self.look(facts);
        let [opcode, ..] = sqe.cdw11.get().to_le_bytes();
        let (nmd0, nmd1) = (sqe.cdw12.get(), sqe.cdw13.get());
        let reply = if !COMMANDS.contains(&(opcode, sends)) {
            Err(Failure::InvalidOpcode)
        } else {
            match opcode {
                READ_DATA_STRUCTURE => data_structure(nmd0, facts),
                SUBSYSTEM_HEALTH => Ok(self.subsystem_health(nmd1, facts)),
                CONTROLLER_HEALTH => self.controller_health(nmd0, nmd1, facts),
                CONFIGURATION_SET => self.set(nmd0, nmd1),
                _ => get(nmd0),
            }
        };
        Ok(reply.unwrap_or_else(|failure| Reply {
            dword0: u32::from(failure as u8),
            data: Vec::new(),
        }))
    }

    /// Notes what changed since the last look.
    fn look(&mut self, facts: &Facts) {
        let (csts, warnings) = self.seen;
        let [low, ..] = (csts ^ facts.csts).to_le_bytes();
        // RDY, CFS, the shutdown status and "subsystem reset occurred".
        self.changed |= u16::from(low & 0x1f);
        if warnings != facts.warnings {
            self.changed |= CCS_WARNING;
        }
        self.seen = (facts.csts, facts.warnings);
    }

    /// NVM Subsystem Health Status Poll: 8 bytes.
    fn subsystem_health(&mut self, nmd1: u32, facts: &Facts) -> Reply {
        const CLEAR: u32 = 1 << 31;
        /// Drive functional, and port 0's PCIe link active.
        const STATUS: u8 = 1 << 5 | 1 << 3;
        let [low, high] = self.changed.to_le_bytes();
        let data = vec![
            STATUS,
            // The warnings, inverted.
            !facts.warnings,
            celsius(facts.temperature_k),
            facts.used,
            low,
            high,
            0,
            0,
        ];
        if nmd1 & CLEAR != 0 {
            self.changed = 0;
        }
        Reply::with(0, data)
    }

    /// Controller Health Status Poll: 16 bytes for each controller.
    fn controller_health(&mut self, nmd0: u32, nmd1: u32, facts: &Facts) -> Result<Reply, Failure> {
        const ALL: u8 = 1 << 7;
        const PHYSICAL: u8 = 1;
        const CLEAR: u32 = 1 << 31;
        let [low, high, _, flags] = nmd0.to_le_bytes();
        let first = u16::from_le_bytes([low, high]);
        // Which changes are asked for: CSTS bits, temperature, use, spare and
        // warnings, of which only the first and the last ever change.
        let asks_csts = nmd1 & 0b1 != 0 && self.changed & !CCS_WARNING != 0;
        let asks_warning = nmd1 & 1 << 4 != 0 && self.changed & CCS_WARNING != 0;
        let told = first <= facts.controller
            && flags & PHYSICAL != 0
            && (flags & ALL != 0 || asks_csts || asks_warning);
        let mut data = Vec::new();
        if told {
            let [csts_low, csts_high, ..] = facts.csts.to_le_bytes();
            data.extend_from_slice(&facts.controller.to_le_bytes());
            data.extend_from_slice(&[csts_low, csts_high]);
            data.extend_from_slice(&facts.temperature_k.to_le_bytes());
            data.extend_from_slice(&[facts.used, facts.spare, facts.warnings]);
            data.resize(16, 0);
        }
        if nmd1 & CLEAR != 0 {
            self.changed = 0;
        }
        // The number of entries is in the third byte of the response.
        Ok(Reply::with(u32::from(told) << 16, data))
    }

    /// Configuration Set: health status changes are cleared, as asked.
    fn set(&mut self, nmd0: u32, nmd1: u32) -> Result<Reply, Failure> {
        let [id, ..] = nmd0.to_le_bytes();
        if id != HEALTH_STATUS_CHANGE {
            return Err(Failure::InvalidParameter);
        }
        let [low, high, ..] = nmd1.to_le_bytes();
        self.changed &= !u16::from_le_bytes([low, high]);
        Ok(Reply::default())
    }
}

const HEALTH_STATUS_CHANGE: u8 = 2;
const MCTP_UNIT: u8 = 3;

/// Configuration Get: there is a PCIe port 0, and no SMBus.
fn get(nmd0: u32) -> Result<Reply, Failure> {
    const UNIT_BYTES: u32 = 64;
    let [id, _, _, port] = nmd0.to_le_bytes();
    match (id, port) {
        (HEALTH_STATUS_CHANGE, _) => Ok(Reply::default()),
        (MCTP_UNIT, 0) => Ok(Reply::with(UNIT_BYTES, Vec::new())),
        _ => Err(Failure::InvalidParameter),
    }
}

/// Read NVMe-MI Data Structure (`NVMe-MI 2.0 §5.7`).
fn data_structure(nmd0: u32, facts: &Facts) -> Result<Reply, Failure> {
    const STRUCTURE_BYTES: usize = 32;
    /// A port's type: PCIe.
    const PCIE: u8 = 1;
    let [low, high, port, kind] = nmd0.to_le_bytes();
    let controller = u16::from_le_bytes([low, high]);
    let mut data = match kind {
        // Subsystem: one port, zero-based; version 2.0.
        0 => vec![0, 2, 0],
        // Port: type, capabilities, the MCTP unit, and the link: generation 1
        // to 3, the third in use, 4 lanes.
        1 if port == 0 => {
            let mut data = vec![PCIE, 0, 64, 0];
            data.resize(8, 0);
            data.extend_from_slice(&[0, 0b111, 3, 4, 4, 0]);
            data
        }
        // Controllers from one on: how many, then which.
        2 => {
            let listed: &[u16] = if controller <= facts.controller {
                &[1, facts.controller]
            } else {
                &[0]
            };
            let list = listed.iter().flat_map(|word| word.to_le_bytes()).collect();
            return Ok(structure(list));
        }
        3 if controller == facts.controller => {
            let mut data = vec![0; 8];
            for word in [
                facts.vendor,
                facts.device,
                facts.subsystem_vendor,
                facts.subsystem,
            ] {
                data.extend_from_slice(&word.to_le_bytes());
            }
            data
        }
        // Optional commands: how many, then type and opcode of each. What is
        // here beside the mandatory ones is none.
        4 if controller == facts.controller => return Ok(structure(vec![0, 0])),
        _ => return Err(Failure::InvalidParameter),
    };
    data.resize(STRUCTURE_BYTES, 0);
    Ok(structure(data))
}

fn structure(data: Vec<u8>) -> Reply {
    let bytes = u16::try_from(data.len()).unwrap_or(0);
    Reply::of_data(data, bytes)
}

/// Kelvin as the byte of degrees Celsius that health polls have: 0 to 126,
/// 127 for more, and below zero in two's complement.
fn celsius(kelvin: u16) -> u8 {
    match kelvin.checked_sub(273) {
        Some(above) => u8::try_from(above).map_or(127, |above| above.min(127)),
        None => {
            let below = 273_u16.saturating_sub(kelvin).min(60);
            u8::try_from(256_u16.saturating_sub(below)).unwrap_or(0xc4)
        }
    }
}

/// NVMe-MI Commands Supported and Effects (`NVMe Base 2.1 §5.1.12.1.19`): none
/// changes anything beside what NVMe-MI itself reports.
pub(crate) fn effects() -> Vec<u8> {
    let mut entries = [U32::new(0); 1024];
    for (opcode, _) in COMMANDS {
        if let Some(entry) = entries.get_mut(usize::from(opcode)) {
            *entry = NvmeMiEffects::new().with_csupp(true).into_bits().into();
        }
    }
    entries.as_bytes().to_vec()
}
