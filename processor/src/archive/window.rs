//! The object being written: records of one shard, in order, until it is time to close.

use super::{Metadata, Object};
use crate::decode::{Content, Decoded};
use crate::receive::SequenceNumber;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use event::line::Origin;
use event::{Millis, json};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::sync::Arc;

/// Level 3: from there on objects get little smaller and much slower to write. What packs whole
/// texts is quicker, but would make many members of an object, and there are readers in Java that
/// may take the end of a member for that of the object (`GZIPInputStream`, where no more bytes are
/// `available()` yet).
const GZIP_LEVEL: Compression = Compression::new(3);

/// From so many bytes of lines on they are packed: as many as a core has near it.
const PIECE_BYTES: usize = 32 << 10;

/// Objects hold records of one minute of arrival.
pub const MINUTE: Millis = 60_000;

/// Objects of one hour of arrival lie in one folder.
pub const HOUR: Millis = 60 * MINUTE;

/// What an object says about itself: in its metadata, and in its first line, so that a
/// copy without metadata can still be verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub stream: String,
    pub shard: String,
    /// The position in the chain that this object follows. Sequence numbers have holes,
    /// so only this shows that an object before it was removed.
    pub prev_seq: Option<SequenceNumber>,
    pub first_seq: SequenceNumber,
    pub last_seq: SequenceNumber,
    /// Arrival of the last record.
    pub last_arrival: Millis,
    pub records: u64,
    /// Lines after the first one.
    pub lines: u64,
    /// CRC-32 (IEEE) of all that follows the first line, unpacked, in hex.
    pub crc32: String,
    /// Whether the shard ends here: the chain's last object says so, and holds no records.
    #[serde(rename = "final", default)]
    pub last: bool,
    /// When the stream was made: one of the same name that was made anew goes on with the
    /// chain, and reads from its own beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_created: Option<Millis>,
}

impl Summary {
    /// The summary as an object's metadata.
    pub fn metadata(&self) -> Metadata {
        let mut all = Metadata::from([
            ("first-seq".into(), self.first_seq.to_string()),
            ("last-seq".into(), self.last_seq.to_string()),
            ("last-arrival".into(), self.last_arrival.to_string()),
            ("records".into(), self.records.to_string()),
            ("lines".into(), self.lines.to_string()),
            ("crc32".into(), self.crc32.clone()),
            ("final".into(), self.last.to_string()),
            ("schema".into(), "1".into()),
        ]);
        all.extend(self.prev_seq.as_ref().map(|prev| ("prev-seq".to_owned(), prev.to_string())));
        all.extend(self.stream_created.map(|at| ("stream-created".to_owned(), at.to_string())));
        all
    }
}

/// An object's first line.
#[derive(Serialize, Deserialize)]
struct FirstLine<S> {
    twosec_object: S,
}

/// The summary in an object's first line. `None` if these bytes have none.
pub fn read_summary(object: &[u8]) -> Option<Summary> {
    let mut line = Vec::new();
    let first_member = flate2::bufread::GzDecoder::new(object);
    first_member.take(SUMMARY_BYTES_MAX).read_to_end(&mut line).ok()?;
    serde_json::from_slice::<FirstLine<Summary>>(&line).ok().map(|first| first.twosec_object)
}

/// Far more than a summary has.
const SUMMARY_BYTES_MAX: u64 = 16 << 10;

/// A record that could not be opened, as one line.
#[derive(Serialize)]
struct RawRecord<'a> {
    sequence: &'a SequenceNumber,
    arrival: Millis,
    reason: &'a str,
    data_b64: String,
    /// Which record of an aggregate it was, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<usize>,
}

/// Records waiting to be one object. Kept packed, so that a large window is small.
#[derive(Debug)]
pub struct Window {
    prev: Option<SequenceNumber>,
    stream_created: Option<Millis>,
    first: Option<(SequenceNumber, Millis)>,
    last: Option<(SequenceNumber, Millis)>,
    records: u64,
    lines: u64,
    crc: crc32fast::Hasher,
    gzip: GzEncoder<Vec<u8>>,
}

impl Window {
    /// An empty window that follows `prev` in the chain.
    pub fn after(prev: Option<SequenceNumber>) -> Window {
        let (gzip, crc) = (GzEncoder::new(Vec::new(), GZIP_LEVEL), crc32fast::Hasher::new());
        Window { prev, stream_created: None, first: None, last: None, records: 0, lines: 0, crc, gzip }
    }

