//! What `twosec-agent` prints, and the exit codes that scripts rely on.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn agent(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_twosec-agent")).args(args).output().expect("the program starts")
}

/// The same, with `input` on standard input.
fn asked(args: &[&str], input: &str) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_twosec-agent"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut program = program.expect("the program starts");
    program.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    program.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration for an agent with its folder in `folder`.
fn config(folder: &Path) -> String {
    let path = folder.join("agent.toml");
    let text = format!("stream = {{ name = \"twosec\" }}\nspool = {{ path = \"{}\" }}\n", folder.display());
    fs::write(&path, text).expect("the folder is ours");
    path.display().to_string()
}

/// A report with `trouble` in the way of the stream, as JSON.
fn report(trouble: &str) -> String {
    format!(
        r#"{{"version":"0.1.0","pid":7,"host":"web-1","started":0,"now":9000,"lines":1,"gaps":0,"gap_bytes":0,
        "files":[],"skipped":[],"rules":{{"ruleset":"2026.11.1","refused":[]}},
        "spool":{{"path":"/s","bytes":0,"max_bytes":1024,"segments":0,"quarantined":0,"dropped":0,"trouble":null}},
        "stream":{{"name":"twosec","records":0,"bytes":0,"retried":0,"refused":0,"last_put":null,"shards":null,
        "credentials":null,"trouble":{trouble}}}}}"#
    )
}

/// Asks for the status of an agent that answers `answer`.
fn status_of(answer: String, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("there is room");
    let listener = UnixListener::bind(folder.path().join("status.sock")).expect("the folder is ours");
    let serving = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("somebody asks");
        peer.write_all(answer.as_bytes()).expect("whoever asks listens");
    });
    let config = config(folder.path());
    let output = agent(&[&["status", "--config", &config], args].concat());
    serving.join().expect("it has answered");
    output
}

#[test]
fn the_status_of_a_healthy_agent_is_success() {
    let output = status_of(report("null"), &[]);
    assert_eq!(output.status.code(), Some(0));
    let expected = "\
twosec-agent 0.1.0 on web-1, process 7, up 9 s

state     all is well
read      1 line, no gaps
stream    twosec: 0 records (0 B), none so far
          0 put again, 0 refused, no credentials so far
spool     /s: 0 B of 1.0 KiB (0 %) in 0 segments
          0 set aside, 0 dropped
rules     2026.11.1

no file is read
";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn the_status_of_an_agent_in_trouble_is_one() {
    let output = status_of(report(r#"{"since":1000,"reason":"no route to host"}"#), &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(report["stream"]["trouble"]["reason"], "no route to host");
}

#[test]
fn without_an_agent_the_status_is_unavailable() {
    let folder = tempfile::tempdir().expect("there is room");
    let output = agent(&["status", "--config", &config(folder.path())]);
    assert_eq!(output.status.code(), Some(69));
    let expected = format!(
        "twosec-agent: no agent runs with the folder `{}`: start one with `systemctl start twosec-agent`, \
         or name the configuration that it runs with (--config)\n",
        folder.path().display()
    );
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn a_stranger_on_the_socket_is_no_agent() {
    let output = status_of("hello".to_owned(), &[]);
    assert_eq!(output.status.code(), Some(70));
    assert!(text(&output.stderr).contains("is no agent of this version (0.1.0)"), "{}", text(&output.stderr));
}

#[test]
fn a_first_configuration_passes_its_check() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("twosec/agent.toml");
    let path = path.to_str().expect("the path is text");
    let output = agent(&["init", "--config", path]);
    let next = format!("wrote `{path}`\nnext: set `stream.name` in it, then `twosec-agent check --config {path}`\n");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), next));

    let again = agent(&["init", "--config", path]);
    assert_eq!(again.status.code(), Some(73));
    assert_eq!(agent(&["init", "--config", path, "--force"]).status.code(), Some(0));

    let printed = agent(&["init", "--config", "-"]);
    assert_eq!(text(&printed.stdout), fs::read_to_string(path).expect("it was written"));

    // Everything but the host's id, which a container may not have.
    let named = format!("host_id = \"web-1\"\n{}", text(&printed.stdout));
    fs::write(path, named).expect("it is ours");
    let checked = agent(&["check", "--config", path]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("stream    twosec (frame)\n"), "{}", text(&checked.stdout));
}

#[test]
fn help_shows_examples() {
    for command in ["status", "init"] {
        let output = agent(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains(&format!("Examples:\n  sudo twosec-agent {command}\n")));
    }
}

