//! What the processor costs: `cargo bench -p tests --bench processor`. An agent fills a stream
//! with frames; then a processor of its own process archives and indexes all of them, into
//! servers of this process that keep or count what they get. CPU time and memory are the
//! processor's alone.
//!
//! `TWOSEC_BENCH_LOG` names an access log (the sample, 300,000 lines of it, unless told
//! otherwise), `TWOSEC_BENCH_SHARDS` the stream's shards (4). It then stands idle for a minute.
//! `TWOSEC_BENCH_PROCESSOR` and `TWOSEC_BENCH_AGENT` name other programs, such as a package's.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::any;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::measure::{Agent, Running, number, program, sample};
use tests::servers::dynamodb::DynamoServer;
use tests::servers::kinesis::{Faults, KinesisServer};
use tests::servers::s3::S3Server;
use tests::servers::{Places, Served};

const STREAM: &str = "bench";
const BUCKET: &str = "bench-archive";
const LINES: usize = 300_000;

/// Age at which an archive object is closed, so that idleness begins soon.
const WINDOW: Duration = Duration::from_secs(5);

/// How long the processor stands idle.
const IDLE: Duration = Duration::from_secs(60);

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads can be made");
    runtime.block_on(measure());
}

async fn measure() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (log, lines) = log(folder.path());
    let shards = number("SHARDS", 4) as i32;
    let kinesis = KinesisServer::start(Faults::default()).await;
    let (dynamodb, s3, sink) = (DynamoServer::start().await, S3Server::start(BUCKET).await, Sink::start());
    kinesis.create_stream(STREAM, shards).await;
    dynamodb.create_table(STREAM).await;
    fill(&kinesis, folder.path(), &log, lines).await;
    let frames: usize = kinesis.records(STREAM).await.iter().map(Vec::len).sum();
    println!("{lines} lines in {} MB of frames on {shards} shards", mega(frames));

    let places = Places {
        stream: STREAM,
        table: STREAM,
        bucket: BUCKET,
        dynamodb: dynamodb.url(),
        s3: s3.url(),
        opensearch: &sink.served.url,
    };
    let begun = Instant::now();
    let mut processor = places.processor(program("PROCESSOR", env!("CARGO_BIN_EXE_rig_processor")), &kinesis);
    processor.env("TWOSEC_WINDOW_SECONDS", WINDOW.as_secs().to_string()).arg("run");
    let processor = Running(processor.spawn().expect("it starts"));
    wait_until(|| sink.documents() > 0).await;
    println!("start to first document: {:?}", begun.elapsed());
    wait_until(|| sink.documents() >= lines).await;
    let (took, cpu) = (begun.elapsed().as_secs_f64(), processor.cpu_seconds());
    println!(
        "{lines} lines: {cpu:.2} CPU seconds in {took:.1} s; {:.0} lines a CPU second; {} documents in {:.1} MB of \
         _bulk as sent",
        lines as f64 / cpu,
        sink.documents(),
        mega(sink.bytes()),
    );
    println!(
        "a shard of 1 MB/s would take {:.3} vCPU; peak RSS {:.0} MB",
        cpu / mega(frames),
        processor.peak_kib() as f64 / 1024.0
    );
    // The last objects are closed, and the cursors saved.
    tokio::time::sleep(3 * WINDOW).await;
    let before = processor.cpu_seconds();
    tokio::time::sleep(IDLE).await;
    println!("idle: {:.0} ms of CPU in {IDLE:?}", 1_000.0 * (processor.cpu_seconds() - before));
}

fn mega(bytes: usize) -> f64 {
    (bytes as f64 / 1e5).round() / 10.0
}

/// The log to read, and its lines.
fn log(folder: &Path) -> (PathBuf, usize) {
    let count = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
    if let Some(path) = std::env::var_os("TWOSEC_BENCH_LOG").map(PathBuf::from) {
        let lines = count(&std::fs::read(&path).expect("the log can be read"));
        return (path, lines);
    }
    let lines: String = sample().lines().cycle().take(LINES).flat_map(|line| [line, "\n"]).collect();
    let path = folder.join("access.log");
    std::fs::write(&path, lines).expect("a log can be written");
    (path, LINES)
}

/// Has an agent send the whole log.
async fn fill(kinesis: &KinesisServer, folder: &Path, log: &Path, lines: usize) {
    let agent = Agent::of(program("AGENT", env!("CARGO_BIN_EXE_rig_agent")), folder, log, STREAM, kinesis);
    let running = agent.command("run").spawn().expect("it starts");
    loop {
        let told = agent.command("status").arg("--json").output().expect("it starts").stdout;
        let read = serde_json::from_slice::<Value>(&told).map_or(0, |report| report["lines"].as_u64().unwrap_or(0));
        if read >= lines as u64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What it has read it sends before it ends.
    drop(Running(running));
}

/// An index that takes everything and keeps nothing.
struct Sink {
    served: Served,
    taken: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    documents: AtomicUsize,
    bytes: AtomicUsize,
}

impl Sink {
    fn start() -> Sink {
        let taken = Arc::new(Taken::default());
        let app = Router::new().fallback(any(take)).layer(DefaultBodyLimit::max(64 << 20));
        Sink { served: Served::app(app.with_state(Arc::clone(&taken))), taken }
    }

    fn documents(&self) -> usize {
        self.taken.documents.load(Ordering::SeqCst)
    }

    fn bytes(&self) -> usize {
        self.taken.bytes.load(Ordering::SeqCst)
    }
}

/// What OpenSearch answers to an action that it has done.
fn done(action: &[u8]) -> String {
    let name = if action.starts_with(b"{\"create\"") { "create" } else { "index" };
    let action = std::str::from_utf8(action).expect("JSON is text");
    let (_, id) = action.split_once(r#""_id":""#).expect("each action names its document");
    format!(r#"{{"{name}":{{"_id":"{}","status":201}}}}"#, &id[..32])
}

async fn take(State(taken): State<Arc<Taken>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    taken.bytes.fetch_add(body.len(), Ordering::SeqCst);
    let mut text = Vec::new();
    match headers.contains_key("content-encoding") {
        true => GzDecoder::new(&body[..]).read_to_end(&mut text).map(drop).expect("the body is whole"),
        false => text.extend_from_slice(&body),
    }
    // An action and a document.
    let actions: Vec<&[u8]> = text.split(|byte| *byte == b'\n').step_by(2).filter(|line| !line.is_empty()).collect();
    let lines = actions.iter().filter(|action| action.starts_with(b"{\"create\"")).count();
    taken.documents.fetch_add(lines, Ordering::SeqCst);
    let items: Vec<_> = actions.into_iter().map(done).collect();
    let items = items.join(",");
    ([("content-type", "application/json")], format!(r#"{{"took":1,"errors":false,"items":[{items}]}}"#))
}

async fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
