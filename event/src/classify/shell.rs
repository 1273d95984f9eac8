//! A text as a shell takes it.
//!
//! A filter looks for `cat /etc/passwd`; a shell runs `c\'a\'t /e??/pa\\s$x\\swd`, too (POSIX
//! Shell Command Language, sections 2.2 quoting, 2.6 word expansions; braces are of bash,
//! the caret of cmd.exe). This undoes such clothes, so that rules need not know them.

use crate::limits::VIEW_BYTES_MAX;
use memchr::{memchr, memchr3};

/// Files and programs that patterns are held against. The first that fits is meant.
const KNOWN: [&[u8]; 26] = [
    b"/etc/passwd",
    b"/etc/shadow",
    b"/etc/hosts",
    b"/etc/group",
    b"/etc/issue",
    b"/bin/cat",
    b"/bin/ls",
    b"/bin/sh",
    b"/bin/bash",
    b"/bin/nc",
    b"/bin/id",
    b"/bin/ps",
    b"/bin/ping",
    b"/bin/uname",
    b"/bin/echo",
    b"/bin/tac",
    b"/bin/head",
    b"/bin/tail",
    b"/bin/more",
    b"/bin/wget",
    b"/bin/curl",
    b"/usr/bin/id",
    b"/usr/bin/whoami",
    b"/usr/bin/wget",
    b"/usr/bin/curl",
    b"/usr/bin/nc",
];

/// Patterns of one text that are held against names, and bytes of a pattern.
const PATTERNS_MAX: usize = 64;
const PATTERN_BYTES_MAX: usize = 64;

/// Variables that a text sets, and bytes of a name or a value.
const ASSIGNMENTS_MAX: usize = 8;
const VALUE_BYTES_MAX: usize = 32;

/// Bytes between two brackets.
const GROUP_BYTES_MAX: usize = 256;

