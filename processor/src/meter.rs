//! Counters that others may watch.

use crate::decode::Kind;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the processor has done so far. Cheap to share.
#[derive(Debug, Default)]
pub struct Meter {
    records: AtomicU64,
    created: AtomicU64,
    known: AtomicU64,
    dead: AtomicU64,
    kinds: [AtomicU64; Kind::ALL.len()],
}

impl Meter {
    pub(crate) fn record(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read_as(&self, kind: Kind) {
        self.kinds[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn indexed(&self, created: bool) {
        let counter = if created { &self.created } else { &self.known };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dead(&self, letters: u64) {
        self.dead.fetch_add(letters, Ordering::Relaxed);
    }

    /// Records received.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Records that were read as this kind; those of an aggregate each by itself. One that
    /// mixes objects and lines counts as both.
    pub fn records_of(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize].load(Ordering::Relaxed)
    }

    /// Documents that were new to the index.
    pub fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// Documents that the index had already: lines that were read or sent twice.
    pub fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// Dead letters written.
    pub fn dead_letters(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }
}
