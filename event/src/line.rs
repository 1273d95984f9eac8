//! One line on its way, with all that a document is built from.

use crate::attack::Attack;
use crate::format::{Format, Odd, Parsed};
use crate::frame::{from_text, to_text};
use crate::geo::SourceFacts;
use crate::id::{EventId, LifeId};
use crate::incident::Incident;
use crate::json;
use crate::outcome::Context;
use crate::redact::{Mask, masked};
use crate::time::{Day, Millis};
use crate::zone::Zone;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What all lines of one file on one host have in common. It is a frame's header and
/// stands in every line of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub host: Host,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The path under which the file is configured: the live name, also for lines that
    /// were read from a rotated file.
    pub path: String,
    pub life: LifeId,
    /// The format in which the lines are written, as the configuration names it.
    pub format: Format,
    /// The zone of times that tell none.
    #[serde(default, skip_serializing_if = "Zone::is_utc")]
    pub timezone: Zone,
    /// Version of the rules that classified the lines.
    pub ruleset: String,
    /// Version of the agent; behind [`BY_PROCESSOR`] that of the processor, where it had the
    /// lines from another producer.
    pub agent: String,
}

/// What [`Origin::agent`] begins with where no agent of ours read the lines.
pub const BY_PROCESSOR: &str = "processor ";

/// The machine that wrote the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// machine-id, or the setting `host_id`.
    pub id: String,
    pub name: String,
}

/// Where the machine stands, in ECS's words (`cloud.*`) where there are any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cloud {
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// The image from which the machine was made: the AMI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The machine's tags: at most 50, with keys of 128 and values of 256 characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// The container that wrote the line, in ECS's words (`container.*`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What Docker's `attrs` say of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A line with its place and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub origin: Arc<Origin>,
    /// Where the line starts in its life, in bytes (of the unpacked text for `.gz`).
    pub offset: u64,
    /// Raw length in the file, without the line feed.
    pub length: u64,
    /// The line as it left the host, without its line feed.
    pub line: Vec<u8>,
    /// Whether the line was longer than the limit and only its head is here.
    pub cut: bool,
    /// The line's own time; for a line without one, when it was read.
    pub time: Millis,
    /// The UTC day that decides the document's index: of the line's own time, or of the
    /// last dated line before it in its life.
    pub day: Option<Day>,
    pub attack: Option<Attack>,
    /// What other lines tell of it.
    pub context: Option<Box<Context>>,
    /// Whose request a trusted proxy passed on, where the line's own client is that proxy.
    pub client: Option<IpAddr>,
    /// What was looked up of the client's address.
    pub source: Option<Arc<SourceFacts>>,
    /// The log that holds the same line, where a container's output repeats a log that is
    /// read itself: this one is archived and not indexed.
    pub duplicate_of: Option<String>,
    /// What an index must not show of `line`, where the archive may.
    pub masks: Vec<Mask>,
    /// Why bytes were lost: then this is no line but stands for `length` bytes from
    /// `offset` on that went before they could be read.
    pub gap: Option<String>,
    /// An incident that has changed: then this is no line but stands behind the one that
    /// changed it.
    pub incident: Option<Box<Incident>>,
    /// The id, where it does not follow from the line's place and time: whoever sent the line
    /// told it, or it follows from the record.
    pub given_id: Option<EventId>,
    /// The JSON object of another producer that the line stood in, for the archive alone.
    pub record: Option<String>,
}

impl Event {
    /// A whole line of which nothing is known but its place and when it was read.
    pub fn new(origin: Arc<Origin>, offset: u64, line: Vec<u8>, read: Millis) -> Event {
        let length = line.len() as u64;
        let (day, attack, context, client, source) = (None, None, None, None, None);
        let (duplicate_of, gap) = (None, None);
        let (cut, masks, incident, given_id, record) = (false, Vec::new(), None, None, None);
        Event {
            origin,
            offset,
            length,
            line,
            cut,
            time: read,
            day,
            attack,
            context,
            client,
            source,
            duplicate_of,
            masks,
            gap,
            incident,
            given_id,
            record,
        }
    }

