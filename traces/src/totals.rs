//! The sums that stand at the end of a trace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::NamespaceInfo;
use crate::codec::Mark;
use crate::payload::PayloadTotals;

/// What a trace holds altogether, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Commands.
    #[serde(default)]
    pub commands: u64,
    /// Controller events.
    #[serde(default)]
    pub events: u64,
    /// Gaps: places where commands were lost.
    #[serde(default)]
    pub gaps: u64,
    /// Commands lost in all gaps together.
    #[serde(default)]
    pub lost: u64,
    /// Commands by queue kind and opcode, in that order.
    #[serde(default)]
    pub opcodes: Vec<OpcodeCount>,
    /// How the recording ended.
    #[serde(default)]
    pub end: End,
    /// The device's namespaces, where they were not known at the start: a
    /// reader takes these for the header's. Empty where the header has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<NamespaceInfo>,
    /// As much of how many I/O queues there are; 0 where the header has it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub io_queues: u32,
    /// What was written, as far as it is in the trace.
    #[serde(default, skip_serializing_if = "PayloadTotals::is_empty")]
    pub payload: PayloadTotals,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How many commands there are of an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpcodeCount {
    /// Whether they came from the admin queue.
    pub admin: bool,
    /// The opcode.
    pub opcode: u8,
    /// How many.
    pub commands: u64,
}

/// How a recording ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It was stopped; everything is there.
    Clean,
    /// It had to stop: the reason. What came later is not there.
    Stopped(String),
    /// The file has no end: the recording program died, or still records.
    #[default]
    Cut,
}

/// What a block holds.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// Commands, by whether they are of the admin queue and by opcode.
    kinds: [[u64; 256]; 2],
    events: u64,
    gaps: u64,
    lost: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            kinds: [[0; 256]; 2],
            events: 0,
            gaps: 0,
            lost: 0,
        }
    }
}

impl Counts {
    /// Adds so many commands of a kind.
    #[inline]
    pub(crate) fn add(&mut self, (is_admin, opcode): (bool, u8), commands: u64) {
        self.kinds[usize::from(is_admin)][usize::from(opcode)] += commands;
    }

    /// Adds commands of these kinds.
    pub(crate) fn add_each(&mut self, kinds: impl Iterator<Item = (bool, u8)>) {
        kinds.for_each(|kind| self.add(kind, 1));
    }

    /// Adds marks.
    pub(crate) fn add_marks(&mut self, marks: &[Mark]) {
        for mark in marks {
            match mark {
                Mark::Event(_) => self.events += 1,
                Mark::Gap { gap, .. } => {
                    self.gaps += 1;
                    self.lost = self.lost.saturating_add(gap.lost);
                }
            }
        }
    }
}

/// Totals as they grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter {
    totals: Totals,
    opcodes: BTreeMap<(bool, u8), u64>,
}

impl Counter {
    /// Adds what a block holds.
    pub(crate) fn add(&mut self, counts: &Counts) {
        let totals = &mut self.totals;
        for (is_admin, kinds) in [false, true].into_iter().zip(&counts.kinds) {
            for (opcode, &commands) in (0_u8..=u8::MAX).zip(kinds) {
                if commands > 0 {
                    totals.commands += commands;
                    *self.opcodes.entry((is_admin, opcode)).or_default() += commands;
                }
            }
        }
        totals.events += counts.events;
        totals.gaps += counts.gaps;
        totals.lost = totals.lost.saturating_add(counts.lost);
    }

    /// What a block of payload holds.
    pub(crate) fn add_payload(&mut self, payload: &PayloadTotals) {
        self.totals.payload.add(payload);
    }

    /// What is known of the device at the end only.
    pub(crate) fn describe(&mut self, namespaces: Vec<NamespaceInfo>, io_queues: u32) {
        self.totals.namespaces = namespaces;
        self.totals.io_queues = io_queues;
    }

    pub(crate) fn totals(&self, end: End) -> Totals {
        let opcodes = self.opcodes.iter();
        Totals {
            opcodes: opcodes
                .map(|(&(admin, opcode), &commands)| OpcodeCount {
                    admin,
                    opcode,
                    commands,
                })
                .collect(),
            end,
            ..self.totals.clone()
        }
    }
}
