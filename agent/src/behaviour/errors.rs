//! What the error log tells of attacks, also of those that no access log shows.

use super::hash::Key;
use event::Category;
use event::format::ErrorLine;
use event::incident::Outcome;
use memchr::memmem;

/// What a line of an error log says of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Attacks of which category it speaks of; `None` of any.
    pub category: Option<Category>,
    pub outcome: Outcome,
    pub sentence: &'static str,
    /// Whether nothing but an attack writes it.
    pub is_certain: bool,
    /// Whether it says something though no request before it is known as an attack.
    pub is_by_itself: bool,
}

impl Signal {
    /// Whether a site's own fault may bring it about at each visit.
    pub fn may_be_a_fault(&self) -> bool {
        !self.is_by_itself && self.outcome == Outcome::LikelySucceeded
    }
}

const fn of(category: Category, outcome: Outcome, sentence: &'static str) -> Signal {
    Signal { category: Some(category), outcome, sentence, is_certain: false, is_by_itself: true }
}

const fn refused(sentence: &'static str) -> Signal {
    Signal { category: None, outcome: Outcome::Blocked, sentence, is_certain: false, is_by_itself: false }
}

/// The same, where an ordinary fault writes it, too: it tells only of an attack that is known.
const fn joined(signal: Signal) -> Signal {
    Signal { is_certain: false, is_by_itself: false, ..signal }
}

const fn certain(signal: Signal) -> Signal {
    Signal { is_certain: true, ..signal }
}

const SQL_LEAK: Signal = certain(of(
    Category::Sqli,
    Outcome::LikelySucceeded,
    "the database answered an injected query in its error message",
));
const SQL: Signal =
    of(Category::Sqli, Outcome::LikelySucceeded, "the database read what was sent as SQL, and complained of it");
const SHELL: Signal = of(Category::Cmdi, Outcome::LikelySucceeded, "a shell ran what was sent, and complained of it");
const EVAL: Signal =
    of(Category::Code, Outcome::LikelySucceeded, "PHP ran what was sent as a program, and complained of it");
const UNREADABLE: Signal = of(Category::Lfi, Outcome::Failed, "PHP tried to include a file that it may not read");
const MISSING: Signal = of(Category::Lfi, Outcome::Failed, "PHP tried to include a file that is not there");
const REMOTE: Signal =
    of(Category::Rfi, Outcome::Failed, "PHP tried to include a file of another server, and could not");
const OUTSIDE: Signal =
    Signal { category: Some(Category::Lfi), ..refused("Apache refused a path that leaves the site") };
const DENIED: Signal = refused("Apache's configuration denies what was asked for");
const MODSECURITY: Signal = refused("ModSecurity refused it");
const NO_SCRIPT: Signal = Signal { outcome: Outcome::Failed, ..refused("there is no such script") };

/// Bytes of a file's name that tell it from others.
const FILE_BYTES_MAX: usize = 48;

/// Bytes of a message that say what it is about.
const GIST_BYTES_MAX: usize = 512;

/// What Apache says of a request, by the number of the message. The path that was asked for stands
/// in it, so nothing else is looked for there.
const OF_APACHE: [(&[u8], Signal); 5] = [
    (b"AH10244", OUTSIDE),
    (b"AH01630", DENIED),
    (b"AH01276", DENIED),
    (b"AH01264", NO_SCRIPT),
    (b"AH02811", NO_SCRIPT),
];

/// What Apache writes before a message of PHP's behind FastCGI, and of a program's behind CGI.
const OF_PROGRAMS: [&[u8]; 2] = [b"AH01071: Got error 'PHP message: ", b"AH01215: "];

/// What databases say of a statement that they cannot read: MySQL, PostgreSQL, SQLite, SQL Server.
const SYNTAX: [&[u8]; 8] = [
    b"You have an error in your SQL syntax",
    b"syntax error at or near",
    b"syntax error at end of input",
    b"unterminated quoted string",
    b"unrecognized token",
    b"incomplete input",
    b"Incorrect syntax near",
    b"Unclosed quotation mark",
];

/// What is said of a database that is not there for the site: no statement's fault. PDO puts the
/// driver's number in brackets then.
const OUTAGES: [&[u8]; 10] = [
    b"] [",
    b"Connection refused",
    b"Connection timed out",
    b"No such file or directory",
    b"Too many connections",
    b"too many clients",
    b"gone away",
    b"Lost connection",
    b"Access denied for user",
    b"could not connect",
];

