//! Questions to the index: events that match, and what they sum up to.

use super::LocalIndex;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tantivy::aggregation::AggregationCollector;
use tantivy::aggregation::agg_req::Aggregations;
use tantivy::collector::{Count, TopDocs};
use tantivy::query::{AllQuery, BooleanQuery, Occur, Query, QueryParser, TermQuery};
use tantivy::query_grammar::{self, UserInputAst, UserInputLeaf};
use tantivy::schema::{IndexRecordOption, Value as _};
use tantivy::{DateTime, DocAddress, Order, Searcher, TantivyDocument};

/// Bars in a timeline at most.
const BUCKETS_MAX: i64 = 60;

/// Values in a list of the most frequent ones.
const TOP: u32 = 10;

/// Widths that a bar may have, in milliseconds: 1 s to 30 days.
const INTERVALS: [i64; 16] = [
    1_000,
    5_000,
    15_000,
    60_000,
    300_000,
    900_000,
    1_800_000,
    3_600_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    604_800_000,
    1_209_600_000,
    2_592_000_000,
];

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("cannot read the query: {0}")]
    Query(String),
    #[error("cannot read the index")]
    Index(#[source] tantivy::TantivyError),
}

impl From<tantivy::TantivyError> for SearchError {
    fn from(cause: tantivy::TantivyError) -> SearchError {
        SearchError::Index(cause)
    }
}

/// Some of the events that match.
#[derive(Debug, Serialize)]
pub struct Hits {
    /// Events that match in all.
    pub total: usize,
    /// Documents, newest first.
    pub events: Vec<Box<RawValue>>,
    /// What to ask for the next ones.
    pub next: Option<String>,
}

/// What the events that match sum up to.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    pub total: u64,
    pub attacks: u64,
    /// Attacks among them that the server answered with success.
    pub served: u64,
    /// Lines that no format fitted.
    pub unparsed: u64,
    /// Time of the first and of the last request. Lines without a time are left out:
    /// when they were read says nothing about the traffic.
    pub from: Option<String>,
    pub to: Option<String>,
    pub categories: Vec<Bucket>,
    pub sources: Vec<Bucket>,
    pub paths: Vec<Bucket>,
    pub statuses: Vec<Bucket>,
    pub timeline: Timeline,
}

/// A value and how many events have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bucket {
    pub key: String,
    pub count: u64,
    /// Attacks among them, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attacks: Option<u64>,
}

/// Events over time.
#[derive(Debug, Default, Serialize)]
pub struct Timeline {
    pub interval_ms: i64,
    pub buckets: Vec<TimeBucket>,
}

/// One bar of a timeline.
#[derive(Debug, Serialize)]
pub struct TimeBucket {
    /// Where it begins, in milliseconds since 1970.
    pub time: i64,
    pub total: u64,
    pub categories: serde_json::Map<String, Value>,
}

impl LocalIndex {
    /// Shows what a writer in another process has committed.
    pub fn reload(&self) -> Result<(), SearchError> {
        Ok(self.store.reader.reload()?)
    }

    /// Reads a query such as `attack.categories:sqli AND source.ip:192.0.2.7`. Nothing
    /// matches everything.
    pub fn query(&self, text: &str) -> Result<Box<dyn Query>, SearchError> {
        if text.trim().is_empty() {
            return Ok(Box::new(AllQuery));
        }
        let mut parser = QueryParser::for_index(&self.index, vec![self.fields.default()]);
        parser.set_conjunction_by_default();
        let tree = query_grammar::parse_query(text)
            .map_err(|_| SearchError::Query("brackets, quotes or operators do not fit".into()))?;
        let tree = selective(self.with_addresses(tree)?);
        parser.build_query_from_user_input_ast(tree).map_err(|error| SearchError::Query(error.to_string()))
    }

    /// Events that match `query`, newest first, from the `skip`th on.
    pub fn events(&self, query: &dyn Query, limit: usize, skip: usize) -> Result<Hits, SearchError> {
        let searcher = self.store.reader.searcher();
        let newest = TopDocs::with_limit(limit.max(1))
            .and_offset(skip)
            .order_by_fast_field::<DateTime>("@timestamp", Order::Desc);
        let (total, top) = searcher.search(query, &(Count, newest))?;
        let events: Vec<_> = top.into_iter().map(|(_, at)| self.source(&searcher, at)).collect::<Result<_, _>>()?;
        let next = (skip + events.len() < total && !events.is_empty()).then(|| (skip + events.len()).to_string());
        Ok(Hits { total, events, next })
    }

