//! A real Apache logs odd requests in five formats, and each log says what was sent:
//! `cargo test -p tests --features live --test apache` (needs Debian's `apache2-bin`).

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use agent::httpd::Httpd;
use base64::prelude::{BASE64_STANDARD, Engine};
use event::unescape::unescape;
use event::{Access, Format, Parsed};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

const LOGS: [&str; 5] = ["combined", "json", "everything", "pipes", "headers"];

fn configuration(folder: &Path, port: u16) -> String {
    let module = |name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    let modules = ["mpm_event", "authz_core", "authz_user", "authn_core", "authn_anon", "auth_basic"].map(module);
    let (folder, modules) = (folder.display(), modules.concat());
    format!(
        r#"ServerRoot {folder}
PidFile {folder}/pid
Listen 127.0.0.1:{port}
ServerName dvwa.lab
{modules}DocumentRoot {folder}
ErrorLog {folder}/error.log
HttpProtocolOptions Unsafe Allow0.9
<Location />
Require all granted
</Location>
<Location /private>
AuthType Basic
AuthName x
AuthBasicProvider anon
Anonymous *
Anonymous_NoUserID On
Anonymous_MustGiveEmail Off
Require valid-user
</Location>
LogFormat "%h %l %u %t \"%r\" %>s %O \"%{{Referer}}i\" \"%{{User-Agent}}i\"" combined
LogFormat "{{\"t\":\"%{{%Y-%m-%dT%H:%M:%S%z}}t\",\"ip\":\"%a\",\"u\":\"%u\",\"req\":\"%r\",\"st\":%>s,\"b\":%B,\"us\":%D,\"ref\":\"%{{Referer}}i\",\"ua\":\"%{{User-Agent}}i\"}}" json
LogFormat "%{{usec}}t %a %{{c}}a %A %p %P %{{tid}}P %{{hextid}}P %V %v %{{remote}}p %{{local}}p %s %>s %b %I %O %S %T %{{ms}}T %{{us}}T %f \"%r\" %L %R" everything
LogFormat "%{{begin:%Y-%m-%d %H:%M:%S}}t.%{{begin:usec_frac}}t %{{end:msec}}t|%u|\"%m\" \"%U%q\" %H %X %k %>s %a %!200,304{{Referer}}i" pipes
LogFormat "%v:%p %h %l %u %{{%d/%b/%Y %T}}t.%{{msec_frac}}t %{{%z}}t \"%r\" %>s %O \"%{{User-Agent}}i\" \"%{{Host}}i\" \"%{{X-Forwarded-For}}i\" \"%{{Content-Type}}o\" \"%{{c}}C\" \"%{{n}}n\"" headers
CustomLog combined.log combined
CustomLog json.log json
CustomLog everything.log everything
CustomLog pipes.log pipes
CustomLog headers.log headers
"#
    )
}

