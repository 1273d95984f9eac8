//! Files into lines: finds them, follows them through rotation, reads on.
//!
//! One thread does the whole hot path up to the frame, because handing single lines
//! from one task to another costs more than the work on them.

mod find;
mod file;
mod lines;
mod reader;

pub use file::{FileId, Follower, Look, Witness};
pub use find::is_pattern;
pub use lines::{Lines, RawLine};
pub(crate) use reader::now;

use crate::batch::Parcel;
use crate::checkpoint::{LifeNumber, Mark};
use crate::settings::Settings;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use reader::{Desk, Reader};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};
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
    let watch = Watch::new(settings.follow, wakes.sender);
    let mut tailer = Tailer::new(Desk::new(settings, frames), marks, watch);
    while !stop.is_cancelled() && !tailer.desk.is_abandoned() {
        if tailer.round() {
            continue;
        }
        if !tailer.desk.settings.follow {
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
    desk: Desk,
    watch: Watch,
    /// What earlier runs remember of lives.
    marks: Vec<Mark>,
    /// Oldest first.
    readers: Vec<Reader>,
    /// Paths that have been complained about, so that it is done once.
    complained: HashSet<PathBuf>,
    lives: u64,
    next_sweep: Instant,
}

impl Tailer {
    fn new(desk: Desk, marks: Vec<Mark>, watch: Watch) -> Tailer {
        let (readers, complained) = (Vec::new(), HashSet::new());
        Tailer { desk, watch, marks, readers, complained, lives: 0, next_sweep: Instant::now() }
    }

    /// One turn for every file. True if any had something to read.
    fn round(&mut self) -> bool {
        if Instant::now() >= self.next_sweep {
            self.sweep();
        }
        // A younger file of a family waits until the older one is at its end.
        let mut busy: HashSet<PathBuf> = HashSet::new();
        for at in 0..self.readers.len() {
            if !busy.contains(&self.readers[at].follower.live) && self.read(at) {
                busy.insert(self.readers[at].follower.live.clone());
            }
        }
        self.close_late();
        !busy.is_empty() || self.desk.settings.follow && self.finds_rotation()
    }

    /// Reads a burst from one file. True if there was anything.
    fn read(&mut self, at: usize) -> bool {
        match self.readers[at].read(&mut self.desk) {
            Ok(Look::Read(read)) => read > 0,
            Ok(Look::Replaced) => {
                self.start_over(at);
                true
            }
            Err(cause) => {
                self.complain(at, &format!("cannot read on: {cause}"));
                false
            }
        }
    }

    fn take_rests(&mut self) {
        self.readers.iter_mut().for_each(|reader| reader.take_rest(&mut self.desk));
    }

    /// The file holds other bytes than before: what is left of the old life goes out,
    /// and a new one begins.
    fn start_over(&mut self, at: usize) {
        let number = self.next_life();
        let reader = &mut self.readers[at];
        tracing::info!(path = %reader.follower.path.display(), "the file was truncated or replaced; reading it from its start");
        if let Err(cause) = reader.start_over(&mut self.desk, number) {
            self.complain(at, &format!("cannot start over: {cause}"));
        }
    }

    /// Looks for files, new and rotated ones.
    fn sweep(&mut self) {
        self.next_sweep = Instant::now() + self.desk.settings.sweep;
        let found = find::find(&self.desk.settings.files, &self.marks, self.readers.is_empty());
        for folder in &found.folders {
            self.watch.folder(folder);
        }
        for (path, reason) in &found.skipped {
            self.warn(path, reason);
        }
        let live: HashSet<FileId> = found.files.iter().map(|file| file.id).collect();
        for file in found.files {
            if !self.readers.iter().any(|reader| reader.follower.id == file.id) {
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
            Ok(Some(follower)) => {
                let mut reader = Reader::new(follower);
                self.resume(&mut reader, live);
                self.desk.meter.read(&reader.follower);
                self.readers.push(reader);
            }
            Ok(None) => self.warn(&found.path, "it is not a regular file; skipped"),
            Err(cause) => self.warn(&found.path, &format!("cannot open it: {cause}")),
        }
    }

    /// Finds the remembered life that a newly opened file goes on with: of this very
    /// file, or of one that is gone and had the same bytes (moved, copied, packed).
    fn resume(&self, reader: &mut Reader, live: &HashSet<FileId>) {
        let own = |mark: &&Mark| mark.file == reader.follower.id;
        let moved = |mark: &&Mark| mark.path == reader.follower.live && !live.contains(&mark.file);
        let candidates: Vec<_> =
            self.marks.iter().rev().filter(own).chain(self.marks.iter().rev().filter(moved)).collect();
        for mark in candidates {
            let path = reader.follower.path.display().to_string();
            match reader.resume(mark) {
                Ok(true) => return tracing::debug!(path, offset = mark.position.offset, "reading goes on"),
                Ok(false) => {}
                Err(cause) => tracing::debug!(path, %cause, "cannot compare it with what was read"),
            }
        }
    }

    /// Whether a live path leads to another file than the open one; then looks around
    /// at once.
    fn finds_rotation(&mut self) -> bool {
        let moved = self.readers.iter().any(|reader| {
            let there = std::fs::symlink_metadata(&reader.follower.path).map(|meta| FileId::of(&meta));
            reader.quiet.is_none() && there.ok() != Some(reader.follower.id)
        });
        if moved {
            self.sweep();
        }
        moved
    }

    /// Closes rotated files that nobody writes to any more.
    fn retire(&mut self, live: &HashSet<FileId>) {
        let now = Instant::now();
        for at in (0..self.readers.len()).rev() {
            let reader = &mut self.readers[at];
            if live.contains(&reader.follower.id) && reader.follower.path == reader.follower.live {
                reader.quiet = None;
            } else if now.duration_since(*reader.quiet.get_or_insert(now)) >= QUIET {
                reader.close(&mut self.desk);
                let reader = self.readers.remove(at);
                self.remember(&reader.follower);
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
        let linger = self.desk.settings.linger;
        for reader in &mut self.readers {
            if reader.waiting_since().is_some_and(|since| since.elapsed() >= linger) {
                reader.close(&mut self.desk);
            }
        }
    }

    fn close_all(&mut self) {
        self.readers.iter_mut().for_each(|reader| reader.close(&mut self.desk));
    }

    /// How long nothing needs to be done, unless a file changes.
    fn patience(&self) -> Duration {
        let waiting = self.readers.iter().filter_map(Reader::waiting_since).min();
        let next = waiting.map_or(self.next_sweep, |since| self.next_sweep.min(since + self.desk.settings.linger));
        next.saturating_duration_since(Instant::now()).min(self.watch.patience())
    }

    fn next_life(&mut self) -> LifeNumber {
        self.lives += 1;
        LifeNumber(self.lives)
    }

    fn complain(&mut self, at: usize, reason: &str) {
        let path = self.readers[at].follower.path.clone();
        self.warn(&path, reason);
    }

    fn warn(&mut self, path: &Path, reason: &str) {
        if self.complained.insert(path.to_owned()) {
            tracing::warn!(path = %path.display(), "{reason}");
        }
    }
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
