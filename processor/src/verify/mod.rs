//! Is the archive whole, and as it was written?
//!
//! ```text
//! keys -> inspect (key, metadata, bytes) -> walk (the shard's chain) -> anchor (its lease) -> report
//! ```
//!
//! Nothing is written. What an object says about itself is kept three times, in its key, its
//! metadata and its first line, and the CRC of its lines is there, too; so what is found is
//! loss, damage and carelessness. The lease table tells how far each chain goes, so what is put
//! behind a chain's end, or beside all chains, is found, too. Whoever forges all of it at once is
//! kept out by the bucket's versions and by who may write there.

pub mod chain;
pub mod object;
pub mod anchor;

use crate::archive::walk::{Keys, hour_of_shard, patiently};
use crate::archive::window::{HOUR, prefix, read_hour, read_key};
use crate::archive::{Archive, ArchiveError, Metadata};
use crate::leases::{Checkpoint, Lease, LeaseError, Leases};
use crate::progress::{bytes, counted};
use crate::receive::SequenceNumber;
use crate::span::Span;
use anchor::{Ahead, Ends, judge};
use bytes::Bytes;
use chain::{Finding, Head, Promised, Walk};
use event::Millis;
use futures::StreamExt;
use object::{Inspected, by_metadata, inspect};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Objects that are fetched at once; each has up to 16 MiB.
const OBJECTS_AT_ONCE: usize = 4;

/// Findings that are told one by one.
const FINDINGS_MAX: usize = 1_000;

/// How long an object may stay ahead of its row: far longer than a processor takes to write it, and
/// than its failover time is by default.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// How far before a span the object is looked for that its first one follows: a week.
const HOURS_BEFORE: i64 = 7 * 24;

/// Between two looks at rows that are waited for.
const ROWS_EVERY: Duration = Duration::from_secs(2);

/// What is to be verified.
pub struct Verify {
    pub archive: Arc<dyn Archive>,
    /// Without leases nobody says where a chain must end, nor which shards there are.
    pub leases: Option<Arc<dyn Leases>>,
    /// The stream still keeps records that arrived since then: their shards have rows. `None` where
    /// nobody knows.
    pub kept_since: Option<Millis>,
    /// When the stream was made, where that is known.
    pub stream_created: Option<Millis>,
    pub stream: String,
    /// Hours of arrival; whole hours are looked at.
    pub span: Span,
    /// The only shard that is looked at.
    pub shard: Option<String>,
}

/// Why an archive could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("cannot read the archive")]
    Archive(#[source] ArchiveError),
    #[error("cannot read the lease table")]
    Leases(#[source] LeaseError),
}

/// What has been seen, and found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    pub stream: String,
    pub objects: u64,
    /// Packed.
    pub bytes: u64,
    pub shards: BTreeMap<String, ShardReport>,
    pub findings: Vec<Finding>,
    /// Findings beyond those that are told.
    pub more_findings: u64,
    /// Whether the lease table told where chains end.
    pub has_leases: bool,
    /// The hour of arrival that is looked at.
    #[serde(skip)]
    pub hour: Option<Millis>,
}

/// What has been seen of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ShardReport {
    pub objects: u64,
    pub records: u64,
    pub lines: u64,
    pub first_seq: Option<SequenceNumber>,
    pub last_seq: Option<SequenceNumber>,
    /// Whether the archive says that the shard ends there.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The checkpoint of the shard's lease.
    pub checkpoint: Option<String>,
    /// Objects ahead of that, as a processor leaves them that is stopped before it has written its row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ahead: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.more_findings += 1;
        }
    }
}

