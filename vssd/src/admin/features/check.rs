//! Which values features can have.

use nvme::{
    CommandSetProfile, EnduranceGroupEventConfig, FeatureId, FeaturesCdw10, HostBehavior,
    LbaStatusInterval, NumberOfQueues, SmartLog, Sqe, Status, TemperatureThreshold, VectorConfig,
};

use zerocopy::FromBytes;

use crate::ControllerConfig;
use crate::admin::endurance::ENDURANCE_GROUP;

/// The sensor that stands for all of them.
const ALL_SENSORS: u8 = 0xf;
/// Sensors beside the composite temperature.
const SENSORS: u8 = 1;

/// The critical warnings that an endurance group has.
const GROUP_WARNINGS: u8 =
    SmartLog::WARNING_SPARE | SmartLog::WARNING_DEGRADED | SmartLog::WARNING_READ_ONLY;
/// How often a drive looks for lost blocks, units of 100 ms; it tells of them no
/// more often.
const LBA_STATUS_POLL: u16 = 1;

/// The intervals of the LBA Status Information Report Interval feature, where a
/// host wants `report` units of 100 ms between two alerts.
pub(super) fn lba_status_interval(report: u16) -> LbaStatusInterval {
    LbaStatusInterval::new()
        .with_lsiri(report.max(LBA_STATUS_POLL))
        .with_lsipi(LBA_STATUS_POLL)
}

/// The part of the key that a temperature threshold is found by.
pub(super) fn sensor(asked: TemperatureThreshold) -> u16 {
    u16::from(asked.tmpsel()) | u16::from(asked.thsel()) << 4
}

/// [`sensor`] backwards.
pub(super) fn of_sensor(sub: u16) -> TemperatureThreshold {
    let [low, _] = sub.to_le_bytes();
    TemperatureThreshold::new()
        .with_tmpsel(low & 0xf)
        .with_thsel(low >> 4 & 0b11)
}

/// What CDW11 selects within a feature.
pub(super) fn sub(
    config: &ControllerConfig,
    feature: FeatureId,
    cdw11: u32,
) -> Result<u16, Status> {
    let invalid = Status::INVALID_FIELD.dnr();
    match feature {
        FeatureId::TEMPERATURE_THRESHOLD => {
            let asked = TemperatureThreshold::from_bits(cdw11);
            let known = asked.tmpsel() <= SENSORS || asked.tmpsel() == ALL_SENSORS;
            if !known || asked.thsel() > 1 {
                return Err(invalid);
            }
            Ok(sensor(asked))
        }
        FeatureId::INTERRUPT_VECTOR_CONFIG => {
            let vector = VectorConfig::from_bits(cdw11).iv();
            if vector >= config.vectors() {
                return Err(invalid);
            }
            Ok(vector)
        }
        FeatureId::ENDURANCE_GROUP_EVENT_CONFIG => {
            let group = EnduranceGroupEventConfig::from_bits(cdw11).endgid();
            if group != ENDURANCE_GROUP {
                return Err(invalid);
            }
            Ok(group)
        }
        _ => Ok(0),
    }
}

/// Everything that `sub` stands for when it is set.
pub(super) fn subs(feature: FeatureId, sub: u16) -> Vec<u16> {
    let asked = of_sensor(sub);
    if feature != FeatureId::TEMPERATURE_THRESHOLD || asked.tmpsel() != ALL_SENSORS {
        return vec![sub];
    }
    (0..=SENSORS)
        .map(|index| sensor(asked.with_tmpsel(index)))
        .collect()
}

