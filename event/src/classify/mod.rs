//! Is this request an attack, and why?
//!
//! ```text
//! request -> views -> layers -> literals -> rules -> score per category -> verdict
//!            (parts)  (decode)  (prefilter)  (regex)    (noisy or)          (bar)
//! ```
//!
//! Most lines end at the literals: one pass of Aho-Corasick over each part finds nothing
//! and the line is clean. [`Classifier::explain`] takes the same walk and takes notes.
//!
//! A verdict says which rule matched where. What stands there is told by [`evidence`], from
//! the line alone, so it need not travel.

pub mod views;
pub mod decode;
pub mod rules;
mod condition;
pub mod drop_in;
mod allow;
pub mod wildcard;
mod known;
mod literals;
mod shell;
mod sql;
mod talk;
mod html;
mod path;
mod url;
mod ldap;
mod lines;
mod work;
pub mod evidence;
pub mod check;
pub mod explain;

pub use check::{Failure, check};
pub use drop_in::{DropIn, Refused};
pub use evidence::Spot;
pub use explain::Explanation;
pub use rules::{Rule, RuleError};

use crate::attack::{Attack, Category, Field};
use crate::format::Access;
use allow::Allow;
use decode::{Form, Layers};
use known::Known;
use literals::Literals;
use memchr::memmem;
use rules::{Detector, RuleSet};
use std::ops::Range;
use views::View;
use work::{Budget, Parts};

/// What a category must reach to be an attack. A rule that stands for a structure scores
/// 50 or more and alerts by itself; hints score less, and two or three of them alert.
pub const BAR: u8 = 50;

/// A category that has come to this is certain enough: its other rules are not asked.
pub const ENOUGH: u8 = 95;

/// Findings that a verdict carries; the strongest are kept.
pub const FINDINGS_MAX: usize = 8;

/// Keys of letters and digits that are shorter hold no attack that rules about values, too, would find.
const KEY_BYTES_PLAIN: usize = 12;

/// How many fields there are; `Url` is the last.
const FIELDS: usize = Field::Url as usize + 1;

/// Version of the rules that ship with the program: year, month, and which of the month's. Documents
/// of older rules are replaced by those of newer ones, so other rules need another version.
const RULESET: &str = "2026.11.4";

/// The hash of these rules' files, which tells a test whether they are still those of [`RULESET`].
#[cfg(test)]
const RULESET_HASH: &str = "7a351df66f123fe5";

/// Rules, ready to be asked about requests.
#[derive(Debug)]
pub struct Classifier {
    ruleset: String,
    /// Strongest first.
    rules: Vec<Rule>,
    literals: Literals,
    /// The digits of the shortest number that a rule looks for.
    numbers_from: usize,
    /// The length from which a key of letters and digits is looked at: that of the shortest one that a
    /// rule about keys alone looks for.
    keys_from: usize,
    /// For each field, the rules that look at it.
    of_field: [RuleSet; FIELDS],
    /// For each category, its rules.
    of_category: [RuleSet; Category::ALL.len()],
    /// Rules about lines that are not looked at to their end.
    of_unfinished: RuleSet,
    /// What is no attack although a rule matches.
    allows: Vec<Allow>,
    /// Parts that came before and in which no rule finds anything.
    known: Known,
}

/// What was found in a line, as it is found: names and excerpts are left where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'r> {
    /// 1 to 100: how much all hits together say that somebody attacks.
    pub score: u8,
    /// Strongest first, never empty.
    pub hits: Vec<Hit<'r>>,
}

/// A rule that matched, and where.
#[derive(Debug, Clone, Copy)]
pub struct Hit<'r> {
    pub rule: &'r Rule,
    pub spot: Spot,
}

impl PartialEq for Hit<'_> {
    fn eq(&self, other: &Hit<'_>) -> bool {
        (&self.rule.id, self.spot) == (&other.rule.id, other.spot)
    }
}

impl Eq for Hit<'_> {}

impl Verdict<'_> {
    /// The verdict with all that it means, for the request that it was made on.
    pub fn attack(&self, access: &Access<'_>) -> Attack {
        let hits: Vec<_> = self.hits.iter().map(|hit| (&*hit.rule.id, hit.rule.facts(), hit.spot)).collect();
        Attack { score: self.score, findings: evidence::findings(Some(access), &hits) }
    }
}

