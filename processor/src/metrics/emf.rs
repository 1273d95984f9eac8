//! One line a minute that CloudWatch Logs turns into metrics (Amazon CloudWatch, "Specification:
//! Embedded metric format"). The few that alarms need: each costs money.

use crate::meter::{Meter, Service, now};
use event::Millis;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// How often a line is written.
const EVERY: Duration = Duration::from_secs(60);

/// Counts since the line before.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    records: u64,
    documents: u64,
    dead_letters: u64,
    throttles: u64,
}

impl Counts {
    fn of(meter: &Meter) -> Counts {
        Counts {
            records: meter.records(),
            documents: meter.created() + meter.known(),
            dead_letters: meter.dead_letters(),
            throttles: Service::ALL.into_iter().map(|service| meter.throttles(service)).sum(),
        }
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            records: self.records - before.records,
            documents: self.documents - before.documents,
            dead_letters: self.dead_letters - before.dead_letters,
            throttles: self.throttles - before.throttles,
        }
    }
}

/// Writes a line each minute to standard output, without end. Messages go to standard error.
pub async fn write(namespace: String, meter: Arc<Meter>) {
    let mut before = Counts::of(&meter);
    loop {
        tokio::time::sleep(EVERY).await;
        let counts = Counts::of(&meter);
        let line = line(&namespace, &meter, counts.since(before), now());
        before = counts;
        // A standard output that is gone must not end the work.
        drop(writeln!(io::stdout().lock(), "{line}"));
    }
}

/// The line. No dimension tells tasks apart: what alarms look at is the worst of them, or their sum.
fn line(namespace: &str, meter: &Meter, counts: Counts, now: Millis) -> Value {
    let lags = meter.lags();
    let archive = lags.values().map(|lag| lag.of_archive(now)).max().unwrap_or(0);
    let index = lags.values().map(|lag| lag.of_index(now)).max().unwrap_or(0);
    let metrics = [
        ("ArchiveLag", "Seconds", json!(archive as f64 / 1000.0)),
        ("IndexLag", "Seconds", json!(index as f64 / 1000.0)),
        ("IndexRefuses", "Count", json!(u8::from(meter.is_index_refusing()))),
        ("Shards", "Count", json!(lags.len())),
        ("Records", "Count", json!(counts.records)),
        ("Documents", "Count", json!(counts.documents)),
        ("DeadLetters", "Count", json!(counts.dead_letters)),
        ("Throttles", "Count", json!(counts.throttles)),
    ];
    let told: Vec<_> = metrics.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit })).collect();
    let directive = json!({ "Namespace": namespace, "Dimensions": [[]], "Metrics": told });
    let mut root = Map::new();
    root.insert("_aws".to_owned(), json!({ "Timestamp": now, "CloudWatchMetrics": [directive] }));
    root.extend(metrics.into_iter().map(|(name, _, value)| (name.to_owned(), value)));
    Value::Object(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{Class, Ended};
    use crate::receive::{Record, SequenceNumber};

    #[test]
    fn a_line_is_what_the_specification_says() {
        let meter = Meter::default();
        meter.begun("shard-0", None, None);
        let before = Counts::of(&meter);
        let sequence = SequenceNumber::new("7").unwrap();
        meter.record("shard-0", &Record { sequence, arrival: 1_000, data: "abc".into() });
        meter.dead(Class::Record, 2);
        meter.called(Service::Stream, Ended::Throttled);
        let line = line("twosec", &meter, Counts::of(&meter).since(before), 3_500);
        let expected = json!({
            "_aws": { "Timestamp": 3_500, "CloudWatchMetrics": [{
                "Namespace": "twosec",
                "Dimensions": [[]],
                "Metrics": [
                    { "Name": "ArchiveLag", "Unit": "Seconds" }, { "Name": "IndexLag", "Unit": "Seconds" },
                    { "Name": "IndexRefuses", "Unit": "Count" }, { "Name": "Shards", "Unit": "Count" },
                    { "Name": "Records", "Unit": "Count" }, { "Name": "Documents", "Unit": "Count" },
                    { "Name": "DeadLetters", "Unit": "Count" }, { "Name": "Throttles", "Unit": "Count" },
                ],
            }] },
            "ArchiveLag": 2.5, "IndexLag": 2.5, "IndexRefuses": 0, "Shards": 1,
            "Records": 1, "Documents": 0, "DeadLetters": 2, "Throttles": 1,
        });
        assert_eq!(line, expected);
        assert!(!line.to_string().contains('\n'), "one line");
    }

    #[test]
    fn each_name_that_is_told_has_a_number() {
        let line = line("twosec", &Meter::default(), Counts::default(), 0);
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
        }
    }
}