/// Words of the names of exceptions that tell what a database said, in lower case.
const EXCEPTIONS: [&[u8]; 5] = [b"sql", b"pdo", b"query", b"dbal", b"database"];

/// How the names of PHP's functions begin that ask a database, in lower case.
const FUNCTIONS: [&[u8]; 9] =
    [b"mysql", b"pg_", b"pdo", b"sqlite", b"odbc_", b"mssql_", b"sqlsrv_", b"oci_", b"ibase_"];

/// How others begin to tell what a database said: drivers of Perl, Python and Ruby.
const DRIVERS: [&[u8]; 11] = [
    b"DBD::",
    b"psycopg.",
    b"psycopg2.",
    b"sqlite3.",
    b"MySQLdb.",
    b"pymysql.",
    b"django.db.utils.",
    b"sqlalchemy.exc.",
    b"PG::",
    b"Mysql2::",
    b"SQLite3::",
];

/// Commands that attackers try and that no site's own code calls: one of them tells.
const PROBES: [&[u8]; 19] = [
    b"busybox",
    b"certutil",
    b"cmd",
    b"cmd.exe",
    b"dir",
    b"ifconfig",
    b"ipconfig",
    b"nc",
    b"ncat",
    b"netcat",
    b"nmap",
    b"nslookup",
    b"powershell",
    b"powershell.exe",
    b"pwsh",
    b"socat",
    b"systeminfo",
    b"telnet",
    b"whoami",
];

/// Programs that sites' own code calls, without the numbers of versions: one that is missing is a
/// fault of who installed it.
const TOOLS: [&[u8]; 40] = [
    b"7z",
    b"chromium",
    b"clamdscan",
    b"clamscan",
    b"composer",
    b"convert",
    b"cwebp",
    b"dig",
    b"exiftool",
    b"ffmpeg",
    b"ffprobe",
    b"file",
    b"git",
    b"gm",
    b"gs",
    b"identify",
    b"java",
    b"jpegoptim",
    b"libreoffice",
    b"lsof",
    b"magick",
    b"mogrify",
    b"mysql",
    b"mysqldump",
    b"node",
    b"npm",
    b"optipng",
    b"pdfinfo",
    b"pdftk",
    b"pdftoppm",
    b"pdftotext",
    b"php",
    b"ping",
    b"ps",
    b"python",
    b"soffice",
    b"sudo",
    b"unzip",
    b"wkhtmltopdf",
    b"zip",
];

/// Programs that send mail. PHP's `mail()` has a shell look for one.
const MAILERS: [&[u8]; 5] = [b"exim", b"mail", b"mailx", b"msmtp", b"sendmail"];

/// What the line says of an attack, if anything.
pub fn signal(line: &ErrorLine<'_>) -> Option<Signal> {
    if line.module.is_none() && line.client.is_none() {
        return of_shell(line.message);
    }
    // A shell that breaks into the line of a request need not have run that request's command.
    of_message(line).or_else(|| line.before.and_then(of_shell).map(joined))
}

fn of_message(line: &ErrorLine<'_>) -> Option<Signal> {
    let message = line.message;
    if message.starts_with(b"ModSecurity") {
        return message.starts_with(b"ModSecurity: Access denied").then_some(MODSECURITY);
    }
    if message.starts_with(b"script '") && has(message, b"not found or unable to stat") {
        return Some(NO_SCRIPT);
    }
    let of_program = OF_PROGRAMS.iter().find_map(|head| message.strip_prefix(*head));
    match (of_program, line.code()) {
        (None, Some(code)) => OF_APACHE.iter().find(|(known, _)| *known == code).map(|(_, signal)| *signal),
        (text, _) => of_text(text.unwrap_or(message)),
    }
}

/// What a program that answers requests says of one.
fn of_text(text: &[u8]) -> Option<Signal> {
    if let Some(said) = text.strip_prefix(b"WordPress database error ") {
        return of_database(said);
    }
    if DRIVERS.iter().any(|driver| text.starts_with(driver)) {
        return of_database(behind(text, b": ")?);
    }
    let (kind, said) = of_php(text)?;
    if is_of_eval(text) {
        // A site whose own programs stand in its database warns of them each time.
        return Some(if matches!(kind, b"Fatal error" | b"Parse error") { EVAL } else { joined(EVAL) });
    }
    included(said).or_else(|| of_database(by_database(said)?))
}

