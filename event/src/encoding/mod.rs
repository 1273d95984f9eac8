//! Records for those who already have consumers: other encodings than our frame.
//!
//! Events are appended one by one as parts, so that a caller can see how large a record
//! grows; a range of parts then becomes a record.

pub mod cloudwatch_logs;
pub mod ecs;
pub mod kpl;

pub use cloudwatch_logs::LogStream;

use crate::document::Document;
use crate::gzip::gzip;
use crate::line::Event;

/// How events are written into a stream record, other than as our frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoding {
    /// gzip'd NDJSON of ECS documents.
    Ecs,
    /// The record that a CloudWatch Logs subscription puts.
    CloudwatchLogs(LogStream),
    /// A KPL aggregated record of ECS documents, which KCL consumers unpack by
    /// themselves. It is not compressed.
    Kpl,
}

impl Encoding {
    /// Appends the part of one event to `out`.
    pub fn push(&self, event: &Event, out: &mut Vec<u8>) {
        match self {
            Encoding::Ecs => {
                out.extend(Document::of(event).body);
                out.push(b'\n');
            }
            Encoding::Kpl => out.extend(Document::of(event).body),
            Encoding::CloudwatchLogs(_) => cloudwatch_logs::push(event, out),
        }
    }

    /// Makes a record of parts. `partition_key` is the record's, which KPL repeats inside;
    /// `level` is gzip's (1 to 9).
    pub fn record(&self, parts: &[&[u8]], partition_key: &str, level: u8) -> Vec<u8> {
        match self {
            Encoding::Ecs => gzip(&parts.concat(), level),
            Encoding::CloudwatchLogs(stream) => gzip(&stream.envelope(parts), level),
            Encoding::Kpl => kpl::aggregate(parts, partition_key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::id::HostKey;
    use crate::line::{Host, Origin};
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::io::Read;
    use std::sync::Arc;

    fn event(line: &[u8], offset: u64) -> Event {
        let path = "/var/log/apache2/access.log";
        let life = HostKey::derive("4a5b").life(path, b"first");
        let origin = Origin::new(Host { id: "4a5b".into(), name: "web-1".into() }, path, life, Format::Combined);
        Event::new(Arc::new(origin), offset, line.to_vec(), 7)
    }

    fn record(encoding: &Encoding, events: &[Event]) -> Vec<u8> {
        let parts: Vec<Vec<u8>> = events
            .iter()
            .map(|event| {
                let mut part = Vec::new();
                encoding.push(event, &mut part);
                part
            })
            .collect();
        encoding.record(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>(), "k1", 3)
    }

    fn gunzip(bytes: &[u8]) -> String {
        let mut text = String::new();
        GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
        text
    }

    fn stream() -> LogStream {
        LogStream { owner: "123456789012".into(), log_group: "/dvwa/apache".into(), log_stream: "web-1".into() }
    }

    #[test]
    fn ecs_records_are_documents_a_line_each() {
        let events = [event(b"odd", 0), event(b"odd too", 4)];
        let text = gunzip(&record(&Encoding::Ecs, &events));
        let ids: Vec<_> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"]["id"].clone()).collect();
        assert_eq!(ids, events.map(|event| json!(event.id(&event.parsed()))));
    }

    #[test]
    fn a_cloudwatch_logs_record_reads_as_those_of_a_subscription_do() {
        let event = event(b"say \"hi\"", 0);
        let text = gunzip(&record(&Encoding::CloudwatchLogs(stream()), &[event.clone(), event.clone()]));
        let id = u128::from_be_bytes(event.id(&event.parsed()).0);
        let one = format!(r#"{{"id":"{id:056}","timestamp":7,"message":"say \"hi\""}}"#);
        let expected = format!(
            r#"{{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"/dvwa/apache","logStream":"web-1","subscriptionFilters":["2sec"],"logEvents":[{one},{one}]}}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_kpl_record_is_the_aggregate_that_amazons_text_describes() {
        let got = Encoding::Kpl.record(&[b"ab", b"c"], "k1", 3);
        let mut expected = b"\xF3\x89\x9A\xC2\x0a\x02k1\x1a\x06\x08\x00\x1a\x02ab\x1a\x05\x08\x00\x1a\x01c".to_vec();
        // md5sum of the 21 bytes after the magic number.
        let md5: [u8; 16] = md5_of(&expected[4..]);
        expected.extend(md5);
        assert_eq!(got, expected);
    }

    fn md5_of(bytes: &[u8]) -> [u8; 16] {
        use md5::{Digest, Md5};
        Md5::digest(bytes).into()
    }

    proptest! {
        #[test]
        fn any_line_can_be_encoded(lines in prop::collection::vec(any::<Vec<u8>>(), 1..10)) {
            let events: Vec<Event> = lines.iter().enumerate().map(|(at, line)| event(line, at as u64)).collect();
            let text = gunzip(&record(&Encoding::Ecs, &events));
            prop_assert_eq!(text.lines().count(), lines.len());
            let envelope: Value = serde_json::from_str(&gunzip(&record(&Encoding::CloudwatchLogs(stream()), &events))).unwrap();
            for (told, line) in envelope["logEvents"].as_array().unwrap().iter().zip(&lines) {
                let expected = String::from_utf8_lossy(line);
                prop_assert_eq!(told["message"].as_str(), Some(&*expected));
            }
            prop_assert!(record(&Encoding::Kpl, &events).len() > 20);
        }
    }
}
