//! Keeps a lease that is held: renews it, writes the cursors into it, gives it back.

use super::{Checkpoint, Lease, Leases, Standing, Swap};
use crate::meter::{Meter, now};
use event::Millis;
use event::pause::Pause;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How far a shard has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursors {
    /// Archived up to here.
    pub checkpoint: Checkpoint,
    pub checkpoint_arrival: Option<Millis>,
    /// Indexed up to here.
    pub indexed_through: Checkpoint,
    /// What the shard goes on in, once it is read to its end.
    pub children: Vec<String>,
}

impl Cursors {
    /// The cursors of a row.
    pub fn of(lease: &Lease) -> Cursors {
        Cursors {
            checkpoint: lease.checkpoint.clone(),
            checkpoint_arrival: lease.checkpoint_arrival,
            indexed_through: lease.indexed_through.clone(),
            children: lease.children.clone(),
        }
    }
}

/// A lease that is ours, as we know its row. No clock of its own, no I/O.
#[derive(Debug)]
pub(super) struct Held {
    pub lease: Lease,
    pub failover: Duration,
    /// When the table was asked for the last write that it has made: whether it made it
    /// then or later, others count from no earlier time.
    pub renewed: Instant,
}

/// What the answer to a write of ours means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    /// The row is ours and is not as we knew it: somebody asks for it, which leaves its counter.
    Again,
    /// It is not ours any more.
    Lost,
}

impl Held {
    /// When the row must be written again.
    pub fn due(&self) -> Instant {
        self.renewed + self.failover / 3
    }

    /// Whether others may have taken the lease by now.
    pub fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.renewed) >= self.failover
    }

    /// The row with these cursors, ours or given back.
    pub fn next(&self, cursors: &Cursors, keep: bool) -> Lease {
        let moved = cursors.checkpoint != self.lease.checkpoint;
        let cursors = cursors.clone();
        Lease {
            owner: self.lease.owner.clone().filter(|_| keep),
            counter: self.lease.counter + 1,
            owner_switches: if moved { 0 } else { self.lease.owner_switches },
            checkpoint: cursors.checkpoint,
            checkpoint_arrival: cursors.checkpoint_arrival,
            indexed_through: cursors.indexed_through,
            children: cursors.children,
            ..self.lease.clone()
        }
    }

    /// Takes the answer to the write of `next`, for which the table was asked at `asked`.
    /// A row as we wrote it is ours although the table says that it was not as expected:
    /// the answer to an earlier try was lost.
    pub fn answered(&mut self, next: Lease, asked: Instant, answer: Swap) -> Written {
        let row = match answer {
            Swap::Done => next.clone(),
            Swap::Lost(Some(row)) => *row,
            Swap::Lost(None) => return Written::Lost,
        };
        if row.owner == next.owner && row.counter == next.counter {
            (self.lease, self.renewed) = (row, asked);
            Written::Yes
        } else if row.owner == self.lease.owner && row.counter == self.lease.counter {
            self.lease = row;
            Written::Again
        } else {
            Written::Lost
        }
    }
}

/// A lease in hand.
pub struct Keeper {
    pub leases: Arc<dyn Leases>,
    pub lease: Lease,
    /// The time after which others may take the lease if it has not been renewed.
    pub failover: Duration,
    /// Cancelled when the lease is no longer ours: all work on the shard must end.
    pub lost: CancellationToken,
    /// Tells when the lease was renewed last.
    pub renewed: watch::Sender<Instant>,
    /// Knows how the shard gets on.
    pub meter: Arc<Meter>,
}

/// How fast a shard is read, evened out over some renewals.
#[derive(Debug, Default)]
struct Pace {
    /// When how many bytes had been read.
    last: Option<(Instant, u64)>,
    bytes_per_second: Option<f64>,
}

