//! From the archive into the index again: after the index was lost, in other names, or under
//! newer rules.
//!
//! ```text
//! keys -> get -> rows -> event (-> newer rules) -> document -> bulk
//! ```
//!
//! A document made from an archived line is the one that was made when the line came, and has
//! the same id. So what is indexed twice is there once, and a replay may be broken off and
//! begun again anywhere.

pub mod changes;
pub mod rows;
pub mod state;

use crate::archive::walk::{Keys, Refused, patiently};
use crate::archive::window::{MINUTE, Summary, prefix, read_hour, read_key, read_summary};
use crate::archive::{Archive, ArchiveError};
use crate::index::bulk::Bulker;
use crate::index::flight::Flight;
use crate::index::{Index, IndexError};
use crate::meter::Meter;
use crate::progress::{bytes, count, counted};
use crate::span::Span;
use changes::Changes;
use event::document::IndexNames;
use event::{Document, Event, Millis, Reclassifier};
use futures::StreamExt;
use rows::{Row, Rows};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often what was indexed is made durable, and told.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// What is to be replayed, and where to.
#[derive(Clone)]
pub struct Replay {
    pub archive: Arc<dyn Archive>,
    /// Without one, it is only said what would be indexed.
    pub index: Option<Arc<dyn Index>>,
    pub names: IndexNames,
    pub stream: String,
    /// When the records arrived, to the minute.
    pub span: Span,
    /// Rules that judge the lines anew.
    pub rules: Option<Reclassifier>,
    /// Objects that are worked on at once. Each may take 16 MiB, and a request's documents.
    pub objects_at_once: usize,
}

/// Why a replay could not go on. What was told to be done is.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot read the archive")]
    Archive(#[source] ArchiveError),
    #[error("cannot index")]
    Index(#[source] IndexError),
    #[error("cannot write down how far it has come")]
    State(#[source] io::Error),
}

/// How far a replay has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reached {
    /// The last object whose documents, and those of all before it, are in the index.
    pub after: Option<String>,
    pub report: Report,
    /// Whether nothing is left.
    #[serde(skip)]
    pub is_done: bool,
}

/// What has been done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    pub objects: u64,
    /// Packed.
    pub bytes: u64,
    /// Lines, gaps and revisions of incidents.
    pub events: u64,
    /// Documents by index.
    pub documents: BTreeMap<String, u64>,
    /// Those that were new to the index, or replaced what it had.
    pub put: u64,
    /// Those that it had already.
    pub known: u64,
    /// Those that it refuses; they are dead letters now.
    pub refused: u64,
    /// Records that could not be read when they came; `redrive` is for them.
    pub unread_records: u64,
    /// Lines that this program cannot read.
    pub broken_lines: u64,
    /// Objects that could not be had or read; `verify` says more.
    pub damaged: Vec<String>,
    /// What newer rules found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclassified: Option<Changes>,
}

/// Objects that are named in a report.
const DAMAGED_MAX: usize = 100;

impl Report {
    /// Whether all of it is indexed.
    pub fn is_clean(&self) -> bool {
        self.refused == 0 && self.broken_lines == 0 && self.damaged.is_empty()
    }

    fn add(&mut self, other: Report) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.events += other.events;
        other.documents.into_iter().for_each(|(index, count)| *self.documents.entry(index).or_default() += count);
        self.put += other.put;
        self.known += other.known;
        self.refused += other.refused;
        self.unread_records += other.unread_records;
        self.broken_lines += other.broken_lines;
        self.damaged.extend(other.damaged);
        self.damaged.truncate(DAMAGED_MAX);
        if let Some(changes) = other.reclassified {
            self.reclassified.get_or_insert_default().add(changes);
        }
    }
}

/// The report as people read it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (objects, events) = (counted(self.objects, "object"), counted(self.events, "event"));
        writeln!(f, "{objects}, {}, {events}", bytes(self.bytes))?;
        self.documents.iter().try_for_each(|(index, documents)| writeln!(f, "  {index}  {}", count(*documents)))?;
        if self.put + self.known + self.refused > 0 {
            let (put, known, refused) = (count(self.put), count(self.known), count(self.refused));
            writeln!(f, "indexed: {put} put, {known} there already, {refused} refused")?;
        }
        self.reclassified.iter().try_for_each(|changes| write!(f, "{changes}"))?;
        if self.unread_records > 0 {
            let records = counted(self.unread_records, "record");
            writeln!(f, "{records} could not be read when they came: `redrive` tries again")?;
        }
        if self.broken_lines > 0 {
            writeln!(f, "{} cannot be read by this version", counted(self.broken_lines, "line"))?;
        }
        self.damaged.iter().try_for_each(|key| writeln!(f, "damaged: {key}; `verify` says more"))
    }
}

