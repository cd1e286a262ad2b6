//! The client of vfio-user servers: our driver.

use std::path::Path;

use ::driver::transport::vfio_user::VfioUser;
use ::driver::{Command, Controller, ControllerOptions, DmaBuffer, QueueOptions, QueuePair};
use ::nvme::{Lba, ZeroBased};
use anyhow::{Context as _, Result, ensure};
use driver::NamespaceInfo;
use traces::{Clock as _, MonotonicClock};

use super::work::Work;
use crate::client;

/// How often the clock is looked at, in turns of all queues.
const TURNS_A_LOOK: u32 = 64;

/// Random requests to the drive at `socket`, each block of which was written
/// once before. Returns the IOPS.
pub(crate) fn run(socket: &Path, disk_bytes: u64, work: Work) -> Result<f64> {
    let clock = MonotonicClock::start();
    let transport = VfioUser::connect(socket)?;
    let mut controller = Controller::initialise(transport, ControllerOptions::default(), clock)?;
    client::fill(&mut controller, disk_bytes, &clock)?;
    let namespace = controller.info().namespaces.first().copied();
    let namespace = namespace.context("the drive has no namespace")?;
    let mut queues = Vec::new();
    for _ in 0..work.queues {
        queues.push(Queue::new(&mut controller, work)?);
    }
    let iops = drive(&mut queues, namespace, work, clock)?;
    controller.shutdown()?;
    Ok(iops)
}

/// A queue pair, and memory for its commands.
#[derive(Debug)]
struct Queue {
    pair: QueuePair,
    data: DmaBuffer,
    free: Vec<u64>,
}

impl Queue {
    fn new(controller: &mut Controller<VfioUser>, work: Work) -> Result<Self> {
        Ok(Self {
            pair: controller.create_queue_pair(QueueOptions {
                depth: work.depth,
                ..QueueOptions::default()
            })?,
            data: controller.allocate_dma(usize::from(work.depth) * work.bytes)?,
            free: (0..work.depth.into()).collect(),
        })
    }
}

/// Keeps all queues at their depth until the time is over.
fn drive(
    queues: &mut [Queue],
    namespace: NamespaceInfo,
    work: Work,
    clock: MonotonicClock,
) -> Result<f64> {
    let blocks = u32::try_from(work.bytes)? / namespace.block_bytes;
    let places = namespace.blocks / u64::from(blocks);
    let length = ZeroBased(u16::try_from(blocks - 1)?);
    let mut random = fastrand::Rng::with_seed(1);
    let (mut done, mut failed) = (0_u64, 0_u64);
    let began_ns = clock.now_ns();
    let end_ns = began_ns + work.time_ns();
    let mut now_ns = began_ns;
    while now_ns < end_ns {
        for _ in 0..TURNS_A_LOOK {
            for queue in &mut *queues {
                while let Some(slot) = queue.free.pop() {
                    let lba = Lba(random.u64(..places) * u64::from(blocks));
                    let at = usize::try_from(slot)? * work.bytes;
                    let data = queue.data.slice(at, work.bytes)?;
                    let command = if work.writes {
                        Command::write(namespace.nsid, lba, length, data)
                    } else {
                        Command::read(namespace.nsid, lba, length, data)
                    };
                    let sent = queue.pair.submit(command, slot, now_ns);
                    ensure!(sent.is_ok(), "no room in a queue of {}", work.depth);
                }
                let free = &mut queue.free;
                queue.pair.poll(&clock, work.depth.into(), |completed| {
                    free.push(completed.user);
                    done += 1;
                    failed += u64::from(!completed.status.is_success());
                })?;
            }
        }
        now_ns = clock.now_ns();
    }
    for queue in queues {
        while queue.pair.in_flight() > 0 {
            queue.pair.poll(&clock, work.depth.into(), |_| {})?;
        }
    }
    ensure!(
        failed == 0,
        "{failed} commands failed: the figures would mean nothing"
    );
    #[expect(clippy::cast_precision_loss, reason = "IOPS for people")]
    let iops = done as f64 * 1e9 / (now_ns - began_ns) as f64;
    Ok(iops)
}
