//! Files into lines: finds them, follows them through rotation, reads on.
//!
//! One thread does the whole hot path up to the frame, because handing single lines
//! from one task to another costs more than the work on them.

mod file;
mod lines;
mod find;

pub use file::{FileId, Follower, Look, Witness};
pub use find::is_pattern;
pub use lines::{Lines, RawLine};

use crate::batch::{Batch, Packer, Parcel};
use crate::checkpoint::{LifeNumber, Mark};
use crate::meter::Meter;
use crate::settings::Settings;
use event::line::Container;
use event::{Classifier, HostKey, Millis, Origin};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A rotated file that has been read to its end is closed when nobody wrote to it for
/// this long: Apache's children go on writing to the old file until they have finished
/// their requests.
const QUIET: Duration = Duration::from_secs(60);

/// Pause after a wake-up, so that a busy log is read in bursts and not line by line.
const COALESCE: Duration = Duration::from_millis(5);

/// Why the tailer wakes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A file or folder has changed, or it is time to stop.
    Look,
}

/// Reads until it is told to stop, or, unless it follows, to the end of all files.
/// Ends early when nobody takes the frames any more.
pub fn run(settings: Settings, marks: Vec<Mark>, frames: mpsc::Sender<Parcel>, wakes: Wakes, stop: CancellationToken) {
    let mut tailer = Tailer::new(settings, marks, frames, wakes.sender);
    while !stop.is_cancelled() {
        let busy = tailer.round();
        if tailer.is_abandoned() {
            return;
        }
        if busy {
            continue;
        }
        if !tailer.settings.follow {
            tailer.take_rests();
            break;
        }
        match wakes.receiver.recv_timeout(tailer.patience()) {
            Ok(Wake::Look) => std::thread::sleep(COALESCE),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
    tailer.close_all();
}

/// The way to wake the tailer up. One wake-up waiting is enough.
pub struct Wakes {
    pub sender: SyncSender<Wake>,
    pub receiver: Receiver<Wake>,
}

impl Wakes {
    /// A fresh pair.
    pub fn new() -> Wakes {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        Wakes { sender, receiver }
    }
}

impl Default for Wakes {
    fn default() -> Wakes {
        Wakes::new()
    }
}

struct Tailer {
    settings: Settings,
    key: HostKey,
    classifier: Classifier,
    meter: Arc<Meter>,
    frames: mpsc::Sender<Parcel>,
    packer: Packer,
    watch: Watch,
    /// What earlier runs remember of lives that are not open yet.
    marks: Vec<Mark>,
    /// Oldest first.
    followers: Vec<Follower>,
    batches: HashMap<LifeNumber, Batch>,
    /// Day of the last dated line of each open life.
    days: HashMap<LifeNumber, event::Day>,
    /// Since when a file has neither been at a live path nor grown.
    quiet: HashMap<LifeNumber, Instant>,
    /// Paths that have been complained about, so that it is done once.
    complained: HashSet<PathBuf>,
    lives: u64,
    next_sweep: Instant,
}

impl Tailer {
    fn new(settings: Settings, marks: Vec<Mark>, frames: mpsc::Sender<Parcel>, wake: SyncSender<Wake>) -> Tailer {
        Tailer {
            key: HostKey::derive(&settings.host.id),
            classifier: Classifier::embedded(),
            meter: Arc::clone(&settings.meter),
            watch: Watch::new(settings.follow, wake),
            settings,
            frames,
            packer: Packer::default(),
            marks,
            followers: Vec::new(),
            batches: HashMap::new(),
            days: HashMap::new(),
            quiet: HashMap::new(),
            complained: HashSet::new(),
            lives: 0,
            next_sweep: Instant::now(),
        }
    }

    /// One turn for every file. True if any had something to read.
    fn round(&mut self) -> bool {
        if Instant::now() >= self.next_sweep {
            self.sweep();
        }
        let mut busy = false;
        let mut busy_families: HashSet<PathBuf> = HashSet::new();
        for at in 0..self.followers.len() {
            // A younger file of a family waits until the older one is at its end.
            if busy_families.contains(&self.followers[at].live) {
                continue;
            }
            if self.read(at) {
                busy = true;
                busy_families.insert(self.followers[at].live.clone());
            }
        }
        if self.settings.follow && !busy {
            busy = self.find_rotations();
        }
        self.close_late();
        busy
    }

    /// Reads a burst from one file. True if there was anything.
    fn read(&mut self, at: usize) -> bool {
        let number = self.followers[at].number;
        match self.followers[at].look() {
            Ok(Look::Read(0)) => false,
            Ok(Look::Read(_)) => {
                self.quiet.remove(&number);
                self.take_lines(at);
                self.meter.read(&self.followers[at]);
                true
            }
            Ok(Look::Replaced) => {
                self.start_over(at);
                true
            }
            Err(cause) => {
                let path = self.followers[at].path.clone();
                self.complain(&path, &format!("cannot read on: {cause}"));
                false
            }
        }
    }

    fn take_lines(&mut self, at: usize) {
        let read = now();
        let follower = &mut self.followers[at];
        while let Some(line) = follower.lines.next_line() {
            self.meter.line();
            let batch = match self.batches.get_mut(&follower.number) {
                Some(batch) => batch,
                None => {
                    let live = &follower.live;
                    let life = follower.life.get_or_insert_with(|| self.key.life(&live.to_string_lossy(), line.text));
                    let origin = origin(&self.settings, live, *life, follower.format, self.classifier.ruleset());
                    let day = self.days.get(&follower.number).copied();
                    let batch = Batch::new(origin, day, Instant::now());
                    self.batches.entry(follower.number).or_insert(batch)
                }
            };
            batch.push(line, &self.classifier, read);
            if self.packer.is_full(batch) {
                let batch = self.batches.remove(&follower.number);
                close(follower, batch, &mut self.packer, &mut self.days, &self.frames);
            }
        }
    }

    /// The last line of a file that ends without a line feed, for a run that does not
    /// wait for more.
    fn take_rests(&mut self) {
        for at in 0..self.followers.len() {
            let read = now();
            let follower = &mut self.followers[at];
            let Some(line) = follower.lines.rest() else { continue };
            self.meter.line();
            let life = follower.life.get_or_insert_with(|| self.key.life(&follower.live.to_string_lossy(), line.text));
            let origin = origin(&self.settings, &follower.live, *life, follower.format, self.classifier.ruleset());
            let day = self.days.get(&follower.number).copied();
            let batch = self.batches.entry(follower.number).or_insert_with(|| Batch::new(origin, day, Instant::now()));
            batch.push(line, &self.classifier, read);
        }
    }

    /// The file holds other bytes than before: what is left of the old life goes out,
    /// and a new one begins.
    fn start_over(&mut self, at: usize) {
        self.close_batch(at);
        let number = self.next_life();
        let follower = &mut self.followers[at];
        self.days.remove(&follower.number);
        tracing::info!(path = %follower.path.display(), "the file was truncated or replaced; reading it from its start");
        if let Err(cause) = follower.restart(number) {
            let path = follower.path.clone();
            self.complain(&path, &format!("cannot start over: {cause}"));
        }
    }

    /// Looks for files, new and rotated ones.
    fn sweep(&mut self) {
        self.next_sweep = Instant::now() + self.settings.sweep;
        let found = find::find(&self.settings.files, &self.marks, self.followers.is_empty());
        for folder in &found.folders {
            self.watch.folder(folder);
        }
        for (path, reason) in &found.skipped {
            self.complain(path, reason);
        }
        let live: HashSet<FileId> = found.files.iter().map(|file| file.id).collect();
        for file in found.files {
            if !self.followers.iter().any(|follower| follower.id == file.id) {
                self.open(file, &live);
            }
        }
        self.retire(&live);
    }

    fn open(&mut self, found: find::Found, live: &HashSet<FileId>) {
        let number = self.next_life();
        let opened = file::open(&found.path).and_then(|opened| match opened {
            Some((file, meta)) => Follower::new(number, &found.path, found.format, file, &meta).map(Some),
            None => Ok(None),
        });
        match opened {
            Ok(Some(mut follower)) => {
                self.resume(&mut follower, live);
                self.meter.read(&follower);
                self.followers.push(follower);
            }
            Ok(None) => self.complain(&found.path, "it is not a regular file; skipped"),
            Err(cause) => self.complain(&found.path, &format!("cannot open it: {cause}")),
        }
    }

    /// Finds the remembered life that a newly opened file goes on with: of this very
    /// file, or of one that is gone and had the same bytes (moved, copied, packed).
    fn resume(&mut self, follower: &mut Follower, live: &HashSet<FileId>) {
        let own = |mark: &Mark| mark.file == follower.id;
        let moved = |mark: &Mark| mark.path == follower.live && !live.contains(&mark.file);
        let mut candidates: Vec<Mark> = self.marks.iter().filter(|m| own(m)).cloned().collect();
        candidates.extend(self.marks.iter().filter(|m| !own(m) && moved(m)).cloned());
        for mark in candidates.iter().rev() {
            match follower.resume(mark) {
                Ok(true) => {
                    self.days.extend(mark.position.day.map(|day| (follower.number, day)));
                    tracing::debug!(path = %follower.path.display(), offset = mark.position.offset, "reading goes on");
                    return;
                }
                Ok(false) => {}
                Err(cause) => tracing::debug!(path = %follower.path.display(), %cause, "cannot compare it with what was read"),
            }
        }
    }

    /// A live path that leads to another file than the open one: look again at once.
    fn find_rotations(&mut self) -> bool {
        let moved = self.followers.iter().any(|follower| {
            !self.quiet.contains_key(&follower.number)
                && std::fs::symlink_metadata(&follower.path).map(|meta| FileId::of(&meta)).ok() != Some(follower.id)
        });
        if moved {
            self.sweep();
        }
        moved
    }

    /// Closes rotated files that nobody writes to any more.
    fn retire(&mut self, live: &HashSet<FileId>) {
        let now = Instant::now();
        for at in (0..self.followers.len()).rev() {
            let follower = &self.followers[at];
            if live.contains(&follower.id) && follower.path == follower.live {
                self.quiet.remove(&follower.number);
                continue;
            }
            let since = *self.quiet.entry(follower.number).or_insert(now);
            if now.duration_since(since) >= QUIET {
                self.close_batch(at);
                let follower = self.followers.remove(at);
                self.quiet.remove(&follower.number);
                self.days.remove(&follower.number);
                self.remember(&follower);
            }
        }
    }

    /// Keeps a closed file's position: a pattern may match its new name.
    fn remember(&mut self, follower: &Follower) {
        let Some(mark) = follower.mark(None) else { return };
        self.marks.retain(|known| known.file != mark.file);
        self.marks.push(mark);
    }

    /// Closes batches whose first line has waited long enough.
    fn close_late(&mut self) {
        let linger = self.settings.linger;
        for at in 0..self.followers.len() {
            let late = |batch: &Batch| batch.opened().elapsed() >= linger;
            if self.batches.get(&self.followers[at].number).is_some_and(late) {
                self.close_batch(at);
            }
        }
    }

    fn close_all(&mut self) {
        for at in 0..self.followers.len() {
            self.close_batch(at);
        }
    }

    fn close_batch(&mut self, at: usize) {
        let batch = self.batches.remove(&self.followers[at].number);
        close(&self.followers[at], batch, &mut self.packer, &mut self.days, &self.frames);
    }

    /// How long nothing needs to be done, unless a file changes.
    fn patience(&self) -> Duration {
        let linger = self.batches.values().map(|batch| batch.opened() + self.settings.linger).min();
        let next = linger.unwrap_or(self.next_sweep).min(self.next_sweep);
        next.saturating_duration_since(Instant::now()).min(self.watch.patience())
    }

    fn is_abandoned(&self) -> bool {
        self.frames.is_closed()
    }

    fn next_life(&mut self) -> LifeNumber {
        self.lives += 1;
        LifeNumber(self.lives)
    }

    fn complain(&mut self, path: &Path, reason: &str) {
        if self.complained.insert(path.to_owned()) {
            tracing::warn!(path = %path.display(), "{reason}");
        }
    }
}

/// Packs a batch and hands its frames on; waits while the queue is full.
fn close(
    follower: &Follower,
    batch: Option<Batch>,
    packer: &mut Packer,
    days: &mut HashMap<LifeNumber, event::Day>,
    frames: &mpsc::Sender<Parcel>,
) {
    let Some(batch) = batch else { return };
    days.extend(batch.day().map(|day| (follower.number, day)));
    for parcel in packer.pack(&batch, follower.mark(batch.day()), follower.number) {
        // A closed queue is noticed by `is_abandoned`; the frame is read again next time.
        if frames.blocking_send(parcel).is_err() {
            return;
        }
    }
}

fn origin(settings: &Settings, live: &Path, life: event::LifeId, format: event::Format, ruleset: &str) -> Origin {
    Origin {
        host: settings.host.clone(),
        cloud: settings.cloud.clone(),
        container: None::<Container>,
        path: live.to_string_lossy().into_owned(),
        life,
        format,
        ruleset: ruleset.to_owned(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis() as Millis)
}

/// Notices changes in the folders of the files, where the system can.
struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
}

impl Watch {
    fn new(follow: bool, wake: SyncSender<Wake>) -> Watch {
        // A wake-up that finds the queue full is not lost: one is waiting already.
        let tell = move |_| {
            let _ = wake.try_send(Wake::Look);
        };
        let watcher = if follow { notify::recommended_watcher(tell) } else { return Watch::none() };
        match watcher {
            Ok(watcher) => Watch { watcher: Some(watcher), folders: HashSet::new() },
            Err(cause) => {
                tracing::warn!(%cause, "the system does not tell of changed files; looking four times a second instead");
                Watch::none()
            }
        }
    }

    fn none() -> Watch {
        Watch { watcher: None, folders: HashSet::new() }
    }

    fn folder(&mut self, folder: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        if self.folders.contains(folder) {
            return;
        }
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => drop(self.folders.insert(folder.to_owned())),
            Err(cause) => tracing::debug!(folder = %folder.display(), %cause, "cannot watch it yet"),
        }
    }

    /// How long a change can go unnoticed without looking.
    fn patience(&self) -> Duration {
        if self.watcher.is_some() { Duration::from_secs(60) } else { Duration::from_millis(250) }
    }
}
