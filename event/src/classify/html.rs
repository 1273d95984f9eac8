//! Markup in a text, read as a browser does: does anything in it run?
//!
//! Tags and attributes are taken apart by the rules of the HTML Standard ("Tokenization",
//! sections 13.2.5.6 to 13.2.5.40): names end at blanks, `/` and `>`; a value stands in
//! quotes of either kind or ends at a blank or `>`; what is left open is closed by whatever
//! follows on the page.

use std::ops::Range;

/// Tags of one text that are read.
const TAGS_MAX: usize = 64;

/// Elements whose content runs or is loaded as soon as they are there.
const ACTIVE: [&[u8]; 9] =
    [b"script", b"iframe", b"frame", b"object", b"embed", b"applet", b"bgsound", b"portal", b"base"];

/// Attributes with addresses that are followed or run.
const ADDRESSES: [&[u8]; 12] = [
    b"href",
    b"src",
    b"action",
    b"formaction",
    b"data",
    b"poster",
    b"background",
    b"xlink:href",
    b"srcdoc",
    b"to",
    b"values",
    b"content",
];

/// Where in a text in lower case markup stands that runs: an active element, a handler of
/// events, or an address that is code.
pub fn runs(text: &[u8]) -> Option<Range<usize>> {
    let mut reader = Reader { text, at: 0, name: 0..0, value: 0..0, known: Vec::new() };
    memchr::memchr_iter(b'<', text).take(TAGS_MAX).find_map(|at| {
        reader.at = at + 1;
        reader.tag().then_some(at..reader.at.min(text.len()))
    })
}

