//! Our own documents, read again as the events that they were made of.
//!
//! A document shows what an index may show. So a line that was masked there comes back
//! masked, bytes that are no UTF-8 come back as U+FFFD, tags have `_` where they had `.`, the
//! ruleset is known where it found something, and the zone of times is not told. All else,
//! and the document that is made of the event, is the same again.

use crate::attack::{Attack, Category, Finding};
use crate::format::{Format, Parsed};
use crate::geo::{AutonomousSystem, Geo, Place, SourceFacts};
use crate::id::{EventId, LifeId};
use crate::incident::Outcome;
use crate::line::{Cloud, Container, Event, Host, Origin};
use crate::outcome::Context;
use crate::time::{Day, parse_rfc3339};
use crate::zone::Zone;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What is read of a document. All else is derived from it again.
#[derive(Deserialize)]
struct Told {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    event: Meta,
    host: Host,
    #[serde(default)]
    cloud: Option<CloudFields>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    container: Option<Container>,
    log: Log,
    agent: AgentFields,
    #[serde(default)]
    rule: Option<Rule>,
    #[serde(default)]
    attack: Option<AttackFields>,
    #[serde(default)]
    error: Option<ErrorFields>,
    #[serde(default)]
    source: Option<Endpoint>,
    twosec: Ours,
}

#[derive(Deserialize)]
struct Meta {
    id: EventId,
    original: String,
    dataset: String,
}

