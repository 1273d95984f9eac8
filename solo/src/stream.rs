//! The stream of one process: what the agent puts is read by the processor, and `put`
//! answers when it is archived. So the agent remembers a position only when its lines
//! can no longer be lost, and nothing is held here for longer than that.

use agent::ship::{Frame, Put, PutError, Uplink};
use async_trait::async_trait;
use bytes::Bytes;
use event::Millis;
use processor::receive::{Feed, FeedError, Next, Page, Pages, Record, SequenceNumber, Shard, Start};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};

/// The one shard's name, as Kinesis would call it.
pub const SHARD: &str = "shardId-000000000000";

/// Records given out at once.
const PAGE_RECORDS: usize = 8;

/// An in-process stream of one shard. Clones are the same stream.
#[derive(Clone)]
pub struct LocalStream(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    arrived: Notify,
    archived: watch::Sender<u64>,
}

struct Queue {
    /// The number of the next record. It goes on over restarts: numbers never repeat
    /// under one archive.
    next: u64,
    /// Records that are not archived yet, oldest first.
    records: VecDeque<(u64, Millis, Bytes)>,
    finished: bool,
}

impl LocalStream {
    /// A stream whose first record follows number `last`.
    pub fn after(last: u64) -> LocalStream {
        let queue = Queue { next: last + 1, records: VecDeque::new(), finished: false };
        LocalStream(Arc::new(Shared {
            queue: Mutex::new(queue),
            arrived: Notify::new(),
            archived: watch::Sender::new(last),
        }))
    }

    /// Notes that all records up to `number` are archived.
    pub fn archived_through(&self, number: u64) {
        let mut queue = self.queue();
        while queue.records.pop_front_if(|(of, _, _)| *of <= number).is_some() {}
        drop(queue);
        self.0.archived.send_if_modified(|through| {
            let moved = number > *through;
            *through = number.max(*through);
            moved
        });
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().expect("nobody panics with the queue in hand")
    }

    /// Takes records in. Returns the number of the last one.
    fn take(&self, frames: &[Frame]) -> u64 {
        let arrival = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis() as Millis);
        let mut queue = self.queue();
        for frame in frames {
            let number = queue.next;
            queue.next += 1;
            queue.records.push_back((number, arrival, frame.bytes.clone()));
        }
        queue.next - 1
    }
}

#[async_trait]
impl Uplink for LocalStream {
    async fn put(&self, frames: &[Frame]) -> Result<Vec<Put>, PutError> {
        let last = self.take(frames);
        self.0.arrived.notify_waiters();
        let mut archived = self.0.archived.subscribe();
        archived.wait_for(|through| *through >= last).await.map_err(PutError::new)?;
        Ok(vec![Put::Stored; frames.len()])
    }

    async fn finish(&self) {
        self.queue().finished = true;
        self.0.arrived.notify_waiters();
    }
}

#[async_trait]
impl Feed for LocalStream {
    async fn created(&self) -> Result<Option<Millis>, FeedError> {
        Ok(None)
    }

    async fn shards(&self) -> Result<Vec<Shard>, FeedError> {
        Ok(vec![Shard {
            id: SHARD.to_owned(),
            parents: Vec::new(),
            starting_hash_key: "0".to_owned(),
            ending_hash_key: u128::MAX.to_string(),
        }])
    }

    async fn open(&self, _shard: &str, start: Start) -> Result<Box<dyn Pages>, FeedError> {
        let position = match start {
            Start::After(number) => number.as_str().parse().unwrap_or(0),
            Start::TrimHorizon | Start::AtTimestamp(_) => 0,
        };
        Ok(Box::new(LocalPages { stream: self.clone(), position, page: None }))
    }
}

struct LocalPages {
    stream: LocalStream,
    /// The last record that has been taken.
    position: u64,
    /// What was taken and not given out yet. Its bytes are those that the stream holds.
    page: Option<Page>,
}

impl LocalPages {
    /// What there is now; `None` if one must wait.
    fn take(&mut self) -> Option<Page> {
        let queue = self.stream.queue();
        let from = queue.records.partition_point(|(number, _, _)| *number <= self.position);
        let records: Vec<_> = queue.records.range(from..).take(PAGE_RECORDS).map(record).collect();
        let next = if queue.finished && records.is_empty() { Next::StreamEnd } else { Next::More };
        let last = queue.records.get(from + records.len().saturating_sub(1)).map(|(number, _, _)| *number);
        if records.is_empty() && next == Next::More {
            return None;
        }
        self.position = last.filter(|_| !records.is_empty()).unwrap_or(self.position);
        Some(Page { records, next, behind: 0 })
    }
}

fn record((number, arrival, data): &(u64, Millis, Bytes)) -> Record {
    let sequence = SequenceNumber::new(&number.to_string()).expect("a number is all digits");
    Record { sequence, arrival: *arrival, data: data.clone() }
}

#[async_trait]
impl Pages for LocalPages {
    async fn ready(&mut self) -> Result<(), FeedError> {
        if self.page.is_none() {
            self.page = Some(self.arrived().await);
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Page, FeedError> {
        self.ready().await?;
        Ok(self.page.take().expect("it has arrived"))
    }
}

impl LocalPages {
    /// Waits until there is something, and takes it.
    async fn arrived(&mut self) -> Page {
        let stream = self.stream.clone();
        loop {
            // Registered before looking, so that no arrival between the two is missed.
            let arrived = stream.0.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(page) = self.take() {
                return page;
            }
            arrived.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(texts: &[&'static str]) -> Vec<Frame> {
        let frame = |text: &&'static str| Frame {
            hash_key: None,
            key: String::new(),
            bytes: Bytes::from_static(text.as_bytes()),
            lines: 1,
        };
        texts.iter().map(frame).collect()
    }

    #[tokio::test]
    async fn put_answers_when_all_of_it_is_archived() {
        let stream = LocalStream::after(41);
        let put = tokio::spawn({
            let stream = stream.clone();
            async move { stream.put(&frames(&["a", "b"])).await.unwrap() }
        });
        let mut pages = stream.open(SHARD, Start::TrimHorizon).await.unwrap();
        let page = pages.next().await.unwrap();
        let numbers: Vec<_> = page.records.iter().map(|record| record.sequence.to_string()).collect();
        assert_eq!(numbers, ["42", "43"]);
        stream.archived_through(42);
        tokio::task::yield_now().await;
        assert!(!put.is_finished());
        stream.archived_through(43);
        assert_eq!(put.await.unwrap(), [Put::Stored, Put::Stored]);
        assert!(stream.queue().records.is_empty());
    }

    #[tokio::test]
    async fn the_stream_ends_after_the_last_record() {
        let stream = LocalStream::after(0);
        stream.take(&frames(&["a"]));
        stream.finish().await;
        let mut pages = stream.open(SHARD, Start::TrimHorizon).await.unwrap();
        assert_eq!(pages.next().await.unwrap().next, Next::More);
        assert_eq!(pages.next().await.unwrap().next, Next::StreamEnd);
        let mut again = stream.open(SHARD, Start::After(SequenceNumber::new("0").unwrap())).await.unwrap();
        assert_eq!(again.next().await.unwrap().records.len(), 1);
    }
}
