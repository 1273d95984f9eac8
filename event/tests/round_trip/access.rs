//! Access logs in any format.

use crate::apache::{ZONES, escape, sent, shown, strftime, zone};
use crate::{LINES, config};
use event::Format;
use event::format::{Access, Request};
use event::unescape::unescape;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;

/// What one field of one line is made of.
#[derive(Debug, Clone)]
struct Draw {
    bytes: Vec<u8>,
    number: u64,
    /// Whether Apache has nothing to write there.
    is_absent: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    let number = prop_oneof![0..1000u64, any::<u64>()];
    (sent(), number, prop::bool::weighted(0.1)).prop_map(|(bytes, number, is_absent)| Draw { bytes, number, is_absent })
}

/// What one line is made of.
#[derive(Debug, Clone)]
struct Line {
    draws: Vec<Draw>,
    micros: i64,
    offset_minutes: i32,
}

/// From 1970 to 2068, as far as years of two digits reach.
fn line(fields: usize) -> impl Strategy<Value = Line> {
    let draws = prop::collection::vec(draw(), fields);
    (draws, 0..3_090_000_000_000_000i64, -14 * 60..=14 * 60i32).prop_map(|(draws, micros, offset_minutes)| Line {
        draws,
        micros,
        offset_minutes,
    })
}

/// Where a field comes to stand in [`Access`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Client,
    User,
    Request,
    Method,
    Target,
    Version,
    Path,
    Query,
    Status,
    Bytes,
    Duration(u64),
    Host,
    Port,
    Referer,
    UserAgent,
    Other,
}

impl Slot {
    /// Whether a format that tells both would tell one of them as another field.
    fn rivals(self, other: Slot) -> bool {
        let is_part = |slot| matches!(slot, Slot::Method | Slot::Target | Slot::Version);
        let both = |one, two| one == Slot::Request && is_part(two);
        match self {
            Slot::Duration(_) | Slot::Other => false,
            _ => self == other || both(self, other) || both(other, self),
        }
    }
}

/// What is written for a field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// Anything.
    Any,
    /// A word without blanks, and without the byte that stands behind it.
    Word(u8),
    Number,
    /// What the client calls his request's method or protocol.
    OneOf(&'static [&'static str]),
    Moment(Moment),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Moment {
    Clf,
    Strftime(String),
    Sec,
    Msec,
    Usec,
    MsecFrac,
    UsecFrac,
}

#[derive(Debug, Clone)]
enum Piece {
    /// As the log shows it.
    Text(String),
    Field {
        directive: String,
        slot: Slot,
        shape: Shape,
    },
}

type Directive = (&'static str, Slot);

const TEXTS: [Directive; 17] = [
    ("%u", Slot::User),
    ("%>u", Slot::User),
    ("%r", Slot::Request),
    ("%U%q", Slot::Target),
    ("%U", Slot::Path),
    ("%q", Slot::Query),
    ("%{Referer}i", Slot::Referer),
    ("%!200,304{referer}i", Slot::Referer),
    ("%{User-Agent}i", Slot::UserAgent),
    ("%400,501{USER-AGENT}i", Slot::UserAgent),
    ("%{X-Forwarded-For}i", Slot::Other),
    ("%{Set-Cookie}o", Slot::Other),
    ("%{UNIQUE ID}e", Slot::Other),
    ("%{note}n", Slot::Other),
    ("%{PHPSESSID}C", Slot::Other),
    ("%f", Slot::Other),
    ("%{X-A}^ti", Slot::Other),
];

const WORDS: [Directive; 13] = [
    ("%h", Slot::Client),
    ("%a", Slot::Client),
    ("%{c}a", Slot::Other),
    ("%A", Slot::Other),
    ("%l", Slot::Other),
    ("%X", Slot::Other),
    ("%L", Slot::Other),
    ("%R", Slot::Other),
    ("%{hextid}P", Slot::Other),
    ("%v", Slot::Host),
    ("%V", Slot::Host),
    ("%m", Slot::Method),
    ("%H", Slot::Version),
];

const NUMBERS: [Directive; 17] = [
    ("%>s", Slot::Status),
    ("%s", Slot::Status),
    ("%!200s", Slot::Status),
    ("%b", Slot::Bytes),
    ("%B", Slot::Bytes),
    ("%O", Slot::Bytes),
    ("%D", Slot::Duration(1_000)),
    ("%{us}T", Slot::Duration(1_000)),
    ("%{ms}T", Slot::Duration(1_000_000)),
    ("%T", Slot::Duration(1_000_000_000)),
    ("%I", Slot::Other),
    ("%S", Slot::Other),
    ("%k", Slot::Other),
    ("%P", Slot::Other),
    ("%{tid}P", Slot::Other),
    ("%{remote}p", Slot::Other),
    ("%^FB", Slot::Other),
];

/// What stands around a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Nothing,
    Quotes,
    /// `key="..."`
    Named,
    /// `"key": "..."`, or without the inner quotes for a number.
    Json,
    Brackets,
    /// `key:...`
    Label,
}

