//! Lines of a value: does a server or a mailer take one of them for a header of the sender's?
//!
//! What breaks out of a header ends its value with a line break, and the next header follows at
//! once: an empty line ends all headers (RFC 9112, section 2.1; RFC 5322, section 2.1). So a
//! value stands before the break, and what follows has the form that this header must have to
//! work. In a letter, a pasted mail or a question about headers, sentences and empty lines come
//! first, and `Location: Berlin` leads nowhere.

use crate::domain;
use std::ops::Range;

/// Lines of one value that are read.
const LINES_MAX: usize = 16;

/// Words of a value that may stand before the break: a name, the subject of a mail.
const WORDS_MAX: usize = 6;

/// Headers that do something whatever their value is, and that no sentence begins with.
const TELLING: [&[u8]; 9] = [
    b"content-security-policy",
    b"set-cookie",
    b"set-cookie2",
    b"strict-transport-security",
    b"transfer-encoding",
    b"www-authenticate",
    b"x-frame-options",
    b"x-http-method-override",
    b"x-xss-protection",
];

/// Parts of names that testers give to headers, or that other headers of this kind have.
const INVENTED: [&[u8]; 9] =
    [b"inject", b"crlf", b"evil", b"hack", b"test-", b"-test", b"-header", b"x-forwarded", b"x-original"];

/// What a page of the sender's own begins with, behind all headers.
const PAGES: [&[u8]; 2] = [b"<html", b"<script"];

/// Where in a text in lower case a header of HTTP begins that the text should not hold, or what
/// comes behind all headers.
pub fn http_header(text: &[u8]) -> Option<Range<usize>> {
    let mut lines = Lines { text, at: 0 };
    let value = lines.next().map(|line| &text[line]).filter(|value| is_value(value))?;
    let mut is_body = false;
    for line in lines.take(LINES_MAX) {
        let (start, content) = (line.start, text[line.clone()].trim_ascii());
        if content.is_empty() {
            is_body = true;
            continue;
        }
        let is_last = text[line.end..].trim_ascii().is_empty();
        let header = label(content);
        let is_found = begins_message(content)
            || match header {
                Some((name, told)) => is_http(name, told, value) || is_last && is_any(content, name, told, value),
                None => is_body && !is_apart(value) && PAGES.iter().any(|tag| content.starts_with(tag)),
            };
        if is_found {
            return Some(start..line.end);
        }
        header?;
    }
    None
}

/// Where in a text in lower case a header of mail begins that sends it to others or makes
/// another mail of it.
pub fn mail_header(text: &[u8]) -> Option<Range<usize>> {
    let mut lines = Lines { text, at: 0 };
    let value = lines.next().map(|line| &text[line]).filter(|value| is_value(value))?;
    for line in lines.take(LINES_MAX) {
        let (name, told) = label(text[line.clone()].trim_ascii())?;
        let has_address = || memchr::memchr(b'@', told).is_some();
        let is_found = match name {
            b"bcc" => has_address(),
            b"cc" | b"to" | b"from" | b"reply-to" | b"sender" => has_address() && !is_apart(value),
            b"subject" => memchr::memchr(b'@', value).is_some() && !is_apart(value),
            b"mime-version" => told.starts_with(b"1"),
            b"content-type" => told.starts_with(b"multipart/") || told.starts_with(b"text/"),
            _ => false,
        };
        if is_found {
            return Some(line);
        }
    }
    None
}

/// The places of a text's lines, without what ends them: CR LF, one of the two, or a character
/// whose last byte is one and of which careless code keeps nothing else (U+560A, U+560D).
struct Lines<'t> {
    text: &'t [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.at > self.text.len() {
            return None;
        }
        let rest = &self.text[self.at..];
        let end = (0..rest.len()).find(|at| line_break(&rest[*at..]) > 0);
        let line = self.at..self.at + end.unwrap_or(rest.len());
        self.at = match end {
            Some(end) => self.at + end + line_break(&rest[end..]),
            None => self.text.len() + 1,
        };
        Some(line)
    }
}

/// Bytes of the line break at the begin of `text`; 0 where there is none.
fn line_break(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        // Written the wrong way round, it is still meant as one.
        [b'\n', b'\r', rest @ ..] if rest.first() != Some(&b'\n') => 2,
        [b'\r' | b'\n', ..] => 1,
        [0xe5, 0x98, 0x8a | 0x8d, 0xe5, 0x98, 0x8a | 0x8d, ..] => 6,
        [0xe5, 0x98, 0x8a | 0x8d, ..] => 3,
        _ => 0,
    }
}

/// Whether blanks part it.
fn is_apart(text: &[u8]) -> bool {
    text.trim_ascii().contains(&b' ')
}

/// Whether a text may be the begin of a header's value: a word or a few, the name of a browser,
/// a path; and not a sentence, nor the first entry of a list (`From: Berlin`).
fn is_value(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    if is_product(text) {
        return true;
    }
    let mut words = text.split(|byte| *byte == b' ');
    let ends_sentence = |word: &[u8]| word.last().is_some_and(|byte| b".,:;?!".contains(byte));
    match is_apart(text) {
        false => !text.ends_with(b":") || text.len() == 1,
        true => text.split(|byte| *byte == b' ').count() <= WORDS_MAX && !words.any(ends_sentence),
    }
}