    /// The strongest attacks that match `query`, at most one of each source, category
    /// and path among the first ones: ten lines should tell ten things.
    pub fn telling(&self, query: &dyn Query, limit: usize) -> Result<Vec<Value>, SearchError> {
        let searcher = self.store.reader.searcher();
        let strongest = TopDocs::with_limit(500).order_by_fast_field::<u64>("attack.score", Order::Desc);
        let attacks = self.only_attacks(query);
        let mut events = Vec::new();
        for (_, at) in searcher.search(&attacks, &strongest)? {
            events.push(serde_json::from_str(self.source(&searcher, at)?.get()).unwrap_or_default());
        }
        Ok(diverse(events, limit))
    }

    /// The event of an id.
    pub fn event(&self, id: &str) -> Result<Option<Box<RawValue>>, SearchError> {
        let query = TermQuery::new(self.fields.term("event.id", id), IndexRecordOption::Basic);
        Ok(self.events(&query, 1, 0)?.events.pop())
    }

    /// Only the events of these log files.
    pub fn of_files(&self, query: Box<dyn Query>, paths: &[String]) -> Box<dyn Query> {
        let of = |path: &String| -> Box<dyn Query> {
            Box::new(TermQuery::new(self.fields.term("log.file.path", path), IndexRecordOption::Basic))
        };
        Box::new(BooleanQuery::intersection(vec![query, Box::new(BooleanQuery::union(paths.iter().map(of).collect()))]))
    }

    fn only_attacks(&self, query: &dyn Query) -> BooleanQuery {
        BooleanQuery::intersection(vec![query.box_clone(), self.of_kind("alert")])
    }

    fn of_kind(&self, kind: &str) -> Box<dyn Query> {
        Box::new(TermQuery::new(self.fields.term("event.kind", kind), IndexRecordOption::Basic))
    }

    fn source(&self, searcher: &Searcher, at: DocAddress) -> Result<Box<RawValue>, SearchError> {
        let document: TantivyDocument = searcher.doc(at)?;
        let bytes = document.get_first(self.fields.source()).and_then(|value| value.as_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes).into_owned();
        RawValue::from_string(text).map_err(|error| SearchError::Query(error.to_string()))
    }

    /// Counts, top values and a timeline of the events that match `query`.
    pub fn stats(&self, query: &dyn Query) -> Result<Stats, SearchError> {
        let top = |field: &str, size: u32| json!({"terms": {"field": field, "size": size}});
        let wanted = json!({
            "kinds": top("event.kind", 10),
            "categories": top("attack.categories", 30),
            "sources": top("source.address", TOP),
            "paths": top("url.path", TOP),
            "statuses": top("http.response.status_code", TOP),
        });
        let found = self.aggregate(query, &wanted)?;
        let kinds = buckets(&found["kinds"]);
        let count = |kind: &str| kinds.iter().find(|bucket| bucket.key == kind).map_or(0, |bucket| bucket.count);
        let dated =
            BooleanQuery::new(vec![(Occur::Must, query.box_clone()), (Occur::MustNot, self.of_kind("pipeline_error"))]);
        let times = self.times(&dated)?;
        Ok(Stats {
            total: kinds.iter().map(|bucket| bucket.count).sum(),
            attacks: count("alert"),
            served: self.served(query)?,
            unparsed: count("pipeline_error"),
            from: times.map(|(from, _)| event::time::rfc3339(from)),
            to: times.map(|(_, to)| event::time::rfc3339(to)),
            categories: buckets(&found["categories"]),
            sources: self.sources(query, buckets(&found["sources"]))?,
            paths: buckets(&found["paths"]),
            statuses: buckets(&found["statuses"]),
            timeline: times.map_or(Ok(Timeline::default()), |(from, to)| self.timeline(&dated, from, to))?,
        })
    }

    /// Times of the first and the last event, in milliseconds.
    fn times(&self, query: &dyn Query) -> Result<Option<(i64, i64)>, SearchError> {
        let ends = json!({"from": {"min": {"field": "@timestamp"}}, "to": {"max": {"field": "@timestamp"}}});
        let found = self.aggregate(query, &ends)?;
        Ok(millis(&found["from"]).zip(millis(&found["to"])))
    }

    /// Attacks that the server answered with success.
    fn served(&self, query: &dyn Query) -> Result<u64, SearchError> {
        let success = TermQuery::new(self.fields.term("event.outcome", "success"), IndexRecordOption::Basic);
        let served = BooleanQuery::intersection(vec![Box::new(self.only_attacks(query)), Box::new(success)]);
        Ok(self.store.reader.searcher().search(&served, &Count)? as u64)
    }

