//! Between reading and shipping: frames on disk, and with them how far each file is read.
//!
//! Append-only segments of [records](Record). A frame moves its lives in the same
//! append that makes its data durable. Each segment opens with a snapshot of all lives,
//! so the oldest segments can go once their frames are in the stream.
//!
//! What is written survives the death of the process at once, and power loss after the
//! next [`Spool::tidy`], which comes every 100 ms and off the hot path. Nothing waits for
//! it: a frame that was shipped and then lost with the power is read and sent again with
//! the same ids.

mod disk;
mod record;
mod rebuild;
#[cfg(test)]
pub(crate) mod memory;

pub use disk::{Disk, Folder, SegmentId, make_folder, replace};
pub use record::{Meta, Record};

use crate::report::{SpoolReport, Trouble};
use crate::tail::{Known, LifeNumber, Mark};
use bytes::Bytes;
use rebuild::{Rebuild, Rebuilt};
use record::{HEAD_BYTES, Head, Item};
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often what was written is made safe from power loss.
pub const TIDY_EVERY: Duration = Duration::from_millis(100);

/// How often the cursor is written down while it moves. After a crash, what was shipped
/// since then is shipped again, with the same ids.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// A segment is closed at this size, or at an eighth of the spool where that is smaller:
/// a segment is the unit in which room is won back.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Payload bytes of the newest frames that stay in memory, so that a shipper that keeps up
/// need not read them again. One full frame, or some hundred small ones.
const RECENT_BYTES_MAX: usize = 512 << 10;

/// Bytes read at once before a record's length is known; most small records are whole.
const FIRST_READ_BYTES: usize = 4 << 10;

/// Below this nothing useful fits.
pub const MAX_BYTES_MIN: u64 = 16 << 20;

/// How much may lie in the spool, and what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_bytes: u64,
    pub on_full: OnFull,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_bytes: 1 << 30, on_full: OnFull::Stop }
    }
}

impl Limits {
    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES.min(self.max_bytes / 8)
    }
}

/// What a full spool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// Reading stops; the log files are the buffer.
    Stop,
    /// The oldest frames go, and each stretch that is lost by that is told as a gap.
    DropOldest,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Place {
    pub segment: SegmentId,
    pub at: u64,
}

/// A frame on its way to the stream.
#[derive(Debug, Clone)]
pub struct Shipment {
    pub place: Place,
    pub meta: Meta,
    pub payload: Bytes,
}

/// The spool takes nothing now. The process lives on and tries again.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    #[error("the spool is full ({max_bytes} bytes); reading stops until the stream takes frames")]
    Full { max_bytes: u64 },
    #[error("cannot write into the spool; reading stops until it works again")]
    Write(#[source] io::Error),
    #[error("the disk did not keep what was written; reading stops until all of the spool is in the stream")]
    NotKept,
}

/// A spool that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the spool `{}`", .path.display())]
pub struct OpenError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// Reading a frame back failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The spool must be opened anew, which sets the damage aside and reads its lines
    /// again.
    #[error("a record of the spool is damaged (segment {}, byte {})", .0.segment.0, .0.at)]
    Damaged(Place),
    #[error("cannot read the spool")]
    Read(#[source] io::Error),
}

/// Why a spool should be tidied up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Needs {
    /// The cursor has moved since it was written down.
    cursor: bool,
    /// Frames have waited for the stream for a while and are not safe from power loss.
    disk: bool,
    /// Such frames have just come.
    disk_later: bool,
}

/// Bytes of a life that were dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub life: LifeNumber,
    pub from: u64,
    pub to: u64,
}

/// What opening a spool found.
#[derive(Debug)]
pub struct Opened {
    pub spool: Spool,
    pub known: Known,
    /// Lives whose bytes are read again because their frames were damaged.
    pub holed: BTreeSet<LifeNumber>,
    /// What was known of behaviour when the last segment began, and the frames since then.
    pub behaviour: Bytes,
    pub frames: Vec<Bytes>,
}

/// The snapshot that a segment begins with, made if one does.
struct Beginning<'k> {
    known: &'k dyn Fn() -> Known,
    record: OnceCell<Vec<u8>>,
}

