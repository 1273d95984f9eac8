//! The format of a log, as the web server's own configuration tells it (Apache HTTP Server
//! 2.4, mod_log_config: `LogFormat`, `CustomLog`, `TransferLog`; core: `ErrorLog`,
//! `ErrorLogFormat`, `Include`).

use event::Format;
use event::format::UnknownFormat;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Files that a configuration may include, and bytes of each.
const FILES_MAX: usize = 1_000;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What Apache writes where no LogFormat was given (mod_log_config, `TransferLog`).
const COMMON: &str = r#"%h %l %u %t "%r" %>s %b"#;

/// Why a format cannot be taken from a configuration.
#[derive(Debug, thiserror::Error)]
pub enum HttpdError {
    #[error("cannot read `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("no CustomLog or ErrorLog there writes a file like `{wanted}`; the logs it names: {}", list(.there))]
    NoLog { wanted: String, there: BTreeSet<String> },
    #[error("several formats are written into files like `{wanted}`: {}; give each log a `[[file]]` of its own", list(.formats))]
    Several { wanted: String, formats: BTreeSet<String> },
    #[error(transparent)]
    Format(UnknownFormat),
}

fn list(texts: &BTreeSet<String>) -> String {
    if texts.is_empty() {
        return "none".to_owned();
    }
    texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

/// The formats and logs that a configuration names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Httpd {
    /// By nickname.
    formats: BTreeMap<String, String>,
    /// Of logs that name no format.
    usual: Option<String>,
    /// Each log's path, with its format or the nickname of it.
    logs: Vec<(String, Option<String>)>,
    /// Paths of error logs, and the format of all that have one.
    error_logs: Vec<String>,
    error_format: Option<String>,
    root: Option<PathBuf>,
}

impl Httpd {
    /// Reads a configuration file and all that it includes.
    pub fn read(path: &Path) -> Result<Httpd, HttpdError> {
        let failed = |cause| HttpdError::Read { path: path.to_owned(), cause };
        let mut httpd = Httpd::default();
        let mut waiting: VecDeque<String> = httpd.take(&text(path).map_err(failed)?).into();
        let beside = path.parent().unwrap_or(Path::new("/")).to_owned();
        let mut files = 0;
        while let Some(pattern) = waiting.pop_front() {
            let pattern = httpd.root.as_ref().unwrap_or(&beside).join(pattern);
            for file in included(&pattern) {
                files += 1;
                // What is missing or not ours to read may not matter; if it does, the log's
                // format is missing, and that is told.
                if let (true, Ok(text)) = (files <= FILES_MAX, text(&file)) {
                    waiting.extend(httpd.take(&text));
                }
            }
        }
        Ok(httpd)
    }

    /// The format of the log that `pattern`, a path or a glob, is about. Names alone are
    /// compared: the folder may stand there as `${APACHE_LOG_DIR}`.
    pub fn format_of(&self, pattern: &str) -> Result<Format, HttpdError> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let wanted = glob::Pattern::new(&name(pattern)).ok();
        let fits = |path: &str| wanted.as_ref().is_some_and(|wanted| wanted.matches(&name(path)));
        let formats: BTreeSet<String> = self
            .logs
            .iter()
            .filter(|(path, _)| fits(path))
            .map(|(_, format)| self.written(format.as_deref()))
            .chain(self.error_logs.iter().filter(|path| fits(path)).map(|_| self.written_error()))
            .collect();
        let wanted = pattern.to_owned();
        let there = || self.logs.iter().map(|(path, _)| path).chain(&self.error_logs).cloned().collect();
        match formats.len() {
            0 => Err(HttpdError::NoLog { wanted, there: there() }),
            1 => formats.first().expect("there is one").parse().map_err(HttpdError::Format),
            _ => Err(HttpdError::Several { wanted, formats }),
        }
    }

    fn written(&self, format: Option<&str>) -> String {
        let usual = || self.usual.as_deref().unwrap_or(COMMON);
        let format = format.unwrap_or_else(usual);
        self.formats.get(format).map_or(format, String::as_str).to_owned()
    }

    fn written_error(&self) -> String {
        self.error_format.as_ref().map_or_else(|| "error".to_owned(), |format| format!("ErrorLogFormat {format}"))
    }

    /// Takes the directives of one file. Returns what it includes.
    fn take(&mut self, text: &str) -> Vec<String> {
        let mut includes = Vec::new();
        for line in text.replace("\\\r\n", " ").replace("\\\n", " ").lines() {
            let mut words = words(line).into_iter();
            let Some(directive) = words.next() else { continue };
            let (first, second) = (words.next(), words.next());
            match (directive.to_ascii_lowercase().as_str(), first, second) {
                ("logformat", Some(format), Some(nickname)) => drop(self.formats.insert(nickname, format)),
                ("logformat", Some(format), None) => self.usual = Some(format),
                // A pipe's program may write anywhere.
                ("customlog" | "transferlog" | "globallog", Some(path), _) if path.starts_with('|') => {}
                ("customlog" | "globallog", Some(path), Some(format)) => self.logs.push((path, Some(format))),
                ("transferlog", Some(path), _) => self.logs.push((path, None)),
                ("errorlog", Some(path), _) if path.starts_with('|') || path.starts_with("syslog") => {}
                ("errorlog", Some(path), _) => self.error_logs.push(path),
                // With a first word it is a format for once a connection or a request.
                ("errorlogformat", Some(format), None) => self.error_format = Some(format),
                ("include" | "includeoptional", Some(pattern), _) => includes.push(pattern),
                ("serverroot", Some(root), _) => self.root = Some(PathBuf::from(root)),
                _ => {}
            }
        }
        includes
    }
}

