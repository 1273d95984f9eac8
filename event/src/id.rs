//! Which file a line stood in, and which line of it: ids that survive rotation,
//! crashes and resends, so that a line is one document however often it arrives.
//!
//! ```text
//! host id -> key (never leaves the host) -> life id (file family + first line) -> event id (place in the life)
//! ```
//!
//! No redaction setting, size limit, timer or rule version enters. They would make
//! a second document of the same line on the day somebody changes them.

use crate::limits::FIRST_LINE_BYTES_MAX;
use crate::unescape::hex_digits;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The key under which a host names its files' lives. It is derived from the host
/// id and stays on the host: a life id cannot be used to guess a masked value in a
/// first line.
#[derive(Clone)]
pub struct HostKey([u8; 32]);

impl HostKey {
    /// Derives the key from a host id (`/etc/machine-id`, or the setting `host_id`).
    pub fn derive(host_id: &str) -> HostKey {
        HostKey(hmac(b"2SeC life key, version 1", &[host_id.as_bytes()]))
    }

    /// The id of the life that the file `path` is in, whose first line is `first_line`
    /// (raw, without its line feed; its first 1 KiB counts).
    pub fn life(&self, path: &str, first_line: &[u8]) -> LifeId {
        let head = &first_line[..first_line.len().min(FIRST_LINE_BYTES_MAX)];
        let mac = hmac(&self.0, &[family(path).as_bytes(), b"\0", head]);
        LifeId(first_16(mac))
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostKey(..)")
    }
}

/// One run of bytes that a writer appended to a file, whatever the file is called now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LifeId(pub [u8; 16]);

/// A line, for good: 128 bits, written as 32 hex digits. It is the `_id` of the
/// line's document.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// The id of the line that starts `offset` bytes into `life`.
    ///
    /// `length` is the line's raw length without its line feed, before redaction,
    /// cutting and joining; `time` is the time as the line writes it, empty if it
    /// has none.
    pub fn of(life: LifeId, offset: u64, length: u64, time: &[u8]) -> EventId {
        let mut hash = Sha256::new();
        hash.update(life.0);
        hash.update(offset.to_be_bytes());
        hash.update(length.to_be_bytes());
        hash.update(time);
        EventId(first_16(hash.finalize().into()))
    }
}

impl LifeId {
    /// The id that stands for a source of lines whose files nobody tells us: its name, in parts.
    pub fn of_source(name: &[&[u8]]) -> LifeId {
        LifeId(hash_of(b"2SeC source, version 1", name))
    }
}

impl EventId {
    /// The id of a line of which another place is known than in a file: in a log stream of
    /// CloudWatch, or in a record of the stream.
    pub fn of_place(place: &[&[u8]]) -> EventId {
        EventId(hash_of(b"2SeC place, version 1", place))
    }
}

