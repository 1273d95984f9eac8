//! The command line of `twosec-processor`.

mod health;
#[cfg(feature = "aws")]
mod operator;

use crate::RunError;
use crate::redrive::RedriveError;
use crate::replay::ReplayError;
use crate::replay::state::StateError;
use crate::settings::{Config, ConfigError, Places, Search, Settings};
use crate::setup::SetupError;
use crate::span::NotASpan;
use crate::verify::VerifyError;
use clap::{Args, CommandFactory, Parser, Subcommand};
use event::Millis;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Exit codes of sysexits(3).
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_SOFTWARE: u8 = 70;
const EX_CANTCREAT: u8 = 73;
const EX_IOERR: u8 = 74;
#[cfg(feature = "aws")]
const EX_TEMPFAIL: u8 = 75;
const EX_CONFIG: u8 = 78;

/// How long it may take to end after SIGTERM: open windows, documents, and the leases that are given back,
/// each as long as the worker allows. Fargate's own default is 30 s and its limit 120 s.
#[cfg(feature = "aws")]
const GRACE: std::time::Duration = std::time::Duration::from_secs(28);

const EXAMPLES: &str = "\
Examples:
  twosec-processor check          are the settings good, and what do they mean?
  twosec-processor template       how OpenSearch is to index the events
  twosec-processor saved-objects  dashboards, for an import by hand
  twosec-processor setup          templates, policies and dashboards into OpenSearch
  twosec-processor verify         is the archive whole, and as it was written?
  twosec-processor replay --from 2026-11-01    index from the archive again
  twosec-processor redrive        dead letters into the index again
  twosec-processor health         does it run, and is all well?
  twosec-processor shards         who reads which shard, and how far it has come
  TWOSEC_STREAM=twosec TWOSEC_LEASE_TABLE=twosec-leases TWOSEC_BUCKET=twosec-archive \\
  TWOSEC_OPENSEARCH_URL=https://search.example.com twosec-processor run

Every setting of the configuration file is also an environment variable: TWOSEC_ and its
name in capitals. Region, credentials and endpoints come from the AWS SDK's own settings.";

const TEMPLATE_EXAMPLES: &str = "\
`setup` puts the same into a domain by itself. Indices that are there already keep their mapping:
put the template before the first event.

Examples:
  twosec-processor template | jq .template.mappings.properties.attack
  twosec-processor template --prefix shop > shop.json
  curl -X PUT https://search.example.com/_index_template/shop --json @shop.json";

const SAVED_OBJECTS_EXAMPLES: &str = "\
`setup --dashboards-url URL` puts the same into Dashboards by itself. In Dashboards they are imported
under Management, Saved objects; Dashboards 2.11 and later read them.

Examples:
  twosec-processor saved-objects > twosec.ndjson
  curl -X POST 'https://search.example.com/_dashboards/api/saved_objects/_import?overwrite=true' \\
      -H 'osd-xsrf: true' -H 'securitytenant: global' --form file=@twosec.ndjson
  twosec-processor saved-objects --prefix shop | jq -r .attributes.title";

const PAGES_EXAMPLES: &str = "\
Examples:
  twosec-processor pages ~/.local/share          and then: man twosec-processor
  sudo twosec-processor pages /usr/local/share";

