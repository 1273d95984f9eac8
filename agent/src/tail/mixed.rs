//! Several logs in one: what `tail -f` prints of more than one file, with `==> FILE <==`
//! before the lines of each. Containers that have no other way to show their logs do that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which file's lines stand where, in one life.
#[derive(Debug, Default)]
pub struct Headers {
    /// Where a header stands, and the file that it names; ascending.
    seen: Vec<(u64, String)>,
}

impl Headers {
    /// A life of which the lines before `offset` were read, the last ones of them under
    /// `file`.
    pub fn resumed(file: Option<String>) -> Headers {
        Headers { seen: file.map(|file| (0, file)).into_iter().collect() }
    }

    /// Notes a header.
    pub fn note(&mut self, offset: u64, file: &[u8]) {
        self.seen.push((offset, String::from_utf8_lossy(file).into_owned()));
    }

    /// The file whose lines are being read.
    pub fn current(&self) -> Option<&str> {
        self.seen.last().map(|(_, file)| file.as_str())
    }

    /// The file whose lines stand right before `offset`. What is further back is forgotten.
    pub fn before(&mut self, offset: u64) -> Option<&str> {
        let count = self.seen.iter().take_while(|(at, _)| *at < offset).count();
        self.seen.drain(..count.saturating_sub(1));
        self.seen.first().filter(|(at, _)| *at < offset).map(|(_, file)| file.as_str())
    }
}

/// Folders of the host that a container sees in its own tree, by where it sees them
/// (`MountPoints` of Docker's config.v2.json).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mounts(pub BTreeMap<PathBuf, PathBuf>);

impl Mounts {
    /// Where a container's file lies on the host; `None` if it lies in the container alone.
    pub fn on_host(&self, inside: &Path) -> Option<PathBuf> {
        let above = inside.ancestors().find_map(|folder| Some((folder, self.0.get(folder)?)));
        let (folder, source) = above?;
        let rest = inside.strip_prefix(folder).expect("it is above");
        Some(if rest.as_os_str().is_empty() { source.clone() } else { source.join(rest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_of_the_file_that_the_last_header_names() {
        let mut headers = Headers::default();
        assert_eq!(headers.before(9), None);
        headers.note(10, b"/a");
        headers.note(50, b"/b");
        assert_eq!(headers.current(), Some("/b"));
        assert_eq!(headers.before(10), None, "the header is not read yet");
        assert_eq!(headers.before(50), Some("/a"));
        assert_eq!(headers.before(51), Some("/b"));
        assert_eq!(headers.current(), Some("/b"));
        assert_eq!(Headers::resumed(Some("/c".into())).before(70), Some("/c"));
    }

    #[test]
    fn a_containers_file_is_found_where_it_is_mounted_from() {
        let mounts = [("/var/log/apache2", "/srv/dvwa"), ("/var/log", "/srv/all"), ("/one.log", "/srv/two.log")];
        let mounts = Mounts(mounts.map(|(inside, host)| (inside.into(), host.into())).into());
        let on_host = |inside: &str| mounts.on_host(Path::new(inside)).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(on_host("/var/log/apache2/access.log").as_deref(), Some("/srv/dvwa/access.log"));
        assert_eq!(on_host("/var/log/mysql.log").as_deref(), Some("/srv/all/mysql.log"));
        assert_eq!(on_host("/one.log").as_deref(), Some("/srv/two.log"));
        assert_eq!(on_host("/opt/access.log"), None);
    }
}
