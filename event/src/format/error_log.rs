//! Apache's error log: its own format, or any ErrorLogFormat, compiled into a parser (Apache
//! HTTP Server 2.4, core, "ErrorLogFormat Directive"; server/log.c, `do_errorlog_format`).
//!
//! Where an item has nothing to tell, Apache leaves its whole field out, so most of a line
//! may be missing: what is there is found by what stands around it. Programs that Apache
//! starts, such as the shell of a CGI script, write into the same log without any head, and
//! sometimes leave a line unfinished that the next writer goes on with.

use super::log_format::quoted;
use super::strftime::{Moment, Strftime};
use super::{Time, ascii_number};
use crate::unescape::unescape;
use crate::zone::Zone;
use memchr::memmem;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

/// Bytes of a format.
const FORMAT_BYTES_MAX: usize = 8 << 10;

/// Items of a format.
const ITEMS_MAX: usize = 128;

/// Places that are tried in one line.
const TRIES_MAX: usize = 20_000;

/// Fields of ModSecurity that are read from one line.
const MODSECURITY_FIELDS_MAX: usize = 32;

/// What `httpd.conf` writes before such a format, and users before theirs.
const DIRECTIVE: &str = "ErrorLogFormat";

/// Apache's own formats (`do_errorlog_default`): with threads, without, and version 2.2's.
static DEFAULTS: LazyLock<[ErrorLogFormat; 3]> = LazyLock::new(|| {
    let rest = r"%7F: %E: [client\ %a] %M% ,\ referer:\ %{Referer}i";
    ["[%{u}t] [%-m:%l] [pid %P:tid %T] ", "[%{u}t] [%-m:%l] [pid %P] ", "[%t] [%l] "]
        .map(|head| ErrorLogFormat::compile(&format!("{head}{rest}")).expect("Apache's own formats can be compiled"))
});

/// One line of an error log. Text is as Apache wrote it, escapes included; the message
/// of a joined group holds line feeds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorLine<'a> {
    /// What another program had begun to write on the same line.
    pub before: Option<&'a [u8]>,
    /// `%t`
    pub time: Option<Time<'a>>,
    /// `%m`: the module, such as `php` or `core`.
    pub module: Option<&'a [u8]>,
    /// `%l`: `emerg` to `trace8`.
    pub level: Option<&'a [u8]>,
    /// `%P`
    pub pid: Option<u64>,
    /// `%T`
    pub tid: Option<u64>,
    /// `%a`: the client's address and port.
    pub client: Option<(&'a [u8], Option<u16>)>,
    /// `%E`: such as `(13)Permission denied`.
    pub status: Option<&'a [u8]>,
    /// `%F`: the file and line of Apache's own source.
    pub source: Option<(&'a [u8], u64)>,
    /// `%M`; all of a line without a head.
    pub message: &'a [u8],
    /// `%{Referer}i`
    pub referer: Option<&'a [u8]>,
    /// All other items that have a value, by their directive.
    pub others: Vec<(&'a str, &'a [u8])>,
}

/// An error, warning or notice of PHP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Php<'a> {
    /// Such as `PHP Warning`.
    pub kind: Cow<'a, str>,
    /// Where it came from.
    pub file: Option<String>,
    pub line: Option<u64>,
    /// What follows `Stack trace:`.
    pub stack_trace: Option<String>,
}

impl<'a> ErrorLine<'a> {
    /// Apache's number of the message, such as `AH00126`.
    pub fn code(&self) -> Option<&'a [u8]> {
        let code = self.message.get(..7)?;
        let numbered = code.starts_with(b"AH") && code[2..].iter().all(u8::is_ascii_digit);
        (numbered && self.message.get(7) == Some(&b':')).then_some(code)
    }

    /// What PHP says, if the message is PHP's.
    pub fn php(&self) -> Option<Php<'a>> {
        if !self.message.starts_with(b"PHP ") {
            return None;
        }
        let colon = memchr::memchr(b':', self.message).filter(|at| *at < 40)?;
        let kind = String::from_utf8_lossy(&self.message[..colon]);
        let text = unescape(self.message);
        let text = String::from_utf8_lossy(&text);
        let trace = text.split_once("\nStack trace:\n").map(|(_, trace)| trace.to_owned());
        let (file, line) = php_place(&text).unzip();
        Some(Php { kind, file, line, stack_trace: trace })
    }

    /// The fields that ModSecurity writes behind its message, as `[id "942100"]`; without
    /// value twice where a name comes twice.
    pub fn modsecurity(&self) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        let mut out = Vec::new();
        if !self.message.starts_with(b"ModSecurity") {
            return out;
        }
        let mut rest = self.message;
        while let Some(open) = memmem::find(rest, b" [").filter(|_| out.len() < MODSECURITY_FIELDS_MAX) {
            rest = &rest[open + 2..];
            let name = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            let (name, value) = rest.split_at(name);
            let Some(value) = value.strip_prefix(b" \"") else { continue };
            let Some(end) = memmem::find(value, b"\"]") else { break };
            out.push((String::from_utf8_lossy(name), String::from_utf8_lossy(&value[..end])));
            rest = &value[end + 1..];
        }
        out
    }
}

