//! The agent as a service of a host: signals, systemd, status, what the instance metadata
//! service tells, and a new configuration while it runs.

use crate::meter::{About, Meter};
use crate::sd_notify::{Notifier, watchdog_interval};
use crate::settings::{Config, Settings};
use crate::ship::kinesis::{self, Kinesis};
use crate::signals::{reloads, stop_on_signals, within_grace};
use crate::status::Reporter;
use crate::{imds, prometheus, status};
use anyhow::Context;
use aws_config::SdkConfig;
use aws_sdk_kinesis::config::ProvideCredentials;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long what was read may take into the stream after SIGTERM. Less than systemd
/// waits before it kills (90 s); what is left then stays in the spool.
const GRACE: Duration = Duration::from_secs(20);

/// A station that shows no life for so long hangs, and the watchdog is not fed any more.
/// The longest honest wait is the unpacking of a large `.gz`.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// How often systemd is told how things are, where there is no watchdog to feed.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Ships until a signal. SIGHUP reads the configuration `path` again, and keeps the old
/// one where the new one is bad. A second SIGTERM ends the process at once.
pub async fn run(path: &Path) -> anyhow::Result<()> {
    let mut config = Config::read(path)?;
    let mut settings = config.check()?;
    make_state(&settings)?;
    let stop = stop_on_signals().context("cannot listen to signals")?;
    let mut reloads = reloads().context("cannot listen to signals")?;
    let notifier = Arc::new(Notifier::from_env());
    let meter = Arc::clone(&settings.meter);
    *settings.cloud.write().expect("nobody panics with the facts in hand") = imds::cached(&settings.state);
    let cloud = Arc::clone(&settings.cloud);
    let mut services = JoinSet::new();
    services.spawn({
        let (state, cloud, stop) = (settings.state.clone(), Arc::clone(&cloud), stop.clone());
        async move {
            let tell = |facts| *cloud.write().expect("nobody panics with the facts in hand") = Some(facts);
            imds::learn(&state, tell, stop).await;
        }
    });
    services.spawn(keep_systemd_told(Arc::clone(&notifier), Arc::clone(&meter), meter.openings()));
    loop {
        match serve(&config, settings, &stop, &mut reloads, path, &notifier).await? {
            None => return Ok(()),
            Some(fresh) => {
                let mut checked = fresh.check()?;
                (checked.meter, checked.cloud) = (Arc::clone(&meter), Arc::clone(&cloud));
                (config, settings) = (fresh, checked);
            }
        }
    }
}

fn make_state(settings: &Settings) -> anyhow::Result<()> {
    let failed = || format!("cannot make the folder `{}`", settings.state.display());
    crate::spool::make_folder(&settings.state).with_context(failed)
}

/// Runs with one configuration. Returns the next one, or `None` when told to stop.
async fn serve(
    config: &Config,
    settings: Settings,
    stop: &CancellationToken,
    reloads: &mut mpsc::Receiver<()>,
    path: &Path,
    notifier: &Arc<Notifier>,
) -> anyhow::Result<Option<Config>> {
    let sdk = kinesis::sdk_config().await;
    let uplink = Arc::new(Kinesis::new(&sdk, &config.stream.name));
    make_state(&settings)?;
    let (leave, over) = (CancellationToken::new(), CancellationToken::new());
    let _over = over.clone().drop_guard();
    offer_reports(config, &settings, &sdk, over);
    tracing::info!(stream = config.stream.name, host = settings.host.id, "shipping");
    let work = crate::run_or_leave(settings, uplink, stop.clone(), leave.clone());
    let mut work = std::pin::pin!(within_grace(work, stop.clone(), GRACE));
    loop {
        tokio::select! {
            ended = &mut work => {
                notifier.stopping();
                return finish(ended).map(|()| None);
            }
            () = stop.cancelled() => {
                notifier.stopping();
                return finish(work.await).map(|()| None);
            }
            Some(()) = reloads.recv() => {
                notifier.reloading();
                match Config::read(path).and_then(|fresh| fresh.check().map(|_| fresh)) {
                    Ok(fresh) => {
                        tracing::info!("going over to the new configuration");
                        leave.cancel();
                        if let Some(ended) = work.await {
                            ended?;
                        }
                        return Ok(Some(fresh));
                    }
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the new configuration is not good; going on with the old one");
                        notifier.ready();
                    }
                }
            }
        }
    }
}

