//! How the run goes: what the page's head and the progress bar show.

use crate::trouble::Trouble;
use agent::meter::{FileProgress, Meter};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The span over which a rate is measured.
const RATE_SPAN: Duration = Duration::from_secs(10);

/// Watches a run.
pub struct Status {
    pub agent: Arc<Meter>,
    pub processor: Arc<processor::meter::Meter>,
    pub archive: PathBuf,
    pub index: PathBuf,
    pub trouble: Trouble,
    /// Earlier counts of lines, oldest first.
    history: Mutex<Vec<(Instant, u64)>>,
}

/// How it is now.
#[derive(Debug, Serialize)]
pub struct Now {
    pub files: Vec<FileNow>,
    pub lines: u64,
    pub lines_per_second: f64,
    /// Documents that this run has put into the index or found there.
    pub indexed: u64,
    pub dead_letters: u64,
    pub archive: PathBuf,
    pub index: PathBuf,
    /// What is wrong with the data folder, if anything is.
    pub trouble: Option<String>,
    pub version: &'static str,
}

/// A file that is read.
#[derive(Debug, Serialize)]
pub struct FileNow {
    pub path: PathBuf,
    #[serde(flatten)]
    pub progress: FileProgress,
}

impl Status {
    /// Watches a run that has just begun.
    pub fn new(
        agent: Arc<Meter>,
        processor: Arc<processor::meter::Meter>,
        (archive, index): (PathBuf, PathBuf),
        trouble: Trouble,
    ) -> Arc<Status> {
        Arc::new(Status { agent, processor, archive, index, trouble, history: Mutex::default() })
    }

    /// How it is now.
    pub fn now(&self) -> Now {
        let lines = self.agent.lines();
        Now {
            files: self.agent.progress().into_iter().map(|(path, progress)| FileNow { path, progress }).collect(),
            lines,
            lines_per_second: self.rate(Instant::now(), lines),
            indexed: self.processor.created() + self.processor.known(),
            dead_letters: self.processor.dead_letters(),
            archive: self.archive.clone(),
            index: self.index.clone(),
            trouble: self.trouble.now(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Lines a second since the oldest count of the last ten seconds.
    fn rate(&self, now: Instant, lines: u64) -> f64 {
        let mut history = self.history.lock().expect("nobody panics with the counts in hand");
        history.retain(|(at, _)| now.duration_since(*at) <= RATE_SPAN);
        history.push((now, lines));
        let (since, before) = history[0];
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds > 0.0 { (lines - before) as f64 / seconds } else { 0.0 }
    }
}
