//! The live page: its files are in the binary, its answers come from the index.

use crate::index::LocalIndex;
use crate::index::search::SearchError;
use crate::status::Status;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Router, body::Body};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// Events in one answer at most.
const EVENTS_MAX: usize = 500;

/// Incidents in one answer at most.
const INCIDENTS_MAX: usize = 200;

/// What the page answers from.
#[derive(Clone)]
pub struct Sources {
    pub index: Arc<LocalIndex>,
    pub status: Arc<Status>,
    /// Names under which the page may be asked, with the port: a page of somebody
    /// else's that resolves its name to this machine must get nothing.
    pub hosts: Arc<Vec<String>>,
}

/// The page and its answers.
pub fn router(sources: Sources) -> Router {
    Router::new()
        .route("/", asset(include_str!("../assets/index.html"), "text/html; charset=utf-8"))
        .route("/app.js", asset(include_str!("../assets/app.js"), "text/javascript; charset=utf-8"))
        .route("/style.css", asset(include_str!("../assets/style.css"), "text/css; charset=utf-8"))
        .route("/favicon.svg", asset(include_str!("../assets/favicon.svg"), "image/svg+xml"))
        .route("/api/events", get(events))
        .route("/api/stats", get(stats))
        .route("/api/incidents", get(incidents))
        .route("/api/event/{id}", get(event))
        .route("/api/status", get(status))
        .layer(middleware::from_fn_with_state(sources.clone(), guard))
        .with_state(sources)
}

fn asset(text: &'static str, kind: &'static str) -> axum::routing::MethodRouter<Sources> {
    get(move || async move { ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text) })
}

/// Answers only those who know where they are, and forbids the browser to load or run
/// anything that is not of the page: what it shows was written by attackers.
async fn guard(State(sources): State<Sources>, request: Request<Body>, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| sources.hosts.iter().any(|known| known == host)) {
        return (StatusCode::FORBIDDEN, "this page answers to its own address only").into_response();
    }
    let mut response = next.run(request).await;
    let policy = "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    for (name, value) in
        [("content-security-policy", policy), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")]
    {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    q: String,
    limit: Option<usize>,
    before: Option<String>,
}

async fn events(State(sources): State<Sources>, Query(asked): Query<Asked>) -> Result<Response, Refusal> {
    answer(move || {
        let query = sources.index.query(&asked.q)?;
        let skip = asked.before.and_then(|before| before.parse().ok()).unwrap_or(0);
        sources.index.events(&*query, asked.limit.unwrap_or(50).min(EVENTS_MAX), skip)
    })
    .await
}

async fn stats(State(sources): State<Sources>, Query(asked): Query<Asked>) -> Result<Response, Refusal> {
    answer(move || sources.index.stats(&*sources.index.query(&asked.q)?)).await
}

async fn incidents(State(sources): State<Sources>, Query(asked): Query<Asked>) -> Result<Response, Refusal> {
    answer(move || Ok(sources.index.incidents(asked.limit.unwrap_or(50).min(INCIDENTS_MAX)))).await
}

async fn event(State(sources): State<Sources>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let found =
        tokio::task::spawn_blocking(move || sources.index.event(&id)).await.expect("a search does not panic")?;
    Ok(match found {
        Some(event) => Json(event).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({"error": "there is no event of this id"}))).into_response(),
    })
}

async fn status(State(sources): State<Sources>) -> Response {
    Json(sources.status.now()).into_response()
}

/// Asks the index on a thread that may wait for the disk.
async fn answer<T, F>(ask: F) -> Result<Response, Refusal>
where
    T: Serialize + Send + 'static,
    F: FnOnce() -> Result<T, SearchError> + Send + 'static,
{
    let found = tokio::task::spawn_blocking(ask).await.expect("a search does not panic")?;
    Ok(Json(found).into_response())
}

struct Refusal(SearchError);

impl From<SearchError> for Refusal {
    fn from(error: SearchError) -> Refusal {
        Refusal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = match self.0 {
            SearchError::Query(_) => StatusCode::BAD_REQUEST,
            SearchError::Index(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (code, Json(json!({"error": self.0.to_string()}))).into_response()
    }
}