/// An Apache of its own, in the foreground.
struct Apache {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Apache {
    fn start() -> Apache {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let file = folder.path().join("httpd.conf");
        fs::write(&file, configuration(folder.path(), port)).unwrap();
        let mut command = Command::new("/usr/sbin/apache2");
        let process = command.args(["-D", "FOREGROUND", "-f"]).arg(&file).spawn().expect("apache2-bin is installed");
        let apache = Apache { process, port, folder };
        tests::wait::blocking("Apache answers", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        apache
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sends bytes, and reads until Apache has said all it says.
    fn send(&self, bytes: &[u8]) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }

    /// Ends it, so that all is in the logs.
    fn lines(mut self) -> [Vec<Vec<u8>>; 5] {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.process.wait().unwrap();
        LOGS.map(|name| {
            let text = fs::read(self.path(&format!("{name}.log"))).unwrap();
            text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
        })
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A request, and what must be told of it.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    target: Option<Vec<u8>>,
    agent: Option<Vec<u8>>,
    referer: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
}

fn get(target: &[u8], headers: &[(&str, &[u8])]) -> Sent {
    let mut bytes = [b"GET ", target, b" HTTP/1.1\r\nHost: dvwa.lab\r\nConnection: close\r\n"].concat();
    for (name, value) in headers {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    let header = |wanted| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_vec());
    Sent { bytes, target: Some(target.to_vec()), agent: header("User-Agent"), referer: header("Referer"), user: None }
}

fn raw(bytes: &[u8]) -> Sent {
    Sent { bytes: bytes.to_vec(), ..Sent::default() }
}

fn private(user: &[u8]) -> Sent {
    let secret = BASE64_STANDARD.encode([user, b":secret"].concat());
    let sent = get(b"/private/", &[("Authorization", format!("Basic {secret}").as_bytes())]);
    Sent { user: Some(user.to_vec()), ..sent }
}

fn requests() -> Vec<Sent> {
    let mut all = vec![get(b"/", &[])];
    // Apache refuses the other control characters in headers.
    for byte in (0x20..=0xffu8).filter(|byte| *byte != 0x7f) {
        let (agent, referer) = ([b'A', byte, b'Z'], [b"http://a/", &[byte][..], b"z"].concat());
        all.push(get(format!("/?x=%{byte:02x}").as_bytes(), &[("User-Agent", &agent), ("Referer", &referer)]));
    }
    let users: [&[u8]; 10] = [
        b"bob",
        b"a b",
        b"ad min\"x",
        b"b[r]k",
        b"evil\" 200 5 \"x",
        b"",
        b"\xff\\x41",
        b"a|b|\"c\"",
        b"x [16/Nov/2026] \"GET /fake HTTP/1.1\" 200 5",
        b"} , {",
    ];
    all.extend(users.map(private));
    let long = [b"/".to_vec(), b"a".repeat(8_000)].concat();
    for target in [&long[..], b"/a%3fb?c=d", b"/a?b?c", b"/\"q\"?\"r\"\\", b"http://other.example/abs?x=1", b"/%00"] {
        all.push(get(target, &[]));
    }
    all.push(get(b"/", &[("User-Agent", b""), ("Cookie", b"c=v\"al; d=1"), ("X-Forwarded-For", b"1.2.3.4, 5.6.7.8")]));
    let odd: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\r\n",
        b"FOO\r\n\r\n",
        b"\xff\xfe \"x\"\r\n\r\n",
        b"GET /two  blanks  HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\n\r\n",
    ];
    all.extend(odd.map(raw));
    all
}

fn read<'a>(format: &'a Format, line: &'a [u8]) -> Access<'a> {
    match format.parse(line) {
        Parsed::Access(access) => access,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(line)),
    }
}

/// What was sent, of what Apache wrote; the two quotes of an empty user name are nothing.
fn meant(field: Option<&[u8]>) -> Option<Vec<u8>> {
    field.map(|field| if field == b"\"\"" { Vec::new() } else { unescape(field).into_owned() })
}

#[test]
fn what_was_sent_stands_in_each_log() {
    let apache = Apache::start();
    let sent = requests();
    sent.iter().for_each(|request| apache.send(&request.bytes));
    let httpd = Httpd::read(&apache.path("httpd.conf")).unwrap();
    let formats = LOGS.map(|name| httpd.format_of(&format!("/var/log/apache2/{name}.log")).unwrap());
    assert_eq!(formats[0], Format::Combined);
    let logs = apache.lines();
    for (at, request) in sent.iter().enumerate() {
        let lines: [&[u8]; 5] = std::array::from_fn(|log| &*logs[log][at]);
        let told = String::from_utf8_lossy(lines[0]);
        let [combined, json, everything, pipes, headers] = std::array::from_fn(|log| read(&formats[log], lines[log]));
        if request.target.is_some() {
            for access in [&combined, &json, &everything, &headers] {
                assert_eq!(meant(access.request.unwrap().target), request.target, "{told}");
            }
            for access in [&combined, &json, &headers] {
                assert_eq!(meant(access.user_agent), request.agent, "{told}");
            }
            for access in [&combined, &json, &pipes] {
                assert_eq!(meant(access.referer), request.referer, "{told}");
            }
            for access in [&combined, &json, &pipes, &headers] {
                assert_eq!(meant(access.user), request.user, "{told}");
            }
        }
        for access in [&json, &everything, &headers] {
            assert_eq!(access.request, combined.request, "{told}");
        }
        let second = |access: &Access<'_>| access.time.unwrap().at.div_euclid(1000);
        for access in [&json, &everything, &pipes, &headers] {
            assert_eq!((access.client, access.status), (combined.client, combined.status), "{told}");
            assert_eq!(second(access), second(&combined), "{told}");
        }
        let at = |access: &Access<'_>| access.time.unwrap().at;
        assert_eq!((at(&pipes), at(&headers)), (at(&everything), at(&everything)), "{told}");
        assert_eq!(everything.duration_nanos, json.duration_nanos, "{told}");
    }
    assert!(logs.iter().all(|lines| lines.len() == sent.len()), "a line a request");
}