/// The last ` in FILE on line N`, or ` in FILE:N` before a stack trace.
fn php_place(text: &str) -> Option<(String, u64)> {
    let number = |text: &str| {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        text[..digits].parse::<u64>().ok()
    };
    let (file, line) = match text.rfind(" on line ") {
        Some(at) => (&text[..at], number(&text[at + " on line ".len()..])?),
        None => {
            let head = text.split("\nStack trace:").next()?.trim_end();
            let (file, line) = head.rsplit_once(':')?;
            (file, number(line)?)
        }
    };
    let (_, file) = file.rsplit_once(" in ")?;
    Some((file.to_owned(), line))
}

/// A compiled format of an error log.
#[derive(Debug, Clone)]
pub struct ErrorLogFormat {
    written: String,
    blocks: Vec<Block>,
}

impl PartialEq for ErrorLogFormat {
    fn eq(&self, other: &ErrorLogFormat) -> bool {
        self.written == other.written
    }
}

impl Eq for ErrorLogFormat {}

/// What Apache writes or leaves out as a whole.
#[derive(Debug, Clone, Default)]
struct Block {
    items: Vec<Item>,
    /// Whether it may be missing.
    is_optional: bool,
    /// Number of its first field.
    first: usize,
}

#[derive(Debug, Clone)]
enum Item {
    Text(Vec<u8>),
    Field(Field),
}

#[derive(Debug, Clone)]
struct Field {
    /// As the format writes it, without modifiers.
    name: String,
    role: Role,
    shape: Shape,
    /// Whether Apache writes a hyphen where it has nothing to tell.
    has_hyphen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Time,
    Module,
    Level,
    Pid,
    Tid,
    Client,
    Status,
    Source,
    Message,
    Referer,
    Other,
}

/// Where a field ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// After date and time, between which a fraction of a second may stand.
    Time(Clock),
    /// After letters, digits, `_` and `-`.
    Name,
    Digits,
    /// At a blank or a `]`.
    Word,
    /// As [`Shape::Word`], and with `(number)` at its end.
    Source,
    /// Begins with `(` and ends where the rest fits.
    Status,
    /// Where the rest fits.
    Free,
}

/// How a time is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Clock {
    before: Strftime,
    has_micros: bool,
    after: Option<Strftime>,
}

/// Why a format cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorLogFormatError {
    #[error("it has no message, `%M`: formats for once a connection or a request are not read")]
    NoMessage,
    #[error("it is longer than {FORMAT_BYTES_MAX} bytes, or has more than {ITEMS_MAX} items")]
    TooLong,
    #[error("`{0}` breaks off")]
    BreaksOff(String),
    #[error("`{0}` is not known")]
    Unknown(String),
    #[error("the time `{0}` is not understood: use `%t`, `%{{u}}t`, `%{{c}}t` or `%{{cu}}t`")]
    Time(String),
    #[error("where `{0}` ends and `{1}` begins cannot be told: put something between them")]
    Ambiguous(String, String),
}

impl ErrorLogFormat {
    /// Whether `written` is meant to be one: it begins as the directive of `httpd.conf` does.
    pub fn is_meant(written: &str) -> bool {
        written.trim_start().get(..DIRECTIVE.len()).is_some_and(|word| word.eq_ignore_ascii_case(DIRECTIVE))
    }

    /// Compiles a format as it stands in `httpd.conf`: with or without the directive's name
    /// and the quotes around it.
    ///
    /// # Errors
    /// A format without a message, and what cannot be read.
    pub fn compile(written: &str) -> Result<ErrorLogFormat, ErrorLogFormatError> {
        if written.len() > FORMAT_BYTES_MAX {
            return Err(ErrorLogFormatError::TooLong);
        }
        let text = argument(written);
        let mut blocks = blocks(&text)?;
        if blocks.iter().map(|block| block.items.len()).sum::<usize>() > ITEMS_MAX {
            return Err(ErrorLogFormatError::TooLong);
        }
        let mut first = 0;
        for block in &mut blocks {
            block.first = first;
            first += block.fields().count();
        }
        if !blocks.iter().flat_map(Block::fields).any(|field| field.role == Role::Message) {
            return Err(ErrorLogFormatError::NoMessage);
        }
        check(&blocks)?;
        let written = if argument(&text) == text { text } else { quoted(&text) };
        Ok(ErrorLogFormat { written, blocks })
    }

