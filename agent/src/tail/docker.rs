//! Docker's json-file log: one JSON object a line, `{"log":"...\n","stream":"stdout",
//! "time":"..."}` and perhaps `attrs` (Docker documentation, "JSON File logging driver").
//!
//! Docker cuts a longer line into parts of 16 KiB; only the last one's `log` ends with a
//! line feed. Parts are joined for each container and stream, also when the file is
//! rotated between two of them.

use super::file;
use super::lines::RawLine;
use super::lives::LifeNumber;
use super::mixed::Mounts;
use event::limits::LINE_BYTES_MAX;
use event::line::Container;
use event::{Millis, Origin};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A line whose last part does not come is an event as it is after this time: its
/// container has died.
const PATIENCE: Duration = Duration::from_secs(30);

/// Docker's own files are smaller.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// A line of the file.
#[derive(Debug, Deserialize)]
pub struct Part<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    pub stream: Stream,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
}

/// Where a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

impl<'a> Part<'a> {
    /// Reads a line; `None` where Docker did not write it.
    pub fn read(line: &'a [u8]) -> Option<Part<'a>> {
        serde_json::from_slice(line).ok()
    }

    /// The text without its line feed, and whether the line ends here.
    pub fn text(&self) -> (&str, bool) {
        match self.log.strip_suffix('\n') {
            Some(text) => (text, true),
            None => (&self.log, false),
        }
    }

    /// When Docker took it.
    pub fn time(&self) -> Option<Millis> {
        event::time::parse_rfc3339(&self.time)
    }
}

/// A line of which parts are missing.
#[derive(Debug)]
pub struct Group {
    pub origin: Origin,
    /// Place and length of its first part, which name the event.
    pub offset: u64,
    pub length: u64,
    pub text: Vec<u8>,
    pub is_cut: bool,
    pub time: Option<Millis>,
    /// In which lives its parts stand, and where the first of each does.
    parts: Vec<(LifeNumber, u64)>,
    last: Instant,
}

/// All unfinished lines.
#[derive(Debug, Default)]
pub struct Groups(HashMap<(PathBuf, Stream), Group>);

impl Groups {
    /// Adds a part that does not end its line.
    pub fn add(&mut self, live: &Path, part: &Part<'_>, place: PartPlace, origin: impl FnOnce() -> Origin) {
        let group = self.0.entry((live.to_owned(), part.stream)).or_insert_with(|| Group {
            origin: origin(),
            offset: place.offset,
            length: place.length,
            text: Vec::new(),
            is_cut: false,
            time: part.time(),
            parts: Vec::new(),
            last: place.now,
        });
        group.append(part.text().0);
        group.last = place.now;
        if !group.parts.iter().any(|(life, _)| *life == place.life) {
            group.parts.push((place.life, place.offset));
        }
    }

    /// Takes the line that `part` ends, if parts of it came before.
    pub fn finish(&mut self, live: &Path, part: &Part<'_>) -> Option<Group> {
        let mut group = self.0.remove(&(live.to_owned(), part.stream))?;
        group.append(part.text().0);
        Some(group)
    }

    /// Where the first unfinished line of a life begins: reading must not be remembered
    /// beyond that.
    pub fn floor(&self, life: LifeNumber) -> Option<u64> {
        let parts = self.0.values().flat_map(|group| &group.parts);
        parts.filter(|(of, _)| *of == life).map(|(_, offset)| *offset).min()
    }

    /// Takes lines whose next part has been missing for too long; all, where `now` is
    /// `None`.
    pub fn expired(&mut self, now: Option<Instant>) -> Vec<Group> {
        let late = |group: &Group| now.is_none_or(|now| now.duration_since(group.last) >= PATIENCE);
        let keys: Vec<_> = self.0.iter().filter(|(_, group)| late(group)).map(|(key, _)| key.clone()).collect();
        keys.into_iter().filter_map(|key| self.0.remove(&key)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Group {
    /// Whether all parts stand in one life.
    pub fn is_of(&self, life: LifeNumber) -> bool {
        self.parts.iter().all(|(of, _)| *of == life)
    }

    /// The joined line, in the place of its first part.
    pub fn line(&self) -> RawLine<'_> {
        RawLine { offset: self.offset, length: self.length, text: &self.text, is_cut: self.is_cut }
    }

    fn append(&mut self, text: &str) {
        let room = LINE_BYTES_MAX - self.text.len();
        self.is_cut |= text.len() > room;
        self.text.extend_from_slice(&text.as_bytes()[..text.len().min(room)]);
    }
}

/// Where a part stands.
#[derive(Debug, Clone, Copy)]
pub struct PartPlace {
    pub life: LifeNumber,
    pub offset: u64,
    pub length: u64,
    pub now: Instant,
}

/// The container whose log stands at `live`: its id is in the file's name
/// (`<id>-json.log`), its name in `config.v2.json` beside it, where that may be read.
/// With it come the folders of the host that it sees, where its configuration may be read.
pub fn container(live: &Path) -> Option<(Container, Option<Mounts>)> {
    let id = live.file_name()?.to_str()?.strip_suffix("-json.log")?.to_owned();
    let config = live.parent().and_then(|folder| config(&folder.join("config.v2.json")));
    let (name, mounts) = config.unzip();
    Some((Container { id, name, labels: BTreeMap::new() }, mounts))
}

fn config(path: &Path) -> Option<(String, Mounts)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        name: String,
        #[serde(default)]
        mount_points: BTreeMap<PathBuf, MountPoint>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct MountPoint {
        source: PathBuf,
    }
    let (file, _) = file::open(path).ok()??;
    let mut text = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut text).ok()?;
    let config: Config = serde_json::from_slice(&text).ok()?;
    let mounts = config.mount_points.into_iter().map(|(inside, point)| (inside, point.source)).collect();
    Some((config.name.trim_start_matches('/').to_owned(), Mounts(mounts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_its_text_stream_and_time() {
        let line = br#"{"log":"GET \"/\"\n","stream":"stderr","attrs":{"tag":"dvwa"},"time":"2026-11-16T08:00:25.123456789Z"}"#;
        let part = Part::read(line).unwrap();
        assert_eq!(part.text(), ("GET \"/\"", true));
        assert_eq!((part.stream, part.time(), &*part.attrs["tag"]), (Stream::Stderr, Some(1_794_816_025_123), "dvwa"));
        assert!(Part::read(b"not Docker's").is_none());
        assert!(Part::read(br#"{"log":"x","stream":"elsewhere","time":""}"#).is_none());
    }

    #[test]
    fn a_container_has_the_id_in_the_path_and_the_name_in_its_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("c0ffee-json.log");
        let nameless = Container { id: "c0ffee".into(), name: None, labels: BTreeMap::new() };
        assert_eq!(container(&live), Some((nameless, None)));
        let config = r#"{"ID":"c0ffee","Name":"/dvwa","MountPoints":{"/var/log":{"Source":"/srv/log","Type":"bind"}}}"#;
        std::fs::write(folder.path().join("config.v2.json"), config).unwrap();
        let (container_, mounts) = container(&live).unwrap();
        assert_eq!(container_.name.as_deref(), Some("dvwa"));
        assert_eq!(mounts.unwrap().on_host(Path::new("/var/log/a")), Some("/srv/log/a".into()));
        assert_eq!(container(Path::new("/var/log/access.log")), None);
    }
}
