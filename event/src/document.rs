//! An event as OpenSearch, the embedded index and `ecs` records hold it: field names
//! of the Elastic Common Schema 8.11, and `attack.*` and `twosec.*` beside them.
//!
//! One function builds it, so the same line is the same document everywhere.

mod incident;

use crate::address::{self, SourceClass};
use crate::attack::{Attack, Category, Confidence, Finding, Severity};
use crate::domain;
use crate::format::error_log::Php;
use crate::format::{Access, ErrorLine, Format, Parsed};
use crate::geo::{AutonomousSystem, Place};
use crate::id::{EventId, LifeId};
use crate::incident::Outcome;
use crate::json;
use crate::line::{BY_PROCESSOR, Cloud, Container, Event, Host};
use crate::names::Names;
use crate::outcome::outcome_of_findings;
use crate::redact;
use crate::time::{Day, rfc3339};
use crate::unescape::unescape;
use crate::user_agent::{self, UserAgentParts};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Bytes of a key, and of a value, in `twosec.fields` and `twosec.modsecurity`.
const MAP_TEXT_BYTES_MAX: usize = 15_000;

/// What a document has beside what it tells of its line, as a rule.
const BODY_BYTES: usize = 1 << 10;

/// A document, ready for an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The `_id`.
    pub id: EventId,
    /// The day whose index holds it; `None` is the index for undated lines.
    pub day: Option<Day>,
    /// Of an incident, its revision: a higher one replaces lower ones. Lines have none and
    /// are created once.
    pub revision: Option<u32>,
    /// Of a line that newer rules have judged anew, their number: it replaces what lower ones,
    /// or none, have made.
    pub ruleset: Option<u32>,
    /// The `_source`: one JSON object on one line, without a line feed.
    pub body: Vec<u8>,
}

impl Document {
    /// Builds the document of an event, with its masks on.
    pub fn of(event: &Event) -> Document {
        Document::build(event, &event.parsed())
    }

    /// As [`Document::of`]; none for an event that is for the archive alone.
    pub fn for_index(event: &Event) -> Option<Document> {
        let parsed = event.parsed();
        event.is_for_index(&parsed).then(|| Document::build(event, &parsed))
    }

    fn build(event: &Event, parsed: &Parsed<'_>) -> Document {
        let id = event.id(parsed);
        if let Some(incident) = &event.incident {
            let body = incident::body(event, incident);
            return Document { id, day: None, revision: Some(incident.revision), ruleset: None, body };
        }
        let body = if event.masks.is_empty() {
            body(event, &event.line, parsed, id)
        } else {
            let shown = event.shown();
            body(event, &shown, &event.origin.parse(&shown), id)
        };
        Document { id, day: event.day, revision: None, ruleset: None, body }
    }
}

fn body(event: &Event, shown: &[u8], parsed: &Parsed<'_>, id: EventId) -> Vec<u8> {
    let agent = parsed.access().and_then(|access| access.user_agent).map(text);
    let parts = agent.as_deref().map(user_agent::parse);
    let agent = agent.map(|original| user_agent_fields(original, parts.as_deref()));
    let mut body = Vec::with_capacity(BODY_BYTES + 4 * shown.len());
    json::push(&source(event, shown, parsed, id, agent), &mut body);
    body.shrink_to_fit();
    body
}

/// How long lines go into one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IndexPeriod {
    #[default]
    Day,
    /// Fewer shards where there are few lines.
    Month,
}

/// Which index a document belongs into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexNames {
    pub prefix: String,
    pub period: IndexPeriod,
    /// Days outside `from..=until` go to the undated index: a line with a forged or
    /// broken year must not make an index of its own.
    pub from: Option<Day>,
    pub until: Option<Day>,
}

impl IndexNames {
    /// The index that a document belongs into. All incidents stand in one, since their
    /// revisions come on several days.
    pub fn of(&self, document: &Document) -> String {
        match document.revision {
            Some(_) => format!("{}-incidents", self.prefix),
            None => self.name(document.day),
        }
    }

    /// `prefix-2026.11.16`, by the month `prefix-2026.11`, or `prefix-undated`.
    pub fn name(&self, day: Option<Day>) -> String {
        let inside =
            |day: &Day| self.from.is_none_or(|from| *day >= from) && self.until.is_none_or(|until| *day <= until);
        match day.filter(inside) {
            Some(day) => {
                let day = day.to_string().replace('-', ".");
                let period = match self.period {
                    IndexPeriod::Day => &day,
                    IndexPeriod::Month => day.rsplit_once('.').map_or(&*day, |(month, _)| month),
                };
                format!("{}-{period}", self.prefix)
            }
            None => format!("{}-undated", self.prefix),
        }
    }
}

/// The `_source`. Field order is reading order; absent fields are left out.
#[derive(Serialize)]
struct Source<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    ecs: Ecs,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
    event: Meta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Url<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<Http<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<UserAgent<'a>>,
    host: &'a Host,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud: Option<CloudFields<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<Cow<'a, str>, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerFields<'a>>,
    log: Log<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    agent: AgentFields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threat: Option<Threat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attack: Option<AttackFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    related: Option<Related<'a>>,
    twosec: Ours<'a>,
}

#[derive(Serialize)]
struct Ecs {
    version: &'static str,
}

impl Ecs {
    const VERSION: Ecs = Ecs { version: "8.11.0" };
}

#[derive(Serialize)]
struct Meta<'a> {
    id: EventId,
    kind: &'static str,
    category: &'static [&'static str],
    #[serde(rename = "type")]
    types: &'static [&'static str],
    module: &'static str,
    dataset: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    risk_score: Option<u8>,
    original: Cow<'a, str>,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    address: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    geo: Option<&'a Place>,
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    system: Option<&'a AutonomousSystem>,
}

#[derive(Serialize)]
struct Name<'a> {
    name: Cow<'a, str>,
}

