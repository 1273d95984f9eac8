//! The engine among the stations: what it is shown, and what is kept of it.
//!
//! Its state stands at the head of each segment of the spool, and the frames behind it say
//! what came since. So an agent that was killed knows again what it knew when the last of
//! its frames was written: the lines after that are read again, and seen again.

use super::{Engine, Limits, Line, Place, Seen, Told};
use bytes::Bytes;
use event::attack::Attack;
use event::frame;
use event::gzip::gzip;
use event::{Event, Incident, Millis, Parsed};
use flate2::read::GzDecoder;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How often open incidents are told of again while they go on.
const CATCH_UP: Duration = Duration::from_secs(60);

/// gzip's level for the state: it is written while lines wait.
const LEVEL: u8 = 1;

/// An engine, and what time it is for it.
#[derive(Debug)]
pub struct Observer {
    engine: Engine,
    /// The time of the last line that tells one.
    last: Option<Millis>,
    /// When that was seen.
    seen: Instant,
    caught_up: Instant,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(host: &str, now: Instant) -> Observer {
        Observer { engine: Engine::new(host, Limits::default()), last: None, seen: now, caught_up: now }
    }

    /// Goes on from a state that was [saved](Observer::save) and the frames written since. A
    /// state that this program does not read is as none.
    pub fn restore(host: &str, state: &[u8], frames: Vec<Bytes>, now: Instant) -> Observer {
        let mut observer = Observer::new(host, now);
        if !state.is_empty() {
            match serde_json::from_reader(GzDecoder::new(state)) {
                Ok(engine) => observer.engine = engine,
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
        if let Some(time) = shown.time() {
            (self.last, self.seen) = (Some(time.at), Instant::now());
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
        let at = shown.time().map(|time| time.at).or(self.last).unwrap_or(read);
        self.engine.observe(&Seen { place, at, line })
    }

    /// What there is to tell as time goes by: incidents that are over, and, once a minute,
    /// how the others stand. Between lines, time goes on from the last one's.
    pub fn pass(&mut self, now: Instant) -> Vec<Incident> {
        let Some(last) = self.last else { return Vec::new() };
        let since = now.saturating_duration_since(self.seen).as_millis() as Millis;
        let mut told = self.engine.pass(last.saturating_add(since));
        if now.saturating_duration_since(self.caught_up) >= CATCH_UP {
            self.caught_up = now;
            told.extend(self.engine.catch_up());
        }
        told
    }

    /// How all incidents stand, where that has not been told.
    pub fn catch_up(&mut self) -> Vec<Incident> {
        self.engine.catch_up()
    }

    /// The state, for [`Observer::restore`].
    pub fn save(&self) -> Bytes {
        let text = serde_json::to_vec(&self.engine).expect("plain data turns into JSON");
        Bytes::from(gzip(&text, LEVEL))
    }

    /// The incidents that were told of: open ones, and the last that have ended.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.engine.incidents()
    }
}
