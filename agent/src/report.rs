//! What a running agent tells of itself: `twosec-agent status`, and its metrics.

use event::Millis;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The state of a running agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub pid: u32,
    /// `host.name`.
    pub host: String,
    /// When the agent started.
    pub started: Millis,
    /// When the report was made.
    pub now: Millis,
    /// Lines read since the start.
    pub lines: u64,
    /// Those of them that held the begins of so many attacks that they were not looked at to their end.
    #[serde(default)]
    pub unfinished: u64,
    /// Gaps: bytes that had to be given up, and how many times.
    pub gaps: u64,
    pub gap_bytes: u64,
    pub files: Vec<FileReport>,
    /// What is configured and cannot be read, with the reason.
    pub skipped: Vec<Skipped>,
    pub rules: RulesReport,
    pub spool: SpoolReport,
    pub stream: StreamReport,
}

/// How far a file has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// Where the file was found last.
    pub path: PathBuf,
    /// The file's life; none before its first whole line.
    pub life: Option<String>,
    /// Bytes that are in the spool.
    pub offset: u64,
    /// Bytes that there are; packed ones for `.gz`.
    pub size: u64,
    pub lag_bytes: u64,
    /// For how long the oldest unread byte has been there; 0 when all is read.
    pub lag_seconds: u64,
}

/// A path that is not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub path: PathBuf,
    pub reason: String,
}

/// The rules in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesReport {
    /// Their version, such as `2026.11.1`; with `+` and a hash where the user has rules, too.
    pub ruleset: String,
    /// What of the user's rules is not used: file, line and reason.
    pub refused: Vec<String>,
}

/// The spool's use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolReport {
    pub path: PathBuf,
    pub bytes: u64,
    pub max_bytes: u64,
    pub segments: u64,
    /// Damaged stretches that were set aside.
    pub quarantined: u64,
    /// Frames that a limit policy has dropped.
    pub dropped: u64,
    /// Why reading stands still.
    pub trouble: Option<Trouble>,
}

/// What goes to the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    pub name: String,
    /// Records that the stream has taken, and their bytes.
    pub records: u64,
    pub bytes: u64,
    /// Records that were put again.
    pub retried: u64,
    /// Records that the stream will never take; they lie in `dead`.
    pub refused: u64,
    pub last_put: Option<Millis>,
    /// Open shards, where ListShards is allowed.
    pub shards: Option<u64>,
    /// Where the credentials come from, such as `IMDSv2` or `environment`.
    pub credentials: Option<String>,
    /// Why nothing arrives.
    pub trouble: Option<Trouble>,
}

/// Something that stands in the way, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub since: Millis,
    pub reason: String,
}
