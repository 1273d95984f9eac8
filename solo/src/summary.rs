//! What a run to the end tells its user: who attacked, with what, and where to look.

use crate::index::LocalIndex;
use crate::index::search::{Bucket, SearchError};
use crate::status::Status;
use crate::text::{count, plain, short};
use agent::settings::FileSettings;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Attackers, telling lines and odd lines that are shown.
const SHOWN: usize = 10;
const ODD_SHOWN: usize = 3;

/// Columns of a printed line.
const WIDTH: usize = 110;

/// The answer, for people and machines.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The log files that it is about, by their live names.
    pub files: Vec<String>,
    /// Lines in the index of these files.
    pub requests: u64,
    pub from: Option<String>,
    pub to: Option<String>,
    pub attacks: u64,
    pub categories: Vec<Bucket>,
    pub attackers: Vec<Attacker>,
    /// Incidents of all files in this folder, a sentence each, latest first.
    pub incidents: Vec<String>,
    pub telling: Vec<Telling>,
    pub unparsed: Unparsed,
    /// Lines that this run has read.
    pub new_lines: u64,
    /// Lines among them that were in the index already.
    pub known_lines: u64,
    pub dead_letters: u64,
    pub archive: PathBuf,
    pub index: PathBuf,
    pub seconds: f64,
}

/// An address that attacked.
#[derive(Debug, Serialize)]
pub struct Attacker {
    pub address: String,
    pub attacks: u64,
    pub categories: Vec<Bucket>,
}

/// A line that tells much.
#[derive(Debug, Serialize)]
pub struct Telling {
    pub id: String,
    pub time: String,
    pub address: String,
    pub categories: Vec<String>,
    pub score: u64,
    /// The rule, and what it saw where.
    pub why: String,
    pub status: Option<u64>,
    /// Method and target, as sent.
    pub request: String,
    pub line: String,
}

