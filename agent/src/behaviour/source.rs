//! What one source did lately, in a few hundred bytes, and what that looks like.
//!
//! Everything here is forgotten when it is older than its window, so a source that has been
//! quiet for [`MEMORY`] is as good as one that was never seen.

use super::errors::Signal;
use super::hash::Key;
use super::request::{Attempt, FORM_BYTES, Numbered, Request, UPLOADER_FOLDERS};
use event::address::is_inside;
use event::{Category, Millis};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

const SECOND: Millis = 1_000;
const MINUTE: Millis = 60 * SECOND;

/// The longest of the windows.
pub const MEMORY: Millis = 60 * MINUTE;

/// Paths that are not there, each asked for once, within [`SCAN_WINDOW`]: a page with broken
/// links or a user with old bookmarks stays far below. Robots follow links of old, and programs that fetch
/// packages ask registries that do not have them.
const SCAN_PATHS: u32 = 15;
const SCAN_PATHS_OF_ROBOTS: u32 = 100;

/// Those that want a login first. A program whose login has ended asks for a few, too.
const SCAN_PATHS_ASKED: u32 = 30;

const SCAN_WINDOW: Millis = 5 * MINUTE;

/// Those of a scan that takes its time, within [`MEMORY`].
const SLOW_SCAN_PATHS: u32 = 40;

/// How long a scan may rest that goes on.
const SCAN_REST: Millis = 30 * MINUTE;

/// Those of a network whose addresses take turns, each of which asks for little else.
const NETWORK_SCAN_PATHS: u32 = 30;
const NETWORK_SCAN_PATHS_OF_ROBOTS: u32 = 100;

/// Paths within [`MINUTE`] that get the answer that all paths of their site get, asked for by what says
/// that it is a browser, and loads no page: more than anybody opens. Programs that follow a redirect,
/// or ask again while the site is down, need not say so.
const ALIKE_PATHS: u32 = 100;

/// Attacks within [`TOOL_WINDOW`]: faster than anybody types.
const TOOL_ATTACKS: u32 = 10;
const TOOL_WINDOW: Millis = 10 * SECOND;

/// Different passwords in queries, and tries at logins, one soon after the other.
const PASSWORDS: u32 = 5;
const TRIES: u32 = 8;
const TRY_GAP: Millis = 5 * MINUTE;
const TRY_PACE: Millis = 20 * SECOND;

/// Tries at a form that are refused, however slowly they come within [`MEMORY`].
const SLOW_TRIES: u32 = 30;

/// The pace of tries that programs repeat by themselves: one that waits until somebody lets it in
/// asks every five seconds (RFC 8628, 3.5).
const REPEAT_PACE: Millis = 4 * SECOND;

/// Bytes of a name that are shown.
const NAME_BYTES_MAX: usize = 64;

/// Tries of one network whose addresses take turns, and how many addresses that are.
const TRIES_OF_NETWORK: u32 = 12;
const ADDRESSES_OF_NETWORK: u32 = 3;

/// Names for which the same few passwords are tried.
const SPRAYED: u32 = 5;

/// How many times as many names as passwords that are.
const NAMES_PER_PASSWORD: u32 = 2;

/// Answers that must have been alike before another one means something.
const ALIKE: u32 = 5;

/// Bytes by which answers differ that mean the same: a name that is repeated, a counter.
const ALIKE_BYTES: u32 = 8;

/// In a row, answers that differ are a lockout's or a captcha's: two, or so many of those with which
/// servers let somebody in, for who has found a password uses it.
const WALL: u32 = 2;
const WALL_OF_LET_IN: u32 = 5;

/// The part of its length by which a page with a form changes when it says something else: that a name is
/// known, that these were too many tries.
const FORM_PART: u32 = 8;

/// Numbers tried in one parameter within [`SERIES_WINDOW`]. A browser that sends neither
/// referer nor asks for a page's images is a program, and fewer tell.
const NUMBERS: u32 = 20;
const NUMBERS_OF_PEOPLE: u32 = 6;
const NUMBERS_OF_ROBOTS: u32 = 100;
const NEAR: u64 = 10;

/// Those that come with a referer, as clicks do and as what a page's script fetches: more than anybody
/// clicks on, and each the next of the one before, by nobody who loads pages.
const LINKED_NUMBERS: u32 = 100;

/// How many times as many must stand in a path, where programs of the site's own ask for them, too.
const PATH_FACTOR: u32 = 2;
const SERIES_WINDOW: Millis = 2 * MINUTE;

/// Conditions tried in one parameter; and those that come with a referer, as what people type does.
const CONDITIONS: u32 = 20;
const LINKED_CONDITIONS: u32 = 50;

/// Times that each of two answers came to conditions that differ in numbers alone, and are injected:
/// somebody reads by them.
const READ: u32 = 20;

/// Since a page's images were asked for.
const PAGE_WINDOW: Millis = 10 * MINUTE;

/// Marks series of requests with a referer, to tell them from others of the same place.
const LINKED: u64 = 0x6c69_6e6b_6564_5f5f;

const UPLOAD_WINDOW: Millis = 60 * MINUTE;

/// Complaints of the error log within [`SCAN_WINDOW`] that no request accounts for.
const ERRORS: u32 = 2;

/// Requests that were not finished, within [`SCAN_WINDOW`].
const UNFINISHED: u32 = 20;

/// Connections on which nothing was sent, within the same time: browsers and load balancers open
/// some before they need them.
const IDLE: u32 = 200;

/// User agents of one address that logs in for others, and tries that are then looked at.
const AGENTS_OF_OTHERS: u32 = 3;
const TRIES_OF_OTHERS: u32 = 32;

/// Requests of few paths within [`FLOOD_WINDOW`], and of an address with as many user agents as a balancer
/// or a network of a provider has: an attacker may make them up.
const FLOOD: u32 = 1_000;
const FLOOD_OF_OTHERS: u32 = 5_000;
const FLOOD_AGENTS: u32 = 8;

