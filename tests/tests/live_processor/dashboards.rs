//! What each panel of the dashboards and each monitor asks, asked of OpenSearch itself.

use super::{Running, World, server};
use event::document::{IndexNames, IndexPeriod};
use event::line::{Host, Origin};
use event::{Document, Event, Format, HostKey};
use processor::setup::{Channel, Wanted};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::servers::proxy;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/dvwa/access.log");
const GEOIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/geoip");

impl World {
    /// The shipped sample by way of agent, stream and processor, with places of clients; and what
    /// no access log has.
    async fn fill(&self) {
        let folder = self.folder.path();
        std::fs::copy(SAMPLE, folder.join("access.log")).unwrap();
        std::fs::write(folder.join("networks.txt"), "89.160.20.0/24 Example Hosting\n").unwrap();
        let databases = ["City", "ASN"].map(|name| format!("\"{GEOIP}/GeoLite2-{name}-Test.mmdb\"")).join(", ");
        let networks = folder.join("networks.txt");
        let agent =
            self.agent_with(&format!("[enrich]\ngeoip = [{databases}]\nnetworks = \"{}\"\n", networks.display()));
        let processor = Running(self.processor(&["run"]).spawn().unwrap());
        self.wait_for(std::fs::read_to_string(SAMPLE).unwrap().lines().count()).await;
        let begun = Instant::now();
        // The agent tells of an incident some seconds after its lines.
        while self.ask(&format!("{}-incidents/_count", self.name), json!({})).await["count"].as_u64() < Some(10) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no incidents come");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(agent.stop().await.0, Some(0));
        assert_eq!(processor.stop().await.0, Some(0));
        self.index(&odd_events()).await;
        self.ask(&format!("{}-*/_refresh", self.name), json!({})).await;
    }

    async fn index(&self, events: &[Event]) {
        let names = IndexNames { prefix: self.name.clone(), period: IndexPeriod::Day, from: None, until: None };
        let lines = events.iter().map(|event| {
            let document = Document::of(event);
            let action = json!({"create": {"_index": names.of(&document), "_id": document.id.to_string()}});
            format!("{action}\n{}\n", String::from_utf8(document.body).unwrap())
        });
        let call = self.http.post(format!("{}/_bulk", server("OPENSEARCH")));
        let call = call.header("content-type", "application/x-ndjson").body(lines.collect::<String>());
        let answer: Value = serde_json::from_slice(&call.send().await.unwrap().bytes().await.unwrap()).unwrap();
        assert_eq!(answer["errors"], false, "{answer}");
    }

    /// What a monitor asks, over the time of the sample; and what it cannot tell of the answer.
    async fn not_told(&self) -> Vec<String> {
        let alerts = Some(Channel::Known("on-call".into()));
        let period = IndexPeriod::Day;
        let (writers, readers) = (Vec::new(), Vec::new());
        let wanted = Wanted { prefix: self.name.clone(), period, retention_days: None, writers, readers, alerts };
        let mut found = Vec::new();
        for part in wanted.parts().iter().filter(|part| part.what.starts_with("monitor")) {
            let search = &part.body["inputs"][0]["search"];
            let body = search["query"].to_string().replace("[now-1h TO now]", "[2026-11-16 TO 2026-11-17]");
            let body = serde_json::from_str(&body).unwrap();
            let answer = self.ask(&format!("{}/_search", search["indices"][0].as_str().unwrap()), body).await;
            if answer["hits"]["total"]["value"].as_u64().unwrap_or(0) == 0 {
                found.push(format!("{}: no document: {answer}", part.what));
            }
            let message =
                part.body["triggers"][0]["query_level_trigger"]["actions"][0]["message_template"]["source"].to_string();
            for hit in answer["hits"]["hits"].as_array().into_iter().flatten() {
                let fields = message.split("{{_source.").skip(1).filter_map(|rest| rest.split("}}").next());
                let is_absent = |name: &&str| hit.pointer(&format!("/_source/{}", name.replace('.', "/"))).is_none();
                found.extend(fields.filter(is_absent).map(|name| format!("{}: no {name} in {hit}", part.what)));
            }
        }
        found
    }

    /// What `saved-objects` prints.
    async fn saved_objects(&self) -> Vec<Value> {
        let output = self.ended(&["saved-objects"]).await;
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Asks what a panel asks, over all time.
    async fn shown(&self, panel: &Panel) -> Value {
        let mut body = json!({"size": 1, "track_total_hits": true, "aggs": panel.aggregations()});
        if !panel.query.is_empty() {
            body["query"] = json!({"query_string": {"query": panel.query, "analyze_wildcard": true}});
        }
        self.ask(&format!("{}/_search", panel.index), body).await
    }
}

/// A line that is none, lost bytes and a line that was cut.
fn odd_events() -> Vec<Event> {
    let path = "/var/log/apache2/other.log";
    let event = |offset, line: &[u8]| {
        let host = Host { id: "web-2".into(), name: "web-2".into() };
        let life = HostKey::derive("web-2").life(path, b"other");
        Event::new(Arc::new(Origin::new(host, path, life, Format::Auto)), offset, line.to_vec(), 1_795_000_000_000)
    };
    let lost = Event { length: 21, gap: Some("the file was deleted".into()), ..event(100, b"") };
    let cut = Event { length: 100_000, cut: true, ..event(200, b"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] \"GET /") };
    vec![event(0, b"no line of a log"), lost, cut]
}

/// A panel as its saved object tells it.
struct Panel {
    id: String,
    index: String,
    query: String,
    aggregations: Vec<Value>,
    columns: Vec<String>,
}

impl Panel {
    /// The panel of a visualization or a search; none of other objects.
    fn of(object: &Value, patterns: &BTreeMap<String, String>) -> Option<Panel> {
        let attributes = &object["attributes"];
        let unpacked = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
        let aggregations = match object["type"].as_str().unwrap() {
            "visualization" => unpacked(&attributes["visState"])["aggs"].as_array().unwrap().clone(),
            "search" => Vec::new(),
            _ => return None,
        };
        let source = unpacked(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]);
        let columns = attributes["columns"].as_array().into_iter().flatten();
        Some(Panel {
            id: object["id"].as_str().unwrap().to_owned(),
            index: patterns[object["references"][0]["id"].as_str().unwrap()].clone(),
            query: source["query"]["query"].as_str().unwrap().to_owned(),
            aggregations,
            columns: columns.map(|column| column.as_str().unwrap().to_owned()).collect(),
        })
    }

