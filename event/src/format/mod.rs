//! What stands where in a line: Apache's access and error logs, read exactly.
//!
//! The grammar leans on what a client cannot forge. Apache escapes every quote and
//! backslash that comes from outside, so a quoted field ends at the first quote that
//! no backslash precedes. The user name stands unquoted and may hold blanks and
//! brackets; it ends where ` [time] "` begins, which no user name can contain, since
//! its quotes are escaped too. Splitting at blanks, as most shippers do, lets an
//! attacker write his own fields.

pub mod error_log;
mod log_format;
mod strftime;

pub use error_log::{ErrorLine, ErrorLogFormat, ErrorLogFormatError};
pub use log_format::{LogFormat, LogFormatError};

use crate::time::{self, CLF_BYTES, Millis};
use crate::zone::Zone;
use nom::branch::alt;
use nom::bytes::complete::{tag, take, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, map_opt, recognize, value};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// How the lines of a file are written. The names are those of Apache's own
/// configuration (`LogFormat ... combined`). It is written as such a name, or as the
/// LogFormat string itself, or as `ErrorLogFormat` and the string that follows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    /// Any of the formats below, recognised line by line.
    #[default]
    Auto,
    /// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`
    Combined,
    /// `%h %l %u %t "%r" %>s %b`
    Common,
    /// `%v:%p ` and then combined.
    VhostCombined,
    /// The error log, as Apache writes it unless told otherwise.
    Error,
    /// Any other.
    Custom(Arc<LogFormat>),
    /// Any other of an error log.
    CustomError(Arc<ErrorLogFormat>),
}

