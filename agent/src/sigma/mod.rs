//! `twosec-agent rules import-sigma`: rules of the Sigma project for web servers, as rules of
//! ours.
//!
//! ```text
//! YAML -> selections, condition -> alternatives (and, not) -> a rule for each -> tried
//! ```
//!
//! Read are rules of `logsource.category: webserver` with the modifiers `contains`,
//! `startswith`, `endswith`, `re` and `all`, keywords, and conditions of `and`, `or`, `not`,
//! brackets, `1 of` and `all of` (Sigma specification 2.1, "Sigma Rules" and "Sigma
//! Modifiers"). A rule that needs more is named, with what it needs. Each rule is tried on an
//! example that is made from its own patterns.

mod condition;
mod detection;
mod example;
mod literals;

use condition::Expression;
use detection::{Atom, Place, Selections};
use event::Classifier;
use event::attack::{Category, Confidence};
use event::classify::drop_in::FILE_BYTES_MAX;
use event::classify::{DropIn, Refused, RuleError};
use event::names::{NAMES_MAX, is_technique};
use saphyr::{Scalar, Yaml, YamlLoader};
use saphyr_parser::Parser;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Rules that one Sigma rule may become: one for each alternative.
const ALTERNATIVES_MAX: usize = 32;

/// What files of Sigma rules came to.
#[derive(Debug, Default)]
pub struct Imported {
    /// A drop-in file; empty where nothing could be imported.
    pub toml: String,
    /// Sigma rules in it.
    pub rules: usize,
    /// What could not be expressed, and why: a sentence each.
    pub left: Vec<String>,
}

/// A rule of ours as a drop-in file holds it.
#[derive(Debug, Serialize)]
struct Rule {
    id: String,
    about: String,
    category: Category,
    confidence: Confidence,
    score: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cve: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    technique: Vec<String>,
    #[serde(rename = "where")]
    fields: Vec<&'static str>,
    literals: Vec<String>,
    regex: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    when: Vec<When>,
    examples: Vec<String>,
}

#[derive(Debug, Serialize)]
struct When {
    field: &'static str,
    regex: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    not: bool,
}

#[derive(Serialize)]
struct File {
    rule: Vec<Rule>,
}

/// Imports files, given as name and text.
pub fn import(files: &[(String, String)]) -> Imported {
    let mut imported = Imported::default();
    let mut rules = Vec::new();
    for (name, text) in files {
        match documents(text) {
            Ok(documents) => documents.iter().for_each(|document| imported.take(name, document, &mut rules)),
            Err(reason) => imported.left.push(format!("{name}: {reason}")),
        }
    }
    if !rules.is_empty() {
        let text = toml::to_string(&File { rule: rules }).expect("texts and numbers turn into TOML");
        imported.toml = format!("# Imported from Sigma rules (Detection Rule License 1.1).\n\n{text}");
    }
    imported
}

/// The YAML documents of a file.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("the file has {} bytes: at most {FILE_BYTES_MAX} are read", text.len()));
    }
    let mut loader = YamlLoader::default();
    // A number is a text to Sigma, and `1.0` is not `1`.
    loader.early_parse(false);
    let read = Parser::new_from_str(text).load(&mut loader, true);
    read.and_then(|()| loader.error().cloned().map_or(Ok(()), Err))
        .map_err(|cause| format!("it is no YAML: {cause}"))?;
    let documents: Vec<Yaml<'_>> = loader.into_documents();
    Ok(documents.iter().map(plain).filter(|document| !document.is_null()).collect())
}

/// YAML as plain data, values as they are written. Keys that are lists or maps, which Sigma has none of,
/// are left out.
fn plain(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Representation(text, style, tag) => {
            match Yaml::value_from_cow_and_metadata(text.clone(), *style, tag.as_ref()) {
                Yaml::Value(Scalar::Null) => Value::Null,
                _ => Value::from(text.as_ref()),
            }
        }
        Yaml::Tagged(_, inner) => plain(inner),
        Yaml::Sequence(items) => items.iter().map(plain).collect(),
        Yaml::Mapping(pairs) => {
            let pair = |(key, value): (&Yaml<'_>, &Yaml<'_>)| match key {
                Yaml::Representation(key, ..) => Some((key.clone().into_owned(), plain(value))),
                _ => None,
            };
            Value::Object(pairs.iter().filter_map(pair).collect())
        }
        _ => Value::Null,
    }
}

