//! Messages that a program writes on several lines, such as PHP's stack traces: the lines
//! that go on with a message are joined to its first one.

use super::lines::RawLine;
use event::Millis;
use event::format::error_log;
use event::limits::LINE_BYTES_MAX;
use std::time::{Duration, Instant};

/// A message whose next line does not come is an event as it is after this time: who writes
/// it does so at once.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Lines of one message.
const LINES_MAX: usize = 500;

/// A message that may go on.
#[derive(Debug)]
pub struct Message {
    /// Place and length of its first line, which name the event.
    offset: u64,
    length: u64,
    text: Vec<u8>,
    is_cut: bool,
    lines: usize,
    last: Instant,
    /// When its first line was read.
    pub read: Millis,
    /// The log that holds the same message.
    pub duplicate_of: Option<String>,
}

impl Message {
    /// The message that `line` begins; `None` if a line is all that there is of it.
    pub fn begin(line: &RawLine<'_>, read: Millis, now: Instant, duplicate_of: Option<&str>) -> Option<Message> {
        let RawLine { offset, length, text, is_cut } = *line;
        let duplicate_of = duplicate_of.map(str::to_owned);
        let begin = || Message { offset, length, text: text.to_vec(), is_cut, lines: 1, last: now, read, duplicate_of };
        (!is_cut && error_log::may_go_on(text)).then(begin)
    }

    /// Takes the next line if it belongs to the message.
    pub fn goes_on_with(&mut self, line: &RawLine<'_>, now: Instant) -> bool {
        let room = (LINE_BYTES_MAX - self.text.len()).saturating_sub(1);
        if !error_log::goes_on(line.text) || self.lines == LINES_MAX || self.is_cut {
            return false;
        }
        self.text.push(b'\n');
        self.text.extend_from_slice(&line.text[..line.text.len().min(room)]);
        self.is_cut = line.is_cut || line.text.len() > room;
        self.lines += 1;
        self.last = now;
        true
    }

    /// Where its first line begins: reading must not be remembered beyond that.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// When it is complete if no other line comes.
    pub fn due(&self) -> Instant {
        self.last + PATIENCE
    }

    /// The whole message, in the place of its first line.
    pub fn line(&self) -> RawLine<'_> {
        RawLine { offset: self.offset, length: self.length, text: &self.text, is_cut: self.is_cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> RawLine<'_> {
        RawLine { offset: 7, length: text.len() as u64, text: text.as_bytes(), is_cut: false }
    }

    #[test]
    fn a_trace_is_joined_to_its_first_line() {
        let now = Instant::now();
        let first = "PHP Fatal error:  Uncaught E: x in /a.php:2";
        let mut message = Message::begin(&line(first), 5, now, None).unwrap();
        for next in ["Stack trace:", "#0 {main}", "  thrown in /a.php on line 2"] {
            assert!(message.goes_on_with(&line(next), now));
        }
        assert!(!message.goes_on_with(&line("PHP Notice:  y"), now));
        let whole = message.line();
        assert_eq!((whole.offset, whole.length), (7, first.len() as u64));
        assert_eq!(whole.text, format!("{first}\nStack trace:\n#0 {{main}}\n  thrown in /a.php on line 2").as_bytes());
        assert!(Message::begin(&line("sh: 1: x: not found"), 5, now, None).is_none());
    }

    #[test]
    fn an_endless_trace_takes_no_memory_without_end() {
        let now = Instant::now();
        let mut message = Message::begin(&line("PHP Fatal error:  x"), 5, now, None).unwrap();
        let long = format!("#1 {}", "a".repeat(300_000));
        let taken = (0..600).filter(|_| message.goes_on_with(&line(&long), now)).count();
        assert_eq!((taken, message.line().text.len(), message.line().is_cut), (4, LINE_BYTES_MAX, true));
        let mut message = Message::begin(&line("PHP Fatal error:  x"), 5, now, None).unwrap();
        assert_eq!((0..600).filter(|_| message.goes_on_with(&line("#1 x"), now)).count(), LINES_MAX - 1);
    }
}
