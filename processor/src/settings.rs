//! What an operator wrote, and what it means once it has been checked.
//!
//! Every setting also has an environment variable, because a Fargate task is configured
//! that way; the variable wins.

use crate::setup::Channel;
use event::classify::{Classifier, DropIn};
use event::document::{IndexNames, IndexPeriod};
use event::redaction::KEY_BYTES;
use event::time::{DAY_MILLIS, parse_rfc3339_offset};
use event::{Day, Format, Millis, RedactSettings, Redaction, Zone};
use serde::Deserialize;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

/// What index names begin with unless a user says otherwise.
const INDEX_PREFIX: &str = "twosec";

/// Who asks for health stands in the same container.
const HTTP_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9465);

/// `processor.toml`, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of the Kinesis data stream. `TWOSEC_STREAM`
    pub stream: Option<String>,
    /// DynamoDB table for leases. `TWOSEC_LEASE_TABLE`
    pub lease_table: Option<String>,
    /// S3 bucket for the archive. `TWOSEC_BUCKET`
    pub bucket: Option<String>,
    /// Such as `https://search-x.eu-central-1.es.amazonaws.com`. `TWOSEC_OPENSEARCH_URL`
    pub opensearch_url: Option<String>,
    /// `sigv4` (default), `basic` or `none`. `TWOSEC_OPENSEARCH_AUTH`
    pub opensearch_auth: Option<String>,
    /// For `basic`. `TWOSEC_OPENSEARCH_USER`
    pub opensearch_user: Option<String>,
    /// For `basic`. `TWOSEC_OPENSEARCH_PASSWORD`
    pub opensearch_password: Option<String>,
    /// A file of certificate authorities, as PEM, that are trusted beside those of the system.
    /// `TWOSEC_OPENSEARCH_CA_FILE`
    pub opensearch_ca_file: Option<String>,
    /// OpenSearch Dashboards, where `setup` puts dashboards; it is called as OpenSearch is. Such
    /// as `https://search-x.eu-central-1.es.amazonaws.com/_dashboards`. `TWOSEC_DASHBOARDS_URL`
    pub dashboards_url: Option<String>,
    /// Who is told of an attack that likely worked, and of silence, by monitors that `setup` puts:
    /// the address of a webhook, the ARN of an SNS topic, or the id of a channel that is there.
    /// `TWOSEC_ALERTS_TO`
    pub alerts_to: Option<String>,
    /// The IAM role with which the domain may publish to that topic. `TWOSEC_ALERTS_ROLE`
    pub alerts_role: Option<String>,
    /// What index names begin with; default `twosec`. `TWOSEC_INDEX_PREFIX`
    pub index_prefix: Option<String>,
    /// `day` (default), or `month` for fewer shards where there are few lines. A line that comes
    /// again after a change is indexed again, so change it together with `index_prefix`.
    /// `TWOSEC_INDEX_PERIOD`
    pub index_period: Option<String>,
    /// First day that has an index of its own, such as `2020-01-01`. `TWOSEC_INDEX_FROM`
    pub index_from: Option<String>,
    /// Last such day. `TWOSEC_INDEX_UNTIL`
    pub index_until: Option<String>,
    /// Where a new stream is begun: `TRIM_HORIZON` (default), `LATEST`, or a time of RFC 3339. `TWOSEC_START`
    pub start: Option<String>,
    /// Reads by enhanced fan-out as the stream's consumer of this name, which is registered where
    /// it is missing: 2 MB/s a shard that no other reader shares, at AWS's price for it. Default:
    /// GetRecords, which costs nothing. `TWOSEC_FAN_OUT_CONSUMER`
    pub fan_out_consumer: Option<String>,
    /// Age at which an archive object is closed; default 60. `TWOSEC_WINDOW_SECONDS`
    pub window_seconds: Option<String>,
    /// After this long without a sign of life another process takes a shard over; default
    /// 10 (KCL's failoverTimeMillis). `TWOSEC_FAILOVER_SECONDS`
    pub failover_seconds: Option<String>,
    /// MiB that pages, open records, windows and requests of all shards may take together; the program
    /// itself takes some 15 beside. Default 32. `TWOSEC_MEMORY_MIB`
    pub memory_mib: Option<String>,
    /// Requests to OpenSearch that may be under way at once; fewer are where it is overloaded.
    /// Default 4. `TWOSEC_BULKS_MAX`
    pub bulks_max: Option<String>,
    /// Where `/healthz`, `/readyz` and `/metrics` are answered; default 127.0.0.1:9465; nowhere
    /// where it is `off`. `TWOSEC_HTTP_LISTEN`
    pub http_listen: Option<String>,
    /// `true` to write metrics for CloudWatch to standard output each minute; default `false`.
    /// `TWOSEC_EMF`
    pub emf: Option<String>,
    /// How lines of other producers are written: a name or a LogFormat, as in the agent's
    /// configuration; default `auto`. `TWOSEC_FOREIGN_FORMAT`
    pub foreign_format: Option<String>,
    /// The zone of their times that tell none, as POSIX writes it; default `UTC`.
    /// `TWOSEC_FOREIGN_TIMEZONE`
    pub foreign_timezone: Option<String>,
    /// How old they may be when they arrive; those that say more are taken for lines of the
    /// day of arrival; default 14. `TWOSEC_FOREIGN_MAX_AGE_DAYS`
    pub foreign_max_age_days: Option<String>,
    /// Keys whose values are masked in lines of other producers, with commas between; nothing
    /// is masked where it is empty. The default is the agent's. `TWOSEC_REDACT_KEYS`
    pub redact_keys: Option<String>,
    /// 64 hex digits that make the masks. Whoever has them can try out passwords, so they
    /// belong into a secret store. Without them each start of the process draws its own, and
    /// equal secrets have equal masks only within one start. `TWOSEC_REDACT_KEY`
    pub redact_key: Option<String>,
    /// `true` (default), or `false` to keep the originals in the archive.
    /// `TWOSEC_REDACT_ARCHIVE`
    pub redact_archive: Option<String>,
    /// `true` to shorten clients' addresses to their networks; default `false`.
    /// `TWOSEC_REDACT_SHORTEN_ADDRESSES`
    pub redact_shorten_addresses: Option<String>,
    /// Rules of your own for lines of other producers: what would stand in one of the agent's
    /// drop-in files. `TWOSEC_RULES`
    pub rules: Option<String>,
}

