//! A host whose log is written and rotated at a pace, while its agent is killed again and
//! again and the stream has trouble. In the end each line is in the stream, under one id.

use crate::servers::REGION;
use crate::servers::kinesis::KinesisServer;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How the log is rotated, and how often.
#[derive(Debug, Clone, Copy)]
pub enum Rotation {
    RenameAndCreate(Duration),
    /// Nothing is written between copy and truncation: what is written there is lost by
    /// logrotate itself, and nobody else can find it.
    CopyTruncate(Duration),
    None,
}

/// What is done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub rotation: Rotation,
    pub lines_a_second: usize,
    pub time: Duration,
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
    pub kinesis: &'a KinesisServer,
    pub stream: String,
    /// The program `twosec-agent`.
    pub agent: PathBuf,
    folder: tempfile::TempDir,
}

impl<'a> Story<'a> {
    /// A host without a log.
    pub fn new(kinesis: &'a KinesisServer, stream: &str, agent: &str) -> Story<'a> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let story = Story { kinesis, stream: stream.to_owned(), agent: agent.into(), folder };
        let config = format!(
            "host_id = \"web-1\"\n[stream]\nname = \"{stream}\"\n[[file]]\npath = \"{}\"\n[spool]\npath = \"{}\"\n",
            story.log().display(),
            story.path("state").display()
        );
        fs::write(story.path("agent.toml"), config).expect("the configuration is written");
        story
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("access.log")
    }

    fn start(&self) -> Child {
        let mut command = Command::new(&self.agent);
        command
            .args(["run", "--config"])
            .arg(self.path("agent.toml"))
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL_KINESIS", self.kinesis.url())
            .env("TWOSEC_LOG", "off")
            .stdin(Stdio::null());
        command.spawn().expect("the agent starts")
    }

    /// Writes as planned. The agent is killed whenever it has lived for the next of
    /// `lives`; the last one is left alone until all lines are in the stream.
    pub async fn tell(&self, plan: Plan, lives: impl IntoIterator<Item = Duration>) -> Outcome {
        let is_written = Arc::new(AtomicBool::new(false));
        let (done, log) = (Arc::clone(&is_written), self.log());
        let writer = std::thread::spawn(move || {
            let written = write(&log, plan);
            done.store(true, Ordering::Release);
            written
        });
        let mut kills = 0;
        for life in lives {
            if is_written.load(Ordering::Acquire) {
                break;
            }
            let mut agent = self.start();
            tokio::time::sleep(life).await;
            agent.kill().and_then(|()| agent.wait()).expect("the agent can be killed");
            kills += 1;
        }
        let mut agent = self.start();
        let lines = tokio::task::spawn_blocking(move || writer.join()).await;
        let lines = lines.expect("joining does not panic").expect("the writer does not panic");
        let outcome = self.wait_for(&lines, kills).await;
        agent.kill().and_then(|()| agent.wait()).expect("the agent can be killed");
        outcome
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
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn outcome(&self, lines: &BTreeSet<String>, kills: usize) -> Outcome {
        let mut ids: BTreeMap<String, BTreeSet<event::EventId>> = BTreeMap::new();
        let (mut arrived, mut gaps) = (0, 0);
        for record in self.kinesis.records(&self.stream).await {
            for event in event::frame::decode(&record).expect("each record is a frame").1 {
                if event.gap.is_some() {
                    gaps += 1;
                    continue;
                }
                arrived += 1;
                let line = String::from_utf8_lossy(&event.line).into_owned();
                ids.entry(line).or_default().insert(event.id(&event.parsed()));
            }
        }
        let missing = lines.iter().filter(|line| !ids.contains_key(*line)).cloned().collect();
        let wrong = ids.iter().filter(|(line, ids)| ids.len() != 1 || !lines.contains(*line));
        let wrong = wrong.map(|(line, ids)| format!("{line}: {ids:?}")).collect();
        Outcome { written: lines.len(), arrived, kills, missing, wrong, gaps }
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
fn write(log: &Path, plan: Plan) -> BTreeSet<String> {
    let mut file = open(log);
    let mut lines = BTreeSet::new();
    let (begun, mut rotated, mut rotations) = (Instant::now(), Instant::now(), 0);
    while begun.elapsed() < plan.time {
        let due = (begun.elapsed().as_secs_f64() * plan.lines_a_second as f64) as usize;
        while lines.len() < due {
            let second = begun.elapsed().as_secs() % 60;
            let line = format!(
                r#"192.0.2.7 - - [24/Nov/2026:08:00:{second:02} +0000] "GET /n/{} HTTP/1.1" 200 5 "-" "curl/8""#,
                lines.len()
            );
            file.write_all(format!("{line}\n").as_bytes()).expect("the log is written");
            lines.insert(line);
        }
        if is_due(plan.rotation, rotated) {
            rotations += 1;
            rotated = Instant::now();
            let aside = log.with_extension(format!("log-20261124-{rotations:010}"));
            match plan.rotation {
                Rotation::RenameAndCreate(_) => {
                    fs::rename(log, aside).expect("the log is renamed");
                    file = open(log);
                }
                _ => {
                    fs::copy(log, aside).expect("the log is copied");
                    file.set_len(0).expect("the log is truncated");
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    lines
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
