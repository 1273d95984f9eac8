//! Which leases to take. No clock of its own, no I/O.

use super::{Checkpoint, Lease};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What this process has seen of other owners' rows: a counter that stands still for
/// the failover time means that its owner is gone.
#[derive(Debug, Default)]
pub struct Observer {
    seen: HashMap<String, (u64, Instant)>,
}

impl Observer {
    /// Takes note of the rows as they are at `now` (monotonic).
    pub fn observe(&mut self, rows: &[Lease], now: Instant) {
        self.seen.retain(|key, _| rows.iter().any(|row| row.key == *key));
        for row in rows {
            let seen = self.seen.entry(row.key.clone()).or_insert((row.counter, now));
            if seen.0 != row.counter {
                *seen = (row.counter, now);
            }
        }
    }

    /// Whether nobody holds the row, or its owner has not moved it for `failover`.
    fn is_free(&self, row: &Lease, now: Instant, failover: Duration) -> bool {
        let still = |(_, since): &(u64, Instant)| now.duration_since(*since) >= failover;
        row.owner.is_none() || self.seen.get(&row.key).is_some_and(still)
    }

    /// The rows that `me` should take: free ones that are not finished and whose
    /// parents are.
    pub fn plan<'a>(&self, rows: &'a [Lease], me: &str, now: Instant, failover: Duration) -> Vec<&'a Lease> {
        let finished = |key: &String| {
            rows.iter().find(|row| row.key == *key).is_none_or(|row| row.checkpoint == Checkpoint::ShardEnd)
        };
        rows.iter()
            .filter(|row| row.owner.as_deref() != Some(me) && self.is_free(row, now, failover))
            .filter(|row| !is_done(row) && row.parents.iter().all(finished))
            .collect()
    }
}

/// Whether nothing is left to do: all is archived, and all of that is indexed.
fn is_done(row: &Lease) -> bool {
    row.checkpoint == Checkpoint::ShardEnd && row.indexed_through == Checkpoint::ShardEnd
}

/// The row after `me` has taken it.
pub fn taken(row: &Lease, me: &str) -> Lease {
    let switches = row.owner_switches + u64::from(row.owner.as_deref() != Some(me));
    Lease { owner: Some(me.to_owned()), counter: row.counter + 1, owner_switches: switches, ..row.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::Shard;

    const FAILOVER: Duration = Duration::from_secs(10);

    fn row(key: &str, owner: Option<&str>, parents: &[&str]) -> Lease {
        let shard = Shard {
            id: key.into(),
            parents: parents.iter().map(|p| (*p).to_owned()).collect(),
            starting_hash_key: "0".into(),
            ending_hash_key: "1".into(),
        };
        Lease { owner: owner.map(str::to_owned), ..Lease::new(&shard, Checkpoint::TrimHorizon, None) }
    }

    fn planned(observer: &Observer, rows: &[Lease], now: Instant) -> Vec<String> {
        observer.plan(rows, "me", now, FAILOVER).iter().map(|row| row.key.clone()).collect()
    }

    #[test]
    fn a_lease_whose_owner_is_gone_is_taken_after_the_failover_time() {
        let (mut observer, start) = (Observer::default(), Instant::now());
        let mut rows = [row("a", Some("other"), &[])];
        observer.observe(&rows, start);
        assert!(planned(&observer, &rows, start + FAILOVER / 2).is_empty());
        rows[0].counter += 1;
        observer.observe(&rows, start + FAILOVER / 2);
        assert!(planned(&observer, &rows, start + FAILOVER).is_empty());
        assert_eq!(planned(&observer, &rows, start + FAILOVER * 3 / 2), ["a"]);
    }

    #[test]
    fn children_wait_for_all_their_parents() {
        let observer = Observer::default();
        let mut rows = [row("a", None, &[]), row("b", None, &[]), row("c", None, &["a", "b", "long gone"])];
        assert_eq!(planned(&observer, &rows, Instant::now()), ["a", "b"]);
        rows[0].checkpoint = Checkpoint::ShardEnd;
        assert_eq!(planned(&observer, &rows, Instant::now()), ["b"]);
        rows[1].checkpoint = Checkpoint::ShardEnd;
        assert_eq!(planned(&observer, &rows, Instant::now()), ["c"]);
    }
}
