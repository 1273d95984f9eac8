//! Servers that answer as AWS and OpenSearch do, in this process, each on a free port of
//! 127.0.0.1. They end when they are dropped.

pub mod kinesis;
pub mod dynamodb;
pub mod s3;
pub mod opensearch;

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use axum::Router;
use std::future::Future;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The region that all servers are in.
pub const REGION: &str = "us-east-1";

/// The credentials that all servers take.
pub fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", "secret", None, None, "tests")
}

/// A server that runs until it is dropped.
pub struct Served {
    /// `http://127.0.0.1:<port>`
    pub url: String,
    task: JoinHandle<()>,
}

impl Served {
    /// Serves `app`.
    pub async fn app(app: Router) -> Served {
        Served::with(|listener| async { axum::serve(listener, app).await.expect("the server runs") }).await
    }

    /// Runs whatever serves on a listener.
    pub async fn with<F: Future<Output = ()> + Send + 'static>(serve: impl FnOnce(TcpListener) -> F) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        Served { url: format!("http://{address}"), task: tokio::spawn(serve(listener)) }
    }

    /// How the SDK reaches the server: as in production but for endpoint, region and
    /// credentials.
    pub async fn sdk(&self) -> SdkConfig {
        processor::aws::loader()
            .endpoint_url(&self.url)
            .region(Region::from_static(REGION))
            .credentials_provider(credentials())
            .load()
            .await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}
