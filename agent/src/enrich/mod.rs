//! What is told of an address beside the line itself: where it is ([`geoip`]) and whose
//! network an operator says it is in ([`networks`]).
//!
//! Both come from files that somebody else replaces while we run. They are looked at now
//! and then, and read whole into memory: a file that is cut short under a memory map
//! would kill the process with SIGBUS, and the folder may belong to others. A file that
//! is missing, unreadable or bad is a warning, said once, and what was read before stays
//! in use.

pub mod geoip;
pub mod networks;

use self::geoip::GeoIp;
use self::networks::NamedNetworks;
use event::Parsed;
use event::address::{self, Networks};
use event::geo::{Geo, SourceFacts};
use event::unescape::unescape;
use std::error::Error;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What a user wants to be told of clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnrichSettings {
    /// GeoIP databases.
    pub geoip: Vec<PathBuf>,
    /// The list of named networks.
    pub networks: Option<PathBuf>,
    /// Whose X-Forwarded-For is believed.
    pub trusted_proxies: Networks,
}

/// Answers who a line's client is and what is known of his address.
#[derive(Debug)]
pub struct Enrichment {
    geoip: Option<GeoIp>,
    networks: Option<NamedNetworks>,
    trusted_proxies: Networks,
}

impl Enrichment {
    /// Opens what the settings name. What is missing or bad is a warning, and is looked for
    /// again by [`Enrichment::refresh`].
    pub fn open(settings: &EnrichSettings, now: Instant) -> Enrichment {
        Enrichment {
            geoip: (!settings.geoip.is_empty()).then(|| GeoIp::open(&settings.geoip, now)),
            networks: settings.networks.as_deref().map(|path| NamedNetworks::open(path, now)),
            trusted_proxies: settings.trusted_proxies.clone(),
        }
    }

    /// Reads what has changed. Blocks while it reads.
    pub fn refresh(&mut self, now: Instant) {
        self.geoip.iter_mut().for_each(|geoip| geoip.refresh(now));
        self.networks.iter_mut().for_each(|networks| networks.refresh(now));
    }

    /// Whose request a trusted proxy passed on: what X-Forwarded-For tells, if the line's
    /// own client is such a proxy and the format logs that header.
    pub fn client(&self, parsed: &Parsed<'_>) -> Option<IpAddr> {
        let access = parsed.access().filter(|_| !self.trusted_proxies.is_empty())?;
        let (peer, forwarded_for) = (parsed.client_ip()?, access.request_header("x-forwarded-for")?);
        let client = address::client(peer, &unescape(forwarded_for), &self.trusted_proxies);
        (client != peer.to_canonical()).then_some(client)
    }

    /// Whether anything can be known of an address.
    pub fn knows(&self) -> bool {
        self.geoip.is_some() || self.networks.is_some()
    }

    /// What is known of an address; `None` for nothing.
    pub fn facts(&mut self, ip: IpAddr) -> Option<Arc<SourceFacts>> {
        let geo = self.geoip.as_mut().and_then(|geoip| geoip.look_up(ip));
        let provider = self.networks.as_ref().and_then(|networks| networks.name(ip));
        let geo = geo.map_or_else(Geo::default, |geo| Geo::clone(&geo));
        let facts = SourceFacts { geo, provider: provider.map(|name| Box::from(&**name)) };
        (!facts.is_empty()).then(|| Arc::new(facts))
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read it")]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    NotAFile,
    #[error("it has {bytes} bytes: at most {most} are read")]
    TooLarge { bytes: u64, most: u64 },
    #[error("it was written to while it was read: replace it by renaming a whole one")]
    Changing,
}

/// Tells one content of a file from another: a file renamed into place has another inode,
/// one written in place another time or size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Signature {
    fn of(meta: &Metadata) -> Signature {
        Signature {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// A file that is read again when it has changed.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    bytes_max: u64,
    /// Of the content that was read last.
    seen: Option<Signature>,
    /// The trouble that was told last, so that it is told once.
    told: Option<String>,
}

impl Watched {
    fn new(path: PathBuf, bytes_max: u64) -> Watched {
        Watched { path, bytes_max, seen: None, told: None }
    }

    /// The file's bytes, if they are others than those that were read last.
    fn read_if_changed(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if self.seen == Some(Signature::of(&std::fs::metadata(&self.path)?)) {
            return Ok(None);
        }
        let (file, before) = open(&self.path, self.bytes_max)?;
        let mut bytes = Vec::with_capacity(before.bytes as usize);
        (&file).take(self.bytes_max).read_to_end(&mut bytes)?;
        if before != Signature::of(&file.metadata()?) {
            return Err(ReadError::Changing);
        }
        self.seen = Some(before);
        Ok(Some(bytes))
    }

    /// Warns of a trouble, unless it is the one that was told last.
    fn complain(&mut self, cause: &dyn Error, what: &str) {
        let chain: Vec<String> =
            std::iter::successors(Some(cause), |error| (*error).source()).map(ToString::to_string).collect();
        let chain = chain.join(": ");
        if self.told.as_ref() != Some(&chain) {
            tracing::warn!(path = %self.path.display(), cause = %chain, "{what}");
            self.told = Some(chain);
        }
    }

    /// All is well: the next trouble is told, be it the same.
    fn good(&mut self) {
        self.told = None;
    }
}

/// Opens a regular file. A link is followed, since an operator named the path; a FIFO does
/// not block.
fn open(path: &Path, bytes_max: u64) -> Result<(File, Signature), ReadError> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(ReadError::NotAFile);
    }
    match meta.len() {
        bytes if bytes > bytes_max => Err(ReadError::TooLarge { bytes, most: bytes_max }),
        _ => Ok((file, Signature::of(&meta))),
    }
}

