//! Secrets in log lines: found, and masked before anything leaves the host.
//!
//! A value whose key names a secret (`password=...`, `user_token=...`, `PHPSESSID=...`) is
//! replaced, and so is the password of a URL (`https://name:secret@host`), in the request, in
//! referers, cookies and messages alike. The key stays, and so does the count of equal
//! secrets: the mask is `REDACTED-` and 12 hex digits of a keyed hash, so the same password
//! tried for fifty names is one mask fifty times. Who has only the masks cannot try out
//! passwords: the hash's key stays on the host.
//!
//! Ids are made from a line's place and time, so no setting here changes them.

use crate::format::{Access, Parsed, argument};
use crate::unescape::hex_digits;
use hmac::{Hmac, Mac};
use memchr::memmem;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::LazyLock;

/// Keys whose values are secrets unless a user says otherwise, in lower case. The last ones
/// are those that give access to objects of AWS (Signature Version 2 and 4, query string
/// authentication) and Google Cloud Storage (signed URLs).
pub const KEYS: [&str; 37] = [
    "password",
    "passwd",
    "pwd",
    "pass",
    "passphrase",
    "password_new",
    "password_conf",
    "password_current",
    "new_password",
    "old_password",
    "secret",
    "client_secret",
    "token",
    "user_token",
    "access_token",
    "refresh_token",
    "id_token",
    "csrf_token",
    "authorization",
    "proxy-authorization",
    "session",
    "sessionid",
    "session_id",
    "phpsessid",
    "jsessionid",
    "api_key",
    "api-key",
    "apikey",
    "x-api-key",
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-goog-signature",
    "x-goog-credential",
];

/// What a mask begins with; [`MASK_DIGITS`] hex digits follow.
pub const MASK: &str = "REDACTED-";

/// Digits of a mask's hash. They look random, so each costs half a byte of the stream for
/// each secret; 48 bits tell some millions of secrets apart.
pub const MASK_DIGITS: usize = 12;

/// Bytes of a key.
const KEY_BYTES_MAX: usize = 64;

/// Masks of one line; what is beyond is masked as one.
const MASKS_MAX: usize = 64;

/// `@` in the code of URLs.
static ENCODED_AT: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"%40"));

/// Finds secrets.
#[derive(Clone)]
pub struct Redactor {
    keys: HashSet<Box<[u8]>>,
    /// By a key's first letter, a bit for each length that such a key has: most names of
    /// parameters are told by these from all keys, and need not be hashed.
    lengths: [u64; 256],
    /// The hash with its key in it.
    mac: Hmac<Sha256>,
    shortens_addresses: bool,
}

/// What is to be written instead of some bytes of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(usize, usize, String)", into = "(usize, usize, String)")]
pub struct Mask {
    pub at: Range<usize>,
    pub with: String,
}

impl From<(usize, usize, String)> for Mask {
    fn from((start, end, with): (usize, usize, String)) -> Mask {
        Mask { at: start..end, with }
    }
}

impl From<Mask> for (usize, usize, String) {
    fn from(mask: Mask) -> (usize, usize, String) {
        (mask.at.start, mask.at.end, mask.with)
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// How a stretch of a line is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A URL or its query: values end at `&`.
    Url,
    /// Anything else: values end where a word does, or a quote.
    Text,
}

/// How the `=` between key and value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    Equals,
    /// `%3D`, or deeper: the whole pair stands in another value.
    Encoded,
    Colon,
}

impl Redactor {
    /// A redactor for these keys. `secret` makes the masks: who has it can try out passwords.
    pub fn new<K: AsRef<str>>(keys: impl IntoIterator<Item = K>, secret: [u8; 32]) -> Redactor {
        let lower = |key: K| key.as_ref().to_ascii_lowercase().into_bytes().into_boxed_slice();
        let keys: HashSet<Box<[u8]>> = keys.into_iter().map(lower).filter(|key| is_a_length(key.len())).collect();
        let mut lengths = [0; 256];
        keys.iter().for_each(|key| lengths[usize::from(key[0])] |= 1 << (key.len() - 1));
        let mac = Hmac::new_from_slice(&secret).expect("HMAC takes a key of any length (RFC 2104)");
        Redactor { keys, lengths, mac, shortens_addresses: false }
    }

    /// As it is, but the client's address is shortened too: to its network of 24 bits, or of
    /// 48 for IPv6.
    pub fn shortening_addresses(self) -> Redactor {
        Redactor { shortens_addresses: true, ..self }
    }

