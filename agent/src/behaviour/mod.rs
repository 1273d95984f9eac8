//! What many lines show together that no single one does, and whether it worked.
//!
//! ```text
//! line -> request -> source (windows, counters) -> found -> incident -> revision
//!   |____ outcome (status, usual sizes, error log) ___________|
//! ```
//!
//! Pure: no clock, no files, nothing random. Time is what the lines say, so that lines which
//! are read again after a crash lead to the same incidents with the same ids and revisions.
//! All that is kept is bounded, whatever clients send.

mod common;
mod hash;
mod observer;
mod recent;
mod request;
mod errors;
mod source;
mod sizes;
mod incidents;

pub use observer::Observer;

use common::{Common, Known};
use errors::Signal;
use event::attack::{Attack, Field};
use event::format::ErrorLine;
use event::incident::Outcome;
use event::outcome::outcome_by_status;
use event::{Access, Category, EventId, Incident, LifeId, Millis};
use hash::Key;
use incidents::{Incidents, NoneOpen, Sighting, network};
use recent::Recent;
use request::{Attempt, Request};
use serde::{Deserialize, Serialize, Serializer};
use sizes::{Compared, Sizes};
use source::{Background, Found, Kind, Logins, Scan, Shared, Source};
use std::collections::VecDeque;
use std::net::IpAddr;

/// Attacks and complaints of the error log that may still be found to belong together.
const JOINED_MAX: usize = 256;

/// How far apart their times may be: an access log tells when a request began.
const JOIN_WINDOW: Millis = 3_000;

/// Faults of the site's own that are known.
const FAULTS_MAX: usize = 64;

/// Who posted lately.
const POSTS_MAX: usize = 64;

/// Names of this site that are known from links on its pages.
const HOSTS_MAX: usize = 16;

/// Links that must have come from a name before it is taken for the site's own; where the log names
/// the site, at least this part of all, too.
const OWN_LINKS: u32 = 5;
const OWN_PART: u64 = 64;

/// Links of which each is looked at, and of how many later ones one is.
const FIRST_LINKS: u64 = 1_000;
const LINK_STEP: u64 = 64;

/// Marks the sizes of answers to attacks, to tell them from those of other requests.
const ATTACKED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Marks the sizes of redirects.
const REDIRECTED: u64 = 0x7265_6469_7265_6374;

/// Marks the sizes of answers that clients got which take them as they are, and not compressed.
const PLAIN: u64 = 0x706c_6169_6e5f_5f5f;

/// Redirects of a path that was asked for without a query before one means nothing.
const REDIRECTS: u32 = 3;

/// Marks guesses, to tell what they rest on from what other successes do.
const GUESSED: u64 = 0x6775_6573_7365_645f;

/// Names of sites of which the common answers are known.
const SITES_MAX: usize = 512;

/// Marks what is kept of sessions, to tell it from what is kept of networks.
const SESSION: u64 = 0x7365_7373_696f_6e73;

/// The rule for a whole statement of SQL, and the parameters in which phpMyAdmin and Adminer take one.
const STATEMENT: &str = "sqli-select-from";
const STATEMENTS_OF_TOOLS: [&str; 2] = ["sql_query", "sql"];

/// Bytes by which usual answers differ.
const SIZE_TOLERANCE: u32 = 16;

/// Sources for each incident that may be open: those take up to some KB.
const INCIDENT_SOURCES: usize = 10;

/// How much is kept, and when an incident ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Sources of which something is known; those that rest longest are forgotten.
    pub sources: usize,
    /// Paths whose usual sizes are known.
    pub paths: usize,
    /// Incidents that are open at once; beyond, the one that rests longest ends.
    pub incidents: usize,
    /// Time without a finding after which an incident is over.
    pub quiet: Millis,
}

impl Limits {
    /// Those for so many sources.
    pub fn of(sources: usize) -> Limits {
        Limits { sources, paths: 4_096, incidents: sources / INCIDENT_SOURCES, quiet: 30 * 60_000 }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::of(50_000)
    }
}

/// A line that the engine looks at, as it leaves the host: secrets are masked, and equal
/// ones have equal masks.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub place: Place<'a>,
    /// The line's own time; for one without, that of the line before it.
    pub at: Millis,
    pub line: Line<'a>,
}

/// Where a line stands; its id follows from that, and is worked out only for lines that are
/// told of.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub life: LifeId,
    pub offset: u64,
    /// Raw length in the file, without the line feed.
    pub length: u64,
    /// The time as the line writes it.
    pub written: &'a [u8],
}

impl Place<'_> {
    fn id(&self) -> EventId {
        EventId::of(self.life, self.offset, self.length, self.written)
    }
}

/// What kind of line it is.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    Access {
        client: IpAddr,
        access: &'a Access<'a>,
        /// What was found in the line itself.
        attack: Option<&'a Attack>,
    },
    /// The client is missing where a program writes that Apache started.
    Error { client: Option<IpAddr>, error: &'a ErrorLine<'a> },
}

