//! The parser and the classifier laid open: `parse`, `explain`, `rules`, `fields`, and what
//! `check` says of the files.

mod incidents;

pub use incidents::{Shape, incidents};

use crate::host;
use crate::rules::{self, Rules};
use crate::settings::{FileSettings, LineFormat};
use crate::sigma::{self, Imported};
use crate::tail::{self, Lines, Part, RawLine};
use anyhow::Context;
use event::classify::check::check;
use event::classify::{Refused, Rule};
use event::fields::{FIELDS, Field};
use event::format::Odd;
use event::line::Container;
use event::line::day_of;
use event::{Classifier, Day, Document, Event, Format, HostKey, Millis, Origin, Parsed, Zone};
use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at once.
const STEP_BYTES: usize = 256 << 10;

/// Lines of a file that `check` looks at.
const LINES_CHECKED: usize = 1_000;

/// A log that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{}`", .path.display())]
pub struct InputError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// Opens a log, packed or not, or standard input for `-`.
fn open(path: &Path) -> Result<Box<dyn Read>, InputError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let failed = |cause| InputError { path: path.to_owned(), cause };
    let mut magic = Vec::new();
    File::open(path).and_then(|file| file.take(2).read_to_end(&mut magic)).map_err(failed)?;
    let file = File::open(path).map_err(failed)?;
    Ok(if magic == [0x1f, 0x8b] { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// How a log is read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub lines: LineFormat,
    /// The zone of times that tell none.
    pub zone: Zone,
}

/// A line, taken out of what Docker wraps around it.
struct Unwrapped<'a> {
    text: Cow<'a, [u8]>,
    /// When Docker took it.
    time: Option<Millis>,
}

impl Reading {
    fn unwrap<'a>(&self, line: &'a [u8]) -> Unwrapped<'a> {
        let part = if self.lines.is_docker { Part::read(line) } else { None };
        match part {
            Some(part) => Unwrapped { time: part.time(), text: Cow::Owned(part.text().0.as_bytes().to_vec()) },
            None => Unwrapped { text: Cow::Borrowed(line), time: None },
        }
    }

    fn parse<'a>(&'a self, line: &'a [u8]) -> Parsed<'a> {
        self.lines.format.parse_in(line, &self.zone)
    }
}

/// A log that is read line by line.
struct Log {
    path: PathBuf,
    source: Box<dyn Read>,
    lines: Lines,
}

impl Log {
    fn open(path: &Path) -> Result<Log, InputError> {
        Ok(Log { path: path.to_owned(), source: open(path)?, lines: Lines::default() })
    }

    /// Gives the next line to `take`, and returns what that makes of it; `None` at the end.
    fn next<T>(&mut self, take: impl FnOnce(RawLine<'_>) -> T) -> Result<Option<T>, InputError> {
        loop {
            if let Some(line) = self.lines.next_line() {
                return Ok(Some(take(line)));
            }
            let failed = |cause| InputError { path: self.path.clone(), cause };
            if self.lines.fill(&mut self.source, STEP_BYTES).map_err(failed)? == 0 {
                return Ok(self.lines.rest().map(take));
            }
        }
    }
}

/// Gives every line of a log to `take`, which says whether to go on.
fn each_line(path: &Path, mut take: impl FnMut(RawLine<'_>) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let mut log = Log::open(path)?;
    while log.next(&mut take)?.transpose()? == Some(true) {}
    Ok(())
}

/// Prints one document for each line.
pub fn parse(path: &Path, reading: Reading, classifier: Classifier) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut bench = Bench::new(path, reading, Arc::new(classifier));
    each_line(path, |line| {
        out.write_all(&Document::of(&bench.event(line)).body)?;
        out.write_all(b"\n")?;
        Ok(true)
    })?;
    Ok(out.flush()?)
}

/// Makes events of the lines of one log, as the tailer would.
struct Bench {
    classifier: Arc<Classifier>,
    key: HostKey,
    origin: Option<Arc<Origin>>,
    path: String,
    reading: Reading,
    host: event::line::Host,
    day: Option<Day>,
}

impl Bench {
    fn new(path: &Path, reading: Reading, classifier: Arc<Classifier>) -> Bench {
        let host = host::here(host::id(None).unwrap_or_else(|| "unknown".to_owned()));
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Bench {
            classifier,
            key: HostKey::derive(&host.id),
            origin: None,
            path: event::id::family(&path.to_string_lossy()).to_owned(),
            reading,
            host,
            day: None,
        }
    }

    fn event(&mut self, line: RawLine<'_>) -> Event {
        let origin = self.origin.take().unwrap_or_else(|| Arc::new(self.origin(line.text)));
        let unwrapped = self.reading.unwrap(line.text);
        let parsed = self.reading.parse(&unwrapped.text);
        self.day = day_of(&parsed, self.day);
        let time = parsed.time().map(|own| own.at).or(unwrapped.time).unwrap_or_else(tail::now);
        let attack = parsed.access().and_then(|access| self.classifier.classify(access));
        let event = Event::new(origin.clone(), line.offset, unwrapped.text.to_vec(), time);
        self.origin = Some(origin);
        Event { length: line.length, cut: line.is_cut, day: self.day, attack, ..event }
    }

