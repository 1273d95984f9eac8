//! In front of a server that somebody else wrote: hands everything on, and makes trouble.

use super::Served;
use aws_config::SdkConfig;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest request that is taken.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;

/// What goes wrong. `None` is never, `Some(3)` every third call of its kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A PUT is answered 503 and does not arrive.
    pub unavailable_puts: Option<u64>,
    /// A PUT arrives, and is answered 500.
    pub lost_answers: Option<u64>,
    /// The answer to a GET breaks off in the middle.
    pub cut_gets: Option<u64>,
}

/// A proxy.
pub struct Proxy {
    served: Served,
    trouble: Arc<Trouble>,
}

struct Trouble {
    upstream: Upstream,
    faults: Faults,
    puts: AtomicU64,
    gets: AtomicU64,
    made: AtomicU64,
}

/// The server behind.
#[derive(Clone)]
pub(super) struct Upstream {
    client: reqwest::Client,
    url: String,
}

impl Upstream {
    pub fn new(url: &str) -> Upstream {
        Upstream { client: reqwest::Client::new(), url: url.trim_end_matches('/').to_owned() }
    }

    /// Makes the same request there, and gives its answer.
    pub async fn hand_on(&self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_BYTES_MAX).await.expect("the body is whole");
        parts.headers.remove("host");
        parts.headers.remove("content-length");
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let call = self.client.request(parts.method, format!("{}{path}", self.url)).headers(parts.headers).body(body);
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        };
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove("transfer-encoding");
        headers.remove("connection");
        let bytes = answer.bytes().await.unwrap_or_default();
        let is_whole =
            headers.get("content-length").is_none_or(|length| length.as_bytes() == bytes.len().to_string().as_bytes());
        if is_whole {
            headers.remove("content-length");
        }
        (status, headers, bytes).into_response()
    }
}

impl Proxy {
    /// A proxy before the server at `url`.
    pub fn in_front_of(url: &str, faults: Faults) -> Proxy {
        let counter = AtomicU64::default;
        let upstream = Upstream::new(url);
        let trouble = Arc::new(Trouble { upstream, faults, puts: counter(), gets: counter(), made: counter() });
        let app = Router::new()
            .fallback(make_trouble)
            .with_state(Arc::clone(&trouble))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        Proxy { served: Served::app(app), trouble }
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.served.url
    }

    /// How the SDK reaches the server.
    pub async fn sdk(&self) -> SdkConfig {
        self.served.sdk().await
    }

    /// How often trouble was made.
    pub fn troubles(&self) -> u64 {
        self.trouble.made.load(Ordering::SeqCst)
    }
}

async fn make_trouble(State(trouble): State<Arc<Trouble>>, request: Request) -> Response {
    match *request.method() {
        Method::PUT => trouble.put(request).await,
        Method::GET => trouble.get(request).await,
        _ => trouble.upstream.hand_on(request).await,
    }
}

impl Trouble {
    async fn put(&self, request: Request) -> Response {
        let call = self.puts.fetch_add(1, Ordering::SeqCst) + 1;
        if self.is_due(call, self.faults.unavailable_puts) {
            return (StatusCode::SERVICE_UNAVAILABLE, "made by the tests").into_response();
        }
        let answer = self.upstream.hand_on(request).await;
        if self.is_due(call, self.faults.lost_answers) {
            return (StatusCode::INTERNAL_SERVER_ERROR, "made by the tests").into_response();
        }
        answer
    }

    async fn get(&self, request: Request) -> Response {
        let call = self.gets.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = self.upstream.hand_on(request).await;
        if !self.is_due(call, self.faults.cut_gets) {
            return answer;
        }
        let (mut head, body) = answer.into_parts();
        let bytes = to_bytes(body, BODY_BYTES_MAX).await.expect("the body is whole");
        head.headers.insert("content-length", bytes.len().into());
        let half = bytes.slice(..bytes.len() / 2);
        let pieces = [Ok::<Bytes, std::io::Error>(half), Err(ErrorKind::ConnectionReset.into())];
        Response::from_parts(head, Body::from_stream(futures::stream::iter(pieces)))
    }

    fn is_due(&self, call: u64, every: Option<u64>) -> bool {
        let is_due = every.is_some_and(|every| call.is_multiple_of(every));
        self.made.fetch_add(is_due.into(), Ordering::SeqCst);
        is_due
    }
}
