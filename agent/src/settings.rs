//! What an operator wrote, and what it means once it has been checked.

use crate::behaviour;
use crate::enrich::EnrichSettings;
use crate::host;
use crate::httpd::Httpd;
use crate::meter::Meter;
use crate::redaction::RedactSettings;
use crate::rules;
use crate::spool::{Limits, MAX_BYTES_MIN, OnFull};
use event::address::Networks;
use event::format::UnknownFormat;
use event::line::{Cloud, Host};
use event::{Format, Zone};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// How often the folders are looked through when nothing has been heard of a change.
pub const SWEEP: Duration = Duration::from_secs(5);

/// How long a line waits for company in its frame.
pub const LINGER: Duration = Duration::from_millis(100);

/// The format of Docker's json-file logging driver.
const DOCKER: &str = "docker";

/// What one PutRecords call may hold: a record of 1 MiB must fit, and the service takes
/// 10 MiB (Kinesis API reference).
const REQUEST_BYTES_MIN: u64 = 1 << 20;
const REQUEST_BYTES_MAX: u64 = 10 << 20;

/// Clients that may be watched at once: fewer are forgotten before they have done anything.
const SOURCES: RangeInclusive<usize> = 1_000..=1_000_000;

/// `agent.toml`, as written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Identity of this host; the default is `/etc/machine-id`. Set it where images are
    /// cloned together with that file.
    pub host_id: Option<String>,
    pub stream: StreamConfig,
    /// The files to read.
    #[serde(default)]
    pub file: Vec<FileConfig>,
    #[serde(default)]
    pub enrich: EnrichConfig,
    #[serde(default)]
    pub rules: RulesConfig,
    #[serde(default)]
    pub behaviour: BehaviourConfig,
    #[serde(default)]
    pub redact: RedactConfig,
    #[serde(default)]
    pub spool: SpoolConfig,
    #[serde(default)]
    pub metrics: MetricsConfig,
}

/// `[stream]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// Name of the Kinesis data stream.
    pub name: String,
    /// What the records hold: `frame` for our processor; for consumers that are there
    /// already `ecs`, `cloudwatch_logs` or `kpl`.
    #[serde(default = "frame")]
    pub format: String,
    /// The log group that `cloudwatch_logs` records name.
    #[serde(default = "log_group")]
    pub log_group: String,
    /// The log stream that they name; the default is the host's name.
    pub log_stream: Option<String>,
    /// How long a line waits for company in its frame, in milliseconds.
    #[serde(default = "linger_ms")]
    pub linger_ms: u64,
    /// Bytes of one PutRecords call at most; Kinesis takes up to 10 MiB.
    #[serde(default = "request_bytes")]
    pub request_bytes: String,
}

/// `[[file]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// An absolute path, or a pattern with `*`, `?` and `[...]`.
    pub path: String,
    /// `auto`, `combined`, `common`, `vhost_combined`, `error`, or Apache's own LogFormat or
    /// ErrorLogFormat as it stands in `httpd.conf`, in single quotes; `docker` for the json-file
    /// logs of containers.
    #[serde(default = "auto")]
    pub format: String,
    /// Apache's configuration, which tells the format instead: that of the CustomLog or
    /// ErrorLog whose file has the name that `path` has. What it includes is read, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_from: Option<PathBuf>,
    /// The zone of times that tell none, as in error logs: a name of the zone database, or a
    /// rule such as `CET-1CEST,M3.5.0,M10.5.0/3`. The default is the host's own zone; for
    /// `docker`, UTC. Of an hour that comes twice in autumn the first one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The folder in which a container sees these files, where its `tail -f` prints them,
    /// too: then what it prints of them is archived and not indexed again. The default is
    /// what Docker tells of its mounts, or else the same folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_dir: Option<PathBuf>,
    /// The folder that logrotate's `olddir` names, if files are moved to another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub olddir: Option<PathBuf>,
}

/// `[enrich]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrichConfig {
    /// MaxMind databases (City, Country, ASN) that tell where clients are. Each is held in
    /// memory whole, and read again when it has changed.
    pub geoip: Vec<PathBuf>,
    /// A file that names networks, such as those of cloud providers: on each line a network
    /// and its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<PathBuf>,
    /// Addresses and networks of balancers and proxies in front of Apache. If a request comes
    /// from one of them, X-Forwarded-For tells the client, where the format logs that header;
    /// with mod_remoteip Apache itself logs the client.
    pub trusted_proxies: Vec<String>,
}

