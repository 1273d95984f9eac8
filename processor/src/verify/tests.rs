use super::*;
use crate::archive::window::{MINUTE, Window, end_of_shard};
use crate::archive::{Created, Object};
use crate::decode::{Content, Decoded};
use crate::doubles::MemoryArchive;
use crate::leases::{Checkpoint, Lease, Swap};
use crate::receive::Shard;
use async_trait::async_trait;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// 2026-11-16, 12:58.
const BEGIN: Millis = 1_794_833_880_000;

fn number(number: u64) -> SequenceNumber {
    SequenceNumber::new(&number.to_string()).unwrap()
}

/// Objects of two records each, one a minute, across the end of an hour.
fn objects(shard: &str, count: u64) -> Vec<Object> {
    let mut prev = None;
    let object = |minute: u64| {
        let mut window = Window::after(prev.take());
        for record in [10 * minute + 3, 10 * minute + 7] {
            let content = Content::unreadable(Bytes::from("data"), "an example");
            window.push(&Decoded { sequence: number(record), arrival: BEGIN + minute as Millis * MINUTE, content });
        }
        let (summary, object) = window.close("s", shard).unwrap();
        prev = Some(summary.last_seq);
        object
    };
    (0..count).map(object).collect()
}

fn archive(objects: impl IntoIterator<Item = Object>) -> Arc<MemoryArchive> {
    let archive = Arc::<MemoryArchive>::default();
    objects.into_iter().for_each(|object| archive.put(object));
    archive
}

fn verify(archive: Arc<dyn Archive>) -> Verify {
    Verify {
        archive,
        leases: None,
        kept_since: None,
        stream_created: None,
        stream: "s".into(),
        span: Span::default(),
        shard: None,
    }
}

async fn found(verify: &Verify) -> Vec<String> {
    verify.run(|_| ()).await.unwrap().findings.iter().map(ToString::to_string).collect()
}

/// What a row becomes when it is looked at, this often before.
type Moves = Box<dyn Fn(usize, &mut Lease) + Send + Sync>;

/// Rows. What writes them comes with the looks at them.
struct Rows {
    rows: Mutex<Vec<Lease>>,
    moves: Moves,
    looks: AtomicUsize,
}

impl Rows {
    fn of(rows: &[(&str, Checkpoint)]) -> Option<Arc<dyn Leases>> {
        let row = |(shard, checkpoint): &(&str, Checkpoint)| {
            let (id, parents) = ((*shard).to_owned(), Vec::new());
            let shard = Shard { id, parents, starting_hash_key: "0".into(), ending_hash_key: "9".into() };
            Lease { checkpoint_arrival: Some(BEGIN + MINUTE), ..Lease::new(&shard, checkpoint.clone(), None) }
        };
        Some(Arc::new(Rows::moving(rows.iter().map(row).collect(), |_, _| ())))
    }

