use super::*;
use crate::archive::window::read_summary;
use crate::decode::cases::{agents_events, framed};
use crate::doubles::{MemoryArchive, MemoryIndex};
use crate::index::{Index, IndexError, Item, Verdict};
use crate::leases::{LeaseError, Leases, Swap};
use crate::receive::{Feed, Page, Record, SequenceNumber};
use async_trait::async_trait;
use bytes::Bytes;
use event::{Format, Millis};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const SHARD: &str = "shard-0";

/// A stream of one shard. Between two records a second passes.
#[derive(Default)]
struct Stream {
    records: Mutex<Vec<Record>>,
    is_closed: Mutex<bool>,
    is_held: AtomicBool,
    opened: AtomicUsize,
    /// Pages that are being read, of this shard and those beside it, and the most at once.
    reads: Arc<AtomicUsize>,
    most_reads: AtomicUsize,
    /// The shards that it lists.
    shards: Mutex<Vec<Shard>>,
    /// Whether it does not say which shards there are.
    lists_none: AtomicBool,
    /// Whether it says nothing at all when it is asked for them.
    list_hangs: AtomicBool,
}

impl Stream {
    fn put(&self, data: Vec<u8>) {
        let mut records = self.records.lock().unwrap();
        let number = records.len() as u64 * 3 + 1;
        let record = Record { sequence: sequence(number), arrival: number as Millis * 1_000, data: Bytes::from(data) };
        records.push(record);
    }

    fn last(&self) -> Option<Checkpoint> {
        self.records.lock().unwrap().last().map(|record| Checkpoint::At(record.sequence.clone()))
    }
}

fn sequence(number: u64) -> SequenceNumber {
    SequenceNumber::new(&number.to_string()).unwrap()
}

struct StreamPages(Arc<Stream>, Option<SequenceNumber>);

#[async_trait]
impl Pages for StreamPages {
    async fn ready(&mut self) -> Result<(), FeedError> {
        tokio::time::sleep(Duration::from_millis(150)).await;
        Ok(())
    }

    async fn next(&mut self) -> Result<Page, FeedError> {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let reads = self.0.reads.fetch_sub(1, Ordering::Relaxed);
        self.0.most_reads.fetch_max(reads, Ordering::Relaxed);
        let records: Vec<Record> = self.0.records.lock().unwrap().clone();
        let rest: Vec<_> =
            records.into_iter().filter(|record| Some(&record.sequence) > self.1.as_ref()).take(5).collect();
        self.1 = rest.last().map(|record| record.sequence.clone()).or(self.1.take());
        let next = if rest.is_empty() && *self.0.is_closed.lock().unwrap() { Next::ShardEnd } else { Next::More };
        Ok(Page { records: rest, next, behind: 0 })
    }
}

struct StreamFeed(Arc<Stream>);

#[async_trait]
impl Feed for StreamFeed {
    async fn created(&self) -> Result<Option<Millis>, FeedError> {
        Ok(Some(7))
    }

    async fn shards(&self) -> Result<Vec<Shard>, FeedError> {
        if self.0.list_hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.0.lists_none.load(Ordering::Relaxed) {
            return Err(FeedError::Transient { call: "list_shards", cause: "away".into() });
        }
        Ok(self.0.shards.lock().unwrap().clone())
    }

    async fn open(&self, _: &str, start: Start) -> Result<Box<dyn Pages>, FeedError> {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        if self.0.is_held.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let after = if let Start::After(sequence) = start { Some(sequence) } else { None };
        Ok(Box::new(StreamPages(self.0.clone(), after)))
    }
}

/// One row that changes, others beside it, and whether a write is never answered.
struct OneLease(Mutex<Lease>, Vec<Lease>, AtomicBool);

#[async_trait]
impl Leases for OneLease {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        Ok(std::iter::once(self.0.lock().unwrap().clone()).chain(self.1.iter().cloned()).collect())
    }

    async fn create(&self, _: &Lease) -> Result<Swap, LeaseError> {
        Ok(Swap::Done)
    }

    async fn swap(&self, _: &Lease, new: &Lease) -> Result<Swap, LeaseError> {
        if self.2.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        *self.0.lock().unwrap() = new.clone();
        Ok(Swap::Done)
    }

    async fn remove(&self, _: &Lease) -> Result<Swap, LeaseError> {
        Ok(Swap::Done)
    }
}