/// Whether a text begins with a program and its version (RFC 9110, section 10.1.5), as user agents do.
fn is_product(text: &[u8]) -> bool {
    let name = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    name > 0 && matches!(&text[name..], [b'/', digit, ..] if digit.is_ascii_digit())
}

/// The name and the value of a line that has the form of a header.
fn label(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
    let is_name =
        (1..=40).contains(&name.len()) && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    (is_name && !value.is_empty()).then_some((name, value))
}

/// Whether a line begins an answer or a request of its own.
fn begins_message(line: &[u8]) -> bool {
    let has_version = |rest: &[u8]| rest.starts_with(b"http/") && rest.get(5).is_some_and(u8::is_ascii_digit);
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(version), Some(status), _) if has_version(version) => {
            status.len() == 3 && status.iter().all(u8::is_ascii_digit)
        }
        (Some(b"get" | b"post" | b"head" | b"put" | b"delete" | b"options"), Some(_), Some(version)) => {
            has_version(version)
        }
        _ => false,
    }
}

/// Whether a header has the form that it must have to work.
fn is_http(name: &[u8], told: &[u8], before: &[u8]) -> bool {
    let begins = |words: &[&[u8]]| words.iter().any(|word| told.starts_with(word));
    let is_number = || told[0].is_ascii_digit();
    let first = told.split(|byte| *byte == b' ').next().unwrap_or(told);
    let has = |byte: u8| first.contains(&byte);
    match name {
        _ if TELLING.contains(&name) || name.starts_with(b"access-control-") => true,
        b"location" | b"content-location" | b"referer" => is_address(first),
        b"content-type" => has(b'/'),
        b"content-length" | b"age" => told.iter().all(u8::is_ascii_digit),
        b"content-disposition" => begins(&[b"attachment", b"inline", b"form-data"]),
        b"refresh" => is_number() && told.contains(&b';'),
        b"link" => told[0] == b'<',
        b"host" => {
            (before.is_empty() || before.contains(&b'/')) && !is_apart(told) && (has(b'.') || first == b"localhost")
        }
        b"cookie" => has(b'='),
        b"connection" => begins(&[b"close", b"keep-alive", b"upgrade"]),
        b"user-agent" | b"server" => is_product(told),
        b"via" => begins(&[b"1.0 ", b"1.1 ", b"2 ", b"http/"]),
        b"status" => told.len() >= 3 && told[..3].iter().all(u8::is_ascii_digit),
        b"authorization" => begins(&[b"basic ", b"bearer ", b"digest ", b"negotiate "]),
        b"cache-control" => begins(&[b"no-", b"max-age", b"public", b"private", b"s-maxage", b"must-"]),
        b"expires" | b"last-modified" => told == b"0" || told == b"-1" || told.get(3) == Some(&b','),
        _ => is_invented(name) && !is_apart(told),
    }
}

/// Whether a name is one that no standard knows, given for the server's or a tester's own use. One
/// dash and a word may be a word of its own: `x-ray`.
fn is_invented(name: &[u8]) -> bool {
    let has = |part: &&[u8]| memchr::memmem::find(name, part).is_some();
    INVENTED.iter().any(has) || name.starts_with(b"x-") && name[2..].contains(&b'-')
}

/// Whether a header of any name is all that a path or nothing at all goes on with.
fn is_any(line: &[u8], name: &[u8], told: &[u8], before: &[u8]) -> bool {
    let is_close = || line[name.len()..].starts_with(b":") && line.get(name.len() + 1) != Some(&b' ');
    let may_be = before.is_empty() || before.starts_with(b"/") || is_close() && name.contains(&b'-');
    may_be && !is_apart(told) && !told.starts_with(b"//")
}

/// Whether it leads somewhere.
fn is_address(text: &[u8]) -> bool {
    let begins = [&b"/"[..], b"\\", b"javascript:", b"data:"].iter().any(|begin| text.starts_with(begin));
    let host = || {
        let end = text.iter().position(|byte| b"/:?#".contains(byte)).unwrap_or(text.len());
        std::str::from_utf8(&text[..end]).ok().and_then(domain::parts).is_some()
    };
    begins || memchr::memmem::find(text, b"://").is_some() || host()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_line_that_is_the_header_is_where_it_is_found() {
        assert_eq!(http_header(b"en\r\nset-cookie: a=b\r\n"), Some(4..19));
        assert_eq!(mail_header(b"a@e.example\nbcc: b@e.example"), Some(12..28));
        assert_eq!(http_header("a嘊嘍set-cookie:a=b".as_bytes()), Some(7..21));
        assert_eq!(http_header(b"mozilla/5.0 (x11; linux x86_64)\r\nset-cookie: a=b"), Some(33..48));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in r"([\r\n:; /嘊嘍a@<]|to|bcc|set-cookie|location|http/1|get|x-){0,40}") {
            for found in [http_header(text.as_bytes()), mail_header(text.as_bytes())].into_iter().flatten() {
                prop_assert!(found.start < found.end && found.end <= text.len());
            }
        }
    }
}
