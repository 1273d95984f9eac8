//! Who reads which shard, and how far it has come: the lease table as people read it.

use crate::leases::{Checkpoint, Lease};
use event::Millis;
use event::time::rfc3339;
use serde::Serialize;
use std::fmt;

/// What is told of all shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub shards: Vec<Row>,
}

/// What is told of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub shard: String,
    /// The process that reads it.
    pub owner: Option<String>,
    /// The process that asks it for the shard.
    pub handoff_to: Option<String>,
    /// What is archived, in KCL's words.
    pub checkpoint: String,
    /// What is indexed, in KCL's words.
    #[serde(rename = "indexedThrough")]
    pub indexed_through: String,
    /// Whether all that is archived is indexed.
    pub is_index_in_step: bool,
    /// When the last archived record arrived.
    pub arrived: Option<String>,
    /// How long ago that was. A stream into which nothing is put grows old, too.
    pub age_seconds: Option<u64>,
    /// How far archive and index are behind the stream, as the owner wrote with its last renewal.
    pub archive_lag_seconds: Option<u64>,
    pub index_lag_seconds: Option<u64>,
    /// What it reads in a second.
    pub bytes_per_second: Option<u64>,
    /// The shards that it was split or merged from.
    pub parents: Vec<String>,
}

impl Report {
    /// What rows tell at `now`, the shards in order.
    pub fn of(mut leases: Vec<Lease>, now: Millis) -> Report {
        leases.sort_by(|a, b| a.key.cmp(&b.key));
        Report { shards: leases.into_iter().map(|lease| row(lease, now)).collect() }
    }
}

fn row(lease: Lease, now: Millis) -> Row {
    let seconds = |millis: Option<Millis>| millis.map(|millis| millis.max(0) as u64 / 1_000);
    let age = seconds(lease.checkpoint_arrival.map(|at| now.saturating_sub(at)));
    Row {
        checkpoint: lease.checkpoint.to_string(),
        indexed_through: lease.indexed_through.to_string(),
        is_index_in_step: is_in_step(&lease.checkpoint, &lease.indexed_through),
        arrived: lease.checkpoint_arrival.map(rfc3339),
        age_seconds: age,
        archive_lag_seconds: seconds(lease.standing.archive_lag),
        index_lag_seconds: seconds(lease.standing.index_lag),
        bytes_per_second: lease.standing.bytes_per_second,
        shard: lease.key,
        owner: lease.owner,
        handoff_to: lease.handoff_to,
        parents: lease.parents,
    }
}

/// The index may be ahead: a record is indexed at once, and archived with others of its minute.
fn is_in_step(archived: &Checkpoint, indexed: &Checkpoint) -> bool {
    match (archived, indexed) {
        (Checkpoint::At(archived), Checkpoint::At(indexed)) => indexed >= archived,
        (Checkpoint::At(_) | Checkpoint::ShardEnd, Checkpoint::TrimHorizon | Checkpoint::AtTimestamp(_)) => false,
        (Checkpoint::ShardEnd, indexed) => *indexed == Checkpoint::ShardEnd,
        _ => true,
    }
}

/// The report as people read it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shards.is_empty() {
            return writeln!(f, "the lease table has no rows: no processor has read the stream yet");
        }
        self.shards.iter().try_for_each(|row| write!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = self.owner.as_deref().unwrap_or("nobody");
        let age = self.age_seconds.map_or_else(|| "nothing archived".to_owned(), |age| format!("{} ago", span(age)));
        let index = if self.is_index_in_step { "index in step" } else { "index behind" };
        let asks = self.handoff_to.as_ref().map_or_else(String::new, |worker| format!(" (asked for it: {worker})"));
        writeln!(f, "{}  {owner}{asks}  {age}  {index}", self.shard)?;
        if let Some(bytes) = self.bytes_per_second {
            writeln!(f, "  reads     {:.1} KB a second", bytes as f64 / 1_024.0)?;
        }
        writeln!(f, "  archived  {}{}", self.checkpoint, behind(self.archive_lag_seconds))?;
        writeln!(f, "  indexed   {}{}", self.indexed_through, behind(self.index_lag_seconds))
    }
}

fn behind(lag: Option<u64>) -> String {
    lag.map_or_else(String::new, |seconds| format!(", {} behind", span(seconds)))
}

/// A length of time in the unit that a reader takes in at once.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leases::Standing;
    use crate::receive::{SequenceNumber, Shard};

    fn lease(shard: &str, archived: Checkpoint, indexed: Checkpoint) -> Lease {
        let shard =
            Shard { id: shard.into(), parents: Vec::new(), starting_hash_key: "0".into(), ending_hash_key: "9".into() };
        let mut lease = Lease::new(&shard, Checkpoint::TrimHorizon, None);
        (lease.checkpoint, lease.indexed_through) = (archived, indexed);
        lease
    }

    fn at(number: u64) -> Checkpoint {
        Checkpoint::At(SequenceNumber::new(&number.to_string()).unwrap())
    }

    #[test]
    fn a_shard_is_told_with_owner_cursors_and_age() {
        let mine = Lease {
            owner: Some("task-7".into()),
            handoff_to: Some("task-9".into()),
            checkpoint_arrival: Some(1_794_830_400_000),
            standing: Standing { bytes_per_second: Some(1_536), archive_lag: Some(61_400), index_lag: Some(0) },
            ..lease("shard-1", at(42), at(41))
        };
        let report = Report::of(
            vec![mine, lease("shard-0", Checkpoint::TrimHorizon, Checkpoint::TrimHorizon)],
            1_794_830_523_000,
        );
        let expected = "shard-0  nobody  nothing archived  index in step\n  archived  TRIM_HORIZON\n  indexed   TRIM_HORIZON\n\
                        shard-1  task-7 (asked for it: task-9)  2 min ago  index behind\n  reads     1.5 KB a second\n  archived  42, 61 s behind\n  indexed   41, 0 s behind\n";
        assert_eq!(report.to_string(), expected);
        let json = serde_json::to_value(&report.shards[1]).unwrap();
        assert_eq!(json["arrived"], "2026-11-16T12:00:00.000Z");
        assert_eq!((&json["indexedThrough"], &json["age_seconds"]), (&"41".into(), &123.into()));
        assert_eq!((&json["archive_lag_seconds"], &json["index_lag_seconds"]), (&61.into(), &0.into()));
    }

    #[test]
    fn an_index_is_behind_when_something_archived_is_not_in_it() {
        let start = Checkpoint::AtTimestamp(7);
        for (archived, indexed, in_step) in [
            (at(5), at(5), true),
            (at(5), at(6), true),
            (at(10), at(9), false),
            (at(1), start.clone(), false),
            (start.clone(), at(1), true),
            (Checkpoint::ShardEnd, Checkpoint::ShardEnd, true),
            (Checkpoint::ShardEnd, at(9), false),
        ] {
            assert_eq!(is_in_step(&archived, &indexed), in_step, "{archived} {indexed}");
        }
    }
}
