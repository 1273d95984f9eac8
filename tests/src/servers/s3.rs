//! S3, as far as the archive uses it: PUT with `If-None-Match`, GET, HEAD and list, with
//! the bucket's name in the path. Of writers that race for a key one wins.

use super::Served;
use aws_config::SdkConfig;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

/// The largest object that is taken.
const BODY_BYTES_MAX: usize = 64 << 20;

/// An object with its user metadata.
#[derive(Debug, Clone)]
pub struct Stored {
    pub bytes: Bytes,
    /// `content-type` and `x-amz-meta-*`
    pub headers: HeaderMap,
}

/// What becomes of a PUT that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutFault {
    /// 503 SlowDown; nothing is stored.
    SlowDown,
    /// 409 ConditionalRequestConflict; nothing is stored.
    Conflict,
    /// Stored as asked, and answered 500.
    LostAnswer,
}

/// An S3 server with one bucket.
pub struct S3Server {
    served: Served,
    bucket: Arc<Bucket>,
}

struct Bucket {
    name: String,
    keys_a_page: usize,
    objects: Mutex<BTreeMap<String, Stored>>,
    faults: Mutex<VecDeque<PutFault>>,
}

impl S3Server {
    /// A server with an empty bucket, which lists 1,000 keys a page as S3 does.
    pub async fn start(bucket: &str) -> S3Server {
        S3Server::with_pages_of(bucket, 1_000).await
    }

    /// The same with other pages.
    pub async fn with_pages_of(bucket: &str, keys_a_page: usize) -> S3Server {
        let name = bucket.to_owned();
        let bucket = Arc::new(Bucket { name, keys_a_page, objects: Mutex::default(), faults: Mutex::default() });
        let app = Router::new()
            .route("/{bucket}", get(list))
            .route("/{bucket}/", get(list))
            .route("/{bucket}/{*key}", get(read).head(read).put(put))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::clone(&bucket));
        S3Server { served: Served::app(app), bucket }
    }

    /// From now on, answers everything with 503, or no longer does.
    pub fn set_away(&self, away: bool) {
        self.served.set_away(away);
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.served.url
    }

    /// How the SDK reaches the server. The bucket's name must stand in the path.
    pub async fn sdk(&self) -> SdkConfig {
        self.served.sdk().await
    }

    /// Makes the next PUTs go wrong, one each.
    pub fn fail_puts(&self, faults: impl IntoIterator<Item = PutFault>) {
        self.bucket.faults.lock().expect("nobody panics with the faults in hand").extend(faults);
    }

    /// All objects.
    pub fn objects(&self) -> BTreeMap<String, Stored> {
        self.bucket.objects().clone()
    }

    /// Puts an object over whatever is there, as only a test may.
    pub fn put(&self, key: &str, object: Stored) {
        self.bucket.objects().insert(key.to_owned(), object);
    }

    /// Takes an object away, as only a test may.
    pub fn remove(&self, key: &str) -> Option<Stored> {
        self.bucket.objects().remove(key)
    }
}

impl Bucket {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Stored>> {
        self.objects.lock().expect("nobody panics with the objects in hand")
    }

    fn next_fault(&self) -> Option<PutFault> {
        self.faults.lock().expect("nobody panics with the faults in hand").pop_front()
    }

    /// Looks and stores in one step.
    fn store(&self, key: String, object: Stored, only_new: bool) -> Response {
        let mut objects = self.objects();
        if only_new && objects.contains_key(&key) {
            return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        objects.insert(key, object);
        [("etag", "\"etag\"")].into_response()
    }
}

type Shared = State<Arc<Bucket>>;

async fn put(
    State(bucket): Shared,
    Path((name, key)): Path<(String, String)>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    if name != bucket.name {
        return error(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    // A body in chunks would be stored with its chunk headers.
    if headers.contains_key("x-amz-decoded-content-length") {
        return error(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
    }
    let only_new = headers.get("if-none-match").is_some_and(|value| value == "*");
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name?, value))).filter(is_kept).collect();
    let store = || bucket.store(key, Stored { bytes, headers }, only_new);
    match bucket.next_fault() {
        None => store(),
        Some(PutFault::SlowDown) => error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Some(PutFault::Conflict) => error(StatusCode::CONFLICT, "ConditionalRequestConflict"),
        Some(PutFault::LostAnswer) => {
            drop(store());
            error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
        }
    }
}

fn is_kept((name, _): &(HeaderName, HeaderValue)) -> bool {
    name == "content-type" || name.as_str().starts_with("x-amz-meta-") || name.as_str().starts_with("x-amz-checksum-")
}

/// Answers GET and HEAD; of the latter the body is left out on the way.
async fn read(State(bucket): Shared, Path((name, key)): Path<(String, String)>) -> Response {
    if name != bucket.name {
        return error(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    match bucket.objects().get(&key) {
        Some(object) => (object.headers.clone(), object.bytes.clone()).into_response(),
        None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
    }
}

async fn list(
    State(bucket): Shared,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    if name != bucket.name {
        return error(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    let of = |name: &str| query.get(name).cloned().unwrap_or_default();
    let prefix = of("prefix");
    // What follows a page is what comes after its last key.
    let after = of("start-after").max(of("continuation-token"));
    let objects = bucket.objects();
    let rest = objects.range::<String, _>((Bound::Excluded(&after), Bound::Unbounded));
    let mut keys: Vec<_> = rest.map(|(key, _)| key).filter(|key| key.starts_with(&prefix)).collect();
    let more = keys.len() > bucket.keys_a_page;
    keys.truncate(bucket.keys_a_page);
    xml(StatusCode::OK, &listing(&keys, more))
}

fn listing(keys: &[&String], more: bool) -> String {
    let contents: String = keys.iter().map(|key| format!("<Contents><Key>{}</Key></Contents>", escape(key))).collect();
    let token = keys
        .last()
        .filter(|_| more)
        .map(|key| format!("<NextContinuationToken>{}</NextContinuationToken>", escape(key)));
    let token = token.unwrap_or_default();
    format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{token}{contents}</ListBucketResult>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn error(status: StatusCode, code: &str) -> Response {
    xml(status, &format!("<Error><Code>{code}</Code><Message>made by the tests</Message></Error>"))
}

fn xml(status: StatusCode, body: &str) -> Response {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
    (status, [("content-type", "application/xml")], body).into_response()
}