/// Checked settings of the pipeline. Past here nobody checks again.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the stream: part of the archive's keys.
    pub stream: String,
    pub index: IndexNames,
    /// Where a shard that has no row yet is begun.
    pub start: StartAt,
    /// Name of the consumer that shards are read as, if by enhanced fan-out.
    pub fan_out_consumer: Option<String>,
    /// Packed bytes at which an archive object is closed.
    pub window_bytes: usize,
    /// Age at which it is closed.
    pub window_age: Duration,
    /// How long a document may be in the index without being searchable.
    pub flush_every: Duration,
    /// After this long without renewal a lease may be taken by others.
    pub failover: Duration,
    /// What open records, windows and requests of all shards may take together.
    pub memory_bytes: usize,
    /// Requests to the index that may be under way at once.
    pub bulks_max: usize,
    /// How long reading waits for an index that does not keep up, before that follows the archive.
    pub index_patience: Duration,
    /// Where health and metrics are told.
    pub http_listen: Option<SocketAddr>,
    /// Whether metrics are written for CloudWatch.
    pub emf: bool,
    /// This process, in lease rows: unique to one start.
    pub worker: String,
    /// How lines of other producers are read.
    pub foreign: ForeignSettings,
    /// What is masked in them.
    pub redact: RedactSettings,
    /// What makes the masks; `None` is a key of this process alone.
    pub redact_key: Option<RedactKey>,
    pub rules: Rules,
}

/// The rules that lines of other producers are judged by. They are made when they are needed
/// for the first time: most streams hold frames alone, whose agents have judged them.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    own: Option<String>,
    made: Arc<OnceLock<Arc<Classifier>>>,
}

