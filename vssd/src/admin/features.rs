//! Features: what a host can set, and what it is told.

use nvme::{
    AsyncEventConfig, FeatureId, FeatureSelect, FeaturesCdw10, NSID_ALL, NamespaceId,
    NumberOfQueues, SmartLog, Sqe, Status, TemperatureThreshold, VectorConfig,
};

use crate::command::NSID;
use crate::health::{TEMPERATURE_K, WARNING_K};

/// What a feature is like (`NVMe Base 2.1 §5.1.11`, Select field 011b).
#[derive(Clone, Copy, Debug)]
struct Capabilities {
    /// It is a namespace's, not the controller's.
    namespace: bool,
    /// It can be set.
    changeable: bool,
}

impl Capabilities {
    const CONTROLLER: Self = Self {
        namespace: false,
        changeable: true,
    };

    /// Those of `feature`; none where it is not supported. No feature is
    /// saveable: a drive that is made anew at each start has nowhere to save.
    const fn of(feature: FeatureId) -> Option<Self> {
        match feature {
            FeatureId::ARBITRATION
            | FeatureId::POWER_MANAGEMENT
            | FeatureId::TEMPERATURE_THRESHOLD
            | FeatureId::VOLATILE_WRITE_CACHE
            | FeatureId::NUMBER_OF_QUEUES
            | FeatureId::INTERRUPT_COALESCING
            | FeatureId::INTERRUPT_VECTOR_CONFIG
            | FeatureId::WRITE_ATOMICITY
            | FeatureId::ASYNC_EVENT_CONFIG
            | FeatureId::TIMESTAMP
            | FeatureId::SOFTWARE_PROGRESS_MARKER
            | FeatureId::HOST_IDENTIFIER => Some(Self::CONTROLLER),
            FeatureId::ERROR_RECOVERY => Some(Self {
                namespace: true,
                changeable: true,
            }),
            _ => None,
        }
    }

    const fn dword0(self) -> u32 {
        (self.namespace as u32) << 1 | (self.changeable as u32) << 2
    }
}

/// What a Get Features command is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Dword 0 of the completion.
    Dword(u32),
    /// So many bytes of data.
    Data([u8; 16], usize),
}

/// The current values. A controller reset makes them the default ones again.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    arbitration: u32,
    temperature_over_k: u16,
    temperature_under_k: u16,
    error_recovery: u32,
    write_cache: bool,
    /// What the host was given; the most there can be until it asks.
    queues: NumberOfQueues,
    queues_max: NumberOfQueues,
    coalescing: u32,
    /// Vectors without coalescing, a bit each.
    uncoalesced: Vec<bool>,
    write_atomicity: u32,
    async_events: AsyncEventConfig,
    /// The timestamp that the host set, and when.
    timestamp: Option<(u64, u64)>,
    progress_marker: u8,
    host_id: [u8; 16],
}

/// The one bit of a feature that is a switch.
const SWITCH: u32 = 1;
/// The Arbitration feature's burst that stands for "no limit".
const BURST_UNLIMITED: u32 = 0b111;

impl Features {
    /// The default values of a controller with `queue_pairs` I/O queue pairs.
    pub(crate) fn new(queue_pairs: u16) -> Self {
        let last = queue_pairs.saturating_sub(1);
        let queues = NumberOfQueues::new().with_nsq(last).with_ncq(last);
        Self {
            arbitration: BURST_UNLIMITED,
            temperature_over_k: WARNING_K,
            temperature_under_k: 0,
            error_recovery: 0,
            write_cache: true,
            queues,
            queues_max: queues,
            coalescing: 0,
            uncoalesced: vec![false; usize::from(queue_pairs).saturating_add(1)],
            write_atomicity: 0,
            async_events: AsyncEventConfig::new(),
            timestamp: None,
            progress_marker: 0,
            host_id: [0; 16],
        }
    }

    /// The default values again, for a controller reset. The Software Progress
    /// Marker persists (`NVMe Base 2.1 §5.1.25.1.20`).
    pub(crate) fn reset(&mut self) {
        *self = Self {
            progress_marker: self.progress_marker,
            ..Self::new(self.queues_max.nsq().saturating_add(1))
        };
    }

    /// Whether writes may wait for a flush.
    #[inline]
    pub(crate) const fn write_cache(&self) -> bool {
        self.write_cache
    }

    /// The Interrupt Coalescing feature, as it was set.
    pub(crate) const fn coalescing(&self) -> u32 {
        self.coalescing
    }

    /// Whether interrupts of a vector may wait.
    pub(crate) fn coalesces(&self, vector: u16) -> bool {
        self.uncoalesced.get(usize::from(vector)) == Some(&false)
    }

    /// How many commands of a queue are fetched before the next has its turn;
    /// none where there is no limit (`NVMe Base 2.1 §5.1.25.1.1`).
    #[inline]
    pub(crate) const fn burst(&self) -> Option<u32> {
        match self.arbitration & BURST_UNLIMITED {
            BURST_UNLIMITED => None,
            exponent => Some(1 << exponent),
        }
    }

