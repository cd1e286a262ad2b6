//! Commands that a drive may do without, and what goes with each of them.

use nvme::{AdminOpcode, FeatureId, IdentifyController, LogPageId, NvmOpcode};
use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32};

use crate::ControllerConfig;
use crate::admin::endurance::ENDURANCE_GROUP;

/// A command, or commands that go together, that a drive may do without. The
/// virtual SSD has them all, where [`ControllerConfig::withheld`] does not say
/// otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptionalCommand {
    /// Security Send and Security Receive (`NVMe Base 2.1 §5.1.23`).
    Security,
    /// Format NVM (`NVMe Base 2.1 §5.1.10`).
    Format,
    /// Firmware Image Download and Firmware Commit (`NVMe Base 2.1 §5.1.8`).
    Firmware,
    /// Namespace Management and Attachment (`NVMe Base 2.1 §5.1.21`).
    NamespaceManagement,
    /// Device Self-test (`NVMe Base 2.1 §5.1.5`).
    SelfTest,
    /// Directive Send and Receive (`NVMe Base 2.1 §5.1.7`).
    Directives,
    /// NVMe-MI Send and Receive (`NVMe Base 2.1 §5.1.19`).
    NvmeMi,
    /// Doorbell Buffer Config (`NVMe Base 2.1 §5.2.5`).
    DoorbellBuffer,
    /// Lockdown (`NVMe Base 2.1 §5.1.15`).
    Lockdown,
    /// Sanitize (`NVMe Base 2.1 §5.1.22`).
    Sanitize,
    /// Compare (`NVM Command Set 1.1 §3.3.1`).
    Compare,
    /// Write Uncorrectable (`NVM Command Set 1.1 §3.3.7`).
    WriteUncorrectable,
    /// Dataset Management (`NVM Command Set 1.1 §3.3.3`).
    DatasetManagement,
    /// Write Zeroes (`NVM Command Set 1.1 §3.3.8`).
    WriteZeroes,
    /// Reservation Register, Report, Acquire and Release
    /// (`NVMe Base 2.1 §8.1.22`).
    Reservations,
    /// Verify (`NVM Command Set 1.1 §3.3.5`).
    Verify,
    /// Copy (`NVM Command Set 1.1 §3.3.2`).
    Copy,
    /// Compare and Write as one fused operation (`NVM Command Set 1.1 §3.2.1`).
    CompareAndWrite,
    /// Get LBA Status (`NVM Command Set 1.1 §4.2.1`).
    GetLbaStatus,
    /// Endurance groups, which have pages and a feature, but no command
    /// (`NVMe Base 2.1 §3.2.3`).
    EnduranceGroups,
}

