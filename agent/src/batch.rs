//! Lines into frames: parse, classify, append; close when full or late.

use crate::checkpoint::{LifeNumber, Mark};
use crate::ship::{Frame, FrameId};
use crate::tail::RawLine;
use bytes::Bytes;
use event::frame::{Body, Header, Line};
use event::limits::{FRAME_BYTES_MAX, FRAME_TEXT_BYTES_MAX, LINE_BYTES_MAX, PARTITION_KEY_BYTES};
use event::line::day_of;
use event::{Classifier, Day, Millis, Origin};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// Gzip level: from 3 on a frame gets little smaller and much slower.
const GZIP_LEVEL: u32 = 3;

/// Text that a frame of log lines is expected to hold before the first one has been
/// packed: lines pack to a seventh or less.
const FIRST_TEXT_BYTES: usize = 6 * FRAME_BYTES_MAX;

/// A frame on its way, and how far its life is read with it.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub frame: Frame,
    pub life: LifeNumber,
    /// Where the life stood before the frame.
    pub before: Option<Mark>,
    /// `None` for all but the last of several frames that one batch became.
    pub mark: Option<Mark>,
}

/// Lines of one life that will be a frame.
#[derive(Debug)]
pub struct Batch {
    origin: Origin,
    body: Body,
    /// Where its first line starts.
    start: u64,
    /// Day of the last dated line before the batch, and of the last one in it.
    day_before: Option<Day>,
    day: Option<Day>,
    opened: Instant,
}

impl Batch {
    /// An empty batch whose first line will start at `start`, after a line of `day`.
    pub fn new(origin: Origin, start: u64, day: Option<Day>, now: Instant) -> Batch {
        Batch { origin, body: Body::default(), start, day_before: day, day, opened: now }
    }

    /// Where its first line starts in its life.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Day of the last dated line so far.
    pub fn day(&self) -> Option<Day> {
        self.day
    }

    /// When its first line came.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Parses, classifies and appends one line that was read at `read`.
    pub fn push(&mut self, line: RawLine<'_>, classifier: &Classifier, read: Millis) {
        let parsed = self.origin.format.parse(line.text);
        let attack = parsed.access().and_then(|access| classifier.classify(access));
        self.day = day_of(&parsed, self.day);
        self.body.push(Line {
            offset: line.offset,
            length: line.length,
            line: line.text,
            cut: line.is_cut(),
            time: parsed.time().map_or(read, |own| own.at),
            day: self.day,
            attack: attack.as_ref(),
        });
    }
}

/// Packs batches, and learns how much text fits into a frame.
#[derive(Debug)]
pub struct Packer {
    next: u64,
    /// Text bytes that made [`FRAME_BYTES_MAX`] lately.
    text_bytes: usize,
    random: RandomState,
}

impl Default for Packer {
    fn default() -> Packer {
        Packer { next: 0, text_bytes: FIRST_TEXT_BYTES, random: RandomState::new() }
    }
}

impl Packer {
    /// Whether `batch` holds as much as a frame should.
    pub fn is_full(&self, batch: &Batch) -> bool {
        batch.body.bytes() >= self.text_bytes
    }

    /// Makes frames of a batch, one as a rule; more if it packs worse than expected.
    /// The life `life` stands at `before` before it and at `mark` after it.
    pub fn pack(&mut self, batch: &Batch, life: LifeNumber, before: Option<Mark>, mark: Option<Mark>) -> Vec<Parcel> {
        let header = Header::new(batch.origin.clone(), batch.day_before);
        let mut parcels = Vec::new();
        self.pack_lines(batch, &header, 0, batch.body.lines(), life, &mut parcels);
        if let Some(first) = parcels.first_mut() {
            first.before = before;
        }
        if let Some(last) = parcels.last_mut() {
            last.mark = mark;
        }
        parcels
    }

    fn pack_lines(
        &mut self,
        batch: &Batch,
        header: &Header,
        from: usize,
        to: usize,
        life: LifeNumber,
        out: &mut Vec<Parcel>,
    ) {
        let bytes = batch.body.encode(header, from, to, GZIP_LEVEL);
        if from == 0 && to == batch.body.lines() {
            self.learn(batch.body.bytes(), bytes.len());
        }
        if bytes.len() > FRAME_BYTES_MAX && to - from > 1 {
            let middle = from + (to - from) / 2;
            let second = Header { day: batch.body.day_before(middle), ..header.clone() };
            self.pack_lines(batch, header, from, middle, life, out);
            return self.pack_lines(batch, &second, middle, to, life, out);
        }
        let frame = Frame { id: self.next_id(), key: self.key(), bytes: Bytes::from(bytes), lines: to - from };
        out.push(Parcel { frame, life, before: None, mark: None });
    }

    /// Aims 4 % below the limit, so that most frames are packed once. A frame of few
    /// lines says little, and a single line may be far longer than a frame.
    fn learn(&mut self, text: usize, packed: usize) {
        if text < FRAME_BYTES_MAX || packed == 0 {
            return;
        }
        let fits = (text as f64 / packed as f64 * FRAME_BYTES_MAX as f64 * 0.96) as usize;
        self.text_bytes = fits.clamp(FRAME_BYTES_MAX, FRAME_TEXT_BYTES_MAX);
    }

    fn next_id(&mut self) -> FrameId {
        self.next += 1;
        FrameId(self.next)
    }

    /// A partition key that no attacker can foresee.
    fn key(&self) -> String {
        let half = |salt: u64| self.random.hash_one((self.next, salt));
        format!("{:016x}{:016x}", half(1), half(2))
    }
}

const _: () = assert!(PARTITION_KEY_BYTES == 32, "two numbers of 64 bits in hex");
const _: () = assert!(LINE_BYTES_MAX < 1 << 20, "a frame of one line fits into a record of 1 MiB");
