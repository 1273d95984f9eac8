//! The agent against a Kinesis server that somebody else wrote, through a proxy that
//! makes trouble: `tests/live/servers up`, then `cargo test -p tests --features live
//! --test live -- --nocapture --test-threads 1`. `TWOSEC_LIVE_SECONDS` sets how long each
//! log is written (30).

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::servers::kinesis::{Faults, KinesisServer};
use tests::story::{Plan, Rotation, Story};

const AGENT: &str = env!("CARGO_BIN_EXE_rig_agent");
const LINES_A_SECOND: usize = 2_000;

fn seconds() -> u64 {
    std::env::var("TWOSEC_LIVE_SECONDS").ok().map_or(30, |text| text.parse().unwrap())
}

/// The server, and trouble in front of it.
fn kinesis() -> KinesisServer {
    let url =
        std::env::var("TWOSEC_TEST_KINESIS").expect("TWOSEC_TEST_KINESIS names the server; see tests/live/servers");
    let faults = Faults {
        partial_puts: Some(3),
        lost_answers: Some(7),
        cut_answers: Some(11),
        throttled_calls: Some(5),
        ..Faults::default()
    };
    KinesisServer::in_front_of(&url, faults)
}

async fn stream(kinesis: &KinesisServer, name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let name = format!("{name}-{now}");
    kinesis.create_stream(&name, 2).await;
    name
}

async fn tell(name: &str, rotation: Rotation, lives: impl IntoIterator<Item = Duration>) {
    let kinesis = kinesis();
    let stream = stream(&kinesis, name).await;
    let story = Story::new(&kinesis, &stream, AGENT);
    let plan = Plan { rotation, lines_a_second: LINES_A_SECOND, time: Duration::from_secs(seconds()) };
    let outcome = story.tell(plan, lives).await;
    println!("{name}: trouble that was made: {:?}", kinesis.counts());
    outcome.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_renamed_four_times_a_second_loses_nothing() {
    let lives = std::iter::repeat(Duration::from_secs(3));
    tell("rename", Rotation::RenameAndCreate(Duration::from_millis(250)), lives).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_copied_and_truncated_each_second_loses_nothing() {
    let lives = std::iter::repeat(Duration::from_secs(3));
    tell("copytruncate", Rotation::CopyTruncate(Duration::from_secs(1)), lives).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_two_hundred_times_loses_nothing() {
    let lives = (0..200).map(|number| Duration::from_millis(60 + number * 37 % 140));
    tell("kills", Rotation::RenameAndCreate(Duration::from_secs(2)), lives).await;
}
