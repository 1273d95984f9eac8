//! The parts of a request that an attacker writes, each looked at by itself.

use crate::attack::Field;
use crate::format::Access;
use crate::limits::VIEW_BYTES_MAX;
use crate::unescape::{hex, unescape};
use std::borrow::Cow;

/// Bytes of one target or referer that are split into views. Apache itself takes no
/// request line over 8,190 bytes unless it was told to.
const SOURCE_BYTES_MAX: usize = 4 * VIEW_BYTES_MAX;

/// Pairs of a query that are looked at each by itself, as many as PHP takes (`max_input_vars`).
const PAIRS_MAX: usize = 1000;

/// One part of a request, as the client sent it, at most [`VIEW_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    pub field: Field,
    /// The name of the query parameter, still encoded.
    pub parameter: Option<&'a [u8]>,
    pub text: &'a [u8],
}

/// The field of a line that a view is a part of.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// As Apache wrote it.
    pub written: &'a [u8],
    /// As the client sent it; the view lies in here.
    pub sent: &'a [u8],
}

/// Calls `look` with every view of a request.
pub fn each(access: &Access<'_>, mut look: impl FnMut(View<'_>)) {
    each_with_source(access, |view, _| look(view));
}

/// Calls `look` with every view but the last, the target as a whole: for whoever has no rule
/// that looks at it, and no time to unescape it twice.
pub fn each_part(access: &Access<'_>, mut look: impl FnMut(View<'_>)) {
    parts_with_source(access, &mut |view, _| look(view));
}

/// Calls `look` with every view of a request, and with where it is from. The target as a whole
/// comes last, so that it changes no other view's number.
pub fn each_with_source(access: &Access<'_>, mut look: impl FnMut(View<'_>, Source<'_>)) {
    parts_with_source(access, &mut look);
    if let Some(target) = access.request.as_ref().and_then(|request| request.target) {
        whole(Field::Url, target, &mut look);
    }
}

fn parts_with_source(access: &Access<'_>, look: &mut impl FnMut(View<'_>, Source<'_>)) {
    if let Some(request) = &access.request {
        match request.target {
            Some(target) => each_of_url(target, [Field::Path, Field::QueryKey, Field::Query], look),
            None => whole(Field::RequestLine, request.line, look),
        }
        if let Some(method) = request.method.filter(|method| !is_usual(method)) {
            whole(Field::Method, method, look);
        }
    }
    if let Some(path) = access.path {
        whole(Field::Path, path, look);
    }
    if let Some(query) = access.query {
        each_of_url(query, [Field::Path, Field::QueryKey, Field::Query], look);
    }
    if let Some(agent) = access.user_agent {
        whole(Field::UserAgent, agent, look);
    }
    if let Some(referer) = access.referer {
        each_of_url(referer, [Field::Referer; 3], look);
    }
    if let Some(user) = access.user {
        whole(Field::User, user, look);
    }
    if let Some((host, _)) = access.vhost.filter(|_| access.is_vhost_claimed) {
        let sent = sent(host);
        emit(Field::Header, Some(b"Host"), &sent, Source { written: host, sent: &sent }, look);
    }
    for (name, value) in access.request_headers() {
        let sent = sent(value);
        emit(Field::Header, Some(name.as_bytes()), &sent, Source { written: value, sent: &sent }, look);
    }
}

/// Methods that say nothing by themselves.
fn is_usual(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"POST" | b"PUT" | b"PATCH" | b"DELETE" | b"OPTIONS")
}

fn sent(field: &[u8]) -> Cow<'_, [u8]> {
    unescape(&field[..field.len().min(SOURCE_BYTES_MAX)])
}

/// Looks at a field as one view.
fn whole(field: Field, written: &[u8], look: &mut impl FnMut(View<'_>, Source<'_>)) {
    let sent = sent(written);
    emit(field, None, &sent, Source { written, sent: &sent }, look);
}

fn emit<'a>(
    field: Field,
    parameter: Option<&'a [u8]>,
    text: &'a [u8],
    source: Source<'a>,
    look: &mut impl FnMut(View<'_>, Source<'_>),
) {
    if !text.is_empty() {
        look(View { field, parameter, text: &text[..text.len().min(VIEW_BYTES_MAX)] }, source);
    }
}

/// Splits at the first `?`, then at each `&` and the first `=` between. The fields name
/// path, key and value. What looks like no key is looked at with its value again: `=` stands
/// in conditions, too (`?x' and '1'='1`). What follows the pairs that are taken apart is one value.
fn each_of_url(written: &[u8], [path, key, value]: [Field; 3], look: &mut impl FnMut(View<'_>, Source<'_>)) {
    let url = &*sent(written);
    let source = Source { written, sent: url };
    let question = memchr::memchr(b'?', url);
    emit(path, None, &url[..question.unwrap_or(url.len())], source, look);
    let Some(question) = question else { return };
    for (at, pair) in url[question + 1..].splitn(PAIRS_MAX + 1, |b| *b == b'&').enumerate() {
        if at == PAIRS_MAX {
            emit(value, None, pair, source, look);
            break;
        }
        match memchr::memchr(b'=', pair) {
            Some(equals) => {
                emit(key, None, &pair[..equals], source, look);
                emit(value, Some(&pair[..equals]), &pair[equals + 1..], source, look);
                if is_odd_key(&pair[..equals]) {
                    emit(value, None, pair, source, look);
                }
            }
            None => emit(key, None, pair, source, look),
        }
    }
}

