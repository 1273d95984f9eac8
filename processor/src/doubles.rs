//! A stream, a lease table, an archive and an index in memory, for tests of what reads and
//! writes them.

use crate::archive::window::read_summary;
use crate::archive::{Archive, ArchiveError, Created, Metadata, Object};
use crate::index::{Index, IndexError, Item, Verdict};
use crate::leases::leader::Leader;
use crate::leases::{Lease, LeaseError, Leases, Swap};
use crate::receive::{Feed, FeedError, Next, Page, Pages, Record, SequenceNumber, Shard, Start};
use async_trait::async_trait;
use bytes::Bytes;
use event::{EventId, Millis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Draws for schedules: the same ones for the same seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 up to, and without, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Objects by key, listed three at a time.
#[derive(Default)]
pub struct MemoryArchive {
    pub objects: Mutex<BTreeMap<String, Object>>,
    /// The objects that were read, in order.
    pub read: Mutex<Vec<String>>,
    /// Behind which keys it was asked for others, in order.
    pub listed: Mutex<Vec<String>>,
    /// Objects that it does not give out.
    pub refuses: Mutex<BTreeSet<String>>,
    /// Whether it never answers what there is.
    pub hangs: AtomicBool,
}

impl MemoryArchive {
    pub fn put(&self, object: Object) {
        self.objects.lock().unwrap().insert(object.key.clone(), object);
    }

    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub fn remove(&self, key: &str) -> Object {
        self.objects.lock().unwrap().remove(key).unwrap()
    }

    /// The records that could not be read as events, by shard and number.
    pub fn records(&self) -> Vec<(String, u64)> {
        let objects = self.objects.lock().unwrap();
        let of = |object: &Object| {
            let shard = read_summary(&object.bytes).unwrap().shard;
            let text = std::io::read_to_string(flate2::read::MultiGzDecoder::new(&object.bytes[..])).unwrap();
            let lines: Vec<_> = text.lines().skip(1).map(|line| (shard.clone(), number_in(line))).collect();
            lines
        };
        objects.values().filter(|object| object.key.starts_with("raw/")).flat_map(of).collect()
    }
}

fn number_in(line: &str) -> u64 {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["sequence"].as_str().unwrap().parse().unwrap()
}

/// A stream of shards that get a record a second each, which nobody can read as events.
pub struct MemoryFeed {
    pub shards: usize,
    /// How long it says that it keeps records.
    pub keeps: Option<Duration>,
    begin: Instant,
    read: Arc<AtomicUsize>,
}

impl MemoryFeed {
    pub fn of_shards(shards: usize) -> MemoryFeed {
        MemoryFeed { shards, keeps: None, begin: Instant::now(), read: Arc::default() }
    }

    /// How many records have been read.
    pub fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// The last record of each shard.
    pub fn last(&self) -> u64 {
        self.begin.elapsed().as_secs()
    }
}

#[async_trait]
impl Feed for MemoryFeed {
    async fn created(&self) -> Result<Option<Millis>, FeedError> {
        Ok(Some(7))
    }

    async fn retention(&self) -> Result<Option<Duration>, FeedError> {
        Ok(self.keeps)
    }

    async fn shards(&self) -> Result<Vec<Shard>, FeedError> {
        let step = u128::MAX / self.shards as u128;
        let shard = |at: usize| Shard {
            id: format!("shard-{at}"),
            parents: Vec::new(),
            starting_hash_key: (step * at as u128).to_string(),
            ending_hash_key: if at + 1 == self.shards { u128::MAX } else { step * (at as u128 + 1) - 1 }.to_string(),
        };
        Ok((0..self.shards).map(shard).collect())
    }

    async fn open(&self, _: &str, start: Start) -> Result<Box<dyn Pages>, FeedError> {
        let next = match start {
            Start::After(sequence) => sequence.as_str().parse::<u64>().unwrap() + 1,
            Start::TrimHorizon | Start::AtTimestamp(_) => 1,
        };
        Ok(Box::new(MemoryPages { next, begin: self.begin, read: self.read.clone() }))
    }
}

struct MemoryPages {
    next: u64,
    begin: Instant,
    read: Arc<AtomicUsize>,
}

#[async_trait]
impl Pages for MemoryPages {
    async fn ready(&mut self) -> Result<(), FeedError> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
    }

    async fn next(&mut self) -> Result<Page, FeedError> {
        let last = self.begin.elapsed().as_secs();
        let record = |number: u64| Record {
            sequence: SequenceNumber::new(&number.to_string()).unwrap(),
            arrival: number as Millis * 1_000,
            data: Bytes::from_static(b"\x1f\x8b\x08"),
        };
        let records: Vec<_> = (self.next..=last).map(record).collect();
        self.read.fetch_add(records.len(), Ordering::Relaxed);
        self.next = self.next.max(last + 1);
        Ok(Page { records, next: Next::More, behind: 0 })
    }
}

