//! One file's lines on their way into frames.

use super::docker::{self, Group, Groups, Part, PartPlace, Stream};
use super::file::{Follower, Look};
use super::joined::Message;
use super::lines::{Lines, RawLine};
use super::lives::{Known, Life, LifeNumber, Mark};
use super::mixed::{Headers, Mounts};
use super::watch::hold;
use crate::batch::{self, Batch, Inspector, Packer, Parcel};
use crate::meter::Meter;
use crate::settings::{FileSettings, RecordFormat, Settings};
use crate::spool::{Dropped, Spool, Stuck};
use event::encoding::LogStream;
use event::format::tail_header;
use event::line::Container;
use event::{Day, Encoding, Format, HostKey, Incident, LifeId, Millis, Origin};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What stands for the AWS account where that is not known.
const NO_ACCOUNT: &str = "000000000000";

/// What all readers share.
pub struct Desk {
    pub settings: Settings,
    pub meter: Arc<Meter>,
    pub spool: Arc<Spool>,
    /// What is in the spool of each life.
    pub known: Known,
    inspector: Inspector,
    key: HostKey,
    packer: Packer,
    /// Lines of containers of which parts are missing.
    pub groups: Groups,
    /// Frames that the spool has not taken yet.
    outbox: VecDeque<Parcel>,
    /// gzip's level.
    level: u8,
}

/// The path that frames name which hold incidents and no line.
const INCIDENTS: &str = "twosec:incidents";

impl Desk {
    /// A desk whose frames go into `spool`, which knows `known`.
    pub fn new(settings: Settings, inspector: Inspector, spool: Arc<Spool>, known: Known) -> Desk {
        Desk {
            key: HostKey::derive(&settings.host.id),
            meter: Arc::clone(&settings.meter),
            inspector,
            packer: Packer::default(),
            groups: Groups::default(),
            outbox: VecDeque::new(),
            level: batch::level(0.0),
            settings,
            spool,
            known,
        }
    }

    /// Hands the frames that wait to the spool. False if it takes none now.
    pub fn flush(&mut self) -> bool {
        while let Some(parcel) = self.outbox.front() {
            let (meta, payload) = (parcel.meta.clone(), parcel.payload.clone());
            // What moves a life without a frame is durable with the next one.
            let appended =
                if payload.is_empty() { Ok(Vec::new()) } else { self.spool.append(meta, payload, &|| self.all()) };
            match appended {
                Ok(dropped) => {
                    let parcel = self.outbox.pop_front().expect("it was there");
                    let observer = &mut self.inspector.observer;
                    observer.framed_incidents(parcel.incidents);
                    for Mark { life, .. } in parcel.meta.marks {
                        observer.framed(life.id, life.position.offset);
                        self.known.advance(life);
                    }
                    dropped.iter().for_each(|range| self.tell_dropped(range));
                }
                Err(stuck) => {
                    tracing::debug!(error = &stuck as &dyn std::error::Error, "frames wait");
                    return false;
                }
            }
        }
        self.level = batch::level(self.spool.fill());
        true
    }

    /// Notes what is known, without a frame.
    pub fn remember(&self) -> Result<(), Stuck> {
        self.spool.remember(&self.known, &|| self.all())
    }

    fn tell_dropped(&mut self, range: &Dropped) {
        if let Some(life) = self.known.life(range.life).cloned() {
            self.tell_gap(life, range.from, range.to, "the spool was full, and its oldest frames were dropped");
        }
    }

    /// Makes an event of bytes that are lost. The life stays where it is: should the
    /// bytes turn up again, they are read.
    pub fn tell_gap(&mut self, mut life: Life, from: u64, to: u64, reason: &str) {
        tracing::error!(path = %life.live.display(), life = %life.id, from, to, reason, "bytes of a log are lost");
        self.meter.gap(to - from);
        let settings = self.settings.files.iter().find(|file| Path::new(&file.path) == life.live);
        let settings = settings.unwrap_or(&self.settings.files[0]);
        let origin = self.origin(&life.live, life.id, settings, None);
        let mut batch = Batch::new(origin, self.encoding(), life.position.day, Instant::now());
        batch.push_gap(from, to, reason, now());
        life.given_up = life.given_up.max(to);
        let mark = Mark { from: life.position.offset, life };
        self.outbox.extend(self.packer.pack(&batch, vec![mark], self.level));
    }