impl Pace {
    /// Notes that `bytes` have been read by `at`.
    fn note(&mut self, at: Instant, bytes: u64) -> Option<u64> {
        let Some((since, before)) = self.last else {
            self.last = Some((at, bytes));
            return None;
        };
        let seconds = at.saturating_duration_since(since).as_secs_f64();
        if seconds >= 1.0 {
            let rate = bytes.saturating_sub(before) as f64 / seconds;
            self.bytes_per_second = Some(self.bytes_per_second.map_or(rate, |known| (known + rate) / 2.0));
            self.last = Some((at, bytes));
        }
        self.bytes_per_second.map(|rate| rate.round() as u64)
    }
}

impl Keeper {
    /// Holds the lease until `cursors` is dropped by the one who moves them; then writes
    /// the last ones down and gives the lease back.
    pub async fn run(self, mut cursors: watch::Receiver<Cursors>) {
        let mut held = Held { lease: self.lease.clone(), failover: self.failover, renewed: Instant::now() };
        let mut pace = Pace::default();
        loop {
            let open = tokio::select! {
                changed = cursors.changed() => changed.is_ok(),
                () = tokio::time::sleep_until(held.due()) => true,
            };
            let reached = cursors.borrow_and_update().clone();
            let standing = self.standing(&mut pace).filter(|_| open).unwrap_or_default();
            if !self.write(&mut held, &reached, standing, open).await {
                return self.lost.cancel();
            }
            if !open {
                return;
            }
        }
    }

    /// How the shard gets on. Who does not read it does not know.
    fn standing(&self, pace: &mut Pace) -> Option<Standing> {
        let lag = self.meter.lag(&self.lease.key)?;
        let (bytes_per_second, now) = (pace.note(Instant::now(), lag.bytes()), now());
        let (archive_lag, index_lag) = (Some(lag.of_archive(now)), Some(lag.of_index(now)));
        Some(Standing { bytes_per_second, archive_lag, index_lag })
    }

