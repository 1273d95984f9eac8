//! The archive in a folder: the same keys and objects as in S3.

use crate::trouble::Trouble;
use async_trait::async_trait;
use bytes::Bytes;
use processor::archive::{Archive, ArchiveError, Created, Metadata, Object, window};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys in one answer of `list`.
const KEYS_MAX: usize = 1_000;

/// Objects as files below a folder. An object's metadata are those that its first line
/// tells.
pub struct LocalArchive {
    root: PathBuf,
    trouble: Trouble,
    /// Held while a file gets its name, so that of writers that race one wins.
    naming: Mutex<()>,
    fresh: AtomicU64,
}

impl LocalArchive {
    /// An archive in `root`, which is made if it is missing.
    pub fn open(root: &Path, trouble: Trouble) -> io::Result<LocalArchive> {
        fs::create_dir_all(root.join("tmp"))?;
        for leftover in fs::read_dir(root.join("tmp"))?.filter_map(Result::ok) {
            fs::remove_file(leftover.path())?;
        }
        Ok(LocalArchive { root: root.to_owned(), trouble, naming: Mutex::new(()), fresh: AtomicU64::new(0) })
    }

    fn create(&self, object: &Object) -> io::Result<Created> {
        let path = self.root.join(&object.key);
        if path.exists() {
            return Ok(Created::Exists);
        }
        let fresh = self.root.join("tmp").join(self.fresh.fetch_add(1, Ordering::Relaxed).to_string());
        let written = write(&fresh, &object.bytes).and_then(|()| self.name(&fresh, &path));
        if !matches!(written, Ok(Created::Yes)) {
            // The object is not there under its name; the fragment is of no use.
            drop(fs::remove_file(&fresh));
        }
        written
    }

    fn name(&self, fresh: &Path, path: &Path) -> io::Result<Created> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let _naming = self.naming.lock().expect("nobody panics while naming");
        if path.exists() {
            return Ok(Created::Exists);
        }
        fs::rename(fresh, path)?;
        File::open(folder)?.sync_all()?;
        Ok(Created::Yes)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read(path: &Path) -> io::Result<Option<Bytes>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Bytes::from(bytes))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

#[async_trait]
impl Archive for LocalArchive {
    async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
        let created = self.create(object);
        self.trouble.watch(&self.root.join(&object.key), created).map_err(|cause| failed("put", &object.key, cause))
    }

    async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError> {
        let bytes = self.get(key).await?;
        Ok(bytes.map(|bytes| window::read_summary(&bytes).map(|summary| summary.metadata()).unwrap_or_default()))
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
        read(&self.root.join(key)).map_err(|cause| failed("get", key, cause))
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError> {
        let mut keys = Vec::new();
        walk(&self.root, "", prefix, after, &mut keys).map_err(|cause| failed("list", prefix, cause))?;
        Ok(keys)
    }
}

fn failed(call: &'static str, key: &str, cause: io::Error) -> ArchiveError {
    ArchiveError::Transient { call, key: key.to_owned(), cause: cause.into() }
}

/// Collects keys below `folder` in byte order, leaving out folders that hold none of
/// the wanted ones.
fn walk(root: &Path, folder: &str, prefix: &str, after: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        entries.push(format!("{folder}{name}{slash}"));
    }
    entries.sort();
    for key in entries {
        if keys.len() == KEYS_MAX {
            break;
        }
        if key.ends_with('/') {
            let wanted = key.starts_with(prefix) || prefix.starts_with(&key);
            let passed = *key < *after && !after.starts_with(&key);
            if wanted && !passed && key != "tmp/" {
                walk(root, &key, prefix, after, keys)?;
            }
        } else if key.starts_with(prefix) && *key > *after {
            keys.push(key);
        }
    }
    Ok(())
}
