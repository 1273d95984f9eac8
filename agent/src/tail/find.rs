//! Which files there are to read.

use super::file::{self, FileId};
use crate::checkpoint::Mark;
use crate::settings::FileSettings;
use event::Format;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    pub id: FileId,
    pub format: Format,
    modified: SystemTime,
}

/// What a sweep came across.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Oldest first.
    pub files: Vec<Found>,
    /// Folders in which files may appear.
    pub folders: BTreeSet<PathBuf>,
    /// What matched and cannot be read, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

/// Whether a path holds wildcards.
pub fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Looks for the files that `settings` name; with `siblings` also for those that were
/// rotated away while nobody looked and may hold unread lines of a remembered life.
pub fn find(settings: &[FileSettings], marks: &[Mark], siblings: bool) -> Sweep {
    let mut sweep = Sweep::default();
    for wanted in settings {
        sweep.folders.extend(folder_of(&wanted.path));
        for path in paths(&wanted.path) {
            sweep.folders.extend(path.parent().map(Path::to_owned));
            consider(&mut sweep, path, wanted.format);
        }
    }
    if siblings {
        find_siblings(&mut sweep, settings, marks);
    }
    sweep.files.sort_by_key(|file| file.modified);
    sweep
}

/// The folder of a path or pattern, up to its first wildcard.
fn folder_of(path: &str) -> Option<PathBuf> {
    let plain = &path[..path.find(['*', '?', '[']).unwrap_or(path.len())];
    let folder = Path::new(&plain[..=plain.rfind('/')?]).to_owned();
    Some(folder)
}

fn paths(path: &str) -> Vec<PathBuf> {
    if !is_pattern(path) {
        return vec![PathBuf::from(path)];
    }
    glob::glob(path).map(|found| found.filter_map(Result::ok).collect()).unwrap_or_default()
}

fn consider(sweep: &mut Sweep, path: PathBuf, format: Format) {
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => {
            let id = FileId::of(&meta);
            let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if !sweep.files.iter().any(|file| file.id == id) {
                sweep.files.push(Found { path, id, format, modified });
            }
        }
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => sweep.skipped.push((path, "it is not a regular file; skipped".to_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => sweep.skipped.push((path, format!("cannot look at it: {cause}"))),
    }
}

/// Rotated files of remembered lives: the very file under another name, or, where that
/// is gone, a packed copy beside the live path.
fn find_siblings(sweep: &mut Sweep, settings: &[FileSettings], marks: &[Mark]) {
    for mark in marks {
        let Some(wanted) = settings.iter().find(|wanted| names(&wanted.path, &mark.path)) else { continue };
        if sweep.files.iter().any(|file| file.id == mark.file) {
            continue;
        }
        for path in siblings(&mark.path) {
            let same = fs::symlink_metadata(&path).is_ok_and(|meta| FileId::of(&meta) == mark.file);
            if same || path.extension().is_some_and(|end| end == "gz") && may_hold(&path, mark) {
                consider(sweep, path, wanted.format);
            }
        }
    }
}

/// Whether a configured path or pattern names a live path.
fn names(wanted: &str, live: &Path) -> bool {
    file::live(Path::new(wanted)) == live || glob::Pattern::new(wanted).is_ok_and(|pattern| pattern.matches_path(live))
}

/// Files in the live path's folder that are of its family.
fn siblings(live: &Path) -> Vec<PathBuf> {
    let folder = live.parent().unwrap_or(Path::new("/"));
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path != live && file::live(path) == live).collect();
    paths.sort();
    paths
}

/// Whether a packed file begins with the bytes of a remembered life.
fn may_hold(path: &Path, mark: &Mark) -> bool {
    let Ok(Some((file, _))) = file::open(path) else { return false };
    let mut head = Vec::new();
    let unpacked = flate2::read::MultiGzDecoder::new(file);
    let read = io::Read::read_to_end(&mut io::Read::take(unpacked, mark.head.bytes as u64), &mut head);
    read.is_ok() && super::Witness::of(&head) == mark.head
}
