//! Files into frames: finds the files, follows each through rotation, reads on.
//!
//! One thread does the whole hot path up to the spool, because handing single lines from
//! one task to another costs more than the work on them.

mod find;
mod file;
mod lines;
mod lives;
mod claim;
mod docker;
mod mixed;
mod joined;
mod reader;
mod watch;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod cases;

pub use docker::Part;
pub use file::{FileId, Witness, read_at};
pub use find::is_pattern;
pub use lines::{Lines, RawLine};
pub use lives::{Known, Life, LifeNumber, Mark, Pattern, Position};
pub(crate) use reader::now;
pub use reader::{Desk, Reader};
pub use watch::{Wake, Wakes};

use claim::{Around, Claim, InReach};
use file::{Follower, Look};
use find::{FamilyFiles, Found};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use watch::Watch;

/// A rotated file that has been read to its end is closed when nobody wrote to it for
/// this long: Apache's children go on writing to the old file until they have finished
/// their requests.
const QUIET: Duration = Duration::from_secs(60);

/// Files held open at most. A held file keeps its inode from being used again, and is
/// readable after it was deleted.
const OPEN_FILES_MAX: usize = 256;

/// Memory for lines of all files together that are not in a frame yet.
const WAITING_BYTES_MAX: usize = 6 << 20;

/// Unread bytes of a file that is gone are told as lost after this time: a copy or a
/// packed file may be in the making.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// How often a spool that takes nothing is tried again.
const STUCK_PAUSE: Duration = Duration::from_millis(100);

