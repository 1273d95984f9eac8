//! What is known of the keys that came lately.

use lru::LruCache;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::hash::{BuildHasherDefault, Hasher};

/// A map of at most `most` hashes, of which the one that was asked for least lately gives way.
///
/// Which keys are kept depends on the order of the calls alone, so that two that were told
/// the same know the same. It grows as keys come.
#[derive(Debug, Clone)]
pub struct Recent<V> {
    known: LruCache<u64, V, BuildHasherDefault<AsItIs>>,
    most: usize,
}

/// Keys are hashes already.
#[derive(Debug, Clone, Copy, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl<V> Recent<V> {
    /// A map of at most `most` entries, and of two at least.
    pub fn of(most: usize) -> Recent<V> {
        Recent { known: LruCache::unbounded_with_hasher(BuildHasherDefault::default()), most: most.max(2) }
    }

    /// Keeps at most `most` entries from now on.
    pub fn limit(&mut self, most: usize) {
        self.most = most.max(2);
        while self.known.len() > self.most {
            self.known.pop_lru();
        }
    }

    /// What is known of `key`, without that counting as asked for.
    pub fn peek(&self, key: u64) -> Option<&V> {
        self.known.peek(&key)
    }

    /// What is known of `key`; `new` where that is nothing.
    pub fn entry(&mut self, key: u64, new: impl FnOnce() -> V) -> &mut V {
        if self.known.len() >= self.most && !self.known.contains(&key) {
            self.known.pop_lru();
        }
        self.known.get_or_insert_mut(key, new)
    }

    /// Forgets what `is_needed` does not want.
    pub fn retain(&mut self, is_needed: impl Fn(&V) -> bool) {
        let past: Vec<u64> = self.known.iter().filter(|(_, value)| !is_needed(value)).map(|(key, _)| *key).collect();
        past.iter().for_each(|key| _ = self.known.pop(key));
    }

    /// How many are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.known.len()
    }
}

impl<V> Default for Recent<V> {
    fn default() -> Recent<V> {
        Recent::of(0)
    }
}

/// `[most, [[key, value], ...]]`, what was asked for last first.
impl<V: Serialize> Serialize for Recent<V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.most, self.known.iter().collect::<Vec<_>>()).serialize(to)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Recent<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Recent<V>, D::Error> {
        let (most, known) = <(usize, Vec<(u64, V)>)>::deserialize(from)?;
        let mut recent = Recent::of(most);
        for (key, value) in known.into_iter().rev() {
            recent.entry(key, || value);
        }
        Ok(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_comes_again_outlives_a_flood_of_keys_that_come_once() {
        let mut recent = Recent::of(10);
        for key in 1..1_000 {
            *recent.entry(0, || 0) += 1;
            recent.entry(key, || 0);
        }
        assert_eq!(recent.peek(0), Some(&999));
        assert_eq!(recent.peek(1), None);
    }

    #[test]
    fn the_one_that_was_asked_for_least_lately_gives_way() {
        let mut recent = Recent::of(100);
        (0..100).for_each(|key| _ = recent.entry(key, || 0));
        recent.entry(0, || 0);
        recent.entry(100, || 0);
        assert_eq!((recent.len(), recent.peek(0), recent.peek(1)), (100, Some(&0), None));
        recent.limit(4);
        assert_eq!(recent.known.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [100, 0, 99, 98]);
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may_and_knows_after_a_restart_what_it_knew(
            most in 0usize..12,
            keys in prop::collection::vec(0u64..20, 0..200),
            restart in 0usize..200,
        ) {
            let (mut recent, mut other): (Recent<u32>, Recent<u32>) = (Recent::of(most), Recent::of(most));
            for (at, key) in keys.into_iter().enumerate() {
                if at == restart {
                    other = serde_json::from_str(&serde_json::to_string(&other).unwrap()).unwrap();
                }
                *recent.entry(key, || 0) += 1;
                *other.entry(key, || 0) += 1;
                prop_assert!(recent.len() <= most.max(2));
                prop_assert_eq!(serde_json::to_string(&recent).unwrap(), serde_json::to_string(&other).unwrap());
            }
        }
    }
}
