//! Why a request is, or is not, an attack.

use super::evidence::{self, Spot, excerpt, parameter_name};
use super::rules::{Host, Rule};
use super::views::View;
use super::{BAR, Classifier, Hit, Passed, Place, Witness, scores};
use crate::attack::{Attack, Category, Field, Finding, Severity};
use crate::format::Access;
use crate::names::Names;
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// All that led to a verdict, in the order in which it was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    pub ruleset: String,
    /// What a category must reach.
    pub bar: u8,
    pub views: Vec<Seen>,
    pub matched: Vec<Match>,
    /// Rules whose literal was seen, but not what they ask for.
    pub passed: Vec<Pass>,
    pub scores: Vec<Score>,
    /// Whether the verdict is on all that matched. It is not where the line holds the begins of so many
    /// attacks that it is not looked at to its end when it is judged.
    pub is_finished: bool,
    pub verdict: Option<Attack>,
}

/// Characters of a layer that people are shown.
const SHOWN_CHARS_MAX: usize = 240;

/// A part of the request with its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub field: Field,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// As sent, decoded once, decoded twice, three times; printable.
    pub layers: Vec<String>,
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Match {
    /// What the rule sees.
    pub about: String,
    #[serde(flatten, serialize_with = "Finding::write_named")]
    pub finding: Finding,
}

/// A rule that was asked and did not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pass {
    pub rule: String,
    pub field: Field,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    pub layer: u8,
    /// The literal that made it a candidate.
    pub literal: String,
    pub why: String,
}

/// What the findings of one category come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Score {
    pub category: Category,
    pub score: u8,
}

pub(super) fn explain(classifier: &Classifier, access: &Access<'_>) -> Explanation {
    let mut notes = Notes::default();
    classifier.walk(access, &mut notes);
    let verdict = classifier.judge(access);
    let attack = verdict.as_ref().map(|verdict| verdict.attack(access));
    let of_unfinished = |hit: &&Hit<'_>| hit.rule.is_of_unfinished();
    for Hit { rule, spot } in verdict.iter().flat_map(|verdict| &verdict.hits).filter(of_unfinished) {
        notes.note(rule, *spot, access);
    }
    let score = |(category, score)| Score { category, score };
    Explanation {
        ruleset: classifier.ruleset().to_owned(),
        bar: BAR,
        scores: scores(notes.found.iter().copied()).into_iter().map(score).collect(),
        views: notes.views,
        matched: notes.matched,
        passed: notes.passed,
        is_finished: verdict.is_none_or(|verdict| verdict.is_finished()),
        verdict: attack,
    }
}

/// The walk, written down.
#[derive(Default)]
struct Notes<'r> {
    views: Vec<Seen>,
    found: Vec<&'r Rule>,
    matched: Vec<Match>,
    passed: Vec<Pass>,
}

impl<'r> Witness<'r> for Notes<'r> {
    fn view(&mut self, view: &View<'_>) {
        let parameter = view.parameter.map(parameter_name);
        self.views.push(Seen { field: view.field, parameter, layers: Vec::new() });
    }

    fn layer(&mut self, _layer: u8, text: &[u8]) {
        let seen = self.views.last_mut().expect("a layer follows its view");
        seen.layers.push(evidence::whole(text));
    }

    fn passed(&mut self, rule: &Rule, place: &Place<'_>, why: Passed) {
        let lower = place.text.to_ascii_lowercase();
        let seen = |literal: &&String| memchr::memmem::find(&lower, literal.as_bytes()).is_some();
        let pass = Pass {
            rule: rule.id.clone(),
            field: place.view.field,
            parameter: place.view.parameter.map(parameter_name),
            layer: place.layer,
            literal: rule.literals.iter().find(seen).cloned().unwrap_or_default(),
            why: why.to_string(),
        };
        let told =
            |other: &Pass| other.rule == pass.rule && other.field == pass.field && other.parameter == pass.parameter;
        if !self.passed.iter().any(told) {
            self.passed.push(pass);
        }
    }

    fn found(&mut self, rule: &'r Rule, place: &Place<'_>, at: Range<usize>) {
        self.note(rule, place.spot(at), place.access);
    }
}

impl<'r> Notes<'r> {
    fn note(&mut self, rule: &'r Rule, spot: Spot, access: &Access<'_>) {
        let findings = evidence::findings(Some(access), &[(&*rule.id, rule.facts(), spot)]);
        self.passed.retain(|pass| pass.rule != rule.id);
        self.matched.extend(findings.into_iter().map(|finding| Match { about: rule.about.clone(), finding }));
        self.found.push(rule);
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Passed::OtherParameter => f.write_str("the rule looks at other parameters"),
            Passed::Unmet(condition) => write!(f, "the rule asks for {condition}"),
            Passed::Host(Host::NotOwn) => f.write_str("the address leads to this server's own site"),
            Passed::Host(Host::Foreign) => f.write_str("the line does not tell that the address leaves this site"),
            Passed::Allowed(about) => write!(f, "you allow it: {about}"),
            Passed::NoStructure => f.write_str("the words are there, the structure of an attack is not"),
            Passed::Talk => f.write_str("the words around it ask about it"),
            Passed::Vetoed(veto) => {
                write!(f, "`{}` makes it harmless", excerpt(veto.as_bytes(), 0..0))
            }
        }
    }
}

