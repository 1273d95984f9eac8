//! Dead letters into the index, once somebody has helped it, or this program reads more.
//!
//! ```text
//! keys -> letters -> (document | record -> decode) -> bulk
//! ```
//!
//! Letters are kept: nothing of an archive is ever deleted here. What is in the index already is
//! there once, so the same letters may be sent any number of times.

use crate::archive::dead::{self, DeadLetter};
use crate::archive::walk::{Refused, patiently};
use crate::archive::{Archive, ArchiveError};
use crate::decode::{Decoder, Unreadable};
use crate::index::bulk::Bulker;
use crate::index::flight::Flight;
use crate::index::{Index, IndexError, Item};
use crate::meter::Meter;
use crate::progress::{count, counted};
use crate::receive::{Record, SequenceNumber};
use crate::settings::Settings;
use event::{Document, Millis};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Documents that are put at once.
const DOCUMENTS_MAX: usize = 500;

/// So often one after another the index takes none of the letters that it is given before it is taken to be the
/// index's fault.
const NONE_MAX: usize = 8;

/// Reasons that are told apart.
const REASONS_MAX: usize = 100;

/// What is to be sent again, and where to.
pub struct Redrive {
    pub archive: Arc<dyn Archive>,
    /// Without one, letters are only counted.
    pub index: Option<Arc<dyn Index>>,
    pub settings: Settings,
    /// When the stream was made, which ids of other producers' lines depend on: for letters of
    /// versions that did not note it.
    pub stream_created: Option<Millis>,
    /// The only shard whose letters are sent.
    pub shard: Option<String>,
}

/// Why letters could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    #[error("cannot read the archive")]
    Archive(#[source] ArchiveError),
    #[error("cannot index")]
    Index(#[source] IndexError),
}

/// What became of the letters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Objects with letters.
    pub objects: u64,
    /// Letters that are documents.
    pub documents: u64,
    /// Letters that are records, and the events that were read of them.
    pub records: u64,
    pub events: u64,
    pub put: u64,
    /// Documents that were in the index already.
    pub known: u64,
    /// Documents that are refused again, by the reason.
    pub refused: BTreeMap<String, u64>,
    /// Records that still cannot be read, by the reason.
    pub unreadable: BTreeMap<String, u64>,
    /// Objects that could not be had, or hold no letters that can be read.
    pub damaged: Vec<String>,
}

impl Report {
    /// Whether nothing is left.
    pub fn is_clean(&self) -> bool {
        self.refused.is_empty() && self.unreadable.is_empty() && self.damaged.is_empty()
    }
}

/// The report as people read it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (documents, records) = (counted(self.documents, "document"), counted(self.records, "record"));
        writeln!(f, "dead letters: {documents}, {records} with {}", counted(self.events, "event"))?;
        writeln!(f, "indexed: {} put, {} there already", count(self.put), count(self.known))?;
        for (what, reasons) in [("refused again", &self.refused), ("still unreadable", &self.unreadable)] {
            reasons.iter().try_for_each(|(reason, letters)| writeln!(f, "{what}: {}: {reason}", count(*letters)))?;
        }
        self.damaged.iter().try_for_each(|key| writeln!(f, "damaged: {key}"))
    }
}

impl Redrive {
    /// Sends all letters. `progress` hears how far it has come.
    pub async fn run(&self, mut progress: impl FnMut(&Report)) -> Result<Report, RedriveError> {
        let flight = Arc::new(Flight::new(1, Arc::default()));
        let mut sent = Sent { report: Report::default(), refused: Refused::default(), took_none: 0, flight };
        let (prefix, mut after) = (dead::prefix(&self.settings.stream), String::new());
        loop {
            let page = patiently(|| self.archive.list(&prefix, &after)).await.map_err(RedriveError::Archive)?;
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            for key in &page {
                self.object(key, &mut sent).await?;
                progress(&sent.report);
            }
        }
        let Sent { mut report, mut refused, .. } = sent;
        report.damaged.extend(refused.take());
        if let Some(index) = &self.index {
            index.flush().await.map_err(RedriveError::Index)?;
        }
        Ok(report)
    }

