//! The lease table of one process: a file.

use crate::stream::LocalStream;
use crate::trouble::Trouble;
use async_trait::async_trait;
use processor::leases::{Lease, LeaseError, Leases, Swap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fs, io};

/// Lease rows in one JSON file, replaced as a whole. A checkpoint that moves is told to
/// the stream, which then answers the agent.
pub struct LocalLeases {
    path: PathBuf,
    rows: Mutex<Vec<Lease>>,
    stream: Option<LocalStream>,
    trouble: Trouble,
}

impl LocalLeases {
    /// Reads the rows in the file `path`; none is a fresh start.
    pub fn open(path: &Path, trouble: Trouble) -> io::Result<LocalLeases> {
        let rows = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(cause) => return Err(cause),
        };
        Ok(LocalLeases { path: path.to_owned(), rows: Mutex::new(rows), stream: None, trouble })
    }

    /// The highest record number that a row knows.
    pub fn last(&self) -> u64 {
        let rows = self.rows.lock().expect("nobody panics with the rows in hand");
        rows.iter().filter_map(number).max().unwrap_or(0)
    }

    /// When the last archived record arrived: the archive is listed from that hour on.
    pub fn since(&self) -> Option<event::Millis> {
        let rows = self.rows.lock().expect("nobody panics with the rows in hand");
        rows.iter().filter_map(|row| row.checkpoint_arrival).min()
    }

    /// Tells `stream` of checkpoints from now on.
    pub fn tell(self, stream: LocalStream) -> LocalLeases {
        LocalLeases { stream: Some(stream), ..self }
    }

    fn change(
        &self,
        key: &str,
        change: impl FnOnce(Option<&Lease>) -> Result<Option<Lease>, Swap>,
    ) -> Result<Swap, LeaseError> {
        let mut rows = self.rows.lock().expect("nobody panics with the rows in hand");
        let mut fresh = rows.clone();
        let at = fresh.iter().position(|row| row.key == key);
        let lease = match change(at.map(|at| &fresh[at])) {
            Ok(lease) => lease,
            Err(lost) => return Ok(lost),
        };
        let archived = lease.as_ref().and_then(number);
        match at {
            Some(at) => drop(fresh.splice(at..=at, lease)),
            None => fresh.extend(lease),
        }
        let text = serde_json::to_vec_pretty(&fresh).expect("plain data turns into JSON");
        let saved = agent::spool::replace(&self.path, &text);
        self.trouble
            .watch(&self.path, saved)
            .map_err(|cause| LeaseError::Transient { call: "swap", cause: cause.into() })?;
        *rows = fresh;
        if let (Some(stream), Some(number)) = (&self.stream, archived) {
            stream.archived_through(number);
        }
        Ok(Swap::Done)
    }
}

fn is_as_known(row: &Lease, known: &Lease) -> bool {
    row.owner == known.owner && row.counter == known.counter && row.handoff_to == known.handoff_to
}

fn number(lease: &Lease) -> Option<u64> {
    lease.checkpoint.sequence()?.as_str().parse().ok()
}

#[async_trait]
impl Leases for LocalLeases {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        Ok(self.rows.lock().expect("nobody panics with the rows in hand").clone())
    }

    async fn create(&self, lease: &Lease) -> Result<Swap, LeaseError> {
        self.change(&lease.key, |row| match row {
            Some(row) => Err(Swap::Lost(Some(Box::new(row.clone())))),
            None => Ok(Some(lease.clone())),
        })
    }

    async fn swap(&self, old: &Lease, new: &Lease) -> Result<Swap, LeaseError> {
        self.change(&old.key, |row| match row {
            Some(row) if is_as_known(row, old) => Ok(Some(new.clone())),
            row => Err(Swap::Lost(row.cloned().map(Box::new))),
        })
    }

    async fn remove(&self, lease: &Lease) -> Result<Swap, LeaseError> {
        self.change(&lease.key, |row| match row {
            Some(row) if is_as_known(row, lease) => Ok(None),
            row => Err(Swap::Lost(row.cloned().map(Box::new))),
        })
    }
}