/// Apache's own formats as `httpd.conf` and Debian's `apache2.conf` write them.
const NAMED: [(&str, Format); 6] = [
    (r#"%h %l %u %t "%r" %>s %b"#, Format::Common),
    (r#"%h %l %u %t "%r" %>s %O"#, Format::Common),
    (r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#, Format::Combined),
    (r#"%h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i""#, Format::Combined),
    (r#"%v:%p %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#, Format::VhostCombined),
    (r#"%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i""#, Format::VhostCombined),
];

impl Format {
    /// All formats by name.
    pub const ALL: [(&'static str, Format); 5] = [
        ("auto", Format::Auto),
        ("combined", Format::Combined),
        ("common", Format::Common),
        ("vhost_combined", Format::VhostCombined),
        ("error", Format::Error),
    ];

    /// Reads one line, without its line feed. Never fails: what does not fit is
    /// [`Parsed::Odd`] with a reason. Times that tell no zone are taken for UTC.
    pub fn parse<'a>(&'a self, line: &'a [u8]) -> Parsed<'a> {
        self.parse_in(line, &Zone::UTC)
    }

    /// As [`Format::parse`], with times that tell no zone taken for those of `zone`.
    pub fn parse_in<'a>(&'a self, line: &'a [u8], zone: &Zone) -> Parsed<'a> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Parsed::Odd(Odd::Empty);
        }
        let access = match self {
            Format::Combined => whole(line, combined),
            Format::Common => whole(line, common),
            Format::VhostCombined => whole(line, vhost_combined),
            Format::Auto => return auto(line, zone),
            Format::Error => return Parsed::Error(error_log::parse(line, zone)),
            Format::Custom(format) => return format.parse(line, zone).map_or_else(Parsed::Odd, Parsed::Access),
            Format::CustomError(format) => return Parsed::Error(format.parse(line, zone)),
        };
        access.map_or_else(|| Parsed::Odd(reason(line)), Parsed::Access)
    }

    /// Whether all its times tell their offset from UTC, or none is told.
    pub fn tells_zone(&self) -> bool {
        match self {
            Format::Combined | Format::Common | Format::VhostCombined => true,
            Format::Auto | Format::Error | Format::CustomError(_) => false,
            Format::Custom(format) => format.tells_zone(),
        }
    }

    /// Whether lines may be of an error log, where some belong to the line before them.
    pub fn has_errors(&self) -> bool {
        matches!(self, Format::Auto | Format::Error | Format::CustomError(_))
    }

    /// What a user should know of it, in sentences.
    pub fn warnings(&self) -> &[String] {
        match self {
            Format::Custom(format) => format.warnings(),
            _ => &[],
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(written: &str) -> Result<Format, UnknownFormat> {
        if let Some((_, format)) = Format::ALL.iter().find(|(known, _)| *known == written) {
            return Ok(format.clone());
        }
        if !written.contains('%') {
            return Err(UnknownFormat::Name(written.to_owned()));
        }
        if ErrorLogFormat::is_meant(written) {
            let compiled = ErrorLogFormat::compile(written);
            let refused = |cause| UnknownFormat::ErrorLogFormat { written: written.to_owned(), cause };
            return compiled.map_err(refused).map(|format| Format::CustomError(Arc::new(format)));
        }
        let compiled = LogFormat::compile(written);
        let compiled = compiled.map_err(|cause| UnknownFormat::LogFormat { written: written.to_owned(), cause })?;
        let named = NAMED.iter().find(|(named, _)| are_same(named, compiled.written()));
        Ok(named.map_or_else(|| Format::Custom(Arc::new(compiled)), |(_, format)| format.clone()))
    }
}

/// Whether two formats differ in nothing but the letters of headers' names: `%{referer}i`.
fn are_same(one: &str, other: &str) -> bool {
    let mut is_name = false;
    let same = |(one, other): (u8, u8)| {
        is_name = (is_name || one == b'{') && one != b'}';
        if is_name { one.eq_ignore_ascii_case(&other) } else { one == other }
    };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(same)
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Custom(format) => f.pad(format.written()),
            Format::CustomError(format) => f.pad(&format.written()),
            named => f.pad(Format::ALL.iter().find(|(_, format)| format == named).map_or("auto", |(name, _)| name)),
        }
    }
}

impl Serialize for Format {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Format, D::Error> {
        let written = Cow::<str>::deserialize(from)?;
        written.parse().map_err(serde::de::Error::custom)
    }
}

/// A format that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnknownFormat {
    #[error(
        "`{0}` is not a format: use auto, combined, common, vhost_combined, error, or Apache's own LogFormat string"
    )]
    Name(String),
    #[error("the LogFormat `{written}` cannot be used: {cause}")]
    LogFormat { written: String, cause: LogFormatError },
    #[error("`{written}` cannot be used: {cause}")]
    ErrorLogFormat { written: String, cause: ErrorLogFormatError },
}

/// What a line turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<'a> {
    Access(Access<'a>),
    Error(ErrorLine<'a>),
    /// `==> FILE <==`, which `tail -f` writes before the lines of one of several files.
    TailHeader(&'a [u8]),
    Odd(Odd),
}

impl<'a> Parsed<'a> {
    /// The request, if the line is one.
    pub fn access(&self) -> Option<&Access<'a>> {
        match self {
            Parsed::Access(access) => Some(access),
            _ => None,
        }
    }

    /// The line of an error log, if it is one.
    pub fn error(&self) -> Option<&ErrorLine<'a>> {
        match self {
            Parsed::Error(error) => Some(error),
            _ => None,
        }
    }

    /// The line's own time, if it has one.
    pub fn time(&self) -> Option<&Time<'a>> {
        match self {
            Parsed::Access(access) => access.time.as_ref(),
            Parsed::Error(error) => error.time.as_ref(),
            Parsed::TailHeader(_) | Parsed::Odd(_) => None,
        }
    }

    /// The client: its address or name, and its port where that is told.
    pub fn client(&self) -> Option<(&'a [u8], Option<u16>)> {
        match self {
            Parsed::Access(access) => (!access.client.is_empty()).then_some((access.client, None)),
            Parsed::Error(error) => error.client,
            Parsed::TailHeader(_) | Parsed::Odd(_) => None,
        }
    }

    /// The client's address, where the line has one and no name.
    pub fn client_ip(&self) -> Option<IpAddr> {
        ip(self.client()?.0)
    }
}

/// Why a line fits no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Odd {
    Empty,
    Binary,
    NoTime,
    BadTime,
    AfterTime,
    OtherFormat,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Odd::Empty => "the line is empty",
            Odd::Binary => "the line is not text",
            Odd::NoTime => "no `[day/month/year:time zone] \"` was found",
            Odd::BadTime => "the time in brackets is no time of the calendar",
            Odd::AfterTime => "the fields around the time do not fit the format",
            Odd::OtherFormat => "the line does not fit the LogFormat",
        })
    }
}

