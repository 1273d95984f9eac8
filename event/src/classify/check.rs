//! Runs the examples that stand beside each rule.

use super::rules::{Example, ExampleKind, Rule};
use super::{Classifier, Passed, Place, Witness};
use crate::format::{Format, Parsed};
use std::fmt;
use std::ops::Range;

/// An example that its rule does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub rule: String,
    pub example: Example,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.example.matches { "does not match its example" } else { "matches its counter-example" };
        write!(f, "rule `{}` {what} `{}`", self.rule, self.example.text)
    }
}

/// Asks each rule about its own examples and returns those that came out wrong.
pub fn check(classifier: &Classifier) -> Vec<Failure> {
    let wrong = |rule: &Rule, example: &&Example| matches(classifier, rule, example) != example.matches;
    let failures = |rule: &Rule| {
        let failure = |example: &Example| Failure { rule: rule.id.clone(), example: example.clone() };
        rule.examples.iter().filter(|example| wrong(rule, example)).map(failure).collect::<Vec<_>>()
    };
    classifier.rules().iter().flat_map(failures).collect()
}

/// Whether an example is an attack.
pub(super) fn is_attack(classifier: &Classifier, example: &Example) -> bool {
    Format::Auto.parse(&line(example)).access().is_some_and(|access| classifier.judge(access).is_some())
}

fn matches(classifier: &Classifier, rule: &Rule, example: &Example) -> bool {
    let line = line(example);
    match Format::Auto.parse(&line) {
        Parsed::Access(access) => {
            let mut ids = Ids(Vec::new());
            classifier.walk(&access, &mut ids);
            // What is found by who does not look at all is found by no walk that looks at all.
            let is_judged = || classifier.judge(&access)?.hits.iter().find(|hit| hit.rule.id == rule.id).map(drop);
            ids.0.contains(&rule.id) || rule.is_of_unfinished() && is_judged().is_some()
        }
        _ => false,
    }
}

/// The ids of the rules that matched.
struct Ids(Vec<String>);

impl Witness<'_> for Ids {
    fn found(&mut self, rule: &Rule, _place: &Place<'_>, _at: Range<usize>) {
        self.0.push(rule.id.clone());
    }

    fn passed(&mut self, _rule: &Rule, _place: &Place<'_>, _why: Passed) {}
}

/// The example as a line of a log. A whole line is one already.
fn line(example: &Example) -> Vec<u8> {
    if Format::Auto.parse(example.text.as_bytes()).access().is_some() {
        return example.text.clone().into_bytes();
    }
    let text = escaped(&example.text);
    let (target, referer, agent) = match example.kind {
        ExampleKind::Target => (text.as_str(), "-", "Mozilla/5.0"),
        ExampleKind::UserAgent => ("/", "-", text.as_str()),
        ExampleKind::Referer => ("/", text.as_str(), "Mozilla/5.0"),
    };
    let time = "[16/Nov/2026:08:00:25 +0000]";
    format!(r#"192.0.2.7 - - {time} "GET {target} HTTP/1.1" 200 512 "{referer}" "{agent}""#).into_bytes()
}

/// As Apache writes it, as far as examples need it.
fn escaped(text: &str) -> String {
    let byte = |b: u8| match b {
        b'"' => "\\\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x20..=0x7e => char::from(b).to_string(),
        _ => format!("\\x{b:02x}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::rules;

    const RULE: &str = r#"
        [[rule]]
        id = "test-shoe"
        about = "A shoe."
        category = "recon"
        confidence = "low"
        score = 50
        where = ["url.query", "user_agent"]
        literals = ["shoe"]
        examples = ["/?q=red+shoe", '192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 5 "-" "shoe\"bot"']
        examples_ua = ["shoebot"]
        counter_examples = ["/shoe", "/?q=show", "/?q=one+shoe"]
    "#;

    #[test]
    fn an_example_that_a_rule_does_not_keep_is_named() {
        let rules = rules::read(&[("test.toml", RULE)]).unwrap();
        let failures = check(&Classifier::new("test".to_owned(), rules));
        let texts: Vec<String> = failures.iter().map(Failure::to_string).collect();
        assert_eq!(texts, ["rule `test-shoe` matches its counter-example `/?q=one+shoe`"]);
    }

    #[test]
    fn every_rule_keeps_its_examples() {
        let failures: Vec<String> = check(&Classifier::embedded()).iter().map(Failure::to_string).collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
