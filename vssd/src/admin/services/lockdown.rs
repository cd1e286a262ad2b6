//! Command and feature lockdown: what a host may no longer do, until the next
//! power cycle.

use nvme::{AdminOpcode, FeatureId, FeaturesCdw10, LockdownCdw10, LockdownLog, LockdownSelection};
use nvme::{LockdownCdw14, Sqe, Status};

/// Admin commands that can be prohibited.
const COMMANDS: [AdminOpcode; 9] = [
    AdminOpcode::SET_FEATURES,
    AdminOpcode::NAMESPACE_MANAGEMENT,
    AdminOpcode::FIRMWARE_COMMIT,
    AdminOpcode::FIRMWARE_DOWNLOAD,
    AdminOpcode::DEVICE_SELF_TEST,
    AdminOpcode::NAMESPACE_ATTACHMENT,
    AdminOpcode::FORMAT_NVM,
    AdminOpcode::SECURITY_SEND,
    AdminOpcode::SANITIZE,
];
/// Features that can be prohibited to be set.
const FEATURES: [FeatureId; 7] = [
    FeatureId::POWER_MANAGEMENT,
    FeatureId::TEMPERATURE_THRESHOLD,
    FeatureId::VOLATILE_WRITE_CACHE,
    FeatureId::TIMESTAMP,
    FeatureId::HOST_THERMAL_MANAGEMENT,
    FeatureId::SANITIZE_CONFIG,
    FeatureId::NAMESPACE_WRITE_PROTECTION,
];

const SCOPE_COMMANDS: u8 = 0;
const SCOPE_FEATURES: u8 = 2;
const SCOPE_MI: u8 = 3;
const SCOPE_PCIE: u8 = 4;

/// A set of opcodes or feature identifiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set([u64; 4]);

impl Set {
    const fn bit(id: u8) -> (usize, u64) {
        // Lossless: from 8 bits to a pointer's.
        ((id / 64) as usize, 1 << (id % 64))
    }

    fn has(&self, id: u8) -> bool {
        let (word, bit) = Self::bit(id);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    fn change(&mut self, id: u8, present: bool) {
        let (word, bit) = Self::bit(id);
        if let Some(word) = self.0.get_mut(word) {
            *word = if present { *word | bit } else { *word & !bit };
        }
    }
}

/// What is prohibited, on the admin queue and out of band. Controller level
/// resets leave it, a power cycle ends it (`NVMe Base 2.1 §8.1.5`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lockdown {
    commands: Set,
    features: Set,
    commands_out_of_band: Set,
    features_out_of_band: Set,
}

impl Lockdown {
    /// Lockdown (`NVMe Base 2.1 §5.1.15`).
    pub(crate) fn command(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let cdw10 = LockdownCdw10::from_bits(sqe.cdw10.get());
        let cdw14 = LockdownCdw14::from_bits(sqe.cdw14.get());
        let id = cdw10.ofi();
        let (in_band, out_of_band) = match cdw10.ifc() {
            0 => (true, false),
            1 => (true, true),
            2 => (false, true),
            _ => return Err(Status::INVALID_FIELD.dnr()),
        };
        // There are no vendor specific commands to choose by a UUID.
        if cdw14.uidx() != 0 {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let can = match cdw10.scp() {
            SCOPE_COMMANDS => COMMANDS.contains(&AdminOpcode(id)),
            SCOPE_FEATURES => FEATURES.contains(&FeatureId(id)),
            SCOPE_MI | SCOPE_PCIE => false,
            _ => return Err(Status::INVALID_FIELD.dnr()),
        };
        if !can {
            return Err(Status::LOCKDOWN_NOT_SUPPORTED.dnr());
        }
        let (first, second) = if cdw10.scp() == SCOPE_COMMANDS {
            (&mut self.commands, &mut self.commands_out_of_band)
        } else {
            (&mut self.features, &mut self.features_out_of_band)
        };
        if in_band {
            first.change(id, cdw10.prhbt());
        }
        if out_of_band {
            second.change(id, cdw10.prhbt());
        }
        Ok(())
    }

    /// Whether an admin command may be executed.
    pub(crate) fn check(&self, sqe: &Sqe) -> Result<(), Status> {
        let sets = AdminOpcode(sqe.opcode) == AdminOpcode::SET_FEATURES;
        let feature = FeaturesCdw10::from_bits(sqe.cdw10.get()).fid();
        if self.commands.has(sqe.opcode) || sets && self.features.has(feature) {
            Err(Status::PROHIBITED_BY_LOCKDOWN.dnr())
        } else {
            Ok(())
        }
    }

    /// A power cycle: nothing is prohibited any more.
    pub(crate) fn power_on(&mut self) {
        *self = Self::default();
    }

    /// The log page (`NVMe Base 2.1 §5.1.12.1.20`) that `selection`, the log
    /// specific parameter, asks for.
    pub(crate) fn log(&self, selection: u8) -> Result<LockdownLog, Status> {
        const SUPPORTED: u8 = 0;
        const IN_BAND: u8 = 1;
        const OUT_OF_BAND: u8 = 2;
        let asked = LockdownSelection::from_bits(selection);
        let none = Set::default();
        let mut supported = Set::default();
        match asked.scope() {
            SCOPE_COMMANDS => COMMANDS.iter().for_each(|id| supported.change(id.0, true)),
            SCOPE_FEATURES => FEATURES.iter().for_each(|id| supported.change(id.0, true)),
            SCOPE_MI | SCOPE_PCIE => {}
            _ => return Err(Status::INVALID_FIELD.dnr()),
        }
        let set = match (asked.contents(), asked.scope()) {
            (SUPPORTED, _) => supported,
            (IN_BAND, SCOPE_COMMANDS) => self.commands,
            (IN_BAND, SCOPE_FEATURES) => self.features,
            (OUT_OF_BAND, SCOPE_COMMANDS) => self.commands_out_of_band,
            (OUT_OF_BAND, SCOPE_FEATURES) => self.features_out_of_band,
            (IN_BAND | OUT_OF_BAND, _) => none,
            _ => return Err(Status::INVALID_FIELD.dnr()),
        };
        let mut log = LockdownLog {
            selection: asked.into_bits(),
            ..LockdownLog::default()
        };
        let listed = (0..=u8::MAX).filter(|&id| set.has(id));
        for (slot, id) in log.list.iter_mut().zip(listed) {
            *slot = id;
            log.length = log.length.saturating_add(1);
        }
        Ok(log)
    }
}
