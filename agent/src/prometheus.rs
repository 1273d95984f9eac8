//! Metrics for Prometheus: off unless `[metrics]` gives an address.
//!
//! The answer to one path is all there is, so a few lines of HTTP do: what the AWS
//! client brings along is the client's half of hyper, and without `aws` nothing.

use crate::report::{FileReport, Report};
use crate::status::Reporter;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// More than this is no request of a scraper.
const REQUEST_BYTES_MAX: usize = 4 << 10;

/// Scrapers that are answered at the same time; others wait in the kernel's queue.
const PEERS_MAX: usize = 4;

/// How long a peer may take to ask, and again to read.
const PATIENCE: Duration = Duration::from_secs(2);

/// A pause after a connection that could not be accepted, as when no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers `GET /metrics` at `address` until `stop`.
pub async fn serve(address: SocketAddr, report: Reporter, stop: CancellationToken) -> io::Result<()> {
    serve_on(TcpListener::bind(address).await?, report, stop).await;
    Ok(())
}

async fn serve_on(listener: TcpListener, report: Reporter, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(PEERS_MAX));
    // Peers that are still there at the end are dropped with it.
    let mut peers = JoinSet::new();
    let serving = async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
            while peers.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((peer, _)) => {
                    let report = Arc::clone(&report);
                    peers.spawn(async move {
                        let _place = place;
                        if let Err(error) = answer(peer, &report).await {
                            tracing::debug!(%error, "whoever asked for metrics has not got them");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept who asks for metrics");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(serving).await;
}

async fn answer(mut peer: TcpStream, report: &Reporter) -> io::Result<()> {
    let request = tokio::time::timeout(PATIENCE, request(&mut peer)).await??;
    let answer = respond(&request, &**report);
    let write = async {
        peer.write_all(answer.as_bytes()).await?;
        peer.shutdown().await
    };
    tokio::time::timeout(PATIENCE, write).await?
}

/// A request's head, or what there is of it at the limit.
async fn request(peer: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut limited = peer.take(REQUEST_BYTES_MAX as u64);
    while !head.ends_with(b"\r\n\r\n") && limited.read_buf(&mut head).await? > 0 {}
    Ok(head)
}

/// The whole answer to a request's head (RFC 9112).
fn respond(head: &[u8], report: &dyn Fn() -> Report) -> String {
    if !head.ends_with(b"\r\n\r\n") {
        return plain_answer("400 Bad Request", "", "this is no request of at most 4 KiB without a body\n");
    }
    let line = String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or_default());
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match (method, target.split('?').next()) {
        ("GET", Some("/metrics")) => {
            let body = render(&report());
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        }
        (_, Some("/metrics")) => plain_answer("405 Method Not Allowed", "Allow: GET\r\n", "only GET is there\n"),
        _ => plain_answer("404 Not Found", "", "only /metrics is there\n"),
    }
}

fn plain_answer(status: &str, header: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{header}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

/// The report in Prometheus's text format 0.0.4.
pub fn render(report: &Report) -> String {
    let (spool, stream) = (&report.spool, &report.stream);
    let mut page = Page::default();
    page.family("info", Kind::Gauge, "The agent that runs here.");
    page.sample("info", &[("version", &report.version), ("host", &report.host)], 1);
    page.gauge("start_time_seconds", "When the agent started, since 1970.", seconds(report.started));
    page.counter("lines_total", "Lines read.", report.lines);
    page.counter("gaps_total", "Stretches of bytes that had to be given up.", report.gaps);
    page.counter("gap_bytes_total", "Bytes that had to be given up.", report.gap_bytes);
    page.gauge("skipped_paths", "Paths that are configured and cannot be read.", report.skipped.len() as u64);
    page.files(&report.files);
    page.gauge("spool_bytes", "Bytes in the spool.", spool.bytes);
    page.gauge("spool_max_bytes", "Bytes that the spool may hold.", spool.max_bytes);
    page.gauge("spool_segments", "Segments in the spool.", spool.segments);
    page.counter("spool_quarantined_total", "Damaged stretches of the spool that were set aside.", spool.quarantined);
    page.counter("spool_dropped_total", "Frames that a limit policy has dropped.", spool.dropped);
    page.counter("stream_records_total", "Records that the stream has taken.", stream.records);
    page.counter("stream_bytes_total", "Bytes of the records that the stream has taken.", stream.bytes);
    page.counter("stream_retried_total", "Records that were put again.", stream.retried);
    page.counter("stream_refused_total", "Records that the stream will never take.", stream.refused);
    if let Some(at) = stream.last_put {
        page.gauge("stream_last_put_time_seconds", "When the stream took a record last, since 1970.", seconds(at));
    }
    if let Some(shards) = stream.shards {
        page.gauge("stream_shards", "Open shards.", shards);
    }
    page.family("trouble", Kind::Gauge, "Whether something stands in a station's way.");
    page.sample("trouble", &[("station", "spool")], u8::from(spool.trouble.is_some()));
    page.sample("trouble", &[("station", "stream")], u8::from(stream.trouble.is_some()));
    page.text
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// A page of metrics on its way.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help);
        self.sample(name, &[], value);
    }

    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.text, "# HELP twosec_agent_{name} {help}\n# TYPE twosec_agent_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "twosec_agent_{name}");
        let mut before = '{';
        for (label, value) in labels {
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
            before = ',';
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    /// One series for each path. A path may be there twice for a while, as when two
    /// lives share it, and a series that is there twice would cost the whole page.
    fn files(&mut self, files: &[FileReport]) {
        let mut paths: BTreeMap<Cow<'_, str>, [u64; 4]> = BTreeMap::new();
        for file in files {
            let sum = paths.entry(file.path.to_string_lossy()).or_default();
            let [offset, size, lag_bytes, lag_seconds] = *sum;
            *sum = [
                offset.saturating_add(file.offset),
                size.saturating_add(file.size),
                lag_bytes.saturating_add(file.lag_bytes),
                lag_seconds.max(file.lag_seconds),
            ];
        }
        let families = [
            ("file_offset_bytes", "Bytes of the file that are in the spool."),
            ("file_size_bytes", "Bytes that the file has."),
            ("file_lag_bytes", "Bytes of the file that are not in the spool."),
            ("file_lag_seconds", "For how long the oldest of these bytes has been there."),
        ];
        for (column, (name, help)) in families.into_iter().enumerate() {
            self.family(name, Kind::Gauge, help);
            for (path, values) in &paths {
                self.sample(name, &[("path", path)], values[column]);
            }
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

fn seconds(millis: event::Millis) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::samples;

    #[test]
    fn the_page_is_what_prometheus_reads() {
        let expected = r#"# HELP twosec_agent_info The agent that runs here.
# TYPE twosec_agent_info gauge
twosec_agent_info{version="0.1.0",host="web-1"} 1
# HELP twosec_agent_start_time_seconds When the agent started, since 1970.
# TYPE twosec_agent_start_time_seconds gauge
twosec_agent_start_time_seconds 1794816000
# HELP twosec_agent_lines_total Lines read.
# TYPE twosec_agent_lines_total counter
twosec_agent_lines_total 1234567
# HELP twosec_agent_gaps_total Stretches of bytes that had to be given up.
# TYPE twosec_agent_gaps_total counter
twosec_agent_gaps_total 0
# HELP twosec_agent_gap_bytes_total Bytes that had to be given up.
# TYPE twosec_agent_gap_bytes_total counter
twosec_agent_gap_bytes_total 0
# HELP twosec_agent_skipped_paths Paths that are configured and cannot be read.
# TYPE twosec_agent_skipped_paths gauge
twosec_agent_skipped_paths 0
# HELP twosec_agent_file_offset_bytes Bytes of the file that are in the spool.
# TYPE twosec_agent_file_offset_bytes gauge
twosec_agent_file_offset_bytes{path="/var/log/apache2/access.log"} 987654321
twosec_agent_file_offset_bytes{path="/var/log/apache2/other.log"} 0
# HELP twosec_agent_file_size_bytes Bytes that the file has.
# TYPE twosec_agent_file_size_bytes gauge
twosec_agent_file_size_bytes{path="/var/log/apache2/access.log"} 987659999
twosec_agent_file_size_bytes{path="/var/log/apache2/other.log"} 0
# HELP twosec_agent_file_lag_bytes Bytes of the file that are not in the spool.
# TYPE twosec_agent_file_lag_bytes gauge
twosec_agent_file_lag_bytes{path="/var/log/apache2/access.log"} 5678
twosec_agent_file_lag_bytes{path="/var/log/apache2/other.log"} 0
# HELP twosec_agent_file_lag_seconds For how long the oldest of these bytes has been there.
# TYPE twosec_agent_file_lag_seconds gauge
twosec_agent_file_lag_seconds{path="/var/log/apache2/access.log"} 2
twosec_agent_file_lag_seconds{path="/var/log/apache2/other.log"} 0
# HELP twosec_agent_spool_bytes Bytes in the spool.
# TYPE twosec_agent_spool_bytes gauge
twosec_agent_spool_bytes 1258291
# HELP twosec_agent_spool_max_bytes Bytes that the spool may hold.
# TYPE twosec_agent_spool_max_bytes gauge
twosec_agent_spool_max_bytes 1073741824
# HELP twosec_agent_spool_segments Segments in the spool.
# TYPE twosec_agent_spool_segments gauge
twosec_agent_spool_segments 1
# HELP twosec_agent_spool_quarantined_total Damaged stretches of the spool that were set aside.
# TYPE twosec_agent_spool_quarantined_total counter
twosec_agent_spool_quarantined_total 0
# HELP twosec_agent_spool_dropped_total Frames that a limit policy has dropped.
# TYPE twosec_agent_spool_dropped_total counter
twosec_agent_spool_dropped_total 0
# HELP twosec_agent_stream_records_total Records that the stream has taken.
# TYPE twosec_agent_stream_records_total counter
twosec_agent_stream_records_total 12345
# HELP twosec_agent_stream_bytes_total Bytes of the records that the stream has taken.
# TYPE twosec_agent_stream_bytes_total counter
twosec_agent_stream_bytes_total 3221225472
# HELP twosec_agent_stream_retried_total Records that were put again.
# TYPE twosec_agent_stream_retried_total counter
twosec_agent_stream_retried_total 3
# HELP twosec_agent_stream_refused_total Records that the stream will never take.
# TYPE twosec_agent_stream_refused_total counter
twosec_agent_stream_refused_total 0
# HELP twosec_agent_stream_last_put_time_seconds When the stream took a record last, since 1970.
# TYPE twosec_agent_stream_last_put_time_seconds gauge
twosec_agent_stream_last_put_time_seconds 1794827518
# HELP twosec_agent_stream_shards Open shards.
# TYPE twosec_agent_stream_shards gauge
twosec_agent_stream_shards 4
# HELP twosec_agent_trouble Whether something stands in a station's way.
# TYPE twosec_agent_trouble gauge
twosec_agent_trouble{station="spool"} 0
twosec_agent_trouble{station="stream"} 0
"#;
        assert_eq!(render(&samples::well()), expected);
    }

    #[test]
    fn trouble_is_a_one() {
        let page = render(&samples::bad());
        assert!(page.contains("twosec_agent_trouble{station=\"spool\"} 1\n"), "{page}");
        assert!(page.contains("twosec_agent_trouble{station=\"stream\"} 1\n"), "{page}");
        assert!(!page.contains("stream_last_put"), "there was none:\n{page}");
    }

    #[test]
    fn a_file_name_cannot_add_a_metric() {
        let mut report = samples::well();
        report.files[0].path = "/log/\"} 9\nfake 1\\".into();
        let page = render(&report);
        assert!(page.contains(r#"file_lag_bytes{path="/log/\"} 9\nfake 1\\"} 5678"#), "{page}");
    }

    #[test]
    fn two_lives_of_one_path_are_one_series() {
        let mut report = samples::well();
        report.files[1].path = report.files[0].path.clone();
        report.files[1].lag_bytes = 2;
        report.files[1].lag_seconds = 60;
        let page = render(&report);
        let samples = |name: &str| page.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
        let path = r#"{path="/var/log/apache2/access.log"}"#;
        assert_eq!(samples("twosec_agent_file_lag_bytes"), [format!("twosec_agent_file_lag_bytes{path} 5680")]);
        assert_eq!(samples("twosec_agent_file_lag_seconds"), [format!("twosec_agent_file_lag_seconds{path} 60")]);
    }

    #[test]
    fn only_one_path_and_method_are_served() {
        let first_line = |request: &str| respond(request.as_bytes(), &samples::well).lines().next().unwrap().to_owned();
        assert_eq!(first_line("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(first_line("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(first_line("POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(first_line("GET /metricsx HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        for garbage in ["", "GET", "GET /metrics HTTP/1.1\r\n", "\0\u{1f}"] {
            assert_eq!(first_line(garbage), "HTTP/1.1 400 Bad Request", "{garbage:?}");
        }
    }

    async fn started(stop: &CancellationToken) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(serve_on(listener, Arc::new(samples::well), stop.clone())))
    }

    async fn asked(address: SocketAddr, request: &[u8]) -> io::Result<String> {
        let mut peer = TcpStream::connect(address).await?;
        peer.write_all(request).await?;
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_scraper_gets_the_page_until_the_agent_stops() {
        let stop = CancellationToken::new();
        let (address, serving) = started(&stop).await;
        for _ in 0..2 * PEERS_MAX {
            let answer = asked(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, render(&samples::well()));
            let expected = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close",
                body.len()
            );
            assert_eq!(head, expected);
        }
        stop.cancel();
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn peers_that_say_nothing_are_left_after_two_seconds() {
        let stop = CancellationToken::new();
        let (address, _serving) = started(&stop).await;
        let mut silent = Vec::new();
        for _ in 0..PEERS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let began = tokio::time::Instant::now();
        let answer = asked(address, b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"));
        assert!(began.elapsed() >= Duration::from_millis(1_500), "all places were taken");
    }

    #[tokio::test]
    async fn a_request_without_end_is_refused_at_four_kib() {
        let (address, _serving) = started(&CancellationToken::new()).await;
        let answer = asked(address, &[b'x'; REQUEST_BYTES_MAX]).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
    }
}
