//! Is an object what it says? Decided from its key, its metadata and its bytes.
//!
//! How many records it holds is its own word: lines of events do not tell the record that they came
//! in. Those of what could not be read do, and each record has a line; so the number lies between
//! two others, and is certain where no line is an event.

use super::chain::Head;
use crate::archive::Metadata;
use crate::archive::window::{Summary, key, read_key, read_summary};
use crate::receive::SequenceNumber;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader};

/// Bytes that are unpacked at once.
const CHUNK: usize = 256 << 10;

/// What has been seen of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspected {
    /// Whether its bytes could be had.
    pub is_open: bool,
    /// Its place, where it tells one.
    pub head: Option<Head>,
    pub records: u64,
    pub lines: u64,
    /// What is wrong with it.
    pub faults: Vec<String>,
}

impl Inspected {
    /// An object of which only the metadata could be had.
    pub fn unopened(name: &str, metadata: &Metadata, why: String) -> Inspected {
        let count = |name: &str| metadata.get(name).and_then(|count| count.parse().ok()).unwrap_or_default();
        let (head, records, lines) = (by_metadata(name, metadata), count("records"), count("lines"));
        Inspected { is_open: false, head, records, lines, faults: vec![why] }
    }
}

/// Looks at the object `name` of a stream.
pub fn inspect(stream: &str, name: &str, metadata: &Metadata, object: &[u8]) -> Inspected {
    let Some(summary) = read_summary(object) else {
        let faults = vec!["its first line does not tell what it holds".to_owned()];
        return Inspected { is_open: true, head: by_metadata(name, metadata), faults, ..Inspected::default() };
    };
    let faults =
        [place_fault(stream, name, &summary), metadata_fault(metadata, &summary), body_fault(object, &summary)];
    Inspected {
        is_open: true,
        records: summary.records,
        lines: summary.lines,
        head: by_metadata(name, metadata).or(Some(by_summary(name, summary))),
        faults: faults.into_iter().flatten().collect(),
    }
}

fn by_summary(name: &str, summary: Summary) -> Head {
    Head {
        key: name.to_owned(),
        prev: summary.prev_seq,
        first: summary.first_seq,
        last: summary.last_seq,
        last_arrival: summary.last_arrival,
        is_final: summary.last,
        stream_created: summary.stream_created,
    }
}

/// The place that an object's metadata tell.
pub fn by_metadata(name: &str, metadata: &Metadata) -> Option<Head> {
    let record = |name: &str| metadata.get(name).and_then(|digits| SequenceNumber::new(digits));
    Some(Head {
        key: name.to_owned(),
        prev: record("prev-seq"),
        first: record("first-seq")?,
        last: record("last-seq")?,
        last_arrival: metadata.get("last-arrival")?.parse().ok()?,
        is_final: metadata.get("final").is_some_and(|is_final| is_final == "true"),
        stream_created: metadata.get("stream-created").and_then(|millis| millis.parse().ok()),
    })
}

/// Whether it lies elsewhere than where it was put.
fn place_fault(stream: &str, name: &str, summary: &Summary) -> Option<String> {
    if read_key(stream, name).is_some_and(|(shard, _)| summary.stream == stream && summary.shard == shard) {
        // All its records arrived in one minute, so in one hour.
        let own = key(stream, &summary.shard, &summary.first_seq, summary.last_arrival);
        return (own != name).then(|| format!("its first line says that it is {own}"));
    }
    Some(format!("its first line says that it is of shard {} of stream {}", summary.shard, summary.stream))
}

fn metadata_fault(metadata: &Metadata, summary: &Summary) -> Option<String> {
    let expected = summary.metadata();
    let differs = |(name, value): &(&String, &String)| metadata.get(*name) != Some(*value);
    if let Some((name, value)) = expected.iter().find(differs) {
        let told = metadata.get(name).map_or_else(|| "nothing".to_owned(), |told| format!("`{told}`"));
        return Some(format!("its metadata say {told} for `{name}`, its first line `{value}`"));
    }
    let beyond = metadata.contains_key("prev-seq") && summary.prev_seq.is_none();
    beyond.then(|| "its metadata tell a `prev-seq`, its first line none".to_owned())
}

/// Whether its lines are those that were counted when it was written.
fn body_fault(object: &[u8], summary: &Summary) -> Option<String> {
    let (lines, crc32) = match counted(object) {
        Ok(counted) => counted,
        Err(error) => return Some(format!("it cannot be unpacked: {error}")),
    };
    if lines.count != summary.lines {
        return Some(format!("it holds {} lines, its first line says {}", lines.count, summary.lines));
    }
    if crc32 != summary.crc32 {
        return Some(format!("its lines have CRC-32 {crc32}, its first line says {}", summary.crc32));
    }
    lines.fault(summary)
}

