//! Records from a Kinesis data stream, by GetRecords.

use super::{Feed, FeedError, Next, PAGE_BYTES, Page, Pages, Record, SequenceNumber, Shard, Start};
use crate::aws::is_transient;
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::get_shard_iterator::builders::GetShardIteratorFluentBuilder;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{self, ShardIteratorType};
use bytes::Bytes;
use event::Millis;
use std::time::Duration;
use tokio::time::Instant;

/// Between two reads of a shard: it answers five a second, to all its readers together
/// (Kinesis quotas).
const READ_EVERY: Duration = Duration::from_millis(200);

/// Between two reads of a shard in which nothing happens: leaves reads to others, and
/// costs a line at most a second.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// What a shard gives out in a second (Kinesis quotas). Asking sooner is refused.
const BYTES_A_SECOND: u64 = 2 << 20;

/// Records of the first page, when nobody knows their size yet. One is 1 MiB at most
/// as streams are by default, and Kinesis cuts a page at 10 MiB.
const FIRST_RECORDS: i32 = 10;

/// Records that a shard takes in a second (Kinesis quotas); 10,000 is what it would give.
const RECORDS_MAX: usize = 1_000;

/// A Kinesis data stream.
#[derive(Debug, Clone)]
pub struct KinesisFeed {
    pub(super) client: Client,
    pub(super) stream: String,
}

impl KinesisFeed {
    /// The stream of this name. No call is made yet.
    pub fn new(client: Client, stream: &str) -> KinesisFeed {
        KinesisFeed { client, stream: stream.to_owned() }
    }

    /// The stream of this name, as `config` reaches it.
    pub fn connect(config: &SdkConfig, stream: &str) -> KinesisFeed {
        KinesisFeed::new(Client::new(config), stream)
    }

    async fn summary(&self) -> Result<Option<types::StreamDescriptionSummary>, FeedError> {
        let call = self.client.describe_stream_summary().stream_name(&self.stream);
        let answer = call.send().await.map_err(|error| failed("describe_stream_summary", error))?;
        Ok(answer.stream_description_summary)
    }
}

#[async_trait]
impl Feed for KinesisFeed {
    async fn created(&self) -> Result<Option<Millis>, FeedError> {
        Ok(self.summary().await?.and_then(|summary| millis(summary.stream_creation_timestamp())))
    }

    async fn retention(&self) -> Result<Option<Duration>, FeedError> {
        let hours = self.summary().await?.and_then(|summary| u64::try_from(summary.retention_period_hours()).ok());
        Ok(hours.map(|hours| Duration::from_secs(hours * 3_600)))
    }