/// Requests of a flood before its user agents are counted.
const FLOOD_BEGUN: u32 = FLOOD / 2;
const FLOOD_WINDOW: Millis = 10 * SECOND;
const FLOOD_PATHS: u32 = 8;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    Scan,
    Logins,
    Numbers,
    Conditions,
    Forgery,
    Upload,
    Unfinished,
    Flood,
    Errors,
    Tool,
}

impl Kind {
    /// What evidence names as its rule.
    pub fn rule(self) -> &'static str {
        match self {
            Kind::Scan => "behaviour-scan",
            Kind::Logins => "behaviour-bruteforce",
            Kind::Numbers => "behaviour-idor",
            Kind::Conditions => "behaviour-blind-sqli",
            Kind::Forgery => "behaviour-csrf",
            Kind::Upload => "behaviour-upload-run",
            Kind::Unfinished => "behaviour-slow-requests",
            Kind::Flood => "behaviour-flood",
            Kind::Errors => "behaviour-error-log",
            Kind::Tool => "behaviour-tool",
        }
    }

    pub fn category(self) -> Category {
        match self {
            Kind::Scan | Kind::Tool => Category::Recon,
            Kind::Logins => Category::Bruteforce,
            Kind::Numbers => Category::Idor,
            Kind::Conditions | Kind::Errors => Category::Sqli,
            Kind::Forgery => Category::Csrf,
            Kind::Upload => Category::Upload,
            Kind::Unfinished | Kind::Flood => Category::Dos,
        }
    }

    pub fn score(self) -> u8 {
        match self {
            Kind::Scan | Kind::Tool => 60,
            Kind::Numbers | Kind::Forgery | Kind::Flood | Kind::Unfinished => 65,
            Kind::Logins | Kind::Conditions | Kind::Errors => 75,
            Kind::Upload => 90,
        }
    }
}

/// Something that many lines show together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub kind: Kind,
    pub category: Category,
    /// Lines that show it and were not told of before.
    pub lines: u64,
    /// When the first of them came.
    pub since: Millis,
    /// What it is, in a sentence; told anew when it has doubled.
    pub sentence: Option<String>,
    /// Why it looks as if it had worked.
    pub success: Option<String>,
    /// Whether what looked like that before turned out to be something else.
    pub is_refuted: bool,
}

impl Found {
    fn of(kind: Kind, lines: u32, since: Millis, sentence: Option<String>) -> Found {
        Found {
            kind,
            category: kind.category(),
            lines: u64::from(lines),
            since,
            sentence,
            success: None,
            is_refuted: false,
        }
    }
}

/// Counts different hashes, up to some hundreds, in the bits of a number each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Different(u64, u64);

impl Different {
    fn note(&mut self, hash: u64) {
        let word = if hash & 64 == 0 { &mut self.0 } else { &mut self.1 };
        *word |= 1 << (hash & 63);
    }

    /// About how many were noted: of so many empty bits, some were hit twice
    /// (linear counting; Whang, Vander-Zanden and Taylor).
    fn count(self) -> u32 {
        let empty = f64::from(self.0.count_zeros() + self.1.count_zeros());
        (128.0 * (128.0 / empty.max(1.0)).ln()).round() as u32
    }

    /// Whether `hash`, or one that stands for the same, was noted.
    fn has(self, hash: u64) -> bool {
        let word = if hash & 64 == 0 { self.0 } else { self.1 };
        word >> (hash & 63) & 1 == 1
    }

    fn is_empty(&self) -> bool {
        *self == Different::default()
    }
}

/// Lines of one kind within a window, of which was told from time to time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    #[serde(rename = "s")]
    since: Millis,
    #[serde(rename = "n")]
    lines: u32,
    /// Lines that were told of, and at how many a sentence was written.
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    told: u32,
    #[serde(rename = "w", default, skip_serializing_if = "is_zero")]
    written: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Run {
    fn begin(at: Millis) -> Run {
        Run { since: at, ..Run::default() }
    }

    /// Whether a line of this time is none of the run's.
    fn is_over(&self, at: Millis, window: Millis) -> bool {
        self.lines > 0 && at.abs_diff(self.since) > window.unsigned_abs()
    }

    fn note(&mut self, at: Millis) {
        if self.lines == 0 {
            self.since = at;
        }
        self.lines = self.lines.saturating_add(1);
    }

    fn is_told(&self) -> bool {
        self.told > 0
    }

    /// What there is to tell of it now.
    fn tell(&mut self, kind: Kind, sentence: impl FnOnce(u32) -> String) -> Found {
        let lines = self.lines - self.told;
        self.told = self.lines;
        let is_due = self.written == 0 || self.lines >= self.written.saturating_mul(2);
        let sentence = is_due.then(|| sentence(self.lines));
        if is_due {
            self.written = self.lines;
        }
        Found::of(kind, lines, self.since, sentence)
    }
}

/// One address, or the network that a household has (64 bits) for IPv6.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// When it came last.
    #[serde(rename = "l")]
    pub last: Millis,
    #[serde(rename = "f", default, skip_serializing_if = "is_default")]
    flood: Flood,
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    scan: Option<Box<Scan>>,
    #[serde(rename = "s", default, skip_serializing_if = "is_default")]
    slow_scan: Option<Box<Scan>>,
    #[serde(rename = "t", default, skip_serializing_if = "is_default")]
    attacks: Option<Box<Run>>,
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    logins: Option<Box<Logins>>,
    #[serde(rename = "p", default, skip_serializing_if = "is_default")]
    series: Option<Box<[Series; 2]>>,
    #[serde(rename = "u", default, skip_serializing_if = "is_default")]
    unfinished: Option<Box<Unfinished>>,
    #[serde(rename = "e", default, skip_serializing_if = "is_default")]
    errors: Option<Box<Errors>>,
    #[serde(rename = "z", default, skip_serializing_if = "is_default")]
    upload: Option<Box<Upload>>,
    /// When it last loaded what a page is made of.
    #[serde(rename = "a", default, skip_serializing_if = "is_default")]
    loaded: Millis,
    /// Whether an incident of it may be open.
    #[serde(rename = "i", default, skip_serializing_if = "is_default")]
    pub is_suspect: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Flood {
    #[serde(rename = "r")]
    run: Run,
    /// A bit for each path.
    #[serde(rename = "p")]
    paths: u64,
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    assets: u32,
    /// A bit for each user agent, once it looks like a flood.
    #[serde(rename = "u", default, skip_serializing_if = "is_zero")]
    agents: u32,
}

