//! Events into the index, until each is there or dead-lettered.
//!
//! ```text
//! record -> documents -> request \
//! record -> documents ---^    request -> settled -> ledger -> flush -> cursor
//! ```
//!
//! A request holds documents of one or several records, and several requests are under way.

use super::flight::{Answer, Flight, Parked};
use super::ledger::{Done, Ledger, RecordId};
use super::{Index, IndexError, Item, Verdict};
use crate::archive::Archive;
use crate::archive::dead::{self, DeadLetter};
use crate::decode::{Content, Decoded, Unreadable};
use crate::meter::{Class, Meter};
use crate::rarely::Rarely;
use crate::receive::SequenceNumber;
use event::document::IndexNames;
use event::pause::Pause;
use event::{Document, Event, EventId, Millis};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Documents in one request; more gains nothing (OpenSearch, "Bulk", recommends 1,000 to 5,000).
const DOCUMENTS_MAX: usize = 1_000;

/// Bytes of one request: what some hundred documents have, and little enough for several in 64 MB,
/// where each stands twice for a moment.
const BYTES_MAX: usize = 1 << 20;

/// Everything that indexing one shard needs.
#[derive(Clone)]
pub struct Bulker {
    pub index: Arc<dyn Index>,
    pub archive: Arc<dyn Archive>,
    pub names: IndexNames,
    pub stream: String,
    /// When the stream was made whose records these are.
    pub stream_created: Option<Millis>,
    pub shard: String,
    pub meter: Arc<Meter>,
    pub flight: Arc<Flight>,
    /// How long documents may be in the index without being searchable.
    pub flush_every: Duration,
    /// Whether an index that refuses us as a whole, or does not answer, is waited for. Somebody may help it while the
    /// stream is read; a command ends and says so.
    pub is_patient: bool,
}

/// So often a command asks an index that does not answer: half a minute of pauses.
const TRIES_MAX: usize = 9;

/// So often a document is put that the index fails with while it takes others: some seconds of pauses.
const FAILED_MAX: usize = 6;

/// Says at most every ten seconds that the index does not take documents.
static NOT_INDEXED: Rarely = Rarely::every(Duration::from_secs(10));

/// Says at most every ten seconds that documents are dead.
static DEAD: Rarely = Rarely::every(Duration::from_secs(10));

impl Bulker {
    /// Indexes records as they come. `indexed` hears how far all is durable.
    ///
    /// # Errors
    /// [`IndexError::Lost`]: the records after the last one that `indexed` heard of must
    /// be indexed again.
    pub async fn run<R: Deref<Target = Decoded>>(
        &self,
        mut records: mpsc::Receiver<R>,
        indexed: impl Fn(Done),
    ) -> Result<(), IndexError> {
        let mut requests = Requests::of(self);
        let (mut done, mut deadline, mut is_open) = (None, Instant::now(), true);
        while is_open || requests.are_under_way() {
            tokio::select! {
                record = records.recv(), if is_open => match record {
                    Some(record) => {
                        requests.record(&record).await;
                        drop(record);
                        if records.is_empty() {
                            requests.send();
                        }
                    }
                    None => {
                        requests.send();
                        is_open = false;
                    }
                },
                settled = requests.settled(), if requests.are_under_way() => settled?,
                () = tokio::time::sleep_until(deadline), if done.is_some() => self.flush(&mut done, &indexed).await?,
            }
            if let Some(further) = requests.ledger.done()
                && done.replace(further).is_none()
            {
                deadline = Instant::now() + self.flush_every;
            }
        }
        self.flush(&mut done, &indexed).await
    }

    /// Makes durable what has been put, and tells so.
    async fn flush(&self, done: &mut Option<Done>, indexed: &impl Fn(Done)) -> Result<(), IndexError> {
        let Some(reached) = done.take() else { return Ok(()) };
        self.make_durable().await?;
        indexed(reached);
        Ok(())
    }

