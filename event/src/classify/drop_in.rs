//! What users add to the rules that ship with the program.
//!
//! A drop-in file holds rules of the user's own, names rules that are switched off, and tells
//! which requests are no attack although a rule matches:
//!
//! ```toml
//! disable = ["scanner-attack-tool", "ssti-*"]
//!
//! [[allow]]
//! about = "Our reports take SQL from those who are logged in."
//! categories = ["sqli"]
//! path = ["/reports/*"]
//! parameters = ["query"]
//! examples = ["/reports/run?query=select * from users where 1=1 or 2=2"]
//!
//! [[rule]]
//! id = "shop-voucher-guessing"
//! ...
//! ```
//!
//! The checks are those of our own rules, examples included. What does not pass is
//! [`Refused`], with its line, and all else holds.

use super::allow::{Allow, WrittenAllow};
use super::check::{self, check};
use super::rules::{self, Example, RULES_MAX, Rule, RuleError, Written};
use super::{Classifier, RULESET};
use crate::attack::{Category, Field};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use sha2::{Digest, Sha256};
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Bytes of a drop-in file.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// A drop-in file: its name, for messages, and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIn {
    pub name: String,
    pub text: String,
}

/// A part of a drop-in file that is not used, and why.
#[derive(Debug)]
pub struct Refused {
    pub file: String,
    /// Where the part begins, counted from 1.
    pub line: usize,
    pub reason: RuleError,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)?;
        let mut source = std::error::Error::source(&self.reason);
        while let Some(cause) = source {
            write!(f, ": {}", cause.to_string().trim_end())?;
            source = cause.source();
        }
        Ok(())
    }
}

/// Rules and what goes with them, as they come together from all files.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub rules: Vec<Rule>,
    pub allows: Vec<Allow>,
    refused: Vec<Refused>,
    /// Where the user's own rules and allows stand, by their place in the lists.
    own_rules: Vec<Origin>,
    own_allows: Vec<Origin>,
}

/// Where something was read.
#[derive(Debug, Clone)]
struct Origin {
    file: String,
    line: usize,
}

/// The rules that ship with the program and those of drop-in files, in the order given.
pub(super) fn classifier(files: &[DropIn]) -> (Classifier, Vec<Refused>) {
    if files.is_empty() {
        return (Classifier::embedded(), Vec::new());
    }
    let embedded = rules::embedded();
    let own = embedded.len();
    let mut all = Collected { rules: embedded, ..Collected::default() };
    let disabled: Vec<_> = files.iter().flat_map(|file| all.read(file)).collect();
    all.drop_rules_that_fail(own);
    let off = all.disabled(disabled);
    all.rules.retain(|rule| !off.iter().any(|pattern| names(pattern, &rule.id)));
    all.drop_allows_that_fail();
    (Classifier::with(ruleset(files), all.rules, all.allows), all.refused)
}

/// The version of rules with drop-ins: that of our own, and eight digits of the files' hash.
fn ruleset(files: &[DropIn]) -> String {
    let mut hash = Sha256::new();
    files.iter().for_each(|file| hash.update(&file.text));
    let digits: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{RULESET}+{digits}")
}

/// Whether a pattern, which may end in `*`, names a rule.
pub(super) fn names(pattern: &str, id: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => id.starts_with(begin),
        None => id == pattern,
    }
}

/// The names of rules that a file switches off, and where each stands.
type Disabled = Vec<(String, Origin)>;

impl Collected {
    /// Takes what is good in a file. Returns what it switches off.
    fn read(&mut self, file: &DropIn) -> Disabled {
        let mut reader = Reader { file, all: self, from: 0, category: None, fields: None, disabled: Vec::new() };
        if let Err((span, reason)) = reader.read() {
            reader.refuse(span, reason);
        }
        reader.disabled
    }

    /// Drops those of the user's rules, which begin at `own`, that do not keep their examples.
    fn drop_rules_that_fail(&mut self, own: usize) {
        let asked = Classifier::with(String::new(), self.rules[own..].to_vec(), Vec::new());
        for failure in check(&asked) {
            let Some(at) = self.rules.iter().position(|rule| rule.id == failure.rule) else { continue };
            let Origin { file, line } = self.own_rules.remove(at - own);
            self.rules.remove(at);
            self.refused.push(Refused { file, line, reason: RuleError::Example(failure) });
        }
    }

