//! The command line: `twosec FILE...` and `twosec search QUERY`.

use crate::index::LocalIndex;
use crate::input::{self, InputError};
use crate::reclassify;
use crate::run::{self, Plan, RunError};
use crate::summary::{self, Summary};
use crate::text::plain;
use agent::cli::is_broken_pipe;
use agent::enrich::EnrichSettings;
use agent::lock::LockError;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use event::Format;
use event::address::{Networks, NetworksError};
use event::waf::{IpVersion, ip_set};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Not all of it could be done.
const EX_INCOMPLETE: u8 = 1;

/// Exit codes of sysexits(3).
const EX_USAGE: u8 = 64;
const EX_DATAERR: u8 = 65;
const EX_NOINPUT: u8 = 66;
const EX_UNAVAILABLE: u8 = 69;
const EX_SOFTWARE: u8 = 70;
const EX_IOERR: u8 = 74;
const EX_TEMPFAIL: u8 = 75;

const EXAMPLES: &str = "\
Examples:
  twosec --once access.log             what happened in this log, and the end
  twosec --once access.log*            rotated and gzip'd files too
  twosec /var/log/apache2/access.log   follow it; the page is on http://127.0.0.1:7654
  twosec search 'attack.categories:sqli AND source.ip:192.0.2.7'
  twosec incidents                     who attacked, an incident each
  twosec reclassify                    after an update: the old lines by the new rules
  twosec search --json 'http.response.status_code:[500 TO 599]' | jq .url.path

Everything is kept in the folder given by --data (default ./twosec-data): the original
lines, the index, and how far each file has been read. Started again with the same
folder it goes on where it was.";

