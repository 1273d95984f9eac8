//! One process a folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Holds a folder until it is dropped, or the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("`{}` is in use by process {pid}; stop it, or use another folder", .folder.display())]
    Taken { folder: PathBuf, pid: String },
    #[error("cannot write into `{}`", .folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Lock {
    /// Makes `folder` where it is missing, and takes it.
    pub fn take(folder: &Path) -> Result<Lock, LockError> {
        let failed = |cause| LockError::Folder { folder: folder.to_owned(), cause };
        crate::spool::make_folder(folder).map_err(failed)?;
        let path = folder.join("lock");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Taken { folder: folder.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        note(&mut file).map_err(failed)?;
        Ok(Lock { _file: file })
    }
}

/// The pid that the holder has written down.
fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    let known = file.take(20).read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
    if known { pid.trim().to_owned() } else { "unknown".to_owned() }
}

fn note(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let refused = Lock::take(folder.path()).unwrap_err().to_string();
        let expected = format!(
            "`{}` is in use by process {}; stop it, or use another folder",
            folder.path().display(),
            std::process::id()
        );
        assert_eq!(refused, expected);
        drop(first);
        Lock::take(folder.path()).unwrap();
    }
}
