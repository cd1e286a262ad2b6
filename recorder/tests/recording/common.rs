//! Commands to record, and places to record into that misbehave.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nvme::{CommandId, DsmRange, Lba, NamespaceId, QueueId, Status};
use recorder::{Output, RecorderOptions};
use traces::{CommandRecord, Completion, Record};

/// The command with this sequence number. One in 7 has rare dwords, one in 11
/// ranges (up to 256 of them), one in 13 never completes.
pub(crate) fn command(sequence: u64) -> (CommandRecord, Vec<DsmRange>) {
    let low = |modulus: u64| u16::try_from(sequence % modulus).unwrap();
    let rare = |dword: u32| u32::from(low(7) == 0) * (0xdead_0000 | dword);
    let record = CommandRecord {
        sequence,
        submit_ns: sequence * 1_000,
        completion: (low(13) != 0).then_some(Completion {
            complete_ns: sequence * 1_000 + 5_000,
            status: Status::from_field(low(0x7fff)),
            result: u32::from(low(1_000)),
        }),
        queue: QueueId(low(5)),
        cid: CommandId(low(1_024)),
        opcode: low(10).to_le_bytes()[0],
        flags: low(3).to_le_bytes()[0],
        nsid: NamespaceId(1),
        cdw2_3: [rare(2), rare(3)],
        cdw10_15: [u32::from(low(65_000)) * 8, 1, 7, 3, rare(14), rare(15)],
    };
    let ranges = if low(11) == 0 {
        1 + sequence / 11 % 256
    } else {
        0
    };
    let range = |n: u64| DsmRange::new(Lba(sequence + n), u32::from(low(100)));
    (record, (0..ranges).map(range).collect())
}

/// The same without rare dwords and ranges.
pub(crate) fn plain(sequence: u64) -> CommandRecord {
    let (mut command, _) = command(sequence);
    command.cdw2_3 = [0; 2];
    command.cdw10_15[4..].fill(0);
    command
}

/// The smallest ring, so that it wraps and fills all the time.
pub(crate) fn small() -> RecorderOptions {
    let mut options = RecorderOptions::default().ring_rows(256);
    options.writer.block_commands = 500;
    options
}

/// As a reader gives it.
pub(crate) fn record(sequence: u64) -> Record {
    let (command, ranges) = command(sequence);
    Record::Command {
        command,
        ranges,
        payload: None,
    }
}

/// Keeps what is written in memory, slowly where told to, and fails once it
/// holds `capacity` bytes, as a full disk does: what fits is written.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) bytes: Arc<Mutex<Vec<u8>>>,
    pub(crate) capacity: usize,
    pub(crate) delay: Duration,
    /// Whether it can be cut back.
    pub(crate) truncates: bool,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Arc::default(),
            capacity: usize::MAX,
            delay: Duration::ZERO,
            truncates: true,
        }
    }

    pub(crate) fn contents(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

impl Write for Disk {
    #[expect(clippy::disallowed_methods, reason = "a slow disk takes real time")]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        std::thread::sleep(self.delay);
        let mut bytes = self.bytes.lock().unwrap();
        let fits = buffer.len().min(self.capacity - bytes.len());
        if fits == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        bytes.extend_from_slice(&buffer[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Disk {
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if !self.truncates {
            return Err(io::ErrorKind::Other.into());
        }
        let mut bytes = self.bytes.lock().unwrap();
        bytes.truncate(usize::try_from(len).unwrap());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