/// What is told to whoever follows the walk over a request.
trait Witness<'r> {
    /// Whether it must be told of all that matches, also in parts that were seen before and
    /// are known to be clean, and of categories of which enough is known.
    const THOROUGH: bool = true;
    fn view(&mut self, _view: &View<'_>) {}
    fn layer(&mut self, _layer: u8, _text: &[u8]) {}
    fn passed(&mut self, _rule: &Rule, _place: &Place<'_>, _why: Passed) {}
    fn found(&mut self, rule: &'r Rule, place: &Place<'_>, at: Range<usize>);
}

/// Where the walk is.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    access: &'a Access<'a>,
    /// Which part of the request, in the order of [`views::each`].
    number: u16,
    view: View<'a>,
    layer: u8,
    form: Form,
    text: &'a [u8],
}

/// Why a rule whose literal was seen did not match.
#[derive(Debug, Clone)]
enum Passed {
    OtherParameter,
    NoStructure,
    Vetoed(String),
    /// Words around it ask about it.
    Talk,
    /// A condition on the rest of the request.
    Unmet(String),
    /// The address leads elsewhere than the rule asks.
    Host(rules::Host),
    /// An exception of the user's.
    Allowed(String),
}

/// What the walk has come to so far.
struct Walk<'w, W> {
    witness: &'w mut W,
    /// Parts seen.
    parts: u16,
    /// Rules that need not be asked any more.
    settled: RuleSet,
    /// Whether other parts of the request kept a rule from matching in this one.
    depends: bool,
    /// For each category, the chance that all its findings are nothing.
    doubt: [f64; Category::ALL.len()],
    budget: Budget,
    /// Whether this part was not looked at to its end.
    is_unfinished: bool,
}

impl<'r, W: Witness<'r>> Walk<'_, W> {
    fn new(witness: &mut W) -> Walk<'_, W> {
        let doubt = [1.0; Category::ALL.len()];
        let (settled, budget) = (RuleSet::default(), Budget::new());
        Walk { witness, parts: 0, settled, depends: false, doubt, budget, is_unfinished: false }
    }
}

impl Classifier {
    /// The classifier with the rules that ship with the program.
    pub fn embedded() -> Classifier {
        Classifier::new(RULESET.to_owned(), rules::embedded())
    }

    /// The classifier with the rules that ship with the program and those of drop-in files,
    /// and what of these files is not used.
    pub fn with_drop_ins(files: &[DropIn]) -> (Classifier, Vec<Refused>) {
        drop_in::classifier(files)
    }

    /// A classifier with rules of its own.
    pub fn new(ruleset: String, rules: Vec<Rule>) -> Classifier {
        Classifier::with(ruleset, rules, Vec::new())
    }

    fn with(ruleset: String, mut rules: Vec<Rule>, allows: Vec<Allow>) -> Classifier {
        rules.sort_by_key(|rule| std::cmp::Reverse((rule.score, rule.confidence)));
        let mut of_field = [RuleSet::default(); FIELDS];
        let mut of_category = [RuleSet::default(); Category::ALL.len()];
        let mut of_unfinished = RuleSet::default();
        for (at, rule) in rules.iter().enumerate() {
            rule.fields.iter().for_each(|field| of_field[*field as usize].insert(at));
            of_category[rule.category as usize].insert(at);
            if rule.is_of_unfinished() {
                of_unfinished.insert(at);
            }
        }
        let numbered = rules.iter().enumerate();
        let literals =
            Literals::new(numbered.flat_map(|(at, rule)| rule.literals.iter().map(move |text| (&**text, at))));
        let numbers =
            rules.iter().flat_map(|rule| &rule.literals).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let numbers_from = numbers.map(String::len).min().unwrap_or(usize::MAX);
        let of_keys = rules.iter().filter(|rule| rule.fields[..] == [Field::QueryKey]);
        let plain_keys =
            of_keys.flat_map(|rule| &rule.literals).filter(|text| text.bytes().all(|b| b.is_ascii_alphanumeric()));
        let keys_from = plain_keys.map(String::len).min().unwrap_or(KEY_BYTES_PLAIN).min(KEY_BYTES_PLAIN);
        Classifier {
            ruleset,
            rules,
            literals,
            numbers_from,
            keys_from,
            of_field,
            of_category,
            of_unfinished,
            allows,
            known: Known::default(),
        }
    }

    /// Version of the rules, such as `2026.11.1`.
    pub fn ruleset(&self) -> &str {
        &self.ruleset
    }