    /// Whether it shortens addresses.
    pub fn shortens_addresses(&self) -> bool {
        self.shortens_addresses
    }

    /// What must be masked in a line, in order and without overlaps. `parsed` is what this
    /// very slice was read as: its fields are looked for in it by their addresses.
    pub fn masks(&self, line: &[u8], parsed: &Parsed<'_>) -> Vec<Mask> {
        let mut out = Vec::new();
        if !self.keys.is_empty() {
            match parsed {
                Parsed::Access(access) => self.mask_access(line, access, &mut out),
                _ => self.mask_stretch(line, 0..line.len(), Kind::Text, &mut out),
            }
        }
        if self.shortens_addresses {
            addresses(line, parsed, &mut out);
        }
        in_order(out)
    }

    fn mask_access(&self, line: &[u8], access: &Access<'_>, out: &mut Vec<Mask>) {
        // Where a format tells a request in parts, it has no line of its own.
        let target = access.request.map(|request| request.target.unwrap_or(request.line));
        let target = target.filter(|target| !target.is_empty());
        for url in [target, access.query, access.referer].into_iter().flatten() {
            self.mask_stretch(line, place(line, url), Kind::Url, out);
        }
        for text in [access.path, access.user_agent].into_iter().flatten() {
            self.mask_stretch(line, place(line, text), Kind::Text, out);
        }
        for (name, value) in &access.others {
            let at = place(line, value);
            if self.is_key(argument(name).as_bytes()) {
                out.extend(self.mask(line, at));
            } else {
                self.mask_stretch(line, at, Kind::Text, out);
            }
        }
    }

    /// Masks what is secret between two places of a line.
    fn mask_stretch(&self, line: &[u8], at: Range<usize>, kind: Kind, out: &mut Vec<Mask>) {
        let (begin, text) = (at.start, &line[at]);
        let shifted = |at: Range<usize>| at.start + begin..at.end + begin;
        let mut from = 0;
        while let Some((place, separator, bytes)) = separator(text, from, kind) {
            from = place + bytes;
            if self.is_key(key(&text[..place], kind)) {
                let value = value(text, from, kind, separator);
                from = from.max(value.end);
                let pieces = if separator == Separator::Encoded { pieces(text, value) } else { vec![value] };
                out.extend(pieces.into_iter().filter_map(|at| self.mask(line, shifted(at))));
            }
        }
        // Most lines have neither sign of a name before a host, and are not searched for URLs.
        if memchr::memchr(b'@', text).is_some() {
            for place in memmem::find_iter(text, b"://") {
                out.extend(userinfo(text, place + 3, false).and_then(|at| self.mask(line, shifted(at))));
            }
        }
        if memchr::memchr(b'%', text).is_some() && ENCODED_AT.find(text).is_some() {
            for place in memmem::find_iter(text, b"%2F%2F").chain(memmem::find_iter(text, b"%2f%2f")) {
                out.extend(userinfo(text, place + 6, true).and_then(|at| self.mask(line, shifted(at))));
            }
        }
    }

    /// What stands for a secret, whatever it is.
    pub fn mask_of(&self, secret: &[u8]) -> String {
        let mask = self.mask(secret, 0..secret.len());
        mask.map_or_else(|| String::from_utf8_lossy(secret).into_owned(), |mask| mask.with)
    }

    /// Whether values of this key are secrets.
    pub fn is_key(&self, key: &[u8]) -> bool {
        if !is_a_length(key.len()) || self.lengths[usize::from(key[0].to_ascii_lowercase())] >> (key.len() - 1) & 1 == 0
        {
            return false;
        }
        let mut lower = [0; KEY_BYTES_MAX];
        let lower = &mut lower[..key.len()];
        lower.copy_from_slice(key);
        lower.make_ascii_lowercase();
        self.keys.contains(&*lower)
    }

    /// The mask of one value; none where nothing stands there, or a mask already.
    fn mask(&self, line: &[u8], at: Range<usize>) -> Option<Mask> {
        let value = &line[at.clone()];
        if value.is_empty() || is_mask(value) {
            return None;
        }
        let hash: [u8; 32] = self.mac.clone().chain_update(plain(value)).finalize().into_bytes().into();
        let digits = hash.iter().flat_map(|byte| hex_digits(*byte)).take(MASK_DIGITS).map(char::from);
        Some(Mask { at, with: MASK.chars().chain(digits).collect() })
    }
}

