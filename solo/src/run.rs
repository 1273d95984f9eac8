//! A run: opens the folder, starts both programs, and waits for the end.

use crate::archive::LocalArchive;
use crate::index::LocalIndex;
use crate::index::search::SearchError;
use crate::leases::LocalLeases;
use crate::page::{self, Sources};
use crate::progress;
use crate::reclassify;
use crate::status::Status;
use crate::stream::{LocalStream, SHARD};
use crate::summary::{self, Summary};
use crate::trouble::Trouble;
use agent::behaviour;
use agent::enrich::EnrichSettings;
use agent::host;
use agent::lock::{Lock, LockError};
use agent::meter::Meter;
use agent::redaction::RedactSettings;
use agent::settings::{FileSettings, LINGER, MetricsSettings, RecordFormat, SWEEP, Settings};
use agent::signals::{reloads, stop_on_signals, within_grace};
use agent::spool::Limits;
use processor::Services;
use processor::archive::ArchiveError;
use processor::archive::chain::Chain;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The embedded stream's name, part of the archive's keys.
pub const STREAM: &str = "local";

/// A window of the archive closes at this size, so that the agent's 16 MiB under way
/// never wait for it, and at this age: then a position is safe.
const WINDOW_BYTES: usize = 4 << 20;
const WINDOW_AGE: Duration = Duration::from_secs(10);

/// What the processor may hold open: enough for all stations to have something to do.
const MEMORY_BYTES: usize = 256 << 20;

/// Bytes that the agent puts at once.
const PUT_BYTES: usize = 1 << 20;

/// How long the last lines may take into archive and index after Ctrl-C.
const GRACE: Duration = Duration::from_secs(20);

/// What to do.
#[derive(Debug)]
pub struct Plan {
    pub files: Vec<FileSettings>,
    pub data: PathBuf,
    pub enrich: EnrichSettings,
    /// The folder of the user's own rules.
    pub rules: Option<PathBuf>,
    /// Whether secrets are not masked.
    pub keep_secrets: bool,
    pub once: bool,
    pub port: u16,
    /// Whether to draw a progress bar.
    pub bar: bool,
}