    /// The patterns that name at least one rule.
    fn disabled(&mut self, written: Disabled) -> Vec<String> {
        let mut good = Vec::new();
        for (pattern, Origin { file, line }) in written {
            if self.rules.iter().any(|rule| names(&pattern, &rule.id)) {
                good.push(pattern);
            } else {
                self.refused.push(Refused { file, line, reason: RuleError::NoSuchRule(pattern) });
            }
        }
        good
    }

    /// Drops the allows whose examples would alert with them, or would not without them.
    fn drop_allows_that_fail(&mut self) {
        if self.allows.is_empty() {
            return;
        }
        let plain = Classifier::with(String::new(), self.rules.clone(), Vec::new());
        let mut kept = Vec::new();
        for (allow, Origin { file, line }) in
            std::mem::take(&mut self.allows).into_iter().zip(self.own_allows.drain(..))
        {
            let allowing = Classifier::with(String::new(), self.rules.clone(), vec![allow.clone()]);
            let fails = |example: &&Example| {
                let is_found = |classifier: &Classifier| check::is_attack(classifier, example);
                !is_found(&plain) || is_found(&allowing) == example.matches
            };
            match allow.examples.iter().find(fails) {
                None => kept.push(allow),
                Some(example) => {
                    let reason = RuleError::Allow { about: allow.about.clone(), example: example.clone() };
                    self.refused.push(Refused { file, line, reason });
                }
            }
        }
        self.allows = kept;
    }
}

/// What is wrong, and with which bytes of a file.
type Wrong = (Range<usize>, RuleError);

/// One file being read.
struct Reader<'f, 'c> {
    file: &'f DropIn,
    all: &'c mut Collected,
    /// Where in the file the text begins that is being read: spans count from there.
    from: usize,
    /// For the rules that name none.
    category: Option<Category>,
    fields: Option<Vec<Field>>,
    disabled: Disabled,
}

type Value<'f> = Spanned<DeValue<'f>>;

