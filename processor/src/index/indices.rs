//! What is known of each index: when it took a document last, and since when it takes none.
//!
//! Where documents fail, the document, its index or the whole cluster may be the cause. What was
//! taken meanwhile tells. So documents that failed before are put together with witnesses, which are
//! documents that are there already.

use super::Item;
use event::Document;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// For how long documents wait for an index that is blocked, closed or missing. After that they
/// are dead letters at once, until it takes one again, or has got none for ten minutes.
pub const TROUBLE_MAX: Duration = Duration::from_secs(120);

/// For how long they wait for one that is red, or a shard of which is away: as long as a node may need that starts
/// again, and whose indices come back one by one.
pub const RED_MAX: Duration = Duration::from_secs(300);

/// How often a document finds out whether an index that has been red for longer still is. All others are dead
/// letters without being put, as OpenSearch lets the whole request wait for each such index.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// For so long something is known of an index that no document asks for.
const PAST: Duration = Duration::from_secs(600);

/// For so long is known of an index that one of its shards is away, while no document finds it so.
const SHARD_PAST: Duration = Duration::from_secs(30);

/// Witnesses of one request.
const WITNESSES_MAX: usize = 16;

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

impl Known {
    fn is_in_trouble(&self, now: Instant) -> bool {
        let is = |trouble: &Option<Trouble>, past| trouble.as_ref().is_some_and(|trouble| now - trouble.seen < past);
        is(&self.trouble, PAST) || is(&self.shard_trouble, SHARD_PAST)
    }
}

/// Something is wrong with an index.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// When a document found it so last.
    seen: Instant,
}

