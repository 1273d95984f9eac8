//! Documents into OpenSearch, by `_bulk`; and an administrator's calls, also of its Dashboards.
//!
//! The request is one `create` for each document, with our id, so that a document that
//! is there already answers 409 and is never written twice.

use super::{Index, IndexError, Item, Verdict};
use crate::setup;
use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningError, SigningSettings};
use aws_sigv4::http_request::{SigningParams, sign};
use aws_sigv4::sign::v4;
use event::gzip::gzip;
use event::{EventId, json};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// What small Amazon OpenSearch instances take on the wire (Amazon OpenSearch quotas).
const REQUEST_BYTES_MAX: usize = 10 << 20;

/// Documents are alike, so the quickest level makes a tenth of them.
const GZIP_LEVEL: u8 = 1;

/// What is kept of the memory that a request was written in: more than most have.
const ROOM_BYTES_MAX: usize = 2 << 20;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take: far longer than OpenSearch waits for anything in it.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);

/// How long OpenSearch waits for a shard that is not there, or for a new index: a minute by itself
/// (OpenSearch, "Bulk", `timeout`), in which the documents of all other indices would wait too.
const SHARD_TIMEOUT: &str = "10s";

/// A status and an id for each item keep the answer in step with the request; errors say why.
const FILTER: &str = "took,errors,items.*._id,items.*.status,items.*.error";

/// Headers of a request, beside those of the signature.
type Headers = &'static [(&'static str, &'static str)];

const BULK: Headers = &[("content-type", "application/x-ndjson"), ("content-encoding", "gzip")];
const JSON: Headers = &[("content-type", "application/json")];

/// Dashboards takes no POST without `osd-xsrf`; and with the security plugin whoever logs in has
/// objects of his own, unless the tenant says that they are for all.
const DASHBOARDS_JSON: Headers =
    &[("content-type", "application/json"), ("osd-xsrf", "true"), ("securitytenant", "global")];
const DASHBOARDS_FILE: Headers = &[
    ("content-type", "multipart/form-data; boundary=twosec-saved-objects"),
    ("osd-xsrf", "true"),
    ("securitytenant", "global"),
];

/// As whom to call.
pub enum Auth {
    /// As nobody: the network decides.
    None,
    /// By name and password.
    Basic { user: String, password: String },
    /// As an IAM role.
    SigV4(Signer),
}

/// An OpenSearch domain.
pub struct OpenSearch {
    client: Client,
    root: Url,
    bulk: Url,
    auth: Auth,
    /// Where requests are written before they are packed: memory that is asked for anew each time
    /// is a page fault for each page of it. As many as are written at once.
    room: std::sync::Mutex<Vec<Vec<u8>>>,
}

/// OpenSearch cannot be used as set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("`{url}` is not the URL of an OpenSearch domain, such as `https://search.example.com`")]
    Url { url: String },
    #[error("the file of certificate authorities (`opensearch_ca_file`) holds none in PEM")]
    NoAuthority,
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

impl OpenSearch {
    /// The domain at `url`, with or without a path. No request is made yet.
    pub fn new(url: &str, auth: Auth) -> Result<OpenSearch, SetupError> {
        OpenSearch::trusting(url, auth, b"")
    }

    /// The same, with `authorities` in PEM that are trusted beside those of the system.
    pub fn trusting(url: &str, auth: Auth, authorities: &[u8]) -> Result<OpenSearch, SetupError> {
        let root = root(url).ok_or_else(|| SetupError::Url { url: url.to_owned() })?;
        let mut bulk = bulk_url(&root);
        // Collections without servers have no shards of ours, and take fewer parameters.
        if !matches!(&auth, Auth::SigV4(signer) if signer.service == "aoss") {
            bulk.query_pairs_mut().append_pair("timeout", SHARD_TIMEOUT);
        }
        let trusted = Certificate::from_pem_bundle(authorities).map_err(SetupError::Client)?;
        if trusted.is_empty() && !authorities.is_empty() {
            return Err(SetupError::NoAuthority);
        }
        // A request that is sent elsewhere would lose its body or its signature.
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .redirect(Policy::none())
            .tls_certs_merge(trusted)
            .build()
            .map_err(SetupError::Client)?;
        Ok(OpenSearch { client, root, bulk, auth, room: std::sync::Mutex::default() })
    }

