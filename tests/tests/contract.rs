//! The ports on AWS and OpenSearch: what all implementations promise, and what these do
//! beside it when their service makes trouble.

use agent::ship::kinesis::Kinesis;
use agent::ship::{Put, Uplink};
use aws_sdk_dynamodb::types::AttributeValue;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use processor::archive::s3::S3Archive;
use processor::archive::{Archive, ArchiveError, Created};
use processor::index::opensearch::{Auth, OpenSearch, Signer};
use processor::index::{Index, IndexError, Verdict};
use processor::leases::dynamodb::DynamoLeases;
use processor::leases::{LeaseError, Leases, Swap};
use processor::receive::fan_out::FanOutFeed;
use processor::receive::kinesis::KinesisFeed;
use processor::receive::{Feed, FeedError, Next, Start};
use serde_json::json;
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tests::contract;
use tests::servers::dynamodb::DynamoServer;
use tests::servers::kinesis::{Faults, KinesisServer};
use tests::servers::opensearch::{Fault, OpenSearchServer};
use tests::servers::s3::{PutFault, S3Server};
use tests::servers::tls::Tls;
use tests::servers::{REGION, credentials};

/// An error and its causes, as the log shows them.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

// Kinesis

async fn kinesis(faults: Faults) -> (KinesisServer, Kinesis, KinesisFeed) {
    let server = KinesisServer::start(faults).await;
    server.create_stream("tests", 1).await;
    let config = server.sdk().await;
    (server, Kinesis::new(&config, "tests"), KinesisFeed::connect(&config, "tests"))
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("frame {number}")).collect()
}

#[tokio::test]
async fn kinesis_gives_records_in_order_from_anywhere() {
    let (_server, uplink, feed) = kinesis(Faults::default()).await;
    contract::records_are_read_in_order_from_anywhere(&uplink, &feed, |_| ()).await;
    contract::a_stream_is_as_old_as_it_was(&feed).await;
}

#[tokio::test]
async fn kinesis_gives_records_from_a_time_on() {
    let (_server, uplink, feed) = kinesis(Faults::default()).await;
    contract::put_all(&uplink, contract::frames(texts(3))).await;
    let created = feed.created().await.unwrap().expect("Kinesis knows when a stream was made");
    let mut pages = feed.open(contract::SHARD, Start::AtTimestamp(created - 1_000)).await.unwrap();
    assert_eq!(contract::texts_of(&contract::read(&mut *pages, 3).await), texts(3));
}

async fn fan_out(faults: Faults) -> (KinesisServer, Kinesis, FanOutFeed) {
    let (server, uplink, feed) = kinesis(faults).await;
    (server, uplink, FanOutFeed::new(feed, "processor"))
}

#[tokio::test]
async fn enhanced_fan_out_goes_on_after_the_last_record_when_a_subscription_ends() {
    let lasts = Some(Duration::from_millis(100));
    let (server, uplink, feed) = fan_out(Faults { subscription: lasts, ..Faults::default() }).await;
    contract::put_all(&uplink, contract::frames(texts(3))).await;
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    let read = contract::read(&mut *pages, 3).await;
    assert_eq!(contract::texts_of(&read), texts(3));
    while server.starting_positions().len() < 2 {
        pages.next().await.unwrap();
    }
    let after = json!({ "Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": read[2].sequence.as_str() });
    assert_eq!(server.starting_positions(), [json!({ "Type": "TRIM_HORIZON" }), after]);
}

#[tokio::test]
async fn enhanced_fan_out_waits_for_a_shard_that_the_last_owner_still_holds() {
    let (server, uplink, feed) = fan_out(Faults { taken_subscriptions: 2, ..Faults::default() }).await;
    contract::put_all(&uplink, contract::frames(texts(3))).await;
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    assert_eq!(contract::texts_of(&contract::read(&mut *pages, 3).await), texts(3));
    assert_eq!(server.starting_positions().len(), 3);
}

#[tokio::test]
async fn enhanced_fan_out_leaves_a_connection_that_says_nothing() {
    let (server, uplink, feed) = fan_out(Faults { mute_subscriptions: 1, ..Faults::default() }).await;
    contract::put_all(&uplink, contract::frames(texts(3))).await;
    let feed = feed.with_silence(Duration::from_secs(2));
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    assert_eq!(contract::texts_of(&contract::read(&mut *pages, 3).await), texts(3));
    assert_eq!(server.starting_positions().len(), 2);
}

