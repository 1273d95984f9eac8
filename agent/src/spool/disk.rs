//! The spool's files: the edge that faults come from.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Numbers the spool's segments, rising. A number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
pub struct SegmentId(pub u64);

/// The folder of a spool. Whatever fails may have been done in part.
pub trait Disk: Send + Sync {
    /// All segments, oldest first, with their lengths.
    fn segments(&self) -> io::Result<Vec<(SegmentId, u64)>>;
    /// Makes an empty segment.
    fn create(&self, segment: SegmentId) -> io::Result<()>;
    /// Writes all of `bytes` at `at`.
    fn write(&self, segment: SegmentId, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `bytes` bytes at `at`; fewer only at the end.
    fn read(&self, segment: SegmentId, at: u64, bytes: usize) -> io::Result<Vec<u8>>;
    /// Makes the segment safe from power loss.
    fn sync(&self, segment: SegmentId) -> io::Result<()>;
    /// Drops what stands from `at` on.
    fn cut(&self, segment: SegmentId, at: u64) -> io::Result<()>;
    fn remove(&self, segment: SegmentId) -> io::Result<()>;
    /// Takes room that [`release`](Disk::release) gives back when nothing else is left.
    fn reserve(&self) -> io::Result<()>;
    /// Gives the reserved room back; whether there was any.
    fn release(&self) -> io::Result<bool>;
    /// Replaces a small file as a whole: after a crash there is the old one or the new one.
    fn keep(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Reads such a file again.
    fn kept(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
}

/// The file that keeps room, and its size: a snapshot of a few hundred files fits.
const RESERVE: &str = "reserve";
const RESERVE_BYTES: usize = 256 << 10;

/// A folder on a filesystem. Segments are named like `000017.seg`.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    open: Mutex<HashMap<SegmentId, Arc<File>>>,
}

impl Folder {
    /// Makes the folder where it is missing.
    pub fn open(path: &Path) -> io::Result<Folder> {
        make_folder(path)?;
        Ok(Folder { path: path.to_owned(), open: Mutex::default() })
    }

    fn name(&self, segment: SegmentId) -> PathBuf {
        self.path.join(format!("{:06}.seg", segment.0))
    }

    fn file(&self, segment: SegmentId) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().expect("nobody panics with the files in hand");
        if let Some(file) = open.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(self.name(segment))?);
        open.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    fn forget(&self, segment: SegmentId) {
        self.open.lock().expect("nobody panics with the files in hand").remove(&segment);
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Folder {
    fn segments(&self) -> io::Result<Vec<(SegmentId, u64)>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".seg")).and_then(|name| name.parse().ok());
            if let Some(number) = number {
                segments.push((SegmentId(number), entry.metadata()?.len()));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn create(&self, segment: SegmentId) -> io::Result<()> {
        self.forget(segment);
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.name(segment))?;
        self.sync_folder()
    }

    fn write(&self, segment: SegmentId, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(segment)?.write_all_at(bytes, at)
    }

    fn read(&self, segment: SegmentId, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        crate::tail::read_at(&*self.file(segment)?, at, bytes)
    }

    fn sync(&self, segment: SegmentId) -> io::Result<()> {
        self.file(segment)?.sync_data()
    }

    fn cut(&self, segment: SegmentId, at: u64) -> io::Result<()> {
        self.file(segment)?.set_len(at)
    }

    fn remove(&self, segment: SegmentId) -> io::Result<()> {
        self.forget(segment);
        fs::remove_file(self.name(segment))
    }

    fn reserve(&self) -> io::Result<()> {
        let path = self.path.join(RESERVE);
        if fs::metadata(&path).is_ok_and(|found| found.len() == RESERVE_BYTES as u64) {
            return Ok(());
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        // Bytes rather than a length: a hole in a file reserves nothing.
        file.write_all(&[b'.'; RESERVE_BYTES]).or_else(|cause| fs::remove_file(&path).and(Err(cause)))
    }

    fn release(&self) -> io::Result<bool> {
        match fs::remove_file(self.path.join(RESERVE)) {
            Ok(()) => Ok(true),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.path.join(name), bytes)
    }

    fn kept(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }
}

/// Makes a folder where it is missing. Nobody else may look into it.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file as a whole: after a crash there is the old one or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