/// Reads until it is told to stop, or, unless it follows, to the end of all files.
pub fn run(desk: Desk, wakes: Wakes, stop: CancellationToken) {
    let watch = Watch::new(desk.settings.follow, desk.settings.linger, wakes.sender);
    let mut tailer = Tailer::new(desk, watch);
    while !stop.is_cancelled() {
        let now = Instant::now();
        tailer.desk.meter.tailer_lives();
        if tailer.round(now) {
            continue;
        }
        if tailer.is_done(now) {
            break;
        }
        match wakes.receiver.recv_timeout(tailer.patience(now)) {
            Ok(Wake::Look) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
    // What was held back until now: on a host that goes down there may be no next time.
    tailer.round(Instant::now());
    tailer.close_all();
}

/// Follows all files that the settings name.
pub struct Tailer {
    desk: Desk,
    watch: Watch,
    /// Rotated files first; of the others, error logs; then the oldest.
    readers: Vec<Reader>,
    /// Copies of lives that are still read elsewhere, with their sizes.
    waiting: HashMap<FileId, (LifeNumber, u64)>,
    /// Files that were read to their end and closed, with their sizes then.
    finished: HashMap<FileId, u64>,
    /// Lives with unread bytes in no file, and since when.
    lost: HashMap<LifeNumber, Instant>,
    /// Paths that have been complained about, with the reason.
    complained: HashMap<PathBuf, String>,
    next_sweep: Instant,
    /// Whether the spool takes nothing now.
    is_stuck: bool,
    /// Whether the ends of all files have been taken, for a run that does not follow.
    is_finishing: bool,
}

impl Tailer {
    fn new(desk: Desk, watch: Watch) -> Tailer {
        Tailer {
            desk,
            watch,
            readers: Vec::new(),
            waiting: HashMap::new(),
            finished: HashMap::new(),
            lost: HashMap::new(),
            complained: HashMap::new(),
            next_sweep: Instant::now(),
            is_stuck: false,
            is_finishing: false,
        }
    }

    /// One turn for every file. True if any had something to read.
    fn round(&mut self, now: Instant) -> bool {
        if now >= self.next_sweep || self.watch.take_changed() || self.finds_rotation() {
            self.sweep(now);
        }
        self.is_stuck = !self.desk.flush();
        // A younger file of a family waits until the older one is at its end.
        let mut busy: HashSet<PathBuf> = HashSet::new();
        for at in 0..self.readers.len() {
            if !self.is_stuck && !busy.contains(&self.readers[at].live) && self.read(at, now) {
                busy.insert(self.readers[at].live.clone());
                self.is_stuck = !self.desk.flush();
            }
        }
        for group in self.desk.groups.expired(Some(now)) {
            self.desk.emit(&group, now);
        }
        self.readers.iter_mut().for_each(|reader| reader.end_messages(&mut self.desk, now, false));
        self.close_late(now);
        !busy.is_empty() && !self.is_stuck
    }

    /// Reads a burst from one file. True if there was anything.
    fn read(&mut self, at: usize, now: Instant) -> bool {
        match self.readers[at].read(&mut self.desk, now) {
            Ok(Look::Read(read)) => read > 0,
            Ok(Look::Replaced) => {
                self.start_over(at, now);
                true
            }
            Err(cause) => {
                let path = self.readers[at].path.clone();
                self.warn(&path, &format!("cannot read on: {cause}"));
                self.drop_reader(at);
                // The sweep after the next one opens it again.
                false
            }
        }
    }

    /// The file holds other bytes than before: what is left of the old life goes out,
    /// and a new one begins.
    fn start_over(&mut self, at: usize, now: Instant) {
        let reader = &mut self.readers[at];
        tracing::info!(path = %reader.path.display(), "the file was truncated or replaced; reading it from its start");
        if let Err(cause) = reader.start_over(&mut self.desk) {
            let path = reader.path.clone();
            self.warn(&path, &format!("cannot start over: {cause}"));
            self.drop_reader(at);
        }
        // A copy of the old bytes may lie beside it.
        self.next_sweep = now;
    }

    fn drop_reader(&mut self, at: usize) {
        self.readers[at].close(&mut self.desk);
        let reader = self.readers.remove(at);
        self.desk.meter.closed(&reader.path);
    }

    /// Looks at all files, new and rotated ones.
    fn sweep(&mut self, now: Instant) {
        // What open files hold decides about their copies.
        for at in (0..self.readers.len()).rev() {
            if self.readers[at].follower.was_replaced().unwrap_or(false) {
                self.start_over(at, now);
            }
        }
        self.desk.refresh(now);
        self.next_sweep = now + self.desk.settings.sweep;
        self.desk.flush();
        let found = {
            let remembered = self.desk.known.lives.iter().map(|life| life.live.as_path());
            find::find(
                &self.desk.settings.files,
                remembered.chain(self.readers.iter().map(|reader| reader.live.as_path())),
            )
        };
        for folder in &found.folders {
            self.watch.folder(folder);
        }
        self.complained.retain(|path, _| found.skipped.iter().any(|(skipped, _)| skipped == path) || path.exists());
        for (path, reason) in &found.skipped {
            self.warn(path, reason);
        }
        if !self.meet_patterns(&found.families) {
            return;
        }
        for family in &found.families {
            self.look_at_family(family);
        }
        // A server complains of a request before it writes that into its access log.
        let settings = &self.desk.settings;
        self.readers
            .sort_by_key(|reader| (reader.path == reader.live, !reader.is_error_log(settings), reader.modified));
        let there: HashSet<FileId> =
            found.families.iter().flat_map(|family| &family.files).map(|file| file.id).collect();
        self.finished.retain(|file, _| there.contains(file));
        self.waiting.retain(|file, _| there.contains(file));
        self.retire(&found.families, now);
        self.find_lost(&found.families, now);
        self.desk.meter.skipped(self.complained.iter().map(|(path, reason)| (path.clone(), reason.clone())));
    }

    /// Notes what was rotated before a pattern was configured: that is not ours to read.
    /// It must be on disk before anything else happens, or the files that are rotated
    /// next would count as old, too. False if that does not work now.
    fn meet_patterns(&mut self, families: &[FamilyFiles]) -> bool {
        let mut is_new = false;
        for at in 0..self.desk.settings.files.len() {
            let path = self.desk.settings.files[at].path.clone();
            if self.desk.known.patterns.iter().any(|pattern| pattern.path == path) {
                continue;
            }
            is_new = true;
            let mut before = Vec::new();
            for family in families.iter().filter(|family| family.settings == at) {
                for file in family.files.iter().filter(|file| !file.is_named && !file.is_live) {
                    if self.desk.known.of_file(file.id).is_none() && !self.pass_over(family, file) {
                        before.push(file.id);
                    }
                }
            }
            self.desk.known.patterns.push(Pattern { path, before });
        }
        !is_new || self.desk.remember().is_ok()
    }

    /// Remembers a rotated file as read to its end, so that it is known when it is packed
    /// one day. False if its life cannot be told.
    fn pass_over(&mut self, family: &FamilyFiles, file: &Found) -> bool {
        let follower = file::open(&file.path).ok().flatten().and_then(|(file, meta)| Follower::new(file, &meta).ok());
        let Some(follower) = follower.filter(|follower| !follower.is_packed()) else { return false };
        Reader::new(follower, family.live.clone(), file.path.clone(), family.settings).pass_over(&mut self.desk)
    }

    fn look_at_family(&mut self, family: &FamilyFiles) {
        // Known files first: whether they still hold their lives decides about copies.
        let mut files: Vec<&Found> = family.files.iter().collect();
        files.sort_by_key(|file| (!file.is_live, self.desk.known.of_file(file.id).is_none()));
        for file in files {
            if let Some(reader) = self.readers.iter_mut().find(|reader| reader.follower.id == file.id) {
                reader.path.clone_from(&file.path);
                reader.modified = file.modified;
                reader.note_size(&mut self.desk);
            } else if self.has_news(file) {
                self.open(family, file);
            }
        }
    }

    /// Whether a file that is not open may hold something unread.
    fn has_news(&self, file: &Found) -> bool {
        if self.finished.get(&file.id) == Some(&file.size) {
            return false;
        }
        if let Some(life) = self.desk.known.of_file(file.id) {
            return file.is_live || life.position.offset != file.size;
        }
        let waits = |(life, size): &(LifeNumber, u64)| *size == file.size && self.is_within_reach(*life);
        let waits = self.waiting.get(&file.id).is_some_and(waits);
        !waits && !self.desk.known.patterns.iter().any(|pattern| pattern.before.contains(&file.id))
    }

    fn open(&mut self, family: &FamilyFiles, found: &Found) {
        let opened = file::open(&found.path).and_then(|opened| match opened {
            Some((file, meta)) => Follower::new(file, &meta).map(Some),
            None => Ok(None),
        });
        let follower = match opened {
            Ok(Some(follower)) => follower,
            Ok(None) => return self.warn(&found.path, "it is not a regular file; skipped"),
            Err(cause) => return self.warn(&found.path, &format!("cannot open it: {cause}")),
        };
        self.complained.remove(&found.path);
        let mut reader = Reader::new(follower, family.live.clone(), found.path.clone(), family.settings);
        reader.modified = found.modified;
        match self.place(&mut reader, family, found.is_live) {
            Ok(true) => self.add(reader),
            Ok(false) => {}
            Err(cause) => self.warn(&found.path, &format!("cannot read it: {cause}")),
        }
    }

    /// Finds where reading begins in a file. False if it need not be read now.
    fn place(&mut self, reader: &mut Reader, family: &FamilyFiles, is_live: bool) -> std::io::Result<bool> {
        let id = reader.follower.id;
        if let Some(life) = self.desk.known.of_file(id).cloned() {
            if reader.resume(&life, true)? {
                return Ok(true);
            }
            let life = self.desk.known.life_mut(life.number).expect("it was there");
            life.replaced_in(id);
            reader.follower.back_to_start()?;
        }
        let within_reach = self.within_reach(family);
        let live_file = family.files.iter().find(|file| file.is_live).map(|file| file.id);
        let bytes_of = |life, at, bytes| self.bytes_of(family, life, at, bytes);
        let (known, live) = (&self.desk.known, &*family.live);
        let around = Around { known, live, live_file, within_reach: &within_reach, bytes_of: &bytes_of };
        match around.claim(&mut reader.follower, is_live)? {
            Claim::New => {
                let covered = around.covered(&mut reader.follower)?;
                for number in &covered {
                    let life = self.desk.known.life_mut(*number).expect("it was just compared");
                    life.given_up = life.size;
                }
                // Or they would be told as lost after a restart.
                if !covered.is_empty() {
                    self.desk.remember().unwrap_or_else(|stuck| tracing::debug!(%stuck, "cannot note it now"));
                }
                Ok(true)
            }
            Claim::Waits(life) => {
                self.waiting.insert(id, (life, reader.follower.progress().1));
                Ok(false)
            }
            Claim::Continues(number) => {
                let mut life = self.desk.known.life(number).expect("it was just compared").clone();
                life.was = life.was.or_else(|| life.files.last().copied());
                life.files.clear();
                self.lost.remove(&number);
                tracing::info!(path = %reader.path.display(), offset = life.position.offset, "goes on in a copy");
                let held = reader.resume(&life, true)?;
                life.found_in(id);
                self.desk.known.put(life);
                Ok(held)
            }
        }
    }

    fn add(&mut self, reader: Reader) {
        self.waiting.remove(&reader.follower.id);
        self.desk.meter.read(&reader);
        self.readers.push(reader);
        // Oldest first.
        // A server complains of a request before it writes that into its access log.
        let settings = &self.desk.settings;
        self.readers
            .sort_by_key(|reader| (reader.path == reader.live, !reader.is_error_log(settings), reader.modified));
    }

    /// Lives of a family that can be read where they are, with the sizes of their files.
    fn within_reach(&self, family: &FamilyFiles) -> Vec<InReach> {
        let open = self.readers.iter().filter_map(|reader| Some((reader.life()?, reader.follower.life_bytes())));
        let there = family.files.iter().filter_map(|file| Some((self.desk.known.of_file(file.id)?.number, file.size)));
        open.chain(there).map(|(life, size)| InReach { life, size }).collect()
    }

    /// Bytes of the file in which a life can be read now.
    fn bytes_of(&self, family: &FamilyFiles, life: LifeNumber, at: u64, bytes: usize) -> Option<Vec<u8>> {
        let open = self.readers.iter().find(|reader| reader.life() == Some(life));
        let read = match open {
            Some(reader) => reader.follower.bytes_at(at, bytes).ok()?,
            None => {
                let holds = |file: &&Found| self.desk.known.of_file(file.id).is_some_and(|known| known.number == life);
                let (file, _) = file::open(&family.files.iter().find(holds)?.path).ok()??;
                read_at(&file, at, bytes).ok()?
            }
        };
        (read.len() == bytes).then_some(read)
    }

    fn is_within_reach(&self, life: LifeNumber) -> bool {
        self.readers.iter().any(|reader| reader.life() == Some(life))
            || self
                .desk
                .known
                .life(life)
                .is_some_and(|life| !life.files.is_empty() && !self.lost.contains_key(&life.number))
    }

    /// Whether a live path leads to another file than the open one, where the system does
    /// not tell of changes.
    fn finds_rotation(&self) -> bool {
        self.desk.settings.follow
            && self.watch.is_blind()
            && self.readers.iter().any(|reader| {
                let there = || std::fs::symlink_metadata(&reader.path).map(|meta| FileId::of(&meta));
                reader.quiet_since.is_none() && there().ok() != Some(reader.follower.id)
            })
    }

    /// Closes rotated files that nobody writes to any more, and the oldest of too many.
    fn retire(&mut self, families: &[FamilyFiles], now: Instant) {
        let live: HashSet<FileId> =
            families.iter().flat_map(|family| &family.files).filter(|file| file.is_live).map(|file| file.id).collect();
        let mut at = 0;
        while at < self.readers.len() {
            let excess = self.readers.len() > OPEN_FILES_MAX;
            let reader = &mut self.readers[at];
            if live.contains(&reader.follower.id) {
                reader.quiet_since = None;
                at += 1;
                continue;
            }
            let quiet = now.duration_since(*reader.quiet_since.get_or_insert(now)) >= QUIET;
            // What was packed does not grow.
            let over = quiet || excess || reader.follower.is_packed();
            let unfinished = reader.life().and_then(|life| self.desk.groups.floor(life)).is_some();
            if reader.follower.is_at_end() && !self.is_stuck && over && !unfinished {
                reader.take_rest(&mut self.desk, now);
                self.finished.insert(reader.follower.id, reader.follower.progress().1);
                self.drop_reader(at);
            } else {
                at += 1;
            }
        }
    }

    /// Notices lives whose unread bytes are in no file any more, and tells of them when
    /// no copy turns up.
    fn find_lost(&mut self, families: &[FamilyFiles], now: Instant) {
        let mut within_reach: HashSet<LifeNumber> = self.readers.iter().filter_map(Reader::life).collect();
        let files = families.iter().flat_map(|family| &family.files);
        within_reach.extend(files.filter_map(|file| self.desk.known.of_file(file.id)).map(|life| life.number));
        let lost =
            self.desk.known.lives.iter().filter(|life| life.unread().is_some() && !within_reach.contains(&life.number));
        let lost: HashSet<LifeNumber> = lost.map(|life| life.number).collect();
        self.lost.retain(|life, _| lost.contains(life));
        for number in lost {
            let since = *self.lost.entry(number).or_insert(now);
            let patient = self.desk.settings.follow && now.duration_since(since) < LOST_AFTER;
            let life = self.desk.known.life(number).cloned().expect("it was just found");
            if let (false, Some((from, to))) = (patient, life.unread()) {
                let reason = match life.was {
                    Some(_) => "the file was truncated or written anew before they were read",
                    None => "the file was deleted before they were read",
                };
                self.lost.remove(&number);
                self.desk.tell_gap(life, from, to, reason);
                self.is_stuck = !self.desk.flush();
            }
        }
    }

    /// Closes batches whose first line has waited long enough, and all when they are many.
    fn close_late(&mut self, now: Instant) {
        let linger = self.desk.settings.linger;
        let heavy = self.readers.iter().map(Reader::waiting_bytes).sum::<usize>() > WAITING_BYTES_MAX;
        let mut closed = false;
        for reader in &mut self.readers {
            if reader.waiting_since().is_some_and(|since| heavy || now.duration_since(since) >= linger) {
                reader.close(&mut self.desk);
                closed = true;
            }
        }
        if closed && !self.is_stuck {
            self.is_stuck = !self.desk.flush();
        }
    }

    /// For a run that does not follow: whether all is read and in the spool. Takes the
    /// last lines of files that end without a line feed.
    fn is_done(&mut self, now: Instant) -> bool {
        if self.desk.settings.follow || self.is_stuck {
            return false;
        }
        if !std::mem::replace(&mut self.is_finishing, true) {
            self.readers.iter_mut().for_each(|reader| reader.take_rest(&mut self.desk, now));
            for group in self.desk.groups.expired(None) {
                self.desk.emit(&group, now);
            }
            self.close_all();
            self.desk.conclude(now);
        }
        self.desk.flush()
    }

    /// Hands on what was read.
    fn close_all(&mut self) {
        self.readers.iter_mut().for_each(|reader| reader.close(&mut self.desk));
        self.is_stuck = !self.desk.flush();
    }

    /// How long nothing needs to be done, unless a file changes.
    fn patience(&self, now: Instant) -> Duration {
        if self.is_stuck {
            return STUCK_PAUSE;
        }
        let waiting = self.readers.iter().filter_map(Reader::waiting_since).min();
        let next = waiting.map_or(self.next_sweep, |since| self.next_sweep.min(since + self.desk.settings.linger));
        let next = self.readers.iter().filter_map(Reader::message_due).min().map_or(next, |due| next.min(due));
        next.saturating_duration_since(now).min(self.watch.patience())
    }

    fn warn(&mut self, path: &Path, reason: &str) {
        if self.complained.get(path).is_none_or(|known| known != reason) {
            tracing::warn!(path = %path.display(), "{reason}");
            self.complained.insert(path.to_owned(), reason.to_owned());
        }
    }
}