impl Replay {
    /// Goes on from where `reached` is. `told` hears each time when more is durable; what it
    /// has heard need not be done again. Ends early when `stop` is cancelled.
    pub async fn run(
        &self,
        mut reached: Reached,
        stop: CancellationToken,
        mut told: impl FnMut(&Reached) -> io::Result<()>,
    ) -> Result<Reached, ReplayError> {
        let mut keys = Keys::new(self.archive.clone(), &self.stream, self.span, reached.after.as_deref());
        let (mut flushed, mut refused) = (Instant::now(), Refused::default());
        let flight = Arc::new(Flight::new(self.objects_at_once, Arc::default()));
        while let Some(page) = keys.next_page().await.map_err(ReplayError::Archive)? {
            let page = page.into_iter().filter(|key| read_key(&self.stream, key).is_some());
            let objects =
                futures::stream::iter(page).map(|key| self.spawn(key, &flight)).buffered(self.objects_at_once);
            let mut objects = std::pin::pin!(objects);
            loop {
                let object = tokio::select! {
                    object = objects.next() => object,
                    () = stop.cancelled() => return self.pause(reached, &mut told).await,
                };
                let Some(object) = object else { break };
                let (key, report) = match object {
                    (key, Ok(report)) => (key, report),
                    (key, Err(ReplayError::Archive(error))) => {
                        if let Err(error) = refused.note(&key, error) {
                            self.pause(reached, &mut told).await?;
                            return Err(ReplayError::Archive(error));
                        }
                        continue;
                    }
                    (_, Err(error)) => return Err(error),
                };
                reached.report.add(Report { damaged: refused.take(), ..Report::default() });
                reached.report.add(report);
                reached.after = Some(key);
                if flushed.elapsed() >= FLUSH_EVERY {
                    reached = self.pause(reached, &mut told).await?;
                    flushed = Instant::now();
                }
            }
        }
        reached.report.add(Report { damaged: refused.take(), ..Report::default() });
        reached.is_done = true;
        self.pause(reached, &mut told).await
    }

    /// Makes durable what was put, and tells so.
    async fn pause(
        &self,
        reached: Reached,
        told: &mut impl FnMut(&Reached) -> io::Result<()>,
    ) -> Result<Reached, ReplayError> {
        if let Some(index) = &self.index {
            index.flush().await.map_err(ReplayError::Index)?;
        }
        told(&reached).map_err(ReplayError::State)?;
        Ok(reached)
    }

    /// Works on an object as a task of its own, so that several cores are used.
    fn spawn(
        &self,
        key: String,
        flight: &Arc<Flight>,
    ) -> impl Future<Output = (String, Result<Report, ReplayError>)> + use<> {
        let (replay, flight) = (self.clone(), flight.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let report = replay.object(&key, flight).await;
            (key, report)
        }));
        async move { task.await.expect("replaying an object does not panic") }
    }

    /// Indexes an object.
    async fn object(&self, key: &str, flight: Arc<Flight>) -> Result<Report, ReplayError> {
        let object = patiently(|| self.archive.get(key)).await.map_err(ReplayError::Archive)?.unwrap_or_default();
        let Some(summary) = read_summary(&object) else {
            return Ok(Report { damaged: vec![key.to_owned()], ..Report::default() });
        };
        // Its records arrived in one minute.
        if !self.span.touches(summary.last_arrival.div_euclid(MINUTE) * MINUTE, MINUTE) {
            return Ok(Report::default());
        }
        let report = Report { objects: 1, bytes: object.len() as u64, ..Report::default() };
        let mut documents = Documents { replay: self, rows: Rows::of(&object), report, is_whole: true };
        let meter = Arc::<Meter>::default();
        match &self.index {
            None => documents.by_ref().for_each(drop),
            Some(index) => {
                let bulker = self.bulker(index, &summary, &meter, flight);
                bulker.documents(&summary.last_seq, documents.by_ref()).await.map_err(ReplayError::Index)?;
            }
        }
        let Documents { mut report, is_whole, .. } = documents;
        (report.put, report.known, report.refused) = (meter.created(), meter.known(), meter.dead_letters());
        report.damaged.extend((!is_whole).then(|| key.to_owned()));
        Ok(report)
    }

    fn bulker(&self, index: &Arc<dyn Index>, summary: &Summary, meter: &Arc<Meter>, flight: Arc<Flight>) -> Bulker {
        Bulker {
            index: index.clone(),
            archive: self.archive.clone(),
            names: self.names.clone(),
            stream: self.stream.clone(),
            stream_created: summary.stream_created,
            shard: summary.shard.clone(),
            meter: meter.clone(),
            flight,
            flush_every: FLUSH_EVERY,
            is_patient: false,
        }
    }

    /// When to go on, for whoever keeps no state: the hour of arrival that was worked on last.
    pub fn goes_on_from(&self, reached: &Reached) -> Option<Millis> {
        read_hour(&self.stream, reached.after.as_deref()?).max(self.span.from)
    }

    /// Where the objects lie.
    pub fn prefix(&self) -> String {
        prefix(&self.stream)
    }
}

/// The documents of an object, made as they are asked for.
struct Documents<'a> {
    replay: &'a Replay,
    rows: Rows<'a>,
    report: Report,
    /// Whether the object could be unpacked to its end.
    is_whole: bool,
}

impl Documents<'_> {
    fn document(&mut self, event: Event) -> Option<Document> {
        self.report.events += 1;
        let Some(rules) = &self.replay.rules else { return Document::for_index(&event) };
        let old = event.attack.clone();
        let judged = rules.judges(&event);
        let event = rules.apply(event);
        self.report.reclassified.get_or_insert_default().note(judged, old.as_ref(), event.attack.as_ref());
        rules.document(&event)
    }
}

impl Iterator for Documents<'_> {
    type Item = Document;

    fn next(&mut self) -> Option<Document> {
        loop {
            match self.rows.next_row() {
                Ok(None) => return None,
                Ok(Some(Row::Event(event))) => {
                    if let Some(document) = self.document(*event) {
                        *self.report.documents.entry(self.replay.names.of(&document)).or_default() += 1;
                        return Some(document);
                    }
                }
                Ok(Some(Row::Summary | Row::Nothing)) => {}
                Ok(Some(Row::Record(_))) => self.report.unread_records += 1,
                Ok(Some(Row::Broken)) => self.report.broken_lines += 1,
                Err(_) => {
                    self.is_whole = false;
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
