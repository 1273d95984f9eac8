//! Is this request an attack, and why?
//!
//! ```text
//! request -> views -> layers -> literals -> rules -> score per category -> verdict
//!            (parts)  (decode)  (prefilter)  (regex)    (noisy or)          (bar)
//! ```
//!
//! Most lines end at the literals: one pass of Aho-Corasick over each part finds nothing
//! and the line is clean. [`Classifier::explain`] takes the same walk and takes notes.

pub mod views;
pub mod decode;
pub mod rules;
mod known;
pub mod check;
pub mod explain;

pub use check::{Failure, check};
pub use explain::Explanation;
pub use rules::{Rule, RuleError};

use crate::attack::{Attack, Category, Field, Finding};
use crate::format::Access;
use aho_corasick::Anchored;
use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous::NFA;
use decode::{Forms, LAYERS_MAX};
use known::Known;
use memchr::memmem;
use rules::RuleSet;
use std::borrow::Cow;
use std::ops::Range;
use views::View;

/// What a category must reach to be an attack. A rule that stands for a structure scores
/// 50 or more and alerts by itself; hints score less, and two or three of them alert.
pub const BAR: u8 = 50;

/// Findings that a verdict carries; the strongest are kept.
pub const FINDINGS_MAX: usize = 8;

/// Characters of an excerpt.
pub const EXCERPT_CHARS_MAX: usize = 120;

/// How many fields there are; `User` is the last.
const FIELDS: usize = Field::User as usize + 1;

/// Version of the rules that ship with the program.
const RULESET: &str = "2026.11.1";

/// Rules, ready to be asked about requests.
#[derive(Debug)]
pub struct Classifier {
    ruleset: String,
    rules: Vec<Rule>,
    literals: NFA,
    of_literal: Vec<RuleSet>,
    /// For each field, the rules that look at it.
    of_field: [RuleSet; FIELDS],
    /// User agents and referers that no rule asks about.
    known: Known,
}

/// What is told to whoever follows the walk over a request.
trait Witness {
    /// Whether it must be told of parts that were seen before and are known to be clean.
    const THOROUGH: bool = true;
    fn view(&mut self, _view: &View<'_>) {}
    fn layer(&mut self, _layer: u8, _text: &[u8]) {}
    fn passed(&mut self, _rule: &Rule, _place: &Place<'_>, _why: Passed) {}
    fn found(&mut self, rule: &Rule, place: &Place<'_>, at: Range<usize>);
}

/// Whether a rule had to be asked about a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    None,
    Some,
}

/// Where the walk is.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    view: View<'a>,
    layer: u8,
    text: &'a [u8],
}

/// Why a rule whose literal was seen did not match.
#[derive(Debug, Clone)]
enum Passed {
    OtherParameter,
    NoStructure,
    Vetoed(String),
}

impl Classifier {
    /// The classifier with the rules that ship with the program.
    pub fn embedded() -> Classifier {
        let rules = rules::read(rules::EMBEDDED).expect("our own rules are valid, or the tests are red");
        Classifier::new(RULESET.to_owned(), rules)
    }

    /// A classifier with rules of its own.
    pub fn new(ruleset: String, rules: Vec<Rule>) -> Classifier {
        let mut texts: Vec<&str> = Vec::new();
        let mut of_literal: Vec<RuleSet> = Vec::new();
        let mut of_field = [RuleSet::default(); FIELDS];
        for (at, rule) in rules.iter().enumerate() {
            for literal in &rule.literals {
                let place = texts.iter().position(|known| known == literal).unwrap_or(texts.len());
                if place == texts.len() {
                    texts.push(literal);
                    of_literal.push(RuleSet::default());
                }
                of_literal[place].insert(at);
            }
            rule.fields.iter().for_each(|field| of_field[*field as usize].insert(at));
        }
        let literals = automaton(&texts);
        Classifier { ruleset, rules, literals, of_literal, of_field, known: Known::default() }
    }

    /// Version of the rules, such as `2026.11.1`.
    pub fn ruleset(&self) -> &str {
        &self.ruleset
    }

    /// The rules, in the order of their files.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The verdict on a request; `None` when nothing in it reaches the bar.
    pub fn classify(&self, access: &Access<'_>) -> Option<Attack> {
        let mut found = Vec::new();
        self.walk(access, &mut found);
        verdict(found)
    }

    /// The verdict on a request with all that led to it.
    pub fn explain(&self, access: &Access<'_>) -> Explanation {
        explain::explain(self, access)
    }

