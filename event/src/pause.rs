//! How long both programs wait between two tries of a call: full jitter ("Exponential
//! Backoff and Jitter", AWS Architecture Blog). It stands here because here is what
//! they share.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// Grows from 100 ms to 30 s; of each pause a random part is waited.
#[derive(Debug)]
pub struct Pause {
    ceiling: Duration,
    random: RandomState,
    tries: u64,
}

impl Default for Pause {
    fn default() -> Pause {
        Pause { ceiling: FIRST, random: RandomState::new(), tries: 0 }
    }
}

impl Pause {
    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        self.tries += 1;
        let share = self.random.hash_one(self.tries) as f64 / u64::MAX as f64;
        let pause = self.ceiling.mul_f64(share);
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_thirty_seconds_and_no_further() {
        let mut pause = Pause::default();
        assert!(pause.next_pause() <= FIRST);
        assert!((0..100).all(|_| pause.next_pause() <= LONGEST));
        assert_eq!(pause.ceiling, LONGEST);
    }
}
