//! Records into events, told apart by their bytes.
//!
//! ```text
//! record -> (KPL aggregate: its records) -> (gzip, zstd) -> frame
//!                                                        -> text: objects and lines (foreign)
//! ```
//!
//! A frame is taken as it is: its agent has classified and masked it. Lines of other
//! producers are classified and masked here, before archive and index see them.

mod foreign;
mod object;

use crate::meter::Meter;
use crate::receive::{Record, SequenceNumber};
use crate::settings::{ForeignSettings, Rules, Settings};
use bytes::Bytes;
use event::encoding::kpl::{self, Parts};
use event::frame;
use event::limits::DECODED_BYTES_MAX;
use event::unpack::{Packing, UnpackError};
use event::{Event, EventId, LifeId, Millis, Redaction};
use foreign::Reader;
use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lines of one record that are read, other than of a frame. Each takes some hundred bytes
/// beside its text, so a record of a million empty objects would take far more memory than
/// [`DECODED_BYTES_MAX`]. CloudWatch Logs puts at most 10,000 lines into a record.
pub const LINES_MAX: usize = 50_000;

/// A record and what it turned out to hold.
#[derive(Debug)]
pub struct Decoded {
    pub sequence: SequenceNumber,
    pub arrival: Millis,
    pub content: Content,
}

/// What a record holds. Nothing at all is possible, too.
#[derive(Debug, Default)]
pub struct Content {
    pub events: Vec<(EventId, Event)>,
    /// The record itself, or records of an aggregate, that this program cannot read. They
    /// are archived as they are, and dead-lettered.
    pub unreadable: Vec<Unreadable>,
    /// Whether CloudWatch Logs only asked if the stream can be reached.
    pub is_control: bool,
}

/// Bytes that this program cannot read.
#[derive(Debug)]
pub struct Unreadable {
    pub data: Bytes,
    pub reason: String,
    /// Which record of an aggregate it is, counted from 0. The ids of its lines depend on it.
    pub part: Option<usize>,
}

impl Content {
    /// A record that cannot be read.
    pub fn unreadable(data: Bytes, reason: impl Into<String>) -> Content {
        Content { unreadable: vec![Unreadable { data, reason: reason.into(), part: None }], ..Content::default() }
    }
}

/// What a record, or a record of an aggregate, was read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Our own frame.
    Frame,
    /// ECS documents of our agent.
    Ecs,
    /// Lines that CloudWatch Logs put, or our agent as it would.
    CloudwatchLogs,
    /// CloudWatch Logs asks whether the stream can be reached.
    Control,
    /// JSON objects of other producers.
    Objects,
    /// Lines of text.
    Lines,
    Unreadable,
}

impl Kind {
    pub const ALL: [Kind; 7] =
        [Kind::Frame, Kind::Ecs, Kind::CloudwatchLogs, Kind::Control, Kind::Objects, Kind::Lines, Kind::Unreadable];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Frame => "frame",
            Kind::Ecs => "ecs",
            Kind::CloudwatchLogs => "cloudwatch_logs",
            Kind::Control => "control",
            Kind::Objects => "objects",
            Kind::Lines => "lines",
            Kind::Unreadable => "unreadable",
        }
    }
}

/// Opens the records of one shard.
#[derive(Debug)]
pub struct Decoder {
    stream: String,
    /// When the stream was made: one of the same name that is made anew numbers its records
    /// anew.
    created: Option<Millis>,
    shard: String,
    /// What stands for the life of lines whose file nobody tells.
    life: LifeId,
    foreign: ForeignSettings,
    redaction: Redaction,
    rules: Rules,
    meter: Arc<Meter>,
    /// Records so far that were no frames.
    others: AtomicU64,
}

impl Decoder {
    /// A decoder for a shard of a stream that was made at `created`, as far as is known.
    pub fn new(settings: &Settings, shard: &str, created: Option<Millis>, meter: Arc<Meter>) -> Decoder {
        Decoder {
            stream: settings.stream.clone(),
            created,
            shard: shard.to_owned(),
            life: LifeId::of_source(&[b"kinesis", settings.stream.as_bytes(), shard.as_bytes()]),
            foreign: settings.foreign.clone(),
            redaction: settings.redaction(),
            rules: settings.rules.clone(),
            meter,
            others: AtomicU64::new(0),
        }
    }

    /// Opens a record. Never fails: one bad record must not stop its shard.
    pub fn decode(&self, record: Record) -> Decoded {
        self.decode_part(record, None)
    }

