//! Which shards this process works on: finds them, takes and gives leases, and runs a task
//! for each lease that it holds.

use crate::leases::audit::{Audit, Finding, past};
use crate::leases::leader::{Rule, Watch};
use crate::leases::plan::{Observer, asked, in_hand, renewed_meanwhile, taken};
use crate::leases::{Checkpoint, Lease, Swap};
use crate::meter::now;
use crate::receive::Shard;
use crate::settings::{Settings, StartAt};
use crate::worker::{self, Outcome, Shared};
use crate::{RunError, Services};
use event::Millis;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the stream is asked for new shards. A shard that ends makes its children's
/// rows by itself.
const SHARDS_EVERY: Duration = Duration::from_secs(60);

/// Takes, asks and gives, round by round. Each lease that is ours has a task, or gets one
/// in the next round.
pub(crate) struct Supervisor {
    services: Services,
    settings: Arc<Settings>,
    shared: Shared,
    stop: CancellationToken,
    observer: Observer,
    audit: Audit,
    watch: Watch,
    /// When to look again for a leader of another program.
    watch_again: Instant,
    list_again: Instant,
    /// They end with the key of their shard.
    tasks: JoinSet<(String, Outcome)>,
    /// What stops the task of a shard.
    stops: HashMap<String, CancellationToken>,
}

impl Supervisor {
    /// A supervisor that holds nothing yet. `stop` stops its tasks.
    pub fn new(settings: Settings, services: Services, stop: CancellationToken) -> Supervisor {
        let observer = Observer::new(&settings.worker, settings.failover);
        let shared = Shared::new(&settings, &services);
        Supervisor {
            services,
            settings: Arc::new(settings),
            shared,
            stop,
            observer,
            audit: Audit::default(),
            watch: Watch::default(),
            watch_again: Instant::now(),
            list_again: Instant::now(),
            tasks: JoinSet::new(),
            stops: HashMap::new(),
        }
    }

    /// Whether no task runs.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits until a task has ended. Cancel safe.
    pub async fn worker_ended(&mut self) -> Outcome {
        let Some(ended) = self.tasks.join_next().await else { return std::future::pending().await };
        let (shard, outcome) = ended.expect("workers do not panic");
        self.stops.remove(&shard);
        outcome
    }

