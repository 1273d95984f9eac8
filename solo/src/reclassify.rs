//! The index made anew from the archive, by the rules of this version.
//!
//! ```text
//! archive -> rules -> index.new, then: index -> index.old, index.new -> index
//! ```
//!
//! The new index grows beside the old one and takes its name when it is whole, so an index of
//! another version, or none, is no trouble, and a crash leaves the old one.

use crate::archive::LocalArchive;
use crate::index::LocalIndex;
use crate::run::{RunError, STREAM, failed};
use crate::trouble::Trouble;
use agent::lock::Lock;
use agent::signals::stop_on_signals;
use event::Reclassifier;
use event::document::{IndexNames, IndexPeriod};
use processor::progress::{Progress, count};
use processor::replay::{Reached, Replay, Report};
use processor::span::Span;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Objects that are worked on at once. In their own order the index knows of most lines without
/// a look that they are new.
const OBJECTS_AT_ONCE: usize = 1;

/// Makes the index of a data folder anew, by our rules and those of the folder `own_rules`.
pub async fn run(data: &Path, own_rules: Option<&Path>) -> Result<Report, RunError> {
    if !data.join("archive").exists() {
        return Err(RunError::NoArchive(data.to_owned()));
    }
    let _lock = Lock::take(data).map_err(RunError::Data)?;
    settle(data).map_err(failed(data))?;
    let fresh = data.join("index.new");
    let rules = agent::rules::open(own_rules);
    rules.refused.iter().for_each(|reason| eprintln!("twosec: {reason}"));
    let rules = Reclassifier::new(Arc::new(rules.classifier));
    let report = fill(data, &fresh, rules).await?;
    exchange(data).map_err(failed(&fresh))?;
    Ok(report)
}

/// Fills the index in the folder `fresh`.
async fn fill(data: &Path, fresh: &Path, rules: Reclassifier) -> Result<Report, RunError> {
    let trouble = Trouble::default();
    let archive = data.join("archive");
    let replay = Replay {
        archive: Arc::new(LocalArchive::open(&archive, trouble.clone()).map_err(failed(&archive))?),
        index: Some(LocalIndex::open(fresh, trouble).map_err(failed(fresh))?),
        names: IndexNames { prefix: String::new(), period: IndexPeriod::Day, from: None, until: None },
        stream: STREAM.to_owned(),
        span: Span::default(),
        rules: Some(rules),
        objects_at_once: OBJECTS_AT_ONCE,
    };
    let stop = stop_on_signals().map_err(RunError::Signals)?;
    let mut progress = Progress::new();
    let told = |reached: &Reached| {
        progress.tell(|| format!("{} events", count(reached.report.events)));
        Ok(())
    };
    let reached = replay.run(Reached::default(), stop, told).await.map_err(RunError::Replay)?;
    if !reached.is_done {
        return Err(RunError::Stopped);
    }
    // One index takes the days of all others.
    Ok(Report { documents: Default::default(), ..reached.report })
}

/// Gives the new index the name of the old one.
fn exchange(data: &Path) -> io::Result<()> {
    let (index, old, new) = (data.join("index"), data.join("index.old"), data.join("index.new"));
    if index.exists() {
        fs::rename(&index, &old)?;
    }
    fs::rename(&new, &index)?;
    remove(&old)
}

/// Tidies up behind a crash: an index that had lost its name gets it back.
pub fn settle(data: &Path) -> io::Result<()> {
    let (index, old) = (data.join("index"), data.join("index.old"));
    if !index.exists() && old.exists() {
        fs::rename(&old, &index)?;
    }
    remove(&old)?;
    remove(&data.join("index.new"))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folders that are there, with what is in them.
    fn folders(data: &Path) -> Vec<String> {
        let told = |name: &str| {
            let text = fs::read_to_string(data.join(name).join("text")).ok()?;
            Some(format!("{name}: {text}"))
        };
        ["index", "index.old", "index.new"].into_iter().filter_map(told).collect()
    }

    fn make(data: &Path, name: &str, text: &str) {
        fs::create_dir(data.join(name)).unwrap();
        fs::write(data.join(name).join("text"), text).unwrap();
    }

    #[test]
    fn a_crash_at_any_step_leaves_one_whole_index() {
        let crashes: [&[(&str, &str)]; 4] = [
            &[("index", "old"), ("index.new", "half")],
            &[("index.old", "old"), ("index.new", "whole")],
            &[("index.old", "old"), ("index", "new")],
            &[("index.new", "half")],
        ];
        let left: [&[&str]; 4] = [&["index: old"], &["index: old"], &["index: new"], &[]];
        for (crash, left) in crashes.iter().zip(left) {
            let data = tempfile::tempdir().unwrap();
            crash.iter().for_each(|(name, text)| make(data.path(), name, text));
            settle(data.path()).unwrap();
            assert_eq!(folders(data.path()), left, "after {crash:?}");
        }
    }

    #[test]
    fn the_new_index_takes_the_place_of_the_old_one() {
        let data = tempfile::tempdir().unwrap();
        make(data.path(), "index.new", "first");
        exchange(data.path()).unwrap();
        make(data.path(), "index.new", "second");
        exchange(data.path()).unwrap();
        assert_eq!(folders(data.path()), ["index: second"]);
    }
}
