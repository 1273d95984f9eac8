//! How far a replay has come, in a file: with the same file and the same arguments the next one
//! goes on there.

use super::{Reached, Replay};
use event::Day;
use event::document::{IndexNames, IndexPeriod};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that knows how far a replay has come. It is there while something is left to do.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    arguments: Arguments,
}

/// What tells one replay from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Arguments {
    stream: String,
    from: Option<String>,
    to: Option<String>,
    index_prefix: String,
    /// Which days have an index of their own, and for how long.
    #[serde(default)]
    index_days: String,
    /// The rules that judge the lines anew.
    rules: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct State {
    arguments: Arguments,
    reached: Reached,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot read the state `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the state `{}` is of a replay with other arguments: name another file, or delete this one", .0.display())]
    Other(PathBuf),
}

impl Arguments {
    fn of(replay: &Replay) -> Arguments {
        Arguments {
            stream: replay.stream.clone(),
            from: replay.span.from.map(event::time::rfc3339),
            to: replay.span.to.map(event::time::rfc3339),
            index_prefix: replay.names.prefix.clone(),
            index_days: days(&replay.names),
            rules: replay.rules.as_ref().map(|rules| rules.ruleset().to_owned()),
        }
    }
}

fn days(names: &IndexNames) -> String {
    let period = match names.period {
        IndexPeriod::Day => "day",
        IndexPeriod::Month => "month",
    };
    let day = |day: Option<Day>| day.map_or_else(String::new, |day| day.to_string());
    format!("{period} {}..{}", day(names.from), day(names.until))
}

impl StateFile {
    /// The file of a replay, and how far it says that it has come.
    pub fn open(path: &Path, replay: &Replay) -> Result<(StateFile, Reached), StateError> {
        let file = StateFile { path: path.to_owned(), arguments: Arguments::of(replay) };
        let failed = |cause| StateError::Read { path: path.to_owned(), cause };
        let text = match fs::read(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok((file, Reached::default())),
            text => text.map_err(failed)?,
        };
        let state: State = serde_json::from_slice(&text).map_err(|cause| failed(cause.into()))?;
        if state.arguments != file.arguments {
            return Err(StateError::Other(path.to_owned()));
        }
        Ok((file, state.reached))
    }

    /// Writes down how far it has come, in one step.
    pub fn save(&self, reached: &Reached) -> io::Result<()> {
        if reached.is_done {
            return match fs::remove_file(&self.path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
                _ => Ok(()),
            };
        }
        let state = State { arguments: self.arguments.clone(), reached: reached.clone() };
        let text = serde_json::to_vec_pretty(&state).expect("plain data turns into JSON");
        let fresh = self.path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)
    }
}
