//! The engine among the stations: what it is shown, and what is kept of it.
//!
//! Its state stands at the head of each segment of the spool, and the frames behind it say
//! what came since. So an agent that was killed knows again what it knew when the last of
//! its frames was written: the lines after that are read again, and seen again. Some of them
//! the state knows already, those that waited for their frame when it was saved; so it tells
//! which lines those were and what they led to. They are not counted twice, and what their
//! frames would have told is told.

use super::{Engine, Limits, Line, Place, Seen, Told};
use bytes::Bytes;
use event::attack::Attack;
use event::frame;
use event::gzip::gzip;
use event::{Event, Incident, LifeId, Millis, Parsed};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How often open incidents are told of again while they go on.
const CATCH_UP: Duration = Duration::from_secs(60);

/// What is kept of an observer.
#[derive(Serialize)]
struct Saved<'a> {
    engine: &'a Engine,
    lives: &'a BTreeMap<LifeId, Watched>,
    passed: &'a VecDeque<Incident>,
    last: Option<Millis>,
}

#[derive(Deserialize)]
struct Kept {
    engine: Engine,
    #[serde(default)]
    lives: BTreeMap<LifeId, Watched>,
    #[serde(default)]
    passed: VecDeque<Incident>,
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

/// The time of a line that was read at `read`. One that tells none was written behind the line
/// before it.
fn time_of(shown: &Parsed<'_>, before: Option<Clock>, read: Millis) -> Millis {
    let own = shown.time().map(|time| time.at);
    own.or(before.map(|clock| clock.last)).unwrap_or(read)
}

/// What was seen of a life.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Watched {
    /// All lines before this offset are in frames.
    framed_to: u64,
    /// Where the others begin and end that were seen, in order. Lines that follow each other are
    /// one. A message that may go on is seen behind lines that were written after it.
    open: Vec<(u64, u64)>,
    /// What those led to, by their offsets.
    told: BTreeMap<u64, Told>,
    #[serde(skip)]
    clock: Option<Clock>,
}

impl Watched {
    /// Takes note of a line. False if it was seen before: one that is read again has the same place.
    fn note(&mut self, place: Place<'_>) -> bool {
        let (from, to) = (place.offset, place.offset.saturating_add(place.length).saturating_add(1));
        let behind = self.open.partition_point(|(begin, _)| *begin <= from);
        let before = behind.checked_sub(1).map(|before| &mut self.open[before]);
        if from < self.framed_to || before.as_ref().is_some_and(|(_, end)| from < *end) {
            return false;
        }
        match before {
            Some((_, end)) if *end == from => *end = to,
            _ => self.open.insert(behind, (from, to)),
        }
        true
    }

    fn framed(&mut self, to: u64) {
        self.framed_to = self.framed_to.max(to);
        let done = self.open.partition_point(|(_, end)| *end <= to);
        self.open.drain(..done);
        if self.told.first_key_value().is_some_and(|(first, _)| *first < to) {
            self.told = self.told.split_off(&to);
        }
    }
}

/// An engine, and what time it is for it.
#[derive(Debug)]
pub struct Observer {
    engine: Engine,
    lives: BTreeMap<LifeId, Watched>,
    /// Revisions that no line led to and that are in no frame yet, in the order they were told.
    passed: VecDeque<Incident>,
    /// Whether the agent had them when it was killed: they are to be told again.
    is_owed: bool,
    /// The clock of the last line of all.
    last: Option<Clock>,
    caught_up: Instant,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(host: &str, limits: Limits, now: Instant) -> Observer {
        let (lives, passed, is_owed) = (BTreeMap::new(), VecDeque::new(), false);
        Observer { engine: Engine::new(host, limits), lives, passed, is_owed, last: None, caught_up: now }
    }

    /// Goes on from a state that was [saved](Observer::save), the frames written since, and how
    /// far each life is in frames. A state that this program does not read is as none.
    pub fn restore(
        host: &str,
        limits: Limits,
        state: &[u8],
        frames: Vec<Bytes>,
        framed: impl IntoIterator<Item = (LifeId, u64)>,
        now: Instant,
    ) -> Observer {
        let mut observer = Observer::new(host, limits, now);
        if !state.is_empty() {
            match serde_json::from_reader(GzDecoder::new(state)) {
                Ok(Kept { mut engine, lives, passed, last }) => {
                    engine.limit(limits);
                    let last = last.map(|last| Clock { last, seen: now });
                    observer = Observer { engine, lives, passed, is_owed: true, last, ..observer };
                }
                Err(cause) => tracing::warn!(%cause, "what was known of behaviour cannot be read; it is learned anew"),
            }
        }
        for (_, events) in frames.into_iter().filter_map(|frame| frame::decode(&frame).ok()) {
            events.iter().for_each(|event| observer.again(event));
        }
        framed.into_iter().for_each(|(life, to)| observer.framed(life, to));
        observer
    }

