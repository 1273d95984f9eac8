//! Lines into frames: parse, classify, append; close when full or late.

use crate::behaviour::{Observer, Place, Told};
use crate::enrich::Enrichment;
use crate::redaction::Redaction;
use crate::spool::Meta;
use crate::tail::{Mark, RawLine};
use bytes::Bytes;
use event::classify::Verdict;
use event::frame::{Body, Header, Line};
use event::geo::SourceFacts;
use event::limits::{FRAME_BYTES_MAX, FRAME_TEXT_BYTES_MAX, LINE_BYTES_MAX, PARTITION_KEY_BYTES};
use event::line::day_of;
use event::outcome::{Context, outcome_of_findings};
use event::redact::masked;
use event::{Classifier, Day, Encoding, Event, Incident, Millis, Origin, Parsed};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Text that a frame of log lines is expected to hold before the first one has been
/// packed: lines pack to a seventh or less.
const FIRST_TEXT_BYTES: usize = 6 * FRAME_BYTES_MAX;

/// What the facts of an address take in a frame's header, about: GeoLite2 City and ASN tell
/// 250 to 330 bytes.
const SOURCE_BYTES: usize = 300;

/// From these shares of the spool on, the stream is slower than we are: time is there,
/// room is not.
const WAITING: f64 = 0.025;
const BACKLOG: f64 = 0.1;

/// gzip's level for a spool that is full to the share `fill`. Of log lines with verdicts
/// libdeflate makes 30, 28 and 23 bytes a line at levels 1, 3 and 6, in 0.5, 0.8 and 1.2 us.
pub fn level(fill: f64) -> u8 {
    match fill {
        fill if fill >= BACKLOG => 6,
        fill if fill >= WAITING => 3,
        _ => 1,
    }
}

/// A frame for the spool.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub meta: Meta,
    pub payload: Bytes,
    /// Revisions of incidents that no line led to and that are in the spool with it.
    pub incidents: usize,
}

impl Parcel {
    /// Moves lives without a frame.
    pub fn mark_only(marks: Vec<Mark>) -> Parcel {
        Parcel { meta: Meta { key: String::new(), lines: 0, marks }, payload: Bytes::new(), incidents: 0 }
    }
}

/// Lines on their way into a record.
#[derive(Debug)]
enum Contents {
    Frame(Body),
    /// Another encoding, the parts of the record, and where each ends.
    Other {
        encoding: Encoding,
        text: Vec<u8>,
        ends: Vec<usize>,
    },
}

impl Contents {
    fn new(encoding: Option<Encoding>) -> Contents {
        match encoding {
            None => Contents::Frame(Body::default()),
            Some(encoding) => Contents::Other { encoding, text: Vec::new(), ends: Vec::new() },
        }
    }

    fn push(&mut self, origin: &Arc<Origin>, line: Line<'_>, source: Option<Arc<SourceFacts>>) {
        match self {
            Contents::Frame(body) => body.push(line),
            // What others read knows lines alone.
            Contents::Other { .. } if line.incident.is_some() => {}
            Contents::Other { encoding, text, ends } => {
                encoding.push(&event(origin, line, source), text);
                ends.push(text.len());
            }
        }
    }

    fn lines(&self) -> usize {
        match self {
            Contents::Frame(body) => body.lines(),
            Contents::Other { ends, .. } => ends.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Contents::Frame(body) => body.bytes(),
            Contents::Other { text, .. } => text.len(),
        }
    }

    /// Writes the lines `from..to` as a record.
    fn encode(&self, header: &Header, from: usize, to: usize, key: &str, level: u8) -> Vec<u8> {
        match self {
            Contents::Frame(body) => {
                let day = if from == 0 { header.day } else { body.day_before(from) };
                body.encode(&Header { day, ..header.clone() }, from, to, level)
            }
            Contents::Other { encoding, text, ends } => {
                let start = |line: usize| if line == 0 { 0 } else { ends[line - 1] };
                let parts: Vec<&[u8]> = (from..to).map(|line| &text[start(line)..ends[line]]).collect();
                encoding.record(&parts, key, level)
            }
        }
    }
}

fn event(origin: &Arc<Origin>, line: Line<'_>, source: Option<Arc<SourceFacts>>) -> Event {
    let shown = masked(line.line, line.masks);
    let parsed = origin.parse(&shown);
    let attack = line.attack.zip(parsed.access()).map(|(verdict, access)| verdict.attack(access));
    Event {
        origin: Arc::clone(origin),
        offset: line.offset,
        length: line.length,
        line: line.line.to_vec(),
        cut: line.cut,
        time: line.time,
        day: line.day,
        attack,
        context: line.context.map(|context| Box::new(context.clone())),
        client: line.client,
        source,
        duplicate_of: line.duplicate_of.map(str::to_owned),
        masks: line.masks.to_vec(),
        gap: line.gap.map(str::to_owned),
        incident: None,
        given_id: None,
        record: None,
    }
}