impl Trouble {
    /// Notes that a document finds it so. Gives for how long it is known to be so. What nobody has seen for `past` is
    /// forgotten.
    fn seen(trouble: &mut Option<Trouble>, now: Instant, past: Duration) -> Duration {
        let trouble = trouble.get_or_insert(Trouble { since: now, seen: now });
        if now - trouble.seen >= past {
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
        if let Some(known) = self.works(&item.index, now) {
            let Document { revision, ruleset, body, .. } = &item.document;
            // What has a version would be written again.
            if revision.is_none() && ruleset.is_none() && body.len() <= WITNESS_BYTES_MAX {
                known.witness = Some(item);
            }
        }
    }

    /// Notes that an index has, or has not, a document that it was known to have. Who deletes an index, or
    /// a document, does not want it to come back again and again.
    pub fn heard(&mut self, witness: &Item, was_there: bool, now: Instant) {
        if let Some(known) = self.works(&witness.index, now).filter(|_| !was_there) {
            known.witness = None;
        }
    }

    /// For how long it is known that an index takes no documents, as another one has just found.
    pub fn takes_none_for(&mut self, index: &str, now: Instant) -> Duration {
        self.of(index, now).map_or(Duration::ZERO, |known| Trouble::seen(&mut known.trouble, now, PAST))
    }

    /// For how long it is known that a shard of an index is away, while others take documents.
    pub fn lacks_a_shard_for(&mut self, index: &str, now: Instant) -> Duration {
        self.of(index, now).map_or(Duration::ZERO, |known| Trouble::seen(&mut known.shard_trouble, now, SHARD_PAST))
    }

    /// For how long an index is known to take no documents, if that is too long for another one to ask.
    pub fn is_past_asking(&self, index: &str, now: Instant) -> Option<Duration> {
        let trouble = self.known.get(index)?.trouble.as_ref()?;
        (now - trouble.since >= RED_MAX && now - trouble.seen < PROBE_EVERY).then_some(now - trouble.since)
    }

    /// Whether any index is in trouble.
    pub fn is_any_in_trouble(&self, now: Instant) -> bool {
        self.known.values().any(|known| known.is_in_trouble(now))
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
    pub fn are_in_trouble(&self, items: &[Item], now: Instant) -> bool {
        let troubled: BTreeSet<&str> =
            self.known.iter().filter(|(_, known)| known.is_in_trouble(now)).map(|(index, _)| index.as_str()).collect();
        !troubled.is_empty() && items.iter().any(|item| troubled.contains(item.index.as_str()))
    }

    /// Documents that are there already: one of each index that `items` are for, and one of each of
    /// the others that took something last. To put one again changes nothing, while it is there.
    pub fn witnesses(&self, items: &[Item], now: Instant) -> Vec<Item> {
        let asked: BTreeSet<&str> = items.iter().map(|item| item.index.as_str()).collect();
        let own = asked.iter().filter_map(|index| self.known.get(*index)?.witness.clone());
        let others = self.known.iter().filter(|(index, _)| !asked.contains(index.as_str()));
        let others = others.filter(|(_, known)| known.taken.is_some_and(|taken| now - taken < PAST));
        let mut others: Vec<_> = others.filter_map(|(_, known)| Some((known.taken, known.witness.as_ref()?))).collect();
        others.sort_by_key(|(taken, _)| Reverse(*taken));
        let others = others.into_iter().take(OTHERS).map(|(_, item)| item.clone());
        others.chain(own).take(WITNESSES_MAX).collect()
    }

    /// Notes that an index takes documents.
    fn works(&mut self, index: &str, now: Instant) -> Option<&mut Known> {
        self.taken = Some(now);
        let known = self.of(index, now)?;
        (known.taken, known.trouble) = (Some(now), None);
        Some(known)
    }

    /// What is known of an index, of which something is learnt now; `None` where too many are in trouble.
    fn of(&mut self, index: &str, now: Instant) -> Option<&mut Known> {
        if !self.known.contains_key(index) {
            if self.known.len() >= KNOWN_MAX {
                let well = self.known.iter().filter(|(_, known)| !known.is_in_trouble(now));
                let oldest = well.min_by_key(|(_, known)| known.seen).map(|(index, _)| index.clone())?;
                self.known.remove(&oldest);
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
    use event::EventId;

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
    fn of_too_many_indices_the_one_that_is_well_and_was_heard_of_longest_ago_is_forgotten() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        indices.took(item("well", 1), begun);
        indices.took(item("newer", 2), begun + SECOND);
        let now = begun + 2 * SECOND;
        (2..KNOWN_MAX).for_each(|at| _ = indices.takes_none_for(&at.to_string(), now));
        assert_eq!(indices.takes_none_for("a", now), Duration::ZERO);
        assert_eq!(indices.witnesses(&[], now), [item("newer", 2)]);
        _ = indices.takes_none_for("b", now);
        let later = now + TROUBLE_MAX;
        assert_eq!(indices.takes_none_for("c", later), Duration::ZERO, "there is no room, and it is waited for");
        assert_eq!(indices.takes_none_for("a", later), TROUBLE_MAX);
        assert_eq!(indices.takes_none_for("c", later + PAST), Duration::ZERO);
        assert_eq!(indices.takes_none_for("c", later + PAST + SECOND), SECOND, "trouble of long ago gives room");
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
    fn a_shard_that_is_away_is_known_of_until_no_document_finds_it_so() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        for second in (0..RED_MAX.as_secs()).step_by(10) {
            assert_eq!(
                indices.lacks_a_shard_for("a", begun + Duration::from_secs(second)),
                Duration::from_secs(second)
            );
            indices.took(item("a", 1), begun + Duration::from_secs(second));
        }
        let now = begun + RED_MAX;
        assert!(indices.are_in_trouble(&[item("a", 2)], now) && !indices.are_in_trouble(&[item("b", 2)], now));
        assert!(!indices.are_in_trouble(&[item("a", 2)], now + SHARD_PAST));
        assert_eq!(indices.lacks_a_shard_for("a", now + SHARD_PAST), Duration::ZERO, "another time");
    }

    #[test]
    fn an_index_that_has_been_red_for_long_is_asked_now_and_then() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        _ = indices.takes_none_for("a", begun);
        let now = begun + RED_MAX - SECOND;
        _ = indices.takes_none_for("a", now);
        assert_eq!(indices.is_past_asking("a", now), None);
        assert_eq!(indices.is_past_asking("a", now + SECOND), Some(RED_MAX));
        assert_eq!(indices.is_past_asking("a", now + PROBE_EVERY), None, "somebody finds out");
        _ = indices.takes_none_for("a", now + PROBE_EVERY);
        assert!(indices.is_past_asking("a", now + PROBE_EVERY).is_some());
        indices.took(item("a", 1), now + PROBE_EVERY);
        assert_eq!(indices.is_past_asking("a", now + PROBE_EVERY), None);
    }

    #[test]
    fn witnesses_are_of_the_same_index_and_of_those_that_took_something_last() {
        let (mut indices, begun) = (Indices::default(), Instant::now());
        let now = begun + 9 * SECOND;
        assert_eq!(indices.witnesses(&[item("a", 9)], now), []);
        for (at, index) in ["a", "b", "c"].into_iter().enumerate() {
            indices.took(item(index, at as u8), begun + SECOND * at as u32);
        }
        let both = [item("a", 8), item("a", 9)];
        assert_eq!(indices.witnesses(&both, now), [item("c", 2), item("b", 1), item("a", 0)]);
        let later = begun + PAST + SECOND;
        assert_eq!(
            indices.witnesses(&both, later),
            [item("c", 2), item("a", 0)],
            "others are asked while they are in use"
        );
        let large = Document { body: vec![b' '; WITNESS_BYTES_MAX + 1], ..item("c", 7).document };
        let incident = Document { revision: Some(1), ..item("c", 7).document };
        for document in [large, incident] {
            indices.took(Item { index: "c".to_owned(), document }, now);
            assert_eq!(indices.witnesses(&[], now)[0], item("c", 2), "no large one, and none that would be written");
        }
        indices.heard(&item("c", 2), true, now);
        assert_eq!(indices.witnesses(&[], now)[0], item("c", 2));
        indices.heard(&item("c", 2), false, now);
        assert_eq!(indices.witnesses(&[], now)[0], item("b", 1), "it was deleted");
        (10..40).for_each(|at| indices.took(item(&at.to_string(), at), begun));
        assert_eq!(indices.witnesses(&[item("d", 9)], now).len(), OTHERS);
        let asked: Vec<_> = (10..40).map(|at| item(&at.to_string(), 50)).collect();
        assert_eq!(indices.witnesses(&asked, now).len(), WITNESSES_MAX);
    }
}
