//! Frames to the stream, until each has an answer.

#[cfg(feature = "aws")]
pub mod kinesis;

use async_trait::async_trait;
use bytes::Bytes;

/// A frame, ready to be put.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Counts up from 0 in each run of the agent.
    pub id: FrameId,
    /// Kinesis's partition key: random hex digits, so that frames spread over shards.
    pub key: String,
    /// The encoded frame, at most 1 MiB with its key.
    pub bytes: Bytes,
    /// Events in it.
    pub lines: usize,
}

/// Names a frame under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u64);

/// What became of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It is in the stream.
    Stored,
    /// Not now: throttled, or the stream had trouble with it.
    Again(String),
    /// Never: it is refused for what it is.
    Never(String),
}

/// A whole call that failed: nothing is known of its frames, so all are put again.
#[derive(Debug, thiserror::Error)]
#[error("cannot put frames into the stream")]
pub struct PutError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The way to the stream.
#[async_trait]
pub trait Uplink: Send + Sync {
    /// Puts frames. One answer for each frame, in the order given. The caller keeps to
    /// 500 frames and 4 MiB a call.
    async fn put(&self, frames: &[Frame]) -> Result<Vec<Put>, PutError>;

    /// Says that nothing more will be put. A stream that waits for company before it
    /// answers need not wait any longer.
    async fn finish(&self) {}
}
