//! Error logs, in Apache's own formats and in any other.

use crate::apache::{ZONES, escape_error, sent, shown, strftime, zone};
use crate::{LINES, config};
use event::Format;
use event::format::ErrorLine;
use event::unescape::unescape;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

/// Items of the head of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Module,
    Level,
    Pid,
    Tid,
    Client,
    Status,
    Source,
    LogId,
    KeepAlive,
    Agent,
}

/// What one line is made of.
#[derive(Debug, Clone)]
struct ErrorDraw {
    micros: i64,
    module: Option<String>,
    level: &'static str,
    numbers: [u32; 4],
    client: Option<(String, u16)>,
    status: Option<String>,
    source: Option<(String, u32)>,
    message: Vec<u8>,
    referer: Option<Vec<u8>>,
    agent: Option<Vec<u8>>,
}

fn error_draw() -> impl Strategy<Value = ErrorDraw> {
    let levels = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug", "trace1", "trace8"];
    let address = any::<std::net::IpAddr>().prop_map(|address| address.to_string());
    let heads = (
        0..253_000_000_000_000_000i64,
        option::of("[a-z][a-z0-9_]{0,9}"),
        select(levels.to_vec()),
        any::<[u32; 4]>(),
        option::of((address, any::<u16>())),
    );
    let status = "\\([0-9]{1,5}\\)[A-Z][a-z ]{0,20}[a-z]";
    let tails = (
        option::of(status),
        option::of(("[a-z_]{1,9}\\.c", any::<u32>())),
        sent(),
        option::of(sent()),
        option::of(sent()),
    );
    (heads, tails).prop_map(|((micros, module, level, numbers, client), (status, source, message, referer, agent))| {
        ErrorDraw { micros, module, level, numbers, client, status, source, message, referer, agent }
    })
}

/// What a line of an error log tells: text is unescaped, and shown in ASCII.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct ErrorTold {
    before: Option<String>,
    at: Option<i64>,
    module: Option<String>,
    level: Option<String>,
    pid: Option<u64>,
    tid: Option<u64>,
    client: Option<(String, Option<u16>)>,
    status: Option<String>,
    source: Option<(String, u64)>,
    message: String,
    referer: Option<String>,
    others: BTreeMap<String, String>,
}

impl ErrorTold {
    fn of(line: &ErrorLine<'_>) -> ErrorTold {
        let text = |field: Option<&[u8]>| field.map(|field| shown(&unescape(field)));
        ErrorTold {
            before: text(line.before),
            at: line.time.map(|time| time.at),
            module: text(line.module),
            level: text(line.level),
            pid: line.pid,
            tid: line.tid,
            client: line.client.map(|(address, port)| (shown(address), port)),
            status: text(line.status),
            source: line.source.map(|(file, number)| (shown(file), number)),
            message: shown(&unescape(line.message)),
            referer: text(line.referer),
            others: line.others.iter().map(|(name, value)| (name.to_string(), shown(&unescape(value)))).collect(),
        }
    }
}

impl ErrorDraw {
    /// Leaves out what nobody could tell apart: a message that begins as one of the fields does
    /// that may be missing, and a header in brackets with a bracket of its own. (That a message
    /// or referer holds `, referer: ` is as hard to tell, and is never drawn.)
    fn without_snares(mut self, may_miss: bool) -> ErrorDraw {
        let is_sent = |bytes: &Vec<u8>| !bytes.is_empty() && bytes != b"-";
        let begin = if may_miss { &b"AH00128: "[..] } else { b"" };
        self.message.splice(..0, begin.iter().copied());
        self.referer = self.referer.filter(is_sent);
        self.agent.iter_mut().for_each(|agent| agent.retain(|byte| *byte != b']'));
        self.agent = self.agent.filter(is_sent);
        self
    }

    fn time(&self, format: &str, offset_minutes: i32) -> String {
        strftime(format, self.micros, offset_minutes)
    }

