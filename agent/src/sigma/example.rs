//! A request that patterns match, made from the patterns.

use super::detection::{Atom, Place};
use super::literals::parse;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Bytes of what is made from one pattern.
const SAMPLE_BYTES_MAX: usize = 512;

/// A line of a log that all of the patterns match which must be found. Whether those that must
/// not be found stay out is left to who tries it.
pub fn line(atoms: &[Atom]) -> Result<String, String> {
    let of = |place: Place| -> Result<Option<Vec<u8>>, String> {
        let mut patterns: Vec<&Atom> = atoms.iter().filter(|atom| atom.place == place && !atom.not).collect();
        // What begins the text stands first, and what ends it last.
        patterns.sort_by_key(|atom| (!atom.regex.starts_with('^'), atom.regex.ends_with('$')));
        let samples = patterns.iter().map(|atom| sample(&atom.regex)).collect::<Result<Vec<_>, _>>()?;
        Ok((!samples.is_empty()).then(|| samples.concat()))
    };
    let text = |place, default: &str| of(Place::Subject(place)).map(|text| text.unwrap_or_else(|| default.into()));
    let method = String::from_utf8_lossy(&text("http.request.method", "GET")?).to_ascii_uppercase();
    let status = String::from_utf8_lossy(&text("http.response.status_code", "200")?).into_owned();
    let path = text("url.path", "")?;
    let whole = [text("url.original", "")?, of(Place::Keywords)?.unwrap_or_default()].concat();
    let target = match (path.is_empty(), whole.first()) {
        (false, None) => path,
        (false, Some(_)) => [&path[..], b"?", &whole].concat(),
        (true, Some(b'/')) => whole,
        (true, _) => [b"/?", &whole[..]].concat(),
    };
    let (agent, referer) = (text("user_agent", "Mozilla/5.0")?, text("http.request.referrer", "-")?);
    let user = String::from_utf8_lossy(&text("user.name", "-")?).into_owned();
    let (target, agent, referer) = (as_sent(&target), as_logged(&agent), as_logged(&referer));
    Ok(format!(
        r#"192.0.2.7 - {user} [16/Nov/2026:08:00:25 +0000] "{method} {target} HTTP/1.1" {status} 512 "{referer}" "{agent}""#
    ))
}

/// A text that a pattern matches.
fn sample(regex: &str) -> Result<Vec<u8>, String> {
    let hir = parse(regex).ok_or_else(|| format!("`{regex}` is no regex of ours: it may look ahead or behind"))?;
    let mut text = Vec::new();
    push(&hir, &mut text);
    text.truncate(SAMPLE_BYTES_MAX);
    Ok(text)
}

fn push(hir: &Hir, text: &mut Vec<u8>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.extend_from_slice(&literal.0),
        HirKind::Class(class) => text.push(member(class)),
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min.min(SAMPLE_BYTES_MAX as u32) {
                if text.len() < SAMPLE_BYTES_MAX {
                    push(&repetition.sub, text);
                }
            }
        }
        HirKind::Capture(capture) => push(&capture.sub, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| push(part, text)),
        HirKind::Alternation(parts) => parts.first().into_iter().for_each(|part| push(part, text)),
    }
}

/// A byte of a class; a letter or a digit, if it has one.
fn member(class: &Class) -> u8 {
    let has = |byte: &u8| match class {
        Class::Bytes(class) => class.iter().any(|range| (range.start()..=range.end()).contains(byte)),
        Class::Unicode(class) => class.iter().any(|range| (range.start()..=range.end()).contains(&char::from(*byte))),
    };
    let likely = (b'a'..=b'z').chain(b'0'..=b'9').chain(b'A'..=b'Z');
    likely.chain(b'!'..=b'~').chain(0..=255).find(has).unwrap_or_default()
}

/// As a client sends it: what no target may hold is in the code of URLs.
fn as_sent(target: &[u8]) -> String {
    let byte = |byte: &u8| match byte {
        b'"' | b'\\' | 0..=0x20 | 0x7f.. => format!("%{byte:02x}"),
        _ => char::from(*byte).to_string(),
    };
    target.iter().map(byte).collect()
}

/// As Apache writes it (httpd 2.4, server/util.c, `ap_escape_logitem`).
fn as_logged(header: &[u8]) -> String {
    let byte = |byte: &u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(*byte)),
        0..=0x1f | 0x7f.. => format!("\\x{byte:02x}"),
        _ => char::from(*byte).to_string(),
    };
    header.iter().map(byte).collect()
}
