//! Which sessions of the labelled sample become incidents, and what is told of them.

use agent::behaviour::{Engine, Limits, Line, Place, Seen, Told};
use event::format::Parsed;
use event::incident::Outcome;
use event::redact::{KEYS, Redactor, masked};
use event::{Classifier, EventId, Format, HostKey, Incident};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A line of the sample as it leaves the host, with what is known of it.
struct Sample {
    line: Vec<u8>,
    class: String,
    category: String,
    session: String,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

fn read(name: &str) -> String {
    fs::read_to_string(data().join(name)).expect("the sample is there")
}

fn shown(line: &str, format: &Format) -> Vec<u8> {
    let redactor = Redactor::new(KEYS, [7; 32]);
    let masks = redactor.masks(line.as_bytes(), &format.parse(line.as_bytes()));
    masked(line.as_bytes(), &masks).into_owned()
}

fn sample() -> Vec<Sample> {
    let (log, labels, sessions) = (read("dvwa/access.log"), read("dvwa/labels.tsv"), read("dvwa/sessions.txt"));
    let rows = log.lines().zip(labels.lines().skip(1)).zip(sessions.lines());
    let one = |((line, label), session): ((&str, &str), &str)| {
        let label: Vec<_> = label.split('\t').collect();
        let [_, class, category, _] = label[..] else { panic!("{label:?} has four fields") };
        let class = if class.starts_with("benign") { "visitor" } else { class };
        let (class, category, session) = (class.to_owned(), category.to_owned(), session.to_owned());
        Sample { line: shown(line, &Format::Combined), class, category, session }
    };
    rows.map(one).collect()
}

/// An engine that is shown logs.
struct Watch {
    engine: Engine,
    classifier: Classifier,
    offset: u64,
    revisions: Vec<Incident>,
}

impl Watch {
    fn new() -> Watch {
        let engine = Engine::new("sample", Limits::default());
        Watch { engine, classifier: Classifier::embedded(), offset: 0, revisions: Vec::new() }
    }

    fn sees(&mut self, line: &[u8], format: &Format) -> Told {
        let parsed = format.parse(line);
        let client = parsed.client_ip();
        let written = parsed.time().map_or(&b""[..], |time| time.written);
        let life = HostKey::derive("sample").life("/var/log/apache2/access.log", b"");
        let place = Place { life, offset: self.offset, length: line.len() as u64, written };
        self.offset += line.len() as u64 + 1;
        let attack = parsed.access().and_then(|access| self.classifier.classify(access));
        let line = match &parsed {
            Parsed::Access(access) => {
                let client = client.expect("all clients have an address");
                Line::Access { client, access, attack: attack.as_ref() }
            }
            Parsed::Error(error) => Line::Error { client, error },
            _ => return Told::default(),
        };
        let told = self.engine.observe(&Seen { place, at: parsed.time().map_or(0, |time| time.at), line });
        self.revisions.extend(told.incidents.iter().cloned());
        told
    }
}

/// What became of a session.
#[derive(Default)]
struct Session<'a> {
    lines: usize,
    categories: BTreeSet<&'a str>,
    incidents: BTreeSet<EventId>,
}

/// The sessions that cannot be told: a single request, or attacks in what an access log does
/// not show. The error log shows some of these.
const UNSEEN: [&str; 11] =
    ["sqlmap-dev2", "x0039", "x0040", "x0041", "x0042", "x0043", "x0044", "x0060", "x0062", "x0063", "x0065"];

