//! Requests that are no attack although a rule matches: exceptions that users write.

use super::rules::{Example, ExampleKind, RuleError};
use super::wildcard::Wildcard;
use super::{Place, Rule, decode, drop_in};
use crate::address::Networks;
use crate::attack::{Category, Field};
use crate::format::Access;
use crate::unescape::unescape;
use serde::Deserialize;
use std::borrow::Cow;
use std::net::IpAddr;

/// An exception. All that it names must hold.
#[derive(Debug, Clone)]
pub struct Allow {
    /// Why, in a sentence.
    pub about: String,
    /// Ids of rules, which may end in `*`; empty for all.
    rules: Vec<String>,
    /// Empty for all.
    categories: Vec<Category>,
    /// Patterns of paths; empty for all.
    paths: Vec<Wildcard>,
    /// Names of query parameters in lower case; empty for all parts of the request.
    parameters: Vec<String>,
    /// Patterns of user agents; empty for all.
    user_agents: Vec<Wildcard>,
    /// Clients by address, as the line tells it.
    clients: Option<Networks>,
    pub examples: Vec<Example>,
}

/// An exception as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenAllow {
    about: String,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    categories: Vec<Category>,
    #[serde(default)]
    path: Vec<String>,
    #[serde(default)]
    parameters: Vec<String>,
    #[serde(default)]
    user_agent: Vec<String>,
    #[serde(default)]
    clients: Vec<String>,
    examples: Vec<String>,
    #[serde(default)]
    counter_examples: Vec<String>,
}

impl WrittenAllow {
    pub(super) fn checked(self) -> Result<Allow, RuleError> {
        let about = || self.about.clone();
        let is_bounded = [&self.path, &self.parameters, &self.user_agent, &self.clients];
        if is_bounded.iter().all(|list| list.is_empty()) {
            return Err(RuleError::AllowsAll { about: about() });
        }
        if self.examples.is_empty() {
            return Err(RuleError::NoAllowExamples { about: about() });
        }
        let bad_network = |cause| RuleError::Clients { about: about(), cause };
        let clients = (!self.clients.is_empty()).then(|| Networks::parse(&self.clients).map_err(bad_network));
        let clients = clients.transpose()?;
        let example = |matches| move |text: &String| Example { kind: ExampleKind::Target, text: text.clone(), matches };
        let examples = self.examples.iter().map(example(true));
        Ok(Allow {
            clients,
            examples: examples.chain(self.counter_examples.iter().map(example(false))).collect(),
            about: self.about,
            rules: self.rules,
            categories: self.categories,
            paths: self.path.iter().map(|pattern| Wildcard::new(pattern)).collect(),
            parameters: self.parameters.iter().map(|name| name.to_ascii_lowercase()).collect(),
            user_agents: self.user_agent.iter().map(|pattern| Wildcard::new(pattern)).collect(),
        })
    }
}

impl Allow {
    /// Whether what `rule` found in this place is meant.
    pub(super) fn covers(&self, rule: &Rule, place: &Place<'_>) -> bool {
        let (access, parameter) = (place.access, place.view.parameter);
        (self.rules.is_empty() || self.rules.iter().any(|pattern| drop_in::names(pattern, &rule.id)))
            && (self.categories.is_empty() || self.categories.contains(&rule.category))
            && (self.parameters.is_empty() || parameter.is_some_and(|name| self.takes_parameter(name)))
            && (self.user_agents.is_empty() || self.takes_user_agent(access))
            && (self.paths.is_empty() || self.takes_path(access))
            && self.clients.as_ref().is_none_or(|clients| client(access).is_some_and(|client| clients.contains(client)))
    }

    fn takes_parameter(&self, written: &[u8]) -> bool {
        let decoded = decode::url(written, Field::QueryKey);
        let name = decoded.as_deref().unwrap_or(written);
        self.parameters.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }

    fn takes_user_agent(&self, access: &Access<'_>) -> bool {
        access.user_agent.is_some_and(|agent| self.user_agents.iter().any(|pattern| pattern.matches(&unescape(agent))))
    }

    /// A path with `..` in it is none of those that were meant: `/reports/../admin`.
    fn takes_path(&self, access: &Access<'_>) -> bool {
        let Some(path) = path(access) else { return false };
        let climbs = path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment.starts_with(b".."));
        !climbs && self.paths.iter().any(|pattern| pattern.matches(&path))
    }
}

/// The path as the server takes it.
fn path<'a>(access: &Access<'a>) -> Option<Cow<'a, [u8]>> {
    let Some(target) = access.request.as_ref().and_then(|request| request.target) else {
        return access.path.map(unescape);
    };
    let written = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let sent = unescape(written);
    Some(decode::url(&sent, Field::Path).map_or(sent, Cow::Owned))
}

fn client(access: &Access<'_>) -> Option<IpAddr> {
    std::str::from_utf8(access.client).ok()?.parse().ok()
}
