//! Findings of one actor become one incident, told in revisions.
//!
//! The actor is the client's address; of IPv6 the network of 64 bits, whose addresses a single
//! host takes as it likes. Where two addresses of a network of 24 bits have open incidents, and
//! another one comes with the user agent or the target of one of them, the actor of what it
//! does is that network: whoever hires a network's addresses to take turns is one incident from
//! then on. The first two keep theirs.

use super::source::{Found, Kind};
use event::attack::{Field, Finding, Severity};
use event::incident::{EVIDENCE_MAX, Evidence, Outcome, Phase, TARGETS_MAX, TEXT_BYTES_MAX, USER_AGENTS_MAX};
use event::unescape::unescape;
use event::{Category, EventId, Incident, Millis};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Findings of low severity that make an incident: the whole Internet looks around a little.
const LOW_FINDINGS: u64 = 3;

/// Incidents of a network's addresses after which the next one is of the network.
const ALONE_IN_NETWORK: usize = 2;

/// What a success may rest on that may turn out to be something else.
const GROUNDS_MAX: usize = 4;

/// Incidents that are over and still shown.
const ENDED_MAX: usize = 100;

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Actor {
    Address(IpAddr),
    /// The network of 24 bits, or of 64 for IPv6, that begins here.
    Network(IpAddr),
}

impl Actor {
    fn of(client: IpAddr) -> Actor {
        if client.is_ipv4() { Actor::Address(client) } else { Actor::Network(network(client).0) }
    }

    fn text(self) -> String {
        match self {
            Actor::Address(address) => address.to_string(),
            Actor::Network(first) => format!("{first}/{}", if first.is_ipv4() { 24 } else { 64 }),
        }
    }
}

/// First and last address of an address's network.
pub fn network(address: IpAddr) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let first = u32::from(address) & !0xff;
            (Ipv4Addr::from(first).into(), Ipv4Addr::from(first | 0xff).into())
        }
        IpAddr::V6(address) => {
            let host = u128::from(u64::MAX);
            let first = u128::from(address) & !host;
            (Ipv6Addr::from(first).into(), Ipv6Addr::from(first | host).into())
        }
    }
}

/// No incident of a client is open.
#[derive(Debug)]
pub struct NoneOpen;

/// What was found in a line, and what is known of the line.
#[derive(Debug)]
pub struct Sighting<'a> {
    pub event: EventId,
    pub at: Millis,
    pub client: IpAddr,
    /// Whether it is the whole network that does it.
    pub is_of_network: bool,
    pub path: &'a [u8],
    pub agent: &'a [u8],
    /// Findings of the line itself.
    pub line: &'a [Finding],
    /// What the line shows together with those before it.
    pub behaviour: &'a [Found],
    pub outcome: &'a (Outcome, String),
    /// What stands for what a success rests on, where that may turn out to be something else; and for
    /// what has turned out so.
    pub ground: Option<u64>,
    pub refuted: Option<u64>,
}

/// An incident under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    actor: Actor,
    /// The time of the line that it was begun with.
    #[serde(default)]
    begun: Millis,
    /// Revision 0 has not been told yet: nothing in it is worth it by itself.
    incident: Incident,
    /// Whose sentences stand in `incident.behaviour`, in the same order.
    kinds: Vec<Kind>,
    /// What the last revision told.
    told: u64,
    /// Whether something has happened since.
    #[serde(default)]
    has_news: bool,
    /// What its success rests on, each with its sentence, where all of that may turn out to be something
    /// else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grounds: Vec<(u64, String)>,
    /// The outcome that came furthest without those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    without: Option<(Outcome, String)>,
}

/// The incidents of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    host: String,
    quiet: Millis,
    most: usize,
    /// By actor, and by when they were begun: lines of another file may be of days before.
    #[serde(serialize_with = "values", deserialize_with = "by_actor")]
    open: BTreeMap<(Actor, Millis), Open>,
    ended: VecDeque<Incident>,
}

fn values<S: Serializer>(open: &BTreeMap<(Actor, Millis), Open>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(open.values())
}

fn by_actor<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<(Actor, Millis), Open>, D::Error> {
    let all = Vec::<Open>::deserialize(from)?;
    Ok(all.into_iter().map(|open| (open.key(), open)).collect())
}

impl Incidents {
    pub fn new(host: &str, quiet: Millis, most: usize) -> Incidents {
        Incidents { host: host.to_owned(), quiet, most: most.max(1), open: BTreeMap::new(), ended: VecDeque::new() }
    }

