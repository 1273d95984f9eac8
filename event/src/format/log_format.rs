//! Any format: Apache's own LogFormat string, compiled into a parser (Apache HTTP Server
//! 2.4, mod_log_config, "Custom Log Formats").
//!
//! Fields are found by what a client cannot write. Apache escapes quotes and backslashes
//! that come from outside, so what stands between quotes ends at the first quote that no
//! backslash precedes. What stands bare and may hold anything, such as a user name, ends
//! where all that follows it fits. A format in which that is not one place is refused.

use super::strftime::{MILLIS_MAX, Moment, Strftime};
use super::{Access, Odd, Request, Time, ascii_number, clf, given};
use crate::time::CLF_BYTES;
use crate::zone::Zone;
use memchr::memmem;
use std::ops::Range;

/// Bytes of a format.
const FORMAT_BYTES_MAX: usize = 8 << 10;

/// Directives of a format.
const FIELDS_MAX: usize = 128;

/// Places that are tried in one line. Honest lines need about two for each field.
const TRIES_MAX: usize = 20_000;

/// A compiled format.
#[derive(Debug, Clone)]
pub struct LogFormat {
    written: String,
    tokens: Vec<Token>,
    /// Whether date and time can be told from its fields.
    is_dated: bool,
    /// How many fields have no place of their own.
    others: usize,
    warnings: Vec<String>,
}

impl PartialEq for LogFormat {
    fn eq(&self, other: &LogFormat) -> bool {
        self.written == other.written
    }
}

impl Eq for LogFormat {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Text(Vec<u8>),
    Field(Field),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    /// As the format writes it, without conditions: `%{Referer}i`.
    name: String,
    role: Role,
    shape: Shape,
}

/// What a field is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    User,
    Time,
    /// A fraction of the time's second; so many of them make a second.
    Fraction(u64),
    /// Time since 1970; so many make a second.
    Epoch(u64),
    Request,
    Method,
    Path,
    Query,
    /// `%U%q`, which are one text.
    Target,
    Protocol,
    Status,
    Bytes,
    Host,
    Port,
    Referer,
    UserAgent,
    /// A span; so many nanoseconds make one.
    Duration(u64),
    Other,
}

/// Where a field ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// After its digits; or one hyphen.
    Number,
    /// After exactly so many digits.
    Digits(usize),
    /// At a blank, or before it where the rest fits.
    Word,
    /// At the first quote that is not escaped.
    Quoted,
    /// Where the rest fits.
    Free,
    /// `[16/Nov/2026:08:00:25 +0000]`
    Clf,
    Strftime(Strftime),
}

/// Why a format cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogFormatError {
    #[error("it has no directive, such as `%h`")]
    NoDirective,
    #[error("it is longer than {FORMAT_BYTES_MAX} bytes, or has more than {FIELDS_MAX} directives")]
    TooLong,
    #[error("`{0}` breaks off")]
    BreaksOff(String),
    #[error("the time `{0}` holds {1}")]
    Time(String, String),
    #[error("where `{0}` ends and `{1}` begins cannot be told: put quotes around one of them, as in `\\\"{0}\\\"`")]
    Ambiguous(String, String),
}

impl LogFormat {
    /// Compiles a format as it stands in `httpd.conf`: with or without the quotes around
    /// it, `LogFormat` before them and a nickname behind.
    ///
    /// # Errors
    /// A format whose fields could not be told apart, and what cannot be read.
    pub fn compile(written: &str) -> Result<LogFormat, LogFormatError> {
        if written.len() > FORMAT_BYTES_MAX {
            return Err(LogFormatError::TooLong);
        }
        let text = argument(written);
        let mut tokens = tokens(&text)?;
        join_targets(&mut tokens);
        quote(&mut tokens);
        settle_rivals(&mut tokens);
        let fields = || tokens.iter().filter_map(Token::field);
        match fields().count() {
            0 => return Err(LogFormatError::NoDirective),
            1..=FIELDS_MAX => {}
            _ => return Err(LogFormatError::TooLong),
        }
        check(&tokens)?;
        let others = tokens.iter().filter_map(Token::field).filter(|field| field.role == Role::Other).count();
        let (is_dated, warnings) = (is_dated(&tokens), warnings(&tokens));
        let written = if argument(&text) == text { text } else { quoted(&text) };
        Ok(LogFormat { written, tokens, is_dated, others, warnings })
    }

    /// The format, without what stood around it. It compiles to itself, so one that would be
    /// read in another way without its quotes has them.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether its times, if it has any, tell their offset from UTC.
    pub fn tells_zone(&self) -> bool {
        let time = joined(&self.tokens);
        !time.is_whole() || time.tells_zone()
    }

