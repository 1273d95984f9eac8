//! Records of one shard, to the archive and, as long as it keeps up, to the index.

use super::{Shared, Worker};
use crate::budget::{Held, Room, size};
use crate::index::follow::ToIndex;
use crate::receive::{FeedError, Next, PAGE_BYTES, Page, Pages, Record, SequenceNumber, Shard, Start};
use event::pause::Pause;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often who waits for room for a page looks whether its index keeps the room that others need.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads a shard.
pub struct Reader<'w> {
    worker: &'w Worker,
    pages: Box<dyn Pages>,
    archive: mpsc::Sender<Held>,
    /// `None` while the index follows the archive.
    index: Option<ToIndex>,
    joins: mpsc::Receiver<ToIndex>,
    /// The last record that the archive was given.
    read_to: Option<SequenceNumber>,
    /// How long the index has been waited for since it was in step.
    waited: Duration,
    /// When it was last looked whether others need the room that the index keeps.
    looked: Instant,
}

impl<'w> Reader<'w> {
    /// Reads `pages`, which begin after `read_to`.
    pub fn new(
        worker: &'w Worker,
        pages: Box<dyn Pages>,
        archive: mpsc::Sender<Held>,
        index: Option<ToIndex>,
        joins: mpsc::Receiver<ToIndex>,
        read_to: Option<SequenceNumber>,
    ) -> Reader<'w> {
        let (waited, looked) = (Duration::ZERO, Instant::now());
        Reader { worker, pages, archive, index, joins, read_to, waited, looked }
    }

    /// The shards that follow this one, as the last page told.
    pub fn children(&self) -> Vec<Shard> {
        self.pages.children()
    }

    /// Gives every record to the archive and to the index. Ends with `More` when we are told to
    /// stop or the archive has ended.
    pub async fn read(&mut self) -> Result<Next, FeedError> {
        let stop = self.worker.stop.clone();
        let mut pause = Pause::default();
        // The page that comes is asked for when there is room for it. Until then there is none.
        let mut room = None;
        loop {
            let page = tokio::select! {
                page = next_page(&mut *self.pages, room.is_some()) => page,
                Some(index) = self.joins.recv() => {
                    room = None;
                    self.join(index).await?;
                    continue;
                }
                () = stop.cancelled() => return Ok(Next::More),
                () = self.archive.closed() => return Ok(Next::More),
            };
            let page = match page {
                Ok(None) => {
                    let Some(free) = stop.run_until_cancelled(self.page_room(PAGE_BYTES)).await else {
                        return Ok(Next::More);
                    };
                    room = Some(free);
                    continue;
                }
                Err(error @ FeedError::Transient { .. }) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        shard = self.worker.shard,
                        "will try again"
                    );
                    room = None;
                    stop.run_until_cancelled(tokio::time::sleep(pause.next_pause())).await;
                    continue;
                }
                Ok(Some(page)) => page,
                Err(error) => return Err(error),
            };
            let fits = self.fit(room.take(), &page);
            let Some(_room) = stop.run_until_cancelled(fits).await else { return Ok(Next::More) };
            pause = Pause::default();
            self.worker.services.meter.page(&self.worker.shard, page.behind);
            self.yield_to_others();
            let next = page.next;
            if !matches!(stop.run_until_cancelled(self.give_all(page)).await, Some(true)) {
                return Ok(Next::More);
            }
            if next != Next::More {
                return Ok(next);
            }
        }
    }

    /// Waits for room for a page. Who holds a page waits for room for its records, so an index that
    /// holds records and does not move is given up meanwhile.
    async fn page_room(&mut self, bytes: usize) -> Room {
        let budget = self.worker.shared.budget.clone();
        let room = budget.page(bytes);
        tokio::pin!(room);
        loop {
            tokio::select! {
                room = &mut room => return room,
                () = tokio::time::sleep(LOOK_EVERY) => self.yield_to_others(),
            }
        }
    }

    /// The room that a page takes which has come into `room`. Waits where it is larger than was
    /// asked for: until then it is beside the budget, one page of a shard at most.
    async fn fit(&mut self, room: Option<Room>, page: &Page) -> Room {
        let bytes = page.records.iter().map(|record| record.data.len()).sum();
        match room.and_then(|room| self.worker.shared.budget.fit(room, bytes)) {
            Some(room) => room,
            None => self.page_room(bytes).await,
        }
    }

    /// Reads again from where the index is. The archive is not given twice what it has.
    async fn join(&mut self, index: ToIndex) -> Result<(), FeedError> {
        let Some(after) = index.after.clone().min(self.read_to.clone()) else { return Ok(()) };
        tracing::info!(shard = self.worker.shard, "the index has caught up and follows the stream again");
        let opened = self.worker.services.feed.open(&self.worker.shard, Start::After(after));
        let Some(pages) = self.worker.stop.run_until_cancelled(opened).await else { return Ok(()) };
        self.pages = pages?;
        self.index = Some(index);
        self.waited = Duration::ZERO;
        Ok(())
    }

    async fn give_all(&mut self, page: Page) -> bool {
        for record in page.records {
            if !self.give(record).await {
                return false;
            }
        }
        true
    }

    /// False when the archive has ended.
    async fn give(&mut self, record: Record) -> bool {
        let is_after = |place: &Option<SequenceNumber>| place.as_ref().is_none_or(|place| record.sequence > *place);
        let (for_archive, for_index) =
            (is_after(&self.read_to), self.index.as_ref().is_some_and(|index| is_after(&index.after)));
        if !for_archive && !for_index {
            return true;
        }
        let room = self.room(self.worker.shared.budget.room_for(&record)).await;
        if for_archive {
            self.worker.services.meter.record(&self.worker.shard, &record);
            self.read_to = Some(record.sequence.clone());
        }
        let held = self.open(record, room).await;
        if for_archive && self.archive.send(held.clone()).await.is_err() {
            return false;
        }
        if for_index {
            self.give_to_index(held).await;
        }
        true
    }

    /// Opens a record. One that takes more than it told is opened again when there is room for it:
    /// who waits holds neither room, as two that did could wait for each other, nor what it has
    /// opened.
    async fn open(&mut self, record: Record, mut room: Room) -> Held {
        let Worker { shared: Shared { budget, .. }, decoder, .. } = self.worker;
        let opened = decoder.decode(record.clone());
        if budget.grow(&mut room, &opened) {
            return Held::new(opened, room);
        }
        let bytes = size(&opened);
        drop((opened, room));
        let room = self.room(budget.room(bytes)).await;
        Held::new(decoder.decode(record), room)
    }

    /// Waits for room. An index that holds what there is, and does not move, is given up.
    async fn room(&mut self, room: impl Future<Output = Room>) -> Room {
        tokio::pin!(room);
        let begun = Instant::now();
        if self.index.is_some() {
            tokio::select! {
                room = &mut room => {
                    self.waited += begun.elapsed();
                    return room;
                }
                () = tokio::time::sleep(self.patience()) => self.give_up(),
            }
        }
        room.await
    }

    async fn give_to_index(&mut self, held: Held) {
        let patience = self.patience();
        let Some(index) = &mut self.index else { return };
        if index.is_in_step() {
            self.waited = Duration::ZERO;
        }
        let begun = Instant::now();
        match tokio::time::timeout(patience, index.give(held)).await {
            Ok(true) => self.waited += begun.elapsed(),
            // It begins again from its cursor, and asks to join.
            Ok(false) => self.index = None,
            Err(_) => self.give_up(),
        }
    }

    /// An index that does not move may not keep the room that records of other shards need.
    fn yield_to_others(&mut self) {
        let elapsed = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        let Some(index) = &self.index else { return };
        if !index.holds_records() || !self.worker.shared.budget.is_short() {
            return;
        }
        self.waited += elapsed;
        if self.patience().is_zero() {
            self.give_up();
        }
    }

    fn patience(&self) -> Duration {
        self.worker.settings.index_patience.saturating_sub(self.waited)
    }

    fn give_up(&mut self) {
        self.waited = Duration::ZERO;
        self.index.take().into_iter().for_each(ToIndex::give_up);
    }
}

/// The next page once there is room for it; until then `None`, when it can be read.
async fn next_page(pages: &mut dyn Pages, has_room: bool) -> Result<Option<Page>, FeedError> {
    if has_room { pages.next().await.map(Some) } else { pages.ready().await.map(|()| None) }
}
