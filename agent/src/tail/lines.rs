//! Bytes into lines, in bounded memory.

use event::limits::{FIRST_LINE_BYTES_MAX, LINE_BYTES_MAX};
use std::io::{self, Read};

/// Bytes that are kept after they have been given out: a witness's worth.
const BEFORE_BYTES: usize = FIRST_LINE_BYTES_MAX;

/// A whole line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawLine<'a> {
    /// Where it starts in its life.
    pub offset: u64,
    /// Its length in the file, without the line feed.
    pub length: u64,
    /// Its text, at most [`LINE_BYTES_MAX`].
    pub text: &'a [u8],
    /// Whether the line was longer than the limit, so that `text` is its head.
    pub is_cut: bool,
}

/// What has been read and not yet been given out as lines.
///
/// A line ends at its line feed; what has none yet waits. Of a line beyond the limit
/// only the head is kept, so an endless line costs no memory.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// First byte of `buffer` that has not been given out.
    start: usize,
    /// Up to here no line feed was found.
    scanned: usize,
    /// Offset in the life of the line that begins at `start`.
    offset: u64,
    /// Bytes of that line that were read and thrown away.
    dropped: u64,
    /// From here on `buffer` holds the file's bytes without a hole.
    whole_from: usize,
}

impl Lines {
    /// Lines of a life whose first `offset` bytes are done, the last of which are `before`.
    pub fn from(offset: u64, before: &[u8]) -> Lines {
        Lines { offset, buffer: before.to_vec(), start: before.len(), scanned: before.len(), ..Lines::default() }
    }

    /// The last bytes before [`offset`](Lines::offset), up to 1 KiB, as they
    /// were read: the file may hold others by now.
    pub fn before(&self) -> &[u8] {
        &self.buffer[self.start.saturating_sub(BEFORE_BYTES).max(self.whole_from.min(self.start))..self.start]
    }

    /// Where the first line that has not been given out begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads up to `bytes` more. Returns how many came; 0 is the end for now.
    pub fn fill(&mut self, source: &mut impl Read, bytes: usize) -> io::Result<usize> {
        let done = self.start.saturating_sub(BEFORE_BYTES);
        self.buffer.drain(..done);
        self.scanned -= done;
        self.start -= done;
        self.whole_from = self.whole_from.saturating_sub(done);
        let before = self.buffer.len();
        self.buffer.resize(before + bytes, 0);
        let read = source.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }

    /// The bytes that the last [`fill`](Lines::fill) brought, if it brought `read`.
    pub fn newest(&self, read: usize) -> &[u8] {
        &self.buffer[self.buffer.len() - read..]
    }

    /// The next whole line.
    pub fn next_line(&mut self) -> Option<RawLine<'_>> {
        match memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            Some(found) => Some(self.cut_at(self.scanned + found, 1)),
            None => {
                self.drop_excess();
                self.scanned = self.buffer.len();
                None
            }
        }
    }

    /// What waits for its line feed, as a line. For a file that nobody writes any more.
    pub fn rest(&mut self) -> Option<RawLine<'_>> {
        (self.start < self.buffer.len()).then(|| self.cut_at(self.buffer.len(), 0))
    }

    fn cut_at(&mut self, end: usize, feed: usize) -> RawLine<'_> {
        let (start, offset) = (self.start, self.offset);
        let length = (end - start) as u64 + self.dropped;
        self.start = end + feed;
        self.scanned = self.start;
        self.offset += length + feed as u64;
        self.dropped = 0;
        let text = &self.buffer[start..end.min(start + LINE_BYTES_MAX)];
        RawLine { offset, length, text, is_cut: length > text.len() as u64 }
    }

    fn drop_excess(&mut self) {
        let keep = self.start + LINE_BYTES_MAX;
        if self.buffer.len() > keep {
            self.dropped += (self.buffer.len() - keep) as u64;
            self.buffer.truncate(keep);
            self.whole_from = keep;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8], step: usize) -> Vec<(u64, u64, Vec<u8>)> {
        let (mut lines, mut source, mut out) = (Lines::default(), bytes, Vec::new());
        while lines.fill(&mut source, step).unwrap() > 0 {
            while let Some(line) = lines.next_line() {
                out.push((line.offset, line.length, line.text.to_vec()));
            }
        }
        out.extend(lines.rest().map(|line| (line.offset, line.length, line.text.to_vec())));
        out
    }

    #[test]
    fn a_line_beyond_the_limit_keeps_its_head_and_tells_its_length() {
        let mut bytes = vec![b'a'; LINE_BYTES_MAX * 3 + 5];
        bytes.extend(b"\nnext\n");
        let lines = all(&bytes, 64 << 10);
        assert_eq!(lines[0].1, (LINE_BYTES_MAX * 3 + 5) as u64);
        assert_eq!(lines[0].2.len(), LINE_BYTES_MAX);
        assert_eq!(lines[1], ((LINE_BYTES_MAX * 3 + 6) as u64, 4, b"next".to_vec()));
    }

    #[test]
    fn an_endless_line_costs_no_memory() {
        let mut lines = Lines::default();
        let mut source = io::repeat(b'a').take(20 << 20);
        while lines.fill(&mut source, 256 << 10).unwrap() > 0 {
            assert!(lines.next_line().is_none());
        }
        assert!(lines.buffer.capacity() < 4 << 20);
        assert_eq!(lines.rest().unwrap().length, 20 << 20);
    }

    proptest! {
        #[test]
        fn what_stood_before_the_next_line_is_known(text in "[ab\n]{0,4000}", step in 1usize..900, resumed in 0usize..3000) {
            let bytes = text.as_bytes();
            let resumed = bytes[..resumed.min(bytes.len())].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let mut lines = Lines::from(resumed as u64, &bytes[resumed.saturating_sub(BEFORE_BYTES)..resumed]);
            let mut source = &bytes[resumed..];
            while lines.fill(&mut source, step).unwrap() > 0 {
                while lines.next_line().is_some() {}
                let at = lines.offset() as usize;
                prop_assert_eq!(lines.before(), &bytes[at.saturating_sub(BEFORE_BYTES)..at]);
            }
        }

        #[test]
        fn lines_are_what_stands_between_line_feeds(text in "[ab\r\0\n]{0,200}", step in 1usize..50) {
            let got = all(text.as_bytes(), step);
            let mut expected = Vec::new();
            let mut offset = 0;
            for line in text.split_inclusive('\n') {
                let plain = line.strip_suffix('\n').unwrap_or(line);
                expected.push((offset, plain.len() as u64, plain.as_bytes().to_vec()));
                offset += line.len() as u64;
            }
            prop_assert_eq!(got, expected);
        }
    }
}
