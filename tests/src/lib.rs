//! What the tests share: servers that answer as AWS and OpenSearch do, and checks that
//! every implementation of a port must pass; and what the benchmarks share.

pub mod servers;
pub mod contract;
pub mod story;
pub mod wait;
pub mod measure;

pub use wait::wait_until;