    fn moving(rows: Vec<Lease>, moves: impl Fn(usize, &mut Lease) + Send + Sync + 'static) -> Rows {
        Rows { rows: Mutex::new(rows), moves: Box::new(moves), looks: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Leases for Rows {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        let mut rows = self.rows.lock().unwrap();
        rows.iter_mut().for_each(|row| (self.moves)(look, row));
        Ok(rows.clone())
    }

    async fn create(&self, _: &Lease) -> Result<Swap, LeaseError> {
        Ok(Swap::Lost(None))
    }

    async fn swap(&self, _: &Lease, _: &Lease) -> Result<Swap, LeaseError> {
        Ok(Swap::Lost(None))
    }

    async fn remove(&self, _: &Lease) -> Result<Swap, LeaseError> {
        Ok(Swap::Lost(None))
    }
}

#[tokio::test]
async fn a_whole_archive_is_clean_and_told_by_shard() {
    let archive = archive(objects("shard-0", 6).into_iter().chain(objects("shard-1", 3)));
    let leases = Rows::of(&[("shard-0", Checkpoint::At(number(57)))]);
    let report = Verify { leases, ..verify(archive) }.run(|_| ()).await.unwrap();
    let told = report.to_string();
    let (first, rest) = told.split_once('\n').unwrap();
    assert!(first.starts_with("raw/s/: 9 objects of 2 shards, "), "{first}");
    let expected = "  shard-0  6 objects, 12 records, 12 lines; ends with 57; the lease is at 57\n  \
                      shard-1  3 objects, 6 records, 6 lines; ends with 27\n\
                    clean: no object is missing, added or altered\n";
    assert_eq!(rest, expected);
}

#[tokio::test]
async fn one_shard_and_some_hours_can_be_looked_at_alone() {
    let mut objects = objects("shard-0", 6);
    let mut others = self::objects("shard-1", 6);
    objects.remove(1);
    others.remove(3);
    let whole = verify(archive(objects.into_iter().chain(others)));
    assert_eq!(found(&whole).await.len(), 2);
    let one = Verify { shard: Some("shard-1".into()), ..verify(whole.archive.clone()) };
    assert_eq!(found(&one).await.len(), 1);
    let from = Span { from: Some(BEGIN + 2 * MINUTE), to: None };
    let later = Verify { span: from, ..verify(whole.archive.clone()) };
    let later = found(&later).await;
    assert_eq!(later.len(), 2, "what is gone before a part's first object shows in the one before: {later:?}");
    for gone in ["shard-0: what follows record 7 ", "shard-1: what follows record 27 "] {
        assert!(later.iter().any(|told| told.contains(gone)), "{later:?}");
    }
    let to = Span { from: None, to: Some(BEGIN + 2 * MINUTE) };
    let earlier = found(&Verify { span: to, ..verify(whole.archive.clone()) }).await;
    assert_eq!(earlier.len(), 1, "what is gone from the end of a part shows in the object behind it: {earlier:?}");
    assert!(earlier[0].contains("shard-0: what follows record 7 "), "{earlier:?}");
    let one = Verify { span: to, shard: Some("shard-1".into()), ..verify(whole.archive.clone()) };
    assert_eq!(found(&one).await, [""; 0]);
}

#[tokio::test]
async fn what_is_gone_from_the_beginning_of_a_part_or_all_of_it_shows_in_the_object_before_it() {
    let part = Span { from: Some(BEGIN + 2 * MINUTE), to: Some(BEGIN + 62 * MINUTE) };
    let without = async |gone: std::ops::Range<usize>| {
        let objects = objects("shard-0", 65).into_iter().enumerate();
        let left = objects.filter(|(at, _)| !gone.contains(at)).map(|(_, object)| object);
        let leases = Rows::of(&[("shard-0", Checkpoint::At(number(647)))]);
        found(&Verify { leases, span: part, ..verify(archive(left)) }).await
    };
    assert_eq!(without(0..0).await, [""; 0]);
    assert_eq!(without(0..2).await, [""; 0], "where nothing is left before it, a part begins where it begins");
    for (gone, through) in [(2..4, 37), (2..62, 617)] {
        let found = without(gone).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("shard-0: what follows record 17 "), "{found:?}");
        assert!(found[0].contains(&format!("up to record {through}")), "{found:?}");
    }
}

#[tokio::test]
async fn a_part_behind_which_nothing_comes_ends_where_the_lease_says() {
    let mut objects = objects("shard-0", 3);
    objects.pop();
    let leases = || Rows::of(&[("shard-0", Checkpoint::At(number(27)))]);
    let to = Span { from: None, to: Some(BEGIN + 2 * MINUTE) };
    let part = Verify { leases: leases(), span: to, ..verify(archive(objects)) };
    let found = found(&part).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("shard-0: what follows record 17 "), "{found:?}");
}