    /// `do_errorlog_default`: with threads, without, and version 2.2's.
    fn write_default(&self, version: usize, offset_minutes: i32) -> (Vec<u8>, ErrorTold) {
        let mut told =
            ErrorTold { at: Some(self.micros / 1000), level: Some(self.level.to_owned()), ..Default::default() };
        let [pid, tid, ..] = self.numbers;
        let mut out = if version == 2 {
            told.at = Some(self.micros / 1_000_000 * 1000);
            format!("[{}] [{}] ", self.time("%a %b %d %T %Y", offset_minutes), self.level)
        } else {
            told.module = self.module.clone();
            told.pid = Some(pid.into());
            let module = self.module.as_deref().unwrap_or("-");
            let time = self.time("%a %b %d %T.%6f %Y", offset_minutes);
            let thread = if version == 0 { format!(":tid {tid}") } else { String::new() };
            told.tid = (version == 0).then_some(tid.into());
            format!("[{time}] [{module}:{}] [pid {pid}{thread}] ", self.level)
        };
        if let Some((file, number)) = &self.source {
            out += &format!("{file}({number}): ");
        }
        if let Some(status) = &self.status {
            out += &format!("{status}: ");
        }
        if let Some((address, port)) = &self.client {
            out += &format!("[client {address}:{port}] ");
        }
        let mut out = out.into_bytes();
        out.extend(escape_error(&self.message));
        if let Some(referer) = &self.referer {
            out.extend([b", referer: ", &escape_error(referer)[..]].concat());
        }
        told.source = self.source.clone().map(|(file, number)| (file, number.into()));
        told.status = self.status.clone();
        told.client = self.client.clone().map(|(address, port)| (address, Some(port)));
        told.message = shown(&self.message);
        told.referer = self.referer.as_deref().map(shown);
        (out, told)
    }

    /// A line in `[time] [item] ... message, referer: ...`. What has nothing to tell is left
    /// out, or a hyphen where the format says so.
    fn write(&self, format: &ErrorFormat, offset_minutes: i32) -> (Vec<u8>, ErrorTold) {
        let mut told = ErrorTold { message: shown(&self.message), ..Default::default() };
        let unit = if format.time.contains('u') { 1 } else { 1000 };
        told.at = Some(self.micros / 1000 / unit * unit);
        let mut out = format!("[{}] ", self.time(format.strftime(), offset_minutes)).into_bytes();
        for (item, is_hyphen) in &format.items {
            let value = self.tell(*item, &mut told);
            if value.is_some() || *is_hyphen || *item == Item::Level || *item == Item::Pid {
                let value = value.unwrap_or_else(|| b"-".to_vec());
                out.extend([b"[", item.key().as_bytes(), b" ", &value, b"] "].concat());
            }
        }
        out.extend(escape_error(&self.message));
        if let Some(referer) = self.referer.as_ref().filter(|_| format.has_referer) {
            out.extend([b", referer: ", &escape_error(referer)[..]].concat());
            told.referer = Some(shown(referer));
        }
        (out, told)
    }

    fn tell(&self, item: Item, told: &mut ErrorTold) -> Option<Vec<u8>> {
        let [pid, tid, keep_alive, log_id] = self.numbers;
        let other = |told: &mut ErrorTold, name: &str, value: String| {
            told.others.insert(name.to_owned(), value.clone());
            value
        };
        let text = match item {
            Item::Module => {
                told.module = self.module.clone();
                self.module.clone()?
            }
            Item::Level => {
                told.level = Some(self.level.to_owned());
                self.level.to_owned()
            }
            Item::Pid => told.pid.insert(pid.into()).to_string(),
            Item::Tid => told.tid.insert(tid.into()).to_string(),
            Item::Client => {
                let (address, port) = self.client.clone()?;
                let text = format!("{address}:{port}");
                told.client = Some((address, Some(port)));
                text
            }
            Item::Status => told.status.insert(self.status.clone()?).clone(),
            Item::Source => {
                let (file, number) = self.source.clone()?;
                let text = format!("{file}({number})");
                told.source = Some((file, number.into()));
                text
            }
            Item::LogId => other(told, "%{c}L", format!("{log_id:x}/+a")),
            Item::KeepAlive => other(told, "%k", keep_alive.to_string()),
            Item::Agent => {
                let agent = self.agent.as_ref()?;
                other(told, "%{User-Agent}i", shown(agent));
                return Some(escape_error(agent));
            }
        };
        Some(text.into_bytes())
    }
}