/// What a line led to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Whether the attack that it holds or belongs to worked, and what that rests on.
    pub outcome: Option<(Outcome, String)>,
    /// Categories of what it shows together with others, beyond its own verdict.
    pub categories: Vec<Category>,
    /// The incident that it belongs to, told of or not.
    pub incident: Option<EventId>,
    /// Incidents of which there is something new to tell.
    pub incidents: Vec<Incident>,
}

/// An attack, or a complaint of the error log, that waits for its other half.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Half {
    at: Millis,
    client: IpAddr,
    categories: Vec<Category>,
    outcome: Outcome,
    /// Why it looks so.
    sentence: String,
    /// The hash of what a complaint says that may be one of a fault of the site's own; else 0.
    #[serde(rename = "g", default, skip_serializing_if = "is_zero")]
    gist: u64,
    /// The name of the file that a complaint is about, without folders and ending; else empty.
    #[serde(rename = "f", default, skip_serializing_if = "String::is_empty")]
    file: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A complaint that came where nobody attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Fault {
    gist: u64,
    /// Hashes of two sources whose requests brought it about; of the first one twice, as long as it
    /// is the only one.
    sources: [u64; 2],
}

/// What is known of how a request was answered.
#[derive(Debug, Clone, Copy, Default)]
struct Answered {
    /// What stands for this answer of this site.
    ground: u64,
    /// Whether many other paths get it, and whether whatever is asked for does.
    is_frequent: bool,
    is_common: bool,
}

/// Watches what sources do. A snapshot of it is its serialised form.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Snapshot")]
pub struct Engine {
    key: Key,
    state: Snapshot,
}

/// All that an engine knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Snapshot {
    host: String,
    sources: Recent<Source>,
    /// Tries at logins by network and user agent, and by session.
    networks: Recent<Logins>,
    /// Paths that a network's addresses asked for in vain.
    #[serde(default)]
    scans: Recent<Scan>,
    /// Paths that a source asked for and that were answered as all are.
    #[serde(default)]
    alike: Recent<Scan>,
    sizes: Recent<Sizes>,
    /// Answers that the host's sites give for many paths alike, by the hash of a site's name.
    #[serde(default)]
    common: Recent<Common>,
    /// Hashes of names of this site, and links from there.
    hosts: Vec<(u64, u32)>,
    links: u64,
    attacks: VecDeque<Half>,
    complaints: VecDeque<Half>,
    #[serde(default)]
    faults: VecDeque<Fault>,
    /// Who sent something lately that no access log shows.
    posts: VecDeque<(Millis, IpAddr)>,
    incidents: Incidents,
}

impl From<Snapshot> for Engine {
    fn from(state: Snapshot) -> Engine {
        Engine { key: Key::of(&state.host), state }
    }
}

impl Serialize for Engine {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.state.serialize(to)
    }
}

impl Engine {
    /// An engine for the host of this id that has seen nothing yet.
    pub fn new(host: &str, limits: Limits) -> Engine {
        let state = Snapshot {
            host: host.to_owned(),
            sources: Recent::of(limits.sources),
            networks: Recent::of(limits.sources / 8),
            scans: Recent::of(limits.sources / 8),
            alike: Recent::of(limits.sources / 8),
            sizes: Recent::of(limits.paths),
            common: Recent::of(SITES_MAX),
            hosts: Vec::new(),
            links: 0,
            attacks: VecDeque::new(),
            complaints: VecDeque::new(),
            faults: VecDeque::new(),
            posts: VecDeque::new(),
            incidents: Incidents::new(host, limits.quiet, limits.incidents),
        };
        Engine { key: Key::of(host), state }
    }

    /// Watches as many sources from now on as `limits` say.
    pub fn limit(&mut self, limits: Limits) {
        self.state.sources.limit(limits.sources);
        self.state.networks.limit(limits.sources / 8);
        self.state.scans.limit(limits.sources / 8);
        self.state.alike.limit(limits.sources / 8);
        self.state.common.limit(SITES_MAX);
        self.state.incidents.limit(limits.incidents);
    }

    /// Looks at one line.
    pub fn observe(&mut self, seen: &Seen<'_>) -> Told {
        match seen.line {
            Line::Access { client, access, attack } => {
                let request = Request::of(access, self.key);
                let (answer, refuted) = self.note_answer(&request, attack.is_some());
                let mut told = self.request(seen, client.to_canonical(), access, &request, attack, answer);
                told.incidents.splice(..0, refuted);
                told
            }
            Line::Error { client, error } => {
                let client = client.map(|client| client.to_canonical());
                let signal = errors::signal(error);
                signal.map(|signal| self.complaint(seen, client, signal, error.message)).unwrap_or_default()
            }
        }
    }

    /// Listens to the beginning of a message of the error log that may go on, and is
    /// [observed](Engine::observe) when it is whole: requests that it is about are read until then.
    pub fn hear(&mut self, at: Millis, client: Option<IpAddr>, error: &ErrorLine<'_>) {
        if let Some(signal) = errors::signal(error) {
            self.complain(at, client.map(|client| client.to_canonical()), signal, error.message);
        }
    }

