//! What a trace holds, counted as a kernel counts.

use std::path::Path;

use nvme::NvmOpcode;
use qemu::DriveCounters;
use traces::{CommandRecord, Event, Reader, Record};

/// Commands and what they moved, in units of 512 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Tally {
    pub reads: u64,
    pub read_sectors: u64,
    pub writes: u64,
    pub write_sectors: u64,
    pub zeroes: u64,
    pub zero_sectors: u64,
    pub discards: u64,
    pub discard_ranges: u64,
    pub discard_sectors: u64,
    pub flushes: u64,
    /// Anything else on an I/O queue.
    pub others: u64,
}

impl Tally {
    /// Counts the I/O commands since the controller was last enabled: by the
    /// kernel, where firmware had it before.
    ///
    /// # Panics
    ///
    /// Where the trace cannot be read.
    #[must_use]
    pub fn since_last_enable(trace: &Path) -> Self {
        Self::count(trace, true)
    }

    /// Counts all I/O commands.
    ///
    /// # Panics
    ///
    /// Where the trace cannot be read.
    #[must_use]
    pub fn whole(trace: &Path) -> Self {
        Self::count(trace, false)
    }

    fn count(trace: &Path, since_last_enable: bool) -> Self {
        let reader = open(trace);
        let mut tally = Self::default();
        for record in reader.records() {
            match record.unwrap_or_else(|e| panic!("{e}")) {
                Record::Command {
                    command, ranges, ..
                } if !command.is_admin() => {
                    let sectors = u64::from(reader.header().block_bytes(command.nsid)) / 512;
                    let ranges: Vec<u64> = ranges
                        .iter()
                        .map(|range| u64::from(range.blocks.get()))
                        .collect();
                    tally.add(&command, &ranges, sectors);
                }
                Record::Event(event) if since_last_enable && event.event == Event::Enable => {
                    tally = Self::default();
                }
                _ => {}
            }
        }
        tally
    }

    fn add(&mut self, command: &CommandRecord, ranges: &[u64], sectors: u64) {
        let moved = command
            .lba_range()
            .map_or(0, |(_, blocks)| u64::from(blocks))
            * sectors;
        match NvmOpcode(command.opcode) {
            NvmOpcode::READ => {
                self.reads += 1;
                self.read_sectors += moved;
            }
            NvmOpcode::WRITE => {
                self.writes += 1;
                self.write_sectors += moved;
            }
            NvmOpcode::WRITE_ZEROES => {
                self.zeroes += 1;
                self.zero_sectors += moved;
            }
            NvmOpcode::DATASET_MANAGEMENT => {
                self.discards += 1;
                // Widens.
                self.discard_ranges += ranges.len() as u64;
                self.discard_sectors += ranges.iter().sum::<u64>() * sectors;
            }
            NvmOpcode::FLUSH => self.flushes += 1,
            _ => self.others += 1,
        }
    }
}

fn open(trace: &Path) -> Reader {
    Reader::open(trace).unwrap_or_else(|e| panic!("{e}"))
}

/// Compares what the guest's kernel counted with what `trace` holds since the
/// kernel enabled the drive: both must be the same, to the command and the sector.
///
/// The kernel counts Write Zeroes among the writes, and so it does with a flush that
/// carries no data, as a write of no sectors; of the latter it also keeps a count
/// apart. Whatever it merges before it is sent, it does not count as sent.
///
/// # Panics
///
/// Where they differ.
#[track_caller]
pub fn the_kernel_counted_what_the_trace_holds(counted: &DriveCounters, trace: &Path) -> Tally {
    let traced = Tally::since_last_enable(trace);
    eprintln!("the kernel counted {counted:?}\nthe trace holds {traced:?}");
    assert_eq!(counted.in_flight, 0);
    assert_eq!(
        (counted.reads, counted.read_sectors),
        (traced.reads, traced.read_sectors),
        "reads"
    );
    assert_eq!(
        (
            counted.writes - counted.empty_flushes,
            counted.write_sectors
        ),
        (
            traced.writes + traced.zeroes,
            traced.write_sectors + traced.zero_sectors
        ),
        "writes and zeroes"
    );
    assert_eq!(
        (counted.discards, counted.discard_sectors),
        (traced.discards, traced.discard_sectors),
        "discards"
    );
    assert_eq!(counted.flushes, traced.flushes, "flushes");
    assert_eq!(traced.others, 0, "commands that the kernel does not count");
    traced
}

/// The commands that did not succeed, a line for each, and whether it is one of the
/// admin queue: hosts ask there for what a drive need not have.
///
/// # Panics
///
/// Where the trace cannot be read.
#[must_use]
pub fn failures(trace: &Path) -> Vec<(bool, String)> {
    let failed = |command: &CommandRecord| {
        let status = command.completion?.status;
        let [cdw10, cdw11, ..] = command.cdw10_15;
        let line = format!(
            "{} on queue {}: {status}; cdw10 {cdw10:#x}, cdw11 {cdw11:#x}",
            command.opcode_name(),
            command.queue.0
        );
        (!status.is_success()).then(|| (command.is_admin(), line))
    };
    commands_of(trace).iter().filter_map(failed).collect()
}

/// All commands of a trace, in the order of their submission.
///
/// # Panics
///
/// Where the trace cannot be read.
#[must_use]
pub fn commands_of(trace: &Path) -> Vec<CommandRecord> {
    let reader = open(trace);
    let commands = reader.records().filter_map(|record| match record {
        Ok(Record::Command { command, .. }) => Some(command),
        Ok(_) => None,
        Err(e) => panic!("{e}"),
    });
    commands.collect()
}
