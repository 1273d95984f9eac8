//! Counters that others may watch.

use crate::archive::chain::Tail;
use crate::decode::Kind;
use crate::index::ledger::Done;
use crate::lag::ShardLag;
use crate::receive::{Record, SequenceNumber};
use event::Millis;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the processor has done so far. Cheap to share.
#[derive(Debug, Default)]
pub struct Meter {
    records: AtomicU64,
    bytes: AtomicU64,
    created: AtomicU64,
    known: AtomicU64,
    dead: [AtomicU64; Class::ALL.len()],
    kinds: [AtomicU64; Kind::ALL.len()],
    shards: Mutex<BTreeMap<String, ShardLag>>,
    bulks_limit: AtomicUsize,
    bulks_under_way: AtomicUsize,
    is_index_refusing: AtomicBool,
}

/// Why something is a dead letter, as far as it is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A record that cannot be read.
    Record,
    /// A document that does not fit into its index.
    Document,
    /// A document whose index is blocked, closed or missing.
    Index,
    /// A document that is too large for a request.
    Size,
}

impl Class {
    pub const ALL: [Class; 4] = [Class::Record, Class::Document, Class::Index, Class::Size];

    /// The value of the label `class`.
    pub fn name(self) -> &'static str {
        match self {
            Class::Record => "record",
            Class::Document => "document",
            Class::Index => "index",
            Class::Size => "size",
        }
    }
}

/// Milliseconds since 1970, by this machine's clock.
pub fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis() as Millis)
}

impl Meter {
    fn shards(&self) -> MutexGuard<'_, BTreeMap<String, ShardLag>> {
        self.shards.lock().expect("nobody panics with the shards in hand")
    }

    /// A shard is read after `tail`, and indexed after `indexed`.
    pub(crate) fn begun(&self, shard: &str, tail: Option<&Tail>, indexed: Option<&SequenceNumber>) {
        let behind = tail.filter(|tail| indexed.is_none_or(|indexed| *indexed < tail.sequence));
        let lag = ShardLag::begun(tail.map(|tail| tail.sequence.clone()), behind.and_then(|tail| tail.arrival));
        self.shards().insert(shard.to_owned(), lag);
    }

    /// A shard is no longer read here.
    pub(crate) fn left(&self, shard: &str) {
        self.shards().remove(shard);
    }

    fn of_shard(&self, shard: &str, note: impl FnOnce(&mut ShardLag)) {
        if let Some(lag) = self.shards().get_mut(shard) {
            note(lag);
        }
    }

    pub(crate) fn page(&self, shard: &str, behind: Millis) {
        self.of_shard(shard, |lag| lag.page(behind));
    }

    pub(crate) fn record(&self, shard: &str, record: &Record) {
        self.records.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(record.data.len() as u64, Ordering::Relaxed);
        self.of_shard(shard, |lag| lag.read(&record.sequence, record.arrival));
    }

    pub(crate) fn archived(&self, shard: &str, tail: &Tail) {
        self.of_shard(shard, |lag| lag.archived(&tail.sequence, tail.arrival.unwrap_or(0)));
    }

    pub(crate) fn indexed_to(&self, shard: &str, done: &Done) {
        self.of_shard(shard, |lag| lag.indexed(&done.sequence, done.arrival));
    }

    pub(crate) fn index_waits(&self, shard: &str, arrival: Millis) {
        self.of_shard(shard, |lag| lag.index_waits(arrival));
    }

    pub(crate) fn bulks(&self, limit: usize, under_way: usize, is_refusing: bool) {
        self.bulks_limit.store(limit, Ordering::Relaxed);
        self.bulks_under_way.store(under_way, Ordering::Relaxed);
        self.is_index_refusing.store(is_refusing, Ordering::Relaxed);
    }

    pub(crate) fn read_as(&self, kind: Kind) {
        self.kinds[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn indexed(&self, created: bool) {
        let counter = if created { &self.created } else { &self.known };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dead(&self, class: Class, letters: u64) {
        self.dead[class as usize].fetch_add(letters, Ordering::Relaxed);
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
        Class::ALL.into_iter().map(|class| self.dead_letters_of(class)).sum()
    }

    /// Dead letters of this class.
    pub fn dead_letters_of(&self, class: Class) -> u64 {
        self.dead[class as usize].load(Ordering::Relaxed)
    }

    /// Bytes of the records received, as the stream holds them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Shards that are read here, and how far they have come.
    pub fn lags(&self) -> BTreeMap<String, ShardLag> {
        self.shards().clone()
    }

    /// Requests to the index that may be under way now.
    pub fn bulks_limit(&self) -> usize {
        self.bulks_limit.load(Ordering::Relaxed)
    }

    /// Requests to the index that are under way.
    pub fn bulks_under_way(&self) -> usize {
        self.bulks_under_way.load(Ordering::Relaxed)
    }

    /// Whether indexing pauses because the index refuses us.
    pub fn is_index_refusing(&self) -> bool {
        self.is_index_refusing.load(Ordering::Relaxed)
    }
}
