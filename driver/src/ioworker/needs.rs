//! What work needs: memory, commands of the device, a table.

use std::ops::Range;
use std::sync::Arc;

use nvme::IdentifyController;
use traces::Tap;

use super::Layout;
use super::options::{IoworkerOptions, Op};
use super::plan::{Plan, refuse};
use super::verify::Verifier;
use crate::verify::VerifyTable;
use crate::{ControllerInfo, DriverError, NamespaceInfo, QueuePair};

/// What verifies the work on this queue pair; `data` is the pattern.
pub(super) fn verifier<T: Tap>(
    options: &IoworkerOptions,
    plan: &Plan,
    namespace: NamespaceInfo,
    data: Vec<u8>,
    queue_pair: &QueuePair<T>,
) -> Result<Verifier, DriverError> {
    let table = match &options.verify_table {
        Some(table) => Arc::clone(table),
        None => Arc::new(VerifyTable::new(namespace, plan.extent(), None)?),
    };
    if !table.covers(namespace, &plan.extent()) {
        let why = "the table is not of all blocks that may be touched";
        return refuse("verify", why);
    }
    Verifier::new(
        &table,
        queue_pair.cmdlog().clone(),
        data,
        (namespace.block_bytes as usize, plan.blocks_max),
        options.qdepth,
    )
}

/// How many bytes the buffer of a worker has.
///
/// # Errors
///
/// [`DriverError::Invalid`], which names the option, where the options do not
/// fit each other or the namespace.
pub fn buffer_bytes(
    options: &IoworkerOptions,
    namespace: NamespaceInfo,
) -> Result<usize, DriverError> {
    let plan = Plan::new(options, namespace)?;
    Ok(Layout::new(&plan, options, namespace.block_bytes as usize).bytes)
}

/// All blocks that the work may touch, from the first to the one after the
/// last: what a table for it must cover.
///
/// # Errors
///
/// [`DriverError::Invalid`], which names the option, where the options do not
/// fit each other or the namespace.
pub fn extent(
    options: &IoworkerOptions,
    namespace: NamespaceInfo,
) -> Result<Range<u64>, DriverError> {
    Ok(Plan::new(options, namespace)?.extent())
}

/// Whether the device has the optional commands that are asked for.
pub(super) fn supported(plan: &Plan, info: &ControllerInfo) -> Result<(), DriverError> {
    for op in &plan.used {
        let bit = match op {
            Op::Read | Op::Write | Op::Flush => continue,
            Op::Compare => IdentifyController::ONCS_COMPARE,
            Op::WriteUncorrectable => IdentifyController::ONCS_WRITE_UNCORRECTABLE,
            Op::Trim => IdentifyController::ONCS_DSM,
            Op::WriteZeroes => IdentifyController::ONCS_WRITE_ZEROES,
            Op::Verify => IdentifyController::ONCS_VERIFY,
        };
        if info.oncs & bit == 0 {
            let why = format!("this device has no {} ({})", op.opcode(), op.name());
            return refuse("op_percentage", why);
        }
    }
    Ok(())
}