impl EnrichConfig {
    fn check(&self) -> Result<EnrichSettings, ConfigError> {
        let refused = |cause| ConfigError::Value(format!("`enrich.trusted_proxies`: {cause}"));
        let EnrichConfig { geoip, networks, trusted_proxies } = self;
        if let Some(path) = geoip.iter().chain(networks).find(|path| !path.is_absolute()) {
            return Err(ConfigError::Value(format!("`enrich` names `{}`: it must be absolute", path.display())));
        }
        let trusted_proxies = Networks::parse(trusted_proxies).map_err(refused)?;
        Ok(EnrichSettings { geoip: geoip.clone(), networks: networks.clone(), trusted_proxies })
    }
}

/// `[rules]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesConfig {
    /// The folder of your own rules: files that end in `.toml` add rules, switch some off
    /// (`disable`) and tell what is no attack (`[[allow]]`). `twosec-agent rules check` tries
    /// them, and SIGHUP reads them again.
    pub path: PathBuf,
}

impl Default for RulesConfig {
    fn default() -> RulesConfig {
        RulesConfig { path: rules::FOLDER.into() }
    }
}

impl RulesConfig {
    fn check(&self) -> Result<PathBuf, ConfigError> {
        if !self.path.is_absolute() {
            let text = format!("`rules.path` is `{}`: it must be absolute", self.path.display());
            return Err(ConfigError::Value(text));
        }
        Ok(self.path.clone())
    }
}

/// `[redact]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedactConfig {
    /// Parameters, cookies and headers whose values are masked before anything leaves the
    /// host, in any case of letters; `[]` masks nothing. Equal values have equal masks.
    pub keys: Vec<String>,
    /// Whether the archive is masked, too. With `false` it keeps the original lines, and
    /// whoever may read the stream or the archive reads passwords.
    pub archive: bool,
    /// Whether clients' addresses are shortened to their network: 24 bits, or 48 of IPv6.
    pub shorten_addresses: bool,
}

impl Default for RedactConfig {
    fn default() -> RedactConfig {
        let RedactSettings { keys, archive, shorten_addresses } = RedactSettings::default();
        RedactConfig { keys, archive, shorten_addresses }
    }
}

impl RedactConfig {
    fn check(&self) -> Result<RedactSettings, ConfigError> {
        if let Some(odd) = self.keys.iter().find(|key| !(1..=64).contains(&key.len()) || !key.bytes().all(is_of_a_key))
        {
            let text = format!("`redact.keys` holds `{odd}`: write up to 64 letters, digits, `_` or `-`");
            return Err(ConfigError::Value(text));
        }
        let RedactConfig { keys, archive, shorten_addresses } = self.clone();
        Ok(RedactSettings { keys, archive, shorten_addresses })
    }
}

fn is_of_a_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
}

/// `[behaviour]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BehaviourConfig {
    /// How many clients are watched at once for what no single line shows, such as scans
    /// and guessed passwords. Of more, those that rest longest are forgotten.
    pub sources: usize,
}

impl Default for BehaviourConfig {
    fn default() -> BehaviourConfig {
        BehaviourConfig { sources: behaviour::Limits::default().sources }
    }
}

impl BehaviourConfig {
    fn check(&self) -> Result<behaviour::Limits, ConfigError> {
        if !SOURCES.contains(&self.sources) {
            let text = format!("`behaviour.sources` is {}: use 1000 to 1000000 (default 50000)", self.sources);
            return Err(ConfigError::Value(text));
        }
        Ok(behaviour::Limits::of(self.sources))
    }
}

/// `[spool]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// The one folder that the agent writes.
    pub path: PathBuf,
    /// How much may wait there for the stream. The log files are the buffer beyond that.
    pub max_bytes: String,
    /// What a full spool does: `stop` reading, or `drop_oldest`, which loses data and tells
    /// how much.
    pub on_full: OnFull,
}

