//! The processor: from the stream into the archive and the index.
//!
//! ```text
//! receive -> decode -> archive ---> checkpoint
//!                  \-> index -----/  (two cursors in the shard's lease row)
//! ```
//!
//! [`run`] takes shards and works on each until it is told to stop. The archive is the
//! truth: a record counts as processed when it is archived. The index is a view that
//! follows, and catches up from the archive when it was away.
//!
//! An operator reads the archive again: [`verify`] proves it whole, [`replay`] indexes from it,
//! and [`redrive`] sends what the index refused.

pub mod settings;
pub mod meter;
pub mod receive;
pub mod decode;
pub mod archive;
pub mod index;
pub mod leases;
pub mod budget;
pub mod worker;
pub mod span;
pub mod progress;
pub mod lag;
mod rarely;
pub mod verify;
pub mod replay;
pub mod redrive;
pub mod shards;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
pub mod connect;
pub mod cli;
#[cfg(test)]
mod doubles;

use crate::archive::Archive;
use crate::index::Index;
use crate::leases::plan::{Observer, taken};
use crate::leases::{Checkpoint, Lease, LeaseError, Leases, Swap};
use crate::meter::Meter;
use crate::receive::{Feed, FeedError, Shard};
use crate::settings::{Settings, StartAt};
use crate::worker::Outcome;
use event::Millis;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the processor works with.
#[derive(Clone)]
pub struct Services {
    pub feed: Arc<dyn Feed>,
    pub leases: Arc<dyn Leases>,
    pub archive: Arc<dyn Archive>,
    pub index: Arc<dyn Index>,
    pub meter: Arc<Meter>,
}

/// Why the processor cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot list the stream's shards")]
    Feed(#[source] FeedError),
    #[error("cannot use the lease table")]
    Leases(#[source] LeaseError),
    #[error(
        "the lease table's row `{key}` is of a stream made at {row} and this one was made at {stream}; \
         use another lease table, or delete the old rows"
    )]
    OtherStream { key: String, row: Millis, stream: Millis },
}

impl RunError {
    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            RunError::Feed(error) => matches!(error, FeedError::Transient { .. }),
            RunError::Leases(error) => matches!(error, LeaseError::Transient { .. }),
            RunError::OtherStream { .. } => false,
        }
    }
}

/// Takes shards, reads them, archives and indexes, until `stop` or the stream's end.
pub async fn run(settings: Settings, services: Services, stop: CancellationToken) -> Result<(), RunError> {
    let settings = Arc::new(settings);
    settings.rules.prepare();
    let shared = worker::Shared::new(&settings, &services);
    let mut supervisor =
        Supervisor { services, settings: settings.clone(), observer: Observer::default(), list_again: Instant::now() };
    let mut workers = JoinSet::new();
    let mut round = tokio::time::interval(settings.failover / 4);
    let mut stream_ended = false;
    while !(stop.is_cancelled() || stream_ended && workers.is_empty()) {
        if !stream_ended {
            for lease in supervisor.round().await? {
                let (services, settings) = (supervisor.services.clone(), settings.clone());
                workers.spawn(worker::run(services, settings, shared.clone(), lease, stop.child_token()));
            }
        }
        tokio::select! {
            _ = round.tick() => {}
            Some(ended) = workers.join_next() => {
                let outcome = ended.expect("workers do not panic");
                stream_ended |= outcome == Outcome::StreamEnd;
            }
            () = stop.cancelled() => {}
        }
    }
    while workers.join_next().await.is_some() {}
    Ok(())
}

/// Finds shards, and decides which of them this process works on.
struct Supervisor {
    services: Services,
    settings: Arc<Settings>,
    observer: Observer,
    list_again: Instant,
}

impl Supervisor {
    /// Takes what is free and should be ours. A stream or table that does not answer
    /// now is asked again in the next round.
    async fn round(&mut self) -> Result<Vec<Lease>, RunError> {
        match self.take().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "will try again");
                Ok(Vec::new())
            }
            taken => taken,
        }
    }

    async fn take(&mut self) -> Result<Vec<Lease>, RunError> {
        let created = self.services.feed.created().await.map_err(RunError::Feed)?;
        if Instant::now() >= self.list_again {
            let shards = self.services.feed.shards().await.map_err(RunError::Feed)?;
            ensure_rows(&self.services, &self.settings, &shards).await?;
            self.list_again = Instant::now() + SHARDS_EVERY;
        }
        let rows = self.services.leases.list().await.map_err(RunError::Leases)?;
        rows.iter().try_for_each(|row| refuse_other_stream(row, created))?;
        let now = Instant::now();
        self.observer.observe(&rows, now);
        let mut ours = Vec::new();
        for row in self.observer.plan(&rows, &self.settings.worker, now, self.settings.failover) {
            let lease = taken(row, &self.settings.worker);
            match self.services.leases.swap(row, &lease).await.map_err(RunError::Leases)? {
                Swap::Done => ours.push(lease),
                Swap::Lost(Some(now)) if now.owner == lease.owner && now.counter == lease.counter => ours.push(lease),
                Swap::Lost(_) => tracing::debug!(shard = row.key, "another worker was quicker"),
            }
        }
        Ok(ours)
    }
}

/// How often the stream is asked for new shards. A shard that ends makes its children's
/// rows by itself.
const SHARDS_EVERY: Duration = Duration::from_secs(60);

/// Makes rows for shards that have none: children of a known shard from their first
/// record on, all others where the settings say.
pub(crate) async fn ensure_rows(services: &Services, settings: &Settings, shards: &[Shard]) -> Result<(), RunError> {
    let created = services.feed.created().await.map_err(RunError::Feed)?;
    let rows = services.leases.list().await.map_err(RunError::Leases)?;
    let known = |id: &str| rows.iter().any(|row| row.key == id);
    for shard in shards.iter().filter(|shard| !known(&shard.id)) {
        let start = match settings.start {
            StartAt::AtTimestamp(at) if !shard.parents.iter().any(|parent| known(parent)) => {
                Checkpoint::AtTimestamp(at)
            }
            _ => Checkpoint::TrimHorizon,
        };
        services.leases.create(&Lease::new(shard, start, created)).await.map_err(RunError::Leases)?;
    }
    Ok(())
}

/// A stream that was deleted and made anew numbers its records anew: going on from the
/// old row would skip or double them.
fn refuse_other_stream(row: &Lease, created: Option<Millis>) -> Result<(), RunError> {
    match (row.stream_created, created) {
        (Some(row_created), Some(stream)) if row_created != stream => {
            Err(RunError::OtherStream { key: row.key.clone(), row: row_created, stream })
        }
        _ => Ok(()),
    }
}