fn finish(ended: Option<Result<(), crate::RunError>>) -> anyhow::Result<()> {
    match ended {
        Some(ended) => {
            ended?;
            tracing::info!("stopped; all that was read is in the stream");
        }
        None => tracing::warn!("stopped; what the stream has not taken is in the spool"),
    }
    Ok(())
}

/// Starts what tells others of the agent, each until `over`. None of it can stop the
/// agent.
fn offer_reports(config: &Config, settings: &Settings, sdk: &SdkConfig, over: CancellationToken) {
    let credentials = Arc::new(Mutex::new(None));
    tokio::spawn(name_credentials(sdk.clone(), Arc::clone(&credentials), over.clone()));
    let (meter, host, stream) = (Arc::clone(&settings.meter), settings.host.name.clone(), config.stream.name.clone());
    let report: Reporter = Arc::new(move || {
        let credentials = credentials.lock().expect("nobody panics with the name in hand").clone();
        meter.report(About { host: host.clone(), stream: stream.clone(), credentials })
    });
    let (state, reporter, until) = (settings.state.clone(), Arc::clone(&report), over.clone());
    let mut opened = settings.meter.openings();
    tokio::spawn(async move {
        // Before that, the socket may be another agent's.
        let ours = until.run_until_cancelled(opened.changed()).await;
        if !matches!(ours, Some(Ok(()))) {
            return;
        }
        if let Err(cause) = status::serve(&state, reporter, until).await {
            tracing::warn!(%cause, "`twosec-agent status` will not work");
        }
    });
    if let Some(address) = settings.metrics.prometheus {
        let (reporter, until) = (Arc::clone(&report), over.clone());
        tokio::spawn(async move {
            if let Err(cause) = prometheus::serve(address, reporter, until).await {
                tracing::warn!(%address, %cause, "no metrics for Prometheus");
            }
        });
    }
    #[cfg(feature = "cloudwatch")]
    if let Some(namespace) = settings.metrics.cloudwatch_namespace.clone() {
        let sdk = sdk.clone();
        tokio::spawn(async move { crate::cloudwatch::publish(&sdk, &namespace, report, over).await });
    }
}

/// Finds out where the credentials come from. Asks again while there are none.
async fn name_credentials(sdk: SdkConfig, name: Arc<Mutex<Option<String>>>, over: CancellationToken) {
    let Some(provider) = sdk.credentials_provider() else { return };
    while !over.is_cancelled() {
        if let Ok(credentials) = provider.provide_credentials().await {
            *name.lock().expect("nobody panics with the name in hand") = provider_name(&format!("{credentials:?}"));
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
            () = over.cancelled() => {}
        }
    }
}

/// The SDK tells a provider's name only in the text for debugging, which leaves secrets
/// out.
fn provider_name(debug: &str) -> Option<String> {
    debug.split("provider_name: \"").nth(1)?.split('"').next().map(str::to_owned)
}

/// Tells systemd that the agent is ready, how it is, and that it lives: only while the
/// stations do.
async fn keep_systemd_told(notifier: Arc<Notifier>, meter: Arc<Meter>, mut opened: watch::Receiver<u64>) {
    let every = watchdog_interval().unwrap_or(TELL_EVERY);
    let mut told = String::new();
    loop {
        tokio::select! {
            Ok(()) = opened.changed() => notifier.ready(),
            () = tokio::time::sleep(every) => {}
        }
        if meter.hangs(HANGS_AFTER) {
            tracing::error!("a station shows no life; systemd's watchdog will start the agent anew");
            continue;
        }
        notifier.watchdog();
        let status = meter.summary();
        if status != told {
            notifier.status(&status);
            told = status;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_kinesis::config::Credentials;

    #[test]
    fn the_source_of_credentials_has_a_name() {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "Ec2InstanceMetadata");
        assert_eq!(provider_name(&format!("{credentials:?}")).as_deref(), Some("Ec2InstanceMetadata"));
    }
}