    /// What a user should know of it, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Reads one line, without its line feed. Times that tell no zone are of `zone`.
    ///
    /// # Errors
    /// Why the line does not fit.
    pub fn parse<'a>(&'a self, line: &'a [u8], zone: &Zone) -> Result<Access<'a>, Odd> {
        let mut fit = Fit { tokens: &self.tokens, line, values: vec![0..0; self.tokens.len()], tries: 0 };
        if !fit.rest(0, 0) {
            return Err(Odd::OtherFormat);
        }
        let mut access = Access { line, others: Vec::with_capacity(self.others), ..Access::default() };
        let mut clock = Clock::default();
        for (token, value) in self.tokens.iter().zip(fit.values) {
            if let Token::Field(field) = token {
                fill(&mut access, &mut clock, field, &line[value])?;
            }
        }
        if self.is_dated {
            access.time = Some(clock.time(zone).ok_or(Odd::BadTime)?);
        }
        Ok(access)
    }
}

impl Token {
    fn field(&self) -> Option<&Field> {
        match self {
            Token::Field(field) => Some(field),
            Token::Text(_) => None,
        }
    }
}

/// The format that a line of `httpd.conf` gives: what stands between its quotes, of which
/// quotes and backslashes are escaped there (`ap_getword_conf`).
fn argument(written: &str) -> String {
    let bare = || written.replace("\\\"", "\"");
    let rest = written.trim_start();
    let rest = match rest.get(..10) {
        Some("LogFormat " | "logformat ") => rest[10..].trim_start(),
        _ => rest,
    };
    let Some(quoted) = rest.strip_prefix('"') else { return bare() };
    let (mut out, mut chars) = (String::new(), quoted.chars());
    while let Some(char) = chars.next() {
        match char {
            // A bare format may begin with a quote, too: `"%r" %>s`.
            '"' if chars.as_str().contains('%') => return bare(),
            '"' => return out,
            '\\' if chars.as_str().starts_with(['"', '\\']) => out.extend(chars.next()),
            char => out.push(char),
        }
    }
    bare()
}

/// What [`argument`] makes `text` of.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn tokens(format: &str) -> Result<Vec<Token>, LogFormatError> {
    let (mut out, mut text, mut rest) = (Vec::new(), Vec::new(), format);
    while let Some(char) = rest.chars().next() {
        let (literal, used) = match char {
            '%' if rest.starts_with("%%") => ("%", 2),
            '%' => {
                if !text.is_empty() {
                    out.push(Token::Text(std::mem::take(&mut text)));
                }
                let (field, used) = directive(rest)?;
                out.push(Token::Field(field));
                rest = &rest[used..];
                continue;
            }
            '\\' if rest.starts_with("\\n") => ("\n", 2),
            '\\' if rest.starts_with("\\t") => ("\t", 2),
            '\\' if rest.starts_with("\\r") => ("\r", 2),
            '\\' if rest.starts_with("\\\\") => ("\\", 2),
            _ => (&rest[..char.len_utf8()], char.len_utf8()),
        };
        text.extend_from_slice(literal.as_bytes());
        rest = &rest[used..];
    }
    if !text.is_empty() {
        out.push(Token::Text(text));
    }
    Ok(out)
}

/// Reads `%!200,304>{Referer}i` and the like. Returns how many bytes it takes.
fn directive(text: &str) -> Result<(Field, usize), LogFormatError> {
    let broken = || LogFormatError::BreaksOff(text.chars().take(40).collect());
    let (mut at, mut argument, mut side) = (1, None, "");
    loop {
        match text.as_bytes().get(at).ok_or_else(broken)? {
            b'!' | b',' | b'0'..=b'9' => at += 1,
            b'<' => (side, at) = ("<", at + 1),
            b'>' => (side, at) = (">", at + 1),
            b'{' => {
                let end = text[at..].find('}').ok_or_else(broken)? + at;
                (argument, at) = (Some(&text[at + 1..end]), end + 1);
            }
            b'^' => {
                let letters = text.get(at..at + 3).ok_or_else(broken)?;
                return Ok((field(letters, argument, side)?, at + 3));
            }
            _ => {
                let letter = text[at..].chars().next().ok_or_else(broken)?;
                let letters = &text[at..at + letter.len_utf8()];
                return Ok((field(letters, argument, side)?, at + letters.len()));
            }
        }
    }
}

