//! Where the values of features are kept.

use std::collections::BTreeMap;

use nvme::{FeatureId, NamespaceId};
use serde::{Deserialize, Serialize};

/// What a value is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) feature: FeatureId,
    /// 0 where the feature is the controller's.
    pub(super) nsid: NamespaceId,
    /// What else selects it: a sensor, a vector.
    pub(super) sub: u16,
}

impl Key {
    pub(super) const fn of(feature: FeatureId) -> Self {
        Self {
            feature,
            nsid: NamespaceId(0),
            sub: 0,
        }
    }

    pub(super) const fn for_namespace(self, nsid: NamespaceId) -> Self {
        Self { nsid, ..self }
    }

    pub(super) const fn sub(self, sub: u16) -> Self {
        Self { sub, ..self }
    }
}

/// Values that differ from the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    dwords: BTreeMap<Key, u32>,
    data: BTreeMap<FeatureId, Vec<u8>>,
}

/// A dword, as it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedDword {
    feature: u8,
    nsid: u32,
    sub: u16,
    value: u32,
}

/// Bytes, as they are saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedData {
    feature: u8,
    bytes: Vec<u8>,
}

/// The saved values, for a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedFeatures {
    dwords: Vec<SavedDword>,
    data: Vec<SavedData>,
}

impl Store {
    pub(super) fn dword(&self, key: Key) -> Option<u32> {
        self.dwords.get(&key).copied()
    }

    pub(super) fn set(&mut self, key: Key, value: u32) {
        self.dwords.insert(key, value);
    }

    pub(super) fn data(&self, feature: FeatureId) -> Option<&[u8]> {
        self.data.get(&feature).map(Vec::as_slice)
    }

    pub(super) fn set_data(&mut self, feature: FeatureId, data: &[u8]) {
        self.data.insert(feature, data.to_vec());
    }

    pub(super) fn forget(&mut self, nsid: NamespaceId) {
        self.dwords.retain(|key, _| key.nsid != nsid);
    }

    pub(super) fn to_saved(&self) -> SavedFeatures {
        SavedFeatures {
            dwords: self
                .dwords
                .iter()
                .map(|(key, &value)| SavedDword {
                    feature: key.feature.0,
                    nsid: key.nsid.0,
                    sub: key.sub,
                    value,
                })
                .collect(),
            data: self
                .data
                .iter()
                .map(|(feature, bytes)| SavedData {
                    feature: feature.0,
                    bytes: bytes.clone(),
                })
                .collect(),
        }
    }

    pub(super) fn of_saved(saved: &SavedFeatures) -> Self {
        let dwords = saved.dwords.iter().map(|dword| {
            let key = Key {
                feature: FeatureId(dword.feature),
                nsid: NamespaceId(dword.nsid),
                sub: dword.sub,
            };
            (key, dword.value)
        });
        let data = saved
            .data
            .iter()
            .map(|data| (FeatureId(data.feature), data.bytes.clone()));
        Self {
            dwords: dwords.collect(),
            data: data.collect(),
        }
    }
}
