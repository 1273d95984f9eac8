//! What producers put into a stream, and what becomes of it.

use super::*;
use crate::archive::window::Window;
use event::encoding::LogStream;
use event::frame::{Body, Header, Line};
use event::gzip::gzip;
use event::limits::LINE_BYTES_MAX;
use event::line::{Host, day_of};
use event::redact::MASK;
use event::time::DAY_MILLIS;
use event::{Classifier, Day, Document, Encoding, Format, HostKey, Origin, RedactSettings};
use md5::{Digest, Md5};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};
use std::sync::LazyLock;

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(Classifier::embedded);

/// 2026-11-16, 12:00.
const ARRIVAL: Millis = 1_794_830_400_000;

const DATED: &str = r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl/8""#;

const ATTACK: &str = r#"192.0.2.7 - - [16/Nov/2026:08:00:26 +0000] "GET /?id=1%27+union+select+user,password+from+users--+ HTTP/1.1" 200 5 "-" "-""#;

const SECRET: &str =
    r#"192.0.2.7 - - [16/Nov/2026:08:00:27 +0000] "GET /login?password=letmein HTTP/1.1" 200 5 "-" "-""#;

fn settings() -> Settings {
    Settings::new("twosec", "w".into())
}

fn decoder() -> Decoder {
    Decoder::new(&settings(), "shard-0", Some(7), Arc::default())
}

fn record(data: impl Into<Vec<u8>>) -> Record {
    Record { sequence: SequenceNumber::new("42").unwrap(), arrival: ARRIVAL, data: Bytes::from(data.into()) }
}

fn decode(data: impl Into<Vec<u8>>) -> Decoded {
    decoder().decode(record(data))
}

/// The lines of a record that must be good.
fn lines(data: impl Into<Vec<u8>>) -> Vec<String> {
    let decoded = decode(data);
    assert!(decoded.content.unreadable.is_empty(), "{:?}", decoded.content.unreadable);
    decoded.content.events.iter().map(|(_, event)| String::from_utf8(event.line.clone()).unwrap()).collect()
}

fn reasons(decoded: &Decoded) -> Vec<&str> {
    decoded.content.unreadable.iter().map(|part| part.reason.as_str()).collect()
}

fn ids(decoded: &Decoded) -> Vec<EventId> {
    decoded.content.events.iter().map(|(id, _)| *id).collect()
}

fn body(event: &Event) -> Value {
    serde_json::from_slice(&Document::of(event).body).unwrap()
}

/// All that the archive holds of a record.
fn archived(decoded: &Decoded) -> String {
    let mut window = Window::after(None);
    window.push(decoded);
    let (_, object) = window.close("twosec", "shard-0").unwrap();
    std::io::read_to_string(flate2::read::MultiGzDecoder::new(&object.bytes[..])).unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    compress_to_vec(text, CompressionLevel::Fastest)
}

pub(crate) fn subscription(message_type: &str, events: Value) -> Vec<u8> {
    // As in "Subscription filters with Amazon Kinesis Data Streams" of the CloudWatch Logs User Guide.
    let envelope = json!({
        "owner": "111111111111", "logGroup": "/var/log/apache2", "logStream": "i-0123",
        "subscriptionFilters": ["Destination"], "messageType": message_type, "logEvents": events,
    });
    gzip(envelope.to_string().as_bytes(), 6)
}

