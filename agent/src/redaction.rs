//! What happens to secrets before a line leaves the host.

use event::Redactor;
use event::format::Parsed;
use event::redact::{Mask, masked, network};
use std::borrow::Cow;
use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

/// The file that holds the key of the masks, in the agent's folder.
const KEY_FILE: &str = "redact.key";

/// Bytes of the key.
const KEY_BYTES: usize = 32;

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
        let keys = event::redact::KEYS.map(str::to_owned).to_vec();
        RedactSettings { keys, archive: true, shorten_addresses: false }
    }
}

impl RedactSettings {
    /// Every line leaves as it is.
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

    /// Masks as the settings say, with the key in the folder `state`, which is made when it is
    /// missing. Without it equal secrets of before and after have other masks.
    pub fn open(settings: &RedactSettings, state: &Path) -> io::Result<Redaction> {
        Ok(Redaction::new(settings, key(state)?))
    }

    /// Masks nothing.
    pub fn none() -> Redaction {
        Redaction { redactor: None, masks_archive: true }
    }

    /// A client's address as it may leave the host.
    pub fn address(&self, ip: IpAddr) -> IpAddr {
        let shortens = self.redactor.as_ref().is_some_and(Redactor::shortens_addresses);
        if shortens { network(ip) } else { ip }
    }

    /// The line as it may leave the host, and what is to be masked of it where it is shown.
    pub fn apply<'a>(&self, line: &'a [u8], parsed: &Parsed<'_>) -> (Cow<'a, [u8]>, Vec<Mask>) {
        let masks = self.redactor.as_ref().map(|redactor| redactor.masks(line, parsed)).unwrap_or_default();
        if self.masks_archive { (masked(line, &masks), Vec::new()) } else { (Cow::Borrowed(line), masks) }
    }
}

/// The key that the folder holds, or a new one.
fn key(state: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = state.join(KEY_FILE);
    let mut key = [0; KEY_BYTES];
    if let Ok(mut file) = fs::File::open(&path)
        && file.read_exact(&mut key).is_ok()
    {
        return Ok(key);
    }
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    crate::spool::replace(&path, &key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Format;

    static LINE: &[u8] =
        br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /?password=letmein HTTP/1.1" 200 5 "-" "-""#;

    #[test]
    fn a_folder_keeps_its_key_and_nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let made = key(folder.path()).unwrap();
        assert_ne!(made, [0; KEY_BYTES]);
        assert_eq!(key(folder.path()).unwrap(), made);
        let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        fs::write(folder.path().join(KEY_FILE), "short").unwrap();
        assert_ne!(key(folder.path()).unwrap(), made, "what is damaged is made anew");
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
}
