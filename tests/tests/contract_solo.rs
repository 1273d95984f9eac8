//! The ports in one process: what all implementations promise, and what these keep over
//! a restart.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use futures::FutureExt;
use processor::archive::Archive;
use processor::index::Index;
use processor::leases::{Checkpoint, Lease, Leases, Swap};
use solo::archive::LocalArchive;
use solo::index::LocalIndex;
use solo::leases::LocalLeases;
use solo::stream::LocalStream;
use solo::trouble::Trouble;
use std::path::Path;
use std::sync::Arc;
use tests::contract;

fn archive(folder: &Path) -> Arc<dyn Archive> {
    Arc::new(LocalArchive::open(folder, Trouble::default()).unwrap())
}

fn leases(folder: &Path) -> Arc<dyn Leases> {
    Arc::new(LocalLeases::open(&folder.join("leases.json"), Trouble::default()).unwrap())
}

#[tokio::test]
async fn the_folder_is_an_archive() {
    for check in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive(folder.path());
        match check {
            0 => contract::one_of_many_writers_wins(&archive).await,
            1 => contract::keys_come_in_order(&*archive).await,
            _ => contract::what_nobody_put_is_not_there(&*archive).await,
        }
    }
}

#[tokio::test]
async fn the_file_is_a_lease_table_also_when_it_is_opened_again() {
    for check in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let table = leases(folder.path());
        match check {
            0 => contract::a_row_is_made_once(&*table).await,
            1 => contract::a_row_is_written_by_who_knows_it(&*table).await,
            2 => contract::one_of_many_takes_a_row(&table).await,
            3 => contract::a_row_that_was_asked_for_is_written_by_who_knows_it(&*table).await,
            4 => contract::a_row_is_removed_by_who_knows_it(&*table).await,
            _ => contract::a_row_comes_back_as_it_was_written(&*table).await,
        }
        let rows = table.list().await.unwrap();
        assert_eq!(leases(folder.path()).list().await.unwrap(), rows);
    }
}

#[tokio::test]
async fn the_stream_gives_records_in_order_from_anywhere() {
    let stream = LocalStream::after(0);
    let archived =
        |number: &processor::receive::SequenceNumber| stream.archived_through(number.as_str().parse().unwrap());
    contract::records_are_read_in_order_from_anywhere(&stream, &stream, archived).await;
    contract::a_stream_is_as_old_as_it_was(&stream).await;
}

#[tokio::test]
async fn a_checkpoint_that_is_saved_lets_the_stream_answer() {
    let folder = tempfile::tempdir().unwrap();
    let stream = LocalStream::after(0);
    let table = LocalLeases::open(&folder.path().join("leases.json"), Trouble::default()).unwrap().tell(stream.clone());
    table.create(&contract::lease()).await.unwrap();
    let archived = |number: &processor::receive::SequenceNumber| {
        let row = Lease { checkpoint: Checkpoint::At(number.clone()), ..contract::next(&contract::lease(), None) };
        let saved = table.swap(&contract::lease(), &row).now_or_never().unwrap().unwrap();
        assert_eq!(saved, Swap::Done);
    };
    contract::records_are_read_in_order_from_anywhere(&stream, &stream, archived).await;
    assert_eq!(table.last(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_keeps_the_highest_revision_of_an_incident() {
    let folder = tempfile::tempdir().unwrap();
    let index = LocalIndex::open(folder.path(), Trouble::default()).unwrap();
    contract::a_higher_revision_replaces_a_lower_one(&*index).await;
    assert_eq!(index.incidents(9).incidents.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_takes_the_verdict_of_newer_rules() {
    let folder = tempfile::tempdir().unwrap();
    let index = LocalIndex::open(folder.path(), Trouble::default()).unwrap();
    contract::a_line_that_is_judged_anew_replaces_what_was_made_before(&*index).await;
    assert_eq!(index.events(&*index.query("").unwrap(), 9, 0).unwrap().total, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_takes_each_document_once_also_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let index = LocalIndex::open(folder.path(), Trouble::default()).unwrap();
    contract::a_document_is_created_once(&*index).await;
    index.flush().await.unwrap();
    drop(index);
    let index = LocalIndex::open(folder.path(), Trouble::default()).unwrap();
    assert_eq!(contract::created(&*index, [1, 2, 7, 3, 6, 8]).await, [false, false, true, false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_answers_queries_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let index = LocalIndex::open(folder.path(), Trouble::default()).unwrap();
    contract::created(&*index, 1..=9).await;
    index.flush().await.unwrap();
    let count = |query: &str| index.events(&*index.query(query).unwrap(), 100, 0).unwrap().total;
    assert_eq!(count(""), 9);
    assert_eq!(count("url.path:\"/3\""), 1);
    assert_eq!(count("source.ip:192.0.2.7 AND NOT url.path:\"/3\""), 8);
    assert_eq!((count("NOT url.path:\"/3\""), count("-url.path:\"/3\" url.path:(\"/3\" OR \"/4\")")), (8, 1));
    assert_eq!(count("http.response.status_code:[200 TO 299]"), 9);
    assert_eq!(count("@timestamp:[2026-11-16T10:00:04Z TO 2026-11-16T10:00:06Z]"), 3);
    assert_eq!(count("\"get 3 http\""), 1);
    let error = index.query("foo:bar").err().unwrap().to_string();
    assert_eq!(error, "cannot read the query: Field does not exist: 'foo'");
    let stats = index.stats(&*index.query("").unwrap()).unwrap();
    assert_eq!((stats.total, stats.attacks, stats.statuses[0].key.as_str()), (9, 0, "200"));
}