    /// Those that were told of: open ones by actor, and the last that have ended.
    pub fn iter(&self) -> impl Iterator<Item = &Incident> {
        let open = self.open.values().map(|open| &open.incident).filter(|incident| incident.revision > 0);
        open.chain(&self.ended)
    }

    /// Counts a request of `client` that holds nothing, and says of which incident it is. `Err` if
    /// none is open, `Ok(None)` if the one that is has not been told of.
    pub fn count(&mut self, client: IpAddr, at: Millis) -> Result<Option<EventId>, NoneOpen> {
        let incident = &mut self.of(client, at).ok_or(NoneOpen)?.incident;
        incident.requests += 1;
        Ok((incident.revision > 0).then_some(incident.id))
    }

    /// The open incident of an address at a time; else that of its network.
    fn of(&mut self, client: IpAddr, at: Millis) -> Option<&mut Open> {
        let (own, network) = (Actor::of(client), Actor::Network(network(client).0));
        let key = self.live(own, at).or_else(|| self.live(network, at))?.key();
        self.open.get_mut(&key)
    }

    /// The incidents of an actor, by when they were begun.
    fn all_of(&self, actor: Actor) -> impl DoubleEndedIterator<Item = &Open> {
        self.open.range((actor, Millis::MIN)..=(actor, Millis::MAX)).map(|(_, open)| open)
    }

    /// The one that a line of this time belongs to.
    fn live(&self, actor: Actor, at: Millis) -> Option<&Open> {
        self.all_of(actor).rev().find(|open| open.is_live(at, self.quiet))
    }

    /// Adds what was found to its actor's incident. Returns the incident's id, and the
    /// incidents of which there is something new to tell.
    pub fn note(&mut self, sighting: &Sighting<'_>) -> (EventId, Vec<Incident>) {
        let mut told = Vec::new();
        let actor = self.actor(sighting);
        // The last one is over where time has gone on. Those of before, of a file that is behind, go on
        // until time has passed for all files.
        let latest = self.all_of(actor).max_by_key(|open| open.incident.last_seen);
        let over = latest.filter(|open| sighting.at.saturating_sub(open.incident.last_seen) >= self.quiet);
        if let Some(key) = over.map(Open::key) {
            told.extend(self.end(key));
        }
        let key = self.live(actor, sighting.at).map_or((actor, sighting.at), Open::key);
        if !self.open.contains_key(&key) && self.open.len() >= self.most {
            // Those that are not worth telling go first.
            let is_told = |open: &Open| open.incident.revision > 0;
            let oldest = self.open.values().min_by_key(|open| (is_told(open), open.incident.last_seen, open.key()));
            told.extend(oldest.map(Open::key).and_then(|oldest| self.end(oldest)));
        }
        let host = &self.host;
        let open = self.open.entry(key).or_insert_with(|| Open::begin(host, actor, sighting));
        told.extend(open.note(sighting));
        (open.incident.id, told)
    }

    /// Notes what became of an attack of `client`, known only later.
    pub fn judge(
        &mut self,
        client: IpAddr,
        at: Millis,
        outcome: &(Outcome, String),
    ) -> Option<(EventId, Option<Incident>)> {
        let open = self.of(client, at)?;
        let is_new = open.judge(outcome, None, at);
        Some((open.incident.id, open.tell(is_new)))
    }

    /// Notes that `ground` means nothing, of which `told` is known by now. Returns new revisions of the
    /// incidents that had worked by it.
    pub fn refute(&mut self, ground: u64, told: &(Outcome, String)) -> Vec<Incident> {
        let refuted = self.open.values_mut().filter_map(|open| {
            let is_new = open.refute(ground, told);
            (is_new && open.incident.revision > 0).then(|| open.revise())
        });
        refuted.collect()
    }

    /// Ends the incidents that have been quiet for long enough at `now`.
    pub fn pass(&mut self, now: Millis) -> Vec<Incident> {
        let is_over = |open: &&Open| now.saturating_sub(open.incident.last_seen) >= self.quiet;
        let over: Vec<_> = self.open.values().filter(is_over).map(Open::key).collect();
        over.into_iter().filter_map(|key| self.end(key)).collect()
    }

    /// Revisions of open incidents that have gone on since they were told of last.
    pub fn catch_up(&mut self) -> Vec<Incident> {
        let gone_on = |open: &&mut Open| open.incident.revision > 0 && open.has_news;
        self.open.values_mut().filter(gone_on).map(Open::revise).collect()
    }

