//! What OpenSearch makes of our requests: `tests/live/servers up`, then
//! `cargo bench -p tests --features live --bench opensearch`.
//!
//! First how many documents a second it takes with our ids, and with ids of its own: an id that is
//! given must be looked up. Then how long a line takes from the log to where a search finds it, at
//! a steady rate: `TWOSEC_BENCH_RATE` (1,000) lines a second for `TWOSEC_BENCH_SECONDS` (60).
//! `TWOSEC_BENCH_PROCESSOR` and `TWOSEC_BENCH_AGENT` name other programs, such as a package's.

use event::{EventId, LifeId};
use reqwest::Client;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tests::measure::{Agent, Running, number, percentile, program, sample};
use tests::servers::Places;
use tests::servers::dynamodb::DynamoServer;
use tests::servers::kinesis::{Faults, KinesisServer};
use tests::servers::s3::S3Server;

/// Documents of a request: as many as the processor sends at most.
const BULK: usize = 1_000;

/// Requests under way, as the processor has them.
const UNDER_WAY: usize = 4;

/// Documents of a round.
const DOCUMENTS: usize = 60_000;

const ROUNDS: u64 = 3;

/// Lines of the first seconds are not counted: everybody opens connections then.
const WARM_UP: Duration = Duration::from_secs(5);

/// How long the last lines may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads can be made");
    runtime.block_on(async {
        let search = Search::new();
        search.set_up().await;
        documents_a_second(&search).await;
        from_log_to_search(&search).await;
    });
}

struct Search {
    url: String,
    /// What the names of all indices begin with.
    prefix: String,
    http: Client,
}

impl Search {
    fn new() -> Search {
        let url = std::env::var("TWOSEC_TEST_OPENSEARCH").expect("see tests/live/servers");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos();
        Search { url, prefix: format!("bench-{now}"), http: Client::new() }
    }

    /// Our templates.
    async fn set_up(&self) {
        let mut command = Command::new(program("PROCESSOR", env!("CARGO_BIN_EXE_rig_processor")));
        command.args(["setup", "--allow-missing"]).env("TWOSEC_OPENSEARCH_URL", &self.url);
        command.env("TWOSEC_OPENSEARCH_AUTH", "none").env("TWOSEC_INDEX_PREFIX", &self.prefix);
        let ended = tokio::task::spawn_blocking(move || command.output().expect("it starts")).await;
        let ended = ended.expect("it ends");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }

    async fn post(&self, path: &str, kind: &'static str, body: String) -> Value {
        let url = format!("{}/{path}", self.url);
        let answer = self.http.post(url).header("content-type", kind).body(body).send().await;
        read(answer).await
    }

    /// Lines that a search finds.
    async fn lines(&self) -> usize {
        let path = format!("{}-20*/_count?ignore_unavailable=true", self.prefix);
        self.post(&path, "application/json", "{}".to_owned()).await["count"].as_u64().unwrap_or(0) as usize
    }
}

async fn read(answer: reqwest::Result<reqwest::Response>) -> Value {
    let text = answer.expect("OpenSearch answers").bytes().await.expect("it answers to the end");
    serde_json::from_slice(&text).expect("it answers with JSON")
}

/// Documents of the sample, each as one line of JSON.
fn documents() -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let log = folder.path().join("access.log");
    std::fs::write(&log, sample()).expect("a log can be written");
    let told = Command::new(program("AGENT", env!("CARGO_BIN_EXE_rig_agent"))).arg("parse").arg(log).output();
    let told = String::from_utf8(told.expect("it starts").stdout).expect("JSON is UTF-8");
    told.lines().map(str::to_owned).collect()
}

async fn documents_a_second(search: &Search) {
    let documents = Arc::new(documents());
    for round in 1..=ROUNDS {
        let life = LifeId::of_source(&[b"bench", &round.to_be_bytes()]);
        for (whose, life) in [("ours", Some(life)), ("own", None)] {
            let index = format!("{}-ids-{round}-{whose}", search.prefix);
            let begun = Instant::now();
            let mut senders = tokio::task::JoinSet::new();
            for first in 0..UNDER_WAY {
                let url = format!("{}/{index}/_bulk?filter_path=errors", search.url);
                senders.spawn(send(search.http.clone(), url, Arc::clone(&documents), life, first));
            }
            senders.join_all().await;
            let rate = DOCUMENTS as f64 / begun.elapsed().as_secs_f64();
            println!("round {round}, ids {whose}: {rate:.0} documents a second");
        }
    }
}

