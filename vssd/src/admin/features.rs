//! Features: what a host can set, and what it is told
//! (`NVMe Base 2.1 §5.1.11`, `§5.1.25`).
//!
//! ```text
//!   Set Features --> traits: is there such a feature, whose, saveable?
//!                    check:  is the value one?
//!                    store:  current [, saved]
//!   reset        --> current = saved, else default
//!   Get Features <-- current | default | saved | capabilities
//! ```
//!
//! A value is a dword, or a few bytes; it is found by the feature, by the
//! namespace where the feature is a namespace's, and by what else CDW11 selects
//! (a sensor, a vector).

mod check;
mod store;
mod traits;

use nvme::{
    AsyncEventConfig, EnduranceGroupEventConfig, FeatureEffects, FeatureId, FeatureSelect,
    FeaturesCdw10, HostBehavior, HostThermalManagement, LbaStatusInterval, NSID_ALL, NamespaceId,
    NumberOfQueues, SmartLog, Sqe, Status, TemperatureThreshold, VectorConfig,
};
use zerocopy::FromBytes;

pub(crate) use self::store::SavedFeatures;
use self::store::{Key, Store};
use self::traits::{Scope, Traits};
use super::endurance::ENDURANCE_GROUP;
use crate::ControllerConfig;
use crate::namespace::Namespaces;
use crate::reservation::HostId;

/// The most data that a feature has, bytes.
pub(crate) const DATA_BYTES_MAX: usize = 4096;

/// What a Get Features command is answered with: dword 0 of the completion, and
/// data, which may be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) dword0: u32,
    pub(crate) data: Vec<u8>,
}

impl Value {
    const fn dword(dword0: u32) -> Self {
        Self {
            dword0,
            data: Vec::new(),
        }
    }
}

/// What a host wants that has to be asked of the rest of the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) now_ns: u64,
    /// Whether there are I/O queues.
    pub(crate) has_io: bool,
}

/// All features. A controller reset makes the saved values, else the default
/// ones the current ones again.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    config: ControllerConfig,
    current: Store,
    saved: Store,
    /// What every write asks for.
    write_cache: bool,
    /// How many commands of a queue are fetched in one turn, where there is a
    /// limit.
    burst: Option<u32>,
    /// The timestamp that the host set, and when.
    timestamp: Option<(u64, u64)>,
    /// Something was saved since this was last asked.
    changed: bool,
}

/// The one bit of a feature that is a switch.
const SWITCH: u32 = 1;

impl Features {
    /// The default values of a controller.
    pub(crate) fn new(config: &ControllerConfig) -> Self {
        let mut features = Self {
            config: config.clone(),
            current: Store::default(),
            saved: Store::default(),
            write_cache: true,
            burst: None,
            timestamp: None,
            changed: false,
        };
        features.refresh();
        features
    }

    /// What survives the end of the process.
    pub(crate) fn saved(&self) -> SavedFeatures {
        self.saved.to_saved()
    }

    /// Takes on what was saved.
    pub(crate) fn restore(&mut self, saved: &SavedFeatures) {
        self.saved = Store::of_saved(saved);
        self.reset();
    }

    /// Whether a value was saved since this was asked last.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The values of a controller that was reset: the saved ones, and of the
    /// others the defaults. The timestamp runs on
    /// (`NVMe Base 2.1 §5.1.25.1.7`).
    pub(crate) fn reset(&mut self) {
        self.current = self.saved.clone();
        self.refresh();
    }

    fn refresh(&mut self) {
        self.write_cache = self.dword(Key::of(FeatureId::VOLATILE_WRITE_CACHE)) & SWITCH != 0;
        let arbitration = self.dword(Key::of(FeatureId::ARBITRATION));
        self.burst = match arbitration & traits::BURST_UNLIMITED {
            traits::BURST_UNLIMITED => None,
            exponent => Some(1 << exponent),
        };
    }

    fn dword(&self, key: Key) -> u32 {
        self.current
            .dword(key)
            .unwrap_or_else(|| traits::default_dword(&self.config, key))
    }

    /// Whether writes may wait for a flush.
    #[inline]
    pub(crate) const fn write_cache(&self) -> bool {
        self.write_cache
    }

