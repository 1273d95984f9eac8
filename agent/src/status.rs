//! How a running agent does: it answers on a socket in its folder, and
//! `twosec-agent status` asks there.

use crate::report::{FileReport, Report, RulesReport, SpoolReport, StreamReport, Trouble};
use event::Millis;
use event::time::rfc3339;
use std::fmt::Write;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio_util::sync::CancellationToken;

/// What the running agent tells of itself, whenever it is asked.
pub type Reporter = Arc<dyn Fn() -> Report + Send + Sync>;

/// The longest path of a socket: `sun_path` without its NUL (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// Who asks and does not read is left.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// How long the agent may take to answer.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// A pause after a connection that could not be accepted, as when no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// More is no report.
const REPORT_BYTES_MAX: u64 = 64 << 20;

/// The socket in the agent's folder.
pub fn socket(state: &Path) -> PathBuf {
    state.join("status.sock")
}

/// Answers each connection to the socket with one report as JSON, until `stop`.
///
/// Only who holds the folder's lock may call it: a socket that is there already is taken
/// for one that a dead agent has left.
pub async fn serve(state: &Path, report: Reporter, stop: CancellationToken) -> io::Result<()> {
    let path = socket(state);
    let listener = listen(&path)?;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let answered = match accepted {
            Ok((peer, _)) => answer(peer, &report()).await,
            Err(error) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                Err(error)
            }
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "whoever asked for the status has not got it");
        }
    }
    // It may be gone already, and nothing depends on it.
    let _ = fs::remove_file(&path);
    Ok(())
}

/// A socket for its owner and root. Nobody can connect before it listens, so nobody
/// comes before its mode is set.
fn listen(path: &Path) -> io::Result<UnixListener> {
    check_length(path)?;
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(8)
}

fn check_length(path: &Path) -> io::Result<()> {
    let length = path.as_os_str().as_bytes().len();
    if length <= PATH_BYTES_MAX {
        return Ok(());
    }
    let text = format!(
        "`{}` is {length} bytes long, and the path of a socket has at most {PATH_BYTES_MAX}: \
         `twosec-agent status` needs a shorter `spool.path`",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

async fn answer(mut peer: UnixStream, report: &Report) -> io::Result<()> {
    let text = serde_json::to_vec(report)?;
    let write = async {
        peer.write_all(&text).await?;
        peer.shutdown().await
    };
    tokio::time::timeout(WRITE_PATIENCE, write).await?
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(
        "no agent runs with the folder `{}`: start one with `systemctl start twosec-agent`, \
         or name the configuration that it runs with (--config)",
        .state.display()
    )]
    NotRunning { state: PathBuf },
    #[error(
        "the agent's socket `{}` is not for you: ask as the agent's user, or as root (sudo twosec-agent status)",
        .path.display()
    )]
    NotAllowed { path: PathBuf },
    #[error("the agent does not answer on `{}`", .path.display())]
    NoAnswer {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("what answers on `{}` is no agent of this version ({})", .path.display(), env!("CARGO_PKG_VERSION"))]
    NotOurs {
        path: PathBuf,
        #[source]
        cause: serde_json::Error,
    },
}

