//! What a drive counts about itself: the SMART / Health Information log and the
//! Endurance Group Information log.

use nvme::{EnduranceGroupLog, NvmOpcode, SmartLog};
use serde::{Deserialize, Serialize};
use traces::CommandRecord;
use zerocopy::little_endian::{U16, U32};

use crate::vitals::Work;

/// The spare that is left where a warning is due, percent.
const SPARE_THRESHOLD: u8 = 10;

/// Counters over the life of the drive, which is that of this process, or of its
/// state file. A guest that attaches powers it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Health {
    /// Read, in units of 512 bytes.
    sectors_read: u64,
    /// Written, in units of 512 bytes.
    sectors_written: u64,
    /// Written by commands that bring no data, in units of 512 bytes.
    sectors_zeroed: u64,
    reads: u64,
    writes: u64,
    pub(crate) power_cycles: u64,
    pub(crate) unsafe_shutdowns: u64,
    media_errors: u64,
    /// How long I/O commands were outstanding.
    pub(crate) busy_ns: u64,
    /// How long it was too warm, and how long the temperature was critical.
    pub(crate) warm_ns: u64,
    pub(crate) critical_ns: u64,
    /// How often each level of thermal management was entered, and for how long.
    pub(crate) throttles: [u32; 2],
    pub(crate) throttled_ns: [u64; 2],
}

/// How worn a medium is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wear {
    /// Of what can be written, percent; 255 for that and more.
    pub(crate) used: u8,
    /// What is left to replace blocks that wore out, percent.
    pub(crate) spare: u8,
}

impl Wear {
    /// The critical warnings that follow.
    pub(crate) const fn warnings(self) -> u8 {
        let spare = if self.spare < SPARE_THRESHOLD {
            SmartLog::WARNING_SPARE
        } else {
            0
        };
        let degraded = if self.spare == 0 {
            SmartLog::WARNING_DEGRADED
        } else {
            0
        };
        spare | degraded
    }
}

/// What a log tells that is not counted here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    /// Critical warnings.
    pub(crate) warnings: u8,
    /// Those of the endurance group.
    pub(crate) group_warnings: u8,
    /// The composite temperature.
    pub(crate) kelvin: u16,
    /// How long the power has been on, nanoseconds.
    pub(crate) on_ns: u64,
    /// Entries of the error log.
    pub(crate) errors: u64,
    /// See [`crate::ControllerConfig::endurance_bytes`].
    pub(crate) endurance_bytes: u64,
}

const fn wide(value: u64) -> [u8; 16] {
    // Lossless, and `From` is not const.
    (value as u128).to_le_bytes()
}

/// Sectors as billions of bytes, rounded up.
fn billions(sectors: u64) -> [u8; 16] {
    const BILLION: u128 = 1_000_000_000;
    let bytes = u128::from(sectors).saturating_mul(512);
    bytes.div_ceil(BILLION).to_le_bytes()
}

impl Health {
    /// Counts a command that succeeded, on blocks of `block_bytes`
    /// (`NVMe Base 2.1 §5.1.12.1.3`; Compare and Verify count as reads,
    /// `NVM Command Set 1.1 §4.1.4.2`).
    #[inline]
    pub(crate) fn count(&mut self, record: &CommandRecord, block_bytes: u32) {
        if NvmOpcode(record.opcode) == NvmOpcode::COPY {
            // One command that reads and writes; see `count_copied` for its data.
            self.reads = self.reads.saturating_add(1);
            self.writes = self.writes.saturating_add(1);
            return;
        }
        let Some((_, blocks)) = record.lba_range() else {
            return;
        };
        let sectors = u64::from(blocks).saturating_mul(u64::from(block_bytes / 512));
        match NvmOpcode(record.opcode) {
            NvmOpcode::READ | NvmOpcode::COMPARE => {
                self.reads = self.reads.saturating_add(1);
                self.sectors_read = self.sectors_read.saturating_add(sectors);
            }
            NvmOpcode::VERIFY => {
                self.sectors_read = self.sectors_read.saturating_add(sectors);
            }
            NvmOpcode::WRITE | NvmOpcode::ZONE_APPEND => {
                self.writes = self.writes.saturating_add(1);
                self.sectors_written = self.sectors_written.saturating_add(sectors);
            }
            NvmOpcode::WRITE_ZEROES => {
                self.sectors_zeroed = self.sectors_zeroed.saturating_add(sectors);
            }
            _ => {}
        }
    }

    /// Counts what a Copy command has the medium write, 512-byte units.
    pub(crate) fn count_copied(&mut self, sectors: u64) {
        self.sectors_written = self.sectors_written.saturating_add(sectors);
    }

    /// Whether the medium failed commands.
    pub(crate) const fn has_media_errors(&self) -> bool {
        self.media_errors > 0
    }