impl Imported {
    fn take(&mut self, file: &str, document: &Value, rules: &mut Vec<Rule>) {
        match rules_of(document, rules) {
            Ok(more) => {
                self.rules += 1;
                rules.extend(more);
            }
            Err(reason) => {
                let title = document["title"].as_str().unwrap_or("a rule without a title");
                self.left.push(format!("{file}: `{title}`: {reason}"));
            }
        }
    }
}

/// The rules that a Sigma rule becomes, one for each alternative of its condition.
fn rules_of(document: &Value, others: &[Rule]) -> Result<Vec<Rule>, String> {
    let category = document["logsource"]["category"].as_str().unwrap_or("nothing");
    if category != "webserver" {
        return Err(format!("it is about `{category}`, not about `webserver`"));
    }
    let selections = Selections::read(&document["detection"])?;
    let alternatives = condition(document)?.alternatives(&selections, ALTERNATIVES_MAX)?;
    let id = free_id(document, others);
    let several = alternatives.len() > 1;
    let name = |at: usize| if several { format!("{id}-{}", at + 1) } else { id.clone() };
    alternatives.iter().enumerate().map(|(at, atoms)| rule(document, name(at), atoms).and_then(tried)).collect()
}

fn condition(document: &Value) -> Result<Expression, String> {
    match &document["detection"]["condition"] {
        Value::String(text) => Expression::parse(text),
        Value::Array(_) => Err("it has several conditions".into()),
        _ => Err("it has no condition".into()),
    }
}

/// One rule from what must hold together.
fn rule(document: &Value, id: String, atoms: &[Atom]) -> Result<Rule, String> {
    let (main, literals) = main(atoms)?;
    let others = atoms.iter().filter(|atom| !std::ptr::eq(*atom, main));
    let when = |atom: &Atom| {
        let Place::Subject(field) = atom.place else { return Err("keywords beside other keywords".to_owned()) };
        Ok(When { field, regex: atom.regex.clone(), not: atom.not })
    };
    let when = others.map(when).collect::<Result<Vec<_>, _>>()?;
    let (confidence, score) = level(document);
    Ok(Rule {
        id,
        about: about(document),
        category: category(document),
        confidence,
        score,
        cve: cve(document),
        technique: techniques(document),
        fields: main.place.fields().to_vec(),
        literals,
        regex: main.regex.clone(),
        when,
        examples: vec![example::line(atoms)?],
    })
}

/// The pattern that is looked for first, and the literals that make it quick: the one whose
/// shortest literal is longest. Keywords stand in several places and are always it.
fn main(atoms: &[Atom]) -> Result<(&Atom, Vec<String>), String> {
    let able = atoms.iter().filter(|atom| !atom.not && !atom.place.fields().is_empty());
    let able = able.filter_map(|atom| Some((atom, literals::required(&atom.regex)?)));
    let worth = |(atom, literals): &(&Atom, Vec<String>)| {
        (atom.place == Place::Keywords, literals.iter().map(String::len).min().unwrap_or(0))
    };
    able.max_by_key(worth).ok_or_else(|| "no text is in every match: it would have to be tried on each line".into())
}

/// The rule again, if it matches its own example and stays within our limits.
fn tried(rule: Rule) -> Result<Rule, String> {
    let mut file = File { rule: vec![rule] };
    let text = toml::to_string(&file).expect("texts and numbers turn into TOML");
    let (_, refused) = Classifier::with_drop_ins(&[DropIn { name: "sigma".into(), text }]);
    match refused.into_iter().next() {
        None => Ok(file.rule.remove(0)),
        Some(Refused { reason: RuleError::Example(_), .. }) => {
            Err("no request could be made up that it matches".to_owned())
        }
        Some(Refused { reason, .. }) => Err(crate::full_text(&reason)),
    }
}