    /// Has writes wait for a flush, or not, until the next reset.
    pub(crate) fn set_write_cache(&mut self, enabled: bool) {
        let key = Key::of(FeatureId::VOLATILE_WRITE_CACHE);
        self.current.set(key, enabled.into());
        self.refresh();
    }

    /// The dword of a feature that is a namespace's.
    pub(crate) fn namespace_dword(&self, feature: FeatureId, nsid: NamespaceId) -> u32 {
        self.dword(Key::of(feature).for_namespace(nsid))
    }

    /// The Interrupt Coalescing feature, as it was set.
    pub(crate) fn coalescing(&self) -> u32 {
        self.dword(Key::of(FeatureId::INTERRUPT_COALESCING))
    }

    /// Whether interrupts of a vector may wait.
    pub(crate) fn coalesces(&self, vector: u16) -> bool {
        let key = Key::of(FeatureId::INTERRUPT_VECTOR_CONFIG).sub(vector);
        !VectorConfig::from_bits(self.dword(key)).cd()
    }

    /// How many commands of a queue are fetched before the next has its turn;
    /// none where there is no limit (`NVMe Base 2.1 §5.1.25.1.1`).
    #[inline]
    pub(crate) const fn burst(&self) -> Option<u32> {
        self.burst
    }

    /// How many commands of the high, medium and low priority class there may
    /// be in a round.
    pub(crate) fn weights(&self) -> [u32; 3] {
        let arbitration = self.dword(Key::of(FeatureId::ARBITRATION));
        let [_, low, medium, high] = arbitration.to_le_bytes();
        [high, medium, low].map(|weight| u32::from(weight).saturating_add(1))
    }

    fn queues(&self) -> NumberOfQueues {
        NumberOfQueues::from_bits(self.dword(Key::of(FeatureId::NUMBER_OF_QUEUES)))
    }

    /// The I/O submission queues that the host was given.
    pub(crate) fn submission_queues(&self) -> u16 {
        self.queues().nsq().saturating_add(1)
    }

    /// The I/O completion queues that the host was given.
    pub(crate) fn completion_queues(&self) -> u16 {
        self.queues().ncq().saturating_add(1)
    }

    /// The 128-bit host identifier; all zero where the host gave none.
    pub(crate) fn host_id(&self) -> [u8; 16] {
        let data = self.current.data(FeatureId::HOST_IDENTIFIER);
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(data.unwrap_or_default()) {
            *to = *from;
        }
        id
    }

    /// The host, as reservations know it.
    pub(crate) fn reservation_host(&self) -> HostId {
        HostId {
            id: self.host_id(),
            extended: self.dword(Key::of(FeatureId::HOST_IDENTIFIER)) & SWITCH != 0,
        }
    }

    /// What the host says that it understands.
    pub(crate) fn host_behavior(&self) -> HostBehavior {
        let data = self.current.data(FeatureId::HOST_BEHAVIOR);
        data.and_then(|data| HostBehavior::read_from_bytes(data).ok())
            .unwrap_or_default()
    }

    /// The critical warnings of the SMART log that follow from the thresholds,
    /// where the sensor shows `kelvin`.
    pub(crate) fn warnings(&self, kelvin: u16) -> u8 {
        let threshold = |under: u8| {
            let select = TemperatureThreshold::new().with_thsel(under);
            let key = Key::of(FeatureId::TEMPERATURE_THRESHOLD).sub(check::sensor(select));
            TemperatureThreshold::from_bits(self.dword(key)).tmpth()
        };
        if kelvin >= threshold(0) || kelvin <= threshold(1) {
            SmartLog::WARNING_TEMPERATURE
        } else {
            0
        }
    }

    /// The temperatures of host controlled thermal management.
    pub(crate) fn thermal_management(&self) -> HostThermalManagement {
        HostThermalManagement::from_bits(self.dword(Key::of(FeatureId::HOST_THERMAL_MANAGEMENT)))
    }

    /// How often the host wants to be told of lost blocks.
    pub(crate) fn lba_status(&self) -> LbaStatusInterval {
        LbaStatusInterval::from_bits(self.dword(Key::of(FeatureId::LBA_STATUS_INTERVAL)))
    }