/// What the lines behind the first one tell of the records that they came in. Of a record its events
/// come first, and then what of it could not be read.
#[derive(Default)]
struct Lines {
    count: u64,
    /// Records of which a line tells the number.
    numbered: u64,
    /// The first and the last of them.
    first: Option<SequenceNumber>,
    last: Option<SequenceNumber>,
    /// Lines that tell none, and whether the first and the last one are such.
    events: u64,
    begins_with_event: bool,
    ends_with_event: bool,
    is_out_of_order: bool,
    /// The beginning of a line of which the end has not come.
    head: Vec<u8>,
}

/// What the line of a record that could not be read begins with.
const NUMBERED: &[u8] = b"{\"sequence\":\"";

/// So many bytes of a line tell its record: a number has 56 digits at most (Kinesis).
const HEAD_BYTES: usize = NUMBERED.len() + 57;

impl Lines {
    fn push(&mut self, text: &[u8]) {
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let room = HEAD_BYTES - self.head.len();
            self.head.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_of_line();
            }
        }
    }

    fn end_of_line(&mut self) {
        let number = number_of(&self.head);
        self.head.clear();
        self.begins_with_event |= self.count == 0 && number.is_none();
        self.ends_with_event = number.is_none();
        self.count += 1;
        let Some(number) = number else {
            self.events += 1;
            return;
        };
        self.is_out_of_order |= self.last.as_ref().is_some_and(|last| number < *last);
        self.numbered += u64::from(self.last.as_ref() != Some(&number));
        self.first.get_or_insert_with(|| number.clone());
        self.last = Some(number);
    }

    /// Whether they cannot be those of the records that the summary tells.
    fn fault(&self, summary: &Summary) -> Option<String> {
        let Summary { first_seq, last_seq, records, .. } = summary;
        let is_off = |number: &Option<SequenceNumber>, end: &SequenceNumber, is_inside: bool| {
            number
                .as_ref()
                .is_some_and(|number| if is_inside { !(first_seq..=last_seq).contains(&number) } else { number != end })
        };
        if self.is_out_of_order
            || is_off(&self.first, first_seq, self.begins_with_event)
            || is_off(&self.last, last_seq, self.ends_with_event)
        {
            return Some(format!("its lines are not those of the records {first_seq} to {last_seq}, in their order"));
        }
        let (least, most) = (self.numbered + u64::from(self.ends_with_event), self.numbered + self.events);
        let told = if least == most { counted_records(least) } else { format!("{least} to {}", counted_records(most)) };
        (!(least..=most).contains(records)).then(|| format!("its lines are of {told}, its first line says {records}"))
    }
}

fn counted_records(records: u64) -> String {
    crate::progress::counted(records, "record")
}

/// The record that a line tells.
fn number_of(line: &[u8]) -> Option<SequenceNumber> {
    let digits = line.strip_prefix(NUMBERED)?.split(|byte| *byte == b'"').next()?;
    SequenceNumber::new(std::str::from_utf8(digits).ok()?)
}