    /// Sends the letters of one object.
    async fn object(&self, key: &str, sent: &mut Sent) -> Result<(), RedriveError> {
        let place = dead::read_key(&self.settings.stream, key);
        if place.as_ref().is_some_and(|(shard, _)| self.shard.as_ref().is_some_and(|wanted| wanted != shard)) {
            return Ok(());
        }
        let object = match patiently(|| self.archive.get(key)).await {
            Ok(object) => object.unwrap_or_default(),
            Err(error) => return sent.refused.note(key, error).map_err(RedriveError::Archive),
        };
        sent.report.damaged.extend(sent.refused.take());
        let Some(((shard, sequence), letters)) = place.zip(dead::read(&object)) else {
            sent.report.damaged.push(key.to_owned());
            return Ok(());
        };
        sent.report.objects += 1;
        let mut items = Vec::new();
        for letter in letters {
            items.extend(self.items(shard, &sequence, &letter, &mut sent.report));
            if items.len() >= DOCUMENTS_MAX {
                self.put(shard, std::mem::take(&mut items), sent).await?;
            }
        }
        self.put(shard, items, sent).await
    }

    /// The documents of a letter.
    fn items(&self, shard: &str, sequence: &SequenceNumber, letter: &DeadLetter, report: &mut Report) -> Vec<Item> {
        if let Some(item) = letter.item() {
            report.documents += 1;
            return vec![item];
        }
        report.records += 1;
        let (Some(data), Some(arrival)) = (letter.data(), letter.arrival) else {
            note(&mut report.unreadable, "the letter holds no document, and no record with its arrival", 1);
            return Vec::new();
        };
        let record = Record { sequence: sequence.clone(), arrival, data };
        let decoder =
            Decoder::new(&self.settings, shard, letter.stream_created.or(self.stream_created), Arc::default());
        let content = decoder.decode_part(record, letter.part).content;
        content.unreadable.iter().for_each(|Unreadable { reason, .. }| note(&mut report.unreadable, reason, 1));
        report.events += content.events.len() as u64;
        let documents = content.events.iter().filter_map(|(_, event)| Document::for_index(event));
        documents.map(|document| Item { index: self.settings.index.of(&document), document }).collect()
    }

    /// Puts documents. Those that are refused again are dead letters already; those that the index fails with are so
    /// as well, although nobody can tell whose fault it is where it takes no others.
    async fn put(&self, shard: &str, items: Vec<Item>, sent: &mut Sent) -> Result<(), RedriveError> {
        let Some(index) = &self.index else { return Ok(()) };
        let meter = Arc::<Meter>::default();
        let bulker = Bulker {
            index: index.clone(),
            archive: self.archive.clone(),
            names: self.settings.index.clone(),
            stream: self.settings.stream.clone(),
            stream_created: self.stream_created,
            shard: shard.to_owned(),
            meter: meter.clone(),
            flight: sent.flight.clone(),
            flush_every: self.settings.flush_every,
            is_patient: false,
        };
        let report = &mut sent.report;
        let count = items.len() as u64;
        match bulker.settle(items).await {
            Ok(refused) => refused.iter().for_each(|letter| note(&mut report.refused, &letter.reason, 1)),
            Err(error @ IndexError::TakesNone) if sent.took_none + 1 < NONE_MAX => {
                sent.took_none += 1;
                note(&mut report.refused, &error.to_string(), count - meter.created() - meter.known());
            }
            Err(error) => return Err(RedriveError::Index(error)),
        }
        if meter.created() + meter.known() > 0 {
            sent.took_none = 0;
        }
        report.put += meter.created();
        report.known += meter.known();
        Ok(())
    }
}

/// What has been sent.
struct Sent {
    report: Report,
    refused: Refused,
    /// How often the index has taken nothing since it took something.
    took_none: usize,
    /// Knows what the index takes, and fails with.
    flight: Arc<Flight>,
}

