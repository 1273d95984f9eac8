//! The chain of a shard's objects: gapless, disjoint, whoever writes.
//!
//! A key depends on the first record alone and is created at most once. So of writers
//! that start from one position exactly one wins, and the others adopt its end and go
//! on from there. Crashes, clocks, processes that wake up late and answers that get
//! lost change nothing about it (DESIGN section 7; the rule was checked as a model).

use super::window::{Window, end_of_shard, hour_prefix, prefix, read_key};
use super::{Archive, ArchiveError, Created, Object};
use crate::decode::Decoded;
use crate::leases::keep::Cursors;
use crate::receive::{SequenceNumber, Start};
use event::Millis;
use event::pause::Pause;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// When a window is closed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Packed bytes.
    pub bytes: usize,
    /// Age of the oldest record in it.
    pub age: Duration,
}

/// How far a chain goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub sequence: SequenceNumber,
    /// Arrival of the record at its end.
    pub arrival: Option<Millis>,
    /// When the stream was made of which this record is, where it is known.
    pub stream_created: Option<Millis>,
    /// Whether the shard ends here.
    pub is_final: bool,
}

impl Tail {
    /// The record that a lease of a stream calls archived.
    pub fn known(lease: &Cursors, stream_created: Option<Millis>) -> Option<Tail> {
        let sequence = lease.checkpoint.sequence()?.clone();
        Some(Tail { sequence, arrival: lease.checkpoint_arrival, stream_created, is_final: false })
    }

    /// Whether the record is of a stream that was made at another time.
    fn is_of_other_stream(&self, stream_created: Option<Millis>) -> bool {
        self.stream_created.zip(stream_created).is_some_and(|(tail, stream)| tail != stream)
    }
}

/// One shard's chain in an archive.
#[derive(Clone)]
pub struct Chain {
    pub archive: Arc<dyn Archive>,
    pub stream: String,
    pub shard: String,
    /// When the stream was made.
    pub stream_created: Option<Millis>,
}

/// How [`Chain::extend`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Its input ended, and all of it is archived.
    InputEnded,
    /// Another writer's object ends before ours would have: the records after it must
    /// be read again.
    ReadAgain,
    /// The chain is of an earlier stream of this name, whose numbers go further than those
    /// of this one: nobody could tell its records from the archived ones.
    OtherStream,
}

impl Chain {
    /// The newest end of the chain: `known`, or what objects from the hour of `since`
    /// on tell (all objects without `since`).
    pub async fn tail(&self, known: Option<Tail>, since: Option<Millis>) -> Result<Option<Tail>, ArchiveError> {
        let Some(key) = self.newest(since).await? else { return Ok(known) };
        let found = self.end_of(&key).await?;
        Ok(if known.as_ref().is_some_and(|known| known.sequence > found.sequence) { known } else { Some(found) })
    }

    /// Where reading goes on behind `tail`. `None`: where the lease says, for none of this
    /// stream's records is archived.
    pub fn start(&self, tail: Option<&Tail>) -> Option<Start> {
        let tail = tail.filter(|tail| !tail.is_of_other_stream(self.stream_created))?;
        Some(Start::After(tail.sequence.clone()))
    }

    /// The key of the last object of the shard. The list holds those of all shards.
    async fn newest(&self, since: Option<Millis>) -> Result<Option<String>, ArchiveError> {
        let prefix = prefix(&self.stream);
        let mut after = since.map_or_else(String::new, |since| hour_prefix(&self.stream, since));
        let mut newest: Option<(SequenceNumber, String)> = None;
        loop {
            let page = self.archive.list(&prefix, &after).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            let own = page.into_iter().filter_map(|key| {
                let (shard, first) = read_key(&self.stream, &key)?;
                (shard == self.shard).then_some((first, key))
            });
            newest = newest.into_iter().chain(own).max();
        }
        Ok(newest.map(|(_, key)| key))
    }

    /// The last record of an object.
    async fn end_of(&self, key: &str) -> Result<Tail, ArchiveError> {
        let metadata = self.archive.head(key).await?.unwrap_or_default();
        let sequence = metadata.get("last-seq").and_then(|digits| SequenceNumber::new(digits));
        let millis = |name: &str| metadata.get(name).and_then(|millis| millis.parse().ok());
        let (arrival, stream_created) = (millis("last-arrival"), millis("stream-created"));
        let is_final = metadata.get("final").is_some_and(|is_final| is_final == "true");
        match sequence {
            Some(sequence) => Ok(Tail { sequence, arrival, stream_created, is_final }),
            None => Err(ArchiveError::Refused {
                call: "head",
                key: key.to_owned(),
                cause: "the object has no `last-seq` in its metadata: it is not of this program, or was copied without"
                    .into(),
            }),
        }
    }

