//! The files that a user names: what they are, before anything is done with them.

use agent::settings::FileSettings;
use agent::tail::is_pattern;
use event::Format;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Compressed and other files that are no text, by their first bytes.
const NOT_TEXT: [(&[u8], &str); 6] = [
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "a database"),
];

/// A file that cannot be read as a log.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("cannot read `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` is a folder: name the files in it, such as `{}`", .path.display(), .path.join("*.log").display())]
    Folder { path: PathBuf },
    #[error("`{}` is {what}: unpack it first (gzip is read as it is)", .path.display())]
    NotText { path: PathBuf, what: &'static str },
    #[error("standard input cannot be read yet: save it as a file and name that")]
    Stdin,
    #[error("`{pattern}` is not a pattern: {cause}")]
    Pattern { pattern: String, cause: glob::PatternError },
    #[error("`{}` is not a regular file", .path.display())]
    Special { path: PathBuf },
}

/// Looks at a file, or pattern, that the user named. A link is followed here, once.
pub fn check(name: &str, format: Format) -> Result<FileSettings, InputError> {
    if name == "-" {
        return Err(InputError::Stdin);
    }
    let path = Path::new(name);
    if !path.exists() && is_pattern(name) {
        return pattern(name, format);
    }
    let failed = |cause| InputError::Read { path: path.to_owned(), cause };
    let real = fs::canonicalize(path).map_err(failed)?;
    let meta = fs::metadata(&real).map_err(failed)?;
    if meta.is_dir() {
        return Err(InputError::Folder { path: path.to_owned() });
    }
    if !meta.is_file() {
        return Err(InputError::Special { path: path.to_owned() });
    }
    let mut head = Vec::new();
    File::open(&real).and_then(|file| file.take(16).read_to_end(&mut head)).map_err(failed)?;
    if let Some((_, what)) = NOT_TEXT.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(InputError::NotText { path: path.to_owned(), what });
    }
    let real = real.to_string_lossy();
    let path = if is_pattern(&real) { glob::Pattern::escape(&real) } else { real.into_owned() };
    Ok(FileSettings { format, ..FileSettings::new(path) })
}

fn pattern(name: &str, format: Format) -> Result<FileSettings, InputError> {
    glob::Pattern::new(name).map_err(|cause| InputError::Pattern { pattern: name.to_owned(), cause })?;
    let path = std::path::absolute(name).map_err(|cause| InputError::Read { path: name.into(), cause })?;
    Ok(FileSettings { format, ..FileSettings::new(path.to_string_lossy().into_owned()) })
}