    /// The rules, strongest first.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The verdict on a request; `None` when nothing in it reaches the bar. Of a category
    /// that comes to [`ENOUGH`] not all that could be found is looked for. A long line that holds the
    /// begins of very many attacks is not looked at to its end, and that itself is found.
    pub fn judge(&self, access: &Access<'_>) -> Option<Verdict<'_>> {
        let mut hits = Vec::new();
        self.walk(access, &mut hits);
        verdict(hits)
    }

    /// The verdict on a request, with all that it means.
    pub fn classify(&self, access: &Access<'_>) -> Option<Attack> {
        self.judge(access).map(|verdict| verdict.attack(access))
    }

    /// The verdict on a request with all that led to it, and with what else is in it, however much
    /// work that is.
    pub fn explain(&self, access: &Access<'_>) -> Explanation {
        explain::explain(self, access)
    }

    /// Looks at each part of a request, with each rule until it has matched once.
    fn walk<'r, W: Witness<'r>>(&'r self, access: &Access<'_>, witness: &mut W) {
        let mut walk = Walk::new(witness);
        self.each_view(access, |view| {
            self.look(view, access, &mut walk);
            walk.parts = walk.parts.saturating_add(1);
            walk.budget.next();
        });
    }

    /// Calls `look` with every part that a rule may look at.
    fn each_view(&self, access: &Access<'_>, look: impl FnMut(View<'_>)) {
        match self.of_field[Field::Url as usize].is_empty() {
            true => views::each_part(access, look),
            false => views::each(access, look),
        }
    }

    /// Whether there is still so much work to be spent on this part, which it then is. When what all
    /// parts may take together is spent, what is left is shared out.
    fn spend<'r, W: Witness<'r>>(&'r self, work: usize, access: &Access<'_>, walk: &mut Walk<'_, W>) -> bool {
        if W::THOROUGH || walk.budget.spend(work) {
            return true;
        }
        if !walk.budget.is_shared() {
            walk.budget.share(self.parts_from(walk.parts, access));
            if walk.budget.spend(work) {
                return true;
            }
        }
        walk.budget.stop();
        walk.is_unfinished = true;
        // A part that was not looked at to its end is not known to be clean.
        walk.depends = true;
        false
    }

    /// The parts of a request from one on.
    fn parts_from(&self, first: u16, access: &Access<'_>) -> Parts {
        let (mut parts, mut number) = (Parts::default(), 0);
        self.each_view(access, |view| {
            if number >= first {
                parts.push(&view, self.of_field[view.field as usize].is_empty() || self.is_plain(&view));
            }
            number = number.saturating_add(1);
        });
        parts
    }

    /// Tells that a part was not looked at to its end.
    fn give_up<'r, W: Witness<'r>>(&'r self, view: View<'_>, access: &Access<'_>, walk: &mut Walk<'_, W>) {
        let place = Place { access, number: walk.parts, view, layer: 0, form: Form::Whole, text: view.text };
        for at in self.of_unfinished.iter().filter(|at| !walk.settled.contains(*at)).collect::<Vec<_>>() {
            if self.exempts(&self.rules[at], &place, view.text).is_none() {
                walk.witness.found(&self.rules[at], &place, 0..view.text.len());
                self.settle(at, walk);
            }
        }
    }

    /// Looks at one part, unless nothing can be in it.
    fn look<'r, W: Witness<'r>>(&'r self, view: View<'_>, access: &Access<'_>, walk: &mut Walk<'_, W>) {
        if self.of_field[view.field as usize].is_empty() {
            return;
        }
        walk.witness.view(&view);
        if self.is_plain(&view) {
            return walk.witness.layer(0, view.text);
        }
        if W::THOROUGH || !comes_again(&view) {
            self.dig(view, access, walk);
            return;
        }
        let name = self.known.name(&view);
        if self.known.holds(name) {
            return;
        }
        let was_clean = walk.settled.is_empty();
        walk.depends = false;
        self.dig(view, access, walk);
        // A rule that had matched before was not asked, and might have matched here. One that
        // asks for more than this part may match the next time.
        if was_clean && walk.settled.is_empty() && !walk.depends {
            self.known.keep(name);
        }
    }

    /// Whether a part cannot hold an attack: a number as a value, unless a rule looks for such a one,
    /// and letters and digits as a key. This is what most parts of most lines are.
    fn is_plain(&self, view: &View<'_>) -> bool {
        let is_number = || view.text.len() < self.numbers_from && view.text.iter().all(u8::is_ascii_digit);
        match view.field {
            Field::Query => is_number(),
            Field::Referer => view.parameter.is_some() && is_number(),
            Field::QueryKey => view.text.len() < self.keys_from && view.text.iter().all(u8::is_ascii_alphanumeric),
            _ => false,
        }
    }

