//! What the processor runs with.

use event::document::IndexNames;
use event::{Day, Millis};
use std::time::Duration;

/// Checked settings. Past here nobody checks again.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the stream: part of the archive's keys.
    pub stream: String,
    pub index: IndexNames,
    /// Where a shard that has no row yet is begun.
    pub start: StartAt,
    /// Packed bytes at which an archive object is closed.
    pub window_bytes: usize,
    /// Age at which it is closed.
    pub window_age: Duration,
    /// How long a document may be in the index without being searchable.
    pub flush_every: Duration,
    /// After this long without renewal a lease may be taken by others.
    pub failover: Duration,
    /// This process, in lease rows: unique to one start.
    pub worker: String,
}

/// Where reading a new shard begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    TrimHorizon,
    AtTimestamp(Millis),
}

impl Settings {
    /// The defaults for a stream.
    pub fn new(stream: &str, worker: String) -> Settings {
        Settings {
            stream: stream.to_owned(),
            index: IndexNames { prefix: "twosec".to_owned(), from: None::<Day>, until: None },
            start: StartAt::TrimHorizon,
            window_bytes: 16 << 20,
            window_age: Duration::from_secs(60),
            flush_every: Duration::from_secs(1),
            failover: Duration::from_secs(10),
            worker,
        }
    }
}