/// An index that may say nothing at all, or refuse us.
#[derive(Default)]
struct Moody {
    index: MemoryIndex,
    denies: AtomicBool,
    hangs: watch::Sender<bool>,
    asked: AtomicUsize,
    documents: AtomicUsize,
}

#[async_trait]
impl Index for Moody {
    async fn bulk(&self, items: &[Item]) -> Result<Vec<Verdict>, IndexError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.hangs.subscribe().wait_for(|hangs| !hangs).await.unwrap();
        if self.denies.load(Ordering::Relaxed) {
            return Err(IndexError::Denied("403 Forbidden".into()));
        }
        self.documents.fetch_add(items.len(), Ordering::Relaxed);
        self.index.bulk(items).await
    }

    async fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

struct Rig {
    shard: &'static str,
    stream: Arc<Stream>,
    leases: Arc<OneLease>,
    archive: Arc<MemoryArchive>,
    index: Arc<Moody>,
    meter: Arc<crate::meter::Meter>,
    stop: CancellationToken,
    settings: Settings,
}

impl Rig {
    fn new() -> Rig {
        Rig::of_shard(SHARD)
    }

    fn of_shard(id: &'static str) -> Rig {
        let shard =
            Shard { id: id.into(), parents: vec![], starting_hash_key: "0".into(), ending_hash_key: "9".into() };
        let lease = Lease { owner: Some("w".into()), ..Lease::new(&shard, Checkpoint::TrimHorizon, Some(7)) };
        Rig {
            shard: id,
            stream: Arc::default(),
            leases: Arc::new(OneLease(Mutex::new(lease), Vec::new(), AtomicBool::new(false))),
            archive: Arc::default(),
            index: Arc::default(),
            meter: Arc::default(),
            stop: CancellationToken::new(),
            settings: Settings::new("s", "w".into()),
        }
    }

    /// Another shard of the same process.
    fn beside(&self, id: &'static str) -> Rig {
        let Rig { archive, index, meter, settings, .. } = self;
        let (archive, index, meter) = (archive.clone(), index.clone(), meter.clone());
        let stream = Arc::new(Stream { reads: self.stream.reads.clone(), ..Stream::default() });
        Rig { archive, index, meter, stream, settings: settings.clone(), ..Rig::of_shard(id) }
    }

    fn services(&self) -> Services {
        Services {
            feed: Arc::new(StreamFeed(self.stream.clone())),
            leases: self.leases.clone(),
            archive: self.archive.clone(),
            index: self.index.clone(),
            meter: self.meter.clone(),
        }
    }

    fn shared(&self) -> Shared {
        Shared::new(&self.settings, &self.services())
    }

    fn start(&self) -> tokio::task::JoinHandle<Outcome> {
        self.start_with(self.shared())
    }

    fn start_with(&self, shared: Shared) -> tokio::task::JoinHandle<Outcome> {
        let (settings, lease) = (Arc::new(self.settings.clone()), self.row());
        tokio::spawn(run(self.services(), settings, shared, lease, self.stop.clone()))
    }

    fn row(&self) -> Lease {
        self.leases.0.lock().unwrap().clone()
    }

    fn hang(&self, hangs: bool) {
        self.index.hangs.send_replace(hangs);
    }

    /// Puts `records` frames, one each second of the paused clock.
    async fn put(&self, records: usize) {
        for _ in 0..records {
            self.stream.put(frame());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Rig) -> bool) {
        for _ in 0..10_000 {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what}; the row is {:?}", self.row());
    }

    /// Records in the archive; checks that its objects form one chain.
    fn archived(&self) -> u64 {
        let (mut end, mut records) = (None, 0);
        let objects: Vec<_> = self.archive.objects.lock().unwrap().values().cloned().collect();
        let mut summaries: Vec<_> = objects.iter().filter_map(|object| read_summary(&object.bytes)).collect();
        summaries.retain(|summary| summary.shard == self.shard);
        summaries.sort_by(|a, b| a.first_seq.cmp(&b.first_seq));
        for summary in summaries {
            assert_eq!(summary.prev_seq, end, "each object follows the one before it");
            (end, records) = (Some(summary.last_seq), records + summary.records);
        }
        records
    }

