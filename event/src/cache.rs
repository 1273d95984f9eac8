//! What was worked out for a key and will be asked for again.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// A map of at most `most` entries that forgets what was not asked for lately.
///
/// Two generations: what is asked for moves to the young one; when that is half of
/// `most`, the old one is dropped and the young one grows old. So a flood of keys that
/// come once pushes out what is rare and leaves what is common, and nothing is counted
/// or linked for it.
#[derive(Debug)]
pub struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    most: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// A cache that holds at most `most` entries; of 0 or 1 it holds one.
    pub fn of(most: usize) -> Cache<K, V> {
        Cache { young: HashMap::new(), old: HashMap::new(), most }
    }

    /// What was kept for `key`.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.keep(key, value.clone());
        Some(value)
    }

    /// Keeps `value` for `key`.
    pub fn keep(&mut self, key: K, value: V) {
        if self.young.len() >= (self.most / 2).max(1) {
            self.old = mem::take(&mut self.young);
        }
        if self.most < 2 {
            self.old.clear();
        }
        self.young.insert(key, value);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// How many entries are kept.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_asked_for_again_outlives_a_flood_of_keys_that_come_once() {
        let mut cache = Cache::of(10);
        cache.keep(0, "common");
        for key in 1..1_000 {
            cache.keep(key, "once");
            assert_eq!(cache.get(&0), Some("common"));
        }
        assert_eq!(cache.get(&1), None);
    }

    proptest! {
        #[test]
        fn a_cache_never_holds_more_than_it_may_and_never_answers_for_another_key(
            most in 0usize..8,
            keys in prop::collection::vec(0u8..20, 0..200),
        ) {
            let mut cache = Cache::of(most);
            for key in keys {
                match cache.get(&key) {
                    Some(value) => prop_assert_eq!(value, key),
                    None => cache.keep(key, key),
                }
                prop_assert!(cache.len() <= most.max(1));
                prop_assert_eq!(cache.get(&key), Some(key));
            }
        }
    }
}