/// Reads tags one after the other. Each `<` may begin one, so a tag may begin inside another. What
/// both of them hold is read once, or else a text of `<` alone would be read once for each.
struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    /// The last name of a tag. One that begins in it ends with it.
    name: Range<usize>,
    /// The last value without quotes. One that begins in it ends with it.
    value: Range<usize>,
    /// Whether an attribute that begins there was read, with all behind it; empty before the first.
    known: Vec<bool>,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t [u8] {
        &self.text[self.at.min(self.text.len())..]
    }

    /// Takes bytes while they are wanted.
    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'t [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Takes bytes while they are wanted, as far as `last` is known to reach where it holds them.
    fn take_again(&mut self, last: Range<usize>, wanted: impl Fn(u8) -> bool) -> Range<usize> {
        let begin = self.at;
        match last.contains(&begin) {
            true => self.at = last.end,
            false => drop(self.take(wanted)),
        }
        begin..self.at
    }

    /// Reads a tag behind its `<`. Whether something in it runs.
    fn tag(&mut self) -> bool {
        if !self.rest().first().is_some_and(u8::is_ascii_lowercase) {
            return false;
        }
        self.name = self.take_again(self.name.clone(), |byte| !is_blank(byte) && !b"/>".contains(&byte));
        let name = &self.text[self.name.clone()];
        // A name of XML may have a prefix: `<x:script xmlns:x=...>`.
        let local = memchr::memrchr(b':', name).map_or(name, |colon| &name[colon + 1..]);
        if ACTIVE.contains(&local) && self.is_tag() {
            return true;
        }
        while !self.is_known() {
            match self.attribute() {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
        }
        false
    }

    /// Whether an attribute that begins here was read before.
    fn is_known(&mut self) -> bool {
        self.known.resize(self.text.len() + 1, false);
        self.known.get_mut(self.at).is_none_or(|known| std::mem::replace(known, true))
    }

    /// Whether a tag goes on here, rather than a text in which `<` means less than.
    fn is_tag(&self) -> bool {
        match self.rest() {
            [] | [b'>' | b'/', ..] => true,
            [blank, ..] => is_blank(*blank) && memchr::memchr2(b'=', b'>', self.rest()).is_some(),
        }
    }

    /// Reads an attribute. Whether it runs; `None` at the end of the tag.
    fn attribute(&mut self) -> Option<bool> {
        self.take(|byte| is_blank(byte) || b"/\"'`".contains(&byte));
        match self.rest().first()? {
            b'>' | b'<' => return None,
            _ => {}
        }
        let name = self.take(|byte| !is_blank(byte) && !b"/>=".contains(&byte));
        self.take(is_blank);
        let Some(b'=') = self.rest().first() else {
            return Some(false);
        };
        self.at += 1;
        self.take(is_blank);
        let value = self.value();
        Some(is_handler(name) || ADDRESSES.contains(&name) && is_code(name, value))
    }

    fn value(&mut self) -> &'t [u8] {
        match self.rest().first() {
            Some(quote @ (b'"' | b'\'' | b'`')) => {
                self.at += 1;
                let value = self.take(|byte| byte != *quote);
                self.at += 1;
                value
            }
            _ => {
                self.value = self.take_again(self.value.clone(), |byte| !is_blank(byte) && byte != b'>');
                &self.text[self.value.clone()]
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0)
}

/// `onclick` and its like: new ones come with each browser, so the shape counts.
fn is_handler(name: &[u8]) -> bool {
    name.strip_prefix(b"on").is_some_and(|event| event.len() >= 3 && event.iter().all(u8::is_ascii_lowercase))
}

/// Whether an address is code. Blanks and control characters inside a scheme are nothing to a
/// browser (WHATWG URL Standard, "basic URL parser": tabs and line breaks are removed).
fn is_code(name: &[u8], value: &[u8]) -> bool {
    if name == b"srcdoc" {
        return memchr::memchr2(b'<', b'&', value).is_some();
    }
    let scheme: Vec<u8> = value.iter().filter(|byte| **byte > b' ').take(24).copied().collect();
    let begins = |with: &[u8]| scheme.starts_with(with);
    begins(b"javascript:") || begins(b"vbscript:") || begins(b"data:text/html") || begins(b"data:image/svg") || {
        // `content` of a refresh: `0;url=javascript:...`.
        name == b"content" && memchr::memmem::find(value, b"javascript:").is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_that_runs_is_told() {
        for text in [
            "<script>alert(1)</script>",
            "<script src=//e.example>",
            "<x:script xmlns:x='http://www.w3.org/1999/xhtml'>",
            "<img src=x onerror=alert(1)>",
            "<img/src='x'/onerror\n=\n'alert(1)'",
            "<svg/onload=alert(1)//",
            "\"><b onmouseover=\"x\">",
            "<a href=\"java\tscript:alert(1)\">",
            "<a href=' javascript:alert(1)'",
            "<iframe srcdoc='&lt;script>'>",
            "<form><button formaction=javascript:x>",
            "<meta http-equiv=refresh content='0;url=javascript:x'>",
            "a < b <details open ontoggle=x>",
        ] {
            assert!(runs(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn markup_and_signs_that_do_nothing_are_let_be() {
        for text in [
            "a < b and c > d",
            "<b>bold</b>",
            "x <script lettering pen",
            "<base 10 logarithm",
            "<3 on monday = great",
            "<img src=a.png alt='on click = x'>",
            "<a href=/path?q=javascript:>",
            "1<on",
            "<",
            "<a",
            "<a b",
            "<a b=",
        ] {
            assert_eq!(runs(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[<>a-c/=\"'` on\\n]{0,80}") {
            let found = runs(text.as_bytes());
            proptest::prop_assert!(found.is_none_or(|range| range.end <= text.len() && range.start < range.end));
        }
    }

    #[test]
    fn a_handler_is_found_behind_any_number_of_attributes_and_of_tags_that_begin_in_one_another() {
        let handler = " onclick=alert(1)>";
        assert!(runs(format!("<a{}{handler}", " b=c".repeat(900)).as_bytes()).is_some());
        assert!(runs(format!("{}{handler}", "<a".repeat(1_900)).as_bytes()).is_some());
        assert!(runs(format!("<a b={}{handler}", "<c/d=".repeat(700)).as_bytes()).is_some());
    }

    proptest! {
        /// What is not read twice is not overlooked either.
        #[test]
        fn a_tag_inside_another_is_read_as_if_it_stood_alone(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "<", "a", "x:", "script", "onclick", "href", "=", "'", "\"", "`", "/", ">", " ", "javascript:",
                ]),
                0..40,
            )
        ) {
            let text = parts.concat().into_bytes();
            let alone = |at: usize| {
                let mut reader = Reader { text: &text, at: at + 1, name: 0..0, value: 0..0, known: Vec::new() };
                reader.tag().then_some(at..reader.at.min(text.len()))
            };
            prop_assert_eq!(runs(&text), memchr::memchr_iter(b'<', &text).find_map(alone));
        }
    }
}
