//! Is an object what it says? Decided from its key, its metadata and its bytes.

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
    if lines != summary.lines {
        return Some(format!("it holds {lines} lines, its first line says {}", summary.lines));
    }
    (crc32 != summary.crc32).then(|| format!("its lines have CRC-32 {crc32}, its first line says {}", summary.crc32))
}

/// Lines behind the first one, and their CRC.
fn counted(object: &[u8]) -> io::Result<(u64, String)> {
    let mut text = BufReader::with_capacity(CHUNK, MultiGzDecoder::new(object));
    text.read_until(b'\n', &mut Vec::new())?;
    let (mut lines, mut crc) = (0, crc32fast::Hasher::new());
    loop {
        let chunk = text.fill_buf()?;
        if chunk.is_empty() {
            return Ok((lines, format!("{:08x}", crc.finalize())));
        }
        lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
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
    use crate::decode::{Content, Decoded};
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