impl<'f> Reader<'f, '_> {
    fn read(&mut self) -> Result<(), Wrong> {
        let text = &*self.file.text;
        if text.len() > FILE_BYTES_MAX {
            return Err((0..0, RuleError::TooLong(text.len())));
        }
        match DeTable::parse(text) {
            Ok(table) => self.take(table.into_inner()),
            Err(_) => parts(text).for_each(|part| self.read_part(&text[part.clone()], part.start)),
        }
        Ok(())
    }

    /// Reads one part of a file that cannot be read as a whole.
    fn read_part(&mut self, text: &'f str, from: usize) {
        self.from = from;
        match DeTable::parse(text) {
            Ok(table) => self.take(table.into_inner()),
            Err(cause) => self.refuse(cause.span().unwrap_or_default(), self.unreadable(cause)),
        }
    }

    /// Takes what stands in a table of the file.
    fn take(&mut self, mut table: DeTable<'f>) {
        let mut lists = Vec::new();
        for key in ["rule", "allow", "disable"] {
            lists.push(table.remove(key).map_or_else(Vec::new, |list| self.items(key, list)));
        }
        if let Some(value) = table.remove("category") {
            self.category = self.default(value);
        }
        if let Some(value) = table.remove("where") {
            self.fields = self.default(value);
        }
        for (key, _) in table {
            self.refuse(key.span(), RuleError::UnknownKey(key.get_ref().clone().into_owned()));
        }
        let [rules, allows, disabled] = lists.try_into().expect("three keys were looked for");
        for (read, list) in
            [(Self::rule as fn(&mut Self, _) -> _, rules), (Self::allow, allows), (Self::disable, disabled)]
        {
            for value in list {
                let span = value.span();
                // What is wrong inside is told where it is wrong, if that is known.
                if let Err((inner, reason)) = read(self, value) {
                    self.refuse(if inner.is_empty() { span } else { inner }, reason);
                }
            }
        }
    }

    /// What rules have that name none, if it can be read.
    fn default<T: Deserialize<'f>>(&mut self, value: Value<'f>) -> Option<T> {
        self.value(value).map_err(|(span, reason)| self.refuse(span, reason)).ok()
    }

    fn items(&mut self, key: &'static str, list: Value<'f>) -> Vec<Value<'f>> {
        let span = list.span();
        match list.into_inner() {
            DeValue::Array(items) => items.into_iter().collect(),
            _ => {
                self.refuse(span, RuleError::NoList(key));
                Vec::new()
            }
        }
    }

    fn value<T: Deserialize<'f>>(&self, value: Value<'f>) -> Result<T, Wrong> {
        let span = value.span();
        let unreadable = |cause: toml::de::Error| (cause.span().unwrap_or(span), self.unreadable(cause));
        T::deserialize(value.into_deserializer()).map_err(unreadable)
    }

    fn unreadable(&self, cause: toml::de::Error) -> RuleError {
        RuleError::Unreadable(cause.message().to_owned())
    }

    fn rule(&mut self, value: Value<'f>) -> Result<(), Wrong> {
        let origin = self.origin(value.span());
        let written: Written = self.value(value)?;
        let rule = written.checked(self.category, self.fields.as_deref()).map_err(at_all)?;
        rule.check().map_err(at_all)?;
        if self.all.rules.iter().any(|other| other.id == rule.id) {
            return Err(at_all(RuleError::Twice { rule: rule.id }));
        }
        if self.all.rules.len() >= RULES_MAX {
            return Err(at_all(RuleError::TooMany(self.all.rules.len() + 1)));
        }
        self.all.rules.push(rule);
        self.all.own_rules.push(origin);
        Ok(())
    }

    fn allow(&mut self, value: Value<'f>) -> Result<(), Wrong> {
        let origin = self.origin(value.span());
        let written: WrittenAllow = self.value(value)?;
        self.all.allows.push(written.checked().map_err(at_all)?);
        self.all.own_allows.push(origin);
        Ok(())
    }

    fn disable(&mut self, value: Value<'f>) -> Result<(), Wrong> {
        let origin = self.origin(value.span());
        self.disabled.push((self.value(value)?, origin));
        Ok(())
    }

    fn refuse(&mut self, span: Range<usize>, reason: RuleError) {
        let Origin { file, line } = self.origin(span);
        self.all.refused.push(Refused { file, line, reason });
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let before = &self.file.text.as_bytes()[..(self.from + span.start).min(self.file.text.len())];
        Origin { file: self.file.name.clone(), line: 1 + memchr::memchr_iter(b'\n', before).count() }
    }
}

/// The parts of a text between the headers of its tables, so that what cannot be read in one of
/// them spares the others. A header with a dot in its name goes on with the table before it.
fn parts(text: &str) -> impl Iterator<Item = Range<usize>> {
    let lines = text.split_inclusive('\n').scan(0, |at, line| {
        *at += line.len();
        Some((*at - line.len(), line))
    });
    let headers = lines.filter(|(_, line)| is_header(line)).map(|(at, _)| at);
    let mut bounds: Vec<usize> = std::iter::once(0).chain(headers).chain([text.len()]).collect();
    bounds.dedup();
    (1..bounds.len()).map(move |end| bounds[end - 1]..bounds[end])
}

/// Whether a line is a header such as `[[rule]]`, or meant to be one.
fn is_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    let name = line.trim_start_matches('[').trim_end_matches(']');
    let may_be_name = |c: char| c.is_ascii_alphanumeric() || " _-\"'".contains(c);
    line.starts_with('[') && name.contains(|c: char| c.is_ascii_alphabetic()) && name.chars().all(may_be_name)
}