impl Rules {
    /// Our rules, and what stands in a drop-in file of the user's.
    pub fn with(own: Option<String>) -> Rules {
        Rules { own, made: Arc::default() }
    }

    /// The rules. What of the user's is not used is told in the log, once.
    pub fn classifier(&self) -> &Arc<Classifier> {
        self.made.get_or_init(|| {
            let file = |text: &String| DropIn { name: "TWOSEC_RULES".to_owned(), text: text.clone() };
            let (classifier, refused) = Classifier::with_drop_ins(self.own.as_ref().map(file).as_slice());
            refused.iter().for_each(|refused| tracing::error!(reason = %refused, "a rule is not used"));
            Arc::new(classifier)
        })
    }

    /// Makes them now if they hold any of the user's, so that what is wrong is told at the start.
    pub fn prepare(&self) {
        if self.own.is_some() {
            self.classifier();
        }
    }
}

/// How lines are read that no agent of ours has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignSettings {
    pub format: Format,
    /// The zone of times that tell none.
    pub timezone: Zone,
    /// How long before its record's arrival a line may say that it was written.
    pub max_age: Millis,
}

impl Default for ForeignSettings {
    fn default() -> ForeignSettings {
        ForeignSettings { format: Format::Auto, timezone: Zone::UTC, max_age: 14 * DAY_MILLIS }
    }
}

/// The key of the masks. It is a secret and not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RedactKey(pub [u8; KEY_BYTES]);

impl std::fmt::Debug for RedactKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedactKey(..)")
    }
}

/// The key of a process that was given none.
static PROCESS_KEY: LazyLock<RedactKey> = LazyLock::new(|| {
    let mut key = [0; KEY_BYTES];
    let random = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut key));
    random.expect("Linux has /dev/urandom");
    RedactKey(key)
});

/// Where reading a new shard begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    TrimHorizon,
    /// `LATEST` is frozen to the time of the first start, which rows tell from then on: what comes in
    /// between a crash and the first checkpoint is not skipped. This is the time of this start.
    Latest(Millis),
    AtTimestamp(Millis),
}

/// The services that a processor on AWS uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub lease_table: String,
    pub bucket: String,
    pub opensearch: Search,
}

/// An OpenSearch domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    pub url: String,
    pub auth: Auth,
    /// Certificate authorities that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
}

