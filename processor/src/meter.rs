//! Counters that others may watch.

use crate::archive::chain::Tail;
use crate::decode::Kind;
use crate::index::Verdict;
use crate::index::ledger::Done;
use crate::lag::ShardLag;
use crate::receive::{Record, SequenceNumber};
use event::{Document, Millis};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the processor has done so far. Cheap to share.
#[derive(Debug, Default)]
pub struct Meter {
    records: AtomicU64,
    bytes: AtomicU64,
    created: AtomicU64,
    known: AtomicU64,
    known_lines: AtomicU64,
    dead: [AtomicU64; Class::ALL.len()],
    kinds: [AtomicU64; Kind::ALL.len()],
    shards: Mutex<BTreeMap<String, ShardLag>>,
    bulks_limit: AtomicUsize,
    bulks_under_way: AtomicUsize,
    is_index_refusing: AtomicBool,
    calls: [[AtomicU64; Ended::ALL.len()]; Service::ALL.len()],
    failing_since: [Known; Service::ALL.len()],
    unanswered: [Mutex<Unanswered>; Service::ALL.len()],
    moves: [AtomicU64; Move::ALL.len()],
    leases_free: Known,
    round_at: Known,
    objects: AtomicU64,
    object_bytes: AtomicU64,
    told: [AtomicU64; Told::ALL.len()],
    bulk_bytes: AtomicU64,
    bulk_micros: AtomicU64,
    bulk_counts: [AtomicU64; BULK_BOUNDS.len() + 1],
}

/// Why something is a dead letter, as far as it is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A record that cannot be read.
    Record,
    /// A document that does not fit into its index, or that the index fails with.
    Document,
    /// A document whose index is blocked, closed, missing or red.
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

/// A service that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Stream,
    Leases,
    Archive,
    Index,
}

impl Service {
    pub const ALL: [Service; 4] = [Service::Stream, Service::Leases, Service::Archive, Service::Index];

    /// The value of the label `service`.
    pub fn name(self) -> &'static str {
        match self {
            Service::Stream => "stream",
            Service::Leases => "leases",
            Service::Archive => "archive",
            Service::Index => "index",
        }
    }

    /// How sentences call it.
    pub fn title(self) -> &'static str {
        match self {
            Service::Stream => "the stream",
            Service::Leases => "the lease table",
            Service::Archive => "the archive",
            Service::Index => "the index",
        }
    }
}

/// How a call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// The service has too much to do.
    Throttled,
    Badly,
}

impl Ended {
    pub const ALL: [Ended; 3] = [Ended::Well, Ended::Throttled, Ended::Badly];

    /// The value of the label `ended`.
    pub fn name(self) -> &'static str {
        match self {
            Ended::Well => "well",
            Ended::Throttled => "throttled",
            Ended::Badly => "badly",
        }
    }
}

/// What became of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Taken,
    Given,
}

impl Move {
    pub const ALL: [Move; 2] = [Move::Taken, Move::Given];

    /// The value of the label `move`.
    pub fn name(self) -> &'static str {
        match self {
            Move::Taken => "taken",
            Move::Given => "given",
        }
    }
}

/// What the index said of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Created,
    Known,
    Later,
    Blocked,
    Dead,
}

impl Told {
    pub const ALL: [Told; 5] = [Told::Created, Told::Known, Told::Later, Told::Blocked, Told::Dead];

    /// The value of the label `verdict`.
    pub fn name(self) -> &'static str {
        match self {
            Told::Created => "created",
            Told::Known => "known",
            Told::Later => "later",
            Told::Blocked => "blocked",
            Told::Dead => "dead",
        }
    }

    fn of(verdict: &Verdict) -> Told {
        match verdict {
            Verdict::Done { created: true } => Told::Created,
            Verdict::Done { created: false } => Told::Known,
            Verdict::Retry(_) | Verdict::Failed(_) | Verdict::Unavailable(_) => Told::Later,
            Verdict::Blocked(_) => Told::Blocked,
            Verdict::Dead(_) => Told::Dead,
        }
    }
}

/// Seconds by which requests to the index are told apart, up to the longest that one may take.
pub const BULK_BOUNDS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0];

/// Stands for a time, or a number, that nobody knows yet.
const NOT_YET: i64 = -1;

/// Calls of a service that it has yet to answer.
#[derive(Debug, Default)]
struct Unanswered {
    calls: usize,
    /// Since when it owes an answer: since a call when there was none, or since its last answer.
    since: Option<Millis>,
}

/// A call that a service has yet to answer. One that is dropped is not waited for any more.
#[derive(Debug)]
pub(crate) struct Call<'m> {
    meter: &'m Meter,
    service: Service,
}

impl Call<'_> {
    /// The call has ended.
    pub(crate) fn ended(self, ended: Ended) {
        self.meter.called(self.service, ended);
        self.meter.unanswered(self.service).since = Some(now());
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut unanswered = self.meter.unanswered(self.service);
        unanswered.calls -= 1;
        if unanswered.calls == 0 {
            unanswered.since = None;
        }
    }
}

