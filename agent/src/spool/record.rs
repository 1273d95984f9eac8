//! The spool's records, as bytes.
//!
//! ```text
//! "2SR" kind | meta length | payload length | CRC-32 of all the rest | meta (JSON) | payload
//!     4      |      4      |       4        |           4            |             |
//! ```
//!
//! Numbers are little endian. A frame's meta tells which lives it moves and how far: the
//! frame *is* the checkpoint, so data and position cannot disagree. Meta is JSON because
//! a spool must be readable by the next and the previous minor version.

use crate::tail::{Known, Mark};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes before meta.
pub const HEAD_BYTES: usize = 16;

/// Meta and payload may have this much each. A record of the stream has 10 MiB at most
/// (Kinesis API reference, PutRecords); meta of 1,000 lives has half a megabyte.
const PART_BYTES_MAX: usize = 16 << 20;

const MAGIC: &[u8; 3] = b"2SR";

/// What a segment is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// All that is known of files: where a reader of the spool begins.
    Snapshot(Known),
    /// A frame for the stream, and how far its lives are read with it.
    Frame(Meta, Bytes),
    /// Damaged bytes that were set aside. Its payload is what is left of them.
    Skip,
}

/// What a frame's record says of the frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Kinesis's partition key.
    pub key: String,
    /// Events in it.
    pub lines: usize,
    pub marks: Vec<Mark>,
}

impl Record {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let json = |value: serde_json::Result<Vec<u8>>| value.expect("plain data turns into JSON");
        match self {
            Record::Snapshot(known) => frame(b'S', &json(serde_json::to_vec(known)), &known.behaviour),
            Record::Frame(meta, payload) => frame(b'F', &json(serde_json::to_vec(meta)), payload),
            Record::Skip => frame(b'K', &[], &[]),
        }
    }

    /// The head of a record that makes readers pass over `bytes` bytes, itself included.
    /// Its check sum covers the head alone, since what follows is damaged.
    pub fn skip_head(bytes: usize) -> [u8; HEAD_BYTES] {
        head(b'K', 0, (bytes - HEAD_BYTES) as u32, crc(b'K', 0, (bytes - HEAD_BYTES) as u32, &[&[]]))
    }
}

fn frame(kind: u8, meta: &[u8], payload: &[u8]) -> Vec<u8> {
    let (meta_bytes, payload_bytes) = (meta.len() as u32, payload.len() as u32);
    let mut out = Vec::with_capacity(HEAD_BYTES + meta.len() + payload.len());
    out.extend(head(kind, meta_bytes, payload_bytes, crc(kind, meta_bytes, payload_bytes, &[meta, payload])));
    out.extend_from_slice(meta);
    out.extend_from_slice(payload);
    out
}

fn head(kind: u8, meta: u32, payload: u32, crc: u32) -> [u8; HEAD_BYTES] {
    let mut out = [0; HEAD_BYTES];
    out[..3].copy_from_slice(MAGIC);
    out[3] = kind;
    out[4..8].copy_from_slice(&meta.to_le_bytes());
    out[8..12].copy_from_slice(&payload.to_le_bytes());
    out[12..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn crc(kind: u8, meta: u32, payload: u32, parts: &[&[u8]]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&[kind]);
    hash.update(&meta.to_le_bytes());
    hash.update(&payload.to_le_bytes());
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize()
}

/// A record's head, read.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    kind: u8,
    meta: usize,
    payload: usize,
    crc: u32,
}