impl Default for SpoolConfig {
    fn default() -> SpoolConfig {
        SpoolConfig { path: "/var/lib/twosec-agent".into(), max_bytes: "1 GiB".to_owned(), on_full: OnFull::Stop }
    }
}

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Where Prometheus may ask for metrics (`http://127.0.0.1:9464/metrics`); nowhere
    /// unless given. Whoever reaches the address may read them.
    pub prometheus: Option<String>,
    /// The CloudWatch namespace for six metrics a minute, which CloudWatch bills for each
    /// host; none unless given. It needs a program that was built with the feature
    /// `cloudwatch`, and the permission `cloudwatch:PutMetricData`.
    pub cloudwatch_namespace: Option<String>,
}

fn frame() -> String {
    "frame".to_owned()
}

fn auto() -> String {
    "auto".to_owned()
}

fn request_bytes() -> String {
    "5 MiB".to_owned()
}

fn log_group() -> String {
    "2sec".to_owned()
}

fn linger_ms() -> u64 {
    LINGER.as_millis() as u64
}

/// What the agent runs with. Past here nobody checks again.
#[derive(Debug, Clone)]
pub struct Settings {
    pub host: Host,
    /// Told once the host knows where it stands; that may be after the start.
    pub cloud: Arc<RwLock<Option<Cloud>>>,
    pub files: Vec<FileSettings>,
    pub format: RecordFormat,
    pub enrich: EnrichSettings,
    /// The folder of the user's own rules.
    pub rules: Option<PathBuf>,
    pub behaviour: behaviour::Limits,
    pub redact: RedactSettings,
    /// The folder for the spool and dead letters.
    pub state: PathBuf,
    pub spool: Limits,
    /// Bytes of one call at most.
    pub request_bytes: usize,
    /// Whether to wait for more at the end of the files.
    pub follow: bool,
    pub linger: Duration,
    pub sweep: Duration,
    pub meter: Arc<Meter>,
    pub metrics: MetricsSettings,
}

/// Who is told how the agent does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Where Prometheus may ask.
    pub prometheus: Option<SocketAddr>,
    /// Where CloudWatch keeps what it is told.
    pub cloudwatch_namespace: Option<String>,
}

/// What the records hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFormat {
    Frame,
    Ecs,
    CloudwatchLogs { log_group: String, log_stream: String },
    Kpl,
}

/// How the lines of a file are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LineFormat {
    pub format: Format,
    /// Whether each line is wrapped in JSON by Docker. Inside it may be anything.
    pub is_docker: bool,
}

impl FromStr for LineFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LineFormat, String> {
        if text == DOCKER {
            return Ok(LineFormat { format: Format::Auto, is_docker: true });
        }
        let format = text.parse().map_err(|cause: UnknownFormat| format!("{cause}, or {DOCKER}"))?;
        Ok(LineFormat { format, is_docker: false })
    }
}

/// Files to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// An absolute path or pattern.
    pub path: String,
    pub format: Format,
    /// The zone of times that tell none.
    pub timezone: Zone,
    /// Whether each line is wrapped in JSON by Docker.
    pub is_docker: bool,
    /// The folder in which a container sees the files.
    pub container_dir: Option<PathBuf>,
    /// Where rotated files go, if not beside the live one.
    pub olddir: Option<PathBuf>,
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
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        toml::from_str(&text).map_err(|cause| ConfigError::Syntax { path: path.to_owned(), cause })
    }

    /// Checks what was written, and says what to write instead.
    pub fn check(&self) -> Result<Settings, ConfigError> {
        let refuse = |text: String| Err(ConfigError::Value(text));
        if self.stream.name.is_empty() {
            return refuse("`stream.name` is empty: write the name of the Kinesis stream".into());
        }
        let format = self.stream.check_format()?;
        if self.stream.linger_ms == 0 {
            return refuse(
                "`stream.linger_ms` is 0: frames would hold one event each; use 1 or more (default 100)".into(),
            );
        }
        if self.file.is_empty() {
            return refuse(
                "no `[[file]]` is given: name at least one, such as path = \"/var/log/apache2/*access.log\"".into(),
            );
        }
        let Some(id) = host::id(self.host_id.as_deref()) else {
            return refuse("this host has no /etc/machine-id: set `host_id` to a name that no other host has".into());
        };
        Ok(Settings {
            host: host::here(id),
            cloud: Arc::default(),
            files: self.file.iter().map(FileConfig::check).collect::<Result<_, _>>()?,
            format,
            enrich: self.enrich.check()?,
            rules: Some(self.rules.check()?),
            behaviour: self.behaviour.check()?,
            redact: self.redact.check()?,
            state: self.spool.path.clone(),
            spool: self.spool.check()?,
            request_bytes: self.stream.check_request_bytes()?,
            follow: true,
            linger: Duration::from_millis(self.stream.linger_ms),
            sweep: SWEEP,
            meter: Arc::default(),
            metrics: self.metrics.check()?,
        })
    }
}

