//! Counters that others may watch: a progress bar, a status page.

use crate::tail::Follower;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the agent has done so far. Cheap to share.
#[derive(Debug, Default)]
pub struct Meter {
    lines: AtomicU64,
    frames: AtomicU64,
    frame_bytes: AtomicU64,
    refused: AtomicU64,
    files: Mutex<BTreeMap<PathBuf, FileProgress>>,
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

    pub(crate) fn stored(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.frame_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, follower: &Follower) {
        let (bytes, size) = follower.progress();
        self.files().insert(follower.path.clone(), FileProgress { bytes, size });
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
        self.files().clone()
    }

    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, FileProgress>> {
        self.files.lock().expect("nobody panics with the counters in hand")
    }
}