fn field(letters: &str, argument: Option<&str>, side: &str) -> Result<Field, LogFormatError> {
    let name = match argument {
        Some(argument) => format!("%{side}{{{argument}}}{letters}"),
        None => format!("%{side}{letters}"),
    };
    let (role, shape) = match (letters, argument) {
        ("t", None) => (Role::Time, Shape::Clf),
        ("t", Some(format)) => time(&name, format)?,
        ("h", _) | ("a", None) => (Role::Client, Shape::Word),
        ("a" | "A" | "l" | "X" | "L" | "R", _) => (Role::Other, Shape::Word),
        ("P", Some("hextid")) => (Role::Other, Shape::Word),
        ("v" | "V", _) => (Role::Host, Shape::Word),
        ("H", _) => (Role::Protocol, Shape::Word),
        ("m", _) => (Role::Method, Shape::Word),
        ("u", _) => (Role::User, Shape::Free),
        ("r", _) => (Role::Request, Shape::Free),
        ("U", _) => (Role::Path, Shape::Free),
        ("q", _) => (Role::Query, Shape::Free),
        ("s", _) => (Role::Status, Shape::Number),
        ("b" | "B" | "O", _) => (Role::Bytes, Shape::Number),
        ("D", _) | ("T", Some("us")) => (Role::Duration(1_000), Shape::Number),
        ("T", Some("ms")) => (Role::Duration(1_000_000), Shape::Number),
        ("T", _) => (Role::Duration(1_000_000_000), Shape::Number),
        ("p", Some("remote")) => (Role::Other, Shape::Number),
        ("p", _) => (Role::Port, Shape::Number),
        ("I" | "S" | "k" | "P" | "^FB" | "^FU", _) => (Role::Other, Shape::Number),
        ("i", Some(header)) if header.eq_ignore_ascii_case("referer") => (Role::Referer, Shape::Free),
        ("i", Some(header)) if header.eq_ignore_ascii_case("user-agent") => (Role::UserAgent, Shape::Free),
        _ => (Role::Other, Shape::Free),
    };
    Ok(Field { name, role, shape })
}

/// The time of a request's begin; of its end where the format says so.
fn time(name: &str, format: &str) -> Result<(Role, Shape), LogFormatError> {
    let format = format.strip_prefix("begin:").or_else(|| format.strip_prefix("end:")).unwrap_or(format);
    Ok(match format {
        "sec" => (Role::Epoch(1), Shape::Number),
        "msec" => (Role::Epoch(1_000), Shape::Number),
        "usec" => (Role::Epoch(1_000_000), Shape::Number),
        "msec_frac" => (Role::Fraction(1_000), Shape::Digits(3)),
        "usec_frac" => (Role::Fraction(1_000_000), Shape::Digits(6)),
        format => {
            let compiled = Strftime::compile(format);
            (Role::Time, Shape::Strftime(compiled.map_err(|what| LogFormatError::Time(name.to_owned(), what))?))
        }
    })
}

/// Makes one field of `%U%q`: path and query as one text.
fn join_targets(tokens: &mut Vec<Token>) {
    let is = |token: Option<&Token>, role| token.and_then(Token::field).is_some_and(|field| field.role == role);
    let mut at = 0;
    while at < tokens.len() {
        if is(tokens.get(at), Role::Path) && is(tokens.get(at + 1), Role::Query) {
            let joined = Field { name: "%U%q".to_owned(), role: Role::Target, shape: Shape::Free };
            tokens.splice(at..at + 2, [Token::Field(joined)]);
        }
        at += 1;
    }
}

/// Where a format tells a thing twice, one of them is the one that is meant: the last
/// status, the bytes of the body, the time when the request came, and the server's name as
/// the server has it.
fn settle_rivals(tokens: &mut [Token]) {
    let is_end = |token: &Token| token.field().is_some_and(|field| field.name.starts_with("%{end:"));
    let others: Vec<Token> = tokens.iter().filter(|token| !is_end(token)).cloned().collect();
    if is_dated(&others) {
        for token in tokens.iter_mut().filter(|token| is_end(token)) {
            if let Token::Field(field) = token {
                field.role = Role::Other;
            }
        }
    }
    let rivals = [(Role::Status, &["%>s"][..]), (Role::Bytes, &["%b", "%B", "%>b", "%>B"]), (Role::Host, &["%v"])];
    for (role, meant) in rivals {
        let is_meant = |field: &Field| field.role == role && meant.contains(&field.name.as_str());
        if !tokens.iter().filter_map(Token::field).any(is_meant) {
            continue;
        }
        for token in tokens.iter_mut() {
            match token {
                Token::Field(field) if field.role == role && !is_meant(field) => field.role = Role::Other,
                _ => {}
            }
        }
    }
}

/// Gives the fields between two quotes their shape.
fn quote(tokens: &mut [Token]) {
    for at in 1..tokens.len().saturating_sub(1) {
        let (before, rest) = tokens.split_at_mut(at);
        let ([field, after, ..], Some(Token::Text(before))) = (rest, before.last()) else { continue };
        let (Token::Field(field), Token::Text(after)) = (field, after) else { continue };
        let open = before.ends_with(b"\"") && after.starts_with(b"\"");
        if open && matches!(field.shape, Shape::Word | Shape::Free) {
            field.shape = Shape::Quoted;
        }
    }
}

