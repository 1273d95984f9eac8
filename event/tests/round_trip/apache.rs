//! How Apache writes, and what clients send to it.

use event::Zone;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use proptest::prelude::*;
use proptest::sample::select;

/// `ap_escape_logitem` of httpd 2.4's server/util.c.
pub fn escape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match byte {
            0x08 => out.extend(b"\\b"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x0b => out.extend(b"\\v"),
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            0x20..0x7f => out.push(*byte),
            _ => out.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    out
}

/// `ap_escape_errorlog_item`, which leaves quotes alone.
pub fn escape_error(bytes: &[u8]) -> Vec<u8> {
    let between = bytes.split(|byte| *byte == b'"').map(escape);
    between.collect::<Vec<_>>().join(&b'"')
}

/// What a client may send: any bytes, and those that have led parsers astray.
pub fn sent() -> impl Strategy<Value = Vec<u8>> {
    const SNARES: [&[u8]; 26] = [
        b" ",
        b"\"",
        b"\\",
        b"\\\"",
        b"\" \"",
        b"\", \"",
        b"\":\"",
        b"-",
        b"- -",
        b"[",
        b"]",
        b"] [",
        b" | ",
        b",",
        b"%h",
        b"\\x41",
        b"\t",
        b"\n",
        b"\0",
        b"\xff",
        "é".as_bytes(),
        b" HTTP/1.1",
        b"200",
        b" [16/Nov/2026:08:00:25 +0000] \"",
        b" 2026-11-16 08:00:25 ",
        b"[Mon Nov 23 01:49:33.005699 2026] ",
    ];
    let snares = prop::collection::vec(select(&SNARES[..]), 0..6).prop_map(|snares| snares.concat());
    prop_oneof![
        4 => snares.clone(),
        2 => prop::collection::vec(any::<u8>(), 0..12),
        2 => (prop::collection::vec(any::<u8>(), 0..4), snares).prop_map(|(any, snares)| [any, snares].concat()),
        1 => Just(b"-".to_vec()),
        1 => Just(Vec::new()),
    ]
}

pub fn strftime(format: &str, micros: i64, offset_minutes: i32) -> String {
    let offset = Offset::from_seconds(offset_minutes * 60).expect("14 hours are within the limits");
    let at = Timestamp::from_microsecond(micros).expect("it is within the calendar");
    at.to_zoned(TimeZone::fixed(offset)).strftime(format).to_string()
}

/// Bytes in ASCII, to be compared and shown.
pub fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Zones as rules, and how far they are from UTC.
pub const ZONES: [(&str, i32); 4] = [("UTC0", 0), ("IST-5:30", 330), ("<-0330>3:30", -210), ("JST-9", 540)];

pub fn zone(rule: &str) -> Zone {
    rule.parse().expect("it is a rule")
}