    /// The same for a stream that was made then.
    pub fn of_stream_made_at(self, stream_created: Option<Millis>) -> Window {
        Window { stream_created, ..self }
    }

    /// Whether nothing has been pushed.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Packed bytes so far.
    pub fn bytes(&self) -> usize {
        self.gzip.get_ref().len()
    }

    /// Whether a record that arrived then belongs into another object: objects hold
    /// records of one minute of arrival.
    pub fn is_of_another_minute(&self, arrival: Millis) -> bool {
        self.first.as_ref().is_some_and(|(_, first)| !is_same_minute(*first, arrival))
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Decoded) {
        self.first.get_or_insert_with(|| (record.sequence.clone(), record.arrival));
        self.last = Some((record.sequence.clone(), record.arrival));
        self.records += 1;
        let mut text = Vec::with_capacity(2 * PIECE_BYTES);
        rows(record, &mut text, |text| {
            if text.len() >= PIECE_BYTES {
                self.pack(text);
                text.clear();
            }
        });
        self.pack(&text);
    }

    fn pack(&mut self, text: &[u8]) {
        self.lines += line_feeds(text);
        self.crc.update(text);
        self.gzip.write_all(text).expect("a Vec takes all bytes");
    }

    /// Closes the window. `None` if it is empty.
    pub fn close(self, stream: &str, shard: &str) -> Option<(Summary, Object)> {
        let ((first_seq, first_arrival), (last_seq, last_arrival)) = (self.first?, self.last?);
        let summary = Summary {
            stream: stream.to_owned(),
            shard: shard.to_owned(),
            prev_seq: self.prev,
            first_seq,
            last_seq,
            last_arrival,
            records: self.records,
            lines: self.lines,
            crc32: format!("{:08x}", self.crc.finalize()),
            last: false,
            stream_created: self.stream_created,
        };
        let body = self.gzip.finish().expect("a Vec takes all bytes");
        let object = object(&summary, first_arrival, body);
        Some((summary, object))
    }
}

/// The object that says that a shard ends with the record `end`, which arrived then. Its key
/// is that of a record behind the end, so all who come to the end put the same object.
pub fn end_of_shard(
    (stream, shard): (&str, &str),
    end: &SequenceNumber,
    arrival: Millis,
    stream_created: Option<Millis>,
) -> Object {
    let behind = end.successor();
    let summary = Summary {
        stream: stream.to_owned(),
        shard: shard.to_owned(),
        prev_seq: Some(end.clone()),
        first_seq: behind.clone(),
        last_seq: behind,
        last_arrival: arrival,
        records: 0,
        lines: 0,
        crc32: format!("{:08x}", crc32fast::hash(b"")),
        last: true,
        stream_created,
    };
    object(&summary, arrival, Vec::new())
}

fn object(summary: &Summary, first_arrival: Millis, body: Vec<u8>) -> Object {
    let key = key(&summary.stream, &summary.shard, &summary.first_seq, first_arrival);
    Object { key, bytes: Bytes::from([first_line(summary), body].concat()), metadata: summary.metadata() }
}

/// Whether two records belong into one object, as far as their arrival goes.
pub fn is_same_minute(first: Millis, arrival: Millis) -> bool {
    first.div_euclid(MINUTE) == arrival.div_euclid(MINUTE)
}

/// Where an object that begins with this record lies. Nothing but the chain's position
/// decides it, so two writers that start from one position write to one key.
pub fn key(stream: &str, shard: &str, first: &SequenceNumber, arrival: Millis) -> String {
    format!("{}{shard}/{:03}-{first}.ndjson.gz", hour_prefix(stream, arrival), first.as_str().len())
}

/// Where all objects of a stream lie.
pub fn prefix(stream: &str) -> String {
    format!("raw/{stream}/")
}