impl StreamConfig {
    fn check_format(&self) -> Result<RecordFormat, ConfigError> {
        match self.format.as_str() {
            "frame" => Ok(RecordFormat::Frame),
            "ecs" => Ok(RecordFormat::Ecs),
            "kpl" => Ok(RecordFormat::Kpl),
            "cloudwatch_logs" => Ok(RecordFormat::CloudwatchLogs {
                log_group: self.log_group.clone(),
                log_stream: self.log_stream.clone().unwrap_or_else(host::name),
            }),
            other => {
                let text = format!("`stream.format` is `{other}`: use frame, ecs, cloudwatch_logs or kpl");
                Err(ConfigError::Value(text))
            }
        }
    }

    fn check_request_bytes(&self) -> Result<usize, ConfigError> {
        let bytes = bytes_of("stream.request_bytes", &self.request_bytes)?;
        if !(REQUEST_BYTES_MIN..=REQUEST_BYTES_MAX).contains(&bytes) {
            let text =
                format!("`stream.request_bytes` is `{}`: use 1 MiB to 10 MiB (default 5 MiB)", self.request_bytes);
            return Err(ConfigError::Value(text));
        }
        Ok(bytes as usize)
    }
}

impl SpoolConfig {
    fn check(&self) -> Result<Limits, ConfigError> {
        let max_bytes = bytes_of("spool.max_bytes", &self.max_bytes)?;
        if max_bytes < MAX_BYTES_MIN {
            let text = format!("`spool.max_bytes` is `{}`: use 16 MiB or more (default 1 GiB)", self.max_bytes);
            return Err(ConfigError::Value(text));
        }
        Ok(Limits { max_bytes, on_full: self.on_full })
    }
}

/// A number of bytes such as `512`, `64 KiB`, `1 GiB` or `5 MB`.
fn bytes_of(name: &str, text: &str) -> Result<u64, ConfigError> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => 0,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| ConfigError::Value(format!("`{name}` is `{text}`: write a number of bytes such as \"64 MiB\"")))
}

impl MetricsConfig {
    fn check(&self) -> Result<MetricsSettings, ConfigError> {
        Ok(MetricsSettings {
            prometheus: self.prometheus.as_deref().map(address).transpose()?,
            cloudwatch_namespace: self.cloudwatch_namespace.as_deref().map(namespace).transpose()?,
        })
    }
}

/// A namespace as PutMetricData takes it (CloudWatch API reference).
fn namespace(text: &str) -> Result<String, ConfigError> {
    let refuse = |why: &str| Err(ConfigError::Value(format!("`metrics.cloudwatch_namespace` is `{text}`: {why}")));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_/#:".contains(&b);
    if !cfg!(feature = "cloudwatch") {
        return refuse("this program was built without the feature `cloudwatch`");
    }
    if !(1..=255).contains(&text.len()) || !text.bytes().all(plain) || text.starts_with(':') {
        return refuse("write 1 to 255 letters, digits or `.-_/#:`, such as 2SeC");
    }
    if text.starts_with("AWS/") {
        return refuse("AWS keeps names that begin with `AWS/` for itself; write another, such as 2SeC");
    }
    Ok(text.to_owned())
}

fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        ConfigError::Value(format!(
            "`metrics.prometheus` is `{text}`: write an IP address and a port, such as 127.0.0.1:9464"
        ))
    })
}

