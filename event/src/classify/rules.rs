//! Rules: what attacks look like, written in TOML with the examples that prove them.
//!
//! A rule is a set of literals, one of which must occur, and usually a regex on the
//! lower-cased text. The literals are what makes a rule cheap: a regex runs only where
//! its rule's literal was seen. The regex is what makes it honest: it asks for the
//! structure of an attack, because words occur in every shop and every forum.

use super::check::Failure;
use super::condition::{Condition, WrittenCondition};
use super::drop_in::FILE_BYTES_MAX;
use super::{html, ldap, lines, path, sql, url};
use crate::address::NetworksError;
use crate::attack::{Category, Confidence, Field, RuleFacts, Severity};
use crate::names::{NAMES_MAX, Names, is_technique, number};
use regex::bytes::{Match, Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::OnceLock;

/// The rules that ship with the program, one file a family.
pub const EMBEDDED: &[(&str, &str)] = &[
    ("sqli.toml", include_str!("../../rules/sqli.toml")),
    ("xss.toml", include_str!("../../rules/xss.toml")),
    ("lfi.toml", include_str!("../../rules/lfi.toml")),
    ("cmdi.toml", include_str!("../../rules/cmdi.toml")),
    ("code.toml", include_str!("../../rules/code.toml")),
    ("ssti.toml", include_str!("../../rules/ssti.toml")),
    ("injection.toml", include_str!("../../rules/injection.toml")),
    ("remote.toml", include_str!("../../rules/remote.toml")),
    ("files.toml", include_str!("../../rules/files.toml")),
    ("products.toml", include_str!("../../rules/products.toml")),
    ("scanner.toml", include_str!("../../rules/scanner.toml")),
    ("protocol.toml", include_str!("../../rules/protocol.toml")),
];

/// How many rules there may be: candidates are kept as a set of bits.
pub const RULES_MAX: usize = 512;

/// Bytes of a compiled regex. A rule that needs more is refused: a few such would take the
/// memory that the agent may have.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// One way in which an attack shows.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Such as `sqli-union-select`.
    pub id: String,
    /// What it sees, in a sentence that explains it to somebody who learns.
    pub about: String,
    pub category: Category,
    pub confidence: Confidence,
    /// 1 to 100: how much a match says that somebody attacks.
    pub score: u8,
    /// How bad it is when it works; the category's, unless the rule tells its own.
    pub severity: Severity,
    /// The vulnerabilities that it is about, such as `CVE-2021-44228`.
    pub cve: Vec<String>,
    /// Names that it tells itself; what it does not is what its category stands for.
    pub names: Names,
    /// The parts of a request it looks at.
    pub fields: Vec<Field>,
    /// The query parameters it looks at, in lower case; empty for all.
    pub parameters: Vec<String>,
    /// One of these must occur, in any case of letters, before the rule is asked; none for
    /// [`Detector::Unfinished`].
    pub literals: Vec<String>,
    /// The structure: a regex or a detector; a rule with neither matches where a literal
    /// occurs.
    pub regex: Option<Pattern>,
    pub detector: Option<Detector>,
    /// What makes the same structure harmless.
    pub not: Option<Pattern>,
    /// Whether it is harmless where words around it ask about it: `how to use sleep(5) in python`.
    pub not_in_talk: bool,
    /// To whom the address must lead that it matches.
    pub host: Option<Host>,
    /// What else must hold of the request.
    pub when: Vec<Condition>,
    pub examples: Vec<Example>,
}

impl Rule {
    /// What is the same for all that it finds.
    pub fn facts(&self) -> RuleFacts {
        let Rule { category, confidence, score, severity, ref cve, ref names, .. } = *self;
        RuleFacts { category, confidence, score, severity, cve: cve.clone(), names: names.clone() }
    }

    /// The rule as `rules list --json` shows it.
    pub fn to_json(&self) -> Value {
        let names = self.names.or_of(self.category);
        json!({
            "id": self.id, "about": self.about, "category": self.category, "confidence": self.confidence,
            "score": self.score, "severity": self.severity, "cve": self.cve, "capec": names.capec,
            "cwe": names.cwe, "technique": names.technique, "where": self.fields,
        })
    }

    pub(super) fn check(&self) -> Result<(), RuleError> {
        for (key, pattern) in [("regex", &self.regex), ("not", &self.not)] {
            let invalid = |cause| RuleError::Regex { rule: self.id.clone(), key, cause };
            pattern.as_ref().map_or(Ok(()), Pattern::check).map_err(invalid)?;
        }
        let invalid = |cause| RuleError::Regex { rule: self.id.clone(), key: "when", cause };
        self.when.iter().try_for_each(|condition| condition.regex.check()).map_err(invalid)
    }
}

