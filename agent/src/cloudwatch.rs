//! Metrics for CloudWatch: off unless `[metrics]` gives a namespace, and built only
//! with the feature `cloudwatch`, for its client takes longer to compile than the agent.
//!
//! Nothing of the agent depends on it: a call that fails is told at `debug`.

use crate::report::Report;
use crate::status::Reporter;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::Builder;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often metrics are put: CloudWatch keeps one value a minute.
const PERIOD: Duration = Duration::from_secs(60);

/// How long a call may take. There is another one in a minute.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A number of a report, under its name in CloudWatch.
#[derive(Debug, Clone, PartialEq)]
struct Datum {
    name: &'static str,
    unit: StandardUnit,
    value: u64,
}

/// Puts the report's numbers into `namespace` each minute, until `stop`.
pub async fn publish(config: &SdkConfig, namespace: &str, report: Reporter, stop: CancellationToken) {
    let timeouts = TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT).build();
    let config = Builder::from(config).timeout_config(timeouts).retry_config(RetryConfig::disabled()).build();
    let client = Client::from_conf(config);
    let publishing = async {
        let mut due = tokio::time::interval_at(Instant::now() + PERIOD, PERIOD);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        loop {
            due.tick().await;
            put(&client, namespace, report(), &mut told).await;
        }
    };
    stop.run_until_cancelled(publishing).await;
}

/// Puts what is new since the report `told`, which is the last one that arrived.
async fn put(client: &Client, namespace: &str, report: Report, told: &mut Option<Report>) {
    let host = Dimension::builder().name("Host").value(&report.host).build();
    let data = data(&report, told.as_ref()).into_iter().map(|datum| metric(datum, &host)).collect();
    match client.put_metric_data().namespace(namespace).set_metric_data(Some(data)).send().await {
        Ok(_) => *told = Some(report),
        Err(error) => {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::debug!(error, "CloudWatch has not taken the metrics");
        }
    }
}

fn metric(datum: Datum, host: &Dimension) -> MetricDatum {
    MetricDatum::builder()
        .metric_name(datum.name)
        .unit(datum.unit)
        .value(datum.value as f64)
        .dimensions(host.clone())
        .build()
}

/// What CloudWatch is told. It adds up what it is given, so of a counter it is given the
/// growth since `told`.
fn data(report: &Report, told: Option<&Report>) -> [Datum; 6] {
    let grown = |counter: fn(&Report) -> u64| counter(report).saturating_sub(told.map_or(0, counter));
    let lag_bytes = report.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.lag_bytes));
    let lag_seconds = report.files.iter().map(|file| file.lag_seconds).max().unwrap_or(0);
    let datum = |name, unit, value| Datum { name, unit, value };
    [
        datum("LagBytes", StandardUnit::Bytes, lag_bytes),
        datum("LagSeconds", StandardUnit::Seconds, lag_seconds),
        datum("SpoolBytes", StandardUnit::Bytes, report.spool.bytes),
        datum("Refused", StandardUnit::Count, grown(|r| r.stream.refused)),
        datum("Retried", StandardUnit::Count, grown(|r| r.stream.retried)),
        datum("Gaps", StandardUnit::Count, grown(|r| r.gaps)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::samples;
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_cloudwatch::config::{Credentials, SharedCredentialsProvider};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    fn values(data: [Datum; 6]) -> [(&'static str, u64); 6] {
        data.map(|datum| (datum.name, datum.value))
    }

    #[test]
    fn counters_are_told_by_their_growth() {
        let first = samples::bad();
        let told = [
            ("LagBytes", 5_678),
            ("LagSeconds", 2),
            ("SpoolBytes", 1 << 30),
            ("Refused", 2),
            ("Retried", 3),
            ("Gaps", 1),
        ];
        assert_eq!(values(data(&first, None)), told);
        let mut next = first.clone();
        next.stream.retried += 4;
        next.files[1].lag_bytes = 2;
        next.files[1].lag_seconds = 60;
        let told = [
            ("LagBytes", 5_680),
            ("LagSeconds", 60),
            ("SpoolBytes", 1 << 30),
            ("Refused", 0),
            ("Retried", 4),
            ("Gaps", 0),
        ];
        assert_eq!(values(data(&next, Some(&first))), told);
    }

    /// A service that answers `status`, and passes on what it is sent.
    async fn service(status: u16) -> (SdkConfig, mpsc::Receiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, requests) = mpsc::channel(8);
        tokio::spawn(async move {
            loop {
                let (mut peer, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.windows(4).any(|window| window == b"Gaps") && request.len() < 1 << 20 {
                    if peer.read_buf(&mut request).await.unwrap() == 0 {
                        break;
                    }
                }
                let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                peer.write_all(answer.as_bytes()).await.unwrap();
                heard.send(request).await.unwrap();
            }
        });
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(url)
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "AKID", "secret", None, None, "test",
            )))
            .build();
        (config, requests)
    }

    fn client(config: &SdkConfig) -> Client {
        Client::from_conf(Builder::from(config).retry_config(RetryConfig::disabled()).build())
    }

    #[tokio::test]
    async fn a_minutes_numbers_go_out_in_one_call() {
        let (config, mut requests) = service(200).await;
        let mut told = None;
        put(&client(&config), "2SeC", samples::well(), &mut told).await;
        assert_eq!(told, Some(samples::well()));
        let request = requests.recv().await.unwrap();
        let request = String::from_utf8_lossy(&request);
        for part in ["PutMetricData", "2SeC", "Host", "web-1", "LagBytes", "SpoolBytes", "Retried"] {
            assert!(request.contains(part), "no `{part}` in {request}");
        }
        assert!(requests.try_recv().is_err(), "one call");
    }

    #[tokio::test]
    async fn what_a_failed_call_held_is_told_in_the_next_one() {
        let (config, mut requests) = service(500).await;
        let mut told = None;
        put(&client(&config), "2SeC", samples::well(), &mut told).await;
        assert_eq!(told, None);
        requests.recv().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_when_asked() {
        let stop = CancellationToken::new();
        let config = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        let publishing = publish(&config, "2SeC", Arc::new(samples::well), stop.clone());
        tokio::join!(publishing, async { stop.cancel() });
    }
}
