//! What the archive is for: the index can be made again from it, and whoever touches it is
//! found out.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tests::servers::dynamodb::DynamoServer;
use tests::servers::kinesis::{Faults, KinesisServer};
use tests::servers::opensearch::{Fault, OpenSearchServer};
use tests::servers::s3::{S3Server, Stored};
use tests::servers::{self, Places};
use tests::wait_until;

const STREAM: &str = "twosec";
const TABLE: &str = "twosec-leases";
const BUCKET: &str = "twosec-archive";

/// An exit code of sysexits(3): try again.
const EX_TEMPFAIL: i32 = 75;

/// The services, after a log has gone through them.
struct Cloud {
    host: tempfile::TempDir,
    kinesis: KinesisServer,
    dynamodb: DynamoServer,
    s3: S3Server,
    opensearch: OpenSearchServer,
}

impl Cloud {
    /// Sends the beginning of the sample through both programs, in several objects.
    async fn after_the_sample() -> Cloud {
        let cloud = Cloud {
            host: tempfile::tempdir().unwrap(),
            kinesis: KinesisServer::start(Faults::default()).await,
            dynamodb: DynamoServer::start().await,
            s3: S3Server::with_pages_of(BUCKET, 2).await,
            opensearch: OpenSearchServer::start().await,
        };
        cloud.kinesis.create_stream(STREAM, 1).await;
        cloud.dynamodb.create_table(TABLE).await;
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dvwa/access.log");
        let lines: Vec<String> = fs::read_to_string(sample).unwrap().lines().take(900).map(str::to_owned).collect();
        let (agent, processor) = (cloud.agent(), cloud.processor(&["run"]).spawn().unwrap());
        for (at, part) in lines.chunks(150).enumerate() {
            cloud.append(part);
            let what = "another object is archived and indexed";
            let (objects, documents) = (at + 1, 150 * (at + 1));
            wait_until(what, || cloud.s3.objects().len() >= objects && cloud.opensearch.count() == documents).await;
        }
        assert_eq!((stop(agent), stop(processor)), (Some(0), Some(0)));
        cloud
    }

    fn append(&self, lines: &[String]) {
        let log = self.host.path().join("access.log");
        let mut file = OpenOptions::new().create(true).append(true).open(log).unwrap();
        file.write_all(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes()).unwrap();
    }

    fn agent(&self) -> Child {
        let folder = self.host.path();
        let config = format!(
            "host_id = \"web-1\"\n[stream]\nname = \"{STREAM}\"\n[[file]]\npath = \"{}\"\n[spool]\npath = \"{}\"\n",
            folder.join("access.log").display(),
            folder.join("spool").display()
        );
        fs::write(folder.join("agent.toml"), config).unwrap();
        let mut agent = servers::program(env!("CARGO_BIN_EXE_rig_agent"), &self.kinesis);
        agent.args(["run", "--config"]).arg(folder.join("agent.toml")).spawn().unwrap()
    }

    fn processor(&self, arguments: &[&str]) -> Command {
        let places = Places {
            stream: STREAM,
            table: TABLE,
            bucket: BUCKET,
            dynamodb: self.dynamodb.url(),
            s3: self.s3.url(),
            opensearch: self.opensearch.url(),
        };
        let mut command = places.processor(env!("CARGO_BIN_EXE_rig_processor"), &self.kinesis);
        command.env("TWOSEC_WINDOW_SECONDS", "1").env("TWOSEC_FAILOVER_SECONDS", "2").args(arguments);
        command
    }

    /// Runs a command to its end, beside the servers.
    async fn ended(&self, arguments: &[&str]) -> Output {
        let mut command = self.processor(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The exit code of a command, and its report.
    async fn report(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.ended(&[arguments, &["--json"]].concat()).await;
        let told = String::from_utf8_lossy(&output.stderr);
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}")))
    }

    /// What `verify` finds, as people read it.
    async fn found(&self) -> Vec<String> {
        let output = self.ended(&["verify"]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let kinds = ["missing ", "added ", "altered ", "unopened "];
        let found: Vec<String> =
            text.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind))).map(str::to_owned).collect();
        assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())), "{text}");
        found
    }
}