impl Around {
    const ALL: [Around; 6] =
        [Around::Nothing, Around::Quotes, Around::Named, Around::Json, Around::Brackets, Around::Label];

    fn is_quoted(self, shape: &Shape) -> bool {
        matches!(self, Around::Quotes | Around::Named) || self == Around::Json && *shape != Shape::Number
    }

    fn texts(self, shape: &Shape) -> (&'static str, &'static str) {
        match self {
            Around::Nothing => ("", ""),
            Around::Quotes => ("\"", "\""),
            Around::Named => ("k=\"", "\""),
            Around::Json if self.is_quoted(shape) => ("\"k\": \"", "\""),
            Around::Json => ("\"k\":", ""),
            Around::Brackets => ("[", "]"),
            Around::Label => ("k:", ""),
        }
    }
}

/// One field, or several that belong together.
#[derive(Debug, Clone)]
enum Part {
    One(Directive, Shape, Around),
    /// `"%m %U%q %H"`
    Request,
    /// `%v:%p`
    Host,
    Time(Times, Around),
}

/// How date and time are written.
#[derive(Debug, Clone)]
struct Times {
    /// Each with the text before it.
    pieces: Vec<(&'static str, Moment)>,
    /// The unit that they are rounded down to.
    millis: i64,
    tells_zone: bool,
}

fn times() -> impl Strategy<Value = Times> {
    let whole = |moment, millis| Times { pieces: vec![("", moment)], millis, tells_zone: true };
    let halves = vec![("", Moment::Sec), (".", Moment::MsecFrac)];
    prop_oneof![
        2 => Just(whole(Moment::Clf, 1000)),
        1 => Just(whole(Moment::Sec, 1000)),
        1 => Just(whole(Moment::Msec, 1)),
        1 => Just(whole(Moment::Usec, 1)),
        1 => Just(Times { pieces: halves, millis: 1, tells_zone: true }),
        4 => strftimes(),
    ]
}

fn strftimes() -> impl Strategy<Value = Times> {
    let date = select(&["%F", "%Y-%m-%d", "%d/%b/%Y", "%D", "%e %B %Y", "%A, %d %b %y", "%a %b %e %Y", "%Y %j"][..]);
    let clock = select(&["%T", "%H:%M:%S", "%I:%M:%S %p", "%k:%M:%S", "%R", "%l:%M%p"][..]);
    let fraction = select(&[None, Some(Moment::MsecFrac), Some(Moment::UsecFrac)][..]);
    let (between, zone) = (select(&[" ", "T", ":", "%t", "%%"][..]), select(&["", "%z", " %z"][..]));
    (date, between, clock, fraction, zone, 0..3).prop_map(|(date, between, clock, fraction, zone, order)| {
        let strftime = |format: String| ("", Moment::Strftime(format));
        let mut pieces = match order {
            0 => vec![strftime(format!("{date}{between}{clock}"))],
            1 => vec![strftime(format!("{clock} {date}"))],
            _ => vec![strftime(date.to_owned()), (" ", Moment::Strftime(clock.to_owned()))],
        };
        let has_seconds = clock.contains("%S") || clock == "%T";
        let fraction = fraction.filter(|_| has_seconds).map(|fraction| (".", fraction));
        let millis = match (&fraction, has_seconds) {
            (Some(_), _) => 1,
            (None, true) => 1000,
            (None, false) => 60_000,
        };
        pieces.extend(fraction);
        pieces.extend((!zone.is_empty()).then(|| strftime(zone.to_owned())));
        Times { pieces, millis, tells_zone: !zone.is_empty() }
    })
}

fn part() -> impl Strategy<Value = Part> {
    let one = |directives: &'static [Directive], shape: Shape| {
        (select(directives), select(&Around::ALL[..])).prop_map(move |(directive, around)| {
            let shape = match directive.1 {
                Slot::Method => Shape::OneOf(&["GET", "POST", "PROPFIND", "M-SEARCH"]),
                Slot::Version => Shape::OneOf(&["HTTP/1.0", "HTTP/1.1", "HTTP/2.0"]),
                _ => shape.clone(),
            };
            Part::One(directive, shape, around)
        })
    };
    prop_oneof![
        6 => one(&TEXTS, Shape::Any),
        4 => one(&WORDS, Shape::Word(b' ')),
        4 => one(&NUMBERS, Shape::Number),
        1 => Just(Part::Request),
        1 => Just(Part::Host),
        2 => (times(), select(&Around::ALL[..])).prop_map(|(times, around)| Part::Time(times, around)),
    ]
}