/// How the processor shows OpenSearch who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    None,
    Basic {
        user: String,
        password: String,
    },
    /// With the task's role.
    SigV4,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Auth::None => "none",
            Auth::Basic { .. } => "basic",
            Auth::SigV4 => "sigv4",
        })
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the configuration `{}` is not valid", .path.display())]
    Syntax {
        path: PathBuf,
        #[source]
        cause: toml::de::Error,
    },
    #[error("`{key}` is missing: set it in the configuration, or {variable} in the environment")]
    Missing { key: &'static str, variable: String },
    #[error("`{key}` is `{value}`: {instead}")]
    Value { key: &'static str, value: String, instead: String },
}

impl Config {
    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        toml::from_str(&text).map_err(|cause| ConfigError::Syntax { path: path.to_owned(), cause })
    }

    /// Lets environment variables win. `variable` looks one up.
    pub fn overlay(mut self, variable: impl Fn(&str) -> Option<String>) -> Config {
        for (key, value) in self.entries() {
            if let Some(given) = variable(&variable_of(key)) {
                *value = Some(given);
            }
        }
        self
    }

    fn entries(&mut self) -> [(&'static str, &mut Option<String>); 31] {
        [
            ("stream", &mut self.stream),
            ("lease_table", &mut self.lease_table),
            ("bucket", &mut self.bucket),
            ("opensearch_url", &mut self.opensearch_url),
            ("opensearch_auth", &mut self.opensearch_auth),
            ("opensearch_user", &mut self.opensearch_user),
            ("opensearch_password", &mut self.opensearch_password),
            ("opensearch_ca_file", &mut self.opensearch_ca_file),
            ("dashboards_url", &mut self.dashboards_url),
            ("alerts_to", &mut self.alerts_to),
            ("alerts_role", &mut self.alerts_role),
            ("index_prefix", &mut self.index_prefix),
            ("index_period", &mut self.index_period),
            ("index_from", &mut self.index_from),
            ("index_until", &mut self.index_until),
            ("start", &mut self.start),
            ("fan_out_consumer", &mut self.fan_out_consumer),
            ("window_seconds", &mut self.window_seconds),
            ("failover_seconds", &mut self.failover_seconds),
            ("memory_mib", &mut self.memory_mib),
            ("bulks_max", &mut self.bulks_max),
            ("http_listen", &mut self.http_listen),
            ("emf", &mut self.emf),
            ("foreign_format", &mut self.foreign_format),
            ("foreign_timezone", &mut self.foreign_timezone),
            ("foreign_max_age_days", &mut self.foreign_max_age_days),
            ("redact_keys", &mut self.redact_keys),
            ("redact_key", &mut self.redact_key),
            ("redact_archive", &mut self.redact_archive),
            ("redact_shorten_addresses", &mut self.redact_shorten_addresses),
            ("rules", &mut self.rules),
        ]
    }

    /// Our rules and the user's.
    pub fn own_rules(&self) -> Rules {
        Rules::with(self.rules.clone())
    }

    /// Checks what was written, and says what to write instead. `now` freezes `LATEST`.
    pub fn check(&self, worker: String, now: Millis) -> Result<(Settings, Places), ConfigError> {
        let mut settings = Settings::new(&needed("stream", &self.stream)?, worker);
        settings.index = self.index_names()?;
        settings.start = start(&self.start, now)?;
        settings.fan_out_consumer = consumer(&self.fan_out_consumer)?;
        if let Some(seconds) = &self.window_seconds {
            settings.window_age = whole_seconds("window_seconds", seconds, 900)?;
        }
        if let Some(seconds) = &self.failover_seconds {
            settings.failover = whole_seconds("failover_seconds", seconds, 300)?;
        }
        if let Some(mib) = &self.memory_mib {
            settings.memory_bytes = whole("memory_mib", mib, 16..=65_536)? << 20;
        }
        if let Some(bulks) = &self.bulks_max {
            settings.bulks_max = whole("bulks_max", bulks, 1..=64)?;
        }
        settings.http_listen = self.http_listen()?;
        settings.emf = yes_or_no("emf", &self.emf, settings.emf)?;
        settings.foreign = self.foreign()?;
        settings.redact = self.redact()?;
        settings.rules = self.own_rules();
        settings.redact_key = self.redact_key.as_deref().map(redact_key).transpose()?;
        let places =
            Places { lease_table: self.lease_table()?, bucket: self.bucket()?, opensearch: self.opensearch()? };
        Ok((settings, places))
    }

    /// The stream's name.
    pub fn stream(&self) -> Result<String, ConfigError> {
        needed("stream", &self.stream)
    }

    /// The table for leases.
    pub fn lease_table(&self) -> Result<String, ConfigError> {
        needed("lease_table", &self.lease_table)
    }

    /// The archive's bucket.
    pub fn bucket(&self) -> Result<String, ConfigError> {
        needed("bucket", &self.bucket)
    }

    /// Where OpenSearch is, and as whom it is called.
    pub fn opensearch(&self) -> Result<Search, ConfigError> {
        self.called_at(url("opensearch_url", &needed("opensearch_url", &self.opensearch_url)?)?)
    }

    /// Where Dashboards is, if anywhere. It takes the names and signatures that OpenSearch takes.
    pub fn dashboards(&self) -> Result<Option<Search>, ConfigError> {
        let given = self.dashboards_url.as_ref().filter(|url| !url.is_empty());
        given.map(|given| self.called_at(url("dashboards_url", given)?)).transpose()
    }

    /// Who is told, if anybody. The refusal does not repeat an address, which may be a secret.
    pub fn alerts(&self) -> Result<Option<Channel>, ConfigError> {
        let Some(to) = self.alerts_to.as_ref().filter(|to| !to.is_empty()) else {
            return Ok(None);
        };
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let instead = "begin it with https:// or arn:aws:sns:, or write the id of a channel";
        match to {
            slack if slack.starts_with("https://hooks.slack.com/") => Ok(Some(Channel::Slack(slack.clone()))),
            webhook if webhook.starts_with("https://") => Ok(Some(Channel::Webhook(webhook.clone()))),
            topic if topic.starts_with("arn:") && topic.contains(":sns:") => {
                let role = self.alerts_role.clone().filter(|role| !role.is_empty());
                Ok(Some(Channel::Sns { topic: topic.clone(), role }))
            }
            id if id.bytes().all(is_id) => Ok(Some(Channel::Known(id.clone()))),
            _ => Err(refused("alerts_to", "...", instead)),
        }
    }

    fn called_at(&self, url: String) -> Result<Search, ConfigError> {
        let ca_file = self.opensearch_ca_file.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Search { url, auth: self.auth()?, ca_file })
    }

    /// Where health and metrics are told, if anywhere.
    pub fn http_listen(&self) -> Result<Option<SocketAddr>, ConfigError> {
        let refuse = |text: &str| refused("http_listen", text, "write an IP address and a port, or off");
        match self.http_listen.as_deref() {
            Some("off") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| refuse(text)),
            None => Ok(Some(HTTP_LISTEN)),
        }
    }

    /// How indices are named.
    pub fn index_names(&self) -> Result<IndexNames, ConfigError> {
        let (from, until) = (day("index_from", &self.index_from)?, day("index_until", &self.index_until)?);
        Ok(IndexNames { prefix: self.prefix()?, period: self.index_period()?, from, until })
    }

    /// What index names begin with.
    pub fn prefix(&self) -> Result<String, ConfigError> {
        index_prefix(self.index_prefix.as_deref().unwrap_or(INDEX_PREFIX))
    }

    /// How long lines go into one index.
    pub fn index_period(&self) -> Result<IndexPeriod, ConfigError> {
        match self.index_period.as_deref() {
            None | Some("day") => Ok(IndexPeriod::Day),
            Some("month") => Ok(IndexPeriod::Month),
            Some(other) => Err(refused("index_period", other, "use day or month")),
        }
    }

    fn foreign(&self) -> Result<ForeignSettings, ConfigError> {
        let mut foreign = ForeignSettings::default();
        if let Some(written) = &self.foreign_format {
            foreign.format = written.parse().map_err(|why| not_valid("foreign_format", written, &why))?;
        }
        if let Some(written) = &self.foreign_timezone {
            foreign.timezone = written.parse().map_err(|why| not_valid("foreign_timezone", written, &why))?;
        }
        if let Some(days) = &self.foreign_max_age_days {
            foreign.max_age = match days.parse::<Millis>() {
                Ok(days) if (1..=3_650).contains(&days) => days * DAY_MILLIS,
                _ => return Err(refused("foreign_max_age_days", days, "use 1 to 3650")),
            };
        }
        Ok(foreign)
    }

    fn redact(&self) -> Result<RedactSettings, ConfigError> {
        let mut redact = RedactSettings::default();
        if let Some(keys) = &self.redact_keys {
            redact.keys = keys.split(',').map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect();
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            if !redact.keys.iter().all(|key| key.len() <= 64 && key.bytes().all(is_good)) {
                let instead = "write words of up to 64 letters, digits, `_` or `-`, with commas between";
                return Err(refused("redact_keys", keys, instead));
            }
        }
        redact.archive = yes_or_no("redact_archive", &self.redact_archive, redact.archive)?;
        redact.shorten_addresses =
            yes_or_no("redact_shorten_addresses", &self.redact_shorten_addresses, redact.shorten_addresses)?;
        Ok(redact)
    }

    fn auth(&self) -> Result<Auth, ConfigError> {
        match self.opensearch_auth.as_deref() {
            None | Some("sigv4") => Ok(Auth::SigV4),
            Some("none") => Ok(Auth::None),
            Some("basic") => Ok(Auth::Basic {
                user: needed("opensearch_user", &self.opensearch_user)?,
                password: needed("opensearch_password", &self.opensearch_password)?,
            }),
            Some(other) => Err(refused("opensearch_auth", other, "use sigv4, basic or none")),
        }
    }
}

