//! What a line of log means.
//!
//! ```text
//! line -> format (fields, time) -> classify (decode, rules) -> frame ==> document
//!   |_____ id (life, offset, length, time)                     (wire)    (ECS 8)
//! ```
//!
//! Pure: no I/O, no clock, no threads. The agent writes frames, the processor
//! reads them, and both ask this crate what they mean, so that the two programs
//! cannot disagree. Nothing here fails on a line: an attacker writes our input, so
//! a line that no format fits is an event with its text and a reason.

pub mod json;
pub mod limits;
pub mod time;
pub mod zone;
pub mod unescape;
pub mod cache;
pub mod address;
pub mod domain;
pub mod geo;
pub mod user_agent;
pub mod format;
pub mod id;
pub mod names;
pub mod attack;
pub mod classify;
pub mod redact;
pub mod incident;
pub mod waf;
pub mod redaction;
pub mod outcome;
pub mod line;
pub mod gzip;
pub mod unpack;
pub mod frame;
pub mod document;
pub mod reclassify;
pub mod fields;
pub mod encoding;
pub mod pause;

pub use attack::{Attack, Category, Finding};
pub use classify::Classifier;
pub use document::Document;
pub use encoding::Encoding;
pub use format::{Access, Format, Parsed};
pub use id::{EventId, HostKey, LifeId};
pub use incident::Incident;
pub use line::{Event, Origin};
pub use reclassify::{Reclassifier, reclassified};
pub use redact::Redactor;
pub use redaction::{RedactSettings, Redaction};
pub use time::{Day, Millis};
pub use zone::Zone;
