//! Is a shard's chain whole? Decided from what its objects say about themselves.
//!
//! Sequence numbers have holes, so an object that is gone leaves none of its own. But each
//! object names the record that it follows, and that must be the last one of another.

use crate::leases::{Checkpoint, Lease};
use crate::receive::SequenceNumber;
use event::Millis;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Objects that are held back: their keys come by hour of arrival, and those of a chain may
/// change places there where an hour ends.
const WAITING: usize = 1_000;

/// What an object says about its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub key: String,
    /// The last record of the object that it follows.
    pub prev: Option<SequenceNumber>,
    pub first: SequenceNumber,
    pub last: SequenceNumber,
    /// Arrival of the last record.
    pub last_arrival: Millis,
    /// Whether it says that the shard ends with it.
    pub is_final: bool,
    /// When the stream was made, where it tells that.
    pub stream_created: Option<Millis>,
}

impl Head {
    /// Whether it may be of the stream that was made then.
    pub fn may_be_of(&self, stream_created: Option<Millis>) -> bool {
        self.stream_created.zip(stream_created).is_none_or(|(own, other)| own == other)
    }
}

/// Something that is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// Records are in no object.
    Missing {
        shard: String,
        /// They come behind this one; `None` is the beginning of the shard.
        after: Option<SequenceNumber>,
        /// When it arrived.
        since: Option<Millis>,
        /// The last one that is missing; `None` where only its arrival is known.
        through: Option<SequenceNumber>,
        until: Option<Millis>,
        /// The object behind them.
        next: Option<String>,
    },
    /// An object has no place in the chain.
    Added { key: String, why: String },
    /// An object is not what it says, or not as it was written.
    Altered { key: String, why: String },
    /// An object cannot be opened, so nothing is known of it.
    Unopened { key: String, why: String },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Missing { shard, after, since, through, until, next } => {
                let at = |at: &Millis| event::time::rfc3339(*at);
                let of = |arrival: &Option<Millis>| arrival.as_ref().map(|of| format!(" (of {})", at(of)));
                write!(
                    f,
                    "missing   {shard}: what follows {}{}",
                    place(after.as_ref()),
                    of(since).unwrap_or_default()
                )?;
                match (through, until) {
                    (Some(record), _) => write!(f, ", up to record {record}{}", of(until).unwrap_or_default())?,
                    (None, Some(until)) => write!(f, ", up to {}", at(until))?,
                    (None, None) => {}
                }
                match next {
                    Some(key) => write!(f, ", is in no object; {key} comes next"),
                    None => f.write_str(", is in no object; the lease says that it was archived"),
                }
            }
            Finding::Added { key, why } => write!(f, "added     {key}: {why}"),
            Finding::Altered { key, why } => write!(f, "altered   {key}: {why}"),
            Finding::Unopened { key, why } => write!(f, "unopened  {key}: {why}"),
        }
    }
}

fn place(record: Option<&SequenceNumber>) -> String {
    record.map_or_else(|| "the beginning".to_owned(), |record| format!("record {record}"))
}

/// Where a lease says that a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promised {
    /// With this record, or behind it; `None` where the shard was read to its end, and its row
    /// does not tell the last record any more.
    pub record: Option<SequenceNumber>,
    /// When the last record arrived.
    pub arrival: Option<Millis>,
}

impl Promised {
    /// What a row says; `None` where nothing of the shard has been archived yet.
    pub fn by(lease: &Lease) -> Option<Promised> {
        let arrival = lease.checkpoint_arrival;
        match &lease.checkpoint {
            Checkpoint::At(record) => Some(Promised { record: Some(record.clone()), arrival }),
            Checkpoint::ShardEnd => Some(Promised { record: None, arrival }),
            Checkpoint::TrimHorizon | Checkpoint::AtTimestamp(_) => None,
        }
    }