/// The line with its masks on. Masks that do not fit the line are left out.
pub fn masked<'a>(line: &'a [u8], masks: &[Mask]) -> Cow<'a, [u8]> {
    if masks.is_empty() {
        return Cow::Borrowed(line);
    }
    let (mut out, mut from) = (Vec::with_capacity(line.len() + 16 * masks.len()), 0);
    for mask in masks.iter().filter(|mask| mask.at.start <= mask.at.end && mask.at.end <= line.len()) {
        if mask.at.start < from {
            continue;
        }
        out.extend_from_slice(&line[from..mask.at.start]);
        out.extend_from_slice(mask.with.as_bytes());
        from = mask.at.end;
    }
    out.extend_from_slice(&line[from..]);
    Cow::Owned(out)
}

/// The secrets of a masked line, as `key=0123456789ab`: what can be counted.
pub fn secrets(line: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    for at in memmem::find_iter(line, MASK.as_bytes()) {
        let Some(digits) = line.get(at + MASK.len()..at + MASK.len() + MASK_DIGITS) else { break };
        if out.len() == MASKS_MAX || !digits.iter().all(u8::is_ascii_hexdigit) {
            continue;
        }
        let before = line[..at].iter().rposition(|byte| !b"\"' ".contains(byte)).map_or(0, |last| last + 1);
        let before = &line[..before];
        let before = ["=", ":", "%3D", "%3d"].iter().find_map(|sign| before.strip_suffix(sign.as_bytes()));
        let key = before.map(|before| key(before, Kind::Text)).unwrap_or_default();
        let key = if key.len() > KEY_BYTES_MAX { b"" } else { key };
        let secret = format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(digits));
        if !out.contains(&secret) {
            out.push(secret);
        }
    }
    out
}

fn is_a_length(bytes: usize) -> bool {
    (1..=KEY_BYTES_MAX).contains(&bytes)
}

