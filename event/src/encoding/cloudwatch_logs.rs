//! The record that a CloudWatch Logs subscription filter puts into a stream (Amazon
//! CloudWatch Logs User Guide, "Real-time processing of log data with subscriptions").
//!
//! It holds text: bytes that are not UTF-8 become U+FFFD. AWS orders the events by their
//! times; ours stand as in the file.

use crate::id::EventId;
use crate::json;
use crate::line::Event;
use crate::time::Millis;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Our name among the subscription filters. It tells a reader that the ids are event ids
/// of ours, as decimal digits.
const FILTER: &str = "2sec";

/// Where CloudWatch Logs would have had the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    /// The AWS account, 12 digits.
    pub owner: String,
    pub log_group: String,
    pub log_stream: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    message_type: &'static str,
    owner: &'a str,
    log_group: &'a str,
    log_stream: &'a str,
    subscription_filters: [&'static str; 1],
}

#[derive(Serialize)]
struct LogEvent<'a> {
    id: String,
    timestamp: Millis,
    message: Cow<'a, str>,
}

/// Appends one of `logEvents`.
pub fn push(event: &Event, out: &mut Vec<u8>) {
    let id = u128::from_be_bytes(event.id(&event.parsed()).0);
    let shown = event.shown();
    // AWS writes 56 digits.
    let event = LogEvent { id: format!("{id:056}"), timestamp: event.time, message: String::from_utf8_lossy(&shown) };
    json::push(&event, out);
}

impl LogStream {
    /// The envelope with its events.
    pub fn envelope(&self, events: &[&[u8]]) -> Vec<u8> {
        let head = Head {
            message_type: "DATA_MESSAGE",
            owner: &self.owner,
            log_group: &self.log_group,
            log_stream: &self.log_stream,
            subscription_filters: [FILTER],
        };
        let mut text = serde_json::to_vec(&head).expect("plain data turns into JSON");
        text.pop();
        text.extend_from_slice(b",\"logEvents\":[");
        text.extend(events.join(&b','));
        text.extend_from_slice(b"]}");
        text
    }
}

/// A subscription's record, read again.
#[derive(Debug)]
pub enum Envelope<'a> {
    /// AWS asks whether the stream can be reached. It holds no lines.
    Control,
    Data(Data<'a>),
}

/// Lines of one log stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data<'a> {
    #[serde(borrow)]
    message_type: Cow<'a, str>,
    #[serde(default, borrow)]
    pub owner: Cow<'a, str>,
    #[serde(borrow)]
    pub log_group: Cow<'a, str>,
    #[serde(borrow)]
    pub log_stream: Cow<'a, str>,
    #[serde(default, borrow)]
    subscription_filters: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub log_events: Vec<Told<'a>>,
}

/// One of `logEvents`.
#[derive(Debug, Deserialize)]
pub struct Told<'a> {
    /// Digits. CloudWatch writes a text; emulators of it write a number.
    #[serde(borrow, deserialize_with = "text_or_number")]
    id: Cow<'a, str>,
    pub timestamp: Millis,
    #[serde(borrow)]
    pub message: Cow<'a, str>,
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    struct Id;

    impl<'de> Visitor<'de> for Id {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an id of a log event")
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
            Ok(Cow::Owned(text.to_owned()))
        }

        fn visit_u64<E>(self, number: u64) -> Result<Cow<'de, str>, E> {
            Ok(Cow::Owned(number.to_string()))
        }
    }

    deserializer.deserialize_any(Id)
}

impl<'a> Envelope<'a> {
    /// Reads one JSON object; `None` where it is no such record.
    pub fn read(json: &'a str) -> Option<Envelope<'a>> {
        let data: Data<'a> = serde_json::from_str(json).ok()?;
        match &*data.message_type {
            "CONTROL_MESSAGE" => Some(Envelope::Control),
            "DATA_MESSAGE" => Some(Envelope::Data(data)),
            _ => None,
        }
    }
}

impl Data<'_> {
    /// Whether an agent of ours wrote it, so that its ids are event ids.
    pub fn is_ours(&self) -> bool {
        self.subscription_filters.iter().any(|name| name == FILTER)
    }

    /// The id of one of its events: the one that our agent wrote, else of its place in
    /// CloudWatch.
    pub fn id(&self, event: &Told<'_>) -> EventId {
        let digits = event.id.bytes().all(|byte| byte.is_ascii_digit());
        match event.id.parse::<u128>() {
            Ok(id) if digits && self.is_ours() => EventId(id.to_be_bytes()),
            _ => EventId::of_place(&[self.log_group.as_bytes(), self.log_stream.as_bytes(), event.id.as_bytes()]),
        }
    }
}
