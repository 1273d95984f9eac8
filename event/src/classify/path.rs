//! Paths in a text, followed step by step: do they leave where they begin?

use std::ops::Range;

/// Steps of one path that are followed.
const STEPS_MAX: usize = 512;

/// Where in a text in lower case a path stands that climbs out: two steps above where it
/// begins, or any step above the root.
///
/// `/a/../b` comes to `/b` and does not climb; `x/../../../y` comes out two folders above.
/// Steps are divided by slashes of either kind; a path parameter (`..;x`), and blanks or NULs
/// behind the dots, change nothing (Tomcat, Windows).
pub fn climbs(text: &[u8]) -> Option<Range<usize>> {
    let mut from = 0;
    while from < text.len() {
        let end = text[from..].iter().position(|byte| !is_of_path(*byte)).map_or(text.len(), |at| from + at);
        if memchr::memmem::find(&text[from..end], b"..").is_some() && comes_out(&text[from..end]) {
            return Some(from..end);
        }
        from = end + 1;
    }
    None
}

/// Whether a byte stands in paths rather than between them.
fn is_of_path(byte: u8) -> bool {
    !matches!(
        byte,
        b'=' | b'&' | b'?' | b'"' | b'\'' | b'<' | b'>' | b'|' | b'`' | b'(' | b')' | b',' | b':' | b'\n' | b'\r'
    )
}

fn comes_out(path: &[u8]) -> bool {
    let limit = if is_slash(path.first()) { -1 } else { -2 };
    let mut depth = 0i32;
    let steps = path.split(|byte| is_slash(Some(byte))).take(STEPS_MAX);
    for (at, step) in steps.enumerate() {
        match kind(step) {
            Step::Up => depth -= 1,
            Step::Here => {}
            Step::Down if at == 0 => depth = 1,
            Step::Down => depth += 1,
        }
        if depth <= limit {
            return true;
        }
    }
    false
}

fn is_slash(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'/' | b'\\'))
}

/// What a step does.
enum Step {
    Up,
    Here,
    Down,
}

fn kind(step: &[u8]) -> Step {
    let name = step.split(|byte| *byte == b';').next().unwrap_or_default();
    let name = name.trim_ascii();
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    match name {
        b".." => Step::Up,
        b"" | b"." => Step::Here,
        _ => Step::Down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_where_it_begins_is_told() {
        for text in [
            "../../etc/passwd",
            "..\\..\\boot.ini",
            "/../etc/passwd",
            "/a/../../b",
            "a/../../../b",
            ".././../x",
            "/..;/..;/manager",
            "..//..//x",
            "page=../../x",
            "file:///a/../../../etc/passwd",
            "c:..\\..\\x",
        ] {
            assert!(climbs(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn one_that_stays_is_let_be() {
        for text in [
            "/a/../b",
            "a/b/../../c",
            "../x",
            "..",
            "wait.. what.. really",
            "/a..b/c..d",
            "a/.../.../b",
            "1..2/3..4",
            "",
        ] {
            assert_eq!(climbs(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a./\\\\;=\\x00 ]{0,60}") {
            let found = climbs(text.as_bytes());
            proptest::prop_assert!(found.is_none_or(|range| range.end <= text.len()));
        }
    }
}
