//! Old lines under newer rules: the same event, with the verdict that it would get today.
//!
//! What was masked before it was archived cannot be judged again. So a finding that lies on a
//! masked value, or on more than it, is never taken away: nobody can show that it was wrong.
//! Nor is one of a rule that a user had written, and that is not at hand here.
//! What other lines told of the line ([`crate::outcome::Context`]) stays as well; it follows
//! from all that its host saw, and not from rules for a line.

use crate::attack::{Attack, Finding};
use crate::classify::{Classifier, FINDINGS_MAX, noisy_or, views};
use crate::document::Document;
use crate::format::Access;
use crate::line::Event;
use crate::redact::secrets;
use std::sync::Arc;

/// The lowest number of rules: what an index makes by itself has version 1.
pub const NUMBER_MIN: u32 = 2;

/// The version of rules, such as `2026.11.1`, as a number that only rises: `202611001`. It is
/// the version of a document whose line they judged anew. A thousand rulesets a month have
/// room; what stands behind the third number does not count.
///
/// `None` for a text that is no such version.
pub fn ruleset_number(version: &str) -> Option<u32> {
    let mut parts = version.splitn(3, '.');
    let mut number = |below: u32| -> Option<u32> {
        let part = parts.next()?;
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok().filter(|number| *number < below)
    };
    let (year, month, of_month) = (number(10_000)?, number(100)?, number(1_000)?);
    Some(((year * 100 + month) * 1_000 + of_month).max(NUMBER_MIN))
}

/// Newer rules, for lines that others have judged.
#[derive(Debug, Clone)]
pub struct Reclassifier {
    classifier: Arc<Classifier>,
    number: u32,
}

impl Reclassifier {
    /// These rules.
    pub fn new(classifier: Arc<Classifier>) -> Reclassifier {
        let number = ruleset_number(classifier.ruleset()).unwrap_or(NUMBER_MIN);
        Reclassifier { classifier, number }
    }

    /// The rules' version.
    pub fn ruleset(&self) -> &str {
        self.classifier.ruleset()
    }

    /// The version that documents of lines get which these rules have judged.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether these rules judge the event: it is a line, and no newer rules have judged it.
    pub fn judges(&self, event: &Event) -> bool {
        let by = ruleset_number(&event.origin.ruleset);
        !event.is_no_line() && by.is_none_or(|by| by <= self.number)
    }

    /// The event with the verdict of these rules, and the same id. An event that they do not
    /// judge stays as it is.
    pub fn apply(&self, event: Event) -> Event {
        if self.judges(&event) { reclassified(event, &self.classifier) } else { event }
    }

    /// The document of an event that has been through [`Reclassifier::apply`]: it replaces
    /// those that older rules made.
    pub fn document(&self, event: &Event) -> Option<Document> {
        let document = Document::for_index(event)?;
        let ruleset = self.judges(event).then_some(self.number);
        Some(Document { ruleset, ..document })
    }
}

/// The event as these rules judge it. All but the verdict, and the version of the rules that
/// made it, stays as it was.
pub fn reclassified(mut event: Event, classifier: &Classifier) -> Event {
    let attack = verdict(&event, classifier);
    event.attack = attack;
    classifier.ruleset().clone_into(&mut Arc::make_mut(&mut event.origin).ruleset);
    event
}

/// The new findings, and with them the archived ones that cannot be judged again.
fn verdict(event: &Event, classifier: &Classifier) -> Option<Attack> {
    let parsed = event.parsed();
    // Another version read a request where this one reads none: nothing can be judged.
    let Some(access) = parsed.access() else { return event.attack.clone() };
    let shown = event.shown();
    let parsed_shown = event.origin.parse(&shown);
    let shown = parsed_shown.access().unwrap_or(access);
    // Evidence is what may be shown.
    let new = classifier.judge(access).map(|verdict| verdict.attack(shown));
    let archived = event.attack.iter().flat_map(|attack| &attack.findings);
    let has_own = event.origin.ruleset.contains('+');
    let is_own = |finding: &Finding| has_own && !classifier.rules().iter().any(|rule| rule.id == finding.rule);
    let kept: Vec<&Finding> = archived.filter(|finding| is_own(finding) || is_masked(finding, shown)).collect();
    merged(new, &kept)
}

