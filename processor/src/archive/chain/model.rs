//! The chain as a model: random schedules of writers, each step drawn from a seed. What a
//! writer decides and how it lists, names, puts and adopts objects is the real code; only
//! packing is left out.
//!
//! Up to four writers work on a shard at once: each has taken the lease, and those before it
//! do not know yet (zombies). They crash anywhere; the row may be behind, or deleted; answers
//! to puts get lost; windows end wherever they like within a minute of arrival. The stream
//! forgets what is archived, and is deleted and made anew with higher numbers. At the end each
//! record is in one object, and each object follows the one before it.
//!
//! The stream forgets nothing that a running writer has still to read: a stream keeps its
//! records for a day at least, and a writer without its lease ends within the failover time.

use super::tests::Memory;
use super::*;
use crate::archive::window::{MINUTE, is_same_minute, key};
use crate::doubles::Dice;
use bytes::Bytes;

/// Records of each stream.
const LAST: u64 = 12;

/// A record: the stream's turn, and its number there.
type Id = (u64, u64);

fn sequence((turn, n): Id) -> SequenceNumber {
    SequenceNumber::new(&(turn * 1_000 + n * 3).to_string()).unwrap()
}

/// Three records a minute, four minutes an hour.
fn arrival((turn, n): Id) -> Millis {
    (turn as Millis * 10 + n as Millis / 3) * 15 * MINUTE
}

/// The row of the shard.
#[derive(Clone, Default)]
struct Row {
    owner: u64,
    archived: Option<(SequenceNumber, Option<Millis>)>,
}

enum State {
    Starting,
    Working,
    /// It has put an object, and not yet moved the checkpoint.
    Unsaved {
        begins_again: bool,
    },
}

struct Writer {
    name: u64,
    state: State,
    row: Row,
    tail: Option<Tail>,
    /// The next record that it reads.
    next: u64,
    window: Vec<u64>,
}

struct World {
    dice: Dice,
    archive: Arc<Memory>,
    turn: u64,
    /// The stream has forgotten records up to here.
    trimmed: u64,
    row: Option<Row>,
    writers: Vec<Writer>,
    starts: u64,
    /// What streams took with them that were deleted.
    gone: Vec<Id>,
}

impl World {
    fn new(seed: u64) -> World {
        let archive = Arc::<Memory>::default();
        let (writers, gone) = (Vec::new(), Vec::new());
        World { dice: Dice(seed), archive, turn: 1, trimmed: 0, row: None, writers, starts: 0, gone }
    }

    fn chain(&self) -> Chain {
        let (stream, shard) = ("s".to_owned(), "shard-0".to_owned());
        Chain { archive: self.archive.clone(), stream, shard, stream_created: Some(self.turn as Millis) }
    }

    async fn step(&mut self) {
        match self.dice.below(40) {
            0..4 if self.writers.len() < 4 => self.start(),
            4 if !self.writers.is_empty() => {
                let at = self.dice.below(self.writers.len() as u64);
                self.writers.swap_remove(at as usize);
            }
            5 => self.trim(),
            6 if self.dice.one_in(4) => self.row = None,
            7 if self.dice.one_in(8) => self.make_anew(),
            8 => *self.archive.mute.lock().unwrap() += 1,
            _ if !self.writers.is_empty() => {
                let at = self.dice.below(self.writers.len() as u64) as usize;
                self.work(at).await;
            }
            _ => {}
        }
    }

    /// A writer takes the lease.
    fn start(&mut self) {
        self.starts += 1;
        let row = Row { owner: self.starts, ..self.row.clone().unwrap_or_default() };
        self.row = Some(row.clone());
        let (name, state, window) = (self.starts, State::Starting, Vec::new());
        self.writers.push(Writer { name, state, row, tail: None, next: 0, window });
    }

    /// The stream forgets some of what is archived.
    fn trim(&mut self) {
        let newest = self.archive.objects.lock().unwrap().values().next_back().map(ids);
        let last = newest.and_then(|ids| ids.last().copied()).filter(|(turn, _)| *turn == self.turn);
        let archived = last.map_or(0, |(_, n)| n);
        let reading = self.writers.iter().filter(|writer| !matches!(writer.state, State::Starting));
        let to = reading.map(|writer| writer.next - 1).chain([archived]).min().unwrap_or(0);
        self.trimmed = self.trimmed.max(self.dice.below(to + 1));
    }

    /// The stream is deleted and made anew, and so are the rows.
    fn make_anew(&mut self) {
        let archived = self.archived();
        let turn = self.turn;
        self.gone.extend((1..=LAST).map(|n| (turn, n)).filter(|id| !archived.contains(id)));
        (self.turn, self.trimmed, self.row) = (turn + 1, 0, None);
        self.writers.clear();
    }

    async fn work(&mut self, at: usize) {
        match self.writers[at].state {
            State::Starting => self.open(at).await,
            State::Working => self.read(at).await,
            State::Unsaved { begins_again } => self.save(at, begins_again),
        }
    }

    /// Finds the chain's end, and where reading goes on.
    async fn open(&mut self, at: usize) {
        let chain = self.chain();
        let writer = &mut self.writers[at];
        let (sequence, arrival) = writer.row.archived.clone().unzip();
        let arrival = arrival.flatten();
        let known =
            sequence.map(|sequence| Tail { sequence, arrival, stream_created: chain.stream_created, is_final: false });
        writer.tail = chain.tail(known, arrival).await.unwrap();
        writer.state = State::Working;
        writer.next = match chain.start(writer.tail.as_ref()) {
            Some(Start::After(sequence)) => sequence.as_str().parse::<u64>().unwrap() % 1_000 / 3 + 1,
            _ => 1,
        };
    }

