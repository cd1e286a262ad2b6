//! Format NVM (`NVMe Base 2.1 §5.1.10`), and the end of namespaces.

use nvme::NamespaceId;
use traces::{Clock, Tap};

use super::{Op, Step};
use crate::device::Device;
use crate::media::Outcome;
use crate::namespace::FormatSettings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Erase,
    Wait,
    Apply,
}

/// What namespaces are erased for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To have another format.
    Format(FormatSettings),
    /// To be no more.
    Delete,
}

/// The erasure of namespaces, which are marked as being formatted.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) namespaces: Vec<NamespaceId>,
    pub(crate) purpose: Purpose,
    pub(crate) until_ns: u64,
    index: usize,
    stage: Stage,
}

impl Format {
    pub(crate) const fn new(namespaces: Vec<NamespaceId>, purpose: Purpose, until_ns: u64) -> Self {
        Self {
            namespaces,
            purpose,
            until_ns,
            index: 0,
            stage: Stage::Erase,
        }
    }

    pub(super) fn step<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        outcome: Outcome,
    ) -> Step {
        if let Err(error) = outcome {
            let status = device.media_failed(error);
            device.end_format(&self.namespaces, None);
            return Step::Done(Err(status));
        }
        match self.stage {
            Stage::Erase => {
                let erase = self
                    .namespaces
                    .get(self.index)
                    .and_then(|&nsid| device.namespaces.get(nsid))
                    .map(|namespace| namespace.extent);
                self.index = self.index.saturating_add(1);
                match erase {
                    Some(extent) => Step::Media(Op::Discard(extent)),
                    None => {
                        self.stage = Stage::Wait;
                        Step::Media(Op::Flush)
                    }
                }
            }
            Stage::Wait => {
                self.stage = Stage::Apply;
                Step::WaitUntil(self.until_ns)
            }
            Stage::Apply => {
                match self.purpose {
                    Purpose::Format(settings) => {
                        device.end_format(&self.namespaces, Some(settings));
                    }
                    Purpose::Delete => device.delete_namespaces(&self.namespaces),
                }
                Step::Done(Ok(0))
            }
        }
    }
}
