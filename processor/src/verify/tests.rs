use super::*;
use crate::archive::window::{MINUTE, Window, end_of_shard};
use crate::archive::{Created, Object};
use crate::decode::{Content, Decoded};
use crate::doubles::MemoryArchive;
use crate::leases::{Checkpoint, Lease, Swap};
use crate::receive::Shard;
use async_trait::async_trait;
use std::sync::Mutex;

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
    Verify { archive, leases: None, stream: "s".into(), span: Span::default(), shard: None }
}

async fn found(verify: &Verify) -> Vec<String> {
    verify.run(|_| ()).await.unwrap().findings.iter().map(ToString::to_string).collect()
}

/// Rows that nobody writes.
struct Rows(Vec<Lease>);

impl Rows {
    fn of(rows: &[(&str, Checkpoint)]) -> Option<Arc<dyn Leases>> {
        let row = |(shard, checkpoint): &(&str, Checkpoint)| {
            let (id, parents) = ((*shard).to_owned(), Vec::new());
            let shard = Shard { id, parents, starting_hash_key: "0".into(), ending_hash_key: "9".into() };
            Lease { checkpoint_arrival: Some(BEGIN + MINUTE), ..Lease::new(&shard, checkpoint.clone(), None) }
        };
        Some(Arc::new(Rows(rows.iter().map(row).collect())))
    }
}

#[async_trait]
impl Leases for Rows {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        Ok(self.0.clone())
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
    assert!(found(&later).await[0].contains("shard-1: what follows record 27 "));
    let to = Span { from: None, to: Some(BEGIN + 2 * MINUTE) };
    let earlier = found(&Verify { span: to, ..verify(whole.archive.clone()) }).await;
    assert_eq!(earlier.len(), 1, "what is gone from the end of a part shows in the object behind it: {earlier:?}");
    assert!(earlier[0].contains("shard-0: what follows record 7 "), "{earlier:?}");
    let one = Verify { span: to, shard: Some("shard-1".into()), ..verify(whole.archive.clone()) };
    assert_eq!(found(&one).await, [""; 0]);
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