fn stop(mut program: Child) -> Option<i32> {
    assert!(Command::new("kill").arg(program.id().to_string()).status().unwrap().success());
    program.wait().unwrap().code()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_deleted_is_made_again_from_the_archive() {
    let cloud = Cloud::after_the_sample().await;
    let (indices, incidents) = (cloud.opensearch.indices(), cloud.opensearch.incidents());
    assert!(!incidents.is_empty());
    cloud.opensearch.delete_indices();
    let (code, report) = cloud.report(&["replay", "--from", "2026-01-01"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert!(cloud.opensearch.indices() == indices, "ids and documents are the same");
    assert!(cloud.opensearch.incidents() == incidents, "each incident in its last revision");
    let (_, again) = cloud.report(&["replay", "--from", "2026-01-01"]).await;
    assert_eq!(again["documents"], report["documents"]);
    assert!(cloud.opensearch.indices() == indices, "ids and documents are the same");

    let (code, _) = cloud.report(&["replay", "--from", "2026-01-01", "--index-prefix", "again"]).await;
    assert_eq!(code, Some(0));
    let both = cloud.opensearch.indices();
    assert!(both["again-2026.11.16"] == both["twosec-2026.11.16"]);

    cloud.opensearch.delete_indices();
    let (code, dry) = cloud.report(&["replay", "--from", "2026-01-01", "--dry-run"]).await;
    assert_eq!((code, &dry["documents"]), (Some(0), &report["documents"]));
    assert_eq!(cloud.opensearch.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_judged_anew_keep_their_ids() {
    let cloud = Cloud::after_the_sample().await;
    let indices = cloud.opensearch.indices();
    let (code, report) = cloud.report(&["replay", "--from", "2026-01-01", "--reclassify"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["reclassified"]["lines"], 900);
    assert_eq!(report["reclassified"]["changed"], 0, "the rules are those of the agent");
    assert!(cloud.opensearch.indices() == indices, "ids and documents are the same");
    let (_, late) = cloud.report(&["replay", "--from", "2026-01-01"]).await;
    assert!(late["known"].as_u64() >= Some(900), "what older rules made comes too late: {late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_told_to_stop_goes_on_with_the_same_command() {
    let cloud = Cloud::after_the_sample().await;
    let (indices, requests) = (cloud.opensearch.indices(), cloud.opensearch.requests());
    cloud.opensearch.delete_indices();
    let state = cloud.host.path().join("replay.json");
    let command = ["replay", "--from", "2026-01-01", "--state", state.to_str().unwrap()];
    cloud.opensearch.fail_requests(vec![Fault::AWAY; 10_000]);
    let replay = cloud.processor(&command).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the replay asks the index", || cloud.opensearch.requests() > requests).await;
    assert_eq!(stop(replay), Some(EX_TEMPFAIL));
    assert!(state.exists());
    cloud.opensearch.heal();
    let (code, _) = cloud.report(&command).await;
    assert_eq!((code, state.exists()), (Some(0), false));
    assert!(cloud.opensearch.indices() == indices, "ids and documents are the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_refused_is_there_once_it_is_mended() {
    let cloud = Cloud::after_the_sample().await;
    let indices = cloud.opensearch.indices();
    cloud.opensearch.delete_indices();
    cloud.opensearch.fail_items([Fault { status: 400, kind: "mapper_parsing_exception" }; 3]);
    let (code, report) = cloud.report(&["replay", "--from", "2026-01-01"]).await;
    assert_eq!((code, &report["refused"]), (Some(1), &Value::from(3)));
    let (_, dry) = cloud.report(&["redrive", "--dry-run"]).await;
    assert_eq!((&dry["documents"], &dry["put"]), (&Value::from(3), &Value::from(0)));
    for (put, known) in [(3, 0), (0, 3)] {
        let (code, report) = cloud.report(&["redrive"]).await;
        assert_eq!((code, &report["put"], &report["known"]), (Some(0), &Value::from(put), &Value::from(known)));
    }
    assert!(cloud.opensearch.indices() == indices, "ids and documents are the same");
    assert_eq!(cloud.found().await, [""; 0], "dead letters are no part of the chain");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_are_told_with_their_cursors() {
    let cloud = Cloud::after_the_sample().await;
    let (code, report) = cloud.report(&["shards"]).await;
    let shard = &report["shards"][0];
    assert_eq!((code, shard["shard"].as_str()), (Some(0), Some("shardId-000000000000")));
    assert_eq!((&shard["owner"], &shard["is_index_in_step"]), (&Value::Null, &Value::from(true)));
    let (_, verified) = cloud.report(&["verify"]).await;
    assert_eq!(shard["checkpoint"], verified["shards"]["shardId-000000000000"]["last_seq"]);
}

/// The object with other bytes, as if somebody had put them there: S3 makes a checksum of its own.
fn with_bytes(object: &Stored, bytes: Vec<u8>) -> Stored {
    let mut headers = object.headers.clone();
    headers.remove("x-amz-checksum-crc32c");
    Stored { bytes: bytes.into(), headers }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_altered_or_added_object_is_named() {
    let cloud = Cloud::after_the_sample().await;
    let (code, report) = cloud.report(&["verify"]).await;
    assert_eq!((code, &report["findings"]), (Some(0), &Value::from([0; 0])));
    let shard = "shardId-000000000000";
    let objects: Vec<(String, Stored)> = cloud.s3.objects().into_iter().collect();
    assert_eq!(report["shards"][shard]["objects"], objects.len());
    assert_eq!(report["shards"][shard]["checkpoint"], report["shards"][shard]["last_seq"]);

    for at in 0..objects.len() {
        let (key, object) = &objects[at];
        cloud.s3.remove(key).unwrap();
        let found = cloud.found().await;
        let next = objects.get(at + 1).map_or("the lease says that it was archived", |(next, _)| next);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("missing ") && found[0].contains(next), "{found:?}");
        cloud.s3.put(key, object.clone());
    }

    let (key, object) = &objects[2];
    let half = object.bytes[..object.bytes.len() / 2].to_vec();
    cloud.s3.put(key, with_bytes(object, half));
    assert!(cloud.found().await[0].starts_with(&format!("altered   {key}: it cannot be unpacked")));
    let mut without_metadata = object.clone();
    without_metadata.headers.clear();
    cloud.s3.put(key, without_metadata);
    assert!(cloud.found().await[0].starts_with(&format!("altered   {key}: its metadata say nothing for ")));
    cloud.s3.put(key, with_bytes(object, objects[3].1.bytes.to_vec()));
    assert!(cloud.found().await.iter().any(|told| told.starts_with(&format!("altered   {key}: "))));
    cloud.s3.put(key, object.clone());

    let copy = key.replace(".ndjson.gz", "0.ndjson.gz");
    cloud.s3.put(&copy, object.clone());
    let found = cloud.found().await;
    assert!(
        found.iter().any(|told| told.starts_with(&format!("altered   {copy}: its first line says that it is {key}")))
    );
    assert!(
        found.iter().any(|told| told.starts_with("added ") && told.contains(&copy) && told.contains(key)),
        "{found:?}"
    );
    cloud.s3.remove(&copy).unwrap();
    let stray = format!("raw/{STREAM}/notes.txt");
    cloud.s3.put(&stray, object.clone());
    assert_eq!(cloud.found().await, [format!("added     {stray}: its key is none of this program's")]);
    cloud.s3.remove(&stray).unwrap();
    assert_eq!(cloud.found().await, [""; 0]);
}

/// `twosec` with these arguments, on a folder.
fn twosec(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rig_twosec"));
    let output = command.args(arguments).arg("--data").arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// What a command prints, in an order that does not depend on the index.
fn told(data: &Path, arguments: &[&str]) -> Vec<String> {
    let output = String::from_utf8(twosec(data, arguments).stdout).unwrap();
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn documents(data: &Path) -> Vec<String> {
    told(data, &["search", "", "--json", "--limit", "10000"])
}

fn incidents(data: &Path) -> Vec<String> {
    told(data, &["incidents", "--json"])
}

#[test]
fn twosec_makes_its_index_anew_from_its_archive_whatever_became_of_the_old_one() {
    let data = tempfile::tempdir().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dvwa/access.log");
    twosec(data.path(), &["--once", sample.to_str().unwrap()]);
    let (lines, attackers) = (documents(data.path()), incidents(data.path()));
    assert_eq!((lines.len(), attackers.is_empty()), (2_404, false));
    let index = data.path().join("index");
    for trouble in 0..3 {
        match trouble {
            0 => {}
            1 => fs::write(index.join("meta.json"), "of another version").unwrap(),
            _ => fs::remove_dir_all(&index).unwrap(),
        }
        let report = twosec(data.path(), &["reclassify", "--json"]).stdout;
        let report: Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["reclassified"]["lines"], 2_404);
        assert_eq!(report["reclassified"]["changed"], 0, "the rules are those that judged them");
        assert!(documents(data.path()) == lines, "documents are the same");
        assert!(incidents(data.path()) == attackers, "incidents are the same");
    }
    let again = twosec(data.path(), &["--once", "--json", sample.to_str().unwrap()]).stdout;
    assert_eq!(serde_json::from_slice::<Value>(&again).unwrap()["new_lines"], 0, "and goes on where it was");
    assert!(documents(data.path()) == lines, "documents are the same");
}
