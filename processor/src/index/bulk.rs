//! Events into the index, until each is there or dead-lettered.
//!
//! ```text
//! record -> documents -> request \
//! record -> documents ---^    request -> settled -> ledger -> flush -> cursor
//! ```
//!
//! A request holds documents of one or several records, and several requests are under way.

use super::flight::{Answer, Flight, Parked};
use super::indices::{Fault, RED_MAX, TROUBLE_MAX};
use super::ledger::{Done, Ledger, RecordId};
use super::{Index, IndexError, Item, Overall, Verdict};
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

/// So often, and for so long, a document is put that the index fails with while it takes others; so often alone,
/// where there is no place for it that others do not need.
const FAILED_MAX: usize = 6;
const FAILED_FOR: Duration = Duration::from_secs(30);

/// For so long documents of an index that is blocked keep others waiting, where there is no other place for them.
const BLOCKED_MAX: Duration = Duration::from_secs(15);

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
    /// command, if the index refuses us, or does not answer or takes none of them for half a minute.
    pub async fn settle(&self, mut items: Vec<Item>) -> Result<Vec<DeadLetter>, IndexError> {
        let (mut pause, mut at_once) = (Pause::default(), items.len());
        let (mut dead, mut parked, mut tries) = (Vec::new(), None, 0);
        let mut failing = Failing::new();
        while !items.is_empty() {
            self.give_up(&mut items, &mut dead);
            if items.is_empty() {
                break;
            }
            let now = items.len().min(at_once);
            match self.put(&mut items, now, !failing.is_empty()).await {
                Ok(answered) => {
                    let sorted = self.sort(answered, &mut failing, &mut dead);
                    let waiting = self.park(sorted, &mut parked, &mut dead);
                    tries = if waiting.len() < now { 0 } else { tries + 1 };
                    if !self.is_patient && tries == TRIES_MAX {
                        return Err(IndexError::TakesNone);
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

    /// Gives up documents of indices that have been red for too long, without putting them.
    fn give_up(&self, items: &mut Vec<Item>, dead: &mut Vec<DeadLetter>) {
        let (indices, now) = (self.flight.indices(), Instant::now());
        if !self.is_patient || !indices.is_any_in_trouble(now) {
            return;
        }
        items.retain(|item| match indices.is_past_asking(&item.index, now) {
            Some(since) => {
                let reason = format!("the index has taken no document for {} s", since.as_secs());
                dead.push(self.bury(Class::Index, item, reason));
                false
            }
            None => true,
        });
    }

    /// Puts the first `count` documents once, when it is their turn, and takes them out if they were
    /// answered. Where some failed before, or their index did with others, witnesses are put beside them.
    async fn put(&self, items: &mut Vec<Item>, count: usize, have_failed: bool) -> Result<Answered, IndexError> {
        let rest = items.split_off(count);
        let witnesses = self.witnesses(items, have_failed);
        items.extend(witnesses);
        let turn = self.flight.turn().await;
        let begun = Instant::now();
        let answer = self.index.bulk(items).await;
        turn.ended(kind(&answer));
        let witnesses = items.split_off(count);
        let put = std::mem::replace(items, rest);
        match answer {
            Ok(mut verdicts) => {
                assert_eq!(verdicts.len(), count + witnesses.len(), "one verdict for each document");
                let witnesses = witnesses.into_iter().zip(verdicts.split_off(count)).collect();
                Ok(Answered { begun, documents: put.into_iter().zip(verdicts).collect(), witnesses })
            }
            Err(error) => {
                items.splice(..0, put);
                Err(error)
            }
        }
    }

    fn witnesses(&self, items: &[Item], have_failed: bool) -> Vec<Item> {
        let (indices, now) = (self.flight.indices(), Instant::now());
        if have_failed || indices.are_in_trouble(items, now) { indices.witnesses(items, now) } else { Vec::new() }
    }

    /// Settles what has its verdict, and returns what has not.
    fn sort(&self, answered: Answered, failing: &mut Failing, dead: &mut Vec<DeadLetter>) -> Sorted {
        let Answered { begun, documents, witnesses } = answered;
        let (mut sorted, mut taken, mut failed) = (Sorted::default(), BTreeMap::new(), Vec::new());
        for (item, verdict) in documents {
            match verdict {
                Verdict::Done { created } => {
                    self.meter.indexed(&item.document, created);
                    if !taken.contains_key(&item.index) {
                        taken.insert(item.index.clone(), item);
                    }
                }
                Verdict::Retry(reason) => sorted.again.push((item, reason)),
                Verdict::Failed(reason) => failed.push((item, Class::Document, reason)),
                Verdict::Unavailable(reason) => failed.push((item, Class::Index, reason)),
                Verdict::Blocked(reason) => match self.takes_none_for(&item) {
                    since if since < TROUBLE_MAX && self.is_patient => {
                        let (class, keeps_seat) = (Class::Index, since < BLOCKED_MAX);
                        sorted.waiting.push(Waiting { item, class, reason, keeps_seat });
                    }
                    _ => dead.push(self.bury(Class::Index, &item, reason)),
                },
                Verdict::Dead(reason) => dead.push(self.bury(Class::Document, &item, reason)),
            }
        }
        let now = Instant::now();
        for item in taken.into_values() {
            self.flight.indices().took(item, now);
        }
        for (item, verdict) in witnesses {
            if let Verdict::Done { created } = verdict {
                self.flight.indices().heard(&item, !created, now);
            }
        }
        for (item, class, reason) in failed {
            match self.fate(&item, class, begun, failing) {
                Fate::Dead => dead.push(self.bury(class, &item, reason)),
                Fate::Waits { keeps_seat } => sorted.waiting.push(Waiting { item, class, reason, keeps_seat }),
                Fate::Again => sorted.again.push((item, reason)),
            }
        }
        sorted
    }

    /// What becomes of a document that failed. A command does not wait for its index.
    fn fate(&self, item: &Item, class: Class, begun: Instant, failing: &mut Failing) -> Fate {
        let (fault, now) = (self.flight.indices().fault(&item.index, begun), Instant::now());
        let failed = failing.entry(item.id()).or_insert(Failed { since: now, times: 0, class });
        let counts = fault == Fault::Document || (fault == Fault::Index && !self.is_patient);
        if !counts || failed.class != class {
            *failed = Failed { since: now, times: 0, class };
        }
        failed.times += usize::from(counts);
        let is_often = failed.times >= FAILED_MAX;
        match (fault, class) {
            (Fault::Cluster, _) => Fate::Again,
            _ if !self.is_patient && is_often => Fate::Dead,
            _ if !self.is_patient => Fate::Again,
            (Fault::Index, _) => Fate::after(self.takes_none_for(item), true),
            (Fault::Document, Class::Index) => Fate::after(self.lacks_a_shard_for(item), !is_often),
            (Fault::Document, _) if is_often && now - failed.since >= FAILED_FOR => Fate::Dead,
            (Fault::Document, _) => Fate::Waits { keeps_seat: !is_often },
        }
    }

    fn takes_none_for(&self, item: &Item) -> Duration {
        self.flight.indices().takes_none_for(&item.index, Instant::now())
    }

    fn lacks_a_shard_for(&self, item: &Item) -> Duration {
        self.flight.indices().lacks_a_shard_for(&item.index, Instant::now())
    }

    /// What is to be put again. Documents that wait for their index alone need a place for that;
    /// where none is free, they are dead, or keep the seat of their request.
    fn park<'f>(&'f self, sorted: Sorted, parked: &mut Option<Parked<'f>>, dead: &mut Vec<DeadLetter>) -> Vec<Item> {
        let Sorted { again, waiting } = sorted;
        let mut reasons = again.iter().map(|(_, reason)| reason).chain(waiting.iter().map(|waiting| &waiting.reason));
        if let Some(reason) = reasons.next() {
            self.complain(&IndexError::Transient(reason.as_str().into()));
        }
        if waiting.is_empty() {
            *parked = None;
        } else if again.is_empty() && parked.is_none() {
            *parked = self.flight.park();
        }
        let have_place = parked.is_some() || !again.is_empty();
        let mut later: Vec<Item> = again.into_iter().map(|(item, _)| item).collect();
        for Waiting { item, class, reason, keeps_seat } in waiting {
            if have_place || keeps_seat {
                later.push(item);
            } else {
                dead.push(self.bury(class, &item, reason));
            }
        }
        later
    }

    fn bury(&self, class: Class, item: &Item, reason: String) -> DeadLetter {
        self.meter.dead(class, 1);
        DeadLetter::document(item, reason)
    }

    /// Says why documents are not indexed yet.
    fn complain(&self, error: &(dyn std::error::Error + 'static)) {
        if let Some(more) = NOT_INDEXED.now() {
            tracing::error!(error, shard = self.shard, more, "not indexed yet; will try again");
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

/// Documents that failed.
type Failing = BTreeMap<EventId, Failed>;

/// A document that failed: since when, and how often, while others were taken.
struct Failed {
    since: Instant,
    times: usize,
    class: Class,
}

/// Documents that were put, with their verdicts.
struct Answered {
    /// When they were.
    begun: Instant,
    documents: Vec<(Item, Verdict)>,
    witnesses: Vec<(Item, Verdict)>,
}

/// Documents without their final verdict.
#[derive(Default)]
struct Sorted {
    /// Those to be put again in any case, with the reason.
    again: Vec<(Item, String)>,
    waiting: Vec<Waiting>,
}

/// A document that its index, or a shard of that, does not take now.
struct Waiting {
    item: Item,
    class: Class,
    reason: String,
    /// Whether it may wait where others would go on.
    keeps_seat: bool,
}

/// What becomes of a document that failed.
enum Fate {
    Dead,
    Waits { keeps_seat: bool },
    Again,
}

impl Fate {
    /// Of a document whose index, or a shard of it, has been known to be away for so long.
    fn after(known: Duration, keeps_seat: bool) -> Fate {
        if known < RED_MAX { Fate::Waits { keeps_seat } } else { Fate::Dead }
    }
}

/// What an answer says about the index as a whole.
fn kind(answer: &Result<Vec<Verdict>, IndexError>) -> Answer {
    match answer {
        Ok(verdicts) if Overall::of(verdicts) != Overall::Works => Answer::Overloaded,
        Ok(_) | Err(IndexError::TooLarge | IndexError::Lost(_)) => Answer::Taken,
        Err(IndexError::Transient(_) | IndexError::TakesNone) => Answer::Overloaded,
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

    /// Answers each document by what it is and how long the test runs.
    struct Answering<V> {
        begun: Instant,
        verdict: V,
        has: Mutex<BTreeSet<(String, EventId)>>,
    }

    #[async_trait]
    impl<V: Fn(&Item, Duration) -> Verdict + Send + Sync> Index for Answering<V> {
        async fn bulk(&self, items: &[Item]) -> Answer {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let verdict = |item: &Item| match (self.verdict)(item, self.begun.elapsed()) {
                Verdict::Done { .. } => {
                    Verdict::Done { created: self.has.lock().unwrap().insert((item.index.clone(), item.id())) }
                }
                other => other,
            };
            Ok(items.iter().map(verdict).collect())
        }

        async fn flush(&self) -> Result<(), IndexError> {
            Ok(())
        }
    }

    /// A bulker with four places, for an index that answers so.
    fn answering(verdict: impl Fn(&Item, Duration) -> Verdict + Send + Sync + 'static) -> Bulker {
        let index = Arc::new(Answering { begun: Instant::now(), verdict, has: Mutex::default() });
        let meter = Arc::<Meter>::default();
        let flight = Arc::new(Flight::new(4, meter.clone()));
        Bulker { index, flight, meter, ..bulker(Arc::default(), Arc::default()) }
    }

    /// 2026-11-15 and 16, in days since 1970.
    const DAYS: [i32; 2] = [20_772, 20_773];

    /// The first of them as an index.
    const FIRST_DAY: &str = "twosec-2026.11.15";

    fn document(day: i32, number: u8) -> Document {
        let (id, body) = (EventId([number; 16]), b"{}".to_vec());
        Document { id, day: Some(event::Day(day)), revision: None, ruleset: None, body }
    }

    /// Puts one document. Gives how long that took.
    async fn put(bulker: &Bulker, day: i32, number: u8) -> Duration {
        let (begun, sequence) = (Instant::now(), SequenceNumber::new("7").unwrap());
        let put = bulker.documents(&sequence, std::iter::once(document(day, number)));
        tokio::time::timeout(Duration::from_secs(86_400), put).await.expect("nothing waits for ever").unwrap();
        begun.elapsed()
    }

    fn failed() -> Verdict {
        Verdict::Failed("null_pointer_exception".into())
    }

    fn unavailable() -> Verdict {
        Verdict::Unavailable("unavailable_shards_exception".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_the_index_fails_with_is_a_dead_letter_although_nothing_else_comes() {
        let bulker = answering(|item, _| if item.id().0[0] == 1 { failed() } else { DONE });
        put(&bulker, DAYS[0], 2).await;
        let took = put(&bulker, DAYS[0], 1).await;
        assert_eq!(bulker.meter.dead_letters_of(Class::Document), 1);
        assert!((FAILED_FOR..4 * FAILED_FOR).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_the_index_fails_with_for_some_seconds_is_indexed() {
        let bulker = answering(|item, now| match item.id().0[0] {
            1 if now < FAILED_FOR => failed(),
            _ => DONE,
        });
        put(&bulker, DAYS[0], 2).await;
        put(&bulker, DAYS[0], 1).await;
        assert_eq!(bulker.meter.dead_letters_of(Class::Document), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn documents_that_fail_do_not_keep_others_waiting() {
        let bulker = answering(|item, _| if item.id().0[0] < 9 { failed() } else { DONE });
        put(&bulker, DAYS[0], 9).await;
        let failing = futures::future::join_all((1..9).map(|number| put(&bulker, DAYS[0], number)));
        let (_, took) = tokio::join!(failing, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            put(&bulker, DAYS[0], 10).await
        });
        assert!(took < FAILED_FOR, "{took:?}");
        assert_eq!(bulker.meter.dead_letters_of(Class::Document), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_red_index_keeps_others_waiting_for_five_minutes_and_not_again() {
        let bulker = answering(|item, _| if item.index == FIRST_DAY { unavailable() } else { DONE });
        put(&bulker, DAYS[1], 9).await;
        let failing = futures::future::join_all((1..9).map(|number| put(&bulker, DAYS[0], number)));
        let (_, took) = tokio::join!(failing, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            put(&bulker, DAYS[1], 10).await
        });
        assert!(took < RED_MAX * 3 / 2, "{took:?}");
        assert_eq!(bulker.meter.dead_letters_of(Class::Index), 8);
        put(&bulker, DAYS[0], 11).await;
        let took = put(&bulker, DAYS[0], 12).await;
        assert!(took < Duration::from_millis(1), "it is known to be red, and not asked: {took:?}");
        assert_eq!(bulker.meter.dead_letters_of(Class::Index), 10);
        assert!(bulker.meter.bulks_limit() > 1, "the cluster is not overloaded");
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_that_is_red_for_a_minute_loses_no_document() {
        let bulker = answering(|item, now| match now < Duration::from_secs(60) && item.index == FIRST_DAY {
            true => unavailable(),
            false => DONE,
        });
        put(&bulker, DAYS[1], 9).await;
        futures::future::join_all((1..9).map(|number| put(&bulker, DAYS[0], number))).await;
        assert_eq!(bulker.meter.dead_letters_of(Class::Index), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_of_an_index_that_is_away_for_long_keeps_nobody_waiting_once_that_is_known() {
        // Away for ten minutes, and a minute after that for some seconds again.
        const AWAY: Duration = Duration::from_secs(600);
        let again = AWAY + Duration::from_secs(60)..AWAY + Duration::from_secs(80);
        let bulker =
            answering(move |item, now| match item.id().0[0] % 2 == 0 && (now < AWAY || again.contains(&now)) {
                true => unavailable(),
                false => DONE,
            });
        let begun = Instant::now();
        put(&bulker, DAYS[0], 1).await;
        assert!(put(&bulker, DAYS[0], 2).await >= RED_MAX, "it may come back");
        for number in (4..20).step_by(2) {
            assert!(put(&bulker, DAYS[0], number).await < Duration::from_secs(1));
            put(&bulker, DAYS[0], number + 1).await;
        }
        assert_eq!(bulker.meter.dead_letters_of(Class::Index), 9);
        tokio::time::sleep_until(begun + AWAY + Duration::from_secs(61)).await;
        assert!(put(&bulker, DAYS[0], 30).await > Duration::from_secs(10));
        assert_eq!(bulker.meter.dead_letters_of(Class::Index), 9, "the second time is another one");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_at_a_shard_that_is_away_are_none_at_a_document() {
        let bulker = answering(|item, now| match (item.id().0[0], now.as_secs()) {
            (1, ..60) => unavailable(),
            (1, 60..70) => failed(),
            _ => DONE,
        });
        put(&bulker, DAYS[0], 2).await;
        put(&bulker, DAYS[0], 1).await;
        assert_eq!(bulker.meter.dead_letters(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_that_is_blocked_for_some_seconds_loses_no_document_however_many_wait() {
        let bulker = answering(|item, now| match item.index == FIRST_DAY && now < BLOCKED_MAX / 2 {
            true => Verdict::Blocked("index_closed_exception".into()),
            false => DONE,
        });
        futures::future::join_all((1..9).map(|number| put(&bulker, DAYS[0], number))).await;
        assert_eq!(bulker.meter.dead_letters_of(Class::Index), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_counts_a_document_as_refused_where_others_are_taken_and_ends_where_none_is() {
        for verdict in [failed, unavailable] {
            let bulker = Bulker {
                is_patient: false,
                ..answering(move |item, _| if item.id().0[0] == 1 { verdict() } else { DONE })
            };
            put(&bulker, DAYS[1], 2).await;
            put(&bulker, DAYS[0], 1).await;
            assert_eq!(bulker.meter.dead_letters(), 1);
            let bulker = Bulker { is_patient: false, ..answering(move |_, _| verdict()) };
            let ended = bulker.documents(&SequenceNumber::new("7").unwrap(), [document(DAYS[0], 1)].into_iter()).await;
            assert!(matches!(ended, Err(IndexError::TakesNone)), "{ended:?}");
            assert_eq!(bulker.meter.dead_letters(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_fails_with_all_documents_is_waited_for_however_long_it_lasts() {
        const OUTAGE: Duration = Duration::from_secs(7_200);
        for verdict in [failed, unavailable] {
            let bulker = answering(move |_, now| match now < Duration::from_secs(1) || now > OUTAGE {
                true => DONE,
                false => verdict(),
            });
            put(&bulker, DAYS[0], 1).await;
            put(&bulker, DAYS[1], 1).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let took = tokio::join!(put(&bulker, DAYS[0], 2), put(&bulker, DAYS[1], 3), put(&bulker, DAYS[1], 4)).0;
            assert!(took > OUTAGE - Duration::from_secs(2), "{took:?}");
            assert_eq!(bulker.meter.dead_letters_of(Class::Document) + bulker.meter.dead_letters_of(Class::Index), 0);
        }
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
        let closed = Some(FIRST_DAY);
        let bulker = bulker_with(SlowFirst { closed, asked: Mutex::new(1) }, most);
        let sequence = SequenceNumber::new("7").unwrap();
        let late = || std::iter::once(document(DAYS[0], 1));
        let waiting: Vec<_> = (0..6).map(|_| bulker.documents(&sequence, late())).collect();
        let begun = Instant::now();
        let (_, took) = tokio::join!(futures::future::join_all(waiting), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            bulker.documents(&sequence, std::iter::once(document(DAYS[1], 2))).await.unwrap();
            begun.elapsed()
        });
        assert!(took < 3 * BLOCKED_MAX, "{took:?}");
        assert_eq!(bulker.meter.dead_letters_of(Class::Index), 6);
    }
}
