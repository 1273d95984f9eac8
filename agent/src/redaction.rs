//! What happens to secrets before a line leaves the host, and the key that stays there.

pub use event::redaction::{RedactSettings, Redaction};

use event::redaction::KEY_BYTES;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// The file that holds the key of the masks, in the agent's folder.
const KEY_FILE: &str = "redact.key";

/// Masks as the settings say, with the key in the folder `state`, which is made when it is
/// missing. Without it equal secrets of before and after have other masks.
pub fn open(settings: &RedactSettings, state: &Path) -> io::Result<Redaction> {
    Ok(Redaction::new(settings, key(state)?))
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
}
