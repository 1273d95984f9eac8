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
use crate::archive::window::{HOUR, Summary, hour_prefix, read_key, read_summary};
use crate::budget::Budget;
use crate::decode::Unreadable;
use crate::meter::now;
use crate::receive::SequenceNumber;
use crate::replay::rows::{RawRecord, Row, Rows};
use event::pause::Pause;
use event::{Document, Millis};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys that are held at once. Where more objects are missing, they come in several rounds.
const KEYS_MAX: usize = 5_000;

/// Hours without an object that are passed over in search of an older one: a year, the longest
/// that a stream keeps its records.
const EMPTY_HOURS_MAX: usize = 366 * 24;

/// Indexes a shard's objects.
#[derive(Clone)]
pub struct CatchUp {
    pub chain: Chain,
    pub bulker: Bulker,
    pub budget: Arc<Budget>,
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
        let before = indexed.clone();
        for key in until_answered(|| self.keys(indexed.as_ref(), tail)).await {
            if let Some(done) = self.object(&key, indexed.as_ref()).await? {
                indexed = Some(done.sequence.clone());
                told(done);
            }
        }
        if indexed == before {
            // Waiting would not bring them back.
            let (shard, sequence) = (&self.chain.shard, &tail.sequence);
            tracing::error!(shard, %sequence, "objects of the archive are gone before they were indexed; `verify` says which");
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
            if was_reached || hour <= 0 || empty == EMPTY_HOURS_MAX {
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
        let metadata = self.chain.archive.head(key).await?.unwrap_or_default();
        let prev = metadata.get("prev-seq").and_then(|digits| SequenceNumber::new(digits));
        Ok(prev.is_none_or(|prev| indexed.is_some_and(|indexed| prev <= *indexed)))
    }

    /// The shard's objects of one hour of arrival, by their first record.
    async fn hour(&self, hour: Millis) -> Result<Vec<(SequenceNumber, String)>, ArchiveError> {
        let Chain { archive, stream, shard, .. } = &self.chain;
        let prefix = format!("{}{shard}/", hour_prefix(stream, hour));
        let (mut keys, mut after) = (Vec::new(), String::new());
        loop {
            let page = archive.list(&prefix, &after).await?;
            let Some(last) = page.last() else { return Ok(keys) };
            after.clone_from(last);
            keys.extend(page.into_iter().filter_map(|key| Some((read_key(stream, &key)?.1, key))));
        }
    }

    /// Indexes an object. `None` for one that has nothing new, or cannot be read.
    async fn object(&self, key: &str, indexed: Option<&SequenceNumber>) -> Result<Option<Done>, IndexError> {
        let _turn = self.budget.object().await;
        let object = until_answered(|| self.chain.archive.get(key)).await.unwrap_or_default();
        let Some(summary) = read_summary(&object) else {
            tracing::error!(key, "an object cannot be read and is not indexed; `verify` says more");
            return Ok(None);
        };
        let Summary { last_seq, last_arrival, .. } = summary;
        if indexed.is_some_and(|indexed| last_seq <= *indexed) {
            return Ok(None);
        }
        self.bulker.meter.index_waits(&self.chain.shard, last_arrival);
        self.rows(key, &object, &last_seq).await?;
        self.bulker.make_durable().await?;
        Ok(Some(Done { sequence: last_seq, arrival: last_arrival }))
    }

    /// Indexes the lines of an object as they are unpacked.
    async fn rows(&self, key: &str, object: &[u8], end: &SequenceNumber) -> Result<(), IndexError> {
        let mut rows = Rows::of(object);
        let mut requests = Requests::of(&self.bulker);
        let id = requests.begin(end, 0);
        loop {
            match rows.next_row() {
                Ok(None) => break,
                Ok(Some(Row::Event(event))) => {
                    if let Some(document) = Document::for_index(&event) {
                        requests.add(id, end, document).await;
                    }
                }
                Ok(Some(Row::Record(record))) => self.unreadable(record).await,
                Ok(Some(Row::Summary)) => {}
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
        requests.finish(id).await
    }

    /// Keeps a record that could not be read when it came. One without bytes stands for nothing.
    async fn unreadable(&self, record: RawRecord) {
        let RawRecord { sequence, arrival, reason, data, part } = record;
        if !data.is_empty() {
            self.bulker.unreadable(&sequence, arrival, &[Unreadable { data, reason, part }]).await;
        }
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
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot read the archive; will try again")
            }
        }
        tokio::time::sleep(pause.next_pause()).await;
    }
}
