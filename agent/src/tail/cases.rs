//! Single cases of files and folders, told one by one.

use super::watch::Watch;
use super::*;
use crate::batch::Inspector;
use crate::behaviour::Observer;
use crate::enrich::{EnrichSettings, Enrichment};
use crate::redaction::{RedactSettings, Redaction};
use crate::report::Report;
use crate::settings::{FileSettings, RecordFormat, SWEEP, Settings};
use crate::spool::memory::{Fault, Memory};
use crate::spool::{Limits, Spool};
use event::address::Networks;
use event::incident::Outcome;
use event::line::Host;
use event::{Classifier, Document, Event, Format, Zone};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Arc, LazyLock};

static CLASSIFIER: LazyLock<Arc<Classifier>> = LazyLock::new(|| Arc::new(Classifier::embedded()));

/// A folder of logs and a tailer that follows a pattern in it.
struct Rig {
    folder: tempfile::TempDir,
    disk: Memory,
    pattern: String,
    is_docker: bool,
    /// Other files that are read, too.
    others: Vec<String>,
    format: Format,
    enrich: EnrichSettings,
    redact: RedactSettings,
    now: Instant,
    tailer: Option<Tailer>,
}

impl Rig {
    fn new(pattern: &str) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let pattern = folder.path().join(pattern).to_str().unwrap().to_owned();
        Rig {
            folder,
            disk: Memory::default(),
            pattern,
            is_docker: false,
            others: Vec::new(),
            format: Format::Auto,
            enrich: EnrichSettings::default(),
            redact: RedactSettings::default(),
            now: Instant::now(),
            tailer: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    fn start(&mut self) {
        let file = FileSettings {
            is_docker: self.is_docker,
            timezone: Zone::UTC,
            format: self.format.clone(),
            ..FileSettings::new(self.pattern.clone())
        };
        let settings = Settings {
            host: Host { id: "case".into(), name: "case".into() },
            cloud: Arc::default(),
            format: RecordFormat::Frame,
            rules: None,
            enrich: self.enrich.clone(),
            behaviour: Default::default(),
            redact: self.redact.clone(),
            files: [file].into_iter().chain(self.others.iter().cloned().map(FileSettings::new)).collect(),
            state: self.path("state"),
            spool: Limits::default(),
            request_bytes: 5 << 20,
            follow: true,
            linger: Duration::from_millis(100),
            sweep: SWEEP,
            metrics: Default::default(),
            meter: Arc::default(),
        };
        let opened = Spool::open(Arc::new(self.disk.clone()), Path::new("/spool"), Limits::default()).unwrap();
        let spool = Arc::new(opened.spool);
        settings.meter.watch_spool(&spool);
        let redaction = Redaction::new(&settings.redact, [7; 32]);
        let enrichment = Enrichment::open(&settings.enrich, Instant::now());
        let inspector = Inspector {
            classifier: Arc::clone(&CLASSIFIER),
            enrichment,
            observer: Observer::new("case", settings.behaviour, Instant::now()),
            redaction,
        };
        let desk = Desk::new(settings, inspector, spool, opened.known);
        self.tailer = Some(Tailer::new(desk, Watch::none()));
    }

    /// Looks at everything and returns the events that have come.
    fn events(&mut self) -> Vec<Event> {
        if self.tailer.is_none() {
            self.start();
        }
        let tailer = self.tailer.as_mut().unwrap();
        self.now += Duration::from_secs(6);
        while tailer.round(self.now) {}
        // First messages are over that might have gone on, then their frames.
        for _ in 0..2 {
            self.now += Duration::from_secs(1);
            while tailer.round(self.now) {}
        }
        let mut events = Vec::new();
        while let Some(shipment) = tailer.desk.spool.next().unwrap() {
            tailer.desk.spool.settled(shipment.place);
            events.extend(event::frame::decode(&shipment.payload).unwrap().1);
        }
        tailer.desk.spool.tidy(true);
        events
    }

    fn lines(&mut self) -> Vec<String> {
        self.events().into_iter().map(|event| String::from_utf8(event.line).unwrap()).collect()
    }

    fn report(&self) -> Report {
        let about = crate::meter::About { host: String::new(), stream: String::new(), credentials: None };
        self.tailer.as_ref().unwrap().desk.meter.report(about)
    }

    fn skipped(&self) -> Vec<(String, String)> {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        self.report().skipped.into_iter().map(|skipped| (name(&skipped.path), skipped.reason)).collect()
    }
}

#[test]
fn what_is_no_log_of_ours_is_named_and_skipped() {
    let mut rig = Rig::new("*.log");
    rig.write("real.log", "real\n");
    rig.write("secret", "root:x\n");
    symlink(rig.path("secret"), rig.path("stolen.log")).unwrap();
    symlink(rig.path("real.log"), rig.path("other-name.log")).unwrap();
    symlink(rig.path("nowhere"), rig.path("dangling.log")).unwrap();
    fs::create_dir(rig.path("folder.log")).unwrap();
    let status = std::process::Command::new("mkfifo").arg(rig.path("pipe.log")).status().unwrap();
    assert!(status.success());
    assert_eq!(rig.lines(), ["real"]);
    let mut skipped = rig.skipped();
    skipped.sort();
    let secret = rig.path("secret").canonicalize().unwrap();
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    assert!(skipped[0].1.starts_with("it is a link that leads nowhere"), "{skipped:?}");
    assert_eq!(skipped[1], ("pipe.log".into(), "it is not a regular file; skipped".into()));
    let link = format!("it is a link to `{}`, which no `[[file]]` names; skipped", secret.display());
    assert_eq!(skipped[2], ("stolen.log".into(), link));
}

#[test]
fn a_folder_behind_a_link_is_not_entered() {
    let mut rig = Rig::new("*/access.log");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("access.log"), "stolen\n").unwrap();
    symlink(elsewhere.path(), rig.path("site")).unwrap();
    fs::create_dir(rig.path("shop")).unwrap();
    rig.write("shop/access.log", "ours\n");
    assert_eq!(rig.lines(), ["ours"]);
}