fn variable_of(key: &str) -> String {
    format!("TWOSEC_{}", key.to_ascii_uppercase())
}

fn needed(key: &'static str, value: &Option<String>) -> Result<String, ConfigError> {
    let given = value.clone().filter(|value| !value.is_empty());
    given.ok_or_else(|| ConfigError::Missing { key, variable: variable_of(key) })
}

fn refused(key: &'static str, value: &str, instead: &str) -> ConfigError {
    ConfigError::Value { key, value: value.to_owned(), instead: instead.to_owned() }
}

fn not_valid(key: &'static str, value: &str, why: &dyn std::error::Error) -> ConfigError {
    refused(key, value, &why.to_string())
}

fn yes_or_no(key: &'static str, value: &Option<String>, unless: bool) -> Result<bool, ConfigError> {
    match value.as_deref() {
        None => Ok(unless),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(refused(key, other, "use true or false")),
    }
}

/// The refusal does not repeat what may be most of a secret.
fn redact_key(digits: &str) -> Result<RedactKey, ConfigError> {
    let number = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..KEY_BYTES).map(number).collect();
    let is_hex = digits.len() == 2 * KEY_BYTES && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    match bytes.and_then(|bytes| bytes.try_into().ok()).filter(|_| is_hex) {
        Some(key) => Ok(RedactKey(key)),
        None => Err(refused("redact_key", "...", "write 64 hex digits, such as `openssl rand -hex 32` prints")),
    }
}

