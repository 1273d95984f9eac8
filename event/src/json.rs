//! JSON into bytes, by serde_json.

use serde::Serialize;
use std::io::{self, Write};

/// Appends `value` as JSON.
///
/// # Panics
/// If the value is none that JSON has, such as a map whose keys are no texts. Ours are plain data.
pub fn push(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(Pieces(out), value).expect("plain data turns into JSON, and a Vec takes it");
}

/// A [`Vec`] that is written to in very small pieces: a document has some hundred quotes, commas
/// and names of fields. A `memcpy` of each costs more than its bytes, with musl's many times more.
struct Pieces<'a>(&'a mut Vec<u8>);

/// Up to here a piece is copied by words.
const SMALL: usize = 64;

impl Write for Pieces<'_> {
    #[inline]
    fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        if piece.len() > SMALL {
            self.0.extend_from_slice(piece);
            return Ok(());
        }
        let (eights, rest) = piece.as_chunks::<8>();
        eights.iter().for_each(|eight| self.0.extend_from_slice(eight));
        let (fours, rest) = rest.as_chunks::<4>();
        fours.iter().for_each(|four| self.0.extend_from_slice(four));
        rest.iter().for_each(|byte| self.0.push(*byte));
        Ok(())
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.write_all(piece).map(|()| piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_of_all_lengths_are_written_whole(texts in prop::collection::vec(".{0,80}", 0..5)) {
            let mut out = b"before".to_vec();
            push(&texts, &mut out);
            prop_assert_eq!(out, [b"before".to_vec(), serde_json::to_vec(&texts).unwrap()].concat());
        }
    }
}
