//! Lines that no frame holds, as events.
//!
//! Their day follows from the record alone, never from when it is read: a time more than an
//! hour after the record's arrival, or longer before it than the settings say, is taken for
//! a forged or broken one and gives the arrival's day. Lines of our own agent have ids that
//! a frame would give them, so they take their own day whatever it is, as in a frame.

use super::object::{self, Next, Object, next_object};
use super::{Content, Decoder, Kind, LINES_MAX};
use crate::receive::SequenceNumber;
use event::encoding::cloudwatch_logs::{Data, Envelope};
use event::encoding::ecs;
use event::limits::LINE_BYTES_MAX;
use event::line::{BY_PROCESSOR, Cloud, Host};
use event::redact::{MASK, Mask, masked};
use event::{Day, Event, EventId, LifeId, Millis, Origin};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How far behind a line the record's arrival may be: clocks differ.
const AHEAD_MAX: Millis = 3_600_000;

/// Bytes of a name in an envelope of CloudWatch. Its own names have at most 512, and each line
/// repeats them in the archive.
const NAME_BYTES_MAX: usize = 512;

/// What stands where a producer does not tell it.
const UNKNOWN: &str = "unknown";

/// More lines than a record may hold.
#[derive(Debug, thiserror::Error)]
#[error("the record holds more than {LINES_MAX} lines")]
pub struct TooManyLines;

/// Reads one record, or one record of an aggregate, into its contents.
pub struct Reader<'a> {
    decoder: &'a Decoder,
    sequence: &'a SequenceNumber,
    arrival: Millis,
    /// Which record of an aggregate it is.
    part: Option<usize>,
    content: &'a mut Content,
    /// Events that were there before.
    before: usize,
    kinds: BTreeSet<Kind>,
    /// Lines of other producers so far.
    lines: u64,
    /// Day of the last dated line.
    day: Option<Day>,
    /// What the last line was of. Most are of one.
    origin: Option<Arc<Origin>>,
}

/// A line, and what its producer tells of it.
struct Told<'a> {
    line: &'a str,
    /// A time that is the line's, should it tell none itself.
    time: Option<Millis>,
    /// When it was read, should nobody tell its time.
    read: Option<Millis>,
    id: Option<EventId>,
    /// Whether our own agent read it.
    is_ours: bool,
}

