//! The embedded index: documents in tantivy, each id once.

mod fields;
mod incidents;
mod network;
pub mod search;

use crate::trouble::Trouble;
use async_trait::async_trait;
use event::{EventId, LifeId};
use fields::Fields;
use incidents::Incidents;
use processor::index::{Index, IndexError, Item, Verdict};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use tantivy::collector::{Count, TopDocs};
use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tantivy::{IndexReader, IndexWriter, Order, ReloadPolicy, TantivyError, Term};

/// Incidents stand beside the index's own files.
const INCIDENTS_FILE: &str = "incidents.ndjson";

/// Memory of one writing thread before it writes a segment.
const THREAD_BYTES: usize = 48 << 20;

/// An index in a folder.
pub struct LocalIndex {
    index: tantivy::Index,
    fields: Fields,
    store: Store,
}

/// The part of an index that a commit needs, on whatever thread.
#[derive(Clone)]
struct Store {
    path: PathBuf,
    reader: IndexReader,
    writing: Arc<Mutex<Writing>>,
    /// Apart from what is written, so that the page need not wait for a commit. Who holds
    /// both has taken `writing` first.
    incidents: Arc<Mutex<Incidents>>,
    trouble: Trouble,
}

/// What is written and not yet durable.
struct Writing {
    /// `None` for a reader, and after a failure until the next try.
    writer: Option<IndexWriter>,
    /// Ids since the last commit.
    fresh: HashSet<EventId>,
    /// The furthest offset of each life that is in the index. A line beyond it cannot be
    /// there yet, which spares most lines a look into the index.
    marks: HashMap<LifeId, Option<u64>>,
}

/// The newest incidents.
#[derive(Debug, Serialize)]
pub struct Latest {
    /// Incidents that are kept in all.
    pub total: usize,
    /// Documents, those whose actors were seen last first.
    pub incidents: Vec<Box<RawValue>>,
}

impl LocalIndex {
    /// Opens the index in the folder `path` for writing, and makes it if it is missing.
    pub fn open(path: &Path, trouble: Trouble) -> tantivy::Result<Arc<LocalIndex>> {
        let local = LocalIndex::with(path, trouble)?;
        local.store.writing().writer = Some(local.new_writer()?);
        Ok(Arc::new(local))
    }

    /// Opens the index in the folder `path` for reading, beside one who writes.
    pub fn read(path: &Path) -> tantivy::Result<Arc<LocalIndex>> {
        LocalIndex::with(path, Trouble::default()).map(Arc::new)
    }

    fn with(path: &Path, trouble: Trouble) -> tantivy::Result<LocalIndex> {
        let schema = fields::schema();
        std::fs::create_dir_all(path)?;
        let folder = tantivy::directory::MmapDirectory::open(path)?;
        let index = tantivy::Index::open_or_create(folder, schema)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let incidents = Incidents::open(&path.join(INCIDENTS_FILE))?;
        let writing = Arc::new(Mutex::new(Writing { writer: None, fresh: HashSet::new(), marks: HashMap::new() }));
        let fields = Fields::of(&index.schema());
        let incidents = Arc::new(Mutex::new(incidents));
        let store = Store { path: path.to_owned(), reader, writing, incidents, trouble };
        Ok(LocalIndex { index, fields, store })
    }

    /// The newest `most` incidents.
    pub fn incidents(&self, most: usize) -> Latest {
        let incidents = self.store.incidents();
        let newest = incidents.newest();
        Latest { total: newest.len(), incidents: newest.into_iter().take(most).map(ToOwned::to_owned).collect() }
    }

    fn new_writer(&self) -> tantivy::Result<IndexWriter> {
        self.index.writer_with_num_threads(1, THREAD_BYTES)
    }

    /// Adds what is not there yet.
    fn add(&self, items: &[Item]) -> Result<Vec<Verdict>, IndexError> {
        let mut writing = self.store.writing();
        if writing.writer.is_none() {
            let writer = self.new_writer().map_err(|error| self.store.lose(&mut writing, &error))?;
            writing.writer = Some(writer);
        }
        items.iter().map(|item| self.add_one(&mut writing, item)).collect()
    }