#[derive(Serialize)]
struct Url<'a> {
    original: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extension: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered_domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_level_domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subdomain: Option<String>,
}

#[derive(Serialize)]
struct Http<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<HttpRequest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<HttpResponse>,
}

#[derive(Default, PartialEq, Serialize)]
struct HttpRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<Cow<'a, str>>,
}

#[derive(Default, PartialEq, Serialize)]
struct HttpResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Bytes>,
}

#[derive(PartialEq, Serialize)]
struct Bytes {
    bytes: u64,
}

#[derive(Serialize)]
struct UserAgent<'a> {
    original: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<OperatingSystem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device<'a>>,
}

#[derive(Serialize)]
struct OperatingSystem<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
}

#[derive(Serialize)]
struct Device<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct CloudFields<'a> {
    provider: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    availability_zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<Machine<'a>>,
}

#[derive(Serialize)]
struct Machine<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Serialize)]
struct Id<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct ContainerFields<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<Cow<'a, str>, &'a str>,
}

#[derive(Serialize)]
struct Log<'a> {
    file: File<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<Cow<'a, str>>,
    /// The module of Apache that writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    logger: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<CodePlace>,
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
}

#[derive(Serialize)]
struct AgentFields<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'a str,
}

#[derive(Serialize)]
struct Rule<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    id: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    category: Vec<Category>,
    ruleset: &'a str,
}

#[derive(Serialize)]
struct Threat {
    framework: &'static str,
    technique: Technique,
}

#[derive(Serialize)]
struct Technique {
    id: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtechnique: Option<Subtechnique>,
}

#[derive(Serialize)]
struct Subtechnique {
    id: Vec<String>,
}

#[derive(Serialize)]
struct AttackFields<'a> {
    categories: Vec<Category>,
    score: u8,
    confidence: Confidence,
    severity: Severity,
    outcome: Outcome,
    #[serde(skip_serializing_if = "str::is_empty")]
    outcome_reason: Cow<'a, str>,
    capec: Vec<u16>,
    cwe: Vec<u16>,
    #[serde(skip_serializing_if = "<[Finding]>::is_empty", serialize_with = "Finding::write_all_named")]
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    /// Apache's number of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Cow<'a, str>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<Cow<'a, str>>,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_trace: Option<String>,
}

impl ErrorFields<'static> {
    fn message(message: String) -> ErrorFields<'static> {
        ErrorFields { code: None, kind: None, message: Cow::Owned(message), stack_trace: None }
    }
}

#[derive(Serialize)]
struct Related<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<Vec<IpAddr>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<[Cow<'a, str>; 1]>,
}

#[derive(Serialize)]
struct Ours<'a> {
    life: LifeId,
    /// Where the line begins in its life.
    offset: u64,
    /// How the line is written, where no name says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a Format>,
    /// The day that decides the index of a line that tells no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<Day>,
    /// Raw length of a line that was cut at the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<GapFields<'a>>,
    /// What a LogFormat tells beyond the fields of ECS, by its directive.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// What ModSecurity tells of a rule that matched.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    modsecurity: BTreeMap<Cow<'a, str>, Vec<Cow<'a, str>>>,
    /// Secrets that were masked, as `key=digits of a hash`: equal ones are equal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redacted: Vec<String>,
    /// The log that holds the same line.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<IncidentField>,
    /// What ECS has no fields for.
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud: Option<OtherCloud<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SourceFields<'a>>,
}

#[derive(Serialize)]
struct IncidentField {
    id: EventId,
}

#[derive(Serialize)]
struct SourceFields<'a> {
    class: SourceClass,
    /// The name of the client's network in the operator's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    /// The trusted proxy that passed the request on.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
}

#[derive(Serialize)]
struct OtherCloud<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    image_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpc_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Process {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<Thread>,
}

#[derive(Serialize)]
struct Thread {
    id: u64,
}

/// Where in a program a message came from.
#[derive(Serialize)]
struct CodePlace {
    file: CodeFile,
}

#[derive(Serialize)]
struct CodeFile {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

/// Bytes of a log that were lost before they could be read.
#[derive(Serialize)]
struct GapFields<'a> {
    from: u64,
    to: u64,
    reason: &'a str,
}

fn source<'a>(
    event: &'a Event,
    shown: &'a [u8],
    parsed: &'a Parsed<'a>,
    id: EventId,
    user_agent: Option<UserAgent<'a>>,
) -> Source<'a> {
    let (access, error) = (parsed.access(), parsed.error());
    let php = error.and_then(ErrorLine::php);
    let origin = &event.origin;
    let suspicion = Suspicion::of(event, access);
    let suspicion = suspicion.as_ref();
    Source {
        timestamp: rfc3339(event.time),
        ecs: Ecs::VERSION,
        message: error.map(|e| text(e.message)),
        event: meta(event, suspicion, shown, parsed, id),
        source: endpoint(event, parsed),
        user: access.and_then(|a| a.user).map(|name| Name { name: user(name) }),
        url: access.and_then(url),
        http: access.and_then(http).or_else(|| error.and_then(|e| e.referer).map(asked_from)),
        user_agent,
        host: &origin.host,
        cloud: origin.cloud.as_ref().map(cloud),
        labels: origin.cloud.as_ref().map(|cloud| labels(&cloud.tags)).unwrap_or_default(),
        container: origin.container.as_ref().map(container),
        log: log(event, error, php.as_ref()),
        process: error.and_then(process),
        agent: agent(&origin.agent),
        rule: rule(event, access.is_some()),
        threat: suspicion
            .map(|s| Threat { framework: "MITRE ATT&CK", technique: threat_of(s.names.technique.clone()) }),
        attack: suspicion.map(attack_fields),
        error: gap(event).or_else(|| odd(parsed)).or_else(|| error.map(|e| error_fields(e, php))),
        related: related(event, parsed),
        twosec: Ours {
            life: origin.life,
            offset: event.offset,
            format: Some(&origin.format).filter(|format| matches!(format, Format::Custom(_) | Format::CustomError(_))),
            day: event.day.filter(|_| parsed.time().is_none()),
            cut_from: event.cut.then_some(event.length),
            gap: gap_fields(event),
            fields: other_fields(parsed),
            modsecurity: error.map(modsecurity).unwrap_or_default(),
            redacted: redact::secrets(shown),
            duplicate_of: event.duplicate_of.as_deref(),
            incident: event.context.as_ref().and_then(|context| context.incident).map(|id| IncidentField { id }),
            cloud: origin.cloud.as_ref().and_then(other_cloud),
            source: source_fields(event, parsed),
        },
    }
}