fn is_mask(value: &[u8]) -> bool {
    let digits = value.strip_prefix(MASK.as_bytes());
    digits.is_some_and(|digits| digits.len() == MASK_DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}

/// Where a field stands in its line.
fn place(line: &[u8], field: &[u8]) -> Range<usize> {
    let start = (field.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize);
    let end = start.wrapping_add(field.len());
    assert!(start <= end && end <= line.len(), "a field is a part of its line");
    start..end
}

/// The next separator from `from` on: where it is, which one, and its bytes.
fn separator(text: &[u8], from: usize, kind: Kind) -> Option<(usize, Separator, usize)> {
    let mut at = from;
    while let Some(found) = next_sign(&text[at.min(text.len())..], kind) {
        at += found;
        let rest = &text[at..];
        match rest[0] {
            b'=' => return Some((at, Separator::Equals, 1)),
            b':' => return Some((at, Separator::Colon, 1)),
            _ => {
                let mut bytes = 1;
                while rest[bytes..].starts_with(b"25") && bytes < 9 {
                    bytes += 2;
                }
                if rest[bytes..].starts_with(b"3D") || rest[bytes..].starts_with(b"3d") {
                    return Some((at, Separator::Encoded, bytes + 2));
                }
                at += 1;
            }
        }
    }
    None
}

fn next_sign(text: &[u8], kind: Kind) -> Option<usize> {
    match kind {
        Kind::Url => memchr::memchr2(b'=', b'%', text),
        Kind::Text => memchr::memchr3(b'=', b'%', b':', text),
    }
}

/// The key that ends where its separator begins: the last word before it. Of `a[password]`
/// and `a%5Bpassword%5D` that is `password`.
fn key(before: &[u8], kind: Kind) -> &[u8] {
    let mut end = before.len();
    loop {
        let text = &before[..end];
        let closing: [&[u8]; 10] = [b"%5D", b"%5d", b"%5B", b"%5b", b"]", b"[", b"\\\"", b"\"", b"'", b"\\x22"];
        let closed = closing.iter().find(|sign| text.ends_with(sign)).map_or(0, |sign| sign.len());
        let blank = usize::from(kind == Kind::Text && text.ends_with(b" "));
        match closed.max(blank) {
            0 => break,
            bytes => end -= bytes,
        }
    }
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let start = before[..end].iter().rposition(|byte| !is_word(byte)).map_or(0, |other| other + 1);
    let mut word = &before[start..end];
    match start.checked_sub(1).map(|at| before[at]) {
        // What was taken for letters is the code of a character before the word.
        Some(b'%') => {
            while let Some(rest) = word.strip_prefix(b"25") {
                word = rest;
            }
            word = word.get(2..).unwrap_or_default();
        }
        Some(b'\\') if word.first() == Some(&b'x') => word = word.get(3..).unwrap_or_default(),
        Some(b'\\') => word = word.get(1..).unwrap_or_default(),
        _ => {}
    }
    word
}

/// The value that begins at `from`.
fn value(text: &[u8], from: usize, kind: Kind, separator: Separator) -> Range<usize> {
    if kind == Kind::Url {
        let rest = &text[from..];
        let is_in_path = memchr::memchr(b'?', text).is_none_or(|question| from <= question);
        let ends = |byte: &u8| *byte == b'&' || is_in_path && b"/?;".contains(byte);
        let raw = rest.iter().position(ends).unwrap_or(rest.len());
        let end = match separator {
            Separator::Encoded => encoded_end(&rest[..raw]),
            _ => raw,
        };
        return from..from + end;
    }
    let blanks = text[from..].iter().take_while(|byte| **byte == b' ' || **byte == b'>').count();
    let mut start = from + blanks;
    for scheme in [&b"Basic "[..], b"Bearer ", b"Digest ", b"basic ", b"bearer ", b"digest "] {
        start += if text[start..].starts_with(scheme) { scheme.len() } else { 0 };
    }
    let rest = &text[start..];
    for quote in [&b"\\\""[..], b"\"", b"'"] {
        if let Some(inside) = rest.strip_prefix(quote) {
            let end = memmem::find(inside, quote).unwrap_or(inside.len());
            return start + quote.len()..start + quote.len() + end;
        }
    }
    let ends = |byte: &u8| b"&;, \"'<>()[]{}\\".contains(byte);
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let end = if separator == Separator::Encoded { encoded_end(&rest[..end]) } else { end };
    start..start + end
}

/// What stands between the `=` of a value. They are kept, since one of them may part the key
/// that the value stands in from that key's own value.
fn pieces(text: &[u8], value: Range<usize>) -> Vec<Range<usize>> {
    let mut from = value.start;
    let ends = memchr::memchr_iter(b'=', &text[value.clone()]).map(|at| value.start + at).chain([value.end]);
    ends.map(|end| std::mem::replace(&mut from, end + 1)..end).collect()
}

/// Where a `%26`, however deep, ends a value.
fn encoded_end(text: &[u8]) -> usize {
    let ends = |at: &usize| {
        let mut rest = &text[at + 1..];
        while let Some(deeper) = rest.strip_prefix(b"25") {
            rest = deeper;
        }
        rest.starts_with(b"26")
    };
    memchr::memchr_iter(b'%', text).find(ends).unwrap_or(text.len())
}

/// The password of an authority that begins at `from`, or all before its `@` where there is
/// no name.
fn userinfo(text: &[u8], from: usize, is_encoded: bool) -> Option<Range<usize>> {
    let rest = &text[from..];
    let end = rest.iter().position(|byte| b"/?#& \"'<>".contains(byte)).unwrap_or(rest.len());
    let authority = &rest[..end];
    let (at, colon) = if is_encoded {
        (memmem::rfind(authority, b"%40")?, memmem::find(authority, b"%3A").or(memmem::find(authority, b"%3a")))
    } else {
        (memchr::memrchr(b'@', authority)?, memchr::memchr(b':', authority))
    };
    let colon_bytes = if is_encoded { 3 } else { 1 };
    let start = colon.filter(|colon| *colon < at).map_or(0, |colon| colon + colon_bytes);
    Some(from + start..from + at)
}

/// A value as it is meant, so that two ways to write it are one secret.
fn plain(value: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(value.len()), 0);
    while let Some(&byte) = value.get(at) {
        let hex = |at: usize| value.get(at).copied().and_then(crate::unescape::hex);
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    out
}

/// Shortens the addresses of clients.
fn addresses(line: &[u8], parsed: &Parsed<'_>, out: &mut Vec<Mask>) {
    let mut shorten = |field: &[u8]| {
        let short = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).map(network);
        out.extend(short.map(|short| Mask { at: place(line, field), with: short.to_string() }));
    };
    match parsed {
        Parsed::Access(access) => {
            shorten(access.client);
            for (name, value) in &access.others {
                if *name == "%{c}a" || argument(name).eq_ignore_ascii_case("x-forwarded-for") {
                    value.split(|byte| b", ".contains(byte)).for_each(&mut shorten);
                }
            }
        }
        Parsed::Error(error) => error.client.iter().for_each(|(address, _)| shorten(address)),
        Parsed::TailHeader(_) | Parsed::Odd(_) => {}
    }
}

