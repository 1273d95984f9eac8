//! What an index is rebuilt from: an archived line makes the document that the line made when
//! it came, byte for byte.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use event::classify::Classifier;
use event::format::Format;
use event::frame::{self, Body, Header, Line};
use event::geo::{AutonomousSystem, Geo, Location, Organization, Place, SourceFacts};
use event::incident::{Incident, Outcome, Phase};
use event::line::{Cloud, Container, Host, day_of};
use event::outcome::Context;
use event::redact::{KEYS, Redactor, masked};
use event::{Category, Day, Document, Event, EventId, HostKey, Origin};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(Classifier::embedded);

/// A line that comes into a frame, and what the agent may know of it.
#[derive(Debug, Clone)]
struct Given {
    line: Vec<u8>,
    kind: Kind,
    cut: bool,
    /// Whether the archive keeps what an index must not show.
    keeps_secrets: bool,
    context: Option<Context>,
    behind_proxy: bool,
    is_duplicate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Line,
    Gap,
    Incident,
}

fn access_line() -> impl Strategy<Value = Vec<u8>> {
    let target = prop_oneof![
        Just("/".to_owned()),
        Just("/?id=1%27+union+select+1,2--+".to_owned()),
        Just("/login?password=1%27+union+select+1,2--+&user=bob".to_owned()),
        Just("/wp-admin/setup-config.php".to_owned()),
        Just("/?q=<script>alert(1)</script>".to_owned()),
        "/[a-z%\\\\x0-9?=&é]{0,20}",
    ];
    let agent = prop_oneof![Just("sqlmap/1.8".to_owned()), Just("-".to_owned()), "[ -~]{0,20}"];
    (target, agent, 100u16..600, prop_oneof![Just(""), Just("dev.lab:80 ")]).prop_map(|(target, agent, status, vhost)| {
        format!(
            r#"{vhost}81.2.69.142 - bob [16/Nov/2026:08:00:25 +0100] "GET {target} HTTP/1.1" {status} 512 "http://u:p@h/?token=x" "{agent}""#
        )
        .into_bytes()
    })
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let error: &[u8] = br#"[Mon Nov 23 01:49:33.005699 2026] [php:error] [pid 788:tid 789] [client 81.2.69.142:26325] PHP Fatal error:  Uncaught E: "x in /a.php:2\nStack trace:\n#0 {main}\n  thrown in /a.php on line 2, referer: http://dev.lab/?token=abc"#;
    prop_oneof![
        4 => access_line(),
        1 => Just(error.to_vec()),
        1 => Just(b"==> /var/log/a.log <==".to_vec()),
        1 => Just(Vec::new()),
        2 => any::<Vec<u8>>(),
        1 => "\\PC{0,40}".prop_map(String::into_bytes),
    ]
}

fn any_context() -> impl Strategy<Value = Option<Context>> {
    let outcome = prop::option::of(Just((Outcome::LikelySucceeded, "the answer was larger than usual".to_owned())));
    let categories = prop::sample::subsequence(vec![Category::Bruteforce, Category::Recon], 0..=2);
    let incident = prop::option::of(Just(EventId([9; 16])));
    let context = (outcome, categories, incident).prop_map(|(outcome, categories, incident)| Context {
        outcome,
        categories,
        incident,
    });
    prop::option::of(context.prop_filter("tells something", |context| !context.is_empty()))
}

fn any_given() -> impl Strategy<Value = Given> {
    let kind = prop_oneof![6 => Just(Kind::Line), 1 => Just(Kind::Gap), 1 => Just(Kind::Incident)];
    (any_line(), kind, any::<[bool; 4]>(), any_context()).prop_map(|(line, kind, flags, context)| {
        let [cut, keeps_secrets, behind_proxy, is_duplicate] = flags;
        let line = if kind == Kind::Line { line } else { Vec::new() };
        Given { line, kind, cut, keeps_secrets, context, behind_proxy, is_duplicate: is_duplicate && cut }
    })
}

fn any_facts() -> impl Strategy<Value = SourceFacts> {
    let location = (-90.0..90.0f64, -180.0..180.0f64).prop_map(|(lat, lon)| Location::new(lat, lon));
    let place = (location, prop::option::of("\\PC{1,9}")).prop_map(|(location, city)| Place {
        continent_code: Some("EU".into()),
        city_name: city.map(Into::into),
        location,
        ..Place::default()
    });
    let system = any::<Option<u32>>()
        .prop_map(|number| AutonomousSystem { number, organization: Some(Organization { name: "Example".into() }) });
    (prop::option::of(place), prop::option::of(system), prop::option::of("\\PC{1,9}")).prop_map(
        |(place, system, provider)| SourceFacts { geo: Geo { place, system }, provider: provider.map(Into::into) },
    )
}