    async fn shards(&self) -> Result<Vec<Shard>, FeedError> {
        let mut shards = Vec::new();
        let mut token = None;
        loop {
            // A token stands for the stream: with both the call is refused.
            let name = token.is_none().then(|| self.stream.clone());
            let call = self.client.list_shards().set_stream_name(name).set_next_token(token);
            let answer = call.send().await.map_err(|error| failed("list_shards", error))?;
            shards.extend(answer.shards().iter().map(shard));
            token = answer.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    async fn open(&self, shard: &str, start: Start) -> Result<Box<dyn Pages>, FeedError> {
        let mut pages = KinesisPages {
            feed: self.clone(),
            shard: shard.to_owned(),
            start,
            iterator: None,
            read_at: Instant::now(),
            idle: READ_EVERY,
            limit: FIRST_RECORDS,
            children: Vec::new(),
        };
        pages.iterator = Some(pages.begin().await?);
        Ok(Box::new(pages))
    }
}

fn shard(shard: &types::Shard) -> Shard {
    let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
    let range = shard.hash_key_range();
    Shard {
        id: shard.shard_id().to_owned(),
        parents: parents.into_iter().flatten().map(str::to_owned).collect(),
        starting_hash_key: range.map_or("", |range| range.starting_hash_key()).to_owned(),
        ending_hash_key: range.map_or("", |range| range.ending_hash_key()).to_owned(),
    }
}

pub(super) fn child(child: types::ChildShard) -> Shard {
    let range = child.hash_key_range;
    let (starting_hash_key, ending_hash_key) =
        range.map(|range| (range.starting_hash_key, range.ending_hash_key)).unwrap_or_default();
    Shard { id: child.shard_id, parents: child.parent_shards, starting_hash_key, ending_hash_key }
}

/// A shard being read. A field moves only after the answer that moves it, so a read
/// that is dropped on the way is made again.
struct KinesisPages {
    feed: KinesisFeed,
    shard: String,
    /// Where reading goes on once there is no iterator: after the last record given out.
    start: Start,
    /// Lives for five minutes.
    iterator: Option<String>,
    /// Not before this may the shard be read again.
    read_at: Instant,
    /// The next pause, if the next page is empty.
    idle: Duration,
    /// Records wanted in the next page.
    limit: i32,
    /// What the last page tells.
    children: Vec<Shard>,
}

#[async_trait]
impl Pages for KinesisPages {
    async fn ready(&mut self) -> Result<(), FeedError> {
        tokio::time::sleep_until(self.read_at).await;
        Ok(())
    }

    async fn next(&mut self) -> Result<Page, FeedError> {
        self.ready().await?;
        let iterator = match &self.iterator {
            Some(iterator) => iterator.clone(),
            None => self.begin().await?,
        };
        self.read_at = Instant::now() + READ_EVERY;
        let mut read = self.read(iterator).await;
        if read.as_ref().is_err_and(is_expired) {
            // A new one goes on after the last record that was given out.
            self.iterator = None;
            read = self.read(self.begin().await?).await;
        }
        match read {
            Ok(answer) => self.page(answer),
            // Born expired: trouble of the stream's, which may pass.
            Err(error) if is_expired(&error) => Err(FeedError::Transient { call: "get_records", cause: error.into() }),
            Err(error) => Err(self.failed("get_records", error).await),
        }
    }

    fn children(&self) -> Vec<Shard> {
        self.children.clone()
    }
}

impl KinesisPages {
    /// A fresh iterator.
    async fn begin(&self) -> Result<String, FeedError> {
        let call = self.feed.client.get_shard_iterator().stream_name(&self.feed.stream).shard_id(&self.shard);
        let answer = match at(call, &self.start).send().await {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed("get_shard_iterator", error).await),
        };
        answer.shard_iterator.ok_or_else(|| FeedError::Transient {
            call: "get_shard_iterator",
            cause: "the answer has no iterator".into(),
        })
    }

    async fn read(&self, iterator: String) -> Result<GetRecordsOutput, GetRecordsError> {
        self.feed.client.get_records().shard_iterator(iterator).limit(self.limit).send().await
    }

    /// Takes an answer in, and moves past it.
    fn page(&mut self, answer: GetRecordsOutput) -> Result<Page, FeedError> {
        let next = if answer.next_shard_iterator.is_some() { Next::More } else { Next::ShardEnd };
        let behind = answer.millis_behind_latest.unwrap_or(0);
        let records = answer.records.into_iter().map(record).collect::<Result<Vec<_>, _>>()?;
        self.iterator = answer.next_shard_iterator;
        self.children = answer.child_shards.unwrap_or_default().into_iter().map(child).collect();
        self.pace(&records, behind);
        if let Some(last) = records.last() {
            self.start = Start::After(last.sequence.clone());
        }
        Ok(Page { records, next, behind })
    }

    /// Sets when, and how much, to read next.
    fn pace(&mut self, records: &[Record], behind: Millis) {
        let bytes = records.iter().map(|record| record.data.len()).sum();
        if !records.is_empty() {
            self.limit = wanted(records.len(), bytes);
        }
        let quiet = records.is_empty() && behind == 0;
        let pause = if quiet { self.idle } else { READ_EVERY.max(due(bytes)) };
        self.idle = if quiet { (self.idle * 2).min(IDLE_MAX) } else { READ_EVERY };
        self.read_at = Instant::now() + pause;
    }

    /// A failed call on this shard. A code tells that it is gone; the same one tells
    /// that the whole stream is, so that is asked before a shard counts as ended.
    async fn failed<E>(&self, call: &'static str, error: SdkError<E, HttpResponse>) -> FeedError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if error.code() != Some("ResourceNotFoundException") {
            return failed(call, error);
        }
        match self.feed.created().await {
            Ok(_) => FeedError::NoShard(self.shard.clone()),
            Err(of_the_stream) => of_the_stream,
        }
    }
}

