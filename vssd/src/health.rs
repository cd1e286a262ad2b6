//! What a drive counts about itself: the SMART / Health Information log.

use nvme::{NvmOpcode, SmartLog};
use serde::{Deserialize, Serialize};
use traces::CommandRecord;
use zerocopy::little_endian::U16;

/// The temperature of every virtual drive, kelvin: 30 degrees Celsius.
pub(crate) const TEMPERATURE_K: u16 = 303;

/// Counters over the life of the drive, which is that of this process. A guest
/// that attaches powers it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    /// Read, in units of 512 bytes.
    sectors_read: u64,
    /// Written, in units of 512 bytes.
    sectors_written: u64,
    reads: u64,
    writes: u64,
    pub(crate) power_cycles: u64,
    pub(crate) unsafe_shutdowns: u64,
    media_errors: u64,
}

impl Health {
    /// Counts a command that succeeded, on blocks of `block_bytes`
    /// (`NVMe Base 2.1 §5.1.12.1.3`; Compare and Verify count as reads,
    /// `NVM Command Set 1.1 §4.1.4.2`).
    #[inline]
    pub(crate) fn count(&mut self, record: &CommandRecord, block_bytes: u32) {
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
            NvmOpcode::WRITE => {
                self.writes = self.writes.saturating_add(1);
                self.sectors_written = self.sectors_written.saturating_add(sectors);
            }
            _ => {}
        }
    }

    /// Counts a command that the medium failed.
    pub(crate) fn count_media_error(&mut self) {
        self.media_errors = self.media_errors.saturating_add(1);
    }

    /// The log page, after `on_ns` nanoseconds of power and `errors` entries of
    /// the error log.
    pub(crate) fn log(&self, critical_warning: u8, on_ns: u64, errors: u64) -> SmartLog {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let wide = |value: u64| u128::from(value).to_le_bytes();
        let mut sensors = [U16::new(0); 8];
        if let Some(first) = sensors.first_mut() {
            *first = U16::new(TEMPERATURE_K);
        }
        SmartLog {
            critical_warning,
            composite_temperature: TEMPERATURE_K.to_le_bytes(),
            available_spare: 100,
            available_spare_threshold: 10,
            data_units_read: wide(self.sectors_read.div_ceil(1000)),
            data_units_written: wide(self.sectors_written.div_ceil(1000)),
            host_reads: wide(self.reads),
            host_writes: wide(self.writes),
            power_cycles: wide(self.power_cycles),
            power_on_hours: wide(on_ns / HOUR_NS),
            unsafe_shutdowns: wide(self.unsafe_shutdowns),
            media_errors: wide(self.media_errors),
            error_log_entries: wide(errors),
            temperature_sensors: sensors,
            ..SmartLog::default()
        }
    }
}
