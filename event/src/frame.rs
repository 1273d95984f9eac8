//! What travels through the stream: many lines of one life, in one gzip member.
//!
//! ```text
//! {"twosec_frame":1,"host":{...},"path":"/var/log/apache2/access.log","life":"...","offset":512,...}
//! {"line":"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] ..."}
//! {"line":"...","attack":[85,[["sqli-union-select",[2,1,0,3,24]]]]}
//! ```
//!
//! `base64 -d | zcat | jq` shows it. Only what cannot be derived again is sent: gzip is
//! most of the agent's work, and an id of random-looking digits would cost 20 bytes a
//! line, an offset 5. So a line tells its offset only where it does not begin right
//! behind the line before it, ids are computed by whoever reads the frame, and a rule that
//! matched tells its [`Spot`]: which part of the request, how often decoded, in which form,
//! from which byte to which.

use crate::attack::{Attack, RuleFacts};
use crate::classify::{Spot, Verdict, evidence};
use crate::format::Access;
use crate::geo::SourceFacts;
use crate::gzip::gzip;
use crate::id::EventId;
use crate::incident::Incident;
use crate::json;
use crate::limits::{DECODED_BYTES_MAX, FRAME_TEXT_BYTES_MAX};
use crate::line::{Event, Origin, day_of, own_id};
use crate::outcome::Context;
use crate::redact::{Mask, masked};
use crate::time::{Day, Millis};
use crate::unpack::{Packing, UnpackError};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

/// The frame version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// What most headers take at most.
const HEADER_BYTES: usize = 16 << 10;

/// A frame's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    #[serde(rename = "twosec_frame")]
    pub version: u32,
    #[serde(flatten)]
    pub origin: Origin,
    /// Where the first line begins.
    #[serde(default)]
    pub offset: u64,
    /// The day of the last dated line before this frame in its life. A frame that
    /// opens with undated lines needs it to find their index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The rules that found something in this frame: each stands here once, and lines
    /// name it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, RuleFacts>,
    /// What was looked up of clients' addresses: each stands here once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<IpAddr, Arc<SourceFacts>>,
}

impl Header {
    /// The header of a frame of `origin` that follows a line of `day`. The rest is filled
    /// in by [`Body::encode`].
    pub fn new(origin: Origin, day: Option<Day>) -> Header {
        Header { version: VERSION, origin, offset: 0, day, rules: BTreeMap::new(), sources: BTreeMap::new() }
    }
}

/// A frame's other lines. `length` is there only where `line` does not show it.
#[derive(Debug, Serialize, Deserialize)]
struct Row<'a> {
    /// Absent where the line begins right behind the one before it, and for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// When it was read; absent where the line tells its own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    line: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line_b64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    attack: Option<Hits<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<Cow<'a, Context>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "<[Mask]>::is_empty")]
    masks: Cow<'a, [Mask]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incident: Option<Cow<'a, Incident>>,
}

/// An attack's score, and which rule matched where, strongest first.
type Hits<'a> = (u8, Vec<Matched<'a>>);

#[derive(Debug, Serialize, Deserialize)]
struct Matched<'a>(#[serde(borrow)] Cow<'a, str>, Spot);

fn hits<'a>(verdict: &Verdict<'a>) -> Hits<'a> {
    (verdict.score, verdict.hits.iter().map(|hit| Matched(Cow::Borrowed(&*hit.rule.id), hit.spot)).collect())
}

/// The verdict again. `None` where a rule is not in the header.
fn attack((score, hits): Hits<'_>, access: Option<&Access<'_>>, rules: &BTreeMap<String, RuleFacts>) -> Option<Attack> {
    let told = hits.iter().map(|Matched(rule, spot)| Some((&**rule, rules.get(&**rule)?.clone(), *spot)));
    Some(Attack { score, findings: evidence::findings(access, &told.collect::<Option<Vec<_>>>()?) })
}