    /// Archives records as they come, after `tail`, and says how far it has come.
    pub async fn extend<R: Deref<Target = Decoded>>(
        &self,
        mut tail: Option<Tail>,
        mut records: mpsc::Receiver<R>,
        limits: impl Fn() -> Limits,
        archived: impl Fn(Tail),
    ) -> Ended {
        let mut window = self.window(tail.as_ref());
        let mut deadline = Instant::now();
        loop {
            let record = tokio::select! {
                record = records.recv() => record,
                () = tokio::time::sleep_until(deadline), if !window.is_empty() => {
                    match self.close(&mut window, &mut tail, &archived).await {
                        After::GoOn => continue,
                        After::ReadAgain => return Ended::ReadAgain,
                    }
                }
            };
            let Some(record) = record else { break };
            match place(tail.as_ref(), &record.sequence, self.stream_created) {
                Place::New => {}
                Place::Archived => continue,
                Place::Unknown => return Ended::OtherStream,
            }
            if window.is_of_another_minute(record.arrival) || window.bytes() >= limits().bytes {
                match self.close(&mut window, &mut tail, &archived).await {
                    After::GoOn if place(tail.as_ref(), &record.sequence, self.stream_created) == Place::New => {}
                    After::GoOn => continue,
                    After::ReadAgain => return Ended::ReadAgain,
                }
            }
            if window.is_empty() {
                deadline = Instant::now() + limits().age;
            }
            window.push(&record);
        }
        match self.close(&mut window, &mut tail, &archived).await {
            After::GoOn => Ended::InputEnded,
            After::ReadAgain => Ended::ReadAgain,
        }
    }

    /// Says in the archive that the shard ends with `tail`.
    pub async fn finish(&self, tail: &Tail) {
        let Some(arrival) = tail.arrival.filter(|_| !tail.is_final) else { return };
        let object = end_of_shard((&self.stream, &self.shard), &tail.sequence, arrival, self.stream_created);
        self.settle(&object, tail.clone()).await;
    }

    fn window(&self, tail: Option<&Tail>) -> Window {
        Window::after(tail.map(|tail| tail.sequence.clone())).of_stream_made_at(self.stream_created)
    }

    /// Puts the window, and opens one that follows.
    async fn close(&self, window: &mut Window, tail: &mut Option<Tail>, archived: &impl Fn(Tail)) -> After {
        let full = std::mem::replace(window, Window::after(None));
        let mut after = After::GoOn;
        if let Some((summary, object)) = full.close(&self.stream, &self.shard) {
            let ours = Tail {
                sequence: summary.last_seq.clone(),
                arrival: Some(summary.last_arrival),
                stream_created: self.stream_created,
                is_final: false,
            };
            let end = self.settle(&object, ours).await;
            after = after_put(&summary.last_seq, &end);
            archived(end.clone());
            *tail = Some(end);
        }
        *window = self.window(tail.as_ref());
        after
    }

    /// Puts an object until the archive has it, or another one of its key: the chain
    /// goes on where that one ends.
    async fn settle(&self, object: &Object, ours: Tail) -> Tail {
        let mut pause = Pause::default();
        loop {
            let settled = match self.archive.put_if_absent(object).await {
                Ok(Created::Yes) => Ok(ours.clone()),
                Ok(Created::Exists) => self.end_of(&object.key).await,
                Err(error) => Err(error),
            };
            match settled {
                Ok(tail) => return tail,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "not archived yet; will try again")
                }
            }
            tokio::time::sleep(pause.next_pause()).await;
        }
    }
}

/// What a record is to a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    New,
    Archived,
    /// The chain is of another stream, so its end says nothing of this record.
    Unknown,
}

/// The place of a record of the stream that was made then, in a chain that ends with `tail`.
fn place(tail: Option<&Tail>, record: &SequenceNumber, stream_created: Option<Millis>) -> Place {
    match tail {
        Some(tail) if *record > tail.sequence => Place::New,
        Some(tail) if tail.is_of_other_stream(stream_created) => Place::Unknown,
        Some(_) => Place::Archived,
        None => Place::New,
    }
}

/// What to do after an object has been put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    GoOn,
    /// Records of ours behind the chain's end must be read again.
    ReadAgain,
}

