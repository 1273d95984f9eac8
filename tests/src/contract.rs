//! What every implementation of a port must do, in the cloud and on the laptop. A double
//! that has not passed this will lie one day.
//!
//! Each function is one promise, and panics where it is broken. It wants its service
//! empty.

use agent::ship::{Frame, Put, Uplink};
use bytes::Bytes;
use event::id::LifeId;
use event::line::Host;
use event::{Document, Event, EventId, Format, Origin};
use futures::future::{join, join_all};
use processor::archive::window::{Summary, Window};
use processor::archive::{Archive, Created, Object};
use processor::decode::{Content, Decoded};
use processor::index::{Index, Item, Verdict};
use processor::leases::{Checkpoint, Lease, Leases, Swap};
use processor::receive::{Feed, Next, Pages, Record, SequenceNumber, Shard, Start};
use std::sync::Arc;

/// The shard of all examples.
pub const SHARD: &str = "shardId-000000000000";

/// A sequence number.
pub fn sequence(number: u64) -> SequenceNumber {
    SequenceNumber::new(&number.to_string()).expect("a number is all digits")
}

/// An archive object of the records `first..=last`, whose key depends on `first` alone.
pub fn object(first: u64, last: u64) -> (Summary, Object) {
    let mut window = Window::after(None);
    for number in first..=last {
        let content = Content::unreadable(Bytes::from(format!("record {number}")), "an example");
        window.push(&Decoded { sequence: sequence(number), arrival: 1_795_392_000_000, content });
    }
    window.close("tests", SHARD).expect("there is a record in it")
}

/// Of many writers that race for one key one wins, and nobody touches what it wrote.
pub async fn one_of_many_writers_wins(archive: &Arc<dyn Archive>) {
    let writers: Vec<_> = (1..=16).map(|last| object(1, last)).collect();
    let race = writers.iter().map(|(_, object)| {
        let (archive, object) = (Arc::clone(archive), object.clone());
        tokio::spawn(async move { archive.put_if_absent(&object).await })
    });
    let created: Vec<_> = join_all(race)
        .await
        .into_iter()
        .map(|put| put.expect("no writer panics").expect("the archive answers"))
        .collect();
    let winners: Vec<_> = writers.iter().zip(&created).filter(|(_, created)| **created == Created::Yes).collect();
    assert_eq!(winners.len(), 1, "writers that won: {created:?}");
    let (summary, object) = winners[0].0;
    assert_is_there(&**archive, summary, object).await;
    let late = archive.put_if_absent(&writers[0].1).await.expect("the archive answers");
    assert_eq!(late, Created::Exists);
    assert_is_there(&**archive, summary, object).await;
}

/// The object's bytes and what it says about itself come back as they were put.
pub async fn assert_is_there(archive: &dyn Archive, summary: &Summary, object: &Object) {
    let bytes = archive.get(&object.key).await.expect("the archive answers");
    assert_eq!(bytes.as_ref(), Some(&object.bytes));
    let metadata = archive.head(&object.key).await.expect("the archive answers");
    assert_eq!(metadata, Some(summary.metadata()));
}

/// Keys come in byte order, each once, and only those after the given one.
pub async fn keys_come_in_order(archive: &dyn Archive) {
    let numbers = [9, 10, 100, 7, 99, 1_000, 8];
    for number in numbers {
        archive.put_if_absent(&object(number, number).1).await.expect("the archive answers");
    }
    let elsewhere = Object { key: "dead-letter/tests/1.ndjson.gz".into(), ..object(1, 1).1 };
    archive.put_if_absent(&elsewhere).await.expect("the archive answers");
    let mut expected: Vec<_> = numbers.iter().map(|number| object(*number, *number).1.key).collect();
    expected.sort();
    let prefix = "raw/tests/";
    assert_eq!(all_keys(archive, prefix, "").await, expected);
    for (at, key) in expected.iter().enumerate() {
        assert_eq!(all_keys(archive, prefix, key).await, expected[at + 1..], "after `{key}`");
    }
    assert_eq!(all_keys(archive, "raw/other/", "").await, [""; 0]);
}

/// Reads page by page, as [`Archive::list`] says, until none comes.
async fn all_keys(archive: &dyn Archive, prefix: &str, after: &str) -> Vec<String> {
    let (mut keys, mut after) = (Vec::new(), after.to_owned());
    loop {
        let page = archive.list(prefix, &after).await.expect("the archive answers");
        let Some(last) = page.last() else { return keys };
        after.clone_from(last);
        keys.extend(page);
    }
}

