//! The target: which namespace stands for which, and whether the trace fits.

use std::collections::BTreeMap;

use driver::{ControllerInfo, NamespaceInfo};
use nvme::NamespaceId;

use crate::extents::ExtentSet;
use crate::facts::NamespaceFacts;
use crate::mapping::{AddressMap, Mapping};
use crate::{ReplayError, ReplayOptions, TraceFacts};

/// A map for each recorded namespace, after checking that everything that the
/// trace touches has a place.
pub(crate) fn address_maps(
    facts: &TraceFacts,
    info: &ControllerInfo,
    options: &ReplayOptions,
) -> Result<BTreeMap<NamespaceId, AddressMap>, ReplayError> {
    // A trace of nothing but commands to all namespaces names none.
    let nameless = (
        NamespaceId(1),
        NamespaceFacts {
            block_bytes: 512,
            ..NamespaceFacts::default()
        },
    );
    let recorded = facts
        .namespaces
        .iter()
        .map(|(&nsid, &facts)| (nsid, facts))
        .chain(facts.namespaces.is_empty().then_some(nameless));
    let extents = &facts.extents;
    let mut maps = BTreeMap::new();
    for (nsid, facts) in recorded {
        let mapped = options.namespaces.get(&nsid).copied();
        let target = namespace_for(nsid, info, mapped.or(options.namespace))?;
        if target.metadata_bytes != 0 {
            return Err(ReplayError::Metadata {
                nsid: target.nsid,
                metadata_bytes: target.metadata_bytes,
            });
        }
        let bytes = facts.blocks.saturating_mul(u64::from(facts.block_bytes));
        let mut map = AddressMap::new(options.mapping, facts.block_bytes, bytes, target);
        match options.mapping {
            Mapping::Identity => check_reach(nsid, &facts, target)?,
            Mapping::Offset(blocks) => check_offset(nsid, &facts, target, blocks)?,
            Mapping::Compact => {
                let touched = extents.get(&nsid);
                let (packed, needs) = map.packing(touched.unwrap_or(&ExtentSet::default()));
                let has = target.bytes();
                if needs > has {
                    let recorded = nsid;
                    return Err(ReplayError::TooMuch {
                        recorded,
                        needs,
                        has,
                    });
                }
                map = packed;
            }
            Mapping::Wrap | Mapping::Scale => {}
        }
        maps.insert(nsid, map);
    }
    Ok(maps)
}

/// Whether everything that is touched, moved by `blocks`, exists on `target`.
fn check_offset(
    recorded: NamespaceId,
    facts: &NamespaceFacts,
    target: NamespaceInfo,
    blocks: i64,
) -> Result<(), ReplayError> {
    let (Some(start), Some(end)) = (facts.start, facts.end) else {
        return Ok(());
    };
    let recorded_block = i128::from(facts.block_bytes.max(1));
    let moved = i128::from(blocks) * i128::from(target.block_bytes);
    let at = |block: u64| i128::from(block) * recorded_block + moved;
    if at(start) >= 0 && at(end) <= i128::from(target.bytes()) {
        return Ok(());
    }
    Err(ReplayError::OffsetOutside {
        recorded,
        offset: blocks,
        first: at(start) / i128::from(target.block_bytes.max(1)),
        last: at(end) / i128::from(target.block_bytes.max(1)) - 1,
        has: target.blocks,
    })
}

fn namespace_for(
    recorded: NamespaceId,
    info: &ControllerInfo,
    chosen: Option<NamespaceId>,
) -> Result<NamespaceInfo, ReplayError> {
    let wanted = chosen.unwrap_or(recorded);
    if let Some(namespace) = info.namespace(wanted) {
        return Ok(namespace);
    }
    match info.namespaces.as_slice() {
        [] => Err(ReplayError::NoNamespace),
        [only] if chosen.is_none() => Ok(*only),
        many => Err(ReplayError::NamespaceMissing {
            wanted,
            has: many.iter().map(|namespace| namespace.nsid.0).collect(),
        }),
    }
}

/// Whether everything that is touched exists on `target`.
fn check_reach(
    recorded: NamespaceId,
    facts: &NamespaceFacts,
    target: NamespaceInfo,
) -> Result<(), ReplayError> {
    let has = target.bytes() / u64::from(facts.block_bytes.max(1));
    match facts.end {
        Some(end) if end > has => Err(ReplayError::BeyondEnd {
            recorded,
            last: end - 1,
            needs: end,
            has,
            block_bytes: facts.block_bytes,
        }),
        _ => Ok(()),
    }
}
