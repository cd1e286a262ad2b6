//! What recording costs the data path: the processor time of a loop that gives
//! commands to a tap, with and without a recording behind it.
//!
//! ```text
//! taskset -c 0 cargo run --release -p recorder --example measure
//! ```
//!
//! On one core (as above) the loop's and the writer thread's time add up to
//! what a command costs.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use nvme::{CommandId, NamespaceId, QueueId, Sqe, Status};
use recorder::{Recorder, RecorderOptions};
use traces::{CommandRecord, Completion, Header, Tap};

const COMMANDS: u64 = 10_000_000;

/// What all threads together have used of the processors so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Random reads of 4 KiB, 1.4 us apart, in the order of completion of a queue
/// of depth 32.
fn give(tap: &mut impl Tap) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut sqe = Sqe::new(2, NamespaceId(1));
    sqe.cdw12.set(7);
    for number in 0..COMMANDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // The four of a group change places with each other.
        let sequence = number ^ ((number >> 2).wrapping_mul(0x9e37_79b9) >> 8 & 3);
        sqe.set_slba(nvme::Lba(random % (1 << 25) / 8 * 8));
        let submit_ns = sequence * 1_400 + random % 512;
        let mut record = CommandRecord::fetched(sequence, submit_ns, QueueId(1), &sqe);
        record.cid = CommandId(u16::try_from(sequence % 32).unwrap_or(0));
        record.completion = Some(Completion {
            complete_ns: submit_ns + 20_000 + random % 20_000,
            status: Status::SUCCESS,
            result: 0,
        });
        tap.command(black_box(&record), &[]);
    }
}

#[expect(clippy::print_stdout, reason = "results")]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("recorder-measure-{}.vtr", std::process::id()));
    let per_command = |time: Duration| time.as_nanos() as f64 / COMMANDS as f64;
    let start = cpu_time();
    give(&mut ());
    let without = per_command(cpu_time() - start);
    let (handle, mut tap) = Recorder::start(&path, &Header::default(), RecorderOptions::default())?;
    let start = cpu_time();
    give(&mut tap);
    let summary = handle.stop()?;
    let with = per_command(cpu_time() - start);
    std::fs::remove_file(&path)?;
    println!("making a command: {without:.1} ns; and recording it: {with:.1} ns");
    println!(
        "{:.2} bytes a command; {} recorded, {} lost",
        summary.bytes as f64 / COMMANDS as f64,
        summary.totals.commands,
        summary.totals.lost
    );
    Ok(())
}