/// OpenSearch, "Create index", naming restrictions.
fn index_prefix(prefix: &str) -> Result<String, ConfigError> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let starts = prefix.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts && prefix.chars().all(good) && prefix.len() <= 200 {
        return Ok(prefix.to_owned());
    }
    Err(refused("index_prefix", prefix, "use lower-case letters, digits, `-`, `_` and `.`"))
}

fn day(key: &'static str, value: &Option<String>) -> Result<Option<Day>, ConfigError> {
    let parse = |text: &String| text.parse().map_err(|_| refused(key, text, "write a day such as 2026-11-16"));
    value.as_ref().map(parse).transpose()
}

fn start(value: &Option<String>, now: Millis) -> Result<StartAt, ConfigError> {
    match value.as_deref() {
        None | Some("TRIM_HORIZON") => Ok(StartAt::TrimHorizon),
        Some("LATEST") => Ok(StartAt::Latest(now)),
        Some(other) => parse_rfc3339_offset(other)
            .map(StartAt::AtTimestamp)
            .ok_or_else(|| refused("start", other, "use TRIM_HORIZON, LATEST or a time such as 2026-11-16T08:00:00Z")),
    }
}

/// Kinesis API reference, "RegisterStreamConsumer", ConsumerName.
fn consumer(value: &Option<String>) -> Result<Option<String>, ConfigError> {
    let Some(name) = value.as_ref().filter(|name| !name.is_empty()) else { return Ok(None) };
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match name.len() <= 128 && name.bytes().all(is_good) {
        true => Ok(Some(name.clone())),
        false => Err(refused("fan_out_consumer", name, "use up to 128 letters, digits, `_`, `.` or `-`")),
    }
}

fn whole_seconds(key: &'static str, text: &str, max: u64) -> Result<Duration, ConfigError> {
    match text.parse() {
        Ok(seconds) if (1..=max).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(refused(key, text, &format!("use 1 to {max}"))),
    }
}

fn whole(key: &'static str, text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize, ConfigError> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(refused(key, text, &format!("use {} to {}", range.start(), range.end()))),
    }
}