/// What our agent makes of a log, with the lines classified.
pub(crate) fn agents_events(format: Format) -> Vec<Event> {
    let host = Host { id: "4a5b".into(), name: "web-1".into() };
    let path = "/var/log/apache2/access.log";
    let life = HostKey::derive("4a5b").life(path, DATED.as_bytes());
    let origin = Arc::new(Origin {
        ruleset: CLASSIFIER.ruleset().into(),
        agent: "0.1.0".into(),
        ..Origin::new(host, path, life, format)
    });
    let long = format!("{}{}", &DATED[..60], "x".repeat(40));
    let error = "[Mon Nov 16 08:00:28.005699 2026] [php:error] [pid 788] [client 67.43.156.143:26325] hello";
    let mut events = Vec::new();
    let (mut offset, mut day) = (0, Some(Day(20_000)));
    for (line, length) in
        [("undated", 7), (DATED, DATED.len()), (ATTACK, ATTACK.len()), (error, error.len()), ("odd", 3), (&long, 5_000)]
    {
        let parsed = origin.parse(line.as_bytes());
        day = day_of(&parsed, day);
        let attack = parsed.access().and_then(|access| CLASSIFIER.classify(access));
        let (time, cut) = (parsed.time().map_or(ARRIVAL - 9, |own| own.at), length == 5_000);
        let length = length as u64;
        events.push(Event { length, cut, day, attack, ..Event::new(origin.clone(), offset, line.into(), time) });
        offset += length + 1;
    }
    events
}

fn encoded(encoding: &Encoding, events: &[Event]) -> Vec<u8> {
    let part = |event| {
        let mut part = Vec::new();
        encoding.push(event, &mut part);
        part
    };
    let parts: Vec<Vec<u8>> = events.iter().map(part).collect();
    encoding.record(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>(), "key", 3)
}

pub(crate) fn framed(events: &[Event]) -> Vec<u8> {
    let mut body = Body::default();
    for event in events {
        let parsed = event.parsed();
        let attack = parsed.access().and_then(|access| CLASSIFIER.judge(access));
        body.push(Line {
            offset: event.offset,
            length: event.length,
            line: &event.line,
            cut: event.cut,
            time: event.time,
            tells_time: parsed.time().is_some(),
            day: event.day,
            attack: attack.as_ref(),
            ..Line::default()
        });
    }
    let header = Header::new(Origin::clone(&events[0].origin), Some(Day(20_000)));
    body.encode(&header, 0, events.len(), 3)
}

fn documents(decoded: &Decoded) -> Vec<(EventId, Option<Day>, String)> {
    assert_eq!(reasons(decoded), [""; 0]);
    let documents = decoded.content.events.iter().map(|(_, event)| Document::of(event));
    documents.map(|document| (document.id, document.day, String::from_utf8(document.body).unwrap())).collect()
}

#[test]
fn records_of_ecs_documents_give_the_ids_days_and_documents_that_frames_give() {
    for format in ["auto", "combined", "error", r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %D"#] {
        let events = agents_events(format.parse().unwrap());
        let expected = documents(&decode(framed(&events)));
        assert_eq!(expected.len(), events.len());
        for encoding in [Encoding::Ecs, Encoding::Kpl] {
            assert_eq!(documents(&decode(encoded(&encoding, &events))), expected, "{encoding:?}, {format}");
        }
    }
}

#[test]
fn cloudwatch_logs_records_of_ours_give_the_ids_lines_and_verdicts_that_frames_give() {
    // Such a record tells neither host, path, place and length of a line nor the day before
    // it, and no facts of the client. The verdict is found again.
    let stream = LogStream { owner: "1".into(), log_group: "g".into(), log_stream: "s".into() };
    let events = agents_events(Format::Auto);
    let (frame, record) = (decode(framed(&events)), decode(encoded(&Encoding::CloudwatchLogs(stream), &events)));
    let told = |decoded: &Decoded| -> Vec<_> {
        let told = |(id, event): &(EventId, Event)| (*id, event.line.clone(), event.time, event.attack.clone());
        decoded.content.events.iter().map(told).collect()
    };
    assert_eq!(told(&record), told(&frame));
    let days = |decoded: &Decoded| decoded.content.events.iter().map(|(_, event)| event.day).collect::<Vec<_>>();
    assert_eq!((days(&record)[0], &days(&record)[1..]), (None, &days(&frame)[1..]));
    assert!(record.content.events[2].1.attack.is_some());
}

