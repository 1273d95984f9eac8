//! Hashes of what clients send, under a key of the host's own: who writes our input must
//! not be able to choose what falls together.

use sha2::{Digest, Sha256};

/// What is hashed with.
#[derive(Debug, Clone, Copy)]
pub struct Key([u64; 2]);

impl Key {
    /// The key of a host.
    pub fn of(host: &str) -> Key {
        let hash = Sha256::new().chain_update(b"2SeC behaviour key, version 1").chain_update(host).finalize();
        let half = |at: usize| hash[at..at + 8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        Key([half(0), half(8) | 1])
    }

    /// The hash of `text`: eight bytes at a time are mixed in by a multiplication whose
    /// upper half is folded into the lower.
    pub fn hash(self, text: &[u8]) -> u64 {
        let mut state = self.0[0] ^ text.len() as u64;
        let mut words = text.chunks_exact(8);
        for word in &mut words {
            state = fold(state ^ number(word), self.0[1]);
        }
        self.with(state, number(words.remainder()))
    }

    /// The hash of two hashes, in this order.
    pub fn with(self, first: u64, second: u64) -> u64 {
        fold(fold(first ^ self.0[0], self.0[1]).rotate_left(23) ^ second, self.0[1])
    }
}

/// Up to eight bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_host_hashes_in_its_own_way_and_always_the_same() {
        let (one, other) = (Key::of("4a5b6c"), Key::of("4a5b6d"));
        assert_eq!(one.hash(b"/login"), Key::of("4a5b6c").hash(b"/login"));
        assert_ne!(one.hash(b"/login"), other.hash(b"/login"));
    }

    #[test]
    fn texts_that_resemble_each_other_do_not_fall_together() {
        let key = Key::of("4a5b6c");
        let texts = (0..50_000).map(|n| format!("/item/{n}")).chain((0..300).map(|n| "\0".repeat(n)));
        let hashes: Vec<u64> = texts.map(|text| key.hash(text.as_bytes())).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        assert!(hashes.iter().map(|hash| *hash as u16).collect::<HashSet<_>>().len() > 30_000);
    }
}