    /// The format as a user may write it; it compiles to itself.
    pub fn written(&self) -> String {
        format!("{DIRECTIVE} {}", self.written)
    }

    /// Reads a line that has the head which this format gives it. Times are of `zone`.
    fn headed<'a>(&'a self, line: &'a [u8], zone: &Zone) -> Option<ErrorLine<'a>> {
        let fields = self.blocks.iter().map(|block| block.fields().count()).sum();
        let mut fit = Fit { format: self, line, values: vec![None; fields], tries: 0 };
        if !fit.block(0, 0) {
            return None;
        }
        let values = fit.values;
        let mut out = ErrorLine::default();
        for (field, value) in self.blocks.iter().flat_map(Block::fields).zip(values) {
            if let Some(value) = value {
                fill(&mut out, field, &line[value], zone)?;
            }
        }
        Some(out)
    }

    /// Reads a line in this format; see [`parse`].
    pub fn parse<'a>(&'a self, line: &'a [u8], zone: &Zone) -> ErrorLine<'a> {
        let headed = |text| self.headed(text, zone);
        headed(line).unwrap_or_else(|| headless(line))
    }
}

/// Reads a line in Apache's own format. One that has no head is a message by itself, written
/// by a program that Apache started.
pub fn parse<'a>(line: &'a [u8], zone: &Zone) -> ErrorLine<'a> {
    headed(line, zone).or_else(|| resynchronised(line, zone)).unwrap_or_else(|| headless(line))
}

/// As [`parse`], but for lines that may not be of an error log at all: `None` where neither a
/// head is found nor the words that shells and PHP begin with.
pub fn recognise<'a>(line: &'a [u8], zone: &Zone) -> Option<ErrorLine<'a>> {
    let known = || is_of_a_program(line).then(|| headless(line));
    headed(line, zone).or_else(|| resynchronised(line, zone)).or_else(known)
}

fn headed<'a>(line: &'a [u8], zone: &Zone) -> Option<ErrorLine<'a>> {
    if !is_head(line) {
        return None;
    }
    DEFAULTS.iter().find_map(|format| format.headed(line, zone)).map(|line| ErrorLine { others: Vec::new(), ..line })
}

/// Goes on at the first head inside of a line that has none at its beginning. A shell writes
/// `sh: 1: ` by itself, and Apache's next line stands right behind it.
///
/// A head behind a head is left alone: Apache writes its lines whole, so that would be what a
/// client sent, to forge a line.
fn resynchronised<'a>(line: &'a [u8], zone: &Zone) -> Option<ErrorLine<'a>> {
    if is_head(line) {
        return None;
    }
    let at = memchr::memchr_iter(b'[', line).take(64).find(|at| is_head(&line[*at..]))?;
    let found = headed(&line[at..], zone)?;
    Some(ErrorLine { before: Some(&line[..at]), ..found })
}

fn headless(line: &[u8]) -> ErrorLine<'_> {
    ErrorLine { message: line, ..ErrorLine::default() }
}

/// Whether a line begins as `[Mon Nov 23 01:49:33` does.
fn is_head(line: &[u8]) -> bool {
    let Some(text) = line.get(..20) else { return false };
    text[0] == b'[' && text[4] == b' ' && text[8] == b' ' && text[11] == b' ' && text[14] == b':' && text[17] == b':'
}

/// How shells begin what they say.
const SHELLS: [&[u8]; 5] = [b"sh: ", b"/bin/sh: ", b"bash: ", b"/bin/bash: ", b"dash: "];

/// Whether a line is one that a shell or PHP writes by itself.
fn is_of_a_program(line: &[u8]) -> bool {
    SHELLS.iter().chain(&[&b"PHP "[..], b"AH00"]).any(|begin| line.starts_with(begin))
}

/// Whether a line begins as no line of an access log does. What a client sent may stand behind
/// that with bare quotes, as if it were one.
pub fn is_certain(line: &[u8]) -> bool {
    is_head(line) || SHELLS.iter().any(|begin| line.starts_with(begin))
}

/// Whether a line may have more lines that belong to it: PHP writes what it says of an
/// exception on several, where it writes by itself.
pub fn may_go_on(line: &[u8]) -> bool {
    let php = memmem::find(line, b"PHP ").is_some_and(|at| at == 0 || line[..at].ends_with(b"] "));
    php && !line.windows(2).any(|pair| pair == b"\\n")
}

