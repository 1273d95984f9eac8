//! One shard, while its lease is ours: read, archive beside index, move the cursors.

mod reader;

use crate::Services;
use crate::archive::chain::{Chain, Ended, Limits, Tail};
use crate::archive::fence::Fenced;
use crate::budget::{Budget, Held};
use crate::decode::Decoder;
use crate::index::bulk::Bulker;
use crate::index::catch_up::CatchUp;
use crate::index::flight::Flight;
use crate::index::follow::{Follower, ToIndex};
use crate::index::ledger::Done;
use crate::leases::keep::{Cursors, Keeper};
use crate::leases::{Checkpoint, Lease};
use crate::receive::{FeedError, Next, Pages, Shard, Start};
use crate::settings::Settings;
use crate::supervisor::ensure_rows;
use event::Millis;
use event::pause::Pause;
use reader::Reader;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Records that wait before the archive. Their bytes are bounded by the budget.
const RECORDS_WAITING_MAX: usize = 256;

/// How long the last object may take into the archive once we are told to stop.
const ARCHIVE_GRACE: Duration = Duration::from_secs(18);

/// How long the last documents may take into the index. What is not indexed then is indexed by
/// whoever takes the shard next.
const INDEX_GRACE: Duration = Duration::from_secs(5);

/// How a shard's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// We were told to stop, or lost the lease.
    Stopped,
    /// The shard is read to its end, for good.
    ShardEnd,
    /// The stream is shutting down.
    StreamEnd,
}

/// What the shards of a process share.
#[derive(Clone)]
pub struct Shared {
    pub budget: Arc<Budget>,
    pub flight: Arc<Flight>,
}

impl Shared {
    /// As the settings say.
    pub fn new(settings: &Settings, services: &Services) -> Shared {
        Shared {
            budget: Arc::new(Budget::new(settings.memory_bytes)),
            flight: Arc::new(Flight::new(settings.bulks_max, services.meter.clone())),
        }
    }
}

/// Works on the shard of `lease`, which is ours, until `stop`, the shard's end, or the
/// loss of the lease.
pub async fn run(
    services: Services,
    settings: Arc<Settings>,
    shared: Shared,
    lease: Lease,
    stop: CancellationToken,
) -> Outcome {
    let lost = CancellationToken::new();
    let (moved, cursors) = watch::channel(Cursors::of(&lease));
    let (renewed, as_renewed) = watch::channel(Instant::now());
    let keeper = Keeper {
        leases: services.leases.clone(),
        lease: lease.clone(),
        failover: settings.failover,
        lost: lost.clone(),
        renewed,
        meter: services.meter.clone(),
    };
    let fenced = Fenced { archive: services.archive.clone(), renewed: as_renewed, failover: settings.failover };
    let services = Services { archive: Arc::new(fenced), ..services };
    let work = async {
        let decoder = Decoder::new(&settings, &lease.key, lease.stream_created, services.meter.clone());
        let budget = Arc::clone(&shared.budget);
        let _counted = budget.shard();
        let Lease { key: shard, parents, stream_created, .. } = lease;
        let moved = Arc::new(moved);
        let worker = Worker { services, settings, shared, shard, parents, stream_created, decoder, moved, stop };
        let outcome = tokio::select! {
            outcome = worker.work() => outcome,
            () = lost.cancelled() => Outcome::Stopped,
        };
        worker.services.meter.left(&worker.shard);
        // Dropping the worker drops `moved`: the keeper writes the last cursors.
        drop(worker);
        outcome
    };
    let ((), outcome) = tokio::join!(keeper.run(cursors), work);
    outcome
}

struct Worker {
    services: Services,
    settings: Arc<Settings>,
    shared: Shared,
    shard: String,
    parents: Vec<String>,
    stream_created: Option<Millis>,
    decoder: Decoder,
    moved: Arc<watch::Sender<Cursors>>,
    stop: CancellationToken,
}

impl Worker {
    async fn work(&self) -> Outcome {
        let mut pause = Pause::default();
        loop {
            let error = match self.pass().await {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => continue,
                Err(error) => error,
            };
            tracing::error!(shard = self.shard, "{error:#}; will try again");
            tokio::select! {
                () = tokio::time::sleep(pause.next_pause()) => {}
                () = self.stop.cancelled() => return Outcome::Stopped,
            }
        }
    }