/// Between fields that end by themselves.
const LOOSE: [&str; 10] = [" ", ",", "|", ";", ", ", "\t", " é ", "%", " \\ ", ""];

/// Behind a field that may hold anything but a tab or an unescaped quote.
const STRICT: [&str; 5] = [" ", "  ", "\t", " | ", " - "];

/// A format, and what its lines must come out as.
#[derive(Debug, Clone)]
struct Plan {
    pieces: Vec<Piece>,
    times: Option<Times>,
    zone: (&'static str, i32),
    written: String,
}

impl Plan {
    /// Puts parts side by side, leaving out those that would be read in two ways. Behind a
    /// bare field that may hold blanks, only fields without blanks may stand until a quote.
    fn of(parts: Vec<Part>, seed: &[Index], zone: (&'static str, i32), style: usize) -> Plan {
        let mut plan = Plan { pieces: Vec::new(), times: None, zone, written: String::new() };
        let (mut is_open, mut is_strict) = (false, false);
        for (part, index) in parts.into_iter().zip(seed) {
            if !plan.has_room(&part) {
                continue;
            }
            let quotes = part.begins_with_quote();
            if is_open && !quotes && part.may_hold_blanks() {
                continue;
            }
            let choice = if is_strict { *index.get(&STRICT) } else { *index.get(&LOOSE) };
            let between = if choice.is_empty() && !quotes { " " } else { choice };
            if !plan.pieces.is_empty() {
                plan.pieces.push(Piece::Text(between.to_owned()));
            }
            is_strict = part.may_hold_blanks() && !part.is_quoted();
            is_open = is_strict || is_open && !part.has_quote();
            plan.push(part);
        }
        if is_open && !is_strict {
            plan.pieces.push(Piece::Text(" \"".to_owned()));
        }
        plan.part_words();
        plan.written = plan.write_format(style);
        plan
    }

    fn slots(&self) -> impl Iterator<Item = (&str, Slot)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field { directive, slot, .. } => Some((directive.as_str(), *slot)),
            Piece::Text(_) => None,
        })
    }

    fn has_room(&self, part: &Part) -> bool {
        let is_free = |wanted: Slot| self.slots().all(|(_, slot)| !wanted.rivals(slot));
        match part {
            Part::One((directive, slot), ..) => is_free(*slot) && self.slots().all(|(there, _)| there != *directive),
            Part::Request => [Slot::Request, Slot::Method, Slot::Target, Slot::Version].into_iter().all(is_free),
            Part::Host => is_free(Slot::Host),
            Part::Time(..) => self.times.is_none(),
        }
    }

    fn push(&mut self, part: Part) {
        let text = |text: &str| Piece::Text(text.to_owned());
        let field = |directive: &str, slot, shape| Piece::Field { directive: directive.to_owned(), slot, shape };
        let methods = Shape::OneOf(&["GET", "HEAD"]);
        match part {
            Part::One((directive, slot), shape, around) => {
                let (before, after) = around.texts(&shape);
                let shape = match shape {
                    Shape::Word(_) if around.is_quoted(&shape) => Shape::Any,
                    shape => shape,
                };
                self.pieces.extend([text(before), field(directive, slot, shape), text(after)]);
            }
            Part::Request => self.pieces.extend([
                text("\""),
                field("%m", Slot::Method, methods),
                text(" "),
                field("%U%q", Slot::Target, Shape::Any),
                text(" "),
                field("%H", Slot::Version, Shape::OneOf(&["HTTP/1.1"])),
                text("\""),
            ]),
            Part::Host => self.pieces.extend([
                field("%v", Slot::Host, Shape::OneOf(&["dev.lab", "[::1]", "10.0.0.1", "xn--bcher-kva.example"])),
                text(":"),
                field("%p", Slot::Port, Shape::Number),
            ]),
            Part::Time(times, around) => {
                let (before, after) = around.texts(&Shape::Any);
                self.pieces.push(text(before));
                for (between, moment) in &times.pieces {
                    let shape = Shape::Moment(moment.clone());
                    self.pieces.extend([text(between), field(&moment.directive(), Slot::Other, shape)]);
                }
                self.pieces.push(text(after));
                self.times = Some(times);
            }
        }
    }

    /// Joins texts, and tells each word which byte ends it.
    fn part_words(&mut self) {
        let mut joined: Vec<Piece> = Vec::new();
        for piece in std::mem::take(&mut self.pieces) {
            match (joined.last_mut(), piece) {
                (_, Piece::Text(text)) if text.is_empty() => {}
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => joined.push(piece),
            }
        }
        for at in 1..joined.len() {
            let (before, after) = joined.split_at_mut(at);
            if let (Some(Piece::Field { shape: Shape::Word(end), .. }), Piece::Text(text)) =
                (before.last_mut(), &after[0])
            {
                *end = text.as_bytes()[0];
            }
        }
        self.pieces = joined;
    }

    /// The format as a user may write it: bare, in quotes, or as a line of `httpd.conf`.
    fn write_format(&self, style: usize) -> String {
        let text = |text: &str| text.replace('\\', "\\\\").replace('%', "%%").replace('\t', "\\t");
        let format: String = self
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(written) => text(written),
                Piece::Field { directive, .. } => directive.clone(),
            })
            .collect();
        let quoted = format.replace('\\', "\\\\").replace('"', "\\\"");
        match style {
            0 => format!("\"{quoted}\""),
            1 => format!("LogFormat \"{quoted}\" mine"),
            // Quotes around it would be taken for those of `httpd.conf`.
            _ if format.starts_with('"') => format!("\"{quoted}\""),
            _ => format,
        }
    }

    /// A line as Apache writes it, and what it tells.
    fn write(&self, line: &Line) -> (Vec<u8>, Told) {
        let (mut out, mut told) = (Vec::new(), Told::default());
        let mut draws = line.draws.iter();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend(text.bytes()),
                Piece::Field { shape: Shape::Moment(moment), .. } => {
                    out.extend(moment.write(line.micros, self.offset_minutes(line)).into_bytes());
                }
                Piece::Field { directive, slot, shape } => {
                    let draw = draws.next().expect("there is a draw for each field");
                    out.extend(told.take(directive, *slot, shape, draw));
                }
            }
        }
        let millis = line.micros / 1000;
        told.at = self.times.as_ref().map(|times| millis - millis % times.millis);
        (out, told)
    }

    /// Where the server stands; where lines do not tell, that is the file's zone.
    fn offset_minutes(&self, line: &Line) -> i32 {
        if self.times.as_ref().is_some_and(|times| times.tells_zone) { line.offset_minutes } else { self.zone.1 }
    }
}