    fn origin(&self, first_line: &[u8]) -> Origin {
        let life = self.key.life(&self.path, first_line);
        let LineFormat { format, is_docker } = self.reading.lines.clone();
        let id = || Path::new(&self.path).file_name()?.to_str()?.strip_suffix("-json.log").map(str::to_owned);
        let container = || Container { id: id().unwrap_or_default(), name: None, labels: Default::default() };
        Origin {
            container: is_docker.then(container),
            timezone: self.reading.zone.clone(),
            ruleset: self.classifier.ruleset().to_owned(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            ..Origin::new(self.host.clone(), &self.path, life, format)
        }
    }
}

/// How an explanation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
    Json,
}

/// What lines are asked, and how the answer is written.
#[derive(Debug)]
pub struct Asking<'r> {
    pub classifier: &'r Classifier,
    pub reading: Reading,
    pub style: Style,
}

/// Prints `line number, categories` of each line that is an attack.
pub fn detected(path: &Path, asking: &Asking<'_>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut number = 0u64;
    each_line(path, |line| {
        number += 1;
        let unwrapped = asking.reading.unwrap(line.text);
        let parsed = asking.reading.parse(&unwrapped.text);
        if let Some(attack) = parsed.access().and_then(|access| asking.classifier.classify(access)) {
            let categories: Vec<_> = attack.categories().iter().map(|category| category.name()).collect();
            writeln!(out, "{number}\t{}", categories.join(","))?;
        }
        Ok(true)
    })?;
    Ok(out.flush()?)
}

/// Explains every line on standard input.
pub fn explain_all(asking: &Asking<'_>) -> anyhow::Result<()> {
    each_line(Path::new("-"), |line| explain(line.text, asking).map(|()| true))
}

/// Explains one line.
pub fn explain(line: &[u8], asking: &Asking<'_>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let unwrapped = asking.reading.unwrap(line);
    let is_json = asking.style == Style::Json;
    let why = match asking.reading.parse(&unwrapped.text) {
        Parsed::Access(access) => {
            let explanation = asking.classifier.explain(&access);
            return match asking.style {
                Style::Json => Ok(writeln!(out, "{}", serde_json::to_string(&explanation)?)?),
                Style::Plain => Ok(write!(out, "{explanation}")?),
                Style::Colour => Ok(write!(out, "{explanation:#}")?),
            };
        }
        Parsed::Error(_) => ("error_log", "it is of an error log, and the rules are about requests".to_owned()),
        Parsed::TailHeader(_) => ("tail_header", "it names the log that the next lines are of".to_owned()),
        Parsed::Odd(odd) if is_json => {
            return Ok(writeln!(out, "{}", serde_json::json!({"odd": odd, "reason": odd.to_string()}))?);
        }
        Parsed::Odd(odd) => ("odd", odd.to_string()),
    };
    match why {
        (kind, reason) if is_json => writeln!(out, "{}", serde_json::json!({"odd": kind, "reason": reason}))?,
        (_, reason) => writeln!(out, "This line is kept, but cannot be judged: {reason}.")?,
    }
    Ok(())
}

/// Prints the rules, a line each.
pub fn list_rules(classifier: &Classifier, json: bool) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut rules: Vec<_> = classifier.rules().iter().collect();
    rules.sort_by_key(|rule| (rule.category, &rule.id));
    if json {
        let rules: Vec<_> = rules.into_iter().map(Rule::to_json).collect();
        writeln!(out, "{}", serde_json::Value::from(rules))?;
        return Ok(out.flush()?);
    }
    for rule in rules {
        writeln!(out, "{:<28} {:<14} {:>3}  {}", rule.id, rule.category, rule.score, rule.about)?;
    }
    Ok(out.flush()?)
}

/// Prints the fields of documents, a line each.
pub fn list_fields(json: bool) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        let fields: Vec<_> = FIELDS.iter().map(Field::to_json).collect();
        writeln!(out, "{}", serde_json::Value::from(fields))?;
    } else {
        write!(out, "{}", table(FIELDS))?;
    }
    Ok(out.flush()?)
}

fn table(fields: &[Field]) -> String {
    let width = fields.iter().map(|field| field.name.len()).max().unwrap_or_default();
    let row = |field: &Field| format!("{:<width$}  {:<15}  {}\n", field.name, field.written_type(), field.meaning);
    fields.iter().map(row).collect()
}

/// Runs every rule's own examples, and tries drop-in files: those named, or else those of the
/// folder. True if all came out right.
pub fn check_rules(files: &[PathBuf], folder: &Path) -> anyhow::Result<bool> {
    let Rules { classifier, refused } = if files.is_empty() {
        rules::open(Some(folder))
    } else {
        let read = |path: &PathBuf| rules::file(path).map_err(|cause| InputError { path: path.clone(), cause });
        let files = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let (classifier, refused) = Classifier::with_drop_ins(&files);
        Rules { classifier, refused: refused.iter().map(Refused::to_string).collect() }
    };
    let failures: Vec<String> = check(&classifier).iter().map(ToString::to_string).collect();
    refused.iter().chain(&failures).for_each(|wrong| eprintln!("{wrong}"));
    let examples: usize = classifier.rules().iter().map(|rule| rule.examples.len()).sum();
    let (count, wrong) = (classifier.rules().len(), refused.len() + failures.len());
    println!("{count} rules, {examples} examples, {wrong} wrong ({})", classifier.ruleset());
    Ok(wrong == 0)
}

