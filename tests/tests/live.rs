//! The agent against a Kinesis server that somebody else wrote, through a proxy that
//! makes trouble: `tests/live/servers up`, then `cargo test -p tests --features live
//! --test live -- --nocapture --test-threads 1`. `TWOSEC_LIVE_SECONDS` sets how long each
//! log is written (60).

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::servers::kinesis::{Faults, KinesisServer};
use tests::story::{Outcome, Plan, Reader, Rotation, Story, Trouble};

const AGENT: &str = env!("CARGO_BIN_EXE_rig_agent");
const LINES_A_SECOND: usize = 2_000;

fn seconds() -> usize {
    std::env::var("TWOSEC_LIVE_SECONDS").ok().map_or(60, |text| text.parse().unwrap())
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

async fn tell(name: &str, reader: Reader, plan: Plan) -> Outcome {
    let kinesis = kinesis();
    let stream = stream(&kinesis, name).await;
    let story = Story::new(&kinesis, &stream, AGENT, reader);
    let outcome = story.tell(plan).await;
    println!("{name}: trouble that was made: {:?}", kinesis.counts());
    outcome.assert_exact();
    outcome
}

/// The agent is killed every three seconds.
fn kills() -> Trouble {
    Trouble::Kills(vec![Duration::from_secs(3); seconds() / 3])
}

fn plan(rotation: Rotation, trouble: Trouble) -> Plan {
    Plan { rotation, kept: usize::MAX, lines_a_second: LINES_A_SECOND, trouble }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_renamed_four_times_a_second_loses_nothing() {
    let rotation = Rotation::RenameAndCreate(Duration::from_millis(250));
    tell("rename", Reader::Frames, plan(rotation, kills())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_copied_and_truncated_each_second_loses_nothing() {
    let rotation = Rotation::CopyTruncate(Duration::from_secs(1));
    tell("copytruncate", Reader::Frames, plan(rotation, kills())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_two_hundred_times_loses_nothing() {
    let lives = (0..200).map(|number| Duration::from_millis(60 + number * 37 % 140)).collect();
    let rotation = Rotation::RenameAndCreate(Duration::from_secs(2));
    let outcome = tell("kills", Reader::Frames, plan(rotation, Trouble::Kills(lives))).await;
    assert_eq!(outcome.kills, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_deleted_while_the_stream_is_away_are_not_lost() {
    let rotation = Rotation::RenameAndCreate(Duration::from_millis(250));
    let plan = Plan { kept: 12, ..plan(rotation, Trouble::Outage(Duration::from_secs(12))) };
    tell("outage", Reader::Frames, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing() {
    let plan = plan(Rotation::None, Trouble::SmallDisk { mebibytes: 1 });
    tell("disk", Reader::Frames, Plan { lines_a_second: 10_000, ..plan }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_the_formats_of_others_are_read_by_the_libraries_of_others() {
    let rotation = Rotation::RenameAndCreate(Duration::from_secs(1));
    for format in ["ecs", "kpl", "cloudwatch_logs"] {
        let plan = plan(rotation, Trouble::Kills(vec![Duration::from_secs(2); 2]));
        tell(&format.replace('_', "-"), Reader::Foreign { format }, plan).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_ec2_needs_no_keys_and_says_where_it_stands() {
    let imds = std::env::var("TWOSEC_TEST_IMDS").expect("TWOSEC_TEST_IMDS names the service; see tests/live/servers");
    let kinesis = kinesis();
    let stream = stream(&kinesis, "imds").await;
    let story = Story::new(&kinesis, &stream, AGENT, Reader::Frames).on_ec2(imds);
    let trouble = Trouble::Kills(vec![Duration::from_secs(2); 2]);
    story.tell(plan(Rotation::RenameAndCreate(Duration::from_secs(1)), trouble)).await.assert_exact();
    let records = kinesis.records(&stream).await;
    let mut clouds = records.iter().filter_map(|record| event::frame::decode(record).unwrap().0.origin.cloud);
    let cloud = clouds.next_back().expect("later frames tell the instance");
    assert_eq!((cloud.region.as_deref(), cloud.machine_type.as_deref()), (Some("us-east-1"), Some("t3.micro")));
    assert!(cloud.instance_id.is_some_and(|id| id.starts_with("i-")));
}
