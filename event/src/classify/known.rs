//! Texts that were looked at before and hold nothing.
//!
//! A site sees a few hundred user agents, pages and parameters over and over. Most bytes of
//! a line are such texts, and to look them up costs a fifth of looking at them.

use super::views::View;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many texts are kept: 32 KiB. One that comes to the place of another takes it.
const KNOWN_MAX: usize = 4096;

/// A set of texts by their hashes, shared by threads without a lock: each place is one
/// number, so a race can only lose an entry.
///
/// An attacker who could make his user agent hash like a browser's would be overlooked.
/// The hash is keyed anew in each process, so he would have to guess 64 bits.
#[derive(Debug)]
pub struct Known {
    key: RandomState,
    names: Box<[AtomicU64]>,
}

impl Default for Known {
    fn default() -> Known {
        Known { key: RandomState::new(), names: (0..KNOWN_MAX).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Known {
    /// The number that stands for a part of a request; never the 0 of an empty place. The
    /// parameter counts: `id` is a command as `cmd`, and nothing as `sort`.
    pub fn name(&self, view: &View<'_>) -> u64 {
        self.key.hash_one((view.field, view.parameter, view.text)).max(1)
    }

    pub fn holds(&self, name: u64) -> bool {
        self.place(name).load(Ordering::Relaxed) == name
    }

    pub fn keep(&self, name: u64) {
        self.place(name).store(name, Ordering::Relaxed);
    }

    fn place(&self, name: u64) -> &AtomicU64 {
        &self.names[name as usize % KNOWN_MAX]
    }
}
