//! What a user wants masked, and lines and JSON objects with it masked.

use crate::format::{Odd, Parsed};
use crate::redact::{KEYS, Mask, Redactor, masked, network};
use memchr::memchr2;
use std::borrow::Cow;
use std::net::IpAddr;

/// Bytes of the key that makes masks.
pub const KEY_BYTES: usize = 32;

/// What a user wants masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactSettings {
    /// Keys whose values are secrets; nothing is masked where there are none.
    pub keys: Vec<String>,
    /// Whether the archive is masked as the index is.
    pub archive: bool,
    /// Whether addresses of clients are shortened.
    pub shorten_addresses: bool,
}

impl Default for RedactSettings {
    fn default() -> RedactSettings {
        RedactSettings { keys: KEYS.map(str::to_owned).to_vec(), archive: true, shorten_addresses: false }
    }
}

impl RedactSettings {
    /// Every line stays as it is.
    pub fn nothing() -> RedactSettings {
        RedactSettings { keys: Vec::new(), archive: true, shorten_addresses: false }
    }
}

/// Masks secrets in lines.
#[derive(Debug, Clone)]
pub struct Redaction {
    redactor: Option<Redactor>,
    masks_archive: bool,
}

impl Redaction {
    /// Masks as the settings say, with this key.
    pub fn new(settings: &RedactSettings, key: [u8; KEY_BYTES]) -> Redaction {
        let redactor = Redactor::new(&settings.keys, key);
        let redactor = if settings.shorten_addresses { redactor.shortening_addresses() } else { redactor };
        let wanted = settings.shorten_addresses || !settings.keys.is_empty();
        Redaction { redactor: wanted.then_some(redactor), masks_archive: settings.archive }
    }

    /// Masks nothing.
    pub fn none() -> Redaction {
        Redaction { redactor: None, masks_archive: true }
    }

    /// Whether the archive is masked as the index is.
    pub fn masks_archive(&self) -> bool {
        self.masks_archive
    }

    /// A client's address as it may be shown.
    pub fn address(&self, ip: IpAddr) -> IpAddr {
        let shortens = self.redactor.as_ref().is_some_and(Redactor::shortens_addresses);
        if shortens { network(ip) } else { ip }
    }

    /// The line as it may be kept, and what is to be masked of it where it is shown.
    pub fn apply<'a>(&self, line: &'a [u8], parsed: &Parsed<'_>) -> (Cow<'a, [u8]>, Vec<Mask>) {
        let masks = self.masks(line, parsed);
        if self.masks_archive { (masked(line, &masks), Vec::new()) } else { (Cow::Borrowed(line), masks) }
    }

    /// What is secret in a line.
    pub fn masks(&self, line: &[u8], parsed: &Parsed<'_>) -> Vec<Mask> {
        self.redactor.as_ref().map(|redactor| redactor.masks(line, parsed)).unwrap_or_default()
    }

    /// A text of any kind, with its secrets masked.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let masks = self.masks(text.as_bytes(), &Parsed::Odd(Odd::OtherFormat));
        if masks.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(String::from_utf8_lossy(&masked(text.as_bytes(), &masks)).into_owned())
    }

    /// A JSON text with its secrets masked and all else as it was written: values under secret
    /// keys, and what [`Redaction::text`] masks in any string. Strings that are `line` become
    /// `line_masked`.
    ///
    /// It goes through the text and builds nothing, so that order, numbers and keys that stand
    /// there twice are kept. The text must be valid JSON.
    pub fn json<'a>(&self, json: &'a str, line: &str, line_masked: &str) -> Cow<'a, str> {
        let Some(redactor) = &self.redactor else { return Cow::Borrowed(json) };
        let mut walk = Walk { redaction: self, redactor, line: (line, line_masked), out: None, written: 0 };
        walk.run(json);
        match walk.out {
            Some(mut out) => {
                out.push_str(&json[walk.written..]);
                Cow::Owned(out)
            }
            None => Cow::Borrowed(json),
        }
    }
}

/// A way through a JSON text.
struct Walk<'r> {
    redaction: &'r Redaction,
    redactor: &'r Redactor,
    line: (&'r str, &'r str),
    /// The masked text, as far as `written` says, once something is masked.
    out: Option<String>,
    written: usize,
}

