//! A host whose log is written and rotated at a pace, while its agent is killed again and
//! again, or the stream or the disk has trouble. In the end each line is in the stream, under one id.

use crate::servers::kinesis::KinesisServer;
use crate::servers::program;
use crate::wait_until;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the stream is looked at.
const POLL: Duration = Duration::from_secs(1);

/// How the log is rotated, and how often.
#[derive(Debug, Clone, Copy)]
pub enum Rotation {
    RenameAndCreate(Duration),
    /// Nothing is written between copy and truncation: what is written there is lost by
    /// logrotate itself, and nobody else can find it.
    CopyTruncate(Duration),
    None,
}

/// What happens while the log is written. When it is over, the writing ends.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The agent is killed whenever it has lived for the next of these.
    Kills(Vec<Duration>),
    /// The stream answers nothing but 503 for so long.
    Outage(Duration),
    /// The agent's folder is a disk of this size, and the stream is away until it is full.
    SmallDisk { mebibytes: u32 },
}

/// What is done.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rotation: Rotation,
    /// How many rotated logs are kept; older ones are deleted.
    pub kept: usize,
    pub lines_a_second: usize,
    pub trouble: Trouble,
}

/// Who reads the stream in the end.
#[derive(Debug, Clone)]
pub enum Reader {
    /// This project, its own frames.
    Frames,
    /// Somebody else's libraries, records in this `stream.format`: `tests/live/readers.py`.
    Foreign { format: &'static str },
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub written: usize,
    /// Lines that are in the stream, counted each time.
    pub arrived: usize,
    pub kills: usize,
    /// Lines that are not in the stream.
    pub missing: BTreeSet<String>,
    /// Lines that have more than one id, or stand in the stream without having been
    /// written.
    pub wrong: Vec<String>,
    pub gaps: usize,
}

/// A host, its agent's program, and the stream.
pub struct Story<'a> {
    kinesis: &'a KinesisServer,
    stream: String,
    /// The program `twosec-agent`.
    agent: PathBuf,
    reader: Reader,
    folder: tempfile::TempDir,
    /// The URL of an instance metadata service, where the host is an EC2 instance.
    imds: Option<String>,
}

/// An event as a reader sees it: the line and the id, or `None` for a gap.
type Told = Option<(String, String)>;

impl<'a> Story<'a> {
    /// A host without a log.
    pub fn new(kinesis: &'a KinesisServer, stream: &str, agent: &str, reader: Reader) -> Story<'a> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (stream, agent) = (stream.to_owned(), agent.into());
        let story = Story { kinesis, stream, agent, reader, folder, imds: None };
        let format = match story.reader {
            Reader::Frames => "frame",
            Reader::Foreign { format } => format,
        };
        let config = format!(
            "host_id = \"web-1\"\n[stream]\nname = \"{}\"\nformat = \"{format}\"\n\
             [[file]]\npath = \"{}\"\n[redact]\nkeys = []\n[spool]\npath = \"{}\"\n",
            story.stream,
            story.log().display(),
            story.state().display()
        );
        fs::write(story.config(), config).expect("the configuration is written");
        fs::create_dir(story.state()).expect("a folder can be made");
        story
    }