impl OptionalCommand {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Security,
        Self::Format,
        Self::Firmware,
        Self::NamespaceManagement,
        Self::SelfTest,
        Self::Directives,
        Self::NvmeMi,
        Self::DoorbellBuffer,
        Self::Lockdown,
        Self::Sanitize,
        Self::Compare,
        Self::WriteUncorrectable,
        Self::DatasetManagement,
        Self::WriteZeroes,
        Self::Reservations,
        Self::Verify,
        Self::Copy,
        Self::CompareAndWrite,
        Self::GetLbaStatus,
        Self::EnduranceGroups,
    ];

    /// Whether a drive that says `controller` of itself has it.
    pub(crate) fn is_offered(self, controller: &IdentifyController) -> bool {
        match self.told() {
            Told::Oacs(bits) => controller.oacs.get() & bits != 0,
            Told::Oncs(bits) => controller.oncs.get() & bits != 0,
            Told::Fuses(bits) => controller.fuses.get() & bits != 0,
            Told::Sanicap(bits) => controller.sanicap.get() & bits != 0,
            Told::Ctratt(bits) => controller.ctratt.get() & bits != 0,
        }
    }

    /// Has `controller` say that the drive does without it.
    fn withhold(self, controller: &mut IdentifyController) {
        match self.told() {
            Told::Oacs(bits) => controller.oacs = U16::new(controller.oacs.get() & !bits),
            Told::Oncs(bits) => controller.oncs = U16::new(controller.oncs.get() & !bits),
            Told::Fuses(bits) => controller.fuses = U16::new(controller.fuses.get() & !bits),
            // What else SANICAP says is about these.
            Told::Sanicap(_) => controller.sanicap = U32::new(0),
            Told::Ctratt(bits) => controller.ctratt = U32::new(controller.ctratt.get() & !bits),
        }
        let events = match self {
            Self::GetLbaStatus => IdentifyController::OAES_LBA_STATUS,
            Self::EnduranceGroups => IdentifyController::OAES_ENDURANCE_GROUP,
            _ => 0,
        };
        controller.oaes = U32::new(controller.oaes.get() & !events);
        if self == Self::EnduranceGroups {
            controller.endgidmax = U16::new(0);
        }
    }

    /// Where Identify Controller tells of it (`NVMe Base 2.1 §5.1.13.2.1`).
    const fn told(self) -> Told {
        type Bits = IdentifyController;
        match self {
            Self::Security => Told::Oacs(Bits::OACS_SECURITY),
            Self::Format => Told::Oacs(Bits::OACS_FORMAT),
            Self::Firmware => Told::Oacs(Bits::OACS_FIRMWARE),
            Self::NamespaceManagement => Told::Oacs(Bits::OACS_NAMESPACE_MANAGEMENT),
            Self::SelfTest => Told::Oacs(Bits::OACS_SELF_TEST),
            Self::Directives => Told::Oacs(Bits::OACS_DIRECTIVES),
            Self::NvmeMi => Told::Oacs(Bits::OACS_NVME_MI),
            Self::DoorbellBuffer => Told::Oacs(Bits::OACS_DOORBELL_BUFFER),
            Self::Lockdown => Told::Oacs(Bits::OACS_LOCKDOWN),
            Self::Sanitize => Told::Sanicap(
                Bits::SANICAP_BLOCK_ERASE | Bits::SANICAP_CRYPTO_ERASE | Bits::SANICAP_OVERWRITE,
            ),
            Self::Compare => Told::Oncs(Bits::ONCS_COMPARE),
            Self::WriteUncorrectable => Told::Oncs(Bits::ONCS_WRITE_UNCORRECTABLE),
            Self::DatasetManagement => Told::Oncs(Bits::ONCS_DSM),
            Self::WriteZeroes => Told::Oncs(Bits::ONCS_WRITE_ZEROES),
            Self::Reservations => Told::Oncs(Bits::ONCS_RESERVATIONS),
            Self::Verify => Told::Oncs(Bits::ONCS_VERIFY),
            Self::Copy => Told::Oncs(Bits::ONCS_COPY),
            Self::CompareAndWrite => Told::Fuses(Bits::FUSES_COMPARE_AND_WRITE),
            Self::GetLbaStatus => Told::Oacs(Bits::OACS_GET_LBA_STATUS),
            Self::EnduranceGroups => Told::Ctratt(Bits::CTRATT_ENDURANCE_GROUPS),
        }
    }

    const fn admin_opcodes(self) -> &'static [AdminOpcode] {
        match self {
            Self::Security => &[AdminOpcode::SECURITY_SEND, AdminOpcode::SECURITY_RECEIVE],
            Self::Format => &[AdminOpcode::FORMAT_NVM],
            Self::Firmware => &[AdminOpcode::FIRMWARE_DOWNLOAD, AdminOpcode::FIRMWARE_COMMIT],
            Self::NamespaceManagement => &[
                AdminOpcode::NAMESPACE_MANAGEMENT,
                AdminOpcode::NAMESPACE_ATTACHMENT,
            ],
            Self::SelfTest => &[AdminOpcode::DEVICE_SELF_TEST],
            Self::Directives => &[AdminOpcode::DIRECTIVE_SEND, AdminOpcode::DIRECTIVE_RECEIVE],
            Self::NvmeMi => &[AdminOpcode::NVME_MI_SEND, AdminOpcode::NVME_MI_RECEIVE],
            Self::DoorbellBuffer => &[AdminOpcode::DOORBELL_BUFFER_CONFIG],
            Self::Lockdown => &[AdminOpcode::LOCKDOWN],
            Self::Sanitize => &[AdminOpcode::SANITIZE],
            Self::GetLbaStatus => &[AdminOpcode::GET_LBA_STATUS],
            _ => &[],
        }
    }

    const fn io_opcodes(self) -> &'static [NvmOpcode] {
        match self {
            Self::Compare => &[NvmOpcode::COMPARE],
            Self::WriteUncorrectable => &[NvmOpcode::WRITE_UNCORRECTABLE],
            Self::DatasetManagement => &[NvmOpcode::DATASET_MANAGEMENT],
            Self::WriteZeroes => &[NvmOpcode::WRITE_ZEROES],
            Self::Reservations => &[
                NvmOpcode::RESERVATION_REGISTER,
                NvmOpcode::RESERVATION_REPORT,
                NvmOpcode::RESERVATION_ACQUIRE,
                NvmOpcode::RESERVATION_RELEASE,
            ],
            Self::Verify => &[NvmOpcode::VERIFY],
            Self::Copy => &[NvmOpcode::COPY],
            _ => &[],
        }
    }

    /// The log pages that tell of nothing else.
    const fn log_pages(self) -> &'static [LogPageId] {
        match self {
            Self::SelfTest => &[LogPageId::SELF_TEST],
            Self::NvmeMi => &[LogPageId::NVME_MI_EFFECTS],
            Self::Lockdown => &[LogPageId::LOCKDOWN],
            Self::Sanitize => &[LogPageId::SANITIZE_STATUS],
            Self::Reservations => &[LogPageId::RESERVATION_NOTIFICATION],
            Self::GetLbaStatus => &[LogPageId::LBA_STATUS],
            Self::EnduranceGroups => &[
                LogPageId::ENDURANCE_GROUP,
                LogPageId::ENDURANCE_GROUP_AGGREGATE,
            ],
            _ => &[],
        }
    }

    /// The features that are about nothing else.
    const fn features(self) -> &'static [FeatureId] {
        match self {
            Self::Sanitize => &[FeatureId::SANITIZE_CONFIG],
            Self::GetLbaStatus => &[FeatureId::LBA_STATUS_INTERVAL],
            Self::EnduranceGroups => &[FeatureId::ENDURANCE_GROUP_EVENT_CONFIG],
            Self::Reservations => &[
                FeatureId::RESERVATION_NOTIFICATION_MASK,
                FeatureId::RESERVATION_PERSISTENCE,
            ],
            _ => &[],
        }
    }
}

