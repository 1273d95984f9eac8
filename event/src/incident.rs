//! What one actor did, as one finding: thousands of lines of a tool's run are one incident.
//!
//! Agents compute incidents, since only they see all lines of their host in order, and send
//! each change as a new revision. A revision says all that is known; an older one that comes
//! late changes nothing.

use crate::address::network;
use crate::attack::{Category, Field, Severity};
use crate::id::EventId;
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Paths, user agents and findings that an incident names.
pub const TARGETS_MAX: usize = 10;
pub const USER_AGENTS_MAX: usize = 3;
pub const EVIDENCE_MAX: usize = 5;

/// Bytes of a path or user agent that an incident keeps.
pub const TEXT_BYTES_MAX: usize = 256;

/// Whether an attack worked, as far as logs tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server refused it.
    Blocked,
    /// It was answered as something that is not there or not good.
    Failed,
    /// The answer looks like any other.
    #[default]
    Unknown,
    /// The answer, or what followed it, looks as if it had worked.
    LikelySucceeded,
}

impl Outcome {
    /// The name, as in `attack.outcome:likely_succeeded`.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Blocked => "blocked",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
            Outcome::LikelySucceeded => "likely_succeeded",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How far somebody has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looks around: scans, telling paths.
    Recon,
    /// Attacks.
    Attack,
    /// Something looks as if it had worked.
    Success,
}

/// What one actor did on one host, in one of its changing states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// [`Incident::id_of`].
    pub id: EventId,
    /// 1 and up; a higher one replaces lower ones.
    pub revision: u32,
    /// Address of the actor, or the network that several addresses of his share; of IPv6 the 64 bits
    /// that a host can choose its addresses from (RFC 4291, section 2.5.4).
    pub actor: String,
    pub first_seen: Millis,
    pub last_seen: Millis,
    /// Requests of the actor since then.
    pub requests: u64,
    /// Those of them that hold an attack.
    pub findings: u64,
    /// Findings by category: of lines, and of behaviour that no single line shows.
    pub categories: BTreeMap<Category, u64>,
    /// Sentences on behaviour that no single line shows, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behaviour: Vec<String>,
    /// The paths that were attacked most, with counts.
    pub targets: Vec<(String, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_agents: Vec<String>,
    /// Phases with when they began, in order.
    pub phases: Vec<(Phase, Millis)>,
    pub outcome: Outcome,
    /// What the outcome rests on, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome_reason: String,
    /// The strongest findings.
    pub evidence: Vec<Evidence>,
    /// 1 to 100.
    pub score: u8,
    pub severity: Severity,
    /// Whether the actor has been quiet for so long that what comes next is another incident.
    #[serde(default)]
    pub is_over: bool,
}

/// A finding that an incident rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The event that holds it.
    pub event: EventId,
    pub rule: String,
    pub category: Category,
    pub score: u8,
    pub field: Field,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    pub excerpt: String,
}

/// One sentence: who did what, how far it came.
impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut categories: Vec<_> = self.categories.iter().collect();
        categories.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        write!(f, "{}: ", self.actor)?;
        for (at, (category, count)) in categories.iter().enumerate() {
            let between = if at == 0 { "" } else { ", " };
            write!(f, "{between}{category} {count}")?;
        }
        let requests = if self.requests == 1 { "request" } else { "requests" };
        write!(f, " in {} {requests}; {}", self.requests, self.outcome.name().replace('_', " "))?;
        if !self.outcome_reason.is_empty() {
            write!(f, ": {}", self.outcome_reason)?;
        }
        Ok(())
    }
}

impl Incident {
    /// The actor's address; that of a network is its first one.
    pub fn address(&self) -> Option<IpAddr> {
        network(&self.actor).ok().map(|network| network.network())
    }

    /// The id of the incident of `actor` on the host `host`, whose first finding stands in
    /// the event `first`: the same however often its lines are read.
    pub fn id_of(host: &str, actor: &str, first: EventId) -> EventId {
        let mut hash = Sha256::new();
        for part in [host.as_bytes(), actor.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(first.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        EventId(id)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One that has all that an incident can have.
    pub fn incident() -> Incident {
        let evidence = Evidence {
            event: EventId([3; 16]),
            rule: "sqli-union-select".into(),
            category: Category::Sqli,
            score: 95,
            field: Field::Query,
            parameter: Some("id".into()),
            excerpt: "1 union select 1,2".into(),
        };
        Incident {
            id: EventId([7; 16]),
            revision: 4,
            actor: "192.0.2.7".into(),
            first_seen: 1_794_816_000_000,
            last_seen: 1_794_816_025_000,
            requests: 40,
            findings: 33,
            categories: [(Category::Lfi, 3), (Category::Sqli, 30)].into(),
            behaviour: vec!["30 values of one parameter in a minute".into()],
            targets: vec![("/a.php".into(), 33)],
            user_agents: vec!["sqlmap/1.8".into()],
            phases: vec![(Phase::Recon, 1), (Phase::Attack, 2), (Phase::Success, 3)],
            outcome: Outcome::LikelySucceeded,
            outcome_reason: "the answer was larger than usual".into(),
            evidence: vec![evidence],
            score: 99,
            severity: Severity::High,
            is_over: true,
        }
    }

    #[test]
    fn an_incident_is_told_in_one_sentence() {
        let expected = "192.0.2.7: sqli 30, lfi 3 in 40 requests; likely succeeded: the answer was larger than usual";
        assert_eq!(incident().to_string(), expected);
    }

    #[test]
    fn an_incidents_id_depends_on_host_actor_and_first_finding_alone() {
        let (first, second) = (EventId([1; 16]), EventId([2; 16]));
        let id = Incident::id_of("h", "192.0.2.7", first);
        assert_eq!(id, Incident::id_of("h", "192.0.2.7", first));
        let others = [
            Incident::id_of("h", "192.0.2.8", first),
            Incident::id_of("h1", "92.0.2.7", first),
            Incident::id_of("h", "192.0.2.7", second),
        ];
        assert!(!others.contains(&id));
    }
}