    fn add_one(&self, writing: &mut Writing, item: &Item) -> Result<Verdict, IndexError> {
        if item.document.revision.is_some() {
            let put = self.store.incidents().put(&item.document);
            return Ok(
                put.map_or_else(|| Verdict::Dead("it is no incident".to_owned()), |created| Verdict::Done { created })
            );
        }
        let (document, place) = match self.fields.document(&item.document.body) {
            Ok(read) => read,
            Err(error) => return Ok(Verdict::Dead(error.to_string())),
        };
        let place = place.life.zip(place.offset);
        let is_known = self.is_known(writing, item.id(), place).map_err(|error| self.store.lose(writing, &error))?;
        if is_known && item.document.ruleset.is_none() {
            return Ok(Verdict::Done { created: false });
        }
        let writer = writing.writer.as_ref().expect("it was made above");
        if is_known {
            // Only this process writes here, and its rules are the newest: no version is compared.
            writer.delete_term(self.fields.term("event.id", &item.id().to_string()));
        }
        let added = writer.add_document(document);
        added.map_err(|error| self.store.lose(writing, &error))?;
        writing.fresh.insert(item.id());
        if let Some((life, offset)) = place {
            let mark = writing.marks.entry(life).or_default();
            *mark = (*mark).max(Some(offset));
        }
        Ok(Verdict::Done { created: true })
    }

    /// Whether an id is in the index already.
    fn is_known(&self, writing: &mut Writing, id: EventId, place: Option<(LifeId, u64)>) -> tantivy::Result<bool> {
        if let Some((life, offset)) = place {
            let mark = match writing.marks.get(&life) {
                Some(mark) => *mark,
                None => *writing.marks.entry(life).or_insert(self.mark(life)?),
            };
            if mark.is_none_or(|mark| offset > mark) {
                return Ok(false);
            }
        }
        Ok(writing.fresh.contains(&id) || self.count(self.fields.term("event.id", &id.to_string()))? > 0)
    }

    /// The furthest offset of a life in what is durable.
    fn mark(&self, life: LifeId) -> tantivy::Result<Option<u64>> {
        let of_life = TermQuery::new(self.fields.term("twosec.life", &life.to_string()), IndexRecordOption::Basic);
        let furthest = TopDocs::with_limit(1).order_by_fast_field::<u64>("twosec.offset", Order::Desc);
        let found = self.store.reader.searcher().search(&of_life, &furthest)?;
        Ok(found.first().and_then(|(offset, _)| *offset))
    }

    fn count(&self, term: Term) -> tantivy::Result<usize> {
        self.store.reader.searcher().search(&TermQuery::new(term, IndexRecordOption::Basic), &Count)
    }
}

impl Store {
    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().expect("nobody panics while writing")
    }

    fn incidents(&self) -> MutexGuard<'_, Incidents> {
        self.incidents.lock().expect("nobody panics with the incidents in hand")
    }

    /// A writer that has failed takes nothing more, and what it held is gone.
    fn lose(&self, writing: &mut Writing, error: &TantivyError) -> IndexError {
        self.trouble.report(format!("cannot write the index `{}`: {error}", self.path.display()));
        writing.writer = None;
        writing.fresh.clear();
        writing.marks.clear();
        self.incidents().forget();
        IndexError::Lost(error.to_string().into())
    }

    fn commit(&self) -> Result<(), IndexError> {
        let mut writing = self.writing();
        let committed = match &mut writing.writer {
            Some(writer) => writer.commit().and_then(|_| self.reader.reload()),
            None => return Err(IndexError::Lost("the last write failed".into())),
        };
        let committed = committed.and_then(|()| Ok(self.incidents().save()?));
        committed.map_err(|error| self.lose(&mut writing, &error))?;
        writing.fresh.clear();
        self.trouble.clear();
        Ok(())
    }
}

#[async_trait]
impl Index for LocalIndex {
    async fn bulk(&self, items: &[Item]) -> Result<Vec<Verdict>, IndexError> {
        self.add(items)
    }

    async fn flush(&self) -> Result<(), IndexError> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.commit()).await.expect("a commit does not panic")
    }
}