    /// Makes durable what has been put.
    pub async fn make_durable(&self) -> Result<(), IndexError> {
        let mut pause = Pause::default();
        loop {
            match self.index.flush().await {
                Ok(()) => return Ok(()),
                Err(lost @ IndexError::Lost(_)) => return Err(lost),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "not durable in the index yet; will try again"
                ),
            }
            tokio::time::sleep(pause.next_pause()).await;
        }
    }

    /// Keeps what of a record could not be read.
    pub async fn unreadable(&self, sequence: &SequenceNumber, arrival: Millis, parts: &[Unreadable]) {
        if let Some(Unreadable { reason, .. }) = parts.first()
            && let Some(more) = DEAD.now()
        {
            tracing::warn!(shard = self.shard, %sequence, reason, more, "a record cannot be read; it is archived and dead-lettered");
        }
        let letters: Vec<_> = parts.iter().map(|part| DeadLetter::record(part, arrival, self.stream_created)).collect();
        if !letters.is_empty() {
            self.keep(sequence, 0, &letters).await;
            self.meter.dead(Class::Record, letters.len() as u64);
        }
    }

    /// Indexes events of one record or object.
    pub async fn events(
        &self,
        sequence: &SequenceNumber,
        events: impl Iterator<Item = &Event>,
    ) -> Result<(), IndexError> {
        self.documents(sequence, events.filter_map(Document::for_index)).await
    }

    /// Indexes documents of one record or object, and takes them as there is room for them.
    pub async fn documents(
        &self,
        sequence: &SequenceNumber,
        documents: impl Iterator<Item = Document>,
    ) -> Result<(), IndexError> {
        let mut requests = Requests::of(self);
        let id = requests.begin(sequence, 0);
        for document in documents {
            requests.add(id, sequence, document).await;
        }
        requests.finish(id).await
    }

    /// Puts the documents of a request, and keeps those that are refused. Answers with the records
    /// that it held documents of.
    async fn request(self, request: Request) -> Result<BTreeSet<RecordId>, IndexError> {
        let dead = self.settle(request.items).await?;
        if let Some(letter) = dead.first()
            && let Some(more) = DEAD.now()
        {
            let (reason, letters) = (&letter.reason, dead.len());
            tracing::warn!(
                shard = self.shard,
                letters,
                reason,
                more,
                "the index refuses documents; they are dead letters now"
            );
        }
        if !dead.is_empty() {
            self.keep(&request.sequence, 1, &dead).await;
        }
        Ok(request.records)
    }

    /// Puts documents until each has its final verdict. Returns those that are refused. Fails for a
    /// command, if the index refuses us or does not answer for half a minute.
    pub async fn settle(&self, mut items: Vec<Item>) -> Result<Vec<DeadLetter>, IndexError> {
        let (mut pause, mut at_once) = (Pause::default(), items.len());
        let (mut dead, mut parked, mut tries) = (Vec::new(), None, 0);
        let mut failing = Failing::new();
        while !items.is_empty() {
            let now = items.len().min(at_once);
            match self.put(&items[..now]).await {
                Ok(verdicts) => {
                    let sorted = self.sort(items.drain(..now).collect(), verdicts, &mut failing, &mut dead);
                    let waiting = self.park(sorted, &mut parked, &mut dead);
                    tries = if waiting.len() < now { 0 } else { tries + 1 };
                    if !self.is_patient && tries == TRIES_MAX {
                        return Err(IndexError::Transient("it takes none of the documents".into()));
                    }
                    if waiting.is_empty() {
                        pause = Pause::default();
                        continue;
                    }
                    items.splice(..0, waiting);
                }
                Err(IndexError::TooLarge) if now > 1 => {
                    at_once = now / 2;
                    continue;
                }
                Err(IndexError::TooLarge) => {
                    dead.push(self.bury(Class::Size, &items.remove(0), IndexError::TooLarge.to_string()));
                    continue;
                }
                Err(lost @ IndexError::Lost(_)) => return Err(lost),
                Err(denied @ IndexError::Denied(_)) if !self.is_patient => return Err(denied),
                Err(error) => {
                    self.complain(&error);
                    tries += 1;
                    if !self.is_patient && tries == TRIES_MAX {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(pause.next_pause()).await;
        }
        Ok(dead)
    }

    /// Puts documents once, when it is their turn.
    async fn put(&self, items: &[Item]) -> Result<Vec<Verdict>, IndexError> {
        let turn = self.flight.turn().await;
        let answer = self.index.bulk(items).await;
        turn.ended(kind(&answer));
        let verdicts = answer?;
        assert_eq!(verdicts.len(), items.len(), "one verdict for each document");
        Ok(verdicts)
    }

    /// Settles what has its verdict, and returns what has not.
    fn sort(
        &self,
        items: Vec<Item>,
        verdicts: Vec<Verdict>,
        failing: &mut Failing,
        dead: &mut Vec<DeadLetter>,
    ) -> Sorted {
        let (mut sorted, mut working, mut failed) = (Sorted::default(), BTreeSet::new(), Vec::new());
        let now = Instant::now();
        for (item, verdict) in items.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Done { created } => {
                    self.meter.indexed(&item.document, created);
                    working.insert(item.index);
                }
                Verdict::Retry(_) => sorted.later.push(item),
                Verdict::Failed(reason) => failed.push((item, reason)),
                Verdict::Blocked(reason) if self.is_patient && self.flight.is_worth_waiting(&item.index) => {
                    sorted.blocked.push((item, reason));
                }
                Verdict::Blocked(reason) => dead.push(self.bury(Class::Index, &item, reason)),
                Verdict::Dead(reason) => dead.push(self.bury(Class::Document, &item, reason)),
            }
        }
        working.iter().for_each(|index| self.flight.works(index));
        for (item, reason) in failed {
            let (since, times) = failing.entry(item.id()).or_insert((now, 0));
            *times += 1;
            if *times >= FAILED_MAX && (!self.is_patient || self.flight.has_taken(&item.index, *since)) {
                dead.push(self.bury(Class::Document, &item, reason));
            } else {
                sorted.later.push(item);
            }
        }
        sorted
    }

    /// What is to be put again. Documents that wait for their index alone need a place for that;
    /// where none is free, they are dead.
    fn park<'f>(&'f self, sorted: Sorted, parked: &mut Option<Parked<'f>>, dead: &mut Vec<DeadLetter>) -> Vec<Item> {
        let Sorted { mut later, blocked } = sorted;
        if blocked.is_empty() {
            *parked = None;
        } else if later.is_empty() && parked.is_none() {
            *parked = self.flight.park();
        }
        if parked.is_none() && later.is_empty() {
            dead.extend(blocked.into_iter().map(|(item, reason)| self.bury(Class::Index, &item, reason)));
        } else {
            later.extend(blocked.into_iter().map(|(item, _)| item));
        }
        later
    }

    fn bury(&self, class: Class, item: &Item, reason: String) -> DeadLetter {
        self.meter.dead(class, 1);
        DeadLetter::document(item, reason)
    }

    fn complain(&self, error: &IndexError) {
        if let Some(more) = NOT_INDEXED.now() {
            tracing::error!(
                error = error as &dyn std::error::Error,
                shard = self.shard,
                more,
                "not indexed yet; will try again"
            );
        }
    }

    async fn keep(&self, sequence: &SequenceNumber, part: usize, letters: &[DeadLetter]) {
        let mut pause = Pause::default();
        while let Err(error) = dead::keep(&*self.archive, (&self.stream, &self.shard), sequence, part, letters).await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot keep dead letters; will try again");
            tokio::time::sleep(pause.next_pause()).await;
        }
    }
}