    /// Takes what is free and should be ours, and lets go what others ask for. A stream or
    /// table that does not answer now is asked again in the next round. Dropped on its way it
    /// may leave a lease that is ours without a task: the next round takes it again.
    pub async fn round(&mut self) -> Result<(), RunError> {
        self.services.meter.round();
        match self.try_round().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "will try again");
                Ok(())
            }
            done => done,
        }
    }

    async fn try_round(&mut self) -> Result<(), RunError> {
        let created = self.services.feed.created().await.map_err(RunError::Feed)?;
        if !self.is_table_ours().await? {
            return Ok(());
        }
        let listed = if Instant::now() >= self.list_again { self.list_shards().await? } else { Vec::new() };
        let rows = self.services.leases.list().await.map_err(RunError::Leases)?;
        rows.iter().try_for_each(|row| refuse_other_stream(row, created))?;
        self.audit(&rows);
        self.remove_past(&rows, &listed).await;
        let now = Instant::now().into_std();
        self.observer.observe(&rows, now);
        let plan = self.observer.plan(&rows, |key| self.stops.contains_key(key), now);
        plan.give.into_iter().for_each(|row| self.give(row));
        // A row that was deleted and made again is free before our task has found that its own is gone.
        for row in plan.take.into_iter().filter(|row| !self.stops.contains_key(&row.key)).collect::<Vec<_>>() {
            self.take(row).await?;
        }
        if let Some(row) = plan.ask {
            self.ask(row).await?;
        }
        Ok(())
    }

    /// Whether no leader of another program assigns the leases. While nobody knows whether
    /// the one that has a row lives, nothing is taken.
    async fn is_table_ours(&mut self) -> Result<bool, RunError> {
        let now = Instant::now();
        if now < self.watch_again {
            return Ok(true);
        }
        let leader = self.services.leases.leader().await.map_err(RunError::Leases)?;
        match self.watch.look(leader, now.into_std()) {
            Rule::Nobody => self.watch_again = now + SHARDS_EVERY,
            Rule::Unknown => {
                tracing::info!(
                    "the Kinesis Client Library 3 has a leader's row in the lease table; looking whether it moves"
                );
                return Ok(false);
            }
            Rule::By(leader) => return Err(RunError::InUse { leader }),
        }
        Ok(true)
    }

    /// Makes rows for new shards. Returns the ids of all.
    async fn list_shards(&mut self) -> Result<Vec<String>, RunError> {
        let shards = self.services.feed.shards().await.map_err(RunError::Feed)?;
        ensure_rows(&self.services, &self.settings, &shards).await?;
        self.list_again = Instant::now() + SHARDS_EVERY;
        Ok(shards.into_iter().map(|shard| shard.id).collect())
    }

    /// Looks for hash keys that no row covers: then shards are listed in the next round.
    fn audit(&mut self, rows: &[Lease]) {
        match self.audit.look(rows) {
            Finding::Fine | Finding::Known => {}
            Finding::ListShards => self.list_again = Instant::now(),
            Finding::Hole(keys) => tracing::error!(
                from = keys.start(),
                to = keys.end(),
                "no lease covers these hash keys, and the stream lists no shard for them: records with them are not read"
            ),
        }
    }

    /// Removes rows that nobody needs any more, after shards have been `listed`. Rows that
    /// stay do no harm.
    async fn remove_past(&self, rows: &[Lease], listed: &[String]) {
        for row in past(rows, listed).into_iter().filter(|_| !listed.is_empty()) {
            match self.services.leases.remove(row).await {
                Ok(Swap::Done) => tracing::info!(shard = row.key, "removed the row of a shard that is no more"),
                Ok(Swap::Lost(_)) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a row stays that is not needed")
                }
            }
        }
    }

    /// Takes the lease, and works on its shard from now on.
    async fn take(&mut self, row: &Lease) -> Result<(), RunError> {
        let lease = taken(row, &self.settings.worker);
        let answer = self.services.leases.swap(row, &lease).await.map_err(RunError::Leases)?;
        let Some(lease) = in_hand(lease, answer) else {
            tracing::debug!(shard = row.key, "another worker was quicker");
            return Ok(());
        };
        let (shard, stop) = (lease.key.clone(), self.stop.child_token());
        self.stops.insert(shard.clone(), stop.clone());
        let (services, settings, shared) = (self.services.clone(), self.settings.clone(), self.shared.clone());
        let work = worker::run(services, settings, shared, lease, stop);
        self.tasks.spawn(async move { (shard, work.await) });
        Ok(())
    }

    /// Asks the owner of the lease for it.
    async fn ask(&self, row: &Lease) -> Result<(), RunError> {
        let answer = self.try_to_ask(row).await?;
        if let Some(row) = renewed_meanwhile(row, answer) {
            self.try_to_ask(&row).await?;
        }
        Ok(())
    }

    async fn try_to_ask(&self, row: &Lease) -> Result<Swap, RunError> {
        let ask = asked(row, &self.settings.worker);
        let answer = self.services.leases.swap(row, &ask).await.map_err(RunError::Leases)?;
        if answer == Swap::Done {
            tracing::info!(shard = row.key, owner = row.owner, "asked for the lease, to share evenly");
        }
        Ok(answer)
    }

    /// Has the task of the lease finish what it has in hand. It gives the lease back.
    fn give(&self, row: &Lease) {
        let Some(stop) = self.stops.get(&row.key).filter(|stop| !stop.is_cancelled()) else { return };
        tracing::info!(shard = row.key, to = row.handoff_to, "another worker asks for the lease; letting go");
        stop.cancel();
    }
}

/// Makes rows for shards that have none: children of a known shard from their first
/// record on, all others where the settings say. A child of a shard that is still to be read from a time on
/// begins at that time, too: it may have been there before the first start.
///
/// Of a shard whose row was deleted nobody knows how far it is indexed. What the archive holds of it
/// is indexed once more as far back as the stream keeps records. Indices of older days may have
/// been deleted on purpose, and would come back; `replay` is there for them.
pub(crate) async fn ensure_rows(services: &Services, settings: &Settings, shards: &[Shard]) -> Result<(), RunError> {
    let created = services.feed.created().await.map_err(RunError::Feed)?;
    let rows = services.leases.list().await.map_err(RunError::Leases)?;
    let unknown: Vec<_> = shards.iter().filter(|shard| known(&shard.id, &rows).is_none()).collect();
    let kept = if unknown.is_empty() { None } else { services.feed.retention().await.map_err(RunError::Feed)? };
    let oldest = kept.map(|kept| Checkpoint::AtTimestamp(now() - kept.as_millis() as Millis));
    for shard in unknown {
        let start = match ancestor(shard, shards, &rows).map(|row| &row.checkpoint) {
            Some(time @ Checkpoint::AtTimestamp(_)) => time.clone(),
            Some(_) => Checkpoint::TrimHorizon,
            None => first(settings.start, &rows),
        };
        let indexed_through = oldest.clone().filter(|_| start == Checkpoint::TrimHorizon).unwrap_or(start.clone());
        let lease = Lease { indexed_through, ..Lease::new(shard, start, created) };
        services.leases.create(&lease).await.map_err(RunError::Leases)?;
    }
    Ok(())
}