/// To whom an address must lead, for a rule to mean it. A line tells the server's own name where
/// its format has `%v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Host {
    /// Not to the server's own site, as far as the line tells.
    NotOwn,
    /// To another site for sure.
    Foreign,
}

impl Host {
    /// Whether an address leads there.
    pub(super) fn holds(self, whose: url::Whose) -> bool {
        match self {
            Host::NotOwn => whose != url::Whose::Own,
            Host::Foreign => whose == url::Whose::Foreign,
        }
    }
}

/// A reader of a language, where a regex could only look for words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detector {
    /// A value that goes on as SQL.
    Sql,
    /// Markup that runs.
    Html,
    /// A path that leaves where it begins.
    Path,
    /// An address that leads to the server itself or to its own network.
    Url,
    /// A filter of LDAP that a value ends or begins.
    Ldap,
    /// A line that a server or a browser takes for a header of HTTP.
    HttpHeader,
    /// A line that a mailer takes for a header of mail.
    MailHeader,
    /// A line that holds the begins of so many attacks that it is not looked at to its end. No text
    /// shows it, so a rule with it has no literals.
    Unfinished,
}

impl Detector {
    /// Where it finds something in a text in lower case.
    pub fn find(self, lower: &[u8]) -> Option<Range<usize>> {
        match self {
            Detector::Sql => sql::injection(lower),
            Detector::Html => html::runs(lower),
            Detector::Path => path::climbs(lower),
            Detector::Url => url::inside(lower),
            Detector::Ldap => ldap::injection(lower),
            Detector::HttpHeader => lines::http_header(lower),
            Detector::MailHeader => lines::mail_header(lower),
            Detector::Unfinished => None,
        }
    }
}

/// A request that a rule must or must not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub kind: ExampleKind,
    pub text: String,
    /// Whether the rule must match.
    pub matches: bool,
}

/// What the text of an example is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExampleKind {
    /// A request target such as `/a?id=1`, or a whole line of a log.
    Target,
    UserAgent,
    Referer,
}

/// What is wrong with a file of rules.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("cannot read the rules in `{file}`")]
    File {
        file: String,
        #[source]
        cause: Box<toml::de::Error>,
    },
    #[error("rule `{rule}`: `{key}` is missing, and the file gives none for all its rules")]
    Missing { rule: String, key: &'static str },
    #[error("rule `{rule}`: the id is used twice")]
    Twice { rule: String },
    #[error("rule `{rule}`: the id is empty or holds more than lower-case letters, digits and `-`")]
    Id { rule: String },
    #[error("rule `{rule}`: `score` is {score}: use 1 to 100")]
    Score { rule: String, score: u8 },
    #[error("rule `{rule}`: `{key}` names `{name}`: write {form}")]
    Name { rule: String, key: &'static str, name: String, form: &'static str },
    #[error("rule `{rule}`: `{key}` has {count} names: at most {NAMES_MAX} are kept")]
    Names { rule: String, key: &'static str, count: usize },
    #[error("rule `{rule}`: `literals` is empty: name at least one string that every match holds")]
    NoLiterals { rule: String },
    #[error("rule `{rule}`: the literal `{literal}` is empty or not lower case")]
    Literal { rule: String, literal: String },
    #[error("rule `{rule}`: `examples` is empty: give at least one request that it matches")]
    NoExamples { rule: String },
    #[error("rule `{rule}`: `regex` and `detector` are both given: keep one of them")]
    TwoStructures { rule: String },
    #[error("rule `{rule}`: `{key}` is no valid regex")]
    Regex {
        rule: String,
        key: &'static str,
        #[source]
        cause: Box<regex::Error>,
    },
    #[error("there are {0} rules: at most {RULES_MAX} are possible")]
    TooMany(usize),
    #[error("{0}")]
    Unreadable(String),
    #[error("the file has {0} bytes: at most {FILE_BYTES_MAX} are read")]
    TooLong(usize),
    #[error("`{0}` is no list")]
    NoList(&'static str),
    #[error("`{0}` is unknown: a file holds `category`, `where`, `disable`, `[[allow]]` and `[[rule]]`")]
    UnknownKey(String),
    #[error("{0}")]
    Example(Failure),
    #[error("`disable` names `{0}`: no rule is called so (`twosec-agent rules list` shows all)")]
    NoSuchRule(String),
    #[error(
        "allow `{about}`: name `path`, `parameters`, `user_agent` or `clients`; `disable` switches rules off altogether"
    )]
    AllowsAll { about: String },
    #[error("allow `{about}`: `examples` is empty: give at least one request that is an attack without it")]
    NoAllowExamples { about: String },
    #[error("allow `{about}`: {}", allow_failure(.example))]
    Allow { about: String, example: Example },
    #[error("allow `{about}`: `clients` cannot be used")]
    Clients {
        about: String,
        #[source]
        cause: NetworksError,
    },
}