    /// No object that follows what is archived holds a record that arrived before. All records of a
    /// shard that was split or merged from others arrive behind theirs.
    async fn since(&self, cursors: &Cursors) -> Option<Millis> {
        if cursors.checkpoint_arrival.is_some() || self.parents.is_empty() {
            return cursors.checkpoint_arrival;
        }
        let rows = self.services.leases.list().await.ok()?;
        let arrival = |parent: &String| rows.iter().find(|row| row.key == *parent)?.checkpoint_arrival;
        self.parents.iter().map(arrival).collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// Reads from the cursors on. `None`: begin again at the cursors.
    async fn pass(&self) -> anyhow::Result<Option<Outcome>> {
        let cursors = self.moved.borrow().clone();
        let chain = Chain {
            archive: self.services.archive.clone(),
            stream: self.settings.stream.clone(),
            shard: self.shard.clone(),
            stream_created: self.stream_created,
        };
        let known = Tail::known(&cursors, self.stream_created);
        let tail = async { chain.tail(known, self.since(&cursors).await).await };
        let Some(tail) = self.stop.run_until_cancelled(tail).await else { return Ok(Some(Outcome::Stopped)) };
        let tail = tail?;
        let behind = chain.start(tail.as_ref());
        // What is archived of this stream, not of an earlier one of its name.
        let own = tail.clone().filter(|_| behind.is_some());
        let archived = Archived { tail: watch::Sender::new(None), moved: Arc::clone(&self.moved) };
        archived.to(own.clone());
        let end = archived.tail.subscribe();
        self.services.meter.begun(&self.shard, own.as_ref(), cursors.indexed_through.sequence());

        // Tasks of their own, so that packing, parsing and indexing use several cores. They end
        // with the channels that the reader drops, or with this future.
        let (joins, joining) = mpsc::channel(1);
        let follower = self.follower(&chain, &cursors, archived.tail.subscribe(), joins);
        let over = follower.over.clone();
        let is_index_in_step = own.as_ref().is_none_or(|tail| !follower.is_behind(tail));
        let (to_index, live) = Some(ToIndex::after(follower.indexed.clone())).filter(|_| is_index_in_step).unzip();
        let follower = AbortOnDropHandle::new(tokio::spawn(follower.run(live, self.indexed())));

        let is_archived = cursors.checkpoint == Checkpoint::ShardEnd || own.as_ref().is_some_and(|own| own.is_final);
        let start = behind.or_else(|| cursors.checkpoint.start()).filter(|_| !is_archived);
        let Some(opened) = self.stop.run_until_cancelled(self.open(start)).await else {
            return Ok(Some(Outcome::Stopped));
        };
        let pages = match opened {
            Err(FeedError::NoShard(_)) => {
                drop(to_index);
                over.cancel();
                return self.shard_end(&chain, &end, Vec::new(), follower).await;
            }
            pages => pages?,
        };
        let (to_archive, archive_in) = mpsc::channel(RECORDS_WAITING_MAX);
        let read_to = own.map(|own| own.sequence);
        let archive = AbortOnDropHandle::new(tokio::spawn(self.archive(chain.clone(), tail, archive_in, archived)));
        let mut reader = Reader::new(self, pages, to_archive, to_index, joining, read_to);
        let read = reader.read().await;
        let children = reader.children();
        drop(reader);
        let Some(ended) = self.within(ARCHIVE_GRACE, archive).await else { return Ok(Some(Outcome::Stopped)) };
        over.cancel();
        match (ended, read?) {
            (Ended::ReadAgain, _) => Ok(None),
            (Ended::OtherStream, _) => anyhow::bail!(
                "the archive under `raw/{}/` is of an earlier stream of this name, whose records have higher numbers; \
                 give the stream another name, or the processor another bucket",
                self.settings.stream
            ),
            (Ended::InputEnded, Next::ShardEnd) => self.shard_end(&chain, &end, children, follower).await,
            (Ended::InputEnded, Next::More) => {
                self.within(INDEX_GRACE, follower).await;
                Ok(Some(Outcome::Stopped))
            }
            (Ended::InputEnded, Next::StreamEnd) => {
                let indexed = self.within(INDEX_GRACE, follower).await;
                Ok(Some(indexed.map_or(Outcome::Stopped, |()| Outcome::StreamEnd)))
            }
        }
    }

    /// The shard from `start` on; without it the shard has nothing more to give.
    async fn open(&self, start: Option<Start>) -> Result<Box<dyn Pages>, FeedError> {
        match start {
            None => Err(FeedError::NoShard(self.shard.clone())),
            Some(start) => self.services.feed.open(&self.shard, start).await,
        }
    }

    /// Waits for a task; once we are told to stop, for no longer than `grace`.
    async fn within<T>(&self, grace: Duration, task: AbortOnDropHandle<T>) -> Option<T> {
        let late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            ended = task => Some(ended.expect("neither archiving nor indexing panics")),
            () = late => None,
        }
    }

