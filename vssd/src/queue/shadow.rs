//! Shadow doorbells: the guest's doorbells in its own memory.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

use nvme::{Doorbell, DoorbellKind, PAGE_BYTES, QueueId};

use crate::DmaTable;
use crate::memory::{Access, Window};

/// The two buffers of Doorbell Buffer Config (`NVMe Base 2.1 §5.2.5`, `§B.5`).
///
/// Once they are there, an I/O queue's doorbell is what the shadow buffer says,
/// and its register is but a hint. A host stores to the buffer first, and then
/// to the register only if the step crosses the EventIdx. A store to the
/// register may arrive after later ones to the buffer, so heeding it would move
/// the queue back.
///
/// The controller looks at the buffer of its own accord, so a host need never
/// ring. The EventIdx is therefore kept one slot behind what is the head of the
/// ring to the controller, which is the one value that no step of a legal host
/// crosses: it stays inside its ring. That no ring is relied on also means that the store
/// to the EventIdx needs no fence before the next look at the shadow. An
/// EventIdx that lags costs a ring that was not needed, no more.
#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    doorbells: Window,
    event_indexes: Window,
}

impl Shadow {
    /// The buffers at two addresses; none where these are not those of two
    /// pages that can be read and written.
    pub(crate) fn new(doorbells: u64, event_indexes: u64, memory: &DmaTable) -> Option<Self> {
        if doorbells == event_indexes {
            return None;
        }
        memory.resolve(doorbells, Access::Read).ok()?;
        let mut shadow = Self {
            doorbells: Window::new(doorbells, PAGE_BYTES, Access::Write)?,
            event_indexes: Window::new(event_indexes, PAGE_BYTES, Access::Write)?,
        };
        let mapped = shadow.doorbells.is_mapped(memory, 0, 4)
            && shadow.event_indexes.is_mapped(memory, 0, 4);
        mapped.then_some(shadow)
    }

    fn at(queue: QueueId, kind: DoorbellKind) -> usize {
        usize::try_from(Doorbell { queue, kind }.offset(0)).unwrap_or(usize::MAX)
    }

    /// What the guest stored last, with acquire ordering: what it wrote before
    /// that is seen after this. None while the buffer is not mapped.
    #[inline]
    pub(crate) fn load(
        &mut self,
        queue: QueueId,
        kind: DoorbellKind,
        memory: &DmaTable,
    ) -> Option<u32> {
        self.doorbells.load_word(memory, Self::at(queue, kind))
    }

    /// Sets a doorbell, while its host does not.
    pub(crate) fn store(&mut self, queue: QueueId, kind: DoorbellKind, to: u16, memory: &DmaTable) {
        let at = Self::at(queue, kind);
        self.doorbells.store_word(memory, at, to.into());
    }

    /// Tells the host that the controller has got to the head `at` of a ring of
    /// `entries`, and need not be rung for what follows.
    #[inline]
    pub(crate) fn acknowledge(
        &mut self,
        queue: QueueId,
        kind: DoorbellKind,
        (at, entries): (u16, u16),
        memory: &DmaTable,
    ) {
        let behind = at.checked_sub(1).unwrap_or(entries.saturating_sub(1));
        let word = Self::at(queue, kind);
        self.event_indexes.store_word(memory, word, behind.into());
    }
}