/// Whether each field's end can be told.
fn check(tokens: &[Token]) -> Result<(), LogFormatError> {
    for (at, token) in tokens.iter().enumerate() {
        let Some(field) = token.field() else { continue };
        let ambiguous = |other: &Field| Err(LogFormatError::Ambiguous(field.name.clone(), other.name.clone()));
        let fixed = matches!(field.shape, Shape::Clf | Shape::Strftime(_) | Shape::Digits(_));
        if let (false, Some(next)) = (fixed, tokens.get(at + 1).and_then(Token::field)) {
            return ambiguous(next);
        }
        if field.shape != Shape::Free {
            continue;
        }
        for later in &tokens[at + 1..] {
            match later {
                // A client's quote is escaped.
                Token::Text(text) if text.contains(&b'"') => break,
                Token::Field(Field { shape: Shape::Clf, .. }) => break,
                Token::Field(other) if other.shape == Shape::Free => return ambiguous(other),
                Token::Text(_) | Token::Field(_) => {}
            }
        }
    }
    Ok(())
}

/// All letters that mod_log_config, mod_logio and mod_ssl define.
const KNOWN: [&str; 34] = [
    "h", "a", "A", "l", "u", "t", "r", "m", "U", "q", "H", "s", "b", "B", "I", "O", "S", "D", "T", "v", "V", "p", "P",
    "k", "X", "L", "R", "f", "i", "o", "e", "n", "C", "x",
];

/// All strftime formats of a format, as one.
fn joined(tokens: &[Token]) -> Strftime {
    Strftime::joined(tokens.iter().filter_map(Token::field).filter_map(|field| match &field.shape {
        Shape::Strftime(format) => Some(format),
        _ => None,
    }))
}

fn is_dated(tokens: &[Token]) -> bool {
    let tells = |field: &Field| field.shape == Shape::Clf || matches!(field.role, Role::Epoch(_));
    joined(tokens).is_whole() || tokens.iter().filter_map(Token::field).any(tells)
}

fn warnings(tokens: &[Token]) -> Vec<String> {
    let mut out = Vec::new();
    let fields = || tokens.iter().filter_map(Token::field);
    for field in fields() {
        let letters = field.name.trim_start_matches(['%', '<', '>']);
        let letters = letters.rsplit('}').next().unwrap_or(letters);
        let known = KNOWN.contains(&letters) || ["^ti", "^to", "^FB", "^FU", "U%q"].contains(&letters);
        if !known {
            out.push(format!("`{}` is not known; it is kept under its own name", field.name));
        }
    }
    let time = joined(tokens);
    if time.is_whole() && !time.tells_zone() {
        out.push("its times tell no offset from UTC and are of the file's `timezone`: add `%{%z}t`".to_owned());
    }
    if !is_dated(tokens) {
        out.push("it has no field that tells date and time; lines are dated by when they are read".to_owned());
    }
    if !fields().any(|field| field.role == Role::Client) {
        out.push("it has no address of the client, `%h` or `%a`".to_owned());
    }
    out
}

/// A line being fitted to a format.
struct Fit<'a> {
    tokens: &'a [Token],
    line: &'a [u8],
    /// Where the fields of the tokens stand.
    values: Vec<Range<usize>>,
    tries: usize,
}

