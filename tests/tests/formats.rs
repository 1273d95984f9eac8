//! The same 266 requests in six formats, as one Apache wrote them: whatever a field holds,
//! each format tells the same of a request.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use event::format::Time;
use event::unescape::unescape;
use event::{Access, Format, Parsed};
use std::path::Path;

const CUSTOM1: &str = r#"%h %l %u [%{%Y-%m-%dT%H:%M:%S}t.%{usec_frac}t] "%m" "%U" "%q" %H %>s %B %D %X %k "%{X-Forwarded-For}i" "%{User-Agent}i""#;
const CUSTOM2: &str = r#"%a %{c}a %A %p %P %{tid}P %V %v %{remote}p %{local}p %s %>s %b %I %O %T %{ms}T %f "%r" %L %R"#;
const JSON1: &str = r#"{"t":"%{%Y-%m-%dT%H:%M:%S%z}t","ip":"%a","req":"%r","st":%>s,"b":%B,"us":%D,"ref":"%{Referer}i","ua":"%{User-Agent}i"}"#;

fn lines(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/formats").join(name);
    let text = std::fs::read(path).unwrap();
    text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn read<'a>(format: &'a Format, line: &'a [u8]) -> Access<'a> {
    match format.parse(line) {
        Parsed::Access(access) => access,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(line)),
    }
}

fn second(access: &Access<'_>) -> Option<i64> {
    access.time.map(|Time { at, .. }| at.div_euclid(1000))
}

/// The value of a directive that has no place of its own.
fn other<'a>(access: &Access<'a>, directive: &str) -> Option<&'a [u8]> {
    access.others.iter().find(|(name, _)| *name == directive).map(|(_, value)| *value)
}

#[test]
fn six_formats_tell_the_same_of_each_request() {
    let format = |written: &str| written.parse::<Format>().unwrap();
    let formats =
        [Format::Combined, Format::Common, Format::VhostCombined, format(CUSTOM1), format(CUSTOM2), format(JSON1)];
    let names = ["combined", "common", "vhost_combined", "custom1", "custom2", "json1"];
    let files = names.map(|name| lines(&format!("{name}.log")));
    assert!(files.iter().all(|lines| lines.len() == 266));
    for (at, line) in files[0].iter().enumerate() {
        let [combined, common, vhost, custom1, custom2, json] =
            std::array::from_fn(|which| read(&formats[which], &files[which][at]));
        let told = String::from_utf8_lossy(line);
        for access in [&common, &vhost, &custom1, &custom2, &json] {
            assert_eq!((access.client, access.status), (combined.client, combined.status), "{told}");
        }
        for access in [&common, &vhost, &custom1, &json] {
            assert_eq!(second(access), second(&combined), "{told}");
        }
        assert_eq!(custom2.time, None, "that format has none");
        for access in [&common, &vhost, &custom2, &json] {
            assert_eq!(access.request, combined.request, "{told}");
        }
        for access in [&common, &vhost, &custom1] {
            assert_eq!(access.user, combined.user, "{told}");
        }
        for access in [&vhost, &custom1, &json] {
            assert_eq!(access.user_agent, combined.user_agent, "{told}");
        }
        assert_eq!((vhost.referer, json.referer), (combined.referer, combined.referer), "{told}");
        // Bytes of the body; `%b` writes none as `-`, `%B` as 0.
        assert_eq!((custom1.bytes, custom2.bytes.unwrap_or(0)), (json.bytes, json.bytes.unwrap()), "{told}");
        let sent = other(&custom2, "%O").map(|digits| std::str::from_utf8(digits).unwrap().parse().unwrap());
        assert_eq!(sent, combined.bytes, "{told}");
        assert_eq!(custom1.duration_nanos, json.duration_nanos, "{told}");
        let whole_millis = json.duration_nanos.map(|nanos| nanos / 1_000_000 * 1_000_000);
        assert_eq!(custom2.duration_nanos, whole_millis, "{told}");
        assert_eq!(custom2.vhost.unwrap().1, Some(80), "{told}");
        let request = combined.request;
        let method = custom1.request.and_then(|request| request.method);
        assert!(
            method.is_none() || request.and_then(|request| request.method).is_none_or(|told| Some(told) == method),
            "{told}"
        );
        if let (Some(target), Some(path)) = (request.and_then(|r| r.target), custom1.path) {
            let plain = !target.contains(&b'%') && target.starts_with(b"/");
            let query = custom1.query.unwrap_or_default();
            assert!(!plain || unescape(target) == [unescape(path), unescape(query)].concat(), "{told}");
        }
    }
}