/// Bytes as JSON can hold them: `line`, or `line_b64` where they are not UTF-8.
pub(crate) fn to_text(bytes: &[u8]) -> (Option<Cow<'_, str>>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(Cow::Borrowed(text)), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

/// The bytes again; nothing where neither form, or no base64, is there.
pub(crate) fn from_text(line: Option<Cow<'_, str>>, line_b64: Option<String>) -> Option<Vec<u8>> {
    match (line, line_b64) {
        (Some(text), None) => Some(text.into_owned().into_bytes()),
        (None, Some(text)) => BASE64_STANDARD.decode(text).ok(),
        _ => None,
    }
}

/// One line for [`Body::push`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Line<'a> {
    pub offset: u64,
    /// Raw length in the file, without the line feed.
    pub length: u64,
    pub line: &'a [u8],
    pub cut: bool,
    /// The line's own time, or when it was read.
    pub time: Millis,
    /// Whether the line tells its time, so that it need not be sent.
    pub tells_time: bool,
    /// Day of the last dated line of the life up to and with this one.
    pub day: Option<Day>,
    pub attack: Option<&'a Verdict<'a>>,
    /// What other lines tell of it.
    pub context: Option<&'a Context>,
    /// Whose request a trusted proxy passed on, where the line's own client is that proxy.
    pub client: Option<IpAddr>,
    /// The log that holds the same line.
    pub duplicate_of: Option<&'a str>,
    /// What an index must not show of the line.
    pub masks: &'a [Mask],
    /// Why the bytes were lost, where this stands for bytes that never were read.
    pub gap: Option<&'a str>,
    /// An incident that the line before this changed, where this is no line itself.
    pub incident: Option<&'a Incident>,
}

/// Whether a row needs nothing but the line itself, a verdict and an incident.
fn tells_all(line: &Line<'_>) -> bool {
    let has_more = line.cut
        || line.gap.is_some()
        || line.incident.is_some()
        || line.duplicate_of.is_some()
        || line.client.is_some();
    let has_more = has_more || !line.masks.is_empty();
    let has_more = has_more || line.context.is_some_and(|context| context.incident_alone().is_none());
    line.tells_time && line.length == line.line.len() as u64 && !has_more
}

/// Whether a line holds printable ASCII alone, as Apache writes it.
fn is_plain(line: &[u8]) -> bool {
    line.iter().fold(true, |plain, byte| plain & (0x20..0x7f).contains(byte))
}

/// Writes what [`push_row`] would write for most lines, without a look at each byte: of
/// printable ASCII, JSON escapes two characters.
fn push_plain(line: &[u8], verdict: Option<&Verdict<'_>>, incident: Option<EventId>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"line\":\"");
    let mut written = 0;
    for at in memchr::memchr2_iter(b'"', b'\\', line) {
        out.extend_from_slice(&line[written..at]);
        out.push(b'\\');
        written = at;
    }
    out.extend_from_slice(&line[written..]);
    out.push(b'"');
    if let Some(verdict) = verdict {
        out.extend_from_slice(b",\"attack\":[");
        push_number(verdict.score.into(), out);
        for (at, hit) in verdict.hits.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",[[\"" } else { b"]],[\"" });
            // Letters, digits and `-`, as the rules' reader sees to.
            out.extend_from_slice(hit.rule.id.as_bytes());
            let Spot { view, layer, form, start, end } = hit.spot;
            out.extend_from_slice(b"\",[");
            push_number(view, out);
            for number in [layer.into(), form as u16, start, end] {
                out.push(b',');
                push_number(number, out);
            }
        }
        out.extend_from_slice(b"]]]]");
    }
    if let Some(incident) = incident {
        write!(out, ",\"context\":{{\"incident\":\"{incident}\"}}").expect("memory takes what is written");
    }
    out.push(b'}');
}

fn push_number(number: u16, out: &mut Vec<u8>) {
    if number >= 10 {
        push_number(number / 10, out);
    }
    out.push(b'0' + (number % 10) as u8);
}

fn push_row(line: &Line<'_>, follows: bool, out: &mut Vec<u8>) {
    let (text, base64) = to_text(line.line);
    let row = Row {
        offset: (!follows).then_some(line.offset),
        time: (!line.tells_time).then_some(line.time),
        line: text,
        line_b64: base64,
        length: (line.length != line.line.len() as u64).then_some(line.length),
        cut: line.cut,
        attack: line.attack.map(hits),
        context: line.context.map(Cow::Borrowed),
        client: line.client,
        duplicate_of: line.duplicate_of.map(Cow::Borrowed),
        masks: Cow::Borrowed(line.masks),
        gap: line.gap.map(Cow::Borrowed),
        incident: line.incident.map(Cow::Borrowed),
    };
    json::push(&row, out);
}

/// The lines of a frame being written.
#[derive(Debug, Default)]
pub struct Body {
    text: Vec<u8>,
    /// Where each line ends in `text`.
    ends: Vec<usize>,
    /// Where each line begins in its file.
    offsets: Vec<u64>,
    /// Where the next line begins in its file if nothing lies between.
    next: u64,
    /// The day of the last dated line up to and with each line.
    days: Vec<Option<Day>>,
    rules: BTreeMap<String, RuleFacts>,
}

