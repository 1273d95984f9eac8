//! Undoes what Apache did to a header before it wrote it into the log.

use std::borrow::Cow;

/// Turns a field of an Apache log back into the bytes that the client sent.
///
/// Apache writes `\b \n \r \t \v \\ \"` and, for all other bytes outside printable
/// ASCII, `\xhh` with two lower-case hex digits (httpd 2.4, server/util.c,
/// `ap_escape_logitem`). This is one pass from left to right: `\\x41` is the four
/// bytes `\x41` that a client sent, not an `A`. A backslash before anything else,
/// which Apache never writes, stays as it is.
pub fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', field) else {
        return Cow::Borrowed(field);
    };
    let mut out = Vec::with_capacity(field.len());
    out.extend_from_slice(&field[..first]);
    let mut rest = &field[first..];
    while let Some((byte, used)) = one(rest) {
        out.push(byte);
        rest = &rest[used..];
    }
    Cow::Owned(out)
}

/// How many bytes of `field` stand for the first `bytes` that the client sent.
pub fn escaped_len(field: &[u8], bytes: usize) -> usize {
    let Some(first) = memchr::memchr(b'\\', field).filter(|first| *first < bytes) else {
        return bytes.min(field.len());
    };
    let mut at = first;
    for _ in first..bytes {
        at += one(&field[at..]).map_or(0, |(_, used)| used);
    }
    at
}

/// The first byte that `rest` stands for, and how many bytes of it say so.
fn one(rest: &[u8]) -> Option<(u8, usize)> {
    let simple = |byte| Some((byte, 2));
    match rest {
        [] => None,
        [b'\\', b'x', high, low, ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => Some((high << 4 | low, 4)),
            _ => Some((b'\\', 1)),
        },
        [b'\\', b'"', ..] => simple(b'"'),
        [b'\\', b'\\', ..] => simple(b'\\'),
        [b'\\', b'n', ..] => simple(b'\n'),
        [b'\\', b'r', ..] => simple(b'\r'),
        [b'\\', b't', ..] => simple(b'\t'),
        [b'\\', b'v', ..] => simple(0x0b),
        [b'\\', b'b', ..] => simple(0x08),
        [byte, ..] => Some((*byte, 1)),
    }
}

/// The value of a hex digit of either case.
pub fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The two hex digits of a byte, in lower case.
pub(crate) fn hex_digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0xf].map(|nibble| b"0123456789abcdef"[usize::from(nibble)])
}

/// Apache's own rule, as far as a request can show it.
#[cfg(test)]
pub(crate) fn escape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &b in bytes {
        match b {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x0b => out.extend(b"\\v"),
            0x08 => out.extend(b"\\b"),
            0x20..=0x7e => out.push(b),
            _ => out.extend(format!("\\x{b:02x}").bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_escaped_escape_is_not_undone_twice() {
        assert_eq!(unescape(br"\\x41\x41").as_ref(), br"\x41A");
    }

    #[test]
    fn what_apache_never_writes_stays_as_it_is() {
        assert_eq!(unescape(br"a\qb\x4\xzz\").as_ref(), br"a\qb\x4\xzz\");
    }

    proptest! {
        #[test]
        fn what_was_sent_comes_back(bytes: Vec<u8>) {
            prop_assert_eq!(unescape(&escape(&bytes)).into_owned(), bytes);
        }
    }
}
