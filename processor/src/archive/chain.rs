//! The chain of a shard's objects: gapless, disjoint, whoever writes.
//!
//! A key depends on the first record alone and is created at most once. So of writers
//! that start from one position exactly one wins, and the others adopt its end and go
//! on from there. Crashes, clocks, processes that wake up late and answers that get
//! lost change nothing about it (DESIGN section 7; the rule was checked as a model).

use super::window::{Window, prefix, read_key};
use super::{Archive, ArchiveError, Created, Object};
use crate::decode::Decoded;
use crate::receive::SequenceNumber;
use event::pause::Pause;
use event::{Event, Millis};
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
}

/// One shard's chain in an archive.
#[derive(Clone)]
pub struct Chain {
    pub archive: Arc<dyn Archive>,
    pub stream: String,
    pub shard: String,
}

/// How [`Chain::extend`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Its input ended, and all of it is archived.
    InputEnded,
    /// Another writer's object ends before ours would have: the records after it must
    /// be read again.
    ReadAgain,
}

impl Chain {
    /// The newest end of the chain: `known`, or what objects from the hour of `since`
    /// on tell (all objects without `since`).
    pub async fn tail(&self, known: Option<Tail>, since: Option<Millis>) -> Result<Option<Tail>, ArchiveError> {
        let newest = self.keys(since).await?.pop();
        let Some(key) = newest else { return Ok(known) };
        let found = self.end_of(&key).await?;
        Ok(if known.as_ref().is_some_and(|known| known.sequence > found.sequence) { known } else { Some(found) })
    }

    /// Keys of the shard's objects, in the order of the chain.
    pub async fn keys(&self, since: Option<Millis>) -> Result<Vec<String>, ArchiveError> {
        let prefix = prefix(&self.stream);
        let mut after = since.map_or_else(String::new, |since| hour_prefix(&prefix, since));
        let mut keys = Vec::new();
        loop {
            let page = self.archive.list(&prefix, &after).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            keys.extend(page.into_iter().filter_map(|key| {
                let (shard, first) = read_key(&self.stream, &key)?;
                (shard == self.shard).then_some((first, key))
            }));
        }
        keys.sort();
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }

    /// The last record of an object.
    async fn end_of(&self, key: &str) -> Result<Tail, ArchiveError> {
        let metadata = self.archive.head(key).await?.unwrap_or_default();
        let sequence = metadata.get("last-seq").and_then(|digits| SequenceNumber::new(digits));
        let arrival = metadata.get("last-arrival").and_then(|millis| millis.parse().ok());
        match sequence {
            Some(sequence) => Ok(Tail { sequence, arrival }),
            None => Err(ArchiveError::Refused {
                call: "head",
                key: key.to_owned(),
                cause: "the object has no `last-seq` in its metadata: it is not of this program, or was copied without"
                    .into(),
            }),
        }
    }

    /// The events of the objects that end after `indexed`, object by object, for an
    /// index that is behind the archive.
    pub async fn events_after(
        &self,
        indexed: Option<&SequenceNumber>,
        out: &mpsc::Sender<(SequenceNumber, Vec<Event>)>,
    ) -> Result<(), ArchiveError> {
        for key in self.keys(None).await? {
            let end = self.end_of(&key).await?;
            if indexed.is_some_and(|indexed| end.sequence <= *indexed) {
                continue;
            }
            let bytes = self.archive.get(&key).await?.unwrap_or_default();
            let events =
                read_object(&bytes).map_err(|cause| ArchiveError::Refused { call: "get", key, cause: cause.into() })?;
            if out.send((end.sequence, events)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Archives records as they come, after `tail`, and says how far it has come.
    pub async fn extend(
        &self,
        mut tail: Option<Tail>,
        mut records: mpsc::Receiver<Arc<Decoded>>,
        limits: Limits,
        archived: impl Fn(Tail),
    ) -> Ended {
        let mut window = Window::after(sequence(&tail));
        let mut deadline = Instant::now();
        loop {
            let record = tokio::select! {
                record = records.recv() => record,
                () = tokio::time::sleep_until(deadline), if !window.is_empty() => {
                    let Some(end) = self.close(&mut window, &mut tail, &archived).await else { return Ended::ReadAgain };
                    window = Window::after(end);
                    continue;
                }
            };
            let Some(record) = record else { break };
            if tail.as_ref().is_some_and(|tail| record.sequence <= tail.sequence) {
                continue;
            }
            if window.is_of_another_minute(record.arrival) || window.bytes() >= limits.bytes {
                let Some(end) = self.close(&mut window, &mut tail, &archived).await else { return Ended::ReadAgain };
                window = Window::after(end);
            }
            if window.is_empty() {
                deadline = Instant::now() + limits.age;
            }
            window.push(&record);
        }
        match self.close(&mut window, &mut tail, &archived).await {
            Some(_) => Ended::InputEnded,
            None => Ended::ReadAgain,
        }
    }

    /// Puts the window. Returns the chain's new end, or `None` if another writer's
    /// object stands there and ends earlier.
    async fn close(
        &self,
        window: &mut Window,
        tail: &mut Option<Tail>,
        archived: &impl Fn(Tail),
    ) -> Option<Option<SequenceNumber>> {
        let full = std::mem::replace(window, Window::after(None));
        let Some((summary, object)) = full.close(&self.stream, &self.shard, false) else { return Some(sequence(tail)) };
        let end = self
            .settle(&object, Tail { sequence: summary.last_seq.clone(), arrival: Some(summary.last_arrival) })
            .await;
        let whole = end.sequence >= summary.last_seq;
        archived(end.clone());
        *tail = Some(end);
        whole.then(|| sequence(tail))
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

fn sequence(tail: &Option<Tail>) -> Option<SequenceNumber> {
    tail.as_ref().map(|tail| tail.sequence.clone())
}

/// What all keys of an hour begin with, and all later keys follow.
fn hour_prefix(prefix: &str, at: Millis) -> String {
    let time = event::time::rfc3339(at);
    format!("{prefix}dt={}/hour={}/", &time[..10], &time[11..13])
}

/// The events of an object. Lines that hold none (its first line, records that could
/// not be read) are left out.
fn read_object(bytes: &[u8]) -> std::io::Result<Vec<Event>> {
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes), &mut text)?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(Event::from_archive).collect())
}