    /// Looks at each part of a request, with each rule until it has matched once.
    fn walk(&self, access: &Access<'_>, witness: &mut impl Witness) {
        let mut matched = RuleSet::default();
        views::each(access, |view| self.look(view, &mut matched, witness));
    }

    /// Looks at one part, unless nothing can be in it.
    fn look<W: Witness>(&self, view: View<'_>, matched: &mut RuleSet, witness: &mut W) {
        witness.view(&view);
        if is_plain(&view) {
            return witness.layer(0, view.text);
        }
        if W::THOROUGH || !comes_again(&view) {
            self.dig(view, matched, witness);
            return;
        }
        let name = self.known.name(&view);
        if !self.known.holds(name) && self.dig(view, matched, witness) == Asked::None {
            self.known.keep(name);
        }
    }

    /// Looks at one part, layer by layer. A URL's part is what stands behind the code of
    /// URLs, which every server undoes: as it was sent it is not judged.
    fn dig(&self, view: View<'_>, matched: &mut RuleSet, witness: &mut impl Witness) -> Asked {
        let mut text = Cow::Borrowed(view.text);
        let (mut asked, mut layer) = (Asked::None, 0);
        witness.layer(layer, &text);
        if of_url(view.field)
            && let Some(meant) = decode::url(&text, view.field)
        {
            (text, layer) = (Cow::Owned(meant), 1);
            witness.layer(layer, &text);
        }
        loop {
            asked = asked.max(self.judge(Place { view, layer, text: &text }, matched, witness));
            let deeper = if layer < LAYERS_MAX { decode::next(&text, view.field) } else { None };
            match deeper {
                Some(deeper) => (text, layer) = (Cow::Owned(deeper), layer + 1),
                None => return asked,
            }
            witness.layer(layer, &text);
        }
    }

    /// Asks the rules whose literals are in one text.
    fn judge(&self, place: Place<'_>, matched: &mut RuleSet, witness: &mut impl Witness) -> Asked {
        let wanted = self.of_field[place.view.field as usize];
        let candidates = self.candidates(place.text).common(wanted);
        if candidates.is_empty() && !decode::has_forms(place.text) {
            return Asked::None;
        }
        let Forms { lower, spaced, joined } = decode::forms(place.text);
        self.ask(candidates, &place, &lower, matched, witness);
        for form in [spaced, joined].into_iter().flatten() {
            let candidates = self.candidates(&form).common(wanted);
            self.ask(candidates, &Place { text: &form, ..place }, &form, matched, witness);
        }
        Asked::Some
    }

    fn candidates(&self, text: &[u8]) -> RuleSet {
        let start = self.literals.start_state(Anchored::No).expect("the automaton was built for searches anywhere");
        let mut rules = RuleSet::default();
        let mut state = start;
        for &byte in text {
            state = self.literals.next_state(Anchored::No, state, byte);
            if self.literals.is_special(state) && self.literals.is_match(state) {
                for at in 0..self.literals.match_len(state) {
                    rules.extend(self.of_literal[self.literals.match_pattern(state, at).as_usize()]);
                }
            }
        }
        rules
    }

    /// Asks each candidate about `lower`, which is `place.text` in lower case.
    fn ask(
        &self,
        candidates: RuleSet,
        place: &Place<'_>,
        lower: &[u8],
        matched: &mut RuleSet,
        witness: &mut impl Witness,
    ) {
        for at in candidates.iter().filter(|at| !matched.contains(*at)).collect::<Vec<_>>() {
            match self.rules[at].matches(place.view.parameter, lower) {
                Ok(range) => {
                    matched.insert(at);
                    witness.found(&self.rules[at], place, range);
                }
                Err(why) => witness.passed(&self.rules[at], place, why),
            }
        }
    }
}

/// Whether a part cannot hold an attack, whatever the rules: a number as a value, letters
/// and digits as a key. This is what most parts of most lines are.
fn is_plain(view: &View<'_>) -> bool {
    match view.field {
        Field::Query => view.text.iter().all(u8::is_ascii_digit),
        Field::QueryKey => view.text.len() < 12 && view.text.iter().all(u8::is_ascii_alphanumeric),
        _ => false,
    }
}

/// Whether a part stands in the request's target.
fn of_url(field: Field) -> bool {
    matches!(field, Field::Path | Field::Query | Field::QueryKey)
}

/// Whether the same text comes with many requests: the names of browsers, and the pages
/// of this site as referers.
fn comes_again(view: &View<'_>) -> bool {
    view.field == Field::UserAgent || view.field == Field::Referer && view.parameter.is_none()
}

/// Linked states rather than a table: with a thousand literals a table takes 6 MB, falls
/// out of the processor's cache and is no faster.
fn automaton(literals: &[&str]) -> NFA {
    NFA::builder()
        .dense_depth(4)
        .ascii_case_insensitive(true)
        .build(literals)
        .expect("a few thousand short literals fit an automaton")
}

impl Rule {
    /// Where the rule matches a text that holds one of its literals.
    fn matches(&self, parameter: Option<&[u8]>, lower: &[u8]) -> Result<Range<usize>, Passed> {
        if !self.wants(parameter) {
            return Err(Passed::OtherParameter);
        }
        let at = match &self.regex {
            Some(regex) => regex.find(lower).map(|found| found.range()),
            None => self
                .literals
                .iter()
                .find_map(|literal| memmem::find(lower, literal.as_bytes()).map(|at| at..at + literal.len())),
        };
        let at = at.ok_or(Passed::NoStructure)?;
        match self.not.as_ref().and_then(|not| not.find(lower)) {
            Some(veto) => Err(Passed::Vetoed(String::from_utf8_lossy(veto.as_bytes()).into_owned())),
            None => Ok(at),
        }
    }