/// A file that was sent, and what was then run where such files are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Upload {
    /// When it was sent, and when it or a program was run last.
    at: Millis,
    last: Millis,
    /// Hash of the path under which it lies, where the request that sent it tells it.
    #[serde(default, skip_serializing_if = "is_default")]
    path: u64,
    /// Hashes of the path without the end of its name: of the file that was put there last, and of one of those
    /// that got another name.
    #[serde(default, skip_serializing_if = "is_default")]
    put: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    moved: u64,
    /// Hashes of the folders around the program that took it.
    #[serde(default, skip_serializing_if = "is_default")]
    folders: [u64; UPLOADER_FOLDERS],
    #[serde(default, skip_serializing_if = "is_default")]
    run: Run,
}

/// Complaints of the error log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Errors {
    #[serde(flatten)]
    run: Run,
    #[serde(default, skip_serializing_if = "Different::is_empty")]
    messages: Different,
}

/// Requests that were not finished.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Unfinished {
    #[serde(flatten)]
    run: Run,
    /// Those of which nothing was sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    idle: u32,
}

/// Paths that are not there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    run: Run,
    paths: Different,
    /// When the last one came.
    #[serde(rename = "l", default, skip_serializing_if = "is_default")]
    last: Millis,
    /// Requests of the same time that were no misses, and their paths.
    #[serde(default, skip_serializing_if = "is_zero")]
    others: u32,
    #[serde(rename = "o", default, skip_serializing_if = "Different::is_empty")]
    others_paths: Different,
    /// Whether one was let in that told its name: browsers ask without it first.
    #[serde(rename = "u", default, skip_serializing_if = "is_default")]
    is_let_in: bool,
    /// Of a network, who asked.
    #[serde(default, skip_serializing_if = "Different::is_empty")]
    addresses: Different,
}

impl Scan {
    /// Forgets what is older than `window`. A scan that was told of goes on while it does not rest.
    fn forget(scan: &mut Option<Box<Scan>>, at: Millis, window: Millis) {
        let is_over = |scan: &Scan| match scan.was_told() {
            true => at.abs_diff(scan.last) > SCAN_REST.min(window).unsigned_abs(),
            false => scan.run.is_over(at, window),
        };
        if scan.as_deref().is_some_and(is_over) {
            *scan = None;
        }
    }

    fn miss(&mut self, path: u64, at: Millis) {
        self.run.note(at);
        self.paths.note(path);
        self.last = at;
    }

    /// Whether it was told of as a scan, and not as a part of another one.
    fn was_told(&self) -> bool {
        self.run.written > 0
    }

    /// Notes a request that was no miss.
    fn find(&mut self, request: &Request<'_>) {
        self.others = self.others.saturating_add(1);
        self.others_paths.note(request.hash);
        self.is_let_in |= request.user.is_some() && request.status < 400;
    }

    /// Whether it is of little else: the same page over and over makes no visitor.
    fn is_mostly_vain(&self) -> bool {
        self.run.lines >= self.others || self.paths.count() >= self.others_paths.count().saturating_mul(2)
    }

    /// Whether it is a scan: of so many paths, and of little else.
    fn is_one(&self, paths: u32) -> bool {
        self.was_told() || self.paths.count() >= paths && self.is_mostly_vain()
    }

    /// Notes a path that got the answer that all get.
    pub fn miss_of_all(&mut self, request: &Request<'_>, at: Millis) -> Option<Found> {
        let is_over = match self.was_told() {
            true => at.abs_diff(self.last) > SCAN_REST.unsigned_abs(),
            false => self.run.is_over(at, MINUTE),
        };
        if is_over {
            *self = Scan::default();
        }
        self.miss(request.hash, at);
        let sentence = |lines| {
            format!("asks for many paths that are answered alike, {lines} times, though the user agent is a browser's")
        };
        let is_one = self.was_told() || self.paths.count() >= ALIKE_PATHS;
        is_one.then(|| self.run.tell(Kind::Scan, sentence))
    }

    /// Notes a path that one of a network's addresses missed.
    pub fn miss_of_network(&mut self, request: &Request<'_>, address: u64, at: Millis) -> Option<Found> {
        if self.run.is_over(at, SCAN_WINDOW) {
            *self = Scan::default();
        }
        self.miss(request.hash, at);
        self.addresses.note(address);
        let is_robot = request.is_robot() || request.is_fetcher();
        let least = if is_robot { NETWORK_SCAN_PATHS_OF_ROBOTS } else { NETWORK_SCAN_PATHS };
        let is_one = self.addresses.count() >= ADDRESSES_OF_NETWORK && self.is_one(least);
        is_one
            .then(|| self.run.tell(Kind::Scan, |lines| asks_in_vain(lines, ", from several addresses of one network")))
    }
}

fn asks_in_vain(lines: u32, how: &str) -> String {
    format!("asks for many paths that are not there or forbidden, {lines} times{how}")
}