/// The report as people read it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (objects, shards) = (counted(self.objects, "object"), counted(self.shards.len() as u64, "shard"));
        writeln!(f, "{}: {objects} of {shards}, {}", prefix(&self.stream), bytes(self.bytes))?;
        for (shard, seen) in &self.shards {
            let (objects, records) = (counted(seen.objects, "object"), counted(seen.records, "record"));
            write!(f, "  {shard}  {objects}, {records}, {}", counted(seen.lines, "line"))?;
            let for_good = if seen.is_final { ", for good" } else { "" };
            seen.last_seq.iter().try_for_each(|last| write!(f, "; ends with {last}{for_good}"))?;
            seen.checkpoint.iter().try_for_each(|checkpoint| write!(f, "; the lease is at {checkpoint}"))?;
            seen.ahead.iter().try_for_each(|key| {
                write!(f, "; {key} is ahead of it, as a processor leaves objects that is stopped before it says so")
            })?;
            writeln!(f)?;
        }
        if !self.has_leases {
            writeln!(f, "no lease table was looked at: what is gone from, or added at, a chain's end is not seen")?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        match self.findings.len() as u64 + self.more_findings {
            0 => writeln!(f, "clean: no object is missing, added or altered"),
            found => writeln!(f, "not clean: {}", counted(found, "finding")),
        }
    }
}

/// The rows of the lease table.
type Table = BTreeMap<String, Lease>;

/// Where the chains of shards must end.
type Promises = BTreeMap<String, Promised>;

/// An object, as it came.
struct Fetched {
    key: String,
    metadata: Metadata,
    /// The bytes, or why there are none.
    bytes: Result<Bytes, String>,
}

impl Verify {
    /// Looks at everything. `progress` hears how far it has come.
    pub async fn run(&self, mut progress: impl FnMut(&Report)) -> Result<Report, VerifyError> {
        let mut report = Report { stream: self.stream.clone(), ..Report::default() };
        // The rows are read first: what is archived behind them is there when it is looked for.
        let promised = self.promised(&mut report).await?;
        let (mut walks, mut ends) = (BTreeMap::<String, Walk>::new(), BTreeMap::<String, Ends>::new());
        let mut keys = Keys::new(self.archive.clone(), &self.stream, self.span, None);
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        while let Some(page) = keys.next_page().await.map_err(VerifyError::Archive)? {
            let page = page.into_iter().filter(|key| self.is_wanted(key));
            let mut objects = futures::stream::iter(page).map(|key| self.object(key)).buffered(OBJECTS_AT_ONCE);
            while let Some(object) = objects.next().await {
                let (key, size, seen) = object.map_err(VerifyError::Archive)?;
                report.hour = read_hour(&self.stream, &key).or(report.hour);
                if let Some((shard, head)) = note(&mut report, &self.stream, &key, size, seen) {
                    ends.entry(shard.clone()).or_default().push(head.clone());
                    if !walks.contains_key(&shard) {
                        let begun = self.begin(&shard, &mut found).await?;
                        walks.insert(shard.clone(), begun.unwrap_or_else(|| self.walk(&shard)));
                    }
                    walks.entry(shard).and_modify(|walk| walk.push(head, &mut found));
                    sort(&mut found, &mut missing, &mut report);
                }
                progress(&report);
            }
        }
        for shard in report.shards.keys().filter(|shard| self.shard.as_ref().is_none_or(|wanted| wanted == *shard)) {
            if !walks.contains_key(shard)
                && let Some(begun) = self.begin(shard, &mut found).await?
            {
                walks.insert(shard.clone(), begun);
            }
        }
        let followed = self.follow(&report, &mut walks, &mut found).await?;
        self.finish(walks, &promised, &followed, &mut found);
        sort(&mut found, &mut missing, &mut report);
        for finding in missing {
            if !self.came_late(&finding).await? {
                report.find(finding);
            }
        }
        self.anchor(&ends, &mut report).await?;
        Ok(report)
    }

