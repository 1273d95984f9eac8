//! Undoes what an attacker, or a browser, wrapped around a value.
//!
//! A layer is one code undone: percent (with `%uXXXX`, overlong UTF-8 and, in queries,
//! the plus), or else HTML entities and `\x41` escapes, or else base64 that turns out
//! to be text. One code at a time, the outermost first, so that the number of a layer
//! says how deep the payload was hidden: normal clients need one, filters fall to two.

use super::shell;
use super::views::View;
use crate::attack::Field;
use crate::limits::VIEW_BYTES_MAX;
use crate::unescape::hex;
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem;
use std::borrow::Cow;
use std::ops::Range;

/// How often a value is decoded. No server we know of decodes more than twice.
pub const LAYERS_MAX: u8 = 3;

/// A part of a request, as it was sent and then decoded layer by layer.
pub struct Layers<'a> {
    /// How often the text has been decoded.
    pub layer: u8,
    text: Cow<'a, [u8]>,
    /// Whose codes it is wrapped in.
    field: Field,
    /// The first layer of a URL's part that is wrapped in the code of URLs.
    unwrapped: Option<Vec<u8>>,
}

impl<'a> Layers<'a> {
    /// The part as it was sent.
    pub fn new(view: &View<'a>) -> Layers<'a> {
        // The value of a referer's parameter was one of a request's before.
        let field = match view.field {
            Field::Referer if view.parameter.is_some() => Field::Query,
            field => field,
        };
        let unwrapped = if field.is_in_url() { url(view.text, field) } else { None };
        Layers { layer: 0, text: Cow::Borrowed(view.text), field, unwrapped }
    }

    /// The text of this layer.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether a server works with this text. A part of a URL is what stands behind the
    /// code of URLs, which every server undoes: as it was sent it is not judged. Rules about
    /// whole URLs may be about the code itself.
    pub fn is_judged(&self) -> bool {
        self.unwrapped.is_none() || self.field == Field::Url
    }

    /// Undoes one more code. False where there is none, or deep enough.
    pub fn deeper(&mut self) -> bool {
        let deeper = match self.unwrapped.take() {
            None if self.layer >= LAYERS_MAX => None,
            None if self.layer == 0 && self.field.is_in_url() => other(&self.text, self.field),
            None => next(&self.text, self.field),
            unwrapped => unwrapped,
        };
        let Some(deeper) = deeper else { return false };
        (self.text, self.layer) = (Cow::Owned(deeper), self.layer + 1);
        true
    }
}

/// The text one layer deeper, or `None` when nothing in it is encoded.
/// Never longer than what came in, nor than [`VIEW_BYTES_MAX`].
pub fn next(text: &[u8], field: Field) -> Option<Vec<u8>> {
    url(text, field).or_else(|| other(text, field))
}

/// Undoes the code of URLs. `None` where there is none.
pub fn url(text: &[u8], field: Field) -> Option<Vec<u8>> {
    percent(bounded(text), matches!(field, Field::Query | Field::QueryKey | Field::Url))
}

/// Undoes whatever else the text is wrapped in, one code of it.
fn other(text: &[u8], field: Field) -> Option<Vec<u8>> {
    let text = bounded(text);
    overlong(text).or_else(|| escapes(text)).or_else(|| match field {
        Field::Query | Field::QueryKey => {
            base64_text(text).or_else(|| base64_within(text)).or_else(|| base64_runs(text))
        }
        Field::Path => base64_segment(text),
        _ => None,
    })
}

fn bounded(text: &[u8]) -> &[u8] {
    &text[..text.len().min(VIEW_BYTES_MAX)]
}

/// Undoes `%41`, `%u0041` and, where asked, `+`. A percent sign that starts no code
/// stays, as servers keep it.
fn percent(text: &[u8], plus: bool) -> Option<Vec<u8>> {
    if plus { memchr::memchr2(b'%', b'+', text) } else { memchr::memchr(b'%', text) }?;
    let is_code = |byte: &u8| *byte == b'%' || plus && *byte == b'+';
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.iter().position(is_code) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let used = match percent_code(rest) {
            Some((code, used)) => push(&mut out, code, used),
            None if rest[0] == b'+' => push(&mut out, Code::Byte(b' '), 1),
            None => {
                out.push(b'%');
                rest = &rest[1..];
                continue;
            }
        };
        changed = true;
        rest = &rest[used..];
    }
    out.extend_from_slice(rest);
    changed.then(|| overlong(&out).unwrap_or(out))
}