    /// The request, packed.
    fn packed(&self, items: &[Item]) -> Vec<u8> {
        let room = || self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut body = room().pop().unwrap_or_default();
        request(items, &mut body);
        let packed = gzip(&body, GZIP_LEVEL);
        body.clear();
        body.shrink_to(ROOM_BYTES_MAX);
        room().push(body);
        packed
    }

    async fn send(&self, method: Method, url: &Url, headers: Headers, body: Vec<u8>) -> Result<Response, IndexError> {
        let request = self.client.request(method.clone(), url.clone());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = match &self.auth {
            Auth::None => request,
            Auth::Basic { user, password } => request.basic_auth(user, Some(password)),
            Auth::SigV4(signer) => signer.sign(request, &Signed { method, url, headers, body: &body }).await?,
        };
        request.body(body).send().await.map_err(transient)
    }

    /// An administrator's call: the answer's status and body. `path` begins with a slash.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: Headers,
        body: Vec<u8>,
    ) -> Result<setup::Answer, IndexError> {
        let url = format!("{}{path}", self.root.as_str().trim_end_matches('/')).parse().map_err(transient)?;
        let answer = self.send(method, &url, headers, body).await?;
        let status = answer.status().as_u16();
        let text = answer.bytes().await.map_err(transient)?;
        let body = serde_json::from_slice(&text).unwrap_or_else(|_| String::from_utf8_lossy(&text).into());
        Ok((status, body))
    }
}

/// The URL of the domain, without a slash at its end.
fn root(url: &str) -> Option<Url> {
    let mut url = Url::parse(url).ok().filter(|url| url.has_host() && url.scheme().starts_with("http"))?;
    url.path_segments_mut().ok()?.pop_if_empty();
    url.set_query(None);
    Some(url)
}

fn bulk_url(root: &Url) -> Url {
    let mut url = root.clone();
    url.path_segments_mut().expect("a URL with a host has a path").push("_bulk");
    url.query_pairs_mut().append_pair("filter_path", FILTER);
    url
}

#[async_trait]
impl setup::Domain for OpenSearch {
    async fn call(
        &self,
        method: setup::Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<setup::Answer, IndexError> {
        let method = match method {
            setup::Method::Get => Method::GET,
            setup::Method::Post => Method::POST,
            setup::Method::Put => Method::PUT,
        };
        let (headers, body) = body.map_or((&[][..], Vec::new()), |body| (JSON, body.to_string().into_bytes()));
        self.ask(method, path, headers, body).await
    }
}

#[async_trait]
impl setup::Dashboards for OpenSearch {
    async fn post(
        &self,
        path: &str,
        body: setup::Body<'_>,
    ) -> Result<setup::Answer, Box<dyn std::error::Error + Send + Sync>> {
        let (headers, body) = match body {
            setup::Body::Json(body) => (DASHBOARDS_JSON, body.to_string().into_bytes()),
            setup::Body::File(export) => (DASHBOARDS_FILE, form(export).into_bytes()),
        };
        self.ask(Method::POST, path, headers, body).await.map_err(|error| match error {
            IndexError::Transient(cause) => cause,
            other => other.into(),
        })
    }
}

/// A form with a file (RFC 7578). No line of an export is a boundary, since each is JSON.
fn form(export: &str) -> String {
    let file = "content-disposition: form-data; name=\"file\"; filename=\"twosec.ndjson\"\r\n\
        content-type: application/x-ndjson";
    format!("--twosec-saved-objects\r\n{file}\r\n\r\n{export}\r\n--twosec-saved-objects--\r\n")
}

#[async_trait]
impl Index for OpenSearch {
    async fn bulk(&self, items: &[Item]) -> Result<Vec<Verdict>, IndexError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let body = self.packed(items);
        if body.len() >= REQUEST_BYTES_MAX {
            return Err(IndexError::TooLarge);
        }
        let answer = self.send(Method::POST, &self.bulk, BULK, body).await?;
        let status = answer.status();
        let text = answer.bytes().await.map_err(transient)?;
        if status.is_success() {
            read(&text, items.iter().map(|item| item.document.id))
        } else {
            Err(refused(status, &text))
        }
    }

