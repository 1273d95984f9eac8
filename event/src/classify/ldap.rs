//! Filters of LDAP (RFC 4515): does a value end the filter that it is put into?
//!
//! An application writes `(uid=` in front of a value and `)` behind it. What breaks out closes a
//! bracket that it has not opened, and then opens a filter or cuts off the rest. Sentences and
//! sums close the brackets that they open; lists (`a) (b = c)`) and faces (`:)`) do not, and are
//! told by what stands around.

use memchr::memmem;
use std::ops::Range;

/// Bytes of an attribute's name.
const ATTRIBUTE_BYTES_MAX: usize = 64;

/// Attributes that nearly all directories have.
const KNOWN: [&[u8]; 14] = [
    b"cn",
    b"displayname",
    b"givenname",
    b"mail",
    b"member",
    b"memberof",
    b"objectclass",
    b"objectcategory",
    b"ou",
    b"samaccountname",
    b"sn",
    b"uid",
    b"userpassword",
    b"userprincipalname",
];

/// Where in a text in lower case a filter is ended or begun.
pub fn injection(text: &[u8]) -> Option<Range<usize>> {
    broken_out(text).or_else(|| whole(text))
}

/// A bracket that closes what the text has not opened, with a filter behind it.
fn broken_out(text: &[u8]) -> Option<Range<usize>> {
    let mut open = 0usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'(' => open += 1,
            b')' if open > 0 => open -= 1,
            b')' => {
                let closes = text[at..].iter().take_while(|byte| **byte == b')').count();
                let end = at + closes;
                if ends_value(&text[..at]) && goes_on(&text[..at], closes, &text[end..]) {
                    return Some(at..(end + 1).min(text.len()));
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Whether a value may end before a bracket, rather than a face.
fn ends_value(before: &[u8]) -> bool {
    let closed = before.iter().rposition(|byte| *byte != b')').map(|at| before[at]);
    closed.is_none_or(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"*_'\" ".contains(&byte))
}

/// Whether what stands behind the brackets is a filter, or cuts off the rest of one.
fn goes_on(before: &[u8], closes: usize, rest: &[u8]) -> bool {
    if [&b"\0"[..], b"%00", b"\\00", b"\\x00"].iter().any(|nul| rest.starts_with(nul)) {
        return true;
    }
    let is_star = before.ends_with(b"*");
    if rest.is_empty() {
        return is_star && (closes >= 2 || before == b"*");
    }
    let filter = rest.trim_ascii_start();
    let is_apart = filter.len() < rest.len();
    filter.starts_with(b"(") && begins(filter, is_apart)
}

/// Whether a filter begins here. One that stands apart from the bracket before it may be a list's
/// next entry, so its attribute must be a known one.
fn begins(filter: &[u8], is_apart: bool) -> bool {
    let inside = filter.iter().position(|byte| !b"(|&!".contains(byte)).map_or(&b""[..], |at| &filter[at..]);
    let is_operation =
        filter.len() - inside.len() > 1 && filter[1..filter.len() - inside.len()].iter().any(|b| *b != b'(');
    match attribute(inside) {
        Some(name) => !is_apart || KNOWN.contains(&name),
        None => is_operation && !is_apart && (inside.is_empty() || inside.starts_with(b")")),
    }
}

/// The attribute that a comparison begins with: `cn=`, `cn>=`, `cn~=`.
fn attribute(text: &[u8]) -> Option<&[u8]> {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.;".contains(byte);
    let length = text.iter().take(ATTRIBUTE_BYTES_MAX).take_while(|byte| is_of_name(byte)).count();
    let (name, rest) = text.split_at(length);
    let rest = rest.trim_ascii_start();
    let compares = matches!(rest, [b'=', ..] | [b'~' | b'<' | b'>', b'=', ..]);
    (length > 0 && compares).then_some(name)
}

/// A filter as a whole, for an application that takes one: an operation on comparisons, or a
/// comparison that everything meets.
fn whole(text: &[u8]) -> Option<Range<usize>> {
    let operation = |begin: &[u8]| {
        memmem::find_iter(text, begin).find(|at| attribute(text[at + begin.len()..].trim_ascii_start()).is_some())
    };
    let found = operation(b"(|(").or_else(|| operation(b"(&("));
    let everything = || {
        let at = memmem::find(text, b"=*)")?;
        let is_all = text.starts_with(b"(") && text.len() == at + 3 && attribute(&text[1..]).is_some();
        (is_all || text[at + 3..].starts_with(b"(")).then_some(at)
    };
    found.or_else(everything).map(|at| at..(at + 3).min(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bracket_that_ends_the_filter_is_where_it_is_found() {
        assert_eq!(injection(b"smith (sales))(uid=*"), Some(13..15));
        assert_eq!(injection(b"(|(cn=*)(sn=*))"), Some(0..3));
        assert_eq!(injection(b"(a=b)(c=d)"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in r"([()|&!*= a~:\x00]|uid=){0,40}") {
            let found = injection(text.as_bytes());
            prop_assert!(found.is_none_or(|range| range.start < range.end && range.end <= text.len()));
        }
    }
}