#[tokio::test]
async fn enhanced_fan_out_tells_a_shards_end_and_what_follows_it() {
    let (server, uplink, feed) = fan_out(Faults::default()).await;
    contract::put_all(&uplink, contract::frames(texts(3))).await;
    server.split_shard("tests", contract::SHARD).await;
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    assert_eq!(contract::texts_of(&contract::read(&mut *pages, 3).await), texts(3));
    let end = pages.next().await.unwrap();
    assert_eq!((end.records.len(), end.next), (0, Next::ShardEnd));
    let children: BTreeSet<_> = pages.children().into_iter().map(|child| (child.id, child.parents)).collect();
    let parents = || vec![contract::SHARD.to_owned()];
    let expected = [("shardId-000000000001".to_owned(), parents()), ("shardId-000000000002".to_owned(), parents())];
    assert_eq!(children, expected.into());
}

#[tokio::test]
async fn enhanced_fan_out_registers_its_consumer_again_and_knows_a_shard_that_is_gone() {
    let (server, uplink, feed) = fan_out(Faults::default()).await;
    contract::put_all(&uplink, contract::frames(texts(3))).await;
    drop(feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap());
    let client = server.client().await;
    let summary = client.describe_stream_summary().stream_name("tests").send().await.unwrap();
    let stream = summary.stream_description_summary().unwrap().stream_arn().to_owned();
    client.deregister_stream_consumer().stream_arn(&stream).consumer_name("processor").send().await.unwrap();
    let mut pages = loop {
        match feed.open(contract::SHARD, Start::TrimHorizon).await {
            Ok(pages) => break pages,
            Err(error) => assert!(matches!(error, FeedError::Transient { .. }), "{}", chain(&error)),
        }
    };
    assert_eq!(contract::texts_of(&contract::read(&mut *pages, 3).await), texts(3));
    let gone = feed.open("shardId-000000000009", Start::TrimHorizon).await;
    assert!(matches!(gone, Err(FeedError::NoShard(shard)) if shard == "shardId-000000000009"));
}

