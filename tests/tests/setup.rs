//! `twosec-processor setup` against a domain and its Dashboards, seen from outside.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use tests::servers::Served;

/// What was sent to Dashboards: path, headers and body.
type Sent = (String, BTreeMap<String, String>, String);

#[derive(Default)]
struct Kept {
    /// What the domain was given, by path.
    parts: BTreeMap<String, Value>,
    /// What Dashboards was given, by type and id.
    objects: BTreeMap<(String, String), Value>,
    sent: Vec<Sent>,
}

/// A domain with Dashboards below `/_dashboards`, as Amazon has it.
struct Domain {
    served: Served,
    kept: Arc<Mutex<Kept>>,
}

impl Domain {
    fn start() -> Domain {
        let kept = Arc::<Mutex<Kept>>::default();
        let served = Served::app(Router::new().fallback(answer).with_state(Arc::clone(&kept)));
        Domain { served, kept }
    }

    fn set_up(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rig_processor"))
            .arg("setup")
            .args(arguments)
            .env("TWOSEC_OPENSEARCH_URL", &self.served.url)
            .env("TWOSEC_OPENSEARCH_AUTH", "basic")
            .env("TWOSEC_OPENSEARCH_USER", "admin")
            .env("TWOSEC_OPENSEARCH_PASSWORD", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", "us-east-1")
            .output()
            .unwrap()
    }

    fn dashboards_url(&self) -> String {
        format!("{}/_dashboards", self.served.url)
    }

    /// What came to Dashboards since this was asked last.
    fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.kept.lock().unwrap().sent)
    }
}

type Answer = (StatusCode, String);

fn told(value: &Value) -> Answer {
    (StatusCode::OK, value.to_string())
}

async fn answer(
    State(kept): State<Arc<Mutex<Kept>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Answer {
    let mut kept = kept.lock().unwrap();
    let path = uri.to_string();
    if let Some(path) = path.strip_prefix("/_dashboards") {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        kept.sent.push((path.to_owned(), headers.collect(), body.clone()));
        return dashboards(&mut kept, path, &body);
    }
    if path == "/" {
        return told(&json!({"version": {"number": "2.19.1", "distribution": "opensearch"}}));
    }
    if method == Method::PUT {
        kept.parts.insert(path, serde_json::from_str(&body).unwrap());
        return told(&json!({"acknowledged": true}));
    }
    match (kept.parts.get(&path), path.starts_with("/_component_template")) {
        (None, _) => (StatusCode::NOT_FOUND, String::new()),
        (Some(part), true) => told(&json!({"component_templates": [{"component_template": part}]})),
        (Some(part), false) => told(&json!({"index_templates": [{"index_template": part}]})),
    }
}

fn dashboards(kept: &mut Kept, path: &str, body: &str) -> Answer {
    let key = |object: &Value| ["type", "id"].map(|name| object[name].as_str().unwrap().to_owned()).into();
    match path {
        "/api/saved_objects/_bulk_get" => {
            let asked: Vec<Value> = serde_json::from_str(body).unwrap();
            let missing =
                |asked: &Value| json!({"type": asked["type"], "id": asked["id"], "error": {"statusCode": 404}});
            let found = |asked: &Value| kept.objects.get(&key(asked)).cloned().unwrap_or_else(|| missing(asked));
            told(&json!({"saved_objects": asked.iter().map(found).collect::<Vec<_>>()}))
        }
        "/api/saved_objects/_import?overwrite=true" => {
            let objects = file(body).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            kept.objects.extend(objects.map(|object| (key(&object), object)));
            told(&json!({"success": true, "successCount": kept.objects.len()}))
        }
        _ => (StatusCode::NOT_FOUND, json!({"statusCode": 404, "message": "Not Found"}).to_string()),
    }
}

/// The file in a form of one part.
fn file(form: &str) -> &str {
    let (boundary, rest) = form.split_once("\r\n").unwrap();
    let (head, rest) = rest.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("name=\"file\"; filename=\"twosec.ndjson\""), "{head}");
    rest.strip_suffix(&format!("\r\n{boundary}--\r\n")).unwrap()
}

/// The paths that were asked for.
fn paths(sent: &[Sent]) -> Vec<&str> {
    sent.iter().map(|(path, _, _)| path.trim_start_matches("/api/saved_objects/")).collect()
}

#[test]
fn dashboards_are_imported_once_by_whoever_the_domain_lets_in() {
    let domain = Domain::start();
    let url = domain.dashboards_url();
    let output = domain.set_up(&["--dashboards-url", &url]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("made          dashboard twosec-attacks\n"), "{text}");
    let sent = domain.sent();
    assert_eq!(paths(&sent), ["_bulk_get", "_import?overwrite=true"]);
    let expected = [
        ("authorization", "Basic YWRtaW46c2VjcmV0"),
        ("content-type", "multipart/form-data; boundary=twosec-saved-objects"),
        ("osd-xsrf", "true"),
        ("securitytenant", "global"),
    ];
    for (name, value) in expected {
        assert_eq!(sent[1].1[name], value);
    }

    let again = domain.set_up(&["--dashboards-url", &url, "--json"]);
    let report: Value = serde_json::from_slice(&again.stdout).unwrap();
    let parts = report["parts"].as_array().unwrap();
    assert!(parts.len() > 50 && parts.iter().all(|part| part["action"] == "same"), "{report:#}");
    assert_eq!(paths(&domain.sent()), ["_bulk_get"]);
}

#[test]
fn a_dry_run_imports_nothing_and_tells_what_would_be_made() {
    let domain = Domain::start();
    let output = domain.set_up(&["--dry-run", "--dashboards-url", &domain.dashboards_url()]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("would make    dashboard twosec-health\n"));
    assert_eq!(paths(&domain.sent()), ["_bulk_get"]);
    assert!(domain.kept.lock().unwrap().parts.is_empty());
}

#[test]
fn without_its_url_nothing_is_sent_to_dashboards() {
    let domain = Domain::start();
    assert_eq!(domain.set_up(&[]).status.code(), Some(0));
    assert!(domain.sent().is_empty());
}

#[test]
fn a_url_where_no_dashboards_is_is_told() {
    let domain = Domain::start();
    let output = domain.set_up(&["--dashboards-url", &format!("{}/elsewhere", domain.dashboards_url())]);
    assert_eq!(output.status.code(), Some(69));
    let told = "twosec-processor: Dashboards refuses to tell its saved objects with 404: Not Found\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), told);
}