/// Whether a finding lies on a masked value, or on a part of the request that holds one. A
/// part that is not there, which only another version could name, may have been masked.
fn is_masked(finding: &Finding, shown: &Access<'_>) -> bool {
    let (mut masked, mut seen, mut any) = (false, false, false);
    views::each(shown, |view| {
        let holds_mask = !secrets(view.text).is_empty();
        any |= holds_mask;
        let parameter = view.parameter.map(crate::classify::evidence::parameter_name);
        if view.field == finding.field && parameter == finding.parameter {
            seen = true;
            masked |= holds_mask;
        }
    });
    masked || any && !seen
}

/// New findings with those that are kept, strongest first. A rule is told once a line, as the
/// classifier does it, so what is kept of a rule stands for what it finds now. Of too many the
/// weakest new ones are left out.
fn merged(new: Option<Attack>, kept: &[&Finding]) -> Option<Attack> {
    let (new_score, mut new) = new.map_or((0, Vec::new()), |attack| (attack.score, attack.findings));
    let is_found_again = |kept: &Finding| {
        new.iter().any(|new| (&new.rule, new.field, &new.parameter) == (&kept.rule, kept.field, &kept.parameter))
    };
    let kept: Vec<Finding> = kept.iter().filter(|kept| !is_found_again(kept)).map(|kept| (*kept).clone()).collect();
    let only_kept = kept.iter().filter(|kept| new.iter().all(|new| new.rule != kept.rule));
    let score = noisy_or(only_kept.map(|kept| kept.score).chain([new_score]));
    new.retain(|new| kept.iter().all(|kept| kept.rule != new.rule));
    new.truncate(FINDINGS_MAX.saturating_sub(kept.len()));
    let mut findings = [new, kept].concat();
    findings.sort_by_key(|finding| std::cmp::Reverse((finding.score, finding.confidence)));
    (!findings.is_empty()).then_some(Attack { score, findings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::Field;
    use crate::classify::rules;
    use crate::format::Format;
    use crate::id::HostKey;
    use crate::incident::Outcome;
    use crate::line::{Host, Origin};
    use crate::outcome::Context;
    use crate::redact::{KEYS, Redactor, masked};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static EMBEDDED: LazyLock<Classifier> = LazyLock::new(Classifier::embedded);

    /// Rules of next year, one of which knows `fresh` in the parameter `q`, and all forgot the rest.
    static NEWER: LazyLock<Classifier> = LazyLock::new(|| {
        let file = r#"
            [[rule]]
            id = "sqli-fresh"
            about = "A word of next year."
            category = "sqli"
            confidence = "high"
            score = 90
            where = ["url.query"]
            parameters = ["q"]
            literals = ["fresh"]
            examples = ["/?q=fresh"]
        "#;
        Classifier::new("2027.1.1".into(), rules::read(&[("test.toml", file)]).unwrap())
    });

    fn line(target: &str) -> Vec<u8> {
        format!(r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET {target} HTTP/1.1" 200 5 "-" "curl/8""#).into_bytes()
    }

    /// An event as it is archived: judged by the program's rules, and masked then.
    fn archived(target: &str, masks_archive: bool) -> Event {
        let origin = Origin {
            ruleset: EMBEDDED.ruleset().into(),
            ..Origin::new(
                Host { id: "4a5b".into(), name: "web-1".into() },
                "/var/log/access.log",
                HostKey::derive("4a5b").life("/var/log/access.log", b""),
                Format::Combined,
            )
        };
        let line = line(target);
        let parsed = Format::Combined.parse(&line);
        let masks = Redactor::new(KEYS, [7; 32]).masks(&line, &parsed);
        let shown = masked(&line, &masks).into_owned();
        let verdict = EMBEDDED.judge(parsed.access().unwrap());
        let attack = verdict.and_then(|verdict| Some(verdict.attack(Format::Combined.parse(&shown).access()?)));
        let kept = if masks_archive { shown.clone() } else { line.clone() };
        let masks = if masks_archive { Vec::new() } else { masks };
        let outcome = Some((Outcome::LikelySucceeded, "a test".into()));
        let context = Context { outcome, ..Context::default() };
        let event = Event {
            attack,
            masks,
            context: Some(Box::new(context)),
            length: line.len() as u64,
            ..Event::new(Arc::new(origin), 9, kept, 7)
        };
        let id = event.id(&parsed);
        event.with_id(id)
    }

    fn rules_of(event: &Event) -> Vec<&str> {
        event.attack.iter().flat_map(|attack| &attack.findings).map(|finding| &*finding.rule).collect()
    }

    #[test]
    fn what_a_rule_of_the_users_found_stays_where_that_rule_is_not_at_hand() {
        let mut event = archived("/?q=1'+union+select+1,2--+", true);
        let findings = &mut event.attack.as_mut().unwrap().findings;
        findings[0].rule = "shop-own".into();
        let mut judged = |ruleset: &str| {
            Arc::make_mut(&mut event.origin).ruleset = ruleset.into();
            let attack = reclassified(event.clone(), &NEWER).attack;
            attack.map_or_else(Vec::new, |attack| attack.findings.into_iter().map(|finding| finding.rule).collect())
        };
        assert_eq!(judged("2026.11.1+0a1b2c3d")[0], "shop-own");
        assert_eq!(judged("2026.11.1"), [""; 0]);
    }

    #[test]
    fn the_number_of_rules_rises_with_their_version_and_begins_at_two() {
        let versions = ["0.0.0", "2026.9.3", "2026.11.1", "2026.11.2+shop", "2026.11.999", "2026.12.1", "2027.1.1"];
        let numbers: Vec<u32> = versions.iter().map(|version| ruleset_number(version).unwrap()).collect();
        assert_eq!((numbers[0], numbers[2]), (2, 202_611_001));
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(["", "2026.11", "2026.11.1000", "next", "2026.x.1"].iter().all(|text| ruleset_number(text).is_none()));
        assert!(ruleset_number(EMBEDDED.ruleset()).is_some(), "the program's own rules have a number");
    }

    #[test]
    fn newer_rules_find_what_they_know_and_no_longer_what_they_do_not() {
        let event = archived("/?id=1%27+union+select+1,2--+&q=fresh", true);
        assert!(rules_of(&event).contains(&"sqli-union-select"));
        let again = reclassified(event.clone(), &NEWER);
        assert_eq!(rules_of(&again), ["sqli-fresh"]);
        assert_eq!(again.origin.ruleset, "2027.1.1");
        let rest = Event { attack: event.attack.clone(), origin: event.origin.clone(), ..again.clone() };
        assert_eq!(rest, event, "id, context and all else stay");
        assert_eq!(reclassified(archived("/?id=1", true), &NEWER).attack, None);
    }

    #[test]
    fn a_finding_on_a_masked_value_is_never_taken_away() {
        for masks_archive in [true, false] {
            let event =
                archived("/?password=1%27+union+select+1,2--+&id=1%27+union+select+3,4--+&q=fresh", masks_archive);
            let on = |event: &Event, parameter: &str| {
                let findings = event.attack.iter().flat_map(|attack| &attack.findings);
                findings.filter(|finding| finding.parameter.as_deref() == Some(parameter)).count()
            };
            let again = reclassified(event.clone(), &NEWER);
            assert_eq!(on(&again, "password"), on(&event, "password"));
            assert!(on(&event, "password") > 0);
            assert_eq!((on(&again, "id"), on(&again, "q")), (0, 1), "what can be judged is judged");
        }
    }

    #[test]
    fn a_value_that_holds_a_masked_one_counts_as_masked() {
        let event = archived("/?next=/a%3Fpassword%3Dx%26id%3D1%27+union+select+1,2--+", true);
        assert!(!rules_of(&event).is_empty());
        assert_eq!(rules_of(&reclassified(event.clone(), &NEWER)), rules_of(&event));
    }

    #[test]
    fn what_is_no_line_or_was_judged_by_newer_rules_stays_as_it_is() {
        let newer = Reclassifier::new(Arc::new(Classifier::new("2027.1.1".into(), Vec::new())));
        let event = archived("/?id=1%27+union+select+1,2--+", true);
        assert_eq!(newer.apply(event.clone()).attack, None);
        let mut newest = event.clone();
        Arc::make_mut(&mut newest.origin).ruleset = "2027.1.2".into();
        let gap = Event { gap: Some("the file was deleted".into()), ..event };
        for untouched in [newest, gap] {
            assert_eq!(newer.apply(untouched.clone()), untouched);
            assert_eq!(newer.document(&untouched).unwrap().ruleset, None);
        }
    }

    #[test]
    fn a_line_that_was_judged_anew_replaces_the_document_of_older_rules() {
        let newer = Reclassifier::new(Arc::new(Classifier::new("2027.1.1".into(), Vec::new())));
        let event = archived("/?id=1", true);
        let old = Document::of(&event);
        let new = newer.document(&newer.apply(event)).unwrap();
        assert_eq!((new.id, new.day, new.revision, new.ruleset), (old.id, old.day, None, Some(202_701_001)));
    }

    fn any_target() -> impl Strategy<Value = String> {
        let attack = prop_oneof![
            Just("1%27+union+select+1,2--+"),
            Just("<script>alert(1)</script>"),
            Just("../../../etc/passwd"),
            Just("%3Bcat+/etc/passwd"),
            Just("${jndi:ldap://x/a}"),
            Just("fresh"),
            Just("red"),
        ];
        let key = prop_oneof![
            Just("password"),
            Just("token"),
            Just("q"),
            Just("id"),
            Just("next"),
            Just("user%5Bpassword%5D")
        ];
        prop::collection::vec((key, attack), 1..6).prop_map(|pairs| {
            let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("/vulnerabilities/?{}", pairs.join("&"))
        })
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_line_its_masked_findings_stay(target in any_target(), masks_archive: bool) {
            let event = archived(&target, masks_archive);
            let again = reclassified(event.clone(), &NEWER);
            let is_secret = |finding: &Finding| {
                finding.field == Field::Query && finding.parameter.as_deref().is_some_and(|name| name.contains("password") || name == "token")
            };
            let findings = |event: &Event| event.attack.iter().flat_map(|attack| attack.findings.clone()).collect::<Vec<_>>();
            for finding in findings(&event).into_iter().filter(is_secret) {
                prop_assert!(findings(&again).contains(&finding), "{:?} of {}", finding, target);
            }
            prop_assert!(findings(&again).len() <= FINDINGS_MAX);
            prop_assert_eq!(&reclassified(again.clone(), &NEWER), &again, "once is enough");
            prop_assert_eq!(again.id(&again.parsed()), event.id(&event.parsed()));
        }

        #[test]
        fn the_rules_that_judged_a_line_judge_it_alike(target in any_target(), masks_archive: bool) {
            let event = archived(&target, masks_archive);
            let again = reclassified(event.clone(), &EMBEDDED);
            let (before, after) = (rules_of(&event), rules_of(&again));
            let lost: Vec<_> = before.iter().filter(|rule| !after.contains(rule)).collect();
            // Of more than are told, others may be the strongest: a category that a masked value
            // had settled was not looked for in the rest.
            prop_assert!(lost.is_empty() || after.len() == FINDINGS_MAX, "{:?} of {}", lost, target);
            let mut once = after.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), after.len(), "a rule is told once: {:?} of {}", after, target);
        }
    }
}
