//! One budget of memory for all shards: no more is read, and no more records are opened, than there
//! is room for.
//!
//! An eighth of it is for pages as they come from the stream, three eighths are for records that
//! are open, a quarter is for the archive's windows, and a quarter for requests to the index. Who
//! has a page may wait for room for its records; who has records never waits for room for a page
//! without giving them up when others need it. So nobody waits for himself.

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
    pages: Arc<Semaphore>,
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
            pages: Arc::new(Semaphore::new(page_units(bytes))),
            records: Arc::new(Semaphore::new(record_units(bytes))),
            waiting: AtomicUsize::new(0),
            shards: AtomicUsize::new(0),
            object: Semaphore::new(1),
        }
    }

    /// Waits until a page may be read that holds so many bytes, or until all other pages are gone.
    /// Cancel safe.
    pub async fn page(&self, bytes: usize) -> Room {
        let units = units(bytes).min(page_units(self.bytes)) as u32;
        Room(Arc::clone(&self.pages).acquire_many_owned(units).await.expect("nobody closes it"))
    }

    /// The room of a page that holds so many bytes: what was too much is given back. `None`, and all
    /// of it given back, where there is not enough: two that waited with a part each could wait for
    /// each other.
    pub fn fit(&self, Room(mut room): Room, bytes: usize) -> Option<Room> {
        let units = units(bytes).min(page_units(self.bytes));
        drop(room.split(room.num_permits().saturating_sub(units)));
        let missing = units - room.num_permits();
        let more = Arc::clone(&self.pages).try_acquire_many_owned(missing as u32).ok()?;
        room.merge(more);
        Some(Room(room))
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
        units(bytes).min(record_units(self.bytes))
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

/// What pages have of a budget of so many bytes.
fn page_units(bytes: usize) -> usize {
    units(bytes / 8)
}

/// What open records have.
fn record_units(bytes: usize) -> usize {
    units(bytes / 8 * 3)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Room for pages in these tests: 16 units.
    const PAGES: usize = 16 * UNIT;

    fn budget() -> Budget {
        Budget::new(8 * PAGES)
    }

    /// What the pages that are held take, of what there is.
    fn held(budget: &Budget) -> usize {
        PAGES / UNIT - budget.pages.available_permits()
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_is_larger_than_all_there_is_passes_alone() {
        let budget = budget();
        let small = budget.page(UNIT).await;
        let large = budget.page(100 * PAGES);
        tokio::pin!(large);
        assert!(tokio::time::timeout(std::time::Duration::from_secs(60), &mut large).await.is_err());
        drop(small);
        let large = large.await;
        assert_eq!(held(&budget), 16);
        assert!(budget.fit(large, 200 * PAGES).is_some_and(|room| room.0.num_permits() == 16));
        assert_eq!(held(&budget), 0);
    }

    proptest! {
        #[test]
        fn pages_take_what_they_hold_and_never_more_than_there_is(
            pages in prop::collection::vec((0..2 * PAGES, 0..2 * PAGES, any::<bool>()), 1..40),
        ) {
            let (budget, mut rooms) = (budget(), Vec::new());
            for (expected, bytes, goes) in pages {
                if goes {
                    rooms.pop();
                }
                let asked = futures::FutureExt::now_or_never(budget.page(expected));
                let is_free = units(expected).min(16) <= 16 - rooms.iter().map(|(_, units)| units).sum::<usize>();
                prop_assert_eq!(asked.is_some(), is_free);
                let fits = asked.and_then(|room| budget.fit(room, bytes));
                rooms.extend(fits.map(|room| (room, units(bytes).min(16))));
                prop_assert_eq!(held(&budget), rooms.iter().map(|(_, units)| units).sum::<usize>());
            }
            rooms.clear();
            prop_assert_eq!(held(&budget), 0);
        }
    }
}
