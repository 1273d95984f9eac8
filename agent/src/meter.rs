//! Counters that others may watch: a progress bar, a status page, `status`.

use crate::report::{FileReport, Report, RulesReport, Skipped, StreamReport, Trouble};
use crate::spool::Spool;
use crate::tail::{Reader, now};
use event::Millis;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// What the agent has done so far. Cheap to share.
#[derive(Debug, Default)]
pub struct Meter {
    lines: AtomicU64,
    unfinished: AtomicU64,
    frames: AtomicU64,
    frame_bytes: AtomicU64,
    refused: AtomicU64,
    retried: AtomicU64,
    gaps: AtomicU64,
    gap_bytes: AtomicU64,
    last_put: AtomicU64,
    tailer_seen: AtomicU64,
    shipper_seen: AtomicU64,
    started: AtomicU64,
    opened: watch::Sender<u64>,
    files: Mutex<BTreeMap<PathBuf, FileState>>,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    skipped: Vec<Skipped>,
    trouble: Option<Trouble>,
    shards: Option<u64>,
    rules: RulesReport,
    spool: Option<Arc<Spool>>,
}

#[derive(Debug, Clone)]
struct FileState {
    progress: FileProgress,
    life: Option<String>,
    safe: u64,
    lag_bytes: u64,
    behind_since: Option<Millis>,
}

/// How far a file has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FileProgress {
    /// Bytes read, packed ones for `.gz`.
    pub bytes: u64,
    /// Bytes there are.
    pub size: u64,
}

impl Meter {
    pub(crate) fn line(&self) {
        self.lines.fetch_add(1, Ordering::Relaxed);
    }

    /// A line was not looked at to its end when it was judged.
    pub(crate) fn unfinished(&self) {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stored(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.frame_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last_put.store(now() as u64, Ordering::Relaxed);
        self.rest().trouble = None;
    }

    /// The tailer is alive: it moves, or waits for something that it knows.
    pub(crate) fn tailer_lives(&self) {
        self.tailer_seen.store(now() as u64, Ordering::Relaxed);
    }

    /// The shipper is alive.
    pub(crate) fn shipper_lives(&self) {
        self.shipper_seen.store(now() as u64, Ordering::Relaxed);
    }

    /// Whether a station has shown no life for `limit`.
    pub fn hangs(&self, limit: Duration) -> bool {
        let late = now() as u64 - limit.as_millis() as u64;
        [&self.tailer_seen, &self.shipper_seen].iter().any(|seen| (1..late).contains(&seen.load(Ordering::Relaxed)))
    }

    /// Changes each time that the spool has been opened: from then on the folder is ours.
    pub fn openings(&self) -> watch::Receiver<u64> {
        self.opened.subscribe()
    }

    /// How things are, on one line.
    pub fn summary(&self) -> String {
        let trouble = {
            let rest = self.rest();
            let spool = rest.spool.as_ref().and_then(|spool| spool.report().trouble);
            spool.or_else(|| rest.trouble.clone())
        };
        match trouble {
            Some(trouble) => trouble.reason,
            None => format!("{} lines read, {} records in the stream", self.lines(), self.frames().0),
        }
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Which rules are in use.
    pub(crate) fn rules(&self, rules: RulesReport) {
        self.rest().rules = rules;
    }

    pub(crate) fn retried(&self, frames: usize) {
        self.retried.fetch_add(frames as u64, Ordering::Relaxed);
    }

    pub(crate) fn gap(&self, bytes: u64) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
        self.gap_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes why nothing arrives. The time of the first such note stays.
    pub(crate) fn stream_trouble(&self, reason: String) {
        let mut rest = self.rest();
        let since = rest.trouble.as_ref().map_or_else(now, |trouble| trouble.since);
        rest.trouble = Some(Trouble { since, reason });
    }

    pub(crate) fn shards(&self, shards: Option<usize>) {
        self.rest().shards = shards.map(|shards| shards as u64);
    }

    pub(crate) fn watch_spool(&self, spool: &Arc<Spool>) {
        self.rest().spool = Some(Arc::clone(spool));
        let _ = self.started.compare_exchange(0, now() as u64, Ordering::Relaxed, Ordering::Relaxed);
        self.opened.send_modify(|times| *times += 1);
    }

    pub(crate) fn skipped(&self, skipped: impl Iterator<Item = (PathBuf, String)>) {
        self.rest().skipped = skipped.map(|(path, reason)| Skipped { path, reason }).collect();
    }

    pub(crate) fn read(&self, reader: &Reader) {
        let (bytes, size) = reader.follower.progress();
        let (life, safe) = reader.safe();
        let (progress, life) = (FileProgress { bytes, size }, life.map(|life| life.to_string()));
        let done = if reader.follower.is_packed() { bytes } else { safe };
        let lag_bytes = size.saturating_sub(done);
        let state = FileState { progress, life, safe, lag_bytes, behind_since: reader.behind_since() };
        let mut files = self.files();
        match files.get_mut(&reader.path) {
            Some(known) => *known = state,
            None => drop(files.insert(reader.path.clone(), state)),
        }
    }

    /// Lines read.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Frames in the stream, and their bytes.
    pub fn frames(&self) -> (u64, u64) {
        (self.frames.load(Ordering::Relaxed), self.frame_bytes.load(Ordering::Relaxed))
    }

    /// Frames that the stream will never take.
    pub fn dead(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How far each file has been read.
    pub fn progress(&self) -> BTreeMap<PathBuf, FileProgress> {
        self.files().iter().map(|(path, state)| (path.clone(), state.progress)).collect()
    }

    /// Forgets a file that was closed under a name that it has lost.
    pub(crate) fn closed(&self, path: &Path) {
        if !path.exists() {
            self.files().remove(path);
        }
    }

    /// All of it.
    pub fn report(&self, about: About) -> Report {
        let (records, bytes) = self.frames();
        let now = now();
        let files = self.files().iter().map(|(path, state)| state.report(path, now)).collect();
        let rest = self.rest();
        let spool = rest.spool.as_ref().map(|spool| spool.report()).unwrap_or_default();
        let last_put = self.last_put.load(Ordering::Relaxed) as Millis;
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            host: about.host,
            started: self.started.load(Ordering::Relaxed) as Millis,
            now,
            lines: self.lines(),
            unfinished: self.unfinished.load(Ordering::Relaxed),
            gaps: self.gaps.load(Ordering::Relaxed),
            gap_bytes: self.gap_bytes.load(Ordering::Relaxed),
            files,
            skipped: rest.skipped.clone(),
            rules: rest.rules.clone(),
            spool,
            stream: StreamReport {
                name: about.stream,
                records,
                bytes,
                retried: self.retried.load(Ordering::Relaxed),
                refused: self.dead(),
                last_put: (last_put > 0).then_some(last_put),
                shards: rest.shards,
                credentials: about.credentials,
                trouble: rest.trouble.clone(),
            },
        }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, FileState>> {
        self.files.lock().expect("nobody panics with the counters in hand")
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().expect("nobody panics with the counters in hand")
    }
}

impl FileState {
    fn report(&self, path: &Path, now: Millis) -> FileReport {
        let waiting = self.behind_since.map_or(0, |since| (now - since).max(0) as u64 / 1_000);
        FileReport {
            path: path.to_owned(),
            life: self.life.clone(),
            offset: self.safe,
            size: self.progress.size,
            lag_bytes: self.lag_bytes,
            lag_seconds: waiting,
        }
    }
}

/// What a report says of the agent itself.
#[derive(Debug, Clone)]
pub struct About {
    pub host: String,
    pub stream: String,
    pub credentials: Option<String>,
}
