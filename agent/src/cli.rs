//! The command line of `twosec-agent`.

use crate::host;
use crate::init::{self, InitError};
use crate::rules::{self, Rules};
use crate::settings::{Config, ConfigError, LineFormat};
use crate::status::{self, StatusError};
use crate::tools;
#[cfg(feature = "aws")]
use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use event::address::{Networks, NetworksError};
use event::waf::IpVersion;
use event::{Classifier, Zone};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit codes of sysexits(3). systemd does not start a unit again that ends with
/// [`EX_CONFIG`], where the unit says so (`RestartPreventExitStatus=78`).
const EX_USAGE: u8 = 64;
const EX_NOINPUT: u8 = 66;
const EX_UNAVAILABLE: u8 = 69;
const EX_SOFTWARE: u8 = 70;
const EX_CANTCREAT: u8 = 73;
const EX_IOERR: u8 = 74;
const EX_TEMPFAIL: u8 = 75;
const EX_NOPERM: u8 = 77;
const EX_CONFIG: u8 = 78;

const EXAMPLES: &str = "\
Examples:
  twosec-agent init                             write a configuration to begin with
  twosec-agent check                            is the configuration good, and what does it mean?
  twosec-agent run                              tail and ship, as the systemd unit does
  twosec-agent status                           does it keep up? what stands in the way?
  twosec-agent parse access.log | jq .source.ip
  twosec-agent parse --format error --timezone Europe/Berlin error.log
  tail -1 access.log | twosec-agent explain -   why is this line an attack, or not?
  twosec-agent explain --tsv access.log         line number and categories of each attack
  twosec-agent incidents access.log | jq .outcome
  twosec-agent rules list
  twosec-agent fields                           what documents hold, and what it means";

const INIT_EXAMPLES: &str = "\
Examples:
  sudo twosec-agent init
  twosec-agent init --config - | less
  twosec-agent init --config ./agent.toml --force";

const STATUS_EXAMPLES: &str = "\
Exit codes: 0 all is well, 1 something stands in the way, 69 no agent runs.

Examples:
  sudo twosec-agent status
  sudo twosec-agent status --json | jq '[.files[].lag_bytes] | add'
  sudo twosec-agent status > /dev/null || echo 'look at web-1'";

const FIELDS_EXAMPLES: &str = "\
A type with [] is an array of values. Fields of `twosec.` and `attack.` are our own, all others
those of the Elastic Common Schema 8.11.

Examples:
  twosec-agent fields | grep ^attack
  twosec-agent fields --json | jq -r '.[] | select(.type == \"ip\").name'";

const PAGES_EXAMPLES: &str = "\
Examples:
  twosec-agent pages ~/.local/share          and then: man twosec-agent
  sudo twosec-agent pages /usr/local/share";

const INCIDENTS_EXAMPLES: &str = "\
What one actor does until half an hour of quiet is one incident, however many lines it is. Each has
`source`, `from`, `to`, `categories`, `outcome` and the numbers of its lines, by file where there are
several.

Examples:
  twosec-agent incidents access.log error.log | jq .outcome_reason
  twosec-agent incidents access.log | jq -r '[.source, .outcome, .requests] | @tsv'
  twosec-agent incidents access.log.*.gz | jq 'select(.outcome == \"likely_succeeded\")'
  twosec-agent incidents --networks access.log > deny.txt
  twosec-agent incidents --waf-ip-set ipv4 access.log > set.json
  aws wafv2 create-ip-set --cli-input-json file://set.json";

const RULES_EXAMPLES: &str = "\
Exit codes: 0 all is well, 1 something is wrong.

