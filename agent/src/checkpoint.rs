//! How far each file is safe: what has been sent, what has arrived, and what is
//! remembered over a restart.
//!
//! A position moves only past frames that are in the stream, so after a crash the
//! lines since then are read and sent again; their ids make that harmless.

use crate::ship::FrameId;
use crate::tail::{FileId, Witness};
use event::{Day, LifeId};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Lives that are remembered at most, newest kept. Ten years of daily rotation.
const LIVES_MAX: usize = 4_000;

/// A file's life and how far it has been read, as remembered over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Numbers the lives of one run of the agent.
    #[serde(skip)]
    pub number: LifeNumber,
    pub life: LifeId,
    /// The configured (live) path.
    pub path: PathBuf,
    pub file: FileId,
    pub head: Witness,
    pub position: Position,
}

/// Tells apart lives that are open at the same time, even two with one [`LifeId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LifeNumber(pub u64);

/// A place between two lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub offset: u64,
    /// The bytes before `offset`; `None` where they cannot be read again (`.gz`).
    pub tail: Option<Witness>,
    /// Day of the last dated line before `offset`.
    pub day: Option<Day>,
}

/// Frames under way, oldest first in each life.
///
/// A mark is free only when its frame and every older one of its life is stored or
/// dead-lettered. Answers may come back in any order.
#[derive(Debug, Default)]
pub struct Ledger {
    lives: HashMap<LifeNumber, VecDeque<Entry>>,
    of_frame: HashMap<FrameId, LifeNumber>,
}

#[derive(Debug)]
struct Entry {
    frame: FrameId,
    mark: Option<Mark>,
    settled: bool,
}

impl Ledger {
    /// Notes that `frame` is on its way and that its life is read up to `mark` with it.
    /// Without a mark it must arrive like any other, and moves nothing by itself.
    pub fn sent(&mut self, frame: FrameId, life: LifeNumber, mark: Option<Mark>) {
        self.of_frame.insert(frame, life);
        self.lives.entry(life).or_default().push_back(Entry { frame, mark, settled: false });
    }

    /// Notes that `frame` needs no more care. Returns the furthest mark of its life
    /// that is safe now, if that moved.
    pub fn settled(&mut self, frame: FrameId) -> Option<Mark> {
        let number = self.of_frame.remove(&frame)?;
        let entries = self.lives.get_mut(&number)?;
        entries.iter_mut().find(|entry| entry.frame == frame)?.settled = true;
        let mut safe = None;
        while let Some(entry) = entries.pop_front_if(|entry| entry.settled) {
            safe = entry.mark.or(safe);
        }
        if entries.is_empty() {
            self.lives.remove(&number);
        }
        safe
    }
}

/// Reading or writing the remembered positions failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot read the positions `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the positions `{}` are damaged; move the file away to read all logs from the start", .path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        cause: serde_json::Error,
    },
    #[error("cannot write the positions `{}`", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    version: u32,
    lives: Vec<Mark>,
}

/// The positions on disk: one JSON file, replaced as a whole.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// Oldest first.
    marks: Vec<Mark>,
    dirty: bool,
}

impl Checkpoint {
    /// Reads `positions.json` in the folder `state`; none is a fresh start.
    pub fn open(state: &Path) -> Result<Checkpoint, CheckpointError> {
        let path = state.join("positions.json");
        let marks = match fs::read(&path) {
            Ok(text) => parse(&text).map_err(|cause| CheckpointError::Damaged { path: path.clone(), cause })?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(cause) => return Err(CheckpointError::Read { path, cause }),
        };
        Ok(Checkpoint { path, marks, dirty: false })
    }

    /// All that is remembered, oldest first.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Takes note of a life that is being read, unless it is remembered already: should
    /// its file be rotated while nobody looks, it is looked for under its new name.
    pub fn opened(&mut self, mark: Mark) {
        if !self.marks.iter().any(|known| known.file == mark.file && known.life == mark.life) {
            self.moved(mark);
        }
    }

    /// Takes a newer position of a life.
    pub fn moved(&mut self, mark: Mark) {
        self.dirty = true;
        match self.marks.iter_mut().find(|known| known.file == mark.file && known.life == mark.life) {
            Some(known) => *known = mark,
            None => self.marks.push(mark),
        }
        let excess = self.marks.len().saturating_sub(LIVES_MAX);
        self.marks.drain(..excess);
    }

    /// Writes the positions down if they have moved.
    pub fn save(&mut self) -> Result<(), CheckpointError> {
        if !self.dirty {
            return Ok(());
        }
        let remembered = Remembered { version: 1, lives: self.marks.clone() };
        let text = serde_json::to_vec_pretty(&remembered).expect("plain data turns into JSON");
        replace(&self.path, &text).map_err(|cause| CheckpointError::Write { path: self.path.clone(), cause })?;
        self.dirty = false;
        Ok(())
    }
}

fn parse(text: &[u8]) -> Result<Vec<Mark>, serde_json::Error> {
    serde_json::from_slice::<Remembered>(text).map(|remembered| remembered.lives)
}

/// Replaces a file as a whole: after a crash there is the old one or the new one.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark(number: u64, offset: u64) -> Mark {
        Mark {
            number: LifeNumber(number),
            life: LifeId([number as u8; 16]),
            path: "/var/log/access.log".into(),
            file: FileId { device: 1, inode: number, born: None },
            head: Witness::of(b"head"),
            position: Position { offset, tail: None, day: Some(Day(20_000)) },
        }
    }

    #[test]
    fn positions_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoint = Checkpoint::open(folder.path()).unwrap();
        checkpoint.moved(mark(1, 10));
        checkpoint.moved(mark(2, 5));
        checkpoint.moved(mark(1, 20));
        checkpoint.save().unwrap();
        let offsets = |c: &Checkpoint| c.marks().iter().map(|m| m.position.offset).collect::<Vec<_>>();
        assert_eq!(offsets(&Checkpoint::open(folder.path()).unwrap()), [20, 5]);
    }

    #[test]
    fn damaged_positions_are_named_and_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("positions.json"), "{").unwrap();
        let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("positions.json` are damaged; move the file away"), "{error}");
    }

    proptest! {
        #[test]
        fn a_mark_never_passes_a_frame_that_is_still_under_way(
            lives in prop::collection::vec(0u64..3, 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let mut ledger = Ledger::default();
            let mut under_way = Vec::new();
            for (at, life) in lives.iter().enumerate() {
                ledger.sent(FrameId(at as u64), LifeNumber(*life), Some(mark(*life, at as u64)));
                under_way.push((at as u64, *life));
            }
            for index in order.iter().take(lives.len()) {
                let (frame, life) = under_way.remove(index.index(under_way.len()));
                if let Some(safe) = ledger.settled(FrameId(frame)) {
                    prop_assert_eq!(safe.number, LifeNumber(life));
                    prop_assert!(under_way.iter().all(|(f, l)| *l != life || *f > safe.position.offset));
                }
            }
            prop_assert!(ledger.lives.is_empty() && ledger.of_frame.is_empty());
        }
    }
}
