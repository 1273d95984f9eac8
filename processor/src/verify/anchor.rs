//! Does a chain end where its lease says? Decided from rows and what objects say about themselves.
//!
//! A checkpoint is written behind its object. So what is archived may be ahead of its row, and what
//! that means depends on who works on the shard.

use super::chain::Head;
use crate::leases::{Checkpoint, Lease};
use crate::receive::SequenceNumber;
use event::Millis;
use std::collections::BTreeMap;

/// Objects of a shard that are kept: those that end last. More are not ahead of a row that somebody
/// moves.
const KEPT: usize = 100;

/// The objects of a shard that end last.
#[derive(Debug, Default)]
pub struct Ends(BTreeMap<(SequenceNumber, String), Head>);

impl Ends {
    /// Takes an object, in any order.
    pub fn push(&mut self, head: Head) {
        self.0.insert((head.last.clone(), head.key.clone()), head);
        if self.0.len() > KEPT {
            self.0.pop_first();
        }
    }

    /// The newest object, if its shard must have a row while the stream that was made then keeps what is
    /// in it. The row of a shard that has ended may be removed, and other streams have had rows of their own.
    pub fn wants_row(&self, stream_created: Option<Millis>) -> Option<&Head> {
        let own = || self.0.values().filter(|head| head.may_be_of(stream_created));
        own().max_by_key(|head| head.last_arrival).filter(|_| own().all(|head| !head.is_final))
    }

    /// The objects that are ahead of a row. Before the first checkpoint, those of a stream that was
    /// made at another time are none of the row's.
    pub fn ahead(&self, row: &Lease) -> Vec<&Head> {
        let is_own = |head: &&Head| head.may_be_of(row.stream_created);
        let behind = |record: &SequenceNumber| self.0.values().filter(|head| head.last > *record).collect();
        match &row.checkpoint {
            Checkpoint::At(record) => behind(record),
            Checkpoint::TrimHorizon | Checkpoint::AtTimestamp(_) => self.0.values().filter(is_own).collect(),
            Checkpoint::ShardEnd => {
                let end = self.0.values().filter(is_own).rfind(|head| head.is_final);
                end.map(|end| behind(&end.last)).unwrap_or_default()
            }
        }
    }
}

/// What an object that is ahead of its row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// What a processor leaves that is stopped before it has written its row: the next one goes on
    /// behind it. Somebody else may have put it there as well.
    Left,
    /// No processor has put it there.
    Added,
}

/// So many objects a processor may have put before it could write one row, while the lease table
/// throttles.
const LEFT_MAX: usize = 8;

