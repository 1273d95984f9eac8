//! Which files there are.

use super::file::{self, FileId};
use crate::settings::FileSettings;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files of one family that are looked at; more are a mistake or an attack.
const FAMILY_FILES_MAX: usize = 10_000;

/// A file of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    pub id: FileId,
    pub size: u64,
    pub modified: SystemTime,
    /// Whether it stands at the live path.
    pub is_live: bool,
    /// Whether the configuration names it, and not only its live path.
    pub is_named: bool,
}

/// A live path and what was rotated away from it.
#[derive(Debug, Clone)]
pub struct FamilyFiles {
    pub live: PathBuf,
    /// Which of the settings it comes from.
    pub settings: usize,
    /// Oldest first, the live file last.
    pub files: Vec<Found>,
}

/// What a sweep came across.
#[derive(Debug, Default)]
pub struct Sweep {
    pub families: Vec<FamilyFiles>,
    /// Folders in which files may appear.
    pub folders: BTreeSet<PathBuf>,
    /// What matched and cannot be read, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

/// Whether a path holds wildcards.
pub fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Looks for the files that `settings` name, and for those that were rotated away from
/// a named live path. `remembered` are live paths of which something was read.
pub fn find<'a>(settings: &[FileSettings], remembered: impl IntoIterator<Item = &'a Path>) -> Sweep {
    let mut sweep = Sweep::default();
    let remembered: BTreeSet<&Path> = remembered.into_iter().collect();
    for (at, wanted) in settings.iter().enumerate() {
        sweep.folders.extend(folder_of(&wanted.path));
        sweep.folders.extend(wanted.olddir.clone());
        let mut families: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for path in named(&wanted.path) {
            sweep.folders.extend(path.parent().map(Path::to_owned));
            families.entry(file::live(&path)).or_default().push(path);
        }
        for live in remembered.iter().filter(|live| is_named(&wanted.path, live)) {
            families.entry((*live).to_owned()).or_default();
        }
        for (live, named) in families {
            if !sweep.families.iter().any(|family| family.live == live) {
                let family = family(wanted, at, live, named, settings, &mut sweep.skipped);
                sweep.families.push(family);
            }
        }
    }
    sweep
}

/// Whether a configured path or pattern names `path`.
fn is_named(wanted: &str, path: &Path) -> bool {
    Path::new(wanted) == path || glob::Pattern::new(wanted).is_ok_and(|pattern| pattern.matches_path(path))
}

/// The folder of a path or pattern, up to its first wildcard.
fn folder_of(path: &str) -> Option<PathBuf> {
    let plain = &path[..path.find(['*', '?', '[']).unwrap_or(path.len())];
    Some(Path::new(&plain[..=plain.rfind('/')?]).to_owned())
}

fn named(path: &str) -> Vec<PathBuf> {
    if !is_pattern(path) {
        return vec![PathBuf::from(path)];
    }
    let depth = folder_of(path).map_or(0, |folder| folder.components().count());
    let found = glob::glob(path).map(|found| found.filter_map(Result::ok).collect::<Vec<_>>()).unwrap_or_default();
    found.into_iter().filter(|path| !passes_a_link(path, depth)).collect()
}

/// Whether a folder of `path` that a wildcard stands for is a link: whoever may make
/// folders there could make us read anywhere.
fn passes_a_link(path: &Path, depth: usize) -> bool {
    let folders = path.ancestors().skip(1).filter(|folder| folder.components().count() > depth);
    folders.into_iter().any(|folder| fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_symlink()))
}

fn family(
    wanted: &FileSettings,
    settings: usize,
    live: PathBuf,
    named: Vec<PathBuf>,
    all: &[FileSettings],
    skipped: &mut Vec<(PathBuf, String)>,
) -> FamilyFiles {
    let mut paths = named.clone();
    // Somebody who names a rotated file alone wants just that one.
    if is_named(&wanted.path, &live) {
        paths.extend(siblings(&live, wanted.olddir.as_deref()));
        paths.push(live.clone());
    }
    let mut files: Vec<Found> = Vec::new();
    for path in paths {
        match look(&path, all) {
            Ok(Some(meta)) => {
                let id = FileId::of(&meta);
                let (is_live, is_named) = (path == live, named.contains(&path));
                let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let found = Found { path, id, size: meta.len(), modified, is_live, is_named };
                match files.iter_mut().find(|file| file.id == id) {
                    // A hard link; the live name tells most.
                    Some(known) if is_live => *known = found,
                    Some(_) => {}
                    None => files.push(found),
                }
            }
            Ok(None) => {}
            Err(reason) => skipped.push((path, reason)),
        }
    }
    files.sort_by_key(|file| (file.is_live, file.modified));
    FamilyFiles { live, settings, files }
}

/// Looks at a path without following it. `None` where nothing is to be read there.
fn look(path: &Path, settings: &[FileSettings]) -> Result<Option<Metadata>, String> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Ok(Some(meta)),
        Ok(meta) if meta.is_dir() => Ok(None),
        Ok(meta) if meta.is_symlink() => match fs::canonicalize(path) {
            // It is read under its own name.
            Ok(target) if settings.iter().any(|wanted| is_named(&wanted.path, &target)) => Ok(None),
            Ok(target) => Err(format!("it is a link to `{}`, which no `[[file]]` names; skipped", target.display())),
            Err(cause) => Err(format!("it is a link that leads nowhere ({cause}); skipped")),
        },
        Ok(_) => Err("it is not a regular file; skipped".to_owned()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(format!("cannot look at it: {cause}")),
    }
}

/// Files that were rotated away from `live`.
fn siblings(live: &Path, olddir: Option<&Path>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for folder in live.parent().into_iter().chain(olddir) {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        let of_family = |path: &PathBuf| path != live && file::live(path).file_name() == live.file_name();
        paths.extend(entries.map(|entry| entry.path()).filter(of_family).take(FAMILY_FILES_MAX));
    }
    paths.sort();
    paths
}
