//! Which sessions of the labelled sample become incidents.

use agent::behaviour::{Engine, Limits, Line, Place, Seen};
use event::format::Parsed;
use event::redact::{KEYS, Redactor, masked};
use event::{Classifier, EventId, Format, HostKey, Incident};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A line of the sample, with what is known of it.
struct Sample {
    line: Vec<u8>,
    class: String,
    category: String,
    evidence: String,
    session: String,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/dvwa")
}

/// The sample's lines as they leave the host.
fn sample() -> Vec<Sample> {
    let read = |name: &str| fs::read_to_string(data().join(name)).expect("the sample is there");
    let redactor = Redactor::new(KEYS, [7; 32]);
    let (log, labels, sessions) = (read("access.log"), read("labels.tsv"), read("sessions.txt"));
    let rows = log.lines().zip(labels.lines().skip(1)).zip(sessions.lines());
    let one = |((line, label), session): ((&str, &str), &str)| {
        let label: Vec<_> = label.split('\t').collect();
        let [_, class, category, evidence] = label[..] else { panic!("{label:?} has four fields") };
        let masks = redactor.masks(line.as_bytes(), &Format::Combined.parse(line.as_bytes()));
        let line = masked(line.as_bytes(), &masks).into_owned();
        let (class, category, evidence) = (class.to_owned(), category.to_owned(), evidence.to_owned());
        Sample { line, class, category, evidence, session: session.to_owned() }
    };
    rows.map(one).collect()
}

/// What became of the sample: the incident of each line, what was told, and the engine.
struct Outcome {
    of_line: Vec<Option<EventId>>,
    revisions: Vec<Incident>,
    engine: Engine,
}

fn observed(sample: &[Sample]) -> Outcome {
    let classifier = Classifier::embedded();
    let life = HostKey::derive("sample").life("/var/log/apache2/access.log", b"");
    let mut engine = Engine::new("sample", Limits::default());
    let (mut of_line, mut revisions, mut offset) = (Vec::new(), Vec::new(), 0);
    for sample in sample {
        let parsed = Format::Combined.parse(&sample.line);
        let Parsed::Access(access) = &parsed else { panic!("all lines are requests") };
        let time = parsed.time().expect("all lines have a time");
        let client = parsed.client_ip().expect("all clients have an address");
        let attack = classifier.classify(access);
        let place = Place { life, offset, length: sample.line.len() as u64, written: time.written };
        let line = Line::Access { client, access, attack: attack.as_ref() };
        let told = engine.observe(&Seen { place, at: time.at, line });
        of_line.push(told.incident);
        revisions.extend(told.incidents);
        offset += sample.line.len() as u64 + 1;
    }
    Outcome { of_line, revisions, engine }
}

#[test]
fn tool_runs_and_guessed_passwords_are_incidents_and_visitors_are_none() {
    let sample = sample();
    let outcome = observed(&sample);
    let shown: BTreeSet<EventId> = outcome.revisions.iter().map(|incident| incident.id).collect();
    let mut sessions: BTreeMap<(&str, &str), (bool, BTreeSet<&str>, usize)> = BTreeMap::new();
    for (sample, incident) in sample.iter().zip(&outcome.of_line) {
        let class = if sample.class.starts_with("benign") { "benign" } else { &sample.class };
        let entry = sessions.entry((class, &sample.session)).or_default();
        entry.0 |= incident.is_some_and(|id| shown.contains(&id));
        entry.1.insert(&sample.category);
        entry.2 += 1;
        let _ = &sample.evidence;
    }
    let mut counts: BTreeMap<&str, [u32; 2]> = BTreeMap::new();
    for ((class, session), (is_found, categories, lines)) in &sessions {
        counts.entry(class).or_default()[usize::from(*is_found)] += 1;
        if *is_found == (*class == "benign") {
            println!(
                "{} {class} {session}: {lines} lines, {categories:?}",
                if *is_found { "false alarm" } else { "missed" }
            );
        }
    }
    for (class, [without, with]) in &counts {
        println!("{class}: {with} sessions with an incident, {without} without");
    }
    println!(
        "{} incidents, {} revisions, snapshot of {} bytes",
        outcome.engine.incidents().count(),
        outcome.revisions.len(),
        serde_json::to_string(&outcome.engine).unwrap().len()
    );
    for incident in outcome.engine.incidents() {
        println!("{}", serde_json::to_string(incident).unwrap());
    }
    assert_eq!(counts["benign"][1], 0, "visitors are left alone");
}
