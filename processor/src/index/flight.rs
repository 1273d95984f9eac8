//! How many requests to the index are under way at once: as many as it takes.
//!
//! Requests of all shards share one limit. It grows by one for each round of requests that went
//! well, and is halved when the index is overloaded or does not answer (additive increase,
//! multiplicative decrease). While the index refuses us as a whole, one request at rising
//! intervals finds out whether it still does.

use super::indices::Indices;
use crate::meter::Meter;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Between two requests while the index refuses us: from a second to a minute.
const PROBE_FIRST: Duration = Duration::from_secs(1);
const PROBE_LONGEST: Duration = Duration::from_secs(60);

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
    indices: Mutex<Indices>,
    changed: Notify,
    seats: Arc<Semaphore>,
    meter: Arc<Meter>,
}

struct State {
    limit: Limit,
    under_way: usize,
    refused: Option<Refused>,
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
        let state = State { limit: Limit::new(most), under_way: 0, refused: None, parked: 0, parked_max };
        let (indices, seats) = (Mutex::default(), Arc::new(Semaphore::new(seats)));
        let flight = Flight { state: Mutex::new(state), indices, changed: Notify::new(), seats, meter };
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

    /// What is known of the indices.
    pub fn indices(&self) -> MutexGuard<'_, Indices> {
        self.indices.lock().expect("nobody panics with it in hand")
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

    #[test]
    fn half_of_the_places_are_never_taken_by_documents_that_wait_for_their_index() {
        let flight = flight(4);
        let parked: Vec<_> = std::iter::from_fn(|| flight.park()).collect();
        assert_eq!(parked.len(), 2);
        drop(parked);
        assert!(flight.park().is_some());
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