#[test]
fn a_line_of_our_agent_keeps_its_own_day_however_old_it_is() {
    let mut events = agents_events(Format::Auto);
    let old = DATED.replace("2026", "2019");
    events.truncate(1);
    events[0].line = old.into_bytes();
    events[0].time = events[0].parsed().time().unwrap().at;
    let stream = LogStream { owner: "1".into(), log_group: "g".into(), log_stream: "s".into() };
    for encoding in [Encoding::Ecs, Encoding::CloudwatchLogs(stream)] {
        let decoded = decode(encoded(&encoding, &events));
        assert_eq!(decoded.content.events[0].1.day, "2019-11-16".parse().ok(), "{encoding:?}");
    }
}

#[test]
fn what_an_agent_left_unmasked_is_masked_here() {
    let mut event = agents_events(Format::Auto).remove(0);
    let line = SECRET.replace("letmein", "letmein%27+union+select+1,2--+");
    event.line = line.into_bytes();
    event.length = event.line.len() as u64;
    event.attack = CLASSIFIER.classify(event.parsed().access().unwrap());
    assert!(format!("{:?}", event.attack).contains("1,2--"));
    let decoded = decode(encoded(&Encoding::Ecs, &[event.clone()]));
    assert_eq!(ids(&decoded), [event.id(&event.parsed())]);
    let all = format!("{}{}", archived(&decoded), body(&decoded.content.events[0].1));
    assert!(all.contains(MASK) && !all.contains("letmein") && !all.contains("1,2--"), "{all}");
}

#[test]
fn a_control_message_holds_nothing_and_is_no_trouble() {
    let decoder = decoder();
    let message = json!([{"id": "", "timestamp": 1_432_826_855_000_i64, "message": "CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."}]);
    let decoded = decoder.decode(record(subscription("CONTROL_MESSAGE", message)));
    assert!(decoded.content.events.is_empty() && decoded.content.unreadable.is_empty());
    assert_eq!((decoder.meter.records_of(Kind::Control), decoder.meter.records_of(Kind::Lines)), (1, 0));
    let archived = archived(&decoded);
    assert_eq!(archived.lines().count(), 2, "it has its place in the chain");
    assert!(archived.contains("a control message of CloudWatch Logs"), "{archived}");
}

#[test]
fn a_subscriptions_record_is_lines_that_are_classified() {
    let events = json!([
        {"id": "31953106606966983378809025079804211143289615424298221568", "timestamp": 1_794_816_025_100_i64, "message": ATTACK},
        {"id": "31953106606966983378809025079804211143289615424298221569", "timestamp": 1_794_816_025_200_i64, "message": "undated"},
    ]);
    let decoded = decode(subscription("DATA_MESSAGE", events.clone()));
    assert_eq!(reasons(&decoded), [""; 0]);
    let [(id, attack), (_, undated)] = &decoded.content.events[..] else { panic!("{decoded:?}") };
    let document = body(attack);
    assert_eq!(document["event"]["original"], ATTACK);
    assert_eq!(document["attack"]["categories"], json!(["sqli"]));
    assert_eq!(document["host"]["name"], "i-0123");
    assert_eq!(document["agent"]["type"], "twosec-processor");
    assert_eq!(document["log"]["file"]["path"], "/var/log/apache2");
    assert_eq!(document["cloud"], json!({"provider": "aws", "account": {"id": "111111111111"}}));
    assert_eq!((undated.time, undated.day), (1_794_816_025_200, "2026-11-16".parse().ok()));
    let again = decoder().decode(Record {
        sequence: SequenceNumber::new("43").unwrap(),
        ..record(subscription("DATA_MESSAGE", events.clone()))
    });
    assert_eq!(ids(&again), ids(&decoded), "CloudWatch delivers at least once");
    // So what comes again on another day goes into the same index.
    let tomorrow = Record { arrival: ARRIVAL + DAY_MILLIS, ..record(subscription("DATA_MESSAGE", events)) };
    let days = |decoded: &Decoded| decoded.content.events.iter().map(|(_, event)| event.day).collect::<Vec<_>>();
    assert_eq!(days(&decoder().decode(tomorrow)), days(&decoded));
    assert_eq!(document["event"]["id"], json!(id));
}