    /// Writes the row, again and again while the table does not answer and the lease
    /// has not run out. False: it is lost.
    async fn write(&self, held: &mut Held, cursors: &Cursors, standing: Standing, keep: bool) -> bool {
        let mut pause = Pause::default();
        loop {
            let (next, asked) = (Lease { standing, ..held.next(cursors, keep) }, Instant::now());
            // A call that hangs must leave time for another one.
            let call = tokio::time::timeout(self.failover / 3, self.leases.swap(&held.lease, &next)).await;
            match call {
                Ok(Ok(answer)) => match held.answered(next, asked, answer) {
                    Written::Yes => {
                        self.renewed.send_replace(held.renewed);
                        return true;
                    }
                    Written::Again => continue,
                    Written::Lost => {
                        tracing::warn!(shard = self.lease.key, "the lease was taken by another worker");
                        return false;
                    }
                },
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, shard = self.lease.key, "will try again");
                }
                Err(_) => tracing::warn!(shard = self.lease.key, "the lease table does not answer; will try again"),
            }
            if held.is_over(Instant::now()) {
                tracing::warn!(shard = self.lease.key, "the lease could not be renewed in time");
                return false;
            }
            tokio::time::sleep(pause.next_pause().min(self.failover / 6)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::MemoryLeases;
    use crate::receive::{Record, SequenceNumber, Shard};
    use std::sync::atomic::Ordering;
    use tokio::task::JoinHandle;

    const FAILOVER: Duration = Duration::from_secs(10);

    /// A lease in the hand of `me`.
    struct Rig {
        leases: Arc<MemoryLeases>,
        moved: watch::Sender<Cursors>,
        lost: CancellationToken,
        meter: Arc<Meter>,
        keeper: JoinHandle<()>,
    }

    fn rig() -> Rig {
        let leases = Arc::<MemoryLeases>::default();
        let (id, parents, hash_key) = ("shard-0".to_owned(), Vec::new(), String::new());
        let shard = Shard { id, parents, starting_hash_key: hash_key.clone(), ending_hash_key: hash_key };
        let lease = Lease { owner: Some("me".into()), ..Lease::new(&shard, Checkpoint::TrimHorizon, None) };
        leases.rows.lock().unwrap().push(lease.clone());
        let (moved, cursors) = watch::channel(Cursors::of(&lease));
        let lost = CancellationToken::new();
        let (renewed, _) = watch::channel(Instant::now());
        let meter = Arc::<Meter>::default();
        let keeper = Keeper {
            leases: leases.clone(),
            lease,
            failover: FAILOVER,
            lost: lost.clone(),
            renewed,
            meter: meter.clone(),
        };
        Rig { leases, moved, lost, meter, keeper: tokio::spawn(keeper.run(cursors)) }
    }

    impl Rig {
        fn row(&self) -> Lease {
            self.leases.rows.lock().unwrap()[0].clone()
        }

        fn move_to(&self, number: u64) -> Checkpoint {
            let checkpoint = Checkpoint::At(SequenceNumber::new(&number.to_string()).unwrap());
            self.moved.send_modify(|cursors| cursors.checkpoint = checkpoint.clone());
            checkpoint
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_tells_how_its_shard_gets_on_until_nobody_reads_it() {
        let rig = rig();
        let sequence = SequenceNumber::new("7").unwrap();
        rig.meter.begun("shard-0", None, None);
        rig.meter.page("shard-0", 60_000);
        tokio::time::sleep(FAILOVER / 2).await;
        let record = Record { sequence, arrival: now(), data: vec![0; 100_000].into() };
        rig.meter.record("shard-0", &record);
        tokio::time::sleep(FAILOVER / 2).await;
        let standing = rig.row().standing;
        assert_eq!((standing.archive_lag, standing.index_lag), (Some(60_000), Some(60_000)));
        assert!(standing.bytes_per_second.is_some_and(|rate| (10_000..50_000).contains(&rate)), "{standing:?}");
        let leases = rig.leases.clone();
        drop(rig.moved);
        rig.keeper.await.unwrap();
        let given_back = leases.rows.lock().unwrap()[0].clone();
        assert_eq!((given_back.owner, given_back.standing), (None, Standing::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_outlives_a_table_that_throttles_or_is_away_for_less_than_the_failover_time() {
        let rig = rig();
        rig.leases.is_away.store(true, Ordering::Relaxed);
        let expected = rig.move_to(7);
        tokio::time::sleep(FAILOVER * 8 / 10).await;
        rig.leases.is_away.store(false, Ordering::Relaxed);
        tokio::time::sleep(FAILOVER / 5).await;
        assert_eq!((rig.row().checkpoint, rig.lost.is_cancelled()), (expected, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_could_not_be_renewed_for_the_failover_time_is_lost() {
        let rig = rig();
        rig.leases.is_away.store(true, Ordering::Relaxed);
        tokio::time::sleep(FAILOVER * 13 / 10).await;
        assert!(rig.lost.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_whose_answer_was_lost_has_been_made() {
        let rig = rig();
        rig.leases.unheard.store(1, Ordering::Relaxed);
        let expected = rig.move_to(7);
        tokio::time::sleep(FAILOVER).await;
        assert_eq!((rig.row().checkpoint, rig.lost.is_cancelled()), (expected, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_was_made_again_and_taken_by_this_process_is_of_another_task() {
        let rig = rig();
        rig.move_to(7);
        tokio::time::sleep(FAILOVER).await;
        rig.leases.rows.lock().unwrap()[0].counter = 1;
        tokio::time::sleep(FAILOVER).await;
        assert!(rig.lost.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_another_worker_asks_for_is_kept_until_it_is_let_go_and_then_kept_for_it() {
        let rig = rig();
        rig.leases.rows.lock().unwrap()[0].handoff_to = Some("other".into());
        tokio::time::sleep(FAILOVER).await;
        assert!(!rig.lost.is_cancelled());
        let expected = rig.move_to(7);
        let Rig { moved, leases, keeper, .. } = rig;
        drop(moved);
        keeper.await.unwrap();
        let row = leases.rows.lock().unwrap()[0].clone();
        assert_eq!((row.owner, row.handoff_to, row.checkpoint), (None, Some("other".into()), expected));
    }
}