    /// The incidents that were told of: open ones, and those that have ended lately.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.state.incidents.iter()
    }

    /// Takes note that no line of before `now` will come: incidents that have been quiet
    /// end, and are returned.
    pub fn pass(&mut self, now: Millis) -> Vec<Incident> {
        self.state.sources.retain(|source| !source.is_past(now));
        self.state.incidents.pass(now)
    }

    /// Revisions of the incidents that have gone on since they were told of last, for whoever
    /// wants to know how things stand.
    pub fn catch_up(&mut self) -> Vec<Incident> {
        self.state.incidents.catch_up()
    }

    /// Takes note of a revision that a frame holds, when frames are read again.
    pub fn was_told(&mut self, incident: &Incident) {
        self.state.incidents.was_told(incident);
    }

    /// Notes how a site answers. Returns what is known of this answer, and new revisions of
    /// incidents whose success rests on it, where it turns out to be the answer to everything.
    fn note_answer(&mut self, request: &Request<'_>, is_attack: bool) -> (Answered, Vec<Incident>) {
        let tells = request.asks() && matches!(request.status, 200..=205 | 207..=303 | 305..=399 | 500..=599);
        if !tells || request.is_asset && request.referer.is_some() {
            return (Answered::default(), Vec::new());
        }
        let site = request.vhost.map_or(0, |name| self.key.hash(name));
        let Known { answer: (status, bytes), is_frequent, is_common, is_news } =
            self.state.common.entry(site, Common::default).note(request, is_attack);
        let ground = self.key.with(site, u64::from(status) << 32 | u64::from(bytes));
        let refuted = match is_news {
            true => self.state.incidents.refute(ground, &answers_all(request)),
            false => Vec::new(),
        };
        (Answered { ground, is_frequent, is_common }, refuted)
    }

    fn request(
        &mut self,
        seen: &Seen<'_>,
        client: IpAddr,
        access: &Access<'_>,
        request: &Request<'_>,
        attack: Option<&Attack>,
        answer: Answered,
    ) -> Told {
        let mut found = Vec::new();
        let attempt = request.attempt(self.key);
        let is_page = self.is_known(request.hash);
        let source = self.state.sources.entry(self.key.hash(&of_source(client)), Source::default);
        let is_sql = |attack: &Attack| attack.findings.iter().any(|finding| finding.category == Category::Sqli);
        let is_injection = attack.is_some_and(is_sql);
        let background = Background { is_other: attack.is_some() && !is_injection, is_injection, is_page, client };
        source.note(request, attempt, background, (self.key, seen.at), &mut found);
        let (loads_pages, is_suspect) = (source.loads_pages(seen.at), source.is_suspect);
        let is_vain = found.is_empty() && source.is_vain(request);
        let is_visit = is_page || loads_pages || request.referer.is_some() || !request.is_browser();
        if answer.is_frequent && !is_visit && found.is_empty() {
            let scan = self.state.alike.entry(self.key.hash(&of_source(client)), Scan::default);
            found.extend(scan.miss_of_all(request, seen.at));
        }
        if request.changes() {
            found.extend(self.forgery(request, loads_pages, seen.at));
        }
        let mut is_of_network = false;
        if is_vain && client.is_ipv4() {
            let (first, _) = network(client);
            let scan = self.state.scans.entry(self.key.hash(&of_source(first)), Scan::default);
            let of_network = scan.miss_of_network(request, self.key.hash(&octets(client)), seen.at);
            is_of_network = of_network.is_some();
            found.extend(of_network);
        }
        // Users of one network log in, too, but from a page of the site, or with an application
        // that says so.
        let is_bare = |attempt: &Attempt| attempt.password.is_some() || attempt.is_bare;
        if let Some(attempt) = attempt.filter(|attempt| found.is_empty() && is_bare(attempt)) {
            let address = self.key.hash(&octets(client));
            let (first, _) = network(client);
            let key = self.key.with(self.key.hash(&of_source(first)), self.key.hash(request.agent));
            let logins = self.state.networks.entry(key, Logins::default);
            found.extend(logins.note(request, attempt, Shared::Network { address }, seen.at));
            is_of_network = !found.is_empty();
            // A tool that changes its address with each try keeps the session that its form needs.
            if let Some(session) = request.session(access).filter(|_| found.is_empty()) {
                let key = self.key.with(SESSION, self.key.hash(session));
                let logins = self.state.networks.entry(key, Logins::default);
                found.extend(logins.note(request, attempt, Shared::Session { address }, seen.at));
            }
        }
        self.learn_host(request);
        if request.method == b"POST" {
            remember(&mut self.state.posts, (seen.at, client), POSTS_MAX);
        }
        if attack.is_none() && found.is_empty() {
            self.note_size(request);
            let incident = if is_suspect { self.clean(client, seen.at) } else { None };
            return Told { incident, ..Told::default() };
        }
        // All that is asked of a tool for administrators is found; its pages are there all the same.
        let is_tool = |attack: &Attack| attack.findings.iter().all(is_look);
        if loads_pages && request.referer.is_some() && found.is_empty() && attack.is_some_and(is_tool) {
            self.note_size(request);
        }
        self.tell(seen, client, access, request, attack, answer, found, is_of_network)
    }

    /// Learns how long the answers of a harmless request's path and page are.
    fn note_size(&mut self, request: &Request<'_>) {
        let (sizes, query) = (&mut self.state.sizes, self.key.hash(request.query.unwrap_or(b"")));
        if (200..300).contains(&request.status) && !request.is_asset {
            let kind = kind_of_sizes(request);
            sizes.entry(request.hash ^ kind, Sizes::default).note(request.bytes, query);
            let page = request.page(self.key);
            if page != request.hash {
                sizes.entry(page ^ kind, Sizes::default).note(request.bytes, query);
            }
        } else if request.is_redirected() && request.query.is_none() {
            sizes.entry(request.hash ^ REDIRECTED, Sizes::default).note(request.bytes, query);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what was worked out for the line on the way here")]
    fn tell(
        &mut self,
        seen: &Seen<'_>,
        client: IpAddr,
        access: &Access<'_>,
        request: &Request<'_>,
        attack: Option<&Attack>,
        answer: Answered,
        mut found: Vec<Found>,
        is_of_network: bool,
    ) -> Told {
        let line = attack.map_or(&[][..], |attack| &attack.findings);
        let is_refuted = found.iter().any(|found| found.is_refuted);
        let guess = self.key.with(GUESSED, request.hash);
        let (outcome, ground) = match found.iter().find(|found| found.success.is_some()) {
            Some(Found { kind, success: Some(success), .. }) => {
                ((Outcome::LikelySucceeded, success.clone()), (*kind == Kind::Logins).then_some(guess))
            }
            _ if is_refuted => ((Outcome::Unknown, CAME_AGAIN.to_owned()), None),
            _ if line.is_empty() => (self.of_behaviour(request, &found), None),
            _ => self.outcome(seen.at, client, access, request, line, answer),
        };
        let refuted = is_refuted.then_some(guess);
        let told = Told { outcome: Some(outcome.clone()), ..Told::default() };
        if found.is_empty() && self.is_at_home(client, request, line, seen.at) {
            return told;
        }
        if let Some(first) = line.first() {
            let source = self.state.sources.entry(self.key.hash(&of_source(client)), Source::default);
            found.extend(source.attack(request, first.category, seen.at));
        }
        let behaviour = &found[..];
        let (path, agent) = (request.path, request.agent);
        let (event, at) = (seen.place.id(), seen.at);
        let outcome = &outcome;
        let sighting =
            Sighting { event, at, client, is_of_network, path, agent, line, behaviour, outcome, ground, refuted };
        let (incident, incidents) = self.state.incidents.note(&sighting);
        self.suspect(client);
        if !line.is_empty() {
            let mut categories: Vec<Category> = line.iter().map(|finding| finding.category).collect();
            categories.dedup();
            let half = Half {
                at,
                client,
                categories,
                outcome: outcome.0,
                sentence: outcome.1.clone(),
                gist: 0,
                file: String::new(),
            };
            remember(&mut self.state.attacks, half, JOINED_MAX);
        }
        // What a tool sends is told by its own findings.
        let categories = found.iter().filter(|found| found.kind != Kind::Tool).map(|found| found.category).collect();
        Told { categories, incident: Some(incident), incidents, ..told }
    }

    /// What becomes of behaviour is not known unless it shows; what was refused was.
    fn of_behaviour(&self, request: &Request<'_>, found: &[Found]) -> (Outcome, String) {
        let is_all = |kind: Kind| found.iter().all(|found| found.kind == kind);
        let (outcome, why) = match request.status {
            403 | 406 | 429 => (Outcome::Blocked, "the server refused it"),
            401 if is_all(Kind::Scan) => (Outcome::Blocked, "the server wants to know first who asks"),
            200..=399 | 500..=599 if is_all(Kind::Scan) => (Outcome::Failed, "other paths are answered with the same"),
            _ if is_all(Kind::Scan) => (Outcome::Failed, "what was asked for is not there"),
            401 if is_all(Kind::Logins) => (Outcome::Failed, "the password was not taken"),
            401 => (Outcome::Blocked, "the server wants to know first who asks"),
            _ if is_all(Kind::Logins) => (Outcome::Unknown, "right and wrong are answered alike so far"),
            404 | 410 => (Outcome::Failed, "what was asked for is not there"),
            _ => (Outcome::Unknown, "its answer does not show what came of it"),
        };
        (outcome, why.to_owned())
    }

    /// Whether the attack in this line worked: by what its status says, unless more is known. With
    /// it what a success rests on, where that may turn out to be how the site answers everything.
    fn outcome(
        &mut self,
        at: Millis,
        client: IpAddr,
        access: &Access<'_>,
        request: &Request<'_>,
        line: &[event::Finding],
        answer: Answered,
    ) -> ((Outcome, String), Option<u64>) {
        let found: Vec<(Category, Field)> = line.iter().map(|finding| (finding.category, finding.field)).collect();
        let is_at_home = self.works_here(client, request, line, at);
        // Where somebody works, it is there for him.
        let others = line.iter().filter(|finding| !is_at_home || !is_look(finding));
        let others: Vec<(Category, Field)> = others.map(|finding| (finding.category, finding.field)).collect();
        let by_status = outcome_by_status(if others.is_empty() { &found } else { &others }, access);
        let has = |category: Category| found.iter().any(|(known, _)| *known == category);
        if let Some(half) = self.complaint_of(at, client, request, &has) {
            // What was read shows, unless the complaint names what was asked for.
            let is_of_other = half.outcome == Outcome::Failed && !request.names(half.file.as_bytes());
            let has_read = |told: &(Outcome, String)| is_of_other && told.0 == Outcome::LikelySucceeded;
            let read = self.of_size(request, &has).filter(has_read);
            return (read.unwrap_or((half.outcome, half.sentence)), None);
        }
        if request.status == 404 && has(Category::Sqli) && self.is_known(request.hash) {
            let why = "the page itself answers so: it is there for others (status 404)";
            return ((Outcome::Unknown, why.to_owned()), None);
        }
        if by_status.0 == Outcome::LikelySucceeded {
            let is_for_all = answer.is_common || request.is_redirected() && self.redirects(request);
            return if is_for_all { (answers_all(request), None) } else { (by_status, Some(answer.ground)) };
        }
        (self.of_size(request, &has).unwrap_or(by_status), None)
    }

    /// What the size of an answer says of attacks of such categories.
    fn of_size(&mut self, request: &Request<'_>, has: &impl Fn(Category) -> bool) -> Option<(Outcome, String)> {
        let is_read = [Category::Sqli, Category::Lfi, Category::Rfi, Category::Cmdi, Category::Code, Category::Ssti];
        if !(200..300).contains(&request.status) || !is_read.into_iter().any(has) {
            return None;
        }
        let is_blind = [Category::Rfi, Category::Cmdi, Category::Code, Category::Ssti].into_iter().any(has);
        // Who reads a file names it where a site names its pages; other attacks follow the name of one.
        let is_file = has(Category::Lfi) || has(Category::Rfi);
        let page = if is_file { request.hash } else { request.page(self.key) };
        self.by_size(request, page, has(Category::Sqli), is_blind)
    }

    /// Takes what the error log said of this request before it was read, if anything: the complaint that
    /// names the file that is asked for, or the last one. What is said of one request is said in one or
    /// more lines, and of no other request.
    fn complaint_of(
        &mut self,
        at: Millis,
        client: IpAddr,
        request: &Request<'_>,
        has: &impl Fn(Category) -> bool,
    ) -> Option<Half> {
        let fits = |half: &Half| {
            half.client == client
                // What was answered well was not refused: that was another request.
                && (half.outcome != Outcome::Blocked || request.status >= 400)
                && half.at.abs_diff(at) <= JOIN_WINDOW.unsigned_abs()
                && (half.categories.is_empty() || half.categories.iter().any(|category| has(*category)))
                && !self.is_own_fault(half.gist, client)
        };
        let all = || self.state.complaints.iter().rev().filter(|half| fits(half));
        let half = all().find(|half| request.names(half.file.as_bytes())).or_else(|| all().next())?.clone();
        let is_same =
            |other: &Half| other.client == client && (&other.sentence, &other.file) == (&half.sentence, &half.file);
        self.state.complaints.retain(|other| !is_same(other));
        Some(half)
    }

    /// Whether a path sends on whoever asks for it, and asks for nothing.
    fn redirects(&self, request: &Request<'_>) -> bool {
        let known = self.state.sizes.peek(request.hash ^ REDIRECTED);
        known.is_some_and(|sizes| sizes.answers() >= REDIRECTS)
    }

    /// What the size of an answer says next to what is usual for the path, for attacks that
    /// are after what the answer holds. What was sent may stand in it, even more than once. What
    /// `is_blind` may run though its answer does not show it.
    fn by_size(&mut self, request: &Request<'_>, page: u64, is_sql: bool, is_blind: bool) -> Option<(Outcome, String)> {
        let sent = request.query.map_or(0, <[u8]>::len) as u64 * 2 + 64;
        let longer = |usual: u32, of: &str| {
            let bytes = request.bytes;
            let is_more = bytes > u64::from(usual) + sent;
            is_more.then(|| {
                (Outcome::LikelySucceeded, format!("its answer has {bytes} bytes, where {of} have {usual} at most"))
            })
        };
        let (page, tolerance) = (page ^ kind_of_sizes(request), SIZE_TOLERANCE);
        let harmless = self.state.sizes.peek(page);
        let usual = harmless.map(|sizes| sizes.compare(request.bytes, tolerance));
        let is_of_harmless = harmless.is_some_and(|sizes| sizes.have(request.bytes, tolerance));
        let query = self.key.hash(request.query.unwrap_or(b""));
        let attacked = self.state.sizes.entry(page ^ ATTACKED, Sizes::default);
        let series = attacked.compare(request.bytes, tolerance);
        attacked.note(request.bytes, query);
        match (usual, series) {
            // What a harmless request was answered with is nothing that was stolen; nor is what all
            // conditions are answered with.
            (Some(Compared::Longer { .. }), _) if is_of_harmless => None,
            (Some(Compared::Longer { .. }), Compared::Usual) if is_sql => None,
            (Some(Compared::Longer { usual }), _) => longer(usual, "the path's other answers"),
            (Some(Compared::Usual), _) if !is_sql => {
                let usual = format!("its answer is as long as others of the path ({} bytes)", request.bytes);
                Some(match is_blind {
                    true => (Outcome::Unknown, format!("{usual}, which says nothing of what runs unseen")),
                    false => (Outcome::Failed, usual),
                })
            }
            (_, Compared::Longer { usual }) if !is_of_harmless => longer(usual, "those to other attacks on the path"),
            _ => None,
        }
    }

    /// Whether nothing is found but that somebody works where others look for a way in, and with what he
    /// is there for: a database's tool is sent statements.
    fn is_at_home(&mut self, client: IpAddr, request: &Request<'_>, line: &[event::Finding], at: Millis) -> bool {
        let is_statement = |finding: &event::Finding| {
            let is_of_tool = |name: &String| STATEMENTS_OF_TOOLS.contains(&name.as_str());
            finding.rule == STATEMENT && finding.parameter.as_ref().is_some_and(is_of_tool)
        };
        let is_of_work = |finding: &event::Finding| is_look(finding) || is_statement(finding);
        let is_work = line.iter().any(is_look) && line.iter().all(is_of_work);
        let is_at_home = is_work && self.works_here(client, request, line, at);
        if is_at_home {
            let source = self.state.sources.entry(self.key.hash(&of_source(client)), Source::default);
            source.stay(at);
        }
        is_at_home
    }

    /// Whether somebody came by a link of the site's own, and loads what its pages are made of. Where the
    /// log does not name the site, a link in the same folder is one, but for what no page should show.
    fn works_here(&self, client: IpAddr, request: &Request<'_>, line: &[event::Finding], at: Millis) -> bool {
        let is_leak = || line.iter().any(|finding| finding.category == Category::InfoLeak);
        let is_from_here = || request.vhost.is_none() && request.is_from_same_folder() && !is_leak();
        let loads_pages = || {
            let source = self.state.sources.peek(self.key.hash(&of_source(client)));
            source.is_some_and(|source| source.loads_pages(at))
        };
        request.status < 400 && (self.is_own(request) || is_from_here()) && loads_pages()
    }

    /// A request that changes something and was not made on a page of this site.
    fn forgery(&self, request: &Request<'_>, loads_pages: bool, at: Millis) -> Option<Found> {
        let sentence = match request.from() {
            Some((host, _)) if self.is_foreign(request) => {
                let host = String::from_utf8_lossy(host);
                format!("a page of `{host}` makes the browser ask for a change here")
            }
            None if request.sets_password() && request.is_browser() && !loads_pages => {
                "sets a password by a link that is on no page of the site".to_owned()
            }
            _ => return None,
        };
        let (kind, category) = (Kind::Forgery, Kind::Forgery.category());
        let sentence = Some(sentence);
        Some(Found { kind, category, lines: 1, since: at, sentence, success: None, is_refuted: false })
    }

    /// Whether the page that a request comes from is another site's. The log need not name
    /// its own site, so names are learnt: links come from pages that are there.
    fn is_foreign(&self, request: &Request<'_>) -> bool {
        let Some((_, path)) = request.from() else { return false };
        let knows_any = || self.state.hosts.iter().any(|(_, links)| *links >= OWN_LINKS);
        !self.is_own(request) && (request.vhost.is_some() || knows_any() && !self.is_page(path))
    }

    /// Whether it is one of this site's.
    fn is_own(&self, request: &Request<'_>) -> bool {
        let Some((host, _)) = request.from() else { return false };
        let is_alike = |own: &[u8]| bare(own).eq_ignore_ascii_case(bare(host));
        request.vhost.is_some_and(is_alike) || self.is_learnt(request, host)
    }

    /// Whether a name is known from links as one under which users come to the site that is asked.
    fn is_learnt(&self, request: &Request<'_>, host: &[u8]) -> bool {
        let Snapshot { links, hosts, .. } = &self.state;
        let looked_at = (*links).min(FIRST_LINKS) + links.saturating_sub(FIRST_LINKS) / LINK_STEP;
        let least = request.vhost.map_or(0, |_| looked_at / OWN_PART).max(OWN_LINKS.into());
        let names = [self.name(request, host), self.key.hash(host)];
        let names = if request.vhost.is_some() { &names[..1] } else { &names[..] };
        hosts.iter().any(|(known, links)| names.contains(known) && u64::from(*links) >= least)
    }

    /// The hash of a name of the site that is asked.
    fn name(&self, request: &Request<'_>, host: &[u8]) -> u64 {
        let name = self.key.hash(without_www(host));
        request.vhost.map_or(name, |own| self.key.with(self.key.hash(own), name))
    }

    fn is_page(&self, path: &[u8]) -> bool {
        path.len() > 1 && self.is_known(self.key.hash(path))
    }

    /// Whether the path of this hash was there for a harmless request.
    fn is_known(&self, path: u64) -> bool {
        [path, path ^ PLAIN].iter().any(|key| self.state.sizes.peek(*key).is_some())
    }

    /// Learns the site's names: from all links at first, later from a few.
    fn learn_host(&mut self, request: &Request<'_>) {
        if request.referer.is_none() {
            return;
        }
        self.state.links += 1;
        if self.state.links > FIRST_LINKS && !self.state.links.is_multiple_of(LINK_STEP) {
            return;
        }
        let Some((host, path)) = request.from() else { return };
        if !self.is_page(path) {
            return;
        }
        if request.vhost.is_some_and(|own| bare(own).eq_ignore_ascii_case(bare(host))) {
            return;
        }
        let host = self.name(request, host);
        let hosts = &mut self.state.hosts;
        match hosts.iter_mut().find(|(known, _)| *known == host) {
            Some((_, links)) => *links = links.saturating_add(1),
            None => {
                if hosts.len() >= HOSTS_MAX {
                    let rarest = (0..hosts.len()).min_by_key(|at| hosts[*at].1).unwrap_or(0);
                    hosts.remove(rarest);
                }
                hosts.push((host, 1));
            }
        }
    }

    /// A line of the error log that speaks of an attack: joined with the request that it is
    /// about, or told by itself.
    fn complaint(&mut self, seen: &Seen<'_>, client: Option<IpAddr>, signal: Signal, message: &[u8]) -> Told {
        self.learn_faults(seen.at);
        let outcome = (signal.outcome, signal.sentence.to_owned());
        let gist = self.gist(&signal, message);
        let is_near = |at: Millis| at.abs_diff(seen.at) <= JOIN_WINDOW.unsigned_abs();
        let fits = |half: &&Half| {
            is_near(half.at)
                && client.is_none_or(|client| client == half.client)
                && signal.category.is_none_or(|category| half.categories.contains(&category))
        };
        let attacker = only(self.state.attacks.iter().rev().filter(fits).map(|half| half.client));
        if attacker.is_some_and(|who| self.is_own_fault(gist, who)) {
            return Told::default();
        }
        // Where each of them was complained of already, it is of a request that is not read yet.
        let is_of_next = self.state.attacks.iter().filter(fits).all(|half| half.sentence == signal.sentence);
        if let Some((incident, told)) = attacker.and_then(|who| self.state.incidents.judge(who, seen.at, &outcome)) {
            if is_of_next {
                self.complain(seen.at, attacker, signal, message);
            }
            return Told {
                outcome: Some(outcome),
                incident: Some(incident),
                incidents: told.into_iter().collect(),
                ..Told::default()
            };
        }
        let Some(client) = self.complain(seen.at, client, signal, message) else { return Told::default() };
        let Some(category) = signal.category.filter(|_| signal.is_by_itself) else { return Told::default() };
        let source = self.state.sources.entry(self.key.hash(&of_source(client)), Source::default);
        let Some(found) = source.note_error(&signal, category, self.key.hash(message), seen.at) else {
            return Told::default();
        };
        let (event, at, behaviour) = (seen.place.id(), seen.at, &[found][..]);
        let (path, agent, line, is_of_network) = (&b""[..], &b""[..], &[][..], false);
        let (outcome_of, ground, refuted) = (&outcome, None, None);
        let sighting = Sighting {
            event,
            at,
            client,
            is_of_network,
            path,
            agent,
            line,
            behaviour,
            outcome: outcome_of,
            ground,
            refuted,
        };
        let (incident, incidents) = self.state.incidents.note(&sighting);
        self.suspect(client);
        Told { outcome: Some(outcome), categories: vec![category], incident: Some(incident), incidents }
    }

    /// Remembers a complaint for the request that it is about, and says whose that is.
    fn complain(&mut self, at: Millis, client: Option<IpAddr>, signal: Signal, message: &[u8]) -> Option<IpAddr> {
        let is_near = |sent: &&(Millis, IpAddr)| sent.0.abs_diff(at) <= JOIN_WINDOW.unsigned_abs();
        // A line that names nobody is of the one who posted, if there is only one.
        let sender = || only(self.state.posts.iter().filter(is_near).map(|(_, client)| *client));
        let client = client.or_else(sender)?;
        let file = errors::file(&signal, message).map_or_else(String::new, |file| String::from_utf8_lossy(file).into());
        let (categories, gist) = (signal.category.into_iter().collect(), self.gist(&signal, message));
        let half =
            Half { at, client, categories, outcome: signal.outcome, sentence: signal.sentence.to_owned(), gist, file };
        remember(&mut self.state.complaints, half, JOINED_MAX);
        Some(client)
    }

    /// What stands for a complaint that may be one of a fault of the site's own.
    fn gist(&self, signal: &Signal, message: &[u8]) -> u64 {
        if signal.may_be_a_fault() { errors::gist(message, self.key) } else { 0 }
    }

    /// Whether requests of others bring a complaint about, too, in which is no attack.
    fn is_own_fault(&self, gist: u64, client: IpAddr) -> bool {
        let source = self.key.hash(&of_source(client));
        let is_it = |fault: &Fault| fault.gist == gist && fault.sources.iter().any(|other| *other != source);
        gist != 0 && self.state.faults.iter().any(is_it)
    }

    /// Learns from complaints for which no attack came in time that they are of the site's own faults.
    fn learn_faults(&mut self, now: Millis) {
        let Snapshot { complaints, faults, sources, .. } = &mut self.state;
        let is_late = |half: &&mut Half| half.gist != 0 && half.at.abs_diff(now) > 2 * JOIN_WINDOW.unsigned_abs();
        for half in complaints.iter_mut().filter(is_late) {
            let (gist, source) = (std::mem::take(&mut half.gist), self.key.hash(&of_source(half.client)));
            if sources.peek(source).is_some_and(|source| source.is_suspect) {
                continue;
            }
            let place = faults.iter().position(|known| known.gist == gist);
            let known = place.and_then(|place| faults.remove(place));
            let first = known.map_or(source, |known| known.sources[0]);
            let other = if source == first { known.map_or(source, |known| known.sources[1]) } else { source };
            remember(faults, Fault { gist, sources: [first, other] }, FAULTS_MAX);
        }
    }

    fn suspect(&mut self, client: IpAddr) {
        self.state.sources.entry(self.key.hash(&of_source(client)), Source::default).is_suspect = true;
    }

    /// The open incident of a client whose request holds nothing.
    fn clean(&mut self, client: IpAddr, at: Millis) -> Option<EventId> {
        self.state.incidents.count(client, at).unwrap_or_else(|_: NoneOpen| {
            self.state.sources.entry(self.key.hash(&of_source(client)), Source::default).is_suspect = false;
            None
        })
    }
}

/// A name of a host without `www.`, under which nearly all sites can be had as well.
fn without_www(host: &[u8]) -> &[u8] {
    let has_www = host.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(b"www."));
    if has_www { &host[4..] } else { host }
}