/// Lines that no format fitted.
#[derive(Debug, Serialize)]
pub struct Unparsed {
    pub lines: u64,
    pub examples: Vec<Odd>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub struct Odd {
    pub reason: String,
    pub line: String,
}

/// Sums up what the index knows of these files.
pub fn of(index: &LocalIndex, files: &[FileSettings], status: &Status, took: Duration) -> Result<Summary, SearchError> {
    let files = live_paths(files, status);
    let query = index.of_files(index.query("")?, &files);
    let stats = index.stats(&*query)?;
    let odd = index.of_files(index.query("event.kind:pipeline_error")?, &files);
    let examples = index.events(&*odd, ODD_SHOWN, 0)?.events;
    let attackers = index.attackers(&*query, SHOWN as u32)?.into_iter();
    Ok(Summary {
        files,
        requests: stats.total,
        from: stats.from,
        to: stats.to,
        attacks: stats.attacks,
        categories: stats.categories,
        attackers: attackers
            .map(|(who, categories)| Attacker { address: who.key, attacks: who.count, categories })
            .collect(),
        incidents: index.incidents(SHOWN).incidents.iter().map(|incident| sentence(incident.get())).collect(),
        telling: index.telling(&*query, SHOWN)?.iter().map(telling).collect(),
        unparsed: Unparsed {
            lines: stats.unparsed,
            examples: examples.iter().map(|event| odd_line(event.get())).collect(),
        },
        new_lines: status.agent.lines(),
        known_lines: status.processor.known_lines(),
        dead_letters: status.processor.dead_letters() + status.agent.dead(),
        archive: status.archive.clone(),
        index: status.index.clone(),
        seconds: took.as_secs_f64(),
    })
}

/// The names that these files have in documents, with the ones that patterns matched.
fn live_paths(files: &[FileSettings], status: &Status) -> Vec<String> {
    let named = files.iter().map(|file| PathBuf::from(&file.path));
    let read = status.agent.progress().into_keys();
    let live = |path: PathBuf| path.to_str().map_or(String::new(), |path| event::id::family(path).to_owned());
    let all: BTreeSet<String> = named.chain(read).map(live).filter(|path| !agent::tail::is_pattern(path)).collect();
    all.into_iter().collect()
}

fn sentence(incident: &str) -> String {
    text(&serde_json::from_str(incident).unwrap_or_default(), "/message")
}

fn text(event: &Value, pointer: &str) -> String {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn telling(event: &Value) -> Telling {
    let finding = &event["attack"]["findings"][0];
    let field = finding["field"].as_str().unwrap_or_default();
    let place = match finding["parameter"].as_str() {
        Some(parameter) => format!("parameter `{parameter}`"),
        None => field.to_owned(),
    };
    let excerpt = finding["excerpt"].as_str().unwrap_or_default();
    let categories = event["attack"]["categories"].as_array().into_iter().flatten();
    Telling {
        id: text(event, "/event/id"),
        time: text(event, "/@timestamp"),
        address: text(event, "/source/address"),
        categories: categories.filter_map(Value::as_str).map(str::to_owned).collect(),
        score: event["attack"]["score"].as_u64().unwrap_or(0),
        why: format!("{} in {place}: {excerpt}", finding["rule"].as_str().unwrap_or_default()),
        status: event["http"]["response"]["status_code"].as_u64(),
        request: format!("{} {}", text(event, "/http/request/method"), text(event, "/url/original")),
        line: text(event, "/event/original"),
    }
}

fn odd_line(event: &str) -> Odd {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    Odd { reason: text(&event, "/error/message"), line: text(&event, "/event/original") }
}

/// The summary for a terminal.
pub fn render(summary: &Summary) -> String {
    let mut out = String::new();
    head(summary, &mut out);
    categories(summary, &mut out);
    attackers(summary, &mut out);
    incidents(summary, &mut out);
    telling_lines(summary, &mut out);
    unparsed(summary, &mut out);
    places(summary, &mut out);
    out
}

// Writing to a String cannot fail, so the results are dropped here and below.
fn head(summary: &Summary, out: &mut String) {
    let second = |time: &Option<String>| {
        time.as_deref().map_or("-".to_owned(), |time| time.replace('T', " ").replace(".000Z", " UTC"))
    };
    let _ = writeln!(out, "{} requests, {} to {}", count(summary.requests), second(&summary.from), second(&summary.to));
    let share = 100.0 * summary.attacks as f64 / summary.requests.max(1) as f64;
    let _ = writeln!(out, "{} of them are attacks or scans ({share:.1} %)", count(summary.attacks));
}

fn categories(summary: &Summary, out: &mut String) {
    if summary.categories.is_empty() {
        return;
    }
    let most = summary.categories.iter().map(|bucket| bucket.count).max().unwrap_or(1);
    let _ = writeln!(out, "\nAttacks by category (a request can be of several)");
    for bucket in &summary.categories {
        let bar = "█".repeat((bucket.count * 40 / most.max(1)).max(1) as usize);
        let _ = writeln!(out, "  {:<14} {:>8}  {bar}", bucket.key, count(bucket.count));
    }
}

fn attackers(summary: &Summary, out: &mut String) {
    if summary.attackers.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nTop attacking addresses");
    for attacker in &summary.attackers {
        let with: Vec<_> =
            attacker.categories.iter().map(|bucket| format!("{} {}", bucket.key, count(bucket.count))).collect();
        let line = format!("  {:<24} {:>8}  {}", plain(&attacker.address), count(attacker.attacks), with.join(", "));
        let _ = writeln!(out, "{}", short(&line, WIDTH));
    }
}

fn incidents(summary: &Summary, out: &mut String) {
    if summary.incidents.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nLatest incidents (`twosec incidents` shows all)");
    for incident in &summary.incidents {
        let _ = writeln!(out, "  {}", short(&plain(incident), WIDTH));
    }
}

fn telling_lines(summary: &Summary, out: &mut String) {
    if summary.telling.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nThe most telling lines");
    for line in &summary.telling {
        let status = line.status.map_or("-".to_owned(), |status| status.to_string());
        let first = format!(
            "  {:>3} {:<14} {status:>3}  {:<15}  {}",
            line.score,
            short(&line.categories.join(","), 14),
            plain(&line.address),
            plain(&line.request)
        );
        let _ = writeln!(out, "{}", short(&first, WIDTH));
        let _ = writeln!(out, "{}", short(&format!("      because {}", plain(&line.why)), WIDTH));
    }
}

fn unparsed(summary: &Summary, out: &mut String) {
    let lines = summary.unparsed.lines;
    let _ = match lines {
        0 => writeln!(out, "\nEvery line could be parsed."),
        _ => writeln!(out, "\n{} lines could not be parsed; they are kept. For example", count(lines)),
    };
    for odd in &summary.unparsed.examples {
        let shown = short(&plain(&odd.line), WIDTH - 4);
        let _ = writeln!(out, "    {shown}\n      because {}", odd.reason);
    }
    if summary.dead_letters > 0 {
        let _ = writeln!(out, "{} dead letters were kept, with their reasons", count(summary.dead_letters));
    }
}

fn places(summary: &Summary, out: &mut String) {
    let place = |path: &Path| path.display().to_string();
    let rate = summary.new_lines as f64 / summary.seconds.max(0.001);
    let known = match summary.known_lines {
        0 => String::new(),
        known => format!(", {} of them known already", count(known)),
    };
    let _ = writeln!(
        out,
        "\n{} new lines in {:.1} s ({} lines/s){known}",
        count(summary.new_lines),
        summary.seconds,
        count(rate as u64)
    );
    let _ = writeln!(out, "original lines   {}", place(&summary.archive));
    let _ = writeln!(out, "index            {}   (try: twosec search 'attack.categories:sqli')", place(&summary.index));
}
