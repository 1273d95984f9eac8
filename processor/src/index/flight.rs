//! How many requests to the index are under way at once: as many as it takes.
//!
//! Requests of all shards share one limit. It grows by one for each round of requests that went
//! well, and is halved when the index is overloaded or does not answer (additive increase,
//! multiplicative decrease). While the index refuses us as a whole, one request at rising
//! intervals finds out whether it still does.

use crate::meter::Meter;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Between two requests while the index refuses us: from a second to a minute.
const PROBE_FIRST: Duration = Duration::from_secs(1);
const PROBE_LONGEST: Duration = Duration::from_secs(60);

/// For how long documents wait for an index that is blocked, closed or missing. After that they
/// are dead letters at once, until it takes one again, or has got none for ten minutes.
pub const TROUBLE_MAX: Duration = Duration::from_secs(120);

/// For so long is known of an index that it is in trouble, while no document finds it so.
const TROUBLE_PAST: Duration = Duration::from_secs(600);

/// Indices in trouble that are told apart.
const TROUBLED_MAX: usize = 1_000;

/// Indices of which is known when they took a document.
const TAKING_MAX: usize = 1_000;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The index has taken it; single documents may be refused.
    Taken,
    /// 429, 503, or nothing at all.
    Overloaded,
    /// 401, 403: it refuses us.
    Refused,
}

/// Requests of all shards.
pub struct Flight {
    state: Mutex<State>,
    changed: Notify,
    seats: Arc<Semaphore>,
    meter: Arc<Meter>,
}

struct State {
    limit: Limit,
    under_way: usize,
    refused: Option<Refused>,
    /// Indices that are blocked, closed or missing.
    troubled: BTreeMap<String, Trouble>,
    /// When an index took a document last.
    taken: BTreeMap<String, Instant>,
    parked: usize,
    parked_max: usize,
}

/// How many may be under way. No clock, no I/O.
#[derive(Debug)]
struct Limit {
    now: usize,
    most: usize,
    /// Requests that went well since the limit was changed.
    good: usize,
    /// How often it was halved. Requests that were sent before fail for the same reason.
    era: u64,
}

impl Limit {
    fn new(most: usize) -> Limit {
        Limit { now: most.max(1), most: most.max(1), good: 0, era: 0 }
    }

    fn good(&mut self) {
        self.good += 1;
        if self.good >= self.now {
            (self.now, self.good) = ((self.now + 1).min(self.most), 0);
        }
    }

    /// Notes that a request failed which was sent in `era`.
    fn bad(&mut self, era: u64) {
        if era == self.era {
            (self.now, self.good, self.era) = ((self.now / 2).max(1), 0, era + 1);
        }
    }
}

/// An index takes no documents.
struct Trouble {
    since: Instant,
    /// When a document found it so last.
    seen: Instant,
}

/// The index refuses us.
struct Refused {
    pause: Duration,
    ask_at: Instant,
}

/// Whether a request may be sent.
enum Admission {
    Now(u64),
    At(Instant),
    Later,
}

impl State {
    fn admit(&mut self, now: Instant) -> Admission {
        match &self.refused {
            Some(_) if self.under_way > 0 => return Admission::Later,
            Some(refused) if now < refused.ask_at => return Admission::At(refused.ask_at),
            None if self.under_way >= self.limit.now => return Admission::Later,
            _ => {}
        }
        self.under_way += 1;
        Admission::Now(self.limit.era)
    }

    fn ended(&mut self, answer: Answer, era: u64, now: Instant) {
        match answer {
            Answer::Taken => self.limit.good(),
            Answer::Overloaded => self.limit.bad(era),
            Answer::Refused => {}
        }
        match (answer, &mut self.refused) {
            (Answer::Taken, refused) => {
                if refused.take().is_some() {
                    tracing::info!("the index takes documents again");
                }
            }
            (_, Some(refused)) => {
                refused.pause = (refused.pause * 2).min(PROBE_LONGEST);
                refused.ask_at = now + refused.pause;
            }
            (Answer::Refused, refused @ None) => {
                *refused = Some(Refused { pause: PROBE_FIRST, ask_at: now + PROBE_FIRST });
                tracing::error!("the index refuses us: indexing pauses, archiving goes on");
            }
            (Answer::Overloaded, None) => {}
        }
    }
}