fn url(key: &'static str, text: &str) -> Result<String, ConfigError> {
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(refused(key, text, "begin it with https://"))
}

impl Settings {
    /// The defaults for a stream.
    pub fn new(stream: &str, worker: String) -> Settings {
        Settings {
            stream: stream.to_owned(),
            index: IndexNames { prefix: INDEX_PREFIX.to_owned(), period: IndexPeriod::Day, from: None, until: None },
            start: StartAt::TrimHorizon,
            fan_out_consumer: None,
            window_bytes: 16 << 20,
            window_age: Duration::from_secs(60),
            flush_every: Duration::from_secs(1),
            failover: Duration::from_secs(10),
            memory_bytes: 32 << 20,
            bulks_max: 4,
            index_patience: Duration::from_secs(10),
            http_listen: None,
            emf: false,
            worker,
            foreign: ForeignSettings::default(),
            redact: RedactSettings::default(),
            redact_key: None,
            rules: Rules::default(),
        }
    }

    /// What masks lines of other producers.
    pub fn redaction(&self) -> Redaction {
        Redaction::new(&self.redact, self.redact_key.unwrap_or_else(|| *PROCESS_KEY).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let good = r#"
            stream = "twosec"
            lease_table = "leases"
            bucket = "archive"
            opensearch_url = "https://search.example/"
        "#;
        toml::from_str(&format!("{good}\n{text}")).unwrap()
    }

    fn refusal(config: &Config) -> String {
        config.check("w".into(), 7).unwrap_err().to_string()
    }

    #[test]
    fn the_environment_wins() {
        let config =
            config("index_prefix = \"a\"").overlay(|name| (name == "TWOSEC_INDEX_PREFIX").then(|| "b".to_owned()));
        let (settings, places) = config.check("w".into(), 7).unwrap();
        assert_eq!(settings.index.prefix, "b");
        let expected = Search { url: "https://search.example".into(), auth: Auth::SigV4, ca_file: None };
        assert_eq!(places.opensearch, expected);
    }

    #[test]
    fn dashboards_are_called_as_the_domain_is_and_only_where_their_url_is_given() {
        assert_eq!(config("").dashboards().unwrap(), None);
        let given = config("opensearch_auth = \"none\"\ndashboards_url = \"https://search.example/_dashboards/\"");
        let expected = Search { url: "https://search.example/_dashboards".into(), auth: Auth::None, ca_file: None };
        assert_eq!(given.dashboards().unwrap(), Some(expected));
        let refused = config("dashboards_url = \"search.example\"").dashboards().unwrap_err();
        assert_eq!(refused.to_string(), "`dashboards_url` is `search.example`: begin it with https://");
    }

    #[test]
    fn alerts_go_to_a_webhook_a_topic_or_a_channel_that_is_there() {
        let alerts =
            |to: &str| config(&format!("alerts_to = \"{to}\"\nalerts_role = \"arn:aws:iam::1:role/r\"")).alerts();
        let (slack, other) = ("https://hooks.slack.com/services/T/B/X", "https://tell.example/us");
        assert_eq!(alerts(slack).unwrap(), Some(Channel::Slack(slack.into())));
        assert_eq!(alerts(other).unwrap(), Some(Channel::Webhook(other.into())));
        let topic = "arn:aws:sns:eu-central-1:123456789012:alarms";
        let role = Some("arn:aws:iam::1:role/r".into());
        assert_eq!(alerts(topic).unwrap(), Some(Channel::Sns { topic: topic.into(), role }));
        assert_eq!(alerts("on-call").unwrap(), Some(Channel::Known("on-call".into())));
        assert_eq!(config("").alerts().unwrap(), None);
        let told = "`alerts_to` is `...`: begin it with https:// or arn:aws:sns:, or write the id of a channel";
        assert_eq!(alerts("ftp://key@tell.example").unwrap_err().to_string(), told);
    }

    #[test]
    fn latest_is_frozen_to_a_time() {
        let (settings, _) = config("start = \"LATEST\"").check("w".into(), 7).unwrap();
        assert_eq!(settings.start, StartAt::Latest(7));
    }

    #[test]
    fn a_stream_can_be_read_from_a_time_on() {
        for text in ["2026-11-16T08:00:25Z", "2026-11-16T09:00:25+01:00"] {
            let (settings, _) = config(&format!("start = \"{text}\"")).check("w".into(), 7).unwrap();
            assert_eq!(settings.start, StartAt::AtTimestamp(1_794_816_025_000));
        }
        let told = config("start = \"yesterday\"").check("w".into(), 7).unwrap_err().to_string();
        assert!(told.contains("use TRIM_HORIZON, LATEST or a time such as"), "{told}");
    }

    #[test]
    fn other_producers_lines_are_masked_as_the_agent_masks_unless_told_otherwise() {
        let (settings, _) = config("").check("w".into(), 7).unwrap();
        assert_eq!((settings.redact, settings.redact_key), (RedactSettings::default(), None));
        assert_eq!(settings.foreign, ForeignSettings::default());
        let key = format!("redact_key = \"{}\"", "0a".repeat(32));
        let config = config(&format!("redact_keys = \"pin, otp\"\nredact_archive = \"false\"\n{key}"));
        let (settings, _) = config.check("w".into(), 7).unwrap();
        let expected =
            RedactSettings { keys: vec!["pin".into(), "otp".into()], archive: false, shorten_addresses: false };
        assert_eq!((&settings.redact, settings.redact_key), (&expected, Some(RedactKey([10; 32]))));
        assert!(!format!("{settings:?}").contains("10, 10"), "the key is not shown");
        let nothing = Config { redact_keys: Some(String::new()), ..config };
        assert_eq!(nothing.check("w".into(), 7).unwrap().0.redact.keys, Vec::<String>::new());
    }

    #[test]
    fn a_refusal_says_what_to_write_instead() {
        let cases = [
            (
                Config::default(),
                "`stream` is missing: set it in the configuration, or TWOSEC_STREAM in the environment",
            ),
            (
                config("start = \"NOW\""),
                "`start` is `NOW`: use TRIM_HORIZON, LATEST or a time such as 2026-11-16T08:00:00Z",
            ),
            (config("index_prefix = \"A\""), "`index_prefix` is `A`: use lower-case letters, digits, `-`, `_` and `.`"),
            (config("index_period = \"week\""), "`index_period` is `week`: use day or month"),
            (config("index_from = \"16.11.\""), "`index_from` is `16.11.`: write a day such as 2026-11-16"),
            (config("foreign_max_age_days = \"0\""), "`foreign_max_age_days` is `0`: use 1 to 3650"),
            (config("redact_archive = \"no\""), "`redact_archive` is `no`: use true or false"),
            (
                config("redact_keys = \"a b\""),
                "`redact_keys` is `a b`: write words of up to 64 letters, digits, `_` or `-`, with commas between",
            ),
            (
                config("redact_key = \"c0ffee\""),
                "`redact_key` is `...`: write 64 hex digits, such as `openssl rand -hex 32` prints",
            ),
            (
                config("fan_out_consumer = \"a b\""),
                "`fan_out_consumer` is `a b`: use up to 128 letters, digits, `_`, `.` or `-`",
            ),
            (config("window_seconds = \"0\""), "`window_seconds` is `0`: use 1 to 900"),
            (config("memory_mib = \"8\""), "`memory_mib` is `8`: use 16 to 65536"),
            (config("bulks_max = \"0\""), "`bulks_max` is `0`: use 1 to 64"),
            (config("http_listen = \":9465\""), "`http_listen` is `:9465`: write an IP address and a port, or off"),
            (config("emf = \"1\""), "`emf` is `1`: use true or false"),
            (config("opensearch_auth = \"ldap\""), "`opensearch_auth` is `ldap`: use sigv4, basic or none"),
            (
                config("opensearch_auth = \"basic\""),
                "`opensearch_user` is missing: set it in the configuration, or TWOSEC_OPENSEARCH_USER in the environment",
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(refusal(&config), expected);
        }
    }
}
