//! One budget of memory for all shards: no more records are opened than there is room for.
//!
//! A half of it is for records that are open, a quarter for the archive's windows, and a quarter
//! for requests to the index.

use crate::decode::Decoded;
use crate::receive::Record;
use event::limits::DECODED_BYTES_MAX;
use event::unpack::Packing;
use event::{Event, EventId};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// What is counted at once.
const UNIT: usize = 1 << 10;

/// What a byte of a line takes while its record is open, at most: the text, the event that is
/// made of it, and what an event has beside its line.
const OPENED: usize = 4;

/// Memory that all shards share.
#[derive(Debug)]
pub struct Budget {
    bytes: usize,
    records: Arc<Semaphore>,
    waiting: AtomicUsize,
    shards: AtomicUsize,
    /// An object of the archive that is read again may be as large as a window.
    object: Semaphore,
}

/// Room for something; it is given back when this is dropped.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Budget {
        Budget {
            bytes,
            records: Arc::new(Semaphore::new(units(bytes / 2))),
            waiting: AtomicUsize::new(0),
            shards: AtomicUsize::new(0),
            object: Semaphore::new(1),
        }
    }

    /// Waits until a record may be opened. One that takes more than there is waits until all
    /// others are gone, and then has all of it. Cancel safe.
    pub async fn room_for(&self, record: &Record) -> Room {
        self.room(opened(&record.data)).await
    }

    /// Waits for room for so many bytes, or for all there is. Cancel safe.
    pub async fn room(&self, bytes: usize) -> Room {
        let _waiting = Counted::of(&self.waiting);
        let units = self.units(bytes) as u32;
        Room(Arc::clone(&self.records).acquire_many_owned(units).await.expect("nobody closes it"))
    }

    /// Makes the room as large as an open record is that takes more than it told. False where that
    /// would have to be waited for.
    pub fn grow(&self, room: &mut Room, record: &Decoded) -> bool {
        let missing = self.units(size(record)).saturating_sub(room.0.num_permits());
        let more = Arc::clone(&self.records).try_acquire_many_owned(missing as u32);
        more.map(|more| room.0.merge(more)).is_ok()
    }

    /// What is counted for a record: all there is, at most.
    fn units(&self, bytes: usize) -> usize {
        units(bytes).min(units(self.bytes / 2))
    }

    /// Whether a record waits for room.
    pub fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes that are free for records.
    pub fn free(&self) -> usize {
        self.records.available_permits() * UNIT
    }

    /// What a window of the archive may hold while so many are open.
    pub fn window_bytes(&self) -> usize {
        self.bytes / 4 / self.shards.load(Ordering::Relaxed).max(1)
    }

    /// Notes that a shard is worked on, until the answer is dropped.
    pub fn shard(&self) -> Counted<'_> {
        Counted::of(&self.shards)
    }

    /// Waits until an object of the archive may be read again: one at a time. Cancel safe.
    pub async fn object(&self) -> SemaphorePermit<'_> {
        self.object.acquire().await.expect("nobody closes it")
    }
}

/// One more, until it is dropped.
pub struct Counted<'a>(&'a AtomicUsize);

impl Counted<'_> {
    fn of(count: &AtomicUsize) -> Counted<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open record and the room that it takes. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Held(Arc<(Decoded, Room)>);

impl Held {
    /// Gives back what the record does not need after all.
    pub fn new(record: Decoded, mut room: Room) -> Held {
        let spare = room.0.num_permits().saturating_sub(units(size(&record)));
        drop(room.0.split(spare));
        Held(Arc::new((record, room)))
    }

    /// Tells whether somebody still has the record.
    pub fn watched(&self) -> Watched {
        Watched(Arc::downgrade(&self.0))
    }
}

/// A record that others may have.
pub struct Watched(Weak<(Decoded, Room)>);

impl Watched {
    /// Whether somebody has it.
    pub fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Deref for Held {
    type Target = Decoded;

    fn deref(&self) -> &Decoded {
        &self.0.0
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).max(1)
}

/// What a record may take when it is open. It may turn out to be larger: lines may be short, and who
/// packs may lie about what it unpacks to.
fn opened(data: &[u8]) -> usize {
    let text = match Packing::of(data) {
        Some(packing) => packing.told_bytes(data).map_or(DECODED_BYTES_MAX, |told| told.max(data.len())),
        None => data.len(),
    };
    text.min(DECODED_BYTES_MAX) * OPENED
}

/// What an open record takes.
pub fn size(record: &Decoded) -> usize {
    let of_event = |(_, event): &(EventId, Event)| event.line.capacity() + event.record.as_ref().map_or(0, String::len);
    let events = &record.content.events;
    let raw: usize = record.content.unreadable.iter().map(|part| part.data.len()).sum();
    raw + events.iter().map(of_event).sum::<usize>() + events.capacity() * size_of::<(EventId, Event)>()
}
