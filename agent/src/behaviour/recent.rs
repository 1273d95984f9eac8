//! What is known of the keys that came lately.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;

/// A map of at most `most` hashes that forgets what was not asked for lately, as
/// [`event::cache::Cache`] does: between half of `most` and all of it are kept.
///
/// Which keys are kept depends on the order of the calls alone, so that two that were told
/// the same know the same; nothing depends on the order in which a map yields its keys.
#[derive(Debug, Clone)]
pub struct Recent<V> {
    young: Map<V>,
    old: Map<V>,
    most: usize,
}

/// A generation in a snapshot.
type Written<V> = Vec<(u64, V)>;

type Map<V> = HashMap<u64, V, BuildHasherDefault<AsItIs>>;

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
        Recent { young: Map::default(), old: Map::default(), most: most.max(2) }
    }

    /// Keeps at most `most` entries from now on. What is too many is forgotten as keys come.
    pub fn limit(&mut self, most: usize) {
        self.most = most.max(2);
    }

    /// What is known of `key`, without that counting as asked for.
    pub fn peek(&self, key: u64) -> Option<&V> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    /// What is known of `key`; `new` where that is nothing.
    pub fn entry(&mut self, key: u64, new: impl FnOnce() -> V) -> &mut V {
        if self.young.len() >= self.most / 2 {
            self.old = mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_else(new))
    }

    /// Forgets what `is_needed` does not want.
    pub fn retain(&mut self, is_needed: impl Fn(&V) -> bool) {
        for part in [&mut self.young, &mut self.old] {
            part.retain(|_, value| is_needed(value));
        }
    }

    /// How many are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

impl<V> Default for Recent<V> {
    fn default() -> Recent<V> {
        Recent::of(0)
    }
}

impl<V: Serialize> Serialize for Recent<V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.most, sorted(&self.young), sorted(&self.old)).serialize(to)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Recent<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Recent<V>, D::Error> {
        let (most, young, old) = <(usize, Written<V>, Written<V>)>::deserialize(from)?;
        Ok(Recent { young: young.into_iter().collect(), old: old.into_iter().collect(), most: most.max(2) })
    }
}

fn sorted<V>(part: &Map<V>) -> Vec<(u64, &V)> {
    let mut all: Vec<_> = part.iter().map(|(key, value)| (*key, value)).collect();
    all.sort_unstable_by_key(|(key, _)| *key);
    all
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
    fn what_is_too_many_after_a_restart_with_less_room_is_forgotten_as_keys_come() {
        let mut recent = Recent::of(100);
        (0..100).for_each(|key| _ = recent.entry(key, || 0));
        recent.limit(4);
        (100..104).for_each(|key| _ = recent.entry(key, || 0));
        assert!(recent.len() <= 4, "{recent:?}");
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may_and_knows_after_a_restart_what_it_knew(
            most in 0usize..12,
            keys in prop::collection::vec(0u64..20, 0..200),
            restart in 0usize..200,
        ) {
            let mut recent: Recent<u32> = Recent::of(most);
            let mut other = recent.clone();
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