#[test]
fn a_file_with_two_names_is_read_once() {
    let mut rig = Rig::new("*.log");
    rig.write("a.log", "once\n");
    fs::hard_link(rig.path("a.log"), rig.path("b.log")).unwrap();
    assert_eq!(rig.lines(), ["once"]);
}

#[test]
fn a_folder_that_appears_later_is_found() {
    let mut rig = Rig::new("later/access.log");
    assert!(rig.lines().is_empty());
    fs::create_dir(rig.path("later")).unwrap();
    rig.write("later/access.log", "here\n");
    assert_eq!(rig.lines(), ["here"]);
}

#[test]
fn a_file_that_may_be_read_later_is_read_then() {
    let mut rig = Rig::new("access.log");
    rig.write("access.log", "patience\n");
    fs::set_permissions(rig.path("access.log"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything.
    let may_read = fs::File::open(rig.path("access.log")).is_ok();
    if !may_read {
        assert!(rig.lines().is_empty());
        assert!(rig.skipped()[0].1.starts_with("cannot open it: Permission denied"), "{:?}", rig.skipped());
    }
    fs::set_permissions(rig.path("access.log"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(rig.lines(), ["patience"]);
    assert!(rig.skipped().is_empty());
}

#[test]
fn two_rotations_between_two_sweeps_lose_nothing() {
    let mut rig = Rig::new("access.log");
    rig.write("access.log", "1\n");
    assert_eq!(rig.lines(), ["1"]);
    rig.append("access.log", "2\n");
    fs::rename(rig.path("access.log"), rig.path("access.log.1")).unwrap();
    rig.write("access.log", "3\n");
    fs::rename(rig.path("access.log.1"), rig.path("access.log.2")).unwrap();
    fs::rename(rig.path("access.log"), rig.path("access.log.1")).unwrap();
    rig.write("access.log", "4\n");
    assert_eq!(rig.lines(), ["2", "3", "4"]);
}

#[test]
fn an_unread_file_that_is_deleted_is_read_while_it_is_open() {
    let mut rig = Rig::new("access.log");
    rig.write("access.log", "1\n");
    assert_eq!(rig.lines(), ["1"]);
    rig.append("access.log", "2\n");
    fs::remove_file(rig.path("access.log")).unwrap();
    assert_eq!(rig.lines(), ["2"]);
}

#[test]
fn lost_bytes_are_an_event_of_their_own() {
    let mut rig = Rig::new("access.log");
    rig.write("access.log", "1\n");
    assert_eq!(rig.lines(), ["1"]);
    // The spool takes nothing while the file grows and goes.
    rig.disk.fail_at(rig.disk.calls(), Fault::Full(0, usize::MAX >> 1));
    rig.append("access.log", "lost\n");
    assert!(rig.lines().is_empty());
    assert!(rig.report().spool.trouble.unwrap().reason.contains("No space left on device"));
    let disk = rig.disk.reborn(false);
    (rig.tailer, rig.disk) = (None, disk);
    fs::remove_file(rig.path("access.log")).unwrap();
    rig.write("access.log", "2\n");
    // That the file had grown was never written down, so there is nothing to tell.
    assert_eq!(rig.lines(), ["2"]);
    rig.append("access.log", "half a line");
    assert!(rig.lines().is_empty());
    rig.write("access.log", "3\n");
    let mut events = rig.events();
    events.extend(rig.events());
    events.extend(rig.events());
    let gap = events.iter().find(|event| event.gap.is_some()).unwrap();
    assert_eq!((gap.offset, gap.length), (2, 11));
    assert_eq!(gap.gap.as_deref(), Some("the file was truncated or written anew before they were read"));
    assert_eq!((rig.report().gaps, rig.report().gap_bytes), (1, 11));
}

#[test]
fn a_full_disk_stops_reading_and_the_rest_follows_when_there_is_room() {
    let mut rig = Rig::new("access.log");
    rig.write("access.log", "1\n");
    assert_eq!(rig.lines(), ["1"]);
    rig.disk.fail_at(rig.disk.calls(), Fault::Full(4, 4));
    rig.append("access.log", "2\n");
    rig.append("access.log", "3\n");
    let mut lines = rig.lines();
    for _ in 0..5 {
        lines.extend(rig.lines());
    }
    assert_eq!(lines, ["2", "3"]);
    assert_eq!(rig.report().spool.trouble, None);
}

#[test]
fn odd_bytes_survive() {
    let mut rig = Rig::new("access.log");
    fs::write(rig.path("access.log"), b"cr\r\nnul\0\n\xff\xfe\n\nlast without an end").unwrap();
    let lines: Vec<Vec<u8>> = rig.events().into_iter().map(|event| event.line).collect();
    assert_eq!(lines, [&b"cr\r"[..], b"nul\0", b"\xff\xfe", b""]);
    rig.append("access.log", ", finished\n");
    assert_eq!(rig.lines(), ["last without an end, finished"]);
}

fn part(text: &str, stream: &str, second: u32) -> String {
    let log = serde_json::to_string(text).unwrap();
    format!(
        "{{\"log\":{log},\"stream\":\"{stream}\",\"attrs\":{{\"tag\":\"dvwa\"}},\"time\":\"2026-11-16T08:00:{second:02}.5Z\"}}\n"
    )
}

fn docker() -> Rig {
    let mut rig = Rig::new("c0ffee-json.log");
    rig.is_docker = true;
    rig
}

#[test]
fn parts_of_a_containers_line_are_joined_per_stream() {
    let mut rig = docker();
    let text = [part("one ", "stdout", 1), part("other\n", "stderr", 2), part("line\n", "stdout", 3)].concat();
    rig.write("c0ffee-json.log", &text);
    let events = rig.events();
    let lines: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(&event.line)).collect();
    assert_eq!(lines, ["other", "one line"]);
    assert_eq!((events[1].offset, events[1].time), (0, 1_794_816_001_500));
    assert_eq!(events[1].length as usize, part("one ", "stdout", 1).len() - 1);
    let container = events[0].origin.container.as_ref().unwrap();
    assert_eq!((&*container.id, &*container.labels["tag"]), ("c0ffee", "dvwa"));
}

#[test]
fn parts_are_joined_across_a_rotation_and_a_crash() {
    let mut rig = docker();
    rig.write("c0ffee-json.log", &[part("before\n", "stdout", 1), part("one ", "stdout", 2)].concat());
    assert_eq!(rig.lines(), ["before"]);
    rig.tailer = None;
    fs::rename(rig.path("c0ffee-json.log"), rig.path("c0ffee-json.log.1")).unwrap();
    rig.write("c0ffee-json.log", &[part("line\n", "stdout", 3), part("after\n", "stdout", 4)].concat());
    assert_eq!(rig.lines(), ["one line", "after"]);
    rig.tailer = None;
    assert!(rig.lines().is_empty(), "nothing is read again");
}

#[test]
fn a_line_whose_last_part_never_comes_is_told_as_it_is() {
    let mut rig = docker();
    rig.write("c0ffee-json.log", &part("the container die", "stdout", 1));
    assert!(rig.lines().is_empty());
    rig.now += Duration::from_secs(31);
    assert_eq!(rig.lines(), ["the container die"]);
    assert!(rig.lines().is_empty());
}

#[test]
fn a_copy_is_not_read_twice_whenever_it_is_met() {
    let mut rig = Rig::new("access.log");
    let mut sent = Vec::new();
    let mut written = 0;
    for rotation in 0..12 {
        for line in 0..3 {
            rig.append("access.log", &format!("line {written}\n"));
            written += 1;
            // Read to its end, or to its first line.
            if line == 0 || rotation % 2 == 0 {
                sent.extend(rig.lines());
            }
        }
        fs::copy(rig.path("access.log"), rig.path(&format!("access.log-20261124-{rotation:010}"))).unwrap();
        if rotation % 3 == 0 {
            sent.extend(rig.lines());
        }
        fs::File::options().write(true).open(rig.path("access.log")).unwrap().set_len(0).unwrap();
        if rotation % 4 == 0 {
            sent.extend(rig.lines());
        }
        if rotation % 5 == 0 {
            rig.tailer = None;
        }
    }
    sent.extend(rig.lines());
    sent.extend(rig.lines());
    sent.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
    assert_eq!(sent, (0..written).map(|number| format!("line {number}")).collect::<Vec<_>>());
}

/// A line as Docker writes it.
fn wrapped(text: &str, stream: &str) -> String {
    part(
        &format!(
            "{text}
"
        ),
        stream,
        25,
    )
}

const REQUEST: &str = r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 5 "-" "-""#;

#[test]
fn what_a_container_prints_of_a_log_that_is_read_too_is_a_duplicate() {
    let mut rig = Rig::new("c0ffee-json.log");
    rig.is_docker = true;
    let access = rig.path("access.log").to_str().unwrap().to_owned();
    rig.others = vec![access.clone()];
    rig.write("access.log", &format!("{REQUEST}\n"));
    let header = |file: &str| wrapped(&format!("==> {file} <=="), "stdout");
    let begin = [wrapped(REQUEST, "stdout"), header(&access), wrapped(REQUEST, "stdout")].concat();
    rig.append("c0ffee-json.log", &begin);
    let twins = |events: Vec<Event>| -> Vec<(String, Option<String>)> {
        let of_container = events.into_iter().filter(|event| event.origin.container.is_some());
        of_container.map(|event| (String::from_utf8(event.line).unwrap(), event.duplicate_of)).collect()
    };
    let line = |twin: Option<&str>| (REQUEST.to_owned(), twin.map(str::to_owned));
    let told = |file: &str| (format!("==> {file} <=="), None);
    assert_eq!(twins(rig.events()), [line(None), told(&access), line(Some(&access))]);
    // The header was read before the restart.
    rig.tailer = None;
    let rest = [
        wrapped(REQUEST, "stdout"),
        wrapped(REQUEST, "stderr"),
        header("/elsewhere/access.log"),
        wrapped(REQUEST, "stdout"),
    ];
    rig.append("c0ffee-json.log", &rest.concat());
    let elsewhere = told("/elsewhere/access.log");
    assert_eq!(twins(rig.events()), [line(Some(&access)), line(None), elsewhere, line(None)]);
}

#[test]
fn where_a_container_has_a_log_of_its_own_under_the_same_name_both_are_told() {
    let mut rig = Rig::new("c0ffee-json.log");
    rig.is_docker = true;
    let access = rig.path("access.log").to_str().unwrap().to_owned();
    rig.others = vec![access.clone()];
    rig.write("access.log", &format!("{REQUEST}\n"));
    rig.write("config.v2.json", r#"{"Name":"/dvwa","MountPoints":{}}"#);
    rig.append(
        "c0ffee-json.log",
        &[wrapped(&format!("==> {access} <=="), "stdout"), wrapped(REQUEST, "stdout")].concat(),
    );
    assert!(rig.events().iter().all(|event| event.duplicate_of.is_none()));
}

#[test]
fn a_stack_trace_is_one_event_in_the_place_of_its_first_line() {
    let trace =
        ["PHP Fatal error:  Uncaught E: x in /a.php:2", "Stack trace:", "#0 {main}", "  thrown in /a.php on line 2"];
    let mut rig = Rig::new("error.log");
    rig.write("error.log", &(trace.join("\n") + "\nsh: 1: x: not found\n"));
    let events = rig.events();
    let lines: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(&event.line).into_owned()).collect();
    assert_eq!(lines, [trace.join("\n"), "sh: 1: x: not found".to_owned()]);
    assert_eq!((events[0].offset, events[0].length), (0, trace[0].len() as u64));
    assert_eq!(events[1].offset, trace.join("\n").len() as u64 + 1);
    // Two streams of one container do not disturb each other.
    let mut rig = Rig::new("c0ffee-json.log");
    rig.is_docker = true;
    let mut text = wrapped(trace[0], "stderr");
    for line in &trace[1..] {
        text += &wrapped(REQUEST, "stdout");
        text += &wrapped(line, "stderr");
    }
    rig.write("c0ffee-json.log", &text);
    let mut lines = rig.lines();
    lines.sort();
    assert_eq!(lines, [REQUEST.to_owned(), REQUEST.to_owned(), REQUEST.to_owned(), trace.join("\n")]);
}

/// An attack, and what the error log says of it, in the lines that PHP writes.
const ATTACK: &str =
    r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?id=1'+union+select+1,2--+ HTTP/1.1" 200 5 "-" "-""#;
const COMPLAINT: [&str; 3] = [
    "[Mon Nov 16 08:00:25.123456 2026] [php:error] [pid 7] [client 192.0.2.7:40312] PHP Fatal error:  Uncaught \
     mysqli_sql_exception: You have an error in your SQL syntax near '' in /var/www/html/index.php:11",
    "Stack trace:",
    "#0 {main}",
];

/// What becomes of the attack among the events, and whether complaint and attack are of one incident.
fn outcome_of_attack(events: &[Event]) -> (Option<Outcome>, bool) {
    let attack = events.iter().find(|event| event.attack.is_some()).expect("it is an attack");
    let complaint = events.iter().find(|event| event.line.starts_with(COMPLAINT[0].as_bytes())).expect("it is there");
    let incident = |event: &Event| event.context.as_ref().and_then(|context| context.incident);
    let outcome = attack.context.as_ref().and_then(|context| context.outcome.as_ref());
    (outcome.map(|(outcome, _)| *outcome), incident(attack).is_some() && incident(attack) == incident(complaint))
}

#[test]
fn a_request_tells_what_the_error_log_says_of_it_though_that_message_may_go_on() {
    let mut rig = Rig::new("access.log");
    rig.others.push(rig.path("error.log").to_str().unwrap().to_owned());
    rig.write("error.log", &(COMPLAINT.join("\n") + "\n"));
    rig.write("access.log", &format!("{ATTACK}\n"));
    assert_eq!(outcome_of_attack(&rig.events()), (Some(Outcome::LikelySucceeded), true));
}

#[test]
fn a_container_prints_requests_and_complaints_of_them_into_one_file() {
    for complaint_first in [true, false] {
        let mut rig = Rig::new("c0ffee-json.log");
        rig.is_docker = true;
        let complaint: Vec<String> = COMPLAINT.iter().map(|line| wrapped(line, "stderr")).collect();
        let attack = wrapped(ATTACK, "stdout");
        let text = if complaint_first {
            [&complaint[0], &attack, &complaint[1], &complaint[2]].map(String::as_str).concat()
        } else {
            attack + &complaint.concat()
        };
        rig.write("c0ffee-json.log", &text);
        let (outcome, is_one_incident) = outcome_of_attack(&rig.events());
        assert_eq!(outcome, complaint_first.then_some(Outcome::LikelySucceeded));
        assert!(is_one_incident, "{complaint_first}");
    }
}

#[test]
fn a_trace_that_is_read_in_two_lives_of_the_agent_is_one_event() {
    let mut rig = Rig::new("error.log");
    rig.write("error.log", "PHP Fatal error:  Uncaught E: x in /a.php:2\nStack trace:\n");
    rig.start();
    let tailer = rig.tailer.as_mut().unwrap();
    while tailer.round(rig.now) {}
    tailer.close_all();
    rig.tailer = None;
    rig.append("error.log", "#0 {main}\n");
    assert_eq!(rig.lines(), ["PHP Fatal error:  Uncaught E: x in /a.php:2\nStack trace:\n#0 {main}"]);
}

#[test]
fn no_password_reaches_the_spool() {
    let mut rig = Rig::new("access.log");
    let line = REQUEST.replace("GET /", "GET /vulnerabilities/brute/?username=admin&password=letmein&Login=Login");
    rig.write("access.log", &format!("{line}\n{REQUEST}\n"));
    let events = rig.events();
    let shown = String::from_utf8_lossy(&events[0].line).into_owned();
    assert!(shown.contains("&password=REDACTED-") && !shown.contains("letmein"), "{shown}");
    assert_eq!(events[0].length, line.len() as u64);
    let raw = Event { line: line.into_bytes(), ..events[0].clone() };
    assert_eq!(raw.id(&raw.parsed()), events[0].id(&events[0].parsed()), "ids do not depend on masks");
    assert_eq!(events[1].line, REQUEST.as_bytes());
}

/// A rig that knows where addresses are.
fn with_places(pattern: &str) -> Rig {
    let mut rig = Rig::new(pattern);
    rig.enrich.geoip = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/geoip/GeoLite2-City-Test.mmdb")];
    rig
}

#[test]
fn each_revision_of_an_incident_tells_where_its_actor_is() {
    let mut rig = with_places("access.log");
    rig.write("access.log", &format!("{}\n", ATTACK.replace("192.0.2.7", "81.2.69.142")));
    let mut events = rig.events();
    rig.now += Duration::from_secs(31 * 60);
    events.extend(rig.events());
    let incidents: Vec<_> = events.iter().filter(|event| event.incident.is_some()).collect();
    let is_over = incidents.last().and_then(|event| event.incident.as_ref()).is_some_and(|incident| incident.is_over);
    assert!(is_over && incidents.len() == 2, "{incidents:#?}");
    for event in incidents {
        let document: serde_json::Value = serde_json::from_slice(&Document::of(event).body).unwrap();
        assert_eq!(document["source"]["geo"]["city_name"], "London");
    }
}

/// Two clients of one network behind a balancer, and one that came directly.
const PASSED_ON: &str = r#"10.0.0.1 - - [16/Nov/2026:08:00:25 +0000] "GET /a HTTP/1.1" 200 5 "81.2.69.142"
10.0.0.1 - - [16/Nov/2026:08:00:26 +0000] "GET /b HTTP/1.1" 200 5 "6.6.6.6, 81.2.69.143"
203.0.113.5 - - [16/Nov/2026:08:00:27 +0000] "GET /c HTTP/1.1" 200 5 "81.2.69.142"
"#;

/// `address peer city` of each event.
fn clients(events: &[Event]) -> Vec<String> {
    let told = |event: &Event| {
        let document: serde_json::Value = serde_json::from_slice(&Document::of(event).body).unwrap();
        let text = |pointer: &str| document.pointer(pointer).and_then(|text| text.as_str()).unwrap_or("-").to_owned();
        [text("/source/ip"), text("/twosec/source/peer"), text("/source/geo/city_name")].join(" ")
    };
    events.iter().map(told).collect()
}

fn behind_a_balancer(redact: RedactSettings) -> Rig {
    let mut rig = with_places("access.log");
    rig.enrich.trusted_proxies = Networks::parse(&["10.0.0.0/8"]).unwrap();
    rig.redact = redact;
    rig.format = r#"%h %l %u %t "%r" %>s %b "%{X-Forwarded-For}i""#.parse().unwrap();
    rig.write("access.log", PASSED_ON);
    rig
}

#[test]
fn the_client_behind_a_balancer_is_told_with_his_place() {
    let events = behind_a_balancer(RedactSettings::default()).events();
    let expected = ["81.2.69.142 10.0.0.1 London", "81.2.69.143 10.0.0.1 London", "203.0.113.5 - -"];
    assert_eq!(clients(&events), expected);
}

#[test]
fn a_place_is_told_of_an_address_that_is_shortened_afterwards() {
    for archive in [true, false] {
        let settings = RedactSettings { archive, shorten_addresses: true, ..RedactSettings::default() };
        let events = behind_a_balancer(settings).events();
        let expected = ["81.2.69.0 10.0.0.0 London", "81.2.69.0 10.0.0.0 London", "203.0.113.0 - -"];
        assert_eq!(clients(&events), expected);
    }
}

/// Two hundred parameters of begins of attacks: more than the work on one line may be.
#[test]
fn a_line_that_is_not_looked_at_to_its_end_says_so_and_is_counted() {
    let mut rig = Rig::new("*.log");
    let parts: String = (0..200).map(|at| format!("&p{at}='x'+select+(+from+--+like+http:+")).collect();
    let line = |target: &str| {
        format!("192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] \"GET {target} HTTP/1.1\" 200 5 \"-\" \"Mozilla/5.0\"\n")
    };
    rig.write("access.log", &(line("/a") + &line(&format!("/a?{parts}"))));
    let events = rig.events();
    let rules = |event: &event::Event| -> Vec<String> {
        event.attack.iter().flat_map(|attack| &attack.findings).map(|finding| finding.rule.clone()).collect()
    };
    assert_eq!(events.iter().map(rules).collect::<Vec<_>>(), [vec![], vec!["protocol-unfinished".to_owned()]]);
    assert_eq!((rig.report().lines, rig.report().unfinished), (2, 1));
}
