//! What the targets have in common: an event around a line, and what must hold of it.

use event::format::{Access, ErrorLine};
use event::line::Host;
use event::redact::{KEYS, Mask, masked, secrets};
use event::{Document, Event, Format, HostKey, Origin, Parsed, Redactor};
use std::sync::{Arc, LazyLock};

static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| Redactor::new(KEYS, [7; 32]).shortening_addresses());

/// A line of a file in this format, as if it had just been read.
pub fn event(format: &Format, line: &[u8]) -> Event {
    let host = Host { id: "4a5b".to_owned(), name: "web-1".to_owned() };
    let life = HostKey::derive(&host.id).life("/var/log/access.log", b"first");
    let origin = Origin::new(host, "/var/log/access.log", life, format.clone());
    Event::new(Arc::new(origin), 512, line.to_vec(), 1_794_816_025_000)
}

/// What input holds before and behind its first line feed.
pub fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let feed = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (&input[..feed], input.get(feed + 1..).unwrap_or_default())
}

/// Reads a line in a format and masks it.
pub fn read(format: &Format, line: &[u8]) -> Vec<Mask> {
    let parsed = format.parse(line);
    fields(&parsed).into_iter().for_each(|field| assert_within(line, field));
    let masks = REDACTOR.masks(line, &parsed);
    assert_masks(line, &masks);
    secrets(&masked(line, &masks));
    masks
}

/// As [`read`], and makes of the line all that the programs make of it.
pub fn walk(format: &Format, line: &[u8]) {
    let masks = read(format, line);
    document(&Event { masks, ..event(format, line) });
}

/// Makes a document and a row of the archive of an event; both are JSON on one line.
pub fn document(event: &Event) {
    let document = Document::of(event);
    assert!(serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&document.body).is_ok());
    assert!(!document.body.contains(&b'\n'));
    let mut row = Vec::new();
    event.archive(document.id, &event.origin.to_json(), &mut row);
    assert_eq!(row.iter().position(|byte| *byte == b'\n'), Some(row.len() - 1));
    assert_eq!(Event::from_archive(&row).as_ref(), Some(event));
}

/// All texts of a line that are slices of it.
fn fields<'a>(parsed: &Parsed<'a>) -> Vec<&'a [u8]> {
    match parsed {
        Parsed::Access(access) => of_access(access),
        Parsed::Error(error) => of_error(error),
        Parsed::TailHeader(file) => vec![file],
        Parsed::Odd(_) => Vec::new(),
    }
}

fn of_access<'a>(access: &Access<'a>) -> Vec<&'a [u8]> {
    let parts = access.request.iter().flat_map(|request| [request.method, request.target, request.version]);
    let host = access.vhost.map(|(host, _)| host);
    let time = access.time.map(|time| time.written);
    let own = [host, access.user, time, access.path, access.query, access.referer, access.user_agent];
    parts.chain(own).flatten().chain(access.others.iter().map(|(_, value)| *value)).collect()
}

fn of_error<'a>(error: &ErrorLine<'a>) -> Vec<&'a [u8]> {
    let _ = (error.code(), error.php(), error.modsecurity());
    let (client, source) = (error.client.map(|(text, _)| text), error.source.map(|(text, _)| text));
    let own =
        [error.before, error.module, error.level, client, error.status, source, Some(error.message), error.referer];
    own.into_iter().flatten().chain(error.others.iter().map(|(_, value)| *value)).collect()
}

fn assert_within(line: &[u8], field: &[u8]) {
    let (line, field) = (line.as_ptr_range(), field.as_ptr_range());
    assert!(line.start <= field.start && field.end <= line.end, "a field is a part of its line");
}

/// Masks come in order, lie in the line, and cut no character in two.
fn assert_masks(line: &[u8], masks: &[Mask]) {
    let mut from = 0;
    for mask in masks {
        assert!(from <= mask.at.start && mask.at.start <= mask.at.end && mask.at.end <= line.len());
        from = mask.at.end;
    }
    if let Ok(text) = std::str::from_utf8(line) {
        assert!(masks.iter().all(|mask| text.is_char_boundary(mask.at.start) && text.is_char_boundary(mask.at.end)));
        assert!(std::str::from_utf8(&masked(line, masks)).is_ok());
    }
}
