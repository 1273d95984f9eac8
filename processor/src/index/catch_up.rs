//! From the archive into the index, where the index is behind: it was away, or slower than the
//! stream.
//!
//! ```text
//! hours, newest first -> keys -> get -> rows -> documents -> requests -> cursor
//! ```

use super::IndexError;
use super::bulk::{Bulker, Requests};
use super::ledger::Done;
use crate::archive::ArchiveError;
use crate::archive::chain::{Chain, Tail};
use crate::archive::walk::hour_of_shard;
use crate::archive::window::{HOUR, Summary, read_summary};
use crate::budget::Budget;
use crate::decode::Unreadable;
use crate::meter::now;
use crate::receive::SequenceNumber;
use crate::replay::rows::{RawRecord, Row, Rows};
use bytes::Bytes;
use event::pause::Pause;
use event::{Document, Millis};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

/// Keys that are held at once. Where more objects are missing, they come in several rounds.
const KEYS_MAX: usize = 5_000;

/// Hours without an object that are passed over in search of an older one: a year, the longest
/// that a stream keeps its records.
const EMPTY_HOURS_MAX: usize = 366 * 24;

/// How long an archive that gave an object is taken to give others.
const GIVES_FOR: Duration = Duration::from_secs(10);

/// Indexes a shard's objects.
#[derive(Clone)]
pub struct CatchUp {
    pub chain: Chain,
    pub bulker: Bulker,
    pub budget: Arc<Budget>,
    /// Hours of arrival before this one are not looked into.
    pub since: Option<Millis>,
}

impl CatchUp {
    /// Indexes the objects that end after `indexed`, or the first ones of them. `told` hears how
    /// far all is durable.
    ///
    /// # Errors
    /// [`IndexError::Lost`]: what `told` has not heard of must be indexed again.
    pub async fn run(
        &self,
        mut indexed: Option<SequenceNumber>,
        tail: &Tail,
        told: impl Fn(Done),
    ) -> Result<(), IndexError> {
        let (before, keys) = (indexed.clone(), until_answered(|| self.keys(indexed.as_ref(), tail)).await);
        let mut refusals = Refusals::among(&keys);
        for key in &keys {
            if let Some(done) = self.object(key, indexed.as_ref(), &mut refusals).await? {
                indexed = Some(done.sequence.clone());
                told(done);
            }
        }
        if indexed == before {
            let (shard, sequence) = (&self.chain.shard, &tail.sequence);
            let is_past = self.since.zip(tail.arrival).is_some_and(|(since, arrival)| arrival < since);
            if is_past {
                tracing::info!(shard, %sequence, "all that is archived arrived before the time from which on to index");
            } else {
                // Waiting would not bring them back.
                tracing::error!(shard, %sequence, "objects of the archive are gone before they were indexed; `verify` says which");
            }
            told(Done { sequence: sequence.clone(), arrival: tail.arrival.unwrap_or(0) });
        }
        Ok(())
    }

    /// Keys of the objects that end after `indexed`, in the order of the chain; the oldest of them
    /// where they are many. Goes back from the end, hour by hour: nobody knows when the object after
    /// `indexed` was written.
    async fn keys(&self, indexed: Option<&SequenceNumber>, tail: &Tail) -> Result<Vec<String>, ArchiveError> {
        let mut found = BTreeMap::new();
        // An hour more at both ends: what arrived in one order may have been numbered in another.
        let mut hour = tail.arrival.unwrap_or_else(now).div_euclid(HOUR) * HOUR + HOUR;
        let (mut is_reached, mut empty) = (false, 0);
        loop {
            let was_reached = is_reached;
            let keys = self.hour(hour).await?;
            empty = if keys.is_empty() { empty + 1 } else { 0 };
            found.extend(keys);
            while found.len() > KEYS_MAX {
                found.pop_last();
            }
            if was_reached || hour <= self.since.unwrap_or(0) || empty == EMPTY_HOURS_MAX {
                break;
            }
            if empty == 0 {
                is_reached = self.is_oldest_missing(&found, indexed).await?;
            }
            hour -= HOUR;
        }
        // An object ends before the next one begins.
        let first = indexed.and_then(|indexed| Some(found.range(..=indexed.clone()).next_back()?.0.clone()));
        let missing = match first {
            Some(first) => found.split_off(&first),
            None => found,
        };
        Ok(missing.into_values().collect())
    }

