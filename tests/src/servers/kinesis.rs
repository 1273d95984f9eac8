//! Kinesis Data Streams: ferrokinesis behind a layer that makes trouble.
//!
//! Unlike AWS it always answers `MillisBehindLatest` 0, tells arrival in whole seconds,
//! has no limit on reads, takes 5 MiB a call, and begins a subscription after a sequence number
//! at the start of the shard.

use super::Served;
use super::proxy::Upstream;
use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::StreamStatus;
use aws_sdk_kinesis::types::{Shard, ShardIteratorType};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use ferrokinesis::create_app;
use ferrokinesis::store::StoreOptions;
use futures::StreamExt;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The largest request that is taken.
const BODY_BYTES_MAX: usize = 16 << 20;

/// What goes wrong. `None` is never, `Some(3)` every third call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// PutRecords stores entries 0, 2, 4, … and refuses the others as throttled.
    pub partial_puts: Option<u64>,
    /// PutRecords stores all entries and answers 500.
    pub lost_answers: Option<u64>,
    /// GetRecords finds the iterator expired.
    pub expired_iterators: Option<u64>,
    /// PutRecords is throttled as a whole, and stores nothing.
    pub throttled_calls: Option<u64>,
    /// PutRecords stores all entries, and the connection breaks in the middle of the answer.
    pub cut_answers: Option<u64>,
    /// The first calls of SubscribeToShard find another subscription.
    pub taken_subscriptions: u64,
    /// The first subscriptions after those never tell anything.
    pub mute_subscriptions: u64,
    /// Other subscriptions end after this long, instead of five minutes.
    pub subscription: Option<Duration>,
}

/// How often which trouble was made.
#[derive(Debug, Default)]
pub struct Counts {
    pub puts: AtomicU64,
    pub reads: AtomicU64,
    pub refused_entries: AtomicU64,
    pub lost_answers: AtomicU64,
    pub expired_iterators: AtomicU64,
}

/// A Kinesis server.
pub struct KinesisServer {
    served: Served,
    trouble: Arc<Trouble>,
}

#[derive(Default)]
struct Trouble {
    faults: Faults,
    counts: Counts,
    positions: Mutex<Vec<Value>>,
}