    /// How many commands of the high, medium and low priority class there may
    /// be in a round.
    pub(crate) fn weights(&self) -> [u32; 3] {
        let [_, low, medium, high] = self.arbitration.to_le_bytes();
        [high, medium, low].map(|weight| u32::from(weight).saturating_add(1))
    }

    /// The I/O submission queues that the host was given.
    pub(crate) const fn submission_queues(&self) -> u16 {
        self.queues.nsq().saturating_add(1)
    }

    /// The I/O completion queues that the host was given.
    pub(crate) const fn completion_queues(&self) -> u16 {
        self.queues.ncq().saturating_add(1)
    }

    /// The critical warnings of the SMART log that follow from thresholds.
    pub(crate) const fn warnings(&self) -> u8 {
        if TEMPERATURE_K >= self.temperature_over_k || TEMPERATURE_K <= self.temperature_under_k {
            SmartLog::WARNING_TEMPERATURE
        } else {
            0
        }
    }

    /// The critical warnings that the host wants to be told.
    pub(crate) const fn wanted_warnings(&self) -> u8 {
        self.async_events.critical_warnings()
    }

    /// How many bytes of data a Set Features command brings.
    pub(crate) const fn data_bytes(sqe: &Sqe) -> u64 {
        let cdw10 = FeaturesCdw10::from_bits(sqe.cdw10.get());
        match FeatureId(cdw10.fid()) {
            FeatureId::TIMESTAMP => 8,
            FeatureId::HOST_IDENTIFIER => {
                if sqe.cdw11.get() & SWITCH != 0 {
                    16
                } else {
                    8
                }
            }
            _ => 0,
        }
    }