/// Says when it is time to look at files again.
#[derive(Debug, Default)]
struct Looks {
    last: Option<Instant>,
}

impl Looks {
    fn due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= LOOK_EVERY);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
pub(in crate::enrich) mod tests {
    use super::*;
    use std::fmt;
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::{Event, Level, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    #[derive(Clone, Default)]
    struct Warnings(Arc<Mutex<Vec<String>>>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0 += &match field.name() {
                "message" => format!("{value:?} "),
                name => format!("{name}={value:?} "),
            };
        }
    }

    impl<S: Subscriber> Layer<S> for Warnings {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if *event.metadata().level() == Level::WARN {
                let mut text = Text(String::new());
                event.record(&mut text);
                self.0.lock().unwrap().push(text.0.trim().to_owned());
            }
        }
    }

    /// The warnings that are said while `act` runs.
    pub fn warnings(act: impl FnOnce()) -> Vec<String> {
        let kept = Warnings::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), act);
        let warnings = kept.0.lock().unwrap();
        warnings.clone()
    }

    fn open(settings: &EnrichSettings) -> Enrichment {
        Enrichment::open(settings, Instant::now())
    }

    #[test]
    fn a_client_is_believed_only_behind_a_trusted_proxy() {
        let format: event::Format = r#"%h %t \"%r\" \"%{X-Forwarded-For}i\""#.parse().unwrap();
        let line =
            |peer: &str, header: &str| format!(r#"{peer} [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" "{header}""#);
        let trusted_proxies = Networks::parse(&["10.0.0.0/8"]).unwrap();
        let (trusting, wary) =
            (open(&EnrichSettings { trusted_proxies, ..Default::default() }), open(&Default::default()));
        let ask = |there: &Enrichment, line: String| {
            there.client(&format.parse(line.as_bytes())).map(|client| client.to_string())
        };
        assert_eq!(ask(&trusting, line("10.0.0.1", "192.0.2.7, 10.0.0.9")).as_deref(), Some("192.0.2.7"));
        assert_eq!(ask(&trusting, line("203.0.113.5", "192.0.2.7")), None, "a stranger's header is his own invention");
        assert_eq!(ask(&trusting, line("10.0.0.1", "-")), None);
        assert_eq!(ask(&wary, line("10.0.0.1", "192.0.2.7")), None, "nobody is trusted by default");
    }

    #[test]
    fn facts_come_from_databases_and_from_the_list_of_networks() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/geoip");
        let folder = tempfile::tempdir().unwrap();
        let networks = folder.path().join("networks.txt");
        std::fs::write(&networks, "81.2.69.0/24 Example Cloud\n").unwrap();
        let geoip = vec![data.join("GeoLite2-City-Test.mmdb"), folder.path().join("missing.mmdb")];
        let settings = EnrichSettings { geoip, networks: Some(networks), ..Default::default() };
        let facts = open(&settings).facts("81.2.69.142".parse().unwrap()).unwrap();
        assert_eq!(facts.geo.place.as_ref().unwrap().city_name.as_deref(), Some("London"));
        assert_eq!(facts.provider.as_deref(), Some("Example Cloud"));
        assert_eq!(open(&settings).facts("192.0.2.7".parse().unwrap()), None);
    }

    #[test]
    fn a_file_is_read_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut file = Watched::new(path.clone(), 10);
        assert!(matches!(file.read_if_changed(), Err(ReadError::Io(_))));
        std::fs::write(&path, "one").unwrap();
        assert_eq!(file.read_if_changed().unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(file.read_if_changed().unwrap(), None);
        std::fs::write(folder.path().join("new"), "two").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(file.read_if_changed().unwrap().as_deref(), Some(&b"two"[..]));
        std::fs::write(&path, "more").unwrap();
        assert_eq!(file.read_if_changed().unwrap().as_deref(), Some(&b"more"[..]));
    }

    #[test]
    fn what_is_too_large_or_no_file_is_not_read_and_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "12345678901").unwrap();
        let told = Watched::new(path, 10).read_if_changed().unwrap_err().to_string();
        assert_eq!(told, "it has 11 bytes: at most 10 are read");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        assert!(matches!(Watched::new(fifo, 10).read_if_changed(), Err(ReadError::NotAFile)));
        assert!(Watched::new(folder.path().to_owned(), 10).read_if_changed().is_err());
    }

    #[test]
    fn files_are_looked_at_once_in_ten_seconds() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let asked: Vec<bool> = [0, 1, 9, 10, 11, 20].map(|s| looks.due(start + Duration::from_secs(s))).into();
        assert_eq!(asked, [true, false, false, true, false, true]);
    }
}