    /// Takes note that a revision has been told of, by this engine before it was set back. One that
    /// was begun by the same lines in another order may have another id.
    pub fn was_told(&mut self, incident: &Incident) {
        // What its actor did after it was over is another one.
        let is_later = |open: &Open| {
            open.incident.first_seen > incident.last_seen && incident.is_over
                || open.incident.first_seen.saturating_sub(incident.last_seen) >= self.quiet
        };
        let is_before = |open: &Open| incident.first_seen.saturating_sub(open.incident.last_seen) >= self.quiet;
        let is_it = |open: &Open| open.incident.id == incident.id || !is_later(open) && !is_before(open);
        let of_it = |open: &&Open| {
            open.incident.actor == incident.actor && open.incident.revision <= incident.revision && is_it(open)
        };
        let all = || self.open.values().filter(of_it);
        let Some(known) = all().find(|open| open.incident.id == incident.id).or_else(|| all().next()) else { return };
        let key = known.key();
        if incident.is_over {
            self.open.remove(&key);
            self.keep(incident.clone());
        } else if let Some(open) = self.open.get_mut(&key) {
            (open.incident.id, open.incident.revision) = (incident.id, incident.revision);
        }
    }

    /// Keeps at most `most` open from now on.
    pub fn limit(&mut self, most: usize) {
        self.most = most.max(1);
    }

    fn end(&mut self, key: (Actor, Millis)) -> Option<Incident> {
        let mut incident = self.open.remove(&key)?.incident;
        if incident.revision == 0 {
            return None;
        }
        incident.revision += 1;
        incident.is_over = true;
        self.keep(incident.clone());
        Some(incident)
    }

    fn keep(&mut self, ended: Incident) {
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
    }

    fn actor(&self, sighting: &Sighting<'_>) -> Actor {
        let (first, last) = network(sighting.client);
        let (own, network) = (Actor::of(sighting.client), Actor::Network(first));
        if sighting.is_of_network {
            return network;
        }
        if self.live(own, sighting.at).is_some() {
            return own;
        }
        let is_kin = |open: &&Open| open.is_live(sighting.at, self.quiet) && open.resembles(sighting);
        let addresses = (Actor::Address(first), Millis::MIN)..=(Actor::Address(last), Millis::MAX);
        let mut kin: Vec<Actor> =
            self.open.range(addresses).map(|(_, open)| open).filter(is_kin).map(|open| open.actor).collect();
        kin.dedup();
        let is_network = self.all_of(network).any(|open| is_kin(&open)) || kin.len() >= ALONE_IN_NETWORK;
        if is_network { network } else { own }
    }
}

impl Open {
    fn begin(host: &str, actor: Actor, sighting: &Sighting<'_>) -> Open {
        let text = actor.text();
        let since = sighting.behaviour.iter().map(|found| found.since).min();
        let incident = Incident {
            id: Incident::id_of(host, &text, sighting.event),
            revision: 0,
            actor: text,
            first_seen: since.unwrap_or(sighting.at).min(sighting.at),
            last_seen: sighting.at,
            requests: 0,
            findings: 0,
            categories: BTreeMap::new(),
            behaviour: Vec::new(),
            targets: Vec::new(),
            user_agents: Vec::new(),
            phases: Vec::new(),
            outcome: Outcome::Blocked,
            outcome_reason: String::new(),
            evidence: Vec::new(),
            score: 1,
            severity: Severity::Low,
            is_over: false,
        };
        Open {
            actor,
            begun: sighting.at,
            incident,
            kinds: Vec::new(),
            told: 0,
            has_news: false,
            grounds: Vec::new(),
            without: None,
        }
    }

    fn key(&self) -> (Actor, Millis) {
        (self.actor, self.begun)
    }

    /// Whether a line of this time is of it: less than the time `quiet` before or behind it.
    fn is_live(&self, at: Millis, quiet: Millis) -> bool {
        let Incident { first_seen, last_seen, .. } = self.incident;
        at.saturating_sub(last_seen) < quiet && first_seen.saturating_sub(at) < quiet
    }

    /// Whether a sighting has a user agent or a target of this incident.
    fn resembles(&self, sighting: &Sighting<'_>) -> bool {
        let agent = text(sighting.agent);
        let path = text(sighting.path);
        !agent.is_empty() && self.incident.user_agents.contains(&agent)
            || path != "/" && self.incident.targets.iter().any(|(known, _)| *known == path)
    }

