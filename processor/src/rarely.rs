//! Messages that an attacker, or an outage, could make many of: one now and then, with the number
//! of those that were left out.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Says when it is time for the next message.
pub struct Rarely {
    every: Duration,
    /// When the last one was written, and how many were left out since.
    state: Mutex<(Option<Instant>, u64)>,
}

impl Rarely {
    /// At most one message in this time.
    pub const fn every(every: Duration) -> Rarely {
        Rarely { every, state: Mutex::new((None, 0)) }
    }

    /// How many messages were left out before this one; `None` if this one is left out, too.
    pub fn now(&self) -> Option<u64> {
        let mut state = self.state.lock().expect("nobody panics with the state in hand");
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < self.every) {
            *left_out += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_messages_one_is_written_and_tells_how_many_were_not() {
        let rarely = Rarely::every(Duration::from_millis(50));
        assert_eq!([rarely.now(), rarely.now(), rarely.now()], [Some(0), None, None]);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(rarely.now(), Some(2));
    }
}