impl Body {
    /// Appends a line.
    pub fn push(&mut self, line: Line<'_>) {
        for rule in line.attack.iter().flat_map(|verdict| &verdict.hits).map(|hit| hit.rule) {
            if !self.rules.contains_key(&rule.id) {
                self.rules.insert(rule.id.clone(), rule.facts());
            }
        }
        let follows = line.offset == self.next || self.ends.is_empty();
        if follows && tells_all(&line) && is_plain(line.line) {
            push_plain(line.line, line.attack, line.context.and_then(|context| context.incident), &mut self.text);
        } else {
            push_row(&line, follows, &mut self.text);
        }
        self.text.push(b'\n');
        self.ends.push(self.text.len());
        self.offsets.push(line.offset);
        if line.incident.is_none() {
            self.next = line.offset + line.length + 1;
        }
        self.days.push(line.day);
    }

    /// Day of the last dated line before line `line`, counted from 0; `None` for the
    /// first one, whose header knows.
    pub fn day_before(&self, line: usize) -> Option<Day> {
        line.checked_sub(1).and_then(|before| self.days[before])
    }

    /// Lines so far.
    pub fn lines(&self) -> usize {
        self.ends.len()
    }

    /// Bytes so far, before compression.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Writes the lines `from..to` as a frame, gzip'd at `level` (1 to 9).
    pub fn encode(&self, header: &Header, from: usize, to: usize, level: u8) -> Vec<u8> {
        let start = |line: usize| if line == 0 { 0 } else { self.ends[line - 1] };
        let lines = &self.text[start(from)..start(to)];
        let offset = self.offsets.get(from).copied().unwrap_or_default();
        let header = Header { offset, rules: self.rules.clone(), ..header.clone() };
        let mut text = Vec::with_capacity(lines.len() + HEADER_BYTES);
        json::push(&header, &mut text);
        text.push(b'\n');
        text.extend_from_slice(lines);
        gzip(&text, level)
    }
}

/// Why a record is not a frame that this program reads.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the record is not gzip")]
    NotGzip,
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("the record's first line is no frame header")]
    NoHeader(#[source] serde_json::Error),
    #[error("newer schema: the frame has version {0}, this program reads up to {VERSION}")]
    NewerSchema(u32),
    #[error("line {number} of the frame cannot be read")]
    Line {
        number: usize,
        #[source]
        cause: serde_json::Error,
    },
    #[error("line {number} of the frame names a rule that its header does not")]
    NoRule { number: usize },
    #[error("line {number} of the frame has no text")]
    NoText { number: usize },
}

/// Opens a frame.
///
/// # Errors
/// Anything but a whole frame of a version up to [`VERSION`]. The reader archives
/// such a record as it is.
pub fn decode(record: &[u8]) -> Result<(Header, Vec<Event>), FrameError> {
    let packing = Packing::of(record).filter(|packing| *packing == Packing::Gzip).ok_or(FrameError::NotGzip)?;
    let (header, events) = read(&packing.unpack(record, DECODED_BYTES_MAX)?)?;
    Ok((header, events.into_iter().map(|(_, event)| event).collect()))
}

/// Whether an unpacked record is a frame, of whatever version.
pub fn is_frame(text: &[u8]) -> bool {
    text.starts_with(b"{\"twosec_frame\":")
}

/// Rows for which there is room at once. A row of an access log has some 200 bytes.
const ROWS_LIKELY_MAX: usize = FRAME_TEXT_BYTES_MAX / 64;

/// Opens a frame that has been unpacked: its events with their ids.
///
/// # Errors
/// As [`decode`].
pub fn read(text: &[u8]) -> Result<(Header, Vec<(EventId, Event)>), FrameError> {
    let mut rows = text.split(|b| *b == b'\n');
    let header = read_header(rows.next().unwrap_or_default())?;
    let origin = Arc::new(header.origin.clone());
    let (mut day, mut next) = (header.day, header.offset);
    let mut events = Vec::with_capacity(memchr::memchr_iter(b'\n', text).count().min(ROWS_LIKELY_MAX));
    for (at, row) in rows.enumerate().filter(|(_, row)| !row.is_empty()) {
        let (id, event) = read_row(at + 2, row, &origin, &header, (day, next))?;
        // An offset near the end of all numbers is somebody's joke, and no line follows it.
        day = event.day;
        if event.incident.is_none() {
            next = event.offset.saturating_add(event.length).saturating_add(1);
        }
        events.push((id, event));
    }
    // Blank rows are none.
    if events.len() < events.capacity() / 2 {
        events.shrink_to_fit();
    }
    Ok((header, events))
}

