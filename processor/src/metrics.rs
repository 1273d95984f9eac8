//! What the meter has counted, as Prometheus and CloudWatch read it.

pub mod emf;

use crate::decode::Kind;
use crate::health::{self, Health};
use crate::meter::{BULK_BOUNDS, Class, Ended, Meter, Move, Service, Told, now};
use event::Millis;
use monitor::http::{self, Answer};
use monitor::page::{self, Page};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The paths that there are.
const PATHS: &str = "/healthz, /readyz or /metrics";

/// Answers at `address` until `stop`.
pub async fn serve(address: SocketAddr, meter: Arc<Meter>, stop: CancellationToken) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    http::serve(listener, PATHS, Arc::new(move |path: &str| answer(path, &meter, now())), stop).await;
    Ok(())
}

fn answer(path: &str, meter: &Meter, now: Millis) -> Option<Answer> {
    match path {
        "/healthz" => Some(told(&health::alive(meter, now))),
        "/readyz" => Some(told(&health::ready(meter, now))),
        "/metrics" => Some(Answer::metrics(render(meter, now))),
        _ => None,
    }
}

fn told(health: &Health) -> Answer {
    let status = if health.is_well { "200 OK" } else { "503 Service Unavailable" };
    let body = serde_json::to_string(health).expect("plain data turns into JSON") + "\n";
    Answer { status, content_type: "application/json", body }
}

