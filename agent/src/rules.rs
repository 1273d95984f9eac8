//! The rules of a host: those that ship with the program, and the drop-in files that its
//! operator keeps in a folder.

use event::Classifier;
use event::classify::{DropIn, Refused, drop_in};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where drop-in files lie unless the settings say otherwise.
pub const FOLDER: &str = "/etc/twosec/rules.d";

/// Files of a folder that are read.
const FILES_MAX: usize = 256;

/// Rules, and what is wrong with some of them: a sentence each.
#[derive(Debug)]
pub struct Rules {
    pub classifier: Classifier,
    pub refused: Vec<String>,
}

/// Reads the drop-in files of a folder, if there is one. What is wrong is left out and told.
pub fn open(folder: Option<&Path>) -> Rules {
    let (files, mut refused) = folder.map_or_else(Default::default, read);
    let (classifier, wrong) = Classifier::with_drop_ins(&files);
    refused.extend(wrong.iter().map(Refused::to_string));
    Rules { classifier, refused }
}

/// The drop-in files of a folder in the order of their names, and what could not be read. A
/// folder that is not there holds none.
fn read(folder: &Path) -> (Vec<DropIn>, Vec<String>) {
    let (mut files, mut refused) = (Vec::new(), Vec::new());
    let paths = match list(folder) {
        Ok(paths) => paths,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(cause) => {
            refused.push(format!("cannot list `{}`: {cause}", folder.display()));
            Vec::new()
        }
    };
    if paths.len() > FILES_MAX {
        refused.push(format!("`{}` holds {} files: the first {FILES_MAX} are used", folder.display(), paths.len()));
    }
    for path in paths.into_iter().take(FILES_MAX) {
        match file(&path) {
            Ok(file) => files.push(file),
            Err(cause) => refused.push(format!("cannot read `{}`: {cause}", path.display())),
        }
    }
    (files, refused)
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<_> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    paths.sort();
    Ok(paths)
}

/// Reads one drop-in file.
pub fn file(path: &Path) -> io::Result<DropIn> {
    // Without O_NONBLOCK a pipe in the folder would hold the agent up.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(drop_in::FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|cause| {
        let before = &cause.as_bytes()[..cause.utf8_error().valid_up_to()];
        io::Error::other(format!("line {} is no UTF-8", 1 + memchr::memchr_iter(b'\n', before).count()))
    })?;
    Ok(DropIn { name: path.to_string_lossy().into_owned(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_folder_are_read_in_order_and_what_is_wrong_is_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
        write("20.toml", b"disable = ['scanner-*']\n");
        write("10.toml", b"\ncolour = 1\n");
        write("30.toml", b"# a\n# b\n# \xff\n");
        write("40.toml.bak", b"colour = 1\n");
        fs::create_dir(folder.path().join("50.toml")).unwrap();
        let Rules { classifier, refused } = open(Some(folder.path()));
        let place = folder.path().display();
        assert_eq!(
            refused,
            [
                format!("cannot read `{place}/30.toml`: line 3 is no UTF-8"),
                format!("cannot read `{place}/50.toml`: it is no file"),
                format!(
                    "{place}/10.toml:2: `colour` is unknown: a file holds `category`, `where`, `disable`, `[[allow]]` \
                     and `[[rule]]`"
                ),
            ]
        );
        assert!(!classifier.rules().iter().any(|rule| rule.id.starts_with("scanner-")));
        assert!(open(Some(&folder.path().join("none"))).refused.is_empty());
    }
}