/// Who attacks this web server, with what, and did it work?
///
/// Reads Apache access logs, finds attacks, keeps the original lines in an archive and
/// makes all of it searchable. No account, no server.
#[derive(Debug, Parser)]
#[command(name = "twosec", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Search the index, newest first.
    Search(SearchArgs),
    /// Show who attacked, an incident each, latest first.
    Incidents(IncidentsArgs),
    /// Make the index anew from the archive, by this version's rules.
    Reclassify(ReclassifyArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Log files, gzip'd ones too; or quoted patterns such as '/var/log/apache2/*access.log'.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Read to the end of the files, print a summary, and end.
    #[arg(long)]
    once: bool,
    /// Print the summary as JSON.
    #[arg(long, requires = "once")]
    json: bool,
    /// The folder for archive, index and positions.
    #[arg(long, value_name = "DIR", default_value = "twosec-data")]
    data: PathBuf,
    /// How the lines are written: auto, combined, common, vhost_combined, or Apache's own
    /// LogFormat string, such as `%h %t "%r" %>s`.
    #[arg(long, default_value = "auto")]
    format: Format,
    /// Keep passwords, tokens and session ids as they stand in the log, in index and archive.
    #[arg(long)]
    keep_secrets: bool,
    /// A MaxMind database (City, Country or ASN) that tells where clients are; may be repeated.
    #[arg(long, value_name = "FILE")]
    geoip: Vec<PathBuf>,
    /// A file that names networks, such as those of cloud providers: `198.51.100.0/24 Example`.
    #[arg(long, value_name = "FILE")]
    networks: Option<PathBuf>,
    /// Address or network of a balancer whose X-Forwarded-For is believed; may be repeated.
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    trusted_proxy: Vec<String>,
    /// A folder of your own rules: its `*.toml` files add, switch off and allow.
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Port of the live page on this machine; 0 takes any free one.
    #[arg(long, default_value_t = 7654, conflicts_with = "once")]
    port: u16,
}

#[derive(Debug, Args)]
struct SearchArgs {
    /// What to look for, such as `attack.categories:xss AND NOT source.ip:192.0.2.7`.
    query: String,
    /// Print documents, one a line.
    #[arg(long)]
    json: bool,
    /// Events at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// The folder given to `twosec FILE`.
    #[arg(long, value_name = "DIR", default_value = "twosec-data")]
    data: PathBuf,
}

#[derive(Debug, Args)]
struct IncidentsArgs {
    /// Print documents, one a line.
    #[arg(long, conflicts_with_all = ["networks", "waf_ip_set"])]
    json: bool,
    /// Print the actors as networks in CIDR notation, one a line, for a firewall's list.
    #[arg(long)]
    networks: bool,
    /// Print the actors as the body of AWS WAF's CreateIPSet; `ipv4` or `ipv6`.
    #[arg(long, value_name = "VERSION", conflicts_with = "networks")]
    waf_ip_set: Option<IpVersion>,
    /// Incidents at most, the newest; all of them where it is not given.
    #[arg(long)]
    limit: Option<usize>,
    /// The folder given to `twosec FILE`.
    #[arg(long, value_name = "DIR", default_value = "twosec-data")]
    data: PathBuf,
}

const RECLASSIFY_HELP: &str = "\
After an update: all archived lines are judged by the rules of this version, and the index is
made anew beside the old one, which is in use until the new one is whole. Lines keep their ids.
Findings on masked values stay, since nobody can judge these again; incidents stay as they were
seen. `twosec FILE` must not run on the same folder meanwhile.

Exit codes: 0 done, 1 done but some of the archive could not be read, 66 no archive, 74 the
folder cannot be written, 75 `twosec FILE` is running or the command was stopped; then the index
is as it was.

Examples:
  twosec reclassify
  twosec reclassify --data /var/lib/twosec --json | jq .reclassified.found";

#[derive(Debug, Args)]
#[command(after_help = RECLASSIFY_HELP)]
struct ReclassifyArgs {
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// The folder given to `twosec FILE`.
    #[arg(long, value_name = "DIR", default_value = "twosec-data")]
    data: PathBuf,
    /// The folder of your own rules, as for `twosec FILE`.
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
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
    init_logging();
    let ended = match cli.command {
        Some(Command::Search(args)) => search(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::Incidents(args)) => incidents(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::Reclassify(args)) => reclassify(&args),
        None => read(cli.run).map(|()| ExitCode::SUCCESS),
    };
    match ended {
        Ok(code) => code,
        // Whoever reads our output has seen enough: `twosec search ... | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twosec: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn init_logging() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("TWOSEC_LOG").unwrap_or_else(|_| EnvFilter::new("warn,tantivy=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(input) = error.downcast_ref::<InputError>() {
        return if matches!(input, InputError::NotText { .. }) { EX_DATAERR } else { EX_NOINPUT };
    }
    match error.downcast_ref::<RunError>() {
        Some(RunError::Data(LockError::Taken { .. }) | RunError::Stopped) => EX_TEMPFAIL,
        Some(RunError::Data(_) | RunError::Folder { .. } | RunError::Write(_) | RunError::Late(_)) => EX_IOERR,
        Some(RunError::Port { .. }) => EX_UNAVAILABLE,
        Some(RunError::NoIndex(_) | RunError::NoArchive(_)) => EX_NOINPUT,
        Some(RunError::Query(_)) => EX_USAGE,
        Some(_) | None => EX_SOFTWARE,
    }
}

/// Checks a network, and keeps it as it is written.
fn network(text: &str) -> Result<String, NetworksError> {
    event::address::network(text).map(|_| text.to_owned())
}

fn read(args: RunArgs) -> anyhow::Result<()> {
    let files = args.files.iter().map(|file| input::check(file, args.format.clone())).collect::<Result<Vec<_>, _>>()?;
    let trusted_proxies = Networks::parse(&args.trusted_proxy).context("--trusted-proxy")?;
    let plan = Plan {
        files,
        enrich: EnrichSettings { geoip: args.geoip, networks: args.networks, trusted_proxies },
        rules: args.rules,
        data: args.data,
        keep_secrets: args.keep_secrets,
        once: args.once,
        port: args.port,
        bar: args.once && io::stderr().is_terminal(),
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let ended = runtime.block_on(run::run(plan));
    // Threads that wait for room in a queue, or for the page, must not hold the end up.
    runtime.shutdown_background();
    let summary = ended?;
    if args.once {
        return print(&summary, args.json);
    }
    eprintln!(
        "{} new lines, {} attacks in all; start again with the same --data to go on",
        summary.new_lines, summary.attacks
    );
    Ok(())
}

fn print(summary: &Summary, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, summary).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", summary::render(summary))?;
    }
    Ok(out.flush()?)
}

fn reclassify(args: &ReclassifyArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let report = runtime.block_on(reclassify::run(&args.data, args.rules.as_deref()))?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EX_INCOMPLETE) })
}

/// The index in a data folder.
fn open_index(data: &Path) -> anyhow::Result<Arc<LocalIndex>> {
    let path = data.join("index");
    if !path.join("meta.json").exists() {
        return Err(RunError::NoIndex(data.to_owned()).into());
    }
    LocalIndex::read(&path).context("cannot open the index")
}

fn incidents(args: &IncidentsArgs) -> anyhow::Result<()> {
    let incidents = open_index(&args.data)?.incidents(args.limit.unwrap_or(usize::MAX)).incidents;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut networks = BTreeSet::new();
    for incident in &incidents {
        let document: Value = serde_json::from_str(incident.get()).unwrap_or_default();
        let text = |pointer: &str| plain(document.pointer(pointer).and_then(Value::as_str).unwrap_or("-"));
        if args.networks || args.waf_ip_set.is_some() {
            let network = event::address::network(&text("/source/address")).ok();
            networks.extend(network.filter(|network| !event::address::is_inside(network.addr())));
        } else if args.json {
            writeln!(out, "{}", incident.get())?;
        } else {
            writeln!(out, "{}  {:<8}  {}", text("/event/end"), text("/attack/severity"), text("/message"))?;
        }
    }
    match args.waf_ip_set {
        Some(version) => writeln!(out, "{:#}", ip_set("twosec-actors", version, &networks))?,
        None => networks.iter().try_for_each(|network| writeln!(out, "{network}"))?,
    }
    Ok(out.flush()?)
}

fn search(args: &SearchArgs) -> anyhow::Result<()> {
    let index = open_index(&args.data)?;
    let query = index.query(&args.query).map_err(RunError::Query)?;
    let hits = index.events(&*query, args.limit, 0).map_err(RunError::Query)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for event in &hits.events {
        match args.json {
            true => writeln!(out, "{}", event.get())?,
            false => writeln!(out, "{}", row(&serde_json::from_str(event.get()).unwrap_or_default()))?,
        }
    }
    out.flush()?;
    if !args.json {
        eprintln!("{} of {} events", hits.events.len(), hits.total);
    }
    Ok(())
}

/// An event on one line of a terminal.
fn row(event: &Value) -> String {
    let text = |pointer: &str| plain(event.pointer(pointer).and_then(Value::as_str).unwrap_or("-"));
    let categories = event["attack"]["categories"]
        .as_array()
        .map_or_else(String::new, |all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","));
    let target = match event["url"]["original"].as_str() {
        Some(target) => format!("{} {}", text("/http/request/method"), plain(target)),
        None => text("/event/original"),
    };
    let status = event["http"]["response"]["status_code"].as_u64().map_or("-".to_owned(), |code| code.to_string());
    format!("{}  {:<15}  {status:>3}  {categories:<12}  {target}", text("/@timestamp"), text("/source/address"))
}