    /// Makes a frame of its own of lines that were joined, or of what there is of them.
    pub fn emit(&mut self, group: &Group, at: Instant) {
        let mut batch = Batch::new(group.origin.clone(), self.encoding(), None, at);
        if !batch.push(group.line(), None, &mut self.inspector, group.time.unwrap_or_else(now)) {
            self.meter.unfinished();
        }
        self.outbox.extend(self.packer.pack(&batch, Vec::new(), self.level));
    }

    /// Does what is due as time goes by: reads what has changed of what is told of clients, and
    /// tells of incidents that are over or go on.
    pub fn refresh(&mut self, now: Instant) {
        self.inspector.enrichment.refresh(now);
        let incidents = self.inspector.observer.pass(now);
        self.tell_incidents(&incidents, now);
    }

    /// Tells how all incidents stand, for those who read to the end and no further.
    pub fn conclude(&mut self, now: Instant) {
        let incidents = self.inspector.observer.catch_up();
        self.tell_incidents(&incidents, now);
    }

    /// Makes a frame of incidents that no line has changed.
    fn tell_incidents(&mut self, incidents: &[Incident], at: Instant) {
        if incidents.is_empty() {
            return;
        }
        if self.encoding().is_some() {
            return self.inspector.observer.framed_incidents(incidents.len());
        }
        let life = self.key.life(INCIDENTS, b"");
        let origin = self.origin(Path::new(INCIDENTS), life, &self.settings.files[0], None);
        let mut batch = Batch::new(origin, None, None, at);
        for incident in incidents {
            let facts = incident.address().and_then(|actor| self.inspector.enrichment.facts(actor));
            batch.push_incident(0, incident, incident.last_seen, facts);
        }
        let mut parcels = self.packer.pack(&batch, Vec::new(), self.level);
        if let Some(last) = parcels.last_mut() {
            last.incidents = incidents.len();
        }
        self.outbox.extend(parcels);
    }

    /// All that is known, of files and of behaviour.
    fn all(&self) -> Known {
        Known { behaviour: self.inspector.observer.save(), ..self.known.clone() }
    }

    /// The encoding of records; `None` is our frame.
    fn encoding(&self) -> Option<Encoding> {
        match &self.settings.format {
            RecordFormat::Frame => None,
            RecordFormat::Ecs => Some(Encoding::Ecs),
            RecordFormat::Kpl => Some(Encoding::Kpl),
            RecordFormat::CloudwatchLogs { log_group, log_stream } => {
                let cloud = self.settings.cloud.read().expect("nobody panics with the facts in hand");
                let owner = cloud.as_ref().and_then(|cloud| cloud.account_id.clone());
                let owner = owner.unwrap_or_else(|| NO_ACCOUNT.to_owned());
                let (log_group, log_stream) = (log_group.clone(), log_stream.clone());
                Some(Encoding::CloudwatchLogs(LogStream { owner, log_group, log_stream }))
            }
        }
    }