/// The words of a directive: bare, or in quotes, inside of which a backslash keeps a quote
/// or a backslash (`ap_getword_conf`).
fn words(line: &str) -> Vec<String> {
    let (mut out, mut rest) = (Vec::new(), line.trim());
    if rest.starts_with('#') {
        return out;
    }
    while let Some(first) = rest.chars().next() {
        let quote = Some(first).filter(|first| matches!(first, '"' | '\''));
        let (mut word, mut chars) = (String::new(), rest[quote.map_or(0, char::len_utf8)..].chars());
        while let Some(char) = chars.next() {
            match (char, quote) {
                (char, Some(quote)) if char == quote => break,
                (char, None) if char.is_whitespace() => break,
                ('\\', Some(quote)) if chars.as_str().starts_with([quote, '\\']) => word.extend(chars.next()),
                _ => word.push(char),
            }
        }
        out.push(word);
        rest = chars.as_str().trim_start();
    }
    out
}

fn text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The files that an `Include` means: those that fit, and all in a folder that fits.
fn included(pattern: &Path) -> Vec<PathBuf> {
    let found = pattern.to_str().and_then(|pattern| glob::glob(pattern).ok());
    let found = found.into_iter().flatten().filter_map(Result::ok).take(FILES_MAX);
    let inside = |path: PathBuf| match path.is_dir() {
        true => std::fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect(),
        false => vec![path],
    };
    let mut files: Vec<PathBuf> = found.flat_map(inside).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Debian's layout, with a site of its own format.
    fn configuration() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sites-enabled")).unwrap();
        let main = "ServerRoot \"HERE\"\n# LogFormat \"%r\" combined\n\
            LogFormat \"%h %l %u %t \\\"%r\\\" %>s %O \\\"%{Referer}i\\\" \\\"%{User-Agent}i\\\"\" combined\n\
            LogFormat \"%h %D \\\n  \\\"%r\\\"\" short\nIncludeOptional sites-enabled/*.conf\nInclude missing.conf\n";
        fs::write(folder.path().join("apache2.conf"), main.replace("HERE", folder.path().to_str().unwrap())).unwrap();
        let site = "<VirtualHost *:80>\n\tCustomLog ${APACHE_LOG_DIR}/access.log combined env=!quiet\n\
            \tcustomlog logs/shop_access.log short\n\tTransferLog plain.log\n\tErrorLog error.log\n\
            \tCustomLog \"|/usr/bin/rotatelogs /var/log/access.log 86400\" short\n</VirtualHost>\n";
        fs::write(folder.path().join("sites-enabled/000-default.conf"), site).unwrap();
        folder
    }

    fn format_of(pattern: &str) -> Result<String, String> {
        let folder = configuration();
        let httpd = Httpd::read(&folder.path().join("apache2.conf")).unwrap();
        httpd.format_of(pattern).map(|format| format.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_log_is_found_by_its_name_and_its_format_by_its_nickname() {
        assert_eq!(format_of("/var/log/apache2/access.log").unwrap(), "combined");
        assert_eq!(format_of("/var/log/apache2/shop_*.log").unwrap(), "%h %D    \"%r\"");
        assert_eq!(format_of("/var/log/apache2/error.log").unwrap(), "error");
        assert_eq!(format_of("/srv/plain.log").unwrap(), "common", "what mod_log_config writes by itself");
    }

    #[test]
    fn a_log_that_is_not_there_or_not_one_is_named() {
        assert_eq!(
            format_of("/var/log/apache2/other.log").unwrap_err(),
            "no CustomLog or ErrorLog there writes a file like `/var/log/apache2/other.log`; the logs it names: \
             `${APACHE_LOG_DIR}/access.log`, `error.log`, `logs/shop_access.log`, `plain.log`"
        );
        assert!(format_of("/var/log/apache2/*access.log").unwrap_err().contains("several formats"));
    }

    #[test]
    fn words_are_taken_as_the_server_takes_them() {
        assert_eq!(words(r#"  A "b \"c\" \\d" e\ 'f "g"' "#), ["A", r#"b "c" \d"#, r"e\", r#"f "g""#]);
        assert_eq!(words("# A b"), [""; 0]);
        assert_eq!(words("A \"open"), ["A", "open"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_configuration(text in r#"([Ll]og[Ff]ormat|CustomLog|["'\\ \n%a]|é){0,40}"#) {
            Httpd::default().take(&text);
        }
    }
}
