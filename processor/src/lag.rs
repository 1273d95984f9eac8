//! How far a shard's archive and index are behind the stream. No clock, no I/O.

use crate::receive::SequenceNumber;
use event::Millis;

/// A shard that is read.
#[derive(Debug, Clone, Default)]
pub struct ShardLag {
    /// The last record that was read, here or by whoever had the shard before.
    read_to: Option<SequenceNumber>,
    /// How far that is behind the newest record (Kinesis's MillisBehindLatest).
    behind: Millis,
    /// Arrival of the oldest record that was read and is not archived, at the latest.
    archive: Option<Millis>,
    /// Arrival of the oldest record that was read and is not indexed, at the latest.
    index: Option<Millis>,
    /// Bytes of records that were read here.
    bytes: u64,
}

impl ShardLag {
    /// A shard whose archive ends at `sequence`, and whose index may be behind that.
    pub fn begun(sequence: Option<SequenceNumber>, index: Option<Millis>) -> ShardLag {
        ShardLag { read_to: sequence, index, ..ShardLag::default() }
    }

    /// A read has been answered.
    pub fn page(&mut self, behind: Millis) {
        self.behind = behind;
    }

    /// So much has been read.
    pub fn took(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Bytes that have been read here.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A record has been read.
    pub fn read(&mut self, sequence: &SequenceNumber, arrival: Millis) {
        self.read_to = Some(sequence.clone());
        self.archive.get_or_insert(arrival);
        self.index.get_or_insert(arrival);
    }

    /// All up to here is archived.
    pub fn archived(&mut self, sequence: &SequenceNumber, arrival: Millis) {
        self.archive = self.waits_after(sequence, arrival);
    }

    /// All up to here is indexed.
    pub fn indexed(&mut self, sequence: &SequenceNumber, arrival: Millis) {
        self.index = self.waits_after(sequence, arrival);
    }

    /// What is indexed next arrived then.
    pub fn index_waits(&mut self, arrival: Millis) {
        self.index = Some(arrival);
    }

    /// The oldest record behind `sequence` arrived at that one's arrival or later.
    fn waits_after(&self, sequence: &SequenceNumber, arrival: Millis) -> Option<Millis> {
        self.read_to.as_ref().is_some_and(|read_to| sequence < read_to).then_some(arrival)
    }

    /// Milliseconds by which the archive is behind.
    pub fn of_archive(&self, now: Millis) -> Millis {
        self.lag(self.archive, now)
    }

    /// Milliseconds by which the index is behind.
    pub fn of_index(&self, now: Millis) -> Millis {
        self.lag(self.index, now)
    }

    fn lag(&self, waits: Option<Millis>, now: Millis) -> Millis {
        waits.map_or(0, |arrival| now.saturating_sub(arrival)).max(self.behind).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u64) -> SequenceNumber {
        SequenceNumber::new(&number.to_string()).unwrap()
    }

    #[test]
    fn who_has_done_all_that_there_is_is_not_behind_however_old_it_is() {
        let mut lag = ShardLag::default();
        lag.read(&number(1), 1_000);
        assert_eq!((lag.of_archive(5_000), lag.of_index(5_000)), (4_000, 4_000));
        lag.indexed(&number(1), 1_000);
        assert_eq!((lag.of_archive(6_000), lag.of_index(6_000)), (5_000, 0));
        lag.archived(&number(1), 1_000);
        assert_eq!(lag.of_archive(9_000_000), 0);
    }

    #[test]
    fn what_waits_is_as_old_as_the_oldest_of_it() {
        let mut lag = ShardLag::default();
        (1..=3).for_each(|at| lag.read(&number(at), at as Millis * 1_000));
        lag.archived(&number(2), 2_000);
        assert_eq!((lag.of_archive(10_000), lag.of_index(10_000)), (8_000, 9_000));
    }

    #[test]
    fn records_that_are_not_read_yet_count_too() {
        let mut lag = ShardLag::default();
        lag.page(60_000);
        assert_eq!((lag.of_archive(0), lag.of_index(0)), (60_000, 60_000));
        lag.page(0);
        assert_eq!(lag.of_archive(0), 0);
    }

    #[test]
    fn an_index_that_was_behind_at_the_start_is_behind_until_it_has_caught_up() {
        let mut lag = ShardLag::begun(Some(number(9)), Some(500));
        assert_eq!((lag.of_archive(1_000), lag.of_index(1_000)), (0, 500));
        lag.index_waits(100);
        assert_eq!(lag.of_index(1_000), 900);
        lag.indexed(&number(9), 700);
        assert_eq!(lag.of_index(1_000), 0);
    }
}
