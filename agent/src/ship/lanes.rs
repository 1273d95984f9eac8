//! Which frame goes when, and to which shard.
//!
//! A shard takes 1 MB and 1,000 records a second (Kinesis quotas), so each has a lane of
//! its own: what is refused by one shard waits, and the others go on. Where the shards
//! are not known there is one lane without a pace, and the stream says when it is enough.

use super::Frame;
use event::pause::Pause;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// What a shard takes a second, keys included.
const SHARD_BYTES: f64 = 1_000_000.0;
const SHARD_RECORDS: f64 = 1_000.0;

/// A shard's part of the hash keys, both ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashRange {
    pub first: u128,
    pub last: u128,
}

impl HashRange {
    /// A hash key in the range, the same for the same partition key.
    fn key(&self, partition_key: &str) -> u128 {
        let random = u128::from_str_radix(partition_key, 16).unwrap_or_default();
        match (self.last - self.first).checked_add(1) {
            Some(keys) => self.first + random % keys,
            None => random,
        }
    }
}

/// A frame and the lane that it is in.
#[derive(Debug, Clone)]
pub struct Cargo<P> {
    pub frame: Frame,
    /// What the sender knows it by.
    pub place: P,
    lane: usize,
}

/// What one call may hold.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    pub records: usize,
    pub bytes: usize,
}

#[derive(Debug)]
struct Lane<P> {
    range: Option<HashRange>,
    waiting: VecDeque<Cargo<P>>,
    /// What may go now.
    bytes: f64,
    records: f64,
    refilled: Instant,
    pause: Pause,
    not_before: Instant,
}

impl<P> Lane<P> {
    fn new(range: Option<HashRange>, now: Instant) -> Lane<P> {
        let (waiting, pause) = (VecDeque::new(), Pause::default());
        Lane { range, waiting, bytes: SHARD_BYTES, records: SHARD_RECORDS, refilled: now, pause, not_before: now }
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.duration_since(self.refilled).as_secs_f64();
        self.bytes = (self.bytes + seconds * SHARD_BYTES).min(SHARD_BYTES);
        self.records = (self.records + seconds * SHARD_RECORDS).min(SHARD_RECORDS);
        self.refilled = now;
    }

    /// When the next frame may go; `None` if none waits.
    fn ready_at(&self, now: Instant) -> Option<Instant> {
        let next = self.waiting.front()?;
        if self.range.is_none() {
            return Some(self.not_before);
        }
        // A frame larger than a second's worth goes when the second is full.
        let wanted = (weight(&next.frame) as f64).min(SHARD_BYTES);
        let short = ((wanted - self.bytes) / SHARD_BYTES).max((1.0 - self.records) / SHARD_RECORDS).max(0.0);
        Some(self.not_before.max(now + Duration::from_secs_f64(short)))
    }

    fn take(&mut self) -> Option<Cargo<P>> {
        let cargo = self.waiting.pop_front()?;
        self.bytes -= weight(&cargo.frame) as f64;
        self.records -= 1.0;
        Some(cargo)
    }
}

/// Bytes of a record that count: data and key.
pub fn weight(frame: &Frame) -> usize {
    frame.bytes.len() + frame.key.len()
}

/// Frames that wait for their call.
#[derive(Debug)]
pub struct Lanes<P> {
    lanes: Vec<Lane<P>>,
    next: usize,
}

impl<P> Lanes<P> {
    /// One lane for a stream whose shards are not known.
    pub fn new(now: Instant) -> Lanes<P> {
        Lanes { lanes: vec![Lane::new(None, now)], next: 0 }
    }

    /// Goes over to these shards; none means that they are not known.
    pub fn set_shards(&mut self, shards: &[HashRange], now: Instant) {
        let same = |lane: &Lane<P>, range: &HashRange| lane.range == Some(*range);
        if shards.len() == self.lanes.len() && self.lanes.iter().zip(shards).all(|(lane, range)| same(lane, range)) {
            return;
        }
        let mut fresh: Vec<Lane<P>> = shards.iter().map(|range| Lane::new(Some(*range), now)).collect();
        if fresh.is_empty() {
            fresh.push(Lane::new(None, now));
        }
        let old = std::mem::replace(&mut self.lanes, fresh);
        for cargo in old.into_iter().flat_map(|lane| lane.waiting) {
            self.add(cargo.frame, cargo.place);
        }
    }

    /// Shards that are known.
    pub fn shards(&self) -> Option<usize> {
        self.lanes[0].range.map(|_| self.lanes.len())
    }

    /// Puts a frame into the next lane.
    pub fn add(&mut self, mut frame: Frame, place: P) {
        let lane = self.next % self.lanes.len();
        self.next = self.next.wrapping_add(1);
        frame.hash_key = self.lanes[lane].range.map(|range| range.key(&frame.key));
        self.lanes[lane].waiting.push_back(Cargo { frame, place, lane });
    }

    /// The frames of the next call, as many as may go now.
    pub fn take(&mut self, now: Instant, limits: CallLimits) -> Vec<Cargo<P>> {
        let mut call: Vec<Cargo<P>> = Vec::new();
        let mut bytes = 0;
        for lane in &mut self.lanes {
            lane.refill(now);
            while lane.ready_at(now).is_some_and(|at| at <= now) && call.len() < limits.records {
                let next = weight(&lane.waiting.front().expect("one is ready").frame);
                if !call.is_empty() && bytes + next > limits.bytes {
                    break;
                }
                bytes += next;
                call.extend(lane.take());
            }
        }
        call
    }