impl Fit<'_> {
    /// Whether the tokens from `token` on fit the line from `at` on, to its end.
    fn rest(&mut self, token: usize, at: usize) -> bool {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return false;
        }
        match self.tokens.get(token) {
            None => at == self.line.len(),
            Some(Token::Text(text)) => self.line[at..].starts_with(text) && self.rest(token + 1, at + text.len()),
            Some(Token::Field(field)) => self.field(field, token, at),
        }
    }

    fn ends(&mut self, token: usize, at: usize, end: usize) -> bool {
        self.values[token] = at..end;
        self.rest(token + 1, end)
    }

    fn field(&mut self, field: &Field, token: usize, at: usize) -> bool {
        let text = &self.line[at..];
        let end = match &field.shape {
            Shape::Number => number_end(text),
            Shape::Digits(count) => {
                text.get(..*count).filter(|digits| digits.iter().all(u8::is_ascii_digit)).map(<[u8]>::len)
            }
            // Apache writes an empty user name as two quotes, also between quotes.
            Shape::Quoted if field.role == Role::User && text.starts_with(b"\"\"\"") => Some(2),
            Shape::Quoted => Some(quote_at(text)).filter(|end| *end < text.len()),
            Shape::Clf => is_clf(text).then_some(CLF_BYTES + 2),
            Shape::Strftime(format) => format.read(text, &mut Moment::default()),
            Shape::Word | Shape::Free => return self.search(field, token, at),
        };
        end.is_some_and(|end| self.ends(token, at, at + end))
    }

    /// Tries the places where a bare field may end, the first one first.
    fn search(&mut self, field: &Field, token: usize, at: usize) -> bool {
        let text = &self.line[at..];
        // Apache writes an empty user name as two quotes.
        if field.role == Role::User && text.starts_with(b"\"\"") && self.ends(token, at, at + 2) {
            return true;
        }
        let (limit, shortest) = match field.shape {
            Shape::Word => (memchr::memchr(b' ', text).unwrap_or(text.len()), 1),
            _ => (quote_at(text), 0),
        };
        let Some(Token::Text(next)) = self.tokens.get(token + 1) else {
            // The last field takes all that is left.
            let whole = field.shape == Shape::Free || limit == text.len();
            return whole && text.len() >= shortest && self.ends(token, at, self.line.len());
        };
        let only = match (&field.shape, next.first()) {
            (_, Some(b'"')) => Some(quote_at(&text[..limit])),
            (Shape::Word, Some(b' ')) => Some(limit),
            _ => None,
        };
        if let Some(end) = only {
            return end >= shortest && self.ends(token, at, at + end);
        }
        let window = &text[..text.len().min(limit + next.len())];
        let mut from = shortest;
        while let Some(found) = window.get(from..).and_then(|rest| memmem::find(rest, next)) {
            if self.ends(token, at, at + from + found) {
                return true;
            }
            from += found + 1;
        }
        false
    }
}

/// Where the first quote stands that no backslash precedes; the end if there is none.
fn quote_at(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &text[at.min(text.len())..]) {
        at += found;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

fn number_end(text: &[u8]) -> Option<usize> {
    let sign = usize::from(text.starts_with(b"-"));
    let digits = text[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (sign + digits > 0).then_some(sign + digits)
}

fn is_clf(text: &[u8]) -> bool {
    text.len() >= CLF_BYTES + 2 && text[0] == b'[' && text[CLF_BYTES + 1] == b']' && text[3] == b'/'
}

/// The time of a line, gathered from its fields.
#[derive(Default)]
struct Clock<'a> {
    /// From a field that tells all.
    main: Option<Time<'a>>,
    /// From fields that tell parts, and the first of them.
    moment: Moment,
    first: Option<&'a [u8]>,
    fraction_millis: i64,
    /// Whether the main field tells its fraction itself.
    is_fine: bool,
}

impl<'a> Clock<'a> {
    fn time(&self, zone: &Zone) -> Option<Time<'a>> {
        let gathered = || Some(Time { written: self.first?, at: self.moment.time(zone)? });
        let Time { written, at } = self.main.or_else(gathered)?;
        Some(Time { written, at: at + if self.is_fine { 0 } else { self.fraction_millis } })
    }

    fn take(&mut self, format: &Strftime, value: &'a [u8]) {
        self.first = self.first.or(Some(value));
        format.read(value, &mut self.moment);
    }
}

/// Puts one value where it belongs: into the first free place of its kind, or to the
/// others, by its name.
fn fill<'a>(access: &mut Access<'a>, clock: &mut Clock<'a>, field: &'a Field, value: &'a [u8]) -> Result<(), Odd> {
    let number = ascii_number(value);
    let small = number.and_then(|number| u16::try_from(number).ok());
    let there = given(value);
    let taken = match field.role {
        Role::Client if access.client.is_empty() => {
            access.client = value;
            true
        }
        Role::Client | Role::Other => false,
        Role::User => set(&mut access.user, there),
        Role::Request if access.request.is_none_or(|request| request.line.is_empty()) => {
            access.request = there.map(Request::of).or(access.request);
            true
        }
        Role::Request => false,
        Role::Method => set(&mut request(access).method, there),
        Role::Target => set(&mut request(access).target, there),
        Role::Protocol => {
            let version = there.map(|text| text.strip_prefix(b"HTTP/").unwrap_or(text));
            set(&mut request(access).version, version)
        }
        Role::Path => set(&mut access.path, there),
        Role::Query => set(&mut access.query, there.filter(|query| !query.is_empty())),
        Role::Referer => set(&mut access.referer, there),
        Role::UserAgent => set(&mut access.user_agent, there),
        Role::Status => set(&mut access.status, small),
        Role::Bytes => set(&mut access.bytes, number),
        Role::Host => host(access, field, there),
        Role::Port => access.vhost.as_mut().is_some_and(|(_, port)| set(port, small)),
        // The finest unit that there is tells most.
        Role::Duration(unit) => {
            let span = number.and_then(|count| count.checked_mul(unit));
            access.duration_nanos = access.duration_nanos.max(span);
            true
        }
        Role::Time => match &field.shape {
            Shape::Strftime(format) => {
                clock.take(format, value);
                true
            }
            _ => set(&mut clock.main, Some(clf(&value[1..=CLF_BYTES]).map_err(|_| Odd::BadTime)?.1)),
        },
        Role::Epoch(unit) => {
            let at = number.and_then(|count| i64::try_from(u128::from(count) * 1_000 / u128::from(unit)).ok());
            let at = at.filter(|at| *at <= MILLIS_MAX);
            clock.is_fine |= clock.main.is_none() && unit > 1;
            set(&mut clock.main, at.map(|at| Time { written: value, at }))
        }
        Role::Fraction(unit) => {
            clock.fraction_millis = number.map_or(0, |count| (count * 1_000 / unit) as i64);
            true
        }
    };
    if !taken && there.is_some() {
        access.others.push((&field.name, value));
    }
    Ok(())
}

