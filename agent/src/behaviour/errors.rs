//! What the error log tells of attacks, also of those that no access log shows.

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

const fn of(category: Category, outcome: Outcome, sentence: &'static str) -> Signal {
    Signal { category: Some(category), outcome, sentence, is_certain: false, is_by_itself: true }
}

const fn refused(sentence: &'static str) -> Signal {
    Signal { category: None, outcome: Outcome::Blocked, sentence, is_certain: false, is_by_itself: false }
}

const SQL_LEAK: Signal = Signal {
    is_certain: true,
    ..of(Category::Sqli, Outcome::LikelySucceeded, "the database answered an injected query in its error message")
};
const SQL: Signal =
    of(Category::Sqli, Outcome::LikelySucceeded, "the database read what was sent as SQL, and complained of it");
const SHELL: Signal = Signal {
    is_certain: true,
    ..of(Category::Cmdi, Outcome::LikelySucceeded, "a shell ran what was sent, and complained of it")
};
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

/// Words of a message, and what they say; the first that is there counts.
const SAYINGS: [(&[u8], Signal); 12] = [
    (b"XPATH syntax error", SQL_LEAK),
    (b"Duplicate entry '~", SQL_LEAK),
    (b"SQL syntax", SQL),
    (b"mysqli_sql_exception", SQL),
    (b"SQLSTATE[", SQL),
    (b"syntax error at or near", SQL),
    (b"unterminated quoted string", SQL),
    (b"eval()'d code", EVAL),
    (b"AH10244:", OUTSIDE),
    (b"AH01630:", DENIED),
    (b"AH01276:", DENIED),
    (b"not found or unable to stat", NO_SCRIPT),
];

/// What the line says of an attack, if anything.
pub fn signal(line: &ErrorLine<'_>) -> Option<Signal> {
    let message = line.message;
    if line.module.is_none() && line.client.is_none() {
        return is_of_a_shell(message).then_some(SHELL);
    }
    if line.before.is_some_and(is_of_a_shell) {
        return Some(SHELL);
    }
    if message.starts_with(b"ModSecurity") {
        return has(message, b"Access denied").then_some(MODSECURITY);
    }
    let said = || SAYINGS.iter().find(|(words, _)| has(message, words)).map(|(_, signal)| *signal);
    included(message).or_else(said)
}

/// What PHP could not include. A part of the application that is missing is a fault of who
/// installed it, so the name must be one that an attacker would send.
fn included(message: &[u8]) -> Option<Signal> {
    let at = [&b"include("[..], b"include_once(", b"require(", b"require_once("];
    let name = at.iter().find_map(|word| memmem::find(message, word).map(|at| &message[at + word.len()..]))?;
    let name = match memmem::find(name, b"opening '") {
        Some(at) => &name[at + b"opening '".len()..],
        None => name,
    };
    let tells = |word: &[u8]| has(&name[..name.len().min(200)], word);
    if tells(b"http://") || tells(b"https://") || tells(b"ftp://") {
        Some(REMOTE)
    } else if has(message, b"Permission denied") {
        Some(UNREADABLE)
    } else if [&b"../"[..], b"..\\", b"/etc/", b"/proc/", b"/var/log/", b"php:/", b"boot.ini"].into_iter().any(tells) {
        Some(MISSING)
    } else {
        None
    }
}

/// `sh: 1: nslookup: not found`, as dash and bash write it.
fn is_of_a_shell(text: &[u8]) -> bool {
    let shells = [&b"sh: "[..], b"/bin/sh: ", b"bash: ", b"/bin/bash: "];
    shells.iter().any(|shell| text.starts_with(shell))
}

fn has(text: &[u8], words: &[u8]) -> bool {
    memmem::find(text, words).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Format, Parsed};

    fn told(line: &str) -> Option<&'static str> {
        let Parsed::Error(error) = Format::Error.parse(line.as_bytes()) else { panic!("{line}") };
        signal(&error).map(|signal| signal.sentence)
    }

    #[test]
    fn an_error_of_the_application_is_told_from_what_an_attack_leaves() {
        let head = "[Mon Nov 23 01:49:33.005699 2026] [php:error] [pid 7:tid 7] [client 192.0.2.7:26325] ";
        let say = |message: &str| told(&format!("{head}{message}"));
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
}
