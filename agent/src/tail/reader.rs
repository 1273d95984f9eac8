//! One file's lines on their way into frames.

use super::file::{Follower, Look};
use super::lines::{Lines, RawLine};
use crate::batch::{Batch, Packer, Parcel};
use crate::checkpoint::{LifeNumber, Mark};
use crate::meter::Meter;
use crate::settings::Settings;
use event::{Classifier, Day, Format, HostKey, LifeId, Millis, Origin};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// What all readers share.
pub struct Desk {
    pub settings: Settings,
    pub meter: Arc<Meter>,
    key: HostKey,
    classifier: Classifier,
    packer: Packer,
    frames: mpsc::Sender<Parcel>,
}

impl Desk {
    /// A desk whose frames go to `frames`.
    pub fn new(settings: Settings, frames: mpsc::Sender<Parcel>) -> Desk {
        Desk {
            key: HostKey::derive(&settings.host.id),
            classifier: Classifier::embedded(),
            packer: Packer::default(),
            meter: Arc::clone(&settings.meter),
            settings,
            frames,
        }
    }

    /// Whether nobody takes frames any more.
    pub fn is_abandoned(&self) -> bool {
        self.frames.is_closed()
    }

    fn origin(&self, live: &Path, life: LifeId, format: Format) -> Origin {
        Origin {
            host: self.settings.host.clone(),
            cloud: self.settings.cloud.clone(),
            container: None,
            path: live.to_string_lossy().into_owned(),
            life,
            format,
            ruleset: self.classifier.ruleset().to_owned(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A file being read, and its lines that are not in a frame yet.
pub struct Reader {
    pub follower: Follower,
    batch: Option<Batch>,
    /// Day of the last dated line.
    day: Option<Day>,
    /// Since when the file has neither been at its live path nor grown.
    pub quiet: Option<Instant>,
}

impl Reader {
    /// A reader of a file that stands at its beginning.
    pub fn new(follower: Follower) -> Reader {
        Reader { follower, batch: None, day: None, quiet: None }
    }

    /// Goes on where `mark` left off, if it remembers this file's life.
    pub fn resume(&mut self, mark: &Mark) -> io::Result<bool> {
        let same = self.follower.resume(mark)?;
        if same {
            self.day = mark.position.day;
        }
        Ok(same)
    }

    /// Reads a burst and takes its whole lines.
    pub fn read(&mut self, desk: &mut Desk) -> io::Result<Look> {
        let look = self.follower.look()?;
        if look != Look::Read(0) && look != Look::Replaced {
            self.quiet = None;
            self.take_lines(desk);
            desk.meter.read(&self.follower);
        }
        Ok(look)
    }

    fn take_lines(&mut self, desk: &mut Desk) {
        let read = now();
        while self.take(desk, read, Lines::next_line) {
            if self.batch.as_ref().is_some_and(|batch| desk.packer.is_full(batch)) {
                self.close(desk);
            }
        }
    }

    /// The last line of a file that ends without a line feed, for a run that does not
    /// wait for more.
    pub fn take_rest(&mut self, desk: &mut Desk) {
        self.take(desk, now(), Lines::rest);
    }

    /// Appends one line to the batch. False if `next` gives none.
    fn take(&mut self, desk: &mut Desk, read: Millis, next: impl FnOnce(&mut Lines) -> Option<RawLine<'_>>) -> bool {
        let Some(line) = next(&mut self.follower.lines) else { return false };
        desk.meter.line();
        let batch = match &mut self.batch {
            Some(batch) => batch,
            none => {
                let live = &self.follower.live;
                let life = *self.follower.life.get_or_insert_with(|| desk.key.life(&live.to_string_lossy(), line.text));
                let origin = desk.origin(live, life, self.follower.format);
                none.insert(Batch::new(origin, line.offset, self.day, Instant::now()))
            }
        };
        batch.push(line, &desk.classifier, read);
        true
    }

    /// Starts over with the bytes that are there now: another life.
    pub fn start_over(&mut self, desk: &mut Desk, number: LifeNumber) -> io::Result<()> {
        self.close(desk);
        self.day = None;
        self.follower.restart(number)
    }

    /// When the oldest line that is not in a frame yet came.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.batch.as_ref().map(Batch::opened)
    }

    /// Packs the lines taken so far and hands their frames on; waits while the queue is
    /// full.
    pub fn close(&mut self, desk: &mut Desk) {
        let Some(batch) = self.batch.take() else { return };
        let before = self.follower.mark_at(batch.start(), self.day);
        self.day = batch.day();
        for parcel in desk.packer.pack(&batch, self.follower.number, before, self.follower.mark(self.day)) {
            // A closed queue is noticed by `is_abandoned`; the lines are read again next time.
            if desk.frames.blocking_send(parcel).is_err() {
                return;
            }
        }
    }
}

/// The wall clock, for lines that tell no time of their own.
pub(crate) fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis() as Millis)
}
