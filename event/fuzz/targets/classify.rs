//! A verdict is the same where the line was read and where its frame is opened.

#![no_main]

use event::frame::{Body, Header, Line, decode};
use event::{Classifier, Format};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(Classifier::embedded);

fuzz_target!(|line: &[u8]| {
    let event = event_fuzz::event(&Format::Auto, line);
    let parsed = event.parsed();
    let verdict = parsed.access().and_then(|access| CLASSIFIER.judge(access));
    let expected = parsed.access().and_then(|access| CLASSIFIER.classify(access));
    let mut body = Body::default();
    body.push(Line {
        offset: event.offset,
        length: event.length,
        line,
        time: parsed.time().map_or(event.time, |time| time.at),
        tells_time: parsed.time().is_some(),
        attack: verdict.as_ref(),
        ..Line::default()
    });
    let header = Header::new((*event.origin).clone(), None);
    let (_, events) = decode(&body.encode(&header, 0, 1, 1)).expect("a frame can be opened");
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0].line[..], events[0].offset), (line, event.offset));
    assert_eq!(events[0].attack, expected);
    if let Some(access) = parsed.access() {
        let _ = CLASSIFIER.explain(access);
    }
});
