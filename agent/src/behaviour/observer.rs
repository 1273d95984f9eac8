//! The engine among the stations: what it is shown, and what is kept of it.
//!
//! Its state stands at the head of each segment of the spool, and the frames behind it say
//! what came since. So an agent that was killed knows again what it knew when the last of
//! its frames was written: the lines after that are read again, and seen again. Some of them
//! the state knows already, those of other files that waited for their frame when it was
//! saved; so it tells how far it has seen each file, and what was seen is not counted twice.

use super::{Engine, Limits, Line, Place, Seen, Told};
use bytes::Bytes;
use event::attack::Attack;
use event::frame;
use event::gzip::gzip;
use event::{Event, Incident, LifeId, Millis, Parsed};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How often open incidents are told of again while they go on.
const CATCH_UP: Duration = Duration::from_secs(60);

/// What is kept of an observer.
#[derive(Serialize)]
struct Saved<'a> {
    engine: &'a Engine,
    seen_to: &'a BTreeMap<LifeId, u64>,
    last: Option<Millis>,
}

#[derive(Deserialize)]
struct Kept {
    engine: Engine,
    seen_to: BTreeMap<LifeId, u64>,
    #[serde(default)]
    last: Option<Millis>,
}

/// gzip's level for the state: it is written while lines wait.
const LEVEL: u8 = 1;

/// Lives of which is known how far they were seen.
const LIVES_MAX: usize = 1_024;

/// How long a file counts as one that is still being read.
const STILL_READ: Duration = Duration::from_secs(10);

/// The time of a file's last line that tells one, and when that was seen.
#[derive(Debug, Clone, Copy)]
struct Clock {
    last: Millis,
    seen: Instant,
}

impl Clock {
    /// What time it is by this file: it goes on from its last line.
    fn at(&self, now: Instant) -> Millis {
        self.last.saturating_add(now.saturating_duration_since(self.seen).as_millis() as Millis)
    }
}

/// An engine, and what time it is for it.
#[derive(Debug)]
pub struct Observer {
    engine: Engine,
    /// Where the lines end that were seen of a life.
    seen_to: BTreeMap<LifeId, u64>,
    clocks: BTreeMap<LifeId, Clock>,
    /// That of the last line of all.
    last: Option<Clock>,
    caught_up: Instant,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(host: &str, limits: Limits, now: Instant) -> Observer {
        let engine = Engine::new(host, limits);
        Observer { engine, seen_to: BTreeMap::new(), clocks: BTreeMap::new(), last: None, caught_up: now }
    }

    /// Goes on from a state that was [saved](Observer::save) and the frames written since. A
    /// state that this program does not read is as none.
    pub fn restore(host: &str, limits: Limits, state: &[u8], frames: Vec<Bytes>, now: Instant) -> Observer {
        let mut observer = Observer::new(host, limits, now);
        if !state.is_empty() {
            match serde_json::from_reader(GzDecoder::new(state)) {
                Ok(Kept { mut engine, seen_to, last }) => {
                    engine.limit(limits);
                    let last = last.map(|last| Clock { last, seen: now });
                    (observer.engine, observer.seen_to, observer.last) = (engine, seen_to, last);
                }
                Err(cause) => tracing::warn!(%cause, "what was known of behaviour cannot be read; it is learned anew"),
            }
        }
        for (_, events) in frames.into_iter().filter_map(|frame| frame::decode(&frame).ok()) {
            events.iter().for_each(|event| observer.again(event));
        }
        observer
    }

    /// Sees an event of a frame again.
    fn again(&mut self, event: &Event) {
        if let Some(incident) = &event.incident {
            return self.engine.was_told(incident);
        }
        if event.gap.is_some() || event.duplicate_of.is_some() {
            return;
        }
        let shown = event.shown();
        let parsed = event.origin.parse(&shown);
        let written = parsed.time().map_or(&b""[..], |time| time.written);
        let place = Place { life: event.origin.life, offset: event.offset, length: event.length, written };
        self.see(place, &parsed, event.client, event.attack.as_ref(), event.time);
    }

    /// Sees a line as it leaves the host. `client` is who a trusted proxy passed on; `read`
    /// is when the line was read.
    pub fn see(
        &mut self,
        place: Place<'_>,
        shown: &Parsed<'_>,
        client: Option<IpAddr>,
        attack: Option<&Attack>,
        read: Millis,
    ) -> Told {
        if !self.is_new(place) {
            return Told::default();
        }
        if let Some(time) = shown.time() {
            let clock = Clock { last: time.at, seen: Instant::now() };
            self.last = Some(clock);
            self.clocks.insert(place.life, clock);
            if self.clocks.len() > LIVES_MAX {
                self.clocks.retain(|_, other| clock.seen.duration_since(other.seen) <= STILL_READ);
            }
        }
        let line = match shown {
            Parsed::Access(access) => match client.or_else(|| shown.client_ip()) {
                Some(client) => Line::Access { client, access, attack },
                None => return Told::default(),
            },
            Parsed::Error(error) => Line::Error { client: shown.client_ip(), error },
            Parsed::TailHeader(_) | Parsed::Odd(_) => return Told::default(),
        };
        // A line without a time was written behind the one before it.
        let before = || self.clocks.get(&place.life).or(self.last.as_ref()).map(|clock| clock.last);
        let at = shown.time().map(|time| time.at).or_else(before).unwrap_or(read);
        self.engine.observe(&Seen { place, at, line })
    }

