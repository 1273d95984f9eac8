//! The commands of an operator: what reads the archive again.

use super::{ConfigArgs, EX_TEMPFAIL, configured, init_logging, now, read, stop_on_signals};
use crate::RunError;
use crate::progress::{Progress, bytes, counted};
use crate::receive::Feed;
use crate::redrive::{self, Redrive};
use crate::replay::state::StateFile;
use crate::replay::{Reached, Replay};
use crate::settings::Config;
use crate::setup::{self, Wanted};
use crate::shards;
use crate::span::Span;
use crate::verify::{self, Verify};
use crate::{aws, connect};
use anyhow::Context;
use clap::Args;
use event::{Millis, Reclassifier};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// What was looked for is not as it should be.
const FOUND: u8 = 1;

/// Objects that a replay works on at once.
const OBJECTS_AT_ONCE: usize = 4;

const SETUP_HELP: &str = "\
What is there is read first, so only what differs is written, and a second run writes nothing.
Fields stand in the component template PREFIX-fields. What you want otherwise, such as more
shards, belongs into PREFIX-custom, which is made empty and never written again. Indices that
are there already keep their mapping: set up before the first event, and after an upgrade the
next day's index has the new fields.

With --dashboards-url four dashboards (web attacks, incidents, actors, pipeline health) with their
searches and index patterns come into Dashboards, for all who log in. Those that have our ids are
put back to what this version wants: copy a dashboard before you change it. `saved-objects` prints
them for an import by hand.

With --alerts-to two monitors look every five minutes: for incidents that likely succeeded, and
whether a line of the last hour is there. Each tells at most twice an hour. A monitor that you have
disabled stays so until a version changes it.

Asks as an administrator: settings and credentials are those of `run`, whose role may not do it.

Exit codes: 0 done, 1 a plugin is missing and --allow-missing was not given, 64 usage, 69 the
domain does not answer, refuses, or is too old, 78 configuration.

Examples:
  twosec-processor setup --dry-run --retention-days 90
  twosec-processor setup --retention-days 90 --writer arn:aws:iam::123456789012:role/twosec-processor
  twosec-processor setup --dashboards-url https://search.example.com/_dashboards
  twosec-processor setup --alerts-to arn:aws:sns:eu-central-1:123456789012:alarms \\
      --alerts-role arn:aws:iam::123456789012:role/publish
  TWOSEC_OPENSEARCH_URL=http://127.0.0.1:9200 TWOSEC_OPENSEARCH_AUTH=none twosec-processor setup";