impl Head {
    /// Reads the first [`HEAD_BYTES`] bytes of a record; `None` if they are none.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let bytes: &[u8; HEAD_BYTES] = bytes.get(..HEAD_BYTES)?.try_into().ok()?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let head = Head { kind: bytes[3], meta: number(4) as usize, payload: number(8) as usize, crc: number(12) };
        let known = bytes.starts_with(MAGIC) && matches!(head.kind, b'S' | b'F' | b'K');
        (known && head.meta <= PART_BYTES_MAX && head.payload <= PART_BYTES_MAX).then_some(head)
    }

    /// Bytes of the whole record.
    pub fn record_bytes(&self) -> usize {
        HEAD_BYTES + self.meta + self.payload
    }

    /// The record with what follows its head; `None` if that is damaged or not all there.
    pub fn record(&self, rest: &[u8]) -> Option<Record> {
        let rest = rest.get(..self.meta + self.payload)?;
        let (meta, payload) = rest.split_at(self.meta);
        let covered: &[&[u8]] = if self.kind == b'K' { &[&[]] } else { &[meta, payload] };
        if crc(self.kind, self.meta as u32, self.payload as u32, covered) != self.crc {
            return None;
        }
        match self.kind {
            b'S' => {
                let known: Known = serde_json::from_slice(meta).ok()?;
                Some(Record::Snapshot(Known { behaviour: Bytes::copy_from_slice(payload), ..known }))
            }
            b'F' => serde_json::from_slice(meta).ok().map(|meta| Record::Frame(meta, Bytes::copy_from_slice(payload))),
            _ => Some(Record::Skip),
        }
    }
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq)]
pub enum Item {
    Record {
        at: usize,
        bytes: usize,
        record: Record,
    },
    /// No record, up to the next one or the end of the segment.
    Damaged {
        at: usize,
        bytes: usize,
        at_end: bool,
    },
}

/// Reads a whole segment: its records, and what is none.
pub fn scan(segment: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < segment.len() {
        if let Some((bytes, record)) = record_at(segment, at) {
            items.push(Item::Record { at, bytes, record });
            at += bytes;
            continue;
        }
        let next = (at + 1..segment.len())
            .find(|next| segment[*next..].starts_with(MAGIC) && record_at(segment, *next).is_some());
        let end = next.unwrap_or(segment.len());
        items.push(Item::Damaged { at, bytes: end - at, at_end: next.is_none() });
        at = end;
    }
    items
}

fn record_at(segment: &[u8], at: usize) -> Option<(usize, Record)> {
    let head = Head::read(&segment[at..])?;
    let record = head.record(&segment[at + HEAD_BYTES..])?;
    Some((head.record_bytes(), record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(text: &str) -> Record {
        let meta = Meta { key: "k".into(), lines: 1, marks: Vec::new() };
        Record::Frame(meta, Bytes::copy_from_slice(text.as_bytes()))
    }

    fn records(items: &[Item]) -> Vec<Record> {
        let record = |item: &Item| match item {
            Item::Record { record, .. } => Some(record.clone()),
            Item::Damaged { .. } => None,
        };
        items.iter().filter_map(record).collect()
    }

    #[test]
    fn a_skip_hides_damage_from_the_next_reader() {
        let (first, last) = (record("first").encode(), record("last").encode());
        let mut bad = record("a bad one").encode();
        *bad.last_mut().unwrap() ^= 1;
        let mut segment = [first.clone(), bad.clone(), last].concat();
        let damaged = Item::Damaged { at: first.len(), bytes: bad.len(), at_end: false };
        assert_eq!(scan(&segment)[1], damaged);
        segment[first.len()..][..HEAD_BYTES].copy_from_slice(&Record::skip_head(bad.len()));
        assert_eq!(records(&scan(&segment)), [record("first"), Record::Skip, record("last")]);
    }

    proptest! {
        #[test]
        fn all_records_around_a_damaged_byte_are_read(texts in prop::collection::vec(".{0,40}", 1..8), hit: prop::sample::Index, bit in 0u8..8) {
            let whole: Vec<Record> = texts.iter().map(|text| record(text)).collect();
            let mut segment: Vec<u8> = whole.iter().flat_map(Record::encode).collect();
            prop_assert_eq!(records(&scan(&segment)), whole.clone());
            let at = hit.index(segment.len());
            segment[at] ^= 1 << bit;
            let left = records(&scan(&segment));
            prop_assert_eq!(left.len(), whole.len() - 1);
            prop_assert!(left.iter().all(|record| whole.contains(record)));
        }

        #[test]
        fn a_torn_tail_costs_the_last_record_alone(texts in prop::collection::vec(".{0,40}", 1..8), cut: prop::sample::Index) {
            let whole: Vec<Record> = texts.iter().map(|text| record(text)).collect();
            let bytes: Vec<Vec<u8>> = whole.iter().map(Record::encode).collect();
            let last = bytes.last().unwrap().len();
            let mut segment = bytes.concat();
            segment.truncate(segment.len() - last + cut.index(last));
            prop_assert_eq!(records(&scan(&segment)), &whole[..whole.len() - 1]);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes: Vec<u8>) {
            scan(&bytes);
            bytes.splice(..0, *b"2SRF");
            scan(&bytes);
        }
    }
}