#[test]
fn attacks_and_tool_runs_are_incidents_and_visits_are_none() {
    let sample = sample();
    let mut watch = Watch::new();
    // What else an actor asks for is of his incident, too, and others may share his address.
    let finding = |told: Told| told.incident.filter(|_| told.outcome.is_some());
    let of_line: Vec<Option<EventId>> =
        sample.iter().map(|one| finding(watch.sees(&one.line, &Format::Combined))).collect();
    let incidents: BTreeMap<EventId, &Incident> = watch.engine.incidents().map(|one| (one.id, one)).collect();
    let mut sessions: BTreeMap<(&str, &str), Session<'_>> = BTreeMap::new();
    for (one, incident) in sample.iter().zip(of_line) {
        let session = sessions.entry((&one.class, &one.session)).or_default();
        session.lines += 1;
        session.categories.insert(&one.category);
        session.incidents.extend(incident.filter(|id| incidents.contains_key(id)));
    }
    let mut counts: BTreeMap<&str, [u32; 2]> = BTreeMap::new();
    for ((class, _), session) in &sessions {
        counts.entry(class).or_default()[usize::from(!session.incidents.is_empty())] += 1;
    }
    counts.iter().for_each(|(class, [without, with])| println!("{class}: {with} with an incident, {without} without"));

    let unseen: Vec<&str> = sessions
        .iter()
        .filter(|((class, _), session)| *class != "visitor" && session.incidents.is_empty())
        .map(|((_, name), _)| *name)
        .collect();
    assert_eq!(unseen, UNSEEN);
    assert_eq!(counts["visitor"], [143, 0]);
    // What no single line shows is told by its name.
    for ((_, name), session) in &sessions {
        let told = |category: &str| {
            let has = |id| incidents[id].categories.keys().any(|known| known.name() == category);
            session.incidents.iter().any(has)
        };
        for category in ["bruteforce", "csrf", "idor"] {
            let is_of_it = session.categories.contains(category) && !UNSEEN.contains(name);
            assert!(!is_of_it || told(category), "{name} is {category}");
        }
        // What tools sent is in at most two incidents, however many lines it is.
        assert!(!name.contains("-dev") || session.incidents.len() <= 2, "{name}: {} lines", session.lines);
    }
}

#[test]
fn what_worked_is_told_from_what_did_not() {
    let mut watch = Watch::new();
    sample().iter().for_each(|one| _ = watch.sees(&one.line, &Format::Combined));
    let of = |actor: &str| {
        let incident = watch.engine.incidents().find(|incident| incident.actor == actor).expect(actor);
        (incident.outcome, incident.outcome_reason.as_str())
    };
    // hydra finds a password, wfuzz reads /etc/passwd, dirb finds nothing.
    let found = "after 29 answers of 5026 bytes and status 200, one had 5064 bytes and status 200";
    assert_eq!(of("89.160.20.232"), (Outcome::LikelySucceeded, found));
    let read = "its answer has 5229 bytes, where those to other attacks on the path have 3952 at most";
    assert_eq!(of("89.160.20.235"), (Outcome::LikelySucceeded, read));
    assert_eq!(of("89.160.20.230"), (Outcome::Failed, "what was asked for is not there"));
}

#[test]
fn the_error_log_shows_attacks_that_no_access_log_does() {
    let mut watch = Watch::new();
    let log = read("formats/error.log");
    log.lines().for_each(|line| _ = watch.sees(&shown(line, &Format::Error), &Format::Error));
    let found: BTreeSet<&str> =
        watch.engine.incidents().flat_map(|one| one.categories.keys().map(|known| known.name())).collect();
    assert_eq!(found, BTreeSet::from(["lfi", "rfi", "sqli"]));
    // A part of the application that is missing is no attack.
    assert!(watch.engine.incidents().all(|incident| incident.actor != "67.43.156.143"));
}

#[test]
fn lines_that_are_read_again_are_the_same_incidents() {
    let (mut once, mut again) = (Watch::new(), Watch::new());
    let sample = sample();
    for (at, one) in sample.iter().enumerate() {
        once.sees(&one.line, &Format::Combined);
        if at == 1_200 {
            let snapshot = serde_json::to_string(&again.engine).expect("an engine can be written");
            again.engine = serde_json::from_str(&snapshot).expect("and read");
        }
        again.sees(&one.line, &Format::Combined);
    }
    assert_eq!(once.revisions, again.revisions);
    // A few revisions for each incident, and none for each line.
    assert!(once.revisions.len() <= 5 * once.engine.incidents().count(), "{}", once.revisions.len());
}