    /// Looks whether the rows know of what is archived, and waits for those that do not yet.
    async fn anchor(&self, ends: &BTreeMap<String, Ends>, report: &mut Report) -> Result<(), VerifyError> {
        let Some(leases) = &self.leases else { return Ok(()) };
        let named = |finding: &Finding| match finding {
            Finding::Added { key, .. } => Some(key.clone()),
            _ => None,
        };
        let named: BTreeSet<String> = report.findings.iter().filter_map(named).collect();
        let (then, begun) = (table(&**leases).await?, Instant::now());
        let (mut now, mut found) = (then.clone(), ahead(ends, &then, &named));
        let is_past = |shard: &str| then.get(shard).is_some_and(|row| row.checkpoint == Checkpoint::ShardEnd);
        while found.iter().any(|(shard, _)| !is_past(shard.as_str())) && begun.elapsed() < AHEAD_MAX {
            tokio::time::sleep(ROWS_EVERY).await;
            now = table(&**leases).await?;
            found = ahead(ends, &now, &named);
        }
        for (shard, heads) in found {
            let row = &now[shard];
            let verdict = judge(&heads, then.get(shard), row);
            let keys = heads.into_iter().map(|head| head.key.clone());
            match verdict {
                Ahead::Left => report.shards.entry(shard.clone()).or_default().ahead = keys.collect(),
                Ahead::Added => keys.for_each(|key| report.find(Finding::Added { key, why: beyond(row) })),
            }
        }
        for (shard, seen) in &mut report.shards {
            seen.checkpoint = now.get(shard).map(|row| row.checkpoint.to_string()).or(seen.checkpoint.take());
        }
        let unknown = ends.iter().filter(|(shard, _)| !now.contains_key(*shard) && !then.contains_key(*shard));
        for Head { last_arrival, key, .. } in unknown.filter_map(|(_, ends)| ends.wants_row(self.stream_created)) {
            if self.kept_since.is_some_and(|since| *last_arrival >= since) && !named.contains(key) {
                let why = "the stream keeps records for longer than that, and its shard has no row in the lease table";
                report.find(Finding::Added { key: key.clone(), why: why.to_owned() });
            }
        }
        Ok(())
    }

    fn walk(&self, shard: &str) -> Walk {
        Walk::new(shard, self.span.from.is_some())
    }

    /// Where each shard's chain must end.
    async fn promised(&self, report: &mut Report) -> Result<Promises, VerifyError> {
        let Some(leases) = &self.leases else { return Ok(Promises::new()) };
        report.has_leases = true;
        let rows = leases.list().await.map_err(VerifyError::Leases)?;
        let rows = rows.into_iter().filter(|row| self.shard.as_ref().is_none_or(|shard| row.key == *shard));
        let mut promised = Promises::new();
        for row in rows {
            let shard = report.shards.entry(row.key.clone()).or_default();
            shard.checkpoint = Some(row.checkpoint.to_string());
            promised.extend(Promised::by(&row).map(|promise| (row.key.clone(), promise)));
        }
        Ok(promised)
    }

    fn is_wanted(&self, key: &str) -> bool {
        let Some(wanted) = &self.shard else { return true };
        read_key(&self.stream, key).is_some_and(|(shard, _)| shard == wanted)
    }

