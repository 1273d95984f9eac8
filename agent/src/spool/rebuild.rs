//! What the records of a spool say of files, put together again at the start.

use super::record::{Meta, Record};
use crate::tail::{Known, Life, LifeNumber};
use std::collections::BTreeSet;

/// Follows the records in order and notices what is missing between them.
///
/// Each frame says from where to where it moves its lives. Where one begins behind the
/// place that its life has reached, a frame between was lost; then the life stays at
/// that place, so that its file is read again from there. Whatever is read twice by that
/// has the same ids.
#[derive(Debug, Default)]
pub struct Rebuild {
    known: Known,
    begun: bool,
    /// Lives with bytes missing; what later records say of them does not count.
    holed: BTreeSet<LifeNumber>,
}

impl Rebuild {
    /// Takes the next record.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Snapshot(known) => self.snapshot(known),
            Record::Frame(meta, _) => self.frame(meta),
            Record::Skip => {}
        }
    }

    /// What is known in the end, and which lives go back to bytes that are missing.
    pub fn finish(self) -> (Known, BTreeSet<LifeNumber>) {
        (self.known, self.holed)
    }

    fn snapshot(&mut self, known: Known) {
        if !std::mem::replace(&mut self.begun, true) {
            self.known = known;
            return;
        }
        self.known.patterns = known.patterns;
        self.known.next = self.known.next.max(known.next);
        for life in known.lives {
            match self.known.life(life.number) {
                Some(before) if before.position.offset >= life.position.offset => self.replace(life),
                // It moved, and no frame here says how: it goes on from what is sure.
                Some(_) => drop(self.holed.insert(life.number)),
                None if life.position.offset == life.begun_at => self.replace(life),
                None => self.insert_holed(life),
            }
        }
    }

    fn frame(&mut self, meta: Meta) {
        self.begun = true;
        for mark in meta.marks {
            let reached = self.known.life(mark.life.number).map(|life| life.position.offset);
            match reached {
                Some(offset) if mark.from > offset => drop(self.holed.insert(mark.life.number)),
                Some(offset) if mark.life.position.offset < offset => {}
                None if mark.from > mark.life.begun_at => self.insert_holed(mark.life),
                _ => self.replace(mark.life),
            }
        }
    }

    fn replace(&mut self, life: Life) {
        if !self.holed.contains(&life.number) {
            self.known.put(life);
        }
    }

    /// A life whose first frames are missing begins at its start again.
    fn insert_holed(&mut self, mut life: Life) {
        if self.holed.insert(life.number) {
            life.back_to_start();
            self.known.put(life);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::{Mark, Witness};
    use bytes::Bytes;

    fn life(number: u64, offset: u64) -> Life {
        let mut life = Life::new(LifeNumber(number), event::LifeId([number as u8; 16]), "/log".into());
        life.head = Witness::of(b"head");
        life.position.offset = offset;
        life
    }

    fn frame(marks: impl IntoIterator<Item = (u64, u64, u64)>) -> Record {
        let mark = |(number, from, to)| Mark { from, life: life(number, to) };
        let meta = Meta { key: String::new(), lines: 1, marks: marks.into_iter().map(mark).collect() };
        Record::Frame(meta, Bytes::new())
    }

    fn snapshot(lives: impl IntoIterator<Item = (u64, u64)>) -> Record {
        let lives = lives.into_iter().map(|(number, offset)| life(number, offset)).collect();
        Record::Snapshot(Known { lives, ..Known::default() })
    }

    fn offsets(records: impl IntoIterator<Item = Record>) -> Vec<(u64, u64)> {
        let mut rebuild = Rebuild::default();
        records.into_iter().for_each(|record| rebuild.take(record));
        rebuild.finish().0.lives.iter().map(|life| (life.number.0, life.position.offset)).collect()
    }

    #[test]
    fn frames_move_lives() {
        let records = [snapshot([(1, 10)]), frame([(1, 10, 20)]), frame([(2, 0, 5)]), frame([(1, 20, 30), (2, 5, 7)])];
        assert_eq!(offsets(records), [(1, 30), (2, 7)]);
    }

    #[test]
    fn a_life_stays_where_a_frame_is_missing() {
        let records = [snapshot([(1, 10)]), frame([(1, 10, 20)]), frame([(1, 30, 40)]), snapshot([(1, 40)]), frame([(1, 40, 50)])];
        assert_eq!(offsets(records), [(1, 20)]);
    }

    #[test]
    fn a_snapshot_that_is_ahead_of_the_frames_shows_a_hole() {
        assert_eq!(offsets([snapshot([(1, 10)]), snapshot([(1, 30)]), frame([(1, 30, 40)])]), [(1, 10)]);
    }

    #[test]
    fn a_life_whose_first_frame_is_missing_begins_again() {
        assert_eq!(offsets([snapshot([]), frame([(3, 10, 20)]), frame([(3, 20, 30)])]), [(3, 0)]);
    }

    #[test]
    fn the_oldest_snapshot_is_believed() {
        assert_eq!(offsets([snapshot([(1, 500)]), frame([(1, 500, 600)])]), [(1, 600)]);
    }
}