/// Who read the line.
fn agent(version: &str) -> AgentFields<'_> {
    match version.strip_prefix(BY_PROCESSOR) {
        Some(version) => AgentFields { kind: "twosec-processor", version },
        None => AgentFields { kind: "twosec-agent", version },
    }
}

fn user_agent_fields<'a>(original: Cow<'a, str>, parts: Option<&'a UserAgentParts>) -> UserAgent<'a> {
    let part = |of: fn(&UserAgentParts) -> &Option<Box<str>>| parts.and_then(|parts| of(parts).as_deref());
    UserAgent {
        original,
        name: part(|parts| &parts.name),
        version: part(|parts| &parts.version),
        os: part(|parts| &parts.os_name).map(|name| OperatingSystem { name, version: part(|parts| &parts.os_version) }),
        device: part(|parts| &parts.device_name).map(|name| Device { name }),
    }
}

fn log<'a>(event: &'a Event, error: Option<&ErrorLine<'a>>, php: Option<&Php<'_>>) -> Log<'a> {
    Log {
        file: File { path: &event.origin.path },
        level: error.and_then(|e| e.level).map(text),
        logger: error.and_then(|e| e.module).map(text),
        origin: error.and_then(|e| code_place(e, php)),
    }
}

/// Where a message came from: the line of PHP that failed, else Apache's own.
fn code_place(error: &ErrorLine<'_>, php: Option<&Php<'_>>) -> Option<CodePlace> {
    let place = |name: String, line| CodePlace { file: CodeFile { name, line } };
    if let Some(php) = php {
        return php.file.clone().map(|file| place(file, php.line));
    }
    error.source.map(|(file, line)| place(text(file).into_owned(), Some(line)))
}

fn process(error: &ErrorLine<'_>) -> Option<Process> {
    let process = Process { pid: error.pid, thread: error.tid.map(|id| Thread { id }) };
    (process.pid.is_some() || process.thread.is_some()).then_some(process)
}

fn error_fields<'a>(error: &ErrorLine<'a>, php: Option<Php<'a>>) -> ErrorFields<'a> {
    let (kind, stack_trace) = php.map(|php| (php.kind, php.stack_trace)).unzip();
    ErrorFields { code: error.code().map(text), kind, message: text(error.message), stack_trace: stack_trace.flatten() }
}

fn modsecurity<'a>(error: &ErrorLine<'a>) -> BTreeMap<Cow<'a, str>, Vec<Cow<'a, str>>> {
    let mut out: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, value) in error.modsecurity() {
        out.entry(beginning(name)).or_default().push(beginning(value));
    }
    out
}

fn gap_fields(event: &Event) -> Option<GapFields<'_>> {
    let to = event.offset.saturating_add(event.length);
    event.gap.as_deref().map(|reason| GapFields { from: event.offset, to, reason })
}

fn gap(event: &Event) -> Option<ErrorFields<'static>> {
    let gap = gap_fields(event)?;
    let message =
        format!("bytes {} to {} of this log were lost before they were read: {}", gap.from, gap.to, gap.reason);
    Some(ErrorFields::message(message))
}

fn meta<'a>(
    event: &Event,
    suspicion: Option<&Suspicion<'_>>,
    shown: &'a [u8],
    parsed: &Parsed<'_>,
    id: EventId,
) -> Meta<'a> {
    let (access, is_attack) = (parsed.access(), suspicion.is_some());
    let kind = match parsed {
        _ if is_attack => "alert",
        Parsed::Odd(_) => "pipeline_error",
        Parsed::Access(_) | Parsed::Error(_) | Parsed::TailHeader(_) => "event",
    };
    let outcome = access.and_then(|a| a.status).map(|status| if status < 400 { "success" } else { "failure" });
    let is_error = parsed.error().is_some();
    let is_container = event.origin.container.is_some();
    let (module, dataset) = match parsed {
        Parsed::Error(_) => ("apache", "apache.error"),
        Parsed::Odd(_) | Parsed::TailHeader(_) if is_container => ("docker", "docker.container_logs"),
        _ => ("apache", "apache.access"),
    };
    Meta {
        id,
        kind,
        category: if is_attack { &["web", "intrusion_detection"] } else { &["web"] },
        types: match (is_error, is_attack) {
            (false, false) => &["access"],
            (true, false) => &["error"],
            // ECS expects `access` or `error` of `web`, and `info` of `intrusion_detection`.
            (false, true) => &["access", "info"],
            (true, true) => &["error", "info"],
        },
        module,
        dataset,
        outcome,
        duration: access.and_then(|a| a.duration_nanos),
        severity: suspicion.map(|s| s.severity.number()),
        risk_score: suspicion.map(|s| s.score),
        original: String::from_utf8_lossy(shown),
    }
}

/// A field as the client sent it.
fn text(field: &[u8]) -> Cow<'_, str> {
    match unescape(field) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Apache writes an empty user name as two quotes (mod_log_config, `%u`).