impl Part {
    fn is_quoted(&self) -> bool {
        match self {
            Part::One(_, shape, around) => around.is_quoted(shape),
            Part::Request => true,
            Part::Host => false,
            Part::Time(_, around) => around.is_quoted(&Shape::Any),
        }
    }

    fn begins_with_quote(&self) -> bool {
        match self {
            Part::One(_, _, around) | Part::Time(_, around) => matches!(around, Around::Quotes | Around::Json),
            Part::Request => true,
            Part::Host => false,
        }
    }

    fn has_quote(&self) -> bool {
        self.is_quoted() || self.begins_with_quote()
    }

    fn may_hold_blanks(&self) -> bool {
        matches!(self, Part::One(_, Shape::Any, around) if !around.is_quoted(&Shape::Any))
    }
}

impl Moment {
    fn directive(&self) -> String {
        match self {
            Moment::Clf => "%t".to_owned(),
            Moment::Strftime(format) => format!("%{{{format}}}t"),
            Moment::Sec => "%{sec}t".to_owned(),
            Moment::Msec => "%{begin:msec}t".to_owned(),
            Moment::Usec => "%{usec}t".to_owned(),
            Moment::MsecFrac => "%{msec_frac}t".to_owned(),
            Moment::UsecFrac => "%{begin:usec_frac}t".to_owned(),
        }
    }

