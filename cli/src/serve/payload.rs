//! `--payload`: how much of what is written goes into a trace.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use traces::{PayloadInfo, PayloadKind};

/// How much of what is written is recorded: nothing; a hash of each logical
/// block, and how well it compresses; or the data.
//
// The variants have no text of their own, as `--help` would be three times as
// long with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PayloadChoice {
    #[default]
    None,
    Hash,
    Data,
}

impl PayloadChoice {
    /// What the header of the trace says of it.
    pub(crate) fn info(self) -> Option<PayloadInfo> {
        match self {
            Self::None => None,
            Self::Hash => Some(PayloadInfo::of(PayloadKind::Hash)),
            Self::Data => Some(PayloadInfo::of(PayloadKind::Data)),
        }
    }
}