impl<'a> Reader<'a> {
    pub fn new(
        decoder: &'a Decoder,
        sequence: &'a SequenceNumber,
        arrival: Millis,
        part: Option<usize>,
        content: &'a mut Content,
    ) -> Reader<'a> {
        let before = content.events.len();
        let (kinds, lines, day, origin) = (BTreeSet::new(), 0, None, None);
        Reader { decoder, sequence, arrival, part, content, before, kinds, lines, day, origin }
    }

    /// What the record was read as. One that could not be read to its end holds nothing.
    pub fn end(self, is_good: bool) -> BTreeSet<Kind> {
        if is_good {
            return self.kinds;
        }
        self.content.events.truncate(self.before);
        BTreeSet::new()
    }

    /// Takes what a frame holds.
    pub fn frame(&mut self, events: Vec<(EventId, Event)>) {
        self.kinds.insert(Kind::Frame);
        if self.content.events.is_empty() {
            self.content.events = events;
        } else {
            self.content.events.extend(events);
        }
    }

    /// Takes a text: JSON objects, wherever they end, and lines.
    pub fn text(&mut self, text: &str) -> Result<(), TooManyLines> {
        let rest = self.objects_and_lines(text)?;
        rest.split('\n').try_for_each(|line| self.objects_and_lines(line).map(drop))
    }

    /// Takes objects and lines, up to a line that begins an object and goes on as none. What
    /// follows is to be taken line by line, lest each line is searched to the text's end.
    fn objects_and_lines<'t>(&mut self, text: &'t str) -> Result<&'t str, TooManyLines> {
        let mut rest = behind_blank_lines(text);
        while !rest.is_empty() {
            let next = next_object(rest);
            if let Next::Object(json) = next {
                self.object(json)?;
                let blanks = rest.len() - rest.trim_start().len();
                rest = behind_blank_lines(&rest[blanks + json.len()..]);
                continue;
            }
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            self.kinds.insert(Kind::Lines);
            let origin = self.origin(None);
            self.line(&origin, &Told { line, time: None, read: None, id: None, is_ours: false })?;
            if next == Next::Broken {
                return Ok(after);
            }
            rest = behind_blank_lines(after);
        }
        Ok("")
    }

    fn object(&mut self, json: &str) -> Result<(), TooManyLines> {
        if json.contains("\"messageType\"")
            && let Some(envelope) = Envelope::read(json)
        {
            return match envelope {
                Envelope::Data(data) => self.envelope(&data),
                Envelope::Control => {
                    self.kinds.insert(Kind::Control);
                    self.content.is_control = true;
                    Ok(())
                }
            };
        }
        if json.contains("\"twosec-agent\"")
            && let Some(event) = ecs::read(json)
        {
            self.kinds.insert(Kind::Ecs);
            return self.ours(event);
        }
        self.kinds.insert(Kind::Objects);
        match Object::read(json) {
            Some(object) if object.line().is_some() => self.line_of(json, &object),
            object => {
                let (origin, time) = (self.origin(object.as_ref()), object.as_ref().and_then(Object::time));
                self.json_line(&origin, &Told { line: json, time, read: None, id: None, is_ours: false })
            }
        }
    }

    /// Takes the lines that CloudWatch Logs put.
    fn envelope(&mut self, data: &Data<'_>) -> Result<(), TooManyLines> {
        self.kinds.insert(Kind::CloudwatchLogs);
        let (group, stream) = (head(&data.log_group, NAME_BYTES_MAX), head(&data.log_stream, NAME_BYTES_MAX));
        let host = Host { id: stream.to_owned(), name: stream.to_owned() };
        let life = LifeId::of_source(&[b"cloudwatch_logs", group.as_bytes(), stream.as_bytes()]);
        let account_id = Some(head(&data.owner, NAME_BYTES_MAX).to_owned()).filter(|owner| !owner.is_empty());
        let cloud = Some(Cloud { provider: "aws".to_owned(), account_id, ..Cloud::default() });
        let origin = Arc::new(Origin { cloud, ..self.origin_of(host, group, life) });
        for event in &data.log_events {
            let read = Some(event.timestamp).filter(|at| object::is_a_time(*at));
            let (id, is_ours) = (Some(data.id(event)), data.is_ours());
            let told = Told { line: &event.message, time: None, read, id, is_ours };
            match next_object(&event.message) {
                Next::Object(json) if json == event.message.trim() && !is_ours => self.json_line(&origin, &told)?,
                _ => self.line(&origin, &told).map(drop)?,
            }
        }
        Ok(())
    }

    /// Takes an event of our agent. It is masked only where the agent was told not to.
    fn ours(&mut self, mut event: Event) -> Result<(), TooManyLines> {
        self.refuse_too_many()?;
        let parsed = event.parsed();
        let id = event.id(&parsed);
        let redaction = &self.decoder.redaction;
        let masks = redaction.masks(&event.line, &parsed);
        if !masks.is_empty() {
            let (line, left) = redaction.apply(&event.line, &parsed);
            (event.line, event.masks) = (line.into_owned(), left);
            event = event.with_id(id);
        }
        if masks.iter().any(|mask| mask.with.starts_with(MASK)) {
            // What was shown as evidence may hold what is masked now.
            event.attack.iter_mut().flat_map(|attack| &mut attack.findings).for_each(|found| found.excerpt.clear());
        }
        event.client = event.client.map(|client| redaction.address(client));
        match &self.origin {
            Some(last) if **last == *event.origin => event.origin = Arc::clone(last),
            _ => self.origin = Some(Arc::clone(&event.origin)),
        }
        self.content.events.push((id, event));
        Ok(())
    }

    /// Takes the line that stands in an object, and keeps the object with it.
    fn line_of(&mut self, json: &str, object: &Object) -> Result<(), TooManyLines> {
        let line = object.line().unwrap_or(json);
        let origin = self.origin(Some(object));
        let event = self.line(&origin, &Told { line, time: object.time(), read: None, id: None, is_ours: false })?;
        let kept = String::from_utf8_lossy(&event.line).into_owned();
        let redaction = &self.decoder.redaction;
        let record = if redaction.masks_archive() {
            let kept = if kept == without_end(line) { line } else { &kept };
            redaction.json(json, line, kept)
        } else {
            Cow::Borrowed(json)
        };
        let record = Some(record.into_owned());
        self.content.events.last_mut().expect("the line has just been put there").1.record = record;
        Ok(())
    }

    /// Takes a line that is a JSON object. A LogFormat can be such an object, too.
    fn json_line(&mut self, origin: &Arc<Origin>, told: &Told<'_>) -> Result<(), TooManyLines> {
        let line = without_end(told.line);
        if origin.parse(cut(line).as_bytes()).access().is_some() {
            return self.line(origin, told).map(drop);
        }
        let shown = self.decoder.redaction.json(line, "", "");
        if self.decoder.redaction.masks_archive() {
            return self.push(origin, told, cut(&shown).as_bytes(), Vec::new()).map(drop);
        }
        let whole = Mask { at: 0..cut(line).len(), with: cut(&shown).to_owned() };
        let masks = if shown == line { Vec::new() } else { vec![whole] };
        self.push(origin, told, cut(line).as_bytes(), masks).map(drop)
    }

    /// Takes a line as Apache writes it, perhaps: classifies and masks it.
    fn line(&mut self, origin: &Arc<Origin>, told: &Told<'_>) -> Result<&Event, TooManyLines> {
        let line = cut(without_end(told.line)).as_bytes();
        let parsed = origin.parse(line);
        let (kept, masks) = self.decoder.redaction.apply(line, &parsed);
        let verdict = parsed.access().and_then(|access| self.decoder.rules.classifier().judge(access));
        let attack = verdict.and_then(|verdict| {
            // Evidence is what may be shown.
            let shown = masked(&kept, &masks);
            origin.parse(&shown).access().map(|access| verdict.attack(access))
        });
        let event = self.push(origin, told, &kept, masks)?;
        event.attack = attack;
        Ok(event)
    }

    fn push(
        &mut self,
        origin: &Arc<Origin>,
        told: &Told<'_>,
        kept: &[u8],
        masks: Vec<Mask>,
    ) -> Result<&mut Event, TooManyLines> {
        self.refuse_too_many()?;
        let whole = without_end(told.line);
        let at = origin.parse(cut(whole).as_bytes()).time().map(|own| own.at).or(told.time);
        let kept = kept.to_vec();
        // What came twice belongs into one index: not the day of its arrival decides, but when it was
        // read. Our own agent's lines are of the day of the line before, as in its frames.
        let of_day = at.or(told.read.filter(|_| !told.is_ours));
        let mut event = Event {
            length: whole.len() as u64,
            cut: whole.len() > LINE_BYTES_MAX,
            day: self.day_of(of_day, told.is_ours),
            masks,
            ..Event::new(Arc::clone(origin), self.lines, kept, at.or(told.read).unwrap_or(self.arrival))
        };
        let id = told.id.unwrap_or_else(|| self.id());
        event.given_id = Some(id);
        self.lines += 1;
        self.content.events.push((id, event));
        Ok(&mut self.content.events.last_mut().expect("it has just been put there").1)
    }

    fn refuse_too_many(&self) -> Result<(), TooManyLines> {
        if self.content.events.len() < LINES_MAX { Ok(()) } else { Err(TooManyLines) }
    }

    /// The id of the next line, from its place in the stream.
    fn id(&self) -> EventId {
        let created = self.decoder.created.map(|at| at.to_string()).unwrap_or_default();
        let part = self.part.map(|part| part.to_string()).unwrap_or_default();
        EventId::of_place(&[
            self.decoder.stream.as_bytes(),
            created.as_bytes(),
            self.decoder.shard.as_bytes(),
            self.sequence.as_str().as_bytes(),
            part.as_bytes(),
            self.lines.to_string().as_bytes(),
        ])
    }

    /// The day of a line whose time is `at`, if it has one.
    fn day_of(&mut self, at: Option<Millis>, is_ours: bool) -> Option<Day> {
        let arrival = Day::of(self.arrival);
        let Some(at) = at else { return self.day.or((!is_ours).then_some(arrival)) };
        let oldest = self.arrival.saturating_sub(self.decoder.foreign.max_age);
        let is_near = (oldest..=self.arrival.saturating_add(AHEAD_MAX)).contains(&at);
        self.day = Some(if is_ours || is_near { Day::of(at) } else { arrival });
        self.day
    }

    /// Where a line comes from, as far as the object that it stands in tells.
    fn origin(&mut self, object: Option<&Object>) -> Arc<Origin> {
        let text = |text: Option<&str>| self.decoder.redaction.text(text.unwrap_or(UNKNOWN)).into_owned();
        let name = text(object.and_then(Object::host_name));
        let id = object.and_then(Object::host_id).map_or_else(|| name.clone(), |id| text(Some(id)));
        let path = text(object.and_then(Object::path));
        let host = Host { id, name };
        let life = self.decoder.life;
        let is_same = |last: &&Arc<Origin>| last.life == life && last.host == host && last.path == path;
        if let Some(last) = self.origin.as_ref().filter(is_same) {
            return Arc::clone(last);
        }
        let origin = Arc::new(self.origin_of(host, &path, life));
        self.origin = Some(Arc::clone(&origin));
        origin
    }

    fn origin_of(&self, host: Host, path: &str, life: LifeId) -> Origin {
        Origin {
            timezone: self.decoder.foreign.timezone.clone(),
            ruleset: self.decoder.rules.classifier().ruleset().to_owned(),
            agent: format!("{BY_PROCESSOR}{}", env!("CARGO_PKG_VERSION")),
            ..Origin::new(host, path, life, self.decoder.foreign.format.clone())
        }
    }
}

/// A line without the line feed that some producers leave at its end.
fn without_end(line: &str) -> &str {
    line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line))
}

/// The head of a line that is too long.
fn cut(line: &str) -> &str {
    head(line, LINE_BYTES_MAX)
}

fn head(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A text from its first line on that is not blank.
fn behind_blank_lines(text: &str) -> &str {
    let blanks = text.len() - text.trim_start().len();
    if blanks == text.len() {
        return "";
    }
    &text[text[..blanks].rfind('\n').map_or(0, |at| at + 1)..]
}