    /// Whether no object before these ends after `indexed`.
    async fn is_oldest_missing(
        &self,
        found: &BTreeMap<SequenceNumber, String>,
        indexed: Option<&SequenceNumber>,
    ) -> Result<bool, ArchiveError> {
        let Some((first, key)) = found.first_key_value() else { return Ok(false) };
        if indexed.is_some_and(|indexed| first <= indexed) {
            return Ok(true);
        }
        let metadata = match self.chain.archive.head(key).await {
            // Older ones may be missing, too.
            Err(ArchiveError::Refused { .. }) => return Ok(false),
            answer => answer?.unwrap_or_default(),
        };
        let created: Option<Millis> = metadata.get("stream-created").and_then(|millis| millis.parse().ok());
        if created.zip(self.chain.stream_created).is_some_and(|(of_object, ours)| of_object != ours) {
            // Older ones are of an earlier stream, whose own processor has indexed them.
            return Ok(true);
        }
        let prev = metadata.get("prev-seq").and_then(|digits| SequenceNumber::new(digits));
        Ok(prev.is_none_or(|prev| indexed.is_some_and(|indexed| prev <= *indexed)))
    }

    /// The shard's objects of one hour of arrival, by their first record.
    async fn hour(&self, hour: Millis) -> Result<Vec<(SequenceNumber, String)>, ArchiveError> {
        let Chain { archive, stream, shard, .. } = &self.chain;
        hour_of_shard(&**archive, (stream, shard), hour).await
    }

    /// Indexes an object. `None` for one that has nothing new, or cannot be read.
    async fn object(
        &self,
        key: &str,
        indexed: Option<&SequenceNumber>,
        refusals: &mut Refusals<'_>,
    ) -> Result<Option<Done>, IndexError> {
        let Some((turn, object)) = self.get(key, refusals).await else { return Ok(None) };
        let Some(summary) = read_summary(&object) else {
            tracing::error!(key, "an object cannot be read and is not indexed; `verify` says more");
            return Ok(None);
        };
        let Summary { last_seq, last_arrival, stream_created, .. } = summary;
        if indexed.is_some_and(|indexed| last_seq <= *indexed) {
            return Ok(None);
        }
        self.bulker.meter.index_waits(&self.chain.shard, last_arrival);
        let bulker = Bulker { stream_created, ..self.bulker.clone() };
        rows(&bulker, key, (object, turn), &last_seq).await?;
        self.bulker.make_durable().await?;
        Ok(Some(Done { sequence: last_seq, arrival: last_arrival }))
    }

    /// An object, and the turn to have one. It is waited for without the turn, which other shards
    /// need. `None` for one that the archive refuses although it gives others: it may lie in a
    /// colder class of storage, or its key be gone.
    async fn get(&self, key: &str, refusals: &mut Refusals<'_>) -> Option<(SemaphorePermit<'_>, Bytes)> {
        let mut pause = Pause::default();
        loop {
            let turn = self.budget.object().await;
            let error = match self.chain.archive.get(key).await {
                Ok(object) => return Some((turn, object.unwrap_or_default())),
                Err(error) => error,
            };
            drop(turn);
            if !error.is_transient() {
                if refusals.are_of_single_objects() {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        key,
                        "the archive gives others and refuses this object: it is not indexed; `replay` does it \
                         once it can be read"
                    );
                    return None;
                }
                if self.gives_another(key, refusals.others).await {
                    // Asked once more: what was wrong may have been wrong for all until just now.
                    refusals.gave_another = Some(Instant::now());
                    continue;
                }
            }
            tell(&error);
            tokio::time::sleep(pause.next_pause()).await;
        }
    }

    /// Whether the archive gives the newest of `others`, which has had no time to get cold, or the
    /// oldest one.
    async fn gives_another(&self, refused: &str, others: &[String]) -> bool {
        let ends = [others.last(), others.first()];
        for other in ends.into_iter().flatten().filter(|key| *key != refused) {
            let _turn = self.budget.object().await;
            if let Ok(Some(_)) = self.chain.archive.get(other).await {
                return true;
            }
        }
        false
    }
}