/// A lease table.
#[derive(Default)]
pub struct MemoryLeases {
    pub rows: Mutex<Vec<Lease>>,
    /// So many swaps are made, and their answers get lost.
    pub unheard: AtomicUsize,
    pub is_away: AtomicBool,
    pub leader: Mutex<Option<Leader>>,
}

impl MemoryLeases {
    fn answer<T>(&self, call: &'static str, answer: T) -> Result<T, LeaseError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(LeaseError::Transient { call, cause: "away".into() });
        }
        Ok(answer)
    }
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        self.answer("list", self.rows.lock().unwrap().clone())
    }

    async fn create(&self, lease: &Lease) -> Result<Swap, LeaseError> {
        self.answer("create", ())?;
        let mut rows = self.rows.lock().unwrap();
        if let Some(row) = rows.iter().find(|row| row.key == lease.key) {
            return Ok(Swap::Lost(Some(Box::new(row.clone()))));
        }
        rows.push(lease.clone());
        Ok(Swap::Done)
    }

    async fn swap(&self, old: &Lease, new: &Lease) -> Result<Swap, LeaseError> {
        self.answer("swap", ())?;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.iter_mut().find(|row| row.key == old.key) else { return Ok(Swap::Lost(None)) };
        if (&row.owner, row.counter, &row.handoff_to) != (&old.owner, old.counter, &old.handoff_to) {
            return Ok(Swap::Lost(Some(Box::new(row.clone()))));
        }
        *row = new.clone();
        let unheard = self.unheard.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match unheard {
            Ok(_) => Err(LeaseError::Transient { call: "swap", cause: "the answer was lost".into() }),
            Err(_) => Ok(Swap::Done),
        }
    }

    async fn remove(&self, lease: &Lease) -> Result<Swap, LeaseError> {
        self.answer("remove", ())?;
        let mut rows = self.rows.lock().unwrap();
        let known = rows.len();
        rows.retain(|row| row != lease);
        Ok(if rows.len() < known { Swap::Done } else { Swap::Lost(None) })
    }

    async fn leader(&self) -> Result<Option<Leader>, LeaseError> {
        self.answer("leader", self.leader.lock().unwrap().clone())
    }
}

#[async_trait]
impl Archive for MemoryArchive {
    async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(&object.key) {
            return Ok(Created::Exists);
        }
        objects.insert(object.key.clone(), object.clone());
        Ok(Created::Yes)
    }

    async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError> {
        Ok(self.objects.lock().unwrap().get(key).map(|object| object.metadata.clone()))
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
        if self.refuses.lock().unwrap().contains(key) {
            let cause = "InvalidObjectState".into();
            return Err(ArchiveError::Refused { call: "get_object", key: key.to_owned(), cause });
        }
        self.read.lock().unwrap().push(key.to_owned());
        Ok(self.objects.lock().unwrap().get(key).map(|object| object.bytes.clone()))
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.listed.lock().unwrap().push(after.to_owned());
        let objects = self.objects.lock().unwrap();
        Ok(objects.keys().filter(|key| key.starts_with(prefix) && key.as_str() > after).take(3).cloned().collect())
    }
}

/// What an index holds: by name of the index and id, the version and the body.
pub type Contents = BTreeMap<(String, EventId), (u32, String)>;

/// Documents, with versions as OpenSearch keeps them.
#[derive(Default)]
pub struct MemoryIndex {
    pub contents: Mutex<Contents>,
    /// A word that no document may hold.
    pub refuses: Mutex<Option<&'static str>>,
    /// A word of documents that it fails with.
    pub fails: Mutex<Option<&'static str>>,
    /// Whether it never says that something is durable.
    pub hangs: AtomicBool,
}

impl MemoryIndex {
    pub fn contents(&self) -> Contents {
        self.contents.lock().unwrap().clone()
    }

    fn put(&self, item: &Item) -> Verdict {
        let body = String::from_utf8(item.document.body.clone()).unwrap();
        if self.refuses.lock().unwrap().is_some_and(|word| body.contains(word)) {
            return Verdict::Dead("mapper_parsing_exception".into());
        }
        if self.fails.lock().unwrap().is_some_and(|word| body.contains(word)) {
            return Verdict::Failed("null_pointer_exception".into());
        }
        let version = item.document.revision.or(item.document.ruleset);
        let mut contents = self.contents.lock().unwrap();
        let known = contents.get(&(item.index.clone(), item.id())).map(|(version, _)| *version);
        let created = known.is_none_or(|known| version.is_some_and(|version| version >= known));
        if created {
            contents.insert((item.index.clone(), item.id()), (version.unwrap_or(1), body));
        }
        Verdict::Done { created }
    }
}

#[async_trait]
impl Index for MemoryIndex {
    async fn bulk(&self, items: &[Item]) -> Result<Vec<Verdict>, IndexError> {
        Ok(items.iter().map(|item| self.put(item)).collect())
    }

    async fn flush(&self) -> Result<(), IndexError> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}