/// What is asked about each line on its way into a frame.
#[derive(Debug)]
pub struct Inspector {
    pub classifier: Arc<Classifier>,
    pub enrichment: Enrichment,
    pub observer: Observer,
    pub redaction: Redaction,
}

impl Inspector {
    /// Shows the observer the first line of a message that may go on.
    pub fn hear(&mut self, origin: &Origin, line: &RawLine<'_>, read: Millis) {
        let parsed = origin.parse(line.text);
        let (text, masks) = self.redaction.apply(line.text, &parsed);
        let shown = masked(&text, &masks);
        self.observer.hear(origin.life, &origin.parse(&shown), read);
    }
}

/// Lines of one life that will be a record.
#[derive(Debug)]
pub struct Batch {
    origin: Arc<Origin>,
    body: Contents,
    sources: Sources,
    /// Day of the last dated line before the batch, and of the last one in it.
    day_before: Option<Day>,
    day: Option<Day>,
    opened: Instant,
}

impl Batch {
    /// An empty batch that follows a line of `day`; a frame, unless another encoding is
    /// given.
    pub fn new(origin: Origin, encoding: Option<Encoding>, day: Option<Day>, now: Instant) -> Batch {
        let (origin, body, sources) = (Arc::new(origin), Contents::new(encoding), Sources::default());
        Batch { origin, body, sources, day_before: day, day, opened: now }
    }

    /// Day of the last dated line so far.
    pub fn day(&self) -> Option<Day> {
        self.day
    }

    /// When its first line came.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Bytes of memory that its lines take.
    pub fn bytes(&self) -> usize {
        self.body.bytes() + self.sources.bytes
    }

    /// Parses, classifies, masks and appends one line that was read at `read`, and the
    /// incidents that it changes. Returns whether it was looked at to its end.
    pub fn push(
        &mut self,
        line: RawLine<'_>,
        duplicate_of: Option<&str>,
        inspector: &mut Inspector,
        read: Millis,
    ) -> bool {
        let Inspector { classifier, enrichment, observer, redaction } = inspector;
        let parsed = self.origin.parse(line.text);
        let verdict = parsed.access().and_then(|access| classifier.judge(access));
        let (text, masks) = redaction.apply(line.text, &parsed);
        let passed_on = enrichment.client(&parsed);
        let source = passed_on.or_else(|| parsed.client_ip().filter(|_| enrichment.knows()));
        let source = source.and_then(|client| self.sources.facts(client, enrichment, redaction));
        self.day = day_of(&parsed, self.day);
        let client = passed_on.map(|client| redaction.address(client));
        let written = parsed.time().map_or(&b""[..], |time| time.written);
        let place = Place { life: self.origin.life, offset: line.offset, length: line.length, written };
        let is_as_it_was = matches!(text, Cow::Borrowed(_)) && masks.is_empty();
        let told = match duplicate_of {
            Some(_) => Observed::default(),
            None if is_as_it_was => observe(observer, place, &parsed, client, verdict.as_ref(), read),
            None => {
                let shown = masked(&text, &masks);
                observe(observer, place, &self.origin.parse(&shown), client, verdict.as_ref(), read)
            }
        };
        let time = parsed.time().map_or(read, |own| own.at);
        self.body.push(
            &self.origin,
            Line {
                offset: line.offset,
                length: line.length,
                line: &text,
                cut: line.is_cut,
                time,
                tells_time: parsed.time().is_some(),
                day: self.day,
                attack: verdict.as_ref(),
                context: told.context.as_ref(),
                client,
                duplicate_of,
                masks: &masks,
                gap: None,
                incident: None,
            },
            source.clone(),
        );
        for incident in &told.incidents {
            self.push_incident(line.offset + line.length + 1, incident, time, source.clone());
        }
        verdict.is_none_or(|verdict| verdict.is_finished())
    }

    /// Appends an incident that has changed, behind the line that ends at `offset`.
    pub fn push_incident(&mut self, offset: u64, incident: &Incident, time: Millis, source: Option<Arc<SourceFacts>>) {
        self.sources.keep(incident, source.as_ref());
        let day = self.day;
        self.body.push(&self.origin, Line { offset, time, day, incident: Some(incident), ..Line::default() }, source);
    }

    /// Appends an event that stands for lost bytes.
    pub fn push_gap(&mut self, from: u64, to: u64, reason: &str, noticed: Millis) {
        let (offset, length, day, gap) = (from, to - from, self.day, Some(reason));
        self.body.push(&self.origin, Line { offset, length, time: noticed, day, gap, ..Line::default() }, None);
    }
}

/// What seeing a line led to, as far as it travels.
#[derive(Debug, Default)]
struct Observed {
    context: Option<Context>,
    incidents: Vec<Incident>,
}