/// Counts a reason; what is beyond the most that are told apart counts together.
fn note(reasons: &mut BTreeMap<String, u64>, reason: &str, count: u64) {
    let is_known = reasons.contains_key(reason) || reasons.len() < REASONS_MAX;
    let reason = if is_known { reason } else { "other reasons" };
    *reasons.entry(reason.to_owned()).or_default() += count;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::cases::{agents_events, framed};
    use crate::decode::{Content, Decoded};
    use crate::doubles::{MemoryArchive, MemoryIndex};
    use bytes::Bytes;
    use event::Format;
    use tokio::sync::mpsc;

    const ARRIVAL: Millis = 1_794_830_400_000;

    fn settings() -> Settings {
        Settings::new("s", "w".into())
    }

    fn redrive(archive: &Arc<MemoryArchive>, index: &Arc<MemoryIndex>) -> Redrive {
        Redrive {
            archive: archive.clone(),
            index: Some(index.clone()),
            settings: settings(),
            stream_created: Some(7),
            shard: None,
        }
    }

    /// Indexes records as the live path does.
    async fn index(archive: &Arc<MemoryArchive>, index: &Arc<MemoryIndex>, records: Vec<Decoded>) {
        let bulker = Bulker {
            index: index.clone(),
            archive: archive.clone(),
            names: settings().index,
            stream: "s".into(),
            stream_created: Some(7),
            shard: "shard-0".into(),
            meter: Arc::default(),
            flight: Arc::new(Flight::new(1, Arc::default())),
            flush_every: settings().flush_every,
            is_patient: true,
        };
        let (send, input) = mpsc::channel(9);
        for record in records {
            send.send(Arc::new(record)).await.unwrap();
        }
        drop(send);
        bulker.run(input, |_| ()).await.unwrap();
    }

    fn record(number: u64, data: impl Into<Vec<u8>>) -> Record {
        let sequence = SequenceNumber::new(&number.to_string()).unwrap();
        Record { sequence, arrival: ARRIVAL, data: Bytes::from(data.into()) }
    }

    fn decoder() -> Decoder {
        Decoder::new(&settings(), "shard-0", Some(7), Arc::default())
    }

    #[tokio::test]
    async fn letters_are_indexed_once_the_index_takes_them_and_any_number_of_times() {
        let (archive, there) = (Arc::<MemoryArchive>::default(), Arc::<MemoryIndex>::default());
        *there.refuses.lock().unwrap() = Some("union");
        let good = decoder().decode(record(7, framed(&agents_events(Format::Auto))));
        index(&archive, &there, vec![good]).await;
        let letters = archive.keys();
        let refused = redrive(&archive, &there).run(|_| ()).await.unwrap();
        assert_eq!(
            (refused.documents, refused.put, &refused.refused),
            (1, 0, &[("mapper_parsing_exception".into(), 1)].into())
        );
        *there.refuses.lock().unwrap() = None;
        for (put, known) in [(1, 0), (0, 1)] {
            let report = redrive(&archive, &there).run(|_| ()).await.unwrap();
            assert_eq!((report.put, report.known, report.is_clean()), (put, known, true));
        }
        let whole = Arc::<MemoryIndex>::default();
        index(&archive, &whole, vec![decoder().decode(record(7, framed(&agents_events(Format::Auto))))]).await;
        assert_eq!(there.contents(), whole.contents());
        assert_eq!(archive.keys(), letters, "letters stay, and no others come");
    }

    #[tokio::test]
    async fn a_record_that_this_version_can_read_is_indexed_as_if_it_came_now() {
        let (archive, there) = (Arc::<MemoryArchive>::default(), Arc::<MemoryIndex>::default());
        let older = |number, data: &[u8], part| {
            let unreadable = Unreadable { data: Bytes::from(data.to_vec()), reason: "newer schema".into(), part };
            let content = Content { unreadable: vec![unreadable], ..Content::default() };
            Decoded { sequence: record(number, "").sequence, arrival: ARRIVAL, content }
        };
        let frame = framed(&agents_events(Format::Auto));
        let records = vec![older(7, &frame, None), older(8, b"a line of others", Some(2)), older(9, b"\xff\x00", None)];
        index(&archive, &there, records).await;
        let report = redrive(&archive, &there).run(|_| ()).await.unwrap();
        assert_eq!((report.records, report.events, report.put), (3, 7, 7));
        let told = report.to_string();
        let expected = "dead letters: 0 documents, 3 records with 7 events\n\
                        indexed: 7 put, 0 there already\n\
                        still unreadable: 1: the record is no frame, no KPL aggregate and no text in UTF-8, packed or not\n";
        assert_eq!(told, expected);
        let whole = Arc::<MemoryIndex>::default();
        let now =
            vec![decoder().decode(record(7, frame)), decoder().decode_part(record(8, "a line of others"), Some(2))];
        index(&archive, &whole, now).await;
        assert_eq!(there.contents(), whole.contents());
    }

    #[tokio::test(start_paused = true)]
    async fn letters_that_the_index_fails_with_again_keep_no_others_from_it() {
        let (archive, there) = (Arc::<MemoryArchive>::default(), Arc::<MemoryIndex>::default());
        *there.refuses.lock().unwrap() = Some("line");
        for (number, data) in [(7, "a line that fails"), (8, "a line of others"), (9, "another line that fails")] {
            index(&archive, &there, vec![decoder().decode(record(number, data))]).await;
        }
        *there.refuses.lock().unwrap() = None;
        *there.fails.lock().unwrap() = Some("fails");
        let report = redrive(&archive, &there).run(|_| ()).await.unwrap();
        assert_eq!((report.documents, report.put), (3, 1));
        let reasons = ["null_pointer_exception", "the index takes none of the documents"];
        assert_eq!(report.refused, reasons.map(|reason| (reason.to_owned(), 1)).into());
        *there.fails.lock().unwrap() = None;
        assert_eq!(redrive(&archive, &there).run(|_| ()).await.unwrap().put, 2);
    }

    #[tokio::test]
    async fn lines_of_others_keep_their_ids_when_their_stream_was_made_anew_since() {
        let (archive, there) = (Arc::<MemoryArchive>::default(), Arc::<MemoryIndex>::default());
        let unreadable =
            || Unreadable { data: Bytes::from("a line of others"), reason: "an example".into(), part: None };
        let content = Content { unreadable: vec![unreadable()], ..Content::default() };
        index(&archive, &there, vec![Decoded { sequence: record(7, "").sequence, arrival: ARRIVAL, content }]).await;
        let ids = |there: &MemoryIndex| there.contents().into_keys().map(|(_, id)| id).collect::<Vec<_>>();
        let as_it_came = |created: Millis| {
            let decoder = Decoder::new(&settings(), "shard-0", Some(created), Arc::default());
            vec![decoder.decode(record(7, "a line of others")).content.events[0].0]
        };
        let anew = Redrive { stream_created: Some(8), ..redrive(&archive, &there) };
        anew.run(|_| ()).await.unwrap();
        assert_eq!(ids(&there), as_it_came(7));
        // A letter of a version that did not note it.
        let (archive, there) = (Arc::<MemoryArchive>::default(), Arc::<MemoryIndex>::default());
        let old = DeadLetter::record(&unreadable(), ARRIVAL, None);
        dead::keep(&*archive, ("s", "shard-0"), &record(7, "").sequence, 0, &[old]).await.unwrap();
        let anew = Redrive { stream_created: Some(8), ..redrive(&archive, &there) };
        anew.run(|_| ()).await.unwrap();
        assert_eq!(ids(&there), as_it_came(8));
    }

    #[tokio::test]
    async fn only_letters_of_the_wanted_shard_are_sent_and_a_damaged_object_stops_nobody() {
        let (archive, there) = (Arc::<MemoryArchive>::default(), Arc::<MemoryIndex>::default());
        *there.refuses.lock().unwrap() = Some("union");
        index(&archive, &there, vec![decoder().decode(record(7, framed(&agents_events(Format::Auto))))]).await;
        *there.refuses.lock().unwrap() = None;
        let other = Redrive { shard: Some("shard-1".into()), ..redrive(&archive, &there) };
        assert_eq!(other.run(|_| ()).await.unwrap(), Report::default());
        let key = "dead-letter/s/shard-0/001-1-1.ndjson.gz".to_owned();
        let bytes = Bytes::from_static(b"junk");
        archive.put(crate::archive::Object { key: key.clone(), bytes, metadata: Default::default() });
        let cold = "dead-letter/s/shard-0/001-2-1.ndjson.gz".to_owned();
        archive.put(crate::archive::Object { key: cold.clone(), bytes: Bytes::new(), metadata: Default::default() });
        archive.refuses.lock().unwrap().insert(cold.clone());
        let report = redrive(&archive, &there).run(|_| ()).await.unwrap();
        assert_eq!((report.put, report.damaged), (1, vec![key, cold]));
        archive.refuses.lock().unwrap().extend((1..9).map(|n| format!("dead-letter/s/shard-0/001-{n}-1.ndjson.gz")));
        for number in 1..9 {
            let key = format!("dead-letter/s/shard-0/001-{number}-1.ndjson.gz");
            archive.put(crate::archive::Object { key, bytes: Bytes::new(), metadata: Default::default() });
        }
        let ended = redrive(&archive, &there).run(|_| ()).await;
        assert!(matches!(ended, Err(RedriveError::Archive(_))), "it refuses all of them");
    }
}