/// The name of the file that PHP could not include, without its folders and its ending, which the
/// application may have put there.
pub fn file<'a>(signal: &Signal, message: &'a [u8]) -> Option<&'a [u8]> {
    if ![MISSING, UNREADABLE, REMOTE].contains(signal) {
        return None;
    }
    let (from, end) = match behind(message, b"opening '") {
        Some(from) => (from, b'\''),
        None => (&message[memchr::memchr(b'(', message)? + 1..], b')'),
    };
    let name = &from[..memchr::memchr(end, from)?];
    let last = name.rsplit(|byte| b"/\\".contains(byte)).next().unwrap_or(name);
    let stem = &last[..memchr::memchr(b'.', last).unwrap_or(last.len())];
    (!stem.is_empty()).then_some(&stem[..stem.len().min(FILE_BYTES_MAX)])
}

/// What a message says, told from what differs each time: numbers, and the statement that WordPress
/// gives with it.
pub fn gist(message: &[u8], key: Key) -> u64 {
    let end = memmem::find(message, b" for query ").unwrap_or(message.len()).min(GIST_BYTES_MAX);
    let parts = message[..end].split(u8::is_ascii_digit).filter(|part| !part.is_empty());
    parts.fold(0, |gist, part| key.with(gist, key.hash(part)))
}

/// The kind of a message of PHP's (`Warning`), and what it says.
fn of_php(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"PHP ")?;
    let colon = memchr::memchr(b':', text).filter(|at| *at < 32)?;
    Some((&text[..colon], text[colon + 1..].trim_ascii_start()))
}

/// Whether the place that PHP names is in a program that it was given as text, as in
/// `x.php(3) : eval()'d code`.
fn is_of_eval(text: &[u8]) -> bool {
    let place = || ErrorLine { message: text, ..ErrorLine::default() }.php()?.file;
    has(text, b" : eval()'d code") && place().is_some_and(|file| file.ends_with(" : eval()'d code"))
}

/// What PHP could not include. A part of the application that is missing is a fault of who
/// installed it, so the name must be one that an attacker would send.
fn included(said: &[u8]) -> Option<Signal> {
    let functions = [&b"include("[..], b"include_once(", b"require(", b"require_once("];
    let name = functions.iter().find_map(|function| said.strip_prefix(*function))?;
    let name = behind(name, b"opening '").unwrap_or(name);
    let tells = |word: &[u8]| has(&name[..name.len().min(200)], word);
    if tells(b"http://") || tells(b"https://") || tells(b"ftp://") {
        Some(REMOTE)
    } else if has(said, b"Permission denied") {
        Some(UNREADABLE)
    } else if [&b"../"[..], b"..\\", b"/etc/", b"/proc/", b"/var/log/", b"php:/", b"boot.ini"].into_iter().any(tells) {
        Some(MISSING)
    } else {
        None
    }
}

/// What a database said, where that is what PHP tells: in an exception that nobody caught, or of a
/// function that asked.
fn by_database(said: &[u8]) -> Option<&[u8]> {
    let is_of = |name: &[u8], is_it: &dyn Fn(&[u8]) -> bool| name.len() < 200 && is_it(&name.to_ascii_lowercase());
    if let Some(exception) = said.strip_prefix(b"Uncaught ") {
        // PHP 5 writes `exception 'PDOException' with message '...'`.
        let text = behind(exception, b" with message '").filter(|_| exception.starts_with(b"exception '"));
        let text = text.or_else(|| behind(exception, b": "))?;
        let name = &exception[..exception.len() - text.len()];
        return is_of(name, &|name| EXCEPTIONS.iter().any(|word| has(name, word))).then_some(text);
    }
    let text = behind(said, b"(): ")?;
    let name = &said[..said.len() - text.len()];
    is_of(name, &|name| FUNCTIONS.iter().any(|begin| name.starts_with(begin))).then_some(text)
}