/// Whether a line goes on with the message that a line before it began (PHP's
/// `Zend/zend_exceptions.c`, `zend_exception_error`, and `getTraceAsString`).
pub fn goes_on(line: &[u8]) -> bool {
    let numbered = || {
        let digits = line.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
        line.first() == Some(&b'#') && digits > 0 && line.get(digits + 1) == Some(&b' ')
    };
    line.starts_with(b"Stack trace:") || line.starts_with(b"  thrown in ") || line.starts_with(b"Next ") || numbered()
}

/// What stands between the quotes, in which quotes and backslashes are escaped.
fn argument(written: &str) -> String {
    let text = written.trim();
    let text = if ErrorLogFormat::is_meant(text) { text[DIRECTIVE.len()..].trim_start() } else { text };
    let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return text.to_owned() };
    let (mut out, mut chars) = (String::new(), quoted.chars());
    while let Some(char) = chars.next() {
        match char {
            '\\' if chars.as_str().starts_with(['"', '\\']) => out.extend(chars.next()),
            char => out.push(char),
        }
    }
    out
}

impl Block {
    fn fields(&self) -> impl Iterator<Item = &Field> {
        self.items.iter().filter_map(|item| match item {
            Item::Field(field) => Some(field),
            Item::Text(_) => None,
        })
    }