/// Tries at logins, one soon after the other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Logins {
    run: Run,
    last: Millis,
    path: u64,
    #[serde(default, skip_serializing_if = "Different::is_empty")]
    passwords: Different,
    #[serde(default, skip_serializing_if = "Different::is_empty")]
    names: Different,
    #[serde(default, skip_serializing_if = "Different::is_empty")]
    addresses: Different,
    #[serde(default, skip_serializing_if = "Different::is_empty")]
    agents: Different,
    /// Those of what says that it is a browser, and comes from no page.
    #[serde(default, skip_serializing_if = "is_zero")]
    bare: u32,
    /// Those that programs repeat by themselves.
    #[serde(rename = "basic", default, skip_serializing_if = "is_zero")]
    repeated: u32,
    /// Those that may be something else.
    #[serde(default, skip_serializing_if = "is_zero")]
    shared: u32,
    /// Names that were refused and then let in, as HTTP has it.
    #[serde(default, skip_serializing_if = "Different::is_empty")]
    let_in: Different,
    /// Other requests in between, the login's own page left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    others: u32,
    answers: Answers,
}

/// The answer that most tries got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Answers {
    status: u16,
    bytes: u32,
    alike: u32,
    /// Those that show the same form and say something else.
    #[serde(default, skip_serializing_if = "is_zero")]
    forms: u32,
    /// Status and bytes of the one that differed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    odd: Option<(u16, u32)>,
    #[serde(default, skip_serializing_if = "is_zero")]
    odds: u32,
    /// How many of the last ones differed, one after the other.
    #[serde(default, skip_serializing_if = "is_zero")]
    row: u32,
    /// Status and bytes of one that came again in a row: of a lockout or a captcha, and not of a
    /// password that was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wall: Option<(u16, u32)>,
}

/// What an answer says next to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// It is not like the many before it.
    Odd,
    /// It is not, nor was the last one.
    OddAgain,
}

fn are_alike(one: (u16, u32), other: (u16, u32)) -> bool {
    one.0 == other.0 && one.1.abs_diff(other.1) <= ALIKE_BYTES
}

impl Answers {
    /// Notes an answer. Where `is_posted`, a password was sent with a form, which who is refused gets again.
    fn note(&mut self, status: u16, bytes: u64, is_posted: bool) -> Heard {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let new = (status, bytes);
        let row = std::mem::take(&mut self.row);
        if self.alike == 0 || are_alike(new, (self.status, self.bytes)) {
            (self.status, self.bytes) = (status, if self.alike == 0 { bytes } else { self.bytes });
            self.alike += 1;
        } else if is_posted && self.is_form_again(new) {
            self.forms += 1;
        } else if self.refusals() < ALIKE {
            *self = Answers { status, bytes, alike: 1, ..Answers::default() };
        } else {
            self.odds += 1;
            let is_wall = self.wall.is_some_and(|wall| are_alike(new, wall));
            if is_wall || !(200..400).contains(&status) {
                return Heard::Nothing;
            }
            self.row = row + 1;
            if self.row >= if self.lets_in(status) { WALL_OF_LET_IN } else { WALL } {
                (self.odd, self.wall) = (None, Some(new));
                return Heard::OddAgain;
            }
            self.odd = Some(new);
            return if self.is_telling() { Heard::Odd } else { Heard::Nothing };
        }
        Heard::Nothing
    }

    /// Whether it is a page of about the same length.
    fn is_form_again(&self, (status, bytes): (u16, u32)) -> bool {
        let is_page = status == 200 && self.status == 200 && u64::from(bytes.min(self.bytes)) >= FORM_BYTES;
        is_page && bytes.abs_diff(self.bytes) <= self.bytes / FORM_PART
    }

    /// Answers that mean the same as most.
    fn refusals(&self) -> u32 {
        self.alike.saturating_add(self.forms)
    }

    /// Whether nearly all that so many tries got are refusals: the form again, or the wish to know who asks.
    fn are_refusals(&self, tries: u32) -> bool {
        let is_refusal = self.status == 401 || self.status == 200 && u64::from(self.bytes) >= FORM_BYTES;
        is_refusal && self.are_alike(tries)
    }

    /// Whether nearly all that so many tries got mean the same.
    fn are_alike(&self, tries: u32) -> bool {
        u64::from(self.refusals()) * 10 >= u64::from(tries) * 9
    }

    /// Whether who was refused before is let in with this status: he is sent on from the form, or gets
    /// what was kept from him.
    fn lets_in(&self, status: u16) -> bool {
        match self.status {
            200 => (300..400).contains(&status),
            400 | 401 | 422 => (200..400).contains(&status),
            _ => false,
        }
    }

    /// Whether those that differ are few.
    fn is_telling(&self) -> bool {
        let refusals = self.refusals();
        self.odd.is_some() && refusals >= ALIKE && self.odds * ALIKE <= refusals
    }

    fn success(&self) -> Option<String> {
        let (status, bytes) = self.odd.filter(|_| self.is_telling())?;
        let of = |status, bytes| format!("{bytes} bytes and status {status}");
        let (usual, odd) = (of(self.status, self.bytes), of(status, bytes));
        let about = if self.forms > 0 { "about " } else { "" };
        Some(format!("after {} answers of {about}{usual}, one had {odd}", self.refusals()))
    }
}

/// What is known of a request beyond itself.
#[derive(Debug, Clone, Copy)]
pub struct Background {
    /// Whether it is known as an attack of another kind than SQL injection.
    pub is_other: bool,
    /// Whether it is known as SQL injection.
    pub is_injection: bool,
    /// Whether its path was there for harmless requests before.
    pub is_page: bool,
    pub client: IpAddr,
}

/// Values of one parameter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Series {
    run: Run,
    /// Path and parameter.
    key: u64,
    last: Millis,
    values: Different,
    number: i64,
    /// How often a number was near the one before it.
    near: u32,
    /// The two commonest answers, with counts.
    answers: [(u16, u32, u32); 2],
    /// The hash of the last value without its numbers, and how often one of that kind, injected, got
    /// which of the two.
    #[serde(rename = "k", default, skip_serializing_if = "is_default")]
    skeleton: u64,
    #[serde(rename = "r", default, skip_serializing_if = "is_default")]
    read: [u32; 2],
}

