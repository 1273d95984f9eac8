//! Metrics for Prometheus: off unless `[metrics]` gives an address.

use crate::report::{FileReport, Report};
use crate::status::Reporter;
use monitor::http::{self, Answer};
use monitor::page::{Kind, Page};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The one path.
const PATH: &str = "/metrics";

/// Answers `GET /metrics` at `address` until `stop`.
pub async fn serve(address: SocketAddr, report: Reporter, stop: CancellationToken) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let answers = move |path: &str| (path == PATH).then(|| Answer::metrics(render(&report())));
    http::serve(listener, PATH, Arc::new(answers), stop).await;
    Ok(())
}

/// The report in Prometheus's text format 0.0.4.
pub fn render(report: &Report) -> String {
    let (spool, stream) = (&report.spool, &report.stream);
    let mut page = Page::new("twosec_agent");
    page.family("info", Kind::Gauge, "The agent that runs here.");
    page.sample("info", &[("version", &report.version), ("host", &report.host)], 1);
    page.gauge("start_time_seconds", "When the agent started, since 1970.", seconds(report.started));
    page.counter("lines_total", "Lines read.", report.lines);
    let help = "Lines that held the begins of so many attacks that they were not looked at to their end.";
    page.counter("lines_unfinished_total", help, report.unfinished);
    page.counter("gaps_total", "Stretches of bytes that had to be given up.", report.gaps);
    page.counter("gap_bytes_total", "Bytes that had to be given up.", report.gap_bytes);
    page.gauge("skipped_paths", "Paths that are configured and cannot be read.", report.skipped.len() as u64);
    files(&mut page, &report.files);
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
    page.into_text()
}

/// One series for each path. A path may be there twice for a while, as when two
/// lives share it, and a series that is there twice would cost the whole page.
fn files(page: &mut Page, files: &[FileReport]) {
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
        page.family(name, Kind::Gauge, help);
        for (path, values) in &paths {
            page.sample(name, &[("path", path)], values[column]);
        }
    }
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
# HELP twosec_agent_lines_unfinished_total Lines that held the begins of so many attacks that they were not looked at to their end.
# TYPE twosec_agent_lines_unfinished_total counter
twosec_agent_lines_unfinished_total 3
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

    #[tokio::test]
    async fn a_scraper_gets_the_page() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        tokio::spawn(serve(address, Arc::new(samples::well), CancellationToken::new()));
        let mut peer = loop {
            match tokio::net::TcpStream::connect(address).await {
                Ok(peer) => break peer,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        };
        peer.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, render(&samples::well()));
    }
}