/// What a code stands for: a byte of the text, or a character of Unicode.
enum Code {
    Byte(u8),
    Char(char),
}

fn push(out: &mut Vec<u8>, code: Code, used: usize) -> usize {
    match code {
        Code::Byte(byte) => out.push(byte),
        Code::Char(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
    used
}

fn percent_code(rest: &[u8]) -> Option<(Code, usize)> {
    match rest {
        [b'%', b'u' | b'U', digits @ ..] => Some((Code::Char(hex_char(digits, 4)?), 6)),
        [b'%', high, low, ..] => Some((Code::Byte(hex(*high)? << 4 | hex(*low)?), 3)),
        _ => None,
    }
}

/// The character that exactly `count` hex digits name.
fn hex_char(digits: &[u8], count: usize) -> Option<char> {
    let digits = digits.get(..count)?;
    char::from_u32(digits.iter().try_fold(0, |n, digit| Some(n << 4 | u32::from(hex(*digit)?)))?)
}

/// Folds UTF-8 that spends more bytes than it needs: `C0 AF` is a slash to a careless
/// decoder and nothing to a careful filter.
fn overlong(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_ascii() {
        return None;
    }
    let is_lead = |byte: &u8| matches!(byte, 0xc0 | 0xc1 | 0xe0 | 0xf0);
    let mut out = Vec::new();
    let (mut rest, mut changed) = (text, false);
    while let Some(at) = rest.iter().position(is_lead) {
        let (byte, used) = overlong_code(&rest[at..]).unwrap_or((rest[at], 1));
        changed |= used > 1;
        out.extend_from_slice(&rest[..at]);
        out.push(byte);
        rest = &rest[at + used..];
    }
    if !changed {
        return None;
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// The ASCII byte that an overlong sequence stands for, and the sequence's length.
fn overlong_code(rest: &[u8]) -> Option<(u8, usize)> {
    let tail = |byte: u8| (0x80..0xc0).contains(&byte).then_some(byte & 0x3f);
    match rest {
        [lead @ (0xc0 | 0xc1), last, ..] if tail(*last).is_some() => Some(((lead & 1) << 6 | last & 0x3f, 2)),
        [0xc0, byte @ (b'/' | b'\\' | b'.'), ..] => Some((*byte, 2)),
        [0xe0, high @ (0x80 | 0x81), last, ..] => Some(((high & 1) << 6 | tail(*last)?, 3)),
        [0xf0, 0x80, high @ (0x80 | 0x81), last, ..] => Some(((high & 1) << 6 | tail(*last)?, 4)),
        _ => None,
    }
}

/// Undoes HTML entities and the escapes of JavaScript strings.
fn escapes(text: &[u8]) -> Option<Vec<u8>> {
    let first = memchr::memchr2(b'&', b'\\', text)?;
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    let mut changed = false;
    while let [byte, after @ ..] = rest {
        match entity(rest).or_else(|| script_escape(rest)) {
            Some((char, used)) => {
                rest = &rest[push(&mut out, Code::Char(char), used)..];
                changed = true;
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    changed.then_some(out)
}

/// Entities that stand in payloads. Names that need no semicolon to work are rare
/// enough in them that we ask for it.
const ENTITIES: [(&[u8], char); 17] = [
    (b"lt;", '<'),
    (b"gt;", '>'),
    (b"quot;", '"'),
    (b"apos;", '\''),
    (b"amp;", '&'),
    (b"lpar;", '('),
    (b"rpar;", ')'),
    (b"colon;", ':'),
    (b"sol;", '/'),
    (b"bsol;", '\\'),
    (b"semi;", ';'),
    (b"equals;", '='),
    (b"period;", '.'),
    (b"dollar;", '$'),
    (b"nbsp;", ' '),
    (b"Tab;", '\t'),
    (b"NewLine;", '\n'),
];

fn entity(rest: &[u8]) -> Option<(char, usize)> {
    match rest {
        [b'&', b'#', b'x' | b'X', digits @ ..] => numeric(digits, 16).map(|(char, used)| (char, used + 3)),
        [b'&', b'#', digits @ ..] => numeric(digits, 10).map(|(char, used)| (char, used + 2)),
        [b'&', name @ ..] => ENTITIES
            .iter()
            .find(|(known, _)| name.len() >= known.len() && name[..known.len()].eq_ignore_ascii_case(known))
            .map(|(known, char)| (*char, known.len() + 1)),
        _ => None,
    }
}

/// The number of a numeric entity, with up to seven digits and its semicolon if there.
/// Each entity is at least as long as the UTF-8 of its character.
fn numeric(digits: &[u8], radix: u32) -> Option<(char, usize)> {
    let digit = |byte: &u8| char::from(*byte).to_digit(radix);
    let count = digits.iter().take(7).take_while(|byte| digit(byte).is_some()).count();
    let number = digits[..count].iter().try_fold(0, |n, byte| Some(n * radix + digit(byte)?))?;
    let semicolon = usize::from(digits.get(count) == Some(&b';'));
    let char = char::from_u32(number).filter(|_| count > 0)?;
    Some((char, count + semicolon))
}

fn script_escape(rest: &[u8]) -> Option<(char, usize)> {
    match rest {
        [b'\\', b'u', b'{', digits @ ..] => {
            let count = digits.iter().take(6).take_while(|byte| hex(**byte).is_some()).count();
            let closed = count > 0 && digits.get(count) == Some(&b'}');
            closed.then(|| hex_char(digits, count)).flatten().map(|char| (char, count + 4))
        }
        [b'\\', b'x', digits @ ..] => Some((hex_char(digits, 2)?, 4)),
        [b'\\', b'u', digits @ ..] => Some((hex_char(digits, 4)?, 6)),
        _ => None,
    }
}

/// The shortest base64 that we try: nine bytes of text. Shorter words decode to
/// something printable by chance.
const BASE64_BYTES_MIN: usize = 12;

const ANY_PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, ANY_PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, ANY_PADDING);

/// Base64 that holds text. Tokens and hashes are base64 too; of twelve random bytes one
/// in 150,000 is all printable, so a value of which each byte is printable was meant
/// to be read.
fn base64_text(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() < BASE64_BYTES_MIN || !starts_as_text(text) {
        return None;
    }
    // The plus of base64 was taken for a blank.
    let text: Vec<u8> = text.iter().map(|b| if *b == b' ' { b'+' } else { *b }).collect();
    let url_safe = memchr::memchr2(b'-', b'_', &text).is_some();
    let decoded = if url_safe { BASE64_URL.decode(text) } else { BASE64.decode(text) }.ok()?;
    let printable = decoded.iter().all(|b| matches!(b, b'\t' | b'\r' | b'\n' | 0x20..=0x7e));
    printable.then_some(decoded)
}

/// A path with segments that are base64 that holds text.
fn base64_segment(path: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    for slash in memchr::memchr_iter(b'/', path).chain([path.len()]) {
        let segment = &path[at..slash];
        let is_long = segment.len() >= BASE64_BYTES_MIN;
        match is_long.then(|| base64_text(segment)).flatten() {
            Some(text) => out.get_or_insert_with(|| path[..at].to_vec()).extend(text),
            None => out.iter_mut().for_each(|out| out.extend_from_slice(segment)),
        }
        out.iter_mut().for_each(|out| out.extend_from_slice(&path[slash..path.len().min(slash + 1)]));
        at = slash + 1;
    }
    out
}

/// Commas of one text behind which base64 is looked for.
const DATA_MAX: usize = 4;

/// A text with the address of data in it (RFC 2397), or with the wrapper of PHP that is like it:
/// `data:text/plain;base64,PD9waHA=`.
fn base64_within(text: &[u8]) -> Option<Vec<u8>> {
    let name = b";base64";
    let is_begin =
        |comma: &usize| comma.checked_sub(name.len()).is_some_and(|at| text[at..*comma].eq_ignore_ascii_case(name));
    memchr::memchr_iter(b',', text).take(DATA_MAX).filter(is_begin).find_map(|comma| {
        let begin = comma + 1;
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_= ".contains(byte);
        let length = text[begin..].iter().position(|byte| !is_digit(byte)).unwrap_or(text.len() - begin);
        let decoded = base64_text(&text[begin..begin + length])?;
        Some([&text[..begin], &decoded, &text[begin + length..]].concat())
    })
}

/// A text in which words that are base64 that holds text are replaced by that. The words do not
/// overlap, so all of them are tried in the time that one as long as the text would take.
fn base64_runs(text: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let (mut at, mut kept) = (0, 0);
    while text.len() - at >= BASE64_BYTES_MIN {
        let length = text[at..].iter().position(|byte| !is_digit(*byte)).unwrap_or(text.len() - at);
        let run = at..at + length;
        at = (run.end + 1).min(text.len());
        if length < BASE64_BYTES_MIN - 2 || is_signed(text, &run) {
            continue;
        }
        let padding = text[run.end..].iter().take(2).take_while(|byte| **byte == b'=').count();
        for part in [run.clone(), longest_part(text, run.clone())] {
            let padding = if part.end == run.end { padding } else { 0 };
            let Some(decoded) = base64_text(&text[part.start..part.end + padding]) else { continue };
            let out = out.get_or_insert_default();
            out.extend_from_slice(&text[kept..part.start]);
            out.extend(decoded);
            kept = part.end + padding;
            break;
        }
        at = at.max(kept);
    }
    let mut out = out?;
    out.extend_from_slice(&text[kept..]);
    Some(out)
}

/// Whether a byte is a digit of one of the two base64 alphabets.
fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Whether a word is a part of a signed token (RFC 7515, section 7.1): JSON, parted by dots. It says
/// what the server itself once wrote: addresses of its own, names of users.
fn is_signed(text: &[u8], run: &Range<usize>) -> bool {
    let is_dot = |at: Option<usize>| at.and_then(|at| text.get(at)) == Some(&b'.');
    // `{"` in base64.
    text[run.clone()].starts_with(b"eyJ") && (is_dot(Some(run.end)) || is_dot(run.start.checked_sub(1)))
}

/// The longest part of a word between what are digits of base64 and parts of a path or of a name.
fn longest_part(text: &[u8], run: Range<usize>) -> Range<usize> {
    let mut longest = run.start..run.start;
    let mut from = run.start;
    for at in run.clone().chain([run.end]) {
        if at == run.end || matches!(text[at], b'/' | b'-' | b'_') {
            if at - from > longest.len() {
                longest = from..at;
            }
            from = at + 1;
        }
    }
    longest
}

/// Whether the first three bytes would be printable: spares most tokens the decoding.
fn starts_as_text(text: &[u8]) -> bool {
    matches!(BASE64_URL.decode(&text[..4]).or_else(|_| BASE64.decode(&text[..4])),
        Ok(head) if head.iter().all(|b| matches!(b, b'\t' | b'\r' | b'\n' | 0x20..=0x7e)))
}

/// A way in which rules look at a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// As it is.
    #[default]
    Whole,
    /// In lower case, look-alikes replaced, each SQL comment and each run of blanks one
    /// blank: `union/**/select`.
    Spaced,
    /// The same, but each SQL comment gone: `un/**/ion`.
    Joined,
    /// As a shell takes it: quotes and backslashes gone, variables that are not set nothing,
    /// `$IFS` a blank, braces and patterns replaced by what they stand for.
    Shell,
}

impl Form {
    /// All forms, in the order of their numbers.
    pub const ALL: [Form; 4] = [Form::Whole, Form::Spaced, Form::Joined, Form::Shell];

    /// The text in this form. `None` where it would be nothing new.
    pub fn of(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Form::Whole => return None,
            Form::Shell => return shell::read(text),
            Form::Spaced | Form::Joined if !has_forms(text) => return None,
            Form::Spaced | Form::Joined => {}
        }
        let plain = plain(&text.to_ascii_lowercase());
        match self {
            Form::Joined if memmem::find(&plain, b"/*").is_none() => None,
            Form::Joined => Some(single_blanks(&without_comments(&plain, b""))),
            _ => Some(single_blanks(&without_comments(&plain, b" "))),
        }
    }
}

/// Whether there are more forms of a text than the whole. Every text is asked, so
/// the loop has no branches and the compiler makes it look at many bytes at a time.
pub fn has_forms(text: &[u8]) -> bool {
    let odd = text.iter().fold(false, |odd, b| odd | !(0x20..0x7f).contains(b));
    let pairs = text.iter().zip(text.get(1..).unwrap_or_default());
    let pair = |a, b| ((a == b' ') & (b == b' ')) | ((a == b'/') & (b == b'*'));
    odd | pairs.fold(false, |found, (a, b)| found | pair(*a, *b))
}

/// Makes one blank of each run of blanks and line breaks.
fn single_blanks(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
        match out.last() {
            Some(b' ') if blank => {}
            _ => out.push(if blank { b' ' } else { byte }),
        }
    }
    out
}

/// Replaces characters that databases and browsers take for ASCII ones: full-width
/// forms, typographic quotes and dashes, the no-break space.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, ..] = rest {
        let (byte, used) = look_alike(rest).unwrap_or((*byte, 1));
        out.push(byte);
        rest = &rest[used..];
    }
    out.make_ascii_lowercase();
    out
}

fn look_alike(rest: &[u8]) -> Option<(u8, usize)> {
    match rest {
        [0xef, 0xbc, low @ 0x81..=0xbf, ..] => Some((low - 0x80 + 0x20, 3)),
        [0xef, 0xbd, low @ 0x80..=0x9e, ..] => Some((low - 0x80 + 0x60, 3)),
        [0xe2, 0x80, 0x98 | 0x99 | 0xb2, ..] => Some((b'\'', 3)),
        [0xe2, 0x80, 0x9c | 0x9d | 0xb3, ..] => Some((b'"', 3)),
        [0xc2, 0xa0, ..] => Some((b' ', 2)),
        [0xca, 0xb9 | 0xbc, ..] => Some((b'\'', 2)),
        [0xa0, ..] => Some((b' ', 1)),
        _ => None,
    }
}

/// Puts `instead` for each `/* */`. What stands in MySQL's `/*!50000 */` is code and stays.
fn without_comments(text: &[u8], instead: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = memmem::find(rest, b"/*") {
        out.extend_from_slice(&rest[..open]);
        let inside = &rest[open + 2..];
        let close = memmem::find(inside, b"*/").unwrap_or(inside.len());
        out.extend_from_slice(instead);
        if let Some(code) = inside[..close].strip_prefix(b"!") {
            out.extend_from_slice(code.trim_ascii_start().trim_start_digits());
            out.extend_from_slice(instead);
        }
        rest = inside.get(close + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

trait TrimDigits {
    fn trim_start_digits(&self) -> &[u8];
}

impl TrimDigits for [u8] {
    fn trim_start_digits(&self) -> &[u8] {
        let digits = self.iter().take_while(|b| b.is_ascii_digit()).count();
        &self[digits..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn deepest(text: &str) -> (u8, String) {
        let mut text = text.as_bytes().to_vec();
        for layer in 0..LAYERS_MAX {
            match next(&text, Field::Query) {
                Some(deeper) => text = deeper,
                None => return (layer, String::from_utf8_lossy(&text).into_owned()),
            }
        }
        (LAYERS_MAX, String::from_utf8_lossy(&text).into_owned())
    }

    #[test]
    fn each_code_is_undone() {
        for (written, layer, meant) in [
            ("shoes", 0, "shoes"),
            ("a+b%20c", 1, "a b c"),
            ("%2527", 2, "'"),
            ("%u0027%U003c", 1, "'<"),
            ("..%c0%af..%e0%80%af", 1, "../../"),
            ("..%c0%2f", 1, "../"),
            ("%26lt%3bsvg%26%2362;", 2, "<svg>"),
            (r"\x3cscript\u003e", 1, "<script>"),
            (r"al\u{65}rt \u{1f600}\u{} \u{65", 1, "alert \u{1f600}\\u{} \\u{65"),
            ("a=data:text/x;base64,JyBvciAxPTEgLS0=&b", 1, "a=data:text/x;base64,' or 1=1 --&b"),
            ("JyBvciAxPTEgLS0=", 1, "' or 1=1 --"),
            ("a:JyBvciAxPTEgLS0=,b/JyBvciAyPTIgLS0=&c", 1, "a:' or 1=1 --,b/' or 2=2 --&c"),
            ("100%", 0, "100%"),
            ("%zz", 0, "%zz"),
        ] {
            assert_eq!(deepest(written), (layer, meant.to_owned()), "{written}");
        }
    }

    #[test]
    fn a_token_is_not_taken_for_base64_text() {
        for token in [
            "iXYRDugJYim_D7HEges2E30DqjyaNRFIw6i_Ovsq",
            "user_token",
            "170890af1c363801f02ac046b617b276",
            "a:iXYRDugJYim_D7HEges2E30DqjyaNRFIw6i_Ovsq,b/170890af1c363801f02ac046b617b276",
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwOi8vbG9jYWxob3N0OjgwODAifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6y",
            "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwOi8vbG9jYWxob3N0OjgwODAifQ",
            "x8f2k.eyJyZWRpcmVjdCI6Ii8ifQ",
        ] {
            assert_eq!(next(token.as_bytes(), Field::Query), None, "{token}");
        }
    }

    #[test]
    fn base64_is_text_in_any_segment_of_a_path_and_in_a_referers_value() {
        let path = b"/go/Li4vLi4vZXRjL3Bhc3N3ZA==/x/administrators/JyBvciAxPTEgLS0=";
        assert_eq!(next(path, Field::Path).unwrap(), b"/go/../../etc/passwd/x/administrators/' or 1=1 --");
        let view = View { field: Field::Referer, parameter: Some(b"q"), text: b"a+or%201" };
        let mut layers = Layers::new(&view);
        assert!(!layers.is_judged() && layers.deeper());
        assert_eq!(layers.text(), b"a or 1");
    }

    #[test]
    fn a_comment_may_part_words_or_letters() {
        let text = b"UN/**/ION/*x*/ALL /*!50000select*/ 1";
        assert_eq!(Form::Spaced.of(text).unwrap(), b"un ion all select 1");
        assert_eq!(Form::Joined.of(text).unwrap(), b"unionall select 1");
    }

    #[test]
    fn look_alikes_become_what_they_look_like() {
        assert_eq!(Form::Spaced.of("1＇ ＯＲ ‘1’＝‘1".as_bytes()).unwrap(), b"1' or '1'='1");
    }

    proptest! {
        #[test]
        fn decoding_ends_and_never_grows(text: Vec<u8>) {
            for field in [Field::Query, Field::Path] {
                if let Some(deeper) = next(&text, field) {
                    prop_assert!(deeper.len() <= text.len().min(VIEW_BYTES_MAX));
                }
            }
        }

        #[test]
        fn words_of_base64_are_read_wherever_they_stand_and_never_grow(
            text in "(eyJhbGciOiJSUzI1NiJ9|PD9waHAg|LmFzcA|[.]|[,:]|=|[/_-]|[a-zA-Z0-9]{1,20}| |;base64,){0,12}",
        ) {
            for field in [Field::Query, Field::Path, Field::Referer] {
                prop_assert!(next(text.as_bytes(), field).is_none_or(|deeper| deeper.len() <= text.len()));
            }
        }

        #[test]
        fn text_made_of_codes_never_grows(text in r"([%&\\+#;xuU]|[0-9a-fA-F]|lt;|/\*|\*/){0,60}") {
            let mut text = text.into_bytes();
            for _ in 0..LAYERS_MAX {
                let Some(deeper) = next(&text, Field::Query) else { break };
                prop_assert!(deeper.len() <= text.len());
                text = deeper;
            }
            let spaced = Form::Spaced.of(&text);
            prop_assert_eq!(spaced.is_some(), has_forms(&text));
            prop_assert!(spaced.is_none_or(|spaced| spaced.len() <= text.len()));
        }

        #[test]
        fn percent_encoding_is_undone(text: Vec<u8>) {
            let encoded: String = text.iter().map(|b| format!("%{b:02x}")).collect();
            let expected = if text.is_empty() { None } else { Some(overlong(&text).unwrap_or(text.clone())) };
            let expected = expected.map(|mut e| { e.truncate(VIEW_BYTES_MAX / 3); e });
            prop_assume!(text.len() <= VIEW_BYTES_MAX / 3);
            prop_assert_eq!(next(encoded.as_bytes(), Field::Path), expected);
        }
    }
}