    fn measures(&self) -> impl Iterator<Item = &Value> {
        let is_number = |it: &&Value| it["schema"] == "metric" && it["type"] != "count";
        self.aggregations.iter().filter(is_number)
    }

    fn buckets(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.aggregations.iter().filter(|it| it["schema"] != "metric")
    }

    /// As Dashboards nests them: the first bucket is the outermost.
    fn aggregations(&self) -> Value {
        let field = |it: &Value| json!({it["type"].as_str().unwrap(): {"field": it["params"]["field"]}});
        let named = |it: &Value| it["id"].as_str().unwrap().to_owned();
        let measures: Map<String, Value> = self.measures().map(|it| (named(it), field(it))).collect();
        self.buckets().rev().fold(json!(measures), |mut inner, bucket| {
            let params = &bucket["params"];
            let mut outer = field(bucket);
            match bucket["type"].as_str().unwrap() {
                "terms" => {
                    let by = if self.measures().any(|it| it["id"] == params["orderBy"]) { "1" } else { "_count" };
                    outer["terms"]["order"] = json!({by: params["order"]});
                    outer["terms"]["size"] = params["size"].clone();
                }
                // Dashboards turns `auto` into the interval that makes 50 to 100 bars of the time
                // that is looked at, here a day.
                "date_histogram" => {
                    outer["date_histogram"]["fixed_interval"] = json!("30m");
                    outer["date_histogram"]["time_zone"] = json!("UTC");
                    outer["date_histogram"]["min_doc_count"] = params["min_doc_count"].clone();
                }
                // `useGeocentroid` asks for the middle of each cell's places as well.
                "geohash_grid" => {
                    outer["geohash_grid"]["precision"] = params["precision"].clone();
                    inner["centre"] = json!({"geo_centroid": {"field": params["field"]}});
                }
                other => panic!("{}: {other}", self.id),
            }
            outer["aggs"] = inner;
            json!({named(bucket): outer})
        })
    }

    /// What is missing in an answer, if anything.
    fn lacks(&self, answer: &Value) -> Option<String> {
        if answer["hits"]["total"]["value"].as_u64().unwrap_or(0) == 0 {
            return Some(format!("no document: {answer}"));
        }
        let mut at = &answer["aggregations"];
        for bucket in self.buckets() {
            at = &at[bucket["id"].as_str().unwrap()]["buckets"][0];
            if at["doc_count"].as_u64().unwrap_or(0) == 0 {
                return Some(format!("no value of {}", bucket["params"]["field"]));
            }
        }
        if at.get("centre").is_some_and(|centre| centre["location"]["lat"].as_f64().is_none()) {
            return Some(format!("no place in {at}"));
        }
        let is_told = |it: &&Value| at[it["id"].as_str().unwrap()]["value"].as_f64().is_some_and(|value| value > 0.0);
        if let Some(silent) = self.measures().find(|it| !is_told(it)) {
            return Some(format!("no {} of {}", silent["type"], silent["params"]["field"]));
        }
        let document = &answer["hits"]["hits"][0]["_source"];
        let is_absent = |column: &&String| document.pointer(&format!("/{}", column.replace('.', "/"))).is_none();
        self.columns.iter().find(is_absent).map(|column| format!("no {column} in {document}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_monitor_finds_something_in_the_sample() {
    let world = World::with(1, proxy::Faults::default()).await;
    assert_eq!(world.report(&["setup"]).await.0, Some(0));
    world.fill().await;
    // The names of Sigma's rules are aliases.
    let by_alias = json!({"query": {"query_string": {"query": r"c-uri:*union* AND sc-status:200 AND cs-method:GET"}}});
    let answer = world.ask(&format!("{}-2*/_search", world.name), by_alias).await;
    assert!(answer["hits"]["total"]["value"].as_u64() > Some(0), "{answer}");
    let objects = world.saved_objects().await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let patterns = objects.iter().filter(|object| object["type"] == "index-pattern");
    let patterns = patterns.map(|object| (text(&object["id"]), text(&object["attributes"]["title"]))).collect();
    let mut empty = world.not_told().await;
    let mut panels = 0;
    for panel in objects.iter().filter_map(|object| Panel::of(object, &patterns)) {
        panels += 1;
        let answer = world.shown(&panel).await;
        empty.extend(panel.lacks(&answer).map(|what| format!("{}: {what}", panel.id)));
    }
    println!("{panels} panels asked");
    assert!(empty.is_empty(), "{empty:#?}");
}
