//! How long a path's answers usually are.

use serde::{Deserialize, Serialize};

/// Sizes of which one path's are counted.
const SIZES: usize = 4;

/// Answers that must have been seen before something is said of the next one.
const ENOUGH: u32 = 5;

/// Answers at which all counts are halved: what a page was like long ago says little of what it is like now.
const REMEMBERED: u32 = 64;

/// Answers of a size that is usual, however small a part of all they are.
const USUAL: u32 = 3;

/// Bytes by which answers differ that are of one size: a counter, a time.
const ALIKE_BYTES: u32 = 8;

/// Queries that they must have been the answers to before one that is longer than all tells: what
/// is shown for one value says nothing of what is shown for another.
const QUERIES: u32 = 3;

/// The commonest sizes of a path's answers, with counts that may be too low: a size that is
/// not among them wears down the rarest until it takes its place, and old answers count less.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    answers: u32,
    common: [(u32, u32); SIZES],
    /// A bit for each query.
    #[serde(rename = "q", default)]
    queries: u64,
}

/// How a size compares to what is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// Too few are known, or all differ.
    Unclear,
    Usual,
    /// Another size than `usual`, the one next to it.
    Shorter {
        usual: u32,
    },
    Longer {
        usual: u32,
    },
}

impl Sizes {
    /// Notes an answer of this many bytes to a query of this hash.
    pub fn note(&mut self, bytes: u64, query: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.queries |= 1 << (query & 63);
        if self.answers >= REMEMBERED {
            self.answers /= 2;
            self.common.iter_mut().for_each(|(_, count)| *count /= 2);
        }
        self.answers += 1;
        let is_it = |known: &&mut (u32, u32)| known.1 > 0 && known.0.abs_diff(bytes) <= ALIKE_BYTES;
        if let Some((_, count)) = self.common.iter_mut().find(is_it) {
            *count = count.saturating_add(1);
        } else if let Some(rarest) = self.common.iter_mut().min_by_key(|known| known.1) {
            *rarest = if rarest.1 <= 1 { (bytes, 1) } else { (rarest.0, rarest.1 - 1) };
        }
    }

    /// How many answers were noted.
    pub fn answers(&self) -> u32 {
        self.answers
    }

    /// Whether an answer of this many bytes is known, if only one.
    pub fn have(&self, bytes: u64, tolerance: u32) -> bool {
        let is_it = |known: &(u32, u32)| known.1 > 0 && u64::from(known.0).abs_diff(bytes) <= u64::from(tolerance);
        self.common.iter().any(is_it)
    }

    /// How an answer of this many bytes compares to the others. Only where few sizes make
    /// up most answers does an odd one mean anything.
    pub fn compare(&self, bytes: u64, tolerance: u32) -> Compared {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let known = || self.common.iter().filter(|(_, count)| *count > 0);
        let is_usual = |count: u32| count >= USUAL || count > 1 && count >= self.answers / 20;
        let usual = || known().filter(|(_, count)| is_usual(*count)).map(|(size, _)| *size);
        let of_usual: u32 = known().filter(|(_, count)| *count > 1).map(|(_, count)| *count).sum();
        if self.answers < ENOUGH || u64::from(of_usual) * 10 < u64::from(self.answers) * 8 {
            return Compared::Unclear;
        }
        let Some(nearest) = usual().min_by_key(|size| size.abs_diff(bytes)) else { return Compared::Unclear };
        let (least, most) = (usual().min().unwrap_or(nearest), usual().max().unwrap_or(nearest));
        if nearest.abs_diff(bytes) <= tolerance {
            Compared::Usual
        } else if bytes > most && self.queries.count_ones() >= QUERIES {
            Compared::Longer { usual: most }
        } else if bytes < least {
            Compared::Shorter { usual: least }
        } else {
            Compared::Unclear
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(of: &[u64]) -> Sizes {
        let mut sizes = Sizes::default();
        of.iter().zip(0..).for_each(|(bytes, query)| sizes.note(*bytes, query));
        sizes
    }

    #[test]
    fn what_one_query_is_answered_with_says_nothing_of_longer_answers_to_others() {
        let mut sizes = Sizes::default();
        (0..9).for_each(|_| sizes.note(4_883, 1));
        assert_eq!(sizes.compare(5_230, 32), Compared::Unclear);
        (2..4).for_each(|query| sizes.note(4_883, query));
        assert_eq!(sizes.compare(5_230, 32), Compared::Longer { usual: 4_883 });
    }

    #[test]
    fn an_answer_that_is_longer_than_all_others_stands_out() {
        let sizes = sizes(&[4_883, 4_883, 4_940, 4_883, 4_940, 4_883]);
        assert_eq!(sizes.compare(4_900, 32), Compared::Usual);
        assert_eq!(sizes.compare(5_230, 32), Compared::Longer { usual: 4_940 });
        assert_eq!(sizes.compare(295, 32), Compared::Shorter { usual: 4_883 });
    }

    #[test]
    fn a_page_that_has_grown_is_as_long_as_it_is_now() {
        let mut sizes = Sizes::default();
        (0..20_000).for_each(|query| sizes.note(14_000 + query % 4 * 7, query));
        (0..3).for_each(|query| sizes.note(15_200 + query * 2, query));
        assert_eq!(sizes.compare(15_203, 16), Compared::Usual);
        assert_eq!(sizes.compare(14_003, 16), Compared::Usual);
        assert_eq!(sizes.compare(19_000, 16), Compared::Longer { usual: 15_200 });
        // What it was like is forgotten.
        (0..1_000).for_each(|query| sizes.note(15_200, query));
        assert_eq!(sizes.compare(14_003, 16), Compared::Shorter { usual: 15_200 });
    }

    #[test]
    fn nothing_stands_out_where_every_answer_differs_or_few_are_known() {
        assert_eq!(sizes(&[10, 20, 30, 40, 50, 60, 70, 80, 90]).compare(900, 0), Compared::Unclear);
        assert_eq!(sizes(&[7, 7]).compare(900, 0), Compared::Unclear);
    }
}
