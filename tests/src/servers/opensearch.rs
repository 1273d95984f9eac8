//! OpenSearch, as far as the processor uses it: `_bulk` with `create`, and counts.

use super::Served;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

/// What small Amazon OpenSearch instances take on the wire.
const BODY_BYTES_MAX: usize = 10 << 20;

/// How an item or a request is answered that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub status: u16,
    /// OpenSearch's name of the error.
    pub kind: &'static str,
}

impl Fault {
    /// 429: the node's queue is full.
    pub const BUSY: Fault = Fault { status: 429, kind: "rejected_execution_exception" };
    /// 503: there is no node.
    pub const AWAY: Fault = Fault { status: 503, kind: "no_available_node" };

    fn error(self) -> Value {
        json!({ "type": self.kind, "reason": "made by the tests" })
    }
}

/// Documents of an index by id.
pub type Documents = BTreeMap<String, Value>;

/// How the index of incidents ends.
const INCIDENTS: &str = "-incidents";

#[derive(Default)]
struct Cluster {
    indices: BTreeMap<String, Documents>,
    /// Versions of documents that came with one, by index and id.
    versions: BTreeMap<(String, String), u64>,
    item_faults: VecDeque<Fault>,
    request_faults: VecDeque<Fault>,
    requests: u64,
    conflicts: u64,
    authorization: Option<String>,
}

type Shared = Arc<Mutex<Cluster>>;

/// An OpenSearch server.
pub struct OpenSearchServer {
    served: Served,
    cluster: Shared,
}

impl OpenSearchServer {
    /// A server without indices; a document makes its own.
    pub async fn start() -> OpenSearchServer {
        let cluster = Shared::default();
        let app = Router::new()
            .route("/_bulk", post(bulk))
            .route("/_count", get(count_all))
            .route("/{index}/_count", get(count))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::clone(&cluster));
        OpenSearchServer { served: Served::app(app), cluster }
    }

    /// From now on, answers everything with 503, or no longer does.
    pub fn set_away(&self, away: bool) {
        self.served.set_away(away);
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.served.url
    }

    /// Makes the next documents go wrong, one each.
    pub fn fail_items(&self, faults: impl IntoIterator<Item = Fault>) {
        cluster(&self.cluster).item_faults.extend(faults);
    }

    /// Makes the next requests go wrong as a whole, one each.
    pub fn fail_requests(&self, faults: impl IntoIterator<Item = Fault>) {
        cluster(&self.cluster).request_faults.extend(faults);
    }

    /// From now on, nothing goes wrong.
    pub fn heal(&self) {
        let mut cluster = cluster(&self.cluster);
        cluster.item_faults.clear();
        cluster.request_faults.clear();
    }

    /// Deletes all indices.
    pub fn delete_indices(&self) {
        let mut cluster = cluster(&self.cluster);
        cluster.indices.clear();
        cluster.versions.clear();
    }

    /// Documents of lines by index and id.
    pub fn indices(&self) -> BTreeMap<String, Documents> {
        let cluster = cluster(&self.cluster);
        cluster.of_lines().map(|(name, documents)| (name.clone(), documents.clone())).collect()
    }

    /// Incidents by id.
    pub fn incidents(&self) -> Documents {
        let cluster = cluster(&self.cluster);
        let is_of_incidents = |(name, _): &(&String, &Documents)| name.ends_with(INCIDENTS);
        cluster.indices.iter().filter(is_of_incidents).flat_map(|(_, documents)| documents.clone()).collect()
    }

    /// Documents of lines in all indices.
    pub fn count(&self) -> usize {
        cluster(&self.cluster).count()
    }

    /// `_bulk` requests so far.
    pub fn requests(&self) -> u64 {
        cluster(&self.cluster).requests
    }

    /// Documents so far that were there already.
    pub fn conflicts(&self) -> u64 {
        cluster(&self.cluster).conflicts
    }

    /// The `Authorization` of the last request.
    pub fn authorization(&self) -> Option<String> {
        cluster(&self.cluster).authorization.clone()
    }
}