/// Whether a key has what no name of a parameter has, as it is or in the code of URLs. One that
/// holds a pair of its own, or a name before a host, always has: what of it is masked may not
/// change which parts a request has, since a finding's place counts them.
fn is_odd_key(key: &[u8]) -> bool {
    key.iter().any(|byte| is_odd(*byte)) || memchr::memchr_iter(b'%', key).any(|at| is_odd_code(&key[at + 1..]))
}

fn is_odd(byte: u8) -> bool {
    matches!(byte, b'\'' | b'"' | b'<' | b'>' | b'(' | b')' | b';' | b'|' | b'`' | b' ' | b'{' | b'@')
}

/// Whether what follows a `%` is the code of such a byte, or of an `=`, however deep.
fn is_odd_code(mut code: &[u8]) -> bool {
    let is_whole = !code.starts_with(b"25");
    while let Some(deeper) = code.strip_prefix(b"25") {
        code = deeper;
    }
    let Some((high, low)) = code.first_chunk().and_then(|[high, low]| hex(*high).zip(hex(*low))) else { return false };
    let byte = high << 4 | low;
    byte == b'=' || is_whole && is_odd(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn views(line: &str) -> Vec<(Field, Option<String>, String)> {
        let parsed = Format::Combined.parse(line.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut all = Vec::new();
        each(parsed.access().unwrap(), |view| all.push((view.field, view.parameter.map(text), text(view.text))));
        all
    }

    #[test]
    fn a_request_falls_into_its_parts() {
        let line = r#"192.0.2.7 - bob [16/Nov/2026:08:00:25 +0000] "TRACE /a/b?q=x=\"y\"&flag&= HTTP/1.1" 200 5 "http://h/p?r=1" "curl/7""#;
        let part = |field, parameter: Option<&str>, text: &str| (field, parameter.map(str::to_owned), text.to_owned());
        assert_eq!(
            views(line),
            [
                part(Field::Path, None, "/a/b"),
                part(Field::QueryKey, None, "q"),
                part(Field::Query, Some("q"), "x=\"y\""),
                part(Field::QueryKey, None, "flag"),
                part(Field::Method, None, "TRACE"),
                part(Field::UserAgent, None, "curl/7"),
                part(Field::Referer, None, "http://h/p"),
                part(Field::Referer, None, "r"),
                part(Field::Referer, Some("r"), "1"),
                part(Field::User, None, "bob"),
                part(Field::Url, None, "/a/b?q=x=\"y\"&flag&="),
            ]
        );
    }

    #[test]
    fn what_looks_like_no_key_is_looked_at_with_its_value() {
        let line = r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?a%27+or+b=1&c[]=2 HTTP/1.1" 200 5 "-" "-""#;
        let values: Vec<_> = views(line).into_iter().filter(|view| view.0 == Field::Query).map(|view| view.2).collect();
        assert_eq!(values, ["1", "a%27+or+b=1", "2"]);
    }

    #[test]
    fn a_key_that_holds_a_secret_is_odd_before_and_after_it_is_masked() {
        for key in ["password%3D%3b%26b", "a%26password%253D%27", "http://u:;@h", "http:%2f%2fu:p%40h"] {
            assert!(is_odd_key(key.as_bytes()), "{key}");
        }
        for key in ["password%3DREDACTED-0123456789ab%26b", "http://u:REDACTED-0123456789ab@h"] {
            assert!(is_odd_key(key.as_bytes()), "{key}");
        }
        for key in ["a", "a[b]", "a%5Bb%5D", "a%2527", "a.b-c_d", "%", "%2"] {
            assert!(!is_odd_key(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn a_request_line_without_a_target_is_looked_at_whole() {
        let line = r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "\x16\x03\x01" 400 5 "-" "-""#;
        assert_eq!(views(line), [(Field::RequestLine, None, "\u{16}\u{3}\u{1}".to_owned())]);
    }

    #[test]
    fn what_follows_a_thousand_pairs_is_looked_at_as_one() {
        let line = format!(
            r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?{}b=1&c=2&d HTTP/1.1" 200 5 "-" "-""#,
            "a&".repeat(PAIRS_MAX - 1)
        );
        let views = views(&line);
        let part = |field, parameter: Option<&str>, text: &str| (field, parameter.map(str::to_owned), text.to_owned());
        assert_eq!(views[1], part(Field::QueryKey, None, "a"));
        let last =
            [part(Field::QueryKey, None, "b"), part(Field::Query, Some("b"), "1"), part(Field::Query, None, "c=2&d")];
        assert_eq!(views[PAIRS_MAX..PAIRS_MAX + 3], last);
    }

    #[test]
    fn a_long_value_is_looked_at_in_its_first_bytes() {
        let line = format!(
            r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?q={} HTTP/1.1" 200 5 "-" "-""#,
            "a".repeat(900_000)
        );
        assert!(views(&line).iter().all(|(_, _, text)| text.len() <= VIEW_BYTES_MAX));
    }
}
