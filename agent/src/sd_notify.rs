//! What systemd wants to hear of a service: sd_notify(3), which is a datagram of
//! `NAME=value` lines to the socket that `NOTIFY_SOCKET` names.

use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a message may wait for room in systemd's queue: it is never worth a stop.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells systemd how the service is. Outside systemd it tells nobody.
///
/// The variable stays where it is: a child, such as a `credential_process`, is not taken
/// for us (`NotifyAccess=main`).
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// The notifier for the socket that systemd has named, if it has.
    pub fn from_env() -> Notifier {
        Notifier::to(env::var_os("NOTIFY_SOCKET"))
    }

    fn to(name: Option<OsString>) -> Notifier {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Notifier::default() };
        match open(&name) {
            Ok(to) => Notifier { to: Some(to) },
            Err(error) => {
                tracing::warn!(socket = %name.display(), %error, "systemd cannot be told how the agent is");
                Notifier::default()
            }
        }
    }

    /// The service has started, or has taken its new settings.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// A line for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.tell(&format!("STATUS={}", one_line(text)));
    }

    /// The service takes new settings; [`ready`](Notifier::ready) ends it. With
    /// `Type=notify-reload`, systemd compares the time with that of its own SIGHUP.
    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic().as_micros()));
    }

    /// The service is on its way out.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// The service lives; wanted more often than each `WatchdogSec=`, see
    /// [`watchdog_interval`].
    pub fn watchdog(&self) {
        self.tell("WATCHDOG=1");
    }

    /// A socket of its own for each message would cost more; a connected one would not
    /// outlive a restart of systemd.
    fn tell(&self, message: &str) {
        let Some((socket, to)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), to) {
            tracing::debug!(%error, message, "systemd does not listen");
        }
    }
}

/// How often [`Notifier::watchdog`] is due: twice in each time that the unit's
/// `WatchdogSec=` allows. `None` if nobody watches this process.
pub fn watchdog_interval() -> Option<Duration> {
    let (time, pid) = (env::var("WATCHDOG_USEC").ok()?, env::var("WATCHDOG_PID").ok());
    interval(&time, pid.as_deref(), std::process::id())
}

fn interval(time: &str, watched: Option<&str>, pid: u32) -> Option<Duration> {
    let time: u64 = time.parse().ok()?;
    let ours = watched.is_none_or(|watched| watched.parse() == Ok(pid));
    (ours && time > 0).then(|| Duration::from_micros(time) / 2)
}

/// `@name` is a name in the abstract namespace (unix(7)), anything else a path.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "this kind of socket is not known")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, to))
}

/// A line feed would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// The time since the machine started, without its sleep: `CLOCK_MONOTONIC`.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::from_secs(now.tv_sec.unsigned_abs()) + Duration::from_nanos(now.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that was sent so far.
    fn heard(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned()))
            .collect()
    }

    #[test]
    fn systemd_hears_each_state_of_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(Some(path.into()));
        notifier.ready();
        notifier.status("reads 2 files\nREADY=0");
        notifier.watchdog();
        notifier.stopping();
        let expected = ["READY=1", "STATUS=reads 2 files READY=0", "WATCHDOG=1", "STOPPING=1"];
        assert_eq!(heard(&systemd), expected);
    }

    #[test]
    fn a_socket_with_an_abstract_name_is_heard_too() {
        let name = format!("twosec-test-{}", std::process::id());
        let systemd = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::to(Some(format!("@{name}").into())).ready();
        assert_eq!(heard(&systemd), ["READY=1"]);
    }

    #[test]
    fn a_reload_says_when_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let before = monotonic();
        Notifier::to(Some(path.into())).reloading();
        let message = heard(&systemd).pop().unwrap();
        let began = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let began = Duration::from_micros(began.parse().unwrap());
        assert!(began.as_micros() >= before.as_micros() && began <= monotonic(), "{began:?} is not now");
    }

    #[test]
    fn nobody_is_told_outside_systemd() {
        for name in [None, Some(""), Some("vsock:2:1234"), Some("/nowhere/notify"), Some("/a\0b")] {
            Notifier::to(name.map(OsString::from)).ready();
        }
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time_by_the_watched_process_only() {
        let half = Some(Duration::from_secs(15));
        assert_eq!(interval("30000000", Some("7"), 7), half);
        assert_eq!(interval("30000000", None, 7), half);
        assert_eq!(interval("30000000", Some("8"), 7), None);
        assert_eq!(interval("0", None, 7), None);
        assert_eq!(interval("soon", None, 7), None);
    }
}
