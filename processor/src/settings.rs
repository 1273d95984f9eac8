//! What an operator wrote, and what it means once it has been checked.
//!
//! Every setting also has an environment variable, because a Fargate task is configured
//! that way; the variable wins.

use event::document::IndexNames;
use event::{Day, Millis};
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What index names begin with unless a user says otherwise.
const INDEX_PREFIX: &str = "twosec";

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
    /// What index names begin with; default `twosec`. `TWOSEC_INDEX_PREFIX`
    pub index_prefix: Option<String>,
    /// First day that has an index of its own, such as `2020-01-01`. `TWOSEC_INDEX_FROM`
    pub index_from: Option<String>,
    /// Last such day. `TWOSEC_INDEX_UNTIL`
    pub index_until: Option<String>,
    /// Where a new stream is begun: `TRIM_HORIZON` (default) or `LATEST`. `TWOSEC_START`
    pub start: Option<String>,
    /// Age at which an archive object is closed; default 60. `TWOSEC_WINDOW_SECONDS`
    pub window_seconds: Option<String>,
    /// After this long without a sign of life another process takes a shard over; default
    /// 10 (KCL's failoverTimeMillis). `TWOSEC_FAILOVER_SECONDS`
    pub failover_seconds: Option<String>,
}

/// Checked settings of the pipeline. Past here nobody checks again.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the stream: part of the archive's keys.
    pub stream: String,
    pub index: IndexNames,
    /// Where a shard that has no row yet is begun.
    pub start: StartAt,
    /// Packed bytes at which an archive object is closed.
    pub window_bytes: usize,
    /// Age at which it is closed.
    pub window_age: Duration,
    /// How long a document may be in the index without being searchable.
    pub flush_every: Duration,
    /// After this long without renewal a lease may be taken by others.
    pub failover: Duration,
    /// This process, in lease rows: unique to one start.
    pub worker: String,
}

/// Where reading a new shard begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    TrimHorizon,
    /// `LATEST` is frozen to the time of the first start: what comes in between a crash
    /// and the first checkpoint is not skipped.
    AtTimestamp(Millis),
}

/// The services that a processor on AWS uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub lease_table: String,
    pub bucket: String,
    pub opensearch_url: String,
    pub auth: Auth,
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

    fn entries(&mut self) -> [(&'static str, &mut Option<String>); 13] {
        [
            ("stream", &mut self.stream),
            ("lease_table", &mut self.lease_table),
            ("bucket", &mut self.bucket),
            ("opensearch_url", &mut self.opensearch_url),
            ("opensearch_auth", &mut self.opensearch_auth),
            ("opensearch_user", &mut self.opensearch_user),
            ("opensearch_password", &mut self.opensearch_password),
            ("index_prefix", &mut self.index_prefix),
            ("index_from", &mut self.index_from),
            ("index_until", &mut self.index_until),
            ("start", &mut self.start),
            ("window_seconds", &mut self.window_seconds),
            ("failover_seconds", &mut self.failover_seconds),
        ]
    }

    /// Checks what was written, and says what to write instead. `now` freezes `LATEST`.
    pub fn check(&self, worker: String, now: Millis) -> Result<(Settings, Places), ConfigError> {
        let mut settings = Settings::new(&needed("stream", &self.stream)?, worker);
        settings.index.prefix = self.prefix()?;
        settings.index.from = day("index_from", &self.index_from)?;
        settings.index.until = day("index_until", &self.index_until)?;
        settings.start = start(&self.start, now)?;
        if let Some(seconds) = &self.window_seconds {
            settings.window_age = whole_seconds("window_seconds", seconds, 900)?;
        }
        if let Some(seconds) = &self.failover_seconds {
            settings.failover = whole_seconds("failover_seconds", seconds, 300)?;
        }
        let places = Places {
            lease_table: needed("lease_table", &self.lease_table)?,
            bucket: needed("bucket", &self.bucket)?,
            opensearch_url: url(&needed("opensearch_url", &self.opensearch_url)?)?,
            auth: self.auth()?,
        };
        Ok((settings, places))
    }

    /// What index names begin with.
    pub fn prefix(&self) -> Result<String, ConfigError> {
        index_prefix(self.index_prefix.as_deref().unwrap_or(INDEX_PREFIX))
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
        Some("LATEST") => Ok(StartAt::AtTimestamp(now)),
        Some(other) => Err(refused("start", other, "use TRIM_HORIZON or LATEST")),
    }
}

fn whole_seconds(key: &'static str, text: &str, max: u64) -> Result<Duration, ConfigError> {
    match text.parse() {
        Ok(seconds) if (1..=max).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(refused(key, text, &format!("use 1 to {max}"))),
    }
}

fn url(text: &str) -> Result<String, ConfigError> {
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(refused("opensearch_url", text, "begin it with https://"))
}

impl Settings {
    /// The defaults for a stream.
    pub fn new(stream: &str, worker: String) -> Settings {
        Settings {
            stream: stream.to_owned(),
            index: IndexNames { prefix: INDEX_PREFIX.to_owned(), from: None, until: None },
            start: StartAt::TrimHorizon,
            window_bytes: 16 << 20,
            window_age: Duration::from_secs(60),
            flush_every: Duration::from_secs(1),
            failover: Duration::from_secs(10),
            worker,
        }
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
        assert_eq!((places.opensearch_url.as_str(), places.auth), ("https://search.example", Auth::SigV4));
    }

    #[test]
    fn latest_is_frozen_to_a_time() {
        let (settings, _) = config("start = \"LATEST\"").check("w".into(), 7).unwrap();
        assert_eq!(settings.start, StartAt::AtTimestamp(7));
    }

    #[test]
    fn a_refusal_says_what_to_write_instead() {
        let cases = [
            (
                Config::default(),
                "`stream` is missing: set it in the configuration, or TWOSEC_STREAM in the environment",
            ),
            (config("start = \"NOW\""), "`start` is `NOW`: use TRIM_HORIZON or LATEST"),
            (config("index_prefix = \"A\""), "`index_prefix` is `A`: use lower-case letters, digits, `-`, `_` and `.`"),
            (config("index_from = \"16.11.\""), "`index_from` is `16.11.`: write a day such as 2026-11-16"),
            (config("window_seconds = \"0\""), "`window_seconds` is `0`: use 1 to 900"),
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
