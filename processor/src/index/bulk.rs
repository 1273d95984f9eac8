//! Events into the index, until each is there or dead-lettered.

use super::{Index, IndexError, Item, Verdict};
use crate::archive::Archive;
use crate::archive::dead::{self, DeadLetter};
use crate::decode::{Content, Decoded, Unreadable};
use crate::meter::Meter;
use crate::receive::SequenceNumber;
use event::document::IndexNames;
use event::pause::Pause;
use event::{Document, Event};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Documents in one request; more gains nothing (OpenSearch, "Bulk", recommends 1,000 to 5,000).
const DOCUMENTS_MAX: usize = 1_000;

/// Bytes of one request. Small Amazon OpenSearch instances take 10 MiB on the wire.
const BYTES_MAX: usize = 4 << 20;

/// Tries of a document that the index wants later, before it is dead-lettered: about
/// ten minutes of pauses. Its index is in trouble, and other documents wait behind it.
const TRIES_MAX: u32 = 40;

/// Everything that indexing one shard needs.
#[derive(Clone)]
pub struct Bulker {
    pub index: Arc<dyn Index>,
    pub archive: Arc<dyn Archive>,
    pub names: IndexNames,
    pub stream: String,
    pub shard: String,
    pub meter: Arc<Meter>,
    /// How long documents may be in the index without being searchable.
    pub flush_every: Duration,
    /// Whether an index that refuses us as a whole is waited for. Somebody may help it while the
    /// stream is read; a command ends and says so.
    pub is_patient: bool,
}

impl Bulker {
    /// Indexes records as they come. `indexed` hears how far all is durable.
    ///
    /// # Errors
    /// [`IndexError::Lost`]: the records after the last one that `indexed` heard of must
    /// be indexed again.
    pub async fn run(
        &self,
        mut records: mpsc::Receiver<Arc<Decoded>>,
        indexed: impl Fn(SequenceNumber),
    ) -> Result<(), IndexError> {
        let mut done: Option<SequenceNumber> = None;
        let mut deadline = Instant::now();
        loop {
            let record = tokio::select! {
                record = records.recv() => record,
                () = tokio::time::sleep_until(deadline), if done.is_some() => {
                    self.flush(&mut done, &indexed).await?;
                    continue;
                }
            };
            let Some(record) = record else { break };
            self.record(&record).await?;
            if done.replace(record.sequence.clone()).is_none() {
                deadline = Instant::now() + self.flush_every;
            }
            if Instant::now() >= deadline {
                self.flush(&mut done, &indexed).await?;
            }
        }
        self.flush(&mut done, &indexed).await
    }