fn user(name: &[u8]) -> Cow<'_, str> {
    if name == b"\"\"" { Cow::Borrowed("") } else { text(name) }
}

/// The client: the one that a trusted proxy passed on, else the line's own.
fn endpoint<'a>(event: &'a Event, parsed: &Parsed<'a>) -> Option<Endpoint<'a>> {
    let (address, ip, port) = match (event.client, parsed.client()) {
        (Some(client), _) => (Cow::Owned(client.to_string()), Some(client), None),
        (None, Some((client, port))) => (text(client), parsed.client_ip(), port),
        (None, None) => return None,
    };
    let geo = event.source.as_ref().map(|source| &source.geo);
    let (place, system) = (geo.and_then(|geo| geo.place.as_ref()), geo.and_then(|geo| geo.system.as_ref()));
    Some(Endpoint { address, ip, port, geo: place, system })
}

fn source_fields<'a>(event: &'a Event, parsed: &Parsed<'_>) -> Option<SourceFields<'a>> {
    let ip = event.client.or_else(|| parsed.client_ip())?;
    let provider = event.source.as_ref().and_then(|source| source.provider.as_deref());
    let peer = event.client.and_then(|_| parsed.client_ip());
    Some(SourceFields { class: address::class(ip), provider, peer })
}

fn url<'a>(access: &Access<'a>) -> Option<Url<'a>> {
    let original = match access.request.and_then(|request| request.target) {
        Some(target) => text(target),
        None => Cow::Owned(apart(access)?),
    };
    let (scheme, rest) = match original.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphabetic()) => (Some(scheme.to_owned()), rest),
        _ => (None, &*original),
    };
    let is_connect = access.request.is_some_and(|request| request.method == Some(b"CONNECT"));
    let (own_host, rest) = match scheme.is_some() || is_connect {
        true => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        false => ("", rest),
    };
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let vhost = || access.vhost.map(|(name, port)| (text(name).into_owned(), port));
    let (domain, port) = authority(own_host).or_else(vhost).unzip();
    let parts = domain.as_deref().and_then(domain::parts);
    let owned = |part: Cow<'_, str>| part.into_owned();
    let (registered_domain, top_level_domain, subdomain) = parts.map_or((None, None, None), |parts| {
        (Some(owned(parts.registered_domain)), Some(owned(parts.top_level_domain)), parts.subdomain.map(owned))
    });
    Some(Url {
        registered_domain,
        top_level_domain,
        subdomain,
        domain,
        port: port.flatten(),
        scheme,
        path: (!path.is_empty()).then(|| path.to_owned()),
        query: query.map(str::to_owned),
        extension: extension(path),
        original,
    })
}

/// Host and port as a URL or the target of `CONNECT` names them. A name and a password
/// that stand in front are no part of the host.
fn authority(text: &str) -> Option<(String, Option<u16>)> {
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, port.parse().ok()),
        _ => (host, None),
    };
    (!name.is_empty()).then(|| (name.to_owned(), port))
}

/// Path and query that the format tells apart, as one text again.
fn apart(access: &Access<'_>) -> Option<String> {
    let mut url = text(access.path?).into_owned();
    url.extend(access.query.map(text));
    Some(url)
}

/// What follows the last dot of the last segment, if it looks like a file's ending.
fn extension(path: &str) -> Option<String> {
    let (_, extension) = path.rsplit('/').next()?.rsplit_once('.')?;
    let plain = (1..=10).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| extension.to_ascii_lowercase())
}

fn http<'a>(access: &Access<'a>) -> Option<Http<'a>> {
    let version = access.request.and_then(|r| r.version).map(text);
    let method = access.request.and_then(|r| r.method).map(text);
    let request = Some(HttpRequest { method, referrer: access.referer.map(text) });
    let response = Some(HttpResponse { status_code: access.status, body: access.bytes.map(|bytes| Bytes { bytes }) });
    let request = request.filter(|told| *told != HttpRequest::default());
    let response = response.filter(|told| *told != HttpResponse::default());
    let tells = version.is_some() || request.is_some() || response.is_some();
    tells.then_some(Http { version, request, response })
}

/// What an error log tells of the request.
fn asked_from(referer: &[u8]) -> Http<'_> {
    let request = HttpRequest { method: None, referrer: Some(text(referer)) };
    Http { version: None, request: Some(request), response: None }
}

fn cloud(cloud: &Cloud) -> CloudFields<'_> {
    CloudFields {
        provider: &cloud.provider,
        region: cloud.region.as_deref(),
        availability_zone: cloud.availability_zone.as_deref(),
        account: cloud.account_id.as_deref().map(|id| Id { id }),
        instance: cloud.instance_id.as_deref().map(|id| Id { id }),
        machine: cloud.machine_type.as_deref().map(|kind| Machine { kind }),
    }
}

fn other_cloud(cloud: &Cloud) -> Option<OtherCloud<'_>> {
    let other = OtherCloud { image_id: cloud.image_id.as_deref(), vpc_id: cloud.vpc_id.as_deref() };
    (other.image_id.is_some() || other.vpc_id.is_some()).then_some(other)
}

fn container(container: &Container) -> ContainerFields<'_> {
    ContainerFields { id: &container.id, name: container.name.as_deref(), labels: labels(&container.labels) }
}

/// The tags of a machine, or what Docker is told to say of a container. ECS keeps `labels`
/// for keys and values of the user's own, flat and as text: `tags` is a list of words
/// there, and has no room for values.
fn labels(given: &BTreeMap<String, String>) -> BTreeMap<Cow<'_, str>, &str> {
    given.iter().map(|(key, value)| (flat(key), value.as_str())).collect()
}