/// The network that an address is in: 24 bits, or 48 of IPv6.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(six) => {
            let [a, b, c, ..] = six.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
        }
    }
}

/// Masks by their place; of two that overlap, the first one takes the place of both.
fn in_order(mut masks: Vec<Mask>) -> Vec<Mask> {
    masks.sort_by_key(|mask| mask.at.start);
    let mut out: Vec<Mask> = Vec::with_capacity(masks.len());
    for mask in masks {
        let is_full = out.len() == MASKS_MAX;
        match out.last_mut() {
            Some(last) if mask.at.start < last.at.end || is_full => last.at.end = last.at.end.max(mask.at.end),
            _ => out.push(mask),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::views;
    use crate::format::Format;
    use proptest::prelude::*;

    fn redactor() -> Redactor {
        Redactor::new(KEYS, [7; 32])
    }

    /// The line as it leaves, with masks as `***`.
    fn shown(format: &Format, line: &str) -> String {
        let masks = redactor().masks(line.as_bytes(), &format.parse(line.as_bytes()));
        let masked = String::from_utf8(masked(line.as_bytes(), &masks).into_owned()).unwrap();
        masks.iter().fold(masked, |text, mask| text.replace(&mask.with, "***"))
    }

    fn request(target: &str, referer: &str) -> String {
        format!(r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET {target} HTTP/1.1" 200 5 "{referer}" "curl/7""#)
    }

    #[test]
    fn values_of_secret_keys_are_masked_and_the_rest_stands() {
        for (target, masked) in [
            (
                "/vulnerabilities/brute/?username=admin&password=letmein&Login=Login",
                "/vulnerabilities/brute/?username=admin&password=***&Login=Login",
            ),
            ("/?password_new=a&password_conf=a&Change=Change", "/?password_new=***&password_conf=***&Change=Change"),
            ("/?PassWord=x", "/?PassWord=***"),
            ("/?password=", "/?password="),
            ("/shop;jsessionid=1A;v=2?a=1", "/shop;jsessionid=***;v=2?a=1"),
            ("/?user[password]=x&a=b", "/?user[password]=***&a=b"),
            ("/?user%5Bpassword%5D=x&token[]=y", "/?user%5Bpassword%5D=***&token[]=***"),
            ("/?password=a b c", "/?password=***"),
            ("/?next=%2Flogin%3Fpassword%3Dx%26a%3Db&c=d", "/?next=%2Flogin%3Fpassword%3D***%26a%3Db&c=d"),
            ("/?next=%252Flogin%253Ftoken%253Dx%2526a%253Db", "/?next=%252Flogin%253Ftoken%253D***%2526a%253Db"),
            ("/?password=a%26b&c=d", "/?password=***&c=d"),
            ("/?passwordless=1&nopassword=2&my_token=3", "/?passwordless=1&nopassword=2&my_token=3"),
            ("http://bob:s3cret@dev.lab/x", "http://bob:***@dev.lab/x"),
            ("/?u=https%3A%2F%2Fbob%3As3cret%40dev.lab%2Fx", "/?u=https%3A%2F%2Fbob%3A***%40dev.lab%2Fx"),
            ("/?X-Amz-Credential=AKIA%2F2026&X-Amz-Signature=ab", "/?X-Amz-Credential=***&X-Amz-Signature=***"),
        ] {
            assert_eq!(shown(&Format::Combined, &request(target, "-")), request(masked, "-"));
            let referer = |url: &str| format!("http://dev.lab{url}");
            if target.starts_with('/') {
                assert_eq!(shown(&Format::Combined, &request("/", &referer(target))), request("/", &referer(masked)));
            }
        }
    }

    #[test]
    fn secrets_in_cookies_headers_and_messages_are_masked() {
        let cookies: Format = r#"%h %t "%r" "%{Cookie}i" "%{Authorization}i" %{PHPSESSID}C"#.parse().unwrap();
        let line = |cookie: &str, auth: &str, id: &str| {
            format!(r#"::1 [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" "{cookie}" "{auth}" {id}"#)
        };
        assert_eq!(
            shown(&cookies, &line("PHPSESSID=abc; security=low", "Basic YTpi", "abc")),
            line("PHPSESSID=***; security=low", "***", "***")
        );
        for (message, masked) in [
            ("near ''' AND password = '5f4dcc'' at line 1", "near ''' AND password = '***'' at line 1"),
            (
                "Authorization: Bearer abc.def, referer: http://h/?token=x",
                "Authorization: Bearer ***, referer: http://h/?token=***",
            ),
            (r#"{"password":"x y","a":1}"#, r#"{"password":"***","a":1}"#),
            (r#"\x22token\x22:abc"#, r#"\x22token\x22:***"#),
            ("[password] => x", "[password] => ***"),
            ("the password is wrong", "the password is wrong"),
        ] {
            assert_eq!(shown(&Format::Error, message), masked);
        }
        assert_eq!(shown(&Format::Combined, "garbage password=x y"), "garbage password=*** y");
    }

    #[test]
    fn a_request_that_is_told_in_parts_is_masked_in_its_parts() {
        let format: Format = r#"%h %m "%U" "%q""#.parse().unwrap();
        assert_eq!(shown(&format, r#"::1 GET "/a" "?token=x""#), r#"::1 GET "/a" "?token=***""#);
    }

    #[test]
    fn equal_secrets_have_equal_masks_and_another_host_has_others() {
        let masks = |redactor: &Redactor, target: &str| {
            let line = request(target, "-");
            redactor.masks(line.as_bytes(), &Format::Combined.parse(line.as_bytes()))[0].with.clone()
        };
        let (here, there) = (redactor(), Redactor::new(KEYS, [8; 32]));
        assert_eq!(masks(&here, "/?password=a+b"), masks(&here, "/x?pwd=%61%20b"));
        assert_ne!(masks(&here, "/?password=a"), masks(&here, "/?password=b"));
        assert_ne!(masks(&here, "/?password=a"), masks(&there, "/?password=a"));
        let line = request("/?password=a&token=a", "-");
        let masks = here.masks(line.as_bytes(), &Format::Combined.parse(line.as_bytes()));
        let line = masked(line.as_bytes(), &masks).into_owned();
        let digits = masks[0].with.strip_prefix(MASK).unwrap();
        assert_eq!(secrets(&line), [format!("password={digits}"), format!("token={digits}")]);
        assert_eq!(here.masks(&line, &Format::Combined.parse(&line)), [], "a mask is no secret");
    }

    #[test]
    fn addresses_are_shortened_where_that_is_wanted() {
        let format: Format = r#"%h %t "%r" "%{X-Forwarded-For}i""#.parse().unwrap();
        let line = r#"2001:db8:1:2::3 [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" "203.0.113.9, 10.1.2.3""#;
        let masks = redactor().shortening_addresses().masks(line.as_bytes(), &format.parse(line.as_bytes()));
        let expected = r#"2001:db8:1:: [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" "203.0.113.0, 10.1.2.0""#;
        assert_eq!(masked(line.as_bytes(), &masks), expected.as_bytes());
    }

    proptest! {
        #[test]
        fn a_masked_line_has_the_parts_of_the_line_it_was(
            target in "/[a-z?&=%]{0,9}((password|token|a)(=|%3D|%253D)[a-zA-Z0-9%:/@?=]{0,9}(&|%26|#)){0,4}",
            referer in "(https?://(u:p@)?h/)?[?](pwd|b)=[a-z@:/]{0,9}(&token=[^\"\\\\\\x00-\\x1f]{0,5})?",
        ) {
            let line = request(&target, &referer);
            let parsed = Format::Combined.parse(line.as_bytes());
            let masks = redactor().masks(line.as_bytes(), &parsed);
            let masked = masked(line.as_bytes(), &masks).into_owned();
            let again = Format::Combined.parse(&masked);
            let parts = |parsed: &Parsed<'_>| {
                let mut parts = Vec::new();
                views::each(parsed.access().unwrap(), |view| parts.push((view.field, view.parameter.map(<[u8]>::to_vec))));
                parts
            };
            prop_assert_eq!(parts(&parsed).len(), parts(&again).len());
            prop_assert_eq!(redactor().masks(&masked, &again), vec![]);
        }

        #[test]
        fn no_bytes_make_it_panic(line: Vec<u8>, like in r#"[a-z"'\\ ]{0,9}((password|token)[\[\]%5D"=: 3D]{0,5}[^a]{0,9}){0,5}"#) {
            for line in [&line[..], like.as_bytes()] {
                for format in [Format::Auto, Format::Error] {
                    let masks = redactor().shortening_addresses().masks(line, &format.parse(line));
                    secrets(&masked(line, &masks));
                }
            }
        }
    }
}