/// A key that nobody put is neither an error nor an empty object.
pub async fn what_nobody_put_is_not_there(archive: &dyn Archive) {
    let key = object(1, 1).1.key;
    assert_eq!(archive.head(&key).await.expect("the archive answers"), None);
    assert_eq!(archive.get(&key).await.expect("the archive answers"), None);
    assert_eq!(archive.list("raw/tests/", "").await.expect("the archive answers"), [""; 0]);
}

/// The row of a shard that nobody has read.
pub fn lease() -> Lease {
    let shard = Shard {
        id: SHARD.into(),
        parents: vec!["shardId-000000000007".into(), "shardId-000000000008".into()],
        starting_hash_key: "0".into(),
        ending_hash_key: u128::MAX.to_string(),
    };
    Lease::new(&shard, Checkpoint::AtTimestamp(1_795_392_000_000), Some(1_795_000_000_000))
}

/// The row after another write, by `owner`.
pub fn next(lease: &Lease, owner: Option<&str>) -> Lease {
    Lease { owner: owner.map(str::to_owned), counter: lease.counter + 1, ..lease.clone() }
}

fn lost(row: &Lease) -> Swap {
    Swap::Lost(Some(Box::new(row.clone())))
}

async fn rows(leases: &dyn Leases) -> Vec<Lease> {
    leases.list().await.expect("the table answers")
}

async fn swap(leases: &dyn Leases, old: &Lease, new: &Lease) -> Swap {
    leases.swap(old, new).await.expect("the table answers")
}

/// A row is made once; who comes second is told how it is.
pub async fn a_row_is_made_once(leases: &dyn Leases) {
    assert_eq!(rows(leases).await, []);
    assert_eq!(leases.create(&lease()).await.expect("the table answers"), Swap::Done);
    let second = next(&lease(), Some("second"));
    assert_eq!(leases.create(&second).await.expect("the table answers"), lost(&lease()));
    assert_eq!(rows(leases).await, [lease()]);
}

/// Only who knows the row as it is may write it; all others are told how it is.
pub async fn a_row_is_written_by_who_knows_it(leases: &dyn Leases) {
    let (free, mine, renewed) = (lease(), next(&lease(), Some("me")), next(&next(&lease(), Some("me")), Some("me")));
    assert_eq!(swap(leases, &free, &mine).await, Swap::Lost(None), "there is no row yet");
    leases.create(&free).await.expect("the table answers");
    assert_eq!(swap(leases, &free, &mine).await, Swap::Done);
    assert_eq!(swap(leases, &free, &next(&free, Some("late"))).await, lost(&mine), "another owner has it");
    assert_eq!(swap(leases, &mine, &renewed).await, Swap::Done);
    assert_eq!(swap(leases, &mine, &next(&mine, Some("late"))).await, lost(&renewed), "the counter has moved");
    let other = Lease { owner: Some("other".into()), ..renewed.clone() };
    assert_eq!(
        swap(leases, &other, &next(&other, Some("other"))).await,
        lost(&renewed),
        "the counter alone is not enough"
    );
    let unowned = Lease { owner: None, ..renewed.clone() };
    assert_eq!(swap(leases, &unowned, &next(&unowned, Some("other"))).await, lost(&renewed), "it is not free");
    let released = next(&renewed, None);
    assert_eq!(swap(leases, &renewed, &released).await, Swap::Done);
    assert_eq!(rows(leases).await, [released]);
}

/// A row that somebody has asked for is another row: who does not know of it writes nothing,
/// and so the asking is not overwritten.
pub async fn a_row_that_was_asked_for_is_written_by_who_knows_it(leases: &dyn Leases) {
    let mine = next(&lease(), Some("me"));
    leases.create(&mine).await.expect("the table answers");
    let asked = Lease { handoff_to: Some("other".into()), ..mine.clone() };
    assert_eq!(swap(leases, &mine, &asked).await, Swap::Done);
    assert_eq!(swap(leases, &mine, &next(&mine, Some("me"))).await, lost(&asked), "the owner has not heard of it");
    let renewed = next(&asked, Some("me"));
    assert_eq!(swap(leases, &asked, &renewed).await, Swap::Done);
    let taken = Lease { handoff_to: None, ..next(&renewed, Some("other")) };
    assert_eq!(swap(leases, &renewed, &taken).await, Swap::Done);
    assert_eq!(rows(leases).await, [taken]);
}

/// A row is removed only by who knows it as it is.
pub async fn a_row_is_removed_by_who_knows_it(leases: &dyn Leases) {
    let (old, new) = (lease(), next(&lease(), None));
    assert_eq!(leases.remove(&old).await.expect("the table answers"), Swap::Lost(None), "there is no row yet");
    leases.create(&new).await.expect("the table answers");
    assert_eq!(leases.remove(&old).await.expect("the table answers"), lost(&new), "the counter has moved");
    assert_eq!(leases.remove(&new).await.expect("the table answers"), Swap::Done);
    assert_eq!(rows(leases).await, []);
}

