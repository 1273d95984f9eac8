//! Servers that answer as AWS and OpenSearch do, in this process, each on a free port of
//! 127.0.0.1. They end when they are dropped.

pub mod kinesis;
pub mod dynamodb;
pub mod s3;
pub mod opensearch;
pub mod proxy;
pub mod tls;

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::ffi::OsStr;
use std::future::Future;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// The region that all servers are in.
pub const REGION: &str = "us-east-1";

/// The credentials that all servers take.
pub fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", "secret", None, None, "tests")
}

/// A program of ours that talks to `kinesis`, and to nobody outside this host.
pub fn program(path: impl AsRef<OsStr>, kinesis: &kinesis::KinesisServer) -> Command {
    let mut command = Command::new(path);
    command
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL_KINESIS", kinesis.url())
        .env("TWOSEC_LOG", "off")
        .stdin(Stdio::null());
    command
}

/// Where a processor finds all but the stream's server, and under which names.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    pub stream: &'a str,
    pub table: &'a str,
    pub bucket: &'a str,
    pub dynamodb: &'a str,
    pub s3: &'a str,
    pub opensearch: &'a str,
}

impl Places<'_> {
    /// A processor that works there.
    pub fn processor(&self, path: impl AsRef<OsStr>, kinesis: &kinesis::KinesisServer) -> Command {
        let mut command = program(path, kinesis);
        command
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb)
            .env("AWS_ENDPOINT_URL_S3", self.s3)
            .env("TWOSEC_STREAM", self.stream)
            .env("TWOSEC_LEASE_TABLE", self.table)
            .env("TWOSEC_BUCKET", self.bucket)
            .env("TWOSEC_OPENSEARCH_URL", self.opensearch)
            .env("TWOSEC_OPENSEARCH_AUTH", "none");
        command
    }
}

/// A server on a thread of its own, with a clock of its own. It ends, and all its
/// connections with it, when it is dropped.
pub struct Served {
    /// `http://127.0.0.1:<port>`
    pub url: String,
    away: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves `app`.
    pub fn app(app: Router) -> Served {
        let away = Arc::new(AtomicBool::new(false));
        let app = app.layer(from_fn_with_state(Arc::clone(&away), refuse_while_away));
        let mut served = Served::with(|listener| async { axum::serve(listener, app).await.expect("the server runs") });
        served.away = away;
        served
    }

    /// Runs whatever serves on a listener.
    pub fn with<F: Future<Output = ()>>(serve: impl FnOnce(TcpListener) -> F + Send + 'static) -> Served {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("there is room for a runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("a listener need not block");
                let listener = TcpListener::from_std(listener).expect("the runtime takes the listener");
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Served { url: format!("http://{address}"), away: Arc::default(), stop: Some(stop), thread: Some(thread) }
    }

    /// From now on, answers everything with 503, or no longer does (not DynamoDB).
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// How the SDK reaches the server: as in production but for endpoint, region and
    /// credentials.
    pub async fn sdk(&self) -> SdkConfig {
        sdk_at(&self.url).await
    }
}

/// How the SDK reaches a server on this host.
pub async fn sdk_at(url: &str) -> SdkConfig {
    processor::aws::loader()
        .endpoint_url(url)
        .region(Region::from_static(REGION))
        .credentials_provider(credentials())
        .load()
        .await
}

async fn refuse_while_away(State(away): State<Arc<AtomicBool>>, request: Request, next: Next) -> Response {
    if away.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the tests say that it is away").into_response();
    }
    next.run(request).await
}

impl Drop for Served {
    fn drop(&mut self) {
        // The stop is heard also by its sender being gone.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked has said so on its own.
            drop(thread.join());
        }
    }
}