    /// The same host as an EC2 instance: its keys come from the metadata service at `imds`.
    pub fn on_ec2(self, imds: String) -> Story<'a> {
        Story { imds: Some(imds), ..self }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn start(&self) -> Agent {
        let mut command = program(&self.agent, self.kinesis);
        if let Some(imds) = &self.imds {
            command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
            command.env("HOME", self.folder.path());
            command.env("AWS_EC2_METADATA_DISABLED", "false").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds);
        }
        Agent(command.args(["run", "--config"]).arg(self.config()).spawn().expect("the agent starts"))
    }

    /// Writes as planned. Afterwards an agent is left alone until all lines are in the
    /// stream.
    pub async fn tell(&self, plan: Plan) -> Outcome {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, log, trouble) = (Arc::clone(&is_over), self.log(), plan.trouble.clone());
        let writer = std::thread::spawn(move || write(&log, &plan, &over));
        let mut kills = 0;
        let agent = match trouble {
            Trouble::Kills(lives) => {
                for life in lives {
                    let agent = self.start();
                    // A kill is to come at a time that the agent knows nothing of.
                    tokio::time::sleep(life).await;
                    drop(agent);
                    kills += 1;
                }
                self.start()
            }
            Trouble::Outage(span) => {
                let agent = self.start();
                self.wait_for_first_line().await;
                self.kinesis.set_away(true);
                tokio::time::sleep(span).await;
                self.kinesis.set_away(false);
                agent
            }
            Trouble::SmallDisk { mebibytes } => self.fill_disk(mebibytes).await,
        };
        is_over.store(true, Ordering::Release);
        let lines = tokio::task::spawn_blocking(move || writer.join()).await;
        let lines = lines.expect("joining does not panic").expect("the writer does not panic");
        let outcome = self.wait_for(&lines, kills).await;
        drop(agent);
        outcome
    }

    async fn wait_for_first_line(&self) {
        while self.kinesis.records(&self.stream).await.is_empty() {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Lets an agent fill a disk of its own, in a mount namespace, where nobody else sees it.
    async fn fill_disk(&self, mebibytes: u32) -> Agent {
        self.kinesis.set_away(true);
        let mut command = program("unshare", self.kinesis);
        let mount = format!("mount -t tmpfs -o size={mebibytes}m tmpfs \"$0\" && exec \"$@\"");
        command.args(["--map-root-user", "--mount", "sh", "-c", &mount]).arg(self.state());
        command.arg(&self.agent).args(["run", "--config"]).arg(self.config());
        let agent = Agent(command.spawn().expect("unshare (util-linux) starts"));
        self.wait_for_trouble(&agent, "No space left on device").await;
        self.kinesis.set_away(false);
        agent
    }

    async fn wait_for_trouble(&self, agent: &Agent, reason: &str) {
        wait_until(&format!("status says {reason}"), || {
            let mut status = Command::new("nsenter");
            status.args(["--user", "--mount", "--preserve-credentials", "--target", &agent.0.id().to_string()]);
            status.arg(&self.agent).args(["status", "--json", "--config"]).arg(self.config());
            let output = status.output().expect("nsenter (util-linux) starts");
            let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            report["spool"]["trouble"]["reason"].as_str().is_some_and(|told| told.contains(reason))
        })
        .await;
    }

    /// Reads the stream until all lines are there, or nothing new has come for a while.
    async fn wait_for(&self, lines: &BTreeSet<String>, kills: usize) -> Outcome {
        let (mut best, mut since) = (0, Instant::now());
        loop {
            let outcome = self.outcome(lines, kills).await;
            let here = lines.len() - outcome.missing.len();
            if here > best {
                (best, since) = (here, Instant::now());
            }
            if outcome.missing.is_empty() || since.elapsed() > Duration::from_secs(60) {
                return outcome;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn outcome(&self, lines: &BTreeSet<String>, kills: usize) -> Outcome {
        let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let (mut arrived, mut gaps) = (0, 0);
        for told in self.read(&self.kinesis.records(&self.stream).await) {
            match told {
                Some((line, id)) => {
                    arrived += 1;
                    ids.entry(line).or_default().insert(id);
                }
                None => gaps += 1,
            }
        }
        let missing = lines.iter().filter(|line| !ids.contains_key(*line)).cloned().collect();
        let wrong = ids.iter().filter(|(line, ids)| ids.len() != 1 || !lines.contains(*line));
        let wrong = wrong.map(|(line, ids)| format!("{line}: {ids:?}")).collect();
        Outcome { written: lines.len(), arrived, kills, missing, wrong, gaps }
    }

    fn read(&self, records: &[Vec<u8>]) -> Vec<Told> {
        match self.reader {
            Reader::Frames => records.iter().flat_map(|record| framed(record)).collect(),
            Reader::Foreign { format } => foreign(records, format),
        }
    }
}

fn framed(record: &[u8]) -> Vec<Told> {
    let (_, events) = event::frame::decode(record).expect("each record is a frame");
    let told = |event: event::line::Event| {
        let line = String::from_utf8_lossy(&event.line).into_owned();
        event.gap.is_none().then(|| (line, event.id(&event.parsed()).to_string()))
    };
    events.into_iter().filter(|event| event.incident.is_none()).map(told).collect()
}

fn foreign(records: &[Vec<u8>], format: &str) -> Vec<Told> {
    let readers = std::env::var("TWOSEC_TEST_READERS").expect("TWOSEC_TEST_READERS is set; see tests/live/servers");
    let mut words = readers.split(' ');
    let mut command = Command::new(words.next().expect("split gives one word at least"));
    let mut reader = command.args(words).arg(format).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let reader = reader.as_mut().expect("the reader starts");
    let mut input = reader.stdin.take().expect("it was piped");
    let records: String = records.iter().map(|record| STANDARD.encode(record) + "\n").collect();
    let writer = std::thread::spawn(move || input.write_all(records.as_bytes()));
    let output = BufReader::new(reader.stdout.take().expect("it was piped"));
    let told = output.lines().map(|line| {
        let event: Value = serde_json::from_str(&line.expect("the reader prints text")).expect("and JSON");
        let text = |key: &str| event[key].as_str().expect("a text").to_owned();
        Some((text("line"), text("id")))
    });
    let told = told.collect();
    writer.join().expect("the writer does not panic").expect("the reader takes all records");
    assert!(reader.wait().expect("the reader ends").success(), "somebody else's library refuses a record");
    told
}

/// A running agent. It is killed when it is dropped, as `kill -9` does it.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // One that has ended by itself has nothing to lose.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Outcome {
    /// Everything is there once, by its id.
    pub fn assert_exact(&self) {
        println!(
            "{} lines written, {} kills, {} lines sent twice",
            self.written,
            self.kills,
            self.arrived.saturating_sub(self.written)
        );
        let first: Vec<_> = self.missing.iter().take(3).collect();
        assert!(
            self.missing.is_empty(),
            "{} of {} lines are lost, such as {first:?}",
            self.missing.len(),
            self.written
        );
        assert!(self.wrong.is_empty(), "{:?}", &self.wrong[..self.wrong.len().min(3)]);
        assert_eq!(self.gaps, 0, "nothing was lost, and a gap is told");
    }
}

/// Writes lines at a pace, each by one call, and rotates the log between them.
fn write(log: &Path, plan: &Plan, is_over: &AtomicBool) -> BTreeSet<String> {
    let mut file = open(log);
    let mut lines = BTreeSet::new();
    let mut aside: VecDeque<PathBuf> = VecDeque::new();
    let (begun, mut rotated) = (Instant::now(), Instant::now());
    while !is_over.load(Ordering::Acquire) {
        let due = (begun.elapsed().as_secs_f64() * plan.lines_a_second as f64) as usize;
        while lines.len() < due {
            let line = line(lines.len(), begun.elapsed().as_secs() % 60);
            file.write_all(format!("{line}\n").as_bytes()).expect("the log is written");
            lines.insert(line);
        }
        if is_due(plan.rotation, rotated) {
            rotated = Instant::now();
            let millis = begun.elapsed().as_millis();
            aside.push_back(log.with_extension(format!("log-20261124-{millis:010}")));
            rotate(log, &aside[aside.len() - 1], plan.rotation, &mut file);
        }
        if aside.len() > plan.kept {
            aside.pop_front().map(fs::remove_file).transpose().expect("an old log is deleted");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    lines
}

fn rotate(log: &Path, aside: &Path, rotation: Rotation, file: &mut File) {
    match rotation {
        Rotation::RenameAndCreate(_) => {
            fs::rename(log, aside).expect("the log is renamed");
            *file = open(log);
        }
        _ => {
            fs::copy(log, aside).expect("the log is copied");
            file.set_len(0).expect("the log is truncated");
        }
    }
}

/// A line of its own, with eight bytes that no compression makes shorter.
fn line(number: usize, second: u64) -> String {
    let token = RandomState::new().hash_one(number);
    format!(
        r#"192.0.2.7 - - [24/Nov/2026:08:00:{second:02} +0000] "GET /n/{number}/{token:016x} HTTP/1.1" 200 5 "-" "curl/8""#
    )
}

fn is_due(rotation: Rotation, rotated: Instant) -> bool {
    match rotation {
        Rotation::RenameAndCreate(every) | Rotation::CopyTruncate(every) => rotated.elapsed() >= every,
        Rotation::None => false,
    }
}

fn open(log: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(log).expect("the log is made")
}