/// The text in lower case as a shell takes it; `None` where that is nothing new, or where
/// no command can be in it.
pub fn read(text: &[u8]) -> Option<Vec<u8>> {
    let text = &text[..text.len().min(VIEW_BYTES_MAX)];
    if !may_be_command(text) {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    let mut set = Vec::new();
    // What variables hold may be longer than their names.
    while at < text.len() && out.len() < VIEW_BYTES_MAX {
        // Most bytes stand for themselves, and no variable is set inside of a word.
        if !is_taken(text[at]) && out.last().is_some_and(u8::is_ascii_alphanumeric) {
            out.push(text[at]);
            at += 1;
            continue;
        }
        set.extend(assignment(&text[at..], &out).filter(|_| set.len() < ASSIGNMENTS_MAX));
        at += take(&text[at..], &set, &mut out);
    }
    let out = with_names(&with_blanks(out));
    (out != text).then_some(out)
}

/// Whether a text has what a shell undoes, and what ends or begins a command.
fn may_be_command(text: &[u8]) -> bool {
    is_dressed(text) && text.iter().any(|byte| begins_command(*byte))
}

/// Bytes that a shell undoes: quotes, escapes, variables, patterns, and the first of a character that
/// nobody sees. By threes, as they are looked for: every text is asked.
const UNDONE: [[u8; 3]; 3] = [[b'\'', b'"', b'\\'], [b'$', b'?', b'*'], [b'{', b'^', 0xe2]];

fn is_dressed(text: &[u8]) -> bool {
    UNDONE.iter().any(|[a, b, c]| memchr3(*a, *b, *c, text).is_some())
}

/// Whether a byte ends or begins a command.
fn begins_command(byte: u8) -> bool {
    matches!(byte, b';' | b'|' | b'&' | b'`' | b'\n' | b'$' | b'{' | b'<' | b'/')
}

/// Whether [`take`] makes anything but itself of a byte.
fn is_taken(byte: u8) -> bool {
    matches!(byte, b'\'' | b'"' | b'`' | b'\\' | b'^' | 0xe2 | b'$' | b'{')
}

/// Takes one thing off the text, and puts what the shell makes of it. Returns the bytes
/// taken, at least one.
fn take(rest: &[u8], set: &[Assignment<'_>], out: &mut Vec<u8>) -> usize {
    match rest {
        [b'\'' | b'"', ..] => 1,
        [b'`', b'`', ..] => 2,
        [b'\\', b'\n', ..] => 2,
        [b'\\', next, ..] => {
            out.push(*next);
            2
        }
        [b'^', next, ..] if next.is_ascii_alphanumeric() && out.last().is_some_and(u8::is_ascii_alphanumeric) => 1,
        [0xe2, 0x80, 0x8b..=0x8d, ..] => 3,
        [b'$', b'{', inner @ ..] => match memchr(b'}', near(inner)) {
            Some(end) if inner[..end].starts_with(b"ifs") => blank(out, end + 3),
            Some(end) if inner[..end].iter().all(|b| is_name(*b) || matches!(b, b'@' | b'*')) => {
                out.extend_from_slice(value_of(&inner[..end], set));
                end + 3
            }
            _ => keep(rest, out),
        },
        // A command that nobody has tells nothing.
        [b'$', b'(', inner @ ..] => match memchr(b')', near(inner)) {
            Some(end)
                if end <= 3 && inner[..end].iter().all(u8::is_ascii_alphabetic) && !is_short_command(&inner[..end]) =>
            {
                end + 3
            }
            _ => keep(rest, out),
        },
        [b'$', b'i', b'f', b's', after @ ..] => {
            // `$IFS$9`: an argument that is not there ends the name.
            let more = if let [b'$', digit, ..] = after { 2 * usize::from(digit.is_ascii_digit()) } else { 0 };
            blank(out, 4 + more)
        }
        [b'$', b'@' | b'*' | b'0'..=b'9', ..] => 2,
        [b'$', first, ..] if is_name(*first) => {
            let length = rest[1..].iter().take_while(|b| is_name(**b)).count();
            out.extend_from_slice(value_of(&rest[1..=length], set));
            1 + length
        }
        [b'{', inner @ ..] => match memchr(b'}', near(inner)) {
            Some(end) if memchr(b',', &inner[..end]).is_some() => {
                out.extend(
                    inner[..end]
                        .iter()
                        .filter(|b| !matches!(b, b'\'' | b'"' | b'\\'))
                        .map(|b| if *b == b',' { b' ' } else { *b }),
                );
                end + 2
            }
            _ => keep(rest, out),
        },
        _ => keep(rest, out),
    }
}

/// A variable that the text sets itself, and to what.
type Assignment<'t> = (&'t [u8], &'t [u8]);

/// Reads `x=cat` where a command may begin.
fn assignment<'t>(rest: &'t [u8], before: &[u8]) -> Option<Assignment<'t>> {
    let begins = before.last().is_none_or(|byte| matches!(byte, b';' | b'|' | b'&' | b'`' | b'\n' | b' ' | b'('));
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    rest.first().filter(|byte| begins && is_letter(byte))?;
    let name = rest.iter().take(VALUE_BYTES_MAX).take_while(|byte| is_name(**byte)).count();
    let value = rest[name..].strip_prefix(b"=")?;
    let ends =
        |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b';' | b'|' | b'&' | b'`' | b')' | b'\'' | b'"' | b'$');
    let opens = usize::from(matches!(value.first(), Some(b'\'' | b'"')));
    let value = &value[opens..];
    let length = value.iter().take(VALUE_BYTES_MAX).position(ends).unwrap_or(value.len().min(VALUE_BYTES_MAX));
    Some((&rest[..name], &value[..length]))
}

/// What a variable was last set to; nothing where it was not.
fn value_of<'t>(name: &[u8], set: &[Assignment<'t>]) -> &'t [u8] {
    set.iter().rev().find(|(known, _)| *known == name).map_or(&[], |(_, value)| value)
}

/// Where the end of what a bracket begins is looked for: a text of brackets alone would else be
/// gone through once for each.
fn near(inner: &[u8]) -> &[u8] {
    &inner[..inner.len().min(GROUP_BYTES_MAX)]
}

fn keep(rest: &[u8], out: &mut Vec<u8>) -> usize {
    out.push(rest[0]);
    1
}

