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
mod supervisor;
pub mod budget;
pub mod worker;
pub mod span;
pub mod progress;
pub mod lag;
mod rarely;
mod watched;
pub mod health;
pub mod metrics;
pub mod verify;
pub mod replay;
pub mod redrive;
pub mod shards;
pub mod setup;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
pub mod connect;
pub mod cli;
#[cfg(test)]
mod doubles;

use crate::archive::Archive;
use crate::index::Index;
use crate::leases::{LeaseError, Leases};
use crate::meter::Meter;
use crate::receive::{Feed, FeedError};
use crate::settings::Settings;
use crate::supervisor::Supervisor;
use crate::worker::Outcome;
use event::Millis;
use std::sync::Arc;
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
    #[error(
        "the lease table is in use by the Kinesis Client Library 3, whose leader `{leader}` assigns all leases; \
         give this processor a lease table of its own"
    )]
    InUse { leader: String },
}

impl RunError {
    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            RunError::Feed(error) => matches!(error, FeedError::Transient { .. }),
            RunError::Leases(error) => matches!(error, LeaseError::Transient { .. }),
            RunError::OtherStream { .. } | RunError::InUse { .. } => false,
        }
    }
}

/// Takes shards, reads them, archives and indexes, until `stop` or the stream's end.
pub async fn run(settings: Settings, services: Services, stop: CancellationToken) -> Result<(), RunError> {
    settings.rules.prepare();
    let mut round = tokio::time::interval(settings.failover / 4);
    let mut supervisor = Supervisor::new(settings, watched::watched(services), stop.clone());
    let mut stream_ended = false;
    while !(stop.is_cancelled() || stream_ended && supervisor.is_idle()) {
        if !stream_ended {
            tokio::select! {
                done = supervisor.round() => done?,
                () = stop.cancelled() => break,
            }
        }
        tokio::select! {
            _ = round.tick() => {}
            outcome = supervisor.worker_ended() => stream_ended |= outcome == Outcome::StreamEnd,
            () = stop.cancelled() => {}
        }
    }
    while !supervisor.is_idle() {
        supervisor.worker_ended().await;
    }
    Ok(())
}