    /// The line's fields.
    pub fn parsed(&self) -> Parsed<'_> {
        self.origin.parse(&self.line)
    }

    /// The line as an index may show it.
    pub fn shown(&self) -> Cow<'_, [u8]> {
        masked(&self.line, &self.masks)
    }

    /// Whether the event is for an index. What `tail -f` writes between the lines of several
    /// files is not, and neither is a line that another log has; the archive has them all.
    pub fn is_for_index(&self, parsed: &Parsed<'_>) -> bool {
        let is_between = match parsed {
            Parsed::TailHeader(_) => true,
            Parsed::Odd(odd) => *odd == Odd::Empty && self.origin.container.is_some(),
            Parsed::Access(_) | Parsed::Error(_) => false,
        };
        self.is_no_line() || !is_between && self.duplicate_of.is_none()
    }

    /// Whether this stands for something else than a line.
    pub fn is_no_line(&self) -> bool {
        self.gap.is_some() || self.incident.is_some()
    }

    /// The id: the one that was given, else from the line's place and the time that it writes;
    /// an incident has its own.
    pub fn id(&self, parsed: &Parsed<'_>) -> EventId {
        self.given_id.unwrap_or_else(|| self.own_id(parsed))
    }

    /// As it is, but with this id.
    pub fn with_id(mut self, id: EventId) -> Event {
        self.given_id = (self.own_id(&self.parsed()) != id).then_some(id);
        self
    }

    fn own_id(&self, parsed: &Parsed<'_>) -> EventId {
        let place = (self.origin.life, self.offset, self.length);
        own_id(place, parsed, self.gap.is_some(), self.incident.as_deref())
    }
}

/// The id of what stands in a frame: a line at this place (life, offset and length), a gap, or an
/// incident.
pub(crate) fn own_id(
    (life, offset, length): (LifeId, u64, u64),
    parsed: &Parsed<'_>,
    is_gap: bool,
    incident: Option<&Incident>,
) -> EventId {
    // No line writes this as its time.
    let none = if is_gap { &b"gap"[..] } else { b"" };
    let written = || parsed.time().map_or(none, |time| time.written);
    incident.map_or_else(|| EventId::of(life, offset, length, written()), |incident| incident.id)
}

/// An archived line: one self-contained JSON object, from which the same document can
/// be built at any time.
#[derive(Debug, Serialize, Deserialize)]
struct Archived<'a> {
    id: EventId,
    time: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    day: Option<Day>,
    offset: u64,
    length: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line_b64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attack: Option<Cow<'a, Attack>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<Cow<'a, Context>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Arc<SourceFacts>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "<[Mask]>::is_empty")]
    masks: Cow<'a, [Mask]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incident: Option<Cow<'a, Incident>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<Cow<'a, str>>,
}

impl Event {
    /// Appends the event to `out` as one line of the archive, line feed included.
    ///
    /// `origin` is [`Origin::to_json`]'s text: the same for all lines of a frame, so it
    /// is made once.
    pub fn archive(&self, id: EventId, origin: &str, out: &mut Vec<u8>) {
        let (line, line_b64) = to_text(&self.line);
        let own = Archived {
            id,
            time: self.time,
            day: self.day,
            offset: self.offset,
            length: self.length,
            cut: self.cut,
            line,
            line_b64,
            attack: self.attack.as_ref().map(Cow::Borrowed),
            context: self.context.as_deref().map(Cow::Borrowed),
            client: self.client,
            source: self.source.clone(),
            duplicate_of: self.duplicate_of.as_deref().map(Cow::Borrowed),
            masks: Cow::Borrowed(&self.masks),
            gap: self.gap.as_deref().map(Cow::Borrowed),
            incident: self.incident.as_deref().map(Cow::Borrowed),
            record: self.record.as_deref().map(Cow::Borrowed),
        };
        json::push(&own, out);
        out.pop();
        out.push(b',');
        out.extend_from_slice(&origin.as_bytes()[1..]);
        out.push(b'\n');
    }