impl Flight {
    /// At most so many requests at once.
    pub fn new(most: usize, meter: Arc<Meter>) -> Flight {
        let most = most.max(1);
        // Where one request may be under way, a second one is filled and waits: the place of the
        // first may be taken by documents that wait for their index.
        let seats = most.max(2);
        let parked_max = seats / 2;
        let (limit, troubled, taken) = (Limit::new(most), BTreeMap::new(), BTreeMap::new());
        let state = State { limit, under_way: 0, refused: None, troubled, taken, parked: 0, parked_max };
        let flight =
            Flight { state: Mutex::new(state), changed: Notify::new(), seats: Arc::new(Semaphore::new(seats)), meter };
        flight.tell(&flight.state());
        flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the state in hand")
    }

    fn tell(&self, state: &State) {
        self.meter.bulks(state.limit.now, state.under_way, state.refused.is_some());
    }

    /// Waits for a place for a request's documents, which bounds what all of them take. Cancel safe.
    pub async fn seat(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.seats).acquire_owned().await.expect("nobody closes it")
    }

    /// Waits until a request may be sent. Cancel safe.
    pub async fn turn(&self) -> Turn<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change between the two is missed.
            changed.as_mut().enable();
            let admission = {
                let mut state = self.state();
                let admission = state.admit(Instant::now());
                self.tell(&state);
                admission
            };
            match admission {
                Admission::Now(era) => return Turn { flight: self, era },
                Admission::Later => changed.await,
                Admission::At(when) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(when) => {}
                },
            }
        }
    }

    /// Whether a document should wait for its index, which is blocked, closed or missing.
    pub fn is_worth_waiting(&self, index: &str) -> bool {
        let (mut state, now) = (self.state(), Instant::now());
        if state.troubled.len() >= TROUBLED_MAX && !state.troubled.contains_key(index) {
            state.troubled.retain(|_, trouble| now - trouble.seen < TROUBLE_PAST);
            if state.troubled.len() >= TROUBLED_MAX {
                return false;
            }
        }
        let trouble = state.troubled.entry(index.to_owned()).or_insert(Trouble { since: now, seen: now });
        if now - trouble.seen >= TROUBLE_PAST {
            // Nobody knows how it was meanwhile.
            trouble.since = now;
        }
        trouble.seen = now;
        now - trouble.since < TROUBLE_MAX
    }

    /// Notes that an index takes documents.
    pub fn works(&self, index: &str) {
        let (mut state, now) = (self.state(), Instant::now());
        state.troubled.remove(index);
        match state.taken.get_mut(index) {
            Some(taken) => *taken = now,
            None => {
                if state.taken.len() >= TAKING_MAX {
                    state.taken.retain(|_, taken| now - *taken < TROUBLE_PAST);
                }
                if state.taken.len() < TAKING_MAX {
                    state.taken.insert(index.to_owned(), now);
                }
            }
        }
    }

    /// Whether an index has taken a document since then.
    pub fn has_taken(&self, index: &str, since: Instant) -> bool {
        self.state().taken.get(index).is_some_and(|taken| *taken >= since)
    }

    /// A place for documents that wait for their index alone. There are fewer than requests, so
    /// that documents of other indices go on.
    pub fn park(&self) -> Option<Parked<'_>> {
        let mut state = self.state();
        let is_free = state.parked < state.parked_max;
        state.parked += usize::from(is_free);
        is_free.then(|| Parked(self))
    }
}

/// A request that is under way.
pub struct Turn<'a> {
    flight: &'a Flight,
    era: u64,
}

impl Turn<'_> {
    /// Tells how it ended.
    pub fn ended(self, answer: Answer) {
        self.flight.state().ended(answer, self.era, Instant::now());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.flight.state();
        state.under_way -= 1;
        self.flight.tell(&state);
        drop(state);
        self.flight.changed.notify_waiters();
    }
}