impl FileConfig {
    fn check(&self) -> Result<FileSettings, ConfigError> {
        if !self.path.starts_with('/') {
            return Err(ConfigError::Value(format!("`file.path` is `{}`: it must be absolute", self.path)));
        }
        if let Err(cause) = glob::Pattern::new(&self.path) {
            return Err(ConfigError::Value(format!("`file.path` is `{}`: {cause}", self.path)));
        }
        let LineFormat { format, is_docker } = match &self.format_from {
            Some(_) if self.format != auto() => {
                let text = "`file.format` and `file.format_from` are both given: keep one of them";
                return Err(ConfigError::Value(text.to_owned()));
            }
            Some(from) => {
                let format = Httpd::read(from).and_then(|httpd| httpd.format_of(&self.path)).map_err(|cause| {
                    let (from, cause) = (from.display(), crate::full_text(&cause));
                    ConfigError::Value(format!("`file.format_from` is `{from}`: {cause}"))
                })?;
                LineFormat { format, is_docker: false }
            }
            None => self.format.parse().map_err(|cause| ConfigError::Value(format!("`file.format`: {cause}")))?,
        };
        let timezone = match &self.timezone {
            Some(name) => {
                host::zone_named(name).map_err(|cause| ConfigError::Value(format!("`file.timezone`: {cause}")))?
            }
            None if is_docker => Zone::UTC,
            None => host::zone(),
        };
        let (path, container_dir, olddir) = (self.path.clone(), self.container_dir.clone(), self.olddir.clone());
        Ok(FileSettings { format, timezone, is_docker, container_dir, olddir, ..FileSettings::new(path) })
    }
}

impl FileSettings {
    /// A file or pattern whose lines may be anything, in the host's zone.
    pub fn new(path: String) -> FileSettings {
        let (container_dir, olddir) = (None, None);
        FileSettings { path, format: Format::Auto, timezone: host::zone(), is_docker: false, container_dir, olddir }
    }
}

impl Settings {
    /// The effective settings, a line each, for `check`.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "host      {} ({})", self.host.name, self.host.id);
        let _ = writeln!(text, "spool     {} (at most {} bytes)", self.state.display(), self.spool.max_bytes);
        let _ = writeln!(text, "linger    {} ms", self.linger.as_millis());
        for file in &self.files {
            let zone = if file.format.tells_zone() { String::new() } else { format!(", times of {}", file.timezone) };
            let _ = writeln!(text, "file      {} ({}{zone})", file.path, file.format);
        }
        for database in &self.enrich.geoip {
            let _ = writeln!(text, "geoip     {}{}", database.display(), missing(database));
        }
        if let Some(networks) = &self.enrich.networks {
            let _ = writeln!(text, "networks  {}{}", networks.display(), missing(networks));
        }
        if !self.enrich.trusted_proxies.is_empty() {
            let _ = writeln!(text, "proxies   X-Forwarded-For of {} is believed", self.enrich.trusted_proxies);
        }
        let rules = rules::open(self.rules.as_deref());
        let _ = writeln!(text, "rules     {}, {} of them", rules.classifier.ruleset(), rules.classifier.rules().len());
        for refused in rules.refused {
            let _ = writeln!(text, "warning   {refused}");
        }
        let whereabouts = if self.redact.archive { "index and archive" } else { "the index, not in the archive" };
        let _ = match self.redact.keys.len() {
            0 => writeln!(text, "redact    nothing"),
            keys => writeln!(text, "redact    values of {keys} keys in {whereabouts}"),
        };
        if let Some(address) = self.metrics.prometheus {
            let _ = writeln!(text, "metrics   http://{address}/metrics, for {}", readers(address));
        }
        if let Some(namespace) = &self.metrics.cloudwatch_namespace {
            let _ = writeln!(text, "metrics   CloudWatch, namespace {namespace}, each minute");
        }
        text
    }
}

/// What `check` says behind a file that can come later.
fn missing(path: &Path) -> &'static str {
    if path.is_file() { "" } else { " (not there yet)" }
}