/// One request as the access log tells it. Text fields are slices of the line, still
/// escaped: [`crate::unescape::unescape`] gives what the client sent. `None` stands for `-`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access<'a> {
    /// The line itself.
    pub line: &'a [u8],
    /// `%v` and `%p`.
    pub vhost: Option<(&'a [u8], Option<u16>)>,
    /// Whether `vhost` is `%V`: unless UseCanonicalName is on, the client named it.
    pub is_vhost_claimed: bool,
    /// `%h` or `%a`: address or name of the client; empty where the format has neither.
    pub client: &'a [u8],
    /// `%u`; an empty name is the two quotes that Apache writes for it.
    pub user: Option<&'a [u8]>,
    /// `%t`
    pub time: Option<Time<'a>>,
    /// `%r`, or what `%m`, `%U%q` and `%H` tell of it.
    pub request: Option<Request<'a>>,
    /// `%U`, where it stands by itself: the path, decoded by the server.
    pub path: Option<&'a [u8]>,
    /// `%q`, where it stands by itself, with its question mark.
    pub query: Option<&'a [u8]>,
    /// `%>s`
    pub status: Option<u16>,
    /// `%b` or `%O`
    pub bytes: Option<u64>,
    /// `%D` or `%T`: how long the request took.
    pub duration_nanos: Option<u64>,
    /// `%{Referer}i`; a present but empty header is `Some` of nothing.
    pub referer: Option<&'a [u8]>,
    /// `%{User-Agent}i`
    pub user_agent: Option<&'a [u8]>,
    /// All other fields that have a value, by their directive.
    pub others: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Access<'a> {
    /// A header of the request that the format logs, still escaped; `name` in lower case.
    pub fn request_header(&self, name: &str) -> Option<&'a [u8]> {
        let found = self
            .others
            .iter()
            .find(|(directive, _)| directive.ends_with("}i") && argument(directive).eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }

    /// The headers of the request that the format logs beside referer and user agent, by name
    /// and still escaped.
    pub fn request_headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let of_request = self.others.iter().filter(|(directive, _)| directive.ends_with("}i"));
        of_request.map(|(directive, value)| (argument(directive), *value))
    }
}

/// What stands in the braces of a directive: `Referer` of `%{Referer}i`.
pub(crate) fn argument(directive: &str) -> &str {
    directive.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(name, _)| name)
}

/// An address as a log writes it.
pub(crate) fn ip(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A time, as the line writes it and as it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time<'a> {
    pub written: &'a [u8],
    pub at: Millis,
}

/// A request line (`%r`), escaped as in the log. Clients send anything here: TLS on
/// port 80, two blanks, no protocol. What cannot be told apart is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    pub line: &'a [u8],
    pub method: Option<&'a [u8]>,
    pub target: Option<&'a [u8]>,
    /// `1.1` of `HTTP/1.1`
    pub version: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Splits a request line: the method ends at the first blank, the protocol begins
    /// after the last ` HTTP/`, the target is what stands between.
    pub fn of(line: &'a [u8]) -> Request<'a> {
        let mut request = Request { line, method: None, target: None, version: None };
        let Some(blank) = memchr::memchr(b' ', line) else {
            return request;
        };
        let (method, rest) = (&line[..blank], &line[blank..]);
        if method.is_empty() || !method.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b)) {
            return request;
        }
        let protocol = memchr::memmem::rfind(rest, b" HTTP/");
        let target = rest[..protocol.unwrap_or(rest.len())].trim_ascii();
        request.method = Some(method);
        request.target = (!target.is_empty()).then_some(target);
        request.version = protocol.map(|at| rest[at + b" HTTP/".len()..].trim_ascii());
        request
    }
}

type Parse<'a, T> = IResult<&'a [u8], T>;

