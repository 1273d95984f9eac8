//! The commands of an operator: what reads the archive again.

use super::{ConfigArgs, configured, init_logging};
use crate::progress::{Progress, bytes, counted};
use crate::span::Span;
use crate::verify::{self, Verify};
use crate::{aws, connect};
use anyhow::Context;
use clap::Args;
use std::io::{self, Write};
use std::process::ExitCode;

/// What was looked for is not as it should be.
const FOUND: u8 = 1;

const VERIFY_HELP: &str = "\
Each object of the archive names the record that it follows. So one that is gone is found, and
so is one that was put between, moved, cut or changed; and one that is gone from the end, by
the checkpoint of the shard's lease (where `lease_table` is set). Nothing is written.

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
        let leases = config.lease_table.as_deref().filter(|table| !table.is_empty());
        let verify = Verify {
            archive: connect::archive(&sdk, &bucket),
            leases: leases.map(|table| connect::leases(&sdk, table)),
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

fn verified(report: &verify::Report) -> String {
    let hour = report.hour.map(|hour| event::time::rfc3339(hour)[..13].to_owned()).unwrap_or_default();
    format!("{hour}h  {}  {}", counted(report.objects, "object"), bytes(report.bytes))
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
