//! A model check: random histories of a log folder, with the agent alive, dead and
//! restarted in between, against a plain model of what was written where.
//!
//! `TWOSEC_HISTORIES=200000 cargo test -p agent histories` runs longer;
//! `TWOSEC_SEED=n` repeats one history.

use super::watch::Watch;
use super::*;
use crate::batch::Inspector;
use crate::behaviour::Observer;
use crate::enrich::Enrichment;
use crate::redaction::Redaction;
use crate::settings::{FileSettings, RecordFormat, SWEEP, Settings};
use crate::spool::memory::{Fault, Memory};
use crate::spool::{Limits, OnFull, Spool};
use event::line::Host;
use event::{Classifier, EventId, Format, HostKey, Incident, LifeId};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

static CLASSIFIER: LazyLock<Arc<Classifier>> = LazyLock::new(|| Arc::new(Classifier::embedded()));

/// Small numbers that look random (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// Bytes that a writer appended, whatever file holds them.
type Content = Rc<RefCell<Vec<u8>>>;

/// What the folder holds according to the model: a name, and which life's bytes.
#[derive(Clone)]
struct Named {
    /// The life's bytes up to now, or the copy's.
    content: Content,
    /// The life that these are bytes of.
    life: usize,
}

struct World {
    random: Random,
    seed: u64,
    folder: tempfile::TempDir,
    files: BTreeMap<String, Named>,
    /// All lives that ever were.
    lives: Vec<Content>,
    /// The file that the writer has open, by its name or after it lost that.
    writer: (Option<fs::File>, usize, Content),
    /// Lines that may be lost: their bytes lost their last name unread.
    excused: HashSet<(usize, usize)>,
    /// Lines that only an open file still holds.
    held: HashSet<(usize, usize)>,
    delivered: BTreeMap<EventId, (LifeId, u64, Vec<u8>)>,
    /// Delivered attacks, and whether their first delivery told their incident.
    attacks: BTreeMap<EventId, bool>,
    /// The newest delivered revision of each incident.
    incidents: BTreeMap<EventId, Incident>,
    gaps: usize,
    clock: u64,
    twins: bool,
    now: Instant,
    disk: Memory,
    tailer: Option<Tailer>,
    trace: Vec<String>,
}

const HOST: &str = "model";