/// Lines behind the first one, and their CRC.
fn counted(object: &[u8]) -> io::Result<(Lines, String)> {
    let mut text = BufReader::with_capacity(CHUNK, MultiGzDecoder::new(object));
    text.read_until(b'\n', &mut Vec::new())?;
    let (mut lines, mut crc) = (Lines::default(), crc32fast::Hasher::new());
    loop {
        let chunk = text.fill_buf()?;
        if chunk.is_empty() {
            return Ok((lines, format!("{:08x}", crc.finalize())));
        }
        lines.push(chunk);
        crc.update(chunk);
        let read = chunk.len();
        text.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Object;
    use crate::archive::window::Window;
    use crate::decode::{Content, Decoded, Decoder};
    use crate::receive::Record;
    use crate::settings::Settings;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn object() -> Object {
        let mut window = Window::after(SequenceNumber::new("5"));
        for number in 7..=9 {
            let content = Content::unreadable(Bytes::from(format!("record {number}")), "an example");
            let sequence = SequenceNumber::new(&number.to_string()).unwrap();
            window.push(&Decoded { sequence, arrival: 1_795_392_000_000 + number, content });
        }
        window.close("s", "shard-0").unwrap().1
    }

    fn faults(name: &str, metadata: &Metadata, bytes: &[u8]) -> Vec<String> {
        inspect("s", name, metadata, bytes).faults
    }

    #[test]
    fn an_object_as_it_was_written_has_no_fault() {
        let Object { key, bytes, metadata } = object();
        let seen = inspect("s", &key, &metadata, &bytes);
        assert_eq!((seen.records, seen.lines, &seen.faults[..]), (3, 3, &[][..]));
        let head = seen.head.unwrap();
        let places = [head.prev.as_ref().unwrap(), &head.first, &head.last].map(|record| record.as_str());
        assert_eq!((places, head.last_arrival), (["5", "7", "9"], 1_795_392_000_009));
    }

    #[test]
    fn an_object_that_was_copied_elsewhere_says_where_it_belongs() {
        let Object { key, bytes, metadata } = object();
        let told = format!("its first line says that it is {key}");
        assert_eq!(faults(&key.replace("001-7", "001-8"), &metadata, &bytes), [told.as_str()]);
        assert_eq!(faults(&key.replace("hour=", "hour=1"), &metadata, &bytes), [told.as_str()]);
        let told = "its first line says that it is of shard shard-0 of stream s";
        assert_eq!(faults(&key.replace("shard-0", "shard-1"), &metadata, &bytes), [told]);
    }

    #[test]
    fn metadata_that_say_something_else_are_a_fault() {
        let Object { key, bytes, metadata } = object();
        let with = |name: &str, value: Option<&str>| {
            let mut metadata = metadata.clone();
            match value {
                Some(value) => metadata.insert(name.into(), value.into()),
                None => metadata.remove(name),
            };
            faults(&key, &metadata, &bytes)
        };
        assert_eq!(with("records", Some("4")), ["its metadata say `4` for `records`, its first line `3`"]);
        assert_eq!(with("last-seq", None), ["its metadata say nothing for `last-seq`, its first line `9`"]);
        assert_eq!(with("somebody-elses", Some("x")), [""; 0]);
    }

    #[test]
    fn lines_that_were_not_written_so_are_a_fault() {
        let Object { key, bytes, metadata } = object();
        let packed = |text: &str| event::gzip::gzip(text.as_bytes(), 6);
        let again = |change: fn(String) -> String| {
            let text = io::read_to_string(MultiGzDecoder::new(&bytes[..])).unwrap();
            let (first, body) = text.split_once('\n').unwrap();
            faults(&key, &metadata, &[packed(&format!("{first}\n")), packed(&change(body.to_owned()))].concat())
        };
        assert_eq!(again(|body| body), [""; 0], "how it is packed does not count");
        assert_eq!(again(|body| body.clone() + &body), ["it holds 6 lines, its first line says 3"]);
        let told = again(|body| body.replacen("an example", "no example", 1));
        assert!(told[0].starts_with("its lines have CRC-32 "), "{told:?}");
        assert_eq!(faults(&key, &metadata, b"junk"), ["its first line does not tell what it holds"]);
    }

    /// The object with a summary, in its first line and its metadata, that says something else.
    fn told_otherwise(object: &Object, change: impl Fn(&mut Summary)) -> Vec<String> {
        let text = io::read_to_string(MultiGzDecoder::new(&object.bytes[..])).unwrap();
        let (first, body) = text.split_once('\n').unwrap();
        let mut first: serde_json::Value = serde_json::from_str(first).unwrap();
        let mut summary: Summary = serde_json::from_value(first["twosec_object"].take()).unwrap();
        change(&mut summary);
        first["twosec_object"] = serde_json::to_value(&summary).unwrap();
        let parts = [format!("{first}\n"), body.to_owned()].map(|text| event::gzip::gzip(text.as_bytes(), 6));
        faults(&object.key, &summary.metadata(), &parts.concat())
    }

    #[test]
    fn a_number_of_records_that_the_lines_cannot_be_of_is_a_fault() {
        let object = object();
        assert_eq!(told_otherwise(&object, |_| ()), [""; 0]);
        let told = told_otherwise(&object, |summary| summary.records = 4);
        assert_eq!(told, ["its lines are of 3 records, its first line says 4"]);
        let told = told_otherwise(&object, |summary| summary.last_seq = SequenceNumber::new("11").unwrap());
        assert_eq!(told, ["its lines are not those of the records 7 to 11, in their order"]);
    }

    #[test]
    fn lines_of_events_leave_room_for_more_records_or_fewer() {
        let decoder = Decoder::new(&Settings::new("s", "w".into()), "shard-0", None, std::sync::Arc::default());
        let mut window = Window::after(None);
        // Two lines; one, and what is no text; nothing; one line.
        for (number, data) in [(7, &b"one\ntwo"[..]), (8, b"a longer third\n\xff"), (9, b""), (10, b"four")] {
            let sequence = SequenceNumber::new(&number.to_string()).unwrap();
            window.push(&decoder.decode(Record { sequence, arrival: 7, data: Bytes::from_static(data) }));
        }
        let (_, object) = window.close("s", "shard-0").unwrap();
        let told = |records: u64| told_otherwise(&object, move |summary| summary.records = records);
        for possible in 3..=6 {
            assert_eq!(told(possible), [""; 0], "{possible}");
        }
        assert_eq!(told(2), ["its lines are of 3 to 6 records, its first line says 2"]);
        assert_eq!(told(7), ["its lines are of 3 to 6 records, its first line says 7"]);
    }

    proptest! {
        #[test]
        fn no_cut_and_no_other_byte_goes_unseen(at: prop::sample::Index, with: u8, cuts: bool) {
            let Object { key, bytes, metadata } = object();
            let mut other = bytes.to_vec();
            let at = at.index(other.len());
            if cuts {
                other.truncate(at);
            } else {
                other[at] = with;
            }
            let text = |bytes: &[u8]| io::read_to_string(MultiGzDecoder::new(bytes)).ok();
            // Bytes of gzip's own headers, such as a time, are no part of what is archived.
            prop_assume!(text(&other) != text(&bytes));
            prop_assert_ne!(faults(&key, &metadata, &other), [""; 0]);
        }
    }
}
