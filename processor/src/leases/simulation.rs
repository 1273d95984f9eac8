//! Workers that share leases, as a simulation: the real planner and the real holder, on a
//! table in memory, with trouble drawn from a seed.
//!
//! Workers crash and come back, stand still (with or without their clocks) and go on, and
//! their clocks run at different rates and jump ahead. The table throttles, makes a write and
//! loses the answer, or makes a write long after its caller has given up. Shards end and have
//! children. Always:
//!
//! - a row is written by who knows all of it as it is, although the table compares three fields;
//! - a cursor is moved by the worker that the row names, so by one at most;
//! - a cursor never moves back;
//! - a worker has one task at most for a shard;
//!
//! and two failover times after the trouble has ended every shard that can be read has a
//! worker; a while later what workers hold is within one of each other.

use super::keep::{Cursors, Held, Written};
use super::plan::{Observer, Plan, asked, in_hand, renewed_meanwhile, taken};
use super::{Checkpoint, Lease, Swap};
use crate::doubles::Dice;
use crate::receive::{SequenceNumber, Shard};
use std::time::{Duration, Instant};

/// The simulation's step. A round comes every three steps of a good clock, a renewal every four.
const STEP: Duration = Duration::from_millis(100);

const FAILOVER: Duration = Duration::from_millis(1_200);

const FAILOVER_STEPS: u64 = 12;

/// How a call to the table goes.
enum Fate {
    Answered,
    /// It has no effect.
    Refused,
    /// It has its effect, and the caller hears of an error.
    Unheard,
    /// The caller hears of an error, and it has its effect later.
    Late,
}

/// A write on its way.
struct Write {
    at: u64,
    by: String,
    old: Lease,
    new: Lease,
}

/// The lease table.
struct Table {
    rows: Vec<Lease>,
    on_the_way: Vec<Write>,
    /// The seed, for messages.
    seed: u64,
}

impl Table {
    fn swap(&mut self, by: &str, old: &Lease, new: &Lease) -> Swap {
        let row = self.rows.iter_mut().find(|row| row.key == old.key).unwrap();
        if row.owner != old.owner || row.counter != old.counter || row.handoff_to != old.handoff_to {
            return Swap::Lost(Some(Box::new(row.clone())));
        }
        assert_eq!(row, old, "seed {}: {by} overwrites what it does not know", self.seed);
        let is_moved = new.checkpoint != row.checkpoint || new.indexed_through != row.indexed_through;
        let is_by_owner = row.owner.as_deref() == Some(by);
        assert!(is_by_owner || !is_moved, "seed {}: {by} moves a cursor of {row:?}", self.seed);
        let back = place(&new.checkpoint) < place(&row.checkpoint);
        assert!(!back, "seed {}: {} goes back to {}", self.seed, row.key, new.checkpoint);
        *row = new.clone();
        Swap::Done
    }

    fn call(&mut self, fate: Fate, now: u64, by: &str, old: &Lease, new: &Lease) -> Option<Swap> {
        match fate {
            Fate::Answered => Some(self.swap(by, old, new)),
            Fate::Refused => None,
            Fate::Unheard => {
                self.swap(by, old, new);
                None
            }
            Fate::Late => {
                let (at, by) = (now + 1 + new.counter % 20, by.to_owned());
                self.on_the_way.push(Write { at, by, old: old.clone(), new: new.clone() });
                None
            }
        }
    }

    fn step(&mut self, now: u64) {
        while let Some(at) = self.on_the_way.iter().position(|write| write.at <= now) {
            let write = self.on_the_way.swap_remove(at);
            self.swap(&write.by, &write.old, &write.new);
        }
    }
}

fn place(checkpoint: &Checkpoint) -> u64 {
    match checkpoint {
        Checkpoint::At(sequence) => sequence.as_str().parse().unwrap(),
        Checkpoint::ShardEnd => u64::MAX,
        Checkpoint::TrimHorizon | Checkpoint::AtTimestamp(_) => 0,
    }
}

/// A shard in work.
struct Task {
    held: Held,
    place: u64,
    is_stopping: bool,
}

impl Task {
    /// The cursors to be written. A shard ends with its tenth record, if it is one that ends.
    fn cursors(&self) -> Cursors {
        let number = |place: u64| Checkpoint::At(SequenceNumber::new(&place.to_string()).unwrap());
        let checkpoint = if self.is_at_end() { Checkpoint::ShardEnd } else { number(self.place) };
        let children = self.held.lease.children.clone();
        Cursors { indexed_through: checkpoint.clone(), checkpoint, checkpoint_arrival: None, children }
    }

    fn is_at_end(&self) -> bool {
        self.place >= 10 && self.held.lease.ending_hash_key == "ends"
    }
}

/// A write that was planned.
enum Action {
    Take(Lease),
    Ask(Lease),
}

struct Worker {
    name: String,
    clock: Instant,
    /// Of 20 steps this one's clock makes so many.
    rate: u32,
    paused_until: u64,
    is_clock_paused: bool,
    observer: Observer,
    round_at: Instant,
    tasks: Vec<Task>,
    planned: Vec<Action>,
}