    fn note(&mut self, sighting: &Sighting<'_>) -> Option<Incident> {
        let at = sighting.at;
        self.has_news = true;
        let incident = &mut self.incident;
        incident.first_seen = incident.first_seen.min(at);
        incident.last_seen = incident.last_seen.max(at);
        // Lines that behaviour began with count as well, unless they were found by themselves.
        let lines = sighting.behaviour.iter().map(|found| found.lines).max().unwrap_or(1).max(1);
        incident.findings += if sighting.line.is_empty() { lines } else { 1 };
        incident.requests = incident.findings.max(incident.requests + 1);
        let mut is_new = false;
        for (place, finding) in sighting.line.iter().enumerate() {
            let is_first = sighting.line[..place].iter().all(|other| other.category != finding.category);
            is_new |= is_first && self.add(finding.category, 1, at);
            self.prove(sighting.event, finding);
        }
        for found in sighting.behaviour {
            // The line is counted already where it is of that category by itself.
            let is_own = sighting.line.iter().any(|finding| finding.category == found.category);
            let lines = if is_own { 0 } else { found.lines };
            is_new |= self.add(found.category, lines, found.since.min(at));
            is_new |= self.describe(found);
            self.prove(sighting.event, &as_finding(found, sighting.path));
        }
        self.aim(sighting.path);
        self.recognise(sighting.agent);
        is_new |= sighting.refuted.is_some_and(|ground| self.refute(ground, sighting.outcome));
        is_new |= self.judge(sighting.outcome, sighting.ground, at);
        self.tell(is_new)
    }

    /// A new revision, if there is something new or twice as much as was told.
    fn tell(&mut self, is_new: bool) -> Option<Incident> {
        let incident = &self.incident;
        let is_worth = incident.severity > Severity::Low || !self.kinds.is_empty() || incident.findings >= LOW_FINDINGS;
        let is_due = incident.revision == 0 || is_new || incident.findings >= self.told.saturating_mul(2);
        (is_worth && is_due).then(|| self.revise())
    }

    fn revise(&mut self) -> Incident {
        self.incident.revision += 1;
        self.incident.score = score(&self.incident);
        self.told = self.incident.findings;
        self.has_news = false;
        self.incident.clone()
    }

    fn add(&mut self, category: Category, lines: u64, at: Millis) -> bool {
        let incident = &mut self.incident;
        let is_new = !incident.categories.contains_key(&category);
        *incident.categories.entry(category).or_default() += lines;
        incident.severity = incident.severity.max(category.severity());
        self.enter(phase(category), at) || is_new
    }

    fn enter(&mut self, phase: Phase, at: Millis) -> bool {
        let phases = &mut self.incident.phases;
        let place = phases.partition_point(|(known, _)| *known < phase);
        let is_new = phases.get(place).is_none_or(|(known, _)| *known != phase);
        if is_new {
            phases.insert(place, (phase, at));
        }
        is_new
    }

    fn describe(&mut self, found: &Found) -> bool {
        let Some(sentence) = &found.sentence else { return false };
        match self.kinds.iter().position(|kind| *kind == found.kind) {
            Some(place) => {
                self.incident.behaviour[place].clone_from(sentence);
                false
            }
            None => {
                self.kinds.push(found.kind);
                self.incident.behaviour.push(sentence.clone());
                true
            }
        }
    }

    /// Keeps the strongest findings, one of each rule.
    fn prove(&mut self, event: EventId, finding: &Finding) {
        let evidence = &mut self.incident.evidence;
        let is_weak =
            evidence.len() >= EVIDENCE_MAX && evidence.last().is_some_and(|least| least.score >= finding.score);
        if is_weak || evidence.iter().any(|known| known.rule == finding.rule) {
            return;
        }
        let place = evidence.partition_point(|known| known.score >= finding.score);
        let proof = Evidence {
            event,
            rule: finding.rule.clone(),
            category: finding.category,
            score: finding.score,
            field: finding.field,
            parameter: finding.parameter.clone(),
            excerpt: finding.excerpt.clone(),
        };
        evidence.insert(place, proof);
        evidence.truncate(EVIDENCE_MAX);
    }

    /// Counts a target; the rarest gives way to a new one.
    fn aim(&mut self, path: &[u8]) {
        if path.is_empty() {
            return;
        }
        let targets = &mut self.incident.targets;
        let path = text(path);
        let place = match targets.iter().position(|(known, _)| *known == path) {
            Some(place) => place,
            None => {
                targets.truncate(TARGETS_MAX - 1);
                targets.push((path, 0));
                targets.len() - 1
            }
        };
        targets[place].1 += 1;
        let count = targets[place].1;
        let better = targets[..place].partition_point(|(_, known)| *known >= count);
        targets[better..=place].rotate_right(1);
    }