impl<'k> Beginning<'k> {
    fn of(known: &'k dyn Fn() -> Known) -> Beginning<'k> {
        Beginning { known, record: OnceCell::new() }
    }

    fn record(&self) -> &[u8] {
        self.record.get_or_init(|| Record::Snapshot((self.known)()).encode())
    }
}

/// An open spool: one writer, one shipper, one that tidies up.
pub struct Spool {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    limits: Limits,
    inner: Mutex<Inner>,
    appended: Notify,
    changed: Notify,
    arrived: Notify,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Segment {
    /// Bytes of whole records.
    bytes: u64,
    /// Bytes that survive power loss.
    synced: u64,
}

#[derive(Debug, Default)]
struct Inner {
    segments: BTreeMap<SegmentId, Segment>,
    /// The segment that takes records; none before the first one, and after trouble.
    current: Option<SegmentId>,
    last: SegmentId,
    /// Whether the last append may have left a part of itself.
    torn: bool,
    /// Whether the disk has failed to keep something: nothing is added until all of the
    /// spool is in the stream.
    unsafe_until_shipped: bool,
    /// The next frame to ship.
    next: Place,
    recent: Recent,
    /// Frames under way, oldest first, and whether they have arrived.
    under_way: VecDeque<(Place, bool)>,
    /// The cursor as it was saved last.
    saved: Place,
    quarantined: u64,
    dropped: u64,
    trouble: Option<Trouble>,
}

/// The newest frames, as they were appended, oldest first.
#[derive(Debug, Default)]
struct Recent {
    /// Each with the bytes that its record takes.
    frames: VecDeque<(Shipment, u64)>,
    payload_bytes: usize,
}

impl Recent {
    fn add(&mut self, shipment: Shipment, record_bytes: u64) {
        self.payload_bytes += shipment.payload.len();
        self.frames.push_back((shipment, record_bytes));
        while self.payload_bytes > RECENT_BYTES_MAX && self.pop().is_some() {}
    }

    fn pop(&mut self) -> Option<(Shipment, u64)> {
        let popped = self.frames.pop_front()?;
        self.payload_bytes -= popped.0.payload.len();
        Some(popped)
    }

    /// The frame at `place`, if it is here, with its record's bytes. Older ones go.
    fn take(&mut self, place: Place) -> Option<(Shipment, u64)> {
        while self.frames.front().is_some_and(|(shipment, _)| shipment.place < place) {
            self.pop();
        }
        self.frames.front().filter(|(shipment, _)| shipment.place == place)?;
        self.pop()
    }
}

impl Inner {
    /// All before this place has arrived.
    fn cursor(&self) -> Place {
        self.under_way.front().map_or(self.next, |(place, _)| *place)
    }

    fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    fn end(&self) -> Place {
        self.segments.last_key_value().map_or(self.next, |(id, segment)| Place { segment: *id, at: segment.bytes })
    }

    /// Where the next record stands, and where its segment ends.
    fn place_to_read(&mut self) -> Option<(Place, u64)> {
        loop {
            let next = self.next;
            let end = self.segments.get(&next.segment).map_or(0, |segment| segment.bytes);
            if next.at < end {
                return Some((next, end));
            }
            let later = self.segments.range(SegmentId(next.segment.0 + 1)..).next().map(|(id, _)| *id)?;
            self.next = Place { segment: later, at: 0 };
        }
    }

    fn is_drained(&self) -> bool {
        self.under_way.is_empty() && self.next >= self.end()
    }
}

const CURSOR: &str = "cursor.json";

impl Spool {
    /// Opens the spool on `disk`: cuts a torn tail, sets damaged records aside, and
    /// finds out how far each file is read. `path` is for messages.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, limits: Limits) -> Result<Opened, OpenError> {
        let failed = |cause| OpenError { path: path.to_owned(), cause };
        let mut rebuild = Rebuild::default();
        let mut inner = Inner::default();
        for (segment, length) in disk.segments().map_err(failed)? {
            let (bytes, damaged) = read_segment(disk.as_ref(), segment, length, &mut rebuild).map_err(failed)?;
            inner.quarantined += damaged;
            inner.segments.insert(segment, Segment { bytes, synced: 0 });
        }
        let saved = disk.kept(CURSOR).map_err(failed)?;
        let saved: Place = saved.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        inner.last = inner.segments.keys().next_back().copied().unwrap_or_default().max(saved.segment);
        inner.next = start(saved, &inner.segments);
        inner.saved = saved;
        let Rebuilt { known, holed, behaviour, frames } = rebuild.finish();
        let spool = Spool {
            disk,
            path: path.to_owned(),
            limits,
            inner: Mutex::new(inner),
            appended: Notify::new(),
            changed: Notify::new(),
            arrived: Notify::new(),
        };
        // A cursor behind the end would pass over what comes next there.
        spool.save_cursor().map_err(failed)?;
        Ok(Opened { spool, known, holed, behaviour, frames })
    }

    /// Adds a frame and moves its lives. `known` tells what is known without it, and is asked if a
    /// new segment must begin. Returns what had to be dropped to make room.
    pub fn append(&self, meta: Meta, payload: Bytes, known: &dyn Fn() -> Known) -> Result<Vec<Dropped>, Stuck> {
        let frame = Record::Frame(meta, payload);
        let (record, beginning) = (frame.encode(), Beginning::of(known));
        let mut inner = self.inner();
        let snapshot = if self.needs_segment(&inner) { beginning.record().len() } else { 0 };
        let done = self.make_room(&mut inner, (record.len() + snapshot) as u64);
        let done = done.and_then(|dropped| self.write(&mut inner, &record, &beginning).map(|()| dropped));
        if let (Ok(_), Record::Frame(meta, payload)) = (&done, frame) {
            let end = inner.end();
            let place = Place { at: end.at - record.len() as u64, ..end };
            inner.recent.add(Shipment { place, meta, payload }, record.len() as u64);
        }
        self.note(&mut inner, done.as_ref().err());
        drop(inner);
        // Also in vain: a snapshot may have come that the shipper is to step over.
        self.appended.notify_one();
        self.changed.notify_one();
        done
    }

