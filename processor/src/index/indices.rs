//! What is known of each index: when it took a document last, and since when it takes none.
//!
//! Where documents fail, the document, its index or the whole cluster may be the cause. What was
//! taken meanwhile tells. So documents that failed before are put together with witnesses, which are
//! documents that are there already.

use super::Item;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// For how long documents wait for an index that is blocked, closed, missing or red. After that they
/// are dead letters at once, until it takes one again, or has got none for ten minutes.
pub const TROUBLE_MAX: Duration = Duration::from_secs(120);

/// For so long something is known of an index that no document asks for.
const PAST: Duration = Duration::from_secs(600);

/// Indices that are told apart.
const KNOWN_MAX: usize = 1_000;

/// Bytes of a document that is kept as a witness: most have fewer.
const WITNESS_BYTES_MAX: usize = 8 << 10;

/// Witnesses of other indices: some of these may be in trouble themselves.
const OTHERS: usize = 5;

/// Who is to blame for a document that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its index takes others.
    Document,
    /// Other indices take documents.
    Index,
    /// Nothing is taken.
    Cluster,
}

/// All indices that documents were put into.
#[derive(Debug, Default)]
pub struct Indices {
    known: BTreeMap<String, Known>,
    /// When any of them took a document last.
    taken: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    /// When something was learnt of it last.
    seen: Instant,
    taken: Option<Instant>,
    /// It takes no documents.
    trouble: Option<Trouble>,
    /// It takes documents, and not those of a shard that is away.
    shard_trouble: Option<Trouble>,
    /// A document that it has.
    witness: Option<Item>,
}

/// Something is wrong with an index.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// When a document found it so last.
    seen: Instant,
}

impl Trouble {
    /// Notes that a document finds it so. Gives for how long it is known to be so.
    fn seen(trouble: &mut Option<Trouble>, now: Instant) -> Duration {
        let trouble = trouble.get_or_insert(Trouble { since: now, seen: now });
        if now - trouble.seen >= PAST {
            // Nobody knows how it was meanwhile.
            trouble.since = now;
        }
        trouble.seen = now;
        now - trouble.since
    }
}

impl Indices {
    /// Notes that an index has taken a document.
    pub fn took(&mut self, item: Item, now: Instant) {
        self.taken = Some(now);
        if let Some(known) = self.of(&item.index, now) {
            (known.taken, known.trouble) = (Some(now), None);
            if item.document.body.len() <= WITNESS_BYTES_MAX {
                known.witness = Some(item);
            }
        }
    }

    /// For how long it is known that an index takes no documents, as another one has just found.
    pub fn takes_none_for(&mut self, index: &str, now: Instant) -> Duration {
        self.of(index, now).map_or(Duration::MAX, |known| Trouble::seen(&mut known.trouble, now))
    }

    /// For how long it is known that a shard of an index is away, while others take documents.
    pub fn lacks_a_shard_for(&mut self, index: &str, now: Instant) -> Duration {
        self.of(index, now).map_or(Duration::MAX, |known| Trouble::seen(&mut known.shard_trouble, now))
    }

    /// Notes that an index has taken a document whose shard was away.
    pub fn has_its_shard_back(&mut self, index: &str) {
        if let Some(known) = self.known.get_mut(index) {
            known.shard_trouble = None;
        }
    }

    /// Who is to blame for a document that was put at `begun` and failed. While nothing is taken,
    /// nobody knows anything of its index.
    pub fn fault(&mut self, index: &str, begun: Instant) -> Fault {
        let is_since = |taken: Option<Instant>| taken.is_some_and(|taken| taken >= begun);
        let known = self.known.get_mut(index);
        if known.as_ref().is_some_and(|known| is_since(known.taken)) {
            return Fault::Document;
        }
        if is_since(self.taken) {
            return Fault::Index;
        }
        if let Some(known) = known {
            (known.trouble, known.shard_trouble) = (None, None);
        }
        Fault::Cluster
    }

    /// Whether an index that `items` are for is known to be in trouble.
    pub fn are_in_trouble(&self, items: &[Item]) -> bool {
        let troubled: BTreeSet<&str> = self
            .known
            .iter()
            .filter(|(_, known)| known.trouble.is_some() || known.shard_trouble.is_some())
            .map(|(index, _)| index.as_str())
            .collect();
        !troubled.is_empty() && items.iter().any(|item| troubled.contains(item.index.as_str()))
    }

    /// Documents that are there already: one of each index that `items` are for, and one of each of
    /// the others that took something last. To put one again changes nothing.
    pub fn witnesses(&self, items: &[Item]) -> Vec<Item> {
        let asked: BTreeSet<&str> = items.iter().map(|item| item.index.as_str()).collect();
        let own = asked.iter().filter_map(|index| self.known.get(*index)?.witness.clone());
        let others = self.known.iter().filter(|(index, _)| !asked.contains(index.as_str()));
        let mut others: Vec<_> = others.filter_map(|(_, known)| Some((known.taken, known.witness.as_ref()?))).collect();
        others.sort_by_key(|(taken, _)| Reverse(*taken));
        own.chain(others.into_iter().take(OTHERS).map(|(_, item)| item.clone())).collect()
    }