/// Takes the server's name, and notes whether it may be the client's word.
fn host<'a>(access: &mut Access<'a>, field: &Field, name: Option<&'a [u8]>) -> bool {
    let is_claimed = field.name.ends_with('V');
    let is_free = access.vhost.is_none() && name.is_some();
    if is_free {
        (access.vhost, access.is_vhost_claimed) = (name.map(|name| (name, None)), is_claimed);
    }
    is_free
}

/// Fills a place that is free. False if it was not.
fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let is_free = place.is_none();
    if is_free {
        *place = value;
    }
    is_free
}

/// The request, of which no whole line was written, or not yet.
fn request<'r, 'a>(access: &'r mut Access<'a>) -> &'r mut Request<'a> {
    access.request.get_or_insert(Request { line: b"", method: None, target: None, version: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unescape::{escape, unescape};
    use proptest::prelude::*;

    fn compile(written: &str) -> LogFormat {
        LogFormat::compile(written).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_format_is_read_as_it_stands_in_the_servers_configuration() {
        let bare = r#"%h "%r" \t%>s %%"#;
        for written in [bare, r#""%h \"%r\" \t%>s %%""#, r#"LogFormat "%h \"%r\" \t%>s %%" mine"#] {
            let format = compile(written);
            assert_eq!(format.written(), bare);
            let access = format.parse(b"::1 \"GET / HTTP/1.1\" \t200 %", &Zone::UTC).unwrap();
            assert_eq!((access.client, access.status), (&b"::1"[..], Some(200)));
        }
        assert_eq!(compile(r#""%r" %>s"#).parse(b"\"GET / HTTP/1.1\" 404", &Zone::UTC).unwrap().status, Some(404));
    }

    #[test]
    fn a_format_that_travels_as_it_is_written_stays_the_same() {
        for written in [r#""\"%r\"""#, r#""\"%h\" x""#, r#""%h \\\\\"%r\"""#, "\" %h\"", "LogFormat \"LogFormat %h\""] {
            let format = compile(written);
            let again = compile(format.written());
            assert_eq!((again.written(), &again.tokens), (format.written(), &format.tokens));
        }
    }

    #[test]
    fn conditions_and_sides_are_no_part_of_a_field() {
        let format = compile(r#""%!200,304{Referer}i" "%400,501{X-A}i" %<s %>s %h"#);
        let access = format.parse(br#""http://a/" "b c" 302 404 ::1"#, &Zone::UTC).unwrap();
        assert_eq!((access.referer, access.status), (Some(&b"http://a/"[..]), Some(404)));
        assert_eq!(access.others, [("%{X-A}i", &b"b c"[..]), ("%<s", b"302")]);
    }

    #[test]
    fn a_user_name_with_blanks_and_brackets_ends_where_all_else_fits() {
        let format = compile("%h %l %u [%{%F %T}t] \"%r\"");
        for user in ["bob", "a b", "b[r]k", "x [2026-01-01 00:00:00] y", r#"evil\" [2026-01-01 00:00:00] \"x"#] {
            let line = format!("::1 - {user} [2026-11-16 08:00:25] \"GET / HTTP/1.1\"");
            let access = format.parse(line.as_bytes(), &Zone::UTC).unwrap();
            assert_eq!(access.user, Some(user.as_bytes()));
            assert_eq!(access.time.unwrap().at, 1_794_816_025_000);
        }
        let empty = format.parse(b"::1 - \"\" [2026-11-16 08:00:25] \"-\"", &Zone::UTC).unwrap();
        assert_eq!((empty.user, empty.request), (Some(&b"\"\""[..]), None));
        let quoted = compile(r#"# "%u" %h"#);
        for (line, user) in [(&b"# \"\"\"\" ::1"[..], &b"\"\""[..]), (br#"# "a \"b" ::1"#, br#"a \"b"#)] {
            assert_eq!(quoted.parse(line, &Zone::UTC).unwrap().user, Some(user));
        }
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_word() {
        let format = compile("%h\"%m %U%q %H\"");
        let access = format.parse(br#"a\""GET / HTTP/1.1""#, &Zone::UTC).unwrap();
        assert_eq!((access.client, access.request.unwrap().method), (&br#"a\""#[..], Some(&b"GET"[..])));
    }

    #[test]
    fn times_are_put_together_from_their_fields() {
        for (format, line, at) in [
            ("%{%FT%T}t.%{usec_frac}t %h", "2026-11-16T08:00:25.123999 ::1", 1_794_816_025_123),
            ("%{msec_frac}t %{end:%F %T%z}t %h", "007 2026-11-16 09:00:25+0100 ::1", 1_794_816_025_007),
            ("%{usec}t %h", "1794816025123456 ::1", 1_794_816_025_123),
            ("%{sec}t.%{msec_frac}t %h", "1794816025.250 ::1", 1_794_816_025_250),
            ("%t %h", "[16/Nov/2026:08:00:25 +0000] ::1", 1_794_816_025_000),
            ("%{%d/%b/%Y %T}t.%{msec_frac}t %{%z}t %h", "16/Nov/2026 09:00:25.250 +0100 ::1", 1_794_816_025_250),
            ("%{%F %T}t.%{msec_frac}t %{end:msec}t %h", "2026-11-16 08:00:25.250 1794816025999 ::1", 1_794_816_025_250),
            ("%{msec}t %{msec_frac}t %h", "1794816025250 250 ::1", 1_794_816_025_250),
            ("%{%F}t %{%T}t %{end:%F %T}t %h", "2026-11-16 08:00:25 2026-11-16 08:00:26 ::1", 1_794_816_025_000),
        ] {
            assert_eq!(compile(format).parse(line.as_bytes(), &Zone::UTC).unwrap().time.unwrap().at, at, "{format}");
        }
        assert_eq!(compile("%t %h").parse(b"[31/Feb/2026:08:00:25 +0000] ::1", &Zone::UTC), Err(Odd::BadTime));
        assert_eq!(compile("%{%F %T}t %h").parse(b"2026-02-31 08:00:00 ::1", &Zone::UTC), Err(Odd::BadTime));
        let late = compile("%{sec}t.%{msec_frac}t %h");
        assert_eq!(late.parse(b"9223372036854775.999 ::1", &Zone::UTC), Err(Odd::BadTime));
        assert_eq!(compile("%h").parse(b"::1", &Zone::UTC).unwrap().time, None);
        assert_eq!(compile("%{%F}t %h").parse(b"2026-11-16 ::1", &Zone::UTC).unwrap().time, None, "a day is no time");
    }

    #[test]
    fn the_servers_own_name_is_meant_before_the_one_that_a_client_may_have_named() {
        let host = |format: &str, line: &str| {
            let format = compile(format);
            let access = format.parse(line.as_bytes(), &Zone::UTC).unwrap();
            let name = access.vhost.map(|(name, _)| String::from_utf8(name.to_vec()).unwrap());
            (name, access.is_vhost_claimed)
        };
        assert_eq!(host("%V %v %h", "evil.example dev.lab ::1"), (Some("dev.lab".to_owned()), false));
        assert_eq!(host("%V %h", "evil.example ::1"), (Some("evil.example".to_owned()), true));
        assert_eq!(host("%V %h", "- ::1"), (None, false));
    }

    #[test]
    fn the_finest_span_and_the_parts_of_a_request_are_told() {
        let format = compile("%T %D %{ms}T %m %U%q %H %V:%p");
        let access = format.parse(b"1 1234567 1234 POST /a b?c=1 HTTP/2.0 dev.lab:8080", &Zone::UTC).unwrap();
        assert_eq!(access.duration_nanos, Some(1_234_567_000));
        let request = access.request.unwrap();
        assert_eq!(
            (request.method, request.target, request.version),
            (Some(&b"POST"[..]), Some(&b"/a b?c=1"[..]), Some(&b"2.0"[..]))
        );
        assert_eq!(access.vhost, Some((&b"dev.lab"[..], Some(8080))));
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused_with_its_place() {
        for (format, expected) in [
            (
                "%h %u%r",
                "where `%u` ends and `%r` begins cannot be told: put quotes around one of them, as in `\\\"%u\\\"`",
            ),
            (
                "%h %u %r",
                "where `%u` ends and `%r` begins cannot be told: put quotes around one of them, as in `\\\"%u\\\"`",
            ),
            (
                "%h%a",
                "where `%h` ends and `%a` begins cannot be told: put quotes around one of them, as in `\\\"%h\\\"`",
            ),
            (
                "%D%T",
                "where `%D` ends and `%T` begins cannot be told: put quotes around one of them, as in `\\\"%D\\\"`",
            ),
            ("%{Referer", "`%{Referer` breaks off"),
            ("%h %", "`%` breaks off"),
            ("%{%c}t %h", "the time `%{%c}t` holds `%c`, which is not understood"),
            ("hello", "it has no directive, such as `%h`"),
        ] {
            assert_eq!(LogFormat::compile(format).unwrap_err().to_string(), expected, "{format}");
        }
    }

    #[test]
    fn what_a_user_should_know_is_told() {
        assert_eq!(compile("%h %t \"%r\" %>s").warnings(), [""; 0]);
        assert_eq!(
            compile("%{%F %T}t %y \"%r\"").warnings(),
            [
                "`%y` is not known; it is kept under its own name",
                "its times tell no offset from UTC and are of the file's `timezone`: add `%{%z}t`",
                "it has no address of the client, `%h` or `%a`",
            ]
        );
    }

    #[test]
    fn a_line_that_would_take_long_is_given_up() {
        let format = compile("%u %h %A %V %L %R %X \"%r\"");
        let line = [&b"a ".repeat(100_000)[..], b"b"].concat();
        assert_eq!(format.parse(&line, &Zone::UTC), Err(Odd::OtherFormat));
    }

    /// A field with a value that Apache might write for it.
    fn part() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
        let word = "[!#-\\[\\]-~]{1,8}".prop_map(String::into_bytes);
        let number = prop_oneof!["[0-9]{1,6}", Just("-".to_owned())].prop_map(String::into_bytes);
        let sent = prop::collection::vec(any::<u8>(), 1..12).prop_map(|bytes| escape(&bytes));
        prop_oneof![
            (Just("%h"), word.clone()),
            (Just("%V"), word.clone()),
            (Just("%R"), word),
            (Just("%D"), number.clone()),
            (Just("%b"), number),
            (Just("%t"), Just(b"[16/Nov/2026:08:00:25 +0000]".to_vec())),
            (Just("\"%{X-A}i\""), sent.clone()),
            (Just("\"%{Referer}i\""), sent.clone()),
            (Just("\"%{User-Agent}i\""), sent.clone()),
            (Just("\"%r\""), sent),
        ]
    }

    proptest! {
        #[test]
        fn what_apache_writes_is_read(parts in prop::collection::vec((part(), " [|;,]{0,2}"), 1..9)) {
            let format: String = parts.iter().map(|((directive, _), between)| format!("{directive}{between}")).collect();
            let format = format!("# {format}");
            let mut line = b"# ".to_vec();
            for ((directive, value), between) in &parts {
                let quote = if directive.starts_with('"') { "\"" } else { "" };
                line.extend([quote.as_bytes(), value, quote.as_bytes(), between.as_bytes()].concat());
            }
            let format = compile(&format);
            let access = format.parse(&line, &Zone::UTC).unwrap();
            let first = |wanted: &str| parts.iter().find(|((directive, _), _)| *directive == wanted).map(|((_, value), _)| value);
            // Of two of a kind the first one that tells anything.
            let meant = |wanted: &str| {
                let mut values = parts.iter().filter(|((directive, _), _)| *directive == wanted).map(|((_, value), _)| value);
                values.find(|value| *value != b"-").map(|value| unescape(value).into_owned())
            };
            prop_assert_eq!(access.client, first("%h").map_or(&b""[..], |value| value));
            for (wanted, got) in [("\"%{Referer}i\"", access.referer), ("\"%{User-Agent}i\"", access.user_agent)] {
                prop_assert_eq!(got.map(|value| unescape(value).into_owned()), meant(wanted));
            }
            prop_assert_eq!(access.time.is_some(), first("%t").is_some());
        }

        #[test]
        fn no_format_and_no_line_make_it_panic(
            format in r#"([%"{}<>!,^\\ ]|[a-zA-Z0-9]|%[a-zA-Z]|\{Referer\}){0,20}"#,
            line: Vec<u8>,
            text in r#"[ "\\\[\]0-9a-z:/+-]{0,60}"#,
        ) {
            if let Ok(format) = LogFormat::compile(&format) {
                let _ = format.parse(&line, &Zone::UTC);
                let _ = format.parse(text.as_bytes(), &Zone::UTC);
            }
        }
    }
}