    /// Sees an event of a frame again.
    fn again(&mut self, event: &Event) {
        if let Some(incident) = &event.incident {
            self.passed.retain(|told| (told.id, told.revision) != (incident.id, incident.revision));
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
        self.forget_lives();
        let life = self.lives.entry(place.life).or_default();
        if let Some(time) = shown.time() {
            let clock = Clock { last: time.at, seen: Instant::now() };
            (self.last, life.clock) = (Some(clock), Some(clock));
        }
        if !life.note(place) {
            return life.told.get(&place.offset).cloned().unwrap_or_default();
        }
        let line = match shown {
            Parsed::Access(access) => match client.or_else(|| shown.client_ip()) {
                Some(client) => Line::Access { client, access, attack },
                None => return Told::default(),
            },
            Parsed::Error(error) => Line::Error { client: shown.client_ip(), error },
            Parsed::TailHeader(_) | Parsed::Odd(_) => return Told::default(),
        };
        let at = time_of(shown, life.clock.or(self.last), read);
        let told = self.engine.observe(&Seen { place, at, line });
        if told != Told::default() {
            life.told.insert(place.offset, told.clone());
        }
        told
    }

    /// Listens to the beginning of a message that may go on, and is [seen](Observer::see) when it
    /// is whole.
    pub fn hear(&mut self, life: LifeId, shown: &Parsed<'_>, read: Millis) {
        if let Parsed::Error(error) = shown {
            let clock = self.lives.get(&life).and_then(|life| life.clock).or(self.last);
            self.engine.hear(time_of(shown, clock, read), shown.client_ip(), error);
        }
    }

    /// Takes note that all lines of a life before `to` are in frames that the spool has.
    pub fn framed(&mut self, life: LifeId, to: u64) {
        if let Some(life) = self.lives.get_mut(&life) {
            life.framed(to);
        }
    }

    /// Takes note that the first `count` of the revisions that no line led to are, too.
    pub fn framed_incidents(&mut self, count: usize) {
        self.passed.drain(..count.min(self.passed.len()));
    }

    /// Forgets lives of which nothing waits and that are not read any more.
    fn forget_lives(&mut self) {
        if self.lives.len() < LIVES_MAX {
            return;
        }
        let is_read = |life: &Watched| life.clock.is_some_and(|clock| clock.seen.elapsed() <= STILL_READ);
        self.lives.retain(|_, life| !life.open.is_empty() || is_read(life));
        if self.lives.len() >= LIVES_MAX {
            self.lives.pop_first();
        }
    }

    /// What there is to tell as time goes by: incidents that are over, and, once a minute,
    /// how the others stand. Between lines, time goes on from the last one's. All of it waits to
    /// be [framed](Observer::framed_incidents).
    pub fn pass(&mut self, now: Instant) -> Vec<Incident> {
        let mut told = self.time(now).map_or_else(Vec::new, |time| self.engine.pass(time));
        if now.saturating_duration_since(self.caught_up) >= CATCH_UP {
            self.caught_up = now;
            told.extend(self.engine.catch_up());
        }
        self.pass_on(told)
    }

    /// Revisions to tell that wait to be framed from now on, behind those that are told again.
    fn pass_on(&mut self, told: Vec<Incident>) -> Vec<Incident> {
        let known = if std::mem::take(&mut self.is_owed) { 0 } else { self.passed.len() };
        self.passed.extend(told);
        self.passed.range(known..).cloned().collect()
    }

    /// What time it is. Of files that are being read the one that is behind says it: its lines are
    /// still to come.
    fn time(&self, now: Instant) -> Option<Millis> {
        let is_read = |clock: &Clock| now.saturating_duration_since(clock.seen) <= STILL_READ;
        let clocks = self.lives.values().filter_map(|life| life.clock);
        let behind = clocks.filter(is_read).map(|clock| clock.at(now)).min();
        behind.or_else(|| self.last.map(|clock| clock.at(now)))
    }

    /// Takes note that no line will come, and that it is as late as the latest line said. Returns how
    /// all incidents stand.
    pub fn finish(&mut self, latest: Millis) -> Vec<Incident> {
        let mut told = self.engine.pass(latest);
        told.extend(self.engine.catch_up());
        self.pass_on(told)
    }

    /// How all incidents stand, where that has not been told.
    pub fn catch_up(&mut self) -> Vec<Incident> {
        let told = self.engine.catch_up();
        self.pass_on(told)
    }

    /// The state, for [`Observer::restore`].
    pub fn save(&self) -> Bytes {
        let (engine, lives, passed) = (&self.engine, &self.lives, &self.passed);
        let saved = Saved { engine, lives, passed, last: self.last.map(|clock| clock.last) };
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
        let mut again = Observer::restore("h", Limits::default(), &state, Vec::new(), [], now);
        see(&mut again, 2, 0);
        see(&mut again, 2, 1_000);
        let incidents: Vec<_> = again.catch_up();
        assert_eq!(incidents[0].findings, 3, "{incidents:#?}");
    }

    #[test]
    fn what_a_lost_frame_would_have_told_is_told_when_its_lines_are_read_again() {
        let now = Instant::now();
        let mut observer = Observer::new("h", Limits::default(), now);
        let in_spool = see(&mut observer, 1, 0);
        observer.framed(LifeId([1; 16]), LINE.len() as u64 + 1);
        let lost = see(&mut observer, 1, 1_000);
        assert!(!in_spool.incidents.is_empty() && lost.incident.is_some(), "{lost:#?}");
        let mut again = Observer::restore("h", Limits::default(), &observer.save(), Vec::new(), [], now);
        assert_eq!(see(&mut again, 1, 1_000), lost);
        assert_eq!(see(&mut again, 1, 0), Told::default(), "its frame is in the spool");
    }

    #[test]
    fn the_last_revision_of_an_incident_outlives_a_kill_before_its_frame_is_written() {
        let now = Instant::now();
        let mut observer = Observer::new("h", Limits::default(), now);
        see(&mut observer, 1, 0);
        let over = observer.pass(now + Duration::from_secs(31 * 60));
        assert!(over.len() == 1 && over[0].is_over, "{over:#?}");
        assert_eq!(observer.pass(now + Duration::from_secs(31 * 60)), []);
        let restore = |state: &[u8]| Observer::restore("h", Limits::default(), state, Vec::new(), [], now);
        let mut again = restore(&restore(&observer.save()).save());
        assert_eq!(again.pass(now), over);
        assert_eq!(again.pass(now), []);
        again.framed_incidents(over.len());
        assert_eq!(restore(&again.save()).pass(now), []);
    }

    #[test]
    fn a_message_that_waits_for_more_of_itself_is_seen_though_later_lines_were_seen_before() {
        let now = Instant::now();
        let mut observer = Observer::new("h", Limits::default(), now);
        see(&mut observer, 1, 2_000);
        see(&mut observer, 1, 3_000);
        assert!(see(&mut observer, 1, 1_000).incident.is_some());
        let incidents = observer.catch_up();
        assert_eq!(incidents[0].findings, 3, "{incidents:#?}");
    }

    proptest::proptest! {
        #[test]
        fn a_line_is_new_once_whatever_was_framed_between(
            steps in proptest::collection::vec((0_u64..60, proptest::bool::ANY), 1..200),
        ) {
            let mut life = Watched::default();
            let (mut seen, mut framed_to) = (std::collections::BTreeSet::new(), 0);
            for (number, is_framed) in steps {
                if is_framed {
                    life.framed(number * 10);
                    framed_to = framed_to.max(number);
                } else {
                    let place = Place { life: LifeId([1; 16]), offset: number * 10, length: 9, written: b"" };
                    proptest::prop_assert_eq!(life.note(place), number >= framed_to && seen.insert(number));
                }
                proptest::prop_assert!(life.open.iter().zip(life.open.iter().skip(1)).all(|(one, next)| one.1 <= next.0));
            }
        }
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
        let mut again = Observer::restore("h", Limits::default(), &observer.save(), Vec::new(), [], now);
        assert_eq!(again.pass(now + Duration::from_secs(29 * 60)).iter().filter(|one| one.is_over).count(), 0);
        let told = again.pass(now + Duration::from_secs(30 * 60));
        assert!(told.len() == 1 && told[0].is_over, "{told:#?}");
    }
}