/// Sends each [`UNDER_WAY`]th request, from `first` on: with ids of lines of `life`, or without.
async fn send(http: Client, url: String, documents: Arc<Vec<String>>, life: Option<LifeId>, first: usize) {
    for request in (first..DOCUMENTS / BULK).step_by(UNDER_WAY) {
        let mut body = String::new();
        for number in request * BULK..(request + 1) * BULK {
            let place = match life {
                Some(life) => json!({"_id": EventId::of(life, number as u64, 0, b"")}),
                None => json!({}),
            };
            body.push_str(&format!("{}\n{}\n", json!({"create": place}), documents[number % documents.len()]));
        }
        let call = http.post(&url).header("content-type", "application/x-ndjson").header("content-encoding", "gzip");
        let answer = call.body(event::gzip::gzip(body.as_bytes(), 1)).send().await;
        assert_eq!(read(answer).await["errors"], false, "OpenSearch takes all of them");
    }
}

async fn from_log_to_search(search: &Search) {
    let (rate, seconds) = (number("RATE", 1_000), number("SECONDS", 60));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let kinesis = KinesisServer::start(Faults::default()).await;
    let name = search.prefix.as_str();
    let (dynamodb, s3) = (DynamoServer::start().await, S3Server::start(name).await);
    kinesis.create_stream(name, 1).await;
    dynamodb.create_table(name).await;
    let places = Places {
        stream: name,
        table: name,
        bucket: name,
        dynamodb: dynamodb.url(),
        s3: s3.url(),
        opensearch: &search.url,
    };
    let mut processor = places.processor(program("PROCESSOR", env!("CARGO_BIN_EXE_rig_processor")), &kinesis);
    processor.env("TWOSEC_INDEX_PREFIX", name).arg("run");
    let _processor = Running(processor.spawn().expect("it starts"));
    let log = folder.path().join("access.log");
    std::fs::write(&log, "").expect("a log can be written");
    let agent = Agent::of(program("AGENT", env!("CARGO_BIN_EXE_rig_agent")), folder.path(), &log, name, &kinesis);
    let _agent = Running(agent.command("run").spawn().expect("it starts"));

    let written = Arc::new(Mutex::new(Vec::new()));
    let writer = tokio::task::spawn_blocking({
        let written = Arc::clone(&written);
        move || write(&log, rate, seconds, &written)
    });
    let (begun, wanted) = (Instant::now(), rate * seconds);
    let mut found = Vec::new();
    while found.len() < wanted {
        assert!(begun.elapsed() < Duration::from_secs(seconds as u64) + PATIENCE, "{} are found", found.len());
        let lines = search.lines().await.min(wanted);
        found.resize(found.len().max(lines), Instant::now());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writer.await.expect("the log can be written");
    let written = written.lock().expect("nobody panics with the times in hand");
    let after_warm_up = written.iter().zip(&found).filter(|(at, _)| **at > written[0] + WARM_UP);
    let mut took: Vec<Duration> = after_warm_up.map(|(written, found)| found.duration_since(*written)).collect();
    println!(
        "{rate} lines a second for {seconds} s, from the log to where a search finds them: half in {:?}, 99 of 100 in {:?}, \
         all in {:?}",
        percentile(&mut took, 50),
        percentile(&mut took, 99),
        percentile(&mut took, 100),
    );
}

/// Writes lines of the sample at a steady rate, a hundredth of a second's at once, and notes when.
fn write(log: &Path, rate: usize, seconds: usize, written: &Mutex<Vec<Instant>>) {
    let sample = sample();
    let mut lines = sample.lines().cycle();
    let mut log = std::fs::OpenOptions::new().append(true).open(log).expect("the log can be opened");
    let begun = Instant::now();
    for tick in 0..seconds * 100 {
        std::thread::sleep((begun + Duration::from_millis(10 * tick as u64)).saturating_duration_since(Instant::now()));
        let count = rate * (tick + 1) / 100 - rate * tick / 100;
        let text: String = lines.by_ref().take(count).flat_map(|line| [line, "\n"]).collect();
        log.write_all(text.as_bytes()).expect("the log can be written");
        let mut written = written.lock().expect("nobody panics with the times in hand");
        let all = written.len() + count;
        written.resize(all, Instant::now());
    }
}
