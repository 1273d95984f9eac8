//! How the running processor is: asks it by HTTP, for a container platform that has no shell.

use super::{ConfigArgs, configured};
use crate::health::Health;
use anyhow::{Context, bail};
use clap::Args;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// How long the processor may take to answer: platforms wait for five seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// More than this is no answer of ours.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

const HELP: &str = "\
Asks the processor of this host or container, at `http_listen`. Without --ready it says whether the
process lives: it looks at the leases. What S3 or OpenSearch do is no part of that, or an outage of
theirs would end all tasks. With --ready it says whether the process can do its work.

Exit codes: 0 yes, 1 no, or nobody answers, 64 usage, 78 configuration.

Examples:
  twosec-processor health
  twosec-processor health --ready --json | jq .reasons";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct HealthArgs {
    /// Ask whether it can do its work, too.
    #[arg(long)]
    ready: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Asks the running processor.
pub fn health(args: &HealthArgs) -> anyhow::Result<ExitCode> {
    let listen = configured(&args.config)?.http_listen()?;
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let health = match ask(listen, path) {
        Ok(health) => health,
        Err(error) => Health { is_well: false, reasons: vec![format!("{error:#}")], shards: 0 },
    };
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&health)?)?,
        false if health.is_well => writeln!(out, "well, with {} shards", health.shards)?,
        false => health.reasons.iter().try_for_each(|reason| writeln!(out, "{reason}"))?,
    }
    Ok(if health.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(listen: Option<SocketAddr>, path: &str) -> anyhow::Result<Health> {
    let Some(listen) = listen else {
        bail!("`http_listen` is off, so nobody can be asked: set it to an address, such as 127.0.0.1:9465")
    };
    let address = SocketAddr::new(here(listen.ip()), listen.port());
    let answer = get(address, path).with_context(|| format!("no processor answers at http://{address}{path}"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).with_context(|| format!("what answers at http://{address}{path} is no processor"))
}

/// The address of this host under which a listener can be reached.
fn here(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut peer = TcpStream::connect_timeout(&address, PATIENCE)?;
    peer.set_read_timeout(Some(PATIENCE))?;
    peer.set_write_timeout(Some(PATIENCE))?;
    peer.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    peer.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Meter;
    use std::sync::Arc;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    /// A port where nobody listens.
    async fn free() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    async fn asked(address: SocketAddr, path: &'static str) -> anyhow::Result<Health> {
        tokio::task::spawn_blocking(move || ask(Some(address), path)).await.unwrap()
    }

    #[tokio::test]
    async fn a_running_processor_says_how_it_is() {
        let (address, meter) = (free().await, Arc::<Meter>::default());
        meter.round();
        tokio::spawn(crate::metrics::serve(address, meter, CancellationToken::new()));
        let alive = loop {
            match asked(address, "/healthz").await {
                Ok(alive) => break alive,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert!(alive.is_well);
        let ready = asked(address, "/readyz").await.unwrap();
        assert_eq!(ready.reasons, ["the lease table has not been read yet"]);
    }

    #[tokio::test]
    async fn without_a_processor_one_is_told_where_it_was_looked_for() {
        let address = free().await;
        let error = asked(address, "/healthz").await.unwrap_err();
        assert_eq!(error.to_string(), format!("no processor answers at http://{address}/healthz"));
        let expected = "`http_listen` is off, so nobody can be asked: set it to an address, such as 127.0.0.1:9465";
        assert_eq!(ask(None, "/healthz").unwrap_err().to_string(), expected);
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_this_host() {
        assert_eq!(here("0.0.0.0".parse().unwrap()), Ipv4Addr::LOCALHOST);
        assert_eq!(here("::".parse().unwrap()), Ipv6Addr::LOCALHOST);
        assert_eq!(here("10.0.0.7".parse().unwrap()).to_string(), "10.0.0.7");
    }
}