/// Documents that the index fails with: since when, and how often.
type Failing = BTreeMap<EventId, (Instant, usize)>;

/// Documents without their final verdict.
#[derive(Default)]
struct Sorted {
    later: Vec<Item>,
    /// Those whose index is in trouble, with the reason.
    blocked: Vec<(Item, String)>,
}

/// What an answer says about the index as a whole.
fn kind(answer: &Result<Vec<Verdict>, IndexError>) -> Answer {
    match answer {
        Ok(verdicts) if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Retry(_))) => Answer::Overloaded,
        Ok(verdicts) if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Failed(_))) => Answer::Overloaded,
        Ok(_) | Err(IndexError::TooLarge | IndexError::Lost(_)) => Answer::Taken,
        Err(IndexError::Transient(_)) => Answer::Overloaded,
        Err(IndexError::Denied(_)) => Answer::Refused,
    }
}

/// A request that is being filled, and its place.
struct Request {
    items: Vec<Item>,
    bytes: usize,
    records: BTreeSet<RecordId>,
    /// The first of these records.
    sequence: SequenceNumber,
    _seat: OwnedSemaphorePermit,
}

/// Requests of one shard: one that is being filled, and those under way. They end with this.
pub struct Requests<'b> {
    bulker: &'b Bulker,
    filling: Option<Request>,
    under_way: JoinSet<Result<BTreeSet<RecordId>, IndexError>>,
    ledger: Ledger,
}