    fn write(&self, micros: i64, offset_minutes: i32) -> String {
        match self {
            Moment::Clf => format!("[{}]", strftime("%d/%b/%Y:%H:%M:%S %z", micros, offset_minutes)),
            Moment::Strftime(format) => strftime(format, micros, offset_minutes),
            Moment::Sec => (micros / 1_000_000).to_string(),
            Moment::Msec => (micros / 1_000).to_string(),
            Moment::Usec => micros.to_string(),
            Moment::MsecFrac => format!("{:03}", micros / 1_000 % 1_000),
            Moment::UsecFrac => format!("{:06}", micros % 1_000_000),
        }
    }
}

/// What a line tells: text is unescaped, and shown in ASCII.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Told {
    client: Option<String>,
    user: Option<String>,
    at: Option<i64>,
    request: Option<String>,
    method: Option<String>,
    target: Option<String>,
    version: Option<String>,
    path: Option<String>,
    query: Option<String>,
    status: Option<u16>,
    bytes: Option<u64>,
    duration_nanos: Option<u64>,
    host: Option<String>,
    port: Option<u16>,
    referer: Option<String>,
    user_agent: Option<String>,
    others: BTreeMap<String, String>,
}

impl Told {
    fn of(access: &Access<'_>) -> Told {
        let text = |field: Option<&[u8]>| field.map(|field| shown(&unescape(field)));
        let (host, port) = access.vhost.unzip();
        let request = access.request.unwrap_or(Request { line: b"", method: None, target: None, version: None });
        // What is in a request line is another test's matter.
        let is_in_parts = request.line.is_empty();
        let part = |part: Option<&[u8]>| text(part.filter(|_| is_in_parts));
        Told {
            client: text(Some(access.client).filter(|client| !client.is_empty())),
            user: text(access.user),
            at: access.time.map(|time| time.at),
            request: text(Some(request.line).filter(|line| !line.is_empty())),
            method: part(request.method),
            target: part(request.target),
            version: part(request.version),
            path: text(access.path),
            query: text(access.query),
            status: access.status,
            bytes: access.bytes,
            duration_nanos: access.duration_nanos,
            host: text(host),
            port: port.flatten(),
            referer: text(access.referer),
            user_agent: text(access.user_agent),
            others: access.others.iter().map(|(name, value)| (name.to_string(), shown(&unescape(value)))).collect(),
        }
    }

