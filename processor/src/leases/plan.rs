//! Which leases to take, and which to ask for. No clock of its own, no I/O.
//!
//! Each worker decides for itself from the rows; nobody leads. It takes free leases up to
//! its fair share. Where none is free, and another worker holds at least two more, it asks
//! that one for a lease, for one at a time: so what workers hold comes within one of each
//! other, and then stays.

use super::{Checkpoint, Lease, Swap};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// What a worker should do with the rows as they are.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Plan<'a> {
    /// To be taken now: free ones, and our own that nobody works on.
    pub take: Vec<&'a Lease>,
    /// Its owner is to be asked for it.
    pub ask: Option<&'a Lease>,
    /// Ours, and another worker asks for them.
    pub give: Vec<&'a Lease>,
}

/// What this process has seen of other owners' rows: a counter that stands still for
/// the failover time means that its owner is gone.
#[derive(Debug)]
pub struct Observer {
    me: String,
    failover: Duration,
    seen: HashMap<String, (u64, Instant)>,
}

impl Observer {
    /// The observer of the worker `me`, which has seen nothing yet.
    pub fn new(me: &str, failover: Duration) -> Observer {
        Observer { me: me.to_owned(), failover, seen: HashMap::new() }
    }

    /// Takes note of the rows as they are at `now` (monotonic).
    pub fn observe(&mut self, rows: &[Lease], now: Instant) {
        if self.seen.len() > rows.len() {
            self.seen.retain(|key, _| rows.iter().any(|row| row.key == *key));
        }
        for row in rows {
            match self.seen.get_mut(&row.key) {
                Some((counter, _)) if *counter == row.counter => {}
                Some(seen) => *seen = (row.counter, now),
                None => drop(self.seen.insert(row.key.clone(), (row.counter, now))),
            }
        }
    }

    /// What to do at `now`. `is_worked_on` tells the keys of which a task of ours works.
    pub fn plan<'a>(&self, rows: &'a [Lease], is_worked_on: impl Fn(&str) -> bool, now: Instant) -> Plan<'a> {
        let open: Vec<_> = rows.iter().filter(|row| is_open(row, rows)).collect();
        let (ours, others): (Vec<&Lease>, Vec<_>) = open.iter().partition(|row| self.is_me(&row.owner));
        let (give, keep): (Vec<&Lease>, Vec<_>) = ours.iter().partition(|row| row.handoff_to.is_some());
        let alone = ours.iter().filter(|row| !is_worked_on(&row.key));
        let (free, held): (Vec<_>, Vec<_>) = others.into_iter().partition(|row| self.is_free(row, now));

        let owners: BTreeSet<_> = held.iter().filter_map(|row| row.owner.as_deref()).collect();
        let share = open.len().div_ceil(owners.len() + 1);
        let due = self.due(free, share.saturating_sub(ours.len()), now);
        let take: Vec<_> = alone.copied().chain(due).collect();
        let is_waiting = held.iter().any(|row| self.is_me(&row.handoff_to));
        let ask = if take.is_empty() && !is_waiting { to_ask_for(&held, keep.len()) } else { None };
        let give = give.into_iter().filter(|row| is_worked_on(&row.key)).collect();
        Plan { take, ask, give }
    }

    fn is_me(&self, worker: &Option<String>) -> bool {
        worker.as_ref() == Some(&self.me)
    }

    /// How long the row has not moved, as far as we have seen.
    fn still(&self, row: &Lease, now: Instant) -> Duration {
        self.seen.get(&row.key).map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since))
    }

    /// Whether nobody holds the row and no other one has asked for it, or it has not
    /// moved for the failover time.
    fn is_free(&self, row: &Lease, now: Instant) -> bool {
        let is_promised = row.handoff_to.is_some() && !self.is_me(&row.handoff_to);
        row.owner.is_none() && !is_promised || self.still(row, now) >= self.failover
    }

    /// Of the free rows those that we should take: all that were let go for us, and others
    /// as there is room. What nobody took for another half of the failover time is taken
    /// whoever has room: one of those that we counted on does not work.
    fn due<'a>(&self, mut free: Vec<&'a Lease>, room: usize, now: Instant) -> Vec<&'a Lease> {
        // Each worker begins elsewhere, so that several that start at once get some each.
        free.sort_by_cached_key(|row| (!self.is_me(&row.handoff_to), hash(&self.me, &row.key)));
        let must = |row: &Lease| self.is_me(&row.handoff_to) || self.still(row, now) >= self.failover * 3 / 2;
        free.into_iter().enumerate().filter(|(at, row)| *at < room || must(row)).map(|(_, row)| row).collect()
    }
}