/// Who may read what is served at `address`.
fn readers(address: SocketAddr) -> &'static str {
    if address.ip().to_canonical().is_loopback() {
        "whoever has an account on this host"
    } else {
        "whoever reaches this host: names of files and counts go out without password or encryption"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        toml::from_str::<Config>(text).unwrap().check().unwrap_err().to_string()
    }

    const GOOD: &str = r#"
        host_id = "web-1"
        [stream]
        name = "twosec"
        [[file]]
        path = "/var/log/apache2/*access.log"
        format = "combined"
    "#;

    #[test]
    fn defaults_are_filled_in() {
        let settings = toml::from_str::<Config>(GOOD).unwrap().check().unwrap();
        assert_eq!(settings.state, Path::new("/var/lib/twosec-agent"));
        assert_eq!(settings.linger, Duration::from_millis(100));
        assert_eq!(settings.files[0].format, Format::Combined);
    }

    #[test]
    fn a_refusal_says_what_to_write_instead() {
        let cases = [
            (
                GOOD.replace("\"combined\"", "\"nginx\""),
                "`file.format`: `nginx` is not a format: use auto, combined, common, vhost_combined, error, or Apache's own LogFormat string, or docker",
            ),
            (GOOD.replace("/var/log/apache2/*", ""), "`file.path` is `access.log`: it must be absolute"),
            (
                GOOD.replace("name = \"twosec\"", "name = \"\""),
                "`stream.name` is empty: write the name of the Kinesis stream",
            ),
            (
                GOOD.replace("[[file]]", "linger_ms = 0\n[[file]]"),
                "`stream.linger_ms` is 0: frames would hold one event each; use 1 or more (default 100)",
            ),
            (
                GOOD.to_owned() + "[metrics]\nprometheus = \":9464\"",
                "`metrics.prometheus` is `:9464`: write an IP address and a port, such as 127.0.0.1:9464",
            ),
            (
                "stream = { name = \"x\" }".into(),
                "no `[[file]]` is given: name at least one, such as path = \"/var/log/apache2/*access.log\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(refusal(&text), expected);
        }
    }

    #[test]
    fn check_says_who_may_read_the_metrics() {
        let described = |address: &str| {
            let text = GOOD.to_owned() + &format!("[metrics]\nprometheus = \"{address}\"");
            let text = toml::from_str::<Config>(&text).unwrap().check().unwrap().describe();
            text.lines().last().unwrap().to_owned()
        };
        assert_eq!(
            described("127.0.0.1:9464"),
            "metrics   http://127.0.0.1:9464/metrics, for whoever has an account on this host"
        );
        assert_eq!(
            described("[::]:9464"),
            "metrics   http://[::]:9464/metrics, for whoever reaches this host: \
             names of files and counts go out without password or encryption"
        );
    }

    #[cfg(not(feature = "cloudwatch"))]
    #[test]
    fn a_namespace_is_refused_where_nothing_would_go_there() {
        assert_eq!(
            refusal(&(GOOD.to_owned() + "[metrics]\ncloudwatch_namespace = \"2SeC\"")),
            "`metrics.cloudwatch_namespace` is `2SeC`: this program was built without the feature `cloudwatch`"
        );
    }

    #[cfg(feature = "cloudwatch")]
    #[test]
    fn a_namespace_that_cloudwatch_would_refuse_is_refused_at_once() {
        let cases = [
            ("AWS/EC2", "AWS keeps names that begin with `AWS/` for itself; write another, such as 2SeC"),
            ("", "write 1 to 255 letters, digits or `.-_/#:`, such as 2SeC"),
            (":x", "write 1 to 255 letters, digits or `.-_/#:`, such as 2SeC"),
        ];
        for (name, why) in cases {
            assert_eq!(
                refusal(&(GOOD.to_owned() + &format!("[metrics]\ncloudwatch_namespace = \"{name}\""))),
                format!("`metrics.cloudwatch_namespace` is `{name}`: {why}")
            );
        }
    }

    #[test]
    fn as_many_clients_are_watched_as_the_configuration_says_and_not_too_few_or_too_many() {
        let with = |sources: usize| {
            format!(
                "[stream]\nname = 's'\n[behaviour]\nsources = {sources}\n[[file]]\npath = '/var/log/apache2/access.log'\n"
            )
        };
        let config: Config = toml::from_str(&with(2_000)).unwrap();
        assert_eq!(config.behaviour.check().unwrap().sources, 2_000);
        assert!(refusal(&with(10)).starts_with("`behaviour.sources` is 10: use 1000 to"), "{}", refusal(&with(10)));
        assert!(refusal(&with(2_000_000)).starts_with("`behaviour.sources` is 2000000"));
    }

    #[test]
    fn a_misspelled_key_is_refused() {
        let error = toml::from_str::<Config>(&GOOD.replace("format", "fromat")).unwrap_err().to_string();
        assert!(error.contains("unknown field `fromat`"), "{error}");
    }
}