fn allow_failure(example: &Example) -> String {
    let Example { text, matches, .. } = example;
    let wrong =
        if *matches { "is no attack without it, or still one with it" } else { "must stay an attack, and does not" };
    format!("`{text}` {wrong}")
}

/// A file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// For the rules that name none.
    category: Option<Category>,
    /// For the rules that name none.
    #[serde(rename = "where")]
    fields: Option<Vec<Field>>,
    #[serde(default)]
    rule: Vec<Written>,
}

/// A rule as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    id: String,
    about: String,
    category: Option<Category>,
    confidence: Confidence,
    score: u8,
    severity: Option<Severity>,
    #[serde(default)]
    cve: Vec<String>,
    #[serde(default)]
    technique: Vec<String>,
    #[serde(default)]
    capec: Vec<String>,
    #[serde(default)]
    cwe: Vec<String>,
    #[serde(rename = "where")]
    fields: Option<Vec<Field>>,
    #[serde(default)]
    parameters: Vec<String>,
    #[serde(default)]
    literals: Vec<String>,
    regex: Option<String>,
    detector: Option<Detector>,
    not: Option<String>,
    #[serde(default)]
    not_in_talk: bool,
    host: Option<Host>,
    #[serde(default)]
    when: Vec<WrittenCondition>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    examples_ua: Vec<String>,
    #[serde(default)]
    examples_referer: Vec<String>,
    #[serde(default)]
    counter_examples: Vec<String>,
    #[serde(default)]
    counter_examples_ua: Vec<String>,
    #[serde(default)]
    counter_examples_referer: Vec<String>,
}

/// The rules that ship with the program. That they are valid is shown by the tests, each
/// time it would cost a tenth of a second.
pub fn embedded() -> Vec<Rule> {
    parse(EMBEDDED).expect("our own rules are valid, or the tests are red")
}

/// Reads files of rules, given as name and text.
pub fn read(files: &[(&str, &str)]) -> Result<Vec<Rule>, RuleError> {
    let rules = parse(files)?;
    rules.iter().try_for_each(Rule::check)?;
    Ok(rules)
}

fn parse(files: &[(&str, &str)]) -> Result<Vec<Rule>, RuleError> {
    let mut rules: Vec<Rule> = Vec::new();
    for (name, text) in files {
        let unreadable = |cause| RuleError::File { file: (*name).to_owned(), cause: Box::new(cause) };
        let file: File = toml::from_str(text).map_err(unreadable)?;
        for written in file.rule {
            let rule = written.checked(file.category, file.fields.as_deref())?;
            if rules.iter().any(|other| other.id == rule.id) {
                return Err(RuleError::Twice { rule: rule.id });
            }
            rules.push(rule);
        }
    }
    if rules.len() > RULES_MAX {
        return Err(RuleError::TooMany(rules.len()));
    }
    Ok(rules)
}

impl Written {
    pub(super) fn checked(self, category: Option<Category>, fields: Option<&[Field]>) -> Result<Rule, RuleError> {
        self.check()?;
        let missing = |key| RuleError::Missing { rule: self.id.clone(), key };
        let category = self.category.or(category).ok_or_else(|| missing("category"))?;
        let fields = self.fields.as_deref().or(fields).filter(|all| !all.is_empty());
        Ok(Rule {
            category,
            names: self.names()?,
            fields: fields.ok_or_else(|| missing("where"))?.to_vec(),
            regex: self.regex.as_deref().map(Pattern::new),
            detector: self.detector,
            not: self.not.as_deref().map(Pattern::new),
            not_in_talk: self.not_in_talk,
            host: self.host,
            when: self.when.iter().map(WrittenCondition::checked).collect(),
            examples: self.examples(),
            id: self.id,
            about: self.about,
            confidence: self.confidence,
            score: self.score,
            severity: self.severity.unwrap_or(category.severity()),
            cve: self.cve,
            parameters: self.parameters,
            literals: self.literals,
        })
    }