/// Of many that take a free row one gets it.
pub async fn one_of_many_takes_a_row(leases: &Arc<dyn Leases>) {
    leases.create(&lease()).await.expect("the table answers");
    let race = (0..16).map(|number| {
        let leases = Arc::clone(leases);
        let taken = next(&lease(), Some(&format!("task-{number}")));
        tokio::spawn(async move { swap(&*leases, &lease(), &taken).await })
    });
    let swaps: Vec<_> = join_all(race).await.into_iter().map(|swap| swap.expect("no task panics")).collect();
    assert_eq!(swaps.iter().filter(|swap| **swap == Swap::Done).count(), 1, "{swaps:?}");
    let winner = &rows(&**leases).await[0];
    let all_others_know = swaps.iter().all(|swap| *swap == Swap::Done || *swap == lost(winner));
    assert!(all_others_know, "{swaps:?}");
}

/// Every field of a row comes back as it was written, and goes away when it is taken away.
pub async fn a_row_comes_back_as_it_was_written(leases: &dyn Leases) {
    let mut row = Lease { owner: Some("me".into()), ..lease() };
    leases.create(&row).await.expect("the table answers");
    let places = [Checkpoint::At(sequence(17)), Checkpoint::TrimHorizon, Checkpoint::ShardEnd, lease().checkpoint];
    for (number, checkpoint) in places.iter().enumerate() {
        let new = Lease {
            checkpoint: checkpoint.clone(),
            indexed_through: places[(number + 1) % places.len()].clone(),
            checkpoint_arrival: (number != 2).then_some(1_795_392_000_123),
            owner_switches: number as u64,
            handoff_to: (number == 1).then(|| "other".to_owned()),
            children: (number == 2).then(|| "shardId-000000000009".to_owned()).into_iter().collect(),
            ..next(&row, Some("me"))
        };
        assert_eq!(swap(leases, &row, &new).await, Swap::Done);
        assert_eq!(rows(leases).await, std::slice::from_ref(&new));
        row = new;
    }
}

/// Frames with these texts.
pub fn frames(texts: impl IntoIterator<Item = String>) -> Vec<Frame> {
    let frame = |(id, text): (usize, String)| Frame {
        hash_key: None,
        key: format!("{id:032x}"),
        bytes: Bytes::from(text),
        lines: 1,
    };
    texts.into_iter().enumerate().map(frame).collect()
}

/// Puts frames as the agent does: those that are wanted again, again, and all after a
/// call without an answer. Returns how many calls it took.
pub async fn put_all(uplink: &dyn Uplink, mut frames: Vec<Frame>) -> usize {
    let mut calls = 0;
    while !frames.is_empty() {
        calls += 1;
        let Ok(answers) = uplink.put(&frames).await else { continue };
        assert_eq!(answers.len(), frames.len(), "one answer for each frame");
        let mut answers = answers.into_iter();
        frames.retain(|_| match answers.next() {
            Some(Put::Again(_)) => true,
            Some(Put::Never(reason)) => panic!("an example is refused for good: {reason}"),
            _ => false,
        });
    }
    calls
}

/// Reads until `wanted` records have come.
pub async fn read(pages: &mut dyn Pages, wanted: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < wanted {
        let page = pages.next().await.expect("the stream answers");
        assert_eq!(page.next, Next::More, "after {} of {wanted} records", records.len());
        records.extend(page.records);
    }
    records
}

/// What is put into a stream of one shard is read in that order, from the start and from
/// behind any record. `archived` is told when a record may go.
pub async fn records_are_read_in_order_from_anywhere(
    uplink: &dyn Uplink,
    feed: &dyn Feed,
    archived: impl Fn(&SequenceNumber),
) {
    let texts: Vec<_> = (0..20).map(|number| format!("frame {number}")).collect();
    let reading = async {
        let shard = only_shard(feed).await;
        let mut pages = feed.open(&shard, Start::TrimHorizon).await.expect("the stream answers");
        let records = read(&mut *pages, texts.len()).await;
        assert_eq!(texts_of(&records), texts);
        assert!(records.is_sorted_by(|a, b| a.sequence < b.sequence), "numbers rise");
        drop(pages);
        for behind in [0, 7, 18] {
            let after = Start::After(records[behind].sequence.clone());
            let mut pages = feed.open(&shard, after).await.expect("the stream answers");
            let rest = read(&mut *pages, texts.len() - behind - 1).await;
            assert_eq!(texts_of(&rest), texts[behind + 1..], "after record {behind}");
        }
        archived(&records[records.len() - 1].sequence);
    };
    join(put_all(uplink, frames(texts.clone())), reading).await;
}