#[test]
fn each_line_of_the_error_log_is_taken_apart() {
    let lines = lines("error.log");
    let format = Format::Error;
    let (mut headed, mut of_shells) = (0, 0);
    for line in &lines {
        let told = String::from_utf8_lossy(line);
        let parsed = format.parse(line);
        assert_eq!(parsed, Format::Auto.parse(line), "{told}");
        let error = parsed.error().unwrap();
        if line.starts_with(b"[") {
            headed += 1;
            let (address, port) = error.client.unwrap();
            // What the fields say, put together again, is the line.
            let text = |field: Option<&[u8]>| String::from_utf8_lossy(field.unwrap()).into_owned();
            let mut again = format!(
                "[{}] [{}:{}] [pid {}:tid {}] [client {}:{}] {}",
                text(error.time.map(|time| time.written)),
                text(error.module),
                text(error.level),
                error.pid.unwrap(),
                error.tid.unwrap(),
                text(Some(address)),
                port.unwrap(),
                text(Some(error.message)),
            );
            if let Some(referer) = error.referer {
                again += &format!(", referer: {}", String::from_utf8_lossy(referer));
            }
            assert_eq!(again, told);
            let php = error.php();
            let is_cut = !told.contains(" on line ") && line.len() > 8_000;
            assert!(php.is_none_or(|php| is_cut || php.file.is_some_and(|file| file.starts_with('/'))), "{told}");
        } else {
            of_shells += 1;
            assert_eq!((error.message, error.time), (&line[..], None));
        }
    }
    assert_eq!((headed, of_shells), (250, 21));
}

#[test]
fn a_containers_output_holds_the_lines_of_both_logs() {
    let (access, errors) = (lines("combined.log"), lines("error.log"));
    let mut text = String::new();
    for line in lines("docker-json.log") {
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        text += line["log"].as_str().unwrap();
    }
    let mut kinds = [0; 4];
    for line in text.lines() {
        let is_in = |log: &[Vec<u8>]| log.iter().any(|known| known == line.as_bytes());
        let kind = match Format::Auto.parse(line.as_bytes()) {
            Parsed::Access(_) if is_in(&access) => 0,
            Parsed::Error(_) if is_in(&errors) => 1,
            Parsed::TailHeader(file)
                if [&b"/var/log/apache2/access.log"[..], b"/var/log/apache2/error.log"].contains(&file) =>
            {
                2
            }
            Parsed::Odd(event::format::Odd::Empty) => 3,
            other => panic!("{other:?}: {line}"),
        };
        kinds[kind] += 1;
    }
    assert_eq!(kinds, [120, 25, 3, 2]);
}

#[test]
fn a_format_of_our_own_is_what_apache_calls_it() {
    for (name, written) in [
        ("combined", r#"LogFormat "%h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" combined"#),
        ("common", r#"%h %l %u %t \"%r\" %>s %b"#),
        ("vhost_combined", r#"%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i""#),
    ] {
        assert_eq!(written.parse::<Format>().unwrap().to_string(), name);
    }
    let custom: Format = CUSTOM2.parse().unwrap();
    assert_eq!(custom.to_string(), CUSTOM2);
    assert_eq!(custom.to_string().parse::<Format>().unwrap(), custom);
}