fn known<'r>(id: &str, rows: &'r [Lease]) -> Option<&'r Lease> {
    rows.iter().find(|row| row.key == id)
}

/// The row of a known shard that a shard comes of, over shards between that may not be known.
fn ancestor<'r>(shard: &Shard, shards: &[Shard], rows: &'r [Lease]) -> Option<&'r Lease> {
    let (mut seen, mut next) = (BTreeSet::new(), shard.parents.iter().collect::<Vec<_>>());
    while let Some(parent) = next.pop() {
        if let Some(row) = known(parent, rows) {
            return Some(row);
        }
        if seen.insert(parent) {
            next.extend(shards.iter().filter(|shard| shard.id == *parent).flat_map(|shard| &shard.parents));
        }
    }
    None
}

/// Where a shard begins that comes of no known one. By `LATEST` that is the time of the first start;
/// where no row tells it any more, nothing may be passed over.
fn first(start: StartAt, rows: &[Lease]) -> Checkpoint {
    let begun = rows.iter().filter_map(|row| match row.checkpoint {
        Checkpoint::AtTimestamp(at) => Some(at),
        _ => None,
    });
    match (start, begun.min()) {
        (StartAt::AtTimestamp(at), _) | (StartAt::Latest(_), Some(at)) => Checkpoint::AtTimestamp(at),
        (StartAt::Latest(now), None) if rows.is_empty() => Checkpoint::AtTimestamp(now),
        (StartAt::Latest(_) | StartAt::TrimHorizon, _) => Checkpoint::TrimHorizon,
    }
}

