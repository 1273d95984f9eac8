//! Keeps a lease that is held: renews it, writes the cursors into it, gives it back.

use super::{Checkpoint, Lease, LeaseError, Leases, Swap};
use event::Millis;
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
}

impl Cursors {
    /// The cursors of a row.
    pub fn of(lease: &Lease) -> Cursors {
        Cursors {
            checkpoint: lease.checkpoint.clone(),
            checkpoint_arrival: lease.checkpoint_arrival,
            indexed_through: lease.indexed_through.clone(),
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
}

impl Keeper {
    /// Holds the lease until `cursors` is dropped by the one who moves them; then writes
    /// the last ones down and gives the lease back.
    pub async fn run(mut self, mut cursors: watch::Receiver<Cursors>) {
        let mut renewed = Instant::now();
        loop {
            let open = tokio::select! {
                changed = cursors.changed() => changed.is_ok(),
                () = tokio::time::sleep_until(renewed + self.failover / 3) => true,
            };
            let now = cursors.borrow_and_update().clone();
            if !self.write(now, open, &mut renewed).await {
                return self.lost.cancel();
            }
            if !open {
                return;
            }
        }
    }

    /// Writes the row, again and again while the table does not answer and the lease
    /// has not run out. False: it is lost.
    async fn write(&mut self, cursors: Cursors, keep: bool, renewed: &mut Instant) -> bool {
        let next = self.next(cursors, keep);
        let mut pause = event::pause::Pause::default();
        loop {
            // Whether the table has the row by now or not, this is when it was asked.
            let asked = Instant::now();
            match self.leases.swap(&self.lease, &next).await {
                Ok(Swap::Done) => {
                    self.lease = next;
                    *renewed = asked;
                    return true;
                }
                // An answer that was lost: the row is as we wrote it.
                Ok(Swap::Lost(Some(row)))
                    if row.owner == next.owner && row.counter == next.counter && next.owner.is_some() =>
                {
                    self.lease = next;
                    *renewed = asked;
                    return true;
                }
                Ok(Swap::Lost(_)) => {
                    tracing::warn!(shard = self.lease.key, "the lease was taken by another worker");
                    return false;
                }
                Err(error) => self.complain(&error),
            }
            if renewed.elapsed() >= self.failover {
                tracing::warn!(shard = self.lease.key, "the lease could not be renewed in time");
                return false;
            }
            tokio::time::sleep(pause.next_pause().min(self.failover / 6)).await;
        }
    }

    fn next(&self, cursors: Cursors, keep: bool) -> Lease {
        let moved = cursors.checkpoint != self.lease.checkpoint;
        Lease {
            owner: self.lease.owner.clone().filter(|_| keep),
            counter: self.lease.counter + 1,
            owner_switches: if moved { 0 } else { self.lease.owner_switches },
            checkpoint: cursors.checkpoint,
            checkpoint_arrival: cursors.checkpoint_arrival,
            indexed_through: cursors.indexed_through,
            ..self.lease.clone()
        }
    }

    fn complain(&self, error: &LeaseError) {
        tracing::warn!(error = error as &dyn std::error::Error, shard = self.lease.key, "will try again");
    }
}
