//! Commands that have not completed yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

/// How many are held at most: more than the queues of a machine have room for.
const MAX: usize = 1 << 16;

/// What was submitted and has not completed, found again by what names it.
/// What has the same name completes in the order in which it was submitted.
#[derive(Debug)]
pub(crate) struct Pending<K, T> {
    /// By place in the order of submission.
    waiting: BTreeMap<u64, (K, T)>,
    places: HashMap<K, VecDeque<u64>>,
    next: u64,
}

impl<K, T> Default for Pending<K, T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, T> Pending<K, T> {
    /// Adds `value`, named `key`. Returns the oldest of all where there are too
    /// many: its completion was lost.
    pub(crate) fn add(&mut self, key: K, value: T) -> Option<(u64, T)> {
        let place = self.next;
        self.next += 1;
        self.places.entry(key.clone()).or_default().push_back(place);
        self.waiting.insert(place, (key, value));
        if self.waiting.len() > MAX {
            self.oldest()
        } else {
            None
        }
    }

    /// The first of those named `key`, as it is.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        let place = self.places.get(key)?.front()?;
        self.waiting.get_mut(place).map(|(_, value)| value)
    }

    /// The last of those named `key`, as it is, and its place.
    pub(crate) fn last_mut(&mut self, key: &K) -> Option<(u64, &mut T)> {
        let place = *self.places.get(key)?.back()?;
        Some((place, self.at_mut(place)?))
    }

    /// What has this place in the order of submission.
    pub(crate) fn at_mut(&mut self, place: u64) -> Option<&mut T> {
        self.waiting.get_mut(&place).map(|(_, value)| value)
    }

    /// Takes out the first of those named `key`, with its place in the order
    /// of submission.
    pub(crate) fn take(&mut self, key: &K) -> Option<(u64, T)> {
        self.take_at(key, 0)
    }

    /// How many are named `key`.
    pub(crate) fn count(&self, key: &K) -> usize {
        self.places.get(key).map_or(0, VecDeque::len)
    }

    /// That with `at` older ones before it of those named `key`.
    pub(crate) fn named_mut(&mut self, key: &K, at: usize) -> Option<&mut T> {
        let place = *self.places.get(key)?.get(at)?;
        self.at_mut(place)
    }

    /// Takes that out which has `at` older ones before it of those named `key`.
    pub(crate) fn take_at(&mut self, key: &K, at: usize) -> Option<(u64, T)> {
        let places = self.places.get_mut(key)?;
        let place = places.remove(at)?;
        if places.is_empty() {
            self.places.remove(key);
        }
        let (_, value) = self.waiting.remove(&place)?;
        Some((place, value))
    }

    /// Takes out the one that was submitted first.
    pub(crate) fn oldest(&mut self) -> Option<(u64, T)> {
        let (_, (key, _)) = self.waiting.first_key_value()?;
        let key = key.clone();
        // The oldest of all is the oldest of its name.
        self.take(&key)
    }

    /// The place of the one that was submitted first.
    pub(crate) fn first_place(&self) -> Option<u64> {
        self.waiting.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX, Pending};

    #[test]
    fn one_name_completes_in_order_and_the_table_is_bounded() {
        let mut pending = Pending::default();
        for value in 0..3 {
            assert_eq!(pending.add("a", value), None);
        }
        assert_eq!(pending.take(&"b"), None);
        assert_eq!(pending.take(&"a"), Some((0, 0)));
        assert_eq!(pending.get_mut(&"a"), Some(&mut 1));
        assert_eq!(pending.last_mut(&"a"), Some((2, &mut 2)));
        assert_eq!(pending.first_place(), Some(1));
        for value in 3..MAX {
            assert_eq!(pending.add("c", value), None);
        }
        assert_eq!(pending.add("d", 0), None);
        assert_eq!(pending.add("d", 1), Some((1, 1)));
        assert_eq!(pending.oldest(), Some((2, 2)));
        assert_eq!(pending.oldest(), Some((3, 3)));
    }
}
