//! Who reads which shard, and how far it has come: rows in KCL's own schema.
//!
//! A row's `counter` rises with every write of its owner. Whoever sees it stand still
//! for the failover time by his own monotonic clock takes the row for expired; no
//! clock of two machines is ever compared.
//!
//! A worker that holds fewer leases than another one asks for one of them: it writes its
//! name into the row, and the owner finishes what it has in hand and lets go.

pub mod plan;
pub mod keep;
pub mod audit;
pub mod leader;
#[cfg(feature = "aws")]
pub mod dynamodb;
#[cfg(test)]
mod simulation;

use crate::receive::{SequenceNumber, Shard, Start};
use async_trait::async_trait;
use event::Millis;
use leader::Leader;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A row of the lease table. The comments name KCL's attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// `leaseKey`: the shard id.
    pub key: String,
    /// `leaseOwner`: unique to one start of one process; `None` when nobody has it.
    pub owner: Option<String>,
    /// `leaseCounter`
    pub counter: u64,
    /// `handoffTo` (ours): the worker that asks the owner for the lease. It stays while the
    /// owner lets go, so that nobody else takes what was asked for, and goes when it is taken.
    #[serde(default)]
    pub handoff_to: Option<String>,
    /// `checkpoint`: everything up to here is archived.
    pub checkpoint: Checkpoint,
    /// `checkpointArrivalMillis` (ours): arrival of the record at `checkpoint`, so that
    /// the archive's chain is listed from that hour on.
    pub checkpoint_arrival: Option<Millis>,
    /// `indexedThrough` (ours): everything up to here is indexed or dead-lettered.
    pub indexed_through: Checkpoint,
    /// `ownerSwitchesSinceCheckpoint`
    pub owner_switches: u64,
    /// `parentShardId`
    pub parents: Vec<String>,
    /// `childShardIds`: the shards that this one was split or merged into, once it is read to its
    /// end and as far as the stream told them.
    #[serde(default)]
    pub children: Vec<String>,
    /// `startingHashKey`
    pub starting_hash_key: String,
    /// `endingHashKey`
    pub ending_hash_key: String,
    /// `streamCreatedMillis` (ours): a stream of the same name that was made anew has
    /// other sequence numbers, and this row must not be used for it.
    pub stream_created: Option<Millis>,
    #[serde(default)]
    pub standing: Standing,
}

/// How a shard gets on, as its owner wrote at the last renewal: for people, nothing is decided by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// `throughputKBps`, in bytes: what was read in a second lately.
    pub bytes_per_second: Option<u64>,
    /// `archiveLagMillis` (ours): how far the archive is behind the stream.
    pub archive_lag: Option<Millis>,
    /// `indexLagMillis` (ours): how far the index is.
    pub index_lag: Option<Millis>,
}

impl Lease {
    /// The row of a shard that nobody has read yet.
    pub fn new(shard: &Shard, start: Checkpoint, stream_created: Option<Millis>) -> Lease {
        Lease {
            key: shard.id.clone(),
            owner: None,
            counter: 0,
            handoff_to: None,
            checkpoint: start.clone(),
            checkpoint_arrival: None,
            indexed_through: start,
            owner_switches: 0,
            parents: shard.parents.clone(),
            children: Vec::new(),
            starting_hash_key: shard.starting_hash_key.clone(),
            ending_hash_key: shard.ending_hash_key.clone(),
            stream_created,
            standing: Standing::default(),
        }
    }
}

/// A place in a shard, as a lease row writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Checkpoint {
    /// `TRIM_HORIZON`
    TrimHorizon,
    /// `AT_TIMESTAMP`, with `startAtMillis` (ours) beside it.
    AtTimestamp(Millis),
    /// Digits: this record is done.
    At(SequenceNumber),
    /// `SHARD_END`
    ShardEnd,
}

impl Checkpoint {
    /// The record that is done, where one is.
    pub fn sequence(&self) -> Option<&SequenceNumber> {
        match self {
            Checkpoint::At(sequence) => Some(sequence),
            _ => None,
        }
    }

    /// Where reading goes on; `None` at the shard's end.
    pub fn start(&self) -> Option<Start> {
        match self {
            Checkpoint::TrimHorizon => Some(Start::TrimHorizon),
            Checkpoint::AtTimestamp(at) => Some(Start::AtTimestamp(*at)),
            Checkpoint::At(sequence) => Some(Start::After(sequence.clone())),
            Checkpoint::ShardEnd => None,
        }
    }
}

impl fmt::Display for Checkpoint {
    /// The value of KCL's `checkpoint` attribute.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checkpoint::TrimHorizon => f.pad("TRIM_HORIZON"),
            Checkpoint::AtTimestamp(_) => f.pad("AT_TIMESTAMP"),
            Checkpoint::At(sequence) => f.pad(sequence.as_str()),
            Checkpoint::ShardEnd => f.pad("SHARD_END"),
        }
    }
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    Done,
    /// The row was not as expected; this is how it is now, if it is there.
    Lost(Option<Box<Lease>>),
}

/// The lease table did not answer, or refuses.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("the lease table did not answer `{call}`")]
    Transient {
        call: &'static str,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the lease table refuses `{call}`")]
    Refused {
        call: &'static str,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The lease table. What writes is conditional.
#[async_trait]
pub trait Leases: Send + Sync {
    /// All rows that are leases.
    async fn list(&self) -> Result<Vec<Lease>, LeaseError>;

    /// Adds a row unless its key is there. `Lost` carries the row that was.
    async fn create(&self, lease: &Lease) -> Result<Swap, LeaseError>;

    /// Writes `new` if the row still has `old`'s owner, counter and `handoff_to`. Attributes
    /// that this program does not know stay as they are.
    async fn swap(&self, old: &Lease, new: &Lease) -> Result<Swap, LeaseError>;

    /// Removes the row if it still has `lease`'s owner, counter and `handoff_to`.
    async fn remove(&self, lease: &Lease) -> Result<Swap, LeaseError>;

    /// What a leader of another program, the Kinesis Client Library 3, has written into the
    /// table, where others can write into it.
    async fn leader(&self) -> Result<Option<Leader>, LeaseError> {
        Ok(None)
    }
}
