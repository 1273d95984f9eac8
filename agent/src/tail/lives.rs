//! What is known of files: which lives there are and how far each has been read.
//!
//! A *life* is one run of bytes that a writer appended, not a path: a renamed file goes
//! on with its life, a truncated one begins another, a copy or a packed file may hold
//! one that is gone.

use super::file::{FileId, Witness};
use bytes::Bytes;
use event::{Day, LifeId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Files that one life is remembered in: its own, copies of it, and packed ones.
const FILES_MAX: usize = 4;

/// Lives that are remembered at most; those that hold no unread byte go first.
const LIVES_MAX: usize = 1_000;

/// Numbers lives; never used twice in one spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct LifeNumber(pub u64);

/// A place between two lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    pub offset: u64,
    /// The bytes before `offset`; `None` where they cannot be read again (`.gz`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Witness>,
    /// Day of the last dated line before `offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The file that `tail -f` named last before `offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
}

/// A life, and how far it has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    pub number: LifeNumber,
    pub id: LifeId,
    /// The live path of its family.
    pub live: PathBuf,
    /// Files that hold it, newest last: its own, and copies of that.
    pub files: Vec<FileId>,
    /// The file that held it and holds other bytes now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<FileId>,
    pub head: Witness,
    #[serde(flatten)]
    pub position: Position,
    /// Where reading began: 0, but for what lay there before the agent came.
    #[serde(default)]
    pub begun_at: u64,
    /// The most bytes that were ever seen of it.
    #[serde(default)]
    pub size: u64,
    /// Up to here its unread bytes have been told as a gap.
    #[serde(default)]
    pub given_up: u64,
}

impl Life {
    /// A life of which nothing has been read.
    pub fn new(number: LifeNumber, id: LifeId, live: PathBuf) -> Life {
        Life {
            number,
            id,
            live,
            files: Vec::new(),
            was: None,
            head: Witness::of(&[]),
            position: Position::default(),
            begun_at: 0,
            size: 0,
            given_up: 0,
        }
    }

    /// Notes another file that holds this life.
    pub fn found_in(&mut self, file: FileId) {
        self.files.retain(|known| *known != file);
        self.files.push(file);
        let excess = self.files.len().saturating_sub(FILES_MAX);
        self.files.drain(..excess);
    }

    /// Notes that `file` holds other bytes now.
    pub fn replaced_in(&mut self, file: FileId) {
        self.files.retain(|known| *known != file);
        self.was = Some(file);
    }

    /// Forgets how far it was read.
    pub fn back_to_start(&mut self) {
        self.position = Position { offset: self.begun_at, ..Position::default() };
    }

    /// Bytes that were seen, not read, and not told of yet.
    pub fn unread(&self) -> Option<(u64, u64)> {
        let from = self.position.offset.max(self.given_up);
        (from < self.size).then_some((from, self.size))
    }
}

/// How far a frame moves a life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where the life stood before.
    pub from: u64,
    /// The life with the frame.
    #[serde(flatten)]
    pub life: Life,
}

/// A configured path, and what lay there when the agent saw it first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    pub path: String,
    /// Packed files that had been rotated already: they are not ours to read.
    pub before: Vec<FileId>,
}

/// All that is remembered of files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// The next life's number.
    pub next: u64,
    pub patterns: Vec<Pattern>,
    /// Oldest first.
    pub lives: Vec<Life>,
    /// What the lines so far say of those who sent them, packed; empty where it is not told.
    #[serde(skip)]
    pub behaviour: Bytes,
}

impl Known {
    /// A number for a new life.
    pub fn number(&mut self) -> LifeNumber {
        self.next += 1;
        LifeNumber(self.next)
    }

    pub fn life(&self, number: LifeNumber) -> Option<&Life> {
        self.lives.iter().find(|life| life.number == number)
    }

    pub fn life_mut(&mut self, number: LifeNumber) -> Option<&mut Life> {
        self.lives.iter_mut().find(|life| life.number == number)
    }

    /// Takes a life that a frame has moved; never backwards.
    pub fn advance(&mut self, life: Life) {
        match self.life_mut(life.number) {
            Some(known) if known.position.offset > life.position.offset => {
                known.given_up = known.given_up.max(life.given_up);
            }
            _ => self.put(life),
        }
    }

    /// Takes what is newest of a life. A file holds one life, so that its older ones were
    /// replaced there, even if that was not seen.
    pub fn put(&mut self, life: Life) {
        self.next = self.next.max(life.number.0);
        for older in self.lives.iter_mut().filter(|older| older.number < life.number) {
            for file in &life.files {
                if older.files.contains(file) {
                    older.replaced_in(*file);
                }
            }
        }
        match self.life_mut(life.number) {
            Some(known) => *known = life,
            None => {
                self.lives.push(life);
                self.forget_finished();
            }
        }
    }

    /// The life that a file holds now.
    pub fn of_file(&self, file: FileId) -> Option<&Life> {
        self.lives.iter().rev().find(|life| life.files.contains(&file))
    }

    /// Lives that a plain sibling of `live` may be a copy of: those that the file at the
    /// live path holds or held. Newest first.
    pub fn copied_from<'a>(&'a self, live: &'a Path, file: FileId) -> impl Iterator<Item = &'a Life> {
        self.of_family(live).filter(move |life| life.files.contains(&file) || life.was == Some(file))
    }

    /// Lives of a family, newest first.
    pub fn of_family<'a>(&'a self, live: &'a Path) -> impl Iterator<Item = &'a Life> {
        self.lives.iter().rev().filter(move |life| life.live == live)
    }

    /// Makes room: lives that are read to their end go first, oldest first.
    fn forget_finished(&mut self) {
        while self.lives.len() > LIVES_MAX {
            let finished = self.lives.iter().position(|life| life.unread().is_none());
            self.lives.remove(finished.unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(known: &mut Known, offset: u64, size: u64) -> LifeNumber {
        let number = known.number();
        let mut life = Life::new(number, LifeId([0; 16]), "/log".into());
        life.position.offset = offset;
        life.size = size;
        known.put(life);
        number
    }

    #[test]
    fn lives_with_unread_bytes_are_remembered_longest() {
        let mut known = Known::default();
        let unread = life(&mut known, 1, 2);
        let read = life(&mut known, 2, 2);
        for _ in 0..LIVES_MAX - 1 {
            life(&mut known, 1, 2);
        }
        assert_eq!(known.lives.len(), LIVES_MAX);
        assert!(known.life(unread).is_some());
        assert!(known.life(read).is_none());
    }

    #[test]
    fn a_file_holds_the_newest_of_its_lives() {
        let file = FileId { device: 1, inode: 2, born: Some(3) };
        let mut known = Known::default();
        let (old, new) = (life(&mut known, 1, 1), life(&mut known, 0, 0));
        for number in [old, new] {
            let mut life = known.life(number).unwrap().clone();
            life.found_in(file);
            known.put(life);
        }
        assert_eq!(known.of_file(file).unwrap().number, new);
        known.life_mut(new).unwrap().replaced_in(file);
        // The older one was replaced when the newer one was met.
        assert_eq!(known.of_file(file), None);
        assert_eq!(known.copied_from(Path::new("/log"), file).count(), 2);
    }
}
