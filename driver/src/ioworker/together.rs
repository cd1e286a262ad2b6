//! Many workers at once.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use traces::{Clock, Tap};

use super::{Ioworker, IoworkerReport};
use crate::DriverError;

/// Runs the workers, each in a thread of its own, which start at the same
/// moment. Where one fails, the others are ended, and report what they did.
/// The results are in the order of the workers.
pub fn run_together<T: Tap + Send>(
    workers: Vec<Ioworker<T>>,
    clock: &(impl Clock + Sync),
) -> Vec<Result<IoworkerReport, DriverError>> {
    let barrier = Barrier::new(workers.len());
    let lives: Vec<_> = workers.iter().map(Ioworker::live).collect();
    std::thread::scope(|scope| {
        let (barrier, lives) = (&barrier, &lives);
        let start = |worker: Ioworker<T>| {
            scope.spawn(move || {
                barrier.wait();
                let result = worker.run(clock);
                if result.is_err() {
                    lives.iter().for_each(|live| Arc::as_ref(live).stop());
                }
                result
            })
        };
        let threads: Vec<_> = workers.into_iter().map(start).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    })
}

/// What this thread has used of a processor.
pub(super) fn cpu_of_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