impl Source {
    /// Notes a request that this source sent, and tells what it does by now.
    pub fn note(
        &mut self,
        request: &Request<'_>,
        attempt: Option<Attempt>,
        background: Background,
        (key, at): (Key, Millis),
        found: &mut Vec<Found>,
    ) {
        self.last = self.last.max(at);
        found.extend(self.flood.note(request, background.client, (key, at)));
        if let Some(logins) = self.logins.as_mut().filter(|logins| attempt.is_none() && logins.path != request.hash) {
            logins.go_on(request);
        }
        if request.is_asset && request.status < 400 {
            self.loaded = at;
            if (200..300).contains(&request.status) {
                self.find(request);
            }
            return;
        }
        if request.status < 400 && request.loads_part() {
            self.loaded = at;
        }
        found.extend(self.miss(request, at));
        if request.status == 408 {
            found.extend(self.leave_unfinished(request, at));
        }
        if let Some(attempt) = attempt.filter(|attempt| !attempt.is_granted || self.logins.is_some()) {
            let logins = self.logins.get_or_insert_default();
            found.extend(logins.note(request, attempt, Shared::None, at));
        } else if let (Some(logins), Some(user)) = (self.logins.as_mut(), request.user) {
            found.extend(logins.let_in(request, user, key, at));
        }
        self.put_or_move(request, key, at);
        if request.is_upload() {
            let path = request.put_script().map_or(0, |path| key.hash(path));
            let upload = self.upload.get_or_insert_default();
            let mut folders = [0; UPLOADER_FOLDERS];
            folders.iter_mut().zip(request.folders()).for_each(|(hash, folder)| *hash = key.hash(folder));
            **upload = Upload { at, last: at, path, folders, run: upload.run, put: upload.put, moved: 0 };
        } else if (200..300).contains(&request.status) && !background.is_page {
            found.extend(self.run_upload(request, key, at));
        }
        // Who loads pages clicks, and his pages' scripts ask for what they show.
        let is_visit = request.referer.is_some() && self.loads_pages(at);
        if attempt.is_none() && !background.is_other && !is_visit {
            found.extend(self.count_up(request, key, at));
            found.extend(self.ask(request, background.is_injection, key, at));
        }
    }

    /// Whether it has loaded what pages are made of, as browsers do.
    pub fn loads_pages(&self, at: Millis) -> bool {
        self.loaded > 0 && at.abs_diff(self.loaded) <= PAGE_WINDOW.unsigned_abs()
    }

    /// Notes that it goes on with what it does on pages that it has loaded: its browser keeps what they are
    /// made of.
    pub fn stay(&mut self, at: Millis) {
        self.loaded = self.loaded.max(at);
    }

    /// A page's missing images come with the page as their referer, and are left out.
    fn miss(&mut self, request: &Request<'_>, at: Millis) -> Option<Found> {
        Scan::forget(&mut self.scan, at, SCAN_WINDOW);
        Scan::forget(&mut self.slow_scan, at, MEMORY);
        let is_asked = request.status == 401;
        if is_asked && self.scan.as_ref().or(self.slow_scan.as_ref()).is_some_and(|scan| scan.is_let_in) {
            return None;
        }
        if !is_vain(request) {
            self.find(request);
            return None;
        }
        let (scan, slow) = (self.scan.get_or_insert_default(), self.slow_scan.get_or_insert_default());
        scan.miss(request.hash, at);
        slow.miss(request.hash, at);
        let is_robot = request.is_robot() || request.is_fetcher();
        let guise = if request.is_browser() { ", though the user agent is a browser's" } else { "" };
        let least = match (is_robot, is_asked) {
            (true, _) => SCAN_PATHS_OF_ROBOTS,
            (false, true) => SCAN_PATHS_ASKED,
            (false, false) => SCAN_PATHS,
        };
        if scan.is_one(least) {
            // What is told of now need not be told of as a slow scan, too.
            slow.run.told = slow.run.lines;
            return Some(scan.run.tell(Kind::Scan, |lines| asks_in_vain(lines, &format!(" in a row{guise}"))));
        }
        if is_robot || !slow.is_one(SLOW_SCAN_PATHS) {
            return None;
        }
        // Nor the other way round.
        scan.run.told = scan.run.lines;
        Some(slow.run.tell(Kind::Scan, |lines| asks_in_vain(lines, &format!(", slowly{guise}"))))
    }

    /// Notes a request that was no miss.
    fn find(&mut self, request: &Request<'_>) {
        [&mut self.scan, &mut self.slow_scan].into_iter().flatten().for_each(|scan| scan.find(request));
    }

    /// Whether a request asked in vain, as most of this source do.
    pub fn is_vain(&self, request: &Request<'_>) -> bool {
        is_vain(request) && self.scan.as_ref().is_some_and(|scan| scan.is_mostly_vain())
    }

    /// Notes an attack of a category, and tells whether a tool sends them.
    pub fn attack(&mut self, request: &Request<'_>, category: Category, at: Millis) -> Option<Found> {
        let run = self.attacks.get_or_insert_default();
        if run.is_over(at, TOOL_WINDOW) {
            **run = Run { written: run.written, ..Run::begin(at) };
        }
        run.note(at);
        if run.lines < TOOL_ATTACKS.max(run.written.saturating_mul(2)) {
            return None;
        }
        let guise = if request.is_browser() { ", though the user agent is a browser's" } else { "" };
        let sentence = |attacks| format!("is a tool: sends {attacks} attacks within seconds{guise}");
        // The attacks are counted already.
        Some(Found { category, lines: 0, ..run.tell(Kind::Tool, sentence) })
    }