    /// Notes what is known of files without a frame, such as what lay there before the
    /// agent came. `all` tells what is known beside that, too, as for [`Spool::append`].
    pub fn remember(&self, known: &Known, all: &dyn Fn() -> Known) -> Result<(), Stuck> {
        let mut inner = self.inner();
        let record = Record::Snapshot(known.clone()).encode();
        let done = self.write(&mut inner, &record, &Beginning::of(all));
        self.note(&mut inner, done.as_ref().err());
        done
    }

    fn write(&self, inner: &mut Inner, record: &[u8], beginning: &Beginning<'_>) -> Result<(), Stuck> {
        if inner.unsafe_until_shipped {
            if !inner.is_drained() {
                return Err(Stuck::NotKept);
            }
            inner.unsafe_until_shipped = false;
            inner.current = None;
        }
        let segment = self.segment_for(inner, beginning)?;
        match self.write_at_end(inner, segment, record) {
            // All of the room may be in this one segment: it can go when another begins.
            Err(Stuck::Write(cause)) if is_full(&cause) && inner.is_drained() => {
                inner.current = None;
                self.disk.release().map_err(Stuck::Write)?;
                let segment = self.segment_for(inner, beginning)?;
                self.write_at_end(inner, segment, record)
            }
            done => done,
        }
    }

    fn needs_segment(&self, inner: &Inner) -> bool {
        inner.current.is_none_or(|current| inner.segments[&current].bytes >= self.limits.segment_bytes())
    }

    /// The segment that takes the next record: the current one, or, where that is full, a
    /// new one that begins with a snapshot, in the last room of the disk if need be.
    fn segment_for(&self, inner: &mut Inner, beginning: &Beginning<'_>) -> Result<SegmentId, Stuck> {
        if let (false, Some(current)) = (self.needs_segment(inner), inner.current) {
            return Ok(current);
        }
        match self.begin_segment(inner, beginning) {
            Err(Stuck::Write(cause)) if is_full(&cause) => match self.disk.release() {
                Ok(true) => self.begin_segment(inner, beginning),
                _ => Err(Stuck::Write(cause)),
            },
            begun => begun,
        }
    }

    fn begin_segment(&self, inner: &mut Inner, beginning: &Beginning<'_>) -> Result<SegmentId, Stuck> {
        let fresh = SegmentId(inner.last.0 + 1);
        self.disk.create(fresh).map_err(Stuck::Write)?;
        inner.last = fresh;
        inner.segments.insert(fresh, Segment::default());
        inner.torn = false;
        if let Err(stuck) = self.write_at_end(inner, fresh, beginning.record()) {
            inner.segments.remove(&fresh);
            inner.torn = false;
            // An empty segment that stays tells nothing and harms nothing.
            let _ = self.disk.remove(fresh);
            return Err(stuck);
        }
        inner.current = Some(fresh);
        Ok(fresh)
    }

    fn write_at_end(&self, inner: &mut Inner, id: SegmentId, record: &[u8]) -> Result<(), Stuck> {
        let at = inner.segments[&id].bytes;
        if inner.torn {
            self.disk.cut(id, at).map_err(Stuck::Write)?;
            inner.torn = false;
        }
        if let Err(cause) = self.disk.write(id, at, record) {
            inner.torn = self.disk.cut(id, at).is_err();
            return Err(Stuck::Write(cause));
        }
        let segment = inner.segments.get_mut(&id).expect("the segment is there");
        segment.bytes += record.len() as u64;
        Ok(())
    }

    fn make_room(&self, inner: &mut Inner, bytes: u64) -> Result<Vec<Dropped>, Stuck> {
        let mut dropped = Vec::new();
        while inner.bytes() + bytes > self.limits.max_bytes {
            let oldest = inner.segments.keys().next().copied().filter(|oldest| Some(*oldest) != inner.current);
            match (self.limits.on_full, oldest) {
                (OnFull::DropOldest, Some(oldest)) => dropped.extend(self.drop_segment(inner, oldest)?),
                _ => return Err(Stuck::Full { max_bytes: self.limits.max_bytes }),
            }
        }
        Ok(dropped)
    }

