//! The processor against OpenSearch, S3, DynamoDB and Kinesis that somebody else wrote, with
//! trouble in between: `tests/live/servers up`, then `cargo test -p tests --features live --test
//! live_processor -- --nocapture --test-threads 1`. `TWOSEC_LIVE_LINES` sets how many lines the
//! story has (200,000).

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use agent::ship::kinesis::Kinesis;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::Shard;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use processor::index::opensearch::{Auth, OpenSearch};
use processor::index::{Index, Verdict};
use processor::receive::fan_out::FanOutFeed;
use processor::receive::kinesis::KinesisFeed;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tests::contract;
use tests::servers::dynamodb::{create_lease_table, lease_rows};
use tests::servers::kinesis::{Faults, KinesisServer};
use tests::servers::proxy::{self, Proxy};
use tests::servers::{self, Places, sdk_at};

#[path = "live_processor/dashboards.rs"]
mod dashboards;

const LINES_A_SECOND: usize = 2_500;

/// Between two kills of a processor.
const LIFE: Duration = Duration::from_secs(5);

/// How long OpenSearch is away.
const OUTAGE: Duration = Duration::from_secs(60);

/// How long the last lines may take after all trouble is over.
const PATIENCE: Duration = Duration::from_secs(240);

fn server(name: &str) -> String {
    let name = format!("TWOSEC_TEST_{name}");
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} names the server; see tests/live/servers"))
}

/// Has the servers' own program do something with them.
async fn servers_do(arguments: &[&str]) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/live/servers");
    let status = tokio::process::Command::new(program).args(arguments).status().await.unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

fn lines() -> usize {
    std::env::var("TWOSEC_LIVE_LINES").ok().map_or(200_000, |text| text.parse().unwrap())
}

/// All that a processor works with, under names that nobody else has.
struct World {
    name: String,
    folder: tempfile::TempDir,
    kinesis: KinesisServer,
    s3: Proxy,
    dynamodb: String,
    opensearch: String,
    http: reqwest::Client,
}

impl World {
    async fn with(shards: i32, s3: proxy::Faults) -> World {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let faults = Faults { expired_iterators: Some(50), ..Faults::default() };
        let world = World {
            name: format!("live-{now}"),
            folder: tempfile::tempdir().unwrap(),
            kinesis: KinesisServer::in_front_of(&server("KINESIS"), faults),
            s3: Proxy::in_front_of(&server("S3"), s3),
            dynamodb: server("DYNAMODB"),
            opensearch: server("OPENSEARCH"),
            http: reqwest::Client::new(),
        };
        world.kinesis.create_stream(&world.name, shards).await;
        create_lease_table(&aws_sdk_dynamodb::Client::new(&sdk_at(&world.dynamodb).await), &world.name).await;
        let bucket = format!("{}/{}", server("S3"), world.name);
        assert!(world.http.put(bucket).send().await.unwrap().status().is_success());
        world
    }

    fn processor(&self, arguments: &[&str]) -> Command {
        let places = Places {
            stream: &self.name,
            table: &self.name,
            bucket: &self.name,
            dynamodb: &self.dynamodb,
            s3: self.s3.url(),
            opensearch: &self.opensearch,
        };
        let mut command = places.processor(env!("CARGO_BIN_EXE_rig_processor"), &self.kinesis);
        command
            .env("TWOSEC_LOG", std::env::var("TWOSEC_LIVE_LOG").unwrap_or_else(|_| "off".to_owned()))
            .env("TWOSEC_INDEX_PREFIX", &self.name)
            .env("TWOSEC_WINDOW_SECONDS", "3")
            .env("TWOSEC_FAILOVER_SECONDS", "3")
            .args(arguments);
        command
    }

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

    /// An agent that tails `access.log`.
    fn agent(&self) -> Running {
        self.agent_with("")
    }

    /// The same, with more in its configuration.
    fn agent_with(&self, more: &str) -> Running {
        let folder = self.folder.path();
        let config = format!(
            "host_id = \"web-1\"\n[stream]\nname = \"{}\"\n[[file]]\npath = \"{}\"\n[spool]\npath = \"{}\"\n{more}",
            self.name,
            folder.join("access.log").display(),
            folder.join("spool").display()
        );
        std::fs::write(folder.join("agent.toml"), config).unwrap();
        let mut agent = servers::program(env!("CARGO_BIN_EXE_rig_agent"), &self.kinesis);
        Running(agent.args(["run", "--config"]).arg(folder.join("agent.toml")).spawn().unwrap())
    }