    /// The text that it begins with; none where it begins with a field.
    fn begin(&self) -> Option<&[u8]> {
        match self.items.first() {
            Some(Item::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn push_text(&mut self, text: &str) {
        match self.items.last_mut() {
            Some(Item::Text(before)) => before.extend_from_slice(text.as_bytes()),
            _ => self.items.push(Item::Text(text.as_bytes().to_vec())),
        }
    }

    fn is_blank(&self) -> bool {
        matches!(&self.items[..], [Item::Text(text)] if text.iter().all(|byte| *byte == b' '))
    }
}

fn blocks(format: &str) -> Result<Vec<Block>, ErrorLogFormatError> {
    let (mut out, mut rest) = (vec![Block::default()], format);
    while let Some(char) = rest.chars().next() {
        let last = out.last_mut().expect("there is one from the beginning on");
        let used = match char {
            '%' if rest.starts_with("%%") => {
                last.push_text("%");
                2
            }
            '%' if rest.starts_with("% ") => {
                out.push(Block::default());
                2
            }
            '%' => {
                let (field, is_optional, used) = directive(rest)?;
                last.items.push(Item::Field(field));
                last.is_optional |= is_optional;
                used
            }
            '\\' => {
                let escaped = rest[1..].chars().next().unwrap_or('\\');
                match escaped {
                    'n' => last.push_text("\n"),
                    't' => last.push_text("\t"),
                    'r' => last.push_text("\r"),
                    other => last.push_text(other.encode_utf8(&mut [0; 4])),
                }
                1 + rest[1..].chars().next().map_or(0, char::len_utf8)
            }
            ' ' if !last.is_blank() => {
                out.push(Block::default());
                out.last_mut().expect("it was pushed").push_text(" ");
                1
            }
            char => {
                last.push_text(char.encode_utf8(&mut [0; 4]));
                char.len_utf8()
            }
        };
        rest = &rest[used..];
    }
    Ok(out.into_iter().filter(|block| !block.items.is_empty()).collect())
}

/// Reads `%-{Referer}i`, `%7F` and the like. Returns the field, whether it may have nothing to
/// tell, and how many bytes it takes.
fn directive(text: &str) -> Result<(Field, bool, usize), ErrorLogFormatError> {
    let broken = || ErrorLogFormatError::BreaksOff(text.chars().take(40).collect());
    let (mut at, mut argument, mut is_hyphen, mut is_verbose) = (1, None, false, false);
    loop {
        match text.as_bytes().get(at).ok_or_else(broken)? {
            b'-' => (is_hyphen, at) = (true, at + 1),
            // A line without it is not written at all.
            b'+' => at += 1,
            b'0'..=b'9' => (is_verbose, at) = (true, at + 1),
            b'{' => {
                let end = text[at..].find('}').ok_or_else(broken)? + at;
                (argument, at) = (Some(&text[at + 1..end]), end + 1);
            }
            _ => {
                let letter = text[at..].chars().next().ok_or_else(broken)?;
                let field = Field { has_hyphen: is_hyphen && letter != 'M', ..field(letter, argument)? };
                let always = matches!(letter, 't' | 'l' | 'P' | 'M');
                let is_optional = is_verbose || !(always || is_hyphen);
                return Ok((field, is_optional, at + letter.len_utf8()));
            }
        }
    }
}

fn field(letter: char, argument: Option<&str>) -> Result<Field, ErrorLogFormatError> {
    let name = match argument {
        Some(argument) => format!("%{{{argument}}}{letter}"),
        None => format!("%{letter}"),
    };
    let (role, shape) = match (letter, argument) {
        ('t', options) => (Role::Time, Shape::Time(clock(&name, options.unwrap_or_default())?)),
        ('m', _) => (Role::Module, Shape::Name),
        ('l', _) => (Role::Level, Shape::Name),
        ('P', _) => (Role::Pid, Shape::Digits),
        ('T', None) => (Role::Tid, Shape::Digits),
        ('a', None) => (Role::Client, Shape::Word),
        ('E', _) => (Role::Status, Shape::Status),
        ('F', _) => (Role::Source, Shape::Source),
        ('M', _) => (Role::Message, Shape::Free),
        ('i', Some(header)) if header.eq_ignore_ascii_case("referer") => (Role::Referer, Shape::Free),
        ('i' | 'n' | 'e', Some(_)) => (Role::Other, Shape::Free),
        ('a' | 'A' | 'k' | 'L' | 'T' | 'v' | 'V', _) => (Role::Other, Shape::Word),
        _ => return Err(ErrorLogFormatError::Unknown(name)),
    };
    Ok(Field { name, role, shape, has_hyphen: false })
}

fn clock(name: &str, options: &str) -> Result<Clock, ErrorLogFormatError> {
    let refused = || ErrorLogFormatError::Time(name.to_owned());
    if !options.chars().all(|option| "uc".contains(option)) {
        return Err(refused());
    }
    let is_compact = options.contains('c');
    let compile = |format| Strftime::compile(format).map_err(|_| refused());
    Ok(Clock {
        before: compile(if is_compact { "%F %T" } else { "%a %b %d %T" })?,
        has_micros: options.contains('u'),
        after: if is_compact { None } else { Some(compile(" %Y")?) },
    })
}

impl Clock {
    /// Reads a time at the start of `text`: its bytes, and when it was.
    fn read(&self, text: &[u8], zone: &Zone) -> Option<(usize, crate::Millis)> {
        let mut moment = Moment::default();
        let mut at = self.before.read(text, &mut moment)?;
        let mut millis = 0;
        if self.has_micros {
            let fraction = text.get(at..at + 7)?.strip_prefix(b".")?;
            millis = (ascii_number(fraction)? / 1000) as i64;
            at += 7;
        }
        if let Some(after) = &self.after {
            at += after.read(&text[at..], &mut moment)?;
        }
        Some((at, moment.time(zone)? + millis))
    }
}

/// Whether each field's end can be told.
fn check(blocks: &[Block]) -> Result<(), ErrorLogFormatError> {
    let items: Vec<&Item> = blocks.iter().flat_map(|block| &block.items).collect();
    for pair in items.windows(2) {
        if let [Item::Field(one), Item::Field(other)] = pair
            && !matches!(one.shape, Shape::Time(_))
        {
            return Err(ErrorLogFormatError::Ambiguous(one.name.clone(), other.name.clone()));
        }
    }
    Ok(())
}

/// A line being fitted to a format.
struct Fit<'a> {
    format: &'a ErrorLogFormat,
    line: &'a [u8],
    values: Vec<Option<Range<usize>>>,
    tries: usize,
}

impl Fit<'_> {
    /// Whether the blocks from `block` on fit the line from `at` on, to its end.
    fn block(&mut self, block: usize, at: usize) -> bool {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return false;
        }
        let format = self.format;
        let Some(there) = format.blocks.get(block) else { return at == self.line.len() };
        if self.item(block, 0, there.first, at) {
            return true;
        }
        let fields = there.first..there.first + there.fields().count();
        self.values[fields].fill(None);
        there.is_optional && self.block(block + 1, at)
    }