    /// What is known of an index, of which something is learnt now; `None` where there are too many.
    fn of(&mut self, index: &str, now: Instant) -> Option<&mut Known> {
        if !self.known.contains_key(index) {
            if self.known.len() >= KNOWN_MAX {
                self.known.retain(|_, known| now - known.seen < PAST);
            }
            if self.known.len() >= KNOWN_MAX {
                return None;
            }
            let known = Known { seen: now, taken: None, trouble: None, shard_trouble: None, witness: None };
            self.known.insert(index.to_owned(), known);
        }
        let known = self.known.get_mut(index)?;
        known.seen = now;
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Document, EventId};

    fn item(index: &str, number: u8) -> Item {
        let id = EventId([number; 16]);
        let document = Document { id, day: None, revision: None, ruleset: None, body: b"{}".to_vec() };
        Item { index: index.to_owned(), document }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_index_in_trouble_is_waited_for_once() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        assert!(indices.takes_none_for("a", begun) < TROUBLE_MAX);
        let now = begun + TROUBLE_MAX;
        assert!(indices.takes_none_for("a", now) >= TROUBLE_MAX);
        assert!(indices.takes_none_for("b", now) < TROUBLE_MAX);
        indices.took(item("a", 1), now);
        assert!(indices.takes_none_for("a", now) < TROUBLE_MAX);
    }

    #[test]
    fn an_index_whose_trouble_nobody_has_seen_for_long_is_waited_for_again() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        assert!(indices.takes_none_for("a", begun) < TROUBLE_MAX);
        // It got no documents for a day, so nobody has noted that it works again.
        let day = begun + Duration::from_secs(86_400);
        assert!(indices.takes_none_for("a", day) < TROUBLE_MAX);
        assert!(indices.takes_none_for("a", day + TROUBLE_MAX - SECOND) < TROUBLE_MAX);
        assert!(
            indices.takes_none_for("a", day + TROUBLE_MAX) >= TROUBLE_MAX,
            "as long as the first time, and no longer"
        );
    }

    #[test]
    fn indices_of_which_nothing_was_heard_for_long_are_not_counted() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        (0..KNOWN_MAX).for_each(|at| assert!(indices.takes_none_for(&at.to_string(), begun) < TROUBLE_MAX));
        assert!(indices.takes_none_for("a", begun) >= TROUBLE_MAX);
        assert!(indices.takes_none_for("a", begun + Duration::from_secs(86_400)) < TROUBLE_MAX);
    }

    #[test]
    fn who_is_to_blame_is_told_by_what_was_taken_since_the_document_was_put() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        indices.took(item("a", 1), begun);
        let put = begun + SECOND;
        assert_eq!(indices.fault("a", put), Fault::Cluster, "what was taken before tells nothing");
        indices.took(item("b", 2), put + SECOND);
        assert_eq!(indices.fault("a", put), Fault::Index);
        assert_eq!(indices.fault("c", put), Fault::Index, "a new index is one, too");
        indices.took(item("a", 1), put + SECOND);
        assert_eq!(indices.fault("a", put), Fault::Document);
    }

    #[test]
    fn an_outage_of_the_cluster_does_not_count_as_trouble_of_an_index() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        assert!(indices.takes_none_for("a", begun) < TROUBLE_MAX);
        assert_eq!(indices.fault("a", begun), Fault::Cluster);
        assert!(indices.takes_none_for("a", begun + TROUBLE_MAX) < TROUBLE_MAX);
    }

    #[test]
    fn a_shard_that_is_away_is_known_of_until_a_document_of_it_is_taken() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        assert!(indices.lacks_a_shard_for("a", begun) < TROUBLE_MAX);
        indices.took(item("a", 1), begun + SECOND);
        assert!(indices.lacks_a_shard_for("a", begun + TROUBLE_MAX) >= TROUBLE_MAX, "its other shards take documents");
        indices.has_its_shard_back("a");
        assert!(indices.lacks_a_shard_for("a", begun + TROUBLE_MAX) < TROUBLE_MAX);
    }

    #[test]
    fn witnesses_are_of_the_same_index_and_of_those_that_took_something_last() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        assert_eq!(indices.witnesses(&[item("a", 9)]), []);
        for (at, index) in ["a", "b", "c"].into_iter().enumerate() {
            indices.took(item(index, at as u8), begun + SECOND * at as u32);
        }
        assert_eq!(indices.witnesses(&[item("a", 8), item("a", 9)]), [item("a", 0), item("c", 2), item("b", 1)]);
        assert_eq!(indices.witnesses(&[item("d", 9)])[0], item("c", 2));
        let large = Document { body: vec![b' '; WITNESS_BYTES_MAX + 1], ..item("c", 7).document };
        indices.took(Item { index: "c".to_owned(), document: large }, begun + SECOND * 9);
        assert_eq!(indices.witnesses(&[item("d", 9)])[0], item("c", 2), "a large one is not kept");
        (10..30).for_each(|at| indices.took(item(&at.to_string(), at), begun));
        assert_eq!(indices.witnesses(&[item("d", 9)]).len(), OTHERS);
    }
}
