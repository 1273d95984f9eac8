use super::state::{StateError, StateFile};
use super::*;
use crate::archive::window::Window;
use crate::decode::cases::{agents_events, any_record, framed, subscription};
use crate::decode::{Decoded, Decoder};
use crate::doubles::{MemoryArchive, MemoryIndex};
use crate::receive::{Record, SequenceNumber};
use crate::settings::Settings;
use bytes::Bytes;
use event::document::IndexPeriod;
use event::{Classifier, Format};
use proptest::prelude::*;
use serde_json::json;

/// 2026-11-16, 12:00.
const NOON: Millis = 1_794_830_400_000;

const ATTACK: &str =
    r#"192.0.2.7 - - [16/Nov/2026:11:59:26 +0000] "GET /?id=1%27+union+select+1,2--+ HTTP/1.1" 200 5 "-" "-""#;

fn names() -> IndexNames {
    IndexNames { prefix: "twosec".into(), period: IndexPeriod::Day, from: None, until: None }
}

/// An archive, and the index that the live path filled beside it.
#[derive(Default)]
struct Pipeline {
    archive: Arc<MemoryArchive>,
    index: Arc<MemoryIndex>,
    end: Option<SequenceNumber>,
    number: u64,
}

impl Pipeline {
    /// Archives records that arrived in one minute as one object, and indexes them.
    async fn take(&mut self, minute: Millis, records: &[Vec<u8>]) {
        let decoder = Decoder::new(&Settings::new("s", "w".into()), "shard-0", Some(7), Arc::default());
        let mut window = Window::after(self.end.clone());
        for data in records {
            self.number += 3;
            let sequence = SequenceNumber::new(&self.number.to_string()).unwrap();
            let data = Bytes::from(data.clone());
            let decoded = decoder.decode(Record { sequence, arrival: NOON + minute * MINUTE, data });
            self.index(&decoded).await;
            window.push(&decoded);
        }
        let Some((summary, object)) = window.close("s", "shard-0") else { return };
        self.end = Some(summary.last_seq);
        self.archive.put(object);
    }

    async fn index(&self, decoded: &Decoded) {
        let bulker = Bulker {
            index: self.index.clone(),
            archive: Arc::new(MemoryArchive::default()),
            names: names(),
            stream: "s".into(),
            stream_created: Some(7),
            shard: "shard-0".into(),
            meter: Arc::default(),
            flight: Arc::new(Flight::new(1, Arc::default())),
            flush_every: FLUSH_EVERY,
            is_patient: true,
        };
        bulker.events(&decoded.sequence, decoded.content.events.iter().map(|(_, event)| event)).await.unwrap();
    }

    /// A replay of all of it into another index.
    fn replay(&self) -> (Arc<MemoryIndex>, Replay) {
        let index = Arc::new(MemoryIndex::default());
        let replay = Replay {
            archive: self.archive.clone(),
            index: Some(index.clone()),
            names: names(),
            stream: "s".into(),
            span: Span::default(),
            rules: None,
            objects_at_once: 2,
        };
        (index, replay)
    }
}

async fn run(replay: &Replay) -> Report {
    replay.run(Reached::default(), CancellationToken::new(), |_| Ok(())).await.unwrap().report
}

/// Ten minutes, each with an attack of its own, and some things that are no frame.
async fn pipeline() -> Pipeline {
    let mut pipeline = Pipeline::default();
    for minute in 0..10 {
        let attack = ATTACK.replace("1,2", &format!("{minute},2")).into_bytes();
        let events = json!([{"id": minute.to_string(), "timestamp": NOON - 5_000, "message": ATTACK}]);
        pipeline.take(minute, &[attack, subscription("DATA_MESSAGE", events)]).await;
    }
    pipeline.take(10, &[framed(&agents_events(Format::Auto)), b"\xff\x00no text".to_vec()]).await;
    pipeline
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_replay_makes_the_index_that_the_live_path_made(minutes in prop::collection::vec(prop::collection::vec(any_record(), 1..4), 1..5)) {
        runtime().block_on(async {
            let mut pipeline = Pipeline::default();
            for (minute, records) in minutes.iter().enumerate() {
                pipeline.take(minute as Millis, records).await;
            }
            let (index, replay) = pipeline.replay();
            let report = run(&replay).await;
            prop_assert_eq!(index.contents(), pipeline.index.contents());
            prop_assert_eq!(report.put as usize, index.contents().len());
            prop_assert!(report.is_clean(), "{:?}", report);
            let again = run(&replay).await;
            prop_assert_eq!((again.put, again.known), (0, report.put + report.known));
            Ok(())
        })?;
    }
}