fn any_origin() -> impl Strategy<Value = Origin> {
    let formats = ["auto", "combined", "error", r#"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\""#];
    let format = prop::sample::select(formats.to_vec());
    let tags = prop::collection::btree_map(".{1,9}", ".{0,9}", 0..3);
    (format, any::<[bool; 3]>(), tags).prop_map(|(format, [in_container, in_cloud, by_processor], tags)| {
        let labels = BTreeMap::from([("com.docker.compose.project".to_owned(), "dvwa".to_owned())]);
        let container = in_container.then(|| Container { id: "c0ffee".into(), name: Some("web".into()), labels });
        let cloud = Cloud { provider: "aws".into(), region: Some("eu-central-1".into()), tags, ..Cloud::default() };
        let path = "/var/log/apache2/access.log";
        Origin {
            container,
            cloud: in_cloud.then_some(cloud),
            timezone: "CET-1CEST,M3.5.0,M10.5.0/3".parse().unwrap(),
            ruleset: "2026.11.1".into(),
            agent: if by_processor { "processor 0.1.0".into() } else { "0.1.0".into() },
            ..Origin::new(
                Host { id: "4a5b".into(), name: "web-1".into() },
                path,
                HostKey::derive("4a5b").life(path, b"first"),
                format.parse::<Format>().unwrap(),
            )
        }
    })
}

fn incident(revision: u32) -> Incident {
    Incident {
        id: EventId([7; 16]),
        revision,
        actor: "81.2.69.142".into(),
        first_seen: 1_794_816_000_000,
        last_seen: 1_794_816_025_000,
        requests: 40,
        findings: 33,
        categories: [(Category::Lfi, 3), (Category::Sqli, 30)].into(),
        behaviour: vec!["30 values of one parameter in a minute".into()],
        targets: vec![("/a.php".into(), 33)],
        user_agents: vec!["sqlmap/1.8".into()],
        phases: vec![(Phase::Attack, 2)],
        outcome: Outcome::Unknown,
        outcome_reason: String::new(),
        evidence: Vec::new(),
        score: 99,
        severity: event::attack::Severity::High,
        is_over: false,
    }
}

/// The events of a frame with these lines, as the processor reads them.
fn events(origin: &Origin, facts: SourceFacts, given: &[Given]) -> Vec<Event> {
    let (redactor, peer) = (Redactor::new(KEYS, [7; 32]), "81.2.69.142".parse().unwrap());
    let mut header = Header::new(origin.clone(), Some(Day(20_000)));
    header.sources = [(peer, Arc::new(facts))].into();
    let (mut body, mut offset, mut day) = (Body::default(), 512, Some(Day(20_000)));
    for (at, one) in given.iter().enumerate() {
        let parsed = origin.parse(&one.line);
        let verdict = parsed.access().and_then(|access| CLASSIFIER.judge(access));
        let masks = redactor.masks(&one.line, &parsed);
        let shown = masked(&one.line, &masks).into_owned();
        day = day_of(&parsed, day);
        let length = one.line.len() as u64 + if one.cut || one.kind == Kind::Gap { 40 } else { 0 };
        let incident = (one.kind == Kind::Incident).then(|| incident(at as u32 + 1));
        body.push(Line {
            offset,
            length: if incident.is_some() { 0 } else { length },
            line: if one.keeps_secrets { &one.line } else { &shown },
            cut: one.cut,
            time: parsed.time().map_or(1_794_816_000_123, |time| time.at),
            tells_time: parsed.time().is_some(),
            day,
            attack: verdict.as_ref(),
            context: one.context.as_ref().filter(|_| one.kind == Kind::Line),
            client: one.behind_proxy.then_some(peer),
            duplicate_of: one.is_duplicate.then_some("/var/log/other.log"),
            masks: if one.keeps_secrets { &masks } else { &[] },
            gap: (one.kind == Kind::Gap).then_some("the file was deleted"),
            incident: incident.as_ref(),
        });
        if incident.is_none() {
            offset += length + 1;
        }
    }
    frame::decode(&body.encode(&header, 0, given.len(), 3)).unwrap().1
}

proptest! {
    #[test]
    fn a_replayed_document_is_the_one_that_was_indexed_when_the_line_came(
        origin in any_origin(), facts in any_facts(), given in prop::collection::vec(any_given(), 1..12),
    ) {
        for live in events(&origin, facts, &given) {
            let mut row = Vec::new();
            live.archive(live.id(&live.parsed()), &live.origin.to_json(), &mut row);
            let replayed = Event::from_archive(&row).unwrap();
            prop_assert_eq!(Document::for_index(&replayed), Document::for_index(&live));
            let (live, replayed) = (Document::of(&live), Document::of(&replayed));
            prop_assert_eq!(String::from_utf8(replayed.body), String::from_utf8(live.body));
            prop_assert_eq!((replayed.id, replayed.day, replayed.revision), (live.id, live.day, live.revision));
        }
    }
}