/// Checks the value that a Set Features command brings; what is kept of its
/// dwords.
pub(super) fn value(config: &ControllerConfig, sqe: &Sqe, data: &[u8]) -> Result<u32, Status> {
    let feature = FeatureId(FeaturesCdw10::from_bits(sqe.cdw10.get()).fid());
    let cdw11 = sqe.cdw11.get();
    let [low, second, ..] = cdw11.to_le_bytes();
    let invalid = Status::INVALID_FIELD.dnr();
    let within = |mask: u32| {
        if cdw11 & !mask == 0 {
            Ok(cdw11)
        } else {
            Err(invalid)
        }
    };
    match feature {
        FeatureId::POWER_MANAGEMENT => {
            // The power state in bits 04:00, the workload hint in 07:05.
            if usize::from(low & 0x1f) >= config.power_states.len() {
                return Err(invalid);
            }
            within(0xff)
        }
        FeatureId::TEMPERATURE_THRESHOLD => {
            let kelvin = TemperatureThreshold::from_bits(cdw11).tmpth();
            Ok(u32::from(kelvin))
        }
        // "Deallocated or unwritten error enable" is not offered.
        FeatureId::ERROR_RECOVERY => within(0xffff),
        FeatureId::VOLATILE_WRITE_CACHE
        | FeatureId::WRITE_ATOMICITY
        | FeatureId::APST
        | FeatureId::NON_OPERATIONAL_POWER
        | FeatureId::SANITIZE_CONFIG => {
            if feature == FeatureId::APST {
                check_apst(config, data)?;
            }
            Ok(cdw11 & 1)
        }
        FeatureId::NUMBER_OF_QUEUES => number_of_queues(config, cdw11),
        FeatureId::INTERRUPT_COALESCING => Ok(u32::from(u16::from_le_bytes([low, second]))),
        FeatureId::HOST_MEMORY_BUFFER => host_memory(sqe),
        FeatureId::HOST_THERMAL_MANAGEMENT => thermal_management(config, cdw11),
        FeatureId::KEEP_ALIVE => Ok(cdw11),
        FeatureId::HOST_BEHAVIOR => {
            let behavior = HostBehavior::read_from_bytes(data).map_err(|_| invalid)?;
            if behavior.acre > 1 || behavior.etdas > 1 || behavior.lbafee > 1 {
                return Err(invalid);
            }
            Ok(0)
        }
        FeatureId::SOFTWARE_PROGRESS_MARKER => Ok(u32::from(low)),
        // The extended form is the only one that a controller with 128-bit
        // identifiers has to take, and both are taken.
        FeatureId::HOST_IDENTIFIER => Ok(cdw11 & 1),
        FeatureId::ENDURANCE_GROUP_EVENT_CONFIG => group_events(cdw11),
        // There is one combination of command sets (Identify, CNS 1Ch), the first.
        FeatureId::COMMAND_SET_PROFILE => match CommandSetProfile::from_bits(cdw11).iocsci() {
            0 => Ok(0),
            _ => Err(Status::COMMAND_SET_COMBINATION_REJECTED.dnr()),
        },
        // How often the drive looks is not the host's to say.
        FeatureId::LBA_STATUS_INTERVAL => {
            let asked = LbaStatusInterval::from_bits(cdw11).lsiri();
            Ok(lba_status_interval(asked).into_bits())
        }
        FeatureId::RESERVATION_NOTIFICATION_MASK => within(0b1110),
        FeatureId::RESERVATION_PERSISTENCE => within(1),
        FeatureId::NAMESPACE_WRITE_PROTECTION => {
            if low & 0b111 > 3 {
                return Err(invalid);
            }
            Ok(u32::from(low & 0b111))
        }
        _ => Ok(cdw11),
    }
}

/// The warnings that are events are among those that a group has.
fn group_events(cdw11: u32) -> Result<u32, Status> {
    let asked = EnduranceGroupEventConfig::from_bits(cdw11);
    if asked.egcw() & !GROUP_WARNINGS == 0 {
        Ok(asked.into_bits())
    } else {
        Err(Status::INVALID_FIELD.dnr())
    }
}

fn number_of_queues(config: &ControllerConfig, cdw11: u32) -> Result<u32, Status> {
    let asked = NumberOfQueues::from_bits(cdw11);
    // FFFFh is 65,536 queues, which there cannot be.
    if asked.nsq() == u16::MAX || asked.ncq() == u16::MAX {
        return Err(Status::INVALID_FIELD.dnr());
    }
    let last = config.queue_pairs_max.saturating_sub(1);
    let given = NumberOfQueues::new()
        .with_nsq(asked.nsq().min(last))
        .with_ncq(asked.ncq().min(last));
    Ok(given.into_bits())
}

/// Each entry of the APST table names a non-operational state that exists, or
/// none (`NVMe Base 2.1 §5.1.25.1.6`).
fn check_apst(config: &ControllerConfig, data: &[u8]) -> Result<(), Status> {
    for (state, entry) in data.chunks_exact(8).enumerate() {
        let (target, idle) = match entry {
            [target, a, b, c, ..] => (target >> 3, u32::from_le_bytes([*a, *b, *c, 0])),
            _ => continue,
        };
        if idle == 0 || state >= config.power_states.len() {
            continue;
        }
        let exists = config.power_states.get(usize::from(target));
        if !exists.is_some_and(|state| state.non_operational) {
            return Err(Status::INVALID_FIELD.dnr());
        }
    }
    Ok(())
}

/// The Host Memory Buffer (`NVMe Base 2.1 §5.1.25.2.4`): what it says of the
/// memory is checked where the memory is to be used.
fn host_memory(sqe: &Sqe) -> Result<u32, Status> {
    let cdw11 = sqe.cdw11.get();
    let enables = cdw11 & 1 != 0;
    let entries = sqe.cdw15.get();
    let unaligned = sqe.cdw13.get() & 0xf != 0;
    if enables && (entries == 0 || sqe.cdw12.get() == 0 || unaligned) {
        return Err(Status::INVALID_FIELD.dnr());
    }
    Ok(cdw11 & 0b11)
}

/// Host controlled thermal management (`NVMe Base 2.1 §5.1.25.1.9`): both
/// thresholds in range or 0, the lower one first.
fn thermal_management(config: &ControllerConfig, cdw11: u32) -> Result<u32, Status> {
    let [a, b, c, d] = cdw11.to_le_bytes();
    let (second, first) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    let (min, max) = config.thermal_management.unwrap_or((0, 0));
    let in_range = |kelvin: u16| kelvin == 0 || (min..=max).contains(&kelvin);
    let ordered = first == 0 || second == 0 || first < second;
    if in_range(first) && in_range(second) && ordered {
        Ok(cdw11)
    } else {
        Err(Status::INVALID_FIELD.dnr())
    }
}