    fn recognise(&mut self, agent: &[u8]) {
        let agents = &mut self.incident.user_agents;
        if agents.len() < USER_AGENTS_MAX && !agent.is_empty() {
            let agent = text(agent);
            if !agents.contains(&agent) {
                agents.push(agent);
            }
        }
    }

    /// The attack that came furthest counts. A success rests on `ground`, if that is all it rests on.
    fn judge(&mut self, told: &(Outcome, String), ground: Option<u64>, at: Millis) -> bool {
        let (outcome, reason) = told;
        let incident = &mut self.incident;
        let is_first = incident.outcome_reason.is_empty();
        let is_better = *outcome > incident.outcome;
        let may_be_refuted = incident.outcome != Outcome::LikelySucceeded || !self.grounds.is_empty();
        if *outcome != Outcome::LikelySucceeded {
            if self.without.as_ref().is_none_or(|known| *outcome > known.0) {
                self.without = Some(told.clone());
            }
        } else if let Some(ground) = ground.filter(|_| may_be_refuted && self.grounds.len() < GROUNDS_MAX) {
            if self.grounds.iter().all(|(known, _)| *known != ground) {
                self.grounds.push((ground, reason.clone()));
            }
        } else {
            self.grounds.clear();
        }
        if is_first || is_better {
            incident.outcome = *outcome;
            incident.outcome_reason.clone_from(reason);
        }
        let has_worked = *outcome == Outcome::LikelySucceeded && self.enter(Phase::Success, at);
        is_better && !is_first || has_worked
    }

    /// Takes back that it worked, where that rests on nothing but `ground`, of which `told` is known
    /// by now.
    fn refute(&mut self, ground: u64, told: &(Outcome, String)) -> bool {
        let Some(place) = self.grounds.iter().position(|(known, _)| *known == ground) else { return false };
        self.grounds.remove(place);
        if let Some((_, reason)) = self.grounds.first() {
            let is_other = self.incident.outcome_reason != *reason;
            self.incident.outcome_reason.clone_from(reason);
            return is_other;
        }
        let without = self.without.take().filter(|without| without.0 > told.0).unwrap_or_else(|| told.clone());
        (self.incident.outcome, self.incident.outcome_reason) = without.clone();
        self.without = Some(without);
        self.incident.phases.retain(|(phase, _)| *phase != Phase::Success);
        true
    }
}

fn phase(category: Category) -> Phase {
    match category {
        Category::Recon | Category::Scanner | Category::Protocol | Category::InfoLeak => Phase::Recon,
        _ => Phase::Attack,
    }
}

fn as_finding(found: &Found, path: &[u8]) -> Finding {
    Finding {
        rule: found.kind.rule().to_owned(),
        category: found.category,
        confidence: event::attack::Confidence::Medium,
        score: found.kind.score(),
        severity: found.category.severity(),
        cve: Vec::new(),
        field: Field::Path,
        parameter: None,
        layer: 0,
        excerpt: text(path),
        span: None,
        names: event::names::Names::default(),
    }
}

/// The strongest finding, raised by how much was done and how many ways were tried, and
/// by where it led.
fn score(incident: &Incident) -> u8 {
    let strongest = incident.evidence.first().map_or(1, |evidence| u64::from(evidence.score));
    let much = u64::from(incident.findings.max(1).ilog2()).min(8) * 2;
    let many = (incident.categories.len() as u64).saturating_sub(1).min(4) * 3;
    let score = match incident.outcome {
        Outcome::Blocked => (strongest + much + many).saturating_sub(20),
        Outcome::Failed => (strongest + much + many).saturating_sub(10),
        Outcome::Unknown => strongest + much + many,
        Outcome::LikelySucceeded => (strongest + much + many + 15).max(80),
    };
    score.clamp(1, 100) as u8
}

/// A field as the client sent it, and as documents show it: at most [`TEXT_BYTES_MAX`] bytes, whole
/// characters.
fn text(field: &[u8]) -> String {
    // An escape has up to four bytes.
    let sent = unescape(&field[..field.len().min(4 * TEXT_BYTES_MAX)]);
    let mut text = String::from_utf8_lossy(&sent).into_owned();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