/// Asks the agent that runs with the folder `state`.
pub fn ask(state: &Path) -> Result<Report, StatusError> {
    let path = socket(state);
    let answer = check_length(&path).and_then(|()| read(&path)).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            StatusError::NotRunning { state: state.to_owned() }
        }
        io::ErrorKind::PermissionDenied => StatusError::NotAllowed { path: path.clone() },
        _ => StatusError::NoAnswer { path: path.clone(), cause },
    })?;
    serde_json::from_slice(&answer).map_err(|cause| StatusError::NotOurs { path, cause })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let agent = std::os::unix::net::UnixStream::connect(path)?;
    agent.set_read_timeout(Some(READ_PATIENCE))?;
    let mut answer = Vec::new();
    agent.take(REPORT_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// What stands in the agent's way, with the station where it does.
pub fn troubles(report: &Report) -> impl Iterator<Item = (&'static str, &Trouble)> {
    let stations = [("spool", &report.spool.trouble), ("stream", &report.stream.trouble)];
    stations.into_iter().filter_map(|(station, trouble)| Some((station, trouble.as_ref()?)))
}

/// The report for a reader at a terminal.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let up = span(seconds_since(report.started, report.now));
    let _ = writeln!(text, "twosec-agent {} on {}, process {}, up {up}", report.version, report.host, report.pid);
    text.push('\n');
    match troubles(report).count() {
        0 => text.push_str("state     all is well\n"),
        n => drop(writeln!(text, "state     {}", count(n as u64, "trouble"))),
    }
    for (station, trouble) in troubles(report) {
        let lasting = span(seconds_since(trouble.since, report.now));
        let _ = writeln!(text, "          {station}: {}", plain(&trouble.reason));
        let _ = writeln!(text, "          since {} ({lasting})", rfc3339(trouble.since));
    }
    let _ = writeln!(text, "read      {}, {}", count(report.lines, "line"), gaps(report));
    stream(&report.stream, report.now, &mut text);
    spool(&report.spool, &mut text);
    rules(&report.rules, &mut text);
    files(&report.files, &mut text);
    if !report.skipped.is_empty() {
        text.push_str("\nnot read\n");
    }
    for skipped in &report.skipped {
        let _ = writeln!(text, "  {}: {}", shown(&skipped.path), plain(&skipped.reason));
    }
    text
}

fn gaps(report: &Report) -> String {
    match report.gaps {
        0 => "no gaps".to_owned(),
        n => format!("{} of {} bytes in all", count(n, "gap"), report.gap_bytes),
    }
}

fn stream(stream: &StreamReport, now: Millis, text: &mut String) {
    let last = stream
        .last_put
        .map_or("none so far".to_owned(), |at| format!("the last one {} ago", span(seconds_since(at, now))));
    let taken = count(stream.records, "record");
    let _ = writeln!(text, "stream    {}: {taken} ({}), {last}", stream.name, size(stream.bytes));
    let _ = write!(text, "          {} put again, {} refused", stream.retried, stream.refused);
    if let Some(shards) = stream.shards {
        let _ = write!(text, ", {}", count(shards, "shard"));
    }
    let _ = match &stream.credentials {
        Some(source) => writeln!(text, ", credentials from {}", plain(source)),
        None => writeln!(text, ", no credentials so far"),
    };
}

fn spool(spool: &SpoolReport, text: &mut String) {
    let percent = (spool.bytes as f64 / spool.max_bytes.max(1) as f64 * 100.0).round();
    let (used, most) = (size(spool.bytes), size(spool.max_bytes));
    let segments = count(spool.segments, "segment");
    let _ = writeln!(text, "spool     {}: {used} of {most} ({percent} %) in {segments}", shown(&spool.path));
    let _ = writeln!(text, "          {} set aside, {} dropped", spool.quarantined, spool.dropped);
}

fn rules(rules: &RulesReport, text: &mut String) {
    let refused = match rules.refused.len() {
        0 => String::new(),
        n => format!(", {n} of yours not used"),
    };
    let _ = writeln!(text, "rules     {}{refused}", plain(&rules.ruleset));
    for reason in &rules.refused {
        let _ = writeln!(text, "          {}", plain(reason));
    }
}