impl<'b> Requests<'b> {
    /// None yet.
    pub fn of(bulker: &'b Bulker) -> Requests<'b> {
        Requests { bulker, filling: None, under_way: JoinSet::new(), ledger: Ledger::default() }
    }

    /// Notes a record, or an object, whose documents come next.
    pub fn begin(&mut self, sequence: &SequenceNumber, arrival: Millis) -> RecordId {
        self.ledger.begin(Done { sequence: sequence.clone(), arrival })
    }

    /// Adds a document. Waits for a place if it needs another request.
    pub async fn add(&mut self, id: RecordId, sequence: &SequenceNumber, document: Document) {
        if self.filling.is_none() {
            let seat = self.bulker.flight.seat().await;
            let (items, records, sequence) = (Vec::new(), BTreeSet::new(), sequence.clone());
            self.filling = Some(Request { items, bytes: 0, records, sequence, _seat: seat });
        }
        let request = self.filling.as_mut().expect("it was made above");
        if request.records.insert(id) {
            self.ledger.sent(id);
        }
        request.bytes += document.body.len();
        request.items.push(Item { index: self.bulker.names.of(&document), document });
        if request.items.len() >= DOCUMENTS_MAX || request.bytes >= BYTES_MAX {
            self.send();
        }
    }

    /// Adds all documents of a record, and keeps what could not be read.
    async fn record(&mut self, record: &Decoded) {
        let Content { events, unreadable, .. } = &record.content;
        let id = self.begin(&record.sequence, record.arrival);
        self.bulker.unreadable(&record.sequence, record.arrival, unreadable).await;
        for document in events.iter().filter_map(|(_, event)| Document::for_index(event)) {
            self.add(id, &record.sequence, document).await;
        }
        self.ledger.filled(id);
    }

    /// Sends what is there.
    fn send(&mut self) {
        if let Some(request) = self.filling.take() {
            self.under_way.spawn(self.bulker.clone().request(request));
        }
    }

    fn are_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Waits for the next one to be settled. Cancel safe.
    async fn settled(&mut self) -> Result<(), IndexError> {
        if let Some(ended) = self.under_way.join_next().await {
            let records = ended.expect("indexing does not panic")?;
            records.into_iter().for_each(|id| self.ledger.settled(id));
        }
        Ok(())
    }

    /// Sends the rest of what was begun last, and waits until all is settled.
    pub async fn finish(&mut self, id: RecordId) -> Result<(), IndexError> {
        self.ledger.filled(id);
        self.send();
        while self.are_under_way() {
            self.settled().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{ArchiveError, Created, Metadata, Object};
    use crate::index::flight::TROUBLE_MAX;
    use async_trait::async_trait;
    use bytes::Bytes;
    use event::document::IndexPeriod;
    use event::line::Host;
    use event::{Format, HostKey, Origin};
    use std::collections::VecDeque;
    use std::sync::Mutex;

    type Answer = Result<Vec<Verdict>, IndexError>;

    /// Answers from a script, and `Done` after it; notes the offsets that were asked for.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Answer>>,
        asked: Mutex<Vec<usize>>,
    }

    #[async_trait]
    impl Index for Scripted {
        async fn bulk(&self, items: &[Item]) -> Answer {
            self.asked.lock().unwrap().push(items.len());
            let done = || Ok(vec![Verdict::Done { created: true }; items.len()]);
            self.answers.lock().unwrap().pop_front().unwrap_or_else(done)
        }

        async fn flush(&self) -> Result<(), IndexError> {
            Ok(())
        }
    }

    /// Keeps what it is given.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Object>>);

    #[async_trait]
    impl Archive for Kept {
        async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
            self.0.lock().unwrap().push(object.clone());
            Ok(Created::Yes)
        }

        async fn head(&self, _: &str) -> Result<Option<Metadata>, ArchiveError> {
            Ok(None)
        }

        async fn get(&self, _: &str) -> Result<Option<Bytes>, ArchiveError> {
            Ok(None)
        }

        async fn list(&self, _: &str, _: &str) -> Result<Vec<String>, ArchiveError> {
            Ok(Vec::new())
        }
    }

    fn events(count: u64) -> Vec<Event> {
        let host = Host { id: "h".into(), name: "h".into() };
        let life = HostKey::derive("h").life("/x", b"first");
        let origin = Arc::new(Origin::new(host, "/x", life, Format::Auto));
        let event = |offset| Event::new(origin.clone(), offset, b"odd".to_vec(), 0);
        (0..count).map(event).collect()
    }

    fn bulker(index: Arc<Scripted>, archive: Arc<Kept>) -> Bulker {
        Bulker {
            index,
            archive,
            names: IndexNames { prefix: "twosec".into(), period: IndexPeriod::Day, from: None, until: None },
            stream: "s".into(),
            stream_created: Some(7),
            shard: "shard-0".into(),
            meter: Arc::default(),
            flight: Arc::new(Flight::new(1, Arc::default())),
            flush_every: Duration::from_secs(1),
            is_patient: true,
        }
    }

    /// Indexes `count` events against a script. Gives the sizes of the requests, and
    /// dead letters' texts.
    async fn index(count: u64, answers: impl IntoIterator<Item = Answer>) -> (Vec<usize>, Vec<String>) {
        let scripted = Arc::new(Scripted { answers: Mutex::new(answers.into_iter().collect()), ..Scripted::default() });
        let kept = Arc::new(Kept::default());
        let bulker = bulker(scripted.clone(), kept.clone());
        let sequence = SequenceNumber::new("7").unwrap();
        bulker.events(&sequence, events(count).iter()).await.unwrap();
        let asked = scripted.asked.lock().unwrap().clone();
        let texts =
            kept.0.lock().unwrap().iter().map(|object| format!("{} {}", object.key, unpacked(object))).collect();
        (asked, texts)
    }

    #[tokio::test]
    async fn what_is_for_the_archive_alone_is_not_indexed() {
        let scripted = Arc::new(Scripted::default());
        let bulker = bulker(scripted.clone(), Arc::default());
        let mut events = events(4);
        events[0].duplicate_of = Some("/y".into());
        (events[1].line, events[2].line) = (b"==> /y <==".to_vec(), Vec::new());
        bulker.events(&SequenceNumber::new("7").unwrap(), events.iter()).await.unwrap();
        assert_eq!(*scripted.asked.lock().unwrap(), [2], "a blank line of a log is one");
    }

    fn unpacked(object: &Object) -> String {
        std::io::read_to_string(flate2::read::GzDecoder::new(&object.bytes[..])).unwrap()
    }

    const DONE: Verdict = Verdict::Done { created: true };

    #[tokio::test(start_paused = true)]
    async fn only_the_documents_that_the_index_wants_again_are_sent_again() {
        let retry = || Verdict::Retry("429".into());
        let script = [Ok(vec![DONE, retry(), DONE, retry()]), Ok(vec![retry(), DONE])];
        let (asked, dead) = index(4, script).await;
        assert_eq!((asked, dead), (vec![4, 2, 1], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_the_index_refuses_is_a_dead_letter_with_its_reason() {
        let script = [Ok(vec![DONE, Verdict::Dead("mapper_parsing_exception".into())])];
        let (asked, dead) = index(2, script).await;
        assert_eq!(asked, [2]);
        let (key, letter) = dead[0].split_once(' ').unwrap();
        assert!(key.starts_with("dead-letter/s/shard-0/001-7-1-") && key.ends_with(".ndjson.gz"), "{key}");
        assert!(letter.starts_with("{\"reason\":\"mapper_parsing_exception\",\"id\":\""), "{letter}");
        assert!(dead[0].contains("\"index\":\"twosec-undated\",\"document\":{\"@timestamp\""));
    }

    #[tokio::test(start_paused = true)]
    async fn documents_of_a_closed_index_are_dead_after_two_minutes() {
        let begun = Instant::now();
        let script = (0..1_000).map(|_| Ok(vec![Verdict::Blocked("index_closed_exception".into())]));
        let (_, dead) = index(1, script).await;
        assert_eq!(dead.len(), 1);
        assert!((TROUBLE_MAX..2 * TROUBLE_MAX).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_of_the_index_kills_no_document_however_long_it_lasts() {
        let script = (0..200).map(|_| Ok(vec![Verdict::Retry("cluster_block_exception".into())]));
        let (asked, dead) = index(1, script).await;
        assert_eq!((asked.len(), dead.len()), (201, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_the_index_fails_with_while_it_takes_others_is_a_dead_letter() {
        let failed = || Verdict::Failed("null_pointer_exception".into());
        let script = std::iter::once(Ok(vec![DONE, failed()])).chain((0..1_000).map(|_| Ok(vec![failed()])));
        let (asked, dead) = index(2, script).await;
        assert_eq!((asked.len(), dead.len()), (FAILED_MAX, 1));
        assert!(dead[0].contains("null_pointer_exception"), "{dead:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_that_fails_with_all_documents_is_waited_for_however_long_it_lasts() {
        let failed = || Ok(vec![Verdict::Failed("node_closed_exception".into()); 2]);
        let (asked, dead) = index(2, (0..200).map(|_| failed())).await;
        assert_eq!((asked.len(), dead.len()), (201, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_too_large_is_halved() {
        let (asked, dead) = index(8, [Err(IndexError::TooLarge), Err(IndexError::TooLarge)]).await;
        assert_eq!((asked, dead), (vec![8, 4, 2, 2, 2, 2], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_ends_where_the_index_refuses_it() {
        let denied = || Err(IndexError::Denied("403 Forbidden".into()));
        let scripted = Arc::new(Scripted { answers: Mutex::new([denied()].into()), ..Scripted::default() });
        let bulker = Bulker { is_patient: false, ..bulker(scripted.clone(), Arc::default()) };
        let ended = bulker.events(&SequenceNumber::new("7").unwrap(), events(3).iter()).await;
        assert_eq!(ended.unwrap_err().to_string(), "the index refuses us: 403 Forbidden");
        assert_eq!(index(3, [denied()]).await.0, [3, 3], "the stream's reader waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_ends_where_the_index_does_not_answer_for_half_a_minute() {
        let away = |_| Err(IndexError::Transient("connection refused".into()));
        let asked = async |times: usize| {
            let answers = Mutex::new((0..times).map(away).collect());
            let scripted = Arc::new(Scripted { answers, ..Scripted::default() });
            let bulker = Bulker { is_patient: false, ..bulker(scripted.clone(), Arc::default()) };
            bulker.events(&SequenceNumber::new("7").unwrap(), events(3).iter()).await
        };
        assert!(asked(TRIES_MAX - 1).await.is_ok());
        assert_eq!(asked(TRIES_MAX).await.unwrap_err().to_string(), "the index did not answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_waits_without_end_neither_for_one_document_nor_for_an_index_that_takes_none() {
        let ended = async |verdict: Verdict| {
            let answers = Mutex::new((0..100).map(|_| Ok(vec![verdict.clone()])).collect());
            let scripted = Arc::new(Scripted { answers, ..Scripted::default() });
            let bulker = Bulker { is_patient: false, ..bulker(scripted.clone(), Arc::default()) };
            let ended = bulker.events(&SequenceNumber::new("7").unwrap(), events(1).iter()).await;
            (ended.is_ok(), bulker.meter.dead_letters_of(Class::Document))
        };
        assert_eq!(ended(Verdict::Failed("null_pointer_exception".into())).await, (true, 1));
        assert_eq!(ended(Verdict::Retry("429".into())).await, (false, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_that_is_away_is_asked_until_it_is_back() {
        let away = |_| Err(IndexError::Transient("connection refused".into()));
        let (asked, _) = index(3, (0..50).map(away)).await;
        assert_eq!(asked.len(), 51);
    }

    /// Keeps the first request for ten seconds, and takes all others at once; refuses what
    /// belongs into a closed index.
    #[derive(Default)]
    struct SlowFirst {
        asked: Mutex<usize>,
        closed: Option<&'static str>,
    }

    #[async_trait]
    impl Index for SlowFirst {
        async fn bulk(&self, items: &[Item]) -> Answer {
            let number = {
                let mut asked = self.asked.lock().unwrap();
                *asked += 1;
                *asked
            };
            if number == 1 {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            let verdict = |item: &Item| match self.closed {
                Some(closed) if item.index == closed => Verdict::Blocked("index_closed_exception".into()),
                _ => DONE,
            };
            Ok(items.iter().map(verdict).collect())
        }

        async fn flush(&self) -> Result<(), IndexError> {
            Ok(())
        }
    }

    fn record(number: u64) -> Arc<Decoded> {
        let events = events(2).into_iter().map(|event| (event.id(&event.parsed()), event)).collect();
        let content = Content { events, ..Content::default() };
        Arc::new(Decoded { sequence: SequenceNumber::new(&number.to_string()).unwrap(), arrival: 0, content })
    }

    fn bulker_with(index: SlowFirst, most: usize) -> Bulker {
        let flight = Arc::new(Flight::new(most, Arc::default()));
        Bulker { index: Arc::new(index), flight, ..bulker(Arc::default(), Arc::default()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_waits_for_the_request_that_is_slow_and_not_for_its_turn() {
        let bulker = bulker_with(SlowFirst::default(), 4);
        let (send, records) = mpsc::channel(9);
        let (begun, told) = (Instant::now(), Mutex::new(Vec::new()));
        let put = async {
            for number in 1..=3 {
                send.send(record(number)).await.unwrap();
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            drop(send);
        };
        let indexed = |done: Done| told.lock().unwrap().push((begun.elapsed().as_secs(), done.sequence.to_string()));
        let (ended, ()) = tokio::join!(bulker.run(records, indexed), put);
        ended.unwrap();
        assert_eq!(*told.lock().unwrap(), [(10, "3".to_owned())], "all others were done meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn records_that_come_while_all_requests_are_under_way_share_the_next_one() {
        let index = Arc::new(SlowFirst::default());
        let bulker = Bulker { index: index.clone(), ..bulker_with(SlowFirst::default(), 1) };
        let (send, records) = mpsc::channel(99);
        let put = async {
            for number in 1..=50 {
                send.send(record(number)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            drop(send);
        };
        let (ended, ()) = tokio::join!(bulker.run(records, |_| ()), put);
        ended.unwrap();
        assert_eq!(*index.asked.lock().unwrap(), 3, "one is under way, one waits for its turn, and all others");
    }

    #[tokio::test(start_paused = true)]
    async fn documents_of_other_indices_go_on_while_one_is_closed() {
        others_go_on_while_one_is_closed(4).await;
        others_go_on_while_one_is_closed(1).await;
    }

    async fn others_go_on_while_one_is_closed(most: usize) {
        let closed = Some("twosec-2026.11.15");
        let bulker = bulker_with(SlowFirst { closed, asked: Mutex::new(1) }, most);
        let into = |days: &[i32]| {
            let document = |day: &i32| Document {
                id: event::EventId([*day as u8; 16]),
                day: Some(event::Day(*day)),
                revision: None,
                ruleset: None,
                body: b"{}".to_vec(),
            };
            days.iter().map(document).collect::<Vec<_>>()
        };
        // 2026-11-15 is day 20,772 since 1970.
        let (late, fine) = (into(&[20_772]), into(&[20_773]));
        let sequence = SequenceNumber::new("7").unwrap();
        let waiting: Vec<_> = (0..6).map(|_| bulker.documents(&sequence, late.clone().into_iter())).collect();
        let begun = Instant::now();
        let (_, took) = tokio::join!(futures::future::join_all(waiting), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            bulker.documents(&sequence, fine.into_iter()).await.unwrap();
            begun.elapsed()
        });
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(bulker.meter.dead_letters_of(Class::Index), 6);
    }
}