    /// Adds what `other` has counted of commands since it began with nothing.
    pub(crate) fn add(&mut self, other: &Self) {
        for (to, more) in [
            (&mut self.sectors_read, other.sectors_read),
            (&mut self.sectors_written, other.sectors_written),
            (&mut self.sectors_zeroed, other.sectors_zeroed),
            (&mut self.reads, other.reads),
            (&mut self.writes, other.writes),
            (&mut self.media_errors, other.media_errors),
        ] {
            *to = to.saturating_add(more);
        }
    }

    /// Counts a command that the medium failed.
    pub(crate) fn count_media_error(&mut self) {
        self.media_errors = self.media_errors.saturating_add(1);
    }

    /// All that the medium was made to write, in units of 512 bytes.
    const fn sectors_programmed(&self) -> u64 {
        self.sectors_written.saturating_add(self.sectors_zeroed)
    }

    /// What the drive has done so far.
    pub(crate) fn work(&self) -> Work {
        let sectors = self.sectors_read.saturating_add(self.sectors_programmed());
        Work {
            bytes: sectors.saturating_mul(512),
            commands: self.reads.saturating_add(self.writes),
        }
    }

    /// How worn a medium is by that, to which `endurance_bytes` can be written.
    /// Beyond that, each percent more takes a percent of the spare.
    pub(crate) fn wear(&self, endurance_bytes: u64) -> Wear {
        let bytes = u128::from(self.sectors_programmed()).saturating_mul(512);
        let percent = bytes
            .saturating_mul(100)
            .checked_div(endurance_bytes.into())
            .unwrap_or(0);
        let gone = u8::try_from(percent.saturating_sub(100)).unwrap_or(u8::MAX);
        Wear {
            used: u8::try_from(percent).unwrap_or(u8::MAX),
            spare: 100_u8.saturating_sub(gone),
        }
    }

    /// The SMART / Health Information log.
    pub(crate) fn log(&self, condition: &Condition) -> SmartLog {
        const HOUR_NS: u64 = 3_600_000_000_000;
        const MINUTE_NS: u64 = 60_000_000_000;
        const SECOND_NS: u64 = 1_000_000_000;
        let narrow = |value: u64| U32::new(u32::try_from(value).unwrap_or(u32::MAX));
        let mut sensors = [U16::new(0); 8];
        if let Some(first) = sensors.first_mut() {
            *first = U16::new(condition.kelvin);
        }
        let wear = self.wear(condition.endurance_bytes);
        let ([light, heavy], [light_ns, heavy_ns]) = (self.throttles, self.throttled_ns);
        SmartLog {
            critical_warning: condition.warnings,
            composite_temperature: condition.kelvin.to_le_bytes(),
            available_spare: wear.spare,
            available_spare_threshold: SPARE_THRESHOLD,
            percentage_used: wear.used,
            endurance_group_warning: condition.group_warnings,
            data_units_read: wide(self.sectors_read.div_ceil(1000)),
            data_units_written: wide(self.sectors_written.div_ceil(1000)),
            host_reads: wide(self.reads),
            host_writes: wide(self.writes),
            busy_minutes: wide(self.busy_ns / MINUTE_NS),
            power_cycles: wide(self.power_cycles),
            power_on_hours: wide(condition.on_ns / HOUR_NS),
            unsafe_shutdowns: wide(self.unsafe_shutdowns),
            media_errors: wide(self.media_errors),
            error_log_entries: wide(condition.errors),
            warning_temperature_minutes: narrow(self.warm_ns / MINUTE_NS),
            critical_temperature_minutes: narrow(self.critical_ns / MINUTE_NS),
            temperature_sensors: sensors,
            thermal_management: [
                U32::new(light),
                U32::new(heavy),
                narrow(light_ns / SECOND_NS),
                narrow(heavy_ns / SECOND_NS),
            ],
            ..SmartLog::default()
        }
    }

    /// The Endurance Group Information log of the one group
    /// (`NVMe Base 2.1 §5.1.12.1.10`), of whose capacity no namespace has
    /// `unallocated` bytes.
    pub(crate) fn group_log(
        &self,
        condition: &Condition,
        bytes: u64,
        unallocated: u64,
    ) -> EnduranceGroupLog {
        let wear = self.wear(condition.endurance_bytes);
        EnduranceGroupLog {
            critical_warning: condition.group_warnings,
            available_spare: wear.spare,
            available_spare_threshold: SPARE_THRESHOLD,
            percentage_used: wear.used,
            endurance_estimate: billions(condition.endurance_bytes / 512),
            data_units_read: billions(self.sectors_read),
            data_units_written: billions(self.sectors_written),
            media_units_written: billions(self.sectors_programmed()),
            host_reads: wide(self.reads),
            host_writes: wide(self.writes),
            media_errors: wide(self.media_errors),
            error_log_entries: wide(condition.errors),
            total_capacity: wide(bytes),
            unallocated_capacity: wide(unallocated),
            ..EnduranceGroupLog::default()
        }
    }
}
