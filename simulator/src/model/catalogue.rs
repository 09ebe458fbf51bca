//! Keeps each distinct value once and gives it a number, so that a state of the model is a handful of numbers, and what
//! was worked out for one state is found again for the next.
//!
//! Numbers are given in the order of arrival, which differs from run to run when threads race. Equal values have equal
//! numbers all the same, and that is all that a fingerprint needs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

/// Distinct values by number.
#[derive(Debug)]
pub(crate) struct Catalogue<T> {
    shelves: RwLock<Shelves<T>>,
}

#[derive(Debug)]
struct Shelves<T> {
    numbers: HashMap<Arc<T>, u32>,
    values: Vec<Arc<T>>,
}

impl<T: Hash + Eq> Catalogue<T> {
    pub(crate) fn new() -> Catalogue<T> {
        Catalogue { shelves: RwLock::new(Shelves { numbers: HashMap::new(), values: Vec::new() }) }
    }

    /// The number of this value.
    pub(crate) fn number(&self, value: impl Into<Arc<T>>) -> u32 {
        let value = value.into();
        // A panic under this lock leaves the shelves as they were: nothing that can fail stands between two changes.
        if let Some(number) = self.shelves.read().unwrap_or_else(PoisonError::into_inner).numbers.get(&value) {
            return *number;
        }
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = shelves.numbers.get(&value) {
            return *number;
        }
        let number = u32::try_from(shelves.values.len()).unwrap_or(u32::MAX);
        assert!(number < u32::MAX, "the catalogue is full");
        shelves.values.push(value.clone());
        shelves.numbers.insert(value, number);
        number
    }

    /// The value of this number, which this catalogue has given.
    pub(crate) fn value(&self, number: u32) -> Arc<T> {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner).values[number as usize].clone()
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner).values.len()
    }
}

/// What was worked out before.
#[derive(Debug)]
pub(crate) struct Memo<K, V> {
    shards: Vec<RwLock<HashMap<K, V>>>,
}

/// So many that threads seldom meet.
const SHARDS: usize = 64;

impl<K: Hash + Eq, V: Clone> Memo<K, V> {
    pub(crate) fn new() -> Memo<K, V> {
        Memo { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    /// What `work` said of this key the first time; `spread` should differ from key to key.
    pub(crate) fn recall(&self, spread: usize, key: K, work: impl FnOnce() -> V) -> V {
        let shard = &self.shards[spread % SHARDS];
        if let Some(known) = shard.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        let value = work();
        shard.write().unwrap_or_else(PoisonError::into_inner).insert(key, value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number_and_give_it_back() {
        let catalogue = Catalogue::new();
        let (one, other) = (catalogue.number("one"), catalogue.number("other"));
        assert_ne!(one, other);
        assert_eq!(catalogue.number("one"), one);
        assert_eq!((*catalogue.value(other), catalogue.len()), ("other", 2));
    }

    #[test]
    fn what_is_known_is_not_worked_out_again() {
        let memo = Memo::new();
        assert_eq!(memo.recall(7, "key", || 1), 1);
        assert_eq!(memo.recall(7, "key", || unreachable!("known")), 1);
    }
}