/// Indexes the lines of an object as they are unpacked. After the last one the object is given up, and the turn
/// to have one: single documents may keep us waiting.
async fn rows(
    bulker: &Bulker,
    key: &str,
    (object, turn): (Bytes, SemaphorePermit<'_>),
    end: &SequenceNumber,
) -> Result<(), IndexError> {
    let mut rows = Rows::of(&object);
    let mut requests = Requests::of(bulker);
    let mut unread = Unread { bulker, record: None };
    let id = requests.begin(end, 0);
    loop {
        match rows.next_row() {
            Ok(None) => break,
            Ok(Some(Row::Event(event))) => {
                if let Some(document) = Document::for_index(&event) {
                    requests.add(id, end, document).await;
                }
            }
            Ok(Some(Row::Record(record))) => unread.add(record).await,
            Ok(Some(Row::Summary | Row::Nothing)) => {}
            Ok(Some(Row::Broken)) => {
                tracing::error!(key, "a line of an object cannot be read and is not indexed");
            }
            Err(cause) => {
                let error = &cause as &dyn std::error::Error;
                tracing::error!(key, error, "an object is damaged and indexed in part; `verify` says more");
                break;
            }
        }
    }
    drop((object, turn));
    unread.keep().await;
    requests.finish(id).await
}

/// What could not be read when it came, record by record: what one has of it stands line by line in
/// an object, and is one object of dead letters, as it is when it is indexed at once.
struct Unread<'b> {
    bulker: &'b Bulker,
    record: Option<(SequenceNumber, Millis, Vec<Unreadable>)>,
}

impl Unread<'_> {
    /// Takes a line.
    async fn add(&mut self, RawRecord { sequence, arrival, reason, data, part }: RawRecord) {
        if self.record.as_ref().is_some_and(|(of, _, _)| *of != sequence) {
            self.keep().await;
        }
        let (_, _, parts) = self.record.get_or_insert_with(|| (sequence, arrival, Vec::new()));
        parts.push(Unreadable { data, reason, part });
    }

    /// Keeps what there is of a record.
    async fn keep(&mut self) {
        if let Some((sequence, arrival, parts)) = self.record.take() {
            self.bulker.unreadable(&sequence, arrival, &parts).await;
        }
    }
}

/// Objects that the archive refuses. One is passed over only where others are given: who may read
/// none waits, as somebody may help that, and nothing is left out.
struct Refusals<'a> {
    others: &'a [String],
    /// When the archive refused one, and then gave another.
    gave_another: Option<Instant>,
}

impl Refusals<'_> {
    fn among(others: &[String]) -> Refusals<'_> {
        Refusals { others, gave_another: None }
    }

    fn are_of_single_objects(&self) -> bool {
        self.gave_another.is_some_and(|at| at.elapsed() < GIVES_FOR)
    }
}

/// Makes a call until it is answered.
async fn until_answered<T, F>(mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, ArchiveError>>,
{
    let mut pause = Pause::default();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => tell(&error),
        }
        tokio::time::sleep(pause.next_pause()).await;
    }
}