/// For people; `{:#}` in colour.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_verdict(f)?;
        self.write_matched(f)?;
        self.write_passed(f)?;
        self.write_views(f)?;
        write!(f, "\nRules {}. `--json` shows all of this for machines.", self.ruleset)
    }
}

impl Explanation {
    fn write_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Some(attack) => {
                let names: Vec<&str> = attack.categories().iter().map(|category| category.name()).collect();
                let text = format!("This is an attack: {}, {} of 100.", names.join(", "), attack.score);
                writeln!(f, "{}", paint(f, RED, &text))
            }
            None if self.matched.is_empty() => {
                writeln!(f, "{}", paint(f, GREEN, "Nothing in this request looks like an attack."))
            }
            None => {
                writeln!(f, "{}", paint(f, YELLOW, "Something is odd, but it is not enough to call it an attack."))
            }
        }?;
        if !self.is_finished {
            writeln!(
                f,
                "  The line is not looked at to its end when it is judged; what matched stands below all the same."
            )?;
        }
        for Score { category, score } in &self.scores {
            let side = if *score >= self.bar { "reaches" } else { "stays under" };
            writeln!(f, "  {category} comes to {score}, which {side} the bar of {}.", self.bar)?;
        }
        Ok(())
    }

    fn write_matched(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.matched.is_empty() {
            writeln!(f, "\n{}", paint(f, BOLD, "What matched, and what it means:"))?;
        }
        for Match { about, finding } in &self.matched {
            let place = place_name(finding.field, finding.parameter.as_deref());
            let (rule, excerpt) = (paint(f, BOLD, &finding.rule), paint(f, RED, &finding.excerpt));
            writeln!(f, "  {rule} ({}, {} of 100, {})", finding.category, finding.score, known_as(finding))?;
            writeln!(f, "    {about}")?;
            let at = finding.span.map(|(from, to)| format!(", bytes {from} to {to} of the line")).unwrap_or_default();
            writeln!(f, "    in {place}, {}{at}: `{excerpt}`", depth(finding.layer))?;
        }
        Ok(())
    }

    fn write_passed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.passed.is_empty() {
            writeln!(f, "\n{}", paint(f, BOLD, "What was considered and let go:"))?;
        }
        for pass in &self.passed {
            let place = place_name(pass.field, pass.parameter.as_deref());
            writeln!(f, "  {}: `{}` in {place}, but {}", pass.rule, printable(&pass.literal), pass.why)?;
        }
        Ok(())
    }

    fn write_views(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", paint(f, BOLD, "What was looked at:"))?;
        for seen in &self.views {
            writeln!(f, "  {}", place_name(seen.field, seen.parameter.as_deref()))?;
            for (layer, text) in (0..).zip(&seen.layers) {
                write!(f, "    {:<20} {}", depth(layer), text.chars().take(SHOWN_CHARS_MAX).collect::<String>())?;
                match text.chars().count().saturating_sub(SHOWN_CHARS_MAX) {
                    0 => writeln!(f),
                    more => writeln!(f, "… ({more} characters more; `--json` shows them)"),
                }?;
            }
        }
        Ok(())
    }
}

/// Severity, and the names under which others know it.
fn known_as(finding: &Finding) -> String {
    let Names { technique, capec, cwe } = finding.all_names();
    let mut names: Vec<String> = vec![severity_name(finding.severity).to_owned()];
    names.extend(technique.iter().map(|technique| format!("ATT&CK {technique}")));
    names.extend(capec.iter().map(|capec| format!("CAPEC-{capec}")));
    names.extend(cwe.iter().map(|cwe| format!("CWE-{cwe}")));
    names.extend(finding.cve.iter().cloned());
    names.join(", ")
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// Parameters of SGR, "Select Graphic Rendition" (ECMA-48, section 8.3.117).
const BOLD: u8 = 1;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

/// A text in colour where the formatter was asked for it with `#`.
fn paint(f: &fmt::Formatter<'_>, colour: u8, text: &str) -> String {
    if f.alternate() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

fn place_name(field: Field, parameter: Option<&str>) -> String {
    match parameter {
        Some(parameter) => format!("{} `{parameter}`", field.name()),
        None => field.name().to_owned(),
    }
}

fn depth(layer: u8) -> &'static str {
    match layer {
        0 => "as sent",
        1 => "decoded once",
        2 => "decoded twice",
        _ => "decoded three times",
    }
}

fn printable(literal: &str) -> String {
    excerpt(literal.as_bytes(), 0..0)
}