    fn leave_unfinished(&mut self, request: &Request<'_>, at: Millis) -> Option<Found> {
        let Unfinished { run, idle } = &mut **self.unfinished.get_or_insert_default();
        if run.is_over(at, SCAN_WINDOW) {
            (*run, *idle) = (Run::begin(at), 0);
        }
        run.note(at);
        *idle = idle.saturating_add(u32::from(request.method.is_empty()));
        let is_many = run.lines - *idle >= UNFINISHED || run.lines >= IDLE;
        let sentence = |lines| format!("begins requests and does not finish them, {lines} so far");
        is_many.then(|| run.tell(Kind::Unfinished, sentence))
    }

    /// Notes a file that was put, and one of those that got another name: that may be a program's.
    fn put_or_move(&mut self, request: &Request<'_>, key: Key, at: Millis) {
        if let Some(stem) = request.put_stem() {
            self.upload.get_or_insert_default().put = key.hash(stem);
        } else if let (Some(upload), Some(stem)) = (self.upload.as_mut(), request.moved_stem()) {
            let stem = key.hash(stem);
            if stem == upload.put {
                (upload.at, upload.last, upload.moved) = (at, at, stem);
            }
        }
    }

    /// Runs what was sent, or a program among such files; while it goes on, each time.
    fn run_upload(&mut self, request: &Request<'_>, key: Key, at: Millis) -> Option<Found> {
        let upload = self.upload.as_mut().filter(|upload| at.abs_diff(upload.last) <= UPLOAD_WINDOW.unsigned_abs())?;
        let is_moved = || upload.moved != 0 && request.run_stem().is_some_and(|stem| key.hash(stem) == upload.moved);
        let is_it = upload.path == request.hash && upload.path != 0 || is_moved();
        let is_own = || upload.folders.contains(&key.hash(request.folder()));
        if !is_it && (!request.is_uploaded_script() || is_own()) {
            return None;
        }
        upload.last = at;
        upload.run.note(at);
        let sentence = |times| match times {
            1 => "sends a file and runs a program among the files that were sent".to_owned(),
            _ => format!("sends a file and runs a program among the files that were sent, {times} times"),
        };
        let success = match is_it {
            true => "a program was sent, and was then run where it had been put",
            false => "a file was sent, and a program was then run where such files are kept",
        };
        let found = upload.run.tell(Kind::Upload, sentence);
        Some(Found { success: Some(success.to_owned()), since: upload.at, ..found })
    }

    /// One number after the other that names people or their things.
    fn count_up(&mut self, request: &Request<'_>, key: Key, at: Millis) -> Option<Found> {
        let Numbered { name, number, is_person, rest } = request.numbered()?;
        let (is_page, is_linked) = (self.loads_pages(at), request.referer.is_some());
        let place = key.with(rest.map_or(request.hash, |rest| key.hash(rest)), key.hash(name));
        let series = self.series_of(if is_linked { key.with(place, LINKED) } else { place }, at);
        series.values.note(key.hash(&number.to_le_bytes()));
        let near = if is_linked { 1 } else { NEAR };
        series.near += u32::from(series.run.lines > 0 && series.number.abs_diff(number) <= near);
        series.number = number;
        series.run.note(at);
        let most = match (request.is_robot(), is_linked, is_person && request.is_browser()) {
            (true, _, _) => NUMBERS_OF_ROBOTS,
            (false, true, _) => LINKED_NUMBERS,
            (false, false, true) => NUMBERS_OF_PEOPLE,
            (false, false, false) => NUMBERS,
        };
        let most = if rest.is_some() && !is_linked { most * PATH_FACTOR } else { most };
        let (near, lines) = (series.near + 1, series.run.lines);
        let is_row = if is_linked { near * 10 >= lines * 9 } else { near * 2 >= lines };
        let is_run = is_row && series.values.count() >= most;
        let where_it_stands = || match rest {
            None => format!("in `{}`", String::from_utf8_lossy(name)),
            Some(_) => format!("behind `{}`", String::from_utf8_lossy(name)),
        };
        let sentence = |lines| format!("asks for one number after the other {}, {lines} times", where_it_stands());
        (series.run.is_told() || is_run && !is_page).then(|| series.run.tell(Kind::Numbers, sentence))
    }

    /// Values that stand for conditions, answered as if by yes and no.
    fn ask(&mut self, request: &Request<'_>, is_injection: bool, key: Key, at: Millis) -> Option<Found> {
        let (name, value) = request.odd(is_injection)?;
        let (place, is_linked) = (key.with(key.hash(name), request.hash), request.referer.is_some());
        let series = self.series_of(if is_linked { key.with(place, LINKED) } else { place }, at);
        series.values.note(key.hash(value));
        let answer = series.answer(request.status, request.bytes);
        if is_injection {
            series.read(value, answer, key);
        }
        series.run.note(at);
        let most = if is_linked { LINKED_CONDITIONS } else { CONDITIONS };
        let is_run = series.values.count() >= most && series.has_two_answers();
        let name = || String::from_utf8_lossy(name).into_owned();
        let sentence =
            |lines| format!("tries conditions in `{}` that are answered in one of two ways, {lines} so far", name());
        if !series.run.is_told() && !is_run {
            return None;
        }
        let success = series.success();
        Some(Found { success, ..series.run.tell(Kind::Conditions, sentence) })
    }

    /// The series of this path and parameter; the one that rested longer gives way.
    fn series_of(&mut self, key: u64, at: Millis) -> &mut Series {
        let all = self.series.get_or_insert_default();
        let place = all.iter().position(|series| series.key == key && series.run.lines > 0);
        let place = place.unwrap_or_else(|| usize::from(all[0].last > all[1].last));
        let series = &mut all[place];
        let has_rested = at.abs_diff(series.last) > SERIES_WINDOW.unsigned_abs();
        if series.key != key || has_rested || series.run.is_over(at, SERIES_WINDOW) && !series.run.is_told() {
            *series = Series { key, ..Series::default() };
        }
        series.last = at;
        series
    }