/// Bits of a field of Identify Controller.
enum Told {
    Oacs(u16),
    Oncs(u16),
    Fuses(u16),
    Sanicap(u32),
    Ctratt(u32),
}

impl ControllerConfig {
    fn withholds(&self, holds: impl Fn(&OptionalCommand) -> bool) -> bool {
        self.withheld.iter().any(holds)
    }

    /// Whether an admin command is one that this drive does without.
    pub(crate) fn withholds_admin(&self, opcode: AdminOpcode) -> bool {
        self.withholds(|command| command.admin_opcodes().contains(&opcode))
    }

    /// Whether an I/O command is one that this drive does without.
    pub(crate) fn withholds_io(&self, opcode: NvmOpcode) -> bool {
        self.withholds(|command| command.io_opcodes().contains(&opcode))
    }

    /// The endurance group of namespaces; 0 where there are none.
    pub(crate) fn endurance_group(&self) -> u16 {
        if self.withheld.contains(&OptionalCommand::EnduranceGroups) {
            0
        } else {
            ENDURANCE_GROUP
        }
    }

    /// Whether this drive has no fused operations.
    pub(crate) fn withholds_fused(&self) -> bool {
        self.withheld.contains(&OptionalCommand::CompareAndWrite)
            || self.withholds_io(NvmOpcode::COMPARE)
    }

    /// Whether a log page goes with commands that this drive does without.
    pub(crate) fn withholds_log(&self, page: LogPageId) -> bool {
        self.withholds(|command| command.log_pages().contains(&page))
    }

    /// Whether a feature goes with commands that this drive does without.
    pub(crate) fn withholds_feature(&self, feature: FeatureId) -> bool {
        self.withholds(|command| command.features().contains(&feature))
    }

    /// Has `controller` say what this drive does without.
    pub(crate) fn withhold(&self, controller: &mut IdentifyController) {
        for command in &self.withheld {
            command.withhold(controller);
        }
        if self.withholds_fused() {
            OptionalCommand::CompareAndWrite.withhold(controller);
        }
    }
}
