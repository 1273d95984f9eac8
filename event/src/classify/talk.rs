//! Talk about an attack: `how to use sleep(5) in python`, `/etc/hosts file explained`.
//!
//! Who asks about a call or a file writes words around it and nothing else. In a statement or a path
//! such words are an error: two of them never stand side by side without an operator, and a file of
//! that name is not there. So only words that questions have make talk, and nothing but words.

use std::ops::Range;

/// Words that questions begin with. No command and no operator is among them.
const ASKING: [&[u8]; 14] = [
    b"about",
    b"can",
    b"difference",
    b"does",
    b"example",
    b"explain",
    b"how",
    b"is",
    b"meaning",
    b"the",
    b"what",
    b"when",
    b"where",
    b"why",
];

/// Words that say what somebody wants to know, behind a thing that he names.
const TELLING: [&[u8]; 25] = [
    b"command",
    b"does",
    b"error",
    b"example",
    b"examples",
    b"explained",
    b"explanation",
    b"file",
    b"format",
    b"function",
    b"java",
    b"javascript",
    b"linux",
    b"meaning",
    b"mysql",
    b"option",
    b"php",
    b"python",
    b"sql",
    b"tutorial",
    b"usage",
    b"versus",
    b"vs",
    b"windows",
    b"working",
];

/// Words that go on with a statement behind a call: `sleep(5) is null`, `alert(1) in window`.
const OPERATORS: [&[u8]; 27] = [
    b"and",
    b"as",
    b"asc",
    b"between",
    b"by",
    b"desc",
    b"div",
    b"else",
    b"end",
    b"for",
    b"from",
    b"in",
    b"instanceof",
    b"is",
    b"like",
    b"limit",
    b"mod",
    b"not",
    b"of",
    b"or",
    b"regexp",
    b"rlike",
    b"select",
    b"then",
    b"union",
    b"where",
    b"xor",
];

/// Whether a match in a text in lower case is what a question is about.
pub fn is_about(text: &[u8], found: &Range<usize>) -> bool {
    let is_blank = |byte: &u8| *byte == b' ';
    let thing = &text[found.clone()];
    let begin = found.start + thing.iter().take_while(|byte| is_blank(byte)).count();
    let end = found.end - thing.iter().rev().take_while(|byte| is_blank(byte)).count();
    let (before, head) = text[..begin].split_at(text[..begin].iter().rposition(is_blank).map_or(0, |at| at + 1));
    let (tail, after) = text[end..].split_at(text[end..].iter().position(is_blank).unwrap_or(text.len() - end));
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._()/".contains(byte);
    let first = words(before).next();
    let asks = first.is_some_and(|word| ASKING.contains(&word));
    let tells = first.is_none()
        && words(after).any(|word| TELLING.contains(&word))
        && !words(after).any(|word| OPERATORS.contains(&word));
    (asks || tells)
        && head.iter().chain(tail).all(is_of_name)
        && words(before).chain(words(after)).all(|word| word.iter().all(u8::is_ascii_lowercase))
}

/// The words of a text, without what ends a sentence or a part of one.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    words.map(|word| word.strip_suffix(b"?").or_else(|| word.strip_suffix(b",")).unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, found: &str) -> bool {
        let at = text.find(found).unwrap();
        is_about(text.as_bytes(), &(at..at + found.len()))
    }

    #[test]
    fn a_question_about_a_thing_is_talk() {
        for text in
            ["how to use sleep(5) in python", "sleep(5) explained", "what is sleep(5)", "why does sleep(5) not work?"]
        {
            assert!(told(text, "sleep(5"), "{text}");
        }
        assert!(told("/etc/hosts file explained", "/etc/hosts "));
        assert!(told("what is /etc/hosts", " /etc/hosts"));
    }

    #[test]
    fn what_a_statement_or_a_command_could_hold_is_none() {
        for text in [
            "sleep(5)",
            "1 and sleep(5)",
            "1 and sleep(5) in python",
            "select sleep(5) meaning",
            "sleep(5) from t",
            "sleep(5) is null",
            "sleep(5) is not null",
            "sleep(5) for update",
            "sleep(5) in python",
            "sleep(5)-- in python",
            "how' or sleep(5) in python",
            "sleep(5) or 1=1 is the meaning",
            "if(1,sleep(5),0) explained for 1",
        ] {
            assert!(!told(text, "sleep(5"), "{text}");
        }
        assert!(!told("cat /etc/passwd explained", "/etc/passwd "));
    }
}