    /// The critical warnings of the endurance group that are events to the host.
    pub(crate) fn endurance_events(&self) -> u8 {
        let key = Key::of(FeatureId::ENDURANCE_GROUP_EVENT_CONFIG).sub(ENDURANCE_GROUP);
        EnduranceGroupEventConfig::from_bits(self.dword(key)).egcw()
    }

    /// The asynchronous events that the host wants to be told of.
    pub(crate) fn wanted_events(&self) -> AsyncEventConfig {
        AsyncEventConfig::from_bits(self.dword(Key::of(FeatureId::ASYNC_EVENT_CONFIG)))
    }

    /// How many bytes of data a Set Features command brings.
    pub(crate) fn data_bytes(&self, sqe: &Sqe) -> u64 {
        let cdw10 = FeaturesCdw10::from_bits(sqe.cdw10.get());
        let feature = FeatureId(cdw10.fid());
        let bytes = Traits::of(&self.config, feature).map_or(0, |traits| traits.data_bytes);
        if feature == FeatureId::HOST_IDENTIFIER && sqe.cdw11.get() & SWITCH == 0 {
            return 8;
        }
        u64::try_from(bytes).unwrap_or(0)
    }

    /// Get Features (`NVMe Base 2.1 §5.1.11`).
    pub(crate) fn get(&self, sqe: &Sqe, around: Surroundings<'_>) -> Result<Value, Status> {
        let cdw10 = FeaturesCdw10::from_bits(sqe.cdw10.get());
        let feature = FeatureId(cdw10.fid());
        let invalid = Status::INVALID_FIELD.dnr();
        let traits = Traits::of(&self.config, feature).ok_or(invalid)?;
        let select = FeatureSelect::from_cdw10(sqe.cdw10.get());
        if select == FeatureSelect::SupportedCapabilities {
            return Ok(Value::dword(traits.capabilities()));
        }
        let mut key = Key::of(feature).sub(check::sub(&self.config, feature, sqe.cdw11.get())?);
        if traits.scope == Scope::Namespace {
            let active = around.namespaces.active(sqe.nsid());
            active.ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
            key = key.for_namespace(sqe.nsid());
        }
        let store = match select {
            FeatureSelect::Current => Some(&self.current),
            FeatureSelect::Saved => Some(&self.saved),
            FeatureSelect::Default => None,
            _ => return Err(invalid),
        };
        let dword0 = store
            .and_then(|store| store.dword(key))
            .unwrap_or_else(|| traits::default_dword(&self.config, key));
        if feature == FeatureId::TIMESTAMP {
            let set = self.timestamp.filter(|_| select == FeatureSelect::Current);
            return Ok(timestamp_value(set, around.now_ns));
        }
        let mut data = store
            .and_then(|store| store.data(feature))
            .map_or_else(|| vec![0; traits.data_bytes], <[u8]>::to_vec);
        if feature == FeatureId::HOST_IDENTIFIER && sqe.cdw11.get() & SWITCH == 0 {
            data.truncate(8);
        }
        Ok(Value { dword0, data })
    }

    /// Set Features (`NVMe Base 2.1 §5.1.25`), with what it brought in `data`.
    /// Returns dword 0 of the completion.
    pub(crate) fn set(
        &mut self,
        sqe: &Sqe,
        data: &[u8],
        around: Surroundings<'_>,
    ) -> Result<u32, Status> {
        let cdw10 = FeaturesCdw10::from_bits(sqe.cdw10.get());
        let feature = FeatureId(cdw10.fid());
        let traits = Traits::of(&self.config, feature).ok_or(Status::INVALID_FIELD.dnr())?;
        if cdw10.sv() && !traits.saveable {
            return Err(Status::FEATURE_NOT_SAVEABLE.dnr());
        }
        if !traits.changeable {
            return Err(Status::FEATURE_NOT_CHANGEABLE.dnr());
        }
        let namespaces = self.addressed(sqe.nsid(), traits, around.namespaces)?;
        let value = check::value(&self.config, sqe, data)?;
        self.check_order(feature, data, around)?;
        let sub = check::sub(&self.config, feature, sqe.cdw11.get())?;
        for nsid in namespaces {
            for sub in check::subs(feature, sub) {
                let key = Key::of(feature).sub(sub).for_namespace(nsid);
                self.current.set(key, value);
                if cdw10.sv() || traits.persistent {
                    self.saved.set(key, value);
                    self.changed = true;
                }
            }
        }
        if feature == FeatureId::TIMESTAMP {
            if let Some((&[a, b, c, d, e, f], _)) = data.split_first_chunk() {
                let milliseconds = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
                self.timestamp = Some((milliseconds, around.now_ns));
            }
        } else if traits.data_bytes > 0 {
            self.current.set_data(feature, data);
            if cdw10.sv() {
                self.saved.set_data(feature, data);
                self.changed = true;
            }
        }
        self.refresh();
        Ok(if feature == FeatureId::NUMBER_OF_QUEUES {
            value
        } else {
            0
        })
    }