/// The same without its port.
fn bare(host: &[u8]) -> &[u8] {
    let host = without_www(host);
    &host[..memchr::memchr(b':', host).unwrap_or(host.len())]
}

/// Whether a finding says no more than that a place was asked for where others look for a way in.
fn is_look(finding: &event::Finding) -> bool {
    matches!(finding.category, Category::Recon | Category::InfoLeak) && finding.field == Field::Path
}

/// What a success at a login turned out to be.
const CAME_AGAIN: &str =
    "the answer that differed came again at once, as a lockout's or a captcha's does: no password need have been right";

/// Marks the sizes that an answer's is compared with: servers compress what they send to browsers and to
/// robots, and many programs do not ask for that.
fn kind_of_sizes(request: &Request<'_>) -> u64 {
    if request.agent.starts_with(b"Mozilla/") { 0 } else { PLAIN }
}

/// What it means that an attack was answered as everything is.
fn answers_all(request: &Request<'_>) -> (Outcome, String) {
    let (status, bytes) = (request.status, request.bytes);
    match request.is_redirected() {
        true => (Outcome::Unknown, format!("whoever asks is sent on, whatever is asked for (status {status})")),
        false => (Outcome::Failed, format!("other paths are answered with the same (status {status}, {bytes} bytes)")),
    }
}

/// The one that all are.
fn only(mut all: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// Keeps the last `most`.
fn remember<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    if all.len() >= most {
        all.pop_front();
    }
    all.push_back(one);
}

/// What a source is known by: an address, or the 64 bits that a household has of IPv6.
fn of_source(client: IpAddr) -> [u8; 8] {
    let octets = octets(client);
    let mut first = [0; 8];
    match client {
        IpAddr::V4(_) => first[4..].copy_from_slice(&octets[12..]),
        IpAddr::V6(_) => first.copy_from_slice(&octets[..8]),
    }
    first
}

fn octets(client: IpAddr) -> [u8; 16] {
    match client {
        IpAddr::V4(client) => client.to_ipv6_mapped().octets(),
        IpAddr::V6(client) => client.octets(),
    }
}

#[cfg(test)]
mod tests;
