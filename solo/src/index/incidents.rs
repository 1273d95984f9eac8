//! Incidents, each in its last revision: one file beside the index, small enough to be
//! written anew as a whole.

use event::{Document, EventId};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Incidents that are kept; the ones that ended first go first. One has 1 to 4 KB.
pub const INCIDENTS_MAX: usize = 5_000;

/// Incidents in a folder.
#[derive(Debug)]
pub struct Incidents {
    path: PathBuf,
    by_id: HashMap<EventId, Kept>,
    is_saved: bool,
}

#[derive(Debug)]
struct Kept {
    revision: u32,
    /// When the actor was seen last, as the document writes it.
    end: String,
    body: Box<RawValue>,
}

/// What must be read of a document.
#[derive(Deserialize)]
struct Head {
    event: Ends,
    twosec: Ours,
}

#[derive(Deserialize)]
struct Ends {
    id: String,
    end: String,
}

#[derive(Deserialize)]
struct Ours {
    incident: Revision,
}

#[derive(Deserialize)]
struct Revision {
    revision: u32,
}

impl Incidents {
    /// Reads the file `path`; none is as good as an empty one. A line that is no incident
    /// is left out.
    pub fn open(path: &Path) -> io::Result<Incidents> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let by_id = text.lines().filter_map(read).collect();
        Ok(Incidents { path: path.to_owned(), by_id, is_saved: true })
    }

    /// Takes a revision; tells whether it is new, or `None` where the document is no incident.
    pub fn put(&mut self, document: &Document) -> Option<bool> {
        let (id, kept) = read(std::str::from_utf8(&document.body).ok()?)?;
        if self.by_id.get(&id).is_some_and(|known| known.revision >= kept.revision) {
            return Some(false);
        }
        self.by_id.insert(id, kept);
        self.is_saved = false;
        if self.by_id.len() > INCIDENTS_MAX {
            let first = self.by_id.iter().min_by_key(|(id, kept)| (&kept.end, **id)).map(|(id, _)| *id);
            first.map(|id| self.by_id.remove(&id));
        }
        Some(true)
    }

    /// Makes durable what has been put.
    pub fn save(&mut self) -> io::Result<()> {
        if self.is_saved {
            return Ok(());
        }
        let text: String = self.newest().iter().map(|body| format!("{}\n", body.get())).collect();
        agent::spool::replace(&self.path, text.as_bytes())?;
        self.is_saved = true;
        Ok(())
    }

    /// Forgets what was put and not saved.
    pub fn forget(&mut self) {
        match Incidents::open(&self.path) {
            Ok(saved) => *self = saved,
            Err(_) => self.by_id.clear(),
        }
    }

    /// The documents, those whose actors were seen last first.
    pub fn newest(&self) -> Vec<&RawValue> {
        let mut all: Vec<_> = self.by_id.iter().collect();
        all.sort_by(|(a, one), (b, other)| other.end.cmp(&one.end).then(a.cmp(b)));
        all.into_iter().map(|(_, kept)| &*kept.body).collect()
    }
}

fn read(line: &str) -> Option<(EventId, Kept)> {
    let head: Head = serde_json::from_str(line).ok()?;
    let body = RawValue::from_string(line.to_owned()).ok()?;
    let kept = Kept { revision: head.twosec.incident.revision, end: head.event.end, body };
    Some((head.event.id.parse().ok()?, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(id: u8, revision: u32, end: u32) -> Document {
        let id = EventId([id; 16]);
        let body = format!(
            r#"{{"event":{{"id":"{id}","end":"2026-11-16T08:00:{end:02}.000Z"}},"twosec":{{"incident":{{"revision":{revision}}}}}}}"#
        );
        Document { id, day: None, revision: Some(revision), ruleset: None, body: body.into() }
    }

    #[test]
    fn the_highest_revision_stays_also_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("incidents.ndjson");
        let mut incidents = Incidents::open(&path).unwrap();
        assert_eq!(incidents.put(&document(1, 2, 5)), Some(true));
        assert_eq!(incidents.put(&document(1, 1, 9)), Some(false));
        assert_eq!(incidents.put(&document(2, 1, 7)), Some(true));
        incidents.save().unwrap();
        assert_eq!(incidents.put(&document(1, 3, 8)), Some(true));
        incidents.forget();
        let again = Incidents::open(&path).unwrap();
        for incidents in [incidents, again] {
            let ends: Vec<_> = incidents.newest().iter().map(|body| body.get().contains(":07.000Z")).collect();
            assert_eq!(ends, [true, false]);
        }
    }

    #[test]
    fn what_is_no_incident_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut incidents = Incidents::open(&folder.path().join("x")).unwrap();
        let document = Document { body: b"{}".to_vec(), ..document(1, 1, 1) };
        assert_eq!(incidents.put(&document), None);
    }
}
