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

/// A life that can still be read where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InReach {
    pub life: LifeNumber,
    /// Bytes that its file has.
    pub size: u64,
}

/// Bytes of a life's own file: the life, where, and how many. `None` if there are fewer.
pub type BytesOf<'a> = dyn Fn(LifeNumber, u64, usize) -> Option<Vec<u8>> + 'a;

/// What is known of the other files of a family.
pub struct Around<'a> {
    pub known: &'a Known,
    pub live: &'a Path,
    /// The file at the live path.
    pub live_file: Option<FileId>,
    pub within_reach: &'a [InReach],
    pub bytes_of: &'a BytesOf<'a>,
}

impl Around<'_> {
    fn reach(&self, life: &Life) -> Option<u64> {
        self.within_reach.iter().find(|within| within.life == life.number).map(|within| within.size)
    }

    /// Whether the end of a file stands at the same place in the file of `life`: then all
    /// of it is read there. That both begin alike proves nothing, where each log begins
    /// with the same line.
    fn is_part_of(&self, file: &mut Follower, life: &Life) -> io::Result<bool> {
        let (size, end) = file.end()?;
        Ok(size > 0
            && (self.bytes_of)(life.number, size - end.len() as u64, end.len()).is_some_and(|bytes| bytes == end))
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
            if life.position.offset == 0 || !file.resume(life, false)? {
                continue;
            }
            if self.reach(life).is_none() {
                return Ok(Claim::Continues(life.number));
            }
            if self.is_part_of(file, life)? {
                return Ok(Claim::Waits(life.number));
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
                Some(size) if file.unpacked_size()? == size as u32 && self.is_part_of(file, life)? => {
                    return Ok(Claim::Waits(life.number));
                }
                Some(_) => {}
            }
        }
        Ok(Claim::New)
    }
}