/// What a database complained of. Where that is not how a statement is written, the site's own may
/// be wrong: a table is not there, a name is taken.
fn of_database(said: &[u8]) -> Option<Signal> {
    // Drivers of Python put a number and a quote before it. Behind the next quote stands what was sent.
    let said = said.trim_ascii_start();
    let inner = said.strip_prefix(b"(").and_then(|said| behind(said, b", ")).filter(|said| said.starts_with(b"\""));
    let said = inner.map_or(said, |said| &said[1..]);
    let end = said.iter().position(|byte| b"'\"`".contains(byte)).unwrap_or(said.len());
    let own = &said[..end];
    let any = |words: &[&[u8]]| words.iter().any(|words| has(own, words));
    if any(&OUTAGES) {
        None
    } else if own.ends_with(b"XPATH syntax error: ") || own.ends_with(b"Duplicate entry ") && is_of_a_group(said) {
        Some(SQL_LEAK)
    } else if any(&SYNTAX) || own.ends_with(b"near ") && has(said, b"\": syntax error") {
        Some(SQL)
    } else {
        Some(joined(SQL))
    }
}

/// Whether an entry is there twice in the table that MySQL makes for `GROUP BY`, which injected
/// statements bring about to read what they want in the message. It is named last.
fn is_of_a_group(said: &[u8]) -> bool {
    let key = memmem::rfind(said, b" for key '").map_or(&b""[..], |at| &said[at + b" for key '".len()..]);
    key.starts_with(b"group_key'") || has(key, b"<group_key>'")
}

/// What a shell complains of, as dash and bash write it: `sh: 1: nslookup: not found`.
fn of_shell(text: &[u8]) -> Option<Signal> {
    let shells = [&b"sh: "[..], b"/bin/sh: ", b"bash: ", b"/bin/bash: ", b"dash: "];
    let mut said = shells.iter().find_map(|shell| text.strip_prefix(*shell))?;
    for before in [&b"-c: "[..], b"line "] {
        said = said.strip_prefix(before).unwrap_or(said);
    }
    let digits = said.iter().take_while(|byte| byte.is_ascii_digit()).count();
    said = said[digits..].strip_prefix(b": ").unwrap_or(said);
    let name = &said[..memmem::find(said, b": ").unwrap_or(said.len())];
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let version = last.iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let of = |names: &[&[u8]]| [last, &last[..last.len() - version]].iter().any(|name| names.contains(name));
    // Where a mailer is not even configured, its options are what is looked for.
    if of(&MAILERS) || name.starts_with(b"-") {
        None
    } else if name.is_empty() || name.starts_with(b"/") || of(&TOOLS) {
        Some(joined(SHELL))
    } else if PROBES.contains(&name) {
        Some(certain(SHELL))
    } else {
        Some(SHELL)
    }
}

fn has(text: &[u8], words: &[u8]) -> bool {
    memmem::find(text, words).is_some()
}