/// Leases that wait for an owner. A child of a shard that is still archived does not.
pub fn free(rows: &[Lease]) -> usize {
    rows.iter().filter(|row| row.owner.is_none() && is_open(row, rows)).count()
}

/// Whether the shard is to be worked on: something is left to archive or to index, and all
/// its parents are archived.
fn is_open(row: &Lease, rows: &[Lease]) -> bool {
    let is_archived = |row: &Lease| row.checkpoint == Checkpoint::ShardEnd;
    let is_done = is_archived(row) && row.indexed_through == Checkpoint::ShardEnd;
    let is_past = |key: &String| rows.iter().find(|row| row.key == *key).is_none_or(is_archived);
    !is_done && row.parents.iter().all(is_past)
}

/// One of the worker that holds most, if that is at least two more than we do. Leases that
/// somebody has asked for are no longer counted as their owner's. All who come to the same
/// end choose the same lease, so one of them gets it and the others look again.
fn to_ask_for<'a>(held: &[&'a Lease], ours: usize) -> Option<&'a Lease> {
    let mut by_owner: BTreeMap<_, Vec<&Lease>> = BTreeMap::new();
    for row in held.iter().filter(|row| row.handoff_to.is_none()) {
        by_owner.entry(row.owner.as_deref()?).or_default().push(row);
    }
    let most = by_owner.into_values().max_by_key(Vec::len)?;
    let first = most.iter().min_by_key(|row| &row.key).copied();
    first.filter(|_| most.len() >= ours + 2)
}

fn hash(me: &str, key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (me, key).hash(&mut hasher);
    hasher.finish()
}

/// The row after `me` has taken it.
pub fn taken(row: &Lease, me: &str) -> Lease {
    let switches = row.owner_switches + u64::from(row.owner.as_deref() != Some(me));
    Lease {
        owner: Some(me.to_owned()),
        counter: row.counter + 1,
        handoff_to: None,
        owner_switches: switches,
        ..row.clone()
    }
}

/// The lease in hand after the answer to the write of `lease`, which was to take it. The
/// row may be as we wrote it although the table says that it was not as expected: the answer
/// to an earlier try was lost. Its cursors may be those of an earlier task of ours.
pub fn in_hand(lease: Lease, answer: Swap) -> Option<Lease> {
    match answer {
        Swap::Done => Some(lease),
        Swap::Lost(Some(row)) if row.owner == lease.owner && row.counter == lease.counter => Some(*row),
        Swap::Lost(_) => None,
    }
}

/// The row after `me` has asked its owner for it. The counter stays: it tells whether the
/// owner lives, not whether others do.
pub fn asked(row: &Lease, me: &str) -> Lease {
    Lease { handoff_to: Some(me.to_owned()), ..row.clone() }
}