    /// Opens a record; or what was the record `part` of an aggregate, and could not be read
    /// when that came.
    pub fn decode_part(&self, record: Record, part: Option<usize>) -> Decoded {
        let Record { sequence, arrival, data } = record;
        let mut content = Content::default();
        let mut room = DECODED_BYTES_MAX;
        let mut read = |data: &[u8], part| {
            let mut reader = Reader::new(self, &sequence, arrival, part, &mut content);
            let read = piece(data, &mut room, &mut reader);
            reader.end(read.is_ok()).into_iter().for_each(|kind| self.count(kind));
            if read.as_ref().map_or(true, |lines| !lines.is_empty()) {
                self.count(Kind::Unreadable);
            }
            read
        };
        let aside = |line, part| Unreadable { data: line, reason: "the line is no text in UTF-8".to_owned(), part };
        let mut unreadable = Vec::new();
        match (part.is_none() && kpl::is_aggregate(&data)).then(|| kpl::records(&data, LINES_MAX)) {
            None => match read(&data, part) {
                Ok(lines) => unreadable.extend(lines.into_iter().map(|line| aside(line, part))),
                Err(reason) => unreadable.push(Unreadable { data: data.clone(), reason, part }),
            },
            Some(Ok(Parts { records, rest })) => {
                let behind = records.len();
                for (at, record) in records.into_iter().enumerate() {
                    let (bytes, opened) = match record {
                        Ok(part) => (part, read(part, Some(at))),
                        Err(bytes) => {
                            self.count(Kind::Unreadable);
                            (bytes, Err("it has no data".to_owned()))
                        }
                    };
                    let part = Some(at);
                    match opened {
                        Ok(lines) => unreadable.extend(lines.into_iter().map(|line| aside(line, part))),
                        Err(reason) => {
                            let reason = format!("record {} of the aggregate: {reason}", at + 1);
                            unreadable.push(Unreadable { data: data.slice_ref(bytes), reason, part });
                        }
                    }
                }
                if let Some((bytes, error)) = rest {
                    self.count(Kind::Unreadable);
                    let reason = format!("behind record {behind} of the aggregate: {error}");
                    unreadable.push(Unreadable { data: data.slice_ref(bytes), reason, part: Some(behind) });
                }
            }
            Some(Err(error)) => {
                self.count(Kind::Unreadable);
                unreadable.push(Unreadable { data: data.clone(), reason: reason(&error), part });
            }
        }
        content.unreadable = unreadable;
        Decoded { sequence, arrival, content }
    }

    /// Counts, and says at the 1st, 10th, 100th... of them that others write into the stream.
    fn count(&self, kind: Kind) {
        self.meter.read_as(kind);
        if kind == Kind::Frame {
            return;
        }
        let records = self.others.fetch_add(1, Ordering::Relaxed) + 1;
        if records == 10_u64.pow(records.ilog10()) {
            let kind = kind.name();
            tracing::info!(
                shard = self.shard,
                records,
                kind,
                "records are read that are no frames, of this kind the last one"
            );
        }
    }
}

/// Opens what is no aggregate. What it unpacks to is taken off `room`. Returns the lines of a text that
/// are none.
fn piece(data: &[u8], room: &mut usize, reader: &mut Reader<'_>) -> Result<Vec<Bytes>, String> {
    let text = match Packing::of(data) {
        Some(packing) => {
            let text = packing.unpack(data, *room).map_err(|error| {
                // It has cost as much as it may. Many of them in one record must not cost that each.
                if matches!(error, UnpackError::Bomb(_)) {
                    *room /= 2;
                }
                reason(&error)
            })?;
            *room -= text.len();
            Cow::Owned(text)
        }
        None => Cow::Borrowed(data),
    };
    if frame::is_frame(&text) {
        let (_, events) = frame::read(&text).map_err(|error| reason(&error))?;
        reader.frame(events);
        return Ok(Vec::new());
    }
    let (text, aside) = match std::str::from_utf8(&text) {
        Ok(text) if !text.contains('\0') => (Cow::Borrowed(text), Vec::new()),
        _ => split(&text).ok_or("the record is no frame, no KPL aggregate and no text in UTF-8, packed or not")?,
    };
    reader.text(&text).map_err(|error| error.to_string())?;
    Ok(aside)
}

/// The lines of a text, and those among them that are none, where most are. What a server logs may
/// hold any bytes that a client sends, and must not cost the lines beside it.
fn split(text: &[u8]) -> Option<(Cow<'static, str>, Vec<Bytes>)> {
    let (mut good, mut aside) = (String::new(), Vec::new());
    for line in text.split(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) if !line.contains('\0') => {
                good.push_str(line);
                good.push('\n');
            }
            _ => aside.push(Bytes::copy_from_slice(line)),
        }
    }
    (good.trim().len() > text.len() / 2).then_some((Cow::Owned(good), aside))
}

/// An error and its causes on one line.
fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
pub(crate) mod cases;
