//! What a rule asks of the rest of a request, beside what it finds in one part.

use super::decode;
use super::rules::Pattern;
use crate::attack::Field;
use crate::format::Access;
use crate::limits::VIEW_BYTES_MAX;
use crate::unescape::unescape;
use serde::Deserialize;
use std::fmt;

/// One condition.
#[derive(Debug, Clone)]
pub struct Condition {
    pub subject: Subject,
    /// On the text in lower case, as it was sent and in each layer behind that.
    pub regex: Pattern,
    /// Whether it must find nothing.
    pub not: bool,
}

/// A condition as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenCondition {
    field: Subject,
    regex: String,
    #[serde(default)]
    not: bool,
}

impl WrittenCondition {
    pub(super) fn checked(&self) -> Condition {
        Condition { subject: self.field, regex: Pattern::new(&self.regex), not: self.not }
    }
}

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Subject {
    #[serde(rename = "http.request.method")]
    Method,
    #[serde(rename = "http.response.status_code")]
    Status,
    #[serde(rename = "url.original")]
    Url,
    #[serde(rename = "url.path")]
    Path,
    #[serde(rename = "url.query")]
    Query,
    #[serde(rename = "user_agent")]
    UserAgent,
    #[serde(rename = "http.request.referrer")]
    Referer,
    #[serde(rename = "user.name")]
    User,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Method => "http.request.method",
            Subject::Status => "http.response.status_code",
            Subject::Url => "url.original",
            Subject::Path => "url.path",
            Subject::Query => "url.query",
            Subject::UserAgent => "user_agent",
            Subject::Referer => "http.request.referrer",
            Subject::User => "user.name",
        }
    }

    /// The field of views whose codes its text is wrapped in.
    fn field(self) -> Field {
        match self {
            Subject::Url | Subject::Query => Field::Query,
            Subject::Path => Field::Path,
            _ => Field::UserAgent,
        }
    }

    /// The text; empty where the line does not tell it.
    fn of(self, access: &Access<'_>) -> Vec<u8> {
        let request = access.request.as_ref();
        let target = request.and_then(|request| request.target);
        let path_and_query = |target: &'_ [u8]| memchr::memchr(b'?', target).unwrap_or(target.len());
        let written = match self {
            Subject::Method => request.and_then(|request| request.method),
            Subject::Status => return access.status.map(|status| status.to_string().into_bytes()).unwrap_or_default(),
            Subject::Url => target,
            Subject::Path => target.map(|target| &target[..path_and_query(target)]).or(access.path),
            Subject::Query => target.map(|target| &target[path_and_query(target)..]).or(access.query),
            Subject::UserAgent => access.user_agent,
            Subject::Referer => access.referer,
            Subject::User => access.user,
        };
        let written = written.unwrap_or_default();
        unescape(&written[..written.len().min(4 * VIEW_BYTES_MAX)]).into_owned()
    }
}

impl Condition {
    /// Whether it holds of a request.
    pub fn holds(&self, access: &Access<'_>) -> bool {
        let mut text = self.subject.of(access);
        for _ in 0..=decode::LAYERS_MAX {
            if self.regex.find(&text.to_ascii_lowercase()).is_some() {
                return !self.not;
            }
            match decode::url(&text, self.subject.field()) {
                Some(deeper) => text = deeper,
                None => break,
            }
        }
        self.not
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = if self.not { "none of" } else { "" };
        write!(
            f,
            "`{}` to match {wanted}{}`{}`",
            self.subject.name(),
            if self.not { " " } else { "" },
            self.regex.written()
        )
    }
}
