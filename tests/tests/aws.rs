//! Both programs as they run on AWS: log file, agent, Kinesis, processor, S3, OpenSearch
//! and DynamoDB, in between whatever goes wrong.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use tests::servers::dynamodb::DynamoServer;
use tests::servers::kinesis::{Faults, KinesisServer};
use tests::servers::opensearch::{Fault, OpenSearchServer};
use tests::servers::s3::S3Server;
use tests::servers::{self, Places};
use tests::wait_until;

const STREAM: &str = "twosec";
const TABLE: &str = "twosec-leases";
const BUCKET: &str = "twosec-archive";

fn sample() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dvwa/access.log");
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// A host with a log, and the services that the programs use.
struct Cloud {
    host: tempfile::TempDir,
    kinesis: KinesisServer,
    dynamodb: DynamoServer,
    s3: S3Server,
    opensearch: OpenSearchServer,
}

impl Cloud {
    async fn with(faults: Faults, shards: i32) -> Cloud {
        let cloud = Cloud {
            host: tempfile::tempdir().unwrap(),
            kinesis: KinesisServer::start(faults).await,
            dynamodb: DynamoServer::start().await,
            s3: S3Server::start(BUCKET).await,
            opensearch: OpenSearchServer::start().await,
        };
        cloud.kinesis.create_stream(STREAM, shards).await;
        cloud.dynamodb.create_table(TABLE).await;
        cloud.configure("frame");
        cloud
    }

    /// Has the next agent write records of this format. Each format has a state of its own, so
    /// that it knows nothing of what was sent before.
    fn configure(&self, format: &str) {
        let config = format!(
            "host_id = \"web-1\"\n[stream]\nname = \"{STREAM}\"\nformat = \"{format}\"\n[[file]]\npath = \"{}\"\n[redact]\nkeys = []\n[spool]\npath = \"{}\"\n",
            self.log().display(),
            self.host.path().join(format).display()
        );
        fs::write(self.config(), config).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.host.path().join("access.log")
    }

    fn config(&self) -> PathBuf {
        self.host.path().join("agent.toml")
    }

    fn append(&self, lines: &[String]) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes()).unwrap();
    }

    fn agent(&self) -> Program {
        let mut command = servers::program(env!("CARGO_BIN_EXE_rig_agent"), &self.kinesis);
        let command = self.noting(command.args(["run", "--config"]).arg(self.config()));
        Program(command.spawn().unwrap())
    }

    fn processor(&self) -> Program {
        Program(self.processor_command().spawn().unwrap())
    }

    fn processor_command(&self) -> Command {
        let places = Places {
            stream: STREAM,
            table: TABLE,
            bucket: BUCKET,
            dynamodb: self.dynamodb.url(),
            s3: self.s3.url(),
            opensearch: self.opensearch.url(),
        };
        let mut command = places.processor(env!("CARGO_BIN_EXE_rig_processor"), &self.kinesis);
        command.env("TWOSEC_WINDOW_SECONDS", "1").env("TWOSEC_FAILOVER_SECONDS", "2").env("TWOSEC_REDACT_KEYS", "");
        self.noting(command.arg("run"));
        command
    }

    /// What a program says goes into a file, which is shown if the test fails.
    fn noting<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let said = OpenOptions::new().create(true).append(true).open(self.said()).unwrap();
        command.env("TWOSEC_LOG", "info").stderr(said)
    }

    fn said(&self) -> PathBuf {
        self.host.path().join("said")
    }

    async fn wait_for(&self, documents: usize) {
        wait_until(&format!("{documents} documents are indexed"), || self.opensearch.count() >= documents).await;
        assert_eq!(self.opensearch.count(), documents);
    }

    /// How often each original line stands in the index.
    fn indexed(&self) -> BTreeMap<String, usize> {
        let indices = self.opensearch.indices();
        let documents = indices.values().flat_map(BTreeMap::values);
        counted(documents.map(|document| document["event"]["original"].as_str().unwrap().to_owned()))
    }

    /// How often each original line stands in the archive. Checks that the objects of
    /// each shard form one chain.
    fn archived(&self) -> BTreeMap<String, usize> {
        let mut ends: BTreeMap<String, Value> = BTreeMap::new();
        let mut lines = Vec::new();
        for (key, object) in self.s3.objects() {
            assert!(key.starts_with("raw/twosec/dt="), "{key}");
            let mut text = String::new();
            flate2::read::MultiGzDecoder::new(&object.bytes[..]).read_to_string(&mut text).unwrap();
            let mut rows = text.lines().map(|row| serde_json::from_str::<Value>(row).unwrap());
            let summary = rows.next().unwrap()["twosec_object"].clone();
            let shard = summary["shard"].as_str().unwrap().to_owned();
            let before = ends.insert(shard, summary["last_seq"].clone()).unwrap_or(Value::Null);
            assert_eq!(summary["prev_seq"], before, "{key} follows the object before it");
            let rows = rows.filter(|row| row["incident"].is_null());
            lines.extend(rows.map(|row| row["line"].as_str().unwrap().to_owned()));
        }
        counted(lines)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = fs::read_to_string(self.said()).unwrap_or_default();
            eprintln!("{said}\n{} documents are indexed", self.opensearch.count());
        }
    }
}

