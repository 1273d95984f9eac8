//! The agent as a service of a host, run as users run it.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use axum::extract::Path as UrlPath;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tests::servers;
use tests::servers::kinesis::{Faults, KinesisServer};
use tests::wait_until;

const STREAM: &str = "twosec";
const LINE: &str = r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 5 "-" "-""#;

/// A host with a log, and a stream.
struct Host {
    folder: tempfile::TempDir,
    kinesis: KinesisServer,
}

impl Host {
    async fn new() -> Host {
        let host =
            Host { folder: tempfile::tempdir().unwrap(), kinesis: KinesisServer::start(Faults::default()).await };
        host.kinesis.create_stream(STREAM, 2).await;
        host.configure("access.log");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, log: &str) {
        let (log, rules, state) = (self.path(log), self.path("rules.d"), self.path("state"));
        let config = format!(
            "host_id = \"web-1\"\n[stream]\nname = \"{STREAM}\"\n[[file]]\npath = \"{}\"\n[rules]\npath = \"{}\"\n[redact]\nkeys = []\n[spool]\npath = \"{}\"\n",
            log.display(),
            rules.display(),
            state.display()
        );
        fs::write(self.path("agent.toml"), config).unwrap();
    }

    fn append(&self, name: &str, lines: usize) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(format!("{LINE}\n").repeat(lines).as_bytes()).unwrap();
    }

    fn command(&self, what: &str) -> Command {
        let mut command = servers::program(env!("CARGO_BIN_EXE_rig_agent"), &self.kinesis);
        command.arg(what).arg("--config").arg(self.path("agent.toml")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self) -> Agent {
        Agent(self.command("run").spawn().unwrap())
    }

    fn status(&self) -> Option<Value> {
        let output = self.command("status").arg("--json").output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    async fn wait_for(&self, lines: usize) {
        wait_until(&format!("{lines} lines are in the stream"), || {
            self.status().is_some_and(|status| status["lines"] == lines && status["files"][0]["lag_bytes"] == 0)
        })
        .await;
    }

    /// Ends the agent; what it has put is then in the stream.
    async fn records(&self) -> usize {
        self.kinesis.records(STREAM).await.iter().map(|record| event::frame::decode(record).unwrap().1.len()).sum()
    }
}

struct Agent(Child);

impl Agent {
    fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(name).arg(self.0.id().to_string()).status().unwrap().success());
    }

    fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.0.wait().unwrap().code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_flushes_what_was_read() {
    let host = Host::new().await;
    let agent = host.run();
    host.append("access.log", 500);
    host.wait_for(500).await;
    assert_eq!(agent.stop(), Some(0));
    assert_eq!(host.records().await, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_were_written_just_before_sigterm_are_shipped() {
    let host = Host::new().await;
    let agent = host.run();
    host.append("access.log", 1);
    host.wait_for(1).await;
    host.append("access.log", 200);
    assert_eq!(agent.stop(), Some(0));
    assert_eq!(host.records().await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_is_told_who_has_the_spool() {
    let host = Host::new().await;
    let agent = host.run();
    host.append("access.log", 1);
    host.wait_for(1).await;
    let Output { status, stderr, .. } = host.command("run").output().unwrap();
    let expected = format!(
        "twosec-agent: the agent's folder cannot be used: `{}` is in use by process {}; stop it, or use another folder\n",
        host.path("state").display(),
        agent.0.id()
    );
    assert_eq!((status.code(), text(&stderr)), (Some(75), expected));
    host.append("access.log", 1);
    host.wait_for(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_brings_a_new_configuration_and_a_bad_one_changes_nothing() {
    let host = Host::new().await;
    let agent = host.run();
    host.append("access.log", 3);
    host.wait_for(3).await;
    host.configure("other.log");
    host.append("other.log", 4);
    agent.signal("-HUP");
    host.wait_for(7).await;
    fs::write(host.path("agent.toml"), "stream = 7").unwrap();
    agent.signal("-HUP");
    host.append("other.log", 2);
    host.configure("other.log");
    host.wait_for(9).await;
    assert_eq!(agent.stop(), Some(0));
    assert_eq!(host.records().await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_users_rules_again_and_status_tells_what_is_not_used() {
    let host = Host::new().await;
    fs::create_dir(host.path("rules.d")).unwrap();
    let agent = host.run();
    host.append("access.log", 1);
    host.wait_for(1).await;
    let embedded = host.status().unwrap()["rules"]["ruleset"].as_str().unwrap().to_owned();
    let rule = "[[rule]]\nid = \"own-front-page\"\nabout = \"The front page.\"\ncategory = \"recon\"\nconfidence = \"low\"\n\
                score = 50\nwhere = [\"url.path\"]\nliterals = [\"/\"]\nregex = '^/$'\nexamples = [\"/\"]\n";
    fs::write(host.path("rules.d/own.toml"), format!("{rule}\n[[rule]]\nid = \"Bad\"\n")).unwrap();
    agent.signal("-HUP");
    wait_until("the new rules are in use", || {
        host.status().is_some_and(|status| {
            let rules = &status["rules"];
            rules["ruleset"].as_str().is_some_and(|version| version.starts_with(&format!("{embedded}+")))
                && rules["refused"][0].as_str().is_some_and(|reason| reason.contains("own.toml:12: missing field"))
        })
    })
    .await;
    host.append("access.log", 1);
    host.wait_for(2).await;
    assert_eq!(agent.stop(), Some(0));
    let records = host.kinesis.records(STREAM).await;
    let events = records.iter().flat_map(|record| event::frame::decode(record).unwrap().1);
    let rules: Vec<_> = events
        .filter(|event| event.incident.is_none())
        .map(|event| event.attack.map(|attack| attack.findings[0].rule.clone()))
        .collect();
    assert_eq!(rules, [None, Some("own-front-page".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_two_revisions_neither_doubles_nor_loses_an_incident() {
    let host = Host::new().await;
    let mut written = 0;
    for round in 0..6 {
        let agent = host.run();
        let attack = |n: u32| {
            let line = LINE.replace("GET /", &format!("GET /item?id={n}%27+union+select+1,2--+"));
            format!("{line}\n")
        };
        let more = if round < 3 { 27 } else { 26 };
        let lines: String = (written..written + more).map(attack).collect();
        written += more;
        let mut log = OpenOptions::new().create(true).append(true).open(host.path("access.log")).unwrap();
        log.write_all(lines.as_bytes()).unwrap();
        wait_until("all is read", || {
            host.status().is_some_and(|status| {
                status["files"][0]["size"].as_u64() > Some(0) && status["files"][0]["lag_bytes"] == 0
            })
        })
        .await;
        match round {
            5 => assert_eq!(agent.stop(), Some(0)),
            _ => drop(agent),
        }
    }
    let records = host.kinesis.records(STREAM).await;
    let events: Vec<_> = records.iter().flat_map(|record| event::frame::decode(record).unwrap().1).collect();
    let (revisions, lines): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event.incident.is_some());
    let ids: BTreeSet<_> = lines.iter().map(|event| event.id(&event.parsed())).collect();
    assert_eq!(ids.len(), 159);
    let incidents: Vec<_> = revisions.into_iter().filter_map(|event| event.incident).collect();
    let first = &incidents[0];
    assert!(incidents.iter().all(|incident| incident.id == first.id), "{incidents:#?}");
    let tags: BTreeSet<_> = lines.iter().map(|event| event.context.as_ref().unwrap().incident).collect();
    assert_eq!(tags, [Some(first.id)].into(), "each of its lines names it");
    // It is told of when it is known for a tool, after ten findings, and whenever they have
    // doubled. A line that was counted twice would make it 160.
    let last = incidents.iter().max_by_key(|incident| incident.revision).unwrap();
    assert_eq!((last.findings, last.requests), (80, 80), "{last:#?}");
    // What was told twice was told alike.
    for incident in &incidents {
        assert!(incidents.iter().all(|other| other.revision != incident.revision || other == incident));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_into_the_spool_while_the_stream_is_missing() {
    let mut host = Host::new().await;
    host.configure("access.log");
    let config = fs::read_to_string(host.path("agent.toml")).unwrap();
    fs::write(host.path("agent.toml"), config.replace(STREAM, "missing")).unwrap();
    let agent = host.run();
    host.append("access.log", 5);
    host.wait_for(5).await;
    wait_until("status names the trouble", || {
        let status = host.status().unwrap();
        status["stream"]["trouble"]["reason"].as_str().is_some_and(|reason| {
            reason.contains("there is no stream `missing` in this region and account; set `stream.name`")
        })
    })
    .await;
    let human = host.command("status").output().unwrap();
    assert_eq!(human.status.code(), Some(1), "{}", text(&human.stdout));
    fs::remove_file(host.path("access.log")).unwrap();
    host.kinesis.create_stream("missing", 1).await;
    wait_until("the stream has recovered", || host.status().unwrap()["stream"]["trouble"].is_null()).await;
    assert_eq!(agent.stop(), Some(0));
    let records = host.kinesis.records("missing").await;
    assert_eq!(records.iter().map(|record| event::frame::decode(record).unwrap().1.len()).sum::<usize>(), 5);
    host.kinesis = KinesisServer::start(Faults::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_when_no_agent_runs() {
    let host = Host::new().await;
    let Output { status, stderr, .. } = host.command("status").output().unwrap();
    assert_eq!(status.code(), Some(69), "{}", text(&stderr));
    assert!(text(&stderr).contains(host.path("state").to_str().unwrap()), "{}", text(&stderr));
}

/// The instance metadata service, version 2: nothing without a token.
async fn imds() -> String {
    const TOKEN: &str = "a-token";
    async fn token() -> ([(&'static str, &'static str); 1], &'static str) {
        ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], TOKEN)
    }
    async fn document(UrlPath(path): UrlPath<String>, headers: HeaderMap) -> Result<&'static str, StatusCode> {
        if headers.get("x-aws-ec2-metadata-token").is_none_or(|token| token != TOKEN) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        match path.as_str() {
            "dynamic/instance-identity/document" => Ok(
                r#"{"instanceId":"i-0abc","region":"eu-central-1","availabilityZone":"eu-central-1b","accountId":"123456789012","instanceType":"t4g.small","imageId":"ami-1"}"#,
            ),
            _ => Err(StatusCode::NOT_FOUND),
        }
    }
    let app = axum::Router::new().route("/latest/api/token", put(token)).route("/latest/{*path}", get(document));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_the_instance_that_the_metadata_service_names() {
    let host = Host::new().await;
    let url = imds().await;
    let mut command = host.command("run");
    command.env("AWS_EC2_METADATA_DISABLED", "false").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
    // No proxy may come between, or it would tell of its own host.
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("NO_PROXY", "");
    command.env_remove("AWS_ENDPOINT_URL_KINESIS");
    let agent = Agent(command.spawn().unwrap());
    wait_until("the host is known", || host.path("state/cloud.json").exists()).await;
    drop(agent);
    let agent = host.run();
    host.append("access.log", 1);
    host.wait_for(1).await;
    assert_eq!(agent.stop(), Some(0));
    let record = host.kinesis.records(STREAM).await.remove(0);
    let cloud = event::frame::decode(&record).unwrap().0.origin.cloud.unwrap();
    assert_eq!((cloud.instance_id.as_deref(), cloud.machine_type.as_deref()), (Some("i-0abc"), Some("t4g.small")));
}
