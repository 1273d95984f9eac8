//! Records into events, told apart by their bytes.

use crate::receive::{Record, SequenceNumber};
use bytes::Bytes;
use event::frame::{self, FrameError};
use event::{Event, EventId, Millis};
use std::error::Error;

/// A record and what it turned out to hold.
#[derive(Debug)]
pub struct Decoded {
    pub sequence: SequenceNumber,
    pub arrival: Millis,
    pub content: Content,
}

/// What a record holds.
#[derive(Debug)]
pub enum Content {
    Events(Vec<(EventId, Event)>),
    /// Nothing that this program can read. It is archived as it is, and dead-lettered.
    Unreadable {
        data: Bytes,
        reason: String,
    },
}

impl Decoded {
    /// Opens a record. Never fails: one bad record must not stop its shard.
    pub fn of(record: Record) -> Decoded {
        let content = match frame::decode(&record.data) {
            Ok((_, events)) => Content::Events(events.into_iter().map(identified).collect()),
            Err(error) => Content::Unreadable { data: record.data, reason: reason(&error) },
        };
        Decoded { sequence: record.sequence, arrival: record.arrival, content }
    }

    /// Events in it.
    pub fn events(&self) -> &[(EventId, Event)] {
        match &self.content {
            Content::Events(events) => events,
            Content::Unreadable { .. } => &[],
        }
    }
}

fn identified(event: Event) -> (EventId, Event) {
    (event.id(&event.parsed()), event)
}

/// An error and its causes on one line.
fn reason(error: &FrameError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