/// Prints Sigma rules as a drop-in file. True if all could be expressed.
pub fn import_sigma(files: &[PathBuf]) -> anyhow::Result<bool> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|cause| InputError { path: path.clone(), cause })?;
        Ok((path.display().to_string(), text))
    };
    let files = files.iter().map(read).collect::<Result<Vec<_>, InputError>>()?;
    let Imported { toml, rules, left } = sigma::import(&files);
    left.iter().for_each(|reason| eprintln!("{reason}"));
    io::stdout().lock().write_all(toml.as_bytes())?;
    eprintln!("{rules} rules imported, {} left out", left.len());
    Ok(left.is_empty())
}

/// Says which files there are, and how well their first lines fit the format.
pub fn check_files(files: &[FileSettings], out: &mut impl Write) -> anyhow::Result<()> {
    for file in files {
        let found: Vec<PathBuf> =
            glob::glob(&file.path).context("the pattern was checked")?.filter_map(Result::ok).collect();
        if found.is_empty() {
            writeln!(out, "warning   {} matches no file yet", file.path)?;
        }
        for warning in file.format.warnings() {
            writeln!(out, "warning   the format of {}: {warning}", file.path)?;
        }
        for path in found {
            match first_lines(&path, file) {
                Ok(seen) if seen.lines == 0 => writeln!(out, "found     {}: empty so far", path.display())?,
                Ok(seen) => {
                    writeln!(out, "found     {}: {seen}", path.display())?;
                    if seen.may_repeat(file, files) {
                        writeln!(out, "warning   {}", seen.repetition(&path))?;
                    }
                }
                Err(error) => writeln!(out, "warning   {error:#}")?,
            }
        }
    }
    Ok(())
}

/// What the first lines of a file are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    lines: usize,
    /// Each kind of line, and how many are of it.
    kinds: BTreeMap<&'static str, usize>,
}

const TAIL_HEADER: &str = "header of tail -f";
const BLANK: &str = "blank";
const NOTHING: &str = "fit nothing";

impl Seen {
    /// Whether requests that a container prints may be those of a log that is read, too, and
    /// nothing tells.
    fn may_repeat(&self, file: &FileSettings, files: &[FileSettings]) -> bool {
        let requests = |kind: &&str| ["combined", "common", "vhost_combined"].contains(kind);
        let others = files.iter().any(|other| !other.is_docker && other != file);
        file.is_docker && others && !self.kinds.contains_key(TAIL_HEADER) && self.kinds.keys().any(requests)
    }

    fn repetition(&self, path: &Path) -> String {
        format!(
            "{} has requests and no `==> FILE <==` before them: if a log that is read by itself has the same ones, \
             each is two events; then leave one of the two files out",
            path.display()
        )
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of the first {} lines", self.lines)?;
        for (at, (kind, count)) in self.kinds.iter().enumerate() {
            write!(f, "{} {count} {kind}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn first_lines(path: &Path, file: &FileSettings) -> anyhow::Result<Seen> {
    let lines = LineFormat { format: file.format.clone(), is_docker: file.is_docker };
    let reading = Reading { lines, zone: file.timezone.clone() };
    let mut seen = Seen::default();
    each_line(path, |line| {
        seen.lines += 1;
        let unwrapped = reading.unwrap(line.text);
        *seen.kinds.entry(kind(&reading, &unwrapped.text)).or_default() += 1;
        Ok(seen.lines < LINES_CHECKED)
    })?;
    Ok(seen)
}

/// What a line is.
fn kind(reading: &Reading, line: &[u8]) -> &'static str {
    match reading.parse(line) {
        Parsed::Access(_) => match &reading.lines.format {
            Format::Auto => {
                let fits =
                    |(_, format): &&(&str, Format)| *format != Format::Auto && format.parse(line).access().is_some();
                Format::ALL.iter().find(fits).map_or("requests", |(name, _)| name)
            }
            Format::Custom(_) => "requests",
            named => Format::ALL.iter().find(|(_, format)| format == named).map_or("requests", |(name, _)| name),
        },
        Parsed::Error(error) if error.time.is_none() && error.level.is_none() => "error without head",
        Parsed::Error(_) => "error",
        Parsed::TailHeader(_) => TAIL_HEADER,
        Parsed::Odd(Odd::Empty) => BLANK,
        Parsed::Odd(_) => NOTHING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_told_in_a_line() {
        let fields = ["event.original", "attack.categories"].map(|name| *event::fields::named(name).unwrap());
        let expected = "\
event.original     match_only_text  The line as it left the host; searched word by word.
attack.categories  keyword[]        What was tried, such as `sqli`; strongest first.
";
        assert_eq!(table(&fields), expected);
    }
}