    /// Whether the items from `item` on, of which `field` is the next field, fit.
    fn item(&mut self, block: usize, item: usize, field: usize, at: usize) -> bool {
        let format = self.format;
        match format.blocks[block].items.get(item) {
            None => self.block(block + 1, at),
            Some(Item::Text(text)) => {
                self.line[at..].starts_with(text) && self.item(block, item + 1, field, at + text.len())
            }
            Some(Item::Field(there)) => {
                let text = &self.line[at..];
                if there.has_hyphen && text.starts_with(b"-") && self.ends(block, item, field, at, at + 1) {
                    return true;
                }
                let end = match &there.shape {
                    Shape::Time(clock) => clock.read(text, &Zone::UTC).map(|(bytes, _)| bytes),
                    Shape::Name => run(text, |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
                    Shape::Digits => run(text, |byte| byte.is_ascii_digit()),
                    Shape::Word => run(text, |byte| byte != b' ' && byte != b']'),
                    Shape::Source => source_end(text),
                    Shape::Status if !text.starts_with(b"(") => None,
                    Shape::Status | Shape::Free => return self.search(there.role, block, item, field, at),
                };
                end.is_some_and(|end| self.ends(block, item, field, at, at + end))
            }
        }
    }

    fn ends(&mut self, block: usize, item: usize, field: usize, at: usize, end: usize) -> bool {
        self.values[field] = Some(at..end);
        self.item(block, item + 1, field + 1, end)
    }

    /// Tries the places where a field without a shape of its own may end. Of a message the
    /// last one is meant, since it may hold anything; of others the first one.
    fn search(&mut self, role: Role, block: usize, item: usize, field: usize, at: usize) -> bool {
        let mut places: Vec<usize> = self.ends_of(block, item, at);
        if role == Role::Message {
            places.reverse();
        }
        places.push(self.line.len());
        places.into_iter().any(|end| {
            self.tries += 1;
            self.tries <= TRIES_MAX && self.ends(block, item, field, at, end)
        })
    }

    /// Where a text stands that may follow a field, from `at` on.
    fn ends_of(&self, block: usize, item: usize, at: usize) -> Vec<usize> {
        let own = &self.format.blocks[block].items;
        if let Some(Item::Text(text)) = own.get(item + 1) {
            return memmem::find_iter(&self.line[at..], text).map(|found| at + found).collect();
        }
        let later = &self.format.blocks[block + 1..];
        let count = later.iter().position(|block| !block.is_optional).map_or(later.len(), |required| required + 1);
        let mut places: Vec<usize> = later[..count]
            .iter()
            .filter_map(Block::begin)
            .flat_map(|text| memmem::find_iter(&self.line[at..], text).map(|found| at + found))
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

fn run(text: &[u8], within: impl Fn(u8) -> bool) -> Option<usize> {
    let bytes = text.iter().take_while(|byte| within(**byte)).count();
    (bytes > 0).then_some(bytes)
}

/// `mod_ssl_io.c(123)`
fn source_end(text: &[u8]) -> Option<usize> {
    let open = run(text, |byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))?;
    let digits = run(text[open..].strip_prefix(b"(")?, |byte| byte.is_ascii_digit())?;
    let end = open + 1 + digits;
    (text.get(end) == Some(&b')')).then_some(end + 1)
}

fn fill<'a>(out: &mut ErrorLine<'a>, field: &'a Field, value: &'a [u8], zone: &Zone) -> Option<()> {
    let there = (value != b"-").then_some(value);
    match field.role {
        Role::Time => {
            let Shape::Time(clock) = &field.shape else { return None };
            out.time = Some(Time { written: value, at: clock.read(value, zone)?.1 });
        }
        Role::Module => out.module = there,
        Role::Level => out.level = there,
        Role::Pid => out.pid = ascii_number(value),
        Role::Tid => out.tid = ascii_number(value),
        Role::Client => out.client = there.map(endpoint),
        Role::Status => out.status = there,
        Role::Source if there.is_none() => {}
        Role::Source => {
            let open = memchr::memchr(b'(', value)?;
            out.source = ascii_number(&value[open + 1..value.len() - 1]).map(|line| (&value[..open], line));
        }
        Role::Message => out.message = value,
        Role::Referer => out.referer = there,
        Role::Other => out.others.extend(there.map(|value| (field.name.as_str(), value))),
    }
    Some(())
}

/// Apache writes the port behind the address, also behind one of IPv6, without brackets:
/// `::1:53944` (`log_remote_address`).
fn endpoint(text: &[u8]) -> (&[u8], Option<u16>) {
    let is_address = |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok());
    let port = |at: usize| ascii_number(&text[at + 1..]).and_then(|port| u16::try_from(port).ok());
    match memchr::memrchr(b':', text).and_then(|at| Some((&text[..at], port(at)?))) {
        Some((address, port)) if is_address(address) || !is_address(text) => (address, Some(port)),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: Option<&[u8]>) -> Option<&str> {
        bytes.map(|bytes| std::str::from_utf8(bytes).unwrap())
    }

    #[test]
    fn apaches_own_line_is_taken_apart() {
        let line = b"[Mon Nov 23 01:49:33.005699 2026] [core:error] [pid 788:tid 789] mod_x.c(12): (13)Permission denied: [client 67.43.156.143:26325] AH00035: access to /a denied: b, referer: http://dev.lab/, referer: x";
        let expected = ErrorLine {
            before: None,
            time: Some(Time { written: b"Mon Nov 23 01:49:33.005699 2026", at: 1_795_398_573_005 }),
            module: Some(b"core"),
            level: Some(b"error"),
            pid: Some(788),
            tid: Some(789),
            client: Some((b"67.43.156.143", Some(26325))),
            status: Some(b"(13)Permission denied"),
            source: Some((b"mod_x.c", 12)),
            message: b"AH00035: access to /a denied: b, referer: http://dev.lab/",
            referer: Some(b"x"),
            others: vec![],
        };
        let parsed = parse(line, &Zone::UTC);
        assert_eq!(parsed, expected);
        assert_eq!(text(parsed.code()), Some("AH00035"));
    }