/// The page in Prometheus's text format.
pub fn render(meter: &Meter, now: Millis) -> String {
    let mut page = Page::new("twosec_processor");
    page.family("info", page::Kind::Gauge, "The processor that runs here.");
    page.sample("info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    lags(&mut page, meter, now);
    page.counter("records_total", "Records of the stream that were received.", meter.records());
    page.counter("record_bytes_total", "Bytes of these records, as the stream holds them.", meter.bytes());
    let help = "Records, or records of an aggregate, by what they were read as.";
    family(&mut page, "records_read_total", help, "kind", Kind::ALL, Kind::name, |kind| meter.records_of(kind));
    page.counter("archive_objects_total", "Objects that were put into the archive.", meter.objects());
    page.counter("archive_bytes_total", "Bytes of these objects.", meter.object_bytes());
    let help = "Documents by what the index said, each time that they were put: \
                created, known (it was there), later (put again), blocked (its index takes none) or dead (refused).";
    family(&mut page, "documents_total", help, "verdict", Told::ALL, Told::name, |told| meter.told(told));
    page.counter("document_bytes_total", "Bytes of the documents of all requests, before packing.", meter.bulk_bytes());
    let help = "How long the index took for a request.";
    let (counts, took) = meter.bulk_seconds();
    page.histogram("bulk_seconds", help, &BULK_BOUNDS, &counts, took);
    page.gauge("bulks_limit", "Requests to the index that may be under way at once, for now.", meter.bulks_limit());
    page.gauge("bulks_under_way", "Requests to the index that are under way.", meter.bulks_under_way());
    let help = "1 while indexing pauses because the index refuses us (401, 403).";
    page.gauge("index_refuses", help, u8::from(meter.is_index_refusing()));
    let help = "Dead letters by class: record (it cannot be read), document (it does not fit), \
                index (blocked, closed, missing or red), size.";
    family(&mut page, "dead_letters_total", help, "class", Class::ALL, Class::name, |class| {
        meter.dead_letters_of(class)
    });
    let help = "Leases that this process has taken, or given back.";
    family(&mut page, "lease_moves_total", help, "move", Move::ALL, Move::name, |of| meter.moves(of));
    calls(&mut page, meter);
    let help = "When this process last looked at the leases, since 1970.";
    page.gauge("round_time_seconds", help, seconds(meter.round_at()));
    page.into_text()
}

/// A counter with one label.
fn family<K: Copy, const N: usize>(
    page: &mut Page,
    name: &str,
    help: &str,
    label: &str,
    all: [K; N],
    value: impl Fn(K) -> &'static str,
    count: impl Fn(K) -> u64,
) {
    page.family(name, page::Kind::Counter, help);
    all.into_iter().for_each(|of| page.sample(name, &[(label, value(of))], count(of)));
}

/// Shards that are read here alone: no more than a process holds.
fn lags(page: &mut Page, meter: &Meter, now: Millis) {
    let lags = meter.lags();
    page.gauge("shards", "Shards that are read here.", lags.len());
    let help = "How long ago the oldest record arrived that is read and not archived, or how far reading is behind \
                the stream, whichever is more; 0 when all is archived. Up to the age of a window is usual.";
    page.family("archive_lag_seconds", page::Kind::Gauge, help);
    lags.iter().for_each(|(shard, lag)| {
        page.sample("archive_lag_seconds", &[("shard", shard)], seconds(lag.of_archive(now)));
    });
    let help = "The same for the index: 0 when all that the stream holds is indexed or a dead letter.";
    page.family("index_lag_seconds", page::Kind::Gauge, help);
    lags.iter().for_each(|(shard, lag)| {
        page.sample("index_lag_seconds", &[("shard", shard)], seconds(lag.of_index(now)));
    });
}

fn calls(page: &mut Page, meter: &Meter) {
    let help = "Calls of services by how they ended: well, throttled or badly.";
    page.family("calls_total", page::Kind::Counter, help);
    for service in Service::ALL {
        for ended in Ended::ALL {
            let labels = [("service", service.name()), ("ended", ended.name())];
            page.sample("calls_total", &labels, meter.calls(service, ended));
        }
    }
}

fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Verdict;
    use crate::receive::{Record, SequenceNumber};
    use std::time::Duration;

    fn meter() -> Meter {
        let meter = Meter::default();
        meter.begun("shard-0", None, None);
        let sequence = SequenceNumber::new("7").unwrap();
        meter.record("shard-0", &Record { sequence, arrival: 1_000, data: "abc".into() });
        meter.read_as(Kind::Frame);
        meter.object(500);
        meter.bulk(Duration::from_millis(700), 2_000);
        meter.verdict(&Verdict::Done { created: true });
        meter.verdict(&Verdict::Retry("429".into()));
        meter.dead(Class::Index, 2);
        meter.moved(Move::Taken);
        meter.called(Service::Index, Ended::Throttled);
        meter.bulks(4, 1, false);
        meter
    }

    #[test]
    fn the_page_tells_of_everything_that_the_meter_counts() {
        let page = render(&meter(), 3_500);
        for line in [
            "twosec_processor_shards 1",
            "twosec_processor_archive_lag_seconds{shard=\"shard-0\"} 2.5",
            "twosec_processor_index_lag_seconds{shard=\"shard-0\"} 2.5",
            "twosec_processor_records_total 1",
            "twosec_processor_record_bytes_total 3",
            "twosec_processor_records_read_total{kind=\"frame\"} 1",
            "twosec_processor_archive_objects_total 1",
            "twosec_processor_archive_bytes_total 500",
            "twosec_processor_documents_total{verdict=\"created\"} 1",
            "twosec_processor_documents_total{verdict=\"later\"} 1",
            "twosec_processor_document_bytes_total 2000",
            "twosec_processor_bulk_seconds_bucket{le=\"0.5\"} 0",
            "twosec_processor_bulk_seconds_bucket{le=\"1\"} 1",
            "twosec_processor_bulk_seconds_count 1",
            "twosec_processor_bulks_limit 4",
            "twosec_processor_bulks_under_way 1",
            "twosec_processor_index_refuses 0",
            "twosec_processor_dead_letters_total{class=\"index\"} 2",
            "twosec_processor_lease_moves_total{move=\"taken\"} 1",
            "twosec_processor_calls_total{service=\"index\",ended=\"throttled\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        let names: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), unique.len(), "each metric is told once");
    }

    #[test]
    fn a_path_is_answered_with_what_its_name_says() {
        let meter = meter();
        meter.round();
        let of = |path| answer(path, &meter, now()).map(|answer| (answer.status, answer.body));
        let alive = "{\"is_well\":true,\"reasons\":[],\"shards\":1}\n".to_owned();
        assert_eq!(of("/healthz"), Some(("200 OK", alive)));
        let unready = "{\"is_well\":false,\"reasons\":[\"the lease table has not been read yet\"],\"shards\":1}\n";
        assert_eq!(of("/readyz"), Some(("503 Service Unavailable", unready.to_owned())));
        assert_eq!(of("/metrics").map(|(status, _)| status), Some("200 OK"));
        assert_eq!(of("/"), None);
    }
}