    /// Reads a line of the archive again. `None` if it is none of ours, such as an
    /// object's first line or a record that could not be decoded.
    pub fn from_archive(row: &[u8]) -> Option<Event> {
        let origin: Origin = serde_json::from_slice(row).ok()?;
        let own: Archived<'_> = serde_json::from_slice(row).ok()?;
        let event = Event {
            origin: Arc::new(origin),
            offset: own.offset,
            length: own.length,
            cut: own.cut,
            time: own.time,
            day: own.day,
            attack: own.attack.map(Cow::into_owned),
            context: own.context.map(|context| Box::new(context.into_owned())),
            client: own.client,
            source: own.source,
            duplicate_of: own.duplicate_of.map(Cow::into_owned),
            masks: own.masks.into_owned(),
            gap: own.gap.map(Cow::into_owned),
            incident: own.incident.map(|incident| Box::new(incident.into_owned())),
            given_id: None,
            record: own.record.map(Cow::into_owned),
            line: from_text(own.line, own.line_b64)?,
        };
        Some(event.with_id(own.id))
    }
}

impl Origin {
    /// What the lines of a file have in common; all else is unknown.
    pub fn new(host: Host, path: &str, life: LifeId, format: Format) -> Origin {
        let (cloud, container, timezone) = (None, None, Zone::UTC);
        let (path, ruleset, agent) = (path.to_owned(), String::new(), String::new());
        Origin { host, cloud, container, path, life, format, timezone, ruleset, agent }
    }

    /// A line's fields, in the format and zone that it is written in.
    pub fn parse<'a>(&'a self, line: &'a [u8]) -> Parsed<'a> {
        self.format.parse_in(line, &self.timezone)
    }

    /// The origin as a JSON object, for [`Event::archive`].
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data turns into JSON")
    }
}

/// The day that counts for a line: its own, else the last one before it.
pub fn day_of(parsed: &Parsed<'_>, before: Option<Day>) -> Option<Day> {
    parsed.time().map(|time| Day::of(time.at)).or(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HostKey;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_archived_line_is_the_same_event_again(line: Vec<u8>, given: Option<[u8; 16]>, tags in prop::option::of(prop::collection::btree_map(".{1,9}", ".{0,9}", 0..3)), offset: u64, cut: bool, day in prop::option::of(-9_999i32..99_999), places in prop::collection::vec((0usize..9, 0usize..9, "[A-Z]{0,3}"), 0..3)) {
            let masks: Vec<Mask> = places.into_iter().map(Mask::from).collect();
            let path = "/var/log/access.log";
            let origin = Origin {
                cloud: tags.map(|tags| Cloud { provider: "aws".into(), vpc_id: Some("vpc-1".into()), tags, ..Cloud::default() }),
                container: Some(Container { id: "c0ffee".into(), name: None, labels: BTreeMap::new() }),
                timezone: "CET-1".parse().unwrap(),
                ..Origin::new(Host { id: "4a5b".into(), name: "web-1".into() }, path, HostKey::derive("4a5b").life(path, &line), Format::Auto)
            };
            let length = line.len() as u64 + u64::from(cut);
            let json = origin.to_json();
            let source = SourceFacts { provider: cut.then(|| "Example Cloud".into()), ..SourceFacts::default() };
            let event = Event { incident: cut.then(|| Box::new(crate::incident::tests::incident())), client: cut.then_some([192, 0, 2, 7].into()), source: (!source.is_empty()).then(|| Arc::new(source)), length, cut, day: day.map(Day), duplicate_of: cut.then(|| path.to_owned()), masks, given_id: given.map(EventId), record: given.map(|_| "{\"log\":1}".to_owned()), ..Event::new(Arc::new(origin), offset, line, 7) };
            let mut row = Vec::new();
            let id = event.id(&event.parsed());
            event.archive(id, &json, &mut row);
            let again = Event::from_archive(&row).unwrap();
            prop_assert_eq!(again.id(&again.parsed()), id);
            prop_assert_eq!(again, event);
        }
    }
}
