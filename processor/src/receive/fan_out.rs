//! Records from a Kinesis data stream by enhanced fan-out: each shard pushes its records over a
//! connection of its own, with 2 MB/s that no other reader shares (Kinesis API reference,
//! "SubscribeToShard").

use super::kinesis::{self, KinesisFeed};
use super::{Feed, FeedError, Next, Page, Pages, Shard, Start};
use async_trait::async_trait;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::subscribe_to_shard::{SubscribeToShardError, SubscribeToShardOutput};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ConsumerStatus, ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use event::Millis;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Between two subscriptions to a shard: one a second is allowed (Kinesis API reference,
/// "SubscribeToShard").
const SUBSCRIBE_EVERY: Duration = Duration::from_secs(1);

/// A shard in which nothing happens tells so every few seconds. Who hears nothing for so long has
/// a connection whose other end is gone. As long as in KCL.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// How often a new consumer is asked whether it is there yet.
const CONSUMER_EVERY: Duration = Duration::from_secs(1);

/// A consumer is made within seconds.
const CONSUMER_TRIES: u32 = 60;

/// Refused subscriptions after which the log says that somebody else may hold the shard. The
/// last owner of the lease lets go within five seconds.
const IN_USE_MAX: u32 = 15;

/// A Kinesis data stream, read as a registered consumer.
#[derive(Debug, Clone)]
pub struct FanOutFeed {
    feed: KinesisFeed,
    consumer: Arc<Consumer>,
    silence: Duration,
}

/// A consumer of a stream, registered when it is needed for the first time.
#[derive(Debug)]
struct Consumer {
    name: String,
    arn: Mutex<Option<String>>,
}

impl FanOutFeed {
    /// The stream of `feed`, as its consumer of this name. No call is made yet.
    pub fn new(feed: KinesisFeed, consumer: &str) -> FanOutFeed {
        let consumer = Arc::new(Consumer { name: consumer.to_owned(), arn: Mutex::default() });
        FanOutFeed { feed, consumer, silence: SILENCE_MAX }
    }

    /// Takes a connection for dead after this long without a word.
    pub fn with_silence(self, silence: Duration) -> FanOutFeed {
        FanOutFeed { silence, ..self }
    }

    async fn consumer_arn(&self) -> Result<String, FeedError> {
        let mut known = self.consumer.arn.lock().await;
        if let Some(arn) = &*known {
            return Ok(arn.clone());
        }
        let arn = self.registered().await?;
        *known = Some(arn.clone());
        Ok(arn)
    }

    /// The consumer once it can be subscribed with. It is registered where it is missing.
    async fn registered(&self) -> Result<String, FeedError> {
        let (client, name) = (&self.feed.client, &self.consumer.name);
        let stream = client.describe_stream_summary().stream_name(&self.feed.stream).send().await;
        let stream = stream.map_err(|error| kinesis::failed("describe_stream_summary", error))?;
        let stream = stream.stream_description_summary().map_or("", |summary| summary.stream_arn()).to_owned();
        for _ in 0..CONSUMER_TRIES {
            let found = client.describe_stream_consumer().stream_arn(&stream).consumer_name(name).send().await;
            match found {
                Ok(answer) => {
                    let consumer = answer.consumer_description();
                    if let Some(consumer) = consumer.filter(|it| *it.consumer_status() == ConsumerStatus::Active) {
                        return Ok(consumer.consumer_arn().to_owned());
                    }
                }
                Err(error) if error.code() == Some("ResourceNotFoundException") => {
                    match client.register_stream_consumer().stream_arn(&stream).consumer_name(name).send().await {
                        Ok(_) => tracing::info!(consumer = name, "registered for enhanced fan-out"),
                        // Another process was faster.
                        Err(error) if error.code() == Some("ResourceInUseException") => {}
                        Err(error) => return Err(kinesis::failed("register_stream_consumer", error)),
                    }
                }
                Err(error) => return Err(kinesis::failed("describe_stream_consumer", error)),
            }
            tokio::time::sleep(CONSUMER_EVERY).await;
        }
        let cause = format!("the consumer `{name}` did not become ACTIVE");
        Err(FeedError::Transient { call: "describe_stream_consumer", cause: cause.into() })
    }

    /// What a subscription that finds nothing means: the shard is gone, or the consumer is.
    async fn not_found(&self, shard: &str) -> FeedError {
        match self.feed.shards().await {
            Err(of_the_stream) => of_the_stream,
            Ok(shards) if shards.iter().any(|there| there.id == shard) => {
                *self.consumer.arn.lock().await = None;
                let cause = format!("the consumer `{}` is gone", self.consumer.name);
                FeedError::Transient { call: "subscribe_to_shard", cause: cause.into() }
            }
            Ok(_) => FeedError::NoShard(shard.to_owned()),
        }
    }
}

#[async_trait]
impl Feed for FanOutFeed {
    async fn created(&self) -> Result<Option<Millis>, FeedError> {
        self.feed.created().await
    }

    async fn retention(&self) -> Result<Option<Duration>, FeedError> {
        self.feed.retention().await
    }

    async fn shards(&self) -> Result<Vec<Shard>, FeedError> {
        self.feed.shards().await
    }

    async fn open(&self, shard: &str, start: Start) -> Result<Box<dyn Pages>, FeedError> {
        let mut pages = FanOutPages {
            feed: self.clone(),
            shard: shard.to_owned(),
            start,
            subscription: None,
            page: None,
            has_begun: false,
            subscribe_at: Instant::now(),
            children: Vec::new(),
        };
        pages.subscription = Some(pages.subscribe().await?);
        Ok(Box::new(pages))
    }
}

/// A shard being read. `start` moves only with a page that is given out, so a page that is
/// dropped on the way comes again.
struct FanOutPages {
    feed: FanOutFeed,
    shard: String,
    /// Where reading goes on with the next subscription: after the last record given out.
    start: Start,
    /// Ends after five minutes.
    subscription: Option<SubscribeToShardOutput>,
    /// What has come and was not given out yet. It waits beside the budget: nobody can ask for less.
    page: Option<Page>,
    /// Whether it has told anything.
    has_begun: bool,
    subscribe_at: Instant,
    children: Vec<Shard>,
}

#[async_trait]
impl Pages for FanOutPages {
    async fn ready(&mut self) -> Result<(), FeedError> {
        if self.page.is_none() {
            self.page = Some(self.receive().await?);
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Page, FeedError> {
        self.ready().await?;
        Ok(self.page.take().expect("it has come"))
    }

    fn children(&self) -> Vec<Shard> {
        self.children.clone()
    }
}

impl FanOutPages {
    /// What comes next.
    async fn receive(&mut self) -> Result<Page, FeedError> {
        loop {
            let Some(subscription) = &mut self.subscription else {
                self.subscription = Some(self.subscribe().await?);
                continue;
            };
            match timeout(self.feed.silence, subscription.event_stream.recv()).await {
                Ok(Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)))) => return self.page(event),
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => {
                    self.subscription = None;
                    if !self.children.is_empty() {
                        return Ok(Page { records: Vec::new(), next: Next::ShardEnd, behind: 0 });
                    }
                }
                // Refused by an event, before any other.
                Ok(Err(error)) if !self.has_begun && is_in_use(&error) => self.subscription = None,
                Ok(Err(error)) => {
                    self.subscription = None;
                    // Also one that somebody else has taken over.
                    return Err(FeedError::Transient { call: "subscribe_to_shard", cause: error.into() });
                }
                Err(_) => {
                    tracing::warn!(shard = self.shard, silence = ?self.feed.silence, "the shard is silent: subscribing anew");
                    self.subscription = None;
                }
            }
        }
    }

    /// A new subscription, which the last owner of the lease may still hold.
    async fn subscribe(&mut self) -> Result<SubscribeToShardOutput, FeedError> {
        let mut in_use = 0;
        loop {
            tokio::time::sleep_until(self.subscribe_at).await;
            let arn = self.feed.consumer_arn().await?;
            self.subscribe_at = Instant::now() + SUBSCRIBE_EVERY;
            let call = self.feed.feed.client.subscribe_to_shard().consumer_arn(arn).shard_id(&self.shard);
            let error = match call.starting_position(position(&self.start)).send().await {
                Ok(subscription) => {
                    self.has_begun = false;
                    return Ok(subscription);
                }
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(SubscribeToShardError::ResourceInUseException(_)) => in_use += 1,
                Some(SubscribeToShardError::ResourceNotFoundException(_)) => {
                    return Err(self.feed.not_found(&self.shard).await);
                }
                _ => return Err(kinesis::failed("subscribe_to_shard", error)),
            }
            if in_use == IN_USE_MAX {
                let consumer = &self.feed.consumer.name;
                tracing::warn!(shard = self.shard, consumer, "somebody else reads the shard as the same consumer");
            }
        }
    }

    /// Takes an event in. Its ContinuationSequenceNumber would spare the shard a look at records
    /// that are read; the archive knows a place only by its last record.
    fn page(&mut self, event: SubscribeToShardEvent) -> Result<Page, FeedError> {
        self.has_begun = true;
        let records = event.records.into_iter().map(kinesis::record).collect::<Result<Vec<_>, _>>()?;
        self.children = event.child_shards.unwrap_or_default().into_iter().map(kinesis::child).collect();
        if let Some(last) = records.last() {
            self.start = Start::After(last.sequence.clone());
        }
        // Children are told at the shard's end. Whether more records follow, the next event tells.
        let is_end = records.is_empty() && !self.children.is_empty();
        let next = if is_end { Next::ShardEnd } else { Next::More };
        Ok(Page { records, next, behind: event.millis_behind_latest })
    }
}

fn is_in_use<R>(error: &SdkError<SubscribeToShardEventStreamError, R>) -> bool {
    error.as_service_error().is_some_and(SubscribeToShardEventStreamError::is_resource_in_use_exception)
}

fn position(start: &Start) -> StartingPosition {
    let position = StartingPosition::builder();
    let position = match start {
        Start::TrimHorizon => position.r#type(ShardIteratorType::TrimHorizon),
        Start::AtTimestamp(at) => position.r#type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(*at)),
        Start::After(sequence) => {
            position.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(sequence.as_str())
        }
    };
    position.build().expect("a position's type is given")
}