impl Worker {
    fn new(name: String, start: Instant, dice: &mut Dice) -> Worker {
        let clock = start + STEP * dice.below(1_000) as u32;
        Worker {
            observer: Observer::new(&name, FAILOVER),
            name,
            clock,
            rate: 19 + dice.below(3) as u32,
            paused_until: 0,
            is_clock_paused: false,
            round_at: clock,
            tasks: Vec::new(),
            planned: Vec::new(),
        }
    }

    fn now(&self) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.clock)
    }

    fn step(&mut self, table: &mut Table, now: u64, trouble: &mut Trouble) {
        let is_paused = now < self.paused_until;
        if !(is_paused && self.is_clock_paused) {
            self.clock += STEP * self.rate / 20;
        }
        if is_paused {
            return;
        }
        if trouble.one_in(200) {
            self.clock += FAILOVER;
        }
        self.act(table, now, trouble);
        if self.clock >= self.round_at && self.planned.is_empty() {
            self.round_at = self.clock + FAILOVER / 4;
            if !trouble.one_in(8) {
                self.plan(table);
            }
        }
        let tasks = std::mem::take(&mut self.tasks);
        self.tasks = tasks.into_iter().filter_map(|task| self.work(task, table, now, trouble)).collect();
    }

    /// A round, as the supervisor makes it. Its writes come with the next steps.
    fn plan(&mut self, table: &Table) {
        self.observer.observe(&table.rows, self.clock);
        let is_worked_on = |key: &str| self.tasks.iter().any(|task| task.held.lease.key == key);
        let Plan { take, ask, give } = self.observer.plan(&table.rows, is_worked_on, self.clock);
        let take = take.into_iter().map(|row| Action::Take(row.clone()));
        self.planned = take.chain(ask.map(|row| Action::Ask(row.clone()))).collect();
        for task in &mut self.tasks {
            task.is_stopping |= give.iter().any(|row| row.key == task.held.lease.key);
        }
    }

    /// Makes the writes that were planned, sometimes not all of them at once.
    fn act(&mut self, table: &mut Table, now: u64, trouble: &mut Trouble) {
        while !self.planned.is_empty() && !trouble.one_in(6) {
            match self.planned.remove(0) {
                Action::Take(row) => {
                    let lease = taken(&row, &self.name);
                    let answer = table.call(trouble.fate(), now, &self.name, &row, &lease);
                    // An error ends the round.
                    let Some(answer) = answer else { return self.planned.clear() };
                    let Some(lease) = in_hand(lease, answer) else { continue };
                    let is_new = self.tasks.iter().all(|task| task.held.lease.key != lease.key);
                    assert!(is_new, "seed {}: a second task for {}", table.seed, lease.key);
                    let place = place(&lease.checkpoint);
                    let held = Held { lease, failover: FAILOVER, renewed: self.now() };
                    self.tasks.push(Task { held, place, is_stopping: false });
                }
                Action::Ask(row) => {
                    let answer = table.call(trouble.fate(), now, &self.name, &row, &asked(&row, &self.name));
                    let again = answer.and_then(|answer| renewed_meanwhile(&row, answer));
                    self.planned.extend(again.map(Action::Ask));
                }
            }
        }
    }

    /// A task's step, as the keeper makes it. `None` when it has ended.
    fn work(&self, mut task: Task, table: &mut Table, now: u64, trouble: &mut Trouble) -> Option<Task> {
        let moves = !task.is_stopping && !task.is_at_end() && trouble.one_in(3);
        task.place += u64::from(moves);
        let keep = !(task.is_stopping || task.is_at_end());
        if keep && !moves && self.now() < task.held.due() {
            return Some(task);
        }
        let next = task.held.next(&task.cursors(), keep);
        let old = task.held.lease.clone();
        let written = table.call(trouble.fate(), now, &self.name, &old, &next);
        match written.map(|answer| task.held.answered(next, self.now(), answer)) {
            Some(Written::Yes) => keep.then_some(task),
            Some(Written::Lost) => None,
            Some(Written::Again) => Some(task),
            None if task.held.is_over(self.now()) => None,
            None => Some(task),
        }
    }
}

/// What goes wrong, while it does.
struct Trouble {
    dice: Dice,
    is_over: bool,
}

impl Trouble {
    fn one_in(&mut self, times: u64) -> bool {
        !self.is_over && self.dice.one_in(times)
    }

    fn fate(&mut self) -> Fate {
        if self.is_over {
            return Fate::Answered;
        }
        match self.dice.below(10) {
            0 => Fate::Refused,
            1 => Fate::Unheard,
            2 => Fate::Late,
            _ => Fate::Answered,
        }
    }
}

