//! What a conversion could not express, or left out, counted.

use std::collections::BTreeMap;
use std::fmt;

/// What a conversion could not express, changed or left out: each a sentence
/// with how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    counts: BTreeMap<&'static str, u64>,
}

impl Notes {
    /// One more of `what`, which reads well before a number: "commands without
    /// a length were left out".
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// `count` more of `what`.
    pub fn add(&mut self, what: &'static str, count: u64) {
        if count > 0 {
            *self.counts.entry(what).or_default() += count;
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            self.add(what, *count);
        }
    }

    /// How often `what` was counted.
    #[must_use]
    pub fn get(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// What was counted, by its text, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(what, count)| (*what, *count))
    }
}

impl fmt::Display for Notes {
    /// A line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (what, count)) in self.counts.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{what}: {count}")?;
        }
        Ok(())
    }
}