/// A key as an index takes it. A dot is a step into an object there, and a document is
/// refused where `team` is a text and `team.name` stands beside it; so dots become `_`. A
/// key without a name is refused, too.
fn flat(key: &str) -> Cow<'_, str> {
    match key {
        _ if key.trim().is_empty() => Cow::Borrowed("_"),
        _ if key.contains('.') => Cow::Owned(key.replace('.', "_")),
        _ => Cow::Borrowed(key),
    }
}

/// The beginning of a text that stands in a map: OpenSearch keeps key and value as one term
/// of at most 32,766 bytes, and refuses the document of a longer one. The whole text
/// stands in `event.original`.
fn beginning(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..text.floor_char_boundary(MAP_TEXT_BYTES_MAX)]),
        Cow::Owned(mut text) => {
            text.truncate(text.floor_char_boundary(MAP_TEXT_BYTES_MAX));
            Cow::Owned(text)
        }
    }
}

fn other_fields<'a>(parsed: &Parsed<'a>) -> BTreeMap<Cow<'a, str>, Cow<'a, str>> {
    let fields = |others: &[(&'a str, &'a [u8])]| {
        others.iter().map(|(name, value)| (flat(name), beginning(text(value)))).collect()
    };
    match parsed {
        Parsed::Access(access) => fields(&access.others),
        Parsed::Error(error) => {
            let mut out: BTreeMap<_, _> = fields(&error.others);
            out.extend(error.status.map(|status| (Cow::Borrowed("%E"), beginning(text(status)))));
            out.extend(error.before.map(|before| (Cow::Borrowed("before"), beginning(text(before)))));
            out
        }
        Parsed::TailHeader(_) | Parsed::Odd(_) => BTreeMap::new(),
    }
}

/// The rules that matched; and of each request by which rules it was judged.
fn rule(event: &Event, is_request: bool) -> Option<Rule<'_>> {
    let (attack, ruleset) = (event.attack.as_ref(), &*event.origin.ruleset);
    let findings = attack.map_or(&[][..], |attack| &attack.findings);
    let was_judged = attack.is_some() || is_request && !ruleset.is_empty();
    was_judged.then(|| Rule {
        id: findings.iter().map(|finding| finding.rule.as_str()).collect(),
        category: attack.map(Attack::categories).unwrap_or_default(),
        ruleset,
    })
}

fn threat_of(all: Vec<String>) -> Technique {
    let mut id: Vec<String> = Vec::new();
    for technique in all.iter().map(|id| id.split('.').next().unwrap_or(id)) {
        if !id.iter().any(|known| known == technique) {
            id.push(technique.to_owned());
        }
    }
    let sub: Vec<_> = all.into_iter().filter(|id| id.contains('.')).collect();
    let subtechnique = (!sub.is_empty()).then_some(Subtechnique { id: sub });
    Technique { id, subtechnique }
}

/// What a line is suspected of, by its own findings and by what other lines tell.
struct Suspicion<'a> {
    categories: Vec<Category>,
    /// Those of its findings, and of categories that only other lines tell.
    names: Names,
    score: u8,
    confidence: Confidence,
    severity: Severity,
    findings: &'a [Finding],
    outcome: Outcome,
    reason: Cow<'a, str>,
}

/// The score of a line that only others make suspect.
const CONTEXT_SCORE: u8 = 60;

impl<'a> Suspicion<'a> {
    fn of(event: &'a Event, access: Option<&Access<'_>>) -> Option<Suspicion<'a>> {
        let (attack, context) = (event.attack.as_ref(), event.context.as_deref());
        let mut categories = attack.map(Attack::categories).unwrap_or_default();
        for category in context.iter().flat_map(|context| &context.categories) {
            if !categories.contains(category) {
                categories.push(*category);
            }
        }
        if categories.is_empty() {
            return None;
        }
        let findings = attack.map_or(&[][..], |attack| &attack.findings);
        let (outcome, reason) = match (context.and_then(|context| context.outcome.as_ref()), access) {
            (Some((outcome, reason)), _) => (*outcome, Cow::Borrowed(reason.as_str())),
            (None, Some(access)) if attack.is_some() => {
                let (outcome, reason) = outcome_of_findings(findings, access);
                (outcome, Cow::Owned(reason))
            }
            (None, _) => (Outcome::Unknown, Cow::Borrowed("")),
        };
        let is_found = |category: &Category| findings.iter().any(|finding| finding.category == *category);
        let mut names = Names::default();
        findings.iter().for_each(|finding| names.add(finding.all_names()));
        categories.iter().filter(|one| !is_found(one)).for_each(|one| names.add(Names::of(*one)));
        Some(Suspicion {
            names,
            score: attack.map_or(CONTEXT_SCORE, |attack| attack.score),
            confidence: attack.map_or(Confidence::Medium, Attack::confidence),
            severity: categories.iter().map(|category| category.severity()).max().unwrap_or(Severity::Low),
            categories,
            findings,
            outcome,
            reason,
        })
    }
}

fn attack_fields<'a>(suspicion: &Suspicion<'a>) -> AttackFields<'a> {
    AttackFields {
        categories: suspicion.categories.clone(),
        score: suspicion.score,
        confidence: suspicion.confidence,
        severity: suspicion.severity,
        outcome: suspicion.outcome,
        outcome_reason: suspicion.reason.clone(),
        capec: suspicion.names.capec.clone(),
        cwe: suspicion.names.cwe.clone(),
        findings: suspicion.findings,
    }
}

