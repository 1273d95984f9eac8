//! What the index or the decoder will never take: kept with the reason, out of the way.

use super::{Archive, ArchiveError, Object};
use crate::receive::SequenceNumber;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use event::EventId;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::value::RawValue;
use std::io::Write;

/// One thing that could not go on.
#[derive(Debug, Serialize)]
pub struct DeadLetter {
    pub reason: String,
    /// The event and its index, where it was a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Box<RawValue>>,
    /// The record's bytes, where it could not be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_b64: Option<String>,
}

impl DeadLetter {
    /// A document that the index refuses.
    pub fn document(item: &crate::index::Item, reason: String) -> DeadLetter {
        let document =
            String::from_utf8(item.document.body.clone()).ok().and_then(|text| RawValue::from_string(text).ok());
        DeadLetter { reason, id: Some(item.id()), index: Some(item.index.clone()), document, data_b64: None }
    }

    /// A record that could not be opened.
    pub fn record(data: &[u8], reason: &str) -> DeadLetter {
        let data_b64 = Some(BASE64_STANDARD.encode(data));
        DeadLetter { reason: reason.to_owned(), id: None, index: None, document: None, data_b64 }
    }
}

/// Where all dead letters of a stream lie.
pub fn prefix(stream: &str) -> String {
    format!("dead-letter/{stream}/")
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
        serde_json::to_writer(&mut text, letter).expect("plain data turns into JSON, and a Vec takes it");
        text.push(b'\n');
    }
    let (digits, crc32) = (sequence.as_str(), crc32fast::hash(&text));
    let key = format!("{}{shard}/{:03}-{digits}-{part}-{crc32:08x}.ndjson.gz", prefix(stream), digits.len());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
    gzip.write_all(&text).expect("a Vec takes all bytes");
    let bytes = Bytes::from(gzip.finish().expect("a Vec takes all bytes"));
    archive.put_if_absent(&Object { key, bytes, metadata: Default::default() }).await.map(drop)
}