/// A program that is running; it is ended with its test.
struct Program(Child);

impl Program {
    /// SIGTERM, and the exit code that comes of it.
    fn stop(mut self) -> Option<i32> {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        self.0.wait().unwrap().code()
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn counted(lines: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_sample_is_once_in_the_archive_and_once_in_the_index() {
    let cloud = Cloud::with(Faults::default(), 2).await;
    let lines = sample();
    let (agent, processor) = (cloud.agent(), cloud.processor());
    for part in lines.chunks(600) {
        cloud.append(part);
        let written = counted(fs::read_to_string(cloud.log()).unwrap().lines().map(str::to_owned));
        cloud.wait_for(written.values().sum()).await;
    }
    assert_eq!((agent.stop(), processor.stop()), (Some(0), Some(0)));
    assert_eq!(cloud.indexed(), counted(lines.clone()));
    assert_eq!(cloud.archived(), counted(lines));
    assert!(!cloud.opensearch.incidents().is_empty(), "attackers are incidents");
    let names: Vec<_> = cloud.opensearch.indices().into_keys().collect();
    assert_eq!(names, ["twosec-2026.11.16"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_enhanced_fan_out_every_line_is_there_once_over_a_split_and_a_kill() {
    let cloud = Cloud::with(Faults { taken_subscriptions: 1, ..Faults::default() }, 1).await;
    let processor = || Program(cloud.processor_command().env("TWOSEC_FAN_OUT_CONSUMER", "processor").spawn().unwrap());
    let lines = sample();
    let (agent, first) = (cloud.agent(), processor());
    cloud.append(&lines[..800]);
    cloud.wait_for(800).await;
    cloud.kinesis.split_shard(STREAM, "shardId-000000000000").await;
    first.kill();
    let second = processor();
    cloud.append(&lines[800..1600]);
    cloud.wait_for(1600).await;
    assert_eq!((agent.stop(), second.stop()), (Some(0), Some(0)));
    assert_eq!(cloud.indexed(), counted(lines[..1600].to_vec()));
    assert_eq!(cloud.archived(), counted(lines[..1600].to_vec()));
    assert!(!cloud.kinesis.starting_positions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_lost_answers_and_kills_neither_lose_nor_double_a_line() {
    let faults =
        Faults { partial_puts: Some(3), lost_answers: Some(4), expired_iterators: Some(5), ..Faults::default() };
    let cloud = Cloud::with(faults, 2).await;
    let lines = sample();
    let mut agent = cloud.agent();
    let mut processor = cloud.processor();
    for (round, part) in lines.chunks(300).enumerate() {
        cloud.append(part);
        cloud.opensearch.fail_items([Fault::BUSY; 20]);
        cloud.opensearch.fail_requests([Fault::AWAY; 2]);
        if round % 2 == 1 {
            agent.kill();
            agent = cloud.agent();
        } else {
            // Its leases run out before another one takes them.
            processor.kill();
            processor = cloud.processor();
        }
        cloud.wait_for(300 * round + part.len()).await;
    }
    // What a killed processor had indexed and not archived is archived by its heir, once the
    // lease has run out.
    let distinct = counted(lines.clone()).len();
    wait_until("all lines are archived", || cloud.archived().len() == distinct).await;
    assert_eq!((agent.stop(), processor.stop()), (Some(0), Some(0)));
    assert_eq!(cloud.indexed(), counted(lines.clone()));
    // An answer that the agent never got makes a second record, and the archive is exact
    // per record.
    let archived = cloud.archived();
    let missing: Vec<_> = lines.iter().filter(|line| !archived.contains_key(*line)).collect();
    assert_eq!((missing, archived.len()), (Vec::new(), distinct));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_one_document_in_whatever_encoding_it_is_sent() {
    let cloud = Cloud::with(Faults::default(), 1).await;
    let lines = sample()[..1000].to_vec();
    cloud.append(&lines);
    let processor = cloud.processor();
    for (at, format) in ["frame", "ecs", "kpl", "cloudwatch_logs"].into_iter().enumerate() {
        cloud.configure(format);
        let agent = cloud.agent();
        cloud.wait_for(lines.len()).await;
        let known = (at * lines.len()) as u64;
        wait_until(&format!("the lines are known when {format} brings them"), || cloud.opensearch.conflicts() >= known)
            .await;
        assert_eq!(agent.stop(), Some(0));
    }
    assert_eq!(processor.stop(), Some(0));
    assert_eq!(cloud.indexed(), counted(lines.clone()));
    let archived = counted(lines).into_iter().map(|(line, times)| (line, 4 * times)).collect();
    assert_eq!(cloud.archived(), archived);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_split_is_read_to_its_end_and_its_children_after_it() {
    let cloud = Cloud::with(Faults::default(), 1).await;
    let lines = sample();
    let (agent, processor) = (cloud.agent(), cloud.processor());
    cloud.append(&lines[..500]);
    cloud.wait_for(500).await;
    cloud.kinesis.split_shard(STREAM, "shardId-000000000000").await;
    cloud.append(&lines[500..1000]);
    cloud.wait_for(1000).await;
    assert_eq!((agent.stop(), processor.stop()), (Some(0), Some(0)));
    assert_eq!(cloud.archived(), counted(lines[..1000].to_vec()));
}