fn odd(parsed: &Parsed<'_>) -> Option<ErrorFields<'static>> {
    match parsed {
        Parsed::Odd(odd) => Some(ErrorFields::message(odd.to_string())),
        _ => None,
    }
}

fn related<'a>(event: &Event, parsed: &Parsed<'a>) -> Option<Related<'a>> {
    let ips: Vec<IpAddr> = event.client.into_iter().chain(parsed.client_ip()).collect();
    let ip = (!ips.is_empty()).then_some(ips);
    let user = parsed.access().and_then(|access| access.user).map(|name| [user(name)]);
    (ip.is_some() || user.is_some()).then_some(Related { ip, user })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Classifier;
    use crate::format::Format;
    use crate::id::HostKey;
    use crate::line::{Origin, day_of};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn event(line: &[u8]) -> Event {
        let path = "/var/log/apache2/access.log";
        let life = HostKey::derive("4a5b").life(path, line);
        let host = Host { id: "4a5b".into(), name: "web-1".into() };
        let origin = Origin { agent: "0.1.0".into(), ..Origin::new(host, path, life, Format::Auto) };
        let parsed = Format::Auto.parse(line);
        let time = parsed.time().map_or(7, |time| time.at);
        Event { day: day_of(&parsed, None), ..Event::new(Arc::new(origin), 9, line.to_vec(), time) }
    }

    fn body(document: &Document) -> Value {
        serde_json::from_slice(&document.body).unwrap()
    }

    #[test]
    fn a_request_tells_by_which_rules_it_was_judged_whether_they_found_anything_or_not() {
        let told = |line: &[u8], ruleset: &str| {
            let mut event = event(line);
            Arc::make_mut(&mut event.origin).ruleset = ruleset.into();
            body(&Document::of(&event))["rule"].clone()
        };
        let request = br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 5 "-" "-""#;
        assert_eq!(told(request, "2026.11.1"), json!({"ruleset": "2026.11.1"}));
        assert_eq!(told(request, ""), Value::Null, "whoever sent it judged nothing");
        let error =
            b"[Mon Nov 16 08:00:25.123456 2026] [core:error] [pid 7] [client 192.0.2.7:40000] AH00126: Invalid URI";
        assert_eq!(told(error, "2026.11.1"), Value::Null, "what is no request is not judged");
    }

    #[test]
    fn a_request_is_told_in_ecs_fields() {
        let line = br#"dev.lab:80 192.0.2.7 - bob [16/Nov/2026:08:00:25 +0000] "GET /dl/a.PHP?x=%27 HTTP/1.1" 404 512 "-" "a\"b\xc3\xa9""#;
        let document = Document::of(&event(line));
        let expected = json!({
            "@timestamp": "2026-11-16T08:00:25.000Z",
            "ecs": {"version": "8.11.0"},
            "event": {
                "id": document.id, "kind": "event", "category": ["web"], "type": ["access"], "module": "apache",
                "dataset": "apache.access", "outcome": "failure", "original": String::from_utf8_lossy(line),
            },
            "source": {"address": "192.0.2.7", "ip": "192.0.2.7"},
            "user": {"name": "bob"},
            "url": {"original": "/dl/a.PHP?x=%27", "domain": "dev.lab", "port": 80, "path": "/dl/a.PHP", "query": "x=%27", "extension": "php", "registered_domain": "dev.lab", "top_level_domain": "lab"},
            "http": {"version": "1.1", "request": {"method": "GET"}, "response": {"status_code": 404, "body": {"bytes": 512}}},
            "user_agent": {"original": "a\"bé"},
            "host": {"id": "4a5b", "name": "web-1"},
            "log": {"file": {"path": "/var/log/apache2/access.log"}},
            "agent": {"type": "twosec-agent", "version": "0.1.0"},
            "related": {"ip": ["192.0.2.7"], "user": ["bob"]},
            "twosec": {"life": event(line).origin.life, "offset": 9, "source": {"class": "documentation"}},
        });
        assert_eq!(body(&document), expected);
    }

    #[test]
    fn where_a_host_stands_is_told_in_cloud_and_labels() {
        let mut event = event(b"x");
        let tags = [("team", "shop"), ("team.name", "a.b"), ("aws:x", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let id = |text: &str| Some(text.to_owned());
        Arc::get_mut(&mut event.origin).unwrap().cloud = Some(Cloud {
            provider: "aws".into(),
            region: id("eu-central-1"),
            availability_zone: id("eu-central-1b"),
            account_id: id("123456789012"),
            instance_id: id("i-0123"),
            machine_type: id("c7g.large"),
            vpc_id: id("vpc-0fed"),
            image_id: id("ami-0abc"),
            tags: tags.into(),
        });
        let body = body(&Document::of(&event));
        let expected = json!({
            "provider": "aws", "region": "eu-central-1", "availability_zone": "eu-central-1b",
            "account": {"id": "123456789012"}, "instance": {"id": "i-0123"}, "machine": {"type": "c7g.large"},
        });
        assert_eq!(body["cloud"], expected);
        assert_eq!(body["twosec"]["cloud"], json!({"image_id": "ami-0abc", "vpc_id": "vpc-0fed"}));
        assert_eq!(body["labels"], json!({"team": "shop", "team_name": "a.b", "aws:x": ""}));
    }

    #[test]
    fn what_is_known_of_client_domain_and_browser_is_told() {
        let line = br#"WWW.Shop.example.co.uk:443 10.0.0.1 - - [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1""#;
        let system = AutonomousSystem { number: Some(64_500), ..AutonomousSystem::default() };
        let place = Place { city_name: Some("London".into()), ..Place::default() };
        let geo = crate::geo::Geo { place: Some(place), system: Some(system) };
        let source = Arc::new(crate::geo::SourceFacts { geo, provider: Some("Example Cloud".into()) });
        let client = Some([192, 0, 2, 7].into());
        let body = body(&Document::of(&Event { client, source: Some(source), ..event(line) }));
        let expected = json!({
            "address": "192.0.2.7", "ip": "192.0.2.7", "geo": {"city_name": "London"}, "as": {"number": 64_500},
        });
        assert_eq!(body["source"], expected);
        let expected = json!({"class": "documentation", "provider": "Example Cloud", "peer": "10.0.0.1"});
        assert_eq!(body["twosec"]["source"], expected);
        assert_eq!(body["related"]["ip"], json!(["192.0.2.7", "10.0.0.1"]));
        let agent = &body["user_agent"];
        assert_eq!((&agent["name"], &agent["version"]), (&json!("Mobile Safari"), &json!("17.6")));
        assert_eq!(
            (&agent["os"], &agent["device"]),
            (&json!({"name": "iOS", "version": "17.6"}), &json!({"name": "iPhone"}))
        );
        let url = &body["url"];
        let parts = [&url["registered_domain"], &url["top_level_domain"], &url["subdomain"]];
        assert_eq!(parts, [&json!("example.co.uk"), &json!("co.uk"), &json!("www.shop")]);
    }

    #[test]
    fn an_odd_line_is_a_document_with_a_reason() {
        let document = Document::of(&event(b"\xffhello"));
        let body = body(&document);
        assert_eq!(body["event"]["kind"], "pipeline_error");
        assert_eq!(body["event"]["original"], "\u{fffd}hello");
        assert_eq!(body["error"]["message"], "no `[day/month/year:time zone] \"` was found");
        assert_eq!(body["@timestamp"], "1970-01-01T00:00:00.007Z");
    }

    #[test]
    fn a_line_of_an_error_log_is_told_in_ecs_fields() {
        let line = br#"[Mon Nov 23 01:49:33.005699 2026] [php:error] [pid 788:tid 789] [client 67.43.156.143:26325] PHP Fatal error:  Uncaught E: \"x in /a.php:2\nStack trace:\n#0 {main}\n  thrown in /a.php on line 2, referer: http://dev.lab/?token=REDACTED-0123456789ab"#;
        let document = Document::of(&event(line));
        let message =
            "PHP Fatal error:  Uncaught E: \"x in /a.php:2\nStack trace:\n#0 {main}\n  thrown in /a.php on line 2";
        let expected = json!({
            "@timestamp": "2026-11-23T01:49:33.005Z",
            "ecs": {"version": "8.11.0"},
            "message": message,
            "event": {
                "id": document.id, "kind": "event", "category": ["web"], "type": ["error"], "module": "apache",
                "dataset": "apache.error", "original": String::from_utf8_lossy(line),
            },
            "source": {"address": "67.43.156.143", "ip": "67.43.156.143", "port": 26325},
            "http": {"request": {"referrer": "http://dev.lab/?token=REDACTED-0123456789ab"}},
            "host": {"id": "4a5b", "name": "web-1"},
            "log": {
                "file": {"path": "/var/log/apache2/access.log"}, "level": "error", "logger": "php",
                "origin": {"file": {"name": "/a.php", "line": 2}},
            },
            "process": {"pid": 788, "thread": {"id": 789}},
            "agent": {"type": "twosec-agent", "version": "0.1.0"},
            "error": {
                "type": "PHP Fatal error", "message": message,
                "stack_trace": "#0 {main}\n  thrown in /a.php on line 2",
            },
            "related": {"ip": ["67.43.156.143"]},
            "twosec": {"life": event(line).origin.life, "offset": 9, "redacted": ["token=0123456789ab"], "source": {"class": "public"}},
        });
        assert_eq!(body(&document), expected);
    }

    #[test]
    fn what_is_masked_is_nowhere_in_the_document() {
        let line = br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?password=letmein HTTP/1.1" 200 5 "-" "-""#;
        let mut event = event(line);
        let plain = Document::of(&event);
        event.masks = redact::Redactor::new(redact::KEYS, [7; 32]).masks(&event.line, &event.parsed());
        let document = Document::of(&event);
        assert_eq!(document.id, plain.id);
        assert!(!String::from_utf8_lossy(&document.body).contains("letmein"));
        assert_eq!(body(&document)["url"]["query"], format!("password={}", event.masks[0].with));
    }

    #[test]
    fn lost_bytes_are_a_document_of_their_own() {
        let mut gap = event(b"");
        (gap.length, gap.gap) = (21, Some("the file was deleted".into()));
        let document = Document::of(&gap);
        let told = &body(&document)["twosec"]["gap"];
        assert_eq!(told, &json!({"from": 9, "to": 30, "reason": "the file was deleted"}));
        let message = "bytes 9 to 30 of this log were lost before they were read: the file was deleted";
        assert_eq!(body(&document)["error"]["message"], message);
        assert_ne!(document.id, Document::of(&event(b"odd line of 21 bytes.")).id);
        gap.offset = u64::MAX;
        assert_eq!(body(&Document::of(&gap))["twosec"]["gap"]["to"], u64::MAX, "somebody's joke");
    }

    #[test]
    fn a_target_with_a_host_names_it_without_its_port() {
        let url = |request: &str| {
            let line =
                format!(r#"dev.lab:80 192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "{request} HTTP/1.1" 200 5 "-" "-""#);
            body(&Document::of(&event(line.as_bytes())))["url"].take()
        };
        for (request, expected) in [
            (
                "GET http://evil.example:81?q",
                json!({"original": "http://evil.example:81?q", "scheme": "http", "domain": "evil.example", "port": 81, "query": "q", "registered_domain": "evil.example", "top_level_domain": "example"}),
            ),
            (
                "GET https://a:b@[2001:db8::1]/x",
                json!({"original": "https://a:b@[2001:db8::1]/x", "scheme": "https", "domain": "[2001:db8::1]", "path": "/x"}),
            ),
            (
                "GET http://evil.example:99999/",
                json!({"original": "http://evil.example:99999/", "scheme": "http", "domain": "evil.example", "path": "/", "registered_domain": "evil.example", "top_level_domain": "example"}),
            ),
            (
                "CONNECT evil.example:443",
                json!({"original": "evil.example:443", "domain": "evil.example", "port": 443, "registered_domain": "evil.example", "top_level_domain": "example"}),
            ),
            (
                "CONNECT /x",
                json!({"original": "/x", "domain": "dev.lab", "port": 80, "path": "/x", "registered_domain": "dev.lab", "top_level_domain": "lab"}),
            ),
            (
                "GET http:///x",
                json!({"original": "http:///x", "scheme": "http", "domain": "dev.lab", "port": 80, "path": "/x", "registered_domain": "dev.lab", "top_level_domain": "lab"}),
            ),
        ] {
            assert_eq!(url(request), expected, "{request}");
        }
    }

    #[test]
    fn what_a_line_does_not_tell_of_a_request_leaves_no_empty_object() {
        let line = br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "\x16\x03\x01" 400 226 "-" "-""#;
        let http = &body(&Document::of(&event(line)))["http"];
        assert_eq!(http, &json!({"response": {"status_code": 400, "body": {"bytes": 226}}}));
        let mut bare = event(b"192.0.2.7 [16/Nov/2026:08:00:25 +0000]");
        Arc::get_mut(&mut bare.origin).unwrap().format = "%h %t".parse().unwrap();
        assert_eq!(body(&Document::of(&bare)).get("http"), None);
    }

    #[test]
    fn labels_of_a_container_are_flat() {
        let mut event = event(b"x");
        let labels = [("com.docker.compose.project", "dvwa"), ("tag", "a.b"), ("", "c")];
        Arc::get_mut(&mut event.origin).unwrap().container = Some(Container {
            id: "c0ffee".into(),
            name: None,
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        });
        let expected =
            json!({"id": "c0ffee", "labels": {"com_docker_compose_project": "dvwa", "tag": "a.b", "_": "c"}});
        assert_eq!(body(&Document::of(&event))["container"], expected);
    }

    #[test]
    fn a_long_text_in_a_map_is_told_by_its_beginning() {
        let long = "é".repeat(20_000);
        let line = format!(
            "[Mon Nov 23 01:49:33.005699 2026] [security2:error] [pid 788:tid 789] ModSecurity: x [data \"{long}\"]"
        );
        let body = body(&Document::of(&event(line.as_bytes())));
        assert_eq!(body["twosec"]["modsecurity"]["data"], json!(["é".repeat(7_500)]));
        assert_eq!(body["event"]["original"], line);
    }

    #[test]
    fn a_subtechnique_stands_below_its_technique() {
        let line =
            br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?q=<script>alert(1)</script> HTTP/1.1" 200 5 "-" "-""#;
        let mut event = event(line);
        event.attack = event.parsed().access().and_then(|access| Classifier::embedded().classify(access));
        let body = body(&Document::of(&event));
        assert_eq!(
            body["threat"]["technique"],
            json!({"id": ["T1189", "T1059"], "subtechnique": {"id": ["T1059.007"]}})
        );
        assert_eq!(body["event"]["category"], json!(["web", "intrusion_detection"]));
        assert_eq!(body["event"]["type"], json!(["access", "info"]));
    }

    #[test]
    fn names_are_those_that_rules_tell_and_else_those_of_their_categories() {
        let line = br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?q=%3C!DOCTYPE+r+%5B%3C!ENTITY+e+SYSTEM+%22file:///a%22%3E%5D%3E HTTP/1.1" 200 5 "-" "-""#;
        let mut event = event(line);
        event.attack = event.parsed().access().and_then(|access| Classifier::embedded().classify(access));
        let context = crate::outcome::Context { categories: vec![Category::Bruteforce], ..Default::default() };
        event.context = Some(Box::new(context));
        let body = body(&Document::of(&event));
        let finding = &body["attack"]["findings"][0];
        assert_eq!(
            json!([finding["rule"], finding["technique"], finding["capec"], finding["cwe"]]),
            json!(["xxe-in-value", ["T1190"], [221], [611]])
        );
        let told = |pointer: &str| body.pointer(pointer).unwrap().as_array().unwrap().clone();
        assert!(told("/attack/cwe").contains(&json!(611)) && !told("/attack/cwe").contains(&json!(502)), "{body:#}");
        assert!(told("/attack/cwe").contains(&json!(307)), "{body:#}");
        assert!(told("/threat/technique/id").contains(&json!("T1110")), "{body:#}");
    }

    #[test]
    fn all_revisions_of_an_incident_are_one_document() {
        let incident = crate::incident::tests::incident();
        let document = Document::of(&Event { incident: Some(Box::new(incident.clone())), ..event(b"") });
        assert_eq!((document.id, document.revision, document.day), (incident.id, Some(4), None));
        let body = body(&document);
        assert_eq!(body["message"], incident.to_string());
        assert_eq!(body["attack"]["categories"], json!(["sqli", "lfi"]));
        assert_eq!(body["event"]["dataset"], "twosec.incidents");
        assert_eq!(body["twosec"]["incident"]["evidence"][0]["excerpt"], "1 union select 1,2");
        let names = IndexNames { prefix: "twosec".into(), period: IndexPeriod::Day, from: None, until: None };
        assert_eq!(names.of(&document), "twosec-incidents");
    }

    #[test]
    fn the_index_follows_from_the_lines_own_day() {
        let names = IndexNames {
            prefix: "twosec".into(),
            period: IndexPeriod::Day,
            from: Some(Day(20_000)),
            until: Some(Day(30_000)),
        };
        assert_eq!(names.name("2026-11-16".parse().ok()), "twosec-2026.11.16");
        assert_eq!(names.name(Some(Day(19_999))), "twosec-undated");
        assert_eq!(names.name(Some(Day(30_001))), "twosec-undated");
        assert_eq!(names.name(None), "twosec-undated");
        let by_the_month = IndexNames { period: IndexPeriod::Month, ..names };
        assert_eq!(by_the_month.name("2026-11-16".parse().ok()), "twosec-2026.11");
        assert_eq!(by_the_month.name(Some(Day(19_999))), "twosec-undated");
    }
}