#[tokio::test]
async fn a_shard_that_has_ended_says_so_without_its_lease() {
    let mut objects = objects("shard-0", 3);
    let end = end_of_shard(("s", "shard-0"), &number(27), BEGIN + 2 * MINUTE, None);
    objects.push(end);
    let report = verify(archive(objects.clone())).run(|_| ()).await.unwrap();
    assert_eq!(report.findings, []);
    let told = report.to_string();
    assert!(told.contains("shard-0  4 objects, 6 records, 6 lines; ends with 27, for good\n"), "{told}");
    objects.remove(2);
    let expected =
        "missing   shard-0: what follows record 17 (of 2026-11-16T12:59:00.000Z), up to record 27, is in no object; ";
    let found = found(&verify(archive(objects))).await;
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
}

/// Verifies six objects, which end with record 57, against a row that is moved.
async fn against_a_row(at: u64, moves: impl Fn(usize, &mut Lease) + Send + Sync + 'static) -> Report {
    let archive = archive(objects("shard-0", 6));
    let rows = Rows::of(&[("shard-0", Checkpoint::At(number(at)))]).unwrap().list().await.unwrap();
    let rows = rows.into_iter().map(|row| Lease { owner: Some("w".into()), ..row }).collect();
    let leases: Option<Arc<dyn Leases>> = Some(Arc::new(Rows::moving(rows, moves)));
    Verify { leases, ..verify(archive) }.run(|_| ()).await.unwrap()
}