/// A stream that was deleted and made anew numbers its records anew: going on from the
/// old row would skip or double them.
fn refuse_other_stream(row: &Lease, created: Option<Millis>) -> Result<(), RunError> {
    match (row.stream_created, created) {
        (Some(row_created), Some(stream)) if row_created != stream => {
            Err(RunError::OtherStream { key: row.key.clone(), row: row_created, stream })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::{MemoryArchive, MemoryFeed, MemoryIndex, MemoryLeases};
    use crate::leases::leader::Leader;
    use std::sync::atomic::Ordering;
    use tokio::task::JoinHandle;

    /// What several processors share.
    struct Rig {
        feed: Arc<MemoryFeed>,
        leases: Arc<MemoryLeases>,
        archive: Arc<MemoryArchive>,
        index: Arc<MemoryIndex>,
    }

    impl Rig {
        fn of_shards(shards: usize) -> Rig {
            Rig {
                feed: Arc::new(MemoryFeed::of_shards(shards)),
                leases: Arc::default(),
                archive: Arc::default(),
                index: Arc::default(),
            }
        }

        fn services(&self) -> Services {
            Services {
                feed: self.feed.clone(),
                leases: self.leases.clone(),
                archive: self.archive.clone(),
                index: self.index.clone(),
                meter: Arc::default(),
            }
        }

        fn start(&self, worker: &str) -> (CancellationToken, JoinHandle<Result<(), RunError>>) {
            let services = self.services();
            let (settings, stop) = (Settings::new("s", worker.to_owned()), CancellationToken::new());
            (stop.clone(), tokio::spawn(crate::run(settings, services, stop)))
        }

        /// How many shards each of two workers holds.
        fn shares(&self) -> [usize; 2] {
            let rows = self.leases.rows.lock().unwrap();
            ["one", "two"].map(|worker| rows.iter().filter(|row| row.owner.as_deref() == Some(worker)).count())
        }

        /// Checks that of each shard all records are archived, and each once.
        fn assert_each_record_is_archived_once(&self) {
            let mut archived = self.archive.records();
            archived.sort();
            // What came in the last second may not have been read.
            let last = self.feed.last() - 1;
            archived.retain(|(_, number)| *number <= last);
            let of = |shard: usize| (1..=last).map(move |number| (format!("shard-{shard}"), number));
            assert_eq!(archived, (0..self.feed.shards).flat_map(of).collect::<Vec<_>>());
        }
    }

    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_whose_taking_was_not_answered_is_worked_on() {
        let rig = Rig::of_shards(1);
        rig.leases.unheard.store(2, Ordering::Relaxed);
        let (stop, run) = rig.start("one");
        seconds(10).await;
        stop.cancel();
        run.await.unwrap().unwrap();
        rig.assert_each_record_is_archived_once();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_could_not_be_renewed_in_time_is_worked_on_again() {
        let rig = Rig::of_shards(2);
        let (stop, run) = rig.start("one");
        seconds(5).await;
        rig.leases.is_away.store(true, Ordering::Relaxed);
        seconds(60).await;
        rig.leases.is_away.store(false, Ordering::Relaxed);
        seconds(60).await;
        let read = rig.feed.read();
        seconds(30).await;
        assert!(rig.feed.read() >= read + 30, "both shards are read on");
        stop.cancel();
        run.await.unwrap().unwrap();
        rig.assert_each_record_is_archived_once();
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_processor_is_given_half_of_the_shards_and_a_stopped_one_leaves_all_to_the_other() {
        let rig = Rig::of_shards(5);
        let (stop_one, one) = rig.start("one");
        seconds(5).await;
        assert_eq!(rig.shares(), [5, 0]);
        let (stop_two, two) = rig.start("two");
        seconds(60).await;
        assert_eq!(rig.shares(), [3, 2]);
        let given = rig.leases.rows.lock().unwrap().iter().map(|row| row.owner_switches).max();
        assert!(given.is_some_and(|times| times <= 2), "each lease has changed hands once: {given:?}");
        stop_one.cancel();
        one.await.unwrap().unwrap();
        seconds(10).await;
        assert_eq!(rig.shares(), [0, 5]);
        stop_two.cancel();
        two.await.unwrap().unwrap();
        rig.assert_each_record_is_archived_once();
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_that_is_away_keeps_no_shard_from_who_asks_for_it_and_no_processor_from_its_stop() {
        let rig = Rig::of_shards(2);
        rig.index.hangs.store(true, Ordering::Relaxed);
        let one = rig.start("one");
        seconds(5).await;
        assert_eq!(rig.shares(), [2, 0]);
        let runs = [one, rig.start("two")];
        seconds(90).await;
        assert_eq!(rig.shares(), [1, 1]);
        let stopped = Instant::now();
        for (stop, run) in runs {
            stop.cancel();
            run.await.unwrap().unwrap();
        }
        assert!(stopped.elapsed() < Duration::from_secs(50), "{:?}", stopped.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_a_leader_of_kcl_3_rules_is_refused() {
        let rig = Rig::of_shards(1);
        let leader = |version: u64| {
            let (owner, version) = ("worker-1".to_owned(), version.to_string());
            *rig.leases.leader.lock().unwrap() = Some(Leader { owner, version, duration: Duration::from_secs(120) });
        };
        leader(1);
        let (_stop, run) = rig.start("one");
        seconds(30).await;
        leader(2);
        let error = run.await.unwrap().unwrap_err().to_string();
        let expected = "the lease table is in use by the Kinesis Client Library 3, whose leader `worker-1` assigns \
                        all leases; give this processor a lease table of its own";
        assert_eq!((error.as_str(), rig.shares()), (expected, [0, 0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_gone_is_waited_for_and_passed_over() {
        let rig = Rig::of_shards(1);
        let (owner, version) = ("worker-1".to_owned(), "1".to_owned());
        *rig.leases.leader.lock().unwrap() = Some(Leader { owner, version, duration: Duration::from_secs(120) });
        let (stop, run) = rig.start("one");
        seconds(110).await;
        assert_eq!(rig.shares(), [0, 0]);
        seconds(20).await;
        assert_eq!(rig.shares(), [1, 0]);
        stop.cancel();
        run.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_was_deleted_is_made_again_and_its_shard_is_read_on() {
        let rig = Rig::of_shards(3);
        let (stop, run) = rig.start("one");
        seconds(70).await;
        rig.leases.rows.lock().unwrap().remove(1);
        seconds(20).await;
        assert_eq!(rig.shares(), [3, 0]);
        stop.cancel();
        run.await.unwrap().unwrap();
        rig.assert_each_record_is_archived_once();
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_has_one_reader_although_all_rows_were_deleted() {
        let rig = Rig::of_shards(10);
        let (stop, run) = rig.start("one");
        seconds(70).await;
        rig.leases.rows.lock().unwrap().clear();
        seconds(60).await;
        assert_eq!(rig.shares(), [10, 0]);
        let (read, last) = (rig.feed.read(), rig.feed.last());
        seconds(100).await;
        assert_eq!(rig.feed.read() - read, 10 * (rig.feed.last() - last) as usize);
        stop.cancel();
        run.await.unwrap().unwrap();
        rig.assert_each_record_is_archived_once();
    }

    #[tokio::test]
    async fn a_new_row_wants_indexed_what_the_stream_still_keeps_or_what_arrived_since_it_is_to_begin() {
        let day = 86_400_000;
        let rows = async |keeps: Option<Duration>, start: StartAt| {
            let mut feed = MemoryFeed::of_shards(1);
            feed.keeps = keeps;
            let rig = Rig { feed: Arc::new(feed), ..Rig::of_shards(1) };
            let settings = Settings { start, ..Settings::new("s", "one".to_owned()) };
            let shards = rig.services().feed.shards().await.unwrap();
            ensure_rows(&rig.services(), &settings, &shards).await.unwrap();
            let rows = rig.leases.rows.lock().unwrap().clone();
            (rows[0].checkpoint.clone(), rows[0].indexed_through.clone())
        };
        let before = now();
        let (checkpoint, indexed) = rows(Some(Duration::from_secs(86_400)), StartAt::TrimHorizon).await;
        let Checkpoint::AtTimestamp(at) = indexed else { panic!("{indexed:?}") };
        assert_eq!(checkpoint, Checkpoint::TrimHorizon);
        assert!((before - day..=now() - day).contains(&at), "{at}");
        let horizon = Checkpoint::TrimHorizon;
        assert_eq!(rows(None, StartAt::TrimHorizon).await, (horizon.clone(), horizon));
        let begun = Checkpoint::AtTimestamp(before);
        assert_eq!(rows(Some(Duration::from_secs(86_400)), StartAt::AtTimestamp(before)).await, (begun.clone(), begun));
    }

    #[tokio::test]
    async fn latest_is_the_time_of_the_first_start_for_all_shards_whoever_starts_and_splits_meanwhile() {
        let shard = |id: &str, parents: &[&str]| Shard {
            id: id.to_owned(),
            parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
            starting_hash_key: "0".to_owned(),
            ending_hash_key: "1".to_owned(),
        };
        let rig = Rig::of_shards(1);
        let begin = async |start: StartAt, shards: &[Shard]| {
            let settings = Settings { start, ..Settings::new("s", "one".to_owned()) };
            ensure_rows(&rig.services(), &settings, shards).await.unwrap();
            let rows = rig.leases.rows.lock().unwrap().clone();
            rows.into_iter().map(|row| (row.key, row.checkpoint)).collect::<Vec<_>>()
        };
        let ensure = async |at: Millis, shards: &[Shard]| begin(StartAt::Latest(at), shards).await;
        let row = |id: &str, checkpoint: Checkpoint| (id.to_owned(), checkpoint);
        // The first start dies with one row of two written; the next one is later.
        let mut shards = vec![shard("a", &[])];
        assert_eq!(ensure(100, &shards).await, [row("a", Checkpoint::AtTimestamp(100))]);
        shards.push(shard("b", &[]));
        assert_eq!(ensure(200, &shards).await[1], row("b", Checkpoint::AtTimestamp(100)));
        // A shard is split, before the first start or while nobody runs, and one of its children again.
        shards.extend([shard("d", &["c"]), shard("c", &["a"])]);
        let rows = ensure(300, &shards).await;
        assert_eq!(rows[2..], [row("d", Checkpoint::AtTimestamp(100)), row("c", Checkpoint::AtTimestamp(100))]);
        // Rows that have moved on, of which one is deleted, tell no time.
        for row in &mut *rig.leases.rows.lock().unwrap() {
            row.checkpoint = Checkpoint::TrimHorizon;
        }
        rig.leases.rows.lock().unwrap().remove(0);
        assert_eq!(ensure(400, &shards).await[3], row("a", Checkpoint::TrimHorizon));
        // Of a shard that has been read since, all that follows is wanted.
        shards.push(shard("e", &["d"]));
        assert_eq!(ensure(500, &shards).await[4], row("e", Checkpoint::TrimHorizon));
        shards.push(shard("f", &["e"]));
        let rows = begin(StartAt::AtTimestamp(600), &shards).await;
        assert_eq!(rows[5], row("f", Checkpoint::TrimHorizon), "another start is for another table");
    }

    #[tokio::test(start_paused = true)]
    async fn processors_that_start_together_share_at_once() {
        let rig = Rig::of_shards(8);
        let runs = [rig.start("one"), rig.start("two")];
        seconds(3).await;
        let [one, two] = rig.shares();
        assert!(one > 1 && two > 1, "{one} and {two}");
        for (stop, run) in runs {
            stop.cancel();
            run.await.unwrap().unwrap();
        }
    }
}