/// Reads a Kinesis stream, archives every line in S3, and indexes events into OpenSearch.
#[derive(Debug, Parser)]
#[command(name = "twosec-processor", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Process until SIGTERM.
    #[cfg(feature = "aws")]
    Run(ConfigArgs),
    /// Put templates, a policy for old indices, a role and dashboards into OpenSearch, where they
    /// differ.
    #[cfg(feature = "aws")]
    Setup(operator::SetupArgs),
    /// Prove that the archive is whole and as it was written, or say what is wrong with it.
    #[cfg(feature = "aws")]
    Verify(operator::VerifyArgs),
    /// Index from the archive again: into an empty index, in other names, or by newer rules.
    #[cfg(feature = "aws")]
    Replay(operator::ReplayArgs),
    /// Send dead letters into the index again.
    #[cfg(feature = "aws")]
    Redrive(operator::RedriveArgs),
    /// Say who reads which shard, and how far it has come.
    #[cfg(feature = "aws")]
    Shards(operator::ShardsArgs),
    /// Ask the running processor whether it lives.
    Health(health::HealthArgs),
    /// Print the effective settings, or what is wrong with them.
    Check(ConfigArgs),
    /// Print the index template for OpenSearch 2.12 or later, as JSON.
    Template(TemplateArgs),
    /// Print the dashboards for OpenSearch Dashboards, as NDJSON.
    SavedObjects(SavedObjectsArgs),
    /// Write manual pages, and completions for bash, zsh and fish.
    Pages(PagesArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// A configuration file; without one, only the environment counts.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = TEMPLATE_EXAMPLES)]
struct TemplateArgs {
    /// What the names of the indices begin with; without it, the setting `index_prefix`.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
#[command(after_help = SAVED_OBJECTS_EXAMPLES)]
struct SavedObjectsArgs {
    /// What the names of the indices begin with; without it, the setting `index_prefix`.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
#[command(after_help = PAGES_EXAMPLES)]
struct PagesArgs {
    /// The folder that gets `man`, `bash-completion`, `zsh` and `fish`.
    share: PathBuf,
}

/// The program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { EX_USAGE } else { 0 };
            return error.print().map_or(ExitCode::from(EX_IOERR), |()| ExitCode::from(code));
        }
    };
    let ended = match cli.command {
        #[cfg(feature = "aws")]
        Command::Run(args) => {
            read(&args).and_then(|(settings, places)| run(settings, places)).map(|()| ExitCode::SUCCESS)
        }
        #[cfg(feature = "aws")]
        Command::Setup(args) => operator::set_up(&args),
        #[cfg(feature = "aws")]
        Command::Verify(args) => operator::verify(&args),
        #[cfg(feature = "aws")]
        Command::Replay(args) => operator::replay(&args),
        #[cfg(feature = "aws")]
        Command::Redrive(args) => operator::redrive(&args),
        #[cfg(feature = "aws")]
        Command::Shards(args) => operator::shards(&args),
        Command::Health(args) => health::health(&args),
        Command::Check(args) => {
            read(&args).and_then(|(settings, places)| print(&settings, &places)).map(|()| ExitCode::SUCCESS)
        }
        Command::Pages(args) => {
            pages::write(Cli::command(), &args.share).map(|()| ExitCode::SUCCESS).map_err(anyhow::Error::from)
        }
        Command::Template(args) => template(args, &mut io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Command::SavedObjects(args) => saved_objects(args, &mut io::stdout().lock()).map(|()| ExitCode::SUCCESS),
    };
    match ended {
        Ok(code) => code,
        // Whoever reads our output has seen enough: `twosec-processor verify | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twosec-processor: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn read(args: &ConfigArgs) -> anyhow::Result<(Settings, Places)> {
    Ok(configured(args)?.check(worker(), now())?)
}

fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis() as Millis)
}

/// What the configuration file says, and the environment over it.
fn configured(args: &ConfigArgs) -> Result<Config, ConfigError> {
    let config = args.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
    Ok(config.overlay(|name| std::env::var(name).ok()))
}

/// A name that no other start of any process has.
fn worker() -> String {
    use std::hash::{BuildHasher, RandomState};
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}-{}-{random:016x}", host.trim(), std::process::id())
}

fn print(settings: &Settings, places: &Places) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "stream       {} from {:?}", settings.stream, settings.start)?;
    writeln!(out, "lease table  {} (as {})", places.lease_table, settings.worker)?;
    writeln!(out, "archive      s3://{}/{}", places.bucket, crate::archive::window::prefix(&settings.stream))?;
    writeln!(out, "window       {} s or {} MiB", settings.window_age.as_secs(), settings.window_bytes >> 20)?;
    let Search { url, auth, .. } = &places.opensearch;
    let bulks = settings.bulks_max;
    writeln!(out, "index        {url}/{}-* ({auth:?}), up to {bulks} requests at once", settings.index.prefix)?;
    writeln!(out, "memory       {} MiB for what is under way", settings.memory_bytes >> 20)?;
    match settings.http_listen {
        Some(address) => writeln!(out, "http         http://{address}: /healthz, /readyz and /metrics")?,
        None => writeln!(out, "http         off")?,
    }
    if settings.emf {
        writeln!(out, "cloudwatch   metrics to standard output, namespace {}", settings.stream)?;
    }
    let foreign = &settings.foreign;
    let days = foreign.max_age / event::time::DAY_MILLIS;
    writeln!(out, "foreign      lines as `{}`, times in {}, up to {days} days old", foreign.format, foreign.timezone)?;
    let whereabouts = if settings.redact.archive { "index and archive" } else { "the index, not in the archive" };
    let key = if settings.redact_key.is_some() { "the given key" } else { "a key of each start" };
    match settings.redact.keys.len() {
        0 => writeln!(out, "redact       nothing")?,
        keys => writeln!(out, "redact       values of {keys} keys in {whereabouts}, with {key}")?,
    }
    Ok(())
}