fn about(document: &Value) -> String {
    let text = |key: &str| document[key].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let author = text("author");
    let by = if author.is_empty() { String::new() } else { format!(" by {author}") };
    format!("{} (Sigma {}{by})", text("title"), text("id"))
}

/// A free id made from the title.
fn free_id(document: &Value, others: &[Rule]) -> String {
    let title = document["title"].as_str().unwrap_or("rule").to_ascii_lowercase();
    let words: Vec<&str> = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let id = format!("sigma-{}", words.join("-"));
    let is_free = |id: &str| !others.iter().any(|other| other.id == id || other.id.starts_with(&format!("{id}-")));
    let numbered = (2..).map(|number| format!("{id}-v{number}"));
    std::iter::once(id.clone()).chain(numbered).find(|id| is_free(id)).unwrap_or(id)
}

/// Confidence and score of a level. 50 alerts.
fn level(document: &Value) -> (Confidence, u8) {
    match document["level"].as_str() {
        Some("critical") => (Confidence::High, 90),
        Some("high") => (Confidence::High, 80),
        Some("low") => (Confidence::Low, 40),
        Some("informational") => (Confidence::Low, 20),
        _ => (Confidence::Medium, 60),
    }
}

/// Sigma has no categories of attacks: what title and tags call it, or else an attempt to run
/// code, as most rules of holes in products are.
fn category(document: &Value) -> Category {
    let title = document["title"].as_str().unwrap_or_default().to_ascii_lowercase();
    let named = [
        ("sql", Category::Sqli),
        ("xss", Category::Xss),
        ("cross-site", Category::Xss),
        ("traversal", Category::Lfi),
        ("file read", Category::Lfi),
        ("file inclusion", Category::Lfi),
        ("ssti", Category::Ssti),
        ("template injection", Category::Ssti),
        ("log4", Category::Log4shell),
        ("jndi", Category::Log4shell),
        ("ssrf", Category::Ssrf),
        ("webshell", Category::Webshell),
        ("web shell", Category::Webshell),
        ("scan", Category::Scanner),
        ("recon", Category::Recon),
        ("user agent", Category::Scanner),
        ("source code", Category::InfoLeak),
        ("disclosure", Category::InfoLeak),
    ];
    let found = named.iter().find(|(word, _)| title.contains(word)).map(|(_, category)| *category);
    let has_tag = |tag: &str| tags(document).any(|known| known == tag);
    found.unwrap_or(if has_tag("attack.reconnaissance") { Category::Recon } else { Category::Code })
}

