//! Whether an attack worked, as far as its own line tells.
//!
//! A status alone proves little: many pages answer 200 to right and wrong alike. Who has
//! seen more than the line (the usual size of that path's answers, the error log, what the
//! client did next) knows better, and says so instead.

use crate::attack::{Category, Field, Finding};
use crate::format::Access;
use crate::id::EventId;
use crate::incident::Outcome;
use serde::{Deserialize, Serialize};

/// What other lines tell of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Whether the attack in it worked, and what that rests on; absent where its own status
    /// decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<(Outcome, String)>,
    /// What it is a part of, such as a series of passwords.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<Category>,
    /// The incident that it belongs to. It may never be told of: a few findings of low severity
    /// are not worth it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<EventId>,
}

impl Context {
    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        *self == Context::default()
    }

    /// The incident, where nothing else is told.
    pub fn incident_alone(&self) -> Option<EventId> {
        self.incident.filter(|_| self.outcome.is_none() && self.categories.is_empty())
    }
}

/// [`outcome_by_status`] for what was found in a line.
pub fn outcome_of_findings(findings: &[Finding], access: &Access<'_>) -> (Outcome, String) {
    let found: Vec<(Category, Field)> = findings.iter().map(|finding| (finding.category, finding.field)).collect();
    outcome_by_status(&found, access)
}

/// What the answer to a request says of the attacks that were found in it, each with the
/// part of the request that it stands in, and why. Of several the one that came furthest
/// counts.
pub fn outcome_by_status(found: &[(Category, Field)], access: &Access<'_>) -> (Outcome, String) {
    let Some(status) = access.status else { return (Outcome::Unknown, "the log tells no status".to_owned()) };
    let bytes = access.bytes.unwrap_or(0);
    // What other methods are answered says nothing of what a page holds.
    let method = access.request.and_then(|request| request.method);
    let is_held = method.is_none_or(|method| matches!(method, b"GET" | b"POST" | b"PUT"));
    let bytes = if is_held { bytes } else { 0 };
    let of = |(category, field): &(Category, Field)| by_status(*category, *field, status, bytes);
    let (outcome, why) = found.iter().map(of).max_by_key(|told| told.0).unwrap_or((Outcome::Unknown, ORDINARY));
    (outcome, format!("{why} (status {status})"))
}

const ORDINARY: &str = "it was answered as other requests are";

fn by_status(category: Category, field: Field, status: u16, bytes: u64) -> (Outcome, &'static str) {
    match status {
        401 if category == Category::Bruteforce => (Outcome::Failed, "the password was not taken"),
        401 => (Outcome::Blocked, "the server wants to know first who asks"),
        403 | 406 | 429 | 451 => (Outcome::Blocked, "the server refused it"),
        404 | 410 => (Outcome::Failed, "what was asked for is not there"),
        408 => (Outcome::Failed, "the request was not finished in time"),
        400..=499 | 501 | 505 => (Outcome::Failed, "the server takes no such request"),
        500..=599 => (Outcome::Unknown, failure(category)),
        304 => (Outcome::Unknown, "the client had the answer already"),
        300..=399 => redirected(category),
        200..=299 => answered(category, field, bytes),
        _ => (Outcome::Unknown, "the status says nothing"),
    }
}

/// A server that fails at what it was sent has at least looked at it.
fn failure(category: Category) -> &'static str {
    match category {
        Category::Sqli => "the server failed, as pages do whose database is sent broken SQL",
        Category::Cmdi | Category::Code | Category::Ssti => {
            "the server failed, as programs do that run what they are sent"
        }
        _ => "the server failed at it",
    }
}

fn redirected(category: Category) -> (Outcome, &'static str) {
    match category {
        Category::OpenRedirect => (Outcome::LikelySucceeded, "the server sent the client on, as was asked"),
        Category::Recon | Category::InfoLeak | Category::Webshell | Category::Lfi => {
            (Outcome::Failed, "the client was sent elsewhere instead")
        }
        _ => (Outcome::Unknown, "the client was sent elsewhere"),
    }
}

/// A name of a tool in the user agent says nothing of what it asked for.
fn answered(category: Category, field: Field, bytes: u64) -> (Outcome, &'static str) {
    match category {
        Category::Recon | Category::InfoLeak | Category::Webshell if field.is_in_url() && bytes > 0 => {
            (Outcome::LikelySucceeded, "what was asked for is there")
        }
        Category::OpenRedirect => (Outcome::Failed, "the client was not sent on"),
        Category::Log4shell | Category::Ssrf => {
            (Outcome::Unknown, "whether the server then called out is not in its answer")
        }
        _ => (Outcome::Unknown, ORDINARY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(category: Category, status: u16) -> (Outcome, String) {
        outcome_by_status(
            &[(category, Field::Path)],
            &Access { status: Some(status), bytes: Some(5_000), ..Access::default() },
        )
    }

    #[test]
    fn a_refusal_is_told_from_a_miss() {
        assert_eq!(told(Category::Sqli, 403), (Outcome::Blocked, "the server refused it (status 403)".to_owned()));
        let missed = (Outcome::Failed, "what was asked for is not there (status 404)".to_owned());
        assert_eq!(told(Category::InfoLeak, 404), missed);
        assert_eq!(told(Category::Lfi, 414).0, Outcome::Failed);
    }

    #[test]
    fn a_redirect_is_what_an_open_redirect_wants_and_no_other_attack_does() {
        assert_eq!(told(Category::OpenRedirect, 302).0, Outcome::LikelySucceeded);
        assert_eq!(told(Category::OpenRedirect, 200).0, Outcome::Failed);
        assert_eq!(told(Category::InfoLeak, 302).0, Outcome::Failed);
        assert_eq!(told(Category::Xss, 302).0, Outcome::Unknown);
    }

    #[test]
    fn a_telling_path_that_is_there_was_found() {
        assert_eq!(told(Category::InfoLeak, 200).0, Outcome::LikelySucceeded);
        let tool = Access { status: Some(200), bytes: Some(9), ..Access::default() };
        assert_eq!(outcome_by_status(&[(Category::Recon, Field::UserAgent)], &tool).0, Outcome::Unknown);
        let empty = Access { status: Some(200), bytes: Some(0), ..Access::default() };
        assert_eq!(outcome_by_status(&[(Category::Recon, Field::Path)], &empty).0, Outcome::Unknown);
    }

    #[test]
    fn only_who_asks_for_what_a_path_holds_gets_it() {
        let told = |method: &'static str| {
            let line =
                format!(r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "{method} /.env HTTP/1.1" 200 120 "-" "-""#);
            let parsed = crate::Format::Combined.parse(line.as_bytes());
            outcome_by_status(&[(Category::InfoLeak, Field::Path)], parsed.access().unwrap()).0
        };
        assert_eq!((told("GET"), told("POST")), (Outcome::LikelySucceeded, Outcome::LikelySucceeded));
        assert_eq!(
            (told("OPTIONS"), told("HEAD"), told("PROPFIND")),
            (Outcome::Unknown, Outcome::Unknown, Outcome::Unknown)
        );
    }

    #[test]
    fn of_several_categories_the_one_that_came_furthest_counts() {
        let access = Access { status: Some(200), bytes: Some(9), ..Access::default() };
        let told =
            outcome_by_status(&[(Category::Scanner, Field::UserAgent), (Category::Webshell, Field::Path)], &access);
        assert_eq!(told, (Outcome::LikelySucceeded, "what was asked for is there (status 200)".to_owned()));
        assert_eq!(outcome_by_status(&[], &Access::default()).1, "the log tells no status");
    }
}
