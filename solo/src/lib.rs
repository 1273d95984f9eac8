//! The whole pipeline in one process: no account, no server, no AWS code.
//!
//! ```text
//! agent::run -> stream (memory) -> processor::run -> archive (folder), index (tantivy) -> page
//! ```
//!
//! The agent and the processor are the same as in the cloud; only what they are handed
//! differs.

pub mod cli;
pub mod input;
pub mod run;
pub mod reclassify;
pub mod stream;
pub mod leases;
pub mod archive;
pub mod index;
pub mod trouble;
pub mod status;
pub mod page;
pub mod progress;
pub mod summary;
pub mod text;