    /// Takes back a frame that its shard has refused for now; the shard gets a pause.
    pub fn again(&mut self, cargo: Cargo<P>, now: Instant) {
        let at = cargo.lane % self.lanes.len();
        let lane = &mut self.lanes[at];
        if lane.not_before <= now {
            lane.not_before = now + lane.pause.next_pause();
        }
        lane.waiting.push_front(Cargo { lane: at, ..cargo });
    }

    /// Takes back frames of a call of which nothing is known. No lane gets a pause.
    pub fn back(&mut self, call: Vec<Cargo<P>>) {
        for cargo in call.into_iter().rev() {
            let at = cargo.lane % self.lanes.len();
            self.lanes[at].waiting.push_front(Cargo { lane: at, ..cargo });
        }
    }

    /// Notes that a shard has taken a frame.
    pub fn stored(&mut self, cargo: &Cargo<P>) {
        let at = cargo.lane % self.lanes.len();
        self.lanes[at].pause = Pause::default();
    }

    /// When the next frame may go; `None` if none waits.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        self.lanes.iter().filter_map(|lane| lane.ready_at(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const LIMITS: CallLimits = CallLimits { records: 500, bytes: 5 << 20 };

    fn frame(bytes: usize, key: u128) -> Frame {
        Frame { key: format!("{key:032x}"), hash_key: None, bytes: Bytes::from(vec![0; bytes]), lines: 1 }
    }

    fn halves() -> [HashRange; 2] {
        let middle = u128::MAX / 2;
        [HashRange { first: 0, last: middle }, HashRange { first: middle + 1, last: u128::MAX }]
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_gets_a_megabyte_a_second() {
        let begun = Instant::now();
        let mut lanes = Lanes::new(begun);
        lanes.set_shards(&halves(), begun);
        (0..60).for_each(|at| lanes.add(frame(249_968, at), at));
        assert_eq!(lanes.take(begun, LIMITS).len(), 8, "a second's worth for each of two shards");
        assert_eq!(lanes.take(begun, LIMITS).len(), 0);
        let next = lanes.ready_at(begun).unwrap();
        assert_eq!(next - begun, Duration::from_millis(250));
        assert_eq!(lanes.take(next, LIMITS).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_shard_waits_alone() {
        let now = Instant::now();
        let mut lanes = Lanes::new(now);
        lanes.set_shards(&halves(), now);
        (0..4).for_each(|at| lanes.add(frame(10, at), at));
        let call = lanes.take(now, LIMITS);
        assert_eq!(call.iter().map(|cargo| cargo.place).collect::<Vec<_>>(), [0, 2, 1, 3]);
        call.into_iter().filter(|cargo| cargo.lane == 0).for_each(|cargo| lanes.again(cargo, now));
        lanes.add(frame(10, 4), 4);
        lanes.add(frame(10, 5), 5);
        let waits = lanes.lanes[0].not_before > now;
        assert_eq!(
            lanes.take(now, LIMITS).iter().map(|cargo| cargo.place).collect::<Vec<_>>(),
            if waits { vec![5] } else { vec![2, 0, 4, 5] }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_known_shards_there_is_no_pace() {
        let now = Instant::now();
        let mut lanes = Lanes::new(now);
        (0..600).for_each(|at| lanes.add(frame(10_000, at), at));
        assert_eq!(lanes.take(now, LIMITS).len(), 500);
        assert_eq!(lanes.take(now, LIMITS).len(), 100);
        assert_eq!(lanes.shards(), None);
    }

    proptest! {
        #[test]
        fn a_hash_key_lies_in_its_shard(first: u128, last: u128, key: u128) {
            let range = HashRange { first: first.min(last), last: first.max(last) };
            let key = range.key(&format!("{key:032x}"));
            prop_assert!(key >= range.first && key <= range.last);
        }

        #[test]
        fn no_frame_is_lost_or_sent_twice(steps in prop::collection::vec((0u8..5, 1usize..300_000), 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _guard = runtime.enter();
            let mut now = Instant::now();
            let mut lanes = Lanes::new(now);
            let (mut added, mut sent, mut under_way) = (0u128, Vec::new(), Vec::new());
            for (what, size) in steps {
                match what {
                    0 | 1 => {
                        lanes.add(frame(size, added), added);
                        added += 1;
                    }
                    2 => under_way.extend(lanes.take(now, LIMITS)),
                    3 => {
                        for (at, cargo) in under_way.drain(..).enumerate() {
                            if (at + size) % 2 == 0 { lanes.again(cargo, now) } else { lanes.stored(&cargo); sent.push(cargo.place) }
                        }
                    }
                    _ => lanes.set_shards(&halves()[..size % 3], now),
                }
                now += Duration::from_millis(size as u64 / 300);
            }
            lanes.back(under_way);
            while let Some(at) = lanes.ready_at(now) {
                now = now.max(at);
                sent.extend(lanes.take(now, LIMITS).iter().map(|cargo| cargo.place));
            }
            sent.sort_unstable();
            prop_assert_eq!(sent, (0..added).collect::<Vec<_>>());
        }
    }
}