/// What `objects` that stay ahead of a row are. `then` is the row as it was before they were waited
/// for, for longer than an owner that lives lets pass between two writes.
pub fn judge(objects: &[&Head], then: Option<&Lease>, now: &Lease) -> Ahead {
    let is_same_owner = |then: &Lease| now.owner.is_some() && then.owner == now.owner;
    let is_moved = then.is_some_and(|then| is_same_owner(then) && then.counter != now.counter);
    match &now.checkpoint {
        Checkpoint::ShardEnd => Ahead::Added,
        // Each write of an owner tells all that it has archived.
        _ if is_moved || objects.len() > LEFT_MAX => Ahead::Added,
        Checkpoint::At(record) if objects.first().is_some_and(|head| head.prev.as_ref() != Some(record)) => {
            Ahead::Added
        }
        // The first object of a stream that was made anew follows the last one of the stream before.
        _ if !objects.is_sorted_by(|before, head| head.prev.as_ref() == Some(&before.last)) => Ahead::Added,
        _ => Ahead::Left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::Shard;

    fn number(number: u64) -> SequenceNumber {
        SequenceNumber::new(&number.to_string()).unwrap()
    }

    fn row(checkpoint: Checkpoint) -> Lease {
        let (id, parents) = ("shard-0".to_owned(), Vec::new());
        let shard = Shard { id, parents, starting_hash_key: "0".into(), ending_hash_key: "9".into() };
        Lease::new(&shard, checkpoint, Some(7))
    }

    fn head(key: &str, last: u64) -> Head {
        Head {
            key: key.to_owned(),
            prev: None,
            first: number(last),
            last: number(last),
            last_arrival: last as Millis,
            is_final: false,
            stream_created: Some(7),
        }
    }

    #[test]
    fn what_is_ahead_of_a_row_ends_behind_its_checkpoint() {
        let mut ends = Ends::default();
        [head("c", 30), head("a", 9), head("b", 20)].into_iter().for_each(|head| ends.push(head));
        let ahead =
            |ends: &Ends, row: &Lease| ends.ahead(row).into_iter().map(|head| head.key.clone()).collect::<Vec<_>>();
        assert_eq!(ahead(&ends, &row(Checkpoint::At(number(20)))), ["c"]);
        assert_eq!(ahead(&ends, &row(Checkpoint::At(number(30)))), [""; 0]);
        assert_eq!(ahead(&ends, &row(Checkpoint::TrimHorizon)), ["a", "b", "c"]);
        let anew = Lease { stream_created: Some(8), ..row(Checkpoint::TrimHorizon) };
        assert_eq!(ahead(&ends, &anew), [""; 0], "all of it is an earlier stream's");
        assert_eq!(ahead(&ends, &row(Checkpoint::ShardEnd)), [""; 0], "that its end is missing is told elsewhere");
        ends.push(Head { is_final: true, ..head("b-end", 21) });
        assert_eq!(ahead(&ends, &row(Checkpoint::ShardEnd)), ["c"]);
    }

    #[test]
    fn a_shard_that_has_not_ended_has_a_row_while_its_stream_is_there() {
        let mut ends = Ends::default();
        [head("c", 30), head("a", 9)].into_iter().for_each(|head| ends.push(head));
        let key = |ends: &Ends, created| ends.wants_row(created).map(|head| head.key.clone());
        assert_eq!((key(&ends, Some(7)).as_deref(), key(&ends, None).as_deref()), (Some("c"), Some("c")));
        assert_eq!(key(&ends, Some(8)), None, "all of it is an earlier stream's");
        ends.push(Head { is_final: true, ..head("c-end", 31) });
        assert_eq!(key(&ends, Some(7)), None, "it has ended, and its row may be removed");
    }

    #[test]
    fn some_objects_may_be_left_by_a_processor_that_was_stopped_and_none_by_one_that_goes_on() {
        let at = |owner: Option<&str>, counter: u64| {
            let owner = owner.map(str::to_owned);
            Lease { owner, counter, ..row(Checkpoint::At(number(20))) }
        };
        let chain: Vec<_> =
            (21..40).map(|last| Head { prev: Some(number(last - 1)), ..head(&last.to_string(), last) }).collect();
        let chain: Vec<_> = chain.iter().collect();
        let judged = |objects: &[&Head], then: &Lease, now: &Lease| judge(objects, Some(then), now);
        let one = &chain[..1];
        assert_eq!(judged(one, &at(None, 5), &at(None, 5)), Ahead::Left);
        assert_eq!(judged(one, &at(Some("w"), 5), &at(Some("w"), 5)), Ahead::Left, "its owner was killed");
        assert_eq!(judged(one, &at(Some("w"), 5), &at(Some("v"), 9)), Ahead::Left, "the next one has just begun");
        assert_eq!(judged(one, &at(Some("w"), 5), &at(None, 6)), Ahead::Left);
        assert_eq!(judged(&chain[..3], &at(None, 5), &at(None, 5)), Ahead::Left, "the lease table was slow");
        assert_eq!(judged(&chain[..9], &at(None, 5), &at(None, 5)), Ahead::Added);
        assert_eq!(judged(&chain[1..3], &at(None, 5), &at(None, 5)), Ahead::Added, "it does not follow the row");
        assert_eq!(judged(&[chain[0], chain[2]], &at(None, 5), &at(None, 5)), Ahead::Added);
        assert_eq!(judged(one, &at(Some("w"), 5), &at(Some("w"), 9)), Ahead::Added);
        let new = row(Checkpoint::TrimHorizon);
        assert_eq!(judged(one, &new, &new), Ahead::Left, "it goes on where a stream before ended");
        assert_eq!(judged(&[chain[0], chain[2]], &new, &new), Ahead::Added);
        let ended = row(Checkpoint::ShardEnd);
        assert_eq!(judged(one, &ended, &ended), Ahead::Added);
    }
}