A drop-in file, such as /etc/twosec/rules.d/shop.toml:
  disable = [\"scanner-attack-tool\"]          rules that are switched off; `xss-*` for several

  [[allow]]                                    what is no attack although a rule matches
  about = \"Our reports take SQL.\"
  categories = [\"sqli\"]                      or rules = [\"sqli-*\"]; without both, all
  path = [\"/reports/*\"]                      also parameters, user_agent, clients
  examples = [\"/reports/run?q=select * from users where 1=1 or 2=2\"]

  [[rule]]                                     a rule of your own
  id = \"shop-voucher\"
  about = \"Somebody guesses vouchers.\"
  category = \"bruteforce\"
  confidence = \"medium\"
  score = 60                                   50 alerts by itself
  technique = [\"T1110.004\"]                  also cwe = [\"CWE-307\"], capec = [\"CAPEC-49\"]: where
                                               they differ from what the category stands for
  where = [\"url.query\"]                      or url.path, url.original, user_agent, ...
  literals = [\"voucher-\"]                    one of them is in every match; lower case
  regex = '^voucher-[a-z0-9]{12}$'             on the decoded text in lower case
  when = [{ field = \"http.request.method\", regex = \"^post$\" }]
  # host = \"not-own\"                         of an address: not of this server's own site (%v)
  examples = ['192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] \"POST /?v=voucher-abcdef012345 HTTP/1.1\" 200 5']
  counter_examples = [\"/?v=voucher-abc\"]

Examples:
  twosec-agent rules check
  twosec-agent rules check ./shop.toml && sudo cp shop.toml /etc/twosec/rules.d/
  sudo systemctl reload twosec-agent            and `status` tells which rules are in use";

const SIGMA_EXAMPLES: &str = "\
Read are rules of `category: webserver` with contains, startswith, endswith, re, all, keywords and
conditions of and, or, not, 1 of, all of. What cannot be expressed is named on standard error.
Each rule keeps its author in `about`: the Detection Rule License asks for it.

Exit codes: 0 all were imported, 1 some were not.

Examples:
  twosec-agent rules import-sigma sigma/rules/web/webserver_generic/*.yml > sigma.toml
  twosec-agent rules check sigma.toml && sudo cp sigma.toml /etc/twosec/rules.d/";

/// Tails Apache logs, finds attacks, and ships the lines to Kinesis.
#[derive(Debug, Parser)]
#[command(name = "twosec-agent", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tail and ship until SIGTERM.
    #[cfg(feature = "aws")]
    Run(ConfigArgs),
    /// Write a configuration with a comment for each setting.
    Init(InitArgs),
    /// Print the effective settings, or what is wrong with them.
    Check(ConfigArgs),
    /// Ask the running agent: lag, spool, troubles.
    Status(StatusArgs),
    /// Print one ECS document for each line of a log.
    Parse(ParseArgs),
    /// Tell why a line is an attack, or why not.
    Explain(ExplainArgs),
    /// Print the incidents in a log: who, when, what, and whether it worked.
    Incidents(IncidentsArgs),
    /// The rules that find attacks.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// The fields of documents: name, type and meaning.
    Fields(FieldsArgs),
    /// Write manual pages, and completions for bash, zsh and fish.
    Pages(PagesArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    #[arg(long, value_name = "FILE", default_value = "/etc/twosec/agent.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = INIT_EXAMPLES)]
struct InitArgs {
    /// Where to write; `-` for standard output.
    #[arg(long, value_name = "FILE", default_value = "/etc/twosec/agent.toml")]
    config: PathBuf,
    /// Overwrite what is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = STATUS_EXAMPLES)]
struct StatusArgs {
    /// The configuration that the agent runs with: it names the agent's folder.
    #[arg(long, value_name = "FILE", default_value = "/etc/twosec/agent.toml")]
    config: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ParseArgs {
    /// A log, gzip'd or not; standard input without one.
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

#[derive(Debug, Args)]
struct ReadingArgs {
    /// How the lines are written: auto, combined, common, vhost_combined, error, docker, or
    /// Apache's own LogFormat string, such as `%h %t "%r" %>s`.
    #[arg(long, default_value = "auto")]
    format: LineFormat,
    /// The zone of times that tell none: Europe/Berlin, or a rule such as
    /// CET-1CEST,M3.5.0,M10.5.0/3; the default is the host's own, for docker UTC.
    #[arg(long, value_name = "ZONE", value_parser = host::zone_named)]
    timezone: Option<Zone>,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// A line of a log; `-`, or nothing, for lines on standard input.
    line: Option<String>,
    /// Print `line number, categories` of each attack in this log, tab separated.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["line", "json"])]
    tsv: Option<PathBuf>,
    /// Print all that was seen as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

#[derive(Debug, Args)]
#[command(after_help = INCIDENTS_EXAMPLES)]
struct IncidentsArgs {
    /// Logs of one host, gzip'd or not, in any order: their lines are seen as their times tell.
    /// Standard input without one.
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,
    /// Address or network of a balancer whose X-Forwarded-For is believed; may be repeated.
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    trusted_proxy: Vec<String>,
    /// Print the actors as networks in CIDR notation, one a line.
    #[arg(long)]
    networks: bool,
    /// Print the actors as the body of AWS WAF's CreateIPSet; `ipv4` or `ipv6`.
    #[arg(long, value_name = "VERSION", conflicts_with = "networks")]
    waf_ip_set: Option<IpVersion>,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

/// Checks a network, and keeps it as it is written.
fn network(text: &str) -> Result<String, NetworksError> {
    event::address::network(text).map(|_| text.to_owned())
}

impl IncidentsArgs {
    fn shape(&self) -> tools::Shape {
        match (self.waf_ip_set, self.networks) {
            (Some(version), _) => tools::Shape::IpSet(version),
            (None, true) => tools::Shape::Networks,
            (None, false) => tools::Shape::Json,
        }
    }
}

#[derive(Debug, Args)]
struct RulesArgs {
    /// The folder of your own rules.
    #[arg(long = "rules", value_name = "DIR", default_value = rules::FOLDER)]
    folder: PathBuf,
}

impl RulesArgs {
    /// The rules. What is wrong with the user's is told on standard error.
    fn open(&self) -> Classifier {
        let Rules { classifier, refused } = rules::open(Some(&self.folder));
        refused.iter().for_each(|reason| eprintln!("twosec-agent: {reason}"));
        classifier
    }
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Run every rule's own examples, and say what is wrong with yours.
    #[command(after_help = RULES_EXAMPLES)]
    Check {
        /// Drop-in files to try; none for those of the folder.
        files: Vec<PathBuf>,
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// Turn Sigma rules for web servers into a drop-in file, on standard output.
    #[command(after_help = SIGMA_EXAMPLES)]
    ImportSigma {
        /// Sigma rules in YAML.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the rules, a line each.
    List {
        #[command(flatten)]
        rules: RulesArgs,
        /// Print the list as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = FIELDS_EXAMPLES)]
struct FieldsArgs {
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
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
    match perform(cli.command) {
        Ok(code) => code,
        // Whoever reads our output has seen enough: `twosec-agent parse ... | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twosec-agent: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn perform(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        #[cfg(feature = "aws")]
        Command::Run(args) => run(&args.config).map(|()| ExitCode::SUCCESS),
        Command::Init(args) => init(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check(&args.config).map(|()| ExitCode::SUCCESS),
        Command::Status(args) => status(&args),
        Command::Parse(args) => {
            tools::parse(&args.file, args.reading.into(), args.rules.open()).map(|()| ExitCode::SUCCESS)
        }
        Command::Incidents(args) => {
            let (shape, rules) = (args.shape(), args.rules.open());
            let proxies = Networks::parse(&args.trusted_proxy)?;
            tools::incidents(&args.files, &args.reading.into(), rules, proxies, shape).map(|()| ExitCode::SUCCESS)
        }
        Command::Explain(args) => explain(args).map(|()| ExitCode::SUCCESS),
        Command::Rules(RulesCommand::List { rules, json }) => {
            tools::list_rules(&rules.open(), json).map(|()| ExitCode::SUCCESS)
        }
        Command::Pages(args) => Ok(pages::write(Cli::command(), &args.share).map(|()| ExitCode::SUCCESS)?),
        Command::Fields(args) => tools::list_fields(args.json).map(|()| ExitCode::SUCCESS),
        Command::Rules(RulesCommand::ImportSigma { files }) => {
            let whole = tools::import_sigma(&files)?;
            Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Rules(RulesCommand::Check { files, rules }) => {
            let good = tools::check_rules(&files, &rules.folder)?;
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn explain(args: ExplainArgs) -> anyhow::Result<()> {
    let (classifier, style) = (args.rules.open(), args.style());
    let asking = tools::Asking { classifier: &classifier, reading: args.reading.into(), style };
    match (args.tsv, args.line.as_deref()) {
        (Some(file), _) => tools::detected(&file, &asking),
        (None, None | Some("-")) => tools::explain_all(&asking),
        (None, Some(line)) => tools::explain(line.as_bytes(), &asking),
    }
}

impl ExplainArgs {
    /// Colour is for terminals, and for nobody who has set NO_COLOR (no-color.org).
    fn style(&self) -> tools::Style {
        let is_told = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self.json {
            true => tools::Style::Json,
            false if io::stdout().is_terminal() && !is_told => tools::Style::Colour,
            false => tools::Style::Plain,
        }
    }
}

impl From<ReadingArgs> for tools::Reading {
    fn from(args: ReadingArgs) -> tools::Reading {
        let default = if args.format.is_docker { Zone::UTC } else { host::zone() };
        tools::Reading { lines: args.format, zone: args.timezone.unwrap_or(default) }
    }
}

fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::read(path)?;
    let settings = config.check()?;
    let mut out = io::stdout().lock();
    writeln!(out, "stream    {} ({})", config.stream.name, config.stream.format)?;
    write!(out, "{}", settings.describe())?;
    tools::check_files(&settings.files, &mut out)
}

fn init(args: &InitArgs) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.config == Path::new("-") {
        return Ok(out.write_all(init::CONFIG.as_bytes())?);
    }
    init::write(&args.config, args.force)?;
    let path = args.config.display();
    writeln!(out, "wrote `{path}`\nnext: set `stream.name` in it, then `twosec-agent check --config {path}`")?;
    Ok(())
}

fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let report = status::ask(&config.spool.path)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", status::render(&report))?;
    }
    let well = status::troubles(&report).next().is_none();
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ships until a signal.
#[cfg(feature = "aws")]
fn run(path: &Path) -> anyhow::Result<()> {
    crate::logging::init();
    // The tailer has a thread of its own; all else waits for the network most of the time,
    // and for each other it need not wake a second thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let ended = runtime.block_on(crate::service::run(path));
    // What still hangs on a disk would hold the end up.
    runtime.shutdown_background();
    ended
}

/// Whether whoever reads our output has gone: no trouble of ours.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() {
        return EX_CONFIG;
    }
    if error.is::<tools::InputError>() {
        return EX_NOINPUT;
    }
    if error.is::<InitError>() || error.is::<pages::PagesError>() {
        return EX_CANTCREAT;
    }
    match error.downcast_ref::<StatusError>() {
        Some(StatusError::NotRunning { .. } | StatusError::NoAnswer { .. }) => return EX_UNAVAILABLE,
        Some(StatusError::NotAllowed { .. }) => return EX_NOPERM,
        Some(StatusError::NotOurs { .. }) | None => {}
    }
    match error.downcast_ref::<crate::RunError>() {
        Some(crate::RunError::Lock(crate::lock::LockError::Taken { .. })) => EX_TEMPFAIL,
        Some(_) => EX_IOERR,
        None => EX_SOFTWARE,
    }
}