    /// Nothing to do: a document is in the domain's translog before it is answered, and
    /// searchable after the index's own `refresh_interval`.
    async fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

fn transient(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> IndexError {
    IndexError::Transient(cause.into())
}

/// Appends the request: for each document a line that says what to do, and the document.
fn request(items: &[Item], body: &mut Vec<u8>) {
    let bytes = |item: &Item| ACTION_BYTES + item.index.len() + item.document.body.len();
    body.reserve(items.iter().map(bytes).sum());
    for item in items {
        json::push(&action(item), body);
        body.push(b'\n');
        body.extend_from_slice(&item.document.body);
        body.push(b'\n');
    }
}

/// A line is created once, unless newer rules have judged it anew. An incident is replaced by
/// its higher revisions, a line by newer rules: an older one that comes late is a conflict, which
/// is as good as done (OpenSearch, "Index document", external versions).
fn action(item: &Item) -> Action<'_> {
    let (index, id) = (&item.index, item.id());
    match item.document.revision.or(item.document.ruleset) {
        None => Action::Create { index, id },
        Some(version) => Action::Index { index, id, version, version_type: "external_gte" },
    }
}

/// What an action has beside the name of its index, at most.
const ACTION_BYTES: usize = 128;

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Action<'a> {
    Create {
        #[serde(rename = "_index")]
        index: &'a str,
        #[serde(rename = "_id")]
        id: EventId,
    },
    Index {
        #[serde(rename = "_index")]
        index: &'a str,
        #[serde(rename = "_id")]
        id: EventId,
        version: u32,
        version_type: &'static str,
    },
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Answered>,
}

/// What became of one document, under the name of its action.
#[derive(Deserialize)]
struct Answered {
    #[serde(alias = "index")]
    create: ItemAnswer,
}

#[derive(Deserialize)]
struct ItemAnswer {
    #[serde(rename = "_id")]
    id: EventId,
    status: u16,
    error: Option<ItemError>,
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
}

/// One verdict for each document that was `sent`. An answer that is cut short, or that is not in
/// the request's order, says nothing about any.
fn read(answer: &[u8], sent: impl ExactSizeIterator<Item = EventId>) -> Result<Vec<Verdict>, IndexError> {
    let answer: Answer = serde_json::from_slice(answer).map_err(transient)?;
    let items = answer.items;
    if items.len() != sent.len() {
        return Err(transient(format!("the answer tells of {} documents of {}", items.len(), sent.len())));
    }
    let denial =
        |Answered { create: item }: &Answered| item.error.as_ref().filter(|error| error.kind == DENIED).map(text);
    let denials: Vec<String> = items.iter().map_while(denial).collect();
    if let Some(reason) = denials.first().filter(|_| denials.len() == items.len()) {
        return Err(IndexError::Denied(reason.clone()));
    }
    let verdict = |(Answered { create: item }, id): (&Answered, EventId)| match item.id == id {
        true => Ok(verdict(item)),
        false => Err(transient(format!("the answer tells of {} where {id} was sent", item.id))),
    };
    items.iter().zip(sent).map(verdict).collect()
}

/// What the security plugin says of what our role may not do. Said of all documents of a request it is
/// about us, said of some about their indices.
const DENIED: &str = "security_exception";

/// What is said of an index that is to be made, or of a mapping that is to be changed, while the
/// cluster manager is busy or away: that passes, and says nothing of the index or the document.
const MANAGER: [&str; 3] = [
    "process_cluster_event_timeout_exception",
    "cluster_manager_not_discovered_exception",
    "master_not_discovered_exception",
];