fn template(args: TemplateArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut config = configured(&args.config)?;
    config.index_prefix = args.prefix.or(config.index_prefix);
    Ok(writeln!(out, "{:#}", event::fields::index_template(&config.prefix()?))?)
}

fn saved_objects(args: SavedObjectsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut config = configured(&args.config)?;
    config.index_prefix = args.prefix.or(config.index_prefix);
    let objects = crate::setup::saved::saved_objects(&config.prefix()?);
    Ok(out.write_all(crate::setup::saved::ndjson(&objects).as_bytes())?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() {
        return EX_CONFIG;
    }
    if error.is::<NotASpan>() {
        return EX_USAGE;
    }
    if error.is::<pages::PagesError>() {
        return EX_CANTCREAT;
    }
    if error.is::<StateError>() || matches!(error.downcast_ref(), Some(ReplayError::State(_))) {
        return EX_IOERR;
    }
    let is_unavailable = error.is::<SetupError>()
        || error.is::<RunError>()
        || error.is::<VerifyError>()
        || error.is::<ReplayError>()
        || error.is::<RedriveError>();
    if is_unavailable { EX_UNAVAILABLE } else { EX_SOFTWARE }
}

#[cfg(feature = "aws")]
fn run(settings: Settings, places: Places) -> anyhow::Result<()> {
    use anyhow::Context;
    init_logging("info,aws_config=warn");
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(async {
        let stop = stop_on_signals().context("cannot listen to signals")?;
        let services = crate::connect::services(&settings, &places).await?;
        tracing::info!(stream = settings.stream, worker = settings.worker, "processing");
        tell(&settings, &services.meter);
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            ended = crate::run(settings, services, stop.clone()) => {
                ended?;
                tracing::info!("stopped; cursors are saved and leases given back");
            }
            () = late => tracing::warn!("stopped without an answer from S3 or OpenSearch; records since the cursors are read again"),
        }
        Ok(())
    })
}

/// Tells others how the process is. Whoever cannot be told is no reason to stop.
#[cfg(feature = "aws")]
fn tell(settings: &Settings, meter: &std::sync::Arc<crate::meter::Meter>) {
    if let Some(address) = settings.http_listen {
        let meter = meter.clone();
        tokio::spawn(async move {
            let never = tokio_util::sync::CancellationToken::new();
            if let Err(cause) = crate::metrics::serve(address, meter, never).await {
                tracing::warn!(%address, %cause, "nobody can ask for health or metrics");
            }
        });
    }
    if settings.emf {
        tokio::spawn(crate::metrics::emf::write(settings.stream.clone(), meter.clone()));
    }
}

/// Messages go to standard error, where a container's log driver takes them.
#[cfg(feature = "aws")]
fn init_logging(unless_told: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("TWOSEC_LOG").unwrap_or_else(|_| EnvFilter::new(unless_told));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
}

/// A token that the first SIGINT or SIGTERM cancels. The second one ends the process:
/// what is under way then is read again next time.
#[cfg(feature = "aws")]
fn stop_on_signals() -> io::Result<tokio_util::sync::CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = tokio_util::sync::CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(130);
            }
            told.cancel();
        }
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template_of(prefix: &str) -> anyhow::Result<String> {
        let Command::Template(args) =
            Cli::try_parse_from(["twosec-processor", "template", "--prefix", prefix])?.command
        else {
            panic!("another command was understood");
        };
        let mut out = Vec::new();
        template(args, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn the_template_is_for_indices_with_the_given_prefix() {
        let printed: serde_json::Value = serde_json::from_str(&template_of("shop").unwrap()).unwrap();
        assert_eq!(printed, event::fields::index_template("shop"));
        assert_eq!(printed["index_patterns"][0], "shop-*");
    }

    #[test]
    fn a_time_that_is_none_is_a_matter_of_usage() {
        let refused = crate::span::Span::read(Some("yesterday"), None).unwrap_err();
        assert_eq!(exit_code(&refused.into()), EX_USAGE);
    }

    #[test]
    fn a_prefix_that_no_index_can_have_is_refused() {
        let refused = template_of("Shop").unwrap_err();
        let expected = "`index_prefix` is `Shop`: use lower-case letters, digits, `-`, `_` and `.`";
        assert_eq!(refused.to_string(), expected);
        assert_eq!(exit_code(&refused), EX_CONFIG);
    }
}