/// A number that is not known at first.
#[derive(Debug)]
struct Known(AtomicI64);

impl Default for Known {
    fn default() -> Known {
        Known(AtomicI64::new(NOT_YET))
    }
}

impl Known {
    fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|number| *number != NOT_YET)
    }

    fn set(&self, number: Option<i64>) {
        self.0.store(number.unwrap_or(NOT_YET), Ordering::Relaxed);
    }
}

/// Milliseconds since 1970, by this machine's clock.
pub fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis() as Millis)
}

impl Meter {
    fn unanswered(&self, service: Service) -> MutexGuard<'_, Unanswered> {
        self.unanswered[service as usize].lock().expect("nobody panics with the count in hand")
    }

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
        self.of_shard(shard, |lag| {
            lag.read(&record.sequence, record.arrival);
            lag.took(record.data.len());
        });
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

    /// The index has taken a document, or had it already.
    pub(crate) fn indexed(&self, document: &Document, created: bool) {
        let counter = if created { &self.created } else { &self.known };
        counter.fetch_add(1, Ordering::Relaxed);
        if !created && document.revision.is_none() {
            self.known_lines.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn dead(&self, class: Class, letters: u64) {
        self.dead[class as usize].fetch_add(letters, Ordering::Relaxed);
    }

    /// The supervisor looks at the leases.
    pub(crate) fn round(&self) {
        self.round_at.set(Some(now()));
    }

    /// A call of a service begins.
    pub(crate) fn call(&self, service: Service) -> Call<'_> {
        let mut unanswered = self.unanswered(service);
        unanswered.calls += 1;
        unanswered.since.get_or_insert_with(now);
        Call { meter: self, service }
    }

    /// A call of a service has ended.
    pub(crate) fn called(&self, service: Service, ended: Ended) {
        self.calls[service as usize][ended as usize].fetch_add(1, Ordering::Relaxed);
        let since = &self.failing_since[service as usize];
        match ended {
            Ended::Well => since.set(None),
            _ if since.get().is_none() => since.set(Some(now())),
            _ => {}
        }
    }

    pub(crate) fn free_leases(&self, free: usize) {
        self.leases_free.set(Some(free as i64));
    }

    pub(crate) fn moved(&self, of: Move) {
        self.moves[of as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An object was put into the archive.
    pub(crate) fn object(&self, bytes: u64) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.object_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A request to the index has ended.
    pub(crate) fn bulk(&self, took: Duration, bytes: u64) {
        let at = BULK_BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(BULK_BOUNDS.len());
        self.bulk_counts[at].fetch_add(1, Ordering::Relaxed);
        self.bulk_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        self.bulk_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn verdict(&self, verdict: &Verdict) {
        self.told[Told::of(verdict) as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// When the supervisor last looked at the leases.
    pub fn round_at(&self) -> Millis {
        self.round_at.get().unwrap_or(0)
    }

    /// Leases that nobody has, once the table was read.
    pub fn leases_free(&self) -> Option<usize> {
        self.leases_free.get().map(|free| free as usize)
    }

    /// Since when no call of this service has ended well, or it owes an answer.
    pub fn failing_since(&self, service: Service) -> Option<Millis> {
        let failing = self.failing_since[service as usize].get();
        [failing, self.unanswered(service).since].into_iter().flatten().min()
    }

    /// Calls of a service that ended so.
    pub fn calls(&self, service: Service, ended: Ended) -> u64 {
        self.calls[service as usize][ended as usize].load(Ordering::Relaxed)
    }

    /// Calls of a service that it throttled.
    pub fn throttles(&self, service: Service) -> u64 {
        self.calls(service, Ended::Throttled)
    }

    /// Leases that were moved so.
    pub fn moves(&self, of: Move) -> u64 {
        self.moves[of as usize].load(Ordering::Relaxed)
    }

    /// Objects put into the archive.
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Bytes of these objects.
    pub fn object_bytes(&self) -> u64 {
        self.object_bytes.load(Ordering::Relaxed)
    }

    /// Documents of which the index said so.
    pub fn told(&self, told: Told) -> u64 {
        self.told[told as usize].load(Ordering::Relaxed)
    }

    /// Bytes of the documents of all requests.
    pub fn bulk_bytes(&self) -> u64 {
        self.bulk_bytes.load(Ordering::Relaxed)
    }

    /// Requests by [`BULK_BOUNDS`], and the seconds that all of them took.
    pub fn bulk_seconds(&self) -> ([u64; BULK_BOUNDS.len() + 1], f64) {
        let counts = self.bulk_counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        (counts, self.bulk_micros.load(Ordering::Relaxed) as f64 / 1e6)
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

    /// Documents that the index had already: lines that were read or sent twice, and revisions of
    /// incidents that came behind higher ones.
    pub fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// The lines among them.
    pub fn known_lines(&self) -> u64 {
        self.known_lines.load(Ordering::Relaxed)
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

    /// What is known of a shard that is read here.
    pub fn lag(&self, shard: &str) -> Option<ShardLag> {
        self.shards().get(shard).cloned()
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