/// Documents that wait for their index.
pub struct Parked<'a>(&'a Flight);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.state().parked -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(most: usize) -> Flight {
        Flight::new(most, Arc::default())
    }

    #[test]
    fn a_burst_of_failures_halves_the_limit_once_and_each_good_round_adds_one() {
        let mut limit = Limit::new(8);
        (0..8).for_each(|_| limit.bad(0));
        assert_eq!(limit.now, 4);
        limit.bad(1);
        assert_eq!(limit.now, 2);
        (0..2).for_each(|_| limit.good());
        assert_eq!(limit.now, 3);
        (0..3).for_each(|_| limit.good());
        assert_eq!(limit.now, 4);
        (0..100).for_each(|_| limit.good());
        assert_eq!(limit.now, 8, "no more than was asked for");
        (2..10).for_each(|era| limit.bad(era));
        assert_eq!(limit.now, 1, "one always remains");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_requests_are_under_way_than_the_limit_says() {
        let flight = flight(2);
        let (first, _second) = (flight.turn().await, flight.turn().await);
        let wait = Duration::from_secs(60);
        assert!(tokio::time::timeout(wait, flight.turn()).await.is_err());
        first.ended(Answer::Overloaded);
        assert!(
            tokio::time::timeout(wait, flight.turn()).await.is_err(),
            "one is under way, and one is all there may be"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_that_refuses_us_is_asked_by_one_request_at_rising_intervals() {
        let flight = flight(4);
        flight.turn().await.ended(Answer::Refused);
        let begun = Instant::now();
        let mut asked = Vec::new();
        for _ in 0..8 {
            let turn = flight.turn().await;
            asked.push(begun.elapsed().as_secs());
            assert!(tokio::time::timeout(Duration::ZERO, flight.turn()).await.is_err(), "only one");
            turn.ended(Answer::Refused);
        }
        assert_eq!(asked, [1, 3, 7, 15, 31, 63, 123, 183]);
        flight.turn().await.ended(Answer::Taken);
        let _both = (flight.turn().await, flight.turn().await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_in_trouble_is_waited_for_once() {
        let flight = flight(4);
        assert!(flight.is_worth_waiting("a"));
        tokio::time::advance(TROUBLE_MAX).await;
        assert!(!flight.is_worth_waiting("a"));
        assert!(flight.is_worth_waiting("b"));
        flight.works("a");
        assert!(flight.is_worth_waiting("a"));
    }

    #[test]
    fn half_of_the_places_are_never_taken_by_documents_that_wait_for_their_index() {
        let flight = flight(4);
        let parked: Vec<_> = std::iter::from_fn(|| flight.park()).collect();
        assert_eq!(parked.len(), 2);
        drop(parked);
        assert!(flight.park().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_whose_trouble_nobody_has_seen_for_long_is_waited_for_again() {
        let flight = flight(4);
        assert!(flight.is_worth_waiting("a"));
        // It got no documents for a day, so nobody has noted that it works again.
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(flight.is_worth_waiting("a"));
        tokio::time::advance(TROUBLE_MAX - Duration::from_secs(1)).await;
        assert!(flight.is_worth_waiting("a"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!flight.is_worth_waiting("a"), "as long as the first time, and no longer");
    }

    #[tokio::test(start_paused = true)]
    async fn indices_whose_trouble_is_long_past_are_not_counted() {
        let flight = flight(4);
        (0..TROUBLED_MAX).for_each(|at| assert!(flight.is_worth_waiting(&at.to_string())));
        assert!(!flight.is_worth_waiting("a"));
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(flight.is_worth_waiting("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn where_one_request_may_be_under_way_another_one_finds_a_place_while_documents_wait() {
        let flight = flight(1);
        let (_seat, _parked) = (flight.seat().await, flight.park().unwrap());
        let _other = tokio::time::timeout(Duration::from_secs(60), flight.seat()).await.expect("a place is free");
        assert!(flight.park().is_none());
        let _turn = flight.turn().await;
        assert!(tokio::time::timeout(Duration::from_secs(60), flight.turn()).await.is_err(), "one is under way");
    }
}