/// The object of that key ends with `end`, and all of ours, which was to be there, with `ours`.
fn after_put(ours: &SequenceNumber, end: &Tail) -> After {
    if end.sequence >= *ours { After::GoOn } else { After::ReadAgain }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Metadata;
    use crate::archive::window::read_summary;
    use crate::decode::Content;
    use crate::replay::rows::{Row, Rows};
    use async_trait::async_trait;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::ops::Bound;
    use std::sync::Mutex;

    /// Objects in memory. `mute` puts an object and does not say so.
    #[derive(Default)]
    pub(super) struct Memory {
        pub objects: Mutex<BTreeMap<String, Object>>,
        pub mute: Mutex<usize>,
    }

    #[async_trait]
    impl Archive for Memory {
        async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
            let mut objects = self.objects.lock().unwrap();
            if objects.contains_key(&object.key) {
                return Ok(Created::Exists);
            }
            objects.insert(object.key.clone(), object.clone());
            let mut mute = self.mute.lock().unwrap();
            if *mute == 0 {
                return Ok(Created::Yes);
            }
            *mute -= 1;
            Err(ArchiveError::Transient { call: "put", key: object.key.clone(), cause: "the answer was lost".into() })
        }

        async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError> {
            Ok(self.objects.lock().unwrap().get(key).map(|object| object.metadata.clone()))
        }

        async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
            Ok(self.objects.lock().unwrap().get(key).map(|object| object.bytes.clone()))
        }

        async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError> {
            let objects = self.objects.lock().unwrap();
            let behind = objects.range::<str, _>((Bound::Excluded(after), Bound::Unbounded)).map(|(key, _)| key);
            Ok(behind.filter(|key| key.starts_with(prefix)).take(3).cloned().collect())
        }
    }

    const LAST: u64 = 40;

    fn number(n: u64) -> SequenceNumber {
        SequenceNumber::new(&n.to_string()).unwrap()
    }

    /// Record `n` of a stream whose numbers have holes and whose minutes hold some.
    fn record(n: u64) -> Arc<Decoded> {
        let content = Content::unreadable(Bytes::from(n.to_string()), "a test");
        Arc::new(Decoded { sequence: number(n * 3), arrival: (n / 7 * 60_000) as Millis, content })
    }

    fn chain(archive: &Arc<Memory>) -> Chain {
        Chain { archive: archive.clone(), stream: "s".into(), shard: "shard-0".into(), stream_created: None }
    }

    /// A writer that starts after `tail` and reads up to record `to`, or that dies with
    /// its window open.
    async fn write(archive: &Arc<Memory>, tail: Option<Tail>, to: u64, dies: bool) -> Option<Ended> {
        write_windows_of(1 << 20, archive, tail, to, dies).await
    }

    async fn write_windows_of(
        bytes: usize,
        archive: &Arc<Memory>,
        tail: Option<Tail>,
        to: u64,
        dies: bool,
    ) -> Option<Ended> {
        let from = tail.as_ref().map_or(1, |tail| tail.sequence.as_str().parse::<u64>().unwrap() / 3 + 1);
        let (send, records) = mpsc::channel(LAST as usize + 1);
        for n in from..=to {
            send.send(record(n)).await.unwrap();
        }
        let chain = chain(archive);
        let limits = Limits { bytes, age: Duration::from_secs(60) };
        let work = chain.extend(tail, records, || limits, |_| {});
        if dies {
            return tokio::time::timeout(Duration::from_secs(1), work).await.ok();
        }
        drop(send);
        Some(work.await)
    }

    /// The keys of the shard's objects, in the order of the chain.
    fn keys(archive: &Memory) -> Vec<String> {
        let stored = archive.objects.lock().unwrap();
        let own = stored.keys().filter_map(|key| read_key("s", key).map(|(_, first)| (first, key.clone())));
        own.collect::<std::collections::BTreeSet<_>>().into_iter().map(|(_, key)| key).collect()
    }

    /// The records in the archive, in the order of the chain; checks that each object
    /// follows the one before it.
    fn archived(archive: &Arc<Memory>) -> Vec<u64> {
        let mut records = Vec::new();
        let mut end = None;
        for key in keys(archive) {
            let object = archive.objects.lock().unwrap()[&key].clone();
            let summary = read_summary(&object.bytes).unwrap();
            assert_eq!(summary.metadata(), object.metadata);
            assert_eq!(summary.prev_seq, end, "{key} follows the object before it");
            let mut text = String::new();
            std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&object.bytes[..]), &mut text)
                .unwrap();
            let rows = text.lines().skip(1).map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
            let numbers: Vec<u64> =
                rows.map(|row| row["sequence"].as_str().unwrap().parse::<u64>().unwrap() / 3).collect();
            assert_eq!(numbers.len() as u64, summary.records);
            records.extend(numbers);
            end = Some(summary.last_seq);
        }
        records
    }

    #[tokio::test(start_paused = true)]
    async fn objects_hold_records_of_one_minute_of_arrival() {
        let archive = Arc::default();
        assert_eq!(write(&archive, None, 20, false).await, Some(Ended::InputEnded));
        assert_eq!(archived(&archive), (1..=20).collect::<Vec<_>>());
        assert_eq!(archive.objects.lock().unwrap().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_whose_answer_was_lost_is_not_written_twice() {
        let archive = Arc::new(Memory { mute: Mutex::new(2), ..Memory::default() });
        assert_eq!(write(&archive, None, 20, false).await, Some(Ended::InputEnded));
        assert_eq!(archived(&archive), (1..=20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_adopts_the_end_of_an_object_that_is_there() {
        let archive = Arc::default();
        write(&archive, None, 3, false).await;
        assert_eq!(write(&archive, None, 5, false).await, Some(Ended::ReadAgain));
        let tail = chain(&archive).tail(None, None).await.unwrap();
        assert_eq!(tail.as_ref().map(|tail| tail.sequence.clone()), Some(number(9)));
        assert_eq!(write(&archive, tail, 5, false).await, Some(Ended::InputEnded));
        assert_eq!(archived(&archive), [1, 2, 3, 4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_goes_on_behind_an_object_that_is_longer_than_ours() {
        let archive = Arc::default();
        write(&archive, None, 5, false).await;
        let ended = write_windows_of(1, &archive, None, 6, false).await;
        assert_eq!((ended, archived(&archive)), (Some(Ended::InputEnded), vec![1, 2, 3, 4, 5, 6]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_ends_with_an_object_that_says_so_and_all_put_the_same_one() {
        let archive = Arc::default();
        write(&archive, None, 20, false).await;
        let chain = chain(&archive);
        let tail = chain.tail(None, None).await.unwrap().unwrap();
        chain.finish(&tail).await;
        chain.finish(&tail).await;
        let end = chain.tail(None, None).await.unwrap().unwrap();
        assert_eq!((end.sequence.as_str(), end.arrival, end.is_final), ("61", tail.arrival, true));
        chain.finish(&end).await;
        assert_eq!(archive.objects.lock().unwrap().len(), 4);
        assert_eq!(archived(&archive), (1..=20).collect::<Vec<_>>());
        let last = archive.objects.lock().unwrap().last_entry().unwrap().get().bytes.clone();
        let mut rows = Rows::of(&last);
        assert!(matches!(rows.next_row().unwrap(), Some(Row::Summary)));
        assert!(rows.next_row().unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_was_made_anew_goes_on_with_the_chain_where_its_numbers_rise() {
        let archive: Arc<Memory> = Arc::default();
        let of = |created| Chain { stream_created: Some(created), ..chain(&archive) };
        let extend = async |created, tail, from: u64, to: u64| {
            let (send, records) = mpsc::channel(100);
            for n in from..=to {
                send.send(record(n)).await.unwrap();
            }
            drop(send);
            let limits = || Limits { bytes: 1 << 20, age: Duration::from_secs(60) };
            of(created).extend(tail, records, limits, |_| {}).await
        };
        extend(7, None, 1, 5).await;
        let tail = of(8).tail(None, None).await.unwrap();
        assert_eq!(of(7).start(tail.as_ref()), Some(Start::After(number(15))));
        assert_eq!(of(8).start(tail.as_ref()), None, "none of its records is archived");
        assert_eq!(extend(8, tail.clone(), 4, 6).await, Ended::OtherStream, "nobody could tell which is which");
        assert_eq!(extend(8, tail, 9, 9).await, Ended::InputEnded);
        assert_eq!(archived(&archive), [1, 2, 3, 4, 5, 9]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn whoever_writes_and_dies_each_record_is_archived_exactly_once(
            writers in prop::collection::vec(
                (any::<prop::sample::Index>(), 1..=LAST, any::<bool>(), 0usize..3, prop::sample::select(vec![1, 1 << 20])),
                1..12,
            ),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let archive: Arc<Memory> = Arc::default();
                for (stale, to, dies, mute, bytes) in writers {
                    *archive.mute.lock().unwrap() = mute;
                    // Any end that the chain ever had may be somebody's stale checkpoint.
                    let keys = keys(&archive);
                    let at = stale.index(keys.len() + 1);
                    let tail = match at.checked_sub(1) {
                        Some(at) => Some(chain(&archive).end_of(&keys[at]).await.unwrap()),
                        None => None,
                    };
                    write_windows_of(bytes, &archive, tail, to, dies).await;
                }
                let tail = chain(&archive).tail(None, None).await.unwrap();
                write(&archive, tail, LAST, false).await;
                let expected: Vec<_> = (1..=LAST).collect();
                prop_assert_eq!(archived(&archive), expected);
                Ok(())
            })?;
        }
    }
}