    /// The names that it tells itself.
    fn names(&self) -> Result<Names, RuleError> {
        let rule = || self.id.clone();
        for (key, names) in [("technique", &self.technique), ("capec", &self.capec), ("cwe", &self.cwe)] {
            if names.len() > NAMES_MAX {
                return Err(RuleError::Names { rule: rule(), key, count: names.len() });
            }
        }
        let wrong = |key, name: &str, form| RuleError::Name { rule: rule(), key, name: name.to_owned(), form };
        if let Some(name) = self.technique.iter().find(|name| !is_technique(name)) {
            return Err(wrong("technique", name, "an id of ATT&CK such as `T1190` or `T1059.004`"));
        }
        let numbers = |key, kind, names: &[String], form| {
            names.iter().map(|name| number(name, kind).ok_or_else(|| wrong(key, name, form))).collect::<Result<_, _>>()
        };
        Ok(Names {
            technique: self.technique.clone(),
            capec: numbers("capec", "CAPEC", &self.capec, "`CAPEC-` and a number")?,
            cwe: numbers("cwe", "CWE", &self.cwe, "`CWE-` and a number")?,
        })
    }

    fn check(&self) -> Result<(), RuleError> {
        let rule = || self.id.clone();
        let id_ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.id.is_empty() || !self.id.bytes().all(id_ok) {
            return Err(RuleError::Id { rule: rule() });
        }
        if !(1..=100).contains(&self.score) {
            return Err(RuleError::Score { rule: rule(), score: self.score });
        }
        if self.regex.is_some() && self.detector.is_some() {
            return Err(RuleError::TwoStructures { rule: rule() });
        }
        if self.literals.is_empty() && self.detector != Some(Detector::Unfinished) {
            return Err(RuleError::NoLiterals { rule: rule() });
        }
        if !self.examples().iter().any(|example| example.matches) {
            return Err(RuleError::NoExamples { rule: rule() });
        }
        let bad = |literal: &&String| literal.is_empty() || literal.bytes().any(|b| b.is_ascii_uppercase());
        match self.literals.iter().find(bad) {
            Some(literal) => Err(RuleError::Literal { rule: rule(), literal: literal.clone() }),
            None => Ok(()),
        }
    }

    fn examples(&self) -> Vec<Example> {
        let lists = [
            (&self.examples, ExampleKind::Target, true),
            (&self.examples_ua, ExampleKind::UserAgent, true),
            (&self.examples_referer, ExampleKind::Referer, true),
            (&self.counter_examples, ExampleKind::Target, false),
            (&self.counter_examples_ua, ExampleKind::UserAgent, false),
            (&self.counter_examples_referer, ExampleKind::Referer, false),
        ];
        let example = |kind, matches| move |text: &String| Example { kind, text: text.clone(), matches };
        lists.into_iter().flat_map(|(texts, kind, matches)| texts.iter().map(example(kind, matches))).collect()
    }
}

/// A regex that is compiled when it is asked for the first time. Most never are on a host
/// that nobody attacks, and all together take 4 MB.
#[derive(Debug, Clone)]
pub struct Pattern {
    written: String,
    compiled: OnceLock<Regex>,
}

impl Pattern {
    pub(super) fn new(written: &str) -> Pattern {
        Pattern { written: written.to_owned(), compiled: OnceLock::new() }
    }

    /// As it is written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Compiles it now, if it is valid.
    pub(super) fn check(&self) -> Result<(), Box<regex::Error>> {
        let _ = self.compiled.set(compile(&self.written)?);
        Ok(())
    }

    /// The first match in `text`.
    pub fn find<'t>(&self, text: &'t [u8]) -> Option<Match<'t>> {
        let compiled = || compile(&self.written).expect("users' rules were checked, and ours by the tests");
        self.compiled.get_or_init(compiled).find(text)
    }
}

/// Bytes, not characters: what arrives is not always UTF-8, and sets of ASCII are small.
fn compile(regex: &str) -> Result<Regex, Box<regex::Error>> {
    RegexBuilder::new(regex)
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(Box::new)
}

/// A set of rules, by their place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleSet([u64; RULES_MAX / 64]);

impl RuleSet {
    pub fn insert(&mut self, rule: usize) {
        self.0[rule / 64] |= 1 << (rule % 64);
    }

    pub fn contains(&self, rule: usize) -> bool {
        self.0[rule / 64] >> (rule % 64) & 1 == 1
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn extend(&mut self, other: RuleSet) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }

    /// The rules that are in both.
    pub fn common(mut self, other: RuleSet) -> RuleSet {
        self.0.iter_mut().zip(other.0).for_each(|(word, keep)| *word &= keep);
        self
    }

    pub fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(at, word)| Bits(word).map(move |bit| at * 64 + bit))
    }
}

/// The places of the ones in a word.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}