/// A hash of parts; each part's length enters, so that no two lists are one text.
fn hash_of(what: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [&[what], parts].concat() {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    first_16(hash.finalize().into())
}

/// The live path that a rotated file comes from: the path without compression and
/// rotation suffixes (`.gz`; `.1`, `-20261123`, `-20261123-1795400000`, `-2026-11-23`).
///
/// Suffixes as logrotate(8) writes them (`compress`, `dateext`, `dateformat`).
pub fn family(path: &str) -> &str {
    let path = [".gz", ".bz2", ".xz", ".zst"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
    let name_at = path.rfind('/').map_or(0, |slash| path[..=slash].len());
    path.bytes()
        .enumerate()
        .skip(name_at + 1)
        .find(|&(at, separator)| is_rotation(separator, &path.as_bytes()[at + 1..]))
        .map_or(path, |(at, _)| &path[..at])
}

/// After a dot `1` to `999`; after a dot or a dash `YYYY-MM-DD`, or `YYYYMMDD` and
/// perhaps, with or without a dash, up to ten more digits (an hour, or `%s`).
fn is_rotation(separator: u8, suffix: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if separator == b'.' && (1..=3).contains(&suffix.len()) {
        return digits(suffix);
    }
    if separator != b'.' && separator != b'-' {
        return false;
    }
    let iso = |s: &[u8]| s.len() == 10 && s[4] == b'-' && s[7] == b'-';
    let dashless: Vec<u8> =
        if iso(suffix) { [&suffix[..4], &suffix[5..7], &suffix[8..]].concat() } else { suffix.to_vec() };
    let Some((date, rest)) = dashless.split_at_checked(8) else {
        return false;
    };
    let rest = rest.strip_prefix(b"-").unwrap_or(rest);
    digits(date) && digits(rest) && rest.len() <= 10
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104)");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn first_16(hash: [u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}

/// A text that should be an id is not 32 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an id: 32 hex digits are needed")]
pub struct NotAnId(String);

/// 32 hex digits.
struct Digits([u8; 32]);

impl Digits {
    fn of(id: &[u8; 16]) -> Digits {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(id) {
            pair.copy_from_slice(&hex_digits(*byte));
        }
        Digits(digits)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

macro_rules! hex_text {
    ($id:ident) => {
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Digits::of(&self.0).as_str())
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $id {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let bad = || NotAnId(text.to_owned());
                let digits = text.as_bytes();
                let mut out = [0; 16];
                if digits.len() != 32 {
                    return Err(bad());
                }
                for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
                    let high = crate::unescape::hex(pair[0]).ok_or_else(bad)?;
                    *byte = high << 4 | crate::unescape::hex(pair[1]).ok_or_else(bad)?;
                }
                Ok($id(out))
            }
        }

        impl serde::Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(Digits::of(&self.0).as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_text!(LifeId);
hex_text!(EventId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_is_of_the_live_files_family() {
        let live = "/var/log/apache2/access.log";
        for suffix in
            ["", ".1", ".2.gz", "-20261123", "-20261123.gz", "-2026112313", "-20261123-1795400000", "-2026-11-23"]
        {
            assert_eq!(family(&format!("{live}{suffix}")), live, "{suffix}");
        }
        assert_eq!(family("/var/log/apache2/access.log.gz"), live);
    }

    #[test]
    fn a_name_that_only_looks_rotated_is_its_own_family() {
        for path in
            ["/var/log/web-1", "/var/log/app-2", "/x/.1", "/x/-20261123", "v1.2", "1", "", "access.log.", "é.1x"]
        {
            let own = if path == "v1.2" { "v1" } else { path };
            assert_eq!(family(path), own);
        }
    }

    #[test]
    fn the_id_of_a_known_line_never_changes() {
        let life = HostKey::derive("4a5b6c").life("/var/log/apache2/access.log.1", b"first");
        assert_eq!(life, HostKey::derive("4a5b6c").life("/var/log/apache2/access.log", b"first"));
        let id = EventId::of(life, 42, 99, b"16/Nov/2026:08:00:25 +0000");
        // Computed by another implementation (Python's hmac and hashlib).
        assert_eq!(life.to_string(), "66c4d83a859e6709eb3b60188138ac7a");
        assert_eq!(id.to_string(), "2589ea9b909f573e16b83443b8208fb2");
    }

    #[test]
    fn every_ingredient_makes_another_id() {
        let life = HostKey::derive("a").life("/x", b"first");
        let ids = [
            EventId::of(life, 1, 2, b"t"),
            EventId::of(life, 2, 2, b"t"),
            EventId::of(life, 1, 3, b"t"),
            EventId::of(life, 1, 2, b"u"),
            EventId::of(HostKey::derive("b").life("/x", b"first"), 1, 2, b"t"),
            EventId::of(HostKey::derive("a").life("/y", b"first"), 1, 2, b"t"),
            EventId::of(HostKey::derive("a").life("/x", b"other"), 1, 2, b"t"),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn the_parts_of_a_place_cannot_be_mistaken_for_each_other() {
        let ids = [EventId::of_place(&[b"ab", b"c"]), EventId::of_place(&[b"a", b"bc"]), EventId::of_place(&[b"abc"])];
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        assert_ne!(EventId::of_place(&[b"a"]).0, LifeId::of_source(&[b"a"]).0);
        // Computed by another implementation (Python's hashlib).
        assert_eq!(ids[0].to_string(), "e4df3a161e81a51d530c4aa7eab288bf");
    }

    #[test]
    fn an_id_survives_being_written_down() {
        let life = HostKey::derive("a").life("/x", b"first");
        assert_eq!(life.to_string().parse::<LifeId>().unwrap(), life);
        let error = "xyz".parse::<LifeId>().unwrap_err().to_string();
        assert_eq!(error, "`xyz` is not an id: 32 hex digits are needed");
    }
}