#[test]
fn an_emulator_of_cloudwatch_may_count_log_events_by_numbers() {
    let events = |id: Value| json!([{"id": id, "timestamp": 1_794_816_025_100_i64, "message": ATTACK}]);
    let decoded = [json!(50), json!("50")].map(|id| decode(subscription("DATA_MESSAGE", events(id))));
    assert_eq!(body(&decoded[0].content.events[0].1)["event"]["original"], ATTACK);
    assert_eq!(ids(&decoded[0]), ids(&decoded[1]));
}

#[test]
fn objects_of_other_producers_show_line_time_host_and_file() {
    let fluent_bit =
        json!({"date": 1_794_816_025.5, "log": format!("{DATED}\n"), "hostname": "web-2", "file": "/a.log"});
    let vector = json!({"file": "/a.log", "host": "web-2", "message": DATED, "source_type": "file", "timestamp": "2026-11-16T08:00:25.5Z"});
    let filebeat = json!({"@timestamp": "2026-11-16T09:00:25.5+01:00", "message": DATED, "host": {"name": "web-2"}, "log": {"offset": 5, "file": {"path": "/a.log"}}});
    let ecs = json!({"@timestamp": "2026-11-16T08:00:25.5Z", "event.original": DATED, "message": "x", "host.name": "web-2", "log.file.path": "/a.log"});
    let journald = json!({"MESSAGE": DATED, "host": "web-2", "path": "/a.log"});
    for object in [&fluent_bit, &vector, &filebeat, &ecs, &journald] {
        let decoded = decode(object.to_string());
        let (_, event) = &decoded.content.events[0];
        let document = body(event);
        assert_eq!(document["event"]["original"], DATED, "{object}");
        assert_eq!((&document["host"]["name"], &document["log"]["file"]["path"]), (&json!("web-2"), &json!("/a.log")));
        assert_eq!(document["@timestamp"], "2026-11-16T08:00:25.000Z", "the line's own time");
        assert_eq!(event.record.as_deref(), Some(&*object.to_string()), "the object is kept as it was");
        let undated = object.to_string().replace("[16/Nov/2026:08:00:25 +0000] ", "");
        let decoded = decode(undated.clone());
        let expected = if *object == journald { "2026-11-16T12:00:00.000Z" } else { "2026-11-16T08:00:25.500Z" };
        assert_eq!(body(&decoded.content.events[0].1)["@timestamp"], expected, "{undated}");
    }
}

