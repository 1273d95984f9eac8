//! Is the table in use by a Kinesis Client Library of version 3? Its workers elect a leader,
//! which assigns leases without asking anybody, so we must not take part.

use std::time::{Duration, Instant};

/// The row of such a leader, which it moves every 30 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// `ownerName`
    pub owner: String,
    /// `recordVersionNumber`: another one with each move.
    pub version: String,
    /// `leaseDuration`: a leader whose row stands still for so long is gone.
    pub duration: Duration,
}

/// What is known of a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// There is none, or none any more.
    Nobody,
    /// A row of one is there, and nobody knows yet whether it is moved.
    Unknown,
    /// This one rules.
    By(String),
}

/// Watches the row.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Option<(String, Instant)>,
}

impl Watch {
    /// Takes note of the row as it is at `now` (monotonic).
    pub fn look(&mut self, leader: Option<Leader>, now: Instant) -> Rule {
        let Some(leader) = leader else {
            self.seen = None;
            return Rule::Nobody;
        };
        match &self.seen {
            Some((version, _)) if *version != leader.version => Rule::By(leader.owner),
            Some((_, since)) if now.saturating_duration_since(*since) >= leader.duration => Rule::Nobody,
            Some(_) => Rule::Unknown,
            None => {
                self.seen = Some((leader.version, now));
                Rule::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(120);

    fn leader(version: &str) -> Option<Leader> {
        Some(Leader { owner: "worker-1".into(), version: version.into(), duration: DURATION })
    }

    #[test]
    fn a_leader_that_moves_its_row_rules() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        assert_eq!(watch.look(leader("a"), start), Rule::Unknown);
        assert_eq!(watch.look(leader("a"), start + DURATION / 4), Rule::Unknown);
        assert_eq!(watch.look(leader("b"), start + DURATION / 3), Rule::By("worker-1".into()));
    }

    #[test]
    fn a_leader_that_left_its_row_behind_does_not() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        assert_eq!(watch.look(None, start), Rule::Nobody);
        assert_eq!(watch.look(leader("a"), start), Rule::Unknown);
        assert_eq!(watch.look(leader("a"), start + DURATION), Rule::Nobody);
        assert_eq!(watch.look(leader("b"), start + 2 * DURATION), Rule::By("worker-1".into()), "it has come back");
    }
}