    /// Notes what a field tells, and returns what the log shows of it.
    fn take(&mut self, directive: &str, slot: Slot, shape: &Shape, draw: &Draw) -> Vec<u8> {
        if *shape == Shape::Number {
            return self.take_number(directive, slot, draw).into_bytes();
        }
        let bytes = match shape {
            Shape::OneOf(words) => words[draw.number as usize % words.len()].as_bytes().to_vec(),
            Shape::Word(end) => word(&draw.bytes, *end),
            _ if slot == Slot::Query && !draw.bytes.is_empty() => [b"?", &draw.bytes[..]].concat(),
            _ => draw.bytes.clone(),
        };
        let is_given = matches!(shape, Shape::OneOf(_)) || slot == Slot::Query || !draw.is_absent;
        let written = match (slot, &bytes[..]) {
            _ if !is_given => b"-".to_vec(),
            (Slot::User, b"") => b"\"\"".to_vec(),
            (_, bytes) => escape(bytes),
        };
        // One hyphen may stand for nothing or for itself.
        let there = (written != b"-").then(|| shown(&unescape(&written)));
        match slot {
            Slot::Client => self.client = Some(shown(&unescape(&written))).filter(|client| !client.is_empty()),
            Slot::User => self.user = there,
            Slot::Request => self.request = there.filter(|line| !line.is_empty()),
            Slot::Method => self.method = there,
            Slot::Target => self.target = there,
            Slot::Version => self.version = there.map(|text| text.trim_start_matches("HTTP/").to_owned()),
            Slot::Path => self.path = there,
            Slot::Query => self.query = there.filter(|query| !query.is_empty()),
            Slot::Host => self.host = there,
            Slot::Referer => self.referer = there,
            Slot::UserAgent => self.user_agent = there,
            _ => self.others.extend(there.map(|value| (directive.to_owned(), value))),
        }
        written
    }

    fn take_number(&mut self, directive: &str, slot: Slot, draw: &Draw) -> String {
        let number = match slot {
            Slot::Status => 100 + draw.number % 900,
            Slot::Port => draw.number % 65_536,
            Slot::Duration(_) => draw.number % 1_000_000,
            _ => draw.number,
        };
        if draw.is_absent {
            return "-".to_owned();
        }
        match slot {
            Slot::Status => self.status = u16::try_from(number).ok(),
            Slot::Port => self.port = u16::try_from(number).ok(),
            Slot::Bytes => self.bytes = Some(number),
            Slot::Duration(nanos) => self.duration_nanos = self.duration_nanos.max(Some(number * nanos)),
            _ => self.others.extend([(directive.to_owned(), number.to_string())]),
        }
        number.to_string()
    }
}

/// Some bytes as a word: not empty, without blanks and without `end`.
fn word(bytes: &[u8], end: u8) -> Vec<u8> {
    let is_of_it = |byte: &u8| *byte != b' ' && (*byte != end || b"\t\"".contains(&end));
    let word: Vec<u8> = bytes.iter().copied().filter(is_of_it).collect();
    if word.is_empty() { b"w".to_vec() } else { word }
}

fn plan() -> impl Strategy<Value = Plan> {
    let parts = prop::collection::vec(part(), 1..14);
    let seeds = prop::collection::vec(any::<Index>(), 14);
    (parts, seeds, select(&ZONES[..]), 0..3usize)
        .prop_map(|(parts, seeds, zone, style)| Plan::of(parts, &seeds, zone, style))
}

fn plan_and_lines() -> impl Strategy<Value = (Plan, Vec<Line>)> {
    plan().prop_flat_map(|plan| {
        let fields = plan.slots().count();
        (Just(plan), prop::collection::vec(line(fields), LINES))
    })
}

/// Fields of Apache's own formats.
#[derive(Debug, Clone)]
struct Own {
    client: String,
    user: Draw,
    request: (String, Vec<u8>),
    referer: Draw,
    user_agent: Draw,
    numbers: Draw,
    line: Line,
}

fn own() -> impl Strategy<Value = Own> {
    let client = prop_oneof![
        any::<std::net::IpAddr>().prop_map(|address| address.to_string()),
        "[a-z]{1,9}(\\.[a-z0-9-]{1,9}){0,3}",
    ];
    (client, draw(), ("[A-Z-]{1,9}", sent()), draw(), draw(), draw(), line(0)).prop_map(
        |(client, user, request, referer, user_agent, numbers, line)| Own {
            client,
            user,
            request,
            referer,
            user_agent,
            numbers,
            line,
        },
    )
}