    fn wants(&self, parameter: Option<&[u8]>) -> bool {
        let wanted = |name: &[u8]| self.parameters.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        self.parameters.is_empty()
            || parameter.is_some_and(|name| match decode::next(name, Field::QueryKey) {
                Some(name) => wanted(&name),
                None => wanted(name),
            })
    }
}

/// The name of a query parameter as people read it.
fn parameter_name(written: &[u8]) -> String {
    let decoded = decode::next(written, Field::QueryKey);
    excerpt(decoded.as_deref().unwrap_or(written), 0..0)
}

impl Witness for Vec<Finding> {
    const THOROUGH: bool = false;

    fn found(&mut self, rule: &Rule, place: &Place<'_>, at: Range<usize>) {
        self.push(finding(rule, place, at));
    }
}

fn finding(rule: &Rule, place: &Place<'_>, at: Range<usize>) -> Finding {
    Finding {
        rule: rule.id.clone(),
        category: rule.category,
        confidence: rule.confidence,
        score: rule.score,
        field: place.view.field,
        parameter: place.view.parameter.map(parameter_name),
        layer: place.layer,
        excerpt: excerpt(place.text, at),
    }
}

/// The text around a match, in at most [`EXCERPT_CHARS_MAX`] characters that are safe to
/// print.
fn excerpt(text: &[u8], at: Range<usize>) -> String {
    let before = EXCERPT_CHARS_MAX.saturating_sub(at.len()) / 2;
    let start = at.start.saturating_sub(before);
    let end = text.len().min(start + 4 * EXCERPT_CHARS_MAX);
    let short = &text[start..text.len().min(start + EXCERPT_CHARS_MAX)];
    if let Ok(plain) = std::str::from_utf8(short)
        && short.iter().all(|byte| (0x20..0x7f).contains(byte))
    {
        return plain.to_owned();
    }
    let printable = |char: char| if char.is_control() { '\u{fffd}' } else { char };
    String::from_utf8_lossy(&text[start..end]).chars().map(printable).take(EXCERPT_CHARS_MAX).collect()
}

/// The findings of the categories that reach the bar, strongest first.
fn verdict(mut found: Vec<Finding>) -> Option<Attack> {
    if found.is_empty() {
        return None;
    }
    let scores = scores(&found);
    let reaches = |category| scores.iter().any(|(other, score)| *other == category && *score >= BAR);
    found.retain(|finding| reaches(finding.category));
    found.sort_by_key(|finding| std::cmp::Reverse((finding.score, finding.confidence)));
    let score = noisy_or(found.iter().map(|finding| finding.score));
    found.truncate(FINDINGS_MAX);
    (!found.is_empty()).then_some(Attack { score, findings: found })
}

/// The score of each category that was found, in the order of [`Category::ALL`].
fn scores(found: &[Finding]) -> Vec<(Category, u8)> {
    let of = |category| noisy_or(found.iter().filter(|f| f.category == category).map(|f| f.score));
    Category::ALL.iter().map(|category| (*category, of(*category))).filter(|(_, score)| *score > 0).collect()
}

/// Takes each score for the chance that its finding is an attack, all independent, and
/// gives the chance that at least one is: 0 to 100.
fn noisy_or(scores: impl Iterator<Item = u8>) -> u8 {
    let none = scores.fold(1.0, |none, score| none * (1.0 - f64::from(score.min(100)) / 100.0));
    (100.0 * (1.0 - none)).round() as u8
}

#[cfg(test)]
mod tests;