fn added(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn an_object_behind_the_end_of_a_chain_is_named_where_the_shards_owner_goes_on_without_it() {
    let report = against_a_row(47, |_, row| row.counter += 1).await;
    let key = objects("shard-0", 6)[5].key.clone();
    let why = "it is behind record 47, with which the lease says that its chain ends";
    assert_eq!(added(&report), [format!("added     {key}: {why}")]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_catches_up_with_its_archive_is_waited_for() {
    let report = against_a_row(37, |look, row| {
        row.counter += 1;
        if look == 9 {
            row.checkpoint = Checkpoint::At(number(57));
        }
    })
    .await;
    assert_eq!((added(&report), report.shards["shard-0"].checkpoint.as_deref()), (vec![], Some("57")));
}

#[tokio::test(start_paused = true)]
async fn objects_that_follow_the_end_are_told_where_nobody_goes_on_and_others_are_named() {
    let report = against_a_row(47, |_, _| ()).await;
    let keys: Vec<_> = objects("shard-0", 6).into_iter().map(|object| object.key).collect();
    assert_eq!((added(&report), &report.shards["shard-0"].ahead[..]), (vec![], &keys[5..]));
    let told = format!(
        "; the lease is at 47; {} is ahead of it, as a processor leaves objects that is stopped before it says so\n",
        keys[5]
    );
    assert!(report.to_string().contains(&told), "{report}");
    let report = against_a_row(37, |_, _| ()).await;
    assert_eq!((added(&report), &report.shards["shard-0"].ahead[..]), (vec![], &keys[4..]));
    let report = against_a_row(36, |_, _| ()).await;
    let why = "it is behind record 36, with which the lease says that its chain ends";
    assert_eq!(added(&report), keys[3..].iter().map(|key| format!("added     {key}: {why}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn nothing_has_a_place_behind_the_end_of_a_shard() {
    let mut objects = objects("shard-0", 4);
    let behind = objects.pop().unwrap();
    objects.push(end_of_shard(("s", "shard-0"), &number(27), BEGIN + 2 * MINUTE, None));
    let whole = archive(objects.clone());
    let leases = || Rows::of(&[("shard-0", Checkpoint::ShardEnd)]);
    let ended = Instant::now();
    assert_eq!(found(&Verify { leases: leases(), ..verify(whole) }).await, [""; 0]);
    objects.push(behind.clone());
    let found = found(&Verify { leases: leases(), ..verify(archive(objects)) }).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(&format!("added     {}: it ", behind.key)), "{found:?}");
    assert_eq!(ended.elapsed(), Duration::ZERO, "a shard that has ended is not waited for");
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_a_shard_that_the_stream_never_had_is_named_while_a_row_of_it_would_be_there() {
    let archive = archive(objects("shard-0", 6).into_iter().chain(objects("shard-9", 2)));
    let leases = || Rows::of(&[("shard-0", Checkpoint::At(number(57)))]);
    let kept_since = |since| Verify { leases: leases(), kept_since: Some(since), ..verify(archive.clone()) };
    let key = objects("shard-9", 2)[1].key.clone();
    let why = "the stream keeps records for longer than that, and its shard has no row in the lease table";
    assert_eq!(found(&kept_since(BEGIN)).await, [format!("added     {key}: {why}")]);
    assert_eq!(found(&kept_since(BEGIN + 5 * MINUTE)).await, [""; 0], "its row may be removed by then");
    let without = Verify { kept_since: Some(BEGIN), ..verify(archive.clone()) }.run(|_| ()).await.unwrap();
    let told = "no lease table was looked at: what is gone from, or added at, a chain's end is not seen\nclean";
    assert!(without.to_string().contains(told), "{without}");
}

#[tokio::test]
async fn a_shard_without_an_object_is_missing_where_its_lease_says_that_it_was_archived() {
    let leases = Rows::of(&[("shard-0", Checkpoint::At(number(7))), ("shard-1", Checkpoint::TrimHorizon)]);
    let whole = Verify { leases, ..verify(archive([])) };
    let expected = "missing   shard-0: what follows the beginning, up to record 7 (of 2026-11-16T12:59:00.000Z), \
                    is in no object; the lease says that it was archived";
    assert_eq!(found(&whole).await, [expected]);
    let span = |from| Span { from: Some(from), to: None };
    let part = Verify { span: span(BEGIN), leases: whole.leases.clone(), ..verify(archive([])) };
    assert_eq!(found(&part).await, [expected]);
    let later = Verify { span: span(BEGIN + 2 * MINUTE), leases: whole.leases.clone(), ..verify(archive([])) };
    assert_eq!(found(&later).await, [""; 0], "nothing of it arrived then");
}

/// An archive into which a writer puts an object when the one after it is looked at: in the
/// meantime its folder has been listed.
struct Written {
    archive: Arc<MemoryArchive>,
    late: Mutex<Option<Object>>,
    at: String,
}

#[async_trait]
impl Archive for Written {
    async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
        self.archive.put_if_absent(object).await
    }

    async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError> {
        self.archive.head(key).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
        if key == self.at {
            self.late.lock().unwrap().take().into_iter().for_each(|object| self.archive.put(object));
        }
        self.archive.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError> {
        self.archive.list(prefix, after).await
    }
}

#[tokio::test]
async fn an_object_that_is_archived_meanwhile_is_not_missing() {
    let mut objects = objects("shard-0", 6);
    let late = objects.remove(2);
    let at = objects[2].key.clone();
    let memory = archive(objects);
    assert_eq!(found(&verify(memory.clone())).await.len(), 1);
    let written = Written { archive: memory, late: Mutex::new(Some(late)), at };
    assert_eq!(found(&verify(Arc::new(written))).await, [""; 0]);
}

#[tokio::test]
async fn an_object_that_cannot_be_had_is_named_and_the_chain_is_walked_all_the_same() {
    struct Cold(Arc<MemoryArchive>, String);

    #[async_trait]
    impl Archive for Cold {
        async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
            self.0.put_if_absent(object).await
        }

        async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError> {
            self.0.head(key).await
        }

        async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
            if key == self.1 {
                let cause = "InvalidObjectState".into();
                return Err(ArchiveError::Refused { call: "get_object", key: key.into(), cause });
            }
            self.0.get(key).await
        }

        async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError> {
            self.0.list(prefix, after).await
        }
    }

    let memory = archive(objects("shard-0", 4));
    let key = memory.keys()[1].clone();
    let found = found(&verify(Arc::new(Cold(memory, key.clone())))).await;
    assert_eq!(found, [format!("unopened  {key}: it cannot be read: InvalidObjectState")]);
}