    /// Whether a chain that ends there is shorter.
    fn is_beyond(&self, end: &End) -> bool {
        match &self.record {
            Some(record) => end.record.as_ref() < Some(record),
            // The last object of a shard that held records says that it is the last.
            None => end.arrival < self.arrival || self.arrival.is_some() && !end.is_final,
        }
    }
}

/// The end of a chain, as far as it has been walked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct End {
    record: Option<SequenceNumber>,
    arrival: Option<Millis>,
    /// The object that it is the end of.
    key: Option<String>,
    /// What that object follows.
    after: Option<SequenceNumber>,
    /// Whether it says that nothing follows, but for what is of a stream that was made anew.
    is_final: bool,
    stream_created: Option<Millis>,
}

/// A walk along the chain of one shard.
#[derive(Debug)]
pub struct Walk {
    shard: String,
    /// `None` until the first object says where a part of a chain begins.
    end: Option<End>,
    /// Objects by what they follow.
    waiting: BTreeMap<(Option<SequenceNumber>, String), Head>,
}

impl Walk {
    /// A walk from the shard's beginning on; or, for a part of the chain, from wherever its
    /// first object begins.
    pub fn new(shard: &str, is_part: bool) -> Walk {
        Walk { shard: shard.to_owned(), end: (!is_part).then(End::default), waiting: BTreeMap::new() }
    }

    /// Takes the next object.
    pub fn push(&mut self, head: Head, found: &mut Vec<Finding>) {
        self.waiting.insert((head.prev.clone(), head.key.clone()), head);
        if self.waiting.len() > 2 * WAITING {
            self.settle(WAITING, found);
        }
    }

    /// All objects have come. `promised` is where the lease says that the chain ends.
    pub fn finish(mut self, promised: Option<&Promised>, found: &mut Vec<Finding>) {
        self.settle(0, found);
        let end = self.end.unwrap_or_default();
        let Some(promised) = promised.filter(|promised| promised.is_beyond(&end)) else { return };
        let (through, until) = (promised.record.clone(), promised.arrival);
        let (after, since) = (end.record, end.arrival);
        found.push(Finding::Missing { shard: self.shard, after, since, through, until, next: None });
    }

    /// Walks on until so many objects are left.
    fn settle(&mut self, left: usize, found: &mut Vec<Finding>) {
        while self.waiting.len() > left {
            let Some((prev, key)) = self.waiting.keys().next().cloned() else { return };
            let end = self.end.get_or_insert_with(|| End { record: prev.clone(), ..End::default() });
            if prev < end.record {
                let why = end.refusal(prev.as_ref());
                self.waiting.remove(&(prev, key.clone()));
                found.push(Finding::Added { key, why });
            } else if prev == end.record {
                let key = self.follower(&prev).unwrap_or(key);
                let head = self.waiting.remove(&(prev, key)).expect("the follower is one of those that wait");
                found.extend(self.take(head));
            } else {
                let (after, since) = (end.record.take(), end.arrival.take());
                *end = End { record: prev.clone(), ..End::default() };
                let (shard, next) = (self.shard.clone(), Some(key));
                found.push(Finding::Missing { shard, after, since, through: prev, until: None, next });
            }
        }
    }

    /// Of objects that follow one record the one on which the chain goes on.
    fn follower(&self, prev: &Option<SequenceNumber>) -> Option<String> {
        let from = (prev.clone(), String::new());
        let mut followers = self.waiting.range(from..).take_while(|((of, _), _)| of == prev).map(|(_, head)| head);
        followers.find(|head| self.goes_on(&head.last)).map(|head| head.key.clone())
    }

    fn goes_on(&self, last: &SequenceNumber) -> bool {
        let place = Some(last.clone());
        self.waiting.range((place.clone(), String::new())..).next().is_some_and(|((prev, _), _)| *prev == place)
    }