fn whole<'a>(line: &'a [u8], format: fn(&'a [u8]) -> Parse<'a, Access<'a>>) -> Option<Access<'a>> {
    all_consuming(format).parse(line).ok().map(|(_, access)| Access { line, ..access })
}

fn combined(line: &[u8]) -> Parse<'_, Access<'_>> {
    let (rest, mut access) = common(line)?;
    let (rest, referer) = preceded(char(' '), quoted).parse(rest)?;
    let (rest, user_agent) = preceded(char(' '), quoted).parse(rest)?;
    access.referer = given(referer);
    access.user_agent = given(user_agent);
    Ok((rest, access))
}

fn vhost_combined(line: &[u8]) -> Parse<'_, Access<'_>> {
    let (rest, token) = terminated(word, char(' ')).parse(line)?;
    let (rest, mut access) = combined(rest)?;
    access.vhost = Some(vhost(token));
    Ok((rest, access))
}

fn common(line: &[u8]) -> Parse<'_, Access<'_>> {
    let (rest, client) = terminated(word, char(' ')).parse(line)?;
    let (rest, _identity) = terminated(word, char(' ')).parse(rest)?;
    let (rest, user) = user(rest)?;
    let (rest, time) = delimited(tag(" ["), clf, tag("] ")).parse(rest)?;
    let (rest, request) = quoted(rest)?;
    let (rest, status) = preceded(char(' '), status).parse(rest)?;
    let (rest, bytes) = preceded(char(' '), number).parse(rest)?;
    let request = given(request).map(Request::of);
    Ok((rest, Access { client, user, time: Some(time), request, status, bytes, ..Access::default() }))
}

fn word(input: &[u8]) -> Parse<'_, &[u8]> {
    take_while1(|b| b != b' ').parse(input)
}

/// Everything up to ` [time] "`.
fn user(input: &[u8]) -> Parse<'_, Option<&[u8]>> {
    let mismatch = || nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::TakeUntil));
    let end = memchr::memchr_iter(b'[', input).find(|&at| at > 0 && is_time_anchor(&input[at - 1..]));
    let end = end.ok_or_else(mismatch)? - 1;
    let name = &input[..end];
    Ok((&input[end..], if name == b"-" { None } else { Some(name) }))
}

/// Whether ` [26 bytes] "` stands at the start: the shape only, not the calendar.
fn is_time_anchor(text: &[u8]) -> bool {
    let end = 2 + CLF_BYTES;
    text.len() >= end + 3 && text.starts_with(b" [") && &text[end..end + 3] == b"] \"" && text[4] == b'/'
}

fn clf(input: &[u8]) -> Parse<'_, Time<'_>> {
    let at = |written| time::clf(written).map(|at| Time { written, at });
    map_opt(take(CLF_BYTES), at).parse(input)
}

/// A quoted field, without its quotes.
fn quoted(input: &[u8]) -> Parse<'_, &[u8]> {
    delimited(char('"'), escaped, char('"')).parse(input)
}

/// Up to the first quote that no backslash precedes.
fn escaped(input: &[u8]) -> Parse<'_, &[u8]> {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &input[at..]) {
        at += found;
        if input[at] == b'"' {
            return Ok((&input[at..], &input[..at]));
        }
        at = (at + 2).min(input.len());
    }
    Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::TakeUntil)))
}

fn status(input: &[u8]) -> Parse<'_, Option<u16>> {
    let code = map_opt(take(3usize), |text: &[u8]| ascii_number(text)?.try_into().ok().map(Some));
    alt((value(None, char('-')), code)).parse(input)
}

fn number(input: &[u8]) -> Parse<'_, Option<u64>> {
    let digits = recognize(take_while1(|b: u8| b.is_ascii_digit()));
    alt((value(None, char('-')), map_opt(digits, |text| ascii_number(text).map(Some)))).parse(input)
}

fn ascii_number(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |n, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

fn given(field: &[u8]) -> Option<&[u8]> {
    (field != b"-").then_some(field)
}

/// `name:port`; what follows the last colon is the port if it is a number.
fn vhost(token: &[u8]) -> (&[u8], Option<u16>) {
    let Some(colon) = memchr::memrchr(b':', token) else {
        return (token, None);
    };
    match ascii_number(&token[colon + 1..]).and_then(|port| port.try_into().ok()) {
        Some(port) => (&token[..colon], Some(port)),
        None => (token, None),
    }
}

/// Reads a line that may be any of those that a container's output holds.
fn auto<'a>(line: &'a [u8], zone: &Zone) -> Parsed<'a> {
    let access = if error_log::is_certain(line) {
        None
    } else if starts_with_vhost(line) {
        whole(line, vhost_combined)
    } else {
        whole(line, combined).or_else(|| whole(line, common))
    };
    let error = || error_log::recognise(line, zone).map(Parsed::Error);
    let header = || tail_header(line).map(Parsed::TailHeader);
    access.map(Parsed::Access).or_else(error).or_else(header).unwrap_or_else(|| Parsed::Odd(reason(line)))
}

