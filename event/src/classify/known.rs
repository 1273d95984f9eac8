//! Texts that were looked at before and hold nothing.
//!
//! A site sees a few hundred user agents, pages and parameters over and over. Most bytes of
//! a line are such texts, and to look them up costs a fifth of looking at them.

use super::views::View;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many texts are kept: 32 KiB.
const KNOWN_MAX: usize = 4096;

/// How many places there are for a text. They are one line of the processor's cache.
const PLACES: usize = 8;

/// A set of texts by their hashes, shared by threads without a lock: each place is one
/// number, so a race can only lose an entry.
///
/// An attacker who could make his user agent hash like a browser's would be overlooked.
/// The hash is keyed anew in each process, so he would have to guess 64 bits.
#[derive(Debug)]
pub struct Known {
    key: RandomState,
    names: Box<[Places]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Places([AtomicU64; PLACES]);

impl Default for Known {
    fn default() -> Known {
        Known { key: RandomState::new(), names: (0..KNOWN_MAX / PLACES).map(|_| Places::default()).collect() }
    }
}

impl Known {
    /// The number that stands for a part of a request; never the 0 of an empty place. The
    /// parameter counts: `id` is a command as `cmd`, and nothing as `sort`.
    pub fn name(&self, view: &View<'_>) -> u64 {
        // Field and lengths first, in one word: they say what the bytes behind them are.
        let parameter = view.parameter.map_or(0, |name| name.len() as u64 + 1);
        let mut hasher = self.key.build_hasher();
        hasher.write_u64(parameter << 32 | (view.text.len() as u64) << 8 | view.field as u64);
        if let Some(name) = view.parameter {
            hasher.write(name);
        }
        hasher.write(view.text);
        hasher.finish().max(1)
    }

    pub fn holds(&self, name: u64) -> bool {
        self.places(name).iter().any(|place| place.load(Ordering::Relaxed) == name)
    }

    /// Keeps a text in the place of the one that has been longest in those that it may take.
    pub fn keep(&self, name: u64) {
        let mut next = name;
        for place in self.places(name) {
            let gone = place.load(Ordering::Relaxed);
            place.store(next, Ordering::Relaxed);
            next = gone;
        }
    }

    fn places(&self, name: u64) -> &[AtomicU64; PLACES] {
        &self.names[name as usize % self.names.len()].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_texts_that_share_their_places_the_oldest_is_forgotten() {
        let known = Known::default();
        let sets = (KNOWN_MAX / PLACES) as u64;
        let name = |number: u64| 7 + number * sets;
        (0..=PLACES as u64).for_each(|number| known.keep(name(number)));
        assert!(!known.holds(name(0)));
        assert!((1..=PLACES as u64).all(|number| known.holds(name(number))));
    }
}
