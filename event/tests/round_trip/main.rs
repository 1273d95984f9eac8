//! What Apache writes of random fields in a random format is read as what was sent.
//!
//! The writer is told from Apache's documentation and source and shares no code with the
//! parsers. A format is drawn so that a line can be read in one way only; what stands in its
//! fields is up to the client, who likes quotes, blanks, brackets and forged times.
//!
//! ```text
//! TWOSEC_SLOW=1 cargo test --release -p event --test round_trip
//! ```
//!
//! reads a million lines of each kind, and `PROPTEST_RNG_SEED=1` before it makes them the same
//! ones every time.

mod apache;
mod access;
mod errors;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// Lines that are written in one format, since a format takes longer to draw than a line.
const LINES: usize = 10;

fn config() -> ProptestConfig {
    let is_slow = std::env::var_os("TWOSEC_SLOW").is_some_and(|slow| slow != "0");
    let cases = if is_slow { 1_000_000 / LINES as u32 } else { 300 };
    let failure_persistence = Some(Box::new(FileFailurePersistence::WithSource("seeds")) as Box<_>);
    ProptestConfig { failure_persistence, max_shrink_iters: 100_000, ..ProptestConfig::with_cases(cases) }
}