#[tokio::test]
async fn only_the_entries_that_kinesis_refuses_are_put_again() {
    let (server, uplink, feed) = kinesis(Faults { partial_puts: Some(1), ..Faults::default() }).await;
    let answers = uplink.put(&contract::frames(texts(3))).await.unwrap();
    let throttled = "ProvisionedThroughputExceededException: Rate exceeded for shard shardId-000000000000 \
                     in stream tests under account 000000000000.";
    assert_eq!(answers, [Put::Stored, Put::Again(throttled.into()), Put::Stored]);
    let more: Vec<_> = texts(40).split_off(3);
    contract::put_all(&uplink, contract::frames(more)).await;
    assert!(server.counts().refused_entries.load(Ordering::SeqCst) > 20);
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    let mut read = contract::texts_of(&contract::read(&mut *pages, 39).await);
    assert_eq!(pages.next().await.unwrap().records.len(), 0, "each is there once");
    read.sort();
    let mut expected = texts(40);
    expected.remove(1);
    expected.sort();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn an_answer_of_kinesis_that_is_lost_doubles_frames_and_loses_none() {
    let (server, uplink, feed) = kinesis(Faults { lost_answers: Some(2), ..Faults::default() }).await;
    assert_eq!(contract::put_all(&uplink, contract::frames(texts(5))).await, 1);
    assert_eq!(contract::put_all(&uplink, contract::frames(texts(5))).await, 2);
    assert_eq!(server.counts().lost_answers.load(Ordering::SeqCst), 1);
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    let read = contract::texts_of(&contract::read(&mut *pages, 15).await);
    assert_eq!(BTreeSet::from_iter(read), BTreeSet::from_iter(texts(5)));
}

#[tokio::test]
async fn reading_goes_on_where_an_iterator_expired() {
    let (server, uplink, feed) = kinesis(Faults { expired_iterators: Some(2), ..Faults::default() }).await;
    contract::put_all(&uplink, contract::frames(texts(25))).await;
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    let read = contract::read(&mut *pages, 25).await;
    assert_eq!(contract::texts_of(&read), texts(25));
    assert!(server.counts().expired_iterators.load(Ordering::SeqCst) > 0);
    let behind = feed.open(contract::SHARD, Start::After(read[9].sequence.clone())).await;
    assert_eq!(contract::texts_of(&contract::read(&mut *behind.unwrap(), 15).await), texts(25)[10..]);
}

#[tokio::test]
async fn an_iterator_that_is_born_expired_is_worth_another_try() {
    let (_server, _uplink, feed) = kinesis(Faults { expired_iterators: Some(1), ..Faults::default() }).await;
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    assert!(matches!(pages.next().await, Err(FeedError::Transient { call: "get_records", .. })));
}

#[tokio::test]
async fn a_read_that_is_dropped_on_its_way_is_made_again() {
    let (server, uplink, feed) = kinesis(Faults::default()).await;
    contract::put_all(&uplink, contract::frames(texts(25))).await;
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    let reads = &server.counts().reads;
    let mut records = contract::read(&mut *pages, 1).await;
    let before = reads.load(Ordering::SeqCst);
    let on_its_way = async {
        while reads.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = on_its_way => {}
        page = pages.next() => panic!("the server has not seen the read, and yet it is answered: {page:?}"),
    }
    records.extend(contract::read(&mut *pages, 25 - records.len()).await);
    assert_eq!(contract::texts_of(&records), texts(25));
}

#[tokio::test]
async fn a_shard_that_was_split_ends_and_has_children() {
    let (server, uplink, feed) = kinesis(Faults::default()).await;
    contract::put_all(&uplink, contract::frames(texts(2))).await;
    server.split_shard("tests", contract::SHARD).await;
    let shards = feed.shards().await.unwrap();
    let family: Vec<_> = shards.iter().map(|shard| (shard.id.as_str(), shard.parents.join(" "))).collect();
    let child = |number| (number, contract::SHARD.to_owned());
    let expected = [(contract::SHARD, String::new()), child("shardId-000000000001"), child("shardId-000000000002")];
    assert_eq!(family, expected);
    assert_eq!(
        (shards[1].starting_hash_key.as_str(), shards[2].ending_hash_key.as_str()),
        ("0", &*u128::MAX.to_string())
    );
    let mut pages = feed.open(contract::SHARD, Start::TrimHorizon).await.unwrap();
    let mut read = Vec::new();
    let end = loop {
        let page = pages.next().await.unwrap();
        read.extend(contract::texts_of(&page.records));
        if page.next != Next::More {
            break page.next;
        }
    };
    assert_eq!((read, end), (texts(2), Next::ShardEnd));
}

#[tokio::test]
async fn a_shard_that_is_gone_is_told_from_a_stream_that_is_gone() {
    let (server, _uplink, feed) = kinesis(Faults::default()).await;
    let gone = feed.open("shardId-000000000099", Start::TrimHorizon).await.err().unwrap();
    assert_eq!(gone.to_string(), "shard `shardId-000000000099` does not exist any more");
    let config = server.sdk().await;
    let nowhere = KinesisFeed::connect(&config, "nowhere");
    for error in [
        nowhere.created().await.err().unwrap(),
        nowhere.shards().await.err().unwrap(),
        nowhere.open(contract::SHARD, Start::TrimHorizon).await.err().unwrap(),
    ] {
        assert!(matches!(error, FeedError::Refused { .. }), "{error:?}");
        assert!(chain(&error).contains("Stream nowhere under account 000000000000 not found"), "{}", chain(&error));
    }
    let error = Kinesis::new(&config, "nowhere").put(&contract::frames(texts(1))).await.unwrap_err();
    assert!(chain(&error).contains("Stream nowhere under account 000000000000 not found"), "{}", chain(&error));
}

#[tokio::test]
async fn a_stream_that_cannot_be_reached_is_asked_again() {
    let (server, uplink, feed) = kinesis(Faults::default()).await;
    server.set_away(true);
    assert!(uplink.put(&contract::frames(texts(1))).await.is_err());
    assert!(matches!(feed.shards().await, Err(FeedError::Transient { .. })));
    server.set_away(false);
    contract::records_are_read_in_order_from_anywhere(&uplink, &feed, |_| ()).await;
    drop(server);
    assert!(uplink.put(&contract::frames(texts(1))).await.is_err());
    assert!(matches!(feed.shards().await, Err(FeedError::Transient { .. })));
}

// DynamoDB

async fn dynamodb() -> (DynamoServer, DynamoLeases) {
    let server = DynamoServer::start().await;
    server.create_table("leases").await;
    let leases = DynamoLeases::connect(&server.sdk().await, "leases");
    (server, leases)
}

#[tokio::test]
async fn dynamodb_makes_a_row_once() {
    contract::a_row_is_made_once(&dynamodb().await.1).await;
}

#[tokio::test]
async fn dynamodb_lets_write_who_knows_the_row() {
    contract::a_row_is_written_by_who_knows_it(&dynamodb().await.1).await;
}

#[tokio::test]
async fn dynamodb_lets_write_who_knows_that_the_row_was_asked_for() {
    contract::a_row_that_was_asked_for_is_written_by_who_knows_it(&dynamodb().await.1).await;
}

#[tokio::test]
async fn dynamodb_removes_a_row_for_who_knows_it() {
    contract::a_row_is_removed_by_who_knows_it(&dynamodb().await.1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_gives_a_row_to_one_of_many() {
    let (_server, leases) = dynamodb().await;
    contract::one_of_many_takes_a_row(&(Arc::new(leases) as Arc<dyn Leases>)).await;
}

#[tokio::test]
async fn dynamodb_gives_a_row_back_as_it_was_written() {
    contract::a_row_comes_back_as_it_was_written(&dynamodb().await.1).await;
}

/// Puts a row as another program would.
async fn put_row(server: &DynamoServer, attributes: &[(&str, AttributeValue)]) {
    let call = server.client().await.put_item().table_name("leases");
    let call = attributes.iter().fold(call, |call, (name, value)| call.item(*name, value.clone()));
    call.send().await.expect("the row is put");
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[tokio::test]
async fn attributes_that_we_do_not_know_survive_a_swap() {
    let (server, leases) = dynamodb().await;
    let kcls = [
        ("leaseKey", text("shardId-000000000000")),
        ("leaseCounter", number(3)),
        ("checkpoint", text("TRIM_HORIZON")),
        ("pendingCheckpoint", text("LATEST")),
        ("childShardIds", AttributeValue::Ss(vec!["shardId-000000000001".into()])),
    ];
    put_row(&server, &kcls).await;
    let row = leases.list().await.unwrap().remove(0);
    assert_eq!(leases.swap(&row, &contract::next(&row, Some("me"))).await.unwrap(), Swap::Done);
    let answer = server.client().await.get_item().table_name("leases").key("leaseKey", text(&row.key)).send().await;
    let now = answer.unwrap().item.unwrap();
    assert_eq!(now.get("pendingCheckpoint"), Some(&kcls[3].1));
    assert_eq!(now.get("childShardIds"), Some(&kcls[4].1));
    assert_eq!((now.get("leaseOwner"), now.get("leaseCounter")), (Some(&text("me")), Some(&number(4))));
}

#[tokio::test]
async fn rows_that_are_no_leases_of_ours_are_passed_over() {
    let (server, leases) = dynamodb().await;
    for (key, kind, checkpoint) in [
        ("worker-1", Some("WORKER_METRIC_STATS"), "17"),
        ("shardId-000000000001", Some("LEASE"), "17"),
        ("shardId-000000000002", None, "17"),
        ("shardId-000000000003", None, "LATEST"),
    ] {
        let row = [("leaseKey", text(key)), ("leaseCounter", number(1)), ("checkpoint", text(checkpoint))];
        let kind = kind.map(|kind| ("entityType", text(kind)));
        put_row(&server, &[&row[..], kind.as_slice()].concat()).await;
    }
    let mut keys: Vec<_> = leases.list().await.unwrap().into_iter().map(|row| row.key).collect();
    keys.sort();
    assert_eq!(keys, ["shardId-000000000001", "shardId-000000000002"]);
}

#[tokio::test]
async fn a_leader_of_kcl_3_is_found_in_the_table() {
    let (server, leases) = dynamodb().await;
    assert_eq!(leases.leader().await.unwrap(), None);
    let row = [
        ("leaseKey", text("Leader")),
        ("entityType", text("LEADER")),
        ("ownerName", text("worker-1")),
        ("recordVersionNumber", text("7f3a")),
        ("leaseDuration", text("120000")),
    ];
    put_row(&server, &row).await;
    let leader = leases.leader().await.unwrap().map(|leader| (leader.owner, leader.version));
    assert_eq!(leader, Some(("worker-1".into(), "7f3a".into())));
    assert_eq!(leases.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_table_of_more_than_one_page_is_listed_whole() {
    let (_server, leases) = dynamodb().await;
    let padding = "x".repeat(300_000);
    let creating: FuturesUnordered<_> = (0..8)
        .map(|number| {
            let key = format!("shardId-{number:012}");
            let row = processor::leases::Lease { key, ending_hash_key: padding.clone(), ..contract::lease() };
            let leases = leases.clone();
            async move { leases.create(&row).await.unwrap() }
        })
        .collect();
    assert_eq!(creating.collect::<Vec<_>>().await, [const { Swap::Done }; 8]);
    assert_eq!(leases.list().await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_missing_table_is_named_with_the_way_out() {
    let (server, _leases) = dynamodb().await;
    let leases = DynamoLeases::connect(&server.sdk().await, "nowhere");
    let error = leases.list().await.unwrap_err();
    assert!(matches!(error, LeaseError::Refused { .. }));
    let expected = "the lease table refuses `scan`: there is no lease table `nowhere` in this account and region; \
                    the Terraform in `packaging` makes it (`aws_dynamodb_table.leases`): ";
    assert!(chain(&error).starts_with(expected), "{}", chain(&error));
    drop(server);
    assert!(matches!(leases.list().await, Err(LeaseError::Transient { .. })));
}

// S3

async fn s3(keys_a_page: usize) -> (S3Server, S3Archive) {
    let server = S3Server::with_pages_of("archive", keys_a_page).await;
    let archive = S3Archive::connect(&server.sdk().await, "archive", true);
    (server, archive)
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_lets_one_of_many_writers_win() {
    let (_server, archive) = s3(1_000).await;
    contract::one_of_many_writers_wins(&(Arc::new(archive) as Arc<dyn Archive>)).await;
}

#[tokio::test]
async fn s3_gives_keys_in_order() {
    for keys_a_page in [1_000, 2, 1] {
        contract::keys_come_in_order(&s3(keys_a_page).await.1).await;
    }
}

#[tokio::test]
async fn s3_has_not_what_nobody_put() {
    contract::what_nobody_put_is_not_there(&s3(1_000).await.1).await;
}

#[tokio::test]
async fn an_object_is_stored_with_type_checksum_and_metadata() {
    let (server, archive) = s3(1_000).await;
    let (summary, object) = contract::object(1, 3);
    archive.put_if_absent(&object).await.unwrap();
    let stored = &server.objects()[&object.key];
    assert_eq!(stored.headers["content-type"], "application/gzip");
    assert_eq!(stored.headers["x-amz-meta-last-seq"], "3");
    assert_eq!(stored.headers["x-amz-checksum-crc32c"].len(), 8);
    contract::assert_is_there(&archive, &summary, &object).await;
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_finds_its_own_object() {
    let (server, archive) = s3(1_000).await;
    let (summary, object) = contract::object(1, 3);
    server.fail_puts([PutFault::LostAnswer]);
    assert_eq!(archive.put_if_absent(&object).await.unwrap(), Created::Exists);
    contract::assert_is_there(&archive, &summary, &object).await;
}

#[tokio::test]
async fn trouble_of_s3_is_worth_another_try() {
    for fault in [PutFault::SlowDown, PutFault::Conflict] {
        let (server, archive) = s3(1_000).await;
        let (_, object) = contract::object(1, 1);
        // The SDK makes a second try of its own.
        server.fail_puts([fault, fault]);
        let error = archive.put_if_absent(&object).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Transient { .. }), "{fault:?}: {}", chain(&error));
        drop(server);
        assert!(matches!(archive.get(&object.key).await, Err(ArchiveError::Transient { .. })));
    }
}

#[tokio::test]
async fn a_missing_bucket_refuses() {
    let (server, _archive) = s3(1_000).await;
    let archive = S3Archive::connect(&server.sdk().await, "nowhere", true);
    let (_, object) = contract::object(1, 1);
    for error in [
        archive.put_if_absent(&object).await.unwrap_err(),
        archive.get(&object.key).await.unwrap_err(),
        archive.list("raw/", "").await.unwrap_err(),
    ] {
        assert!(matches!(error, ArchiveError::Refused { .. }), "{}", chain(&error));
        assert!(chain(&error).contains("NoSuchBucket"), "{}", chain(&error));
    }
}

// OpenSearch

async fn opensearch(auth: Auth) -> (OpenSearchServer, OpenSearch) {
    let server = OpenSearchServer::start().await;
    let index = OpenSearch::new(server.url(), auth).expect("the URL is one");
    (server, index)
}

#[tokio::test]
async fn opensearch_keeps_the_highest_revision() {
    let (_server, index) = opensearch(Auth::None).await;
    contract::a_higher_revision_replaces_a_lower_one(&index).await;
}

#[tokio::test]
async fn opensearch_takes_the_verdict_of_newer_rules() {
    let (_server, index) = opensearch(Auth::None).await;
    contract::a_line_that_is_judged_anew_replaces_what_was_made_before(&index).await;
}

#[tokio::test]
async fn opensearch_creates_a_document_once() {
    let (server, index) = opensearch(Auth::None).await;
    contract::a_document_is_created_once(&index).await;
    assert_eq!((server.count(), server.conflicts()), (6, 5));
    let item = contract::item(1);
    let body: serde_json::Value = serde_json::from_slice(&item.document.body).unwrap();
    assert_eq!(server.indices()["tests-undated"][&item.id().to_string()], body);
    assert_eq!(server.authorization(), None);
}

#[tokio::test]
async fn each_document_has_its_own_verdict() {
    let (server, index) = opensearch(Auth::None).await;
    contract::created(&index, [2]).await;
    server.fail_items([Fault::BUSY]);
    let mut items: Vec<_> = [1, 2, 3, 4].map(contract::item).into();
    items[2].document.body = b"{".to_vec();
    let again = "rejected_execution_exception: made by the tests".to_owned();
    let dead = "mapper_parsing_exception: made by the tests".to_owned();
    let expected =
        [Verdict::Retry(again), Verdict::Done { created: false }, Verdict::Dead(dead), Verdict::Done { created: true }];
    assert_eq!(index.bulk(&items).await.unwrap(), expected);
}

#[tokio::test]
async fn a_request_that_opensearch_refuses_as_a_whole_says_what_to_do() {
    let (server, index) = opensearch(Auth::None).await;
    let bulk = async |status| {
        server.fail_requests([Fault { status, ..Fault::AWAY }]);
        index.bulk(&[contract::item(1)]).await.unwrap_err()
    };
    for status in [429, 500, 502, 503] {
        assert!(matches!(bulk(status).await, IndexError::Transient(_)), "{status}");
    }
    assert!(matches!(bulk(413).await, IndexError::TooLarge));
    for status in [401, 403] {
        assert!(matches!(bulk(status).await, IndexError::Denied(_)), "{status}");
    }
    assert_eq!(server.count(), 0);
    drop(server);
    assert!(matches!(index.bulk(&[contract::item(1)]).await, Err(IndexError::Transient(_))));
}

#[tokio::test]
async fn a_certificate_is_believed_if_its_authority_is_in_the_ca_file() {
    let server = OpenSearchServer::start().await;
    let (tls, other) = (Tls::in_front_of(server.url()), Tls::in_front_of(server.url()));
    let bulk = async |authorities: &str| {
        let index = OpenSearch::trusting(&tls.url(), Auth::None, authorities.as_bytes()).expect("the URL is one");
        index.bulk(&[contract::item(1)]).await
    };
    for authorities in [String::new(), other.authority()] {
        let error = bulk(&authorities).await.unwrap_err();
        assert!(
            matches!(error, IndexError::Transient(_)) && chain(&error).contains("certificate"),
            "{}",
            chain(&error)
        );
    }
    let both = other.authority() + &tls.authority();
    assert_eq!(bulk(&both).await.unwrap(), [Verdict::Done { created: true }]);
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn requests_say_who_we_are() {
    let (server, index) = opensearch(Auth::Basic { user: "twosec".into(), password: "secret".into() }).await;
    contract::created(&index, [1]).await;
    assert_eq!(server.authorization().unwrap(), "Basic dHdvc2VjOnNlY3JldA==");
    let provider = aws_credential_types::provider::SharedCredentialsProvider::new(credentials());
    let (server, index) = opensearch(Auth::SigV4(Signer::new(REGION, "es", provider))).await;
    contract::created(&index, [1]).await;
    let authorization = server.authorization().unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
    assert!(authorization.contains("/us-east-1/es/aws4_request, SignedHeaders=content-encoding;content-type;host;"));
}