/// Small, so that segments, and with them what is known of behaviour, follow each other.
const SPOOL: Limits = Limits { max_bytes: 1 << 17, on_full: OnFull::Stop };

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let twins = random.below(3) == 0;
        let folder = tempfile::tempdir().unwrap();
        let nothing = Content::default();
        let mut world = World {
            random,
            seed,
            folder,
            files: BTreeMap::new(),
            lives: Vec::new(),
            writer: (None, 0, nothing),
            excused: HashSet::new(),
            held: HashSet::new(),
            delivered: BTreeMap::new(),
            attacks: BTreeMap::new(),
            incidents: BTreeMap::new(),
            gaps: 0,
            clock: 0,
            twins,
            now: Instant::now(),
            disk: Memory::default(),
            tailer: None,
            trace: Vec::new(),
        };
        // What lay there before is not read, and does not confuse.
        if world.random.below(3) == 0 {
            fs::write(world.path("access.log.1"), "an old file\nfrom before\n").unwrap();
        }
        world.create();
        world.start();
        world.rounds();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self) {
        let settings = Settings {
            host: Host { id: HOST.into(), name: HOST.into() },
            cloud: Arc::default(),
            format: RecordFormat::Frame,
            rules: None,
            enrich: Default::default(),
            behaviour: Default::default(),
            redact: Default::default(),
            files: vec![FileSettings {
                format: Format::Common,
                ..FileSettings::new(self.path("access.log").to_str().unwrap().to_owned())
            }],
            state: self.folder.path().join("state"),
            spool: SPOOL,
            request_bytes: 5 << 20,
            follow: true,
            linger: Duration::from_millis(100),
            sweep: SWEEP,
            metrics: Default::default(),
            meter: Arc::default(),
        };
        let opened = Spool::open(Arc::new(self.disk.clone()), Path::new("/spool"), settings.spool).unwrap();
        let enrichment = Enrichment::open(&settings.enrich, Instant::now());
        let framed = opened.known.lives.iter().map(|life| (life.id, life.position.offset));
        let inspector = Inspector {
            classifier: Arc::clone(&CLASSIFIER),
            enrichment,
            observer: Observer::restore(HOST, settings.behaviour, &opened.behaviour, opened.frames, framed, self.now),
            redaction: Redaction::none(),
        };
        let desk = Desk::new(settings, inspector, Arc::new(opened.spool), opened.known);
        let mut tailer = Tailer::new(desk, Watch::none());
        tailer.next_sweep = self.now;
        self.tailer = Some(tailer);
    }

    /// A fresh life in a fresh file at the live path.
    fn create(&mut self) {
        let file = OpenOptions::new().create_new(true).append(true).open(self.path("access.log")).unwrap();
        let content = Content::default();
        self.lives.push(Rc::clone(&content));
        let life = self.lives.len() - 1;
        self.files.insert("access.log".into(), Named { content: Rc::clone(&content), life });
        self.writer = (Some(file), life, content);
    }

    fn line(&mut self) -> Vec<u8> {
        let first = self.writer.2.borrow().is_empty();
        if self.random.below(4) == 0 {
            self.clock += 1;
        }
        // Quiet for so long that what comes next is another incident.
        if self.random.below(40) == 0 {
            self.clock += 31 * 60;
        }
        // A twin begins like every other life, time and all.
        let (clock, number) = if first && self.twins { (0, 0) } else { (self.clock, self.random.below(40)) };
        let (minutes, seconds) = (clock / 60 % 60, clock % 60);
        let is_attack = !(first && self.twins) && self.random.below(8) == 0;
        let length = if first && self.twins { 5 } else { self.random.below(60) as usize };
        let path = if is_attack { format!("?id={length}'+union+select+1,2--+") } else { "x".repeat(length) };
        format!(
            "192.0.2.{number} - - [16/Nov/2026:{:02}:{minutes:02}:{seconds:02} +0000] \"GET /{path} HTTP/1.1\" 200 5\n",
            clock / 3600
        )
        .into_bytes()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.writer.0.as_mut().unwrap().write_all(bytes).unwrap();
        self.writer.2.borrow_mut().extend_from_slice(bytes);
    }

    fn rotated(&self) -> Vec<String> {
        let mut names: Vec<String> = self.files.keys().filter(|name| *name != "access.log").cloned().collect();
        let number = |name: &String| name.split('.').nth(2).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
        names.sort_by_key(number);
        names
    }

    /// Makes room for a new `access.log.1`.
    fn shift(&mut self) {
        for name in self.rotated().into_iter().rev() {
            let number: u32 = name.split('.').nth(2).unwrap().parse().unwrap();
            let gz = if name.ends_with(".gz") { ".gz" } else { "" };
            let next = format!("access.log.{}{gz}", number + 1);
            fs::rename(self.path(&name), self.path(&next)).unwrap();
            let named = self.files.remove(&name).unwrap();
            self.files.insert(next, named);
        }
        // The old file from before the agent makes way, too.
        let old = self.path("access.log.1");
        if old.exists() {
            fs::rename(old, self.path("access.log.77")).unwrap();
        }
    }

    /// Lines of a life: where each starts and ends, with its line feed.
    fn lines(&self, life: usize) -> Vec<(usize, usize)> {
        let bytes = self.lives[life].borrow();
        let mut start = 0;
        let mut lines = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b'\n' {
                lines.push((start, at));
                start = at + 1;
            }
        }
        lines
    }

    fn life_id(&self, life: usize) -> LifeId {
        let bytes = self.lives[life].borrow();
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        HostKey::derive(HOST).life(self.path("access.log").to_str().unwrap(), first)
    }

    fn id(&self, life: usize, (start, end): (usize, usize)) -> EventId {
        let bytes = self.lives[life].borrow();
        let line = &bytes[start..end];
        let parsed = Format::Common.parse(line);
        let time = parsed.time().map_or(&b""[..], |time| time.written);
        EventId::of(self.life_id(life), start as u64, (end - start) as u64, time)
    }

    /// After bytes have lost a name: lines that are in no file any more and not in the
    /// spool. `is_held` says that the agent has the file open that was deleted.
    fn forget(&mut self, life: usize, is_held: bool) {
        self.collect();
        for line in self.lines(life) {
            let named = self.files.values().any(|named| named.life == life && named.content.borrow().len() > line.1);
            if named || self.delivered.contains_key(&self.id(life, line)) {
                continue;
            }
            if is_held {
                self.held.insert((life, line.0))
            } else {
                self.excused.insert((life, line.0))
            };
        }
    }

    fn is_open(&self, name: &str) -> bool {
        let Ok(meta) = fs::metadata(self.path(name)) else { return false };
        let id = FileId::of(&meta);
        self.tailer.as_ref().is_some_and(|tailer| tailer.readers.iter().any(|reader| reader.follower.id == id))
    }

    /// Takes what has reached the spool.
    fn collect(&mut self) {
        let Some(tailer) = &self.tailer else { return };
        while let Some(shipment) = tailer.desk.spool.next().unwrap() {
            tailer.desk.spool.settled(shipment.place);
            for event in event::frame::decode(&shipment.payload).unwrap().1 {
                if event.gap.is_some() {
                    self.gaps += 1;
                    continue;
                }
                if let Some(incident) = event.incident {
                    let known = self.incidents.entry(incident.id).or_insert_with(|| (*incident).clone());
                    if incident.revision > known.revision {
                        *known = *incident;
                    }
                    continue;
                }
                let id = event.id(&event.parsed());
                if event.attack.is_some() {
                    let is_told = event.context.as_ref().is_some_and(|context| context.incident.is_some());
                    self.attacks.entry(id).or_insert(is_told);
                }
                self.delivered.insert(id, (event.origin.life, event.offset, event.line));
            }
        }
    }

    fn rounds(&mut self) {
        self.now += Duration::from_millis(200);
        if let Some(tailer) = &mut self.tailer {
            for _ in 0..40 {
                if !tailer.round(self.now) {
                    break;
                }
            }
            self.now += Duration::from_millis(200);
            tailer.round(self.now);
        }
        self.collect();
    }

    fn sweeps(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.rounds();
    }

    fn step(&mut self) {
        let what = self.random.below(100);
        let name = self.act(what);
        self.trace.push(name.to_owned());
    }

    fn act(&mut self, what: u64) -> &'static str {
        match what {
            0..30 => {
                for _ in 0..=self.random.below(6) {
                    let line = self.line();
                    self.write(&line);
                }
                "write"
            }
            30..36 => {
                let line = self.line();
                let half = self.random.below(line.len() as u64) as usize;
                self.write(&line[..half]);
                if self.random.below(3) > 0 {
                    self.rounds();
                    self.write(&line[half..]);
                    return "partial write, finished";
                }
                self.write(b"\n");
                "short line"
            }
            36..44 => {
                let more = self.random.below(3);
                self.rename(more);
                "rename"
            }
            44..52 => {
                self.shift();
                fs::copy(self.path("access.log"), self.path("access.log.1")).unwrap();
                let live = self.files["access.log"].clone();
                let copy = Rc::new(RefCell::new(live.content.borrow().clone()));
                self.files.insert("access.log.1".into(), Named { content: copy, life: live.life });
                if self.random.below(3) == 0 {
                    self.rounds();
                }
                self.truncate();
                "copytruncate"
            }
            52..54 => {
                self.truncate();
                "truncate"
            }
            54..57 => {
                let is_held = self.is_open("access.log");
                fs::remove_file(self.path("access.log")).unwrap();
                let old = self.files.remove("access.log").unwrap();
                self.forget(old.life, is_held);
                self.create();
                "recreate"
            }
            57..63 => {
                let plain = self.rotated().into_iter().find(|name| !name.ends_with(".gz"));
                let Some(name) = plain else { return "nothing to pack" };
                if self.files[&name].life == self.writer.1 {
                    return "still written";
                }
                let bytes = fs::read(self.path(&name)).unwrap();
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(&bytes).unwrap();
                fs::write(self.path(&format!("{name}.gz")), gzip.finish().unwrap()).unwrap();
                let named = self.files[&name].clone();
                self.files.insert(format!("{name}.gz"), named);
                if self.random.below(2) == 0 {
                    self.rounds();
                }
                fs::remove_file(self.path(&name)).unwrap();
                self.files.remove(&name);
                "gzip"
            }
            63..66 => {
                let Some(name) = self.rotated().pop() else { return "nothing to delete" };
                let is_held = self.is_open(&name);
                fs::remove_file(self.path(&name)).unwrap();
                let old = self.files.remove(&name).unwrap();
                self.forget(old.life, is_held);
                "delete"
            }
            66..72 => {
                self.crash();
                if self.random.below(2) == 0 {
                    self.start();
                    self.rounds();
                }
                "crash"
            }
            72..75 => {
                if self.tailer.is_none() {
                    self.start();
                }
                // The old file and the new one both have lines that wait when the process dies in one
                // of its next writes.
                self.rename(1);
                let line = self.line();
                self.write(&line);
                let (call, eighths) = (self.random.below(8) as usize, self.random.below(9) as usize);
                self.disk.fail_at(self.disk.calls() + call, Fault::Dies(eighths));
                self.rounds();
                self.crash();
                self.disk = self.disk.reborn(false);
                "rename, and killed in a write"
            }
            75..78 => {
                if let Some(tailer) = &mut self.tailer {
                    tailer.close_all();
                }
                self.collect();
                self.crash();
                self.start();
                "restart"
            }
            78..90 => {
                if self.tailer.is_none() {
                    self.start();
                }
                self.rounds();
                "rounds"
            }
            90..97 => {
                self.sweeps(6);
                "sweep"
            }
            _ => {
                self.sweeps(61);
                self.sweeps(6);
                "quiet minute"
            }
        }
    }

    /// The live file gets another name, and Apache goes on writing to it for so many lines.
    fn rename(&mut self, more: u64) {
        self.shift();
        fs::rename(self.path("access.log"), self.path("access.log.1")).unwrap();
        let named = self.files.remove("access.log").unwrap();
        self.files.insert("access.log.1".into(), named);
        for _ in 0..more {
            let line = self.line();
            self.write(&line);
            if self.random.below(2) == 0 {
                self.rounds();
            }
        }
        self.create();
    }

    fn truncate(&mut self) {
        OpenOptions::new().write(true).truncate(true).open(self.path("access.log")).unwrap();
        let old = self.files.remove("access.log").unwrap();
        self.forget(old.life, false);
        let content = Content::default();
        self.lives.push(Rc::clone(&content));
        let life = self.lives.len() - 1;
        self.files.insert("access.log".into(), Named { content: Rc::clone(&content), life });
        (self.writer.1, self.writer.2) = (life, content);
        // Some writers are back at once, and past the old place.
        for _ in 0..self.random.below(12) {
            let line = self.line();
            self.write(&line);
        }
    }

    /// What only an open file held is gone with the process.
    fn crash(&mut self) {
        self.collect();
        self.tailer = None;
        self.excused.extend(std::mem::take(&mut self.held));
    }

    fn finish(&mut self) {
        if self.tailer.is_none() {
            self.start();
        }
        for seconds in [0, 6, 6, 6, 61, 6, 61, 6] {
            self.sweeps(seconds);
        }
    }

    fn check(&self) {
        let mut expected: BTreeMap<EventId, Vec<Vec<u8>>> = BTreeMap::new();
        for life in 0..self.lives.len() {
            for line in self.lines(life) {
                let text = self.lives[life].borrow()[line.0..line.1].to_vec();
                let id = self.id(life, line);
                assert!(
                    self.delivered.contains_key(&id) || self.excused.contains(&(life, line.0)),
                    "{}: line at {} of life {life} of {} is lost\n{}",
                    self.name(),
                    line.0,
                    self.lives.len(),
                    self.trace.join(", ")
                );
                expected.entry(id).or_default().push(text);
            }
        }
        for (id, (life, offset, text)) in &self.delivered {
            if expected.get(id).is_some_and(|texts| texts.contains(text)) {
                continue;
            }
            // The rest of a file that ended without a line feed.
            let is_rest = (0..self.lives.len()).any(|number| {
                let bytes = self.lives[number].borrow();
                let rest = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
                *life == self.life_id(number)
                    && bytes.get(*offset as usize..).is_some_and(|at| at == rest && at.starts_with(text))
            });
            assert!(
                is_rest,
                "{}: `{}` at {offset} was never written there\n{}",
                self.name(),
                String::from_utf8_lossy(text),
                self.trace.join(", ")
            );
        }
        // Twins have equal ids: nobody can tell their lines apart.
        if !self.twins {
            self.check_incidents();
        }
        let destructive = ["truncate", "recreate", "delete"];
        if !self.trace.iter().any(|step| destructive.contains(&step.as_str())) {
            assert_eq!(self.gaps, 0, "{}: nothing was lost, and a gap is told\n{}", self.name(), self.trace.join(", "));
        }
    }

    /// Each attack is in one incident, however often the agent was killed: it counts once there,
    /// and its line tells which one it is.
    fn check_incidents(&self) {
        let findings: u64 = self.incidents.values().map(|incident| incident.findings).sum();
        let attacks = self.attacks.len() as u64;
        // A line that was read and lost its last file may have been counted.
        let is_whole = if self.excused.is_empty() { findings == attacks } else { findings >= attacks };
        assert!(is_whole, "{}: {attacks} attacks, {findings} in incidents\n{}", self.name(), self.trace.join(", "));
        let untold = self.attacks.values().filter(|is_told| !**is_told).count();
        assert_eq!(untold, 0, "{}: of {attacks} attacks\n{}", self.name(), self.trace.join(", "));
    }

    fn name(&self) -> String {
        format!("TWOSEC_SEED={}", self.seed)
    }
}

fn history(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..10 + seed % 30 {
        world.step();
    }
    world.finish();
    world.check();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn no_history_of_a_folder_loses_or_doubles_a_line() {
    if let Some(seed) = number("TWOSEC_SEED") {
        return history(seed);
    }
    let (first, count) = match number("TWOSEC_HISTORIES") {
        Some(count) => (now() as u64, count),
        None => (0, 2_000),
    };
    println!("{count} histories from seed {first} on");
    (first..first + count).for_each(history);
}