fn blank(out: &mut Vec<u8>, taken: usize) -> usize {
    out.push(b' ');
    taken
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_short_command(name: &[u8]) -> bool {
    matches!(name, b"id" | b"ls" | b"ps" | b"w" | b"pwd" | b"env" | b"who" | b"cat" | b"nc" | b"set" | b"dir")
}

/// In a path a plus stands for a blank where no blank is.
fn with_blanks(text: Vec<u8>) -> Vec<u8> {
    if memchr(b' ', &text).is_some() {
        return text;
    }
    text.into_iter().map(|b| if b == b'+' { b' ' } else { b }).collect()
}

/// Replaces each path with `?` and `*` in it by the known name that it fits.
fn with_names(text: &[u8]) -> Vec<u8> {
    let ends = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b';' | b'|' | b'&' | b'<' | b'>' | b'`' | b'(' | b')');
    let mut out = Vec::with_capacity(text.len());
    let mut patterns = 0;
    for word in text.split_inclusive(ends) {
        let (path, end) = match word.last() {
            Some(last) if ends(last) => word.split_at(word.len() - 1),
            _ => (word, &word[word.len()..]),
        };
        let slash = memchr(b'/', path).filter(|slash| patterns < PATTERNS_MAX && is_pattern(&path[*slash..]));
        patterns += usize::from(slash.is_some());
        let known = slash.and_then(|slash| Some((slash, KNOWN.iter().find(|name| fits(&path[slash..], name))?)));
        match known {
            Some((slash, name)) => out.extend([&path[..slash], name].concat()),
            None => out.extend_from_slice(path),
        }
        out.extend_from_slice(end);
    }
    out
}

/// Whether a path has `?` or `*` in it, and letters: without them it would fit all names.
fn is_pattern(path: &[u8]) -> bool {
    path.len() <= PATTERN_BYTES_MAX
        && path.iter().any(|b| matches!(b, b'?' | b'*'))
        && path.iter().filter(|b| b.is_ascii_alphanumeric()).count() >= 2
}

/// Whether a pattern fits a name: `?` is any byte and `*` any number of them, but for `/`. Goes back
/// to the last `*` alone, so it takes at most the product of both lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') if name[n] != b'/' => (p, n) = (p + 1, n + 1),
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) if name[from] != b'/' => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str) -> Option<String> {
        read(text.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_command_is_undressed() {
        for (written, meant) in [
            ("; cat /et'c/pa'ss'wd", "; cat /etc/passwd"),
            (r"; c\a\t \/\e\t\c/\p\a\s\sw\d", "; cat /etc/passwd"),
            (";cat+/e??/pa???d", ";cat /etc/passwd"),
            ("; cat /et*/pa**wd", "; cat /etc/passwd"),
            ("; cat$u /etc$u/passwd$u", "; cat /etc/passwd"),
            ("file:${br}/et${u}c/pas${te}swd", "file:/etc/passwd"),
            ("file:$(br)/et$(u)c/pas$(te)swd", "file:/etc/passwd"),
            (";{cat,/etc/passwd}", ";cat /etc/passwd"),
            ("a|cat$IFS$9/etc/hosts", "a|cat /etc/hosts"),
            ("x;w''h\"\"oami", "x;whoami"),
            ("1 & w^hoami", "1 & whoami"),
            (";/???/c?t x", ";/bin/cat x"),
            (";a=id;$a", ";a=id;id"),
            ("x='cat' y=/etc;$x ${y}/passwd", "x=cat y=/etc;cat /etc/passwd"),
            ("; cat\u{200b} /etc/passwd", "; cat /etc/passwd"),
        ] {
            assert_eq!(told(written).as_deref(), Some(meant), "{written}");
        }
    }

    #[test]
    fn what_wears_nothing_has_no_other_form() {
        for text in ["127.0.0.1", "; cat /etc/passwd", "mozilla/5.0 (x11; linux)", "rock'n'roll", "/a/b?c=d", "$(id)"] {
            assert_eq!(told(text), None, "{text}");
        }
    }

    #[test]
    fn so_many_patterns_of_a_text_are_held_against_names() {
        let of = |count: usize| format!(";{}/e?c/pa??wd", "/no/*/name;".repeat(count));
        assert!(told(&of(PATTERNS_MAX - 1)).unwrap().ends_with(";/etc/passwd"));
        assert_eq!(told(&of(PATTERNS_MAX)), None);
    }

    proptest! {
        #[test]
        fn no_text_grows_by_much_or_makes_it_panic(bytes: Vec<u8>, text in "[a-c$(){}'\"\\\\/?*^;,+ ]{0,80}") {
            for text in [bytes, text.into_bytes()] {
                let read = read(&text).unwrap_or_default();
                let held = VALUE_BYTES_MAX * text.iter().filter(|b| **b == b'$').count();
                prop_assert!(read.len() <= 16 * (text.len() + held));
                prop_assert!(read.len() <= usize::from(u16::MAX), "a place in it is a u16");
            }
        }
    }
}
