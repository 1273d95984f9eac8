//! The parser and the classifier laid open: `parse`, `explain`, `rules`, and what
//! `check` says of the files.

use crate::host;
use crate::settings::FileSettings;
use crate::tail::{self, Lines, RawLine};
use anyhow::Context;
use event::classify::check::check;
use event::line::day_of;
use event::{Classifier, Day, Document, Event, Format, HostKey, Origin, Parsed};
use flate2::read::MultiGzDecoder;
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

/// Gives every line of a log to `take`, which says whether to go on.
fn each_line(path: &Path, mut take: impl FnMut(RawLine<'_>) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let mut source = open(path)?;
    let mut lines = Lines::default();
    let failed = |cause| InputError { path: path.to_owned(), cause };
    while lines.fill(&mut source, STEP_BYTES).map_err(failed)? > 0 {
        while let Some(line) = lines.next_line() {
            if !take(line)? {
                return Ok(());
            }
        }
    }
    lines.rest().map_or(Ok(true), take).map(drop)
}

/// Prints one document for each line.
pub fn parse(path: &Path, format: Format) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut bench = Bench::new(path, format);
    each_line(path, |line| {
        out.write_all(&Document::of(&bench.event(line)).body)?;
        out.write_all(b"\n")?;
        Ok(true)
    })?;
    Ok(out.flush()?)
}

/// Makes events of the lines of one log, as the tailer would.
struct Bench {
    classifier: Classifier,
    key: HostKey,
    origin: Option<Arc<Origin>>,
    path: String,
    format: Format,
    host: event::line::Host,
    day: Option<Day>,
}

impl Bench {
    fn new(path: &Path, format: Format) -> Bench {
        let host = host::here(host::id(None).unwrap_or_else(|| "unknown".to_owned()));
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Bench {
            classifier: Classifier::embedded(),
            key: HostKey::derive(&host.id),
            origin: None,
            path: event::id::family(&path.to_string_lossy()).to_owned(),
            format,
            host,
            day: None,
        }
    }

    fn event(&mut self, line: RawLine<'_>) -> Event {
        let origin = self.origin.take().unwrap_or_else(|| Arc::new(self.origin(line.text)));
        let parsed = self.format.parse(line.text);
        self.day = day_of(&parsed, self.day);
        let event = Event {
            origin: origin.clone(),
            offset: line.offset,
            length: line.length,
            line: line.text.to_vec(),
            cut: line.is_cut,
            time: parsed.time().map_or_else(tail::now, |own| own.at),
            day: self.day,
            attack: parsed.access().and_then(|access| self.classifier.classify(access)),
            gap: None,
        };
        self.origin = Some(origin);
        event
    }

    fn origin(&self, first_line: &[u8]) -> Origin {
        Origin {
            host: self.host.clone(),
            cloud: None,
            container: None,
            path: self.path.clone(),
            life: self.key.life(&self.path, first_line),
            format: self.format.clone(),
            ruleset: self.classifier.ruleset().to_owned(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Prints `line number, categories` of each line that is an attack.
pub fn detected(path: &Path, format: Format) -> anyhow::Result<()> {
    let classifier = Classifier::embedded();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut number = 0u64;
    each_line(path, |line| {
        number += 1;
        let parsed = format.parse(line.text);
        if let Some(attack) = parsed.access().and_then(|access| classifier.classify(access)) {
            let categories: Vec<_> = attack.categories().iter().map(|category| category.name()).collect();
            writeln!(out, "{number}\t{}", categories.join(","))?;
        }
        Ok(true)
    })?;
    Ok(out.flush()?)
}

/// Explains every line on standard input.
pub fn explain_all(format: Format, json: bool) -> anyhow::Result<()> {
    each_line(Path::new("-"), |line| explain(line.text, &format, json).map(|()| true))
}

/// Explains one line.
pub fn explain(line: &[u8], format: &Format, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match format.parse(line) {
        Parsed::Access(access) => {
            let explanation = Classifier::embedded().explain(&access);
            if json {
                serde_json::to_writer(&mut out, &explanation).map_err(io::Error::from)?;
                writeln!(out)?;
            } else {
                write!(out, "{explanation}")?;
            }
        }
        Parsed::Odd(odd) if json => writeln!(out, "{}", serde_json::json!({"odd": odd, "reason": odd.to_string()}))?,
        Parsed::Odd(odd) => writeln!(out, "This line is kept, but cannot be judged: {odd}.")?,
    }
    Ok(())
}

/// Prints the rules, a line each.
pub fn list_rules() -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let classifier = Classifier::embedded();
    let mut rules: Vec<_> = classifier.rules().iter().collect();
    rules.sort_by_key(|rule| (rule.category, &rule.id));
    for rule in rules {
        writeln!(out, "{:<28} {:<14} {:>3}  {}", rule.id, rule.category, rule.score, rule.about)?;
    }
    Ok(out.flush()?)
}

/// Runs every rule's own examples. True if all came out right.
pub fn check_rules() -> anyhow::Result<bool> {
    let classifier = Classifier::embedded();
    let failures = check(&classifier);
    let examples: usize = classifier.rules().iter().map(|rule| rule.examples.len()).sum();
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    println!("{} rules, {examples} examples, {} came out wrong", classifier.rules().len(), failures.len());
    Ok(failures.is_empty())
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
            match first_lines(&path, &file.format) {
                Ok((0, _)) => writeln!(out, "found     {}: empty so far", path.display())?,
                Ok((lines, odd)) => {
                    writeln!(out, "found     {}: {} of the first {lines} lines fit", path.display(), lines - odd)?
                }
                Err(error) => writeln!(out, "warning   {error:#}")?,
            }
        }
    }
    Ok(())
}

/// How many of the first lines there are, and how many of them no format fits.
fn first_lines(path: &Path, format: &Format) -> anyhow::Result<(usize, usize)> {
    let (mut lines, mut odd) = (0, 0);
    each_line(path, |line| {
        lines += 1;
        odd += usize::from(format.parse(line.text).access().is_none());
        Ok(lines < LINES_CHECKED)
    })?;
    Ok((lines, odd))
}