#[test]
fn an_object_without_a_line_is_its_own_line() {
    let object = r#"{ "level":"info", "token":"abc", "n":1.0, "log":{"a":1} }"#;
    let decoded = decode(object);
    let (_, event) = &decoded.content.events[0];
    let line = String::from_utf8(event.line.clone()).unwrap();
    assert!(line.starts_with(&format!(r#"{{ "level":"info", "token":"{MASK}"#)), "{line}");
    assert!(line.ends_with(r#"", "n":1.0, "log":{"a":1} }"#), "{line}");
    assert_eq!(event.record, None);
}

#[test]
fn lines_of_a_log_format_that_is_json_are_requests() {
    let format = r#"{ "time": "%t", "client": "%a", "request": "%r", "status": "%>s" }"#.parse().unwrap();
    let foreign = ForeignSettings { format, ..ForeignSettings::default() };
    let decoder = Decoder::new(&Settings { foreign, ..settings() }, "shard-0", None, Arc::default());
    let line = r#"{ "time": "[16/Nov/2026:08:00:25 +0000]", "client": "192.0.2.7", "request": "GET /?id=1%27+union+select+1,2--+ HTTP/1.1", "status": "200" }"#;
    let document = body(&decoder.decode(record(line)).content.events[0].1);
    assert_eq!(document["attack"]["categories"], json!(["sqli"]), "{document}");
    assert_eq!(document["source"]["ip"], "192.0.2.7");
}

#[test]
fn lines_and_objects_are_told_apart_packed_or_not() {
    let object = json!({ "message": "in an object" }).to_string();
    let pretty = serde_json::to_string_pretty(&json!({"log": "pretty"})).unwrap();
    let text = format!(
        "{DATED}\n\n  indented\r\n{object}{object} more\n{pretty}\n{{no object\n{{\"open\":\n{object}\n{pretty}"
    );
    let expected = [
        DATED,
        "  indented\r",
        "in an object",
        "in an object",
        " more",
        "pretty",
        "{no object",
        "{\"open\":",
        "in an object",
        "{",
        "  \"log\": \"pretty\"",
        "}",
    ];
    for data in [text.clone().into_bytes(), gzip(text.as_bytes(), 6), zstd(text.as_bytes())] {
        assert_eq!(lines(data), expected);
    }
    let aggregate =
        Encoding::Kpl.record(&[text.as_bytes(), &gzip(b"packed", 6), &framed(&agents_events(Format::Auto))], "k", 1);
    let lines = lines(aggregate);
    assert_eq!((&lines[..12], &*lines[12], &*lines[14]), (&expected.map(str::to_owned)[..], "packed", DATED));
}

#[test]
fn a_secret_is_nowhere_in_archive_and_document() {
    let told = json!({"message": SECRET, "request": {"Password": "letmein", "headers": ["Cookie: token=letmein"]}, "again": SECRET});
    let odd = json!({"secret": ["letmein", {"a": "letmein"}]});
    let events = json!([
        {"id": "1", "timestamp": 1, "message": SECRET}, {"id": "2", "timestamp": 1, "message": told.to_string()},
        {"id": "3", "timestamp": 1, "message": odd.to_string() + "\n"},
    ]);
    let aggregate = Encoding::Kpl.record(&[SECRET.as_bytes(), told.to_string().as_bytes()], "k", 1);
    for data in [
        SECRET.into(),
        told.to_string().into(),
        odd.to_string().into(),
        subscription("DATA_MESSAGE", events),
        aggregate,
    ] {
        let decoded = decode(data.clone());
        assert_eq!(reasons(&decoded), [""; 0]);
        let mut all = archived(&decoded);
        all.extend(decoded.content.events.iter().map(|(_, event)| body(event).to_string()));
        assert!(all.contains(MASK) && !all.contains("letmein"), "{all}");
    }
}

#[test]
fn originals_stay_in_the_archive_alone_where_that_is_wanted() {
    let redact = RedactSettings { archive: false, ..RedactSettings::default() };
    let decoder = Decoder::new(&Settings { redact, ..settings() }, "shard-0", None, Arc::default());
    for text in [SECRET.to_owned(), json!({"message": SECRET}).to_string(), json!({"secret": ["letmein"]}).to_string()]
    {
        let decoded = decoder.decode(record(text));
        assert!(archived(&decoded).contains("letmein"));
        let document = body(&decoded.content.events[0].1).to_string();
        assert!(document.contains(MASK) && !document.contains("letmein"), "{document}");
    }
}

#[test]
fn a_line_takes_the_day_of_its_arrival_where_its_own_cannot_be() {
    let day = |line: &str| decode(line).content.events.last().unwrap().1.day.unwrap().to_string();
    assert_eq!(day(&DATED.replace("16/Nov", "14/Nov")), "2026-11-14");
    assert_eq!(day(&DATED.replace("16/Nov", "01/Nov")), "2026-11-16", "older than 14 days");
    assert_eq!(day(&DATED.replace("16/Nov", "17/Nov")), "2026-11-16", "of tomorrow");
    assert_eq!(day("undated"), "2026-11-16");
    assert_eq!(day(&format!("{}\nundated", DATED.replace("16/Nov", "14/Nov"))), "2026-11-14");
    let late = Record { arrival: 1_794_873_000_000, ..record(DATED.replace("16/Nov/2026:08", "17/Nov/2026:00")) };
    assert_eq!(decoder().decode(late).content.events[0].1.day, "2026-11-17".parse().ok(), "half an hour ahead");
}

#[test]
fn ids_of_foreign_lines_are_those_of_their_places_in_the_stream() {
    let first = ids(&decode("a\na"));
    assert_eq!(first, ids(&decode("a\na")));
    let other = |decoder: Decoder, record: Record| ids(&decoder.decode(record));
    let decoder_of = |stream: &str, shard: &str, created| {
        Decoder::new(&Settings::new(stream, "w".into()), shard, created, Arc::default())
    };
    let all = [
        first,
        other(decoder(), Record { sequence: SequenceNumber::new("43").unwrap(), ..record("a\na") }),
        other(decoder_of("twosec", "shard-1", Some(7)), record("a\na")),
        other(decoder_of("other", "shard-0", Some(7)), record("a\na")),
        other(decoder_of("twosec", "shard-0", Some(8)), record("a\na")),
        ids(&decode(Encoding::Kpl.record(&[b"a", b"a"], "k", 1))),
    ]
    .concat();
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!((distinct.len(), all.len()), (12, 12));
}

#[test]
fn a_foreign_line_is_the_same_document_when_it_comes_back_from_the_archive() {
    let told = json!({"message": ATTACK, "time": 5, "host": "h"}).to_string();
    let decoded = decode(format!("{SECRET}\n{told}\nundated"));
    let rows = archived(&decoded);
    let again: Vec<Event> = rows.lines().filter_map(|row| Event::from_archive(row.as_bytes())).collect();
    let events: Vec<Event> = decoded.content.events.iter().map(|(_, event)| event.clone()).collect();
    assert_eq!(again, events);
    assert_eq!(again.iter().map(|event| Document::of(event).id).collect::<Vec<_>>(), ids(&decoded));
}

#[test]
fn a_damaged_aggregate_is_a_dead_letter_with_its_reason() {
    let good = Encoding::Kpl.record(&[b"a", b"b"], "k", 1);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let decoded = decode(bad.clone());
    assert_eq!(reasons(&decoded), ["the KPL aggregate's MD5 is not that of its contents"]);
    assert_eq!(decoded.content.unreadable[0].data, bad);
    assert!(decoded.content.events.is_empty());
}

#[test]
fn an_aggregate_that_breaks_off_counts_as_far_as_it_can_be_read() {
    // Field 3 of the message is a record, whose own field 3 is its data.
    let message = [&b"\x1a\x06\x1a\x04good"[..], b"\x1a\x02\x08\x00", b"\x1a\x05\x1a\x03too", b"\x1a\x7fcut"].concat();
    let sealed = [&b"\xf3\x89\x9a\xc2"[..], &message, &Md5::digest(&message)].concat();
    let decoder = decoder();
    let decoded = decoder.decode(record(sealed));
    let expected = [
        "record 2 of the aggregate: it has no data",
        "behind record 3 of the aggregate: the KPL aggregate is no protobuf message of records",
    ];
    assert_eq!(reasons(&decoded), expected);
    let lines: Vec<_> = decoded.content.events.iter().map(|(_, event)| event.line.clone()).collect();
    assert_eq!(lines, [b"good".to_vec(), b"too".to_vec()]);
    assert_eq!([Kind::Lines, Kind::Unreadable].map(|kind| decoder.meter.records_of(kind)), [2, 2]);
}

#[test]
fn a_bad_record_of_an_aggregate_does_not_stop_the_good_ones() {
    let nested = Encoding::Kpl.record(&[b"x"], "k", 1);
    let parts: [&[u8]; 5] = [b"good", b"\xff\xfe", &nested, &gzip(b"cut", 1)[..9], b"good too"];
    let decoded = decode(Encoding::Kpl.record(&parts, "k", 1));
    let no_text = "the record is no frame, no KPL aggregate and no text in UTF-8, packed or not";
    let reasons = reasons(&decoded);
    assert_eq!(
        reasons[..2],
        [format!("record 2 of the aggregate: {no_text}"), format!("record 3 of the aggregate: {no_text}")]
    );
    assert!(reasons[2].starts_with("record 4 of the aggregate: the gzip data are damaged"), "{reasons:?}");
    assert_eq!(decoded.content.unreadable.iter().map(|part| &part.data[..]).collect::<Vec<_>>(), parts[1..4]);
    assert_eq!(decoded.content.events.len(), 2);
    let rows = archived(&decoded);
    assert_eq!(rows.lines().count(), 1 + 2 + 3, "the archive has them all");
}

#[test]
fn a_line_that_is_no_text_does_not_cost_the_lines_beside_it() {
    let bad = [&b"GET /\xff"[..], b"a\0b"];
    let text = [ATTACK.as_bytes(), bad[0], DATED.as_bytes(), bad[1], br#"{"log":"x"}"#].join(&b'\n');
    for data in [text.clone(), gzip(&text, 1)] {
        let decoded = decode(data);
        assert_eq!(decoded.content.events.len(), 3);
        assert_eq!(reasons(&decoded), ["the line is no text in UTF-8"; 2]);
        assert_eq!(decoded.content.unreadable.iter().map(|part| &part.data[..]).collect::<Vec<_>>(), bad);
        assert_eq!(archived(&decoded).lines().count(), 1 + 3 + 2, "the archive has them all");
    }
}

#[test]
fn what_is_no_text_is_archived_and_dead_lettered_as_it_is() {
    for data in [&b"\xff\xfe\x00"[..], b"a\0b", &zstd(b"\xff"), &gzip(b"\xff", 1), &gzip(b"\x00", 1)] {
        let decoded = decode(data);
        assert_eq!(decoded.content.unreadable[0].data, data);
        assert!(decoded.content.events.is_empty());
    }
    for nothing in [&b""[..], b"\n \r\n", &gzip(b"", 1), &Encoding::Kpl.record(&[], "k", 1)] {
        let decoded = decode(nothing);
        assert!(decoded.content.events.is_empty() && decoded.content.unreadable.is_empty());
        assert!(archived(&decoded).contains("the record holds no events"));
    }
}

#[test]
fn no_record_takes_more_memory_than_a_frame_may() {
    let zeros = vec![b' '; DECODED_BYTES_MAX + 1];
    let bomb = format!("the record unpacks to more than {DECODED_BYTES_MAX} bytes");
    for packed in [gzip(&zeros, 9), zstd(&zeros)] {
        assert_eq!(reasons(&decode(packed)), [&*bomb]);
    }
    let half = gzip(&zeros[..DECODED_BYTES_MAX / 2 + 1], 9);
    let decoded = decode(Encoding::Kpl.record(&[&half, &half], "k", 1));
    assert_eq!(decoded.content.unreadable.len(), 1, "the records of an aggregate share the room");
    // Each bomb costs half of what the one before it did.
    let bomb = gzip(&zeros, 9);
    let decoded = decode(Encoding::Kpl.record(&[&bomb, &bomb, &gzip(b"a line\n", 1), &half], "k", 1));
    let told = |part: usize, most: usize| {
        format!("record {part} of the aggregate: the record unpacks to more than {most} bytes")
    };
    let (first, second) = (told(1, DECODED_BYTES_MAX), told(2, DECODED_BYTES_MAX / 2));
    assert_eq!(reasons(&decoded)[..2], [&*first, &*second]);
    assert_eq!((decoded.content.unreadable.len(), decoded.content.events.len()), (3, 1));
    let many = "a\n".repeat(LINES_MAX);
    assert_eq!(decode(many.clone()).content.events.len(), LINES_MAX);
    let decoded = decode(format!("{many}b"));
    assert_eq!(reasons(&decoded), ["the record holds more than 50000 lines"]);
    assert!(decoded.content.events.is_empty());
}

#[test]
fn no_text_is_searched_again_and_again() {
    // Each of these took minutes where the search began anew at each line, object or blank.
    let objects = "{\"a\":[1,2,3]}".repeat(LINES_MAX) + &" ".repeat(9 << 20);
    assert_eq!(decode(objects).content.events.len(), LINES_MAX);
    assert_eq!(lines("\n".repeat(9 << 20) + "a"), ["a"]);
    let open = "{\"a\":[0,\n".repeat(LINES_MAX / 2) + &"{},\n".repeat(LINES_MAX / 4);
    assert_eq!(decode(open).content.events.len(), LINES_MAX);
}

#[test]
fn a_line_that_is_too_long_is_cut_and_says_so() {
    let line = format!("{DATED}{}", "é".repeat(LINE_BYTES_MAX / 2));
    let object = json!({ "a": line }).to_string();
    for (text, whole) in
        [(line.clone(), line.len()), (object.clone(), object.len()), (json!({"log": line}).to_string(), 0)]
    {
        let decoded = decode(text);
        let (_, event) = &decoded.content.events[0];
        assert!(event.cut && event.line.len() <= LINE_BYTES_MAX && std::str::from_utf8(&event.line).is_ok());
        assert!(whole == 0 || event.length == whole as u64);
    }
}

#[test]
fn it_is_counted_what_records_were() {
    let decoder = decoder();
    decoder.decode(record(framed(&agents_events(Format::Auto))));
    decoder.decode(record(encoded(&Encoding::Kpl, &agents_events(Format::Auto))));
    decoder.decode(record("{\"log\":\"a\"}\nb\nc"));
    decoder.decode(record("\0"));
    let counts: Vec<_> = Kind::ALL.iter().map(|kind| (kind.name(), decoder.meter.records_of(*kind))).collect();
    let expected = [
        ("frame", 1),
        ("ecs", 6),
        ("cloudwatch_logs", 0),
        ("control", 0),
        ("objects", 1),
        ("lines", 1),
        ("unreadable", 1),
    ];
    assert_eq!(counts, expected);
}

/// Bytes that are like what producers write, more or less.
pub(crate) fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let text = "(?s)([{}\\[\\]\":,\n a0é]|\"log\"|\"message\"|\"messageType\"|\"DATA_MESSAGE\"|\"logEvents\"|password=x|\\{\"twosec_frame\":1){0,30}";
    let text =
        prop_oneof![text.prop_map(String::into_bytes), any::<Vec<u8>>(), Just(framed(&agents_events(Format::Auto)))];
    let packed = (text, 0..4).prop_map(|(text, packing)| match packing {
        0 => gzip(&text, 1),
        1 => zstd(&text),
        _ => text,
    });
    let damaged = (packed, any::<prop::sample::Index>(), any::<u8>(), 0..4).prop_map(|(mut data, at, byte, damage)| {
        if damage == 0 && !data.is_empty() {
            let at = at.index(data.len());
            data[at] = byte;
        }
        data
    });
    (prop::collection::vec(damaged, 1..4), any::<bool>()).prop_map(|(parts, aggregated)| {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        if aggregated { Encoding::Kpl.record(&parts, "k", 1) } else { parts[0].to_vec() }
    })
}

proptest! {
    #[test]
    fn every_record_is_events_or_nothing_or_unreadable_and_stands_in_the_archive(data in any_record()) {
        let decoded = decode(data.clone());
        prop_assert!(decoded.content.unreadable.iter().all(|part| !part.reason.is_empty()));
        let nothing = decoded.content.events.is_empty() && decoded.content.unreadable.is_empty();
        let rows = archived(&decoded);
        let expected = if nothing { 1 } else { decoded.content.events.len() + decoded.content.unreadable.len() };
        prop_assert_eq!(rows.lines().count(), 1 + expected);
        let again: Vec<Event> = rows.lines().filter_map(|row| Event::from_archive(row.as_bytes())).collect();
        prop_assert_eq!(again.len(), decoded.content.events.len());
        for (event, (id, first)) in again.iter().zip(&decoded.content.events) {
            prop_assert_eq!(Document::of(event), Document::of(first));
            prop_assert_eq!(Document::of(event).id, *id);
        }
        prop_assert_eq!(ids(&decode(data)), ids(&decoded));
    }
}
