//! What is known of the blocks, shared by all workers of a job.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use driver::Controller;
use driver::ioworker::extent;
use driver::transport::Transport;
use driver::verify::VerifyTable;
use nvme::NamespaceId;
use traces::Clock;

use super::job::Job;

/// Gives the workers that verify a table for each namespace, so that each
/// knows what the others of all phases wrote.
///
/// A worker that changes the same blocks without telling the table would make
/// the others find what is no mistake: such a job is refused.
pub(super) fn share<T: Transport, C: Clock>(
    job: &mut Job,
    controller: &mut Controller<T, C>,
) -> Result<()> {
    let mut regions = BTreeMap::<NamespaceId, Range<u64>>::new();
    let mut others = Vec::new();
    for worker in job.phases.iter().flat_map(|phase| &phase.workers) {
        let (name, options) = (&worker.name, &worker.options);
        // One that is not there is told of when its worker is made.
        let Some(namespace) = controller.info().namespace(options.nsid) else {
            continue;
        };
        if !options.verify && !options.changes_data() {
            continue;
        }
        let blocks = extent(options, namespace).with_context(|| name.clone())?;
        if !options.verify {
            others.push((name.clone(), options.nsid, blocks));
            continue;
        }
        let region = regions.entry(options.nsid).or_insert(blocks.clone());
        *region = region.start.min(blocks.start)..region.end.max(blocks.end);
    }
    for (name, nsid, blocks) in others {
        if let Some(region) = regions.get(&nsid)
            && blocks.start < region.end
            && region.start < blocks.end
        {
            bail!(
                "{name}: it changes blocks {}..{} of {nsid}, of which others verify {}..{}: \
                 set verify = true for it as well, or give it another region",
                blocks.start,
                blocks.end,
                region.start,
                region.end
            );
        }
    }
    for (nsid, blocks) in regions {
        let table = Arc::new(VerifyTable::of_controller(controller, nsid, blocks)?);
        let workers = job.phases.iter_mut().flat_map(|phase| &mut phase.workers);
        for worker in workers.filter(|worker| worker.options.nsid == nsid) {
            worker.options.verify_table = Some(Arc::clone(&table));
        }
    }
    Ok(())
}