/// Up to five shards; of some the tenth record is the last one, and some are children of others.
fn rows(dice: &mut Dice) -> Vec<Lease> {
    let mut rows: Vec<Lease> = Vec::new();
    for number in 0..=dice.below(5) {
        let parents = rows.iter().filter(|row| row.ending_hash_key == "ends" && dice.one_in(2));
        let parents: Vec<_> = parents.map(|row| row.key.clone()).take(2).collect();
        let ends = if dice.one_in(3) { "ends" } else { "stays" };
        let (id, starting_hash_key, ending_hash_key) = (format!("shard-{number}"), String::new(), ends.to_owned());
        rows.push(Lease::new(
            &Shard { id, parents, starting_hash_key, ending_hash_key },
            Checkpoint::TrimHorizon,
            None,
        ));
    }
    rows
}

/// A schedule from its beginning to its end.
struct Schedule {
    table: Table,
    workers: Vec<Worker>,
    starts: u64,
    trouble: Trouble,
    now: u64,
    start: Instant,
}

impl Schedule {
    fn new(seed: u64) -> Schedule {
        let mut dice = Dice(seed);
        let table = Table { rows: rows(&mut dice), on_the_way: Vec::new(), seed };
        let trouble = Trouble { dice, is_over: false };
        Schedule { table, workers: Vec::new(), starts: 0, trouble, now: 0, start: Instant::now() }
    }

    fn add_worker(&mut self) {
        self.starts += 1;
        self.workers.push(Worker::new(format!("w{}", self.starts), self.start, &mut self.trouble.dice));
    }

    fn step(&mut self) {
        self.now += 1;
        self.table.step(self.now);
        for worker in &mut self.workers {
            worker.step(&mut self.table, self.now, &mut self.trouble);
        }
    }

    /// Crashes, starts and pauses.
    fn disturb(&mut self) {
        if self.trouble.one_in(30) && !self.workers.is_empty() {
            let at = self.trouble.dice.below(self.workers.len() as u64) as usize;
            self.workers.swap_remove(at);
        }
        if self.trouble.one_in(25) && self.workers.len() < 6 {
            self.add_worker();
        }
        for worker in &mut self.workers {
            if self.trouble.one_in(80) {
                worker.paused_until = self.now + self.trouble.dice.below(3 * FAILOVER_STEPS);
                worker.is_clock_paused = self.trouble.one_in(2);
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..=self.trouble.dice.below(6) {
            self.add_worker();
        }
        for _ in 0..self.trouble.dice.below(5 * FAILOVER_STEPS) {
            self.disturb();
            self.step();
        }
        if self.workers.is_empty() {
            self.add_worker();
        }
        self.trouble.is_over = true;
        self.table.step(u64::MAX);
        self.workers.iter_mut().for_each(|worker| worker.paused_until = 0);
        let open = self.open();
        // The slowest clock makes 19 of 20 steps.
        for _ in 0..2 * FAILOVER_STEPS * 20 / 19 + 1 {
            self.step();
        }
        let alone: Vec<_> = open.iter().filter(|key| !self.is_in_hand(key)).collect();
        assert!(alone.is_empty(), "seed {}: nobody works on {alone:?}: {:#?}", self.table.seed, self.table.rows);
    }

    /// Shards that can be read.
    fn open(&self) -> Vec<String> {
        let is_past = |row: &Lease| row.checkpoint == Checkpoint::ShardEnd;
        let rows = &self.table.rows;
        let can_be_read = |row: &&Lease| {
            !is_past(row) && row.parents.iter().all(|parent| rows.iter().any(|row| row.key == *parent && is_past(row)))
        };
        rows.iter().filter(can_be_read).map(|row| row.key.clone()).collect()
    }

    /// Whether a worker works on the shard, or is about to take it from another one that does no more.
    fn is_in_hand(&self, key: &str) -> bool {
        let row = self.table.rows.iter().find(|row| row.key == key).unwrap();
        let worker = |name: &Option<String>| self.workers.iter().find(|worker| Some(&worker.name) == name.as_ref());
        let works = |worker: &Worker| worker.tasks.iter().any(|task| task.held.lease.key == key);
        let is_handed_over = row.owner.is_none() && worker(&row.handoff_to).is_some();
        row.checkpoint == Checkpoint::ShardEnd || worker(&row.owner).is_some_and(works) || is_handed_over
    }

    /// Goes on until shares are even.
    fn settle(&mut self) {
        let steps = FAILOVER_STEPS * (2 + self.table.rows.len() as u64);
        for _ in 0..steps {
            self.step();
        }
        let open = self.open();
        let counts: Vec<_> = self.workers.iter().map(|worker| worker.tasks.len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), open.len(), "seed {}: {counts:?} of {open:?}", self.table.seed);
        let is_even = counts.iter().max().zip(counts.iter().min()).is_some_and(|(most, least)| most - least <= 1);
        assert!(is_even, "seed {}: {counts:?} {:#?}", self.table.seed, self.table.rows);
    }
}

fn schedules(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut schedule = Schedule::new(seed);
        schedule.run();
        schedule.settle();
    }
}

#[test]
fn whatever_happens_a_cursor_has_one_mover_and_every_shard_a_worker_soon_after() {
    schedules(0..5_000);
}

#[test]
fn whatever_else_happens_a_cursor_has_one_mover_and_every_shard_a_worker_soon_after() {
    schedules(5_000..10_000);
}