#[derive(Debug, Args)]
#[command(after_help = SETUP_HELP)]
pub struct SetupArgs {
    /// Delete daily indices after so many days (ISM policy PREFIX-retention). The archive keeps
    /// the lines. Without it no policy is made, and none that is there is touched.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..))]
    retention_days: Option<u32>,
    /// An IAM role, or another backend role, that may index (security role PREFIX-writer). May be
    /// given more than once.
    #[arg(long = "writer", value_name = "ARN")]
    writers: Vec<String>,
    /// One that may search and look at dashboards, and change nothing (security role PREFIX-reader).
    /// May be given more than once. Dashboards asks for OpenSearch's own role
    /// `opensearch_dashboards_user` as well: map it there.
    #[arg(long = "reader", value_name = "ARN")]
    readers: Vec<String>,
    /// OpenSearch Dashboards, to put dashboards into; without it, the setting `dashboards_url`,
    /// and without that nothing is sent there.
    #[arg(long, value_name = "URL")]
    dashboards_url: Option<String>,
    /// Who is told of an attack that likely worked, and of an hour without lines: the address of a
    /// webhook (of Slack, too), the ARN of an SNS topic, or the id of a channel that is there;
    /// without it, the setting `alerts_to`, and without that no monitor is made.
    #[arg(long, value_name = "WHERE")]
    alerts_to: Option<String>,
    /// The IAM role with which the domain may publish to that topic.
    #[arg(long, value_name = "ARN")]
    alerts_role: Option<String>,
    /// Print what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Succeed although the domain lacks a plugin that a part needs.
    #[arg(long)]
    allow_missing: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Brings a domain to what the index needs.
pub fn set_up(args: &SetupArgs) -> anyhow::Result<ExitCode> {
    let mut config = configured(&args.config)?;
    config.dashboards_url = args.dashboards_url.clone().or(config.dashboards_url);
    config.alerts_to = args.alerts_to.clone().or(config.alerts_to);
    config.alerts_role = args.alerts_role.clone().or(config.alerts_role);
    let (search, dashboards) = (config.opensearch()?, config.dashboards()?);
    let wanted = Wanted {
        prefix: config.prefix()?,
        period: config.index_period()?,
        retention_days: args.retention_days,
        writers: args.writers.clone(),
        readers: args.readers.clone(),
        alerts: config.alerts()?,
    };
    let report = run(async {
        let sdk = aws::sdk_config().await;
        let mut report = setup::set_up(&connect::domain(&sdk, &search)?, &wanted, args.dry_run).await?;
        if let Some(dashboards) = &dashboards {
            let objects = setup::saved::saved_objects(&wanted.prefix);
            report.parts.extend(setup::show(&connect::domain(&sdk, dashboards)?, &objects, args.dry_run).await?);
        }
        Ok(report)
    })?;
    print(&report, &report.to_string(), args.json)?;
    if !report.lacks_plugins() || args.allow_missing {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("twosec-processor: the domain lacks a plugin; --allow-missing goes on without");
    Ok(ExitCode::from(FOUND))
}

const VERIFY_HELP: &str = "\
Each object of the archive names the record that it follows. So one that is gone is found, and
so is one that was put between, moved, cut or changed; and one that is gone from the end, by
the checkpoint of the shard's lease (where `lease_table` is set), or by the object that says
that a shard ends. With --to the object behind the last hour tells what is gone from its end, and
with --from the one before the first hour, if the week before has one, what is gone from its
beginning.

Where `lease_table` is set, an object that is ahead of its shard's checkpoint is named, too,
unless the lease catches up within a minute; so is a chain of a shard that has no row although
the stream still keeps records of its age. Up to eight objects that follow a checkpoint which nobody
moves are told and no finding: a processor that is stopped before it has written its row leaves
them, and the next one goes on behind them. Without a lease table the report says that none was looked at.
Nothing is written.

Exit codes: 0 clean, 1 something was found, 64 usage, 69 the archive does not answer,
78 configuration.

Examples:
  twosec-processor verify
  twosec-processor verify --from 2026-11-01 --to 2026-11-16 --json | jq .findings
  twosec-processor verify --shard shardId-000000000000 --from 2026-11-16T08:00:00Z";

#[derive(Debug, Args)]
#[command(after_help = VERIFY_HELP)]
pub struct VerifyArgs {
    /// Begin with the hour of arrival of this day or time, such as 2026-11-16 or
    /// 2026-11-16T08:00:00Z. A chain whose older objects a lifecycle rule has deleted needs it.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// End with the hour of arrival of this day (all of it) or time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Look at one shard only.
    #[arg(long, value_name = "ID")]
    shard: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Proves the archive whole, or says what is wrong with it.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let span = Span::read(args.from.as_deref(), args.to.as_deref())?;
    let config = configured(&args.config)?;
    let (stream, bucket) = (config.stream()?, config.bucket()?);
    let report = run(async {
        let sdk = aws::sdk_config().await;
        let table = config.lease_table.as_deref().filter(|table| !table.is_empty());
        let (mut kept_since, mut stream_created) = (None, None);
        if table.is_some() {
            let feed = connect::stream(&sdk, &stream);
            kept_since = Some(now() - kept(&*feed).await.as_millis() as Millis);
            stream_created = feed.created().await.unwrap_or_default();
        }
        let verify = Verify {
            archive: connect::archive(&sdk, &bucket),
            leases: table.map(|table| connect::leases(&sdk, table)),
            kept_since,
            stream_created,
            stream,
            span,
            shard: args.shard.clone(),
        };
        let mut progress = Progress::new();
        Ok(verify.run(|report| progress.tell(|| verified(report))).await?)
    })?;
    print(&report, &report.to_string(), args.json)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// How long the stream keeps its records; where it does not tell, the shortest time that any does
/// (Kinesis quotas).
async fn kept(stream: &dyn Feed) -> Duration {
    let told = stream.retention().await.unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "the stream is taken to keep records for a day");
        None
    });
    told.unwrap_or(Duration::from_secs(24 * 3_600))
}