type GetRecordsError = SdkError<aws_sdk_kinesis::operation::get_records::GetRecordsError, HttpResponse>;

fn is_expired(error: &GetRecordsError) -> bool {
    error.as_service_error().is_some_and(|error| error.is_expired_iterator_exception())
}

pub(super) fn failed<E>(call: &'static str, error: SdkError<E, HttpResponse>) -> FeedError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if is_transient(&error) {
        FeedError::Transient { call, cause: error.into() }
    } else {
        FeedError::Refused { call, cause: error.into() }
    }
}

fn at(call: GetShardIteratorFluentBuilder, start: &Start) -> GetShardIteratorFluentBuilder {
    match start {
        Start::TrimHorizon => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
        Start::AtTimestamp(at) => {
            call.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(*at))
        }
        Start::After(sequence) => {
            call.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).starting_sequence_number(sequence.as_str())
        }
    }
}

pub(super) fn record(record: types::Record) -> Result<Record, FeedError> {
    let digits = record.sequence_number();
    let sequence = SequenceNumber::new(digits).ok_or_else(|| FeedError::Refused {
        call: "get_records",
        cause: format!("a record has the sequence number `{digits}`").into(),
    })?;
    let arrival = record.approximate_arrival_timestamp().and_then(millis).unwrap_or(0);
    Ok(Record { sequence, arrival, data: Bytes::from(record.data.into_inner()) })
}

fn millis(time: &DateTime) -> Option<Millis> {
    time.to_millis().ok()
}

/// Records that make a page of about [`PAGE_BYTES`], if they are as large as the last.
fn wanted(records: usize, bytes: usize) -> i32 {
    let fit = PAGE_BYTES.saturating_mul(records) / bytes.max(1);
    i32::try_from(fit.clamp(1, RECORDS_MAX)).unwrap_or(i32::MAX)
}