fn read_header(line: &[u8]) -> Result<Header, FrameError> {
    #[derive(Deserialize)]
    struct Version {
        twosec_frame: u32,
    }
    let version: Version = serde_json::from_slice(line).map_err(FrameError::NoHeader)?;
    if version.twosec_frame > VERSION {
        return Err(FrameError::NewerSchema(version.twosec_frame));
    }
    serde_json::from_slice(line).map_err(FrameError::NoHeader)
}

fn read_row(
    number: usize,
    row: &[u8],
    origin: &Arc<Origin>,
    header: &Header,
    (before, next): (Option<Day>, u64),
) -> Result<(EventId, Event), FrameError> {
    let row: Row<'_> = serde_json::from_slice(row).map_err(|cause| FrameError::Line { number, cause })?;
    let line = from_text(row.line, row.line_b64).ok_or(FrameError::NoText { number })?;
    let parsed = origin.parse(&line);
    let time = parsed.time().map_or(row.time.unwrap_or_default(), |own| own.at);
    // What an index must not show may not be shown as evidence either.
    let shown = masked(&line, &row.masks);
    let masked = (!row.masks.is_empty()).then(|| origin.parse(&shown));
    let shown = masked.as_ref().unwrap_or(&parsed);
    let actor = || row.incident.as_ref()?.address();
    let source = row.client.or_else(|| shown.client_ip()).or_else(actor).filter(|_| !header.sources.is_empty());
    let source = source.and_then(|client| header.sources.get(&client).cloned());
    let attack =
        row.attack.map(|hits| attack(hits, shown.access(), &header.rules).ok_or(FrameError::NoRule { number }));
    let attack = attack.transpose()?;
    let day = day_of(&parsed, before);
    let (offset, length) = (row.offset.unwrap_or(next), row.length.unwrap_or(line.len() as u64));
    let id = own_id((origin.life, offset, length), &parsed, row.gap.is_some(), row.incident.as_deref());
    let event = Event {
        origin: Arc::clone(origin),
        offset,
        length,
        cut: row.cut,
        time,
        day,
        attack,
        context: row.context.map(|context| Box::new(context.into_owned())),
        client: row.client,
        source,
        duplicate_of: row.duplicate_of.map(Cow::into_owned),
        masks: row.masks.into_owned(),
        gap: row.gap.map(Cow::into_owned),
        incident: row.incident.map(|incident| Box::new(incident.into_owned())),
        given_id: None,
        record: None,
        line,
    };
    Ok((id, event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::Field;
    use crate::classify::decode::Form;
    use crate::classify::{Hit, Rule, rules};
    use crate::format::Format;
    use crate::id::HostKey;
    use crate::line::Host;
    use proptest::prelude::*;

    fn header() -> Header {
        let origin = Origin {
            ruleset: "2026.11.1".into(),
            agent: "0.1.0".into(),
            ..Origin::new(
                Host { id: "4a5b".into(), name: "web-1".into() },
                "/var/log/apache2/access.log",
                HostKey::derive("4a5b").life("/var/log/apache2/access.log", b"first"),
                Format::Combined,
            )
        };
        Header::new(origin, Some(Day(20_000)))
    }

    /// A rule, and a verdict that it matched in the target's first parameter.
    fn rule() -> Rule {
        rule_that_tells("")
    }

    fn rule_that_tells(more: &str) -> Rule {
        let file = r#"
            [[rule]]
            id = "sqli-x"
            about = "A quote."
            category = "sqli"
            confidence = "high"
            score = 90
            where = ["url.query"]
            literals = ["'"]
            examples = ["/?id='"]
        "#;
        let file = format!("{file}\n{more}\n");
        rules::read(&[("test.toml", &file)]).unwrap().remove(0)
    }

    fn verdict(rule: &Rule) -> Verdict<'_> {
        let spot = Spot { view: 2, layer: 1, form: Form::Whole, start: 1, end: 5 };
        Verdict { score: 90, hits: vec![Hit { rule, spot }] }
    }

    const ATTACK: &[u8] = br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?id=1'+or HTTP/1.1" 200 5 "-" "-""#;

    const DATED: &[u8] = br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 5 "-" "-""#;

    fn body(lines: &[&[u8]]) -> Body {
        let mut body = Body::default();
        let mut offset = 0;
        for line in lines {
            body.push(Line { offset, length: line.len() as u64, line, time: 7, ..Line::default() });
            offset += line.len() as u64 + 1;
        }
        body
    }

    #[test]
    fn what_a_rule_tells_beyond_its_category_travels_with_it() {
        for (told, written) in [
            ("", r#"["sqli","high",90]"#),
            ("severity = 'low'", r#"["sqli","high",90,"low",[]]"#),
            ("cwe = ['CWE-564']", r#"["sqli","high",90,"high",[],{"cwe":[564]}]"#),
            (
                "technique = ['T1505']\ncapec = ['CAPEC-7']",
                r#"["sqli","high",90,"high",[],{"technique":["T1505"],"capec":[7]}]"#,
            ),
        ] {
            let facts = rule_that_tells(told).facts();
            assert_eq!(serde_json::to_string(&facts).unwrap(), written);
            assert_eq!(serde_json::from_str::<RuleFacts>(written).unwrap(), facts);
        }
    }

    #[test]
    fn a_frame_is_plain_text_inside() {
        let mut body = body(&[DATED]);
        let (rule, mut next) = (rule(), DATED.len() as u64 + 1);
        let verdict = verdict(&rule);
        for (line, cut, tells_time) in [(ATTACK, false, true), (b"\xff", true, false)] {
            let length = line.len() as u64 + 8 * u64::from(cut);
            let attack = Some(&verdict);
            body.push(Line { offset: next, length, line, cut, time: 8, tells_time, attack, ..Line::default() });
            next += 100;
        }
        let record = body.encode(&header(), 0, 3, 3);
        let expected = r#"{"twosec_frame":1,"host":{"id":"4a5b","name":"web-1"},"path":"/var/log/apache2/access.log","life":"21a53db0ea7b092e1207d87d689776d3","format":"combined","ruleset":"2026.11.1","agent":"0.1.0","offset":0,"day":"2024-10-04","rules":{"sqli-x":["sqli","high",90]}}
{"time":7,"line":"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\""}
{"line":"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] \"GET /?id=1'+or HTTP/1.1\" 200 5 \"-\" \"-\"","attack":[90,[["sqli-x",[2,1,0,1,5]]]]}
{"offset":174,"time":8,"line_b64":"/w==","length":9,"cut":true,"attack":[90,[["sqli-x",[2,1,0,1,5]]]]}
"#;
        assert_eq!(String::from_utf8(Packing::Gzip.unpack(&record, DECODED_BYTES_MAX).unwrap()).unwrap(), expected);
        let (_, events) = decode(&record).unwrap();
        let finding = |event: &Event| event.attack.as_ref().unwrap().findings[0].clone();
        let (found, odd) = (finding(&events[1]), finding(&events[2]));
        assert_eq!((found.field, found.parameter.as_deref(), &*found.excerpt), (Field::Query, Some("id"), "1' or"));
        assert_eq!((odd.field, odd.parameter, &*odd.excerpt), (Field::RequestLine, None, ""));
    }

    #[test]
    fn an_undated_line_takes_the_day_of_the_line_before_it() {
        let body = body(&[b"odd", DATED, b"odd again"]);
        let (_, events) = decode(&body.encode(&header(), 0, 3, 1)).unwrap();
        let days: Vec<_> = events.iter().map(|event| event.day.unwrap().to_string()).collect();
        assert_eq!(days, ["2024-10-04", "2026-11-16", "2026-11-16"]);
        assert_eq!((events[0].time, events[1].time), (7, 1_794_816_025_000));
    }

    #[test]
    fn an_incident_stands_behind_a_line_and_moves_nothing() {
        let incident = crate::incident::tests::incident();
        let mut body = body(&[DATED]);
        let next = DATED.len() as u64 + 1;
        body.push(Line { offset: next, time: 9, incident: Some(&incident), ..Line::default() });
        body.push(Line { offset: next, length: 3, line: b"odd", time: 7, ..Line::default() });
        for (from, to) in [(0, 3), (1, 3)] {
            let (_, events) = decode(&body.encode(&header(), from, to, 1)).unwrap();
            let told = &events[events.len() - 2];
            assert_eq!((told.incident.as_deref(), told.id(&told.parsed())), (Some(&incident), incident.id));
            let behind = &events[events.len() - 1];
            assert_eq!((behind.offset, &*behind.line), (next, &b"odd"[..]));
        }
    }

    #[test]
    fn a_frame_of_a_newer_program_is_refused_by_name() {
        let header = Header { version: 9, ..header() };
        let error = decode(&body(&[DATED]).encode(&header, 0, 1, 1)).unwrap_err();
        assert_eq!(error.to_string(), "newer schema: the frame has version 9, this program reads up to 1");
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = vec![b'0'; DECODED_BYTES_MAX];
        let bomb = body(&[&zeros]).encode(&header(), 0, 1, 9);
        assert!(bomb.len() < 100_000);
        assert!(matches!(decode(&bomb), Err(FrameError::Unpack(UnpackError::Bomb(_)))));
    }

    #[test]
    fn what_is_no_frame_says_why() {
        let mut cut = body(&[DATED]).encode(&header(), 0, 1, 1);
        cut.truncate(cut.len() - 9);
        assert!(matches!(decode(&cut), Err(FrameError::Unpack(UnpackError::Damaged(..)))));
        assert!(matches!(decode(b"hello"), Err(FrameError::NotGzip)));
        assert!(matches!(decode(b""), Err(FrameError::NotGzip)));
    }

    /// Bytes between a line and the one before it.
    fn gap() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(1), 0..1u64 << 50]
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            lines in prop::collection::vec((any::<Vec<u8>>(), any::<bool>(), any::<bool>(), gap()), 1..30),
            level in 1u8..=9,
            split in 0usize..30,
        ) {
            let rule = rule();
            let attack = verdict(&rule);
            let mask = Mask { at: 1..2, with: "x".into() };
            let (mut body, mut offsets, mut next) = (Body::default(), Vec::new(), 0);
            for (line, hit, cut, gap) in &lines {
                let length = line.len() as u64 + u64::from(*cut);
                let attack = hit.then_some(&attack);
                let offset = next + gap;
                next = offset + length + 1;
                offsets.push(offset);
                let masks = std::slice::from_ref(&mask);
                let (masks, duplicate_of) = if *hit { (masks, Some("/x")) } else { (&masks[..0], None) };
                body.push(Line { offset, length, line, cut: *cut, time: 7, attack, masks, duplicate_of, ..Line::default() });
            }
            let split = split.min(lines.len());
            let mut events = decode(&body.encode(&header(), 0, split, level)).unwrap().1;
            events.extend(decode(&body.encode(&header(), split, lines.len(), level)).unwrap().1);
            prop_assert_eq!(events.len(), lines.len());
            for ((event, (line, hit, cut, _)), offset) in events.iter().zip(&lines).zip(offsets) {
                prop_assert_eq!(&event.line, line);
                prop_assert_eq!((event.offset, event.cut), (offset, *cut));
                prop_assert_eq!(event.length, line.len() as u64 + u64::from(*cut));
                prop_assert_eq!((event.masks.len(), event.duplicate_of.is_some()), (usize::from(*hit), *hit));
                prop_assert_eq!(event.attack.as_ref().map(|attack| attack.score), hit.then_some(90));
            }
        }

        #[test]
        fn a_plain_line_is_written_as_any_other(line in r#"[ -~"\\]{0,60}"#, spots: Vec<(u16, u8, u16, u16)>, hit: bool) {
            let rule = rule();
            let mut verdict = verdict(&rule);
            let incident = spots.first().map(|spot| EventId([spot.1; 16]));
            let context = Context { incident, ..Context::default() };
            for (view, layer, start, end) in spots {
                verdict.hits.push(Hit { rule: &rule, spot: Spot { view, layer, form: Form::Joined, start, end } });
            }
            let line = Line {
                length: line.len() as u64, line: line.as_bytes(), time: 7, tells_time: true,
                attack: hit.then_some(&verdict), context: incident.map(|_| &context), ..Line::default()
            };
            let (mut plain, mut row) = (Vec::new(), Vec::new());
            push_plain(line.line, line.attack, incident, &mut plain);
            push_row(&line, true, &mut row);
            prop_assert!(is_plain(line.line) && tells_all(&line));
            prop_assert_eq!(plain, row);
        }

        #[test]
        fn no_record_makes_the_reader_panic(mut bytes: Vec<u8>, text: String) {
            let _ = decode(&bytes);
            bytes.splice(..0, [0x1f, 0x8b, 8, 0]);
            let _ = decode(&bytes);
            let _ = decode(&gzip(text.as_bytes(), 1));
        }
    }
}
