//! An archive and an index in memory, for tests of what reads the one and writes the other.

use crate::archive::{Archive, ArchiveError, Created, Metadata, Object};
use crate::index::{Index, IndexError, Item, Verdict};
use async_trait::async_trait;
use bytes::Bytes;
use event::EventId;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Objects by key, listed three at a time.
#[derive(Default)]
pub struct MemoryArchive {
    pub objects: Mutex<BTreeMap<String, Object>>,
    /// The objects that were read, in order.
    pub read: Mutex<Vec<String>>,
}

impl MemoryArchive {
    pub fn put(&self, object: Object) {
        self.objects.lock().unwrap().insert(object.key.clone(), object);
    }

    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub fn remove(&self, key: &str) -> Object {
        self.objects.lock().unwrap().remove(key).unwrap()
    }
}

#[async_trait]
impl Archive for MemoryArchive {
    async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(&object.key) {
            return Ok(Created::Exists);
        }
        objects.insert(object.key.clone(), object.clone());
        Ok(Created::Yes)
    }

    async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError> {
        Ok(self.objects.lock().unwrap().get(key).map(|object| object.metadata.clone()))
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
        self.read.lock().unwrap().push(key.to_owned());
        Ok(self.objects.lock().unwrap().get(key).map(|object| object.bytes.clone()))
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError> {
        let objects = self.objects.lock().unwrap();
        Ok(objects.keys().filter(|key| key.starts_with(prefix) && key.as_str() > after).take(3).cloned().collect())
    }
}

/// What an index holds: by name of the index and id, the version and the body.
pub type Contents = BTreeMap<(String, EventId), (u32, String)>;

/// Documents, with versions as OpenSearch keeps them.
#[derive(Default)]
pub struct MemoryIndex {
    pub contents: Mutex<Contents>,
    /// A word that no document may hold.
    pub refuses: Mutex<Option<&'static str>>,
}

impl MemoryIndex {
    pub fn contents(&self) -> Contents {
        self.contents.lock().unwrap().clone()
    }

    fn put(&self, item: &Item) -> Verdict {
        let body = String::from_utf8(item.document.body.clone()).unwrap();
        if self.refuses.lock().unwrap().is_some_and(|word| body.contains(word)) {
            return Verdict::Dead("mapper_parsing_exception".into());
        }
        let version = item.document.revision.or(item.document.ruleset);
        let mut contents = self.contents.lock().unwrap();
        let known = contents.get(&(item.index.clone(), item.id())).map(|(version, _)| *version);
        let created = known.is_none_or(|known| version.is_some_and(|version| version >= known));
        if created {
            contents.insert((item.index.clone(), item.id()), (version.unwrap_or(1), body));
        }
        Verdict::Done { created }
    }
}

#[async_trait]
impl Index for MemoryIndex {
    async fn bulk(&self, items: &[Item]) -> Result<Vec<Verdict>, IndexError> {
        Ok(items.iter().map(|item| self.put(item)).collect())
    }

    async fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}