    /// Asks OpenSearch itself.
    async fn ask(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", server("OPENSEARCH"));
        let call = self.http.post(url).header("content-type", "application/json").body(body.to_string());
        serde_json::from_slice(&call.send().await.unwrap().bytes().await.unwrap()).unwrap()
    }

    /// Lines in the index, without incidents.
    async fn count(&self) -> usize {
        let is_incident = json!({"term": {"event.dataset": "twosec.incidents"}});
        let query = json!({"query": {"bool": {"must_not": is_incident}}});
        let path = format!("{}-*/_count?ignore_unavailable=true", self.name);
        self.ask(&path, query).await["count"].as_u64().unwrap_or(0) as usize
    }

    /// The index's lines by id. Incidents are left out.
    async fn indexed(&self) -> BTreeMap<String, String> {
        self.ask(&format!("{}-*/_refresh", self.name), json!({})).await;
        let is_incident = json!({"term": {"event.dataset": "twosec.incidents"}});
        let mut after = Value::Null;
        let mut found = BTreeMap::new();
        loop {
            let mut query = json!({
                "size": 5_000, "_source": ["event.original"], "sort": [{"event.id": "asc"}],
                "query": {"bool": {"must_not": is_incident}},
            });
            if !after.is_null() {
                query["search_after"] = after;
            }
            let answer = self.ask(&format!("{}-*/_search", self.name), query).await;
            let hits = answer["hits"]["hits"].as_array().unwrap_or_else(|| panic!("{answer}"));
            for hit in hits {
                let line = hit["_source"]["event"]["original"].as_str().unwrap().to_owned();
                assert_eq!(found.insert(hit["_id"].as_str().unwrap().to_owned(), line), None, "an id is there once");
            }
            match hits.last() {
                Some(last) => after = last["sort"].clone(),
                None => return found,
            }
        }
    }