    /// What can only be set at certain times.
    fn check_order(
        &self,
        feature: FeatureId,
        data: &[u8],
        around: Surroundings<'_>,
    ) -> Result<(), Status> {
        let early = match feature {
            FeatureId::NUMBER_OF_QUEUES => around.has_io,
            // Once set, it stays until the next reset
            // (`NVMe Base 2.1 §5.1.25.1.28`).
            FeatureId::HOST_IDENTIFIER => {
                let old = self.host_id();
                let same = old.iter().zip(data).all(|(old, new)| old == new);
                old != [0; 16] && !same
            }
            _ => false,
        };
        if early {
            Err(Status::COMMAND_SEQUENCE_ERROR.dnr())
        } else {
            Ok(())
        }
    }

    /// The namespaces that a Set Features command is for; 0 stands for the
    /// controller.
    fn addressed(
        &self,
        nsid: NamespaceId,
        traits: Traits,
        namespaces: &Namespaces,
    ) -> Result<Vec<NamespaceId>, Status> {
        let none = NamespaceId(0);
        match traits.scope {
            Scope::Controller if nsid == none || nsid == NSID_ALL => Ok(vec![none]),
            Scope::Controller if namespaces.active(nsid).is_some() => {
                Err(Status::FEATURE_NOT_NAMESPACE_SPECIFIC.dnr())
            }
            Scope::Namespace if nsid == NSID_ALL => Ok(namespaces
                .iter()
                .filter(|namespace| namespace.attached)
                .map(|namespace| namespace.nsid)
                .collect()),
            Scope::Namespace if namespaces.active(nsid).is_some() => Ok(vec![nsid]),
            _ => Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr()),
        }
    }

    /// The Feature Identifiers Supported and Effects page
    /// (`NVMe Base 2.1 §5.1.12.1.18`).
    pub(crate) fn effects(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(1024);
        for feature in 0..=u8::MAX {
            let traits = Traits::of(&self.config, FeatureId(feature));
            let effects = traits.map_or_else(FeatureEffects::new, |traits| {
                FeatureEffects::new()
                    .with_fsupp(true)
                    .with_udcc(feature == FeatureId::NAMESPACE_WRITE_PROTECTION.0)
                    .with_scope(match traits.scope {
                        Scope::Namespace => 1 << 0,
                        Scope::Controller => 1 << 1,
                    })
            });
            page.extend_from_slice(&effects.into_bits().to_le_bytes());
        }
        page
    }

    /// A namespace is gone, and so is what was set for it.
    pub(crate) fn forget(&mut self, nsid: NamespaceId) {
        self.current.forget(nsid);
        self.saved.forget(nsid);
        self.changed = true;
    }
}

/// The Timestamp data structure (`NVMe Base 2.1 §5.1.25.1.7`): milliseconds
/// since 1970 where the host set it (origin 1), else since power-on.
fn timestamp_value(set: Option<(u64, u64)>, now_ns: u64) -> Value {
    const ORIGIN_SET: u8 = 1 << 1;
    let (milliseconds, origin) = match set {
        Some((set_ms, at_ns)) => {
            let passed = now_ns.saturating_sub(at_ns) / 1_000_000;
            (set_ms.saturating_add(passed), ORIGIN_SET)
        }
        None => (now_ns / 1_000_000, 0),
    };
    let [a, b, c, d, e, f, ..] = milliseconds.to_le_bytes();
    Value {
        dword0: 0,
        data: vec![a, b, c, d, e, f, origin, 0],
    }
}