/// The shard and the first sequence number that a key tells. `None` for keys of others.
pub fn read_key<'a>(stream: &str, key: &'a str) -> Option<(&'a str, SequenceNumber)> {
    let rest = key.strip_prefix(&prefix(stream))?.strip_suffix(".ndjson.gz")?;
    let mut parts = rest.splitn(4, '/');
    let (_day, _hour, shard, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((shard, SequenceNumber::new(name.split_once('-')?.1)?))
}

/// What all keys of an hour begin with, and all later keys follow.
pub fn hour_prefix(stream: &str, at: Millis) -> String {
    let time = event::time::rfc3339(at);
    format!("{}dt={}/hour={}/", prefix(stream), &time[..10], &time[11..13])
}

/// When the hour begins in which a key says that its records arrived. `None` for keys of others.
pub fn read_hour(stream: &str, key: &str) -> Option<Millis> {
    read_key(stream, key)?;
    let mut folders = key.strip_prefix(&prefix(stream))?.split('/');
    let day = folders.next()?.strip_prefix("dt=")?;
    let hour = folders.next()?.strip_prefix("hour=")?;
    event::time::parse_rfc3339(&format!("{day}T{hour}:00:00Z"))
}

/// A gzip member of its own, so that it can be written last and stand first.
fn first_line(summary: &Summary) -> Vec<u8> {
    let mut line = serde_json::to_vec(&FirstLine { twosec_object: summary }).expect("plain data turns into JSON");
    line.push(b'\n');
    let mut gzip = GzEncoder::new(Vec::new(), GZIP_LEVEL);
    gzip.write_all(&line).expect("a Vec takes all bytes");
    gzip.finish().expect("a Vec takes all bytes")
}

/// Appends the lines of a record to `text`; after each `written` may take what is there. Every
/// record has at least one, so each stands in the chain.
fn rows(record: &Decoded, text: &mut Vec<u8>, mut written: impl FnMut(&mut Vec<u8>)) {
    let Content { events, unreadable, is_control } = &record.content;
    let mut origin: Option<(&Arc<Origin>, String)> = None;
    for (id, event) in events {
        let json = match &origin {
            Some((known, json)) if Arc::ptr_eq(known, &event.origin) => json,
            _ => &origin.insert((&event.origin, event.origin.to_json())).1,
        };
        event.archive(*id, json, text);
        written(text);
    }
    for part in unreadable {
        raw(record, &part.data, &part.reason, part.part, text);
        written(text);
    }
    if events.is_empty() && unreadable.is_empty() {
        let nothing = "the record holds no events";
        let reason = if *is_control { "a control message of CloudWatch Logs: it holds no events" } else { nothing };
        raw(record, b"", reason, None, text);
    }
}

fn raw(record: &Decoded, data: &[u8], reason: &str, part: Option<usize>, out: &mut Vec<u8>) {
    let data_b64 = BASE64_STANDARD.encode(data);
    let line = RawRecord { sequence: &record.sequence, arrival: record.arrival, reason, data_b64, part };
    json::push(&line, out);
    out.push(b'\n');
}

fn line_feeds(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Unreadable;
    use event::line::Host;
    use event::{Event, Format, HostKey};
    use flate2::read::MultiGzDecoder;

    #[test]
    fn a_record_of_many_lines_is_archived_line_by_line() {
        let life = HostKey::derive("h").life("/x", b"first");
        let host = Host { id: "h".into(), name: "h".into() };
        let origin = Arc::new(Origin::new(host, "/x", life, Format::Auto));
        let lengths = (0..200).map(|n| 900 + n).chain([3 * PIECE_BYTES, 1]);
        let events = lengths.enumerate().map(|(at, length)| {
            let event = Event::new(Arc::clone(&origin), 1_000_000 * at as u64, vec![b'a' + (at % 26) as u8; length], 7);
            (event.id(&event.parsed()), event)
        });
        let events: Vec<_> = events.collect();
        let unreadable = vec![Unreadable { data: Bytes::from("x"), reason: "an example".into(), part: None }];
        let mut expected = Vec::new();
        events.iter().for_each(|(id, event)| event.archive(*id, &origin.to_json(), &mut expected));
        let content = Content { events, unreadable, is_control: false };
        let mut window = Window::after(None);
        window.push(&Decoded { sequence: SequenceNumber::new("7").unwrap(), arrival: 7, content });
        let (summary, object) = window.close("s", "shard-0").unwrap();
        let mut text = Vec::new();
        MultiGzDecoder::new(&object.bytes[..]).read_to_end(&mut text).unwrap();
        let lines = &text[text.iter().position(|byte| *byte == b'\n').unwrap() + 1..];
        assert!(lines.starts_with(&expected), "{} bytes", lines.len());
        assert_eq!((summary.lines, line_feeds(lines)), (203, 203));
        assert_eq!(summary.crc32, format!("{:08x}", crc32fast::hash(lines)));
    }
}