/// As `LogFormat` of `httpd.conf` and Debian's `apache2.conf` have it, without what comes before `%h`.
fn write_own(own: &Own, is_combined: bool) -> (Vec<u8>, Told) {
    let mut told = Told { client: Some(own.client.clone()), ..Told::default() };
    let (method, target) = &own.request;
    let request = Draw { bytes: [method.as_bytes(), b" ", target, b" HTTP/1.1"].concat(), ..own.user.clone() };
    let user = told.take("%u", Slot::User, &Shape::Any, &own.user);
    let time = Moment::Clf.write(own.line.micros, own.line.offset_minutes);
    let request = told.take("%r", Slot::Request, &Shape::Any, &request);
    let status = told.take_number("%>s", Slot::Status, &own.numbers);
    let bytes = told.take_number("%b", Slot::Bytes, &own.referer);
    let mut out = format!("{} - ", own.client).into_bytes();
    out.extend([&user[..], b" ", time.as_bytes(), b" \"", &request, b"\" "].concat());
    out.extend(format!("{status} {bytes}").into_bytes());
    if is_combined {
        for (slot, draw) in [(Slot::Referer, &own.referer), (Slot::UserAgent, &own.user_agent)] {
            out.extend([b" \"", &told.take("", slot, &Shape::Any, draw)[..], b"\""].concat());
        }
    }
    told.at = Some(own.line.micros / 1_000_000 * 1000);
    (out, told)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_apache_writes_in_any_format_is_read_as_what_was_sent((plan, lines) in plan_and_lines()) {
        let format: Format = plan.written.parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        let format: Format = format.to_string().parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        let zone = zone(plan.zone.0);
        for line in lines {
            let (written, told) = plan.write(&line);
            if written.is_empty() {
                continue;
            }
            let parsed = format.parse_in(&written, &zone);
            let access = parsed.access();
            prop_assert!(access.is_some(), "{:?}: `{}` in `{}`", parsed, shown(&written), plan.written);
            prop_assert_eq!(access.map(Told::of), Some(told), "`{}` in `{}`", shown(&written), plan.written);
        }
    }

    #[test]
    fn apaches_own_formats_are_read_as_what_was_sent_and_are_recognised(
        lines in prop::collection::vec((own(), any::<[bool; 2]>(), any::<u16>()), LINES),
    ) {
        for (own, [is_combined, has_vhost], port) in lines {
            let has_vhost = has_vhost && is_combined;
            let (mut written, mut told) = write_own(&own, is_combined);
            if has_vhost {
                written.splice(..0, format!("dev.lab:{port} ").into_bytes());
                told.host = Some("dev.lab".to_owned());
                told.port = Some(port);
            }
            let format = match (is_combined, has_vhost) {
                (_, true) => Format::VhostCombined,
                (true, false) => Format::Combined,
                (false, false) => Format::Common,
            };
            let parsed = format.parse(&written);
            prop_assert_eq!(parsed.access().map(Told::of), Some(told), "`{}`", shown(&written));
            prop_assert_eq!(&Format::Auto.parse(&written), &parsed, "`{}`", shown(&written));
        }
    }

    #[test]
    fn a_request_is_told_as_method_target_and_version(
        requests in prop::collection::vec(("[A-Za-z_-]{1,9}", sent(), "[0-9]\\.[0-9]"), LINES),
    ) {
        for (method, target, version) in requests {
            let target = [b"/", &target[..], b"/"].concat();
            let line = [method.as_bytes(), b" ", &escape(&target), b" HTTP/", version.as_bytes()].concat();
            let request = Request::of(&line);
            let parts = (request.method, request.target.map(|target| shown(&unescape(target))), request.version);
            prop_assert_eq!(parts, (Some(method.as_bytes()), Some(shown(&target)), Some(version.as_bytes())));
        }
    }
}
