//! Records from the stream, shard by shard.

#[cfg(feature = "aws")]
pub mod fan_out;
#[cfg(feature = "aws")]
pub mod kinesis;

use async_trait::async_trait;
use bytes::Bytes;
use event::Millis;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

/// A record's place in its shard: a decimal number of up to 56 digits, as Kinesis
/// gives them. Rising, with holes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SequenceNumber(String);

impl SequenceNumber {
    /// Takes a number as the stream writes it. `None` unless it is all digits.
    pub fn new(digits: &str) -> Option<SequenceNumber> {
        let number = digits.trim_start_matches('0');
        let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| SequenceNumber(if number.is_empty() { "0".into() } else { number.into() }))
    }

    /// The digits, without leading zeros.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number that follows this one.
    pub fn successor(&self) -> SequenceNumber {
        let kept = self.0.trim_end_matches('9');
        let zeros = "0".repeat(self.0.len() - kept.len());
        SequenceNumber(match kept.as_bytes().split_last() {
            Some((last, _)) => format!("{}{}{zeros}", &kept[..kept.len() - 1], last - b'0' + 1),
            None => format!("1{zeros}"),
        })
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One record of the stream.
#[derive(Debug, Clone)]
pub struct Record {
    pub sequence: SequenceNumber,
    /// Kinesis's ApproximateArrivalTimestamp.
    pub arrival: Millis,
    pub data: Bytes,
}

/// A shard, as ListShards tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub id: String,
    /// The shards it was split or merged from: 0, 1 or 2.
    pub parents: Vec<String>,
    /// Decimal, inclusive.
    pub starting_hash_key: String,
    pub ending_hash_key: String,
}

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    TrimHorizon,
    /// The first record that arrived at or after this time.
    AtTimestamp(Millis),
    After(SequenceNumber),
}

/// What a page should hold: more than a shard of Kinesis gives between two reads, and little
/// enough for many shards in 64 MB. One record may be larger.
pub const PAGE_BYTES: usize = 1 << 20;

/// What one read gave. No records is normal and not the end.
#[derive(Debug, Clone)]
pub struct Page {
    pub records: Vec<Record>,
    pub next: Next,
    /// Kinesis's MillisBehindLatest.
    pub behind: Millis,
}

/// What follows a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    More,
    /// The shard was closed by a split or a merge, and this was its last page.
    ShardEnd,
    /// The stream is shutting down (embedded streams only). The shard goes on in the
    /// next run.
    StreamEnd,
}

/// Reading failed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Worth another try after a pause.
    #[error("the stream did not answer `{call}`")]
    Transient {
        call: &'static str,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The shard is no longer there: its records have been trimmed.
    #[error("shard `{0}` does not exist any more")]
    NoShard(String),
    /// No try will help: no such stream, no permission.
    #[error("the stream refuses `{call}`")]
    Refused {
        call: &'static str,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A stream to read from.
#[async_trait]
pub trait Feed: Send + Sync {
    /// When the stream was made; a stream of the same name that was made anew is
    /// another stream. `None` for streams that never are.
    async fn created(&self) -> Result<Option<Millis>, FeedError>;

    /// How long the stream keeps its records; `None` where it does not tell.
    async fn retention(&self) -> Result<Option<Duration>, FeedError> {
        Ok(None)
    }

    /// All shards that still hold records, closed ones too.
    async fn shards(&self) -> Result<Vec<Shard>, FeedError>;

    /// Begins to read a shard.
    async fn open(&self, shard: &str, start: Start) -> Result<Box<dyn Pages>, FeedError>;
}

/// A shard being read.
#[async_trait]
pub trait Pages: Send {
    /// Waits until the next page can be read, as far as that takes no memory: as long as the stream
    /// asks between two reads, or until something has come. Cancel safe.
    async fn ready(&mut self) -> Result<(), FeedError>;

    /// The next page. Waits as [`ready`](Pages::ready) does. Cancel safe: records of a read that
    /// was dropped are read again.
    async fn next(&mut self) -> Result<Page, FeedError>;

    /// The shards that the shard was split or merged into, once its last page has been given
    /// out, if the stream tells them there.
    fn children(&self) -> Vec<Shard> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_compared_as_numbers() {
        let number = |digits| SequenceNumber::new(digits).unwrap();
        assert!(number("9") < number("10"));
        assert!(number("49590338271490256608559692538361571095921575989136588898") > number("5"));
        assert_eq!(number("007"), number("7"));
        assert_eq!(
            ["0", "41", "1999", "99"].map(|digits| number(digits).successor().to_string()),
            ["1", "42", "2000", "100"]
        );
        assert_eq!((SequenceNumber::new(""), SequenceNumber::new("LATEST")), (None, None));
    }
}