fn cluster(shared: &Shared) -> MutexGuard<'_, Cluster> {
    shared.lock().expect("nobody panics with the cluster in hand")
}

impl Cluster {
    fn of_lines(&self) -> impl Iterator<Item = (&String, &Documents)> {
        self.indices.iter().filter(|(name, _)| !name.ends_with(INCIDENTS))
    }

    fn count(&self) -> usize {
        self.of_lines().map(|(_, documents)| documents.len()).sum()
    }

    fn put(&mut self, index: &str, id: &str, version: Option<u64>, document: &str) -> Value {
        if let Some(fault) = self.item_faults.pop_front() {
            return json!({ "status": fault.status, "error": fault.error() });
        }
        let Ok(document) = serde_json::from_str(document) else {
            let unfit = Fault { status: 400, kind: "mapper_parsing_exception" };
            return json!({ "status": 400, "error": unfit.error() });
        };
        let documents = self.indices.entry(index.to_owned()).or_default();
        let known = self.versions.get(&(index.to_owned(), id.to_owned()));
        let is_newer = version.is_some_and(|version| known.is_none_or(|known| version >= *known));
        if documents.contains_key(id) && !is_newer {
            self.conflicts += 1;
            let there = Fault { status: 409, kind: "version_conflict_engine_exception" };
            return json!({ "status": 409, "error": there.error() });
        }
        documents.insert(id.to_owned(), document);
        self.versions.extend(version.map(|version| ((index.to_owned(), id.to_owned()), version)));
        json!({ "status": 201 })
    }
}

async fn bulk(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut cluster = cluster(&shared);
    cluster.requests += 1;
    cluster.authorization = headers.get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    if let Some(fault) = cluster.request_faults.pop_front() {
        return refused(fault);
    }
    if !headers.contains_key("content-length") {
        return refused(Fault { status: 411, kind: "length_required" });
    }
    let Some(items) = unpack(&headers, &body).and_then(|text| put_all(&mut cluster, &text)) else {
        return refused(Fault { status: 400, kind: "illegal_argument_exception" });
    };
    let has_error =
        |item: &Value| item.as_object().is_some_and(|item| item.values().any(|item| item.get("error").is_some()));
    let errors = items.iter().any(has_error);
    Json(json!({ "took": 1, "errors": errors, "items": items })).into_response()
}

fn unpack(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let mut text = String::new();
    match headers.get("content-encoding") {
        Some(_) => GzDecoder::new(body).read_to_string(&mut text).ok()?,
        None => (&mut &body[..]).read_to_string(&mut text).ok()?,
    };
    Some(text)
}

/// `None` if the text is no `_bulk` request.
fn put_all(cluster: &mut Cluster, text: &str) -> Option<Vec<Value>> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let mut items = Vec::new();
    while let Some(action) = lines.next() {
        let action: Value = serde_json::from_str(action).ok()?;
        let (name, action) = action.as_object()?.iter().next()?;
        let version = match (name.as_str(), action["version_type"].as_str()) {
            ("create", None) => None,
            ("index", Some("external_gte")) => Some(action["version"].as_u64()?),
            _ => return None,
        };
        let (index, id) = (action["_index"].as_str()?, action["_id"].as_str()?);
        let mut answer = cluster.put(index, id, version, lines.next()?);
        answer["_id"] = json!(id);
        items.push(json!({ name: answer }));
    }
    Some(items)
}

fn refused(fault: Fault) -> Response {
    let status = StatusCode::from_u16(fault.status).expect("a fault has a status");
    (status, Json(json!({ "error": fault.error(), "status": fault.status }))).into_response()
}

async fn count_all(State(shared): State<Shared>) -> Json<Value> {
    Json(json!({ "count": cluster(&shared).count() }))
}

async fn count(State(shared): State<Shared>, Path(index): Path<String>) -> Json<Value> {
    let cluster = cluster(&shared);
    Json(json!({ "count": cluster.indices.get(&index).map_or(0, BTreeMap::len) }))
}