#[derive(Deserialize)]
struct CloudFields {
    provider: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    availability_zone: Option<String>,
    #[serde(default)]
    account: Option<Id>,
    #[serde(default)]
    instance: Option<Id>,
    #[serde(default)]
    machine: Option<Machine>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Machine {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Log {
    file: File,
}

#[derive(Deserialize)]
struct File {
    path: String,
}

#[derive(Deserialize)]
struct AgentFields {
    #[serde(rename = "type")]
    kind: String,
    version: String,
}

#[derive(Deserialize)]
struct Rule {
    ruleset: String,
}

#[derive(Deserialize)]
struct AttackFields {
    categories: Vec<Category>,
    score: u8,
    outcome: Outcome,
    #[serde(default)]
    outcome_reason: String,
    #[serde(default)]
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct ErrorFields {
    message: String,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    ip: Option<IpAddr>,
    #[serde(default)]
    geo: Option<Place>,
    #[serde(default, rename = "as")]
    system: Option<AutonomousSystem>,
}

#[derive(Deserialize)]
struct Ours {
    life: LifeId,
    offset: u64,
    #[serde(default)]
    format: Option<Format>,
    #[serde(default)]
    day: Option<Day>,
    #[serde(default)]
    cut_from: Option<u64>,
    #[serde(default)]
    gap: Option<Gap>,
    #[serde(default)]
    duplicate_of: Option<String>,
    #[serde(default)]
    incident: Option<IncidentField>,
    #[serde(default)]
    cloud: Option<OtherCloud>,
    #[serde(default)]
    source: Option<SourceFields>,
}

#[derive(Deserialize)]
struct IncidentField {
    id: EventId,
}

#[derive(Deserialize)]
struct Gap {
    from: u64,
    to: u64,
    reason: String,
}

#[derive(Deserialize)]
struct OtherCloud {
    #[serde(default)]
    image_id: Option<String>,
    #[serde(default)]
    vpc_id: Option<String>,
}

#[derive(Deserialize)]
struct SourceFields {
    #[serde(default)]
    provider: Option<Box<str>>,
    #[serde(default)]
    peer: Option<IpAddr>,
}

/// Reads one JSON object; `None` where it is no document of ours.
pub fn read(json: &str) -> Option<Event> {
    let told: Told = serde_json::from_str(json).ok()?;
    if told.agent.kind != "twosec-agent" {
        return None;
    }
    let time = parse_rfc3339(&told.timestamp)?;
    let format = told.twosec.format.clone().unwrap_or_else(|| format(&told));
    let (gap, line) = (told.twosec.gap, told.event.original.into_bytes());
    let length = match (&gap, told.twosec.cut_from) {
        (Some(gap), _) => gap.to.saturating_sub(gap.from),
        (None, cut_from) => cut_from.unwrap_or(line.len() as u64),
    };
    let cloud = told.cloud.map(|fields| cloud(fields, told.twosec.cloud, told.labels));
    let peer = told.twosec.source.as_ref().and_then(|source| source.peer);
    let (ip, facts) = facts(told.source, told.twosec.source);
    let incident = told.twosec.incident.map(|incident| incident.id);
    let context = Context { incident, ..told.attack.as_ref().map(context).unwrap_or_default() };
    let attack = told.attack.filter(|attack| !attack.findings.is_empty());
    let origin = Origin {
        host: told.host,
        cloud,
        container: told.container,
        path: told.log.file.path,
        life: told.twosec.life,
        format,
        timezone: Zone::UTC,
        ruleset: told.rule.map(|rule| rule.ruleset).unwrap_or_default(),
        agent: told.agent.version,
    };
    let mut event = Event {
        length,
        cut: told.twosec.cut_from.is_some(),
        attack: attack.map(|attack| Attack {
            score: attack.score,
            findings: attack.findings.into_iter().map(with_own_names).collect(),
        }),
        context: (!context.is_empty()).then(|| Box::new(context)),
        client: peer.and(ip),
        source: (!facts.is_empty()).then(|| Arc::new(facts)),
        duplicate_of: told.twosec.duplicate_of,
        gap: gap.map(|gap| gap.reason),
        ..Event::new(Arc::new(origin), told.twosec.offset, line, time)
    };
    let is_dated = event.parsed().time().is_some();
    event.day = if is_dated { Some(Day::of(time)) } else { told.twosec.day };
    Some(event.with_id(told.event.id))
}

/// A document tells all names of a finding, also those that its category stands for.
fn with_own_names(mut finding: Finding) -> Finding {
    finding.names = finding.names.beyond(finding.category);
    finding
}

/// What the document tells of a line beyond what was found in it.
fn context(attack: &AttackFields) -> Context {
    let is_found = |category: &Category| attack.findings.iter().any(|finding| finding.category == *category);
    Context {
        outcome: Some((attack.outcome, attack.outcome_reason.clone())),
        categories: attack.categories.iter().copied().filter(|category| !is_found(category)).collect(),
        incident: None,
    }
}

/// The format by whose reading the document is what it is. Most lines show it; others are
/// told by what the document holds.
fn format(told: &Told) -> Format {
    let formats = [Format::Auto, Format::Combined, Format::VhostCombined, Format::Common, Format::Error];
    let fits = |format: &Format| {
        let is_error = told.event.dataset == "apache.error";
        let message = told.error.as_ref().map(|error| error.message.as_str());
        match format.parse(told.event.original.as_bytes()) {
            Parsed::Error(_) => is_error,
            Parsed::Odd(odd) => !is_error && message == Some(&odd.to_string()),
            Parsed::Access(_) | Parsed::TailHeader(_) => !is_error && message.is_none(),
        }
    };
    formats.into_iter().find(fits).unwrap_or_default()
}

fn cloud(fields: CloudFields, other: Option<OtherCloud>, tags: BTreeMap<String, String>) -> Cloud {
    let (image_id, vpc_id) = other.map_or((None, None), |other| (other.image_id, other.vpc_id));
    Cloud {
        provider: fields.provider,
        region: fields.region,
        availability_zone: fields.availability_zone,
        account_id: fields.account.map(|account| account.id),
        instance_id: fields.instance.map(|instance| instance.id),
        machine_type: fields.machine.map(|machine| machine.kind),
        vpc_id,
        image_id,
        tags,
    }
}

/// The client's address, and what was looked up of it.
fn facts(source: Option<Endpoint>, ours: Option<SourceFields>) -> (Option<IpAddr>, SourceFacts) {
    let provider = ours.and_then(|ours| ours.provider);
    let Some(source) = source else { return (None, SourceFacts { provider, ..SourceFacts::default() }) };
    (source.ip, SourceFacts { geo: Geo { place: source.geo, system: source.system }, provider })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::{Category, Confidence, Field, Severity};
    use crate::document::Document;
    use crate::id::HostKey;
    use crate::line::day_of;
    use crate::names::Names;
    use proptest::prelude::*;

    fn event(format: &str, line: &[u8]) -> Event {
        let path = "/var/log/apache2/access.log";
        let life = HostKey::derive("4a5b").life(path, b"first");
        let host = Host { id: "4a5b".into(), name: "web-1".into() };
        let origin =
            Origin { agent: "0.1.0".into(), ..Origin::new(host, path, life, format.parse::<Format>().unwrap()) };
        let parsed = origin.parse(line);
        let (time, day) = (parsed.time().map_or(7, |time| time.at), day_of(&parsed, Some(Day(20_000))));
        Event { day, ..Event::new(Arc::new(origin), 9, line.to_vec(), time) }
    }

    fn again(event: &Event) -> Event {
        let document = Document::of(event);
        let read = read(std::str::from_utf8(&document.body).unwrap()).expect("a document of ours is read");
        let same = Document::of(&read);
        assert_eq!(String::from_utf8_lossy(&same.body), String::from_utf8_lossy(&document.body));
        assert_eq!((same.id, same.day), (document.id, document.day));
        read
    }

    const LINE: &[u8] = br#"192.0.2.7 - bob [16/Nov/2026:08:00:25 +0000] "GET /?id=1 HTTP/1.1" 200 5 "-" "curl/8""#;

    #[test]
    fn an_event_comes_back_from_its_document() {
        let mut event = event("auto", LINE);
        let origin = Arc::get_mut(&mut event.origin).unwrap();
        origin.ruleset = "2026.11.1".into();
        origin.container = Some(Container { id: "c0ffee".into(), name: None, labels: BTreeMap::new() });
        origin.cloud = Some(Cloud {
            provider: "aws".into(),
            account_id: Some("123456789012".into()),
            vpc_id: Some("vpc-1".into()),
            tags: [("team".to_owned(), "shop".to_owned())].into(),
            ..Cloud::default()
        });
        let outcome = Some((Outcome::LikelySucceeded, "its answer was larger than usual".to_owned()));
        event.context = Some(Box::new(Context {
            outcome,
            categories: vec![Category::Bruteforce],
            incident: Some(EventId([3; 16])),
        }));
        event.attack = Some(Attack {
            score: 90,
            findings: vec![Finding {
                rule: "sqli-x".into(),
                category: Category::Sqli,
                confidence: Confidence::High,
                score: 90,
                severity: Severity::Critical,
                cve: vec!["CVE-2021-44228".into()],
                field: Field::Query,
                parameter: Some("id".into()),
                layer: 1,
                excerpt: "1".into(),
                span: Some((60, 61)),
                names: Names { cwe: vec![564], ..Names::default() },
            }],
        });
        event.client = Some([203, 0, 113, 9].into());
        let place = Place { city_name: Some("London".into()), ..Place::default() };
        let geo = Geo { place: Some(place), system: None };
        event.source = Some(Arc::new(SourceFacts { geo, provider: Some("Example Cloud".into()) }));
        event.duplicate_of = Some("/y".into());
        assert_eq!(again(&event), event);
    }

    #[test]
    fn cut_lines_gaps_and_masked_lines_keep_their_ids() {
        let cut = Event { cut: true, length: 5_000, ..event("combined", LINE) };
        assert_eq!(again(&cut).length, 5_000);
        let gap = Event { line: Vec::new(), length: 5, gap: Some("the file was deleted".into()), ..event("auto", b"") };
        assert_eq!(again(&gap).gap, gap.gap);
        let masked = Event { length: 500, ..event("auto", LINE) };
        assert_eq!(again(&masked).given_id, Some(masked.id(&masked.parsed())));
        assert_eq!(again(&event("auto", LINE)).given_id, None);
    }

    #[test]
    fn a_document_tells_how_its_line_is_read() {
        let error = b"[Mon Nov 23 01:49:33.005699 2026] [php:error] [pid 788] [client 67.43.156.143:26325] hello";
        for line in [LINE, error, b"odd", b"", b"==> /x <==", br#"h [16/Nov/2026:08:00:25 +0000] 12"#] {
            for (name, _) in Format::ALL {
                again(&event(name, line));
            }
            again(&event("%h %t %D", line));
            again(&event(r#"ErrorLogFormat "[%t] %M""#, line));
        }
    }

    #[test]
    fn documents_of_others_are_not_taken_for_ours() {
        let document = String::from_utf8(Document::of(&event("auto", LINE)).body).unwrap();
        assert!(read(&document).is_some());
        assert!(read(&document.replace("twosec-agent", "filebeat")).is_none());
        assert!(read(&document.replace("\"life\"", "\"live\"")).is_none());
        assert!(read("{}").is_none());
    }

    proptest! {
        #[test]
        fn any_line_of_text_comes_back(line in "(?s).{0,60}", format in 0usize..5) {
            again(&event(Format::ALL[format].0, line.as_bytes()));
        }
    }
}