fn verified(report: &verify::Report) -> String {
    let hour = report.hour.map(|hour| event::time::rfc3339(hour)[..13].to_owned()).unwrap_or_default();
    format!("{hour}h  {}  {}", counted(report.objects, "object"), bytes(report.bytes))
}

const REPLAY_HELP: &str = "\
Documents have the ids that they had when their lines came, so what is there already stays one
document, and a replay may be broken off and begun again anywhere. With --state the same command
goes on where the last one was broken off; without it the way to go on is printed.

--from and --to mean when records arrived in the stream, to the minute. A line that came late
stands in the index of its own day.

With --reclassify lines get the verdict of this program's rules, whose number is the version of
their documents: they replace those of older rules, and no older ones replace them. Findings on
masked values stay, since nobody can judge these again. Incidents stay as their agents saw them.

Exit codes: 0 done, 1 done but something could not be read or was refused, 64 usage, 69 archive
or index do not answer, 75 broken off, 78 configuration.

Examples:
  twosec-processor replay --from 2026-11-01 --to 2026-11-16
  twosec-processor replay --from 2026-11-16T08:00:00Z --index-prefix again
  twosec-processor replay --from 2026-01-01 --reclassify --dry-run
  twosec-processor replay --from 2026-01-01 --reclassify --state /var/tmp/replay.json";

