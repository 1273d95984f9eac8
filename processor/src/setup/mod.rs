//! Puts into a domain what the index needs: templates, a policy for old indices, a role for
//! those who index, monitors that tell somebody. And into its Dashboards what they show. Doing it again changes nothing.
//!
//! What is there is read first, so that only what differs is written, and `dry_run` can tell it.
//! A plugin that the domain does not have answers `no handler found`; what it would hold is named
//! as missing, and the rest is done.

mod parts;
mod alerts;
mod diff;
pub mod saved;
mod dashboards;

pub use alerts::Channel;
pub use dashboards::{Body, Dashboards, show};
pub use parts::{Part, Wanted};

use crate::index::IndexError;
use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// The oldest version that understands the templates.
const VERSION_MIN: (u32, u32) = (2, 12);

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
}

/// A domain's answer: its status, and its body, null where that is not JSON.
pub type Answer = (u16, Value);

/// An OpenSearch domain, as its administrator asks it.
#[async_trait]
pub trait Domain: Send + Sync {
    /// Makes one call. `path` begins with a slash.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, IndexError>;
}

/// Why a domain cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the domain does not answer as it is set up")]
    Domain(#[source] IndexError),
    #[error("this is {0}; OpenSearch 2.12 or later is needed")]
    Version(String),
    #[error("the domain refuses {what} with {status}: {answer}")]
    Refused { what: String, status: u16, answer: String },
    #[error("Dashboards does not answer as it is set up (`dashboards_url`)")]
    Dashboards(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("Dashboards refuses {what} with {status}: {answer}")]
    DashboardsRefused { what: String, status: u16, answer: String },
}

/// What became, or would become, of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was as wanted.
    Same,
    Made,
    Changed,
    /// The domain does not have the plugin.
    Missing,
}

/// A part, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Such as `index template twosec`.
    pub what: String,
    pub action: Action,
    /// What differed, a sentence each: `settings.index.codec: default -> best_compression`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// What a set-up did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Such as `2.19.1`; absent for a serverless collection, which tells none.
    pub version: Option<String>,
    pub is_dry_run: bool,
    pub parts: Vec<Done>,
}

impl Report {
    /// Whether the domain lacks a plugin for something that was wanted.
    pub fn lacks_plugins(&self) -> bool {
        self.parts.iter().any(|part| part.action == Action::Missing)
    }
}

/// Brings a domain to what is wanted, or tells what that would change.
pub async fn set_up(domain: &dyn Domain, wanted: &Wanted, is_dry_run: bool) -> Result<Report, SetupError> {
    let version = version(domain).await?;
    let mut parts = Vec::new();
    for part in wanted.parts() {
        parts.push(settle(domain, &part, is_dry_run).await?);
    }
    Ok(Report { version, is_dry_run, parts })
}

async fn version(domain: &dyn Domain) -> Result<Option<String>, SetupError> {
    let (status, body) = domain.call(Method::Get, "/", None).await.map_err(SetupError::Domain)?;
    match status {
        200 => {}
        404 => return Ok(None),
        _ => return Err(refused("to tell its version", status, &body)),
    }
    let number = body["version"]["number"].as_str().unwrap_or_default().to_owned();
    if body["version"]["distribution"] != "opensearch" {
        return Err(SetupError::Version(format!("Elasticsearch {number}")));
    }
    let mut digits = number.split('.').map(|part| part.parse().unwrap_or(0));
    let is_new = (digits.next().unwrap_or(0), digits.next().unwrap_or(0)) >= VERSION_MIN;
    if is_new { Ok(Some(number)) } else { Err(SetupError::Version(format!("OpenSearch {number}"))) }
}

async fn settle(domain: &dyn Domain, part: &Part, is_dry_run: bool) -> Result<Done, SetupError> {
    let (method, path, query) = part.asking();
    let (status, body) = domain.call(method, &path, query.as_ref()).await.map_err(SetupError::Domain)?;
    let (action, changes, call) = match status {
        _ if lacks_plugin(status, &body) => (Action::Missing, Vec::new(), None),
        404 => (Action::Made, Vec::new(), Some(part.making())),
        200 if part.there(&body).is_null() => (Action::Made, Vec::new(), Some(part.making())),
        200 => {
            let changes = diff::changes(part.there(&body), &part.body, part.may_hold_more);
            let changes: Vec<_> = changes.into_iter().map(|change| part.telling(change)).collect();
            match changes.is_empty() || part.is_users {
                true => (Action::Same, Vec::new(), None),
                false => (Action::Changed, changes, Some(part.changing(&body))),
            }
        }
        _ => return Err(refused(&part.what, status, &body)),
    };
    if let Some((method, path, body)) = call.filter(|_| !is_dry_run) {
        let (status, answer) = domain.call(method, &path, Some(&body)).await.map_err(SetupError::Domain)?;
        if !(200..300).contains(&status) {
            return Err(refused(&part.what, status, &answer));
        }
    }
    Ok(Done { what: part.what.clone(), action, changes })
}

/// Whether nobody answers below this path (OpenSearch, `RestController`).
fn lacks_plugin(status: u16, body: &Value) -> bool {
    let error = body["error"].as_str().unwrap_or_default();
    matches!(status, 400 | 405) && (error.starts_with("no handler found") || error.starts_with("Incorrect HTTP method"))
}

/// Characters of an answer that stand in an error.
const ANSWER_CHARS: usize = 500;

fn refused(what: &str, status: u16, body: &Value) -> SetupError {
    let reason = body["error"]["reason"].as_str().map_or_else(|| body.to_string(), str::to_owned);
    SetupError::Refused { what: what.to_owned(), status, answer: reason.chars().take(ANSWER_CHARS).collect() }
}

/// The report as people read it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            let word = match (part.action, self.is_dry_run) {
                (Action::Same, _) => "as wanted",
                (Action::Made, false) => "made",
                (Action::Made, true) => "would make",
                (Action::Changed, false) => "changed",
                (Action::Changed, true) => "would change",
                (Action::Missing, _) => "no plugin for",
            };
            writeln!(f, "{word:<14}{}", part.what)?;
            part.changes.iter().try_for_each(|change| writeln!(f, "{:14}  {change}", ""))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
