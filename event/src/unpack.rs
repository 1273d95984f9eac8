//! Packed records into what they hold, never more of it than a reader can take.

use crate::limits::DECODED_BYTES_MAX;
use flate2::bufread::GzDecoder;
use ruzstd::decoding::StreamingDecoder;
use std::io::{self, Read};

/// How a record is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952, of one member or several.
    Gzip,
    /// RFC 8878, of one frame or several.
    Zstd,
}

/// A packed record that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the {0} data are damaged")]
    Damaged(&'static str, #[source] io::Error),
    #[error("the record unpacks to more than {0} bytes")]
    Bomb(usize),
}

impl Packing {
    /// The packing that these bytes begin as.
    pub fn of(record: &[u8]) -> Option<Packing> {
        [Packing::Gzip, Packing::Zstd].into_iter().find(|packing| record.starts_with(packing.magic()))
    }

    fn magic(self) -> &'static [u8] {
        match self {
            Packing::Gzip => &[0x1f, 0x8b],
            Packing::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }

    /// Unpacks all of `record`, to at most `most` bytes.
    pub fn unpack(self, record: &[u8], most: usize) -> Result<Vec<u8>, UnpackError> {
        let likely = self.told_bytes(record).unwrap_or_else(|| record.len().saturating_mul(8));
        let mut text = Vec::with_capacity(likely.min(most));
        let mut rest = record;
        while !rest.is_empty() {
            self.unpack_one(&mut rest, most, &mut text).map_err(|cause| UnpackError::Damaged(self.name(), cause))?;
            if text.len() > most {
                return Err(UnpackError::Bomb(most));
            }
        }
        Ok(text)
    }

    /// What `record` says that it unpacks to: the last member of gzip ends with its length (RFC 1952,
    /// section 2.3.1, ISIZE). It may lie.
    pub fn told_bytes(self, record: &[u8]) -> Option<usize> {
        let length = record.last_chunk().filter(|_| self == Packing::Gzip)?;
        Some(u32::from_le_bytes(*length) as usize)
    }

    /// Unpacks the first member or frame of `rest`, and stops a byte beyond `most`.
    fn unpack_one(self, rest: &mut &[u8], most: usize, text: &mut Vec<u8>) -> io::Result<()> {
        let limit = (most - text.len()) as u64 + 1;
        match self {
            Packing::Gzip => GzDecoder::new(&mut *rest).take(limit).read_to_end(text),
            Packing::Zstd => {
                // A decoder holds as much as the window that the frame asks for.
                let decoder = StreamingDecoder::new_with_max_window_size(&mut *rest, DECODED_BYTES_MAX as u64);
                decoder.map_err(io::Error::other)?.take(limit).read_to_end(text)
            }
        }
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gzip::gzip;
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = vec![0; 100_001];
        for (packing, bomb) in [(Packing::Gzip, gzip(&zeros, 9)), (Packing::Zstd, zstd(&zeros))] {
            assert_eq!(Packing::of(&bomb), Some(packing));
            let refused = packing.unpack(&bomb, 100_000).unwrap_err().to_string();
            assert_eq!(refused, "the record unpacks to more than 100000 bytes");
            assert_eq!(packing.unpack(&bomb, 100_001).unwrap(), zeros);
        }
    }

    #[test]
    fn a_window_that_nobody_can_hold_is_refused() {
        // A frame of one empty block, whose header asks for a window of 64 MiB.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 16 << 3, 0x01, 0x00, 0x00];
        let refused = Packing::Zstd.unpack(&frame, 1 << 20).unwrap_err();
        assert!(matches!(refused, UnpackError::Damaged("zstd", _)), "{refused}");
        let small = [&frame[..5], &[13 << 3], &frame[6..]].concat();
        assert_eq!(Packing::Zstd.unpack(&small, 1 << 20).unwrap(), b"");
    }

    #[test]
    fn what_follows_the_first_member_is_neither_lost_nor_ignored() {
        for (packing, pack) in [(Packing::Gzip, (|text| gzip(text, 1)) as fn(&[u8]) -> _), (Packing::Zstd, zstd)] {
            assert_eq!(packing.unpack(&[pack(b"a"), pack(b"b")].concat(), 2).unwrap(), b"ab");
            assert!(packing.unpack(&[pack(b"a"), b"x".to_vec()].concat(), 2).is_err());
            assert!(packing.unpack(&pack(b"cut short")[..12], 99).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0usize..60, byte: u8, text in "[ab]{0,99}") {
            for packing in [Packing::Gzip, Packing::Zstd] {
                let _ = packing.unpack(&[packing.magic(), &bytes].concat(), 1 << 20);
                let mut packed = if packing == Packing::Gzip { gzip(text.as_bytes(), 1) } else { zstd(text.as_bytes()) };
                prop_assert_eq!(packing.unpack(&packed, 99).unwrap(), text.as_bytes());
                if let Some(there) = packed.get_mut(at) {
                    *there = byte;
                }
                let _ = packing.unpack(&packed, 1 << 20);
            }
        }
    }
}
