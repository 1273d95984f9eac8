//! An archived object, line by line.

use crate::receive::SequenceNumber;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use event::{Event, Millis};
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use std::io::{self, BufRead, BufReader};

/// Bytes that are unpacked at once.
const CHUNK: usize = 64 << 10;

/// A line of an object.
#[derive(Debug)]
pub enum Row {
    /// The first one, which tells what the object holds.
    Summary,
    Event(Box<Event>),
    /// A record, or a part of one, that could not be read when it came.
    Record(RawRecord),
    /// A record without lines: it was empty, or a message of CloudWatch Logs to its subscribers.
    Nothing,
    /// A line of another version, or of nobody.
    Broken,
}

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    pub sequence: SequenceNumber,
    pub arrival: Millis,
    pub reason: String,
    pub data: Bytes,
    /// Which record of an aggregate it was, counted from 0.
    pub part: Option<usize>,
}

#[derive(Deserialize)]
struct Raw {
    sequence: SequenceNumber,
    arrival: Millis,
    reason: String,
    data_b64: String,
    #[serde(default)]
    part: Option<usize>,
}

/// The lines of an object, unpacked as they are read.
pub struct Rows<'a> {
    text: BufReader<MultiGzDecoder<&'a [u8]>>,
    row: Vec<u8>,
}

impl<'a> Rows<'a> {
    /// The lines of these bytes.
    pub fn of(object: &'a [u8]) -> Rows<'a> {
        Rows { text: BufReader::with_capacity(CHUNK, MultiGzDecoder::new(object)), row: Vec::new() }
    }

    /// The next line.
    ///
    /// # Errors
    /// The object is cut or changed, and cannot be unpacked any further.
    pub fn next_row(&mut self) -> io::Result<Option<Row>> {
        self.row.clear();
        self.text.read_until(b'\n', &mut self.row)?;
        Ok((!self.row.is_empty()).then(|| read(&self.row)))
    }
}

fn read(row: &[u8]) -> Row {
    if let Some(event) = Event::from_archive(row) {
        return Row::Event(Box::new(event));
    }
    if row.starts_with(b"{\"twosec_object\":") {
        return Row::Summary;
    }
    match raw(row) {
        Some(record) if record.data.is_empty() && record.part.is_none() => Row::Nothing,
        Some(record) => Row::Record(record),
        None => Row::Broken,
    }
}

fn raw(row: &[u8]) -> Option<RawRecord> {
    let Raw { sequence, arrival, reason, data_b64, part } = serde_json::from_slice(row).ok()?;
    Some(RawRecord { sequence, arrival, reason, data: BASE64_STANDARD.decode(data_b64).ok()?.into(), part })
}