    /// Archives what comes, as a task.
    fn archive(
        &self,
        chain: Chain,
        tail: Option<Tail>,
        records: mpsc::Receiver<Held>,
        archived: Archived,
    ) -> impl Future<Output = Ended> + use<> {
        let (bytes, age) = (self.settings.window_bytes, self.settings.window_age);
        let (budget, meter, shard) = (self.shared.budget.clone(), self.services.meter.clone(), self.shard.clone());
        async move {
            let limits = || Limits { bytes: bytes.min(budget.window_bytes()), age };
            let told = |tail: Tail| {
                meter.archived(&shard, &tail);
                archived.to(Some(tail));
            };
            chain.extend(tail, records, limits, told).await
        }
    }

    fn follower(
        &self,
        chain: &Chain,
        cursors: &Cursors,
        tail: watch::Receiver<Option<Tail>>,
        joins: mpsc::Sender<ToIndex>,
    ) -> Follower {
        let (bulker, budget) = (self.bulker(), self.shared.budget.clone());
        let since = match cursors.indexed_through {
            Checkpoint::AtTimestamp(at) => Some(at),
            _ => None,
        };
        let catch_up = CatchUp { chain: chain.clone(), bulker, budget, since };
        let indexed = cursors.indexed_through.sequence().cloned();
        let (over, patience) = (CancellationToken::new(), self.settings.index_patience);
        Follower { catch_up, indexed, tail, joins, over, patience }
    }

    /// Moves the index's cursor.
    fn indexed(&self) -> impl Fn(Done) + use<> {
        let (moved, meter, shard) = (Arc::clone(&self.moved), self.services.meter.clone(), self.shard.clone());
        move |done| {
            meter.indexed_to(&shard, &done);
            moved.send_modify(|cursors| cursors.indexed_through = Checkpoint::At(done.sequence));
        }
    }

    /// The chain's end and rows of the children exist before `SHARD_END` is written, and with it
    /// which shards they are: a crash between the two must not lose them. Without `children` the
    /// stream is asked for them.
    /// Children are read while the index still catches up with this shard.
    async fn shard_end(
        &self,
        chain: &Chain,
        end: &watch::Receiver<Option<Tail>>,
        children: Vec<Shard>,
        follower: AbortOnDropHandle<()>,
    ) -> anyhow::Result<Option<Outcome>> {
        // The cursor does not tell whether what it stands at is the end already.
        let is_final = end.borrow().as_ref().is_some_and(|tail| tail.is_final);
        let tail = Tail::known(&self.moved.borrow(), self.stream_created).filter(|_| !is_final);
        let succeed = async {
            if let Some(tail) = tail {
                chain.finish(&tail).await;
            }
            let shards = if children.is_empty() { self.services.feed.shards().await? } else { children };
            ensure_rows(&self.services, &self.settings, &shards).await?;
            anyhow::Ok(shards.into_iter().filter(|shard| shard.parents.contains(&self.shard)).map(|child| child.id))
        };
        let Some(ended) = self.stop.run_until_cancelled(succeed).await else { return Ok(Some(Outcome::Stopped)) };
        let children: Vec<_> = ended?.collect();
        self.moved.send_modify(|cursors| {
            cursors.checkpoint = Checkpoint::ShardEnd;
            // A stream that has forgotten them takes none away.
            if !children.is_empty() {
                cursors.children = children;
            }
        });
        if self.within(INDEX_GRACE, follower).await.is_none() {
            return Ok(Some(Outcome::Stopped));
        }
        self.moved.send_modify(|cursors| cursors.indexed_through = Checkpoint::ShardEnd);
        Ok(Some(Outcome::ShardEnd))
    }

    fn bulker(&self) -> Bulker {
        Bulker {
            index: self.services.index.clone(),
            archive: self.services.archive.clone(),
            names: self.settings.index.clone(),
            stream: self.settings.stream.clone(),
            stream_created: self.stream_created,
            shard: self.shard.clone(),
            meter: self.services.meter.clone(),
            flight: self.shared.flight.clone(),
            flush_every: self.settings.flush_every,
            is_patient: true,
        }
    }
}

/// The archive's end, as the index path and the keeper of the lease hear of it.
struct Archived {
    tail: watch::Sender<Option<Tail>>,
    moved: Arc<watch::Sender<Cursors>>,
}

impl Archived {
    fn to(&self, tail: Option<Tail>) {
        let Some(tail) = tail else { return };
        self.moved.send_if_modified(|cursors| {
            if cursors.checkpoint == Checkpoint::ShardEnd {
                return false;
            }
            let checkpoint = Checkpoint::At(tail.sequence.clone());
            let moved = cursors.checkpoint != checkpoint;
            cursors.checkpoint = checkpoint;
            cursors.checkpoint_arrival = tail.arrival.or(cursors.checkpoint_arrival);
            moved
        });
        self.tail.send_replace(Some(tail));
    }
}

#[cfg(test)]
mod tests;
