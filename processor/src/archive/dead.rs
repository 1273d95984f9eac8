//! What the index or the decoder will never take: kept with the reason, out of the way.

use super::{Archive, ArchiveError, Object};
use crate::decode::Unreadable;
use crate::index::Item;
use crate::receive::SequenceNumber;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use event::{Document, EventId, Millis, json};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::Write;

/// One thing that could not go on, with all that it takes to try again.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    pub reason: String,
    /// The event and its index, where it was a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Box<RawValue>>,
    /// [`event::Document::revision`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// [`event::Document::ruleset`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruleset: Option<u32>,
    /// The record's bytes, where it could not be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_b64: Option<String>,
    /// When that record arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Millis>,
    /// Which record of an aggregate it was, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<usize>,
    /// When the stream was made that the record was in, where that is known: ids of other
    /// producers' lines depend on it, and a stream of this name may be made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_created: Option<Millis>,
}

impl DeadLetter {
    fn new(reason: String) -> DeadLetter {
        let (id, index, document, revision, ruleset) = (None, None, None, None, None);
        let (data_b64, arrival, part, stream_created) = (None, None, None, None);
        DeadLetter { reason, id, index, document, revision, ruleset, data_b64, arrival, part, stream_created }
    }

    /// A document that the index refuses.
    pub fn document(item: &Item, reason: String) -> DeadLetter {
        let Document { revision, ruleset, ref body, .. } = item.document;
        let document = String::from_utf8(body.clone()).ok().and_then(|text| RawValue::from_string(text).ok());
        let (id, index) = (Some(item.id()), Some(item.index.clone()));
        DeadLetter { id, index, document, revision, ruleset, ..DeadLetter::new(reason) }
    }

    /// A record, or a part of one, that could not be opened, of the stream that was made then.
    pub fn record(unreadable: &Unreadable, arrival: Millis, stream_created: Option<Millis>) -> DeadLetter {
        let data_b64 = Some(BASE64_STANDARD.encode(&unreadable.data));
        let (arrival, part) = (Some(arrival), unreadable.part);
        DeadLetter { data_b64, arrival, part, stream_created, ..DeadLetter::new(unreadable.reason.clone()) }
    }

    /// The document again, and its index. `None` where it was a record.
    pub fn item(&self) -> Option<Item> {
        let (id, body) = (self.id?, self.document.as_ref()?.get().as_bytes().to_vec());
        let document = Document { id, day: None, revision: self.revision, ruleset: self.ruleset, body };
        Some(Item { index: self.index.clone()?, document })
    }

    /// The record's bytes again. `None` where it was a document.
    pub fn data(&self) -> Option<Bytes> {
        BASE64_STANDARD.decode(self.data_b64.as_ref()?).ok().map(Bytes::from)
    }
}

/// The letters in an object; `None` for one that holds none.
pub fn read(object: &[u8]) -> Option<Vec<DeadLetter>> {
    let text = std::io::read_to_string(GzDecoder::new(object)).ok()?;
    text.lines().map(|line| serde_json::from_str(line).ok()).collect()
}

/// The shard and the record that a key tells.
pub fn read_key<'a>(stream: &str, key: &'a str) -> Option<(&'a str, SequenceNumber)> {
    let (shard, name) = key.strip_prefix(&prefix(stream))?.split_once('/')?;
    Some((shard, SequenceNumber::new(name.split('-').nth(1)?)?))
}

/// Where all dead letters lie.
pub const ROOT: &str = "dead-letter/";

/// Where all dead letters of a stream lie.
pub fn prefix(stream: &str) -> String {
    format!("{ROOT}{stream}/")
}

/// Writes dead letters of the record `sequence` into
/// `dead-letter/<stream>/<shard>/<len3>-<sequence>-<part>-<crc32>.ndjson.gz`. Writing the same
/// ones again changes nothing. Others of the same record, as they come of an object that is
/// indexed again and ends with it, stand beside them: the CRC of their lines tells them apart.
pub async fn keep(
    archive: &dyn Archive,
    (stream, shard): (&str, &str),
    sequence: &SequenceNumber,
    part: usize,
    letters: &[DeadLetter],
) -> Result<(), ArchiveError> {
    let mut text = Vec::new();
    for letter in letters {
        json::push(letter, &mut text);
        text.push(b'\n');
    }
    let (digits, crc32) = (sequence.as_str(), crc32fast::hash(&text));
    let key = format!("{}{shard}/{:03}-{digits}-{part}-{crc32:08x}.ndjson.gz", prefix(stream), digits.len());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
    gzip.write_all(&text).expect("a Vec takes all bytes");
    let bytes = Bytes::from(gzip.finish().expect("a Vec takes all bytes"));
    archive.put_if_absent(&Object { key, bytes, metadata: Default::default() }).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::MemoryArchive;

    #[tokio::test]
    async fn letters_of_one_record_that_differ_stand_beside_each_other() {
        let archive = MemoryArchive::default();
        let letter = |reason: &str| DeadLetter::new(reason.to_owned());
        let sequence = SequenceNumber::new("42").unwrap();
        for reason in ["mapper_parsing_exception", "index_closed_exception", "mapper_parsing_exception"] {
            keep(&archive, ("s", "shard-0"), &sequence, 1, &[letter(reason)]).await.unwrap();
        }
        let keys = archive.keys();
        assert_eq!(keys.len(), 2, "{keys:?}");
        assert!(keys.iter().all(|key| read_key("s", key) == Some(("shard-0", sequence.clone()))), "{keys:?}");
        assert_eq!(read_key("s", "dead-letter/s/shard-0/002-42-1.ndjson.gz"), Some(("shard-0", sequence)));
    }

    #[test]
    fn a_letter_is_the_document_or_the_record_again() {
        let document =
            Document { id: EventId([7; 16]), day: None, revision: Some(3), ruleset: None, body: b"{\"a\":1}".to_vec() };
        let item = Item { index: "twosec-incidents".into(), document };
        let unreadable = Unreadable { data: Bytes::from_static(b"\xff"), reason: "no text".into(), part: Some(2) };
        let letters = [DeadLetter::document(&item, "why".into()), DeadLetter::record(&unreadable, 5, Some(4))];
        let text: String = letters.iter().map(|letter| serde_json::to_string(letter).unwrap() + "\n").collect();
        let again = read(&event::gzip::gzip(text.as_bytes(), 6)).unwrap();
        assert_eq!((again[0].item(), again[0].data()), (Some(item), None));
        assert_eq!((again[1].item(), again[1].data()), (None, Some(unreadable.data)));
        assert_eq!((again[1].arrival, again[1].part, again[1].stream_created), (Some(5), Some(2), Some(4)));
        assert!(read(b"junk").is_none());
    }
}
