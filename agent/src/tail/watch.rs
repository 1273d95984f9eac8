//! Being told of changed files instead of looking for them.

use super::file::FileId;
use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

/// Changed bytes are held back for no longer than this.
const HOLD_MAX: Duration = Duration::from_millis(100);

/// How long changed bytes are held back where a line may wait for `linger` anyway. The
/// kernel joins equal events that wait, so a busy log costs ten wake-ups a second and not
/// one a line, and each finds as much work as makes it worth its while.
pub fn hold(linger: Duration) -> Duration {
    linger.min(HOLD_MAX)
}

/// After files have come, gone or changed their names the watcher pauses for so long:
/// whoever renames a thousand files a second costs a hundred sweeps and not a thousand.
const NAMES_PAUSE: Duration = Duration::from_millis(10);

/// Why the tailer wakes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A file or folder has changed, or it is time to stop.
    Look,
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

/// Notices changes in the folders of the files, where the system can.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// Each with the folder that was at its path.
    folders: HashMap<PathBuf, Option<FileId>>,
    /// Whether files have come, gone or changed their names.
    changed: Arc<AtomicBool>,
}

impl Watch {
    /// Watches, where files are followed, for whoever lets lines wait for `linger`.
    pub fn new(follow: bool, linger: Duration, wake: SyncSender<Wake>) -> Watch {
        let mut watch = Watch::none();
        if !follow {
            return watch;
        }
        let changed = Arc::clone(&watch.changed);
        let tell = move |event: notify::Result<Event>| {
            let pause = match event.map(|event| (event.need_rescan(), event.kind)) {
                Ok((false, EventKind::Access(_))) => return,
                Ok((false, EventKind::Modify(ModifyKind::Data(_)))) => {
                    std::thread::sleep(hold(linger));
                    Duration::ZERO
                }
                // Also when events were lost because there were too many.
                _ => {
                    changed.store(true, Ordering::Release);
                    NAMES_PAUSE
                }
            };
            // A wake-up that finds the queue full is not lost: one is waiting already.
            let _ = wake.try_send(Wake::Look);
            std::thread::sleep(pause);
        };
        match notify::recommended_watcher(tell) {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(cause) => {
                tracing::warn!(%cause, "the system does not tell of changed files; looking four times a second instead");
            }
        }
        watch
    }

    /// A watch that is told of nothing.
    pub fn none() -> Watch {
        Watch { watcher: None, folders: HashMap::new(), changed: Arc::default() }
    }

    pub fn is_blind(&self) -> bool {
        self.watcher.is_none()
    }

    /// Whether files have come, gone or changed their names since the last call.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    pub fn folder(&mut self, folder: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        let there = std::fs::metadata(folder).ok().map(|meta| FileId::of(&meta));
        match self.folders.get(folder) {
            Some(known) if *known == there => return,
            // Another folder has taken its place.
            Some(_) => drop(watcher.unwatch(folder)),
            None => {}
        }
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => drop(self.folders.insert(folder.to_owned(), there)),
            Err(cause) => tracing::debug!(folder = %folder.display(), %cause, "cannot watch it yet"),
        }
    }

    /// How long a change can go unnoticed without looking.
    pub fn patience(&self) -> Duration {
        if self.is_blind() { Duration::from_millis(250) } else { Duration::from_secs(60) }
    }
}