/// A token that is cancelled when so many objects have been read.
fn stop_after(objects: usize, archive: &Arc<MemoryArchive>) -> CancellationToken {
    let (stop, archive) = (CancellationToken::new(), archive.clone());
    let told = stop.clone();
    tokio::spawn(async move {
        while archive.read.lock().unwrap().len() < objects {
            tokio::task::yield_now().await;
        }
        told.cancel();
    });
    stop
}

#[tokio::test]
async fn a_replay_that_is_broken_off_goes_on_where_it_was() {
    let pipeline = pipeline().await;
    let (index, replay) = pipeline.replay();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replay.json");

    let (file, reached) = StateFile::open(&path, &replay).unwrap();
    let stop = stop_after(3, &pipeline.archive);
    let broken_off = replay.run(reached, stop, |reached| file.save(reached)).await.unwrap();
    assert!(!broken_off.is_done && broken_off.report.objects < 11 && path.exists());
    pipeline.archive.read.lock().unwrap().clear();

    let (file, reached) = StateFile::open(&path, &replay).unwrap();
    assert_eq!(reached, broken_off);
    let done = replay.run(reached, CancellationToken::new(), |reached| file.save(reached)).await.unwrap();
    assert!(done.is_done && !path.exists(), "the file goes when nothing is left");
    assert_eq!(done.report.objects, 11, "all are counted");
    let read = pipeline.archive.read.lock().unwrap().len() as u64;
    assert_eq!(read, 11 - broken_off.report.objects, "none is read again");
    assert_eq!(index.contents(), pipeline.index.contents());
}

#[tokio::test]
async fn a_state_is_for_the_replay_that_wrote_it() {
    let (_, replay) = pipeline().await.replay();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replay.json");
    let (file, _) = StateFile::open(&path, &replay).unwrap();
    let reached = Reached { after: Some("raw/s/x".into()), ..Reached::default() };
    file.save(&reached).unwrap();
    assert_eq!(StateFile::open(&path, &replay).unwrap().1, reached);
    let other = Replay { span: Span { from: Some(0), to: None }, ..replay };
    let refused = StateFile::open(&path, &other).unwrap_err();
    assert!(matches!(refused, StateError::Other(_)));
    let told = refused.to_string();
    assert!(told.ends_with("is of a replay with other arguments: name another file, or delete this one"), "{told}");
}