    async fn wait_for(&self, lines: usize) {
        let (mut best, mut since) = (0, Instant::now());
        loop {
            let count = self.count().await;
            if count >= lines {
                return;
            }
            if count > best {
                (best, since) = (count, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{count} of {lines} lines are indexed, and no more come");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Proves the archive whole.
    async fn verify(&self) {
        let (code, verified) = self.report(&["verify"]).await;
        assert_eq!(code, Some(0), "{verified:#}");
        let count = |what: &str| {
            let shards = verified["shards"].as_object().unwrap().values();
            shards.filter_map(|shard| shard[what].as_u64()).sum::<u64>()
        };
        println!("verify: {} objects, {} records, {} lines", verified["objects"], count("records"), count("lines"));
    }

    /// Deletes the indices, and makes them again from the archive.
    async fn replay_into_nothing(&self) {
        let url = format!("{}/{}-*", server("OPENSEARCH"), self.name);
        assert!(self.http.delete(url).send().await.unwrap().status().is_success());
        let (code, replayed) = self.report(&["replay", "--from", &event::Day::of(0).to_string()]).await;
        assert_eq!(code, Some(0), "{replayed:#}");
    }

    async fn open_shards(&self) -> Vec<Shard> {
        let answer = self.kinesis.client().await.list_shards().stream_name(&self.name).send().await.unwrap();
        let is_open =
            |shard: &Shard| shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_none());
        answer.shards.unwrap_or_default().into_iter().filter(is_open).collect()
    }
}

/// A program that ends with its test.
struct Running(Child);

impl Running {
    /// SIGTERM; the exit code, and how long it took.
    async fn stop(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        let code = tokio::task::spawn_blocking(move || self.0.wait().unwrap().code()).await.unwrap();
        (code, begun.elapsed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A line that no other is like; every seventh is an attack.
fn line(number: usize) -> String {
    let now = event_time();
    let target = match number % 7 {
        0 => format!("/vulnerabilities/sqli/?id={number}%27+OR+%271%27%3D%271&Submit=Submit"),
        1 => format!("/page/{number}?sort=price"),
        _ => format!("/index.php?n={number}"),
    };
    let host = number % 200 + 1;
    format!(
        "198.51.100.{host} - - [{now}] \"GET {target} HTTP/1.1\" 200 5{} \"-\" \"Mozilla/5.0 (live)\"",
        number % 1_000
    )
}

/// Now, as Apache writes it.
fn event_time() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let day = event::Day::of(seconds * 1_000).to_string();
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        [day[5..7].parse::<usize>().unwrap() - 1];
    let clock = seconds % 86_400;
    let (hours, minutes, seconds) = (clock / 3_600, clock / 60 % 60, clock % 60);
    format!("{}/{month}/{}:{hours:02}:{minutes:02}:{seconds:02} +0000", &day[8..10], &day[..4])
}

/// Writes a log at a steady pace.
fn write(path: std::path::PathBuf, lines: usize, written: &AtomicBool) -> BTreeSet<String> {
    let mut log = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let begun = Instant::now();
    let mut all = BTreeSet::new();
    for first in (0..lines).step_by(LINES_A_SECOND / 10) {
        let some: Vec<String> = (first..lines.min(first + LINES_A_SECOND / 10)).map(line).collect();
        let text: String = some.iter().map(|line| format!("{line}\n")).collect();
        log.write_all(text.as_bytes()).unwrap();
        all.extend(some);
        // The story's pace, which is part of the plan.
        let due = Duration::from_millis(1_000 * all.len() as u64 / LINES_A_SECOND as u64);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    written.store(true, Ordering::Release);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_in_the_index_once_whatever_is_killed_and_split_and_away() {
    let faults = proxy::Faults { unavailable_puts: Some(5), lost_answers: Some(7), cut_gets: Some(6) };
    let world = Arc::new(World::with(4, faults).await);
    let (code, made) = world.report(&["setup", "--allow-missing"]).await;
    assert_eq!(code, Some(0), "{made}");

    let written = Arc::new(AtomicBool::new(false));
    let (path, is_written) = (world.folder.path().join("access.log"), Arc::clone(&written));
    let writer = std::thread::spawn(move || write(path, lines(), &is_written));
    let agent = world.agent();
    let begun = Instant::now();

    let outage = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        servers_do(&["kill", "opensearch"]).await;
        tokio::time::sleep(OUTAGE).await;
        servers_do(&["again"]).await;
    });
    let resharding = {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let shards = world.open_shards().await;
            world.kinesis.split_shard_in_half(&world.name, &shards[0]).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            let shards = world.open_shards().await;
            world.kinesis.merge_neighbours(&world.name, &shards).await;
        })
    };
    let mut processors = [(); 2].map(|()| Running(world.processor(&["run"]).spawn().unwrap()));
    let mut kills = 0;
    while !written.load(Ordering::Acquire) || !outage.is_finished() {
        // A kill is to come at a time that the processor knows nothing of.
        tokio::time::sleep(LIFE).await;
        processors[kills % 2] = Running(world.processor(&["run"]).spawn().unwrap());
        kills += 1;
    }
    outage.await.unwrap();
    resharding.await.unwrap();
    let lines = tokio::task::spawn_blocking(move || writer.join().unwrap()).await.unwrap();
    println!("{} lines written in {:?}, {kills} kills", lines.len(), begun.elapsed());
    world.wait_for(lines.len()).await;
    println!("all indexed after {:?}; S3 made trouble {} times", begun.elapsed(), world.s3.troubles());

    let indexed = world.indexed().await;
    let found: BTreeSet<&String> = indexed.values().collect();
    assert_eq!(found.len(), indexed.len(), "no line is in the index twice");
    assert!(lines.iter().all(|line| found.contains(line)), "every line is in the index");
    assert_eq!(indexed.len(), lines.len(), "nothing else is in the index");

    assert_eq!(agent.stop().await.0, Some(0));
    for processor in processors {
        let (code, took) = processor.stop().await;
        println!("a processor stopped after {took:?}");
        assert_eq!(code, Some(0));
    }
    world.verify().await;
    world.replay_into_nothing().await;
    assert_eq!(world.indexed().await, indexed, "the same lines have the same ids");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_setup_finds_everything_as_wanted() {
    let world = World::with(1, proxy::Faults::default()).await;
    let (code, dry) = world.report(&["setup", "--allow-missing", "--dry-run", "--retention-days", "30"]).await;
    assert_eq!((code, &dry["parts"][0]["action"]), (Some(0), &json!("made")), "{dry:#}");
    let (code, first) = world.report(&["setup", "--allow-missing"]).await;
    assert_eq!(
        (code, &first["parts"][0]["action"]),
        (Some(0), &json!("made")),
        "a dry run had made nothing: {first:#}"
    );
    let (code, second) = world.report(&["setup", "--allow-missing", "--retention-days", "30"]).await;
    assert_eq!(code, Some(0), "{second:#}");
    let actions: Vec<&Value> = second["parts"].as_array().unwrap().iter().map(|part| &part["action"]).collect();
    // This server has no ISM.
    assert_eq!(actions, ["same", "same", "same", "missing"], "{second:#}");
    let (code, told) = world.report(&["setup", "--allow-missing", "--alerts-to", "https://tell.example"]).await;
    assert_eq!(code, Some(0), "{told:#}");
    // Nor can it tell anybody: a channel and two monitors.
    assert!(told["parts"].as_array().unwrap()[3..].iter().all(|part| part["action"] == "missing"), "{told:#}");
    let (code, _) = world.report(&["setup", "--retention-days", "30"]).await;
    assert_eq!(code, Some(1), "a missing plugin is told by the exit code, unless that is allowed");
}

#[tokio::test]
async fn documents_of_an_index_whose_shard_is_away_keep_others_waiting_for_some_seconds_at_most() {
    let world = World::with(1, proxy::Faults::default()).await;
    let day = |day| {
        let mut item = contract::item(day);
        item.index = format!("{}-{day}", world.name);
        item
    };
    let (red, green) = (day(1), day(2));
    let nowhere = json!({"settings": {"index.routing.allocation.require._name": "nobody"}});
    let url = format!("{}/{}?wait_for_active_shards=0", server("OPENSEARCH"), red.index);
    let call = world.http.put(&url).header("content-type", "application/json").body(nowhere.to_string());
    assert!(call.send().await.unwrap().status().is_success());
    let index = OpenSearch::new(&server("OPENSEARCH"), Auth::None).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(50), index.bulk(&[red, green])).await;
    // A cluster with a red index is red.
    assert!(world.http.delete(url.split('?').next().unwrap()).send().await.unwrap().status().is_success());
    let verdicts = answer.expect("OpenSearch would wait for a minute").unwrap();
    assert!(matches!(&verdicts[..], [Verdict::Unavailable(_), Verdict::Done { created: true }]), "{verdicts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_is_told_to_stop_hands_its_shards_over_within_seconds() {
    let world = World::with(2, proxy::Faults::default()).await;
    let agent = world.agent();
    let written = AtomicBool::new(false);
    let first = Running(world.processor(&["run"]).spawn().unwrap());
    let some = write(world.folder.path().join("access.log"), LINES_A_SECOND, &written);
    world.wait_for(some.len()).await;
    let client = aws_sdk_dynamodb::Client::new(&sdk_at(&world.dynamodb).await);
    let owners = async || -> BTreeSet<Option<String>> {
        let rows = lease_rows(&client, &world.name).await;
        rows.into_iter().map(|row| row.get("leaseOwner").cloned()).collect()
    };
    let old = owners().await;
    assert!(old.len() == 1 && !old.contains(&None), "{old:?}");
    let second = Running(world.processor(&["run"]).spawn().unwrap());
    let (code, took) = first.stop().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(60), "{took:?}");
    let begun = Instant::now();
    let left = owners().await;
    assert!(left.is_disjoint(&old), "what it had it has given back before it ended: {left:?}");
    let owners = loop {
        let owners = owners().await;
        if owners.len() == 1 && !owners.contains(&None) {
            break owners;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "all shards have a new owner: {owners:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    println!("stopped after {took:?}; {owners:?} had all shards {:?} later", begun.elapsed());
    drop(second);
    drop(agent);
}

#[tokio::test]
async fn enhanced_fan_out_gives_records_in_order_from_anywhere() {
    let world = World::with(1, proxy::Faults::default()).await;
    let config = sdk_at(&server("KINESIS")).await;
    let uplink = Kinesis::new(&config, &world.name);
    let feed = FanOutFeed::new(KinesisFeed::connect(&config, &world.name), "processor");
    contract::records_are_read_in_order_from_anywhere(&uplink, &feed, |_| ()).await;
}

/// What a program prints that somebody else wrote.
fn others(name: &str, arguments: &[&str], input: &str) -> String {
    let command = server(name);
    let mut words = command.split(' ');
    let mut program = Command::new(words.next().unwrap());
    program.args(words).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = program.spawn().unwrap();
    program.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success(), "{command} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_producers_write_is_indexed_line_by_line() {
    let world = World::with(1, proxy::Faults::default()).await;
    let client = world.kinesis.client().await;
    let (code, made) = world.report(&["setup", "--allow-missing"]).await;
    assert_eq!(code, Some(0), "{made}");
    let lines: Vec<String> = (0..100).map(line).collect();
    let (aggregated, subscribed) = lines.split_at(50);
    let mut records = others("WRITERS", &["kpl"], &aggregated.join("\n"));
    records += &others("WRITERS", &["cloudwatch_logs", &server("S3")], &subscribed.join("\n"));
    for record in records.lines() {
        let data = Blob::new(BASE64.decode(record).unwrap());
        client.put_record().stream_name(&world.name).partition_key("k").data(data).send().await.unwrap();
    }
    let processor = Running(world.processor(&["run"]).spawn().unwrap());
    world.wait_for(lines.len()).await;
    let indexed: BTreeSet<String> = world.indexed().await.into_values().collect();
    assert_eq!(indexed, lines.into_iter().collect());
    assert_eq!(processor.stop().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kinesis_client_library_reads_the_lease_table() {
    let world = World::with(2, proxy::Faults::default()).await;
    let agent = world.agent();
    let processor = Running(world.processor(&["run"]).spawn().unwrap());
    let lines = write(world.folder.path().join("access.log"), 200, &AtomicBool::new(false));
    world.wait_for(lines.len()).await;
    let shards = world.open_shards().await;
    world.kinesis.split_shard_in_half(&world.name, &shards[0]).await;
    let client = aws_sdk_dynamodb::Client::new(&sdk_at(&world.dynamodb).await);
    let begun = Instant::now();
    loop {
        let rows = lease_rows(&client, &world.name).await;
        if rows.len() == 4 && rows.iter().any(|row| row["checkpoint"] == "SHARD_END") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the children's rows are made: {rows:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let table = || others("LEASE_READER", &[&world.dynamodb, &world.name], "");
    let owners = |table: &str| table.lines().filter(|row| row.split('\t').nth(1) != Some("null")).count();
    let owned = table();
    assert!(owners(&owned) >= 3, "{owned}");
    // No row changes while it is compared.
    assert_eq!(processor.stop().await.0, Some(0));
    drop(agent);
    let left = table();
    assert_eq!(owners(&left), 0, "a processor that has stopped owns nothing: {left}");
    for row in lease_rows(&client, &world.name).await {
        let read = left.lines().find(|read| read.starts_with(&format!("{}\t", row["leaseKey"]))).unwrap();
        let [_, _, counter, checkpoint, parents, children, range] = read.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{read}")
        };
        assert!(counter.parse::<u64>().unwrap() > 0, "{read}");
        assert_eq!(checkpoint, row["checkpoint"], "{read}");
        assert_eq!(range, format!("{}-{}", row["startingHashKey"], row["endingHashKey"]), "{read}");
        let is_first = shards.iter().any(|shard| shard.shard_id() == row["leaseKey"]);
        assert_eq!(parents, if is_first { "" } else { shards[0].shard_id() }, "{read}");
        let is_split = row["leaseKey"] == shards[0].shard_id();
        assert_eq!(children.split(',').filter(|id| !id.is_empty()).count(), if is_split { 2 } else { 0 }, "{read}");
    }
}
