//! Which features there are, and what each is like.

use nvme::{
    EnduranceGroupEventConfig, FeatureId, NumberOfQueues, TemperatureThreshold, VectorConfig,
};

use super::store::Key;
use crate::ControllerConfig;

/// Whose a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Controller,
    Namespace,
}

/// What a feature is like (`NVMe Base 2.1 §5.1.11`, Select field 011b).
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    pub(super) scope: Scope,
    /// It can be set.
    pub(super) changeable: bool,
    /// It can be saved.
    pub(super) saveable: bool,
    /// It survives resets and power cycles without being saved.
    pub(super) persistent: bool,
    /// Its data, bytes.
    pub(super) data_bytes: usize,
}

/// A controller's feature that can be saved, without data.
const PLAIN: Traits = Traits {
    scope: Scope::Controller,
    changeable: true,
    saveable: true,
    persistent: false,
    data_bytes: 0,
};
/// As [`PLAIN`], but a reset ends it.
const FLEETING: Traits = Traits {
    saveable: false,
    ..PLAIN
};

impl Traits {
    /// Those of `feature`; none where the controller does not have it.
    pub(super) fn of(config: &ControllerConfig, feature: FeatureId) -> Option<Self> {
        if config.withholds_feature(feature) {
            return None;
        }
        Some(match feature {
            FeatureId::ARBITRATION
            | FeatureId::POWER_MANAGEMENT
            | FeatureId::TEMPERATURE_THRESHOLD
            | FeatureId::VOLATILE_WRITE_CACHE
            | FeatureId::INTERRUPT_COALESCING
            | FeatureId::INTERRUPT_VECTOR_CONFIG
            | FeatureId::WRITE_ATOMICITY
            | FeatureId::ASYNC_EVENT_CONFIG
            | FeatureId::SANITIZE_CONFIG
            | FeatureId::LBA_STATUS_INTERVAL
            | FeatureId::COMMAND_SET_PROFILE
            | FeatureId::ENDURANCE_GROUP_EVENT_CONFIG => PLAIN,
            FeatureId::NUMBER_OF_QUEUES => FLEETING,
            FeatureId::ERROR_RECOVERY => Traits {
                scope: Scope::Namespace,
                ..PLAIN
            },
            FeatureId::APST if config.apst => Traits {
                data_bytes: 256,
                ..PLAIN
            },
            FeatureId::NON_OPERATIONAL_POWER if config.apst => PLAIN,
            FeatureId::HOST_MEMORY_BUFFER if config.hmb_preferred_bytes > 0 => Traits {
                data_bytes: 4096,
                ..FLEETING
            },
            FeatureId::KEEP_ALIVE if config.keep_alive_ms > 0 => FLEETING,
            FeatureId::HOST_THERMAL_MANAGEMENT if config.thermal_management.is_some() => PLAIN,
            FeatureId::TIMESTAMP => Traits {
                data_bytes: 8,
                ..FLEETING
            },
            FeatureId::HOST_BEHAVIOR => Traits {
                data_bytes: 512,
                ..FLEETING
            },
            FeatureId::SOFTWARE_PROGRESS_MARKER => Traits {
                persistent: true,
                ..PLAIN
            },
            FeatureId::HOST_IDENTIFIER => Traits {
                data_bytes: 16,
                ..FLEETING
            },
            FeatureId::RESERVATION_NOTIFICATION_MASK | FeatureId::RESERVATION_PERSISTENCE => {
                Traits {
                    scope: Scope::Namespace,
                    saveable: false,
                    persistent: true,
                    ..PLAIN
                }
            }
            FeatureId::NAMESPACE_WRITE_PROTECTION => Traits {
                scope: Scope::Namespace,
                saveable: false,
                ..PLAIN
            },
            _ => return None,
        })
    }

    /// Dword 0 of Get Features with the Select field 011b.
    pub(super) const fn capabilities(self) -> u32 {
        (self.saveable as u32)
            | (matches!(self.scope, Scope::Namespace) as u32) << 1
            | (self.changeable as u32) << 2
    }
}

/// The Arbitration feature's burst that stands for "no limit".
pub(super) const BURST_UNLIMITED: u32 = 0b111;

/// The value that a feature has before anybody sets it.
pub(super) fn default_dword(config: &ControllerConfig, key: Key) -> u32 {
    match key.feature {
        FeatureId::ARBITRATION => BURST_UNLIMITED,
        FeatureId::TEMPERATURE_THRESHOLD => {
            let asked = super::check::of_sensor(key.sub);
            let over = asked.thsel() == 0;
            let kelvin = match (over, asked.tmpsel()) {
                (true, 0) => config.warning_kelvin,
                // A sensor has no threshold until it is given one.
                (true, _) => u16::MAX,
                (false, _) => 0,
            };
            TemperatureThreshold::new().with_tmpth(kelvin).into_bits()
        }
        FeatureId::VOLATILE_WRITE_CACHE => 1,
        FeatureId::NUMBER_OF_QUEUES => {
            let last = config.queue_pairs_max.saturating_sub(1);
            NumberOfQueues::new()
                .with_nsq(last)
                .with_ncq(last)
                .into_bits()
        }
        FeatureId::INTERRUPT_VECTOR_CONFIG => VectorConfig::new().with_iv(key.sub).into_bits(),
        FeatureId::ENDURANCE_GROUP_EVENT_CONFIG => EnduranceGroupEventConfig::new()
            .with_endgid(key.sub)
            .into_bits(),
        FeatureId::LBA_STATUS_INTERVAL => super::check::lba_status_interval(0).into_bits(),
        _ => 0,
    }
}
