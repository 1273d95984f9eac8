//! Do the rows cover the stream? Decided from their hash ranges. No I/O.

use super::{Checkpoint, Lease};
use std::ops::RangeInclusive;

/// How often shards are listed at once when a hole is seen, before it is told.
const TRIES: u32 = 3;

/// Hash keys that no row covers.
pub type Hole = RangeInclusive<u128>;

/// The first hole in what the rows of unfinished shards cover together. A record whose key
/// falls into it would be read by nobody. `None` also where a row tells no range, as rows of
/// old KCL versions do.
pub fn hole(rows: &[Lease]) -> Option<Hole> {
    let live = rows.iter().filter(|row| row.checkpoint != Checkpoint::ShardEnd);
    let range = |row: &Lease| Some((row.starting_hash_key.parse().ok()?, row.ending_hash_key.parse().ok()?));
    let mut ranges = live.map(range).collect::<Option<Vec<(u128, u128)>>>()?;
    ranges.sort_unstable();
    let mut next = 0;
    for (start, end) in ranges {
        if start > next {
            return Some(next..=start - 1);
        }
        next = next.max(end.checked_add(1)?);
    }
    Some(next..=u128::MAX)
}

/// Watches for holes.
#[derive(Debug, Default)]
pub struct Audit {
    /// Looks in a row that have shown one.
    seen: u32,
}

/// What to do about the rows.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    Fine,
    /// Shards are to be listed at once: those without a row get one.
    ListShards,
    /// The stream has no shard there either, as far as it tells.
    Hole(Hole),
    /// It has been told.
    Known,
}

impl Audit {
    /// Looks at the rows.
    pub fn look(&mut self, rows: &[Lease]) -> Finding {
        let Some(hole) = hole(rows) else {
            self.seen = 0;
            return Finding::Fine;
        };
        self.seen = self.seen.saturating_add(1);
        match self.seen {
            ..=TRIES => Finding::ListShards,
            seen if seen == TRIES + 1 => Finding::Hole(hole),
            _ => Finding::Known,
        }
    }
}

/// The rows that nobody needs any more: finished, of shards that the stream does not list any
/// more (a day after their last record at the earliest, as long as a stream keeps records),
/// whose children all have begun. From the eldest on, as KCL removes them: a row whose parents
/// have rows stays.
pub fn past<'a>(rows: &'a [Lease], listed: &[String]) -> Vec<&'a Lease> {
    let is_finished = |row: &Lease| [&row.checkpoint, &row.indexed_through] == [&Checkpoint::ShardEnd; 2];
    let has_begun = |row: &Lease| matches!(row.checkpoint, Checkpoint::At(_) | Checkpoint::ShardEnd);
    let is_past = |row: &&Lease| {
        let mut children = rows.iter().filter(|child| child.parents.contains(&row.key)).peekable();
        is_finished(row)
            && !listed.contains(&row.key)
            && !rows.iter().any(|other| row.parents.contains(&other.key))
            && children.peek().is_some()
            && children.all(has_begun)
    };
    rows.iter().filter(is_past).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::{SequenceNumber, Shard};
    use proptest::prelude::*;

    fn row(key: &str, range: (u128, u128), parents: &[&str], checkpoint: Checkpoint) -> Lease {
        let shard = Shard {
            id: key.into(),
            parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
            starting_hash_key: range.0.to_string(),
            ending_hash_key: range.1.to_string(),
        };
        Lease::new(&shard, checkpoint, None)
    }

    const MIDDLE: u128 = 1 << 127;

    fn live(range: (u128, u128)) -> Lease {
        row("any", range, &[], Checkpoint::TrimHorizon)
    }

    #[test]
    fn a_hole_is_what_no_unfinished_shard_covers() {
        let whole = (0, u128::MAX);
        assert_eq!(hole(&[live(whole)]), None);
        assert_eq!(hole(&[]), Some(0..=u128::MAX));
        assert_eq!(hole(&[live((0, MIDDLE - 1)), live((MIDDLE, u128::MAX))]), None);
        assert_eq!(hole(&[live((0, MIDDLE - 1))]), Some(MIDDLE..=u128::MAX));
        assert_eq!(hole(&[live((3, u128::MAX)), live((0, 1))]), Some(2..=2));
        let finished = row("parent", whole, &[], Checkpoint::ShardEnd);
        assert_eq!(hole(&[finished.clone(), live((0, 9))]), Some(10..=u128::MAX), "a child is missing");
        let merged = [finished, live((MIDDLE, u128::MAX)), live(whole)];
        assert_eq!(hole(&merged), None, "a child waits for its other parent");
        let mut kcls = live((0, 9));
        kcls.ending_hash_key.clear();
        assert_eq!(hole(&[kcls]), None, "nobody knows");
    }

    #[test]
    fn a_hole_is_told_when_listing_has_not_closed_it() {
        let (mut audit, rows) = (Audit::default(), [live((0, 9))]);
        let found: Vec<_> = (0..5).map(|_| audit.look(&rows)).collect();
        let told = Finding::Hole(10..=u128::MAX);
        assert_eq!(found, [Finding::ListShards, Finding::ListShards, Finding::ListShards, told, Finding::Known]);
        assert_eq!(audit.look(&[live((0, u128::MAX))]), Finding::Fine);
        assert_eq!(audit.look(&rows), Finding::ListShards);
    }

    proptest! {
        #[test]
        fn split_and_merged_as_you_like_a_stream_is_covered_until_a_row_is_gone(
            cuts in prop::collection::btree_set(1u128.., 0..8), gone: prop::sample::Index,
        ) {
            let starts: Vec<_> = [0].into_iter().chain(cuts.iter().copied()).collect();
            let ends = cuts.iter().map(|cut| cut - 1).chain([u128::MAX]);
            let mut rows: Vec<_> = starts.into_iter().zip(ends).map(live).collect();
            prop_assert_eq!(hole(&rows), None);
            let at = gone.index(rows.len());
            let row = rows.swap_remove(at);
            let range: (u128, u128) = (row.starting_hash_key.parse().unwrap(), row.ending_hash_key.parse().unwrap());
            prop_assert_eq!(hole(&rows), Some(range.0..=range.1));
        }
    }

    #[test]
    fn a_row_goes_when_the_stream_has_forgotten_its_shard_and_all_children_have_begun() {
        let at = || Checkpoint::At(SequenceNumber::new("7").unwrap());
        let range = (0, u128::MAX);
        let past = |child: Checkpoint, listed: &[String]| {
            let rows = [
                row("a", range, &[], Checkpoint::ShardEnd),
                row("b", range, &["a"], at()),
                row("c", range, &["a"], child),
            ];
            super::past(&rows, listed).into_iter().map(|row| row.key.clone()).collect::<Vec<_>>()
        };
        assert_eq!(past(at(), &[]), ["a"]);
        assert_eq!(past(Checkpoint::ShardEnd, &[]), ["a"]);
        assert_eq!(past(Checkpoint::TrimHorizon, &[]), [""; 0]);
        assert_eq!(past(at(), &["a".into()]), [""; 0]);
        let alone = [row("a", range, &[], Checkpoint::ShardEnd)];
        assert_eq!(super::past(&alone, &[]), Vec::<&Lease>::new(), "its children have no rows yet");
        let generations = [
            row("a", range, &[], Checkpoint::ShardEnd),
            row("b", range, &["a"], Checkpoint::ShardEnd),
            row("c", range, &["b"], at()),
        ];
        assert_eq!(super::past(&generations, &[]), [&generations[0]], "the eldest first");
    }
}