/// After this time the shard has given out `bytes` as fast as it may.
fn due(bytes: usize) -> Duration {
    Duration::from_millis(bytes as u64 * 1_000 / BYTES_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use serde_json::json;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_page_holds_about_a_mebibyte_whatever_the_records_size() {
        assert_eq!(wanted(10, 10 * 100_000), 10);
        assert_eq!(wanted(10, 10 * (1 << 20)), 1);
        assert_eq!(wanted(10, 10 * 200), 1_000);
        assert_eq!(wanted(3, 0), 1_000);
        assert_eq!(wanted(1, 10 << 20), 1);
    }

    #[test]
    fn a_large_page_is_paid_for_with_a_longer_pause() {
        assert_eq!(due(0), Duration::ZERO);
        assert_eq!(due(10 << 20), Duration::from_secs(5));
    }

    /// Answers from a script; notes what it was asked, and after how many milliseconds.
    #[derive(Debug, Clone)]
    struct Scripted {
        begin: Instant,
        answers: Arc<Mutex<VecDeque<String>>>,
        asked: Arc<Mutex<Vec<(u128, String)>>>,
    }

    impl Scripted {
        fn new(answers: impl IntoIterator<Item = String>) -> Scripted {
            let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
            Scripted { begin: Instant::now(), answers, asked: Arc::default() }
        }

        fn feed(&self) -> KinesisFeed {
            let connector = SharedHttpConnector::new(self.clone());
            let config = aws_sdk_kinesis::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("eu-central-1"))
                .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
                .http_client(http_client_fn(move |_, _| connector.clone()))
                .build();
            KinesisFeed::new(Client::from_conf(config), "s")
        }

        fn asked(&self) -> Vec<(u128, String)> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl HttpConnector for Scripted {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
            self.asked.lock().unwrap().push((self.begin.elapsed().as_millis(), body));
            let answer = self.answers.lock().unwrap().pop_front().expect("the script has an answer");
            HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), answer.into())))
        }
    }

    fn page(records: &[(&str, &str)], behind: Millis) -> String {
        let record = |(sequence, data): &(&str, &str)| json!({"SequenceNumber": sequence, "Data": data, "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.5});
        let records: Vec<_> = records.iter().map(record).collect();
        json!({"NextShardIterator": "next", "MillisBehindLatest": behind, "Records": records}).to_string()
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_asked_five_times_a_second_while_it_has_more_and_once_a_second_when_it_has_not() {
        // Pages in a backlog may be empty, and are not the end.
        let backlog = [page(&[], 60_000), page(&[], 30_000), page(&[("5", "YQ==")], 10), page(&[("6", "Yg==")], 0)];
        let answers = [json!({"ShardIterator": "first"}).to_string()].into_iter().chain(backlog);
        let scripted = Scripted::new(answers.chain((0..5).map(|_| page(&[], 0))).chain([page(&[("7", "Yw==")], 0)]));
        let feed = scripted.feed();
        let mut pages = feed.open("shard-0", Start::TrimHorizon).await.unwrap();
        let mut given = Vec::new();
        for _ in 0..10 {
            let page = pages.next().await.unwrap();
            assert_eq!(page.next, Next::More);
            given.extend(page.records.into_iter().map(|record| record.sequence.to_string()));
        }
        assert_eq!(given, ["5", "6", "7"]);
        let asked: Vec<_> = scripted.asked().into_iter().skip(1).map(|(after, _)| after).collect();
        assert_eq!(asked, [0, 200, 400, 600, 800, 1_000, 1_400, 2_200, 3_200, 4_200]);
    }

    #[tokio::test(start_paused = true)]
    async fn shards_are_listed_page_by_page() {
        let listed = |ids: &[&str], next: Option<&str>| {
            let range = json!({"StartingHashKey": "0", "EndingHashKey": "9"});
            let shard = |id: &&str| {
                let numbers = json!({"StartingSequenceNumber": "1"});
                json!({"ShardId": id, "HashKeyRange": range, "SequenceNumberRange": numbers})
            };
            json!({"Shards": ids.iter().map(shard).collect::<Vec<_>>(), "NextToken": next}).to_string()
        };
        // A page may be empty, too, where shards are filtered by the stream.
        let pages = [listed(&["a", "b"], Some("two")), listed(&[], Some("three")), listed(&["c"], None)];
        let scripted = Scripted::new(pages);
        let shards = scripted.feed().shards().await.unwrap();
        assert_eq!(shards.iter().map(|shard| shard.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        let asked: Vec<_> = scripted.asked().into_iter().map(|(_, body)| body).collect();
        assert_eq!(asked, [r#"{"StreamName":"s"}"#, r#"{"NextToken":"two"}"#, r#"{"NextToken":"three"}"#]);
    }

    #[tokio::test]
    async fn a_stream_tells_how_long_it_keeps_its_records() {
        let summary = json!({
            "StreamName": "s", "StreamARN": "arn:aws:kinesis:eu-central-1:123456789012:stream/s",
            "StreamStatus": "ACTIVE", "RetentionPeriodHours": 48, "StreamCreationTimestamp": 1.5,
            "EnhancedMonitoring": [], "OpenShardCount": 1,
        });
        let answer = json!({"StreamDescriptionSummary": summary}).to_string();
        let feed = Scripted::new([answer.clone(), answer]).feed();
        assert_eq!(feed.retention().await.unwrap(), Some(Duration::from_secs(48 * 3_600)));
        assert_eq!(feed.created().await.unwrap(), Some(1_500));
    }
}