    /// Appends the object that follows.
    fn take(&mut self, head: Head) -> Option<Finding> {
        if head.prev.as_ref().is_some_and(|prev| head.first <= *prev) || head.last < head.first {
            let why = format!(
                "it follows {} and says that it holds {} to {}",
                place(head.prev.as_ref()),
                head.first,
                head.last
            );
            return Some(Finding::Added { key: head.key, why });
        }
        let ended = self.end.as_ref().filter(|end| end.is_final && head.may_be_of(end.stream_created));
        if let Some(end) = ended.and_then(|end| end.key.as_ref()) {
            let why = format!("it follows {end}, which says that its shard ends there");
            return Some(Finding::Added { key: head.key, why });
        }
        let (record, arrival) = (Some(head.last), Some(head.last_arrival));
        let Head { key, prev: after, is_final, stream_created, .. } = head;
        self.end = Some(End { record, arrival, key: Some(key), after, is_final, stream_created });
        None
    }
}

impl End {
    /// Why an object that follows `prev` has no place.
    fn refusal(&self, prev: Option<&SequenceNumber>) -> String {
        match &self.key {
            Some(key) if self.after.as_ref() == prev => format!("it follows {}, as {key} does", place(prev)),
            _ => format!("it follows {}, with which no object ends", place(prev)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    fn number(number: u64) -> SequenceNumber {
        SequenceNumber::new(&number.to_string()).unwrap()
    }

    fn head(key: impl Into<String>, prev: u64, first: u64, last: u64) -> Head {
        let prev = (prev > 0).then(|| number(prev));
        Head {
            key: key.into(),
            prev,
            first: number(first),
            last: number(last),
            last_arrival: last as Millis,
            is_final: false,
            stream_created: None,
        }
    }

    fn walked(heads: &[Head], is_part: bool, promised: Option<u64>) -> Vec<Finding> {
        let (mut walk, mut found) = (Walk::new("shard-0", is_part), Vec::new());
        heads.iter().for_each(|head| walk.push(head.clone(), &mut found));
        let promised = promised.map(|record| Promised { record: Some(number(record)), arrival: None });
        walk.finish(promised.as_ref(), &mut found);
        found
    }

    fn texts(found: &[Finding]) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    fn chain() -> Vec<Head> {
        vec![head("a", 0, 3, 5), head("b", 5, 9, 9), head("c", 9, 10, 20), head("d", 20, 21, 30)]
    }

    #[test]
    fn a_whole_chain_is_found_to_be_whole_in_whatever_order_its_keys_come() {
        let mut heads = chain();
        heads.swap(1, 2);
        assert_eq!(walked(&heads, false, Some(30)), []);
        assert_eq!(walked(&chain(), false, Some(20)), [], "a row may be behind its archive");
        assert_eq!(walked(&chain()[2..], true, None), [], "a part begins where it begins");
        assert_eq!(walked(&[], false, None), []);
    }

    #[test]
    fn a_removed_object_is_told_by_its_neighbours() {
        let without = |at: usize| {
            let mut heads = chain();
            heads.remove(at);
            texts(&walked(&heads, false, Some(30)))
        };
        let told = "missing   shard-0: what follows record 5 (of 1970-01-01T00:00:00.005Z), up to record 9, is in no object; c comes next";
        assert_eq!(without(1), [told]);
        let told = "missing   shard-0: what follows the beginning, up to record 5, is in no object; b comes next";
        assert_eq!(without(0), [told]);
        let told = "missing   shard-0: what follows record 20 (of 1970-01-01T00:00:00.020Z), up to record 30, is in no object; the lease says that it was archived";
        assert_eq!(without(3), [told]);
    }

    #[test]
    fn the_end_of_a_shard_that_is_read_to_its_end_is_told_by_its_arrival_and_its_last_object() {
        let told = |arrival, has_last: bool| {
            let (mut walk, mut found) = (Walk::new("shard-0", false), Vec::new());
            let last = Head { is_final: true, ..head("z", 30, 31, 31) };
            let last = has_last.then_some(Head { last_arrival: 30, ..last });
            chain().into_iter().chain(last).for_each(|head| walk.push(head, &mut found));
            walk.finish(Some(&Promised { record: None, arrival }), &mut found);
            texts(&found)
        };
        assert_eq!(told(Some(30), true), [""; 0]);
        assert_eq!(told(None, false), [""; 0], "a shard without a record has no object");
        assert_eq!(told(Some(30), false).len(), 1, "the object that says that nothing follows is gone");
        let expected = "missing   shard-0: what follows record 31 (of 1970-01-01T00:00:00.030Z), up to 1970-01-01T00:00:00.031Z, is in no object; the lease says that it was archived";
        assert_eq!(told(Some(31), true), [expected]);
    }

    #[test]
    fn an_added_object_is_named_with_the_one_whose_place_it_takes() {
        let with = |added: Head| {
            let mut heads = chain();
            heads.push(added);
            texts(&walked(&heads, false, Some(30)))
        };
        assert_eq!(with(head("x", 5, 6, 7)), ["added     x: it follows record 5, as b does"]);
        assert_eq!(with(head("x", 7, 8, 8)), ["added     x: it follows record 7, with which no object ends"]);
        assert_eq!(with(head("x", 0, 1, 2)), ["added     x: it follows the beginning, as a does"]);
        assert_eq!(with(head("x", 30, 7, 8)), ["added     x: it follows record 30 and says that it holds 7 to 8"]);
    }

    #[test]
    fn nothing_but_a_stream_that_was_made_anew_goes_on_behind_the_object_that_says_that_a_shard_ends() {
        let walked = |created: Option<Millis>, then: Option<Millis>| {
            let (mut walk, mut found) = (Walk::new("shard-0", false), Vec::new());
            let last = Head { is_final: true, stream_created: created, ..head("y", 30, 31, 31) };
            let behind = Head { stream_created: then, ..head("z", 31, 40, 41) };
            chain().into_iter().chain([last, behind]).for_each(|head| walk.push(head, &mut found));
            walk.finish(None, &mut found);
            texts(&found)
        };
        let told = "added     z: it follows y, which says that its shard ends there";
        assert_eq!(walked(None, None), [told]);
        assert_eq!(walked(Some(7), Some(7)), [told]);
        assert_eq!(walked(Some(7), Some(8)), [""; 0]);
    }

    /// A chain of `holes.len()` objects.
    fn any_chain(holes: &[(u64, u64)]) -> Vec<Head> {
        let (mut end, mut heads) = (0, Vec::new());
        for (at, (hole, records)) in holes.iter().enumerate() {
            let (first, last) = (end + hole, end + hole + records);
            heads.push(head(format!("{at:03}"), end, first, last));
            end = last;
        }
        heads
    }

    proptest! {
        #[test]
        fn whatever_is_taken_away_or_put_between_is_found(
            holes in prop::collection::vec((1u64..4, 0u64..5), 1..60), at: Index, prev: Index, length in 0u64..9, hole in 1u64..4,
        ) {
            let heads = any_chain(&holes);
            let end = heads.last().map(|head| head.last.as_str().parse().unwrap());
            prop_assert_eq!(walked(&heads, false, end), []);
            let mut without = heads.clone();
            let gone = without.remove(at.index(heads.len()));
            let found = walked(&without, false, end);
            let is_told = matches!(&found[..], [Finding::Missing { after, through, .. }] if *after == gone.prev && *through == Some(gone.last.clone()));
            prop_assert!(is_told, "{:?}", found);
            // One that follows the last record is as good as any that a writer would put there.
            let prev = prev.index(end.unwrap_or(1) as usize) as u64;
            let added = head("added", prev, prev + hole, prev + hole + length);
            let mut with = heads.clone();
            with.insert(at.index(heads.len()), added);
            let found = walked(&with, false, end);
            let is_named = texts(&found).iter().any(|told| told.contains("added     "));
            prop_assert!(is_named, "{:?}", found);
        }
    }
}