    /// Looks at one part, layer by layer. What is wrapped in the code of URLs is not judged
    /// as it was sent: every server undoes that.
    fn dig<'r, W: Witness<'r>>(&'r self, view: View<'_>, access: &Access<'_>, walk: &mut Walk<'_, W>) {
        walk.is_unfinished = false;
        self.dig_in(view, access, walk);
        if walk.is_unfinished {
            self.give_up(view, access, walk);
        }
    }

    fn dig_in<'r, W: Witness<'r>>(&'r self, view: View<'_>, access: &Access<'_>, walk: &mut Walk<'_, W>) {
        if !self.spend(work::of_text(view.text), access, walk) {
            return;
        }
        let mut layers = Layers::new(&view);
        loop {
            walk.witness.layer(layers.layer, layers.text());
            if layers.is_judged() {
                if layers.layer > 0 && !self.spend(work::of_text(layers.text()), access, walk) {
                    return;
                }
                let (number, layer, form) = (walk.parts, layers.layer, Form::Whole);
                self.ask_about(Place { access, number, view, layer, form, text: layers.text() }, walk);
            }
            if walk.is_unfinished || !layers.deeper() {
                return;
            }
        }
    }

    /// Asks the rules whose literals are in one text.
    fn ask_about<'r, W: Witness<'r>>(&'r self, place: Place<'_>, walk: &mut Walk<'_, W>) {
        let wanted = self.of_field[place.view.field as usize];
        let candidates = self.literals.rules_in(place.text).common(wanted);
        let has_forms = decode::has_forms(place.text);
        let mut shell = Form::Shell.of(place.text);
        if candidates.is_empty() && !has_forms && shell.is_none() {
            return;
        }
        self.ask(candidates, &place, &place.text.to_ascii_lowercase(), walk);
        for form in [Form::Spaced, Form::Joined, Form::Shell] {
            if walk.is_unfinished {
                return;
            }
            let text = match form {
                Form::Shell => shell.take(),
                _ if has_forms => form.of(place.text),
                _ => None,
            };
            let Some(text) = text else { continue };
            if !self.spend(work::of_text(&text), place.access, walk) {
                return;
            }
            let candidates = self.literals.rules_in(&text).common(wanted);
            self.ask(candidates, &Place { form, text: &text, ..place }, &text, walk);
        }
    }

    /// Asks each candidate about `lower`, which is `place.text` in lower case, the strongest
    /// first.
    fn ask<'r, W: Witness<'r>>(&'r self, candidates: RuleSet, place: &Place<'_>, lower: &[u8], walk: &mut Walk<'_, W>) {
        for at in candidates.iter() {
            if walk.settled.contains(at) {
                continue;
            }
            if !self.spend(work::of_rule(lower), place.access, walk) {
                return;
            }
            let rule = &self.rules[at];
            let range = match rule.matches(place.view.parameter, lower) {
                Ok(range) => range,
                Err(why) => {
                    walk.witness.passed(rule, place, why);
                    continue;
                }
            };
            match self.exempts(rule, place, &lower[range.start..]) {
                None => {
                    walk.witness.found(rule, place, range);
                    self.settle(at, walk);
                }
                Some(why) => {
                    walk.depends = true;
                    walk.witness.passed(rule, place, why);
                }
            }
        }
    }

    /// Why a match, at the begin of `lower`, is none, seen from the rest of the request.
    fn exempts(&self, rule: &Rule, place: &Place<'_>, lower: &[u8]) -> Option<Passed> {
        if let Some(host) = rule.host.filter(|host| !host.holds(url::whose(lower, place.access))) {
            return Some(Passed::Host(host));
        }
        if let Some(unmet) = rule.when.iter().find(|condition| !condition.holds(place.access)) {
            return Some(Passed::Unmet(unmet.to_string()));
        }
        let allow = self.allows.iter().find(|allow| allow.covers(rule, place))?;
        Some(Passed::Allowed(allow.about.clone()))
    }

    /// Notes that a rule has matched, and with it the whole category when that is enough.
    fn settle<'r, W: Witness<'r>>(&'r self, at: usize, walk: &mut Walk<'_, W>) {
        walk.settled.insert(at);
        let rule = &self.rules[at];
        let doubt = &mut walk.doubt[rule.category as usize];
        *doubt *= 1.0 - f64::from(rule.score) / 100.0;
        if !W::THOROUGH && *doubt * 100.0 <= f64::from(100 - ENOUGH) {
            walk.settled.extend(self.of_category[rule.category as usize]);
        }
    }
}