    /// Get Features (`NVMe Base 2.1 §5.1.11`), at the time `now_ns`.
    pub(crate) fn get(&self, sqe: &Sqe, now_ns: u64) -> Result<Value, Status> {
        let cdw10 = FeaturesCdw10::from_bits(sqe.cdw10.get());
        let feature = FeatureId(cdw10.fid());
        let capabilities = Capabilities::of(feature).ok_or(Status::INVALID_FIELD.dnr())?;
        if capabilities.namespace && sqe.nsid() != NSID && sqe.nsid() != NSID_ALL {
            return Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr());
        }
        match FeatureSelect::from_cdw10(sqe.cdw10.get()) {
            FeatureSelect::Current => self.value(feature, sqe.cdw11.get(), now_ns),
            FeatureSelect::Default | FeatureSelect::Saved => {
                let queue_pairs = self.queues_max.nsq().saturating_add(1);
                Self::new(queue_pairs).value(feature, sqe.cdw11.get(), now_ns)
            }
            FeatureSelect::SupportedCapabilities => Ok(Value::Dword(capabilities.dword0())),
            FeatureSelect::Reserved => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    fn value(&self, feature: FeatureId, cdw11: u32, now_ns: u64) -> Result<Value, Status> {
        Ok(Value::Dword(match feature {
            FeatureId::ARBITRATION => self.arbitration,
            FeatureId::TEMPERATURE_THRESHOLD => {
                let asked = TemperatureThreshold::from_bits(cdw11);
                match (asked.tmpsel(), asked.thsel()) {
                    (0, 0) => u32::from(self.temperature_over_k),
                    (0, 1) => u32::from(self.temperature_under_k),
                    _ => return Err(Status::INVALID_FIELD.dnr()),
                }
            }
            FeatureId::ERROR_RECOVERY => self.error_recovery,
            FeatureId::VOLATILE_WRITE_CACHE => u32::from(self.write_cache),
            FeatureId::NUMBER_OF_QUEUES => self.queues.into_bits(),
            FeatureId::INTERRUPT_COALESCING => self.coalescing,
            FeatureId::INTERRUPT_VECTOR_CONFIG => {
                let iv = VectorConfig::from_bits(cdw11).iv();
                let cd = *self
                    .uncoalesced
                    .get(usize::from(iv))
                    .ok_or(Status::INVALID_FIELD.dnr())?;
                VectorConfig::new().with_iv(iv).with_cd(cd).into_bits()
            }
            FeatureId::WRITE_ATOMICITY => self.write_atomicity,
            FeatureId::ASYNC_EVENT_CONFIG => self.async_events.into_bits(),
            FeatureId::SOFTWARE_PROGRESS_MARKER => u32::from(self.progress_marker),
            FeatureId::TIMESTAMP => return Ok(self.timestamp_value(now_ns)),
            FeatureId::HOST_IDENTIFIER => {
                let bytes = if cdw11 & SWITCH != 0 { 16 } else { 8 };
                return Ok(Value::Data(self.host_id, bytes));
            }
            // There is one power state, and its number is 0.
            _ => 0,
        }))
    }

    /// The Timestamp data structure (`NVMe Base 2.1 §5.1.25.1.7`): milliseconds
    /// since 1970 where the host set it (origin 1), else since power-on.
    fn timestamp_value(&self, now_ns: u64) -> Value {
        const ORIGIN_SET: u8 = 1 << 1;
        let (milliseconds, origin) = match self.timestamp {
            Some((set_ms, at_ns)) => {
                let passed = now_ns.saturating_sub(at_ns) / 1_000_000;
                (set_ms.saturating_add(passed), ORIGIN_SET)
            }
            None => (now_ns / 1_000_000, 0),
        };
        let [a, b, c, d, e, f, ..] = milliseconds.to_le_bytes();
        let [p, q, r, s, t, u, v, w] = [0; 8];
        Value::Data([a, b, c, d, e, f, origin, 0, p, q, r, s, t, u, v, w], 8)
    }

    /// Set Features (`NVMe Base 2.1 §5.1.25`), with what it brought in `data`,
    /// at the time `now_ns`. `has_io` says whether there are I/O queues.
    /// Returns dword 0 of the completion.
    pub(crate) fn set(
        &mut self,
        sqe: &Sqe,
        data: [u8; 16],
        now_ns: u64,
        has_io: bool,
    ) -> Result<u32, Status> {
        let cdw10 = FeaturesCdw10::from_bits(sqe.cdw10.get());
        let feature = FeatureId(cdw10.fid());
        let capabilities = Capabilities::of(feature).ok_or(Status::INVALID_FIELD.dnr())?;
        if cdw10.sv() {
            return Err(Status::FEATURE_NOT_SAVEABLE.dnr());
        }
        check_namespace(sqe.nsid(), capabilities)?;
        let cdw11 = sqe.cdw11.get();
        let [low, high, ..] = cdw11.to_le_bytes();
        match feature {
            FeatureId::ARBITRATION => self.arbitration = cdw11,
            FeatureId::TEMPERATURE_THRESHOLD => self.set_temperature(cdw11)?,
            FeatureId::ERROR_RECOVERY => {
                // The upper half has "deallocated or unwritten error enable",
                // which Identify Namespace does not offer.
                if u32::from(u16::from_le_bytes([low, high])) != cdw11 {
                    return Err(Status::INVALID_FIELD.dnr());
                }
                self.error_recovery = cdw11;
            }
            FeatureId::VOLATILE_WRITE_CACHE => self.write_cache = cdw11 & SWITCH != 0,
            FeatureId::NUMBER_OF_QUEUES => {
                if has_io {
                    return Err(Status::COMMAND_SEQUENCE_ERROR.dnr());
                }
                return self.set_queues(NumberOfQueues::from_bits(cdw11));
            }
            FeatureId::INTERRUPT_COALESCING => {
                self.coalescing = u32::from(u16::from_le_bytes([low, high]));
            }
            FeatureId::INTERRUPT_VECTOR_CONFIG => {
                let asked = VectorConfig::from_bits(cdw11);
                let slot = self.uncoalesced.get_mut(usize::from(asked.iv()));
                *slot.ok_or(Status::INVALID_FIELD.dnr())? = asked.cd();
            }
            FeatureId::WRITE_ATOMICITY => self.write_atomicity = cdw11 & SWITCH,
            FeatureId::ASYNC_EVENT_CONFIG => {
                self.async_events = AsyncEventConfig::from_bits(cdw11);
            }
            FeatureId::SOFTWARE_PROGRESS_MARKER => self.progress_marker = low,
            FeatureId::TIMESTAMP => {
                let [a, b, c, d, e, f, ..] = data;
                let milliseconds = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
                self.timestamp = Some((milliseconds, now_ns));
            }
            FeatureId::HOST_IDENTIFIER => self.host_id = data,
            // Power Management: the one power state has the number 0.
            _ if low & 0x1f != 0 => return Err(Status::INVALID_FIELD.dnr()),
            _ => {}
        }
        Ok(0)
    }

    fn set_temperature(&mut self, cdw11: u32) -> Result<(), Status> {
        const ALL_SENSORS: u8 = 0xf;
        let asked = TemperatureThreshold::from_bits(cdw11);
        if !matches!(asked.tmpsel(), 0 | ALL_SENSORS) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        match asked.thsel() {
            0 => self.temperature_over_k = asked.tmpth(),
            1 => self.temperature_under_k = asked.tmpth(),
            _ => return Err(Status::INVALID_FIELD.dnr()),
        }
        Ok(())
    }

    fn set_queues(&mut self, asked: NumberOfQueues) -> Result<u32, Status> {
        // FFFFh is 65,536 queues, which there cannot be.
        if asked.nsq() == u16::MAX || asked.ncq() == u16::MAX {
            return Err(Status::INVALID_FIELD.dnr());
        }
        self.queues = NumberOfQueues::new()
            .with_nsq(asked.nsq().min(self.queues_max.nsq()))
            .with_ncq(asked.ncq().min(self.queues_max.ncq()));
        Ok(self.queues.into_bits())
    }
}

fn check_namespace(nsid: NamespaceId, capabilities: Capabilities) -> Result<(), Status> {
    if nsid == NSID_ALL {
        return Ok(());
    }
    match (capabilities.namespace, nsid) {
        (true, NSID) | (false, NamespaceId(0)) => Ok(()),
        (false, NSID) => Err(Status::FEATURE_NOT_NAMESPACE_SPECIFIC.dnr()),
        _ => Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr()),
    }
}