    /// Notes that the error log tells in a message of this hash of an attack of this source that
    /// its requests do not show. One may be a fault of the application, unless `signal` is certain;
    /// so may many of a shell that say the same, of a program that the application calls.
    pub fn note_error(&mut self, signal: &Signal, category: Category, message: u64, at: Millis) -> Option<Found> {
        self.last = self.last.max(at);
        let errors = self.errors.get_or_insert_default();
        if errors.run.is_over(at, SCAN_WINDOW) {
            **errors = Errors { run: Run::begin(at), ..Errors::default() };
        }
        errors.run.note(at);
        errors.messages.note(message);
        let many = if category == Category::Cmdi { errors.messages.count() } else { errors.run.lines };
        if many < ERRORS && !signal.is_certain {
            return None;
        }
        let found = errors.run.tell(Kind::Errors, |_| signal.sentence.to_owned());
        Some(Found { category, ..found })
    }

    /// Whether all that is known of it is too old to matter at `now`.
    pub fn is_past(&self, now: Millis) -> bool {
        now.saturating_sub(self.last) > MEMORY
    }
}

/// What a page of the site asks for is left out: images that are missing, and its scripts' requests
/// when a login has ended. So is what a client asks that is let in before it sends something.
fn is_vain(request: &Request<'_>) -> bool {
    request.is_miss()
        && !request.asks_before()
        && !(request.referer.is_some() && (request.is_asset || request.status == 401))
}

impl Flood {
    /// Requests for few paths and for nothing that a page is made of.
    fn note(&mut self, request: &Request<'_>, client: IpAddr, (key, at): (Key, Millis)) -> Option<Found> {
        if self.run.is_over(at, FLOOD_WINDOW) {
            let told = self.run.told;
            *self = Flood::default();
            self.run.written = if told > 0 { u32::MAX } else { 0 };
        }
        self.run.note(at);
        self.paths |= 1 << (request.hash & 63);
        self.assets += u32::from(request.is_asset);
        if self.run.lines >= FLOOD_BEGUN {
            self.agents |= 1 << (key.hash(request.agent) & 31);
        }
        if self.run.lines < FLOOD || self.paths.count_ones() > FLOOD_PATHS || self.assets * 10 > self.run.lines {
            return None;
        }
        let is_of_others = self.agents.count_ones() >= FLOOD_AGENTS;
        if is_of_others && !self.run.is_told() && (self.run.lines < FLOOD_OF_OTHERS || is_inside(client)) {
            return None;
        }
        self.run
            .tell(Kind::Flood, |lines| format!("sends {lines} requests for the same few paths within seconds"))
            .into()
    }
}

/// What those share whose tries are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// One address.
    None,
    /// A network and a user agent; `address` is the hash of one's own.
    Network { address: u64 },
    /// A session, wherever its requests come from.
    Session { address: u64 },
}

impl Shared {
    fn address(self) -> Option<u64> {
        match self {
            Shared::None => None,
            Shared::Network { address } | Shared::Session { address } => Some(address),
        }
    }
}

impl Logins {
    /// Notes a try, and tells what it looks like by now.
    pub fn note(&mut self, request: &Request<'_>, attempt: Attempt, shared: Shared, at: Millis) -> Option<Found> {
        if self.run.lines > 0 && at.abs_diff(self.last) > TRY_GAP.unsigned_abs() {
            *self = Logins::default();
        }
        if attempt.is_granted && !self.run.is_told() {
            return None;
        }
        self.run.note(at);
        (self.last, self.path) = (at, request.hash);
        attempt.password.into_iter().for_each(|hash| self.passwords.note(hash));
        attempt.name.into_iter().for_each(|hash| self.names.note(hash));
        shared.address().into_iter().for_each(|hash| self.addresses.note(hash));
        self.agents.note(attempt.agent);
        self.bare += u32::from(attempt.is_bare);
        self.repeated += u32::from(attempt.is_repeated);
        self.shared += u32::from(attempt.is_shared);
        let is_posted = request.method == b"POST" && attempt.password.is_none();
        let heard = self.answers.note(request.status, request.bytes, is_posted);
        let is_many = if shared == Shared::None { self.is_guessing() } else { self.is_of_many() };
        if !self.run.is_told() && !is_many {
            return None;
        }
        let is_first = !self.run.is_told();
        let (names, passwords) = (self.names.count(), self.passwords.count());
        let found = self.run.tell(Kind::Logins, |tries| sentence(tries, names, passwords, shared));
        let success = (heard == Heard::Odd || is_first).then(|| self.answers.success()).flatten();
        Some(Found { success, is_refuted: heard == Heard::OddAgain, ..found })
    }

    /// Notes a request of one who told his name as HTTP has it and was let in. It tells where that name was
    /// refused before, once: who is in asks for more.
    fn let_in(&mut self, request: &Request<'_>, user: &[u8], key: Key, at: Millis) -> Option<Found> {
        let is_refused = self.run.is_told() && self.answers.status == 401 && self.answers.alike >= ALIKE;
        if !is_refused || !(200..400).contains(&request.status) || at.abs_diff(self.last) > MEMORY.unsigned_abs() {
            return None;
        }
        let name = key.hash(user);
        if !self.names.has(name) || self.let_in.has(name) {
            return None;
        }
        self.let_in.note(name);
        self.run.note(at);
        let (names, passwords) = (self.names.count(), self.passwords.count());
        let found = self.run.tell(Kind::Logins, |tries| sentence(tries, names, passwords, Shared::None));
        let user = String::from_utf8_lossy(&user[..user.len().min(NAME_BYTES_MAX)]);
        Some(Found { success: Some(format!("after {} refusals, `{user}` was let in", self.answers.alike)), ..found })
    }

