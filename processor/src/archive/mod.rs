//! Original lines, exactly once per stream record, in objects that form one chain.

pub mod window;
pub mod chain;
pub mod dead;
pub mod fence;
pub mod walk;
#[cfg(feature = "aws")]
pub mod s3;

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;

/// What an object says about itself beside its bytes: keys in lower case with `-`, as
/// S3's user metadata wants them; values in ASCII.
pub type Metadata = BTreeMap<String, String>;

/// An object to be put.
#[derive(Debug, Clone)]
pub struct Object {
    pub key: String,
    pub bytes: Bytes,
    pub metadata: Metadata,
}

/// What became of [`Archive::put_if_absent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    Yes,
    /// The key was taken; what is there has not been touched.
    Exists,
}

/// The archive did not answer, or refuses.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Worth the same call again: nobody knows whether it took effect.
    #[error("the archive did not answer `{call}` for `{key}`")]
    Transient {
        call: &'static str,
        key: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the archive refuses `{call}` for `{key}`")]
    Refused {
        call: &'static str,
        key: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ArchiveError {
    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self, ArchiveError::Transient { .. })
    }
}

/// A place for objects that are written once and never changed.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Puts an object unless its key is taken (S3: `If-None-Match: *`). Of writers that
    /// race for one key exactly one gets [`Created::Yes`].
    async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError>;

    /// An object's metadata; `None` if there is none of that key.
    async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError>;

    /// An object's bytes; `None` if there is none of that key.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError>;

    /// Up to 1,000 keys that start with `prefix` and come after `after` in byte order,
    /// in that order. Fewer may come back while there are more; none means the end.
    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError>;
}