#[tokio::test]
async fn only_what_arrived_in_the_span_is_replayed() {
    let (index, replay) = pipeline().await.replay();
    let span = Span { from: Some(NOON + 3 * MINUTE), to: Some(NOON + 5 * MINUTE) };
    let report = run(&Replay { span, ..replay }).await;
    assert_eq!((report.objects, report.put, index.contents().len()), (2, 4, 4));
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_indexed_and_indexes_nothing() {
    let (index, replay) = pipeline().await.replay();
    let report = run(&Replay { index: None, ..replay }).await;
    assert_eq!(index.contents().len(), 0);
    let told = report.to_string();
    let (first, rest) = told.split_once('\n').unwrap();
    assert!(first.starts_with("11 objects, ") && first.ends_with(" KiB, 26 events"), "{first}");
    let expected = "  twosec-2024.10.04  1\n  twosec-2026.11.16  25\n\
                    1 record could not be read when they came: `redrive` tries again\n";
    assert_eq!(rest, expected);
}

#[tokio::test]
async fn a_damaged_object_stops_nobody_and_is_named() {
    let pipeline = pipeline().await;
    let key = pipeline.archive.keys()[4].clone();
    let mut object = pipeline.archive.remove(&key);
    object.bytes.truncate(object.bytes.len() - 20);
    pipeline.archive.put(object);
    let (index, replay) = pipeline.replay();
    let report = run(&replay).await;
    assert_eq!((report.objects, &report.damaged), (11, &vec![key]));
    assert!(!report.is_clean());
    assert!(index.contents().len() >= pipeline.index.contents().len() - 2);
}

#[tokio::test]
async fn an_object_that_the_archive_refuses_stops_nobody_and_is_named() {
    let pipeline = pipeline().await;
    let keys = [4, 10].map(|at| pipeline.archive.keys()[at].clone());
    pipeline.archive.refuses.lock().unwrap().extend(keys.clone());
    let (_, replay) = pipeline.replay();
    let report = run(&replay).await;
    assert_eq!((report.objects, &report.damaged[..]), (9, &keys[..]));
    assert!(!report.is_clean());
}

#[tokio::test]
async fn an_archive_that_refuses_object_after_object_ends_a_replay_which_goes_on_there() {
    let pipeline = pipeline().await;
    let keys = pipeline.archive.keys();
    pipeline.archive.refuses.lock().unwrap().extend(keys[2..].iter().cloned());
    let (index, replay) = pipeline.replay();
    let replay = Replay { objects_at_once: 1, ..replay };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replay.json");
    let (file, reached) = StateFile::open(&path, &replay).unwrap();
    let ended = replay.run(reached, CancellationToken::new(), |reached| file.save(reached)).await;
    assert!(matches!(ended, Err(ReplayError::Archive(_))));
    pipeline.archive.refuses.lock().unwrap().clear();
    let (file, reached) = StateFile::open(&path, &replay).unwrap();
    assert_eq!(reached.after.as_ref(), Some(&keys[1]), "what was refused is asked for again");
    let done = replay.run(reached, CancellationToken::new(), |reached| file.save(reached)).await.unwrap();
    assert_eq!((done.report.objects, done.report.is_clean()), (11, true));
    assert_eq!(index.contents(), pipeline.index.contents());
}

#[tokio::test]
async fn records_that_held_nothing_are_not_told_as_unread() {
    let mut pipeline = Pipeline::default();
    let records = [subscription("CONTROL_MESSAGE", json!([])), Vec::new(), b"\xff\x00no text".to_vec()];
    pipeline.take(0, &records).await;
    assert_eq!(run(&pipeline.replay().1).await.unread_records, 1);
}

#[tokio::test]
async fn what_the_index_refuses_is_a_dead_letter() {
    let (index, replay) = pipeline().await.replay();
    *index.refuses.lock().unwrap() = Some("union+select+3,2");
    let report = run(&replay).await;
    assert_eq!((report.refused, report.is_clean()), (1, false));
    let keys = replay.archive.list("dead-letter/s/shard-0/", "").await.unwrap();
    assert_eq!(keys.len(), 1);
}

#[tokio::test]
async fn newer_rules_replace_what_older_ones_made_and_nothing_undoes_it() {
    let pipeline = pipeline().await;
    let (_, replay) = pipeline.replay();
    let live = pipeline.index.clone();
    let newer = Reclassifier::new(Arc::new(Classifier::new("2027.1.1".into(), Vec::new())));
    let replay = Replay { index: Some(live.clone()), rules: Some(newer), ..replay };
    let report = run(&replay).await;
    let changes = report.reclassified.as_ref().unwrap();
    assert_eq!((changes.lines, changes.no_attacks, changes.new_attacks), (26, 21, 0));
    assert_eq!(changes.gone["sqli-union-select"], 21);
    let after = live.contents();
    assert!(after.values().all(|(version, body)| *version == 202_701_001 && !body.contains("union-select\"")));
    assert_eq!(run(&Replay { rules: None, ..replay }).await.put, 0, "an older verdict comes too late");
    assert_eq!(live.contents(), after);
    let told = report.to_string();
    assert!(told.contains("judged anew: 26 lines; 21 changed, 0 are attacks now, 21 are none any more\n"), "{told}");
    assert!(told.contains("  - sqli-union-select  21\n"), "{told}");
}
