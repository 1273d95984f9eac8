//! The agent: from log files to the stream.
//!
//! ```text
//! tail -> parse -> enrich -> batch -> (spool) -> ship
//!  |________ one thread _______|         |
//!                               positions: what is safe
//! ```
//!
//! [`run`] wires the stations. `stop` reaches only the tailer: it finishes its line and
//! drops its sender, each station ends when its input ends, and `run` returns when all
//! that was read is in the stream and its position is written down. Every queue is
//! bounded: when the stream is slow the tailer stops reading, and the files are the
//! buffer.

pub mod settings;
pub mod host;
#[cfg(feature = "aws")]
pub mod imds;
pub mod lock;
pub mod meter;
pub mod report;
pub mod tail;
pub mod batch;
pub mod checkpoint;
pub mod ship;
pub mod logging;
pub mod signals;
pub mod sd_notify;
pub mod status;
pub mod prometheus;
#[cfg(feature = "cloudwatch")]
pub mod cloudwatch;
pub mod init;
pub mod tools;
pub mod cli;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::lock::{Lock, LockError};
use crate::settings::Settings;
use crate::ship::{DeadLetters, Uplink};
use crate::tail::{Wake, Wakes};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Frames that wait between the tailer and the shipper: 4 MB.
const FRAMES_WAITING_MAX: usize = 16;

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the agent's folder cannot be used")]
    Lock(#[source] LockError),
    #[error("the agent's positions cannot be used")]
    Checkpoint(#[source] CheckpointError),
}

/// Reads, parses, classifies and ships until `stop`, or, where the settings say not to
/// follow, until the end of all files.
pub async fn run(settings: Settings, uplink: Arc<dyn Uplink>, stop: CancellationToken) -> Result<(), RunError> {
    let _lock = Lock::take(&settings.state).map_err(RunError::Lock)?;
    let checkpoint = Checkpoint::open(&settings.state).map_err(RunError::Checkpoint)?;
    let marks = checkpoint.marks().to_vec();
    let dead = DeadLetters::new(&settings.state);
    let meter = Arc::clone(&settings.meter);
    let (frames_in, frames_out) = mpsc::channel(FRAMES_WAITING_MAX);
    let wakes = Wakes::new();

    let mut stations = JoinSet::new();
    let read_to_end = CancellationToken::new();
    let _waker = stations.spawn(wake_when(stop.clone(), read_to_end.clone(), wakes.sender.clone()));
    stations.spawn_blocking(move || {
        let _done = read_to_end.drop_guard();
        tail::run(settings, marks, frames_in, wakes, stop);
        Ok(())
    });
    stations.spawn(ship::run(frames_out, uplink, checkpoint, meter, dead));

    while let Some(ended) = stations.join_next().await {
        ended.expect("stations do not panic").map_err(RunError::Checkpoint)?;
    }
    Ok(())
}

/// Wakes the tailer when it is told to stop; ends with it.
async fn wake_when(
    stop: CancellationToken,
    read_to_end: CancellationToken,
    wake: std::sync::mpsc::SyncSender<Wake>,
) -> Result<(), CheckpointError> {
    tokio::select! {
        () = stop.cancelled() => drop(wake.try_send(Wake::Look)),
        () = read_to_end.cancelled() => {}
    }
    Ok(())
}