    /// The sources of the most attacks, or, where nobody attacks, of the most events.
    fn sources(&self, query: &dyn Query, busiest: Vec<Bucket>) -> Result<Vec<Bucket>, SearchError> {
        let attackers = self.attackers(query, TOP)?;
        if attackers.is_empty() {
            return Ok(busiest.into_iter().map(|bucket| Bucket { attacks: Some(0), ..bucket }).collect());
        }
        let searcher = self.store.reader.searcher();
        let with_total = |(bucket, _): (Bucket, Vec<Bucket>)| {
            let from = TermQuery::new(self.fields.term("source.address", &bucket.key), IndexRecordOption::Basic);
            let events = BooleanQuery::intersection(vec![query.box_clone(), Box::new(from)]);
            let count = searcher.search(&events, &Count)? as u64;
            Ok(Bucket { attacks: Some(bucket.count), count, key: bucket.key })
        };
        attackers.into_iter().map(with_total).collect()
    }

    /// The sources of the most attacks, with the categories of each.
    pub fn attackers(&self, query: &dyn Query, size: u32) -> Result<Vec<(Bucket, Vec<Bucket>)>, SearchError> {
        let found = self.aggregate(
            &self.only_attacks(query),
            &json!({
                "sources": {
                    "terms": {"field": "source.address", "size": size},
                    "aggs": {"categories": {"terms": {"field": "attack.categories", "size": 30}}},
                },
            }),
        )?;
        let inner = found["sources"]["buckets"].as_array().cloned().unwrap_or_default();
        Ok(buckets(&found["sources"]).into_iter().zip(inner.iter().map(|b| buckets(&b["categories"]))).collect())
    }

    fn timeline(&self, query: &dyn Query, from: i64, to: i64) -> Result<Timeline, SearchError> {
        let wide = |interval: &&i64| (to - from) / **interval < BUCKETS_MAX;
        let interval_ms = INTERVALS.iter().find(wide).copied().unwrap_or((to - from) / BUCKETS_MAX + 1);
        let found = self.aggregate(query, &json!({
            "over_time": {
                "date_histogram": {"field": "@timestamp", "fixed_interval": format!("{interval_ms}ms"), "min_doc_count": 1},
                "aggs": {"categories": {"terms": {"field": "attack.categories", "size": 30}}},
            },
        }))?;
        let bars = found["over_time"]["buckets"].as_array().cloned().unwrap_or_default();
        Ok(Timeline { interval_ms, buckets: bars.iter().map(time_bucket).collect() })
    }

    fn aggregate(&self, query: &dyn Query, wanted: &Value) -> Result<Value, SearchError> {
        let wanted: Aggregations =
            serde_json::from_value(wanted.clone()).map_err(|error| SearchError::Query(error.to_string()))?;
        let collector = AggregationCollector::from_aggs(wanted, Default::default());
        let found = self.store.reader.searcher().search(query, &collector)?;
        serde_json::to_value(found).map_err(|error| SearchError::Query(error.to_string()))
    }
}

/// Lets a clause that only excludes select from all events: tantivy has it select
/// nothing, so `a AND NOT b` would never match.
fn selective(tree: UserInputAst) -> UserInputAst {
    match tree {
        UserInputAst::Clause(clauses) => {
            let mut clauses: Vec<_> = clauses.into_iter().map(|(occur, clause)| (occur, selective(clause))).collect();
            if clauses.iter().all(|(occur, _)| *occur == Some(Occur::MustNot)) {
                clauses.push((Some(Occur::Must), UserInputAst::Leaf(Box::new(UserInputLeaf::All))));
            }
            UserInputAst::Clause(clauses)
        }
        UserInputAst::Boost(tree, by) => UserInputAst::Boost(Box::new(selective(*tree)), by),
        leaf @ UserInputAst::Leaf(_) => leaf,
    }
}

fn buckets(aggregation: &Value) -> Vec<Bucket> {
    let all = aggregation["buckets"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().map(bucket).collect()
}

fn bucket(value: &Value) -> Bucket {
    let key = match &value["key"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |n| n.to_string()),
        other => other.to_string(),
    };
    Bucket { key, count: value["doc_count"].as_u64().unwrap_or(0), attacks: None }
}

fn time_bucket(value: &Value) -> TimeBucket {
    let categories =
        buckets(&value["categories"]).into_iter().map(|bucket| (bucket.key, bucket.count.into())).collect();
    let time = value["key"].as_f64().unwrap_or(0.0) as i64;
    TimeBucket { time, total: value["doc_count"].as_u64().unwrap_or(0), categories }
}

/// A metric over dates. tantivy gives nanoseconds.
fn millis(metric: &Value) -> Option<i64> {
    metric["value"].as_f64().map(|nanos| (nanos / 1e6) as i64)
}

/// The first `limit` events, but those that say nothing new only after those that do.
fn diverse(events: Vec<Value>, limit: usize) -> Vec<Value> {
    let mut seen = std::collections::HashSet::new();
    let (fresh, repeated): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| {
        let kind = event["attack"]["findings"][0]["rule"].to_string();
        seen.insert(kind)
    });
    fresh.into_iter().chain(repeated).take(limit).collect()
}