fn verdict(item: &ItemAnswer) -> Verdict {
    let (kind, reason) = item.error.as_ref().map_or(("", String::new()), |error| (error.kind.as_str(), text(error)));
    match (item.status, kind) {
        (_, DENIED) => Verdict::Blocked(reason),
        (200..=299, _) => Verdict::Done { created: true },
        (409, _) => Verdict::Done { created: false },
        (500, _) => Verdict::Failed(told(item.status, reason)),
        (_, kind) if MANAGER.contains(&kind) => Verdict::Retry(told(item.status, reason)),
        (501.., _) => Verdict::Unavailable(told(item.status, reason)),
        (408 | 429, _) => Verdict::Retry(told(item.status, reason)),
        (_, "cluster_block_exception") if is_cluster_full(&reason) => Verdict::Retry(reason),
        _ if is_index_blocked(item.status, kind) => Verdict::Blocked(told(item.status, reason)),
        (400..=499, _) => Verdict::Dead(told(item.status, reason)),
        _ => Verdict::Retry(told(item.status, reason)),
    }
}

fn told(status: u16, reason: String) -> String {
    if reason.is_empty() { format!("status {status}") } else { reason }
}

/// Whether the cluster takes nothing because its disks are full: index block 12 at the flood
/// stage, cluster blocks 10 and 13 beside it (OpenSearch, `DiskThresholdMonitor`). It passes
/// when there is room again, and concerns all indices. Reasons of other kinds may quote what a client
/// sent.
fn is_cluster_full(reason: &str) -> bool {
    ["/10/cluster create-index blocked", "/12/", "/13/"].iter().any(|block| {
        reason.contains(&format!("FORBIDDEN{block}")) || reason.contains(&format!("TOO_MANY_REQUESTS{block}"))
    })
}

/// Whether a refusal is about one index and not about the document: it is missing, blocked or
/// closed, or there is no room for another shard. Somebody can help it.
fn is_index_blocked(status: u16, kind: &str) -> bool {
    matches!(status, 401 | 403 | 404)
        || matches!(kind, "cluster_block_exception" | "index_closed_exception" | "validation_exception")
}

fn text(error: &ItemError) -> String {
    match &error.reason {
        Some(reason) => format!("{}: {reason}", error.kind),
        None => error.kind.clone(),
    }
}

/// How much of an answer stands in an error.
const EXCERPT_CHARS: usize = 300;

/// A whole request that is refused. 400 and 404 too are about the request, so about us.
fn refused(status: StatusCode, body: &[u8]) -> IndexError {
    let excerpt: String = String::from_utf8_lossy(body).chars().take(EXCERPT_CHARS).collect();
    let text = format!("{status}: {excerpt}");
    match status.as_u16() {
        413 => IndexError::TooLarge,
        408 | 429 | 500.. => transient(text),
        _ => IndexError::Denied(text),
    }
}

/// What a signature covers.
struct Signed<'a> {
    method: Method,
    url: &'a Url,
    headers: Headers,
    body: &'a [u8],
}

/// Signs requests with the credentials of an IAM role (Signature Version 4).
pub struct Signer {
    region: String,
    service: String,
    provider: SharedCredentialsProvider,
    /// The chain behind `provider` asks the task's or instance's metadata each time.
    held: Mutex<Option<Credentials>>,
}