    /// Whether a line has not been seen before. One that was read again has the same place.
    fn is_new(&mut self, place: Place<'_>) -> bool {
        let seen_to = self.seen_to.entry(place.life).or_default();
        let is_new = place.offset >= *seen_to;
        if is_new {
            *seen_to = place.offset.saturating_add(place.length).saturating_add(1);
        }
        if self.seen_to.len() > LIVES_MAX {
            self.seen_to.pop_first();
        }
        is_new
    }

    /// What there is to tell as time goes by: incidents that are over, and, once a minute,
    /// how the others stand. Between lines, time goes on from the last one's.
    pub fn pass(&mut self, now: Instant) -> Vec<Incident> {
        let Some(time) = self.time(now) else { return Vec::new() };
        let mut told = self.engine.pass(time);
        if now.saturating_duration_since(self.caught_up) >= CATCH_UP {
            self.caught_up = now;
            told.extend(self.engine.catch_up());
        }
        told
    }

    /// What time it is. Of files that are being read the one that is behind says it: its lines are
    /// still to come.
    fn time(&self, now: Instant) -> Option<Millis> {
        let is_read = |clock: &&Clock| now.saturating_duration_since(clock.seen) <= STILL_READ;
        let behind = self.clocks.values().filter(is_read).map(|clock| clock.at(now)).min();
        behind.or_else(|| self.last.map(|clock| clock.at(now)))
    }

    /// How all incidents stand, where that has not been told.
    pub fn catch_up(&mut self) -> Vec<Incident> {
        self.engine.catch_up()
    }

    /// The state, for [`Observer::restore`].
    pub fn save(&self) -> Bytes {
        let saved = Saved { engine: &self.engine, seen_to: &self.seen_to, last: self.last.map(|clock| clock.last) };
        let text = serde_json::to_vec(&saved).expect("plain data turns into JSON");
        Bytes::from(gzip(&text, LEVEL))
    }

    /// The incidents that were told of: open ones, and the last that have ended.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.engine.incidents()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Classifier, Format};

    const LINE: &str =
        r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /a?id=1'+union+select+1,2--+ HTTP/1.1" 404 5 "-" "-""#;

    /// Sees a line of the attacker's at the offset of a file's life.
    fn see(observer: &mut Observer, life: u8, offset: u64) -> Told {
        let parsed = Format::Combined.parse(LINE.as_bytes());
        let attack = Classifier::embedded().classify(parsed.access().unwrap());
        let written = parsed.time().unwrap().written;
        let place = Place { life: LifeId([life; 16]), offset, length: LINE.len() as u64, written };
        observer.see(place, &parsed, None, attack.as_ref(), 0)
    }

    #[test]
    fn a_line_that_waited_for_its_frame_when_the_state_was_saved_is_not_counted_twice() {
        let now = Instant::now();
        let mut observer = Observer::new("h", Limits::default(), now);
        see(&mut observer, 1, 0);
        see(&mut observer, 2, 0);
        // The frame of the first life begins a segment; that of the second is lost with the agent.
        let state = observer.save();
        let mut again = Observer::restore("h", Limits::default(), &state, Vec::new(), now);
        assert_eq!(see(&mut again, 2, 0), Told::default());
        see(&mut again, 2, 1_000);
        let incidents: Vec<_> = again.catch_up();
        assert_eq!(incidents[0].findings, 3, "{incidents:#?}");
    }

    #[test]
    fn a_file_that_is_hours_ahead_of_another_one_ends_no_incident_of_it() {
        let now = Instant::now();
        let mut observer = Observer::new("h", Limits::default(), now);
        see(&mut observer, 1, 0);
        let ahead = br#"192.0.2.9 - - [16/Nov/2026:12:00:25 +0000] "GET / HTTP/1.1" 200 5 "-" "-""#;
        let parsed = Format::Combined.parse(ahead);
        let written = parsed.time().unwrap().written;
        let place = Place { life: LifeId([2; 16]), offset: 0, length: ahead.len() as u64, written };
        observer.see(place, &parsed, None, None, 0);
        let is_over = |told: Vec<Incident>| told.iter().any(|one| one.is_over);
        assert!(!is_over(observer.pass(Instant::now())));
        // Nothing more comes of either: the time is that of the last line of all.
        assert!(is_over(observer.pass(Instant::now() + Duration::from_secs(60))));
    }

    #[test]
    fn an_incident_ends_though_no_line_comes_after_a_restart() {
        let now = Instant::now();
        let mut observer = Observer::new("h", Limits::default(), now);
        see(&mut observer, 1, 0);
        let mut again = Observer::restore("h", Limits::default(), &observer.save(), Vec::new(), now);
        assert_eq!(again.pass(now + Duration::from_secs(29 * 60)).iter().filter(|one| one.is_over).count(), 0);
        let told = again.pass(now + Duration::from_secs(30 * 60));
        assert!(told.len() == 1 && told[0].is_over, "{told:#?}");
    }
}