#[derive(Debug, Args)]
#[command(after_help = REPLAY_HELP)]
pub struct ReplayArgs {
    /// Begin with what arrived on this day or at this time, such as 2026-11-16 or
    /// 2026-11-16T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: String,
    /// End with what arrived on this day (all of it) or before this time; without it, with what
    /// is archived now.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// What the names of the indices begin with; without it, the setting `index_prefix`.
    #[arg(long, value_name = "PREFIX")]
    index_prefix: Option<String>,
    /// Judge the lines by this program's rules.
    #[arg(long)]
    reclassify: bool,
    /// Say what would be indexed, and what newer rules would change; index nothing.
    #[arg(long, conflicts_with = "state")]
    dry_run: bool,
    /// A file that knows how far it has come; it is deleted when nothing is left to do.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Indexes from the archive again.
pub fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let span = Span::read(Some(&args.from), args.to.as_deref())?;
    let mut config = configured(&args.config)?;
    config.index_prefix = args.index_prefix.clone().or(config.index_prefix);
    let (replay, reached) = run(async {
        let replay = replay_of(args, &config, span).await?;
        let reached = replay_on(args, &replay).await?;
        Ok((replay, reached))
    })?;
    print(&reached.report, &reached.report.to_string(), args.json)?;
    if !reached.is_done {
        eprintln!("twosec-processor: broken off; {}", way_on(args, &replay, &reached));
        return Ok(ExitCode::from(EX_TEMPFAIL));
    }
    Ok(if reached.report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

async fn replay_of(args: &ReplayArgs, config: &Config, span: Span) -> anyhow::Result<Replay> {
    let (stream, bucket, names) = (config.stream()?, config.bucket()?, config.index_names()?);
    let opensearch = if args.dry_run { None } else { Some(config.opensearch()?) };
    let sdk = aws::sdk_config().await;
    Ok(Replay {
        archive: connect::archive(&sdk, &bucket),
        index: opensearch.map(|search| connect::index(&sdk, &search)).transpose()?,
        names,
        stream,
        span,
        rules: args.reclassify.then(|| Reclassifier::new(Arc::clone(config.own_rules().classifier()))),
        objects_at_once: OBJECTS_AT_ONCE,
    })
}

/// Goes on where the state says, and keeps the state.
async fn replay_on(args: &ReplayArgs, replay: &Replay) -> anyhow::Result<Reached> {
    let (state, reached) = match &args.state {
        Some(path) => StateFile::open(path, replay).map(|(file, reached)| (Some(file), reached))?,
        None => (None, Reached::default()),
    };
    let stop = stop_on_signals().context("cannot listen to signals")?;
    let mut progress = Progress::new();
    let told = |reached: &Reached| {
        progress.tell(|| replayed(replay, reached));
        state.as_ref().map_or(Ok(()), |file| file.save(reached))
    };
    Ok(replay.run(reached, stop, told).await?)
}

fn replayed(replay: &Replay, reached: &Reached) -> String {
    let hour = replay.goes_on_from(reached).map(|hour| event::time::rfc3339(hour)[..13].to_owned()).unwrap_or_default();
    let report = &reached.report;
    format!("{hour}h  {}  {}", counted(report.objects, "object"), counted(report.events, "event"))
}

/// What to do to go on.
fn way_on(args: &ReplayArgs, replay: &Replay, reached: &Reached) -> String {
    match (&args.state, replay.goes_on_from(reached)) {
        (Some(_), _) | (None, None) => "the same command goes on".to_owned(),
        (None, Some(at)) => format!("go on with --from {} and all else as it was", event::time::rfc3339(at)),
    }
}

const REDRIVE_HELP: &str = "\
Documents that the index refused are put again: after its mapping was mended, a closed or blocked
index was opened, or the shard of a red one came back. Records that could not be read are read by this version. What is in
the index already stays one document; letters are kept, so the command may be run again.

Exit codes: 0 all letters are in the index, 1 some are refused again or cannot be read, 64 usage,
69 archive or index do not answer, 78 configuration.

Examples:
  twosec-processor redrive --dry-run
  twosec-processor redrive --json | jq .refused";

#[derive(Debug, Args)]
#[command(after_help = REDRIVE_HELP)]
pub struct RedriveArgs {
    /// Send the letters of one shard only.
    #[arg(long, value_name = "ID")]
    shard: Option<String>,
    /// Count the letters; index nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Sends dead letters into the index again.
pub fn redrive(args: &RedriveArgs) -> anyhow::Result<ExitCode> {
    let (settings, places) = read(&args.config)?;
    let report = run(async {
        let services = connect::services(&settings, &places).await?;
        let rows = services.leases.list().await.map_err(RunError::Leases)?;
        let redrive = Redrive {
            archive: services.archive,
            index: (!args.dry_run).then_some(services.index),
            settings,
            stream_created: rows.iter().find_map(|row| row.stream_created),
            shard: args.shard.clone(),
        };
        let mut progress = Progress::new();
        let told = |report: &redrive::Report| progress.tell(|| counted(report.documents + report.records, "letter"));
        Ok(redrive.run(told).await?)
    })?;
    print(&report, &report.to_string(), args.json)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

const SHARDS_HELP: &str = "\
A row for each shard: who reads it, how long ago the last archived record arrived, how much is
read, and up to which record it is archived and indexed, and how far that is behind the stream.
What is behind, and how much is read, is as the owner has written it, some seconds ago.

Exit codes: 0 told, 64 usage, 69 the lease table does not answer, 78 configuration.

Examples:
  twosec-processor shards
  twosec-processor shards --json | jq '.shards[] | select(.is_index_in_step | not)'";

#[derive(Debug, Args)]
#[command(after_help = SHARDS_HELP)]
pub struct ShardsArgs {
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Says who reads which shard, and how far it has come.
pub fn shards(args: &ShardsArgs) -> anyhow::Result<ExitCode> {
    let table = configured(&args.config)?.lease_table()?;
    let rows = run(async {
        let leases = connect::leases(&aws::sdk_config().await, &table);
        Ok(leases.list().await.map_err(RunError::Leases)?)
    })?;
    let report = shards::Report::of(rows, now());
    print(&report, &report.to_string(), args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command to its end.
fn run<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    init_logging("warn");
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(command)
}

fn print(report: &impl serde::Serialize, text: &str, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    Ok(out.flush()?)
}