    fn origin(&self, live: &Path, life: LifeId, file: &FileSettings, container: Option<Container>) -> Origin {
        Origin {
            host: self.settings.host.clone(),
            cloud: self.settings.cloud.read().expect("nobody panics with the facts in hand").clone(),
            container,
            path: live.to_string_lossy().into_owned(),
            life,
            format: file.format.clone(),
            timezone: file.timezone.clone(),
            ruleset: self.inspector.classifier.ruleset().to_owned(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The log on this host that a container's file is, if that is read by itself. Without
    /// the container's configuration a file is taken for the one of the same path.
    fn twin(&self, inside: &str, mounts: Option<&Mounts>, live: &Path) -> Option<String> {
        let inside = Path::new(inside);
        let on_host = mounts.map_or_else(|| Some(inside.to_owned()), |mounts| mounts.on_host(inside));
        self.settings.files.iter().filter(|file| !file.is_docker).find_map(|file| {
            let is_told = file.container_dir.as_ref().is_some_and(|dir| inside.parent() == Some(dir));
            let path =
                if is_told { Path::new(&file.path).parent()?.join(inside.file_name()?) } else { on_host.clone()? };
            let fits = glob::Pattern::new(&file.path).is_ok_and(|pattern| pattern.matches_path(&path));
            let is_there = || std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file());
            (fits && path != live && is_there()).then(|| path.to_string_lossy().into_owned())
        })
    }
}

/// A file being read, and its lines that are not in a frame yet.
pub struct Reader {
    pub follower: Follower,
    /// The live path of the file's family.
    pub live: PathBuf,
    /// Where the file was found last.
    pub path: PathBuf,
    /// When it was written last, as seen by a sweep.
    pub modified: SystemTime,
    /// Which of the settings names it.
    settings: usize,
    /// The life, and how far it is in frames; none before the first line.
    life: Option<Life>,
    taken: Taken,
    /// When the file was looked at last.
    looked: Instant,
    /// Since when the file has neither been at its live path nor grown.
    pub quiet_since: Option<Instant>,
    /// Since when there has been more to read.
    behind_since: Option<Millis>,
    /// What the meter was told last.
    told: Option<((u64, u64), u64, Option<Millis>)>,
}

impl Reader {
    /// A reader of a file that stands at its beginning.
    pub fn new(follower: Follower, live: PathBuf, path: PathBuf, settings: usize) -> Reader {
        let (life, quiet_since, behind_since, told) = (None, None, None, None);
        let (modified, looked, taken) = (UNIX_EPOCH, Instant::now(), Taken::default());
        Reader { follower, live, path, modified, settings, life, taken, looked, quiet_since, behind_since, told }
    }

    /// Whether it is an error log, by its settings or, where those leave it open, by its name.
    pub fn is_error_log(&self, settings: &Settings) -> bool {
        let is_named_so = || self.live.file_name().is_some_and(|name| name.to_string_lossy().contains("error"));
        match settings.files[self.settings].format {
            Format::Error | Format::CustomError(_) => true,
            Format::Auto => is_named_so(),
            _ => false,
        }
    }

    /// The life that it reads; none before the first line.
    pub fn life(&self) -> Option<LifeNumber> {
        self.life.as_ref().map(|life| life.number)
    }

    /// Goes on with `life` where that was left, if the file holds it. `is_known` says
    /// that this very file held it before.
    pub fn resume(&mut self, life: &Life, is_known: bool) -> io::Result<bool> {
        let held = self.follower.resume(life, is_known)?;
        if held {
            let mut life = life.clone();
            life.found_in(self.follower.id);
            self.taken = Taken::after(life.position.day, life.position.under.clone());
            self.life = Some(life);
        }
        Ok(held)
    }

    /// Remembers the file's life as read to its end. False if it has no whole line.
    pub fn pass_over(mut self, desk: &mut Desk) -> bool {
        if !matches!(self.follower.look(), Ok(Look::Read(1..))) {
            return false;
        }
        let Some(line) = self.follower.lines.next_line() else { return false };
        let id = desk.key.life(&self.live.to_string_lossy(), line.text);
        let mut life = Life::new(desk.known.number(), id, self.live);
        life.size = self.follower.life_bytes();
        life.begun_at = life.size;
        life.head = self.follower.head();
        life.position = self.follower.position(life.size, None, None);
        life.found_in(self.follower.id);
        desk.known.put(life);
        true
    }

    /// Reads a burst and takes its whole lines.
    pub fn read(&mut self, desk: &mut Desk, at: Instant) -> io::Result<Look> {
        let look = self.follower.look()?;
        let before = std::mem::replace(&mut self.looked, at);
        if matches!(look, Look::Read(1..)) {
            self.quiet_since = None;
            // What was written since the last look may have waited since then, but no longer
            // than changes are held back.
            let held = at.checked_sub(hold(desk.settings.linger)).unwrap_or(at);
            self.take_lines(desk, before.max(held));
        }
        self.note_lag();
        let state = (self.follower.progress(), self.safe().1, self.behind_since);
        if self.told != Some(state) {
            self.told = Some(state);
            desk.meter.read(self);
        }
        Ok(look)
    }

    fn note_lag(&mut self) {
        let behind = !self.follower.is_at_end() || self.taken.batch.is_some() || self.message_due().is_some();
        self.behind_since = if behind { self.behind_since.or_else(|| Some(now())) } else { None };
    }

    /// Since when there has been more to read.
    pub fn behind_since(&self) -> Option<Millis> {
        self.behind_since
    }

    /// The life's id, where it is known, and its bytes that are in frames.
    pub fn safe(&self) -> (Option<LifeId>, u64) {
        self.life.as_ref().map_or((None, 0), |life| (Some(life.id), life.position.offset))
    }

    fn take_lines(&mut self, desk: &mut Desk, at: Instant) {
        let read = now();
        while self.take(desk, at, read, Lines::next_line) {
            if self.taken.batch.as_ref().is_some_and(|batch| desk.packer.is_full(batch)) {
                self.close(desk);
            }
        }
    }

    /// The last line of a file that ends without a line feed, when nobody will write it
    /// on.
    pub fn take_rest(&mut self, desk: &mut Desk, at: Instant) {
        self.take(desk, at, now(), Lines::rest);
        self.end_messages(desk, at, true);
    }

    /// When the oldest message that may go on is taken for complete.
    pub fn message_due(&self) -> Option<Instant> {
        self.taken.messages.iter().flatten().map(Message::due).min()
    }

    /// Takes messages that nobody goes on with; all, where no more lines can come.
    pub fn end_messages(&mut self, desk: &mut Desk, now: Instant, all: bool) {
        let Some(id) = self.life.as_ref().map(|life| life.id) else { return };
        let place = Place { live: &self.live, id, file: self.settings };
        for stream in [Stream::Stdout, Stream::Stderr] {
            let is_due = |message: &Message| all || now >= message.due();
            if self.taken.messages[stream as usize].as_ref().is_some_and(is_due) {
                self.taken.end_message(desk, &place, stream, now);
            }
        }
    }

    /// Appends one line to the batch. False if `next` gives none.
    fn take(
        &mut self,
        desk: &mut Desk,
        at: Instant,
        read: Millis,
        next: impl FnOnce(&mut Lines) -> Option<RawLine<'_>>,
    ) -> bool {
        let Some(line) = next(&mut self.follower.lines) else { return false };
        desk.meter.line();
        let life = match &mut self.life {
            Some(life) => life,
            none => {
                let id = desk.key.life(&self.live.to_string_lossy(), line.text);
                let mut life = Life::new(desk.known.number(), id, self.live.clone());
                life.found_in(self.follower.id);
                none.insert(life)
            }
        };
        let (number, id) = (life.number, life.id);
        let file = &desk.settings.files[self.settings];
        let part = if file.is_docker { Part::read(line.text) } else { None };
        if let Some(part) = part.as_ref().filter(|_| self.taken.container.is_none()) {
            self.taken.meet(docker::container(&self.live), part);
        }
        let joined = match &part {
            None => None,
            Some(part) if !part.text().1 => {
                let place = PartPlace { life: number, offset: line.offset, length: line.length, now: at };
                let origin = desk.origin(&self.live, id, file, self.taken.container.clone());
                desk.groups.add(&self.live, part, place, || origin);
                return true;
            }
            Some(part) => desk.groups.finish(&self.live, part),
        };
        if let Some(group) = joined.as_ref().filter(|group| !group.is_of(number)) {
            // It goes out before this file's place moves past its last part.
            desk.emit(group, at);
            return true;
        }
        let place = Place { live: &self.live, id, file: self.settings };
        match (&joined, &part) {
            (Some(group), Some(part)) => {
                self.taken.sort(desk, &place, group.line(), part.stream, group.time.unwrap_or(read), at);
            }
            (_, Some(part)) => {
                let line = RawLine { text: part.text().0.as_bytes(), ..line };
                self.taken.sort(desk, &place, line, part.stream, part.time().unwrap_or(read), at);
            }
            (_, None) => self.taken.sort(desk, &place, line, Stream::Stdout, read, at),
        }
        true
    }

    /// Starts over with the bytes that are there now: another life. The old one may
    /// still be found in a copy.
    pub fn start_over(&mut self, desk: &mut Desk) -> io::Result<()> {
        let bytes = self.follower.life_bytes();
        if let Some(life) = &mut self.life {
            life.replaced_in(self.follower.id);
            life.size = life.size.max(bytes);
        }
        self.end_messages(desk, self.looked, true);
        if self.taken.batch.is_some() {
            self.close(desk);
        } else if let Some(life) = self.life.take() {
            desk.known.put(life);
        }
        (self.life, self.taken) = (None, Taken::default());
        self.follower.back_to_start()
    }

    /// When the oldest line that is not in a frame yet came.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.taken.batch.as_ref().map(Batch::opened)
    }

    /// Bytes of memory that lines take which are not in a frame yet.
    pub fn waiting_bytes(&self) -> usize {
        self.taken.batch.as_ref().map_or(0, Batch::bytes)
    }

    /// Packs the lines taken so far.
    pub fn close(&mut self, desk: &mut Desk) {
        let Some(life) = &mut self.life else { return };
        let from = life.position.offset;
        let messages = self.taken.messages.iter().flatten().map(Message::offset).min();
        let floor = [desk.groups.floor(life.number), messages].into_iter().flatten().min().unwrap_or(u64::MAX);
        let to = self.follower.lines.offset().min(floor).max(from);
        if self.taken.batch.is_none() && to == from {
            return;
        }
        let batch = self.taken.batch.take();
        let day = batch.as_ref().map_or(self.taken.day, Batch::day);
        self.taken.day = day;
        let under = self.taken.headers.before(to).map(str::to_owned);
        life.position = self.follower.position(to, day, under);
        life.head = self.follower.head();
        life.size = life.size.max(self.follower.life_bytes());
        let marks = vec![Mark { from, life: life.clone() }];
        match batch {
            Some(batch) => desk.outbox.extend(desk.packer.pack(&batch, marks, desk.level)),
            // Its lines went out with another file's.
            None => desk.outbox.push_back(Parcel::mark_only(marks)),
        }
    }

    /// Notes how many bytes there are, for a life that may lose some.
    pub fn note_size(&self, desk: &mut Desk) {
        let Some(known) = self.life().and_then(|number| desk.known.life_mut(number)) else { return };
        known.size = known.size.max(self.follower.life_bytes());
        known.found_in(self.follower.id);
    }
}

/// Where lines come from.
struct Place<'a> {
    live: &'a Path,
    id: LifeId,
    /// Index of its settings.
    file: usize,
}