/// Wrong with all of a part, not with some bytes of it.
fn at_all(reason: RuleError) -> Wrong {
    (0..0, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    const VOUCHER: &str = r#"
[[rule]]
id = "shop-voucher"
about = "Somebody guesses vouchers."
category = "bruteforce"
confidence = "medium"
severity = "critical"
cve = ["CVE-2026-1234"]
score = 60
where = ["url.original"]
literals = ["voucher="]
regex = '^/cart\?.*voucher=[a-z0-9]{12}'
when = [{ field = "http.request.method", regex = "^post$" }]
examples = ['192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "POST /cart?voucher=ABCDEF012345 HTTP/1.1" 200 5 "-" "-"']
counter_examples = ["/cart?voucher=ABCDEF012345"]
"#;

    fn with(texts: &[&str]) -> (Classifier, Vec<String>) {
        let file = |(at, text): (usize, &&str)| DropIn { name: format!("{at}.toml"), text: (*text).to_owned() };
        let files: Vec<DropIn> = texts.iter().enumerate().map(file).collect();
        let (classifier, refused) = Classifier::with_drop_ins(&files);
        (classifier, refused.iter().map(Refused::to_string).collect())
    }

    fn found(classifier: &Classifier, request: &str) -> Vec<String> {
        let line = format!(r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "{request} HTTP/1.1" 200 5 "-" "-""#);
        let attack = Format::Combined.parse(line.as_bytes()).access().and_then(|access| classifier.classify(access));
        attack.map_or_else(Vec::new, |attack| attack.findings.into_iter().map(|finding| finding.rule).collect())
    }

    #[test]
    fn a_rule_of_the_users_finds_what_it_asks_for_across_the_request() {
        let (classifier, refused) = with(&[VOUCHER]);
        assert_eq!(refused, [""; 0]);
        assert_eq!(found(&classifier, "POST /cart?a=1&voucher=ABCDEF012345"), ["shop-voucher"]);
        assert_eq!(found(&classifier, "GET /cart?a=1&voucher=ABCDEF012345"), [""; 0]);
        assert_eq!(found(&classifier, "GET /a?id=1'+or+'1'='1")[0], "sqli-break-and-compare");
        let rule = classifier.rules().iter().find(|rule| rule.id == "shop-voucher").unwrap();
        assert_eq!(rule.facts().cve, ["CVE-2026-1234"]);
        assert_eq!(rule.facts().severity, crate::attack::Severity::Critical);
        let (ruleset, digits) = classifier.ruleset().split_once('+').unwrap();
        assert_eq!((ruleset, digits.len()), (RULESET, 8));
    }

    #[test]
    fn a_rule_of_the_users_tells_its_own_names_in_the_form_that_mitre_gives_them() {
        let named = |names: &str| with(&[&VOUCHER.replace("score = 60\n", &format!("score = 60\n{names}\n"))]);
        let (classifier, refused) = named("technique = ['T1110.004']\ncwe = ['CWE-799', 'CWE-307']");
        assert_eq!(refused, [""; 0]);
        let rule = classifier.rules().iter().find(|rule| rule.id == "shop-voucher").unwrap().to_json();
        let told = serde_json::json!([["T1110.004"], [49, 16], [799, 307]]);
        assert_eq!(serde_json::json!([rule["technique"], rule["capec"], rule["cwe"]]), told);
        for (names, reason) in [
            ("technique = ['T19']", "`technique` names `T19`: write an id of ATT&CK such as `T1190` or `T1059.004`"),
            ("cwe = ['611']", "`cwe` names `611`: write `CWE-` and a number"),
            ("capec = ['CWE-1']", "`capec` names `CWE-1`: write `CAPEC-` and a number"),
            ("cwe = ['', '', '', '', '', '', '', '', '']", "`cwe` has 9 names: at most 8 are kept"),
        ] {
            assert_eq!(named(names).1, [format!("0.toml:2: rule `shop-voucher`: {reason}")], "{names}");
        }
    }

    #[test]
    fn rules_can_be_switched_off_by_name() {
        let (classifier, refused) =
            with(&["disable = ['scanner-*', 'sqli-nothing']", VOUCHER, "disable = ['shop-voucher']"]);
        assert_eq!(
            refused,
            ["0.toml:1: `disable` names `sqli-nothing`: no rule is called so (`twosec-agent rules list` shows all)"]
        );
        assert!(!classifier.rules().iter().any(|rule| rule.id.starts_with("scanner-") || rule.id == "shop-voucher"));
    }

    #[test]
    fn what_is_allowed_is_no_attack_there_and_one_everywhere_else() {
        let allow = r#"
[[allow]]
about = "Reports take SQL."
categories = ["sqli"]
path = ["/reports/*"]
parameters = ["query"]
examples = ["/reports/run?query=1' union select 1,2 from users--+"]
counter_examples = ["/reports/../run?query=1' union select 1,2 from users--+", "/reports/run?other=1' union select 1,2 from users--+"]
"#;
        let (classifier, refused) = with(&[allow]);
        assert_eq!(refused, [""; 0]);
        for _ in 0..2 {
            // A short value that is allowed in one place is not known to be clean in another.
            assert_eq!(found(&classifier, "GET /reports/run?query=1'or'1'='1"), [""; 0]);
            assert_ne!(found(&classifier, "GET /shop/run?query=1'or'1'='1"), [""; 0]);
        }
        assert_ne!(found(&classifier, "GET /reports/run?query=<script>alert(1)</script>"), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_line_and_all_else_holds() {
        let bad = [
            "[[rule]]\nid = \"x\"\n",
            "\n\n[[rule]]\nid = 'x'\nabout = 'x'\nconfidence = 'medium'\nscore = 60\ncategory = 'sqli'\nwhere = ['url.query']\n\
             literals = ['x']\nregex = '('\nexamples = ['/?a=x']\n",
            "[[allow]]\nabout = 'all'\nexamples = ['/']\n[[allow]]\nabout = 'odd'\npath = ['/*']\nexamples = ['/nothing']\n",
            "color = 1\nrule = 2\n[[rule]]\n",
            "rule = 2\ncolour = 1\n",
            &VOUCHER.replace("^/cart", "^/basket").replace("shop-voucher", "shop-basket"),
            VOUCHER,
            VOUCHER,
        ];
        let (classifier, refused) = with(&bad);
        let begins = [
            "0.toml:1: missing field `about`",
            "1.toml:3: rule `x`: `regex` is no valid regex: regex parse error:",
            "2.toml:1: allow `all`: name `path`,",
            "3.toml:2: `rule` is no list",
            "3.toml:1: `color` is unknown: a file holds",
            "3.toml:3: missing field `id`",
            "4.toml:1: `rule` is no list",
            "4.toml:2: `colour` is unknown: a file holds",
            "7.toml:2: rule `shop-voucher`: the id is used twice",
            "5.toml:2: rule `shop-basket` does not match its example",
            "2.toml:4: allow `odd`: `/nothing` is no attack without it, or still one with it",
        ];
        assert_eq!(refused.len(), begins.len(), "{refused:#?}");
        refused.iter().zip(begins).for_each(|(text, begin)| assert!(text.starts_with(begin), "{text}"));
        assert_eq!(found(&classifier, "POST /cart?a=1&voucher=ABCDEF012345"), ["shop-voucher"]);
    }

    #[test]
    fn a_wrong_default_is_refused_and_what_needs_none_holds() {
        let (classifier, refused) = with(&[&format!(
            "category = 'sqll'\nwhere = 'url.query'\ndisable = ['scanner-*']\n{VOUCHER}\n[[rule]]\nid = 'shop-basket'\n\
             about = 'x'\nconfidence = 'medium'\nscore = 60\nliterals = ['basket']\nexamples = ['/basket']\n"
        )]);
        let [category, fields, rule] = &refused[..] else { panic!("{refused:#?}") };
        assert!(category.starts_with("0.toml:1: unknown variant `sqll`, expected one of "), "{category}");
        assert!(fields.starts_with("0.toml:2: invalid type: string \"url.query\", expected a sequence"), "{fields}");
        let missing = "rule `shop-basket`: `category` is missing, and the file gives none for all its rules";
        assert_eq!(*rule, format!("0.toml:20: {missing}"));
        assert!(classifier.rules().iter().any(|rule| rule.id == "shop-voucher"));
        assert!(!classifier.rules().iter().any(|rule| rule.id.starts_with("scanner-")));
    }

    #[test]
    fn a_rule_about_names_of_parameters_finds_short_ones() {
        let debug = r#"
[[rule]]
id = "shop-debug"
category = "recon"
about = "Nobody but us debugs."
confidence = "medium"
severity = "low"
score = 60
where = ["url.query.key"]
literals = ["debug"]
examples = ["/?debug=1"]
counter_examples = ["/?id=debug"]
"#;
        let (classifier, refused) = with(&[debug]);
        assert_eq!(refused, [""; 0]);
        assert_eq!(found(&classifier, "GET /?debug=1"), ["shop-debug"]);
    }

    #[test]
    fn what_cannot_be_read_as_toml_in_one_rule_spares_the_others() {
        let basket = VOUCHER.replace("cart", "basket").replace("shop-voucher", "shop-basket");
        let good = |file: &str| {
            let (classifier, refused) = with(&[file]);
            let own = |id: &&str| classifier.rules().iter().any(|rule| rule.id == *id);
            (["shop-voucher", "shop-basket"].iter().filter(|id| own(id)).count(), refused)
        };
        for (bad, line, reason) in [
            ("id = 'a\n", 18, "invalid literal string, expected `'`"),
            ("id = \"a\nabout = 'x'\n", 18, "invalid basic string, expected `\"`"),
            ("id = 'a'\nregex = \'\'\'(a\nscore = 60\n", 23, "invalid multi-line literal string, expected `'`"),
            ("id = 'a'\nexamples = ['/a'\n", 19, "unclosed array, expected `]`"),
            (
                "id = 'a'\nwhen = [{ field = 'url.path', regex = 'a' ]\n",
                19,
                "invalid inline table element, expected `,`",
            ),
            ("id = 'a'\nid = 'b'\n", 19, "duplicate key"),
            ("id 'a'\n", 18, "key with no value, expected `=`"),
            ("id = 'a'\nscore = sixty\n", 19, "string values must be quoted, expected literal string"),
            ("] = 1\n", 18, "missing table open, expected `[`"),
        ] {
            let (found, refused) = good(&format!("{VOUCHER}\n[[rule]]\n{bad}\n{basket}"));
            assert_eq!((found, refused.len()), (2, 1), "{bad}: {refused:?}");
            assert_eq!(refused[0], format!("0.toml:{line}: {reason}"), "{bad}");
        }
        // A header that is none, and what stands before all headers.
        let (found, refused) = good(&format!("{VOUCHER}\n[[rule]\nid = 'a'\n{basket}"));
        assert_eq!((found, refused.len()), (2, 1), "{refused:?}");
        let (found, refused) = good(&format!("disable = ['a'\n{VOUCHER}{basket}"));
        assert_eq!((found, refused.len()), (2, 1), "{refused:?}");
        // What goes on with a rule is a part of it, and a category before all of them holds.
        let whole = format!(
            "category = 'sqli'\n[[rule]]\nid = a\n{}\n[[rule.when]]\nfield = 'url.path'\nregex = '^/cart$'\n",
            VOUCHER.replace("category = \"bruteforce\"\n", "")
        );
        let (classifier, refused) = with(&[&whole
            .replace("when = [{ field = \"http.request.method\", regex = \"^post$\" }]\n", "")
            .replace("counter_examples = [\"/cart?voucher=ABCDEF012345\"]\n", "")]);
        assert_eq!(refused.len(), 1, "{refused:?}");
        let rule = classifier.rules().iter().find(|rule| rule.id == "shop-voucher").unwrap();
        assert_eq!((rule.category, rule.when.len()), (Category::Sqli, 1));
    }

    #[test]
    fn a_regex_that_would_take_much_memory_is_refused() {
        let (_, refused) = with(&[&VOUCHER.replace("[a-z0-9]{12}", "(?:[a-z0-9]{900}){900}")]);
        assert!(refused[0].contains("`regex` is no valid regex: Compiled regex exceeds size limit"), "{refused:?}");
    }
}
