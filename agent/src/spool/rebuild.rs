//! What the records of a spool say of files, put together again at the start.

use super::record::{Meta, Record};
use crate::tail::{Known, Life, LifeNumber};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Follows the records in order and notices what is missing between them.
///
/// Each frame says from where to where it moves its lives. Where one begins behind the
/// place that its life has reached, a frame between was lost; then the life stays there,
/// so that its file is read again from that place, until frames come that go on from it.
/// Whatever is read twice by that has the same ids.
#[derive(Debug, Default)]
pub struct Rebuild {
    known: Known,
    begun: bool,
    /// Lives that stay behind what records say.
    holed: BTreeSet<LifeNumber>,
    /// What the last snapshot that tells it says of behaviour, and the frames since then.
    behaviour: Bytes,
    frames: Vec<Bytes>,
}

/// What the records say in the end.
#[derive(Debug, Default)]
pub struct Rebuilt {
    pub known: Known,
    /// Lives that go back to bytes that are missing.
    pub holed: BTreeSet<LifeNumber>,
    /// [`Known::behaviour`] of the last snapshot that tells it.
    pub behaviour: Bytes,
    /// The frames behind that, in order: at most a segment of them.
    pub frames: Vec<Bytes>,
}

impl Rebuild {
    /// Takes the next record.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Snapshot(mut known) => {
                let behaviour = std::mem::take(&mut known.behaviour);
                if !behaviour.is_empty() {
                    self.behaviour = behaviour;
                    self.frames.clear();
                }
                self.snapshot(known);
            }
            Record::Frame(meta, payload) => {
                self.frames.push(payload);
                self.frame(meta);
            }
            Record::Skip => {}
        }
    }

    /// What is known in the end.
    pub fn finish(self) -> Rebuilt {
        let Rebuild { known, holed, behaviour, frames, .. } = self;
        Rebuilt { known, holed, behaviour, frames }
    }

    fn snapshot(&mut self, known: Known) {
        if !std::mem::replace(&mut self.begun, true) {
            self.known = known;
            return;
        }
        self.known.patterns = known.patterns;
        self.known.next = self.known.next.max(known.next);
        for life in known.lives {
            let from = life.position.offset;
            self.advance(life, from);
        }
    }

    fn frame(&mut self, meta: Meta) {
        self.begun = true;
        meta.marks.into_iter().for_each(|mark| self.advance(mark.life, mark.from));
    }

    /// A record tells of `life`, and that it was at `from` before.
    fn advance(&mut self, mut life: Life, from: u64) {
        let reached = self.known.life(life.number).map(|known| known.position.offset);
        if from > reached.unwrap_or(life.begun_at) {
            self.holed.insert(life.number);
            if reached.is_none() {
                life.back_to_start();
                self.known.put(life);
            }
        } else if reached.is_none_or(|reached| life.position.offset >= reached) {
            self.holed.remove(&life.number);
            self.known.put(life);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::{Mark, Witness};

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
        rebuild.finish().known.lives.iter().map(|life| (life.number.0, life.position.offset)).collect()
    }

    #[test]
    fn frames_move_lives() {
        let records = [snapshot([(1, 10)]), frame([(1, 10, 20)]), frame([(2, 0, 5)]), frame([(1, 20, 30), (2, 5, 7)])];
        assert_eq!(offsets(records), [(1, 30), (2, 7)]);
    }

    #[test]
    fn a_life_stays_where_a_frame_is_missing() {
        let records = [
            snapshot([(1, 10)]),
            frame([(1, 10, 20)]),
            frame([(1, 30, 40)]),
            snapshot([(1, 40)]),
            frame([(1, 40, 50)]),
        ];
        assert_eq!(offsets(records), [(1, 20)]);
    }

    #[test]
    fn a_life_goes_on_when_the_missing_bytes_are_read_again() {
        let records = [
            frame([(1, 0, 20)]),
            frame([(1, 30, 40)]),
            frame([(1, 20, 30)]),
            frame([(1, 30, 40)]),
            frame([(1, 40, 50)]),
        ];
        assert_eq!(offsets(records), [(1, 50)]);
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
    fn behaviour_is_that_of_the_last_snapshot_that_tells_it_and_of_the_frames_since() {
        let told = |text: &'static str| {
            Record::Snapshot(Known { behaviour: Bytes::from_static(text.as_bytes()), ..Known::default() })
        };
        let bytes = |text: &'static str| {
            let meta = Meta { key: String::new(), lines: 1, marks: Vec::new() };
            Record::Frame(meta, Bytes::from_static(text.as_bytes()))
        };
        let records = [told("a"), bytes("1"), told("b"), bytes("2"), snapshot([]), bytes("3")];
        let mut rebuild = Rebuild::default();
        records.into_iter().for_each(|record| rebuild.take(record));
        let rebuilt = rebuild.finish();
        assert_eq!((&*rebuilt.behaviour, rebuilt.frames.concat()), (&b"b"[..], b"23".to_vec()));
    }

    #[test]
    fn the_oldest_snapshot_is_believed() {
        assert_eq!(offsets([snapshot([(1, 500)]), frame([(1, 500, 600)])]), [(1, 600)]);
    }
}