impl Walk<'_> {
    fn run(&mut self, json: &str) {
        let bytes = json.as_bytes();
        // Objects and arrays around the place, and the last key: whether what is in them is secret.
        let mut around: Vec<bool> = Vec::new();
        let (mut at, mut secret) = (0, false);
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'{' | b'[' => around.push(secret),
                b'}' | b']' => secret = around.pop().unwrap_or_default(),
                b',' => secret = around.last().copied().unwrap_or_default(),
                b'"' => {
                    let end = end_of_string(bytes, at);
                    let text = serde_json::from_str::<Cow<'_, str>>(&json[at..end]).unwrap_or_default();
                    let is_key = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                    if is_key {
                        secret = around.last().copied().unwrap_or_default() || self.is_secret(&text);
                    }
                    let new = match (is_key, secret) {
                        (false, true) => Cow::Owned(self.redactor.mask_of(text.as_bytes())),
                        (false, false) if text == self.line.0 => Cow::Borrowed(self.line.1),
                        _ => self.text(&text),
                    };
                    if new != text {
                        self.replace(json, at, end, &new);
                    }
                    at = end;
                    continue;
                }
                b'-' | b'0'..=b'9' => {
                    let number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                    let end = at + bytes[at..].iter().take_while(|byte| number(byte)).count();
                    if secret {
                        let mask = self.redactor.mask_of(&bytes[at..end]);
                        self.replace(json, at, end, &mask);
                    }
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match text.parse().ok().filter(|_| self.redactor.shortens_addresses()) {
            Some(ip) => Cow::Owned(network(ip).to_string()),
            None => self.redaction.text(text),
        }
    }

    /// `a.b` stands for the key `b` in the object `a`.
    fn is_secret(&self, key: &str) -> bool {
        self.redactor.is_key(key.rsplit('.').next().unwrap_or_default().as_bytes())
    }

    fn replace(&mut self, json: &str, from: usize, to: usize, with: &str) {
        let out = self.out.get_or_insert_default();
        out.push_str(&json[self.written..from]);
        out.push_str(&serde_json::to_string(with).expect("a text turns into JSON"));
        self.written = to;
    }
}

/// Where the string that begins at `at` is over.
fn end_of_string(json: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = json.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        match json[at + found] {
            b'"' => return at + found + 1,
            _ => at += found + 2,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use proptest::prelude::*;
    use serde_json::Value;

    static LINE: &[u8] =
        br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?password=letmein HTTP/1.1" 200 5 "-" "-""#;

    fn redaction() -> Redaction {
        Redaction::new(&RedactSettings::default(), [7; 32])
    }

    #[test]
    fn the_archive_has_the_original_only_where_that_is_wanted() {
        let parsed = Format::Combined.parse(LINE);
        let apply = |archive| {
            let settings = RedactSettings { archive, ..RedactSettings::default() };
            let (line, masks) = Redaction::new(&settings, [7; 32]).apply(LINE, &parsed);
            (line.into_owned() == LINE, masks.len())
        };
        assert_eq!((apply(true), apply(false)), ((false, 0), (true, 1)));
        assert_eq!(Redaction::new(&RedactSettings::nothing(), [7; 32]).apply(LINE, &parsed).0, LINE);
    }

    #[test]
    fn secrets_of_a_json_object_are_masked_wherever_they_stand_and_all_else_is_kept() {
        let json = r#"{"b":1.50, "log":"the line", "password":"a\"b", "x":{"auth.token":["s1",{"y":77}],"n":-2e5},
            "note":"token=s2 ok","token":true,"pwd":null,"Cookie":"PHPSESSID=s3; a=b","b":2}"#;
        let masked = redaction().json(json, "the line", "a masked line");
        let mask = |secret: &[u8]| redaction().redactor.unwrap().mask_of(secret);
        let expected = json
            .replace("the line", "a masked line")
            .replace(r#"a\"b"#, &mask(b"a\"b"))
            .replace("77", &format!("\"{}\"", mask(b"77")))
            .replace("s1", &mask(b"s1"))
            .replace("s2", &mask(b"s2"))
            .replace("s3", &mask(b"s3"));
        assert_eq!(masked, expected);
        assert_eq!(redaction().json(&masked, "", ""), masked, "a mask is no secret");
        assert!(matches!(Redaction::none().json(json, "", ""), Cow::Borrowed(_)));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = || prop_oneof!["(password|a|token)?[=:\"\\\\ é]{0,3}[xy]{0,9}", Just("password".to_owned())];
        let leaf = prop_oneof![text().prop_map(Value::from), any::<i32>().prop_map(Value::from), Just(Value::Null)];
        leaf.prop_recursive(3, 20, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_masked_json_text_is_one_again_and_has_no_secrets_left(json in any_json()) {
            let masked = redaction().json(&json.to_string(), "the line", "x").into_owned();
            prop_assert!(serde_json::from_str::<Value>(&masked).is_ok(), "{masked}");
            let again = redaction().json(&masked, "the line", "x").into_owned();
            prop_assert_eq!(again, masked);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\":,\\\\a0é-]{0,40}") {
            redaction().json(&text, "a", "b");
        }
    }
}