/// What was taken from a file and is not in a frame yet, and what must be known to take more.
#[derive(Default)]
struct Taken {
    batch: Option<Batch>,
    /// Day of the last dated line.
    day: Option<Day>,
    /// Who writes the file, where Docker does for a container.
    container: Option<Container>,
    /// The host's folders that this container sees, where that is known.
    mounts: Option<Mounts>,
    /// Which of several logs the lines are of.
    headers: Headers,
    /// The log that has these lines, too; `None` before it was looked for.
    twin: Option<Option<String>>,
    /// Messages that may go on, for each [`Stream`].
    messages: [Option<Message>; 2],
}

impl Taken {
    /// Nothing yet, behind a line of `day` and a header that names `under`.
    fn after(day: Option<Day>, under: Option<String>) -> Taken {
        Taken { day, headers: Headers::resumed(under), ..Taken::default() }
    }

    fn meet(&mut self, container: Option<(Container, Option<Mounts>)>, part: &Part<'_>) {
        let Some((container, mounts)) = container else { return };
        (self.container, self.mounts) = (Some(Container { labels: part.attrs.clone(), ..container }), mounts);
    }

    /// Takes a whole line: it may belong to the message before it, or name the log whose
    /// lines come next.
    fn sort(
        &mut self,
        desk: &mut Desk,
        place: &Place<'_>,
        line: RawLine<'_>,
        stream: Stream,
        read: Millis,
        at: Instant,
    ) {
        if !desk.settings.files[place.file].format.has_errors() {
            return self.put(desk, place, line, None, read, at);
        }
        if let Some(message) = &mut self.messages[stream as usize] {
            if message.goes_on_with(&line, at) {
                return;
            }
            self.end_message(desk, place, stream, at);
        }
        if let Some(file) = tail_header(line.text).filter(|_| stream == Stream::Stdout) {
            self.headers.note(line.offset, file);
            self.twin = None;
            return self.put(desk, place, line, None, read, at);
        }
        let twin = match (stream, self.headers.current()) {
            (Stream::Stdout, Some(file)) => {
                let mounts = self.mounts.as_ref();
                self.twin.get_or_insert_with(|| desk.twin(file, mounts, place.live)).clone()
            }
            _ => None,
        };
        match Message::begin(&line, read, at, twin.as_deref()) {
            Some(message) => {
                if message.duplicate_of.is_none() {
                    let origin = desk.origin(place.live, place.id, &desk.settings.files[place.file], None);
                    desk.inspector.hear(&origin, &line, read);
                }
                self.messages[stream as usize] = Some(message);
            }
            None => self.put(desk, place, line, twin.as_deref(), read, at),
        }
    }

    fn end_message(&mut self, desk: &mut Desk, place: &Place<'_>, stream: Stream, at: Instant) {
        if let Some(message) = self.messages[stream as usize].take() {
            self.put(desk, place, message.line(), message.duplicate_of.as_deref(), message.read, at);
        }
    }

    /// Appends an event to the batch.
    fn put(
        &mut self,
        desk: &mut Desk,
        place: &Place<'_>,
        line: RawLine<'_>,
        twin: Option<&str>,
        read: Millis,
        at: Instant,
    ) {
        let batch = self.batch.get_or_insert_with(|| {
            let file = &desk.settings.files[place.file];
            let origin = desk.origin(place.live, place.id, file, self.container.clone());
            Batch::new(origin, desk.encoding(), self.day, at)
        });
        if !batch.push(line, twin, &mut desk.inspector, read) {
            desk.meter.unfinished();
        }
    }
}

/// The wall clock, for lines that tell no time of their own.
pub(crate) fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis() as Millis)
}
