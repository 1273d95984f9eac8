//! Which life a file goes on with that is seen for the first time.
//!
//! Content alone never decides, and in doubt a file is read from its start: what is read
//! twice has the same ids, and what is passed over is lost.

use super::file::{FileId, Follower};
use super::lives::{Known, Life, LifeNumber};
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Lives that are compared with a packed file, newest first: each costs unpacking it.
const PACKED_CANDIDATES_MAX: usize = 8;

/// What to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It holds a life of its own; read it from the start.
    New,
    /// It holds this life, which goes on in it.
    Continues(LifeNumber),
    /// It is a copy of a life that is still read where it is; look again when that ends.
    Waits(LifeNumber),
}

/// What is known of the other files of a family.
#[derive(Debug)]
pub struct Around<'a> {
    pub known: &'a Known,
    pub live: &'a Path,
    /// The file at the live path.
    pub live_file: Option<FileId>,
    /// Lives that can still be read where they are, each with the size of its file.
    pub within_reach: &'a [(LifeNumber, u64)],
}

impl Around<'_> {
    fn reach(&self, life: &Life) -> Option<u64> {
        self.within_reach.iter().find(|(number, _)| *number == life.number).map(|(_, size)| *size)
    }

    /// Decides on a file that no life is known to be in. Leaves it at its start, or
    /// where the life goes on. `is_live` says that it stands at the live path: there it
    /// is never a copy.
    pub fn claim(&self, file: &mut Follower, is_live: bool) -> io::Result<Claim> {
        if is_live {
            return Ok(Claim::New);
        }
        if file.is_packed() { self.claim_packed(file) } else { self.claim_plain(file) }
    }

    /// A plain sibling can only be a copy of what the file at the live path holds or held.
    fn claim_plain(&self, file: &mut Follower) -> io::Result<Claim> {
        let Some(live_file) = self.live_file else { return Ok(Claim::New) };
        for life in self.known.copied_from(self.live, live_file) {
            if life.position.offset > 0 && file.resume(life, false)? {
                let within_reach = self.reach(life).is_some();
                return Ok(if within_reach { Claim::Waits(life.number) } else { Claim::Continues(life.number) });
            }
        }
        Ok(Claim::New)
    }

    /// Lives that are in no file any more, and whose unread bytes are in this one, which
    /// is read from its start: nothing of them is lost.
    pub fn covered(&self, file: &mut Follower) -> io::Result<Vec<LifeNumber>> {
        let mut covered = Vec::new();
        let lost = self.known.of_family(self.live).filter(|life| life.unread().is_some() && self.reach(life).is_none());
        for life in lost.take(PACKED_CANDIDATES_MAX) {
            if file.is_packed() || file.life_bytes() < life.size {
                continue;
            }
            if file.resume(life, false)? {
                covered.push(life.number);
            }
        }
        file.back_to_start()?;
        Ok(covered)
    }

    /// A packed file may hold any life of the family.
    fn claim_packed(&self, file: &mut Follower) -> io::Result<Claim> {
        let mut seen = HashSet::new();
        let lives = self.known.of_family(self.live).filter(|life| life.position.offset > 0);
        for life in lives.filter(|life| seen.insert((&life.head, life.position.offset))).take(PACKED_CANDIDATES_MAX) {
            if !file.resume(life, false)? {
                continue;
            }
            match self.reach(life) {
                None => return Ok(Claim::Continues(life.number)),
                Some(size) if file.unpacked_size()? == size as u32 => return Ok(Claim::Waits(life.number)),
                Some(_) => {}
            }
        }
        Ok(Claim::New)
    }
}