fn tell(error: &ArchiveError) {
    tracing::error!(error = error as &dyn std::error::Error, "cannot read the archive; will try again");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Object;
    use crate::archive::window::{Window, read_key};
    use crate::decode::Decoder;
    use crate::decode::cases::{agents_events, framed};
    use crate::doubles::{MemoryArchive, MemoryIndex};
    use crate::index::flight::Flight;
    use crate::receive::Record;
    use crate::settings::Settings;
    use event::Format;
    use md5::{Digest, Md5};
    use std::sync::Mutex;
    use tokio::sync::mpsc;

    /// 2026-11-16, 12:00.
    const NOON: Millis = 1_794_830_400_000;

    /// A shard's chain, an object of one record each.
    struct Rig {
        archive: Arc<MemoryArchive>,
        index: Arc<MemoryIndex>,
        tail: Option<Tail>,
    }

    impl Rig {
        /// Records that arrived so many minutes after noon. Their numbers are 1, 2, 3...
        fn with(minutes: &[i64]) -> Rig {
            let mut rig = Rig { archive: Arc::default(), index: Arc::default(), tail: None };
            minutes.iter().for_each(|minute| rig.put(*minute, lines(rig.archive.keys().len())));
            rig
        }

        fn put(&mut self, minute: i64, data: Vec<u8>) {
            let decoder = Decoder::new(&Settings::new("s", "w".into()), "shard-0", Some(7), Arc::default());
            let (sequence, arrival) = (number(self.archive.keys().len() as u64 + 1), NOON + minute * 60_000);
            let prev = self.tail.as_ref().map(|tail| tail.sequence.clone());
            let mut window = Window::after(prev).of_stream_made_at(Some(7));
            window.push(&decoder.decode(Record { sequence: sequence.clone(), arrival, data: Bytes::from(data) }));
            let (_, object) = window.close("s", "shard-0").unwrap();
            self.archive.put(object);
            self.tail = Some(Tail { sequence, arrival: Some(arrival), stream_created: None, is_final: false });
        }

        fn catcher(&self) -> CatchUp {
            let bulker = Bulker {
                index: self.index.clone(),
                archive: self.archive.clone(),
                names: Settings::new("s", "w".into()).index,
                stream: "s".into(),
                stream_created: Some(7),
                shard: "shard-0".into(),
                meter: Arc::default(),
                flight: Arc::new(Flight::new(4, Arc::default())),
                flush_every: Duration::from_secs(1),
                is_patient: true,
            };
            let archive = self.archive.clone();
            let chain = Chain { archive, stream: "s".into(), shard: "shard-0".into(), stream_created: Some(7) };
            CatchUp { chain, bulker, budget: Arc::new(Budget::new(1 << 20)), since: None }
        }

        /// Catches up from `indexed`. Gives the cursors that were told.
        async fn catch_up(&self, indexed: Option<u64>) -> Vec<String> {
            self.catch_up_with(&self.catcher(), indexed).await
        }

        async fn catch_up_with(&self, catch_up: &CatchUp, indexed: Option<u64>) -> Vec<String> {
            let told = Mutex::new(Vec::new());
            let note = |done: Done| told.lock().unwrap().push(done.sequence.to_string());
            catch_up.run(indexed.map(number), self.tail.as_ref().unwrap(), note).await.unwrap();
            told.into_inner().unwrap()
        }

        fn refuse(&self, refused: &[usize]) {
            *self.archive.refuses.lock().unwrap() = refused.iter().map(|at| self.key(*at)).collect();
        }

        fn key(&self, at: usize) -> String {
            let mut keys = self.archive.keys();
            keys.sort_by_key(|key| read_key("s", key).unwrap().1);
            keys[at].clone()
        }
    }

    fn number(number: u64) -> SequenceNumber {
        SequenceNumber::new(&number.to_string()).unwrap()
    }

    /// A frame whose lines are those of no other one.
    fn lines(at: usize) -> Vec<u8> {
        let mut events = agents_events(Format::Auto);
        events.iter_mut().for_each(|event| event.offset += at as u64 * 1_000_000);
        framed(&events)
    }

    #[tokio::test]
    async fn only_the_objects_behind_the_cursor_are_read_in_the_order_of_the_chain() {
        // A quiet night in between, and arrivals that are not in the order of the numbers.
        let rig = Rig::with(&[0, 1, 59, 61, 60, 59, 900, 901]);
        assert_eq!(rig.catch_up(Some(3)).await, ["4", "5", "6", "7", "8"]);
        let read = rig.archive.read.lock().unwrap().clone();
        let expected: Vec<_> = (2..8).map(|at| rig.key(at)).collect();
        assert_eq!(read, expected, "the object that ends with the cursor may have gone on behind it");
        assert_eq!(rig.catch_up(None).await.len(), 8);
        assert_eq!(rig.catch_up(Some(7)).await, ["8"]);
    }

    #[tokio::test]
    async fn a_damaged_object_is_indexed_as_far_as_it_goes_and_stops_nobody() {
        let rig = Rig::with(&[0, 1, 2, 3]);
        let cut = rig.archive.remove(&rig.key(1));
        rig.archive.put(Object { bytes: cut.bytes.slice(..cut.bytes.len() - 9), ..cut });
        let broken = rig.archive.remove(&rig.key(2));
        rig.archive.put(Object { bytes: Bytes::from_static(b"junk"), ..broken });
        assert_eq!(rig.catch_up(None).await, ["1", "2", "4"]);
    }

    #[tokio::test]
    async fn an_object_that_is_gone_is_not_waited_for() {
        let rig = Rig::with(&[0, 1]);
        rig.archive.remove(&rig.key(1));
        assert_eq!(rig.catch_up(Some(1)).await, ["2"]);
    }

    #[tokio::test]
    async fn a_record_that_could_not_be_read_is_the_same_dead_letter_that_it_would_have_been_at_once() {
        let mut rig = Rig::with(&[0]);
        rig.put(1, b"\xff\x00".to_vec());
        rig.put(2, Vec::new());
        rig.catch_up(Some(1)).await;
        let letters: Vec<_> = rig.archive.keys().into_iter().filter(|key| key.starts_with("dead-letter/")).collect();
        assert_eq!(letters.len(), 1, "an empty record is none");
        rig.catch_up(Some(1)).await;
        assert!(letters[0].starts_with("dead-letter/s/shard-0/001-2-0-"), "{letters:?}");
        assert_eq!(rig.archive.keys().len(), 4, "the same one again");
    }

    #[tokio::test]
    async fn a_bad_aggregate_is_one_object_of_dead_letters_however_often_it_is_indexed() {
        // Records of an aggregate: text, no text, nothing at all, no text; and what is none behind them.
        let message = b"\x1a\x03\x1a\x01a\x1a\x03\x1a\x01\xff\x1a\x00\x1a\x03\x1a\x01\xfe\x1a\x7f";
        let aggregate = [&b"\xf3\x89\x9a\xc2"[..], message, &Md5::digest(message)].concat();
        let mut rig = Rig::with(&[0]);
        rig.put(1, aggregate.clone());
        rig.put(1, b"\xff\x00".to_vec());
        let decoder = Decoder::new(&Settings::new("s", "w".into()), "shard-0", Some(7), Arc::default());
        let (send, live) = mpsc::channel(2);
        for (sequence, data) in [(2, aggregate), (3, b"\xff\x00".to_vec())] {
            let record = Record { sequence: number(sequence), arrival: NOON + 60_000, data: Bytes::from(data) };
            send.send(Arc::new(decoder.decode(record))).await.unwrap();
        }
        drop(send);
        rig.catcher().bulker.run(live, |_| ()).await.unwrap();
        let keys = rig.archive.keys();
        let letters = keys.iter().filter(|key| key.starts_with("dead-letter/")).count();
        assert_eq!(letters, 2, "{keys:?}");
        rig.catch_up(Some(1)).await;
        assert_eq!(rig.archive.keys(), keys, "nothing comes of catching up");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_the_archive_refuses_while_it_gives_others_stops_nobody() {
        let rig = Rig::with(&[0, 1, 2, 3, 4]);
        rig.refuse(&[1, 2]);
        let ended = tokio::time::timeout(Duration::from_secs(60), rig.catch_up(None)).await;
        assert_eq!(ended.expect("it goes on"), ["1", "4", "5"]);
        rig.refuse(&[4]);
        let ended = tokio::time::timeout(Duration::from_secs(60), rig.catch_up(Some(4))).await;
        assert_eq!(ended.expect("it goes on"), ["5"], "the last one is refused, and one before is not");
    }

    #[tokio::test(start_paused = true)]
    async fn an_archive_that_refuses_all_objects_is_waited_for_and_keeps_no_turn_from_others() {
        let rig = Rig::with(&[0, 1, 2]);
        rig.refuse(&[0, 1, 2]);
        let catch_up = rig.catcher();
        let caught = rig.catch_up_with(&catch_up, None);
        tokio::pin!(caught);
        assert!(tokio::time::timeout(Duration::from_secs(600), &mut caught).await.is_err(), "nothing is passed over");
        let turn = tokio::time::timeout(Duration::from_secs(60), catch_up.budget.object()).await;
        drop(turn.expect("who waits has no turn"));
        rig.refuse(&[]);
        assert_eq!(caught.await, ["1", "2", "3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_the_index_fails_with_keeps_the_turn_from_no_other_shard() {
        let rig = Rig::with(&[0, 1]);
        *rig.index.fails.lock().unwrap() = Some("union");
        let catch_up = rig.catcher();
        let caught = rig.catch_up_with(&catch_up, None);
        tokio::pin!(caught);
        assert!(
            tokio::time::timeout(Duration::from_secs(10), &mut caught).await.is_err(),
            "it is put again for a while"
        );
        let turn = tokio::time::timeout(Duration::from_secs(1), catch_up.budget.object()).await;
        drop(turn.expect("who waits for one document has no turn"));
        assert_eq!(caught.await, ["1", "2"]);
        assert_eq!(catch_up.bulker.meter.dead_letters(), 2);
    }

    #[tokio::test]
    async fn hours_before_the_one_that_is_asked_for_are_not_looked_into() {
        let rig = Rig::with(&[0, 59, 61, 130, 200]);
        let since = |minutes: i64| CatchUp { since: Some(NOON + minutes * 60_000), ..rig.catcher() };
        assert_eq!(rig.catch_up_with(&since(62), None).await, ["3", "4", "5"]);
        assert_eq!(rig.catch_up_with(&since(62), Some(4)).await, ["5"]);
        assert_eq!(rig.catch_up_with(&since(0), None).await, ["1", "2", "3", "4", "5"]);
        rig.archive.read.lock().unwrap().clear();
        assert_eq!(rig.catch_up_with(&since(300), None).await, ["5"], "all is older, and counts as indexed");
        assert_eq!(rig.archive.read.lock().unwrap().len(), 0);
    }
}
