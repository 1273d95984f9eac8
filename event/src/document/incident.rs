//! An incident as a document: one for all its revisions.

use super::{AgentFields, Ecs, Rule, Threat, threat_of};
use crate::attack::{Category, Severity};
use crate::geo::{AutonomousSystem, Place};
use crate::id::EventId;
use crate::incident::{Evidence, Incident, Outcome, Phase};
use crate::line::{Event, Host};
use crate::names::Names;
use crate::time::rfc3339;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The `_source`.
#[derive(Serialize)]
struct Source<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    ecs: Ecs,
    message: String,
    event: Meta<'a>,
    source: Actor<'a>,
    host: &'a Host,
    agent: AgentFields<'a>,
    rule: Rule<'a>,
    threat: Threat,
    attack: Attack<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    related: Option<Related>,
    twosec: Ours<'a>,
}

#[derive(Serialize)]
struct Meta<'a> {
    id: EventId,
    kind: &'static str,
    category: [&'static str; 2],
    #[serde(rename = "type")]
    types: [&'static str; 2],
    module: &'static str,
    dataset: &'static str,
    start: String,
    end: String,
    severity: u8,
    risk_score: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

#[derive(Serialize)]
struct Actor<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    geo: Option<&'a Place>,
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    system: Option<&'a AutonomousSystem>,
}

#[derive(Serialize)]
struct Attack<'a> {
    categories: Vec<Category>,
    score: u8,
    severity: Severity,
    outcome: Outcome,
    #[serde(skip_serializing_if = "str::is_empty")]
    outcome_reason: &'a str,
}

#[derive(Serialize)]
struct Related {
    ip: [IpAddr; 1],
}

#[derive(Serialize)]
struct Ours<'a> {
    incident: Fields<'a>,
}

#[derive(Serialize)]
struct Fields<'a> {
    id: EventId,
    revision: u32,
    requests: u64,
    findings: u64,
    categories: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    behaviour: &'a [String],
    targets: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    user_agents: &'a [String],
    phases: Vec<Phase>,
    evidence: &'a [Evidence],
    is_over: bool,
}

/// The body of the document of `incident`, which `event` carries.
pub fn body(event: &Event, incident: &Incident) -> Vec<u8> {
    serde_json::to_vec(&source(event, incident)).expect("plain data turns into JSON")
}

fn source<'a>(event: &'a Event, incident: &'a Incident) -> Source<'a> {
    let categories = strongest_first(incident);
    let ip: Option<IpAddr> = incident.actor.parse().ok();
    let geo = event.source.as_ref().map(|source| &source.geo);
    let id = incident.evidence.iter().map(|found| found.rule.as_str()).collect();
    let mut names = Names::default();
    categories.iter().for_each(|category| names.add(Names::of(*category)));
    Source {
        timestamp: rfc3339(incident.last_seen),
        ecs: Ecs::VERSION,
        message: incident.to_string(),
        event: Meta {
            id: incident.id,
            kind: "alert",
            category: ["web", "intrusion_detection"],
            types: ["access", "info"],
            module: "twosec",
            dataset: "twosec.incidents",
            start: rfc3339(incident.first_seen),
            end: rfc3339(incident.last_seen),
            severity: incident.severity.number(),
            risk_score: incident.score,
            reason: &incident.outcome_reason,
        },
        source: Actor {
            address: &incident.actor,
            ip,
            geo: geo.and_then(|geo| geo.place.as_ref()),
            system: geo.and_then(|geo| geo.system.as_ref()),
        },
        host: &event.origin.host,
        agent: AgentFields { kind: "twosec-agent", version: &event.origin.agent },
        rule: Rule { id, category: categories.clone(), ruleset: &event.origin.ruleset },
        threat: Threat { framework: "MITRE ATT&CK", technique: threat_of(names.technique) },
        attack: Attack {
            categories,
            score: incident.score,
            severity: incident.severity,
            outcome: incident.outcome,
            outcome_reason: &incident.outcome_reason,
        },
        related: ip.map(|ip| Related { ip: [ip] }),
        twosec: Ours {
            incident: Fields {
                id: incident.id,
                revision: incident.revision,
                requests: incident.requests,
                findings: incident.findings,
                categories: incident.categories.iter().map(|(name, count)| (name.name(), count.to_string())).collect(),
                behaviour: &incident.behaviour,
                targets: incident.targets.iter().map(|(path, _)| path.as_str()).collect(),
                user_agents: &incident.user_agents,
                phases: incident.phases.iter().map(|(phase, _)| *phase).collect(),
                evidence: &incident.evidence,
                is_over: incident.is_over,
            },
        },
    }
}

/// The categories with most findings first.
fn strongest_first(incident: &Incident) -> Vec<Category> {
    let mut counted: Vec<(Category, u64)> = incident.categories.iter().map(|(name, count)| (*name, *count)).collect();
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counted.into_iter().map(|(category, _)| category).collect()
}