impl KinesisServer {
    /// A server without streams.
    pub async fn start(faults: Faults) -> KinesisServer {
        let defaults = StoreOptions::default();
        let options = StoreOptions {
            create_stream_ms: 0,
            update_stream_ms: 0,
            shard_limit: 100,
            subscribe_to_shard_session_ms: faults
                .subscription
                .map_or(defaults.subscribe_to_shard_session_ms, |lasts| lasts.as_millis() as u64),
            ..defaults
        };
        let trouble = Arc::new(Trouble { faults, ..Trouble::default() });
        let (app, _store) = create_app(options);
        let app = app
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn_with_state(Arc::clone(&trouble), make_trouble));
        KinesisServer { served: Served::app(app), trouble }
    }

    /// A server that hands everything on to the one at `url`.
    pub fn in_front_of(url: &str, faults: Faults) -> KinesisServer {
        let trouble = Arc::new(Trouble { faults, ..Trouble::default() });
        let app = Router::new()
            .fallback(hand_on)
            .with_state(Upstream::new(url))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn_with_state(Arc::clone(&trouble), make_trouble));
        KinesisServer { served: Served::app(app), trouble }
    }

    /// From now on, answers everything with 503, or no longer does.
    pub fn set_away(&self, away: bool) {
        self.served.set_away(away);
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.served.url
    }

    /// How the SDK reaches the server.
    pub async fn sdk(&self) -> SdkConfig {
        self.served.sdk().await
    }

    /// A client of it.
    pub async fn client(&self) -> Client {
        Client::new(&self.sdk().await)
    }

    /// How often which trouble was made.
    pub fn counts(&self) -> &Counts {
        &self.trouble.counts
    }

    /// The StartingPosition of each call of SubscribeToShard.
    pub fn starting_positions(&self) -> Vec<Value> {
        self.trouble.positions.lock().expect("no holder panics").clone()
    }

    /// Makes a stream, and waits until it is there.
    pub async fn create_stream(&self, name: &str, shards: i32) {
        let client = self.client().await;
        client.create_stream().stream_name(name).shard_count(shards).send().await.expect("the stream is made");
        self.wait_until_active(name).await;
    }

    /// All that is in a stream now, shard by shard.
    pub async fn records(&self, stream: &str) -> Vec<Vec<u8>> {
        let client = self.client().await;
        let shards = client.list_shards().stream_name(stream).send().await.expect("the stream is there");
        let mut records = Vec::new();
        for shard in shards.shards() {
            let call = client.get_shard_iterator().stream_name(stream).shard_id(shard.shard_id());
            let answer = call.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await;
            let mut iterator = answer.expect("the shard is there").shard_iterator;
            loop {
                let page = client.get_records().set_shard_iterator(iterator).send().await.expect("records are read");
                records.extend(page.records().iter().map(|record| record.data().as_ref().to_vec()));
                iterator = page.next_shard_iterator.clone();
                if page.records().is_empty() || iterator.is_none() {
                    break;
                }
            }
        }
        records
    }

    /// Splits a shard in the middle, and waits until that is done.
    pub async fn split_shard(&self, stream: &str, shard: &str) {
        let call = self.client().await.split_shard().stream_name(stream).shard_to_split(shard);
        let middle = (u128::MAX / 2 + 1).to_string();
        call.new_starting_hash_key(middle).send().await.expect("the shard is split");
        self.wait_until_active(stream).await;
    }

    /// Splits a shard in the middle of its own range, and waits until that is done.
    pub async fn split_shard_in_half(&self, stream: &str, shard: &Shard) {
        let (first, last) = range(shard);
        let middle = (first + (last - first) / 2 + 1).to_string();
        let call = self.client().await.split_shard().stream_name(stream).shard_to_split(shard.shard_id());
        call.new_starting_hash_key(middle).send().await.expect("the shard is split");
        self.wait_until_active(stream).await;
    }

    /// Merges the last two of these shards that lie side by side, and waits until that is done.
    pub async fn merge_neighbours(&self, stream: &str, shards: &[Shard]) {
        let mut shards: Vec<&Shard> = shards.iter().collect();
        shards.sort_by_key(|shard| range(shard));
        let (first, second) = (shards[shards.len() - 2], shards[shards.len() - 1]);
        let call = self.client().await.merge_shards().stream_name(stream).shard_to_merge(first.shard_id());
        call.adjacent_shard_to_merge(second.shard_id()).send().await.expect("the shards are merged");
        self.wait_until_active(stream).await;
    }

    async fn wait_until_active(&self, name: &str) {
        let client = self.client().await;
        loop {
            let answer = client.describe_stream_summary().stream_name(name).send().await.expect("the stream is there");
            let summary = answer.stream_description_summary().expect("the answer has a summary");
            if *summary.stream_status() == StreamStatus::Active {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn hand_on(State(upstream): State<Upstream>, request: Request) -> Response {
    upstream.hand_on(request).await
}

/// The hash keys of a shard.
fn range(shard: &Shard) -> (u128, u128) {
    let range = shard.hash_key_range().expect("a shard has a range");
    let number = |text: &str| text.parse().expect("a hash key is a number");
    (number(range.starting_hash_key()), number(range.ending_hash_key()))
}

/// Whether the call that was counted last is one of those that `every` names.
fn is_due(count: &AtomicU64, every: Option<u64>) -> bool {
    let call = count.load(Ordering::SeqCst);
    every.is_some_and(|every| call.is_multiple_of(every))
}

async fn make_trouble(State(trouble): State<Arc<Trouble>>, request: Request, next: Next) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    match target.rsplit('.').next() {
        Some("PutRecords") => trouble.put(request, next).await,
        Some("GetRecords") => trouble.read(request, next).await,
        Some("SubscribeToShard") => trouble.subscribe(request, next).await,
        _ => next.run(request).await,
    }
}

impl Trouble {
    async fn put(&self, request: Request, next: Next) -> Response {
        self.counts.puts.fetch_add(1, Ordering::SeqCst);
        if is_due(&self.counts.puts, self.faults.lost_answers) {
            self.counts.lost_answers.fetch_add(1, Ordering::SeqCst);
            drop(next.run(request).await);
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure");
        }
        if is_due(&self.counts.puts, self.faults.cut_answers) {
            self.counts.lost_answers.fetch_add(1, Ordering::SeqCst);
            drop(next.run(request).await);
            let pieces = [Ok(Bytes::from_static(b"{\"FailedRecordCount\":")), Err(std::io::ErrorKind::ConnectionReset)];
            return Body::from_stream(futures::stream::iter(pieces.map(|piece| piece.map_err(std::io::Error::from))))
                .into_response();
        }
        if is_due(&self.counts.puts, self.faults.throttled_calls) {
            self.counts.refused_entries.fetch_add(1, Ordering::SeqCst);
            return refused(StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException");
        }
        if is_due(&self.counts.puts, self.faults.partial_puts) {
            return self.put_half(request, next).await;
        }
        next.run(request).await
    }

    async fn read(&self, request: Request, next: Next) -> Response {
        self.counts.reads.fetch_add(1, Ordering::SeqCst);
        if is_due(&self.counts.reads, self.faults.expired_iterators) {
            self.counts.expired_iterators.fetch_add(1, Ordering::SeqCst);
            return refused(StatusCode::BAD_REQUEST, "ExpiredIteratorException");
        }
        next.run(request).await
    }

    /// Notes a call, and tells how many were before it.
    fn subscribed(&self, position: Value) -> u64 {
        let mut positions = self.positions.lock().expect("no holder panics");
        positions.push(position);
        positions.len() as u64 - 1
    }

    async fn subscribe(&self, request: Request, next: Next) -> Response {
        let (parts, body) = request.into_parts();
        let mut subscription = json_of(body).await;
        let request = Request::from_parts(parts, Body::from(subscription.to_string()));
        let calls = self.subscribed(subscription["StartingPosition"].take());
        if calls < self.faults.taken_subscriptions {
            return refused(StatusCode::BAD_REQUEST, "ResourceInUseException");
        }
        let answer = next.run(request).await;
        if calls >= self.faults.taken_subscriptions + self.faults.mute_subscriptions {
            return answer;
        }
        let (head, body) = answer.into_parts();
        let greeting = body.into_data_stream().take(1);
        Response::from_parts(head, Body::from_stream(greeting.chain(futures::stream::pending())))
    }

    /// Lets every second entry pass, and refuses the others.
    async fn put_half(&self, request: Request, next: Next) -> Response {
        let (mut parts, body) = request.into_parts();
        let mut put = json_of(body).await;
        let entries = put["Records"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let sent = entries.len();
        put["Records"] = entries.into_iter().step_by(2).collect();
        parts.headers.remove("content-length");
        let (mut head, body) = next.run(Request::from_parts(parts, Body::from(put.to_string()))).await.into_parts();
        if !head.status.is_success() {
            return Response::from_parts(head, body);
        }
        let mut answer = json_of(body).await;
        let stored = answer["Records"].as_array_mut().map(std::mem::take).unwrap_or_default();
        answer["Records"] = interleave(stored, sent).into();
        answer["FailedRecordCount"] = json!(sent / 2);
        self.counts.refused_entries.fetch_add(sent as u64 / 2, Ordering::SeqCst);
        head.headers.remove("content-length");
        Response::from_parts(head, Body::from(answer.to_string()))
    }
}

/// A refusal after each answer, until there are `sent`.
fn interleave(stored: Vec<Value>, sent: usize) -> Vec<Value> {
    let throttled = json!({
        "ErrorCode": "ProvisionedThroughputExceededException",
        "ErrorMessage": "Rate exceeded for shard shardId-000000000000 in stream tests under account 000000000000.",
    });
    stored.into_iter().flat_map(|answer| [answer, throttled.clone()]).take(sent).collect()
}

async fn json_of(body: Body) -> Value {
    let bytes: Bytes = to_bytes(body, BODY_BYTES_MAX).await.expect("the body is whole");
    serde_json::from_slice(&bytes).expect("the body is JSON")
}

fn refused(status: StatusCode, code: &str) -> Response {
    let body = json!({ "__type": code, "message": "made by the tests" }).to_string();
    (status, [("content-type", "application/x-amz-json-1.1")], body).into_response()
}
