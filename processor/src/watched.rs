//! The services as they are; the meter hears how their calls end.

use crate::Services;
use crate::archive::{Archive, ArchiveError, Created, Metadata, Object, dead};
use crate::index::{Index, IndexError, Item, Overall, Verdict};
use crate::leases::leader::Leader;
use crate::leases::{Lease, LeaseError, Leases, Swap, plan};
use crate::meter::{Ended, Meter, Move, Service};
use crate::receive::{Feed, FeedError, Page, Pages, Shard, Start};
use async_trait::async_trait;
use bytes::Bytes;
use event::Millis;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The same services, watched by their meter.
pub fn watched(services: Services) -> Services {
    let Services { feed, leases, archive, index, meter } = services;
    Services {
        feed: Arc::new(Watched { of: feed, meter: meter.clone() }),
        leases: Arc::new(Watched { of: leases, meter: meter.clone() }),
        archive: Arc::new(Watched { of: archive, meter: meter.clone() }),
        index: Arc::new(Watched { of: index, meter: meter.clone() }),
        meter,
    }
}

struct Watched<S: ?Sized> {
    meter: Arc<Meter>,
    of: Arc<S>,
}

impl<S: ?Sized> Watched<S> {
    async fn note<T, E: Error + 'static>(
        &self,
        service: Service,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let call = self.meter.call(service);
        let answer = answer.await;
        call.ended(ended(answer.as_ref().err()));
        answer
    }
}

/// A failure that tells of throttling is one of a service that has too much to do.
fn ended<E: Error + 'static>(error: Option<&E>) -> Ended {
    let Some(error) = error else { return Ended::Well };
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if ["Throttl", "Throughput", "SlowDown", "429"].iter().any(|word| text.contains(word)) {
            return Ended::Throttled;
        }
        cause = error.source();
    }
    Ended::Badly
}

#[async_trait]
impl Feed for Watched<dyn Feed> {
    async fn created(&self) -> Result<Option<Millis>, FeedError> {
        self.note(Service::Stream, self.of.created()).await
    }

    async fn retention(&self) -> Result<Option<Duration>, FeedError> {
        self.note(Service::Stream, self.of.retention()).await
    }

    async fn shards(&self) -> Result<Vec<Shard>, FeedError> {
        self.note(Service::Stream, self.of.shards()).await
    }

    async fn open(&self, shard: &str, start: Start) -> Result<Box<dyn Pages>, FeedError> {
        let pages = self.note(Service::Stream, self.of.open(shard, start)).await?;
        Ok(Box::new(WatchedPages { pages, meter: self.meter.clone() }))
    }
}

struct WatchedPages {
    pages: Box<dyn Pages>,
    meter: Arc<Meter>,
}

#[async_trait]
impl Pages for WatchedPages {
    async fn ready(&mut self) -> Result<(), FeedError> {
        let ready = self.pages.ready().await;
        if let Err(error) = &ready {
            self.meter.called(Service::Stream, ended(Some(error)));
        }
        ready
    }

    async fn next(&mut self) -> Result<Page, FeedError> {
        let answer = self.pages.next().await;
        self.meter.called(Service::Stream, ended(answer.as_ref().err()));
        answer
    }

    fn children(&self) -> Vec<Shard> {
        self.pages.children()
    }
}

#[async_trait]
impl Leases for Watched<dyn Leases> {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        let rows = self.note(Service::Leases, self.of.list()).await?;
        self.meter.free_leases(plan::free(&rows));
        Ok(rows)
    }

    async fn create(&self, lease: &Lease) -> Result<Swap, LeaseError> {
        self.note(Service::Leases, self.of.create(lease)).await
    }

    async fn swap(&self, old: &Lease, new: &Lease) -> Result<Swap, LeaseError> {
        let swap = self.note(Service::Leases, self.of.swap(old, new)).await?;
        if swap == Swap::Done && old.owner != new.owner {
            self.meter.moved(if new.owner.is_some() { Move::Taken } else { Move::Given });
        }
        Ok(swap)
    }

    async fn remove(&self, lease: &Lease) -> Result<Swap, LeaseError> {
        self.note(Service::Leases, self.of.remove(lease)).await
    }

    async fn leader(&self) -> Result<Option<Leader>, LeaseError> {
        self.note(Service::Leases, self.of.leader()).await
    }
}

#[async_trait]
impl Archive for Watched<dyn Archive> {
    async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
        let created = self.note(Service::Archive, self.of.put_if_absent(object)).await?;
        if created == Created::Yes && !object.key.starts_with(dead::ROOT) {
            self.meter.object(object.bytes.len() as u64);
        }
        Ok(created)
    }

    async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError> {
        self.note(Service::Archive, self.of.head(key)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
        self.note(Service::Archive, self.of.get(key)).await
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError> {
        self.note(Service::Archive, self.of.list(prefix, after)).await
    }
}

#[async_trait]
impl Index for Watched<dyn Index> {
    async fn bulk(&self, items: &[Item]) -> Result<Vec<Verdict>, IndexError> {
        let (begun, call) = (Instant::now(), self.meter.call(Service::Index));
        let answer = self.of.bulk(items).await;
        let ended = match &answer {
            // The request is answered; that it must be cut says nothing about the index.
            Err(IndexError::TooLarge) => Ended::Well,
            Ok(verdicts) => match Overall::of(verdicts) {
                Overall::Works => Ended::Well,
                Overall::Throttles => Ended::Throttled,
                Overall::Fails => Ended::Badly,
            },
            Err(error) => ended(Some(error)),
        };
        call.ended(ended);
        let bytes = items.iter().map(|item| item.document.body.len() as u64).sum();
        self.meter.bulk(begun.elapsed(), bytes);
        answer.iter().flatten().for_each(|verdict| self.meter.verdict(verdict));
        answer
    }

    async fn flush(&self) -> Result<(), IndexError> {
        self.of.flush().await
    }
}