/// Credentials are asked for anew this long before they expire: longer than any request.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// A request could not be signed.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("cannot get credentials to sign with")]
    Credentials(#[source] CredentialsError),
    #[error("cannot sign the request")]
    Parameters(#[source] v4::signing_params::BuildError),
    #[error("cannot sign the request")]
    Sign(#[source] SigningError),
}

impl Signer {
    /// Signs for `service`: `es` for a domain, `aoss` for a serverless collection.
    pub fn new(region: &str, service: &str, provider: SharedCredentialsProvider) -> Signer {
        Signer { region: region.to_owned(), service: service.to_owned(), provider, held: Mutex::default() }
    }

    /// Adds the headers of the signature.
    async fn sign(&self, request: RequestBuilder, signed: &Signed<'_>) -> Result<RequestBuilder, IndexError> {
        let credentials = self.credentials().await.map_err(|cause| transient(SignError::Credentials(cause)))?;
        let headers = self.headers(credentials, signed, SystemTime::now()).map_err(transient)?;
        Ok(headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)))
    }

    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let mut held = self.held.lock().await;
        let late = SystemTime::now() + RENEW_BEFORE;
        let fresh = |held: &Credentials| held.expiry().is_none_or(|expiry| expiry > late);
        if let Some(credentials) = held.as_ref().filter(|held| fresh(held)) {
            return Ok(credentials.clone());
        }
        let credentials = self.provider.provide_credentials().await?;
        Ok(held.insert(credentials).clone())
    }

    /// The headers of the signature of a request made at `now`.
    fn headers(
        &self,
        credentials: Credentials,
        signed: &Signed<'_>,
        now: SystemTime,
    ) -> Result<Vec<(String, String)>, SignError> {
        let mut settings = SigningSettings::default();
        // Serverless collections want the hash of the body as a header; domains don't mind.
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = credentials.into();
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(now)
            .settings(settings)
            .build()
            .map_err(SignError::Parameters)?
            .into();
        let Signed { ref method, url, headers, body } = *signed;
        let headers = headers.iter().copied();
        let request = SignableRequest::new(method.as_str(), url.as_str(), headers, SignableBody::Bytes(body));
        let signed = request.and_then(|request| sign(request, &params)).map_err(SignError::Sign)?;
        let (signature, _) = signed.into_parts();
        Ok(signature.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Document, EventId};
    use std::time::UNIX_EPOCH;

    fn item(id: u8, body: &str) -> Item {
        let document = Document { id: EventId([id; 16]), day: None, revision: None, ruleset: None, body: body.into() };
        Item { index: "twosec-2026.11.16".into(), document }
    }

    #[test]
    fn the_request_is_a_create_for_each_document() {
        let expected = concat!(
            r#"{"create":{"_index":"twosec-2026.11.16","_id":"01010101010101010101010101010101"}}"#,
            "\n{\"a\":1}\n",
            r#"{"create":{"_index":"twosec-2026.11.16","_id":"02020202020202020202020202020202"}}"#,
            "\n{\"b\":2}\n",
        );
        let mut body = Vec::new();
        request(&[item(1, r#"{"a":1}"#), item(2, r#"{"b":2}"#)], &mut body);
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn the_url_may_have_a_path_or_end_in_a_slash() {
        let query = "filter_path=took%2Cerrors%2Citems.*._id%2Citems.*.status%2Citems.*.error";
        for (url, bulk) in [
            ("https://search.example.com", "https://search.example.com/_bulk"),
            ("http://127.0.0.1:9200/", "http://127.0.0.1:9200/_bulk"),
            ("https://proxy.example.com/logs/", "https://proxy.example.com/logs/_bulk"),
        ] {
            assert_eq!(bulk_url(&root(url).unwrap()).as_str(), format!("{bulk}?{query}"));
        }
        let error = OpenSearch::new("search.example.com", Auth::None).err().unwrap();
        let expected =
            "`search.example.com` is not the URL of an OpenSearch domain, such as `https://search.example.com`";
        assert_eq!(error.to_string(), expected);
        let error = OpenSearch::trusting("https://search.example.com", Auth::None, b"no PEM").err().unwrap();
        let expected = "the file of certificate authorities (`opensearch_ca_file`) holds none in PEM";
        assert_eq!(error.to_string(), expected);
    }

    /// Time passes as soon as nobody has anything to do.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_never_answered_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let index = OpenSearch::new(&format!("http://{}", silent.local_addr().unwrap()), Auth::None).unwrap();
        let begun = tokio::time::Instant::now();
        let error = index.bulk(&[item(1, "{}")]).await.unwrap_err();
        assert!(matches!(error, IndexError::Transient(_)), "{error:?}");
        assert!((CALL_TIMEOUT..CALL_TIMEOUT * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    const ID: EventId = EventId([1; 16]);

    /// The verdict on one item, answered as OpenSearch does.
    fn answered(status: u16, kind: &str, reason: &str) -> Result<Verdict, IndexError> {
        let error = if kind.is_empty() { "" } else { &format!(r#","error":{{"type":"{kind}","reason":"{reason}"}}"#) };
        let answer =
            format!(r#"{{"took":3,"errors":true,"items":[{{"create":{{"_id":"{ID}","status":{status}{error}}}}}]}}"#);
        read(answer.as_bytes(), [ID].into_iter()).map(|mut verdicts| verdicts.remove(0))
    }

    #[test]
    fn a_document_that_is_there_is_done() {
        assert_eq!(answered(201, "", "").unwrap(), Verdict::Done { created: true });
        let there = answered(409, "version_conflict_engine_exception", "document already exists").unwrap();
        assert_eq!(there, Verdict::Done { created: false });
    }

    #[test]
    fn overload_and_full_disks_are_waited_for() {
        let index_full = "index [twosec-2026.11.16] blocked by: [FORBIDDEN/12/index read-only / allow delete (api)];";
        let flood_stage = "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, \
                           index has read-only-allow-delete block];";
        for (status, kind, reason) in [
            (429, "rejected_execution_exception", "later"),
            (429, "circuit_breaking_exception", "[parent] Data too large"),
            (429, "cluster_block_exception", flood_stage),
            (403, "cluster_block_exception", index_full),
            (
                503,
                "process_cluster_event_timeout_exception",
                "failed to process cluster event (auto create) within 10s",
            ),
            (503, "cluster_manager_not_discovered_exception", "later"),
            (403, "cluster_block_exception", "blocked by: [FORBIDDEN/10/cluster create-index blocked (api)];"),
            (403, "cluster_block_exception", "blocked by: [FORBIDDEN/13/cluster read-only / allow delete (api)];"),
        ] {
            let verdict = answered(status, kind, reason).unwrap();
            assert_eq!(verdict, Verdict::Retry(format!("{kind}: {reason}")), "{status}");
        }
    }

    #[test]
    fn a_document_that_the_index_fails_with_may_be_its_trouble_or_the_documents() {
        let failed = answered(500, "null_pointer_exception", "why").unwrap();
        assert_eq!(failed, Verdict::Failed("null_pointer_exception: why".into()));
        let unavailable = answered(503, "unavailable_shards_exception", "why").unwrap();
        assert_eq!(unavailable, Verdict::Unavailable("unavailable_shards_exception: why".into()));
        assert_eq!(answered(503, "", "").unwrap(), Verdict::Unavailable("status 503".into()));
    }

    #[test]
    fn an_index_that_is_blocked_closed_or_missing_is_that_indexs_trouble() {
        for (status, kind, reason) in [
            (403, "cluster_block_exception", "index [twosec-2026.01.02] blocked by: [FORBIDDEN/8/index write (api)];"),
            (
                403,
                "cluster_block_exception",
                "index [twosec-2026.01.02] blocked by: [FORBIDDEN/5/index read-only (api)];",
            ),
            (404, "index_not_found_exception", "no such index [twosec-2026.01.02]"),
            (400, "index_closed_exception", "closed"),
            (
                400,
                "validation_exception",
                "this action would add [2] total shards, but this cluster currently has [1000]",
            ),
        ] {
            let verdict = answered(status, kind, reason).unwrap();
            assert_eq!(verdict, Verdict::Blocked(format!("{kind}: {reason}")), "{status}");
        }
    }

    #[test]
    fn a_document_that_does_not_fit_is_dead_with_the_reason() {
        for (kind, reason) in [
            ("mapper_parsing_exception", "failed to parse field [source.ip]"),
            ("mapper_parsing_exception", "failed to parse field [@timestamp] of type [date]"),
            ("strict_dynamic_mapping_exception", "mapping set to strict, dynamic introduction of [x] is not allowed"),
            ("illegal_argument_exception", "Limit of total fields [1000] has been exceeded"),
            // A reason may quote what a client sent.
            ("mapper_parsing_exception", "failed to parse field [x]. Preview of field's value: 'FORBIDDEN/12/'"),
        ] {
            let dead = answered(400, kind, reason).unwrap();
            assert_eq!(dead, Verdict::Dead(format!("{kind}: {reason}")));
        }
    }

    #[test]
    fn a_security_exception_of_all_documents_is_about_us_and_of_some_about_their_indices() {
        let error = answered(403, "security_exception", "no permissions for [indices:data/write/bulk]").unwrap_err();
        let expected = "the index refuses us: security_exception: no permissions for [indices:data/write/bulk]";
        assert_eq!(error.to_string(), expected);
        let one = r#"{"create":{"_id":"ID","status":403,"error":{"type":"security_exception","reason":"no"}}}"#;
        let answer = format!(
            r#"{{"items":[{},{{"create":{{"_id":"{ID}","status":201}}}}]}}"#,
            one.replace("ID", &ID.to_string())
        );
        let verdicts = read(answer.as_bytes(), [ID, ID].into_iter()).unwrap();
        assert_eq!(verdicts, [Verdict::Blocked("security_exception: no".into()), Verdict::Done { created: true }]);
    }

    #[test]
    fn an_answer_that_is_cut_short_settles_no_document() {
        let one = format!(r#"{{"items":[{{"create":{{"_id":"{ID}","status":201}}}}]}}"#);
        for answer in [one.as_str(), r#"{"items":[{"create":{"sta"#, "", "{}"] {
            let read = read(answer.as_bytes(), [ID, EventId([2; 16])].into_iter());
            assert!(matches!(read, Err(IndexError::Transient(_))), "{answer}");
        }
    }

    #[test]
    fn an_answer_in_another_order_settles_no_document() {
        let other = EventId([2; 16]);
        let of = |id: EventId, status: u16| format!(r#"{{"create":{{"_id":"{id}","status":{status}}}}}"#);
        let answer = format!(r#"{{"items":[{},{}]}}"#, of(ID, 201), of(other, 429));
        let verdicts = read(answer.as_bytes(), [ID, other].into_iter()).unwrap();
        assert!(matches!(verdicts[..], [Verdict::Done { created: true }, Verdict::Retry(_)]), "{verdicts:?}");
        let swapped = read(answer.as_bytes(), [other, ID].into_iter());
        assert!(matches!(swapped, Err(IndexError::Transient(_))), "{swapped:?}");
    }

    #[test]
    fn a_refused_request_is_about_its_size_our_rights_or_the_time() {
        let class = |status| refused(StatusCode::from_u16(status).unwrap(), b"why");
        assert!(matches!(class(413), IndexError::TooLarge));
        assert!([429, 500, 502, 503, 504].into_iter().all(|status| matches!(class(status), IndexError::Transient(_))));
        assert!([400, 401, 403, 404].into_iter().all(|status| matches!(class(status), IndexError::Denied(_))));
        assert_eq!(class(403).to_string(), "the index refuses us: 403 Forbidden: why");
    }

    /// The example credentials of AWS's own test suite for signatures.
    fn signer() -> (Signer, Credentials) {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let credentials = Credentials::new("AKIDEXAMPLE", secret, Some("token".into()), None, "test");
        let provider = SharedCredentialsProvider::new(credentials.clone());
        (Signer::new("eu-central-1", "es", provider), credentials)
    }

    #[test]
    fn a_request_is_signed_as_the_specification_says() {
        let (signer, credentials) = signer();
        let url = bulk_url(&root("https://search.example.com").unwrap());
        let now = UNIX_EPOCH + Duration::from_secs(1_795_392_000);
        let signed = Signed { method: Method::POST, url: &url, headers: BULK, body: b"body" };
        let mut headers = signer.headers(credentials, &signed, now).unwrap();
        headers.sort();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let authorization = concat!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/eu-central-1/es/aws4_request, ",
            "SignedHeaders=content-encoding;content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token, ",
            "Signature=d15a309942da8dfc1d596a2279f8b3e4a32f053684523cc4bd599dbee20e3941",
        );
        let expected = [
            ("authorization", authorization),
            ("x-amz-content-sha256", "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"),
            ("x-amz-date", "20261123T000000Z"),
            ("x-amz-security-token", "token"),
        ];
        assert_eq!(headers, expected);
    }
}
