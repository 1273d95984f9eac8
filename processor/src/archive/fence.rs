//! Lets nothing be archived for a lease that others may have taken by now.
//!
//! A process that stood still wakes up with a window in hand. Where the stream has forgotten that
//! window's first record meanwhile, its heir has begun an object with another one, and the key alone
//! would not keep the two apart. So who has not renewed its lease for as long as others wait before
//! they take one puts nothing until it knows better.

use super::{Archive, ArchiveError, Created, Metadata, Object};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// An archive that takes objects while a lease lasts.
pub struct Fenced {
    pub archive: Arc<dyn Archive>,
    /// When the lease was renewed last.
    pub renewed: watch::Receiver<Instant>,
    /// The time after which others may take it.
    pub failover: Duration,
}

#[async_trait]
impl Archive for Fenced {
    async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
        if self.renewed.borrow().elapsed() >= self.failover {
            let cause = "the lease has not been renewed in time, and may be another worker's".into();
            return Err(ArchiveError::Transient { call: "put_object", key: object.key.clone(), cause });
        }
        self.archive.put_if_absent(object).await
    }

    async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError> {
        self.archive.head(key).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
        self.archive.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError> {
        self.archive.list(prefix, after).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::MemoryArchive;

    #[tokio::test(start_paused = true)]
    async fn who_may_have_lost_his_lease_puts_nothing_until_it_is_renewed() {
        let (renew, renewed) = watch::channel(Instant::now());
        let archive = Arc::<MemoryArchive>::default();
        let fenced = Fenced { archive: archive.clone(), renewed, failover: Duration::from_secs(10) };
        let put = async |key: &str| {
            let object = Object { key: key.to_owned(), bytes: Bytes::new(), metadata: Metadata::new() };
            fenced.put_if_absent(&object).await
        };
        assert!(put("a").await.is_ok());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(put("b").await.unwrap_err().is_transient());
        assert_eq!(archive.keys(), ["a"]);
        renew.send_replace(Instant::now());
        assert!(put("b").await.is_ok());
    }
}
