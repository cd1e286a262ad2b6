//! The target: which namespace stands for which, and whether the trace fits.

use std::collections::BTreeMap;

use driver::{ControllerInfo, NamespaceInfo};
use nvme::NamespaceId;

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
            blocks: 0,
            end: None,
        },
    );
    let recorded = facts
        .namespaces
        .iter()
        .map(|(&nsid, &facts)| (nsid, facts))
        .chain(facts.namespaces.is_empty().then_some(nameless));
    let mut maps = BTreeMap::new();
    for (nsid, facts) in recorded {
        let target = namespace_for(nsid, info, options.namespace)?;
        if target.metadata_bytes != 0 {
            return Err(ReplayError::Metadata {
                nsid: target.nsid,
                metadata_bytes: target.metadata_bytes,
            });
        }
        if options.mapping == Mapping::Identity {
            check_reach(nsid, &facts, target)?;
        }
        let bytes = facts.blocks.saturating_mul(u64::from(facts.block_bytes));
        maps.insert(
            nsid,
            AddressMap::new(options.mapping, facts.block_bytes, bytes, target),
        );
    }
    Ok(maps)
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