/// A row for each file; the path stands last, because it may be long.
fn files(files: &[FileReport], text: &mut String) {
    if files.is_empty() {
        text.push_str("\nno file is read\n");
        return;
    }
    let titles = ["lag bytes", "lag", "offset", "life", "file"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(titles).chain(files.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (bytes, lag, offset, life) = (width(0), width(1), width(2), width(3));
    text.push('\n');
    for row in &rows {
        let _ =
            writeln!(text, "{:>bytes$}  {:>lag$}  {:>offset$}  {:life$}  {}", row[0], row[1], row[2], row[3], row[4]);
    }
}

fn row(file: &FileReport) -> [String; 5] {
    let life = file.life.clone().unwrap_or_else(|| "-".to_owned());
    [file.lag_bytes.to_string(), span(file.lag_seconds), file.offset.to_string(), plain(&life), shown(&file.path)]
}

/// Whoever writes into a log folder chooses names: none may move the cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy())
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn seconds_since(then: Millis, now: Millis) -> u64 {
    u64::try_from(now.saturating_sub(then) / 1000).unwrap_or(0)
}

/// A length of time in its two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A number of bytes, as people say it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut number = bytes as f64 / 1024.0;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

/// Reports for the tests of all that shows them.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::report::{RulesReport, Skipped};

    const START: Millis = 1_794_816_000_000;

    /// An agent at work, with nothing in its way.
    pub(crate) fn well() -> Report {
        Report {
            version: "0.1.0".into(),
            pid: 4711,
            host: "web-1".into(),
            started: START,
            now: START + 11_520_000,
            lines: 1_234_567,
            unfinished: 3,
            gaps: 0,
            gap_bytes: 0,
            files: vec![
                FileReport {
                    path: "/var/log/apache2/access.log".into(),
                    life: Some("5d2c4f8e".into()),
                    offset: 987_654_321,
                    size: 987_659_999,
                    lag_bytes: 5_678,
                    lag_seconds: 2,
                },
                FileReport {
                    path: "/var/log/apache2/other.log".into(),
                    life: None,
                    offset: 0,
                    size: 0,
                    lag_bytes: 0,
                    lag_seconds: 0,
                },
            ],
            skipped: Vec::new(),
            rules: RulesReport { ruleset: "2026.11.1".into(), refused: Vec::new() },
            spool: SpoolReport {
                path: "/var/lib/twosec-agent".into(),
                bytes: 1_258_291,
                max_bytes: 1 << 30,
                segments: 1,
                quarantined: 0,
                dropped: 0,
                trouble: None,
            },
            stream: StreamReport {
                name: "twosec".into(),
                records: 12_345,
                bytes: 3_221_225_472,
                retried: 3,
                refused: 0,
                last_put: Some(START + 11_518_000),
                shards: Some(4),
                credentials: Some("IMDSv2".into()),
                trouble: None,
            },
        }
    }

    /// The same agent, on a bad night.
    pub(crate) fn bad() -> Report {
        let mut report = well();
        report.gaps = 1;
        report.gap_bytes = 512;
        report.skipped = vec![Skipped { path: "/var/log/apache2/\x1b[2Jx.log".into(), reason: "it is a pipe".into() }];
        report.rules.refused = vec!["/etc/twosec/rules.d/x.toml:3: rule `x`: `literals` is empty".into()];
        report.spool.bytes = 1 << 30;
        report.spool.segments = 64;
        report.spool.trouble = Some(Trouble { since: START + 11_500_000, reason: "the spool is full".into() });
        report.stream.last_put = None;
        report.stream.credentials = None;
        report.stream.shards = None;
        report.stream.refused = 2;
        report.stream.trouble =
            Some(Trouble { since: START + 4_000, reason: "no credentials in the provider chain".into() });
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_agent_is_told_in_a_screen() {
        let expected = "\
twosec-agent 0.1.0 on web-1, process 4711, up 3 h 12 min

state     all is well
read      1234567 lines, no gaps
stream    twosec: 12345 records (3.0 GiB), the last one 2 s ago
          3 put again, 0 refused, 4 shards, credentials from IMDSv2
spool     /var/lib/twosec-agent: 1.2 MiB of 1.0 GiB (0 %) in 1 segment
          0 set aside, 0 dropped
rules     2026.11.1

lag bytes  lag     offset  life      file
     5678  2 s  987654321  5d2c4f8e  /var/log/apache2/access.log
        0  0 s          0  -         /var/log/apache2/other.log
";
        assert_eq!(render(&samples::well()), expected);
    }

    #[test]
    fn troubles_stand_first_and_say_since_when() {
        let expected = "\
twosec-agent 0.1.0 on web-1, process 4711, up 3 h 12 min

state     2 troubles
          spool: the spool is full
          since 2026-11-16T11:11:40.000Z (20 s)
          stream: no credentials in the provider chain
          since 2026-11-16T08:00:04.000Z (3 h 11 min)
read      1234567 lines, 1 gap of 512 bytes in all
stream    twosec: 12345 records (3.0 GiB), none so far
          3 put again, 2 refused, no credentials so far
spool     /var/lib/twosec-agent: 1.0 GiB of 1.0 GiB (100 %) in 64 segments
          0 set aside, 0 dropped
rules     2026.11.1, 1 of yours not used
          /etc/twosec/rules.d/x.toml:3: rule `x`: `literals` is empty

lag bytes  lag     offset  life      file
     5678  2 s  987654321  5d2c4f8e  /var/log/apache2/access.log
        0  0 s          0  -         /var/log/apache2/other.log

not read
  /var/log/apache2/\u{fffd}[2Jx.log: it is a pipe
";
        assert_eq!(render(&samples::bad()), expected);
    }

    #[test]
    fn sizes_and_times_are_written_as_people_say_them() {
        assert_eq!(
            [0, 1023, 1024, 1 << 20, u64::MAX].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "16384.0 PiB"]
        );
        assert_eq!([0, 59, 60, 3_661, 90_000].map(span), ["0 s", "59 s", "1 min 0 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(seconds_since(5_000, 1_000), 0, "a clock that was set back");
    }

    fn serve_in(state: &Path, stop: &CancellationToken) -> tokio::task::JoinHandle<io::Result<()>> {
        let (state, stop) = (state.to_owned(), stop.clone());
        tokio::spawn(async move { serve(&state, Arc::new(samples::well), stop).await })
    }

    async fn ask_in(state: &Path) -> Result<Report, StatusError> {
        let state = state.to_owned();
        tokio::task::spawn_blocking(move || ask(&state)).await.unwrap()
    }

    async fn until_served(state: &Path) {
        while std::os::unix::net::UnixStream::connect(socket(state)).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_running_agent_answers_whoever_asks_until_it_stops() {
        let folder = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let serving = serve_in(folder.path(), &stop);
        until_served(folder.path()).await;
        for _ in 0..3 {
            assert_eq!(ask_in(folder.path()).await.unwrap(), samples::well());
        }
        stop.cancel();
        serving.await.unwrap().unwrap();
        assert!(!socket(folder.path()).exists(), "the socket goes with the agent");
    }

    #[tokio::test]
    async fn the_socket_is_for_the_agents_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let _listener = listen(&socket(folder.path())).unwrap();
        let mode = fs::metadata(socket(folder.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn what_a_killed_agent_has_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        drop(listen(&socket(folder.path())).unwrap());
        assert!(socket(folder.path()).exists());
        let _listener = listen(&socket(folder.path())).unwrap();
        std::os::unix::net::UnixStream::connect(socket(folder.path())).unwrap();
    }

    #[tokio::test]
    async fn a_file_of_that_name_is_not_ours_to_remove() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(socket(folder.path()), "precious").unwrap();
        assert_eq!(listen(&socket(folder.path())).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(socket(folder.path())).unwrap(), b"precious");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_is_left() {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut report = samples::well();
        report.host = "x".repeat(8 << 20);
        assert_eq!(answer(near, &report).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn without_an_agent_one_is_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().display();
        let expected = format!(
            "no agent runs with the folder `{state}`: start one with `systemctl start twosec-agent`, \
             or name the configuration that it runs with (--config)"
        );
        assert_eq!(ask(folder.path()).unwrap_err().to_string(), expected);
        drop(std::os::unix::net::UnixListener::bind(socket(folder.path())).unwrap());
        assert_eq!(ask(folder.path()).unwrap_err().to_string(), expected, "a dead agent's socket");
    }

    #[test]
    fn a_folder_that_is_too_deep_for_a_socket_is_said_so() {
        let path = socket(&Path::new("/").join("x".repeat(100)));
        let expected = format!(
            "`{}` is 113 bytes long, and the path of a socket has at most 107: \
             `twosec-agent status` needs a shorter `spool.path`",
            path.display()
        );
        assert_eq!(check_length(&path).unwrap_err().to_string(), expected);
        check_length(&Path::new("/").join("x".repeat(106))).unwrap();
    }
}