    #[test]
    fn what_has_nothing_to_tell_is_left_out() {
        let line = b"[Mon Nov 23 01:49:33.005699 2026] [mpm_prefork:notice] [pid 747] AH00163: Apache/2.4.71 (Debian) configured -- resuming normal operations";
        let parsed = parse(line, &Zone::UTC);
        assert_eq!((parsed.pid, parsed.tid, parsed.client, parsed.referer), (Some(747), None, None, None));
        assert_eq!(text(parsed.module), Some("mpm_prefork"));
        let old = b"[Mon Nov 23 01:49:33 2026] [error] [client ::1] File does not exist: /var/www/x";
        let parsed = parse(old, &Zone::UTC);
        assert_eq!((text(parsed.level), parsed.client), (Some("error"), Some((&b"::1"[..], None))));
        let unknown = b"[Mon Nov 23 01:49:33.005699 2026] [-:error] [pid 7:tid 7] [client ::1:53944] x";
        let parsed = parse(unknown, &Zone::UTC);
        assert_eq!((parsed.module, parsed.client), (None, Some((&b"::1"[..], Some(53944)))));
    }

    #[test]
    fn times_are_of_the_zone_that_is_given() {
        let line = b"[Mon Nov 23 01:49:33.005699 2026] [core:error] [pid 1:tid 1] x";
        let zone = "CET-1CEST,M3.5.0,M10.5.0/3".parse().unwrap();
        assert_eq!(parse(line, &zone).time.unwrap().at, 1_795_398_573_005 - 3_600_000);
    }

    #[test]
    fn a_shells_words_have_no_head_and_may_stand_before_one() {
        let alone = parse(b"sh: 1: nslookup: not found", &Zone::UTC);
        assert_eq!((alone.message, alone.time), (&b"sh: 1: nslookup: not found"[..], None));
        let glued =
            b"sh: 1: [Mon Nov 23 01:49:33.005699 2026] [php:warn] [pid 7:tid 7] [client 1.2.3.4:5] PHP Warning:  x";
        let parsed = parse(glued, &Zone::UTC);
        assert_eq!((text(parsed.before), text(Some(parsed.message))), (Some("sh: 1: "), Some("PHP Warning:  x")));
        assert!(recognise(b"sh: 1: x", &Zone::UTC).is_some() && recognise(b"hello", &Zone::UTC).is_none());
    }

    #[test]
    fn a_head_inside_of_a_message_forges_no_line() {
        let line = b"[Mon Nov 23 01:49:33.005699 2026] [core:info] [pid 7:tid 7] [client 1.2.3.4:5] AH00128: File does not exist: /x[Mon Nov 23 01:49:33.005699 2026] [core:error] [pid 7:tid 7] [client 6.6.6.6:6] forged";
        let parsed = parse(line, &Zone::UTC);
        assert_eq!(parsed.client, Some((&b"1.2.3.4"[..], Some(5))));
        assert!(parsed.message.ends_with(b"forged"));
    }

