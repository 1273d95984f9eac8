//! Records that are no frames, or nearly. The first byte says how much of one is given: none
//! of it, the gzip around the text, or the header line as well.

#![no_main]

use event::frame::{Body, Header, Line, decode};
use event::gzip::gzip;
use event::{Document, Format};
use libfuzzer_sys::fuzz_target;
use std::io::Write;
use std::sync::LazyLock;

static HEADER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let origin = (*event_fuzz::event(&Format::Auto, b"").origin).clone();
    let rules =
        [("sqli-x".to_owned(), serde_json::from_str(r#"["sqli","high",90]"#).expect("these are a rule's facts"))];
    let header = Header { rules: rules.into(), ..Header::new(origin, None) };
    serde_json::to_vec(&header).expect("plain data turns into JSON")
});

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    let record = match kind % 3 {
        0 => rest.to_vec(),
        1 => gzip(rest, 1),
        _ => {
            let mut text = HEADER.clone();
            text.push(b'\n');
            text.write_all(rest).expect("a Vec takes it");
            gzip(&text, 1)
        }
    };
    let Ok((header, events)) = decode(&record) else { return };
    let mut body = Body::default();
    for event in &events {
        let _ = Document::for_index(event);
        event_fuzz::document(event);
        let (offset, length, line, masks) = (event.offset >> 1, event.length >> 1, &event.line[..], &event.masks[..]);
        body.push(Line { offset, length, line, masks, time: event.time, ..Line::default() });
    }
    let (_, again) = decode(&body.encode(&header, 0, events.len(), 1)).expect("a frame can be opened");
    assert!(again.iter().zip(&events).all(|(one, other)| one.line == other.line && one.masks == other.masks));
});