/// The row as it is after its owner has renewed it while `row` was to be asked for: it can be
/// asked for again at once. Else an owner who renews between each look and write would never
/// be asked.
pub fn renewed_meanwhile(row: &Lease, answer: Swap) -> Option<Lease> {
    match answer {
        Swap::Lost(Some(now)) if now.owner == row.owner && now.handoff_to.is_none() => Some(*now),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::Shard;
    use proptest::prelude::*;

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

    fn observer() -> Observer {
        Observer::new("me", FAILOVER)
    }

    fn keys(rows: &[&Lease]) -> Vec<String> {
        let mut keys: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
        keys.sort();
        keys
    }

    fn planned<'a>(observer: &Observer, rows: &'a [Lease], now: Instant) -> Plan<'a> {
        observer.plan(rows, |_| true, now)
    }

    #[test]
    fn a_lease_whose_owner_is_gone_is_taken_after_the_failover_time() {
        let (mut observer, start) = (observer(), Instant::now());
        let mut rows = [row("a", Some("other"), &[])];
        observer.observe(&rows, start);
        assert_eq!(planned(&observer, &rows, start + FAILOVER / 2), Plan::default());
        rows[0].counter += 1;
        observer.observe(&rows, start + FAILOVER / 2);
        assert_eq!(planned(&observer, &rows, start + FAILOVER), Plan::default());
        assert_eq!(keys(&planned(&observer, &rows, start + FAILOVER * 3 / 2).take), ["a"]);
    }

    #[test]
    fn children_wait_until_all_their_parents_are_archived() {
        let take = |rows: &[Lease]| keys(&planned(&observer(), rows, Instant::now()).take);
        let mut rows = [row("a", None, &[]), row("b", None, &[]), row("c", None, &["a", "b", "long gone"])];
        assert_eq!((take(&rows), free(&rows)), (keys(&[&rows[0], &rows[1]]), 2));
        let end = Checkpoint::ShardEnd;
        (rows[0].checkpoint, rows[0].indexed_through) = (end.clone(), end.clone());
        assert_eq!(take(&rows), ["b"]);
        rows[1].checkpoint = end.clone();
        assert_eq!(take(&rows), ["b", "c"], "the index still follows the parent");
        rows[1].indexed_through = end;
        assert_eq!((take(&rows), free(&rows)), (vec!["c".to_owned()], 1));
        rows[2].owner = Some("other".to_owned());
        assert_eq!(free(&rows), 0);
    }

    #[test]
    fn free_leases_are_taken_up_to_the_fair_share_and_all_when_nobody_else_takes_them() {
        let (mut observer, start) = (observer(), Instant::now());
        let mut rows = [row("a", Some("other"), &[]), row("b", None, &[]), row("c", None, &[]), row("d", None, &[])];
        observer.observe(&rows, start);
        assert_eq!(planned(&observer, &rows, start).take.len(), 2);
        rows[0].counter += 1;
        observer.observe(&rows, start + FAILOVER);
        assert_eq!(planned(&observer, &rows, start + FAILOVER * 3 / 2).take.len(), 3);
    }

    #[test]
    fn a_lease_of_ours_that_nobody_works_on_is_taken_again() {
        let rows = [row("a", Some("me"), &[]), row("b", Some("me"), &[]), row("c", Some("other"), &[])];
        let plan = observer();
        let plan = plan.plan(&rows, |key| key != "b", Instant::now());
        assert_eq!((keys(&plan.take), plan.ask, &plan.give[..]), (vec!["b".to_owned()], None, &[][..]));
    }

    #[test]
    fn who_holds_two_fewer_asks_for_one_lease_and_waits_for_it() {
        let mut rows = ["a", "b", "c", "d"].map(|key| row(key, Some("other"), &[]));
        let plan = |rows: &[Lease]| planned(&observer(), rows, Instant::now()).ask.map(|row| row.key.clone());
        assert_eq!(plan(&rows), Some("a".into()));
        rows[0] = asked(&rows[0], "me");
        assert_eq!(plan(&rows), None, "one at a time");
        rows[0] = taken(&rows[0], "me");
        assert_eq!(plan(&rows), Some("b".into()));
        rows[1] = taken(&rows[1], "me");
        assert_eq!(plan(&rows), None);
    }

    #[test]
    fn what_was_asked_for_is_let_go_and_kept_for_who_asked() {
        let (mut observer, start) = (observer(), Instant::now());
        let mut rows = [asked(&row("a", Some("me"), &[]), "other")];
        observer.observe(&rows, start);
        assert_eq!(keys(&planned(&observer, &rows, start).give), ["a"]);
        rows[0].owner = None;
        assert_eq!(planned(&observer, &rows, start), Plan::default());
        let others = Observer::new("other", FAILOVER);
        assert_eq!(keys(&planned(&others, &rows, start).take), ["a"]);
        assert_eq!(taken(&rows[0], "other").handoff_to, None);
        assert_eq!(keys(&planned(&observer, &rows, start + FAILOVER).take), ["a"], "who asked is gone");
    }

    /// Rows of some workers, none of them asked for.
    fn held(owners: &[usize]) -> Vec<Lease> {
        let row = |(at, owner): (usize, &usize)| {
            row(&format!("{at:02}"), owner.checked_sub(1).map(|owner| format!("w{owner}")).as_deref(), &[])
        };
        owners.iter().enumerate().map(row).collect()
    }

    fn counts(rows: &[Lease], workers: usize) -> Vec<usize> {
        let of = |worker| rows.iter().filter(|row| row.owner.as_deref() == Some(&format!("w{worker}"))).count();
        (0..workers).map(of).collect()
    }

    fn are_even(counts: &[usize]) -> bool {
        counts.iter().max().zip(counts.iter().min()).is_none_or(|(most, least)| most - least <= 1)
    }

    /// All workers plan from the same rows, and then do what they have planned, in turn.
    /// Returns how many asked.
    fn round(rows: &mut [Lease], workers: usize, seen: Instant) -> usize {
        let before = rows.to_vec();
        let mut asks = 0;
        for worker in 0..workers {
            let me = format!("w{worker}");
            let mut observer = Observer::new(&me, FAILOVER);
            observer.observe(&before, seen);
            let Plan { take, ask, give } = observer.plan(&before, |_| true, seen);
            let mut swap = |old: &Lease, new: Lease| {
                let now = rows.iter_mut().find(|row| row.key == old.key).unwrap();
                if *now == *old {
                    *now = new;
                }
            };
            take.iter().for_each(|row| swap(row, taken(row, &me)));
            ask.iter().for_each(|row| swap(row, asked(row, &me)));
            give.iter().for_each(|row| swap(row, Lease { owner: None, counter: row.counter + 1, ..(*row).clone() }));
            asks += usize::from(ask.is_some());
        }
        asks
    }

    proptest! {
        #[test]
        fn every_lease_gets_an_owner_and_workers_come_within_one_lease_of_each_other(
            workers in 1usize..6, owners in prop::collection::vec(0usize..6, 0..20),
        ) {
            let owners: Vec<_> = owners.into_iter().map(|owner| owner.min(workers)).collect();
            let (mut rows, now) = (held(&owners), Instant::now());
            let is_settled = |rows: &[Lease]| rows.iter().all(|row| row.owner.is_some() && row.handoff_to.is_none());
            for _ in 0..4 * rows.len() + 4 {
                let asks = round(&mut rows, workers, now);
                prop_assert!(asks <= workers);
                let counts = counts(&rows, workers);
                if is_settled(&rows) && are_even(&counts) {
                    let before = rows.clone();
                    prop_assert_eq!(round(&mut rows, workers, now), 0, "{:?} needs nothing", counts);
                    prop_assert_eq!(rows, before);
                    return Ok(());
                }
            }
            prop_assert!(false, "{:?} came to {:?}", owners, counts(&rows, workers));
        }

        #[test]
        fn a_worker_asks_for_one_lease_and_only_of_who_holds_two_more(owners in prop::collection::vec(0usize..4, 0..20)) {
            let rows = held(&owners);
            let observer = Observer::new("w0", FAILOVER);
            let plan = planned(&observer, &rows, Instant::now());
            prop_assert!(plan.take.is_empty() || plan.ask.is_none());
            if let Some(ask) = plan.ask {
                let of = |owner: &str| rows.iter().filter(|row| row.owner.as_deref() == Some(owner)).count();
                prop_assert!(of(ask.owner.as_deref().unwrap()) >= of("w0") + 2);
            }
        }
    }
}
