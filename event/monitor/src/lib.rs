//! What agent and processor tell those who watch them: a few lines of HTTP, and Prometheus's
//! text.
//!
//! A few paths that are asked by `GET` are all there is, so no server is needed: what the AWS
//! client brings along is the client's half of hyper.

pub mod http;
pub mod page;
