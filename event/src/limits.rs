//! Sizes that both programs keep, with their reasons.

/// Bytes of a line that are kept; what is longer is cut and marked.
///
/// A frame of one such line, of random bytes, base64 and gzip included, still fits
/// into one Kinesis record of 1 MiB.
pub const LINE_BYTES_MAX: usize = 1_000_000;

/// The size at which a frame is closed: ten PUT units of 25,000 bytes.
/// One byte more would pay for an eleventh. The partition key counts too.
pub const FRAME_BYTES_MAX: usize = 250_000 - PARTITION_KEY_BYTES;

/// Bytes of the partition key that the agent gives each frame.
pub const PARTITION_KEY_BYTES: usize = 32;

/// Uncompressed bytes at which a frame is closed, however well it compresses.
/// Bounds what a reader must hold to open one frame.
pub const FRAME_TEXT_BYTES_MAX: usize = 4 << 20;

/// Uncompressed bytes that a reader accepts from one record before it calls it a
/// bomb: a full frame and one more line of the longest kind, each byte of it
/// escaped (`\u0001`) by JSON.
pub const DECODED_BYTES_MAX: usize = 16 << 20;

/// Bytes of a first line that enter the id of a life.
pub const FIRST_LINE_BYTES_MAX: usize = 1024;

/// Bytes of one view of a line that are classified. Longer values are looked at in
/// this many of their first bytes: nobody needs 4 KiB to attack.
pub const VIEW_BYTES_MAX: usize = 4096;

const _: () = assert!(FRAME_TEXT_BYTES_MAX + 6 * LINE_BYTES_MAX < DECODED_BYTES_MAX);