/// Shows a line to the observer. What follows from the line's own status need not travel.
fn observe(
    observer: &mut Observer,
    place: Place<'_>,
    shown: &Parsed<'_>,
    client: Option<IpAddr>,
    verdict: Option<&Verdict<'_>>,
    read: Millis,
) -> Observed {
    let attack = verdict.zip(shown.access()).map(|(verdict, access)| verdict.attack(access));
    let Told { outcome, categories, incident, incidents } = observer.see(place, shown, client, attack.as_ref(), read);
    let own = attack.zip(shown.access()).map(|(attack, access)| outcome_of_findings(&attack.findings, access));
    let context = Context { outcome: outcome.filter(|outcome| own.as_ref() != Some(outcome)), categories, incident };
    Observed { context: (!context.is_empty()).then_some(context), incidents }
}

/// What is known of the clients of a batch.
#[derive(Debug, Default)]
struct Sources {
    /// By the address that leaves the host.
    by_address: BTreeMap<IpAddr, Option<Arc<SourceFacts>>>,
    /// What they take in a frame's header.
    bytes: usize,
}

impl Sources {
    fn facts(
        &mut self,
        client: IpAddr,
        enrichment: &mut Enrichment,
        redaction: &Redaction,
    ) -> Option<Arc<SourceFacts>> {
        let shown = redaction.address(client);
        if let Some(known) = self.by_address.get(&shown) {
            return known.clone();
        }
        let facts = enrichment.facts(client);
        self.bytes += facts.as_ref().map_or(0, |_| SOURCE_BYTES);
        self.by_address.insert(shown, facts.clone());
        facts
    }

    /// Keeps what is known of an incident's actor.
    fn keep(&mut self, incident: &Incident, facts: Option<&Arc<SourceFacts>>) {
        if let (Some(facts), Some(actor)) = (facts, incident.address()) {
            self.by_address.entry(actor).or_insert_with(|| Some(Arc::clone(facts)));
        }
    }

    fn known(&self) -> BTreeMap<IpAddr, Arc<SourceFacts>> {
        self.by_address.iter().filter_map(|(ip, facts)| Some((*ip, facts.clone()?))).collect()
    }
}

/// Packs batches, and learns how much text fits into a frame.
#[derive(Debug)]
pub struct Packer {
    keys: u64,
    /// Text bytes that made [`FRAME_BYTES_MAX`] lately.
    text_bytes: usize,
    random: RandomState,
}

impl Default for Packer {
    fn default() -> Packer {
        Packer { keys: 0, text_bytes: FIRST_TEXT_BYTES, random: RandomState::new() }
    }
}

impl Packer {
    /// Whether `batch` holds as much as a frame should.
    pub fn is_full(&self, batch: &Batch) -> bool {
        batch.bytes() >= self.text_bytes
    }

    /// Makes frames of a batch, one as a rule; more if it packs worse than expected. The
    /// last one moves lives as `marks` say.
    pub fn pack(&mut self, batch: &Batch, marks: Vec<Mark>, level: u8) -> Vec<Parcel> {
        let sources = batch.sources.known();
        let header = Header { sources, ..Header::new(Origin::clone(&batch.origin), batch.day_before) };
        let mut parcels = Vec::new();
        self.pack_lines(batch, &header, 0, batch.body.lines(), level, &mut parcels);
        if let Some(last) = parcels.last_mut() {
            last.meta.marks = marks;
        }
        parcels
    }

    fn pack_lines(&mut self, batch: &Batch, header: &Header, from: usize, to: usize, level: u8, out: &mut Vec<Parcel>) {
        let key = self.key();
        let bytes = batch.body.encode(header, from, to, &key, level);
        if from == 0 && to == batch.body.lines() {
            self.learn(batch.bytes(), bytes.len());
        }
        if bytes.len() > FRAME_BYTES_MAX && to - from > 1 {
            let middle = from + (to - from) / 2;
            self.pack_lines(batch, header, from, middle, level, out);
            return self.pack_lines(batch, header, middle, to, level, out);
        }
        let meta = Meta { key, lines: to - from, marks: Vec::new() };
        out.push(Parcel { meta, payload: Bytes::from(bytes), incidents: 0 });
    }

    /// Aims 4 % below the limit, so that most frames are packed once. A frame of few
    /// lines says little, and a single line may be far longer than a frame.
    fn learn(&mut self, text: usize, packed: usize) {
        if text < FRAME_BYTES_MAX || packed == 0 {
            return;
        }
        let fits = (text as f64 / packed as f64 * FRAME_BYTES_MAX as f64 * 0.96) as usize;
        self.text_bytes = fits.clamp(FRAME_BYTES_MAX, FRAME_TEXT_BYTES_MAX);
    }

    /// A partition key that no attacker can foresee.
    fn key(&mut self) -> String {
        self.keys += 1;
        let half = |salt: u64| self.random.hash_one((self.keys, salt));
        format!("{:016x}{:016x}", half(1), half(2))
    }
}

const _: () = assert!(PARTITION_KEY_BYTES == 32, "two numbers of 64 bits in hex");
const _: () = assert!(LINE_BYTES_MAX < 1 << 20, "a frame of one line fits into a record of 1 MiB");
