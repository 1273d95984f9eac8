//! The agent: from log files to the stream.
//!
//! ```text
//! tail -> parse -> enrich -> batch -> spool -> ship
//!  |________ one thread ____________|
//! ```
//!
//! [`run`] wires the stations. `stop` reaches only the tailer: it finishes its line and
//! commits what it has read to the spool; the shipper drains that, and `run` returns.
//! When the stream is slow the spool fills; when the spool is full the tailer stops
//! reading, and the log files are the buffer.

pub mod settings;
pub mod httpd;
pub mod host;
#[cfg(feature = "aws")]
pub mod imds;
pub mod redaction;
pub mod lock;
pub mod meter;
pub mod report;
pub mod tail;
pub mod enrich;
pub mod rules;
pub mod sigma;
pub mod behaviour;
pub mod batch;
pub mod spool;
pub mod ship;
pub mod logging;
pub mod signals;
pub mod sd_notify;
pub mod status;
pub mod prometheus;
#[cfg(feature = "cloudwatch")]
pub mod cloudwatch;
pub mod init;
#[cfg(feature = "aws")]
pub mod service;
pub mod tools;
pub mod cli;

use crate::batch::Inspector;
use crate::behaviour::Observer;
use crate::enrich::Enrichment;
use crate::lock::{Lock, LockError};
use crate::report::RulesReport;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::ship::{DeadLetters, Uplink};
use crate::spool::{Folder, OpenError, Spool};
use crate::tail::{Desk, Wake, Wakes};
use event::Classifier;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the agent's folder cannot be used")]
    Lock(#[source] LockError),
    #[error("cannot use the agent's folder")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Spool(OpenError),
}

/// Reads, parses, classifies and ships until `stop`, or, where the settings say not to
/// follow, until the end of all files.
pub async fn run(settings: Settings, uplink: Arc<dyn Uplink>, stop: CancellationToken) -> Result<(), RunError> {
    run_or_leave(settings, uplink, stop, CancellationToken::new()).await
}

/// As [`run`]. On `leave` it stops reading and returns as soon as what was read is in
/// the spool, without waiting for the stream: another run goes on from there.
pub async fn run_or_leave(
    settings: Settings,
    uplink: Arc<dyn Uplink>,
    stop: CancellationToken,
    leave: CancellationToken,
) -> Result<(), RunError> {
    let _lock = Lock::take(&settings.state).map_err(RunError::Lock)?;
    let Rules { classifier, refused } = rules::open(settings.rules.as_deref());
    for reason in &refused {
        tracing::error!(reason, "a rule is not used");
    }
    settings.meter.rules(RulesReport { ruleset: classifier.ruleset().into(), refused });
    let classifier = Arc::new(classifier);
    while pipeline(&settings, &classifier, &uplink, &stop, &leave).await? == Ended::Damaged {}
    Ok(())
}

/// How a pipeline came to its end.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Done,
    /// The spool must be opened anew, so that what is damaged is read again.
    Damaged,
}

async fn pipeline(
    settings: &Settings,
    classifier: &Arc<Classifier>,
    uplink: &Arc<dyn Uplink>,
    stop: &CancellationToken,
    leave: &CancellationToken,
) -> Result<Ended, RunError> {
    let folder = Folder::open(&settings.state).map_err(RunError::Folder)?;
    let opened = Spool::open(Arc::new(folder), &settings.state, settings.spool).map_err(RunError::Spool)?;
    let spool = Arc::new(opened.spool);
    settings.meter.watch_spool(&spool);
    let redaction = redaction::open(&settings.redact, &settings.state).map_err(RunError::Folder)?;
    let enrichment = Enrichment::open(&settings.enrich, Instant::now());
    let (host, limits) = (&settings.host.id, settings.behaviour);
    let framed = opened.known.lives.iter().map(|life| (life.id, life.position.offset));
    let observer = Observer::restore(host, limits, &opened.behaviour, opened.frames, framed, Instant::now());
    let inspector = Inspector { classifier: Arc::clone(classifier), enrichment, observer, redaction };
    let desk = Desk::new(settings.clone(), inspector, Arc::clone(&spool), opened.known);
    let wakes = Wakes::new();
    let (stop, read, shipped) = (stop.child_token(), CancellationToken::new(), CancellationToken::new());

    let mut others = JoinSet::new();
    others.spawn(wake_when(stop.clone(), leave.clone(), read.clone(), wakes.sender.clone()));
    others.spawn(Arc::clone(&spool).keep_tidy(shipped.clone()));
    let (told, is_read) = (stop.clone(), read.clone());
    others.spawn_blocking(move || {
        let _done = is_read.drop_guard();
        tail::run(desk, wakes, told);
    });
    let dead = DeadLetters::new(&settings.state);
    let meter = Arc::clone(&settings.meter);
    let ended = ship::run(spool, Arc::clone(uplink), settings.request_bytes, meter, dead, read, leave.clone()).await;
    if let Err(damaged) = &ended {
        tracing::error!(error = damaged as &dyn std::error::Error, "opening the spool anew");
        stop.cancel();
    }
    shipped.cancel();
    while let Some(joined) = others.join_next().await {
        joined.expect("stations do not panic");
    }
    Ok(if ended.is_ok() { Ended::Done } else { Ended::Damaged })
}

/// Wakes the tailer when it is told to stop; ends with it.
async fn wake_when(
    stop: CancellationToken,
    leave: CancellationToken,
    read: CancellationToken,
    wake: std::sync::mpsc::SyncSender<Wake>,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = leave.cancelled() => stop.cancel(),
        () = read.cancelled() => return,
    }
    let _ = wake.try_send(Wake::Look);
}

/// An error with all its reasons, on one line.
pub fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