/// The CVE numbers among the tags: `cve.2021-44228`, in older rules `cve.2021.44228`.
fn cve(document: &Value) -> Vec<String> {
    let number = |tag: &str| tag.strip_prefix("cve.").map(|number| format!("CVE-{}", number.replace('.', "-")));
    tags(document).filter_map(number).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The techniques among the tags: `attack.t1505.003`.
fn techniques(document: &Value) -> Vec<String> {
    let technique = |tag: &str| tag.strip_prefix("attack.").map(str::to_uppercase).filter(|id| is_technique(id));
    let all: BTreeSet<_> = tags(document).filter_map(technique).collect();
    all.into_iter().take(NAMES_MAX).collect()
}

fn tags(document: &Value) -> impl Iterator<Item = &str> {
    document["tags"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Format;

    const RULE: &str = r#"
title: Example Product RCE Attempt
id: 00000000-0000-4000-8000-000000000001
author: A. Nonymous
tags:
    - attack.initial-access
    - attack.t1505.003
    - attack.t1190
    - attack.g0001
    - cve.2026-1234
logsource:
    category: webserver
detection:
    selection:
        cs-method: POST
        cs-uri-query|contains|all:
            - '/example/run?'
            - 'Cmd=$('
    filter:
        sc-status: 404
    condition: selection and not filter
level: high
---
title: Words of SQL
logsource:
    category: webserver
detection:
    keywords:
        - '=select*from'
        - 'UNION ALL SELECT'
    condition: keywords
---
title: Many failed logins
logsource:
    category: webserver
detection:
    selection:
        c-uri|endswith: /login
    condition: selection | count() by c-ip > 10
---
title: A process
logsource:
    category: process_creation
"#;

    fn found(classifier: &Classifier, request: &str, status: u16) -> Vec<String> {
        let line = format!(r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "{request} HTTP/1.1" {status} 5 "-" "-""#);
        let attack = Format::Combined.parse(line.as_bytes()).access().and_then(|access| classifier.classify(access));
        attack.map_or_else(Vec::new, |attack| attack.findings.into_iter().map(|finding| finding.rule).collect())
    }

    #[test]
    fn a_value_is_looked_for_as_it_is_written() {
        let regex = |value: &str| {
            let rule = format!(
                "title: A\nlogsource:\n  category: webserver\ndetection:\n  a:\n    c-uri|contains: /tool\n    \
                 cs-user-agent|contains: {value}\n  condition: a\n"
            );
            let imported = import(&[("a.yml".into(), rule)]);
            assert_eq!(imported.left, [""; 0], "{value}");
            let file: toml::Table = imported.toml.parse().unwrap();
            file["rule"][0]["when"][0]["regex"].as_str().unwrap().to_owned()
        };
        for (value, expected) in [
            ("1.0", r"1\.0"),
            ("1.10", r"1\.10"),
            ("007", "007"),
            ("0x1F", "0x1f"),
            ("1e3", "1e3"),
            ("true", "true"),
            ("'1.0'", r"1\.0"),
            ("'null'", "null"),
            ("null", "^$"),
            ("~", "^$"),
            ("", "^$"),
        ] {
            assert_eq!(regex(value), expected, "{value}");
        }
    }

    #[test]
    fn rules_of_sigma_find_what_they_ask_for_and_others_are_named() {
        let imported = import(&[("a.yml".into(), RULE.into()), ("b.yml".into(), "a: [".into())]);
        assert_eq!(imported.rules, 2);
        let [count, process, broken] = &imported.left[..] else { panic!("{:?}", imported.left) };
        assert_eq!(count, "a.yml: `Many failed logins`: its condition has `|`");
        assert_eq!(process, "a.yml: `A process`: it is about `process_creation`, not about `webserver`");
        assert!(broken.starts_with("b.yml: it is no YAML: "), "{broken}");

        let file = DropIn { name: "sigma.toml".into(), text: imported.toml };
        let (classifier, refused) = Classifier::with_drop_ins(&[file]);
        assert!(refused.is_empty(), "{refused:?}");
        let ours = |request: &str, status| {
            let all = found(&classifier, request, status);
            all.into_iter().filter(|rule| rule.starts_with("sigma-")).collect::<Vec<_>>()
        };
        let rce = ["sigma-example-product-rce-attempt"];
        assert_eq!(ours("POST /example/run?x=1&cmd=%24(id)", 200), rce);
        assert_eq!(ours("POST /example/run?x=1&cmd=%24(id)", 404), [""; 0]);
        assert_eq!(ours("GET /example/run?x=1&cmd=%24(id)", 200), [""; 0]);
        assert_eq!(ours("GET /a?q=union%20all%20select", 200), ["sigma-words-of-sql"]);
        let rule = classifier.rules().iter().find(|rule| rule.id == rce[0]).unwrap();
        assert_eq!((rule.cve.as_slice(), rule.score), (["CVE-2026-1234".to_owned()].as_slice(), 80));
        assert_eq!(rule.names.technique, ["T1190", "T1505.003"]);
        let about = "Example Product RCE Attempt (Sigma 00000000-0000-4000-8000-000000000001 by A. Nonymous)";
        assert_eq!(rule.about, about);
    }
}
