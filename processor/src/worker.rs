//! One shard, while its lease is ours: read, archive beside index, move the cursors.

use crate::Services;
use crate::archive::chain::{Chain, Ended, Limits, Tail};
use crate::decode::{Decoded, Decoder};
use crate::index::bulk::Bulker;
use crate::leases::keep::{Cursors, Keeper};
use crate::leases::{Checkpoint, Lease};
use crate::receive::{FeedError, Next, Pages, SequenceNumber, Shard};
use crate::settings::Settings;
use crate::supervisor::ensure_rows;
use event::pause::Pause;
use event::{Event, Millis};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Records that wait before the archive and before the index, each. A record is up to
/// 250 KB packed and ten times that opened, so few wait.
const RECORDS_WAITING_MAX: usize = 2;

/// How long the index may take for what is in hand when we are told to stop. Whoever works on
/// the shard next indexes the rest from the archive.
const INDEX_GRACE: Duration = Duration::from_secs(20);

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

/// Works on the shard of `lease`, which is ours, until `stop`, the shard's end, or the
/// loss of the lease.
pub async fn run(services: Services, settings: Arc<Settings>, lease: Lease, stop: CancellationToken) -> Outcome {
    let lost = CancellationToken::new();
    let (moved, cursors) = watch::channel(Cursors::of(&lease));
    let keeper = Keeper {
        leases: services.leases.clone(),
        lease: lease.clone(),
        failover: settings.failover,
        lost: lost.clone(),
    };
    let work = async {
        let decoder = Decoder::new(&settings, &lease.key, lease.stream_created, services.meter.clone());
        let (shard, stream_created, moved) = (lease.key, lease.stream_created, Arc::new(moved));
        let worker = Worker { services, settings, shard, stream_created, decoder, moved, stop };
        let outcome = tokio::select! {
            outcome = worker.work() => outcome,
            () = lost.cancelled() => Outcome::Stopped,
        };
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
    shard: String,
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
        let tail = chain.tail(known, cursors.checkpoint_arrival).await?;
        let behind = chain.start(tail.as_ref());
        if behind.is_some() {
            archived_to(&self.moved, tail.as_ref());
        }
        let bulker = self.bulker();
        tokio::select! {
            caught_up = self.catch_up(&chain, &bulker, &cursors, tail.as_ref()) => caught_up?,
            () = self.stop.cancelled() => return Ok(Some(Outcome::Stopped)),
        }

        if behind.is_some() && tail.as_ref().is_some_and(|tail| tail.is_final) {
            return self.shard_end(&chain, Vec::new()).await.map(Some);
        }
        let Some(start) = behind.or_else(|| cursors.checkpoint.start()) else { return Ok(Some(Outcome::ShardEnd)) };
        let mut pages = match self.services.feed.open(&self.shard, start).await {
            Err(FeedError::NoShard(_)) => return self.shard_end(&chain, Vec::new()).await.map(Some),
            pages => pages?,
        };
        // Tasks of their own, so that packing, parsing and indexing use several cores.
        // They end with the channels that `read` drops, or with this future.
        let (to_archive, archive_in) = mpsc::channel(RECORDS_WAITING_MAX);
        let (to_index, index_in) = mpsc::channel(RECORDS_WAITING_MAX);
        let archive = AbortOnDropHandle::new(tokio::spawn(self.archive(chain.clone(), tail, archive_in)));
        let moved = Arc::clone(&self.moved);
        let index = async move { bulker.run(index_in, |sequence| indexed_to(&moved, sequence)).await };
        let index = AbortOnDropHandle::new(tokio::spawn(index));
        let read = self.read(&mut *pages, to_archive, to_index).await;
        let archived = archive.await.expect("archiving does not panic");
        tokio::select! {
            indexed = index => indexed.expect("indexing does not panic")?,
            () = self.index_grace() => return Ok(Some(Outcome::Stopped)),
        }
        let read = read?;
        match (archived, read) {
            (Ended::ReadAgain, _) => Ok(None),
            (Ended::OtherStream, _) => anyhow::bail!(
                "the archive under `raw/{}/` is of an earlier stream of this name, whose records have higher numbers; \
                 give the stream another name, or the processor another bucket",
                self.settings.stream
            ),
            (Ended::InputEnded, Next::More) => Ok(Some(Outcome::Stopped)),
            (Ended::InputEnded, Next::StreamEnd) => Ok(Some(Outcome::StreamEnd)),
            (Ended::InputEnded, Next::ShardEnd) => self.shard_end(&chain, pages.children()).await.map(Some),
        }
    }

    /// Ends when the index has had its time after we were told to stop.
    async fn index_grace(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(INDEX_GRACE).await;
    }

    /// Archives what comes, as a task.
    fn archive(
        &self,
        chain: Chain,
        tail: Option<Tail>,
        records: mpsc::Receiver<Arc<Decoded>>,
    ) -> impl Future<Output = Ended> + use<> {
        let limits = Limits { bytes: self.settings.window_bytes, age: self.settings.window_age };
        let moved = Arc::clone(&self.moved);
        async move { chain.extend(tail, records, limits, |tail| archived_to(&moved, Some(&tail))).await }
    }

    /// Gives every record to the archive and to the index. Ends with `More` when it is
    /// told to stop or one of them has ended.
    async fn read(
        &self,
        pages: &mut dyn Pages,
        archive: mpsc::Sender<Arc<Decoded>>,
        index: mpsc::Sender<Arc<Decoded>>,
    ) -> Result<Next, FeedError> {
        let mut pause = Pause::default();
        loop {
            let page = tokio::select! {
                page = pages.next() => page,
                () = self.stop.cancelled() => return Ok(Next::More),
                () = archive.closed() => return Ok(Next::More),
                () = index.closed() => return Ok(Next::More),
            };
            let page = match page {
                Err(error @ FeedError::Transient { .. }) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, shard = self.shard, "will try again");
                    tokio::time::sleep(pause.next_pause()).await;
                    continue;
                }
                page => page?,
            };
            pause = Pause::default();
            for record in page.records {
                self.services.meter.record();
                let decoded = Arc::new(self.decoder.decode(record));
                let send = async { archive.send(decoded.clone()).await.is_ok() && index.send(decoded).await.is_ok() };
                let is_sent = tokio::select! {
                    is_sent = send => is_sent,
                    () = self.stop.cancelled() => false,
                };
                if !is_sent {
                    return Ok(Next::More);
                }
            }
            if page.next != Next::More {
                return Ok(page.next);
            }
        }
    }

    /// Indexes from the archive what was archived and is not indexed: after a crash, or
    /// when the index was away for longer than the stream remembers.
    async fn catch_up(
        &self,
        chain: &Chain,
        bulker: &Bulker,
        cursors: &Cursors,
        tail: Option<&Tail>,
    ) -> anyhow::Result<()> {
        let Some(tail) = tail else { return Ok(()) };
        let indexed = cursors.indexed_through.sequence();
        if indexed.is_some_and(|indexed| *indexed >= tail.sequence) {
            return Ok(());
        }
        tracing::info!(shard = self.shard, "the index is behind the archive; catching up from there");
        let (send, mut objects) = mpsc::channel::<(SequenceNumber, Vec<Event>)>(1);
        let index = async {
            while let Some((sequence, events)) = objects.recv().await {
                bulker.events(&sequence, events.iter()).await?;
                self.services.index.flush().await?;
                indexed_to(&self.moved, sequence);
            }
            anyhow::Ok(())
        };
        let read = async {
            let read = chain.events_after(indexed, &send).await;
            drop(send);
            anyhow::Ok(read?)
        };
        tokio::try_join!(read, index).map(drop)
    }

    /// The chain's end and rows of the children exist before `SHARD_END` is written: a crash
    /// between the two must not lose them. Without `children` the stream is asked for them.
    async fn shard_end(&self, chain: &Chain, children: Vec<Shard>) -> anyhow::Result<Outcome> {
        let tail = Tail::known(&self.moved.borrow(), self.stream_created);
        if let Some(tail) = tail {
            chain.finish(&tail).await;
        }
        let shards = if children.is_empty() { self.services.feed.shards().await? } else { children };
        ensure_rows(&self.services, &self.settings, &shards).await?;
        self.moved.send_modify(|cursors| {
            cursors.checkpoint = Checkpoint::ShardEnd;
            cursors.indexed_through = Checkpoint::ShardEnd;
        });
        Ok(Outcome::ShardEnd)
    }

    fn bulker(&self) -> Bulker {
        Bulker {
            index: self.services.index.clone(),
            archive: self.services.archive.clone(),
            names: self.settings.index.clone(),
            stream: self.settings.stream.clone(),
            shard: self.shard.clone(),
            meter: self.services.meter.clone(),
            flush_every: self.settings.flush_every,
            is_patient: true,
        }
    }
}

/// Moves the archive's cursor.
fn archived_to(moved: &watch::Sender<Cursors>, tail: Option<&Tail>) {
    let Some(tail) = tail else { return };
    moved.send_if_modified(|cursors| {
        let checkpoint = Checkpoint::At(tail.sequence.clone());
        let moved = cursors.checkpoint != checkpoint;
        cursors.checkpoint = checkpoint;
        cursors.checkpoint_arrival = tail.arrival.or(cursors.checkpoint_arrival);
        moved
    });
}

/// Moves the index's cursor.
fn indexed_to(moved: &watch::Sender<Cursors>, sequence: SequenceNumber) {
    moved.send_modify(|cursors| cursors.indexed_through = Checkpoint::At(sequence));
}