/// The stream's shard, of which it has one.
pub async fn only_shard(feed: &dyn Feed) -> String {
    let shards = feed.shards().await.expect("the stream answers");
    let [shard] = <[Shard; 1]>::try_from(shards).expect("the stream has one shard");
    assert_eq!(shard.parents, [""; 0]);
    assert_eq!((shard.starting_hash_key.as_str(), shard.ending_hash_key), ("0", u128::MAX.to_string()));
    shard.id
}

/// What the records say.
pub fn texts_of(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
}

/// A stream does not change its age.
pub async fn a_stream_is_as_old_as_it_was(feed: &dyn Feed) {
    let created = feed.created().await.expect("the stream answers");
    assert_eq!(feed.created().await.expect("the stream answers"), created);
}

/// The document of the line `number` of an access log.
pub fn item(number: u64) -> Item {
    let line = format!(r#"192.0.2.7 - - [16/Nov/2026:10:00:{:02} +0000] "GET /{number} HTTP/1.1" 200 5"#, number % 60);
    let host = Host { id: "0123456789abcdef0123456789abcdef".into(), name: "web-1".into() };
    let origin = Origin::new(host, "/var/log/apache2/access.log", LifeId([7; 16]), Format::Common);
    let time = 1_794_823_200_000 + number as i64 % 60 * 1_000;
    let event = Event::new(Arc::new(origin), number * 100, line.into_bytes(), time);
    Item { index: "tests-undated".into(), document: Document::of(&event) }
}

/// A revision of an incident.
fn revision(number: u32) -> Item {
    let body = format!(
        r#"{{"event":{{"id":"{id}","end":"2026-11-16T08:00:00.000Z"}},"twosec":{{"incident":{{"revision":{number}}}}}}}"#,
        id = EventId([9; 16])
    );
    let document =
        Document { id: EventId([9; 16]), day: None, revision: Some(number), ruleset: None, body: body.into() };
    Item { index: "tests-incidents".into(), document }
}

/// Of an incident the highest revision stays, in whatever order they come.
pub async fn a_higher_revision_replaces_a_lower_one(index: &dyn Index) {
    for (number, created) in [(2, true), (1, false), (3, true), (2, false)] {
        let verdicts = index.bulk(&[revision(number)]).await.expect("the index answers");
        assert_eq!(verdicts, [Verdict::Done { created }], "revision {number}");
        index.flush().await.expect("the index answers");
    }
}

/// A line that newer rules have judged replaces what older ones made of it, and what was made
/// when it came does not replace it.
pub async fn a_line_that_is_judged_anew_replaces_what_was_made_before(index: &dyn Index) {
    let judged = |number: u64, ruleset| {
        let Item { index, document } = item(number);
        Item { index, document: Document { ruleset, ..document } }
    };
    for (number, ruleset, created) in [
        (1, None, true),
        (1, Some(202_611_001), true),
        (1, None, false),
        (2, Some(202_611_001), true),
        (2, None, false),
    ] {
        let verdicts = index.bulk(&[judged(number, ruleset)]).await.expect("the index answers");
        assert_eq!(verdicts, [Verdict::Done { created }], "line {number} by {ruleset:?}");
        index.flush().await.expect("the index answers");
    }
}

/// Puts documents, and tells for each whether it was created.
pub async fn created(index: &dyn Index, numbers: impl IntoIterator<Item = u64>) -> Vec<bool> {
    let items: Vec<_> = numbers.into_iter().map(item).collect();
    let verdicts = index.bulk(&items).await.expect("the index answers");
    assert_eq!(verdicts.len(), items.len(), "one verdict for each document");
    let created = |verdict| match verdict {
        Verdict::Done { created } => created,
        other => panic!("an example is not done: {other:?}"),
    };
    verdicts.into_iter().map(created).collect()
}

/// A document is created once, however often and with whatever others it comes.
pub async fn a_document_is_created_once(index: &dyn Index) {
    assert_eq!(created(index, [1, 2, 3]).await, [true; 3]);
    assert_eq!(created(index, [3, 4, 2]).await, [false, true, false]);
    index.flush().await.expect("the index answers");
    assert_eq!(created(index, [4, 5, 1]).await, [false, true, false]);
    assert_eq!(created(index, [6, 6]).await, [true, false], "twice in one request");
    assert_eq!(created(index, []).await, [false; 0]);
}