/// Whether the same text may well come with other requests: names of browsers, pages of
/// this site and their parameters. A token does not come again.
fn comes_again(view: &View<'_>) -> bool {
    match view.field {
        Field::UserAgent | Field::Path => true,
        Field::Referer => view.parameter.is_none() || view.text.len() < 16,
        Field::Query | Field::QueryKey => view.text.len() < 16,
        Field::Method | Field::RequestLine | Field::User | Field::Header | Field::Url => false,
    }
}

impl Verdict<'_> {
    /// Whether the line was looked at to its end, as far as a rule in use tells.
    pub fn is_finished(&self) -> bool {
        !self.hits.iter().any(|hit| hit.rule.is_of_unfinished())
    }
}

impl Rule {
    /// Whether it is about lines that are not looked at to their end.
    fn is_of_unfinished(&self) -> bool {
        self.detector == Some(Detector::Unfinished)
    }

    /// Where the rule matches a text that holds one of its literals.
    fn matches(&self, parameter: Option<&[u8]>, lower: &[u8]) -> Result<Range<usize>, Passed> {
        if !self.wants(parameter) {
            return Err(Passed::OtherParameter);
        }
        let at = match (&self.regex, self.detector) {
            (Some(regex), _) => regex.find(lower).map(|found| found.range()),
            (None, Some(detector)) => detector.find(lower),
            (None, None) => self
                .literals
                .iter()
                .find_map(|literal| memmem::find(lower, literal.as_bytes()).map(|at| at..at + literal.len())),
        };
        let at = at.ok_or(Passed::NoStructure)?;
        if self.not_in_talk && talk::is_about(lower, &at) {
            return Err(Passed::Talk);
        }
        match self.not.as_ref().and_then(|not| not.find(lower)) {
            Some(veto) => Err(Passed::Vetoed(String::from_utf8_lossy(veto.as_bytes()).into_owned())),
            None => Ok(at),
        }
    }

    fn wants(&self, parameter: Option<&[u8]>) -> bool {
        let wanted = |name: &[u8]| self.parameters.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        self.parameters.is_empty()
            || parameter.is_some_and(|name| match decode::url(name, Field::QueryKey) {
                Some(name) => wanted(&name),
                None => wanted(name),
            })
    }
}

impl<'r> Witness<'r> for Vec<Hit<'r>> {
    const THOROUGH: bool = false;

    fn found(&mut self, rule: &'r Rule, place: &Place<'_>, at: Range<usize>) {
        self.push(Hit { rule, spot: place.spot(at) });
    }
}

impl Place<'_> {
    fn spot(&self, at: Range<usize>) -> Spot {
        Spot { view: self.number, layer: self.layer, form: self.form, start: at.start as u16, end: at.end as u16 }
    }
}

const _: () = assert!(crate::limits::VIEW_BYTES_MAX <= u16::MAX as usize, "a place in a view is a u16");

/// The hits of the categories that reach the bar, strongest first.
fn verdict(mut hits: Vec<Hit<'_>>) -> Option<Verdict<'_>> {
    if hits.is_empty() {
        return None;
    }
    let scores = scores(hits.iter().map(|hit| hit.rule));
    hits.retain(|hit| scores.iter().any(|(category, score)| *category == hit.rule.category && *score >= BAR));
    hits.sort_by_key(|hit| std::cmp::Reverse((hit.rule.score, hit.rule.confidence)));
    let score = noisy_or(hits.iter().map(|hit| hit.rule.score));
    // That a line was not looked at to its end is told, however much was found in its begin.
    if let Some(last) = hits.iter().skip(FINDINGS_MAX).position(|hit| hit.rule.is_of_unfinished()) {
        hits.swap(FINDINGS_MAX - 1, FINDINGS_MAX + last);
    }
    hits.truncate(FINDINGS_MAX);
    (!hits.is_empty()).then_some(Verdict { score, hits })
}

/// The score of each category that was found, in the order of [`Category::ALL`].
fn scores<'r>(found: impl Iterator<Item = &'r Rule> + Clone) -> Vec<(Category, u8)> {
    let mut categories: Vec<Category> = found.clone().map(|rule| rule.category).collect();
    categories.sort_unstable();
    categories.dedup();
    let of = |category| noisy_or(found.clone().filter(|rule| rule.category == category).map(|rule| rule.score));
    categories.into_iter().map(|category| (category, of(category))).collect()
}

/// Takes each score for the chance that its finding is an attack, all independent, and
/// gives the chance that at least one is: 0 to 100.
pub(crate) fn noisy_or(scores: impl Iterator<Item = u8>) -> u8 {
    let none = scores.fold(1.0, |none, score| none * (1.0 - f64::from(score.min(100)) / 100.0));
    (100.0 * (1.0 - none)).round() as u8
}

#[cfg(test)]
mod tests;