    /// Whether somebody guesses, or sprays few passwords over many names. Who logs in loads pages
    /// before and after, and tries a few passwords at most, with time to think; an office has a
    /// page's worth of requests for each that logs in, with a name and a password of his own. A
    /// program with an old password repeats it, but slowly; at a form, who does nothing else and is refused
    /// each time guesses.
    fn is_guessing(&self) -> bool {
        let tries = self.run.lines;
        let pace = self.last.saturating_sub(self.run.since).max(0) / Millis::from(tries.max(1));
        let (names, passwords) = (self.names.count(), self.passwords.count());
        let has_pages = self.others >= tries.saturating_mul(2);
        if passwords > 0 {
            let is_spraying = tries >= TRIES && is_spray(names, passwords);
            let is_of_own = has_pages && names >= SPRAYED && names * 4 >= tries * 3;
            return pace <= 3 * TRY_PACE && (is_spraying || passwords >= PASSWORDS && !is_of_own);
        }
        let is_form = self.repeated * 2 < tries;
        let is_fast = if is_form { pace <= TRY_PACE } else { pace <= REPEAT_PACE || names >= 3 };
        let is_slow = || is_form && tries >= SLOW_TRIES && pace <= MEMORY / Millis::from(SLOW_TRIES);
        let is_refused = || self.others.saturating_mul(2) < tries && self.answers.are_refusals(tries);
        tries >= TRIES
            && !self.may_be_else()
            && !self.may_be_others()
            && (!has_pages && is_fast || is_slow() && is_refused())
    }

    /// Notes a request in between. Who did nothing but guess, and then reads pages, was let in: the next
    /// answer of that kind is none of a row.
    fn go_on(&mut self, request: &Request<'_>) {
        self.others = self.others.saturating_add(1);
        if (200..300).contains(&request.status)
            && !request.is_asset
            && self.others.saturating_mul(ALIKE) <= self.run.lines
        {
            self.answers.row = 0;
        }
    }

    fn is_of_many(&self) -> bool {
        self.run.lines >= TRIES_OF_NETWORK && self.addresses.count() >= ADDRESSES_OF_NETWORK && !self.may_be_else()
    }

    /// Whether they may be others' who come by the same address: guesses are refused, nearly all, or made by what
    /// comes from no page and is answered alike.
    fn may_be_others(&self) -> bool {
        if self.agents.count() < AGENTS_OF_OTHERS {
            return false;
        }
        let tries = self.run.lines;
        let is_bare = || self.bare.saturating_mul(2) > tries && self.answers.are_alike(tries);
        tries < TRIES_OF_OTHERS || !self.answers.are_refusals(tries) && !is_bare()
    }

    /// Whether they may be something else than tries: guesses are answered alike.
    fn may_be_else(&self) -> bool {
        self.shared * 2 >= self.run.lines && self.answers.alike * 2 < self.run.lines
    }
}

/// Whether few passwords are tried for many names.
fn is_spray(names: u32, passwords: u32) -> bool {
    names >= SPRAYED && passwords * NAMES_PER_PASSWORD <= names
}

fn sentence(tries: u32, names: u32, passwords: u32, shared: Shared) -> String {
    let who = match shared {
        Shared::None => "",
        Shared::Network { .. } => ", from several addresses of one network",
        Shared::Session { .. } => ", from several addresses with one session",
    };
    match (names, passwords) {
        (_, 1) if is_spray(names, 1) => {
            format!("tries one password for about {names} names, {tries} times in all{who}")
        }
        (_, 1..) if is_spray(names, passwords) => {
            format!("tries {passwords} passwords for about {names} names, {tries} times in all{who}")
        }
        (0, 1..) => format!("tries about {passwords} passwords, {tries} times in all{who}"),
        (names, 1..) => format!("tries about {passwords} passwords for {names} names, {tries} times in all{who}"),
        (1.., 0) => format!("tries to log in as {names} users, {tries} times in all{who}"),
        (0, 0) => format!("tries to log in {tries} times in a row{who}"),
    }
}

impl Series {
    /// Notes an answer, and says which of the two it is.
    fn answer(&mut self, status: u16, bytes: u64) -> Option<usize> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let is_it =
            |known: &(u16, u32, u32)| known.2 == 0 || known.0 == status && known.1.abs_diff(bytes) <= ALIKE_BYTES;
        let place = self.answers.iter().position(is_it)?;
        let known = &mut self.answers[place];
        *known = (status, if known.2 == 0 { bytes } else { known.1 }, known.2 + 1);
        Some(place)
    }

    /// Notes which answer an injected value got.
    fn read(&mut self, value: &[u8], answer: Option<usize>, key: Key) {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let words = value.split(is_digit).filter(|part| !part.is_empty());
        let skeleton = words.fold(0, |skeleton, word| key.with(skeleton, key.hash(word)));
        if self.skeleton != skeleton {
            (self.skeleton, self.read) = (skeleton, [0; 2]);
        }
        answer.into_iter().for_each(|answer| self.read[answer] += 1);
    }

    /// Why it looks as if something were read: numbers alone decide which of two pages is shown.
    fn success(&self) -> Option<String> {
        let are_pages = self.answers.iter().all(|(status, _, _)| (200..300).contains(status));
        let [one, other] = self.read;
        (are_pages && one.min(other) >= READ).then(|| {
            format!(
                "a condition was answered in one way or the other, depending on the numbers in it, {one} and {other} times"
            )
        })
    }

    /// Whether nearly all answers are of two kinds, both common.
    fn has_two_answers(&self) -> bool {
        let [one, other] = [self.answers[0].2, self.answers[1].2];
        let lines = self.run.lines;
        (one + other) * 10 >= lines * 8 && one.min(other) * 10 >= lines * 2
    }
}