    /// Objects that say that the shard ends.
    fn ends(&self) -> usize {
        let objects = self.archive.objects.lock().unwrap();
        objects.values().filter(|object| read_summary(&object.bytes).is_some_and(|summary| summary.last)).count()
    }

    fn is_archived(&self) -> bool {
        Some(self.row().checkpoint) == self.stream.last()
    }

    fn is_indexed(&self) -> bool {
        Some(self.row().indexed_through) == self.stream.last()
    }
}

/// A frame whose lines differ from those of all others.
fn frame() -> Vec<u8> {
    static LIVES: AtomicUsize = AtomicUsize::new(0);
    let mut events = agents_events(Format::Auto);
    let offset = LIVES.fetch_add(1_000_000, Ordering::Relaxed) as u64;
    events.iter_mut().for_each(|event| event.offset += offset);
    framed(&events)
}

fn documents() -> usize {
    agents_events(Format::Auto).iter().filter(|event| event::Document::for_index(event).is_some()).count()
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_archives_nothing_before_it_knows_that_the_lease_is_its_own() {
    let mut rig = Rig::new();
    rig.settings.window_age = rig.settings.failover * 3 / 2;
    let running = rig.start();
    rig.put(3).await;
    rig.leases.2.store(true, Ordering::Relaxed);
    tokio::time::advance(rig.settings.failover * 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!running.is_finished(), "it does not know yet");
    assert_eq!(rig.archived(), 0, "another worker may have the lease by now");
    assert_eq!(running.await.unwrap(), Outcome::Stopped);
    assert_eq!(rig.archived(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_index_that_does_not_answer_stops_neither_reading_nor_archiving() {
    let rig = Rig::new();
    rig.hang(true);
    let running = rig.start();
    rig.put(600).await;
    rig.until("all is archived", Rig::is_archived).await;
    assert_eq!(rig.archived(), 600);
    assert_eq!(rig.row().indexed_through, Checkpoint::TrimHorizon);
    assert!(rig.index.asked.load(Ordering::Relaxed) < 20, "an index that says nothing is not pestered");
    rig.hang(false);
    rig.until("all is indexed", Rig::is_indexed).await;
    assert_eq!(rig.index.index.contents().len(), 600 * documents());
    rig.stop.cancel();
    assert_eq!(running.await.unwrap(), Outcome::Stopped);
}

#[tokio::test(start_paused = true)]
async fn an_index_that_has_caught_up_follows_the_stream_again_without_a_gap() {
    let rig = Rig::new();
    let _running = rig.start();
    rig.put(30).await;
    rig.until("all is indexed", Rig::is_indexed).await;
    rig.hang(true);
    // Enough for the channel to the index to be full.
    for _ in 0..400 {
        rig.stream.put(frame());
    }
    rig.until("all is archived", Rig::is_archived).await;
    rig.hang(false);
    rig.put(200).await;
    rig.until("the index is in step", Rig::is_indexed).await;
    assert_eq!(rig.stream.opened.load(Ordering::Relaxed), 2, "it was read again from where the index was");
    let begun = tokio::time::Instant::now();
    rig.put(1).await;
    rig.until("a record is indexed", Rig::is_indexed).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "it follows the stream: {:?}", begun.elapsed());
    assert_eq!(rig.index.index.contents().len(), 631 * documents());
    rig.until("all is archived", Rig::is_archived).await;
    assert_eq!(rig.archived(), 631);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_larger_than_the_budget_are_read_one_after_the_other() {
    let mut rig = Rig::new();
    rig.settings.memory_bytes = 8 << 10;
    let _running = rig.start();
    rig.put(20).await;
    rig.until("all is archived", Rig::is_archived).await;
    rig.until("all is indexed", Rig::is_indexed).await;
    rig.hang(true);
    rig.put(120).await;
    rig.until("a hanging index gives the budget back", Rig::is_archived).await;
    rig.hang(false);
    rig.until("all is indexed", Rig::is_indexed).await;
    assert_eq!(rig.index.index.contents().len(), 140 * documents());
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_stop_archives_and_saves_although_the_index_does_not_answer() {
    let rig = Rig::new();
    rig.hang(true);
    let running = rig.start();
    rig.put(5).await;
    let begun = tokio::time::Instant::now();
    rig.stop.cancel();
    assert_eq!(running.await.unwrap(), Outcome::Stopped);
    assert!(begun.elapsed() <= INDEX_GRACE + Duration::from_secs(1), "{:?}", begun.elapsed());
    let row = rig.row();
    assert_eq!((Some(row.checkpoint), row.owner), (rig.stream.last(), None));
    assert_eq!(row.indexed_through, Checkpoint::TrimHorizon);
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_stop_waits_no_longer_for_a_shard_that_another_holds() {
    let rig = Rig::new();
    rig.stream.is_held.store(true, Ordering::Relaxed);
    let running = rig.start();
    rig.until("the shard is opened", |rig| rig.stream.opened.load(Ordering::Relaxed) == 1).await;
    rig.stop.cancel();
    assert_eq!(running.await.unwrap(), Outcome::Stopped);
    assert_eq!(rig.row().owner, None);
}

#[tokio::test(start_paused = true)]
async fn the_next_one_catches_up_from_the_archive_while_it_archives() {
    let rig = Rig::new();
    rig.hang(true);
    let running = rig.start();
    rig.put(100).await;
    rig.stop.cancel();
    running.await.unwrap();
    let mut next = Rig { stop: CancellationToken::new(), ..rig };
    next.settings.worker = "x".into();
    next.start();
    next.put(100).await;
    next.until("all is archived", Rig::is_archived).await;
    assert_eq!(next.row().indexed_through, Checkpoint::TrimHorizon, "the index still says nothing");
    next.hang(false);
    next.until("all is indexed", Rig::is_indexed).await;
    assert_eq!(next.index.index.contents().len(), 200 * documents());
    assert_eq!(next.archived(), 200);
}

#[tokio::test(start_paused = true)]
async fn children_of_a_shard_need_not_wait_for_the_index() {
    let rig = Rig::new();
    rig.hang(true);
    let running = rig.start();
    rig.put(100).await;
    *rig.stream.is_closed.lock().unwrap() = true;
    rig.until("the shard has ended", |rig| rig.row().checkpoint == Checkpoint::ShardEnd).await;
    assert_eq!((rig.row().owner.as_deref(), rig.row().indexed_through), (Some("w"), Checkpoint::TrimHorizon));
    // Another process goes on with the index alone.
    rig.stop.cancel();
    assert_eq!(running.await.unwrap(), Outcome::Stopped);
    rig.hang(false);
    let next = Rig { stop: CancellationToken::new(), ..rig };
    assert_eq!(next.start().await.unwrap(), Outcome::ShardEnd);
    assert_eq!(next.row().indexed_through, Checkpoint::ShardEnd);
    assert_eq!(next.index.index.contents().len(), 100 * documents());
}

#[tokio::test(start_paused = true)]
async fn a_childs_objects_are_looked_for_from_the_hour_on_in_which_the_first_of_its_parents_ended() {
    const HOUR: Millis = 3_600_000;
    let parents = [("a", 9), ("b", 7)];
    let begun_at = async |rows: &[(&str, Millis)]| {
        let mut rig = Rig::new();
        let shard = |id: &str, parents: &[&str]| {
            let parents = parents.iter().map(|id| (*id).to_owned()).collect();
            Shard { id: id.into(), parents, starting_hash_key: "0".into(), ending_hash_key: "9".into() }
        };
        let row = |(id, hours): &(&str, Millis)| Lease {
            checkpoint: Checkpoint::ShardEnd,
            checkpoint_arrival: Some(hours * HOUR),
            ..Lease::new(&shard(id, &[]), Checkpoint::TrimHorizon, Some(7))
        };
        let child = shard(SHARD, &parents.map(|(id, _)| id));
        let child = Lease { owner: Some("w".into()), ..Lease::new(&child, Checkpoint::TrimHorizon, Some(7)) };
        rig.leases = Arc::new(OneLease(Mutex::new(child), rows.iter().map(row).collect(), AtomicBool::new(false)));
        let running = rig.start();
        rig.put(3).await;
        rig.until("all is archived", Rig::is_archived).await;
        rig.stop.cancel();
        running.await.unwrap();
        rig.archive.listed.lock().unwrap().first().cloned()
    };
    assert_eq!(begun_at(&parents).await.as_deref(), Some("raw/s/dt=1970-01-01/hour=07/"));
    assert_eq!(begun_at(&parents[..1]).await.as_deref(), Some(""), "a parent without a row may have ended whenever");
}

#[tokio::test(start_paused = true)]
async fn the_row_of_a_shard_that_has_ended_names_its_children() {
    let rig = Rig::new();
    let shard = |id: &str, parent: &str| {
        let (id, parents) = (id.to_owned(), vec![parent.to_owned()]);
        Shard { id, parents, starting_hash_key: "0".into(), ending_hash_key: "9".into() }
    };
    *rig.stream.shards.lock().unwrap() = vec![shard("a", SHARD), shard("of-another", "shard-7"), shard("b", SHARD)];
    let running = rig.start();
    rig.put(3).await;
    assert_eq!(rig.row().children, [""; 0]);
    *rig.stream.is_closed.lock().unwrap() = true;
    assert_eq!(running.await.unwrap(), Outcome::ShardEnd);
    assert_eq!(rig.row().children, ["a", "b"]);
    // A row that has to be worked on again, when the stream lists none of them any more.
    rig.stream.shards.lock().unwrap().clear();
    assert_eq!(rig.start().await.unwrap(), Outcome::ShardEnd);
    assert_eq!(rig.row().children, ["a", "b"]);
}

/// A budget in which a record can be opened while another one is open, and no third.
async fn for_two_records(settings: &Settings) -> usize {
    let record = Record { sequence: sequence(1), arrival: 0, data: Bytes::from(frame()) };
    let open = Budget::new(1 << 30);
    let (all, room) = (open.free(), open.room_for(&record).await);
    let opened = all - open.free();
    let decoder = Decoder::new(settings, SHARD, Some(7), Arc::default());
    let held = Held::new(decoder.decode(record), room);
    let bytes = opened + all - open.free();
    drop(held);
    // Three eighths are for records.
    bytes.div_ceil(3) * 8
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_ends_while_the_index_does_not_answer_leaves_room_for_the_others() {
    let mut ends = Rig::new();
    ends.settings.bulks_max = 1;
    // Two records go into requests, of which one hangs and one waits for it. Two others take so much that no
    // third has room.
    ends.settings.memory_bytes = for_two_records(&ends.settings).await;
    ends.hang(true);
    let goes_on = ends.beside("shard-1");
    let shared = ends.shared();
    let running = ends.start_with(shared.clone());
    ends.put(2).await;
    ends.until("a request hangs", |rig| rig.index.asked.load(Ordering::Relaxed) == 1).await;
    (0..2).for_each(|_| ends.stream.put(frame()));
    *ends.stream.is_closed.lock().unwrap() = true;
    ends.until("the shard has ended", |rig| rig.row().checkpoint == Checkpoint::ShardEnd).await;
    let _goes_on = goes_on.start_with(shared);
    goes_on.put(60).await;
    goes_on.until("the other one is archived", Rig::is_archived).await;
    assert_eq!(goes_on.archived(), 60);
    ends.hang(false);
    assert_eq!(running.await.unwrap(), Outcome::ShardEnd);
    goes_on.until("all is indexed", Rig::is_indexed).await;
    assert_eq!(ends.index.index.contents().len(), 64 * documents());
}

#[tokio::test(start_paused = true)]
async fn a_shards_end_is_archived_once_however_often_its_children_cannot_be_listed() {
    let rig = Rig::new();
    rig.stream.lists_none.store(true, Ordering::Relaxed);
    let running = rig.start();
    rig.put(3).await;
    *rig.stream.is_closed.lock().unwrap() = true;
    rig.until("the end is archived", |rig| rig.ends() > 0).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(rig.ends(), 1);
    // The next process finds it there.
    rig.stop.cancel();
    assert_eq!(running.await.unwrap(), Outcome::Stopped);
    let next = Rig { stop: CancellationToken::new(), ..rig };
    let running = next.start();
    tokio::time::sleep(Duration::from_secs(300)).await;
    next.stream.lists_none.store(false, Ordering::Relaxed);
    assert_eq!(running.await.unwrap(), Outcome::ShardEnd);
    assert_eq!((next.ends(), next.archived()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_stop_waits_neither_for_an_archive_nor_for_a_stream_that_does_not_answer() {
    let rig = Rig::new();
    rig.archive.hangs.store(true, Ordering::Relaxed);
    let running = rig.start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    rig.stop.cancel();
    let stopped = tokio::time::timeout(Duration::from_secs(1), running).await;
    assert_eq!((stopped.expect("it waits for nothing").unwrap(), rig.row().owner), (Outcome::Stopped, None));

    let rig = Rig::new();
    rig.stream.list_hangs.store(true, Ordering::Relaxed);
    let running = rig.start();
    rig.put(3).await;
    *rig.stream.is_closed.lock().unwrap() = true;
    rig.until("the end is archived", |rig| rig.ends() > 0).await;
    rig.stop.cancel();
    let stopped = tokio::time::timeout(Duration::from_secs(1), running).await;
    assert_eq!((stopped.expect("it waits for nothing").unwrap(), rig.row().owner), (Outcome::Stopped, None));
    assert_eq!(rig.row().checkpoint, rig.stream.last().unwrap(), "the children have no rows yet");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_ends_sends_nothing_again_to_an_index_that_is_slow_if_nobody_needs_its_room() {
    let rig = Rig::new();
    rig.hang(true);
    let running = rig.start();
    rig.put(1).await;
    *rig.stream.is_closed.lock().unwrap() = true;
    rig.until("the index is asked", |rig| rig.index.asked.load(Ordering::Relaxed) > 0).await;
    tokio::time::sleep(rig.settings.index_patience * 6).await;
    rig.hang(false);
    assert_eq!(running.await.unwrap(), Outcome::ShardEnd);
    assert_eq!((rig.index.asked.load(Ordering::Relaxed), rig.meter.known()), (1, 0));
    assert_eq!(rig.index.index.contents().len(), documents());
}

/// A record of `lines` lines of 300 bytes, which tells that it holds nothing: the last member of
/// gzip tells its own length alone.
fn untrue(at: usize, lines: usize) -> Vec<u8> {
    let text: String = (0..lines).map(|line| format!("{at} {line} {:0>300}\n", "")).collect();
    [event::gzip::gzip(text.as_bytes(), 6), event::gzip::gzip(b"", 6)].concat()
}

#[tokio::test(start_paused = true)]
async fn records_that_unpack_to_more_than_they_tell_are_counted_for_what_they_are() {
    let mut rig = Rig::new();
    (rig.settings.memory_bytes, rig.settings.bulks_max) = (1 << 20, 1);
    rig.hang(true);
    let shared = rig.shared();
    let _running = rig.start_with(shared.clone());
    (0..30).for_each(|at| rig.stream.put(untrue(at, 200)));
    tokio::time::sleep(rig.settings.index_patience / 2).await;
    let (read, most) = (rig.meter.records(), (3 << 17) / (200 * 300));
    // Those that are open, what the first requests took, and the one that waits.
    assert!((2..=most + 4).contains(&read), "{read} records were opened");
    assert!(shared.budget.is_short());
    rig.until("the index has been given up", Rig::is_archived).await;
    assert_eq!(rig.archived(), 30);
    rig.hang(false);
    rig.until("all is indexed", Rig::is_indexed).await;
    assert_eq!(rig.index.index.contents().len(), 30 * 200);
}

#[tokio::test(start_paused = true)]
async fn shards_whose_records_tell_too_little_do_not_wait_for_each_other() {
    let mut rig = Rig::new();
    rig.settings.memory_bytes = 64 << 10;
    let other = rig.beside("shard-1");
    let shared = rig.shared();
    for at in 0..10 {
        [&rig, &other].iter().for_each(|rig| rig.stream.put(untrue(at, 200)));
    }
    let _running = [rig.start_with(shared.clone()), other.start_with(shared)];
    rig.until("all is archived", Rig::is_archived).await;
    other.until("all is archived", Rig::is_archived).await;
    assert_eq!((rig.archived(), other.archived()), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn no_more_pages_of_all_shards_are_read_at_once_than_there_is_room_for() {
    let most_reads = async |memory_bytes: usize| {
        let mut first = Rig::new();
        first.settings.memory_bytes = memory_bytes;
        let shared = first.shared();
        let mut rigs: Vec<_> = ["shard-1", "shard-2", "shard-3"].map(|id| first.beside(id)).into();
        rigs.push(first);
        rigs.iter().for_each(|rig| (0..30).for_each(|_| rig.stream.put(frame())));
        let _running: Vec<_> = rigs.iter().map(|rig| rig.start_with(shared.clone())).collect();
        for rig in &rigs {
            rig.until("all is archived", Rig::is_archived).await;
            assert_eq!(rig.archived(), 30);
        }
        rigs.iter().map(|rig| rig.stream.most_reads.load(Ordering::Relaxed)).max()
    };
    // An eighth is for pages, of which each may hold a MiB.
    assert_eq!(most_reads(64 << 20).await, Some(4));
    assert_eq!(most_reads(16 << 20).await, Some(2));
    assert_eq!(most_reads(64 << 10).await, Some(1), "one that is larger than all there is");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_waits_for_room_for_a_page_gives_up_an_index_that_keeps_the_room_of_others() {
    let mut waits = Rig::new();
    waits.settings.bulks_max = 1;
    waits.settings.memory_bytes = for_two_records(&waits.settings).await;
    waits.hang(true);
    let other = waits.beside("shard-1");
    let shared = waits.shared();
    let _waits = waits.start_with(shared.clone());
    // Two requests wait, one of them for the other. Two records more have room, and no others.
    waits.put(2).await;
    waits.until("a request hangs", |rig| rig.index.asked.load(Ordering::Relaxed) == 1).await;
    (0..2).for_each(|_| waits.stream.put(frame()));
    waits.until("all is read", |rig| rig.meter.records() == 4).await;
    // From here on it asks for room for pages only, which are empty.
    let _other = other.start_with(shared);
    other.put(60).await;
    other.until("the other one is archived", Rig::is_archived).await;
    assert_eq!((waits.archived(), other.archived()), (4, 60));
}

#[tokio::test(start_paused = true)]
async fn an_index_that_refuses_us_is_asked_now_and_then_until_it_takes_documents_and_archiving_goes_on() {
    let rig = Rig::new();
    rig.index.denies.store(true, Ordering::Relaxed);
    let _running = rig.start();
    rig.put(600).await;
    rig.until("all is archived", Rig::is_archived).await;
    assert_eq!((rig.archived(), rig.row().indexed_through), (600, Checkpoint::TrimHorizon));
    let asked = rig.index.asked.load(Ordering::Relaxed);
    assert!((10..=20).contains(&asked), "at 0, 1, 3, 7, 15, 31, 63 and then each 60 seconds: {asked}");
    assert!(rig.meter.is_index_refusing());
    rig.index.denies.store(false, Ordering::Relaxed);
    rig.until("all is indexed", Rig::is_indexed).await;
    assert_eq!((rig.index.index.contents().len(), rig.meter.dead_letters()), (600 * documents(), 0));
    assert!(!rig.meter.is_index_refusing());
}

#[tokio::test(start_paused = true)]
async fn what_arrived_before_a_new_row_wants_it_indexed_stays_out_of_the_index() {
    let rig = Rig::new();
    let running = rig.start();
    rig.put(50).await;
    rig.until("all is archived", Rig::is_archived).await;
    rig.stop.cancel();
    running.await.unwrap();
    // Days later the indices of that time are gone, and the row was deleted and made anew.
    rig.index.index.contents.lock().unwrap().clear();
    let (checkpoint, indexed_through) = (Checkpoint::TrimHorizon, Checkpoint::AtTimestamp(86_400_000));
    let row = Lease { owner: Some("w".into()), checkpoint, checkpoint_arrival: None, indexed_through, ..rig.row() };
    *rig.leases.0.lock().unwrap() = row;
    let next = Rig { stop: CancellationToken::new(), ..rig };
    let _running = next.start();
    next.put(20).await;
    next.until("all is archived", Rig::is_archived).await;
    next.until("all is indexed", Rig::is_indexed).await;
    assert_eq!((next.archived(), next.index.index.contents().len()), (70, 20 * documents()));
}
