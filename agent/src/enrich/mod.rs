//! What is told of an address beside the line itself: where it is ([`geoip`]) and whose
//! network an operator says it is in ([`networks`]).
//!
//! Both come from files that somebody else replaces while we run. They are looked at now
//! and then, and read whole into memory: a file that is cut short under a memory map
//! would kill the process with SIGBUS, and the folder may belong to others. A file that
//! is missing, unreadable or bad is a warning, said once, and what was read before stays
//! in use.

pub mod geoip;
pub mod networks;

use std::error::Error;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read it")]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    NotAFile,
    #[error("it has {bytes} bytes: at most {most} are read")]
    TooLarge { bytes: u64, most: u64 },
    #[error("it was written to while it was read: replace it by renaming a whole one")]
    Changing,
}

/// Tells one content of a file from another: a file renamed into place has another inode,
/// one written in place another time or size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Signature {
    fn of(meta: &Metadata) -> Signature {
        Signature {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// A file that is read again when it has changed.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    bytes_max: u64,
    /// Of the content that was read last.
    seen: Option<Signature>,
    /// The trouble that was told last, so that it is told once.
    told: Option<String>,
}

impl Watched {
    fn new(path: PathBuf, bytes_max: u64) -> Watched {
        Watched { path, bytes_max, seen: None, told: None }
    }

    /// The file's bytes, if they are others than those that were read last.
    fn read_if_changed(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if self.seen == Some(Signature::of(&std::fs::metadata(&self.path)?)) {
            return Ok(None);
        }
        let (file, before) = open(&self.path, self.bytes_max)?;
        let mut bytes = Vec::with_capacity(before.bytes as usize);
        (&file).take(self.bytes_max).read_to_end(&mut bytes)?;
        if before != Signature::of(&file.metadata()?) {
            return Err(ReadError::Changing);
        }
        self.seen = Some(before);
        Ok(Some(bytes))
    }

    /// Warns of a trouble, unless it is the one that was told last.
    fn complain(&mut self, cause: &dyn Error, what: &str) {
        let chain: Vec<String> =
            std::iter::successors(Some(cause), |error| (*error).source()).map(ToString::to_string).collect();
        let chain = chain.join(": ");
        if self.told.as_ref() != Some(&chain) {
            tracing::warn!(path = %self.path.display(), cause = %chain, "{what}");
            self.told = Some(chain);
        }
    }

    /// All is well: the next trouble is told, be it the same.
    fn good(&mut self) {
        self.told = None;
    }
}

/// Opens a regular file. A link is followed, since an operator named the path; a FIFO does
/// not block.
fn open(path: &Path, bytes_max: u64) -> Result<(File, Signature), ReadError> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(ReadError::NotAFile);
    }
    match meta.len() {
        bytes if bytes > bytes_max => Err(ReadError::TooLarge { bytes, most: bytes_max }),
        _ => Ok((file, Signature::of(&meta))),
    }
}

/// Says when it is time to look at files again.
#[derive(Debug, Default)]
struct Looks {
    last: Option<Instant>,
}

impl Looks {
    fn due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= LOOK_EVERY);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
pub(in crate::enrich) mod tests {
    use super::*;
    use std::fmt;
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::{Event, Level, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    #[derive(Clone, Default)]
    struct Warnings(Arc<Mutex<Vec<String>>>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0 += &match field.name() {
                "message" => format!("{value:?} "),
                name => format!("{name}={value:?} "),
            };
        }
    }

    impl<S: Subscriber> Layer<S> for Warnings {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if *event.metadata().level() == Level::WARN {
                let mut text = Text(String::new());
                event.record(&mut text);
                self.0.lock().unwrap().push(text.0.trim().to_owned());
            }
        }
    }

    /// The warnings that are said while `act` runs.
    pub fn warnings(act: impl FnOnce()) -> Vec<String> {
        let kept = Warnings::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), act);
        let warnings = kept.0.lock().unwrap();
        warnings.clone()
    }

    #[test]
    fn a_file_is_read_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut file = Watched::new(path.clone(), 10);
        assert!(matches!(file.read_if_changed(), Err(ReadError::Io(_))));
        std::fs::write(&path, "one").unwrap();
        assert_eq!(file.read_if_changed().unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(file.read_if_changed().unwrap(), None);
        std::fs::write(folder.path().join("new"), "two").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(file.read_if_changed().unwrap().as_deref(), Some(&b"two"[..]));
        std::fs::write(&path, "more").unwrap();
        assert_eq!(file.read_if_changed().unwrap().as_deref(), Some(&b"more"[..]));
    }

    #[test]
    fn what_is_too_large_or_no_file_is_not_read_and_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "12345678901").unwrap();
        let told = Watched::new(path, 10).read_if_changed().unwrap_err().to_string();
        assert_eq!(told, "it has 11 bytes: at most 10 are read");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        assert!(matches!(Watched::new(fifo, 10).read_if_changed(), Err(ReadError::NotAFile)));
        assert!(Watched::new(folder.path().to_owned(), 10).read_if_changed().is_err());
    }

    #[test]
    fn files_are_looked_at_once_in_ten_seconds() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let asked: Vec<bool> = [0, 1, 9, 10, 11, 20].map(|s| looks.due(start + Duration::from_secs(s))).into();
        assert_eq!(asked, [true, false, false, true, false, true]);
    }
}
