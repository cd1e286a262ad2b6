//! What counting a command costs: the same commands with nobody counting, and
//! with [`CountingTap`]. Instructions are what to compare.
//!
//! ```text
//! cargo build --release -p vssd --example tap_cost
//! for tap in none counters; do
//!     perf stat -e instructions:u target/release/examples/tap_cost $tap 1000000
//! done
//! ```

#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::hint::black_box;
use std::sync::Arc;

use nvme::{NamespaceId, NvmOpcode, QueueId, Sqe, Status};
use traces::{CommandRecord, Completion, Tap};
use vssd::counters::{Counters, CountingTap};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let tap = arguments.next().unwrap_or_default();
    let commands = arguments.next().and_then(|text| text.parse().ok());
    let commands = commands.unwrap_or(1_000_000);
    let counters = Arc::new(Counters::new(8).expect("there is memory"));
    let mut counting = CountingTap::new(Arc::clone(&counters));
    counting.describe([(NamespaceId(1), 512)].into_iter());
    match tap.as_str() {
        "none" => run(&mut (), commands),
        "counters" => run(&mut counting, commands),
        _ => println!("usage: tap_cost none|counters [COMMANDS]"),
    }
    for queue in counters.queues() {
        println!("{:?}: {:?}", queue.queue, queue.classes[0].commands);
    }
}

/// Shows commands to `tap`, reads and writes in turn on two queues.
fn run(tap: &mut impl Tap, commands: u64) {
    for number in 0..commands {
        let write = number & 1 == 1;
        let opcode = if write {
            NvmOpcode::WRITE
        } else {
            NvmOpcode::READ
        };
        let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
        sqe.cdw12.set(7);
        let queue = QueueId(if number & 2 == 0 { 1 } else { 2 });
        let mut record = CommandRecord::fetched(number, number * 1000, queue, &sqe);
        tap.fetched(black_box(&record));
        record.completion = Some(Completion {
            complete_ns: number * 1000 + 5_000 + (number & 0xffff),
            status: Status::SUCCESS,
            result: 0,
        });
        tap.command(black_box(&record), &[]);
    }
}
