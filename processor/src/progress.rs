//! How far a long command has come, on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(200);

/// One line on standard error that is written over and over. Nothing where that is no terminal.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    drawn: Option<Instant>,
}

impl Progress {
    /// A line that has not been begun.
    pub fn new() -> Progress {
        Progress { is_terminal: io::stderr().is_terminal(), drawn: None }
    }

    /// Writes the line, unless it was written just now.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if !self.is_terminal || self.drawn.is_some_and(|drawn| drawn.elapsed() < EVERY) {
            return;
        }
        self.drawn = Some(Instant::now());
        self.write(&line());
    }

    fn write(&self, line: &str) {
        // A terminal that is gone must not end the work.
        drop(write!(io::stderr(), "\r\x1b[K{line}"));
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            self.write("");
        }
    }
}

/// A count with commas between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of things that are named by `one`.
pub fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Bytes, in the unit that a reader takes in at once.
pub fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (number as f64, 0);
    while size >= 1024.0 && unit < units.len() - 1 {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{number} B") } else { format!("{size:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_so_that_they_can_be_taken_in() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "object"), counted(2, "object")], ["1 object", "2 objects"]);
        assert_eq!([0, 1023, 1536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
    }
}