    /// Reads a record, and closes the window if it is time.
    async fn read(&mut self, at: usize) {
        let chain = self.chain();
        let n = self.writers[at].next.max(self.trimmed + 1);
        let first = self.writers[at].window.first().copied();
        let is_over = n > LAST
            || first.is_some_and(|first| !is_same_minute(arrival((self.turn, first)), arrival((self.turn, n))));
        if first.is_some() && (is_over || self.dice.one_in(4)) {
            return self.put(at, &chain).await;
        }
        if n > LAST {
            return;
        }
        let writer = &mut self.writers[at];
        writer.next = n + 1;
        match place(writer.tail.as_ref(), &sequence((self.turn, n)), chain.stream_created) {
            Place::New => writer.window.push(n),
            Place::Archived => {}
            Place::Unknown => panic!("numbers rise"),
        }
    }

    async fn put(&mut self, at: usize, chain: &Chain) {
        let writer = &mut self.writers[at];
        let window = std::mem::take(&mut writer.window);
        let (ours, object) = object(self.turn, writer.tail.as_ref(), &window);
        let end = chain.settle(&object, ours.clone()).await;
        let begins_again = after_put(&ours.sequence, &end) == After::ReadAgain;
        writer.tail = Some(end);
        writer.state = State::Unsaved { begins_again };
    }

    /// Moves the checkpoint. A writer whose lease was taken hears of it now, or later.
    fn save(&mut self, at: usize, begins_again: bool) {
        let writer = &mut self.writers[at];
        writer.state = if begins_again { State::Starting } else { State::Working };
        writer.row.archived = writer.tail.clone().map(|tail| (tail.sequence, tail.arrival));
        match &mut self.row {
            Some(row) if row.owner == writer.name => row.clone_from(&writer.row),
            _ if self.dice.one_in(2) => drop(self.writers.swap_remove(at)),
            _ => {}
        }
    }

    /// The records in the archive, in the order of the chain.
    fn archived(&self) -> Vec<Id> {
        let objects = self.archive.objects.lock().unwrap();
        let mut objects: Vec<_> = objects.values().map(ids).collect();
        objects.sort();
        objects.concat()
    }

    /// A last writer reads to the end, and nothing goes wrong any more.
    async fn end(&mut self) {
        *self.archive.mute.lock().unwrap() = 0;
        self.start();
        let at = self.writers.len() - 1;
        while !self.is_done(at) {
            self.work(at).await;
        }
        if self.dice.one_in(16) {
            let tail = self.writers[at].tail.clone();
            self.chain().finish(&tail.unwrap()).await;
        }
    }

    fn is_done(&self, at: usize) -> bool {
        let writer = &self.writers[at];
        matches!(writer.state, State::Working) && writer.next > LAST && writer.window.is_empty()
    }

    fn check(&self, seed: u64) {
        let expected = (1..=self.turn).flat_map(|turn| (1..=LAST).map(move |n| (turn, n)));
        let expected: Vec<_> = expected.filter(|id| !self.gone.contains(id)).collect();
        assert_eq!(self.archived(), expected, "seed {seed}");
        let objects = self.archive.objects.lock().unwrap();
        let mut end = "";
        for object in objects.values() {
            assert_eq!(object.metadata["prev-seq"], end, "seed {seed}: {} follows the one before", object.key);
            end = &object.metadata["last-seq"];
        }
    }
}

/// An object of these records, whose bytes tell them, and the chain's end with it.
fn object(turn: u64, tail: Option<&Tail>, window: &[u64]) -> (Tail, Object) {
    let (first, last) = ((turn, window[0]), (turn, *window.last().unwrap()));
    let ours = Tail {
        sequence: sequence(last),
        arrival: Some(arrival(last)),
        stream_created: Some(turn as Millis),
        is_final: false,
    };
    let prev = tail.map_or_else(String::new, |tail| tail.sequence.to_string());
    let metadata = [
        ("prev-seq", prev),
        ("last-seq", ours.sequence.to_string()),
        ("last-arrival", arrival(last).to_string()),
        ("stream-created", turn.to_string()),
    ];
    let bytes = window.iter().flat_map(|n| [turn as u8, *n as u8]).collect::<Vec<_>>();
    let key = key("s", "shard-0", &sequence(first), arrival(first));
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value)).into();
    (ours, Object { key, bytes: Bytes::from(bytes), metadata })
}

/// The records of an object. The one that ends the chain has none.
fn ids(object: &Object) -> Vec<Id> {
    if object.metadata.contains_key("final") {
        return Vec::new();
    }
    object.bytes.chunks(2).map(|id| (u64::from(id[0]), u64::from(id[1]))).collect()
}

fn schedules(seeds: std::ops::Range<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        for seed in seeds {
            let mut world = World::new(seed);
            for _ in 0..8 + world.dice.below(32) {
                world.step().await;
            }
            world.end().await;
            world.check(seed);
        }
    });
}

#[test]
fn in_a_hundred_thousand_schedules_no_record_is_lost_or_doubled() {
    schedules(0..50_000);
}

#[test]
fn in_the_other_half_of_them_neither() {
    schedules(50_000..100_000);
}