    #[test]
    fn any_error_log_format_is_compiled() {
        let written = r#"ErrorLogFormat "[%{cu}t] [%-m:%-l] %-a %-L [%{c}L] %M %-{User-Agent}i""#;
        let format = ErrorLogFormat::compile(written).unwrap();
        assert_eq!(ErrorLogFormat::compile(&format.written()).unwrap(), format);
        let line = b"[2026-11-23 01:49:33.005699] [core:-] 1.2.3.4:5 - [C+1/a] AH00128: no: such file curl/7";
        let parsed = format.parse(line, &Zone::UTC);
        assert_eq!(parsed.time.unwrap().at, 1_795_398_573_005);
        assert_eq!((text(parsed.module), parsed.level), (Some("core"), None));
        assert_eq!(text(Some(parsed.message)), Some("AH00128: no: such file"));
        assert_eq!(parsed.others, [("%{c}L", &b"C+1/a"[..]), ("%{User-Agent}i", b"curl/7")]);
        for (bad, why) in [
            ("%t", "it has no message, `%M`: formats for once a connection or a request are not read"),
            ("%M %Z", "`%Z` is not known"),
            ("%M%{Referer}i", "where `%M` ends and `%{Referer}i` begins cannot be told: put something between them"),
            ("%{z}t %M", "the time `%{z}t` is not understood: use `%t`, `%{u}t`, `%{c}t` or `%{cu}t`"),
            ("%M %{", "`%{` breaks off"),
        ] {
            assert_eq!(ErrorLogFormat::compile(bad).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn a_format_that_travels_as_it_is_written_stays_the_same() {
        for written in [r#""\"%M\"""#, "\" %M \"", r#""ErrorLogFormat %M""#, r#"ErrorLogFormat "[client\ %a] \"%M\"""#]
        {
            let format = ErrorLogFormat::compile(written).unwrap();
            let again = ErrorLogFormat::compile(&format.written()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{format:?}"));
        }
    }

    #[test]
    fn a_hyphen_stands_for_any_item_that_has_nothing_to_tell() {
        let format = ErrorLogFormat::compile(r"[%t] [%-m] [%-P:%-T] [%-F] [%-a] [%-E] [%-{Referer}i] %M").unwrap();
        let line = b"[Mon Nov 23 01:49:33 2026] [-] [7:-] [-] [-] [-] [-] no";
        let time = Some(Time { written: b"Mon Nov 23 01:49:33 2026", at: 1_795_398_573_000 });
        assert_eq!(
            format.parse(line, &Zone::UTC),
            ErrorLine { time, pid: Some(7), message: b"no", ..ErrorLine::default() }
        );
    }

    #[test]
    fn php_says_where_it_happened() {
        let php =
            |message: &str| headless(message.as_bytes()).php().map(|php| (php.kind.into_owned(), php.file, php.line));
        let told = |kind: &str, file: &str, line| Some((kind.to_owned(), Some(file.to_owned()), Some(line)));
        assert_eq!(
            php("PHP Warning:  include(a in b): Failed in /var/www/i.php on line 36"),
            told("PHP Warning", "/var/www/i.php", 36)
        );
        let fatal = r"PHP Fatal error:  Uncaught E: x in /a.php:2\nStack trace:\n#0 /b.php(3): f()\n#1 {main}\n  thrown in /a.php on line 2";
        assert_eq!(php(fatal), told("PHP Fatal error", "/a.php", 2));
        let trace = headless(fatal.as_bytes()).php().unwrap().stack_trace.unwrap();
        assert_eq!(trace, "#0 /b.php(3): f()\n#1 {main}\n  thrown in /a.php on line 2");
        assert_eq!(
            php(r"PHP Fatal error:  Uncaught E: x in /a.php:2\nStack trace:\n#0 {ma"),
            told("PHP Fatal error", "/a.php", 2)
        );
        assert_eq!(php("File does not exist"), None);
    }

    #[test]
    fn modsecurity_tells_fields() {
        let message = br#"ModSecurity: Warning. Matched "x [a]" at ARGS:id. [file "/etc/crs/a.conf"] [line "66"] [id "942100"] [msg "SQL Injection"] [tag "attack-sqli"] [unique_id "Z1"]"#;
        let line = headless(message);
        let fields: Vec<_> = line.modsecurity().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            fields,
            ["file=/etc/crs/a.conf", "line=66", "id=942100", "msg=SQL Injection", "tag=attack-sqli", "unique_id=Z1"]
        );
    }

    #[test]
    fn phps_trace_belongs_to_the_line_before_it() {
        assert!(may_go_on(b"PHP Fatal error:  Uncaught E: x in /a.php:2"));
        assert!(may_go_on(b"[Mon Nov 23 01:49:33.005699 2026] [php:error] [pid 1] PHP Fatal error:  Uncaught E"));
        assert!(!may_go_on(br"PHP Fatal error:  Uncaught E: x in /a.php:2\nStack trace:\n"), "it is all there");
        assert!(!may_go_on(b"sh: 1: PHP : not found"));
        for line in ["Stack trace:", "#0 {main}", "#12 /a.php(3): f()", "  thrown in /a.php on line 2"] {
            assert!(goes_on(line.as_bytes()), "{line}");
        }
        assert!(!goes_on(b"# a comment") && !goes_on(b"thrown") && !goes_on(b""));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(line: Vec<u8>, written in r"[%{}a-zA-Z\\ \[\]:0-9+-]{0,40}", like in r"(\[Mon Nov 23 01:49:33\.005699 2026\] )?[ \[\]a-z:(),0-9]{0,60}") {
            for line in [&line[..], like.as_bytes()] {
                let parsed = parse(line, &Zone::UTC);
                let _ = (parsed.php(), parsed.modsecurity(), parsed.code());
                if let Ok(format) = ErrorLogFormat::compile(&format!("{written}%M")) {
                    format.parse(line, &Zone::UTC);
                }
            }
        }
    }
}