const ATTACKS: &str = r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /a?id=1%27+union+select+1,2--+ HTTP/1.1" 404 5 "-" "curl/8"
2001:db8::7 - - [16/Nov/2026:08:00:26 +0000] "GET /b HTTP/1.1" 200 5 "-" "Mozilla/5.0"
192.0.2.7 - - [16/Nov/2026:08:00:27 +0000] "GET /a?id=1%27+union+select+3,4--+ HTTP/1.1" 404 5 "-" "curl/8"
"#;

#[test]
fn the_incidents_of_a_log_name_their_lines() {
    let folder = tempfile::tempdir().expect("there is room");
    let log = folder.path().join("access.log");
    fs::write(&log, ATTACKS).expect("the folder is ours");
    let log = log.display().to_string();
    let told = agent(&["incidents", &log]);
    let lines: Vec<serde_json::Value> =
        text(&told.stdout).lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let [incident] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(incident["source"], "192.0.2.7");
    assert_eq!(incident["from"], "2026-11-16T08:00:25.000Z");
    assert_eq!(incident["categories"]["sqli"], 2);
    assert_eq!(incident["outcome"], "failed");
    assert_eq!(incident["lines"], serde_json::json!([1, 3]));
    assert_eq!((&incident["revision"], &incident["is_over"]), (&serde_json::json!(2), &serde_json::json!(false)));
    assert_eq!(text(&agent(&["incidents", "--networks", &log]).stdout), "192.0.2.7/32\n");
    let set: serde_json::Value =
        serde_json::from_slice(&agent(&["incidents", "--waf-ip-set", "ipv4", &log]).stdout).unwrap();
    assert_eq!(set["Addresses"], serde_json::json!(["192.0.2.7/32"]));
}

#[test]
fn nobody_is_told_to_keep_out_his_own_balancer() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("access.log");
    let attack = |client: &str| {
        format!(
            "{client} - - [16/Nov/2026:08:00:25 +0000] \"GET /?id=1%27+union+select+1,2--+- HTTP/1.1\" 200 5 \"-\" \"x\"\n"
        )
    };
    std::fs::write(&path, ["10.0.0.9", "127.0.0.1", "::1", "192.0.2.7"].map(attack).concat()).unwrap();
    let log = path.display().to_string();
    let told = agent(&["incidents", "--networks", &log]);
    assert_eq!(text(&told.stdout), "192.0.2.7/32\n");
    let left_out =
        |network| format!("left out `{network}`: a proxy inside your network sent it; name it with --trusted-proxy\n");
    assert_eq!(text(&told.stderr), ["10.0.0.9/32", "127.0.0.1/32", "::/64"].map(left_out).concat());
    let set: serde_json::Value =
        serde_json::from_slice(&agent(&["incidents", "--waf-ip-set", "ipv6", &log]).stdout).unwrap();
    assert_eq!(set["Addresses"], serde_json::json!([]));
    assert_eq!(text(&agent(&["incidents", &log]).stdout).lines().count(), 4);
}

