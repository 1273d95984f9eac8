//! What a user of `twosec` is promised, checked with the program itself.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const TWOSEC: &str = env!("CARGO_BIN_EXE_rig_twosec");

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dvwa/access.log")
}

fn sample_lines() -> Vec<String> {
    fs::read_to_string(sample()).unwrap().lines().map(str::to_owned).collect()
}

/// A folder with a log in it, and a data folder.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        Host { folder: tempfile::tempdir().unwrap() }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn append(&self, lines: &[String]) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes()).unwrap();
    }

    fn once(&self, more: &[&str]) -> Output {
        let log = self.log();
        let mut args = vec!["--once", "--json", "--keep-secrets"];
        args.extend(more);
        self.run(&args, &[&log])
    }

    fn run(&self, args: &[&str], files: &[&Path]) -> Output {
        Command::new(TWOSEC).args(args).arg("--data").arg(self.data()).args(files).output().unwrap()
    }

    /// Starts to follow the log; returns when the page answers.
    fn follow(&self) -> Follow {
        let mut child = Command::new(TWOSEC)
            .args(["--port", "0", "--keep-secrets", "--data"])
            .arg(self.data())
            .arg(self.log())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("http://127.0.0.1:") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the program ended before its page was there");
        }
        let address = line.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let drain = std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Follow { child, address, _drain: drain }
    }

    /// How often each original line stands in the archive.
    fn archived(&self) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        for object in objects(&self.data().join("archive/raw")) {
            let text = unpacked(&object);
            for row in text.lines().skip(1) {
                let row: Value = serde_json::from_str(row).unwrap();
                if !row["incident"].is_null() {
                    continue;
                }
                *lines.entry(row["line"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        lines
    }

    /// How often each original line stands in the index.
    fn indexed(&self) -> BTreeMap<String, usize> {
        let found = Command::new(TWOSEC)
            .args(["search", "", "--json", "--limit", "100000", "--data"])
            .arg(self.data())
            .output()
            .unwrap();
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let mut lines = BTreeMap::new();
        for row in String::from_utf8(found.stdout).unwrap().lines() {
            let document: Value = serde_json::from_str(row).unwrap();
            *lines.entry(document["event"]["original"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        lines
    }
}

/// A running program.
struct Follow {
    child: Child,
    address: String,
    _drain: std::thread::JoinHandle<std::io::Result<u64>>,
}

impl Follow {
    fn get(&self, path: &str) -> (u16, String) {
        let (head, body) = self.ask(path, &self.address);
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// Head and body of the answer to somebody who calls the page `host`.
    fn ask(&self, path: &str, host: &str) -> (String, String) {
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// The newest incidents, once `is_there` finds the wanted one among them.
    fn incidents(&self, what: &str, is_there: impl Fn(&Value) -> bool) -> Vec<Value> {
        let answered = || serde_json::from_str::<Value>(&self.get("/api/incidents").1).unwrap()["incidents"].take();
        tests::wait::blocking(what, || answered().as_array().unwrap().iter().any(&is_there));
        answered().as_array().unwrap().clone()
    }

    fn total(&self) -> u64 {
        let (_, body) = self.get("/api/stats?q=");
        serde_json::from_str::<Value>(&body).unwrap()["total"].as_u64().unwrap()
    }

    fn wait_for(&self, total: u64) {
        tests::wait::blocking(&format!("{total} events are found"), || self.total() == total);
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn stop(mut self) {
        self.signal("-INT");
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { objects(&path) } else { vec![path] }).collect()
}

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn counted<'a>(lines: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.clone()).or_default() += 1;
    }
    counts
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_shipped_sample_is_read_archived_and_indexed_line_by_line() {
    let host = Host::new();
    let summary = json(&host.run(&["--once", "--json", "--keep-secrets"], &[&sample()]));
    assert_eq!(
        (&summary["requests"], &summary["new_lines"], &summary["known_lines"]),
        (&2404.into(), &2404.into(), &0.into())
    );
    assert_eq!(
        (&summary["from"], &summary["to"]),
        (&"2026-11-16T08:00:25.000Z".into(), &"2026-11-16T13:57:08.000Z".into())
    );
    assert_eq!(summary["unparsed"]["lines"], 0);
    assert_eq!(summary["telling"].as_array().unwrap().len(), 10);
    let names: Vec<_> = summary["categories"].as_array().unwrap().iter().map(|c| c["key"].as_str().unwrap()).collect();
    for category in ["sqli", "lfi", "xss", "cmdi", "log4shell", "scanner"] {
        assert!(names.contains(&category), "{category} is among {names:?}");
    }
    let lines = sample_lines();
    assert_eq!(host.archived(), counted(&lines));
    let incidents = Command::new(TWOSEC).args(["incidents", "--networks", "--data"]).arg(host.data()).output().unwrap();
    let networks = String::from_utf8(incidents.stdout).unwrap();
    assert!(networks.lines().any(|network| network == "45.155.205.233/32"), "{networks}");
    assert_eq!(host.indexed(), counted(&lines));
}

#[test]
fn passwords_are_masked_in_index_and_archive_and_equal_ones_are_equal() {
    let host = Host::new();
    host.append(&sample_lines());
    let summary = json(&host.run(&["--once", "--json"], &[&host.log()]));
    assert_eq!(summary["requests"], 2404);
    let (archived, indexed) = (host.archived(), host.indexed());
    assert_eq!(archived, indexed);
    let masked: Vec<&String> = archived.keys().filter(|line| line.contains("password=REDACTED-")).collect();
    assert!(masked.len() > 10, "{}", masked.len());
    let passwords = |line: &&String| {
        line.split(['?', '&', ' ', '"']).any(|pair| {
            pair.strip_prefix("password=").is_some_and(|value| !value.is_empty() && !value.starts_with("REDACTED-"))
        })
    };
    assert_eq!(archived.keys().find(passwords), None);
    let masks: std::collections::BTreeSet<&str> = masked
        .iter()
        .map(|line| line.split("password=").nth(1).unwrap().split(['&', ' ', '"']).next().unwrap())
        .collect();
    assert!(masks.len() < masked.len(), "some password was tried twice");
}

#[test]
fn a_second_run_over_the_same_file_finds_nothing_new() {
    let host = Host::new();
    let lines = sample_lines();
    host.append(&lines[..300]);
    json(&host.once(&[]));
    host.append(&lines[300..400]);
    let second = json(&host.once(&[]));
    assert_eq!((&second["new_lines"], &second["requests"]), (&100.into(), &400.into()));
    assert_eq!(host.archived(), counted(&lines[..400]));
    assert_eq!(host.indexed(), counted(&lines[..400]));
}

#[test]
fn a_terminal_that_is_closed_ends_it_cleanly() {
    let host = Host::new();
    host.append(&sample_lines()[..50]);
    let mut follow = host.follow();
    follow.wait_for(50);
    follow.signal("-HUP");
    assert!(follow.child.wait().unwrap().success());
}

#[test]
fn lines_that_come_after_a_kill_are_read_and_those_before_are_not_doubled() {
    let host = Host::new();
    let lines = sample_lines();
    host.append(&lines[..200]);
    let follow = host.follow();
    follow.wait_for(200);
    follow.kill();
    host.append(&lines[200..300]);
    let follow = host.follow();
    follow.wait_for(300);
    follow.stop();
    assert_eq!(host.indexed(), counted(&lines[..300]));
    let archived = host.archived();
    assert!(lines[..300].iter().all(|line| archived.contains_key(line)));
}

#[test]
fn a_log_is_followed_through_rotation_also_while_nobody_looks() {
    let host = Host::new();
    let lines = sample_lines();
    host.append(&lines[..100]);
    let follow = host.follow();
    follow.wait_for(100);
    // Apache goes on writing to the old file for a while.
    let rotated = host.folder.path().join("access.log.1");
    fs::rename(host.log(), &rotated).unwrap();
    let mut old = OpenOptions::new().append(true).open(&rotated).unwrap();
    writeln!(old, "{}", lines[100]).unwrap();
    host.append(&lines[101..200]);
    follow.wait_for(200);
    follow.stop();
    writeln!(old, "{}", lines[200]).unwrap();
    host.append(&lines[201..250]);
    fs::rename(&rotated, host.folder.path().join("access.log.2")).unwrap();
    fs::rename(host.log(), &rotated).unwrap();
    host.append(&lines[250..300]);
    let follow = host.follow();
    follow.wait_for(300);
    follow.stop();
    assert_eq!(host.indexed(), counted(&lines[..300]));
    assert_eq!(host.archived(), counted(&lines[..300]));
}

#[test]
fn a_log_that_is_truncated_is_read_from_its_start() {
    let host = Host::new();
    let lines = sample_lines();
    host.append(&lines[..100]);
    let follow = host.follow();
    follow.wait_for(100);
    OpenOptions::new().write(true).truncate(true).open(host.log()).unwrap();
    host.append(&lines[100..300]);
    follow.wait_for(300);
    follow.stop();
    assert_eq!(host.indexed(), counted(&lines[..300]));
}

#[test]
fn the_page_shows_events_and_refuses_what_it_cannot_read() {
    let host = Host::new();
    host.append(&sample_lines());
    let follow = host.follow();
    follow.wait_for(2404);
    let (code, page) = follow.get("/");
    assert!(code == 200 && page.contains("<script"), "{page}");
    let (_, body) = follow.get("/api/events?q=attack.categories:sqli%20AND%20http.response.status_code:200&limit=3");
    let found: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(found["events"].as_array().unwrap().len(), 3);
    let id = found["events"][0]["event"]["id"].as_str().unwrap();
    let (_, event) = follow.get(&format!("/api/event/{id}"));
    assert_eq!(serde_json::from_str::<Value>(&event).unwrap(), found["events"][0]);
    let (code, body) = follow.get("/api/events?q=foo:(");
    assert!(code == 400 && body.contains("cannot read the query"), "{code} {body}");
    follow.stop();
}

#[test]
fn the_page_shows_the_newest_incidents_and_how_each_came_out() {
    let host = Host::new();
    host.append(&sample_lines());
    let follow = host.follow();
    follow.wait_for(2404);
    let incidents = follow.incidents("an intruder is told of", |incident| {
        incident["source"]["address"] == "216.160.83.60" && incident["attack"]["outcome"] == "likely_succeeded"
    });
    let ends: Vec<&str> = incidents.iter().map(|incident| incident["event"]["end"].as_str().unwrap()).collect();
    assert!(ends.is_sorted_by(|one, next| one >= next), "{ends:?}");
    let few: Value = serde_json::from_str(&follow.get("/api/incidents?limit=2").1).unwrap();
    assert_eq!(few["incidents"].as_array().unwrap().len(), 2);
    assert!(few["total"].as_u64() >= Some(incidents.len() as u64), "{}", few["total"]);
    follow.stop();
}

#[test]
fn a_page_of_somebody_else_gets_nothing() {
    let host = Host::new();
    host.append(&sample_lines()[..100]);
    let follow = host.follow();
    follow.wait_for(100);
    for path in ["/", "/app.js", "/api/events", "/api/stats", "/api/incidents", "/api/status"] {
        let (head, body) = follow.ask(path, "evil.example:7654");
        assert!(head.starts_with("HTTP/1.1 403 "), "{path}: {head}");
        assert_eq!(body, "this page answers to its own address only");
    }
    follow.stop();
}

#[test]
fn the_lines_of_an_incident_are_found_by_its_id() {
    let host = Host::new();
    let line = |client: &str, target: &str| {
        format!(r#"{client} - - [16/Nov/2026:08:00:25 +0000] "GET {target} HTTP/1.1" 200 912 "-" "-""#)
    };
    let attack = |n: u32| line("192.0.2.66", &format!("/?id={n}%27+union+select+1,2--+-"));
    let mut lines: Vec<String> = (0..9).map(attack).collect();
    lines.push(line("192.0.2.7", "/"));
    host.append(&lines);
    let follow = host.follow();
    follow.wait_for(10);
    let incidents = follow.incidents("the attacker is told of", |incident| incident["source"]["ip"] == "192.0.2.66");
    let id = incidents[0]["twosec"]["incident"]["id"].as_str().unwrap();
    assert_eq!(incidents[0]["event"]["id"], id);
    follow.stop();
    let query = format!("twosec.incident.id:{id}");
    let found = Command::new(TWOSEC).args(["search", &query, "--json", "--data"]).arg(host.data()).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap().lines().count(), 9);
}

#[test]
fn what_an_attacker_wrote_into_an_incident_is_text() {
    let host = Host::new();
    let path = "/<svg/onload=alert(1)>";
    let agent = "<img src=x onerror=alert(document.domain)>";
    host.append(&[format!(
        r#"192.0.2.66 - - [16/Nov/2026:08:00:25 +0000] "GET {path}?id=1%27+union+select+1,2--+- HTTP/1.1" 200 912 "-" "{agent}""#
    )]);
    let follow = host.follow();
    follow.wait_for(1);
    let incidents = follow.incidents("the attacker is told of", |incident| incident["source"]["ip"] == "192.0.2.66");
    let incident = &incidents[0]["twosec"]["incident"];
    assert_eq!((&incident["targets"][0], &incident["user_agents"][0]), (&path.into(), &agent.into()));
    let (head, _) = follow.ask("/api/incidents", &follow.address);
    for line in ["content-type: application/json\r\n", "x-content-type-options: nosniff\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    // Documents reach the page as text alone, and if they did not, they could run nothing.
    let (head, script) = follow.ask("/app.js", &follow.address);
    for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "createContextualFragment", "document.write", "eval("] {
        assert!(!script.contains(way), "the page uses {way}");
    }
    assert!(
        head.contains("content-security-policy: default-src 'self'; style-src 'self'; script-src 'self';"),
        "{head}"
    );
    follow.stop();
}

#[test]
fn odd_lines_long_lines_and_an_unfinished_last_line_are_kept() {
    let host = Host::new();
    let long = "a".repeat(3_000_000);
    let good = &sample_lines()[0];
    fs::write(host.log(), [b"\xff\xfe\0\n", long.as_bytes(), b"\n", good.as_bytes(), b"\n\nno line feed"].concat())
        .unwrap();
    let summary = json(&host.once(&[]));
    assert_eq!((&summary["requests"], &summary["unparsed"]["lines"]), (&5.into(), &4.into()));
    let text: String = objects(&host.data().join("archive/raw")).iter().map(|object| unpacked(object)).collect();
    let rows: Vec<Value> = text.lines().skip(1).map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(rows[0]["line_b64"], "//4A");
    assert_eq!((&rows[1]["length"], &rows[1]["cut"]), (&3_000_000.into(), &true.into()));
    assert_eq!(rows[1]["line"].as_str().unwrap().len(), 1_000_000);
    assert_eq!((rows[3]["line"].as_str(), rows[4]["line"].as_str()), (Some(""), Some("no line feed")));
}

#[test]
fn a_packed_log_is_read_as_it_is() {
    let host = Host::new();
    let lines = sample_lines();
    let packed = host.folder.path().join("access.log.2.gz");
    let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&packed).unwrap(), flate2::Compression::fast());
    gzip.write_all(lines[..150].join("\n").as_bytes()).unwrap();
    gzip.finish().unwrap();
    let summary = json(&host.run(&["--once", "--json"], &[&packed]));
    assert_eq!(summary["requests"], 150);
    let again = json(&host.run(&["--once", "--json"], &[&packed]));
    assert_eq!((&again["requests"], &again["new_lines"]), (&150.into(), &0.into()));
}

#[test]
fn what_cannot_be_read_is_told_in_a_sentence() {
    let host = Host::new();
    let folder = host.folder.path();
    let missing = folder.join("missing.log");
    let zstd = folder.join("access.log.zst");
    fs::write(&zstd, b"\x28\xb5\x2f\xfd....").unwrap();
    let cases = [
        (
            missing.as_path(),
            66,
            format!("twosec: cannot read `{}`: No such file or directory (os error 2)\n", missing.display()),
        ),
        (
            folder,
            66,
            format!("twosec: `{0}` is a folder: name the files in it, such as `{0}/*.log`\n", folder.display()),
        ),
        (
            zstd.as_path(),
            65,
            format!("twosec: `{}` is compressed with zstd: unpack it first (gzip is read as it is)\n", zstd.display()),
        ),
    ];
    for (path, code, text) in cases {
        assert_eq!(refusal(&host.run(&["--once"], &[path])), (code, text));
    }
    let nothing = host.run(&["search", "sqli"], &[]);
    let text = format!(
        "twosec: there is no index in `{}`: run `twosec FILE` first, or name its folder with --data\n",
        host.data().display()
    );
    assert_eq!(refusal(&nothing), (66, text));
}

#[test]
fn a_second_program_on_the_same_data_and_a_taken_port_are_refused() {
    let host = Host::new();
    host.append(&sample_lines()[..10]);
    let follow = host.follow();
    let (code, text) = refusal(&host.once(&[]));
    let expected = format!(
        "twosec: cannot use the data folder: `{}` is in use by process {}; stop it, or use another folder\n",
        host.data().display(),
        follow.child.id()
    );
    assert_eq!((code, text), (75, expected));
    let other = Host::new();
    other.append(&sample_lines()[..10]);
    let port = follow.address.split(':').nth(1).unwrap();
    let (code, text) = refusal(&other.run(&["--port", port], &[&other.log()]));
    assert_eq!(code, 69);
    assert!(text.starts_with(&format!("twosec: port {port} is taken: use --port with another number")), "{text}");
    follow.stop();
}