    /// Gives up the frames of a segment that are not in the stream.
    fn drop_segment(&self, inner: &mut Inner, id: SegmentId) -> Result<Vec<Dropped>, Stuck> {
        let bytes = self.disk.read(id, 0, inner.segments[&id].bytes as usize).map_err(Stuck::Write)?;
        let waiting = record::scan(&bytes).into_iter().filter_map(|item| match item {
            Item::Record { at, record: Record::Frame(meta, _), .. } => {
                Some((Place { segment: id, at: at as u64 }, meta))
            }
            _ => None,
        });
        let lost: Vec<Meta> = waiting.filter(|(place, _)| *place >= inner.next).map(|(_, meta)| meta).collect();
        self.disk.remove(id).map_err(Stuck::Write)?;
        inner.segments.remove(&id);
        inner.dropped += lost.len() as u64;
        inner.next = start(inner.next, &inner.segments);
        let range = |mark: Mark| Dropped { life: mark.life.number, from: mark.from, to: mark.life.position.offset };
        Ok(joined(lost.into_iter().flat_map(|meta| meta.marks).map(range)))
    }

    /// The next frame to ship, where that is still in memory.
    pub fn next_recent(&self) -> Option<Shipment> {
        let mut inner = self.inner();
        let (place, _) = inner.place_to_read()?;
        let (shipment, record_bytes) = inner.recent.take(place)?;
        inner.next.at += record_bytes;
        inner.under_way.push_back((place, false));
        Some(shipment)
    }