/// What follows the first `words`.
fn behind<'a>(text: &'a [u8], words: &[u8]) -> Option<&'a [u8]> {
    memmem::find(text, words).map(|at| &text[at + words.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Format, Parsed};

    fn told(line: &str) -> Option<&'static str> {
        let Parsed::Error(error) = Format::Error.parse(line.as_bytes()) else { panic!("{line}") };
        signal(&error).map(|signal| signal.sentence)
    }

    /// What a line says with the head of a request's.
    fn says(message: &str) -> Option<Signal> {
        let head = "[Mon Nov 23 01:49:33.005699 2026] [php:error] [pid 7:tid 7] [client 192.0.2.7:26325] ";
        let line = format!("{head}{message}");
        let Parsed::Error(error) = Format::Error.parse(line.as_bytes()) else { panic!("{line}") };
        signal(&error)
    }

    #[test]
    fn an_error_of_the_application_is_told_from_what_an_attack_leaves() {
        let say = |message: &str| says(message).map(|signal| signal.sentence);
        assert_eq!(
            say("PHP Fatal error:  Uncaught mysqli_sql_exception: You have an error in your SQL syntax"),
            Some(SQL.sentence)
        );
        assert_eq!(
            say("PHP Fatal error:  Uncaught mysqli_sql_exception: XPATH syntax error: '~dvwa'"),
            Some(SQL_LEAK.sentence)
        );
        assert_eq!(
            say("PHP Warning:  include(): Failed opening '../../etc/passwd' for inclusion"),
            Some(MISSING.sentence)
        );
        assert_eq!(say("PHP Warning:  require(vendor/autoload.php): Failed to open stream: No such file"), None);
        assert_eq!(say("AH01630: client denied by server configuration: /var/www/html/.ht"), Some(DENIED.sentence));
        assert_eq!(told("sh: 1: nslookup: not found"), Some(SHELL.sentence));
    }

    #[test]
    fn the_same_fault_is_known_by_what_it_says_and_not_by_its_numbers() {
        let gist = |message: &str| gist(message.as_bytes(), Key::of("h"));
        let fault =
            |line: u8| gist(&format!("PHP Warning:  mysqli_query(): Table 'shop.x' doesn't exist on line {line}"));
        assert_eq!(fault(7), fault(212));
        let wordpress = |table: &str, day: u8| {
            gist(&format!("WordPress database error Table 'shop.{table}' doesn't exist for query SELECT {day} FROM x"))
        };
        assert_eq!(wordpress("a", 1), wordpress("a", 2));
        assert_ne!(wordpress("a", 1), wordpress("b", 1));
    }

    #[test]
    fn the_file_that_could_not_be_included_is_known_by_its_name() {
        let file = |message: &str| {
            let signal = says(message).expect("it tells of an attack");
            file(&signal, message.as_bytes()).map(|file| String::from_utf8_lossy(file).into_owned())
        };
        for message in [
            "PHP Warning:  include(../../etc/passwd): Failed to open stream: No such file or directory",
            "PHP Warning:  include(): Failed opening 'pages/../../etc/passwd.php' for inclusion (include_path='.')",
            "PHP Warning:  include(..\\..\\etc\\passwd): Failed to open stream: Permission denied",
            "PHP Warning:  include(http://e.example/passwd.txt?): Failed to open stream",
        ] {
            assert_eq!(file(message).as_deref(), Some("passwd"), "{message}");
        }
        assert_eq!(file("PHP Warning:  include(../../etc/): Failed to open stream"), None);
        assert_eq!(file("PHP Fatal error:  Uncaught PDOException: SQLSTATE[42S02]: Table 'x'"), None);
    }

    #[test]
    fn an_ordinary_fault_of_a_site_tells_nothing_by_itself() {
        for outage in [
            "Uncaught PDOException: SQLSTATE[HY000] [2002] Connection refused in /srv/db.php:3",
            "Uncaught mysqli_sql_exception: Connection refused in /srv/db.php:3",
            "Uncaught mysqli_sql_exception: Too many connections in /srv/db.php:3",
            "Uncaught mysqli_sql_exception: Access denied for user 'shop'@'localhost' in /srv/db.php:3",
            "Uncaught PDOException: SQLSTATE[HY000]: General error: 2006 MySQL server has gone away",
            "Uncaught PDOException: SQLSTATE[08006] [7] could not connect to server",
        ] {
            assert_eq!(says(&format!("PHP Fatal error:  {outage}")), None, "{outage}");
        }
        for fault in [
            "PHP Fatal error:  Uncaught mysqli_sql_exception: Table 'shop.x' doesn't exist in /srv/db.php:3",
            "PHP Fatal error:  Uncaught mysqli_sql_exception: Duplicate entry '~a' for key 'users.name' in /srv/db.php:3",
            "PHP Fatal error:  Uncaught mysqli_sql_exception: Duplicate entry 'a' for key 'group_key' for key 'users.name'",
            "PHP Fatal error:  Uncaught mysqli_sql_exception: Unknown column 'a' in 'field list' in /srv/db.php:3",
            "PHP Fatal error:  Uncaught PDOException: SQLSTATE[42S02]: Base table or view not found: 1146 Table 'x'",
            "PHP Fatal error:  Uncaught PDOException: SQLSTATE[42000]: Syntax error or access violation: 1142 SELECT denied",
            "PHP Fatal error:  Uncaught PDOException: SQLSTATE[23000]: Integrity constraint violation: 1062 Duplicate entry \
             'You have an error in your SQL syntax' for key 'users.name'",
        ] {
            assert_eq!(says(fault), Some(joined(SQL)), "{fault}");
        }
        let warned = "PHP Warning:  Undefined variable $a in /srv/x.php(3) : eval()'d code on line 1";
        assert_eq!(says(warned), Some(joined(EVAL)));
    }

    #[test]
    fn a_statement_that_a_database_cannot_read_tells_of_an_injection() {
        for syntax in [
            "PHP Fatal error:  Uncaught PDOException: SQLSTATE[42000]: Syntax error or access violation: 1064 You have an \
             error in your SQL syntax; check the manual",
            "PHP Fatal error:  Uncaught exception 'PDOException' with message 'SQLSTATE[42601]: Syntax error: 7 ERROR:  \
             syntax error at or near \"x\"'",
            "PHP Warning:  mysqli_query(): (42000/1064): You have an error in your SQL syntax; check the manual",
            "PHP Warning:  pg_query(): Query failed: ERROR:  unterminated quoted string at or near \"'\"",
            "PHP Warning:  SQLite3::query(): Unable to prepare statement: 1, near \"x\": syntax error in /srv/x.php on line 3",
            "AH01071: Got error 'PHP message: PHP Fatal error:  Uncaught mysqli_sql_exception: You have an error in your \
             SQL syntax'",
            "AH01215: DBD::mysql::st execute failed: You have an error in your SQL syntax; check: /usr/lib/cgi-bin/x.cgi",
            "psycopg2.errors.SyntaxError: syntax error at or near \"x\"",
            "MySQLdb.ProgrammingError: (1064, \"You have an error in your SQL syntax; check the manual\")",
            "WordPress database error You have an error in your SQL syntax; check the manual for query SELECT 1",
        ] {
            assert_eq!(says(syntax), Some(SQL), "{syntax}");
        }
        let leak =
            "PHP Fatal error:  Uncaught mysqli_sql_exception: Duplicate entry '~shop~1' for key 'group_key' in /x:1";
        assert_eq!(says(leak), Some(SQL_LEAK));
        let parsed =
            "PHP Parse error:  syntax error, unexpected end of file in /srv/x.php(3) : eval()'d code on line 1";
        assert_eq!(says(parsed), Some(EVAL));
    }

    #[test]
    fn what_a_client_sends_is_not_read_as_what_a_program_says() {
        let quoted = |words: &str| {
            [
                (format!("AH01630: client denied by server configuration: /var/www/html/{words}"), Some(DENIED)),
                (format!("AH10244: invalid URI path (/{words}/../../../etc/passwd)"), Some(OUTSIDE)),
                (format!("AH00126: Invalid URI in request GET /{words} HTTP/1.1"), None),
                (format!("script '/var/www/html/{words}.php' not found or unable to stat"), Some(NO_SCRIPT)),
                (format!("AH02811: script not found or unable to stat: /usr/lib/cgi-bin/{words}"), Some(NO_SCRIPT)),
                (format!("PHP Warning:  Undefined array key \"{words}\" in /srv/x.php on line 3"), None),
                (format!("PHP Fatal error:  Uncaught Exception: no page {words} in /srv/x.php:3"), None),
                (format!("PHP Warning:  file_get_contents({words}): Failed to open stream"), None),
                (format!("ModSecurity: Warning. Matched at ARGS:{words}. [data \"{words}\"]"), None),
                (format!("login of {words} failed"), None),
            ]
        };
        for words in [
            "XPATH syntax error: '~x",
            "Duplicate entry '~x' for key 'group_key'",
            "You have an error in your SQL syntax",
            "mysqli_sql_exception: XPATH syntax error: '",
            "SQLSTATE[42601]: syntax error at or near",
            "x.php(3) : eval()'d code",
            "include(http://e.example/x)",
            "AH10244: AH01276: Access denied",
        ] {
            for (message, expected) in quoted(words) {
                assert_eq!(says(&message), expected, "{message}");
            }
        }
        let denied = "ModSecurity: Access denied with code 403 (phase 2). [data \"x\"]";
        assert_eq!(says(denied), Some(MODSECURITY));
    }

    #[test]
    fn a_shells_complaint_of_what_a_site_itself_calls_tells_nothing_by_itself() {
        let shell = |line: &str| {
            let Parsed::Error(error) = Format::Error.parse(line.as_bytes()) else { panic!("{line}") };
            signal(&error)
        };
        for mailer in ["/usr/sbin/sendmail: not found", "sendmail: command not found", "-t: not found"] {
            assert_eq!(shell(&format!("sh: 1: {mailer}")), None, "{mailer}");
        }
        for own in [
            "sh: 1: /opt/bin/render: not found",
            "sh: 1: convert: not found",
            "sh: line 1: python3: command not found",
            "sh: ",
        ] {
            assert_eq!(shell(own), Some(joined(SHELL)), "{own}");
        }
        assert_eq!(shell("sh: 1: foo: not found"), Some(SHELL));
        assert_eq!(shell("sh: -c: line 0: syntax error near unexpected token `('"), Some(SHELL));
        assert_eq!(shell("sh: powershell: command not found"), Some(certain(SHELL)));
        assert_eq!(shell("bash: line 1: nc: command not found"), Some(certain(SHELL)));
    }
}