impl Item {
    const ALL: [Item; 10] = [
        Item::Module,
        Item::Level,
        Item::Pid,
        Item::Tid,
        Item::Client,
        Item::Status,
        Item::Source,
        Item::LogId,
        Item::KeepAlive,
        Item::Agent,
    ];

    fn key(self) -> &'static str {
        match self {
            Item::Module => "mod",
            Item::Level => "level",
            Item::Pid => "pid",
            Item::Tid => "tid",
            Item::Client => "client",
            Item::Status => "status",
            Item::Source => "source",
            Item::LogId => "log",
            Item::KeepAlive => "requests",
            Item::Agent => "agent",
        }
    }

    fn directive(self) -> &'static str {
        match self {
            Item::Module => "m",
            Item::Level => "l",
            Item::Pid => "P",
            Item::Tid => "T",
            Item::Client => "a",
            Item::Status => "E",
            Item::Source => "F",
            Item::LogId => "{c}L",
            Item::KeepAlive => "k",
            Item::Agent => "{User-Agent}i",
        }
    }
}

/// `[%{cu}t] [mod\ %m] ... %M% ,\ referer:\ %{Referer}i`
#[derive(Debug, Clone)]
struct ErrorFormat {
    time: &'static str,
    /// And whether a hyphen stands for nothing.
    items: Vec<(Item, bool)>,
    has_referer: bool,
}

fn error_format() -> impl Strategy<Value = ErrorFormat> {
    let items = prop::sample::subsequence(Item::ALL.to_vec(), 0..=Item::ALL.len()).prop_shuffle();
    let times = select(&["%t", "%{u}t", "%{c}t", "%{cu}t"][..]);
    (times, items, any::<[bool; 10]>(), any::<bool>()).prop_map(|(time, items, hyphens, has_referer)| ErrorFormat {
        time,
        items: items.into_iter().zip(hyphens).collect(),
        has_referer,
    })
}

impl ErrorFormat {
    fn strftime(&self) -> &'static str {
        match self.time {
            "%t" => "%a %b %d %T %Y",
            "%{u}t" => "%a %b %d %T.%6f %Y",
            "%{c}t" => "%F %T",
            _ => "%F %T.%6f",
        }
    }

    fn written(&self) -> String {
        let mut out = format!("ErrorLogFormat \"[{}] ", self.time);
        for (item, is_hyphen) in &self.items {
            let hyphen = if *is_hyphen { "-" } else { "" };
            out += &format!("[{}\\ %{hyphen}{}] ", item.key(), item.directive());
        }
        out + "%M" + if self.has_referer { "% ,\\ referer:\\ %{Referer}i\"" } else { "\"" }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn apaches_own_error_log_is_read_as_what_was_said(
        lines in prop::collection::vec((error_draw(), 0..3usize, prop::option::of("sh: [0-9]: [a-z ]{0,9}")), LINES),
        (rule, offset_minutes) in select(&ZONES[..]),
    ) {
        let zone = zone(rule);
        for (draw, version, before) in lines {
            let may_miss = draw.client.is_none();
            let (mut written, mut told) = draw.without_snares(may_miss).write_default(version, offset_minutes);
            if let Some(before) = before {
                written.splice(..0, before.bytes());
                told.before = Some(before);
            }
            for format in [Format::Error, Format::Auto] {
                let parsed = format.parse_in(&written, &zone);
                prop_assert_eq!(parsed.error().map(ErrorTold::of), Some(told.clone()), "`{}`", shown(&written));
            }
        }
    }

    #[test]
    fn an_error_log_in_any_format_is_read_as_what_was_said(
        format in error_format(),
        lines in prop::collection::vec(error_draw(), LINES),
        (rule, offset_minutes) in select(&ZONES[..]),
    ) {
        let compiled: Format = format.written().parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        let compiled: Format = compiled.to_string().parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        let zone = zone(rule);
        let may_miss = format.items.iter().any(|(_, is_hyphen)| !is_hyphen);
        for draw in lines {
            let (written, told) = draw.without_snares(may_miss).write(&format, offset_minutes);
            let parsed = compiled.parse_in(&written, &zone);
            let context = format!("`{}` in `{}`", shown(&written), format.written());
            prop_assert_eq!(parsed.error().map(ErrorTold::of), Some(told), "{}", context);
        }
    }
}
