//! How far an index has come, when the documents of several records are under way at once.

use crate::receive::SequenceNumber;
use event::Millis;
use std::collections::VecDeque;

/// A record whose documents are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId(u64);

/// How far all is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub sequence: SequenceNumber,
    /// Arrival of that record.
    pub arrival: Millis,
}

/// Records whose documents are under way, in the order of the shard.
///
/// A cursor may move to a record only when that one and all before it are done. Requests may
/// hold parts of a record, and be answered in any order.
#[derive(Debug, Default)]
pub struct Ledger {
    records: VecDeque<Entry>,
    /// The id of the first one.
    first: u64,
}

#[derive(Debug)]
struct Entry {
    record: Done,
    /// Requests that hold documents of it, and one while more of them may come.
    open: usize,
}

impl Ledger {
    /// Notes a record. More of its documents come until [`Ledger::filled`].
    pub fn begin(&mut self, record: Done) -> RecordId {
        self.records.push_back(Entry { record, open: 1 });
        RecordId(self.first + self.records.len() as u64 - 1)
    }

    /// Notes that one more request holds documents of it.
    pub fn sent(&mut self, id: RecordId) {
        self.entry(id).open += 1;
    }

    /// Notes that such a request is settled.
    pub fn settled(&mut self, id: RecordId) {
        self.entry(id).open -= 1;
    }

    /// Notes that all its documents are in requests.
    pub fn filled(&mut self, id: RecordId) {
        self.entry(id).open -= 1;
    }

    /// The furthest record that is done with all before it, if there is one more.
    pub fn done(&mut self) -> Option<Done> {
        let mut done = None;
        while let Some(entry) = self.records.pop_front_if(|entry| entry.open == 0) {
            self.first += 1;
            done = Some(entry.record);
        }
        done
    }

    fn entry(&mut self, RecordId(id): RecordId) -> &mut Entry {
        &mut self.records[(id - self.first) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(number: u64) -> Done {
        Done { sequence: SequenceNumber::new(&number.to_string()).unwrap(), arrival: 0 }
    }

    proptest! {
        #[test]
        fn the_cursor_moves_only_past_records_that_are_done_with_all_before_them(
            requests in prop::collection::vec(0usize..4, 1..20), order in any::<prop::sample::Index>(), seed in any::<u64>(),
        ) {
            let mut ledger = Ledger::default();
            let mut under_way = Vec::new();
            let mut open: Vec<usize> = Vec::new();
            for (number, requests) in requests.iter().enumerate() {
                let id = ledger.begin(record(number as u64));
                (0..*requests).for_each(|_| { ledger.sent(id); under_way.push((number, id)); });
                ledger.filled(id);
                open.push(*requests);
            }
            let mut reached = None;
            let mut at = order.index(7);
            loop {
                if let Some(done) = ledger.done() {
                    reached = Some(done);
                }
                let expected = open.iter().take_while(|open| **open == 0).count();
                prop_assert_eq!(reached.clone(), expected.checked_sub(1).map(|last| record(last as u64)));
                if under_way.is_empty() {
                    break;
                }
                at = (at.wrapping_mul(31) ^ seed as usize) % under_way.len();
                let (number, id) = under_way.swap_remove(at);
                ledger.settled(id);
                open[number] -= 1;
            }
            prop_assert_eq!(reached, Some(record(requests.len() as u64 - 1)));
        }
    }
}
