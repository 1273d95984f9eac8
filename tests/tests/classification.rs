//! What the classifier finds in the labelled sample: floors that fail when a change makes
//! it worse. The rules are not tuned to these lines.

use event::{Classifier, Format};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines, hits, and hits of the right category, by class or by category of payload lines.
fn tally() -> BTreeMap<String, [u32; 3]> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dvwa");
    let log = fs::read_to_string(data.join("access.log")).expect("the sample is there");
    let labels = fs::read_to_string(data.join("labels.tsv")).expect("its labels are there");
    let classifier = Classifier::embedded();
    let mut tally: BTreeMap<String, [u32; 3]> = BTreeMap::new();
    for (line, label) in log.lines().zip(labels.lines().skip(1)) {
        let label: Vec<_> = label.split('\t').collect();
        let [_, class, category, evidence] = label[..] else { panic!("{label:?} has four fields") };
        let parsed = Format::Combined.parse(line.as_bytes());
        let attack = parsed.access().and_then(|access| classifier.classify(access));
        let right = attack.iter().flat_map(|attack| attack.categories()).any(|found| found.name() == category);
        let add = |entry: &mut [u32; 3]| {
            entry[0] += 1;
            entry[1] += u32::from(attack.is_some());
            entry[2] += u32::from(right);
        };
        if class.starts_with("benign") {
            add(tally.entry(class.to_owned()).or_default());
        } else if evidence == "payload" && class == "attack" {
            add(tally.entry("payload".to_owned()).or_default());
            add(tally.entry(category.to_owned()).or_default());
        }
    }
    tally
}

#[test]
fn payloads_are_found_and_visitors_left_alone() {
    let tally = tally();
    let share = |key: &str, of: usize| f64::from(tally[key][of]) / f64::from(tally[key][0]);
    let floors =
        [("payload", 0.98), ("sqli", 0.98), ("xss", 0.97), ("lfi", 0.98), ("cmdi", 0.97), ("open-redirect", 0.85)];
    for (key, floor) in floors.into_iter().chain([("ssrf", 0.85), ("rfi", 0.85)]) {
        assert!(share(key, 1) >= floor, "{key}: {:?}", tally[key]);
    }
    assert!(f64::from(tally["payload"][2]) >= 0.98 * f64::from(tally["payload"][1]), "{:?}", tally["payload"]);
    assert!(share("benign", 1) <= 0.001, "{:?}", tally["benign"]);
    assert!(share("benign_hard", 1) <= 0.03, "{:?}", tally["benign_hard"]);
}

/// What is found of the categories of which the public sets have most. Of SQL and of markup
/// they hold pieces that only a site's own statement, or its own page, would make whole.
const FLOORS: [(&str, f64); 9] = [
    ("sqli", 0.94),
    ("xss", 0.98),
    ("cmdi", 0.97),
    ("lfi", 1.0),
    ("rfi", 1.0),
    ("ssrf", 1.0),
    ("ssti", 1.0),
    ("nosqli", 1.0),
    ("ssi", 1.0),
];

#[test]
fn payloads_of_public_sets_are_found_and_their_harmless_ones_left_alone() {
    let classifier = Classifier::embedded();
    let mut tally = found_in("public", &classifier, |label| {
        let [_, _, class, category] = label[..] else { panic!("{label:?} has four fields") };
        if class == "benign" { class } else { category }
    });
    let sentences = fs::read_to_string(data("public").join("sentences.txt")).expect("the sentences are there");
    for sentence in sentences.lines() {
        count(&mut tally, "benign", is_found(&classifier, &search_for(sentence)));
    }
    let share = |key: &str| f64::from(tally[key][1]) / f64::from(tally[key][0]);
    for (key, floor) in FLOORS {
        assert!(share(key) >= floor, "{key}: {:?}", tally[key]);
    }
    assert!(tally["benign"][0] > 1_000, "{:?}", tally["benign"]);
    assert!(share("benign") <= 0.005, "{:?}", tally["benign"]);
}

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(folder)
}

/// Lines, and those that are found, by what their label says that they are.
type Tally = BTreeMap<String, [u32; 2]>;

fn count(tally: &mut Tally, of: &str, is_found: bool) {
    let entry = tally.entry(of.to_owned()).or_default();
    *entry = [entry[0] + 1, entry[1] + u32::from(is_found)];
}

/// What is found in the log of a folder, whose lines `of` tells apart by their labels.
fn found_in(folder: &str, classifier: &Classifier, of: impl for<'l> Fn(&[&'l str]) -> &'l str) -> Tally {
    let log = fs::read(data(folder).join("access.log")).expect("the extract is there");
    let labels = fs::read_to_string(data(folder).join("labels.tsv")).expect("its labels are there");
    let mut tally = Tally::new();
    for (line, label) in log.split(|byte| *byte == b'\n').zip(labels.lines().skip(1)) {
        let label: Vec<_> = label.split('\t').collect();
        count(&mut tally, of(&label), is_found(classifier, line));
    }
    tally
}

fn is_found(classifier: &Classifier, line: &[u8]) -> bool {
    Format::Combined.parse(line).access().is_some_and(|access| classifier.judge(access).is_some())
}

/// The line of somebody who searches for a text, as a browser sends a form.
fn search_for(text: &str) -> Vec<u8> {
    let code = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let query: String = text.bytes().map(code).collect();
    let time = "[23/Nov/2026:01:00:00 +0000]";
    format!(r#"192.0.2.10 - - {time} "GET /search?q={query} HTTP/1.1" 200 248 "-" "Mozilla/5.0""#).into_bytes()
}

/// What is found of the tests of OWASP CRS, each of which expects one rule of CRS to fire. Many hold
/// a word alone, or a piece that only CRS's own score would add to; ours ask for a structure.
const CRS_FLOORS: [(&str, f64); 6] =
    [("cmdi", 0.44), ("code", 0.55), ("lfi", 0.93), ("rfi", 0.28), ("sqli", 0.48), ("xss", 0.69)];

#[test]
fn payloads_of_the_tests_of_owasp_crs_are_found() {
    let tally = found_in("crs", &Classifier::embedded(), |label| {
        let [_, category, _] = label[..] else { panic!("{label:?} has three fields") };
        category
    });
    for (category, floor) in CRS_FLOORS {
        let [lines, found] = tally[category];
        assert!(f64::from(found) >= floor * f64::from(lines), "{category}: {found} of {lines}");
    }
    assert_eq!(tally.values().map(|[lines, _]| lines).sum::<u32>(), 206);
}