    /// Fetches an object and looks at it.
    async fn object(&self, key: String) -> Result<(String, u64, Inspected), ArchiveError> {
        let Fetched { key, metadata, bytes } = self.fetch(key).await?;
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(why) => {
                let seen = Inspected::unopened(&key, &metadata, why);
                return Ok((key, 0, seen));
            }
        };
        let (stream, name, size) = (self.stream.clone(), key.clone(), bytes.len() as u64);
        let seen = tokio::task::spawn_blocking(move || inspect(&stream, &name, &metadata, &bytes)).await;
        Ok((key, size, seen.expect("looking at an object does not panic")))
    }

    /// An object that is listed and cannot be had (it may lie in a colder class of storage, or
    /// have lost bytes on its disk) stops nobody.
    async fn fetch(&self, key: String) -> Result<Fetched, ArchiveError> {
        let metadata = patiently(|| self.archive.head(&key)).await?.unwrap_or_default();
        let bytes = match patiently(|| self.archive.get(&key)).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err("it is gone since it was listed".to_owned()),
            Err(ArchiveError::Refused { cause, .. } | ArchiveError::Transient { cause, .. }) => {
                Err(format!("it cannot be read: {}", with_causes(&*cause)))
            }
        };
        Ok(Fetched { key, metadata, bytes })
    }

    /// Begins the walk along a part of a chain with the object before it, which tells where the part
    /// must begin. `None` where there is none.
    async fn begin(&self, shard: &str, found: &mut Vec<Finding>) -> Result<Option<Walk>, VerifyError> {
        let Some(from) = self.span.from else { return Ok(None) };
        for hour in 1..=HOURS_BEFORE {
            let of = (self.stream.as_str(), shard);
            let objects = patiently(|| hour_of_shard(&*self.archive, of, from - hour * HOUR)).await;
            let Some((_, key)) = objects.map_err(VerifyError::Archive)?.into_iter().max() else { continue };
            let metadata = patiently(|| self.archive.head(&key)).await.map_err(VerifyError::Archive)?;
            return Ok(by_metadata(&key, &metadata.unwrap_or_default()).map(|head| {
                let mut walk = self.walk(shard);
                walk.push(head, found);
                walk
            }));
        }
        Ok(None)
    }

    /// Appends to each part of a chain that ends earlier than the archive the object behind
    /// it, which tells where the part must end. Returns the shards that have one.
    async fn follow(
        &self,
        report: &Report,
        walks: &mut BTreeMap<String, Walk>,
        found: &mut Vec<Finding>,
    ) -> Result<BTreeSet<String>, VerifyError> {
        let mut followed = BTreeSet::new();
        let Some(to) = self.span.to else { return Ok(followed) };
        let is_open = |shard: &&String| report.shards.get(*shard).is_none_or(|seen| !seen.is_final);
        let mut waiting: BTreeSet<String> = walks.keys().filter(is_open).cloned().collect();
        let mut keys = Keys::new(self.archive.clone(), &self.stream, Span { from: Some(to), to: None }, None);
        while !waiting.is_empty() {
            let Some(page) = keys.next_page().await.map_err(VerifyError::Archive)? else { break };
            let behind = page.iter().filter(|key| read_hour(&self.stream, key).is_some_and(|hour| hour >= to));
            for (key, shard) in behind.filter_map(|key| Some((key, read_key(&self.stream, key)?.0))) {
                if !waiting.remove(shard) {
                    continue;
                }
                let metadata = patiently(|| self.archive.head(key)).await.map_err(VerifyError::Archive)?;
                let walk = walks.get_mut(shard).zip(by_metadata(key, &metadata.unwrap_or_default()));
                if let Some((walk, head)) = walk {
                    walk.push(head, found);
                    followed.insert(shard.to_owned());
                }
            }
        }
        Ok(followed)
    }

    /// Ends all walks, and those that never began: of shards without an object. A part of a
    /// chain that goes on behind it says nothing of its end.
    fn finish(
        &self,
        mut walks: BTreeMap<String, Walk>,
        promised: &Promises,
        followed: &BTreeSet<String>,
        found: &mut Vec<Finding>,
    ) {
        for (shard, promise) in promised {
            if self.is_within(promise) {
                walks.entry(shard.clone()).or_insert_with_key(|shard| self.walk(shard));
            }
        }
        for (shard, walk) in walks {
            walk.finish(promised.get(&shard).filter(|_| !followed.contains(&shard)), found);
        }
    }

    /// Whether the record that is promised arrived in the span.
    fn is_within(&self, promise: &Promised) -> bool {
        let is_within = |at: Millis| self.span.from.is_none_or(|from| at >= from) && !self.span.is_before(at);
        self.span == Span::default() || promise.arrival.is_some_and(is_within)
    }

    /// Whether what seemed to be missing was archived while others were looked at.
    async fn came_late(&self, finding: &Finding) -> Result<bool, VerifyError> {
        let Finding::Missing { shard, after, since: Some(since), through: Some(through), next: Some(next), .. } =
            finding
        else {
            return Ok(false);
        };
        let span = Span { from: Some(*since), to: read_hour(&self.stream, next).map(|hour| hour + 1) };
        let mut keys = Keys::new(self.archive.clone(), &self.stream, span, None);
        while let Some(page) = keys.next_page().await.map_err(VerifyError::Archive)? {
            let fills = |key: &String| {
                read_key(&self.stream, key)
                    .is_some_and(|(of, first)| of == shard && Some(&first) > after.as_ref() && first <= *through)
            };
            for key in page.iter().filter(|key| fills(key)) {
                let metadata = patiently(|| self.archive.head(key)).await.map_err(VerifyError::Archive)?;
                let prev =
                    metadata.unwrap_or_default().remove("prev-seq").and_then(|digits| SequenceNumber::new(&digits));
                if prev == *after {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Tells what was found, but for what is missing: that is looked for once more.
fn sort(found: &mut Vec<Finding>, missing: &mut Vec<Finding>, report: &mut Report) {
    for finding in found.drain(..) {
        if matches!(finding, Finding::Missing { .. }) && missing.len() < FINDINGS_MAX {
            missing.push(finding);
        } else {
            report.find(finding);
        }
    }
}

async fn table(leases: &dyn Leases) -> Result<Table, VerifyError> {
    let rows = leases.list().await.map_err(VerifyError::Leases)?;
    Ok(rows.into_iter().map(|row| (row.key.clone(), row)).collect())
}

/// The objects of each shard that are ahead of its row, but for those that are `named` already.
fn ahead<'e>(
    ends: &'e BTreeMap<String, Ends>,
    table: &Table,
    named: &BTreeSet<String>,
) -> Vec<(&'e String, Vec<&'e Head>)> {
    let of = |(shard, ends): (&'e String, &'e Ends)| {
        let heads = ends.ahead(table.get(shard)?).into_iter();
        Some((shard, heads.filter(|head| !named.contains(&head.key)).collect::<Vec<_>>()))
    };
    ends.iter().filter_map(of).filter(|(_, heads)| !heads.is_empty()).collect()
}

/// Why an object that is ahead of its row has no place.
fn beyond(row: &Lease) -> String {
    match &row.checkpoint {
        Checkpoint::At(record) => {
            format!("it is behind record {record}, with which the lease says that its chain ends")
        }
        Checkpoint::ShardEnd => "it is behind the end of its shard".to_owned(),
        Checkpoint::TrimHorizon | Checkpoint::AtTimestamp(_) => {
            "the lease says that nothing of its shard has been archived".to_owned()
        }
    }
}

/// An error and its causes on one line.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Counts an object. Returns its shard and place, where it has one.
fn note(report: &mut Report, stream: &str, key: &str, size: u64, seen: Inspected) -> Option<(String, Head)> {
    report.objects += 1;
    report.bytes += size;
    let finding = |why| match seen.is_open {
        true => Finding::Altered { key: key.to_owned(), why },
        false => Finding::Unopened { key: key.to_owned(), why },
    };
    let Some((shard, _)) = read_key(stream, key) else {
        report.find(Finding::Added { key: key.to_owned(), why: "its key is none of this program's".to_owned() });
        return None;
    };
    seen.faults.into_iter().map(finding).for_each(|finding| report.find(finding));
    let of_shard = report.shards.entry(shard.to_owned()).or_default();
    of_shard.objects += 1;
    of_shard.records += seen.records;
    of_shard.lines += seen.lines;
    let head = seen.head?;
    of_shard.is_final = head.is_final;
    if head.is_final {
        // It holds no records, and stands where no record is.
        return Some((shard.to_owned(), head));
    }
    let first = of_shard.first_seq.get_or_insert_with(|| head.first.clone());
    *first = head.first.clone().min(first.clone());
    of_shard.last_seq = of_shard.last_seq.take().max(Some(head.last.clone()));
    Some((shard.to_owned(), head))
}

#[cfg(test)]
mod tests;