    /// The next frame to ship; `None` if all are on their way. Blocks on the disk.
    pub fn next(&self) -> Result<Option<Shipment>, ReadError> {
        loop {
            let Some((place, end)) = self.inner().place_to_read() else { return Ok(None) };
            let (record, bytes) = match self.read(place, end) {
                Ok(read) => read,
                // Dropped meanwhile.
                Err(ReadError::Read(cause)) if cause.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut inner = self.inner();
            if inner.next != place {
                continue;
            }
            inner.next.at += bytes as u64;
            if let Record::Frame(meta, payload) = record {
                inner.under_way.push_back((place, false));
                return Ok(Some(Shipment { place, meta, payload }));
            }
        }
    }

    fn read(&self, place: Place, end: u64) -> Result<(Record, usize), ReadError> {
        let left = (end - place.at) as usize;
        let read = |bytes| self.disk.read(place.segment, place.at, bytes).map_err(ReadError::Read);
        let mut bytes = read(FIRST_READ_BYTES.min(left))?;
        let head = Head::read(&bytes).ok_or(ReadError::Damaged(place))?;
        if head.record_bytes() > bytes.len() {
            bytes = read(head.record_bytes().min(left))?;
        }
        let record = head.record(&bytes[HEAD_BYTES..]).ok_or(ReadError::Damaged(place))?;
        Ok((record, head.record_bytes()))
    }

    /// Waits until a frame is added. May return early. Cancel safe.
    pub async fn appended(&self) {
        self.appended.notified().await;
    }

    /// Notes that a frame is in the stream, or dead.
    pub fn settled(&self, place: Place) {
        let mut inner = self.inner();
        if let Some(entry) = inner.under_way.iter_mut().find(|(under_way, _)| *under_way == place) {
            entry.1 = true;
        }
        while inner.under_way.pop_front_if(|(_, arrived)| *arrived).is_some() {}
        self.changed.notify_one();
        self.arrived.notify_one();
    }

    /// Whether all frames are on their way.
    pub fn is_shipped(&self) -> bool {
        let inner = self.inner();
        inner.next >= inner.end()
    }

    /// Whether all frames are in the stream.
    pub fn is_drained(&self) -> bool {
        self.inner().is_drained()
    }

    /// Makes what was written safe from power loss, frees what has arrived, and, with
    /// `cursor`, writes down how far. Blocks on the disk.
    pub fn tidy(&self, cursor: bool) {
        self.sync();
        if cursor && let Err(cause) = self.save_cursor() {
            tracing::debug!(%cause, "cannot write the cursor; after a crash some frames will be sent twice");
        }
        self.free();
        if let Err(cause) = self.disk.reserve() {
            tracing::debug!(%cause, "cannot reserve room for a new segment");
        }
    }

    /// Tidies up whenever something has changed, until `done`, and then once more.
    pub async fn keep_tidy(self: Arc<Spool>, done: CancellationToken) {
        let (mut saved, mut end, mut is_done) = (None::<Instant>, Place::default(), false);
        while !is_done {
            tokio::select! {
                () = self.changed.notified() => tokio::select! {
                    () = tokio::time::sleep(TIDY_EVERY) => {}
                    // Or an agent that is killed again and again would send all again each time.
                    () = self.arrived.notified(), if saved.is_none() => {}
                },
                () = done.cancelled() => {}
            }
            // Asked once a round: what is cancelled while the disk works has a round of its own.
            is_done = done.is_cancelled();
            let needs = self.needs(&mut end);
            let is_late = saved.is_none_or(|saved| saved.elapsed() >= SAVE_EVERY);
            let save = is_done || needs.cursor && is_late;
            if save || needs.disk {
                let spool = Arc::clone(&self);
                tokio::task::spawn_blocking(move || spool.tidy(save)).await.expect("tidying up does not panic");
            }
            if save {
                saved = Some(Instant::now());
            } else if needs.cursor || needs.disk_later {
                self.changed.notify_one();
            }
        }
    }

    /// What is to be done now. `end` is the spool's end at the last call, and becomes the
    /// one of now: what was there before and is in the stream needs no disk to keep it.
    fn needs(&self, end: &mut Place) -> Needs {
        let inner = self.inner();
        let cursor = inner.cursor();
        let is_dirty = inner.segments.values().any(|segment| segment.synced < segment.bytes);
        let disk = is_dirty && cursor < *end;
        *end = inner.end();
        Needs { cursor: cursor != inner.saved, disk, disk_later: is_dirty && !disk && cursor < *end }
    }

    fn sync(&self) {
        let dirty: Vec<_> = {
            let inner = self.inner();
            let dirty = inner.segments.iter().filter(|(_, segment)| segment.synced < segment.bytes);
            dirty.map(|(id, segment)| (*id, segment.bytes)).collect()
        };
        for (id, bytes) in dirty {
            let synced = self.disk.sync(id);
            let mut inner = self.inner();
            let Some(segment) = inner.segments.get_mut(&id) else { continue };
            // What a failed sync was about will not be tried again by the system: it is
            // safe only once it is in the stream.
            segment.synced = segment.synced.max(bytes);
            if let Err(cause) = synced {
                inner.unsafe_until_shipped = true;
                self.note(&mut inner, Some(&Stuck::Write(cause)));
            }
        }
    }

    fn save_cursor(&self) -> io::Result<()> {
        let cursor = {
            let inner = self.inner();
            if inner.cursor() == inner.saved {
                return Ok(());
            }
            inner.cursor()
        };
        self.disk.keep(CURSOR, &serde_json::to_vec(&cursor)?)?;
        self.inner().saved = cursor;
        Ok(())
    }

    /// Removes segments whose frames have all arrived, once a later snapshot is safe.
    fn free(&self) {
        let free: Vec<SegmentId> = {
            let inner = self.inner();
            let safe = inner.current.is_some_and(|current| inner.segments[&current].synced > 0);
            let cursor = inner.cursor().segment;
            let free = inner.segments.keys().filter(|id| **id < cursor && Some(**id) != inner.current);
            if safe && !inner.unsafe_until_shipped { free.copied().collect() } else { Vec::new() }
        };
        for id in free {
            match self.disk.remove(id) {
                Ok(()) => drop(self.inner().segments.remove(&id)),
                Err(cause) => tracing::warn!(segment = id.0, %cause, "cannot remove a segment of the spool"),
            }
        }
    }

    /// The spool's use, for a report.
    pub fn report(&self) -> SpoolReport {
        let inner = self.inner();
        SpoolReport {
            path: self.path.clone(),
            bytes: inner.bytes(),
            max_bytes: self.limits.max_bytes,
            segments: inner.segments.len() as u64,
            quarantined: inner.quarantined,
            dropped: inner.dropped,
            trouble: inner.trouble.clone(),
        }
    }

    /// Share of the spool that waits for the stream, 0 to 1.
    pub fn fill(&self) -> f64 {
        let inner = self.inner();
        let Place { segment, at } = inner.cursor();
        let waiting: u64 = inner.segments.range(segment..).map(|(_, segment)| segment.bytes).sum();
        waiting.saturating_sub(at) as f64 / self.limits.max_bytes as f64
    }

    /// Tells of trouble when it comes, and of its end.
    fn note(&self, inner: &mut Inner, stuck: Option<&Stuck>) {
        match (stuck, &inner.trouble) {
            (None, None) | (Some(_), Some(_)) => {}
            (None, Some(_)) => {
                tracing::info!("the spool takes frames again");
                inner.trouble = None;
            }
            (Some(stuck), None) => {
                tracing::error!(error = stuck as &dyn std::error::Error, "reading stands still");
                inner.trouble = Some(Trouble { since: crate::tail::now(), reason: crate::full_text(stuck) });
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with the spool in hand")
    }
}

/// Whether the disk, or what this user may take of it, is used up.
fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Where shipping goes on: at the saved cursor, or at what is left after it.
fn start(saved: Place, segments: &BTreeMap<SegmentId, Segment>) -> Place {
    match segments.range(saved.segment..).next() {
        Some((id, segment)) if *id == saved.segment => Place { segment: *id, at: saved.at.min(segment.bytes) },
        Some((id, _)) => Place { segment: *id, at: 0 },
        None => saved,
    }
}

/// Neighbouring stretches of one life as one.
fn joined(ranges: impl IntoIterator<Item = Dropped>) -> Vec<Dropped> {
    let mut out: Vec<Dropped> = Vec::new();
    for range in ranges {
        match out.iter_mut().find(|before| before.life == range.life && before.to == range.from) {
            Some(before) => before.to = range.to,
            None => out.push(range),
        }
    }
    out
}

/// Reads a segment at the start. Returns its length in whole records and how many
/// stretches were damaged. A torn tail is cut; other damage is set aside and hidden, so
/// that it is met once.
fn read_segment(disk: &dyn Disk, id: SegmentId, length: u64, rebuild: &mut Rebuild) -> io::Result<(u64, u64)> {
    let bytes = disk.read(id, 0, length as usize)?;
    let (mut end, mut damaged) = (bytes.len() as u64, 0);
    for item in record::scan(&bytes) {
        match item {
            Item::Record { record, .. } => rebuild.take(record),
            Item::Damaged { at, at_end: true, .. } => {
                tracing::info!(segment = id.0, at, "the last record was not finished; its lines are read again");
                disk.cut(id, at as u64)?;
                end = at as u64;
            }
            Item::Damaged { at, bytes: length, .. } => {
                damaged += 1;
                tracing::error!(
                    segment = id.0,
                    at,
                    length,
                    "damaged records are set aside; their lines are read again"
                );
                disk.keep(&format!("quarantine-{:06}-{at}.bin", id.0), &bytes[at..at + length])?;
                disk.write(id, at as u64, &Record::skip_head(length))?;
            }
        }
    }
    Ok((end, damaged))
}

#[cfg(test)]
mod tests {
    use super::memory::{Fault, Memory};
    use super::*;
    use crate::tail::{Life, Witness};
    use tokio::task::JoinHandle;

    const LIMITS: Limits = Limits { max_bytes: 16 << 10, on_full: OnFull::Stop };

    fn life(offset: u64) -> Life {
        let mut life = Life::new(LifeNumber(1), event::LifeId([1; 16]), "/log".into());
        life.head = Witness::of(b"head");
        life.position.offset = offset;
        life
    }

    fn known(offset: u64) -> Known {
        Known { next: 1, lives: vec![life(offset)], ..Known::default() }
    }

    fn open(disk: &Memory) -> Opened {
        Spool::open(Arc::new(disk.clone()), Path::new("/spool"), LIMITS).unwrap()
    }

    /// Appends frame `number`, which moves the one life from there to the next number.
    fn append(spool: &Spool, number: u64) -> Result<Vec<Dropped>, Stuck> {
        let meta =
            Meta { key: number.to_string(), lines: 1, marks: vec![Mark { from: number, life: life(number + 1) }] };
        let payload = Bytes::from(vec![b'x'; 37 * (number as usize % 11)]);
        let known = || Known { behaviour: Bytes::from(number.to_string()), ..known(number) };
        spool.append(meta, payload, &known)
    }

    /// How far behaviour is known: the snapshot's, and the frames since.
    fn behaviour(opened: &Opened) -> u64 {
        let saved = std::str::from_utf8(&opened.behaviour).unwrap();
        saved.parse().unwrap_or(0) + opened.frames.len() as u64
    }

    /// All that can be shipped now.
    fn ship(spool: &Spool) -> Vec<u64> {
        let mut out = Vec::new();
        while let Some(shipment) = spool.next().unwrap() {
            out.push(shipment.meta.key.parse().unwrap());
            spool.settled(shipment.place);
        }
        out
    }

    /// The next frame as the shipper takes it.
    fn take(spool: &Spool) -> Result<Option<Shipment>, ReadError> {
        spool.next_recent().map_or_else(|| spool.next(), |shipment| Ok(Some(shipment)))
    }

    fn offset(opened: &Opened) -> u64 {
        opened.known.life(LifeNumber(1)).map_or(0, |life| life.position.offset)
    }

    /// Appends frames until there are 24, ships half as often, tidies up. Returns how
    /// many appends were confirmed and what was shipped.
    fn work(spool: &Spool, from: u64) -> (u64, Vec<u64>) {
        let (mut next, mut shipped, mut tries) = (from, Vec::new(), 0);
        while next < 24 && tries < 200 {
            tries += 1;
            if append(spool, next).is_ok() {
                next += 1;
            }
            if next % 3 == 0
                && let Ok(Some(shipment)) = take(spool)
            {
                shipped.push(shipment.meta.key.parse().unwrap());
                spool.settled(shipment.place);
            }
            if tries % 4 == 0 {
                spool.tidy(true);
                shipped.extend(if tries > 40 { ship(spool) } else { Vec::new() });
            }
        }
        (next, shipped)
    }

    /// The process dies, or the power fails, in every call to the disk and after any
    /// part of it: what was confirmed is there (or, after power loss, read again), and in
    /// the end every frame is shipped.
    fn dies_anywhere(power_loss: bool) {
        let whole = Memory::default();
        work(&open(&whole).spool, 0);
        for call in 0..whole.calls() {
            for eighths in [0, 3, 8] {
                let disk = Memory::default();
                disk.fail_at(call, Fault::Dies(eighths));
                let (confirmed, mut shipped) = match Spool::open(Arc::new(disk.clone()), Path::new("/spool"), LIMITS) {
                    Ok(opened) => work(&opened.spool, 0),
                    Err(_) => (0, Vec::new()),
                };
                assert!(disk.is_dead(), "call {call} was made");
                let disk = disk.reborn(power_loss);
                let opened = open(&disk);
                let reached = offset(&opened);
                assert!(
                    power_loss || (confirmed..=confirmed + 1).contains(&reached),
                    "{reached} of {confirmed} at {call}"
                );
                shipped.extend(work(&opened.spool, reached).1);
                shipped.extend(ship(&opened.spool));
                shipped.sort_unstable();
                shipped.dedup();
                assert_eq!(shipped, (0..24).collect::<Vec<_>>(), "dead at call {call}, {eighths} eighths");
                assert_eq!(offset(&open(&disk)), 24);
            }
        }
    }

    #[test]
    fn a_process_that_dies_anywhere_loses_nothing() {
        dies_anywhere(false);
    }

    #[test]
    fn power_that_fails_anywhere_loses_nothing() {
        dies_anywhere(true);
    }

    #[test]
    fn a_disk_that_fails_for_a_while_stops_reading_and_loses_nothing() {
        let whole = Memory::default();
        work(&open(&whole).spool, 0);
        for call in 1..whole.calls() {
            for fault in [Fault::Full(3, 1), Fault::Full(5, 4), Fault::Full(0, 9), Fault::Breaks(1), Fault::Breaks(5)] {
                let disk = Memory::default();
                disk.fail_at(call, fault);
                let opened = open(&disk);
                let (confirmed, mut shipped) = work(&opened.spool, 0);
                assert_eq!(confirmed, 24, "{fault:?} at {call}");
                shipped.extend(ship(&opened.spool));
                shipped.sort_unstable();
                assert_eq!(shipped, (0..24).collect::<Vec<_>>(), "{fault:?} at {call}: each once");
                let opened = open(&disk);
                assert_eq!((offset(&opened), behaviour(&opened)), (24, 24), "{fault:?} at {call}");
                // What has arrived is removed, and behaviour is known all the same.
                drop(opened);
                let opened = open(&disk);
                opened.spool.tidy(true);
                let opened = open(&disk);
                assert_eq!(behaviour(&opened), 24, "{fault:?} at {call}");
            }
        }
    }

    #[test]
    fn a_full_spool_takes_nothing_until_frames_have_arrived() {
        let disk = Memory::default();
        let spool = open(&disk).spool;
        let mut next = 0;
        let stuck = loop {
            match append(&spool, next) {
                Ok(_) => next += 1,
                Err(stuck) => break stuck,
            }
        };
        assert_eq!(stuck.to_string(), "the spool is full (16384 bytes); reading stops until the stream takes frames");
        assert!(spool.report().trouble.unwrap().reason.starts_with("the spool is full"));
        assert!(spool.report().bytes <= LIMITS.max_bytes);
        assert_eq!(ship(&spool), (0..next).collect::<Vec<_>>());
        spool.tidy(true);
        append(&spool, next).unwrap();
        assert_eq!(spool.report().trouble, None);
    }

    /// The disk is full for good, whatever else is on it: one segment is all there is, and
    /// nothing more can be written into it.
    #[test]
    fn a_full_disk_takes_frames_again_when_its_only_segment_has_arrived() {
        let disk = Memory::default();
        disk.has_room(3 << 10);
        let spool = open(&disk).spool;
        spool.tidy(true);
        let mut next = 0;
        for _ in 0..5 {
            let before = next;
            while append(&spool, next).is_ok() {
                next += 1;
            }
            assert!(next > before, "stuck at {next}");
            assert!(spool.report().trouble.unwrap().reason.contains("No space left on device"));
            assert_eq!(spool.report().segments, 1);
            assert_eq!(ship(&spool), (before..next).collect::<Vec<_>>());
            append(&spool, next).unwrap();
            next += 1;
            assert_eq!(ship(&spool), [next - 1]);
            spool.tidy(true);
        }
        assert_eq!(offset(&open(&disk)), next);
    }

    #[test]
    fn a_spool_that_may_drop_tells_what() {
        let disk = Memory::default();
        let limits = Limits { on_full: OnFull::DropOldest, ..LIMITS };
        let spool = Spool::open(Arc::new(disk), Path::new("/spool"), limits).unwrap().spool;
        let dropped: Vec<_> = (0..60).flat_map(|number| append(&spool, number).unwrap()).collect();
        let left = ship(&spool);
        assert_eq!(dropped[0].from, 0);
        assert!(dropped.windows(2).all(|pair| pair[0].to == pair[1].from), "{dropped:?}");
        assert_eq!(left, (dropped.last().unwrap().to..60).collect::<Vec<_>>());
        assert_eq!(spool.report().dropped, dropped.last().unwrap().to);
    }

    #[test]
    fn a_damaged_frame_is_set_aside_and_its_lines_are_read_again() {
        let disk = Memory::default();
        let spool = open(&disk).spool;
        (0..3).for_each(|number| drop(append(&spool, number).unwrap()));
        let second = {
            spool.next().unwrap();
            spool.next().unwrap().unwrap().place
        };
        disk.damage(second.segment, second.at as usize + 40);
        let opened = open(&disk);
        assert_eq!(offset(&opened), 1);
        assert_eq!(opened.holed.len(), 1);
        assert_eq!(opened.spool.report().quarantined, 1);
        assert_eq!(ship(&opened.spool), [0, 2]);
        (1..3).for_each(|number| drop(append(&opened.spool, number).unwrap()));
        assert_eq!(ship(&opened.spool), [1, 2]);
        let again = open(&disk);
        assert_eq!((offset(&again), again.spool.report().quarantined), (3, 0));
        assert!(disk.kept_names().iter().any(|name| name.starts_with("quarantine-000001-")));
    }

    #[test]
    fn what_is_in_the_stream_needs_no_disk_and_what_waits_does() {
        let spool = open(&Memory::default()).spool;
        let mut end = Place::default();
        append(&spool, 0).unwrap();
        assert_eq!(spool.needs(&mut end), Needs { cursor: false, disk: false, disk_later: true });
        assert_eq!(spool.needs(&mut end), Needs { cursor: false, disk: true, disk_later: false });
        assert_eq!(ship(&spool), [0]);
        assert_eq!(spool.needs(&mut end), Needs { cursor: true, disk: false, disk_later: false });
        spool.tidy(true);
        assert_eq!(spool.needs(&mut end), Needs { cursor: false, disk: false, disk_later: false });
    }

    /// A spool that is kept tidy, and has written down that frame 0 arrived.
    async fn kept_tidy(disk: &Memory) -> (Arc<Spool>, CancellationToken, JoinHandle<()>) {
        let (spool, done) = (Arc::new(open(disk).spool), CancellationToken::new());
        let tidy = tokio::spawn(Arc::clone(&spool).keep_tidy(done.clone()));
        append(&spool, 0).unwrap();
        assert_eq!(ship(&spool), [0]);
        while disk.kept(CURSOR).unwrap().is_none() {
            tokio::time::sleep(TIDY_EVERY / 2).await;
        }
        (spool, done, tidy)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_frames_to_arrive_are_written_down_at_once() {
        let disk = Memory::default();
        let (_spool, done, tidy) = kept_tidy(&disk).await;
        let again = open(&disk).spool;
        assert!(again.is_shipped(), "an agent that dies young does not send all again");
        done.cancel();
        tidy.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn how_far_is_written_down_at_the_end_also_when_that_comes_in_the_middle_of_tidying() {
        let disk = Memory::default();
        let (spool, done, tidy) = kept_tidy(&disk).await;
        disk.tell_at_sync(done);
        append(&spool, 1).unwrap();
        append(&spool, 2).unwrap();
        spool.settled(spool.next().unwrap().unwrap().place);
        tidy.await.unwrap();
        assert_eq!(ship(&open(&disk).spool), [2]);
    }

    #[test]
    fn frames_come_in_order_from_the_disk_and_then_from_memory() {
        let limits = Limits { max_bytes: 16 << 20, ..LIMITS };
        let spool = Spool::open(Arc::new(Memory::default()), Path::new("/spool"), limits).unwrap().spool;
        let appended: Vec<(String, Bytes)> = (0..5u8).map(|n| (n.to_string(), vec![n; 200 << 10].into())).collect();
        for (key, payload) in &appended {
            let meta = Meta { key: key.clone(), lines: 1, marks: Vec::new() };
            spool.append(meta, payload.clone(), &|| known(0)).unwrap();
        }
        let mut recent = 0;
        let mut next = || {
            let remembered = spool.next_recent();
            recent += usize::from(remembered.is_some());
            let shipment = remembered.or_else(|| spool.next().unwrap())?;
            Some((shipment.meta.key, shipment.payload))
        };
        let shipped: Vec<(String, Bytes)> = std::iter::from_fn(&mut next).collect();
        assert_eq!((shipped, recent), (appended, 2), "two of 200 KiB stay in memory");
        assert!(spool.is_shipped());
    }

    #[test]
    fn damage_that_is_met_while_shipping_is_an_error() {
        let disk = Memory::default();
        let spool = open(&disk).spool;
        append(&spool, 0).unwrap();
        let place = spool.next().unwrap().unwrap().place;
        append(&spool, 1).unwrap();
        disk.damage(place.segment, disk.read(place.segment, 0, usize::MAX).unwrap().len() - 3);
        assert!(matches!(spool.next(), Err(ReadError::Damaged(_))));
    }
}
