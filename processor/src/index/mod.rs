//! Documents into the index: a view that can be rebuilt from the archive.

pub mod bulk;
pub mod catch_up;
pub mod flight;
pub mod follow;
pub mod indices;
pub mod ledger;
#[cfg(feature = "aws")]
pub mod opensearch;

use async_trait::async_trait;
use event::{Document, EventId};

/// A document on its way to an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Name of the index, such as `twosec-2026.11.16`.
    pub index: String,
    pub document: Document,
}

impl Item {
    /// The `_id`.
    pub fn id(&self) -> EventId {
        self.document.id
    }
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the index: put now, or (409) it, or a higher revision, has been there.
    Done { created: bool },
    /// Not now: 429, or a disk that is full to the flood stage.
    Retry(String),
    /// It failed: 500. Either the index is in trouble, which passes, or this document brings it into that
    /// each time.
    Failed(String),
    /// The shard that it belongs to is not there: 503. The index is red, or the cluster is in trouble.
    Unavailable(String),
    /// Not as its index is now: blocked, closed or missing. Somebody may help it.
    Blocked(String),
    /// Never: the index refuses this document for what it is.
    Dead(String),
}

/// What the verdicts of a request say of the index as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overall {
    /// It takes documents, or refuses them for what they are.
    Works,
    /// It has too much to do.
    Throttles,
    /// It failed with all documents.
    Fails,
}

impl Overall {
    /// Of all documents of a request.
    pub fn of(verdicts: &[Verdict]) -> Overall {
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Retry(_))) {
            Overall::Throttles
        } else if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Failed(_) | Verdict::Unavailable(_))) {
            Overall::Fails
        } else {
            Overall::Works
        }
    }
}

/// A whole request failed: nothing is known of its documents.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Worth the same request again; ids make that harmless.
    #[error("the index did not answer")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answers, and takes none of the documents, however often they are put; a command ends there.
    #[error("the index takes none of the documents")]
    TakesNone,
    /// 413: the request must be cut into smaller ones.
    #[error("the index finds the request too large")]
    TooLarge,
    /// 401 or 403 for the whole request: nothing will get better by itself, and no
    /// document is to blame. Indexing pauses, archiving goes on.
    #[error("the index refuses us: {0}")]
    Denied(String),
    /// Documents that were answered `Done` since the last flush are gone (embedded
    /// index only). They must be read again from the shard's cursor on.
    #[error("the index has lost what was not yet durable")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An index that takes each id once; of documents with revisions it keeps the highest.
#[async_trait]
pub trait Index: Send + Sync {
    /// Creates documents, or replaces those that have a lower revision. One verdict for each,
    /// in the order given.
    async fn bulk(&self, items: &[Item]) -> Result<Vec<Verdict>, IndexError>;

    /// Makes durable and searchable what has been answered `Done`. The cursor of a
    /// shard moves only after it.
    async fn flush(&self) -> Result<(), IndexError>;
}
