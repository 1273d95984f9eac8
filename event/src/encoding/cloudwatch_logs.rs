//! The record that a CloudWatch Logs subscription filter puts into a stream (Amazon
//! CloudWatch Logs User Guide, "Real-time processing of log data with subscriptions").
//!
//! It holds text: bytes that are not UTF-8 become U+FFFD. AWS orders the events by their
//! times; ours stand as in the file.

use crate::line::Event;
use crate::time::Millis;
use serde::Serialize;
use std::borrow::Cow;

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
    serde_json::to_writer(out, &event).expect("plain data turns into JSON, and a Vec takes it");
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