    /// Makes durable what has been put, and tells so.
    async fn flush(
        &self,
        done: &mut Option<SequenceNumber>,
        indexed: &impl Fn(SequenceNumber),
    ) -> Result<(), IndexError> {
        let Some(sequence) = done.take() else { return Ok(()) };
        let mut pause = Pause::default();
        loop {
            match self.index.flush().await {
                Ok(()) => break,
                Err(lost @ IndexError::Lost(_)) => return Err(lost),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "not durable in the index yet; will try again"
                ),
            }
            tokio::time::sleep(pause.next_pause()).await;
        }
        indexed(sequence);
        Ok(())
    }

    async fn record(&self, record: &Decoded) -> Result<(), IndexError> {
        let Content { events, unreadable, .. } = &record.content;
        for Unreadable { reason, .. } in unreadable {
            tracing::warn!(sequence = %record.sequence, reason, "a record cannot be read; it is archived and dead-lettered");
        }
        if !unreadable.is_empty() {
            let letters: Vec<_> = unreadable.iter().map(|part| DeadLetter::record(part, record.arrival)).collect();
            self.keep(&record.sequence, 0, &letters).await;
        }
        self.events(&record.sequence, events.iter().map(|(_, event)| event)).await
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
        let (mut items, mut bytes, mut part) = (Vec::new(), 0, 0);
        for document in documents {
            bytes += document.body.len();
            items.push(Item { index: self.names.of(&document), document });
            if items.len() == DOCUMENTS_MAX || bytes >= BYTES_MAX {
                part += 1;
                self.put(sequence, part, std::mem::take(&mut items)).await?;
                bytes = 0;
            }
        }
        self.put(sequence, part + 1, items).await
    }

    /// Puts documents, and keeps those that are refused.
    async fn put(&self, sequence: &SequenceNumber, part: usize, items: Vec<Item>) -> Result<(), IndexError> {
        let dead = self.settle(items).await?;
        if !dead.is_empty() {
            self.keep(sequence, part, &dead).await;
        }
        Ok(())
    }

    /// Puts documents until each has its final verdict. Returns those that are refused.
    pub async fn settle(&self, mut items: Vec<Item>) -> Result<Vec<DeadLetter>, IndexError> {
        let (mut pause, mut tries, mut limit) = (Pause::default(), 0, items.len());
        let mut dead = Vec::new();
        while !items.is_empty() {
            let now = items.len().min(limit.max(1));
            match self.index.bulk(&items[..now]).await {
                Ok(verdicts) => {
                    assert_eq!(verdicts.len(), now, "one verdict for each document");
                    tries += 1;
                    let again = self.sort(items.drain(..now).collect(), verdicts, tries, &mut dead);
                    let retry = !again.is_empty();
                    items.splice(..0, again);
                    if !retry {
                        (pause, tries) = (Pause::default(), 0);
                        continue;
                    }
                }
                Err(IndexError::TooLarge) if now > 1 => {
                    limit = now / 2;
                    continue;
                }
                Err(IndexError::TooLarge) => {
                    let item = items.remove(0);
                    dead.push(DeadLetter::document(&item, IndexError::TooLarge.to_string()));
                    continue;
                }
                Err(lost @ IndexError::Lost(_)) => return Err(lost),
                Err(denied @ IndexError::Denied(_)) if !self.is_patient => return Err(denied),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "not indexed yet; will try again")
                }
            }
            tokio::time::sleep(pause.next_pause()).await;
        }
        Ok(dead)
    }

    /// Settles what has its verdict, and returns what must be put again.
    fn sort(&self, items: Vec<Item>, verdicts: Vec<Verdict>, tries: u32, dead: &mut Vec<DeadLetter>) -> Vec<Item> {
        let mut again = Vec::new();
        for (item, verdict) in items.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Done { created } => self.meter.indexed(created),
                Verdict::Retry(_) if tries < TRIES_MAX => again.push(item),
                Verdict::Retry(reason) | Verdict::Dead(reason) => dead.push(DeadLetter::document(&item, reason)),
            }
        }
        again
    }

    async fn keep(&self, sequence: &SequenceNumber, part: usize, letters: &[DeadLetter]) {
        let mut pause = Pause::default();
        while let Err(error) = dead::keep(&*self.archive, (&self.stream, &self.shard), sequence, part, letters).await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot keep dead letters; will try again");
            tokio::time::sleep(pause.next_pause()).await;
        }
        self.meter.dead(letters.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{ArchiveError, Created, Metadata, Object};
    use async_trait::async_trait;
    use bytes::Bytes;
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
            names: IndexNames { prefix: "twosec".into(), from: None, until: None },
            stream: "s".into(),
            shard: "shard-0".into(),
            meter: Arc::default(),
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
    async fn a_document_that_stays_unwanted_stops_nobody_for_ever() {
        let script = (0..TRIES_MAX).map(|_| Ok(vec![Verdict::Retry("index_closed_exception".into())]));
        let (asked, dead) = index(1, script).await;
        assert_eq!((asked.len(), dead.len()), (TRIES_MAX as usize, 1));
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
    async fn an_index_that_is_away_is_asked_until_it_is_back() {
        let away = |_| Err(IndexError::Transient("connection refused".into()));
        let (asked, _) = index(3, (0..50).map(away)).await;
        assert_eq!(asked.len(), 51);
    }
}