/// Why a run could not begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot use the data folder")]
    Data(#[source] LockError),
    #[error("cannot use `{}`", .path.display())]
    Folder {
        path: PathBuf,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("port {port} is taken: use --port with another number, or --port 0 for any")]
    Port {
        port: u16,
        #[source]
        cause: io::Error,
    },
    #[error("{0}; nothing is lost: make room and start again with the same --data")]
    Write(String),
    #[error("stopped before all was archived{}; the last lines will be read again", .0.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default())]
    Late(Option<String>),
    #[error("there is no archive in `{}`: run `twosec FILE` first, or name its folder with --data", .0.display())]
    NoArchive(PathBuf),
    #[error("stopped before all was read; the index is as it was")]
    Stopped,
    #[error("cannot rebuild the index from the archive")]
    Replay(#[source] processor::replay::ReplayError),
    #[error("there is no index in `{}`: run `twosec FILE` first, or name its folder with --data", .0.display())]
    NoIndex(PathBuf),
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    #[error("no answer")]
    Query(#[source] SearchError),
    #[error("the agent has failed")]
    Agent(#[source] agent::RunError),
    #[error("the processor has failed")]
    Processor(#[source] processor::RunError),
    #[error("cannot read the archive")]
    Archive(#[source] ArchiveError),
}

/// Reads, archives, indexes; to the end of the files, or until it is told to stop.
pub async fn run(plan: Plan) -> Result<Summary, RunError> {
    let begun = Instant::now();
    let _lock = Lock::take(&plan.data).map_err(RunError::Data)?;
    let listener = if plan.once { None } else { Some(listen(plan.port).await?) };
    let (local, stream, settings) = open(&plan).await?;
    let stop = stop_on_signals().map_err(RunError::Signals)?;
    stop_on_hangup(stop.clone()).map_err(RunError::Signals)?;
    let finished = CancellationToken::new();

    if let Some(listener) = listener {
        serve(listener, &local);
    }
    if plan.bar {
        tokio::spawn(progress::draw(local.status.clone(), finished.clone()));
    }
    let told = stop.clone();
    let agent = agent::run(settings, Arc::new(stream), stop);
    let abort = CancellationToken::new();
    let processor = processor::run(processor_settings(), local.services.clone(), abort.clone());
    tokio::select! {
        ended = within_grace(both(agent, processor, abort), told, GRACE) => ended.ok_or_else(|| RunError::Late(local.trouble.now()))??,
        trouble = local.trouble.wait(), if plan.once => return Err(RunError::Write(trouble)),
    }
    finished.cancel();
    summary::of(&local.index, &plan.files, &local.status, begun.elapsed()).map_err(RunError::Query)
}

/// A terminal that is closed ends the program as Ctrl-C does.
fn stop_on_hangup(stop: CancellationToken) -> io::Result<()> {
    let mut hangups = reloads()?;
    tokio::spawn(async move {
        if hangups.recv().await.is_some() {
            stop.cancel();
        }
    });
    Ok(())
}

/// The processor ends when the stream does, which the agent brings about; unless the
/// agent fails.
async fn both(
    agent: impl Future<Output = Result<(), agent::RunError>>,
    processor: impl Future<Output = Result<(), processor::RunError>>,
    abort: CancellationToken,
) -> Result<(), RunError> {
    let agent = async {
        let ended = agent.await;
        if ended.is_err() {
            abort.cancel();
        }
        ended.map_err(RunError::Agent)
    };
    let processor = async { processor.await.map_err(RunError::Processor) };
    tokio::try_join!(agent, processor).map(drop)
}

/// What stands in the data folder.
struct Local {
    index: Arc<LocalIndex>,
    services: Services,
    status: Arc<Status>,
    trouble: Trouble,
}

async fn open(plan: &Plan) -> Result<(Local, LocalStream, Settings), RunError> {
    let trouble = Trouble::default();
    let folder = |name: &str| plan.data.join(name);
    reclassify::settle(&plan.data).map_err(failed(&folder("index")))?;
    let archive = LocalArchive::open(&folder("archive"), trouble.clone()).map_err(failed(&folder("archive")))?;
    let index = LocalIndex::open(&folder("index"), trouble.clone()).map_err(failed(&folder("index")))?;
    let leases = LocalLeases::open(&folder("leases.json"), trouble.clone()).map_err(failed(&folder("leases.json")))?;
    let archive: Arc<dyn processor::archive::Archive> = Arc::new(archive);
    let (stream, shard) = (STREAM.to_owned(), SHARD.to_owned());
    let chain = Chain { archive: archive.clone(), stream, shard, stream_created: None };
    let stream = LocalStream::after(last_number(&chain, &leases).await?);
    let settings = agent_settings(plan)?;
    let services = Services {
        feed: Arc::new(stream.clone()),
        leases: Arc::new(leases.tell(stream.clone())),
        archive,
        index: index.clone(),
        meter: Arc::default(),
    };
    let paths = (folder("archive"), folder("index"));
    let status = Status::new(settings.meter.clone(), services.meter.clone(), paths, trouble.clone());
    Ok((Local { index, services, status, trouble }, stream, settings))
}

pub(crate) fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(path: &Path) -> impl FnOnce(E) -> RunError {
    let path = path.to_owned();
    move |cause| RunError::Folder { path, cause: cause.into() }
}

/// The number of the last record that was ever archived here.
async fn last_number(chain: &Chain, leases: &LocalLeases) -> Result<u64, RunError> {
    let tail = chain.tail(None, leases.since()).await.map_err(RunError::Archive)?;
    let archived = tail.and_then(|tail| tail.sequence.as_str().parse().ok()).unwrap_or(0);
    Ok(leases.last().max(archived))
}

fn agent_settings(plan: &Plan) -> Result<Settings, RunError> {
    let kept = || host::kept_id(&plan.data).map_err(failed(&plan.data));
    let id = host::id(None).map_or_else(kept, Ok)?;
    Ok(Settings {
        host: host::here(id),
        cloud: Arc::default(),
        format: RecordFormat::Frame,
        enrich: plan.enrich.clone(),
        rules: plan.rules.clone(),
        behaviour: behaviour::Limits::default(),
        redact: if plan.keep_secrets { RedactSettings::nothing() } else { RedactSettings::default() },
        files: plan.files.clone(),
        state: plan.data.join("agent"),
        follow: !plan.once,
        linger: LINGER,
        sweep: SWEEP,
        spool: Limits::default(),
        request_bytes: PUT_BYTES,
        meter: Arc::<Meter>::default(),
        metrics: MetricsSettings::default(),
    })
}

fn processor_settings() -> processor::settings::Settings {
    let worker = format!("solo-{}", std::process::id());
    let mut settings = processor::settings::Settings::new(STREAM, worker);
    settings.window_bytes = WINDOW_BYTES;
    settings.window_age = WINDOW_AGE;
    settings.memory_bytes = MEMORY_BYTES;
    settings.bulks_max = 1;
    // The index is on the same disk, and the files wait: nothing is gained by leaving it behind.
    settings.index_patience = Duration::MAX;
    // No other process can have the folder: a lease of a former run is nobody's.
    settings.failover = Duration::from_millis(1_000);
    settings
}

async fn listen(port: u16) -> Result<TcpListener, RunError> {
    TcpListener::bind(("127.0.0.1", port)).await.map_err(|cause| RunError::Port { port, cause })
}

fn serve(listener: TcpListener, local: &Local) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    eprintln!("twosec: the page is on http://127.0.0.1:{port} (Ctrl-C ends)");
    let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{port}")).to_vec();
    let sources = Sources { index: local.index.clone(), status: local.status.clone(), hosts: Arc::new(hosts) };
    tokio::spawn(async move { axum::serve(listener, page::router(sources)).await });
}