#[test]
fn an_incident_of_a_log_is_over_where_the_log_goes_on_for_half_an_hour_without_it() {
    let folder = tempfile::tempdir().expect("there is room");
    let log = folder.path().join("access.log");
    let visit = |time: &str| format!(r#"198.51.100.1 - - [16/Nov/2026:{time} +0000] "GET / HTTP/1.1" 200 5 "-" "-""#);
    let is_over = |time: &str| {
        fs::write(&log, format!("{ATTACKS}{}\n", visit(time))).expect("the folder is ours");
        let told = agent(&["incidents", &log.display().to_string()]);
        let incident: serde_json::Value = serde_json::from_slice(&told.stdout).expect("there is one incident");
        incident["is_over"].clone()
    };
    assert_eq!((is_over("08:30:26"), is_over("08:30:27")), (false.into(), true.into()));
}

#[test]
fn the_incidents_of_several_logs_are_those_of_their_lines_in_order_of_time() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let attack = |client: &str, minute: u32, forwarded: &str| {
        format!(
            r#"{client} - - [16/Nov/2026:08:{minute:02}:25 +0000] "GET /?id=1%27+union+select+{minute},2--+- HTTP/1.1" 200 5 "{forwarded}""#
        )
    };
    let write = |name: &str, lines: [String; 2]| fs::write(path(name), lines.join("\n") + "\n").expect("it is ours");
    // An hour's requests of one client, found in two files: no half an hour of quiet is between them.
    write("access.log", [attack("10.0.0.1", 20, "192.0.2.7"), attack("10.0.0.1", 59, "192.0.2.7")]);
    write("access.log.1", [attack("10.0.0.2", 0, "192.0.2.7"), attack("192.0.2.7", 40, "-")]);
    let complaint = "[Mon Nov 16 08:40:25.500000 2026] [php:error] [pid 7] [client 192.0.2.7:40312] PHP Fatal error:  \
                     Uncaught mysqli_sql_exception: You have an error in your SQL syntax";
    write("error.log", [complaint.to_owned(), String::new()]);
    let (newer, older, errors) = (path("access.log"), path("access.log.1"), path("error.log"));
    let format = r#"%h %l %u %t "%r" %>s %b "%{X-Forwarded-For}i""#;
    let told = |files: &[&str], format: &str| {
        let options = ["incidents", "--trusted-proxy", "10.0.0.0/8", "--timezone", "UTC", "--format", format];
        let told = agent(&[&options, files].concat());
        assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
        text(&told.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    let incidents = told(&[&newer, &older], format);
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert_eq!((&incidents[0]["source"], &incidents[0]["findings"]), (&"192.0.2.7".into(), &4.into()));
    assert_eq!(incidents[0]["lines"], serde_json::json!({ &newer: [1, 2], &older: [1, 2] }));
    let is_plain = |line: &str| line.replace(r#" "-""#, r#" "-" "-""#);
    fs::write(&older, is_plain(&attack("192.0.2.7", 40, "-"))).expect("it is ours");
    let incidents = told(&[&errors, &older], "auto");
    assert_eq!(incidents[0]["outcome"], "likely_succeeded", "{incidents:#?}");
    let refused = agent(&["incidents", "--trusted-proxy", "10.0.0.0/99", &newer]);
    assert_eq!(refused.status.code(), Some(64));
}

#[test]
fn an_explanation_shows_each_layer_what_matched_and_what_did_not_reach_the_bar() {
    let twice = r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?id=1%2527%2520union%2520select%25201,2--%2520- HTTP/1.1" 200 5 "-" "curl/8""#;
    let told = asked(&["explain", "--rules", "/nowhere", "--json"], &format!("{twice}\nno line of a log\n"));
    assert_eq!(told.status.code(), Some(0));
    let told = text(&told.stdout);
    let told: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [attack, odd] = &told[..] else { panic!("{told:?}") };
    let view = attack["views"].as_array().unwrap().iter().find(|view| view["parameter"] == "id").unwrap();
    let layers =
        ["1%2527%2520union%2520select%25201,2--%2520-", "1%27%20union%20select%201,2--%20-", "1' union select 1,2-- -"];
    assert_eq!(view["layers"], serde_json::json!(layers));
    let matched = attack["matched"].as_array().unwrap();
    assert!(matched.iter().any(|hit| hit["rule"] == "sqli-union-select" && hit["layer"] == 2), "{matched:?}");
    assert!(!attack["passed"].as_array().unwrap().is_empty(), "rules that saw a word of theirs and found no more");
    assert!(odd["reason"].is_string());
    // For people; colours are for terminals, and a pipe is none.
    let told = text(&agent(&["explain", "--rules", "/nowhere", twice]).stdout);
    assert!(told.contains("sqli-union-select") && told.contains("1' union select 1,2-- -"), "{told}");
    assert!(!told.contains('\x1b'));
}

#[test]
fn the_attacks_of_a_log_are_told_as_a_table() {
    let told = asked(&["explain", "--rules", "/nowhere", "--tsv", "-"], ATTACKS);
    assert_eq!(text(&told.stdout), "1\tsqli\n3\tsqli\n");
    let missing = agent(&["explain", "--tsv", "/nowhere/access.log"]);
    assert_ne!(missing.status.code(), Some(0));
    assert!(text(&missing.stderr).contains("/nowhere/access.log"), "{missing:?}");
}

#[test]
fn a_rule_of_the_users_is_tried_before_it_is_used() {
    let folder = tempfile::tempdir().expect("there is room");
    let rules = folder.path().join("own.toml");
    fs::write(&rules, "disable = [\"sqli-*\"]\ncolour = 1\n").expect("the folder is ours");
    let rules = rules.display().to_string();
    let tried = agent(&["rules", "check", &rules]);
    assert_eq!(tried.status.code(), Some(1));
    let expected =
        "own.toml:2: `colour` is unknown: a file holds `category`, `where`, `disable`, `[[allow]]` and `[[rule]]`\n";
    assert!(text(&tried.stderr).ends_with(expected), "{tried:?}");
    // What is good in the folder is used.
    let line = ATTACKS.lines().next().unwrap();
    let explained = agent(&["explain", "--rules", &folder.path().display().to_string(), line]);
    assert!(text(&explained.stdout).starts_with("Nothing in this request looks like an attack."), "{explained:?}");
}
