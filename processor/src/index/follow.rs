//! The index path of one shard: it follows the records that are read, and where it cannot keep
//! up with them, the archive.
//!
//! ```text
//! live --- the reader gives it up ---> behind: reads the archive up to its end
//!   ^------------- joins again ----------/
//! ```
//!
//! So an index that is slow or away holds neither records nor the archive up. Who joins again has
//! the records read once more from where the index is: nothing is left out between the archive's
//! end and the stream, and what comes twice has the same id.

use super::IndexError;
use super::catch_up::CatchUp;
use super::ledger::Done;
use crate::archive::chain::Tail;
use crate::budget::{Held, Watched};
use crate::receive::SequenceNumber;
use event::pause::Pause;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Records that wait before the index. Their bytes are bounded by the budget.
const RECORDS_WAITING_MAX: usize = 256;

/// The reader's end.
pub struct ToIndex {
    records: mpsc::Sender<Held>,
    /// The index needs the records after this one.
    pub after: Option<SequenceNumber>,
    last_given: Option<Watched>,
    given_up: CancellationToken,
}

/// The index's end.
pub struct Live {
    records: mpsc::Receiver<Held>,
    given_up: CancellationToken,
}

impl ToIndex {
    /// Both ends.
    pub fn after(after: Option<SequenceNumber>) -> (ToIndex, Live) {
        let (send, records) = mpsc::channel(RECORDS_WAITING_MAX);
        let given_up = CancellationToken::new();
        (ToIndex { records: send, after, last_given: None, given_up: given_up.clone() }, Live { records, given_up })
    }

    /// Gives a record. False when the index has ended. Cancel safe.
    pub async fn give(&mut self, record: Held) -> bool {
        let watched = record.watched();
        let is_given = self.records.send(record).await.is_ok();
        self.last_given = Some(watched);
        is_given
    }

    /// Whether room is taken by records that it was given.
    pub fn holds_records(&self) -> bool {
        self.last_given.as_ref().is_some_and(Watched::is_held)
    }

    /// Whether it has begun with all that it was given.
    pub fn is_in_step(&self) -> bool {
        self.records.capacity() == self.records.max_capacity()
    }

    /// The index drops what it was given and follows the archive.
    pub fn give_up(self) {
        self.given_up.cancel();
    }
}

/// The index path of one shard.
pub struct Follower {
    pub catch_up: CatchUp,
    /// Everything up to here is indexed.
    pub indexed: Option<SequenceNumber>,
    /// The archive's end.
    pub tail: watch::Receiver<Option<Tail>>,
    /// Asks the reader for records.
    pub joins: mpsc::Sender<ToIndex>,
    /// Cancelled when nothing more will be read or archived.
    pub over: CancellationToken,
    /// How long records may wait after that while other shards need their room. Then they are
    /// dropped, and indexed from the archive: nobody else gives them up once their reader is gone.
    pub patience: Duration,
}

impl Follower {
    /// Whether the archive holds what is not indexed.
    pub fn is_behind(&self, tail: &Tail) -> bool {
        self.indexed.as_ref().is_none_or(|indexed| *indexed < tail.sequence)
    }

    /// Follows until all is indexed and nothing more comes. `told` hears how far all is durable.
    pub async fn run(mut self, mut live: Option<Live>, told: impl Fn(Done)) {
        loop {
            if let Some(live) = live.take() {
                self.follow(live, &told).await;
            }
            if !self.catch_up(&told).await {
                return;
            }
            let (to_index, joined) = ToIndex::after(self.indexed.clone());
            live = self.joins.send(to_index).await.is_ok().then_some(joined);
        }
    }

    /// Indexes records as they are read, until there are no more or the reader gives up.
    async fn follow(&mut self, live: Live, told: &impl Fn(Done)) {
        let Live { records, given_up } = live;
        let indexed = Mutex::new(self.indexed.take());
        let follow = self.catch_up.bulker.run(records, |done| note(&indexed, done, told));
        let late = async {
            self.over.cancelled().await;
            loop {
                tokio::time::sleep(self.patience).await;
                if self.catch_up.budget.is_short() {
                    return;
                }
            }
        };
        let ended = tokio::select! {
            ended = follow => Some(ended),
            () = given_up.cancelled() => None,
            () = late => None,
        };
        self.indexed = indexed.into_inner().expect("nobody panics with the cursor in hand");
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => self.lost(&error, Pause::default().next_pause()).await,
            None => tracing::warn!(
                shard = self.catch_up.chain.shard,
                "the index does not keep up; archiving goes on, and the index catches up from the archive"
            ),
        }
    }

    /// Indexes what is archived and not indexed, as often as there is more. True when the index is
    /// in step and takes documents; false when nothing more will come.
    async fn catch_up(&mut self, told: &impl Fn(Done)) -> bool {
        let (mut has_indexed, mut pause) = (false, Pause::default());
        loop {
            let is_over = self.over.is_cancelled();
            let tail = self.tail.borrow_and_update().clone();
            if let Some(tail) = tail.filter(|tail| self.is_behind(tail)) {
                match self.object_round(&tail, told).await {
                    Ok(()) => has_indexed = true,
                    Err(error) => self.lost(&error, pause.next_pause()).await,
                }
                continue;
            }
            if is_over || has_indexed {
                return !is_over;
            }
            tokio::select! {
                changed = self.tail.changed() => if changed.is_err() { return false },
                () = self.over.cancelled() => {}
            }
        }
    }

    async fn object_round(&mut self, tail: &Tail, told: &impl Fn(Done)) -> Result<(), IndexError> {
        let indexed = Mutex::new(self.indexed.clone());
        let ended = self.catch_up.run(self.indexed.clone(), tail, |done| note(&indexed, done, told)).await;
        self.indexed = indexed.into_inner().expect("nobody panics with the cursor in hand");
        ended
    }

    async fn lost(&self, error: &IndexError, pause: Duration) {
        let shard = &self.catch_up.chain.shard;
        tracing::error!(
            error = error as &dyn std::error::Error,
            shard,
            "indexing begins again from the last record that is durable"
        );
        tokio::time::sleep(pause).await;
    }
}

fn note(indexed: &Mutex<Option<SequenceNumber>>, done: Done, told: &impl Fn(Done)) {
    *indexed.lock().expect("nobody panics with the cursor in hand") = Some(done.sequence.clone());
    told(done);
}