/// The file that `tail` names before its lines: `==> /var/log/apache2/access.log <==` (GNU
/// coreutils, "tail invocation").
pub fn tail_header(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"==> ")?.strip_suffix(b" <==").filter(|file| !file.is_empty())
}

/// Whether the line's first word is `name:port` and not an IPv6 address.
fn starts_with_vhost(line: &[u8]) -> bool {
    let token = &line[..memchr::memchr(b' ', line).unwrap_or(line.len())];
    if memchr::memchr(b':', token).is_none() {
        return false;
    }
    let address = std::str::from_utf8(token).is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok());
    !address && vhost(token).1.is_some()
}

fn reason(line: &[u8]) -> Odd {
    let anchor = memchr::memchr_iter(b'[', line).find(|&at| at > 0 && is_time_anchor(&line[at - 1..]));
    match anchor {
        Some(at) if clf(&line[at + 1..]).is_err() => Odd::BadTime,
        Some(_) => Odd::AfterTime,
        None if memchr::memchr(0, line).is_some() => Odd::Binary,
        None => Odd::NoTime,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn access<'a>(format: &'a Format, line: &'a str) -> Access<'a> {
        match format.parse(line.as_bytes()) {
            Parsed::Access(access) => access,
            other => panic!("{other:?}: {line}"),
        }
    }

    const LINE: &str =
        r#"192.0.2.7 - bob [16/Nov/2026:08:00:25 +0000] "GET /a?b=1 HTTP/1.1" 200 512 "http://dev.lab/" "curl/7""#;

    #[test]
    fn a_combined_line_is_taken_apart() {
        let expected = Access {
            line: LINE.as_bytes(),
            vhost: None,
            is_vhost_claimed: false,
            client: b"192.0.2.7",
            user: Some(b"bob"),
            time: Some(Time { written: b"16/Nov/2026:08:00:25 +0000", at: 1_794_816_025_000 }),
            request: Some(Request {
                line: b"GET /a?b=1 HTTP/1.1",
                method: Some(b"GET"),
                target: Some(b"/a?b=1"),
                version: Some(b"1.1"),
            }),
            status: Some(200),
            bytes: Some(512),
            referer: Some(b"http://dev.lab/"),
            user_agent: Some(b"curl/7"),
            ..Access::default()
        };
        assert_eq!(access(&Format::Combined, LINE), expected);
        assert_eq!(access(&Format::Auto, LINE), expected);
    }

    #[test]
    fn common_and_vhost_combined_are_recognised_line_by_line() {
        let common = r#"::1 - - [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.0" 304 -"#;
        assert_eq!(access(&Format::Auto, common).bytes, None);
        let vhost = format!("dev.lab:8080 {LINE}");
        assert_eq!(access(&Format::Auto, &vhost).vhost, Some((&b"dev.lab"[..], Some(8080))));
        assert_eq!(access(&Format::Auto, &vhost).client, b"192.0.2.7");
    }

    #[test]
    fn a_referer_cannot_make_a_request_of_an_error() {
        let head = "[Mon Nov 23 01:49:33.005699 2026] [core:info] [pid 7:tid 7] [client ::1:5] AH00128: no";
        for begin in ["", "sh: 1: "] {
            let line = format!("{begin}{head}, referer: x [16/Nov/2026:08:00:25 +0000] \"GET / HTTP/1.1\" 200 5");
            let parsed = Format::Auto.parse(line.as_bytes());
            assert_eq!(parsed.error().and_then(|error| error.client), Some((&b"::1"[..], Some(5))), "{parsed:?}");
        }
    }

    #[test]
    fn a_format_with_other_directives_is_none_of_apaches_own() {
        let format = |written: &str| written.parse::<Format>().unwrap();
        assert_eq!(format(r#"%h %l %u %t "%r" %>s %b "%{referer}i" "%{user-agent}i""#), Format::Combined);
        let custom = format(r#"%h %l %U %t "%r" %>s %b"#);
        let access = access(&custom, r#"::1 - /a [16/Nov/2026:08:00:25 +0000] "GET /a HTTP/1.1" 200 5"#);
        assert_eq!((access.user, access.path), (None, Some(&b"/a"[..])));
    }

    #[test]
    fn a_user_name_cannot_forge_the_fields_after_it() {
        let user = r#"evil [01/Jan/2020:00:00:00 +0000] \"GET /fake HTTP/1.1\" 200 5 \"x"#;
        let line = LINE.replace("bob", user);
        let access = access(&Format::Combined, &line);
        assert_eq!(access.user, Some(user.as_bytes()));
        assert_eq!(access.time.unwrap().written, b"16/Nov/2026:08:00:25 +0000");
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_field() {
        let line = LINE.replace("curl/7", r#"a\"b\\"#);
        assert_eq!(access(&Format::Combined, &line).user_agent, Some(&br#"a\"b\\"#[..]));
    }

    #[test]
    fn a_request_line_may_be_anything() {
        type Parts<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);
        let cases: [(&str, Parts<'_>); 6] = [
            ("GET /two  spaces HTTP/1.1", (Some("GET"), Some("/two  spaces"), Some("1.1"))),
            ("GET /a HTTP/1.0 HTTP/1.1", (Some("GET"), Some("/a HTTP/1.0"), Some("1.1"))),
            ("GET /old", (Some("GET"), Some("/old"), None)),
            (r"\x16\x03\x01", (None, None, None)),
            ("", (None, None, None)),
            (" /x HTTP/1.1", (None, None, None)),
        ];
        for (line, expected) in cases {
            let got = Request::of(line.as_bytes());
            let text = |part: Option<&'static [u8]>| part.map(|part| std::str::from_utf8(part).unwrap());
            assert_eq!((text(got.method), text(got.target), text(got.version)), expected, "{line}");
        }
    }

    #[test]
    fn absent_and_empty_headers_are_not_the_same() {
        let line = LINE.replace("\"http://dev.lab/\"", "\"-\"").replace("\"curl/7\"", "\"\"");
        let access = access(&Format::Combined, &line);
        assert_eq!((access.referer, access.user_agent), (None, Some(&b""[..])));
    }

    #[test]
    fn an_odd_line_says_why() {
        let cases = [
            ("", Odd::Empty),
            ("hello", Odd::NoTime),
            ("\0\u{1}garbage", Odd::Binary),
            (r#"1.2.3.4 - - [31/Feb/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 1"#, Odd::BadTime),
            (r#"1.2.3.4 - - [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 1 "-""#, Odd::AfterTime),
        ];
        for (line, reason) in cases {
            assert_eq!(Format::Auto.parse(line.as_bytes()), Parsed::Odd(reason), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(line: Vec<u8>, tail in r#"[ \[\]"\\/:a0-9-]{0,80}"#) {
            for (_, format) in Format::ALL {
                format.parse(&line);
                format.parse(tail.as_bytes());
            }
        }

        #[test]
        fn whatever_a_client_sends_in_his_headers_the_other_fields_stand(
            user in "[ -!#-\\[\\]-~]{1,30}",
            agent: Vec<u8>,
            referer: Vec<u8>,
        ) {
            let escape = |bytes: &[u8]| crate::unescape::escape(bytes);
            let mut line = format!("192.0.2.7 - x{user} [16/Nov/2026:08:00:25 +0000] \"GET / HTTP/1.1\" 200 5 \"").into_bytes();
            line.extend([escape(&referer), b"\" \"".to_vec(), escape(&agent), b"\"".to_vec()].concat());
            let parsed = Format::Combined.parse(&line);
            let access = parsed.access().expect("it is a combined line");
            let sent = |field: Option<&[u8]>| field.map_or(b"-".to_vec(), |f| crate::unescape::unescape(f).into_owned());
            prop_assert_eq!((access.status, access.bytes), (Some(200), Some(5)));
            prop_assert_eq!(sent(access.user_agent), agent);
            prop_assert_eq!(sent(access.referer), referer);
        }
    }
}
